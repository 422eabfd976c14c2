"""What the command says: one line a sentence, without anything that could steer a terminal."""

from __future__ import annotations

import os

import click


def printable(text: object) -> str:
    """Return one line without control, escape or direction characters."""
    line = " ".join(str(text).split())
    return "".join(letter if letter.isprintable() else "�" for letter in line)


def complain(sentence: object) -> None:
    """Write one sentence to the standard error."""
    click.echo(f"verify: {printable(sentence)}", err=True)


def describe_defect(error: Exception) -> str:
    """Return the sentence for an exception that nothing expected."""
    if os.environ.get("VERIFY_DEBUG") == "1":
        import traceback

        traceback.print_exception(error)
    told = f": {error}" if str(error) else ""
    return (
        f"internal error: {type(error).__name__}{told}; nothing is certified, "
        f"set VERIFY_DEBUG=1 to see where it happened"
    )

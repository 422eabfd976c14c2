"""What ``verify check`` shows and writes: the table, progress, reports, certificates."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from verify.cli_words import printable
from verify.errors import InputError

if TYPE_CHECKING:
    from verify.cli_check import Outcome, Progress, Request


@contextmanager
def progress(files: int) -> Iterator[Progress]:
    """Show what is being done, on a terminal only; pipes and CI see results alone."""
    if not sys.stderr.isatty() or os.environ.get("CI"):
        yield lambda text: None
        return
    from rich.console import Console
    from rich.text import Text

    with Console(stderr=True).status("reading") as status:
        yield lambda text: status.update(Text(printable(text)))


def print_outcomes(outcomes: Sequence[Outcome]) -> None:
    """Print the table and, for a single model, everything behind the verdict."""
    import click

    from verify import registry

    certificates = [one for outcome in outcomes for one in outcome.certificates]
    if not certificates and len(outcomes) == 1:
        return
    terminal = sys.stdout.isatty()
    text = registry.load("reports", "terminal")(
        certificates,
        problems=_problems(outcomes),
        width=shutil.get_terminal_size().columns if terminal else 80,
        colour=terminal and "NO_COLOR" not in os.environ and os.environ.get("TERM") != "dumb",
        details=len(outcomes) == 1,
    )
    click.echo(text, nl=False)


def _problems(outcomes: Sequence[Outcome]) -> list[tuple[str, str]]:
    return [(outcome.model, outcome.problem) for outcome in outcomes if outcome.problem]


def renderers_for(request: Request) -> dict[str, Any]:
    """Return the renderers for the files that are asked for, before any time is spent."""
    from verify import registry

    found = {}
    if request.report is not None:
        kind = Path(request.report).suffix.removeprefix(".").lower()
        if kind not in ("html", "htm"):
            raise InputError(f"--report: expected a file named .html, but got {request.report!r}")
        found["report"] = registry.load("reports", "html")
    if request.junit is not None:
        found["junit"] = registry.load("reports", "junit")
    return found


def write_outputs(outcomes: Sequence[Outcome], request: Request, renderers: dict[str, Any]) -> None:
    """Write the report, the JUnit file and the certificates that were asked for."""
    certificates = [one for outcome in outcomes for one in outcome.certificates]
    problems = _problems(outcomes)
    if request.report is not None:
        write_text(Path(request.report), renderers["report"](certificates, problems=problems))
    if request.junit is not None:
        text = renderers["junit"](
            certificates, problems=problems, requested=bool(request.conditions)
        )
        write_text(Path(request.junit), text)
    if request.json_folder is not None:
        from verify.certificate import write_certificates

        stems = stems_of([outcome.model for outcome in outcomes])
        for outcome, stem in zip(outcomes, stems, strict=True):
            if outcome.certificates:
                write_certificates(outcome.certificates, Path(request.json_folder), stem)


def stems_of(models: Sequence[str]) -> list[str]:
    """Return a file stem for each model: its own, with its folders where two are equal."""
    plain = [Path(model).stem for model in models]
    stems: list[str] = []
    for model, stem in zip(models, plain, strict=True):
        if plain.count(stem) > 1:
            stem = "-".join(part for part in Path(model).parts if part not in ("/", ".", ".."))
        wanted, count = stem, 1
        while stem in stems:
            count += 1
            stem = f"{wanted}-{count}"
        stems.append(stem)
    return stems


def write_text(path: Path, text: str) -> None:
    """Write a file whole or not at all: beside its place first, then renamed.

    What exists and is no plain file (a pipe, /dev/stdout) is written to and never replaced; a
    link keeps pointing where it points.
    """
    content = text.encode("utf-8", errors="replace")
    if path.exists() and (not path.is_file() or path.is_relative_to("/dev")):
        path.write_bytes(content)
        return
    path = path.resolve()
    path.parent.mkdir(parents=True, exist_ok=True)
    fresh = path.with_name(f".{path.name}.{os.getpid()}.new")
    try:
        fresh.write_bytes(content)
        fresh.replace(path)
    finally:
        fresh.unlink(missing_ok=True)

"""What the reproductions share: how they speak, tables, the report page, the exit code."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from decimal import ROUND_CEILING, ROUND_FLOOR, Context
from pathlib import Path
from typing import Any

from verify import registry
from verify.certificate import Certificate
from verify_conditions.checkpoints import replace_file
from verify_conditions.figures import with_figures

Echo = Callable[[str], Any]


def one_thread() -> AbstractContextManager[Any]:
    """Keep matrix products on one thread, which at these sizes is as fast as several.

    On a busy machine threads that wait for each other cost most of the time. scikit-learn brings
    threadpoolctl; without it nothing changes but the time.
    """
    try:
        from threadpoolctl import threadpool_limits
    except ImportError:
        return nullcontext()
    limits: AbstractContextManager[Any] = threadpool_limits(limits=1)
    return limits


def click_echo() -> Echo:
    """Return the command's own way of printing a line."""
    import click

    return click.echo


def rounded_down(value: float, digits: int) -> str:
    """Return the value with so many significant digits, not above it."""
    return f"{Context(digits, ROUND_FLOOR).create_decimal(value):g}"


def rounded_up(value: float, digits: int) -> str:
    """Return the value with so many significant digits, not below it."""
    return f"{Context(digits, ROUND_CEILING).create_decimal(value):g}"


def tell_table(rows: Sequence[Mapping[str, str]], say: Echo) -> None:
    """Say rows with the same keys as a table, right-aligned under the keys."""
    heads = list(rows[0])
    widths = [max(len(head), *(len(row[head]) for row in rows)) for head in heads]
    say("  ".join(head.rjust(width) for head, width in zip(heads, widths, strict=True)))
    for row in rows:
        say("  ".join(row[head].rjust(width) for head, width in zip(heads, widths, strict=True)))


def write_report(
    certificates: Sequence[Certificate],
    report: str | Path | None,
    title: str,
    say: Echo,
    *,
    heading: str = "What was measured",
    figures: Sequence[str] = (),
    tables: Sequence[str] = (),
) -> None:
    """Write the HTML page of the certificates where one is asked for, and say where it is.

    Args:
        certificates: shown in order.
        report: path of the page; nothing is written where it is None.
        title: of the page.
        say: takes a line of text.
        heading: of the first section, which holds the tables and figures, if there are any.
        figures: markup of `verify_conditions.figures.curves_figure`.
        tables: markup of `verify_conditions.figures.html_table`.
    """
    if report is None:
        return
    page: str = registry.load("reports", "html")(certificates, title=title)
    if figures or tables:
        page = with_figures(page, heading, figures, tables)
    replace_file(Path(report), page.encode())
    say(f"report: {report}")


def outcome(unmet: Sequence[str], say: Echo) -> int:
    """Say what did not happen; 0 if everything expected did."""
    for sentence in unmet:
        say(sentence)
    return 1 if unmet else 0

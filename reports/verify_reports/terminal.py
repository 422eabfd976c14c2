"""Certificates as text for a terminal: a table, then what a person wants to know of each.

Verdicts are told by words and symbols; colour only repeats them. All foreign text is cleaned.
"""

from __future__ import annotations

from collections.abc import Sequence
from io import StringIO
from typing import Any

from verify_reports import _claims as claims
from verify_reports import _samples
from verify_reports import _witness as witnesses
from verify_reports._claims import Certificate, Record
from verify_reports._text import capitalised, clean, counted, shorten

_STYLES = {"pass": "bold green", "fail": "bold red", "undecided": "bold yellow"}
_SHOWN_SAMPLES = 5
_SHOWN_STEPS = 4


def render(
    certificates: Sequence[Certificate],
    *,
    problems: Sequence[tuple[str, str]] = (),
    width: int = 80,
    colour: bool = False,
    details: bool = True,
) -> str:
    """Return certificates as text.

    Args:
        certificates: what was decided.
        problems: (file, sentence) for each file that could not be checked.
        width: columns.
        colour: whether escape sequences for colour may be used.
        details: the evidence of each route, not only the table and the sentences.
    """
    from rich.console import Console

    out = StringIO()
    console = Console(
        file=out, width=width, force_terminal=colour, no_color=not colour, highlight=False,
        markup=False, emoji=False, legacy_windows=False,
        color_system="standard" if colour else None,
    )  # fmt: skip
    if certificates or problems:
        console.print(_table(certificates, problems))
    for certificate in certificates:
        _sentences(console, certificate, several=len(certificates) + len(problems) > 1)
        if details and certificate.claim["verdict"] != "not applicable":
            _details(console, certificate)
    return "\n".join(line.rstrip() for line in out.getvalue().splitlines()) + "\n"


def _table(certificates: Sequence[Certificate], problems: Sequence[tuple[str, str]]) -> Any:
    from rich import box
    from rich.table import Table
    from rich.text import Text

    names = {clean(certificate.claim["condition"]["name"]) for certificate in certificates}
    files = {claims.file_of(certificate) for certificate in certificates}
    files |= {clean(file) for file, _ in problems}
    shown = _short_names(files)
    with_file, with_name = len(files) > 1, len(files) == 1 or len(names) > 1
    title = None if with_name or not names else f"{names.pop()}, {counted(len(files), 'file')}"
    table = Table(
        box=box.SIMPLE_HEAD, pad_edge=False, padding=(0, 1, 0, 0), show_edge=False,
        title=title, title_justify="left", title_style="bold",
    )  # fmt: skip
    columns = ["file"] * with_file + ["condition"] * with_name
    for heading in (*columns, "verdict", "strongest route", "margin"):
        table.add_column(heading, overflow="fold", no_wrap=heading in ("condition", "verdict"))
    table.add_column("time", justify="right", no_wrap=True)
    for certificate in certificates:
        claim = certificate.claim
        verdict = claim["verdict"]
        where = [shown[claims.file_of(certificate)]] * with_file
        table.add_row(
            *where,
            *[clean(claim["condition"]["name"])] * with_name,
            Text(claims.verdict_words(verdict), style=_STYLES.get(verdict, "")),
            claims.title_of(claim),
            claims.margin_headline(claim),
            claims.cost_of(certificate.provenance),
        )
    for file, _ in problems:
        cells = [shown[clean(file)]] * with_file + ["—"] * with_name
        table.add_row(*cells, Text("! not checked", style="bold red"), "—", "—", "—")
    return table


def _short_names(files: set[str]) -> dict[str, str]:
    """Return the names without folders, unless two files would then look the same."""
    last = {file: file.rstrip("/").rpartition("/")[2] for file in files}
    if len(set(last.values())) < len(files):
        last = {file: file for file in files}
    return {file: shorten(name, 60) for file, name in last.items()}


def _print(console: Any, text: str, indent: int = 0, style: str = "") -> None:
    from rich.padding import Padding
    from rich.text import Text

    console.print(Padding(Text(text, style=style), (0, 0, 0, indent)))


def _sentences(console: Any, certificate: Certificate, *, several: bool) -> None:
    claim = certificate.claim
    _print(console, "")
    if several:
        head = f"{shorten(claims.file_of(certificate), 76)} · {clean(claim['condition']['name'])}"
        _print(console, head, style="bold")
    _print(console, capitalised(claims.sentence(claim)), style=_STYLES.get(claim["verdict"], ""))
    for step in certificate.guidance:
        _print(console, f"→ {claims.guidance_label(claim)}: {clean(step)}")


def _details(console: Any, certificate: Certificate) -> None:
    claim = certificate.claim
    network = claim["network"]
    if network is not None:
        _print(console, "")
        _equation(console, network)
        known = [f"width {network['width']}"]
        known += [f"{clean(k)} = {clean(v)}" for k, v in network["parameters"].items()]
        _print(console, ", ".join(known), 2)
        for note in network["notes"]:
            _print(console, f"note: {clean(note)}", 2)
    told: set[str] = set()
    for route in claims.tried(claim):
        _route(console, certificate, route, told)
    _skipped(console, claims.skipped(claim))
    _sides(console, certificate, told)
    _consequences(console, claim)
    _sample_list(console, claim["samples"])
    _list(console, "This rests on", [*claim["assumes"], f"speaks about {claim['speaks_about']}"])


def _equation(console: Any, network: Record) -> None:
    """Print the equation; of one with many steps the first and the last ones."""
    parts = claims.steps(network)
    if not parts:
        _print(console, f"Network  {clean(network['equation'])}", style="bold")
        return
    _print(console, f"Network  {claims.step_names(parts)}", style="bold")
    for part in parts[:_SHOWN_STEPS]:
        _print(console, part, 2)
    if len(parts) > 2 * _SHOWN_STEPS:
        left = len(parts) - 2 * _SHOWN_STEPS
        _print(console, f"… {counted(left, 'more step')} (in the report and the certificate)", 2)
    for part in parts[max(_SHOWN_STEPS, len(parts) - _SHOWN_STEPS) :]:
        _print(console, part, 2)


def _route(
    console: Any, certificate: Certificate, route: Record, told: set[str], *, indent: int = 0
) -> None:
    """Print a route; what a quantity means is told where it occurs for the first time."""
    _print(console, "")
    cost = claims.cost_of(certificate.provenance, route["name"])
    head = f"{capitalised(route['title'])}  [{cost}]"
    _print(console, head, indent, style="" if indent else "bold")
    for statement in route["statements"]:
        margins = claims.not_by_choice(route, claims.telling(statement))
        found = "; ".join(claims.margin_words(margin) for margin in margins)
        more = f"  ({found})" if found else ""
        said = claims.statement_words(route, statement)
        text = f"{said} : {clean(statement['truth'])}{more}"
        _print(console, text, indent + 2)
    why = claims.outcome_why(route)
    if route["truth"] != "proved" or route["direction"] == "necessary":
        text = f"⇒ {claims.outcome(certificate.claim, route)}{f' ({why})' if why else ''}"
        _print(console, text, indent + 2)
    for symbol, value, how in claims.evidence_lines(route):
        if value:
            _print(console, f"{symbol} {value}".strip(), indent + 4)
        if how and how not in told:
            _print(console, how, indent + (6 if value else 4), style="dim")
        told.add(how)
    for shown in witnesses.of_route(route):
        _print(console, f"witness: {shown.title}", indent + 4)
        if shown.by_hand:
            for line in shown.lines(width=console.width - 8 - indent):
                _print(console, line, indent + 6)


def _skipped(console: Any, routes: Sequence[Record]) -> None:
    reasons: dict[str, list[str]] = {}
    for route in routes:
        reasons.setdefault(clean(route["why"]), []).append(clean(route["title"]))
    if reasons:
        lines = [f"{capitalised('; '.join(titles))}: {why}" for why, titles in reasons.items()]
        _list(console, "Not tried", lines)


def _sides(console: Any, certificate: Certificate, told: set[str]) -> None:
    """Print the side statements in the words of statements, never in those of the verdict."""
    for at, (item, routes) in enumerate(claims.sides(certificate.claim)):
        _print(console, "")
        if at == 0:
            _print(console, "Side statements (none turns the verdict)", style="bold")
        said = claims.side_words(certificate.claim, item)
        _print(console, f"{capitalised(item['truth'])}: {said}", 2)
        for route in routes:
            _route(console, certificate, route, told, indent=4)


def _consequences(console: Any, claim: Record) -> None:
    """Print the numbers, those of one route together; a meaning is told once."""
    told: set[str] = set()
    by_route: dict[str, list[str]] = {}
    for item in claim["consequences"]:
        how = "" if item["rigorous"] or not item["how"] else f": {clean(item['how'])}"
        meaning = clean(item["meaning"])
        what = f" ({meaning})" if meaning and meaning not in told else ""
        told.add(meaning)
        line = f"{clean(item['name'])}: {claims.consequence_words(item)}{how}{what}"
        by_route.setdefault(claims.by_words(claim, item["by"]), []).append(line)
    for source, lines in by_route.items():
        _list(console, f"What follows: {source}" if source else "What follows", lines)


def _sample_list(console: Any, samples: Record | None) -> None:
    if samples is None:
        return
    heads, rows = _samples.table(samples, _SHOWN_SAMPLES, brief=True)
    sizes = [max(map(len, column)) for column in zip(*rows, strict=True)]
    fits = sum(sizes) + 2 * len(sizes) + 1 <= console.width
    pairs = [] if fits else [zip(heads, row, strict=True) for row in rows]
    lines = [", ".join(f"{head} {text}" for head, text in row if text != "—") for row in pairs]
    _list(console, capitalised(_samples.headline(samples)), [clean(samples["summary"]), *lines])
    if fits and rows:
        _columns(console, heads, rows, sizes)
    left = len(samples["rows"]) - len(rows)
    if left > 0:
        _print(console, f"… and {left} more (in the report and the certificate)", 3)


def _columns(
    console: Any, heads: Sequence[str], rows: Sequence[Sequence[str]], sizes: Sequence[int]
) -> None:
    """Print a table whose headings are folded to the width of the entries."""
    from rich.padding import Padding
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, padding=(0, 2, 0, 0), pad_edge=False, header_style="dim")
    for at, (head, size) in enumerate(zip(heads, sizes, strict=True)):
        justify: Any = "left" if at == 0 else "right"
        table.add_column(Text(head), width=max(size, *map(len, head.split()), 1), justify=justify)
    for row in rows:
        table.add_row(*map(Text, row))
    console.print(Padding(table, (0, 0, 0, 3)))


def _list(console: Any, title: str, lines: Sequence[str]) -> None:
    from rich.table import Table
    from rich.text import Text

    _print(console, "")
    _print(console, title, style="bold")
    grid = Table.grid(padding=(0, 1, 0, 0))
    grid.add_column(width=3, justify="right")
    grid.add_column(overflow="fold")
    for line in lines:
        grid.add_row("·", Text(clean(line)))
    console.print(grid)

"""Loss curves against the certified bound, as SVG without script or style."""

from __future__ import annotations

import math
from collections.abc import Sequence
from html import escape

from verify_conditions.expressivity.ee_certificate import Recorded

WIDTH, HEIGHT, LEFT, BOTTOM, TOP = 520, 260, 64, 36, 14
_COLOURS = {"certified bound": "#b3261e", "training loss": "#1d5fa8"}


def loss_figure(title: str, records: Sequence[Recorded], words: Sequence[str] = ()) -> str:
    """Return a figure: the upper end of the enclosed loss and its bound, both axes logarithmic.

    Step t is drawn at t + 1, so that the switch itself is seen.

    Args:
        title: names the loss and its unit.
        records: of the run.
        words: sentences under the title.
    """
    lines = {
        "certified bound": [(r.step + 1, r.bound) for r in records],
        "training loss": [(r.step + 1, r.high) for r in records],
    }
    values = [v for points in lines.values() for _, v in points if 0.0 < v < math.inf]
    if not values:
        return ""
    low, high = math.log10(min(values)), math.log10(max(values))
    room = max(0.02, 0.05 * (high - low))
    low, high = low - room, high + room
    end = math.log10(max(2, records[-1].step + 1))

    def place(step: int, value: float) -> str:
        x = LEFT + (WIDTH - LEFT - 10) * math.log10(step) / end
        share = (math.log10(value) - low) / (high - low)
        return f"{x:.1f},{HEIGHT - BOTTOM - (HEIGHT - BOTTOM - TOP) * share:.1f}"

    parts = [*_grid(low, high, end)]
    for row, (name, points) in enumerate(lines.items()):
        drawn = " ".join(place(t, v) for t, v in points if 0.0 < v < math.inf)
        colour = _COLOURS[name]
        parts.append(f'<polyline points="{drawn}" fill="none" stroke="{colour}" stroke-width="2"/>')
        y = TOP + 14 + 16 * row
        parts.append(
            f'<text x="{WIDTH - 130}" y="{y}" fill="{colour}" font-size="12">{name}</text>'
        )
    body = "\n".join(parts)
    said = "".join(f"<p>{escape(sentence)}</p>" for sentence in words)
    return (
        f'<figure><svg viewBox="0 0 {WIDTH} {HEIGHT}" width="{WIDTH}" height="{HEIGHT}" role="img" '
        f'aria-label="{escape(title)}">\n{body}\n</svg>\n'
        f"<figcaption>{escape(title)}{said}</figcaption></figure>"
    )


def _grid(low: float, high: float, end: float) -> list[str]:
    lines = []
    for mark in range(5):
        y = HEIGHT - BOTTOM - (HEIGHT - BOTTOM - TOP) * mark / 4
        value = 10.0 ** (low + (high - low) * mark / 4)
        ends = f'x1="{LEFT}" x2="{WIDTH - 10}" y1="{y:.1f}" y2="{y:.1f}"'
        lines.append(f'<line {ends} stroke="#8886" stroke-width="1"/>')
        lines.append(_text(LEFT - 6, y + 4, f"{value:.3g}", anchor="end"))
    for power in range(int(end) + 1):
        x = LEFT + (WIDTH - LEFT - 10) * power / end
        lines.append(_text(x, HEIGHT - BOTTOM + 16, str(10**power)))
    under = "steps after the switch, plus 1 (both axes logarithmic)"
    lines.append(_text((LEFT + WIDTH) / 2, HEIGHT - 4, under))
    return lines


def _text(
    x: float, y: float, text: str, *, anchor: str = "middle", fill: str = "currentColor"
) -> str:
    place = f'x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}"'
    return f'<text {place} font-size="12" fill="{fill}">{escape(text)}</text>'


def with_figures(page: str, heading: str, figures: Sequence[str], tables: Sequence[str]) -> str:
    """Return a report page with a section of tables and figures before its footer."""
    section = "\n".join([
        '<section aria-labelledby="curves">', f'<h2 id="curves">{escape(heading)}</h2>',
        *tables, *figures, "</section>",
    ])  # fmt: skip
    before, end, after = page.rpartition("</main>")
    return f"{before}{section}\n{end}{after}" if end else page


def html_table(title: str, rows: Sequence[dict[str, str]]) -> str:
    """Return a table of rows with the same keys."""
    heads = "".join(f'<th scope="col">{escape(head)}</th>' for head in rows[0])
    lines = ["".join(f"<td>{escape(cell)}</td>" for cell in row.values()) for row in rows]
    body = "".join(f"<tr>{line}</tr>" for line in lines)
    table = f"<table><thead><tr>{heads}</tr></thead><tbody>{body}</tbody></table>"
    region = f'<div class="scroll" tabindex="0" role="region" aria-label="{escape(title)}">'
    return f"<h3>{escape(title)}</h3>{region}{table}</div>"

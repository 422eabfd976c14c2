"""Curves and tables of reproductions for the report page: SVG without script or style sheet.

A reproduction draws its curves with `curves_figure`, its tables with `html_table`, and hands both
to `verify_conditions.reproduction.write_report`, which puts them into a section of their own at the
end of the page, after the certificates::

    figure = curves_figure("Loss", {"m = 2": points}, x_label="t", y_label="L")
    write_report(certificates, report, TITLE, say,
                 heading="What was measured", figures=[figure], tables=[html_table("Runs", rows)])

Colours are of middle lightness and read on the light and on the dark page; text takes the colour
of the page. The legend stands above the plot, so that it covers no curve.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from html import escape
from itertools import pairwise

WIDTH, HEIGHT = 680, 320
_LEFT, _RIGHT, _BOTTOM, _TOP, _ROW = 76, 14, 46, 10, 18
_COLOURS = ("#2f7ed8", "#d1495b", "#2f9e5f", "#c77800", "#9467bd", "#158f9c")
_GREY = "#8a8578"
_DASHES = ("6 4", "2 3", "10 3 2 3")
_LETTER, _SHORT = 6.6, 20
Points = Sequence[tuple[float, float]]


def curves_figure(
    title: str,
    lines: Mapping[str, Points],
    *,
    x_label: str,
    y_label: str,
    log_x: bool = True,
    log_y: bool = True,
    words: Sequence[str] = (),
    marks: Mapping[str, float] | None = None,
    dashed: Collection[str] = (),
    guides: Mapping[str, Points] | None = None,
) -> str:
    """Return a figure of curves with legend, ticks and caption.

    A point with a coordinate that is not finite, or not positive on a logarithmic axis, is left
    out and breaks its curve in two; a piece of one point is drawn as a dot.

    Args:
        title: over the figure.
        lines: points (x, y) of each curve by its name in the legend, in the order drawn. After
            six curves the colours repeat, with dashes.
        x_label: what the horizontal axis shows, with its unit.
        y_label: what the vertical axis shows, with its unit.
        log_x: whether the horizontal axis is logarithmic.
        log_y: whether the vertical axis is logarithmic.
        words: sentences of the caption under the figure.
        marks: horizontal reference lines by name, with dashes, grey.
        dashed: names of the lines that are drawn with dashes, bounds for instance.
        guides: lines to compare with by name, slopes for instance: thin, grey, with different
            dashes, and behind the curves. They count for the range of the axes.

    Returns:
        Markup of one ``<figure>``; empty where there is no point to draw.
    """
    pieces = {name: _pieces(points, log_x, log_y) for name, points in lines.items()}
    if not any(pieces.values()):
        return ""
    behind = {name: _pieces(points, log_x, log_y) for name, points in (guides or {}).items()}
    levels = {name: y for name, y in (marks or {}).items() if _drawable(y, log_y)}
    entries, grey = _entries(lines, dashed), _grey([*behind, *levels])
    legend, rows = _legend([*entries, *grey])
    points = [point for part in (*behind.values(), *pieces.values()) for p in part for point in p]
    across = _Axis.over([x for x, _ in points], log_x, _LEFT, WIDTH - _RIGHT)
    height = HEIGHT + _ROW * (rows - 1)
    up = _Axis.over([y for _, y in points] + list(levels.values()), log_y, height - _BOTTOM,
                    _TOP + _ROW * rows + 8)  # fmt: skip
    parts = [*legend, *_grid(across, up, x_label, y_label)]
    for entry in grey:
        if entry.name in levels:
            y = up.place(levels[entry.name])
            parts.append(_polyline([f"{x:.1f},{y:.1f}" for x in (across.start, across.end)], entry))
    for entry in [*grey, *entries]:
        for piece in (behind if entry in grey else pieces).get(entry.name, ()):
            parts.append(_curve(piece, across, up, entry))
    return _figure(title, words, parts, height)


def html_table(title: str, rows: Sequence[Mapping[str, str]]) -> str:
    """Return a table of rows with the same keys, under its title."""
    heads = "".join(f'<th scope="col">{escape(head)}</th>' for head in rows[0])
    lines = ["".join(_cell(cell) for cell in row.values()) for row in rows]
    body = "".join(f"<tr>{line}</tr>" for line in lines)
    table = f"<table><thead><tr>{heads}</tr></thead><tbody>{body}</tbody></table>"
    return f"<h3>{escape(title)}</h3>{_scrolled(title, table)}"


def _cell(text: str) -> str:
    """Return a cell; short ones stay on one line."""
    kind = ' class="value"' if len(text) <= _SHORT else ""
    return f"<td{kind}>{escape(text)}</td>"


def with_figures(page: str, heading: str, figures: Sequence[str], tables: Sequence[str]) -> str:
    """Return a report page that begins with a section of tables and figures."""
    section = "\n".join([
        '<section aria-labelledby="curves">', f'<h2 id="curves">{escape(heading)}</h2>',
        *tables, *figures, "</section>",
    ])  # fmt: skip
    before, start, after = page.partition("<main>")
    return f"{before}{start}\n{section}\n{after}" if start else page


@dataclass(frozen=True)
class _Entry:
    """A line of the legend."""

    name: str
    colour: str
    dashes: str
    width: float = 2.0


@dataclass(frozen=True)
class _Axis:
    """An axis from the pixel ``start`` to ``end``; ``low`` and ``high`` are logarithms if log."""

    log: bool
    low: float
    high: float
    start: float
    end: float

    @classmethod
    def over(cls, values: Sequence[float], log: bool, start: float, end: float) -> _Axis:
        """Return the axis that holds the values with a little room."""
        scaled = [math.log10(value) for value in values] if log else list(values)
        low, high = min(scaled), max(scaled)
        room = 0.03 * (high - low) or 0.05 * max(1.0, abs(low))
        return cls(log, low - room, high + room, start, end)

    def place(self, value: float) -> float:
        """Return the pixel of a value."""
        scaled = math.log10(value) if self.log else value
        return self.start + (self.end - self.start) * (scaled - self.low) / (self.high - self.low)

    def ticks(self, most: int) -> list[tuple[float, str]]:
        """Return values on the axis with their text, about ``most`` of them."""
        if not self.log or self.high - self.low < 1.0:
            return self._linear_ticks(most)
        first, last = math.ceil(self.low), math.floor(self.high)
        if last - first + 1 >= 3:
            step = -(-(last - first + 1) // most)
            powers = [p for p in range(first, last + 1) if p % step == 0]
            return [(10.0**power, _power(power)) for power in powers]
        found = [m * 10.0**p for p in range(first - 1, last + 1) for m in (1.0, 2.0, 5.0)]
        return [(v, f"{v:.3g}") for v in found if self.low <= math.log10(v) <= self.high]

    def _linear_ticks(self, most: int) -> list[tuple[float, str]]:
        low, high = (10.0**self.low, 10.0**self.high) if self.log else (self.low, self.high)
        rough = (high - low) / most
        unit = 10.0 ** math.floor(math.log10(rough))
        step = next(m * unit for m in (1.0, 2.0, 5.0, 10.0) if m * unit >= rough)
        first, last = math.ceil(low / step), math.floor(high / step)
        return [(k * step, f"{k * step:.6g}") for k in range(first, last + 1)]


def _entries(names: Iterable[str], dashed: Collection[str]) -> list[_Entry]:
    """Return one entry a curve: a colour of its own, with dashes where the colours repeat."""
    return [
        _Entry(
            name,
            _COLOURS[place % len(_COLOURS)],
            _DASHES[0] if name in dashed or place >= len(_COLOURS) else "",
        )
        for place, name in enumerate(names)
    ]


def _grey(names: Iterable[str]) -> list[_Entry]:
    return [
        _Entry(name, _GREY, _DASHES[place % len(_DASHES)], 1.5) for place, name in enumerate(names)
    ]


def _drawable(value: float, log: bool) -> bool:
    return math.isfinite(value) and (value > 0.0 or not log)


def _pieces(points: Points, log_x: bool, log_y: bool) -> list[list[tuple[float, float]]]:
    found: list[list[tuple[float, float]]] = [[]]
    for x, y in points:
        if _drawable(x, log_x) and _drawable(y, log_y):
            found[-1].append((x, y))
        elif found[-1]:
            found.append([])
    return [piece for piece in found if piece]


def _curve(piece: Points, across: _Axis, up: _Axis, entry: _Entry) -> str:
    placed = [f"{across.place(x):.1f},{up.place(y):.1f}" for x, y in piece]
    if len(placed) == 1:
        x, y = placed[0].split(",")
        return f'<circle cx="{x}" cy="{y}" r="3" fill="{entry.colour}"/>'
    apart = [placed[0], *(b for a, b in pairwise(placed) if a != b)]
    return _polyline(apart, entry)


def _polyline(places: Sequence[str], entry: _Entry) -> str:
    return f'<polyline points="{" ".join(places)}" fill="none" {_stroke(entry)}/>'


def _stroke(entry: _Entry) -> str:
    dashes = f' stroke-dasharray="{entry.dashes}"' if entry.dashes else ""
    return f'stroke="{entry.colour}" stroke-width="{entry.width:g}"{dashes}'


def _legend(entries: Sequence[_Entry]) -> tuple[list[str], int]:
    """Return the legend above the plot, and how many rows it takes."""
    x, row, parts = float(_LEFT), 0, []
    for entry in entries:
        length = 34.0 + _LETTER * len(entry.name) + 16.0
        if x > _LEFT and x + length > WIDTH:
            x, row = float(_LEFT), row + 1
        y = _TOP + _ROW * row + 8
        ends = f'x1="{x:.1f}" x2="{x + 26:.1f}" y1="{y}" y2="{y}"'
        parts.append(f"<line {ends} {_stroke(entry)}/>")
        parts.append(_text(x + 32, y + 4, entry.name, anchor="start"))
        x += length
    return parts, row + 1


def _grid(across: _Axis, up: _Axis, x_label: str, y_label: str) -> list[str]:
    bottom, top, left, right = up.start, up.end, across.start, across.end
    faint = 'stroke="#8886" stroke-width="1"'
    parts = []
    for value, text in up.ticks(7):
        y = up.place(value)
        parts.append(f'<line x1="{left}" x2="{right}" y1="{y:.1f}" y2="{y:.1f}" {faint}/>')
        parts.append(_text(left - 7, y + 4, text, anchor="end"))
    for value, text in across.ticks(8):
        x = across.place(value)
        parts.append(f'<line x1="{x:.1f}" x2="{x:.1f}" y1="{top}" y2="{bottom}" {faint}/>')
        parts.append(_text(x, bottom + 17, text))
    parts.append(_text((left + right) / 2, bottom + 37, x_label))
    middle = (top + bottom) / 2
    turned = f'transform="rotate(-90 16 {middle:.1f})"'
    parts.append(_text(16, middle, y_label, more=turned))
    return parts


def _power(power: int) -> str:
    if -2 <= power <= 3:
        return f"{10.0**power:g}"
    return "10" + str(power).translate(str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹"))


def _text(x: float, y: float, text: str, *, anchor: str = "middle", more: str = "") -> str:
    place = f'x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}"'
    font = 'font-size="12" font-family="system-ui, sans-serif" fill="currentColor"'
    return f"<text {place} {font} {more}>{escape(text)}</text>"


def _figure(title: str, words: Sequence[str], parts: Sequence[str], height: int) -> str:
    body = "\n".join(parts)
    size = f'viewBox="0 0 {WIDTH} {height}" width="{WIDTH}" height="{height}"'
    drawing = f'<svg {size} role="img" aria-label="{escape(title)}">\n{body}\n</svg>'
    said = "".join(f'<p class="quiet">{escape(sentence)}</p>' for sentence in words)
    caption = f"<figcaption>{said}</figcaption>" if said else ""
    return f"<figure><h3>{escape(title)}</h3>\n{_scrolled(title, drawing)}\n{caption}</figure>"


def _scrolled(title: str, content: str) -> str:
    """Return a region that scrolls by itself where the page is narrow."""
    region = f'<div class="scroll" tabindex="0" role="region" aria-label="{escape(title)}">'
    return f"{region}{content}</div>"

"""Curves and tables of the reproductions as markup: what is drawn, where, and what is left out."""

import math
from itertools import pairwise
from xml.etree import ElementTree

import pytest

from verify_conditions.figures import _Axis, curves_figure, html_table, with_figures
from verify_conditions.reproduction import write_report


def parsed(lines, **more):
    text = curves_figure("a < b", lines, x_label="t", y_label="L", **more)
    assert "style" not in text
    assert "script" not in text
    return ElementTree.fromstring(text)


def places(line):
    return [tuple(map(float, p.split(","))) for p in line.get("points").split()]


def test_a_power_law_is_a_straight_line_that_falls():
    figure = parsed({"L": [(10.0**k, 10.0 ** (-3 * k)) for k in range(5)]})
    [line] = figure.findall(".//polyline")
    points = places(line)
    steps = [(b[0] - a[0], b[1] - a[1]) for a, b in pairwise(points)]
    assert all(dx > 0 and dy > 0 for dx, dy in steps)  # downwards is the larger y
    assert max(dx for dx, _ in steps) - min(dx for dx, _ in steps) <= 0.2  # of rounding to 0.1
    texts = [text.text for text in figure.findall(".//text")]
    assert {"1", "10", "100", "10⁴", "10⁻⁶", "t", "L"} <= set(texts)


def test_the_legend_stands_above_every_curve():
    lines = {f"students, number {m}": [(1.0, m), (10.0, 2.0 * m)] for m in range(1, 9)}
    figure = parsed(lines, marks={"a bound": 100.0}, dashed=("students, number 1",))
    names = {t.text: float(t.get("y")) for t in figure.findall(".//text") if t.text in lines}
    assert set(names) == set(lines)
    top = min(y for line in figure.findall(".//polyline") for _, y in places(line))
    assert max(names.values()) < top
    curves = [line for line in figure.findall(".//polyline") if line.get("stroke-width") == "2"]
    dashes = [line.get("stroke-dasharray") is not None for line in curves]
    assert dashes == [True, *[False] * 5, True, True]
    assert len({line.get("stroke") for line in curves[:6]}) == 6
    [level] = [line for line in figure.findall(".//polyline") if line not in curves]
    assert len({y for _, y in places(level)}) == 1
    assert level.get("stroke-dasharray")


def test_guides_lie_behind_the_curves_in_grey_and_differ():
    line = [(1.0, 1.0), (10.0, 1e-3)]
    figure = parsed({"L": line}, guides={"t^-2": [(1.0, 1.0), (10.0, 1e-2)], "t^-3": line})
    *guides, curve = figure.findall(".//polyline")
    assert len({guide.get("stroke") for guide in guides}) == 1
    assert len({guide.get("stroke-dasharray") for guide in guides}) == 2
    assert curve.get("stroke-dasharray") is None
    assert places(guides[1]) == places(curve)
    assert curves_figure("a", {}, x_label="t", y_label="L", guides={"t": line}) == ""


def test_what_cannot_be_drawn_is_left_out_and_breaks_the_curve():
    figure = parsed({"L": [(0.0, 1.0), (1.0, 1.0), (2.0, 0.5), (3.0, math.nan), (4.0, 0.2),
                           (5.0, 0.0), (6.0, math.inf)]})  # fmt: skip
    assert len(figure.findall(".//polyline")) == 1
    assert len(figure.findall(".//circle")) == 1
    nothing = curves_figure("none", {"L": [(0.0, 1.0)]}, x_label="t", y_label="L")
    assert nothing == ""


def test_linear_axes_take_zero_and_negative_numbers():
    figure = parsed({"A": [(-1.0, -2.0), (0.0, 0.0), (1.0, 2.0)]}, log_x=False, log_y=False)
    [line] = figure.findall(".//polyline")
    assert len(places(line)) == 3
    assert {"-1", "0", "2"} <= {text.text for text in figure.findall(".//text")}


@pytest.mark.parametrize(("values", "log"), [
    ([1.0, 1.05], True), ([1.0, 30.0], True), ([1e-30, 1e10], True), ([7.0, 7.0], True),
    ([0.0, 0.0], False), ([-3.0, 5e6], False), ([1e-3, 2e-3], False),
])  # fmt: skip
def test_ticks_are_few_lie_on_the_axis_and_differ(values, log):
    axis = _Axis.over(values, log, 0.0, 100.0)
    ticks = axis.ticks(7)
    assert 2 <= len(ticks) <= 9
    assert all(0.0 <= axis.place(value) <= 100.0 for value, _ in ticks)
    assert len({text for _, text in ticks}) == len(ticks)


def test_a_report_has_a_section_for_figures_and_tables(tmp_path):
    page = tmp_path / "page.html"
    said = []
    figure = curves_figure("f", {"L": [(1.0, 1.0), (2.0, 0.5)]}, x_label="t", y_label="L")
    table = html_table("a < b", [{"x": "1 < 2"}])
    write_report([], page, "T", said.append, heading="Measured", figures=[figure], tables=[table])
    text = page.read_text()
    assert said == [f"report: {page}"]
    assert text.index("Measured") < text.index("1 &lt; 2") < text.index("<polyline")
    assert text.rstrip().endswith("</html>")
    write_report([], page, "T", said.append)
    assert "<polyline" not in page.read_text()
    assert with_figures("<main>y</main>x", "h", [], []).endswith("</section>\ny</main>x")

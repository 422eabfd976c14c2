"""Reports about the risk of two-layer networks: side statements, numbers, checkpoints."""

import json
import re
from copy import deepcopy
from fractions import Fraction
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from verify.enclosure import hex_of
from verify_reports import _claims, _numbers, _risk_witness, _samples, html, terminal
from verify_reports._mathml import conjuncts, wrapped
from verify_reports._text import capitalised

VECTORS = Path(__file__).parents[1] / "vectors" / "report_certificates.json"


@pytest.fixture(scope="module")
def made() -> dict[str, Any]:
    stored = json.loads(VECTORS.read_text(encoding="utf-8"))["villani"]
    return {kind.split()[1]: SimpleNamespace(**parts) for kind, parts in stored.items()}


def spoken(text: str) -> str:
    return " ".join(text.split())


def test_terminal_shows_the_sign_of_v_on_both_sides(made: Any) -> None:
    lines = terminal.render([made["pair"]]).splitlines()
    row = next(line.split("  ") for line in lines if line.strip().startswith("1000000  "))
    below, above = [cell.strip() for cell in row if "[" in cell]
    assert not below.startswith("[-")
    assert above.startswith("[-")


@pytest.mark.parametrize("kind", ["pair", "kink", "rays"])
@pytest.mark.parametrize("render", [terminal.render, html.render])
def test_no_witness_is_just_a_name(made: Any, kind: str, render: Any) -> None:
    text = spoken(render([made[kind]]))
    for name in _risk_witness.KINDS:
        assert f"witness: {name.replace('-', ' ')} " not in text


def test_side_statements_are_told_apart_from_the_verdict(made: Any) -> None:
    text = terminal.render([made["rays"]])
    assert text.index("Side statements (none turns the verdict)") > text.index("✗ fail")
    assert "  Refuted: f is strongly convex" in text
    sides = text.split("Side statements")[1]
    assert "✗" not in sides
    assert "so the goal is false" not in sides


def test_side_statements_have_headings_of_their_own(made: Any) -> None:
    text = html.render([made["pass"]])
    part = text.split("<h3>Side statements</h3>")[1].split("<h3>")[0]
    heads = re.findall(r"<h4>(\w+): <span>", part)
    assert heads
    assert set(heads) <= {"Proved", "Refuted", "Undecided"}
    assert "<h5>" in part
    assert 'class="verdict' not in part
    assert "decides" not in part


@pytest.mark.parametrize("render", [terminal.render, html.render])
def test_what_is_recalled_is_not_called_measured(made: Any, render: Any) -> None:
    text = spoken(render([made["pass"]]))
    (recalled,) = [c for c in made["pass"].claim["consequences"] if "recalled" in c["name"]]
    words = _claims.consequence_words(recalled)
    assert words.endswith("(as recalled, not proved)")
    assert words in text


def test_exact_settings_are_shown_as_they_are(made: Any) -> None:
    text = spoken(terminal.render([made["pass"]]))
    assert "lambda = 1/10" in text
    assert "[0.0999999, 0.100001]" not in text
    assert '<td class="value">= 1/10</td>' in html.render([made["pass"]])


def test_an_exact_number_must_lie_in_its_enclosure() -> None:
    near = {"how": "exactly 1/10", "lo": hex_of(Fraction(1, 16)), "hi": hex_of(Fraction(1, 8))}
    assert _claims.value_words(near) == "= 1/10"
    assert _claims.value_words(near | {"how": "exactly 1/5"}) == "in [0.0625, 0.125]"
    assert _claims.value_words(near | {"how": "not exactly 1/10"}) == "in [0.0625, 0.125]"
    assert _claims.value_words(near | {"how": "exactly 1/10e9"}) == "in [0.0625, 0.125]"


def test_checkpoints_are_a_table_in_the_terminal(made: Any) -> None:
    text = terminal.render([made["pass"]])
    assert "\n6 of 6 checkpoints certified\n" in text
    assert "squared_gradient" not in text
    row = next(line.split() for line in text.splitlines() if "step-0.npz" in line)
    assert len(row) == 5
    assert all(cell.endswith("…") for cell in row[1:])


def test_checkpoints_are_a_table_on_the_page(made: Any) -> None:
    text = html.render([made["pass"]])
    part = text.split("<h3>Per checkpoint</h3>")[1]
    heads = re.findall(r'<th scope="col">([^<]*)</th>', part)[:5]
    assert heads == ["checkpoint", "f", "squared gradient norm", "V_s", "drift margin"]


@given(st.fractions(), st.fractions(min_value=0))
def test_leading_digits_belong_to_both_ends(lo: Fraction, width: Fraction) -> None:
    text = _numbers.leading(lo, lo + width / 10**6)
    if text.endswith("…") and "e" not in text:
        size = abs(Fraction(text.rstrip("…")))
        assert size <= abs(lo)
        assert size <= abs(lo + width / 10**6)


def test_relations_that_hold_do_not_speak_for_a_refuted_statement(made: Any) -> None:
    text = terminal.render([made["kink"]])
    part = spoken(text.split("Bounded activation, any penalty")[1].split("⇒")[0])
    assert ": refuted" in part
    assert "room" not in part


@pytest.mark.parametrize("kind", ["pair", "rays", "pass"])
def test_hostile_witnesses_and_sentences_stay_text(made: Any, kind: str) -> None:
    certificate = deepcopy(made[kind])
    bad = "<script>alert(1)</script>\x1b[31m\u202e"
    for item in certificate.claim["side_statements"]:
        item["sentence"] = bad
    for route in certificate.claim["routes"]:
        for found in route["facts"].values():
            found["how"] = bad
            found["witness"] = {
                "kind": "changed-tensor", "data": {"checkpoint": bad, "tensor": bad},
            }  # fmt: skip
    for text in (html.render([certificate]), terminal.render([certificate])):
        assert "\x1b" not in text
        assert "\u202e" not in text
    assert "<script" not in html.render([certificate])


def with_checkpoints(certificate: Any, values: list[tuple[int, int]]) -> Any:
    changed = deepcopy(certificate)
    row = changed.claim["samples"]["rows"][-1]
    ends = [[hex_of(Fraction(lo)), hex_of(Fraction(hi))] for lo, hi in values]
    rows = [row | {"f": pair, "V_s": None, "checkpoint": f"<b>{k}"} for k, pair in enumerate(ends)]
    changed.claim["samples"]["rows"] = [changed.claim["samples"]["rows"][0], *rows]
    return changed


def test_many_checkpoints_are_drawn_as_lines(made: Any) -> None:
    certificate = with_checkpoints(made["pass"], [(4, 4), (2, 4), (0, 2), (-4, -4)])
    text = html.render([certificate])
    lines = re.findall(r'<figure class="trend">(.*?)</figure>', text, re.DOTALL)
    assert len(lines) == 2  # f and the drift margin: V_s is not known everywhere
    points = re.search(r'polyline points="([^"]*)"', lines[0])
    assert points is not None
    heights = [float(point.split(",")[1]) for point in points[1].split()]
    assert heights == [8, 16, 32, 72]
    assert 'y1="40.00"' in lines[0]  # zero
    assert "from 4 to -4 over the run, all between -4 and 4" in lines[0]
    assert "<b>" not in text


def test_few_checkpoints_are_not_drawn(made: Any) -> None:
    assert 'class="trend"' in html.render([made["pass"]])
    assert 'class="trend"' not in html.render([with_checkpoints(made["pass"], [(1, 2)] * 3)])
    unbounded = with_checkpoints(made["pass"], [(1, 2)] * 5)
    for row in unbounded.claim["samples"]["rows"]:
        row["f"] = row["drift_margin"] = ["-inf", "inf"]
    assert 'class="trend"' not in html.render([unbounded])


def test_keys_are_words() -> None:
    words = [_samples.heading(key) for key in ("V_s", "drift_margin", "f")]
    assert words == ["V_s", "drift margin", "f"]


def test_formulas_are_split_at_outermost_conjunctions_only() -> None:
    assert conjuncts(r"a \wedge (b \wedge c) \wedge \{d\}") == ["a", r"(b \wedge c)", r"\{d\}"]
    assert conjuncts(r"a \wedge (b") == [r"a \wedge (b"]
    assert conjuncts(r"a \wedgeb c") == [r"a \wedgeb c"]
    assert wrapped(r"\text{<b>} \wedge \text{c}") == "&lt;b&gt; ∧ c"


@pytest.mark.parametrize("word", ["f", "gLip", "lambda", "a_1", "V_s", "a = 0", "λ"])
def test_symbols_keep_their_case(word: str) -> None:
    assert capitalised(f"{word} is known") == f"{word} is known"


def test_words_are_capitalised() -> None:
    assert capitalised("a ray of weights") == "A ray of weights"
    assert capitalised("drift-free") == "Drift-free"

"""What is long is folded: networks of many steps, many joined facts; rank witnesses."""

import json
import re
from copy import deepcopy
from fractions import Fraction
from html import unescape
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from verify.canonical import encode_value
from verify_reports import _claims as claims
from verify_reports import _figures, _rank_witness, _training_witness, _witness, html, terminal

VECTORS = Path(__file__).parents[1] / "vectors" / "report_certificates.json"
MEANINGS = ["a holds", "b holds", "c holds", "d holds"]


@pytest.fixture
def certificate() -> Any:
    stored = json.loads(VECTORS.read_text(encoding="utf-8"))
    return SimpleNamespace(**deepcopy(stored["certificates"]["pass"]))


def with_steps(certificate: Any, count: int) -> Any:
    steps = [f"relu{k + 1} = relu({f'relu{k}' if k else 'x'})" for k in range(count)]
    certificate.claim["network"]["equation"] = "; ".join(steps)
    return certificate


def test_a_network_of_many_steps_is_folded(certificate: Any) -> None:
    made = with_steps(certificate, 60)
    text = terminal.render([made])
    assert "Network  60 steps, from relu1 to relu60" in text
    assert "… 52 more steps (in the report and the certificate)" in text
    assert "  relu4 = relu(relu3)\n" in text
    assert "relu5 = relu(relu4)" not in text
    assert text.index("relu4 = ") < text.index("relu57 = ") < text.index("relu60 = ")
    page = html.render([made])
    assert "<summary>60 steps, from relu1 to relu60</summary>" in page
    (listed,) = re.findall(r'<ol class="equation">(.*?)</ol>', page, re.DOTALL)
    assert listed.count("<li>") == 60


@pytest.mark.parametrize("count", [7, 8, 9])
def test_each_step_is_shown_once(certificate: Any, count: int) -> None:
    text = terminal.render([with_steps(certificate, count)])
    shown = [k for k in range(1, count + 1) if f"\n  relu{k} = " in text]
    assert shown == [k for k in range(1, count + 1) if k <= 4 or k > count - 4]
    assert ("more step (" in text) == (count == 9)


def test_a_network_of_few_steps_is_one_sentence(certificate: Any) -> None:
    made = with_steps(certificate, 3)
    sentence = "relu1 = relu(x); relu2 = relu(relu1); relu3 = relu(relu2)"
    assert f"Network  {sentence}" in terminal.render([made])
    assert f'<span class="equation">{sentence}</span>' in html.render([made])


def joined(truths: list[str]) -> dict[str, Any]:
    facts = {
        name: {"meaning": meaning, "truth": truth, "how": "", "why_open": "", "witness": None}
        for name, meaning, truth in zip("abcd", MEANINGS, truths, strict=True)
    }
    tree = ["and", *(["fact", name] for name in facts), ["<=", ["quantity", "n"], ["integer", "3"]]]
    latex = [rf"\text{{{meaning}}}" for meaning in MEANINGS]
    statement = {
        "tree": tree,
        "text": " & ".join([*MEANINGS[::-1], "(n <= 3)"]),
        "latex": r" \wedge ".join([*latex, r"n \leq 3"]),
        "margins": [{"relation": r"n \leq 3", "lo": "0x1p+0", "hi": "0x1p+0"}],
        "truth": "refuted",
    }
    return {"facts": facts, "statements": [statement]}


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("(l <= R) & (h < 1/2), where h = b*r/s**2", "l <= R and h < 1/2, where h = b*r/s^2"),
        ("(L <= 0) | (G > 0)", "L <= 0 or G > 0"),
        ("it holds & ((L <= 0) | (f(x) > 0))", "it holds and (L <= 0 or f(x) > 0)"),
        ("(R*(a + b) < 1) & ~(q < 1)", "R*(a + b) < 1 and ~(q < 1)"),
        ("q < 1", "q < 1"),
    ],
)
def test_statements_are_written_as_a_person_writes_them(text: str, words: str) -> None:
    assert claims.statement_words({"facts": {}}, {"tree": [], "text": text}) == words


def test_what_was_chosen_to_fit_leaves_no_margin_worth_a_word() -> None:
    margins = [
        {"relation": r"\ell \leq R", "lo": "0x1p-60", "hi": "0x1p-60"},
        {"relation": r"h < \frac{1}{2}", "lo": "0x1p-2", "hi": "0x1p-2"},
    ]
    statement = {"tree": [], "margins": margins, "truth": "proved", "latex": "", "text": ""}
    radius = {"latex": "R", "how": "chosen", "lo": "0x1p+0", "hi": "0x1p+0"}
    route = {"name": "r", "statements": [statement], "quantities": {"R": radius}}
    claim = {"routes": [route], "decided_by": "r"}
    assert claims.margin_headline(claim) == "room 0.25"
    radius["how"] = "as declared"
    assert claims.margin_headline(claim) == "room 8.67361e-19"


def test_many_joined_facts_are_told_once_and_those_not_proved_come_first(certificate: Any) -> None:
    changed = joined(["proved", "refuted", "proved", "undecided"])
    route = certificate.claim["routes"][0]
    route |= {"facts": changed["facts"], "quantities": {}, "truth": "refuted"}
    route["statements"][0] |= changed["statements"][0]
    text = terminal.render([certificate])
    assert "all 4 facts of this route and n <= 3 : refuted" in text
    places = [text.index(f"{MEANINGS[k]}: ") for k in (1, 3, 0, 2)]
    assert places == sorted(places)
    page = html.render([certificate])
    assert "<ul><li>a holds</li><li>b holds</li>" in page
    # The relation that holds is beside the point.
    assert list(_figures.bars(route)) == []


@pytest.mark.parametrize("render", [terminal.render, html.render])
def test_the_sentence_of_the_verdict_has_the_short_form_too(certificate: Any, render: Any) -> None:
    changed, claim = joined(["proved"] * 4), certificate.claim
    route = next(r for r in claim["routes"] if r["name"] == claim["decided_by"])
    route |= {"facts": changed["facts"], "quantities": {}}
    route["statements"][0] |= changed["statements"][0]
    claim["sentence"] = f"proved: it holds, because {route['statements'][0]['text']} (by hand)"
    text = unescape(" ".join(render([certificate]).split()))
    assert "because all 4 facts of this route and n <= 3 (by hand)" in text
    assert "d holds and c holds" not in text


def test_facts_are_folded_only_where_the_statement_joins_them_all() -> None:
    route = joined(["proved"] * 4)
    (statement,) = route["statements"]
    assert claims.statement_words(route, statement) == "all 4 facts of this route and n <= 3"
    for tree in (["or", *statement["tree"][1:]], statement["tree"][:3], [], None):
        told = claims.statement_words(route, statement | {"tree": tree})
        assert told == " and ".join([*MEANINGS[::-1], "n <= 3"])


@pytest.mark.parametrize(
    ("relation", "words"),
    [(r"n \leq c_b + m_H", ", which is allowed"), (r"n < m_H", ""), (r"\lambda_{leq} > 0", "")],
)
def test_equal_sides_say_whether_that_is_allowed(relation: str, words: str) -> None:
    margin = {"relation": relation, "lo": "0x0p+0", "hi": "0x0p+0"}
    assert claims.margin_words(margin) == f"exactly at the threshold{words}"
    statement = {"tree": [], "margins": [margin], "truth": "proved", "latex": ""}
    route = {"name": "r", "statements": [statement], "quantities": {}}
    claim = {"routes": [route], "decided_by": "r"}
    assert claims.margin_headline(claim) == "exactly at the threshold"
    (bar,) = _figures.bars(route)
    assert bar.words.endswith("needed at least 0" if words else "needed above 0")


@pytest.mark.parametrize("render", [terminal.render, html.render])
def test_a_route_that_decides_is_never_under_side_statements(certificate: Any, render: Any) -> None:
    claim = certificate.claim
    route = next(r for r in claim["routes"] if r["name"] == claim["decided_by"])
    route |= {"goal": "stronger", "title": "the deciding one"}
    side = {"name": "stronger", "sentence": "it holds here", "truth": "proved"}
    claim["side_statements"] = [side]
    text = " ".join(render([certificate]).split())
    assert "it holds here (by the route above that decides the verdict)" in text
    assert text.rindex("The deciding one") < text.index("Side statements")


DATA: dict[str, dict[str, Any]] = {
    "merged-samples": {"i": 0, "j": 50, "after": "conv1"},
    "sample-relation": {"samples": [1, 4], "coefficients": [1, -1], "parity": -1, "degree": None},
    "polynomial-relation": {"degrees": [0, 1], "rows": [2, 5, 7], "coefficients": [3, 0, -1]},
    "monomial-count": {"degrees": [0, 1, 2], "variables": 2, "monomials": 6},
    "column-count": {"nodes": ["x", "linear3"], "sizes": [2, 1], "ones": True},
    "left-kernel-vector": {"vector": [0, *range(1, 30)], "ones": True},
    "dependent-columns": {"zero": list(range(20)), "constant": [], "ones": True},
    "unreachable-targets": {
        "reason": "equal samples", "samples": [1, 4], "output": 0,
        "targets": [Fraction(1, 2), Fraction(-3)],
    },
    "weight-decay": {
        "decay": Fraction(1, 100), "sample": 2, "output": 1, "target": Fraction(1, 4)
    },
    "few-parameters": {"parameters": 4, "rows": 6},
    "few-columns": {"columns": 5, "rows": 6},
    "few-features": {"width": 2, "bias": True, "samples": 9, "outputs": 3},
    "zero-row": {"sample": 3, "output": 0},
    "kernel-vector": {"vector": [1, 0, -2]},
}  # fmt: skip


def made(kind: str) -> Any:
    data = {name: encode_value(value, {}, name) for name, value in DATA[kind].items()}
    return _witness.shown({"kind": kind, "data": data})


@pytest.mark.parametrize("kind", sorted(_rank_witness.KINDS | _training_witness.KINDS))
def test_witnesses_about_a_rank_say_what_to_check(kind: str) -> None:
    shown = made(kind)
    assert shown.by_hand
    assert shown.check[-1] == "."
    assert "{" not in shown.title + shown.check + "".join(shown.says)
    assert all(len(row) == len(shown.columns) for row in shown.rows)


def lines(kind: str) -> list[str]:
    shown = made(kind)
    return [shown.title, *shown.lines(width=200)]


def test_numbers_of_the_witnesses_about_training() -> None:
    assert lines("unreachable-targets")[-2:] == ["     1     1/2", "     4      -3"]
    assert "about output 0" in lines("unreachable-targets")[1]
    assert lines("weight-decay")[0] == "a target that is not 0, with weight decay 1/100"
    assert lines("weight-decay")[1].endswith("The target of sample 2 at output 1 is 1/4.")
    assert lines("few-parameters")[0] == "4 trained parameters for 6 outputs"
    assert lines("zero-row")[0] == "the row of J of sample 3 and output 0, which is 0"
    assert lines("kernel-vector")[-2:] == ["  0   1", "  2  -2"]


@pytest.mark.parametrize("reason", ["equal samples", "fixed output", "zero output", "law"])
def test_every_reason_of_unreachable_targets_is_said_in_words(reason: str) -> None:
    data = {"reason": reason, "samples": [3], "output": 0, "targets": [Fraction(2)]}
    coded = {name: encode_value(value, {}, name) for name, value in data.items()}
    shown = _witness.shown({"kind": "unreachable-targets", "data": coded})
    assert shown.by_hand
    assert shown.check.endswith("This is about output 0.")


def test_numbers_of_the_witnesses_about_a_rank() -> None:
    assert lines("merged-samples")[0] == "samples 0 and 50, which no weights tell apart"
    assert lines("sample-relation")[-2:] == ["     1       1", "     4      -1"]
    assert lines("polynomial-relation")[-2:] == ["     2       3", "     7      -1"]
    assert "of degrees (0, 1, 2) in 2 variables" in lines("monomial-count")[1]
    assert lines("column-count")[-1].split() == ["linear3", "1"]
    assert lines("left-kernel-vector")[-1] == ("… 17 more coordinates, stored with the certificate")
    assert lines("dependent-columns")[-1] == ("Zero: units 0, 1, 2, 3, 4, 5, 6, 7, … (20 in all).")

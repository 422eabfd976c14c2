"""Every stored activation against its 40-digit facts: contained, right or undecided, and tight."""

from __future__ import annotations

import json
from fractions import Fraction
from pathlib import Path

import flint
import pytest
from flint import arb, fmpq

from verify.enclosure import Enclosure
from verify.network.expression import parse_expression
from verify.verdict import Truth
from verify_kernels.activation_analysis import analyse_expression, extrema, ranges, tail_bounds
from verify_kernels.activation_analysis.jet import derivatives
from verify_kernels.activation_analysis.tail_bounds import TailSupremum
from verify_kernels.activation_analysis.tree import tree_of

VECTORS = Path(__file__).parents[1] / "vectors" / "activations.json"
ROWS = json.loads(VECTORS.read_text())["activations"]
NAMES = [f"{number}-{row['sympy']}" for number, row in enumerate(ROWS)]
PROVED, REFUTED, UNDECIDED = Truth.PROVED, Truth.REFUTED, Truth.UNDECIDED
MONOTONE = {
    "strictly increasing": (PROVED, PROVED),
    "nondecreasing": (PROVED, REFUTED),
    "no": (REFUTED, REFUTED),
}
TIGHT = Fraction(1, 10**9)  # the width that is promised
NEAR_ZERO = Fraction(1, 10**30)  # and where the number itself is zero


def facts_of(row):
    return analyse_expression(parse_expression(row["sympy"]))


def meets(enclosure, text):
    value = Fraction(text)
    radius = abs(value) * Fraction(5, 10**40)
    return enclosure.lo <= value + radius and value - radius <= enclosure.hi


def assert_bound(bound, text):
    """Right, decided and tight; never finite for infinite or the other way round."""
    if text in ("inf", "-inf", "none"):
        assert bound.finite is REFUTED
        return
    assert bound.finite is PROVED
    assert meets(bound.value, text)
    assert bound.value.width <= TIGHT * abs(Fraction(text)) + NEAR_ZERO


@pytest.mark.parametrize("row", ROWS, ids=NAMES)
def test_smoothness_and_kinks(row):
    facts, kind = facts_of(row), row["smoothness"]["class"]
    assert facts.defined is PROVED
    if kind == "C_infinity":
        assert facts.smooth is PROVED
        assert facts.kinks == ()
        assert facts.order is None
        return
    assert facts.smooth is REFUTED
    assert facts.order == (-1 if kind == "discontinuous" else int(kind[2:]))
    places = [Fraction(place) for place in row["smoothness"]["kinks"]]
    assert len(facts.kinks) == len(places)
    for kink, place in zip(facts.kinks, places, strict=True):
        assert kink.place == Enclosure.exact(place)


@pytest.mark.parametrize("row", ROWS, ids=NAMES)
def test_behaviour_at_infinity(row):
    facts = facts_of(row)
    words = {"inf": "+infinity", "-inf": "-infinity", "none": "no limit: it oscillates"}
    for side, name in enumerate(("minus_inf", "plus_inf")):
        limit, expected = facts.limits[side], row["limits"][name]
        assert_bound(limit, expected)
        if expected in words:
            assert limit.where == words[expected]
        assert row["growth"][name].partition(",")[0] == facts.growth[side]
    for name in ("l0", "l1", "kappa1"):
        assert_bound(getattr(facts, name), row["slope_at_infinity"][name])


@pytest.mark.parametrize("row", ROWS, ids=NAMES)
def test_ranges_and_suprema(row):
    facts = facts_of(row)
    for name, extremum in row["extrema"].items():
        assert_bound(getattr(facts, name).inf, extremum["inf"])
        assert_bound(getattr(facts, name).sup, extremum["sup"])
    for k in range(4):
        assert_bound(facts.sup_abs(k), row["sup_abs"][f"d{k}"])
    assert_bound(facts.kappa0, row["kappa0"])
    assert_bound(facts.sup_abs_zd1, row["sup_abs_z_d1"])
    for end, expected in zip(
        (facts.d1.inf, facts.d1.sup, facts.secant.inf, facts.secant.sup),
        row["range_d1"] + row["secant_slopes"],
        strict=True,
    ):
        assert_bound(end, expected)
    assert (facts.monotone, facts.strictly_increasing) == MONOTONE[row["monotone"]]


def ball(text):
    """The ball of a 40-digit decimal, or of an open interval given by two."""
    low, high = text if isinstance(text, list) else (text, text)
    ends = [Fraction(low), Fraction(high)]
    a, b = (arb(fmpq(end.numerator, end.denominator)) for end in ends)
    return a.union(b) + arb(0, 1) * (abs(a) + abs(b)) * arb("5e-40")


@pytest.mark.parametrize("row", ROWS, ids=NAMES)
def test_jets_meet_the_stored_points(row):
    root = tree_of(parse_expression(row["sympy"]))
    with flint.ctx.workprec(200):
        for at, *expected in row["points"]:
            found = derivatives(root, arb(float.fromhex(at)), 3)
            for number, entry in zip(found, expected, strict=True):
                entries = entry.values() if isinstance(entry, dict) else [entry]
                for text in entries:
                    assert number.is_finite()
                    assert number.overlaps(ball(text)), (at, entry)


def broken(row):
    """Whether some decided number of a row is wrong."""
    facts = facts_of(row)
    for name, extremum in row["extrema"].items():
        for end in ("inf", "sup"):
            bound, text = getattr(getattr(facts, name), end), extremum[end]
            if bound.finite is PROVED and ("inf" in text or not meets(bound.value, text)):
                return True
    return False


def row_of(text):
    return next(row for row in ROWS if row["sympy"] == text)


SMOOTH = ["tanh(z)", "atan(z)", "log(1+exp(z))", "z*exp(-z**2)", "sqrt(1+z**2)-1"]


def test_the_tails_are_needed(monkeypatch):
    nothing = TailSupremum(False, arb("-inf"), arb("-inf"), True)
    monkeypatch.setattr(tail_bounds.Tail, "supremum", lambda *_: nothing)
    assert all(broken(row_of(text)) for text in ["tanh(z)", "atan(z)", "sqrt(1+z**2)-1"])


def test_ends_rounded_to_the_nearest_float_are_noticed(monkeypatch):
    assert not any(broken(row_of(text)) for text in SMOOTH)
    monkeypatch.setattr(
        ranges,
        "_bound",
        lambda found, sign, old=ranges._bound: old(
            ranges._Found(arb(float(found.low)), arb(float(found.high)), found.where), sign
        ),
    )
    assert any(broken(row_of(text)) for text in SMOOTH)


def test_a_box_dropped_too_early_is_noticed(monkeypatch):
    monkeypatch.setattr(extrema._Search, "settled", lambda *_: True)
    assert any(broken(row_of(text)) for text in SMOOTH)


def test_hexadecimal_floats_of_upper_ends_lie_above():
    below = 0
    for row in ROWS[:12]:
        facts = facts_of(row)
        for k in range(4):
            bound, text = facts.sup_abs(k), row["sup_abs"][f"d{k}"]
            if bound.finite is PROVED:
                true = Fraction(text) - abs(Fraction(text)) * Fraction(5, 10**40)
                assert Fraction(bound.value.hi_float) >= true
                below += Fraction(float(bound.value.hi)) < true
    assert below > 0

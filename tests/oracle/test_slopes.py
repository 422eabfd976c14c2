"""The slope table against 40-digit suprema, and its two numerical entries proved in balls."""

from __future__ import annotations

import json
import random
from fractions import Fraction
from pathlib import Path

import flint
import pytest
from flint import arb, fmpq

from verify.network.activation import Activation
from verify_kernels import ball_activation
from verify_kernels.slopes import NAMES, slope_class

VECTORS = Path(__file__).parents[1] / "vectors" / "activations.json"
ROWS = {row["name"]: row for row in json.loads(VECTORS.read_text())["activations"]}
TEXTS = [name for name in ROWS if name.partition("(")[0] in NAMES]


def ulp(text):
    return Fraction(1, 10**40) * 10 * (abs(Fraction(text)) + 1)


@pytest.mark.parametrize("text", TEXTS)
def test_the_table_encloses_the_secant_slopes_and_is_tight_to_two_digits(text):
    known = slope_class(Activation.parse(text))
    lo, hi = ROWS[text]["secant_slopes"]
    assert known.alpha <= Fraction(lo) + ulp(lo)
    assert Fraction(hi) - ulp(hi) <= known.beta
    exact = known.name not in ("gelu", "silu")
    slack = 0 if exact else Fraction(1, 100)
    assert Fraction(lo) - known.alpha <= slack + ulp(lo)
    assert known.beta - Fraction(hi) <= slack + ulp(hi)


@pytest.mark.parametrize("text", TEXTS)
def test_monotone_and_bounded_agree_with_the_stored_facts(text):
    known, row = slope_class(Activation.parse(text)), ROWS[text]
    assert known.monotone == (row["monotone"] != "no")
    growth = row["growth"]
    assert known.bounded == (growth["minus_inf"] == growth["plus_inf"] == "bounded")


@pytest.mark.parametrize("text", TEXTS)
def test_attained_slopes_are_attained_and_the_others_are_strict(text):
    activation = Activation.parse(text)
    known = slope_class(activation)
    chooser = random.Random(3)
    seen = set()
    with flint.ctx.workprec(3000):
        for _ in range(300):
            a, b = sorted(Fraction(chooser.randint(-600, 600), 64) for _ in range(2))
            if a == b:
                continue
            x, y = (arb(fmpq(p.numerator, p.denominator)) for p in (a, b))
            rise = ball_activation.value(activation, y) - ball_activation.value(activation, x)
            secant = rise / (y - x)
            for name, end, attained in (
                ("alpha", known.alpha, known.attains_alpha),
                ("beta", known.beta, known.attains_beta),
            ):
                ball = arb(fmpq(end.numerator, end.denominator))
                if attained:
                    assert not (secant < ball) if name == "alpha" else not (secant > ball)
                else:
                    assert secant > ball if name == "alpha" else secant < ball
                if secant.overlaps(ball):
                    seen.add(name)
    assert ("alpha" in seen) == known.attains_alpha
    assert ("beta" in seen) == known.attains_beta


@pytest.mark.parametrize(("text", "tail"), [("gelu", 8), ("silu", 20)])
def test_smooth_entries_are_proved_by_subdivision_and_a_tail(text, tail):
    """On [0, tail] by balls; beyond, s' decreases to 1 (s'' < 0); s'(-z) = 1 - s'(z) for z < 0."""
    activation = Activation.parse(text)
    known = slope_class(activation)
    assert known.alpha + known.beta == 1
    assert tail * tail > 2  # gelu: s'' = (2 - z^2) phi; silu: s'' has the sign of 2 - z tanh(z/2)
    with flint.ctx.workprec(120):
        raw = ball_activation._gelu_slope if text == "gelu" else ball_activation._silu_slope
        assert (arb(tail) / 2).tanh() * tail > 2
        boxes = [(Fraction(0), Fraction(tail))]
        while boxes:
            left, right = boxes.pop()
            ends = [arb(fmpq(p.numerator, p.denominator)) for p in (left, right)]
            found = raw(ends[0].union(ends[1]))
            if found > 0 and found < fmpq(known.beta.numerator, known.beta.denominator):
                continue
            assert right - left > Fraction(1, 2**20)
            middle = (left + right) / 2
            boxes += [(left, middle), (middle, right)]


def test_a_narrower_entry_for_gelu_would_be_refuted():
    with flint.ctx.workprec(120):
        assert ball_activation._gelu_slope(arb(2).sqrt()) > fmpq(112, 100)

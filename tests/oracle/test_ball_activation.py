"""Activations at balls against 40-digit values, at points and on intervals."""

from __future__ import annotations

import json
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
EXTRA = ["relu6", "leaky_relu(-1/2)", "leaky_relu(3)", "elu(2)", "softplus(1/7)"]


@pytest.fixture(autouse=True)
def precision():
    with flint.ctx.workprec(200):
        yield


def digits(text):
    """The ball that a 40-digit decimal stands for, or None if it is no number."""
    if isinstance(text, list):
        low, high = (Fraction(end) for end in text)
        return arb(fmpq(low.numerator, low.denominator)).union(
            arb(fmpq(high.numerator, high.denominator))
        )
    try:
        exact = Fraction(text)
    except (ValueError, TypeError):
        return None
    number = arb(fmpq(exact.numerator, exact.denominator))
    return number + arb(0, 1) * abs(number) * arb("5e-40")


@pytest.mark.parametrize("text", TEXTS)
def test_values_and_slopes_meet_the_forty_digits(text):
    activation = Activation.parse(text)
    met = 0
    for at, value, slope, *_ in ROWS[text]["points"]:
        x = arb(float.fromhex(at))
        expected = digits(value)
        if expected is not None:
            assert ball_activation.value(activation, x).overlaps(expected), (at, value)
            met += 1
        found = ball_activation.slope(activation, x)
        sides = [slope[k] for k in ("left", "right")] if isinstance(slope, dict) else [slope]
        for side in sides:
            expected = digits(side)
            if expected is not None:
                assert found.overlaps(expected), (at, side)
    assert met > 20


@pytest.mark.parametrize("text", [*TEXTS, *EXTRA])
def test_wide_balls_contain_every_point_of_them(text):
    activation = Activation.parse(text)
    for low, high in [(-1, 1), (-3, -2), (0, 7), (-9, 0), (-2000, 1000), (5, 9), (-1, 0), (0, 0)]:
        wide = arb(low).union(arb(high))
        value, slope = (
            ball_activation.value(activation, wide),
            ball_activation.slope(activation, wide),
        )
        assert value.is_finite()
        points = [low + (high - low) * Fraction(k, 16) for k in range(17)]
        balls = [arb(fmpq(p.numerator, p.denominator)) for p in points]
        values = [ball_activation.value(activation, x) for x in balls]
        for x, y in zip(balls, values, strict=True):
            assert value.contains(y) or value.overlaps(y)
            assert not (y < value)
            assert not (y > value)
            assert ball_activation.slope(activation, x).overlaps(slope)
        for k in range(16):
            if points[k] < points[k + 1]:
                secant = (values[k + 1] - values[k]) / (balls[k + 1] - balls[k])
                assert not (secant < slope)
                assert not (secant > slope)


@pytest.mark.parametrize("text", [*TEXTS, *EXTRA])
def test_slopes_never_leave_the_slope_class_and_nothing_is_nan(text):
    activation = Activation.parse(text)
    known = slope_class(activation)
    for x in (arb(1e308), arb(-1e308), arb(5e-324), arb(0, 1e300), arb("nan"), arb(0, "inf")):
        slope, value = ball_activation.slope(activation, x), ball_activation.value(activation, x)
        assert slope.is_finite()
        assert not value.is_nan()
        assert not (slope < fmpq(known.alpha.numerator, known.alpha.denominator))
        assert not (slope > fmpq(known.beta.numerator, known.beta.denominator))


def test_a_ball_on_a_kink_gets_both_one_sided_slopes():
    found = ball_activation.slope(Activation.parse("leaky_relu(1/4)"), arb(0))
    assert found.contains(arb("0.25"))
    assert found.contains(arb(1))
    found = ball_activation.slope(Activation.parse("hardtanh"), arb(1))
    assert found.contains(arb(0))
    assert found.contains(arb(1))


def test_ignoring_the_far_side_of_a_kink_breaks_containment(monkeypatch):
    def one_sided(x, a):
        return (x, arb(1)) if x.mid() >= 0 else (a * x, a)

    monkeypatch.setattr(ball_activation, "_leaky", one_sided)
    wide = arb(-1).union(arb(2))
    assert not ball_activation.slope(Activation.parse("relu"), wide).contains(arb(0))

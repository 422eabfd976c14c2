"""Smooth risks of activations with kinks that are hard to see: nothing may be refuted."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest

from verify.enclosure import Enclosure
from verify.network.activation import Activation
from verify.verdict import Truth
from verify_kernels.activation_analysis import analyse
from verify_kernels.two_layer import kinks
from verify_kernels.two_layer.ball_risk import Point, Problem


def decided(activation: str, X: list[list[float]], y: list[float]) -> Truth:
    risk = Problem(np.array(X), np.array(y), Activation.parse(activation), {"W": Fraction(1)})
    at = Point(np.full((1, len(X[0])), 0.3), np.array([1.0]))
    found = kinks.decide_smoothness(risk, at, analyse(risk.activation))
    if found.witness is not None:
        assert kinks.replay_kink(found.witness, risk, at, analyse(risk.activation))
    return found.value


@pytest.mark.parametrize(
    "activation",
    [
        "Abs(z-1)*sqrt(z**2+2*z+1)", "Abs(z-1)*sqrt((z+1)**2*(1+z**2)**2)",
        "Abs(z-1)*Abs(z+1)", "Abs(sin(pi*z))", "Abs(sin(z))", "Abs(cos(pi*z))", "Abs(cos(3*z))",
    ],
)  # fmt: skip
def test_even_activations_with_a_smooth_square(activation: str) -> None:
    """X = (1, -1), y = (1, -1): f = c' (s(w)^2 + 1)/2 + penalty, and s^2 is analytic."""
    assert decided(activation, [[1.0], [-1.0]], [1.0, -1.0]) is Truth.UNDECIDED


@pytest.mark.parametrize("activation", ["Abs(sin(pi*z))", "Abs(sin(z))", "Max(sin(z),cos(z))"])
def test_periodic_kinks_are_used_where_other_data_are_away(activation: str) -> None:
    assert decided(activation, [[1.0], [2.25]], [1.0, -1.0]) is Truth.REFUTED


def test_hidden_kinks_leave_the_smoothness_open() -> None:
    for activation in ("Max(z,0)+sqrt(Abs(z-1))", "Abs(z)+sqrt(z**2+2*z+1)"):
        facts = analyse(Activation.parse(activation))
        assert not kinks.knows_kinks(facts)
        assert decided(activation, [[1.0], [-2.0]], [1.0, -1.0]) is Truth.UNDECIDED


def test_joints_that_are_not_told_apart_are_listed() -> None:
    """C^9 at 1: no derivative that is compared differs, yet the point is not smooth."""
    facts = analyse(Activation.parse("Abs(z)+Max(z-1,0)**10"))
    assert [kink.place for kink in facts.kinks] == [Enclosure.exact(0), Enclosure.exact(1)]


@pytest.mark.parametrize(
    ("distance", "reach", "meets"),
    [
        (0, 0, True), (3, 0, True), (3, Fraction(1, 9), True), (-3000, 0, True),
        (Fraction(7, 2), Fraction(1, 4), False), (Fraction(-1), Fraction(1, 2), False),
        (Fraction(1, 4), Fraction(1, 4), True),
    ],
)  # fmt: skip
def test_translates_by_the_period(distance: Fraction, reach: Fraction, meets: bool) -> None:
    period = Enclosure(Fraction(3), Fraction(3) + Fraction(1, 2**20))
    assert kinks._may_meet(Fraction(distance), Fraction(reach), period) is meets


def test_a_jump_known_between_two_numbers_is_told_so() -> None:
    """The second neuron is at its own jump, where only both sides of its value are taken."""
    risk = Problem(np.ones((1, 1)), np.ones(1), Activation.parse("sign(z)"), {"W": Fraction(1)})
    at = Point(np.zeros((2, 1)), np.array([1.0, 0.25]))
    found = kinks.decide_smoothness(risk, at, analyse(risk.activation))
    assert "jumps by a number between -2.5" in found.how

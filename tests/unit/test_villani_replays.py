"""Witnesses that tell of another problem, or tell half, are not accepted again."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction
from typing import Any

import numpy as np
import pytest

from verify.errors import InputError
from verify.evidence import Evidence, Witness
from verify.network.activation import Activation
from verify.verdict import Truth
from verify_kernels.activation_analysis import analyse
from verify_kernels.two_layer import (
    cancelling_pair,
    curvature,
    exact_data,
    kinks,
    log_oscillation,
    polynomial,
    rays,
    spanning,
)
from verify_kernels.two_layer.ball_risk import Point, Problem

X2 = [[1.0, 0.5], [-0.25, 2.0], [3.0, -1.0]]
TRIANGLE = [[1.0, 0.0], [-1.0, 1.0], [0.0, -1.0]]


def problem(activation: str, X: Any = X2, y: Any = (1.0, -0.5, 0.25), **told: Any) -> Problem:
    loss = told.pop("loss", "squared")
    penalties = {role: Fraction(value) for role, value in told.items()}
    return Problem(np.array(X), np.array(y), Activation.parse(activation), penalties, loss)


def point(a: Any, b: Any = None, c: Any = None, d: int = 2) -> Point:
    return Point(np.arange(len(a) * d).reshape(len(a), d) / 4.0 - 0.5, np.array(a), b, c)


def altered(found: Evidence, **changes: Any) -> Witness:
    assert found.witness is not None
    assert found.value is not Truth.UNDECIDED
    return Witness(found.witness.kind, {**found.witness.data, **changes})


def test_a_ray_needs_its_argument_and_the_frozen_weights() -> None:
    risk, at = problem("softplus", X=TRIANGLE, W=0), point([1.0, -2.0])
    facts = analyse(risk.activation)
    found = rays.decide_growth(risk, at, facts)
    assert rays.replay_flat_ray(altered(found), risk, at, facts)
    zero = [Fraction(0), Fraction(0)]
    confining = point([1.0, 2.0])  # a Villani function without a penalty
    for changes in ({}, {"t": [], "f": [], "bound": None}, {"outer": zero}):
        assert not rays.replay_flat_ray(altered(found, **changes), risk, confining, facts)
    for changes in ({"t": [], "f": []}, {"outer": zero}, {"bound": found.witness.data["f"][2][1]}):  # type: ignore[union-attr]
        assert not rays.replay_flat_ray(altered(found, **changes), risk, at, facts)


def test_a_bounded_gradient_needs_the_frozen_weights_and_its_bounds() -> None:
    risk = problem("tanh", y=[1.0, -1.0, 1.0], loss="logistic", W=1, c=0)
    at, facts = point([1.0, -2.0], c=np.zeros(1)), analyse(risk.activation)
    found = rays.bounded_gradient_ray(risk, at, facts)
    assert rays.replay_bounded_gradient(altered(found), risk, at, facts)
    data = altered(found).data
    low = data["gradient_squared"] * Fraction(9, 10)
    for changes in ({"outer": [Fraction(0)] * 2}, {"roles": ["W"]}, {"gradient_squared": low}):
        assert not rays.replay_bounded_gradient(altered(found, **changes), risk, at, facts)
    squares = problem("tanh", W=1, c=0)
    assert not rays.replay_bounded_gradient(altered(found), squares, at, facts)


def test_a_kink_needs_the_frozen_outer_weights() -> None:
    risk, at = problem("relu", W=1), point([1.0, -0.5])
    facts = analyse(risk.activation)
    found = kinks.decide_smoothness(risk, at, facts)
    assert kinks.replay_kink(altered(found), risk, at, facts)
    assert not kinks.replay_kink(altered(found), risk, point([0.5, -0.5]), facts)
    shifted = [end + 1 for end in altered(found).data["right"]]
    assert not kinks.replay_kink(altered(found, right=shifted), risk, at, facts)


def test_an_outer_ray_needs_its_numbers() -> None:
    risk, at = problem("tanh", W=1, a=1), point([1.0, 2.0])
    found = cancelling_pair.decide_outer_layer(risk, at, analyse(risk.activation))
    assert cancelling_pair.replay_outer_layer(altered(found), risk, at)
    data = altered(found).data
    twice = {name: [2 * end for end in data[name]] for name in ("S", "s_crit")}
    empty = {"t_above": [], "V_above": []}
    for changes in (*({name: value} for name, value in twice.items()), empty,
                    {"neurons": [0, 0]}, {"signs": [1, -1, 1, -1]},
                    {"s_above": data["s_crit"][0], **empty}):  # fmt: skip
        assert not cancelling_pair.replay_outer_layer(altered(found, **changes), risk, at)


def test_a_polynomial_ray_needs_its_pair_and_s_crit() -> None:
    risk, at = problem("z**4", W=1), point([1.0, -3.0])
    found = polynomial.decide_polynomial(risk, at)
    assert polynomial.replay_polynomial(altered(found), risk, at)
    empty: dict[str, Any] = {"t_above": [], "V_above": [], "t_below": [], "V_below": []}
    for other in (point([1.0, 3.0]), point([1.0, -2.0]), point([1.0, -3.0], b=np.ones(2))):
        assert not polynomial.replay_polynomial(altered(found, **empty), risk, other)
    for changes in (empty, {"s_crit": [0, 0]}, {"direction": [Fraction(0), Fraction(0)]}):
        assert not polynomial.replay_polynomial(altered(found, **changes), risk, at)
    even, two = problem("z**4", W=1), point([1.0, 3.0])
    proved = polynomial.decide_polynomial(even, two)
    assert not polynomial.replay_polynomial(altered(proved, case="another"), even, two)
    trained = problem("z**4", W=1, c=1)
    assert not polynomial.replay_polynomial(altered(proved), trained, two)


@pytest.mark.parametrize("weights", [None, [Fraction(1), Fraction(1), Fraction(1)]])
def test_spanning_data_need_the_hypotheses(weights: Any) -> None:
    """Full rank is not enough for softplus, and no data are for outer weights of both signs."""
    risk, at = problem("softplus", X=TRIANGLE, W=0), point([1.0, 2.0])
    facts = analyse(risk.activation)
    found = spanning.decide_without_penalty(risk, at, facts)
    assert spanning.replay_spanning(altered(found), risk, at, facts)
    forged = altered(found, weights=weights)
    half = problem("softplus", X=[[1.0, 0.0], [0.0, 1.0], [1.0, 1.0]], W=0)
    assert not spanning.replay_spanning(forged, half, at, facts)
    assert not spanning.replay_spanning(forged, risk, point([1.0, -2.0]), facts)


def test_zeros_need_a_penalty_below_the_threshold() -> None:
    name, one = "z*cos(3*log(1+z**2)/4)", {"X": [[2.0, 1.0]], "y": [1.0]}
    low, high, at = problem(name, W="1/10", **one), problem(name, W=100, **one), point([1.5])
    found = log_oscillation.decide_log_oscillation(low, at)
    assert log_oscillation.replay_log_oscillation(altered(found), low, at)
    for changes in ({}, {"zeros": [], "V": []}, {"zeros": [], "V": [], "penalty": Fraction(100)}):
        assert not log_oscillation.replay_log_oscillation(altered(found, **changes), high, at)
    wrong = [[lo + 1, hi + 1] for lo, hi in altered(found).data["V"]]
    assert not log_oscillation.replay_log_oscillation(altered(found, V=wrong), low, at)
    free, tied = problem(name, W=1, b=0), problem(name, W=1, b=1)
    zeros = log_oscillation.decide_log_oscillation(free, point([1.5], b=np.zeros(1)))
    at = point([1.5], b=np.zeros(1))
    assert log_oscillation.replay_log_oscillation(altered(zeros), free, at)
    assert not log_oscillation.replay_log_oscillation(altered(zeros), tied, at)
    assert not log_oscillation.replay_log_oscillation(altered(zeros, zeros=[]), free, at)


def test_curvature_needs_the_frozen_weights_and_the_growth() -> None:
    risk, at = problem("softplus", W=1), point([1.0, -2.0])
    facts = analyse(risk.activation)
    found = curvature.decide_lipschitz_gradient(risk, at, facts)
    assert curvature.replay_unbounded_hessian(altered(found), risk, at, facts)
    growth = [2 * end for end in altered(found).data["growth"]]
    for changes in ({"t": [], "D2": []}, {"growth": growth}, {"growth": growth[::-1]}):
        assert not curvature.replay_unbounded_hessian(altered(found, **changes), risk, at, facts)
    bent = curvature.decide_convexity(risk, at, facts)
    assert curvature.replay_negative_curvature(altered(bent), risk, at)
    assert not curvature.replay_negative_curvature(altered(bent), risk, point([1.0, 2.0]))
    stored = altered(bent, D2=[2 * end for end in altered(bent).data["D2"]])
    assert not curvature.replay_negative_curvature(stored, risk, at)


@pytest.mark.parametrize(
    "y",
    [
        np.array([2**53 + 1, 1, 0]), np.array([-(2**60) - 1, 1, 0]),
        np.array([1 + 1e-30j, 0, 0]), np.array([1, 2, 3], dtype=np.longdouble),
        np.array([2**64 - 1, 0, 0], dtype=np.uint64), np.array([1.0, np.nan, 0.0]),
    ],
)  # fmt: skip
def test_labels_that_would_be_rounded_are_refused(y: Any) -> None:
    with pytest.raises(InputError, match=r"expected y as finite numbers of 64 bits with 1 axes"):
        exact_data.labels(replace(problem("tanh", W=1), y=y))
    whole = exact_data.labels(replace(problem("tanh", W=1), y=np.array([2**53, -1, 0])))
    assert whole.tolist() == [2.0**53, -1.0, 0.0]

"""A kinked activation whose kinks cancel: the risk is a quadratic polynomial all the same.

Squared loss, frozen outer layer with one nonzero a, s(z) = s0 + beta z for z >= 0 and s0 + alpha z
for z <= 0. Sort the inputs (extended by 1 with a trained inner bias) by lines: x_i = c_i e with one
e for each line, so that z_i = c_i t with t = w . e. With y_i less the constant part of the output,
the data of one line give for t >= 0 and for t <= 0

    sum_{c > 0} (a beta c t - y)^2 + sum_{c < 0} (a alpha c t - y)^2,
    sum_{c > 0} (a alpha c t - y)^2 + sum_{c < 0} (a beta c t - y)^2,

the same polynomial if (beta^2 - alpha^2) (sum_{c > 0} c^2 - sum_{c < 0} c^2) = 0 and (beta -
alpha) (sum_{c > 0} c y - sum_{c < 0} c y) = 0. If this holds on every line, f is a convex quadratic
polynomial plus the penalties: with positive penalties grad f grows at least like the least of
them times |theta|, Lap f is constant, and f is a Villani function.

Source: own derivation.
"""

from __future__ import annotations

from fractions import Fraction
from typing import TYPE_CHECKING

from verify.evidence import Evidence, Witness
from verify.verdict import Truth
from verify_kernels.two_layer import exact_data as exact
from verify_kernels.two_layer.ball_risk import Point, Problem

if TYPE_CHECKING:
    from verify_kernels.activation_analysis import ActivationFacts

_LARGE = 20_000
Line = tuple[Fraction, ...]


def two_slopes(facts: ActivationFacts) -> tuple[Fraction, Fraction, Fraction] | None:
    """Return s(0), alpha and beta if the activation is linear on both sides of a kink at 0."""
    bend = facts.sup_abs(2)
    if facts.order != 0 or facts.defined is not Truth.PROVED or len(facts.kinks) != 1:
        return None
    if bend.finite is not Truth.PROVED or bend.value.hi != 0 or facts.period is not None:
        return None
    kink = facts.kinks[0]
    known = (kink.place, kink.left[0], kink.left[1], kink.right[1])
    if not all(number.is_exact for number in known) or kink.place.lo != 0:
        return None
    value, alpha, beta = (Fraction(number.lo) for number in known[1:])
    return value, alpha, beta


def lines_cancel(problem: Problem, point: Point, facts: ActivationFacts) -> bool:
    """Return whether the conditions of the module hold on every line, exactly."""
    slopes = two_slopes(facts)
    live = [weight for weight in exact.outer(point) if weight != 0]
    if slopes is None or len(live) != 1 or exact.inputs(problem).size > _LARGE:
        return False
    if not exact.is_trained(problem, "b") and any(exact.biases(point)):
        return False
    start, alpha, beta = slopes
    shift = exact.constant(point) + live[0] * start
    sums: dict[Line, tuple[Fraction, Fraction]] = {}
    tail = [Fraction(1)] if exact.is_trained(problem, "b") else []
    labels = exact.fractions(exact.labels(problem).tolist())
    for row, label in zip(exact.rows_of(exact.inputs(problem)), labels, strict=True):
        x = [*row, *tail]
        c = next((v for v in x if v != 0), None)
        if c is None:
            continue
        line = tuple(v / c for v in x)
        squares, products = sums.get(line, (Fraction(0), Fraction(0)))
        sums[line] = squares + c * abs(c), products + abs(c) * (label - shift)
    return all(
        (beta**2 - alpha**2) * squares == 0 and (beta - alpha) * products == 0
        for squares, products in sums.values()
    )


def decide_mirror_data(problem: Problem, point: Point, facts: ActivationFacts) -> Evidence:
    """Decide whether the kinks of a piecewise linear activation cancel in the risk.

    Args:
        problem: data, squared loss, positive penalties; "a" and "c" must not be trained.
        point: the network's weights; a and frozen biases are used.
        facts: of the activation.

    Returns:
        PROVED ("f is a Villani function") with the witness ``"mirror-data"``, else UNDECIDED.
    """
    roles = set(problem.penalties)
    if problem.loss != "squared" or roles - {"W", "b"} or not all(problem.penalties.values()):
        return Evidence(Truth.UNDECIDED, why_open="a role without penalty, or another loss")
    if not lines_cancel(problem, point, facts):
        why = "the kinks of the activation are not proved to cancel over the data"
        return Evidence(Truth.UNDECIDED, why_open=why)
    how = "the kinks cancel over the data: the risk is a positive definite quadratic polynomial"
    return Evidence(Truth.PROVED, Witness("mirror-data", {}), how=how)

"""Search for rays along which the risk stays bounded.

A ray starts at W = 0 and moves only trained parameters without a penalty. Write z for a moved
pre-activation. The risk stays bounded if every output does:

* constant: the moved neurons have outer weight 0; or the data do not see the direction (E . x_i
  = 0); or two neurons with a_j = -a_k move together (with equal biases), or the outer weights of
  two equal neurons move against each other. f is constant along the ray.
* one side: the moved pre-activations go to a side (or stay) where the activation is bounded. Then
  f is bounded for large t; where s may be unbounded on the way no number is given.
* cancelling: a_j > 0 > a_k and the rows move by v/a_j and v/|a_k|. If kappa0 = sup |s - z s'| is
  finite and s has no jumps, (s(z)/z)' = -kappa(z)/z^2, so m = lim s(z)/z exists at each end and
  |s(z) - m z| <= kappa0 on the side of 0 that it belongs to. Then a_j s(z/a_j) + a_k s(z/|a_k|)
  is at most (a_j + |a_k|) kappa0 in modulus: the linear parts cancel. (Frozen biases must be 0.)

Source: own derivation.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import TYPE_CHECKING, Any

import numpy as np

from verify.verdict import Truth
from verify_kernels.activation_analysis.jet import jet
from verify_kernels.two_layer import exact_data as exact
from verify_kernels.two_layer.ball_risk import Point, Problem
from verify_kernels.two_layer.balls import Ball, ball
from verify_kernels.two_layer.positive_span import half_space, is_half_space, null_vector

if TYPE_CHECKING:
    from verify_kernels.activation_analysis import ActivationFacts

Move = tuple[str, int, list[Fraction]]  # role, index of the neuron, direction


@dataclass(frozen=True)
class FlatRay:
    """A ray and why the risk is bounded along it.

    Args:
        argument: ``constant``, ``one side`` or ``cancelling``.
        moves: what moves.
        outer: the outer weights at the start.
        size: a bound of the moved neurons' share of |u_i|; None if it is finite without a number.
        why: the reason in words.
    """

    argument: str
    moves: list[Move]
    outer: list[Fraction]
    size: Ball | None
    why: str


def flat_rays(problem: Problem, point: Point, facts: ActivationFacts) -> Iterator[FlatRay]:
    """Yield rays of trained parameters without a penalty along which the risk stays bounded."""
    free = {role for role in "Wba" if role in problem.penalties and not problem.penalties[role]}
    trained_outer = exact.is_trained(problem, "a")
    inner = [role for role in "bW" if role in free]
    if trained_outer and inner:
        zero = [Fraction(0)] * len(point.a)
        move = (inner[0], 0, _along(problem, inner[0]))
        yield FlatRay(
            "constant", [move], zero, ball(0), "with a = 0 the risk does not depend on it"
        )
    if "a" in free:
        yield from _outer_rays(problem, point)
    if trained_outer:
        return
    a = exact.outer(point)
    for role in inner:
        yield from _constant_rays(problem, point, role, a)
    for role in inner:
        yield from _one_sided_rays(problem, point, facts, role, a)
    for role in inner:
        yield from _cancelling_rays(problem, point, facts, role, a)


def _along(problem: Problem, role: str) -> list[Fraction]:
    d = exact.inputs(problem).shape[1] if role == "W" else 1
    return [Fraction(int(k == 0)) for k in range(d)]


def _outer_rays(problem: Problem, point: Point) -> Iterator[FlatRay]:
    """Outer weights without penalty: equal neurons against each other, or a zero of s at 0."""
    p = len(point.a)
    zero = [Fraction(0)] * p
    b = zero if exact.is_trained(problem, "b") else exact.biases(point)
    for j in range(p):
        for k in range(j + 1, p):
            if b[j] == b[k]:
                moves: list[Move] = [("a", j, [Fraction(1)]), ("a", k, [Fraction(-1)])]
                why = "equal neurons with outer weights t and -t cancel, and a has no penalty"
                yield FlatRay("constant", moves, zero, ball(0), why)
                return
    if jet(problem.activation, ball(b[0]), 0)[0] == 0:
        why = "the neuron is 0 at W = 0, and its outer weight has no penalty"
        yield FlatRay("constant", [("a", 0, [Fraction(1)])], zero, ball(0), why)


def _constant_rays(
    problem: Problem, point: Point, role: str, a: list[Fraction]
) -> Iterator[FlatRay]:
    along = _along(problem, role)
    if Fraction(0) in a:
        j = a.index(Fraction(0))
        why = f"neuron {j + 1} has outer weight 0, so the risk does not depend on its {role}"
        yield FlatRay("constant", [(role, j, along)], a, ball(0), why)
    if role == "W":
        null = null_vector(exact.inputs(problem))
        if null is not None:
            why = "the data do not see a direction (rank X < d): the risk is constant along it"
            yield FlatRay("constant", [("W", 0, null)], a, ball(0), why)
    b = [Fraction(0)] * len(a) if exact.is_trained(problem, "b") else exact.biases(point)
    seen: dict[tuple[Fraction, Fraction], int] = {}
    for k, weight in enumerate(a):
        j = seen.get((-weight, b[k]), -1)
        if j >= 0:
            why = f"neurons {j + 1} and {k + 1} have opposite outer weights and move together"
            yield FlatRay("constant", [(role, j, along), (role, k, along)], a, ball(0), why)
            return
        seen.setdefault((weight, b[k]), k)


def _one_sided_rays(
    problem: Problem, point: Point, facts: ActivationFacts, role: str, a: list[Fraction]
) -> Iterator[FlatRay]:
    low, high = (side == "bounded" for side in facts.growth)
    if role == "b":
        direction = [Fraction(-1)] if low else [Fraction(1)] if high else None
    elif low and high:
        X = exact.inputs(problem)
        seen = X[np.flatnonzero(X.any(axis=1))[:1]]
        direction = exact.fractions(seen[0].tolist()) if len(seen) else _along(problem, "W")
    elif low or high:
        down = half_space(exact.inputs(problem))
        direction = down if down is None or low else [-v for v in down]
    else:
        direction = None
    if direction is None:
        return
    j = min(range(len(a)), key=lambda k: abs(a[k]))
    size = _side_bound(problem, point, facts, j, a[j], low and high)
    side = "both ends" if low and high else "-infinity" if low else "+infinity"
    why = f"the activation is bounded towards {side}, where one neuron's arguments go"
    yield FlatRay("one side", [(role, j, direction)], a, size, why)


def has_asymptotes(facts: ActivationFacts) -> bool:
    """Return whether |s(z) - m z| <= kappa0 is proved: kappa0 is finite and s has no jumps."""
    continuous = facts.smooth is Truth.PROVED or (facts.order is not None and facts.order >= 0)
    return continuous and facts.kappa0.finite is Truth.PROVED


def _side_bound(
    problem: Problem, point: Point, facts: ActivationFacts, j: int, weight: Fraction, both: bool
) -> Ball | None:
    """Bound |a_j s(z)| on the side: sup |s|, or kappa0 beyond 0 and balls between 0 and b_j."""
    if both and facts.sup_abs(0).finite is Truth.PROVED:
        return abs(ball(weight)) * _largest(facts.sup_abs(0))
    if not has_asymptotes(facts):
        return None
    bound = _largest(facts.kappa0)
    b = Fraction(0) if exact.is_trained(problem, "b") else exact.biases(point)[j]
    if b != 0:
        between = jet(problem.activation, ball(0).union(ball(b)), 0)[0]
        bound = bound.max(between.abs_upper())
    return abs(ball(weight)) * bound


def _cancelling_rays(
    problem: Problem, point: Point, facts: ActivationFacts, role: str, a: list[Fraction]
) -> Iterator[FlatRay]:
    if not has_asymptotes(facts):
        return
    b = [Fraction(0)] * len(a) if exact.is_trained(problem, "b") else exact.biases(point)
    plus = next((k for k, w in enumerate(a) if w > 0 and b[k] == 0), None)
    minus = next((k for k, w in enumerate(a) if w < 0 and b[k] == 0), None)
    if plus is None or minus is None:
        return
    along = _along(problem, role)
    if role == "W":
        X = exact.inputs(problem)
        seen = np.flatnonzero(X.any(axis=1))
        along = exact.fractions(X[seen[0]].tolist()) if seen.size else along
    moves = [(role, k, [v / abs(a[k]) for v in along]) for k in (plus, minus)]
    size = ball(a[plus] - a[minus]) * _largest(facts.kappa0)
    why = f"neurons {plus + 1} and {minus + 1} have outer weights of both signs: they cancel"
    yield FlatRay("cancelling", moves, a, size, why)


def _largest(bound: Any) -> Ball:
    return abs(bound.value.arb()).upper()


def sides_hold(problem: Problem, moves: Sequence[Move], facts: ActivationFacts) -> bool:
    """Return whether the moves send every argument to a side where the activation is bounded."""
    low, high = (side == "bounded" for side in facts.growth)
    for role, _, direction in moves:
        if low and high:
            continue
        if role == "b":
            holds = low if direction[0] < 0 else high
        else:
            X, minus = exact.inputs(problem), [-v for v in direction]
            holds = (low and is_half_space(X, direction)) or (high and is_half_space(X, minus))
        if not holds:
            return False
    return True

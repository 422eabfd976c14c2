"""Rays along which the risk or V_s stays bounded, so that it does not tend to infinity.

Bounded risk: see `ray_search` for the rays and the proofs.

Logistic loss (`bounded_gradient_ray`), s twice continuously differentiable: |l'| <= 1 and 0 <= l''
<= 1/4. On the ray W = 0, b = 0, c = 0 except for one moved parameter without a penalty, so the
penalties add nothing to the gradient and a constant >= 0 to Lap f; the terms l'' |grad u|^2 of Lap
f are >= 0, and V_s = |grad f|^2 / s - Lap f is bounded above although theta -> infinity:

* W or b moves, the outer layer is frozen, S1 = sup |s'| and S2 = sup |s''| are finite:
  |grad f|^2 <= c'^2 (S1^2 |a|_2^2 mean |x~_i|^2 + 1), Lap f >= -c' S2 |a|_1 mean |x~_i|^2.
* the outer bias c moves: the same with |s'(b_j)|, |s''(b_j)| for S1, S2; a trained outer layer is
  put to a = 0 and adds p c'^2 max s(b_j)^2 to |grad f|^2.

Source: own derivation.
"""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from typing import TYPE_CHECKING, Any

import numpy as np

from verify.evidence import Evidence, Witness
from verify.verdict import Truth
from verify_kernels.activation_analysis.jet import jet
from verify_kernels.two_layer import exact_data as exact
from verify_kernels.two_layer.ball_risk import Point, Problem, evaluate
from verify_kernels.two_layer.balls import Ball, ball, precision
from verify_kernels.two_layer.ray_search import FlatRay, Move, flat_rays, sides_hold
from verify_kernels.two_layer.ray_sums import data_means

if TYPE_CHECKING:
    from verify_kernels.activation_analysis import ActivationFacts

TIMES = (10**2, 10**4, 10**6)
_DIRECT = 100_000  # products up to which f is evaluated along the ray
_BITS = 256  # as in a decision, so that a replay finds the stored bound again


def decide_growth(
    problem: Problem, point: Point, facts: ActivationFacts, *, bits: int = _BITS
) -> Evidence:
    """Search for a ray along which the risk stays bounded.

    Args:
        problem: data, loss, penalties.
        point: the network's weights; only frozen roles matter.
        facts: of the activation.
        bits: working precision.

    Returns:
        REFUTED ("f tends to infinity" is false) with the witness ``"flat-ray"``: the argument,
        what moves, the start, a bound of f along the ray, and f at t = 1e2, 1e4, 1e6 for small
        data; else UNDECIDED. Never PROVED.
    """
    with precision(bits):
        ray = next(flat_rays(problem, point, facts), None)
        if ray is None:
            why = "no ray along which the risk stays bounded was found"
            return Evidence(Truth.UNDECIDED, why_open=why)
        return _refuted(problem, point, ray)


def bounded_gradient_ray(
    problem: Problem, point: Point, facts: ActivationFacts, *, bits: int = _BITS
) -> Evidence:
    """Decide for the logistic loss whether V_s stays bounded along a ray, for every s.

    Args:
        problem: data, loss, penalties.
        point: the network's weights.
        facts: of the activation.
        bits: working precision.

    Returns:
        REFUTED with the witness ``"bounded-gradient-ray"``: what moves and bounds of |grad f|^2
        and of -Lap f along the ray; else UNDECIDED.
    """
    if problem.loss != "logistic":
        return Evidence(Truth.UNDECIDED, why_open="the loss is not the logistic one")
    if facts.smooth is not Truth.PROVED and (facts.order is None or facts.order < 2):
        why = "the activation is not known to be twice continuously differentiable"
        return Evidence(Truth.UNDECIDED, why_open=why)
    free = [role for role in "Wbc" if role in problem.penalties and not problem.penalties[role]]
    frozen = not exact.is_trained(problem, "a")
    s1, s2 = facts.sup_abs(1), facts.sup_abs(2)
    finite = s1.finite is Truth.PROVED and s2.finite is Truth.PROVED
    d = exact.inputs(problem).shape[1]
    with precision(bits):
        if "c" in free:
            move: Move = ("c", 0, [Fraction(1)])
            outer = exact.outer(point) if frozen else [Fraction(0)] * len(point.a)
            slopes = [abs(v) for v in _slopes_at_start(problem, point)]
        elif free and frozen and finite:
            unit = [Fraction(int(k == 0)) for k in range(d)]
            move = (free[0], 0, unit if free[0] == "W" else [Fraction(1)])
            outer = exact.outer(point)
            slopes = [ball(0), s1.value.arb(), s2.value.arb()]
        else:
            why = "no trained parameter without penalty whose ray has a bounded gradient"
            return Evidence(Truth.UNDECIDED, why_open=why)
        if not all(v.is_finite() for v in slopes):
            return Evidence(Truth.UNDECIDED, why_open="s, s', s'' at the start are not known")
        return _bounded(problem, point, move, outer, slopes)


def replay_flat_ray(
    witness: Witness, problem: Problem, point: Point, facts: ActivationFacts
) -> bool:
    """Return whether the search yields the stored ray again, and f obeys its bound along it.

    Raises:
        InputError: the data are too large for the general formulas.
    """
    data = witness.data
    moves = _moves_of(data)
    with precision(_BITS):
        ray = next((r for r in flat_rays(problem, point, facts) if _is_same(r, data)), None)
        if ray is None:
            return False
        times = _times(problem, point)
        shown = _values(problem, point, ray.outer, ray.moves, times)
        if list(data["t"]) != (list(times) if len(shown) == len(times) else []):
            return False
        bound = None if ray.size is None else _bound_of_f(problem, point, ray)
    if data["bound"] is not None and (bound is None or data["bound"] < bound):
        return False
    if data["argument"] == "one side" and not sides_hold(problem, moves, facts):
        return False
    values = shown if data["t"] else []
    meets = all(
        lo <= stored[1] and stored[0] <= hi
        for (lo, hi), stored in zip(values, data["f"], strict=True)
    )
    below = data["bound"] is None or all(lo <= data["bound"] for lo, _ in values)
    level = data["argument"] != "constant" or all(
        lo <= values[0][1] and values[0][0] <= hi for lo, hi in values
    )
    return meets and below and level


def _is_same(ray: FlatRay, data: Any) -> bool:
    stored = data["argument"], _moves_of(data), list(data["outer"])
    return (ray.argument, ray.moves, ray.outer) == stored


def replay_bounded_gradient(
    witness: Witness, problem: Problem, point: Point, facts: ActivationFacts
) -> bool:
    """Return whether the ray and its bounds are found again, and hold at several times."""
    data = witness.data
    again = bounded_gradient_ray(problem, point, facts, bits=_BITS)
    if again.witness is None:
        return False
    bounds = ("gradient_squared", "minus_laplacian")
    own = again.witness.data
    if any(data[name] != own[name] for name in own if name not in bounds):
        return False
    agree = all(data[name] >= own[name] for name in bounds)
    for t in TIMES:
        at = ray_point(problem, point, data["outer"], _moves_of(data), t)
        risk = evaluate(problem, at, bits=320 + 4 * t.bit_length())
        agree = agree and not risk.gradient_norm_squared > ball(data["gradient_squared"])
        agree = agree and not -risk.laplacian > ball(data["minus_laplacian"])
    return agree


def ray_point(
    problem: Problem, point: Point, outer: Sequence[Fraction], moves: Sequence[Move], t: int
) -> Point:
    """Return the weights at time t: 0, frozen roles and ``outer``, plus t times the moves."""
    p, d = len(point.a), exact.inputs(problem).shape[1]
    W = [[Fraction(0)] * d for _ in range(p)]
    a = list(outer)
    trained_b = exact.is_trained(problem, "b")
    b = [Fraction(0)] * p if trained_b else exact.biases(point)
    c = Fraction(0) if exact.is_trained(problem, "c") else exact.constant(point)
    for role, j, direction in moves:
        if role == "W":
            W[j] = [t * v for v in direction]
        elif role == "b":
            b[j] = t * direction[0]
        elif role == "a":
            a[j] = t * direction[0]
        else:
            c = t * direction[0]
    has_b, has_c = trained_b or point.b is not None, point.c is not None or "c" in problem.penalties
    return Point(W, a, b if has_b else None, c if has_c else None)


def _refuted(problem: Problem, point: Point, ray: FlatRay) -> Evidence:
    bound = None if ray.size is None else _bound_of_f(problem, point, ray)
    times = _times(problem, point)
    values = _values(problem, point, ray.outer, ray.moves, times)
    if len(values) < len(times):  # numbers beyond any range along the ray: nothing is shown
        times, values = (), []
    data = {
        "argument": ray.argument,
        "roles": [role for role, _, _ in ray.moves],
        "neurons": [j for _, j, _ in ray.moves],
        "directions": [direction for _, _, direction in ray.moves],
        "outer": ray.outer,
        "bound": bound,
        "t": list(times),
        "f": values,
    }
    how = f"{ray.why}; the risk stays bounded along a ray without penalty"
    return Evidence(Truth.REFUTED, Witness("flat-ray", data), how=how)


def _values(
    problem: Problem, point: Point, outer: Sequence[Fraction], moves: Sequence[Move],
    times: Sequence[int],
) -> list[list[Any]]:  # fmt: skip
    """Enclose f at the times, up to the first value that is not bounded."""
    values: list[list[Any]] = []
    for t in times:
        at = ray_point(problem, point, outer, moves, t)
        found = exact.interval(evaluate(problem, at, bits=320 + 4 * t.bit_length()).value)
        if not all(isinstance(end, Fraction) for end in found):
            break
        values.append(found)
    return values


def _times(problem: Problem, point: Point) -> tuple[int, ...]:
    return TIMES if exact.inputs(problem).size * len(point.a) <= _DIRECT else ()


def _bound_of_f(problem: Problem, point: Point, ray: FlatRay) -> Fraction | None:
    """Bound f on the ray: every output is within ``size`` of that of the neurons that stay.

    For a constant risk the bound is its value where the moved neurons start.
    """
    y = exact.labels(problem)
    moved = set() if ray.argument == "constant" else {j for _, j, _ in ray.moves}
    trained_b = exact.is_trained(problem, "b")
    b = [Fraction(0)] * len(ray.outer) if trained_b else exact.biases(point)
    c = Fraction(0) if exact.is_trained(problem, "c") else exact.constant(point)
    still = ball(c)
    for k, weight in enumerate(ray.outer):
        if weight and k not in moved:
            still += ball(weight) * jet(problem.activation, ball(b[k]), 0)[0]
    total = ball(0)
    for label, count in zip(
        *(part.tolist() for part in np.unique(y, return_counts=True)), strict=True
    ):
        total += count * _loss_bound(problem, still, ball(label), ray.size)
    total = ball(problem.loss_scale) * total / len(y)
    total += ball(exact.penalty(problem, "a") / 2 * exact.dot(ray.outer, ray.outer))
    high = exact.interval(total)[1]
    return high if isinstance(high, Fraction) else None


def _loss_bound(problem: Problem, still: Ball, label: Ball, size: Ball | None) -> Ball:
    reach = ball(0) if size is None else size
    if problem.loss == "squared":
        return (abs(still - label) + reach) ** 2 / 2
    return (-(label * still) + reach).exp().log1p()


def _moves_of(data: Any) -> list[Move]:
    return list(zip(data["roles"], data["neurons"], data["directions"], strict=True))


def _slopes_at_start(problem: Problem, point: Point) -> list[Ball]:
    trained = exact.is_trained(problem, "b")
    places = {Fraction(0)} if trained else set(exact.biases(point))
    found = [jet(problem.activation, ball(place), 2) for place in places]
    return [max((abs(f[k]).upper() for f in found), key=float) for k in range(3)]


def _bounded(
    problem: Problem, point: Point, move: Move, outer: list[Fraction], slopes: list[Ball]
) -> Evidence:
    X = exact.inputs(problem)
    moved, p = int(exact.is_trained(problem, "b")), len(outer)
    means = data_means(X, exact.labels(problem))
    if means is None:
        return Evidence(Truth.UNDECIDED, why_open="the data leave the range of binary64")
    mean_square = means.square + moved
    scale = ball(problem.loss_scale)
    a1 = ball(sum((abs(w) for w in outer), Fraction(0)))
    a2 = ball(exact.dot(outer, outer))
    gradient = scale**2 * (slopes[1] ** 2 * a2 * mean_square + 1)
    if exact.is_trained(problem, "a"):
        gradient += scale**2 * p * slopes[0] ** 2
    minus = scale * slopes[2] * a1 * mean_square
    data = {
        "roles": [move[0]],
        "neurons": [move[1]],
        "directions": [move[2]],
        "outer": outer,
        "gradient_squared": exact.interval(gradient)[1],
        "minus_laplacian": exact.interval(minus)[1],
    }
    how = (
        f"logistic loss: along {move[0]} -> infinity, which has no penalty, the gradient and the "
        f"Laplacian are bounded, so V_s is bounded above for every s"
    )
    return Evidence(Truth.REFUTED, Witness("bounded-gradient-ray", data), how=how)

"""Rays along which the risk stays bounded, so that it does not tend to infinity.

A ray starts at W = 0 and moves only trained parameters without a penalty. Write z for a moved
pre-activation. The risk stays bounded if every output does:

* constant: the moved neurons have outer weight 0; or the data do not see the direction (E . x_i
  = 0); or two neurons with a_j = -a_k move together (with equal biases), or the outer weights of
  two equal neurons move against each other. f is constant along the ray.
* one side: the moved pre-activations go to a side (or stay) where the activation is bounded.
* cancelling: a_j > 0 > a_k and the rows move by v/a_j and v/|a_k|. If kappa0 = sup |s - z s'| is
  finite, (s(z)/z)' = -kappa(z)/z^2, so m = lim s(z)/z exists at each end and |s(z) - m z| <= kappa0
  on the side of 0 that it belongs to. Then a_j s(z/a_j) + a_k s(z/|a_k|) is at most (a_j + |a_k|)
  kappa0 in modulus, because the two linear parts cancel. (Frozen biases of the pair must be 0.)

For the logistic loss more is true (`bounded_gradient_ray`): with a frozen outer layer and S1, S2
finite, or with a trained outer bias without penalty, grad f and Lap f are bounded along a ray, so
V_s = |grad f|^2 / s - Lap f is bounded above there for every s.

Source: own derivation.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import TYPE_CHECKING, Any

import numpy as np

from verify.evidence import Evidence, Witness
from verify.verdict import Truth
from verify_kernels.activation_analysis.jet import jet
from verify_kernels.two_layer import exact_data as exact
from verify_kernels.two_layer.ball_risk import Ball, Point, Problem, ball, evaluate, precision
from verify_kernels.two_layer.positive_span import half_space, is_half_space, null_vector

if TYPE_CHECKING:
    from verify_kernels.activation_analysis import ActivationFacts

TIMES = (10**2, 10**4, 10**6)
_DIRECT = 50_000  # products up to which f is evaluated along the ray

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


def decide_growth(
    problem: Problem, point: Point, facts: ActivationFacts, *, bits: int = 256
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
        ray = next(_rays(problem, point, facts), None)
        if ray is None:
            why = "no ray along which the risk stays bounded was found"
            return Evidence(Truth.UNDECIDED, why_open=why)
        return _refuted(problem, point, ray)


def bounded_gradient_ray(
    problem: Problem, point: Point, facts: ActivationFacts, *, bits: int = 256
) -> Evidence:
    """Decide for the logistic loss whether V_s stays bounded along a ray, for every s.

    Proof: |l'| <= 1 and 0 <= l'' <= 1/4. Along the ray W = 0 except for the moved parameters,
    which have no penalty, so the penalties add nothing to the gradient. Frozen outer layer:
    |grad f| <= c' (S1 |a|_2 mean |x~_i| + 1) and Lap f >= -c' S2 |a|_1 mean |x~_i|^2 (+ 1 and the
    term of c if c is trained). Only c moves: the same with s(0), s'(0), s''(0).

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
    """Return whether the stored ray is unpenalised, its argument holds and f obeys its bound.

    Raises:
        InputError: the data are too large for the general formulas.
    """
    data = witness.data
    moves = _moves_of(data)
    if any(exact.penalty(problem, role) or role not in problem.penalties for role, _, _ in moves):
        return False
    if not any(any(direction) for _, _, direction in moves):
        return False
    if data["argument"] == "one side" and not _sides_hold(problem, moves, facts):
        return False
    values = []
    for t in data["t"]:
        at = ray_point(problem, point, data["outer"], moves, t)
        values.append(exact.interval(evaluate(problem, at, bits=320 + 4 * t.bit_length()).value))
    meets = all(
        lo <= stored[1] and stored[0] <= hi
        for (lo, hi), stored in zip(values, data["f"], strict=True)
    )
    below = data["bound"] is None or all(lo <= data["bound"] for lo, _ in values)
    level = data["argument"] != "constant" or all(
        lo <= values[0][1] and values[0][0] <= hi for lo, hi in values
    )
    return meets and below and level


def replay_bounded_gradient(witness: Witness, problem: Problem, point: Point) -> bool:
    """Return whether |grad f|^2 and -Lap f obey the stored bounds at several times."""
    data = witness.data
    agree = True
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


def _rays(problem: Problem, point: Point, facts: ActivationFacts) -> Iterator[FlatRay]:
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


def _side_bound(
    problem: Problem, point: Point, facts: ActivationFacts, j: int, weight: Fraction, both: bool
) -> Ball | None:
    """Bound |a_j s(z)| on the side: sup |s|, or kappa0 beyond 0 and balls between 0 and b_j."""
    if both and facts.sup_abs(0).finite is Truth.PROVED:
        return abs(ball(weight)) * _upper(facts.sup_abs(0))
    if facts.kappa0.finite is not Truth.PROVED:
        return None
    bound = _upper(facts.kappa0)
    b = Fraction(0) if exact.is_trained(problem, "b") else exact.biases(point)[j]
    if b != 0:
        between = jet(problem.activation, ball(0).union(ball(b)), 0)[0]
        bound = bound.max(between.abs_upper())
    return abs(ball(weight)) * bound


def _cancelling_rays(
    problem: Problem, point: Point, facts: ActivationFacts, role: str, a: list[Fraction]
) -> Iterator[FlatRay]:
    if facts.kappa0.finite is not Truth.PROVED:
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
    size = ball(a[plus] - a[minus]) * _upper(facts.kappa0)
    why = f"neurons {plus + 1} and {minus + 1} have outer weights of both signs: they cancel"
    yield FlatRay("cancelling", moves, a, size, why)


def _upper(bound: Any) -> Ball:
    return abs(bound.value.arb()).upper()


def _refuted(problem: Problem, point: Point, ray: FlatRay) -> Evidence:
    X = exact.inputs(problem)
    bound = None if ray.size is None else _bound_of_f(problem, point, ray)
    times = TIMES if X.size * len(point.a) <= _DIRECT else ()
    values = []
    for t in times:
        at = ray_point(problem, point, ray.outer, ray.moves, t)
        values.append(exact.interval(evaluate(problem, at, bits=320 + 4 * t.bit_length()).value))
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
    total, labels = ball(0), {float(v) for v in y.tolist()}
    for label in labels:
        count = int((y == label).sum())
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
    if X.size > exact.LARGE:
        return Evidence(Truth.UNDECIDED, why_open="the data are too large for exact sums")
    squares = [sum((ball(v) ** 2 for v in row), ball(moved)) for row in X.tolist()]
    mean_norm = exact.mean((q.sqrt() for q in squares), len(X))
    mean_square = exact.mean(squares, len(X))
    scale = ball(problem.loss_scale)
    a1 = ball(sum((abs(w) for w in outer), Fraction(0)))
    a2 = ball(exact.dot(outer, outer))
    gradient = scale**2 * (slopes[1] ** 2 * a2 * mean_norm**2 + 1)
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


def _moves_of(data: Any) -> list[Move]:
    return list(zip(data["roles"], data["neurons"], data["directions"], strict=True))


def _sides_hold(problem: Problem, moves: Sequence[Move], facts: ActivationFacts) -> bool:
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

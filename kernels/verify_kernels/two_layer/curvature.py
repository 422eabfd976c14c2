"""Curvature of the risk: lines on which the Hessian is unbounded, and points where it is negative.

No finite gradient-Lipschitz constant (squared loss, frozen outer layer): s'' bounded, kappa0 =
sup |s - z s'| finite, so s(z) = m+ z + O(1) at +inf and m- z + O(1) at -inf. With a_j a_k != 0,
w_j = 0, w_k = t v, all other inner weights 0 and E = e_j (x) v,

    D^2 f[E, E] = penalty |v|^2 + c' mean [(a_j s'(b_j) x_i.v)^2 + r_i a_j s''(b_j) (x_i.v)^2],
    r_i = a_k t (m+ (x_i.v)_+ - m- (x_i.v)_-) + O(1),

so D^2 f[E, E] = t c' a_j a_k s''(b_j) mean (m+ (x_i.v)_+ - m- (x_i.v)_-) (x_i.v)^2 + O(1): if the
factor of t is not 0 the Hessian is unbounded. A trained outer bias does the same with r_i = c +
O(1) and one neuron; a trained outer layer with a = (t, ..): see `cancelling_pair`, where the
Laplacian grows like t^2.

Nonconvexity: one direction with D^2 f(W)[E, E] < 0, evaluated in balls.

Source: own derivation.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from fractions import Fraction
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np

from verify.evidence import Evidence, Witness
from verify.verdict import Truth
from verify_kernels._rounding import Array
from verify_kernels.activation_analysis.jet import jet
from verify_kernels.two_layer import exact_data as exact
from verify_kernels.two_layer.ball_risk import Point, Problem, evaluate
from verify_kernels.two_layer.balls import Ball, ball, precision, shown
from verify_kernels.two_layer.spanning import end_slopes

if TYPE_CHECKING:
    from verify_kernels.activation_analysis import ActivationFacts

TIMES = (10**2, 10**4, 10**6)
_DIRECT = 100_000
_PARAMETERS = 60  # up to which the float eigenvector of a full Hessian is a candidate
_HESSIAN = 40_000  # data times squared parameters of one Hessian in balls


def decide_lipschitz_gradient(
    problem: Problem, point: Point, facts: ActivationFacts, *, sign: int = 0, bits: int = 320
) -> Evidence:
    """Search for a line on which the Hessian is unbounded (softplus-like activations).

    Args:
        problem: data, squared loss, penalties; "a" must not be trained.
        point: the network's weights; a and frozen biases are used.
        facts: of the activation.
        sign: -1 or 1 for a curvature that tends to that infinity, 0 for either.
        bits: working precision.

    Returns:
        REFUTED ("the gradient is Lipschitz" is false) with the witness ``"unbounded-hessian"``:
        neurons j and k (None: the outer bias grows), the direction v, an enclosure of the growth
        per t and of D^2 f[E, E] at t = 1e2, 1e4, 1e6; else UNDECIDED. Never PROVED.
    """
    if problem.loss != "squared" or exact.is_trained(problem, "a"):
        return _open("another loss, or a trained outer layer")
    X = exact.inputs(problem)
    if not X.any() or facts.smooth is not Truth.PROVED:
        return _open("all inputs are 0, or the activation is not smooth")
    with precision(bits):
        slopes = end_slopes(problem, facts)
        i = int(np.argmax(np.einsum("ij,ij->i", X, X)))
        v = exact.fractions(X[i].tolist())
        along = _along(X, i, v, slopes)
        if along is None:
            return _open("too many data for an activation that grows to both sides")
        for j, k in _pairs(problem, point, slopes is not None):
            growth = _growth(problem, point, along, len(X), slopes, j, k)
            if (growth < 0 and sign <= 0) or (growth > 0 and sign >= 0):
                return _unbounded(problem, point, v, j, k, growth)
    return _open("no pair of nonzero outer weights with linear growth and s'' != 0 was found")


def replay_unbounded_hessian(
    witness: Witness, problem: Problem, point: Point, facts: ActivationFacts
) -> bool:
    """Return whether the line is found again, and D^2 f[E, E] grows there as stored."""
    data = witness.data
    sign = 1 if data["growth"][0] > 0 else -1
    again = decide_lipschitz_gradient(problem, point, facts, sign=sign)
    if again.witness is None:
        return False
    own = again.witness.data
    if any(own[name] != data[name] for name in ("j", "k", "direction", "t")):
        return False
    lo, hi = own["growth"]
    low, high = data["growth"]
    if lo > high or low > hi or low <= 0 <= high:
        return False
    values = []
    for t, (lo, hi) in zip(data["t"], data["D2"], strict=True):
        found = _second(problem, point, data["direction"], data["j"], data["k"], t)
        ends = exact.interval(found)
        values.append(found)
        if ends[0] > hi or lo > ends[1]:
            return False
    return all(sign * (y - x) > 0 for x, y in pairwise(values))


def decide_convexity(
    problem: Problem, point: Point, facts: ActivationFacts, *, bits: int = 256
) -> Evidence:
    """Search for a point and a direction of negative curvature.

    Args:
        problem: data, loss, penalties; small enough for full Hessians in balls.
        point: the network's weights, the first candidate.
        facts: of the activation.
        bits: working precision.

    Returns:
        REFUTED ("f is convex" is false) with the witness ``"negative-curvature"``: the weights W
        (and b, a, c), the direction and D^2 f < 0; else UNDECIDED. Never PROVED.
    """
    if exact.inputs(problem).size * len(point.a) > _DIRECT:
        return _open("the network is too large for curvatures in balls")
    for at, direction in _proposals(problem, point, facts, bits):
        found = evaluate(problem, at, bits=bits).second_derivative(direction)
        if found < 0:
            data = _stored(at, "") | _stored(direction, "direction ")
            data["D2"] = exact.interval(found)
            how = f"negative curvature {shown(found)} at one point"
            return Evidence(Truth.REFUTED, Witness("negative-curvature", data), how=how)
    return _open("no direction of negative curvature was found")


def replay_negative_curvature(
    witness: Witness, problem: Problem, point: Point, *, bits: int = 512
) -> bool:
    """Return whether the stored direction has negative curvature at the stored weights.

    Roles that are not trained must be those of the network.
    """
    data = witness.data
    at = Point(*(data[role] for role in "Wabc"))
    own = _stored(point, "")
    if any(data[role] != own[role] for role in "abc" if not exact.is_trained(problem, role)):
        return False
    direction = Point(*(data[f"direction {role}"] for role in "Wabc"))
    found = evaluate(problem, at, bits=bits).second_derivative(direction)
    lo, hi = exact.interval(found)
    return bool(found < 0) and bool(lo <= data["D2"][1] and data["D2"][0] <= hi)


def _proposals(
    problem: Problem, point: Point, facts: ActivationFacts, bits: int
) -> Iterator[tuple[Point, Point]]:
    """Yield points with float eigenvectors, then lines on which the curvature falls."""
    p, d = len(point.a), exact.inputs(problem).shape[1]
    parameters = p * (d + sum(role in problem.penalties for role in "ba"))
    parameters += int("c" in problem.penalties)
    if parameters <= _PARAMETERS and exact.inputs(problem).size * parameters**2 <= _HESSIAN * d:
        for at in _points(problem, point):
            hessian = evaluate(problem, at, bits=bits).hessian()
            direction = _least_direction(problem, point, hessian)
            if direction is not None:
                yield at, direction
    if problem.loss == "squared" and not exact.is_trained(problem, "a"):
        unbounded = decide_lipschitz_gradient(problem, point, facts, sign=-1)
        if unbounded.witness is not None:
            data = unbounded.witness.data
            for t in (*TIMES, 10**9, 10**15):
                yield _line(problem, point, data["direction"], data["j"], data["k"], t)


def _pairs(problem: Problem, point: Point, linear: bool) -> Iterator[tuple[int, int | None]]:
    live = [k for k, weight in enumerate(exact.outer(point)) if weight != 0]
    if exact.is_trained(problem, "c"):
        yield from ((j, None) for j in live[:4])
    if linear:
        yield from ((j, k) for j in live[:4] for k in live[:4] if j != k)


def _along(
    X: Array, i: int, v: list[Fraction], slopes: tuple[Ball, Ball] | None
) -> list[Ball] | None:
    """Return x . v for all data, or for some where all terms of the growth have one sign.

    m+ x^3 for x > 0 and m- x^3 for x < 0 have one sign if m+ m- <= 0: then a part of the data,
    datum i with x . v > 0 among them, gives a lower bound of the modulus of the whole.
    """
    if X.size <= exact.LARGE:
        return [ball(exact.dot(v, row)) for row in exact.rows_of(X)]
    if slopes is not None and not (slopes[0] * slopes[1] <= 0):
        return None
    return [ball(exact.dot(v, v))]


def _growth(
    problem: Problem,
    point: Point,
    along: Sequence[Ball],
    n: int,
    slopes: tuple[Ball, Ball] | None,
    j: int,
    k: int | None,
) -> Ball:
    """Return the factor of t in D^2 f[E, E], or the share of the data that were taken."""
    a = exact.outer(point)
    b = Fraction(0) if exact.is_trained(problem, "b") else exact.biases(point)[j]
    bend = jet(problem.activation, ball(b), 2)[2]
    total = ball(0)
    for x in along:
        if k is None:
            total += x * x
        elif slopes is not None and x != 0:
            total += ball(a[k]) * (slopes[1] if x > 0 else slopes[0]) * x**3
    return ball(problem.loss_scale) * ball(a[j]) * bend * total / n


def _line(
    problem: Problem, point: Point, v: Sequence[Fraction], j: int, k: int | None, t: int
) -> tuple[Point, Point]:
    """Return the weights at time t and the direction E."""
    p, d = len(point.a), len(v)
    W = [[Fraction(0)] * d for _ in range(p)]
    c = Fraction(0) if exact.is_trained(problem, "c") else point.c
    if k is None:
        c = Fraction(t)
    else:
        W[k] = [t * x for x in v]
    zero = [Fraction(0)] * p
    b = zero if exact.is_trained(problem, "b") else point.b
    E = [[Fraction(0)] * d for _ in range(p)]
    E[j] = list(v)
    return Point(W, point.a, b, c), Point(E, zero, zero, Fraction(0))


def _second(
    problem: Problem, point: Point, v: Sequence[Fraction], j: int, k: int | None, t: int
) -> Ball:
    at, direction = _line(problem, point, v, j, k, t)
    return evaluate(problem, at, bits=320 + 4 * t.bit_length()).second_derivative(direction)


def _unbounded(
    problem: Problem, point: Point, v: list[Fraction], j: int, k: int | None, growth: Ball
) -> Evidence:
    small = exact.inputs(problem).size * len(point.a) <= _DIRECT
    times = TIMES if small else ()
    values = [exact.interval(_second(problem, point, v, j, k, t)) for t in times]
    data = {
        "j": j,
        "k": k,
        "direction": v,
        "growth": exact.interval(growth),
        "t": list(times),
        "D2": values,
    }
    what = "the outer bias" if k is None else f"the inner weights of neuron {k + 1}"
    how = (
        f"the curvature in the weights of neuron {j + 1} grows linearly with {what}: no finite "
        f"gradient-Lipschitz constant exists"
    )
    return Evidence(Truth.REFUTED, Witness("unbounded-hessian", data), how=how)


def _points(problem: Problem, point: Point) -> Iterator[Point]:
    """Yield the network's weights, multiples of them, 0, and fixed pseudo-random weights."""
    own = np.asarray(point.W, dtype=np.float64)
    generator = np.random.default_rng(20)
    spread = [generator.standard_normal(own.shape) * size for size in (1.0, 3.0, 10.0, 0.3)]
    trained = exact.is_trained(problem, "b")
    for W in (own, 2.0 * own, -own, 0.0 * own, *spread):
        b = np.zeros(len(own)) if trained and point.b is None else point.b
        c = np.zeros(1) if exact.is_trained(problem, "c") and point.c is None else point.c
        yield Point(W, point.a, b, c)


def _least_direction(problem: Problem, point: Point, hessian: Any) -> Point | None:
    """Return a float eigenvector of the least eigenvalue; it proposes and proves nothing."""
    matrix = np.array([[float(entry.mid()) for entry in row] for row in hessian.tolist()])
    if not np.isfinite(matrix).all():
        return None
    values, vectors = np.linalg.eigh(matrix / 2 + matrix.T / 2)
    if values[0] >= 0:
        return None
    vector = [float(x) for x in vectors[:, 0]]
    p, d = len(point.a), exact.inputs(problem).shape[1]
    W = [vector[j * d : (j + 1) * d] for j in range(p)]
    rest = vector[p * d :]
    parts: dict[str, Any] = {"a": [0.0] * p, "b": [0.0] * p, "c": 0.0}
    for role in "bac":
        if role in problem.penalties:
            count = 1 if role == "c" else p
            taken, rest = rest[:count], rest[count:]
            parts[role] = taken[0] if role == "c" else taken
    return Point(W, parts["a"], parts["b"], parts["c"])


def _stored(point: Point, prefix: str) -> dict[str, Any]:
    """Return the weights as lists of fractions for a witness."""
    parts = {
        "W": [exact.fractions(row) for row in point.W],
        "a": exact.fractions(point.a),
        "b": None if point.b is None else exact.fractions(point.b),
        "c": None if point.c is None else exact.constant(point),
    }
    return {f"{prefix}{role}": value for role, value in parts.items()}


def _open(why: str) -> Evidence:
    return Evidence(Truth.UNDECIDED, why_open=why)

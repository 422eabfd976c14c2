"""Polynomial activations: V_s along a ray is an exact polynomial, and even monomials can pass.

Only polynomials with rational coefficients and degree m >= 2 that are written as such are
recognised. All means are over the data, x~_i = (x_i, 1) with trained inner biases, and P is the
diagonal of the penalties of (W, b).

REFUTED (frozen outer layer): two neurons j, k move along v while all other inner weights are 0,

* opposite pair: a_j = -a_k, w_j = w_k = t v, equal frozen biases (or trained ones);
* monomial s = kappa z^m: w_j = alpha_j t v, w_k = alpha_k t v with a_j alpha_j^m + a_k alpha_k^m
  = 0, which has real solutions != 0 for m odd and for a_j a_k < 0 (frozen biases 0).

Then u_i = c does not depend on t. With l'_i, l''_i at c and zeta_i = v . x~_i, the gradient is
alpha_j t P v + c' a_j mean l'_i s'(alpha_j t zeta_i + b) x~_i for the two neurons and constant
for the others, and Lap f = c' sum_{j,k} a_j^2 mean l''_i s'^2 |x~_i|^2 + c' sum a_j mean l'_i s''
|x~_i|^2 + constants: |grad f|^2 and Lap f are polynomials in t of degree at most 2(m - 1), with
the leading coefficients

    G = [m = 2] sum alpha_j^2 |P v|^2 + c'^2 m^2 kappa^2 sum a_j^2 alpha_j^{2m-2} |M|^2,
    L = c' m^2 kappa^2 sum a_j^2 alpha_j^{2m-2} mean l''_i zeta_i^{2m-2} |x~_i|^2,
    M = mean l'_i zeta_i^{m-1} x~_i

(for m = 2 the mixed term of the square is 4 c' kappa (P v . M) sum a_j alpha_j^2 = 0; for m > 2
it has degree m < 2(m - 1)). If L > 0 then V_s(t) -> -inf for every s > s_crit = G/L.

PROVED (squared loss, frozen outer layer, no trained outer bias, frozen inner biases 0), s =
kappa z^m with m even and all a_j >= 0 or all a_j <= 0. Write rho^2 = mean r_i^2, theta for the
trained parameters. u is homogeneous of degree m, so <grad f, theta> = lambda |W|^2 + lambda_b
|b|^2 + c' m mean r_i u_i >= (penalties) + c' (m/2) (rho^2 - mean y_i^2). As all terms of u_i have
one sign, sum a_j^2 s'^2 <= C |u_i|^{2-2/m} and sum |a_j s''| <= C |u_i|^{1-2/m} (C depends on a),
so Lap f <= C (1 + rho^{2-2/m}).

* every trained inner role has a penalty > 0: (lambda |theta|^2 + q rho^2)^2 / |theta|^2 is at
  least 4 lambda q rho^2 and at least lambda^2 |theta|^2, and rho^{2-2/m} is less than both: V_s
  -> inf. Neither rank X = d nor a_j != 0 is needed.
* no penalty at all, all a_j != 0, the x~_i of full rank: mean u_i^2 >= c |theta|^{2m}, c > 0, by
  homogeneity and compactness, so |grad f|^2 >= c rho^{4-2/m} for large theta: V_s -> inf.
* penalty on W only, biases trained without, all a_j != 0: |b|^2 <= C (rho^{2/m} + |W|^2 + 1).
  Where |W|^2 <= rho^{2/m}, |grad f|^2 >= c rho^{4-2/m}; elsewhere |theta|^2 <= C |W|^2 and the
  first case applies.

In all cases f -> inf at least like a power of |theta|, which makes exp(-2 f/s) integrable.

Source: own derivation.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import numpy as np

from verify.evidence import Evidence, Witness
from verify.verdict import Truth
from verify_kernels._rounding import Array, gamma
from verify_kernels.two_layer import exact_data as exact
from verify_kernels.two_layer.ball_risk import Point, Problem, evaluate
from verify_kernels.two_layer.balls import Ball, ball, precision, shown_above
from verify_kernels.two_layer.polynomial_form import coefficients
from verify_kernels.two_layer.positive_span import has_full_rank

TIMES = (10**2, 10**4, 10**6)
_DIRECT = 100_000  # products up to which V_s is evaluated
_LATER = tuple(10**k for k in (9, 12, 18, 30, 60, 120))


def decide_polynomial(problem: Problem, point: Point, *, bits: int = 320) -> Evidence:
    """Decide the Villani property for a polynomial activation and a frozen outer layer.

    Args:
        problem: data, loss, penalties; "a" and "c" must not be trained.
        point: the network's weights; only frozen roles matter.
        bits: working precision.

    Returns:
        REFUTED with the witness ``"polynomial-ray"`` (neurons, scales alpha as enclosures or
        exact, direction, s_crit, V_s at times t below and above it), PROVED with the witness
        ``"even-monomial"``, or UNDECIDED.
    """
    poly = coefficients(problem.activation)
    if poly is None:
        return _open("the activation is not a polynomial of degree >= 2 written as such")
    if exact.is_trained(problem, "a") or exact.is_trained(problem, "c"):
        return _open("an outer parameter is trained")
    with precision(bits):
        refuted = _refute(problem, point, poly)
    return refuted if refuted is not None else _prove(problem, point, poly)


@dataclass(frozen=True)
class Pair:
    """Two neurons, their outer weights a and their scales alpha (exact, for a monomial balls)."""

    neurons: tuple[int, int]
    outer: tuple[Fraction, Fraction]
    scales: tuple[Ball, Ball]
    root: Fraction | None  # |alpha_k|^m where it is irrational; None for scales 1


def cancelling_scales(problem: Problem, point: Point, poly: Sequence[Fraction]) -> Pair | None:
    """Return a pair of neurons whose outputs cancel along every direction."""
    a, m = exact.outer(point), len(poly) - 1
    b = [Fraction(0)] * len(a) if exact.is_trained(problem, "b") else exact.biases(point)
    seen: dict[tuple[Fraction, Fraction], int] = {}
    for k, weight in enumerate(a):
        if weight != 0 and (-weight, b[k]) in seen:
            j = seen[(-weight, b[k])]
            return Pair((j, k), (a[j], weight), (ball(1), ball(1)), None)
        seen.setdefault((weight, b[k]), k)
    if any(poly[:-1]):
        return None
    live = [k for k, weight in enumerate(a) if weight != 0 and b[k] == 0]
    for j in live[:1]:
        for k in live[1:]:
            if m % 2 or a[j] * a[k] < 0:
                return scaled_pair(j, k, a, m)
    return None


def scaled_pair(j: int, k: int, a: Sequence[Fraction], m: int) -> Pair:
    """Return scales 1 and alpha with a_j + a_k alpha^m = 0."""
    ratio = -a[j] / a[k]
    size = ball(abs(ratio)).root(m)
    return Pair((j, k), (a[j], a[k]), (ball(1), size if ratio > 0 else -size), abs(ratio))


def _refute(problem: Problem, point: Point, poly: list[Fraction]) -> Evidence | None:
    pair, column = cancelling_scales(problem, point, poly), _column(problem)
    if pair is None or column is None:
        return None
    v = _unit(problem, column)
    critical = _critical(problem, point, poly, pair, column)
    if critical is None:
        return None
    ends = exact.interval(critical)
    below = exact.short(Fraction(ends[0]) / 2)
    above = exact.short(Fraction(ends[1]) * 2) * (1 + Fraction(1, 2**10)) or Fraction(1)
    data: dict[str, Any] = {
        "neurons": list(pair.neurons),
        "degree": len(poly) - 1,
        "root": pair.root,
        "direction": v,
        "s_crit": ends,
    }
    for name, s, sign in (("below", below, 1), ("above", above, -1)):
        data |= _side(problem, point, pair, v, name, s, sign)
    how = (
        f"polynomial activation: neurons {pair.neurons[0] + 1} and {pair.neurons[1] + 1} cancel "
        f"along a ray, where V_s is a polynomial in t that tends to -infinity for every "
        f"s > {shown_above(critical)}"
    )
    return Evidence(Truth.REFUTED, Witness("polynomial-ray", data), how=how)


def _column(problem: Problem) -> int | None:
    """Return the column with the largest entry, None if X = 0."""
    X = exact.inputs(problem)
    return int(np.argmax(np.abs(X).max(axis=0))) if X.any() else None


def _unit(problem: Problem, column: int) -> list[Fraction]:
    return [Fraction(int(k == column)) for k in range(exact.inputs(problem).shape[1])]


def _is_small(problem: Problem, point: Point) -> bool:
    return bool(exact.inputs(problem).size * len(point.a) <= _DIRECT)


def _critical(
    problem: Problem, point: Point, poly: list[Fraction], pair: Pair, column: int
) -> Ball | None:
    """Return G/L for v the unit vector of a column, exact rationals up to the roots."""
    m, lead = len(poly) - 1, poly[-1]
    sums = _sums(problem, _still_output(problem, point, poly, pair), column, m)
    if sums is None:
        return None
    moment_squared, spread = sums
    scale = ball(problem.loss_scale)
    weights = sum(
        (ball(w) ** 2 * al ** (2 * m - 2) for w, al in zip(pair.outer, pair.scales, strict=True)),
        ball(0),
    )
    common = m * m * ball(lead) ** 2 * weights
    G = scale**2 * common * moment_squared
    if m == 2:
        lam = ball(exact.penalty(problem, "W"))
        G += sum((al * al for al in pair.scales), ball(0)) * lam * lam
    L = scale * common * spread
    return G / L if L > 0 else None


def _sums(problem: Problem, u: Fraction, column: int, m: int) -> tuple[Ball, Ball] | None:
    """Return |M|^2 and mean l'' zeta^{2m-2} |x~|^2 for zeta a column, exactly or by bounds."""
    X, y = exact.inputs(problem), exact.labels(problem)
    moved = int(exact.is_trained(problem, "b"))
    if X.size > exact.LARGE:
        return _float_sums(problem, X, y, u, column, m)
    d = X.shape[1]
    moment, spread = [ball(0)] * (d + moved), ball(0)
    for row, label in zip(X.tolist(), y.tolist(), strict=True):
        zeta = Fraction(row[column])
        first, second = _loss_slopes(problem, u, Fraction(label))
        x = [*exact.fractions(row), *[Fraction(1)] * moved]
        power = zeta ** (m - 1)
        moment = [q + first * ball(power * w) for q, w in zip(moment, x, strict=True)]
        spread += second * ball(power * power * exact.dot(x, x))
    n = len(X)
    return sum((q * q for q in moment), ball(0)) / n**2, spread / n


def _float_sums(
    problem: Problem, X: Array, y: Array, u: Fraction, column: int, m: int
) -> tuple[Ball, Ball] | None:
    """Return upper bounds by Cauchy's inequality, from float sums of nonnegative numbers.

    |M|^2 <= mean l'^2 mean zeta^{2m-2} |x~|^2, and l'' is one number c: both are multiples of
    the same mean Q, enclosed with relative error gamma_k, k = n + d + 2 m + 8, since every term is
    a product and sum of numbers >= 0 (numbers whose powers could underflow are refused).
    """
    zeta, sizes = np.abs(X[:, column]), np.einsum("ij,ij->i", X, X)
    sizes = sizes + float(exact.is_trained(problem, "b"))
    seen = zeta[zeta > 0]
    if (2 * m) * abs(np.log2([seen.min(), max(seen.max(), sizes.max())])).max() > 1000:
        return None
    k = X.shape[0] + X.shape[1] + 2 * m + 8
    factor = 1 + 2 * ball(gamma(k)) * ball(-1).union(ball(1))
    Q = factor * ball(float((zeta ** (2 * m - 2) * sizes).sum())) / len(X)
    slopes = [_loss_slopes(problem, u, Fraction(v)) for v in y.tolist()]
    square = exact.mean((first * first for first, _ in slopes), len(X))
    return (square * Q).union(ball(0)), slopes[0][1] * Q


def _still_output(problem: Problem, point: Point, poly: list[Fraction], pair: Pair) -> Fraction:
    """Return the output along the ray: the other neurons at W = 0, and the frozen outer bias."""
    a = exact.outer(point)
    b = [Fraction(0)] * len(a) if exact.is_trained(problem, "b") else exact.biases(point)
    total = exact.constant(point)
    for k, weight in enumerate(a):
        if k not in pair.neurons:
            total += weight * sum((q * b[k] ** e for e, q in enumerate(poly)), Fraction(0))
    return total


def _loss_slopes(problem: Problem, u: Fraction, y: Fraction) -> tuple[Ball, Ball]:
    if problem.loss == "squared":
        return ball(u - y), ball(1)
    p = 1 / (1 + ball(y * u).exp())
    return -ball(y) * p, p * (1 - p)


def ray_point(
    problem: Problem, point: Point, pair: Pair, direction: Sequence[Fraction], t: int
) -> Point:
    """Return the weights at time t."""
    p = len(point.a)
    W: list[list[Any]] = [[Fraction(0)] * len(direction) for _ in range(p)]
    for j, scale in zip(pair.neurons, pair.scales, strict=True):
        W[j] = [scale * ball(t * v) for v in direction]
    trained = exact.is_trained(problem, "b")
    b = [Fraction(0)] * p if trained else exact.biases(point)
    return Point(W, point.a, b if trained or point.b is not None else None, point.c)


def _side(
    problem: Problem,
    point: Point,
    pair: Pair,
    v: list[Fraction],
    name: str,
    s: Fraction,
    sign: int,
) -> dict[str, Any]:
    """Evaluate V_s by the general formulas until it has the sign of its limit."""
    times, values = [], []
    for t in (*TIMES, *_LATER) if s > 0 and _is_small(problem, point) else ():
        found = evaluate(problem, ray_point(problem, point, pair, v, t), bits=2048).v(s)
        times.append(t)
        values.append(exact.interval(found))
        if t >= TIMES[-1] and (found > 0 if sign > 0 else found < 0):
            break
    return {f"s_{name}": s if s > 0 else None, f"t_{name}": times, f"V_{name}": values}


def replay_polynomial(
    witness: Witness, problem: Problem, point: Point, *, bits: int = 4096
) -> bool:
    """Return whether the pair and s_crit are found again and every V_s is as stored."""
    data = witness.data
    poly = coefficients(problem.activation)
    if poly is None or len(poly) - 1 != data["degree"] or {"a", "c"} & set(problem.penalties):
        return False
    if witness.kind == "even-monomial":
        proved = _prove(problem, point, poly)
        return proved.witness is not None and proved.witness.data == data
    with precision(bits):
        pair = cancelling_scales(problem, point, poly)
        column = _column(problem)
        if pair is None or column is None or data["direction"] != _unit(problem, column):
            return False
        if (list(pair.neurons), pair.root) != (data["neurons"], data["root"]):
            return False
        critical = _critical(problem, point, poly, pair, column)
        if critical is None or not _encloses(data["s_crit"], critical):
            return False
        if not data["s_above"] > data["s_crit"][1]:
            return False
        sides = (("below", 1), ("above", -1))
        return all(_side_holds(problem, point, pair, data, *side, bits) for side in sides)


def _encloses(ends: Sequence[Any], value: Ball) -> bool:
    """Return whether stored ends enclose a ball of more bits, as far as it is known."""
    lo, hi = exact.interval(value)
    return bool(ends[0] <= lo and hi <= ends[1])


def _side_holds(
    problem: Problem, point: Point, pair: Pair, data: Any, name: str, sign: int, bits: int
) -> bool:
    s, times = data[f"s_{name}"], data[f"t_{name}"]
    if s is None or not _is_small(problem, point):
        return not times
    values = []
    for t, (lo, hi) in zip(times, data[f"V_{name}"], strict=True):
        found = evaluate(problem, ray_point(problem, point, pair, data["direction"], t), bits=bits)
        values.append(found.v(s))
        again = exact.interval(values[-1])
        if again[0] > hi or lo > again[1]:
            return False
    return bool(values) and bool(values[-1] > 0 if sign > 0 else values[-1] < 0)


def _prove(problem: Problem, point: Point, poly: list[Fraction]) -> Evidence:
    """Prove the even monomial with outer weights of one sign; see the module's proof."""
    m, a = len(poly) - 1, exact.outer(point)
    trained_b = exact.is_trained(problem, "b")
    if problem.loss != "squared" or any(poly[:-1]) or m % 2:
        return _open("no cancelling pair was found, and only even monomials are proved to pass")
    if not trained_b and any(exact.biases(point)):
        return _open("frozen inner biases are not 0")
    if not (all(w >= 0 for w in a) or all(w <= 0 for w in a)):
        return _open("outer weights of both signs without a usable pair")
    roles = [role for role in "Wb" if role in problem.penalties]
    free = [role for role in roles if not problem.penalties[role]]
    nonzero = all(a)
    if not free:
        case = "every penalty is positive"
    elif nonzero and free == ["b"]:
        case = "all outer weights are nonzero and W has a positive penalty"
    elif nonzero and free == roles and has_full_rank(_extended(problem)):
        case = "all outer weights are nonzero and the inputs have full rank"
    else:
        return _open("no penalty, and an outer weight is 0 or the rank of the inputs is not full")
    data = {"degree": m, "case": case}
    how = f"even monomial of degree {m}, outer weights of one sign; {case}"
    return Evidence(Truth.PROVED, Witness("even-monomial", data), how=how)


def _extended(problem: Problem) -> Any:
    X = exact.inputs(problem)
    if not exact.is_trained(problem, "b"):
        return X
    return np.hstack([X, np.ones((len(X), 1))])


def _open(why: str) -> Evidence:
    return Evidence(Truth.UNDECIDED, why_open=why)

"""A trained outer layer: along a ray V_s = |grad f|^2 / s - Lap f is an exact quadratic in t.

Neurons j in a set J have a_j = e_j t and the common inner weights w0 (and bias b0), all other a_k
are 0 and all other inner weights are 0. Let z_i = w0 . x_i + b0. If sum_J e_j s(z_i) = 0 for all
data i, the output u_i = c does not depend on t. J is a cancelling pair, e = (1, -1), for any w0;
or one neuron, e = 1, if s(z_i) = 0 for all i (for instance w0 = 0 where s(0) = 0).

With l'_i, l''_i the derivatives of the loss at u_i = c, x~_i = (x_i, 1) if the inner biases are
trained and x_i else, P = diag(penalties of W and b), all means over the data, and

    h = mean l'_i s'(z_i) x~_i,   S = mean l''_i s'(z_i)^2 |x~_i|^2,   g = c' mean l'_i s(z_i):

    |grad f|^2 = sum_J (g + e_j penalty_a t)^2 + sum_J |e_j c' h t + P w~0|^2
                 + sum_{k not in J} (c' mean l'_i s(b_k))^2  [+ (c' mean l'_i + penalty_c c)^2]
    Lap f      = c' |J| S t^2 + c' (sum_J e_j) mean(l'_i s''(z_i) |x~_i|^2) t
                 + p (d penalty_W + penalty_b + penalty_a) + c' sum_k mean(l''_i s(z_ik)^2)
                 [+ c' mean l''_i + penalty_c]

([..] with a trained outer bias c, which is put to 0). No other term contains t. Hence

    V_s(t) = |J| t^2 ((penalty_a^2 + c'^2 |h|^2)/s - c' S) + V1(s) t + V0(s),

and if S > 0 then V_s(t) -> -inf for every s > s_crit = (penalty_a^2 + c'^2 |h|^2) / (c' S): V_s
does not tend to infinity for those s, whatever the penalties. (Squared loss: l' = c - y_i, l'' = 1.
Logistic loss, c = 0: l' = -y_i/2, l'' = 1/4.) The proof needs s in C^2 only.

Source:
    the chain rule; own derivation, compared with the general formulas of the risk by the tests.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import TYPE_CHECKING, Any

import numpy as np

from verify.errors import InputError
from verify.evidence import Evidence, Witness
from verify.verdict import Truth
from verify_kernels.activation_analysis.jet import jet
from verify_kernels.two_layer import exact_data as exact
from verify_kernels.two_layer.ball_risk import Point, Problem, evaluate
from verify_kernels.two_layer.balls import Ball, ball, precision, shown_above
from verify_kernels.two_layer.ray_sums import ray_sums

if TYPE_CHECKING:
    from verify_kernels.activation_analysis import ActivationFacts

TIMES = (10**2, 10**4, 10**6)
_LATER = tuple(10**k for k in (9, 12, 18, 30, 60, 120, 200, 500, 1500))
_DIRECT = 100_000  # products in one evaluation by the general formulas that replay accepts


@dataclass(frozen=True)
class Ray:
    """V_s(t) = (g2 t^2 + g1 t + g0)/s - (l2 t^2 + l1 t + l0), all balls, with S and h^2."""

    gradient: tuple[Ball, Ball, Ball]
    laplacian: tuple[Ball, Ball, Ball]
    S: Ball
    h_squared: Ball

    def v(self, s: Fraction, t: int) -> Ball:
        """Return V_s(t)."""
        above = [g / ball(s) - k for g, k in zip(self.gradient, self.laplacian, strict=True)]
        return (above[0] * t + above[1]) * t + above[2]

    @property
    def critical(self) -> Ball:
        """s_crit, the s beyond which V_s(t) -> -inf."""
        return self.gradient[0] / self.laplacian[0]


def decide_outer_layer(
    problem: Problem,
    point: Point,
    facts: ActivationFacts,
    *,
    candidates: Sequence[Sequence[Fraction]] | None = None,
    bits: int = 320,
) -> Evidence:
    """Decide by a cancelling pair whether V_s -> inf for every s, if the outer layer is trained.

    Args:
        problem: data, loss, penalties; "a" must be trained.
        point: the network's weights; frozen biases are taken from it, the rest gives candidates.
        facts: of the activation, which must be C^2.
        candidates: inner weights w0 to try, each with d entries (d + 1 with a trained inner
            bias), instead of 0, the network's rows and unit vectors.
        bits: working precision.

    Returns:
        REFUTED with the witness ``"outer-layer-ray"``: neurons and signs of J, ``w0``, ``b0``,
        enclosures of S, |h|^2, s_crit, and V_s at times t for one s below and one above s_crit
        (``s_below`` is None if s_crit may be 0); or UNDECIDED. Never PROVED.

    Raises:
        InputError: the outer layer is not trained.
    """
    if not exact.is_trained(problem, "a"):
        raise InputError("decide_outer_layer: expected a trained outer layer, but got a frozen one")
    if facts.smooth is not Truth.PROVED and (facts.order is None or facts.order < 2):
        return _open("the activation is not known to be twice continuously differentiable")
    neurons, signs = _neurons(problem, point)
    tried = candidates if candidates is not None else _candidates(problem, point)
    with precision(bits):
        best: tuple[Ray, list[Fraction]] | None = None
        for w0 in tried:
            ray = ray_of(problem, point, neurons, signs, list(w0))
            if ray is None or not ray.S > 0:
                continue
            if best is None or ray.S > 2 * best[0].S:
                best = ray, list(w0)
            if not any(w0):
                break  # cheap, and seldom far from the largest S
        if best is None:
            return _open(_why_open(neurons))
        return _refuted(problem, best[0], best[1], neurons, signs)


def ray_of(
    problem: Problem, point: Point, neurons: Sequence[int], signs: Sequence[int], w0: list[Fraction]
) -> Ray | None:
    """Return V_s along the ray, or None if the output is not proved constant along it.

    Args:
        problem: data, loss, penalties.
        point: the network's weights; only frozen biases matter.
        neurons: J.
        signs: e_j, one each.
        w0: the common inner weights, with the common bias at the end if it is trained.
    """
    p, moved = len(point.a), exact.is_trained(problem, "b")
    b = [Fraction(0)] * p if moved else exact.biases(point)
    b0 = w0[-1] if moved else b[neurons[0]]
    if not moved and any(b[j] != b0 for j in neurons):
        return None
    inner = w0[:-1] if moved else w0
    sums = ray_sums(problem, point, inner, b0)
    if sums is None or not (sum(signs) == 0 or sums.vanishes):
        return None
    scale, n_set, total = ball(problem.loss_scale), len(neurons), sum(signs)
    lam = {role: ball(exact.penalty(problem, role)) for role in "Wbac"}
    pull = [lam["W"] * ball(w) for w in inner] + ([lam["b"] * ball(b0)] if moved else [])
    h_squared = sum((h * h for h in sums.h), ball(0))
    g = scale * sums.slope_value
    cross = sum((h * q for h, q in zip(sums.h, pull, strict=True)), ball(0))
    rest = [_value(problem, b[k]) for k in range(p) if k not in neurons]
    g2 = n_set * (lam["a"] ** 2 + scale**2 * h_squared)
    g1 = total * 2 * (g * lam["a"] + scale * cross)
    g0 = n_set * (g * g + sum((q * q for q in pull), ball(0)))
    g0 += sum(((scale * sums.slope * s) ** 2 for s in rest), ball(0))
    l0 = p * (len(inner) * lam["W"] + (lam["b"] if moved else 0) + lam["a"])
    l0 += scale * (n_set * sums.square + sum((sums.curvature * s * s for s in rest), ball(0)))
    if exact.is_trained(problem, "c"):
        g0 += (scale * sums.slope) ** 2
        l0 += scale * sums.curvature + lam["c"]
    return Ray(
        (g2, g1, g0), (scale * n_set * sums.S, total * scale * sums.bend, l0), sums.S, h_squared
    )


def replay_outer_layer(witness: Witness, problem: Problem, point: Point) -> bool:
    """Return whether the ray is what it says and the general formulas give its signs of V_s.

    S, |h|^2 and s_crit are computed again, and every stored V_s at the concrete weights (a, W, b,
    c) of the ray without use of its derivation.

    Raises:
        InputError: the data are too large for the general formulas.
    """
    data = witness.data
    X = exact.inputs(problem)
    if X.size * len(point.a) > _DIRECT:
        raise InputError(
            f"replay_outer_layer: expected at most {_DIRECT} products, but got {X.shape}"
        )
    with precision(320):
        if data["signs"] not in ([1, -1], [1]) or len(set(data["neurons"])) != len(data["signs"]):
            return False
        w0 = list(data["w0"]) + ([data["b0"]] if exact.is_trained(problem, "b") else [])
        ray = ray_of(problem, point, data["neurons"], data["signs"], w0)
        if ray is None or not ray.S > 0:
            return False
        found = {"s_crit": ray.critical, "S": ray.S, "h_squared": ray.h_squared}
        agree = all(_meet(exact.interval(value), data[name]) for name, value in found.items())
        lo, hi = exact.interval(ray.critical)
    agree = agree and data["s_above"] > hi and (data["s_below"] is None or data["s_below"] < lo)
    for side, sign in (("below", 1), ("above", -1)):
        s, times = data[f"s_{side}"], data[f"t_{side}"]
        if s is None:
            continue
        agree = agree and bool(times)
        for t, (lo, hi) in zip(times, data[f"V_{side}"], strict=True):
            at = ray_point(problem, point, data, t)
            v = evaluate(problem, at, bits=320 + 4 * t.bit_length()).v(s)
            agree = agree and _meet(exact.interval(v), (lo, hi))
            if t == times[-1]:
                agree = agree and bool(v > 0 if sign > 0 else v < 0)
    return agree


def _meet(one: Sequence[Any], two: Sequence[Any]) -> bool:
    return bool(one[0] <= two[1] and two[0] <= one[1])


def ray_point(problem: Problem, point: Point, data: Any, t: int) -> Point:
    """Return the weights of the witness at time t."""
    p, d = len(point.a), exact.inputs(problem).shape[1]
    a = [Fraction(0)] * p
    W = [[Fraction(0)] * d for _ in range(p)]
    b = None if point.b is None else exact.biases(point)
    if exact.is_trained(problem, "b"):
        b = [Fraction(0)] * p
    for j, sign in zip(data["neurons"], data["signs"], strict=True):
        a[j], W[j] = Fraction(sign * t), list(data["w0"])
        if b is not None and exact.is_trained(problem, "b"):
            b[j] = data["b0"]
    c = Fraction(0) if exact.is_trained(problem, "c") else point.c
    return Point(W, a, b, c)


def _value(problem: Problem, place: Fraction) -> Ball:
    return jet(problem.activation, ball(place), 0)[0]


def _neurons(problem: Problem, point: Point) -> tuple[list[int], list[int]]:
    """Return a pair with equal frozen biases (any pair if they are trained), or one neuron."""
    p = len(point.a)
    b = [Fraction(0)] * p if exact.is_trained(problem, "b") else exact.biases(point)
    first: dict[Fraction, int] = {}
    for k, value in enumerate(b):
        if value in first:
            return [first[value], k], [1, -1]
        first[value] = k
    return [0], [1]


def _candidates(problem: Problem, point: Point) -> list[list[Fraction]]:
    X, moved = exact.inputs(problem), exact.is_trained(problem, "b")
    d = X.shape[1]
    tail = [Fraction(0)] if moved else []
    own = [exact.fractions(row) for row in list(point.W)[:4]]
    found = [[Fraction(0)] * d + tail, *([*row, *tail] for row in own)]
    if moved:
        found.append([Fraction(0)] * d + [Fraction(1)])
    largest = np.abs(X).max(axis=0)
    for k in np.argsort(-largest)[:2].tolist():
        if largest[k] > 0:
            unit = [Fraction(0)] * d
            unit[k] = exact.short(1 / Fraction(float(largest[k])), bits=2)
            found.append(unit + tail)
    return found


def _refuted(
    problem: Problem, ray: Ray, w0: list[Fraction], neurons: list[int], signs: list[int]
) -> Evidence:
    moved = exact.is_trained(problem, "b")
    critical = exact.interval(ray.critical)
    s_above = _above(Fraction(critical[1]))
    s_below = exact.short(Fraction(critical[0]) / 2)
    data: dict[str, Any] = {
        "neurons": list(neurons),
        "signs": list(signs),
        "w0": w0[:-1] if moved else w0,
        "b0": w0[-1] if moved else None,
        "S": exact.interval(ray.S),
        "h_squared": exact.interval(ray.h_squared),
        "s_crit": critical,
    }
    data |= _side(ray, "below", s_below if s_below > 0 else None, 1)
    data |= _side(ray, "above", s_above, -1)
    what = (
        f"the pair a_{neurons[0] + 1} = t, a_{neurons[1] + 1} = -t with equal inner weights cancels"
        if len(neurons) == 2
        else f"the neuron {neurons[0] + 1} with a = t has s(w0 . x_i) = 0 for all data"
    )
    how = (
        f"{what}, so V_s(t)/t^2 -> {len(neurons)} ((penalty_a^2 + c'^2 |h|^2)/s - c' S) < 0 for "
        f"every s > s_crit = {shown_above(ray.critical)}"
    )
    return Evidence(Truth.REFUTED, Witness("outer-layer-ray", data), how=how)


def _above(critical: Fraction) -> Fraction:
    if critical == 0:
        return Fraction(1)
    return exact.short(critical * 2, bits=12) * (1 + Fraction(1, 2**10))


def _side(ray: Ray, name: str, s: Fraction | None, sign: int) -> dict[str, Any]:
    """Return V_s at the usual times, and at later ones until it has the sign of its limit."""
    times: list[int] = []
    values: list[Any] = []
    for t in (*TIMES, *_LATER):
        if s is None:
            break
        v = ray.v(s, t)
        times.append(t)
        values.append(exact.interval(v))
        if t >= TIMES[-1] and (v > 0 if sign > 0 else v < 0):
            break
    return {f"s_{name}": s, f"t_{name}": times, f"V_{name}": values}


def _why_open(neurons: Sequence[int]) -> str:
    if len(neurons) == 2:
        return "no inner weights with s'(w0 . x_i) x_i != 0 for some datum were found or evaluated"
    return (
        "one neuron (or different frozen biases) and a trained outer layer: no inner weights with "
        "s(w0 . x_i) = 0 for all data and s' x_i != 0 for one were found"
    )


def _open(why: str) -> Evidence:
    return Evidence(Truth.UNDECIDED, why_open=why)

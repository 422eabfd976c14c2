"""Log-oscillating activations s(z) = A z cos((w/2) log(1 + z^2)): a sharp threshold for lambda.

Squared loss, frozen outer layer with one nonzero a, all nonzero inputs (extended by 1 with a
trained inner bias of the same penalty) equal to one x, m times among n data; q = |x|^2, yb the
mean of their labels minus the frozen outer bias, b a frozen inner bias. On the ray w = tau x,
with z = q tau + b,

    grad f = x (lambda tau + c' (m/n) (a s(z) - yb) a s'(z)) =: x g(tau),
    Lap f = lambda D + c' (m/n) q ((a s')^2 + (a s - yb) a s''),   D all trained parameters.

s = A z cos th, s' = A (cos th - w z^2/(1 + z^2) sin th) with th = (w/2) log(1 + z^2), and s'' =
O(1/|z|), so s', s s'' are bounded, Lap f is bounded on all of parameter space, and

    g(tau)/tau -> lambda + K (1 + cos 2 th - w sin 2 th),   K = c' (m/n) a^2 q A^2 / 2,

whose values fill [lambda - T, ...] with T = K (sqrt(1 + w^2) - 1) as th runs through a period.

* lambda < T: g changes sign infinitely often. At its zeros grad f = 0, and V_s = -Lap f is
  bounded: V_s does not tend to infinity, for any s.
* lambda > T (so lambda > 0): for w = tau x + v, v orthogonal to x, grad f = x g(tau) + lambda v
  (and lambda times the inner weights of neurons with a_j = 0), so |grad f| >= c |theta| - C with
  c > 0, and V_s -> inf for every s; f >= (lambda/2) |theta|^2.
* lambda = T is not decided.

lambda < T is decided by comparing squares of rational numbers, if A^2 and w^2 are rational.

An inner bias without penalty refutes for any number of neurons and data and both losses, if the
outer layer is frozen: s has zeros b_k -> inf, and f(W = 0, b_1 = b_k, all other trained parameters
0) is the same for all k, so f does not tend to infinity. There u_i and so l'_i, l''_i do not
depend on k, s'(b_k) = -+ A w b_k^2/(1 + b_k^2) is bounded and s''(b_k) = O(1/b_k): grad f and Lap
f are bounded along the sequence, and V_s does not tend to infinity either, for any s.

Source: own derivation.
"""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from typing import Any

from flint import arb

from verify.enclosure import Enclosure
from verify.evidence import Evidence, Witness
from verify.verdict import Truth
from verify_kernels.activation_analysis.jet import jet
from verify_kernels.two_layer import exact_data as exact
from verify_kernels.two_layer.ball_risk import Point, Problem, evaluate
from verify_kernels.two_layer.balls import Ball, ball, precision
from verify_kernels.two_layer.oscillation_form import (
    Line,
    Oscillation,
    one_dimensional,
    recognise,
    threshold,
)

_TURNS = 400  # half turns of the oscillation that are searched for a sign change
_LARGEST = 200_000  # bits of the largest argument that is tried
_HALVINGS = 100


def decide_log_oscillation(problem: Problem, point: Point) -> Evidence:
    """Decide the Villani property for a log-oscillating activation.

    Args:
        problem: data, loss, penalties.
        point: the network's weights; only frozen roles matter.

    Returns:
        REFUTED with the witness ``"oscillation-zeros"`` (lambda below the threshold: brackets of
        two zeros of the gradient on the ray, V_s there) or ``"bias-zeros"`` (an inner bias
        without penalty), PROVED with ``"oscillation-threshold"``, else UNDECIDED.
    """
    shape = recognise(problem.activation)
    if shape is None:
        return _open("the activation is not written as A z cos(B log(1 + z^2))")
    if _has_free_bias(problem):
        return _bias_zeros(problem, shape)
    line = one_dimensional(problem, point)
    if line is None:
        return _open(
            "more than one neuron or one input direction, or an outer parameter is trained"
        )
    lam = exact.penalty(problem, "W")
    ratio = (lam / line.K + 1) ** 2 - (1 + line.shape.frequency_squared)
    bound = threshold(line)
    if ratio == 0:
        return _open("lambda equals the threshold")
    if ratio > 0:
        data = {"threshold": [bound.lo, bound.hi], "penalty": lam}
        how = f"log-oscillating activation: lambda is above the threshold {_show(bound)}"
        return Evidence(Truth.PROVED, Witness("oscillation-threshold", data), how=how)
    return _below(problem, line, lam, bound)


def replay_log_oscillation(witness: Witness, problem: Problem, point: Point) -> bool:
    """Return whether the witness holds: signs at brackets, and the exact comparison."""
    data = witness.data
    if witness.kind == "bias-zeros":
        return (
            recognise(problem.activation) is not None
            and _has_free_bias(problem)
            and (_brackets_hold(problem, data["zeros"]))
        )
    line = one_dimensional(problem, point)
    if line is None:
        return False
    lam, bound = exact.penalty(problem, "W"), threshold(line, bits=512)
    ratio = (lam / line.K + 1) ** 2 - (1 + line.shape.frequency_squared)
    told = data["threshold"]
    if data["penalty"] != lam or bound.lo > told[1] or told[0] > bound.hi:
        return False
    if witness.kind == "oscillation-threshold":
        return ratio > 0
    if ratio >= 0 or len(data["zeros"]) != 2 or data["x"] != line.x or data["neuron"] != line.j:
        return False
    return _zeros_hold(problem, point, line, data)


def _zeros_hold(problem: Problem, point: Point, line: Line, data: Any) -> bool:
    """Return whether the gradient changes sign in every bracket, and V_s there is as stored."""
    for (lo, hi), told in zip(data["zeros"], data["V"], strict=True):
        found = _value_between(problem, line, lo, hi)
        if found[0] > told[1] or told[0] > found[1]:
            return False
        slopes = []
        for tau in (lo, hi):
            bits = 512 + 4 * max(1, tau.numerator.bit_length() - tau.denominator.bit_length())
            gradient = evaluate(problem, _at(problem, point, line, tau), bits=bits).gradient
            k = next(i for i, value in enumerate(line.x) if value != 0)
            parts = [*gradient["W"][line.j], *([gradient["b"][line.j]] if "b" in gradient else [])]
            slopes.append(parts[k] * ball(line.x[k]))
        if not ((slopes[0] > 0 and slopes[1] < 0) or (slopes[0] < 0 and slopes[1] > 0)):
            return False
    return True


def _at(problem: Problem, point: Point, line: Line, tau: Fraction) -> Point:
    p, d = len(point.a), exact.inputs(problem).shape[1]
    W = [[Fraction(0)] * d for _ in range(p)]
    W[line.j] = [tau * v for v in line.x[:d]]
    b = None if point.b is None else exact.biases(point)
    if exact.is_trained(problem, "b"):
        b = [Fraction(0)] * p
        b[line.j] = tau * line.x[-1]
    return Point(W, point.a, b, point.c)


def _slope(problem: Problem, line: Line, tau: Ball) -> tuple[Ball, Ball]:
    """Return g(tau) and the second derivative of the data part, divided by q."""
    q, scale = exact.dot(line.x, line.x), ball(Fraction(problem.loss_scale) * line.share)
    s0, s1, s2 = jet(problem.activation, tau * ball(q) + ball(line.bias), 2)
    a = ball(line.weight)
    r = a * s0 - ball(line.label)
    first = ball(exact.penalty(problem, "W")) * tau + scale * r * a * s1
    return first, scale * ball(q) * ((a * s1) ** 2 + r * a * s2)


def _below(problem: Problem, line: Line, lam: Fraction, bound: Enclosure) -> Evidence:
    """Find two zeros of g around a minimum of g(tau)/tau, far enough out."""
    for turn in range(_TURNS):
        found = _bracket(problem, line, turn)
        if found is None:
            break
        left, low, right = found
        signs = [_sign(problem, line, tau) for tau in (left, low, right)]
        if signs == [1, -1, 1]:
            zeros = [_bisect(problem, line, *pair) for pair in ((left, low), (low, right))]
            return _refuted(problem, line, lam, bound, zeros)
    return _open("lambda is below the threshold, but no sign change of the gradient was reached")


def _bracket(problem: Problem, line: Line, turn: int) -> tuple[Fraction, Fraction, Fraction] | None:
    """Return tau at a maximum, the next minimum and the next maximum of 1 + cos 2th - w sin 2th.

    cos 2th - w sin 2th = sqrt(1 + w^2) cos(2 th + atan w).
    """
    q = exact.dot(line.x, line.x)
    with precision(256):
        frequency = ball(line.shape.frequency_squared).sqrt()
        found = []
        for half in (2 * turn + 2, 2 * turn + 3, 2 * turn + 4):
            th = (half * arb.pi() - frequency.atan()) / 2
            power = 2 * th / frequency  # log(1 + z^2)
            if not power > 0 or power > _LARGEST:
                return None
            z = power.expm1().sqrt()
            lo = exact.interval((z - ball(line.bias)) / ball(q))[0]
            if not isinstance(lo, Fraction) or lo <= 0:
                return None
            found.append(exact.short(lo, bits=128))
    return found[0], found[1], found[2]


def _bits(tau: Fraction) -> int:
    return 512 + 4 * abs(tau.numerator.bit_length() - tau.denominator.bit_length())


def _sign(problem: Problem, line: Line, tau: Fraction) -> int:
    with precision(_bits(tau)):
        slope = _slope(problem, line, ball(tau))[0]
        return 1 if slope > 0 else -1 if slope < 0 else 0


def _bisect(problem: Problem, line: Line, lo: Fraction, hi: Fraction) -> tuple[Fraction, Fraction]:
    """Narrow a bracket of a zero of g; both ends keep their proved signs."""
    sign = _sign(problem, line, lo)
    for _ in range(_HALVINGS):
        middle = exact.short((lo + hi) / 2, bits=192)
        found = _sign(problem, line, middle) if lo < middle < hi else 0
        if found == 0:
            break
        lo, hi = (middle, hi) if found == sign else (lo, middle)
    return lo, hi


def _refuted(
    problem: Problem,
    line: Line,
    lam: Fraction,
    bound: Enclosure,
    zeros: list[tuple[Fraction, Fraction]],
) -> Evidence:
    values = [_value_between(problem, line, lo, hi) for lo, hi in zeros]
    data = {
        "threshold": [bound.lo, bound.hi],
        "penalty": lam,
        "x": line.x,
        "neuron": line.j,
        "zeros": [list(pair) for pair in zeros],
        "V": values,
    }
    how = (
        f"log-oscillating activation: lambda is below the threshold {_show(bound)}, so grad f = 0 "
        f"infinitely often on a ray, where V_s = -Lap f is bounded, for every s"
    )
    return Evidence(Truth.REFUTED, Witness("oscillation-zeros", data), how=how)


def _value_between(problem: Problem, line: Line, lo: Fraction, hi: Fraction) -> list[Any]:
    """Enclose V_s = -Lap f at a zero of the gradient in a bracket."""
    with precision(_bits(hi)):
        curvature = _slope(problem, line, ball(lo).union(ball(hi)))[1]
        return exact.interval(-curvature - ball(exact.penalty(problem, "W")) * line.parameters)


def _has_free_bias(problem: Problem) -> bool:
    free = "b" in problem.penalties and exact.penalty(problem, "b") == 0
    return free and "a" not in problem.penalties


def _brackets_hold(problem: Problem, brackets: Sequence[Sequence[Fraction]]) -> bool:
    """Return whether there are brackets, and the activation changes sign in each."""
    return bool(brackets) and all(
        _sign_of(problem, lo) * _sign_of(problem, hi) < 0 for lo, hi in brackets
    )


def _bias_zeros(problem: Problem, shape: Oscillation) -> Evidence:
    zeros = []
    with precision(256):
        half_frequency = ball(shape.frequency_squared).sqrt() / 2
        for k in (1, 2, 3):
            power = (k * arb.pi() + arb.pi() / 2) / half_frequency
            if power > _LARGEST:
                return _open("the zeros of the activation are too large")
            lo, hi = exact.interval(power.expm1().sqrt())
            zeros.append([exact.short(lo, bits=64), exact.short(hi, bits=64) * (1 + _TINY)])
        if not _brackets_hold(problem, zeros):
            return _open("the zeros of the activation could not be enclosed")
    how = (
        "the activation has zeros b_k -> infinity, and the risk has one value at W = 0, b_1 = b_k "
        "for all k, with bounded gradient and Laplacian: neither it nor V_s tends to infinity "
        "along an inner bias without penalty"
    )
    return Evidence(Truth.REFUTED, Witness("bias-zeros", {"zeros": zeros}), how=how)


_TINY = Fraction(1, 2**60)


def _sign_of(problem: Problem, place: Fraction) -> int:
    with precision(_bits(place)):
        value = jet(problem.activation, ball(place), 0)[0]
        return 1 if value > 0 else -1 if value < 0 else 0


def _show(bound: Enclosure) -> str:
    return str(bound.arb().str(12, radius=False))


def _open(why: str) -> Evidence:
    return Evidence(Truth.UNDECIDED, why_open=why)

"""Log-oscillating activations as written, and networks that are one-dimensional with them."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from typing import TYPE_CHECKING, Any

import numpy as np

from verify.enclosure import Enclosure
from verify_kernels.two_layer import exact_data as exact
from verify_kernels.two_layer.ball_risk import Point, Problem
from verify_kernels.two_layer.balls import ball, precision
from verify_kernels.two_layer.polynomial_form import polynomial_of

if TYPE_CHECKING:
    import sympy as sp

    from verify.network.activation import Activation


@dataclass(frozen=True)
class Oscillation:
    """A^2 and w^2 of A z cos((w/2) log(1 + z^2)), exact; both positive."""

    amplitude_squared: Fraction
    frequency_squared: Fraction


@dataclass(frozen=True)
class Line:
    """The one-dimensional problem; see the module's formulas.

    Args:
        j: the neuron with a_j != 0.
        weight: a_j.
        x: the input (extended by 1 with a trained inner bias).
        share: m / n.
        label: yb.
        bias: the frozen inner bias b.
        K: half the coefficient of the oscillation.
        shape: A^2 and w^2.
        parameters: D, the number of trained parameters.
    """

    j: int
    weight: Fraction
    x: list[Fraction]
    share: Fraction
    label: Fraction
    bias: Fraction
    K: Fraction
    shape: Oscillation
    parameters: int


def recognise(activation: Activation) -> Oscillation | None:
    """Return A^2 and w^2 if the formula is written as A z cos(B log(1 + z^2)), else None.

    A and B must be products of rational numbers and square roots of rational numbers.
    """
    total, rest = _constant_square(activation.formula())
    cosines = [part for part in rest if part.func.__name__ == "cos"]
    if total == 0 or len(rest) != 2 or len(cosines) != 1:
        return None
    if not any(part.is_Symbol for part in rest):
        return None
    inner, logs = _constant_square(cosines[0].args[0])
    if inner == 0 or len(logs) != 1 or logs[0].func.__name__ != "log":
        return None
    if polynomial_of(logs[0].args[0]) != [Fraction(1), Fraction(0), Fraction(1)]:
        return None
    return Oscillation(total, 4 * inner)


def one_dimensional(problem: Problem, point: Point) -> Line | None:
    """Return the one-dimensional problem, or None if the network is not of that kind."""
    shape = recognise(problem.activation)
    if shape is None or problem.loss != "squared" or {"a", "c"} & set(problem.penalties):
        return None
    a = exact.outer(point)
    live = [j for j, weight in enumerate(a) if weight != 0]
    X, trained = exact.inputs(problem), exact.is_trained(problem, "b")
    if trained and exact.penalty(problem, "b") != exact.penalty(problem, "W"):
        return None
    full = np.hstack([X, np.ones((len(X), 1))]) if trained else X
    seen = np.flatnonzero(full.any(axis=1))
    if len(live) != 1 or not seen.size or (full[seen] != full[seen[0]]).any():
        return None
    x = exact.fractions(full[seen[0]].tolist())
    labels = exact.fractions(exact.labels(problem)[seen].tolist())
    share = Fraction(len(seen), len(X))
    j = live[0]
    bias = Fraction(0) if trained else exact.biases(point)[j]
    label = sum(labels, Fraction(0)) / len(labels) - exact.constant(point)
    K = Fraction(problem.loss_scale) * share * a[j] ** 2 * exact.dot(x, x)
    K *= shape.amplitude_squared / 2
    return Line(j, a[j], x, share, label, bias, K, shape, len(a) * len(x))


def threshold(line: Line, *, bits: int = 256) -> Enclosure:
    """Return T = K (sqrt(1 + w^2) - 1)."""
    with precision(bits):
        root = ball(1 + line.shape.frequency_squared).sqrt()
        return Enclosure.from_arb(ball(line.K) * (root - 1))


def _constant_square(expression: sp.Expr) -> tuple[Fraction, list[Any]]:
    """Split a product into the square of its constant factor and the factors with z.

    Only rational numbers and square roots of positive rational numbers count as constants; the
    square is 0 where another constant occurs.
    """
    square, rest = Fraction(1), []
    waiting = [expression]
    while waiting:
        part = waiting.pop()
        if part.is_Mul:
            waiting.extend(part.args)
        elif part.is_Rational:
            square *= Fraction(int(part.p), int(part.q)) ** 2
        elif part.is_Pow and part.base.is_Rational and abs(part.exp) == _half():
            value = Fraction(int(part.base.p), int(part.base.q))
            if value <= 0:
                return Fraction(0), []
            square *= value if part.exp > 0 else 1 / value
        elif part.is_Pow and part.exp == -1 and not part.free_symbols:
            inner = _constant_square(part.base)[0]
            if inner == 0:
                return Fraction(0), []
            square /= inner
        elif not part.free_symbols:
            return Fraction(0), []
        else:
            rest.append(part)
    return square, rest


def _half() -> Any:
    import sympy as sp

    return sp.Rational(1, 2)

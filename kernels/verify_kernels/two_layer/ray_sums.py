"""Means over the data that V_s needs along a ray of equal neurons; see `cancelling_pair`."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction

import numpy as np

from verify_kernels._rounding import ETA, Array, gamma
from verify_kernels.activation_analysis.jet import jet
from verify_kernels.two_layer import exact_data as exact
from verify_kernels.two_layer.ball_risk import Point, Problem
from verify_kernels.two_layer.balls import Ball, ball, balls_product

_JETS = 5_000  # data up to which the activation is evaluated at each of them


@dataclass(frozen=True)
class RaySums:
    """Means over the data at the ray; see the module's formulas."""

    h: list[Ball]  # mean l' s' x~
    S: Ball  # mean l'' s'^2 |x~|^2
    bend: Ball  # mean l' s'' |x~|^2
    slope_value: Ball  # mean l' s
    square: Ball  # mean l'' s^2
    slope: Ball  # mean l'
    curvature: Ball  # mean l''
    vanishes: bool  # s(z_i) = 0 for all i


def ray_sums(problem: Problem, point: Point, inner: list[Fraction], b0: Fraction) -> RaySums | None:
    """Return the sums for the common inner weights and bias, or None if they are not known."""
    X = exact.inputs(problem)
    c = Fraction(0) if exact.is_trained(problem, "c") else exact.constant(point)
    if not any(inner):
        return _sums_at_one_place(problem, X, b0, c)
    if X.size > exact.LARGE or len(X) > _JETS:
        return None
    moved = 1 if exact.is_trained(problem, "b") else 0
    n, y = len(X), exact.labels(problem)
    h, totals, vanishes = [ball(0)] * (X.shape[1] + moved), [ball(0)] * 6, True
    for row, label in zip(X.tolist(), y.tolist(), strict=True):
        values = exact.fractions(row)
        z = exact.dot(inner, values) + b0
        s0, s1, s2 = jet(problem.activation, ball(z), 2)
        vanishes = vanishes and bool(s0 == 0)
        first, second = _loss_slopes(problem, ball(c), label)
        x = [ball(v) for v in values] + [ball(1)] * moved
        reach = ball(sum((v * v for v in values), Fraction(moved)))
        h = [a + first * s1 * b for a, b in zip(h, x, strict=True)]
        terms = (second * s1**2 * reach, first * s2 * reach, first * s0, second * s0**2)
        totals = [a + b for a, b in zip(totals, (*terms, first, second), strict=True)]
    if reach_is_void(X, moved):
        return None
    S, bend, slope_value, square, slope, curvature = (total / n for total in totals)
    return RaySums(
        [a / n for a in h], S, bend, slope_value, square, slope, curvature, vanishes=vanishes
    )


def reach_is_void(X: Array, moved: int) -> bool:
    """Return whether no inner parameter moves any pre-activation: X = 0 and no trained bias."""
    return not moved and not X.any()


def _sums_at_one_place(problem: Problem, X: Array, b0: Fraction, c: Fraction) -> RaySums | None:
    """Return the sums for w0 = 0: every pre-activation is b0, and l' = alpha - beta y_i."""
    moved = 1 if exact.is_trained(problem, "b") else 0
    if reach_is_void(X, moved):
        return None
    s0, s1, s2 = jet(problem.activation, ball(b0), 2)
    alpha, beta, curvature = _affine_slope(problem, ball(c))
    data = data_means(X, exact.labels(problem))
    if data is None:
        return None
    means = [alpha * u - beta * v for u, v in zip(data.x, data.yx, strict=True)]
    slope = alpha - beta * data.y
    reach = data.square + moved
    return RaySums(
        h=[s1 * m for m in [*means, *[slope] * moved]],
        S=curvature * s1**2 * reach,
        bend=s2 * (alpha * reach - beta * (data.y_square + moved * data.y)),
        slope_value=slope * s0,
        square=curvature * s0**2,
        slope=slope,
        curvature=curvature,
        vanishes=bool(s0 == 0),
    )


@dataclass(frozen=True)
class DataMeans:
    """Means over the data: x, y x (vectors), y, |x|^2, y |x|^2."""

    x: list[Ball]
    yx: list[Ball]
    y: Ball
    square: Ball
    y_square: Ball


def data_means(X: Array, y: Array) -> DataMeans | None:
    """Return the means, in balls for small data and in floats with error bounds for large.

    Error bound: a float sum of m products of up to three factors, in any order, errs by at most
    gamma_{m+2} times the sum of the moduli plus 3 m times the smallest subnormal (times the third
    factor); the float sum of the moduli is smaller than the exact one by at most the same factor,
    so gamma is doubled. None where a sum leaves the range of binary64.
    """
    n = len(X)
    if X.size <= exact.LARGE:
        rows = [[ball(v) for v in row] for row in X.tolist()]
        weights = [[ball(1)] * n, [ball(v) for v in y.tolist()]]
        x, yx = balls_product(weights, rows)
        norms = [sum((v * v for v in row), ball(0)) for row in rows]
        totals = balls_product(weights, [[r, w] for r, w in zip(norms, weights[1], strict=True)])
        return DataMeans(
            [v / n for v in x],
            [v / n for v in yx],
            totals[0][1] / n,
            totals[0][0] / n,
            totals[1][0] / n,
        )
    with np.errstate(over="ignore", invalid="ignore"):
        ones, norms_, big = np.ones(n), np.einsum("ij,ij->i", X, X), np.abs(X)
        pairs = [(v @ X, np.abs(v) @ big) for v in (ones, y)]
        pairs += [(np.array([v.sum()]), np.array([np.abs(v).sum()])) for v in (y, norms_)]
        pairs.append((np.array([y @ norms_]), np.array([np.abs(y) @ norms_])))
    if not all(np.isfinite(size).all() for _, size in pairs):
        return None
    tiny = 3 * X.size * (1 + ball(float(np.abs(y).max()))) * ball(ETA)
    factor = 2 * ball(gamma(X.size + 2))
    means = [
        [
            (ball(c) + (factor * ball(m) + tiny) * unit_ball()) / n
            for c, m in zip(*pair, strict=True)
        ]
        for pair in pairs
    ]
    return DataMeans(means[0], means[1], means[2][0], means[3][0], means[4][0])


def unit_ball() -> Ball:
    """Return [-1, 1]."""
    return ball(-1).union(ball(1))


def _affine_slope(problem: Problem, c: Ball) -> tuple[Ball, Ball, Ball]:
    """Return alpha, beta, l'' with l'(c) = alpha - beta y, the same for every label."""
    if problem.loss == "squared":
        return c, ball(1), ball(1)
    half = ball(Fraction(1, 2))
    rising = 1 / (1 + (-c).exp())
    return rising - half, half, rising * (1 - rising)


def _loss_slopes(problem: Problem, c: Ball, label: float) -> tuple[Ball, Ball]:
    alpha, beta, curvature = _affine_slope(problem, c)
    return alpha - beta * ball(label), curvature

r"""The certified curve of phase 2: an upper bound of the loss after t steps, for every t.

J is convex with L_V-Lipschitz gradient and inf J = 0 (rank Z = n); V_0 is the last layer at the
switch, V_t the exact iterates of gradient descent with alpha <= 1/L_V. Proved for all t >= 1:

    descent:      J(V_t) <= J(V_0);
    comparison:   J(V_t) <= J(C) + ||V_0 - C||_F^2 / (2 alpha t) for every C;
    contraction:  J(V_t) <= (1 - alpha mu sigma_n^2/n)^t J(V_0) if l is mu-strongly convex;
    rounding:     sqrt J(computed V_t) <= sqrt J(V_t) + E_t sqrt(L_V/2), E_t >= ||computed - V_t||.

The last: J(X + D) <= J(X) + <grad J(X), D> + (L_V/2) ||D||^2 and ||grad J(X)||^2 <= 2 L_V J(X).
Points C of comparison are proposed in plain floats and their J and distance are enclosed, or they
are logits that some C attains because rank Z = n, at most ||logits - V_0 Z^T||_F / sigma_n away.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from verify_conditions.expressivity.ee_descent import LastLayer, distance_up
from verify_kernels._rounding import (
    Array,
    add_up,
    div_up,
    down,
    mul_down,
    mul_up,
    norm_up,
    sqrt_up,
    up,
)

_ENCLOSED = "a point with its enclosed loss"
_RIDGES = 24
_ACCELERATED = 256
_KEPT = frozenset(int(2.0 ** (k / 2)) for k in range(17))
_TIMES = tuple(c * 10**k for k in range(8) for c in (1, 3))


@dataclass(frozen=True)
class Comparison:
    """A point C of comparison.

    Args:
        loss: an upper bound of J(C).
        distance: an upper bound of ||V_0 - C||_F.
        how: where it comes from.
    """

    loss: float
    distance: float
    how: str


@dataclass(frozen=True)
class Curve:
    """Upper bounds of the loss along gradient descent from V_0.

    Args:
        start: an upper bound of J(V_0).
        step: a lower bound of alpha.
        rate: an upper bound of the contraction of J by one step, at most 1.
        comparisons: points C.
    """

    start: float
    step: float
    rate: float
    comparisons: tuple[Comparison, ...] = ()

    def exact(self, t: int) -> float:
        """Bound J at the exact iterate after t steps."""
        bounds = [self.start, mul_up(_power_up(self.rate, t), self.start)]
        if t > 0:
            bounds += [
                add_up(c.loss, div_up(mul_up(c.distance, c.distance), down(2.0 * self.step * t)))
                for c in self.comparisons
            ]
        return min(bounds)

    def executed(self, t: int, distance: float) -> float:
        """Bound J at a point within ``distance`` of the exact iterate; L_V <= 1/alpha."""
        bound = self.exact(t)
        if distance == 0.0:
            return bound
        steep = sqrt_up(div_up(0.5, self.step))
        root = add_up(sqrt_up(bound), mul_up(steep, distance))
        return mul_up(root, root)


@np.errstate(all="ignore")
def certified_curve(problem: LastLayer, V: Array, sigma_n: float) -> Curve:
    """Return the curve of gradient descent from V.

    Args:
        problem: of the last layer.
        V: V_0, exact.
        sigma_n: a lower bound of the n-th singular value of Z; 0 if none is known.
    """
    alpha = down(problem.n * problem.factor)
    gain = mul_down(problem.factor, mul_down(problem.convexity, mul_down(sigma_n, sigma_n)))
    reached = list(_attained(problem, V, sigma_n)) if sigma_n > 0.0 else []
    reached += _proposed(problem, V, alpha)
    start = problem.enclose(V).hi_float
    return Curve(start, alpha, min(1.0, up(1.0 - gain)), tuple(_useful(reached)))


def _attained(problem: LastLayer, V: Array, sigma_n: float) -> Iterator[Comparison]:
    """Yield logits that some C attains, with the distance of the nearest such C."""
    Q, slack = problem.logits(V), problem.slack(V)
    for aim in problem.values.aims(Q, problem.targets):
        away = add_up(distance_up(aim, Q), norm_up(slack))
        loss = problem.values.enclose(aim, problem.targets, np.zeros(problem.n)).hi_float
        yield Comparison(loss, div_up(away, sigma_n), "logits attained since rank Z = n")


def _proposed(problem: LastLayer, V: Array, alpha: float) -> list[Comparison]:
    """Return the points that promise most for a few t, each enclosed."""
    K = problem.M @ problem.M.T
    Q = problem.logits(V)
    if not (np.isfinite(K).all() and np.isfinite(Q).all()):
        return []
    found = [*_ridges(problem, K, Q), *_accelerated(problem, K, Q)]
    best: dict[int, None] = {}
    for t in _TIMES:
        scores = [loss + square / (2.0 * alpha * t) for loss, square, _ in found]
        if scores:
            best[int(np.argmin(scores))] = None
    return [_enclosed(problem, V, found[k][2]) for k in best]


Candidate = tuple[float, float, Array]
"""In plain floats: J(C), ||V_0 - C||^2, and A (n, k) with C = V_0 + A^T M."""


def _ridges(problem: LastLayer, K: Array, Q: Array) -> Iterator[Candidate]:
    """Yield regularised least-squares solutions towards logits of small loss."""
    try:
        values, vectors = np.linalg.eigh(K)
    except np.linalg.LinAlgError:  # a proposal less, nothing else
        return
    values = np.maximum(values, 0.0)
    for aim in problem.values.aims(Q, problem.targets):
        turned = vectors.T @ (aim - Q)
        for power in range(_RIDGES):
            ridge = float(values[-1]) * 4.0**-power + 2.0**-1000
            weights = turned / (values + ridge)[:, None]
            loss = _value(problem, Q + vectors @ (values[:, None] * weights))
            yield loss, float(np.sum(values[:, None] * weights**2)), vectors @ weights


def _accelerated(problem: LastLayer, K: Array, Q: Array) -> Iterator[Candidate]:
    """Yield points along an accelerated descent in the coordinates A of the samples."""
    A = before = np.zeros_like(Q)
    logits = logits_before = Q
    for step in range(1, _ACCELERATED + 1):
        weight = (step - 1.0) / (step + 2.0)
        ahead = A + weight * (A - before)
        there = logits + weight * (logits - logits_before)
        move = problem.factor * problem.values.gradient(there, problem.targets)[0]
        before, A = A, ahead - move
        logits_before, logits = logits, there - K @ move
        if step in _KEPT:
            yield _value(problem, logits), float(np.sum(A * (K @ A))), A


def _value(problem: LastLayer, logits: Array) -> float:
    found = problem.values.enclose(logits, problem.targets, np.zeros(problem.n))
    return found.hi_float


def _enclosed(problem: LastLayer, V: Array, rows: Array) -> Comparison:
    C = V + rows.T @ problem.M
    return Comparison(problem.enclose(C).hi_float, distance_up(V, C), _ENCLOSED)


def _useful(found: Sequence[Comparison]) -> Iterator[Comparison]:
    """Yield those that no other beats in both loss and distance."""
    lowest = np.inf
    for each in sorted(found, key=lambda c: (c.distance, c.loss)):
        if each.loss < lowest:
            lowest = each.loss
            yield each


def _power_up(base: float, t: int) -> float:
    """Return an upper bound of base^t for 0 <= base <= 1."""
    result, square = 1.0, base
    while t:
        if t & 1:
            result = mul_up(result, square)
        square = min(1.0, mul_up(square, square))
        t >>= 1
    return min(1.0, result)

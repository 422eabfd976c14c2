"""Float search for inputs with two equilibria: follow the equilibrium along lines of inputs.

Along x(t) = x0 + t g the pre-activation v(t) of a piecewise linear layer is piecewise linear.
Where it crosses a wall v_i = 0 and the determinants of the two neighbouring patterns have
opposite signs, the path folds back: just before the wall both patterns hold an equilibrium for
the same input. Nothing here is a proof; `verify_kernels.input_range` checks each proposal.
"""

from __future__ import annotations

import math
import time
from collections.abc import Iterator

import numpy as np

from verify_kernels._rounding import Array
from verify_kernels.linear_pieces import Problem, Signs

Proposal = tuple[Array, Signs, Signs]


def propose_folds(problem: Problem, *, lines: int = 12, seed: int = 20) -> Iterator[Proposal]:
    """Yield (x, signs, signs'): inputs at which two patterns seem to hold an equilibrium."""
    if problem.d == 0 or problem.m == 0:
        return
    search = _Search(problem)
    if not search.usable:
        return
    random = np.random.default_rng(seed)
    until = time.monotonic() + 0.4 * max(0.0, problem.deadline - time.monotonic())
    for k in range(lines):
        if time.monotonic() > until:
            return
        x0 = random.standard_normal(problem.d) * (0.0 if k == 0 else 10.0 ** random.integers(-1, 2))
        g = random.standard_normal(problem.d)
        with np.errstate(all="ignore"):
            v = search.solve(x0)
            if v is not None:
                for direction in (g, -g):
                    yield from search.follow(x0, v, direction, until)


class _Search:
    """The float copy of a problem."""

    def __init__(self, problem: Problem) -> None:
        self.W = _floats(problem.W)
        self.U = _floats(problem.U)
        self.bias = np.array([_ratio(e) for e in problem.bias])
        self.alpha = _ratio(problem.alpha)
        self.usable = all(bool(np.isfinite(a).all()) for a in (self.W, self.U, self.bias))

    def slopes(self, v: Array) -> Array:
        return np.where(v > 0, 1.0, self.alpha)

    def solve(self, x: Array) -> Array | None:
        """Return v with v - W s(v) = U x + bias up to rounding, by semi-smooth Newton steps."""
        b = self.U @ x + self.bias
        v, identity = b.copy(), np.eye(len(b))
        for _ in range(60):
            D = self.slopes(v)
            try:
                new = np.linalg.solve(identity - self.W * D, b)
            except np.linalg.LinAlgError:
                return None
            if not np.isfinite(new).all():
                return None
            if np.array_equal(new > 0, v > 0):
                return np.asarray(new)
            v = new
        return None

    def follow(self, x0: Array, v: Array, g: Array, until: float) -> Iterator[Proposal]:
        """Follow the path from (x0, v) along g and yield the first fold, if it meets one."""
        w, m, t, entered = self.U @ g, len(v), 0.0, 0.0
        up = v > 0
        inverse = np.linalg.inv(np.eye(m) - self.W * np.where(up, 1.0, self.alpha))
        for _ in range(20 * m + 20):
            if time.monotonic() > until or not np.isfinite(inverse).all():
                return
            v, rate = inverse @ (self.bias + self.U @ (x0 + t * g)), inverse @ w
            step, i = _first_wall(v, rate, up)
            if not math.isfinite(step):
                return
            t, entered = t + step, t
            change = (1.0 - self.alpha) if up[i] else (self.alpha - 1.0)
            column = inverse @ self.W[:, i] * change
            ratio = 1.0 + column[i]
            flipped = up.copy()
            flipped[i] = not up[i]
            if ratio <= 0.0:
                if ratio < 0.0:
                    turned = inverse - np.outer(column, inverse[i]) / ratio
                    back = self._reach(turned, x0 + t * g, -w, flipped, i)
                    room = min(back, t - entered)
                    depth = 0.5 * room if math.isfinite(room) else 1.0
                    yield x0 + (t - depth) * g, _signs(up), _signs(flipped)
                return
            inverse = inverse - np.outer(column, inverse[i]) / ratio
            up = flipped

    def _reach(self, inverse: Array, x: Array, w: Array, up: Array, skip: int) -> float:
        v, rate = inverse @ (self.U @ x + self.bias), inverse @ w
        v[skip], rate[skip] = (1.0, 0.0) if up[skip] else (-1.0, 0.0)
        return _first_wall(v, rate, up)[0]


def _first_wall(v: Array, rate: Array, up: Array) -> tuple[float, int]:
    leaving = np.where(up, rate < 0, rate > 0)
    steps = np.where(leaving, np.maximum(-v / np.where(leaving, rate, 1.0), 0.0), np.inf)
    i = int(np.argmin(steps))
    return float(steps[i]), i


def _signs(up: Array) -> Signs:
    return tuple(1 if positive else -1 for positive in up)


def _floats(matrix: object) -> Array:
    rows = matrix.tolist()  # type: ignore[attr-defined]
    shape = (int(matrix.nrows()), int(matrix.ncols()))  # type: ignore[attr-defined]
    flat = [_ratio(entry) for row in rows for entry in row]
    return np.array(flat, dtype=np.float64).reshape(shape)


def _ratio(entry: object) -> float:
    try:
        return int(entry.p) / int(entry.q)  # type: ignore[attr-defined]
    except OverflowError:
        return math.inf

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
from typing import Any

import numpy as np

from verify_kernels._rounding import Array
from verify_kernels.linear_pieces import Problem, Signs

Proposal = tuple[Array, Signs, Signs]


def propose_folds(
    problem: Problem, *, relu: bool = False, lines: int = 40, seed: int = 20
) -> Iterator[Proposal]:
    """Yield (x, signs, signs'): inputs at which two patterns seem to hold an equilibrium.

    Args:
        problem: the layer; its input is U x + bias, or relu(U x + bias) if ``relu``.
        relu: see there.
        lines: how many random lines of inputs are followed.
        seed: of the lines.
    """
    if problem.d == 0 or problem.m == 0:
        return
    search = _Search(problem, relu=relu)
    if not search.usable:
        return
    random = np.random.default_rng(seed)
    left = problem.deadline - time.monotonic()
    search.until = time.monotonic() + min(0.4 * max(0.0, left), 3.0)
    for k in range(lines):
        if time.monotonic() > search.until:
            return
        x0 = random.standard_normal(problem.d) * (0.0 if k == 0 else 10.0 ** random.integers(-1, 2))
        g = random.standard_normal(problem.d)
        yield from search.line(x0, g)


class _Search:
    """The float copy of a problem."""

    def __init__(self, problem: Problem, *, relu: bool = False) -> None:
        self.W = _floats(problem.W)
        self.U = _floats(problem.U)
        self.bias = np.array([_ratio(e) for e in problem.bias])
        self.alpha = _ratio(problem.alpha)
        self.usable = all(bool(np.isfinite(a).all()) for a in (self.W, self.U, self.bias))
        self.relu, self.until = relu, math.inf

    def line(self, x0: Array, g: Array) -> list[Proposal]:
        """Return the first folds on both sides of x0 along g."""
        with np.errstate(all="ignore"):
            up = self.start(x0)
            if up is None:
                return []
            found = [self.follow(x0, up, direction) for direction in (g, -g)]
        return [proposal for proposal in found if proposal is not None]

    def inputs(self, x: Array) -> Array:
        """Return b(x)."""
        b: Array = self.U @ x + self.bias
        return np.asarray(np.maximum(b, 0.0) if self.relu else b)

    def matrix(self, up: Any) -> Array:
        """Return I - W D."""
        with np.errstate(over="ignore"):
            return np.asarray(np.eye(len(up)) - self.W * np.where(up, 1.0, self.alpha))

    def start(self, x: Array) -> Any:
        """Return the signs of an equilibrium for x: Newton steps, else a path from far away."""
        b = self.inputs(x)
        up = b > 0
        for _ in range(30):
            try:
                v = np.linalg.solve(self.matrix(up), b)
            except np.linalg.LinAlgError:
                break
            if not np.isfinite(v).all():
                break
            if np.array_equal(v > 0, up):
                return up
            up = v > 0
        return self._trace(b)

    def _trace(self, target: Array) -> Any:
        """Follow the path of b from v = -1 to the target through its folds."""
        m = len(target)
        up = np.zeros(m, dtype=bool)
        first = -self.matrix(up).sum(axis=1)
        t, way, w = 0.0, 1.0, target - first
        inverse = _inverse(self.matrix(up))
        for _ in range(30 * m + 30):
            if time.monotonic() > self.until or not np.isfinite(inverse).all():
                return None
            v, rate = inverse @ (first + t * w), way * (inverse @ w)
            step, i = _first_wall(v, rate, up)
            if way > 0 and t + step >= 1.0:
                return up
            if not math.isfinite(step):
                return None
            t += way * step
            column, ratio = self._flip(inverse, up, i)
            if ratio == 0.0:
                return None
            inverse = inverse - np.outer(column, inverse[i]) / ratio
            way = -way if ratio < 0.0 else way
            up[i] = not up[i]
        return None

    def _flip(self, inverse: Array, up: Any, i: int) -> tuple[Array, float]:
        change = (1.0 - self.alpha) if up[i] else (self.alpha - 1.0)
        column = inverse @ self.W[:, i] * change
        return column, float(1.0 + column[i])

    def follow(self, x0: Array, up: Any, g: Array) -> Proposal | None:
        """Follow the equilibrium with these signs from x0 along g to the first fold."""
        m, t, entered = len(up), 0.0, 0.0
        inverse = _inverse(self.matrix(up))
        on = (self.U @ x0 + self.bias > 0) | (not self.relu)
        for _ in range(20 * m + 20):
            if time.monotonic() > self.until or not np.isfinite(inverse).all():
                return None
            raw, raw_rate = self.U @ (x0 + t * g) + self.bias, self.U @ g
            b, w = np.where(on, raw, 0.0), np.where(on, raw_rate, 0.0)
            step, i = _first_wall(inverse @ b, inverse @ w, up)
            turn, j = _first_wall(raw, raw_rate, on) if self.relu else (math.inf, 0)
            if not math.isfinite(min(step, turn)):
                return None
            t, entered = t + min(step, turn), t
            if turn < step:
                on[j] = not on[j]
                continue
            column, ratio = self._flip(inverse, up, i)
            flipped = up.copy()
            flipped[i] = not up[i]
            if ratio == 0.0:
                return None
            turned = inverse - np.outer(column, inverse[i]) / ratio
            if ratio < 0.0:
                back = self._reach(turned, b + step * w, -w, flipped, i)
                room = min(back, t - entered)
                depth = 0.5 * room if math.isfinite(room) else 1.0
                return x0 + (t - depth) * g, _signs(up), _signs(flipped)
            inverse, up = turned, flipped
        return None

    def _reach(self, inverse: Array, b: Array, w: Array, up: Any, skip: int) -> float:
        v, rate = inverse @ b, inverse @ w
        v[skip], rate[skip] = (1.0, 0.0) if up[skip] else (-1.0, 0.0)
        return _first_wall(v, rate, up)[0]


def propose_overlap(problem: Problem, first: Signs, second: Signs) -> Array | None:
    """Return an x at which both patterns seem to hold an equilibrium, by linear programming.

    HiGHS maximises the distance of both pre-activations from the walls of their orthants.
    """
    from scipy.optimize import linprog  # slow to load; few searches get here

    search, m, d = _Search(problem), problem.m, problem.d
    if not search.usable or d == 0 or m == 0:
        return None
    signs = np.array([first, second], dtype=np.float64)
    blocks = [search.matrix(row > 0) for row in signs]
    zero, column = np.zeros((m, m)), np.zeros((m, 1))
    equal = np.block([[blocks[0], zero, -search.U, column], [zero, blocks[1], -search.U, column]])
    walls = np.hstack([np.diag(-signs.ravel()), np.zeros((2 * m, d)), np.ones((2 * m, 1))])
    cost = np.zeros(2 * m + d + 1)
    cost[-1] = -1.0
    if not np.isfinite(equal).all():
        return None
    solved = linprog(
        cost,
        A_ub=walls,
        b_ub=np.zeros(2 * m),
        A_eq=equal,
        b_eq=np.concatenate([search.bias, search.bias]),
        bounds=[(None, None)] * (2 * m + d) + [(None, 1.0)],
    )
    if solved.x is None or not solved.x[-1] > 0.0:
        return None
    return np.asarray(solved.x[2 * m : 2 * m + d], dtype=np.float64)


def propose_exclusion(problem: Problem) -> Array | None:
    """Return y with (I - W)^T y < 0 < (I - alpha W)^T y by linear programming, or None.

    Then y (v - W s(v)) <= 0 for every v, so a b with y b > 0 has no equilibrium.
    """
    from scipy.optimize import linprog  # slow to load; few searches get here

    search, m = _Search(problem), problem.m
    if not search.usable or m == 0:
        return None
    above = search.matrix(np.ones(m, dtype=bool)).T
    below = search.matrix(np.zeros(m, dtype=bool)).T
    one = np.ones((m, 1))
    rows = np.vstack([np.hstack([above, one]), np.hstack([-below, one])])
    cost = np.zeros(m + 1)
    cost[-1] = -1.0
    if not np.isfinite(rows).all():
        return None
    solved = linprog(
        cost,
        A_ub=rows,
        b_ub=np.zeros(2 * m),
        bounds=[(-1.0, 1.0)] * m + [(None, 1.0)],
    )
    if solved.x is None or not solved.x[-1] > 0.0:
        return None
    return np.asarray(solved.x[:m], dtype=np.float64)


def _inverse(matrix: Array) -> Array:
    """Return the inverse, or NaN where there is none."""
    try:
        return np.asarray(np.linalg.inv(matrix), dtype=np.float64)
    except np.linalg.LinAlgError:
        return np.full(matrix.shape, np.nan)


def _first_wall(v: Array, rate: Array, up: Any) -> tuple[float, int]:
    leaving = np.where(up, rate < 0, rate > 0)
    steps = np.where(leaving, np.maximum(-v / np.where(leaving, rate, 1.0), 0.0), np.inf)
    i = int(np.argmin(steps))
    return float(steps[i]), i


def _signs(up: Any) -> Signs:
    return tuple(1 if positive else -1 for positive in up)


def _floats(matrix: Any) -> Array:
    rows = matrix.tolist()
    shape = (int(matrix.nrows()), int(matrix.ncols()))
    flat = [_ratio(entry) for row in rows for entry in row]
    return np.array(flat, dtype=np.float64).reshape(shape)


def _ratio(entry: Any) -> float:
    try:
        return int(entry.p) / int(entry.q)
    except OverflowError:
        return math.inf

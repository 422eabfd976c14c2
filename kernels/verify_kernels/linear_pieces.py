"""The linear pieces of a piecewise linear equilibrium equation over a polyhedron of inputs.

With v = W z + b the equation z = s(W z + b), s(v) = v for v >= 0 and alpha v for v <= 0, reads
v - W s(v) = b. On the orthant with signs sigma it is linear: (I - W D) v = b, D_ii = 1 where
sigma_i = +1 and alpha where sigma_i = -1. With b = U x + bias every sign pattern contributes one
polyhedron of pairs (v, x). All arithmetic is rational.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import product
from typing import Any

from flint import fmpq, fmpq_mat

from verify_kernels.exact_linear_program import Optimum, Rational, Row, maximise

Matrix = Any  # python-flint's fmpq_mat
Signs = tuple[int, ...]


class OutOfTimeError(Exception):
    """The deadline passed; the caller turns it into an undecided answer."""


@dataclass(frozen=True)
class Problem:
    """v - W s(v) = U x + bias for x with ``rows`` x <= ``bounds``; alpha is the slope for v < 0."""

    W: Matrix
    alpha: Rational
    U: Matrix
    bias: Row
    rows: tuple[Row, ...] = ()
    bounds: tuple[Rational, ...] = ()
    deadline: float = float("inf")

    @property
    def m(self) -> int:
        """Number of state coordinates."""
        return int(self.W.nrows())

    @property
    def d(self) -> int:
        """Number of input coordinates."""
        return int(self.U.ncols())

    def check_time(self) -> None:
        """Raise `OutOfTimeError` once the deadline passed."""
        if time.monotonic() > self.deadline:
            raise OutOfTimeError

    def bias_at(self, x: Row) -> Row:
        """Return U x + bias."""
        return [
            self.bias[i] + sum((self.U[i, j] * x[j] for j in range(self.d)), fmpq(0))
            for i in range(self.m)
        ]

    def matrix(self, signs: Signs) -> Matrix:
        """Return I - W D for a sign pattern."""
        m, slopes = self.m, [fmpq(1) if s > 0 else self.alpha for s in signs]
        entries = [fmpq(int(i == j)) - self.W[i, j] * slopes[j] for i in range(m) for j in range(m)]
        return fmpq_mat(m, m, entries)

    def states(self, signs: Signs, v: Row) -> Row:
        """Return z = s(v) for v in the closed orthant of the signs."""
        return [x if s > 0 else self.alpha * x for s, x in zip(signs, v, strict=True)]


@dataclass(frozen=True)
class Piece:
    """{(v, x)} = {(p + P s, g + G s)} with ``rows`` s <= ``bounds``: one sign pattern.

    For a regular pattern (I - W D invertible) the parameter s is x itself.
    """

    signs: Signs
    regular: bool
    p: Row
    P: list[Row]
    g: Row
    G: list[Row]
    rows: list[Row]
    bounds: Row

    @property
    def size(self) -> int:
        """Number of parameters."""
        return len(self.P[0]) if self.P else len(self.G[0])

    def v_at(self, s: Row) -> Row:
        """Return the pre-activation v at a parameter."""
        return _affine(self.p, self.P, s)

    def x_at(self, s: Row) -> Row:
        """Return the input x at a parameter."""
        return _affine(self.g, self.G, s)

    def contains(self, s: Row) -> bool:
        """Return whether the parameter satisfies every constraint."""
        return all(_dot(row, s) <= b for row, b in zip(self.rows, self.bounds, strict=True))


def _dot(row: Row, x: Row) -> Rational:
    return sum((a * b for a, b in zip(row, x, strict=True)), fmpq(0))


def _affine(constant: Row, linear: list[Row], s: Row) -> Row:
    return [c + _dot(row, s) for c, row in zip(constant, linear, strict=True)]


def feasible_pieces(problem: Problem) -> Iterator[Piece]:
    """Yield the nonempty pieces, without redundant constraints, of all 2^m sign patterns.

    Raises:
        OutOfTimeError: the deadline passed.
    """
    for signs in product((-1, 1), repeat=problem.m):
        problem.check_time()
        piece = piece_of(problem, signs)
        if piece is not None and _optimum(piece, [fmpq(0)] * piece.size).status != "infeasible":
            yield _irredundant(piece)


def piece_of(problem: Problem, signs: Signs) -> Piece | None:
    """Return the piece of a pattern, or None if its linear equations have no solution."""
    matrix, m, d = problem.matrix(signs), problem.m, problem.d
    identity = [[fmpq(int(i == j)) for j in range(d)] for i in range(d)]
    right = fmpq_mat(
        m, d + 1, [e for i in range(m) for e in (problem.bias[i], *_row(problem.U, i))]
    )
    try:
        solved = _table(matrix.solve(right)) if m else []
        p, P = [row[0] for row in solved], [row[1:] for row in solved]
        return _with_signs(problem, signs, True, p, P, [fmpq(0)] * d, identity)
    except ZeroDivisionError:
        pass
    solution = _solution_space(matrix, problem)
    if solution is None:
        return None
    constant, basis = solution
    p, g = constant[:m], constant[m:]
    return _with_signs(problem, signs, False, p, basis[:m], g, basis[m:])


def _row(matrix: Matrix, i: int) -> Row:
    return [matrix[i, j] for j in range(matrix.ncols())]


def _table(matrix: Matrix) -> list[Row]:
    return [_row(matrix, i) for i in range(matrix.nrows())]


def _with_signs(
    problem: Problem, signs: Signs, regular: bool, p: Row, P: list[Row], g: Row, G: list[Row]
) -> Piece:
    rows = [[-s * e for e in row] for s, row in zip(signs, P, strict=True)]
    bounds = [s * c for s, c in zip(signs, p, strict=True)]
    columns = list(zip(*G, strict=True)) if G else []
    for row, b in zip(problem.rows, problem.bounds, strict=True):
        rows.append([_dot(row, list(column)) for column in columns])
        bounds.append(b - _dot(row, g))
    return Piece(signs, regular, p, P, g, G, rows, bounds)


def _solution_space(matrix: Matrix, problem: Problem) -> tuple[Row, list[Row]] | None:
    """Return (v, x) = constant + basis s solving matrix v - U x = bias, or None."""
    m, d = problem.m, problem.d
    entries: list[Rational] = []
    for i in range(m):
        entries += [*_row(matrix, i), *(-u for u in _row(problem.U, i)), problem.bias[i]]
    echelon, rank = fmpq_mat(m, m + d + 1, entries).rref()
    pivots = [next(j for j in range(m + d + 1) if echelon[i, j] != 0) for i in range(rank)]
    if m + d in pivots:
        return None
    free = [j for j in range(m + d) if j not in pivots]
    constant = [fmpq(0)] * (m + d)
    basis = [[fmpq(int(j == k)) for k in free] for j in range(m + d)]
    for i, pivot in enumerate(pivots):
        constant[pivot] = echelon[i, m + d]
        basis[pivot] = [-echelon[i, k] for k in free]
    return constant, basis


def _optimum(piece: Piece, objective: Row) -> Optimum:
    return maximise(objective, piece.rows, piece.bounds)


def _irredundant(piece: Piece) -> Piece:
    rows, bounds = list(piece.rows), list(piece.bounds)
    j = 0
    while j < len(rows):
        others = rows[:j] + rows[j + 1 :]
        limits = bounds[:j] + bounds[j + 1 :]
        best = maximise(rows[j], [*others, rows[j]], [*limits, bounds[j] + 1])
        if best.value <= bounds[j]:
            rows, bounds = others, limits
        else:
            j += 1
    return Piece(piece.signs, piece.regular, piece.p, piece.P, piece.g, piece.G, rows, bounds)


def without_contained(problem: Problem, pieces: Sequence[Piece]) -> list[Piece]:
    """Return the pieces without those whose solutions all lie in another one.

    If v_i = 0 on a whole piece for every i in Z, its solutions also belong to every pattern that
    agrees with it off Z. At x = 0 without bias all 2^m pieces share v = 0: one of them is enough.

    Raises:
        OutOfTimeError: the deadline passed.
    """
    kept: list[Piece] = []
    thin: list[Piece] = []
    for piece in pieces:
        fat = interior_point(piece.size, piece.rows, piece.bounds) is not None
        (kept if fat and piece.regular else thin).append(piece)
    for piece in sorted(thin, key=lambda piece: not piece.regular):
        problem.check_time()
        zero = {i for i, s in enumerate(piece.signs) if _vanishes(piece, s, i)}
        off = [i for i in range(problem.m) if i not in zero]
        if not any(all(other.signs[i] == piece.signs[i] for i in off) for other in kept):
            kept.append(piece)
    return kept


def _vanishes(piece: Piece, sign: int, i: int) -> bool:
    best = _optimum(piece, [sign * e for e in piece.P[i]])
    return best.status == "optimal" and bool(best.value + sign * piece.p[i] <= 0)


def two_in_one(piece: Piece) -> tuple[Row, Row, Row] | None:
    """Return (x, v, v') with v != v' in one piece over one input, or None if there are none.

    Only a singular pattern can have them: v - v' is a kernel vector of I - W D.
    """
    if piece.regular:
        return None
    return _two_points(piece, piece, [(1, i) for i in range(len(piece.p))])


def two_in_pair(first: Piece, second: Piece) -> tuple[Row, Row, Row] | None:
    """Return (x, v, v') with different v, v' in two pieces over one input, or None.

    None is exact, provided that `two_in_one` is None for both pieces: where the signs differ,
    sigma_i (v_i - v'_i) >= 0 with equality only for v_i = v'_i = 0; if all of these vanish, then
    v - v' is a kernel vector of the first pattern and v' lies in its piece, so v = v'.
    """
    differing = [(s, i) for i, s in enumerate(first.signs) if s != second.signs[i]]
    return _two_points(first, second, differing, together=True)


def _two_points(
    first: Piece, second: Piece, goals: list[tuple[int, int]], *, together: bool = False
) -> tuple[Row, Row, Row] | None:
    shared = first.regular and second.regular
    k = first.size
    zero_1, zero_2 = [fmpq(0)] * k, [fmpq(0)] * (0 if shared else second.size)
    rows = [row + zero_2 for row in first.rows]
    rows += [row if shared else zero_1 + row for row in second.rows]
    bounds = [*first.bounds, *second.bounds]
    if not shared:
        for g, G, h, H in zip(first.g, first.G, second.g, second.G, strict=True):
            equal = G + [-e for e in H]
            rows += [equal, [-e for e in equal]]
            bounds += [h - g, g - h]

    def difference(sign: int, i: int) -> Row:
        if shared:
            return [sign * (a - b) for a, b in zip(first.P[i], second.P[i], strict=True)]
        return [sign * e for e in first.P[i]] + [-sign * e for e in second.P[i]]

    single = [(difference(s, i), s * (first.p[i] - second.p[i])) for s, i in goals]
    if together and single:
        columns = zip(*(row for row, _ in single), strict=True)
        single = [([sum(c, fmpq(0)) for c in columns], sum((c for _, c in single), fmpq(0)))]
    for objective, constant in single:
        point = _point_above(objective, -constant, rows, bounds)
        if point is not None:
            s, t = point[:k], point if shared else point[k:]
            return first.x_at(s), first.v_at(s), second.v_at(t)
    return None


def _point_above(objective: Row, level: Rational, rows: list[Row], bounds: Row) -> Row | None:
    """Return a feasible point where the objective exceeds the level, or None."""
    best = maximise(objective, rows, bounds)
    if best.status == "infeasible" or (best.status == "optimal" and best.value <= level):
        return None
    if best.value > level:
        return best.point
    beyond = [*rows, [-e for e in objective]], [*bounds, -(level + 1)]
    return maximise([fmpq(0)] * len(objective), *beyond).point


def uncovered_input(problem: Problem, pieces: Sequence[Piece]) -> Row | None:
    """Return an input in no regular piece, or None if they cover all inputs of the domain.

    The complement of finitely many closed polyhedra within a full-dimensional domain is open
    relative to it, so it is nonempty only if it has interior points off every hyperplane; those
    are searched by splitting along the constraints of one piece after another.

    Raises:
        OutOfTimeError: the deadline passed.
    """
    regular = [piece for piece in pieces if piece.regular]
    region = _uncovered(problem, regular, list(problem.rows), list(problem.bounds))
    if region is None:
        return None
    rows, bounds = region
    while True:
        inside = interior_point(problem.d, rows, bounds)
        if inside is None:
            return None
        hit = next((piece for piece in regular if piece.contains(inside)), None)
        if hit is None:
            return inside
        # A piece without interior in the region: step strictly to one side of it.
        tight = next(j for j, row in enumerate(hit.rows) if _dot(row, inside) == hit.bounds[j])
        rows, bounds = [*rows, [-e for e in hit.rows[tight]]], [*bounds, -hit.bounds[tight]]


def _uncovered(
    problem: Problem, pieces: Sequence[Piece], rows: list[Row], bounds: Row
) -> tuple[list[Row], Row] | None:
    problem.check_time()
    if interior_point(problem.d, rows, bounds) is None:
        return None
    rest = list(pieces)
    while rest:
        piece = rest.pop(0)
        if interior_point(problem.d, rows + piece.rows, bounds + piece.bounds) is None:
            continue
        for row, b in zip(piece.rows, piece.bounds, strict=True):
            found = _uncovered(problem, rest, [*rows, [-e for e in row]], [*bounds, -b])
            if found is not None:
                return found
            rows, bounds = [*rows, row], [*bounds, b]
        return None
    return rows, bounds


def interior_point(n: int, rows: Sequence[Row], bounds: Sequence[Rational]) -> Row | None:
    """Return x with A x < b strictly, or None if the polyhedron has no interior.

    Raises nothing; a zero row counts as the condition 0 < b.
    """
    one = fmpq(1)
    lifted = [[*row, one] for row in rows] + [[fmpq(0)] * n + [one]]
    best = maximise([fmpq(0)] * n + [one], lifted, [*bounds, one])
    if best.status == "infeasible" or best.value <= 0:
        return None
    return best.point[:n]

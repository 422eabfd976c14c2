"""Decide whether an equilibrium layer has exactly one equilibrium for every input x in R^d.

The layer is z = s(W z + b(x)) with ReLU (alpha = 0) or a leaky ReLU, b(x) = U x + bias or
relu(V x)/sqrt(m). Weaker than "for every b" unless the inputs reach every b. All decisions are
made in rational arithmetic; floats only propose.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import replace
from fractions import Fraction
from itertools import product
from typing import Any

import numpy as np
from flint import fmpq, fmpq_mat

from verify.errors import InputError
from verify.evidence import Evidence, Witness
from verify.network import AffineInput, ReluFeatureInput
from verify.verdict import Truth
from verify_kernels._rounding import Array
from verify_kernels.exact_linear_program import maximise
from verify_kernels.fold_search import propose_exclusion, propose_folds, propose_overlap
from verify_kernels.linear_pieces import (
    OutOfTimeError,
    Piece,
    Problem,
    Signs,
    feasible_pieces,
    interior_point,
    piece_of,
    two_in_one,
    two_in_pair,
    uncovered_input,
    without_contained,
)
from verify_kernels.matrix import MatrixEnclosure, as_matrix, rational_matrix
from verify_kernels.rational_systems import columns_of, pivot_columns, solve_exactly

Row = list[Any]

# Beyond these sizes the exact enumeration of sign patterns is not tried.
_LARGEST_WIDTH = 10
_LARGEST_WIDTH_BY_RANGE = {0: 10, 1: 10, 2: 7, 3: 5, 4: 4}


def decide_every_input(
    weight: MatrixEnclosure,
    input: AffineInput | ReluFeatureInput,
    alpha: Fraction,
    *,
    deadline: float = math.inf,
    bad: Witness | None = None,
) -> Evidence:
    """Decide "for every x in R^d exactly one equilibrium" by exact polyhedra.

    1. A known bad b (two equilibria or none) that is an input refutes. 2. A search along random
    lines of inputs proposes folds, checked exactly. 3. Small layers: the 2^m sign patterns give
    polyhedra of inputs; uniqueness is that no two of them give different equilibria for one
    input, existence that they cover R^d, both by exact linear programs.

    Args:
        weight: W, shape (m, m), exact.
        input: the input map.
        alpha: slope of the activation for negative arguments, 0 for ReLU.
        deadline: a moment of ``time.monotonic()``.
        bad: data b and z1, z2 (or y, a proof that there is none) that refute "for every b".

    Returns:
        PROVED, REFUTED with witness kind ``input-with-two-equilibria`` or
        ``input-without-equilibrium`` (x, b, equilibria; y where a vector excludes every
        equilibrium), or UNDECIDED with the reason. For relu features b and the equilibria are
        multiplied by sqrt(m), which keeps them rational.

    Raises:
        InputError: shapes that do not fit.
    """
    if weight.shape[0] != weight.shape[1]:
        raise InputError(f"decide_every_input: expected W square, but got shape {weight.shape}")
    if weight.shape[0] == 0:
        return Evidence(Truth.PROVED, how="the state has no coordinates")
    if not weight.is_exact:
        return _open("W is known as an enclosure only, not exactly")
    decision = _Decision(weight.rational(), fmpq(alpha.numerator, alpha.denominator), deadline)
    try:
        if isinstance(input, AffineInput):
            return decision.affine(input, bad)
        found = decision.features(input, bad)
    except OutOfTimeError:
        return _open("the time budget ended before the input polyhedra were decided")
    if found.witness is None:
        return found
    # positively homogeneous: the factor 1/sqrt(m) of the features scales b and the states alike
    scaled = Witness(found.witness.kind, {**found.witness.data, "multiplied_by": "sqrt(m)"})
    return replace(found, witness=scaled)


def _open(why: str) -> Evidence:
    return Evidence(Truth.UNDECIDED, how="exact input polyhedra", why_open=why)


class _Decision:
    """One call: W, alpha and the deadline."""

    def __init__(self, W: Any, alpha: Any, deadline: float) -> None:
        self.W, self.alpha, self.deadline = W, alpha, deadline
        self.m = int(W.nrows())

    def affine(self, given: AffineInput, bad: Witness | None) -> Evidence:
        U = as_matrix(given.U, where="decide_every_input")
        bias = as_matrix(given.bias.reshape(-1, 1), where="decide_every_input")
        if U.shape[0] != self.m or bias.shape[0] != self.m:
            raise InputError(
                f"decide_every_input: expected U (m, d) and bias (m,) with m = {self.m}, "
                f"but got {U.shape} and {given.bias.shape}"
            )
        offset = [entry for row in rational_matrix(bias).tolist() for entry in row]
        whole = self._problem(rational_matrix(U), offset)
        if bad is not None and (found := self._pull_back(whole, bad)) is not None:
            return found
        columns = pivot_columns(whole.U)
        problem = self._problem(columns_of(whole.U, columns), offset)

        def complete(x: Row) -> Row:
            full = [fmpq(0)] * whole.d
            for j, value in zip(columns, x, strict=True):
                full[j] = value
            return full

        return self._decide(problem, complete, whole.bias_at, self._patterns(bad))

    def _patterns(self, bad: Witness | None) -> tuple[Signs, Signs] | None:
        """Return the sign patterns of the two equilibria of a known bad b."""
        if bad is None or not {"b", "z1", "z2"} <= set(bad.data):
            return None
        b = [_fmpq(e) for e in bad.data["b"]]
        both = []
        for name in ("z1", "z2"):
            image = self.W * fmpq_mat(self.m, 1, [_fmpq(e) for e in bad.data[name]])
            both.append(tuple(1 if image[i, 0] + b[i] > 0 else -1 for i in range(self.m)))
        return both[0], both[1]

    def features(self, given: ReluFeatureInput, bad: Witness | None) -> Evidence:
        V = rational_matrix(as_matrix(given.V, where="decide_every_input"))
        if int(V.nrows()) != self.m:
            raise InputError(
                f"decide_every_input: expected V (m, d) with m = {self.m}, but got {given.V.shape}"
            )
        zero = [fmpq(0)] * self.m
        linear = self._problem(V, zero)
        if bad is not None and all(Fraction(e) >= 0 for e in bad.data.get("b", [-1])):
            found = self._pull_back(linear, bad)
            if found is not None:
                return found

        def features_at(x: Row) -> Row:
            return [max(e, fmpq(0)) for e in linear.bias_at(x)]

        found = self._search(linear, list, features_at, relu=True)
        if found is not None:
            return found
        if len(pivot_columns(V)) == self.m <= _LARGEST_WIDTH_BY_RANGE.get(self.m, 0):
            return self._decide_orthant(V, features_at)
        if self.m > _LARGEST_WIDTH_BY_RANGE.get(linear.d, 0):
            return _open(
                f"relu features of width {self.m} from R^{linear.d} have too many cells for the "
                f"exact enumeration, and the search found no bad input"
            )
        answer: Evidence | None = None
        for cell in _feature_cells(linear):
            found = self._enumerate(cell, list, features_at)
            if found.value is Truth.REFUTED:
                return found
            if found.value is Truth.UNDECIDED:
                answer = found
        return answer or Evidence(Truth.PROVED, how="exact polyhedra of inputs, cell by cell")

    def _problem(self, U: Any, bias: Row) -> Problem:
        return Problem(self.W, self.alpha, U, bias, deadline=self.deadline)

    def _decide_orthant(self, V: Any, features_at: Callable[[Row], Row]) -> Evidence:
        """V has full row rank: b ranges over all of the nonnegative orthant."""
        m = self.m
        identity = [[fmpq(int(i == j)) for j in range(m)] for i in range(m)]
        eye = fmpq_mat(m, m, [e for row in identity for e in row])
        rows = tuple([-e for e in row] for row in identity)
        zero = [fmpq(0)] * m
        orthant = Problem(self.W, self.alpha, eye, zero, rows, tuple(zero), self.deadline)

        def complete(b: Row) -> Row:
            return solve_exactly(V, b) or [fmpq(0)] * int(V.ncols())

        return self._enumerate(orthant, complete, features_at)

    def _decide(
        self,
        problem: Problem,
        complete: Callable[[Row], Row],
        bias_at: Callable[[Row], Row],
        patterns: tuple[Signs, Signs] | None = None,
    ) -> Evidence:
        found = self._search(problem, complete, bias_at, patterns)
        if found is not None:
            return found
        if problem.d == self.m and self.m <= _LARGEST_WIDTH and self._one_sign(problem):
            return Evidence(
                Truth.PROVED, how="every b is an input; all 2^m determinants share one sign"
            )
        if self.m > _LARGEST_WIDTH_BY_RANGE.get(problem.d, 0):
            return _open(
                f"the inputs reach a set of dimension {problem.d} of {self.m}: too many sign "
                f"patterns for the exact enumeration, and the search found no bad input"
            )
        return self._enumerate(problem, complete, bias_at)

    def _one_sign(self, problem: Problem) -> bool:
        signs = set()
        for pattern in product((-1, 1), repeat=self.m):
            problem.check_time()
            value = problem.matrix(pattern).det()
            signs.add((value > 0) - (value < 0))
            if len(signs) > 1 or 0 in signs:
                return False
        return True

    def _enumerate(
        self, problem: Problem, complete: Callable[[Row], Row], bias_at: Callable[[Row], Row]
    ) -> Evidence:
        pieces: list[Piece] = []
        for piece in feasible_pieces(problem):
            hits = two_in_one(piece)
            if hits is not None:
                return self._two(hits, (piece, piece), complete, bias_at)
            pieces.append(piece)
        pieces = without_contained(problem, pieces)
        for first, second in _nearest_pairs(pieces):
            problem.check_time()
            hits = two_in_pair(first, second)
            if hits is not None:
                return self._two(hits, (first, second), complete, bias_at)
        bare = uncovered_input(problem, pieces)
        if bare is None:
            return Evidence(
                Truth.PROVED,
                how=f"{len(pieces)} polyhedra of inputs cover R^d and agree where they meet",
            )
        if any(_reaches(problem, piece, bare) for piece in pieces if not piece.regular):
            return _open("a singular sign pattern covers inputs that no regular one covers")
        x = complete(bare)
        return _refuted(
            "input-without-equilibrium", x, bias_at(x), [], "no sign pattern contains this input"
        )

    def _two(
        self,
        hits: tuple[Row, Row, Row],
        pieces: tuple[Piece, Piece],
        complete: Callable[[Row], Row],
        bias_at: Callable[[Row], Row],
    ) -> Evidence:
        x = complete(hits[0])
        b = bias_at(x)
        states = [
            [e if s > 0 else self.alpha * e for s, e in zip(piece.signs, v, strict=True)]
            for piece, v in zip(pieces, hits[1:], strict=True)
        ]
        return self._checked(x, b, states)

    def _checked(self, x: Row, b: Row, states: list[Row]) -> Evidence:
        if states[0] != states[1] and all(self.is_equilibrium(b, z) for z in states):
            return _refuted("input-with-two-equilibria", x, b, states, "two equilibria, exactly")
        return _open("a proposed pair of equilibria did not pass the exact check")

    def is_equilibrium(self, b: Row, z: Row) -> bool:
        """Return whether z = s(W z + b), exactly."""
        column = self.W * fmpq_mat(self.m, 1, z)
        for i in range(self.m):
            v = column[i, 0] + b[i]
            if z[i] != (v if v >= 0 else self.alpha * v):
                return False
        return True

    def _pull_back(self, problem: Problem, bad: Witness) -> Evidence | None:
        """Return the refutation at an x with U x + bias = b, if there is such an x."""
        data = bad.data
        if "b" not in data:
            return None
        b = [_fmpq(e) for e in data["b"]]
        x = solve_exactly(problem.U, [e - c for e, c in zip(b, problem.bias, strict=True)])
        if x is None:
            return None
        if "z1" in data and "z2" in data:
            found = self._checked(x, b, [[_fmpq(e) for e in data[k]] for k in ("z1", "z2")])
            return found if found.value is Truth.REFUTED else None
        if self._excludes(y := [_fmpq(e) for e in data.get("y", data["b"])], b):
            how = "a vector y excludes every equilibrium: y (v - W s(v)) <= 0 < y b"
            return _refuted("input-without-equilibrium", x, b, [], how, y=y)
        return None

    def _excludes(self, y: Row, b: Row) -> bool:
        """Whether (I - W)^T y <= 0 <= (I - alpha W)^T y and y b > 0.

        Then y (v - W s(v)) <= 0 < y b for every v, so b has no equilibrium.
        """
        weighted = self.W.transpose() * fmpq_mat(self.m, 1, y)
        for i in range(self.m):
            if y[i] - weighted[i, 0] > 0 or y[i] - self.alpha * weighted[i, 0] < 0:
                return False
        return bool(sum((a * c for a, c in zip(y, b, strict=True)), fmpq(0)) > 0)

    def _search(
        self,
        problem: Problem,
        complete: Callable[[Row], Row],
        bias_at: Callable[[Row], Row],
        patterns: tuple[Signs, Signs] | None = None,
        *,
        relu: bool = False,
    ) -> Evidence | None:
        if patterns is not None:
            overlap = propose_overlap(problem, *patterns)
            if overlap is not None:
                found = self._try_patterns(overlap, *patterns, complete, bias_at)
                if found is not None:
                    return found
        for proposed, first, second in propose_folds(problem, relu=relu):
            problem.check_time()
            found = self._try_patterns(proposed, first, second, complete, bias_at)
            if found is not None:
                return found
        return self._try_exclusion(problem, complete, bias_at)

    def _try_patterns(
        self,
        proposed: Array,
        first: Signs,
        second: Signs,
        complete: Callable[[Row], Row],
        bias_at: Callable[[Row], Row],
    ) -> Evidence | None:
        """Solve both patterns at the proposed input, exactly, and check them."""
        if not np.isfinite(proposed).all():
            return None
        x = [_fmpq(float(e)) for e in proposed]
        pinned = self._problem(fmpq_mat(self.m, 0), bias_at(complete(x)))
        one, two = piece_of(pinned, first), piece_of(pinned, second)
        if one is None or two is None or not (one.regular and two.regular):
            return None
        if not (one.contains([]) and two.contains([])):
            return None
        found = self._two((x, one.p, two.p), (one, two), complete, bias_at)
        return found if found.value is Truth.REFUTED else None

    def _try_exclusion(
        self, problem: Problem, complete: Callable[[Row], Row], bias_at: Callable[[Row], Row]
    ) -> Evidence | None:
        """Look for y that excludes every equilibrium, and for an input x with y b(x) > 0."""
        proposed = propose_exclusion(problem)
        if proposed is None:
            return None
        y = [_fmpq(float(e)) for e in proposed]
        ascent = problem.U.transpose() * fmpq_mat(self.m, 1, y)
        direction = [ascent[j, 0] for j in range(problem.d)]
        rise = sum((e * e for e in direction), fmpq(0))
        level = sum((a * c for a, c in zip(y, problem.bias, strict=True)), fmpq(0))
        factor = fmpq(0) if level > 0 or rise == 0 else (1 - level) / rise
        x = complete([factor * e for e in direction])
        b = bias_at(x)
        if not self._excludes(y, b):
            return None
        how = "a vector y excludes every equilibrium: y (v - W s(v)) <= 0 < y b"
        return _refuted("input-without-equilibrium", x, b, [], how, y=y)


def _fmpq(value: Any) -> Any:
    exact = Fraction(value)
    return fmpq(exact.numerator, exact.denominator)


def _fractions(row: Row) -> list[Fraction]:
    return [Fraction(int(e.p), int(e.q)) for e in row]


def _refuted(kind: str, x: Row, b: Row, states: list[Row], how: str, **more: Row) -> Evidence:
    data: dict[str, Any] = {"x": _fractions(x), "b": _fractions(b)}
    data["equilibria"] = [_fractions(z) for z in states]
    data |= {name: _fractions(row) for name, row in more.items()}
    return Evidence(Truth.REFUTED, Witness(kind, data), how=how)


def _nearest_pairs(pieces: list[Piece]) -> Iterator[tuple[Piece, Piece]]:
    """Yield all pairs, those whose patterns differ in the fewest signs first."""
    pairs = [(a, b) for k, a in enumerate(pieces) for b in pieces[:k]]
    pairs.sort(key=lambda p: sum(s != t for s, t in zip(p[0].signs, p[1].signs, strict=True)))
    yield from pairs


def _reaches(problem: Problem, piece: Piece, x: Row) -> bool:
    pinned = Problem(problem.W, problem.alpha, fmpq_mat(problem.m, 0), problem.bias_at(x))
    at_x = piece_of(pinned, piece.signs)
    return at_x is not None and next(_feasible(at_x), None) is not None


def _feasible(piece: Piece) -> Iterator[Row]:
    best = maximise([fmpq(0)] * piece.size, piece.rows, piece.bounds)
    if best.status != "infeasible":
        yield best.point


def _feature_cells(linear: Problem) -> Iterator[Problem]:
    """Yield b = relu(V x) as linear problems on the full-dimensional cells of fixed signs of V x.

    Raises:
        OutOfTimeError: the deadline passed.
    """
    V, m, d = linear.U, linear.m, linear.d

    def extend(kept: list[int], rows: list[Row]) -> Iterator[Problem]:
        linear.check_time()
        if interior_point(d, rows, [fmpq(0)] * len(rows)) is None:
            return
        i = len(kept)
        if i == m:
            entries = [V[k, j] if kept[k] else fmpq(0) for k in range(m) for j in range(d)]
            zero = tuple([fmpq(0)] * len(rows))
            yield Problem(
                linear.W, linear.alpha, fmpq_mat(m, d, entries), linear.bias,
                tuple(rows), zero, linear.deadline,
            )  # fmt: skip
            return
        normal = [V[i, j] for j in range(d)]
        if not any(e != 0 for e in normal):
            yield from extend([*kept, 0], rows)
            return
        yield from extend([*kept, 1], [*rows, [-e for e in normal]])
        yield from extend([*kept, 0], [*rows, normal])

    yield from extend([], [])

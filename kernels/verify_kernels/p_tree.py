"""Branch and bound for P-matrices in midpoint-radius arithmetic, with exact help near zero.

M is a P-matrix exactly when, for any index i, M_ii > 0, M without row and column i is P, and the
Schur complement M/M_ii is P (a principal minor that contains i is M_ii times one of M/M_ii, by
Schur's determinant formula). A node is a matrix of intervals that contains the exact one; a leaf is
closed by a proof that every matrix in it is P. A diagonal entry whose sign the intervals leave open
is decided by an exact determinant where the exact matrix is known.

Source: M. J. Tsatsomeros and L. Li, *A recursive test for P-matrices*, BIT 40 (2000).
"""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from types import ModuleType
from typing import Any, Protocol

import numpy as np

from verify.errors import InputError
from verify.verdict import Truth
from verify_kernels import minors
from verify_kernels._rounding import ETA, Array, U, add_up, down_array, gamma, norm_up, sum_up
from verify_kernels.backend import get_backend
from verify_kernels.components import Index, strong_components
from verify_kernels.matrix import enclose_rational
from verify_kernels.self_test import check_arithmetic

# Relative share that pays for the roundings of the radius itself: fewer than 32 operations on
# numbers >= 0 lose at most a factor (1 - u)^32 > 1 - 64 u.
_SLACK = 1.0 + 64.0 * U
_TINY = 64.0 * ETA  # pays for the underflow of those operations
_LEAST = 2.0**-900  # a diagonal entry above which no term of the vector test loses accuracy
_EXACT_ORDER = 128  # exact determinants and Schur complements beyond cost too much
_SMALL = 8  # nodes of this order are swept exactly when the intervals cannot decide them
_AHEAD = 32  # nodes of a first run without searched weights: most refutations need fewer
_EXACT_STEPS = 64  # exact determinants and Schur complements that one tree may ask for


class ExactFamily(Protocol):
    """The exact matrix behind a tree, asked only where intervals leave a sign open."""

    def minor(self, index_set: Sequence[int]) -> Any:
        """Return the exact principal minor as ``fmpq``."""

    def schur(self, chosen: Sequence[int], rest: Sequence[int]) -> Any:
        """Return the exact Schur complement on ``rest`` as ``fmpq_mat``, None if too costly."""


@dataclass(frozen=True)
class Ball:
    """All matrices X with |X - mid| <= rad entrywise."""

    mid: Array
    rad: Array

    def part(self, keep: Any) -> Ball:
        """Return the principal submatrix."""
        grid = np.ix_(keep, keep)
        return Ball(self.mid[grid], self.rad[grid])


@dataclass
class Tree:
    """What a run of the tree found; ``steps`` lists the nodes in the order of visit.

    A step is ``["split", i]`` (the Schur complement comes first, then the deletion),
    ``["blocks", [...]]`` (strongly connected components, in order), or a leaf: ``["empty"]``,
    ``["vector", v]`` (comparison matrix times v is positive), ``["definite", e]`` (with weights
    2^e the symmetric part is positive definite), ``["minors"]`` (all minors, exactly). A ``bad``
    index set has a minor <= 0 for every matrix of the ball, < 0 if ``negative``.
    """

    truth: Truth
    nodes: int = 0
    steps: list[Any] = field(default_factory=list)
    bad: minors.IndexSet | None = None
    negative: bool = False
    why: str = ""


def schur_ball(node: Ball, i: int, keep: Any) -> Ball:
    """Enclose the Schur complement of entry i, for all matrices of the node.

    Error bound: with q = fl(c / p) the exact c'/p' differs from q by at most
    e = (rad_c + |q|(1 + 2u) rad_p) / (p - rad_p) + 2u|q| + eta, and B' - (c'/p') r' from
    fl(B - fl(q r)) by at most rad_B + e (|r| + rad_r) + |q| rad_r + u |q r|(1 + 2u) + u |A|(1 + 2u)
    plus underflow; every bound is evaluated in floats and enlarged by 1 + 64 u and 64 eta.
    """
    mid, rad = node.mid, node.rad
    pivot, pivot_rad = mid[i, i], rad[i, i]
    column, column_rad = mid[keep, i], rad[keep, i]
    row, row_rad = mid[i, keep], rad[i, keep]
    grid = np.ix_(keep, keep)
    low = (pivot - pivot_rad) * (1.0 - 4.0 * U)
    ratio = column / pivot
    size = np.abs(ratio)
    ratio_rad = (column_rad + (size + _TINY) * pivot_rad + _TINY) / low
    ratio_rad = (ratio_rad + rounding_share(size)) * _SLACK + _TINY
    ratio_rad[(column == 0.0) & (column_rad == 0.0)] = 0.0
    result = mid[grid] - np.outer(ratio, row)
    first = np.outer(ratio_rad, np.abs(row) + row_rad)
    second = np.outer(size, row_rad + rounding_share(np.abs(row)))
    error = rad[grid] + first + second + rounding_share(np.abs(result))
    touched = np.outer(size + ratio_rad > 0.0, np.abs(row) + row_rad > 0.0)
    return Ball(result, np.where(touched, error * _SLACK + _TINY, rad[grid]))


def rounding_share(size: Array) -> Array:
    """Return more than one rounding to nearest loses of a result of this size."""
    return size * (2.0 * U)


def vector_leaf(node: Ball) -> list[int] | None:
    """Find an integer v > 0 with <A> v > 0 for every A of the node, <A> the comparison matrix.

    Then A is an H-matrix with positive diagonal, hence P: with V = diag(v) every principal
    submatrix of A V is strictly diagonally dominant by rows with positive diagonal.

    Error bound: n products and additions of numbers >= 0 lose at most gamma_{n+2}, doubled.
    """
    n = len(node.mid)
    low = (np.diag(node.mid) - np.diag(node.rad)) * (1.0 - 4.0 * U)
    size = np.abs(node.mid) + node.rad
    np.fill_diagonal(size, 0.0)
    if not (low >= _LEAST).all():
        return None
    try:
        found = np.linalg.solve(np.diag(low) - size, np.ones(n))
    except np.linalg.LinAlgError:
        return None
    if not (np.isfinite(found).all() and (found > 0.0).all()):
        return None
    found = found / found.max()
    if found.min() < 2.0**-30:
        return None
    vector = np.ceil(found * 2.0**40)
    sums = (size @ vector) * (1.0 + 4.0 * gamma(n + 4)) + _TINY * n
    if np.isfinite(sums).all() and (sums < (low * vector) * (1.0 - 4.0 * U)).all():
        return [int(x) for x in vector]
    return None


def definite_leaf(node: Ball, weights: Array, module: ModuleType) -> list[int] | None:
    """Prove that diag(w) A + A^T diag(w) is positive definite for every A of the node.

    The weights are powers of two, so only the addition rounds: an error of u |S| entrywise plus
    the radii. A congruence by powers of two first brings the diagonal to order one. For x != 0 then
    sum w_i x_i (A x)_i > 0, so some x_i (A x)_i > 0, and A is P (Fiedler and Ptak).

    Returns:
        The exponents of the weights, or None if nothing was proved.
    """
    diagonal = np.diag(node.mid)
    levels = np.log2(weights)
    if not np.isfinite(levels).all():
        return None
    exponents = np.round(levels).astype(int)
    half = np.round(0.5 * (np.log2(diagonal) + exponents)).astype(int)
    shift = exponents[:, None] - half[:, None] - half[None, :]
    mid, rad = np.ldexp(node.mid, shift), np.ldexp(node.rad, shift) + 2.0 * ETA
    symmetric = mid + mid.T
    if not np.isfinite(symmetric).all() or not np.isfinite(rad).all():
        return None
    error = (rad + rad.T + rounding_share(np.abs(symmetric))) * _SLACK + _TINY
    norm = norm_up(error)
    return [int(e) for e in exponents] if _is_definite(symmetric, norm, module) else None


def _is_definite(symmetric: Array, error: float, module: ModuleType) -> bool:
    """Whether every symmetric S with ||S - given||_2 <= error is proved positive definite."""
    diagonal = np.diag(symmetric)
    ahead = module.defect_ahead(len(diagonal), sum_up(diagonal), float(diagonal.max()))
    shift = add_up(error, ahead)
    lowered = down_array(diagonal - shift)
    if not (math.isfinite(shift) and (lowered > 0.0).all()):
        return False
    shifted = np.array(symmetric, order="F")
    np.fill_diagonal(shifted, lowered)
    return bool(add_up(module.cholesky_defect(shifted), error) <= shift)


@np.errstate(all="ignore")
def run_tree(
    root: Ball,
    exact: ExactFamily | None,
    *,
    tilt: Any = None,
    deadline: float = math.inf,
    nodes: int = 20000,
    backend: str = "auto",
) -> Tree:
    """Decide whether every matrix of the ball is P (PROVED) or none is (REFUTED).

    Args:
        root: encloses M, shape (n, n), n >= 1; best with a diagonal of order one.
        exact: the exact M behind it, or None.
        tilt: exponents of weights that the definiteness leaf tries besides its own.
        deadline: ``time.monotonic`` at which to give up.
        nodes: how many nodes to visit at most.
        backend: whose Cholesky factorisation and error bound the definiteness leaf uses.

    Returns:
        The tree; ``bad`` is an index set with a minor <= 0 (proved), if REFUTED.

    Raises:
        BackendError: the machine does not compute as assumed.
    """
    check_arithmetic(backend)
    module = get_backend(backend, size=len(root.mid))
    ahead = _Search(root, exact, [], tilt, deadline, min(nodes, _AHEAD), module).run()
    if ahead.truth is not Truth.UNDECIDED or nodes <= _AHEAD or time.monotonic() > deadline:
        return ahead
    weights = [stability_weights(root.mid)]
    return _Search(root, exact, weights, tilt, deadline, nodes, module).run()


class _Search:
    """Depth-first search; the Schur child first, which finds bad index sets fast."""

    def __init__(
        self,
        root: Ball,
        exact: ExactFamily | None,
        weights: list[Array],
        tilt: Any,
        deadline: float,
        nodes: int,
        module: ModuleType,
    ) -> None:
        self.module = module
        self.exact, self.deadline, self.limit = exact, deadline, nodes
        self.exact_steps = _EXACT_STEPS
        n = len(root.mid)
        level = np.zeros(n) if tilt is None else np.clip(tilt - np.mean(tilt), -300.0, 300.0)
        self.weights = list(weights)
        if n and np.ptp(level) > 0.0:
            self.weights.append(np.exp2(np.round(level)))
        self.stack: list[tuple[Ball, Index, minors.IndexSet]] = [(root, np.arange(n), ())]
        self.tree = Tree(Truth.UNDECIDED)

    def run(self) -> Tree:
        tree = self.tree
        while self.stack:
            if tree.nodes >= self.limit:
                return self._open(f"the budget of {self.limit} nodes was used up")
            if time.monotonic() > self.deadline:
                return self._open(f"out of time after {tree.nodes} nodes")
            tree.nodes += 1
            if self._visit(*self.stack.pop()):
                tree.truth = Truth.REFUTED
                return tree
        if not tree.why:
            tree.truth = Truth.PROVED
        return tree

    def _open(self, why: str) -> Tree:
        self.tree.why = self.tree.why or why
        return self.tree

    def _visit(self, node: Ball, indices: Index, chosen: minors.IndexSet) -> bool:
        """Close or split one node; True if a bad index set was found."""
        steps = self.tree.steps
        if len(indices) == 0:
            steps.append(["empty"])
            return False
        if not (np.isfinite(node.mid).all() and np.isfinite(node.rad).all()):
            return self._resolve([], indices, chosen)
        diagonal, radius = np.diag(node.mid), np.diag(node.rad)
        negative = np.flatnonzero(diagonal + radius <= 0.0)
        if negative.size:
            worst = int(negative[0])
            self.tree.bad = (*chosen, int(indices[worst]))
            self.tree.negative = bool(diagonal[worst] + radius[worst] < 0.0)
            return True
        doubtful = np.flatnonzero(diagonal - radius <= 0.0)
        if doubtful.size:
            return self._resolve(doubtful, indices, chosen)
        step = self._leaf(node, indices)
        if step is not None:
            steps.append(step)
            return False
        self._split(node, indices, chosen)
        return False

    def _leaf(self, node: Ball, indices: Index) -> list[Any] | None:
        """Prove the node, cheapest test first."""
        if len(indices) == 1:
            return ["minors"]
        scale = np.diag(node.mid)
        for weights in (1.0 / scale, *(w[indices] for w in self.weights)):
            exponents = definite_leaf(node, weights, self.module)
            if exponents is not None:
                return ["definite", exponents]
        vector = vector_leaf(node)
        return None if vector is None else ["vector", vector]

    def _split(self, node: Ball, indices: Index, chosen: minors.IndexSet) -> None:
        blocks = _components(node)
        if len(blocks) > 1:
            self.tree.steps.append(["blocks", [[int(j) for j in indices[b]] for b in blocks]])
            for block in reversed(blocks):
                self.stack.append((node.part(block), indices[block], chosen))
            return
        i = _pivot_index(node.mid)
        self.tree.steps.append(["split", int(indices[i])])
        keep = np.delete(np.arange(len(indices)), i)
        rest = indices[keep]
        self.stack.append((node.part(keep), rest, chosen))
        self.stack.append((schur_ball(node, i, keep), rest, (*chosen, int(indices[i]))))

    def _resolve(self, doubtful: Any, indices: Index, chosen: minors.IndexSet) -> bool:
        """Decide diagonal entries exactly; go on with a fresh enclosure of the exact node."""
        order = max(len(chosen), len(indices))
        if self.exact is None or self.exact_steps <= 0 or order > _EXACT_ORDER:
            self._open("a pivot has no sign within the enclosure")
            return False
        self.exact_steps -= 1
        for j in doubtful:
            index_set = (*chosen, int(indices[j]))
            value = self.exact.minor(index_set)
            if value <= 0:
                self.tree.bad, self.tree.negative = index_set, bool(value < 0)
                return True
        complement = self.exact.schur(chosen, [int(j) for j in indices])
        if complement is None:
            self._open("a pivot has no sign within the enclosure")
            return False
        if len(indices) <= _SMALL:
            sweep = minors.sweep_minors(
                minors.integer_rows(complement), strict=True, deadline=self.deadline
            )
            if sweep.bad is not None:
                self.tree.bad = (*chosen, *(int(indices[j]) for j in sweep.bad))
                return True
            if sweep.complete:
                self.tree.steps.append(["minors"])
                return False
            return self._open("out of time").bad is not None
        try:
            fresh = enclose_rational(complement)
        except InputError:
            self._open("a node left the range of binary64")
            return False
        rad = np.zeros_like(fresh.mid) if fresh.rad is None else fresh.rad
        if (np.diag(fresh.mid) - np.diag(rad) <= 0.0).any():
            self._open("a pivot is below the range of binary64")
            return False
        self.tree.nodes -= 1
        self.stack.append((Ball(fresh.mid, rad), indices, chosen))
        return False


def _components(node: Ball) -> list[Index]:
    """Strongly connected components of the pattern that is not known to be zero."""
    return strong_components((node.mid != 0.0) | (node.rad != 0.0))


def _pivot_index(mid: Array) -> int:
    """The index that couples most strongly to the others."""
    scale = np.sqrt(np.diag(mid))
    coupling = np.abs(mid) / np.outer(scale, scale)
    np.fill_diagonal(coupling, 0.0)
    return int(np.argmax(coupling.sum(axis=0) + coupling.sum(axis=1)))


def stability_weights(mid: Array) -> Array:
    """Propose weights w for which diag(w) A + A^T diag(w) is likely to be positive definite.

    Ascent on the smallest eigenvalue (its gradient in log w_i is 2 w_i v_i (A v)_i); a proposal
    only, `definite_leaf` proves.
    """
    n = len(mid)
    diagonal = np.diag(mid)
    fallback = np.ones(n)
    if n < 2 or n > 200 or not np.isfinite(mid).all() or not (diagonal > 0.0).all():
        return fallback
    logs = -np.log(diagonal)
    best, best_logs = -math.inf, logs
    for step in range(60):
        weights = np.exp(logs - logs.mean())
        scaled = mid * np.sqrt(weights)[:, None] / np.sqrt(weights)[None, :]
        symmetric = scaled + scaled.T
        if not np.isfinite(symmetric).all():
            break
        values, vectors = np.linalg.eigh(symmetric)
        if values[0] > best:
            best, best_logs = float(values[0]), logs
        low = vectors[:, 0]
        slope = low * (scaled @ low) - low * (scaled.T @ low)
        norm = float(np.linalg.norm(slope))
        if best > 0.0 or norm == 0.0:
            break
        logs = logs + (1.0 / (1.0 + 0.2 * step)) * slope / norm
    exponents = np.round(np.clip(best_logs - best_logs.mean(), -300.0, 300.0) / math.log(2.0))
    return np.asarray(np.exp2(exponents))

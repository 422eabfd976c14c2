"""P-matrices: all principal minors positive. Exact for small blocks, proved by trees for larger.

M is P exactly when the diagonal block of every strongly connected component of its pattern is P:
in topological order M is block triangular, and so is every principal submatrix.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from verify.errors import InputError
from verify.evidence import Evidence, Witness
from verify.verdict import Truth
from verify_kernels import minors
from verify_kernels._rounding import ETA, Array
from verify_kernels.components import strong_components, zero_pattern
from verify_kernels.definiteness import PRODUCTS
from verify_kernels.matrix import MatrixEnclosure, as_matrix, rational_matrix
from verify_kernels.p_tree import Ball, Tree, run_tree

SWEEP = 14  # exact blocks up to this order are always decided by all their minors
LAST_SWEEP = 18  # up to this order all minors are the last resort of an undecided tree
SMALL_SWEEP = 6  # below, all minors cost less than one leaf test
EXACT_MINOR = 400  # a single exact determinant is affordable up to this order


def decide_p_matrix(
    matrix: MatrixEnclosure | ArrayLike,
    *,
    deadline: float = math.inf,
    nodes: int = 20000,
    backend: str = "auto",
) -> Evidence:
    """Decide whether M is a P-matrix, by components, leaf tests, a tree and exact minors.

    Args:
        matrix: M, shape (m, m); of an enclosure every matrix is meant. The matrix of order 0 is P.
        deadline: ``time.monotonic`` at which to give up; exact blocks of order <= 14 are decided
            whatever it says.
        nodes: budget of tree nodes over all blocks.
        backend: whose factorisations prove the leaves; every one is rigorous.

    Returns:
        PROVED with witness ``"p-tree"``: ``singletons`` (components of one index) and ``blocks``,
        each with its indices and either ``minors`` (how many, all computed, all positive) or the
        ``steps`` of `p_tree.Tree` for the block scaled by 2^``row_exponents`` and
        2^``column_exponents``. REFUTED with witness ``"bad-minor"``: ``index_set`` and the exact
        ``determinant`` <= 0 (None if only an enclosure of M is known: then det(M_SS) <= 0 for
        every matrix in it). UNDECIDED with ``why_open``.

    Raises:
        InputError: M is not square or not finite. BackendError: the machine does not compute as
            assumed.
    """
    given = square_enclosure(matrix, where="decide_p_matrix")
    blocks = sorted(strong_components(zero_pattern(given)), key=len)
    singles = np.array([int(b[0]) for b in blocks if len(b) == 1], dtype=np.int64)
    bad = _bad_singleton(given, singles)
    if bad is not None:
        return _decided_singleton(given, *bad)
    proofs: list[Any] = []
    open_reasons: list[str] = []
    spent = 0
    for block in blocks:
        if len(block) == 1:
            continue
        truth, found, used = decide_block(
            Block(given, block), deadline=deadline, nodes=max(1, nodes - spent), backend=backend
        )
        spent += used
        if truth is Truth.REFUTED:
            return refutation_of(given, found)
        if truth is Truth.PROVED:
            proofs.append(found)
        else:
            open_reasons.append(f"block of order {len(block)}: {found}")
    if open_reasons:
        return Evidence(Truth.UNDECIDED, how=_HOW, why_open=open_reasons[0])
    data = {"singletons": [int(j) for j in singles], "blocks": proofs}
    return Evidence(Truth.PROVED, Witness("p-tree", data), assumptions(proofs), _HOW)


def assumptions(proofs: Sequence[Any]) -> tuple[str, ...]:
    """What the proofs of blocks rely on: trees use matrix products and factorisations."""
    return (PRODUCTS,) if any("steps" in proof for proof in proofs) else ()


_HOW = "strongly connected components, leaf tests and exact principal minors"


def square_enclosure(matrix: MatrixEnclosure | ArrayLike, *, where: str) -> MatrixEnclosure:
    """Validate a square finite matrix or enclosure.

    Raises:
        InputError: not square, not finite, or a radius that is negative or not finite.
    """
    if not isinstance(matrix, MatrixEnclosure):
        return MatrixEnclosure(as_matrix(matrix, where=where, square=True))
    mid = as_matrix(matrix.mid, where=where, square=True)
    if matrix.rad is None:
        return MatrixEnclosure(mid, None, matrix.exact)
    rad = as_matrix(matrix.rad, where=where, square=True)
    if rad.shape != mid.shape or (rad < 0.0).any():
        raise InputError(
            f"{where}: expected radii >= 0 of shape {mid.shape}, "
            f"but got shape {rad.shape} with smallest entry {rad.min(initial=0.0)!r}"
        )
    return MatrixEnclosure(mid, rad, matrix.exact)


class Block:
    """A principal submatrix: floats at once, exact numbers when asked for."""

    def __init__(self, matrix: MatrixEnclosure, indices: Any) -> None:
        self.indices = [int(j) for j in indices]
        grid = np.ix_(indices, indices)
        self.mid = matrix.mid[grid]
        self.rad = np.zeros_like(self.mid) if matrix.rad is None else matrix.rad[grid]
        self.is_exact = matrix.is_exact
        self.has_minors = matrix.is_exact
        self._source = matrix.exact
        self._exact: Any = None
        self._scaled: Any = None
        self.row_exponents, self.column_exponents = _balance(self.mid)

    @property
    def exact(self) -> Any:
        """The block as ``fmpq_mat``."""
        if self._exact is None:
            if self._source is None:
                self._exact = rational_matrix(self.mid)
            else:
                self._exact = minors.submatrix(self._source, self.indices, self.indices)
        return self._exact

    def ball(self) -> Ball:
        """Return the enclosure of the block scaled by powers of two."""
        shift = self.row_exponents[:, None] + self.column_exponents[None, :]
        with np.errstate(all="ignore"):
            mid, rad = np.ldexp(self.mid, shift), np.ldexp(self.rad, shift)
            lost = (np.ldexp(mid, -shift) != self.mid) | (np.ldexp(rad, -shift) != self.rad)
        return Ball(mid, np.where(lost, rad + 4.0 * ETA, rad))

    def minor(self, index_set: Sequence[int]) -> Any:
        """Return an exact principal minor of the block (unscaled: the sign is the same)."""
        return minors.principal_minor(self.exact, index_set)

    def schur(self, chosen: Sequence[int], rest: Sequence[int]) -> Any:
        """Return the exact Schur complement of the scaled block."""
        if self._scaled is None:
            self._scaled = _scaled(self.exact, self.row_exponents, self.column_exponents)
        full = self._scaled
        block = minors.submatrix(full, rest, rest)
        if not chosen:
            return block
        inner = minors.submatrix(full, chosen, chosen)
        solved = inner.solve(minors.submatrix(full, chosen, rest))
        return block - minors.submatrix(full, rest, chosen) * solved


def _scaled(exact: Any, rows: Any, columns: Any) -> Any:
    from flint import fmpq, fmpq_mat

    n = exact.nrows()
    entries = [
        exact[i, j] * fmpq(2) ** int(rows[i] + columns[j]) for i in range(n) for j in range(n)
    ]
    return fmpq_mat(n, n, entries)


def _balance(mid: Array, sweeps: int = 6) -> tuple[Any, Any]:
    """Propose exponents r, c such that 2^r M 2^c has a diagonal near 1 and balanced rows."""
    n = len(mid)
    with np.errstate(divide="ignore"):
        logs = np.log2(np.abs(mid))
    diagonal = np.where(np.isfinite(np.diag(logs)), np.diag(logs), 0.0)
    rows = -np.floor(0.5 * diagonal)
    columns = -np.round(diagonal) - rows
    np.fill_diagonal(logs, -np.inf)
    for _ in range(sweeps):
        moved = False
        for i in range(n):
            row = float(np.max(logs[i] + columns)) + rows[i]
            column = float(np.max(logs[:, i] + rows)) + columns[i]
            if math.isfinite(row) and math.isfinite(column):
                step = round(0.5 * (column - row))
                rows[i], columns[i] = rows[i] + step, columns[i] - step
                moved = moved or step != 0
        if not moved:
            break
    return rows.astype(np.int64), columns.astype(np.int64)


def decide_block(
    block: Block, *, deadline: float, nodes: int, backend: str
) -> tuple[Truth, Any, int]:
    """Return the truth, then its proof, its bad index set or its reason, and the nodes used."""
    n = len(block.indices)
    if block.is_exact and n <= SMALL_SWEEP:
        return *_sweep(block, math.inf), 0
    small = block.is_exact and n <= SWEEP
    tilt = block.column_exponents - block.row_exponents
    tree = run_tree(
        block.ball(),
        block if block.has_minors and not small else None,
        tilt=tilt,
        deadline=deadline,
        nodes=1 if small else nodes,
        backend=backend,
    )
    if tree.truth is not Truth.UNDECIDED:
        return *_translate(block, tree), tree.nodes
    if block.is_exact and n <= LAST_SWEEP:
        truth, found = _sweep(block, math.inf if small else deadline)
        return truth, found if truth is not Truth.UNDECIDED else tree.why, tree.nodes
    return Truth.UNDECIDED, tree.why, tree.nodes


def _sweep(block: Block, deadline: float) -> tuple[Truth, Any]:
    sweep = minors.sweep_minors(minors.integer_rows(block.exact), strict=True, deadline=deadline)
    if sweep.bad is not None:
        return Truth.REFUTED, [block.indices[j] for j in sweep.bad]
    if sweep.complete:
        return Truth.PROVED, {"indices": block.indices, "minors": sweep.positive}
    return Truth.UNDECIDED, "out of time"


def _translate(block: Block, tree: Tree) -> tuple[Truth, Any]:
    if tree.bad is not None:
        return Truth.REFUTED, [block.indices[j] for j in tree.bad]
    steps = [renamed(step, block.indices) for step in tree.steps]
    proof = {
        "indices": block.indices,
        "row_exponents": [int(e) for e in block.row_exponents],
        "column_exponents": [int(e) for e in block.column_exponents],
        "steps": steps,
    }
    return Truth.PROVED, proof


def renamed(step: list[Any], indices: list[int]) -> list[Any]:
    """Return a step of a tree with its local indices replaced."""
    if step[0] == "split":
        return ["split", indices[step[1]]]
    if step[0] == "blocks":
        return ["blocks", [[indices[j] for j in part] for part in step[1]]]
    return step


def _bad_singleton(given: MatrixEnclosure, singles: Any) -> tuple[int, bool] | None:
    """Find a component of one index whose entry is not proved positive: (index, proved bad)."""
    diagonal = given.mid[singles, singles]
    radius = np.zeros_like(diagonal) if given.rad is None else given.rad[singles, singles]
    open_one: tuple[int, bool] | None = None
    with np.errstate(over="ignore"):
        low, high = diagonal - radius, diagonal + radius
    for k in np.flatnonzero(low <= 0.0):
        index = int(singles[k])
        if given.exact is not None:
            refuted = bool(given.exact[index, index] <= 0)
            if not refuted:
                continue
        else:
            refuted = bool(high[k] <= 0.0)
        if refuted:
            return index, True
        open_one = index, False
    return open_one


def _decided_singleton(given: MatrixEnclosure, index: int, refuted: bool) -> Evidence:
    if refuted:
        return refutation_of(given, [index])
    why = f"the enclosure leaves the sign of entry [{index}, {index}] open"
    return Evidence(Truth.UNDECIDED, how=_HOW, why_open=why)


def refutation_of(given: MatrixEnclosure, bad: Sequence[int], *, strict: bool = True) -> Evidence:
    """Return the evidence for a bad index set: made small, with its exact determinant."""
    determinant = None
    index_set = sorted(int(j) for j in bad)
    if given.is_exact and len(index_set) <= EXACT_MINOR:
        block = Block(given, index_set)
        local = minors.shrink_bad_set(block.exact, range(len(index_set)), strict=strict)
        determinant = minors.fraction_of(block.minor(local))
        index_set = [index_set[j] for j in local]
    data = {"index_set": index_set, "determinant": determinant}
    return Evidence(Truth.REFUTED, Witness("bad-minor", data), how=_HOW)

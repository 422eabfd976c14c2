"""P_0-matrices: all principal minors nonnegative.

As for P-matrices, M is P_0 exactly when every strongly connected diagonal block is. A block that is
P is P_0. For the others an exact reduction: with N an integer matrix that is M up to positive
factors of rows and columns, H = prod_i (1 + sum_j |N_ij|) and 0 < t < 1/H,

    N is P_0  <=>  N + t I is P.

Proof. p_S(t) = det(N_SS + t I) = sum over T in S of t^{|S|-|T|} det(N_TT) has integer coefficients
whose moduli sum to at most H (Hadamard: |det N_TT| <= product of the row sums), and leading
coefficient 1, so for 0 < t < 1/H its sign is that of its lowest nonzero coefficient. If N is P_0,
that coefficient is a sum of nonnegative minors, hence positive. If N + t I is P for this t, every
lowest coefficient is positive, so p_S > 0 for all small t and det N_SS = p_S(0) >= 0. And if
p_S(t) < 0 = det N_SS, then p_S' = sum_i p_{S - i} is negative near 0, so some p_{S - i}(t) < 0:
going down leads to a negative minor of N.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from verify.errors import ContradictionError, InputError
from verify.evidence import Evidence, Witness
from verify.verdict import Truth
from verify_kernels import minors
from verify_kernels.components import strong_components, zero_pattern
from verify_kernels.matrix import MatrixEnclosure, enclose_rational
from verify_kernels.p_matrix import (
    LAST_SWEEP,
    SWEEP,
    Block,
    assumptions,
    decide_block,
    refutation_of,
    renamed,
    square_enclosure,
)
from verify_kernels.p_tree import run_tree

SHIFTED = 120  # largest block for which the shifted exact matrix is built
_HOW = "strongly connected components, P-matrix test, exact principal minors"


def decide_p0_matrix(
    matrix: MatrixEnclosure | ArrayLike,
    *,
    deadline: float = math.inf,
    nodes: int = 20000,
    backend: str = "auto",
) -> Evidence:
    """Decide whether M is a P_0-matrix, by components, exact minors and the P-matrix tree.

    Args:
        matrix: M, shape (m, m); of an enclosure every matrix is meant.
        deadline: ``time.monotonic`` at which to give up; exact blocks of order <= 14 are decided
            whatever it says.
        nodes: budget of tree nodes over all blocks.
        backend: whose factorisations prove the leaves; every one is rigorous.

    Returns:
        PROVED with witness ``"p0-tree"``: ``blocks``, each with its indices and one of ``minors``
        (how many are positive) and ``zero_minors``; the steps of a proof that it is P; ``vector``,
        integers v > 0 with <M> v >= 0 for the comparison matrix; ``semidefinite`` (the symmetric
        part is); or ``shift_exponent`` k and steps for `minors.integer_rows` plus 2^-k I. REFUTED
        with witness ``"bad-minor"``: ``index_set`` and its exact ``determinant`` < 0 (None if only
        an enclosure is known). UNDECIDED with ``why_open``.

    Raises:
        InputError: M is not square or not finite. BackendError: the machine does not compute as
            assumed.
    """
    given = square_enclosure(matrix, where="decide_p0_matrix")
    proofs: list[Any] = []
    why = ""
    spent = 0
    for indices in sorted(strong_components(zero_pattern(given)), key=len):
        search = _Block(given, indices, deadline, max(1, nodes - spent), backend)
        truth, found = search.decide()
        spent += search.used
        if truth is Truth.REFUTED:
            return refutation_of(given, found, strict=False)
        if truth is Truth.PROVED:
            proofs.append(found)
        else:
            why = why or f"block of order {len(indices)}: {found}"
    if why:
        return Evidence(Truth.UNDECIDED, how=_HOW, why_open=why)
    return Evidence(Truth.PROVED, Witness("p0-tree", {"blocks": proofs}), assumptions(proofs), _HOW)


class _Block:
    """The decision about one strongly connected block."""

    def __init__(
        self, given: MatrixEnclosure, indices: Any, deadline: float, nodes: int, backend: str
    ) -> None:
        self.block = Block(given, indices)
        self.deadline, self.nodes, self.backend = deadline, nodes, backend
        self.used = 0

    def decide(self) -> tuple[Truth, Any]:
        """Return the truth, then the proof, the bad index set or the reason."""
        block, n = self.block, len(self.block.indices)
        if n == 1 and not block.is_exact:
            return self._decide_single()
        if block.is_exact and n <= SWEEP:
            return self._sweep(math.inf)
        truth, found, self.used = decide_block(
            block, deadline=self.deadline, nodes=self.nodes, backend=self.backend
        )
        if truth is Truth.PROVED:
            return truth, found
        if not block.is_exact:
            return self._from_enclosure(truth, found)
        if truth is Truth.REFUTED and self._is_negative(found):
            return truth, found
        for leaf in (self._vector, self._semidefinite):
            proof = leaf()
            if proof is not None:
                return Truth.PROVED, {"indices": block.indices} | proof
        if n <= LAST_SWEEP:
            return self._sweep(self.deadline)
        return self._shifted()

    def _decide_single(self) -> tuple[Truth, Any]:
        block = self.block
        with np.errstate(over="ignore"):
            low, high = block.mid[0, 0] - block.rad[0, 0], block.mid[0, 0] + block.rad[0, 0]
        if low >= 0.0:
            return Truth.PROVED, {"indices": block.indices, "minors": 1, "zero_minors": 0}
        if high < 0.0:
            return Truth.REFUTED, block.indices
        return Truth.UNDECIDED, "the enclosure leaves the sign of an entry open"

    def _from_enclosure(self, truth: Truth, found: Any) -> tuple[Truth, Any]:
        """A minor that is <= 0 for every matrix refutes only if it is < 0 for every one."""
        if truth is not Truth.REFUTED:
            return truth, found
        tree = run_tree(
            self.block.ball(), None, deadline=self.deadline, nodes=self.nodes, backend=self.backend
        )
        if tree.bad is not None and tree.negative:
            return truth, [self.block.indices[j] for j in tree.bad]
        return Truth.UNDECIDED, "a minor is not positive, but perhaps zero"

    def _is_negative(self, found: Sequence[int]) -> bool:
        local = [self.block.indices.index(j) for j in found]
        return bool(self.block.minor(local) < 0)

    def _sweep(self, deadline: float) -> tuple[Truth, Any]:
        rows = minors.integer_rows(self.block.exact)
        sweep = minors.sweep_minors(rows, strict=False, deadline=deadline)
        indices = self.block.indices
        if sweep.bad is not None:
            return Truth.REFUTED, [indices[j] for j in sweep.bad]
        if sweep.complete:
            counts = {"minors": sweep.positive, "zero_minors": sweep.zero}
            return Truth.PROVED, {"indices": indices} | counts
        return Truth.UNDECIDED, "out of time"

    def _vector(self) -> dict[str, Any] | None:
        """Find integers v > 0 with <M> v >= 0: then M + t I is an H-matrix, so P, for all t > 0."""
        rows = self.block.exact.tolist()
        n = len(rows)
        for vector in self._vector_proposals(n):
            sums = (
                sum((abs(row[j]) * vector[j] for j in range(n) if j != i), row[i] * 0)
                for i, row in enumerate(rows)
            )
            if all(rows[i][i] * vector[i] >= total for i, total in enumerate(sums)):
                return {"vector": vector}
        return None

    @np.errstate(all="ignore")
    def _vector_proposals(self, n: int) -> list[list[int]]:
        proposals = [[1] * n]
        ball = self.block.ball().mid
        comparison = -np.abs(ball)
        np.fill_diagonal(comparison, np.diag(ball))
        if np.isfinite(comparison).all():
            values, vectors = np.linalg.eig(comparison)
            v = np.abs(np.real(vectors[:, int(np.argmin(np.real(values)))]))
            v = v * np.exp2(self.block.column_exponents.astype(float))
            if v.min() > 0.0 and np.isfinite(v).all() and v.max() / v.min() < 2.0**40:
                proposals += [[round(float(x)) for x in v / v.min() * 2.0**k] for k in (0, 20)]
        return proposals

    def _semidefinite(self) -> dict[str, Any] | None:
        """Exact elimination of M + M^T: x.Mx >= 0 makes M + t I positive definite for t > 0."""
        exact = self.block.exact
        rows = (exact + exact.transpose()).tolist()
        while rows:
            n = len(rows)
            if any(rows[j][j] < 0 for j in range(n)):
                return None
            i = next((j for j in range(n) if rows[j][j] != 0), None)
            if i is None:
                zero = all(x == 0 for row in rows for x in row)
                return {"semidefinite": True} if zero else None
            keep = [j for j in range(n) if j != i]
            head, pivot = rows[i], rows[i][i]
            rows = [[rows[j][k] - rows[j][i] * head[k] / pivot for k in keep] for j in keep]
        return {"semidefinite": True}

    def _shifted(self) -> tuple[Truth, Any]:
        """Decide N + t I by the tree; a negative minor of it leads to one of N."""
        from flint import fmpq, fmpq_mat, fmpz

        n = len(self.block.indices)
        if n > SHIFTED:
            return Truth.UNDECIDED, "some principal minor may be zero"
        rows = minors.integer_rows(self.block.exact)
        bound = fmpz(1)
        for row in rows:
            bound *= 1 + sum((abs(x) for x in row), fmpz(0))
        k = int(bound).bit_length()
        entries = [fmpq(x) for row in rows for x in row]
        for i in range(n):
            entries[i * n + i] += fmpq(fmpz(1), fmpz(1) << k)
        shifted = fmpq_mat(n, n, entries)
        try:
            enclosed = enclose_rational(shifted)
        except InputError:
            return Truth.UNDECIDED, "entries leave the range of binary64"
        inner = Block(enclosed, np.arange(n))
        truth, found, used = decide_block(
            inner, deadline=self.deadline, nodes=self.nodes, backend=self.backend
        )
        self.used += used
        if truth is Truth.PROVED:
            proof = dict(found) | {"indices": self.block.indices, "shift_exponent": k}
            if "steps" in proof:
                proof["steps"] = [renamed(step, self.block.indices) for step in proof["steps"]]
            return truth, proof
        if truth is Truth.REFUTED:
            local = self._descend(shifted, [int(j) for j in found])
            return truth, [self.block.indices[j] for j in local]
        return truth, found

    def _descend(self, shifted: Any, bad: list[int]) -> list[int]:
        """Go from a negative minor of N + t I to a negative minor of N."""
        while self.block.minor(bad) >= 0:
            for i in bad:
                rest = [j for j in bad if j != i]
                if minors.principal_minor(shifted, rest) < 0:
                    bad = rest
                    break
            else:
                raise ContradictionError(
                    f"decide_p0_matrix: expected a negative minor inside {bad!r}, but got none"
                )
        return bad

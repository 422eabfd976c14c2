"""One strict sign of det(I - W D) over all diagonal D with entries in {alpha, beta}.

With A = I - alpha W, B = I - beta W and D = beta on S, alpha elsewhere, the columns of I - W D are
those of B on S and of A elsewhere, so det(I - W D) = det(A) det(Q_SS) with Q = A^{-1} B: one
strict sign holds exactly when A is nonsingular and Q is a P-matrix; the sign is that of det(A). For
a reducible W the determinant is the product over its strongly connected blocks, and the product
keeps one strict sign exactly when every factor does.
"""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from fractions import Fraction
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from verify.errors import InputError
from verify.evidence import Evidence, Witness
from verify.verdict import Truth
from verify_kernels import minors
from verify_kernels._rounding import ETA, U, up_array
from verify_kernels.components import strong_components, zero_pattern
from verify_kernels.matrix import MatrixEnclosure, enclose_rational, rational_matrix
from verify_kernels.p_matrix import (
    Block,
    assumptions,
    decide_block,
    renamed,
    square_enclosure,
)

EXACT_SOLVE = 40  # A^{-1} B is computed exactly up to this order, in balls beyond
BALL_SOLVE = 300  # largest block whose A^{-1} B is enclosed at all
_BITS = 128
_SECONDS = 4.0  # about what enclosing A^{-1} B of order 256 takes; decides whether to begin
_HOW = "P-matrix test of (I - alpha W)^{-1} (I - beta W) on strongly connected blocks"


def decide_one_sign(
    weight: MatrixEnclosure | ArrayLike,
    alpha: Fraction,
    beta: Fraction,
    *,
    deadline: float = math.inf,
    nodes: int = 20000,
    backend: str = "auto",
) -> Evidence:
    """Decide whether all 2^m determinants det(I - W D), D in {alpha, beta}^m, share one sign.

    Args:
        weight: W, shape (m, m); of an enclosure every matrix is meant.
        alpha: exact lower slope.
        beta: exact upper slope, alpha < beta.
        deadline: ``time.monotonic`` at which to give up (see `p_matrix.decide_p_matrix`).
        nodes: budget of tree nodes over all blocks.
        backend: whose factorisations prove the leaves; every one is rigorous.

    Returns:
        PROVED with witness ``"p-tree"``: ``alpha``, ``beta``, ``sign`` of the product and
        ``blocks``, each with ``sign`` and the proof that its Q is P. REFUTED with witness
        ``"opposite-determinants"``: ``block`` (indices of a strongly connected block), ``base_set``
        within ``index_set`` (where D is beta) and both exact determinants of the block,
        of opposite signs or zero (None if only an enclosure is known). UNDECIDED with ``why_open``.

    Raises:
        InputError: W is not square or not finite, or not alpha < beta.
    """
    given = square_enclosure(weight, where="decide_one_sign")
    low, high = Fraction(alpha), Fraction(beta)
    if low >= high:
        raise InputError(f"decide_one_sign: expected alpha < beta, but got {low!r} and {high!r}")
    proofs: list[dict[str, Any]] = []
    why = ""
    spent = 0
    for indices in sorted(strong_components(zero_pattern(given)), key=len):
        block = SlopeBlock(given, indices, low, high)
        truth, found, used = block.decide(
            deadline=deadline, nodes=max(1, nodes - spent), backend=backend
        )
        spent += used
        if truth is Truth.REFUTED:
            return Evidence(Truth.REFUTED, block.refutation(found), how=_HOW)
        if truth is Truth.PROVED:
            proofs.append({"indices": block.indices, "sign": block.sign} | found)
        else:
            why = why or f"block of order {len(indices)}: {found}"
    if why:
        return Evidence(Truth.UNDECIDED, how=_HOW, why_open=why)
    sign = math.prod(proof["sign"] for proof in proofs)
    data = {"alpha": low, "beta": high, "sign": sign, "blocks": proofs}
    return Evidence(Truth.PROVED, Witness("p-tree", data), assumptions(proofs), _HOW)


def slope_matrix(weight: Any, slopes: Sequence[Fraction]) -> Any:
    """Return I - W D as ``fmpq_mat`` for the exact slopes D of the columns."""
    from flint import fmpq, fmpq_mat

    n = weight.nrows()
    exact = [fmpq(d.numerator, d.denominator) for d in slopes]
    entries = [int(i == j) - weight[i, j] * exact[j] for i in range(n) for j in range(n)]
    return fmpq_mat(n, n, entries)


class SlopeBlock:
    """A strongly connected block of W with the two slopes."""

    def __init__(
        self, weight: MatrixEnclosure, indices: Any, low: Fraction, high: Fraction
    ) -> None:
        self.indices = [int(j) for j in indices]
        self.low, self.high = low, high
        self.sign = 0
        self.exact: Any = None
        self.quotient: MatrixEnclosure | None = None
        self.row_shifts = [0] * len(self.indices)
        grid = np.ix_(indices, indices)
        self.mid = weight.mid[grid]
        self.rad = None if weight.rad is None else weight.rad[grid]
        if weight.exact is not None:
            self.exact = minors.submatrix(weight.exact, self.indices, self.indices)
        elif weight.rad is None:
            self.exact = rational_matrix(self.mid)

    def determinant(self, index_set: Sequence[int]) -> Any:
        """Return det(I - W D), D = beta on the (local) index set, as ``fmpq``."""
        slopes = [self.high if j in index_set else self.low for j in range(len(self.indices))]
        return slope_matrix(self.exact, slopes).det()

    def decide(self, *, deadline: float, nodes: int, backend: str) -> tuple[Truth, Any, int]:
        """Return the truth; its proof, bad local index set or reason; and the nodes used."""
        n = len(self.indices)
        if n > BALL_SOLVE:
            return Truth.UNDECIDED, f"more than {BALL_SOLVE} strongly connected coordinates", 0
        if n > EXACT_SOLVE and time.monotonic() + _SECONDS * (n / 256.0) ** 3 > deadline:
            return Truth.UNDECIDED, "no time left to invert I - alpha W", 0
        if self.exact is not None and n <= EXACT_SOLVE:
            self.sign = _sign(self.determinant(()))
            self.quotient = self._exact_quotient() if self.sign else None
        else:
            self.quotient = self._ball_quotient()
        if self.quotient is None:
            if self.exact is not None and self.determinant(()) == 0:
                return Truth.REFUTED, [], 0
            return Truth.UNDECIDED, "I - alpha W could not be inverted", 0
        family = _Quotient(self.quotient, self)
        truth, found, used = decide_block(family, deadline=deadline, nodes=nodes, backend=backend)
        if truth is Truth.PROVED:
            return truth, self._proof(found), used
        return truth, found, used

    def _proof(self, found: dict[str, Any]) -> dict[str, Any]:
        """The proof about Q itself, in the indices of W."""
        proof = {key: value for key, value in found.items() if key != "indices"}
        if "steps" in proof:
            shifts = zip(proof["row_exponents"], self.row_shifts, strict=True)
            proof["row_exponents"] = [e + shift for e, shift in shifts]
            proof["steps"] = [renamed(step, self.indices) for step in proof["steps"]]
        return proof

    def _exact_quotient(self) -> MatrixEnclosure:
        """Return Q = (I - alpha W)^{-1} (I - beta W) in rationals, rows scaled to order one."""
        n = len(self.indices)
        low, high = (slope_matrix(self.exact, [slope] * n) for slope in (self.low, self.high))
        enclosed, self.row_shifts = _in_range(low.solve(high))
        return enclosed

    def _ball_quotient(self) -> MatrixEnclosure | None:
        """Enclose Q, and find the sign of det(I - alpha W), in balls."""
        from flint import arb_mat, ctx

        n = len(self.indices)
        with ctx.workprec(_BITS):
            low, high = self._ball(self.low), self._ball(self.high)
            try:
                solved = arb_mat(n, n, low).solve(arb_mat(n, n, high))
            except ZeroDivisionError:
                return None
            self.sign = _sign(arb_mat(n, n, low).det())
            return None if self.sign == 0 else _from_balls(solved)

    def _ball(self, slope: Fraction) -> list[Any]:
        from flint import arb, fmpq

        n = len(self.indices)
        exact = fmpq(slope.numerator, slope.denominator)
        if self.exact is not None:
            return [arb(x) for x in slope_matrix(self.exact, [slope] * n).entries()]
        rad = np.zeros_like(self.mid) if self.rad is None else self.rad
        return [
            int(i == j) - arb(float(self.mid[i, j]), float(rad[i, j])) * exact
            for i in range(n)
            for j in range(n)
        ]

    def refutation(self, found: Sequence[int]) -> Witness:
        """Return the witness: two nested patterns of the block, one index apart where exact."""
        local = sorted(found)
        base: list[int] = []
        first = second = None
        if self.exact is not None:
            base, local, first, second = self._wall(local)
        data = {
            "alpha": self.low,
            "beta": self.high,
            "block": self.indices,
            "base_set": [self.indices[j] for j in base],
            "index_set": [self.indices[j] for j in local],
            "base_determinant": first,
            "determinant": second,
        }
        return Witness("opposite-determinants", data)

    def _wall(self, bad: list[int]) -> tuple[list[int], list[int], Fraction, Fraction]:
        """Shrink a bad set until removing some index restores the base sign, or it is zero."""
        current = self._smaller(bad)
        value = self.determinant(current)
        while current:
            for j in current:
                rest = [k for k in current if k != j]
                other = self.determinant(rest)
                if other * self.sign > 0:
                    return rest, current, minors.fraction_of(other), minors.fraction_of(value)
            current, value = rest, other
        return [], [], minors.fraction_of(value), minors.fraction_of(value)

    def _smaller(self, bad: list[int]) -> list[int]:
        if self.quotient is None or not bad:
            return bad
        block = self.quotient.mid[np.ix_(bad, bad)]
        for proposal in minors.smaller_sets(block, bad):
            if self.determinant(proposal) * self.sign <= 0:
                return sorted(proposal)
        return bad


class _Quotient(Block):
    """Q with local indices; its minors by determinants of columns of A and B."""

    def __init__(self, quotient: MatrixEnclosure, source: SlopeBlock) -> None:
        super().__init__(quotient, np.arange(len(source.indices)))
        self._slopes = source
        self.has_minors = source.exact is not None

    @property
    def exact(self) -> Any:
        return self._source

    def minor(self, index_set: Sequence[int]) -> Any:
        return self._slopes.determinant(index_set) * self._slopes.sign

    def schur(self, chosen: Sequence[int], rest: Sequence[int]) -> Any:
        return None if self._source is None else super().schur(chosen, rest)


def _sign(value: Any) -> int:
    """The sign of a number; 0 also for a ball that contains 0."""
    return 1 if value > 0 else -1 if value < 0 else 0


def _from_balls(solved: Any) -> MatrixEnclosure | None:
    """Enclose an ``arb_mat`` by floats: nearest middles, radii with 4 u for that rounding."""
    n = solved.nrows()
    balls = solved.entries()
    mid = np.array([float(x.mid()) for x in balls]).reshape(n, n)
    rad = np.array([float(x.rad()) for x in balls]).reshape(n, n)
    with np.errstate(over="ignore", invalid="ignore"):
        rad = up_array(up_array(rad) * (1.0 + 4.0 * U) + (4.0 * U * np.abs(mid) + 4.0 * ETA))
    if not (np.isfinite(mid).all() and np.isfinite(rad).all()):
        return None
    return MatrixEnclosure(mid, rad)


def _in_range(exact: Any) -> tuple[MatrixEnclosure, list[int]]:
    """Enclose the rows times 2^e, entries at most 1 (P or not together); return the e as well."""
    from flint import fmpq, fmpq_mat

    rows = exact.tolist()
    n = len(rows)
    shifts, entries = [], []
    for row in rows:
        largest = max(abs(x) for x in row)
        e = int(largest.q).bit_length() - int(largest.p).bit_length() - 1
        shifts.append(e)
        entries += [x * fmpq(2) ** e for x in row]
    return enclose_rational(fmpq_mat(n, n, entries)), shifts

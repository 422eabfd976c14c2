"""Norms of ||diag(s) X||_2 for many diagonals: cheap for all, close where it decides."""

from __future__ import annotations

import math
from fractions import Fraction
from typing import Any

import numpy as np
from flint import arb, arb_mat

from verify.errors import InputError
from verify_kernels._rounding import (
    OMEGA,
    Array,
    U,
    add_up,
    down,
    down_array,
    float_up,
    gamma,
    mul_down,
    mul_up,
    norm_up,
    sqrt_up,
    sum_squares_up,
    sum_up,
    up,
    up_array,
)
from verify_kernels.backend import get_backend
from verify_kernels.matrix import MatrixEnclosure
from verify_kernels.self_test import check_arithmetic
from verify_kernels.spectral_norm import enclose_spectral_norm

Ball = Any  # python-flint's arb

# The claims above an estimate of the largest eigenvalue: its own error, then what may be lost.
_CLAIMS = (1.0 + 2.0**-7, 1.06, 1.5)
_SWEEPS = 12


def norm_of(matrix: MatrixEnclosure) -> float:
    """Return an upper bound of ||A||_2, +inf where it is beyond binary64.

    Error bound:
        that of `enclose_spectral_norm`, and ||rad||_F.
    """
    if not np.isfinite(matrix.mid).all():
        return math.inf
    return enclose_spectral_norm(matrix, with_witness=False).enclosure().hi_float


class ScaledNorms:
    """||diag(s) X||_2 for vectors s >= 0 and one matrix X, bounded from above.

    Args:
        X: shape (n, D), an enclosure.
        norm: an upper bound of ||X||_2.
        rows: upper bounds of the norms of the rows.
    """

    def __init__(self, X: MatrixEnclosure, norm: float, rows: Array) -> None:
        self.X, self.norm, self.rows = X, norm, rows
        check_arithmetic("numpy", size=max(X.shape))
        self.backend = get_backend("numpy")
        self.radius = 0.0 if X.rad is None else norm_up(X.rad)
        self.wide = X.mid if X.shape[0] >= X.shape[1] else X.mid.T
        self.scales_rows = X.shape[0] >= X.shape[1]
        self.work = X.shape[0] * X.shape[1] * min(X.shape)
        """Multiplications of one close bound."""

    @np.errstate(all="ignore")
    def cheap(self, scales: Array, largest: Array) -> Array:
        """Bound all columns of scales, shape (n, k): min(max s ||X||, ||diag(s) X||_F).

        Error bound:
            the sums of squares of s_i ||x_i|| in any order: (q + 4 n omega)/(1 - (n + 8) u); the
            part with omega also pays for products that underflow.
        """
        n = len(scales)
        scaled = scales * self.rows[:, None]
        squares = np.einsum("ik,ik->k", scaled, scaled)
        lifted = up_array(up_array(squares + 4.0 * n * OMEGA) / down(1.0 - (n + 8) * U))
        lost = up_array(np.sqrt(lifted))
        return np.minimum(_times(largest, self.norm), np.where(np.isnan(lost), np.inf, lost))

    @np.errstate(all="ignore")
    def close(self, scale: Array, cap: float, goal: float) -> float:
        """Bound ||diag(s) X||_2 by one symmetric product and one Cholesky factorisation.

        Error bound:
            With A = fl(diag(s) X) and G = fl(A^T A), or A A^T, and r terms in its sums, G is off
            from that of diag(s) X by gamma_{r+5} ||A||_F^2 in the spectral norm: r for the sum,
            three for the two rounded factors in terms of |A|, and, as 2^-900 < ||A||_F^2 < 2^900,
            two for all underflow. A Cholesky factor of c - delta - G proves lambda_max < c with the
            defect of the factorisation in delta; then max s ||rad||_F of the samples is added.

        Args:
            scale: s >= 0, finite, exact.
            cap: a bound that is known.
            goal: a bound that is enough; it is tried first.
        """
        A = self.wide * (scale[:, None] if self.scales_rows else scale[None, :])
        squares = sum_squares_up(A)
        if not (math.isfinite(squares) and 2.0**-900 < squares < 2.0**900):
            return cap
        lost = mul_up(float(scale.max()), self.radius)
        error = mul_up(gamma(A.shape[0] + 5), squares)
        negative = self.backend.gram(A, -1.0)
        enough = down(goal - lost)
        if (
            enough > 0.0
            and goal < cap
            and self._is_below(negative, mul_down(enough, enough), error)
        ):
            return goal
        estimate = _estimate(negative)
        for claim in _CLAIMS:
            square = up(estimate * claim)
            bound = add_up(sqrt_up(square), lost)
            if not bound < cap:
                return cap
            if self._is_below(negative, square, error):
                return bound
        return cap

    def tight(self, scale: Array, cap: float) -> float:
        """Bound ||diag(s) X||_2 by the enclosure of a spectral norm.

        Error bound:
            A = fl(diag(s) X) is within 2u N of diag(s) X, N >= ||A||_F + 2^-511 sqrt(n D) rounded
            upward, which pays for underflow; and max s ||rad||_F of the samples.

        Args:
            scale: s >= 0, finite, exact.
            cap: a bound that is known.
        """
        A = self.wide * (scale[:, None] if self.scales_rows else scale[None, :])
        if not np.isfinite(A).all():
            return cap
        lost = add_up(
            mul_up(2.0 * U, norm_up(A), 1.0 + 4.0 * U),
            mul_up(float(scale.max()), self.radius),
        )
        return min(cap, add_up(norm_of(MatrixEnclosure(A)), lost))

    def _is_below(self, negative: Array, square: float, error: float) -> bool:
        diagonal = np.diagonal(negative).copy()
        room = up_array(np.maximum(square + diagonal, 0.0))
        ahead = self.backend.defect_ahead(room.size, sum_up(room), float(room.max()))
        delta = add_up(error, ahead)
        shifted = down_array(down(square - delta) + diagonal)
        if not (math.isfinite(delta) and (shifted > 0.0).all()):
            return False
        B = negative.copy(order="F")
        np.fill_diagonal(B, shifted)
        return bool(add_up(error, self.backend.cholesky_defect(B)) <= delta)


def _times(values: Array, factor: float) -> Array:
    product = up_array(values * factor)
    return np.where((values == 0.0) & math.isfinite(factor), 0.0, product)


def _estimate(negative: Array) -> float:
    """Return roughly the largest eigenvalue of -G, upper triangle given; it proves nothing."""
    G = np.triu(negative)
    G = -(G + np.triu(negative, 1).T)
    v = G.sum(axis=1) + np.diagonal(G)
    theta = float(np.diagonal(G).max())
    for _ in range(_SWEEPS):
        length = float(np.sqrt(v @ v))
        if not 0.0 < length < math.inf:
            break
        v = v / length
        w = G @ v
        theta, v = max(theta, float(v @ w)), w
    return theta


# ------------------------------------------------------------------------------- in balls


def ball_norm(matrix: Any) -> Ball:
    """Enclose the largest singular value of an ``arb_mat`` at the working precision."""
    other = matrix.transpose()
    gram = matrix * other if matrix.nrows() <= matrix.ncols() else other * matrix
    return largest_eigenvalue(gram).sqrt()


def largest_eigenvalue(gram: Any) -> Ball:
    """Enclose the largest eigenvalue of every positive semidefinite matrix in an ``arb_mat``.

    Below: a Rayleigh quotient at a float vector, which is off by the square of the vector's
    error. Above: c I - G has only positive pivots (LDL^T in balls), for c a little above the
    quotient; else the trace.
    """
    n = gram.nrows()
    if n == 0:
        return arb(0)
    trace = sum((gram[k, k] for k in range(n)), arb(0))
    top = trace.upper()
    if n == 1 or not trace.is_finite() or top <= 0:
        return trace.max(arb(0)) if n == 1 or not trace.is_finite() else arb(0)
    vector = _leading_vector(gram)
    quotient = ((vector.transpose() * gram * vector)[0, 0]) / ((vector.transpose() * vector)[0, 0])
    if not quotient.is_finite():
        return arb(0).union(top)
    low = quotient.lower().max(arb(0)).lower()
    for exponent in (-112, -96, -80, -70, -60, -50, -40, -30, -20, -10, -3):
        claim = (quotient.upper() * (1 + arb(2) ** exponent)).upper()
        if claim > top:
            break
        if has_positive_pivots(gram, claim):
            return low.union(claim)
    return low.union(top)


def _leading_vector(gram: Any) -> Any:
    """Return a float vector near the leading eigenvector; it proves nothing."""
    n = gram.nrows()
    largest = max((abs(gram[k, k]).upper() for k in range(n)), key=lambda x: x)
    values = np.array([[float((x / largest).mid()) for x in row] for row in gram.tolist()])
    if not np.isfinite(values).all():
        return arb_mat(n, 1, [1] * n)
    vector = np.linalg.eigh(0.5 * (values + values.T))[1][:, -1]
    return arb_mat(n, 1, vector.tolist())


def has_positive_pivots(gram: Any, claim: Ball) -> bool:
    """Return whether c I - G is proved positive definite, by LDL^T in balls."""
    rows = [[-x for x in row] for row in gram.tolist()]
    n = len(rows)
    for k in range(n):
        rows[k][k] += claim
    for k in range(n):
        pivot = rows[k][k]
        if not pivot > 0:
            return False
        for i in range(k + 1, n):
            factor = rows[i][k] / pivot
            for j in range(k + 1, i + 1):
                rows[i][j] = rows[i][j] - factor * rows[j][k]
    return True


def larger_root(p: float, q: float) -> float:
    """Return an upper bound of (q + sqrt(q^2 + 4 p^2))/2, the norm of [[0, p], [p, q]].

    Written as q/2 + hypot(q/2, p) with a common power of two taken out, so that no square
    leaves the range.

    Raises:
        InputError: a negative number.
    """
    if p < 0.0 or q < 0.0:
        raise InputError(f"larger_root: expected numbers >= 0, but got {p!r}, {q!r}")
    largest = max(p, q)
    if largest == 0.0:
        return 0.0
    if not math.isfinite(largest):
        return math.inf
    unit = Fraction(2) ** math.frexp(largest)[1]
    a, b = float(Fraction(q) / unit), float(Fraction(p) / unit)  # at most 1; small ones round
    a, b = up(a), up(b)
    half = up(0.5 * a)
    root = add_up(half, sqrt_up(add_up(mul_up(half, half), mul_up(b, b))))
    return scaled_up(root, unit)


def scaled_up(value: float, unit: Fraction) -> float:
    """Return an upper bound of a product with a power of two."""
    return float_up(Fraction(value) * unit) if math.isfinite(value) else math.inf

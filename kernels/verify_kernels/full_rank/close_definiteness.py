"""Definiteness below the reach of a plain Cholesky: its residual in error-free split products."""

from __future__ import annotations

import math
from fractions import Fraction

import numpy as np
import scipy.linalg
from numpy.typing import ArrayLike

from verify.errors import InputError
from verify_kernels._rounding import (
    Array,
    U,
    add_up,
    down_array,
    exact_number,
    float_up,
    mul_up,
    norm_up,
    up,
)
from verify_kernels.backend import get_backend
from verify_kernels.full_rank.scaling import in_range
from verify_kernels.full_rank.split_products import product_with_error
from verify_kernels.lanczos import approximate_leading_pair
from verify_kernels.matrix import MatrixEnclosure, as_matrix
from verify_kernels.self_test import check_arithmetic
from verify_kernels.spectral_norm import enclose_spectral_norm

FIRST_SHIFT = 6.0  # units of u ||K||: what the residual of a factorisation costs, about


@np.errstate(all="ignore")
def proves_definite_closely(
    matrix: ArrayLike, *, at_least: float | Fraction = 0.0, backend: str = "auto"
) -> bool:
    """Prove lambda_min(K) > c down to about 1e-15 ||K||, by the residual of any factor.

    With B <= K - c - d entrywise on the diagonal and equal to K off it, and any R,
    lambda_min(K) - c >= d - ||B - R^T R||_2. R^T R = hi + lo + E is a split product, so only the
    residual itself is rounded, not the products that cancel in it.

    Args:
        matrix: K, shape (n, n), finite, K = K^T bitwise.
        at_least: c, exactly.
        backend: which products; every one is rigorous.

    Returns:
        True only if it is proved; False says nothing. An empty matrix gives True.

    Error bound:
        ||fl(fl(B - hi) - lo)||_2 + u (||fl(B - hi)||_F + ||fl(fl(B - hi) - lo)||_F) + ||E||_F.

    Raises:
        InputError: K is not finite, not square or not symmetric. BackendError: the machine does
            not compute as assumed.
    """
    K = as_matrix(matrix, where="proves_definite_closely", square=True)
    if not np.array_equal(K, K.T):
        raise InputError("proves_definite_closely: expected a symmetric matrix, but got another")
    check_arithmetic(backend, size=len(K))
    if len(K) == 0:
        return True
    bound = exact_number(at_least)
    if not isinstance(bound, Fraction):
        return bound == -math.inf
    scaled, exponent = in_range(K)
    if scaled is None:
        return False
    c = float_up(bound / Fraction(2) ** exponent)
    if not math.isfinite(c):
        return False
    norm, _ = approximate_leading_pair(lambda v: np.asarray(scaled @ v), len(K), basis=20)
    shift = mul_up(FIRST_SHIFT, U, abs(norm))
    for _ in range(2):
        residual = _residual(scaled, c, shift, get_backend(backend, size=len(K)).NAME)
        if residual < shift:
            return True
        shift = up(1.1 * residual)
    return False


def _residual(K: Array, c: float, shift: float, backend: str) -> float:
    """Return an upper bound of ||B - R^T R||_2, +inf if there is no factor."""
    B = K.copy()
    np.fill_diagonal(B, down_array(np.diagonal(K) - add_up(c, shift)))
    factor, info = scipy.linalg.lapack.dpotrf(B, lower=0, clean=1)
    if info != 0 or not np.isfinite(factor).all():
        return math.inf
    split = product_with_error(np.ascontiguousarray(factor.T), factor, backend=backend)
    if split is None:
        return math.inf
    hi, lo, lost = split
    first = B - hi
    rest = first - lo
    given = MatrixEnclosure(rest, np.zeros_like(rest)) if np.isfinite(rest).all() else None
    if given is None:
        return math.inf
    size = enclose_spectral_norm(given, backend=backend, with_witness=False).enclosure()
    rounding = mul_up(U, add_up(norm_up(first), norm_up(rest)))
    return add_up(min(up(size.hi_float), norm_up(rest)), rounding, lost)

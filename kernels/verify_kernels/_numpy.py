"""The NumPy backend: BLAS and LAPACK with a-priori error bounds.

Products are trusted to be conventional (each entry a sum of its k products in some order, FMA
allowed). The Cholesky factorisation is trusted only where the loaded LAPACK is identified as
OpenBLAS; elsewhere its result is checked through its residual.
"""

from __future__ import annotations

import ctypes
import math
import platform
from collections.abc import Callable
from functools import cache

import numpy as np
import scipy
import scipy.linalg.blas
import scipy.linalg.lapack

from verify_kernels._rounding import (
    OMEGA,
    Array,
    U,
    add_up,
    div_up,
    down,
    gamma,
    mul_up,
    norm_up,
    sqrt_up,
    sum_squares_up,
    sum_up,
    tau,
    up,
)

NAME = "numpy"


def device() -> str:
    """Name the processor."""
    return platform.processor() or platform.machine()


def product(left: Array, right: Array) -> Array:
    """Return fl(A B)."""
    return np.asarray(left @ right)


def gram(matrix: Array, scale: float = 1.0) -> Array:
    """Return scale fl(A^T A), scale +1 or -1, upper triangle, Fortran order, by SYRK."""
    if matrix.flags.f_contiguous:
        return np.asarray(scipy.linalg.blas.dsyrk(scale, matrix, trans=1))
    return np.asarray(scipy.linalg.blas.dsyrk(scale, matrix.T, trans=0))


def row_sums(matrix: Array) -> Array:
    """Return the sums of the moduli of each row."""
    return np.asarray(np.abs(matrix).sum(axis=1))


def column_sums(matrix: Array) -> Array:
    """Return the sums of the moduli of each column."""
    return np.asarray(np.abs(matrix).sum(axis=0))


def modulus_matvec(matrix: Array, vector: Array) -> Array:
    """Return fl(|A| v)."""
    return np.asarray(np.abs(matrix) @ vector)


def total(values: Array) -> float:
    """Return the sum of a vector, in some order."""
    return float(np.sum(values))


def defect_ahead(n: int, trace: float, largest: float) -> float:
    """Guess what `cholesky_defect` returns for a matrix of this size, trace and diagonal."""
    if lapack_is_conventional():
        return _defect_l3(n, trace, largest)
    return mul_up(2.5, gamma(n + 4), trace)


def cholesky_defect(matrix: Array) -> float:
    """Bound the smallest eigenvalue of a symmetric float matrix from below by one Cholesky.

    Args:
        matrix: upper triangle of B, shape (n, n), n >= 1, contiguous; overwritten with R.

    Returns:
        d with lambda_min(B) > -d, or +inf if the factorisation failed.

    Error bound:
        OpenBLAS: kappa tr(B) + n tau, kappa = gamma_{n+4}/(1 - gamma_{n+4}),
        tau = 4 n omega (2 + max B_ii + sqrt(max B_ii)), from R^T R = B + Delta with
        |Delta| <= gamma_{n+4} |R^T| |R| in any order of summation; three of the n + 4 pay for a
        division by a rounded reciprocal. Other LAPACKs: ||fl(B - fl(R^T R))||_F (1 + u) +
        gamma_n ||R||_F^2 + n tau_n, whatever R is.

    Source:
        Rump, Verification of positive definiteness, BIT 46 (2006); Rump and Jeannerod, Improved
        backward error bounds for LU and Cholesky factorizations, SIMAX 35 (2014).
    """
    diagonal = np.diagonal(matrix).copy()
    if not (np.isfinite(diagonal).all() and (diagonal > 0.0).all()):
        return math.inf
    conventional = lapack_is_conventional()
    before = matrix if conventional else matrix.copy(order="F")
    if not factorise(matrix):
        return math.inf
    if not conventional:
        return residual_defect(before, matrix)
    return _defect_l3(len(diagonal), sum_up(diagonal), float(diagonal.max()))


def factorise(matrix: Array) -> bool:
    """Overwrite the upper triangle of B with its Cholesky factor; return whether it is one.

    In C order the same memory is the lower triangle in Fortran order, which OpenBLAS factorises
    faster. POTRF of OpenBLAS reports success for NaN input, so every pivot is looked at.
    """
    lower = int(not matrix.flags.f_contiguous)
    seen = matrix.T if lower else matrix
    factor, info = scipy.linalg.lapack.dpotrf(seen, lower=lower, clean=0, overwrite_a=1)
    if not np.shares_memory(factor, matrix):
        seen[...] = factor
    pivots = np.diagonal(matrix)
    return info == 0 and bool(np.isfinite(pivots).all() and (pivots > 0.0).all())


def residual_defect(
    before: Array, factor: Array, square: Callable[[Array], Array] | None = None
) -> float:
    """Return d with lambda_min(B) > -d from B and any R, trusting the matrix product only.

    Args:
        before: B, upper triangle.
        factor: R, upper triangle; what lies below the diagonal is ignored.
        square: R -> fl(R^T R), of which the upper triangle counts; SYRK unless given.
    """
    n = before.shape[0]
    R = np.asfortranarray(np.triu(factor))
    rest = np.triu(before) - np.triu((square or gram)(R))
    squares = add_up(
        mul_up(2.0, sum_squares_up(np.triu(rest, 1))), sum_squares_up(np.diagonal(rest).copy())
    )
    frobenius = mul_up(sqrt_up(squares), up(1.0 + U))
    largest = float(np.abs(R).max())
    terms = (
        frobenius,
        mul_up(gamma(n), mul_up(norm_up(R), norm_up(R))),
        mul_up(float(n), tau(n, largest, largest)),
    )
    bound = up(add_up(*terms))  # one more step: the inequality is strict
    return bound if math.isfinite(bound) else math.inf


def _defect_l3(n: int, trace: float, largest: float) -> float:
    g = gamma(n + 4)
    kappa = div_up(g, down(1.0 - g))
    underflow = mul_up(4.0 * n * OMEGA, add_up(2.0, largest, sqrt_up(largest)))
    bound = add_up(mul_up(kappa, trace), mul_up(float(n), underflow))
    return bound if math.isfinite(bound) else math.inf


@cache
def lapack_is_conventional() -> bool:
    """Return whether the loaded LAPACK is identified as OpenBLAS.

    Both the build record of SciPy and a symbol of the library that SciPy's LAPACK module is
    linked with must say so; what cannot be identified is not trusted.
    """
    import scipy.linalg._flapack as flapack

    try:
        recorded = scipy.show_config(mode="dicts")["Build Dependencies"]["lapack"]["name"]
        library = ctypes.CDLL(flapack.__file__)
    except (KeyError, TypeError, OSError):
        return False
    symbols = ("scipy_openblas_get_config", "openblas_get_config", "scipy_openblas_get_config64_")
    return "openblas" in str(recorded) and any(hasattr(library, symbol) for symbol in symbols)

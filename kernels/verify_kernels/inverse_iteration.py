"""Approximate smallest eigenpairs of definite matrices. They propose; nothing here is a bound."""

from __future__ import annotations

import numpy as np
import scipy.linalg.lapack

from verify_kernels._rounding import Array
from verify_kernels.lanczos import approximate_leading_pair

BASIS = 24


def approximate_smallest_pair(matrix: Array) -> tuple[float, Array] | None:
    """Approximate the smallest eigenvalue and its vector by Lanczos on the inverse.

    One Cholesky factorisation and a few pairs of triangular solves: where the smallest
    eigenvalues are a small part of the norm, their inverses are far apart.

    Args:
        matrix: K, symmetric, shape (n, n), finite.

    Returns:
        The Rayleigh quotient and a unit vector, without a guarantee; None where K is not
        definite to working precision.
    """
    factor, info = scipy.linalg.lapack.dpotrf(matrix.T, lower=1, clean=0)
    pivots = np.diagonal(factor)
    if info != 0 or not (np.isfinite(pivots).all() and (pivots > 0.0).all()):
        return None

    def solve(v: Array) -> Array:
        return np.asarray(scipy.linalg.lapack.dpotrs(factor, v, lower=1)[0])

    _, vector = approximate_leading_pair(solve, len(matrix), basis=BASIS, restarts=2)
    if not np.isfinite(vector).all():
        return None
    return float(vector @ (matrix @ vector)), np.ascontiguousarray(vector)

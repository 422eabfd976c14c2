"""The CuPy backend: residual bounds that trust the matrix product of the device only.

cuSOLVER may invert diagonal blocks, so no a-priori bound of a factorisation is used: whatever
factor the device returns, its residual decides. The product is asked to be pedantic and must
pass the tripwire of `verify_kernels.self_test` at the size used. NumPy arrays in and out;
every function takes the array module ``xp``, CuPy unless told otherwise.

Tested with NumPy as the array module; this file has not run on a device.
"""

from __future__ import annotations

import math
from functools import cache
from typing import Any

import numpy as np

from verify.errors import BackendError
from verify_kernels._numpy import residual_defect
from verify_kernels._rounding import Array, gamma, mul_up

NAME = "cupy"


def require() -> None:
    """Load CuPy, find a device and ask for pedantic products.

    Raises:
        ImportError: CuPy is not installed. BackendError: no device, or no pedantic products.
    """
    xp = _loaded()
    try:
        count = int(xp.cuda.runtime.getDeviceCount())
        from cupy._core import _routines_linalg as routines

        routines.set_compute_type(np.float64, routines.COMPUTE_TYPE_PEDANTIC)
    except (ImportError, AttributeError, RuntimeError) as error:
        raise BackendError(
            f"get_backend: expected a CUDA device with pedantic products for the backend 'cupy', "
            f"but got {error}"
        ) from error
    if count == 0:
        raise BackendError("get_backend: expected a CUDA device for 'cupy', but got none")


@cache
def _loaded() -> Any:
    import cupy

    return cupy


def _host(array: Any) -> Array:
    return np.asarray(array.get() if hasattr(array, "get") else array)


def device(xp: Any = None) -> str:
    """Name the device."""
    xp = xp or _loaded()
    return str(xp.cuda.runtime.getDeviceProperties(0)["name"].decode())


def product(left: Array, right: Array, xp: Any = None) -> Array:
    """Return fl(A B)."""
    xp = xp or _loaded()
    return _host(xp.asarray(left) @ xp.asarray(right))


def gram(matrix: Array, scale: float = 1.0, xp: Any = None) -> Array:
    """Return scale fl(A^T A), scale +1 or -1, Fortran order."""
    xp = xp or _loaded()
    A = xp.asarray(matrix)
    return np.asfortranarray(_host(scale * (A.T @ A)))


def row_sums(matrix: Array, xp: Any = None) -> Array:
    """Return the sums of the moduli of each row."""
    xp = xp or _loaded()
    return _host(xp.abs(xp.asarray(matrix)).sum(axis=1))


def column_sums(matrix: Array, xp: Any = None) -> Array:
    """Return the sums of the moduli of each column."""
    xp = xp or _loaded()
    return _host(xp.abs(xp.asarray(matrix)).sum(axis=0))


def modulus_matvec(matrix: Array, vector: Array, xp: Any = None) -> Array:
    """Return fl(|A| v)."""
    xp = xp or _loaded()
    return _host(xp.abs(xp.asarray(matrix)) @ xp.asarray(vector))


def total(values: Array, xp: Any = None) -> float:
    """Return the sum of a vector, in some order."""
    xp = xp or _loaded()
    return float(xp.asarray(values).sum())


def defect_ahead(n: int, trace: float, largest: float) -> float:
    """Guess what `cholesky_defect` returns: the residual is as large as its a-priori term."""
    return mul_up(2.5, gamma(n + 4), trace)


def cholesky_defect(matrix: Array, xp: Any = None) -> float:
    """Bound the smallest eigenvalue of a symmetric float matrix from below by a residual.

    Args:
        matrix: upper triangle of B, shape (n, n), n >= 1; overwritten with R.
        xp: the array module.

    Returns:
        d with lambda_min(B) > -d, or +inf if the factorisation failed.

    Error bound:
        ||fl(B - fl(R^T R))||_F (1 + u) + gamma_n ||R||_F^2 + n tau_n for whatever R is.
    """
    xp = xp or _loaded()
    upper = np.triu(matrix)
    if not np.isfinite(upper).all():
        return math.inf
    full = xp.asarray(upper + np.triu(upper, 1).T)
    try:
        factor = np.triu(_host(xp.linalg.cholesky(full)).T)
    except np.linalg.LinAlgError:
        return math.inf
    if not np.isfinite(factor).all():
        return math.inf
    matrix[...] = factor
    return residual_defect(upper, factor, lambda R: gram(R, xp=xp))

"""The Numba backend: compiled sums; products and factorisations are those of the NumPy backend.

No function is compiled with ``fastmath``: the sums are sequential additions in round to nearest.
"""

from __future__ import annotations

import numba
import numpy as np

from verify_kernels._numpy import (
    cholesky_defect,
    defect_ahead,
    device,
    factorise,
    gram,
    lapack_is_conventional,
    product,
    residual_defect,
)
from verify_kernels._rounding import Array

NAME = "numba"

__all__ = [
    "NAME",
    "cholesky_defect",
    "column_sums",
    "defect_ahead",
    "device",
    "factorise",
    "gram",
    "lapack_is_conventional",
    "modulus_matvec",
    "product",
    "residual_defect",
    "row_sums",
    "total",
]


def row_sums(matrix: Array) -> Array:
    """Return the sums of the moduli of each row."""
    return np.asarray(compiled_row_sums(matrix))


def column_sums(matrix: Array) -> Array:
    """Return the sums of the moduli of each column."""
    return np.asarray(compiled_column_sums(matrix))


def modulus_matvec(matrix: Array, vector: Array) -> Array:
    """Return fl(|A| v)."""
    return np.asarray(compiled_modulus_matvec(matrix, vector))


def total(values: Array) -> float:
    """Return the sum of a vector, from the first entry to the last."""
    return float(compiled_total(values))


@numba.njit(cache=True, fastmath=False)
def compiled_row_sums(matrix: Array) -> Array:
    """Add the moduli of each row."""
    rows, columns = matrix.shape
    sums = np.zeros(rows)
    for i in range(rows):
        s = 0.0
        for j in range(columns):
            s += abs(matrix[i, j])
        sums[i] = s
    return sums


@numba.njit(cache=True, fastmath=False)
def compiled_column_sums(matrix: Array) -> Array:
    """Add the moduli of each column, row by row."""
    rows, columns = matrix.shape
    sums = np.zeros(columns)
    for i in range(rows):
        for j in range(columns):
            sums[j] += abs(matrix[i, j])
    return sums


@numba.njit(cache=True, fastmath=False)
def compiled_modulus_matvec(matrix: Array, vector: Array) -> Array:
    """Multiply |A| by a vector; four independent sums a row."""
    rows, columns = matrix.shape
    result = np.zeros(rows)
    whole = columns - columns % 4
    for i in range(rows):
        s0 = s1 = s2 = s3 = 0.0
        for j in range(0, whole, 4):
            s0 += abs(matrix[i, j]) * vector[j]
            s1 += abs(matrix[i, j + 1]) * vector[j + 1]
            s2 += abs(matrix[i, j + 2]) * vector[j + 2]
            s3 += abs(matrix[i, j + 3]) * vector[j + 3]
        for j in range(whole, columns):
            s0 += abs(matrix[i, j]) * vector[j]
        result[i] = (s0 + s1) + (s2 + s3)
    return result


@numba.njit(cache=True, fastmath=False)
def compiled_total(values: Array) -> float:
    """Add a vector."""
    s = 0.0
    for value in values:
        s += value
    return s

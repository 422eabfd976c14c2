"""Arithmetic of radii: arrays of numbers >= 0, rounded upward, +inf where nothing is known.

Every function returns an upper bound of the exact result for its (exact) arguments. NaN becomes
+inf. A radius that is exactly zero stays zero: it says that a number is known exactly.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from verify_kernels._rounding import OMEGA, Array, U, down, up_array

Radius = Array | float


def plus(*terms: Radius) -> Array:
    """Return an upper bound of the sum."""
    total = np.asarray(terms[0], dtype=np.float64)
    for term in terms[1:]:
        exact_zero = (total == 0.0) & (np.asarray(term) == 0.0)
        total = np.where(exact_zero, 0.0, up_array(total + term))
    return total


def times(*factors: Radius) -> Array:
    """Return an upper bound of the product; 0 times infinity is +inf."""
    product = np.asarray(factors[0], dtype=np.float64)
    with np.errstate(invalid="ignore", over="ignore", under="ignore"):
        for factor in factors[1:]:
            a, b = np.broadcast_arrays(product, np.asarray(factor, dtype=np.float64))
            zero = ((a == 0.0) & np.isfinite(b)) | ((b == 0.0) & np.isfinite(a))
            product = np.where(zero, 0.0, up_array(a * b))
    return product


def moved(norm: Radius, radius: Array) -> Array:
    """Return norm times radius; what is exact stays exact even where the norm is not known."""
    return np.where(radius == 0.0, 0.0, times(norm, radius))


def over(radius: Radius, divisor: Array | float) -> Array:
    """Return an upper bound of the quotient; +inf unless the divisor is positive."""
    with np.errstate(all="ignore"):
        quotient = up_array(np.asarray(radius) / divisor)
    known = np.where(np.asarray(divisor) > 0.0, quotient, np.inf)
    return np.where((np.asarray(radius) == 0.0) & np.isfinite(known), 0.0, known)


def root(square: Array) -> Array:
    """Return an upper bound of the square root."""
    return np.where(square == 0.0, 0.0, up_array(np.sqrt(square)))


def hypotenuse(*terms: Array) -> Array:
    """Return an upper bound of the root of the sum of squares."""
    present = [term for term in terms if term.any()]
    if len(present) < 2:
        return present[0] if present else terms[0]
    return root(plus(*(times(term, term) for term in present)))


def row_norms(values: Any, xp: Any = np) -> Array:
    """Return upper bounds of the Euclidean norms of samples, shape (n,), as a host array.

    Error bound:
        sqrt((s + 4 N omega)/(1 - (N + 1) u)), s the computed sum of N squares in any order; not
        finite where an entry is not.
    """
    n, size = len(values), int(np.prod(values.shape[1:]))
    flat = values.reshape(n, size)
    with np.errstate(all="ignore"):
        squares = host(xp.einsum("ij,ij->i", flat, flat))
        lifted = up_array(squares + 4.0 * size * OMEGA)
        return up_array(np.sqrt(up_array(lifted / down(1.0 - (size + 2) * U))))


def host(array: Any) -> Array:
    """Return an array of a device as one of the host."""
    return np.asarray(array.get() if hasattr(array, "get") else array)

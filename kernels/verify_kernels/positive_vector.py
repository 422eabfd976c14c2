"""Positive vectors as witnesses: exact Collatz-Wielandt quotients in integers."""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from verify_kernels._rounding import Array


def integer_matrix(matrix: Array) -> tuple[Any, Fraction]:
    """Return (N, q) with N an ``fmpz_mat`` and matrix = q N exactly, q a power of two."""
    from flint import fmpz_mat

    rows, columns = matrix.shape
    numerators, low = _integers(np.asarray(matrix, dtype=np.float64).ravel())
    return fmpz_mat(rows, columns, numerators), power_of_two(low)


def integer_vector(vector: Array) -> list[int]:
    """Return integers proportional to a finite float vector, exactly, with no common factor 2."""
    return _integers(np.asarray(vector, dtype=np.float64))[0]


def _integers(values: Array) -> tuple[list[int], int]:
    """Return integers k_i and e with values_i = k_i 2^e exactly (trailing zeros stripped)."""
    mantissa, exponent = np.frexp(values)
    whole = (mantissa * 2.0**53).astype(np.int64)  # exact: |mantissa| < 1 has 53 bits
    used = whole != 0
    if not used.any():
        return [0] * len(values), 0
    trailing = np.frexp((whole & -whole).astype(np.float64))[1] - 1
    low = int((exponent + trailing)[used].min()) - 53
    shift = exponent.astype(np.int64) - 53 - low
    numbers = [
        w << s if s >= 0 else w >> -s for w, s in zip(whole.tolist(), shift.tolist(), strict=True)
    ]
    return numbers, low


def power_of_two(exponent: int) -> Fraction:
    """Return 2^exponent exactly."""
    return Fraction(1 << exponent) if exponent >= 0 else Fraction(1, 1 << -exponent)


def quotients(numerators: Any, unit: Fraction, eta: Sequence[int]) -> tuple[Fraction, Fraction]:
    """Return the least and the largest (Z eta)_i / eta_i for Z = unit N, exactly.

    Args:
        numerators: N, ``fmpz_mat`` of shape (m, m), m >= 1.
        unit: the positive factor of N.
        eta: m positive integers.
    """
    from flint import fmpz_mat

    product = (numerators * fmpz_mat(len(eta), 1, list(eta))).entries()
    least = largest = Fraction(int(product[0]), eta[0])
    for value, weight in zip(product[1:], eta[1:], strict=True):
        top = int(value)
        if top * largest.denominator > largest.numerator * weight:
            largest = Fraction(top, weight)
        elif top * least.denominator < least.numerator * weight:
            least = Fraction(top, weight)
    return least * unit, largest * unit


def proves_bound(matrix: ArrayLike | Any, eta: Sequence[int], bound: Fraction) -> bool:
    """Return whether Z eta <= bound eta holds with eta > 0, in exact arithmetic.

    For Z with entries >= 0 off the diagonal this proves that every eigenvalue of Z has real
    part <= bound.

    Args:
        matrix: Z, floats or ``fmpq_mat``, shape (m, m).
        eta: integers; one that is not positive proves nothing, nor does a negative Z_ij, i != j.
        bound: an exact rational.
    """
    if hasattr(matrix, "numer_denom"):
        numerators, denominator = matrix.numer_denom()
        unit = Fraction(1, int(denominator))
    else:
        numerators, unit = integer_matrix(np.asarray(matrix, dtype=np.float64))
    size = len(eta)
    if size != numerators.nrows() or any(weight <= 0 for weight in eta):
        return False
    if any(k % (size + 1) and value < 0 for k, value in enumerate(numerators.entries())):
        return False
    return size == 0 or quotients(numerators, unit, eta)[1] <= bound


def float_vector(eta: Sequence[int]) -> Array | None:
    """Return positive integers as floats up to one power of two, or None if that is not exact."""
    shift = max(0, max((k.bit_length() for k in eta), default=0) - 1000)
    floats = []
    for k in eta:
        scaled = Fraction(k, 1 << shift)
        nearest = float(scaled)
        if nearest <= 0.0 or Fraction(nearest) != scaled:
            return None
        floats.append(nearest)
    return np.array(floats)

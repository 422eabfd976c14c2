"""Compiled steps of elimination over a prime field, with residues stored as binary64 integers.

Every number here is an integer below 2^53 in modulus, so every operation is exact, in any order
and with or without fused multiplication, as long as `primes.products_fit` holds.
"""

from __future__ import annotations

import numba
import numpy as np
from numpy.typing import NDArray

from verify_kernels._rounding import Array

ROUNDER = 1.5 * 2.0**52  # adding and subtracting it rounds |y| < 2^51 to an integer
SHIFT = 1074  # powers[e + SHIFT] = 2^e mod p


@numba.njit(cache=True, fastmath=False)
def reduce(x: float, p: float, inverse: float) -> float:
    """Return x mod p in [-(p + 3)/2, (p + 3)/2] for an integer |x| <= 2^53 - (p + 3)/2, p >= 5.

    The quotient x fl(1/p) is off by at most 2.01/p before it is rounded to an integer q, so
    |x - q p| <= p/2 + 2.01, and q p is an exact product because |q p| <= 2^53.
    """
    return x - ((x * inverse + ROUNDER) - ROUNDER) * p


@numba.njit(cache=True, fastmath=False)
def reduce_difference(target: Array, product: Array, p: float, inverse: float) -> None:
    """Replace the target by target - product mod p."""
    rows, columns = target.shape
    for i in range(rows):
        for j in range(columns):
            x = target[i, j] - product[i, j]
            target[i, j] = x - ((x * inverse + ROUNDER) - ROUNDER) * p


@numba.njit(cache=True, fastmath=False)
def residues_of_floats(
    bits: NDArray[np.int64], powers: Array, p: float, inverse: float, shift: float, out: Array
) -> bool:
    """Write M 2^e mod p for every float M 2^e, read from its bits; False if one is not finite."""
    rows, columns = bits.shape
    finite = True
    for i in range(rows):
        for j in range(columns):
            word = bits[i, j]
            field = (word >> 52) & 0x7FF
            mantissa = word & 0xFFFFFFFFFFFFF
            if field == 0x7FF:
                finite = False
            if field == 0:
                field = 1
            else:
                mantissa |= 0x10000000000000
            # two halves below 2^27: hi (2^26 mod p) + lo stays below 2^53
            x = float(mantissa >> 26) * shift + float(mantissa & 0x3FFFFFF)
            x = x - ((x * inverse + ROUNDER) - ROUNDER) * p
            x = x * powers[field - 1]
            x = x - ((x * inverse + ROUNDER) - ROUNDER) * p
            out[i, j] = -x if word < 0 else x
    return finite


@numba.njit(cache=True, fastmath=False)
def inverse_of(value: float, p: int) -> float:
    """Return the inverse of a residue that is not 0 mod p, by Euclid's algorithm."""
    a, b = int(value) % p, p
    s, t = 1, 0
    while b != 0:
        q = a // b
        a, b = b, a - q * b
        s, t = t, s - q * t
    s %= p
    return float(s - p if 2 * s > p else s)


@numba.njit(cache=True, fastmath=False)
def _subtract(
    A: Array,
    row: int,
    coefficients: Array,
    first: int,
    count: int,
    start: int,
    p: float,
    inv: float,
) -> None:
    """Subtract sum_k coefficients[k] A[first + k] from A[row], columns from start on, mod p."""
    columns = A.shape[1]
    target = A[row]
    k = 0
    while k + 4 <= count:
        a0, a1 = coefficients[k], coefficients[k + 1]
        a2, a3 = coefficients[k + 2], coefficients[k + 3]
        r0, r1, r2, r3 = A[first + k], A[first + k + 1], A[first + k + 2], A[first + k + 3]
        for j in range(start, columns):
            target[j] -= (a0 * r0[j] + a1 * r1[j]) + (a2 * r2[j] + a3 * r3[j])
        k += 4
    while k < count:
        a0, r0 = coefficients[k], A[first + k]
        for j in range(start, columns):
            target[j] -= a0 * r0[j]
        k += 1
    if count:
        for j in range(start, columns):
            x = target[j]
            target[j] = x - ((x * inv + ROUNDER) - ROUNDER) * p


@numba.njit(cache=True, fastmath=False)
def _find_pivot(row: Array, start: int) -> int:
    for j in range(start, row.size):
        if row[j] != 0.0:  # |row[j]| <= (p + 3)/2 < p: no other multiple of p occurs
            return j
    return -1


@numba.njit(cache=True, fastmath=False)
def reduce_block(
    A: Array,
    rows: NDArray[np.intp],
    columns: NDArray[np.intp],
    top: int,
    first: int,
    last: int,
    start: int,
    p: float,
    inv: float,
) -> int:
    """Bring rows first..last-1, columns from start on, to the form [I V] mod p.

    Args:
        A: residues, C order, overwritten; columns are exchanged in all rows from ``top`` on.
        rows: the number that each row had at the beginning, permuted along.
        columns: the same for the columns.
        top: the first row that exchanges of columns reach.
        first: the first row of the block.
        last: one past its last row.
        start: the first column; those before it are already pivots.
        p: the prime.
        inv: fl(1/p).

    Returns:
        The rank r of the block; the form stands in its first r rows, the others are zero mod p.
    """
    found = 0
    prime = int(p)
    coefficients = np.empty(last - first)
    for i in range(first, last):
        for k in range(found):
            x = A[i, start + k]
            for j in range(k):
                x -= coefficients[j] * A[first + j, start + k]
            coefficients[k] = x - ((x * inv + ROUNDER) - ROUNDER) * p
        place = start + found
        _subtract(A, i, coefficients, first, found, place, p, inv)
        pivot = _find_pivot(A[i], place)
        if pivot < 0:
            continue
        if pivot != place:
            columns[place], columns[pivot] = columns[pivot], columns[place]
            for t in range(top, A.shape[0]):
                A[t, place], A[t, pivot] = A[t, pivot], A[t, place]
        factor = inverse_of(A[i, place], prime)
        target, source = A[first + found], A[i]
        rows[first + found], rows[i] = rows[i], rows[first + found]
        for j in range(place, A.shape[1]):
            x = source[j] * factor
            target[j] = x - ((x * inv + ROUNDER) - ROUNDER) * p
        found += 1
        if start + found == A.shape[1]:
            break
    end = start + found
    for k in range(found - 2, -1, -1):
        for j in range(k + 1, found):
            coefficients[j] = A[first + k, start + j]
        _subtract(A, first + k, coefficients[k + 1 :], first + k + 1, found - k - 1, end, p, inv)
    return found

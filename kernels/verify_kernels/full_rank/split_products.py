"""Matrix products beyond binary64: the factors cut into slices whose products are exact.

With beta = floor((53 - ceil(log2 k))/2) bits a slice, and rows and columns scaled to a largest
entry in [1/2, 1), slice l is a multiple of 2^(1-(l+1) beta) up to 2^(-l beta): every sum of k
products of two slices has at most 51 bits, so it is exact in any order, and no grid comes near
the smallest numbers.

Source:
    Ozaki, Ogita, Oishi and Rump, Error-free transformations of matrix multiplication by using
    fast routines of matrix multiplication, Numerical Algorithms 59 (2012).
"""

from __future__ import annotations

import math

import numba
import numpy as np

from verify.errors import InputError
from verify_kernels._rounding import ETA, Array, U, add_up, gamma, mul_up, norm_up, up
from verify_kernels.backend import get_backend
from verify_kernels.matrix import as_matrix
from verify_kernels.self_test import check_arithmetic

WIDEST = 900  # powers of two that scale a row or a column stay below 2^900


@np.errstate(all="ignore")
def product_with_error(
    left: Array, right: Array, slices: int = 3, *, backend: str = "auto"
) -> tuple[Array, Array, float] | None:
    """Return (hi, lo, bound) with ||A B - hi - lo||_F <= bound, about 2^(-slices beta) relative.

    Args:
        left: A, shape (n, k), finite.
        right: B, shape (k, m), finite.
        slices: s, 1 to 8; s (s + 1)/2 products are formed.
        backend: which products; all of these are exact in any order.

    Returns:
        hi and lo of shape (n, m), or None where a row, a column or a result leaves the range.

    Error bound:
        The pairs of slices left out, sum ||S_i||_F ||T_j||_F over i + j >= s; what slicing left
        over, ||A'||_F ||B||_F + ||A||_F ||B'||_F + ||A'||_F ||B'||_F; the rounding of lo, at
        most gamma_q q u sum ||S_i||_F ||T_j||_F over the q pairs kept; eta an entry for each
        scaling that underflows.

    Raises:
        InputError: not finite, shapes that do not fit, or no room for slices (k >= 2^49).
        BackendError: subnormal numbers are flushed, or products are not conventional.
    """
    A, B = (as_matrix(x, where="product_with_error") for x in (left, right))
    if A.shape[1] != B.shape[0] or not 1 <= slices <= 8:
        raise InputError(
            f"product_with_error: expected shapes (n, k) and (k, m) and 1 to 8 slices, "
            f"but got {A.shape}, {B.shape} and {slices!r}"
        )
    check_arithmetic(backend, size=max(A.shape + B.shape))
    if 0 in A.shape + B.shape:
        return np.zeros((A.shape[0], B.shape[1])), np.zeros((A.shape[0], B.shape[1])), 0.0
    bits = slice_bits(A.shape[1])
    first, second = _cut(A, slices, bits), _cut(np.ascontiguousarray(B.T), slices, bits)
    if first is None or second is None:
        return None
    module = get_backend(backend, size=max(A.shape + B.shape))
    S, rows, a, a_left = first
    T, columns, b, b_left = second
    hi, lo = np.zeros((A.shape[0], B.shape[1])), np.zeros((A.shape[0], B.shape[1]))
    kept, dropped = 0.0, 0.0
    for i in range(slices):
        for j in range(slices):
            if i + j < slices:
                _add(hi, lo, module.product(S[i], T[j].T))
                kept = add_up(kept, mul_up(a[i], b[j]))
            else:
                dropped = add_up(dropped, mul_up(a[i], b[j]))
    bound = add_up(dropped, _left_over(a, a_left, b, b_left), _rounding(kept, slices))
    scale = np.ldexp(1.0, rows)[:, None], np.ldexp(1.0, columns)[None, :]
    hi, lo = (x * scale[0] * scale[1] for x in (hi, lo))
    if not (np.isfinite(hi).all() and math.isfinite(bound)):
        return None
    # underflow of each of the two factors, of which the first is scaled on by the second
    under = mul_up(2.0 * math.sqrt(hi.size) + 2.0, ETA, add_up(1.0, float(scale[1].max())))
    return hi, lo, add_up(bound, under)


def slice_bits(terms: int) -> int:
    """Return beta = floor((53 - ceil(log2 k))/2).

    Raises:
        InputError: beta < 2.
    """
    bits = (53 - max(0, terms - 1).bit_length()) // 2
    if bits < 2:
        raise InputError(f"product_with_error: expected fewer than 2^49 terms, but got {terms}")
    return bits


def _cut(A: Array, slices: int, bits: int) -> tuple[list[Array], Array, list[float], float] | None:
    """Return slices of the scaled rows, exponents, and norms of the slices and of the rest."""
    largest = np.abs(A).max(axis=1)
    exponents = np.where(largest > 0.0, np.frexp(largest)[1], 0)
    if int(np.abs(exponents).max()) > WIDEST:
        return None
    back = np.ldexp(1.0, exponents)[:, None]
    rest = A / back  # |rest| < 1; exact unless it underflows
    # a rounding of at most eta an entry, scaled back
    under = mul_up(up(math.sqrt(A.size)), ETA, float(back.max()))
    parts, norms = [], []
    for level in range(slices):
        sigma = 1.5 * 2.0 ** (53 - (level + 1) * bits)
        part = (rest + sigma) - sigma
        rest = rest - part
        parts.append(part)
        norms.append(norm_up(part * back))
    return parts, exponents, norms, add_up(norm_up(rest * back), under)


def _left_over(a: list[float], a_left: float, b: list[float], b_left: float) -> float:
    whole_a, whole_b = add_up(0.0, *a), add_up(0.0, *b)
    return add_up(mul_up(a_left, whole_b), mul_up(whole_a, b_left), mul_up(a_left, b_left))


def _rounding(kept: float, slices: int) -> float:
    """Bound the rounding of lo: its q - 1 additions, of errors that are each <= u |hi|."""
    q = slices * (slices + 1) // 2
    return mul_up(gamma(q + 2), 2.0 * q * U, kept)


@numba.njit(cache=True, fastmath=False)
def _add(hi: Array, lo: Array, term: Array) -> None:
    """Add a term to hi, and the rounding error of that addition (Knuth's TwoSum) to lo."""
    rows, columns = hi.shape
    for i in range(rows):
        for j in range(columns):
            x, y = hi[i, j], term[i, j]
            total = x + y
            part = total - x
            lo[i, j] += (x - (total - part)) + (y - part)
            hi[i, j] = total

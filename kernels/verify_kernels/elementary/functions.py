"""The elementary functions: one source for Numba, for C and CUDA, and for the proof.

Straight-line code of binary64 additions, products, quotients, fused multiply-adds, bit operations
and selects: no tables, no branches, so that loops over it become vector code. Every function holds
on the domain of `bounds.py` only; outside it returns finite nonsense, and `arrays.py` selects.
The errors are proved by `proof.py`, which runs these very functions on abstract numbers.

The restricted subset: constants, assignments, one return, arithmetic, comparisons, conditional
expressions, calls of functions of this file and of `primitives.py`.
"""

from __future__ import annotations

from verify_kernels.elementary.coefficients import (
    ATANH_0,
    ATANH_1,
    ATANH_2,
    ATANH_3,
    ATANH_4,
    ATANH_5,
    ATANH_6,
    ATANH_7,
    ATANH_8,
    ATANH_9,
    ATANH_10,
    ATANH_11,
    EXP_0,
    EXP_1,
    EXP_2,
    EXP_3,
    EXP_4,
    EXP_5,
    EXP_6,
    EXP_7,
    EXP_8,
    EXP_9,
    EXP_10,
    LN2_HIGH,
    LN2_INVERSE,
    LN2_LOW,
    LOG_0,
    LOG_1,
    LOG_2,
    LOG_3,
    LOG_4,
    LOG_5,
    LOG_6,
    LOG_7,
)
from verify_kernels.elementary.primitives import bits, fma, from_bits, to_float

SHIFT = 6755399441055744.0  # 1.5 2^52: adding it rounds to the nearest integer


def nearest_integer(x: float, inverse: float) -> float:
    """Return 1.5 2^52 + k with k the integer nearest to x inverse (either one at a tie)."""
    return fma(x, inverse, SHIFT)


def power_of_two(shifted: float) -> float:
    """Return 2^k from 1.5 2^52 + k for -1022 <= k <= 1023: the low bits of the sum are k."""
    return from_bits((bits(shifted) << 52) + (1023 << 52))


def with_sign_of(y: float, x: float) -> float:
    """Return y >= 0 with the sign bit of x."""
    return from_bits(bits(y) | ((bits(x) >> 63) << 63))


def reduce_ln2(x: float, k: float) -> float:
    """Return r = x - k ln 2; the first step is exact."""
    return fma(-k, LN2_LOW, fma(-k, LN2_HIGH, x))


def expm1_reduced(r: float) -> float:
    """Return exp(r) - 1 for |r| <= ln(2) / 2."""
    q = fma(EXP_10, r, EXP_9)
    q = fma(q, r, EXP_8)
    q = fma(q, r, EXP_7)
    q = fma(q, r, EXP_6)
    q = fma(q, r, EXP_5)
    q = fma(q, r, EXP_4)
    q = fma(q, r, EXP_3)
    q = fma(q, r, EXP_2)
    q = fma(q, r, EXP_1)
    q = fma(q, r, EXP_0)
    return fma(r * r, q, r)


def exp_core(x: float) -> float:
    """Return exp(x) = 2^k (1 + (exp(r) - 1))."""
    shifted = nearest_integer(x, LN2_INVERSE)
    s = expm1_reduced(reduce_ln2(x, shifted - SHIFT))
    scale = power_of_two(shifted)
    return fma(scale, s, scale)


def expm1_core(x: float) -> float:
    """Return exp(x) - 1 = 2^k (exp(r) - 1) + (2^k - 1)."""
    shifted = nearest_integer(x, LN2_INVERSE)
    s = expm1_reduced(reduce_ln2(x, shifted - SHIFT))
    scale = power_of_two(shifted)
    return fma(scale, s, scale - 1.0)


def tanh_core(x: float) -> float:
    """Return tanh(x) = -E / (2 + E) with E = exp(-2 |x|) - 1; |x| > 22 gives 1."""
    a = abs(x)
    e = expm1_core(-2.0 * (a if a < 22.0 else 22.0))
    return with_sign_of(abs(e / (2.0 + e)), x)


def sigmoid_core(x: float) -> float:
    """Return 1 / (1 + exp(-x)) from e = exp(-|x|)."""
    a = abs(x)
    e = exp_core(-(a if a < 708.0 else 708.0))
    return (e if x < 0.0 else 1.0) / (1.0 + e)


def log1p_unit(y: float) -> float:
    """Return log(1 + y) = 2 atanh(s), s = y / (2 + y), for 0 <= y <= 1."""
    s = y / (2.0 + y)
    z = s * s
    p = fma(ATANH_11, z, ATANH_10)
    p = fma(p, z, ATANH_9)
    p = fma(p, z, ATANH_8)
    p = fma(p, z, ATANH_7)
    p = fma(p, z, ATANH_6)
    p = fma(p, z, ATANH_5)
    p = fma(p, z, ATANH_4)
    p = fma(p, z, ATANH_3)
    p = fma(p, z, ATANH_2)
    p = fma(p, z, ATANH_1)
    p = fma(p, z, ATANH_0)
    return fma(s * z, p, 2.0 * s)


def softplus_core(x: float) -> float:
    """Return log(1 + exp(x)) = max(x, 0) + log(1 + exp(-|x|))."""
    a = abs(x)
    e = exp_core(-(a if a < 708.0 else 708.0))
    return (0.0 if x < 0.0 else x) + log1p_unit(e)


def binary_exponent(x: float) -> int:
    """Return k with 2^-k x in [sqrt(1/2), sqrt(2)), for normal x > 0.

    The bits of a positive normal number are those of its exponent and, below, those of its
    fraction; 0x3FE6A09E667F3BCC are those of a number just below sqrt(1/2).
    """
    return (bits(x) - 0x3FE6A09E667F3BCC) >> 52


def scaled_down(x: float, k: int) -> float:
    """Return 2^-k x for normal x > 0 and normal 2^-k x."""
    return from_bits(bits(x) - (k << 52))


def log_of_ratio(f: float, k: float) -> float:
    """Return k ln 2 + log(1 + f) with log(1 + f) = 2 atanh(s), s = f / (2 + f)."""
    s = f / (2.0 + f)
    z = s * s
    p = fma(LOG_7, z, LOG_6)
    p = fma(p, z, LOG_5)
    p = fma(p, z, LOG_4)
    p = fma(p, z, LOG_3)
    p = fma(p, z, LOG_2)
    p = fma(p, z, LOG_1)
    p = fma(p, z, LOG_0)
    return fma(k, LN2_HIGH, fma(s * z, p, fma(k, LN2_LOW, 2.0 * s)))


def log_core(x: float) -> float:
    """Return log(x) for positive normal x."""
    k = binary_exponent(x)
    return log_of_ratio(scaled_down(x, k) - 1.0, to_float(k))

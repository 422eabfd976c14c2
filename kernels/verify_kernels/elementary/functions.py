"""The elementary functions: one source for machine code, for CUDA, and for the proof.

Straight-line code of binary64 additions, products, quotients, fused multiply-adds, bit operations
and selects: no tables, no branches, so that loops over it become vector code. Every function holds
on the domain of `bounds.py` only; outside it returns nonsense, and `continuation.py` holds. The
errors are proved by `proof.py`, which runs these very functions on abstract numbers.

The restricted subset: constants, assignments, one return, arithmetic, comparisons, conditional
expressions, calls of functions of this file and of `primitives.py`.
"""

from __future__ import annotations

from verify_kernels.elementary.coefficients import (
    ATAN_0,
    ATAN_1,
    ATAN_2,
    ATAN_3,
    ATAN_4,
    ATAN_5,
    ATAN_6,
    ATAN_7,
    ATAN_8,
    ATAN_9,
    ATAN_10,
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
    COS_0,
    COS_1,
    COS_2,
    COS_3,
    COS_4,
    COS_5,
    ERF_0,
    ERF_1,
    ERF_2,
    ERF_3,
    ERF_4,
    ERF_5,
    ERF_6,
    ERF_7,
    ERF_8,
    ERF_9,
    ERF_10,
    ERF_11,
    ERF_12,
    ERF_13,
    ERFCX_0,
    ERFCX_1,
    ERFCX_2,
    ERFCX_3,
    ERFCX_4,
    ERFCX_5,
    ERFCX_6,
    ERFCX_7,
    ERFCX_8,
    ERFCX_9,
    ERFCX_10,
    ERFCX_11,
    ERFCX_12,
    ERFCX_13,
    ERFCX_14,
    ERFCX_15,
    ERFCX_16,
    ERFCX_17,
    ERFCX_18,
    ERFCX_19,
    ERFCX_20,
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
    HALF_PI_1,
    HALF_PI_2,
    HALF_PI_3,
    HALF_PI_HIGH,
    HALF_PI_LOW,
    LN2,
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
    QUARTER_PI_HIGH,
    QUARTER_PI_LOW,
    SIN_0,
    SIN_1,
    SIN_2,
    SIN_3,
    SIN_4,
    SIN_5,
    TAN_3_PI_8,
    TAN_PI_8,
    TWO_OVER_PI,
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


def exp_sum(r: float) -> float:
    """Return (exp(r) - 1 - r) / r^2 for |r| <= ln(2) / 2."""
    q = fma(EXP_9, r, EXP_8)
    q = fma(q, r, EXP_7)
    q = fma(q, r, EXP_6)
    q = fma(q, r, EXP_5)
    q = fma(q, r, EXP_4)
    q = fma(q, r, EXP_3)
    q = fma(q, r, EXP_2)
    q = fma(q, r, EXP_1)
    return fma(q, r, EXP_0)


def expm1_reduced(r: float) -> float:
    """Return exp(r) - 1 for |r| <= ln(2) / 2."""
    return fma(r * r, exp_sum(r), r)


def exp_reduced(r: float) -> float:
    """Return exp(r) for |r| <= ln(2) / 2."""
    return fma(fma(exp_sum(r), r, 1.0), r, 1.0)


def scaled_up(y: float, shifted: float) -> float:
    """Return 2^k y from 1.5 2^52 + k, for normal y and normal 2^k y: k is added to the exponent."""
    return from_bits(bits(y) + (bits(shifted) << 52))


def exp_core(x: float) -> float:
    """Return exp(x) = 2^k exp(r)."""
    shifted = nearest_integer(x, LN2_INVERSE)
    return scaled_up(exp_reduced(reduce_ln2(x, shifted - SHIFT)), shifted)


def exp_times(x: float, shift: float) -> float:
    """Return 2^shift exp(x) for results in the range of exp_core; |x| <= 760."""
    shifted = nearest_integer(x, LN2_INVERSE)
    return scaled_up(exp_reduced(reduce_ln2(x, shifted - SHIFT)), shifted + shift)


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


def atanh_sum(z: float) -> float:
    """Return (2 atanh(b / 2) / b - 1) / b^2 for z = b^2, 0 <= b <= 2/3."""
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
    return fma(p, z, ATANH_0)


def log1p_unit(y: float) -> float:
    """Return log(1 + y) = 2 atanh(b / 2), b = 2 y / (2 + y), for 0 <= y <= 1."""
    b = 2.0 * y / (2.0 + y)
    z = b * b
    return fma(b * z, atanh_sum(z), b)


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


def log_sum(z: float) -> float:
    """Return (2 atanh(b / 2) / b - 1) / b^2 for z = b^2, |b| <= 2 (3 - 2 sqrt(2))."""
    p = fma(LOG_6, z, LOG_5)
    p = fma(p, z, LOG_4)
    p = fma(p, z, LOG_3)
    p = fma(p, z, LOG_2)
    p = fma(p, z, LOG_1)
    return fma(p, z, LOG_0)


def log1p_reduced(f: float) -> tuple[float, float, float]:
    """Return a, p, b with a p + b near log(1 + f) = 2 atanh(b / 2), b = 2 f / (2 + f)."""
    b = 2.0 * f / (2.0 + f)
    z = b * b
    return b * z, log_sum(z), b


def log_of_ratio(f: float, k: float) -> float:
    """Return k ln 2 + log(1 + f)."""
    a, p, b = log1p_reduced(f)
    return fma(k, LN2, fma(a, p, b))


def log_core(x: float) -> float:
    """Return log(x) for positive normal x."""
    k = binary_exponent(x)
    return log_of_ratio(scaled_down(x, k) - 1.0, to_float(k))


def log_subnormal(x: float) -> float:
    """Return log(x) for subnormal x > 0 from the normal number 2^54 x."""
    y = 18014398509481984.0 * x
    k = binary_exponent(y)
    return log_of_ratio(scaled_down(y, k) - 1.0, to_float(k - 54))


def log1p_core(x: float) -> float:
    """Return log(1 + x) from the exact sum 1 + x = u + c; f is x itself while 2^k = 1."""
    u = 1.0 + x
    c = (1.0 if x > 1.0 else x) - (u - (x if x > 1.0 else 1.0))
    k = binary_exponent(u)
    f = (scaled_down(u, k) - 1.0) + c * from_bits((1023 - k) << 52)
    return log_of_ratio(f, to_float(k))


def erf_ratio(z: float) -> float:
    """Return erf(x) / x for z = x^2 <= 1."""
    p = fma(ERF_13, z, ERF_12)
    p = fma(p, z, ERF_11)
    p = fma(p, z, ERF_10)
    p = fma(p, z, ERF_9)
    p = fma(p, z, ERF_8)
    p = fma(p, z, ERF_7)
    p = fma(p, z, ERF_6)
    p = fma(p, z, ERF_5)
    p = fma(p, z, ERF_4)
    p = fma(p, z, ERF_3)
    p = fma(p, z, ERF_2)
    p = fma(p, z, ERF_1)
    return fma(p, z, ERF_0)


def exp_of_minus_square(x: float) -> float:
    """Return exp(-x^2) from the exact square h + l: exp(-h) (1 - l)."""
    h = x * x
    e = exp_core(-h)
    return fma(-fma(x, x, -h), e, e)


def erfcx_scaled(t: float) -> float:
    """Return exp(x^2) erfc(x) (1 + 2 x) for t = (x - 4) / (x + 4) and 1 <= x <= 27."""
    p = fma(ERFCX_20, t, ERFCX_19)
    p = fma(p, t, ERFCX_18)
    p = fma(p, t, ERFCX_17)
    p = fma(p, t, ERFCX_16)
    p = fma(p, t, ERFCX_15)
    p = fma(p, t, ERFCX_14)
    p = fma(p, t, ERFCX_13)
    p = fma(p, t, ERFCX_12)
    p = fma(p, t, ERFCX_11)
    p = fma(p, t, ERFCX_10)
    p = fma(p, t, ERFCX_9)
    p = fma(p, t, ERFCX_8)
    p = fma(p, t, ERFCX_7)
    p = fma(p, t, ERFCX_6)
    p = fma(p, t, ERFCX_5)
    p = fma(p, t, ERFCX_4)
    p = fma(p, t, ERFCX_3)
    p = fma(p, t, ERFCX_2)
    p = fma(p, t, ERFCX_1)
    return fma(p, t, ERFCX_0)


def erfc_tail(x: float) -> float:
    """Return erfc(x) for 1 <= x <= 26.5."""
    p = erfcx_scaled((x - 4.0) / (x + 4.0))
    return p * exp_of_minus_square(x) / fma(2.0, x, 1.0)


def erfc_subnormal(x: float) -> float:
    """Return erfc(x) for 26.5 <= x <= 27.3, with an absolute error where it is subnormal."""
    h = x * x
    e = exp_times(-h, 64.0)
    p = erfcx_scaled((x - 4.0) / (x + 4.0)) * fma(-fma(x, x, -h), e, e)
    return p / fma(2.0, x, 1.0) * 5.421010862427522e-20


def erf_core(x: float) -> float:
    """Return erf(x): x P(x^2) for |x| < 1, else 1 - erfc(|x|); |x| > 6 gives 1."""
    a = abs(x)
    near = a * erf_ratio(a * a)
    far = 1.0 - erfc_tail(a if a < 6.0 else 6.0)
    return with_sign_of(near if a < 1.0 else far, x)


def erfc_core(x: float) -> float:
    """Return erfc(x): 1 - x P(x^2) for |x| < 1, else erfc(x) or 2 - erfc(-x)."""
    a = abs(x)
    near = fma(-x, erf_ratio(x * x), 1.0)
    tail = erfc_tail(a if a < 26.5 else 26.5)
    far = 2.0 - tail if x < 0.0 else tail
    return near if a < 1.0 else far


def sine_sum(z: float) -> float:
    """Return (sin(r) / r - 1) / r^2 for z = r^2, |r| <= pi / 4."""
    p = fma(SIN_5, z, SIN_4)
    p = fma(p, z, SIN_3)
    p = fma(p, z, SIN_2)
    p = fma(p, z, SIN_1)
    return fma(p, z, SIN_0)


def sine_reduced(r: float) -> float:
    """Return sin(r) for |r| <= pi / 4."""
    z = r * r
    return fma(r * z, sine_sum(z), r)


def cosine_sum(z: float) -> float:
    """Return (cos(r) - 1 + r^2 / 2) / r^4 for z = r^2, |r| <= pi / 4."""
    p = fma(COS_5, z, COS_4)
    p = fma(p, z, COS_3)
    p = fma(p, z, COS_2)
    p = fma(p, z, COS_1)
    return fma(p, z, COS_0)


def cosine_reduced(r: float) -> float:
    """Return cos(r) for |r| <= pi / 4."""
    z = r * r
    return fma(z, fma(cosine_sum(z), z, -0.5), 1.0)


def reduce_half_pi(x: float, k: float) -> float:
    """Return r = x - k pi / 2; the first step is exact."""
    return fma(-k, HALF_PI_3, fma(-k, HALF_PI_2, fma(-k, HALF_PI_1, x)))


def sin_core(x: float) -> float:
    """Return sin(x) by quadrants."""
    shifted = nearest_integer(x, TWO_OVER_PI)
    r = reduce_half_pi(x, shifted - SHIFT)
    y = sine_reduced(r) if (bits(shifted) & 1) == 0 else cosine_reduced(r)
    return y if (bits(shifted) & 2) == 0 else -y


def cos_core(x: float) -> float:
    """Return cos(x) by quadrants."""
    shifted = nearest_integer(x, TWO_OVER_PI)
    r = reduce_half_pi(x, shifted - SHIFT)
    y = cosine_reduced(r) if (bits(shifted) & 1) == 0 else sine_reduced(r)
    return y if ((bits(shifted) + 1) & 2) == 0 else -y


def reduce_half_pi_closely(x: float, k: float) -> float:
    """Return r = x - k pi / 2 with a small relative error: only the last two steps round."""
    h = fma(-k, HALF_PI_1, x)
    w = k * HALF_PI_2
    d = h - w
    return d + fma(-k, HALF_PI_3, (h - d) - w)


def tan_core(x: float) -> float:
    """Return tan(x) = sin(r) / cos(r) or -cos(r) / sin(r)."""
    shifted = nearest_integer(x, TWO_OVER_PI)
    r = reduce_half_pi_closely(x, shifted - SHIFT)
    s = sine_reduced(r)
    c = cosine_reduced(r)
    even = (bits(shifted) & 1) == 0
    return (s if even else -c) / (c if even else s)


def atan_sum(z: float) -> float:
    """Return (atan(t) / t - 1) / t^2 for z = t^2, |t| <= tan(pi / 8)."""
    p = fma(ATAN_10, z, ATAN_9)
    p = fma(p, z, ATAN_8)
    p = fma(p, z, ATAN_7)
    p = fma(p, z, ATAN_6)
    p = fma(p, z, ATAN_5)
    p = fma(p, z, ATAN_4)
    p = fma(p, z, ATAN_3)
    p = fma(p, z, ATAN_2)
    p = fma(p, z, ATAN_1)
    return fma(p, z, ATAN_0)


def atan_core(x: float) -> float:
    """Return atan(x) = base + atan(t), base = 0, pi / 4 or pi / 2, |t| <= tan(pi / 8)."""
    a = abs(x)
    small = a <= TAN_PI_8
    large = a > TAN_3_PI_8
    top = a if small else (-1.0 if large else a - 1.0)
    bottom = 1.0 if small else (a if large else a + 1.0)
    t = top / bottom
    z = t * t
    high = 0.0 if small else (HALF_PI_HIGH if large else QUARTER_PI_HIGH)
    low = 0.0 if small else (HALF_PI_LOW if large else QUARTER_PI_LOW)
    return with_sign_of(high + (t + fma(t * z, atan_sum(z), low)), x)


def sinh_core(x: float) -> float:
    """Return sinh(x) = (E + E / (E + 1)) / 2 with E = exp(|x|) - 1."""
    e = expm1_core(abs(x))
    return with_sign_of(0.5 * abs(e + e / (e + 1.0)), x)


def cosh_core(x: float) -> float:
    """Return cosh(x) = h + 1 / (4 h) with h = exp(|x|) / 2."""
    h = exp_times(abs(x), -1.0)
    return h + 0.25 / h

"""Elementary functions of intervals (lo, hi), in the restricted subset.

Each end is a value of an elementary core (`verify_kernels.elementary.functions`) moved outward by
its proved error bound: |y - f| <= k u |f| + a u + eta for the computed y. The ends are
fl(y -+ fl(K |y| + A)) with K = (k + 1) u (1 + 2^-40), A = a u (1 + 2^-40) + 2 eta; the one u more
pays for the rounding of the last operation, the 2^-40 for that of K |y| + A, for |f| in place of
|y| and for the constants themselves. k and a are those of `verify_kernels.elementary.bounds`;
a test compares them. Outside the domain of a core the limits of the function serve. Conventions of
`operations.py`: a lower end is never +inf, an upper one never -inf.
"""

from __future__ import annotations

from verify_kernels.elementary.functions import (
    atan_core,
    cos_core,
    cosh_core,
    erf_core,
    erfc_core,
    exp_core,
    expm1_core,
    log1p_core,
    log_core,
    sigmoid_core,
    sin_core,
    sinh_core,
    softplus_core,
    tan_core,
    tanh_core,
)
from verify_kernels.elementary.primitives import fma
from verify_kernels.interval.directed import add_dn, add_up, div_dn, div_up, mul_dn, mul_up
from verify_kernels.interval.operations import (
    iv_mul,
    largest,
    largest_modulus,
    least,
    least_modulus,
)

INFINITY = float("inf")
LARGEST = float.fromhex("0x1.fffffffffffffp+1023")
OMEGA = float.fromhex("0x1p-1022")
TWO_ETA = float.fromhex("0x1p-1073")

EXP_K = float.fromhex("0x1.6000000001600p-52")  # k = 7/4
EXPM1_K = float.fromhex("0x1.5000000001500p-51")  # k = 17/4
LOG_K = float.fromhex("0x1.1000000001100p-51")  # k = 13/4
TANH_K = float.fromhex("0x1.5000000001500p-51")  # k = 17/4
SIGMOID_K = float.fromhex("0x1.6000000001600p-51")  # k = 9/2
SOFTPLUS_K = float.fromhex("0x1.0800000001080p-50")  # k = 29/4
LOG1P_K = float.fromhex("0x1.4000000001400p-51")  # k = 4
ERF_K = float.fromhex("0x1.c000000001c00p-52")  # k = 5/2
ERFC_K = float.fromhex("0x1.7000000001700p-50")  # k = 21/2
ATAN_K = float.fromhex("0x1.3000000001300p-51")  # k = 15/4
TAN_K = float.fromhex("0x1.e000000001e00p-51")  # k = 13/2
SINH_K = float.fromhex("0x1.c000000001c00p-51")  # k = 6
COSH_K = float.fromhex("0x1.1000000001100p-51")  # k = 13/4
CIRCLE_A = float.fromhex("0x1.a000000001a00p-52")  # a = 9/4, and 1 u for the rounding, |y| <= 1

EXP_LEAST = -708.0  # the domain of the core
EXP_LARGEST = 709.0
EXP_OVERFLOW = 709.8  # exp of it exceeds the largest float
EXP_NOTHING = -745.2  # exp of it is below eta
LOG_LEAST = -744.5  # below log of eta
LOG_LARGEST = 709.8  # above log of 1 + the largest float
LOG1P_LEAST = float.fromhex("-0x1.fffffffffffffp-1")  # -1 + u
LOG1P_LARGEST = float.fromhex("0x1p+1000")
ERFC_LARGEST = 26.5
SINH_LARGEST = 709.0
SINH_OVERFLOW = 710.5  # sinh and cosh of it exceed the largest float
CIRCLE_LARGEST = 1e5  # the domain of sin, cos and tan
HALF_PI_UP = float.fromhex("0x1.921fb54442d19p+0")
INVERSE_PI = float.fromhex("0x1.45f306dc9c883p-2")
SHIFT = 6755399441055744.0  # 1.5 2^52: adding it rounds to the nearest integer
MARGIN = 1e-10  # exceeds the error of x INVERSE_PI +- 1/2 for |x| <= 1e5, 4 u 31832 < 2e-11


def below(y: float, k: float) -> float:
    """Return a lower bound of f from a computed value of relative error bound k."""
    return y - fma(k, abs(y), TWO_ETA)


def above(y: float, k: float) -> float:
    """Return an upper bound of f from a computed value of relative error bound k."""
    return y + fma(k, abs(y), TWO_ETA)


def clamp(x: float, lo: float, hi: float) -> float:
    """Return the point of [lo, hi] next to x."""
    return largest(lo, least(x, hi))


def exp_dn(x: float) -> float:
    """Return a lower bound >= 0 of exp(x)."""
    r = below(exp_core(clamp(x, EXP_LEAST, EXP_LARGEST)), EXP_K)
    s = LARGEST if x > EXP_OVERFLOW else r
    return 0.0 if x < EXP_LEAST else s


def exp_up(x: float) -> float:
    """Return an upper bound of exp(x)."""
    r = above(exp_core(clamp(x, EXP_LEAST, EXP_LARGEST)), EXP_K)
    s = TWO_ETA if x < EXP_NOTHING else r
    return INFINITY if x > EXP_LARGEST else s


def iv_exp(xl: float, xh: float) -> tuple[float, float]:
    """Return exp(x)."""
    return exp_dn(xl), exp_up(xh)


def expm1_dn(x: float) -> float:
    """Return a lower bound of exp(x) - 1; it is at least x and -1."""
    r = below(expm1_core(clamp(x, EXP_LEAST, EXP_LARGEST)), EXPM1_K)
    s = largest(largest(r, x), -1.0)
    return LARGEST if x > EXP_OVERFLOW else s


def expm1_up(x: float) -> float:
    """Return an upper bound of exp(x) - 1; it is <= 0 for x <= 0."""
    r = above(expm1_core(clamp(x, EXP_LEAST, EXP_LARGEST)), EXPM1_K)
    s = least(r, 0.0) if x <= 0.0 else r
    return INFINITY if x > EXP_LARGEST else s


def iv_expm1(xl: float, xh: float) -> tuple[float, float]:
    """Return exp(x) - 1."""
    return expm1_dn(xl), expm1_up(xh)


def log_dn(x: float) -> float:
    """Return a lower bound of log(x), -inf for x <= 0."""
    r = below(log_core(clamp(x, OMEGA, LARGEST)), LOG_K)
    s = LOG_LEAST if x < OMEGA else r
    return -INFINITY if x <= 0.0 else s


def log_up(x: float) -> float:
    """Return an upper bound of log(x), +inf for x = +inf."""
    r = above(log_core(clamp(x, OMEGA, LARGEST)), LOG_K)
    return INFINITY if x > LARGEST else r


def iv_log(xl: float, xh: float) -> tuple[float, float]:
    """Return log of the positive part of x."""
    lo = log_dn(xl)
    hi = log_up(xh)
    return (INFINITY if xh <= 0.0 else lo), (-INFINITY if xh <= 0.0 else hi)


def tanh_dn(x: float) -> float:
    """Return a lower bound of tanh(x), of the sign of x."""
    return largest(below(tanh_core(x), TANH_K), 0.0 if x >= 0.0 else -1.0)


def iv_tanh(xl: float, xh: float) -> tuple[float, float]:
    """Return tanh(x); the core is odd."""
    return tanh_dn(xl), -tanh_dn(-xh)


def iv_sigmoid(xl: float, xh: float) -> tuple[float, float]:
    """Return 1 / (1 + exp(-x))."""
    lo = below(sigmoid_core(largest(xl, EXP_LEAST)), SIGMOID_K)
    hi = above(sigmoid_core(largest(xh, EXP_LEAST)), SIGMOID_K)
    return (0.0 if xl < EXP_LEAST else lo), least(TWO_ETA if xh < EXP_NOTHING else hi, 1.0)


def iv_softplus(xl: float, xh: float) -> tuple[float, float]:
    """Return log(1 + exp(x)), which exceeds max(x, 0)."""
    lo = below(softplus_core(largest(xl, EXP_LEAST)), SOFTPLUS_K)
    hi = above(softplus_core(largest(xh, EXP_LEAST)), SOFTPLUS_K)
    low = largest(0.0 if xl < EXP_LEAST else lo, xl)
    return low, (TWO_ETA if xh < EXP_NOTHING else hi)


def iv_sech2(xl: float, xh: float) -> tuple[float, float]:
    """Return 1 - tanh(x)^2 = 4 e / (1 + e)^2, e = exp(-2 |x|), increasing in e <= 1."""
    e = exp_dn(-2.0 * largest_modulus(xl, xh))
    f = least(exp_up(-2.0 * least_modulus(xl, xh)), 1.0)
    d = add_up(1.0, e)
    g = add_dn(1.0, f)
    lo = div_dn(4.0 * e, mul_up(d, d))
    hi = div_up(4.0 * f, mul_dn(g, g))
    return largest(lo, 0.0), least(hi, 1.0)


def log1p_dn(x: float) -> float:
    """Return a lower bound of log(1 + x), -inf for x <= -1, >= 0 for x >= 0."""
    r = below(log1p_core(clamp(x, LOG1P_LEAST, LOG1P_LARGEST)), LOG1P_K)
    s = largest(r, 0.0) if x >= 0.0 else r
    return -INFINITY if x <= -1.0 else s


def log1p_up(x: float) -> float:
    """Return an upper bound of log(1 + x); it is at most x."""
    r = least(above(log1p_core(clamp(x, LOG1P_LEAST, LOG1P_LARGEST)), LOG1P_K), x)
    s = LOG_LARGEST if x > LOG1P_LARGEST else r
    return INFINITY if x > LARGEST else s


def iv_log1p(xl: float, xh: float) -> tuple[float, float]:
    """Return log(1 + x) on the part of x that is > -1."""
    lo = log1p_dn(xl)
    hi = log1p_up(xh)
    return (INFINITY if xh <= -1.0 else lo), (-INFINITY if xh <= -1.0 else hi)


def not_above_minus_one_fault(xl: float, xh: float) -> float:
    """Return whether x may be <= -1."""
    return 0.0 if xl > -1.0 else 1.0


def erf_dn(x: float) -> float:
    """Return a lower bound of erf(x), of the sign of x."""
    return largest(below(erf_core(x), ERF_K), 0.0 if x >= 0.0 else -1.0)


def iv_erf(xl: float, xh: float) -> tuple[float, float]:
    """Return erf(x); the core is odd."""
    return erf_dn(xl), -erf_dn(-xh)


def iv_erfc(xl: float, xh: float) -> tuple[float, float]:
    """Return 1 - erf(x), decreasing from 2 to 0."""
    lo = below(erfc_core(least(xh, ERFC_LARGEST)), ERFC_K)
    hi = above(erfc_core(least(xl, ERFC_LARGEST)), ERFC_K)
    return (0.0 if xh > ERFC_LARGEST else largest(lo, 0.0)), least(hi, 2.0)


def atan_dn(x: float) -> float:
    """Return a lower bound of atan(x), of the sign of x."""
    return largest(below(atan_core(x), ATAN_K), 0.0 if x >= 0.0 else -HALF_PI_UP)


def iv_atan(xl: float, xh: float) -> tuple[float, float]:
    """Return atan(x); the core is odd."""
    return atan_dn(xl), -atan_dn(-xh)


def sinh_dn(x: float) -> float:
    """Return a lower bound of sinh(x), at least x for x >= 0."""
    r = below(sinh_core(clamp(x, -SINH_LARGEST, SINH_LARGEST)), SINH_K)
    s = largest(r, x) if x >= 0.0 else (-INFINITY if x < -SINH_LARGEST else r)
    return LARGEST if x > SINH_OVERFLOW else least(s, LARGEST)


def iv_sinh(xl: float, xh: float) -> tuple[float, float]:
    """Return sinh(x); the core is odd."""
    return sinh_dn(xl), -sinh_dn(-xh)


def iv_cosh(xl: float, xh: float) -> tuple[float, float]:
    """Return cosh(x), increasing in |x|, at least 1."""
    m = least_modulus(xl, xh)
    n = largest_modulus(xl, xh)
    lo = largest(below(cosh_core(least(m, SINH_LARGEST)), COSH_K), 1.0)
    hi = above(cosh_core(least(n, SINH_LARGEST)), COSH_K)
    return (LARGEST if m > SINH_OVERFLOW else lo), (INFINITY if n > SINH_LARGEST else hi)


def floor_of(x: float) -> float:
    """Return the largest integer <= x for |x| < 2^51."""
    n = (x + SHIFT) - SHIFT
    return n - 1.0 if n > x else n


def parity(n: float) -> float:
    """Return 0 for an even integer and 1 for an odd one, |n| < 2^51."""
    h = 0.5 * n
    return 0.0 if (h + SHIFT) - SHIFT == h else 1.0


def turns(xl: float, xh: float, phase: float) -> tuple[float, float]:
    """Return whether a maximum and a minimum of a wave may lie in x, as 1.0 or 0.0.

    Maxima are at pi (k + phase) for even k, minima for odd k; an extremum next to an end counts.
    """
    a = clamp(xl, -CIRCLE_LARGEST, CIRCLE_LARGEST) * INVERSE_PI
    b = clamp(xh, -CIRCLE_LARGEST, CIRCLE_LARGEST) * INVERSE_PI
    first = -floor_of(-(a - (phase + MARGIN)))
    last = floor_of(b - (phase - MARGIN))
    far = xl < -CIRCLE_LARGEST or xh > CIRCLE_LARGEST or last > first
    odd = parity(first)
    top = 1.0 if far or (last == first and odd == 0.0) else 0.0
    bottom = 1.0 if far or (last == first and odd == 1.0) else 0.0
    return top, bottom


def iv_sin(xl: float, xh: float) -> tuple[float, float]:
    """Return sin(x): the values at the ends, 1 or -1 where an extremum may lie between, <= |x|."""
    top, bottom = turns(xl, xh, 0.5)
    c = sin_core(clamp(xl, -CIRCLE_LARGEST, CIRCLE_LARGEST))
    d = sin_core(clamp(xh, -CIRCLE_LARGEST, CIRCLE_LARGEST))
    most = least(largest_modulus(xl, xh), 1.0)
    lo = largest(least(c, d) - CIRCLE_A, -most)
    hi = least(largest(c, d) + CIRCLE_A, most)
    return (-1.0 if bottom == 1.0 else lo), (1.0 if top == 1.0 else hi)


def iv_cos(xl: float, xh: float) -> tuple[float, float]:
    """Return cos(x): the values at the ends, and 1 or -1 where an extremum may lie between."""
    top, bottom = turns(xl, xh, 0.0)
    c = cos_core(clamp(xl, -CIRCLE_LARGEST, CIRCLE_LARGEST))
    d = cos_core(clamp(xh, -CIRCLE_LARGEST, CIRCLE_LARGEST))
    lo = largest(least(c, d) - CIRCLE_A, -1.0)
    hi = least(largest(c, d) + CIRCLE_A, 1.0)
    return (-1.0 if bottom == 1.0 else lo), (1.0 if top == 1.0 else hi)


def branch_of_tan(x: float, y: float) -> float:
    """Return the k with pi (k - 1/2) < x < pi (k + 1/2), from y of the sign of tan(x).

    x / pi is within a quarter of k +- 1/4, so the nearest integer is certain.
    """
    t = x * INVERSE_PI - (0.25 if y >= 0.0 else -0.25)
    return (t + SHIFT) - SHIFT


def pole_fault(xl: float, xh: float) -> float:
    """Return whether tan may have a pole in x."""
    a = clamp(xl, -CIRCLE_LARGEST, CIRCLE_LARGEST)
    b = clamp(xh, -CIRCLE_LARGEST, CIRCLE_LARGEST)
    one = branch_of_tan(a, tan_core(a)) == branch_of_tan(b, tan_core(b))
    return 0.0 if one and xl >= -CIRCLE_LARGEST and xh <= CIRCLE_LARGEST else 1.0


def iv_tan(xl: float, xh: float) -> tuple[float, float]:
    """Return tan(x), all of R if there may be a pole."""
    pole = pole_fault(xl, xh)
    lo = below(tan_core(clamp(xl, -CIRCLE_LARGEST, CIRCLE_LARGEST)), TAN_K)
    hi = above(tan_core(clamp(xh, -CIRCLE_LARGEST, CIRCLE_LARGEST)), TAN_K)
    return (-INFINITY if pole == 1.0 else lo), (INFINITY if pole == 1.0 else hi)


def iv_powr(xl: float, xh: float, rl: float, rh: float) -> tuple[float, float]:
    """Return x^r = exp(r log x) for a constant r != 0, on x > 0, and 0 at x = 0 if r > 0."""
    ll = log_dn(xl)
    lh = log_up(largest(xh, 0.0))
    ml, mh = iv_mul(rl, rh, ll, lh)
    nothing = xh < 0.0 or (xh == 0.0 and rl < 0.0)
    low = exp_dn(ml)
    high = 0.0 if xh == 0.0 else exp_up(mh)
    return (INFINITY if nothing else low), (-INFINITY if nothing else high)

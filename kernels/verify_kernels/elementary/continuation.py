"""The elementary functions outside the domains of `bounds.py`, in the subset of `functions.py`.

Every function takes the numbers outside the domain, and NaN, which gives NaN. The ends of the range
are reached by the same reduced functions, with powers of two to spare: one more rounding, of the
last product, and only where the result is subnormal.
"""

from __future__ import annotations

from verify_kernels.elementary.coefficients import HALF_PI_HIGH
from verify_kernels.elementary.functions import erfc_subnormal, exp_times, log_core, log_subnormal

INFINITY = float("inf")
NAN = float("nan")
EXP_TOP = float.fromhex("0x1.62e42fefa39efp+9")  # the largest x with exp(x) finite
EXP_BOTTOM = -745.1332191019412  # exp(x) < 2^-1075 below
SINH_TOP = float.fromhex("0x1.633ce8fb9f87dp+9")  # the largest x with exp(x) / 2 finite
STEP = 64.0
UP, HALF_UP, DOWN = 2.0**64, 2.0**63, 2.0**-64


def keeping_zero(y: float, x: float) -> float:
    """Return y, and x itself where it is a zero of either sign."""
    return x if x == 0.0 else y


def exp_above(x: float) -> float:
    """Return exp(x) for 700 <= x <= EXP_TOP."""
    return exp_times(x, -STEP) * UP


def exp_below(x: float) -> float:
    """Return exp(x) for EXP_BOTTOM <= x <= -700."""
    return exp_times(x, STEP) * DOWN


def small_exp(x: float) -> float:
    """Return exp(x) for x <= -700, and x for a NaN."""
    return exp_below(x) if x >= EXP_BOTTOM else (0.0 if x < 0.0 else x)


def exp_outside(x: float) -> float:
    """Return exp(x)."""
    return INFINITY if x > EXP_TOP else (exp_above(x) if x > 0.0 else small_exp(x))


def expm1_outside(x: float) -> float:
    """Return exp(x) - 1, which rounds to -1 or to exp(x)."""
    near = exp_above(x) if x > 0.0 else (-1.0 if x < 0.0 else x)
    return INFINITY if x > EXP_TOP else near


def sigmoid_outside(x: float) -> float:
    """Return 1 / (1 + exp(-x)), which rounds to 1 or to exp(x)."""
    return 1.0 if x > 0.0 else small_exp(x)


def softplus_outside(x: float) -> float:
    """Return log(1 + exp(x)), which rounds to exp(x) or is infinite."""
    return small_exp(x) if x < 0.0 else x


def unit_outside(x: float) -> float:
    """Return the sign of an infinity."""
    return 1.0 if x > 0.0 else (-1.0 if x < 0.0 else x)


def atan_outside(x: float) -> float:
    """Return atan(x) of an infinity."""
    return HALF_PI_HIGH if x > 0.0 else (-HALF_PI_HIGH if x < 0.0 else x)


def log_outside(x: float) -> float:
    """Return log(x) of subnormal numbers, zeros, negative numbers and infinities."""
    positive = log_subnormal(x) if x < 1.0 else x
    return -INFINITY if x == 0.0 else (NAN if x < 0.0 else positive)


def log1p_outside(x: float) -> float:
    """Return log(1 + x) at -1, below it, and where it rounds to log(x)."""
    positive = log_core(x) if x < INFINITY else x
    return -INFINITY if x == -1.0 else (NAN if x < 0.0 else positive)


def erfc_outside(x: float) -> float:
    """Return erfc(x), which is subnormal, 0 or 2."""
    positive = 0.0 if x > 27.3 else erfc_subnormal(x)
    return positive if x > 0.0 else (2.0 if x < 0.0 else x)


def half_exp(a: float) -> float:
    """Return exp(a) / 2 for a >= 700, infinities included."""
    return INFINITY if a > SINH_TOP else exp_times(a, -STEP) * HALF_UP


def sinh_outside(x: float) -> float:
    """Return sinh(x), which rounds to exp(|x|) / 2 with the sign of x."""
    return half_exp(x) if x > 0.0 else (-half_exp(-x) if x < 0.0 else x)


def cosh_outside(x: float) -> float:
    """Return cosh(x), which rounds to exp(|x|) / 2."""
    return half_exp(abs(x)) if x == x else x


tanh_outside = erf_outside = unit_outside

"""The elementary functions for arrays, on all binary64 numbers.

One compiled loop evaluates a function of `functions.py` everywhere; the few points outside its
domain, NaN among them, are then done again with selects. A NaN gives NaN; infinities, zeros of
either sign and the ends of the range give the exact limits.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import cache
from typing import Any

import flint
import numba
import numpy as np
from flint import arb
from numba.extending import register_jitable
from numpy.typing import ArrayLike

from verify_kernels._rounding import Array
from verify_kernels.elementary import functions
from verify_kernels.elementary.bounds import BOUNDS
from verify_kernels.elementary.coefficients import HALF_PI_HIGH
from verify_kernels.elementary.compiled import SCALAR

_EXP_TOP = float.fromhex("0x1.62e42fefa39efp+9")  # the largest x with exp(x) finite
_EXP_BOTTOM = -745.1332191019412  # exp(x) < 2^-1075 below
_SINH_TOP = float.fromhex("0x1.633ce8fb9f87dp+9")  # the largest x with exp(x) / 2 finite
_SHIFT = 64.0
_UP, _DOWN = 2.0**64, 2.0**-64
_EXACT_ZERO = frozenset({"expm1", "log1p", "sin", "tan"})  # f(x) = x for x = +-0
_PERIODIC = {"sin": arb.sin, "cos": arb.cos, "tan": arb.tan}
_BITS = 1200  # of a number near 2^1024 reduced by pi / 2


def _exp_outside(x: float) -> float:
    if x > _EXP_TOP:
        return math.inf
    if x > 0.0:
        return functions.exp_times(x, -_SHIFT) * _UP
    if x >= _EXP_BOTTOM:
        return functions.exp_times(x, _SHIFT) * _DOWN
    return 0.0 if x < 0.0 else x


def _expm1_outside(x: float) -> float:
    if x > _EXP_TOP:
        return math.inf
    if x > 0.0:
        return functions.exp_times(x, -_SHIFT) * _UP
    return -1.0 if x < 0.0 else x


def _sigmoid_outside(x: float) -> float:
    if x > 0.0:
        return 1.0
    if x >= _EXP_BOTTOM:
        return functions.exp_times(x, _SHIFT) * _DOWN
    return 0.0 if x < 0.0 else x


def _softplus_outside(x: float) -> float:
    if x >= _EXP_BOTTOM and x < 0.0:
        return functions.exp_times(x, _SHIFT) * _DOWN
    return 0.0 if x < 0.0 else x


def _unit_outside(x: float) -> float:
    return 1.0 if x > 0.0 else (-1.0 if x < 0.0 else x)


def _atan_outside(x: float) -> float:
    half_pi = HALF_PI_HIGH
    return half_pi if x > 0.0 else (-half_pi if x < 0.0 else x)


def _log_outside(x: float) -> float:
    if x == 0.0:
        return -math.inf
    if x < 0.0:
        return math.nan
    return functions.log_subnormal(x) if x < 1.0 else x


def _log1p_outside(x: float) -> float:
    if x == -1.0:
        return -math.inf
    if x < 0.0:
        return math.nan
    return functions.log_core(x) if x < math.inf else x


def _erfc_outside(x: float) -> float:
    if x > 27.3:
        return 0.0
    if x > 0.0:
        return functions.erfc_subnormal(x)
    return 2.0 if x < 0.0 else x


@register_jitable
def _half_exp(a: float) -> float:
    return math.inf if a > _SINH_TOP else functions.exp_times(a, -_SHIFT) * (0.5 * _UP)


def _sinh_outside(x: float) -> float:
    if x > 0.0:
        return _half_exp(x)
    return -_half_exp(-x) if x < 0.0 else x


def _cosh_outside(x: float) -> float:
    return _half_exp(abs(x)) if x == x else x


_OUTSIDE: dict[str, Callable[[float], float]] = {
    "exp": _exp_outside,
    "expm1": _expm1_outside,
    "tanh": _unit_outside,
    "sigmoid": _sigmoid_outside,
    "softplus": _softplus_outside,
    "log": _log_outside,
    "log1p": _log1p_outside,
    "erf": _unit_outside,
    "erfc": _erfc_outside,
    "atan": _atan_outside,
    "sinh": _sinh_outside,
    "cosh": _cosh_outside,
}


@cache
def _loop(name: str) -> Callable[[Array, Array], bool]:
    """Return the compiled loop over the whole vector; it tells whether some point is outside."""
    core = SCALAR[name]
    lo, hi = BOUNDS[name].lo, BOUNDS[name].hi
    keeps_zero = name in _EXACT_ZERO

    @numba.njit(error_model="numpy")
    def run(x: Any, out: Any) -> bool:
        outside = 0
        for i in range(x.size):
            value = core(x[i])
            if keeps_zero:
                value = x[i] if x[i] == 0.0 else value
            out[i] = value
            outside |= 0 if (x[i] >= lo) & (x[i] <= hi) else 1
        return outside != 0

    return run


@cache
def _mending_loop(name: str) -> Callable[[Array, Array], None]:
    """Return the compiled loop over the points outside the domain."""
    outside = numba.njit(error_model="numpy")(_OUTSIDE[name])
    lo, hi = BOUNDS[name].lo, BOUNDS[name].hi

    @numba.njit(error_model="numpy")
    def run(x: Any, out: Any) -> None:
        for i in range(x.size):
            if not (x[i] >= lo and x[i] <= hi):
                out[i] = outside(x[i])

    return run


def _mend_periodic(name: str, x: Array, out: Array) -> None:
    """Evaluate sin, cos, tan of huge arguments by ball arithmetic, rounded to nearest."""
    hi = BOUNDS[name].hi
    with flint.ctx.workprec(_BITS):
        for i in np.flatnonzero(~(np.abs(x) <= hi)):
            given = float(x[i])
            out[i] = float(_PERIODIC[name](arb(given))) if math.isfinite(given) else math.nan


def evaluate(name: str, x: ArrayLike) -> Array:
    """Evaluate one of the functions of `BOUNDS` elementwise.

    Args:
        name: a key of `BOUNDS`.
        x: numbers of any shape, converted to binary64; all values are allowed.

    Returns:
        The values, of the same shape.

    Error bound:
        On the domain of `BOUNDS[name]`: its bound there. Outside: the exact limits at infinities
        and poles, NaN for NaN and outside the real domain; relative_u u |f| + 2^-1074 where exp,
        expm1, sigmoid, softplus, log, erfc, sinh, cosh are continued to the ends of the range (the
        same reduced functions, scaled by powers of two); sin, cos, tan are rounded to nearest from
        a ball of radius below 2^-100.
    """
    given = np.asarray(x, dtype=np.float64)
    flat = np.ascontiguousarray(given).reshape(-1)
    out = np.empty_like(flat)
    if _loop(name)(flat, out):
        if name in _PERIODIC:
            _mend_periodic(name, flat, out)
        else:
            _mending_loop(name)(flat, out)
    return out.reshape(given.shape)


def exp(x: ArrayLike) -> Array:
    """Return the exponential; see `evaluate`."""
    return evaluate("exp", x)


def expm1(x: ArrayLike) -> Array:
    """Return exp(x) - 1; see `evaluate`."""
    return evaluate("expm1", x)


def log(x: ArrayLike) -> Array:
    """Return the logarithm; see `evaluate`."""
    return evaluate("log", x)


def log1p(x: ArrayLike) -> Array:
    """Return log(1 + x); see `evaluate`."""
    return evaluate("log1p", x)


def tanh(x: ArrayLike) -> Array:
    """Return the hyperbolic tangent; see `evaluate`."""
    return evaluate("tanh", x)


def sigmoid(x: ArrayLike) -> Array:
    """Return 1 / (1 + exp(-x)); see `evaluate`."""
    return evaluate("sigmoid", x)


def softplus(x: ArrayLike) -> Array:
    """Return log(1 + exp(x)); see `evaluate`."""
    return evaluate("softplus", x)


def erf(x: ArrayLike) -> Array:
    """Return the error function; see `evaluate`."""
    return evaluate("erf", x)


def erfc(x: ArrayLike) -> Array:
    """Return the complementary error function; see `evaluate`."""
    return evaluate("erfc", x)


def sin(x: ArrayLike) -> Array:
    """Return the sine; see `evaluate`."""
    return evaluate("sin", x)


def cos(x: ArrayLike) -> Array:
    """Return the cosine; see `evaluate`."""
    return evaluate("cos", x)


def tan(x: ArrayLike) -> Array:
    """Return the tangent; see `evaluate`."""
    return evaluate("tan", x)


def atan(x: ArrayLike) -> Array:
    """Return the inverse tangent; see `evaluate`."""
    return evaluate("atan", x)


def sinh(x: ArrayLike) -> Array:
    """Return the hyperbolic sine; see `evaluate`."""
    return evaluate("sinh", x)


def cosh(x: ArrayLike) -> Array:
    """Return the hyperbolic cosine; see `evaluate`."""
    return evaluate("cosh", x)

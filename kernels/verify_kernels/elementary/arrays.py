"""The elementary functions for arrays, on all binary64 numbers.

One loop of machine code evaluates a function of `functions.py` everywhere; the points outside its
domain, NaN among them, are then done by another loop, of `continuation.py`. A NaN gives NaN;
infinities, zeros of either sign and the ends of the range give the exact limits. The loops are
compiled, and kept for later processes, as those of the interval operations are.
"""

from __future__ import annotations

import math
from functools import cache

import flint
import numpy as np
from flint import arb
from numpy.typing import ArrayLike

from verify_kernels._rounding import Array
from verify_kernels.elementary import continuation, functions
from verify_kernels.elementary.bounds import BOUNDS
from verify_kernels.interval.compilation import LANES, Loop, compile_loop

_EXACT_ZERO = frozenset({"expm1", "log1p", "sin", "tan"})  # f(x) = x for x = +-0
_PERIODIC = {"sin": arb.sin, "cos": arb.cos, "tan": arb.tan}
_BITS = 1200  # of a number near 2^1024 reduced by pi / 2
_MODULES = (functions, continuation)
_PADDING = 1.0  # in the domain of every function


@cache
def _core(name: str) -> Loop:
    """Return the loop of a function on its domain; it counts the points outside."""
    value = f"{name}_core(x0l)"
    value = f"keeping_zero({value}, x0l)" if name in _EXACT_ZERO else value
    domain = BOUNDS[name].lo, BOUNDS[name].hi
    return _compiled(value, points=True, domain=domain)


@cache
def _outside(name: str) -> Loop:
    """Return the loop that keeps the values, its upper ends, at the points x0l of the domain."""
    inside = f"x0l >= {BOUNDS[name].lo!r} and x0l <= {BOUNDS[name].hi!r}"
    return _compiled(f"x0h if {inside} else {name}_outside(x0l)", points=False, domain=None)


def _compiled(value: str, *, points: bool, domain: tuple[float, float] | None) -> Loop:
    return compile_loop(
        [f"y = {value}"],
        ["y"],
        1,
        points=points,
        embedded=False,
        modules=_MODULES,
        domain=domain,
    )


def _run(loop: Loop, x: Array, values: Array) -> int:
    """Fill or change the values at points by a loop; return how many points it does not allow."""
    whole = x.size - x.size % LANES
    given, found = x.reshape(1, -1), values.reshape(1, -1)
    refused = loop(given, found, found, 0, whole)
    if whole < x.size:
        given, found = np.full((1, LANES), _PADDING), np.empty((1, LANES))
        given[0, : x.size - whole] = x[whole:]
        found[0, : x.size - whole] = values[whole:]
        refused += loop(given, found, found, 0, LANES)
        values[whole:] = found[0, : x.size - whole]
    return refused


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
    given = np.require(x, np.float64, ("C", "A"))
    flat = given.reshape(-1)
    out = np.empty_like(flat)
    if _run(_core(name), flat, out):
        if name in _PERIODIC:
            _mend_periodic(name, flat, out)
        else:
            _run(_outside(name), flat, out)
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

"""tanh, sigmoid, softplus, silu and elu of float arrays with proved absolute error bounds.

Everything comes from one exponential of arguments <= 0, computed by reduction to |r| <= 0.35 and
a Taylor polynomial in Horner's form. Only correctly rounded operations are used; the library's
transcendental functions, whose errors are not proved, are not.
"""

from __future__ import annotations

import math
from fractions import Fraction

import numpy as np

from verify.network.activation import Activation
from verify_kernels._rounding import (
    OMEGA,
    Array,
    U,
    div_up,
    down,
    float_down,
    float_up,
    up,
    up_array,
)

RELATIVE = 2.0**-46  # of exp; see `exp_of_nonpositive`
_LN2_HIGH = float.fromhex("0x1.62e42feep-1")  # 32 bits: k times it is exact for |k| < 2^21
_LN2_LOW = float.fromhex("0x1.a39ef35793c76p-33")  # ln 2 = high + low within 2^-85
_DEGREE = 17
_COEFFICIENTS = [1.0 / math.factorial(k) for k in range(_DEGREE + 1)]

NAMES = ("tanh", "sigmoid", "softplus", "silu", "elu")


def exp_of_nonpositive(x: Array) -> tuple[Array, Array]:
    """Return floats near exp(x) for x <= 0 and bounds of their absolute errors.

    Error bound:
        k = rint(x / ln 2) and r = x - k ln 2 with |r| <= 0.35: the products k high are exact,
        three roundings and the rest of ln 2 move r by less than 2 u. Truncation at degree 17
        costs 0.35^18 / 18! e^0.35 < 2^-70, Horner's form gamma_36 e^0.35, the coefficients u
        each; relative to exp(r) >= 0.70 all of it is below 2^-46.6. Scaling by 2^k is exact but
        for subnormal results, which the last term covers. Below -800, 0 <= exp(x) < 2^-1074.
    """
    clipped = np.maximum(x, -800.0)
    k = np.rint(clipped * (1.0 / math.log(2.0)))
    r = (clipped - k * _LN2_HIGH) - k * _LN2_LOW
    total = np.full_like(r, _COEFFICIENTS[_DEGREE])
    for coefficient in reversed(_COEFFICIENTS[:_DEGREE]):
        total = total * r + coefficient
    value = np.ldexp(total, k.astype(np.int64))
    return value, up_array(RELATIVE * value) + OMEGA


def bounded_activation(activation: Activation, x: Array) -> tuple[Array, Array]:
    """Return floats near s(x) and bounds of their absolute errors, for the names in `NAMES`.

    Args:
        activation: one of `NAMES`.
        x: finite.
    """
    rule = {
        "tanh": _tanh,
        "sigmoid": _sigmoid,
        "silu": _silu,
        "softplus": _softplus,
        "elu": _elu,
    }[activation.name]
    with np.errstate(all="ignore"):  # a parameter beyond binary64 gives an error of +inf
        value, error = rule(x, activation.parameters[0] if activation.parameters else Fraction(1))
        return value, up_array(error * (1.0 + 64.0 * U) + OMEGA)


def _tanh(x: Array, _: Fraction) -> tuple[Array, Array]:
    """Tanh |x| = (1 - e) / (1 + e), e = exp(-2|x|): 2 |de| and three roundings."""
    e, error = exp_of_nonpositive(-2.0 * np.minimum(np.abs(x), 400.0))
    return np.copysign((1.0 - e) / (1.0 + e), x), 2.0 * error + 4.0 * U


def _sigmoid(x: Array, _: Fraction) -> tuple[Array, Array]:
    """1 / (1 + e) or e / (1 + e), e = exp(-|x|): |de| and two roundings."""
    e, error = exp_of_nonpositive(-np.abs(x))
    return np.where(x >= 0.0, 1.0, e) / (1.0 + e), error + 3.0 * U


def _silu(x: Array, _: Fraction) -> tuple[Array, Array]:
    value, error = _sigmoid(x, _)
    size = np.abs(x)
    # for very negative x the error of the product, |x| times that of the sigmoid, stays large;
    # there s(x) lies between x exp(x) and 0
    e, e_error = exp_of_nonpositive(np.minimum(x, 0.0))
    tail = size * (e + e_error) * (1.0 + 4.0 * U)
    product = x * value
    spread = size * (error + 2.0 * U)
    small = (x < 0.0) & (tail < spread)
    return np.where(small, 0.0, product), np.where(small, tail, spread)


def _softplus(x: Array, beta: Fraction) -> tuple[Array, Array]:
    """max(x, 0) + log1p(e) / beta, e = exp(-beta |x|), log1p(e) = 2 artanh(e / (2 + e)).

    A relative error d of beta |x| = t moves log1p(e^-t) by at most d t e^-t <= 0.37 d. The series
    of artanh at q <= 1/3 stops at q^41 / 41, its rest is below 2^-70; its rounding below 70 u.
    """
    near = float_down(beta)
    offset = div_up(float_up(beta - Fraction(near)), near) if near > 0.0 else math.inf
    e, error = exp_of_nonpositive(-(near * np.abs(x)))
    q = e / (2.0 + e)
    square = q * q
    total = np.full_like(q, 1.0 / 41.0)
    for odd in range(39, 0, -2):
        total = total * square + 1.0 / odd
    logarithm = 2.0 * q * total
    value = np.maximum(x, 0.0) + logarithm / near
    unit = up(up(80.0 * U) + 2.0 * up(offset))
    return value, up_array((error + unit) / down(near)) + 2.0 * U * np.abs(value)


def _elu(x: Array, a: Fraction) -> tuple[Array, Array]:
    """A (exp(x) - 1) for x < 0: |de| and two roundings, and the rounding of a."""
    near = float_up(a)
    gap = float_up(Fraction(near) - a) if math.isfinite(near) else math.inf
    e, error = exp_of_nonpositive(np.minimum(x, 0.0))
    spread = near * (error + 3.0 * U) + gap
    return np.where(x > 0.0, x, near * (e - 1.0)), np.where(x > 0.0, 0.0, spread)

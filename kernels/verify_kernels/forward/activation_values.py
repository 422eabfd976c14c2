"""Fast values of the named activations on arrays, each with an error bound of every entry.

A rule returns the computed values v and three numbers with
|v - sigma(z)| <= relative |v| + argument |z| + absolute for every finite z.
The bounds add up the roundings of the formula, in units of u = 2^-53, on top of the proved bounds
of `verify_kernels.elementary.bounds`; constants below are rounded up.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from fractions import Fraction
from typing import Any, NamedTuple

import numpy as np

from verify_kernels._rounding import ETA, Array, U, add_up, div_up, float_up, mul_up
from verify_kernels.elementary.arrays import evaluate
from verify_kernels.elementary.bounds import BOUNDS


class Values(NamedTuple):
    """Computed values and their error; see the head of the file."""

    values: Any
    relative: float = 0.0
    argument: float = 0.0
    absolute: float = 0.0


Rule = Callable[[Any, tuple[Fraction, ...], Any], Values]


def units(count: float | Fraction) -> float:
    """Return count u, of the true value or of the computed one: c/(1 - c) <= c (1 + 2^-30)."""
    return mul_up(float_up(Fraction(count)), U, 1.0 + 2.0**-30)


def _elementary(name: str) -> Rule:
    bound = BOUNDS[name]

    def rule(z: Array, _: tuple[Fraction, ...], xp: Any) -> Values:
        absolute = add_up(units(bound.absolute_u), ETA)
        return Values(evaluate(name, z), units(bound.relative_u), 0.0, absolute)

    return rule


def _relu(z: Any, _: tuple[Fraction, ...], xp: Any) -> Values:
    return Values(xp.maximum(z, 0.0))


def _leaky_relu(z: Any, parameters: tuple[Fraction, ...], xp: Any) -> Values:
    slope = parameters[0]
    near = _nearest(slope)
    if not math.isfinite(near):
        return Values(z * np.inf, absolute=math.inf)
    # fl(fl(a) z) = a z (1 + d)^2, or a product that underflows; |fl(a)| >= 2^-1022 or a = 0
    under = add_up(ETA, 0.0 if slope == 0 or abs(slope) >= Fraction(2) ** -1021 else math.inf)
    return Values(xp.where(z > 0.0, z, near * z), units(3), 0.0, under)


def _nearest(value: Fraction) -> float:
    try:
        return float(value)
    except OverflowError:
        return math.inf


def _abs(z: Any, _: tuple[Fraction, ...], xp: Any) -> Values:
    return Values(xp.abs(z))


def _identity(z: Any, _: tuple[Fraction, ...], xp: Any) -> Values:
    return Values(z)


def _hardtanh(z: Any, _: tuple[Fraction, ...], xp: Any) -> Values:
    return Values(xp.clip(z, -1.0, 1.0))


def _relu6(z: Any, _: tuple[Fraction, ...], xp: Any) -> Values:
    return Values(xp.clip(z, 0.0, 6.0))


def _softsign(z: Any, _: tuple[Fraction, ...], xp: Any) -> Values:
    return Values(z / (1.0 + xp.abs(z)), units(3), 0.0, ETA)


def _softplus(z: Array, parameters: tuple[Fraction, ...], xp: Any) -> Values:
    """Softplus(s z)/s, s in [2^-64, 2^64].

    fl(fl(s) z) = s z (1 + d), |d| <= 3u, moves the value by at most 3u |z| sigmoid(s z), and
    |z| sigmoid(s z) <= softplus(s z)/s + max(|z| exp(-s |z|)) = sigma(z) + 1/(e s).
    """
    scale = parameters[0]
    name = "softplus"
    if scale == 1:
        return _elementary(name)(z, (), xp)
    if not Fraction(2) ** -64 <= scale <= Fraction(2) ** 64:
        return Values(z * 0.0, absolute=math.inf)
    s = float(scale)
    with np.errstate(over="ignore"):
        values = evaluate(name, s * z)
    values /= s
    small = div_up(0.375, s)
    absolute = add_up(mul_up(units(3), small), div_up(4.0 * ETA, s), 4.0 * ETA)
    return Values(values, units(BOUNDS[name].relative_u + 7), 0.0, absolute)


def _elu(z: Array, parameters: tuple[Fraction, ...], xp: Any) -> Values:
    scale = _nearest(parameters[0])
    if not 2.0**-1000 < scale < 2.0**1000:
        return Values(z * 0.0, absolute=math.inf)
    below = scale * evaluate("expm1", np.minimum(z, 0.0))
    relative = units(BOUNDS["expm1"].relative_u + 3)
    absolute = mul_up(4.0 * ETA, add_up(1.0, scale))
    return Values(np.where(z > 0.0, z, below), relative, 0.0, absolute)


def _gelu(z: Array, _: tuple[Fraction, ...], xp: Any) -> Values:
    """Z (1 + erf(z/sqrt(2)))/2.

    The argument t is off by 2.1u |t|, which moves erf by at most 2.1u max |t erf'(t)| < 1.1u;
    erf itself is off by 2.5u, the sum by 2u; all of it times |z|/2. Two roundings of products.
    """
    values = evaluate("erf", z * math.sqrt(0.5))
    values += 1.0
    values *= 0.5 * z
    return Values(values, units(3), units(4), 4.0 * ETA)


def _gelu_tanh(z: Array, _: tuple[Fraction, ...], xp: Any) -> Values:
    """Z (1 + tanh(t))/2, t = sqrt(2/pi) (z + 0.044715 z^3).

    Both terms of t have one sign, so t is off by at most 9u |t|, which moves tanh by at most
    9u max |t sech(t)^2| < 4.1u; tanh itself is off by 4.25u, the sum by 2u; all of it times
    |z|/2. Where z^3 overflows, tanh is +-1 within 2^-1000. Two roundings of products.
    """
    with np.errstate(over="ignore"):
        cube = z * z * z
        values = evaluate("tanh", math.sqrt(2.0 / math.pi) * (z + 0.044715 * cube))
    values += 1.0
    values *= 0.5 * z
    return Values(values, units(3), units(6), 4.0 * ETA)


def _silu(z: Array, _: tuple[Fraction, ...], xp: Any) -> Values:
    relative = units(BOUNDS["sigmoid"].relative_u + 2)
    return Values(z * evaluate("sigmoid", z), relative, 2.0 * ETA, 2.0 * ETA)


def _mish(z: Array, _: tuple[Fraction, ...], xp: Any) -> Values:
    """Z tanh(softplus(z)): tanh moves by at most the relative error of its argument."""
    values = z * evaluate("tanh", evaluate("softplus", z))
    relative = units(BOUNDS["softplus"].relative_u + BOUNDS["tanh"].relative_u + 3)
    return Values(values, relative, 4.0 * ETA, 4.0 * ETA)


RULES: Mapping[str, Rule] = {
    "relu": _relu, "leaky_relu": _leaky_relu, "abs": _abs, "identity": _identity,
    "hardtanh": _hardtanh, "relu6": _relu6, "softsign": _softsign, "softplus": _softplus,
    "elu": _elu, "gelu": _gelu, "gelu_tanh": _gelu_tanh, "silu": _silu, "mish": _mish,
} | {name: _elementary(name) for name in ("tanh", "sigmoid", "erf", "atan", "sin")}  # fmt: skip

ON_DEVICE = frozenset({"relu", "leaky_relu", "abs", "identity", "hardtanh", "relu6", "softsign"})
"""Rules that use correctly rounded operations of the array module only."""
EXACT = frozenset({"relu", "abs", "identity", "hardtanh", "relu6"})
"""Rules without any rounding."""

"""Value and first derivatives of the named activations at balls, by power series."""

from __future__ import annotations

import math
from fractions import Fraction
from typing import Any

from flint import arb, arb_series, ctx, fmpq

from verify.errors import InputError
from verify.network.activation import Activation


def jet(activation: Activation, ball: Any, order: int) -> list[Any]:
    """Return balls that contain s, s', ..., s^(order) on the ball.

    Raises:
        InputError: an activation without an entry.
    """
    before, ctx.cap = ctx.cap, order + 1
    try:
        series = _series(activation, arb_series([ball, arb(1)], order + 1), ball)
        found = [series[k] for k in range(order + 1)]
    finally:
        ctx.cap = before
    return [coefficient * math.factorial(k) for k, coefficient in enumerate(found)]


def _series(activation: Activation, z: Any, ball: Any) -> Any:
    name = activation.name
    if name in ("tanh", "sigmoid", "silu", "softplus"):
        beta = (
            activation.parameters[0] if name == "softplus" else Fraction(2 if name == "tanh" else 1)
        )
        scaled = z * arb(fmpq(beta.numerator, beta.denominator))
        if name == "softplus":
            return (1 + scaled.exp()).log() / arb(fmpq(beta.numerator, beta.denominator))
        s = 1 / (1 + (-scaled).exp())
        return {"tanh": 2 * s - 1, "sigmoid": s, "silu": z * s}[name]
    if name == "gelu":
        return z * (1 + (z / arb(2).sqrt()).erf()) / 2
    if name in ("erf", "sin"):
        return z.erf() if name == "erf" else z.sin()
    if name == "square":
        return z * z
    if name == "identity":
        return z
    raise InputError(f"jet: expected a named smooth activation, but got {str(activation)!r}")

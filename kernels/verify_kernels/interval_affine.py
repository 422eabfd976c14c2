"""Batched products W z + b and activations with rigorous entrywise error bounds in binary64."""

from __future__ import annotations

from fractions import Fraction
from typing import Any

import flint
import numpy as np
from flint import arb

from verify.network.activation import Activation
from verify_kernels import ball_activation, elementary_bounds
from verify_kernels._rounding import (
    OMEGA,
    Array,
    U,
    add_up,
    div_up,
    down,
    float_down,
    float_up,
    gamma,
    mul_up,
    tau,
    up,
    up_array,
)
from verify_kernels.matrix import MatrixEnclosure
from verify_kernels.slopes import slope_class

# A chain of at most 32 operations on numbers >= 0 is below its exact value by at most this factor.
_GROW = 1.0 + 64.0 * U


def product_bound(Z: Array, rows: Array) -> Array:
    """Return an upper bound of Z @ rows.T for entrywise nonnegative Z (n, k), rows (m, k).

    Error bound: fl >= (1 - gamma_k) exact - tau_k for any summation order, with or without FMA.
    """
    k = int(Z.shape[1])
    if Z.size == 0 or rows.size == 0:
        return np.zeros((Z.shape[0], rows.shape[0]))
    lost = tau(k, float(np.max(Z)), float(np.max(rows)))
    factor = div_up(1.0, down(1.0 - gamma(k + 2)))
    with np.errstate(over="ignore", invalid="ignore"):
        return up_array(up_array(up_array(Z @ rows.T + lost)) * factor)


def enclose_affine(
    Z: Array, weight: MatrixEnclosure, bias: Array, bias_radius: Array | None = None
) -> tuple[Array, Array]:
    """Enclose W z + b for every row z of Z, every W of the enclosure and every b of the ball.

    Args:
        Z: shape (n, k), finite.
        weight: W, shape (m, k).
        bias: shape (n, m) or (m,), finite.
        bias_radius: same shape, or None for exact biases.

    Returns:
        mid, rad of shape (n, m); rad is +inf where something overflowed.

    Error bound:
        |fl(Z W^T) - Z W^T| <= gamma_k |Z| |W|^T + tau_k for any summation order, with or without
        FMA; the addition of b errs by at most u |fl|. The radius of W adds |Z| rad(W)^T.
    """
    k = int(Z.shape[1])
    with np.errstate(over="ignore", invalid="ignore"):
        raw = (
            Z @ weight.mid.T if Z.size and weight.mid.size else np.zeros((len(Z), weight.shape[0]))
        )
        mid = raw + bias
        size = product_bound(np.abs(Z), np.abs(weight.mid))
        lost = tau(k, _largest(Z), _largest(weight.mid))
        rad = gamma(k + 2) * size + (U * np.abs(mid) + lost)
        if weight.rad is not None:
            rad = rad + product_bound(np.abs(Z), weight.rad)
        if bias_radius is not None:
            rad = rad + bias_radius
        rad = up_array(rad * _GROW)
    broken = ~np.isfinite(mid) | ~np.isfinite(rad)
    return np.where(broken, 0.0, mid), np.where(broken, np.inf, rad)


def _largest(values: Array) -> float:
    return float(np.max(np.abs(values))) if values.size else 0.0


def enclose_activation(activation: Activation, mid: Array, rad: Array) -> tuple[Array, Array]:
    """Enclose s(v) for every v in the balls: s(mid) with its error, plus the Lipschitz bound.

    Error bound: L rad with L the largest |secant slope|, and the error of s(mid): one rounding
    for straight pieces, `elementary_bounds`, or a ball of 80 bits and one rounding.
    """
    known = slope_class(activation)
    lipschitz = float_up(max(abs(known.alpha), abs(known.beta)))
    value, error = activation_at(activation, mid)
    with np.errstate(over="ignore", invalid="ignore"):
        spread = up_array((up_array(lipschitz * rad) + error) * _GROW)
    broken = ~np.isfinite(value) | ~np.isfinite(spread)
    return np.where(broken, 0.0, value), np.where(broken, np.inf, spread)


def activation_at(activation: Activation, points: Array) -> tuple[Array, Array]:
    """Return floats near s(points) and bounds of their errors."""
    name = activation.name
    zero = np.zeros_like(points)
    if name == "relu":
        return np.maximum(points, 0.0), zero
    if name == "identity":
        return points, zero
    if name == "abs":
        return np.abs(points), zero
    if name == "hardtanh":
        return np.clip(points, -1.0, 1.0), zero
    if name == "relu6":
        return np.clip(points, 0.0, 6.0), zero
    if name == "leaky_relu":
        return _leaky_at(activation, points)
    if name == "softsign":
        value = points / (1.0 + np.abs(points))
        return value, up_array(4.0 * U * np.abs(value)) + OMEGA
    if name in elementary_bounds.NAMES:
        return elementary_bounds.bounded_activation(activation, points)
    return _by_balls(activation, points)


def _leaky_at(activation: Activation, points: Array) -> tuple[Array, Array]:
    exact = activation.parameters[0]
    slope = float_down(exact)
    # |fl(fl(a) v) - a v| <= |a - fl(a)| |v| + u |fl| + the least subnormal
    gap = float_up(abs(exact - Fraction(slope)))
    negative = np.minimum(points, 0.0)
    with np.errstate(all="ignore"):  # a slope beyond binary64 gives an error of +inf
        scaled = slope * negative
        error = np.abs(negative) * gap + U * np.abs(scaled) + OMEGA
        error = np.where(points < 0.0, up_array(error * _GROW), 0.0)
    return np.where(points < 0.0, scaled, points), error


def _by_balls(activation: Activation, points: Array) -> tuple[Array, Array]:
    value, error = np.empty(points.shape), np.empty(points.shape)
    with flint.ctx.workprec(80):
        for index, x in np.ndenumerate(points):
            value[index], error[index] = float_ball(
                ball_activation.value(activation, arb(float(x)))
            )
    return value, error


def float_ball(ball: Any) -> tuple[float, float]:
    """Return a float near the ball and a radius that covers the ball around it."""
    if not ball.is_finite():
        return 0.0, np.inf
    near = float(ball.mid())
    if not np.isfinite(near):
        return 0.0, np.inf
    # |mid - near| <= u |near| / (1 - u) + the least subnormal: one rounding to nearest
    return near, add_up(up(float(ball.rad())), mul_up(2.0 * U, abs(near)), OMEGA)


def slope_interval(activation: Activation, low: Array, high: Array) -> tuple[Array, Array]:
    """Return lower and upper bounds of every secant slope on the intervals [low, high]."""
    if activation.name in _LEFT or activation.name == "leaky_relu":
        return _slopes_beside_zero(activation, low, high)
    least, most = np.empty(low.shape), np.empty(low.shape)
    with flint.ctx.workprec(80):
        for index, x in np.ndenumerate(low):
            y = float(high[index])
            wide = arb(float(x)).union(arb(y)) if np.isfinite(x) and np.isfinite(y) else arb("nan")
            near, radius = float_ball(ball_activation.slope(activation, wide))
            least[index], most[index] = down(near - radius), up(near + radius)
    return least, most


# slope for v < 0 of the activations whose only kink, if any, is 0 and whose slope beyond is 1
_LEFT = {"relu": Fraction(0), "abs": Fraction(-1), "identity": Fraction(1)}


def _slopes_beside_zero(activation: Activation, low: Array, high: Array) -> tuple[Array, Array]:
    before = _LEFT[activation.name] if activation.name in _LEFT else activation.parameters[0]
    least, most = min(before, Fraction(1)), max(before, Fraction(1))
    positive, negative = low > 0.0, high < 0.0
    return (
        np.where(positive, 1.0, np.where(negative, float_down(before), float_down(least))),
        np.where(positive, 1.0, np.where(negative, float_up(before), float_up(most))),
    )

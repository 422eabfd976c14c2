"""Batch and layer normalisation and scalar affine maps, with enclosed coefficients."""

from __future__ import annotations

from fractions import Fraction
from functools import lru_cache
from typing import Any

import numpy as np
from flint import arb, ctx, fmpq

from verify.errors import InputError
from verify_kernels._rounding import (
    ETA,
    OMEGA,
    Array,
    U,
    add_up,
    down,
    down_array,
    float_down,
    gamma,
    norm_up,
    sqrt_up,
    up_array,
)
from verify_kernels.enclosed_products import Balls
from verify_kernels.forward.dense import channel_radius
from verify_kernels.forward.radii import hypotenuse, moved, over, plus, row_norms, times
from verify_kernels.forward.state import State

BITS = 160


def scale_channels(state: State, scale: Balls, offset: Balls, xp: Any, *, own: bool) -> State:
    """Return s x + t with a coefficient of its own for every channel (axis 0 of a sample).

    Where the state comes from a linear map, the map and the scaling are bounded together: their
    product is often far smaller than the product of their norms.

    Args:
        state: of shape (channels, ...).
        scale: s, enclosed.
        offset: t, enclosed.
        xp: the array module.
        own: whether the memory of the state may be overwritten.

    Error bound:
        With |s - mid s| <= d |mid s|, Q = fl(fl(mid s P) + mid t) and r = max|mid s| rho_i (or the
        radius of the scaled map): (1 + d) r + (d + gamma_4)(||Q_i|| + sqrt(p) ||t||) +
        sqrt(p) ||rad t|| + 2 sqrt(N) eta, because |mid s P| <= (|Q| + |t|)(1 + 3u) + eta.
    """
    moduli = np.abs(scale.mid)
    radius = moved(float(np.max(moduli)), state.rho)
    if state.channels is not None:
        radius = np.minimum(radius, channel_radius(state.channels, moduli))
    d = float(np.max(np.where(scale.rad == 0.0, 0.0, over(scale.rad, moduli))))
    axes = (len(moduli), *(1,) * (len(state.shape) - 1))
    factor, constant = (xp.asarray(each.mid).reshape(axes) for each in (scale, offset))
    mid = state.bounded_mid(xp)
    mid = xp.multiply(mid, factor, out=mid if own and mid is state.mid else None)
    mid += constant
    after = State(mid, state.rho, True, why=state.why)
    columns = sqrt_up(float(state.size // len(moduli)))
    size = plus(after.norms(xp), times(columns, norm_up(offset.mid)))
    rho = plus(
        times(add_up(1.0, d), radius),
        times(add_up(d, gamma(4)), size),
        times(columns, norm_up(offset.rad)),
        times(sqrt_up(float(state.size)), 2.0 * ETA),
    )
    after.rho = np.where(np.isfinite(size), rho, np.inf)
    return after


def batch_norm_coefficients(
    mean: Array, variance: Array, weight: Array | None, bias: Array | None, epsilon: Fraction
) -> tuple[Balls, Balls] | None:
    """Enclose s = weight/sqrt(variance + epsilon) and t = bias - mean s; None if not defined."""
    before = ctx.prec
    ctx.prec = BITS
    try:
        small = arb(fmpq(epsilon.numerator, epsilon.denominator))
        count = len(mean)
        ones, zeros = np.ones(count), np.zeros(count)
        weight, bias = ones if weight is None else weight, zeros if bias is None else bias
        scales = [
            arb(float(w)) / (arb(float(v)) + small).sqrt()
            for w, v in zip(weight, variance, strict=True)
        ]
        offsets = [
            arb(float(b)) - arb(float(m)) * s for b, m, s in zip(bias, mean, scales, strict=True)
        ]
        return Balls.of(scales), Balls.of(offsets)
    except InputError:
        return None
    finally:
        ctx.prec = before


@lru_cache(maxsize=256)
def scalar(value: Fraction) -> Balls | None:
    """Enclose one number as a vector of length 1; None beyond binary64."""
    try:
        return Balls.of([value])
    except InputError:
        return None


def normalise_layer(
    state: State,
    axes: int,
    epsilon: Fraction,
    weight: Array | None,
    bias: Array | None,
    xp: Any,
) -> State | None:
    """Return weight (x - m)/sqrt(v + epsilon) + bias over the last axes of each sample.

    c -> c/sqrt(||c||^2/d + epsilon) has the Jacobian (I - y y^T/d)/s with y = c/s, s the root, and
    0 <= y y^T/d <= I, so its norm is at most 1/s; centering is a projection. On the segment from
    the computed c to the true one, within r of it, s^2 >= (max(0, ||c|| - r))^2/d + epsilon.

    Returns:
        The state, or None where epsilon is not in [2^-900, 2^900].

    Error bound:
        max|weight| r_p/s_p for each group p of d entries, r = rho + 2u||c|| + gamma_{d+2}||P||,
        plus max|weight| gamma_{d+14} ||y|| and gamma_3 ||bias|| for the evaluation.
    """
    if not Fraction(2) ** -900 <= epsilon <= Fraction(2) ** 900:
        return None
    n, d = len(state.rho), int(np.prod(state.shape[len(state.shape) - axes :]))
    P = state.bounded_mid(xp).reshape(n, -1, d)
    groups = P.shape[1]
    c = P - P.sum(axis=2, keepdims=True) / d
    squares = xp.einsum("ijk,ijk->ij", c, c)
    s = xp.sqrt(squares / d + float(epsilon))
    y = c / s[:, :, None]
    norms_P, norms_c = (row_norms(each.reshape(-1, d), xp).reshape(n, groups) for each in (P, c))
    reach = plus(
        state.rho[:, None],
        times(2.0 * U, norms_c),
        times(gamma(d + 2), norms_P),
        sqrt_up(float(d)) * 2.0 * OMEGA,
    )
    with np.errstate(all="ignore"):
        # ||c|| from below: the upper bound of row_norms exceeds it by (d + 8) u and 2 sqrt(d omega)
        low = down_array(norms_c * down(1.0 - gamma(d + 8)))
        low = down_array(low - up_array(np.sqrt(16.0 * d * OMEGA)))
        low = np.maximum(down_array(low - reach), 0.0)
        square = np.maximum(down_array(down_array(low * low) / d), 0.0)
        s_low = down_array(np.sqrt(down_array(square + float_down(epsilon))))
    spread = over(reach, s_low)
    size_y = row_norms(y.reshape(-1, d), xp).reshape(n, groups)
    top = 1.0 if weight is None else float(np.max(np.abs(weight)))
    constant = 0.0 if bias is None else norm_up(bias)
    each = plus(
        times(top, spread),
        times(top, gamma(d + 14), size_y),
        times(gamma(3), constant),
        times(sqrt_up(float(d)), 4.0 * ETA, 1.0 + top),
    )
    rho = hypotenuse(*(each[:, p] for p in range(groups)))
    if weight is not None:
        y = y * xp.asarray(weight.reshape(d))
    if bias is not None:
        y = y + xp.asarray(bias.reshape(d))
    finite = np.isfinite(times(2.0, plus(times(top, size_y.max(axis=1)), constant)))
    finite &= np.isfinite(times(norms_c.max(axis=1), norms_c.max(axis=1)))
    rho = np.where(finite, rho, np.inf)
    return State(y.reshape(n, *state.shape), rho, True, why=state.why)

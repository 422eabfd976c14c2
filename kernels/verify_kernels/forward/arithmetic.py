"""Sums, products, quotients, rearrangements and roundings of enclosed samples."""

from __future__ import annotations

import math
from collections.abc import Sequence
from fractions import Fraction
from typing import Any

import numpy as np

from verify_kernels._rounding import ETA, Array, U, down_array, sqrt_up, up_array
from verify_kernels.forward.normalisation import scalar, scale_channels
from verify_kernels.forward.radii import host, hypotenuse, moved, over, plus, root, row_norms, times
from verify_kernels.forward.state import State


def _spread(state: State, shape: tuple[int, ...], xp: Any) -> tuple[Any, Array]:
    """Return the midpoint ready to broadcast to a shape, and the radius it has then."""
    missing = len(shape) - len(state.shape)
    mid = state.bounded_mid(xp).reshape(len(state.rho), *(1,) * missing, *state.shape)
    copies = math.prod(shape) // state.size
    return mid, state.rho if copies == 1 else moved(sqrt_up(float(copies)), state.rho)


def _rounded(values: Any, errors: Array, states: Sequence[State], xp: Any) -> State:
    """Return a state after one rounded operation: u|fl| + eta for each entry."""
    why = next((state.why for state in states if state.why), "")
    after = State(values, errors, True, why=why)
    lost = times(root(np.asarray(float(after.size))), 2.0 * ETA)
    rho = plus(errors, times(2.0 * U, after.norms(xp)), lost)
    after.rho = np.where(np.isfinite(after.norms(xp)), rho, np.inf)
    return after


def add(a: State, b: State, sign: float, shape: tuple[int, ...], xp: Any) -> State:
    """Return a + sign b; a sum of binary64 numbers does not underflow."""
    (A, ra), (B, rb) = (_spread(state, shape, xp) for state in (a, b))
    return _rounded(A + B if sign > 0.0 else A - B, plus(ra, rb), (a, b), xp)


def multiply(a: State, b: State, shape: tuple[int, ...], xp: Any) -> State:
    """Return a b entrywise.

    Error bound:
        max|B| rho_a + max|A| rho_b + rho_a rho_b, and one rounding of every product.
    """
    (A, ra), (B, rb) = (_spread(state, shape, xp) for state in (a, b))
    errors = plus(moved(_largest(B, xp), ra), moved(_largest(A, xp), rb), moved(ra, rb))
    return _rounded(A * B, errors, (a, b), xp)


def divide(a: State, b: State, shape: tuple[int, ...], xp: Any) -> State:
    """Return a / b entrywise.

    Error bound:
        (rho_a + max|A/B| rho_b)/(min|B| - rho_b), from a/b - A/B = (da - (A/B) db)/b, and one
        rounding of every quotient; +inf where b may vanish.
    """
    (A, ra), (B, rb) = (_spread(state, shape, xp) for state in (a, b))
    with np.errstate(all="ignore"):
        Q = A / B
        least = host(xp.abs(B).reshape(len(B), -1).min(axis=1))
        away = np.where(rb == 0.0, least, down_array(least - rb))
    largest = plus(times(_largest(Q, xp), 1.0 + 2.0**-50), 2.0 * ETA)
    errors = np.where(away > 0.0, over(plus(ra, moved(largest, rb)), away), np.inf)
    return _rounded(Q, errors, (a, b), xp)


def _largest(values: Any, xp: Any) -> Array:
    return host(xp.abs(values).reshape(len(values), -1).max(axis=1))


def affine(state: State, factor: Fraction, offset: Fraction, xp: Any) -> State | None:
    """Return factor x + offset; exact for a power of two without offset. None beyond binary64."""
    balls = scalar(factor), scalar(offset)
    if balls[0] is None or balls[1] is None:
        return None
    near = float(balls[0].mid[0])
    if offset == 0 and not balls[0].rad[0] and abs(math.frexp(near)[0]) == 0.5:
        mid = state.bounded_mid(xp) * near
        if bool((mid / near == state.bounded_mid(xp)).all()):
            return State(mid, moved(abs(near), state.rho), True, why=state.why)
    flat = State(state.mid.reshape(len(state.rho), 1, -1), state.rho, why=state.why)
    found = scale_channels(flat, balls[0], balls[1], xp, own=False)
    return State(found.mid.reshape(state.mid.shape), found.rho, True, why=found.why)


def pad(state: State, amounts: Sequence[tuple[int, int]], value: Fraction, xp: Any) -> State | None:
    """Add entries of one value around a sample; None for a value beyond binary64."""
    found = scalar(value)
    if found is None:
        return None
    near = float(found.mid[0])
    mid = xp.pad(state.bounded_mid(xp), [(0, 0), *map(tuple, amounts)], constant_values=near)
    after = State(mid, state.rho, True, why=state.why)
    count = sqrt_up(float(after.size - state.size))
    after.rho = plus(after.rho, times(count, float(found.rad[0])))
    return after


def concatenate(states: Sequence[State], axis: int, xp: Any) -> State:
    """Join samples along an axis."""
    why = next((state.why for state in states if state.why), "")
    mid = xp.concatenate([state.bounded_mid(xp) for state in states], axis=axis + 1)
    return State(mid, hypotenuse(*(state.rho for state in states)), True, why=why)


def round_entries(state: State, how: str, xp: Any) -> State:
    """Round every entry: exact where the sample is, else the hull of what the radius allows."""
    function = {"floor": xp.floor, "ceil": xp.ceil, "nearest": xp.rint}[how]
    mid = state.bounded_mid(xp)
    if not state.rho.any():
        return State(function(mid), state.rho, True, why=state.why)
    known = np.isfinite(state.rho)
    rho = np.where(known, state.rho, 0.0).reshape(-1, *(1,) * (mid.ndim - 1))
    points = host(mid)
    lo = np.where(rho == 0.0, points, down_array(points - rho))
    hi = np.where(rho == 0.0, points, up_array(points + rho))
    lo, hi = host(function(xp.asarray(lo))), host(function(xp.asarray(hi)))
    middle = np.where(lo == hi, lo, 0.5 * lo + 0.5 * hi)
    errors = np.where(lo == hi, 0.0, up_array(hi - middle))
    errors = np.maximum(errors, np.where(lo == hi, 0.0, up_array(middle - lo)))
    apart = errors.reshape(len(errors), -1).any(axis=1)
    reached = np.where(apart, row_norms(errors), 0.0)
    return State(xp.asarray(middle), np.where(known, reached, np.inf), True, why=state.why)

"""Activations: value at the midpoint, and a Lipschitz constant or an interval for the radius."""

from __future__ import annotations

import math
from fractions import Fraction
from functools import lru_cache
from typing import Any

import numpy as np

from verify.errors import InputError
from verify.network.activation import Activation
from verify.network.expression import variable
from verify_kernels._rounding import Array, float_up, up_array
from verify_kernels.forward.activation_values import ON_DEVICE, RULES, Values
from verify_kernels.forward.radii import host, moved, plus, root, row_norms, times
from verify_kernels.forward.state import Entrywise, State
from verify_kernels.interval.kernel import interval_kernel
from verify_kernels.slopes import slope_class


@lru_cache(maxsize=512)
def lipschitz_constant(activation: Activation) -> float:
    """Return an upper bound of every secant slope in modulus; +inf where none is proved."""
    try:
        slopes = slope_class(activation)
    except InputError:
        return math.inf
    return float_up(Fraction(max(abs(slopes.alpha), abs(slopes.beta))))


def activate(state: State, activation: Activation, xp: Any) -> State:
    """Apply an activation to every entry.

    Error bound:
        ||sigma(x_i) - v_i|| <= Lambda rho_i + || error of v_i at the midpoint ||, Lambda the
        upper end of the secant slopes. Without a Lipschitz constant: the radius of the interval
        values on [mid - rho_i, mid + rho_i], which needs no continuity.
    """
    constant = lipschitz_constant(activation)
    if not math.isfinite(constant):
        return _by_intervals(state, activation, xp)
    found, at_points = _values(activation, state.bounded_mid(xp), xp)
    same = found.values is state.mid
    after = State(state.shared() if same else found.values, state.rho, not same, why=state.why)
    shift = plus(at_points, _rounding_of_rule(found, state, after, xp))
    spread = times(root(np.asarray(float(state.size))), found.absolute)
    after.rho = plus(moved(constant, state.rho), shift, spread)
    after.entries = _entries(state.entries, constant, plus(shift, found.absolute))
    return _only_finite(after, xp)


def _values(activation: Activation, mid: Any, xp: Any) -> tuple[Values, Array]:
    """Return values at points, and the error of every sample beyond what `Values` says."""
    rule = RULES.get(activation.name)
    if rule is None:
        lo_hi = _kernel(activation).at(host(mid).reshape(1, -1))
        values, errors = _middle(lo_hi.lo, lo_hi.hi, mid.shape)
        return Values(xp.asarray(values)), _norms_or_zero(errors)
    at = mid if activation.name in ON_DEVICE else host(mid)
    found = rule(at, activation.parameters, xp)
    return found._replace(values=xp.asarray(found.values)), np.zeros(len(mid))


def _rounding_of_rule(found: Values, before: State, after: State, xp: Any) -> Array:
    """Return the part of the error that grows with the values, in norm, for every sample."""
    error = np.zeros(len(before.rho))
    if found.relative:
        error = plus(error, times(found.relative, after.norms(xp)))
    if found.argument:
        error = plus(error, times(found.argument, before.norms(xp)))
    return error


def _entries(before: Entrywise | None, constant: float, shift: Array) -> Entrywise | None:
    if before is None:
        return None
    return Entrywise(
        times(constant, before.row),
        before.column,
        times(constant, before.offset),
        plus(times(constant, before.shift), shift),
    )


def _only_finite(state: State, xp: Any) -> State:
    """Give up the rows whose values left the range of binary64."""
    bad = ~np.isfinite(state.norms(xp))
    if bad.any():
        state.rho = np.where(bad, np.inf, state.rho)
        state.why = state.why or "a value left the range of binary64"
    return state


def _norms_or_zero(errors: Array) -> Array:
    inexact = errors.reshape(len(errors), -1).any(axis=1)
    return np.where(inexact, row_norms(errors), 0.0)


def _by_intervals(state: State, activation: Activation, xp: Any) -> State:
    mid = host(state.bounded_mid(xp))
    known = np.isfinite(state.rho)
    rho = np.where(known, state.rho, 0.0).reshape(-1, *(1,) * (mid.ndim - 1))
    lo, hi = -up_array(rho - mid), up_array(mid + rho)
    lo, hi = np.where(rho == 0.0, mid, lo), np.where(rho == 0.0, mid, hi)
    found = _kernel(activation)(lo.reshape(1, -1), hi.reshape(1, -1))
    values, errors = _middle(found.lo, found.hi, mid.shape)
    reached = np.where(known, _norms_or_zero(errors), np.inf)
    after = State(xp.asarray(values), reached, True, why=state.why)
    if not after.why and not np.isfinite(after.rho).all():
        after.why = f"{activation} has no Lipschitz constant and is not bounded where it is needed"
    return _only_finite(after, xp)


@lru_cache(maxsize=64)
def _kernel(activation: Activation) -> Any:
    return interval_kernel(activation.formula(), [variable()])


def _middle(lo: Array, hi: Array, shape: tuple[int, ...]) -> tuple[Array, Array]:
    """Return midpoints and radii of intervals; an unbounded one has midpoint 0."""
    with np.errstate(all="ignore"):
        bounded = np.isfinite(lo) & np.isfinite(hi)
        mid = np.where(bounded, 0.5 * lo + 0.5 * hi, 0.0)
        radius = np.maximum(up_array(hi - mid), up_array(mid - lo))
        radius = np.where(lo == hi, 0.0, np.where(bounded, radius, np.inf))
        mid = np.where(bounded & (lo == hi), lo, mid)
    return mid.reshape(shape), radius.reshape(shape)

"""Suprema of |s|, |s'| and |s''|: over R, and over intervals around stored pre-activations.

An activation is *flat enough* here if s' is continuous and has a bounded derivative but for
isolated points, so that s' is Lipschitz with the constant sup |s''|. Intervals are [p - t, p + t].
For tanh, sigmoid, atan, erf and softsign |s'| and |s''| are even; in |z| the first falls and the
second rises up to one peak and falls from there, so that the suprema over an interval are values
at a place in closed form. tanh's are written with sech^2: 1 - tanh^2 is 0 in floats for |z| > 19.
Other activations have the hull over the interval, never wider than over R.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
from flint import arb, ctx

from verify.enclosure import Enclosure
from verify.network.activation import Activation
from verify.network.expression import variable
from verify.verdict import Truth
from verify_kernels._rounding import Array, up_array
from verify_kernels.activation_analysis import ActivationFacts, analyse, jet
from verify_kernels.interval.kernel import interval_kernel
from verify_kernels.interval.on_arrays import apply
from verify_kernels.two_layer.balls import ball, precision

Ball = Any  # python-flint's arb
_BITS = 128


@dataclass(frozen=True)
class Suprema:
    """Enclosures of sup |s|, sup |s'|, sup |s''| over R; the first may be infinite.

    ``why_open`` says why the activation is not flat enough, and is empty if it is.
    """

    values: Enclosure
    first: Enclosure
    second: Enclosure
    why_open: str = ""


@lru_cache(maxsize=64)
def suprema(activation: Activation, bits: int = _BITS) -> Suprema:
    """Enclose the suprema over R; the last two are unbounded where they are not proved."""
    facts = analyse(activation)
    found = [facts.sup_abs(k) for k in range(3)]
    values, first, second = (
        bound.value if bound.finite is Truth.PROVED else Enclosure.unbounded() for bound in found
    )
    why = _why_open(activation, facts)
    if why:
        return Suprema(values, Enclosure.unbounded(), Enclosure.unbounded(), why)
    constants = _CONSTANTS.get(activation.name)
    if constants is not None:
        with precision(bits):
            closed = constants(*(ball(p) for p in activation.parameters))
            sharp = [None if c is None else Enclosure.from_arb(c) for c in closed]
        values, first, second = (
            wide if narrow is None else wide.intersection(narrow)
            for wide, narrow in zip((values, first, second), sharp, strict=True)
        )
    return Suprema(values, first, second)


def _why_open(activation: Activation, facts: ActivationFacts) -> str:
    continuous = facts.smooth is Truth.PROVED or (facts.order is not None and facts.order >= 1)
    if facts.defined is not Truth.PROVED or not continuous:
        return f"the derivative of {activation} is not proved continuous"
    for k, name in ((1, "derivative"), (2, "second derivative")):
        if facts.sup_abs(k).finite is not Truth.PROVED:
            return f"the {name} of {activation} is not proved bounded"
    return ""


def _tanh(_: None = None) -> tuple[Ball, Ball, Ball]:
    return arb(1), arb(1), 4 / (3 * arb(3).sqrt())


_CONSTANTS: dict[str, Callable[..., tuple[Ball | None, Ball, Ball]]] = {
    "tanh": _tanh,
    "sigmoid": lambda: (arb(1), arb(1) / 4, 1 / (6 * arb(3).sqrt())),
    "softplus": lambda beta: (None, arb(1), beta / 4),
    "atan": lambda: (arb.pi() / 2, arb(1), 3 * arb(3).sqrt() / 8),
    "erf": lambda: (arb(1), 2 / arb.pi().sqrt(), (8 / arb.pi()).sqrt() * (-arb(1) / 2).exp()),
    "softsign": lambda: (arb(1), arb(1), arb(2)),
    "sin": lambda: (arb(1), arb(1), arb(1)),
    "identity": lambda: (None, arb(1), arb(0)),
}


@dataclass(frozen=True)
class _Even:
    """|s'| and |s''| at z >= 0, and where the latter is largest."""

    first: Callable[[Ball], Ball]
    second: Callable[[Ball], Ball]
    peak: Callable[[], Ball]


def _bend(t: Ball) -> Ball:
    """Return |tanh''| = 2 tanh sech^2."""
    return 2 * t.tanh() * t.sech() ** 2


def _tanh_peak() -> Ball:
    return (1 / arb(3).sqrt()).atanh()


_EVEN: dict[str, _Even] = {
    "tanh": _Even(lambda t: t.sech() ** 2, _bend, _tanh_peak),
    "sigmoid": _Even(
        lambda t: (t / 2).sech() ** 2 / 4, lambda t: _bend(t / 2) / 8, lambda: 2 * _tanh_peak()
    ),
    "atan": _Even(
        lambda t: 1 / (1 + t * t), lambda t: 2 * t / (1 + t * t) ** 2, lambda: 1 / arb(3).sqrt()
    ),
    "erf": _Even(
        lambda t: 2 / arb.pi().sqrt() * (-t * t).exp(),
        lambda t: 4 / arb.pi().sqrt() * t * (-t * t).exp(),
        lambda: 1 / arb(2).sqrt(),
    ),
    "softsign": _Even(lambda t: 1 / (1 + t) ** 2, lambda t: 2 / (1 + t) ** 3, lambda: arb(0)),
}


def ball_suprema(activation: Activation, p: Ball, t: Ball) -> tuple[Ball, Ball]:
    """Enclose sup |s'| and sup |s''| over [p - t, p + t] at the working precision.

    For other activations than those with a closed form the enclosure is between the modulus at p
    and that over the hull of the interval.
    """
    least, most = (abs(p) - t).max(arb(0)), abs(p) + t
    even = _EVEN.get(activation.name)
    if even is not None:
        return even.first(least), even.second(even.peak().max(least).min(most))
    if activation.name == "softplus":
        beta = ball(activation.parameters[0])
        return _logistic(beta * (p + t)), beta * (beta * least / 2).sech() ** 2 / 4
    if activation.name == "identity":
        return arb(1), arb(0)
    whole = suprema(activation, ctx.prec)
    reach = p + arb(0, 1) * t
    at, over = jet(activation, p, 2), jet(activation, reach, 2)
    ends = []
    for k, everywhere in ((1, whole.first), (2, whole.second)):
        top = everywhere.arb().upper()
        high = abs(over[k]).upper() if over[k].is_finite() else top
        low = abs(at[k]).lower() if at[k].is_finite() else arb(0)
        high = high.min(top).upper()
        ends.append(low.min(high).lower().max(arb(0)).union(high))
    return ends[0], ends[1]


def _logistic(t: Ball) -> Ball:
    if t > 0:
        return 1 / (1 + (-t).exp())
    power = t.exp()
    return power / (1 + power)


def float_suprema(activation: Activation, lo: Array, hi: Array) -> tuple[Array, Array]:
    """Bound |s'| and |s''| over intervals [lo, hi] from above.

    Args:
        activation: flat enough.
        lo: lower ends, may be -inf.
        hi: upper ends, not below them, may be +inf.

    Error bound:
        that of the interval arithmetic; nothing else is rounded.
    """
    whole = suprema(activation)
    p1, p2 = whole.first.hi_float, whole.second.hi_float
    rule = _FLOAT.get(activation.name)
    if rule is not None:
        first, second = rule(activation, lo, hi)
    elif p2 == 0.0:
        first, second = np.full(lo.shape, p1), np.zeros(lo.shape)
    else:
        kernel = interval_kernel(activation.formula(), [variable()], order=2)
        found = kernel(lo.ravel(), hi.ravel())
        if found.gradient is None or found.hessian is None:
            return np.full(lo.shape, p1), np.full(lo.shape, p2)
        first = _moduli(found.gradient.lo[0], found.gradient.hi[0]).reshape(lo.shape)
        second = _moduli(found.hessian.lo[0, 0], found.hessian.hi[0, 0]).reshape(lo.shape)
    return np.minimum(first, p1), np.minimum(second, p2)


def _moduli(lo: Array, hi: Array) -> Array:
    return np.maximum(np.abs(lo), np.abs(hi))


def _distances(lo: Array, hi: Array) -> tuple[Array, Array]:
    """Return the least and the largest modulus in an interval, exactly."""
    return np.maximum(np.maximum(lo, -hi), 0.0), _moduli(lo, hi)


def _float_tanh(_: Activation, lo: Array, hi: Array) -> tuple[Array, Array]:
    least, most = _distances(lo, hi)
    return apply("sech2", _points(least))[1], _float_bend(least, most)


def _float_bend(least: Array, most: Array) -> Array:
    """Bound |tanh''| over [least, most] by its value at the place nearest to the peak."""
    with precision(_BITS):
        peak = Enclosure.from_arb(_tanh_peak())
        top = Enclosure.from_arb(4 / (3 * arb(3).sqrt())).hi_float
    place = np.where(least >= peak.hi_float, least, most)
    points = _points(place)
    value = 2.0 * apply("mul", apply("tanh", points), apply("sech2", points))[1]
    astride = (least <= peak.hi_float) & (most >= peak.lo_float)
    return np.where(astride, top, np.minimum(value, top))


def _points(places: Array) -> tuple[Array, Array]:
    """Return point intervals; beyond 1000, where |tanh'| < 2^-2000, a place to the left of it."""
    held = np.minimum(places, 1000.0)
    return held, held


def _float_sigmoid(_: Activation, lo: Array, hi: Array) -> tuple[Array, Array]:
    """Sigmoid(z) = (1 + tanh(z/2))/2; halves may underflow, to both sides."""
    low, high = _halves(lo, hi)
    least, most = _distances(low, high)
    first = up_array(0.25 * apply("sech2", _points(least))[1])
    return first, up_array(0.125 * _float_bend(least, most))


def _halves(lo: Array, hi: Array) -> tuple[Array, Array]:
    low, high = apply("mul", (lo, hi), (np.full(lo.shape, 0.5), np.full(lo.shape, 0.5)))
    return low, high


def _float_softplus(activation: Activation, lo: Array, hi: Array) -> tuple[Array, Array]:
    """S' = sigmoid(beta z) rises, s'' = (beta/4) sech(beta z/2)^2 is even and falls."""
    beta = Enclosure.outward(activation.parameters[0], activation.parameters[0])
    ends = np.full(lo.shape, beta.lo_float), np.full(lo.shape, beta.hi_float)
    low, high = apply("mul", (lo, hi), ends)
    first = apply("sigmoid", (low, high))[1]
    least, _ = _distances(*_halves(low, high))
    with np.errstate(over="ignore"):
        return first, up_array(up_array(0.25 * ends[1]) * apply("sech2", _points(least))[1])


_FLOAT: dict[str, Callable[[Activation, Array, Array], tuple[Array, Array]]] = {
    "tanh": _float_tanh,
    "sigmoid": _float_sigmoid,
    "softplus": _float_softplus,
}

"""Activations and their slopes at balls of python-flint, by name or from their formula.

`value` encloses {s(x) : x in ball}; `slope` encloses the derivatives at all points of the ball,
one-sided ones at a kink, as one interval, hence also every secant slope between its points. The
working precision is python-flint's (``flint.ctx.prec``).
"""

from __future__ import annotations

from collections.abc import Callable
from fractions import Fraction
from typing import Any

from flint import arb, fmpq

from verify.network.activation import Activation
from verify_kernels.activation_analysis.jet import jet, may_jump
from verify_kernels.slopes import slope_class

Ball = Any  # python-flint's arb


def value(activation: Activation, ball: Ball) -> Ball:
    """Return a ball that contains s(x) for every x of the ball; all of R if it is not finite."""
    if not ball.is_finite():
        return arb(0, float("inf"))
    entry = _TABLE.get(activation.name)
    if entry is None:
        plain = jet(activation, ball, 0)[0]
        if may_jump(activation) or not plain.is_finite():
            return plain
        return _centred(
            lambda t: jet(activation, t, 0)[0], lambda t: jet(activation, t, 1)[1], ball
        )
    return entry[0](ball, *map(_ball, activation.parameters))


def slope(activation: Activation, ball: Ball) -> Ball:
    """Return an interval of all derivatives, hence all secant slopes, on the ball.

    Never wider than the slope class of the activation.

    Raises:
        InputError: an activation without a slope class.
    """
    known = slope_class(activation)
    whole = _ball(known.alpha).union(_ball(known.beta))
    if not ball.is_finite():
        return whole
    entry = _TABLE.get(activation.name)
    if entry is None:
        found = jet(activation, ball, 1)[1]
    else:
        found = entry[1](ball, *map(_ball, activation.parameters))
    return found.intersection(whole) if found.is_finite() else whole


def _ball(number: Fraction) -> Ball:
    return arb(fmpq(number.numerator, number.denominator))


def _rising(function: Callable[[Ball], Ball], x: Ball) -> Ball:
    """Enclose a nondecreasing function by its values at the ends."""
    if x.is_exact():
        return function(x)
    return function(x.lower()).union(function(x.upper()))


def _falling_from_zero(function: Callable[[Ball], Ball], x: Ball) -> Ball:
    """Enclose an even function that is nonincreasing for x >= 0."""
    return function(x.abs_lower()).union(function(x.abs_upper()))


def _line(x: Ball, breaks: list[int], slopes: list[Ball], at_first: Ball) -> tuple[Ball, Ball]:
    """Enclose a continuous piecewise linear function: values and slopes of the pieces touched.

    Args:
        x: a finite ball.
        breaks: increasing kinks.
        slopes: of the pieces, one more than kinks.
        at_first: the value at the first kink.
    """
    lower, upper = x.lower(), x.upper()
    start, total, steep = at_first, None, None
    for k, piece in enumerate(slopes):
        left = None if k == 0 else arb(breaks[k - 1])
        right = None if k == len(breaks) else arb(breaks[k])
        if not ((left is not None and upper < left) or (right is not None and lower > right)):
            near = lower if left is None else lower.max(left)
            far = upper if right is None else upper.min(right)
            anchor = arb(breaks[0]) if left is None else left
            part = (start + piece * (near - anchor)).union(start + piece * (far - anchor))
            total = part if total is None else total.union(part)
            steep = piece if steep is None else steep.union(piece)
        if left is not None and right is not None:
            start = start + piece * (right - left)
    return total, steep


def _leaky(x: Ball, a: Ball) -> tuple[Ball, Ball]:
    return _line(x, [0], [a, arb(1)], arb(0))


def _clamp(x: Ball, low: int, high: int) -> tuple[Ball, Ball]:
    return _line(x, [low, high], [arb(0), arb(1), arb(0)], arb(low))


def _elu(x: Ball, a: Ball) -> Ball:
    return _rising(lambda t: t if t >= 0 else a * t.expm1(), x)


def _elu_slope(x: Ball, a: Ball) -> Ball:
    if x > 0:
        return arb(1)
    left = a * _rising(lambda t: t.exp(), x.min(arb(0)))
    return left if x < 0 else left.union(arb(1))


def _sigmoid(t: Ball) -> Ball:
    if t > 0:  # exp(-|t|) cannot overflow
        return 1 / (1 + (-t).exp())
    power = t.exp()
    return power / (1 + power)


def _softplus(x: Ball, beta: Ball) -> Ball:
    def at(t: Ball) -> Ball:
        tail = (-beta * abs(t)).exp().log1p() / beta
        return t + tail if t > 0 else tail

    return _rising(at, x)


def _normal_density(x: Ball) -> Ball:
    return (-x * x / 2).exp() / (2 * arb.pi()).sqrt()


def _normal_probability(x: Ball) -> Ball:
    return _rising(lambda t: (-t / arb(2).sqrt()).erfc() / 2, x)


def _gelu_slope(x: Ball) -> Ball:
    return _normal_probability(x) + x * _normal_density(x)


def _silu_slope(x: Ball) -> Ball:
    p = _rising(_sigmoid, x)
    return p + x * p * (1 - p)


def _centred(function: Callable[[Ball], Ball], derivative: Callable[[Ball], Ball], x: Ball) -> Ball:
    """Intersect the plain evaluation with the mean value form."""
    middle = x.mid()
    return function(x).intersection(function(middle) + derivative(x) * (x - middle))


def _gelu(x: Ball) -> Ball:
    return _centred(lambda t: t * _normal_probability(t), _gelu_slope, x)


def _silu(x: Ball) -> Ball:
    return _centred(lambda t: t * _rising(_sigmoid, t), _silu_slope, x)


_TABLE: dict[str, tuple[Callable[..., Ball], Callable[..., Ball]]] = {
    "relu": (lambda x: _leaky(x, arb(0))[0], lambda x: _leaky(x, arb(0))[1]),
    "leaky_relu": (lambda x, a: _leaky(x, a)[0], lambda x, a: _leaky(x, a)[1]),
    "elu": (_elu, _elu_slope),
    "tanh": (
        lambda x: _rising(lambda t: t.tanh(), x),
        lambda x: _falling_from_zero(lambda t: t.sech() ** 2, x),
    ),
    "sigmoid": (
        lambda x: _rising(_sigmoid, x),
        lambda x: _falling_from_zero(lambda t: (t / 2).sech() ** 2 / 4, x),
    ),
    "softplus": (_softplus, lambda x, beta: _rising(lambda t: _sigmoid(beta * t), x)),
    "identity": (lambda x: x, lambda x: arb(1)),
    "abs": (lambda x: _leaky(x, arb(-1))[0], lambda x: _leaky(x, arb(-1))[1]),
    "hardtanh": (lambda x: _clamp(x, -1, 1)[0], lambda x: _clamp(x, -1, 1)[1]),
    "relu6": (lambda x: _clamp(x, 0, 6)[0], lambda x: _clamp(x, 0, 6)[1]),
    "softsign": (
        lambda x: _rising(lambda t: t / (1 + abs(t)), x),
        lambda x: _falling_from_zero(lambda t: 1 / (1 + t) ** 2, x),
    ),
    "gelu": (_gelu, _gelu_slope),
    "silu": (_silu, _silu_slope),
    "sin": (lambda x: x.sin(), lambda x: x.cos()),
}

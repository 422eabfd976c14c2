"""Taylor jets of formulas at balls: value and derivatives of an activation, enclosed.

The arithmetic is python-flint's power series over balls; each elementary function enters by its
own Taylor coefficients at the ball, written in bounded atoms (tanh and sech^2, p and p(1-p)), so
that nothing overflows or cancels for large arguments.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import lru_cache
from math import factorial
from typing import Any

from flint import arb, arb_series, ctx, fmpq

from verify.errors import InputError
from verify.network.activation import Activation
from verify_kernels.activation_analysis.tree import Node, postorder, tree_of

Ball = Any  # python-flint's arb
Series = Any  # python-flint's arb_series
MAX_ORDER = 8
NO_NUMBER = arb("nan")  # outside the domain; unlike an overflow no function makes it finite
BREAKING = frozenset({"sign", "piecewise"})


def jet(activation: Activation, ball: Ball, order: int) -> list[Ball]:
    """Enclose sigma, sigma', ..., sigma^(order) at every point of the ball.

    Where the ball touches a kink, derivatives are one-sided and both sides are enclosed; at a
    jump the value and both one-sided limits are. The precision is python-flint's.

    Args:
        activation: named or a formula.
        ball: an ``arb``; derivatives over one that is not finite are unbounded.
        order: 0 to 8.

    Returns:
        order + 1 balls; not finite where nothing is known (outside the domain, for instance).

    Raises:
        InputError: order is not in 0..8.
    """
    if not 0 <= order <= MAX_ORDER:
        raise InputError(f"jet: expected an order in 0..{MAX_ORDER}, but got {order!r}")
    return derivatives(tree_of(activation.formula()), ball, order)


def may_jump(activation: Activation) -> bool:
    """Return whether a formula holds sign or Piecewise, so that its value may jump."""
    return any(node.op in BREAKING for node in postorder(tree_of(activation.formula())))


def derivatives(root: Node, ball: Ball, order: int) -> list[Ball]:
    """Enclose value and derivatives of a tree at the points of a ball."""
    if not ball.is_finite():
        return [arb(0, float("inf"))] * (order + 1)
    series = taylor(root, ball, order)
    return [_whole(series[k] * factorial(k)) for k in range(order + 1)]


def _whole(ball: Ball) -> Ball:
    return ball if ball.is_finite() else arb(0, float("inf"))


def taylor(root: Node, ball: Ball, order: int) -> Series:
    """Return the Taylor series of a tree at a ball, with order + 1 coefficients."""
    n = order + 1
    values: dict[Node, Series] = {}
    for node in postorder(root):
        if node.op == "z":
            values[node] = arb_series([ball, 1], n)
        elif node.constant:
            values[node] = arb_series([constant(node, ctx.prec)], n)
        else:
            parts = [values[arg] for arg in node.args]
            values[node] = _apply(node, parts, n)
            if n > 1 and parts[0].length() <= 1 and _breaks_off(node, parts[0][0]):
                values[node] = _at_constant(node, parts[0][0], ball, n)
    return values[root]


def _breaks_off(node: Node, at: Ball) -> bool:
    """Whether a root has no derivative at its operand."""
    return node.op == "pow" and node.data.denominator != 1 and not at > 0


def _at_constant(node: Node, at: Ball, ball: Ball, n: int) -> Series:
    """Return the series of a root whose operand has no slope at the ball.

    It has none near it where the operand is constant; elsewhere nothing is known.
    """
    value = _power(at, node.data, 1)
    if not ball.is_exact():
        return arb_series(value, n)
    near = ball + arb(0, 1) * (1 + abs(ball)) * arb(2) ** -200
    if taylor(node.args[0], near, n - 1).length() <= 1:
        return arb_series(value, n)
    return arb_series(value + [arb(0, float("inf"))] * (n - 1), n)


@lru_cache(maxsize=8192)
def constant(root: Node, prec: int) -> Ball:
    """Enclose a tree without z at a precision."""
    values: dict[Node, Ball] = {}
    for node in postorder(root):
        if node.op == "number":
            values[node] = arb(fmpq(node.data.numerator, node.data.denominator))
        elif node.op == "pi":
            values[node] = arb.pi()
        else:
            parts = [arb_series([values[arg]], 1) for arg in node.args]
            values[node] = _apply(node, parts, 1)[0]
    return values[root]


def _apply(node: Node, parts: Sequence[Series], n: int) -> Series:
    op = node.op
    if op == "add":
        total = parts[0]
        for part in parts[1:]:
            total = total + part
        return total
    if op == "mul":
        total = parts[0]
        for part in parts[1:]:
            total = total * part
        if total.length() == 0 and not all(part[0].is_finite() for part in parts):
            return arb_series([NO_NUMBER] * n, n)  # zero times no number
        return total
    if op in _SWITCH:
        return _SWITCH[op](node, parts, n)
    inner = parts[0]
    at = inner[0]
    outer = _power(at, node.data, n) if op == "pow" else _OUTER[op](at, n)
    return _compose(outer, inner, n)


def _compose(outer: list[Ball], inner: Series, n: int) -> Series:
    """Return the series with the outer Taylor coefficients at the inner value."""
    slopes = [inner[k] for k in range(1, n)]
    if all(slope.is_zero() for slope in slopes):
        return arb_series(outer[:1] if outer[0].is_finite() else outer[:1] * n, n)
    if slopes[0] == 1 and all(slope.is_zero() for slope in slopes[1:]):
        return arb_series(outer, n)
    return arb_series(outer, n)(arb_series([0, *slopes], n))


def _ends(function: Callable[[Ball], Ball], x: Ball) -> Ball:
    """Enclose a monotone function by its values at the ends."""
    if x.is_exact():
        return function(x)
    return function(x.lower()).union(function(x.upper()))


def _even(function: Callable[[Ball], Ball], x: Ball) -> Ball:
    """Enclose an even function that is monotone in |x|."""
    if x.is_exact():
        return function(abs(x))
    return function(x.abs_lower()).union(function(x.abs_upper()))


def _power(x: Ball, exponent: Any, n: int) -> list[Ball]:
    p = fmpq(exponent.numerator, exponent.denominator)
    result, scale = [], fmpq(1)
    for k in range(n):
        if scale == 0:
            result.append(arb(0))
        else:
            result.append(_raised(x, p - k) * arb(scale))
        scale = scale * (p - k) / (k + 1)
    if not result[0].is_finite():
        result[0] = NO_NUMBER
    return result


def _raised(x: Ball, p: Any) -> Ball:
    if p.q != 1:
        if not x > 0:
            if x >= 0 and p > 0:  # a root at zero itself
                return _ends(lambda t: t ** arb(p) if t > 0 else arb(0), x)
            return arb(0, float("inf"))
        return _ends(lambda t: t.sqrt() ** int(p.p) if p.q == 2 else t ** arb(p), x)
    k = int(p.p)
    if k == 0:
        return arb(1)
    if k < 0 and x.contains(0):
        return arb(0, float("inf"))
    if k % 2 or x > 0 or x < 0:
        return _ends(lambda t: t**k, x)
    return _even(lambda t: t**k, x)


def _exp(x: Ball, n: int) -> list[Ball]:
    value = _ends(lambda t: t.exp(), x)
    return [value / factorial(k) for k in range(n)]


def _expm1(x: Ball, n: int) -> list[Ball]:
    return [_ends(lambda t: t.expm1(), x), *_exp(x, n)[1:]]


def _log_from(value: Callable[[Ball], Ball], x: Ball, argument: Ball, n: int) -> list[Ball]:
    if not argument > 0:
        return [NO_NUMBER] * n
    inverse = 1 / argument
    result, power = [_ends(value, x)], arb(1)
    for k in range(1, n):
        power = power * inverse
        result.append(power / (k if k % 2 else -k))
    return result


def _log(x: Ball, n: int) -> list[Ball]:
    return _log_from(lambda t: t.log(), x, x, n)


def _log1p(x: Ball, n: int) -> list[Ball]:
    return _log_from(lambda t: t.log1p(), x, 1 + x, n)


def _cycle(values: Sequence[Ball], n: int) -> list[Ball]:
    return [values[k % 4] / factorial(k) for k in range(n)]


def _sin(x: Ball, n: int) -> list[Ball]:
    s, c = x.sin_cos()
    return _cycle((s, c, -s, -c), n)


def _cos(x: Ball, n: int) -> list[Ball]:
    s, c = x.sin_cos()
    return _cycle((c, -s, -c, s), n)


def _sinh(x: Ball, n: int) -> list[Ball]:
    s, c = _ends(lambda t: t.sinh(), x), _even(lambda t: t.cosh(), x)
    return _cycle((s, c, s, c), n)


def _cosh(x: Ball, n: int) -> list[Ball]:
    s, c = _ends(lambda t: t.sinh(), x), _even(lambda t: t.cosh(), x)
    return _cycle((c, s, c, s), n)


def _atan(x: Ball, n: int) -> list[Ball]:
    """Return the coefficients of atan: those of 1/(1 + x^2) by its recurrence, divided by k."""
    quotient = _even(lambda t: 1 / (1 + t * t), x)
    slopes: list[Ball] = []
    for k in range(n - 1):
        if k == 0:
            slopes.append(quotient)
        else:
            before = slopes[k - 2] if k > 1 else arb(0)
            slopes.append(-quotient * (2 * x * slopes[k - 1] + before))
    return [_ends(lambda t: t.atan(), x)] + [slopes[k] / (k + 1) for k in range(n - 1)]


def _asinh(x: Ball, n: int) -> list[Ball]:
    """Return the coefficients of asinh, from (1 + x^2) a'' + x a' = 0."""
    result = [_ends(lambda t: t.asinh(), x), _even(lambda t: 1 / (1 + t * t).sqrt(), x)]
    quotient = _even(lambda t: 1 / (1 + t * t), x)
    for k in range(n - 2):
        factor = (2 * k + 1) * (k + 1) * x * result[k + 1] + k * k * result[k]
        result.append(-quotient * factor / ((k + 1) * (k + 2)))
    return result[:n]


@lru_cache(maxsize=64)
def tanh_polynomial(k: int) -> tuple[int, ...]:
    """Return P with tanh^(k) = sech^2 P(tanh), lowest coefficient first, for k >= 1."""
    if k == 1:
        return (1,)
    below = tanh_polynomial(k - 1)
    result = [0] * (k + 1)
    for i, c in enumerate(below):
        result[i + 1] -= (2 + i) * c
        if i:
            result[i - 1] += i * c
    while len(result) > 1 and result[-1] == 0:
        result.pop()
    return tuple(result)


def _horner(coefficients: Sequence[int], x: Ball) -> Ball:
    total = arb(0)
    for c in reversed(coefficients):
        total = total * x + c
    return total


def _sech_squared(x: Ball) -> Ball:
    """Enclose sech^2 without overflow, with full relative accuracy."""

    def at(t: Ball) -> Ball:  # t >= 0
        e = (-2 * t).exp()
        return 4 * e / (1 + e) ** 2

    return _even(at, x)


def _tanh_slopes(x: Ball, n: int) -> list[Ball]:
    """Return tanh^(k) at x for k = 1 .. n - 1."""
    if n == 1:
        return []
    t, s = _ends(lambda v: v.tanh(), x), _sech_squared(x)
    return [s * _horner(tanh_polynomial(k), t) for k in range(1, n)]


def _tanh(x: Ball, n: int) -> list[Ball]:
    slopes = _tanh_slopes(x, n)
    return [_ends(lambda t: t.tanh(), x)] + [
        slope / factorial(k) for k, slope in enumerate(slopes, start=1)
    ]


def _logistic(t: Ball) -> Ball:
    if t > 0:  # exp(-|t|) cannot overflow
        return 1 / (1 + (-t).exp())
    power = t.exp()
    return power / (1 + power)


def _sigmoid(x: Ball, n: int) -> list[Ball]:
    slopes = _tanh_slopes(x / 2, n)
    return [_ends(_logistic, x)] + [
        slope / (factorial(k) << (k + 1)) for k, slope in enumerate(slopes, start=1)
    ]


def _softplus(x: Ball, n: int) -> list[Ball]:
    def at(t: Ball) -> Ball:
        tail = (-abs(t)).exp().log1p()
        return t + tail if t > 0 else tail

    slopes = _sigmoid(x, n - 1) if n > 1 else []
    return [_ends(at, x)] + [slope / (k + 1) for k, slope in enumerate(slopes)]


def _logcosh(x: Ball, n: int) -> list[Ball]:
    def at(t: Ball) -> Ball:  # t >= 0
        return t + (-2 * t).exp().log1p() - arb(2).log()

    slopes = _tanh(x, n - 1) if n > 1 else []
    return [_even(at, x)] + [slope / (k + 1) for k, slope in enumerate(slopes)]


def _erf_slopes(x: Ball, n: int) -> list[Ball]:
    """Return erf^(k)(x)/k! for k = 1 .. n - 1: (-1)^(k-1) H_(k-1)(x) exp(-x^2) 2/sqrt(pi)."""
    density = 2 * _even(lambda t: (-t * t).exp(), x) / arb.pi().sqrt()
    hermite = [arb(1), 2 * x]
    for k in range(2, n):
        hermite.append(2 * x * hermite[-1] - 2 * (k - 1) * hermite[-2])
    return [
        density * hermite[k - 1] / (factorial(k) if k % 2 else -factorial(k)) for k in range(1, n)
    ]


def _erf(x: Ball, n: int) -> list[Ball]:
    return [_ends(lambda t: t.erf(), x), *_erf_slopes(x, n)]


def _erfc(x: Ball, n: int) -> list[Ball]:
    return [_ends(lambda t: t.erfc(), x), *(-slope for slope in _erf_slopes(x, n))]


_OUTER: dict[str, Callable[[Ball, int], list[Ball]]] = {
    "exp": _exp, "expm1": _expm1, "log": _log, "log1p": _log1p, "sin": _sin, "cos": _cos,
    "sinh": _sinh, "cosh": _cosh, "atan": _atan, "asinh": _asinh, "tanh": _tanh,
    "sigmoid": _sigmoid, "softplus": _softplus, "logcosh": _logcosh, "erf": _erf, "erfc": _erfc,
}  # fmt: skip


def _hull(first: Series, second: Series, n: int) -> Series:
    return arb_series([first[k].union(second[k]) for k in range(n)], n)


def _with_value(series: Series, value: Ball, n: int) -> Series:
    return arb_series([value] + [series[k] for k in range(1, n)], n)


def _abs(node: Node, parts: Sequence[Series], n: int) -> Series:
    inner = parts[0]
    if inner[0] > 0:
        return inner
    if inner[0] < 0:
        return -inner
    return _with_value(_hull(inner, -inner, n), _even(lambda t: t, inner[0]), n)


def _sign(node: Node, parts: Sequence[Series], n: int) -> Series:
    at = parts[0][0]
    if at > 0:
        return arb_series([1], n)
    if at < 0:
        return arb_series([-1], n)
    if at.is_nan():
        return arb_series([NO_NUMBER] * n, n)
    low = arb(0) if at >= 0 else arb(-1)
    high = arb(0) if at <= 0 else arb(1)
    if at.is_exact():  # the value and both one-sided limits
        low, high = arb(-1), arb(1)
    return arb_series([low.union(high)], n)


def _extreme(node: Node, parts: Sequence[Series], n: int) -> Series:
    best = parts[0]
    larger = node.op == "max"
    for part in parts[1:]:
        difference = best[0] - part[0] if larger else part[0] - best[0]
        if difference > 0:
            continue
        if difference < 0:
            best = part
            continue
        value = best[0].max(part[0]) if larger else best[0].min(part[0])
        best = _with_value(_hull(best, part, n), value, n)
    return best


_HOLDS: dict[str, Callable[[Ball], bool]] = {
    ">": lambda d: d > 0,
    ">=": lambda d: d > 0,
    "<": lambda d: d < 0,
    "<=": lambda d: d < 0,
}


def _piecewise(node: Node, parts: Sequence[Series], n: int) -> Series:
    """Return the hull of the cases that are not excluded near the ball."""
    found: Series = None
    for k, relation in enumerate(node.data):
        value = parts[2 * k]
        if relation:
            difference = parts[2 * k + 1][0]
            if difference.is_nan():
                return arb_series([NO_NUMBER] * n, n)
            if difference != 0 and difference.is_finite() and not _HOLDS[relation](difference):
                continue
        found = value if found is None else _hull(found, value, n)
        if not relation or _HOLDS[relation](parts[2 * k + 1][0]):
            break
    return found


_SWITCH: dict[str, Callable[[Node, Sequence[Series], int], Series]] = {
    "abs": _abs, "sign": _sign, "max": _extreme, "min": _extreme, "piecewise": _piecewise,
}  # fmt: skip

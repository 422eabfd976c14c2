"""A referee for interval operations, against which every dialect is measured.

For an operation and intervals it says how large a lower end may be and how small an upper end may
be, computed with python-flint at 200 bits (2400 where these cannot tell) or in integers, from
nothing but monotonicity and the places of extrema and poles. An end beyond that is certainly wrong.
Set-based: the values at those points of the operands where the operation is defined.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from fractions import Fraction
from itertools import product as choices
from typing import Any

import flint
from flint import arb

from verify.errors import EnclosureError
from verify_kernels._rounding import ETA, MAX, down, up

# An interval; of a result: the lower end must be <= the first, the upper end >= the second number.
Ends = tuple[float, float]
Ball = Any  # python-flint's arb
Rule = Callable[..., Ends]

ALL = (-math.inf, math.inf)
EMPTY = (math.inf, -math.inf)
HALF_PI = (math.pi / 2, up(math.pi / 2))
NEXT_TO_ONE = (down(1.0), 1.0)
OVERFLOW = (MAX, math.inf)
TINY = (0.0, ETA)
ZERO, ONE, INFINITE = (0.0, 0.0), (1.0, 1.0), (math.inf, math.inf)
BITS = (200, 2400)


@contextmanager
def _bits(bits: int) -> Iterator[None]:
    before = flint.ctx.prec
    flint.ctx.prec = bits
    try:
        yield
    finally:
        flint.ctx.prec = before


def allowed(name: str, number: Fraction | None, *operands: Ends) -> Ends:
    """Return what the ends of a result may be; (inf, -inf) where there is no value.

    Args:
        name: a key of `RULES`.
        number: the exponent of pown (an integer) and powr, else None.
        operands: non-empty intervals, or (inf, -inf) for the empty set.

    Raises:
        EnclosureError: the value at a point could not be told from its neighbours.
    """
    if EMPTY in operands:
        return EMPTY
    extra = () if number is None else (int(number) if name == "pown" else number,)
    with _bits(BITS[0]):
        return RULES[name](*operands, *extra)


# Values at points


def value(function: Callable[[Ball], Ball], x: float) -> Ends:
    """Return the neighbours of f(x); twice f(x) where it is a binary64 number.

    Raises:
        EnclosureError: the balls of f at x are too wide.
    """
    for bits in BITS:
        flint.ctx.prec = bits
        ball = function(arb(x))
        flint.ctx.prec = BITS[0]
        near = float(ball)
        if ball.is_finite() and ball.rel_accuracy_bits() > 80:
            if arb(near) > ball:
                return down(near), near
            if arb(near) < ball:
                return near, up(near)
            if ball.is_exact() or bits == BITS[-1]:
                return near, near
    raise EnclosureError(f"referee: expected a sharp value at {x!r}, but got {ball}")


def _rational(near: float, numerator: int, denominator: int) -> Ends:
    """Return the neighbours of a rational number from the computed one."""
    if math.isinf(near):
        return OVERFLOW if near > 0 else minus(OVERFLOW)
    n, d = near.as_integer_ratio()
    left, right = n * denominator, numerator * d
    return (down(near) if left > right else near), (up(near) if left < right else near)


def _total(a: float, b: float) -> Ends:
    if math.isinf(a) or math.isinf(b):
        return a + b, a + b
    (n, d), (m, e) = a.as_integer_ratio(), b.as_integer_ratio()
    return _rational(a + b, n * e + m * d, d * e)


def _product(a: float, b: float) -> Ends:
    if a == 0 or b == 0:
        return ZERO
    if math.isinf(a) or math.isinf(b):
        return a * b, a * b
    (n, d), (m, e) = a.as_integer_ratio(), b.as_integer_ratio()
    return _rational(a * b, n * m, d * e)


def _quotient(a: float, b: float) -> Ends:
    """Return a / b for b != 0, not both infinite."""
    if a == 0 or math.isinf(b):
        return ZERO
    if math.isinf(a):
        return (a, a) if b > 0 else (-a, -a)
    (n, d), (m, e) = a.as_integer_ratio(), b.as_integer_ratio()
    sign = 1 if m > 0 else -1
    return _rational(a / b, sign * n * e, sign * d * m)


# Sets of values


def minus(ends: Ends) -> Ends:
    """Return the opposite."""
    return -ends[1], -ends[0]


def _hull(*values: Ends) -> Ends:
    return min(v[0] for v in values), max(v[1] for v in values)


def _moduli(x: Ends) -> Ends:
    """Return the least and the largest modulus."""
    return 0.0 if x[0] <= 0 <= x[1] else min(abs(x[0]), abs(x[1])), max(-x[0], x[1])


def _monotone(
    function: Callable[[Ball], Ball],
    at_start: Ends,
    at_infinity: Ends,
    *,
    start: float = -math.inf,
    far: float = math.inf,
    beyond: Callable[[float], Ends] | None = None,
) -> Rule:
    """Return the rule of a monotone function on [start, inf].

    `at_start` and `at_infinity` are limits; a finite `start` is in the domain if its limit is
    finite. Where |x| > far, the neighbours of f(x) are `beyond(x)`.
    """
    closed = not math.isinf(at_start[0])

    def at(x: float) -> Ends:
        if x <= start:
            return at_start
        if x == math.inf:
            return at_infinity
        return beyond(x) if beyond and abs(x) > far else value(function, x)

    def rule(x: Ends) -> Ends:
        if x[1] < start or (x[1] == start and not closed):
            return EMPTY
        first = at(x[0])
        return first if x[0] == x[1] else _hull(first, at(x[1]))

    return rule


def _part(x: float, offset: Fraction, period: int) -> int:
    """Return floor((x / pi - offset) / period)."""
    for bits in BITS:
        with _bits(bits):
            shifted = (arb(x) / arb.pi() - arb(offset.numerator) / offset.denominator) / period
            found = shifted.floor().unique_fmpz()
        if found is not None:
            return int(found)
    raise EnclosureError(f"referee: expected the quadrant of {x!r}, but got {shifted}")


def _wave(function: Callable[[Ball], Ball], top: Fraction, bottom: Fraction) -> Rule:
    """Return the rule of sin or cos: largest at (top + 2 k) pi, least at (bottom + 2 k) pi."""

    def rule(x: Ends) -> Ends:
        if math.isinf(x[0]) or math.isinf(x[1]):
            return -1.0, 1.0
        first = value(function, x[0])
        if x[0] == x[1]:
            return first
        low, high = _hull(first, value(function, x[1]))
        turned = [_part(x[0], at, 2) != _part(x[1], at, 2) for at in (top, bottom)]
        return (-1.0 if turned[1] else low), (1.0 if turned[0] else high)

    return rule


def _tangent(x: Ends) -> Ends:
    half = Fraction(1, 2)
    if math.isinf(x[0]) or math.isinf(x[1]) or _part(x[0], half, 1) != _part(x[1], half, 1):
        return ALL
    first = value(arb.tan, x[0])
    return first if x[0] == x[1] else _hull(first, value(arb.tan, x[1]))


def _divide(x: Ends, y: Ends) -> Ends:
    if y == (0, 0):
        return EMPTY
    if x == (0, 0):
        return ZERO
    if y[0] < 0 < y[1]:
        return ALL
    ends = [
        _quotient(a, b)
        for a, b in choices(x, y)
        if b != 0 and not (math.isinf(a) and math.isinf(b))
    ]
    if 0 in y:  # the quotients grow beyond all bounds
        side = 1 if y[1] > 0 else -1
        ends += [(side * a * math.inf,) * 2 for a in x if a != 0]
    return _hull(*ends)


def _whole_power(x: Ends, n: int) -> Ends:
    def at(t: float) -> Ends:
        if t == 0 or math.isinf(t):
            limit = INFINITE if (t == 0) == (n < 0) else ZERO
            return minus(limit) if t < 0 and n % 2 else limit
        return value(lambda ball: ball**n, t)

    if n == 0:
        return ONE
    if x == (0, 0) and n < 0:
        return EMPTY
    if n % 2 == 0:
        return _hull(*map(at, _moduli(x)))
    if n > 0:
        return _hull(*map(at, x))
    if x[0] < 0 < x[1]:
        return ALL
    pole = INFINITE if x[1] > 0 else minus(INFINITE)
    return _hull(*(at(t) if t else pole for t in x))


def _real_power(x: Ends, exponent: Fraction) -> Ends:
    p, q = exponent.numerator, exponent.denominator
    first, last = (ZERO, INFINITE) if p > 0 else (INFINITE, ZERO)
    return _monotone(lambda ball: ball.root(q) ** p, first, last, start=0.0)(x)


def _logistic(ball: Ball) -> Ball:
    return 1 / (1 + (-ball).exp())


def _softplus(ball: Ball) -> Ball:
    return (-abs(ball)).exp().log1p() + (ball if ball > 0 else 0)


def _odd(ends: Ends) -> Callable[[float], Ends]:
    return lambda x: ends if x > 0 else minus(ends)


def _by_sign(below: Ends, above: Ends) -> Callable[[float], Ends]:
    return lambda x: above if x > 0 else below


_COSH = _monotone(arb.cosh, ONE, INFINITE, start=0.0, far=800, beyond=lambda x: OVERFLOW)
RULES: dict[str, Rule] = {
    "neg": minus,
    "abs": _moduli,
    "min": lambda x, y: (min(x[0], y[0]), min(x[1], y[1])),
    "max": lambda x, y: (max(x[0], y[0]), max(x[1], y[1])),
    "add": lambda x, y: (_total(x[0], y[0])[0], _total(x[1], y[1])[1]),
    "sub": lambda x, y: (_total(x[0], -y[1])[0], _total(x[1], -y[0])[1]),
    "mul": lambda x, y: _hull(*(_product(a, b) for a, b in choices(x, y))),
    "div": _divide,
    "recip": lambda x: _divide(ONE, x),
    "sqr": lambda x: _hull(*(_product(m, m) for m in _moduli(x))),
    "sqrt": _monotone(arb.sqrt, ZERO, INFINITE, start=0.0),
    "exp": _monotone(arb.exp, ZERO, INFINITE, far=800, beyond=_by_sign(TINY, OVERFLOW)),
    "expm1": _monotone(
        arb.expm1, minus(ONE), INFINITE, far=800, beyond=_by_sign(minus(NEXT_TO_ONE), OVERFLOW)
    ),
    "log": _monotone(arb.log, minus(INFINITE), INFINITE, start=0.0),
    "log1p": _monotone(arb.log1p, minus(INFINITE), INFINITE, start=-1.0),
    "sin": _wave(arb.sin, Fraction(1, 2), Fraction(-1, 2)),
    "cos": _wave(arb.cos, Fraction(0), Fraction(1)),
    "tan": _tangent,
    "atan": _monotone(arb.atan, minus(HALF_PI), HALF_PI, far=2.0**60, beyond=_odd(HALF_PI)),
    "tanh": _monotone(arb.tanh, minus(ONE), ONE, far=400, beyond=_odd(NEXT_TO_ONE)),
    "sinh": _monotone(arb.sinh, minus(INFINITE), INFINITE, far=800, beyond=_odd(OVERFLOW)),
    "cosh": lambda x: _COSH(_moduli(x)),
    "sigmoid": _monotone(_logistic, ZERO, ONE, far=800, beyond=_by_sign(TINY, NEXT_TO_ONE)),
    "softplus": _monotone(
        _softplus, ZERO, INFINITE, far=800, beyond=lambda x: (x, up(x)) if x > 0 else TINY
    ),
    "erf": _monotone(arb.erf, minus(ONE), ONE, far=40, beyond=_odd(NEXT_TO_ONE)),
    "erfc": _monotone(arb.erfc, (2.0, 2.0), ZERO, far=40, beyond=_by_sign((down(2.0), 2.0), TINY)),
    "pown": _whole_power,
    "powr": _real_power,
}

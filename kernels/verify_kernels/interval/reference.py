"""The same programs in ball arithmetic: for constants, for refinement and as an oracle."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from fractions import Fraction
from typing import TYPE_CHECKING, Any

import flint
from flint import arb, fmpq, fmpz

from verify.enclosure import Enclosure

if TYPE_CHECKING:
    from verify_kernels.interval.program import Program

Ball = Any  # python-flint's arb
PRECISION = 320
INFINITY = float("inf")


@contextmanager
def precision(bits: int = PRECISION) -> Iterator[None]:
    """Work with the given number of bits."""
    before = flint.ctx.prec
    flint.ctx.prec = bits
    try:
        yield
    finally:
        flint.ctx.prec = before


def exact_ball(value: Fraction) -> Ball:
    """Return a ball of a rational number."""
    with precision():
        return arb(fmpq(value.numerator, value.denominator))


def interval_ball(lo: float, hi: float) -> Ball:
    """Return a ball that contains [lo, hi], all of R if an end is infinite."""
    return Enclosure(lo, hi).arb()


def _by_ends(function: Callable[[Ball], Ball]) -> Callable[[Ball], Ball]:
    """Enclose a monotone function by its values at the ends."""

    def operation(x: Ball) -> Ball:
        if x.is_exact() or not x.is_finite():
            return function(x)
        return function(x.lower()).union(function(x.upper()))

    return operation


def _sqrt(x: Ball) -> Ball:
    if x >= 0:
        return _by_ends(lambda y: y.sqrt())(x)
    upper = x.upper()
    return upper.sqrt().union(arb(0)) if upper >= 0 else arb("nan")


def _powr(x: Ball, exponent: Fraction) -> Ball:
    power = fmpq(exponent.numerator, exponent.denominator)
    lower, upper = x.lower(), x.upper()
    if lower > 0:
        return (lower**power).union(upper**power)
    if exponent < 0 or not upper >= 0:
        return arb("nan")
    return (upper**power).union(arb(0)) if upper > 0 else arb(0)


def _softplus(x: Ball) -> Ball:
    return x + (-x).exp().log1p() if x > 0 else x.exp().log1p()


def _even(function: Callable[[Ball], Ball]) -> Callable[[Ball], Ball]:
    """Enclose a function of |x| that is monotone there."""

    def operation(x: Ball) -> Ball:
        if x.is_exact() or not x.is_finite():
            return function(x)
        return function(arb(x.abs_lower())).union(function(arb(x.abs_upper())))

    return operation


def _truth(certain: bool, possible: bool) -> Ball:
    if certain:
        return arb(1)
    return arb(0.5, 0.5) if possible else arb(0)


def _lt(x: Ball, y: Ball) -> Ball:
    return _truth(bool(x < y), not x >= y)


def _le(x: Ball, y: Ball) -> Ball:
    return _truth(bool(x <= y), not x > y)


def _select(condition: Ball, one: Ball, other: Ball) -> Ball:
    if condition == 1:
        return one
    return other if condition == 0 else one.union(other)


def _sign(x: Ball) -> Ball:
    if x > 0 or x < 0:
        return arb(1) if x > 0 else arb(-1)
    return arb(0) if x == 0 else arb(0, 1)


def _abs_slope(x: Ball) -> Ball:
    return arb(1) if x > 0 else (arb(-1) if x < 0 else arb(0, 1))


BALL_OPERATIONS: dict[str, Callable[..., Ball]] = {
    "pi": arb.pi,
    "e": arb.const_e,
    "same": lambda x: x,
    "neg": lambda x: -x,
    "add": lambda x, y: x + y,
    "sub": lambda x, y: x - y,
    "mul": lambda x, y: x * y,
    "div": lambda x, y: x / y,
    "sqr": _even(lambda x: x * x),
    "pown": lambda x, n: _by_ends(lambda y: y ** fmpz(n))(x),
    "powr": _powr,
    "sqrt": _sqrt,
    "abs": abs,
    "min": lambda x, y: x.min(y),
    "max": lambda x, y: x.max(y),
    "exp": _by_ends(lambda x: x.exp()),
    "expm1": _by_ends(lambda x: x.expm1()),
    "log": _by_ends(lambda x: x.log()),
    "log1p": _by_ends(lambda x: x.log1p()),
    "tanh": _by_ends(lambda x: x.tanh()),
    "sigmoid": _by_ends(lambda x: 1 / (1 + (-x).exp())),
    "softplus": _by_ends(_softplus),
    "sech2": _even(lambda x: 1 / x.cosh() ** 2),
    "sin": lambda x: x.sin(),
    "cos": lambda x: x.cos(),
    "tan": lambda x: x.tan(),
    "atan": _by_ends(lambda x: x.atan()),
    "sinh": _by_ends(lambda x: x.sinh()),
    "cosh": _even(lambda x: x.cosh()),
    "erf": _by_ends(lambda x: x.erf()),
    "erfc": _by_ends(lambda x: x.erfc()),
    "lt": _lt,
    "le": _le,
    "order": lambda x, y: _truth(bool(x < y), not x > y),
    "not": lambda c: 1 - c,
    "and": lambda c, d: c.min(d),
    "or": lambda c, d: c.max(d),
    "select": _select,
    "sign": _sign,
    "abs_slope": _abs_slope,
}


def outward(ball: Ball) -> tuple[float, float]:
    """Return the tightest pair of binary64 numbers around a ball, (-inf, inf) if not finite."""
    enclosure = Enclosure.from_arb(ball)
    return enclosure.lo_float, enclosure.hi_float


def evaluate(program: Program, needed: Sequence[int], inputs: Sequence[Ball]) -> dict[int, Ball]:
    """Return the balls of the nodes needed, in increasing order, at the working precision."""
    values: dict[int, Ball] = {}
    for index in needed:
        node = program.nodes[index]
        if program.balls[index] is not None:
            values[index] = program.balls[index]
        elif node.operation == "input":
            values[index] = inputs[node.number]
        else:
            number = () if node.number is None else (node.number,)
            arguments = [values[k] for k in node.arguments]
            values[index] = BALL_OPERATIONS[node.operation](*arguments, *number)
    return values


_CHECKS: dict[str, Callable[[Ball], bool]] = {
    "zero_fault": lambda x: not (x > 0 or x < 0),
    "not_positive_fault": lambda x: not x > 0,
    "negative_fault": lambda x: not x >= 0,
    "not_above_minus_one_fault": lambda x: not x > -1,
    "pole_fault": lambda x: not x.tan().is_finite(),
    "possible_fault": lambda c: bool(c.upper() > 0.5),
}


def fails(program: Program, fault: int | None, values: dict[int, Ball]) -> bool:
    """Return whether a fault is not excluded at the values of the nodes."""
    if fault is None:
        return False
    check = program.checks[fault]
    if check.operation == "either":
        return any(fails(program, part, values) for part in check.arguments)
    if check.operation == "select_fault":
        condition = values[check.arguments[0]]
        one, other = (None if k < 0 else k for k in check.arguments[1:])
        return (bool(condition.upper() > 0.5) and fails(program, one, values)) or (
            bool(condition.lower() < 0.5) and fails(program, other, values)
        )
    return _CHECKS[check.operation](values[check.arguments[0]])

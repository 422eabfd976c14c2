"""Formulas as small trees: range over a box, slopes, and the exact sign of algebraic numbers.

`formula` turns a SymPy expression into a tree of the operations that statements may use;
`value` encloses it over a box of intervals, `refined` does so with monotonicity and the mean value
form, and `algebraic_sign` decides the sign of a number made of rationals and roots.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from fractions import Fraction
from functools import lru_cache
from typing import Any

import sympy as sp

from verify import _interval as iv
from verify._interval import DomainFault, Interval
from verify.errors import StatementError

Box = Mapping[sp.Symbol, Interval]
Slopes = dict[sp.Symbol, Interval]

_ZERO = Interval.point(0)
_ONE = Interval.point(1)
_MOST_BITS = 1 << 15
BINARY_DIGITS = 30


@dataclass(frozen=True, slots=True)
class Node:
    """One operation; ``data`` is the number, symbol, constant name or exponent it needs."""

    op: str
    items: tuple[Node, ...] = ()
    data: Any = None


_HEADS = {sp.Add: "add", sp.Mul: "mul", sp.exp: "exp", sp.log: "log", sp.Min: "min",
          sp.Max: "max", sp.Abs: "abs"}  # fmt: skip


@lru_cache(maxsize=1024)
def formula(expression: sp.Expr) -> Node:
    """Return the tree of a SymPy expression.

    Raises:
        StatementError: an inexact number, or an operation that cannot be enclosed.
    """
    if isinstance(expression, sp.Symbol):
        return Node("symbol", data=expression)
    if isinstance(expression, sp.Rational) and expression.is_finite:
        return Node("number", data=Fraction(int(expression.p), int(expression.q)))
    if expression in (sp.pi, sp.E):
        return Node("constant", data="pi" if expression == sp.pi else "e")
    if isinstance(expression, sp.Pow) and not isinstance(expression, sp.exp):
        base, exponent = formula(expression.base), formula(expression.exp)
        if exponent.op == "number":
            return Node("pow", (base,), exponent.data)
        return Node("exp", (Node("mul", (exponent, Node("log", (base,)))),))
    op = _HEADS.get(expression.func)
    if op is None:
        raise StatementError(
            f"decide: expected exact numbers and + - * / powers, exp, log, Min, Max and Abs, "
            f"but got {expression!r}"
        )
    return Node(op, tuple(formula(item) for item in expression.args))


def value(node: Node, box: Box, bits: int) -> Interval:
    """Enclose the formula over the box, operation by operation.

    Raises:
        DomainFault: somewhere in the box the formula may not be a real number.
    """
    if node.op == "symbol":
        return box[node.data]
    if node.op == "number":
        return Interval.point(node.data)
    if node.op == "constant":
        return iv.constant(node.data, bits)
    return _apply(node, [value(item, box, bits) for item in node.items], bits)


def _apply(node: Node, items: list[Interval], bits: int) -> Interval:
    match node.op:
        case "add":
            return _fold(iv.add, items, bits)
        case "mul":
            return _fold(iv.multiply, items, bits)
        case "pow":
            return iv.power(items[0], node.data, bits)
        case "exp":
            return iv.exponential(items[0], bits)
        case "log":
            return iv.logarithm(items[0], bits)
        case "abs":
            return iv.absolute(items[0])
        case "max":
            return iv.maximum(items)
        case _:
            return iv.minimum(items)


def _fold(operation: Any, items: list[Interval], bits: int) -> Interval:
    result = items[0]
    for item in items[1:]:
        result = operation(result, item, bits)
    return result


def slopes(node: Node, box: Box, bits: int) -> tuple[Interval, Slopes]:
    """Return the value and an enclosure of the generalised gradient over the box.

    Min, Max and Abs contribute the hull of the slopes of every branch that may be active, so
    Lebourg's mean value theorem holds. Where a fractional power starts at 0 its slope is unbounded.
    """
    if not node.items:
        own = {node.data: _ONE} if node.op == "symbol" else {}
        return value(node, box, bits), own
    parts = [slopes(item, box, bits) for item in node.items]
    values = [part[0] for part in parts]
    result = _apply(node, values, bits)
    outer = _outer_slopes(node, values, result, bits)
    total: Slopes = {}
    for factor, (_, inner) in zip(outer, parts, strict=True):
        for symbol, slope in inner.items():
            term = iv.multiply(factor, slope, bits)
            total[symbol] = iv.add(total[symbol], term, bits) if symbol in total else term
    if node.op in ("min", "max"):
        total = _branch_slopes(node.op, parts)
    return result, total


def _outer_slopes(node: Node, items: list[Interval], result: Interval, bits: int) -> list[Interval]:
    """Return the partial derivatives of one operation with respect to its operands."""
    match node.op:
        case "mul":
            return [
                _fold(iv.multiply, [_ONE, *items[:k], *items[k + 1 :]], bits)
                for k in range(len(items))
            ]
        case "pow":
            return [_power_slope(items[0], node.data, bits)]
        case "exp":
            return [result]
        case "log":
            return [iv.reciprocal(items[0], bits)]
        case "abs":
            inner = items[0]
            low = Fraction(1 if inner.lo >= 0 else -1)
            high = Fraction(-1 if inner.hi <= 0 else 1)
            return [Interval(min(low, high), max(low, high))]
        case _:
            return [_ONE] * len(items)


def _power_slope(base: Interval, exponent: Fraction, bits: int) -> Interval:
    factor = Interval.point(exponent)
    if exponent > 1 or base.lo != 0 or exponent.denominator == 1:
        return iv.multiply(factor, iv.power(base, exponent - 1, bits), bits)
    if base.hi == 0:
        raise DomainFault
    positive = Interval(base.lo, base.hi, True, base.hi_open)
    return iv.multiply(factor, iv.power(positive, exponent - 1, bits), bits)


def _branch_slopes(op: str, parts: list[tuple[Interval, Slopes]]) -> Slopes:
    """Return the hull over the branches of a Min or Max that may be active."""
    if op == "max":
        bound = max(part[0].lo for part in parts)
        active = [inner for own, inner in parts if own.hi >= bound]
    else:
        bound = min(part[0].hi for part in parts)
        active = [inner for own, inner in parts if own.lo <= bound]
    total: Slopes = {}
    for symbol in {symbol for inner in active for symbol in inner}:
        choices = [inner.get(symbol, _ZERO) for inner in active]
        total[symbol] = Interval(min(x.lo for x in choices), max(x.hi for x in choices))
    return total


def refined(
    node: Node,
    box: Box,
    bits: int,
    sign_at: Callable[[Box], int | None] = lambda box: None,
    *,
    wanted: int = BINARY_DIGITS,
) -> Interval:
    """Enclose the formula over the box: operation by operation, monotonicity, mean value form.

    ``sign_at`` gives the exact sign of the formula at a box of points, or None. Where the sign and
    the ``wanted`` binary digits are known, no further form is tried.
    """
    result = value(node, box, bits)
    if is_narrow(result, wanted):
        return result
    try:
        _, gradient = slopes(node, box, bits)
        low = _extreme(node, box, gradient, bits, sign_at, up=False)
        high = _extreme(node, box, gradient, bits, sign_at, up=True)
        result = result.intersection(Interval(low.lo, high.hi, low.lo_open, high.hi_open))
        return result.intersection(_mean_value(node, box, gradient, bits))
    except DomainFault:  # of a slope: the value itself is real
        return result


def is_narrow(x: Interval, wanted: int) -> bool:
    """Return whether the sign and that many binary digits are known: refining adds little."""
    if not (isinstance(x.lo, Fraction) and isinstance(x.hi, Fraction)):
        return False
    return x.is_point or (x.hi - x.lo) * (1 << wanted) < max(x.lo, -x.hi)


def _extreme(
    node: Node,
    box: Box,
    gradient: Slopes,
    bits: int,
    sign_at: Callable[[Box], int | None],
    *,
    up: bool,
) -> Interval:
    """Evaluate on the face of the box on which a formula monotone in some symbols is extreme."""
    face = dict(box)
    narrowed = True
    while narrowed:
        narrowed = False
        for symbol, slope in gradient.items():
            own = face[symbol]
            if own.is_point or not (slope.lo >= 0 or slope.hi <= 0):
                continue
            end = own.hi if (slope.lo >= 0) == up else own.lo
            if isinstance(end, Fraction):
                face[symbol] = Interval.point(end)
                narrowed = True
        if narrowed and not all(face[symbol].is_point for symbol in gradient):
            _, gradient = slopes(node, face, bits)
    result = value(node, face, bits)
    if result.lo < 0 < result.hi and sign_at(face) == 0:
        return _ZERO
    return result


def _mean_value(node: Node, box: Box, gradient: Slopes, bits: int) -> Interval:
    """Evaluate f(c) + f'(box) (box - c), which is tight on narrow boxes."""
    centre = dict(box) | {symbol: Interval.point(middle(box[symbol])) for symbol in gradient}
    total = value(node, centre, bits)
    for symbol, slope in gradient.items():
        offset = iv.add(box[symbol], iv.negative(centre[symbol]), bits)
        total = iv.add(total, iv.multiply(slope, offset, bits), bits)
    return total


def size(node: Node) -> int:
    """Return the number of operations."""
    return 1 + sum(size(item) for item in node.items)


def symbols_of(node: Node) -> Iterator[sp.Symbol]:
    """Yield the symbols, each as often as it occurs."""
    if node.op == "symbol":
        yield node.data
    for item in node.items:
        yield from symbols_of(item)


def middle(x: Interval) -> Fraction:
    """Return a short number inside the interval, about its middle."""
    lo, hi = x.lo, x.hi
    if isinstance(lo, Fraction) and isinstance(hi, Fraction):
        exact = (lo + hi) / 2
        short = iv.round_down(exact, False, 8)[0]
        return short if isinstance(short, Fraction) and lo <= short <= hi else exact
    if isinstance(lo, Fraction):
        return max(2 * lo, lo + 1)
    return min(2 * hi, hi - 1) if isinstance(hi, Fraction) else Fraction(0)


def algebraic_sign(node: Node, box: Box) -> int | None:
    """Return the exact sign at a box of points, or None if it is transcendental or too long.

    Write the number as U/L, where U and L are algebraic integers all of whose conjugates have
    modulus <= u and <= l (`_conjugates`). Their field has degree at most D, the product of the
    orders of the roots. If U is not 0, its norm is an integer other than 0, so |U| >= u^(1-D) and
    |U/L| >= u^(1-D) / l. A ball below that bound that contains 0 is 0.

    Raises:
        DomainFault: the formula may not be a real number at the point.
    """
    try:
        u, below = _conjugates(node, box)
    except _TranscendentalError:
        return None
    gap = u * (_degree(_roots(node)) - 1) + below  # bits
    if gap > _MOST_BITS:
        return None
    bits = 64
    while bits <= 16 * (gap + 64):
        own = value(node, box, bits)
        if own.lo > 0 or own.hi < 0:
            return 1 if own.lo > 0 else -1
        if own.is_point or max(-own.lo, own.hi) < Fraction(1, 1 << gap):
            return 0
        bits *= 4
    return None


class _TranscendentalError(Exception):
    pass


def _roots(node: Node) -> dict[Node, int]:
    found = {node: node.data.denominator} if node.op == "pow" and node.data.denominator > 1 else {}
    for item in node.items:
        found |= _roots(item)
    return found


def _degree(roots: dict[Node, int]) -> int:
    product = 1
    for order in roots.values():
        product *= order
    return product


def _conjugates(node: Node, box: Box) -> tuple[int, int]:
    """Bounds log2 u and log2 l (integers >= 0) for the numerator and denominator of a number."""
    if node.op in ("number", "symbol"):
        exact = Fraction(node.data if node.op == "number" else box[node.data].lo)
        return abs(exact.numerator).bit_length(), (exact.denominator - 1).bit_length()
    if node.op in ("constant", "exp", "log"):
        raise _TranscendentalError
    parts = [_conjugates(item, box) for item in node.items]
    if node.op == "add":
        below = sum(part[1] for part in parts)
        return max(u + below - own for u, own in parts) + (len(parts) - 1).bit_length(), below
    if node.op == "mul":
        return sum(part[0] for part in parts), sum(part[1] for part in parts)
    if node.op in ("min", "max", "abs"):
        return max(part[0] for part in parts), max(part[1] for part in parts)
    (u, below), p, q = parts[0], abs(node.data.numerator), node.data.denominator
    if node.data < 0:
        u, below = below, u
    u, below = p * u, p * below
    # (U/L)^(1/q) = (U L^(q-1))^(1/q) / L
    return -(-(u + (q - 1) * below) // q), below

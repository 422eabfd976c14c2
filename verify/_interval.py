"""Interval arithmetic with rational ends that are open or closed, exact where that is cheap.

An `Interval` is a set of real numbers. Its ends are `Fraction`s or infinities, each open (not
attained) or closed. Sums, products, powers and roots round outward to ``bits`` significant bits
only when an exact end would be longer than ``4 * bits`` bits; exp, log and the constants come from
python-flint's balls. So ``q <= 1`` at an upper end of exactly 1 is decided, and ``1/q > 0`` for
unbounded q > 0 is too.

Claiming "open" for an end that is attained would be unsound, the converse only costs width.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from fractions import Fraction
from functools import lru_cache
from typing import Any

from flint import arb, ctx, fmpq, fmpz

from verify.enclosure import Enclosure

INF = math.inf
End = tuple[Fraction | float, bool]  # value, open

_CAP = 1 << 19  # numbers beyond 2^(+-_CAP) are rounded outward to this power, 0 or infinity


class DomainFault(Exception):  # noqa: N818 - control flow, not an error
    """An operation that need not be a real number: log of 0, division by 0, root of -1."""


@dataclass(frozen=True, slots=True)
class Interval:
    """Real numbers between lo and hi; an end that is open is not one of them."""

    lo: Fraction | float
    hi: Fraction | float
    lo_open: bool = False
    hi_open: bool = False

    @classmethod
    def point(cls, value: int | Fraction) -> Interval:
        """Return the set of one rational number."""
        return cls(Fraction(value), Fraction(value))

    @classmethod
    def of(cls, enclosure: Enclosure) -> Interval:
        """Return the real numbers of an enclosure; infinite ends are open."""
        lo, hi = enclosure.lo, enclosure.hi
        return cls(lo, hi, isinstance(lo, float), isinstance(hi, float))

    def enclosure(self) -> Enclosure:
        """Return the closed hull, rational ends rounded outward to dyadic ones."""
        return Enclosure.outward(self.lo, self.hi)

    @property
    def is_point(self) -> bool:
        """Whether this is one number."""
        return self.lo == self.hi

    def precedes(self, other: Interval) -> bool:
        """Return whether x < y for every x here and every y there."""
        return self.hi < other.lo or (self.hi == other.lo and (self.hi_open or other.lo_open))

    def not_after(self, other: Interval) -> bool:
        """Return whether x <= y for every x here and every y there."""
        return self.hi <= other.lo

    def intersection(self, other: Interval) -> Interval:
        """Return the common part of two sets that both contain the same number."""
        lo, lo_open = max(_ends(self, other, low=True))
        hi, hi_open = min(
            ((value, not is_open) for value, is_open in _ends(self, other, low=False))
        )
        return Interval(lo, hi, lo_open, not hi_open)


_ONE = Interval(Fraction(1), Fraction(1))


def _ends(*intervals: Interval, low: bool) -> list[End]:
    return [(x.lo, x.lo_open) if low else (x.hi, x.hi_open) for x in intervals]


def _outer(low: Iterable[End], high: Iterable[End], bits: int) -> Interval:
    """Return the hull of candidate ends; an end is open only if every candidate there is."""
    lo, lo_open = min(low)  # False < True: a closed candidate wins a tie
    hi, hi_closed = max((value, not is_open) for value, is_open in high)
    lo, lo_open = round_down(lo, lo_open, bits)
    hi, hi_open = round_up(hi, not hi_closed, bits)
    return Interval(lo, hi, lo_open, hi_open)


def round_down(value: Fraction | float, is_open: bool, bits: int) -> End:
    """Return a lower end <= value of at most ``bits`` bits if value is longer than 4 * bits."""
    if isinstance(value, float):
        return value, True
    n, d = value.numerator, value.denominator
    if n.bit_length() + d.bit_length() <= 4 * bits:
        return value, is_open
    size = n.bit_length() - d.bit_length()
    if size > _CAP:
        return (Fraction(1 << _CAP), True) if n > 0 else (-INF, True)
    if size < -_CAP:
        return (Fraction(0), True) if n > 0 else (Fraction(-1, 1 << _CAP), True)
    shift = bits - size
    rounded = _shifted(((n << shift) if shift >= 0 else (n >> -shift)) // d, -shift)
    return rounded, is_open or rounded != value


def round_up(value: Fraction | float, is_open: bool, bits: int) -> End:
    """Return an upper end >= value, as `round_down`."""
    rounded, is_open = round_down(-value, is_open, bits)
    return -rounded, is_open


def _shifted(mantissa: int, exponent: int) -> Fraction:
    return Fraction(mantissa << exponent) if exponent >= 0 else Fraction(mantissa, 1 << -exponent)


def negative(x: Interval) -> Interval:
    """Return -x."""
    return Interval(-x.hi, -x.lo, x.hi_open, x.lo_open)


def add(x: Interval, y: Interval, bits: int) -> Interval:
    """Return x + y."""
    low = _plus(x.lo, y.lo), x.lo_open or y.lo_open
    high = _plus(x.hi, y.hi), x.hi_open or y.hi_open
    return _outer([low], [high], bits)


def _plus(a: Fraction | float, b: Fraction | float) -> Fraction | float:
    if isinstance(a, float):  # a Fraction is never mixed with a float: it may overflow
        return a
    return b if isinstance(b, float) else a + b


def multiply(x: Interval, y: Interval, bits: int) -> Interval:
    """Return x y; an extremum of the product lies at a corner, or is 0 along an edge."""
    if x == _ONE or y == _ONE:
        return y if x == _ONE else x
    if x.lo >= 0 and y.lo >= 0:
        return _outer(
            [_product((x.lo, x.lo_open), (y.lo, y.lo_open))],
            [_product((x.hi, x.hi_open), (y.hi, y.hi_open))],
            bits,
        )
    corners = [
        _product(a, b)
        for a in ((x.lo, x.lo_open), (x.hi, x.hi_open))
        for b in ((y.lo, y.lo_open), (y.hi, y.hi_open))
    ]
    return _outer(corners, corners, bits)


def _product(a: End, b: End) -> End:
    if a[0] == 0 or b[0] == 0:  # also 0 times an infinite end: the edge at 0
        return Fraction(0), not ((a[0] == 0 and not a[1]) or (b[0] == 0 and not b[1]))
    return _times(a[0], b[0]), a[1] or b[1]


def _times(a: Fraction | float, b: Fraction | float) -> Fraction | float:
    if isinstance(a, float) or isinstance(b, float):
        return INF if (a > 0) == (b > 0) else -INF
    return a * b


def reciprocal(x: Interval, bits: int) -> Interval:
    """Return 1 / x, or raise `DomainFault` if 0 may be in x."""
    if x.hi < 0 or (x.hi == 0 and x.hi_open):
        return negative(reciprocal(negative(x), bits))
    if x.lo < 0 or (x.lo == 0 and not x.lo_open):
        raise DomainFault
    return _outer([_inverse((x.hi, x.hi_open))], [_inverse((x.lo, x.lo_open))], bits)


def _inverse(end: End) -> End:
    value, is_open = end
    if isinstance(value, float):
        return Fraction(0), True
    return (INF, True) if value == 0 else (1 / value, is_open)


def absolute(x: Interval) -> Interval:
    """Return |x|."""
    if x.lo >= 0:
        return x
    if x.hi <= 0:
        return negative(x)
    hi, closed = max((-x.lo, not x.lo_open), (x.hi, not x.hi_open))
    return Interval(Fraction(0), hi, False, not closed)


def maximum(items: list[Interval]) -> Interval:
    """Return the larger of the numbers."""
    lo, lo_open = max(_ends(*items, low=True))  # open wins: max(x, y) >= x > lo
    hi, hi_closed = max((value, not is_open) for value, is_open in _ends(*items, low=False))
    return Interval(lo, hi, lo_open, not hi_closed)


def minimum(items: list[Interval]) -> Interval:
    """Return the smaller of the numbers."""
    return negative(maximum([negative(item) for item in items]))


def power(x: Interval, exponent: Fraction, bits: int) -> Interval:
    """Return x^exponent, or raise `DomainFault`; a fractional power needs x >= 0."""
    if exponent < 0:
        return reciprocal(power(x, -exponent, bits), bits)
    p, q = exponent.numerator, exponent.denominator
    if q == 1 and p % 2 and x.lo < 0:
        lo = _power_end((-x.lo, x.lo_open), p, 1, bits, up=True)
        hi = (
            _power_end((x.hi, x.hi_open), p, 1, bits, up=True)
            if x.hi >= 0
            else _negative_end(_power_end((-x.hi, x.hi_open), p, 1, bits, up=False))
        )
        return Interval(-lo[0], hi[0], lo[1], hi[1])
    if q == 1:
        x = absolute(x)
    if x.lo < 0:
        raise DomainFault
    lo = _power_end((x.lo, x.lo_open), p, q, bits, up=False)
    hi = _power_end((x.hi, x.hi_open), p, q, bits, up=True)
    return Interval(lo[0], hi[0], lo[1], hi[1])


def _negative_end(end: End) -> End:
    return -end[0], end[1]


def _power_end(end: End, p: int, q: int, bits: int, *, up: bool) -> End:
    """Return an outward end of value^(p/q), value >= 0, p >= 0, by squaring and an integer root."""
    rounding = round_up if up else round_down
    value, is_open = end
    if p == 0:
        return Fraction(1), False
    if isinstance(value, float):
        return value, True
    result: End = (Fraction(1), False)
    base: End = (value, is_open)
    while p:
        if p & 1:
            result = rounding(_times(result[0], base[0]), result[1] or base[1], bits)
        p >>= 1
        if p:
            base = rounding(_times(base[0], base[0]), base[1], bits)
    return result if q == 1 else _root_end(result, q, bits, up=up)


def _root_end(end: End, q: int, bits: int, *, up: bool) -> End:
    """Return an outward end of the q-th root of value >= 0, exact if it is rational."""
    value, is_open = end
    if isinstance(value, float):
        return value, True
    n, d = int(fmpz(value.numerator).root(q)), int(fmpz(value.denominator).root(q))
    if n**q == value.numerator and d**q == value.denominator:
        return Fraction(n, d), is_open
    size = (value.numerator.bit_length() - value.denominator.bit_length()) // q
    shift = max(bits - size, 0)
    root = int(fmpz((value.numerator << (q * shift)) // value.denominator).root(q))
    return _shifted(root + up, -shift), True  # an irrational number lies strictly between


@contextmanager
def _precision(bits: int) -> Iterator[None]:
    before = ctx.prec
    ctx.prec = bits
    try:
        yield
    finally:
        ctx.prec = before


@lru_cache(maxsize=64)
def constant(name: str, bits: int) -> Interval:
    """Return an enclosure of pi or e."""
    with _precision(bits):
        return Interval.of(Enclosure.from_arb(arb.pi() if name == "pi" else arb.const_e()))


def exponential(x: Interval, bits: int) -> Interval:
    """Return exp(x)."""
    return Interval(*_monotone(x, _exp_ball, bits))


def logarithm(x: Interval, bits: int) -> Interval:
    """Return log(x), or raise `DomainFault` if a number <= 0 may be in x."""
    if x.lo < 0 or (x.lo == 0 and not x.lo_open):
        raise DomainFault
    return Interval(*_monotone(x, _log_ball, bits))


def _monotone(
    x: Interval, ball: Callable[[Fraction | float], Interval], bits: int
) -> tuple[Fraction | float, Fraction | float, bool, bool]:
    with _precision(bits):
        low, high = ball(x.lo), ball(x.hi)
    return low.lo, high.hi, low.lo_open or x.lo_open, high.hi_open or x.hi_open


def _ball(value: Fraction) -> Any:
    return arb(fmpq(value.numerator, value.denominator))


def _exp_ball(value: Fraction | float) -> Interval:
    if value > _CAP:  # e^x > 2^x
        return Interval(Fraction(1 << _CAP), INF, True, True)
    if value < -_CAP:
        return Interval(Fraction(0), Fraction(1, 1 << _CAP), True, True)
    return Interval.of(Enclosure.from_arb(_ball(Fraction(value)).exp()))


def _log_ball(value: Fraction | float) -> Interval:
    if isinstance(value, float):
        return Interval(Fraction(0), INF, True, True)
    if value == 0:
        return Interval(-INF, Fraction(0), True, True)
    return Interval.of(Enclosure.from_arb(_ball(value).log()))

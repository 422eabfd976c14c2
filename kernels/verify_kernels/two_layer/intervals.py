"""Vectors of intervals of numbers >= 0: rational ones for small data, float ones for large."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import numpy as np

from verify.enclosure import Enclosure
from verify.errors import InputError
from verify_kernels._rounding import (
    MAX,
    down,
    down_array,
    exact_number,
    float_down,
    float_up,
    up,
    up_array,
)

ROOT_BITS = 128
_MODERATE = 150  # binary exponents kept in float vectors, so that a product of two is in range


@dataclass(frozen=True, eq=False)
class Intervals:
    """Numbers 2^exponent v_i with 0 <= lo_i <= v_i <= hi_i; hi may be +inf.

    Arrays of dtype object hold Fractions (exponent 0), and every operation is exact but for
    roots, which are rounded outward to 128 bits. Float64 arrays are stepped outward after every
    operation, and the exponent keeps them away from the ends of the range.

    Raises:
        InputError: other shapes, an interval that is empty or reaches below 0.
    """

    lo: Any
    hi: Any
    exponent: int = 0

    def __post_init__(self) -> None:
        lo, hi = exact_vector(self.lo), exact_vector(self.hi)
        if object in (lo.dtype, hi.dtype) and lo.dtype != hi.dtype:
            lo, hi = (rational([exact_number(value) for value in part]) for part in (lo, hi))
        if lo.ndim != 1 or lo.shape != hi.shape:
            raise InputError(f"Intervals: expected two vectors, but got {lo.shape}, {hi.shape}")
        if not ((lo >= 0).all() and (lo <= hi).all()):
            raise InputError("Intervals: expected 0 <= lo <= hi, but got others")
        if lo.dtype != object:
            lo, hi, moved = _moderated(lo, hi)
            object.__setattr__(self, "exponent", self.exponent + moved)
        object.__setattr__(self, "lo", lo)
        object.__setattr__(self, "hi", hi)

    @property
    def is_rational(self) -> bool:
        """Whether the bounds are Fractions."""
        return bool(self.lo.dtype == object)

    def __len__(self) -> int:
        return len(self.lo)

    def __mul__(self, other: Intervals) -> Intervals:
        one, two = _alike(self, other)
        if one.is_rational:
            return Intervals(one.lo * two.lo, one.hi * two.hi)
        with np.errstate(all="ignore"):
            lo, hi = one.lo * two.lo, one.hi * two.hi
            zero = (one.hi == 0.0) | (two.hi == 0.0)
            lo = np.where(zero | np.isnan(lo), 0.0, down_array(lo))
            hi = np.where(zero, 0.0, up_array(hi))
        return Intervals(np.maximum(lo, 0.0), hi, one.exponent + two.exponent)

    def __add__(self, other: Intervals) -> Intervals:
        one, two = _alike(self, other)
        if one.is_rational:
            return Intervals(one.lo + two.lo, one.hi + two.hi)
        exponent = max(one.exponent, two.exponent)
        one, two = one._at(exponent), two._at(exponent)
        with np.errstate(all="ignore"):
            lo, hi = one.lo + two.lo, one.hi + two.hi
        none = (one.hi == 0.0) | (two.hi == 0.0)  # then the sum is exact
        lo = np.where(none, lo, np.maximum(down_array(lo), 0.0))
        return Intervals(lo, np.where(none, hi, up_array(hi)), exponent)

    def scaled(self, factor: Enclosure) -> Intervals:
        """Multiply by a number >= 0."""
        return self * constant(factor, len(self), like=self)

    def shifted(self, shift: Enclosure) -> Intervals:
        """Add a number >= 0."""
        return self + constant(shift, len(self), like=self)

    def root(self) -> Intervals:
        """Return the square roots."""
        if self.is_rational:
            lo = rational([root_below(value) for value in self.lo])
            return Intervals(lo, rational([root_above(value) for value in self.hi]))
        even = self._at(self.exponent + self.exponent % 2)
        lo, hi = np.sqrt(even.lo), np.sqrt(even.hi)
        lo = np.maximum(down_array(lo), 0.0)
        return Intervals(lo, np.where(hi == 0.0, 0.0, up_array(hi)), even.exponent // 2)

    def floats(self) -> Intervals:
        """Return float bounds."""
        if not self.is_rational:
            return self
        finite = [value for value in self.hi.tolist() if isinstance(value, Fraction)]
        top = max(finite, default=Fraction(0))
        exponent = _binary_exponent(top) if top else 0
        unit = Fraction(2) ** -exponent
        lo = np.array([max(0.0, float_down(value * unit)) for value in self.lo], dtype=np.float64)
        hi = np.array(
            [float_up(value * unit) if isinstance(value, Fraction) else value for value in self.hi],
            dtype=np.float64,
        )
        return Intervals(lo, hi, exponent)

    def bounds(self) -> tuple[Any, Any]:
        """Return the two vectors themselves, without an exponent: (lo, hi)."""
        if self.is_rational or self.exponent == 0:
            return self.lo, self.hi
        return _shifted(self.lo, self.exponent, up=False), _shifted(self.hi, self.exponent, up=True)

    def mean(self) -> Enclosure:
        """Enclose the mean; float sums are correctly rounded and stepped.

        Raises:
            InputError: there is no number.
        """
        count = len(self)
        if count == 0:
            raise InputError("Intervals: expected at least one number for a mean, but got none")
        if self.is_rational:
            return Enclosure.outward(sum(self.lo) / count, sum(self.hi) / count)
        unit = Fraction(2) ** self.exponent / count
        lo, hi = _float_sum(self.lo, above=False), _float_sum(self.hi, above=True)
        top = Fraction(hi) * unit if math.isfinite(hi) else hi
        return Enclosure.outward(Fraction(lo) * unit, top)

    def maximum(self) -> Enclosure:
        """Enclose the largest number; of none it is 0."""
        if len(self) == 0:
            return Enclosure.exact(0)
        lo, hi = max(self.lo.tolist()), max(self.hi.tolist())
        unit = Fraction(2) ** self.exponent
        if isinstance(hi, float) and math.isinf(hi):
            return Enclosure.outward(Fraction(min(lo, MAX)) * unit, hi)
        return Enclosure.outward(Fraction(lo) * unit, Fraction(hi) * unit)

    def _at(self, exponent: int) -> Intervals:
        """Write float bounds with another, larger exponent."""
        if exponent == self.exponent:
            return self
        move = self.exponent - exponent
        lo, hi = _shifted(self.lo, move, up=False), _shifted(self.hi, move, up=True)
        found = object.__new__(Intervals)
        object.__setattr__(found, "lo", lo)
        object.__setattr__(found, "hi", hi)
        object.__setattr__(found, "exponent", exponent)
        return found


def constant(value: Enclosure, count: int, *, like: Intervals) -> Intervals:
    """Repeat a number >= 0; what reaches below 0 in the enclosure is cut.

    Raises:
        InputError: the number is negative.
    """
    if value.hi < 0:
        raise InputError(f"Intervals: expected a number >= 0, but got at most {value.hi!r}")
    lo = max(value.lo, Fraction(0))
    one = Intervals(rational([lo]), rational([value.hi]))
    if not (like.is_rational and value.is_bounded):
        one = one.floats()
    return Intervals(np.repeat(one.lo, count), np.repeat(one.hi, count), one.exponent)


def exact_vector(values: Any) -> Any:
    """Return a vector as float64 or as Fractions (dtype object), without rounding.

    Raises:
        InputError: a type that is neither.
    """
    given = np.asarray(values)
    if given.dtype in (np.float16, np.float32, np.float64):
        return given.astype(np.float64)
    if given.dtype.kind in "iubO" and given.ndim == 1:
        return rational([exact_number(value) for value in given])
    raise InputError(f"Intervals: expected vectors of floats or fractions, but got {given.dtype}")


def rational(values: list[Any]) -> Any:
    """Return a vector of dtype object."""
    found = np.empty(len(values), dtype=object)
    found[:] = values
    return found


def root_below(value: Fraction) -> Fraction:
    """Return a dyadic number <= the root of a rational number >= 0, to 128 bits or exact."""
    return _root(value)[0]


def root_above(value: Fraction | float) -> Fraction | float:
    """Return a dyadic number >= the root of a number >= 0, to 128 bits or exact."""
    return value if isinstance(value, float) else _root(value)[1]


def _root(value: Fraction) -> tuple[Fraction, Fraction]:
    if value == 0:
        return Fraction(0), Fraction(0)
    half = ROOT_BITS - _binary_exponent(value) // 2
    square = value * Fraction(4) ** half
    whole = math.isqrt(square.numerator // square.denominator)
    unit = Fraction(2) ** -half
    low = whole * unit
    return low, low if low * low == value else (whole + 1) * unit


def _binary_exponent(value: Fraction) -> int:
    return value.numerator.bit_length() - value.denominator.bit_length()


def _alike(one: Intervals, two: Intervals) -> tuple[Intervals, Intervals]:
    if len(one) != len(two):
        raise InputError(f"Intervals: expected equal lengths, but got {len(one)} and {len(two)}")
    if one.is_rational and two.is_rational:
        return one, two
    return one.floats(), two.floats()


def _moderated(lo: Any, hi: Any) -> tuple[Any, Any, int]:
    """Divide by a power of two if the largest number is very large or very small."""
    finite = hi[np.isfinite(hi)]
    top = float(max(finite.max(initial=0.0), lo[np.isfinite(lo)].max(initial=0.0)))
    exponent = math.frexp(top)[1]
    if abs(exponent) <= _MODERATE:
        return lo, hi, 0
    return _shifted(lo, -exponent, up=False), _shifted(hi, -exponent, up=True), exponent


def _shifted(values: Any, exponent: int, *, up: bool) -> Any:
    """Multiply by 2^exponent, stepping outward where that rounds."""
    outward: Callable[[Any], Any] = up_array if up else down_array
    with np.errstate(all="ignore"):
        scaled = np.ldexp(values, exponent)
        exact = np.ldexp(scaled, -exponent) == values
        moved = np.where(exact, scaled, outward(scaled))
    return moved if up else np.maximum(moved, 0.0)


def _float_sum(values: Any, *, above: bool) -> float:
    """Bound the sum of numbers >= 0; ``math.fsum`` rounds the exact sum once."""
    try:
        total = math.fsum(values)
    except OverflowError:
        return math.inf if above else MAX
    if math.isinf(total):
        return math.inf if above else MAX
    if total == 0.0:
        return 0.0
    return up(total) if above else max(0.0, down(total))

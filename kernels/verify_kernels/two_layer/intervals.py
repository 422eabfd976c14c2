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
from verify_kernels._rounding import down, down_array, float_down, float_up, up, up_array

ROOT_BITS = 128


@dataclass(frozen=True, eq=False)
class Intervals:
    """Numbers v_i with 0 <= lo_i <= v_i <= hi_i, hi may be +inf.

    Arrays of dtype object hold Fractions, and every operation is exact but for roots, which are
    rounded outward to 128 bits; float64 arrays are stepped outward after every operation.

    Raises:
        InputError: other shapes, an interval that is empty or reaches below 0.
    """

    lo: Any
    hi: Any

    def __post_init__(self) -> None:
        lo, hi = np.asarray(self.lo), np.asarray(self.hi)
        if lo.dtype != object or hi.dtype != object:
            lo, hi = lo.astype(np.float64), hi.astype(np.float64)
        if lo.ndim != 1 or lo.shape != hi.shape:
            raise InputError(f"Intervals: expected two vectors, but got {lo.shape}, {hi.shape}")
        if not ((lo >= 0).all() and (lo <= hi).all()):
            raise InputError("Intervals: expected 0 <= lo <= hi, but got others")
        object.__setattr__(self, "lo", lo)
        object.__setattr__(self, "hi", hi)

    @property
    def is_rational(self) -> bool:
        """Whether the bounds are Fractions."""
        return bool(self.lo.dtype == object)

    def __len__(self) -> int:
        return len(self.lo)

    def __add__(self, other: Intervals) -> Intervals:
        return self._combine(other, lambda a, b: a + b)

    def __mul__(self, other: Intervals) -> Intervals:
        return self._combine(other, lambda a, b: a * b)

    def _combine(self, other: Intervals, rule: Callable[[Any, Any], Any]) -> Intervals:
        """Apply an operation that increases in both arguments >= 0."""
        one, two = self, other
        if one.is_rational != two.is_rational:
            one, two = one.floats(), two.floats()
        with np.errstate(all="ignore"):
            lo, hi = rule(one.lo, two.lo), rule(one.hi, two.hi)
            if one.is_rational:
                return Intervals(lo, hi)
            # inf - inf and 0 * inf cannot be told: up_array makes them +inf
            return Intervals(np.maximum(down_array(np.minimum(lo, hi)), 0.0), up_array(hi))

    def root(self) -> Intervals:
        """Return the square roots."""
        if self.is_rational:
            lo = [root_below(value) for value in self.lo]
            hi = [root_above(value) for value in self.hi]
            return Intervals(_rational(lo), _rational(hi))
        lo, hi = np.sqrt(self.lo), np.sqrt(self.hi)
        return Intervals(np.maximum(down_array(lo), 0.0), np.where(hi == 0.0, 0.0, up_array(hi)))

    def floats(self) -> Intervals:
        """Return float bounds."""
        if not self.is_rational:
            return self
        lo = np.array([max(0.0, float_down(value)) for value in self.lo], dtype=np.float64)
        return Intervals(lo, np.array([float_up(value) for value in self.hi], dtype=np.float64))

    def mean(self) -> Enclosure:
        """Enclose the mean.

        Raises:
            InputError: there is no number.
        """
        count = len(self)
        if count == 0:
            raise InputError("Intervals: expected at least one number for a mean, but got none")
        if self.is_rational:
            return Enclosure.outward(sum(self.lo) / count, sum(self.hi) / count)
        lo, hi = _float_sum(self.lo, up=False), _float_sum(self.hi, up=True)
        top = Fraction(hi) / count if math.isfinite(hi) else hi
        return Enclosure.outward(Fraction(lo) / count, top)

    def maximum(self) -> Enclosure:
        """Enclose the largest number; of none it is 0."""
        if len(self) == 0:
            return Enclosure.exact(0)
        lo, hi = max(self.lo.tolist()), max(self.hi.tolist())
        return Enclosure.outward(lo, hi)


def _rational(values: list[Any]) -> Any:
    found = np.empty(len(values), dtype=object)
    found[:] = values
    return found


def _float_sum(values: Any, *, up: bool) -> float:
    """Bound the sum of numbers >= 0; ``math.fsum`` rounds the exact sum once."""
    try:
        total = math.fsum(values)
    except OverflowError:
        return math.inf if up else float.fromhex("0x1.fffffffffffffp+1023")
    if total == 0.0:
        return 0.0
    return _step_up(total) if up else max(0.0, down(total))


def _step_up(value: float) -> float:
    return up(value)


def root_below(value: Fraction) -> Fraction:
    """Return a dyadic number <= the root of a rational number >= 0, to 128 bits or exact."""
    return _root(value)[0]


def root_above(value: Fraction | float) -> Fraction | float:
    """Return a dyadic number >= the root of a number >= 0, to 128 bits or exact."""
    return value if isinstance(value, float) else _root(value)[1]


def _root(value: Fraction) -> tuple[Fraction, Fraction]:
    if value == 0:
        return Fraction(0), Fraction(0)
    size = value.numerator.bit_length() - value.denominator.bit_length()
    half = ROOT_BITS - size // 2
    square = value * Fraction(4) ** half
    whole = math.isqrt(square.numerator // square.denominator)
    unit = Fraction(2) ** -half
    low = whole * unit
    return low, low if low * low == value else (whole + 1) * unit

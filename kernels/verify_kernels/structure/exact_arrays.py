"""Exact rational arrays: numbers over one common denominator, in the cheapest exact type."""

from __future__ import annotations

import math
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import numpy as np

Array = Any
# Integers below 2^62 in absolute value are kept in 64 bits; sums of two still fit.
_SMALL = 2**62
# Python integers are some fifty times slower and larger than machine integers.
MAX_OBJECTS = 4_000_000
# float64 has 2,098 binary places; more bits than this come from products only.
MAX_BITS = 20_000
MAX_TOTAL_BITS = 2_000_000_000


class TooLargeError(Exception):
    """An exact evaluation would need more memory or time than it is given; the text says why."""


@dataclass(frozen=True, eq=False)
class ExactArray:
    """``numbers / denominator``, entry by entry, for samples along axis 0 (one row: the same).

    Args:
        numbers: float64 (each the dyadic number that it is, no -0.0), int64, or Python integers.
        denominator: positive and common to all entries.
    """

    numbers: Array
    denominator: Fraction = Fraction(1)

    @property
    def shape(self) -> tuple[int, ...]:
        """The shape with the axis of samples."""
        return tuple(self.numbers.shape)

    def moved(self, numbers: Array) -> ExactArray:
        """Return other entries of the same kind over the same denominator."""
        return ExactArray(numbers, self.denominator)

    def integers(self) -> ExactArray:
        """Return the same values with whole numbers.

        Raises:
            TooLargeError: too many of them, or too long.
        """
        if self.numbers.dtype != np.float64:
            return self
        whole, shift = _dyadic(self.numbers)
        return ExactArray(whole, self.denominator * Fraction(2) ** shift)

    def fractions(self) -> Array:
        """Return an object array of `Fraction`s."""
        exact = self.integers()
        flat = [Fraction(int(k)) / exact.denominator for k in exact.numbers.ravel()]
        found = np.empty(len(flat), dtype=object)
        found[:] = flat
        return found.reshape(self.shape)


def largest(numbers: Array) -> int:
    """Return the largest absolute value of whole numbers."""
    if numbers.size == 0:
        return 0
    return max(abs(int(numbers.max())), abs(int(numbers.min())))


def fitted(numbers: Array, bound: int) -> Array:
    """Return whole numbers in a type in which results up to ``bound`` do not overflow.

    Raises:
        TooLargeError: Python integers would be needed for too many entries, or too long ones.
    """
    if numbers.dtype == object:
        # A product with zero is small, and its factors need not be.
        bound = max(bound, largest(numbers))
    if bound < _SMALL:
        return numbers if numbers.dtype != object else numbers.astype(np.int64)
    check_size(numbers.size, bound.bit_length())
    return numbers.astype(object)


def check_size(count: int, bits: int) -> None:
    """Refuse Python integers that would fill memory.

    Raises:
        TooLargeError: too many, or too long.
    """
    if count > MAX_OBJECTS or bits > MAX_BITS or count * bits > MAX_TOTAL_BITS:
        raise TooLargeError(f"{count} exact integers of up to {bits} bits")


def scaled(given: ExactArray, factor: Fraction) -> ExactArray:
    """Return the array times a rational number."""
    exact = given.integers()
    numbers = times(exact.numbers, factor.numerator)
    return ExactArray(numbers, exact.denominator * factor.denominator)


def over(given: ExactArray, denominator: Fraction) -> Array:
    """Return the whole numbers over a multiple of the array's denominator."""
    exact = given.integers()
    return times(exact.numbers, (denominator / exact.denominator).numerator)


def times(numbers: Array, by: int) -> Array:
    """Return whole numbers times a whole number, which may be longer than 64 bits."""
    # Zeros fit into 64 bits, and the factor need not.
    return fitted(numbers, max(1, largest(numbers)) * abs(by)) * by


def common_denominator(arrays: list[ExactArray]) -> Fraction:
    """Return the least number of which all denominators are divisors (as rationals)."""
    found = Fraction(0)
    for each in arrays:
        q = each.integers().denominator
        found = q if found == 0 else Fraction(
            math.lcm(found.numerator, q.numerator), math.gcd(found.denominator, q.denominator)
        )  # fmt: skip
    return found


def exact_of(values: Array, divisor: Fraction = Fraction(1)) -> ExactArray:
    """Return float64 values over a positive divisor; -0.0 becomes +0.0."""
    given = np.asarray(values, dtype=np.float64)
    negative_zero = bool((np.signbit(given) & (given == 0)).any())
    # Adding 0.0 turns -0.0 into +0.0; data without it are not copied.
    return ExactArray(given + 0.0 if negative_zero else given, divisor)


def whole(values: Array) -> tuple[Array, Fraction]:
    """Return a stored float64 tensor as whole numbers over a power of two."""
    numbers, shift = _dyadic(np.asarray(values, dtype=np.float64))
    return numbers, Fraction(2) ** shift


def _dyadic(values: Array) -> tuple[Array, int]:
    """Return (integers, k) with values = integers / 2^k, k as small as possible."""
    mantissas, exponents = np.frexp(values)
    parts = np.ldexp(mantissas, 53).astype(np.int64)
    present = parts != 0
    if not present.any():
        return np.zeros(values.shape, dtype=np.int64), 0
    low = parts & -parts
    trailing = np.zeros(values.shape, dtype=np.int64)
    trailing[present] = np.frexp(low[present].astype(np.float64))[1] - 1
    exponents = exponents.astype(np.int64) - 53 + trailing
    parts >>= trailing
    shift = -int(exponents[present].min())
    lift = np.where(present, exponents + shift, 0)
    bits = int(np.frexp(np.abs(values[present]).max())[1]) + shift
    if bits < 62:
        return parts << lift, shift
    check_size(values.size, bits)
    found = np.empty(values.size, dtype=object)
    found[:] = [int(p) << int(k) for p, k in zip(parts.ravel(), lift.ravel(), strict=True)]
    return found.reshape(values.shape), shift

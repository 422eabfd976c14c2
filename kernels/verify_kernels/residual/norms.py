"""Euclidean norms of vectors of which every entry is enclosed, for numbers of any size."""

from __future__ import annotations

import math
from collections.abc import Sequence
from fractions import Fraction
from typing import Any

import numpy as np
from flint import arb, fmpq

from verify.enclosure import Enclosure
from verify_kernels._rounding import Array, down_array, norm_down, norm_up, up_array
from verify_kernels.two_layer.balls import precision

ROOT_BITS = 192


def exponent(top: float) -> int:
    """Return k with 1/2 <= 2^k top < 1, 0 for top = 0."""
    return -math.frexp(top)[1] if top else 0


def power(k: int) -> Fraction:
    """Return 2^k."""
    return Fraction(2) ** k


@np.errstate(all="ignore")
def box_norm(mid: Array, rad: Array) -> Enclosure:
    """Enclose ||x|| over all x with |x - mid| <= rad, from both ends of |x|.

    The least norm is that of max(|mid| - rad, 0), the largest that of |mid| + rad. Both are scaled
    by a power of two first, so that squares neither overflow nor vanish.

    Args:
        mid: finite.
        rad: >= 0.

    Returns:
        Unbounded if a radius is infinite or a sum leaves the range.

    Error bound:
        that of `norm_up` and `norm_down`, relative (N + 2) u; a scaling downward that loses bits
        is stepped outward.
    """
    size = np.abs(mid)
    exact = rad == 0.0
    high = np.where(exact, size, up_array(size + rad))
    low = np.where(exact, size, np.maximum(down_array(size - rad), 0.0))
    if not np.isfinite(high).all():
        return Enclosure.unbounded()
    return Enclosure(_norm(low, upward=False), _norm(high, upward=True))


def _norm(values: Array, *, upward: bool) -> Fraction:
    """Return a bound of the norm of numbers >= 0; 0 if all are."""
    top = float(np.max(values, initial=0.0))
    if top == 0.0:
        return Fraction(0)
    k = exponent(top)
    scaled = np.ldexp(values, k)
    if k < 0:
        scaled = up_array(scaled) if upward else np.maximum(down_array(scaled), 0.0)
    return Fraction(norm_up(scaled) if upward else norm_down(scaled)) * power(-k)


def numbers_norm(numbers: Sequence[Any]) -> Enclosure:
    """Enclose ||x|| of balls at the working precision; unbounded where one is not finite."""
    if not all(number.is_finite() for number in numbers):
        return Enclosure.unbounded()
    low, high = arb(0), arb(0)
    for number in numbers:
        least, most = number.abs_lower(), number.abs_upper()
        low += least * least
        high += most * most
    least, most = Enclosure.from_arb(low.sqrt()), Enclosure.from_arb(high.sqrt())
    if not (least.is_bounded and most.is_bounded):
        return Enclosure.unbounded()
    return Enclosure(max(least.lo, Fraction(0)), most.hi)


def fractions_norm(numbers: Sequence[Any]) -> Enclosure:
    """Enclose ||x|| of python-flint fractions; exactly 0 if all are zero."""
    total = sum((number * number for number in numbers), fmpq(0))
    return root_of(Fraction(int(total.p), int(total.q)))


def root_of(value: Fraction) -> Enclosure:
    """Enclose the square root of a number >= 0, relatively to 2^-190."""
    if value == 0:
        return Enclosure.exact(0)
    with precision(ROOT_BITS):
        found = Enclosure.from_arb(arb(fmpq(value.numerator, value.denominator)).sqrt())
    return Enclosure(max(found.lo, Fraction(0)), found.hi)


def root_between(low: Fraction, high: Fraction) -> Enclosure:
    """Enclose the square roots of the numbers >= 0 in [low, high], of which there is one."""
    top = root_of(max(high, Fraction(0)))
    return Enclosure(root_of(max(low, Fraction(0))).lo, top.hi)

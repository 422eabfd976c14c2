"""Extreme eigenvalues and singular values of small rational matrices, in exact arithmetic.

The characteristic polynomial p of a symmetric matrix has only real roots, so by Descartes' rule
the number of roots above x is exactly the number of sign changes in the coefficients of p(x + t).
Bisection on 64-bit mantissas with that count needs no approximation and no tolerance; a root
that is itself such a number is found exactly. Where it counts first is told by Newton's iteration.
"""

from __future__ import annotations

import math
from fractions import Fraction
from itertools import pairwise
from typing import Any

from flint import arb, arb_poly, ctx, fmpq, fmpq_poly

from verify.enclosure import Enclosure

BITS = 64
_NEWTON_STEPS = 80


def enclose_largest_eigenvalue(matrix: Any, *, bits: int = BITS) -> Enclosure:
    """Enclose the largest eigenvalue of a symmetric ``fmpq_mat``, n >= 1, to 64 bits or more."""
    return _largest_root(matrix.charpoly(), power=1, bits=bits)


def enclose_smallest_eigenvalue(matrix: Any) -> Enclosure:
    """Enclose the smallest eigenvalue of a symmetric ``fmpq_mat``, n >= 1, to 64 bits."""
    mirrored = enclose_largest_eigenvalue(-matrix)
    return Enclosure(-mirrored.hi, -mirrored.lo)


def enclose_largest_singular_value(matrix: Any) -> Enclosure:
    """Enclose the largest singular value of an ``fmpq_mat`` to 64 bits."""
    gram = _gram(matrix)
    if gram.nrows() == 0:
        return Enclosure.exact(0)
    return _largest_root(gram.charpoly(), power=2)


def is_norm_at_most(matrix: Any, c: Fraction) -> bool:
    """Return whether the largest singular value of an ``fmpq_mat`` is <= c, exactly."""
    return c >= 0 and _roots_above(_gram(matrix).charpoly(), c**2) == 0


def _gram(matrix: Any) -> Any:
    other = matrix.transpose()
    return matrix * other if matrix.nrows() < matrix.ncols() else other * matrix


def is_definite(matrix: Any, above: Fraction) -> bool:
    """Return whether every eigenvalue of a symmetric ``fmpq_mat`` is > above, exactly."""
    if matrix.nrows() == 0:
        return True
    p = (-matrix).charpoly()
    x = -above
    return _roots_above(p, x) == 0 and _value(p, x) != 0


def _roots_above(p: Any, x: Fraction) -> int:
    signs = [c > 0 for c in p(fmpq_poly([fmpq(x.numerator, x.denominator), 1])).coeffs() if c != 0]
    return sum(a != b for a, b in pairwise(signs))


def _value(p: Any, x: Fraction) -> Any:
    return p(fmpq(x.numerator, x.denominator))


def _power_of_two(exponent: int) -> Fraction:
    return Fraction(1 << exponent) if exponent >= 0 else Fraction(1, 1 << -exponent)


def _largest_root(p: Any, *, power: int, bits: int = BITS) -> Enclosure:
    """Enclose the ``power``-th root of the largest root of a real-rooted polynomial.

    For power 2 the roots must be >= 0.
    """
    if _roots_above(p, Fraction(0)) == 0:
        if _value(p, Fraction(0)) == 0:
            return Enclosure.exact(0)
        return _bisect(p, sign=-1, power=1, bits=bits)
    return _bisect(p, sign=1, power=power, bits=bits)


def _bisect(p: Any, *, sign: int, power: int, bits: int) -> Enclosure:
    """Enclose the largest root, which is not 0 and has this sign."""

    def bounded(y: Fraction) -> bool:  # is the largest root <= sign y^power ?
        return _roots_above(p, sign * y**power) == 0

    # bounded() is increasing in y for sign +1 and decreasing for -1; flip so that it increases
    def beyond(y: Fraction) -> bool:
        return bounded(y) if sign > 0 else not bounded(y)

    low, high = -1, 1
    while not beyond(_power_of_two(high)):
        low, high = high, 2 * high
    while beyond(_power_of_two(low)):
        low, high = 2 * low, low
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if beyond(_power_of_two(middle)) else (middle, high)
    unit = _power_of_two(low - bits)
    a, b = 1 << bits, 1 << (bits + 1)  # not beyond(a unit), beyond(b unit)
    above = _power_of_two(power * high) if sign > 0 else -_power_of_two(low)
    guess = abs(_newton(p, above, bits))
    middle = int(guess / unit) if power == 1 else math.isqrt(int(guess / unit**2))
    width = 1
    while b - a > 1:
        if not a < middle < b:  # the guess helps no longer
            middle, width = (a + b) // 2, b - a
        if beyond(middle * unit):
            b, middle = middle, middle - width
        else:
            a, middle = middle, middle + width
        width *= 2
    for y in (b * unit, a * unit):
        if _value(p, sign * y**power) == 0 and _roots_above(p, sign * y**power) == 0:
            return Enclosure.exact(sign * y)
    return Enclosure(a * unit, b * unit) if sign > 0 else Enclosure(-b * unit, -a * unit)


def _newton(p: Any, above: Fraction, bits: int) -> Fraction:
    """Return about the largest root, from a start above it; nothing is proved about it."""
    with ctx.workprec(bits * (p.degree() + 2)):
        q, x = arb_poly(p), arb(fmpq(above.numerator, above.denominator))
        slope = q.derivative()
        for _ in range(_NEWTON_STEPS):
            step = (q(x) / slope(x)).mid()
            if not step.is_finite():
                break
            x = (x - step).mid()
            if abs(step) < abs(x) * arb(2) ** -(bits + 4):
                break
        mantissa, exponent = x.man_exp()
    return int(mantissa) * _power_of_two(int(exponent))

"""Extreme eigenvalues of symmetric matrices of balls, and of exact ones, to 96 bits."""

from __future__ import annotations

from fractions import Fraction
from typing import Any

from flint import arb, fmpq, fmpq_mat

from verify.enclosure import INF, Enclosure
from verify_kernels.full_rank.singular_values import root
from verify_kernels.small_spectrum import enclose_largest_eigenvalue

EXACT_ORDER = 64
EXACT_BITS = 96


def smallest_of_balls(balls: Any) -> Enclosure:
    """Enclose lambda_min >= 0 of every positive semidefinite matrix in an ``arb_mat``."""
    near, radius = _middle(balls)
    if radius is None:
        return Enclosure(0, INF)
    value = enclose_largest_eigenvalue(-near, bits=EXACT_BITS)
    return _widened(Enclosure(-value.hi, -value.lo), radius)


def largest_of_balls(balls: Any) -> Enclosure:
    """Enclose lambda_max >= 0 of every positive semidefinite matrix in an ``arb_mat``."""
    near, radius = _middle(balls)
    if radius is None:
        return Enclosure(0, INF)
    return _widened(enclose_largest_eigenvalue(near, bits=EXACT_BITS), radius)


def largest_singular(matrix: Any) -> Enclosure:
    """Enclose ||N||_2 of an ``fmpz_mat`` or ``fmpq_mat``, by the smaller of its Gram matrices."""
    other = matrix.transpose()
    gram = matrix * other if matrix.nrows() < matrix.ncols() else other * matrix
    return root(enclose_largest_eigenvalue(fmpq_mat(gram), bits=EXACT_BITS))


def _middle(balls: Any) -> tuple[Any, Fraction | None]:
    """Return the exact symmetric middle and a bound of the Frobenius distance to it."""
    n = balls.nrows()
    total = arb(0)
    entries: list[Any] = []
    for i in range(n):
        for j in range(n):
            ball = balls[max(i, j), min(i, j)]
            if not ball.is_finite():
                return None, None
            mantissa, exponent = ball.mid().man_exp()
            entries.append(fmpq(mantissa) * fmpq(2) ** int(exponent))
            total += arb(ball.rad()) ** 2
    bound = Enclosure.from_arb(total.sqrt()).hi
    return fmpq_mat(n, n, entries), bound if isinstance(bound, Fraction) else None


def _widened(value: Enclosure, radius: Fraction) -> Enclosure:
    return Enclosure(max(Fraction(0), value.lo - radius), max(Fraction(0), value.hi + radius))

"""Students and teachers as masses on lines, in exact rational arithmetic.

A row is p = lambda q with a primitive integer vector q, whose first nonzero entry is positive, so
parallel and antiparallel rows share q. On a line the functions add up:

    A |p . x| = A |lambda| |q . x|,      A relu(p . x) = A |lambda| |q . x|/2 + A lambda (q . x)/2.

With h = f - f* = sum_b A_b sigma(p_b . x), A_b = a_i or -a*_j, this leaves one even and one odd
number a line: ``even`` = sum A |lambda| and ``odd`` = sum A lambda. With tied output weights
A = +-||p|| = +-|lambda| ||q||, the factor ||q|| is left out, so that both stay rational.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

from flint import fmpz_mat

from verify.network import TeacherStudent


@dataclass(frozen=True, eq=False)
class Lines:
    """The lines on which the rows of a network lie; students come first, then teachers.

    Args:
        directions: the primitive integer vectors q, one a line.
        squares: ||q||^2.
        place: the line of each row, None for a row of zeros.
        factor: lambda of each row.
        even: sum of A |lambda| on each line, without the factor ||q|| where weights are tied.
        odd: sum of A lambda likewise.
        network: as given.
    """

    directions: tuple[tuple[int, ...], ...]
    squares: tuple[int, ...]
    place: tuple[int | None, ...]
    factor: tuple[Fraction, ...]
    even: tuple[Fraction, ...]
    odd: tuple[Fraction, ...]
    network: TeacherStudent

    @property
    def teachers(self) -> range:
        """Which rows are the teachers."""
        return range(self.network.width, len(self.place))

    def products(self) -> Any:
        """Return all q . q' exactly, as an ``fmpz_mat``."""
        rows = fmpz_mat([list(q) for q in self.directions])
        return rows * rows.transpose()

    def square(self, row: int) -> Fraction:
        """Return ||p||^2 of a row."""
        place = self.place[row]
        return Fraction(0) if place is None else self.factor[row] ** 2 * self.squares[place]

    def odd_part_vanishes(self) -> bool:
        """Return whether the linear part of f - f* is zero, decided exactly.

        It is (1/2) (sum_l odd_l rho_l q_l) . x with rho_l = ||q_l|| for tied weights and 1 for free
        ones. Square roots of integers of pairwise different square classes are linearly independent
        over the rationals (Besicovitch), and N, N' are of one class exactly if N N' is a square;
        so the sum is zero exactly if it is within every class, where sqrt(N') = sqrt(N) times the
        rational sqrt(N N')/N.
        """
        sums: list[tuple[int, list[Fraction]]] = []
        for q, number, odd in zip(self.directions, self.squares, self.odd, strict=True):
            if odd == 0:
                continue
            head, ratio = self._class_of(number, [head for head, _ in sums])
            if head is None:
                sums.append((number, [odd * entry for entry in q]))
                continue
            total = sums[head][1]
            for k, entry in enumerate(q):
                total[k] += odd * ratio * entry
        return not any(any(total) for _, total in sums)

    def _class_of(self, number: int, heads: Sequence[int]) -> tuple[int | None, Fraction]:
        """Return the place of the first number of the same class, and the ratio of the roots."""
        if not self.network.tied:
            return (0 if heads else None), Fraction(1)
        for place, head in enumerate(heads):
            root = math.isqrt(head * number)
            if root * root == head * number:
                return place, Fraction(root, head)
        return None, Fraction(1)


def lines_of(network: TeacherStudent) -> Lines:
    """Return the lines of a network, exactly."""
    known: dict[tuple[int, ...], int] = {}
    places: list[int | None] = []
    factors: list[Fraction] = []
    for row in [*network.students.tolist(), *network.teachers.tolist()]:
        q, factor = _primitive(row)
        places.append(None if factor == 0 else known.setdefault(q, len(known)))
        factors.append(factor)
    even, odd = [Fraction(0)] * len(known), [Fraction(0)] * len(known)
    for place, factor, weight in zip(places, factors, _outputs(network, factors), strict=True):
        if place is not None:
            even[place] += weight * abs(factor)
            odd[place] += weight * factor
    return Lines(
        directions=tuple(known),
        squares=tuple(sum(entry * entry for entry in q) for q in known),
        place=tuple(places),
        factor=tuple(factors),
        even=tuple(even),
        odd=tuple(odd),
        network=network,
    )


def _primitive(row: Sequence[float]) -> tuple[tuple[int, ...], Fraction]:
    """Return q and lambda with row = lambda q; lambda is 0 for a row of zeros."""
    ratios = [entry.as_integer_ratio() for entry in row]
    common = max(denominator for _, denominator in ratios)  # all are powers of two
    whole = [numerator * (common // denominator) for numerator, denominator in ratios]
    divisor = math.gcd(*whole)
    if divisor == 0:
        return tuple(whole), Fraction(0)
    first = next(entry for entry in whole if entry)
    divisor = divisor if first > 0 else -divisor
    return tuple(entry // divisor for entry in whole), Fraction(divisor, common)


def _outputs(network: TeacherStudent, factors: Sequence[Fraction]) -> list[Fraction]:
    """Return A_b of every row; without the factor ||q|| where the weights are tied."""
    signs = [1] * network.width + [-1] * len(network.teachers)
    if network.a is None or network.a_star is None:
        return [sign * abs(factor) for sign, factor in zip(signs, factors, strict=True)]
    stored = [*network.a.tolist(), *network.a_star.tolist()]
    return [sign * Fraction(number) for sign, number in zip(signs, stored, strict=True)]

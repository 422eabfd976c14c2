"""Exact rational views of a two-layer problem, for witnesses and their re-evaluation."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from fractions import Fraction
from typing import Any
from weakref import WeakKeyDictionary

import numpy as np

from verify.enclosure import Enclosure
from verify.errors import InputError
from verify_kernels._rounding import Array
from verify_kernels.two_layer.ball_risk import Point, Problem
from verify_kernels.two_layer.balls import Ball, ball

Rational = list[Fraction]

LARGE = 100_000  # numbers of a data set above which sums are taken in floats with error bounds


_CHECKED: WeakKeyDictionary[Problem, tuple[Array, Array]] = WeakKeyDictionary()


def inputs(problem: Problem) -> Array:
    """Return X as float64, exactly; checked once a problem.

    Raises:
        InputError: X is not a matrix, or y not a vector, of finite numbers of 64 bits.
    """
    return _data(problem)[0]


def labels(problem: Problem) -> Array:
    """Return y as float64, exactly; see `inputs`."""
    return _data(problem)[1]


def _data(problem: Problem) -> tuple[Array, Array]:
    found = _CHECKED.get(problem)
    if found is None:
        found = _CHECKED[problem] = _floats(problem.X, 2, "X"), _floats(problem.y, 1, "y")
    return found


def outer(point: Point) -> Rational:
    """Return the outer weights as fractions."""
    return fractions(point.a)


def fractions(values: Iterable[Any]) -> Rational:
    """Return numbers as exact fractions."""
    return [Fraction(value.item() if isinstance(value, np.generic) else value) for value in values]


def constant(point: Point) -> Fraction:
    """Return the outer bias, 0 if there is none."""
    if point.c is None:
        return Fraction(0)
    return fractions(np.asarray(point.c, dtype=object).reshape(-1))[0]


def biases(point: Point) -> Rational:
    """Return the inner biases, 0 where there are none."""
    return [Fraction(0)] * len(point.a) if point.b is None else fractions(point.b)


def penalty(problem: Problem, role: str) -> Fraction:
    """Return the penalty of a trained role, 0 if it has none or is not trained."""
    return Fraction(problem.penalties.get(role, 0))


def is_trained(problem: Problem, role: str) -> bool:
    """Return whether the parameters of the role are trained."""
    return role in problem.penalties


def dot(left: Sequence[Fraction], right: Sequence[Fraction]) -> Fraction:
    """Return the exact inner product."""
    return sum((x * y for x, y in zip(left, right, strict=True)), Fraction(0))


def rows_of(matrix: Array) -> list[Rational]:
    """Return the rows of a float matrix as fractions."""
    return [fractions(row) for row in matrix.tolist()]


def interval(value: Ball) -> list[Any]:
    """Return the ends of a ball for a witness: dyadic fractions, or floats if infinite."""
    enclosed = Enclosure.from_arb(value)
    return [enclosed.lo, enclosed.hi]


def mean(values: Iterable[Ball], count: int) -> Ball:
    """Return the sum of balls over a count."""
    return sum(values, ball(0)) / count


def short(value: Fraction, *, bits: int = 12) -> Fraction:
    """Return a positive number to ``bits`` leading bits, rounded towards zero."""
    if value <= 0:
        return Fraction(0)
    shift = bits - (value.numerator.bit_length() - value.denominator.bit_length())
    scale = Fraction(2) ** shift
    return Fraction((value * scale).__floor__()) / scale


def _floats(values: Any, rank: int, name: str) -> Array:
    given = np.asarray(values)
    exact = given.astype(np.float64, copy=False) if _embeds(given) else None
    if exact is None or exact.ndim != rank or 0 in exact.shape or not np.isfinite(exact).all():
        raise InputError(
            f"two_layer: expected {name} as finite numbers of 64 bits with {rank} axes, "
            f"but got shape {given.shape} of {given.dtype}"
        )
    return exact


def _embeds(given: Array) -> bool:
    """Return whether every entry is a float64 number without rounding."""
    if given.dtype.kind in "iu":
        return bool(not given.size or max(int(given.max()), -int(given.min())) <= 2**53)
    return given.dtype.kind == "b" or (given.dtype.kind == "f" and given.dtype.itemsize <= 8)

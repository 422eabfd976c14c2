"""Exact numbers as python-flint balls, and the working precision."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from fractions import Fraction
from typing import Any

import flint
import numpy as np
from flint import arb, arb_mat, fmpq

from verify.errors import InputError

Ball = Any  # python-flint's arb
_SIX_DIGITS = 24  # bits


@contextmanager
def precision(bits: int) -> Iterator[None]:
    """Set python-flint's working precision for a block."""
    before = flint.ctx.prec
    flint.ctx.prec = bits
    try:
        yield
    finally:
        flint.ctx.prec = before


def ball(number: Any) -> Ball:
    """Return a ball that contains an exact number, at the working precision; balls stay.

    Raises:
        InputError: NaN, an infinity, or no number.
    """
    if isinstance(number, arb):
        return number
    if isinstance(number, np.generic):
        number = number.item()
    if isinstance(number, bool) or not isinstance(number, int | float | Fraction):
        raise InputError(f"ball_risk: expected an exact number or a ball, but got {number!r}")
    if isinstance(number, float):
        if not math.isfinite(number):
            raise InputError(f"ball_risk: expected a finite number, but got {number!r}")
        return arb(number)
    exact = Fraction(number)
    return arb(fmpq(exact.numerator, exact.denominator))


def balls_product(left: Sequence[Any], right: Sequence[Any]) -> list[list[Ball]]:
    """Multiply two matrices of balls given as rows."""
    return [list(row) for row in (arb_mat(left) * arb_mat(right)).tolist()]


def shown(value: Ball) -> str:
    """Return six digits of a ball, or of its ends where they are not known."""
    if value.is_zero() or value.rel_accuracy_bits() >= _SIX_DIGITS:
        return str(value.str(6, radius=False))
    ends = (value.lower().str(6, radius=False), value.upper().str(6, radius=False))
    return f"a number between {ends[0]} and {ends[1]}"


def shown_above(value: Ball) -> str:
    """Return six digits of a ball, of its upper end enlarged where they are not known."""
    if value.is_zero() or value.rel_accuracy_bits() >= _SIX_DIGITS:
        return str(value.str(6, radius=False))
    return str((value.upper() * (1 + arb(2) ** -16)).str(6, radius=False))

"""Polynomials with rational coefficients, recognised from an unevaluated formula."""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import sympy as sp

    from verify.network.activation import Activation

MAX_DEGREE = 32


def coefficients(activation: Activation) -> list[Fraction] | None:
    """Return the coefficients, lowest first, of a polynomial of degree >= 2, else None.

    Args:
        activation: recognised if its formula has only rational numbers, z, sums, products and
            powers with natural exponents, and the degree is at most 32.
    """
    found = polynomial_of(activation.formula())
    if found is None:
        return None
    while found and found[-1] == 0:
        found.pop()
    return found if len(found) > 2 else None


def polynomial_of(expression: sp.Expr) -> list[Fraction] | None:
    """Return the coefficients of an unevaluated formula, lowest first; None if it is none."""
    if expression.is_Rational:
        return [Fraction(int(expression.p), int(expression.q))]
    if expression.is_Symbol:
        return [Fraction(0), Fraction(1)]
    if expression.is_Add or expression.is_Mul:
        parts = [polynomial_of(part) for part in expression.args]
        total = [Fraction(int(expression.is_Mul))]
        for part in parts:
            if part is None or len(part) + len(total) > MAX_DEGREE + 2:
                return None
            total = _times(total, part) if expression.is_Mul else _plus(total, part)
        return total
    if expression.is_Pow and expression.exp.is_Integer and 0 < int(expression.exp) <= MAX_DEGREE:
        base = polynomial_of(expression.base)
        if base is None or (len(base) - 1) * int(expression.exp) > MAX_DEGREE:
            return None
        total = [Fraction(1)]
        for _ in range(int(expression.exp)):
            total = _times(total, base)
        return total
    return None


def _times(left: Sequence[Fraction], right: Sequence[Fraction]) -> list[Fraction]:
    product = [Fraction(0)] * (len(left) + len(right) - 1)
    for i, x in enumerate(left):
        for j, y in enumerate(right):
            product[i + j] += x * y
    return product


def _plus(left: Sequence[Fraction], right: Sequence[Fraction]) -> list[Fraction]:
    size = max(len(left), len(right))
    padded = [[*part, *[Fraction(0)] * (size - len(part))] for part in (left, right)]
    return [x + y for x, y in zip(*padded, strict=True)]

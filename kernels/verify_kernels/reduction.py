"""Reduction of slopes in [alpha, beta] to slopes in [0, 1]."""

from __future__ import annotations

from fractions import Fraction
from typing import Any

from verify.errors import InputError
from verify.verdict import Truth
from verify_kernels.enclosed_products import affine, nearest_enclosure
from verify_kernels.linear_solve import enclose_solution
from verify_kernels.matrix import MatrixEnclosure
from verify_kernels.perron import as_enclosure

EXACT_WIDTH = 40  # up to here the reduced matrix is an exact rational matrix


def reduce_slopes(
    weight: MatrixEnclosure, alpha: Fraction, beta: Fraction
) -> MatrixEnclosure | None:
    """Return V = (beta - alpha)(I - alpha W)^-1 W, for which slopes in [0, 1] are to be decided.

    z = s(W z + b) with slopes of s in [alpha, beta] is equivalent to w = t(V w + c) with slopes
    of t in [0, 1]; I - V = (I - alpha W)^-1 (I - beta W). V is exact rationals or a verified
    enclosure, never a rounded matrix.

    Args:
        weight: W, shape (m, m).
        alpha: least slope.
        beta: largest slope, >= alpha.

    Returns:
        V, with ``exact`` set for exact W of width up to 40; None if I - alpha W is singular, or
        is not proved to be nonsingular: `regularity` says which.

    Error bound:
        exact: none but the final rounding; else `verify_kernels.linear_solve`.

    Raises:
        InputError: W is not square, alpha > beta, or V is beyond binary64.
    """
    given = as_enclosure(weight, where="reduce_slopes")
    if alpha > beta:
        raise InputError(f"reduce_slopes: expected alpha <= beta, but got {alpha} > {beta}")
    small = given.is_exact and given.shape[0] <= EXACT_WIDTH
    if alpha == 0 and beta == 1:
        return given
    if small:
        exact = _exact_reduction(given.rational(), alpha, beta)
        return None if exact is None else nearest_enclosure(exact)
    numerator = affine(given, Fraction(0), beta - alpha, where="reduce_slopes")
    if alpha == 0:
        return numerator
    return enclose_solution(affine(given, Fraction(1), -alpha, where="reduce_slopes"), numerator)


def regularity(weight: MatrixEnclosure, alpha: Fraction) -> Truth:
    """Return whether I - alpha W is nonsingular: proved, refuted (exactly singular) or open.

    Args:
        weight: W, shape (m, m).
        alpha: any rational.

    Raises:
        InputError: W is not square or not finite.
    """
    given = as_enclosure(weight, where="regularity")
    if alpha == 0:
        return Truth.PROVED
    if given.is_exact and given.shape[0] <= EXACT_WIDTH:
        determinant = _shifted(given.rational(), alpha).det()
        return Truth.REFUTED if determinant == 0 else Truth.PROVED
    solved = enclose_solution(affine(given, Fraction(1), -alpha, where="regularity"), given)
    return Truth.UNDECIDED if solved is None else Truth.PROVED


def _exact_reduction(exact: Any, alpha: Fraction, beta: Fraction) -> Any:
    from flint import fmpq

    numerator = exact * fmpq((beta - alpha).numerator, (beta - alpha).denominator)
    if alpha == 0:
        return numerator
    try:
        return _shifted(exact, alpha).solve(numerator)
    except ZeroDivisionError:
        return None


def _shifted(exact: Any, alpha: Fraction) -> Any:
    """Return I - alpha W."""
    from flint import fmpq

    shifted = exact * fmpq(-alpha.numerator, alpha.denominator)
    for i in range(shifted.nrows()):
        shifted[i, i] = shifted[i, i] + 1
    return shifted

"""Matrix measures: the weighted infinity measure, the plain one, and the symmetric part."""

from __future__ import annotations

import math
from fractions import Fraction
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from verify.enclosure import Enclosure, Endpoint
from verify.evidence import Evidence
from verify_kernels import definiteness
from verify_kernels._rounding import (
    ETA,
    Array,
    U,
    add_up,
    down_array,
    mul_up,
    norm_up,
    up_array,
)
from verify_kernels.enclosed_products import largest_entry
from verify_kernels.matrix import MatrixEnclosure
from verify_kernels.metzler import Metzler, enclose_root, modulus_bounds
from verify_kernels.perron import as_enclosure, evidence
from verify_kernels.positive_vector import power_of_two

EXACT_SYMMETRIC = 48  # up to here the symmetric part is bounded by its exact polynomial
HOW_WEIGHTED = "Collatz-Wielandt quotients of the Metzler majorant (W_ii, |W_ij|)"
HOW_SYMMETRIC = "verified factorisation of t I - (W + W^T)/2"


def enclose_weighted_measure(
    weight: ArrayLike | MatrixEnclosure, *, backend: str = "auto", aim: Enclosure | None = None
) -> Evidence:
    """Enclose inf over eta > 0 of max_i (W_ii + sum_j |W_ij| eta_j / eta_i), j != i.

    This is the Perron abscissa of the Metzler majorant Z (Z_ii = W_ii, Z_ij = |W_ij|), bounded
    by Collatz-Wielandt quotients of a positive vector on each strongly connected block. The
    search of the vector needs no proof.

    Args:
        weight: W, shape (m, m), m >= 0, finite floats (exact) or an enclosure of W.
        backend: has no effect on the value or on rigour: matrix-vector products in NumPy.
        aim: while it lies inside the enclosure, quotients are taken in integers and the vector
            is refined (m <= 128).

    Returns:
        Evidence with the two-sided enclosure; the infimum itself need not be attained. The
        witness "positive-vector" holds integers eta > 0 and a rational bound with
        W_ii eta_i + sum |W_ij| eta_j <= bound eta_i exactly (for an enclosure: for its majorant).

    Error bound:
        |fl(sum |W_ij| v_j) - sum| <= gamma_m sum + tau_m; W_ii is added with outward rounding;
        in integers: none.

    Raises:
        InputError: W is not square or not finite.

    Source:
        L. Collatz, Math. Z. 48 (1942); H. Wielandt, Math. Z. 52 (1950).
    """
    given = as_enclosure(weight, where="enclose_weighted_measure")
    root = enclose_root(metzler_majorant(given), aim)
    return evidence(root, "metzler", HOW_WEIGHTED, aim)


def metzler_majorant(weight: MatrixEnclosure) -> Metzler:
    """Return bounds of the matrix with diagonal W_ii and off-diagonal entries |W_ij|."""
    lower, upper = modulus_bounds(weight.mid, weight.rad)
    diagonal = np.diagonal(weight.mid)
    high = low = diagonal.copy()
    if weight.rad is not None:
        rad = np.diagonal(weight.rad)
        with np.errstate(over="ignore"):
            high = np.where(rad == 0.0, diagonal, up_array(diagonal + rad))
            low = np.where(rad == 0.0, diagonal, down_array(diagonal - rad))
        np.fill_diagonal(lower, 0.0)
    np.fill_diagonal(upper, 0.0)
    exact = None if weight.rad is None or weight.exact is None else _majorant(weight.exact)
    return Metzler(low, lower, high, upper, exact)


def _majorant(exact: Any) -> Any:
    from flint import fmpq_mat

    m = exact.nrows()
    entries = exact.entries()
    return fmpq_mat(m, m, [v if k % (m + 1) == 0 else abs(v) for k, v in enumerate(entries)])


def measure_inf(weight: ArrayLike | MatrixEnclosure) -> Evidence:
    """Enclose mu_inf(W) = max_i (W_ii + sum_{j != i} |W_ij|): the measure with eta = 1.

    Args:
        weight: W, shape (m, m), finite floats (exact) or an enclosure of W.

    Returns:
        Evidence with the exact value when W is stored in floats or known exactly, else an
        enclosure; the point 0 for m = 0. No witness: the row sums are their own.

    Error bound:
        none: row sums are taken in integers (for an enclosure, of its two end matrices).

    Raises:
        InputError: W is not square or not finite.

    Source:
        G. Dahlquist, Stability and error bounds in the numerical integration of ordinary
        differential equations (1958).
    """
    given = as_enclosure(weight, where="measure_inf")
    how = "exact row sums"
    if given.shape[0] == 0:
        return Evidence(Enclosure.exact(0), how=how)
    majorant = metzler_majorant(given)
    if majorant.exact is not None:
        hi = lo = _largest_row_sum(*majorant.integers())
    elif not majorant.is_finite:
        return Evidence(Enclosure.unbounded(), how=how, why_open="overflow of binary64")
    else:
        hi = _largest_row_sum(*majorant.integers())
        mirrored = Metzler(
            majorant.diagonal_lower, majorant.off_lower, majorant.diagonal_lower, majorant.off_lower
        )
        lo = hi if given.rad is None else _largest_row_sum(*mirrored.integers())
    return Evidence(Enclosure.outward(lo, hi), how=how)


def _largest_row_sum(numerators: Any, unit: Fraction) -> Fraction:
    return max(sum(int(value) for value in row) for row in numerators.tolist()) * unit


def enclose_symmetric_part(
    weight: ArrayLike | MatrixEnclosure, *, backend: str = "auto", aim: Enclosure | None = None
) -> Evidence:
    """Enclose mu_2(W) = lambda_max((W + W^T)/2) by verified factorisation.

    S = fl(W + W^T), scaled by a power of two, differs from W + W^T by an error that is bounded
    and handed on; lambda_max is minus the smallest eigenvalue of -S, enclosed by
    `verify_kernels.definiteness`. Small exact matrices whose aim stays inside are decided by
    their characteristic polynomial.

    Args:
        weight: W, shape (m, m), finite floats (exact) or an enclosure of W.
        backend: passed on to the factorisation; every backend is rigorous.
        aim: the number at which the statement turns; a hint where to stop.

    Returns:
        Evidence with the two-sided enclosure and the witness of the factorisation for -S; the
        point 0 for m = 0.

    Error bound:
        ||S - (W + W^T)||_2 <= 1.01 u ||S||_F + 2 m eta + 2 ||rad||_F before scaling back.

    Raises:
        InputError: W is not square or not finite.

    Source:
        E. Winston and J. Z. Kolter, Monotone operator equilibrium networks (2020), the measure;
        the bound is proved above.
    """
    given = as_enclosure(weight, where="enclose_symmetric_part")
    m = given.shape[0]
    if m == 0:
        return Evidence(Enclosure.exact(0), how=HOW_SYMMETRIC)
    if m == 1:
        return _scalar_part(given)
    found = _float_symmetric_part(given, backend, aim)
    if aim is None or m > EXACT_SYMMETRIC or not given.is_exact or not _is_open(found.value, aim):
        return found
    return _exact_symmetric_part(given.rational(), found, aim)


def _scalar_part(given: MatrixEnclosure) -> Evidence:
    mid = Fraction(float(given.mid[0, 0]))
    rad = Fraction(0) if given.rad is None else Fraction(float(given.rad[0, 0]))
    if given.exact is not None:
        entry = given.exact[0, 0]
        mid, rad = Fraction(int(entry.p), int(entry.q)), Fraction(0)
    return Evidence(Enclosure.outward(mid - rad, mid + rad), how="the only entry")


def symmetric_sum(weight: MatrixEnclosure) -> tuple[Array, float, int]:
    """Return (S, e, k) with S symmetric and ||2^k S - (W + W^T)||_2 <= 2^k e for every W.

    The largest entry of 2^-k W is below 1, so nothing overflows; e counts the rounding of the
    sums (u |S_ij|), entries that underflow in the scaling (eta each) and the radii.
    """
    mid = weight.mid
    m = len(mid)
    exponent = math.frexp(largest_entry(weight))[1]
    if abs(exponent) <= 400:
        exponent = 0
    scaled = np.ldexp(mid, -exponent) if exponent else mid
    total = scaled + scaled.T
    error = mul_up(1.01 * U, norm_up(total))
    if exponent > 0:
        error = add_up(error, mul_up(2.0 * m, ETA))
    if weight.rad is not None:
        rad = np.ldexp(weight.rad, -exponent) if exponent else weight.rad
        rad = up_array(rad) if exponent > 0 else rad
        error = add_up(error, mul_up(2.0, norm_up(rad)))
    return total, error, exponent


def _float_symmetric_part(given: MatrixEnclosure, backend: str, aim: Enclosure | None) -> Evidence:
    total, error, exponent = symmetric_sum(given)
    unit = power_of_two(exponent - 1)
    if not (math.isfinite(error) and np.isfinite(total).all()):
        return Evidence(Enclosure.unbounded(), how=HOW_SYMMETRIC, why_open="overflow of binary64")
    target = (
        None
        if aim is None
        else Enclosure.outward(_times(-aim.hi, 1 / unit), _times(-aim.lo, 1 / unit))
    )
    found = definiteness.enclose_smallest_eigenvalue(
        -total, error=error, backend=backend, aim=target
    )
    value = found.value
    if not isinstance(value, Enclosure):
        return Evidence(Enclosure.unbounded(), how=HOW_SYMMETRIC, why_open=found.why_open)
    mirrored = Enclosure(_times(-value.hi, unit), _times(-value.lo, unit))
    return Evidence(mirrored, found.witness, found.assumes, HOW_SYMMETRIC, found.why_open)


def _times(end: Endpoint, factor: Fraction) -> Endpoint:
    return end if isinstance(end, float) else end * factor


def _is_open(value: Any, aim: Enclosure) -> bool:
    return bool(value.lo != value.hi and value.lo <= aim.hi and aim.lo <= value.hi)


def _exact_symmetric_part(exact: Any, found: Evidence, aim: Enclosure) -> Evidence:
    """Move the end beyond the aim: exact counts of eigenvalues of (W + W^T)/2 on either side."""
    value: Any = found.value
    if not isinstance(aim.lo, Fraction) or not aim.is_exact:
        return found
    numerators, denominator = (exact + exact.transpose()).numer_denom()
    polynomial = numerators.charpoly()  # its roots are 2 denominator times the eigenvalues
    scale = 2 * int(denominator)
    turn = aim.lo
    if not _roots_above(polynomial, turn * scale, strictly=False):
        sign, strictly = -1, False
    elif _roots_above(polynomial, turn * scale, strictly=True):
        sign, strictly = 1, True
    else:
        value = value.intersection(aim)
        sign = 0
    size = max(abs(turn), Fraction(1, 2**1074))
    for bits in (30, 50, 60, 80, 120, 250, 1100, 2200) if sign else ():
        moved = turn + sign * size * Fraction(1, 2**bits)
        beyond = _roots_above(polynomial, moved * scale, strictly=strictly)
        if (beyond > 0) == (sign > 0):
            lo, hi = (moved, value.hi) if sign > 0 else (value.lo, moved)
            value = Enclosure.outward(max(lo, value.lo), min(hi, value.hi))
            break
    how = "sign variations of the exact characteristic polynomial of (W + W^T)/2"
    return Evidence(value, found.witness, found.assumes, how)


def _roots_above(polynomial: Any, point: Fraction, *, strictly: bool) -> int:
    """Count the roots > point (or >= point) of a polynomial whose roots are all real.

    By the rule of Descartes, exact for such polynomials, p(x + point) has as many positive roots
    as sign variations; a zero constant coefficient is a root at the point.
    """
    from flint import fmpq, fmpq_poly

    shift = fmpq_poly([fmpq(point.numerator, point.denominator), 1])
    coefficients = fmpq_poly(polynomial)(shift).coeffs()
    signs = [1 if c > 0 else -1 for c in coefficients if c != 0]
    variations = sum(a != b for a, b in pairwise(signs))
    at_point = 0
    while at_point < len(coefficients) and coefficients[at_point] == 0:
        at_point += 1
    return variations if strictly else variations + at_point

"""Full row rank by the Gram matrix: one symmetric product and one Cholesky factorisation.

With M the middle of an enclosure of Z and rho >= ||Z - M||_F, lambda_min(M M^T) > rho^2 gives
sigma_n(Z) >= sigma_n(M) - ||Z - M||_2 > 0 for every Z in the enclosure: all have rank n.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from fractions import Fraction
from types import ModuleType
from typing import TYPE_CHECKING

import numpy as np
import scipy.linalg

from verify.enclosure import Enclosure
from verify.errors import InputError
from verify.evidence import Evidence
from verify_kernels import small_spectrum
from verify_kernels._rounding import (
    ETA,
    Array,
    add_up,
    div_up,
    down_array,
    float_up,
    gamma,
    mul_up,
    norm_down,
    norm_up,
    sqrt_up,
    sum_squares_up,
    sum_up,
    tau,
    up,
    up_array,
)
from verify_kernels.backend import get_backend
from verify_kernels.full_rank.scaling import in_range, radius_bound, with_ones
from verify_kernels.integer_witness import SMALLEST, factor_witness
from verify_kernels.matrix import as_matrix, rational_matrix
from verify_kernels.self_test import check_arithmetic

if TYPE_CHECKING:
    from verify_kernels.forward.features import Features

SMALL = 16
CHEAP_ROWS = 512  # a second factorisation of this size takes some milliseconds
PRODUCTS = "matrix products are conventional (checked by a self-test, not proved)"

# Without an aim the lower end is tried at these fractions of the Rayleigh quotient.
FRACTIONS = (1.0 - 1e-9, 1.0 - 1e-6, 0.999, 0.9, 0.5, 0.1)


def radius_squared(features: Features) -> Enclosure:
    """Return rho^2 exactly, rho a float bound of ||Z - M||_F; [0, inf) where there is none."""
    rho = radius_bound(features)
    return Enclosure.exact(Fraction(rho) ** 2) if math.isfinite(rho) else Enclosure(0, math.inf)


@dataclass(frozen=True)
class _Gram:
    """fl(M M^T), upper triangle, Fortran order, its distance from M M^T, and sizes of M."""

    upper: Array
    error: float
    largest: float
    frobenius: float


@np.errstate(all="ignore")
def enclose_gram_smallest(
    features: Features,
    *,
    ones: bool,
    backend: str = "auto",
    aim: Enclosure | None = None,
    with_witness: bool = True,
) -> Evidence:
    """Enclose lambda_min(M M^T) by a Cholesky from below and a Rayleigh quotient from above.

    G = fl(M M^T) is within gamma_m ||M||_F^2 + n tau_m of M M^T, and a Cholesky factor of
    G - c - delta proves lambda_min(M M^T) > c once delta pays for that and for
    `cholesky_defect` of the backend. Scale the rows first with `equilibrated`.

    Args:
        features: the enclosure; M is its middle, shape (n, m), n >= 1, finite.
        ones: whether the column of ones is appended to M.
        backend: which product, factorisation and bound; every one is rigorous.
        aim: the number at which a statement turns, rho^2: one proof above it ends the work,
            up to one attempt to show a wider margin.
        with_witness: whether the integer factor that replays lambda_min >= lo is made.

    Returns:
        Evidence; lo = 0 where nothing more is proved, which always holds. To 64 bits for at most
        16 rows of at most 64 entries, and exactly 0 for more rows than columns.

    Error bound:
        lambda_min is provable from about 2 (n + m) u ||M||_F^2 on, that is for condition
        numbers of M up to 1e4 to 1e6.

    Raises:
        InputError: M is not finite, or n = 0. BackendError: the machine does not compute as
            assumed.
    """
    given = with_ones(features) if ones else features
    M = as_matrix(given.mid, where="enclose_gram_smallest")
    n, m = M.shape
    if n == 0:
        raise InputError(f"enclose_gram_smallest: expected n >= 1 rows, but got shape {M.shape}")
    check_arithmetic(backend, size=max(n, m))
    if n > m:
        return Evidence(Enclosure.exact(0), how="more rows than columns")
    if n <= SMALL and m <= 4 * SMALL:
        exact = rational_matrix(M)
        value = small_spectrum.enclose_smallest_eigenvalue(exact * exact.transpose())
        return Evidence(value, how="exact characteristic polynomial")
    scaled, exponent = in_range(M)
    if scaled is None:
        return Evidence(
            Enclosure(0, math.inf), why_open="the entries span more than the range of binary64"
        )
    return _enclose(scaled, exponent, get_backend(backend, size=max(n, m)), aim, with_witness)


def _enclose(
    M: Array, exponent: int, module: ModuleType, aim: Enclosure | None, with_witness: bool
) -> Evidence:
    unit = Fraction(4) ** exponent
    gram = _gram(M, module)
    turn = None if aim is None else _just_above(aim, unit)
    high = float(up_array(np.diagonal(gram.upper) + gram.error).min())
    if turn is not None:
        factor = _factor_above(gram, turn, module)
        if factor is not None:
            high = max(turn, min(high, _rayleigh_up(M, _inverse_iteration(factor), gram)))
            low, factor = _raised(gram, turn, high, factor, module)
            return _evidence(low, high, unit, factor if with_witness else None)
    low = ETA  # the claim is strict: a factor proves more than nothing
    factor = _factor_above(gram, low, module)
    if factor is None:
        return Evidence(
            _value(0.0, high, unit),
            assumes=(PRODUCTS,),
            how="smallest diagonal entry of M M^T above",
            why_open="the Gram matrix is not definite beyond its rounding errors",
        )
    high = min(high, _rayleigh_up(M, _inverse_iteration(factor), gram))
    for fraction in FRACTIONS:
        tried = _factor_above(gram, high * fraction, module)
        if tried is not None:
            low, factor = high * fraction, tried
            break
    return _evidence(low, max(low, high), unit, factor if with_witness else None)


def _raised(
    gram: _Gram, low: float, high: float, factor: Array, module: ModuleType
) -> tuple[float, Array]:
    """Try half the upper end too where that costs little, for a margin that tells something."""
    if gram.upper.shape[0] <= CHEAP_ROWS and high / 2.0 > low:
        tried = _factor_above(gram, high / 2.0, module)
        if tried is not None:
            return high / 2.0, tried
    return low, factor


def _gram(M: Array, module: ModuleType) -> _Gram:
    n, m = M.shape
    largest = max(float(M.max()), -float(M.min()))
    squares = sum_squares_up(M)
    error = add_up(mul_up(gamma(m), squares), mul_up(float(n), tau(m, largest, largest)))
    return _Gram(module.gram(M.T), error, largest, sqrt_up(squares))


def _just_above(aim: Enclosure, unit: Fraction) -> float | None:
    if not isinstance(aim.hi, Fraction):
        return None
    turn = up(float_up(max(aim.hi, Fraction(0)) / unit))
    return turn if math.isfinite(turn) else None


def _factor_above(gram: _Gram, c: float, module: ModuleType) -> Array | None:
    """Return the factor R of a proof of lambda_min(M M^T) > c, or None."""
    room = add_up(c, gram.error)
    diagonal = down_array(np.diagonal(gram.upper) - room)
    if not (math.isfinite(room) and (diagonal > 0.0).all()):
        return None
    ahead = module.defect_ahead(diagonal.size, sum_up(diagonal), float(diagonal.max()))
    B = gram.upper.copy(order="F")
    np.fill_diagonal(B, down_array(diagonal - ahead))
    return B if module.cholesky_defect(B) <= ahead else None


def _inverse_iteration(factor: Array, steps: int = 4) -> Array:
    """Approximate the eigenvector of the smallest eigenvalue of R^T R; no guarantee."""
    v = np.random.default_rng(1950).standard_normal(factor.shape[0])
    for _ in range(steps):
        v = scipy.linalg.blas.dtrsv(factor, v, trans=1)
        v = scipy.linalg.blas.dtrsv(factor, v)
        v /= np.linalg.norm(v)
    return np.asarray(v)


def _rayleigh_up(M: Array, v: Array, gram: _Gram) -> float:
    """Return an upper bound of ||v^T M||^2 / ||v||^2 >= lambda_min(M M^T).

    Error bound:
        ||v^T M|| <= ||w|| + gamma_n ||v|| ||M||_F + sqrt(m) tau_n with w = fl(v^T M).
    """
    if not np.isfinite(v).all():
        return math.inf
    n, m = M.shape
    w, length = M.T @ v, norm_up(v)
    under = mul_up(sqrt_up(float(m)), tau(n, gram.largest, length))
    slip = mul_up(gamma(n), length, gram.frobenius)
    quotient = div_up(add_up(norm_up(w), slip, under), norm_down(v))
    return mul_up(quotient, quotient)


def _value(low: float, high: float, unit: Fraction) -> Enclosure:
    top = Fraction(high) * unit if math.isfinite(high) else math.inf
    return Enclosure(Fraction(low) * unit, top)


def _evidence(low: float, high: float, unit: Fraction, factor: Array | None) -> Evidence:
    value = _value(low, high, unit)
    witness = None
    if factor is not None and isinstance(value.lo, Fraction):
        half = (unit.numerator.bit_length() - unit.denominator.bit_length()) // 2
        witness = factor_witness(SMALLEST, value.lo, factor, exponent=half)
    return Evidence(
        value,
        witness=witness,
        assumes=(PRODUCTS,),
        how="Cholesky of M M^T - c below, Rayleigh quotient above",
    )

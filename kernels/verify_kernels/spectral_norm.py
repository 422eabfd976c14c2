"""Spectral norm: claims ||A||_2 <= c by one Cholesky, and two-sided enclosures."""

from __future__ import annotations

import math
from dataclasses import dataclass
from fractions import Fraction
from types import ModuleType
from typing import Any

import numpy as np
import scipy.linalg.blas
from numpy.typing import ArrayLike

from verify.enclosure import Enclosure
from verify.evidence import Evidence, Witness
from verify_kernels import small_spectrum
from verify_kernels._rounding import (
    ETA,
    Array,
    add_up,
    div_down,
    div_up,
    down,
    down_array,
    exact_number,
    float_down,
    gamma,
    mul_down,
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
from verify_kernels.integer_witness import NORM, factor_witness, vector_witness
from verify_kernels.lanczos import approximate_leading_pair
from verify_kernels.matrix import MatrixEnclosure, as_matrix, rational_matrix
from verify_kernels.self_test import check_arithmetic

SMALL = 16
SAFE_EXPONENT = 200
PRODUCTS = "matrix products are conventional (checked by a self-test, not proved)"

# The upper end is tried at the Ritz value plus twice the rounding errors, times 1 + these.
STEPS_UP = (0.0, 1e-9, 1e-7, 1e-5, 1e-3, 1e-2, 1e-1)


@dataclass(frozen=True)
class _Scaled:
    """A float matrix with ||2^-exponent X - matrix||_2 <= error for every X meant.

    The shape is (m, n) with n <= m: a wide matrix is stored transposed, in Fortran order.
    """

    matrix: Array
    exponent: int
    error: float
    largest: float


@dataclass(frozen=True)
class _Gram:
    """-fl(A^T A), upper triangle, with its distance from -A^T A in the spectral norm."""

    negative: Array
    error: float


@np.errstate(all="ignore")
def proves_norm_at_most(
    weight: ArrayLike | MatrixEnclosure, c: float | Fraction, *, backend: str = "auto"
) -> bool:
    """Prove ||W||_2 <= c by one symmetric product and one Cholesky factorisation.

    G = fl(A^T A) is within gamma_m ||A||_F^2 + n tau_m of A^T A, and a Cholesky factor of
    c^2 - delta - G proves that this matrix is positive definite up to `cholesky_defect`; delta
    pays for both. Bounds that cost O(m n) come first. Up to order 16 the answer is exact.

    Args:
        weight: W, shape (m, n), finite; or an enclosure, then for all matrices in it.
        c: the claim, exactly; a negative or infinite c or NaN is never proved.
        backend: which products and factorisation; every one is rigorous.

    Returns:
        True only if ||W||_2 <= c is proved; False says nothing.

    Error bound:
        provable from c/||W||_2 - 1 of about m^2 u on; any summation order, FMA allowed.

    Raises:
        InputError: the matrix is not finite or has another dimension. BackendError: the machine
            does not compute as assumed.
    """
    mid, rad, exact = _parts(weight, "proves_norm_at_most")
    check_arithmetic(backend, size=max(mid.shape, default=0))
    claim = exact_number(c)
    if not isinstance(claim, Fraction) or claim < 0:
        return False
    if _is_small(mid) and (rad is None or exact is not None):
        return small_spectrum.is_norm_at_most(_rational(mid, exact), claim)
    easy = _norm_easily(mid, rad, exact)
    if easy is not None:
        return easy.hi <= claim
    module = get_backend(backend, size=max(mid.shape))
    scaled = _scale(mid, rad)
    target = _scaled_claim(claim, scaled)
    if target is None or target < scaled.largest:
        return False
    if _cheap_upper(scaled, module, target)[0] <= target:
        return True
    return _factor_below(_gram(scaled, module), mul_down(target, target), module) is not None


@np.errstate(all="ignore")
def enclose_spectral_norm(
    weight: ArrayLike | MatrixEnclosure,
    *,
    backend: str = "auto",
    aim: Enclosure | None = None,
    with_witness: bool = True,
) -> Evidence:
    """Enclose ||W||_2 by a Rayleigh quotient from below and a Cholesky from above.

    Args:
        weight: W, shape (m, n), finite; or an enclosure, then valid for all matrices in it.
        backend: which products and factorisation; every one is rigorous, widths differ.
        aim: the number at which a statement turns. A proof of ||W||_2 < aim is tried first and
            ends the work; then the upper end is the number next below the aim, or a cheap bound.
        with_witness: whether the integer witness of the upper end is made; it costs O(n^2).

    Returns:
        Evidence: exact or to 64 bits up to order 16 and where each row and column has at most
        one nonzero; else of relative width about m^2 u. The witness proves the upper end in
        integers (kind ``integer-cholesky`` or ``positive-vector``).

    Error bound:
        Above as in `proves_norm_at_most`. Below, with w = fl(Av): ||A|| >= (||w|| -
        gamma_n || |A||v| || - sqrt(m) tau_n)/||v||, every norm rounded, squares may underflow.

    Raises:
        InputError: as `proves_norm_at_most`. BackendError: the machine does not compute as
            assumed.

    Source:
        Rump, Verification of positive definiteness, BIT 46 (2006).
    """
    mid, rad, exact = _parts(weight, "enclose_spectral_norm")
    check_arithmetic(backend, size=max(mid.shape, default=0))
    easy = _norm_easily(mid, rad, exact)
    if easy is not None:
        return Evidence(easy, how="exact singular value")
    module = get_backend(backend, size=max(mid.shape))
    scaled = _scale(mid, rad)
    if not math.isfinite(scaled.error):
        return Evidence(Enclosure(0, math.inf), why_open="the radius of the matrix is not bounded")
    with_witness = with_witness and (rad is None or exact is not None)
    turn = None if aim is None else _scaled_claim_below(aim, scaled)
    gram: _Gram | None = None
    if turn is not None and turn >= scaled.largest:
        cheap, vector = _cheap_upper(scaled, module, turn)
        if cheap <= turn:
            low = _rayleigh_down(scaled, vector, module)
            return _by_vector(_unscaled(scaled, low, cheap), vector, with_witness)
        gram = _gram(scaled, module)
        _, vector = _approximate(gram, basis=8, restarts=1)
        low = _rayleigh_down(scaled, vector, module)
        if low <= turn:
            factor = _factor_below(gram, mul_down(turn, turn), module, keep=True)
            if factor is not None:
                value = _unscaled(scaled, low, turn)
                return _by_cholesky(value, scaled.exponent, factor, with_witness)
    return _two_sided(scaled, gram or _gram(scaled, module), module, with_witness)


def _two_sided(scaled: _Scaled, gram: _Gram, module: ModuleType, with_witness: bool) -> Evidence:
    theta, vector = _approximate(gram)
    low = _rayleigh_down(scaled, vector, module)
    cheap, positive = _cheap_upper(scaled, module, 0.0)
    n = gram.negative.shape[0]
    room = sum_up(np.maximum(theta + np.diagonal(gram.negative), 0.0))
    ahead = add_up(gram.error, module.defect_ahead(n, room, max(theta, 0.0)))
    base = up(theta + 2.0 * ahead)
    for step in STEPS_UP:
        square = up(base * (1.0 + step))
        if not math.isfinite(square) or sqrt_up(square) >= cheap:
            break
        factor = _factor_below(gram, square, module, keep=True)
        if factor is not None:
            value = _unscaled(scaled, low, sqrt_up(square))
            return _by_cholesky(value, scaled.exponent, factor, with_witness)
    return _by_vector(_unscaled(scaled, low, cheap), positive, with_witness)


def _by_cholesky(value: Enclosure, exponent: int, factor: Array, with_witness: bool) -> Evidence:
    witness: Witness | None = None
    if with_witness and isinstance(value.hi, Fraction):
        witness = factor_witness(NORM, value.hi, factor, exponent=exponent)
    return Evidence(
        value,
        witness=witness,
        assumes=(PRODUCTS,),
        how="Cholesky of c^2 - W^T W above, Rayleigh quotient below",
    )


def _by_vector(value: Enclosure, vector: Array, with_witness: bool) -> Evidence:
    witness: Witness | None = None
    if with_witness and isinstance(value.hi, Fraction):
        witness = vector_witness(NORM, value.hi, vector)
    return Evidence(
        value,
        witness=witness,
        assumes=(PRODUCTS,),
        how="Perron bound of |W|^T |W| above, Rayleigh quotient below",
    )


def _parts(weight: ArrayLike | MatrixEnclosure, where: str) -> tuple[Array, Array | None, Any]:
    if isinstance(weight, MatrixEnclosure):
        return as_matrix(weight.mid, where=where), weight.rad, weight.exact
    return as_matrix(weight, where=where), None, None


def _norm_easily(mid: Array, rad: Array | None, exact: Any) -> Enclosure | None:
    """Empty, small, and permutation-like matrices; None if the matrix is none of them."""
    rows, columns = mid.shape
    if min(rows, columns) == 0:
        return Enclosure.exact(0)
    small = _is_small(mid)
    if rad is not None and (exact is None or not small):
        return None
    nonzero = np.count_nonzero(mid)
    if rad is None and nonzero <= min(rows, columns):
        pattern = mid != 0.0
        if pattern.sum(axis=0).max() <= 1 and pattern.sum(axis=1).max() <= 1:
            return Enclosure.exact(float(np.abs(mid).max()))
    if small:
        return small_spectrum.enclose_largest_singular_value(_rational(mid, exact))
    return None


def _is_small(mid: Array) -> bool:
    return bool(min(mid.shape) <= SMALL and max(mid.shape) <= 4 * SMALL)


def _rational(mid: Array, exact: Any) -> Any:
    return rational_matrix(mid) if exact is None else exact


def _scale(mid: Array, rad: Array | None) -> _Scaled:
    """Divide by a power of two where that keeps every product in range, and account for it."""
    largest = max(float(mid.max()), -float(mid.min()))
    exponent = math.frexp(largest)[1]
    error = 0.0
    if abs(exponent) <= SAFE_EXPONENT:
        exponent, matrix = 0, mid
    else:
        matrix = np.ldexp(mid, -exponent)
        if not np.array_equal(np.ldexp(matrix, exponent), mid):
            error = mul_up(sqrt_up(float(mid.size)), ETA)
        largest = math.ldexp(largest, -exponent)
    if rad is not None:
        error = add_up(error, norm_up(up_array(np.ldexp(rad, -exponent))))
    if matrix.shape[0] < matrix.shape[1]:
        matrix = matrix.T
    return _Scaled(matrix, exponent, error, largest)


def _scaled_claim(claim: Fraction, scaled: _Scaled) -> float | None:
    """Return the largest float t with: ||matrix|| <= t implies ||X|| <= claim."""
    inner = claim * Fraction(2) ** -scaled.exponent
    if inner > 2**400:
        inner = Fraction(2**400)  # far above the norm: the claim is easily proved
    if not math.isfinite(scaled.error):
        return None
    target = float_down(inner - Fraction(scaled.error))
    return target if target >= 0.0 else None


def _scaled_claim_below(aim: Enclosure, scaled: _Scaled) -> float | None:
    """Return a target whose proof gives an upper end strictly below the aim."""
    if not isinstance(aim.lo, Fraction) or aim.lo <= 0:
        return None
    target = _scaled_claim(aim.lo, scaled)
    if target is None or target <= 0.0:
        return None
    while target > 0.0 and _high(scaled, target) >= aim.lo:
        target = down(target)
    return target


def _high(scaled: _Scaled, high: float) -> Fraction | float:
    total = Fraction(high) + Fraction(scaled.error) if math.isfinite(high) else high
    return total * Fraction(2) ** scaled.exponent if isinstance(total, Fraction) else math.inf


def _unscaled(scaled: _Scaled, low: float, high: float) -> Enclosure:
    lower = max(Fraction(0), Fraction(low) - Fraction(scaled.error))
    return Enclosure(lower * Fraction(2) ** scaled.exponent, _high(scaled, high))


def _gram(scaled: _Scaled, module: ModuleType) -> _Gram:
    """Return -fl(A^T A) and gamma_m ||A||_F^2 + n tau_m."""
    A = scaled.matrix
    m, n = A.shape
    error = add_up(
        mul_up(gamma(m), sum_squares_up(A)),
        mul_up(float(n), tau(m, scaled.largest, scaled.largest)),
    )
    return _Gram(module.gram(A, -1.0), error)


def _factor_below(
    gram: _Gram, square: float, module: ModuleType, *, keep: bool = False
) -> Array | None:
    """Return a factor R of a proof of ||A||_2^2 < square, or None.

    With B_ii <= square - delta - G_ii and B_ij = -G_ij: square - A^T A >= B + delta - error.
    """
    diagonal = np.diagonal(gram.negative).copy()
    room = up_array(np.maximum(square + diagonal, 0.0))
    ahead = module.defect_ahead(room.size, sum_up(room), float(room.max()))
    delta = add_up(gram.error, ahead)
    shifted = down_array(down(square - delta) + diagonal)
    if not (math.isfinite(delta) and (shifted > 0.0).all()):
        return None
    B = gram.negative.copy(order="F") if keep else gram.negative
    np.fill_diagonal(B, shifted)
    return B if add_up(gram.error, module.cholesky_defect(B)) <= delta else None


def _approximate(gram: _Gram, *, basis: int = 80, restarts: int = 3) -> tuple[float, Array]:
    def multiply(v: Array) -> Array:
        return np.asarray(scipy.linalg.blas.dsymv(-1.0, gram.negative, v))

    n = gram.negative.shape[0]
    return approximate_leading_pair(multiply, n, basis=basis, restarts=restarts)


def _rayleigh_down(scaled: _Scaled, vector: Array, module: ModuleType) -> float:
    """Return a lower bound of ||A v|| / ||v|| <= ||A||_2."""
    A = scaled.matrix
    m, n = A.shape
    if not np.isfinite(vector).all():
        return scaled.largest
    w = A @ vector
    under = mul_up(sqrt_up(float(m)), tau(n, scaled.largest, float(np.abs(vector).max())))
    g = gamma(n)
    # |A||v| <= (fl(|A||v|) + tau)/(1 - gamma)
    moduli = module.modulus_matvec(A, np.abs(vector))
    slip = mul_up(g, div_up(add_up(norm_up(moduli), under), down(1.0 - g)))
    length = down(norm_down(w) - add_up(slip, under))
    return max(scaled.largest, div_down(max(0.0, length), norm_up(vector)))


def _cheap_upper(scaled: _Scaled, module: ModuleType, target: float) -> tuple[float, Array]:
    """Return an upper bound of || |A| ||_2 by a positive integer vector, in O(m n).

    For x > 0: ||A||_2^2 <= rho(|A|^T |A|) <= max_i (|A|^T |A| x)_i / x_i (Collatz, Wielandt).
    The work ends where the target is reached, or where || |A| x || / ||x|| shows that it cannot.
    """
    A = scaled.matrix
    m, n = A.shape
    moduli = np.abs(A)
    g = gamma(m + n + 2)
    under = add_up(
        tau(m, scaled.largest, up(2.0**31 * n * scaled.largest)), tau(n, scaled.largest, 2.0**31)
    )
    x, best, best_x = np.ones(n), math.inf, np.ones(n)
    for _ in range(3):
        y = moduli @ x
        if float(np.linalg.norm(y)) > 1.001 * target * float(np.linalg.norm(x)) and target:
            break
        z = y @ moduli
        # fl errors: z >= (|A|^T |A| x)(1 - gamma) - underflow of both products
        ratios = up_array(up_array(z + mul_up(under, add_up(1.0, m * scaled.largest))) / x)
        bound = sqrt_up(div_up(float(ratios.max()), down(1.0 - g)))
        if bound < best:
            best, best_x = bound, x
        if best <= target:
            break
        top = float(z.max())
        if not top > 0.0:
            break
        x = np.maximum(1.0, np.rint(z * (2.0**30 / top)))
    return best, best_x

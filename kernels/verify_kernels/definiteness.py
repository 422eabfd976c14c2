"""Definiteness and the smallest eigenvalue of symmetric matrices, proved by one Cholesky."""

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
from verify.errors import InputError
from verify.evidence import Evidence, Witness
from verify_kernels import small_spectrum
from verify_kernels._rounding import (
    OMEGA,
    Array,
    U,
    add_up,
    div_down,
    div_up,
    down,
    down_array,
    exact_number,
    float_up,
    gamma,
    mul_up,
    norm_down,
    norm_up,
    sum_up,
    tau,
    up,
)
from verify_kernels.backend import get_backend
from verify_kernels.integer_witness import SMALLEST, factor_witness
from verify_kernels.inverse_iteration import approximate_smallest_pair
from verify_kernels.lanczos import approximate_leading_pair
from verify_kernels.matrix import MatrixEnclosure, as_matrix, rational_matrix
from verify_kernels.self_test import check_arithmetic

SMALL = 16
PRODUCTS = "matrix products are conventional (checked by a self-test, not proved)"

# The lower end is tried at theta minus these fractions of the norm, besides the rounding errors.
STEPS_BACK = (0.0, 1e-9, 1e-7, 1e-5, 1e-3, 1e-2, 1e-1)


@dataclass(frozen=True)
class _Symmetric:
    """All symmetric S with ||S - mid||_2 <= error; and with ||S - exact||_2 <= own, if known."""

    mid: Array
    error: float
    own: float
    exact: Any = None
    checkable: bool = True  # whether somebody knows the exact matrix


@np.errstate(all="ignore")
def proves_definite(
    matrix: ArrayLike | MatrixEnclosure,
    *,
    at_least: float | Fraction = 0.0,
    error: float = 0.0,
    backend: str = "auto",
) -> bool:
    """Prove lambda_min(S) > at_least by the Cholesky factorisation of a shifted matrix.

    With c = at_least + error and a diagonal D of powers of two, K - cI is positive definite iff
    D(K - cI)D is; the shifted diagonal is rounded down, and `cholesky_defect` of the backend
    bounds what the factorisation may have missed. Up to order 16 the answer is exact.

    Args:
        matrix: K, shape (n, n), finite, K = K^T bitwise (0.0 = -0.0); or an enclosure with such a
            middle. The statement holds for every symmetric S with ||S - K||_2 <= error, within
            the enclosure for an enclosure.
        at_least: the number to exceed, exactly.
        error: bound of ||S - K||_2, >= 0.
        backend: which factorisation is used, and which bound for it; every one is rigorous.

    Returns:
        True only if it is proved; False says nothing. An empty matrix gives True.

    Error bound:
        lambda_min(K) - c is provable from about 2 n u tr(DKD) on; see `cholesky_defect`. Entries
        that underflow when scaled add n omega.

    Raises:
        InputError: the matrix is not finite, not square or not symmetric. BackendError: the
            machine does not compute as assumed.
    """
    given = _as_symmetric(matrix, error, where="proves_definite")
    check_arithmetic(backend, size=given.mid.shape[0])
    if given.mid.shape[0] == 0:
        return True
    bound = exact_number(at_least)
    if not isinstance(bound, Fraction):
        return bound == -math.inf and given.error < math.inf
    if given.error == math.inf:
        return False
    if given.exact is not None:
        return small_spectrum.is_definite(given.exact, bound + Fraction(given.own))
    c = bound + Fraction(given.error)
    if given.mid.shape[0] <= SMALL:
        return small_spectrum.is_definite(rational_matrix(given.mid), c)
    module = get_backend(backend, size=given.mid.shape[0])
    return _factor_above(given.mid, float_up(c), module) is not None


def _as_symmetric(matrix: ArrayLike | MatrixEnclosure, error: float, *, where: str) -> _Symmetric:
    if not error >= 0.0:
        raise InputError(f"{where}: expected an error >= 0, but got {error!r}")
    error, radius, exact = float_up(exact_number(error)), 0.0, None
    if isinstance(matrix, MatrixEnclosure):
        radius, exact = matrix.radius_norm(), matrix.exact
        matrix = matrix.mid
    mid = as_matrix(matrix, where=where, square=True)
    if not _is_symmetric(mid):
        i, j = (int(k) for k in np.argwhere(mid != mid.T)[0])
        raise InputError(
            f"{where}: expected a symmetric matrix, but got {float(mid[i, j])!r} at [{i}, {j}] "
            f"and {float(mid[j, i])!r} at [{j}, {i}]"
        )
    total = add_up(radius, error) if radius and error else radius + error
    small = exact is not None and mid.shape[0] <= SMALL and exact == exact.transpose()
    checkable = radius == 0.0 or exact is not None
    return _Symmetric(mid, total, error, exact if small else None, checkable)


def _is_symmetric(mid: Array, tile: int = 64) -> bool:
    """Compare K with its transpose bitwise up to the sign of zero, in strips for the cache."""
    return all(
        np.array_equal(mid[i : i + tile, i:], mid[i:, i : i + tile].T)
        for i in range(0, mid.shape[0], tile)
    )


def _factor_above(mid: Array, c: float, module: ModuleType, *, scale: bool = True) -> Array | None:
    """Return the factor R of a proof of lambda_min(K) > c, or None."""
    if not math.isfinite(c):
        return None
    n = mid.shape[0]
    diagonal = down_array(np.diagonal(mid) - c)
    if not (diagonal > 0.0).all():
        return None
    halves = np.frexp(diagonal)[1] // 2
    low, high = int(halves.min()), int(halves.max())
    scaled = scale and (high - low > 1 or max(abs(low), abs(high)) > 100)
    if scaled:
        B: Array = np.ldexp(mid, -(halves[:, None] + halves[None, :]))
        diagonal = np.ldexp(diagonal, -2 * halves)  # in [1/2, 2): exact
        if not math.isfinite(float(B.sum())):
            return None
    else:
        B = mid.copy()
    underflow = mul_up(float(n), OMEGA) if scaled else 0.0
    ahead = module.defect_ahead(n, sum_up(diagonal), float(diagonal.max()))
    shift = add_up(ahead, underflow)
    np.fill_diagonal(B, down_array(diagonal - shift))
    if add_up(module.cholesky_defect(B), underflow) <= shift:
        return B
    return None


@np.errstate(all="ignore")
def enclose_smallest_eigenvalue(
    matrix: ArrayLike | MatrixEnclosure,
    *,
    error: float = 0.0,
    backend: str = "auto",
    aim: Enclosure | None = None,
    with_witness: bool = True,
) -> Evidence:
    """Enclose lambda_min(S) by a Rayleigh quotient from above and a Cholesky from below.

    Args:
        matrix: K, shape (n, n), n >= 1, as for `proves_definite`.
        error: bound of ||S - K||_2, >= 0.
        backend: as for `proves_definite`.
        aim: the number at which a statement turns: one proof of lambda_min > aim is tried first
            and ends the work.
        with_witness: whether an integer factor for the lower end is made. It replays against
            the exact matrix, also where K is its rounded copy and ``error`` the distance.

    Returns:
        Evidence with an enclosure valid for every such S; exact or to 64 bits up to order 16 and
        for diagonal matrices, else of a relative width (to ||K||) about 4 n u tr(K)/||K||.

    Error bound:
        Above: v^T K v <= fl(v.w) + gamma_n |v|.|w| + ||v|| ||w - Kv||, |w - Kv| <=
        gamma_n |K||v| + tau_n, divided by ||v||^2 rounded outward. Below: `proves_definite`.

    Raises:
        InputError: as for `proves_definite`, and n = 0. BackendError: the machine does not
            compute as assumed.
    """
    given = _as_symmetric(matrix, error, where="enclose_smallest_eigenvalue")
    n = given.mid.shape[0]
    if n == 0:
        raise InputError("enclose_smallest_eigenvalue: expected n >= 1, but got shape (0, 0)")
    check_arithmetic(backend, size=n)
    easy = _enclose_easily(given)
    if easy is not None:
        return easy
    module = get_backend(backend, size=n)
    scaled = _divided(given.mid)
    turn = None if aim is None else _just_above(aim, given.error)
    wanted = with_witness and given.checkable
    if turn is not None:
        plain = (
            _factor_above(scaled.mid, scaled.below(turn), module, scale=False) if wanted else None
        )
        if plain is not None or _factor_above(given.mid, turn, module) is not None:
            _, vector = _approximate_smallest(scaled.mid, steps=10)
            high = scaled.up(_rayleigh_up(scaled.mid, vector, module))
            value = _widened(Fraction(turn), high, given.error)
            return _evidence(value, scaled, plain)
    theta, vector = _approximate_smallest(scaled.mid)
    top = _rayleigh_up(scaled.mid, vector, module)
    high = scaled.up(top)
    low, factor = _lower(scaled.mid, min(theta, top), module)
    if factor is None:
        return Evidence(
            _widened(scaled.down(-_row_bound(scaled.mid, module)), high, given.error),
            assumes=(PRODUCTS,),
            how="row sums below, Rayleigh quotient above",
        )
    bound = scaled.down(low)
    value = _widened(bound, high, given.error)
    return _evidence(value, scaled, factor if wanted else None)


@dataclass(frozen=True)
class _Divided:
    """A float matrix with ||2^-exponent K - mid||_2 <= lost; the exponent is even."""

    mid: Array
    exponent: int
    lost: float

    def up(self, value: float) -> Fraction | float:
        """Scale an upper bound for mid to one for K."""
        return self._scaled(value, Fraction(self.lost))

    def down(self, value: float) -> Fraction | float:
        """Scale a lower bound for mid to one for K."""
        return self._scaled(value, -Fraction(self.lost))

    def below(self, value: float) -> float:
        """Return a float whose proof for mid proves the value for K."""
        return float_up(Fraction(value) * Fraction(2) ** -self.exponent + Fraction(self.lost))

    def _scaled(self, value: float, room: Fraction) -> Fraction | float:
        if not math.isfinite(value):
            return value
        return (Fraction(value) + room) * Fraction(2) ** self.exponent


def _divided(mid: Array) -> _Divided:
    """Divide by a power of two where that keeps every product in range, and account for it."""
    exponent = math.frexp(max(float(mid.max()), -float(mid.min())))[1]
    if abs(exponent) <= 200:
        return _Divided(mid, 0, 0.0)
    exponent += exponent % 2  # even, because the factor scales by the root
    divided = np.ldexp(mid, -exponent)
    exact = np.array_equal(np.ldexp(divided, exponent), mid)
    return _Divided(divided, exponent, 0.0 if exact else mul_up(float(mid.shape[0]), OMEGA))


def _enclose_easily(given: _Symmetric) -> Evidence | None:
    """Diagonal and small matrices, exactly."""
    n = given.mid.shape[0]
    if given.error == math.inf:
        return Evidence(Enclosure.unbounded(), why_open="the error of the matrix is not bounded")
    if given.exact is not None:
        near = small_spectrum.enclose_smallest_eigenvalue(given.exact)
        return Evidence(
            _widened(near.lo, near.hi, given.own), how="exact characteristic polynomial"
        )
    if np.count_nonzero(given.mid) == np.count_nonzero(np.diagonal(given.mid)):
        least = Fraction(float(np.diagonal(given.mid).min()))
        return Evidence(_widened(least, least, given.error), how="diagonal matrix")
    if n <= SMALL:
        near = small_spectrum.enclose_smallest_eigenvalue(rational_matrix(given.mid))
        return Evidence(
            _widened(near.lo, near.hi, given.error), how="exact characteristic polynomial"
        )
    return None


def _widened(lo: Fraction | float, hi: Fraction | float, error: float) -> Enclosure:
    room = Fraction(error)
    return Enclosure(
        lo - room if isinstance(lo, Fraction) else lo, hi + room if isinstance(hi, Fraction) else hi
    )


def _just_above(aim: Enclosure, error: float) -> float | None:
    if not (isinstance(aim.hi, Fraction) and math.isfinite(error)):
        return None
    turn = up(float_up(aim.hi + Fraction(error)))
    return turn if math.isfinite(turn) else None


def _approximate_smallest(mid: Array, steps: int | None = None) -> tuple[float, Array]:
    def multiply(v: Array) -> Array:
        return np.asarray(scipy.linalg.blas.dsymv(-1.0, mid.T, v))

    n = mid.shape[0]
    if steps is not None:
        theta, vector = approximate_leading_pair(multiply, n, basis=steps, restarts=1)
        return -theta, vector
    if n <= 512:
        try:
            values, vectors = scipy.linalg.eigh(mid, subset_by_index=[0, 0])
            return float(values[0]), np.ascontiguousarray(vectors[:, 0])
        except scipy.linalg.LinAlgError:
            pass  # the iteration below needs no convergence
    near = approximate_smallest_pair(mid)
    if near is not None:
        return near
    theta, vector = approximate_leading_pair(multiply, n, basis=160, restarts=3)
    return -theta, vector


def _rayleigh_up(mid: Array, vector: Array, module: ModuleType) -> float:
    """Return an upper bound of v^T K v / v^T v >= lambda_min(K)."""
    n = mid.shape[0]
    if not np.isfinite(vector).all():
        return math.inf
    w = mid @ vector
    g = gamma(n)
    largest = float(np.abs(mid).max())
    under = tau(n, largest, float(np.abs(vector).max()))
    # |K||v| <= (fl(|K||v|) + tau)/(1 - gamma)
    moduli = module.modulus_matvec(mid, np.abs(vector))
    product_error = mul_up(
        g, div_up(add_up(norm_up(moduli), mul_up(math.sqrt(n) + 1.0, under)), down(1.0 - g))
    )
    product_error = add_up(product_error, mul_up(up(math.sqrt(n)), under))
    size = norm_up(vector)
    small = norm_down(vector)
    quotient = float(vector @ w)
    dot_error = add_up(mul_up(g, size, norm_up(w)), tau(n, float(np.abs(w).max()), size))
    top = add_up(quotient, dot_error, mul_up(size, product_error))
    if not (math.isfinite(top) and small > 0.0):
        return math.inf
    if top >= 0.0:
        return up(div_up(top, small) / small)
    return -div_down(div_down(-top, size), size)


def _row_bound(mid: Array, module: ModuleType) -> float:
    sums = module.row_sums(mid)
    return div_up(float(sums.max()), down(1.0 - gamma(mid.shape[0] + 1)))


def _lower(mid: Array, theta: float, module: ModuleType) -> tuple[float, Array | None]:
    """Return the largest c tried with a proof of lambda_min(K) > c, and its factor."""
    n = mid.shape[0]
    norm = float(np.abs(mid).sum(axis=1).max())
    trace = float(np.maximum(np.diagonal(mid) - theta, 0.0).sum())
    room = 2.0 * module.defect_ahead(n, trace, norm) + 4.0 * n * U * abs(theta)
    for step in STEPS_BACK:
        c = theta - room - step * norm
        factor = _factor_above(mid, c, module, scale=False)
        if factor is not None:
            return c, factor
    return -math.inf, None


def _evidence(value: Enclosure, scaled: _Divided, factor: Array | None) -> Evidence:
    witness: Witness | None = None
    if factor is not None and isinstance(value.lo, Fraction):
        half = scaled.exponent // 2
        witness = factor_witness(SMALLEST, value.lo, factor, exponent=half)
    return Evidence(
        value,
        witness=witness,
        assumes=(PRODUCTS,),
        how="Cholesky of the shifted matrix below, Rayleigh quotient above",
    )

"""Full row rank by an approximate right inverse R: alpha >= ||I - M R||_2 and r >= ||R||_2.

For every Z with ||Z - M||_2 <= rho: ||I - Z R||_2 <= alpha + rho r. If that is below 1, Z R is
nonsingular, so Z has full row rank, and |x^T Z| r >= |x^T Z R| >= (1 - alpha - rho r)|x| gives
sigma_n(Z) >= (1 - alpha)/r - rho. Both norms are spectral: with norms of rows that is false.
R is arbitrary; nothing is assumed about how it was found.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from fractions import Fraction
from types import ModuleType

import numpy as np
import scipy.linalg

from verify.enclosure import INF, Enclosure, round_down
from verify.evidence import Evidence, Witness
from verify_kernels._rounding import (
    Array,
    U,
    add_up,
    gamma,
    mul_up,
    norm_up,
    tau,
    up,
)
from verify_kernels.backend import get_backend
from verify_kernels.forward.features import Features
from verify_kernels.full_rank.scaling import in_range, radius_bound, with_ones
from verify_kernels.full_rank.split_products import product_with_error
from verify_kernels.matrix import MatrixEnclosure, as_matrix
from verify_kernels.self_test import check_arithmetic
from verify_kernels.spectral_norm import enclose_spectral_norm

PRODUCTS = "matrix products are conventional (checked by a self-test, not proved)"
SMALL_RESIDUAL = 0.125  # below it the Frobenius norm of the residual is close enough
WITNESS = "right-inverse"


@dataclass(frozen=True)
class Preconditioned:
    """What an approximate right inverse shows.

    Args:
        residual: encloses alpha = ||I - M R||_2.
        inverse_norm: encloses r = ||R||_2, or a bound of it.
        smallest: encloses sigma_n(Z) for every Z in the enclosure; [0, inf) if nothing is proved.
    """

    residual: Evidence
    inverse_norm: Evidence
    smallest: Enclosure


def precondition(features: Features, *, ones: bool, backend: str = "auto") -> Preconditioned:
    """Bound ||I - M R|| and ||R|| for R from a QR factorisation or an inverse in plain floats.

    Args:
        features: the enclosure; M is its middle, shape (n, m), finite. Scale the rows first with
            `scaling.equilibrated` where only the rank matters.
        ones: whether the column of ones is appended.
        backend: which products; every one is rigorous.

    Returns:
        Two evidences and the bound of sigma_n. The witness of the residual (kind
        ``right-inverse``) is R, with the power of two by which M was divided.

    Error bound:
        ||I - M R||_2 <= ||fl(I - P)|| (1 + u) + gamma_m ||M||_F ||R||_F + n tau_m, P = fl(M R);
        useful for condition numbers of M up to about 1e11.

    Raises:
        InputError: M is not finite. BackendError: the machine does not compute as assumed.
    """
    return _precondition(features, ones, backend, slices=None)


def precondition_closely(
    features: Features, *, ones: bool, backend: str = "auto", slices: int = 3
) -> Preconditioned:
    """Do the same with M R in error-free split products, and a second factor in the inverse.

    With M R = hi + lo + E and an approximate inverse Q of hi + lo, the right inverse is R Q:
    I - M R Q = (I - hi Q) - lo Q - E Q, and ||R Q|| <= ||R|| ||Q||.

    Args:
        features: as `precondition`.
        ones: as `precondition`.
        backend: as `precondition`.
        slices: slices a factor, 3 (6 products) or 4 (10 products).

    Returns:
        As `precondition`; the witness holds R and Q.

    Error bound:
        ||fl(I - fl(hi Q))|| (1 + u) + gamma_n ||hi||_F ||Q||_F + n tau_n + (||lo||_F +
        ||E||_F) ||Q||_F; useful for condition numbers up to about 1e15.

    Raises:
        InputError: M is not finite. BackendError: the machine does not compute as assumed.
    """
    return _precondition(features, ones, backend, slices=slices)


@np.errstate(all="ignore")
def _precondition(
    features: Features, ones: bool, backend: str, slices: int | None
) -> Preconditioned:
    given = with_ones(features) if ones else features
    M = as_matrix(given.mid, where="precondition")
    n, m = M.shape
    check_arithmetic(backend, size=max(n, m))
    if n == 0 or n > m:
        return _open("the matrix has more rows than columns" if n else "the matrix has no rows")
    scaled, exponent = in_range(M)
    if scaled is None:
        return _open("the entries span more than the range of binary64")
    R = _right_inverse(scaled)
    if R is None:
        return _open("no approximate right inverse: a factor is singular or overflows")
    module = get_backend(backend, size=max(n, m))
    if slices is None:
        alpha, r = _residual(scaled, R, module), _norm(R, backend)
        data = {"right_inverse": R, "exponent": exponent}
    else:
        split = product_with_error(scaled, R, slices, backend=backend)
        Q = None if split is None else _right_inverse(split[0])
        if split is None or Q is None:
            return _open("the split product does not fit, or its inverse overflows")
        hi, lo, lost = split
        rest = mul_up(add_up(norm_up(lo), lost), norm_up(Q))
        alpha = add_up(_residual(hi, Q, module), rest)
        r = mul_up(_norm(R, backend), _norm(Q, backend))
        data = {"right_inverse": R, "correction": Q, "exponent": exponent}
    return _result(alpha, r, exponent, radius_bound(given), Witness(WITNESS, data))


def _right_inverse(M: Array) -> Array | None:
    """Approximate a right inverse of M, shape (n, m), n <= m; None if it is not finite."""
    n, m = M.shape
    try:
        if n == m:
            R = np.linalg.inv(M)
        else:
            Q, T = np.linalg.qr(M.T)
            R = Q @ scipy.linalg.lapack.dtrtri(T)[0].T
    except np.linalg.LinAlgError:
        return None
    return np.ascontiguousarray(R, dtype=np.float64) if np.isfinite(R).all() else None


def _residual(M: Array, R: Array, module: ModuleType) -> float:
    """Return an upper bound of ||I - M R||_2."""
    n, m = M.shape
    C = -module.product(M, R)
    places = np.arange(n)
    C[places, places] += 1.0
    frobenius = norm_up(C)
    size = frobenius
    if SMALL_RESIDUAL < frobenius < math.inf:
        size = min(size, _norm(C, module.NAME))
    lost = mul_up(gamma(m), norm_up(M), norm_up(R))
    under = mul_up(float(n), tau(m, float(np.abs(M).max()), float(np.abs(R).max())))
    # the subtraction from 1 is rounded entrywise: |C - (I - P)| <= u |C|
    return add_up(size, mul_up(U, frobenius), lost, under)


def _norm(matrix: Array, backend: str) -> float:
    """Return an upper bound of the spectral norm, in floats also where it could be exact."""
    given = MatrixEnclosure(matrix, np.zeros_like(matrix))
    value = enclose_spectral_norm(given, backend=backend, with_witness=False).enclosure()
    return min(up(value.hi_float), norm_up(matrix))


def _result(alpha: float, r: float, exponent: int, rho: float, witness: Witness) -> Preconditioned:
    unit = Fraction(2) ** exponent
    residual = Enclosure(0, alpha)
    scaled = Fraction(r) / unit if math.isfinite(r) else INF
    norm = Enclosure(0, scaled)
    how = "approximate right inverse, residual bounded"
    open_residual = "" if alpha < 1.0 else "the residual of the right inverse is not below 1"
    low = Fraction(0)
    if alpha < 1.0 and isinstance(scaled, Fraction) and scaled > 0 and math.isfinite(rho):
        bound = round_down((1 - Fraction(alpha)) / scaled - Fraction(rho))
        low = max(low, Fraction(bound))
    return Preconditioned(
        Evidence(residual, witness, (PRODUCTS,), how, open_residual),
        Evidence(norm, None, (PRODUCTS,), "spectral norm of the right inverse"),
        Enclosure(low, INF),
    )


def _open(reason: str) -> Preconditioned:
    nothing = Enclosure(0, INF)
    return Preconditioned(
        Evidence(nothing, why_open=reason), Evidence(nothing, why_open=reason), nothing
    )

"""The extreme singular values of every matrix in an enclosure."""

from __future__ import annotations

import math
from fractions import Fraction

import numpy as np

from verify.enclosure import INF, Enclosure
from verify.errors import InputError
from verify_kernels import small_spectrum
from verify_kernels._rounding import Array, U, add_up, div_up, mul_up, norm_down, norm_up
from verify_kernels.forward.features import Features
from verify_kernels.full_rank.gram import SMALL, enclose_gram_smallest
from verify_kernels.full_rank.preconditioned import precondition, precondition_closely
from verify_kernels.full_rank.scaling import in_range, radius_bound, with_ones
from verify_kernels.full_rank.split_products import product_with_error
from verify_kernels.matrix import as_matrix, rational_matrix
from verify_kernels.self_test import check_arithmetic
from verify_kernels.spectral_norm import enclose_spectral_norm

CLOSE = Fraction(11, 10)  # a lower end within this factor of the upper one ends the search
EXACT_ROWS = 32  # up to here what floats cannot bound closely is bounded in exact arithmetic
SLICES = 5
STEPS = 6


@np.errstate(all="ignore")
def enclose_singular_extremes(
    features: Features, *, ones: bool, backend: str = "auto"
) -> tuple[Enclosure, Enclosure]:
    """Enclose sigma_n(Z) and sigma_max(Z) for every Z in the enclosure; n is the number of rows.

    With M the middle and rho >= ||Z - M||_F, no singular value moves by more than rho (Weyl).
    sigma_max(M) is the spectral norm. sigma_n(M) from below: the Gram matrix, then an
    approximate right inverse, then one with split products, until the ends are close. From
    above: ||v^T M|| / ||v|| for an approximate singular vector v, in split products.

    Args:
        features: the enclosure, middle of shape (n, m), n, m >= 1, finite.
        ones: whether the column of ones is appended.
        backend: which products and factorisations; every one is rigorous.

    Returns:
        (sigma_n, sigma_max). sigma_n is exactly 0 for n > m. To 64 bits, up to rho, for at most
        16 rows of at most 64 entries. Ends that cannot be bounded are 0 or infinite.

    Raises:
        InputError: no rows or columns, or a middle that is not finite. BackendError: the machine
            does not compute as assumed.
    """
    given = with_ones(features) if ones else features
    M = as_matrix(given.mid, where="enclose_singular_extremes")
    n, m = M.shape
    if M.size == 0:
        raise InputError(
            f"enclose_singular_extremes: expected rows and columns, but got shape {M.shape}"
        )
    check_arithmetic(backend, size=max(n, m))
    rho = radius_bound(given)
    if not math.isfinite(rho):
        return (Enclosure.exact(0) if n > m else Enclosure(0, INF)), Enclosure(0, INF)
    top = _moved(_largest(M, backend), rho)
    if n > m:
        return Enclosure.exact(0), top
    smallest = _moved(_smallest(Features(M, np.zeros(n)), backend), rho)
    return Enclosure(smallest.lo, min(smallest.hi, top.hi)), top


def _moved(value: Enclosure, rho: float) -> Enclosure:
    room = Fraction(rho)
    low = max(Fraction(0), value.lo - room) if isinstance(value.lo, Fraction) else Fraction(0)
    return Enclosure(low, value.hi + room if isinstance(value.hi, Fraction) else INF)


def _largest(M: Array, backend: str) -> Enclosure:
    return enclose_spectral_norm(M, backend=backend, with_witness=False).enclosure()


def _smallest(exact: Features, backend: str) -> Enclosure:
    """Enclose sigma_n(M) for n <= m."""
    n, m = exact.mid.shape
    gram = enclose_gram_smallest(exact, ones=False, backend=backend, with_witness=False)
    value = root(gram.enclosure())
    if (n <= SMALL and m <= 4 * SMALL) or _close(value):
        return value
    inverse: Array | None = None
    for rung in (precondition, precondition_closely):
        shown = rung(exact, ones=False, backend=backend)
        value = Enclosure(max(value.lo, shown.smallest.lo), value.hi)
        if shown.residual.witness is not None:
            inverse = shown.residual.witness.data["right_inverse"]
            high = _quotient(exact.mid, _leading_vector(inverse), backend)
            value = Enclosure(value.lo, min(value.hi, high))
        if _close(value):
            break
    if not _close(value) and n <= EXACT_ROWS and m <= 4 * EXACT_ROWS:
        exactly = rational_matrix(exact.mid)
        return root(small_spectrum.enclose_smallest_eigenvalue(exactly * exactly.transpose()))
    if inverse is None or value.lo == 0:
        high = _quotient(exact.mid, _left_vector(exact.mid), backend)
        value = Enclosure(value.lo, min(value.hi, high))
    return value


def root(value: Enclosure) -> Enclosure:
    """Enclose the square root of a quantity >= 0 to 128 bits."""
    low = root_bound(max(value.lo, Fraction(0)), up=False)
    return Enclosure(low, root_bound(value.hi, up=True))


def root_bound(value: Fraction | float, *, up: bool, bits: int = 128) -> Fraction | float:
    """Return a dyadic bound of the square root of a number >= 0 from one side."""
    if not isinstance(value, Fraction) or value == 0:
        return value
    size = value.numerator.bit_length() - value.denominator.bit_length()
    shift = bits - size // 2  # the root times 2^shift has about 128 bits
    scaled = value * Fraction(4) ** shift
    floor = math.isqrt(scaled.numerator // scaled.denominator)
    exact = Fraction(floor) ** 2 == scaled
    return Fraction(floor + int(up and not exact)) * Fraction(2) ** -shift


def _close(value: Enclosure) -> bool:
    return value.lo > 0 and value.hi <= value.lo * CLOSE


def _leading_vector(R: Array) -> Array:
    """Approximate the leading right singular vector of R, about the last left one of M."""
    v = np.asarray(np.random.default_rng(1950).standard_normal(R.shape[1]))
    for _ in range(STEPS):
        v = R.T @ (R @ v)
        v /= np.linalg.norm(v)
    return np.asarray(v)


def _left_vector(M: Array) -> Array:
    """Approximate the last left singular vector of M by LAPACK; zeros where it fails."""
    try:
        return np.ascontiguousarray(np.linalg.svd(M, full_matrices=False)[0][:, -1])
    except np.linalg.LinAlgError:
        return np.zeros(M.shape[0])


def _quotient(M: Array, v: Array, backend: str) -> Fraction | float:
    """Return an upper bound of ||v^T M|| / ||v|| >= sigma_n(M)."""
    scaled, exponent = in_range(M)
    if scaled is None or not np.isfinite(v).all():
        return INF
    split = product_with_error(v[None, :], scaled, SLICES, backend=backend)
    if split is None:
        return INF
    hi, lo, lost = split
    w = hi + lo
    # |fl(x + y) - (x + y)| <= u |fl(x + y)| for a sum of binary64 numbers
    high = div_up(add_up(norm_up(w), mul_up(U, norm_up(w)), lost), norm_down(v))
    return Fraction(high) * Fraction(2) ** exponent if math.isfinite(high) else INF

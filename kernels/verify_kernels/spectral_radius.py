"""Spectral radius of W: the largest modulus of an eigenvalue."""

from __future__ import annotations

import math
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.linalg import matrix_balance
from scipy.sparse import csr_array
from scipy.sparse.csgraph import connected_components

from verify.enclosure import INF, Enclosure, Endpoint
from verify.errors import InputError
from verify.evidence import Evidence
from verify_kernels._rounding import (
    Array,
    U,
    add_up,
    div_up,
    down,
    down_array,
    gamma,
    mul_up,
    norm_up,
    tau,
    up,
    up_array,
)
from verify_kernels.components import Index, diagonal_block, strong_components, zero_pattern
from verify_kernels.definiteness import PRODUCTS
from verify_kernels.enclosed_products import Balls, largest_entry, nonnegative_product_up, scale
from verify_kernels.matrix import MatrixEnclosure, rational_matrix
from verify_kernels.perron import as_enclosure, enclose_perron_root
from verify_kernels.positive_vector import power_of_two

EXACT_ALWAYS = 24  # up to here eigenvalues are roots of the exact characteristic polynomial
EXACT_WIDTH = 64  # up to here they are, where discs are too wide
EXPONENTS = 300  # entries that differ by more binary orders do not go into a polynomial
WIDE = 1e-6  # relative width from which on another method is tried
SQUARINGS = 9
HOW = "eigenvalue inclusions on each strongly connected block"


def enclose_spectral_radius(
    weight: ArrayLike | MatrixEnclosure, *, backend: str = "auto"
) -> Evidence:
    """Enclose rho(W) by eigenvalue inclusions on the strongly connected blocks of W.

    Small exact blocks: isolated roots of the exact characteristic polynomial. Otherwise discs of
    Gershgorin after an approximate diagonalisation with a verified inverse: a connected group of
    k discs contains k eigenvalues. Blocks that are (nearly) defective, or where this fails:
    rho(W) <= ||W^k||_F^(1/k) and rho(W) >= (|trace W^k|/m)^(1/k), k a power of two, and
    rho(W) <= rho(|W|).

    Args:
        weight: W, shape (m, m), m >= 0, finite floats (exact) or an enclosure of W.
        backend: has no effect on the value or on rigour: products in NumPy.

    Returns:
        Evidence with the two-sided enclosure; wide for large defective blocks. No witness.

    Error bound:
        real products of the complex factors: gamma_m |X||Y| + tau_m, any order; the inverse:
        V^-1 W V = C + (I - E)^-1 E C with E = I - X V, C = X W V.

    Raises:
        InputError: W is not square or not finite.

    Source:
        S. A. Gershgorin, Izv. Akad. Nauk SSSR 6 (1931); the rest is proved above.
    """
    given = as_enclosure(weight, where="enclose_spectral_radius")
    lo: Endpoint = Fraction(0)
    hi: Endpoint = Fraction(0)
    largest = 0
    for index in strong_components(zero_pattern(given)):
        low, high = _block_radius(diagonal_block(given, index), backend)
        lo, hi = max(lo, low), max(hi, high)
        largest = max(largest, len(index))
    value = Enclosure.outward(max(lo, Fraction(0)), hi)
    assumes = (PRODUCTS,) if largest > 2 else ()
    why = "" if value.is_bounded else "overflow of binary64"
    return Evidence(value, assumes=assumes, how=HOW, why_open=why)


def _block_radius(block: MatrixEnclosure, backend: str) -> tuple[Endpoint, Endpoint]:
    m = block.shape[0]
    if m == 1:
        return _scalar_radius(block)
    if m == 2 and block.is_exact:
        return _quadratic_radius(block)
    polynomial = block.is_exact and m <= EXACT_WIDTH and _is_moderate(block.mid)
    if polynomial and m <= EXACT_ALWAYS:
        return _polynomial_radius(block)
    scaled, unit = _scaled(block)
    lo, hi = _disc_radius(scaled)
    if _is_wide(lo, hi):
        if polynomial:
            return _polynomial_radius(block)
        low, high = _power_radius(scaled)
        perron = enclose_perron_root(scaled, backend=backend).value
        bound = perron.hi if isinstance(perron, Enclosure) else INF
        lo, hi = max(lo, low), min(hi, high, bound)
    return lo * unit, hi if isinstance(hi, float) else hi * unit


def _scaled(block: MatrixEnclosure) -> tuple[MatrixEnclosure, Fraction]:
    """Return the block divided by a power of two and that power, if its entries are far from 1."""
    exponent = math.frexp(largest_entry(block))[1]
    if abs(exponent) <= 300:
        return block, Fraction(1)
    exponent = min(max(exponent, -1000), 1000)
    factor = Balls.repeated(power_of_two(-exponent), block.shape[0])
    return scale(block, factor, None), power_of_two(exponent)


def _scalar_radius(block: MatrixEnclosure) -> tuple[Endpoint, Endpoint]:
    if block.exact is not None:
        entry = block.exact[0, 0]
        value = abs(Fraction(int(entry.p), int(entry.q)))
        return value, value
    mid = abs(Fraction(float(block.mid[0, 0])))
    rad = Fraction(0) if block.rad is None else Fraction(float(block.rad[0, 0]))
    return max(Fraction(0), mid - rad), mid + rad


def _is_wide(lo: Endpoint, hi: Endpoint) -> bool:
    return isinstance(hi, float) or hi - lo > hi * Fraction(WIDE)


def _is_moderate(mid: Array) -> bool:
    """Whether the exponents of the entries differ by so little that polynomials stay small."""
    exponents = np.frexp(mid)[1][mid != 0.0]
    return bool(np.ptp(exponents) <= EXPONENTS) if exponents.size else True


# ---------------------------------------------------------------- characteristic polynomial


def _quadratic_radius(block: MatrixEnclosure) -> tuple[Endpoint, Endpoint]:
    """Return bounds of the larger modulus of the roots of x^2 - t x + d, exact t and d."""
    from flint import arb, ctx

    exact = block.rational()
    trace, determinant = exact[0, 0] + exact[1, 1], exact.det()
    discriminant = trace * trace - 4 * determinant
    saved = ctx.prec
    try:
        ctx.prec = 192
        if discriminant < 0:
            ball = arb(determinant).sqrt()
        else:
            ball = (arb(abs(trace)) + arb(discriminant).sqrt()) / 2
        value = Enclosure.from_arb(ball)
    finally:
        ctx.prec = saved
    return value.lo, value.hi


def _polynomial_radius(block: MatrixEnclosure) -> tuple[Endpoint, Endpoint]:
    from flint import arb, ctx

    exact = block.exact if block.exact is not None else rational_matrix(block.mid)
    numerators, denominator = exact.numer_denom()
    saved = ctx.prec
    try:
        ctx.prec = 192
        roots = [abs(root) for root, _ in numerators.charpoly().complex_roots()]
        largest = roots[0]
        for root in roots[1:]:
            largest = largest.max(root)
        value = Enclosure.from_arb(arb(largest) / denominator)
    finally:
        ctx.prec = saved
    return value.lo, value.hi


# ---------------------------------------------------------------- discs


@dataclass(frozen=True, eq=False)
class _Complex:
    """A complex matrix as two real ones: products are real, hence conventional."""

    re: Array
    im: Array

    def modulus(self) -> Array:
        """|re| + |im| entrywise, an upper bound of the modulus."""
        return up_array(np.abs(self.re) + np.abs(self.im))

    def times(self, other: _Complex) -> _Complex:
        """The product in plain arithmetic."""
        return _Complex(
            self.re @ other.re - self.im @ other.im, self.re @ other.im + self.im @ other.re
        )


def _disc_radius(block: MatrixEnclosure) -> tuple[Endpoint, Endpoint]:
    """Return bounds by Gershgorin's discs of X W V, X ~ V^-1, or (0, inf)."""
    with np.errstate(all="ignore"):
        balanced = _balanced(block)
        try:
            vectors, inverse = _eigenvectors(balanced.mid)
        except np.linalg.LinAlgError:
            return Fraction(0), INF
        discs = _discs(balanced, vectors, inverse)
        if discs is None:
            return Fraction(0), INF
        centre, radius = discs
        modulus = np.hypot(centre.real, centre.imag)
        outer = up_array(up_array(modulus * (1.0 + 8.0 * U)) + radius)
        inner = down_array(down_array(modulus * (1.0 - 8.0 * U)) - radius)
        hi = float(np.max(outer))
        lo = max(float(np.min(inner[group])) for group in _groups(centre, radius))
    if not math.isfinite(hi):
        return Fraction(0), INF
    return Fraction(max(lo, 0.0)), Fraction(hi)


def _balanced(block: MatrixEnclosure) -> MatrixEnclosure:
    """Return a similar matrix, scaled by powers of two so that rows and columns are alike."""
    _, (factors, _) = matrix_balance(block.mid, permute=False, separate=True)
    if not (np.isfinite(factors).all() and (factors > 0.0).all()):
        return block
    zero = np.zeros(len(factors))
    try:
        return scale(block, Balls(1.0 / factors, zero), Balls(factors, zero))
    except InputError:
        return block


def _eigenvectors(mid: Array) -> tuple[_Complex, _Complex]:
    if np.array_equal(mid, mid.T):
        vectors = np.linalg.eigh(mid)[1]
        zero = np.zeros_like(vectors)
        return _Complex(vectors, zero), _Complex(np.ascontiguousarray(vectors.T), zero)
    vectors = np.linalg.eig(mid)[1]
    inverse = np.linalg.inv(vectors)
    return _split(vectors), _split(inverse)


def _split(matrix: Any) -> _Complex:
    return _Complex(np.ascontiguousarray(matrix.real), np.ascontiguousarray(matrix.imag * 1.0))


def _discs(block: MatrixEnclosure, vectors: _Complex, inverse: _Complex) -> Any:
    """Return centres and radii of discs for the eigenvalues of every matrix of the block."""
    m = block.shape[0]
    ones = np.ones((m, 1))
    g = up(2.0 * gamma(m + 4))
    size_v, size_x, size_w = vectors.modulus(), inverse.modulus(), np.abs(block.mid)
    if not (np.isfinite(size_v).all() and np.isfinite(size_x).all()):
        return None
    sum_v = nonnegative_product_up(size_v, ones)
    moved = _Complex(block.mid @ vectors.re, block.mid @ vectors.im)
    lost = up(4.0 * m * tau(m, _top(size_w), _top(size_v)))
    error = up_array(up_array(g * nonnegative_product_up(size_w, sum_v)) + lost)
    if block.rad is not None:
        error = up_array(error + nonnegative_product_up(block.rad, sum_v))
    similar = inverse.times(moved)
    size_p = moved.modulus()
    lost = up(8.0 * m * tau(m, _top(size_x), _top(size_p)))
    sum_p = nonnegative_product_up(size_p, ones)
    error = up_array(g * nonnegative_product_up(size_x, sum_p)) + nonnegative_product_up(
        size_x, error
    )
    error = up_array(up_array(error * (1.0 + 4.0 * U)) + lost)
    defect = inverse.times(vectors)
    defect.re[np.diag_indices(m)] -= 1.0
    lost = up(8.0 * m * tau(m, _top(size_x), _top(size_v)) + 8.0 * U)
    off = nonnegative_product_up(defect.modulus(), ones)
    off = up_array(up_array(off + up_array(g * nonnegative_product_up(size_x, sum_v))) + lost)
    worst = float(np.max(off))
    if not worst < 1.0:
        return None
    size_c = similar.modulus()
    norm = float(np.max(up_array(nonnegative_product_up(size_c, ones) + error)))
    centre = np.diagonal(similar.re) + 1j * np.diagonal(similar.im)
    np.fill_diagonal(size_c, 0.0)
    radius = up_array(nonnegative_product_up(size_c, ones) + error)
    share = up_array(off * div_up(norm, down(1.0 - worst)))
    radius = up_array(radius + share)[:, 0]
    return (centre, radius) if np.isfinite(radius).all() else None


def _top(a: Array) -> float:
    return float(np.max(a, initial=0.0))


def _groups(centre: NDArray[np.complex128], radius: Array) -> list[Index]:
    """Return the connected groups of discs: k discs contain k eigenvalues."""
    difference = centre[:, None] - centre[None, :]
    distance = np.hypot(difference.real, difference.imag) * (1.0 - 16.0 * U)
    touching = ~(distance > up_array(radius[:, None] + radius[None, :]))
    count, labels = connected_components(csr_array(touching), directed=False)
    return [np.flatnonzero(labels == k) for k in range(count)]


# ---------------------------------------------------------------- powers


def _power_radius(block: MatrixEnclosure) -> tuple[Endpoint, Endpoint]:
    """Return bounds by norms and traces of W^(2^k), with the error carried along."""
    with np.errstate(all="ignore"):
        balanced = _balanced(block)
        power = balanced.mid
        error = 0.0 if balanced.rad is None else norm_up(balanced.rad)
        exponent = 0  # W^(2^k) = 2^exponent (power + error)
        lo: Endpoint = Fraction(0)
        hi: Endpoint = INF
        m = len(power)
        for k in range(SQUARINGS + 1):
            norm = norm_up(power)
            if not (math.isfinite(norm) and math.isfinite(error)):
                break
            shift = -math.frexp(norm)[1] if norm > 0.0 else 0
            power = np.ldexp(power, shift)
            error = add_up(up(float(np.ldexp(error, shift))), mul_up(float(m), 2.0**-1074))
            exponent -= shift
            norm = norm_up(power)
            hi = min(hi, _root(add_up(norm, error), exponent, k, lower=False))
            lo = max(lo, _root(_trace_down(power, error), exponent, k, lower=True))
            rounding = add_up(
                mul_up(gamma(m), norm, norm), mul_up(float(m), tau(m, _top(np.abs(power)), 0.0))
            )
            error = add_up(mul_up(2.0, norm, error), mul_up(error, error), rounding)
            power = power @ power
            exponent *= 2
    return lo, hi


def _trace_down(power: Array, error: float) -> float:
    """Return a lower bound of |trace|/m for every matrix within ``error`` in Frobenius norm."""
    diagonal = np.diagonal(power)
    m = len(diagonal)
    total = abs(float(np.sum(diagonal)))
    slack = mul_up(gamma(m), up(float(np.sum(np.abs(diagonal))) * (1.0 + 2.0 * gamma(m))))
    slack = add_up(slack, mul_up(up(math.sqrt(m)), error))
    return max(0.0, down(down(total - slack) / m))


def _root(value: float, exponent: int, k: int, *, lower: bool) -> Fraction | float:
    """Return a bound of (2^exponent value)^(1/2^k)."""
    from flint import arb, ctx, fmpz

    if not math.isfinite(value):
        return Fraction(0) if lower else INF
    if value <= 0.0:
        return Fraction(0)
    saved = ctx.prec
    try:
        ctx.prec = 128
        ball = arb(value) * arb((fmpz(1), fmpz(exponent)))
        for _ in range(k):
            ball = ball.sqrt()
        found = Enclosure.from_arb(ball)
    finally:
        ctx.prec = saved
    return found.lo if lower else found.hi

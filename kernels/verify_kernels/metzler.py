"""Two-sided bounds of the Perron abscissa of a matrix with entries >= 0 off the diagonal.

For such a (Metzler) matrix Z and any v > 0, Collatz and Wielandt give

    min_i (Z v)_i / v_i  <=  r(Z)  <=  max_i (Z v)_i / v_i,

where r(Z) is the largest real part of an eigenvalue (the spectral radius if Z >= 0). r(Z) is the
largest r of a strongly connected diagonal block. How v was found needs no proof.

Source: L. Collatz, Math. Z. 48 (1942); H. Wielandt, Math. Z. 52 (1950). The proof for reducible
Z is one line: Z v <= t v with v > 0 bounds the weighted infinity norm of Z + s I by t + s, and
Z v >= t v gives (Z + s I)^k v >= (t + s)^k v.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from typing import Any

import numpy as np

from verify.enclosure import INF, Enclosure, Endpoint
from verify_kernels._rounding import (
    ETA,
    Array,
    down,
    down_array,
    gamma,
    tau,
    up_array,
)
from verify_kernels.components import Index, rational_block, strong_components
from verify_kernels.perron_vector import perron_vector, refined_perron_vector
from verify_kernels.positive_vector import (
    integer_matrix,
    integer_vector,
    power_of_two,
    quotients,
)

EXACT_ALWAYS = 32  # up to here quotients are taken in integers
REFINED = 128  # up to here v is refined beyond binary64 where the aim asks for it
EXACT_VECTOR = 1100  # up to here the quotients of the float vector are taken in integers
ASSEMBLED = 512  # up to here a vector for the whole reducible matrix is put together


@dataclass(frozen=True, eq=False)
class Metzler:
    """Bounds of Z: lower <= Z <= upper entrywise, as diagonal and off-diagonal part.

    ``off_*`` are >= 0; their own diagonal counts as well (it is zero unless ``diagonal_*`` is).
    ``exact`` is Z itself as ``fmpq_mat`` where it is known and is not equal to ``upper``.
    """

    diagonal_lower: Array
    off_lower: Array
    diagonal_upper: Array
    off_upper: Array
    exact: Any = None

    @property
    def size(self) -> int:
        """The number of rows."""
        return len(self.diagonal_upper)

    @property
    def is_point(self) -> bool:
        """Whether lower and upper are one matrix."""
        return self.off_lower is self.off_upper

    @property
    def is_finite(self) -> bool:
        """Whether the bounds stayed in the range of binary64."""
        parts = (self.diagonal_lower, self.diagonal_upper, self.off_upper)
        return all(bool(np.isfinite(part).all()) for part in parts)

    def block(self, index: Index) -> Metzler:
        """Return the diagonal block of these indices."""
        if len(index) == self.size:
            return self
        grid = np.ix_(index, index)
        off = self.off_upper[grid]
        return Metzler(
            self.diagonal_lower[index],
            off if self.is_point else self.off_lower[grid],
            self.diagonal_upper[index],
            off,
            None if self.exact is None else rational_block(self.exact, index),
        )

    def integers(self) -> tuple[Any, Fraction]:
        """Z (or its upper bound) as unit N with an integer matrix N."""
        if self.exact is not None:
            numerators, denominator = self.exact.numer_denom()
            return numerators, Fraction(1, int(denominator))
        size = self.size
        flat, unit = integer_matrix(np.vstack([self.off_upper, self.diagonal_upper[None, :]]))
        from flint import fmpz_mat

        entries = flat.entries()
        for i, value in enumerate(entries[size * size :]):
            entries[i * size + i] += value
        return fmpz_mat(size, size, entries[: size * size]), unit


@dataclass(frozen=True)
class Root:
    """Bounds of r(Z) and, for the upper one, eta > 0 in integers with Z eta <= bound eta."""

    lo: Endpoint
    hi: Endpoint
    eta: tuple[int, ...] | None = None
    bound: Fraction | None = None
    in_floats: bool = False  # whether an end rests on a product in floating point

    def enclosure(self, aim: Enclosure | None) -> Enclosure:
        """Return [lo, hi] rounded outward to 128 bits, or to more where the aim asks for it."""
        for bits in (128, 640, 5000):
            value = Enclosure.outward(self.lo, self.hi, bits=bits)
            if aim is None or (_below(value, aim) == _below(self, aim)
                               and _above(value, aim) == _above(self, aim)):  # fmt: skip
                break
        return value


def _below(bounds: Enclosure | Root, aim: Enclosure) -> bool:
    return bounds.hi < aim.lo


def _above(bounds: Enclosure | Root, aim: Enclosure) -> bool:
    return bounds.lo > aim.hi


def enclose_root(matrix: Metzler, aim: Enclosure | None) -> Root:
    """Bound the Perron abscissa of every Z between the two matrices.

    Args:
        matrix: the bounds of Z, m >= 0; m = 0 gives the point 0, infinite bounds an open block.
        aim: where the statement turns; while it lies between the bounds they are refined.

    Returns:
        lo <= r(Z) <= hi; relative width about 1e-12 for well-scaled blocks.
    """
    if matrix.size == 0:
        return Root(Fraction(0), Fraction(0), (), Fraction(0))
    pattern = matrix.off_upper != 0.0
    blocks = strong_components(pattern)
    if len(blocks) == 1:
        return _block_root(matrix, aim)
    roots = [_block_root(matrix.block(index), aim) for index in blocks]
    lo, hi = max(root.lo for root in roots), max(root.hi for root in roots)
    assembled = _assemble(matrix, blocks, roots, hi, aim)
    in_floats = any(root.in_floats for root in roots)
    eta, bound = assembled if assembled else (None, None)
    return Root(lo, hi, eta, bound, in_floats)


# ---------------------------------------------------------------- one irreducible block


def _block_root(block: Metzler, aim: Enclosure | None) -> Root:
    if block.size == 1:
        return _scalar_root(block)
    rational = block.exact is not None or (block.is_point and block.is_finite)
    vector, root = np.ones(block.size), Root(-INF, INF)
    if block.is_finite:
        vector, root = _float_root(block)
    if rational and block.size <= EXACT_ALWAYS:
        root = _better(_exact_root(block, integer_vector(vector)), root)
    if rational and block.size <= REFINED:
        for bits in (192, 576, 4608):
            if not _is_open(root, aim) or (bits > 576 and block.size > EXACT_ALWAYS):
                break
            root = _better(_refined_root(block, bits), root)
        if _spans(root, aim):
            root = _at_the_aim(block, root, aim)
    elif rational and block.size <= EXACT_VECTOR and _spans(root, aim):
        root = _better(_exact_root(block, integer_vector(vector)), root)
    return root


def _scalar_root(block: Metzler) -> Root:
    if block.exact is not None:
        entry = block.exact[0, 0]
        value = Fraction(int(entry.p), int(entry.q))
        return Root(value, value, (1,), value)
    if not block.is_finite:
        return Root(-INF, INF)
    lo = Fraction(float(block.diagonal_lower[0])) + Fraction(float(block.off_lower[0, 0]))
    hi = Fraction(float(block.diagonal_upper[0])) + Fraction(float(block.off_upper[0, 0]))
    return Root(lo, hi, (1,), hi)


def _spans(root: Root, aim: Enclosure | None) -> bool:
    """Whether the aim lies between the bounds and these are not one point."""
    if aim is None or root.lo == root.hi:
        return False
    return root.lo <= aim.hi and aim.lo <= root.hi


def _is_open(root: Root, aim: Enclosure | None) -> bool:
    """Whether refining is worth while: the aim is between the bounds, or they are wide."""
    if _spans(root, aim):
        return True
    if not (isinstance(root.lo, Fraction) and isinstance(root.hi, Fraction)):
        return True
    size = max(abs(root.lo), abs(root.hi))
    return root.hi - root.lo > size * Fraction(1, 2**38)


def _better(one: Root, other: Root) -> Root:
    """Return the intersection of two valid bounds, with the witness of the smaller upper end."""
    lo = max(one.lo, other.lo)
    best = one if one.hi <= other.hi else other
    tight = one if one.lo >= other.lo else other
    return Root(lo, best.hi, best.eta, best.bound, best.in_floats or tight.in_floats)


# ---------------------------------------------------------------- in binary64


def _float_root(block: Metzler) -> tuple[Array, Root]:
    """Return v and the bounds by it; the matrix is scaled by a power of two if far from 1."""
    largest = max(
        float(np.max(np.abs(block.diagonal_upper))),
        float(np.max(np.abs(block.diagonal_lower))),
        float(np.max(block.off_upper)),
    )
    exponent = math.frexp(largest)[1]
    if largest == 0.0 or abs(exponent) <= 400:
        exponent = 0
    scaled, slack = (block, 0.0) if exponent == 0 else _scaled(block, -exponent)
    with np.errstate(all="ignore"):
        vector = perron_vector(scaled.diagonal_upper, scaled.off_upper)
        lo, hi = float_quotients(scaled, vector, slack)
    unit = power_of_two(exponent)
    low: Endpoint = Fraction(lo) * unit if math.isfinite(lo) else -INF
    high: Endpoint = Fraction(hi) * unit if math.isfinite(hi) else INF
    if isinstance(high, float):
        return vector, Root(low, high, in_floats=True)
    return vector, Root(low, high, tuple(integer_vector(vector)), high, in_floats=True)


def _scaled(block: Metzler, shift: int) -> tuple[Metzler, float]:
    """Return 2^shift Z and a bound of the entrywise error (entries may underflow)."""
    parts = [block.diagonal_lower, block.off_lower, block.diagonal_upper, block.off_upper]
    moved = [np.ldexp(part, shift) for part in parts]
    off_lower = moved[3] if block.is_point else moved[1]
    return Metzler(moved[0], off_lower, moved[2], moved[3]), ETA if shift < 0 else 0.0


def float_quotients(block: Metzler, vector: Array, slack: float = 0.0) -> tuple[float, float]:
    """Return float bounds of the least and the largest (Z v)_i / v_i.

    Args:
        block: bounds of Z.
        vector: v > 0.
        slack: bound of |stored - meant| for every entry, at most 2^-1074.

    Error bound:
        |fl(Z v) - Z v| <= gamma_n |Z||v| + tau_n in any order, Z >= 0 off the diagonal, so the
        exact product lies between (w - tau)(1 - gamma) and (w + tau)/(1 - gamma); tau is taken
        for 2 n terms, which also pays for ``slack``.
    """
    n = block.size
    if not (np.isfinite(vector).all() and (vector > 0.0).all()):
        return -math.inf, math.inf
    lost = tau(2 * n, float(np.max(block.off_upper)), float(np.max(vector)))
    keep = down(1.0 - gamma(n + 2))
    product = block.off_upper @ vector
    high = up_array(up_array(product + lost) / keep)
    high = up_array(block.diagonal_upper + slack) + up_array(high / vector)
    if not block.is_point:
        product = block.off_lower @ vector
    low = np.maximum(down_array(down_array(product - lost) * keep), 0.0)
    low = down_array(block.diagonal_lower - slack) + np.maximum(down_array(low / vector), 0.0)
    return float(np.min(down_array(low))), float(np.max(up_array(high)))


# ---------------------------------------------------------------- in integers


def _exact_root(block: Metzler, eta: Sequence[int]) -> Root:
    numerators, unit = block.integers()
    lo, hi = quotients(numerators, unit, eta)
    return Root(lo, hi, tuple(eta), hi)


def _at_the_aim(block: Metzler, root: Root, aim: Enclosure | None) -> Root:
    """Raise the lower end to the aim if the aim is exactly an eigenvalue."""
    if aim is None or not aim.is_exact or not isinstance(aim.lo, Fraction):
        return root
    from flint import fmpq, fmpq_mat

    numerators, unit = block.integers()
    target = aim.lo / unit
    shifted = -fmpq_mat(numerators)
    for i in range(block.size):
        shifted[i, i] = shifted[i, i] + fmpq(target.numerator, target.denominator)
    if shifted.det() != 0:
        return root
    return replace(root, lo=max(root.lo, aim.lo))


def _refined_root(block: Metzler, bits: int) -> Root:
    """Search v with ``bits`` bits; its quotients are exact."""
    numerators, unit = block.integers()
    eta = refined_perron_vector(numerators, bits)
    lo, hi = quotients(numerators, unit, eta)
    return Root(lo, hi, tuple(eta), hi)


# ---------------------------------------------------------------- a reducible matrix


def _assemble(
    matrix: Metzler,
    blocks: Sequence[Index],
    roots: Sequence[Root],
    hi: Endpoint,
    aim: Enclosure | None,
) -> tuple[tuple[int, ...], Fraction] | None:
    """Return eta > 0 in integers and a bound with Z eta <= bound eta, from the blocks' vectors.

    Blocks are scaled by powers of two, last block first, so that the slack of each block's own
    inequality pays for its entries in later blocks; everything is exact.
    """
    if isinstance(hi, float) or matrix.size > ASSEMBLED or not matrix.is_finite:
        return None
    if any(root.eta is None for root in roots):
        return None
    numerators, unit = matrix.integers()
    table = [[int(value) for value in row] for row in numerators.tolist()]
    coupled = _is_coupled(matrix, blocks)
    bound = _target(hi, aim, matrix) if coupled else hi
    eta = [0] * matrix.size
    done: list[int] = []
    for index, root in reversed(list(zip(blocks, roots, strict=True))):
        rows = [int(i) for i in index]
        shift = 0
        for i, weight in zip(rows, root.eta or (), strict=True):
            own = sum(table[i][j] * w for j, w in zip(rows, root.eta or (), strict=True))
            room = bound * weight - own * unit
            outside = sum(table[i][j] * eta[j] for j in done if table[i][j]) * unit
            if outside > 0:
                if room <= 0:
                    return None
                shift = max(shift, _exponent_above(outside / room))
        for i, weight in zip(rows, root.eta or (), strict=True):
            eta[i] = weight << shift
        done += rows
    return tuple(eta), bound


def _is_coupled(matrix: Metzler, blocks: Sequence[Index]) -> bool:
    inside = sum(int(np.count_nonzero(matrix.off_upper[np.ix_(b, b)])) for b in blocks)
    return inside < int(np.count_nonzero(matrix.off_upper))


def _target(hi: Fraction, aim: Enclosure | None, matrix: Metzler) -> Fraction:
    """Return a dyadic bound > hi, halfway to the aim if that is above."""
    if aim is not None and isinstance(aim.lo, Fraction) and hi < aim.lo:
        return hi + (aim.lo - hi) / 2
    size = Fraction(float(np.max(matrix.off_upper)))
    return hi + max(abs(hi), size * Fraction(1, 2**20)) * Fraction(1, 2**20)


def _exponent_above(ratio: Fraction) -> int:
    """Return some k >= 0 with 2^k >= ratio, at most one larger than needed."""
    return max(0, ratio.numerator.bit_length() - ratio.denominator.bit_length() + 1)


def modulus_bounds(mid: Array, rad: Array | None) -> tuple[Array, Array]:
    """Return float matrices (lower, upper) around |X| for |X - mid| <= rad; one object if exact."""
    modulus = np.abs(mid)
    if rad is None:
        return modulus, modulus
    with np.errstate(over="ignore"):
        lower = np.maximum(down_array(modulus - rad), 0.0)
        upper = np.where(rad == 0.0, modulus, up_array(modulus + rad))
    return np.where(rad == 0.0, modulus, lower), upper

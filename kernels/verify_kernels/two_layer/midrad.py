"""Float vectors and matrices with radii: |x - mid| <= rad entrywise, a few operations.

Radii are computed in plain floats and then raised by a factor above all their rounding errors;
a radius that is not finite means that nothing is known.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import numpy as np

from verify.enclosure import Enclosure
from verify_kernels._rounding import OMEGA, Array, U, down, gamma, tau, up

RAISE = 1.0 + 2.0**-40  # far above (1 + u)^16


@dataclass(frozen=True, eq=False)
class MidRad:
    """All x with |x - mid| <= rad entrywise."""

    mid: Array
    rad: Array

    @classmethod
    def between(cls, lo: Array, hi: Array) -> MidRad:
        """Enclose [lo, hi]: half the width, and the rounding of the middle, u |mid| + eta."""
        mid = 0.5 * lo + 0.5 * hi
        return cls(mid, ((0.5 * hi - 0.5 * lo) + 2.0 * U * np.abs(mid)) * RAISE + OMEGA)

    @classmethod
    def exact(cls, mid: Array) -> MidRad:
        """Enclose floats."""
        return cls(mid, np.zeros_like(mid))

    def ends(self) -> tuple[Array, Array]:
        """Return lower and upper ends: u (|mid| + rad) pays for the last rounding."""
        reach = (self.rad + 2.0 * U * (np.abs(self.mid) + self.rad)) * RAISE
        return self.mid - reach, self.mid + reach

    def __add__(self, other: MidRad) -> MidRad:
        mid = self.mid + other.mid
        return MidRad(mid, (self.rad + other.rad + 2.0 * U * np.abs(mid)) * RAISE)

    def __sub__(self, other: MidRad) -> MidRad:
        mid = self.mid - other.mid
        return MidRad(mid, (self.rad + other.rad + 2.0 * U * np.abs(mid)) * RAISE)

    def __mul__(self, other: MidRad) -> MidRad:
        mid = self.mid * other.mid
        spread = np.abs(self.mid) * other.rad + self.rad * (np.abs(other.mid) + other.rad)
        return MidRad(mid, (spread + 2.0 * U * np.abs(mid)) * RAISE + OMEGA)

    def times(self, factor: Array) -> MidRad:
        """Multiply by floats."""
        mid = self.mid * factor
        return MidRad(mid, (self.rad * np.abs(factor) + 2.0 * U * np.abs(mid)) * RAISE + OMEGA)

    def dot(self, vector: Array) -> MidRad:
        """Multiply a matrix by a vector of floats: gamma_k |X||v| + tau_k."""
        k = len(vector)
        size = np.abs(vector)
        slack = (self.rad + gamma(k + 1) * np.abs(self.mid)) @ size
        return MidRad(self.mid @ vector, _raised(slack, k, self.mid, size))

    def square_sums(self) -> MidRad:
        """Return the sums of the squares of each row."""
        k = self.mid.shape[1]
        size = np.abs(self.mid)
        slack = np.einsum("ij,ij->i", 2.0 * size + self.rad, self.rad)
        mid = np.einsum("ij,ij->i", self.mid, self.mid)
        slack += 2.0 * gamma(k + 1) * mid
        return MidRad(mid, _raised(slack, k, size, size))

    def row_sizes(self) -> tuple[Array, Array]:
        """Return upper bounds of the Euclidean norms of the rows of mid and of rad."""
        return row_size(self.mid), row_size(self.rad)

    def total(self) -> Enclosure:
        """Enclose the sum of a vector; unbounded where it is not finite."""
        lo, hi = self.ends()
        return enclose_sums(lo, hi)

    def largest_modulus(self) -> Enclosure:
        """Enclose the largest |x_i|."""
        lo, hi = self.ends()
        top = float(np.max(np.maximum(np.abs(lo), np.abs(hi)), initial=0.0))
        low = float(np.max(np.maximum(lo, -hi), initial=0.0))
        if not (math.isfinite(top) and math.isfinite(low)):
            return Enclosure(0, math.inf)
        return Enclosure(low, top)


def _raised(slack: Array, k: int, left: Array, right: Array) -> Array:
    """Raise sums of k nonnegative products above their rounding and underflow."""
    keep = down(1.0 - up(2.0 * gamma(k + 8)))
    largest = float(np.max(left, initial=0.0)), float(np.max(right, initial=0.0))
    return slack * (RAISE / keep) + 4.0 * tau(k, abs(largest[0]), abs(largest[1]))


def row_size(matrix: Array) -> Array:
    """Return upper bounds of the Euclidean norms of the rows."""
    k = matrix.shape[1]
    squares = np.einsum("ij,ij->i", matrix, matrix)
    keep = down(1.0 - up(2.0 * gamma(k + 8)))
    return np.asarray(np.sqrt((squares + 8.0 * k * OMEGA) * (RAISE / keep)) * RAISE)


def enclose_sums(lo: Array, hi: Array) -> Enclosure:
    """Enclose a sum of numbers between two vectors; unbounded if an end is not finite."""
    try:
        low, high = math.fsum(lo.tolist()), math.fsum(hi.tolist())
    except (OverflowError, ValueError):
        return Enclosure.unbounded()
    if not (math.isfinite(low) and math.isfinite(high)):
        return Enclosure.unbounded()
    return Enclosure(down(low) if low else 0.0, up(high) if high else 0.0)


def scaled(value: Enclosure, factor: Fraction) -> Enclosure:
    """Multiply by an exact number >= 0."""
    if not value.is_bounded:
        return value if factor else Enclosure.exact(0)
    return Enclosure.outward(value.lo * factor, value.hi * factor)


def added(*terms: Enclosure) -> Enclosure:
    """Add enclosures."""
    if not all(term.is_bounded for term in terms):
        return Enclosure.unbounded()
    return Enclosure.outward(
        sum((term.lo for term in terms), Fraction(0)), sum((term.hi for term in terms), Fraction(0))
    )


def product_error(rows: int, blocks: int, sizes: Any, radii: Any, lengths: Array) -> float:
    """Return a Frobenius bound of sum_i (gamma ||d_i|| + ||rad d_i||) ||x_i||, before underflow.

    This is the error of sum_b fl(D_b^T X_b), whose products pass at most rows + blocks + 1
    roundings, plus that of the radii of D: both are sums of rank-one matrices.
    """
    weights = (gamma(rows + blocks + 2) * sizes + radii) * RAISE
    total = math.fsum((weights * lengths * RAISE).tolist())
    return up(total * RAISE) if total >= 0.0 else math.inf

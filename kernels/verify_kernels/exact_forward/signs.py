"""Float enclosures of entries, cheap enough to ride along with residues and decide signs.

An `Enclosed` value says |z - mid| <= radius for every entry; a radius of +inf or NaN and a midpoint
that is not finite say nothing: a sum that overflowed is inf whatever its sign, and inf >= inf. All
comparisons are written so that these decide nothing. A radius that is exactly 0 says that the
entry is the number in ``mid``.

Error bounds use u = 2^-53, gamma_k = k u/(1 - k u) for sums of k products in any order, and
tau_k = 4 k omega (1 + max|A| + max|B|) for underflow; what is computed from at most 15 rounded
operations of one sign is enlarged by `outward`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from verify_kernels._rounding import OMEGA, Array, U, down_array, gamma, tau, up_array

Mask = NDArray[np.bool_]
_GROW = 1.0 + 2.0**-48
_TINY = 2.0**-1060


@dataclass(frozen=True, eq=False)
class Enclosed:
    """|z - mid| <= radius entrywise."""

    mid: Array
    radius: Array

    @property
    def is_zero(self) -> Mask:
        """Where the entry is certainly exactly zero."""
        return np.asarray((self.mid == 0.0) & (self.radius == 0.0))

    def above(self, bound: float = 0.0) -> Mask:
        """Where z >= bound is certain."""
        low = self.mid >= self.radius if bound == 0.0 else self.low >= bound
        return np.asarray(low & np.isfinite(self.mid))

    def below(self, bound: float = 0.0) -> Mask:
        """Where z <= bound is certain."""
        high = self.mid <= -self.radius if bound == 0.0 else self.high <= bound
        return np.asarray(high & np.isfinite(self.mid))

    @property
    def low(self) -> Array:
        """Lower bounds, -inf where there is none."""
        found = np.where(self.radius == 0.0, self.mid, down_array(self.mid - self.radius))
        return np.where(np.isfinite(self.mid), found, -np.inf)

    @property
    def high(self) -> Array:
        """Upper bounds, +inf where there is none."""
        found = np.where(self.radius == 0.0, self.mid, up_array(self.mid + self.radius))
        return np.where(np.isfinite(self.mid), found, np.inf)


def exactly(mid: Any) -> Enclosed:
    """Return floats as the numbers that they are."""
    return Enclosed(np.asarray(mid, dtype=np.float64), np.zeros(np.shape(mid)))


def outward(radius: Array) -> Array:
    """Return a bound of what 15 rounded operations on numbers >= 0 gave, underflow included.

    (1 + 2^-48)(1 - u)^16 >= 1, and every underflow is at most 2^-1075 beside factors <= 2^10.
    """
    return np.asarray(radius * _GROW + _TINY)


def product(x: Enclosed, weight: Array) -> Enclosed:
    """Return x W^T over the last axis, k terms.

    With omega_j >= |W_j|_2: |z_ij - fl(M_i . W_j)| <= omega_j (|R_i|_2 + gamma_k |M_i|_2) + tau_k
    by Cauchy-Schwarz; products with rows of zeros on either side are exactly zero.
    """
    k = x.mid.shape[-1]
    mid = np.ascontiguousarray(x.mid.reshape(-1, k))
    radius = x.radius.reshape(-1, k)
    found = mid @ weight.T
    spread = row_norms(radius) if radius.any() else np.zeros(len(radius))
    sizes = row_norms(mid)
    rows = outward(spread + gamma(k) * sizes)
    if not weight.size:
        return exactly(found)
    slack = tau(k, float(np.abs(mid).max(initial=0.0)), float(np.abs(weight).max()))
    moduli = row_norms(weight)
    bound = outward(rows[:, None] * moduli[None, :] + slack)
    bound[:, moduli == 0.0] = 0.0
    bound[(sizes == 0.0) & (spread == 0.0)] = 0.0
    shape = (*x.mid.shape[:-1], len(weight))
    return Enclosed(found.reshape(shape), bound.reshape(shape))


def row_norms(rows: Array) -> Array:
    """Return upper bounds of the Euclidean norms of rows; 0 exactly for rows of zeros.

    sqrt((s + 4 k omega)/(1 - (k + 1) u)) for the sum s of k squares in any order.
    """
    k = rows.shape[1]
    squares = np.einsum("ij,ij->i", rows, rows)
    norms = outward(np.sqrt((squares + 4.0 * k * OMEGA) * (1.0 + 2.0 * (k + 4) * U)))
    return np.where(rows.any(axis=1), norms, 0.0)


def add(a: Enclosed, b: Enclosed, sign: float = 1.0) -> Enclosed:
    """Return a + b or a - b; |fl(x) - x| <= u |fl(x)| for one addition, without underflow."""
    mid = a.mid + sign * b.mid
    radius = (a.radius + b.radius + U * np.abs(mid)) * _GROW
    radius = np.where(np.broadcast_to(b.is_zero, mid.shape), a.radius, radius)
    radius = np.where(np.broadcast_to(a.is_zero, mid.shape), b.radius, radius)
    return Enclosed(mid, radius)


def mul(a: Enclosed, b: Enclosed) -> Enclosed:
    """Return a b: |A| R_b + |B| R_a + R_a R_b + u |fl(A B)| + eta."""
    mid = a.mid * b.mid
    radius = np.abs(a.mid) * b.radius + np.abs(b.mid) * a.radius + a.radius * b.radius
    radius = outward(radius + U * np.abs(mid))
    return Enclosed(mid, np.where(a.is_zero | b.is_zero, 0.0, radius))


def div(a: Enclosed, b: Enclosed) -> Enclosed:
    """Return a / b: (R_a + |A/B| R_b)/(|B| - R_b) + u |fl(A/B)| + eta.

    Quotients are formed first: a product that underflows would be divided by a small number. No
    bound where b may be 0.
    """
    mid = a.mid / b.mid
    least = down_array(np.abs(b.mid) - b.radius)
    ratio = outward(np.abs(mid))
    certain = (least > 0.0) & np.isfinite(b.mid)
    least = np.where(certain, least, np.nan)
    radius = outward(a.radius / least) + ratio * outward(b.radius / least)
    return Enclosed(mid, outward(radius + U * ratio))


def total(a: Enclosed) -> Enclosed:
    """Return the sum over the last axis: sum R + gamma_k sum |A|."""
    k = a.mid.shape[-1]
    rounding = gamma(k) * np.abs(a.mid).sum(axis=-1)
    growth = 1.0 + 4.0 * (k + 8) * U
    radius = outward((a.radius.sum(axis=-1) + rounding) * growth)
    return Enclosed(a.mid.sum(axis=-1), np.where(a.is_zero.all(axis=-1), 0.0, radius))


def chosen(mask: Mask, a: Enclosed, b: Enclosed) -> Enclosed:
    """Return a where the mask holds, else b."""
    return Enclosed(np.where(mask, a.mid, b.mid), np.where(mask, a.radius, b.radius))


def largest_place(a: Enclosed, inside: Mask) -> tuple[NDArray[np.intp], Mask]:
    """Return the place of the largest entry on the last axis, and where that is certain.

    Args:
        a: entries of windows.
        inside: which entries of the last two axes are entries at all.
    """
    low, high = a.low, a.high
    best = np.argmax(np.where(inside, low, -np.inf), axis=-1)[..., None]
    bound = np.take_along_axis(low, best, axis=-1)
    beaten = (high <= bound) | ~np.broadcast_to(inside, high.shape)
    np.put_along_axis(beaten, best, True, axis=-1)
    return best, np.asarray(beaten.all(axis=-1) & np.isfinite(bound[..., 0]))

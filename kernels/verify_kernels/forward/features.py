"""What is known of a matrix of features: a midpoint and how far the true one may be from it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from verify_kernels._rounding import Array, norm_up


@dataclass(frozen=True, eq=False)
class Features:
    """The true Phi, shape (n, m), has ||Phi_i - mid_i||_2 <= row_radius_i for every sample i.

    Args:
        mid: shape (n, m), finite; zero in rows of which nothing is known.
        row_radius: shape (n,), may be +inf, never NaN.
        radius: shape (n, m) with |Phi - mid| <= radius entrywise, where it is known and tighter
            than the radius of the row.
        assumes: what the enclosure takes for granted.
        why_open: why some radius is infinite, where that is known.
    """

    mid: Array
    row_radius: Array
    radius: Array | None = None
    assumes: tuple[str, ...] = ()
    why_open: str = ""

    @property
    def is_exact(self) -> bool:
        """Whether the midpoint is the feature matrix itself."""
        return not self.row_radius.any()

    def frobenius_radius(self) -> float:
        """Return an upper bound of ||Phi - mid||_F; +inf where a row is not bounded."""
        return norm_up(self.row_radius) if self.row_radius.any() else 0.0

    def entry_radius(self) -> Array:
        """Return an entrywise radius, shape (n, m)."""
        rows = np.broadcast_to(self.row_radius[:, None], self.mid.shape)
        return rows if self.radius is None else np.minimum(rows, self.radius)

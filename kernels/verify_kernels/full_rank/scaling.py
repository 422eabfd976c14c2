"""Features made ready for a rank proof: the column of ones, rows scaled by powers of two."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from verify_kernels._rounding import ETA, Array, norm_up, up, up_array
from verify_kernels.forward.features import Features

SAFE_EXPONENT = 200
MULTIPLIED = 1000  # powers of two below it and their inverses are normal numbers


def with_ones(features: Features) -> Features:
    """Append the column of ones, which is exact: row radii stay, entrywise radii get a zero."""
    n = features.mid.shape[0]
    radius = features.radius
    return replace(
        features,
        mid=np.hstack([features.mid, np.ones((n, 1))]),
        radius=None if radius is None else np.hstack([radius, np.zeros((n, 1))]),
    )


def equilibrated(features: Features, *, ones: bool) -> Features:
    """Append the ones where they belong and scale every row by a power of two; no rank changes.

    Row i of the middle and its radii are multiplied by the same 2^-e_i, so the result encloses
    D Z for a nonsingular diagonal D. A row is brought to a norm about 1; rows of zeros stay.

    Error bound:
        Entries that underflow add sqrt(m) eta to the radius of their row and eta to their own.
    """
    given = with_ones(features) if ones else features
    largest = np.maximum(given.mid.max(axis=1, initial=0.0), -given.mid.min(axis=1, initial=0.0))
    exponents = np.where(largest > 0.0, np.frexp(largest)[1], 0)
    with np.errstate(all="ignore"):
        mid, kept = _scaled(given.mid, exponents[:, None])
        lost = up(up(math.sqrt(given.mid.shape[1])) * ETA)
        row_radius = _scaled_up(given.row_radius, exponents)
        if not kept.all():
            row_radius = np.where(kept.all(axis=1), row_radius, up_array(row_radius + lost))
        radius = given.radius
        if radius is not None:
            radius = _scaled_up(radius, exponents[:, None])
            radius = np.where(kept, radius, up_array(radius + ETA))
    return replace(given, mid=mid, row_radius=row_radius, radius=radius)


def _scaled(values: Array, exponents: NDArray[np.intp]) -> tuple[Array, NDArray[np.bool_]]:
    """Return 2^-e times the values, and where that is exact: where it can be undone."""
    if exponents.size and int(np.abs(exponents).max()) < MULTIPLIED:
        scaled = values * np.ldexp(1.0, -exponents)
        return scaled, scaled * np.ldexp(1.0, exponents) == values
    scaled = np.ldexp(values, -exponents)
    return scaled, np.ldexp(scaled, exponents) == values


def _scaled_up(values: Array, exponents: NDArray[np.intp]) -> Array:
    scaled, exact = _scaled(values, exponents)
    return scaled if exact.all() else np.where(exact, scaled, up_array(scaled))


def radius_bound(features: Features) -> float:
    """Return rho >= ||Z - M||_F, the lesser of the bounds by rows and by entries."""
    rho = features.frobenius_radius()
    if features.radius is None or rho == 0.0:
        return rho
    return min(rho, norm_up(features.radius))


def in_range(M: Array) -> tuple[Array | None, int]:
    """Divide by a power of two where products would leave the range; None if that loses bits."""
    exponent = math.frexp(max(float(M.max()), -float(M.min())))[1]
    if abs(exponent) <= SAFE_EXPONENT:
        return M, 0
    scaled = np.ldexp(M, -exponent)
    return (scaled, exponent) if np.array_equal(np.ldexp(scaled, exponent), M) else (None, 0)

"""Upper bounds of the rank of F0 = [Z; Phi] that need no rounding: they prove that s0 = 0."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from flint import fmpz_mat
from numpy.typing import NDArray

from verify_kernels._rounding import Array

EXACT_WORK = 4_000_000  # products of entries that are formed in integers, some microseconds each


def integer_matrix(matrix: Array) -> tuple[Any, int]:
    """Return an ``fmpz_mat`` N and an exponent e with matrix = 2^-e N exactly."""
    ratios = [float(x).as_integer_ratio() for x in matrix.ravel()]
    exponent = max((q.bit_length() - 1 for _, q in ratios), default=0)
    entries = [p << (exponent - q.bit_length() + 1) for p, q in ratios]
    return fmpz_mat(matrix.shape[0], matrix.shape[1], entries), exponent


def integer_rows(matrix: Any) -> list[list[int]]:
    """Return the rows of an ``fmpz_mat`` as Python integers."""
    return [[int(x) for x in row] for row in matrix.tolist()]


def ray(row: Sequence[int]) -> tuple[int, ...] | None:
    """Return the primitive integer vector of the same direction, None for zero."""
    divisor = math.gcd(*row)
    return tuple(x // divisor for x in row) if divisor else None


def rank_bound(samples: Array, weight: Array, live: int, patterns: Sequence[bytes | None]) -> int:
    """Bound the rank of F0 = [Z; Phi] from above.

    z and phi are positively homogeneous functions of relu(W x), so samples in which it has one
    direction count once and zeros not at all. Where samples have one pattern D of active units,
    z = (I - g D A)^-1 D phi is linear in phi: such samples count with the rank of their features,
    in rational arithmetic. Rows of zeros do not count.

    Args:
        samples: shape (n, d), up to a positive factor.
        weight: W, shape (m, d).
        live: rows of F0 that are not proved to vanish.
        patterns: for each sample the proved pattern D, or None where it is not known.

    Returns:
        A number that the rank does not exceed. Where exact products would take too long the
        directions are those of x itself.
    """
    X, _ = integer_matrix(samples)
    small = samples.shape[0] * weight.size <= EXACT_WORK
    # the unit 2^-e of each factor is positive: it changes no direction and no rank
    reached = X * integer_matrix(weight)[0].transpose() if small else None
    rows = integer_rows(X if reached is None else reached)
    if reached is not None:
        rows = [[max(0, x) for x in row] for row in rows]
    groups: dict[bytes | int, set[tuple[int, ...]]] = {}
    seen: set[tuple[int, ...]] = set()
    for i, row in enumerate(rows):
        direction = ray(row)
        if direction is None or direction in seen:
            continue
        seen.add(direction)
        pattern = patterns[i] if reached is not None else None
        groups.setdefault(i if pattern is None else pattern, set()).add(direction)
    total = sum(
        int(fmpz_mat([list(row) for row in found]).rank()) if len(found) > 1 else 1
        for found in groups.values()
    )
    return min(live, total)


def count_live(values: NDArray[np.float64], radii: NDArray[np.float64]) -> int:
    """Return how many columns of an enclosure are not exactly zero."""
    return int(((values != 0.0) | (radii != 0.0)).any(axis=0).sum())


def known_patterns(on: NDArray[np.bool_], zero: NDArray[np.bool_]) -> list[bytes | None]:
    """Return the pattern D of active units of each sample; None where a unit is not told.

    Where z_k = 0 is proved D_k = 0 serves: the equation z = D (g A z + phi) holds.
    """
    told = np.asarray((on | zero).all(axis=1))
    return [
        row.tobytes() if known else None
        for row, known in zip(np.asarray(on & ~zero), told, strict=True)
    ]

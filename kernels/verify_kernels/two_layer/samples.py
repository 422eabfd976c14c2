"""Data matrices of any size in blocks of float64 rows or columns, never copied as a whole."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from verify.errors import InputError
from verify_kernels._rounding import Array

BLOCK = 1024
SAFE_EXPONENT = 200
_EXACT = ("float16", "float32", "float64", "uint8", "int8", "uint16", "int16", "uint32", "int32")


@dataclass(frozen=True, eq=False)
class Samples:
    """The rows x_i of X, shape (n, d), optionally with a constant 1 appended to each.

    Args:
        X: floats or integers that embed in binary64; kept as it is.
        augmented: whether x_i means (x_i, 1).

    Raises:
        InputError: not a matrix of such numbers, no rows, an entry that is not finite.
    """

    X: Any
    augmented: bool = False

    def __post_init__(self) -> None:
        given = np.asarray(self.X)
        if given.ndim != 2 or given.shape[0] == 0:
            raise InputError(
                f"Samples: expected inputs of shape (n, d) with n >= 1, but got {given.shape}"
            )
        if given.dtype.kind in "iub" and given.dtype.name not in (*_EXACT, "bool"):
            top = max(abs(int(given.max(initial=0))), abs(int(given.min(initial=0))))
            if top > 2**53:
                raise InputError(f"Samples: expected integers up to 2^53, but got {top}")
        elif given.dtype.kind not in "iub" and given.dtype.name not in _EXACT:
            raise InputError(f"Samples: expected real entries, but got dtype {given.dtype}")
        object.__setattr__(self, "X", given)
        if not math.isfinite(self.largest):
            raise InputError("Samples: expected finite entries, but got nan or inf")

    @property
    def n(self) -> int:
        """Number of samples."""
        return int(self.X.shape[0])

    @property
    def d(self) -> int:
        """Number of coordinates, the constant included."""
        return int(self.X.shape[1]) + int(self.augmented)

    @cached_property
    def largest(self) -> float:
        """The largest modulus of an entry, 1 included if augmented; NaN if one is NaN."""
        top = 1.0 if self.augmented else 0.0
        for i in range(0, self.n, BLOCK):
            rows = self.X[i : i + BLOCK]
            if rows.size:
                high, low = float(rows.max()), float(rows.min())
                if not (math.isfinite(high) and math.isfinite(low)):
                    return math.nan
                top = max(top, high, -low)
        return top

    @cached_property
    def exponent(self) -> int:
        """The power of two that the blocks are divided by: 0 unless the range needs it."""
        exponent = math.frexp(self.largest)[1]
        return exponent if abs(exponent) > SAFE_EXPONENT else 0

    def rows(self, size: int = BLOCK, *, divided: bool = True) -> Iterator[tuple[int, Array]]:
        """Yield (first index, block) with blocks X[i:i+size] in float64, (rows, d).

        Args:
            size: rows of a block.
            divided: whether by 2^exponent.
        """
        for i in range(0, self.n, size):
            yield i, self._converted(self.X[i : i + size], self.augmented, divided)

    def columns(self, size: int = BLOCK) -> Iterator[Array]:
        """Yield blocks 2^-exponent X[:, k:k+size] in float64, shape (n, columns)."""
        for k in range(0, self.X.shape[1], size):
            yield self._converted(self.X[:, k : k + size], False, True)
        if self.augmented:
            yield np.full((self.n, 1), math.ldexp(1.0, -self.exponent))

    def _converted(self, part: Any, augmented: bool, divided: bool) -> Array:
        block = np.empty((part.shape[0], part.shape[1] + int(augmented)))
        block[:, : part.shape[1]] = part
        if augmented:
            block[:, -1] = 1.0
        return np.ldexp(block, -self.exponent) if self.exponent and divided else block

"""The samples that a network is fed: exact rational numbers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction

import numpy as np
from numpy.typing import ArrayLike

from verify.errors import InputError
from verify_kernels._rounding import Array


@dataclass(frozen=True, eq=False)
class Inputs:
    """The network is fed the exact rationals values/divisor.

    Args:
        values: shape (n, *sample_shape), float64, finite, no negative zero.
        divisor: exact and positive, such as 255 for pixels.
    """

    values: Array
    divisor: Fraction = Fraction(1)

    @classmethod
    def of(cls, X: ArrayLike, sample_shape: Sequence[int], divisor: Fraction | int = 1) -> Inputs:
        """Take rows (n, d) or samples (n, *sample_shape) without rounding.

        Negative zero becomes zero, so that samples that are equal as numbers have equal bytes.

        Raises:
            InputError: another shape, a type that does not embed in float64, an entry that is not
                finite, or a divisor that is not positive.
        """
        given, shape = np.asarray(X), tuple(int(size) for size in sample_shape)
        if given.ndim < 1 or given.shape[1:] not in (shape, (int(np.prod(shape)),)):
            raise InputError(
                f"Inputs.of: expected samples of shape (n, {', '.join(map(str, shape))}) or as "
                f"rows, but got {given.shape}"
            )
        if Fraction(divisor) <= 0:
            raise InputError(f"Inputs.of: expected a positive divisor, but got {divisor!r}")
        values = _exact(given).reshape(len(given), *shape)
        return cls(np.ascontiguousarray(values + 0.0), Fraction(divisor))

    @property
    def count(self) -> int:
        """The number of samples."""
        return len(self.values)

    def require_some(self, where: str) -> None:
        """Refuse an empty collection, of which there is nothing to say.

        Raises:
            InputError: there is no sample.
        """
        if not self.count:
            raise InputError(f"{where}: expected at least one sample, but got none")


def _exact(given: np.ndarray) -> Array:
    if given.dtype.kind in "iub":
        if given.size and max(abs(int(given.max())), abs(int(given.min()))) > 2**53:
            raise InputError("Inputs.of: expected integers up to 2^53, but got larger ones")
    elif given.dtype not in (np.float16, np.float32, np.float64):
        raise InputError(f"Inputs.of: expected real numbers, but got {given.dtype}")
    values = np.asarray(given, dtype=np.float64)
    finite = np.isfinite(values)
    if not finite.all():
        place = tuple(int(k) for k in np.argwhere(~finite)[0])
        raise InputError(
            f"Inputs.of: expected finite numbers, but got {float(values[place])!r} at {list(place)}"
        )
    return values

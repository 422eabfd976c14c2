"""Arrays of a network as float64, the stored numbers exactly."""

from __future__ import annotations

from typing import Any

import numpy as np

from verify.errors import InputError
from verify.network.weights import Array

_LARGEST_INTEGER = 2**53


def exact_floats(where: str, name: str, given: Any) -> Array:
    """Return the numbers as float64, exactly.

    Args:
        where: the family, for sentences.
        name: of the tensor.
        given: floats of at most 64 bits, or integers below 2^53.

    Raises:
        InputError: another type, or entries that are not finite.
    """
    values = np.asarray(given)
    small = values.dtype.kind in "biu" and bool(np.all(np.abs(values * 1.0) < _LARGEST_INTEGER))
    if values.dtype not in (np.float16, np.float32, np.float64) and not small:
        raise InputError(
            f"{where}: expected {name} as float16, float32, float64 or integers below 2^53, "
            f"but got {values.dtype}"
        )
    exact = np.ascontiguousarray(values, dtype=np.float64)
    if not np.isfinite(exact).all():
        raise InputError(f"{where}: expected finite entries of {name}, but got inf or nan")
    return exact


def exact_vector(where: str, name: str, given: Any, length: int) -> Array:
    """Return a vector as float64, exactly.

    Raises:
        InputError: as `exact_floats`, or another shape.
    """
    values = exact_floats(where, name, given)
    if values.shape != (length,):
        raise InputError(f"{where}: expected {name} of shape ({length},), but got {values.shape}")
    return values

"""The spectral-radius estimate of common tools, for comparison; a measurement, never a bound."""

from __future__ import annotations

import math

import numpy as np

from verify_kernels._rounding import Array


def estimate_spectral_radius(weight: Array, *, steps: int = 100) -> float:
    """Return the growth of the last of ``steps`` power-iteration steps from a fixed vector.

    Args:
        weight: W, shape (m, m).
        steps: number of products; the result is no bound whatever it is.
    """
    m = len(weight)
    vector = np.ones(m) / math.sqrt(max(m, 1))
    growth = 0.0
    with np.errstate(all="ignore"):
        for _ in range(steps):
            image = weight @ vector
            growth = float(np.linalg.norm(image))
            if not (math.isfinite(growth) and growth > 0.0):
                return growth
            vector = image / growth
    return growth

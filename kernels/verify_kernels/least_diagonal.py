"""The least diagonal entry of W, or 0 if none is negative: it limits averaged steps."""

from __future__ import annotations

import numpy as np

from verify.enclosure import Enclosure
from verify.evidence import Evidence
from verify_kernels._rounding import down_array, up_array
from verify_kernels.matrix import MatrixEnclosure


def enclose_least_diagonal(weight: MatrixEnclosure) -> Evidence:
    """Enclose min_i min(W_ii, 0); exact where W is a float matrix.

    Args:
        weight: W, shape (m, m).

    Error bound: the entries' radii, one rounding each, outward.
    """
    middle = np.diagonal(weight.mid)
    if weight.rad is None:
        return Evidence(Enclosure.exact(float(min(0.0, middle.min(initial=0.0)))), how="exact")
    radius = np.diagonal(weight.rad)
    lo = float(down_array(middle - radius).min(initial=0.0))
    hi = float(up_array(middle + radius).min(initial=0.0))
    return Evidence(Enclosure(min(0.0, lo), min(0.0, hi)), how="entrywise enclosure")

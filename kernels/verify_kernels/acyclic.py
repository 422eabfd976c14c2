"""Whether the state coordinates feed back into themselves: the exact zero pattern of W."""

from __future__ import annotations

import numpy as np

from verify.evidence import Evidence, Witness
from verify.verdict import Truth
from verify_kernels.components import strong_components, zero_pattern
from verify_kernels.matrix import MatrixEnclosure


def decide_acyclic(weight: MatrixEnclosure) -> Evidence:
    """Decide whether the graph of the nonzero entries of W has no cycle.

    Entries of an enclosure count as zero only if they are exactly zero, so PROVED is about every
    matrix in it; a cycle through entries that may be zero is undecided.

    Args:
        weight: W, shape (m, m).

    Returns:
        The truth; the witness of a proof is the order in which substitution computes z.
    """
    pattern = zero_pattern(weight)
    components = strong_components(pattern)
    order = np.array([int(block[-1]) for block in reversed(components)], dtype=np.int64)
    ordered = pattern[np.ix_(order, order)]
    # Checked on the pattern itself: coordinate k needs only coordinates before it.
    if len(order) == len(pattern) and not np.triu(ordered).any():
        return Evidence(
            Truth.PROVED,
            Witness("substitution-order", {"order": [int(k) for k in order]}),
            how="strongly connected components of the exact zero pattern of W",
        )
    certain = pattern if weight.rad is None else np.abs(weight.mid) > weight.rad
    if len(strong_components(certain)) < len(certain) or np.diagonal(certain).any():
        return Evidence(Truth.REFUTED, how="the zero pattern of W has a cycle")
    return Evidence(Truth.UNDECIDED, why_open="every cycle has an entry that may be zero")

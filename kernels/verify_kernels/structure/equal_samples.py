"""Samples that no choice of the trained weights can tell apart."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

import numpy as np

from verify.evidence import Evidence, Witness
from verify.network import Graph
from verify.verdict import Truth
from verify_kernels.forward.inputs import Inputs
from verify_kernels.structure.exact_arrays import Array, exact_of
from verify_kernels.structure.fixed_maps import find_frontier, per_sample


def find_merged_samples(
    graph: Graph,
    place: int,
    inputs: Inputs,
    frozen: frozenset[str] | None,
    bias: bool = True,
) -> Evidence:
    """Look for two samples with equal features for every choice of the trained weights.

    Everything that the network does to a sample before a trained tensor acts is evaluated exactly
    (`find_frontier`), entries that nothing reads are left out, and what remains is compared as
    real numbers. Equal values there give equal features, since the features are a function of
    them and of the weights. Equality only is proved: unequal values may still be merged later.

    Args:
        graph: the network.
        place: index of the node of the features.
        inputs: the exact samples.
        frozen: roles declared frozen; None: none is known to be.
        bias: whether Z has a column of ones; it makes no difference here.

    Returns:
        PROVED with a witness {i, j, after}, else UNDECIDED.
    """
    reason = per_sample(graph, place)
    if reason:
        return Evidence(Truth.UNDECIDED, why_open=reason)
    frontier = find_frontier(graph, place, inputs, frozen)
    found = equal_pair([rows.numbers for rows in frontier.rows()], inputs.count)
    if found is None:
        why = "all samples differ in what the trained weights read"
        return Evidence(Truth.UNDECIDED, why_open="; ".join((why, *frontier.notes)))
    after = ", ".join(graph.nodes[k].name for k in frontier.values) or "nothing that varies"
    i, j = found
    return Evidence(
        Truth.PROVED,
        Witness("merged-samples", {"i": i, "j": j, "after": after}),
        how=f"samples {i} and {j} are equal as real numbers in all that is read of {after}",
    )


def proves_distinct_rows(inputs: Inputs) -> Evidence:
    """Decide whether the samples are pairwise distinct as real numbers (+0.0 = -0.0).

    Returns:
        PROVED, or REFUTED with a witness {i, j}.
    """
    flat = exact_of(inputs.values).numbers.reshape(len(inputs.values), -1)
    found = equal_pair([flat], len(flat))
    if found is None:
        return Evidence(Truth.PROVED, how=f"exact comparison of {len(flat)} samples")
    i, j = found
    return Evidence(
        Truth.REFUTED,
        Witness("merged-samples", {"i": i, "j": j, "after": "x"}),
        how=f"samples {i} and {j} are equal",
    )


def equal_pair(matrices: Sequence[Array], count: int) -> tuple[int, int] | None:
    """Return the first sample that equals an earlier one, as (earlier, it), or None.

    Args:
        matrices: as for `first_equal`.
        count: of rows.
    """
    first = first_equal(matrices, count)
    repeated = np.flatnonzero(first != np.arange(count))
    return (int(first[repeated[0]]), int(repeated[0])) if len(repeated) else None


def first_equal(matrices: Sequence[Array], count: int) -> Array:
    """Return for each row the first row that equals it in every matrix.

    Unequal digests prove that rows differ; equal ones are compared entry by entry.

    Args:
        matrices: of equally many rows: float64 without -0.0, int64, or Python integers.
        count: of rows.
    """
    kept = [np.ascontiguousarray(each) for each in matrices if each.shape[1]]
    first = np.arange(count)
    seen: dict[bytes, list[int]] = {}
    for j in range(count):
        digest = hashlib.blake2b(digest_size=16)
        for each in kept:
            row = each[j]
            digest.update(repr(row.tolist()).encode() if each.dtype == object else row.data)
        before = seen.setdefault(digest.digest(), [])
        for i in before:
            if all(bool((each[i] == each[j]).all()) for each in kept):
                first[j] = i
                break
        else:
            before.append(j)
    return first

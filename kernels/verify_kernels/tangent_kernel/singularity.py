"""Proofs that the tangent kernel K = J J^T is singular, each with a witness."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any

from verify.evidence import Evidence, Witness
from verify.network import Graph
from verify.verdict import Truth
from verify_kernels.structure import find_merged_samples, rank_bound_by_symmetry
from verify_kernels.tangent_kernel.columns import count_parameters, trained_slots
from verify_kernels.tangent_kernel.walk import OpenError, output_place


def tangent_singularity(graph: Graph, inputs: Any, *, frozen: Iterable[str] = ()) -> Evidence:
    """Look for a proof that K = J J^T is singular, in exact arithmetic.

    Args:
        graph: as for `enclose_tangent_gram`.
        inputs: `verify_kernels.forward.inputs.Inputs`.
        frozen: roles that training does not change.

    Returns:
        REFUTED for the fact "J exists and K is nonsingular", with a witness: ``few-parameters``
        {parameters, rows}; ``merged-samples`` {i, j, after}, equal in all that trained weights
        read; ``sample-relation`` {samples, coefficients, ..}, c^T f = 0 for all trained weights.
        UNDECIDED if none is found.

    Raises:
        InputError: a frozen role that the network does not have, or no sample.
    """
    inputs.require_some("tangent_singularity")
    frozen = frozenset(frozen)
    place = output_place(graph)
    rows = inputs.count * math.prod(graph.nodes[place].shape)
    try:
        parameters = count_parameters(graph, trained_slots(graph, place, frozen))
    except OpenError:
        parameters = None  # those used twice are not counted
    if parameters is not None and parameters < rows:
        return _singular(
            Witness("few-parameters", {"parameters": parameters, "rows": rows}),
            f"J has {parameters} columns for {rows} rows",
        )
    merged = find_merged_samples(graph, place, inputs, frozen, bias=False)
    if merged.value is Truth.PROVED and merged.witness is not None:
        return _singular(merged.witness, merged.how)
    related = rank_bound_by_symmetry(graph, place, inputs, frozen, bias=False)
    if related.witness is not None:
        return _singular(related.witness, f"c^T J = 0, because {related.how}")
    return Evidence(Truth.UNDECIDED, why_open="nothing that makes K singular is found")


def _singular(witness: Witness, how: str) -> Evidence:
    return Evidence(Truth.REFUTED, witness, how=how)

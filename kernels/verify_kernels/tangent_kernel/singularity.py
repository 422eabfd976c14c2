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
from verify_kernels.tangent_kernel.exact import rational_gram, require_small
from verify_kernels.tangent_kernel.gram import MEMORY, float_sweep, require_memory
from verify_kernels.tangent_kernel.walk import OpenError, output_place
from verify_kernels.tangent_kernel.wide_balls import ORDER, WORK
from verify_kernels.tangent_kernel.zero_entries import present_columns


def tangent_singularity(graph: Graph, inputs: Any, *, frozen: Iterable[str] = ()) -> Evidence:
    """Look for a proof that K = J J^T is singular, in exact arithmetic.

    Args:
        graph: as for `enclose_tangent_gram`.
        inputs: `verify_kernels.forward.inputs.Inputs`.
        frozen: roles that training does not change.

    Returns:
        REFUTED for the fact "J exists and K is nonsingular", with a witness: those of
        `structural_singularity`, or ``kernel-vector`` {vector} of integers, K v = 0, for small
        rational networks. UNDECIDED if none is found.

    Raises:
        InputError: a frozen role that the network does not have, or no sample.
    """
    frozen = frozenset(frozen)
    found = structural_singularity(graph, inputs, frozen)
    if found.value is Truth.REFUTED:
        return found
    try:
        require_small(graph, inputs.count, ORDER, WORK)
        return kernel_vector(rational_gram(graph, inputs, frozen=frozen)) or found
    except OpenError:
        return found


def structural_singularity(graph: Graph, inputs: Any, frozen: frozenset[str]) -> Evidence:
    """Look for rows and columns of J that are too few, equal, related or zero.

    Args:
        graph: as for `enclose_tangent_gram`.
        inputs: the samples.
        frozen: roles that training does not change.

    Returns:
        REFUTED with a witness: ``few-parameters`` {parameters, rows}; ``merged-samples``
        {i, j, after}, equal in all that trained weights read; ``sample-relation`` {samples,
        coefficients, ..} with c^T f = 0 for all trained weights; ``zero-row`` {sample, output};
        ``few-columns`` {columns, rows}, those of J that are not zero; ``few-features`` {width,
        bias, samples, outputs} of a last layer that is narrower than the outputs. Else UNDECIDED.

    Raises:
        InputError: a frozen role that the network does not have, or no sample.
    """
    inputs.require_some("tangent_singularity")
    place = output_place(graph)
    outputs = math.prod(graph.nodes[place].shape)
    rows = inputs.count * outputs
    try:
        trained = trained_slots(graph, place, frozen)
    except OpenError:
        trained = None  # those used twice are not counted
    if trained is not None and count_parameters(graph, trained) < rows:
        parameters = count_parameters(graph, trained)
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
    if trained is not None:
        found = _by_width(graph, place, inputs, trained) or _by_zeros(graph, place, inputs, trained)
        if found is not None:
            return found
    return Evidence(Truth.UNDECIDED, why_open="nothing that makes K singular is found")


def _by_width(
    graph: Graph, place: int, inputs: Any, trained: dict[int, frozenset[str]]
) -> Evidence | None:
    """Look for a last layer f = V h + c with fewer features h than outputs and than samples.

    There are u != 0 with u^T V = 0 and c != 0 with c^T [H, 1] = 0, if V has more rows than columns
    and there are more samples than columns of [H, 1] that are trained: then (c kron u)^T J = 0.
    """
    node = graph.nodes[place]
    if node.op != "linear" or len(node.shape) != 1:
        return None
    outputs, width = graph.stored[node.parameters["weight"]].shape
    slots = trained.get(place, frozenset())
    columns = width * ("weight" in slots) + ("bias" in slots)
    if not (width < outputs and columns < inputs.count):
        return None
    told = {"width": width, "bias": "bias" in slots, "samples": inputs.count, "outputs": outputs}
    return _singular(
        Witness("few-features", told),
        f"{width} features are read by {outputs} outputs at {inputs.count} samples",
    )


def _by_zeros(
    graph: Graph, place: int, inputs: Any, trained: dict[int, frozenset[str]]
) -> Evidence | None:
    """Look for rows of J that are zero, or too many columns that are."""
    outputs = math.prod(graph.nodes[place].shape)
    try:
        require_memory(graph, place, inputs.count, outputs, MEMORY)
        try:
            sweep = float_sweep(graph, place, inputs)
        except OpenError:
            sweep = None
        found = present_columns(sweep, inputs, graph, place, trained)
    except OpenError:
        return None
    rows = len(found.rows)
    if not found.rows.all():
        sample, output = divmod(int(found.rows.argmin()), outputs)
        told = f"no trained entry moves output {output} at sample {sample}: its row of J is zero"
        return _singular(Witness("zero-row", {"sample": sample, "output": output}), told)
    if found.columns < rows:
        told = f"only {found.columns} columns of J are not zero, for {rows} rows"
        return _singular(Witness("few-columns", {"columns": found.columns, "rows": rows}), told)
    return None


def kernel_vector(K: Any) -> Evidence | None:
    """Return the proof that a rational K is singular: integers v with K v = 0; None if it is not.

    Args:
        K: ``fmpq_mat``, symmetric.
    """
    whole, _ = K.numer_denom()
    kernel, nullity = whole.nullspace()
    if not nullity:
        return None
    v = [int(kernel[i, 0]) for i in range(K.nrows())]
    return _singular(Witness("kernel-vector", {"vector": v}), "K v = 0 in exact arithmetic")


def _singular(witness: Witness, how: str) -> Evidence:
    return Evidence(Truth.REFUTED, witness, how=how)

"""What the network reads of a sample before any trained weight acts, exactly.

A node is fixed if it depends on no trained tensor. The features are a function of the trained
weights and of the values of the last fixed nodes (the frontier), so that two samples with equal
values there have equal features for every choice of the weights. Fixed nodes whose values are not
evaluated (a frozen tanh, say) count as not fixed: the frontier then lies before them.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from verify.errors import InputError
from verify.network import Graph
from verify_kernels.forward.inputs import Inputs
from verify_kernels.structure.exact_arrays import Array, ExactArray, TooLargeError, exact_of
from verify_kernels.structure.exact_operations import RULES, evaluate
from verify_kernels.structure.live_entries import live_before

NEVER_TRAINED = ("mean", "variance")
"""Slots of a batch norm that hold running statistics."""


@dataclass(frozen=True, eq=False)
class Frontier:
    """The fixed values that everything trained reads.

    Args:
        values: node to exact values, shape (n, *shape of the node).
        live: node to the entries that are read, boolean, shape of the node.
        notes: what was left out of the evaluation, and why.
    """

    values: dict[int, ExactArray]
    live: dict[int, Array]
    notes: tuple[str, ...] = ()

    def rows(self) -> list[ExactArray]:
        """Return what is read of each sample, one matrix (n, entries) for each node."""
        found = []
        for k, exact in self.values.items():
            mask = self.live[k].ravel()
            flat = exact.numbers.reshape(len(exact.numbers), -1)
            found.append(exact.moved(flat if mask.all() else flat[:, mask]))
        return found


def is_trained(graph: Graph, k: int, frozen: frozenset[str] | None) -> bool:
    """Return whether a node reads a tensor that may be trained."""
    fixed = frozen or frozenset()
    return any(
        role not in fixed and not (graph.nodes[k].op == "batch_norm" and slot in NEVER_TRAINED)
        for slot, role in graph.nodes[k].parameters.items()
    )


def check_roles(graph: Graph, frozen: frozenset[str] | None) -> None:
    """Refuse roles that the graph does not have.

    Raises:
        InputError: a declared role is not stored.
    """
    for role in sorted(frozen or ()):
        if role not in graph.stored:
            raise InputError(f"frozen: expected one of {', '.join(graph.stored)}, but got {role!r}")


def per_sample(graph: Graph, place: int) -> str:
    """Return why features are no function of the sample and the weights alone, or ''."""
    for k in graph.needed(place):
        node = graph.nodes[k]
        if node.op == "dropout" or (node.op == "batch_norm" and node.attributes["training"]):
            return f"{node.name} in training form depends on the batch or on chance"
    return ""


def find_frontier(
    graph: Graph, place: int, inputs: Inputs, frozen: frozenset[str] | None
) -> Frontier:
    """Evaluate the fixed part of the network exactly, as far as it is cheap.

    Args:
        graph: the network.
        place: index of the node of the features.
        inputs: the exact samples, shape (n, *sample shape).
        frozen: roles that are declared frozen; None: none is known to be.

    Returns:
        The frontier; without anything frozen and with a trained first layer, the raw samples.

    Raises:
        InputError: ``frozen`` names a role that is not stored.
    """
    check_roles(graph, frozen)
    order = graph.needed(place)
    known: dict[int, ExactArray] = {}
    notes: list[str] = []
    for k in order:
        node = graph.nodes[k]
        if node.op == "input":
            known[k] = exact_of(inputs.values, inputs.divisor)
        elif node.op in RULES and all(j in known for j in node.inputs):
            if is_trained(graph, k, frozen):
                continue
            tensors = {slot: graph.stored[role] for slot, role in node.parameters.items()}
            try:
                known[k] = evaluate(node, [known[j] for j in node.inputs], tensors)
            except TooLargeError as large:
                notes.append(f"{node.name} is not evaluated exactly: it needs {large}")
    live = dict(_live(graph, place, order, set(known)))
    varying = {k for k in live if k in known and _depends(graph, k)}
    count = len(inputs.values)
    values = {
        k: known[k].moved(np.broadcast_to(known[k].numbers, (count, *known[k].shape[1:])))
        for k in sorted(varying)
        if live[k].any()
    }
    return Frontier(values, {k: live[k] for k in values}, tuple(notes))


def _depends(graph: Graph, k: int) -> bool:
    return any(graph.nodes[j].op == "input" for j in graph.needed(k))


def _live(
    graph: Graph, place: int, order: list[int], known: set[int]
) -> Iterator[tuple[int, Array]]:
    """Yield, for each node that something not evaluated reads, the entries that are read."""
    live = {place: np.ones(graph.nodes[place].shape, dtype=bool)}
    for k in reversed(order):
        if k not in live:
            continue
        yield k, live[k]
        if k in known:
            continue
        node = graph.nodes[k]
        shapes = [graph.nodes[j].shape for j in node.inputs]
        kernel = graph.stored[node.parameters["weight"]].shape[2:] if node.op == "conv" else ()
        masks = live_before(node, live[k], shapes, tuple(kernel))
        for j, mask in zip(node.inputs, masks, strict=True):
            live[j] = live[j] | mask if j in live else mask

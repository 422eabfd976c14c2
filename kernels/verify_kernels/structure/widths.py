"""The rank that the widths allow, for every choice of the weights."""

from __future__ import annotations

import math
from collections.abc import Iterable

from verify.enclosure import Enclosure
from verify.evidence import Evidence, Witness
from verify.network import Graph
from verify.network.graph import Node
from verify_kernels.forward.inputs import Inputs
from verify_kernels.structure.fixed_maps import find_frontier, per_sample
from verify_kernels.structure.polynomial import adds_constant, varying

_LINEAR = ("linear", "conv", "batch_norm", "average_pool", "adaptive_average_pool", "mean",
           "reshape", "transpose", "slice", "pad", "concat", "add", "sub", "affine")  # fmt: skip
Sources = frozenset[int]


def rank_bound_by_width(
    graph: Graph,
    place: int,
    inputs: Inputs,
    frozen: frozenset[str] | None,
    bias: bool = True,
) -> Evidence:
    """Bound the largest rank of Z over all w by counting what its columns are combined from.

    Every feature is a linear combination, with coefficients from the weights, of the entries of
    some nodes (the features themselves, the inner layers of residual blocks, the samples) and of
    the constant. Z has at most as many independent columns as there are such entries. The plain
    bound m_H + 1 is the case in which the node is that of the features.

    Args:
        graph: the network.
        place: index of the node of the features.
        inputs: the exact samples.
        frozen: roles declared frozen; None: none is known to be.
        bias: whether Z has a column of ones.

    Returns:
        Enclosure of max over w of rank Z, [0, bound], with the nodes and their sizes as witness.
    """
    reason = per_sample(graph, place)
    if reason:
        return Evidence(Enclosure.unbounded(), why_open=reason)
    values = find_frontier(graph, place, inputs, frozen)
    columns = dict(zip(values.values, varying(values.rows()), strict=True))
    sizes = {k: math.prod(graph.nodes[k].shape) for k in graph.needed(place)}
    sizes |= {k: each.shape[1] for k, each in columns.items()}
    sources, constant = _sources(graph, place, frozen, columns, sizes)
    bound = sum(sizes[k] for k in sources) + int(bias or constant)
    named = {graph.nodes[k].name: sizes[k] for k in sorted(sources)}
    data = {"nodes": list(named), "sizes": list(named.values()), "ones": bias or constant}
    told = " + ".join(f"{size} of {name}" for name, size in named.items()) or "0"
    how = f"columns combined from {told}" + (" + 1 of the constant" if bias or constant else "")
    return Evidence(Enclosure(0, bound), Witness("column-count", data), how=how)


def _scales(node: Node, before: list[tuple[Sources, bool]]) -> bool:
    """Return whether a node multiplies entries by numbers that no sample changes."""
    if node.op == "mul":
        return not (before[0][0] and before[1][0])
    if node.op == "activation":
        return bool(node.attributes["activation"].name == "identity")
    return node.op == "div" and not before[1][0]


def _sources(
    graph: Graph,
    place: int,
    frozen: frozenset[str] | None,
    variables: Iterable[int],
    sizes: dict[int, int],
) -> tuple[Sources, bool]:
    """Return nodes whose entries span the features, and whether the constant is needed."""
    known: dict[int, tuple[Sources, bool]] = {k: (frozenset({k}), False) for k in variables}
    for k in graph.needed(place):
        if k in known:
            continue
        node = graph.nodes[k]
        before = [known[j] for j in node.inputs]
        found: tuple[Sources, bool] = (frozenset({k}), False)
        if node.op != "input" and all(not sources for sources, _ in before):
            found = (frozenset(), True)
        elif node.op in _LINEAR or _scales(node, before):
            joined = frozenset().union(*(sources for sources, _ in before))
            constant = any(c for _, c in before) or adds_constant(graph, k, frozen)
            total = sum(sizes[j] for j in joined) + int(constant)
            found = (joined, constant) if total < sizes[k] + 1 else found
        known[k] = found
    return known[place]

"""Whether the outputs of a network are zero at the sample zero, whatever is trained."""

from __future__ import annotations

from collections.abc import Iterable

from flint import arb

from verify.network import Activation, Graph
from verify_kernels.ball_activation import value
from verify_kernels.structure.polynomial import adds_constant

_LINEAR = ("linear", "conv", "batch_norm", "average_pool", "adaptive_average_pool", "mean",
           "reshape", "transpose", "slice", "pad", "concat", "add", "sub", "affine")  # fmt: skip
_MAXIMA = ("max_pool", "adaptive_max_pool")


def vanishes_at_zero(activation: Activation) -> bool:
    """Return whether sigma(0) = 0 is proved: the ball of sigma over the point 0 is the point 0."""
    return bool(value(activation, arb(0)).is_zero())


def zero_stays_zero(
    graph: Graph, place: int, variables: Iterable[int], frozen: frozenset[str]
) -> bool:
    """Return whether a node is zero wherever the variables are, for every choice of the weights.

    Args:
        graph: the network.
        place: the node.
        variables: nodes of which everything else is a function.
        frozen: roles that training does not change.
    """
    zero = dict.fromkeys(variables, True)
    for k in graph.needed(place):
        if k not in zero:
            zero[k] = _after(graph, k, [zero[j] for j in graph.nodes[k].inputs], frozen)
    return zero[place]


def _after(graph: Graph, k: int, before: list[bool], frozen: frozenset[str]) -> bool:
    node = graph.nodes[k]
    if not before:
        return False
    if node.op in _LINEAR:
        return all(before) and not adds_constant(graph, k, frozen)
    if node.op == "layer_norm":
        positive = node.attributes["epsilon"] > 0
        return all(before) and positive and not adds_constant(graph, k, frozen)
    if node.op == "mul":
        return any(before)
    if node.op in _MAXIMA or node.op == "round":
        return all(before)
    if node.op == "activation":
        return all(before) and vanishes_at_zero(node.attributes["activation"])
    return False

"""Entries of a node that are exactly zero, whatever rounding does to the others.

A rectified unit is exactly zero where its pre-activation is certainly <= 0; zeros then pass
through pooling, reshaping, products and sums of zeros. No arithmetic on other numbers is needed,
so batch norm with its square roots does not matter.
"""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction

import numpy as np

from verify.network.activation import Activation
from verify.network.graph import Graph, Node
from verify.network.weights import Array
from verify_kernels._rounding import up_array
from verify_kernels.exact_forward.rational import rational_function
from verify_kernels.exact_forward.walk import (
    Arithmetic,
    Mask,
    Move,
    OutsideError,
    apply,
    values_at,
)
from verify_kernels.forward.inputs import Inputs
from verify_kernels.forward.walk import enclose_features

RECTIFIED = frozenset({"relu", "relu6"})


def certain_zeros(graph: Graph, place: int, inputs: Inputs) -> Mask:
    """Return which entries of a node are certainly zero, shape (n, m); False says nothing.

    Args:
        graph: the network.
        place: index of the node, whose values are flattened to rows.
        inputs: the samples.
    """
    by = Zeros(graph, inputs, _last_rectified(graph, place))
    n = len(inputs.values)
    try:
        found = values_at(
            graph, place, inputs.values == 0.0, lambda node, read: apply(graph, node, read, by)
        )
    except OutsideError:
        found = np.zeros((n, *graph.nodes[place].shape), dtype=bool)
    rows = found.reshape(len(found), -1)
    return np.broadcast_to(rows, (n, rows.shape[1])).copy()


def _last_rectified(graph: Graph, place: int) -> frozenset[int]:
    """Return the rectified nodes from which no other one lies on the way to a node."""
    found, open_nodes, seen = set(), [place], set()
    while open_nodes:
        k = open_nodes.pop()
        if k in seen:
            continue
        seen.add(k)
        node = graph.nodes[k]
        if node.op == "activation" and node.attributes["activation"].name in RECTIFIED:
            found.add(k)
        else:
            open_nodes += node.inputs
    return frozenset(found & set(graph.needed(place)))


class Zeros(Arithmetic):
    """Arrays of truth values: the entry is certainly zero."""

    def __init__(self, graph: Graph, inputs: Inputs, enclosed: frozenset[int]) -> None:
        self.graph, self.inputs, self.enclosed = graph, inputs, enclosed

    def moved(self, move: Move, *values: Mask) -> Mask:
        """Apply a function that only rearranges entries; padding with zeros comes as False."""
        return np.asarray(move(*values))

    def lift(self, tensor: Array) -> Mask:
        """Return where a stored tensor is zero."""
        return np.asarray(np.asarray(tensor) == 0.0)[None]

    def numbers(self, exact: Sequence[Fraction], shape: Sequence[int]) -> Mask:
        """Return which numbers are zero."""
        return np.array([value == 0 for value in exact]).reshape(1, *shape)

    def product(self, x: Mask, weight: Array) -> Mask:
        """Return True where a whole row is zero."""
        rows = x.all(axis=-1, keepdims=True)
        return np.broadcast_to(rows, (*x.shape[:-1], len(weight)))

    def add(self, a: Mask, b: Mask) -> Mask:
        """Return where both are zero."""
        return a & b

    def sub(self, a: Mask, b: Mask) -> Mask:
        """Return where both are zero."""
        return a & b

    def mul(self, a: Mask, b: Mask) -> Mask:
        """Return where one is zero."""
        return a | b

    def div(self, a: Mask, b: Mask) -> Mask:
        """Return where the numerator is zero; a division by zero has no value at all."""
        return a & ~b

    def root(self, a: Mask) -> Mask:
        """Return where the operand is zero."""
        return a

    def total(self, a: Mask) -> Mask:
        """Return where all terms are zero."""
        return np.asarray(a.all(axis=-1))

    def largest(self, a: Mask, inside: Mask, node: Node) -> Mask:
        """Return where all entries are zero."""
        return np.asarray(a.all(axis=-1))

    def activation(self, a: Mask, activation: Activation, node: Node) -> Mask:
        """Return where a zero stays zero or a rectified entry is certainly not positive."""
        kept = a & _keeps_zero(activation)
        index = next(k for k, each in enumerate(self.graph.nodes) if each is node)
        if index not in self.enclosed:
            return kept
        found = enclose_features(self.graph, node.inputs[0], self.inputs)
        high = up_array(found.mid + found.entry_radius())
        silent = (high <= 0.0).reshape(len(high), *node.shape)
        return np.asarray(silent | kept)

    def rounded(self, a: Mask, how: str, node: Node) -> Mask:
        """Return where a zero stays zero."""
        return a

    def exponential(self, a: Mask) -> Mask:
        """Return nothing: exp is never zero."""
        return np.zeros_like(a)

    def logarithm(self, a: Mask) -> Mask:
        """Return nothing."""
        return np.zeros_like(a)


def _keeps_zero(activation: Activation) -> bool:
    from flint import fmpq

    try:
        return bool(rational_function(activation)(fmpq(0)) == 0)
    except OutsideError:
        return activation.name in ("tanh", "elu", "gelu", "gelu_tanh", "silu", "erf", "sin", "atan")

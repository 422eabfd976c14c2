"""Networks beyond the named families: a small operator graph in canonical order.

`GraphBuilder` takes nodes in any order in which inputs come first; `Graph` holds them in the
order in which a walk from the output meets them, with tensors named by that order, so that the
same function read from different formats has the same tensors by the same names.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from verify.errors import InputError
from verify.network.operations import Shape, shape_after
from verify.network.weights import Array

OUTPUT_OF_LOSS = ("softmax", "log_softmax")
"""Operations after the last affine layer that belong to the loss, beside a final sigmoid."""
# A network of a thousand layers has some thousands of operations.
MAX_NODES = 100_000


@dataclass(frozen=True, eq=False)
class Node:
    """One operation.

    Args:
        op: a key of `verify.network.operations.OPERATIONS`.
        inputs: indices of earlier nodes.
        attributes: exact values.
        parameters: slot of the operation to the role of a stored tensor.
        shape: of one sample of what it gives.
        name: ``conv2``: the operation and its number among those of its kind; ``x`` for the input.
    """

    op: str
    inputs: tuple[int, ...]
    attributes: Mapping[str, Any]
    parameters: Mapping[str, str]
    shape: Shape
    name: str


@dataclass(frozen=True, eq=False)
class Graph:
    """A network as operations on one sample; the output is the last node.

    Args:
        nodes: in canonical order; exactly one is the input.
        stored: role (``conv1.weight``) to tensor, float64, exact and finite.
        ties: groups of roles that the file stores as one tensor.
        notes: what the reader saw and a person should know, one sentence each.
    """

    nodes: tuple[Node, ...]
    stored: Mapping[str, Array]
    ties: tuple[tuple[str, ...], ...] = ()
    notes: tuple[str, ...] = ()

    family = "graph"

    @property
    def sample_shape(self) -> Shape:
        """The shape of one sample."""
        return next(node.shape for node in self.nodes if node.op == "input")

    @property
    def dimension(self) -> int:
        """Entries of one sample."""
        return int(np.prod(self.sample_shape))

    @property
    def width(self) -> int:
        """Entries that the last affine layer reads, or those of the output without one."""
        last = self.last_affine
        return (1, *self.nodes[-1 if last is None else self.nodes[last].inputs[0]].shape)[-1]

    @property
    def last_affine(self) -> int | None:
        """The index of the final linear layer, with nothing but the loss after it; else None.

        The axis of a single output may be removed after it.
        """
        place = len(self.nodes) - 1
        if self.nodes[place].op == "reshape" and math.prod(self.nodes[place].shape) == 1:
            place = self.nodes[place].inputs[0]
        while self._belongs_to_loss(self.nodes[place]):
            place = self.nodes[place].inputs[0]
        node = self.nodes[place]
        plain = node.op == "linear" and len(node.shape) == 1
        return place if plain else None

    def needed(self, place: int) -> list[int]:
        """Return the indices of a node and of all that it depends on, inputs first."""
        found = {place}
        for k in range(place, -1, -1):  # inputs come before their users
            if k in found:
                found.update(self.nodes[k].inputs)
        return sorted(found)

    @staticmethod
    def _belongs_to_loss(node: Node) -> bool:
        final = node.op == "activation" and node.attributes["activation"].name == "sigmoid"
        return node.op in OUTPUT_OF_LOSS or final

    @property
    def activation(self) -> str:
        """The activations by name, in order of appearance."""
        found = [str(n.attributes["activation"]) for n in self.nodes if n.op == "activation"]
        return ", ".join(dict.fromkeys(found)) or "none"

    @property
    def equation(self) -> str:
        """One line a node: with the tensors this determines the function."""
        return "; ".join(self.line(node) for node in self.nodes if node.op != "input")

    def line(self, node: Node) -> str:
        """Return what a node computes, as text."""
        reads = [self.nodes[k].name for k in node.inputs]
        named = [f"{slot}={role}" for slot, role in sorted(node.parameters.items())]
        told = [f"{name}={_shown(value)}" for name, value in sorted(node.attributes.items())]
        if node.op == "activation":
            sigma = node.attributes["activation"]
            return f"{node.name} = {sigma.at(reads[0])}{sigma.where}"
        return f"{node.name} = {node.op}({', '.join([*reads, *named, *told])})"

    def tensors(self) -> Mapping[str, Array]:
        """The stored tensors by role."""
        return self.stored


def _shown(value: Any) -> str:
    return str(value).replace(" ", "")


@dataclass
class _Draft:
    op: str
    inputs: tuple[int, ...]
    attributes: Mapping[str, Any]
    tensors: Mapping[str, tuple[str, Array]]
    shape: Shape


@dataclass
class GraphBuilder:
    """Collects operations; `build` returns the canonical graph of those that the output needs."""

    notes: list[str] = field(default_factory=list)
    _drafts: list[_Draft] = field(default_factory=list)

    def input(self, shape: Sequence[int]) -> int:
        """Add the input; ``shape`` is that of one sample, at least one axis."""
        if not shape:
            raise InputError("graph: expected samples with at least one axis, but got ()")
        return self.add("input", (), {"shape": tuple(int(size) for size in shape)})

    def add(
        self,
        op: str,
        inputs: Sequence[int],
        attributes: Mapping[str, Any] | None = None,
        tensors: Mapping[str, tuple[str, Array]] | None = None,
    ) -> int:
        """Add a node and return its index.

        Args:
            op: the operation.
            inputs: indices returned before.
            attributes: exact values, all that the operation names.
            tensors: slot to (name in the file, values); equal names are one stored tensor.

        Raises:
            InputError: it does not fit its inputs, or a tensor is not finite.
        """
        exact = {slot: (name, _finite(name, v)) for slot, (name, v) in (tensors or {}).items()}
        shapes = tuple(self._drafts[k].shape for k in inputs)
        slots = {slot: tuple(map(int, values.shape)) for slot, (_, values) in exact.items()}
        if len(self._drafts) >= MAX_NODES:
            raise InputError(f"graph: expected at most {MAX_NODES} operations, but got more")
        given = dict(attributes or {})
        shape = shape_after(op, shapes, given, slots)
        self._drafts.append(_Draft(op, tuple(inputs), given, exact, shape))
        return len(self._drafts) - 1

    def shape(self, index: int) -> Shape:
        """Return the shape of one sample of what a node gives."""
        return self._drafts[index].shape

    def build(self, output: int) -> Graph:
        """Return the graph that ends in a node.

        Raises:
            InputError: the output does not depend on exactly one input.
        """
        order = self._walk(output)
        inputs = [k for k in order if self._drafts[k].op == "input"]
        if len(inputs) != 1:
            raise InputError(f"graph: expected one input of the network, but got {len(inputs)}")
        place = {old: new for new, old in enumerate(order)}
        counts: dict[str, int] = {}
        nodes: list[Node] = []
        stored: dict[str, Array] = {}
        sources: dict[str, list[str]] = {}
        for old in order:
            draft = self._drafts[old]
            counts[draft.op] = counts.get(draft.op, 0) + 1
            name = "x" if draft.op == "input" else f"{draft.op}{counts[draft.op]}"
            roles = {slot: f"{name}.{slot}" for slot in sorted(draft.tensors)}
            for slot, role in roles.items():
                source, values = draft.tensors[slot]
                stored[role] = values
                sources.setdefault(source, []).append(role)
            inputs_now = tuple(place[k] for k in draft.inputs)
            nodes.append(Node(draft.op, inputs_now, draft.attributes, roles, draft.shape, name))
        ties = tuple(tuple(roles) for roles in sources.values() if len(roles) > 1)
        return Graph(tuple(nodes), stored, ties, tuple(self.notes))

    def _walk(self, output: int) -> list[int]:
        """Return what the output needs, inputs before users, in the order of first use."""
        order: list[int] = []
        seen: set[int] = set()
        stack = [(output, False)]
        while stack:
            k, done = stack.pop()
            if done:
                order.append(k)
            elif k not in seen:
                seen.add(k)
                stack.append((k, True))
                stack += [(j, False) for j in reversed(self._drafts[k].inputs)]
        return order


def _finite(name: str, given: Array) -> Array:
    values = np.ascontiguousarray(given, dtype=np.float64)
    finite = np.isfinite(values)
    if not finite.all():
        place = [int(k) for k in np.argwhere(~finite)[0]]
        raise InputError(
            f"tensor {name[:80]!a}: expected finite numbers, but got inf or nan at {place}"
        )
    return values.reshape(np.shape(given))


def graph_of(network: Any) -> Graph | None:
    """Return a network of a feedforward family as a graph, or None for other families."""
    if isinstance(network, Graph):
        return network
    make = getattr(network, "graph", None)
    return make() if make is not None else None

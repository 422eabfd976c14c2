"""A graph as a sequence of dense layers and residual blocks, if it is one."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from verify.network import Activation, Graph
from verify.network.graph import Node


@dataclass(frozen=True, eq=False)
class Stage:
    """One step from the samples to the features.

    Args:
        nodes: ``linear [batch_norm] [activation]``, or a single activation or batch norm that
            follows a sum or another stage, or the branch of a residual block.
        is_block: whether it is a residual block x + branch(x).
    """

    nodes: tuple[Node, ...]
    is_block: bool = False

    def of(self, op: str) -> Node | None:
        """Return its first node of a kind, or None."""
        return next((node for node in self.nodes if node.op == op), None)

    @property
    def is_layer(self) -> bool:
        """Whether it is a linear layer with an activation."""
        ops = [node.op for node in self.nodes]
        return not self.is_block and ops[0] == "linear" and ops[-1] == "activation"

    @property
    def is_bare_activation(self) -> bool:
        """Whether it applies an activation without a linear layer of its own before."""
        return not self.is_block and self.nodes[0].op == "activation"


class NotDenseError(Exception):
    """The graph is no such sequence; the text says where."""


def dense_chain(graph: Graph, place: int) -> tuple[Stage, ...]:
    """Return the stages from the samples to a node.

    At the beginning the sample may be flattened and scaled (factor other than 0).

    Raises:
        NotDenseError: something else lies on the way.
    """
    pieces = list(_backwards(graph, place))[::-1]
    while pieces and not pieces[0].is_block and pieces[0].nodes[0].op in ("reshape", "affine"):
        pieces.pop(0)
    for piece in pieces:
        for node in piece.nodes:
            if node.op in ("reshape", "affine"):
                raise NotDenseError(f"{node.name} follows the first layer")
            if len(node.shape) != 1:
                raise NotDenseError(f"{node.name} gives {len(node.shape)} axes")
    return tuple(_stages(pieces))


def _backwards(graph: Graph, place: int) -> Iterator[Stage]:
    """Yield single operations and residual blocks, the last one first."""
    while graph.nodes[place].op != "input":
        node = graph.nodes[place]
        if node.op == "add":
            skip, branch = _block(graph, node)
            yield Stage(branch, is_block=True)
            place = skip
            continue
        scaling = node.op == "affine" and node.attributes["factor"] != 0
        if node.op not in ("linear", "activation", "batch_norm", "reshape") and not scaling:
            raise NotDenseError(f"{node.name} is no dense layer")
        yield Stage((node,))
        place = node.inputs[0]


def _block(graph: Graph, node: Node) -> tuple[int, tuple[Node, ...]]:
    for skip, end in (node.inputs, node.inputs[::-1]):
        branch: list[Node] = []
        place = end
        while place != skip and graph.nodes[place].op in ("linear", "activation", "batch_norm"):
            branch.append(graph.nodes[place])
            place = graph.nodes[place].inputs[0]
        same = graph.nodes[skip].shape == node.shape == graph.nodes[end].shape
        if place == skip and branch and branch[0].op == "linear" and same:
            return skip, tuple(reversed(branch))
    raise NotDenseError(f"{node.name} is no residual block whose branch ends in a linear layer")


def _stages(pieces: list[Stage]) -> Iterator[Stage]:
    """Join a linear layer with the batch norm and the activation that follow it."""
    k = 0
    while k < len(pieces):
        joined = list(pieces[k].nodes)
        is_block = pieces[k].is_block
        k += 1
        if not is_block and joined[0].op == "linear":
            for op in ("batch_norm", "activation"):
                if k < len(pieces) and not pieces[k].is_block and pieces[k].nodes[0].op == op:
                    joined += pieces[k].nodes
                    k += 1
        yield Stage(tuple(joined), is_block)


def activations(stages: tuple[Stage, ...]) -> list[Activation]:
    """Return the different activations, in order."""
    found = [n.attributes["activation"] for s in stages for n in s.nodes if n.op == "activation"]
    return list(dict.fromkeys(found))

"""Fully connected networks f(x) = W_L sigma(... sigma(W_1 x + b_1) ...) + b_L."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from verify.errors import InputError
from verify.network.activation import Activation
from verify.network.graph import Graph, GraphBuilder
from verify.network.two_layer import TwoLayer
from verify.network.weights import Array


@dataclass(frozen=True, eq=False)
class Feedforward:
    """h_0 = x, h_k = sigma_k(W_k h_{k-1} + b_k) for k < L, f(x) = W_L h_{L-1} + b_L.

    A bias that is None does not exist; one that is zero does.

    Args:
        weights: W_1 ... W_L, each (m_k, m_{k-1}), float64 holding the stored numbers exactly.
        biases: b_1 ... b_L, each (m_k,) or None.
        activations: sigma_1 ... sigma_{L-1}; L >= 2.
        ties: groups of roles (``W1``, ``b2``) that the file stores as one tensor.
        notes: what the reader saw and a person should know, one sentence each.

    Raises:
        InputError: shapes that do not fit, or entries that are not finite.
    """

    weights: tuple[Array, ...]
    biases: tuple[Array | None, ...]
    activations: tuple[Activation, ...]
    ties: tuple[tuple[str, ...], ...] = ()
    notes: tuple[str, ...] = ()

    family = "feedforward"

    def __post_init__(self) -> None:
        layers = len(self.weights)
        if not (2 <= layers == len(self.biases) == len(self.activations) + 1):
            raise InputError(
                "Feedforward: expected L >= 2 weights, L biases (or None) and L - 1 activations, "
                f"but got {layers}, {len(self.biases)} and {len(self.activations)}"
            )
        graph = self.graph()  # checks shapes and entries
        object.__setattr__(self, "weights", tuple(graph.stored[f"linear{k + 1}.weight"]
                                                  for k in range(layers)))  # fmt: skip

    @property
    def dimension(self) -> int:
        """Entries of one sample."""
        return int(self.weights[0].shape[1])

    @property
    def width(self) -> int:
        """m_H, the width of the last hidden layer."""
        return int(self.weights[-1].shape[1])

    @property
    def activation(self) -> str:
        """The activations by name, in order of appearance."""
        return ", ".join(dict.fromkeys(map(str, self.activations)))

    @property
    def equation(self) -> str:
        """The equation in words of the field."""
        lines, reads = [], "x"
        for k, (bias, sigma) in enumerate(zip(self.biases, self.activations, strict=False), 1):
            inner = f"W{k} {reads}" + ("" if bias is None else f" + b{k}")
            reads = f"h{k}"
            lines.append(f"{reads} = {sigma.at(inner)}{sigma.where}")
        last = len(self.weights)
        outer = "" if self.biases[-1] is None else f" + b{last}"
        return "; ".join([*lines, f"f(x) = W{last} {reads}{outer}"])

    def tensors(self) -> Mapping[str, Array]:
        """The stored tensors by role: W1, b1, W2, ..."""
        named: dict[str, Array] = {}
        for k, (weight, bias) in enumerate(zip(self.weights, self.biases, strict=True), 1):
            named[f"W{k}"] = weight
            if bias is not None:
                named[f"b{k}"] = bias
        return named

    def graph(self) -> Graph:
        """Return the same function as a graph; W_k is ``linear<k>.weight`` there."""
        builder = GraphBuilder()
        weight = self.weights[0]
        if weight.ndim != 2:
            raise InputError(f"Feedforward: expected W1 as a matrix, but got {weight.shape}")
        shared = {role: group[0] for group in self.ties for role in group}
        place = builder.input((weight.shape[1],))
        for k, (weight, bias) in enumerate(zip(self.weights, self.biases, strict=True), 1):
            named = {"weight": (f"W{k}", weight)} | (
                {} if bias is None else {"bias": (f"b{k}", bias)}
            )
            tensors = {slot: (shared.get(name, name), v) for slot, (name, v) in named.items()}
            place = builder.add("linear", (place,), {}, tensors)
            if k < len(self.weights):
                place = builder.add("activation", (place,), {"activation": self.activations[k - 1]})
        return builder.build(place)


def feedforward_of(graph: Graph) -> Feedforward | None:
    """Return the graph as a fully connected network if it is one, else None.

    A leading flattening is dropped: samples are rows then. A final softmax or sigmoid is not: it
    changes the outputs, and the network stays a graph.
    """
    last = graph.last_affine
    if last is None or any(node.op != "reshape" for node in graph.nodes[last + 1 :]):
        return None
    chain = [graph.nodes[last]]
    while chain[-1].inputs:
        if len(chain[-1].inputs) != 1:
            return None
        chain.append(graph.nodes[chain[-1].inputs[0]])
    chain.reverse()
    body = chain[1:]
    if body and body[0].op == "reshape" and len(body[0].shape) == 1:
        body = body[1:]
    kinds = [node.op for node in body]
    if len(kinds) % 2 == 0 or kinds != ["linear", "activation"] * (len(kinds) // 2) + ["linear"]:
        return None
    if len(kinds) < 3 or any(len(node.shape) != 1 for node in body):
        return None
    if len(graph.sample_shape) != 1 and chain[1].op != "reshape":
        return None
    linear = body[::2]
    biases = tuple(
        graph.stored[n.parameters["bias"]] if "bias" in n.parameters else None for n in linear
    )
    roles: dict[str, str] = {}
    for k, node in enumerate(linear, 1):
        roles |= {node.parameters["weight"]: f"W{k}", node.parameters.get("bias", ""): f"b{k}"}
    return Feedforward(
        tuple(graph.stored[node.parameters["weight"]] for node in linear),
        biases,
        tuple(node.attributes["activation"] for node in body[1::2]),
        tuple(tuple(roles[role] for role in group) for group in graph.ties),
        graph.notes,
    )


def recognise(graph: Graph) -> Graph | Feedforward | TwoLayer:
    """Return the narrowest family that the graph really is."""
    found = feedforward_of(graph)
    if found is None:
        return graph
    (W, *_, a), (b, *_, c) = found.weights, found.biases
    if len(found.weights) == 2 and len(a) == 1 and not found.ties:
        return TwoLayer(W, a[0], found.activations[0], b, c, found.notes)
    return found

"""Forward and reverse sweeps over a graph, in any arithmetic that encloses or is exact.

Values have the samples on their first axis; cotangents have one row for every sample and output,
row i m_y + o for output o at sample i.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from fractions import Fraction
from functools import partial
from typing import Any, Protocol

import numpy as np

from verify.errors import VerifyError
from verify.network import Activation, Graph, Node
from verify_kernels.tangent_kernel.linear_maps import (
    OPERATIONS,
    LinearMap,
    broadcast,
    linear_map,
    part_of_concat,
)

Value = Any  # an array of the arithmetic: supports + - * with broadcasting
Visit = Callable[[Node, Value, Value], None]
ELEMENTWISE = frozenset({"add", "sub", "mul"})
SUPPORTED = OPERATIONS | ELEMENTWISE | {
    "input", "constant", "batch_norm", "concat", "affine", "activation"
}  # fmt: skip


class OpenError(VerifyError, ArithmeticError):
    """The Jacobian could not be enclosed; the message is the reason in one phrase."""


class KinkError(OpenError):
    """An argument at a kink of an activation, or not told apart from one."""


class Arithmetic(Protocol):
    """Numbers that a sweep computes with."""

    def samples(self, values: Any, divisor: Fraction) -> Value:
        """Return values/divisor."""

    def stored(self, values: Any) -> Value:
        """Return stored numbers as values."""

    def raw(self, values: Any) -> Any:
        """Return stored numbers as entries of a linear map."""

    def number(self, value: Fraction) -> Value:
        """Return one number."""

    def move(self, apply: Callable[[Any], Any], x: Value) -> Value:
        """Move entries."""

    def push(self, linear: LinearMap, x: Value) -> Value:
        """Return L x."""

    def pull(self, linear: LinearMap, s: Value) -> Value:
        """Return L^T s."""

    def activate(self, activation: Activation, x: Value, name: str) -> tuple[Value, Value]:
        """Return the values and the derivatives; raises `OpenError` at a kink."""

    def normaliser(self, variance: Any, epsilon: Fraction) -> Value:
        """Return 1/sqrt(variance + epsilon) for every channel."""


@dataclass(eq=False)
class Sweep:
    """What the forward sweep leaves for the reverse sweep.

    Args:
        graph: the network.
        place: the node whose entries are the outputs.
        arithmetic: of the values.
        count: samples.
        values: of the nodes, by index.
        slopes: derivatives of the activations, by index.
        maps: linear parts, by index.
    """

    graph: Graph
    place: int
    arithmetic: Any
    count: int
    values: dict[int, Value] = field(default_factory=dict)
    slopes: dict[int, Value] = field(default_factory=dict)
    maps: dict[int, LinearMap] = field(default_factory=dict)

    @property
    def outputs(self) -> int:
        """m_y."""
        return math.prod(self.graph.nodes[self.place].shape)


def output_place(graph: Graph) -> int:
    """Return the node that the loss reads: the last affine layer, or the last node without one."""
    last = graph.last_affine
    return len(graph.nodes) - 1 if last is None else last


def require_supported(graph: Graph, place: int) -> None:
    """Refuse operations whose derivative is not written here.

    Raises:
        OpenError: one is there.
    """
    for k in graph.needed(place):
        node = graph.nodes[k]
        if node.op not in SUPPORTED:
            raise OpenError(f"the derivative of {node.op} is not enclosed ({node.name})")
        if node.op == "batch_norm" and node.attributes["training"]:
            raise OpenError(f"{node.name} is in training form, which mixes the samples")
        if node.op == "pad" and node.attributes["value"] != 0:
            raise OpenError(f"{node.name} pads with another number than 0")


def forward(
    graph: Graph, place: int, inputs: Any, arithmetic: Arithmetic, *, outputs: bool = True
) -> Sweep:
    """Evaluate the nodes up to a place, with the derivatives of the activations.

    Args:
        graph: the network.
        place: the node.
        inputs: `verify_kernels.forward.inputs.Inputs`.
        arithmetic: of the values.
        outputs: whether the value of the place itself is wanted; no derivative reads that of a
            linear layer.

    Raises:
        InputError: there is no sample.
        OpenError: an unknown operation, a kink, or numbers out of range.
    """
    inputs.require_some("tangent kernel")
    require_supported(graph, place)
    sweep = Sweep(graph, place, arithmetic, len(inputs.values))
    for k in graph.needed(place):
        node = graph.nodes[k]
        if node.op == "input":
            sweep.values[k] = arithmetic.samples(inputs.values, Fraction(inputs.divisor))
        elif node.op in OPERATIONS and k == place and not outputs:
            sweep.maps[k] = _map(sweep, node)
        else:
            sweep.values[k] = _value(sweep, k, node)
    return sweep


def _value(sweep: Sweep, k: int, node: Node) -> Value:
    arithmetic, graph = sweep.arithmetic, sweep.graph
    read = [sweep.values[j] for j in node.inputs]
    shapes = [graph.nodes[j].shape for j in node.inputs]
    if node.op == "constant":
        return arithmetic.stored(graph.stored[node.parameters["value"]][None])
    if node.op in OPERATIONS:
        sweep.maps[k] = _map(sweep, node)
        image = arithmetic.push(sweep.maps[k], read[0])
        bias = node.parameters.get("bias")
        return image if bias is None else image + _channels(sweep, node, bias)
    if node.op in ELEMENTWISE:
        left, right = (
            arithmetic.move(broadcast(shape, node.shape).apply, x)
            for shape, x in zip(shapes, read, strict=True)
        )
        if node.op == "mul":
            return left * right
        return left + right if node.op == "add" else left - right
    if node.op == "batch_norm":
        return _normalised(sweep, node, read[0])
    if node.op == "concat":
        return _concatenated(sweep, node, read)
    if node.op == "affine":
        scaled = read[0] * arithmetic.number(node.attributes["factor"])
        return scaled + arithmetic.number(node.attributes["offset"])
    value, slope = arithmetic.activate(node.attributes["activation"], read[0], node.name)
    sweep.slopes[k] = slope
    return value


def _map(sweep: Sweep, node: Node) -> LinearMap:
    role = node.parameters.get("weight")
    weight = None if role is None else sweep.arithmetic.raw(sweep.graph.stored[role])
    return linear_map(node, sweep.graph.nodes[node.inputs[0]].shape, weight)


def _channels(sweep: Sweep, node: Node, role: str) -> Value:
    """Return a stored vector in the shape in which it meets samples."""
    vector = sweep.graph.stored[role]
    after = 0 if node.op == "linear" else len(node.shape) - 1
    return sweep.arithmetic.stored(vector.reshape(-1, *(1,) * after))


def standardised(sweep: Sweep, node: Node, x: Value) -> tuple[Value, Value]:
    """Return (x - mean)/sqrt(variance + epsilon) of a batch norm, and the factor."""
    variance = sweep.graph.stored[node.parameters["variance"]]
    factor = sweep.arithmetic.normaliser(variance, node.attributes["epsilon"])
    after = len(node.shape) - 1
    factor = sweep.arithmetic.move(lambda a: a.reshape(-1, *(1,) * after), factor)
    return (x - _channels(sweep, node, node.parameters["mean"])) * factor, factor


def _normalised(sweep: Sweep, node: Node, x: Value) -> Value:
    value, _ = standardised(sweep, node, x)
    if "weight" in node.parameters:
        value = value * _channels(sweep, node, node.parameters["weight"])
    if "bias" in node.parameters:
        value = value + _channels(sweep, node, node.parameters["bias"])
    return value


def _parts(sweep: Sweep, node: Node) -> list[LinearMap]:
    parts, start = [], 0
    for j in node.inputs:
        shape = sweep.graph.nodes[j].shape
        parts.append(part_of_concat(node, start, shape))
        start += shape[node.attributes["axis"]]
    return parts


def _concatenated(sweep: Sweep, node: Node, read: list[Value]) -> Value:
    total = None
    for part, x in zip(_parts(sweep, node), read, strict=True):
        placed = sweep.arithmetic.move(part.apply, x)
        total = placed if total is None else total + placed
    return total


def backward(sweep: Sweep, trained: Mapping[int, frozenset[str]], visit: Visit) -> None:
    """Carry the derivatives of all outputs back, and show those at every trained node.

    Args:
        sweep: of `forward`.
        trained: node to its slots that are trained.
        visit: called with the node, the value that it reads (None for a constant) and the
            derivatives of all outputs by its result, shape (n m_y, *shape).
    """
    graph, arithmetic = sweep.graph, sweep.arithmetic
    below = {k for k in trained}
    for k in graph.needed(sweep.place):
        if any(j in below for j in graph.nodes[k].inputs):
            below.add(k)
    if sweep.place not in below:
        return
    m_y = sweep.outputs
    seed = np.tile(np.eye(m_y), (sweep.count, 1)).reshape(-1, *graph.nodes[sweep.place].shape)
    waiting: dict[int, Value] = {sweep.place: arithmetic.stored(seed)}
    for k in reversed(graph.needed(sweep.place)):
        s = waiting.pop(k, None)
        if s is None:
            continue
        node = graph.nodes[k]
        if k in trained:
            visit(node, sweep.values[node.inputs[0]] if node.inputs else None, s)
        wanted = [j in below for j in node.inputs]
        if any(wanted):
            for j, back, want in zip(node.inputs, _back(sweep, k, node, s), wanted, strict=True):
                if want:
                    waiting[j] = back() if j not in waiting else waiting[j] + back()


def _back(sweep: Sweep, k: int, node: Node, s: Value) -> list[Callable[[], Value]]:
    """Return, for every input, a function that gives the derivatives by it."""
    arithmetic = sweep.arithmetic
    if node.op in OPERATIONS:
        return [lambda: arithmetic.pull(sweep.maps[k], s)]
    if node.op == "activation":
        return [lambda: by_sample(sweep, s, sweep.slopes[k])]
    if node.op == "affine":
        return [lambda: s * arithmetic.number(node.attributes["factor"])]
    if node.op == "concat":
        return [partial(arithmetic.move, part.adjoint, s) for part in _parts(sweep, node)]
    if node.op == "batch_norm":
        return [lambda: _normalised_back(sweep, node, s)]
    return [_elementwise_back(sweep, node, s, side) for side in (0, 1)]


def _normalised_back(sweep: Sweep, node: Node, s: Value) -> Value:
    _, factor = standardised(sweep, node, sweep.arithmetic.stored(np.zeros((1, *node.shape))))
    if "weight" in node.parameters:
        factor = factor * _channels(sweep, node, node.parameters["weight"])
    return s * factor


def _elementwise_back(sweep: Sweep, node: Node, s: Value, side: int) -> Callable[[], Value]:
    arithmetic, graph = sweep.arithmetic, sweep.graph
    maps = [broadcast(graph.nodes[j].shape, node.shape) for j in node.inputs]

    def back() -> Value:
        carried = s
        if node.op == "mul":
            other = arithmetic.move(maps[1 - side].apply, sweep.values[node.inputs[1 - side]])
            carried = by_sample(sweep, s, other)
        elif node.op == "sub" and side == 1:
            carried = s * arithmetic.number(Fraction(-1))
        return arithmetic.pull(maps[side], carried)

    return back


def by_sample(sweep: Sweep, s: Value, x: Value) -> Value:
    """Multiply the rows of every sample by its values."""
    move, m_y = sweep.arithmetic.move, sweep.outputs
    rows = move(lambda a: a.reshape(-1, m_y, *a.shape[1:]), s)
    found = rows * move(lambda a: a[:, None], x)
    return move(lambda a: a.reshape(-1, *a.shape[2:]), found)

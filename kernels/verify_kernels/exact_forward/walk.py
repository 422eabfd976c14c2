"""Evaluates a graph in any arithmetic: each operation is written once.

An arithmetic brings its own values: arrays of rationals, arrays of balls, or residues with a
float enclosure. A value has the samples on its first axis (1 for what is the same for all).
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from fractions import Fraction
from typing import Any

import numpy as np
from numpy.typing import NDArray

from verify.errors import VerifyError
from verify.network.activation import Activation
from verify.network.graph import Graph, Node
from verify.network.weights import Array
from verify_kernels.exact_forward.windows import OUTSIDE, Places, adaptive, repeated_inside, sliding

Value = Any
Mask = NDArray[np.bool_]
Move = Callable[..., Any]  # rearranges entries of arrays


class OutsideError(VerifyError):
    """The graph leaves what an arithmetic can hold; the message is the reason in one phrase."""


class Arithmetic(ABC):
    """Operations on values."""

    @abstractmethod
    def moved(self, move: Move, *values: Value) -> Value:
        """Apply a function that only rearranges entries."""

    @abstractmethod
    def lift(self, tensor: Array) -> Value:
        """Return a stored tensor, for all samples."""

    @abstractmethod
    def numbers(self, exact: Sequence[Fraction], shape: Sequence[int]) -> Value:
        """Return exact numbers in a shape without samples."""

    @abstractmethod
    def product(self, x: Value, weight: Array) -> Value:
        """Return x W^T over the last axis."""

    @abstractmethod
    def add(self, a: Value, b: Value) -> Value:
        """Return a + b."""

    @abstractmethod
    def sub(self, a: Value, b: Value) -> Value:
        """Return a - b."""

    @abstractmethod
    def mul(self, a: Value, b: Value) -> Value:
        """Return a b."""

    @abstractmethod
    def div(self, a: Value, b: Value) -> Value:
        """Return a / b."""

    @abstractmethod
    def root(self, a: Value) -> Value:
        """Return the square root."""

    @abstractmethod
    def total(self, a: Value) -> Value:
        """Return the sum over the last axis."""

    @abstractmethod
    def largest(self, a: Value, inside: Mask, node: Node) -> Value:
        """Return the maximum over the last axis; entries not inside repeat another one."""

    @abstractmethod
    def activation(self, a: Value, activation: Activation, node: Node) -> Value:
        """Apply an activation."""

    @abstractmethod
    def rounded(self, a: Value, how: str, node: Node) -> Value:
        """Round to whole numbers."""

    def exponential(self, a: Value) -> Value:
        """Return exp(a)."""
        raise OutsideError("exponentials are not rational")

    def logarithm(self, a: Value) -> Value:
        """Return log(a)."""
        raise OutsideError("logarithms are not rational")


def key_of(weight: Array) -> tuple[Any, ...]:
    """Return what tells stored tensors and views of them apart while they are alive."""
    return (weight.ctypes.data, weight.shape, weight.strides)


def entries_read(graph: Graph, node: Node) -> int:
    """Return how many entries one sample's windows or rows hold at a node, with repetitions."""
    if node.op == "conv":
        kernel = graph.stored[node.parameters["weight"]].shape
        return math.prod(node.shape[1:]) * math.prod(kernel[1:]) * int(node.attributes["groups"])
    return int(math.prod(node.shape) * math.prod(node.attributes.get("kernel", ())))


Step = Callable[[Node, list[Value]], Value]


def values_at(graph: Graph, place: int, first: Value, step: Step) -> Value:
    """Return the value of a node.

    Args:
        graph: the network.
        place: index of the node.
        first: the value of the input.
        step: gives the value of a node from those that it reads, as `apply` does.

    Raises:
        OutsideError: the arithmetic cannot hold it.
    """
    users = readers(graph, place)
    kept: dict[int, Value] = {}
    for k in sorted(users):
        node = graph.nodes[k]
        kept[k] = first if node.op == "input" else step(node, [kept[j] for j in node.inputs])
        for j in set(node.inputs):
            users[j] -= 1
            if users[j] == 0:
                del kept[j]
    return kept[place]


def readers(graph: Graph, place: int) -> dict[int, int]:
    """Return the nodes that a node depends on, itself included, with the number of readers."""
    users = {place: 1}
    for k in range(place, -1, -1):
        if k in users:
            for j in set(graph.nodes[k].inputs):
                users[j] = users.get(j, 0) + 1
    return users


def apply(graph: Graph, node: Node, values: list[Value], by: Arithmetic) -> Value:
    """Return the value of a node from those that it reads.

    Raises:
        OutsideError: the arithmetic cannot hold it, or the operation has no value for one sample.
    """
    rule = _RULES.get(node.op)
    if rule is None:
        raise OutsideError(f"{node.op} has no value at a sample")
    tensors = {slot: graph.stored[role] for slot, role in node.parameters.items()}
    shapes = [graph.nodes[k].shape for k in node.inputs]
    return rule(by, node, values, tensors, shapes)


Tensors = Mapping[str, Array]
Shapes = list[tuple[int, ...]]


def _constant(by: Arithmetic, node: Node, values: Any, tensors: Tensors, shapes: Shapes) -> Value:
    return by.lift(tensors["value"])


def _linear(by: Arithmetic, node: Node, values: Any, tensors: Tensors, shapes: Shapes) -> Value:
    found = by.product(values[0], tensors["weight"])
    return by.add(found, by.lift(tensors["bias"])) if "bias" in tensors else found


def _gathered(by: Arithmetic, x: Value, places: Places, axes: int) -> Value:
    """Return (samples, ..., windows, entries); padding is zero."""

    def move(a: Any) -> Any:
        flat = a.reshape(*a.shape[: a.ndim - axes], -1)
        if (places == OUTSIDE).any():
            flat = np.concatenate([flat, zeros(flat, (*flat.shape[:-1], 1))], axis=-1)
        return flat[..., places]

    return by.moved(move, x)


def zeros(like: Any, shape: tuple[int, ...]) -> Any:
    """Return zeros of the kind that an array holds."""
    if like.dtype != object:
        return np.zeros(shape, dtype=like.dtype)
    return np.full(shape, type(like.flat[0])(0), dtype=object)


def _conv(by: Arithmetic, node: Node, values: Any, tensors: Tensors, shapes: Shapes) -> Value:
    (x,), weight, given = values, tensors["weight"], node.attributes
    places = sliding(
        shapes[0][1:], weight.shape[2:], given["strides"], given["padding"], given["dilations"]
    )
    windows = _gathered(by, x, places, weight.ndim - 2)  # (n, channels, P, K)
    groups = given["groups"]
    each, out = weight.shape[1], weight.shape[0] // groups
    parts = []
    for g in range(groups):

        def rows(a: Any, g: int = g) -> Any:
            part = a[:, g * each : (g + 1) * each].transpose(0, 2, 1, 3)
            return part.reshape(*part.shape[:2], -1)

        part = weight[g * out : (g + 1) * out].reshape(out, -1)
        parts.append(by.product(by.moved(rows, windows), part))
    found = by.moved(lambda *a: np.concatenate(a, axis=-1), *parts)
    if "bias" in tensors:
        found = by.add(found, by.lift(tensors["bias"]))
    return by.moved(lambda a: a.transpose(0, 2, 1).reshape(len(a), *node.shape), found)


def _batch_norm(by: Arithmetic, node: Node, values: Any, tensors: Tensors, shapes: Shapes) -> Value:
    if node.attributes["training"]:
        raise OutsideError("batch norm in training form mixes samples")
    shape = (-1, *(1,) * (len(shapes[0]) - 1))
    lifted = {slot: by.lift(tensor.reshape(shape)) for slot, tensor in tensors.items()}
    epsilon = by.numbers([node.attributes["epsilon"]], (1,) * len(shapes[0]))
    found = by.sub(values[0], lifted["mean"])
    scale = by.root(by.add(lifted["variance"], epsilon))
    if "weight" in lifted:
        found = by.mul(found, by.div(lifted["weight"], scale))
    else:
        found = by.div(found, scale)
    return by.add(found, lifted["bias"]) if "bias" in lifted else found


def _layer_norm(by: Arithmetic, node: Node, values: Any, tensors: Tensors, shapes: Shapes) -> Value:
    axes, shape = node.attributes["axes"], shapes[0]
    size = math.prod(shape[len(shape) - axes :])
    flat = by.moved(lambda a: a.reshape(*a.shape[: a.ndim - axes], size), values[0])
    ones = (1,) * (len(shape) - axes)
    share = by.numbers([Fraction(1, size)], ones)

    def mean(a: Value) -> Value:
        return by.moved(lambda b: b[..., None], by.mul(by.total(a), share))

    found = by.sub(flat, mean(flat))
    epsilon = by.numbers([node.attributes["epsilon"]], (*ones, 1))
    found = by.div(found, by.root(by.add(mean(by.mul(found, found)), epsilon)))
    if "weight" in tensors:
        found = by.mul(found, by.lift(tensors["weight"].reshape(*ones, size)))
    if "bias" in tensors:
        found = by.add(found, by.lift(tensors["bias"].reshape(*ones, size)))
    return by.moved(lambda a: a.reshape(len(a), *shape), found)


def _pool_places(node: Node, shape: tuple[int, ...]) -> tuple[Places, int]:
    given = node.attributes
    if "size" in given:
        axes = len(given["size"])
        return adaptive(shape[-axes:], given["size"]), axes
    axes = len(given["kernel"])
    dilations = given.get("dilations", (1,) * axes)
    return sliding(
        shape[-axes:], given["kernel"], given["strides"], given["padding"], dilations
    ), axes


def _average(by: Arithmetic, node: Node, values: Any, tensors: Tensors, shapes: Shapes) -> Value:
    places, axes = _pool_places(node, shapes[0])
    counts = (places != OUTSIDE).sum(axis=1)
    if node.attributes.get("count_padding", False):
        counts[:] = places.shape[1]
    sums = by.total(_gathered(by, values[0], places, axes))
    shares = [Fraction(1, int(count)) for count in counts]
    ones = (1,) * (len(shapes[0]) - axes)
    found = by.mul(sums, by.numbers(shares, (*ones, len(shares))))
    return by.moved(lambda a: a.reshape(len(a), *node.shape), found)


def _max(by: Arithmetic, node: Node, values: Any, tensors: Tensors, shapes: Shapes) -> Value:
    places, axes = _pool_places(node, shapes[0])
    windows = _gathered(by, values[0], repeated_inside(places), axes)
    found = by.largest(windows, places != OUTSIDE, node)
    return by.moved(lambda a: a.reshape(len(a), *node.shape), found)


def _mean(by: Arithmetic, node: Node, values: Any, tensors: Tensors, shapes: Shapes) -> Value:
    axes = node.attributes["axes"]
    stay = [k for k in range(len(shapes[0])) if k not in axes]
    order = (0, *(k + 1 for k in stay), *(k + 1 for k in axes))
    size = math.prod(shapes[0][k] for k in axes)

    def move(a: Any) -> Any:
        turned = a.transpose(order)
        return turned.reshape(*turned.shape[: len(stay) + 1], size)

    share = by.numbers([Fraction(1, size)], (1,) * len(stay))
    return by.mul(by.total(by.moved(move, values[0])), share)


def _reshape(by: Arithmetic, node: Node, values: Any, tensors: Tensors, shapes: Shapes) -> Value:
    return by.moved(lambda a: a.reshape(len(a), *node.shape), values[0])


def _transpose(by: Arithmetic, node: Node, values: Any, tensors: Tensors, shapes: Shapes) -> Value:
    order = (0, *(k + 1 for k in node.attributes["order"]))
    return by.moved(lambda a: a.transpose(order), values[0])


def _pad(by: Arithmetic, node: Node, values: Any, tensors: Tensors, shapes: Shapes) -> Value:
    inside = tuple(
        slice(before, before + size)
        for size, (before, _) in zip(shapes[0], node.attributes["amounts"], strict=True)
    )

    def move(a: Any, fill: Any) -> Any:
        out = np.broadcast_to(fill, (len(a), *node.shape)).copy()
        out[(slice(None), *inside)] = a
        return out

    fill = by.numbers([Fraction(node.attributes["value"])], (1,) * len(node.shape))
    return by.moved(move, values[0], fill)


def _slice(by: Arithmetic, node: Node, values: Any, tensors: Tensors, shapes: Shapes) -> Value:
    start, stop, step = (node.attributes[name] for name in ("start", "stop", "step"))
    before = (slice(None),) * (node.attributes["axis"] + 1)
    return by.moved(lambda a: a[(*before, slice(start, stop, step))], values[0])


def _concat(by: Arithmetic, node: Node, values: Any, tensors: Tensors, shapes: Shapes) -> Value:
    axis = node.attributes["axis"] + 1

    def move(*arrays: Any) -> Any:
        samples = max(len(a) for a in arrays)
        parts = [np.broadcast_to(a, (samples, *a.shape[1:])) for a in arrays]
        return np.concatenate(parts, axis=axis)

    return by.moved(move, *values)


def _pairwise(by: Arithmetic, node: Node, values: Any, tensors: Tensors, shapes: Shapes) -> Value:
    rank = len(node.shape)

    def aligned(value: Value, shape: tuple[int, ...]) -> Value:
        full = (1,) * (rank - len(shape)) + tuple(shape)
        return by.moved(lambda a: a.reshape(len(a), *full), value)

    a, b = (aligned(value, shape) for value, shape in zip(values, shapes, strict=True))
    found: Value = getattr(by, node.op)(a, b)
    return found


def _affine(by: Arithmetic, node: Node, values: Any, tensors: Tensors, shapes: Shapes) -> Value:
    ones = (1,) * len(shapes[0])
    scaled = by.mul(values[0], by.numbers([node.attributes["factor"]], ones))
    return by.add(scaled, by.numbers([node.attributes["offset"]], ones))


def _activation(by: Arithmetic, node: Node, values: Any, tensors: Tensors, shapes: Shapes) -> Value:
    return by.activation(values[0], node.attributes["activation"], node)


def _round(by: Arithmetic, node: Node, values: Any, tensors: Tensors, shapes: Shapes) -> Value:
    return by.rounded(values[0], node.attributes["how"], node)


def _softmax(by: Arithmetic, node: Node, values: Any, tensors: Tensors, shapes: Shapes) -> Value:
    axis = node.attributes["axis"] + 1
    last = by.moved(lambda a: np.moveaxis(a, axis, -1), values[0])
    shifted = by.sub(last, by.moved(lambda a: a[..., :1], last))  # any shift is allowed
    powers = by.exponential(shifted)
    sums = by.moved(lambda a: a[..., None], by.total(powers))
    plain = node.op == "softmax"
    found = by.div(powers, sums) if plain else by.sub(shifted, by.logarithm(sums))
    return by.moved(lambda a: np.moveaxis(a, -1, axis), found)


_RULES: Mapping[str, Callable[..., Value]] = {
    "constant": _constant, "linear": _linear, "conv": _conv, "batch_norm": _batch_norm,
    "layer_norm": _layer_norm, "average_pool": _average, "adaptive_average_pool": _average,
    "max_pool": _max, "adaptive_max_pool": _max, "mean": _mean, "reshape": _reshape,
    "transpose": _transpose, "pad": _pad, "slice": _slice, "concat": _concat, "add": _pairwise,
    "sub": _pairwise, "mul": _pairwise, "div": _pairwise, "affine": _affine,
    "activation": _activation, "round": _round, "softmax": _softmax, "log_softmax": _softmax,
}  # fmt: skip

"""The operations of a graph: their tensors, their attributes, and the shape of what they give.

Shapes are those of one sample; the batch axis is not counted. Attributes are exact: whole
numbers, tuples of them, `Fraction`s, words, and `Activation`s.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

from verify.errors import InputError
from verify.network.activation import Activation

Shape = tuple[int, ...]


@dataclass(frozen=True)
class Operation:
    """One kind of node.

    Args:
        inputs: how many nodes it reads; -1 for one or more.
        required, optional: slots of stored tensors.
        attributes: names of the attributes, all required.
        equation: what it computes, for a person.
    """

    inputs: int
    required: tuple[str, ...] = ()
    optional: tuple[str, ...] = ()
    attributes: tuple[str, ...] = ()
    equation: str = ""


_WINDOW = ("kernel", "strides", "padding")
OPERATIONS: Mapping[str, Operation] = {
    "input": Operation(0, attributes=("shape",), equation="the sample"),
    "constant": Operation(0, ("value",), equation="a stored tensor, the same for every sample"),
    "linear": Operation(1, ("weight",), ("bias",), (), "x W^T + b over the last axis"),
    "conv": Operation(
        1, ("weight",), ("bias",), ("strides", "padding", "dilations", "groups"),
        "cross-correlation; padding holds (before, after) of each axis",
    ),
    "batch_norm": Operation(
        1, ("mean", "variance"), ("weight", "bias"), ("epsilon", "training"),
        "weight (x - mean)/sqrt(variance + epsilon) + bias on each channel (axis 0)",
    ),
    "layer_norm": Operation(
        1, (), ("weight", "bias"), ("axes", "epsilon"),
        "weight (x - m)/sqrt(v + epsilon) + bias, m and v over the last axes of each sample",
    ),
    "average_pool": Operation(1, attributes=(*_WINDOW, "count_padding")),
    "max_pool": Operation(1, attributes=(*_WINDOW, "dilations")),
    "adaptive_average_pool": Operation(1, attributes=("size",)),
    "adaptive_max_pool": Operation(1, attributes=("size",)),
    "mean": Operation(1, attributes=("axes",), equation="mean over axes, which vanish"),
    "reshape": Operation(1, attributes=("shape",)),
    "transpose": Operation(1, attributes=("order",)),
    "pad": Operation(1, attributes=("amounts", "value")),
    "slice": Operation(1, attributes=("axis", "start", "stop", "step")),
    "concat": Operation(-1, attributes=("axis",)),
    "add": Operation(2), "sub": Operation(2), "mul": Operation(2), "div": Operation(2),
    "affine": Operation(1, attributes=("factor", "offset"), equation="factor x + offset"),
    "activation": Operation(1, attributes=("activation",)),
    "round": Operation(1, attributes=("how",), equation="floor, ceil or nearest (half to even)"),
    "dropout": Operation(1, attributes=("rate",), equation="in training form"),
    "softmax": Operation(1, attributes=("axis",)),
    "log_softmax": Operation(1, attributes=("axis",)),
}  # fmt: skip


def shape_after(
    op: str, inputs: tuple[Shape, ...], attributes: Mapping[str, Any], slots: Mapping[str, Shape]
) -> Shape:
    """Return the shape of what a node gives.

    Raises:
        InputError: an unknown operation, a missing slot or attribute, or sizes that do not fit.
    """
    kind = OPERATIONS.get(op)
    if kind is None:
        raise InputError(f"operation {op!r}: expected one of {', '.join(OPERATIONS)}")
    counted = len(inputs) == kind.inputs or (kind.inputs == -1 and inputs)
    slots_fit = set(kind.required) <= set(slots) <= {*kind.required, *kind.optional}
    if not (counted and slots_fit and set(attributes) == set(kind.attributes)):
        raise _unfit(
            op,
            f"{kind.inputs} input(s), tensors {[*kind.required, *kind.optional]} and attributes "
            f"{list(kind.attributes)}",
            f"{len(inputs)}, {sorted(slots)} and {sorted(attributes)}",
        )
    shape: Shape = _RULES[op](op, inputs, attributes, slots)
    if any(size < 1 for size in shape):
        raise _unfit(op, "at least one entry on every axis", shape)
    return shape


def _unfit(op: str, expected: str, got: object) -> InputError:
    return InputError(f"operation {op}: expected {expected}, but got {got}")


def _require(truth: bool, op: str, expected: str, got: object) -> None:
    if not truth:
        raise _unfit(op, expected, got)


def _input(op: str, inputs: Any, attributes: Any, slots: Any) -> Shape:
    return tuple(attributes["shape"])


def _constant(op: str, inputs: Any, attributes: Any, slots: Any) -> Shape:
    return tuple(slots["value"])


def _linear(op: str, inputs: Any, attributes: Any, slots: Any) -> Shape:
    (x,), weight = inputs, slots["weight"]
    fits = len(weight) == 2 and x and weight[1] == x[-1]
    _require(bool(fits), op, f"a weight of shape (out, {x[-1] if x else 1})", weight)
    _require(slots.get("bias", weight[:1]) == weight[:1], op, f"a bias {weight[:1]}", slots)
    return (*x[:-1], weight[0])


def _conv(op: str, inputs: Any, attributes: Any, slots: Any) -> Shape:
    (x,), weight, groups = inputs, slots["weight"], attributes["groups"]
    rank = len(x) - 1
    fits = rank in (1, 2) and len(weight) == rank + 2 and groups >= 1
    fits = fits and weight[1] * groups == x[0] and weight[0] % groups == 0
    _require(fits, op, "a weight (out, in/groups, *kernel) for 1 or 2 axes", (x, weight, groups))
    _require(slots.get("bias", weight[:1]) == weight[:1], op, f"a bias {weight[:1]}", slots)
    spatial = _windows(op, x[1:], weight[2:], attributes, attributes["dilations"])
    return (weight[0], *spatial)


def _windows(op: str, axes: Shape, kernel: Shape, attributes: Any, dilations: Shape) -> Shape:
    strides, padding = attributes["strides"], attributes["padding"]
    rank = len(axes)
    listed = all(len(each) == rank for each in (kernel, strides, padding, dilations))
    positive = listed and all(size >= 1 for each in (kernel, strides, dilations) for size in each)
    padded = positive and all(len(pair) == 2 and min(pair) >= 0 for pair in padding)
    _require(padded, op, f"kernel, strides, padding and dilations of {rank} axes", attributes)
    return tuple(
        (size + sum(pad) - (k - 1) * dilation - 1) // stride + 1
        for size, pad, k, stride, dilation in zip(
            axes, padding, kernel, strides, dilations, strict=True
        )
    )


def _pool(op: str, inputs: Any, attributes: Any, slots: Any) -> Shape:
    (x,), kernel = inputs, attributes["kernel"]
    rank = len(kernel)
    _require(rank in (1, 2) and len(x) > rank, op, "a window of 1 or 2 axes after channels", x)
    dilations = attributes.get("dilations", (1,) * rank)
    found = _windows(op, x[-rank:], kernel, attributes, dilations)
    # A window that saw padding only would have no maximum and no average. One that starts at an
    # entry sees it; one that starts at s < 0 sees entry s mod d by its tap ceil(-s/d).
    inside = all(
        max(pair) < (k - 1) * d + 1 and (d <= size or pair[0] == 0)
        for size, pair, k, d in zip(
            x[-rank:], attributes["padding"], kernel, dilations, strict=True
        )
    )
    _require(inside, op, "padding smaller than windows that reach an entry", dict(attributes))
    return (*x[:-rank], *found)


def _adaptive(op: str, inputs: Any, attributes: Any, slots: Any) -> Shape:
    (x,), size = inputs, attributes["size"]
    fits = len(size) in (1, 2) and len(x) > len(size)
    _require(fits, op, "1 or 2 axes after channels", x)
    return (*x[: -len(size)], *size)


def _batch_norm(op: str, inputs: Any, attributes: Any, slots: Any) -> Shape:
    (x,) = inputs
    fits = x and all(shape == x[:1] for shape in slots.values())
    _require(bool(fits), op, f"tensors of shape {x[:1]}", dict(slots))
    return tuple(x)


def _layer_norm(op: str, inputs: Any, attributes: Any, slots: Any) -> Shape:
    (x,), axes = inputs, attributes["axes"]
    _require(1 <= axes <= len(x), op, f"1 to {len(x)} axes", axes)
    fits = all(shape == x[-axes:] for shape in slots.values())
    _require(fits, op, f"tensors of shape {x[-axes:]}", dict(slots))
    return tuple(x)


def _mean(op: str, inputs: Any, attributes: Any, slots: Any) -> Shape:
    (x,), axes = inputs, attributes["axes"]
    fits = axes and len(set(axes)) == len(axes) and all(0 <= axis < len(x) for axis in axes)
    _require(bool(fits), op, f"different axes below {len(x)}", axes)
    return tuple(size for axis, size in enumerate(x) if axis not in axes)


def _reshape(op: str, inputs: Any, attributes: Any, slots: Any) -> Shape:
    (x,), shape = inputs, tuple(attributes["shape"])
    _require(math.prod(shape) == math.prod(x), op, f"{math.prod(x)} entries", shape)
    return shape


def _transpose(op: str, inputs: Any, attributes: Any, slots: Any) -> Shape:
    (x,), order = inputs, attributes["order"]
    _require(sorted(order) == list(range(len(x))), op, f"an order of {len(x)} axes", order)
    return tuple(x[axis] for axis in order)


def _pad(op: str, inputs: Any, attributes: Any, slots: Any) -> Shape:
    (x,), amounts = inputs, attributes["amounts"]
    fits = len(amounts) == len(x) and all(len(p) == 2 and min(p) >= 0 for p in amounts)
    _require(fits, op, f"(before, after) for {len(x)} axes", amounts)
    return tuple(size + sum(pair) for size, pair in zip(x, amounts, strict=True))


def _slice(op: str, inputs: Any, attributes: Any, slots: Any) -> Shape:
    (x,), axis = inputs, attributes["axis"]
    start, stop, step = (attributes[name] for name in ("start", "stop", "step"))
    fits = 0 <= axis < len(x) and 0 <= start <= stop <= x[axis] and step >= 1
    _require(fits, op, f"0 <= start <= stop inside {x}", attributes)
    return (*x[:axis], len(range(start, stop, step)), *x[axis + 1 :])


def _concat(op: str, inputs: Any, attributes: Any, slots: Any) -> Shape:
    axis, first = attributes["axis"], inputs[0]
    _require(0 <= axis < len(first), op, f"an axis below {len(first)}", axis)
    others = {(*shape[:axis], *shape[axis + 1 :]) for shape in inputs}
    same = len(others) == 1 and len({len(shape) for shape in inputs}) == 1
    _require(same, op, "equal shapes beside the axis", inputs)
    return (*first[:axis], sum(shape[axis] for shape in inputs), *first[axis + 1 :])


def _broadcast(op: str, inputs: Any, attributes: Any, slots: Any) -> Shape:
    a, b = inputs
    rank = max(len(a), len(b))
    a, b = (1,) * (rank - len(a)) + tuple(a), (1,) * (rank - len(b)) + tuple(b)
    fits = all(s == t or 1 in (s, t) for s, t in zip(a, b, strict=True))
    _require(fits, op, "shapes that broadcast", inputs)
    return tuple(max(s, t) for s, t in zip(a, b, strict=True))


def _same(op: str, inputs: Any, attributes: Any, slots: Any) -> Shape:
    exact = {"factor": Fraction, "offset": Fraction, "activation": Activation}
    for name, kind in exact.items():
        if name in attributes:
            _require(isinstance(attributes[name], kind), op, f"{name} as {kind.__name__}", name)
    axis = attributes.get("axis", 0)
    _require(0 <= axis < max(1, len(inputs[0])), op, f"an axis below {len(inputs[0])}", axis)
    return tuple(inputs[0])


_RULES: Mapping[str, Any] = {
    "input": _input, "constant": _constant, "linear": _linear, "conv": _conv,
    "batch_norm": _batch_norm, "layer_norm": _layer_norm, "average_pool": _pool,
    "max_pool": _pool, "adaptive_average_pool": _adaptive, "adaptive_max_pool": _adaptive,
    "mean": _mean, "reshape": _reshape, "transpose": _transpose, "pad": _pad, "slice": _slice,
    "concat": _concat, "add": _broadcast, "sub": _broadcast, "mul": _broadcast,
    "div": _broadcast, "affine": _same, "activation": _same, "round": _same, "dropout": _same,
    "softmax": _same, "log_softmax": _same,
}  # fmt: skip

"""Which entries of its inputs an operation reads, given which of its results are used."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from verify.network.graph import Node
from verify.network.operations import Shape
from verify_kernels.structure.exact_arrays import Array

_ENTRYWISE = ("activation", "affine", "round", "batch_norm", "dropout")
_BROADCAST = ("add", "sub", "mul", "div")


def live_before(node: Node, live: Array, shapes: Sequence[Shape], kernel: Shape) -> list[Array]:
    """Return a superset of the entries of each input on which the live results depend.

    Args:
        node: the operation.
        live: boolean, shape of its result.
        shapes: of its inputs.
        kernel: spatial shape of the weight of a convolution.

    Returns:
        One boolean array for each input; all True where no sharper rule is known.
    """
    if node.op in _ENTRYWISE:
        return [live]
    if node.op in _BROADCAST:
        return [_unbroadcast(live, shape) for shape in shapes]
    if node.op == "linear":
        return [np.broadcast_to(live.any(axis=-1, keepdims=True), shapes[0])]
    if node.op == "conv":
        spread = np.broadcast_to(live.any(axis=0), (shapes[0][0], *live.shape[1:]))
        return [_windows(node, spread, shapes[0], kernel)]
    if node.op in ("average_pool", "max_pool"):
        return [_windows(node, live, shapes[0], tuple(node.attributes["kernel"]))]
    moved = _moved(node, live, shapes)
    return moved or [np.full(shape, bool(live.any())) for shape in shapes]


def _unbroadcast(live: Array, shape: Shape) -> Array:
    extra = live.ndim - len(shape)
    kept = live.any(axis=tuple(range(extra))) if extra else live
    axes = tuple(a for a, size in enumerate(shape) if size == 1 and kept.shape[a] != 1)
    return kept.any(axis=axes, keepdims=True) if axes else kept


def _windows(node: Node, live: Array, shape: Shape, kernel: Shape) -> Array:
    """Spread live results over the windows that they see."""
    rank = len(kernel)
    strides, padding = node.attributes["strides"], node.attributes["padding"]
    dilations = node.attributes.get("dilations", (1,) * rank)
    spatial = shape[-rank:]
    padded = [
        max(size + sum(pad), (out - 1) * stride + (k - 1) * dilation + 1)
        for size, pad, out, stride, k, dilation in zip(
            spatial, padding, live.shape[-rank:], strides, kernel, dilations, strict=True
        )
    ]
    found: Array = np.zeros((*shape[:-rank], *padded), dtype=bool)
    for offset in np.ndindex(*kernel):
        window = tuple(
            slice(o * d, o * d + (out - 1) * s + 1, s)
            for o, d, s, out in zip(offset, dilations, strides, live.shape[-rank:], strict=True)
        )
        found[(..., *window)] |= live
    inside = tuple(slice(pad[0], pad[0] + size) for pad, size in zip(padding, spatial, strict=True))
    return found[(..., *inside)]


def _moved(node: Node, live: Array, shapes: Sequence[Shape]) -> list[Array]:
    """Operations that move entries only; an empty list for others."""
    told = node.attributes
    if node.op == "reshape":
        return [live.reshape(shapes[0])]
    if node.op == "transpose":
        return [live.transpose(np.argsort(told["order"]))]
    if node.op == "pad":
        inner = zip(told["amounts"], shapes[0], strict=True)
        return [live[tuple(slice(p[0], p[0] + size) for p, size in inner)]]
    if node.op == "slice":
        found = np.zeros(shapes[0], dtype=bool)
        cut = slice(told["start"], told["stop"], told["step"])
        found[(slice(None),) * told["axis"] + (cut,)] = live
        return [found]
    if node.op == "concat":
        ends = np.cumsum([shape[told["axis"]] for shape in shapes])[:-1]
        return list(np.split(live, ends, axis=told["axis"]))
    if node.op == "mean":
        axes = tuple(told["axes"])
        return [np.broadcast_to(np.expand_dims(live, axes), shapes[0])]
    return []

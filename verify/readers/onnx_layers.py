"""Layers of ONNX: affine maps, convolutions, normalisations, pooling, softmax, dropout."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from fractions import Fraction
from typing import Any

import numpy as np

from verify.errors import InputError
from verify.network.operations import Shape
from verify.readers.graph_patterns import Draft
from verify.readers.onnx_arithmetic import combine
from verify.readers.onnx_folding import axes_of
from verify.readers.onnx_norms import not_negative
from verify.readers.onnx_shapes import sample_axis
from verify.readers.onnx_values import Call, Flow, Known

Rule = Callable[[Draft, Call], Flow]
Pairs = tuple[tuple[int, int], ...]


def _gemm(draft: Draft, call: Call) -> Flow:
    """Return alpha A B' + beta C with A the samples."""
    node, weight = call.flow(0).node, call.known(1)
    alpha, beta = call.fraction("alpha", "1"), call.fraction("beta", "1")
    if call.flag("transA", False) or len(draft.shape(node)) != 1:
        raise InputError(
            "expected samples as rows of the first factor, but got transA or more axes"
        )
    if len(weight.shape) != 2:
        raise InputError(f"expected a matrix as second factor, but got shape {weight.shape}")
    matrix = weight if call.flag("transB", False) else weight.like(weight.values.T)
    added, out = call.value(2), matrix.shape[0]
    bias = added if isinstance(added, Known) and added.shape in ((out,), (1, out)) else None
    slots = {"weight": matrix.slot()}
    if alpha == 1 and beta == 1 and bias is not None:
        slots["bias"] = bias.like(bias.values.reshape(out)).slot()
        return Flow(draft.add("linear", (node,), {}, slots))
    product = Flow(draft.affine(draft.add("linear", (node,), {}, slots), alpha))
    if added is None:
        return product
    return _plus(draft, product, added, beta, call.name)


def _plus(draft: Draft, product: Flow, added: Any, beta: Fraction, name: str) -> Flow:
    """Return product + beta added, in the shape of the product."""
    if isinstance(added, Flow):
        total = combine(draft, "add", product, Flow(draft.affine(added.node, beta)), name)
    elif beta == 1:
        total = combine(draft, "add", product, added, name)
    else:
        shape = draft.shape(product.node)
        fits = isinstance(added, Known) and added.shape in (shape, (1, *shape))
        if not fits:
            raise InputError(f"expected a bias of shape {shape}, but got another")
        constant = draft.constant(*added.like(added.values.reshape(shape)).slot())
        scaled = Flow(draft.affine(constant, beta))
        total = combine(draft, "add", product, scaled, name)
    if draft.shape(total.node) != draft.shape(product.node):
        raise InputError("expected a bias that fits the product, but got a larger tensor")
    return total


def _matmul(draft: Draft, call: Call) -> Flow:
    """Return the product with a stored matrix, on the last axis or on the one before."""
    first, second = call.value(0), call.value(1)
    if isinstance(first, Flow) and isinstance(second, Known):
        matrix = _matrix(second)
        slots = {"weight": matrix.like(matrix.values.T).slot()}
        return Flow(draft.add("linear", (first.node,), {}, slots))
    if not (isinstance(first, Known) and isinstance(second, Flow)):
        raise InputError("expected a product with a stored matrix, but got one of two values")
    rank = len(draft.shape(second.node))
    if rank < 2:
        raise InputError("expected a stored matrix that leaves the batch alone, but got another")
    order = (*range(rank - 2), rank - 1, rank - 2)
    turned = draft.add("transpose", (second.node,), {"order": order})
    found = draft.add("linear", (turned,), {}, {"weight": _matrix(first).slot()})
    return Flow(draft.add("transpose", (found,), {"order": order}))


def _matrix(known: Known) -> Known:
    if len(known.shape) != 2:
        raise InputError(f"expected a matrix, but got a stored tensor of shape {known.shape}")
    return known


def _conv(draft: Draft, call: Call) -> Flow:
    node, weight, bias = call.flow(0).node, call.known(1), call.optional(2)
    kernel = call.integers("kernel_shape", list(weight.shape[2:]))
    if tuple(kernel or ()) != weight.shape[2:]:
        raise InputError(
            f"expected kernel_shape {list(weight.shape[2:])}, but got {(kernel or [])[:8]}"
        )
    window = _window(call, weight.shape[2:], draft.shape(node)[1:])
    window["groups"] = call.integer("group", 1)
    del window["kernel"]
    # Some exporters write a convolution without bias with zeros.
    made_up = bias is None or bias.is_trivial(0)
    slots = {"weight": weight.slot()} | ({} if bias is None or made_up else {"bias": bias.slot()})
    return Flow(draft.add("conv", (node,), window, slots))


def _window(call: Call, kernel: Shape, sizes: Shape) -> dict[str, Any]:
    """Return kernel, strides, dilations and padding, with automatic padding made explicit."""
    rank = len(kernel)
    if rank != len(sizes):
        raise InputError(f"expected a window of {len(sizes)} axes, but got {rank}")
    strides = call.integers("strides", [1] * rank) or []
    dilations = call.integers("dilations", [1] * rank) or []
    pads = call.integers("pads")
    mode = call.text("auto_pad", "NOTSET")
    if len(strides) != rank or len(dilations) != rank or min(*strides, *dilations, *kernel) < 1:
        raise InputError(f"expected positive strides and dilations of {rank} axes, but got others")
    if mode not in ("NOTSET", "VALID", "SAME_UPPER", "SAME_LOWER"):
        raise InputError(f"expected a known auto_pad, but got {mode[:40]!a}")
    if mode != "NOTSET" and pads is not None and any(pads):
        raise InputError(f"expected either pads or auto_pad, but got {pads[:8]} and {mode}")
    padding = _padding(mode, pads, rank) if not mode.startswith("SAME") else tuple(
        _same_padding(*axis, upper=mode == "SAME_UPPER")
        for axis in zip(sizes, kernel, strides, dilations, strict=True)
    )  # fmt: skip
    return {
        "kernel": tuple(kernel), "strides": tuple(strides), "padding": padding,
        "dilations": tuple(dilations),
    }  # fmt: skip


def _padding(mode: str, pads: Sequence[int] | None, rank: int) -> Pairs:
    if mode == "VALID" or pads is None:
        return ((0, 0),) * rank
    if len(pads) != 2 * rank:
        raise InputError(f"expected {2 * rank} pads, but got {len(pads)}")
    return tuple(zip(pads[:rank], pads[rank:], strict=True))


def _same_padding(
    size: int, kernel: int, stride: int, dilation: int, *, upper: bool
) -> tuple[int, int]:
    """Return the padding with which ceil(size / stride) entries come out."""
    out = -(-size // stride)
    total = max((out - 1) * stride + (kernel - 1) * dilation + 1 - size, 0)
    small = total // 2
    return (small, total - small) if upper else (total - small, small)


def _batch_norm(draft: Draft, call: Call) -> Flow:
    """Return batch normalisation; before operator set 14 several outputs mean training form."""
    node = call.flow(0).node
    weight, bias, mean, variance = (call.known(place) for place in range(1, 5))
    training = call.flag("training_mode", False)
    if call.opset < 14:
        training = training or any(call.outputs[1:])
    if call.integer("spatial", 1) != 1:
        raise InputError("expected normalisation of each channel, but got spatial = 0")
    call.ignore("momentum")
    epsilon = not_negative(call.fraction("epsilon", "0.00001"))
    lowest = float(variance.exact().min(initial=1.0))
    if not training and math.isfinite(lowest) and Fraction(lowest) + epsilon <= 0:
        raise InputError("expected variances that are positive with epsilon, but got smaller ones")
    slots = {"mean": mean.slot(), "variance": variance.slot()} | _scale(weight, bias)
    attributes = {"epsilon": epsilon, "training": training}
    return Flow(draft.add("batch_norm", (node,), attributes, slots))


def _scale(weight: Known, bias: Known | None) -> dict[str, tuple[str, Any]]:
    """Return factor and offset; a factor 1 and an offset 0 that no training made are none."""
    plain = weight.is_trivial(1) and (bias is None or bias.is_trivial(0))
    if plain:
        return {}
    return {"weight": weight.slot()} | ({} if bias is None else {"bias": bias.slot()})


def _layer_norm(draft: Draft, call: Call) -> Flow:
    node, weight, bias = call.flow(0).node, call.known(1), call.optional(2)
    shape = draft.shape(node)
    axes = len(shape) - sample_axis(call.integer("axis", -1), shape)
    call.ignore("stash_type")
    attributes = {"axes": axes, "epsilon": not_negative(call.fraction("epsilon", "0.00001"))}
    return Flow(draft.add("layer_norm", (node,), attributes, _scale(weight, bias)))


def _pool(draft: Draft, call: Call) -> Flow:
    node, kernel = call.flow(0).node, call.integers("kernel_shape") or []
    sizes = draft.shape(node)[1:]
    window = _window(call, tuple(kernel), sizes)
    if call.flag("ceil_mode", False) and not _divides(window, sizes):
        raise InputError("expected windows that end at the border, but got others with ceil_mode")
    if call.op == "MaxPool":
        call.ignore("storage_order")
        return Flow(draft.add("max_pool", (node,), window))
    if any(dilation != 1 for dilation in window.pop("dilations")):
        raise InputError("expected average pooling without dilation, but got one with it")
    window["count_padding"] = call.flag("count_include_pad", False)
    return Flow(draft.add("average_pool", (node,), window))


def _divides(window: dict[str, Any], sizes: Shape) -> bool:
    names = ("kernel", "strides", "padding", "dilations")
    rows = zip(sizes, *(window[name] for name in names), strict=True)
    return all((n + sum(pad) - (k - 1) * d - 1) % stride == 0 for n, k, stride, pad, d in rows)


def _global_pool(draft: Draft, call: Call) -> Flow:
    node = call.flow(0).node
    size = (1,) * (len(draft.shape(node)) - 1)
    op = {"GlobalAveragePool": "average", "GlobalMaxPool": "max"}[call.op]
    return Flow(draft.add(f"adaptive_{op}_pool", (node,), {"size": size}))


def _reduced(draft: Draft, call: Call) -> Flow:
    """Return a mean, a sum or a maximum over axes of a sample."""
    node, axes = call.flow(0).node, axes_of(call, 1)
    shape = draft.shape(node)
    keep = call.flag("keepdims", True)
    noop = call.flag("noop_with_empty_axes", False)
    if not axes:
        if noop and call.value(1) is None and axes is None:
            return Flow(node)
        raise InputError("expected axes of one sample, but got none, which means the batch, too")
    places = sorted({sample_axis(axis, shape) for axis in axes})
    kept = tuple(1 if k in places else size for k, size in enumerate(shape))
    rest = tuple(size for k, size in enumerate(shape) if k not in places)
    if call.op == "ReduceMax":
        return _maximum(draft, node, places, kept if keep else rest)
    mean = draft.add("mean", (node,), {"axes": tuple(places)})
    if call.op == "ReduceSum":
        mean = draft.affine(mean, math.prod(shape[k] for k in places))
    return Flow(draft.reshape(mean, kept if keep else rest))


def _maximum(draft: Draft, node: int, places: list[int], wanted: Shape) -> Flow:
    rank = len(draft.shape(node))
    if rank not in (2, 3) or places != list(range(1, rank)):
        raise InputError(f"expected a maximum over all positions, but got axes {places}")
    pooled = draft.add("adaptive_max_pool", (node,), {"size": (1,) * (rank - 1)})
    return Flow(draft.reshape(pooled, wanted))


def _softmax(draft: Draft, call: Call) -> Flow:
    """Return softmax; before operator set 13 it runs over all axes from the named one on."""
    node = call.flow(0).node
    shape = draft.shape(node)
    axis = sample_axis(call.integer("axis", 1 if call.opset < 13 else -1), shape)
    if call.opset < 13 and axis != len(shape) - 1 and math.prod(shape[axis + 1 :]) != 1:
        raise InputError(f"expected softmax over the last axis, but got axis {axis + 1}")
    op = {"Softmax": "softmax", "LogSoftmax": "log_softmax"}[call.op]
    return Flow(draft.add(op, (node,), {"axis": axis}))


def _dropout(draft: Draft, call: Call) -> Flow:
    """Return dropout in training form, and the value itself in evaluation form."""
    flow = call.flow(0)
    call.ignore("seed", *(("ratio",) if call.opset < 12 else ()))
    ratio, mode = (call.optional(place) if call.opset >= 12 else None for place in (1, 2))
    if mode is None or not _true(mode):
        return flow
    rate = Fraction(1, 2) if ratio is None else ratio.number()
    return Flow(draft.add("dropout", (flow.node,), {"rate": rate}))


def _true(known: Known) -> bool:
    if known.values.size != 1:
        raise InputError(f"expected one truth value, but got shape {known.shape}")
    return bool(np.any(known.values.astype(bool)))


RULES: dict[str, Rule] = {
    "Gemm": _gemm, "MatMul": _matmul, "Conv": _conv, "BatchNormalization": _batch_norm,
    "LayerNormalization": _layer_norm, "AveragePool": _pool, "MaxPool": _pool,
    "GlobalAveragePool": _global_pool, "GlobalMaxPool": _global_pool, "ReduceMean": _reduced,
    "ReduceSum": _reduced, "ReduceMax": _reduced, "Softmax": _softmax, "LogSoftmax": _softmax,
    "Dropout": _dropout,
}  # fmt: skip

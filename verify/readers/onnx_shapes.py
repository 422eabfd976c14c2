"""Operators of ONNX that move entries: axis 0 is the batch and stays where it is.

A file that fixes the number of samples, or names it, or computes it from the input, gives the
same graph: what would mix samples is refused.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from fractions import Fraction

from verify.errors import InputError
from verify.network.operations import Shape
from verify.readers.graph_patterns import Draft
from verify.readers.onnx_arithmetic import stored_beside
from verify.readers.onnx_folding import axes_of, slice_entries, whole
from verify.readers.onnx_values import BATCH, Batch, Call, Flow, Known, Value

Rule = Callable[[Draft, Call, int | None], Flow | Known | list[Flow]]
_FAR = 2**31 - 1


def sample_axis(axis: int, shape: Shape, *, new: int = 0) -> int:
    """Return the axis of one sample that an axis of the batch is.

    Args:
        axis: as in the file, counted with the batch axis, from the end if negative.
        shape: of one sample.
        new: axes that the result has beyond those of the input.

    Raises:
        InputError: the batch axis, or none.
    """
    rank = len(shape) + 1 + new
    place = axis + rank if axis < 0 else axis
    if not 1 <= place < rank:
        raise InputError(
            f"expected an axis of one sample, 1 to {rank - 1}, but got {axis}; axis 0 is the batch"
        )
    return place - 1


def per_sample(target: Sequence[int | Batch], shape: Shape, batch: int | None, zero: bool) -> Shape:
    """Return the shape of one sample that a target of Reshape gives.

    Args:
        target: entries of the file, with `BATCH` where the number of samples was computed.
        shape: of one sample before.
        batch: the number of samples that the file fixes, or None.
        zero: whether 0 means no entries instead of the axis at this place.

    Raises:
        InputError: the first axis is not the batch, or the entries do not fit.
    """
    entries = list(target)
    if not zero:
        before: tuple[int | Batch, ...] = (BATCH, *shape)
        entries = [before[k] if size == 0 else size for k, size in enumerate(entries)]
    head, rest = (entries[0], entries[1:]) if entries else (None, [])
    sizes = [size for size in rest if isinstance(size, int)]
    count, open_ = math.prod(shape), sizes.count(-1)
    if len(sizes) < len(rest) or open_ > 1 or any(size < -1 or size == 0 for size in sizes):
        raise _mixed(target, shape)
    product = math.prod(size for size in sizes if size != -1)
    if open_:
        if count % product:
            raise _mixed(target, shape)
        sizes[sizes.index(-1)] = count // product
        product = count
    is_batch = head is BATCH or (head == -1 and not open_) or (batch is not None and head == batch)
    if not is_batch or product != count:
        raise _mixed(target, shape)
    return tuple(sizes)


def _mixed(target: Sequence[int | Batch], shape: Shape) -> InputError:
    told = ["batch" if size is BATCH else size for size in target[:8]]
    return InputError(
        f"expected a shape that keeps the batch axis in front of {math.prod(shape)} entries of "
        f"one sample, but got {told}"
    )


def _reshape(draft: Draft, call: Call, batch: int | None) -> Flow:
    flow = call.flow(0)
    zero = call.flag("allowzero", False)
    target = per_sample(call.known(1).sizes(), draft.shape(flow.node), batch, zero)
    return Flow(draft.reshape(flow.node, target), flow.whole)


def _flatten(draft: Draft, call: Call, batch: int | None) -> Flow:
    flow, axis = call.flow(0), call.integer("axis", 1)
    shape = draft.shape(flow.node)
    place = axis + len(shape) + 1 if axis < 0 else axis
    if not 1 <= place <= len(shape) + 1 or math.prod(shape[: place - 1]) != 1:
        raise InputError(f"expected the batch axis to stay, but got axis {axis} for {shape}")
    return Flow(draft.reshape(flow.node, (math.prod(shape),)), flow.whole)


def _squeeze(draft: Draft, call: Call, batch: int | None) -> Flow:
    flow, axes = call.flow(0), axes_of(call, 1)
    shape = draft.shape(flow.node)
    if axes is None:
        if batch in (None, 1):
            raise InputError("expected axes to remove, but got none; one of them may be the batch")
        places = {k for k, size in enumerate(shape) if size == 1}
    else:
        places = {sample_axis(axis, shape) for axis in axes}
    if any(shape[k] != 1 for k in places):
        raise InputError(f"expected axes with one entry, but got {axes} of {shape}"[:300])
    kept = tuple(size for k, size in enumerate(shape) if k not in places)
    return Flow(draft.reshape(flow.node, kept), flow.whole)


def _unsqueeze(draft: Draft, call: Call, batch: int | None) -> Flow:
    flow, axes = call.flow(0), axes_of(call, 1)
    shape = draft.shape(flow.node)
    if not axes:
        raise InputError("expected axes to insert, but got none")
    if len(axes) > 8:
        raise InputError(f"expected at most 8 axes to insert, but got {len(axes)}")
    places = {sample_axis(axis, shape, new=len(axes)) for axis in axes}
    if len(places) != len(axes):
        raise InputError(f"expected different axes, but got {axes}")
    sizes = iter(shape)
    wanted = tuple(1 if k in places else next(sizes) for k in range(len(shape) + len(axes)))
    return Flow(draft.reshape(flow.node, wanted), flow.whole)


def _transpose(draft: Draft, call: Call, batch: int | None) -> Flow:
    flow = call.flow(0)
    rank = len(draft.shape(flow.node)) + 1
    order = call.integers("perm", list(range(rank))[::-1]) or []
    if not order or order[0] != 0:
        raise InputError(f"expected an order that keeps the batch axis first, but got {order[:8]}")
    places = tuple(axis - 1 for axis in order[1:])
    return Flow(draft.add("transpose", (flow.node,), {"order": places}), flow.whole)


def _concat(draft: Draft, call: Call, batch: int | None) -> Flow:
    flows = [value for value in call.all_values() if isinstance(value, Flow)]
    shape = draft.shape(flows[0].node)
    axis = sample_axis(call.integer("axis", 1), shape)
    nodes = [_part(draft, value, shape) for value in call.inputs]
    whole_type = all(flow.whole for flow in flows)
    return Flow(draft.add("concat", nodes, {"axis": axis}), whole_type)


def _part(draft: Draft, value: Value | None, shape: Shape) -> int:
    if isinstance(value, Flow):
        return value.node
    # A stored part has a batch axis of its own: with one entry it fits a file of one sample only.
    raise InputError(
        "expected parts of the sample, but got a stored tensor or a comparison; a stored part "
        "must be expanded to the batch"
    )


def take(draft: Draft, flow: Flow, axis: int, start: int, stop: int, step: int = 1) -> Flow:
    """Return entries of one axis of a sample; all of them leave no operation."""
    size = draft.shape(flow.node)[axis]
    if (start, stop, step) == (0, size, 1):
        return flow
    attributes = {"axis": axis, "start": start, "stop": stop, "step": step}
    return Flow(draft.add("slice", (flow.node,), attributes), flow.whole)


def _slice(draft: Draft, call: Call, batch: int | None) -> Flow:
    flow = call.flow(0)
    for axis, start, stop, step in slice_entries(call, len(draft.shape(flow.node)) + 1):
        shape = draft.shape(flow.node)
        if axis in (0, -len(shape) - 1):
            if start != 0 or step != 1 or not (stop is BATCH or _is_far(stop)):
                raise InputError("expected all samples, but got some of them")
            continue
        place = sample_axis(axis, shape)
        if start is BATCH or stop is BATCH or step < 1:
            raise InputError(f"expected plain places and a step forwards, but got step {step}")
        first, last, _ = slice(start, stop, step).indices(shape[place])
        flow = take(draft, flow, place, first, max(first, last), step)
    return flow


def _is_far(stop: int | Batch) -> bool:
    """Whether an end is the largest number of 32 or 64 bits, which means the end of the axis."""
    return isinstance(stop, int) and stop >= _FAR


def _gather(draft: Draft, call: Call, batch: int | None) -> Flow:
    flow, indices = call.flow(0), call.known(1)
    shape = draft.shape(flow.node)
    axis = sample_axis(call.integer("axis", 0), shape)
    places = [k + shape[axis] if k < 0 else k for k in indices.integers()]
    step = places[1] - places[0] if len(places) > 1 else 1
    regular = places == [places[0] + k * step for k in range(len(places))] if places else False
    if not regular or step < 1 or indices.values.ndim > 1:
        raise InputError(
            f"expected places in even steps along one axis, but got {places[:8]} of {shape}"
        )
    found = take(draft, flow, axis, places[0], places[-1] + 1, step)
    if indices.values.ndim == 0:
        rest = (*shape[:axis], *shape[axis + 1 :])
        found = Flow(draft.reshape(found.node, rest), flow.whole)
    return found


def _split(draft: Draft, call: Call, batch: int | None) -> list[Flow]:
    flow, parts = call.flow(0), len(call.outputs)
    shape = draft.shape(flow.node)
    axis = sample_axis(call.integer("axis", 0), shape)
    stored = call.optional(1) if call.opset >= 13 else None
    sizes = call.integers("split") if call.opset < 13 else None
    sizes = sizes if stored is None else stored.integers()
    if call.integer("num_outputs", parts) != parts:
        raise InputError(f"expected {parts} outputs, but got another number of them")
    if sizes is None:
        each = -(-shape[axis] // parts)
        sizes = [each] * (parts - 1) + [shape[axis] - each * (parts - 1)]
    if sum(sizes) != shape[axis] or len(sizes) != parts or min(sizes) < 1:
        raise InputError(f"expected {parts} parts of {shape[axis]} entries, but got {sizes[:8]}")
    ends = [sum(sizes[: k + 1]) for k in range(parts)]
    return [take(draft, flow, axis, e - s, e) for s, e in zip(sizes, ends, strict=True)]


def _pad(draft: Draft, call: Call, batch: int | None) -> Flow:
    flow, mode = call.flow(0), call.text("mode", "constant")
    shape = draft.shape(flow.node)
    rank = len(shape) + 1
    if mode != "constant":
        raise InputError(f"expected padding with a constant, but got mode {mode[:40]!a}")
    if call.opset < 11:
        pads, value = call.integers("pads") or [], call.fraction("value", "0")
        axes = list(range(rank))
    else:
        pads, filled, named = call.known(1).integers(), call.optional(2), call.optional(3)
        value = filled.number() if filled is not None else Fraction(0)
        axes = named.integers() if named is not None else list(range(rank))
    if len(pads) != 2 * len(axes):
        raise InputError(f"expected two amounts for each axis, but got {len(pads)}")
    if len({axis % rank for axis in axes}) != len(axes):
        raise InputError(f"expected different axes, but got {axes[:8]}")
    amounts = [(0, 0)] * len(shape)
    for axis, pair in zip(axes, zip(pads, pads[len(axes) :], strict=False), strict=True):
        if pair != (0, 0):
            amounts[sample_axis(axis, shape)] = pair
    if not any(map(any, amounts)):
        return flow
    attributes = {"amounts": tuple(amounts), "value": value}
    return Flow(draft.add("pad", (flow.node,), attributes), flow.whole)


def _expand(draft: Draft, call: Call, batch: int | None) -> Flow:
    """Return the value itself, or a stored tensor that stands beside every sample."""
    given, target = call.value(0), call.known(1).sizes()
    sizes = tuple(size for size in target[1:] if isinstance(size, int))
    if len(sizes) + 1 == len(target) and isinstance(given, Known) and target[0] is BATCH:
        name, values = stored_beside(given, sizes)
        if values.shape == sizes:
            return Flow(draft.constant(name, values))
    if len(sizes) + 1 == len(target) and isinstance(given, Flow):
        shape = draft.shape(given.node)
        fits = len(sizes) == len(shape) and target[0] in (1, BATCH, batch)
        if fits and all(a in (1, b) for a, b in zip(sizes, shape, strict=True)):
            return given
    raise InputError("expected an expansion over the batch only, but got another")


def _shape(draft: Draft, call: Call, batch: int | None) -> Known:
    start, end = call.integer("start", 0), call.take("end", int, None)
    sizes: tuple[int | Batch, ...] = (BATCH, *draft.shape(call.flow(0).node))
    return whole(list(sizes[start:end]), call.name)


RULES: dict[str, Rule] = {
    "Reshape": _reshape, "Flatten": _flatten, "Squeeze": _squeeze, "Unsqueeze": _unsqueeze,
    "Transpose": _transpose, "Concat": _concat, "Slice": _slice, "Gather": _gather,
    "Split": _split, "Pad": _pad, "Expand": _expand, "Shape": _shape,
}  # fmt: skip

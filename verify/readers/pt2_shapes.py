"""What the operators of exported programs stand for: shapes, axes, copies, means."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from verify.readers.pt2_arguments import BATCH
from verify.readers.pt2_signatures import REQUIRED, operator

if TYPE_CHECKING:
    from verify.network.operations import Shape
    from verify.readers.pt2_arguments import Arguments

# What torch writes for a slice without an end.
_END = 2**63 - 1
_SELF = {"self": REQUIRED}


@operator("view.default", "_unsafe_view.default", **_SELF, size=REQUIRED)
def _view(a: Arguments) -> int:
    return _reshaped(a, a.sizes("size"))


@operator("reshape.default", **_SELF, shape=REQUIRED)
def _reshape(a: Arguments) -> int:
    return _reshaped(a, a.sizes("shape"))


def _reshaped(a: Arguments, sizes: tuple[int | str, ...]) -> int:
    """Return another shape of every sample: the leading size is the batch, or what remains."""
    x = a.tensor("self")
    entries = math.prod(a.draft.shape(x))
    a.require(len(sizes) > 0, "sizes with a batch", sizes)
    inner = [int(size) for size in sizes[1:] if size != BATCH]
    a.require(len(inner) == len(sizes) - 1, "one size for the batch", sizes)
    open_axes = [k for k, size in enumerate(inner) if size == -1]
    alone = a.is_batch(sizes[0]) or (sizes[0] == -1 and not open_axes)
    a.require(alone and len(open_axes) <= 1, "sizes that keep the samples apart", sizes)
    known = math.prod(size for size in inner if size != -1)
    if open_axes:
        a.require(known > 0 and entries % known == 0, f"sizes of {entries} entries", sizes)
        inner[open_axes[0]] = entries // known
    a.require(math.prod(inner) == entries, f"sizes of {entries} entries a sample", sizes)
    return a.draft.reshape(x, inner)


@operator("flatten.using_ints", **_SELF, start_dim=0, end_dim=-1)
def _flatten(a: Arguments) -> int:
    x = a.tensor("self")
    shape = a.draft.shape(x)
    first = a.axis(a.integer("start_dim"), len(shape))
    last = a.axis(a.integer("end_dim"), len(shape))
    a.require(first <= last, "dimensions in order", (first, last))
    middle = (math.prod(shape[first : last + 1]),)
    return a.draft.reshape(x, shape[:first] + middle + shape[last + 1 :])


@operator("unflatten.int", **_SELF, dim=REQUIRED, sizes=REQUIRED)
def _unflatten(a: Arguments) -> int:
    x = a.tensor("self")
    shape, sizes = a.draft.shape(x), list(a.integers("sizes"))
    axis = a.axis(a.integer("dim"), len(shape))
    known = math.prod(size for size in sizes if size != -1)
    if sizes.count(-1) == 1:
        a.require(known > 0, "sizes of at least one", sizes)
        sizes[sizes.index(-1)] = shape[axis] // known
    return a.draft.reshape(x, (*shape[:axis], *sizes, *shape[axis + 1 :]))


@operator("permute.default", **_SELF, dims=REQUIRED)
def _permute(a: Arguments) -> int:
    x, dims = a.tensor("self"), a.integers("dims")
    rank = len(a.draft.shape(x))
    kept = len(dims) == rank + 1 and dims[0] in (0, -rank - 1)
    a.require(kept, "an order that keeps the batch first", dims)
    return a.draft.add("transpose", (x,), {"order": tuple(a.axis(d, rank) for d in dims[1:])})


@operator("transpose.int", **_SELF, dim0=REQUIRED, dim1=REQUIRED)
def _transpose(a: Arguments) -> int:
    x = a.tensor("self")
    rank = len(a.draft.shape(x))
    one, other = (a.axis(a.integer(name), rank) for name in ("dim0", "dim1"))
    order = list(range(rank))
    order[one], order[other] = order[other], order[one]
    return a.draft.add("transpose", (x,), {"order": tuple(order)})


@operator("squeeze.dim", "squeeze.dims", **_SELF, dim=REQUIRED)
def _squeeze(a: Arguments) -> int:
    x = a.tensor("self")
    shape = a.draft.shape(x)
    axes = {a.axis(dim, len(shape)) for dim in a.integers("dim")}
    return a.draft.reshape(x, _without(shape, axes))


@operator("squeeze.default", **_SELF)
def _squeeze_all(a: Arguments) -> int:
    x = a.tensor("self")
    a.require(a.batch != 1, "an axis to squeeze, where there is one sample", "none")
    return a.draft.reshape(x, tuple(size for size in a.draft.shape(x) if size != 1))


def _without(shape: Shape, axes: set[int]) -> Shape:
    """Return the shape without those of the axes that have one entry."""
    return tuple(size for axis, size in enumerate(shape) if size != 1 or axis not in axes)


@operator("unsqueeze.default", **_SELF, dim=REQUIRED)
def _unsqueeze(a: Arguments) -> int:
    x = a.tensor("self")
    shape = a.draft.shape(x)
    axis = a.axis(a.integer("dim"), len(shape) + 1)
    return a.draft.reshape(x, (*shape[:axis], 1, *shape[axis:]))


@operator("cat.default", tensors=REQUIRED, dim=0)
def _cat(a: Arguments) -> int:
    places = a.tensors_of("tensors")
    axis = a.axis(a.integer("dim"), len(a.draft.shape(places[0])))
    return a.draft.add("concat", places, {"axis": axis})


@operator("slice.Tensor", **_SELF, dim=0, start=None, end=None, step=1)
def _slice(a: Arguments) -> int:
    x, dim, step = a.tensor("self"), a.integer("dim"), a.integer("step")
    start = 0 if a.missing("start") else a.integer("start")
    end = _END if a.missing("end") else a.integer("end")
    shape = a.draft.shape(x)
    if dim in (0, -len(shape) - 1):
        a.require((start, end, step) == (0, _END, 1), "all samples", (start, end, step))
        return x
    axis = a.axis(dim, len(shape))
    a.require(step >= 1, "a positive step", step)
    first, last, _ = slice(start, end, step).indices(shape[axis])
    if (first, last, step) == (0, shape[axis], 1):
        return x
    attributes = {"axis": axis, "start": first, "stop": last, "step": step}
    return a.draft.add("slice", (x,), attributes)


@operator("select.int", **_SELF, dim=REQUIRED, index=REQUIRED)
def _select(a: Arguments) -> int:
    x = a.tensor("self")
    shape, index = a.draft.shape(x), a.integer("index")
    axis = a.axis(a.integer("dim"), len(shape))
    a.require(-shape[axis] <= index < shape[axis], f"an index below {shape[axis]}", index)
    start = index % shape[axis]
    attributes = {"axis": axis, "start": start, "stop": start + 1, "step": 1}
    return a.draft.reshape(
        a.draft.add("slice", (x,), attributes), (*shape[:axis], *shape[axis + 1 :])
    )


@operator("constant_pad_nd.default", **_SELF, pad=REQUIRED, value=0)
def _pad(a: Arguments) -> int:
    return _padded(a)


@operator("pad.default", **_SELF, pad=REQUIRED, mode="constant", value=None)
def _pad_named(a: Arguments) -> int:
    mode = a.text("mode")
    a.require(mode == "constant", "padding with a constant", mode)
    return _padded(a)


def _padded(a: Arguments) -> int:
    """Return padding; the amounts start with the last axis."""
    x, flat = a.tensor("self"), a.integers("pad")
    rank = len(a.draft.shape(x))
    pairs = [(flat[k], flat[k + 1]) for k in range(0, len(flat) - 1, 2)][::-1]
    a.require(len(flat) % 2 == 0 and len(pairs) <= rank, f"pairs of at most {rank} axes", flat)
    amounts = ((0, 0),) * (rank - len(pairs)) + tuple(pairs)
    value = 0 if a.missing("value") else a.number("value")
    if not any(map(any, amounts)):
        return x
    return a.draft.add("pad", (x,), {"amounts": amounts, "value": value})


@operator("mean.dim", **_SELF, dim=REQUIRED, keepdim=False, dtype=None)
def _mean(a: Arguments) -> int:
    x = a.tensor("self")
    shape = a.draft.shape(x)
    axes = tuple(sorted(a.axis(dim, len(shape)) for dim in a.integers("dim")))
    mean = a.draft.add("mean", (x,), {"axes": axes})
    if not a.flag("keepdim"):
        return mean
    return a.draft.reshape(mean, tuple(1 if k in axes else size for k, size in enumerate(shape)))


_COPY = {"dtype": None, "layout": None, "device": None, "pin_memory": None, "non_blocking": False,
         "memory_format": None}  # fmt: skip


@operator("clone.default", **_SELF, memory_format=None)
@operator("contiguous.default", **_SELF, memory_format=0)
@operator("alias.default", "detach.default", "lift_fresh_copy.default", **_SELF)
@operator("_to_copy.default", **_SELF, **_COPY)
@operator("to.dtype_layout", **_SELF, **_COPY, copy=False)
@operator("to.dtype", **_SELF, dtype=REQUIRED, non_blocking=False, copy=False, memory_format=None)
@operator("to.device", **_SELF, device=REQUIRED, dtype=REQUIRED, non_blocking=False, copy=False,
          memory_format=None)  # fmt: skip
def _same(a: Arguments) -> int:
    return a.tensor("self")

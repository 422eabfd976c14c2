"""Operators on values that do not depend on the sample: sizes, indices and stored tensors.

Whole numbers are computed exactly, with the number of samples kept apart. Floating-point numbers
are moved, never computed: a weight that a file computes from others is refused.
"""

from __future__ import annotations

import math
import operator
from collections.abc import Callable
from typing import Any

import numpy as np

from verify.errors import InputError
from verify.readers.graph_patterns import printed
from verify.readers.onnx_tensors import FLOATS, INTEGERS
from verify.readers.onnx_values import BATCH, MAX_FOLDED, Call, Known
from verify.readers.tensors import check_shape, digits_of, shown

_BOOL = 9
# The operator set in which axes became an input; 18 for the other reductions.
_AXES_ARE_AN_INPUT = {"Squeeze": 13, "Unsqueeze": 13, "ReduceSum": 13}


def fold(call: Call) -> Known:
    """Return the value of an operator all of whose inputs are known.

    Raises:
        InputError: an operator that is not folded, or numbers that do not fit.
    """
    rule = _RULES.get(call.op)
    if rule is None:
        raise InputError(
            "expected stored weights, but got a tensor that the file computes from stored ones; "
            "export the network in evaluation form with its parameters kept"
        )
    found = rule(call)
    if found.values.dtype == object and not found.is_float:
        _check_range(found)
    return found


def _check_range(found: Known) -> None:
    """Refuse whole numbers that their type does not hold, which would wrap around."""
    limits = (0, 1) if found.dtype == "bool" else _limits(found.dtype)
    for entry in found.values.reshape(-1).tolist():
        if not (entry is BATCH or limits[0] <= entry <= limits[1]):
            raise InputError(
                f"expected whole numbers of type {found.dtype}, but got {digits_of(int(entry))}"
            )


def _limits(dtype: str) -> tuple[int, int]:
    limits = np.iinfo(dtype)
    return int(limits.min), int(limits.max)


def _small(known: Known) -> np.ndarray[Any, Any]:
    """Return whole numbers as Python integers, with the shape."""
    if known.is_float or known.values.size > MAX_FOLDED:
        raise InputError(
            f"expected at most {MAX_FOLDED} whole numbers, but got {known.dtype} of shape "
            f"{known.shape} in {shown(known.name)}"
        )
    entries = known.values.reshape(-1).tolist()
    out = np.empty(len(entries), dtype=object)
    out[:] = [entry if entry is BATCH else int(entry) for entry in entries]
    return out.reshape(known.shape)


def _bounded(count: int) -> None:
    if count > MAX_FOLDED:
        raise InputError(f"expected at most {MAX_FOLDED} computed numbers, but got {count}")


def whole(values: Any, name: str) -> Known:
    """Return whole numbers or `BATCH` as a known value."""
    out = np.empty(np.shape(values), dtype=object)
    out[...] = values
    return Known(out, "int64", name, literal=True)


def _move(change: Callable[[Call, np.ndarray[Any, Any]], np.ndarray[Any, Any]]) -> Any:
    def rule(call: Call) -> Known:
        known = call.known(0)
        return known.like(np.asarray(change(call, known.values)))

    return rule


def axes_of(call: Call, place: int) -> list[int] | None:
    """Return the axes that are an attribute in older and an input in newer operator sets."""
    if call.opset < _AXES_ARE_AN_INPUT.get(call.op, 18):
        axes = call.integers("axes")
    else:
        stored = call.optional(place)
        axes = None if stored is None else stored.integers()
    if call.opset < 11 and any(axis < 0 for axis in axes or ()):
        raise InputError(
            "expected axes counted from the front before operator set 11, but got others"
        )
    return axes


def _reshape(call: Call, values: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    target = call.known(1).integers()
    if not call.flag("allowzero", False):
        target = [values.shape[k] if size == 0 else size for k, size in enumerate(target)]
    return values.reshape(target)


def _squeeze(call: Call, values: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    axes = axes_of(call, 1)
    return np.squeeze(values, axis=None if axes is None else tuple(axes))


def _unsqueeze(call: Call, values: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    return np.expand_dims(values, tuple(axes_of(call, 1) or ()))


def _transpose(call: Call, values: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    return np.transpose(values, call.integers("perm"))


def _flatten(call: Call, values: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    axis = call.integer("axis", 1)
    head = math.prod(values.shape[: axis if axis >= 0 else axis + values.ndim])
    return values.reshape(head, -1)


def _gather(call: Call, values: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    indices = np.array(_small(call.known(1)), dtype=np.int64)
    axis = call.integer("axis", 0)
    _bounded(indices.size * (values.size // max(1, values.shape[axis])))
    return np.asarray(np.take(values, indices, axis=axis))


def slice_entries(call: Call, rank: int) -> list[tuple[int, Any, Any, Any]]:
    """Return (axis, start, stop, step) of a Slice, of attributes or of inputs."""
    if call.opset < 10:
        starts, ends = call.integers("starts") or [], call.integers("ends") or []
        axes = call.integers("axes", list(range(len(starts)))) or []
        steps: list[Any] = [1] * len(starts)
    else:
        starts, ends = (list(call.known(place).sizes()) for place in (1, 2))  # type: ignore[assignment]
        given, stepped = call.optional(3), call.optional(4)
        axes = given.integers() if given is not None else list(range(len(starts)))
        steps = stepped.integers() if stepped is not None else [1] * len(starts)
    if not len(starts) == len(ends) == len(axes) == len(steps):
        raise InputError("expected as many starts as ends, axes and steps, but got other numbers")
    if len({axis % max(rank, 1) for axis in axes}) != len(axes):
        raise InputError(f"expected different axes, but got {axes[:8]}")
    return list(zip(axes, starts, ends, steps, strict=True))


def _slice(call: Call, values: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    for axis, start, stop, step in slice_entries(call, values.ndim):
        if start is BATCH or stop is BATCH:
            raise InputError("expected places without the number of samples, but got it")
        index = [slice(None)] * values.ndim
        index[axis] = slice(start, stop, step)
        values = values[tuple(index)]
    return values


def _expand(call: Call, values: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    target = call.known(1).integers()
    check_shape(target, "shape")
    _bounded(math.prod(target) * values.size)
    return np.broadcast_to(values, np.broadcast_shapes(values.shape, tuple(target)))


def _concat(call: Call) -> Known:
    parts = [call.known(place) for place in range(len(call.inputs))]
    axis = call.integer("axis", 1)
    if any(part.is_float and not part.literal for part in parts):
        raise InputError("expected stored weights, but got a concatenation of stored tensors")
    _bounded(sum(part.values.size for part in parts))
    exact = [part.values if part.is_float else _small(part) for part in parts]
    return parts[0].like(np.concatenate(exact, axis=axis))


def _cast(call: Call) -> Known:
    known, to = call.known(0), call.integer("to", 0)
    call.ignore("saturate")
    if to in INTEGERS or to == _BOOL:
        if known.is_float:
            _bounded(known.values.size)
            if not all(float(entry).is_integer() for entry in known.values.reshape(-1).tolist()):
                raise InputError("expected whole numbers to be cast, but got fractions")
        entries = _small(_as_whole(known))
        if to == _BOOL:
            entries = np.array([*map(_truth, entries.reshape(-1))], object).reshape(known.shape)
        return Known(entries, INTEGERS.get(to, "bool"), known.name, known.literal)
    if to not in FLOATS:
        raise InputError(f"expected a cast to numbers, but got data type {to} of ONNX")
    return _cast_to_float(known, FLOATS[to])


def _truth(entry: Any) -> int:
    return int(entry is BATCH or entry != 0)


def cast_like(call: Call, dtype: str) -> Known:
    """Return a stored value in the type of real samples.

    Raises:
        InputError: the numbers would change.
    """
    call.ignore("saturate")
    call.flow(1)
    return _cast_to_float(call.known(0), dtype)


def _cast_like(call: Call) -> Known:
    like = call.known(1)
    call.ignore("saturate")
    if like.is_float:
        return _cast_to_float(call.known(0), like.dtype)
    known = call.known(0)
    if known.is_float or like.dtype == "bool":
        raise InputError(f"expected whole numbers, but got {known.dtype} cast to {like.dtype}")
    return Known(_small(known), like.dtype, known.name, known.literal)


def _as_whole(known: Known) -> Known:
    if not known.is_float:
        return known
    entries = np.empty(known.values.size, dtype=object)
    entries[:] = [int(entry) for entry in known.values.reshape(-1).tolist()]
    return Known(entries.reshape(known.shape), "int64", known.name, known.literal)


def _cast_to_float(known: Known, dtype: str) -> Known:
    """Return the numbers in another precision if they are the same numbers, or one decimal."""
    if known.dtype == dtype:
        return known
    given = known.values if known.is_float else _small(known)
    with np.errstate(all="ignore"):
        cast = given.astype("float32" if dtype == "bfloat16" else dtype)
        same = bool(np.array_equal(cast.astype(np.float64), given.astype(np.float64)))
    if dtype == "bfloat16" or not same:
        one = known.values.size == 1 and dtype != "bfloat16" and known.is_float and known.literal
        number: Any = cast.reshape(())[()] if one else None
        if not (one and printed(number) == known.number()):
            raise InputError(
                f"expected a cast that keeps the stored numbers, but got one to {dtype}"
            )
    return Known(cast, dtype, known.name, known.literal)


def _constant_of_shape(call: Call) -> Known:
    sizes = call.known(0).integers()
    _bounded(check_shape(sizes, "shape"))
    value = call.take("value", Known, None)
    if value is None:
        return Known(np.zeros(sizes, dtype=np.float32), "float32", call.name, literal=True)
    return Known(np.full(sizes, value.values.reshape(())[()]), value.dtype, call.name, True)


def _exact_division(a: int, b: int) -> int:
    return abs(a) // abs(b) * (1 if (a < 0) == (b < 0) else -1)


def _equal(a: Any, b: Any) -> bool:
    if (a is BATCH and b is not BATCH and b >= 0) or (b is BATCH and a is not BATCH and a >= 0):
        raise InputError("expected a choice that holds for any number of samples, but got another")
    return bool(a is b or a == b)


def _arithmetic(function: Callable[..., Any], dtype: str | None = None) -> Any:
    def rule(call: Call) -> Known:
        parts = [call.known(place) for place in range(len(call.inputs))]
        if any(part.is_float for part in parts):
            raise InputError(
                "expected stored weights, but got a tensor that the file computes from stored ones"
            )
        arrays = [_small(part) for part in parts]
        shape = np.broadcast_shapes(*(array.shape for array in arrays))
        _bounded(math.prod(shape))
        rows = zip(*(np.broadcast_to(a, shape).reshape(-1) for a in arrays), strict=True)
        out = np.empty(math.prod(shape), dtype=object)
        out[:] = [function(*row) for row in rows]
        return Known(out.reshape(shape), dtype or parts[-1].dtype, call.name, literal=True)

    return rule


def _negate(call: Call) -> Known:
    known = call.known(0)
    return known.like(-known.values) if known.is_float else known.like(-_small(known))


def _product(call: Call) -> Known:
    values, axes = _small(call.known(0)), axes_of(call, 1)
    keep = call.flag("keepdims", True)
    call.ignore("noop_with_empty_axes")
    found = np.prod(values, axis=tuple(axes) if axes else None, keepdims=keep)
    return whole(found, call.name)


def _range(call: Call) -> Known:
    start, stop, step = (call.known(place).integers()[0] for place in range(3))
    entries = range(start, stop, step)
    _bounded(len(entries))
    return whole(list(entries), call.name)


def _shape(call: Call) -> Known:
    start, end = call.integer("start", 0), call.take("end", int, None)
    return whole(list(call.known(0).shape[start:end]), call.name)


def _identity(call: Call, values: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    return values


_RULES: dict[str, Callable[[Call], Known]] = {
    "Identity": _move(_identity), "Reshape": _move(_reshape), "Squeeze": _move(_squeeze),
    "Unsqueeze": _move(_unsqueeze), "Transpose": _move(_transpose), "Flatten": _move(_flatten),
    "Gather": _move(_gather), "Slice": _move(_slice), "Expand": _move(_expand),
    "Concat": _concat, "Cast": _cast, "ConstantOfShape": _constant_of_shape,
    "Add": _arithmetic(operator.add), "Sub": _arithmetic(operator.sub),
    "Mul": _arithmetic(operator.mul), "Div": _arithmetic(_exact_division),
    "Equal": _arithmetic(_equal, "bool"), "Where": _arithmetic(lambda c, a, b: a if c else b),
    "Neg": _negate, "ReduceProd": _product, "Range": _range, "CastLike": _cast_like,
    "Shape": _shape,
}  # fmt: skip

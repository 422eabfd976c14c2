"""Layers, pooling and arithmetic of exported programs, as operations of a draft."""

from __future__ import annotations

from fractions import Fraction
from typing import Any

import numpy as np

from verify.errors import InputError
from verify.readers.pt2_arguments import Arguments, Named, Stored, Unread, aligned

_CLIPS: dict[tuple[Fraction | int | None, Fraction | int | None], str] = {
    (0, None): "relu",
    (0, 6): "relu6",
    (-1, 1): "hardtanh",
}
_UNUSED = Unread("expected arithmetic with values of the samples, but got stored tensors alone")


def activation(a: Arguments, text: str) -> int:
    """Return an activation of the argument ``self``."""
    return a.draft.activation(a.tensor("self"), text)


def clipped(a: Arguments, lower: Fraction | None, upper: Fraction | None) -> int:
    """Return the argument ``self`` between two numbers, where that is a known activation.

    Raises:
        InputError: other limits.
    """
    name = _CLIPS.get((lower, upper))
    if name is None:
        raise InputError(
            "expected limits 0 and none, 0 and 6, or -1 and 1, but got "
            f"{'none' if lower is None else lower} and {'none' if upper is None else upper}"
        )
    return activation(a, name)


def linear(a: Arguments, x: int, weight: Named, bias: Named | None) -> int:
    """Return x W^T + b."""
    tensors = {"weight": weight} | ({} if bias is None else {"bias": bias})
    return a.draft.add("linear", (x,), {}, tensors)


def tensors(a: Arguments, **slots: str) -> dict[str, Named]:
    """Return the stored tensors of slots whose arguments are not None."""
    found = {slot: a.optional(name) for slot, name in slots.items()}
    return {slot: named for slot, named in found.items() if named is not None}


def convolution(a: Arguments, rank: int, padding: tuple[int, ...] | str) -> int:
    """Return a convolution over ``rank`` axes; padding is given by sizes or by name."""
    x, weight = a.tensor("input"), a.stored("weight")
    strides, dilations = a.spread("stride", rank), a.spread("dilation", rank)
    kernel = np.shape(weight[1])[2:]
    a.require(len(kernel) == rank, f"a kernel of {rank} axes", kernel)
    if padding == "same":
        a.require(set(strides) == {1}, "stride 1 with padding 'same'", strides)
        totals = [d * (k - 1) for d, k in zip(dilations, kernel, strict=True)]
        pairs = tuple((total // 2, total - total // 2) for total in totals)
    elif isinstance(padding, str):
        a.require(padding == "valid", "padding 'same' or 'valid'", padding)
        pairs = ((0, 0),) * rank
    else:
        pairs = tuple((size, size) for size in a.spread("padding", rank))
    attributes = {
        "strides": strides, "padding": pairs, "dilations": dilations, "groups": a.integer("groups")
    }  # fmt: skip
    named = {"weight": weight, **tensors(a, bias="bias")}
    return a.draft.add("conv", (x,), attributes, named)


def batch_norm(a: Arguments, *, training: bool) -> int:
    """Return batch normalisation with stored statistics."""
    named = tensors(
        a, weight="weight", bias="bias", mean="running_mean", variance="running_var"
    )  # fmt: skip
    a.require({"mean", "variance"} <= set(named), "batch norm with stored statistics", "none")
    attributes = {"epsilon": a.number("eps"), "training": training}
    return a.draft.add("batch_norm", (a.tensor("input"),), attributes, named)


def pool(a: Arguments, op: str, rank: int) -> int:
    """Return pooling over the last ``rank`` axes."""
    x, kernel = a.tensor("self"), a.spread("kernel_size", rank)
    strides = a.spread("stride", rank) if a.sizes("stride") else kernel
    padding = a.spread("padding", rank)
    dilations = a.spread("dilation", rank) if op == "max_pool" else (1,) * rank
    attributes: dict[str, Any] = {
        "kernel": kernel, "strides": strides, "padding": tuple((p, p) for p in padding)
    }  # fmt: skip
    if a.flag("ceil_mode"):
        sizes = zip(
            a.draft.shape(x)[-rank:], kernel, strides, padding, dilations, strict=True
        )  # fmt: skip
        whole = all(s >= 1 and (n + 2 * p - d * (k - 1) - 1) % s == 0 for n, k, s, p, d in sizes)
        a.require(whole, "windows that fill the axes where ceil_mode is set", attributes)
    if op == "max_pool":
        attributes["dilations"] = dilations
    else:
        attributes["count_padding"] = a.flag("count_include_pad")
    return a.draft.add(op, (x,), attributes)


def along(a: Arguments, op: str) -> int:
    """Return an operation along one axis."""
    x = a.tensor("self")
    axis = a.axis(a.integer("dim"), len(a.draft.shape(x)))
    return a.draft.add(op, (x,), {"axis": axis})


def weighted_sum(a: Arguments, sign: int, *, swapped: bool) -> int | Unread:
    """Return self + sign alpha other, or other + sign alpha self."""
    first, second = a.operand("self"), a.operand("other")
    if swapped:
        first, second = second, first
    factor = sign * a.number("alpha")
    if isinstance(first, int) and isinstance(second, Fraction):
        return a.draft.affine(first, 1, factor * second)
    if isinstance(first, Fraction) and isinstance(second, int):
        return a.draft.affine(second, factor, first)
    if factor == -1:
        return _both(a, "sub", first, second)
    if factor != 1 and isinstance(second, int):
        return _both(a, "add", first, a.draft.affine(second, factor))
    a.require(factor == 1, "a stored tensor added with factor 1 or -1", factor)
    return _both(a, "add", first, second)


def product(a: Arguments) -> int | Unread:
    """Return self other."""
    sides = (a.operand("self"), a.operand("other"))
    for x, number in (sides, sides[::-1]):
        if isinstance(x, int) and isinstance(number, Fraction):
            return a.draft.affine(x, number)
    return _both(a, "mul", *sides)


def quotient(a: Arguments) -> int | Unread:
    """Return self / other."""
    x, below = a.operand("self"), a.operand("other")
    if isinstance(x, int) and isinstance(below, Fraction):
        a.require(below != 0, "a divisor that is not zero", below)
        return a.draft.affine(x, 1 / below)
    return _both(a, "div", x, below)


def _both(
    a: Arguments, op: str, first: int | Stored | Fraction, second: int | Stored | Fraction
) -> int | Unread:
    """Return an operation on two tensors, of which at least one has samples."""
    ranks = [len(a.draft.shape(side)) for side in (first, second) if isinstance(side, int)]
    if not ranks:
        return _UNUSED
    # Values of other ranks would be broadcast along the batch.
    a.require(len(set(ranks)) == 1, "values of as many axes", ranks)
    places = [_place(a, side, ranks[0]) for side in (first, second)]
    return a.draft.add(op, places)


def _place(a: Arguments, side: int | Stored | Fraction, rank: int) -> int:
    if isinstance(side, int):
        return side
    if isinstance(side, Stored):
        return a.draft.constant(*aligned(side, rank))
    raise InputError(f"expected a tensor, but got the number {side}")

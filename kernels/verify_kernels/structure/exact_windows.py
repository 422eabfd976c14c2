"""Windows over exact values: pooling, and what convolutions see."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from verify.network.graph import Node
from verify_kernels.structure.exact_arrays import (
    Array,
    ExactArray,
    TooLargeError,
    fitted,
    largest,
)

# Multiplications and additions of machine integers, and of Python integers.
MAX_MACHINE_STEPS = 300_000_000
MAX_OBJECT_STEPS = 5_000_000
Slots = Mapping[str, Array]


def check_steps(steps: int, bound: int) -> None:
    """Refuse what would take long, given a bound of the numbers.

    Raises:
        TooLargeError: too many steps.
    """
    limit = MAX_MACHINE_STEPS if bound < 2**62 else MAX_OBJECT_STEPS
    if steps > limit:
        raise TooLargeError(f"{steps} exact multiplications")


def windows(
    numbers: Array, kernel: Sequence[int], told: Mapping[str, Any], fill: Any,
    dilations: Sequence[int],
) -> Array:  # fmt: skip
    """Return the windows, shape (n, ..., *out, *kernel), padding filled."""
    rank = len(kernel)
    amounts = [(0, 0)] * (numbers.ndim - rank) + [tuple(p) for p in told["padding"]]
    whole = padded(numbers, amounts, fill)
    spans = tuple((k - 1) * d + 1 for k, d in zip(kernel, dilations, strict=True))
    axes = tuple(range(numbers.ndim - rank, numbers.ndim))
    views = np.lib.stride_tricks.sliding_window_view(whole, spans, axis=axes)
    lead = (slice(None),) * (numbers.ndim - rank)
    steps = tuple(slice(None, None, s) for s in told["strides"])
    holes = tuple(slice(None, None, d) for d in dilations)
    return views[lead + steps + holes]


def padded(numbers: Array, amounts: Sequence[tuple[int, ...]], fill: Any) -> Array:
    """Pad; `np.pad` would put 64-bit integers among Python's, which overflow."""
    sizes = [sum(pair) + size for pair, size in zip(amounts, numbers.shape, strict=True)]
    found = np.full(sizes, fill, dtype=numbers.dtype)
    inner = zip(amounts, numbers.shape, strict=True)
    found[tuple(slice(pair[0], pair[0] + size) for pair, size in inner)] = numbers
    return found


def average_pool(node: Node, inputs: list[ExactArray], tensors: Slots) -> ExactArray:
    """Return averages over windows."""
    exact, told = inputs[0].integers(), node.attributes
    kernel = tuple(told["kernel"])
    rank, size = len(kernel), math.prod(told["kernel"])
    check_steps(len(exact.numbers) * math.prod(node.shape) * size, 0)
    ones = (1,) * rank
    numbers = fitted(exact.numbers, largest(exact.numbers) * size)
    axes = tuple(range(-rank, 0))
    sums = windows(numbers, kernel, told, 0, ones).sum(axis=axes)
    if told["count_padding"]:
        return ExactArray(sums, exact.denominator * size)
    present = np.ones((1, *numbers.shape[1:]), dtype=np.int64)
    counts = windows(present, kernel, told, 0, ones).sum(axis=axes)
    common = math.lcm(*(int(c) for c in np.unique(counts)))
    bound = largest(sums) * common
    return ExactArray(fitted(sums, bound) * (common // counts), exact.denominator * common)


def max_pool(node: Node, inputs: list[ExactArray], tensors: Slots) -> ExactArray:
    """Return maxima over windows."""
    given, told = inputs[0], node.attributes
    check_steps(len(given.numbers) * math.prod(node.shape) * math.prod(told["kernel"]), 0)
    # Every window sees at least one entry, so the smallest number is never a wrong maximum.
    views = windows(given.numbers, tuple(told["kernel"]), told, given.numbers.min(),
                     told["dilations"])  # fmt: skip
    return given.moved(views.max(axis=tuple(range(-len(told["kernel"]), 0))))


def _bins(size: int, out: int) -> list[slice]:
    return [slice(i * size // out, -(-(i + 1) * size // out)) for i in range(out)]


def adaptive(node: Node, inputs: list[ExactArray], tensors: Slots) -> ExactArray:
    """Return averages or maxima over a given number of windows."""
    size = tuple(node.attributes["size"])
    average = node.op == "adaptive_average_pool"
    given = inputs[0].integers() if average else inputs[0]
    spatial = given.shape[-len(size) :]
    bins = [_bins(each, out) for each, out in zip(spatial, size, strict=True)]
    lengths = [[cut.stop - cut.start for cut in axis] for axis in bins]
    common = math.prod(math.lcm(*axis) for axis in lengths)
    numbers = given.numbers
    if average:
        numbers = fitted(numbers, largest(numbers) * math.prod(spatial) * common)
    found = np.empty((*given.shape[: -len(size)], *size), dtype=numbers.dtype)
    axes = tuple(range(-len(size), 0))
    for at in np.ndindex(*size):
        window = numbers[(..., *(bins[a][i] for a, i in enumerate(at)))]
        if average:
            count = math.prod(lengths[a][i] for a, i in enumerate(at))
            found[(..., *at)] = window.sum(axis=axes) * (common // count)
        else:
            found[(..., *at)] = window.max(axis=axes)
    return ExactArray(found, given.denominator * (common if average else 1))

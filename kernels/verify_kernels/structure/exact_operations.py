"""Operations of a graph in exact rational arithmetic, for those that stay rational."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from fractions import Fraction

import numpy as np

from verify.network import Activation
from verify.network.graph import Node
from verify_kernels.structure.exact_arrays import (
    Array,
    ExactArray,
    TooLargeError,
    common_denominator,
    exact_of,
    fitted,
    largest,
    over,
    scaled,
    times,
    whole,
)
from verify_kernels.structure.exact_windows import (
    adaptive,
    average_pool,
    check_steps,
    max_pool,
    padded,
    windows,
)

Slots = Mapping[str, Array]


def evaluate(node: Node, inputs: Sequence[ExactArray], tensors: Slots) -> ExactArray:
    """Return the exact values of a node.

    Args:
        node: an operation of `RULES`.
        inputs: exact values of what it reads, samples along axis 0.
        tensors: slot to stored values.

    Raises:
        TooLargeError: beyond the limits, or an activation that is not rational.
    """
    return RULES[node.op](node, list(inputs), tensors)


def _constant(node: Node, inputs: list[ExactArray], tensors: Slots) -> ExactArray:
    return exact_of(np.asarray(tensors["value"])[None])


def _weighted(rows: Array, denominator: Fraction, weight: Array, bias: Array | None) -> ExactArray:
    """Return rows @ weight.T + bias for whole rows (..., k) over a denominator."""
    exact, scale = whole(weight)
    sums = int(sum_bound(exact))
    bound = largest(rows) * sums
    total = denominator * scale
    if bias is not None:
        told = exact_of(bias)
        common = common_denominator([ExactArray(np.zeros(1, dtype=np.int64), total), told])
        lift = (common / total).numerator
        offset = over(told, common)
        bound = max(1, bound) * lift + largest(offset)
    steps = rows.size * len(exact)
    check_steps(steps, bound)
    found = fitted(rows, bound) @ fitted(exact, bound).T
    if bias is None:
        return ExactArray(found, total)
    return ExactArray(found * lift + fitted(offset, bound), common)


def sum_bound(weight: Array) -> int:
    """Return the largest sum of absolute values over a row of whole numbers."""
    return max(
        (sum(abs(int(k)) for k in row) for row in weight.reshape(len(weight), -1)), default=0
    )


def _linear(node: Node, inputs: list[ExactArray], tensors: Slots) -> ExactArray:
    exact = inputs[0].integers()
    return _weighted(exact.numbers, exact.denominator, tensors["weight"], tensors.get("bias"))


def _conv(node: Node, inputs: list[ExactArray], tensors: Slots) -> ExactArray:
    exact, weight = inputs[0].integers(), np.asarray(tensors["weight"])
    kernel, groups = weight.shape[2:], node.attributes["groups"]
    steps = len(exact.numbers) * math.prod(node.shape) * math.prod(weight.shape[1:])
    check_steps(steps, 0)
    views = windows(exact.numbers, kernel, node.attributes, 0, node.attributes["dilations"])
    # (n, c, *out, *kernel) -> for each group (n, *out, c/groups * kernel)
    rank, n = len(kernel), len(exact.numbers)
    each, outs = views.shape[1] // groups, len(weight) // groups
    parts = []
    for g in range(groups):
        view = np.moveaxis(views[:, g * each : (g + 1) * each], 1, 1 + rank)
        rows = view.reshape(n, *view.shape[1 : 1 + rank], -1)
        flat = weight[g * outs : (g + 1) * outs].reshape(outs, -1)
        bias = tensors.get("bias")
        cut = None if bias is None else bias[g * outs : (g + 1) * outs]
        parts.append(_weighted(rows, exact.denominator, flat, cut))
    common = common_denominator(parts)
    joined = np.concatenate([over(part, common) for part in parts], axis=-1)
    return ExactArray(np.ascontiguousarray(np.moveaxis(joined, -1, 1)), common)


def _mean(node: Node, inputs: list[ExactArray], tensors: Slots) -> ExactArray:
    exact = inputs[0].integers()
    axes = tuple(a + 1 for a in node.attributes["axes"])
    count = math.prod(exact.shape[a] for a in axes)
    numbers = fitted(exact.numbers, largest(exact.numbers) * count)
    return ExactArray(numbers.sum(axis=axes), exact.denominator * count)


def _reshape(node: Node, inputs: list[ExactArray], tensors: Slots) -> ExactArray:
    given = inputs[0]
    return given.moved(given.numbers.reshape(len(given.numbers), *node.shape))


def _transpose(node: Node, inputs: list[ExactArray], tensors: Slots) -> ExactArray:
    order = (0, *(a + 1 for a in node.attributes["order"]))
    return inputs[0].moved(inputs[0].numbers.transpose(order))


def _slice(node: Node, inputs: list[ExactArray], tensors: Slots) -> ExactArray:
    told = node.attributes
    cut = slice(told["start"], told["stop"], told["step"])
    return inputs[0].moved(inputs[0].numbers[(slice(None),) * (told["axis"] + 1) + (cut,)])


def _pad(node: Node, inputs: list[ExactArray], tensors: Slots) -> ExactArray:
    amounts, value = [(0, 0), *map(tuple, node.attributes["amounts"])], node.attributes["value"]
    given = inputs[0]
    if Fraction(value) == 0:
        return given.moved(padded(given.numbers, amounts, 0))
    fill = _literal(Fraction(value))
    common = common_denominator([given, fill])
    numbers, filler = over(given, common), over(fill, common)
    bound = max(largest(numbers), largest(filler))
    return ExactArray(padded(fitted(numbers, bound), amounts, int(filler[0])), common)


def _literal(value: Fraction) -> ExactArray:
    numbers = np.empty(1, dtype=object)
    numbers[0] = value.numerator
    return ExactArray(fitted(numbers, abs(value.numerator)), Fraction(value.denominator))


def _aligned(inputs: list[ExactArray]) -> tuple[list[Array], Fraction]:
    """Return whole numbers over one denominator, with equally many axes for broadcasting."""
    common = common_denominator(inputs)
    rank = max(len(each.shape) for each in inputs)
    found = []
    for each in inputs:
        numbers = over(each, common)
        extra = (1,) * (rank - numbers.ndim)
        found.append(numbers.reshape(len(numbers), *extra, *numbers.shape[1:]))
    return found, common


def _sum(node: Node, inputs: list[ExactArray], tensors: Slots) -> ExactArray:
    (a, b), common = _aligned(inputs)
    bound = largest(a) + largest(b)
    a, b = fitted(a, bound), fitted(b, bound)
    return ExactArray(a + b if node.op == "add" else a - b, common)


def _mul(node: Node, inputs: list[ExactArray], tensors: Slots) -> ExactArray:
    (a, b), common = _aligned(inputs)
    bound = largest(a) * largest(b)
    return ExactArray(fitted(a, bound) * fitted(b, bound), common * common)


def _concat(node: Node, inputs: list[ExactArray], tensors: Slots) -> ExactArray:
    axis = node.attributes["axis"] + 1
    same = len({(each.denominator, each.numbers.dtype) for each in inputs}) == 1
    common = inputs[0].denominator if same else common_denominator(inputs)
    parts = [each.numbers if same else over(each, common) for each in inputs]
    count = max(len(part) for part in parts)
    wide = [np.broadcast_to(part, (count, *part.shape[1:])) for part in parts]
    return ExactArray(np.concatenate(wide, axis=axis), common)


def _affine(node: Node, inputs: list[ExactArray], tensors: Slots) -> ExactArray:
    factor, offset = node.attributes["factor"], node.attributes["offset"]
    found = scaled(inputs[0], factor)
    if offset == 0:
        return found
    return _sum_with(found, offset)


def _sum_with(given: ExactArray, offset: Fraction) -> ExactArray:
    told = _literal(offset)
    common = common_denominator([given, told])
    numbers, by = over(given, common), int(over(told, common)[0])
    return ExactArray(fitted(numbers, largest(numbers) + abs(by)) + by, common)


def _round(node: Node, inputs: list[ExactArray], tensors: Slots) -> ExactArray:
    exact, how = inputs[0].integers(), node.attributes["how"]
    top, bottom = exact.denominator.denominator, exact.denominator.numerator
    # The value is numbers * top / bottom.
    bound = 2 * (largest(exact.numbers) * top + bottom)
    numbers = fitted(times(exact.numbers, top), bound)
    if how == "floor":
        found = numbers // bottom
    elif how == "ceil":
        found = -(-numbers // bottom)
    elif how == "nearest":
        down = numbers // bottom
        twice = 2 * (numbers - down * bottom)
        up = (twice > bottom) | ((twice == bottom) & (down % 2 == 1))
        found = down + up
    else:
        raise TooLargeError(f"a rule for rounding {how!r}")
    return ExactArray(found)


def _activation(node: Node, inputs: list[ExactArray], tensors: Slots) -> ExactArray:
    sigma: Activation = node.attributes["activation"]
    given = inputs[0]
    if sigma.name == "identity":
        return given
    if sigma.name == "relu":
        return given.moved(np.maximum(given.numbers, 0) if given.numbers.dtype != object
                           else _objects(given.numbers, lambda k: max(k, 0)))  # fmt: skip
    if sigma.name == "abs":
        return given.moved(abs(given.numbers))
    if sigma.name == "square":
        exact = given.integers()
        numbers = fitted(exact.numbers, largest(exact.numbers) ** 2)
        return ExactArray(numbers * numbers, exact.denominator**2)
    if sigma.name == "leaky_relu":
        low = scaled(_activation_part(given, negative=True), sigma.parameters[0])
        (a, b), common = _aligned([_activation_part(given, negative=False), low])
        bound = largest(a) + largest(b)
        return ExactArray(fitted(a, bound) + fitted(b, bound), common)
    if sigma.name in ("hardtanh", "relu6"):
        floor, ceiling = (-1, 1) if sigma.name == "hardtanh" else (0, 6)
        return _clipped(given, floor, ceiling)
    raise TooLargeError(f"{sigma}, whose values are not rational")


def _objects(numbers: Array, rule: Callable[[int], int]) -> Array:
    found = np.empty(numbers.size, dtype=object)
    found[:] = [rule(k) for k in numbers.ravel()]
    return found.reshape(numbers.shape)


def _activation_part(given: ExactArray, *, negative: bool) -> ExactArray:
    exact = given.integers()
    kept = exact.numbers < 0 if negative else exact.numbers > 0
    return exact.moved(np.where(kept, exact.numbers, 0))


def _clipped(given: ExactArray, low: int, high: int) -> ExactArray:
    """Return the entries clipped to [low, high], over a denominator that is a whole number."""
    exact = given.integers()
    common = Fraction(exact.denominator.numerator)
    numbers = over(exact, common)
    floor, ceiling = low * common.numerator, high * common.numerator
    numbers = fitted(numbers, max(largest(numbers), abs(floor), abs(ceiling)))
    return ExactArray(
        np.where(numbers < floor, floor, np.where(numbers > ceiling, ceiling, numbers)), common
    )


RULES: Mapping[str, Callable[[Node, list[ExactArray], Slots], ExactArray]] = {
    "constant": _constant, "linear": _linear, "conv": _conv, "average_pool": average_pool,
    "max_pool": max_pool, "adaptive_average_pool": adaptive, "adaptive_max_pool": adaptive,
    "mean": _mean, "reshape": _reshape, "transpose": _transpose, "slice": _slice, "pad": _pad,
    "add": _sum, "sub": _sum, "mul": _mul, "concat": _concat, "affine": _affine, "round": _round,
    "activation": _activation,
}  # fmt: skip
"""Operations that stay rational, by name."""

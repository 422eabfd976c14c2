"""Features as exact rational numbers, for graphs whose operations stay rational.

Linear layers are products of integer matrices over one common denominator; the values between
them are reduced fractions.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import numpy as np
from flint import fmpq, fmpq_mat, fmpz, fmpz_mat

from verify.network.activation import Activation
from verify.network.graph import Graph, Node
from verify.network.weights import Array
from verify_kernels.activation_analysis.tree import Node as Tree
from verify_kernels.activation_analysis.tree import postorder, tree_of
from verify_kernels.exact_forward.walk import (
    Arithmetic,
    Mask,
    Move,
    OutsideError,
    apply,
    entries_read,
    key_of,
    values_at,
)
from verify_kernels.forward.inputs import Inputs

Objects = Any  # NumPy array of fmpq
MOST_WORK = 10_000_000
"""Numbers (samples x `fraction_work`) that fractions handle in some ten seconds."""


@dataclass(frozen=True)
class RationalFeatures:
    """Features without any rounding, or why there are none.

    Args:
        matrix: ``fmpq_mat`` (n, m), None if the graph is not rational.
        why_not: the reason.
    """

    matrix: Any
    why_not: str = ""


def rational_features(graph: Graph, place: int, inputs: Inputs) -> RationalFeatures:
    """Evaluate a node at all samples in rational arithmetic.

    Args:
        graph: the network.
        place: index of the node, whose values are flattened to rows.
        inputs: the samples.

    Returns:
        The exact matrix, or the operation that leaves the rational numbers.
    """
    by = Rationals()
    first = exact_inputs(inputs)
    try:
        found = values_at(graph, place, first, lambda node, read: apply(graph, node, read, by))
    except OutsideError as error:
        return RationalFeatures(None, str(error))
    rows = matrix_rows(found, len(first))
    return RationalFeatures(fmpq_mat(rows.shape[0], rows.shape[1], list(rows.flat)))


def fraction_work(graph: Graph, place: int) -> int:
    """Return how many numbers an evaluation at one sample handles, weights apart."""
    return sum(entries_read(graph, graph.nodes[k]) for k in graph.needed(place))


def matrix_rows(found: Objects, samples: int) -> Objects:
    """Return one row a sample, also for what is the same for all."""
    rows = found.reshape(len(found), -1)
    return np.broadcast_to(rows, (samples, rows.shape[1]))


def exact_inputs(inputs: Inputs) -> Objects:
    """Return the samples values / divisor as fractions.

    Raises:
        InputError: there is no sample.
    """
    inputs.require_some("exact_forward")
    found = as_objects(inputs.values)
    if inputs.divisor == 1:
        return found
    by = fraction(1 / Fraction(inputs.divisor))
    return filled([value * by for value in found.flat], found.shape)


def filled(values: Sequence[Any], shape: Sequence[int]) -> Objects:
    """Return a list of numbers as an array of objects."""
    found = np.empty(len(values), dtype=object)
    found[:] = values
    return found.reshape(tuple(shape))


def fraction(value: Fraction) -> Any:
    """Return a fraction as ``fmpq``."""
    return fmpq(value.numerator, value.denominator)


def as_objects(tensor: Array) -> Objects:
    """Return floats as the dyadic fractions that they are."""
    flat = np.asarray(tensor, dtype=np.float64).ravel().tolist()
    return filled([fmpq(*value.as_integer_ratio()) for value in flat], np.shape(tensor))


def integers_of(tensor: Array) -> tuple[Any, int]:
    """Return floats (r, c) as an integer matrix and the power of two that divides it."""
    parts = [value.as_integer_ratio() for value in np.ravel(tensor).tolist()]
    scale = max((bottom for _, bottom in parts), default=1)
    rows, columns = tensor.shape
    return fmpz_mat(rows, columns, [top * (scale // bottom) for top, bottom in parts]), scale


class Rationals(Arithmetic):
    """Arrays of ``fmpq``."""

    def __init__(self) -> None:
        self._weights: dict[Any, tuple[Array, Any, int]] = {}

    def moved(self, move: Move, *values: Objects) -> Objects:
        """Apply a function that only rearranges entries."""
        return move(*values)

    def lift(self, tensor: Array) -> Objects:
        """Return a stored tensor, for all samples."""
        return as_objects(tensor)[None]

    def numbers(self, exact: Sequence[Fraction], shape: Sequence[int]) -> Objects:
        """Return exact numbers in a shape without samples."""
        return filled([fraction(value) for value in exact], (1, *shape))

    def product(self, x: Objects, weight: Array) -> Objects:
        """Return x W^T over the last axis."""
        held = self._weights.get(key_of(weight))
        if held is None:  # the array is kept, so that its place in memory stays taken
            held = self._weights[key_of(weight)] = (weight, *integers_of(weight.T))
        _, matrix, scale = held
        flat = list(x.flat)
        bottom = math.lcm(*{int(value.q) for value in flat})
        shared = fmpz(bottom)
        tops = [value.p * (shared // value.q) for value in flat]
        rows = len(flat) // x.shape[-1]
        found = (fmpz_mat(rows, x.shape[-1], tops) * matrix).entries()
        below = fmpz(bottom * scale)
        return filled([fmpq(top, below) for top in found], (*x.shape[:-1], weight.shape[0]))

    def add(self, a: Objects, b: Objects) -> Objects:
        """Return a + b."""
        return a + b

    def sub(self, a: Objects, b: Objects) -> Objects:
        """Return a - b."""
        return a - b

    def mul(self, a: Objects, b: Objects) -> Objects:
        """Return a b."""
        return a * b

    def div(self, a: Objects, b: Objects) -> Objects:
        """Return a / b."""
        if any(value == 0 for value in b.flat):
            raise OutsideError("a division by zero")
        return a / b

    def root(self, a: Objects) -> Objects:
        """Return the square root where it is rational."""
        return filled([_rational_root(value) for value in a.flat], a.shape)

    def total(self, a: Objects) -> Objects:
        """Return the sum over the last axis."""
        return np.add.reduce(a, axis=-1)

    def largest(self, a: Objects, inside: Mask, node: Node) -> Objects:
        """Return the maximum over the last axis."""
        return np.maximum.reduce(a, axis=-1)

    def activation(self, a: Objects, activation: Activation, node: Node) -> Objects:
        """Apply an activation that maps rationals to rationals."""
        function = rational_function(activation)
        return filled([function(value) for value in a.flat], a.shape)

    def rounded(self, a: Objects, how: str, node: Node) -> Objects:
        """Round to whole numbers."""
        function = _ROUNDINGS[how]
        return filled([fmpq(function(value)) for value in a.flat], a.shape)


def _rational_root(value: Any) -> Any:
    if value < 0:
        raise OutsideError("a square root of a negative number")
    top, bottom = math.isqrt(int(value.p)), math.isqrt(int(value.q))
    if top * top != value.p or bottom * bottom != value.q:
        raise OutsideError("a square root is irrational")
    return fmpq(top, bottom)


def _nearest(value: Any) -> Any:
    below = value.floor()
    twice = 2 * (value - below)
    up = twice > 1 or (twice == 1 and int(below) % 2 == 1)
    return below + 1 if up else below


_ROUNDINGS: dict[str, Callable[[Any], Any]] = {
    "floor": lambda value: value.floor(),
    "ceil": lambda value: value.ceil(),
    "nearest": _nearest,
}
_ZERO, _ONE, _SIX = fmpq(0), fmpq(1), fmpq(6)
_NAMED: dict[str, Callable[..., Any]] = {
    "relu": lambda x: x if x > 0 else _ZERO,
    "leaky_relu": lambda x, a: x if x > 0 else a * x,
    "identity": lambda x: x,
    "square": lambda x: x * x,
    "abs": lambda x: x if x > 0 else -x,
    "hardtanh": lambda x: max(min(x, _ONE), -_ONE),
    "relu6": lambda x: max(min(x, _SIX), _ZERO),
    "softsign": lambda x: x / (1 + (x if x > 0 else -x)),
}


def rational_function(activation: Activation) -> Callable[[Any], Any]:
    """Return the activation on ``fmpq``.

    Raises:
        OutsideError: its formula may leave the rational numbers.
    """
    named = _NAMED.get(activation.name)
    if named is not None:
        parameters = [fraction(value) for value in activation.parameters]
        return lambda x: named(x, *parameters)
    root = tree_of(activation.formula())
    order = list(postorder(root))
    for node in order:
        if not _is_rational(node):
            raise OutsideError(f"{activation} is not rational")
    return lambda x: _evaluate(order, root, x)


def _is_rational(node: Tree) -> bool:
    if node.op == "pow":
        return bool(node.data.denominator == 1)
    return node.op in ("z", "number", "add", "mul", "abs", "sign", "max", "min", "piecewise")


def _evaluate(order: list[Tree], root: Tree, x: Any) -> Any:
    values: dict[Tree, Any] = {}
    for node in order:
        values[node] = _operation(node, [values[arg] for arg in node.args], x)
    return values[root]


def _operation(node: Tree, read: list[Any], x: Any) -> Any:
    if node.op == "z":
        return x
    if node.op == "number":
        return fraction(node.data)
    if node.op == "add":
        return sum(read[1:], read[0])
    if node.op == "mul":
        return math.prod(read[1:], start=read[0])
    if node.op == "pow":
        if read[0] == 0 and node.data < 0:
            raise OutsideError("a formula divides by zero")
        return read[0] ** int(node.data)
    if node.op == "abs":
        return abs(read[0])
    if node.op == "sign":
        return fmpq((read[0] > 0) - (read[0] < 0))
    if node.op in ("max", "min"):
        return max(read) if node.op == "max" else min(read)
    return _first_case(node, read)


def _first_case(node: Tree, read: list[Any]) -> Any:
    for k, relation in enumerate(node.data):
        if not relation or _HOLDS[relation](read[2 * k + 1]):
            return read[2 * k]
    raise OutsideError("a formula has no case for a value")


_HOLDS: dict[str, Callable[[Any], bool]] = {
    ">": lambda x: x > 0,
    ">=": lambda x: x >= 0,
    "<": lambda x: x < 0,
    "<=": lambda x: x <= 0,
}

"""Features in ball arithmetic: any activation, any precision.

As long as the operations are rational and the fractions short, values are exact; from there on
they are python-flint balls, with matrix products done as a whole.
"""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from fractions import Fraction
from typing import Any

import numpy as np
from flint import arb, arb_mat, ctx, fmpq

from verify.network.activation import Activation
from verify.network.graph import Graph, Node
from verify.network.weights import Array
from verify_kernels.ball_activation import slope, value
from verify_kernels.exact_forward.rational import (
    Objects,
    Rationals,
    exact_inputs,
    filled,
    fraction,
    matrix_rows,
)
from verify_kernels.exact_forward.walk import (
    Arithmetic,
    Mask,
    Move,
    OutsideError,
    apply,
    key_of,
    values_at,
)
from verify_kernels.forward.inputs import Inputs
from verify_kernels.two_layer.balls import precision

SLOPE_BITS = 53  # a slope only scales a radius
# Fractions longer than this many times the precision gain nothing over balls.
_LONG = 8


def ball_features(
    graph: Graph, place: int, inputs: Inputs, bits: int, *, deadline: float = math.inf
) -> Any:
    """Enclose the values of a node at all samples.

    Args:
        graph: the network.
        place: index of the node, whose values are flattened to rows.
        inputs: the samples.
        bits: working precision.
        deadline: in time of `time.monotonic`.

    Returns:
        An ``arb_mat`` (n, m) that contains the true matrix entrywise.

    Raises:
        OutsideError: an operation that has no value at a sample (batch norm in training form,
            dropout in training form), or the time is over.
    """
    with precision(bits):
        found = ball_values(graph, place, inputs, deadline)
        rows = matrix_rows(found, len(inputs.values))
        return arb_mat(rows.shape[0], rows.shape[1], list(rows.flat))


def ball_values(graph: Graph, place: int, inputs: Inputs, deadline: float) -> Objects:
    """Return the values of a node as an array of balls, at the working precision."""
    return as_balls(fractions_or_balls(graph, place, inputs, deadline))


def fractions_or_balls(graph: Graph, place: int, inputs: Inputs, deadline: float) -> Objects:
    """Return the values of a node: fractions where they stay short, else balls.

    Raises:
        OutsideError: as for `ball_features`.
    """
    exact, balls = Rationals(), Balls(deadline)

    def step(node: Node, read: list[Any]) -> Any:
        check_time(deadline)
        if all(is_exact(each) for each in read):
            try:
                found = apply(graph, node, read, exact)
            except OutsideError:
                pass
            else:
                return found if _length(found) <= _LONG * ctx.prec else as_balls(found)
        return apply(graph, node, [as_balls(each) for each in read], balls)

    return values_at(graph, place, exact_inputs(inputs), step)


def check_time(deadline: float) -> None:
    """Raise once the deadline passed.

    Raises:
        OutsideError: it passed.
    """
    if time.monotonic() > deadline:
        raise OutsideError("ball arithmetic did not end in time")


def is_exact(values: Objects) -> bool:
    """Return whether an array holds fractions."""
    return isinstance(values.flat[0], fmpq)


def _length(values: Objects) -> int:
    sample = values.ravel()[:: max(1, values.size // 64)]
    return max(int(x.p).bit_length() + int(x.q).bit_length() for x in sample)


def as_balls(values: Objects) -> Objects:
    """Return fractions as balls; balls stay."""
    if not is_exact(values):
        return values
    return filled([arb(each) for each in values.flat], values.shape)


class Balls(Arithmetic):
    """Arrays of ``arb`` at the working precision."""

    def __init__(self, deadline: float = math.inf) -> None:
        self.deadline = deadline
        self._weights: dict[Any, tuple[Array, Any]] = {}

    def moved(self, move: Move, *values: Objects) -> Objects:
        """Apply a function that only rearranges entries."""
        return move(*values)

    def lift(self, tensor: Array) -> Objects:
        """Return a stored tensor, for all samples."""
        flat = np.asarray(tensor, dtype=np.float64).ravel().tolist()
        return filled([arb(each) for each in flat], (1, *np.shape(tensor)))

    def numbers(self, exact: Sequence[Fraction], shape: Sequence[int]) -> Objects:
        """Return exact numbers in a shape without samples."""
        return filled([arb(fraction(each)) for each in exact], (1, *shape))

    def product(self, x: Objects, weight: Array) -> Objects:
        """Return x W^T over the last axis."""
        k, out = x.shape[-1], len(weight)
        held = self._weights.get(key_of(weight))
        if held is None:  # the array is kept, so that its place in memory stays taken
            matrix = arb_mat(k, out, weight.T.ravel().tolist())
            held = self._weights[key_of(weight)] = (weight, matrix)
        rows = x.size // k
        found = (arb_mat(rows, k, list(x.flat)) * held[1]).entries()
        return filled(found, (*x.shape[:-1], out))

    def add(self, a: Objects, b: Objects) -> Objects:
        """Return a + b."""
        return a + b

    def sub(self, a: Objects, b: Objects) -> Objects:
        """Return a - b."""
        return a - b

    def mul(self, a: Objects, b: Objects) -> Objects:
        """Return a b; the square of one array is never negative."""
        if a is b:
            return filled([_squared(each) for each in a.flat], a.shape)
        return a * b

    def div(self, a: Objects, b: Objects) -> Objects:
        """Return a / b; not finite where b may be zero."""
        return a / b

    def root(self, a: Objects) -> Objects:
        """Return the square root; not finite where it may not exist."""
        return filled([each.sqrt() for each in a.flat], a.shape)

    def total(self, a: Objects) -> Objects:
        """Return the sum over the last axis."""
        return np.add.reduce(a, axis=-1)

    def largest(self, a: Objects, inside: Mask, node: Node) -> Objects:
        """Return the maximum over the last axis."""
        flat = a.reshape(-1, a.shape[-1])
        found = []
        for row in flat:
            best = row[0]
            for each in row[1:]:
                best = best.max(each)
            found.append(best)
        return filled(found, a.shape[:-1])

    def activation(self, a: Objects, activation: Activation, node: Node) -> Objects:
        """Apply an activation."""
        found: list[Any] = []
        for row in a.reshape(len(a), -1):
            check_time(self.deadline)
            found += [image(activation, each) for each in row]
        return filled(found, a.shape)

    def rounded(self, a: Objects, how: str, node: Node) -> Objects:
        """Round to whole numbers."""
        return filled([_rounded(each, how) for each in a.flat], a.shape)

    def exponential(self, a: Objects) -> Objects:
        """Return exp(a)."""
        return filled([each.exp() for each in a.flat], a.shape)

    def logarithm(self, a: Objects) -> Objects:
        """Return log(a)."""
        return filled([each.log() for each in a.flat], a.shape)


def image(activation: Activation, ball: Any) -> Any:
    """Enclose an activation over a ball.

    A narrow ball is mapped by s(x) in s(mid) + [slopes on the ball] (x - mid): one evaluation at
    the working precision instead of two.
    """
    if activation.name == "square":
        return _squared(ball)
    narrow = ball.is_finite() and not ball.is_exact() and ball.rad() < _NARROW
    if not narrow or activation.name not in _CENTRED:
        return value(activation, ball)
    with precision(SLOPE_BITS):
        spread = slope(activation, ball) * arb(0, ball.rad())
    return value(activation, ball.mid()) + spread


def _squared(ball: Any) -> Any:
    """Enclose the square, never negative; python-flint's power is NaN where 0 is inside."""
    return (ball * ball).max(arb(0))


_NARROW = arb(2) ** -20
_CENTRED = frozenset({"softplus", "sigmoid", "tanh", "elu", "softsign", "silu", "gelu", "sin"})


def _rounded(ball: Any, how: str) -> Any:
    if how == "floor":
        return ball.floor()
    if how == "ceil":
        return ball.ceil()
    low, high = ball.lower(), ball.upper()
    nearest = (_half_to_even(low), _half_to_even(high))
    return nearest[0].union(nearest[1])


def _half_to_even(x: Any) -> Any:
    below = x.floor()
    twice = 2 * (x - below)
    whole = below.unique_fmpz()
    if whole is None or not twice.is_exact():
        return below.union(below + 1)
    odd = int(whole) % 2 == 1
    return below + 1 if twice > 1 or (twice == 1 and odd) else below

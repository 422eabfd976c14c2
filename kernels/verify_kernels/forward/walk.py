"""The certified pass: every sample through every node, with the distance from the true value."""

from __future__ import annotations

import math
from fractions import Fraction
from typing import Any

import numpy as np

from verify.network.graph import Graph, Node
from verify_kernels._rounding import ETA, U
from verify_kernels.backend import get_backend
from verify_kernels.forward.features import Features
from verify_kernels.forward.inputs import Inputs
from verify_kernels.forward.radii import host, plus, root, row_norms, times
from verify_kernels.forward.state import State
from verify_kernels.forward.steps import OPERATIONS, unknown
from verify_kernels.self_test import check_arithmetic, check_rounding
from verify_kernels.spectral_norm import PRODUCTS

BATCH_ENTRIES = 2**23
"""Entries of the largest tensor of a batch, 64 MiB."""


class Pass:
    """A network prepared for certified passes: norms of weights are bounded once.

    The stored tensors must not change between two passes.

    Args:
        graph: the network.
        place: the node whose value is asked for.
        backend: of norm proofs; every one is rigorous.
        xp: the array module of the linear maps; that of the backend if not given. Elementary
            functions are computed on the host. Tested with NumPy; this has not run on a device.
    """

    def __init__(self, graph: Graph, place: int, *, backend: str = "auto", xp: Any = None) -> None:
        """Find what the place needs; maps are prepared when they are first used.

        Raises:
            BackendError: the machine does not compute as assumed.
        """
        check_arithmetic(backend, size=max(graph.dimension, 1))
        self.graph, self.place, self.backend = graph, place, backend
        self.xp = _array_module(backend) if xp is None else xp
        self.count, self.rows = 0, 0
        self.needed = graph.needed(place)
        self.maps: dict[int, Any] = {}
        self._users: dict[int, int] = {}

    @np.errstate(all="ignore")
    def features(self, inputs: Inputs) -> Features:
        """Enclose the value of the place; see `enclose_features`.

        Raises:
            BackendError: flush to zero or another rounding mode in this thread.
        """
        check_rounding()
        n, m = inputs.count, math.prod(self.graph.nodes[self.place].shape)
        largest = max(math.prod(self.graph.nodes[k].shape) for k in self.needed)
        batch, self.count = max(1, BATCH_ENTRIES // largest), n
        slices = [slice(first, min(n, first + batch)) for first in range(0, n, batch)]
        parts = [_features(self._state(inputs, rows), m, self.xp) for rows in slices]
        if len(parts) == 1:
            return parts[0]
        if not parts:
            return Features(np.zeros((0, m)), np.zeros(0), None, (PRODUCTS,))
        radii = [part.radius for part in parts if part.radius is not None]
        return Features(
            np.concatenate([part.mid for part in parts]),
            np.concatenate([part.row_radius for part in parts]),
            np.concatenate(radii) if radii else None,
            (PRODUCTS,),
            next((part.why_open for part in parts if part.why_open), ""),
        )

    def _state(self, inputs: Inputs, rows: slice) -> State:
        self._users = users = _users(self.graph, self.needed)
        self.rows = rows.stop - rows.start
        found: dict[int, State] = {}
        for k in self.needed:
            node = self.graph.nodes[k]
            if node.op == "input":
                found[k] = enter(inputs, rows, self.xp)
            else:
                found[k] = self._apply(k, node, [found[j] for j in node.inputs])
            for j in node.inputs:
                users[j] -= 1
                if users[j] == 0 and j != self.place:
                    found.pop(j, None)
        return found[self.place]

    def _apply(self, k: int, node: Node, states: list[State]) -> State:
        operation = OPERATIONS.get(node.op)
        if operation is None:
            return unknown(states[0], node, self.xp, f"{node.name}: {node.op} is not enclosed")
        return operation(self, k, node, states)

    def is_last_use(self, k: int) -> bool:
        """Whether the node that is being computed is the only one left that reads node k."""
        return self._users[k] == 1 and k != self.place

    def tensor(self, node: Node, slot: str) -> Any:
        """Return a stored tensor of a node, or None."""
        role = node.parameters.get(slot)
        return None if role is None else self.graph.stored[role]


def _users(graph: Graph, needed: list[int]) -> dict[int, int]:
    users = dict.fromkeys(needed, 0)
    for k in needed:
        for j in graph.nodes[k].inputs:
            users[j] += 1
    return users


def enter(inputs: Inputs, rows: slice, xp: Any) -> State:
    """Return the samples values/divisor.

    Error bound:
        4u |q| + 2 eta for the computed quotient q; 0 where q times the divisor gives the value
        back for a divisor that is a power of two; +inf for divisors outside [2^-1000, 2^1000].
    """
    values = inputs.values[rows]
    if inputs.divisor == 1:
        return State(xp.asarray(values), np.zeros(len(values)))
    if not Fraction(2) ** -1000 <= inputs.divisor <= Fraction(2) ** 1000:
        why = "the divisor of the inputs is out of range"
        return State(xp.zeros(values.shape), np.full(len(values), np.inf), True, why=why)
    divisor = float(inputs.divisor)
    quotient = values / divisor
    power = inputs.divisor == Fraction(divisor) and math.frexp(divisor)[0] == 0.5
    if power and np.array_equal(quotient * divisor, values):
        return State(xp.asarray(quotient), np.zeros(len(values)), True)
    size = int(np.prod(values.shape[1:]))
    rho = plus(times(4.0 * U, row_norms(quotient)), times(root(np.asarray(float(size))), 2.0 * ETA))
    return State(xp.asarray(quotient), rho, True)


def enclose_features(
    graph: Graph, place: int, inputs: Inputs, *, backend: str = "auto", xp: Any = None
) -> Features:
    """Enclose the value of a node for every sample, in binary64 with all rounding accounted for.

    Each node is evaluated once at the midpoint; a radius in the Euclidean norm of each sample
    follows it: linear maps move it by their norm and add the rounding errors of the product,
    activations by their Lipschitz constant and the proved error of their values.

    Args:
        graph: the network.
        place: index of the node; its value is flattened to a row for each sample.
        inputs: exact samples, of the shape of the graph's input.
        backend: of products and norm proofs; ``cupy`` computes linear maps on the device. Every
            one is rigorous, widths differ.
        xp: the array module of the linear maps where it is not that of the backend.

    Returns:
        Features with (n, m) midpoints, a radius for each sample, and one for each entry where the
        place is a layer of single units. The radius is +inf, never NaN, where an operation is not
        enclosed or a number may leave the range of binary64; ``why_open`` says why.

    Error bound:
        that of the operations: `dense`, `convolution`, `activations`, `normalisation`, `pooling`
        of this package. About (sum over layers of gamma_k sqrt(k)) times the growth of a
        perturbation through the later layers, relative. The growth is bounded by products of norms,
        1 + ||F|| for a residual block x + F(x), so deep residual networks are enclosed loosely:
        1e-4 relative for nine blocks of random weights, where four layers have 1e-10.

    Raises:
        BackendError: the machine does not compute as assumed.
    """
    return Pass(graph, place, backend=backend, xp=xp).features(inputs)


def _features(state: State, m: int, xp: Any) -> Features:
    mid = host(state.bounded_mid(xp)).reshape(-1, m)
    radius = None if state.entries is None else state.entries.radius()
    if radius is not None:
        radius[~np.isfinite(state.rho)] = np.inf  # their midpoints were replaced by zeros
    return Features(mid, state.rho, radius, (PRODUCTS,), state.why)


def _array_module(backend: str) -> Any:
    if get_backend(backend).NAME != "cupy":
        return np
    import cupy

    return cupy

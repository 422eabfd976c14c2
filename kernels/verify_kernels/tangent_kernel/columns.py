"""The columns of the Jacobian that each trained tensor gives, layer by layer."""

from __future__ import annotations

import math
from typing import Any, Protocol

import numpy as np

from verify.errors import InputError
from verify.network import Graph, Node
from verify_kernels.tangent_kernel.linear_maps import broadcast, convolution
from verify_kernels.tangent_kernel.walk import (
    OpenError,
    Sweep,
    Value,
    backward,
    by_sample,
    standardised,
)

CHUNK = 1 << 22  # entries of the Jacobian that are held at a time


class Collector(Protocol):
    """What gathers K = J J^T from the columns of J."""

    def add_outer(self, s: Value, h: Value, ones: bool) -> None:
        """Add the columns s_(i,o) kron [h_i, 1], s (n m_y, k), h (n, m)."""

    def add_rows(self, rows: Value) -> None:
        """Add the columns of a block of J, (n m_y, columns)."""

    def paired(self, s: Value, h: Value) -> Value:
        """Return the batched products s h of (n, m_y, ..., a, P) and (n, 1, ..., P, b)."""


def trained_slots(graph: Graph, place: int, frozen: frozenset[str]) -> dict[int, frozenset[str]]:
    """Return, for every node that a node depends on, the slots that training changes.

    Args:
        graph: the network.
        place: the node.
        frozen: roles that training does not change; a tensor stored once is frozen by any of its
            roles. Means and variances of batch norms are never trained.

    Raises:
        InputError: a frozen role that the network does not have.
        OpenError: a trained tensor that is used twice, or a stored constant that is not frozen.
    """
    unknown = sorted(frozen - set(graph.stored))
    if unknown:
        raise InputError(
            f"frozen: expected roles among {', '.join(graph.stored)}, but got {unknown[0]!r}"
        )
    fixed = set(frozen)
    for group in graph.ties:
        if fixed & set(group):
            fixed |= set(group)
    found: dict[int, frozenset[str]] = {}
    for k in graph.needed(place):
        node = graph.nodes[k]
        learnt = {"weight", "bias", "value"} & set(node.parameters)
        slots = frozenset(slot for slot in learnt if node.parameters[slot] not in fixed)
        if slots:
            _require_plain(graph, node, slots)
            found[k] = slots
    return found


def _require_plain(graph: Graph, node: Node, slots: frozenset[str]) -> None:
    if node.op == "constant":
        raise OpenError(
            f"it is not declared whether {node.name} is trained; declare "
            f"{node.parameters['value']} as frozen if it is not"
        )
    roles = {node.parameters[slot] for slot in slots}
    for group in graph.ties:
        if roles & set(group):
            raise OpenError(f"the trained tensor {' = '.join(group)} is used more than once")


def count_parameters(graph: Graph, trained: dict[int, frozenset[str]]) -> int:
    """Return the number of columns of the Jacobian."""
    return sum(
        math.prod(graph.stored[graph.nodes[k].parameters[slot]].shape)
        for k, slots in trained.items()
        for slot in slots
    )


def collect(sweep: Sweep, trained: dict[int, frozenset[str]], collector: Collector) -> None:
    """Show the columns of all trained tensors to a collector."""
    slots_of = {id(sweep.graph.nodes[k]): slots for k, slots in trained.items()}

    def visit(node: Node, x: Value, s: Value) -> None:
        _RULES[node.op](sweep, node, x, s, slots_of[id(node)], collector)

    backward(sweep, trained, visit)


def _every_sample(sweep: Sweep, node: Node, x: Value) -> Value:
    """Repeat what does not depend on the sample."""
    shape = sweep.graph.nodes[node.inputs[0]].shape
    return sweep.arithmetic.move(lambda a: np.broadcast_to(a, (sweep.count, *shape)), x)


def _linear(
    sweep: Sweep, node: Node, x: Value, s: Value, slots: frozenset[str], collector: Collector
) -> None:
    move = sweep.arithmetic.move
    x = _every_sample(sweep, node, x)
    positions = math.prod(node.shape[:-1])
    if positions == 1 and "weight" in slots:
        h = move(lambda a: a.reshape(a.shape[0], -1), x)
        flat = move(lambda a: a.reshape(a.shape[0], -1), s)
        collector.add_outer(flat, h, "bias" in slots)
        return
    out, width = node.shape[-1], sweep.graph.nodes[node.inputs[0]].shape[-1]
    rows = move(lambda a: a.reshape(-1, positions, out).swapaxes(1, 2), s)
    if "weight" in slots:
        read = move(lambda a: a.reshape(-1, positions, width), x)
        _add_paired(sweep, rows, read, collector)
    if "bias" in slots:
        _add_sums(sweep, rows, collector)


def _conv(
    sweep: Sweep, node: Node, x: Value, s: Value, slots: frozenset[str], collector: Collector
) -> None:
    move, graph = sweep.arithmetic.move, sweep.graph
    weight = graph.stored[node.parameters["weight"]]
    form = convolution(node, graph.nodes[node.inputs[0]].shape, weight)
    if "weight" in slots:
        patches = move(lambda a: form.patches(a).swapaxes(2, 3), _every_sample(sweep, node, x))
        _add_paired(sweep, move(form.rows, s), patches, collector)
    if "bias" in slots:
        flat = move(lambda a: a.reshape(a.shape[0], node.shape[0], -1), s)
        _add_sums(sweep, flat, collector)


def _batch_norm(
    sweep: Sweep, node: Node, x: Value, s: Value, slots: frozenset[str], collector: Collector
) -> None:
    move, channels = sweep.arithmetic.move, node.shape[0]
    if "weight" in slots:
        value, _ = standardised(sweep, node, _every_sample(sweep, node, x))
        product = by_sample(sweep, s, value)
        _add_sums(sweep, move(lambda a: a.reshape(a.shape[0], channels, -1), product), collector)
    if "bias" in slots:
        _add_sums(sweep, move(lambda a: a.reshape(a.shape[0], channels, -1), s), collector)


_RULES: dict[str, Any] = {"linear": _linear, "conv": _conv, "batch_norm": _batch_norm}


def _shape(value: Value) -> tuple[int, ...]:
    array = value if isinstance(value, np.ndarray) else value.mid
    return tuple(array.shape)


def _add_sums(sweep: Sweep, rows: Value, collector: Collector) -> None:
    """Add the sums over positions of (n m_y, channels, positions)."""
    arithmetic = sweep.arithmetic
    channels, positions = _shape(rows)[1:]
    total = arithmetic.pull(broadcast((channels, 1), (channels, positions)), rows)
    collector.add_rows(arithmetic.move(lambda a: a.reshape(a.shape[0], -1), total))


def _add_paired(sweep: Sweep, s: Value, h: Value, collector: Collector) -> None:
    """Add the columns sum_p s_(i,o)[.., a, p] h_i[.., p, b], a few of a at a time."""
    move, m_y = sweep.arithmetic.move, sweep.outputs
    shape = _shape(s)
    width, each = shape[-2], math.prod(shape[:-2]) * _shape(h)[-1]
    step = max(1, CHUNK // each)
    wide = move(lambda a: a[:, None], h)
    for start in range(0, width, step):
        cut = slice(start, start + step)
        part = move(lambda a, cut=cut: a.reshape(-1, m_y, *a.shape[1:])[..., cut, :], s)
        block = collector.paired(part, wide)
        collector.add_rows(move(lambda a: a.reshape(a.shape[0] * m_y, -1), block))

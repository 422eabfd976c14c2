"""What the certified pass does at each kind of node."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from fractions import Fraction
from typing import TYPE_CHECKING, Any

import numpy as np

from verify.network.graph import Node
from verify_kernels.forward import arithmetic, pooling
from verify_kernels.forward.activations import activate
from verify_kernels.forward.convolution import ConvolutionMap
from verify_kernels.forward.dense import LinearMap
from verify_kernels.forward.normalisation import (
    batch_norm_coefficients,
    normalise_layer,
    scale_channels,
)
from verify_kernels.forward.state import State

if TYPE_CHECKING:
    from verify_kernels.forward.walk import Pass


def unknown(state: State, node: Node, xp: Any, why: str) -> State:
    """Return a state of which nothing is known."""
    n = len(state.rho)
    return State(xp.zeros((n, *node.shape)), np.full(n, np.inf), True, why=state.why or why)


def _known(found: State | None, state: State, node: Node, xp: Any, why: str) -> State:
    return unknown(state, node, xp, f"{node.name}: {why}") if found is None else found


def _linear(walk: Pass, k: int, node: Node, states: list[State]) -> State:
    if k not in walk.maps:
        weight, bias = walk.tensor(node, "weight"), walk.tensor(node, "bias")
        rows = walk.count * math.prod(node.shape[:-1])
        walk.maps[k] = LinearMap(weight, bias, walk.backend, walk.xp, count=rows)
    after: State = walk.maps[k](states[0])
    return after


def _conv(walk: Pass, k: int, node: Node, states: list[State]) -> State:
    if k not in walk.maps:
        weight, bias = walk.tensor(node, "weight"), walk.tensor(node, "bias")
        count = walk.count * math.prod(node.shape[1:])
        walk.maps[k] = ConvolutionMap(
            weight, bias, node.attributes, walk.backend, walk.xp, count=count
        )
    after: State = walk.maps[k](states[0])
    return after


def _batch_norm(walk: Pass, k: int, node: Node, states: list[State]) -> State:
    (state,) = states
    if node.attributes["training"]:
        return unknown(state, node, walk.xp, f"{node.name}: statistics of the batch are not fixed")
    if k not in walk.maps:
        mean, variance, weight, bias = (
            walk.tensor(node, slot) for slot in ("mean", "variance", "weight", "bias")
        )
        epsilon = Fraction(node.attributes["epsilon"])
        walk.maps[k] = batch_norm_coefficients(mean, variance, weight, bias, epsilon)
    if walk.maps[k] is None:
        why = f"{node.name}: variance + epsilon is not positive, or a coefficient is out of range"
        return unknown(state, node, walk.xp, why)
    scale, offset = walk.maps[k]
    own = state.fresh and walk.is_last_use(node.inputs[0])
    return scale_channels(state, scale, offset, walk.xp, own=own)


def _layer_norm(walk: Pass, k: int, node: Node, states: list[State]) -> State:
    (state,), given = states, node.attributes
    weight, bias = walk.tensor(node, "weight"), walk.tensor(node, "bias")
    found = normalise_layer(
        state, int(given["axes"]), Fraction(given["epsilon"]), weight, bias, walk.xp
    )
    return _known(found, state, node, walk.xp, "epsilon is too small or too large")


def _average_pool(walk: Pass, k: int, node: Node, states: list[State]) -> State:
    (state,), given = states, node.attributes
    rank = len(given["kernel"])
    axes = [
        pooling.windows(size, kernel, stride, pair, count_padding=bool(given["count_padding"]))
        for size, kernel, stride, pair in zip(
            state.shape[-rank:], given["kernel"], given["strides"], given["padding"], strict=True
        )
    ]
    return pooling.average(state, axes, walk.xp)


def _adaptive(state: State, node: Node) -> list[pooling.Windows]:
    size = node.attributes["size"]
    pairs = zip(state.shape[-len(size) :], size, strict=True)
    return [pooling.adaptive_windows(entries, count) for entries, count in pairs]


def _adaptive_average_pool(walk: Pass, k: int, node: Node, states: list[State]) -> State:
    return pooling.average(states[0], _adaptive(states[0], node), walk.xp)


def _adaptive_max_pool(walk: Pass, k: int, node: Node, states: list[State]) -> State:
    return pooling.adaptive_maximum(states[0], _adaptive(states[0], node), walk.xp)


def _max_pool(walk: Pass, k: int, node: Node, states: list[State]) -> State:
    kernel, strides, padding, dilations = (
        node.attributes[name] for name in ("kernel", "strides", "padding", "dilations")
    )
    return pooling.maximum(states[0], kernel, strides, padding, dilations, walk.xp)


def _mean(walk: Pass, k: int, node: Node, states: list[State]) -> State:
    return pooling.mean(states[0], node.attributes["axes"], walk.xp)


def _activation(walk: Pass, k: int, node: Node, states: list[State]) -> State:
    return activate(states[0], node.attributes["activation"], walk.xp)


def _constant(walk: Pass, k: int, node: Node, states: list[State]) -> State:
    value, n = walk.xp.asarray(walk.tensor(node, "value")), walk.rows
    return State(walk.xp.broadcast_to(value, (n, *value.shape)), np.zeros(n))


def _reshape(walk: Pass, k: int, node: Node, states: list[State]) -> State:
    (state,) = states
    own = state.fresh and walk.is_last_use(node.inputs[0])
    mid = state.shared().reshape(len(state.rho), *node.shape)
    same = state.shape == tuple(node.shape)
    entries = state.entries if same else None
    return State(mid, state.rho, own, entries=entries, why=state.why, _norms=state._norms)


def _transpose(walk: Pass, k: int, node: Node, states: list[State]) -> State:
    (state,) = states
    order = (0, *(axis + 1 for axis in node.attributes["order"]))
    return State(state.shared().transpose(order), state.rho, why=state.why, _norms=state._norms)


def _slice(walk: Pass, k: int, node: Node, states: list[State]) -> State:
    (state,), given = states, node.attributes
    part = slice(given["start"], given["stop"], given["step"])
    mid = state.shared()[(*(slice(None),) * (given["axis"] + 1), part)]
    return State(mid, state.rho, why=state.why)


def _pad(walk: Pass, k: int, node: Node, states: list[State]) -> State:
    amounts, value = node.attributes["amounts"], Fraction(node.attributes["value"])
    found = arithmetic.pad(states[0], amounts, value, walk.xp)
    return _known(found, states[0], node, walk.xp, "the padding is out of range")


def _concat(walk: Pass, k: int, node: Node, states: list[State]) -> State:
    return arithmetic.concatenate(states, node.attributes["axis"], walk.xp)


def _add(walk: Pass, k: int, node: Node, states: list[State]) -> State:
    a, b = states
    return arithmetic.add(a, b, 1.0, node.shape, walk.xp)


def _sub(walk: Pass, k: int, node: Node, states: list[State]) -> State:
    a, b = states
    return arithmetic.add(a, b, -1.0, node.shape, walk.xp)


def _mul(walk: Pass, k: int, node: Node, states: list[State]) -> State:
    a, b = states
    return arithmetic.multiply(a, b, node.shape, walk.xp)


def _div(walk: Pass, k: int, node: Node, states: list[State]) -> State:
    a, b = states
    return arithmetic.divide(a, b, node.shape, walk.xp)


def _affine(walk: Pass, k: int, node: Node, states: list[State]) -> State:
    given = node.attributes
    found = arithmetic.affine(states[0], given["factor"], given["offset"], walk.xp)
    return _known(found, states[0], node, walk.xp, "a coefficient is out of range")


def _round(walk: Pass, k: int, node: Node, states: list[State]) -> State:
    return arithmetic.round_entries(states[0], node.attributes["how"], walk.xp)


Operation = Callable[["Pass", int, Node, list[State]], State]
OPERATIONS: Mapping[str, Operation] = {
    "constant": _constant, "linear": _linear, "conv": _conv, "batch_norm": _batch_norm,
    "layer_norm": _layer_norm, "average_pool": _average_pool, "max_pool": _max_pool,
    "adaptive_average_pool": _adaptive_average_pool, "adaptive_max_pool": _adaptive_max_pool,
    "mean": _mean, "reshape": _reshape, "transpose": _transpose, "pad": _pad, "slice": _slice,
    "concat": _concat, "add": _add, "sub": _sub, "mul": _mul, "div": _div, "affine": _affine,
    "activation": _activation, "round": _round,
}  # fmt: skip
"""By operation; what is missing, such as dropout in training form and softmax, is not enclosed."""

"""The linear operations of a graph and their adjoints, on float or rational arrays alike.

The first axis of every array counts samples (or samples times outputs, for adjoints).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from flint import fmpq

from verify.network import Node

Apply = Callable[[Any], Any]


@dataclass(frozen=True)
class LinearMap:
    """x -> L x and s -> L^T s.

    Args:
        apply, adjoint: the two maps.
        apply_sizes, adjoint_sizes: the same with the moduli of the entries of L.
        terms, adjoint_terms: the most roundings of one product or sum that an entry of the result
            passes; 0 if entries are only moved.
        largest: the largest modulus of an entry of L.
        factors: x -> pairs of matrices whose products are L x, or None.
        joined: those products -> L x.
    """

    apply: Apply
    adjoint: Apply
    apply_sizes: Apply
    adjoint_sizes: Apply
    terms: int
    adjoint_terms: int
    largest: float
    factors: Callable[[Any], list[tuple[Any, Any]]] | None = None
    joined: Callable[[list[Any], int], Any] | None = None


def _zeros(shape: tuple[int, ...], like: Any) -> Any:
    return np.zeros(shape) if like.dtype == np.float64 else np.full(shape, fmpq(0), dtype=object)


def moved(apply: Apply, adjoint: Apply) -> LinearMap:
    """Return a map that only moves entries (and fills with zeros)."""
    return LinearMap(apply, adjoint, apply, adjoint, 0, 0, 1.0)


def _dense(node: Node, weight: Any) -> LinearMap:
    sizes = np.abs(weight)
    return LinearMap(
        lambda x: x @ weight.T,
        lambda s: s @ weight,
        lambda x: x @ sizes.T,
        lambda s: s @ sizes,
        weight.shape[1],
        weight.shape[0],
        _largest(weight),
        lambda x: [(x.reshape(-1, weight.shape[1]), weight.T)],
        lambda products, n: products[0].reshape(n, *node.shape),
    )


def _largest(weight: Any) -> float:
    return float(np.max(np.abs(weight))) if weight.dtype == np.float64 else 0.0


# Windows ---------------------------------------------------------------------------------------


def window_places(node: Node, spatial: tuple[int, ...], kernel: tuple[int, ...]) -> Any:
    """Return the flat input places that each output position reads, (positions, taps).

    A tap in the padding reads the place after the last.
    """
    attributes = node.attributes
    dilations = attributes.get("dilations", (1,) * len(kernel))
    axes = []
    for size, k, stride, pad, dilation in zip(
        spatial, kernel, attributes["strides"], attributes["padding"], dilations, strict=True
    ):
        out = (size + sum(pad) - (k - 1) * dilation - 1) // stride + 1
        place = np.arange(out)[:, None] * stride - pad[0] + np.arange(k)[None, :] * dilation
        axes.append(np.where((place >= 0) & (place < size), place, -1))
    return _combined(axes, spatial)


def _combined(axes: list[Any], spatial: tuple[int, ...]) -> Any:
    """Join the places of one or two axes; -1 becomes the place after the last."""
    if len(axes) == 1:
        return np.where(axes[0] < 0, spatial[0], axes[0])
    first, second = axes[0][:, None, :, None], axes[1][None, :, None, :]
    joined = np.where((first < 0) | (second < 0), math.prod(spatial), first * spatial[1] + second)
    positions = axes[0].shape[0] * axes[1].shape[0]
    return joined.reshape(positions, -1)


@dataclass(frozen=True)
class Convolution:
    """A convolution as one matrix product per group over windows.

    Args:
        places: from `window_places`.
        groups: of channels.
        node: the operation.
        spatial: sizes of the input's axes after the channels.
    """

    places: Any
    groups: int
    node: Node
    spatial: tuple[int, ...]

    def patches(self, x: Any) -> Any:
        """Return the windows, (n, groups, channels of a group times taps, positions)."""
        n, channels = x.shape[:2]
        flat = x.reshape(n, channels, -1)
        wide = np.concatenate([flat, _zeros((n, channels, 1), x)], axis=2)
        taken = wide[:, :, self.places]  # (n, channels, positions, taps)
        taken = np.moveaxis(taken, 3, 2)
        return taken.reshape(n, self.groups, -1, len(self.places))

    def rows(self, s: Any) -> Any:
        """Return an output as (n, groups, channels of a group, positions)."""
        return s.reshape(s.shape[0], self.groups, -1, len(self.places))

    def apply(self, weight: Any, x: Any) -> Any:
        """Return the convolution without bias."""
        kernel = weight.reshape(self.groups, weight.shape[0] // self.groups, -1)
        return (kernel @ self.patches(x)).reshape(x.shape[0], *self.node.shape)

    def factors(self, weight: Any, x: Any) -> list[tuple[Any, Any]]:
        """Return, for each group, kernels and the windows of all samples as columns."""
        kernel = weight.reshape(self.groups, weight.shape[0] // self.groups, -1)
        columns = np.moveaxis(self.patches(x), 0, 2)  # (groups, channels taps, n, positions)
        return [(a, b.reshape(len(b), -1)) for a, b in zip(kernel, columns, strict=True)]

    def joined(self, products: list[Any], n: int) -> Any:
        """Return the convolution from the products of its factors."""
        stacked = np.concatenate(products).reshape(self.node.shape[0], n, -1)
        return np.moveaxis(stacked, 1, 0).reshape(n, *self.node.shape)

    def adjoint(self, weight: Any, s: Any) -> Any:
        """Return the transposed convolution; a place is met once by every tap at most."""
        kernel = weight.reshape(self.groups, weight.shape[0] // self.groups, -1)
        parts = np.swapaxes(kernel, 1, 2) @ self.rows(s)
        n, taps = s.shape[0], self.places.shape[1]
        parts = parts.reshape(n, self.groups * weight.shape[1], taps, -1)
        size = math.prod(self.spatial)
        total = _zeros((n, parts.shape[1], size + 1), s)
        for tap in range(taps):
            total[:, :, self.places[:, tap]] += parts[:, :, tap]
        return total[:, :, :size].reshape(n, -1, *self.spatial)


def convolution(node: Node, shape: tuple[int, ...], weight: Any) -> Convolution:
    """Return the convolution of a node that reads samples of a shape."""
    places = window_places(node, shape[1:], weight.shape[2:])
    return Convolution(places, node.attributes["groups"], node, shape[1:])


def _convolution_map(node: Node, shape: tuple[int, ...], weight: Any) -> LinearMap:
    form = convolution(node, shape, weight)
    sizes = np.abs(weight)
    taps = form.places.shape[1]
    return LinearMap(
        lambda x: form.apply(weight, x),
        lambda s: form.adjoint(weight, s),
        lambda x: form.apply(sizes, x),
        lambda s: form.adjoint(sizes, s),
        math.prod(weight.shape[1:]),
        weight.shape[0] // form.groups + taps,
        _largest(weight),
        lambda x: form.factors(weight, x),
        form.joined,
    )


def _averages(places: Any, divisors: Any, spatial: tuple[int, ...], node: Node) -> LinearMap:
    """Return the averages over windows as a 0-1 matrix and a division.

    Products with 0 are exact zeros, so an entry passes as many roundings as its window has taps,
    and one for the division.
    """
    size, rank = math.prod(spatial), len(spatial)
    chosen = np.zeros((len(places), size + 1))
    for tap in range(places.shape[1]):
        np.add.at(chosen, (np.arange(len(places)), places[:, tap]), 1.0)
    chosen = chosen[:, :size]
    lead = node.shape[: len(node.shape) - rank]

    def apply(x: Any) -> Any:
        rows = x.reshape(x.shape[0], -1, size)
        return (rows @ _as(chosen.T, x) / _as(divisors, x)).reshape(x.shape[0], *node.shape)

    def adjoint(s: Any) -> Any:
        rows = s.reshape(s.shape[0], -1, len(places)) / _as(divisors, s)
        return (rows @ _as(chosen, s)).reshape(s.shape[0], *lead, *spatial)

    taps = int(chosen.sum(axis=1).max()) + 1
    back = int(chosen.sum(axis=0).max()) + 1
    return LinearMap(apply, adjoint, apply, adjoint, taps, back, 1.0)


def _as(whole: Any, like: Any) -> Any:
    """Return whole numbers in the type of another array."""
    return whole if like.dtype == np.float64 else whole.astype(np.int64).astype(object)


def _average_pool(node: Node, shape: tuple[int, ...]) -> LinearMap:
    kernel = node.attributes["kernel"]
    spatial = shape[len(shape) - len(kernel) :]
    places = window_places(node, spatial, kernel)
    inside = (places < math.prod(spatial)).sum(axis=1).astype(np.float64)
    whole = np.full(len(places), float(math.prod(kernel)))
    return _averages(places, whole if node.attributes["count_padding"] else inside, spatial, node)


def _adaptive_average_pool(node: Node, shape: tuple[int, ...]) -> LinearMap:
    sizes = node.attributes["size"]
    spatial = shape[len(shape) - len(sizes) :]
    axes = []
    for length, out in zip(spatial, sizes, strict=True):
        first = np.arange(out) * length // out
        last = -(-(np.arange(1, out + 1) * length) // out)
        place = first[:, None] + np.arange(int((last - first).max()))[None, :]
        axes.append(np.where(place < last[:, None], place, -1))
    places = _combined(axes, spatial)
    inside = (places < math.prod(spatial)).sum(axis=1).astype(np.float64)
    return _averages(places, inside, spatial, node)


def _mean(node: Node, shape: tuple[int, ...]) -> LinearMap:
    axes = tuple(axis + 1 for axis in node.attributes["axes"])
    count = math.prod(shape[axis - 1] for axis in axes)

    def apply(x: Any) -> Any:
        return x.sum(axis=axes) / _as(np.float64(count), x)

    def adjoint(s: Any) -> Any:
        wide = np.expand_dims(s / _as(np.float64(count), s), axes)
        return np.broadcast_to(wide, (s.shape[0], *shape))

    return LinearMap(apply, adjoint, apply, adjoint, count + 1, 1, 1.0)


# Moves -----------------------------------------------------------------------------------------


def _reshape(node: Node, shape: tuple[int, ...]) -> LinearMap:
    return moved(
        lambda x: x.reshape(x.shape[0], *node.shape), lambda s: s.reshape(s.shape[0], *shape)
    )


def _transpose(node: Node, shape: tuple[int, ...]) -> LinearMap:
    order = (0, *(axis + 1 for axis in node.attributes["order"]))
    back = tuple(int(k) for k in np.argsort(order))
    return moved(lambda x: np.transpose(x, order), lambda s: np.transpose(s, back))


def _placed(cut: tuple[slice, ...], small: tuple[int, ...], large: tuple[int, ...]) -> LinearMap:
    """Return the map that puts a small array into zeros."""

    def put(x: Any) -> Any:
        whole = _zeros((x.shape[0], *large), x)
        whole[cut] = x
        return whole

    return moved(put, lambda s: s[cut].reshape(s.shape[0], *small))


def _pad(node: Node, shape: tuple[int, ...]) -> LinearMap:
    pairs = zip(node.attributes["amounts"], shape, strict=True)
    cut = (slice(None), *(slice(pair[0], pair[0] + size) for pair, size in pairs))
    return _placed(cut, shape, node.shape)


def _reversed(of: LinearMap) -> LinearMap:
    return moved(of.adjoint, of.apply)


def _slice(node: Node, shape: tuple[int, ...]) -> LinearMap:
    a = node.attributes
    cut = (slice(None),) * (a["axis"] + 1) + (slice(a["start"], a["stop"], a["step"]),)
    return _reversed(_placed(cut, node.shape, shape))


def part_of_concat(node: Node, start: int, shape: tuple[int, ...]) -> LinearMap:
    """Return the map that puts one input of a concat into its place."""
    axis = node.attributes["axis"]
    cut = (slice(None),) * (axis + 1) + (slice(start, start + shape[axis]),)
    return _placed(cut, shape, node.shape)


def broadcast(shape: tuple[int, ...], wide: tuple[int, ...]) -> LinearMap:
    """Return the map that repeats a sample of a shape up to a wider one."""
    full = (1,) * (len(wide) - len(shape)) + shape
    axes = tuple(k + 1 for k, (s, t) in enumerate(zip(full, wide, strict=True)) if s != t)

    def apply(x: Any) -> Any:
        return np.broadcast_to(x.reshape(x.shape[0], *full), (x.shape[0], *wide))

    def adjoint(s: Any) -> Any:
        return s.sum(axis=axes).reshape(s.shape[0], *shape)

    if not axes:
        return moved(apply, lambda s: s.reshape(s.shape[0], *shape))
    count = math.prod(wide[axis - 1] for axis in axes)
    return LinearMap(apply, adjoint, apply, adjoint, 0, count, 1.0)


_MAPS: Mapping[str, Callable[[Node, tuple[int, ...]], LinearMap]] = {
    "average_pool": _average_pool,
    "adaptive_average_pool": _adaptive_average_pool,
    "mean": _mean,
    "reshape": _reshape,
    "transpose": _transpose,
    "pad": _pad,
    "slice": _slice,
}
OPERATIONS = frozenset({"linear", "conv", *_MAPS})


def linear_map(node: Node, shape: tuple[int, ...], weight: Any) -> LinearMap:
    """Return the linear part of a node that reads samples of a shape.

    Args:
        node: one of `OPERATIONS`.
        shape: of one sample of its input.
        weight: of a linear layer or convolution; else None.
    """
    if node.op == "linear":
        return _dense(node, weight)
    if node.op == "conv":
        return _convolution_map(node, shape, weight)
    return _MAPS[node.op](node, shape)

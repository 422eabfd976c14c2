"""Two-layer networks: plain arrays W, a, b, c, and the state dict of two linear layers.

Whatever else is stored beside the layers might change the function (a third layer, a normalisation,
a learned slope), so it is refused unless it is named here.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

from verify.errors import InputError
from verify.readers.layouts import Constants, Layout, TwoLayerParts, View
from verify.readers.tensors import STEP_NAMES, shown, whole_number

# Stored beside the layers without being part of the network.
_BESIDE = frozenset(("X", "y", "data.X", "data.y"))
_PLAIN = ("W", "a")
_WEIGHT = ".weight"


def find(names: Iterable[str]) -> list[str]:
    """Return the prefixes under which the names are those of this family, shortest first.

    For a state dict it is what the names of exactly two weights have in common, up to a point.
    """
    stored = set(names)
    found = {
        name.removesuffix("W")
        for name in stored
        if (name == "W" or name.endswith(".W")) and f"{name.removesuffix('W')}a" in stored
    }
    owners = {name.removesuffix(_WEIGHT) for name in stored if name.endswith(_WEIGHT)}
    parents = {_parent(owner) for owner in owners}
    for parent in {_common(owners), *parents} if len(owners) > 1 else ():
        if sum(owner.startswith(parent) for owner in owners) == 2:
            found.add(parent)
    return sorted(found, key=lambda prefix: (len(prefix), prefix))


def _parent(name: str) -> str:
    head, point, _ = name.rpartition(".")
    return head + point


def _common(names: Iterable[str]) -> str:
    """Return what all names have in common, up to the last point."""
    split = [name.split(".") for name in names]
    shared = 0
    while all(len(parts) > shared + 1 for parts in split) and len({p[shared] for p in split}) == 1:
        shared += 1
    return "".join(f"{part}." for part in split[0][:shared])


def _build(view: View, constants: Constants) -> TwoLayerParts:
    plain = all(view.has(name) for name in _PLAIN)
    parts = _from_plain(view) if plain else _from_linear(view)
    _refuse_more(view)
    return parts


def _from_plain(view: View) -> TwoLayerParts:
    W = view.matrix("W")
    return TwoLayerParts(
        W,
        view.vector("a", len(W)),
        view.vector("b", len(W)) if view.has("b") else None,
        view.vector("c", 1) if view.has("c") else None,
    )


def _from_linear(view: View) -> TwoLayerParts:
    inner, outer = _ordered(view)
    W = view.matrix(f"{inner}{_WEIGHT}")
    rows, columns = _shape(view, outer)
    if rows != 1:
        raise InputError(
            f"two-layer: expected a network with one output, but got {rows}, "
            f"{shown(f'{view.prefix}{outer}{_WEIGHT}')} being of shape ({rows}, {columns})"
        )
    a = view.matrix(f"{outer}{_WEIGHT}", rows=1, columns=len(W)).reshape(-1)
    b, c = (f"{owner}.bias" for owner in (inner, outer))
    return TwoLayerParts(
        W,
        a,
        view.vector(b, len(W)) if view.has(b) else None,
        view.vector(c, 1) if view.has(c) else None,
        (f"inner layer {shown(inner)}, outer layer {shown(outer)}",),
    )


def _ordered(view: View) -> tuple[str, str]:
    """Return the inner and the outer layer: by their numbers, else by the only order that fits.

    Raises:
        InputError: the layers do not follow each other, or the order cannot be told.
    """
    start = len(view.prefix)
    owners = sorted(
        name[start:].removesuffix(_WEIGHT)
        for name in view.tensors
        if name.startswith(view.prefix) and name.endswith(_WEIGHT)
    )
    if len(owners) != 2:
        raise InputError(
            f"two-layer: expected two linear layers, but got {len(owners)} tensors named weight"
        )
    first, second = owners
    orders = [(first, second), (second, first)]
    if _words(first) == _words(second) and _numbers(first) != _numbers(second):
        orders.sort(key=lambda pair: _numbers(pair[0]))
        orders = orders[:1]
    fitting = [pair for pair in orders if _shape(view, pair[1])[1] == _shape(view, pair[0])[0]]
    if len(fitting) != 1:
        listed = " and ".join(f"{shown(owner)} {_shape(view, owner)}" for owner in orders[0])
        told = "layers in an order that the names tell" if fitting else "layers that fit together"
        raise InputError(
            f"two-layer: expected two {told}, but got {listed}; store W (p, d) and a (p,)"
        )
    return fitting[0]


def _words(name: str) -> list[str]:
    return re.split("[0-9]+", name)


def _numbers(name: str) -> list[int]:
    return [int(digits[:18]) for digits in re.findall("[0-9]+", name)]


def _shape(view: View, owner: str) -> tuple[int, int]:
    name = f"{view.prefix}{owner}{_WEIGHT}"
    shape = view.tensors[name].shape
    if len(shape) != 2 or 0 in shape:
        raise InputError(
            f"two-layer: expected {shown(name)} of a linear layer, of shape (out, in) with at "
            f"least one of each, but got {shape}"
        )
    return shape[0], shape[1]


def _refuse_more(view: View) -> None:
    """Refuse further tensors: they might change the function."""
    steps = {name for name in STEP_NAMES if whole_number(view.tensors.get(name)) is not None}
    more = [
        name
        for name in view.unused()
        if name not in _BESIDE | steps and (name.startswith(view.prefix) or not view.selected)
    ]
    if more:
        raise InputError(
            f"two-layer: expected the two layers alone, but got also "
            f"{', '.join(shown(name) for name in more[:8])}; remove what is not part of the network"
        )


TWO_LAYER = Layout(
    name="two-layer",
    tells="W (p, d) and a (p,), optional b (p,) and c; or two linear layers with one output",
    variants=(),
    build=_build,
    find=find,
)

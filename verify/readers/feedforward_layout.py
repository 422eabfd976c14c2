"""Fully connected networks: arrays W1, b1, W2, ..., or the state dict of linear layers in a chain.

The tensors alone do not tell what stands between the layers, so it is declared. Whatever else is
stored might change the function and is refused.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from itertools import pairwise

from verify.errors import InputError, SettingsError
from verify.network import Activation, Feedforward, Graph, TwoLayer, recognise
from verify.readers.declaration import Declaration
from verify.readers.layouts import Constants, FeedforwardParts, Layout, View
from verify.readers.tensors import STEP_NAMES, StoredTensor, shown, sources, whole_number

# Stored beside the layers without being part of the network.
_BESIDE = frozenset(("X", "y", "data.X", "data.y"))
_WEIGHT, _BIAS = ".weight", ".bias"
_PLAIN = re.compile(r"(?:(.*)\.)?W1")
ADVICE = (
    "store the network with its operations as .pt2 or .onnx, or declare its class in verify.toml "
    "as [model] class"
)
# Orders of layers that are tried before giving up.
_MAX_STEPS = 10_000
_MAX_LAYERS = 1_000
# Modules nest a few levels.
_MAX_LEVELS = 32


def find(names: Iterable[str]) -> list[str]:
    """Return the prefixes under which the names are those of this family, shortest first."""
    stored = set(names)
    found = {f"{match[1]}." if match[1] else "" for match in map(_PLAIN.fullmatch, stored) if match}
    found = {prefix for prefix in found if f"{prefix}W2" in stored}
    if not found:
        owners = [name.removesuffix(_WEIGHT) for name in stored if name.endswith(_WEIGHT)]
        counts = Counter(start for owner in owners for start in _starts(owner))
        found = {start for start, count in counts.items() if count > 1}
    return sorted(found, key=lambda prefix: (len(prefix), prefix))


def linear_alone(group: Mapping[str, StoredTensor]) -> bool:
    """Return whether the weights of a state dict may be those of linear layers, all of them."""
    return all(len(tensor.shape) == 2 for name, tensor in group.items() if name.endswith(_WEIGHT))


def _starts(name: str) -> list[str]:
    """Return what a name may start with, up to a point."""
    parts = name.split(".")[:_MAX_LEVELS]
    return ["".join(f"{part}." for part in parts[:k]) for k in range(len(parts))]


def _build(view: View, constants: Constants) -> FeedforwardParts:
    plain = view.has("W1") and view.has("W2")
    pairs = _numbered(view) if plain else _linear(view)
    _refuse_more(view, {name for pair in pairs for name in pair})
    weights = tuple(view.matrix(weight) for weight, _ in pairs)
    biases = tuple(
        view.vector(bias, len(weight)) if view.has(bias) else None
        for weight, (_, bias) in zip(weights, pairs, strict=True)
    )
    for k, (first, second) in enumerate(pairwise(weights)):
        if second.shape[1] != len(first):
            raise InputError(
                f"feedforward: expected {shown(view.prefix + pairs[k + 1][0])} with {len(first)} "
                f"columns, but got {second.shape[1]}; {ADVICE}"
            )
    return FeedforwardParts(weights, biases, _ties(view, pairs))


def _numbered(view: View) -> list[tuple[str, str]]:
    """Return the names W1, b1, W2, ... as far as they go."""
    pairs: list[tuple[str, str]] = []
    while view.has(f"W{len(pairs) + 1}"):
        pairs.append((f"W{len(pairs) + 1}", f"b{len(pairs) + 1}"))
    return pairs


def _linear(view: View) -> list[tuple[str, str]]:
    """Return the names of the layers of a state dict, first layer first."""
    start = len(view.prefix)
    owners = [
        name[start:].removesuffix(_WEIGHT)
        for name in view.tensors
        if name.startswith(view.prefix) and name.endswith(_WEIGHT)
    ]
    shapes: dict[str, tuple[int, int]] = {}
    for owner in owners:
        shape = view.tensors[f"{view.prefix}{owner}{_WEIGHT}"].shape
        if len(shape) != 2 or 0 in shape:
            raise InputError(
                f"feedforward: expected weights of linear layers, of shape (out, in), but got "
                f"{shown(view.prefix + owner + _WEIGHT)} of shape {shape}; {ADVICE}"
            )
        shapes[owner] = (shape[0], shape[1])
    if len(owners) < 2:
        raise InputError(
            f"feedforward: expected at least two linear layers, but got {len(owners)}; {ADVICE}"
        )
    return [(f"{owner}{_WEIGHT}", f"{owner}{_BIAS}") for owner in _chain(shapes)]


def _chain(shapes: Mapping[str, tuple[int, int]]) -> list[str]:
    """Return the only order in which the layers fit; layers of one name go by their numbers.

    Raises:
        InputError: no order fits, or several do.
    """
    if len(shapes) > _MAX_LAYERS:
        raise InputError(
            f"feedforward: expected at most {_MAX_LAYERS} layers, but got {len(shapes)}; {ADVICE}"
        )
    ahead = _ahead(shapes)
    found: list[list[str]] = []
    waiting: list[list[str]] = [[]]
    steps = 0
    while waiting and len(found) < 2 and steps < _MAX_STEPS:
        done = waiting.pop()
        steps += 1
        before = set(done)
        if len(done) == len(shapes):
            found.append(done)
        for owner, shape in shapes.items():
            fits = owner not in before and ahead[owner] <= before
            if fits and (not done or shape[1] == shapes[done[-1]][0]):
                waiting.append([*done, owner])
    if len(found) != 1 or (waiting and steps >= _MAX_STEPS):
        listed = ", ".join(f"{shown(owner)} {shape}" for owner, shape in list(shapes.items())[:8])
        told = "in the only order that fits" if found else "that follow each other"
        raise InputError(f"feedforward: expected layers {told}, but got {listed}; {ADVICE}")
    return found[0]


def _ahead(names: Iterable[str]) -> dict[str, set[str]]:
    """Return for each name those of the same words with the next smaller numbers."""
    levels: dict[tuple[str, ...], dict[tuple[int, ...], set[str]]] = {}
    for name in names:
        levels.setdefault(_words(name), {}).setdefault(_numbers(name), set()).add(name)
    found: dict[str, set[str]] = {}
    for level in levels.values():
        ordered = [set[str](), *(level[numbers] for numbers in sorted(level))]
        found |= {name: before for before, own in pairwise(ordered) for name in own}
    return found


def _words(name: str) -> tuple[str, ...]:
    return tuple(re.split("[0-9]+", name))


def _numbers(name: str) -> tuple[int, ...]:
    return tuple(int(digits[:18]) for digits in re.findall("[0-9]+", name))


def _ties(view: View, pairs: Sequence[tuple[str, str]]) -> tuple[tuple[str, ...], ...]:
    """Return the roles whose tensors are the same stored numbers."""
    roles = {}
    for k, (weight, bias) in enumerate(pairs, 1):
        roles[view.prefix + weight] = f"W{k}"
        if view.has(bias):
            roles[view.prefix + bias] = f"b{k}"
    groups: dict[str, list[str]] = {}
    for name, source in sources({name: view.tensors[name] for name in roles}).items():
        groups.setdefault(source, []).append(roles[name])
    return tuple(tuple(group) for group in groups.values() if len(group) > 1)


def _refuse_more(view: View, layers: set[str]) -> None:
    """Refuse further tensors: they might change the function."""
    steps = {name for name in STEP_NAMES if whole_number(view.tensors.get(name)) is not None}
    used = {view.prefix + name for name in layers} | _BESIDE | steps
    more = [
        name
        for name in view.tensors
        if name not in used and (name.startswith(view.prefix) or not view.selected)
    ]
    if more:
        raise InputError(
            f"feedforward: expected linear layers alone, but got also "
            f"{', '.join(shown(name) for name in more[:8])}; {ADVICE}"
        )


def network_of_chain(
    parts: FeedforwardParts, declared: Declaration
) -> Graph | Feedforward | TwoLayer:
    """Return a fully connected network with the declared activation of every hidden layer.

    Raises:
        SettingsError: not one activation for each hidden layer.
    """
    hidden = len(parts.weights) - 1
    listed = () if declared.model is None else declared.model.activations
    text = declared.texts.get("activation")
    if listed and text is not None:
        raise SettingsError(
            f"--activation: expected it from one place, but got {shown(text)} and the activations "
            f"of {listed} in {declared.model.source if declared.model else ''}"
        )
    if not listed and text is not None:
        listed = (text,) * hidden
    if len(listed) != hidden:
        raise SettingsError(
            f"--activation: expected the activations of {hidden} hidden layers, which the tensors "
            f"do not tell, but got {len(listed)}; add for example --activation relu, or in "
            "verify.toml [model] activations = ['relu', 'tanh']"
        )
    network = Feedforward(
        parts.weights, parts.biases, tuple(map(Activation.parse, listed)), parts.ties, parts.notes
    )
    return recognise(network.graph())


def refuse_activations(layout: str, declared: Declaration) -> None:
    """Refuse activations that are declared for another family.

    Raises:
        SettingsError: the table ``[model]`` lists activations.
    """
    if declared.model is not None and declared.model.activations:
        raise SettingsError(
            f"{declared.model.source}, [model] activations: expected the family feedforward, but "
            f"got {layout}; declare --activation instead"
        )


FEEDFORWARD = Layout(
    name="feedforward",
    tells="W1 (m1, d), W2 (m2, m1), ... with optional b1, b2, ...; or linear layers in a chain",
    variants=(),
    build=_build,
    find=find,
)

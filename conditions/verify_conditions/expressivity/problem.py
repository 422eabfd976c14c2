"""The expressivity question about one network: its features on the data, and what is declared."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np

from verify.condition import NotApplicable
from verify.errors import InputError, SettingsError
from verify.network import Data, Graph, Node, Run, graph_of
from verify_conditions.expressivity.declared import Declared, read
from verify_conditions.expressivity.losses import check_targets
from verify_kernels.forward.inputs import Inputs

GOAL, HERE, ALIGNED = "expressive", "expressive-here", "aligned"


@dataclass(eq=False)
class Problem:
    """One network, its data and declarations; evidence is computed once and kept by name.

    Args:
        network: as it was read.
        graph: the same as a graph.
        last: the index of the last affine layer.
        data, declared: as given.
        inputs: the samples as exact rationals.
    """

    network: Any
    graph: Graph
    last: int
    data: Data
    declared: Declared
    inputs: Inputs
    _kept: dict[str, Any] = field(default_factory=dict)

    def once(self, name: str, compute: Callable[[], Any]) -> Any:
        """Return the value kept under the name, computed at the first request."""
        if name not in self._kept:
            self._kept[name] = compute()
        return self._kept[name]

    @property
    def head(self) -> Node:
        """The last affine layer."""
        return self.graph.nodes[self.last]

    @property
    def place(self) -> int:
        """The index of the node that holds the features h."""
        return self.head.inputs[0]

    @property
    def n(self) -> int:
        """Number of samples."""
        return self.data.n

    @property
    def width(self) -> int:
        """m_H, the width of the last hidden layer."""
        return math.prod(self.graph.nodes[self.place].shape)

    @property
    def outputs(self) -> int:
        """m_y, the number of outputs."""
        return int(self.head.shape[-1])

    @cached_property
    def ones(self) -> bool:
        """Whether Z has the column of ones: the outer bias exists and is not declared frozen."""
        bias = self.head.parameters.get("bias")
        return bias is not None and bias not in (self.declared.frozen or frozenset())

    @cached_property
    def hidden(self) -> tuple[str, ...]:
        """The roles of the hidden tensors, statistics of batch norms excluded."""
        roles: list[str] = []
        for k in self.graph.needed(self.place):
            node = self.graph.nodes[k]
            roles += [r for slot, r in node.parameters.items() if slot not in ("mean", "variance")]
        return tuple(roles)

    @cached_property
    def fits(self) -> bool:
        """Whether Z has at least as many columns as rows; without, its rank is below n."""
        return self.n <= self.width + int(self.ones)


def prepare(
    network: Any, data: Data | None, run: Run | None, settings: Mapping[str, str]
) -> Problem:
    """Return the problem, or say why the condition cannot speak about the network.

    Raises:
        NotApplicable: not a network f = W h + b of this kind.
        SettingsError: a malformed setting, or no data.
        InputError: the data do not fit the network or the loss.
    """
    graph = graph_of(network)
    if graph is None:
        family = getattr(network, "family", type(network).__name__)
        raise NotApplicable(
            "the condition is stated for networks f(x) = W h(x) + b that end in a trained affine "
            f"layer after a feedforward part, and this is of the family {family}"
        )
    last = _head(graph)
    declared = read(settings, network, graph)
    _refuse_frozen_head(graph, last, declared)
    if data is None:
        raise SettingsError(
            "expressivity: expected the training data, on which the rank depends, but got none; "
            "add --data with X (n, ...)"
        )
    if np.ndim(data.X) == 0 or data.n == 0:
        raise InputError("expressivity: expected at least one sample, but got none")
    inputs = Inputs.of(_rows(data, graph), graph.sample_shape, declared.divisor)
    problem = Problem(network, graph, last, data, declared, inputs)
    if declared.loss is not None and data.y is not None:
        check_targets(declared.loss, data.y, problem.n, problem.outputs)
    return problem


def _rows(data: Data, graph: Graph) -> Any:
    """Return the samples as rows; other axes than the network's are not guessed.

    A fully connected network takes any axes, since the order of its inputs is that of the array.
    """
    given, wanted = tuple(np.shape(data.X)[1:]), graph.sample_shape
    flat = (graph.dimension,)
    fits = math.prod(given) == graph.dimension if wanted == flat else given in (wanted, flat)
    if not fits:
        shown = ", ".join(map(str, wanted))
        last = given == (*wanted[1:], wanted[0])
        advice = "; the channels come first: move the last axis of X to place 1" if last else ""
        raise InputError(
            f"expressivity: expected samples X of shape (n, {shown}), or as rows "
            f"(n, {graph.dimension}), but got {np.shape(data.X)}{advice}"
        )
    return np.reshape(data.X, (data.n, graph.dimension))


def _head(graph: Graph) -> int:
    """Return the last affine layer; say why there is none, or why it does not count."""
    for node in graph.nodes:
        if node.op == "dropout":
            raise NotApplicable(
                f"{node.name} is dropout in training form, so the features are not a function of "
                "the sample; export the network in evaluation form"
            )
        if node.op == "batch_norm" and node.attributes["training"]:
            raise NotApplicable(
                f"{node.name} is batch norm in training form, so the features of a sample depend "
                "on its batch; export the network in evaluation form"
            )
    last = graph.last_affine
    if last is None:
        raise NotApplicable(
            "the network has to end in one affine layer, with nothing but softmax, log-softmax or "
            f"sigmoid after it, and it ends in {graph.line(graph.nodes[-1])[:160]}"
        )
    own = set(graph.nodes[last].parameters.values())
    for group in graph.ties:
        if own & set(group):
            raise NotApplicable(
                f"the last layer's tensors are tied with others ({', '.join(group)[:160]}), so the "
                "last layer cannot be trained by itself; give it tensors of its own"
            )
    return last


def _refuse_frozen_head(graph: Graph, last: int, declared: Declared) -> None:
    weight = graph.nodes[last].parameters["weight"]
    if weight in (declared.frozen or frozenset()):
        raise NotApplicable(
            f"the last layer's weight {weight} is declared frozen, and the condition speaks about "
            "networks whose last layer is trained"
        )


def goal_of(problem: Problem) -> str:
    """The verdict is always about the existence of weights."""
    return GOAL


def describe(problem: Problem) -> dict[str, str]:
    """Return what was declared or derived, as exact text."""
    told = problem.declared
    frozen = "not declared" if told.frozen is None else ", ".join(sorted(told.frozen)) or "none"
    lines = {
        "samples n": str(problem.n),
        "features m_H": str(problem.width),
        "outputs m_y": str(problem.outputs),
        "column of ones": "yes" if problem.ones else "no",
        "frozen": frozen,
    }
    if told.divisor != 1:
        lines["inputs"] = f"the stored numbers divided by {told.divisor}, exactly"
    if told.loss is not None:
        lines["loss"] = told.loss
    return lines


def changed(problem: Problem, kind: str) -> Graph:
    """Return the network with other trained hidden weights; kind is ``perturbed`` or ``random``.

    Perturbed: each entry w becomes w + s r g with r the root mean square of its tensor (1 for a
    tensor of zeros), s the declared scale, g standard normal. Random: weights of linear and
    convolution layers are normal with standard deviation 2/(sqrt(fan in) q), q the root mean
    square of the samples at the first layer and 1 later; biases are standard normal. The seed
    proposes; what is certified are the very numbers drawn, which the certificate stores. A tensor
    that would leave the range of binary64 stays as it is stored.
    """
    # Only float64 numbers are drawn, so whatever the generator does they are exact weights.
    # Tied tensors keep their values: the stored ones are among those that training may reach.
    draw = np.random.default_rng([problem.declared.seed, 0 if kind == "perturbed" else 1])
    kept = {role for group in problem.graph.ties for role in group}
    kept |= problem.declared.frozen or frozenset()
    stored = dict(problem.graph.stored)
    make = _perturb if kind == "perturbed" else _draw
    for role in problem.hidden:
        if role not in kept and not role.startswith("constant"):
            drawn = make(problem, role, draw)
            stored[role] = drawn if np.isfinite(drawn).all() else stored[role]
    return Graph(problem.graph.nodes, stored, problem.graph.ties, problem.graph.notes)


def _perturb(problem: Problem, role: str, draw: np.random.Generator) -> Any:
    values = problem.graph.stored[role]
    size = _root_mean_square(values) or 1.0
    noise = draw.standard_normal(values.shape)
    with np.errstate(over="ignore", invalid="ignore"):
        return values + float(problem.declared.scale) * size * noise


def _root_mean_square(values: Any) -> float:
    # Squares of large numbers would overflow; scaling by a power of two rounds nothing.
    unit = math.ldexp(1.0, max(-1000, math.frexp(float(np.abs(values).max()))[1] - 1))
    return unit * float(np.sqrt(np.mean((values / unit) ** 2)))


def _draw(problem: Problem, role: str, draw: np.random.Generator) -> Any:
    values = problem.graph.stored[role]
    noise = draw.standard_normal(values.shape)
    name, _, slot = role.rpartition(".")
    if slot != "weight" or not name.startswith(("linear", "conv")):
        return values + noise if slot == "bias" else values
    divisor = float(problem.declared.divisor)
    first = name in ("linear1", "conv1")
    size = _root_mean_square(problem.inputs.values) / divisor if first else 1.0
    fan_in = max(1, values[0].size)
    with np.errstate(over="ignore", invalid="ignore"):
        return noise * (2.0 / math.sqrt(fan_in) / (size or 1.0))

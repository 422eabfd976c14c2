"""What a claim of the expressivity condition rests on: reachable weights, and each hypothesis."""

from __future__ import annotations

import time
from fractions import Fraction
from typing import Any

import numpy as np
import pytest

from verify.condition import Effort, NotApplicable
from verify.network import Activation, Data, Feedforward, Graph, GraphBuilder
from verify.verdict import Truth
from verify_conditions.expressivity import checklist, evidence
from verify_conditions.expressivity import quantities as q
from verify_conditions.expressivity.checklist import theorem_d
from verify_conditions.expressivity.problem import Problem, changed, prepare
from verify_kernels.forward.inputs import Inputs

NONE: frozenset[str] = frozenset()
X = np.random.default_rng(1).normal(size=(5, 3))
EPSILON = {"epsilon": Fraction(1, 100_000)}


class Net:
    """A graph under construction."""

    def __init__(self) -> None:
        self.builder = GraphBuilder()
        self.place, self.count = self.builder.input((3,)), 0

    def add(self, op: str, told: Any = None, tensors: Any = None, reads: Any = None) -> Net:
        self.count += 1
        named = {slot: (f"{slot}{self.count}", np.array(v)) for slot, v in (tensors or {}).items()}
        self.place = self.builder.add(op, reads or (self.place,), told or {}, named)
        return self

    def linear(self, width: int, weight: float = 0.5) -> Net:
        shape = (width, *self.builder.shape(self.place))
        return self.add("linear", {}, {"weight": np.full(shape, weight), "bias": np.ones(width)})

    def norm(self, *, training: bool = False, **slots: Any) -> Net:
        return self.add("batch_norm", {**EPSILON, "training": training}, slots)

    def act(self, text: str) -> Net:
        return self.add("activation", {"activation": Activation.parse(text)})

    def graph(self) -> Graph:
        return self.linear(2).builder.build(self.place)


def fact(graph: Graph, name: str, frozen: frozenset[str] | None = NONE) -> Truth:
    assert graph.last_affine is not None
    place = graph.nodes[graph.last_affine].inputs[0]
    found = theorem_d(graph, place, Inputs.of(X, (3,)), frozen, True)[name].value
    assert isinstance(found, Truth)
    return found


def problem(network: Any, **settings: str) -> Problem:
    return prepare(network, Data(X), None, settings)


def norm_of(**slots: Any) -> Graph:
    given = {"weight": [1.0, 1.0], "bias": [0.0, 0.0], "mean": [0.0, 0.0], "variance": [1.0, 1.0]}
    return Net().linear(2).norm(**(given | slots)).act("tanh").graph()


@pytest.mark.parametrize("place", [0, 1])
def test_one_channel_without_a_value_is_one_too_many(place: int) -> None:
    variance = [1.0, 1.0]
    variance[place] = -1.0
    assert fact(norm_of(variance=variance), checklist.SCALES) is Truth.REFUTED


@pytest.mark.parametrize("place", [0, 1])
def test_one_frozen_scale_of_zero_is_one_too_many(place: int) -> None:
    weight = [1.0, 1.0]
    weight[place] = 0.0
    frozen = frozenset({"batch_norm1.weight"})
    assert fact(norm_of(weight=weight), checklist.SCALES, frozen) is Truth.REFUTED
    assert fact(norm_of(weight=weight), checklist.SCALES, None) is Truth.UNDECIDED


def test_a_sum_before_what_may_not_be_monotone_is_left_open(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    net = Net().linear(2)
    skip = net.place
    net.linear(3).act("tanh").linear(2)
    net.add("add", reads=(skip, net.place)).act("tanh").linear(6).act("tanh")
    graph = net.graph()
    assert fact(graph, checklist.SUMS) is Truth.PROVED
    monkeypatch.setattr(checklist, "is_strictly_monotone", lambda sigma: Truth.UNDECIDED)
    assert fact(graph, checklist.SUMS) is Truth.UNDECIDED


def test_a_frozen_bias_counts_unless_a_batch_norm_of_a_layer_has_another() -> None:
    stem = Net().linear(4).linear(5).act("tanh").graph()
    assert fact(stem, checklist.FREE, frozenset({"linear1.bias"})) is Truth.REFUTED
    slots = {"weight": [1.0] * 4, "bias": [0.0] * 4, "mean": [0.0] * 4, "variance": [1.0] * 4}
    normed = Net().linear(4).norm(**slots).linear(5).act("tanh").graph()
    assert fact(normed, checklist.FREE, frozenset({"linear1.bias"})) is Truth.REFUTED
    layer = Net().linear(4).norm(**slots).act("tanh").graph()
    assert fact(layer, checklist.FREE, frozenset({"linear1.bias"})) is Truth.PROVED


def test_a_layer_whose_biases_are_all_frozen_has_none_that_is_free() -> None:
    both = frozenset({"linear1.bias", "batch_norm1.bias"})
    assert fact(norm_of(), checklist.BIASES, both) is Truth.REFUTED
    for role in both:
        assert fact(norm_of(), checklist.BIASES, frozenset({role})) is Truth.PROVED


def test_training_forms_are_not_spoken_about() -> None:
    slots = {"mean": [0.0, 0.0], "variance": [1.0, 1.0]}
    with pytest.raises(NotApplicable, match="batch norm in training form"):
        problem(Net().linear(2).norm(training=True, **slots).act("tanh").graph())


@pytest.mark.parametrize("kind", ["perturbed", "random"])
def test_statistics_and_frozen_tensors_are_drawn_by_nobody(kind: str) -> None:
    given = problem(norm_of(), frozen="linear1.bias")
    after = changed(given, kind).stored
    kept = ("batch_norm1.mean", "batch_norm1.variance", "linear1.bias", "linear2.weight")
    for role in kept:
        assert np.array_equal(after[role], given.graph.stored[role])
    assert not np.array_equal(after["linear1.weight"], given.graph.stored["linear1.weight"])


@pytest.mark.parametrize("kind", ["perturbed", "random"])
def test_tied_tensors_stay_equal(kind: str) -> None:
    shared = np.eye(3)
    net = Net()
    net.add("linear", {}, {"weight": shared}).act("tanh").linear(4).act("tanh")
    graph = net.graph()
    tied = Graph(graph.nodes, graph.stored, (("linear1.weight", "linear2.weight"),), graph.notes)
    after = changed(problem(tied, frozen="none"), kind).stored
    for role in ("linear1.weight", "linear2.weight"):
        assert np.array_equal(after[role], graph.stored[role])
    assert not np.array_equal(after["linear2.bias"], graph.stored["linear2.bias"])


def dead_at_the_stored_weights() -> Feedforward:
    return Feedforward(
        (np.zeros((40, 3)), np.ones((1, 40))), (np.zeros(40), np.zeros(1)),
        (Activation.parse("relu"),),
    )  # fmt: skip


@pytest.mark.parametrize("item", [q.RANK_P, q.MINOR, q.LAMBDA_MIN])
def test_evidence_is_of_the_weights_it_names(item: Any) -> None:
    """Rank 1 at the stored weights of zero, and rank n at those that are drawn."""
    effort = Effort(deadline=time.monotonic() + 20.0)
    ends = {}
    for which in ("stored", "random"):
        given = problem(dead_at_the_stored_weights(), frozen="none")
        found = evidence.witness_binding(item, which).compute(given, effort, None)
        ends[which] = found.enclosure().lo
        assert found.assumes or item is q.MINOR  # products of floats are taken for granted
    assert ends["random"] > ends["stored"]
    assert ends["stored"] <= (1 if item is q.RANK_P else 0)


def test_drawn_weights_need_a_declaration() -> None:
    bind = evidence.witness_binding(q.DRAWN, "random")
    assert bind.compute(problem(norm_of()), Effort(), None).value is Truth.UNDECIDED
    assert bind.compute(problem(norm_of(), frozen="none"), Effort(), None).value is Truth.PROVED

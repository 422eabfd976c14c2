"""The checklist of Theorem D, with the examples that each of its hypotheses excludes."""

from __future__ import annotations

import re
from fractions import Fraction

import numpy as np
import pytest

from verify.errors import InputError
from verify.network import Activation, Feedforward, GraphBuilder
from verify.verdict import Truth
from verify_conditions.expressivity import checklist as names
from verify_conditions.expressivity.checklist import FACTS, theorem_d
from verify_kernels.forward.inputs import Inputs
from verify_kernels.structure import rank_bound_by_symmetry, rank_bound_by_width

NONE: frozenset[str] = frozenset()
RNG = np.random.default_rng(5)


class Chain:
    """Builds a graph stage by stage."""

    def __init__(self, *shape):
        self.builder = GraphBuilder()
        self.place = self.builder.input(shape)
        self.count = 0

    def add(self, op, attributes=None, tensors=None, inputs=None):
        self.count += 1
        named = {slot: (f"{slot}{self.count}", np.array(v)) for slot, v in (tensors or {}).items()}
        reads = (self.place,) if inputs is None else inputs
        self.place = self.builder.add(op, reads, attributes or {}, named)
        return self

    def linear(self, width, *, bias=True, scale=1.0):
        (before,) = self.builder.shape(self.place)
        tensors = {"weight": scale * RNG.normal(size=(width, before))}
        if bias:
            tensors["bias"] = RNG.normal(size=width)
        return self.add("linear", {}, tensors)

    def act(self, text):
        return self.add("activation", {"activation": Activation.parse(text)})

    def norm(self, *, weight=1.0, bias=0.0, mean=0.0, variance=1.0, training=False):
        (width,) = self.builder.shape(self.place)
        given = {"weight": weight, "bias": bias, "mean": mean, "variance": variance}
        tensors = {slot: np.full(width, v) for slot, v in given.items() if v is not None}
        return self.add(
            "batch_norm", {"epsilon": Fraction(1, 100_000), "training": training}, tensors
        )

    def block(self, text, *, inner=3, bias=True, ends="linear"):
        skip = self.place
        (width,) = self.builder.shape(skip)
        self.linear(inner, bias=bias).act(text).linear(width, bias=bias)
        if ends == "activation":
            self.act(text)
        return self.add("add", inputs=(skip, self.place))

    def facts(self, X, *, frozen=NONE, ones=True):
        graph, place, inputs = self.asked(X)
        return theorem_d(graph, place, inputs, frozen, ones)

    def asked(self, X):
        self.linear(2)
        graph = self.builder.build(self.place)
        place = graph.nodes[graph.last_affine].inputs[0]
        return graph, place, Inputs.of(X, graph.sample_shape)


def open_facts(facts):
    assert tuple(facts) == FACTS
    return {name: fact.value for name, fact in facts.items() if fact.value is not Truth.PROVED}


def data(n, *shape):
    return np.random.default_rng(1).normal(size=(n, *(shape or (3,))))


def test_a_plain_network_passes():
    assert not open_facts(Chain(3).linear(1).act("tanh").linear(4).act("tanh").facts(data(5)))


@pytest.mark.parametrize("text", ["softplus(100)", "sigmoid", "gelu", "silu", "sin", "relu",
                                  "log(1+exp(z))", "z*exp(-z**2)", "1/(2+sin(z))"])  # fmt: skip
def test_activations_of_the_theorem(text):
    assert not open_facts(Chain(3).linear(2).act(text).linear(4).act(text).facts(data(5)))


@pytest.mark.parametrize(
    ("text", "truth"),
    [
        ("square", Truth.REFUTED), ("identity", Truth.REFUTED), ("z**3 - z", Truth.REFUTED),
        ("leaky_relu(0.1)", Truth.REFUTED), ("leaky_relu(1)", Truth.REFUTED),
        ("elu", Truth.REFUTED), ("softsign", Truth.REFUTED), ("abs", Truth.REFUTED),
        ("Max(z, 0)", Truth.REFUTED), ("sin(z)**2 + cos(z)**2", Truth.UNDECIDED),
        ("exp(z) + exp(-z)", Truth.UNDECIDED), ("sqrt(z**2)", Truth.REFUTED),
    ],
)  # fmt: skip
def test_other_activations(text, truth):
    found = open_facts(Chain(3).linear(4).act(text).facts(data(5)))
    assert found == {names.ACTIVATION: truth}


def test_mixed_activations_are_left_out():
    chain = Chain(3).linear(4).act("tanh").linear(4).act("softplus")
    assert open_facts(chain.facts(data(5))) == {names.ACTIVATION: Truth.REFUTED}


@pytest.mark.parametrize(("width", "ones", "passes"), [
    (4, True, True), (3, True, False), (5, False, True), (4, False, False),
])  # fmt: skip
def test_width_with_and_without_the_column_of_ones(width, ones, passes):
    found = open_facts(Chain(3).linear(width).act("tanh").facts(data(5), ones=ones))
    assert found == ({} if passes else {names.WIDTH: Truth.REFUTED})


def test_undeclared_is_undecided_and_says_what_to_declare():
    facts = Chain(3).linear(4).act("tanh").facts(data(5), frozen=None)
    assert open_facts(facts) == {names.BIASES: Truth.UNDECIDED, names.FREE: Truth.UNDECIDED}
    assert "--set expressivity.frozen=none" in facts[names.FREE].why_open


@pytest.mark.parametrize("role", ["linear1.weight", "linear2.weight", "linear1.bias"])
def test_frozen_hidden_layers(role):
    facts = (
        Chain(3)
        .linear(3)
        .act("tanh")
        .linear(4)
        .act("tanh")
        .facts(data(5), frozen=frozenset({role}))
    )
    assert Truth.REFUTED in (facts[names.FREE].value, facts[names.BIASES].value)


def test_a_frozen_last_layer_changes_nothing():
    chain = Chain(3).linear(4).act("tanh")
    assert not open_facts(chain.facts(data(5), frozen=frozenset({"linear2.weight"})))


def test_an_unknown_role_is_refused():
    with pytest.raises(InputError, match=re.escape("frozen: expected one of linear1.bias")):
        Chain(3).linear(4).act("tanh").facts(data(5), frozen=frozenset({"W1"}))


def test_tied_layers():
    W, b = RNG.normal(size=(5, 5)), np.zeros(5)
    net = Feedforward((W, W, np.ones((2, 5))), (b, b, None), (Activation.parse("tanh"),) * 2,
                      (("W1", "W2"),))  # fmt: skip
    graph = net.graph()
    place = graph.nodes[graph.last_affine].inputs[0]
    facts = theorem_d(graph, place, Inputs.of(data(5, 5), (5,)), NONE, False)
    assert open_facts(facts) == {names.FREE: Truth.REFUTED}


def test_a_mask_is_no_dense_layer():
    chain = Chain(3).linear(4).act("tanh")
    before = chain.place
    mask = chain.add("constant", {}, {"value": np.array([1.0, 0.0, 1.0, 1.0])}, ()).place
    facts = chain.add("mul", inputs=(before, mask)).linear(4).act("tanh").facts(data(5))
    assert open_facts(facts)[names.DENSE] is Truth.REFUTED


def test_rows_that_differ_in_the_sign_of_a_zero():
    X = data(4)
    X[2] = X[0]
    X[0, 1], X[2, 1] = 0.0, -0.0
    facts = Chain(3).linear(9).act("tanh").facts(X)
    assert open_facts(facts) == {names.DISTINCT: Truth.REFUTED}
    assert dict(facts[names.DISTINCT].witness.data) == {"i": 0, "j": 2, "after": "x"}


def test_rows_that_differ_by_the_smallest_number():
    X = data(4)
    X[2] = X[0]
    X[0, 1], X[2, 1] = 0.0, 2.0**-1074
    assert not open_facts(Chain(3).linear(9).act("tanh").facts(X))


def test_missing_hidden_biases():
    chain = Chain(3).linear(4, bias=False).act("tanh").linear(4).act("tanh")
    assert open_facts(chain.facts(data(5))) == {names.BIASES: Truth.REFUTED}


def test_a_linear_stem_needs_no_bias():
    chain = Chain(3).linear(4, bias=False).linear(4).act("tanh")
    assert not open_facts(chain.facts(data(5)))


def test_a_convolution_is_not_dense():
    chain = Chain(1, 4, 4)
    told = {"strides": (1, 1), "padding": ((0, 0), (0, 0)), "dilations": (1, 1), "groups": 1}
    chain.add("conv", told, {"weight": RNG.normal(size=(2, 1, 3, 3)), "bias": np.zeros(2)})
    chain.act("tanh").add("reshape", {"shape": (8,)})
    assert open_facts(chain.facts(data(5, 1, 4, 4)))[names.DENSE] is Truth.REFUTED


def test_flattening_and_scaling_at_the_start():
    chain = Chain(1, 2, 2).add("affine", {"factor": Fraction(1, 255), "offset": Fraction(-1, 2)})
    chain.add("reshape", {"shape": (4,)}).linear(4).act("softplus")
    assert not open_facts(chain.facts(data(5, 1, 2, 2)))
    chain = Chain(4).add("affine", {"factor": Fraction(0), "offset": Fraction(1)})
    found = open_facts(chain.linear(4).act("softplus").facts(data(5, 4)))
    assert found[names.DENSE] is Truth.REFUTED


def test_the_last_residual_block_of_the_notes():
    """h0 + U sigma(V h0 + c), inner width 1, linear stem, scalar data: rank at most 3."""
    chain = Chain(1).linear(10).block("tanh", inner=1)
    graph, place, inputs = chain.asked(data(6, 1))
    facts = theorem_d(graph, place, inputs, NONE, True)
    assert open_facts(facts) == {names.LAST: Truth.REFUTED}
    assert rank_bound_by_width(graph, place, inputs, None, True).enclosure().hi == 3


@pytest.mark.parametrize(("text", "truth"), [
    ("tanh", Truth.PROVED), ("softplus", Truth.PROVED), ("sin", Truth.REFUTED),
    ("silu", Truth.REFUTED), ("gelu", Truth.REFUTED), ("relu", Truth.REFUTED),
])  # fmt: skip
def test_an_activation_after_a_sum(text, truth):
    inside = Chain(3).linear(4).block(text).linear(4).act(text)
    assert not open_facts(inside.facts(data(5)))
    chain = Chain(3).linear(4).block(text).act(text).linear(4).act(text)
    assert chain.facts(data(5))[names.SUMS].value is truth


def test_a_branch_that_cannot_be_set_to_zero():
    chain = Chain(3).linear(4).block("tanh", ends="activation").linear(4).act("tanh")
    assert open_facts(chain.facts(data(5)))[names.DENSE] is Truth.REFUTED
    chain = Chain(3).linear(4).block("tanh").linear(4).act("tanh")
    facts = chain.facts(data(5), frozen=frozenset({"linear3.weight"}))
    assert open_facts(facts) == {names.FREE: Truth.REFUTED}


def test_a_sum_of_the_sample_and_itself_is_no_block():
    chain = Chain(3)
    chain.add("add", inputs=(chain.place, chain.place)).linear(4).act("tanh")
    assert open_facts(chain.facts(data(5)))[names.DENSE] is Truth.REFUTED


def test_batch_norm_with_a_free_bias():
    chain = Chain(3).linear(4, bias=False).norm(mean=0.3).act("tanh").linear(4).norm().act("tanh")
    assert not open_facts(chain.facts(data(5)))


def test_batch_norm_without_a_free_bias_on_symmetric_data():
    x = np.array([[1.0, 2.0], [3.0, -1.0]])
    X = np.concatenate([x, -x, np.zeros((1, 2))])
    chain = Chain(2).linear(8, bias=False).norm(weight=None, bias=None).act("tanh")
    graph, place, inputs = chain.asked(X)
    facts = theorem_d(graph, place, inputs, NONE, True)
    assert open_facts(facts) == {names.BIASES: Truth.REFUTED}
    assert rank_bound_by_symmetry(graph, place, inputs, None, True).enclosure().hi == 3


def test_batch_norm_with_a_frozen_scale_of_zero():
    norm = frozenset({"batch_norm1.weight"})
    for weight, frozen, truth in [
        (0.0, norm, Truth.REFUTED),
        (0.0, NONE, Truth.PROVED),
        (0.0, None, Truth.UNDECIDED),
        (2.0, norm, Truth.PROVED),
    ]:
        chain = Chain(3).linear(4).norm(weight=weight).act("tanh")
        assert chain.facts(data(5), frozen=frozen)[names.SCALES].value is truth


def test_batch_norm_in_training_form_or_undefined():
    for told in ({"training": True}, {"variance": -1.0}, {"variance": -(2.0**-17)}):
        facts = Chain(3).linear(4).norm(**told).act("tanh").facts(data(5))
        truth = Truth.PROVED if told == {"variance": -(2.0**-17)} else Truth.REFUTED
        assert facts[names.SCALES].value is truth


def test_batch_norm_after_the_last_activation_is_not_plain():
    chain = Chain(3).linear(4).act("tanh").norm()
    assert open_facts(chain.facts(data(5))) == {names.LAST: Truth.REFUTED}

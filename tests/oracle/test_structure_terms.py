"""What holds for every choice of the weights: overflow, pieces that are read, and signs."""

from __future__ import annotations

from fractions import Fraction
from typing import Any

import numpy as np
import pytest

from verify.network import Activation, Graph, GraphBuilder
from verify.verdict import Truth
from verify_kernels.exact_forward.rational import rational_features
from verify_kernels.forward.inputs import Inputs
from verify_kernels.structure import (
    find_merged_samples,
    is_analytic,
    is_polynomial,
    polynomial,
    polynomial_dimension,
    rank_bound_by_symmetry,
)
from verify_kernels.structure.analytic import exponents
from verify_kernels.structure.fixed_maps import find_frontier

Tensors = dict[str, Any]


class Net:
    """A graph under construction."""

    def __init__(self, *shape: int) -> None:
        self.builder = GraphBuilder()
        self.place = self.builder.input(shape)
        self.count = 0

    def add(
        self, op: str, told: Any = None, tensors: Tensors | None = None, reads: Any = None
    ) -> Net:
        self.count += 1
        named = {slot: (f"{slot}{self.count}", np.array(v)) for slot, v in (tensors or {}).items()}
        reads = (self.place,) if reads is None else reads
        self.place = self.builder.add(op, reads, told or {}, named)
        return self

    def act(self, text: str) -> Net:
        return self.add("activation", {"activation": Activation.parse(text)})

    def features(self) -> tuple[Graph, int]:
        """Return the graph, after a last layer is put on top, and the place of its features."""
        width = int(np.prod(self.builder.shape(self.place)))
        self.add("reshape", {"shape": (width,)})
        graph = self.add("linear", {}, {"weight": np.ones((1, width))}).builder.build(self.place)
        assert graph.last_affine is not None
        return graph, graph.nodes[graph.last_affine].inputs[0]


WINDOW = {"strides": (1,), "padding": ((1, 1),)}
MACHINE = {
    "average": lambda net: net.add(
        "average_pool", {**WINDOW, "kernel": (3,), "count_padding": True}),
    "inner average": lambda net: net.add(
        "average_pool", {**WINDOW, "kernel": (3,), "count_padding": False}),
    "inner average of five": lambda net: net.add(
        "average_pool",
        {"kernel": (5,), "strides": (1,), "padding": ((2, 2),), "count_padding": False}),
    "adaptive": lambda net: net.add("adaptive_average_pool", {"size": (3,)}),
    "maximum": lambda net: net.add("max_pool", {**WINDOW, "kernel": (3,), "dilations": (1,)}),
    "mean": lambda net: net.add("mean", {"axes": (1,)}),
    "pad": lambda net: net.add("pad", {"amounts": ((0, 0), (1, 1)), "value": Fraction(2**64, 3)}),
    "pad with a negative number": lambda net: net.add(
        "pad", {"amounts": ((0, 0), (0, 2)), "value": Fraction(-(2**62) - 1)}),
    "affine": lambda net: net.add(
        "affine", {"factor": Fraction(3), "offset": Fraction(2**62 + 1)}),
    "sum": lambda net: net.add("add", reads=(net.place, net.place)),
    "product": lambda net: net.add("mul", reads=(net.place, net.place)),
    "square": lambda net: net.act("square"),
    "leaky": lambda net: net.act("leaky_relu(1/3)"),
    "relu6": lambda net: net.act("relu6"),
    "hardtanh": lambda net: net.act("hardtanh"),
    "nearest": lambda net: net.add(
        "affine", {"factor": Fraction(1, 3), "offset": Fraction(0)}).add(
        "round", {"how": "nearest"}),
    "floor of halves": lambda net: net.add(
        "affine", {"factor": Fraction(1, 2), "offset": Fraction(0)}).add("round", {"how": "floor"}),
    "halves to even": lambda net: net.add(
        "affine", {"factor": Fraction(1, 2), "offset": Fraction(0)}).add(
        "round", {"how": "nearest"}),
    "linear": lambda net: net.add(
        "linear", {}, {"weight": np.array([[1.0, -1, 1, -1, 1, 1, 1], [3.0] * 7]),
                       "bias": np.array([2.0**61, -(2.0**61)])}),
    "convolution": lambda net: net.add(
        "conv", {**WINDOW, "dilations": (1,), "groups": 2},
        {"weight": np.array([[[1.0, 2, 1]], [[3.0, -1, 3]]]), "bias": np.array([1.0, 2.0**61])}),
}  # fmt: skip


@pytest.mark.parametrize("name", MACHINE)
def test_integers_at_the_end_of_64_bits_do_not_wrap_around(name: str) -> None:
    rng, wide = np.random.default_rng(2), 0
    for power in range(54, 65):
        X = rng.integers(-3, 4, (4, 2, 7)) * 1.0
        large = rng.random(X.shape) < 0.6
        X[large] = np.sign(X[large]) * 2.0**power
        X[0] = 2.0**power  # all of one sign, and one odd number that fixes the denominator
        X[0, 0, 0] = X[1, 0, 0] = 1.0
        graph, place = MACHINE[name](Net(2, 7)).features()
        inputs = Inputs.of(X, (2, 7))
        (found,) = find_frontier(graph, place, inputs, frozenset(graph.stored)).rows()
        exact = rational_features(graph, place, inputs).matrix
        true = [Fraction(int(v.p), int(v.q)) for v in exact.entries()]
        assert found.fractions().ravel().tolist() == true
        wide += int(max(map(abs, true)) > 2**53)
    assert wide or name in ("relu6", "hardtanh")


@pytest.mark.parametrize("name", ["hardtanh", "relu6"])
def test_clipping_of_tiny_numbers_is_exact(name: str) -> None:
    """Over the common denominator the ends are far longer than the numbers."""
    X = np.array([[2.0**-200, -3 * 2.0**-200], [7 * 2.0**-200, 0.0]])
    graph, place = Net(2).act(name).features()
    (found,) = find_frontier(graph, place, Inputs.of(X, (2,)), frozenset(graph.stored)).rows()
    true = np.maximum(X, 0.0) if name == "relu6" else X
    assert found.fractions().ravel().tolist() == [Fraction(v) for v in true.ravel().tolist()]


def test_columns_that_one_result_reads_are_read() -> None:
    """Of three results one is used: a matrix still reads all of the sample."""
    X = np.array([[1.0, 2.0], [3.0, 4.0]])
    net = Net(2).add("linear", {}, {"weight": np.ones((3, 2))})
    net.add("slice", {"axis": 0, "start": 2, "stop": 3, "step": 1}).act("tanh")
    assert find_merged_samples(*net.features(), Inputs.of(X, (2,)), None).value is not Truth.PROVED


def test_channels_that_one_result_reads_are_read() -> None:
    X = np.array([[[1.0, 2.0]], [[3.0, 4.0]]])
    told = {"strides": (1,), "padding": ((0, 0),), "dilations": (1,), "groups": 1}
    net = Net(1, 2).add("conv", told, {"weight": np.ones((2, 1, 2))})
    net.add("slice", {"axis": 0, "start": 1, "stop": 2, "step": 1}).act("tanh")
    asked = (*net.features(), Inputs.of(X, (1, 2)), None)
    assert find_merged_samples(*asked).value is not Truth.PROVED


def test_what_was_broadcast_is_read_where_any_copy_is() -> None:
    X = np.array([[1.0, 2.0], [3.0, 4.0]])
    net = Net(2)
    net.add("reshape", {"shape": (1, 2)})
    sample = net.place
    net.add("constant", {}, {"value": np.ones((3, 2))}, ())
    net.add("add", reads=(sample, net.place))
    net.add("slice", {"axis": 0, "start": 2, "stop": 3, "step": 1})
    net.add("reshape", {"shape": (2,)}).add("linear", {}, {"weight": np.ones((2, 2))}).act("tanh")
    assert find_merged_samples(*net.features(), Inputs.of(X, (2,)), None).value is not Truth.PROVED


def test_a_sample_that_one_of_two_fixed_maps_sends_to_zero_is_not_zero() -> None:
    net = Net(2)
    sample = net.place
    net.add("linear", {}, {"weight": np.array([[0.0, 1.0]])})  # frozen
    net.add("linear", {}, {"weight": np.ones((4, 1))})
    second = net.place
    net.place = sample
    net.add("linear", {}, {"weight": np.ones((4, 2))})
    net.add("add", reads=(net.place, second)).act("tanh")
    inputs = Inputs.of(np.eye(2), (2,))
    graph, place = net.features()
    frozen = frozenset(role for role, values in graph.stored.items() if values.shape == (1, 2))
    found = rank_bound_by_symmetry(graph, place, inputs, frozen, False)
    assert found.enclosure().hi >= 2


def test_an_unlucky_prime_bounds_no_rank_from_above(monkeypatch: pytest.MonkeyPatch) -> None:
    net = Net(1).add("linear", {}, {"weight": np.ones((4, 1)), "bias": np.ones(4)}).act("square")
    inputs = Inputs.of(np.array([[0.0], [1.0], [3.0]]), (1,))  # 1, x, x^2: independent
    asked = (*net.features(), inputs, frozenset())
    assert polynomial_dimension(*asked).enclosure().lo == 3
    monkeypatch.setattr(polynomial, "PRIME", 3)
    found = polynomial_dimension(*asked).enclosure()
    assert found.lo < 3 <= found.hi


@pytest.mark.parametrize("text", ["log(1 + z**3)", "sqrt(1 + z**3)", "log(2 + z**5)"])
def test_odd_powers_have_no_sign(text: str) -> None:
    assert is_analytic(Activation.parse(text)) is not Truth.PROVED


def test_a_leaky_relu_is_a_polynomial_of_slope_one_only() -> None:
    assert is_polynomial(Activation.parse("leaky_relu(1/4)")) is Truth.REFUTED
    assert exponents(Activation.parse("leaky_relu(1/4)")) is None
    assert exponents(Activation.parse("leaky_relu(1)")) == {1}


@pytest.mark.parametrize("kernels", [(1, 2), (2, 1)])
def test_what_either_of_two_layers_reads_is_read(kernels: tuple[int, int]) -> None:
    X = np.array([[[1.0, 2.0, 3.0, 4.0]], [[1.0, 5.0, 3.0, 4.0]]])
    net, outs = Net(1, 4), []
    sample = net.place
    for kernel in kernels:
        net.place = sample
        told = {"strides": (4,), "padding": ((0, 0),), "dilations": (1,), "groups": 1}
        net.add("conv", told, {"weight": np.ones((2, 1, kernel))})
        outs.append(net.place)
    net.add("add", reads=tuple(outs)).act("tanh")
    asked = (*net.features(), Inputs.of(X, (1, 4)), None)
    assert find_merged_samples(*asked).value is not Truth.PROVED

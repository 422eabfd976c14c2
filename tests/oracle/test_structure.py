"""What holds for every choice of the weights: traps, known ranks, and rules taken away."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction

import numpy as np
import pytest
from flint import fmpq_mat

from verify.errors import InputError
from verify.network import Activation, GraphBuilder
from verify.verdict import Truth
from verify_kernels.exact_forward.rational import rational_features
from verify_kernels.forward.inputs import Inputs
from verify_kernels.structure import (
    equal_samples,
    find_merged_samples,
    fixed_maps,
    is_analytic,
    is_polynomial,
    is_strictly_monotone,
    laws,
    polynomial,
    polynomial_dimension,
    proves_distinct_rows,
    rank_bound_by_symmetry,
    rank_bound_by_width,
    symmetry,
)
from verify_kernels.structure.exact_arrays import exact_of
from verify_kernels.structure.fixed_maps import find_frontier


class Net:
    """A graph under construction; tensors are random quarters."""

    def __init__(self, shape, seed=0):
        self.builder, self.rng = GraphBuilder(), np.random.default_rng(seed)
        self.place = self.builder.input(shape)
        self.count = 0

    def shape(self):
        return self.builder.shape(self.place)

    def numbers(self, *shape):
        return self.rng.integers(-8, 9, shape) / 4.0

    def add(self, op, attributes=None, tensors=None, reads=None):
        self.count += 1
        named = {slot: (f"{slot}{self.count}", np.array(v)) for slot, v in (tensors or {}).items()}
        reads = (self.place,) if reads is None else reads
        self.place = self.builder.add(op, reads, attributes or {}, named)
        return self

    def linear(self, width, *, bias=True):
        weight = {"weight": self.numbers(width, self.shape()[-1])}
        return self.add("linear", {}, weight | ({"bias": self.numbers(width)} if bias else {}))

    def conv(self, out, kernel, *, stride=1, bias=True, groups=1):
        told = {"strides": (stride,) * 2, "padding": ((0, 0),) * 2, "dilations": (1, 1),
                "groups": groups}  # fmt: skip
        weight = {"weight": self.numbers(out, self.shape()[0] // groups, kernel, kernel)}
        return self.add("conv", told, weight | ({"bias": self.numbers(out)} if bias else {}))

    def act(self, text):
        return self.add("activation", {"activation": Activation.parse(text)})

    def flat(self):
        return self.add("reshape", {"shape": (int(np.prod(self.shape())),)})

    def asked(self, X, frozen=None, *, bias=True, divisor=1):
        """Return the arguments of every function, after a last layer is put on top."""
        graph = self.linear(2).builder.build(self.place)
        place = graph.nodes[graph.last_affine].inputs[0]
        return graph, place, Inputs.of(X, graph.sample_shape, divisor), frozen, bias


def same(evidence):
    found = evidence.witness
    return None if found is None else (found.data["i"], found.data["j"])


def images(n, *shape, seed=3):
    return np.random.default_rng(seed).integers(0, 256, (n, *shape)).astype(float)


# Equal samples.


def test_negative_zero_is_zero():
    X = np.array([[0.0, 1.0], [2.0, 3.0], [-0.0, 1.0]])
    graph, place, _, *_ = Net((2,)).linear(3).act("tanh").asked(X)
    raw = Inputs(X)
    assert same(find_merged_samples(graph, place, raw, None)) == (0, 2)
    assert proves_distinct_rows(raw).value is Truth.REFUTED


def test_one_unit_in_the_last_place_is_a_difference():
    X = np.array([[0.1, 1.0], [0.1 * (1 + 2**-52), 1.0], [0.1, 1.0 + 2**-52]])
    found = find_merged_samples(*Net((2,)).linear(3).act("tanh").asked(X))
    assert found.value is Truth.UNDECIDED
    assert proves_distinct_rows(Inputs(X)).value is Truth.PROVED


def test_pooling_of_the_raw_sample():
    X = images(4, 1, 4, 4)
    X[3] = X[1]
    X[3, 0, 0, 0] += 2
    X[3, 0, 1, 1] -= 2
    told = {"kernel": (2, 2), "strides": (2, 2), "padding": ((0, 0),) * 2, "count_padding": True}
    pooled = Net((1, 4, 4)).add("average_pool", told).conv(2, 2).act("tanh").flat()
    assert same(find_merged_samples(*pooled.asked(X))) == (1, 3)
    plain = Net((1, 4, 4)).conv(2, 2).act("tanh").flat()
    assert find_merged_samples(*plain.asked(X)).value is Truth.UNDECIDED
    one = Net((1, 4, 4)).add("adaptive_average_pool", {"size": (1, 1)}).flat().linear(3).act("tanh")
    assert same(find_merged_samples(*one.asked(X))) == (1, 3)


def test_sums_of_very_different_sizes_are_exact():
    X = np.zeros((2, 1, 2, 2))
    X[0, 0] = [[1e300, 1.0], [-1e300, 0.0]]
    X[1, 0] = [[1e300, 1.0 + 2.0**-52], [-1e300, 0.0]]
    told = {"kernel": (2, 2), "strides": (2, 2), "padding": ((0, 0),) * 2, "count_padding": True}
    pooled = Net((1, 2, 2)).add("average_pool", told).flat().linear(3).act("tanh")
    assert find_merged_samples(*pooled.asked(X)).value is Truth.UNDECIDED
    X[1, 0, 0] = [1e300, 1.0]
    X[1, 0, 1] = [-1e300, -0.0]
    assert find_merged_samples(*pooled.asked(X)).value is Truth.PROVED


def test_rounding_halves_to_even_and_the_divisor():
    X = np.array([[2.5], [1.5], [3.5]])
    rounded = Net((1,)).add("round", {"how": "nearest"}).linear(3).act("tanh").asked(X)
    assert same(find_merged_samples(*rounded)) == (0, 1)
    assert list(find_frontier(*rounded[:4]).rows()[0].fractions().ravel()) == [2, 2, 4]
    quantised = Net((1,)).add("affine", {"factor": Fraction(1, 2), "offset": Fraction(0)})
    asked = (
        quantised.add("round", {"how": "floor"})
        .linear(3)
        .act("tanh")
        .asked(np.array([[510.0], [1020.0], [1530.0]]), divisor=255)
    )
    assert find_merged_samples(*asked).value is Truth.UNDECIDED
    values = find_frontier(*asked[:4]).rows()[0].fractions().ravel()
    assert list(values) == [1, 2, 3]


def test_pixels_that_no_window_reads():
    X = images(4, 1, 5, 5)
    X[3] = X[0]
    X[3, 0, 2, 2] += 1
    X[3, 0, :, 4] += 1
    strided = Net((1, 5, 5)).conv(3, 1, stride=3).act("tanh").flat()
    assert same(find_merged_samples(*strided.asked(X))) == (0, 3)
    whole = Net((1, 5, 5)).conv(3, 2, stride=2).act("tanh").flat()
    assert find_merged_samples(*whole.asked(X)).value is Truth.UNDECIDED


def test_a_crop():
    X = images(3, 6)
    X[2, :4] = X[1, :4]
    cut = {"axis": 0, "start": 0, "stop": 4, "step": 1}
    assert same(
        find_merged_samples(*Net((6,)).add("slice", cut).linear(3).act("tanh").asked(X))
    ) == (1, 2)
    late = Net((6,)).act("tanh").add("slice", cut).linear(3).act("tanh")
    assert same(find_merged_samples(*late.asked(X))) == (1, 2)


def test_a_second_path_tells_samples_apart():
    X = images(3, 6)
    X[2, :4] = X[1, :4]
    net = Net((6,))
    whole = net.place
    cut = net.add("slice", {"axis": 0, "start": 0, "stop": 4, "step": 1}).linear(3).place
    net.place = whole
    net.linear(3)
    joined = net.add("add", reads=(cut, net.place)).act("tanh")
    assert find_merged_samples(*joined.asked(X)).value is Truth.UNDECIDED


def test_a_frozen_layer_merges_and_a_trained_one_does_not():
    X = np.array([[-1.0, 0.0], [-3.0, 0.0], [2.0, 1.0]])
    net = Net((2,))
    net.add("linear", {}, {"weight": np.array([[1.0, 0.0], [0.0, 1.0]])}).act("relu")
    asked = net.linear(3).act("tanh").asked(X)
    for frozen in (None, frozenset(), frozenset({"linear2.weight", "linear2.bias"})):
        found = find_merged_samples(*asked[:3], frozen, True)
        assert found.value is Truth.UNDECIDED
    found = find_merged_samples(*asked[:3], frozenset({"linear1.weight"}), True)
    assert same(found) == (0, 1)
    with pytest.raises(InputError, match="frozen: expected one of linear1"):
        find_merged_samples(*asked[:3], frozenset({"W1"}), True)


def test_a_frozen_smooth_layer_is_left_alone():
    X = np.array([[-1.0], [-3.0], [-1.0]])
    asked = Net((1,)).linear(2).act("tanh").linear(3).act("tanh").asked(X)
    frozen = frozenset({"linear1.weight", "linear1.bias"})
    assert same(find_merged_samples(*asked[:3], frozen, True)) == (0, 2)
    assert find_merged_samples(asked[0], asked[1], Inputs(X[:2]), frozen).value is Truth.UNDECIDED


@pytest.mark.parametrize("op", ["dropout", "batch_norm"])
def test_training_form_is_no_function_of_one_sample(op):
    X = np.zeros((3, 2))
    net = Net((2,)).linear(3)
    if op == "dropout":
        net.add("dropout", {"rate": Fraction(1, 2)})
    else:
        told = {"epsilon": Fraction(1, 100), "training": True}
        net.add("batch_norm", told, {"mean": np.zeros(3), "variance": np.ones(3)})
    asked = net.act("tanh").asked(X)
    assert find_merged_samples(*asked).value is Truth.UNDECIDED
    for bound in (polynomial_dimension, rank_bound_by_symmetry, rank_bound_by_width):
        assert not bound(*asked).enclosure().is_bounded


# The exact evaluation of fixed operations against an independent one.

POOL = {"kernel": (2, 3), "strides": (2, 1), "padding": ((1, 0), (1, 1))}
PAD = {"amounts": ((0, 0), (1, 0), (0, 2))}
FIXED = {
    "average": lambda net: net.add("average_pool", {**POOL, "count_padding": True}),
    "inner average": lambda net: net.add("average_pool", {**POOL, "count_padding": False}),
    "maximum": lambda net: net.add("max_pool", {**POOL, "dilations": (1, 2)}),
    "adaptive": lambda net: net.add("adaptive_average_pool", {"size": (3, 2)}),
    "adaptive maximum": lambda net: net.add("adaptive_max_pool", {"size": (3, 2)}),
    "mean": lambda net: net.add("mean", {"axes": (0, 2)}),
    "pad": lambda net: net.add("pad", {**PAD, "value": Fraction(1, 3)}),
    "pad with zeros": lambda net: net.add("pad", {**PAD, "value": Fraction(0)}),
    "transpose": lambda net: net.add("transpose", {"order": (2, 0, 1)}),
    "slice": lambda net: net.add("slice", {"axis": 1, "start": 1, "stop": 4, "step": 2}),
    "affine": lambda net: net.add("affine", {"factor": Fraction(-2, 7), "offset": Fraction(1, 3)}),
    "convolution": lambda net: net.conv(4, 2, groups=2),
    "relu": lambda net: net.conv(4, 2).act("relu"),
    "leaky": lambda net: net.conv(4, 2).act("leaky_relu(1/3)"),
    "square": lambda net: net.conv(4, 2).act("square"),
    "abs": lambda net: net.conv(4, 2).act("abs"),
    "hardtanh": lambda net: net.conv(4, 2).act("hardtanh"),
    "relu6": lambda net: net.conv(4, 2).act("relu6"),
    "floor": lambda net: net.add("round", {"how": "floor"}),
    "ceil": lambda net: net.add("round", {"how": "ceil"}),
    "nearest": lambda net: net.add("round", {"how": "nearest"}),
    "product": lambda net: net.add("mul", reads=(net.place, net.place)),
    "difference": lambda net: net.add("sub", reads=(net.place, net.act("abs").place)),
    "concat": lambda net: net.add("concat", {"axis": 0}, None, (net.place, net.act("abs").place)),
}  # fmt: skip


@pytest.mark.parametrize("name", FIXED)
@pytest.mark.parametrize("size", [1.0, 1e-12, 2.0**70])
def test_fixed_operations_are_exact(name, size):
    rng = np.random.default_rng(len(name))
    X = rng.normal(size=(3, 2, 4, 5)) * size
    X[rng.random(X.shape) < 0.3] = 0.0
    net = FIXED[name](Net((2, 4, 5), seed=len(name)))
    graph = net.flat().builder.build(net.place)
    place = len(graph.nodes) - 1
    inputs = Inputs.of(X, (2, 4, 5), 3)
    told = rational_features(graph, place, inputs)
    frontier = find_frontier(graph, place, inputs, frozenset(graph.stored))
    (k,) = frontier.values
    assert k == place
    found = frontier.values[k].fractions()
    expected = reference(told)
    assert expected.shape == found.shape
    assert (expected == found).all()


def reference(told):
    rows = told.matrix.tolist() if hasattr(told, "matrix") else told.tolist()
    exact = [[Fraction(int(v.p), int(v.q)) for v in row] for row in rows]
    return np.array(exact, dtype=object)


# Polynomials.


def dimension(asked):
    found = polynomial_dimension(*asked).enclosure()
    return found.lo, found.hi


def test_squares_of_scalars_span_three_dimensions():
    assert dimension(Net((1,)).linear(9).act("square").asked(images(5, 1))) == (0, 3)
    assert dimension(Net((1,)).linear(9).act("square").asked(np.arange(3.0)[:, None])) == (3, 3)


@pytest.mark.parametrize(("bias", "ones", "degrees"), [
    (True, True, [0, 1, 2]), (True, False, [0, 1, 2]), (False, True, [0, 2]), (False, False, [2]),
])  # fmt: skip
def test_only_degrees_that_can_occur_count(bias, ones, degrees):
    net = Net((1,)).linear(9, bias=bias).act("square").asked(images(5, 1), bias=ones)
    found = polynomial_dimension(*net)
    assert found.witness.data["degrees"] == degrees
    assert found.enclosure().hi == len(degrees)


def test_a_frozen_zero_bias_counts_as_absent_and_a_trained_one_does_not():
    net = Net((1,))
    net.add("linear", {}, {"weight": net.numbers(9, 1), "bias": np.array([0.0, -0.0] + [0.0] * 7)})
    asked = net.act("square").asked(images(5, 1))
    for frozen, hi in [(None, 3), (frozenset(), 3), (frozenset({"linear1.bias"}), 2)]:
        assert polynomial_dimension(*asked[:3], frozen, True).enclosure().hi == hi


def test_a_linear_network_has_the_rank_of_the_data():
    X = images(6, 2) @ np.array([[1.0, 2.0, 3.0], [0.0, 1.0, 5.0]])
    deep = Net((3,)).linear(9).act("identity").linear(9)
    assert dimension(deep.asked(X)) == (0, 4)
    assert dimension(deep.asked(X[:4])) == (3, 3)
    assert dimension(Net((3,)).linear(9, bias=False).asked(X[:3], bias=False)) == (2, 2)


def test_points_on_a_circle_exactly_and_one_ulp_off():
    X = np.array([[5.0, 0], [0, 5.0], [3, 4], [-3, 4], [-4, 3], [4, -3]]) / 8
    assert dimension(Net((2,)).linear(9).act("square").asked(X)) == (5, 5)
    X[2, 0] *= 1 + 2**-52
    assert dimension(Net((2,)).linear(9).act("square").asked(X)) == (6, 6)


def test_the_relation_holds_for_every_monomial():
    X = np.array([[5.0, 0], [0, 5.0], [3, 4], [-3, 4], [-4, 3], [4, -3]]) / 8
    data = polynomial_dimension(*Net((2,)).linear(9).act("square").asked(X)).witness.data
    exact = [[Fraction(v) for v in X[row]] for row in data["rows"]]
    for i in range(3):
        for j in range(3 - i):
            terms = zip(data["coefficients"], exact, strict=True)
            assert sum(c * x**i * y**j for c, (x, y) in terms) == 0
    assert any(data["coefficients"])


def test_products_and_formulas_and_pooled_variables():
    net = Net((1,)).linear(4)
    first = net.place
    product = net.add("mul", reads=(first, first)).linear(3)
    assert dimension(product.asked(images(8, 1))) == (0, 3)
    cubic = Net((1,)).linear(4, bias=False).act("z**3 - 2*z")
    assert polynomial_dimension(*cubic.asked(images(8, 1))).witness.data["degrees"] == [0, 1, 3]
    told = {"kernel": (2, 2), "strides": (2, 2), "padding": ((0, 0),) * 2, "dilations": (1, 1)}
    pooled = Net((1, 2, 2)).add("max_pool", told).flat().linear(4).act("square")
    assert dimension(pooled.asked(images(8, 1, 2, 2))) == (0, 3)
    late = Net((1, 2, 2)).conv(2, 1).add("max_pool", told).flat().act("square")
    assert not polynomial_dimension(*late.asked(images(8, 1, 2, 2))).enclosure().is_bounded


# Symmetry.

PAIRS = np.array([[1.0, 2.0], [-1.0, -2.0], [3.0, -1.0], [-3.0, 1.0], [0.0, 0.0]])


def bound(asked):
    return rank_bound_by_symmetry(*asked).enclosure().hi


@pytest.mark.parametrize("text", ["tanh", "erf", "sin", "atan", "z**3 - z", "hardtanh"])
def test_odd_networks_on_symmetric_samples(text):
    net = Net((2,)).linear(6, bias=False).act(text).linear(8, bias=False).act(text)
    assert bound(net.asked(PAIRS)) == 3
    net = Net((2,)).linear(6, bias=False).act(text).linear(8, bias=False).act(text)
    assert bound(net.asked(PAIRS, bias=False)) == 2
    net = Net((2,)).linear(8, bias=False).act(text).linear(8)
    assert bound(net.asked(PAIRS)) == 3


def test_biases_break_parity_unless_frozen_at_zero():
    net = Net((2,))
    zero = {"weight": net.numbers(8, 2), "bias": np.zeros(8)}
    asked = net.add("linear", {}, zero).act("tanh").asked(PAIRS)
    assert not rank_bound_by_symmetry(*asked).enclosure().is_bounded
    assert bound((*asked[:3], frozenset({"linear1.bias"}), True)) == 3
    asked = Net((2,)).linear(8).act("tanh").asked(PAIRS, frozenset({"linear1.bias"}))
    assert not rank_bound_by_symmetry(*asked).enclosure().is_bounded


@pytest.mark.parametrize(("mean", "bias", "frozen", "bounded"), [
    (0.0, None, frozenset(), True), (0.5, None, frozenset(), False),
    (0.0, 0.0, frozenset(), False), (0.0, 0.0, frozenset({"batch_norm1.bias"}), True),
    (0.0, 0.5, frozenset({"batch_norm1.bias"}), False),
])  # fmt: skip
def test_batch_norm_and_parity(mean, bias, frozen, bounded):
    net = Net((2,)).linear(8, bias=False)
    tensors = {"mean": np.full(8, mean), "variance": np.ones(8), "weight": np.ones(8)}
    tensors |= {} if bias is None else {"bias": np.full(8, bias)}
    net.add("batch_norm", {"epsilon": Fraction(1, 1000), "training": False}, tensors)
    found = rank_bound_by_symmetry(*net.act("tanh").asked(PAIRS, frozen)).enclosure()
    assert found.is_bounded == bounded
    assert not bounded or found.hi == 3


def test_even_networks_have_equal_rows():
    net = Net((2,)).linear(8, bias=False).act("abs").linear(8).act("softplus")
    assert bound(net.asked(PAIRS)) == 3
    net = Net((2,)).linear(8, bias=False).act("z**2 + cos(z)")
    assert bound(net.asked(PAIRS, bias=False)) == 3


def test_rays_of_a_network_of_relus():
    X = np.array([[1.0, 2.0], [0.5, 1.0], [3.0, 6.0], [1e-300, 2e-300], [0.0, 0.0], [-1.0, -2.0]])
    net = Net((2,)).linear(8, bias=False).act("relu").linear(8, bias=False).act("leaky_relu(1/3)")
    assert bound(net.asked(X)) == 3
    X[3, 0] *= 1 + 2**-52
    net = Net((2,)).linear(8, bias=False).act("relu").linear(8, bias=False).act("relu")
    assert bound(net.asked(X, bias=False)) == 3
    assert bound(Net((2,)).linear(8).act("relu").asked(X)) == np.inf


def test_lines_of_a_linear_network_and_of_squares():
    X = np.array([[1.0, 2.0], [-0.5, -1.0], [3.0, 6.0], [1.0, 0.0]])
    assert bound(Net((2,)).linear(8, bias=False).asked(X)) == 3
    assert bound(Net((2,)).linear(8, bias=False).act("square").asked(X, bias=False)) == 2


def test_images_with_one_brightness():
    X = images(3, 1, 4, 4)
    X = np.concatenate([X, X[:2] / 2, X[:2] / 4])
    net = Net((1, 4, 4)).conv(3, 2, bias=False).act("relu")
    told = {"kernel": (3, 3), "strides": (1, 1), "padding": ((1, 1),) * 2, "dilations": (1, 1)}
    assert bound(net.add("max_pool", told).flat().asked(X)) == 4


def test_the_relation_of_the_odd_network():
    data = rank_bound_by_symmetry(
        *Net((2,)).linear(8, bias=False).act("tanh").asked(PAIRS[[0, 1, 4]])
    ).witness.data
    # Some multiple of r(x) + r(-x) - 2 r(0) = 0.
    by = dict(zip(data["samples"], data["coefficients"], strict=True))
    assert by[0] == by[1] != 0
    assert by[2] == -2 * by[0]


# Widths.


def test_a_convolutional_head_counts_its_channels():
    net = Net((1, 6, 6)).conv(3, 2).act("tanh").add("adaptive_average_pool", {"size": (1, 1)})
    assert rank_bound_by_width(*net.flat().asked(images(9, 1, 6, 6))).enclosure().hi == 4


def test_a_linear_bottleneck_bounds_what_follows_until_the_next_activation():
    narrow = Net((5,)).linear(2).linear(20)
    assert rank_bound_by_width(*narrow.asked(images(9, 5))).enclosure().hi == 3
    wide = Net((5,)).linear(2).linear(20).act("tanh")
    assert rank_bound_by_width(*wide.asked(images(9, 5))).enclosure().hi == 21


# Activations.


@pytest.mark.parametrize("name", ["tanh", "sigmoid", "softplus(3)", "gelu", "gelu_tanh", "silu",
                                  "mish", "erf", "atan", "sin"])  # fmt: skip
def test_smooth_activations_of_the_table(name):
    sigma = Activation.parse(name)
    assert is_analytic(sigma) is Truth.PROVED
    assert is_polynomial(sigma) is Truth.REFUTED
    formula = Activation.parse(f"0 + {sigma.expression()}")
    assert is_analytic(formula) is Truth.PROVED
    assert is_polynomial(formula) is Truth.REFUTED
    assert is_strictly_monotone(sigma) is is_strictly_monotone(formula)


@pytest.mark.parametrize("text", ["sqrt(z**2)", "log(z**2)", "1/z", "z/z", "Abs(z)", "tan(z)",
                                  "Max(z, 0)", "sign(z)", "sqrt(z)", "(z**2)**(1/2)", "1/sin(z)",
                                  "Piecewise((z, z < 0), (z, True))", "log(exp(z) - 1)",
                                  "log(1 + z)", "z**(1/3)", "log(0*z)"])  # fmt: skip
def test_what_is_not_proved_analytic(text):
    assert is_analytic(Activation.parse(text)) is not Truth.PROVED


def test_strictly_decreasing_is_strictly_monotone():
    assert is_strictly_monotone(Activation.parse("exp(-z)")) is Truth.PROVED
    assert is_strictly_monotone(Activation.parse("leaky_relu(1/3)")) is Truth.PROVED
    assert is_strictly_monotone(Activation.parse("leaky_relu(-1/3)")) is Truth.REFUTED
    assert is_strictly_monotone(Activation.parse("0*z")) is not Truth.PROVED


# Rules taken away: each must make a wrong claim appear.


def test_mutation_biases_that_do_not_count(monkeypatch):
    asked = Net((2,)).linear(8).act("tanh").asked(PAIRS)
    rank = 5
    assert bound(asked) >= rank
    monkeypatch.setattr(laws, "adds_constant", lambda *_: False)
    assert bound(asked) < rank
    asked = Net((1,)).linear(9).act("square").asked(np.arange(3.0)[:, None])
    assert dimension(asked)[1] == 3
    monkeypatch.setattr(polynomial, "adds_constant", lambda *_: False)
    assert dimension(asked)[1] < 3


def test_mutation_trained_tensors_that_count_as_fixed(monkeypatch):
    X = np.array([[-1.0], [-3.0], [2.0]])
    net = Net((1,))
    net.add("linear", {}, {"weight": np.array([[1.0]])}).act("relu")
    asked = net.linear(3).act("tanh").asked(X)
    assert find_merged_samples(*asked).value is Truth.UNDECIDED
    monkeypatch.setattr(fixed_maps, "is_trained", lambda graph, k, frozen: k == 3)
    assert find_merged_samples(*asked).value is Truth.PROVED


def test_mutation_entries_that_are_read(monkeypatch):
    X = images(2, 1, 3, 3)
    X[1] = X[0]
    X[1, 0, 1, 1] += 1
    asked = Net((1, 3, 3)).conv(2, 2).act("tanh").flat().asked(X)
    assert find_merged_samples(*asked).value is Truth.UNDECIDED
    shifted = {"strides": (2, 2), "padding": ((0, 0),) * 2, "dilations": (2, 2), "groups": 1}
    right = fixed_maps.live_before

    def wrong(node, live, shapes, kernel):
        told = replace(node, attributes=shifted) if node.op == "conv" else node
        return right(told, live[:, :1, :1] if node.op == "conv" else live, shapes, kernel)

    monkeypatch.setattr(fixed_maps, "live_before", wrong)
    assert find_merged_samples(*asked).value is Truth.PROVED


def test_mutation_the_sign_of_zero(monkeypatch):
    X = Inputs(np.array([[0.0], [-0.0]]))
    assert proves_distinct_rows(X).value is Truth.REFUTED
    monkeypatch.setattr(
        equal_samples, "exact_of", lambda values: replace(exact_of(values), numbers=values)
    )
    assert proves_distinct_rows(X).value is Truth.PROVED


def exact_rank(asked):
    """Return the rank of Z at the stored weights, exactly."""
    graph, place, inputs, _, ones = asked
    rows = rational_features(graph, place, inputs).matrix.tolist()
    return fmpq_mat([[*row, 1] if ones else row for row in rows]).rank()


def test_mutation_the_column_of_ones(monkeypatch):
    asked = Net((2,)).linear(8, bias=False).act("z**3 - z").asked(PAIRS)
    rank = exact_rank(asked)
    assert bound(asked) == rank == 3
    right = symmetry._rank
    monkeypatch.setattr(symmetry, "_rank", lambda classes, law, ones: right(classes, law, False))
    assert bound(asked) < rank


def test_mutation_the_degree_of_an_activation(monkeypatch):
    asked = Net((1,)).linear(9).act("square").asked(images(5, 1))
    rank = exact_rank(asked)
    assert dimension(asked)[1] == rank == 3
    monkeypatch.setattr(polynomial, "exponents", lambda sigma: frozenset({1}))
    assert dimension(asked)[1] < rank


def test_mutation_a_parity_that_is_assumed(monkeypatch):
    asked = Net((2,)).linear(8, bias=False).act("relu").asked(PAIRS)
    rank = exact_rank(asked)
    assert bound(asked) >= rank == 5
    monkeypatch.setattr(laws, "is_odd", lambda sigma: True)
    assert bound(asked) < rank


def test_large_and_small_samples_stay_exact():
    X = np.array([[2.0**600, 2.0**-600], [2.0**600, -(2.0**-600)], [2.0**601, 2.0**-599]])
    net = Net((2,)).linear(4, bias=False).act("relu").asked(X, bias=False)
    assert bound(net) == 2
    assert dimension(Net((2,)).linear(4).act("square").asked(X)) == (3, 3)


@pytest.mark.parametrize("kind", ["zero bias", "zero weight", "factor zero", "rounded zeros"])
def test_zeros_beside_numbers_of_many_bits(kind):
    """Zeros fit into 64 bits, and what they are multiplied by need not."""
    X = np.random.default_rng(2).normal(size=(4, 2)) * 2.0**40
    X = np.zeros((4, 2)) if kind == "rounded zeros" else np.concatenate([X, [[1e300, 5e-324]]])
    net, divisor = Net((2,)), Fraction(1)
    if kind == "zero bias":
        weight = np.random.default_rng(3).normal(size=(3, 2))
        net.add("linear", {}, {"weight": weight, "bias": np.zeros(3)}).act("relu")
    elif kind == "zero weight":
        net.add("linear", {}, {"weight": np.zeros((3, 2)), "bias": np.zeros(3)})
    elif kind == "factor zero":
        net.add("affine", {"factor": Fraction(0), "offset": Fraction(1, 3)})
    else:
        net.add("round", {"how": "nearest"})
        divisor = Fraction(1, 10**30)
    fixed = net.place
    held = [] if kind in ("factor zero", "rounded zeros") else ["linear1.weight", "linear1.bias"]
    asked = net.linear(4).act("tanh").asked(X, frozenset(held), divisor=divisor)
    graph, place, inputs, frozen, _ = asked
    values = find_frontier(graph, place, inputs, frozen).values[fixed].fractions()
    exact = rational_features(graph, fixed, inputs).matrix.tolist()
    assert [[Fraction(int(v.p), int(v.q)) for v in row] for row in exact] == values.tolist()


@pytest.mark.parametrize("text", ["log(exp(z**2))", "z + sin(z)**2 + cos(z)**2", "exp(z)*exp(-z)",
                                  "sin(z) - sin(z)"])  # fmt: skip
def test_disguised_polynomials_are_not_denied(text):
    assert is_polynomial(Activation.parse(text)) is not Truth.REFUTED


def test_constants_that_are_no_numbers_make_no_polynomial():
    assert is_polynomial(Activation.parse("z**2/log(1)")) is not Truth.PROVED
    assert is_polynomial(Activation.parse("sqrt(2)*z**2 + log(3)")) is Truth.PROVED


def _two(net, op, first, second):
    """Join two branches that both read the place of the net."""
    before = net.place
    first(net)
    left, net.place = net.place, before
    second(net)
    return net.add(op, {}, None, (left, net.place))


def _conv1(net, *, bias):
    told = {"strides": (1,), "padding": ((0, 0),), "dilations": (1,), "groups": 1}
    weight = {"weight": net.numbers(4, 1, 1)} | ({"bias": net.numbers(4)} if bias else {})
    return net.add("conv", told, weight)


def _normed(net, **slots):
    return net.add("layer_norm", {"axes": 1, "epsilon": Fraction(1, 10)}, slots)


def _lin(**told):
    return lambda net: net.linear(5, **told)


def _shift(net):
    net.add("constant", {}, {"value": np.ones(5)}, ())


SIGNED, DOUBLED = [1.0, -1.0], [1.0, 2.0]
REACHED = {
    # name: (network, samples, with a column of ones, a rank that some weights reach)
    "a constant is added": (
        lambda: _two(Net((1,)), "add", _lin(bias=False), _shift), SIGNED, False, 2),
    "a maximum is not odd": (
        lambda: _conv1(Net((1, 4)), bias=False).add("adaptive_max_pool", {"size": (2,)}).flat(),
        [[1.0, 2, 3, 4], [-1.0, -2, -3, -4]], False, 2),
    "a maximum of what is shifted": (
        lambda: _conv1(Net((1, 4)), bias=True).add("adaptive_max_pool", {"size": (2,)}).flat(),
        [[1.0, 2, 3, 4], [2.0, 4, 6, 8]], False, 2),
    "layer norm of what is shifted": (
        lambda: _normed(Net((1,)).linear(5)), SIGNED, False, 2),
    "layer norm with a bias": (
        lambda: _normed(Net((1,)).linear(5, bias=False), bias=np.ones(5)), SIGNED, False, 2),
    "a product with what is shifted": (
        lambda: _two(Net((1,)), "mul", _lin(), _lin(bias=False)), SIGNED, False, 2),
    "an even factor before an odd one": (
        lambda: _two(Net((1,)), "mul", lambda net: net.linear(5, bias=False).act("abs"),
                     _lin(bias=False)), SIGNED, True, 2),
    "an even number divided by an odd one": (
        lambda: _two(Net((1,)), "div", lambda net: net.linear(5, bias=False).act("square"),
                     _lin(bias=False)), SIGNED, True, 2),
    "a bias after a homogeneous layer": (
        lambda: Net((1,)).linear(5, bias=False).act("relu").linear(5), DOUBLED, False, 2),
    "a product of two sums": (
        lambda: _two(Net((1,)), "mul", _lin(), _lin()), [1.0, 2.0, 3.0], True, 3),
    "a quotient of two sums": (
        lambda: _two(Net((1,)), "div", _lin(), _lin()), [1.0, 2.0, 3.0], True, 3),
    "an offset": (
        lambda: Net((1,)).linear(5, bias=False).add(
            "affine", {"factor": Fraction(1), "offset": Fraction(1)}), DOUBLED, False, 2),
    "padding with ones": (
        lambda: Net((1,)).linear(5, bias=False).add(
            "pad", {"amounts": ((0, 1),), "value": Fraction(1)}), DOUBLED, False, 2),
}  # fmt: skip


@pytest.mark.parametrize("name", REACHED)
def test_no_bound_is_below_a_rank_that_is_reached(name):
    make, samples, ones, rank = REACHED[name]
    X = np.array(samples).reshape(len(samples), -1)
    graph, place, inputs, _, _ = make().asked(X)
    asked = (graph, place, inputs, frozenset(), ones)
    for found in (rank_bound_by_symmetry, polynomial_dimension, rank_bound_by_width):
        assert found(*asked).enclosure().hi >= rank
    assert find_merged_samples(*asked).value is not Truth.PROVED


def test_degrees_of_factors_add_up_in_the_relation():
    net = _two(Net((1,)), "mul", _lin(bias=False), _lin(bias=False))
    sizes = [1, 2, 4]
    told = rank_bound_by_symmetry(*net.asked(np.array(sizes, float)[:, None])).witness.data
    terms = list(zip(told["coefficients"], told["samples"], strict=True))
    assert any(c for c, _ in terms)
    assert sum(c for c, _ in terms) == sum(c * sizes[i] ** 2 for c, i in terms) == 0


def test_zeros_do_not_hide_opposite_samples():
    net = Net((2,)).linear(6, bias=False).act("cos(z)").asked(np.array([[1.0, 0.0], [-1.0, 0.0]]))
    assert bound(net) == 1

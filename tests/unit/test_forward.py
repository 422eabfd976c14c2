"""The certified pass: what it refuses, what is poison, what stays exact, batches and backends."""

from fractions import Fraction

import numpy as np
import pytest

from verify.errors import InputError
from verify.network.activation import Activation
from verify.network.feedforward import Feedforward
from verify.network.graph import GraphBuilder
from verify_kernels.forward import Features, Inputs, Pass, enclose_features
from verify_kernels.forward import walk as walking
from verify_kernels.forward.activations import lipschitz_constant
from verify_kernels.forward.radii import moved, over, plus, root, row_norms, times


def _graph(shape, *steps):
    """Build a chain of (op, attributes, tensors)."""
    b = GraphBuilder()
    x = b.input(shape)
    for k, (op, attributes, tensors) in enumerate(steps):
        named = {slot: (f"{slot}{k}", np.asarray(v, float)) for slot, v in tensors.items()}
        x = b.add(op, (x,), attributes, named)
    return b.build(x)


def _sigma(name):
    return "activation", {"activation": Activation.parse(name)}, {}


def _linear(weight, **more):
    return "linear", {}, {"weight": weight} | more


def _enclose(graph, X, divisor=1, **more):
    inputs = Inputs.of(X, graph.sample_shape, divisor)
    return enclose_features(graph, len(graph.nodes) - 1, inputs, **more)


class TestInputs:
    def test_rows_and_samples_are_the_same(self):
        X = np.arange(24.0).reshape(2, 3, 4)
        a, b = Inputs.of(X, (3, 4)), Inputs.of(X.reshape(2, 12), (3, 4))
        assert np.array_equal(a.values, b.values)
        assert a.count == 2

    def test_negative_zero_becomes_zero(self):
        values = Inputs.of([[-0.0, 1.0]], (2,)).values
        assert not np.signbit(values).any()

    @pytest.mark.parametrize("dtype", [np.float16, np.float32, np.uint8, np.int64, bool])
    def test_types_that_embed(self, dtype):
        assert Inputs.of(np.ones((2, 3), dtype), (3,)).values.dtype == np.float64

    @pytest.mark.parametrize(
        ("X", "divisor"),
        [
            (np.ones((2, 4)), 1),
            (np.ones(3), 1),
            (np.array([[1.0, np.inf, 0.0]]), 1),
            (np.array([[1.0, np.nan, 0.0]]), 1),
            (np.array([[2**53 + 1, 0, 0]]), 1),
            (np.array([[1j, 0, 0]]), 1),
            (np.ones((2, 3)), 0),
            (np.ones((2, 3)), -1),
        ],
    )
    def test_refusals(self, X, divisor):
        with pytest.raises(InputError, match=r"Inputs\.of: expected .*, but got"):
            Inputs.of(X, (3,), divisor)

    def test_division_is_exact_for_powers_of_two_only(self):
        graph = _graph((2,), ("reshape", {"shape": (2,)}, {}))
        X = np.array([[3.0, 5.0]])
        assert _enclose(graph, X, 256).is_exact
        assert not _enclose(graph, X, 255).is_exact
        assert not _enclose(graph, X * 2.0**-1074, 2).is_exact  # 3 eta / 2 is no number

    def test_divisors_beyond_the_range(self):
        graph = _graph((1,), ("reshape", {"shape": (1,)}, {}))
        for divisor in (Fraction(3, 2**1075), Fraction(10**400)):
            found = _enclose(graph, [[1.0], [0.0]], divisor)
            assert np.isinf(found.row_radius).all()


class TestFeatures:
    def test_radii(self):
        found = Features(np.ones((2, 2)), np.array([3.0, 4.0]))
        assert found.frobenius_radius() >= 5.0
        assert not found.is_exact
        assert (found.entry_radius() == [[3.0, 3.0], [4.0, 4.0]]).all()
        tighter = Features(np.ones((2, 2)), np.array([3.0, 4.0]), np.full((2, 2), 3.5))
        assert (tighter.entry_radius() == [[3.0, 3.0], [3.5, 3.5]]).all()
        assert Features(np.ones((2, 2)), np.zeros(2)).frobenius_radius() == 0.0
        assert Features(np.ones((2, 2)), np.array([0.0, np.inf])).frobenius_radius() == np.inf


class TestRadii:
    def test_zero_and_infinity(self):
        nothing, all_ = np.array([0.0]), np.array([np.inf])
        assert plus(nothing, 0.0)[0] == 0.0
        assert times(nothing, 3.0)[0] == 0.0
        assert times(nothing, all_)[0] == np.inf
        assert moved(np.inf, nothing)[0] == 0.0
        assert over(nothing, np.array([0.0]))[0] == np.inf
        assert over(np.array([1.0]), np.array([-1.0]))[0] == np.inf
        assert root(nothing)[0] == 0.0
        assert plus(np.array([np.nan]), 1.0)[0] == np.inf

    def test_norms_of_rows(self):
        assert row_norms(np.array([[3.0, 4.0], [np.nan, 0.0], [1e300, 1e300]])).tolist()[1:] == [
            np.inf,
            np.inf,
        ]
        assert row_norms(np.array([[1e-200, 0.0]]))[0] >= 1e-200


class TestPoison:
    def test_overflow_before_relu(self):
        # the true features are 0 and 1e200; a product of 1e400 says nothing
        graph = _graph((2,), _linear([[1e200, -1.5e200]]), _sigma("relu"))
        found = _enclose(graph, [[1e200, 1e200], [1.0, 1.0]])
        assert found.row_radius[0] == np.inf
        assert np.isfinite(found.mid).all()
        assert found.radius[0, 0] == np.inf

    def test_values_whose_norm_overflows_have_no_entrywise_radius(self):
        # the values are finite, the sum of their squares is not
        graph = _graph((1,), _linear([[1.0], [1.0]]), _sigma("leaky_relu(100000)"))
        found = _enclose(graph, [[-1e150]])
        assert found.row_radius[0] == np.inf
        assert np.isinf(found.radius).all()
        assert np.isinf(found.entry_radius()).all()

    def test_other_samples_are_not_poisoned(self):
        graph = _graph((2,), _linear([[1e100, -1e100]]), _sigma("relu"), _linear([[1e100]]))
        found = _enclose(graph, [[1e120, 1e100], [1.0, 0.5], [1e230, 1.0]])
        assert np.isfinite(found.row_radius).tolist() == [False, True, False]
        assert np.isfinite(found.mid).all()

    @pytest.mark.parametrize("name", ["tanh", "sigmoid", "relu", "hardtanh", "square", "atan"])
    def test_bounded_activations_do_not_hide_overflow(self, name):
        graph = _graph((2,), _linear([[1e200, 1e200], [1e200, -1e200]]), _sigma(name))
        found = _enclose(graph, [[1e200, 1e200]])
        assert found.row_radius[0] == np.inf
        assert np.isfinite(found.mid).all()

    def test_partial_sums_that_overflow(self):
        graph = _graph((4,), _linear([[1e308, 1e308, -1e308, -1e308]]), _sigma("tanh"))
        assert _enclose(graph, [[1.0, 1.0, 1.0, 1.0]]).row_radius[0] == np.inf

    def test_sums_that_overflow(self):
        b = GraphBuilder()
        x = b.input((1,))
        y = b.add("add", (x, x))
        z = b.add("activation", (y,), {"activation": Activation.parse("tanh")})
        assert _enclose(b.build(z), [[1.7e308]]).row_radius[0] == np.inf

    def test_scaling_that_overflows(self):
        tensors = {"mean": [0.0], "variance": [1e-300], "weight": [1e200]}
        given = {"epsilon": Fraction(0), "training": False}
        graph = _graph((1,), ("batch_norm", given, tensors), _sigma("tanh"))
        assert _enclose(graph, [[1e100]]).row_radius[0] == np.inf

    def test_quotients_by_what_may_vanish(self):
        b = GraphBuilder()
        x = b.input((2,))
        third = b.add("affine", (x,), {"factor": Fraction(1, 3), "offset": Fraction(0)})
        graph = b.build(b.add("div", (x, b.add("sub", (third, third)))))
        assert _enclose(graph, [[1.0, 2.0]]).row_radius[0] == np.inf

    def test_layer_norm_of_huge_samples(self):
        given = {"axes": 1, "epsilon": Fraction(1, 10)}
        graph = _graph((3,), ("layer_norm", given, {}))
        assert _enclose(graph, [[1e200, -1e200, 0.0]]).row_radius[0] == np.inf

    @pytest.mark.parametrize(
        ("step", "why"),
        [
            (("dropout", {"rate": Fraction(1, 2)}, {}), "dropout is not enclosed"),
            (("softmax", {"axis": 0}, {}), "softmax is not enclosed"),
            (
                ("batch_norm", {"epsilon": Fraction(1), "training": True},
                 {"mean": [0.0, 0.0], "variance": [1.0, 1.0]}),
                "statistics of the batch",
            ),
            (
                ("batch_norm", {"epsilon": Fraction(0), "training": False},
                 {"mean": [0.0, 0.0], "variance": [0.0, 1.0]}),
                "not positive",
            ),
            (("layer_norm", {"axes": 1, "epsilon": Fraction(0)}, {}), "epsilon is too small"),
            (("layer_norm", {"axes": 1, "epsilon": Fraction(10**400)}, {}), "or too large"),
        ],
    )  # fmt: skip
    def test_what_is_not_enclosed(self, step, why):
        found = _enclose(_graph((2,), step, _sigma("tanh")), [[1.0, 2.0]])
        assert found.row_radius[0] == np.inf
        assert why in found.why_open


class TestActivations:
    def test_constants(self):
        assert lipschitz_constant(Activation.parse("relu")) == 1.0
        assert lipschitz_constant(Activation.parse("leaky_relu(3)")) == 3.0
        assert lipschitz_constant(Activation.parse("square")) == np.inf
        assert 0.25 <= lipschitz_constant(Activation.parse("sigmoid")) < 0.2500001

    def test_a_jump_is_bounded_by_its_hull(self):
        graph = _graph((1,), _linear([[1 / 3]]), _sigma("sign(z)"))
        found = _enclose(graph, [[1.0], [0.0]])
        assert found.row_radius[0] == 0.0
        assert found.row_radius[1] >= 1.0

    def test_relu_of_exact_inputs_is_exact(self):
        assert _enclose(_graph((3,), _sigma("relu")), [[1.0, -2.0, 0.1]]).is_exact

    def test_slopes_beyond_the_range(self):
        huge = _graph((1,), _sigma(f"leaky_relu({10**300})"), _sigma(f"leaky_relu({10**300})"))
        assert _enclose(huge, [[-1.0]]).row_radius[0] == np.inf
        assert _enclose(_graph((1,), _sigma("softplus(1e-40)")), [[1.0]]).row_radius[0] > 0.0


class TestRounding:
    @pytest.mark.parametrize(("how", "value"), [("floor", 2.0), ("ceil", 3.0), ("nearest", 2.0)])
    def test_exact_inputs(self, how, value):
        found = _enclose(_graph((1,), ("round", {"how": how}, {})), [[2.5]])
        assert found.is_exact
        assert found.mid[0, 0] == value

    def test_near_a_step(self):
        graph = _graph((1,), _linear([[1 / 3]]), ("round", {"how": "floor"}, {}))
        found = _enclose(graph, [[6.0], [7.0]])
        assert found.row_radius[0] >= 0.5
        assert abs(found.mid[0, 0] - 1.5) <= 0.5
        assert found.row_radius[1] == 0.0
        assert found.mid[1, 0] == 2.0


def _network():
    draw = np.random.default_rng(0)
    weights = tuple(draw.standard_normal(s) for s in ((9, 6), (8, 9), (2, 8)))
    sigma = (Activation.parse("tanh"), Activation.parse("relu"))
    return Feedforward(weights, (None, draw.standard_normal(8), None), sigma).graph()


def test_batches_agree(monkeypatch):
    graph, X = _network(), np.random.default_rng(1).standard_normal((23, 6))
    place = graph.nodes[graph.last_affine].inputs[0]
    whole = enclose_features(graph, place, Inputs.of(X, (6,)))
    monkeypatch.setattr(walking, "BATCH_ENTRIES", 40)
    parts = enclose_features(graph, place, Inputs.of(X, (6,)))
    gap = np.linalg.norm(whole.mid - parts.mid, axis=1)
    assert (gap <= whole.row_radius + parts.row_radius).all()
    assert parts.radius.shape == whole.radius.shape


def test_a_prepared_pass_serves_many_data():
    graph = _network()
    place = graph.nodes[graph.last_affine].inputs[0]
    prepared = Pass(graph, place)
    for n in (5, 1, 0, 7):
        X = np.random.default_rng(n).standard_normal((n, 6))
        once, again = (
            prepared.features(Inputs.of(X, (6,))),
            enclose_features(graph, place, Inputs.of(X, (6,))),
        )
        assert np.array_equal(once.mid, again.mid)
        assert np.array_equal(once.row_radius, again.row_radius)


@pytest.mark.parametrize("backend", ["auto", "numpy", "numba"])
def test_backends_overlap(backend):
    graph, X = _network(), np.random.default_rng(2).standard_normal((4, 6))
    base = _enclose(graph, X)
    found = _enclose(graph, X, backend=backend, xp=np)
    gap = np.linalg.norm(base.mid - found.mid, axis=1)
    assert (gap <= base.row_radius + found.row_radius).all()


def test_inputs_are_not_written_to():
    graph = _graph((2, 3, 3), ("batch_norm", {"epsilon": Fraction(1), "training": False},
                               {"mean": [1.0, 1.0], "variance": [1.0, 1.0]}))  # fmt: skip
    inputs = Inputs.of(np.ones((2, 2, 3, 3)), (2, 3, 3))
    enclose_features(graph, 1, inputs)
    assert (inputs.values == 1.0).all()


def test_a_tensor_used_twice_is_not_written_to():
    draw = np.random.default_rng(3)
    b = GraphBuilder()
    x = b.input((2, 4))
    given = {"strides": (1,), "padding": ((1, 1),), "dilations": (1,), "groups": 1}
    y = b.add("conv", (x,), given, {"weight": ("w", draw.standard_normal((2, 2, 3)))})
    norm = {"mean": ("m", np.ones(2)), "variance": ("v", np.ones(2))}
    z = b.add("batch_norm", (y,), {"epsilon": Fraction(1), "training": False}, norm)
    graph = b.build(b.add("sub", (y, z)))
    X = draw.standard_normal((3, 2, 4))
    found = _enclose(graph, X)
    plain = enclose_features(graph, 1, Inputs.of(X, (2, 4))).mid
    assert np.allclose(found.mid, plain - (plain - 1.0) / np.sqrt(2.0))


def test_a_layer_and_its_batch_norm_are_bounded_together():
    # one channel of the layer is large and is scaled down again
    weight = np.diag([1e8, 1.0])
    norm = {"mean": [0.0, 0.0], "variance": [1e16, 1.0]}
    given = {"epsilon": Fraction(0), "training": False}
    graph = _graph((2,), _linear([[1.0, 1 / 3], [1 / 3, 1.0]]), _linear(weight),
                   ("batch_norm", given, norm))  # fmt: skip
    assert _enclose(graph, [[1.0, 2.0]]).row_radius[0] < 1e-13

"""The condition `converges-from-here` as a person uses it: what it refuses, says and advises."""

from __future__ import annotations

import dataclasses
from fractions import Fraction
from typing import Any

import numpy as np
import pytest

from verify import check
from verify.condition import Effort
from verify.enclosure import Enclosure, endpoint_from_hex
from verify.errors import InputError, SettingsError
from verify.network import (
    Activation,
    Data,
    Equilibrium,
    Feedforward,
    GraphBuilder,
    PlainWeight,
    ReluFeatureInput,
    ScaledGaussianWeight,
    TwoLayer,
)

NAME = "converges-from-here"
TINY = Fraction(1, 10**100)  # what bounds of underflow may leave of a zero
TANH, RELU = Activation.parse("tanh"), Activation.parse("relu")
RNG = np.random.default_rng(3)
X = RNG.standard_normal((4, 2))
W, A, B = RNG.standard_normal((9, 2)), RNG.standard_normal(9), RNG.standard_normal(9)


def network(activation: Activation = TANH, **changes: Any) -> TwoLayer:
    return dataclasses.replace(TwoLayer(W, A, activation, B), **changes)


def near(size: float = 1e-4, activation: Activation = TANH) -> Data:
    """Targets that the stored weights almost reach."""
    hidden = X @ W.T + B
    values = np.tanh(hidden) if activation is TANH else np.maximum(hidden, 0.0)
    return Data(X, values @ A + size * np.array([1.0, -1.0, 1.0, 1.0]))


def made(net: Any, data: Data | None, *, effort: Effort | None = None, **settings: str) -> Any:
    given = {f"{NAME}.{key}": value for key, value in ({"frozen": "none"} | settings).items()}
    (found,) = check(net, data, conditions=[NAME], settings=given, effort=effort)
    return found


def claim(net: Any, data: Data | None, **settings: Any) -> Any:
    return made(net, data, **settings).claim


def advice(net: Any, data: Data | None, **settings: Any) -> str:
    return " ".join(made(net, data, **settings).guidance)


def number(told: Any, name: str, by: str = "") -> Enclosure:
    found = next(c for c in told["consequences"] if c["name"] == name and by in ("", c["by"]))
    return Enclosure(endpoint_from_hex(found["lo"]), endpoint_from_hex(found["hi"]))


def side(told: Any, name: str) -> str:
    return str(next(s["truth"] for s in told["side_statements"] if s["name"] == name))


def route(told: Any, name: str) -> Any:
    return next(r for r in told["routes"] if r["name"] == name)


def chain(*parts: tuple[str, dict[str, Any], dict[str, Any]], shape: tuple[int, ...] = (2,)) -> Any:
    builder = GraphBuilder()
    place = builder.input(shape)
    for op, attributes, tensors in parts:
        place = builder.add(op, [place], attributes, tensors)
    return builder.build(place)


HEAD = ("linear", {}, {"weight": ("w", RNG.standard_normal((2, 9))), "bias": ("c", np.zeros(2))})
INNER = ("linear", {}, {"weight": ("v", W), "bias": ("b", B)})
BEND = ("activation", {"activation": TANH}, {})
BOTH = Data(X, np.ones((4, 2)))


class TestWhatHasToBeDeclared:
    def test_which_tensors_are_trained(self) -> None:
        with pytest.raises(SettingsError) as caught:
            check(network(), near(), conditions=[NAME])
        assert str(caught.value) == (
            f"{NAME}: expected to be told which tensors training changes, but got nothing; add "
            f"--set {NAME}.frozen=none if all stored tensors are trained, else the list of frozen "
            "ones"
        )

    @pytest.mark.parametrize(
        ("settings", "told"),
        [
            ({"frozen": "W9"}, "expected none, or roles among W, a, b, but got 'W9'"),
            ({"frozen": ""}, "expected none, or roles among W, a, b, but got ''"),
            ({"loss": "hinge"}, "expected one of half-sum-squares, sum-squares"),
            ({"step": "0"}, "expected a positive number between 1e-100 and 1e100, but got '0'"),
            ({"step": "1e-101"}, "expected a positive number"),
            ({"step": "nan"}, f"--set {NAME}.step: expected"),
            ({"radius": "-1"}, "expected a positive number"),
            ({"radius": "big"}, f"--set {NAME}.radius: expected"),
            ({"weight_decay": "-1/2"}, "expected a number between 0 and 1e100, but got '-1/2'"),
            ({"input_divisor": "0"}, "expected a positive number"),
        ],
    )
    def test_a_malformed_setting_is_one_sentence(self, settings: dict[str, str], told: str) -> None:
        with pytest.raises(SettingsError, match=NAME) as caught:
            claim(network(), near(), **settings)
        assert told in str(caught.value)
        assert "\n" not in str(caught.value)

    def test_an_unknown_setting(self) -> None:
        with pytest.raises(SettingsError, match=rf"expected one of {NAME}\.frozen"):
            claim(network(), near(), momentum="1/2")

    def test_data_and_targets(self) -> None:
        with pytest.raises(SettingsError, match=r"add --data with X \(n, d\) and y"):
            claim(network(), None)
        with pytest.raises(SettingsError, match="expected targets y beside X, but got none"):
            claim(network(), Data(X))


class TestData:
    def test_class_labels_instead_of_one_hot_targets(self) -> None:
        net = Feedforward((W, RNG.standard_normal((3, 9))), (B, None), (TANH,))
        with pytest.raises(InputError) as caught:
            claim(net, Data(X, np.array([0, 1, 2, 1])))
        assert str(caught.value) == (
            f"{NAME}: expected targets y of shape (4, 3), but got (4,); for classification store "
            "one-hot targets"
        )

    @pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
    def test_entries_that_are_not_finite(self, bad: float) -> None:
        y = np.array(near().y)
        y[2] = bad
        with pytest.raises(InputError, match=rf"expected finite targets y, but got {bad!r} at \[2"):
            claim(network(), Data(X, y))
        samples = X.copy()
        samples[1, 0] = bad
        with pytest.raises(InputError, match="finite"):
            claim(network(), Data(samples, near().y))

    @pytest.mark.parametrize("y", [np.zeros(3), np.zeros((4, 2)), np.zeros((1, 4)), np.zeros(())])
    def test_targets_of_another_shape(self, y: Any) -> None:
        with pytest.raises(InputError, match=r"expected targets y of shape \(4, 1\), but got"):
            claim(network(), Data(X, y))

    @pytest.mark.parametrize("y", [np.full(4, "1.0"), np.full(4, 1j), np.full(4, 2**60)])
    def test_targets_that_are_no_numbers_of_64_bits(self, y: Any) -> None:
        with pytest.raises(InputError, match="targets"):
            claim(network(), Data(X, y))

    def test_samples_of_another_size_and_none(self) -> None:
        with pytest.raises(InputError, match=r"samples of shape \(n, 2\) or as rows"):
            claim(network(), Data(np.ones((4, 3)), np.ones(4)))
        with pytest.raises(InputError, match="at least one sample"):
            claim(network(), Data(np.zeros((0, 2)), np.zeros(0)))

    def test_whole_and_boolean_targets_are_exact(self) -> None:
        net = network(c=np.zeros(1), a=np.zeros(9))
        for y in (np.zeros(4, dtype=np.int64), np.zeros(4, dtype=bool), np.zeros((4, 1))):
            told = claim(net, Data(X, y))
            assert told["verdict"] == "pass"  # zero loss already
            assert number(told, "lstar").hi < TINY

    def test_the_divisor_is_exact(self) -> None:
        pixels = Data(255 * np.array([[0.0, 1.0], [1.0, 0.0], [1.0, 1.0]]), np.zeros(3))
        plain = Data(pixels.X / 255, pixels.y)
        net = network(a=A / 1e4)
        divided = claim(net, pixels, input_divisor="255")
        one, other = number(divided, "h"), number(claim(net, plain), "h")
        assert max(one.lo, other.lo) <= min(one.hi, other.hi)
        assert "255" in divided["network"]["parameters"]["inputs"]


class TestNetworks:
    def test_cross_entropy_has_no_minimiser(self) -> None:
        told = claim(network(), near(), loss="cross-entropy")
        assert told["verdict"] == "not applicable"
        assert "no minimiser where the classes are separated" in told["sentence"]

    def test_other_equilibrium_networks(self) -> None:
        told = claim(Equilibrium(PlainWeight(np.eye(2) / 2), TANH), Data(X, np.ones(4)))
        assert told["verdict"] == "not applicable"
        assert "family equilibrium" in told["sentence"]

    @pytest.mark.parametrize("op", ["softmax", "log_softmax"])
    def test_outputs_that_are_not_affine(self, op: str) -> None:
        told = claim(chain(INNER, BEND, HEAD, (op, {"axis": 0}, {})), BOTH)
        assert told["verdict"] == "not applicable"
        assert "this network ends in" in told["sentence"]
        assert "softmax" in told["sentence"]

    def test_an_activation_at_the_end(self) -> None:
        told = claim(chain(INNER, BEND), Data(X, np.ones((4, 9))))
        assert told["verdict"] == "not applicable"

    def test_dropout_in_training_form(self) -> None:
        net = chain(INNER, BEND, ("dropout", {"rate": Fraction(1, 2)}, {}), HEAD)
        told = claim(net, BOTH)
        assert told["verdict"] == "not applicable"
        assert "export the network in evaluation form" in told["sentence"]

    @pytest.mark.parametrize("training", [True, False])
    def test_batch_norm(self, training: bool) -> None:
        tensors = {
            "mean": ("mean", np.zeros(9)), "variance": ("variance", np.ones(9)),
            "weight": ("scale", np.ones(9)), "bias": ("shift", np.zeros(9)),
        }  # fmt: skip
        norm = ("batch_norm", {"epsilon": Fraction(1, 1000), "training": training}, tensors)
        told = claim(chain(INNER, norm, BEND, HEAD), BOTH)
        assert told["verdict"] == ("not applicable" if training else "undecided")

    def test_convolutions_have_no_theorem_and_say_so(self) -> None:
        kernel = RNG.standard_normal((4, 1, 2, 2))
        window = {"strides": (1, 1), "padding": ((0, 0), (0, 0)), "dilations": (1, 1), "groups": 1}
        net = chain(
            ("conv", window, {"weight": ("k", kernel)}), BEND, ("reshape", {"shape": (16,)}, {}),
            ("linear", {}, {"weight": ("w", RNG.standard_normal((1, 16)))}), shape=(1, 3, 3),
        )  # fmt: skip
        images = Data(RNG.standard_normal((3, 1, 3, 3)), np.zeros(3))
        told = claim(net, images)
        assert told["verdict"] == "undecided"
        assert "fully connected networks without tied tensors" in advice(net, images)

    def test_tied_tensors_have_no_theorem_and_say_so(self) -> None:
        square = RNG.standard_normal((2, 2))
        net = Feedforward((square, square), (None, None), (TANH,), ties=(("W1", "W2"),))
        told = made(net, Data(X[:1], np.ones((1, 2))))
        assert told.verdict == "undecided"
        assert "without tied tensors" in " ".join(told.guidance)

    def test_kinks_are_covered_by_the_output_layer_and_not_by_gradient_descent(self) -> None:
        net = network(RELU)
        told = claim(net, near(1e-6, RELU))
        assert (told["verdict"], told["decided_by"]) == ("pass", "output-layer")
        deep = Feedforward((W, np.eye(9), A[None]), (B, None, None), (RELU, RELU))
        data = near(1e-6, RELU)
        assert claim(deep, data)["decided_by"] == "output-layer"
        descent = made(deep, data, step="1e-6")
        assert descent.verdict == "undecided"
        assert "the derivative of relu" in descent.guidance[0]
        assert "the verdict is about the gradient flow" in descent.guidance[1]

    def test_the_implicit_network_has_no_theorem_about_gradient_descent(self) -> None:
        weight = ScaledGaussianWeight(RNG.standard_normal((6, 6)), Fraction(1, 8))
        readout = {"u": np.ones(6), "v": np.ones(6)}
        net = Equilibrium(weight, RELU, ReluFeatureInput(RNG.standard_normal((6, 2))), readout)
        told = made(net, Data(X[:2], np.zeros(2)), step="1e-3")
        assert told.verdict == "undecided"
        assert "implicit network" in " ".join(told.guidance)
        frozen = claim(net, Data(X[:2], np.zeros(2)), frozen="u")
        assert frozen["verdict"] == "undecided"
        assert route(frozen, "implicit")["facts"]["readout_trained"]["truth"] == "refuted"
        with pytest.raises(SettingsError, match=r"expected none, or roles among .*weight\.A"):
            claim(net, Data(X[:2], np.zeros(2)), frozen="Q")


class TestUndecided:
    def test_fewer_parameters_than_targets(self) -> None:
        net = TwoLayer(W[:1], A[:1], TANH, B[:1])
        samples = RNG.standard_normal((9, 2))
        told = made(net, Data(samples, np.ones(9)))
        assert told.verdict == "undecided"
        assert told.guidance[0].startswith("4 trained parameters for 9 targets: no theorem here")

    def test_a_large_residual_names_the_threshold_and_what_dominates(self) -> None:
        told = made(network(), near(100.0))
        assert told.verdict == "undecided"
        assert told.guidance[0].startswith("train until ||r|| < ")
        assert "h = " in told.guidance[0]
        assert number(told.claim, "h").lo > Fraction(1, 2)

    def test_training_to_the_threshold_does_what_is_said(self) -> None:
        told = made(network(), near(1.0))
        said = float(told.guidance[0].split("||r|| < ")[1].split(":")[0])
        assert claim(network(), near(0.49 * said))["verdict"] == "pass"

    def test_a_step_that_is_too_long_names_one_that_is_not(self) -> None:
        long = made(network(), near(), step="1")
        assert long.verdict == "undecided"
        assert long.guidance[0].startswith("with a step up to ")
        said = long.guidance[0].split("up to ")[1].split()[0]
        short = claim(network(), near(), step=said)
        assert (short["verdict"], short["decided_by"]) == ("pass", "descent")
        assert number(short, "eta").lo <= Fraction(said) <= number(short, "eta").hi

    def test_a_radius_that_the_path_leaves(self) -> None:
        length = number(claim(network(), near()), "lstar", "flow").lo
        inside = claim(network(), near(), radius=str(2 * length))
        assert inside["verdict"] == "pass"
        assert route(inside, "flow")["quantities"]["R"]["how"] == "as declared"
        assert claim(network(), near(), radius=str(length / 10))["verdict"] == "undecided"


class TestRefuted:
    def test_equal_inputs_with_different_targets(self) -> None:
        samples = X.copy()
        samples[3] = samples[1] * 1.0
        told = made(network(), Data(samples, np.array([0.0, 1.0, 0.0, 2.0])))
        assert told.verdict == "fail"
        assert told.claim["decided_by"] == "contradiction"
        witness = route(told.claim, "contradiction")["facts"]["consistent"]["witness"]
        assert witness["kind"] == "unreachable-targets"
        assert told.guidance == (
            "remove the contradictory samples, or feed what distinguishes them",
        )
        same = claim(network(), Data(samples, np.array([0.0, 1.0, 0.0, 1.0])))
        assert same["verdict"] == "undecided"

    def test_weight_decay_keeps_training_from_zero_loss(self) -> None:
        told = made(network(), near(), weight_decay="1e-3")
        assert (told.verdict, told.claim["decided_by"]) == ("fail", "decay-flow")
        witness = route(told.claim, "decay-flow")["facts"]["plain"]["witness"]
        assert witness["kind"] == "weight-decay"
        assert "without weight decay" in " ".join(told.guidance)
        descent = claim(network(), near(), weight_decay="1e-3", step="1e-4")
        assert (descent["verdict"], descent["decided_by"]) == ("fail", "decay-descent")

    def test_weight_decay_with_zero_targets_refutes_nothing_and_proves_nothing(self) -> None:
        told = claim(network(a=A / 1e6), Data(X, np.zeros(4)), weight_decay="1e-3")
        assert told["verdict"] == "undecided"
        assert route(told, "flow")["facts"]["no_decay"]["truth"] == "refuted"

    def test_weight_decay_with_a_frozen_last_layer_is_open(self) -> None:
        told = claim(network(), near(), weight_decay="1e-3", frozen="a")
        assert told["verdict"] == "undecided"
        free = claim(network(c=np.ones(1)), near(), weight_decay="1e-3", frozen="c")
        assert free["verdict"] == "undecided"  # the frozen bias may carry the targets

    def test_no_decay_is_the_default(self) -> None:
        assert claim(network(), near(), weight_decay="0")["verdict"] == "pass"


class TestFrozen:
    def test_sigma_comes_from_the_trained_columns_alone(self) -> None:
        whole = route(claim(network(), near()), "flow")["quantities"]["sigma"]
        part = route(claim(network(), near(), frozen="W"), "flow")["quantities"]["sigma"]
        assert endpoint_from_hex(part["hi"]) < endpoint_from_hex(whole["lo"])
        hidden = np.tanh(X @ W.T + B)
        slopes = (1 - hidden**2) * A
        true = np.sqrt(np.linalg.eigvalsh(hidden @ hidden.T + slopes @ slopes.T)[0])
        assert float(endpoint_from_hex(part["lo"])) == pytest.approx(true, rel=1e-9)

    def test_the_output_layer_theorem_refuses_a_frozen_last_layer(self) -> None:
        told = claim(network(RELU), near(1e-6, RELU), frozen="a")
        assert route(told, "output-layer")["truth"] == "refuted"
        assert route(told, "output-layer")["facts"]["last_trained"]["truth"] == "refuted"
        assert told["decided_by"] != "output-layer"

    def test_nothing_trained_is_decided_by_the_outputs(self) -> None:
        told = claim(network(RELU), near(activation=RELU), frozen="W,a,b")
        assert told["verdict"] == "fail"  # fixed outputs, other targets

    def test_graph_roles_are_understood_too(self) -> None:
        short = claim(network(), near(), frozen="W, b")
        long = claim(network(), near(), frozen="linear1.weight,linear1.bias")
        assert short["network"]["parameters"]["frozen"] == long["network"]["parameters"]["frozen"]
        assert short["verdict"] == long["verdict"]


LOSSES = {"half-sum-squares": Fraction(1), "sum-squares": Fraction(2),
          "half-mean-squares": Fraction(1, 4), "mean-squares": Fraction(1, 2)}  # fmt: skip


class TestLosses:
    @pytest.mark.parametrize("loss", LOSSES)
    def test_the_factor_changes_the_clock_and_no_path(self, loss: str) -> None:
        """With n = 4 all factors are powers of two, and the numbers scale bit by bit."""
        plain, told, s = claim(network(), near()), claim(network(), near(), loss=loss), LOSSES[loss]
        assert told["verdict"] == plain["verdict"] == "pass"
        for name in ("h", "lstar", "threshold_residual"):
            assert number(told, name, "flow") == number(plain, name, "flow")
        for name, by in (("contraction", "descent"), ("descent_length", "descent")):
            assert number(told, name, by) == number(plain, name, by)
        rate, own = number(plain, "rate", "flow"), number(told, "rate", "flow")
        assert own == Enclosure(s * rate.lo, s * rate.hi)
        eta, step = number(plain, "eta"), number(told, "eta")
        assert step == Enclosure(eta.lo / s, eta.hi / s)

    def test_the_mean_is_over_samples_alone(self) -> None:
        net = Feedforward((W, np.vstack([A, A])), (B, None), (TANH,))
        y = np.array(near().y)
        told = claim(net, Data(X, np.c_[y, -y]), loss="mean-squares")
        assert told["network"]["parameters"]["loss"] == "mean-squares, s = 1/2"


def test_the_step_on_the_declared_loss_is_the_declared_one() -> None:
    """Gradient descent on twice the loss with half the step is the same sequence."""
    one = claim(network(), near(), step="1/1000")
    two = claim(network(), near(), step="1/2000", loss="sum-squares")
    assert one["verdict"] == two["verdict"] == "pass"
    assert number(one, "contraction", "descent") == number(two, "contraction", "descent")


def test_zero_loss_weights_pass_with_a_path_of_length_zero() -> None:
    """At r = 0 the flow rests; sigma > 0 is still asked for."""
    net = network(a=np.zeros(9))
    told = claim(net, Data(X, np.zeros(4)))
    assert told["verdict"] == "pass"
    assert number(told, "lstar").hi < TINY
    assert side(told, "existence") == "proved"


@pytest.mark.parametrize("step", [None, "0.1"])
def test_weights_of_zero_loss_are_at_rest(step):
    rows = np.array([[1.0, 2.0], [1.0, 2.0], [-1.0, 0.5]])
    network = TwoLayer(np.eye(2), np.array([1.0, -1.0]), Activation("relu"))
    data = Data(rows, np.maximum(rows, 0.0) @ np.array([1.0, -1.0]))
    told = {"converges-from-here.frozen": "none"}
    told |= {} if step is None else {"converges-from-here.step": step}
    [found] = check(network, data, conditions=["converges-from-here"], settings=told)
    assert str(found.verdict) == "pass"
    assert found.claim["decided_by"] == ("rest-flow" if step is None else "rest-descent")
    told["converges-from-here.weight_decay"] = "0.01"
    [found] = check(network, data, conditions=["converges-from-here"], settings=told)
    assert str(found.verdict) == "fail"

"""The expressivity condition as a person uses it: what it refuses, says and stores."""

from __future__ import annotations

import dataclasses
from fractions import Fraction
from typing import Any

import numpy as np
import pytest
from flint import ctx

from verify import check
from verify.certificate import read_certificate, write_certificates
from verify.condition import Effort
from verify.errors import InputError, SettingsError
from verify.network import (
    Activation,
    Data,
    Equilibrium,
    Feedforward,
    GraphBuilder,
    PlainWeight,
    recognise,
)
from verify_kernels.exact_forward.balls import ball_features
from verify_kernels.forward import Inputs

TANH = Activation.parse("tanh")
RNG = np.random.default_rng(5)


def network(width: int = 8, *, d: int = 2, activation: Activation = TANH) -> Feedforward:
    rng = np.random.default_rng(6)
    return Feedforward(
        (rng.standard_normal((width, d)), rng.standard_normal((3, width))),
        (rng.standard_normal(width), np.zeros(3)),
        (activation,),
    )


def data(n: int = 7, d: int = 2) -> Data:
    return Data(np.random.default_rng(7).standard_normal((n, d)))


def claim(net: Any, samples: Data, *, effort: Effort | None = None, **settings: str) -> Any:
    given = {f"expressivity.{key}": value for key, value in settings.items()}
    (made,) = check(net, samples, conditions=["expressivity"], settings=given, effort=effort)
    return made.claim


def image_network(*, op: str = "", attributes: dict[str, Any] | None = None) -> Any:
    """A convolution, an activation, perhaps something more, and an affine head."""
    rng = np.random.default_rng(8)
    builder = GraphBuilder()
    x = builder.input((2, 4, 4))
    window = {"strides": (1, 1), "padding": ((0, 0), (0, 0)), "dilations": (1, 1), "groups": 1}
    place = builder.add("conv", [x], window, {"weight": ("k", rng.standard_normal((4, 2, 2, 2)))})
    place = builder.add("activation", [place], {"activation": TANH})
    place = builder.add("reshape", [place], {"shape": (36,)})
    if op:
        place = builder.add(op, [place], attributes)
    head = {"weight": ("w", rng.standard_normal((3, 36))), "bias": ("b", np.zeros(3))}
    return builder.build(builder.add("linear", [place], {}, head))


class TestWhatItDoesNotSpeakAbout:
    def test_an_equilibrium_network(self) -> None:
        told = claim(Equilibrium(PlainWeight(np.eye(2) / 2), TANH), data())
        assert told["verdict"] == "not applicable"
        assert "of the family equilibrium" in told["sentence"]

    def test_dropout_in_training_form(self) -> None:
        net = image_network(op="dropout", attributes={"rate": Fraction(1, 10)})
        told = claim(net, Data(np.ones((1, 2, 4, 4))))
        assert told["verdict"] == "not applicable"
        assert "evaluation form" in told["sentence"]

    def test_a_scaled_head(self) -> None:
        net = image_network()
        builder = GraphBuilder()
        x = builder.input((3,))
        place = builder.add("linear", [x], {}, {"weight": ("w", np.ones((2, 3)))})
        place = builder.add("affine", [place], {"factor": Fraction(2), "offset": Fraction(0)})
        told = claim(builder.build(place), Data(np.ones((1, 3))))
        assert told["verdict"] == "not applicable"
        assert "affine" in told["sentence"]
        assert net.last_affine is not None

    def test_a_softmax_at_the_end_belongs_to_the_loss(self) -> None:
        """Constants of squares would speak about logits, and the loss is one of probabilities."""
        net = network()
        builder = GraphBuilder()
        place = builder.input((2,))
        for k, (weight, bias) in enumerate(zip(net.weights, net.biases, strict=True)):
            tensors = {"weight": (f"w{k}", weight), "bias": (f"b{k}", bias)}
            place = builder.add("linear", [place], {}, tensors)
            if k == 0:
                place = builder.add("activation", [place], {"activation": TANH})
        graph = recognise(builder.build(builder.add("log_softmax", [place], {"axis": 0})))
        assert graph.family == "graph"
        labels = Data(data().X, np.arange(7) % 3)
        for loss, given, speaks in (
            ("half-squares", data(), False),
            ("cross-entropy", labels, True),
        ):
            told = claim(graph, given, loss=loss)
            assert told["verdict"] == "pass"
            assert any(each["name"] == "L_V" for each in told["consequences"]) is speaks

    def test_tied_heads(self) -> None:
        square = np.random.default_rng(1).standard_normal((4, 4))
        net = Feedforward((square, square), (None, None), (TANH,), ties=(("W1", "W2"),))
        told = claim(net, data(3, 4))
        assert told["verdict"] == "not applicable"
        assert "tied" in told["sentence"]

    def test_a_frozen_head(self) -> None:
        told = claim(network(), data(), frozen="W2")
        assert told["verdict"] == "not applicable"
        assert "frozen" in told["sentence"]


class TestSettings:
    @pytest.mark.parametrize(
        ("settings", "told"),
        [
            ({"frozen": "W9"}, "expected none, or roles among W1, W2, b1, b2, but got 'W9'"),
            ({"frozen": ""}, "expected none, or roles"),
            ({"loss": "hinge"}, "hinge"),
            ({"input_divisor": "0"}, "expected a positive number"),
            ({"input_divisor": "x"}, "input_divisor"),
            ({"seed": "-1"}, "expected a whole number"),
            ({"scale": "-1/2"}, "expected a positive number"),
        ],
    )
    def test_a_malformed_one_is_one_sentence(self, settings: dict[str, str], told: str) -> None:
        with pytest.raises(SettingsError, match=r"expressivity\.|loss") as caught:
            claim(network(), data(), **settings)
        assert told in str(caught.value)
        assert "\n" not in str(caught.value)

    def test_data_are_asked_for(self) -> None:
        with pytest.raises(SettingsError, match="add --data"):
            check(network(), conditions=["expressivity"])

    def test_a_frozen_outer_bias_takes_the_ones_away(self) -> None:
        assert claim(network(6), data(7))["verdict"] == "pass"
        assert claim(network(6), data(7), frozen="b2")["verdict"] == "fail"

    def test_a_declared_loss_gives_rate_and_step(self) -> None:
        told = {each["name"]: each for each in claim(network(), data(), loss="mean-squares")[
            "consequences"]}  # fmt: skip
        assert {"sigma_n", "sigma_max", "L_V", "step", "PL constant", "contraction"} <= set(told)
        without = {each["name"] for each in claim(network(), data())["consequences"]}
        assert "sigma_n" in without
        assert "step" not in without

    def test_labels_that_do_not_fit_the_loss(self) -> None:
        samples = Data(data().X, np.full(7, 9.0))
        with pytest.raises(InputError, match="from 0 to 2"):
            claim(network(), samples, loss="cross-entropy")


class TestData:
    def test_images_in_another_order_of_axes_are_refused(self) -> None:
        """(n, 4, 4, 2) has as many entries as (n, 2, 4, 4), and other ones in each place."""
        net = image_network()
        X = RNG.standard_normal((3, 2, 4, 4))
        rows = claim(net, Data(X.reshape(3, 32)))
        assert rows["verdict"] == claim(net, Data(X))["verdict"] == "pass"
        with pytest.raises(InputError, match=r"shape \(n, 2, 4, 4\).*channels come first"):
            claim(net, Data(X.reshape(3, 4, 4, 2)))
        with pytest.raises(InputError, match=r"but got \(3, 4, 2, 4\)$"):
            claim(net, Data(X.reshape(3, 4, 2, 4)))

    @pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
    def test_entries_that_are_not_finite(self, bad: float) -> None:
        X = data().X.copy()
        X[2, 1] = bad
        with pytest.raises(InputError, match="finite"):
            claim(network(), Data(X))

    def test_no_samples(self) -> None:
        with pytest.raises(InputError, match="at least one sample"):
            claim(network(), Data(np.zeros((0, 2))))

    def test_one_sample_passes(self) -> None:
        assert claim(network(1), data(1))["verdict"] == "pass"

    def test_the_divisor_is_exact(self) -> None:
        """Two pixels that differ stay apart, and the claim names the divisor."""
        X = np.array([[0.0, 1.0], [0.0, 2.0], [255.0, 3.0]])
        told = claim(network(), Data(X), input_divisor="255")
        assert told["verdict"] == "pass"
        assert "255" in told["network"]["parameters"]["inputs"]


def repeated() -> Feedforward:
    """Two different units, each eight times: short of rank at these weights only."""
    net = network(2)
    W, b = np.repeat(net.weights[0], 8, axis=0), np.repeat(net.biases[0], 8)
    outer = np.random.default_rng(9).standard_normal((3, 16))
    return dataclasses.replace(net, weights=(W, outer), biases=(b, np.zeros(3)))


class TestDrawnWeights:
    def test_need_to_know_what_is_trained(self) -> None:
        net = repeated()
        told = claim(net, data(), effort=Effort(budget=2))
        assert told["verdict"] == "undecided"
        assert not any(route["name"].startswith("perturbed") for route in told["routes"])

    def test_the_stored_witness_proves_the_rank_again(self, tmp_path: Any) -> None:
        """From disk: the drawn tensors, in ball arithmetic, give n independent rows."""
        net, samples = repeated(), data()
        (made,) = check(
            net, samples, conditions=["expressivity"],
            settings={"expressivity.frozen": "b2"}, effort=Effort(budget=2, all_routes=True),
        )  # fmt: skip
        (path,) = write_certificates([made], tmp_path, "net")
        stored = read_certificate(path)
        route = next(r for r in stored.claim["routes"] if r["name"] == "perturbed-gram")
        assert route["truth"] == "proved"
        kept = route["facts"]["drawn"]["witness"]["data"]
        drawn = {
            role: stored.arrays[f"perturbed-gram.drawn.{role}"]
            for role in ("linear1.weight", "linear1.bias")
        }
        assert kept["seed"] is not None
        graph = net.graph()
        again = dataclasses.replace(graph, stored={**graph.stored, **drawn})
        assert not np.array_equal(drawn["linear1.weight"], net.weights[0])
        ctx.prec = 200
        try:
            h = ball_features(again, 2, Inputs.of(samples.X, (2,)), 200)
            assert not (h * h.transpose()).det().contains(0)
        finally:
            ctx.prec = 53

    def test_frozen_tensors_keep_their_values(self) -> None:
        told = claim(repeated(), data(), frozen="W1,b1", effort=Effort(budget=2))
        assert told["verdict"] == "undecided"


def dead_network() -> Feedforward:
    """A network of relus that are zero on all samples at the stored weights."""
    net = network(activation=Activation.parse("relu"))
    return dataclasses.replace(net, biases=(np.full(8, -100.0), np.zeros(3)))


def advice(net: Any, samples: Data, **settings: str) -> str:
    given = {f"expressivity.{key}": value for key, value in settings.items()}
    (made,) = check(net, samples, conditions=["expressivity"], settings=given)
    return " ".join(made.guidance)


class TestAdvice:
    def test_low_rank_at_the_stored_weights_alone_faults_no_activation(self) -> None:
        assert claim(dead_network(), data())["side_statements"][0]["truth"] == "refuted"
        assert "polynomial" not in advice(dead_network(), data())
        assert "--set expressivity.frozen=none" in advice(dead_network(), data())

    def test_what_is_refuted_is_not_told_as_open(self) -> None:
        told = claim(dead_network(), data(), frozen="none")
        assert (told["verdict"], told["decided_by"]) == ("pass", "theorem-d")
        assert "not proved here" not in advice(dead_network(), data(), frozen="none")

    def test_a_network_without_hidden_weights_has_no_choices(self) -> None:
        builder = GraphBuilder()
        head = {"weight": ("w", np.ones((1, 3))), "bias": ("b", np.zeros(1))}
        net = builder.build(builder.add("linear", [builder.input((3,))], {}, head))
        assert claim(net, data(4, 3))["verdict"] == "pass"
        assert "almost every" not in advice(net, data(4, 3))
        collinear = Data(np.array([[1.0, 2, 3], [2, 4, 6], [3, 6, 9]]))
        assert claim(net, collinear)["verdict"] == "fail"
        assert "no polynomial" in advice(net, collinear)


def test_alignment_needs_an_outer_bias_that_is_trained() -> None:
    """f = w x + 1 with the 1 frozen: w = 3 is stationary for y = 3 x, and the loss is 1."""
    builder = GraphBuilder()
    head = {"weight": ("w", np.array([[3.0]])), "bias": ("b", np.array([1.0]))}
    net = builder.build(builder.add("linear", [builder.input((1,))], {}, head))
    samples = Data(np.array([[1.0], [-1.0]]), np.array([3.0, -3.0]))
    sides = {each["name"] for each in claim(net, samples, frozen="linear1.bias")["side_statements"]}
    assert "aligned" not in sides


@pytest.mark.parametrize("y", [np.zeros((2, 7)), np.zeros(21)])
def test_targets_of_another_kind_are_no_targets_of_the_squared_loss(y: Any) -> None:
    told = claim(network(), Data(data().X, y), frozen="none")
    assert "aligned" not in {each["name"] for each in told["side_statements"]}


@pytest.mark.parametrize("key", ["input_divisor", "scale"])
@pytest.mark.parametrize("text", ["0", "-1", "1e9999", "1e-9999", "1e308", "9" * 5000, "nan"])
def test_numbers_out_of_range(key: str, text: str) -> None:
    net = dataclasses.replace(network(), weights=(np.zeros((8, 2)), np.ones((3, 8))))
    with pytest.raises(SettingsError, match=f"--set expressivity.{key}: expected"):
        claim(net, data(), frozen="b1", **{key: text})


@pytest.mark.parametrize("size", [1e300, 1e-300])
def test_weights_at_the_ends_of_binary64_are_drawn_without_warnings(size: float) -> None:
    net = network()
    net = dataclasses.replace(net, weights=(size * np.ones((8, 2)), net.weights[1]))
    told = claim(net, Data(size * data(3).X), frozen="b1", scale="1e100")
    assert told["verdict"] in ("pass", "undecided")


def test_what_a_declaration_is_taken_to_say_is_an_assumption() -> None:
    for declared, by in (("none", "theorem-d"), ("b1", "perturbed-gram")):
        net = dataclasses.replace(network(), weights=(np.zeros((8, 2)), np.ones((3, 8))))
        told = claim(net, data(), frozen=declared)
        assert (told["verdict"], told["decided_by"]) == ("pass", by)
        assert any("no mask" in text for text in told["assumes"])

"""The condition `gradient-inequality` as a person uses it: what it refuses, says and advises."""

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
    TeacherStudent,
    TwoLayer,
)

NAME = "gradient-inequality"
TANH, RELU, ABS = (Activation.parse(name) for name in ("tanh", "relu", "abs"))
RNG = np.random.default_rng(4)
X = RNG.standard_normal((4, 2))
Y = np.array([1.0, -1.0, 0.5, 0.0])
DATA = Data(X, Y)
W, A, B = RNG.standard_normal((9, 2)), RNG.standard_normal(9), RNG.standard_normal(9)


def network(activation: Activation = TANH, **changes: Any) -> TwoLayer:
    return dataclasses.replace(TwoLayer(W, A, activation, B), **changes)


def made(
    net: Any, data: Data | None, run: Any = None, *, effort: Effort | None = None, **settings: str
) -> Any:
    first = {} if isinstance(net, TeacherStudent) else {"frozen": "none"}
    given = {f"{NAME}.{key}": value for key, value in (first | settings).items()}
    (found,) = check(net, data, run, conditions=[NAME], settings=given, effort=effort)
    return found


def claim(net: Any, data: Data | None = DATA, **settings: Any) -> Any:
    return made(net, data, **settings).claim


def number(told: Any, name: str, by: str = "") -> Enclosure:
    found = next(c for c in told["consequences"] if c["name"] == name and by in ("", c["by"]))
    return Enclosure(endpoint_from_hex(found["lo"]), endpoint_from_hex(found["hi"]))


def route(told: Any, name: str) -> Any:
    return next(r for r in told["routes"] if r["name"] == name)


def chain(*parts: tuple[str, dict[str, Any], dict[str, Any]], shape: tuple[int, ...] = (2,)) -> Any:
    builder = GraphBuilder()
    place = builder.input(shape)
    for op, attributes, tensors in parts:
        place = builder.add(op, [place], attributes, tensors)
    return builder.build(place)


PAIR = TeacherStudent(np.array([[2.0, 0.5]]), np.array([[1.0, 1.0]]), ABS)


class TestSettings:
    def test_which_tensors_are_trained(self) -> None:
        with pytest.raises(SettingsError, match=rf"add --set {NAME}\.frozen=none if all stored"):
            check(network(), Data(X, Y), conditions=[NAME])

    @pytest.mark.parametrize(
        ("settings", "told"),
        [
            ({"frozen": "W9"}, "expected none, or roles among W, a, b, but got 'W9'"),
            ({"loss": "hinge"}, "expected one of half-sum-squares, sum-squares"),
            ({"exponent": "1/3"}, "expected a fraction between 1/2 and 1 with a denominator up to"),
            ({"exponent": "1.25"}, "expected a fraction between 1/2 and 1"),
            ({"exponent": "33/65"}, "with a denominator up to 64, but got '33/65'"),
            ({"kappa": "0"}, "expected a positive number between 1e-100 and 1e100"),
            ({"radius": "0"}, "expected a positive number"),
            ({"scope": "everywhere"}, "expected one of point, ball, trajectory"),
            ({"scope": "ball"}, "but got scope ball and radius None"),
            ({"scope": "point", "radius": "1"}, "but got scope point and radius 1"),
            ({"scope": "trajectory", "radius": "1"}, "but got scope trajectory and radius 1"),
            ({"scope": "trajectory"}, "expected stored checkpoints for scope trajectory, but got"),
        ],
    )
    def test_a_malformed_one_is_one_sentence(self, settings: dict[str, str], told: str) -> None:
        with pytest.raises(SettingsError, match=NAME) as caught:
            claim(network(), **settings)
        assert told in str(caught.value)
        assert "\n" not in str(caught.value)

    @pytest.mark.parametrize(
        ("settings", "told"),
        [
            ({"frozen": "none"}, "neither loss nor frozen for teacher and student"),
            ({"loss": "sum-squares"}, "neither loss nor frozen for teacher and student"),
            ({"radius": "1"}, "expected one of point, trajectory, but got 'ball'"),
        ],
    )
    def test_what_a_population_loss_does_not_have(
        self, settings: dict[str, str], told: str
    ) -> None:
        with pytest.raises(SettingsError) as caught:
            claim(PAIR, None, **settings)
        assert told in str(caught.value)


class TestData:
    def test_samples_are_asked_for_and_targets_are_not(self) -> None:
        with pytest.raises(SettingsError, match=r"expected the training data, but got none"):
            claim(network(), None)
        told = claim(network(), Data(X))
        assert told["verdict"] == "pass"
        assert {c["name"] for c in told["consequences"]} == {"PL constant"}
        assert "lojasiewicz" not in {s["name"] for s in told["side_statements"]}

    def test_a_declared_kappa_needs_targets(self) -> None:
        told = claim(network(), Data(X), kappa="1/10")
        assert "gradient-kappa" not in {r["name"] for r in told["routes"]}

    def test_class_labels_instead_of_one_hot_targets(self) -> None:
        net = Feedforward((W, RNG.standard_normal((3, 9))), (B, None), (TANH,))
        with pytest.raises(InputError, match=r"but got \(4,\); for classification store one-hot"):
            claim(net, Data(X, np.array([0, 1, 2, 1])))

    @pytest.mark.parametrize("bad", [np.nan, np.inf])
    def test_entries_that_are_not_finite(self, bad: float) -> None:
        for data in (Data(np.full((4, 2), bad), Y), Data(X, np.full(4, bad))):
            with pytest.raises(InputError, match="finite"):
                claim(network(), data)


class TestNetworks:
    def test_cross_entropy(self) -> None:
        told = claim(network(), loss="cross-entropy")
        assert told["verdict"] == "not applicable"
        assert "no minimiser" in told["sentence"]

    def test_other_equilibrium_networks(self) -> None:
        told = claim(Equilibrium(PlainWeight(np.eye(2) / 2), TANH))
        assert told["verdict"] == "not applicable"

    def test_softmax_and_dropout(self) -> None:
        inner = ("linear", {}, {"weight": ("v", W)})
        bend = ("activation", {"activation": TANH}, {})
        head = ("linear", {}, {"weight": ("w", A[None])})
        for net, told in (
            (chain(inner, bend, head, ("softmax", {"axis": 0}, {})), "ends in"),
            (chain(inner, bend, ("dropout", {"rate": Fraction(1, 2)}, {}), head), "evaluation"),
        ):
            found = claim(net)
            assert found["verdict"] == "not applicable"
            assert told in found["sentence"]

    def test_convolutions_have_a_tangent_kernel_and_no_ball(self) -> None:
        kernel = RNG.standard_normal((4, 1, 2, 2))
        window = {"strides": (1, 1), "padding": ((0, 0), (0, 0)), "dilations": (1, 1), "groups": 1}
        net = chain(
            ("conv", window, {"weight": ("k", kernel)}), ("activation", {"activation": TANH}, {}),
            ("reshape", {"shape": (16,)}, {}),
            ("linear", {}, {"weight": ("w", RNG.standard_normal((1, 16)))}), shape=(1, 3, 3),
        )  # fmt: skip
        images = Data(RNG.standard_normal((3, 1, 3, 3)), np.zeros(3))
        assert claim(net, images)["decided_by"] == "tangent-kernel"
        ball = made(net, images, radius="1e-6")
        assert ball.verdict == "undecided"
        assert "fully connected networks without tied tensors" in " ".join(ball.guidance)

    def test_the_implicit_network_by_its_last_layer(self) -> None:
        weight = ScaledGaussianWeight(RNG.standard_normal((6, 6)), Fraction(1, 8))
        readout = {"u": np.ones(6), "v": np.ones(6)}
        net = Equilibrium(weight, RELU, ReluFeatureInput(RNG.standard_normal((6, 2))), readout)
        data = Data(X[:2], Y[:2])
        told = claim(net, data)
        assert (told["verdict"], told["decided_by"]) == ("pass", "last-layer")
        assert claim(net, data, frozen="u")["verdict"] == "undecided"
        ball = made(net, data, radius="1e-6")
        assert ball.verdict == "undecided"
        assert "implicit network" in " ".join(ball.guidance)


class TestVerdicts:
    def test_frozen_tensors_leave_their_columns_out(self) -> None:
        whole, part = number(claim(network()), "PL constant"), claim(network(), frozen="W,b")
        assert number(part, "PL constant").hi < whole.lo
        assert claim(network(), frozen="W,a,b")["verdict"] == "fail"

    def test_repeated_samples_fail_for_some_targets(self) -> None:
        told = made(network(), Data(np.vstack([X, X[:1]]), np.r_[Y, Y[:1]]))
        assert told.verdict == "fail"
        assert "for some target" in " ".join(told.guidance)
        witness = route(told.claim, "tangent-kernel")["quantities"]["lambda_min"]["witness"]
        assert witness is not None

    def test_fewer_parameters_than_targets_fail_with_their_count(self) -> None:
        net = TwoLayer(W[:1], A[:1], TANH, B[:1])
        told = claim(net, Data(RNG.standard_normal((9, 2)), np.ones(9)))
        witness = route(told, "tangent-kernel")["quantities"]["lambda_min"]["witness"]
        assert (told["verdict"], witness["kind"]) == ("fail", "few-parameters")

    def test_a_pass_at_a_point_says_that_it_is_one(self) -> None:
        told = made(network(), DATA)
        assert told.claim["scope"] == "point"
        said = " ".join(told.guidance)
        assert "nothing is said of other weights" in said
        assert f"--set {NAME}.radius=R" in said

    def test_the_radius_that_guidance_names_would_do(self) -> None:
        for activation in (TANH, RELU):
            wide = made(network(activation), DATA, radius="4")
            assert wide.verdict == "undecided"
            (said,) = wide.guidance
            radius = said.removeprefix("a radius below ").split()[0]
            narrow = claim(network(activation), radius=radius)
            assert (narrow["verdict"], narrow["scope"]) == ("pass", "ball")

    def test_a_ball_around_a_singular_point_fails(self) -> None:
        told = made(network(), Data(np.vstack([X, X[:1]]), np.r_[Y, Y[:1]]), radius="1/100")
        assert (told.verdict, told.claim["goal"]["name"]) == ("fail", "pl-ball")
        assert "remove repeated samples" in " ".join(told.guidance)

    def test_zero_loss_is_no_failure_at_the_point(self) -> None:
        told = claim(network(a=np.zeros(9)), Data(X, np.zeros(4)))
        side = next(s for s in told["side_statements"] if s["name"] == "lojasiewicz")
        assert side["truth"] in ("proved", "undecided")

    def test_a_stationary_point_with_positive_loss_is_told_aside(self) -> None:
        """All units are off and there is no outer bias: J = 0."""
        net = TwoLayer(0 * W, 0 * A, RELU, 0 * B - 1.0)
        told = claim(net, effort=Effort(all_routes=True))
        side = next(s for s in told["side_statements"] if s["name"] == "lojasiewicz")
        assert (told["verdict"], side["truth"]) == ("fail", "refuted")


SCALES = {"half-sum-squares": Fraction(1), "sum-squares": Fraction(2),
          "half-mean-squares": Fraction(1, 4), "mean-squares": Fraction(1, 2)}  # fmt: skip


@pytest.mark.parametrize("loss", SCALES)
def test_the_constants_scale_exactly_with_the_loss(loss: str) -> None:
    plain, told, s = claim(network()), claim(network(), loss=loss), SCALES[loss]
    assert told["verdict"] == plain["verdict"] == "pass"
    for name in ("PL constant", "loss", "gradient norm"):
        one, own = number(plain, name), number(told, name)
        assert own == Enclosure(s * one.lo, s * one.hi)


class TestTeacherStudent:
    def test_the_theorem_as_recalled_is_in_no_verdict(self) -> None:
        told = made(PAIR, None)
        assert told.verdict == "pass"
        assert any(text.startswith("as recalled, and used in no verdict") for text in told.guidance)
        assert not any("Zhou" in text for text in told.claim["assumes"])

    def test_a_student_at_zero_is_stationary_with_positive_loss(self) -> None:
        zero = dataclasses.replace(PAIR, students=0 * PAIR.students)
        told = claim(zero, None)
        assert (told["verdict"], told["decided_by"]) == ("fail", "stationary")
        assert told["goal"]["name"] == "lojasiewicz"

    def test_the_teacher_itself_has_zero_loss(self) -> None:
        same = dataclasses.replace(PAIR, students=PAIR.teachers)
        told = claim(same, None)
        assert (told["verdict"], told["decided_by"]) == ("pass", "zero-loss")

    def test_other_activations_are_refused(self) -> None:
        with pytest.raises(InputError, match="expected the activation abs or relu"):
            dataclasses.replace(PAIR, activation=TANH)

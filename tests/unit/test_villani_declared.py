"""What must be declared for the Villani condition, and how it is refused."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest

from verify.condition import NotApplicable
from verify.errors import InputError, SettingsError
from verify.network import Activation, Data, Equilibrium, PlainWeight, TwoLayer
from verify_conditions.villani.declared import read
from verify_conditions.villani.problem import prepare

LEAST = {"outer": "frozen", "weight_decay": "0.01"}
W, a = np.array([[1.0, 2.0], [0.5, -1.0]]), np.array([1.0, -1.0])
DATA = Data(np.ones((3, 2)), np.array([1.0, 0.0, -1.0]))


def network(**more: object) -> TwoLayer:
    return TwoLayer(W, a, Activation.parse("tanh"), **more)  # type: ignore[arg-type]


def test_defaults_are_the_printed_ones() -> None:
    told = read(LEAST, has_bias=False, has_outer_bias=False)
    assert (told.loss, told.decay, told.level) == ("half-mean-squares", Fraction(1, 100), 0)
    assert (told.bias, told.outer_bias, told.outer_penalty) == ("none", "none", "quadratic")


def test_penalty_conventions_are_converted() -> None:
    told = read({"outer": "frozen", "l2": "0.01"}, has_bias=False, has_outer_bias=False)
    assert told.decay == Fraction(1, 50)


@pytest.mark.parametrize(
    ("loss", "scale"),
    [("half-mean-squares", 1), ("mean-squares", 2), ("half-sum-squares", 7), ("sum-squares", 14)],
)
def test_loss_scales(loss: str, scale: int) -> None:
    told = read(LEAST | {"loss": loss}, has_bias=False, has_outer_bias=False)
    assert told.loss_scale(7) == scale


REFUSED = [
    ({}, "villani.weight_decay: expected exactly one .* but got neither"),
    ({"weight_decay": "1", "l2": "1"}, "but got both"),
    ({"weight_decay": "1"}, "villani.outer: expected frozen or trained"),
    (LEAST | {"outer": "sometimes"}, "expected frozen or trained, but got 'sometimes'"),
    (LEAST | {"weight_decay": "-1"}, "expected a number >= 0, but got '-1'"),
    (LEAST | {"weight_decay": "nan"}, "expected an exact number"),
    (LEAST | {"s": "0"}, "villani.s: expected a positive number, but got '0'"),
    (LEAST | {"loss": "huber"}, "villani.loss: expected half-mean-squares"),
    (LEAST | {"init": "gaussian(-1)"}, "expected a positive standard deviation"),
    (LEAST | {"init": "uniform"}, r"expected gaussian\(standard deviation\), compact or point"),
    (LEAST | {"bias": "frozen"}, "expected a network with such biases, but got none"),
    (LEAST | {"bias_decay": "1"}, "expected villani.bias=regularised beside it"),
    (LEAST | {"outer_decay": "1"}, "expected villani.outer=trained beside it, but got 'frozen'"),
    (LEAST | {"outer_penalty": "quartic"}, "expected villani.outer=trained beside it"),
    (LEAST | {"noise": "white"}, "villani.noise: expected injected or minibatch"),
]  # fmt: skip


@pytest.mark.parametrize(("settings", "sentence"), REFUSED)
def test_refusals_name_the_setting(settings: dict[str, str], sentence: str) -> None:
    with pytest.raises(SettingsError, match=sentence):
        read(settings, has_bias=False, has_outer_bias=False)


def test_biases_must_be_declared() -> None:
    with pytest.raises(SettingsError, match=r"villani.bias: expected regularised, unregularised"):
        read(LEAST, has_bias=True, has_outer_bias=False)
    with pytest.raises(SettingsError, match=r"villani.outer_bias: expected regularised"):
        read(LEAST, has_bias=False, has_outer_bias=True)
    with pytest.raises(SettingsError, match=r"villani.bias=unregularised"):
        read(LEAST | {"bias": "regularised", "bias_decay": "0"}, has_bias=True,
             has_outer_bias=False)  # fmt: skip


def test_other_families_are_not_applicable() -> None:
    other = Equilibrium(PlainWeight(np.eye(2) / 2), Activation.parse("relu"))
    with pytest.raises(NotApplicable, match="two-layer networks"):
        prepare(other, DATA, None, LEAST)


def test_data_are_required_and_must_fit() -> None:
    with pytest.raises(SettingsError, match=r"add --data with X \(n, d\) and y \(n,\)"):
        prepare(network(), None, None, LEAST)
    with pytest.raises(InputError, match=r"samples X of shape \(n, 2\)"):
        prepare(network(), Data(np.ones((3, 5)), np.ones(3)), None, LEAST)
    with pytest.raises(InputError, match="one target y for each sample"):
        prepare(network(), Data(np.ones((3, 2)), None), None, LEAST)
    with pytest.raises(InputError, match="at least one sample"):
        prepare(network(), Data(np.ones((0, 2)), np.ones(0)), None, LEAST)
    with pytest.raises(InputError, match=r"labels 0 and 1 become 2 y - 1"):
        prepare(network(), DATA, None, LEAST | {"loss": "logistic"})


@pytest.mark.parametrize("odd", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("loss", ["half-mean-squares", "logistic"])
def test_numbers_that_are_not_finite_are_refused_before_any_route(odd: float, loss: str) -> None:
    X, y = np.ones((3, 2)), np.ones(3)
    wrong_X, wrong_y = X.copy(), y.copy()
    wrong_X[1, 1] = wrong_y[2] = odd
    told = LEAST | {"loss": loss}
    with pytest.raises(InputError, match=r"Samples: expected finite entries, but got"):
        prepare(network(), Data(wrong_X, y), None, told)
    with pytest.raises(InputError, match=r"finite targets y, but got (nan|-?inf) at sample 2"):
        prepare(network(), Data(X, wrong_y), None, told)


def test_trained_parameters_are_counted() -> None:
    problem = prepare(network(b=np.zeros(2), c=np.zeros(1)), DATA, None,
                      LEAST | {"bias": "regularised", "outer_bias": "unregularised"})  # fmt: skip
    assert problem.dimension == 4 + 2 + 1
    assert problem.penalty_trace == Fraction(6, 100)
    assert not problem.standard
    assert not problem.every_parameter_penalised

from __future__ import annotations

from fractions import Fraction

import pytest

from verify.errors import InputError
from verify.network.activation import Activation
from verify_kernels.slopes import NAMES, slope_class

PARAMETERS = {"leaky_relu": "(1/3)", "softplus": "(5)", "elu": "(2)"}


@pytest.mark.parametrize("name", NAMES)
def test_every_named_activation_has_a_proved_entry(name):
    known = slope_class(Activation.parse(name + PARAMETERS.get(name, "")))
    assert known.alpha <= known.beta
    assert known.why
    assert isinstance(known.alpha, Fraction)
    assert isinstance(known.beta, Fraction)


@pytest.mark.parametrize(
    ("text", "alpha", "beta"),
    [
        ("leaky_relu(3)", 1, 3),
        ("leaky_relu(-1/2)", Fraction(-1, 2), 1),
        ("leaky_relu(1)", 1, 1),
        ("elu(1/2)", 0, 1),
        ("elu(3)", 0, 3),
    ],
)
def test_parameters_move_the_right_end(text, alpha, beta):
    known = slope_class(Activation.parse(text))
    assert (known.alpha, known.beta) == (alpha, beta)


def test_elu_above_one_does_not_attain_its_upper_slope():
    assert not slope_class(Activation.parse("elu(3)")).attains_beta
    assert slope_class(Activation.parse("elu(1)")).attains_beta


def test_a_leaky_slope_is_the_rational_that_was_written():
    assert slope_class(Activation.parse("leaky_relu(0.01)")).alpha == Fraction(1, 100)
    assert slope_class(Activation("leaky_relu", (Fraction(0.01),))).alpha != Fraction(1, 100)


@pytest.mark.parametrize(
    "activation",
    [
        Activation("swoosh"),
        Activation("relu", (Fraction(1),)),
        Activation("softplus", (Fraction(-1),)),
    ],
)
def test_no_entry_no_slope(activation):
    with pytest.raises(InputError, match=r"expected .*, but got"):
        slope_class(activation)

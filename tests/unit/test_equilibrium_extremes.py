"""Extreme entries and empty sizes never raise, never give NaN, and are decided right."""

from __future__ import annotations

import math
from fractions import Fraction

import flint
import numpy as np
import pytest
from flint import arb

from verify.errors import InputError
from verify.network import AffineInput, ReluFeatureInput
from verify.network.activation import Activation
from verify.verdict import Truth
from verify_kernels import ball_activation
from verify_kernels.equilibrium import bias_enclosure, certify_samples
from verify_kernels.equilibrium_exact import slope_below_zero
from verify_kernels.equilibrium_residual import Modulus
from verify_kernels.input_range import decide_every_input
from verify_kernels.interval_affine import enclose_activation
from verify_kernels.matrix import MatrixEnclosure
from verify_kernels.smooth_refutation import two_disjoint_equilibria

BIG, TINY = 1.7e308, 5e-324
WEIGHTS = {
    "empty": np.zeros((0, 0)),
    "huge": np.array([[BIG]]),
    "subnormal": np.array([[TINY]]),
    "all huge": np.full((2, 2), BIG),
    "all huge negative": np.full((3, 3), -BIG),
    "huge times tiny": np.array([[0.0, BIG], [TINY, 0.0]]),
    "singular": np.eye(2),
    "zero": np.zeros((2, 2)),
    "mixed": np.array([[1e200, -1e200], [1e-200, 3.0]]),
}
TEXTS = ["relu", "tanh", "softplus", "leaky_relu(1/3)", "gelu", "sin", "elu(2)", "silu"]


@pytest.mark.parametrize("name", WEIGHTS)
@pytest.mark.parametrize("text", TEXTS)
def test_samples_of_extreme_layers(name, text):
    W, activation = WEIGHTS[name], Activation.parse(text)
    m = len(W)
    moduli = [Modulus("contraction", Fraction(1, 2))]
    if text in ("relu", "tanh", "softplus"):
        moduli += [Modulus("monotone", Fraction(1, 2))]
        moduli += [Modulus("diagonal", Fraction(1, 2), np.full(m, 2.0**399))]
    for size in (1.0, BIG, -TINY):
        B, Z = np.full((2, m), size), np.full((2, m), -BIG)
        for records in (
            certify_samples(MatrixEnclosure(W), activation, B),
            certify_samples(MatrixEnclosure(W), activation, B, moduli, solver_outputs=Z),
        ):
            for record in records:
                assert not math.isnan(record.radius_inf)
                assert record.distance is None or record.exists
                assert record.exists or record.why_open


@pytest.mark.parametrize("name", ["leaky_relu", "softplus", "elu"])
@pytest.mark.parametrize("exponent", [-1100, 1100])
def test_parameters_beyond_binary64_never_give_a_false_value(name, exponent):
    activation = Activation(name, (Fraction(2) ** exponent,))
    points = np.array([-BIG, -1.0, -TINY, 0.0, 1.0, BIG])
    mid, rad = enclose_activation(activation, points, np.zeros(6))
    with flint.ctx.workprec(2500):
        for x, near, radius in zip(points, mid, rad, strict=True):
            exact = ball_activation.value(activation, arb(float(x)))
            assert not radius < np.inf or abs(exact - arb(float(near))) <= arb(float(radius))
    weight = MatrixEnclosure(np.array([[0.5, 1.0], [-1.0, 2.0]]))
    (record,) = certify_samples(weight, activation, np.ones((1, 2)))
    assert record.exists or record.why_open
    two_disjoint_equilibria(weight, activation, tries=3)


@pytest.mark.parametrize("name", WEIGHTS)
def test_inputs_of_extreme_layers(name):
    W = WEIGHTS[name]
    m = len(W)
    for d in (0, 1, 2):
        for size in (0.0, 1.0, BIG, TINY):
            U = np.full((m, d), size)
            for given in (AffineInput(U, np.full(m, -1.0)), ReluFeatureInput(U)):
                mid, rad = bias_enclosure(given, np.full((2, d), size))
                assert not np.isnan(mid).any()
                assert not np.isnan(rad).any()
                for alpha in (Fraction(0), Fraction(1, 3)):
                    found = decide_every_input(MatrixEnclosure(W), given, alpha)
                    assert isinstance(found.value, Truth)
                    assert (found.value is Truth.UNDECIDED) == bool(found.why_open)


@pytest.mark.parametrize("name", WEIGHTS)
def test_searches_of_extreme_layers_end(name):
    for text in ("tanh", "sigmoid", "softplus"):
        two_disjoint_equilibria(MatrixEnclosure(WEIGHTS[name]), Activation.parse(text), tries=3)


def test_an_identity_weight_has_a_whole_ray_of_equilibria_for_the_bias_zero():
    given = AffineInput(np.zeros((2, 1)), np.zeros(2))
    found = decide_every_input(MatrixEnclosure(np.eye(2)), given, Fraction(0))
    assert found.value is Truth.REFUTED


def test_shapes_that_do_not_fit_are_refused():
    weight = MatrixEnclosure(np.eye(2))
    message = r"expected .*, but got"
    with pytest.raises(InputError, match=message):
        certify_samples(weight, Activation("relu"), np.zeros((1, 3)))
    with pytest.raises(InputError, match=message):
        certify_samples(
            weight, Activation("relu"), np.zeros((1, 2)), solver_outputs=np.zeros((2, 2))
        )
    with pytest.raises(InputError, match=message):
        certify_samples(weight, Activation("relu"), np.full((1, 2), np.nan))
    with pytest.raises(InputError, match=message):
        bias_enclosure(AffineInput(np.zeros((2, 3)), np.zeros(2)), np.zeros((1, 2)))
    with pytest.raises(InputError, match=message):
        bias_enclosure(AffineInput(np.zeros((2, 3)), np.zeros(3)), np.zeros((1, 3)))
    with pytest.raises(InputError, match=message):
        decide_every_input(weight, AffineInput(np.zeros((3, 1)), np.zeros(3)), Fraction(0))
    with pytest.raises(InputError, match=message):
        decide_every_input(weight, ReluFeatureInput(np.zeros((3, 1))), Fraction(0))
    with pytest.raises(InputError, match=message):
        slope_below_zero(Activation("hardtanh"))

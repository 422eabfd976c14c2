"""The vectorised activations against balls of 200 bits."""

from __future__ import annotations

import math
from fractions import Fraction

import flint
import numpy as np
import pytest
from flint import arb

from verify.enclosure import Enclosure
from verify.network.activation import Activation
from verify_kernels import ball_activation, elementary_bounds
from verify_kernels.elementary_bounds import bounded_activation, exp_of_nonpositive

TEXTS = ["tanh", "sigmoid", "silu", "softplus", "softplus(100)", "softplus(1/3)", "elu", "elu(1/3)"]
EDGES = [0.0, -0.0, 5e-324, -5e-324, 1e-300, -1e-9, 1.0, -1.0, 700.0, -700.0, -744.0, -746.0]
EDGES += [-799.9, -800.1, 1e5, -1e5, 1.7e308, -1.7e308, -0.34657359027997264, 19.1, -37.5]


def points():
    generator = np.random.default_rng(6)
    scales = np.repeat([1e-6, 0.1, 1.0, 10.0, 300.0], 150)
    return np.concatenate([EDGES, generator.standard_normal(len(scales)) * scales])


def escapes(values, errors, truth):
    wrong = 0
    with flint.ctx.workprec(200):
        for x, value, error in zip(points(), values, errors, strict=True):
            exact = Enclosure.from_arb(truth(float(x)))
            if math.isfinite(error):
                reach = max(exact.hi - Fraction(float(value)), Fraction(float(value)) - exact.lo)
                wrong += reach > Fraction(float(error)) + exact.width
    return wrong


@pytest.mark.parametrize("text", TEXTS)
def test_errors_are_bounded_and_small(text):
    activation = Activation.parse(text)
    values, errors = bounded_activation(activation, points())
    assert escapes(values, errors, lambda x: ball_activation.value(activation, arb(x))) == 0
    ordinary = np.abs(points()) < 1e3
    assert np.max(errors[ordinary] / (1.0 + np.abs(points()[ordinary]))) < 1e-13


def test_the_exponential():
    values, errors = exp_of_nonpositive(-np.abs(points()))
    assert escapes(values, errors, lambda x: (-abs(arb(x))).exp()) == 0


def test_without_its_error_term_the_exponential_is_not_enclosed(monkeypatch):
    monkeypatch.setattr(elementary_bounds, "RELATIVE", 0.0)
    values, errors = exp_of_nonpositive(-np.abs(points()))
    assert escapes(values, errors, lambda x: (-abs(arb(x))).exp()) > 0


def test_the_constants():
    with flint.ctx.workprec(200):
        rest = arb(2).log() - arb(elementary_bounds._LN2_HIGH) - arb(elementary_bounds._LN2_LOW)
        assert abs(rest) < arb(2) ** -85
    assert (Fraction(elementary_bounds._LN2_HIGH) * 2**33).denominator == 1
    for k, coefficient in enumerate(elementary_bounds._COEFFICIENTS):
        exact = Fraction(1, math.factorial(k))
        assert abs(Fraction(coefficient) - exact) <= exact * Fraction(1, 2**53)

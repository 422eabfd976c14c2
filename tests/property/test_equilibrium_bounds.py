"""Laws of the batched bounds on arbitrary floats, subnormal and huge ones included."""

from __future__ import annotations

from fractions import Fraction

import flint
import numpy as np
import pytest
from flint import arb, fmpq
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from verify.enclosure import Enclosure
from verify.network.activation import NAMES, Activation
from verify_kernels import ball_activation, equilibrium_residual
from verify_kernels.interval_affine import (
    enclose_activation,
    enclose_affine,
    product_bound,
    slope_interval,
)
from verify_kernels.matrix import MatrixEnclosure

ANY = st.floats(allow_nan=False, allow_infinity=False, width=64)
PARAMETERS = {"leaky_relu": "(1/3)", "softplus": "(5)", "elu": "(2)"}
# the slopes of the square are not bounded
TEXTS = [name + PARAMETERS.get(name, "") for name in NAMES if name != "square"]
quick = settings(deadline=None, max_examples=60, derandomize=True)


def arrays(*shape):
    return hnp.arrays(np.float64, shape, elements=ANY)


def rational(x):
    return Fraction(float(x))


def exact_dot(row, column):
    return sum((rational(a) * rational(b) for a, b in zip(row, column, strict=True)), Fraction(0))


@given(arrays(2, 3), arrays(2, 3), arrays(2))
@quick
def test_affine_images_lie_in_their_balls(Z, W, b):
    mid, rad = enclose_affine(Z, MatrixEnclosure(W), b)
    for i in range(2):
        for j in range(2):
            if np.isfinite(rad[i, j]):
                exact = exact_dot(Z[i], W[j]) + rational(b[j])
                assert abs(rational(mid[i, j]) - exact) <= rational(rad[i, j])


@given(arrays(1, 3), arrays(2, 3), arrays(2, 3))
@quick
def test_radii_of_the_weight_are_covered(Z, W, R):
    rad_w = np.abs(R)
    mid, rad = enclose_affine(Z, MatrixEnclosure(W, rad_w), np.zeros(2))
    for j in range(2):
        if np.isfinite(rad[0, j]):
            low, high = rational(mid[0, j]) - rational(rad[0, j]), None
            high = rational(mid[0, j]) + rational(rad[0, j])
            spread = exact_dot(np.abs(Z[0]), rad_w[j])
            centre = exact_dot(Z[0], W[j])
            assert low <= centre - spread
            assert centre + spread <= high


@given(arrays(2, 4), arrays(3, 4))
@quick
def test_product_bounds_are_above(Z, W):
    found = product_bound(np.abs(Z), np.abs(W))
    for i in range(2):
        for j in range(3):
            if np.isfinite(found[i, j]):
                assert rational(found[i, j]) >= exact_dot(np.abs(Z[i]), np.abs(W[j]))


@given(arrays(3, 4))
@quick
def test_row_norms_are_above(X):
    found = equilibrium_residual._row_norms(np.abs(X))
    for row, bound in zip(X, found, strict=True):
        if np.isfinite(bound):
            assert rational(bound) ** 2 >= sum(rational(x) ** 2 for x in row)


@pytest.mark.parametrize("text", TEXTS)
@given(x=ANY, r=st.floats(min_value=0, max_value=1e3))
@quick
def test_activations_and_slopes_lie_in_their_balls(text, x, r):
    activation = Activation.parse(text)
    value, error = enclose_activation(activation, np.array([x]), np.array([r]))
    low, high = slope_interval(activation, np.array([x - r]), np.array([x + r]))
    with flint.ctx.workprec(300):
        for shift in (-1, 0, 1):
            point = rational(x) + shift * rational(r)
            ball = arb(fmpq(point.numerator, point.denominator))
            truth = ball_activation.value(activation, ball)
            if np.isfinite(error[0]) and truth.is_finite():
                covered = arb(float(value[0]), float(error[0]))
                assert covered.overlaps(truth)
                ends = Enclosure.from_arb(truth)
                assert abs(rational(value[0]) - ends.lo) <= rational(error[0]) + ends.width
        if x - r <= rational(x) <= x + r:
            middle = ball_activation.slope(activation, arb(x))
            assert not (middle < arb(float(low[0])))
            assert not (middle > arb(float(high[0])))

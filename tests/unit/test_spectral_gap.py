"""Measured spectral gaps against exact ones and against the proved rate of coupling."""

import math
from fractions import Fraction

import numpy as np
import pytest

from verify.enclosure import Enclosure
from verify.errors import InputError
from verify_kernels.two_layer.coupling_rate import enclose_coupling_rate
from verify_kernels.two_layer.spectral_gap import confining_radius, measure_spectral_gap


@pytest.mark.parametrize("s", [0.25, 1.0, 4.0])
def test_the_quadratic_in_one_dimension_has_its_curvature_as_gap(s):
    radius = confining_radius(0.5, s, 0.0)
    found = measure_spectral_gap(
        lambda w: 0.25 * w[:, 0] ** 2, dimension=1, s=s, radius=radius, points=1001
    )
    # second order in the width: the difference to twice the width is three times the error
    assert abs(found.value - 0.5) < found.spread
    assert found.spread < 1e-3


def test_the_quadratic_in_two_dimensions_has_the_smaller_curvature():
    def f(w):
        return 0.25 * w[:, 0] ** 2 + 0.75 * w[:, 1] ** 2 + 0.1 * w[:, 0] * w[:, 1]

    smallest = float(np.linalg.eigvalsh([[0.5, 0.1], [0.1, 1.5]])[0])
    found = measure_spectral_gap(f, dimension=2, s=1.0, radius=9.0, points=81)
    assert abs(found.value - smallest) < 2 * found.spread


def test_a_separable_function_has_the_smaller_gap_of_its_parts():
    def well(w):
        return (w**2 - 1.0) ** 2

    line = measure_spectral_gap(lambda w: well(w[:, 0]), dimension=1, s=0.5, radius=2.5, points=161)
    plane = measure_spectral_gap(
        lambda w: well(w[:, 0]) + w[:, 1] ** 2, dimension=2, s=0.5, radius=2.5, points=161
    )
    assert line.value < 0.1  # two wells: slow
    assert abs(plane.value - line.value) < 1e-8  # the same grid in the slow direction


@pytest.mark.parametrize(
    ("amplitude", "wave", "lam", "s"),
    [("1", "1", "0.5", "1"), ("0.5", "3", "0.5", "1"), ("1", "2", "2", "0.5"),
     ("0.2", "4", "0.3", "2"), ("0.3", "1", "1", "1")],
)  # fmt: skip
def test_the_rate_of_coupling_is_below_the_gap(amplitude, wave, lam, s):
    """f = A cos(k w) + (lam/2) w^2: |g'| <= A k and g'' >= -A k^2."""
    A, k, lam_, s_ = (Fraction(text) for text in (amplitude, wave, lam, s))
    G, curvature = A * k, A * k * k
    rate = enclose_coupling_rate(
        Enclosure.outward(G, G), Enclosure.outward(curvature, curvature), lam_, s_
    ).enclosure()
    radius = confining_radius(float(lam_), float(s_), 2 * float(A))
    found = measure_spectral_gap(
        lambda w: float(A) * np.cos(float(k) * w[:, 0]) + 0.5 * float(lam_) * w[:, 0] ** 2,
        dimension=1, s=float(s_), radius=radius,
    )  # fmt: skip
    assert 0 < rate.lo_float <= found.value + found.spread


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"dimension": 3}, "dimension 1 or 2"), ({"s": 0.0}, "s > 0 and radius > 0"),
        ({"radius": math.inf}, "s > 0 and radius > 0"), ({"points": 8}, "an odd number of points"),
        ({"points": 10}, "an odd number of points"), ({"f": lambda w: w}, r"finite f of shape"),
        ({"f": lambda w: np.full(len(w), np.nan)}, r"finite f of shape"),
        ({"f": lambda w: 1e6 * w[:, 0] ** 2}, "add points or shrink the box"),
    ],
)  # fmt: skip
def test_refusals(changes, expected):
    given = {"f": lambda w: w[:, 0] ** 2, "dimension": 1, "s": 1.0, "radius": 3.0, "points": 9}
    given |= changes
    f = given.pop("f")
    with pytest.raises(InputError, match=rf"^measure_spectral_gap: expected .*{expected}"):
        measure_spectral_gap(f, **given)

"""Bounds along a training run against exact rational arithmetic."""

from fractions import Fraction

import numpy as np
import pytest

from verify.enclosure import Enclosure
from verify_conditions import implicit_relu_training as training
from verify_conditions.implicit_relu_training import enclose_displacement


def exact_square(now, then):
    return sum(
        (Fraction(float(a)) - Fraction(float(b))) ** 2
        for a, b in zip(now.ravel(), then.ravel(), strict=True)
    )


def contains(enclosure, square):
    """Whether the square root of an exact number lies in the enclosure, decided exactly."""
    above = enclosure.hi == float("inf") or square <= Fraction(enclosure.hi) ** 2
    return enclosure.lo >= 0 and Fraction(enclosure.lo) ** 2 <= square and above


def pairs(seed):
    rng = np.random.default_rng(seed)
    for case in range(300):
        shape = tuple(rng.integers(0, 7, size=2))
        scale = 2.0 ** float(rng.choice([-1074, -1000, -537, -30, 0, 30, 500, 1000]))
        then = rng.standard_normal(shape) * scale
        near = 2.0 ** float(rng.choice([-52, -30, -3, 0]))
        yield case, then + near * scale * rng.standard_normal(shape), then


@pytest.mark.filterwarnings("ignore:overflow:RuntimeWarning")
def test_displacement_contains_the_exact_distance():
    for case, now, then in pairs(0):
        assert contains(enclose_displacement(now, then), exact_square(now, then)), case


def test_equal_matrices_have_displacement_zero():
    enclosure = enclose_displacement(np.ones((3, 3)), np.ones((3, 3)))
    assert enclosure.lo == enclosure.hi == 0


def test_without_outward_rounding_the_containment_test_fails(monkeypatch):
    monkeypatch.setattr(training, "norm_up", lambda values: float(np.linalg.norm(values)))
    monkeypatch.setattr(training, "mul_up", lambda a, b: a)
    assert not all(
        contains(Enclosure(0, enclose_displacement(now, then).hi), exact_square(now, then))
        for _, now, then in pairs(1)
        if np.isfinite(now).all() and now.size
    )


def test_a_difference_that_rounds_up_is_enclosed():
    # 1 - 2^-54 rounds to 1: the norm of the rounded difference alone is not a lower bound.
    now, then = np.array([[1.0]]), np.array([[2.0**-54]])
    assert exact_square(now, then) < 1
    assert contains(enclose_displacement(now, then), exact_square(now, then))

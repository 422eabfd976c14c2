"""Small terms of the bounds of full rank: underflow, scalings, second factors, in exact numbers."""

import itertools
import math
from fractions import Fraction

import numpy as np
import pytest

from verify.enclosure import Enclosure
from verify_kernels import _numpy
from verify_kernels.forward.features import Features
from verify_kernels.full_rank import gram, preconditioned
from verify_kernels.full_rank.preconditioned import precondition_closely
from verify_kernels.full_rank.scaling import equilibrated
from verify_kernels.full_rank.singular_values import enclose_singular_extremes
from verify_kernels.full_rank.split_products import product_with_error
from verify_kernels.matrix import rational_matrix


def _graded(draw, shape):
    """Numbers of any size, down to the smallest ones, with zeros."""
    values = np.ldexp(draw.standard_normal(shape), draw.integers(-1080, 890, shape))
    return np.where(draw.random(shape) < 0.2, 0.0, values)


def _scaled_exactly(given, found, i):
    """Return the moves of row i of the middle after scaling by the exact power of two, and that."""
    largest = float(np.abs(given.mid[i]).max())
    power = Fraction(2) ** -(math.frexp(largest)[1] if largest else 0)
    pairs = zip(found.mid[i].tolist(), given.mid[i].tolist(), strict=True)
    return [Fraction(new) - Fraction(old) * power for new, old in pairs], power


def test_rows_scaled_by_powers_of_two_stay_enclosed():
    draw = np.random.default_rng(1)
    for _ in range(300):
        mid = _graded(draw, (3, 4)) * draw.choice([1.0, 2.0**-60])
        radius = np.abs(_graded(draw, (3, 4)))
        given = Features(mid, np.abs(_graded(draw, 3)), radius)
        found = equilibrated(given, ones=False)
        for i in range(3):
            moves, power = _scaled_exactly(given, found, i)
            if math.isfinite(found.row_radius[i]):
                room = Fraction(found.row_radius[i]) - Fraction(given.row_radius[i]) * power
                assert room >= 0
                assert sum(move * move for move in moves) <= room**2
            for new, old, move in zip(found.radius[i], radius[i], moves, strict=True):
                if math.isfinite(new):
                    assert Fraction(float(new)) >= Fraction(float(old)) * power + abs(move)


@pytest.mark.parametrize("slices", [1, 3, 8])
def test_split_products_whose_parts_underflow(slices):
    draw = np.random.default_rng(slices)
    seen = 0
    for _ in range(150):
        A = np.ldexp(draw.standard_normal((2, 3)), draw.integers(-1070, 0, (2, 3)))
        B = np.ldexp(draw.standard_normal((3, 2)), draw.integers(-300, 800, (3, 2)))
        for left, right in ((A, B), (B.T, A.T)):
            split = product_with_error(left, right, slices)
            if split is None:
                continue
            seen += 1
            hi, lo, bound = split
            rest = rational_matrix(left) * rational_matrix(right)
            rest = rest - rational_matrix(hi) - rational_matrix(lo)
            square = sum(x * x for x in rest.entries())
            assert Fraction(int(square.p), int(square.q)) <= Fraction(bound) ** 2
    assert seen >= 40


def test_the_norm_of_a_right_inverse_counts_both_factors(monkeypatch):
    M = np.diag(np.arange(1.0, 21.0))
    proposed = iter([np.linalg.inv(M) / 8.0, 8.0 * np.eye(20)])
    monkeypatch.setattr(preconditioned, "_right_inverse", lambda given: next(proposed))
    shown = precondition_closely(Features(M, np.zeros(20)), ones=False)
    assert shown.smallest.lo <= 1
    assert shown.inverse_norm.enclosure().hi >= 1


@pytest.mark.parametrize("n", [2, 20])
def test_singular_values_move_by_the_radius(n):
    M = np.diag(np.linspace(3.0, 5.0, n))
    radius = np.zeros(n)
    radius[0] = 1.0
    smallest, largest = enclose_singular_extremes(Features(M, radius), ones=False)
    assert smallest.lo <= 2
    assert smallest.hi >= 4
    assert largest.hi >= 6
    assert largest.lo <= 4


def test_rayleigh_quotients_of_sums_that_lose_a_term(monkeypatch):
    # 2^-54 beside 1 is lost before 1 cancels
    exact = Fraction(1, 2**30) + Fraction(1, 2**54)

    def exceeded(column):
        M = np.array(column)[:, None]
        high = gram._rayleigh_up(M, np.ones(3), gram._gram(M, _numpy))
        return exact**2 / 3 > Fraction(high)

    columns = list(itertools.permutations([1.0, 2.0**-54, -(1.0 - 2.0**-30)]))
    assert not any(map(exceeded, columns))
    monkeypatch.setattr(gram, "gamma", lambda k: 0.0)
    assert any(map(exceeded, columns))


def test_radii_that_are_not_known_prove_nothing():
    draw = np.random.default_rng(3)
    mid = draw.standard_normal((20, 30))
    for rows in (np.full(20, np.inf), np.where(np.arange(20) == 7, np.inf, 0.0)):
        given = equilibrated(Features(np.where(np.isinf(rows)[:, None], 0.0, mid), rows), ones=True)
        assert gram.radius_squared(given) == Enclosure(0, math.inf)
        assert enclose_singular_extremes(given, ones=False)[0].lo == 0
        assert precondition_closely(given, ones=False).smallest.lo == 0

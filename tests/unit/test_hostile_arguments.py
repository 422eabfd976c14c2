"""Arguments that NumPy would round or stretch on the wrong side."""

from fractions import Fraction

import numpy as np
import pytest

from verify.errors import InputError
from verify_kernels._rounding import exact_number
from verify_kernels.definiteness import enclose_smallest_eigenvalue, proves_definite
from verify_kernels.matrix import MatrixEnclosure, as_matrix, identity_minus
from verify_kernels.spectral_norm import proves_norm_at_most

LONG = np.longdouble
WIDE = np.finfo(LONG).nmant > 52
needs_wide = pytest.mark.skipif(not WIDE, reason="long double is binary64 here")


def test_integer_claims_are_not_rounded_up():
    assert not proves_norm_at_most([[2.0**53 + 4]], np.int64(2**53 + 3))
    assert proves_norm_at_most([[2.0**53 + 4]], np.int64(2**53 + 4))
    wide = np.full((20, 20), 0.0)
    wide[0, 0] = wide[1, 0] = 2.0**53 + 4
    assert not proves_norm_at_most(wide[:, :1] * np.eye(1, 20), np.int64(2**53 + 3))


@needs_wide
def test_claims_between_two_floats_are_not_rounded_up():
    entry = 1.0 + 2.0**-52
    below = LONG(entry) - LONG(2.0**-60)
    assert float(below) == entry
    assert not proves_norm_at_most([[entry]], below)
    assert proves_norm_at_most([[entry]], LONG(entry) + LONG(2.0**-60))


@needs_wide
def test_bounds_between_two_floats_are_not_rounded_down():
    """The smallest eigenvalue 2/3 lies between the float next below it and the bound."""
    third = Fraction(1, 3)
    near = float(2 * third)
    assert Fraction(near) < 2 * third
    between = LONG(near) + LONG(3 * 2.0**-56)
    assert float(between) == near
    above = Fraction(*between.as_integer_ratio())
    assert 2 * third < above
    exact = MatrixEnclosure(np.array([[near]]), np.array([[2.0**-53]]), _scalar(2 * third))
    assert proves_definite(exact, at_least=near)
    assert not proves_definite(exact, at_least=between)
    assert not proves_definite(exact, error=between)
    assert not proves_definite(exact, error=above)


def _scalar(value):
    from flint import fmpq, fmpq_mat

    return fmpq_mat(1, 1, [fmpq(value.numerator, value.denominator)])


def test_errors_are_rounded_up():
    value = enclose_smallest_eigenvalue(np.eye(2), error=Fraction(1, 3)).enclosure()
    assert value.lo <= 1 - Fraction(1, 3)
    assert value.hi >= 1 + Fraction(1, 3)


@pytest.mark.parametrize(
    "number", [3, True, np.int8(-3), np.bool_(1), 0.5, np.float32(0.1), Fraction(1, 3), LONG(0.75)]
)
def test_numbers_of_any_type_are_exact(number):
    assert isinstance(exact_number(number), Fraction)
    value = number if isinstance(number, Fraction) else float(number)
    assert exact_number(number) == value


@pytest.mark.parametrize("number", [np.inf, -np.inf, LONG(np.inf), np.float32(-np.inf)])
def test_infinite_numbers_stay_infinite(number):
    assert exact_number(number) == float(number)


def test_radii_are_not_stretched():
    """A row of radii for 20 rows: its norm is 4.5 times too small as a bound."""
    with pytest.raises(InputError, match="one shape"):
        MatrixEnclosure(np.eye(20), np.full((1, 20), 0.1))
    with pytest.raises(InputError, match="one shape"):
        MatrixEnclosure(np.eye(2), np.zeros((2, 2)), _scalar(Fraction(1)))


@pytest.mark.parametrize(
    "factor", [Fraction(1, 2**1080), Fraction(1, 3 * 2**1070), Fraction(1, 3), Fraction(-5, 7)]
)
def test_a_factor_below_the_floats_times_a_large_entry(factor):
    mid, rad = np.full((2, 2), 2.0**1020), np.full((2, 2), 2.0**1000)
    found = identity_minus(MatrixEnclosure(mid, rad), factor)
    for i in range(2):
        for j in range(2):
            for sign in (-1, 0, 1):
                entry = Fraction(mid[i, j]) + sign * Fraction(rad[i, j])
                away = abs(int(i == j) - factor * entry - Fraction(found.mid[i, j]))
                assert away <= Fraction(found.rad[i, j])


@pytest.mark.parametrize("factor", [Fraction(2), Fraction(2) ** 1100])
def test_what_overflows_has_an_infinite_radius(factor):
    largest = np.full((2, 2), np.finfo(float).max)
    found = identity_minus(MatrixEnclosure(largest, np.ones((2, 2))), factor)
    assert np.isfinite(found.mid).all()
    assert np.isposinf(found.rad).all()


@pytest.mark.parametrize(
    "rows",
    [
        [[2**53 + 1, 0.5]],
        [[0.5, -(2**53) - 1]],
        [[2**53 + 1]],
        [[2**70, 1.0]],
        [[np.int64(2**53 + 1), np.uint64(1)]],
        [np.array([2**53 + 1, 1]), np.array([0.5, 1.0])],
    ],
)
def test_integers_beside_floats_are_not_rounded(rows):
    with pytest.raises(InputError, match=r"expected (integers up to 2\^53|real floating)"):
        as_matrix(rows, where="here")


@pytest.mark.parametrize("rows", [[[2**53, 0.5]], [[1, 2.0], [3.0, True]], [[0.1, -0.0]], [[]]])
def test_lists_of_small_integers_and_floats_are_matrices(rows):
    assert as_matrix(rows, where="here").tolist() == rows

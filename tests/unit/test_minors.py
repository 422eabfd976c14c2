"""Exact principal minors: counts, signs, small bad sets."""

from __future__ import annotations

import random
import time
from fractions import Fraction
from itertools import combinations

import pytest
from flint import fmpq, fmpq_mat

from verify_kernels import minors


def matrix_of(rows):
    return fmpq_mat(len(rows), len(rows), [fmpq(x) for row in rows for x in row])


def signs(exact):
    n = exact.nrows()
    values = [
        minors.principal_minor(exact, s)
        for size in range(1, n + 1)
        for s in combinations(range(n), size)
    ]
    return sum(v > 0 for v in values), sum(v == 0 for v in values), sum(v < 0 for v in values)


@pytest.mark.parametrize("seed", range(30))
def test_the_sweep_counts_what_determinants_say(seed):
    rng = random.Random(seed)
    n = rng.randint(1, 6)
    exact = matrix_of([[rng.randint(-1, 2) for _ in range(n)] for _ in range(n)])
    positive, zero, negative = signs(exact)
    for strict in (True, False):
        sweep = minors.sweep_minors(minors.integer_rows(exact), strict=strict)
        good = negative == 0 and (zero == 0 or not strict)
        assert sweep.complete is good
        if good:
            assert (sweep.positive, sweep.zero) == (positive, zero)
        else:
            value = minors.principal_minor(exact, sweep.bad)
            assert value < 0 or (strict and value == 0)


def test_a_sweep_out_of_time_proves_nothing():
    rows = minors.integer_rows(matrix_of([[1, 0], [0, 1]]))
    late = minors.sweep_minors(rows, strict=True, deadline=time.monotonic() - 1.0)
    assert not late.complete
    assert late.bad is None
    zero_diagonal = minors.integer_rows(matrix_of([[0, 1], [-1, 0]]))
    assert minors._sweep_zero_diagonal(zero_diagonal, time.monotonic() - 1.0).complete is False


def test_integer_rows_keep_every_sign_over_the_whole_float_range():
    tiny, huge = Fraction(1, 2**1074), Fraction(2**1023)
    rows = [[1 + tiny, huge], [tiny, 1]]
    exact = fmpq_mat(
        2, 2, [fmpq(x.numerator, x.denominator) for row in rows for x in map(Fraction, row)]
    )
    integers = minors.integer_rows(exact)
    assert all(x == int(x) for row in integers for x in row)
    assert minors.sweep_minors(integers, strict=True).complete


def test_a_bad_set_is_made_small():
    rows = [[int(i == j) for j in range(12)] for i in range(12)]
    rows[3][8] = rows[8][3] = 2
    exact = matrix_of(rows)
    assert minors.shrink_bad_set(exact, range(12)) == (3, 8)
    assert minors.shrink_bad_set(exact, [3, 8]) == (3, 8)
    assert minors.principal_minor(exact, ()) == 1

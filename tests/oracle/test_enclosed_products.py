"""Sums, products, scalings and solutions of enclosures against exact rationals."""

from fractions import Fraction

import numpy as np
import pytest
from flint import fmpq, fmpq_mat

from verify.errors import InputError
from verify_kernels import enclosed_products, linear_solve
from verify_kernels.enclosed_products import (
    Balls,
    add,
    affine,
    nearest_enclosure,
    product,
    row_sums,
    scale,
)
from verify_kernels.linear_solve import enclose_solution
from verify_kernels.matrix import MatrixEnclosure, rational_matrix


def _outside(found, exact):
    """Count the entries of the exact matrix that are not enclosed."""
    count = 0
    for i in range(exact.nrows()):
        for j in range(exact.ncols()):
            value = Fraction(int(exact[i, j].p), int(exact[i, j].q))
            rad = Fraction(0) if found.rad is None else Fraction(float(found.rad[i, j]))
            count += abs(value - Fraction(float(found.mid[i, j]))) > rad
    return count


def _rational(value):
    return fmpq(value.numerator, value.denominator)


def _random(rng, m, n, spread=0):
    return np.ldexp(rng.standard_normal((m, n)), rng.integers(-spread, spread + 1, (m, n)))


@pytest.mark.parametrize("seed", range(25))
def test_results_enclose_the_exact_ones(seed):
    rng = np.random.default_rng(seed)
    m, k, n = (int(x) for x in rng.integers(1, 9, 3))
    spread = int(rng.choice([0, 30, 400]))
    A, B, C = _random(rng, m, k, spread), _random(rng, k, n, spread), _random(rng, m, k, spread)
    a, b, c = (MatrixEnclosure(x) for x in (A, B, C))
    exact = [rational_matrix(x) for x in (A, B, C)]
    assert _outside(product(a, b), exact[0] * exact[1]) == 0
    assert _outside(add(a, c), exact[0] + exact[2]) == 0
    rows = [Fraction(int(rng.integers(1, 99)), int(rng.integers(1, 99))) for _ in range(m)]
    scaled = scale(a, Balls.of(rows), None)
    truth = fmpq_mat(
        m, k, [exact[0][i, j] * _rational(rows[i]) for i in range(m) for j in range(k)]
    )
    assert _outside(scaled, truth) == 0
    wide = product(add(a, c), b)
    assert _outside(wide, (exact[0] + exact[2]) * exact[1]) == 0
    low, high = row_sums(A)
    for i in range(m):
        total = sum(abs(Fraction(float(x))) for x in A[i])
        assert Fraction(float(low[i])) <= total <= Fraction(float(high[i]))


def test_subnormal_products_are_enclosed():
    A = np.full((1, 9), 1.3e-200)
    B = np.full((9, 1), 1.7e-124)
    found = product(MatrixEnclosure(A), MatrixEnclosure(B))
    assert _outside(found, rational_matrix(A) * rational_matrix(B)) == 0
    tiny = scale(MatrixEnclosure(A), Balls.of([Fraction(1, 3**200)]), None)
    assert _outside(tiny, rational_matrix(A) * fmpq(1, 3**200)) == 0


def test_zero_patterns_survive_and_exact_results_have_no_radius():
    A = np.array([[1.0, 0.0], [0.0, 0.0]])
    a = MatrixEnclosure(A)
    third = Balls.repeated(Fraction(1, 3), 2)
    for found in (product(a, MatrixEnclosure(A * 0.1)), scale(a, third, third)):
        assert found.rad is not None
        assert (found.rad[A == 0.0] == 0.0).all()
    assert scale(a, Balls.repeated(Fraction(1, 8), 2), None).rad is None
    assert add(a, a).rad is None
    assert affine(a, Fraction(1), Fraction(-1)).rad is None
    lost = scale(MatrixEnclosure(np.array([[2.0**-1074]])), Balls.of([Fraction(1, 2)]), None)
    assert lost.rad is not None


def test_beyond_binary64_is_one_sentence():
    big = MatrixEnclosure(np.full((2, 2), 1e300))
    with pytest.raises(InputError, match=r"product: expected numbers in the range of binary64"):
        product(big, big)
    with pytest.raises(InputError, match=r"expected numbers in the range of binary64"):
        nearest_enclosure(rational_matrix(np.full((1, 1), 1e308)) * 10)
    with pytest.raises(InputError, match=r"expected factors known to 20 bits"):
        scale(big, Balls(np.ones(2), np.ones(2)), None)


@pytest.mark.parametrize("seed", range(15))
def test_solutions_enclose_the_exact_ones(seed):
    rng = np.random.default_rng(seed)
    m, n = int(rng.integers(1, 9)), int(rng.integers(1, 5))
    A, B = rng.standard_normal((m, m)), rng.standard_normal((m, n))
    found = enclose_solution(MatrixEnclosure(A), MatrixEnclosure(B))
    assert found is not None
    assert _outside(found, rational_matrix(A).solve(rational_matrix(B))) == 0
    rad = np.abs(A) * 1e-9
    wide = enclose_solution(MatrixEnclosure(A, rad), MatrixEnclosure(B, np.abs(B) * 1e-9))
    if wide is not None:
        moved = A + rad * rng.choice([-0.999, 0.999], A.shape)
        assert _outside(wide, rational_matrix(moved).solve(rational_matrix(B))) == 0


def test_singular_systems_are_refused():
    for A in (np.zeros((2, 2)), np.ones((3, 3)), np.array([[1.0, 1.0], [1.0, 1.0 + 2.0**-52]])):
        found = enclose_solution(MatrixEnclosure(A), MatrixEnclosure(np.eye(len(A))))
        assert found is None or np.linalg.matrix_rank(A) == len(A) or A[1, 1] != 1.0
    member = MatrixEnclosure(np.eye(2), np.full((2, 2), 0.6))  # contains a singular matrix
    assert enclose_solution(member, MatrixEnclosure(np.eye(2))) is None
    assert enclose_solution(
        MatrixEnclosure(np.full((1, 1), 1e-320)), MatrixEnclosure(np.ones((1, 1)))
    ) is None  # fmt: skip


def test_mutation_product_without_its_error_terms(monkeypatch):
    rng = np.random.default_rng(0)
    A, B = rng.standard_normal((6, 6)), rng.standard_normal((6, 6))
    exact = rational_matrix(A) * rational_matrix(B)
    assert _outside(product(MatrixEnclosure(A), MatrixEnclosure(B)), exact) == 0
    monkeypatch.setattr(enclosed_products, "gamma", lambda k: 0.0)
    assert _outside(product(MatrixEnclosure(A), MatrixEnclosure(B)), exact) > 0


def test_mutation_solution_without_the_residual(monkeypatch):
    rng = np.random.default_rng(0)
    A, B = rng.standard_normal((6, 6)), rng.standard_normal((6, 6))
    exact = rational_matrix(A).solve(rational_matrix(B))
    monkeypatch.setattr(linear_solve, "_residual_up", lambda a, b, near: np.zeros_like(near))
    assert _outside(enclose_solution(MatrixEnclosure(A), MatrixEnclosure(B)), exact) > 0

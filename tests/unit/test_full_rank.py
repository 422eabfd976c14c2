"""Proofs of full rank: refusals, primes, exact reductions, row scaling."""

import math

import numpy as np
import pytest

from verify.enclosure import Enclosure
from verify.errors import BackendError, InputError
from verify_kernels._rounding import up_array
from verify_kernels.forward.features import Features
from verify_kernels.full_rank import elimination, modular, primes
from verify_kernels.full_rank.exact_rank import enclose_rank, proportional_rows
from verify_kernels.full_rank.gram import enclose_gram_smallest, radius_squared
from verify_kernels.full_rank.modular import modular_rank, rank_of_residues, residues
from verify_kernels.full_rank.preconditioned import precondition, precondition_closely
from verify_kernels.full_rank.scaling import equilibrated, radius_bound, with_ones
from verify_kernels.full_rank.singular_values import enclose_singular_extremes
from verify_kernels.full_rank.split_products import product_with_error, slice_bits

torch = pytest.importorskip("torch")

RUNGS = [
    lambda M: enclose_gram_smallest(exact(M), ones=False),
    lambda M: precondition(exact(M), ones=False),
    lambda M: precondition_closely(exact(M), ones=False),
    lambda M: modular_rank(M),
    lambda M: enclose_rank(M),
    lambda M: enclose_singular_extremes(exact(M), ones=False),
    lambda M: product_with_error(M, M.T),
]


def exact(M):
    return Features(np.asarray(M, dtype=float), np.zeros(len(M)))


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("rung", RUNGS)
def test_matrices_that_are_not_finite_are_refused(rung, bad):
    M = np.eye(20)
    M[3, 5] = bad
    with pytest.raises(InputError, match="expected finite entries"):
        rung(M)


@pytest.mark.parametrize("rung", RUNGS)
def test_subnormal_numbers_read_as_zero_are_refused(rung):
    # with them as zeros, [[1, 1], [1, 1 + tiny]] and other matrices would change
    torch.set_flush_denormal(True)
    try:
        with pytest.raises(BackendError, match="flush-to-zero"):
            rung(np.array([[1.0, 2.0**-1074], [2.0**-1074, 0.0]]))
    finally:
        torch.set_flush_denormal(False)


def test_subnormal_entries_count():
    assert modular_rank([[1.0, 2.0**-1074], [2.0**-1074, 0.0]]).value == Enclosure.exact(2)


def test_primes_are_proved():
    small = [n for n in range(60) if primes.is_prime(n)]
    assert small == [2, 3, 5, 7, 11, 13, 17, 19, 23, 29, 31, 37, 41, 43, 47, 53, 59]
    assert not primes.is_prime(3401 * 3407)
    assert not primes.is_prime(2047)  # a strong pseudoprime to base 2
    assert not primes.is_prime(-7)


@pytest.mark.parametrize("terms", [1, 16, 256, 1000, 5000, 10**6])
def test_the_chosen_prime_fits_and_none_above_it_does(terms):
    p = primes.choose_prime(terms)
    assert primes.is_prime(p)
    assert primes.products_fit(p, terms)
    assert primes.most_terms(p) >= terms
    above = next(q for q in range(p + 2, p + 10_000, 2) if primes.is_prime(q))
    assert not primes.products_fit(above, terms)
    second = primes.choose_prime(terms, skip=1)
    assert second < p
    assert primes.choose_prime(terms, coprime_to=p) == second


def test_no_prime_is_left():
    with pytest.raises(InputError, match=r"choose_prime: expected at most .* terms, but got"):
        primes.choose_prime(2**53)


@pytest.mark.parametrize("p", [1, 2, 3, 4, 9, 15, -7, 5931755, 16777199 + 2, 10**9 + 7])
def test_composite_and_large_moduli_are_refused(p):
    with pytest.raises(InputError, match="rank_of_residues: expected a prime from 5 to"):
        rank_of_residues(np.eye(2), p)


@pytest.mark.parametrize("entry", [0.5, 7.0, -7.0])
def test_entries_that_are_no_residues_are_refused(entry):
    with pytest.raises(InputError, match="expected integers up to 5 in modulus"):
        rank_of_residues(np.array([[entry]]), 7)


def test_reduction_at_the_ends_of_its_range():
    # with (p/2)^2 terms up to 2^53 the residue of 2^53 - 1 modulo 5931753 came out wrong
    p = 5931753
    h = primes.largest_residue(p)
    beyond = int(elimination.reduce(float(2**53 - 1), float(p), 1.0 / p))
    assert (beyond - (2**53 - 1)) % p or abs(beyond) > h or 2**53 - h < 2**53 - 1
    most = primes.most_terms(p) * h * h + h
    assert most + h <= 2**53
    for x in (most, most - 1, p, p - 1, (p - 1) // 2, (p + 1) // 2, 0, 2**53 - h):
        for sign in (1, -1):
            r = int(elimination.reduce(float(sign * x), float(p), 1.0 / p))
            assert (r - sign * x) % p == 0
            assert abs(r) <= h


@pytest.mark.parametrize("terms", [16, 256, 4096])
def test_reduction_is_exact_for_all_quotients_near_a_half(terms):
    p = primes.choose_prime(terms)
    h = primes.largest_residue(p)
    draw = np.random.default_rng(terms)
    for q in draw.integers(0, (2**53 - 2 * h) // p, 2000).tolist():
        for x in (q * p + (p - 1) // 2, q * p + (p + 1) // 2):
            r = int(elimination.reduce(float(x), float(p), 1.0 / p))
            assert (r - x) % p == 0
            assert abs(r) <= h


def test_residues_of_floats_of_all_exponents():
    p = primes.choose_prime(256)
    draw = np.random.default_rng(7)
    words = draw.integers(0, 2**63 - 1, (40, 50), dtype=np.int64) * draw.choice([-1, 1], (40, 50))
    values = words.view(np.float64)
    values = np.where(np.isfinite(values), values, 2.0**-1074)
    found = residues(values, p)
    for x, r in zip(values.ravel().tolist(), found.ravel().tolist(), strict=True):
        a, b = x.as_integer_ratio()
        assert (int(r) * b - a) % p == 0
        assert abs(r) <= primes.largest_residue(p)


def test_residues_of_an_unfinished_matrix_are_refused():
    with pytest.raises(InputError, match="residues: expected finite entries"):
        residues(np.array([[math.nan]]), 7)


@pytest.mark.parametrize("shape", [(0, 0), (0, 3), (3, 0)])
def test_empty_matrices(shape):
    M = np.zeros(shape)
    assert modular_rank(M).value == enclose_rank(M).value == Enclosure.exact(0)
    assert precondition(exact(M), ones=False).smallest.lo == 0
    with pytest.raises(InputError, match="expected"):
        enclose_singular_extremes(exact(M), ones=False)


def test_gram_of_no_rows_is_refused():
    with pytest.raises(InputError, match="expected n >= 1 rows"):
        enclose_gram_smallest(exact(np.zeros((0, 3))), ones=False)


def test_more_rows_than_columns_have_a_zero_singular_value():
    M = np.random.default_rng(0).standard_normal((30, 20))
    assert enclose_gram_smallest(exact(M), ones=False).value == Enclosure.exact(0)
    assert enclose_singular_extremes(exact(M), ones=False)[0] == Enclosure.exact(0)
    assert precondition(exact(M), ones=False).residual.value == Enclosure(0, math.inf)


def test_the_ones_are_appended_and_exact():
    given = Features(np.zeros((3, 2)), np.array([1.0, 2.0, 3.0]), np.full((3, 2), 0.5))
    extended = with_ones(given)
    assert extended.mid.tolist() == [[0.0, 0.0, 1.0]] * 3
    assert extended.radius.tolist() == [[0.5, 0.5, 0.0]] * 3
    assert extended.row_radius.tolist() == [1.0, 2.0, 3.0]


def test_rows_are_scaled_with_their_radii():
    given = Features(np.array([[3.0, 5.0], [2.0**-1000, 2.0**-1003]]), np.array([1.0, 2.0**-1010]))
    scaled = equilibrated(given, ones=False)
    assert scaled.mid.tolist() == [[0.375, 0.625], [0.5, 0.0625]]
    assert scaled.row_radius.tolist() == [0.125, 2.0**-11]


def test_scaling_pays_for_what_underflows():
    given = Features(np.array([[2.0**1000, 2.0**-1000]]), np.array([2.0**-500]))
    scaled = equilibrated(given, ones=False)
    assert scaled.mid.tolist() == [[0.5, 0.0]]
    assert scaled.row_radius[0] > 0.0
    unknown = equilibrated(Features(np.zeros((1, 2)), np.array([math.inf])), ones=True)
    assert unknown.row_radius[0] == math.inf
    assert unknown.mid.tolist() == [[0.0, 0.0, 0.5]]


def test_the_lesser_radius_counts():
    rows = Features(np.zeros((2, 2)), np.array([3.0, 4.0]))
    both = Features(np.zeros((2, 2)), np.array([3.0, 4.0]), np.full((2, 2), 0.5))
    assert radius_bound(rows) >= 5.0 > 1.1 > radius_bound(both) >= 1.0
    unbounded = Features(np.zeros((2, 2)), np.array([math.inf, 4.0]))
    assert radius_squared(unbounded) == Enclosure(0, math.inf)
    assert radius_squared(exact(np.eye(2))) == Enclosure.exact(0)


def test_the_lower_triangle_of_the_gram_matrix_is_never_read(monkeypatch):
    # reading one triangle and believing the other "proved" [[1, 0], [100, 1]] definite
    from verify_kernels import _numpy

    M = np.random.default_rng(2).standard_normal((40, 60))
    plain = enclose_gram_smallest(exact(M), ones=False).value
    true_gram = _numpy.gram

    def spoiled(matrix, scale=1.0):
        upper = true_gram(matrix, scale)
        return np.asfortranarray(np.triu(upper) + np.tril(np.full_like(upper, 1e9), -1))

    monkeypatch.setattr(_numpy, "gram", spoiled)
    assert enclose_gram_smallest(exact(M), ones=False, backend="numpy").value == plain


def test_backends_agree():
    M = np.random.default_rng(3).standard_normal((40, 60))
    values = [
        enclose_gram_smallest(exact(M), ones=True, backend=name).enclosure()
        for name in ("numpy", "numba")
    ]
    assert values[0].intersection(values[1]).lo > 0


def test_zero_and_proportional_rows_are_found():
    M = np.random.default_rng(5).integers(-9, 9, (12, 7)).astype(float)
    M[4], M[7], M[9], M[11] = 0.0, 3.0 * M[2], M[0], up_array(M[0])
    lines = proportional_rows(M)
    assert lines.zero == (4,)
    assert lines.multiples == ((7, 2), (9, 0))
    assert 11 in lines.kept


def test_rows_divisible_by_the_prime_are_kept():
    p = float(primes.choose_prime(modular.PANEL))
    M = np.array([[p, 0.0], [0.0, p]])
    assert len(proportional_rows(M).kept) == 2
    assert enclose_rank(M).value == Enclosure.exact(2)  # by the second prime


def test_slices_need_room():
    with pytest.raises(InputError, match="fewer than 2"):
        slice_bits(2**50)
    with pytest.raises(InputError, match="expected shapes"):
        product_with_error(np.eye(2), np.eye(3))
    with pytest.raises(InputError, match="1 to 8 slices"):
        product_with_error(np.eye(2), np.eye(2), 9)


def test_split_products_outside_the_range_are_left_open():
    assert product_with_error(np.array([[2.0**950]]), np.eye(1)) is None
    hi, lo, bound = product_with_error(np.zeros((2, 3)), np.zeros((3, 0)))
    assert hi.shape == lo.shape == (2, 0)
    assert bound == 0.0


def test_entries_that_span_the_whole_range_are_left_open():
    M = np.eye(20)
    M[0, 0], M[1, 1] = 2.0**1000, 2.0**-1000
    evidence = enclose_gram_smallest(exact(M), ones=False)
    assert evidence.value == Enclosure(0, math.inf)
    assert "span more" in evidence.why_open
    assert "span more" in precondition(exact(M), ones=False).residual.why_open
    scaled = equilibrated(exact(M), ones=False)
    assert enclose_gram_smallest(scaled, ones=False).enclosure().lo > 0

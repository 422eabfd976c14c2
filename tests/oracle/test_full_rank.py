"""Proofs of full rank against exact rational ranks and singular values."""

import json
import os
import time
from decimal import Decimal
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from flint import fmpz_mat, nmod_mat

from verify.enclosure import Enclosure
from verify.errors import InputError
from verify_kernels import _numpy
from verify_kernels._rounding import up_array
from verify_kernels.forward.features import Features
from verify_kernels.full_rank import gram, modular, preconditioned, primes, split_products
from verify_kernels.full_rank.exact_rank import enclose_rank
from verify_kernels.full_rank.gram import enclose_gram_smallest, radius_squared
from verify_kernels.full_rank.modular import eliminate, modular_rank, rank_of_residues
from verify_kernels.full_rank.preconditioned import precondition, precondition_closely
from verify_kernels.full_rank.scaling import equilibrated
from verify_kernels.full_rank.singular_values import enclose_singular_extremes
from verify_kernels.full_rank.split_products import product_with_error
from verify_kernels.integer_witness import replay_definite
from verify_kernels.matrix import rational_matrix

VECTORS = Path(__file__).parents[1] / "vectors" / "linear_algebra.json"
CASES = json.loads(VECTORS.read_text(encoding="utf-8"))["cases"]
FULL = os.environ.get("VERIFY_CAMPAIGN") == "full"


def exact(M):
    return Features(np.asarray(M, dtype=float), np.zeros(len(M)))


def matrix_of(case):
    rows = [[float.fromhex(x) for x in row] for row in case["A"]]
    return np.array(rows, dtype=np.float64).reshape(case["shape"])


def integers_of(matrix):
    """The matrix with rows scaled to integers: no rank changes."""
    rows = []
    for row in np.asarray(matrix).tolist():
        ratios = [x.as_integer_ratio() for x in row]
        power = max((q for _, q in ratios), default=1)
        rows += [p * (power // q) for p, q in ratios]
    return fmpz_mat(*matrix.shape, rows)


def true_rank(matrix):
    return int(integers_of(matrix).rank())


def geometric(draw, n, m, condition):
    left, _ = np.linalg.qr(draw.standard_normal((n, n)))
    right, _ = np.linalg.qr(draw.standard_normal((m, n)))
    return (left * condition ** -np.linspace(0.0, 1.0, n)) @ right.T


def proofs(given, *, extremes=True):
    """Which rungs prove that every matrix in the enclosure has full row rank."""
    aim = radius_squared(given)
    rho = aim.hi
    found = {"gram": enclose_gram_smallest(given, ones=False, aim=aim).enclosure().lo > rho}
    for name, rung in (("inverse", precondition), ("split", precondition_closely)):
        shown = rung(given, ones=False)
        alpha, r = shown.residual.enclosure().hi, shown.inverse_norm.enclosure().hi
        found[name] = alpha < 1 and r < 2**2000 and rho * r**2 < (1 - alpha) ** 2
        found[name + " bound"] = shown.smallest.lo > 0
    if extremes:
        found["extremes"] = enclose_singular_extremes(given, ones=False)[0].lo > 0
    return found


@pytest.mark.parametrize("case", CASES, ids=lambda case: case["id"])
def test_stored_truth(case):
    A = matrix_of(case)
    if "expected_error" in case:
        with pytest.raises(InputError):
            enclose_rank(A)
        with pytest.raises(InputError):
            enclose_singular_extremes(exact(A), ones=False)
        return
    rank = case["expected"]["rank"]
    assert enclose_rank(A).value == Enclosure.exact(rank)
    assert modular_rank(A).enclosure().contains(rank)
    A = A.T if A.shape[0] > A.shape[1] else A
    smallest, largest = enclose_singular_extremes(exact(A), ones=False)
    for value, name in ((smallest, "sigma_min"), (largest, "norm2")):
        lo, hi = (Fraction(Decimal(x)) for x in case["expected"][name])
        assert not (hi < value.lo)
        assert not (lo > value.hi)
    if rank < A.shape[0]:
        assert not any(proofs(exact(A)).values())


@pytest.mark.parametrize("case", [c for c in CASES if "expected" in c][::4], ids=lambda c: c["id"])
def test_float_rungs_on_stored_truth(case, monkeypatch):
    monkeypatch.setattr(gram, "SMALL", 0)
    A = matrix_of(case)
    A = A.T if A.shape[0] > A.shape[1] else A
    low, high = (Fraction(Decimal(x)) for x in case["expected"]["sigma_min"])
    value = enclose_gram_smallest(exact(A), ones=False).enclosure()
    assert value.lo <= high**2
    assert low**2 <= value.hi
    for rung in (precondition, precondition_closely):
        assert rung(exact(A), ones=False).smallest.lo <= high


@pytest.mark.parametrize(
    ("n", "m", "rank"), [(5, 7, 3), (64, 64, 0), (300, 280, 170), (257, 129, 129)]
)
@pytest.mark.parametrize("terms", [16, 256, 4096])
def test_rank_of_residues_and_its_minor(n, m, rank, terms):
    p = primes.choose_prime(terms)
    draw = np.random.default_rng(n * terms)
    left, right = draw.integers(0, p, (n, rank)), draw.integers(0, p, (rank, m))
    product = np.zeros((n, m), dtype=np.int64)
    for k in range(rank):
        product = (product + left[:, k : k + 1] * right[k]) % p
    product[:, draw.random(m) < 0.3] = 0
    product[draw.random(n) < 0.2] = 0
    centred = np.where(2 * product > p, product - p, product).astype(np.float64)
    before = centred.copy()
    truth = nmod_mat(n, m, [int(x) for x in product.ravel()], p).rank()
    found = eliminate(centred, p)
    assert found.rank == truth == rank_of_residues(centred, p)
    assert np.array_equal(centred, before)
    minor = product[np.ix_(found.rows, found.columns)]
    assert nmod_mat(truth, truth, [int(x) for x in minor.ravel()], p).rank() == truth


def test_permutations_and_triangles_need_exchanges():
    draw = np.random.default_rng(1)
    p = primes.choose_prime(256)
    assert rank_of_residues(np.eye(400)[draw.permutation(400)], p) == 400
    assert rank_of_residues(np.tril(np.ones((300, 300)), -1)[:, ::-1].copy(), p) == 299


def test_two_equal_columns_and_one_ulp():
    draw = np.random.default_rng(4)
    M = draw.standard_normal((70, 70))
    M[:, 50] = M[:, 17]
    assert enclose_rank(M).value == Enclosure.exact(69)
    assert not any(proofs(exact(M)).values())
    M[60, 50] = up_array(M[60, 50])
    assert enclose_rank(M).value == Enclosure.exact(70) == modular_rank(M).value
    assert np.linalg.matrix_rank(M) == 69


def test_low_rank_integers_are_decided_by_kernel_vectors():
    draw = np.random.default_rng(8)
    M = draw.integers(-99, 100, (120, 115)) @ draw.integers(-99, 100, (115, 130))
    evidence = enclose_rank(M.astype(float))
    assert evidence.value == Enclosure.exact(115)
    data = evidence.witness.data
    numerators = fmpz_mat(5, 115, [x for row in data["numerators"] for x in row])
    integers = integers_of(M.astype(float))
    basis, other = (
        fmpz_mat(len(rows), 130, [int(integers[i, j]) for i in rows for j in range(130)])
        for rows in (data["basis"], data["other"])
    )
    assert numerators * basis == other * data["denominator"]


def test_any_conditioning_is_decided_modulo_a_prime():
    draw = np.random.default_rng(6)
    for condition in (1e4, 1e13, 1e18, 1e300):
        M = geometric(draw, 70, 90, condition)
        assert enclose_rank(M).value == Enclosure.exact(70)


@pytest.mark.parametrize("slices", [1, 2, 3, 4])
def test_split_products_contain_the_exact_product(slices):
    draw = np.random.default_rng(slices)
    for n, k, m in ((1, 1, 1), (3, 40, 5), (20, 300, 10)):
        A = draw.standard_normal((n, k)) * 2.0 ** draw.integers(-60, 60, (n, k))
        B = draw.standard_normal((k, m)) * 2.0 ** draw.integers(-60, 60, (k, m))
        B[:, 0] *= 2.0**-700
        assert within(A, B, *product_with_error(A, B, slices))


def within(A, B, hi, lo, bound):
    rest = rational_matrix(A) * rational_matrix(B) - rational_matrix(hi) - rational_matrix(lo)
    square = sum(x * x for x in rest.entries())
    return Fraction(int(square.p), int(square.q)) <= Fraction(bound) ** 2


def test_right_inverse_witness_replays_exactly():
    draw = np.random.default_rng(9)
    M = geometric(draw, 30, 40, 1e8)
    for rung in (precondition, precondition_closely):
        shown = rung(exact(M), ones=False)
        data = shown.residual.witness.data
        product = rational_matrix(M) * rational_matrix(data["right_inverse"])
        if "correction" in data:
            product = product * rational_matrix(data["correction"])
        rest = product - rational_matrix(np.eye(30))
        square = sum(x * x for x in rest.entries())
        assert Fraction(int(square.p), int(square.q)) < 1
        assert data["exponent"] == 0


def test_gram_witness_replays_exactly():
    draw = np.random.default_rng(10)
    M = draw.standard_normal((40, 90)) * 2.0**-300
    for given in (exact(M), Features(M * 2.0**300, np.full(40, 1e-9))):
        aim = radius_squared(given)
        rational = rational_matrix(given.mid)
        for evidence in (
            enclose_gram_smallest(given, ones=False),
            enclose_gram_smallest(given, ones=False, aim=aim),
        ):
            assert evidence.enclosure().lo > aim.hi
            assert replay_definite(rational * rational.transpose(), evidence.witness)


def test_rungs_reach_the_condition_numbers_they_state():
    draw = np.random.default_rng(11)
    reached = {"gram": 1e5, "inverse": 1e11, "split": 1e15}
    for name, condition in reached.items():
        assert proofs(exact(geometric(draw, 64, 64, condition)))[name], name


# Each mutation removes one term of a bound; an adversarial case must then be proved wrongly.


def _claims_too_much(draw):
    """A row whose squared norm rounds up: the claim lambda_min > fl is false."""
    row = draw.random((1, 3000))
    square = sum(Fraction(x) ** 2 for x in row[0].tolist())
    above = Enclosure.outward(square, square).hi
    return (
        enclose_gram_smallest(exact(row), ones=False, aim=Enclosure.exact(above)).value.lo > above
    )


def test_mutation_gram_without_gamma(monkeypatch):
    seeds = range(30)
    assert not any(_claims_too_much(np.random.default_rng(seed)) for seed in seeds)
    monkeypatch.setattr(gram, "gamma", lambda k: 0.0)
    assert any(_claims_too_much(np.random.default_rng(seed)) for seed in seeds)


def _proves_singular_gram(seed):
    """Integers whose Gram matrix is exact in floats: only the factorisation rounds."""
    draw = np.random.default_rng(seed)
    M = draw.integers(-30, 31, (30, 80)).astype(float)
    M[29] = M[:29].sum(axis=0)
    return enclose_gram_smallest(exact(M), ones=False).value.lo > 0


def test_mutation_gram_without_the_defect_of_the_factorisation(monkeypatch):
    assert not any(_proves_singular_gram(seed) for seed in range(30))
    monkeypatch.setattr(gram, "gamma", lambda k: 0.0)  # nothing to pay: the products are exact
    assert not any(_proves_singular_gram(seed) for seed in range(30))
    monkeypatch.setattr(gram, "down_array", np.asarray)  # two units in the last place
    assert not any(_proves_singular_gram(seed) for seed in range(30))
    monkeypatch.setattr(_numpy, "_defect_l3", lambda n, trace, largest: 0.0)
    assert any(_proves_singular_gram(seed) for seed in range(30))


def _around_a_singular_matrix(factor):
    """An enclosure that contains a singular matrix: sigma_n(M) < rho."""
    draw = np.random.default_rng(12)
    M = geometric(draw, 20, 90, 1e3)
    return Features(M, np.full(20, factor * 1e-3))


def test_mutation_rungs_without_rho(monkeypatch):
    assert not any(proofs(_around_a_singular_matrix(1.0)).values())
    assert any(proofs(_around_a_singular_matrix(0.1)).values())
    monkeypatch.setattr(preconditioned, "radius_bound", lambda given: 0.0)
    given = _around_a_singular_matrix(1.0)
    assert precondition(given, ones=False).smallest.lo > 0
    assert enclose_gram_smallest(given, ones=False, aim=Enclosure.exact(0)).value.lo > 0


def _adversarial_inverses(M):
    """Columns that cancel so badly that fl(M R) is near I although M has rank 1."""
    draw = np.random.default_rng(14)
    first, middle = draw.standard_normal(4000), draw.standard_normal(4000)
    columns = np.stack([first, middle, middle + (first - draw.random(4000)) / M[0, 1]])
    images = M @ columns
    for i in np.argsort(np.hypot(images[0] - 1.0, images[1]))[:5]:
        for j in np.argsort(np.hypot(images[0], images[1] - 1.0))[:5]:
            yield np.ascontiguousarray(columns[:, [i, j]])


def test_mutation_residual_without_gamma(monkeypatch):
    M = np.array([[1.0, 1.1 * 2.0**51, 0.0], [3.0, 0.0, 0.0]])
    M[0, 1] = np.round(M[0, 1])
    M[0, 2] = -M[0, 1]
    M[1] = 3.0 * M[0]
    assert true_rank(M) == 1
    alphas = {True: [], False: []}
    for bounded in (True, False):
        if not bounded:
            monkeypatch.setattr(preconditioned, "gamma", lambda k: 0.0)
        for R in _adversarial_inverses(M):
            monkeypatch.setattr(preconditioned, "_right_inverse", lambda given, R=R: R)
            alphas[bounded].append(precondition(exact(M), ones=False).residual.enclosure().hi)
    assert min(alphas[True]) >= 1 > min(alphas[False])


def test_mutation_split_residual_without_its_bound(monkeypatch):
    draw = np.random.default_rng(15)
    M = draw.integers(-(2**40), 2**40, (6, 6)).astype(float)
    M[5] = M[0] + M[1] - M[2]
    alphas = [
        precondition_closely(exact(M), ones=False, slices=s).residual.enclosure().hi
        for s in (1, 2, 3)
    ]
    assert min(alphas) >= 1

    def unbounded(*given, **options):
        return (*product_with_error(*given, **options)[:2], 0.0)

    # one slice of M is nonsingular, and nothing is said about the others
    proposed = iter([draw.standard_normal((6, 6))])
    monkeypatch.setattr(
        preconditioned, "_right_inverse", lambda given: next(proposed, np.linalg.inv(given))
    )
    monkeypatch.setattr(preconditioned, "product_with_error", unbounded)
    assert precondition_closely(exact(M), ones=False, slices=1).residual.enclosure().hi < 1


@pytest.mark.parametrize(("name", "slices"), [("_left_over", 1), ("_rounding", 6), ("dropped", 2)])
def test_mutation_split_products_without_a_term(monkeypatch, name, slices):
    draw = np.random.default_rng(13)
    A, B = draw.standard_normal((4, 60)), draw.standard_normal((60, 4))
    assert within(A, B, *product_with_error(A, B, slices))
    if name == "dropped":
        hi, lo, _ = product_with_error(A, B, slices)
        _, _, a, _ = split_products._cut(A, slices, 23)
        _, _, b, _ = split_products._cut(B.T.copy(), slices, 23)
        assert not within(A, B, hi, lo, split_products._rounding(a[0] * b[0], slices))
        return
    monkeypatch.setattr(split_products, name, lambda *norms: 0.0)
    if name == "_rounding":
        monkeypatch.setattr(split_products, "_left_over", lambda *norms: 0.0)
        monkeypatch.setattr(split_products, "mul_up", lambda *factors: 0.0)
    assert not within(A, B, *product_with_error(A, B, slices))


def _singular_residues(p, seed):
    draw = np.random.default_rng(seed)
    M = draw.integers(0, p, (300, 300))
    M[299] = (M[0] + M[1]) % p
    return np.where(p < 2 * M, M - p, M).astype(np.float64)


def test_mutation_modulus_too_large_for_exact_products(monkeypatch):
    p = primes.choose_prime(1)  # 2^53 holds one product
    monkeypatch.setattr(modular, "most_terms", lambda p: 256)
    assert any(rank_of_residues(_singular_residues(p, seed), p) == 300 for seed in range(3))
    monkeypatch.undo()
    with pytest.raises(InputError):
        rank_of_residues(_singular_residues(p, 0), p)
    small = primes.choose_prime(256)
    assert not any(
        rank_of_residues(_singular_residues(small, seed), small) == 300 for seed in range(3)
    )


def test_mutation_composite_modulus(monkeypatch):
    p = 3401 * 3407  # neither factor divides a pivot often, but some pivots have no inverse
    monkeypatch.setattr(modular, "is_prime", lambda p: True)
    M = np.zeros((2, 2))
    M[0, 0], M[1, 1] = 3401.0, 3407.0  # nonsingular over the integers, singular modulo p
    M[0, 1], M[1, 0] = 3407.0, 3401.0  # det = 3401 3407 - 3407 3401 = 0
    assert rank_of_residues(M, p) == 2
    monkeypatch.undo()
    with pytest.raises(InputError, match="expected a prime"):
        rank_of_residues(M, p)


def _planted(draw):
    """A matrix with n <= m whose rank is hard to see in floats."""
    n = int(draw.integers(1, 24))
    m = n + int(draw.choice([0, 0, 1, 2, 9]))
    kind = int(draw.integers(0, 9))
    if kind == 0:
        return geometric(draw, n, m, 10.0 ** draw.uniform(0, 17))
    if kind == 1:  # barely full rank: one singular value from 1 down to 1e-300
        M = draw.standard_normal((n, m))
        M[n - 1] = M[: n - 1].sum(axis=0) * 2.0**-40
        M[n - 1] = np.round(M[n - 1] * 2.0**40) * 2.0**-40
        M[n - 1, m - 1] += 10.0 ** -draw.uniform(0, 300)
        return M
    if kind == 2:  # a scaled triangle: sigma_min about the product of its ratios
        return np.hstack(
            [np.triu(np.ones((n, n))) * 10.0 ** -draw.uniform(0, 290, (n, 1)), np.ones((n, m - n))]
        )
    M = draw.integers(-99, 100, (n, m)).astype(float)
    if kind == 3:
        M = np.maximum(draw.standard_normal((n, m)), 0.0)
        M[:, draw.random(m) < 0.4] = 0.0  # dead units
    elif kind == 4 and n > 1:
        M = draw.standard_normal((n, m))
        M[n - 1] = M[0]  # equal samples
        if draw.random() < 0.5:
            M[n - 1, 0] = up_array(M[n - 1, 0])
    elif kind == 5 and n > 2:
        M[n - 1] = M[0] + M[1]
    elif kind == 6:  # width n - 2, n - 1 or n with the ones
        k = max(1, n - int(draw.integers(0, 3)))
        M = np.hstack([draw.standard_normal((n, k - 1)), np.ones((n, 1))])
    elif kind == 7:
        r = int(draw.integers(0, n + 1))
        M = (draw.integers(-9, 10, (n, r)) @ draw.integers(-9, 10, (r, m))).astype(float)
    else:
        M = M * 2.0 ** draw.integers(-400, 400, (n, 1))
    return M


@pytest.mark.soundness
def test_campaign_known_ranks(monkeypatch):
    count, seed, start = 2000 if FULL else 200, 20240, time.perf_counter()
    draw = np.random.default_rng(seed)
    decided = {}
    for number in range(count):
        monkeypatch.setattr(gram, "SMALL", 16 if number % 4 == 0 else 0)
        M = _planted(draw)
        rank, full = true_rank(M), min(M.shape)
        value = enclose_rank(M).enclosure()
        assert value == Enclosure.exact(rank)
        assert modular_rank(M).enclosure().contains(rank)
        given = equilibrated(exact(M), ones=False)
        # a radius that reaches a matrix of smaller rank, and one that does not
        smallest = float(np.linalg.svd(given.mid, compute_uv=False)[-1]) if M.size else 0.0
        wide = Features(given.mid, given.row_radius + 1.001 * smallest + 1e-13)
        found = proofs(given)
        if rank < M.shape[0]:
            assert not any(found.values()), (number, found)
        assert not any(proofs(wide, extremes=False).values()), number
        for name, holds in (found | {"rank": value.lo == full}).items():
            decided[name] = decided.get(name, 0) + bool(holds)
    elapsed = time.perf_counter() - start
    print(
        f"\ncampaign known ranks: {count} cases, seed {seed}, {elapsed:.1f} s, 0 wrong; "
        f"full rank proved: {decided}"
    )

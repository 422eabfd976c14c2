"""Perron root and matrix measures against the exact vectors and exact arithmetic."""

import json
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest

from verify.enclosure import Enclosure
from verify.errors import InputError
from verify_kernels import matrix_measure, metzler
from verify_kernels.matrix import MatrixEnclosure, rational_matrix
from verify_kernels.matrix_measure import (
    enclose_symmetric_part,
    enclose_weighted_measure,
    measure_inf,
)
from verify_kernels.metzler import Metzler, float_quotients
from verify_kernels.perron import enclose_perron_root
from verify_kernels.positive_vector import proves_bound

VECTORS = Path(__file__).parents[1] / "vectors"
ONE = Enclosure.exact(1)


def _cases(name):
    return json.loads((VECTORS / name).read_text(encoding="utf-8"))["cases"]


def _matrix(rows):
    return np.array([[float.fromhex(x) for x in row] for row in rows])


LINEAR = [c for c in _cases("linear_algebra.json") if c["shape"][0] == c["shape"][1]]
FINITE = [c for c in LINEAR if "expected_error" not in c]
BROKEN = [c for c in LINEAR if "expected_error" in c]
LAYERS = _cases("well_posedness.json")


def _overlaps(value, pair):
    lo, hi = (Fraction(x) for x in pair)
    return not (value.lo > hi or value.hi < lo) and (lo != hi or value.contains(lo))


def _route(route):
    if "value_minus_1" in route:
        return [1 + Fraction(x) for x in route["value_minus_1"]]
    return [Fraction(x) for x in route["value"]]


def _majorant(W):
    Z = np.abs(W)
    np.fill_diagonal(Z, np.diagonal(W))
    return Z


@pytest.mark.parametrize("case", FINITE, ids=lambda c: c["id"])
def test_linear_algebra_vectors(case):
    A = _matrix(case["A"])
    expected = case["expected"]
    root = enclose_perron_root(A)
    assert _overlaps(root.value, expected["rho_abs"])
    assert proves_bound(np.abs(A), root.witness.data["eta"], root.witness.data["bound"])
    measure = measure_inf(A).value
    assert measure.is_exact
    assert _overlaps(measure, expected["mu_inf"])
    assert _overlaps(enclose_symmetric_part(A).value, expected["mu_2"])


@pytest.mark.parametrize("case", BROKEN, ids=lambda c: c["id"])
@pytest.mark.parametrize(
    "kernel", [enclose_perron_root, enclose_weighted_measure, enclose_symmetric_part, measure_inf]
)
def test_entries_that_are_not_finite_are_refused(case, kernel):
    with pytest.raises(InputError, match=r"expected finite entries, but got"):
        kernel(_matrix(case["A"]))


@pytest.mark.parametrize("case", LAYERS, ids=lambda c: c["id"])
def test_well_posedness_vectors_contained_and_decided(case):
    W = _matrix(case["W"])
    for name, kernel, of in (
        ("C1", enclose_perron_root, np.abs),
        ("C4", enclose_weighted_measure, _majorant),
        ("C2", enclose_symmetric_part, None),
    ):
        route = case["routes"][name]
        found = kernel(W, aim=ONE)
        assert _overlaps(found.value, _route(route)), name
        assert found.value.hi < 1 if route["holds"] else found.value.lo >= 1, name
        if of is not None:
            data = found.witness.data
            assert proves_bound(of(W), data["eta"], data["bound"])
            assert not route["holds"] or data["bound"] < 1


def test_trap_underflow_of_a_tiny_eta():
    W = np.full((3, 3), 0.4)  # rho = 1.2; eta = 2^-1074 makes every product 0 in floats
    zero = np.zeros(3)
    _, high = float_quotients(Metzler(zero, W, zero, W), np.full(3, 2.0**-1074))
    assert high >= 1.2
    assert not proves_bound(W, [1, 1, 1], Fraction(1))
    assert enclose_perron_root(W, aim=ONE).value.lo > 1


def test_trap_underflow_in_the_quotients():
    A, v = np.array([[1.3e-20]]), np.array([1e-300])
    low, high = float_quotients(Metzler(np.zeros(1), A, np.zeros(1), A), v)
    assert low <= 1.3e-20 <= high


def test_trap_negative_eta():
    assert not proves_bound(np.array([[2.0]]), [-1], Fraction(1))
    assert not proves_bound(np.array([[3.0]]), [0], Fraction(1))
    assert not proves_bound(np.array([[0.0, -1.0], [-1.0, 0.0]]), [1, 1], Fraction(0))


def test_trap_diagonal_of_minus_infinity():
    with pytest.raises(InputError, match=r"expected finite entries, but got -inf at \[0, 0\]"):
        enclose_weighted_measure(np.array([[-np.inf, 1.0], [0.0, 0.0]]))


def test_trap_reducible_matrix_has_no_positive_perron_vector():
    W = np.array([[0.5, 1.0], [0.0, 0.5]])
    found = enclose_perron_root(W, aim=ONE)
    assert found.value == Enclosure.exact(Fraction(1, 2))
    data = found.witness.data
    assert proves_bound(W, data["eta"], data["bound"])
    assert Fraction(1, 2) < data["bound"] < 1


def test_trap_singular_h_matrix():
    W = np.array([[0.0, -1.0], [-1.0, 0.0]])  # I - W = [[1, 1], [1, 1]]
    assert enclose_weighted_measure(W, aim=ONE).value == ONE
    assert not enclose_weighted_measure(W, aim=ONE).value.hi < 1


def test_one_by_one_thresholds():
    below = enclose_perron_root(np.array([[1.0 - 2.0**-52]]), aim=ONE).value
    assert below.is_exact
    assert below.hi < 1
    assert enclose_perron_root(np.array([[1.0]]), aim=ONE).value == ONE
    assert enclose_weighted_measure(np.array([[-3.0]])).value == Enclosure.exact(-3)
    empty = np.zeros((0, 0))
    for kernel in (enclose_perron_root, enclose_weighted_measure, enclose_symmetric_part):
        assert kernel(empty).value == Enclosure.exact(0)


def test_strictly_triangular_with_huge_entries():
    W = np.triu(np.random.default_rng(0).standard_normal((60, 60)) * 1e3, 1)
    found = enclose_perron_root(W, aim=ONE)
    assert found.value == Enclosure.exact(0)
    assert found.witness.data["bound"] == Fraction(1, 2)
    assert proves_bound(np.abs(W), found.witness.data["eta"], Fraction(1, 2))


def test_enclosures_hold_for_every_member():
    rng = np.random.default_rng(3)
    for _ in range(20):
        m = int(rng.integers(1, 9))
        mid = rng.standard_normal((m, m)) * (rng.random((m, m)) < 0.7)
        rad = np.abs(rng.standard_normal((m, m))) * 0.05 * (mid != 0.0)
        for kernel in (enclose_perron_root, enclose_weighted_measure, enclose_symmetric_part):
            value = kernel(MatrixEnclosure(mid, rad)).value
            for _ in range(3):
                member = np.clip(mid + rad * rng.uniform(-1, 1, (m, m)), mid - rad, mid + rad)
                inside = kernel(member).value
                assert inside.lo <= value.hi
                assert value.lo <= inside.hi
                assert not inside.hi < value.lo
        plain = measure_inf(MatrixEnclosure(mid, rad)).value
        assert plain.lo <= measure_inf(mid).value.lo <= plain.hi


def test_enclosures_that_leave_the_range_stay_open():
    top = np.finfo(np.float64).max
    for m in (1, 3):
        given = MatrixEnclosure(np.full((m, m), top), np.full((m, m), 1e300))
        for kernel in (enclose_perron_root, enclose_weighted_measure, enclose_symmetric_part):
            value = kernel(given, aim=ONE).value
            assert value.hi >= Fraction(top)
        assert measure_inf(given).value.hi >= Fraction(top)
        exact = MatrixEnclosure(given.mid, given.rad, rational_matrix(given.mid))
        assert enclose_perron_root(exact, aim=ONE).value.contains(m * Fraction(top))


def test_exact_rational_weights_are_told_from_one():
    from flint import fmpq, fmpq_mat

    third = fmpq(1, 3)
    exact = fmpq_mat(3, 3, [third] * 9)
    mid = np.full((3, 3), 1 / 3)
    given = MatrixEnclosure(mid, np.full((3, 3), 2.0**-54), exact)
    assert enclose_perron_root(given, aim=ONE).value == ONE
    assert enclose_symmetric_part(given, aim=ONE).value == ONE


def test_negative_radii_and_shapes_are_refused():
    mid = np.eye(2)
    with pytest.raises(InputError, match=r"expected radii >= 0 of shape"):
        enclose_perron_root(MatrixEnclosure(mid, -mid))
    with pytest.raises(InputError, match=r"expected a matrix of shape \(m, m\), but got \(2, 3\)"):
        enclose_perron_root(np.zeros((2, 3)))


def test_large_reducible_and_cyclic_matrices():
    rng = np.random.default_rng(1)
    sparse = np.where(rng.random((300, 300)) < 0.008, rng.standard_normal((300, 300)), 0.0)
    found = enclose_perron_root(sparse)
    reference = float(np.abs(np.linalg.eigvals(np.abs(sparse))).max())
    assert float(found.value.width) < 1e-9 * reference  # tightness only
    assert abs(found.value.hi_float - reference) < 1e-6
    cycle = np.roll(np.diag(rng.choice([0.5, 2.0], 64)), 1, axis=1)
    exact = enclose_perron_root(cycle).value
    product = Fraction(float(np.prod(cycle[cycle != 0.0])))
    assert exact.lo**64 <= product <= exact.hi**64


def test_localised_perron_vector_of_a_band():
    rng = np.random.default_rng(1)
    W = np.diag(rng.random(300), 1) + np.diag(rng.random(300), -1)
    found = enclose_perron_root(W)
    reference = float(np.abs(np.linalg.eigvals(W)).max())
    assert found.value.lo < found.value.hi
    assert abs(found.value.hi_float - reference) < 1e-9  # tightness only
    assert proves_bound(W, found.witness.data["eta"], found.witness.data["bound"])


def test_what_a_root_rests_on_is_named():
    assert not enclose_perron_root(np.array([[0.25, 0.5], [0.5, 0.25]]), aim=ONE).assumes
    assert enclose_perron_root(np.random.default_rng(0).random((40, 40))).assumes


def test_mutation_without_the_underflow_term(monkeypatch):
    n = 16
    entry = 2631.45 * 2.0**-774 / (1e-300 * 2.0**300)  # every product loses 0.45 of 2^-1074
    A, v = np.full((n, n), entry), np.full(n, 1e-300)
    block = Metzler(np.zeros(n), A, np.zeros(n), A)
    truth = n * Fraction(entry)
    low, high = float_quotients(block, v)
    assert low <= truth <= high
    monkeypatch.setattr(metzler, "tau", lambda *_: 0.0)
    low, high = float_quotients(block, v)
    assert not low <= truth <= high


def test_mutation_without_the_rounding_of_the_sum(monkeypatch):
    W = np.array([[0.0, 1.0], [2.0**-60, 0.0]])
    truth = (1 + Fraction(1, 2**60)) / 2
    assert enclose_symmetric_part(W).value.contains(truth)
    monkeypatch.setattr(matrix_measure, "U", 0.0)
    assert not enclose_symmetric_part(W).value.contains(truth)


def test_exact_quotients_agree_with_rationals():
    rng = np.random.default_rng(5)
    for _ in range(20):
        m = int(rng.integers(2, 6))
        W = np.ldexp(rng.standard_normal((m, m)), rng.integers(-1070, 900, (m, m)))
        found = enclose_perron_root(W)
        eta, bound = found.witness.data["eta"], found.witness.data["bound"]
        exact = rational_matrix(np.abs(W)).tolist()
        for i in range(m):
            total = sum(Fraction(int(exact[i][j].p), int(exact[i][j].q)) * eta[j] for j in range(m))
            assert total <= bound * eta[i]

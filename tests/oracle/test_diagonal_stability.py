"""Diagonal stability, Cayley transform and slope reduction against the exact vectors."""

import json
import math
import sys
import time
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest

from verify.enclosure import Enclosure
from verify.errors import InputError
from verify.evidence import Witness
from verify.verdict import Truth
from verify_kernels import cayley, diagonal_search, diagonal_stability, reduction
from verify_kernels.cayley import enclose_cayley_root
from verify_kernels.diagonal_stability import enclose_diagonal_margin
from verify_kernels.diagonal_witness import replay_diagonal, scaled_inequality
from verify_kernels.matrix import MatrixEnclosure, rational_matrix
from verify_kernels.matrix_measure import enclose_symmetric_part, enclose_weighted_measure
from verify_kernels.perron import enclose_perron_root
from verify_kernels.reduction import reduce_slopes, regularity

VECTORS = Path(__file__).parents[1] / "vectors"
ONE = Enclosure.exact(1)
CASES = json.loads((VECTORS / "well_posedness.json").read_text(encoding="utf-8"))["cases"]
BEYOND_FLOATS = ("wp-pub-208", "wp-pub-209")  # Lambda would span more than 2^900


def _matrix(case):
    return np.array([[float.fromhex(x) for x in row] for row in case["W"]])


def _slopes(case):
    if case["activation"] == "leaky_relu":
        return Fraction(case["alpha"]), Fraction(1)
    return Fraction(0), Fraction(1, 4) if case["activation"] == "sigmoid" else Fraction(1)


def _route(route):
    if "value_minus_1" in route:
        return [1 + Fraction(x) for x in route["value_minus_1"]]
    return [Fraction(x) for x in route["value"]]


def _check_route(found, route, name):
    if route["value"] is None:
        assert not found.value.is_bounded, name
        assert found.why_open, name
        return
    lo, hi = _route(route)
    assert found.value.lo <= hi, name
    assert lo <= found.value.hi, name
    assert found.value.hi < 1 if route["holds"] else found.value.lo >= 1, name


def _found(evidence):
    return evidence.value.lo > 0


@pytest.mark.parametrize("case", CASES, ids=lambda c: c["id"])
def test_diagonal_margin_agrees_with_the_vectors(case):
    W = _matrix(case)
    holds = case["routes"].get("C3", {}).get("holds")
    found = enclose_diagonal_margin(W)
    assert found.value.hi == math.inf
    if _found(found):
        assert holds is not False
        assert replay_diagonal(W, found.witness)
    else:
        assert found.why_open
        assert holds is not True or case["id"] in BEYOND_FLOATS
    alpha, beta = _slopes(case)
    if (alpha, beta) == (0, 1):
        return
    reduced = enclose_diagonal_margin(W, alpha=alpha, beta=beta)
    if _found(reduced):
        assert case["every_b"] == "pass"
        assert replay_diagonal(W, reduced.witness)
    elif case.get("routes_reduced"):
        assert not any(route["holds"] for route in case["routes_reduced"].values())


@pytest.mark.parametrize("case", CASES, ids=lambda c: c["id"])
def test_cayley_and_reduced_routes_contained_and_decided(case):
    W = _matrix(case)
    _check_route(enclose_cayley_root(W, aim=ONE), case["routes"]["C4p"], "C4p")
    if "routes_reduced" not in case:
        return
    alpha, beta = _slopes(case)
    V = reduce_slopes(MatrixEnclosure(W), alpha, beta)
    if case["routes_reduced"] is None:
        assert V is None
        assert regularity(MatrixEnclosure(W), alpha) is Truth.REFUTED
        return
    assert regularity(MatrixEnclosure(W), alpha) is Truth.PROVED
    for name, kernel in (
        ("C1", enclose_perron_root),
        ("C4", enclose_weighted_measure),
        ("C2", enclose_symmetric_part),
        ("C4p", enclose_cayley_root),
    ):
        _check_route(kernel(V, aim=ONE), case["routes_reduced"][name], name)


@pytest.mark.parametrize("case", CASES, ids=lambda c: c["id"])
def test_float_paths_contain_the_same_values(case, monkeypatch):
    monkeypatch.setattr(cayley, "EXACT_ALWAYS", 0)
    monkeypatch.setattr(cayley, "EXACT_WIDTH", 0)
    monkeypatch.setattr(reduction, "EXACT_WIDTH", 0)
    W = _matrix(case)
    found = enclose_cayley_root(W).value
    if case["routes"]["C4p"]["value"] is not None:
        lo, hi = _route(case["routes"]["C4p"])
        assert found.lo <= hi
        assert lo <= found.hi
    else:
        assert not found.is_bounded
    if not case.get("routes_reduced"):
        return
    V = reduce_slopes(MatrixEnclosure(W), *_slopes(case))
    if V is not None:
        lo, hi = _route(case["routes_reduced"]["C1"])
        value = enclose_perron_root(V).value
        assert value.lo <= hi
        assert lo <= value.hi


def test_trap_float_rounded_reduction_is_no_proof():
    b, c = float.fromhex("0x1.21a561c8c6f93p+0"), float.fromhex("0x1.c486574ec34dbp-1")
    W = np.array([[0.0, b], [c, 0.0]])
    half = Fraction(1, 2)
    assert Fraction(b) * Fraction(c) > 1  # det(I - W) < 0 < det(I - W/2)
    rounded = 0.5 * np.linalg.solve(np.eye(2) - 0.5 * W, W)
    exact = reduce_slopes(MatrixEnclosure(W), half, Fraction(1)).rational()
    identity = rational_matrix(np.eye(2))
    assert (identity - exact).det() < 0
    assert (identity - rational_matrix(rounded)).det() > 0
    assert not _found(enclose_diagonal_margin(W, alpha=half))


def test_trap_singular_h_matrix_has_no_margin():
    W = np.array([[0.0, -1.0], [-1.0, 0.0]])
    assert not _found(enclose_diagonal_margin(W, search="full"))


def test_trap_reducible_cayley_transform():
    W = np.array([[0.5, 1e6, 0.0], [0.0, 0.5, 1e6], [0.0, 0.0, 0.5]])
    found = enclose_diagonal_margin(W)
    assert found.value.lo == 1  # 2 (1 - 1/2) on each diagonal entry
    assert replay_diagonal(W, found.witness)


@pytest.mark.parametrize(("c", "stable"), [(0.5, True), (1.5, True), (1.9999, True), (2.0, False),
                                           (2.5, False), (3.0, False)])  # fmt: skip
def test_cyclic_inhibition(c, stable):
    W = -c * np.roll(np.eye(3), 1, axis=1)
    for search in ("conversions", "full"):
        found = enclose_diagonal_margin(W, search=search)
        assert _found(found) is stable


def test_strictly_triangular_with_huge_entries():
    W = np.triu(np.random.default_rng(0).standard_normal((50, 50)) * 1e200, 1)
    assert enclose_diagonal_margin(W).value.lo == 2


@pytest.mark.parametrize("alpha", [Fraction(0), Fraction(1, 3)])
def test_hidden_scalings_are_found_and_replayed(alpha):
    rng = np.random.default_rng(4)
    m = 40
    d = np.exp(2.0 * rng.standard_normal(m))
    W = d[:, None] * (0.45 / math.sqrt(m) * rng.standard_normal((m, m))) / d[None, :]
    found = enclose_diagonal_margin(W, alpha=alpha)
    assert _found(found)
    assert replay_diagonal(W, found.witness)
    spoiled = dict(found.witness.data)
    spoiled["blocks"] = [spoiled["blocks"][0] | {"factor": spoiled["blocks"][0]["factor"] * 2}]
    assert not replay_diagonal(W, Witness(found.witness.kind, spoiled))
    assert not replay_diagonal(W * 4.0, found.witness)


def test_the_full_search_finds_what_conversions_miss():
    rng = np.random.default_rng(0)
    gained = 0
    for _ in range(12):
        W = rng.standard_normal((24, 24)) * 0.85 / math.sqrt(24)
        quick, full = (enclose_diagonal_margin(W, search=s) for s in ("conversions", "full"))
        assert _found(full) or not _found(quick)
        gained += _found(full) and not _found(quick)
    assert gained > 0


def test_without_a_conic_solver_nothing_breaks(monkeypatch):
    monkeypatch.setitem(sys.modules, "cvxpy", None)
    assert not _found(enclose_diagonal_margin(np.array([[2.0, 1.0], [1.0, 2.0]]), search="full"))


def test_the_deadline_ends_the_search():
    W = np.array([[0.9, 3.0], [-2.0, 0.5]]) * 3.0
    found = enclose_diagonal_margin(W, search="full", deadline=time.monotonic() - 1.0)
    assert not _found(found)
    assert "time" in found.why_open


def test_enclosures_hold_for_every_member():
    rng = np.random.default_rng(2)
    for m in (1, 2, 5, 20):
        mid = rng.standard_normal((m, m)) * 0.4 / math.sqrt(m)
        rad = np.full((m, m), 1e-3)
        found = enclose_diagonal_margin(MatrixEnclosure(mid, rad))
        assert _found(found)
        blocks = found.witness.data["blocks"]
        lam = np.array([float(x) for x in blocks[0]["diagonal"]])
        margin = float(found.value.lo)
        for _ in range(5):
            W = mid + rad * rng.uniform(-0.99, 0.99, (m, m))
            S = lam[:, None] * (np.eye(m) - W)
            S = (S + S.T) / np.sqrt(lam[:, None] * lam[None, :])
            assert np.linalg.eigvalsh(S)[0] > margin * (1 - 1e-9)  # floats as a plain cross-check
    wide = MatrixEnclosure(np.full((2, 2), 0.4), np.full((2, 2), 0.2))  # contains rho = 1.2
    assert not _found(enclose_diagonal_margin(wide, search="full"))
    assert not _found(enclose_diagonal_margin(wide, alpha=Fraction(1, 10), search="full"))


def test_eigenvalues_that_do_not_converge_end_nothing():
    rng = np.random.default_rng(77)
    for _ in range(40):
        W = rng.standard_normal((4, 4))
        W = np.where(rng.random((4, 4)) < 0.5, W, W * 1e160)
        found = enclose_diagonal_margin(W, search="full", alpha=Fraction(1, 4))
        assert found.value.hi == math.inf
    large = np.array([[0.0, 1.7976931348623157e308], [2.0, 0.0]])
    assert enclose_cayley_root(large, aim=ONE).value.hi > 0


def test_bad_arguments_are_one_sentence():
    with pytest.raises(InputError, match=r"expected search to be 'conversions' or 'full', but got"):
        enclose_diagonal_margin(np.eye(2), search="hard")
    with pytest.raises(InputError, match=r"expected finite entries, but got nan"):
        enclose_diagonal_margin(np.array([[math.nan]]))
    with pytest.raises(InputError, match=r"expected alpha <= beta, but got 2 > 1"):
        reduce_slopes(MatrixEnclosure(np.eye(2)), Fraction(2), Fraction(1))


def test_replay_refuses_what_proves_nothing():
    W = np.array([[0.5, 0.0], [0.0, 0.5]])
    witness = enclose_diagonal_margin(W).witness
    assert replay_diagonal(W, witness)
    blocks = witness.data["blocks"]
    for data in (
        {"blocks": blocks[:1]},
        {"blocks": [blocks[0] | {"diagonal": [-1]}, blocks[1]]},
        {"blocks": [blocks[0] | {"index": [0, 1]}]},
    ):
        bad = Witness(witness.kind, dict(witness.data) | data)
        assert not replay_diagonal(W, bad)
    assert not replay_diagonal(W + 1.0, witness)  # entries lead both ways between the blocks


def _distance_exceeds(W, member, level, alpha, beta, rad):
    """Whether the float S is farther from the exact S of the member than its error bound."""
    S, error = diagonal_stability._inequality(MatrixEnclosure(W, rad), level, alpha, beta)
    assert np.array_equal(S, S.T)
    lam = [Fraction(float(x)) for x in level]
    one = [Fraction(1)] * len(W)
    exact = scaled_inequality(rational_matrix(member), lam, one, alpha, beta)
    rest = (rational_matrix(S) - exact).entries()
    square = sum((Fraction(int(x.p), int(x.q)) ** 2 for x in rest), Fraction(0))
    return square > Fraction(error) ** 2


SLOPES = [(Fraction(0), Fraction(1)), (Fraction(1, 100), Fraction(1)), (Fraction(-1), Fraction(1)),
          (Fraction(0), Fraction(1, 3)), (Fraction(-13, 100), Fraction(113, 100))]  # fmt: skip


@pytest.mark.parametrize(("alpha", "beta"), SLOPES)
def test_the_float_inequality_obeys_its_bound(alpha, beta):
    rng = np.random.default_rng(6)
    for _ in range(40):
        m = int(rng.integers(1, 8))
        W = rng.standard_normal((m, m)) * 10.0 ** rng.uniform(-8, 8)
        level = np.ldexp(np.rint(np.ldexp(rng.uniform(0.5, 2.0, m), 20)), -20)
        assert not _distance_exceeds(W, W, level, alpha, beta, None)
        rad = np.abs(W) * 0.01
        member = W + rad * rng.choice([-0.999, 0.999], W.shape)
        assert not _distance_exceeds(W, member, level, alpha, beta, rad)


def test_mutation_without_the_rounding_terms(monkeypatch):
    monkeypatch.setattr(diagonal_stability, "U", 0.0)
    monkeypatch.setattr(diagonal_stability, "gamma", lambda k: 0.0)
    W = np.random.default_rng(6).standard_normal((6, 6))
    assert _distance_exceeds(W, W, np.ones(6), Fraction(1, 3), Fraction(1), None)


def test_mutation_without_the_radius_term(monkeypatch):
    mid, rad = np.full((3, 3), 0.3), np.full((3, 3), 0.1)  # a member has rho = 1.2
    given = MatrixEnclosure(mid, rad)
    assert not _found(enclose_diagonal_margin(given))
    monkeypatch.setattr(diagonal_stability, "norm_up", lambda values: 0.0)
    assert _found(enclose_diagonal_margin(given))


def test_mutation_cayley_without_radii(monkeypatch):
    monkeypatch.setattr(cayley, "EXACT_ALWAYS", 0)
    given = MatrixEnclosure(np.full((2, 2), 0.25), np.full((2, 2), 1e-3))
    truth = Fraction(501, 1000) / (2 - Fraction(501, 1000))  # T of the member with entries .2505
    member = MatrixEnclosure(np.full((2, 2), 0.2505))
    assert abs(enclose_cayley_root(member).value.hi - truth) < Fraction(1, 10**12)
    assert enclose_cayley_root(given).value.contains(truth)
    plain = cayley.enclose_solution
    monkeypatch.setattr(cayley, "enclose_solution", lambda a, b: MatrixEnclosure(plain(a, b).mid))
    assert not enclose_cayley_root(given).value.contains(truth)


def test_search_proposals_need_not_be_usable():
    assert diagonal_search._usable(np.array([1.0, -1.0])) is None
    assert diagonal_search._usable(np.array([1.0, math.nan])) is None
    assert diagonal_search._osborne(np.zeros((2, 2))) is None
    names = [name for name, _ in diagonal_search.conversions(np.array([[2.0, 0.0], [0.0, 2.0]]))]
    assert names[0] == "identity"

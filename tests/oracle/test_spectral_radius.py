"""Spectral radius against the exact vectors and closed forms."""

import json
import math
from fractions import Fraction
from pathlib import Path

import flint
import numpy as np
import pytest
from flint import acb, acb_mat

from verify.enclosure import INF, Enclosure
from verify.errors import InputError
from verify_kernels import spectral_radius
from verify_kernels.matrix import MatrixEnclosure, rational_matrix
from verify_kernels.spectral_radius import enclose_spectral_radius

VECTORS = Path(__file__).parents[1] / "vectors"
CASES = [
    case
    for case in json.loads((VECTORS / "linear_algebra.json").read_text(encoding="utf-8"))["cases"]
    if case["shape"][0] == case["shape"][1] and "expected_error" not in case
]


def _matrix(rows):
    return np.array([[float.fromhex(x) for x in row] for row in rows])


def _no_discs(block):
    return Fraction(0), INF


@pytest.mark.parametrize("method", ["all", "discs", "powers"])
@pytest.mark.parametrize("case", CASES, ids=lambda c: c["id"])
def test_linear_algebra_vectors(case, method, monkeypatch):
    if method != "all":
        monkeypatch.setattr(spectral_radius, "EXACT_ALWAYS", 0)
        monkeypatch.setattr(spectral_radius, "EXACT_WIDTH", 0)
    if method == "powers":
        monkeypatch.setattr(spectral_radius, "_disc_radius", _no_discs)
    value = enclose_spectral_radius(_matrix(case["A"])).value
    lo, hi = (Fraction(x) for x in case["expected"]["spectral_radius"])
    assert value.is_bounded
    assert value.lo <= hi
    assert lo <= value.hi
    if lo == hi:
        assert value.contains(lo)
    if method == "all":
        assert value.width <= hi * Fraction(1, 10**9)  # tightness only


@pytest.mark.parametrize("m", [2, 20, 40, 70])
def test_rotations_scaled_by_three_halves(m):
    rng = np.random.default_rng(m)
    W = np.zeros((m, m))
    for i in range(0, m, 2):  # Pythagorean rotations: exact floats after scaling by 1.5
        c, s = (0.75, 1.0) if rng.random() < 0.5 else (1.25, 0.75)
        W[i : i + 2, i : i + 2] = [[c, -s], [s, c]]
    truth = max(Fraction(W[i, i]) ** 2 + Fraction(W[i + 1, i]) ** 2 for i in range(0, m, 2))
    W += np.triu(np.full((m, m), 0.5), 2)  # block triangular: the same eigenvalues
    value = enclose_spectral_radius(W).value
    assert value.lo**2 <= truth <= value.hi**2
    order = rng.permutation(m)
    value = enclose_spectral_radius(W[np.ix_(order, order)]).value
    assert value.lo**2 <= truth <= value.hi**2


@pytest.mark.parametrize("m", [30, 70])
def test_hidden_jordan_blocks(m):
    """S J S^-1 with a unit triangular integer S: exact in floats, one defective eigenvalue 1/2."""
    J = 0.5 * np.eye(m) + np.diag(np.ones(m - 1), 1)
    S, inverse = np.eye(m), np.eye(m)
    S[m - 1, : m - 1] = 1.0
    inverse[m - 1, : m - 1] = -1.0
    W = S @ J @ inverse
    exact = rational_matrix(S) * rational_matrix(J) * rational_matrix(inverse)
    assert exact == rational_matrix(W)
    value = enclose_spectral_radius(W).value
    assert value.contains(Fraction(1, 2))


def test_ginibre_matrices_in_any_form():
    rng = np.random.default_rng(9)
    for m in (5, 23, 33, 90):
        W = rng.standard_normal((m, m)) / math.sqrt(m)
        value = enclose_spectral_radius(W).value
        for other in (W.T, W[::-1, ::-1], -W):
            turned = enclose_spectral_radius(np.ascontiguousarray(other)).value
            assert turned.lo <= value.hi
            assert value.lo <= turned.hi
        doubled = enclose_spectral_radius(2.0**40 * W).value
        assert doubled.lo <= value.hi * 2**40
        assert value.lo * 2**40 <= doubled.hi
        assert float(value.width) < 1e-6  # tightness only


@pytest.mark.parametrize("m", [5, 20, 40])
def test_ginibre_matrices_against_certified_eigenvalues(m):
    """Every eigenvalue isolated in 400-bit balls by another algorithm (Rump)."""
    W = np.random.default_rng(3).standard_normal((m, m)) / math.sqrt(m)
    value = enclose_spectral_radius(W).value
    with flint.ctx.workprec(400):
        exact = acb_mat([[acb(float(x)) for x in row] for row in W])
        moduli = [Enclosure.from_arb(abs(x)) for x in exact.eig(algorithm="rump")]
    assert value.lo <= max(modulus.hi for modulus in moduli)
    assert max(modulus.lo for modulus in moduli) <= value.hi


def test_enclosures_hold_for_every_member():
    rng = np.random.default_rng(7)
    for m in (1, 2, 6, 30):
        mid, rad = rng.standard_normal((m, m)), np.full((m, m), 1e-4)
        value = enclose_spectral_radius(MatrixEnclosure(mid, rad)).value
        for _ in range(4):
            member = mid + rad * rng.uniform(-0.99, 0.99, (m, m))
            inside = enclose_spectral_radius(member).value
            assert inside.lo <= value.hi
            assert value.lo <= inside.hi


def test_edge_cases():
    assert enclose_spectral_radius(np.zeros((0, 0))).value == Enclosure.exact(0)
    assert enclose_spectral_radius(np.array([[-2.0]])).value == Enclosure.exact(2)
    assert enclose_spectral_radius(np.array([[0.0, 1.0], [0.0, 0.0]])).value == Enclosure.exact(0)
    near = np.array([[1 - 2.0**-53, 2.0**-1070], [2.0**-1070, 1 - 2.0**-53]])
    value = enclose_spectral_radius(near).value
    assert value.contains(1 - Fraction(1, 2**53) + Fraction(1, 2**1070))
    huge = np.array([[0.0, 1e300, 0.0], [0.0, 0.0, 1e-300], [1e300, 1e-300, 0.0]])
    assert enclose_spectral_radius(huge).value.is_bounded
    with pytest.raises(InputError, match=r"expected finite entries, but got inf at \[0, 0\]"):
        enclose_spectral_radius(np.array([[math.inf]]))


def test_mutation_without_the_radii(monkeypatch):
    monkeypatch.setattr(spectral_radius, "EXACT_ALWAYS", 0)
    monkeypatch.setattr(spectral_radius, "EXACT_WIDTH", 0)
    W = np.diag(np.ones(8), 1) + np.diag(np.ones(8), -1)  # 2 cos(pi/10), irrational
    truth = Fraction(1902113032590307144232878666758, 10**30)  # to 30 digits
    assert enclose_spectral_radius(W).value.contains(truth)
    plain = spectral_radius._discs

    def bare(*arguments):
        centre, radius = plain(*arguments)
        return centre, 0.0 * radius

    monkeypatch.setattr(spectral_radius, "_discs", bare)
    monkeypatch.setattr(spectral_radius, "U", 0.0)
    monkeypatch.setattr(spectral_radius, "up_array", lambda x: x)
    monkeypatch.setattr(spectral_radius, "down_array", lambda x: x)
    assert not enclose_spectral_radius(W).value.contains(truth)

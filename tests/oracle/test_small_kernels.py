"""Kernels of a few lines: substitution order, margins, least diagonal, failures, estimates."""

from __future__ import annotations

import itertools
import math
from fractions import Fraction

import flint
import numpy as np
import pytest
from flint import arb, fmpq_mat

from verify.enclosure import Enclosure
from verify.errors import InputError
from verify.evidence import Evidence, Witness
from verify.network import MonotoneWeight, PlainWeight, SoftplusMonotoneWeight
from verify.network.activation import Activation
from verify.verdict import Truth
from verify_kernels import margin, small_spectrum
from verify_kernels.acyclic import decide_acyclic
from verify_kernels.failure import explain_failure
from verify_kernels.least_diagonal import enclose_least_diagonal
from verify_kernels.margin import enclose_margin
from verify_kernels.matrix import MatrixEnclosure, enclose_rational, identity_minus
from verify_kernels.p0_matrix import decide_p0_matrix
from verify_kernels.p_matrix import decide_p_matrix
from verify_kernels.power_iteration import estimate_spectral_radius
from verify_kernels.refutation import check_equilibrium
from verify_kernels.slopes import slope_class

RELU, TANH = Activation("relu"), Activation("tanh")


def is_nilpotent(pattern):
    power = np.linalg.matrix_power(pattern.astype(np.int64), len(pattern)) if len(pattern) else None
    return power is None or not power.any()


def test_acyclic_patterns_of_order_three_by_enumeration():
    for bits in itertools.product((0, 1), repeat=9):
        pattern = np.array(bits).reshape(3, 3)
        found = decide_acyclic(MatrixEnclosure(pattern * 1e300))
        assert found.value is (Truth.PROVED if is_nilpotent(pattern) else Truth.REFUTED)
        if found.value is Truth.PROVED:
            order = found.witness.data["order"]
            assert sorted(order) == [0, 1, 2]
            assert not np.triu(pattern[np.ix_(order, order)]).any()


def test_acyclic_speaks_about_every_matrix_of_an_enclosure():
    may_be_zero = MatrixEnclosure(np.array([[0.0, 1.0], [0.0, 0.0]]), np.full((2, 2), 1e-300))
    assert decide_acyclic(may_be_zero).value is Truth.UNDECIDED
    zero = MatrixEnclosure(np.zeros((1, 1)), np.full((1, 1), 1e-300), fmpq_mat(1, 1))
    assert decide_acyclic(zero).value is not Truth.REFUTED
    upper = np.array([[0.0, 1.0], [0.0, 0.0]])
    assert decide_acyclic(MatrixEnclosure(upper, upper)).value is Truth.PROVED
    cycle = MatrixEnclosure(np.array([[0.0, 1.0], [1.0, 0.0]]), np.full((2, 2), 0.5))
    assert decide_acyclic(cycle).value is Truth.REFUTED
    third = enclose_rational(fmpq_mat(1, 1, [flint.fmpq(1, 3)]))
    assert decide_acyclic(third).value is Truth.REFUTED
    assert decide_acyclic(MatrixEnclosure(np.zeros((0, 0)))).value is Truth.PROVED
    assert decide_acyclic(MatrixEnclosure(np.array([[5e-324]]))).value is Truth.REFUTED


@pytest.mark.parametrize("raw", [0.0, -3.25, 1e-300, 40.0, -745.5, 800.0, -1e308, 1e308])
def test_stored_margins_are_enclosed(raw):
    weight = SoftplusMonotoneWeight(np.eye(2), np.zeros((2, 2)), np.array([raw]))
    value = enclose_margin(weight).value
    if abs(raw) < 1e3:
        with flint.ctx.workprec(4000):
            truth = Enclosure.from_arb((1 + arb(raw).exp()).log() + arb(1) / 10000)
        assert value.lo <= truth.hi
        assert truth.lo <= value.hi
        assert value.width < Fraction(1, 2**60)
    elif raw > 0:
        assert value.lo <= Fraction(raw) + Fraction(1, 10000)
        assert value.hi == math.inf or value.hi >= Fraction(raw) + Fraction(1, 10000)
    else:
        assert value.lo <= Fraction(1, 10000) <= value.hi


def test_declared_margins_are_exact():
    weight = MonotoneWeight(np.eye(2), np.eye(2), Fraction(1, 3))
    value = enclose_margin(weight).value
    assert value.lo <= Fraction(1, 3) <= value.hi
    assert value.width < Fraction(1, 2**52)
    with pytest.raises(InputError, match="expected a parametrisation with a margin m, but got"):
        enclose_margin(PlainWeight(np.eye(2)))


def test_a_margin_from_a_rounded_exponential_would_be_wrong(monkeypatch):
    """Ball arithmetic at low precision is wide, never false."""
    weight = SoftplusMonotoneWeight(np.eye(1), np.zeros((1, 1)), np.array([0.1]))
    with flint.ctx.workprec(4000):
        truth = Enclosure.from_arb((1 + arb(0.1).exp()).log() + arb(1) / 10000)
    assert enclose_margin(weight, bits=10).value.contains(truth.lo)
    from_ball = margin.Enclosure.from_arb
    monkeypatch.setattr(margin.Enclosure, "from_arb", lambda ball: from_ball(ball.mid()))
    assert not enclose_margin(weight, bits=10).value.contains(truth.lo)


def test_least_diagonal_entries():
    draw = np.random.default_rng(4)
    for _ in range(40):
        m = int(draw.integers(1, 5))
        W, radius = draw.standard_normal((m, m)), np.abs(draw.standard_normal((m, m)))
        exact = enclose_least_diagonal(MatrixEnclosure(W)).value
        assert exact == Enclosure.exact(min(0.0, *np.diagonal(W)))
        value = enclose_least_diagonal(MatrixEnclosure(W, radius)).value
        entries = [(Fraction(W[i, i]), Fraction(radius[i, i])) for i in range(m)]
        lows, highs = [w - r for w, r in entries], [w + r for w, r in entries]
        assert value.lo <= min(0, *lows)
        assert min(0, *highs) <= value.hi <= 0
    assert enclose_least_diagonal(MatrixEnclosure(np.zeros((0, 0)))).value == Enclosure.exact(0)


def test_a_failure_is_shown_where_it_can_be():
    weight = MatrixEnclosure(np.array([[0.0, -3.0], [-3.0, 0.0]]))
    bad = decide_p_matrix(identity_minus(weight, Fraction(1)))
    shown = explain_failure(weight, RELU, slope_class(RELU), bad)
    assert shown.value is Truth.REFUTED
    assert shown.witness.kind == "two-equilibria"
    data = shown.witness.data
    assert data["minor_index_set"] == [0, 1]
    for name in ("z1", "z2"):
        assert check_equilibrium(weight.rational(), Fraction(0), data["b"], data[name])
    smooth = MatrixEnclosure(np.array([[2.0]]))
    bad = decide_p0_matrix(identity_minus(smooth, Fraction(1)))
    shown = explain_failure(smooth, TANH, slope_class(TANH), bad)
    assert shown.witness.kind == "two-enclosures"


def test_a_failure_that_cannot_be_shown_keeps_its_minor():
    near = MatrixEnclosure(np.array([[0.0, -3.0], [-3.0, 0.0]]), np.full((2, 2), 1e-9))
    bad = decide_p_matrix(identity_minus(near, Fraction(1)))
    assert explain_failure(near, RELU, slope_class(RELU), bad) is bad
    fine = MatrixEnclosure(np.array([[0.5]]))
    claimed = Evidence(Truth.REFUTED, Witness("bad-minor", {"index_set": [0], "determinant": None}))
    assert explain_failure(fine, RELU, slope_class(RELU), claimed) is claimed


def test_the_estimate_is_a_plain_number_that_can_be_far_off():
    rotation = np.array([[0.0, -2.0], [0.5, 0.0]])
    assert abs(estimate_spectral_radius(rotation) - 1.0) > 0.3  # the radius is 1
    assert estimate_spectral_radius(np.zeros((3, 3))) == 0.0
    assert estimate_spectral_radius(np.zeros((0, 0))) == 0.0
    assert estimate_spectral_radius(2.0 * np.eye(3)) == pytest.approx(2.0)  # tightness only


@pytest.mark.parametrize(
    "guess", [Fraction(0), Fraction(-3), Fraction(1, 10**400), Fraction(10**400)]
)
def test_a_wrong_guess_of_a_root_changes_nothing(guess, monkeypatch):
    rng = np.random.default_rng(5)
    matrices = [
        fmpq_mat([[flint.fmpq(int(x), 7) for x in row] for row in rng.integers(-9, 10, (n, n))])
        for n in (1, 2, 5)
    ] + [fmpq_mat([[3, 0], [0, 3]]), fmpq_mat([[0, 0], [0, 4]])]

    def found():
        for A in matrices:
            yield small_spectrum.enclose_largest_singular_value(A)
            yield small_spectrum.enclose_largest_eigenvalue(A + A.transpose(), bits=100)
            yield small_spectrum.enclose_smallest_eigenvalue(-A * A.transpose())

    plain = list(found())
    monkeypatch.setattr(small_spectrum, "_newton", lambda *_: guess)
    assert list(found()) == plain

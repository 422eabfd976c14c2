"""Laws of the minors: permutation, transposition, inversion, scaling, principal parts."""

from __future__ import annotations

from fractions import Fraction

import pytest
from flint import fmpq, fmpq_mat
from hypothesis import given
from hypothesis import strategies as st

from verify.verdict import Truth
from verify_kernels import minors, p_matrix
from verify_kernels.matrix import enclose_rational
from verify_kernels.one_sign import decide_one_sign
from verify_kernels.p0_matrix import decide_p0_matrix
from verify_kernels.p_matrix import decide_p_matrix
from verify_kernels.r0_matrix import decide_r0_matrix
from verify_kernels.refutation import two_equilibria

ENTRIES = st.integers(-6, 6).map(lambda k: fmpq(k, 4))


@st.composite
def matrices(draw, largest=5):
    n = draw(st.integers(1, largest))
    exact = fmpq_mat(n, n, [draw(ENTRIES) for _ in range(n * n)])
    if draw(st.booleans()):
        for i in range(n):
            exact[i, i] = exact[i, i] + 2
    return exact


@st.composite
def matrix_and_order(draw):
    exact = draw(matrices())
    return exact, draw(st.permutations(range(exact.nrows())))


@pytest.fixture(params=[False, True], ids=["minors", "tree"], scope="module", autouse=True)
def route(request):
    patch = pytest.MonkeyPatch()
    if request.param:
        for name in ("SWEEP", "LAST_SWEEP", "SMALL_SWEEP"):
            patch.setattr(p_matrix, name, 0)
    yield
    patch.undo()


def truth(exact, decide=decide_p_matrix):
    return decide(enclose_rational(exact)).value


@given(matrix_and_order())
def test_permutation_and_transposition_change_nothing(case):
    exact, order = case
    moved = minors.submatrix(exact, order, order)
    for decide in (decide_p_matrix, decide_p0_matrix):
        assert truth(exact, decide) is truth(moved, decide) is truth(exact.transpose(), decide)


@given(matrices(), st.lists(st.integers(-40, 40), min_size=10, max_size=10))
def test_positive_diagonal_factors_change_nothing(exact, powers):
    n = exact.nrows()
    scaled = fmpq_mat(
        n,
        n,
        [exact[i, j] * fmpq(2) ** (powers[i] + powers[5 + j]) for i in range(n) for j in range(n)],
    )
    for decide in (decide_p_matrix, decide_p0_matrix):
        assert truth(exact, decide) is truth(scaled, decide)


@given(matrices())
def test_p_implies_p0_and_r0_and_the_inverse_is_p(exact):
    if truth(exact) is Truth.PROVED:
        assert truth(exact, decide_p0_matrix) is Truth.PROVED
        assert truth(exact, decide_r0_matrix) is Truth.PROVED
        assert truth(exact.inv()) is Truth.PROVED
        n = exact.nrows()
        part = list(range(n - 1))
        if part:
            assert truth(minors.submatrix(exact, part, part)) is Truth.PROVED


@given(matrices(4), st.sampled_from([Fraction(0), Fraction(1, 2), Fraction(1, 100)]))
def test_a_refutation_is_what_one_sign_forbids(weight, alpha):
    found = decide_one_sign(enclose_rational(weight), alpha, Fraction(1))
    witness = (
        two_equilibria(weight, alpha=alpha, bad=found.witness)
        if found.value is Truth.REFUTED
        else None
    )
    assert (witness is not None) == (found.value is Truth.REFUTED)


@given(matrices(4))
def test_swapping_the_roles_of_two_slopes_keeps_the_answer(weight):
    """det(I - W D) over {a, b} is det(I - (b W) D) over {a/b, 1}."""
    low, high = Fraction(1, 3), Fraction(3, 2)
    direct = decide_one_sign(enclose_rational(weight), low, high)
    scaled = decide_one_sign(enclose_rational(weight * fmpq(3, 2)), low / high, Fraction(1))
    assert direct.value is scaled.value

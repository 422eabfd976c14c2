"""Laws of the norm and eigenvalue kernels: containment, scaling, transposition, agreement."""

from fractions import Fraction

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays

from verify.enclosure import Enclosure
from verify_kernels import definiteness, spectral_norm
from verify_kernels.definiteness import enclose_smallest_eigenvalue, proves_definite
from verify_kernels.spectral_norm import enclose_spectral_norm, proves_norm_at_most

ENTRIES = st.floats(-1e3, 1e3, allow_subnormal=True) | st.sampled_from([0.0, 1.0, -1.0, 0.5])
MATRICES = arrays(np.float64, array_shapes(min_dims=2, max_dims=2, max_side=7), elements=ENTRIES)
PAIRS = array_shapes(min_dims=2, max_dims=2, max_side=6).flatmap(
    lambda shape: st.tuples(*2 * [arrays(np.float64, shape, elements=ENTRIES)])
)
SQUARE = st.integers(1, 6).flatmap(lambda n: arrays(np.float64, (n, n), elements=ENTRIES))


@pytest.fixture(params=["exact", "float"], autouse=True, scope="module")
def path(request):
    """Every law holds for the exact path of small matrices and for the floating-point path."""
    patch = pytest.MonkeyPatch()
    if request.param == "float":
        patch.setattr(spectral_norm, "SMALL", 0)
        patch.setattr(definiteness, "SMALL", 0)
    yield request.param
    patch.undo()


def overlap(a, b):
    return a.lo <= b.hi and b.lo <= a.hi


def scaled(value, exponent):
    return Enclosure(value.lo * Fraction(2) ** exponent, value.hi * Fraction(2) ** exponent)


def symmetric(matrix):
    return np.triu(matrix) + np.triu(matrix, 1).T


@given(MATRICES)
def test_norm_lies_between_entries_and_frobenius(matrix):
    value = enclose_spectral_norm(matrix).value
    squares = sum(Fraction(x) ** 2 for x in matrix.ravel().tolist())
    assert value.hi >= float(np.abs(matrix).max())
    assert value.lo**2 <= squares


@given(MATRICES)
def test_transpose_and_permutation_agree(matrix):
    value = enclose_spectral_norm(matrix).value
    assert overlap(value, enclose_spectral_norm(matrix.T).value)
    assert overlap(value, enclose_spectral_norm(matrix[::-1, ::-1]).value)
    assert overlap(value, enclose_spectral_norm(-matrix).value)


@given(MATRICES, st.sampled_from([-900, -300, 300, 900]))
def test_powers_of_two_scale_the_norm(matrix, exponent):
    with np.errstate(under="ignore"):
        moved = np.ldexp(matrix, exponent)
        assume(np.array_equal(np.ldexp(moved, -exponent), matrix))
    value = enclose_spectral_norm(matrix).value
    assert overlap(enclose_spectral_norm(moved).value, scaled(value, exponent))


@given(MATRICES, MATRICES)
def test_backends_and_aims_agree(matrix, other):
    value = enclose_spectral_norm(matrix, backend="numpy").value
    assert overlap(value, enclose_spectral_norm(matrix, backend="numba").value)
    aim = Enclosure.exact(float(np.abs(other).max()))
    assert overlap(value, enclose_spectral_norm(matrix, aim=aim).value)


@given(MATRICES, st.floats(0, 1e4))
def test_a_proved_claim_is_not_below_the_lower_end(matrix, c):
    if proves_norm_at_most(matrix, c):
        assert enclose_spectral_norm(matrix).value.lo <= Fraction(c)


@given(PAIRS)
def test_triangle_inequality_is_not_contradicted(pair):
    matrix, other = pair
    with np.errstate(all="ignore"):
        total = matrix + other
    rounding = sum(Fraction(abs(x)) for x in total.ravel().tolist()) / 2**53
    left = enclose_spectral_norm(total).value.lo
    right = enclose_spectral_norm(matrix).value.hi + enclose_spectral_norm(other).value.hi
    assert left <= right + rounding


@given(SQUARE)
def test_smallest_eigenvalue_is_below_the_diagonal(matrix):
    matrix = symmetric(matrix)
    value = enclose_smallest_eigenvalue(matrix).value
    assert value.lo <= Fraction(float(np.diagonal(matrix).min()))
    assert overlap(value, enclose_smallest_eigenvalue(matrix, aim=Enclosure.exact(0)).value)
    norm = enclose_spectral_norm(matrix).value
    assert -norm.hi <= value.hi
    assert value.lo <= norm.hi


@given(SQUARE, st.floats(-1e3, 1e3), st.floats(0, 10))
def test_proved_definiteness_agrees_with_the_enclosure(matrix, c, error):
    matrix = symmetric(matrix)
    value = enclose_smallest_eigenvalue(matrix).value
    if proves_definite(matrix, at_least=c, error=error):
        assert value.hi > Fraction(c) + Fraction(error)
    wide = enclose_smallest_eigenvalue(matrix, error=error).value
    assert wide.lo <= value.hi - Fraction(error)
    assert wide.hi >= value.lo + Fraction(error)


@given(MATRICES)
def test_gram_matrices_are_never_negative(matrix):
    integers = np.rint(matrix)
    value = enclose_smallest_eigenvalue(integers.T @ integers).value
    assert value.hi >= 0

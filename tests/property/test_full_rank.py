"""Laws of rank proofs: scaling, permutation, transposition, growing radii, backends."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from verify.enclosure import Enclosure
from verify_kernels.forward.features import Features
from verify_kernels.full_rank.exact_rank import enclose_rank
from verify_kernels.full_rank.gram import enclose_gram_smallest, radius_squared
from verify_kernels.full_rank.modular import modular_rank
from verify_kernels.full_rank.preconditioned import precondition
from verify_kernels.full_rank.scaling import equilibrated
from verify_kernels.full_rank.singular_values import enclose_singular_extremes
from verify_kernels.matrix import rational_matrix

ENTRIES = st.one_of(
    st.integers(-3, 3).map(float),
    st.floats(-10.0, 10.0),
    st.floats(allow_nan=False, allow_infinity=False),
)
SHAPES = st.tuples(st.integers(1, 6), st.integers(1, 6))
MATRICES = SHAPES.flatmap(lambda shape: arrays(np.float64, shape, elements=ENTRIES))
SEEDS = st.integers(0, 2**32 - 1)


def exact(M):
    return Features(M, np.zeros(len(M)))


@given(MATRICES)
def test_the_rank_is_that_of_the_rational_matrix(M):
    rank = rational_matrix(M).rref()[1]
    assert enclose_rank(M).value == Enclosure.exact(rank)
    assert modular_rank(M).enclosure().contains(rank)


@given(MATRICES, SEEDS)
def test_rank_does_not_change_under_permutation_and_transposition(M, seed):
    draw = np.random.default_rng(seed)
    value = enclose_rank(M).value
    assert enclose_rank(M.T).value == value
    turned = M[draw.permutation(M.shape[0])][:, draw.permutation(M.shape[1])]
    assert enclose_rank(turned).value == value


@given(MATRICES, SEEDS)
def test_scaled_rows_enclose_the_scaled_matrix(M, seed):
    radius = np.random.default_rng(seed).random(len(M)) * 2.0**-20
    scaled = equilibrated(Features(M, radius), ones=True)
    whole = np.hstack([M, np.ones((len(M), 1))])
    exponents = np.frexp(np.abs(whole).max(axis=1))[1].tolist()
    for i, e in enumerate(exponents):
        factor = rational_matrix(np.ldexp(np.ones((1, 1)), -e))[0, 0] if abs(e) < 1000 else None
        if factor is None:
            continue
        rest = rational_matrix(whole[i : i + 1]) * factor - rational_matrix(scaled.mid[i : i + 1])
        distance = sum(x * x for x in rest.entries())
        own = rational_matrix(radius[i : i + 1][None])[0, 0] * factor
        room = rational_matrix(scaled.row_radius[i : i + 1][None])[0, 0] - own
        assert room >= 0
        assert distance <= room * room


@given(SEEDS, st.integers(-300, 300))
def test_singular_values_scale_by_powers_of_two(seed, exponent):
    M = np.random.default_rng(seed).standard_normal((18, 25))
    ends = enclose_singular_extremes(exact(M), ones=False)
    scaled = enclose_singular_extremes(exact(np.ldexp(M, exponent)), ones=False)
    for value, other in zip(ends, scaled, strict=True):
        factor = rational_matrix(np.ldexp(np.ones((1, 1)), exponent))[0, 0]
        low, high = (
            value.lo * int(factor.p) / int(factor.q),
            value.hi * int(factor.p) / int(factor.q),
        )
        assert max(low, other.lo) <= min(high, other.hi)


@given(SEEDS, st.floats(0.0, 10.0))
def test_a_larger_radius_never_proves_more(seed, radius):
    M = np.random.default_rng(seed).standard_normal((18, 25))
    wide = Features(M, np.full(18, radius))
    smallest, largest = enclose_singular_extremes(exact(M), ones=False)
    moved = enclose_singular_extremes(wide, ones=False)
    assert moved[0].lo <= smallest.hi
    assert moved[1].hi >= largest.lo
    assert precondition(wide, ones=False).smallest.lo <= smallest.hi
    proved = enclose_gram_smallest(wide, ones=False, aim=radius_squared(wide)).enclosure()
    assert proved.lo <= smallest.hi**2


@given(SEEDS)
def test_backends_agree(seed):
    M = np.random.default_rng(seed).standard_normal((18, 25))
    first, second = (
        enclose_gram_smallest(exact(M), ones=True, backend=name).enclosure()
        for name in ("numpy", "numba")
    )
    assert first.intersection(second).lo > 0

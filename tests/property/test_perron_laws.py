"""Laws of the Perron root, the measures and the routes built on them."""

from fractions import Fraction

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from verify_kernels.cayley import enclose_cayley_root
from verify_kernels.diagonal_stability import enclose_diagonal_margin
from verify_kernels.matrix import MatrixEnclosure
from verify_kernels.matrix_measure import (
    enclose_symmetric_part,
    enclose_weighted_measure,
    measure_inf,
)
from verify_kernels.perron import enclose_perron_root
from verify_kernels.spectral_radius import enclose_spectral_radius

ENTRIES = st.one_of(
    st.just(0.0),
    st.floats(-4.0, 4.0),
    st.floats(allow_nan=False, allow_infinity=False, min_value=-1e250, max_value=1e250),
    st.integers(-3, 3).map(float),
)
MATRICES = st.integers(1, 6).flatmap(lambda m: arrays(np.float64, (m, m), elements=ENTRIES))


def _overlap(one, other):
    return one.lo <= other.hi and other.lo <= one.hi


@given(MATRICES)
def test_transpose_permutation_and_scaling(W):
    m = len(W)
    order = np.roll(np.arange(m), 1)
    turned = W[np.ix_(order, order)]
    for kernel in (enclose_perron_root, enclose_weighted_measure, enclose_symmetric_part):
        value = kernel(W).value
        assert _overlap(value, kernel(np.ascontiguousarray(W.T)).value)
        assert _overlap(value, kernel(turned).value)
    value = enclose_perron_root(W).value
    if np.abs(W).max() < 1e200 and (np.abs(W)[W != 0] > 1e-200).all():
        scaled = enclose_perron_root(2.0**10 * W).value
        assert scaled.lo <= value.hi * 2**10
        assert value.lo * 2**10 <= scaled.hi


@given(MATRICES)
def test_order_of_the_quantities(W):
    perron = enclose_perron_root(W).value
    measure = enclose_weighted_measure(W).value
    assert measure.lo <= perron.hi
    assert measure.lo <= measure_inf(W).value.hi
    assert enclose_spectral_radius(W).value.lo <= perron.hi
    larger = enclose_perron_root(np.abs(W) + np.eye(len(W))).value
    assert perron.lo <= larger.hi


@given(MATRICES)
def test_the_routes_imply_each_other(W):
    perron = enclose_perron_root(W).value
    if perron.hi < 1:
        assert not enclose_weighted_measure(W).value.lo >= 1
        cayley = enclose_cayley_root(W).value
        assert cayley.lo <= Fraction(perron.hi) / (2 - Fraction(perron.hi))
    if enclose_diagonal_margin(W).value.lo > 0 and len(W) == 1:
        assert W[0, 0] < 1.0


LARGEST = float(np.finfo(np.float64).max)
EXTREME = st.one_of(
    ENTRIES,
    st.sampled_from(
        [0.0, 5e-324, -5e-324, 1e-308, 1.7976931348623157e308, -1.7976931348623157e308]
    ),
)
PAIRS = st.integers(1, 5).flatmap(
    lambda m: st.tuples(*[arrays(np.float64, (m, m), elements=EXTREME)] * 2)
)


@given(PAIRS)
def test_extreme_enclosures_contain_their_middle_and_raise_nothing(pair):
    mid, rad = pair[0], np.abs(pair[1])
    given_weight = MatrixEnclosure(mid, rad)
    for kernel in (
        enclose_perron_root,
        enclose_weighted_measure,
        enclose_symmetric_part,
        enclose_spectral_radius,
        measure_inf,
    ):
        assert _overlap(kernel(mid).value, kernel(given_weight).value)
    enclose_cayley_root(given_weight)
    enclose_diagonal_margin(given_weight, alpha=Fraction(1, 3))
    if enclose_diagonal_margin(given_weight).value.lo > 0:
        assert (np.diagonal(mid) < 1.0).all()

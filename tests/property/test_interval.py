"""Interval operations contain every result; an end that is called open is never attained."""

import math
from fractions import Fraction

from hypothesis import given
from hypothesis import strategies as st

from verify import _interval as iv
from verify._interval import DomainFault, Interval

INF = math.inf
ends = st.one_of(
    st.integers(-3, 3).map(Fraction),
    st.fractions(-5, 5, max_denominator=9),
    st.floats(-4, 4, allow_nan=False).map(Fraction),
)
bits = st.sampled_from([2, 8, 64])


@st.composite
def intervals_with_a_point(draw):
    """An interval, open or closed at each end, and one of its numbers, often an end."""
    lo, hi = sorted([draw(ends), draw(ends)])
    lo_open, hi_open = draw(st.booleans()), draw(st.booleans())
    if lo == hi:
        return Interval(lo, hi), lo
    share = draw(st.sampled_from([Fraction(0), Fraction(1, 3), Fraction(1, 2), Fraction(1)]))
    point = lo + share * (hi - lo)
    lo_open, hi_open = lo_open and point != lo, hi_open and point != hi
    if draw(st.integers(0, 4)) == 0:
        lo, lo_open = -INF, True
    if draw(st.integers(0, 4)) == 0:
        hi, hi_open = INF, True
    return Interval(lo, hi, lo_open, hi_open), point


some = intervals_with_a_point()


def contains(interval, value):
    above = interval.lo < value or (interval.lo == value and not interval.lo_open)
    below = value < interval.hi or (value == interval.hi and not interval.hi_open)
    return above and below


@given(some, some, bits)
def test_sum_and_product(a, b, bits):
    (x, s), (y, t) = a, b
    assert contains(iv.add(x, y, bits), s + t)
    assert contains(iv.multiply(x, y, bits), s * t)
    assert contains(iv.maximum([x, y]), max(s, t))
    assert contains(iv.minimum([x, y]), min(s, t))


@given(some, some)
def test_comparison(a, b):
    (x, s), (y, t) = a, b
    assert not x.precedes(y) or s < t
    assert not x.not_after(y) or s <= t


@given(some, bits)
def test_one_operand(a, bits):
    x, s = a
    assert contains(iv.negative(x), -s)
    assert contains(iv.absolute(x), abs(s))
    try:
        assert contains(iv.reciprocal(x, bits), 1 / s)
    except DomainFault:
        assert x.lo <= 0 <= x.hi


@given(some, st.integers(1, 9), bits)
def test_integer_powers(a, exponent, bits):
    x, s = a
    assert contains(iv.power(x, Fraction(exponent), bits), s**exponent)
    try:
        assert contains(iv.power(x, Fraction(-exponent), bits), s**-exponent)
    except DomainFault:
        assert x.lo <= 0 <= x.hi


@given(some, st.sampled_from([(1, 2), (1, 3), (3, 2), (2, 3), (5, 4)]), bits)
def test_roots(a, exponent, bits):
    x, s = a
    p, q = exponent
    try:
        found = iv.power(x, Fraction(p, q), bits)
    except DomainFault:
        assert x.lo < 0
        return
    below, above = s**p, s**p  # compare q-th powers: the ends are >= 0
    assert found.lo**q < below or (found.lo**q == below and not found.lo_open)
    assert above < found.hi**q or (above == found.hi**q and not found.hi_open)


@given(some, bits)
def test_exp_and_log_contain_and_are_inverse(a, bits):
    x, s = a
    power = iv.exponential(x, max(bits, 8))
    assert contains(iv.logarithm(power, max(bits, 8)), s)
    assert power.lo >= 0


@given(some, bits)
def test_intersection_keeps_a_common_point(a, bits):
    x, s = a
    wide = iv.add(x, Interval(Fraction(-1), Fraction(1)), bits)
    both = x.intersection(wide)
    assert contains(both, s)
    assert (both.lo, both.hi) == (x.lo, x.hi)

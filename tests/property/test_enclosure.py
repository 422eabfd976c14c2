import math
from fractions import Fraction

from hypothesis import given
from hypothesis import strategies as st

from verify.enclosure import Enclosure, endpoint_from_hex, hex_of, round_down, round_up

floats = st.floats(allow_nan=False, allow_infinity=False)
dyadic = st.builds(
    lambda m, e: Fraction(m) * Fraction(2) ** e, st.integers(), st.integers(-2200, 2200)
)
rationals = st.one_of(floats.map(Fraction), dyadic, st.fractions())
ends = st.one_of(dyadic, floats.map(Fraction))


@given(rationals, st.integers(1, 200))
def test_rounding_is_directed(value, bits):
    assert round_down(value, bits=bits) <= value <= round_up(value, bits=bits)


@given(rationals, rationals, st.integers(2, 200))
def test_rounding_is_monotone(a, b, bits):
    a, b = min(a, b), max(a, b)
    box = Enclosure.outward(a, b, bits=bits)
    assert box.lo <= a <= b <= box.hi


@given(ends)
def test_float_ends_are_the_nearest_floats_outside(value):
    box = Enclosure.exact(value)
    low, high = box.lo_float, box.hi_float
    assert low <= value <= high
    if math.isfinite(low) and math.isfinite(high):
        between = [float(value)]  # correctly rounded: no float lies strictly between
        assert all(x in (low, high) for x in between)
        assert (low == high) == (Fraction(low) == value)


@given(ends)
def test_hexadecimal_round_trip(value):
    assert endpoint_from_hex(hex_of(value)) == value


@given(floats)
def test_hexadecimal_forms_of_python_are_read(value):
    assert endpoint_from_hex(value.hex()) == Fraction(value)


@given(ends, ends)
def test_a_ball_contains_the_interval(a, b):
    box = Enclosure(min(a, b), max(a, b))
    back = Enclosure.from_arb(box.arb())
    assert back.lo <= box.lo
    assert box.hi <= back.hi


@given(ends, ends, ends)
def test_intersection_and_hull(a, b, x):
    first, second = Enclosure(min(a, x), max(a, x)), Enclosure(min(b, x), max(b, x))
    assert first.intersection(second).contains(x)
    hull = first.hull(second)
    assert all(hull.contains(value) for value in (a, b, x))

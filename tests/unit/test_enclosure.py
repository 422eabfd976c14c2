import math
from fractions import Fraction

import numpy as np
import pytest
from flint import arb, ctx

from verify.enclosure import (
    Enclosure,
    Measurement,
    endpoint_from_hex,
    hex_of,
    round_down,
    round_up,
)
from verify.errors import EnclosureError

INF = math.inf
LARGEST = float.fromhex("0x1.fffffffffffffp+1023")
TINY = 2.0**-1074


@pytest.mark.parametrize(
    "ends",
    [(1, 0), (INF, INF), (-INF, -INF), (math.nan, 1), (0, math.nan), (Fraction(1, 3), 1), (0, True),
     ("0", 1), (None, 1), (0, 1j), (np.float32(0), 1)],
)  # fmt: skip
def test_ends_that_are_refused(ends):
    with pytest.raises(EnclosureError, match=r"^Enclosure: expected .*, but got "):
        Enclosure(*ends)


def test_ends_are_exact():
    box = Enclosure(np.float64(0.1), 1)
    assert box.lo == Fraction(0.1)
    assert type(box.lo) is Fraction
    assert box.width == 1 - Fraction(0.1)
    assert Enclosure.exact(0.5).is_exact
    assert not Enclosure.unbounded().is_bounded
    assert Enclosure(0, INF).width == INF
    assert box.contains(0.1)
    assert not box.contains(Fraction(1, 10))  # the float is above a tenth


def test_outward_is_outward_and_keeps_dyadic_ends():
    third = Fraction(1, 3)
    box = Enclosure.outward(third, third)
    assert box.lo < third < box.hi
    assert box.width <= third / 2**126
    assert Enclosure.outward(-third, third, bits=8).lo < -third
    assert Enclosure.outward(0.1, INF) == Enclosure(0.1, INF)
    assert Enclosure.outward(Fraction(1, 2**5000), 2) == Enclosure(Fraction(1, 2**5000), 2)


@pytest.mark.parametrize(
    "value", [Fraction(1, 3), Fraction(-7, 5), Fraction(10**400, 7), Fraction(1, 10**400)]
)
@pytest.mark.parametrize("bits", [1, 2, 53, 128])
def test_rounding_is_directed_and_near(value, bits):
    low, high = round_down(value, bits=bits), round_up(value, bits=bits)
    assert low < value < high
    assert high - low <= abs(value) * Fraction(2, 2**bits) * 2
    assert round_down(-value, bits=bits) == -high


@pytest.mark.parametrize("value", [0, 1, -0.5, TINY, LARGEST, INF, -INF, 2**200 + 1])
def test_dyadic_numbers_are_not_rounded(value):
    assert round_down(value, bits=4) == value == round_up(value, bits=4)


@pytest.mark.parametrize(
    ("value", "below", "above"),
    [
        (Fraction(0), 0.0, 0.0),
        (Fraction(1, 3), 1 / 3, 1 / 3 + 2**-54),
        (Fraction(-1, 3), -1 / 3 - 2**-54, -1 / 3),
        (Fraction(TINY) / 4, 0.0, TINY),
        (-Fraction(TINY) / 4, -TINY, 0.0),
        (Fraction(TINY) * 3 / 4, 0.0, TINY),
        (Fraction(TINY) * 3 / 2, TINY, 2 * TINY),
        (Fraction(2) ** -1022 - Fraction(TINY) / 2, 2.0**-1022 - TINY, 2.0**-1022),
        (Fraction(LARGEST) + 1, LARGEST, INF),
        (Fraction(2) ** 1024 - 1, LARGEST, INF),
        (Fraction(2) ** 5000, LARGEST, INF),
        (-(Fraction(2) ** 5000), -INF, -LARGEST),
        (-Fraction(LARGEST) - 1, -INF, -LARGEST),
        (Fraction(1) + Fraction(1, 2**53), 1.0, 1 + 2**-52),
        (Fraction(1) - Fraction(1, 2**60), 1 - 2**-53, 1.0),
    ],
)
def test_float_ends_are_the_nearest_outside(value, below, above):
    exact = round_down(value, bits=4000)
    box = Enclosure(exact, round_up(value, bits=4000))
    assert box.lo_float == below
    assert box.hi_float == above
    assert math.copysign(1, box.hi_float) > 0 or box.hi_float < 0


def test_infinite_float_ends():
    assert Enclosure.unbounded().lo_float == -INF
    assert Enclosure.unbounded().hi_float == INF


@pytest.mark.parametrize(
    "value",
    [Fraction(0), Fraction(1), Fraction(-3, 8), Fraction(3, 2**1080), Fraction(2**1030), INF, -INF,
     Fraction(TINY), Fraction(LARGEST), Fraction(0.1)],
)  # fmt: skip
def test_hexadecimal_round_trip(value):
    assert endpoint_from_hex(hex_of(value)) == value


def test_hexadecimal_forms():
    assert hex_of(Fraction(3, 2**1080)) == "0x3p-1080"
    assert endpoint_from_hex("-0x1.8p-3") == Fraction(-3, 16)
    assert endpoint_from_hex((0.1).hex()) == Fraction(0.1)


@pytest.mark.parametrize(
    "text",
    ["", "1", "0x", "0xp1", "0x1", "1p0", "0x1p", "0x1.p0", "0X1P0", "nan", "infinity", "+0x1p0",
     "0x1p0\n", " 0x1p0", "0x1p1234567", "0x1p٣", "0xgp0"],
)  # fmt: skip
def test_hexadecimal_forms_that_are_refused(text):
    with pytest.raises(EnclosureError, match=r"^endpoint_from_hex: expected .*, but got "):
        endpoint_from_hex(text)


@pytest.mark.parametrize(
    "box",
    [Enclosure(0, 1), Enclosure(0.1, 0.1), Enclosure(-LARGEST, TINY),
     Enclosure(Fraction(1, 2**3000), 2**900), Enclosure(2.0**-60, 1)],
)  # fmt: skip
def test_a_ball_contains_the_interval_and_comes_back_around_it(box):
    back = Enclosure.from_arb(box.arb())
    assert back.lo <= box.lo
    assert box.hi <= back.hi
    if box.is_exact:
        assert back == box


def test_unbounded_balls():
    assert Enclosure.from_arb(Enclosure(0, INF).arb()) == Enclosure.unbounded()
    assert Enclosure.from_arb(arb("nan")) == Enclosure.unbounded()
    assert Enclosure.from_arb(arb(0, float("inf"))) == Enclosure.unbounded()


def test_balls_of_extreme_exponents_stay_small_and_sound():
    ctx.prec = 53
    huge = arb(10**9).exp()
    assert Enclosure.from_arb(huge) == Enclosure.unbounded()
    tiny = Enclosure.from_arb((-arb(10**9)).exp())
    assert tiny.lo <= 0 < tiny.hi < Fraction(1, 2**890000)
    around = Enclosure.from_arb(arb(1, huge.mid().__rtruediv__(1).mid()))
    assert around.lo < 1 < around.hi


def test_intersection_and_hull():
    a, b = Enclosure(0, 2), Enclosure(1, INF)
    assert a.intersection(b) == Enclosure(1, 2)
    assert a.hull(b) == Enclosure(0, INF)
    with pytest.raises(EnclosureError):
        Enclosure(0, 1).intersection(Enclosure(2, 3))


def test_a_measurement_is_no_enclosure():
    measured = Measurement(0.5, "sampled")
    assert not isinstance(measured, Enclosure)
    with pytest.raises(EnclosureError):
        Enclosure(measured, measured)

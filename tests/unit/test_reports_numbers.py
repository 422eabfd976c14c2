"""Decimals in reports are rounded outward, whatever the exponent."""

import re
from decimal import Decimal
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from verify.enclosure import hex_of
from verify_reports import _numbers

dyadic = st.builds(
    lambda mantissa, exponent: Fraction(mantissa) * Fraction(2) ** exponent,
    st.integers(-(2**70), 2**70),
    st.integers(-1200, 1200),
)


def value_of(text: str) -> Fraction:
    """Read a decimal, or the form ``1 - 2.5e-20``."""
    beside = re.fullmatch(r"(-?\d+) ([+-]) (\S+)", text)
    if beside:
        sign = 1 if beside[2] == "+" else -1
        return Fraction(beside[1]) + sign * Fraction(Decimal(beside[3]))
    return Fraction(Decimal(text))


@given(dyadic)
def test_down_and_up_enclose_the_number(value: Fraction) -> None:
    assert value_of(_numbers.down(value)) <= value <= value_of(_numbers.up(value))


@given(st.integers(-3, 3), st.integers(1, 400), st.booleans())
def test_a_number_beside_an_integer_never_reads_as_the_integer(
    whole: int, bits: int, above: bool
) -> None:
    value = whole + Fraction(1 if above else -1, 2**bits)
    for text in (_numbers.down(value), _numbers.up(value)):
        assert value_of(text) != whole or (text == _numbers.down(value)) != (value < whole)
    assert value_of(_numbers.up(value)) < whole if not above else True
    assert value_of(_numbers.down(value)) > whole if above else True


@given(dyadic)
def test_cut_goes_towards_zero_and_says_so(value: Fraction) -> None:
    text = _numbers.cut(value)
    assert "…" in text
    assert abs(value_of(text.replace("…", ""))) <= abs(value)


@given(dyadic)
def test_exact_decimal_is_exact_or_absent(value: Fraction) -> None:
    text = _numbers.exact_decimal(value)
    assert text is None or value_of(text) == value


@pytest.mark.parametrize(
    ("lo", "hi", "text"),
    [
        (Fraction(1, 4), Fraction(1, 4), "0.25"),
        (Fraction(0), Fraction(0), "0"),
        (-float("inf"), float("inf"), "(-∞, ∞)"),
        (-float("inf"), Fraction(3), "(-∞, 3]"),
        (Fraction(1, 8), float("inf"), "[0.125, ∞)"),
        (1 - Fraction(1, 2**52), 1 - Fraction(1, 2**53), "[0.999999, 0.9999999999999999]"),
        (Fraction(224), Fraction(224), "224"),
    ],
)
def test_interval(lo: Fraction | float, hi: Fraction | float, text: str) -> None:
    assert _numbers.interval({"lo": hex_of(lo), "hi": hex_of(hi)}) == text


@pytest.mark.parametrize("exponent", [-900_000, -1074, 1023, 900_000])
def test_exponents_outside_the_range_of_floats(exponent: int) -> None:
    value = Fraction(2) ** exponent
    assert re.fullmatch(r"\d(\.\d+)?e[+-]\d+", _numbers.down(value))


@pytest.mark.parametrize(
    ("value", "text"), [(0.0004, "0 ms"), (0.031, "31 ms"), (0.412, "0.41 s"), (73.2, "73 s")]
)
def test_seconds(value: float, text: str) -> None:
    assert _numbers.seconds(value) == text

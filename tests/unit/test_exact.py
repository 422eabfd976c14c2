from fractions import Fraction

import pytest

from verify.errors import SettingsError
from verify.exact import parse_exact


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("0.01", Fraction(1, 100)), ("1/3", Fraction(1, 3)), ("-2/4", Fraction(-1, 2)), ("7", 7),
        ("0x1.8p-3", Fraction(3, 16)), ("-0x1p-1074", Fraction(-1, 2**1074)),
        ("1e-3", Fraction(1, 1000)),
        (".5", Fraction(1, 2)), ("5.", 5), (" 0.1 ", Fraction(1, 10)), ("+3", 3),
        ("1 / 3", Fraction(1, 3)),
        ("1E+2", 100), (3, 3), (Fraction(1, 3), Fraction(1, 3)), ("0.1", Fraction(1, 10)),
    ],
)  # fmt: skip
def test_exact_numbers(text, value):
    found = parse_exact(text, where="--set")
    assert found == value
    assert type(found) is Fraction


def test_a_decimal_is_not_the_nearest_float():
    assert parse_exact("0.1", where="--set") != Fraction(0.1)


@pytest.mark.parametrize(
    "text",
    ["", "x", "1/0", "1/", "/2", "nan", "inf", "1e", "1e99999", "0x1", "0x1p5000", "1,5", "1__0",
     "1/2/3",     "1.5/2", "--1", 0.1, True, None, [1], "1\n2"],
)  # fmt: skip
def test_what_is_no_exact_number_is_refused(text):
    with pytest.raises(SettingsError, match=r"^--set m: expected .*, but got "):
        parse_exact(text, where="--set m")

"""Exact ends of enclosures as short decimals that are rounded outward."""

from __future__ import annotations

from collections.abc import Mapping
from decimal import MAX_EMAX, MIN_EMIN, ROUND_CEILING, ROUND_FLOOR, Context, Decimal
from fractions import Fraction
from typing import Any

from verify.enclosure import Endpoint, endpoint_from_hex

DIGITS = 6
_MOST_DIGITS = 17
_LONGEST = 11


def _rounded(value: Fraction, digits: int, rounding: str) -> Decimal:
    """Round an exact number to ``digits`` significant digits in the given direction."""
    context = Context(prec=digits, rounding=rounding, Emax=MAX_EMAX, Emin=MIN_EMIN)
    return context.divide(Decimal(value.numerator), Decimal(value.denominator))


def _plain(number: Decimal, longest: int = 15) -> str:
    """Write a decimal without superfluous zeros, in scientific form when it is long."""
    if number == 0:
        return "0"
    sign, all_digits, exponent = number.as_tuple()
    digits = "".join(map(str, all_digits)).rstrip("0")
    order = len(all_digits) + int(exponent) - 1
    minus = "-" if sign else ""
    if -5 <= order < 0:
        return f"{minus}0.{'0' * (-order - 1)}{digits}"
    if 0 <= order < longest:
        whole = digits[: order + 1].ljust(order + 1, "0")
        part = digits[order + 1 :]
        return f"{minus}{whole}.{part}" if part else f"{minus}{whole}"
    part = f".{digits[1:]}" if len(digits) > 1 else ""
    return f"{minus}{digits[0]}{part}e{order:+d}"


def _directed(value: Endpoint, digits: int, rounding: str) -> str:
    if isinstance(value, float):
        return "∞" if value > 0 else "-∞"
    number = _rounded(value, digits, rounding)
    if abs(value) >= 10**digits:
        return _plain(number, 15 if number == value else digits + 1)
    # 1 - 2^-52 must not read as 1: an end next to an integer gets the digits that separate them.
    while digits < _MOST_DIGITS and value.denominator != 1 and number == number.to_integral_value():
        digits += 1
        number = _rounded(value, digits, rounding)
    if value.denominator != 1 and number == number.to_integral_value():
        return _beside(value, int(number))
    return _plain(number)


def _beside(value: Fraction, integer: int) -> str:
    """Write a number that is closer to an integer than 17 digits tell, never nearer than it is."""
    gap = value - integer
    if gap == 0:
        return str(integer)
    size = _plain(_rounded(abs(gap), 2, ROUND_FLOOR))
    return f"{integer} {'+' if gap > 0 else '-'} {size}" if integer else f"{'-' * (gap < 0)}{size}"


def down(value: Endpoint, digits: int = DIGITS) -> str:
    """Return a decimal that is not above the number."""
    return _directed(value, digits, ROUND_FLOOR)


def up(value: Endpoint, digits: int = DIGITS) -> str:
    """Return a decimal that is not below the number."""
    return _directed(value, digits, ROUND_CEILING)


def exact_decimal(value: Fraction, longest: int = 12) -> str | None:
    """Return the number itself as a decimal if that takes few digits, else None."""
    low, high = (_rounded(value, longest, way) for way in (ROUND_FLOOR, ROUND_CEILING))
    return _plain(low) if low == high else None


def cut(value: Fraction, digits: int = 8) -> str:
    """Return a decimal cut towards zero, with an ellipsis that says so."""
    number = _plain(_rounded(abs(value), digits, ROUND_FLOOR))
    mantissa, mark, exponent = number.partition("e")
    return f"{'-' * (value < 0)}{mantissa}…{mark}{exponent}"


def rational(value: Fraction) -> str:
    """Return an exact number as a short fraction or decimal, or cut with an ellipsis."""
    if value.denominator.bit_length() < 30 and value.numerator.bit_length() < 60:
        text = str(value)
        if len(text) <= _LONGEST:
            return text
    return exact_decimal(value) or cut(value)


def ends(record: Mapping[str, Any]) -> tuple[Endpoint, Endpoint]:
    """Return the exact ends of a record with the keys ``lo`` and ``hi``."""
    return endpoint_from_hex(str(record["lo"])), endpoint_from_hex(str(record["hi"]))


def between(lo: Endpoint, hi: Endpoint, digits: int = DIGITS) -> str:
    """Return an interval as text: the number if it is short, else outward rounded ends."""
    if lo == hi and isinstance(lo, Fraction) and (short := exact_decimal(lo)):
        return short
    left = "(" if isinstance(lo, float) else "["
    right = ")" if isinstance(hi, float) else "]"
    return f"{left}{down(lo, digits)}, {up(hi, digits)}{right}"


def leading(lo: Endpoint, hi: Endpoint) -> str:
    """Return the digits that both ends share, ``0.952…``, or the ends if they share too few."""
    for digits in (5, 4, 3):
        if isinstance(lo, Fraction) and isinstance(hi, Fraction) and lo * hi > 0:
            low, high = cut(lo, digits), cut(hi, digits)
            if low == high and lo != hi:
                return low
    return between(lo, hi, 3)


def related(lo: Endpoint, hi: Endpoint) -> str:
    """Return ``= 0.5`` or ``in [0.4, 0.6]``."""
    text = between(lo, hi)
    return f"in {text}" if text[0] in "[(" else f"= {text}"


def interval(record: Mapping[str, Any]) -> str:
    """Return the enclosure of a record as text."""
    return between(*ends(record))


def approximate(value: float) -> str:
    """Return a measured float with four digits."""
    return f"{value:.4g}"


def seconds(value: float) -> str:
    """Return a duration for a table."""
    if value < 0.0995:
        return f"{1000 * value:.0f} ms"
    return f"{value:.2f} s" if value < 9.95 else f"{value:.0f} s"

"""Rigorous enclosures and plain measurements: two types that are never mixed.

An `Enclosure` is a closed interval that is proved to contain a real number. Its ends are exact
dyadic rationals of any exponent, or infinite; it is never empty and never NaN. A `Measurement`
is what was sampled, fitted or computed in plain floating point; nothing turns it into an
`Enclosure`, and `verify.decide` does not accept it.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from fractions import Fraction
from typing import Any, Self

from verify.errors import EnclosureError

Endpoint = Fraction | float  # a Fraction is dyadic; a float is -inf or +inf

INF = math.inf


def _endpoint(value: Any, where: str) -> Endpoint:
    if isinstance(value, bool) or not isinstance(value, int | float | Fraction):
        raise EnclosureError(
            f"Enclosure: expected {where} to be an int, float or dyadic Fraction, "
            f"but got {value!r} of type {type(value).__name__}"
        )
    if isinstance(value, float):
        if math.isnan(value):
            raise EnclosureError(f"Enclosure: expected {where} to be a number, but got nan")
        value = float(value)  # drop NumPy's subclass
        return value if math.isinf(value) else Fraction(value)
    exact = Fraction(value)
    if exact.denominator & (exact.denominator - 1):
        raise EnclosureError(
            f"Enclosure: expected {where} to be dyadic, but got {exact!r}; "
            f"use Enclosure.outward to round a rational number outward"
        )
    return exact


@dataclass(frozen=True, slots=True)
class Enclosure:
    """A closed interval [lo, hi] that is proved to contain the quantity."""

    lo: Endpoint
    hi: Endpoint

    def __post_init__(self) -> None:
        lo, hi = _endpoint(self.lo, "lo"), _endpoint(self.hi, "hi")
        if lo > hi or lo == INF or hi == -INF:
            raise EnclosureError(
                f"Enclosure: expected lo <= hi with a real number between, but got {lo!r}, {hi!r}"
            )
        object.__setattr__(self, "lo", lo)
        object.__setattr__(self, "hi", hi)

    @classmethod
    def exact(cls, value: int | float | Fraction) -> Self:
        """Return the point enclosure of a dyadic number."""
        return cls(value, value)

    @classmethod
    def unbounded(cls) -> Self:
        """Return (-inf, +inf): nothing is known, every comparison is undecided."""
        return cls(-INF, INF)

    @classmethod
    def outward(
        cls, lo: int | float | Fraction, hi: int | float | Fraction, *, bits: int = 128
    ) -> Self:
        """Return the enclosure of [lo, hi] with rational ends rounded outward to ``bits`` bits."""
        return cls(round_down(lo, bits=bits), round_up(hi, bits=bits))

    @classmethod
    def from_arb(cls, ball: Any) -> Self:
        """Return the interval of a python-flint ``arb``, unbounded if it is not finite.

        The interval is exact unless a part lies beyond 2^(+-900000): a smaller one is rounded
        outward to that power, a larger ball is unbounded.
        """
        if not ball.is_finite():
            return cls.unbounded()
        mid = _within_limits(*(int(part) for part in ball.mid().man_exp()))
        rad = _within_limits(*(int(part) for part in ball.rad().man_exp()))
        if mid is None or rad is None:
            return cls.unbounded()
        (centre, slack), (radius, more) = mid, rad
        radius += slack + more
        return cls(centre - radius, centre + radius)

    def arb(self) -> Any:
        """Return a python-flint ``arb`` that contains the interval (all of R if unbounded)."""
        from flint import arb, fmpz

        def exact(value: Fraction) -> Any:
            shift = value.denominator.bit_length() - 1
            return arb((fmpz(value.numerator), fmpz(-shift)))

        if not (isinstance(self.lo, Fraction) and isinstance(self.hi, Fraction)):
            return arb(0, float("inf"))
        if self.lo == self.hi:
            return exact(self.lo)
        return exact(self.lo).union(exact(self.hi))

    @property
    def is_exact(self) -> bool:
        """Whether the interval is a single point."""
        return self.lo == self.hi

    @property
    def is_bounded(self) -> bool:
        """Whether both ends are finite."""
        return isinstance(self.lo, Fraction) and isinstance(self.hi, Fraction)

    @property
    def lo_float(self) -> float:
        """The largest binary64 number <= lo (-inf below the range)."""
        return _float_below(self.lo)

    @property
    def hi_float(self) -> float:
        """The smallest binary64 number >= hi (+inf above the range)."""
        return 0.0 - _float_below(-self.hi)

    @property
    def width(self) -> Endpoint:
        """The exact width hi - lo, or +inf."""
        return self.hi - self.lo if self.is_bounded else INF

    def contains(self, value: int | float | Fraction) -> bool:
        """Return whether the exact number lies in the interval."""
        return self.lo <= value <= self.hi

    def intersection(self, other: Enclosure) -> Enclosure:
        """Return the common part; two valid enclosures of one number always have one."""
        return Enclosure(max(self.lo, other.lo), min(self.hi, other.hi))

    def hull(self, other: Enclosure) -> Enclosure:
        """Return the smallest interval that contains both."""
        return Enclosure(min(self.lo, other.lo), max(self.hi, other.hi))


@dataclass(frozen=True, slots=True)
class Measurement:
    """A number that was sampled, fitted or computed in plain floats; it proves nothing."""

    value: float
    how: str
    spread: float | None = None


def _scaled(mantissa: int, exponent: int) -> Fraction:
    if exponent >= 0:
        return Fraction(mantissa << exponent)
    return Fraction(mantissa, 1 << -exponent)


_MOST = 900_000  # exponents beyond it are not written out: they fill memory, not certificates


def _within_limits(mantissa: int, exponent: int) -> tuple[Fraction, Fraction] | None:
    """Return a number and a bound of its error, or None if it is too large."""
    if mantissa == 0:
        return Fraction(0), Fraction(0)
    if exponent + mantissa.bit_length() < -_MOST:
        return Fraction(0), _scaled(1, -_MOST)
    return None if abs(exponent) > _MOST + (1 << 16) else (_scaled(mantissa, exponent), Fraction(0))


def round_down(value: int | float | Fraction, *, bits: int = 128) -> Endpoint:
    """Return the largest dyadic number with ``bits`` significant bits that is <= value."""
    if isinstance(value, float) and math.isinf(value):
        return value
    exact = Fraction(value)
    if exact == 0 or not exact.denominator & (exact.denominator - 1):
        return exact
    shift = bits - (abs(exact.numerator).bit_length() - exact.denominator.bit_length())
    scaled = exact * _scaled(1, shift)
    return Fraction(scaled.numerator // scaled.denominator) * _scaled(1, -shift)


def round_up(value: int | float | Fraction, *, bits: int = 128) -> Endpoint:
    """Return the smallest dyadic number with ``bits`` significant bits that is >= value."""
    return -round_down(-value, bits=bits)


def _float_below(value: Endpoint) -> float:
    if isinstance(value, float):
        return value
    try:
        near = float(value)
    except OverflowError:
        return -INF if value < 0 else _LARGEST
    if math.isinf(near):
        return -INF if value < 0 else _LARGEST
    if Fraction(near) <= value:
        return near
    return _predecessor(near)


_LARGEST = float.fromhex("0x1.fffffffffffffp+1023")


def _predecessor(value: float) -> float:
    """The next binary64 number below a finite one, through its bit pattern (exact)."""
    import struct

    if value == 0.0:
        return -float.fromhex("0x1p-1074")
    (bits,) = struct.unpack("<q", struct.pack("<d", value))
    (below,) = struct.unpack("<d", struct.pack("<q", bits - 1 if value > 0 else bits + 1))
    return float(below)


def hex_of(value: Endpoint) -> str:
    """Return the C99 hexadecimal form of an end, with as many digits as it needs.

    ``Fraction(3, 2**1080)`` becomes ``0x3p-1080``; infinities are ``inf`` and ``-inf``.
    """
    if isinstance(value, float):
        return "inf" if value > 0 else "-inf"
    if value == 0:
        return "0x0p+0"
    numerator, exponent = abs(value.numerator), -(value.denominator.bit_length() - 1)
    trailing = (numerator & -numerator).bit_length() - 1
    sign = "-" if value < 0 else ""
    return f"{sign}{hex(numerator >> trailing)}p{exponent + trailing:+d}"


def endpoint_from_hex(text: str) -> Endpoint:
    """Read what `hex_of` wrote, exactly; any C99 hexadecimal number is accepted.

    Raises:
        EnclosureError: the text is not a hexadecimal number or an infinity.
    """
    import re

    if text in ("inf", "-inf"):
        return float(text)
    match = re.fullmatch(r"(-?)0x([0-9a-f]+)(?:\.([0-9a-f]+))?p([+-]?[0-9]{1,6})", text)
    if match is None:
        raise EnclosureError(
            f"endpoint_from_hex: expected a hexadecimal number such as '0x1.8p-3', but got {text!r}"
        )
    sign, whole, part, exponent = match.groups()
    part = part or ""
    magnitude = _scaled(int(whole + part, 16), int(exponent) - 4 * len(part))
    return -magnitude if sign else magnitude

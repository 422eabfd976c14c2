"""Primitive operations of the elementary functions, in plain Python.

They are exact models of the machine's: `fma` rounds the rational number a b + c once. An operand
that is neither a float nor an int answers for itself (``fused``, ``bits``); the proof uses this to
run the functions on abstract numbers. `vector_code.py` writes the machine's own.
"""

from __future__ import annotations

import math
import struct
from fractions import Fraction

NAMES = ("fma", "bits", "from_bits", "to_int", "to_float")


def fma(a: float, b: float, c: float) -> float:
    """Return a b + c with one rounding to nearest."""
    for operand in (a, b, c):
        if not isinstance(operand, float | int):
            return operand.fused(a, b, c)
    if not (math.isfinite(a) and math.isfinite(b) and math.isfinite(c)):
        return c if math.isfinite(a) and math.isfinite(b) else a * b + c
    exact = Fraction(a) * Fraction(b) + Fraction(c)
    if exact == 0:
        return a * b + c if a * b == 0.0 else 0.0
    try:
        return float(exact)
    except OverflowError:
        return math.inf if exact > 0 else -math.inf


def bits(x: float) -> int:
    """Return the 64 bits of a binary64 number as a signed integer."""
    if not isinstance(x, float):
        return x.bits()
    return int(struct.unpack("<q", struct.pack("<d", x))[0])


def from_bits(i: int) -> float:
    """Return the binary64 number with the given 64 bits; integers wrap as in 64-bit arithmetic."""
    return float(struct.unpack("<d", struct.pack("<Q", i & 0xFFFFFFFFFFFFFFFF))[0])


def to_int(x: float) -> int:
    """Return the integer that x is; x is integral and below 2^63 in modulus."""
    return int(x)


def to_float(i: int) -> float:
    """Return the binary64 number nearest to i; exact below 2^53 in modulus."""
    return float(i)

"""Directed rounding inside compiled code, by exact errors in round-to-nearest arithmetic.

Every function is straight-line code of the restricted subset. The error of a rounded operation is
computed exactly (TwoSum, fused multiply-add) and the result moves one step only if the error has
that sign, so the two directions together enclose the exact result within one unit in the last
place. Where the error may itself underflow the result moves unconditionally.

Conventions: ``*_dn`` is used for lower ends only and ``*_up`` for upper ones, so an overflow in the
inner direction gives the largest float instead of an infinity (the selects take a NaN, which then
stands for that overflow, to the largest float). Operands are not NaN and their result is not (no
inf / inf); 0 inf and 0 / 0 are 0 here and NaN in the instructions of other dialects.

Error bound: c, e = fl(phi |c| + eta) with phi = 2^-53 (1 + 2^-52): fl(c - e) <= pred(c) and
fl(c + e) >= succ(c) for finite c, gradual underflow, fused or not. TwoSum has no underflow error
(an overflow inside gives a NaN error, which counts as inexact); the error of a product is exact for
|p| >= 2^-960, the remainders of a quotient and of a root for a numerator, radicand >= 2^-960.

Source: numerics of verified computation; Boldo, Graillat, Muller, *On the robustness of the 2Sum
and Fast2Sum algorithms*, ACM TOMS 44 (2017), for the overflow inside TwoSum.
"""

from __future__ import annotations

from math import sqrt

from verify_kernels.elementary.primitives import fma

PHI = float.fromhex("0x1.0000000000001p-53")
ETA = float.fromhex("0x1p-1074")
SAFE = float.fromhex("0x1p-960")
LARGEST = float.fromhex("0x1.fffffffffffffp+1023")
INFINITY = float("inf")


def add_dn(a: float, b: float) -> float:
    """Return a lower bound of a + b."""
    s = a + b
    c = s - a
    e = (a - (s - c)) + (b - c)
    below = s - fma(PHI, abs(s), ETA)
    kept = s if e >= 0.0 else below
    return kept if kept < LARGEST else LARGEST


def add_up(a: float, b: float) -> float:
    """Return an upper bound of a + b."""
    s = a + b
    c = s - a
    e = (a - (s - c)) + (b - c)
    above = s + fma(PHI, abs(s), ETA)
    kept = s if e <= 0.0 else above
    return kept if kept > -LARGEST else -LARGEST


def sub_dn(a: float, b: float) -> float:
    """Return a lower bound of a - b."""
    return add_dn(a, -b)


def sub_up(a: float, b: float) -> float:
    """Return an upper bound of a - b."""
    return add_up(a, -b)


def mul_dn(a: float, b: float) -> float:
    """Return a lower bound of a b; 0 if one of them is 0."""
    p = a * b
    e = fma(a, b, -p)
    below = p - fma(PHI, abs(p), ETA)
    kept = p if e >= 0.0 and abs(p) >= SAFE else below
    finite = kept if kept < LARGEST else LARGEST
    return 0.0 if a == 0.0 or b == 0.0 else finite


def mul_up(a: float, b: float) -> float:
    """Return an upper bound of a b; 0 if one of them is 0."""
    p = a * b
    e = fma(a, b, -p)
    above = p + fma(PHI, abs(p), ETA)
    kept = p if e <= 0.0 and abs(p) >= SAFE else above
    finite = kept if kept > -LARGEST else -LARGEST
    return 0.0 if a == 0.0 or b == 0.0 else finite


def div_dn(a: float, b: float) -> float:
    """Return a lower bound of a / b; 0 if a is 0 or b infinite."""
    q = a / b
    r = fma(-q, b, a)
    e = r if b > 0.0 else -r
    below = q - fma(PHI, abs(q), ETA)
    kept = q if e >= 0.0 and abs(a) >= SAFE else below
    finite = kept if kept < LARGEST else LARGEST
    return 0.0 if a == 0.0 or abs(b) == INFINITY else finite


def div_up(a: float, b: float) -> float:
    """Return an upper bound of a / b; 0 if a is 0 or b infinite."""
    q = a / b
    r = fma(-q, b, a)
    e = r if b > 0.0 else -r
    above = q + fma(PHI, abs(q), ETA)
    kept = q if e <= 0.0 and abs(a) >= SAFE else above
    finite = kept if kept > -LARGEST else -LARGEST
    return 0.0 if a == 0.0 or abs(b) == INFINITY else finite


def sqrt_dn(a: float) -> float:
    """Return a lower bound of the square root of a >= 0, a finite."""
    s = sqrt(a)
    r = fma(-s, s, a)
    below = s - fma(PHI, abs(s), ETA)
    return s if a == 0.0 or (r >= 0.0 and a >= SAFE) else below


def sqrt_up(a: float) -> float:
    """Return an upper bound of the square root of a >= 0."""
    s = sqrt(a)
    r = fma(-s, s, a)
    above = s + fma(PHI, abs(s), ETA)
    return s if a == 0.0 or (r <= 0.0 and a >= SAFE) else above

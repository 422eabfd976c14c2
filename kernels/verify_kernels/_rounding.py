"""Outward rounding of binary64 numbers: the one home of directed rounding.

Scalars are Python floats, one rounding to nearest followed by one step outward, so every function
with the suffix ``_up`` returns a number >= the exact result and every ``_down`` one <= it. NaN
never leaves a function: an upper bound that cannot be computed is +inf, a lower bound -inf.
Valid with gradual underflow; `verify_kernels.self_test` refuses machines without it.

Source: numerics of verified computation, Rump, *Verification methods*, Acta Numerica 19 (2010).
"""

from __future__ import annotations

import math
from fractions import Fraction
from typing import Any

import numpy as np
from numpy.typing import NDArray

U = 2.0**-53
ETA = 2.0**-1074
OMEGA = 2.0**-1022
MAX = float.fromhex("0x1.fffffffffffffp+1023")

Array = NDArray[np.float64]


def up(x: float) -> float:
    """Return a float >= every real that rounds to x; NaN becomes +inf, -inf the least float."""
    return math.inf if math.isnan(x) else math.nextafter(x, math.inf)  # noqa: TID251


def down(x: float) -> float:
    """Return a float <= every real that rounds to x; NaN becomes -inf, +inf the largest float."""
    return -math.inf if math.isnan(x) else math.nextafter(x, -math.inf)  # noqa: TID251


def up_array(x: Any) -> Array:
    """Step every entry up; NaN becomes +inf."""
    stepped = np.nextafter(x, np.inf)  # noqa: TID251
    return np.where(np.isnan(stepped), np.inf, stepped)


def down_array(x: Any) -> Array:
    """Step every entry down; NaN becomes -inf."""
    stepped = np.nextafter(x, -np.inf)  # noqa: TID251
    return np.where(np.isnan(stepped), -np.inf, stepped)


def add_up(*terms: float) -> float:
    """Return an upper bound of the sum."""
    total = terms[0]
    for term in terms[1:]:
        total = up(total + term)
    return total


def add_down(*terms: float) -> float:
    """Return a lower bound of the sum."""
    return -add_up(*(-term for term in terms))


def mul_up(*factors: float) -> float:
    """Return an upper bound of the product of numbers >= 0; 0 times infinity is +inf."""
    product = factors[0]
    for factor in factors[1:]:
        product = up(product * factor)
    return product


def mul_down(a: float, b: float) -> float:
    """Return a lower bound (>= 0) of a b for finite a, b >= 0."""
    return max(0.0, down(a * b))


def div_up(a: float, b: float) -> float:
    """Return an upper bound of a / b for a >= 0; +inf unless b > 0."""
    return up(a / b) if b > 0.0 else math.inf


def div_down(a: float, b: float) -> float:
    """Return a lower bound (>= 0) of a / b for a >= 0, b > 0; 0 if b is not a positive number."""
    return max(0.0, down(a / b)) if b > 0.0 and a >= 0.0 else 0.0


def sqrt_up(a: float) -> float:
    """Return an upper bound of the square root of a >= 0."""
    return up(math.sqrt(a)) if a >= 0.0 else math.inf


def sqrt_down(a: float) -> float:
    """Return a lower bound (>= 0) of the square root of max(a, 0)."""
    return max(0.0, down(math.sqrt(a))) if a > 0.0 else 0.0


def gamma(k: int) -> float:
    """Return an upper bound of gamma_k = k u / (1 - k u).

    Raises:
        ValueError: k u >= 1/4, beyond which the bounds of this package are not proved.
    """
    if k * U >= 0.25:
        raise ValueError(f"gamma: expected k u < 1/4, but got k = {k}")
    return div_up(up(k * U), down(1.0 - up(k * U)))


def tau(k: int, largest: float, other: float) -> float:
    """Return tau_k = 4 k omega (1 + max|A| + max|B|), the underflow term of a k-term product."""
    return mul_up(up(4.0 * k * OMEGA), add_up(1.0, largest, other))


def sum_up(values: Array) -> float:
    """Return an upper bound of the sum of numbers >= 0: s (1 + 2 n u) with s in any order.

    Error bound: |fl(sum) - sum| <= gamma_{n-1} sum for terms of one sign; additions of
    binary64 numbers do not underflow inexactly.
    """
    n = int(values.size)
    total = float(np.sum(values)) if n else 0.0
    if not total >= 0.0:
        return math.inf
    return div_up(total, down(1.0 - gamma(n + 1)))


def sum_squares_up(values: Array) -> float:
    """Return an upper bound of sum v_i^2 = ||v||^2: (s + 4 N omega) / (1 - (N + 1) u)."""
    n = int(values.size)
    if n == 0:
        return 0.0
    flat = np.ascontiguousarray(values, dtype=np.float64).ravel(order="K")
    total = float(np.dot(flat, flat))
    if not total >= 0.0:
        return math.inf
    return div_up(up(total + up(4.0 * n * OMEGA)), down(1.0 - up((n + 1) * U)))


def sum_squares_down(values: Array) -> float:
    """Return a lower bound (>= 0) of sum v_i^2: (s - 4 N omega) (1 - gamma_{N+1})."""
    n = int(values.size)
    if n == 0:
        return 0.0
    flat = np.ascontiguousarray(values, dtype=np.float64).ravel(order="K")
    total = float(np.dot(flat, flat))
    if not math.isfinite(total):
        return 0.0
    return mul_down(max(0.0, down(total - up(4.0 * n * OMEGA))), down(1.0 - gamma(n + 1)))


def norm_up(values: Array) -> float:
    """Return an upper bound of the Euclidean (Frobenius) norm."""
    return sqrt_up(sum_squares_up(values))


def norm_down(values: Array) -> float:
    """Return a lower bound (>= 0) of the Euclidean (Frobenius) norm."""
    return sqrt_down(sum_squares_down(values))


def float_up(value: Fraction | int | float) -> float:
    """Return the smallest float >= an exact number."""
    from verify.enclosure import Enclosure, round_up

    return Enclosure.exact(round_up(value)).hi_float if _finite(value) else float(value)


def float_down(value: Fraction | int | float) -> float:
    """Return the largest float <= an exact number."""
    return -float_up(-value)


def exact_number(value: Any) -> Fraction | float:
    """Return a real number of any type without rounding: a Fraction, or an infinity or NaN.

    NumPy integers and numbers wider than binary64 would be rounded by ``float``, on either side.
    """
    if isinstance(value, Fraction | int):
        return Fraction(value)
    if isinstance(value, np.integer | np.bool_):
        return Fraction(int(value))
    if not math.isfinite(value):
        return float(value)
    return Fraction(*value.as_integer_ratio())


def _finite(value: Fraction | int | float) -> bool:
    return not isinstance(value, float) or math.isfinite(value)

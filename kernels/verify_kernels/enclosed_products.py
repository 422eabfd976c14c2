"""Sums, products and scalings of matrix enclosures, with entrywise rigorous radii.

Every function returns an enclosure of all results for all members of its arguments. An entry that
is exactly zero for all of them keeps mid = rad = 0, so zero patterns survive.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import numpy as np

from verify.enclosure import Enclosure
from verify.errors import InputError
from verify_kernels._rounding import ETA, Array, U, down_array, float_up, gamma, tau, up, up_array
from verify_kernels.matrix import MatrixEnclosure

RANGE = "expected numbers in the range of binary64, but got larger ones"


@dataclass(frozen=True, eq=False)
class Balls:
    """A vector of balls: |x_i - mid_i| <= rad_i, all finite."""

    mid: Array
    rad: Array

    @classmethod
    def of(cls, balls: Sequence[Any]) -> Balls:
        """Enclose python-flint ``arb`` balls (or Fractions) in float balls.

        Raises:
            InputError: a ball is not finite or beyond binary64.
        """
        mid, rad = np.empty(len(balls)), np.empty(len(balls))
        for i, ball in enumerate(balls):
            if isinstance(ball, Fraction):
                lo = hi = ball
            else:
                value = Enclosure.from_arb(ball)
                if not (isinstance(value.lo, Fraction) and isinstance(value.hi, Fraction)):
                    raise InputError(f"Balls.of: {RANGE}")
                lo, hi = value.lo, value.hi
            try:
                mid[i] = float((lo + hi) / 2)
            except OverflowError as error:
                raise InputError(f"Balls.of: {RANGE}") from error
            centre = Fraction(float(mid[i]))
            rad[i] = float_up(max(hi - centre, centre - lo))
        return cls(mid, rad)

    @classmethod
    def repeated(cls, value: Any, size: int) -> Balls:
        """Enclose one ball or Fraction, repeated.

        Raises:
            InputError: beyond binary64.
        """
        one = cls.of([value])
        return cls(np.repeat(one.mid, size), np.repeat(one.rad, size))


def largest_entry(a: MatrixEnclosure) -> float:
    """Return the largest of |mid| and rad."""
    top = float(np.max(np.abs(a.mid), initial=0.0))
    return top if a.rad is None else max(top, float(np.max(a.rad, initial=0.0)))


def checked(mid: Array, rad: Array | None, *, where: str) -> MatrixEnclosure:
    """Return the enclosure if it is finite; radii that are all zero become None.

    Raises:
        InputError: an entry left the range of binary64.
    """
    if not np.isfinite(mid).all() or (rad is not None and not np.isfinite(rad).all()):
        raise InputError(f"{where}: {RANGE}")
    return MatrixEnclosure(mid, rad if rad is not None and rad.any() else None)


def add(a: MatrixEnclosure, b: MatrixEnclosure, *, where: str = "add") -> MatrixEnclosure:
    """Return a + b; the rounding error of every sum is computed exactly (Knuth's TwoSum).

    Raises:
        InputError: overflow.
    """
    with np.errstate(all="ignore"):
        total = a.mid + b.mid
        part = total - a.mid
        lost = np.abs((a.mid - (total - part)) + (b.mid - part))
        rad = _sum_radii(lost, a.rad, b.rad)
    return checked(total, rad, where=where)


def _sum_radii(*radii: Array | None) -> Array:
    """Add radii upward; a zero term does not widen."""
    total: Any = 0.0
    for rad in radii:
        if rad is not None:
            both = total + rad
            total = np.where((total == 0.0) | (rad == 0.0), both, up_array(both))
    return np.asarray(total, dtype=np.float64)


def negate(a: MatrixEnclosure) -> MatrixEnclosure:
    """Return -a."""
    return MatrixEnclosure(-a.mid, a.rad)


def transpose(a: MatrixEnclosure) -> MatrixEnclosure:
    """Return the transpose."""
    return MatrixEnclosure(
        np.ascontiguousarray(a.mid.T), None if a.rad is None else np.ascontiguousarray(a.rad.T)
    )


def add_diagonal(
    a: MatrixEnclosure, values: Balls, *, where: str = "add_diagonal"
) -> MatrixEnclosure:
    """Return a + diag(values).

    Raises:
        InputError: overflow.
    """
    return add(a, MatrixEnclosure(np.diag(values.mid), np.diag(values.rad)), where=where)


def product(a: MatrixEnclosure, b: MatrixEnclosure, *, where: str = "product") -> MatrixEnclosure:
    """Return a b.

    Error bound:
        gamma_k |a||b| + tau_k + |a| rad b + rad a (|b| + rad b), each product of nonnegative
        matrices rounded upward by the same lemma; any summation order.

    Raises:
        InputError: overflow.
    """
    k = a.mid.shape[1]
    with np.errstate(all="ignore"):
        mid = a.mid @ b.mid
        size_a, size_b = np.abs(a.mid), np.abs(b.mid)
        wide_b = size_b if b.rad is None else up_array(size_b + b.rad)
        rad = up_array(gamma(k) * nonnegative_product_up(size_a, size_b))
        rad = up_array(rad + tau(k, _top(size_a), _top(size_b)))
        if b.rad is not None:
            rad = up_array(rad + nonnegative_product_up(size_a, b.rad))
        if a.rad is not None:
            rad = up_array(rad + nonnegative_product_up(a.rad, wide_b))
        left, right = _pattern(a), _pattern(b)
        if not (left.all() and right.all()):
            rad = np.where((left @ right) > 0.0, rad, 0.0)
        return checked(mid, rad, where=where)


def nonnegative_product_up(a: Array, b: Array) -> Array:
    """Return an entrywise upper bound of a b for a, b >= 0: (fl + tau) / (1 - gamma)."""
    k = a.shape[1]
    keep = 1.0 - up(2.0 * gamma(k + 2))
    return up_array(up_array(a @ b + tau(k, _top(a), _top(b))) / keep)


def _top(a: Array) -> float:
    return float(np.max(a, initial=0.0))


def _pattern(a: MatrixEnclosure) -> Array:
    nonzero: Any = a.mid != 0.0 if a.rad is None else (a.mid != 0.0) | (a.rad != 0.0)
    return np.asarray(nonzero, dtype=np.float64)


def scale(
    a: MatrixEnclosure, rows: Balls | None, columns: Balls | None, *, where: str = "scale"
) -> MatrixEnclosure:
    """Return diag(rows) a diag(columns); powers of two that lose no bit give an exact result.

    Error bound:
        With relative radii d, e <= 2^-20 of the factors and k = (d + e)(1 + 2^-19):
        |p a q| (k + 3u) + 2 eta (1 + |q|) + (1 + k)|p| rad a |q|, from
        fl(fl(p a) q) = p a q (1 + 2u + u^2) + underflow.

    Raises:
        InputError: overflow, or a factor known to fewer than 20 bits.
    """
    p, d = _factor(rows, a.mid.shape[0], where)
    q, e = _factor(columns, a.mid.shape[1], where)
    with np.errstate(all="ignore"):
        mid = (p[:, None] * a.mid) * q[None, :]
        if a.rad is None and not d.any() and not e.any() and _is_lossless(a.mid, mid, p, q):
            return checked(mid, None, where=where)
        lost = up_array(2.0 * ETA * up_array(1.0 + np.abs(q)))[None, :]
        relative = up_array(up_array(d[:, None] + e[None, :]) * (1.0 + 2.0**-18))
        size = up_array(up_array(np.abs(mid) * (1.0 + 2.0**-40)) + lost)
        rad = up_array(up_array(up_array(relative + 4.0 * U) * size) + lost)
        keep = a.mid == 0.0
        if a.rad is not None:
            spread = up_array(up_array(np.abs(p)[:, None] * a.rad) * np.abs(q)[None, :])
            spread = up_array(up_array(spread * (1.0 + 2.0**-17)) + lost)
            rad = up_array(rad + spread)
            keep &= a.rad == 0.0
        keep |= (p == 0.0)[:, None] | (q == 0.0)[None, :]
        return checked(mid, np.where(keep, 0.0, rad), where=where)


def _factor(balls: Balls | None, size: int, where: str) -> tuple[Array, Array]:
    """Return midpoints and relative radii."""
    if balls is None:
        return np.ones(size), np.zeros(size)
    mid = balls.mid
    known = balls.rad == 0.0
    with np.errstate(all="ignore"):
        relative = np.where(known, 0.0, up_array(balls.rad / np.abs(mid)))
    if not (relative <= 2.0**-20).all():
        raise InputError(
            f"{where}: expected factors known to 20 bits, "
            f"but got relative error {float(np.max(relative))!r}"
        )
    return mid, relative


def _is_lossless(a: Array, mid: Array, p: Array, q: Array) -> bool:
    """Whether all factors are powers of two (or zero) and no product lost a bit."""
    for factor in (p, q):
        if not (np.abs(np.frexp(factor)[0])[factor != 0.0] == 0.5).all():
            return False
    used = (p != 0.0)[:, None] & (q != 0.0)[None, :]
    back = (mid / q[None, :]) / p[:, None]
    return bool((np.where(used, back, 0.0) == np.where(used, a, 0.0)).all())


def affine(
    weight: MatrixEnclosure, shift: Fraction, factor: Fraction, *, where: str = "affine"
) -> MatrixEnclosure:
    """Return shift I + factor W in floats (``exact`` is dropped).

    Raises:
        InputError: overflow.
    """
    m = weight.shape[0]
    scaled = MatrixEnclosure(weight.mid, weight.rad)
    if factor != 1:
        one = Balls.of([factor])
        scaled = scale(
            scaled, Balls(np.repeat(one.mid, m), np.repeat(one.rad, m)), None, where=where
        )
    if shift == 0:
        return scaled
    one = Balls.of([shift])
    return add_diagonal(scaled, Balls(np.repeat(one.mid, m), np.repeat(one.rad, m)), where=where)


def nearest_enclosure(exact: Any) -> MatrixEnclosure:
    """Return the float enclosure of an ``fmpq_mat`` around the nearest floats.

    Raises:
        InputError: an entry beyond binary64.
    """
    rows, columns = exact.nrows(), exact.ncols()
    mid, rad = np.empty(rows * columns), np.zeros(rows * columns)
    for k, entry in enumerate(exact.entries()):
        p, q = int(entry.p), int(entry.q)
        try:
            near = p / q  # correctly rounded
        except OverflowError as error:
            raise InputError(f"nearest_enclosure: {RANGE}") from error
        mid[k] = near
        n, d = near.as_integer_ratio()
        if n * q != p * d:
            rad[k] = math.ulp(near)
    mid, rad = mid.reshape(rows, columns), rad.reshape(rows, columns)
    return MatrixEnclosure(mid, rad if rad.any() else None, exact)


def row_sums(a: Array) -> tuple[Array, Array]:
    """Return lower and upper bounds of the row sums of |a|."""
    n = a.shape[1]
    total = np.abs(a).sum(axis=1)
    keep = 1.0 - up(2.0 * gamma(n + 2))
    return np.maximum(down_array(total * keep), 0.0), up_array(total / keep)

"""Search of positive vectors v for which the quotients (Z v)_i / v_i are nearly equal.

Nothing here is proved or needs a proof: `verify_kernels.metzler` bounds the quotients of whatever
comes out. Inverse iteration with the largest quotient as shift is Noda's method (Numer. Math. 17,
1971): the quotients decrease and converge quadratically for irreducible Z.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from verify_kernels._rounding import Array, U

FLOOR = 2.0**-800  # least entry of a float vector v, relative to its largest
LINEAR_SOLVES = 1500  # up to here v is sought by linear solves


def perron_vector(diagonal: Array, off: Array) -> Array:
    """Return an approximate Perron vector: power iteration, then inverse iteration (Noda)."""
    shifted = diagonal - float(np.min(diagonal))
    vector = np.ones(len(diagonal))
    best, width = vector, math.inf
    for _ in range(14):
        product = off @ vector
        gap = _gap(diagonal, product, vector)
        if gap < width:
            best, width = vector, gap
        if width <= 16.0 * U:
            return best
        vector = _normalised(product + shifted * vector)
        if vector is None:
            break
    if len(diagonal) <= LINEAR_SOLVES:
        return _noda(diagonal, off, best, width)
    return _slow_power(diagonal, off, best, width)


def _gap(diagonal: Array, product: Array, vector: Array) -> float:
    """Return the spread of the quotients relative to the size of their terms, or inf."""
    flow = product / vector
    ratio = diagonal + flow
    size = float(np.max(np.abs(diagonal))) + float(np.max(flow))
    gap = float(np.max(ratio) - np.min(ratio)) / size if size > 0.0 else 0.0
    return gap if math.isfinite(gap) else math.inf


def _normalised(vector: Array) -> Any:
    """Return v / max v with a floor, or None if v is not a finite vector >= 0, v != 0."""
    top = float(np.max(vector))
    if not (math.isfinite(top) and top > 0.0 and np.isfinite(vector).all()):
        return None
    return np.maximum(vector / top, FLOOR)


def _noda(diagonal: Array, off: Array, vector: Array, width: float) -> Array:
    """Iterate v <- (t I - Z)^-1 v with t the largest quotient: quadratic convergence.

    While the quotients are far apart the last v has the smallest largest one.
    """
    best, stalled = vector, 0
    patience = 20 if len(diagonal) <= 512 else 8
    for _ in range(50):
        top = float(np.max(diagonal + (off @ vector) / vector))
        system = -off
        system[np.diag_indices_from(system)] += (top + abs(top) * 2.0 * U) - diagonal
        try:
            solution = np.linalg.solve(system, vector)
        except np.linalg.LinAlgError:
            break
        moved = _normalised(np.abs(solution))
        if moved is None:
            break
        vector = moved
        gap = _gap(diagonal, off @ vector, vector)
        stalled = 0 if gap < 0.5 * width else stalled + 1
        if gap < width:
            best, width = vector, gap
        if width <= 16.0 * U or stalled == patience:
            break
    return best if width < 1e-8 else vector


def _slow_power(diagonal: Array, off: Array, vector: Array, width: float) -> Array:
    """Power iteration on Z + s I, s large enough for aperiodicity."""
    top = float(np.max(diagonal + (off @ vector) / vector))
    shift = 0.3 * abs(top) - min(0.0, float(np.min(diagonal)))
    best = vector
    for _ in range(400):
        product = off @ vector
        gap = _gap(diagonal, product, vector)
        if gap < width:
            best, width = vector, gap
        moved = _normalised(product + (diagonal + shift) * vector)
        if width <= 16.0 * U or moved is None:
            return best
        vector = moved
    return best


def refined_perron_vector(numerators: Any, bits: int) -> list[int]:
    """Return positive integers eta: inverse iteration with ``bits`` bits after exact balancing."""
    from flint import arb, arb_mat, ctx

    n = numerators.nrows()
    exponents = _balancing(numerators)
    saved = ctx.prec
    try:
        ctx.prec = bits
        table = [[_times_power(arb(numerators[i, j]), exponents[j] - exponents[i])
                  for j in range(n)] for i in range(n)]  # fmt: skip
        return _integers_of(_noda_ball(arb_mat(table), n, bits), exponents, bits)
    finally:
        ctx.prec = saved


def _noda_ball(matrix: Any, n: int, bits: int) -> list[Any]:
    """Return midpoints of an approximate Perron vector; nothing here is proved."""
    from flint import arb, arb_mat

    vector = [arb(1)] * n
    best, width = vector, None
    stalled = 0
    for _ in range(120):
        product = (matrix * arb_mat(n, 1, vector)).entries()
        ratios = [(p / v).mid() for p, v in zip(product, vector, strict=True)]
        top, low = max(ratios), min(ratios)
        gap = (top - low).mid()
        stalled = 0 if width is None or 2 * gap < width else stalled + 1
        if width is None or gap < width:
            best, width = vector, gap
        if stalled == 20 or gap <= abs(top).mid() * arb(2) ** (8 - bits):
            return best
        system = matrix * arb(-1)
        shift = top + abs(top) * arb(2) ** (4 - bits)
        for i in range(n):
            system[i, i] = (system[i, i] + shift).mid()
        try:
            solution = system.solve(arb_mat(n, 1, vector), algorithm="approx").entries()
        except ZeroDivisionError:
            return best
        moved = [abs(s.mid()) for s in solution]
        if not all(v.is_finite() and v > 0 for v in moved):
            return best
        largest = max(moved)
        vector = [(v / largest).mid() for v in moved]
    return best


def _times_power(value: Any, exponent: int) -> Any:
    from flint import arb, fmpz

    return value * arb((fmpz(1), fmpz(exponent)))


def _integers_of(vector: Sequence[Any], exponents: Sequence[int], bits: int) -> list[int]:
    """Return positive integers proportional to v_i 2^exponents_i, v_i cut to ``bits`` bits."""
    parts = []
    for value, exponent in zip(vector, exponents, strict=True):
        mantissa, power = (int(part) for part in value.mid().man_exp())
        excess = max(0, mantissa.bit_length() - bits)
        parts.append((mantissa >> excess, power + excess + exponent))
    low = min(power for _, power in parts)
    whole = [mantissa << (power - low) for mantissa, power in parts]
    common = math.gcd(*whole)
    return [value // common for value in whole]


def _balancing(numerators: Any) -> list[int]:
    """Return exponents e such that N_ij 2^(e_j - e_i) has rows and columns of similar size."""
    n = numerators.nrows()
    size = np.array([abs(int(v)).bit_length() for v in numerators.entries()], dtype=np.float64)
    size = np.where(size == 0.0, -np.inf, size).reshape(n, n)
    np.fill_diagonal(size, -np.inf)
    shift = np.zeros(n)
    for _ in range(50):
        moved = False
        for i in range(n):
            row = np.max(size[i] + shift) - shift[i]
            column = np.max(size[:, i] - shift) + shift[i]
            step = np.rint((row - column) / 2.0)
            if np.isfinite(step) and step != 0.0:
                shift[i] += step
                moved = True
        if not moved:
            break
    return [int(s) for s in shift]

"""Proposes columns of a well-conditioned minor and powers of two that balance it.

Nothing here is a proof: columns and scalings are only suggestions, and rounding errors are
dropped.

Features behind dead units differ by thousands of orders of magnitude. With row and column factors
from the dual of the assignment problem on log2 |z_ij|, all entries are at most about 1 and one
entry 1 stands in each row and column; a determinant then loses few digits where its largest term
stands alone (Olschowka and Neumaier, "A new pivoting strategy for Gaussian elimination", 1996).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from flint import arb, arb_mat
from numpy.typing import NDArray

Integers = NDArray[np.int64]
Objects = Any  # NumPy array of arb
_BLOCK = 24
# Stands for the exponent of an entry that is zero: far below every exponent that occurs.
_NOTHING = -1e9


def balanced(entries: Objects) -> tuple[Integers, Integers] | None:
    """Return exponents (rows, columns) that balance a matrix (n, m), n <= m.

    Returns:
        None if every term of every n x n minor may be zero.
    """
    from scipy.optimize import linear_sum_assignment

    sizes = magnitudes(entries)
    rows, columns = linear_sum_assignment(sizes, maximize=True)
    if sizes[rows, columns].min() <= _NOTHING / 2:
        return None
    cost = -sizes
    assigned = cost[rows, columns]
    # u_i + v_j <= cost_ij with equality on the assignment: shortest ways between its rows.
    steps = cost[:, columns] - assigned[None, :]
    u = np.zeros(len(rows))
    for _ in range(len(rows)):
        shorter = np.minimum(u, (steps + u[None, :]).min(axis=1))
        if np.array_equal(shorter, u):
            break
        u = shorter
    v = (cost - u[:, None]).min(axis=0)
    v[v > -_NOTHING / 2] = 0.0  # a column of zeros
    return np.rint(u).astype(np.int64), np.rint(v).astype(np.int64)


def magnitudes(entries: Objects) -> NDArray[np.float64]:
    """Return about log2 |z_ij|."""
    found = [_exponent(each) for each in entries.flat]
    return np.array(found, dtype=np.float64).reshape(entries.shape)


def _exponent(ball: Any) -> float:
    mantissa, exponent = ball.mid().man_exp()
    return _NOTHING if mantissa == 0 else float(int(exponent) + int(mantissa).bit_length())


def scaled(entries: Objects, rows: Integers, columns: Integers) -> Objects:
    """Return the matrix with entries z_ij 2^(r_i + c_j), exact but for rounding into balls."""
    two = arb(2)
    left = np.array([two ** int(k) for k in rows], dtype=object)
    right = np.array([two ** int(k) for k in columns], dtype=object)
    return entries * left[:, None] * right[None, :]


def propose_columns(entries: Objects) -> list[int] | None:
    """Return n of m columns by elimination on midpoints with the largest pivot of each row.

    Returns:
        Increasing column indices, or None if a row becomes zero.
    """
    n, m = entries.shape
    if n == m:
        return list(range(n))
    rest = arb_mat(n, m, [each.mid() for each in entries.flat])
    chosen: list[int] = []
    for start in range(0, n, _BLOCK):
        size = min(_BLOCK, n - start)
        table = [rest.entries()[k * m : (k + 1) * m] for k in range(size)]
        pivots = _reduce_block(table, set(chosen))
        if pivots is None:
            return None
        chosen += pivots
        below = rest.nrows() - size
        if below:
            values = rest.entries()[size * m :]
            left = arb_mat(below, size, [values[i * m + c] for i in range(below) for c in pivots])
            flat = [each for row in table for each in row]
            rest = (arb_mat(below, m, values) - left * arb_mat(size, m, flat)).mid()
    return sorted(chosen)


def _reduce_block(table: list[list[Any]], used: set[int]) -> list[int] | None:
    """Bring rows to the unit matrix on pivots of their own, which are returned."""
    pivots: list[int] = []
    for k, row in enumerate(table):
        column = _largest(row, used.union(pivots))
        if column is None:
            return None
        pivots.append(column)
        pivot = row[column]
        table[k] = row = [(each / pivot).mid() for each in row]
        for other, values in enumerate(table):
            if other != k and values[column] != 0:
                factor = values[column]
                table[other] = [(a - factor * b).mid() for a, b in zip(values, row, strict=True)]
    return pivots


def _largest(row: Sequence[Any], used: set[int]) -> int | None:
    best, place = None, None
    for column, each in enumerate(row):
        if column not in used:
            size = abs(each)
            if size != 0 and (best is None or size > best):
                best, place = size, column
    return place

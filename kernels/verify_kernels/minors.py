"""Principal minors in exact arithmetic: signs of all of them, single ones, small bad index sets.

Everything here is integer or rational arithmetic of python-flint; no float decides anything.
"""

from __future__ import annotations

import math
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from itertools import combinations
from typing import Any

import numpy as np

from verify_kernels._rounding import Array

IndexSet = tuple[int, ...]
Rows = list[list[Any]]


@dataclass(frozen=True)
class Sweep:
    """Signs of the principal minors that were visited.

    Args:
        positive: how many were > 0.
        zero: how many were = 0.
        bad: an index set whose minor is negative (or <= 0 where strictness was asked), else None.
        complete: whether every principal minor was visited and none was bad.
    """

    positive: int
    zero: int
    bad: IndexSet | None
    complete: bool


def fraction_of(value: Any) -> Fraction:
    """Return a python-flint ``fmpq`` as a ``Fraction``."""
    return Fraction(int(value.p), int(value.q))


def integer_rows(exact: Any) -> Rows:
    """Return integer rows that are positive multiples of the rows of an ``fmpq_mat``.

    Rows, then columns, are scaled by positive rationals, so every principal minor keeps its sign.
    """
    from flint import fmpz

    rows: Rows = []
    for row in exact.tolist():
        common = fmpz(1)
        for x in row:
            common = common.lcm(x.q)
        rows.append(_primitive([x.p * (common // x.q) for x in row]))
    columns = [_primitive(list(column)) for column in zip(*rows, strict=True)]
    return [list(row) for row in zip(*columns, strict=True)]


def _primitive(entries: list[Any]) -> list[Any]:
    """Divide integers by their greatest common divisor (unless all are zero)."""
    divisor = entries[0] * 0
    for x in entries:
        divisor = divisor.gcd(x)
    return entries if divisor <= 1 else [x // divisor for x in entries]


def submatrix(exact: Any, rows: Sequence[int], columns: Sequence[int]) -> Any:
    """Return the submatrix of an ``fmpq_mat``."""
    from flint import fmpq_mat

    entries = [exact[i, j] for i in rows for j in columns]
    return fmpq_mat(len(rows), len(columns), entries)


def principal_minor(exact: Any, index_set: Sequence[int]) -> Any:
    """Return det(M_SS) of an ``fmpq_mat`` as ``fmpq``; the empty minor is 1."""
    from flint import fmpq

    return submatrix(exact, index_set, index_set).det() if len(index_set) else fmpq(1)


def sweep_minors(rows: Rows, *, strict: bool, deadline: float = math.inf) -> Sweep:
    """Visit the principal minors of an integer matrix until one is bad.

    A node (N, p, S) stands for the minors det(M_TT) with S in T and T in S + indices(N), where
    N_jk = det(M_{S+j, S+k}) and p = det(M_SS) > 0. Deleting an index keeps p; keeping index i
    replaces N by (N_ii N_jk - N_ji N_ik) / p, an exact division (Sylvester's identity), and p by
    N_ii. Sylvester's identity also gives det(N_TT) = p^(|T|-1) det(M_{S+T,S+T}), which decides a
    node whose diagonal is zero (possible only if ``strict`` is False) by determinants.

    Args:
        rows: integer matrix (``fmpz``), n >= 1, as `integer_rows` makes it.
        strict: True: a minor <= 0 is bad (P-matrix); False: a minor < 0 is bad (P_0-matrix).
        deadline: ``time.monotonic`` at which to give up.

    Returns:
        The counts; ``complete`` proves the property, ``bad`` refutes it, neither: out of time.
    """
    from flint import fmpz

    n = len(rows)
    positive = zero = 0
    stack: list[tuple[Rows, Any, IndexSet, IndexSet]] = [(rows, fmpz(1), tuple(range(n)), ())]
    while stack:
        if time.monotonic() > deadline:
            return Sweep(positive, zero, None, False)
        node, pivot, indices, chosen = stack.pop()
        diagonal = [node[j][j] for j in range(len(node))]
        for j, value in enumerate(diagonal):
            if value < 0 or (strict and value == 0):
                return Sweep(positive, zero, _sorted((*chosen, indices[j])), False)
        i = next((j for j, value in enumerate(diagonal) if value != 0), None)
        if i is None:
            zero += len(diagonal)
            count = _sweep_zero_diagonal(node, deadline)
            if isinstance(count, Sweep):
                local = None if count.bad is None else tuple(indices[j] for j in count.bad)
                bad = None if local is None else _sorted((*chosen, *local))
                return Sweep(positive, zero, bad, False)
            positive, zero = positive + count[0], zero + count[1]
            continue
        positive += 1
        if len(node) == 1:
            continue
        keep = [j for j in range(len(node)) if j != i]
        rest = tuple(indices[j] for j in keep)
        stack.append(([[node[j][k] for k in keep] for j in keep], pivot, rest, chosen))
        stack.append((_schur(node, i, keep, pivot), diagonal[i], rest, (*chosen, indices[i])))
    return Sweep(positive, zero, None, True)


def _schur(node: Rows, i: int, keep: list[int], pivot: Any) -> Rows:
    """One step of fraction-free elimination; every division is exact."""
    head, row = node[i][i], node[i]
    out: Rows = []
    for j in keep:
        line, factor = node[j], node[j][i]
        if factor == 0:
            out.append([head * line[k] // pivot for k in keep])
        else:
            out.append([(head * line[k] - factor * row[k]) // pivot for k in keep])
    return out


def _sweep_zero_diagonal(node: Rows, deadline: float) -> tuple[int, int] | Sweep:
    """Counts (positive, zero) of the minors of order >= 2, or a `Sweep` with what went wrong."""
    from flint import fmpz_mat

    n = len(node)
    positive = zero = 0
    for size in range(2, n + 1):
        for chosen in combinations(range(n), size):
            if time.monotonic() > deadline:
                return Sweep(0, 0, None, False)
            value = fmpz_mat(size, size, [node[j][k] for j in chosen for k in chosen]).det()
            if value < 0:
                return Sweep(0, 0, chosen, False)
            positive, zero = positive + (value > 0), zero + (value == 0)
    return positive, zero


def _sorted(indices: Sequence[int]) -> IndexSet:
    return tuple(sorted(indices))


def shrink_bad_set(exact: Any, bad: Sequence[int], *, strict: bool = True) -> IndexSet:
    """Return a small index set, inside a bad one, whose exact principal minor is still bad.

    By Cramer's rule det(M_TT) / det(M_SS) = (M_SS^{-1})_ii for T = S without i: floats propose
    which indices to drop, the exact minor is computed once for the result.

    Args:
        exact: M as ``fmpq_mat``.
        bad: S with det(M_SS) <= 0 (``strict``) or < 0.
        strict: whether a zero minor counts as bad.

    Returns:
        A subset whose minor was checked exactly, or ``bad`` itself.
    """
    block = float_matrix(submatrix(exact, bad, bad))
    for proposal in smaller_sets(block, list(bad)):
        value = principal_minor(exact, proposal)
        if value < 0 or (strict and value == 0):
            return _sorted(proposal)
    return _sorted(bad)


def smaller_sets(block: Array, bad: list[int]) -> Iterator[list[int]]:
    """Index sets of increasing size that plain floats believe to be bad; ``block`` is M_SS."""
    chain, local = [], list(range(len(bad)))
    while len(local) > 1 and np.isfinite(block).all():
        try:
            inverse = np.diag(np.linalg.inv(block[np.ix_(local, local)]))
        except np.linalg.LinAlgError:
            break
        drop = int(np.argmax(inverse))
        if not inverse[drop] > 0.0:
            break
        local = local[:drop] + local[drop + 1 :]
        chain.append([bad[j] for j in local])
    yield from reversed(chain)


def float_matrix(exact: Any) -> Array:
    """Return a plain float copy of an ``fmpq_mat``, each row and column scaled to order one.

    A guide for floats only: scaling is by positive powers of two, signs of principal minors and
    sign patterns stay; nothing is proved with it.
    """
    rows = integer_rows(exact)
    out = np.zeros((len(rows), len(rows)))
    for i, row in enumerate(rows):
        largest = max((abs(x) for x in row), default=0)
        shift = max(0, int(largest).bit_length() - 60)
        for j, x in enumerate(row):
            out[i, j] = float(int(x) >> shift) if x >= 0 else -float(int(-x) >> shift)
        norm = float(np.max(np.abs(out[i])))
        if norm > 0.0:
            out[i] /= norm
    return out

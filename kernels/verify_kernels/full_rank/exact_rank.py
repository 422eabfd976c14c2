"""The exact rank of stored matrices: from below modulo a prime, from above by kernel vectors."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import numpy as np
from flint import fmpq_mat, fmpz_mat
from numpy.typing import ArrayLike

from verify.enclosure import Enclosure
from verify.evidence import Evidence, Witness
from verify_kernels._rounding import Array
from verify_kernels.full_rank.modular import (
    PANEL,
    PRODUCTS,
    ModularRank,
    best_modular_rank,
    rank_data,
    residues,
)
from verify_kernels.full_rank.modular import WITNESS as MODULAR
from verify_kernels.full_rank.primes import choose_prime
from verify_kernels.matrix import as_matrix

WITNESS = "exact-rank"
LARGEST = 256  # the largest minor for which kernel vectors are computed
WORK = 2**20  # rank^2 times kernel vectors, at most
SEED = 1961
STORED_BITS = 2**23  # a larger kernel is not stored; it follows from the rows and columns


@dataclass(frozen=True)
class Lines:
    """Rows of a matrix (or columns) that matter for its rank.

    Args:
        kept: one of each class of proportional rows that are not zero.
        zero: rows of zeros.
        multiples: pairs (row, kept row) of exactly proportional rows.
    """

    kept: tuple[int, ...]
    zero: tuple[int, ...]
    multiples: tuple[tuple[int, int], ...]


def enclose_rank(matrix: ArrayLike) -> Evidence:
    """Enclose the exact rank of a stored float matrix.

    From below: the rank modulo a prime. From above, in this order until both agree: the smaller
    dimension; zero rows and columns and exactly proportional ones; vectors of the kernel from
    an exact solution of the rows outside a nonsingular minor by those inside, verified by a
    product of integers (minors up to order 256).

    Args:
        matrix: Z, shape (n, m), finite floats of any exponents, each the number it stores.

    Returns:
        Evidence with [lo, hi]. The witness (kind ``rank-modulo-prime`` for full rank, else
        ``exact-rank``) holds the prime, rows and columns of a minor that is not 0 modulo it, and
        zero and proportional lines and kernel vectors where they give the upper end.

    Raises:
        InputError: a matrix that is not finite. BackendError: the machine does not compute as
            assumed.
    """
    given = as_matrix(matrix, where="enclose_rank")
    found = best_modular_rank(given, primes=1)
    if found.rank == min(given.shape):
        return _full(found)
    images = residues(given, choose_prime(PANEL))
    rows, columns = _lines(given, images), _lines(given.T, images.T)
    upper = min(len(rows.kept), len(columns.kept))
    if found.rank < upper:
        again = best_modular_rank(given, primes=1, skip=1)
        found = again if again.rank > found.rank else found
        if found.rank == min(given.shape):
            return _full(found)
    data: dict[str, Any] = rank_data(found)
    how = f"rank modulo the prime {found.prime} below, zero and proportional lines above"
    turned = len(columns.kept) < len(rows.kept)
    lines = columns if turned else rows
    data |= {"of_columns": turned, "zero": list(lines.zero)}
    data |= {"multiples": [list(pair) for pair in lines.multiples]}
    if upper > found.rank:
        kernel = _kernel(given, found, rows, columns)
        if kernel is not None:
            upper, how = found.rank, f"rank modulo the prime {found.prime} below, kernel above"
            data |= {"of_columns": kernel.of_columns, "zero": [], "multiples": []}
            data |= kernel.data()
    return Evidence(
        Enclosure(found.rank, upper),
        witness=Witness(WITNESS, data),
        assumes=(PRODUCTS,),
        how=how,
        why_open="" if upper == found.rank else f"the rank modulo {found.prime} is {found.rank}",
    )


def proportional_rows(matrix: Array) -> Lines:
    """Find zero rows and exactly proportional rows.

    Candidates are rows whose random sums modulo a prime agree after division by their first
    entry that is not 0 there; every one is then compared in exact arithmetic.
    """
    if matrix.size == 0:
        return Lines((), tuple(range(matrix.shape[0])), ())
    return _lines(matrix, residues(matrix, choose_prime(PANEL)))


def _lines(matrix: Array, images: Array) -> Lines:
    classes: dict[bytes, list[int]] = {}
    kept: list[int] = []
    zero: list[int] = []
    multiples: list[tuple[int, int]] = []
    empty = ~(matrix != 0.0).any(axis=1)
    for i, mark in enumerate(_fingerprints(images)):
        if empty[i]:
            zero.append(i)
            continue
        alike = [] if mark is None else classes.setdefault(mark, [])
        match = next((k for k in alike if _proportional(matrix[i], matrix[k])), None)
        if match is None:
            alike.append(i)
            kept.append(i)
        else:
            multiples.append((i, match))
    return Lines(tuple(kept), tuple(zero), tuple(multiples))


def _fingerprints(images: Array) -> list[bytes | None]:
    """Return equal marks for proportional rows; None for rows that are 0 modulo the prime."""
    p = choose_prime(PANEL)
    n, m = images.shape
    weights = np.random.default_rng(SEED).integers(-(p // 2), p // 2, (m, 3)).astype(np.float64)
    sums = np.zeros((n, 3), dtype=np.int64)
    for j in range(0, m, PANEL):  # sums of PANEL products are exact
        sums = (sums + (images[:, j : j + PANEL] @ weights[j : j + PANEL]).astype(np.int64)) % p
    first = np.argmax(images != 0.0, axis=1)
    leads = images[np.arange(n), first].astype(np.int64).tolist()
    inverses = np.array([pow(lead, -1, p) if lead else 0 for lead in leads], dtype=np.int64)
    marks = sums * inverses[:, None] % p
    return [mark.tobytes() if lead else None for mark, lead in zip(marks, leads, strict=True)]


def _proportional(a: Array, b: Array) -> bool:
    """Whether two rows that are not zero are multiples of each other, exactly."""
    if np.array_equal(a, b) or np.array_equal(a, -b):
        return True
    if not np.array_equal(a != 0.0, b != 0.0):
        return False
    first = int(np.flatnonzero(a)[0])
    p, q = Fraction(float(a[first])), Fraction(float(b[first]))
    return all(
        Fraction(float(x)) * q == Fraction(float(y)) * p for x, y in zip(a, b, strict=True) if x
    )


def _full(found: ModularRank) -> Evidence:
    return Evidence(
        Enclosure.exact(found.rank),
        witness=Witness(MODULAR, rank_data(found)),
        assumes=(PRODUCTS,),
        how=f"rank modulo the prime {found.prime}",
    )


@dataclass(frozen=True)
class _Kernel:
    """Integers N and d > 0 with d Z[other] = N Z[basis] exactly, or the same for columns."""

    of_columns: bool
    basis: list[int]
    other: list[int]
    numerators: Any
    denominator: int

    def data(self) -> dict[str, Any]:
        """Return what a witness stores; the integers only where they are few."""
        data: dict[str, Any] = {"basis": self.basis, "other": self.other}
        entries = [int(x) for x in self.numerators.entries()]
        if sum(x.bit_length() for x in entries) <= STORED_BITS:
            width = len(self.basis)
            rows = [entries[k : k + width] for k in range(0, len(entries), max(1, width))]
            data |= {"numerators": rows, "denominator": self.denominator}
        return data


def _kernel(matrix: Array, found: ModularRank, rows: Lines, columns: Lines) -> _Kernel | None:
    """Express the rows (or columns) outside the minor by those inside; None if they are not."""
    left = sorted(set(rows.kept) - set(found.rows.tolist()))
    right = sorted(set(columns.kept) - set(found.columns.tolist()))
    turned = len(right) < len(left)
    others = right if turned else left
    if not 0 < found.rank <= LARGEST or found.rank**2 * len(others) > WORK:
        return None
    given = matrix.T if turned else matrix
    basis = (found.columns if turned else found.rows).tolist()
    minor = (found.rows if turned else found.columns).tolist()
    return _express(given, basis, minor, others, turned)


def _express(
    given: Array, basis: list[int], minor: list[int], others: list[int], turned: bool
) -> _Kernel | None:
    """Solve X Z[basis, minor] = Z[others, minor] and verify X Z[basis] = Z[others]."""
    used = _integers(given, [*basis, *others])
    width, r = given.shape[1], len(basis)
    inside = fmpz_mat(r, width, [x for row in used[:r] for x in row])
    outside = fmpz_mat(len(others), width, [x for row in used[r:] for x in row])
    square = fmpz_mat(r, r, [row[j] for row in used[:r] for j in minor])
    target = fmpz_mat(len(others), r, [row[j] for row in used[r:] for j in minor])
    solution = fmpq_mat(square.transpose()).solve(fmpq_mat(target.transpose())).transpose()
    numerators, denominator = solution.numer_denom()
    if numerators * inside != outside * denominator:
        return None
    return _Kernel(turned, basis, others, numerators, int(denominator))


def _integers(matrix: Array, rows: Iterable[int]) -> list[list[int]]:
    """Return rows as integers over one power of two."""
    ratios = [[float(x).as_integer_ratio() for x in matrix[i]] for i in rows]
    power = max((q.bit_length() for row in ratios for _, q in row), default=1)
    return [[p << (power - q.bit_length()) for p, q in row] for row in ratios]

"""The exact rank of stored matrices modulo a prime, by elimination with BLAS products.

Every finite float is M 2^e, and 2 is invertible modulo an odd prime p, so M 2^e -> M 2^e mod p is
a homomorphism of rings. Minors commute with it: the rank mod p is at most the rank over the
rationals, so full rank modulo one prime proves full rank of the stored matrix, whatever its
conditioning. A smaller rank mod p proves nothing above it.

Source: Dumas, Giorgi and Pernet, Dense linear algebra over word-size prime fields, ACM TOMS 35
(2008), for elimination over a prime field with floating-point products.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from verify.enclosure import Enclosure
from verify.errors import InputError
from verify.evidence import Evidence, Witness
from verify_kernels._rounding import Array
from verify_kernels.full_rank.elimination import (
    SHIFT,
    reduce_block,
    reduce_difference,
    residues_of_floats,
)
from verify_kernels.full_rank.primes import (
    choose_prime,
    is_prime,
    largest_residue,
    most_terms,
)
from verify_kernels.matrix import as_matrix
from verify_kernels.self_test import check_arithmetic

PANEL = 256  # rows eliminated together: the inner dimension of the large products
BLOCK = 16  # rows eliminated by compiled code
STRIP = 2**18  # entries of a product held at a time
PRODUCTS = "matrix products are conventional (checked by a self-test, not proved)"
WITNESS = "rank-modulo-prime"


@dataclass(frozen=True, eq=False)
class ModularRank:
    """The rank of a matrix mod p, and rows and columns of a minor that is not 0 mod p."""

    prime: int
    rank: int
    rows: NDArray[np.intp]
    columns: NDArray[np.intp]


def modular_rank(matrix: ArrayLike, *, primes: int = 2) -> Evidence:
    """Enclose the exact rank of a stored float matrix from below by its rank modulo a prime.

    Args:
        matrix: Z, shape (n, m), finite floats of any exponents, each the exact number it stores.
        primes: how many primes are tried until the rank is full, >= 1.

    Returns:
        Evidence with [rank mod p, min(n, m)], the best over the primes tried; a single point
        exactly where full rank is proved. The witness (kind ``rank-modulo-prime``) is the prime,
        the rank, and the rows and columns of a minor that is not 0 modulo the prime.

    Raises:
        InputError: a matrix that is not finite. BackendError: the machine does not compute as
            assumed; subnormal numbers read as zero would change the matrix.
    """
    given = as_matrix(matrix, where="modular_rank")
    most, best = min(given.shape), best_modular_rank(given, primes=primes)
    return Evidence(
        Enclosure(best.rank, most),
        witness=Witness(WITNESS, rank_data(best)),
        assumes=(PRODUCTS,),
        how=f"rank modulo the prime {best.prime}",
        why_open="" if best.rank == most else f"the rank modulo {best.prime} is {best.rank}",
    )


def best_modular_rank(matrix: Array, *, primes: int = 2, skip: int = 0) -> ModularRank:
    """Return the largest rank over some primes, ending at the first that gives full rank.

    The primes are the largest that fit, after ``skip`` of them.

    Raises:
        BackendError: as `modular_rank`.
    """
    check_arithmetic("numpy")
    found: list[ModularRank] = []
    for attempt in range(max(1, primes)):
        p = choose_prime(PANEL, skip=skip + attempt)
        found.append(_eliminate(residues(matrix, p), p))
        if found[-1].rank == min(matrix.shape):
            break
    return max(found, key=lambda each: each.rank)


def rank_data(found: ModularRank) -> dict[str, Any]:
    """Return what a witness stores of a rank modulo a prime."""
    return {
        "prime": found.prime,
        "rank": found.rank,
        "rows": found.rows.astype(np.int64),
        "columns": found.columns.astype(np.int64),
    }


def rank_of_residues(residues: Array, prime: int) -> int:
    """Return the exact rank of a matrix of residues over the field of a prime.

    Args:
        residues: shape (n, m), float64 integers with |r| <= (p + 3)/2; not changed.
        prime: p >= 5, proved prime here.

    Raises:
        InputError: p is not prime or too large for exact products, or an entry is no residue.
        BackendError: the machine does not compute as assumed.
    """
    return eliminate(residues, prime).rank


def eliminate(residues: Array, prime: int) -> ModularRank:
    """Return the rank of a matrix of residues with the places of a minor that is not zero.

    Raises:
        InputError, BackendError: as `rank_of_residues`.
    """
    given = as_matrix(residues, where="rank_of_residues")
    _check_prime(prime)
    check_arithmetic("numpy")
    if given.size and not (
        float(np.abs(given).max()) <= largest_residue(prime)
        and bool((np.rint(given) == given).all())
    ):
        raise InputError(
            f"rank_of_residues: expected integers up to {largest_residue(prime)} in modulus, "
            f"but got other entries"
        )
    return _eliminate(_workspace(given.shape, given), prime)


def _check_prime(p: int) -> None:
    if not (p >= 5 and most_terms(p) >= BLOCK and is_prime(p)):
        raise InputError(
            f"rank_of_residues: expected a prime from 5 to {choose_prime(BLOCK)}, but got {p!r}"
        )


def residues(matrix: Array, prime: int) -> Array:
    """Return M 2^e mod p for every stored float M 2^e.

    Args:
        matrix: float64, shape (n, m), finite; subnormal numbers included.
        prime: p >= 5, odd, small enough for exact products.

    Returns:
        Integers in [-(p + 3)/2, (p + 3)/2] as float64, C order.

    Raises:
        InputError: an entry is not finite, or p is not such a prime.
    """
    _check_prime(prime)
    out = _workspace(matrix.shape)
    powers = _powers_of_two(prime)
    shift = float((2**26) % prime)
    shift -= prime if 2 * shift > prime else 0
    bits = np.ascontiguousarray(matrix, dtype=np.float64).view(np.int64)
    if not residues_of_floats(bits, powers, float(prime), 1.0 / prime, shift, out):
        raise InputError("residues: expected finite entries, but got others")
    return out


@cache
def _powers_of_two(p: int) -> Array:
    values = np.empty(1023 - 52 + SHIFT + 1)
    value = pow(2, -SHIFT, p)
    for k in range(values.size):
        values[k] = value - p if 2 * value > p else value
        value = 2 * value % p
    return values


def _workspace(shape: tuple[int, ...], values: Array | None = None) -> Array:
    """Return a matrix whose rows do not lie a power of two apart, which caches dislike."""
    n, m = shape
    work = np.empty((n, m + 8))[:, :m]
    if values is not None:
        work[...] = values
    return work


def _eliminate(work: Array, p: int) -> ModularRank:
    """Return the rank mod p; the residues are overwritten."""
    n, m = work.shape
    elimination = _Elimination(work, p)
    rank, row = 0, 0
    panel = min(PANEL, most_terms(p))
    pivots: list[NDArray[np.intp]] = []
    while row < n and rank < m:
        last = min(n, row + panel)
        found = elimination.panel(row, row, last, rank)
        pivots.append(elimination.rows[row : row + found].copy())
        elimination.subtract(row, found, last, n, rank)
        rank, row = rank + found, last
    rows = np.concatenate(pivots) if pivots else np.empty(0, dtype=np.intp)
    return ModularRank(p, rank, rows, elimination.columns[:rank].copy())


class _Elimination:
    """Elimination by rows in place: panels to the form [I V], then one product for the rest."""

    def __init__(self, work: Array, p: int) -> None:
        self.work = work
        self.p, self.inverse = float(p), 1.0 / p
        self.rows = np.arange(work.shape[0], dtype=np.intp)
        self.columns = np.arange(work.shape[1], dtype=np.intp)
        self.buffer = np.empty(max(STRIP, work.shape[1]))

    def panel(self, top: int, first: int, last: int, start: int) -> int:
        """Bring rows first..last-1 to the form [I V], by halves; return their rank."""
        A, size = self.work, last - first
        if size <= BLOCK:
            return int(
                reduce_block(
                    A, self.rows, self.columns, top, first, last, start, self.p, self.inverse
                )
            )
        half = BLOCK * (-(-size // BLOCK) // 2)
        middle = first + half
        upper = self.panel(top, first, middle, start)
        self.subtract(first, upper, middle, last, start)
        if start + upper == A.shape[1]:
            return upper
        lower = self.panel(top, middle, last, start + upper)
        self._subtract_rows(middle, lower, first, first + upper, start + upper)
        if upper < half:
            A[first + upper : first + upper + lower] = A[middle : middle + lower].copy()
            order = np.r_[middle : middle + lower, first + upper : middle]
            self.rows[first + upper : middle + lower] = self.rows[order]
        return upper + lower

    def subtract(self, source: int, count: int, first: int, last: int, start: int) -> None:
        """Eliminate ``count`` pivots from rows first..last-1."""
        self._subtract_rows(source, count, first, last, start)

    def _subtract_rows(self, source: int, count: int, first: int, last: int, start: int) -> None:
        A = self.work
        end = start + count
        width = A.shape[1] - end
        if count == 0 or width == 0 or first >= last:
            return
        V = A[source : source + count, end:]
        strip = max(1, self.buffer.size // width)
        for i in range(first, last, strip):
            j = min(last, i + strip)
            product = self.buffer[: (j - i) * width].reshape(j - i, width)
            np.matmul(A[i:j, start:end], V, out=product)
            reduce_difference(A[i:j, end:], product, self.p, self.inverse)

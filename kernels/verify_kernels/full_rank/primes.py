"""Primes for elimination with floating-point products, proved prime by trial division."""

from __future__ import annotations

import math
from functools import cache

from verify.errors import InputError

LARGEST_EXACT = 2**53  # every integer up to here is a binary64 number


@cache
def is_prime(p: int) -> bool:
    """Return whether p is prime, proved by trial division up to its root."""
    if p < 4 or p % 2 == 0:
        return p in (2, 3)
    return all(p % d for d in range(3, math.isqrt(p) + 1, 2))


def largest_residue(p: int) -> int:
    """Return (p + 3)/2, which no result of `modular.reduce` exceeds in modulus, for an odd p."""
    return (p + 3) // 2


def products_fit(p: int, terms: int) -> bool:
    """Return whether sums of ``terms`` products of residues, plus one residue, reduce exactly.

    With h = (p + 3)/2: terms h^2 + 2 p <= 2^53. The reduction of x subtracts a multiple of p
    that may exceed x by h, so h on top of terms h^2 + h must still be exact.
    """
    return terms * largest_residue(p) ** 2 + 2 * p + 3 <= LARGEST_EXACT


def most_terms(p: int) -> int:
    """Return the largest number of terms for which `products_fit` holds (0 if none)."""
    return max(0, (LARGEST_EXACT - 2 * p - 3) // largest_residue(p) ** 2)


@cache
def choose_prime(terms: int, *, skip: int = 0, coprime_to: int = 1) -> int:
    """Return the largest odd prime, after ``skip`` larger ones, for sums of ``terms`` products.

    Args:
        terms: the longest sum of products to come, >= 1.
        skip: how many primes to leave out, for a second attempt.
        coprime_to: a number that the prime must not divide, such as a common denominator.

    Raises:
        InputError: no prime is left.
    """
    root = math.isqrt(LARGEST_EXACT // max(1, terms))
    p = 2 * root + 1
    while p >= 3:
        if products_fit(p, terms) and coprime_to % p and is_prime(p):
            if skip == 0:
                return p
            skip -= 1
        p -= 2
    raise InputError(f"choose_prime: expected at most 2^49 terms, but got {terms}")

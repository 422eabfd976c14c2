"""Keys that rows of exact numbers share if they are multiples of one direction."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from verify_kernels.structure.exact_arrays import Array

PRIME = 2**31 - 1
_BITS = 31  # 2^31 = 1 modulo the prime


def direction_keys(matrices: Sequence[Array]) -> Array | None:
    """Return rows modulo a prime, divided by the first entry that is not zero.

    Dyadic numbers have residues modulo an odd prime, and q x = p y gives q res(x) = p res(y). If
    the first entries of both rows have nonzero residues, the prime divides neither p nor q in
    lowest terms, and the rows of residues are multiples: equal after the division. Different keys
    therefore prove different directions; equal ones prove nothing.

    Args:
        matrices: of equally many rows, as for `first_equal`; together they are the rows.

    Returns:
        int64, shape (rows, entries); None if a first entry has the residue zero, where the
        argument does not hold.
    """
    whole = np.concatenate([_residues(each) for each in matrices], axis=1)
    present = np.concatenate([np.asarray(each != 0, dtype=bool) for each in matrices], axis=1)
    if not whole.shape[1]:
        return whole
    first = whole[np.arange(len(whole)), present.argmax(axis=1)]
    if (present.any(axis=1) & (first == 0)).any():
        return None
    return np.asarray(whole * _inverse(first)[:, None] % PRIME)


def _residues(numbers: Array) -> Array:
    if numbers.dtype != np.float64:
        return np.asarray(numbers % PRIME).astype(np.int64)
    mantissas, exponents = np.frexp(numbers)
    parts = np.ldexp(mantissas, 53).astype(np.int64) % PRIME
    return parts * (np.int64(1) << ((exponents.astype(np.int64) - 53) % _BITS)) % PRIME


def _inverse(residues: Array) -> Array:
    """Return x^(p - 2) by repeated squares; 0 for 0."""
    found, square, power = np.ones_like(residues), residues, PRIME - 2
    while power:
        if power & 1:
            found = found * square % PRIME
        square = square * square % PRIME
        power >>= 1
    return np.asarray(np.where(residues == 0, 0, found))

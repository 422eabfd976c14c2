"""Integer factors that let a spectral bound be checked again without any rounding theory.

A bound ||A||_2 <= c is re-checked from an integer lower-triangular matrix I and L = I 2^-bits:
if E = c^2 - A^T A - L L^T, computed exactly, is diagonally dominant with a diagonal >= 0, then
E is positive semidefinite (Gershgorin), hence c^2 >= A^T A. In the same way for
lambda_min(K) >= c with E = K - c - L L^T. The factor is the one of the floating-point proof,
rounded to integers: the shift of that proof pays for the rounding.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import numpy as np
from flint import fmpq_mat, fmpz_mat

from verify.evidence import Witness
from verify_kernels._rounding import Array

KIND = "integer-cholesky"
VECTOR = "positive-vector"
NORM = "norm2<="
SMALLEST = "lambda_min>="
BITS = 52
STRIP = 64


def factor_witness(
    claim: str, bound: Fraction, factor: Array, *, exponent: int = 0, bits: int = BITS
) -> Witness | None:
    """Return the witness of a claim from the Cholesky factor of its floating-point proof.

    Args:
        claim: ``norm2<=`` or ``lambda_min>=``.
        bound: c, exactly.
        factor: R, upper triangle, with R^T R about 2^(-2 exponent) (c^2 - A^T A), or
            2^(-2 exponent) (K - c).
        exponent: the power of two by which the matrix was divided.
        bits: bits of the largest entry: 52, or 30 where the bound has room.

    Returns:
        kind ``integer-cholesky`` with data claim, bound, bits and factor (int64, lower
        triangular, L = factor 2^-bits; bits may be negative), or None if R has no size.
    """
    largest = max((float(np.abs(block).max()) for _, block in _lower_blocks(factor)), default=0.0)
    shift = bits - math.frexp(largest)[1] if math.isfinite(largest) else 0
    if not 0.0 < largest < math.inf or abs(shift) > 900:
        return None
    integers = np.zeros(factor.shape, dtype=np.int64)
    for start, block in _lower_blocks(factor):
        rows, columns = block.shape
        integers[start : start + rows, :columns] = np.rint(block * 2.0**shift)
    data = {"claim": claim, "bound": bound, "bits": shift - exponent, "factor": integers}
    return Witness(KIND, data)


def vector_witness(claim: str, bound: Fraction, vector: Array) -> Witness:
    """Return the witness of ||A||_2 <= c from x > 0 (integers) with |A|^T |A| x <= c^2 x."""
    return Witness(VECTOR, {"claim": claim, "bound": bound, "vector": vector.astype(np.int64)})


def _lower_blocks(factor: Array) -> Iterator[tuple[int, Array]]:
    """Cut L = R^T into strips of rows up to the diagonal, with zeros above the diagonal."""
    lower, n = factor.T, factor.shape[0]
    for start in range(0, n, STRIP):
        stop = min(start + STRIP, n)
        strip = lower[start:stop, :stop].copy()
        strip[:, start:] = np.tril(strip[:, start:])
        yield start, strip


@dataclass(frozen=True)
class _Exact:
    """The matrix M = integers / (odd 2^power), exactly."""

    integers: Any
    power: int
    odd: int


def replay_norm_at_most(matrix: Any, witness: Witness) -> bool:
    """Check ||A||_2 <= c exactly from a witness; True is a proof in integers.

    Args:
        matrix: A, shape (m, n), finite floats or ``fmpq_mat``. A factor or vector of order m,
            where m is not n, is one for A^T.
        witness: of the claim ``norm2<=``, a factor or a vector.
    """
    known = witness.kind in (KIND, VECTOR) and witness.data.get("claim") == NORM
    exact = _exact(matrix)
    if not known or exact is None or witness.data["bound"] < 0:
        return False
    integers = exact.integers
    given = witness.data["factor" if witness.kind == KIND else "vector"]
    if given.shape[0] != integers.ncols():
        integers = integers.transpose()
    if given.shape[0] != integers.ncols():
        return False
    square = witness.data["bound"] ** 2
    if witness.kind == VECTOR:
        return _contracted(integers, square * exact.odd**2 * (1 << (2 * exact.power)), given)
    gram = _Exact(-(integers.transpose() * integers), 2 * exact.power, exact.odd**2)
    return _dominant(gram, square, witness)


def replay_definite(matrix: Any, witness: Witness) -> bool:
    """Check lambda_min(K) >= c exactly from a witness; True is a proof in integers.

    Args:
        matrix: K, shape (n, n), symmetric, finite floats or ``fmpq_mat``.
        witness: of the claim ``lambda_min>=``.
    """
    known = witness.kind == KIND and witness.data.get("claim") == SMALLEST
    exact = _exact(matrix)
    if not known or exact is None or exact.integers != exact.integers.transpose():
        return False
    return _dominant(exact, -witness.data["bound"], witness)


def integer_matrix(matrix: Array) -> tuple[Any, int]:
    """Return the integer matrix I and p with A = I 2^-p exactly, for finite floats."""
    ratios = [float(x).as_integer_ratio() for x in matrix.ravel()]
    power = max((q.bit_length() - 1 for _, q in ratios), default=0)
    entries = [p << (power - q.bit_length() + 1) for p, q in ratios]
    return fmpz_mat(int(matrix.shape[0]), int(matrix.shape[1]), entries), power


def _exact(matrix: Any) -> _Exact | None:
    if isinstance(matrix, fmpq_mat):
        integers, denominator = matrix.numer_denom()
        power = (int(denominator) & -int(denominator)).bit_length() - 1
        return _Exact(integers, power, int(denominator) >> power)
    if not np.isfinite(matrix).all():
        return None
    return _Exact(*integer_matrix(matrix), 1)


def _contracted(integers: Any, room: Fraction, vector: Any) -> bool:
    """Check |I|^T |I| x <= room x entrywise for x > 0."""
    rows, columns = integers.nrows(), integers.ncols()
    if vector.shape != (columns,) or not all(int(x) > 0 for x in vector):
        return False
    moduli = fmpz_mat(rows, columns, [abs(int(x)) for x in integers.entries()])
    x = fmpz_mat(columns, 1, [int(value) for value in vector])
    image = (moduli.transpose() * (moduli * x)).entries()
    return all(int(y) <= room * int(value) for y, value in zip(image, vector, strict=True))


def _dominant(exact: _Exact, constant: Fraction, witness: Witness) -> bool:
    """Check that M + constant - L L^T is diagonally dominant with a diagonal >= 0."""
    factor, bits = witness.data["factor"], int(witness.data["bits"])
    n = int(exact.integers.nrows())
    dyadic = not constant.denominator & (constant.denominator - 1)
    if not dyadic or factor.shape != (n, n) or exact.integers.ncols() != n:
        return False
    lower = fmpz_mat(n, n, [int(x) for x in np.tril(factor).ravel()])
    below = constant.denominator.bit_length() - 1
    common = max(exact.power, 2 * bits, below, 0)
    left = exact.integers * (1 << (common - exact.power))
    right = lower * lower.transpose() * (exact.odd * (1 << (common - 2 * bits)))
    entries = [int(x) for x in (left - right).entries()]
    add = constant.numerator * exact.odd << (common - below)
    for i in range(n):
        row = entries[i * n : (i + 1) * n]
        if row[i] + add < sum(map(abs, row)) - abs(row[i]):
            return False
    return True

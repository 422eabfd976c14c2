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
from fractions import Fraction
from typing import Any

import numpy as np

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


def replay_norm_at_most(matrix: Array, witness: Witness) -> bool:
    """Check ||A||_2 <= c exactly from a witness; True is a proof in integers.

    Args:
        matrix: A, shape (m, n), finite floats. A factor or vector of order m, where m is not n,
            is one for A^T.
        witness: of the claim ``norm2<=``, a factor or a vector.
    """
    known = witness.kind in (KIND, VECTOR) and witness.data.get("claim") == NORM
    if not known or witness.data["bound"] < 0 or not np.isfinite(matrix).all():
        return False
    integers, power = integer_matrix(matrix)
    given = witness.data["factor" if witness.kind == KIND else "vector"]
    if given.shape[0] != integers.ncols():
        integers = integers.transpose()
    if given.shape[0] != integers.ncols():
        return False
    square = witness.data["bound"] ** 2
    if witness.kind == KIND:
        return _dominant(-1, integers.transpose() * integers, 2 * power, square, witness)
    return _contracted(integers, 2 * power, square, given)


def _contracted(integers: Any, power: int, square: Fraction, vector: Any) -> bool:
    """Check |I|^T |I| x <= square 2^power x entrywise for x > 0."""
    from flint import fmpz_mat

    rows, columns = integers.nrows(), integers.ncols()
    if vector.shape != (columns,) or not all(int(x) > 0 for x in vector):
        return False
    moduli = fmpz_mat(rows, columns, [abs(int(x)) for x in integers.entries()])
    x = fmpz_mat(columns, 1, [int(value) for value in vector])
    image = (moduli.transpose() * (moduli * x)).entries()
    room = square * (1 << power)
    return all(int(y) <= room * int(value) for y, value in zip(image, vector, strict=True))


def replay_definite(matrix: Array, witness: Witness) -> bool:
    """Check lambda_min(K) >= c exactly from a witness; True is a proof in integers.

    Args:
        matrix: K, shape (n, n), finite, symmetric floats.
        witness: of the claim ``lambda_min>=``.
    """
    if witness.kind != KIND or witness.data.get("claim") != SMALLEST:
        return False
    if not np.isfinite(matrix).all() or not np.array_equal(matrix, matrix.T):
        return False
    integers, power = integer_matrix(matrix)
    if int(witness.data["factor"].shape[0]) != integers.nrows():
        return False
    return _dominant(1, integers, power, -witness.data["bound"], witness)


def integer_matrix(matrix: Array) -> tuple[Any, int]:
    """Return the integer matrix I and p with A = I 2^-p exactly, for finite floats."""
    from flint import fmpz_mat

    rows, columns = matrix.shape
    ratios = [float(x).as_integer_ratio() for x in matrix.ravel()]
    power = max((q.bit_length() - 1 for _, q in ratios), default=0)
    entries = [p << (power - q.bit_length() + 1) for p, q in ratios]
    return (fmpz_mat(rows, columns, entries) if entries else fmpz_mat(rows, columns)), power


def _dominant(sign: int, matrix: Any, power: int, constant: Fraction, witness: Witness) -> bool:
    """Check that sign M 2^-power + constant - L L^T is diagonally dominant, diagonal >= 0."""
    from flint import fmpz_mat

    factor, bits = witness.data["factor"], int(witness.data["bits"])
    n = int(factor.shape[0])
    if (
        factor.ndim != 2
        or factor.shape[1] != n
        or constant.denominator & (constant.denominator - 1)
    ):
        return False
    lower = fmpz_mat(n, n, [int(x) for x in np.tril(factor).ravel()]) if n else fmpz_mat(0, 0)
    product = lower * lower.transpose()
    below = constant.denominator.bit_length() - 1
    common = max(power, 2 * bits, below, 0)
    E = matrix * (sign * (1 << (common - power))) - product * (1 << (common - 2 * bits))
    entries = [int(x) for x in E.entries()] if n else []
    add = constant.numerator << (common - below)
    for i in range(n):
        row = entries[i * n : (i + 1) * n]
        if row[i] + add < sum(map(abs, row)) - abs(row[i]):
            return False
    return True

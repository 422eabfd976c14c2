"""Diagonal Lyapunov witnesses: what they hold and how they are replayed in integers."""

from __future__ import annotations

from collections.abc import Mapping
from fractions import Fraction
from typing import Any

import numpy as np
from numpy.typing import NDArray

from verify.evidence import Witness
from verify_kernels import small_spectrum
from verify_kernels._rounding import Array
from verify_kernels.components import rational_block, strong_components
from verify_kernels.matrix import rational_matrix
from verify_kernels.positive_vector import power_of_two

KIND = "diagonal-lyapunov"
EXACT_WIDTH = 16  # up to here definiteness of S is decided in rationals
FACTOR_BITS = 40


def scaling_exponents(scaling: Array) -> NDArray[np.int64]:
    """Return the exponents of D: D Lambda D has entries in [1/2, 2)."""
    return -(np.frexp(scaling)[1].astype(np.int64) // 2)


def scaled_inequality(
    exact: Any, lam: list[Fraction], unit: list[Fraction], alpha: Fraction, beta: Fraction
) -> Any:
    """Return D ((I - alpha W)^T Lambda (I - beta W) + transpose) D exactly."""
    from flint import fmpq, fmpq_mat

    size = exact.nrows()

    def rational(value: Fraction) -> Any:
        return fmpq(value.numerator, value.denominator)

    def diagonal(values: list[Fraction]) -> Any:
        matrix = fmpq_mat(size, size)
        for i, value in enumerate(values):
            matrix[i, i] = rational(value)
        return matrix

    identity = diagonal([Fraction(1)] * size)
    left = (identity - exact * rational(alpha)) * diagonal(unit)
    right = (identity - exact * rational(beta)) * diagonal(unit)
    half = left.transpose() * (diagonal(lam) * right)
    return half + half.transpose()


def integer_factor(S: Array, least: float) -> Array | None:
    """Return L, int64, with 2^-2b L L^T below S and S - 2^-2b L L^T diagonally dominant."""
    shifted = S - 0.5 * least * np.eye(len(S))
    try:
        factor = np.linalg.cholesky(shifted)
    except np.linalg.LinAlgError:
        return None
    if not np.isfinite(factor).all() or float(np.max(np.abs(factor))) >= 2.0 ** (62 - FACTOR_BITS):
        return None
    return np.asarray(np.rint(np.ldexp(factor, FACTOR_BITS)), dtype=np.int64)


def replay_diagonal(weight: Any, witness: Witness) -> bool:
    """Check the inequality exactly from a witness with factors: True is a proof in integers.

    The blocks must be disjoint, cover all indices and leave no entry of W from a later block to
    an earlier one; on each, D S D minus L L^T must be strictly diagonally dominant with a
    positive diagonal, so that S > 0; up to 16 rows S > 0 is decided without a factor.

    Args:
        weight: W as ``fmpq_mat``, or floats of shape (m, m).
        witness: of the kind "diagonal-lyapunov".
    """
    exact = weight if hasattr(weight, "numer_denom") else rational_matrix(np.asarray(weight))
    if witness.kind != KIND:
        return False
    blocks = witness.data["blocks"]
    covered = sorted(i for block in blocks for i in block["index"])
    if covered != list(range(exact.nrows())):
        return False
    if not blocks:
        return True
    alpha, beta = witness.data["alpha"], witness.data["beta"]
    return _is_triangular(exact, blocks) and all(
        _replay_block(exact, block, alpha, beta) for block in blocks
    )


def _is_triangular(exact: Any, blocks: list[Mapping[str, Any]]) -> bool:
    """Whether the graph of the blocks has no cycle."""
    place = {i: k for k, block in enumerate(blocks) for i in block["index"]}
    pattern = np.array([[1.0 if v != 0 else 0.0 for v in row] for row in exact.tolist()])
    components = strong_components(pattern)
    return all(len({place[int(i)] for i in part}) == 1 for part in components)


def _replay_block(exact: Any, block: Mapping[str, Any], alpha: Fraction, beta: Fraction) -> bool:
    from flint import fmpq, fmpq_mat, fmpz_mat

    rows, integers = block["index"], block["diagonal"]
    size = len(rows)
    if len(integers) != size or any(value <= 0 for value in integers):
        return False
    part = rational_block(exact, np.array(rows, dtype=np.int64))
    scale_by = Fraction(block.get("unit", 1))  # any positive factors prove the same
    unit = [power_of_two(int(e)) for e in block.get("exponents", [0] * size)]
    if scale_by <= 0 or len(unit) != size:
        return False
    lam = [value * scale_by for value in integers]
    inequality = scaled_inequality(part, lam, unit, alpha, beta)
    if "factor" not in block:
        return size <= EXACT_WIDTH and small_spectrum.is_definite(inequality, Fraction(0))
    entries = [int(v) for v in np.tril(block["factor"]).ravel()]
    lower = fmpz_mat(size, size, entries)
    gram = fmpq_mat(lower * lower.transpose()) * fmpq(1, 1 << (2 * int(block["bits"])))
    rest = (inequality - gram).tolist()
    return all(2 * row[i] > sum(abs(v) for v in row) for i, row in enumerate(rest))

"""Second moments of small data, in rational arithmetic."""

from __future__ import annotations

import math
from fractions import Fraction
from typing import Any

from flint import fmpq, fmpq_mat, fmpz, fmpz_mat

from verify.enclosure import Enclosure
from verify.evidence import Evidence
from verify_kernels import small_spectrum
from verify_kernels.two_layer.samples import Samples

ORDER = 16
BITS = 96
_ENTRIES = 20_000
_PRODUCTS = 2_000_000


def is_small(samples: Samples) -> bool:
    """Return whether the moment is taken exactly: min(n, d) <= 16 and little work."""
    n, d = samples.n, samples.d
    return min(n, d) <= ORDER and n * d <= _ENTRIES and n * d * min(n, d) <= _PRODUCTS


def enclose_second_moment(samples: Samples, low: Any, high: Any) -> Evidence:
    """Enclose lambda_max((1/n) sum w_i x_i x_i^T), lo <= w <= hi, to 96 bits or exactly.

    For n < d the eigenvalues are those of (1/n) diag(w) X X^T, which has the same ones but for
    zeros; they are real, so the characteristic polynomial needs no symmetry.
    """
    rows, exponent = integer_rows(samples)
    lower = _largest(rows, exponent, [Fraction(value) for value in low])
    same = all(Fraction(a) == Fraction(b) for a, b in zip(low, high, strict=True))
    upper = lower if same else _largest(rows, exponent, [Fraction(value) for value in high])
    return Evidence(Enclosure(lower.lo, upper.hi), how="exact characteristic polynomial")


def integer_rows(samples: Samples) -> tuple[list[list[int]], int]:
    """Return integers and an exponent s: x_ik = integer 2^-s, the constant 1 included."""
    exact = [[Fraction(value.item()) for value in row] for row in samples.X]
    if samples.augmented:
        exact = [[*row, Fraction(1)] for row in exact]
    shift = max((x.denominator.bit_length() - 1 for row in exact for x in row), default=0)
    return [[int(x * (1 << shift)) for x in row] for row in exact], shift


def _largest(rows: list[list[int]], exponent: int, weights: list[Fraction]) -> Enclosure:
    n, d = len(rows), len(rows[0])
    common = math.lcm(*(w.denominator for w in weights))
    whole = [int(w * common) for w in weights]
    X = fmpz_mat(rows)
    weighted = fmpz_mat([[w * x for x in row] for w, row in zip(whole, rows, strict=True)])
    moment = weighted * X.transpose() if n < d else X.transpose() * weighted
    scale = fmpq(1, fmpz(n) * fmpz(common) * (fmpz(1) << (2 * exponent)))
    return small_spectrum.enclose_largest_eigenvalue(fmpq_mat(moment) * scale, bits=BITS)

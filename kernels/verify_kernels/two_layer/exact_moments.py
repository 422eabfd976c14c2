"""Second moments of small data, in rational and in ball arithmetic."""

from __future__ import annotations

import math
from fractions import Fraction
from typing import Any

import numpy as np
from flint import arb, fmpq, fmpq_mat, fmpz, fmpz_mat

from verify.enclosure import Enclosure
from verify.evidence import Evidence
from verify_kernels import small_spectrum
from verify_kernels.two_layer.balls import precision
from verify_kernels.two_layer.samples import Samples

ORDER = 16  # up to it the characteristic polynomial, beyond it a factorisation in balls
ORDER_BALLS = 64
BITS = 96
_ENTRIES = 20_000
_PRODUCTS = 2_000_000
_PRECISION = 512
_SLACKS = (-86, -70, -50, -30)  # the upper end is tried at the Rayleigh quotient times 1 + 2^these


def is_small(samples: Samples) -> bool:
    """Return whether the moment is taken here: min(n, d) <= 64 and little work."""
    n, d = samples.n, samples.d
    order = min(n, d)
    return order <= ORDER_BALLS and n * d <= _ENTRIES and n * d * order <= _PRODUCTS


def enclose_second_moment(samples: Samples, low: Any, high: Any) -> Evidence | None:
    """Enclose lambda_max((1/n) sum w_i x_i x_i^T) for weights lo <= w <= hi.

    Up to order 16 by the exact characteristic polynomial (exactly, or to 96 bits); for n < d that
    of (1/n) diag(w) X X^T, which has the same eigenvalues but for zeros, all of them real. Beyond
    by a Rayleigh quotient and an LDL^T factorisation of c - M in balls, to about 84 bits.

    Returns:
        None if no upper end was proved.
    """
    rows, exponent = integer_rows(samples)
    weights = [[Fraction(value) for value in end] for end in (low, high)]
    small = min(samples.n, samples.d) <= ORDER
    rule = _by_polynomial if small else _by_factorisation
    lower = rule(rows, exponent, weights[0])
    upper = lower if weights[0] == weights[1] else rule(rows, exponent, weights[1])
    if lower is None or upper is None:
        return None
    how = "exact characteristic polynomial" if small else "LDL^T in balls, Rayleigh quotient"
    return Evidence(Enclosure(lower.lo, upper.hi), how=how)


def integer_rows(samples: Samples) -> tuple[list[list[int]], int]:
    """Return integers and an exponent s: x_ik = integer 2^-s, the constant 1 included."""
    exact = [[Fraction(value.item()) for value in row] for row in samples.X]
    if samples.augmented:
        exact = [[*row, Fraction(1)] for row in exact]
    shift = max((x.denominator.bit_length() - 1 for row in exact for x in row), default=0)
    return [[int(x * (1 << shift)) for x in row] for row in exact], shift


def _by_polynomial(rows: list[list[int]], exponent: int, weights: list[Fraction]) -> Enclosure:
    n, d = len(rows), len(rows[0])
    X = fmpz_mat(rows)
    whole, common = _whole(weights)
    weighted = fmpz_mat([[w * x for x in row] for w, row in zip(whole, rows, strict=True)])
    moment = weighted * X.transpose() if n < d else X.transpose() * weighted
    scale = fmpq(1, fmpz(n) * fmpz(common) * (fmpz(1) << (2 * exponent)))
    return small_spectrum.enclose_largest_eigenvalue(fmpq_mat(moment) * scale, bits=BITS)


def _whole(weights: list[Fraction]) -> tuple[list[int], int]:
    common = math.lcm(*(w.denominator for w in weights))
    return [int(w * common) for w in weights], common


def _by_factorisation(
    rows: list[list[int]], exponent: int, weights: list[Fraction]
) -> Enclosure | None:
    if not any(weights):
        return Enclosure.exact(0)
    n = len(rows)
    whole, common = _whole(weights)
    with precision(_PRECISION):
        moment = _moment(rows, whole)
        top = max((abs(entry) for row in moment for entry in row), key=lambda e: e.mid())
        vector = _leading(np.array([[float((e / top).mid()) for e in row] for row in moment]))
        low = _rayleigh(moment, vector)
        unit = Fraction(1, n * common * (1 << (2 * exponent)))
        below = Enclosure.from_arb(low).lo
        for slack in _SLACKS:
            high = Enclosure.from_arb(low * (1 + arb(2) ** slack)).hi
            if isinstance(high, Fraction) and _is_positive(moment, high):
                return Enclosure.outward(max(Fraction(below), Fraction(0)) * unit, high * unit)
    return None


def _moment(rows: list[list[int]], weights: list[int]) -> list[list[Any]]:
    """Return X^T diag(w) X, or diag(w)^(1/2) X X^T diag(w)^(1/2) where that is smaller."""
    X = fmpz_mat(rows)
    if len(rows) >= len(rows[0]):
        weighted = fmpz_mat([[w * x for x in row] for w, row in zip(weights, rows, strict=True)])
        return [[arb(entry) for entry in row] for row in (X.transpose() * weighted).tolist()]
    gram = (X * X.transpose()).tolist()
    roots = [arb(w).sqrt() for w in weights]
    return [
        [r * g * s for g, s in zip(row, roots, strict=True)]
        for r, row in zip(roots, gram, strict=True)
    ]


def _leading(matrix: Any) -> list[float]:
    """Propose an eigenvector; any vector gives a valid lower end."""
    return [float(v) for v in np.linalg.eigh((matrix + matrix.T) / 2.0)[1][:, -1]]


def _rayleigh(moment: list[list[Any]], vector: list[float]) -> Any:
    v = [arb(x) for x in vector]
    image = [sum((m * x for m, x in zip(row, v, strict=True)), arb(0)) for row in moment]
    top = sum((x * y for x, y in zip(v, image, strict=True)), arb(0))
    return top / sum((x * x for x in v), arb(0))


def _is_positive(moment: list[list[Any]], c: Fraction) -> bool:
    """Prove c I - M > 0 by the pivots of its LDL^T factorisation, as balls."""
    ball = arb(fmpq(c.numerator, c.denominator))
    size = len(moment)
    left = [
        [(ball if i == k else arb(0)) - moment[i][k] for k in range(i + 1)] for i in range(size)
    ]
    for k in range(size):
        pivot = left[k][k]
        if not pivot > 0:
            return False
        for i in range(k + 1, size):
            factor = left[i][k] / pivot
            for j in range(k + 1, i + 1):
                left[i][j] = left[i][j] - factor * left[j][k]
    return True

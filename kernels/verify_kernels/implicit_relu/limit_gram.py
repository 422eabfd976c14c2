"""The Gram matrix of infinitely many random ReLU features, and its smallest eigenvalue.

G_ij = E relu(w.x_i) relu(w.x_j) for w ~ N(0, I)
     = (sqrt(|x_i|^2 |x_j|^2 - c^2) + (pi - t) c)/(2 pi), c = x_i.x_j, t = angle(x_i, x_j).
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import numpy as np
from flint import arb, arb_mat, ctx, fmpq, fmpz, fmpz_mat
from numpy.typing import ArrayLike

from verify.enclosure import INF, Enclosure
from verify.evidence import Evidence
from verify_kernels._rounding import Array, norm_up
from verify_kernels.definiteness import enclose_smallest_eigenvalue
from verify_kernels.forward import Inputs
from verify_kernels.implicit_relu.rank import integer_matrix, integer_rows, ray
from verify_kernels.implicit_relu.spectrum import EXACT_ORDER, smallest_of_balls
from verify_kernels.interval_affine import float_ball
from verify_kernels.matrix import as_matrix

BITS = 128
MOST_BITS = 4096
SINGULAR = "a linear dependence of the functions relu(w.x_i), in integers"


@dataclass(frozen=True, eq=False)
class InfiniteGram:
    """G with ||G - mid||_2 <= error.

    Args:
        mid: shape (n, n), symmetric bitwise.
        error: +inf where entries leave the range of binary64.
        smallest: lambda_0 = lambda_min(G) >= 0, exactly 0 iff G is singular.
        balls: G as ``arb_mat``, with the precision that was needed for lambda_0.
    """

    mid: Array
    error: float
    smallest: Evidence
    balls: Any


def infinite_gram(X: Inputs | ArrayLike, *, precise: bool = False) -> InfiniteGram:
    """Enclose G_inf by its closed form and lambda_0 by a verified factorisation.

    |x_i|^2, |x_j|^2, c and D = |x_i|^2 |x_j|^2 - c^2 >= 0 are exact integers (times a power of
    two), so that sin and cos of the angle t = atan2(sqrt(D), c) suffer no cancellation at any
    angle; parallel, antiparallel, equal and zero rows have D = 0.

    G is singular iff the functions relu(w.x_i) of w are dependent. Suppose that their combination
    with coefficients c_i vanishes. At a point of the hyperplane of one line only, x_i = a_i e for
    the rows of that line, its derivative jumps by the sum of c_i |a_i|, so that sum is 0 on every
    line. Hence c_i = 0 on a line with one row, and a line with two opposite rows contributes
    c relu(w.x) - c relu(-w.x) = c w.x. So G is singular iff a row is zero, two rows are positive
    multiples of each other, or the rows with an antiparallel partner (one of each pair) are
    linearly dependent. All three are decided in integers.

    Args:
        X: rows x_i, shape (n, d), or values with their divisor; any norms.
        precise: precision grows until lambda_0 is known to 60 bits (n <= 64), for which its being
            positive or 0 is decided beforehand.

    Returns:
        G and lambda_0. Without `precise` the lower end may be 0 for a positive lambda_0 below
        about 1e-15 ||G||.

    Error bound:
        each entry is a ball of 128 bits or more, rounded once to binary64; error is the Frobenius
        norm of the radii.

    Raises:
        InputError: no rows, entries that are not finite. BackendError: the machine does not
            compute as assumed.

    Source:
        Cho and Saul, Kernel methods for deep learning (2009), for the closed form.
    """
    given = X if isinstance(X, Inputs) else _as_inputs(X)
    given.require_some("infinite_gram")
    values = given.values.reshape(given.count, -1)
    integers, exponent = integer_matrix(values)
    unit = Fraction(1, 4**exponent) / given.divisor**2
    inner = integers * integers.transpose()
    with ctx.workprec(BITS):
        balls = _closed_form(inner, unit)
        mid, error = _rounded(balls)
    if is_singular(integer_rows(integers)):
        return InfiniteGram(mid, error, Evidence(Enclosure.exact(0), how=SINGULAR), balls)
    if not math.isfinite(error):
        why = "entries leave the range of binary64"
        found = Evidence(Enclosure(0, INF), why_open=why)
    else:
        found = _clipped(enclose_smallest_eigenvalue(mid, error=error, with_witness=False))
    if precise and given.count <= EXACT_ORDER:
        found, balls = _to_60_bits(inner, unit, found)
    return InfiniteGram(mid, error, found, balls)


def _as_inputs(X: ArrayLike) -> Inputs:
    rows = as_matrix(X, where="infinite_gram")
    return Inputs.of(rows, (rows.shape[1],))


def is_singular(rows: Sequence[Sequence[int]]) -> bool:
    """Decide whether the functions relu(w.x_i) are linearly dependent; see `infinite_gram`."""
    lines: dict[tuple[int, ...], list[tuple[int, ...]]] = defaultdict(list)
    for row in rows:
        direction = ray(row)
        if direction is None:
            return True
        lines[max(direction, tuple(-x for x in direction))].append(direction)
    if any(len(set(found)) < len(found) for found in lines.values()):
        return True
    pairs = [list(line) for line, found in lines.items() if len(found) == 2]
    return len(pairs) > 1 and fmpz_mat(pairs).rank() < len(pairs)


def _closed_form(inner: Any, unit: Fraction) -> Any:
    """Return G as ``arb_mat`` at the working precision; inner times unit is X X^T."""
    n = inner.nrows()
    table = inner.tolist()
    twice_pi = 2 * arb.pi()
    scale = arb(fmpq(unit.numerator, unit.denominator))
    G = arb_mat(n, n)
    for i in range(n):
        for j in range(i + 1):
            c = table[i][j]
            square = table[i][i] * table[j][j] - c * c
            G[i, j] = G[j, i] = scale * _entry(c, square, twice_pi)
    return G


def _entry(c: fmpz, square: fmpz, twice_pi: Any) -> Any:
    if square == 0:
        return arb(c) / 2 if c > 0 else arb(0)
    sine = arb(square).sqrt()
    angle = arb.atan2(sine, arb(c))
    # pi - t without cancellation near t = pi
    rest = arb.atan2(sine, arb(-c)) if c < 0 else twice_pi / 2 - angle
    return (sine + rest * arb(c)) / twice_pi


def _rounded(balls: Any) -> tuple[Array, float]:
    n = balls.nrows()
    mid, rad = np.zeros((n, n)), np.zeros((n, n))
    for i in range(n):
        for j in range(i + 1):
            near, radius = float_ball(balls[i, j])
            mid[i, j] = mid[j, i] = near
            rad[i, j] = rad[j, i] = radius
    return mid, norm_up(rad) if np.isfinite(rad).all() else math.inf


def _clipped(found: Evidence) -> Evidence:
    value = found.enclosure()
    low = max(value.lo, Fraction(0))
    why = "" if low > 0 else "lambda_0 > 0, but no lower bound is proved in floats"
    return Evidence(Enclosure(low, value.hi), None, found.assumes, found.how, why)


def _to_60_bits(inner: Any, unit: Fraction, found: Evidence) -> tuple[Evidence, Any]:
    bits = BITS
    while True:
        with ctx.workprec(bits):
            balls = _closed_form(inner, unit)
            value = smallest_of_balls(balls)
        known = value.lo > 0 and value.width * 2**60 <= value.lo
        if known or bits >= MOST_BITS:
            break
        bits *= 2
    if value.lo <= 0 and not value.hi < found.enclosure().hi:
        return found, balls
    why = "" if value.lo > 0 else f"lambda_0 > 0, but below what {bits} bits resolve"
    return Evidence(
        value, how="ball arithmetic, exact characteristic polynomial", why_open=why
    ), balls

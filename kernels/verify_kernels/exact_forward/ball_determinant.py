"""Full rank of features by the determinant of a minor in ball arithmetic."""

from __future__ import annotations

import math
import time
from fractions import Fraction
from typing import Any

import numpy as np
from flint import arb, arb_mat

from verify.enclosure import Enclosure
from verify.evidence import Evidence, Witness
from verify.network.graph import Graph
from verify_kernels.exact_forward.balls import ball_features
from verify_kernels.exact_forward.minor_search import balanced, propose_columns, scaled
from verify_kernels.exact_forward.rational import filled
from verify_kernels.exact_forward.walk import OutsideError
from verify_kernels.forward.inputs import Inputs
from verify_kernels.two_layer.balls import precision

WITNESS = "ball-minor"
BITS_CAP = 1 << 17
_SHORT = 64  # bits of the ends of an enclosure
# Twice the bits cost at most about three times the time.
_GROWTH = 3.0
_SQUARINGS = 24


def prove_rank_by_balls(
    graph: Graph,
    place: int,
    inputs: Inputs,
    *,
    ones: bool,
    bits_start: int = 128,
    bits_cap: int = BITS_CAP,
    deadline: float = math.inf,
) -> Evidence:
    """Enclose |det| of an n x n minor of Z = [features, 1] by LU in ball arithmetic.

    The features are enclosed at the working precision; the minor and its balancing by powers of
    two are proposed by elimination on midpoints, the determinant is python-flint's. The precision
    doubles until the enclosure excludes 0, which proves rank Z = n.

    Args:
        graph: the network.
        place: index of the node of the features.
        inputs: the n samples.
        ones: whether Z carries the column of ones.
        bits_start: first precision.
        bits_cap: last precision.
        deadline: in time of `time.monotonic`; no attempt begins that would likely end later.

    Returns:
        Evidence of |det|: an enclosure above 0 with the witness ``"ball-minor"`` (columns, where
        m is the column of ones; bits), or one with the lower end 0 and the reason.
    """
    bits, why, upper = bits_start, "no attempt was completed", Enclosure(0, math.inf)
    while bits <= bits_cap:
        begun = time.monotonic()
        try:
            features = ball_features(graph, place, inputs, bits, deadline=deadline)
        except OutsideError as error:
            return Evidence(upper, why_open=f"{why}; with {bits} bits: {error}")
        entries = z_matrix(features, ones)
        if entries.shape[0] > entries.shape[1]:
            return Evidence(Enclosure.unbounded(), why_open="there are fewer columns than samples")
        found = minor_determinant(entries, bits)
        if found is not None:
            columns, upper = found
            if upper.lo > 0:
                data = {"columns": columns, "bits": bits, "ones": ones}
                how = f"determinant of a minor in ball arithmetic, {bits} bits"
                return Evidence(upper, Witness(WITNESS, data), how=how)
        why = f"ball arithmetic with {bits} bits does not exclude a zero determinant"
        spent = time.monotonic() - begun
        if time.monotonic() + _GROWTH * spent > deadline:
            why += "; more bits would take longer than the time that is left"
            break
        bits *= 2
    return Evidence(upper, why_open=why)


def z_matrix(features: Any, ones: bool) -> Any:
    """Return Z as an array of balls (n, m + 1), or (n, m) without the column of ones."""
    found = filled(features.entries(), (features.nrows(), features.ncols()))
    if not ones:
        return found
    return np.concatenate([found, filled([arb(1)] * len(found), (len(found), 1))], axis=1)


def minor_determinant(entries: Any, bits: int) -> tuple[list[int], Enclosure] | None:
    """Enclose |det| of a proposed n x n minor of a matrix of balls (n, m), n <= m.

    Returns:
        The columns and the enclosure, or None if every minor may be zero by its pattern.
    """
    if not all(each.is_finite() for each in entries.flat):
        return None
    with precision(bits):
        exponents = balanced(entries)
        if exponents is None:
            return None
        rows, columns = exponents
        work = scaled(entries, rows, columns)
        chosen = propose_columns(work)
        if chosen is None:
            return None
        n = len(work)
        determinant = arb_mat(n, n, list(work[:, chosen].flat)).det()
        power = int(rows.sum() + columns[chosen].sum())
        return chosen, _modulus(determinant * arb(2) ** -power)


def _modulus(ball: Any) -> Enclosure:
    """Return |ball| with ends of few digits."""
    if not ball.is_finite():
        return Enclosure(0, math.inf)
    with precision(_SHORT):
        low, high = Enclosure.from_arb(ball.abs_lower()), Enclosure.from_arb(ball.abs_upper())
    return Enclosure(max(Fraction(0), low.lo) if low.is_bounded else 0, high.hi)


def enclose_smallest_singular_by_balls(
    graph: Graph,
    place: int,
    inputs: Inputs,
    *,
    ones: bool,
    bits_start: int = 256,
    bits_cap: int = BITS_CAP,
    deadline: float = math.inf,
) -> Evidence:
    """Enclose sigma_n(Z) by traces of powers of (Z Z^T)^-1 in ball arithmetic.

    For a symmetric positive definite B of order n and k >= 1, lambda_max(B)^k <= tr(B^k) <= n
    lambda_max(B)^k; with k = 2^24 both bounds of sigma_n = lambda_max(B)^(-1/2) differ by a factor
    n^(1/2^25). Cost: 24 squarings of an n x n matrix.

    Args:
        graph: the network.
        place: index of the node of the features.
        inputs: the n samples.
        ones: whether Z carries the column of ones.
        bits_start: first precision.
        bits_cap: last precision.
        deadline: in time of `time.monotonic`.

    Returns:
        Evidence of sigma_n; [0, inf] with the reason if Z Z^T could not be inverted.
    """
    bits, why = bits_start, "no attempt was completed"
    while bits <= bits_cap:
        begun = time.monotonic()
        try:
            features = ball_features(graph, place, inputs, bits, deadline=deadline)
        except OutsideError as error:
            return Evidence(Enclosure(0, math.inf), why_open=f"{why}; with {bits} bits: {error}")
        with precision(bits):
            found = _smallest_singular(z_matrix(features, ones))
        if found is not None:
            how = f"traces of powers of the inverse Gram matrix in balls of {bits} bits"
            return Evidence(found, how=how)
        why = f"ball arithmetic with {bits} bits does not invert the Gram matrix"
        if time.monotonic() + _GROWTH * (time.monotonic() - begun) > deadline:
            break
        bits *= 2
    return Evidence(Enclosure(0, math.inf), why_open=why)


def _smallest_singular(entries: Any) -> Enclosure | None:
    n, m = entries.shape
    Z = arb_mat(n, m, list(entries.flat))
    try:
        power = (Z * Z.transpose()).inv()
    except ZeroDivisionError:
        return None
    for _ in range(_SQUARINGS):
        power = power * power
    trace = power.trace()
    if not (trace.is_finite() and trace > 0):
        return None
    exponent = -(arb(2) ** -(_SQUARINGS + 1))
    low = (exponent * trace.log()).exp()
    high = (exponent * (trace / n).log()).exp()
    with precision(_SHORT):
        ends = Enclosure.from_arb(low.lower()), Enclosure.from_arb(high.upper())
    both = ends[0].is_bounded and ends[1].is_bounded
    return Enclosure(ends[0].lo, ends[1].hi) if both else None

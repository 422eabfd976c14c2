"""Pooling: averages are linear maps of known norm, maxima are exact at the midpoint."""

from __future__ import annotations

import math
from collections.abc import Sequence
from fractions import Fraction
from typing import Any

import numpy as np

from verify_kernels._rounding import Array, float_up, gamma, mul_up, sqrt_up, tau
from verify_kernels.forward.convolution import overlap
from verify_kernels.forward.radii import moved, plus, root, times
from verify_kernels.forward.state import State

Windows = list[tuple[range, int]]
"""Of one axis: the entries of each window, and the number that their sum is divided by."""


def windows(
    size: int, kernel: int, stride: int, padding: tuple[int, int], *, count_padding: bool
) -> Windows:
    """Return the windows of an axis of this size."""
    count = (size + sum(padding) - kernel) // stride + 1
    found = []
    for p in range(count):
        first = p * stride - padding[0]
        inside = range(max(0, first), min(size, first + kernel))
        found.append((inside, kernel if count_padding else len(inside)))
    return found


def adaptive_windows(size: int, count: int) -> Windows:
    """Return the windows of adaptive pooling: floor(p size/count) to ceil((p + 1) size/count)."""
    bounds = [(p * size // count, -(-(p + 1) * size // count)) for p in range(count)]
    return [(range(first, last), last - first) for first, last in bounds]


def average(state: State, axes: Sequence[Windows], xp: Any) -> State:
    """Average over windows of the last axes: one matrix of entries 1/count for each axis.

    Error bound:
        Lambda rho_i + gamma_{k+4} Lambda ||M_i|| + sqrt(N) tau_k, k the sum of the window sizes
        and Lambda the product of the norms of the matrices, each at most the root of its largest
        row sum times its largest column sum (Schur).
    """
    mid, norm, k = state.bounded_mid(xp), 1.0, 0
    for place, found in enumerate(reversed(axes)):
        size = mid.shape[-1 - place]
        matrix, bound = _averaging_matrix(found, size)
        norm, k = mul_up(norm, bound), k + max(len(inside) for inside, _ in found)
        turned = xp.asarray(matrix)
        mid = mid @ turned.T if place == 0 else xp.matmul(turned, mid)
    size = int(np.prod(mid.shape[1:]))
    sizes = state.norms(xp)
    rho = plus(
        moved(norm, state.rho),
        times(gamma(k + 4), norm, sizes),
        times(root(np.asarray(float(size))), times(plus(sizes, 1.0), tau(k, 1.0, 1.0))),
    )
    return State(mid, np.where(np.isfinite(times(2.0, sizes)), rho, np.inf), True, why=state.why)


def _averaging_matrix(found: Windows, size: int) -> tuple[Array, float]:
    matrix = np.zeros((len(found), size))
    columns = [Fraction(0)] * size
    rows = Fraction(0)
    for p, (inside, count) in enumerate(found):
        matrix[p, inside.start : inside.stop] = 1.0 / count
        rows = max(rows, Fraction(len(inside), count))
        for j in inside:
            columns[j] += Fraction(1, count)
    return matrix, sqrt_up(float_up(rows * max(columns)))


def mean(state: State, axes: Sequence[int], xp: Any) -> State:
    """Average over whole axes, which vanish: a map of norm 1/sqrt(count).

    Error bound:
        (rho_i + gamma_{count+1} ||M_i||)/sqrt(count) + sqrt(N) 2^-1070.
    """
    count = math.prod(state.shape[axis] for axis in axes)
    mid = state.bounded_mid(xp).sum(axis=tuple(axis + 1 for axis in axes)) / count
    sizes = state.norms(xp)
    norm = sqrt_up(float_up(Fraction(1, count)))
    lost = times(root(np.asarray(float(state.size // count))), 2.0**-1070)
    rho = plus(moved(norm, state.rho), times(gamma(count + 1), norm, sizes), lost)
    # every partial sum is at most sqrt(count) ||M_i||
    top = times(2.0, sqrt_up(float(count)), sizes)
    return State(mid, np.where(np.isfinite(top), rho, np.inf), True, why=state.why)


def maximum(
    state: State,
    kernel: Sequence[int],
    strides: Sequence[int],
    padding: Sequence[tuple[int, int]],
    dilations: Sequence[int],
    xp: Any,
) -> State:
    """Take maxima over windows of the last axes; exact at the midpoint, padding never counts.

    Error bound:
        sqrt(overlap) rho_i: a maximum moves by at most the largest move in its window, and an
        entry lies in at most ``overlap`` windows. A window of padding only has no maximum: +inf.
    """
    rank = len(kernel)
    mid = state.bounded_mid(xp)
    amounts = [(0, 0)] * (mid.ndim - rank) + [tuple(pair) for pair in padding]
    padded = xp.pad(mid, amounts, constant_values=-math.inf) if any(map(sum, padding)) else mid
    out = [
        (size - (k - 1) * d - 1) // s + 1
        for size, k, s, d in zip(padded.shape[-rank:], kernel, strides, dilations, strict=True)
    ]
    found = None
    for tap in np.ndindex(*kernel):
        part = padded[
            (
                ...,
                *(
                    slice(t * d, t * d + (size - 1) * s + 1, s)
                    for t, d, s, size in zip(tap, dilations, strides, out, strict=True)
                ),
            )
        ]
        found = part.copy() if found is None else xp.maximum(found, part, out=found)
    times_read = math.prod(
        overlap(k, s, d) for k, s, d in zip(kernel, strides, dilations, strict=True)
    )
    return _exact_at_midpoint(found, state, times_read, xp)


def adaptive_maximum(state: State, axes: Sequence[Windows], xp: Any) -> State:
    """Take maxima over the windows of each of the last axes."""
    mid, times_read = state.bounded_mid(xp), 1
    for place, found in enumerate(reversed(axes)):
        axis = mid.ndim - 1 - place
        before = (slice(None),) * axis
        parts = [mid[(*before, slice(w.start, w.stop))].max(axis=axis) for w, _ in found]
        mid = xp.stack(parts, axis=axis)
        reads = [sum(j in w for w, _ in found) for j in range(found[-1][0].stop)]
        times_read *= max(reads)
    return _exact_at_midpoint(mid, state, times_read, xp)


def _exact_at_midpoint(mid: Any, state: State, times_read: int, xp: Any) -> State:
    after = State(mid, moved(sqrt_up(float(times_read)), state.rho), True, why=state.why)
    bad = ~np.isfinite(after.norms(xp))
    if bad.any():
        after.rho = np.where(bad, np.inf, after.rho)
        after.why = after.why or "a window holds padding only, or a value is out of range"
    return after

"""Piecewise linear activations, one hidden layer: the ball on which no unit crosses a kink.

On a ball of radius R < R_pat about the stored weights every preactivation stays strictly between
two kinks: it moves by at most R ||x~_i|| < |p_ik - kink|. There f is a polynomial of degree 2 in
the weights, D^2 f[u, v]_(i,o) = sum_k s_ik (uc_ok vw_k.x~_i + vc_ok uw_k.x~_i) with fixed slopes,
of norm at most max|slope| ||X~||. A sample with x~_i = 0 has preactivation 0 for all weights: its
outputs and gradients do not depend on them in the inner layer, and it never crosses a kink.
"""

from __future__ import annotations

import math
from fractions import Fraction
from typing import Any

import numpy as np

from verify.enclosure import Enclosure, Endpoint
from verify.errors import InputError
from verify.evidence import Evidence
from verify.network.activation import Activation
from verify.verdict import Truth
from verify_kernels._rounding import Array, down_array, gamma, up_array
from verify_kernels.activation_analysis import analyse
from verify_kernels.forward.inputs import Inputs
from verify_kernels.forward.radii import plus, row_norms, times
from verify_kernels.jacobian_lipschitz.features import lipschitz_of_features
from verify_kernels.jacobian_lipschitz.parts import (
    Layers,
    Network,
    checked,
    multiplicity,
    sample_norms,
    samples,
)
from verify_kernels.matrix import MatrixEnclosure
from verify_kernels.spectral_norm import PRODUCTS
from verify_kernels.two_layer.intervals import root_above, root_below

BLOCK = 2**22
_EXACT = 4096
"""Pairs (sample, unit) that are looked at in rational numbers."""


def kinks_of(activation: Activation) -> tuple[Enclosure, ...] | None:
    """Return where a piecewise linear activation bends, or None if it is not proved to be one."""
    facts = analyse(activation)
    second = facts.sup_abs(2)
    straight = second.finite is Truth.PROVED and second.value.hi == 0
    if facts.defined is not Truth.PROVED or not straight or facts.period is not None:
        return None
    if facts.sup_abs(1).finite is not Truth.PROVED:
        return None
    if facts.smooth is Truth.PROVED:
        return ()
    if facts.smooth is not Truth.REFUTED or facts.order is None or facts.order < 0:
        return None
    return tuple(kink.place for kink in facts.kinks)


def pattern_radius(network: Network, inputs: Inputs, *, precise: bool = False) -> Evidence:
    """Enclose R_pat = min over samples, units and kinks of |w_k . x~_i - kink| / ||x~_i||.

    Floats find the pairs that may attain the minimum; those are computed in rational numbers, so
    that a unit exactly on a kink gives exactly 0 and no other does.

    Args:
        network: one hidden layer.
        inputs: n >= 1 samples; those with x~_i = 0 never cross a kink and do not count.
        precise: look at every candidate in rational numbers, however many there are.

    Returns:
        Evidence of R_pat, to 128 bits; with more than 4096 candidates a lower bound from floats
        and precise is False, [lo, inf). [2^64, inf) where no unit can ever cross a kink.
        Unbounded, with the reason, for activations that are not proved piecewise linear and
        continuous and for deeper networks.

    Error bound:
        the exclusion of candidates uses |fl(X~ W^T) - p|_ik <= (gamma_{D+2} ||x~_i|| + ||rad_i||)
        ||w_k||; the computed norms are at least sqrt(4 D omega), which pays for underflow.

    Raises:
        InputError: no sample, or samples of another size.
    """
    layers = checked(network, inputs, 0, "pattern_radius")
    why = _why_open(network, layers)
    if why:
        return Evidence(Enclosure(0, math.inf), why_open=why)
    kinks = kinks_of(layers.activations[0]) or ()
    live = np.flatnonzero(_is_live(layers, inputs))
    if not kinks or not len(live):
        return Evidence(Enclosure(2**64, math.inf), how="no unit can cross a kink")
    candidates, floor = _candidates(layers, inputs, live, kinks, math.inf if precise else _EXACT)
    if len(candidates) > _EXACT and not precise:
        return Evidence(Enclosure(floor, math.inf), assumes=(PRODUCTS,), how="bounds in floats")
    lo, hi = _least(layers, inputs, kinks, candidates)
    how = "distances to the kinks, the least ones in rational numbers"
    return Evidence(Enclosure(lo, hi), assumes=(PRODUCTS,), how=how)


def pattern_lipschitz(network: Network, inputs: Inputs, *, precise: bool = False) -> Evidence:
    """Bound the Lipschitz constant of J on balls of radius < R_pat: max|slope| ||X~||.

    Args:
        network: one hidden layer, a piecewise linear activation.
        inputs: n >= 1 samples.
        precise: enclose from both sides, in balls.

    Returns:
        Evidence whose value is [lo, hi], hi a valid constant; +inf, with the reason, elsewhere.

    Error bound:
        that of `lipschitz_of_features`, which has the same value for one hidden layer.

    Raises:
        InputError: no sample, or samples of another size.
    """
    layers = checked(network, inputs, 0, "pattern_lipschitz")
    why = _why_open(network, layers)
    if why:
        return Evidence(Enclosure(0, math.inf), why_open=why)
    found = lipschitz_of_features(network, inputs, 0, precise=precise)
    how = "largest slope times the norm of the samples, inside one pattern"
    return Evidence(found.value, assumes=found.assumes, how=how, why_open=found.why_open)


def _why_open(network: Network, layers: Layers) -> str:
    if multiplicity(network) > 1:
        return "tensors that share their entries"
    if not layers.has_one_hidden:
        return "more than one hidden layer"
    activation = layers.activations[0]
    if kinks_of(activation) is None:
        return f"{activation} is not proved to be continuous and piecewise linear"
    return ""


def _is_live(layers: Layers, inputs: Inputs) -> Any:
    if layers.biases[0] is not None:
        return np.ones(inputs.count, dtype=bool)
    return np.asarray(inputs.values.reshape(inputs.count, -1).any(axis=1))


def _candidates(
    layers: Layers, inputs: Inputs, live: Any, kinks: tuple[Enclosure, ...], most: float
) -> tuple[list[tuple[int, int]], float]:
    """Return the pairs that may attain the minimum, some if there are more than ``most``.

    And a lower bound of the minimum.
    """
    X = samples(inputs, with_one=layers.biases[0] is not None)
    m = len(layers.weights[0])
    if X is None:
        return [(int(i), k) for i in live for k in range(m)], 0.0
    kept = MatrixEnclosure(X.mid[live], None if X.rad is None else X.rad[live])
    W, best = layers.augmented(), math.inf
    lows: list[tuple[slice, Array]] = []
    size = max(1, BLOCK // len(live))
    for first in range(0, m, size):
        part = slice(first, min(m, first + size))
        low, high = _distances(kept, W[part], kinks)
        best = min(best, float(high.min()))
        keep = low <= best
        lows.append((part, np.where(keep, low, np.inf)))
    pairs = []
    for part, low in lows:
        rows, columns = np.nonzero(low <= best)
        pairs += [(int(live[i]), part.start + int(k)) for i, k in zip(rows, columns, strict=True)]
        if len(pairs) > most:
            break
    floor = min(float(low.min()) for _, low in lows)
    return pairs, floor


def _distances(X: MatrixEnclosure, W: Array, kinks: tuple[Enclosure, ...]) -> tuple[Array, Array]:
    """Bound the least distance to a kink over ||x~_i|| from below and above, shape (n, k)."""
    D = W.shape[1]
    with np.errstate(all="ignore"):
        mid = X.mid @ W.T
        rows, weights = sample_norms(X), row_norms(W)
        slip = times(gamma(D + 2), rows)
        if X.rad is not None:
            slip = plus(slip, row_norms(X.rad))
        away = times(slip[:, None], weights[None, :])
        low, high = np.full(mid.shape, np.inf), np.full(mid.shape, np.inf)
        for kink in kinks:
            left, right = kink.lo_float, kink.hi_float
            gap = np.maximum(down_array(left - mid), down_array(mid - right))
            low = np.minimum(low, np.maximum(down_array(gap - away), 0.0))
            far = np.maximum(up_array(right - mid), up_array(mid - left))
            high = np.minimum(high, up_array(far + away))
        unknown = ~np.isfinite(mid)
        low = np.where(unknown, 0.0, np.maximum(down_array(low / rows[:, None]), 0.0))
        least = _least_norms(X)
        high = np.where(unknown | (least[:, None] <= 0.0), np.inf, up_array(high / least[:, None]))
    return np.where(np.isnan(low), 0.0, low), high


def _least_norms(X: MatrixEnclosure) -> Array:
    """Bound the norms of the rows from below by their largest entry."""
    top = np.abs(X.mid).max(axis=1)
    return top if X.rad is None else np.maximum(down_array(top - X.rad.max(axis=1)), 0.0)


def _least(
    layers: Layers, inputs: Inputs, kinks: tuple[Enclosure, ...], pairs: list[tuple[int, int]]
) -> tuple[Endpoint, Endpoint]:
    """Return the least distance over the pairs, from squares in rational numbers."""
    values = inputs.values.reshape(inputs.count, -1)
    weight, bias = layers.weights[0], layers.biases[0]
    best_lo, best_hi = Fraction(-1), Fraction(-1)
    held: dict[int, tuple[list[Fraction], Fraction]] = {}
    for i, k in sorted(pairs):
        if i not in held:
            x = [Fraction(v) / inputs.divisor for v in values[i].tolist()]
            held[i] = x, sum((v * v for v in x), Fraction(bias is not None))
        x, length = held[i]
        p = sum((Fraction(w) * v for w, v in zip(weight[k].tolist(), x, strict=True)), Fraction(0))
        p += 0 if bias is None else Fraction(float(bias[k]))
        for kink in kinks:
            near, far = _between(p, kink)
            lo, hi = near * near / length, far * far / length
            best_lo = lo if best_lo < 0 else min(best_lo, lo)
            best_hi = hi if best_hi < 0 else min(best_hi, hi)
    return root_below(best_lo), root_above(best_hi)


def _between(p: Fraction, kink: Enclosure) -> tuple[Fraction, Fraction]:
    if not (isinstance(kink.lo, Fraction) and isinstance(kink.hi, Fraction)):
        raise InputError(f"pattern_radius: expected kinks at finite places, but got {kink!r}")
    near = max(kink.lo - p, p - kink.hi, Fraction(0))
    return near, max(abs(p - kink.lo), abs(p - kink.hi))

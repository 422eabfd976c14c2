"""One hidden layer: f(x) = sum_k c_k s(w_k . x~), with columns c_k of the outer matrix, k outputs.

The second derivative in directions u, v is a sum over neurons. With outputs o and samples i,

    D^2 f[u, v]_(i,o) = sum_k s'_ik (uc_ok vw_k.x~_i + vc_ok uw_k.x~_i)
                        + c_ok s''_ik (uw_k.x~_i)(vw_k.x~_i),

and the Frobenius norm over (i, o) of the three parts of neuron k is at most P_k |uc_k||vw_k|,
P_k |vc_k||uw_k| and Q_k |uw_k||vw_k|: the arrays are products of a vector over the outputs and
one over the samples, of norms |uc_k| and ||diag(s'_k) X~ vw_k||, or |c_k| and that of the products.
So neuron k has the norm of [[0, P_k], [P_k, Q_k]], which is (Q_k + sqrt(Q_k^2 + 4 P_k^2))/2, and
Cauchy's inequality over the neurons leaves the largest one. Along a segment in the ball of
radius R every preactivation stays within R ||x~_i|| of its stored value and |c_k| within R.
The outer bias enters with constant derivatives. Where s'' is missing at isolated points the
Jacobian is still Lipschitz: preactivations are affine along a segment.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import numpy as np

from verify.enclosure import Enclosure
from verify.network.activation import Activation
from verify_kernels._rounding import Array, gamma
from verify_kernels.forward.inputs import Inputs
from verify_kernels.forward.radii import plus, root, row_norms, times
from verify_kernels.jacobian_lipschitz import two_layer_balls
from verify_kernels.jacobian_lipschitz.norms import ScaledNorms, larger_root, norm_of
from verify_kernels.jacobian_lipschitz.parts import (
    Layers,
    Network,
    checked,
    radius_up,
    sample_norms,
    samples,
)
from verify_kernels.jacobian_lipschitz.suprema import float_suprema, suprema
from verify_kernels.matrix import MatrixEnclosure

BLOCK = 2**22
"""Entries (sample, neuron) that are held at a time."""
WORK = 30_000_000_000
"""Multiplications that close bounds of norms may cost."""
_TIGHT = 8
_TOGETHER = 32


def two_layer_simple(
    network: Network, inputs: Inputs, R: Fraction | int, *, precise: bool = False
) -> Enclosure:
    """Bound the Lipschitz constant by ||X~|| (A + sqrt(A^2 + 4 p1^2))/2.

    A = (max_k |c_k| + R) p2 max_i ||x~_i||, p1 = sup |s'|, p2 = sup |s''|, c_k column k of the
    outer matrix, x~ = (x, 1) with inner biases. Independent of the width. Proof: head of file.

    Args:
        network: one hidden layer, any number of outputs.
        inputs: n >= 1 samples.
        R: radius of the ball about the stored weights, exact, >= 0.
        precise: enclose from both sides, in balls.

    Returns:
        An enclosure of the formula, [0, hi] in floats; hi is +inf where s' is not proved Lipschitz
        or a number leaves the range of binary64.

    Error bound:
        every operation rounded outward; ||X~|| as in `enclose_spectral_norm`.

    Raises:
        InputError: deeper networks, no sample, samples of another size, a radius that is no
            exact number >= 0.
    """
    layers = checked(network, inputs, R, "two_layer_simple")
    layers.require_one_hidden("two_layer_simple")
    if suprema(layers.activations[0]).why_open:
        return Enclosure(0, math.inf)
    if precise:
        return two_layer_balls.simple(layers, inputs, Fraction(R))
    known = _Known.of(layers, inputs, R)
    return Enclosure(0, math.inf) if known is None else Enclosure(0, known.simple())


def two_layer_refined(
    network: Network, inputs: Inputs, R: Fraction | int, *, precise: bool = False
) -> Enclosure:
    """Bound the Lipschitz constant by max_k (Q_k + sqrt(Q_k^2 + 4 P_k^2))/2.

    P_k = ||diag_i(d1_ik) X~||, d1 and d2 the suprema of |s'| and |s''| over the preactivations
    p_ik -+ R ||x~_i||, C_ik = (|c_k| + R) d2_ik and Q_k the lesser of max_i(C_ik ||x~_i||) ||X~||
    and max_i(sqrt(C_ik) ||x~_i||) ||diag_i(sqrt C_ik) X~||. Proof: head of file.

    Args:
        network: one hidden layer, any number of outputs.
        inputs: n >= 1 samples.
        R: radius of the ball about the stored weights, exact, >= 0.
        precise: enclose from both sides, in balls.

    Returns:
        An enclosure of the formula, [0, hi] in floats. Norms that cannot decide the maximum are
        only bounded cheaply; for data too large for `WORK` multiplications hi may be as large as
        with ||diag(s) X~|| <= max(s) ||X~||.

    Error bound:
        |fl(X~ W^T) - p|_ik <= gamma_{D+2} ||x~_i|| ||w_k|| + ||rad_i|| ||w_k||, added to R ||x~_i||
        (the computed norms are at least sqrt(4 D omega), which pays for underflow); suprema by
        interval arithmetic; norms as in `ScaledNorms.close`.

    Raises:
        InputError: as `two_layer_simple`.
    """
    layers = checked(network, inputs, R, "two_layer_refined")
    layers.require_one_hidden("two_layer_refined")
    if suprema(layers.activations[0]).why_open:
        return Enclosure(0, math.inf)
    known = _Known.of(layers, inputs, R)
    if precise:
        ahead = None if known is None else known.neurons()
        return two_layer_balls.refined(layers, inputs, Fraction(R), ahead)
    return Enclosure(0, math.inf) if known is None else Enclosure(0, known.refined())


@dataclass(eq=False)
class _Known:
    """Upper bounds in floats of what both formulas read.

    Args:
        X: X~.
        W: inner weights with biases, shape (m, D).
        activation: s.
        R: the radius.
        rows: ||x~_i||, shape (n,).
        reach: |c_k| + R, shape (m,).
        norm: ||X~||.
    """

    X: MatrixEnclosure
    W: Array
    activation: Activation
    R: float
    rows: Array
    reach: Array
    norm: float
    scaled: ScaledNorms

    @classmethod
    def of(cls, layers: Layers, inputs: Inputs, R: Fraction | int) -> _Known | None:
        X = samples(inputs, with_one=layers.biases[0] is not None)
        if X is None:
            return None
        rows, radius, norm = sample_norms(X), radius_up(R), norm_of(X)
        readout = layers.weights[1]
        columns = np.abs(readout[0]) if len(readout) == 1 else row_norms(readout.T)
        scaled = ScaledNorms(X, norm, rows)
        reach = plus(columns, radius)
        W, sigma = layers.augmented(), layers.activations[0]
        return cls(X, W, sigma, radius, rows, reach, norm, scaled)

    def simple(self) -> float:
        facts = suprema(self.activation)
        p1, p2 = facts.first.hi_float, facts.second.hi_float
        A = float(times(float(self.reach.max()), p2, float(self.rows.max())))
        return float(times(self.norm, larger_root(p1, A)))

    def refined(self) -> float:
        """Lower the bounds of the neurons that may decide, the largest first."""
        P, Q, bounds = self.neurons()
        budget, best = WORK, 0.0
        order = np.argsort(-bounds, kind="stable")
        for first in range(0, len(order), _TOGETHER):
            chosen = order[first : first + _TOGETHER]
            if bounds[chosen[0]] <= best or budget <= 0 or not math.isfinite(bounds[chosen[0]]):
                break
            flat, curved = self._scales(chosen)
            for k, s, c in zip(map(int, chosen), flat.T, curved.T, strict=True):
                if bounds[k] > best:
                    bounds[k] = self._close(s, c, float(P[k]), float(Q[k]), best)
                    budget -= 2 * self.scaled.work
                if bounds[k] > best:
                    bounds[k] = self._tight(s, c, P[k], Q[k])
                    best = max(best, float(bounds[k]))
                    budget -= _TIGHT * self.scaled.work
        return float(bounds.max())

    def _tight(self, flat: Array, curved: Array, p: float, q: float) -> float:
        spread = root(curved)
        behind = self.scaled.tight(spread, math.inf)
        front = np.max(times(spread, self.rows))
        return larger_root(self.scaled.tight(flat, p), min(q, float(times(front, behind))))

    def _close(self, flat: Array, curved: Array, p: float, q: float, best: float) -> float:
        """Lower p and q, the larger one first, until they are known to be below the best."""
        spread = root(curved)
        front = float(np.max(times(spread, self.rows)))
        for what in ("q", "p") if q > p else ("p", "q"):
            if what == "p":
                p = self.scaled.close(flat, p, math.sqrt(_product(best, best - q)))
            else:
                goal = (best - _ratio(p * p, best)) * (1.0 - 2.0**-30)
                norm = self.scaled.close(spread, math.inf, _ratio(goal, front))
                q = min(q, float(times(front, norm)))
            if larger_root(p, q) <= best:
                break
        return larger_root(p, q)

    def _scales(self, part: Any) -> tuple[Array, Array]:
        """Return upper bounds of d1 and of C for some neurons, shape (n, k)."""
        lo, hi = self._preactivations(part)
        first, second = float_suprema(self.activation, lo, hi)
        return first, times(second, self.reach[None, part])

    def _preactivations(self, part: Any) -> tuple[Array, Array]:
        W = self.W[part]
        D = W.shape[1]
        sizes = row_norms(W)
        with np.errstate(all="ignore"):
            mid = self.X.mid @ W.T
        slip = times(gamma(D + 2), self.rows)
        if self.X.rad is not None:
            slip = plus(slip, row_norms(self.X.rad))
        away = times(slip[:, None], sizes[None, :])
        away = plus(away, times(self.R, self.rows)[:, None])
        with np.errstate(all="ignore"):
            lo, hi = -plus(-mid, away), plus(mid, away)
        known = np.isfinite(lo) & np.isfinite(hi) & np.isfinite(mid)
        return np.where(known, lo, -math.inf), np.where(known, hi, math.inf)

    def neurons(self) -> tuple[Array, Array, Array]:
        """Return cheap bounds of P_k, Q_k, and of their roots, shape (m,) each."""
        m = len(self.W)
        P, Q = np.empty(m), np.empty(m)
        for part in _blocks(m, len(self.rows)):
            first, curved = self._scales(part)
            P[part] = self.scaled.cheap(first, first.max(axis=0))
            front = times(curved, self.rows[:, None]).max(axis=0)
            spread = root(curved)
            behind = self.scaled.cheap(spread, spread.max(axis=0))
            product = times(times(spread, self.rows[:, None]).max(axis=0), behind)
            Q[part] = np.minimum(times(front, self.norm), product)
        return P, Q, _roots(P, Q)


def _blocks(m: int, n: int) -> Iterator[slice]:
    size = max(1, BLOCK // n)
    for first in range(0, m, size):
        yield slice(first, min(m, first + size))


def _product(a: float, b: float) -> float:
    """Return a little less than a b, 0 if that is negative; a hint."""
    return max(a * b, 0.0) * (1.0 - 2.0**-30)


def _ratio(a: float, b: float) -> float:
    """Return roughly a / b, 0 where that is no positive number; a hint."""
    return a / b if a > 0.0 and b > 0.0 else 0.0


def _roots(P: Array, Q: Array) -> Array:
    return np.array([larger_root(float(p), float(q)) for p, q in zip(P, Q, strict=True)])

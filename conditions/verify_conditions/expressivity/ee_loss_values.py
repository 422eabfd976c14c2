"""Losses of the last layer: values with rigorous bounds, gradients with bounded rounding errors.

A loss takes logits Q (n, k) and targets T (n, k) as stored binary64 numbers. `gradient` returns
the rows r_i = grad l(q_i, t_i) as computed, with a bound of the Frobenius norm of their error;
`enclose` returns an enclosure of the mean of l over the rows for every Q' with
||Q'_i - Q_i||_2 <= slack_i. All losses here have infimum 0.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from verify.enclosure import Enclosure
from verify.errors import InputError
from verify_kernels._rounding import (
    Array,
    U,
    add_up,
    div_up,
    down,
    down_array,
    gamma,
    mul_down,
    mul_up,
    norm_up,
    sqrt_up,
    sum_up,
    up,
    up_array,
)
from verify_kernels.elementary.arrays import exp, log1p, sigmoid, softplus

# Larger than every sum of results of exp that were lost below the range of binary64.
_LOST = 2.0**-1000
# Arguments of exp beyond this give results below 2^-1075.
_LONGEST = 746
# Margins of logits that are tried as points of comparison.
_HEIGHTS = (2.0, 4.0, 8.0, 12.0, 16.0, 24.0, 32.0)


class LossValues(Protocol):
    """What phase 2 needs of a loss beside its constants."""

    def targets(self, y: Any, outputs: int) -> Array:
        """Return the targets as an array (n, outputs)."""

    def aims(self, logits: Array, targets: Array) -> list[Array]:
        """Return logits of small loss, the least demanding first; they prove nothing."""

    def gradient(self, logits: Array, targets: Array) -> tuple[Array, float]:
        """Return the gradients of the rows, and a bound of their error in Frobenius norm."""

    def enclose(self, logits: Array, targets: Array, slack: Array) -> Enclosure:
        """Return the mean loss for all logits within ``slack`` of the given ones, row by row."""


@dataclass(frozen=True)
class Squares:
    """l = c |q - t|^2 with c = 1/2, or c = 1/m_y if ``mean`` (torch's MSELoss)."""

    mean: bool

    def targets(self, y: Any, outputs: int) -> Array:
        """Return y as (n, outputs)."""
        values = np.asarray(y, dtype=np.float64)
        values = values[:, None] if values.ndim == 1 and outputs == 1 else values
        return _fitting(values, outputs, "half-squares or mean-squares")

    def aims(self, logits: Array, targets: Array) -> list[Array]:
        """Return the targets, where the loss is 0."""
        return [targets]

    def gradient(self, logits: Array, targets: Array) -> tuple[Array, float]:
        """Return 2 c (Q - T).

        Error bound:
            one rounding for half-squares; for mean-squares a subtraction, the quotient 2/k and a
            product: 3 u + O(u^2) < 4 u of each entry. Where it is subnormal it loses 2^-1075,
            below u `norm_up`, which is at least 2^-510.
        """
        difference = logits - targets
        if not self.mean:
            return difference, mul_up(2.0 * U, norm_up(difference))
        rows = difference * (2.0 / logits.shape[1])
        return rows, mul_up(5.0 * U, norm_up(rows))

    def enclose(self, logits: Array, targets: Array, slack: Array) -> Enclosure:
        """Enclose the mean of c d_i^2, d_i = |q_i - t_i|_2 within slack_i of its value."""
        n, k = logits.shape
        squares = np.sum((logits - targets) ** 2, axis=1)
        # A square has relative error < 4 u (one rounding before, one after), a sum gamma_k more.
        growth = up(1.0 + up((k + 6) * U))
        high = up_array(np.sqrt(up_array(up_array(squares * growth) + _LOST)))
        least = np.where(np.isfinite(squares), squares, 0.0)
        low = down_array(np.sqrt(np.maximum(down_array(down_array(least / growth) - _LOST), 0.0)))
        high = up_array(high + slack)
        low = np.maximum(down_array(low - slack), 0.0)
        top = sum_up(up_array(high * high))
        bottom = _sum_down(np.maximum(down_array(low * low), 0.0))
        divisor = float(n * k if self.mean else 2 * n)
        return _between(max(0.0, down(bottom / divisor)), div_up(top, divisor))


class CrossEntropy:
    """l = log sum_j exp(q_j) - q_y with a class y; targets are rows of the unit matrix."""

    def targets(self, y: Any, outputs: int) -> Array:
        """Return classes as rows of the unit matrix."""
        classes = np.asarray(y)
        whole = classes.ndim == 1 and bool(np.all(classes == np.floor(classes)))
        if not whole or classes.min(initial=0) < 0 or classes.max(initial=0) >= outputs:
            raise InputError(
                f"cross-entropy: expected classes 0 ... {outputs - 1} of shape (n,), "
                f"but got shape {classes.shape}"
            )
        return np.asarray(np.eye(outputs)[classes.astype(np.int64)])

    def aims(self, logits: Array, targets: Array) -> list[Array]:
        """Return logits that put c more on the right class than on all others."""
        middle = logits.mean(axis=1, keepdims=True)
        return [middle + c * (targets - 1.0 / logits.shape[1]) for c in _HEIGHTS]

    def gradient(self, logits: Array, targets: Array) -> tuple[Array, float]:
        """Return softmax(q_i) - t_i.

        Error bound:
            q minus its largest entry, s, is rounded: p_j moves by p_j (e_j - sum_l p_l e_l) with
            |e_l| <= u |s_l|, in sum by at most 2 u sum p_l |s_l| <= 2 u log k, the entropy of p
            being log sum exp s_l + sum p_l |s_l|. exp has relative error 2 u, the sum of k
            positive numbers (k - 1) u, the quotient u of p in every entry, |p|_2 <= 1; the
            subtraction sqrt(2) u. In all (k + 2 log k + 4) u < (k + 9) 1.0625 u.
        """
        n, k = logits.shape
        powers = exp(logits - logits.max(axis=1, keepdims=True))
        rows = powers / powers.sum(axis=1, keepdims=True) - targets
        share = add_up((k + 10) * U * 1.0625, k * _LOST)
        return rows, mul_up(sqrt_up(float(n)), share)

    def enclose(self, logits: Array, targets: Array, slack: Array) -> Enclosure:
        """Enclose the mean of log1p(sum of the other exp(q_j - q_max)) + (q_max - q_y).

        Error bound:
            all terms are nonnegative, so relative errors do not grow: an argument s of exp with
            its rounding gives |s| u <= 746 u, exp 2 u, the sum k u, log1p (of condition at most
            1) 4 u, the last sum and difference 3 u. l is sqrt(2)-Lipschitz in q.
        """
        n, k = logits.shape
        rows = np.arange(n)
        top = logits.argmax(axis=1)
        largest = logits[rows, top]
        powers = exp(logits - largest[:, None])
        powers[rows, top] = 0.0
        values = log1p(powers.sum(axis=1)) + (largest - logits[rows, targets.argmax(axis=1)])
        relative = (_LONGEST + k + 20) * U * 1.0625
        return _mean(values, relative, k * _LOST, sqrt_up(2.0), slack)


class Logistic:
    """l = log(1 + exp(-y q)), y = -1 or 1."""

    def targets(self, y: Any, outputs: int) -> Array:
        """Return the signs as a column."""
        signs = np.asarray(y, dtype=np.float64).reshape(-1, 1)
        if outputs != 1 or not bool(np.all(np.abs(signs) == 1.0)):
            raise InputError(
                f"logistic: expected one output and targets -1 or 1, but got {outputs} outputs"
            )
        return signs

    def aims(self, logits: Array, targets: Array) -> list[Array]:
        """Return c y."""
        return [c * targets for c in _HEIGHTS]

    def gradient(self, logits: Array, targets: Array) -> tuple[Array, float]:
        """Return -y sigmoid(-y q).

        Error bound:
            4.5 u of each entry, and 2^-1074 below the normal range: less than u `norm_up`.
        """
        rows = -targets * sigmoid(-targets * logits)
        return rows, mul_up(5.0 * U, norm_up(rows))

    def enclose(self, logits: Array, targets: Array, slack: Array) -> Enclosure:
        """Enclose the mean of softplus(-y q); relative error 7.25 u, 1-Lipschitz in q."""
        values = softplus(-targets * logits)[:, 0]
        return _mean(values, 9.0 * U, _LOST, 1.0, slack)


VALUES: Mapping[str, LossValues] = {
    "half-squares": Squares(mean=False),
    "mean-squares": Squares(mean=True),
    "cross-entropy": CrossEntropy(),
    "logistic": Logistic(),
}
"""Losses for which phase 2 is certified, by the names of the table of constants."""


def loss_values(name: str) -> LossValues:
    """Return the loss of that name.

    Raises:
        InputError: there is none.
    """
    if name not in VALUES:
        raise InputError(
            f"loss: expected one of {', '.join(VALUES)} (for phase 2), but got {name!r}"
        )
    return VALUES[name]


def _fitting(values: Array, outputs: int, where: str) -> Array:
    if values.ndim != 2 or values.shape[1] != outputs or not np.isfinite(values).all():
        raise InputError(
            f"{where}: expected finite targets of shape (n, {outputs}), but got {values.shape}"
        )
    return values


def _mean(values: Array, relative: float, absolute: float, slope: float, slack: Array) -> Enclosure:
    """Enclose the mean of l_i >= 0 from values of relative and absolute error, and the slack."""
    n = len(values)
    moved = mul_up(slope, sum_up(slack))
    total = sum_up(values)
    high = add_up(mul_up(total, up(1.0 + relative)), up(n * absolute), moved)
    lowest = mul_down(_sum_down(values), down(1.0 - relative))
    low = down(down(lowest - up(n * absolute)) - moved)
    return _between(max(0.0, down(low / n)), div_up(high, float(n)))


def _sum_down(values: Array) -> float:
    """Return a lower bound of a sum of numbers >= 0."""
    total = float(np.sum(values))
    return mul_down(total, down(1.0 - gamma(values.size + 1))) if math.isfinite(total) else 0.0


def _between(low: float, high: float) -> Enclosure:
    return Enclosure(low, high)

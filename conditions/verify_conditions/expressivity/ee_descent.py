r"""Gradient descent of the last layer with a bound of everything that rounding does to it.

J(V) = (1/n) sum_i l(V z_i, y_i), V = [W, b] (k, m), z_i the rows of the exact Z. Z is known by a
matrix M of floats with ||z_i - M_i||_2 <= r_i. A step is V <- V - a R^T M in binary64, R the
computed gradients of the rows at M V^T; it stands for the exact step V - alpha grad J(V) with
alpha = n a, since grad J = (1/n) R_exact^T Z. What is proved of a step:

    ||V_computed - (V - alpha grad J(V))||_F <= eps,

with eps from the norms of V, R and R^T M (`step`). alpha <= 1/L_V, so an exact step brings two
points no farther apart (J is convex, grad J Lipschitz with constant L_V), and after t steps the
computed V lies within E_t = sum of the eps of the exact iterate from the same start.

Underflow needs no terms of its own. A product of A (p, t) and B (t, q) loses at most t eta/2 in
an entry, t sqrt(pq) eta/2 in all; `norm_up` puts 4 N omega under its root, so that the norms used
have a product >= ||A|| ||B|| + 3 t sqrt(pq) omega, and gamma_t >= t u, u omega = eta/2.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from verify.enclosure import Enclosure
from verify.errors import InputError
from verify_conditions.expressivity.ee_loss_values import LossValues, loss_values
from verify_conditions.expressivity.losses import loss_named
from verify_kernels._rounding import (
    Array,
    U,
    add_up,
    div_down,
    float_down,
    float_up,
    gamma,
    mul_up,
    norm_up,
    sqrt_up,
    sum_squares_up,
    up,
    up_array,
)


@dataclass(frozen=True, eq=False)
class LastLayer:
    """The convex problem of phase 2.

    Args:
        features: M without the column of ones, (n, m_H), float64.
        row_radius: r, (n,), of the features.
        ones: whether Z has the column of ones.
        y: targets, as the loss takes them.
        outputs: k = m_y.
        loss: a name of `ee_loss_values.VALUES`.
        sigma_max: an upper bound of the largest singular value of the exact Z, or None.

    Raises:
        InputError: shapes that do not fit, a loss without certified values, wrong targets.
    """

    features: Array
    row_radius: Array
    ones: bool
    y: Array
    outputs: int
    loss: str
    sigma_max: float | None = None

    def __post_init__(self) -> None:
        n = len(self.features)
        targets = self.values.targets(self.y, self.outputs)
        if self.row_radius.shape != (n,) or len(targets) != n:
            raise InputError(
                f"LastLayer: expected radii and targets of {n} samples, but got shapes "
                f"{self.row_radius.shape} and {targets.shape}"
            )

    @cached_property
    def values(self) -> LossValues:
        """The loss."""
        return loss_values(self.loss)

    @cached_property
    def targets(self) -> Array:
        """Targets, (n, k)."""
        return self.values.targets(self.y, self.outputs)

    @cached_property
    def M(self) -> Array:
        """[features, 1_n] or the features."""
        n = len(self.features)
        parts = [self.features, np.ones((n, 1))] if self.ones else [self.features]
        return np.ascontiguousarray(np.hstack(parts), dtype=np.float64)

    @property
    def n(self) -> int:
        """Number of samples."""
        return len(self.features)

    @cached_property
    @np.errstate(all="ignore")
    def size(self) -> float:
        """An upper bound of ||M||_F."""
        return norm_up(self.M)

    @cached_property
    @np.errstate(all="ignore")
    def rho(self) -> float:
        """An upper bound of ||Z - M||_F."""
        return norm_up(self.row_radius)

    @cached_property
    @np.errstate(all="ignore")
    def largest(self) -> float:
        """An upper bound of the largest singular value of Z: the given one, or ||M||_F + rho."""
        plain = add_up(self.size, self.rho)
        return plain if self.sigma_max is None else min(plain, self.sigma_max)

    @cached_property
    def smoothness(self) -> float:
        """L_l, rounded up."""
        return float_up(loss_named(self.loss).smoothness_at(self.outputs))

    @cached_property
    def convexity(self) -> float:
        """The constant of strong convexity mu of l, rounded down; 0 where there is none."""
        mu = loss_named(self.loss).strong_convexity_at(self.outputs)
        return 0.0 if mu is None else float_down(mu)

    @cached_property
    def factor(self) -> float:
        """The a of a step: alpha = n a <= 1/L_V = n/(L_l sigma_max^2), rounded down."""
        return div_down(1.0, mul_up(self.smoothness, self.largest, self.largest))

    @cached_property
    @np.errstate(all="ignore")
    def row_sizes(self) -> Array:
        """Upper bounds of ||M_i||_2."""
        return np.array([norm_up(row) for row in self.M])

    @np.errstate(all="ignore")
    def logits(self, V: Array) -> Array:
        """Return M V^T, computed."""
        return np.asarray(self.M @ V.T)

    @np.errstate(all="ignore")
    def slack(self, V: Array) -> Array:
        """Bound ||V z_i - computed logits of row i||_2 for the exact z_i.

        Error bound:
            gamma_m |M_i||V|; r_i ||V|| for the exact features; ||V||_F bounds its spectral norm.
        """
        rounded = up_array(gamma(self.M.shape[1]) * self.row_sizes)
        return up_array(up_array(rounded + self.row_radius) * norm_up(V))

    @np.errstate(all="ignore")
    def enclose(self, V: Array) -> Enclosure:
        """Enclose J(V) at the exact features.

        Logits that left the range of binary64 say nothing: their slack is infinite.
        """
        Q = self.logits(V)
        slack = np.where(np.isfinite(Q).all(axis=1), self.slack(V), np.inf)
        return self.values.enclose(Q, self.targets, slack)

    @np.errstate(all="ignore")
    def step(self, V: Array) -> tuple[Array, float]:
        """Return V after a step, and a bound eps of its distance from the exact step.

        Error bound:
            logits: dQ = (gamma_m ||M||_F + rho) ||V||_F; rows: dR = L_l dQ + the loss's own bound;
            R^T M: gamma_n ||R||_F ||M||_F + rho ||R||_F + sigma_max dR; times a; the product by a
            and the difference u each (its underflow is below u norm_up). Any summation order.
            Logits that left the range of binary64: ||M||_F ||V||_F >= 2^1023, so dR > 2^960
            exceeds any error of a bounded gradient, and rows of squares are infinite or NaN.
        """
        n, m = self.M.shape
        Q = self.logits(V)
        R, own = self.values.gradient(Q, self.targets)
        G = R.T @ self.M
        moved = V - self.factor * G
        dQ = mul_up(add_up(mul_up(gamma(m), self.size), self.rho), norm_up(V))
        dR = add_up(mul_up(self.smoothness, dQ), own)
        rows = norm_up(R)
        dG = add_up(mul_up(gamma(n), rows, self.size), mul_up(self.rho, rows),
                    mul_up(self.largest, dR))  # fmt: skip
        rounding = mul_up(up(2.0 * U), add_up(mul_up(self.factor, norm_up(G)), norm_up(moved)))
        return moved, add_up(mul_up(self.factor, dG), rounding)


@np.errstate(all="ignore")
def distance_up(V: Array, other: Array) -> float:
    """Return an upper bound of ||V - other||_F."""
    difference = V - other
    return mul_up(sqrt_up(sum_squares_up(difference)), up(1.0 + 4.0 * U))

"""Exactly one equilibrium in a box, by the Krawczyk operator with secant slopes.

For F(z) = z - s(W z + b), a point z~ of the box Z, any matrix C, and D running through the
diagonal matrices of secant slopes on W Z + b,

    K(Z) = z~ - C F(z~) + (I - C (I - [D] W)) (Z - z~).

K(Z) in the interior of Z proves: Z holds exactly one zero of F. The point z~ must lie in Z: only
then are the slopes between z~ and the points of Z among [D].
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from verify.errors import InputError
from verify.network.activation import Activation
from verify_kernels._rounding import Array, U, down_array, gamma, tau, up_array
from verify_kernels.equilibrium_residual import residuals
from verify_kernels.interval_affine import enclose_affine, product_bound, slope_interval
from verify_kernels.matrix import MatrixEnclosure
from verify_kernels.self_test import check_arithmetic


@dataclass(frozen=True, eq=False)
class Box:
    """A box that holds exactly one equilibrium, and the point it was proved from."""

    lower: Array
    upper: Array


def holds_one_equilibrium(
    weight: MatrixEnclosure,
    activation: Activation,
    bias: Array,
    z_tilde: Array,
    lower: Array,
    upper: Array,
    *,
    bias_radius: Array | None = None,
) -> bool:
    """Return True only if the box holds exactly one z = s(W z + b), for every W and b enclosed.

    Args:
        weight: W, shape (m, m).
        activation: s.
        bias: b, shape (m,).
        z_tilde: a point; False if it is not in the box.
        lower: of the box, shape (m,).
        upper: of the box, shape (m,).
        bias_radius: entrywise radius of b, or None.

    Error bound:
        with r >= |Z - z~| and X = fl(D~ W), |I - C (I - [D] W)| r is at most
        |fl(I - C + C X)| r + (gamma_m |C||X| + 3u(|I| + |C| + |C X|)) r
        + |C| (u |X| + |D - D~| |W| + |D~| rad W) r + underflow terms.

    Raises:
        InputError: shapes that do not fit. BackendError: the arithmetic failed its self-test.

    Source: R. Krawczyk, Computing 4 (1969); with slopes as in A. Neumaier, *Interval methods for
    systems of equations* (1990), chapter 5.
    """
    m = weight.shape[0]
    shapes = {bias.shape, z_tilde.shape, lower.shape, upper.shape}
    if weight.shape != (m, m) or shapes != {(m,)}:
        raise InputError(
            f"holds_one_equilibrium: expected W (m, m) and vectors (m,), but got {weight.shape} "
            f"and {shapes!r}"
        )
    if not ((lower <= z_tilde) & (z_tilde <= upper)).all():
        return False  # the operator proves nothing about a box without z~
    operator = _Operator(weight, activation, bias, bias_radius, z_tilde)
    with np.errstate(over="ignore", invalid="ignore"):
        radius = up_array(np.maximum(upper - z_tilde, z_tilde - lower))
        reach = operator.reach(radius)
        below, above = down_array(z_tilde - reach), up_array(z_tilde + reach)
    return bool(((below > lower) & (above < upper)).all())


def find_box(
    weight: MatrixEnclosure,
    activation: Activation,
    bias: Array,
    z_tilde: Array,
    *,
    bias_radius: Array | None = None,
    attempts: int = 6,
) -> Box | None:
    """Return a small box around z~ that is proved to hold exactly one equilibrium, or None.

    The radius starts from |C F(z~)| and is inflated; `holds_one_equilibrium` states the proof.
    """
    if not np.isfinite(z_tilde).all():
        return None
    operator = _Operator(weight, activation, bias, bias_radius, z_tilde)
    if not operator.usable:
        return None
    with np.errstate(over="ignore", invalid="ignore"):
        return _inflate(operator, z_tilde, attempts)


def _inflate(operator: _Operator, z_tilde: Array, attempts: int) -> Box | None:
    """Grow the radius until the operator maps the box into its interior."""
    floor = 2.0**-50 * np.maximum(np.abs(z_tilde), 2.0**-900)
    radius = 2.0 * operator.start + floor
    for _ in range(attempts):
        reach = operator.reach(radius)
        if not np.isfinite(reach).all():
            return None
        lower, upper = down_array(z_tilde - radius), up_array(z_tilde + radius)
        outer = up_array(np.maximum(upper - z_tilde, z_tilde - lower))
        if (reach < radius).all():
            reach = operator.reach(outer)
            inside = (down_array(z_tilde - reach) > lower) & (up_array(z_tilde + reach) < upper)
            if inside.all():
                return Box(lower, upper)
        radius = np.maximum(1.5 * reach, radius) + floor
    return None


class _Operator:
    """C, D~ and the pieces of the Krawczyk bound that do not depend on the box."""

    def __init__(
        self,
        weight: MatrixEnclosure,
        activation: Activation,
        bias: Array,
        bias_radius: Array | None,
        z_tilde: Array,
    ) -> None:
        check_arithmetic()
        self.weight, self.activation, self.z = weight, activation, z_tilde
        m = weight.shape[0]
        radius = None if bias_radius is None else bias_radius[None, :]
        affine = enclose_affine(z_tilde[None, :], weight, bias[None, :], radius)
        self.v, self.v_radius = affine[0][0], affine[1][0]
        rho, rho_radius = residuals(weight, activation, bias[None, :], radius, z_tilde[None, :])
        low, high = slope_interval(activation, self.v, self.v)
        with np.errstate(all="ignore"):
            self.slopes = np.where(np.isfinite(low + high), 0.5 * (low + high), 0.0)
            self.scaled = self.slopes[:, None] * weight.mid
            self.C = _approximate_inverse(np.eye(m) - self.scaled)
            self.usable = bool(np.isfinite(self.C).all())
            self.absolute = np.abs(self.C)
            self.start = self._times(self.absolute, up_array(np.abs(rho[0]) + rho_radius[0]))
            product = self.C @ self.scaled
            self.defect = np.abs(np.eye(m) - self.C + product)
            self.product = np.abs(product)
        self.usable = self.usable and bool(np.isfinite(self.defect).all())
        self.reach_of_weight = np.abs(weight.mid)
        if weight.rad is not None:
            self.reach_of_weight = up_array(self.reach_of_weight + weight.rad)
        self.lost = 4.0 * tau(m, _largest(self.C), _largest(self.scaled))

    @staticmethod
    def _times(matrix: Array, vector: Array) -> Array:
        bound: Array = product_bound(vector[None, :], matrix)[0]
        return bound

    def reach(self, radius: Array) -> Array:
        """Return an upper bound of |K(Z) - z~| for |Z - z~| <= radius; +inf if not usable."""
        m = len(radius)
        if not self.usable:
            return np.full(m, np.inf)
        with np.errstate(over="ignore", invalid="ignore"):
            moved = self._times(self.reach_of_weight, radius)
            spread = up_array(self.v_radius + moved)
            low, high = slope_interval(
                self.activation, down_array(self.v - spread), up_array(self.v + spread)
            )
            wide = up_array(np.maximum(high - self.slopes, self.slopes - low))
            inner = up_array(np.maximum(wide, 0.0) * moved)
            rounding = self._times(np.abs(self.scaled), radius)
            inner = up_array(inner + up_array(2.0 * U * rounding + self.lost * np.sum(radius)))
            if self.weight.rad is not None:
                shaken = self._times(self.weight.rad, radius)
                inner = up_array(inner + up_array(np.abs(self.slopes) * shaken))
            total = up_array(self.start + self._times(self.defect, radius))
            total = up_array(total + self._times(self.absolute, inner))
            errors = up_array(gamma(m + 2) * self._times(self.absolute, rounding))
            sizes = up_array(radius + self._times(self.absolute, radius))
            sizes = up_array(sizes + self._times(self.product, radius))
            total = up_array(up_array(total + errors) + up_array(4.0 * U * sizes))
            return up_array(total + up_array(self.lost * np.sum(radius) * (1.0 + 4.0 * m * U)))


def _largest(values: Array) -> float:
    return float(np.max(np.abs(values))) if values.size else 0.0


def _approximate_inverse(matrix: Array) -> Array:
    try:
        return np.asarray(np.linalg.inv(matrix), dtype=np.float64)
    except np.linalg.LinAlgError:
        return np.full(matrix.shape, np.nan)

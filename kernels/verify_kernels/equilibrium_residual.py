"""Distance from an approximate equilibrium to the true one, given a global proof.

Each global proof of well-posedness comes with a modulus that turns the residual
rho = z~ - s(W z~ + b) of any z~ into a bound of its distance to the equilibrium.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from fractions import Fraction
from typing import Literal

import numpy as np

from verify.enclosure import Enclosure
from verify.errors import InputError
from verify.network.activation import Activation
from verify_kernels._rounding import (
    Array,
    U,
    add_up,
    div_up,
    down,
    float_down,
    float_up,
    gamma,
    mul_up,
    up_array,
)
from verify_kernels.interval_affine import enclose_activation, enclose_affine, product_bound
from verify_kernels.matrix import MatrixEnclosure
from verify_kernels.slopes import slope_class

Kind = Literal["contraction", "weighted", "measure", "monotone", "diagonal"]


@dataclass(frozen=True, eq=False)
class Modulus:
    """A proved constant of W that bounds distances by residuals.

    Args:
        kind: which constant.

            * ``"contraction"``: z -> s(W z + b) contracts the Euclidean norm by ``value`` = q < 1
              (q >= L ||W||, L the largest |slope|). ||z~ - z|| <= ||rho|| / (1 - q).
            * ``"weighted"``: it contracts max_i |x_i| / eta_i by ``value`` = q < 1.
            * ``"measure"``: W_ii + sum_{j != i} |W_ij| eta_j / eta_i <= ``value`` = mu < 1 and
              slopes in [0, 1]. max |z~ - z|_i / eta_i <= max |rho_i| / eta_i / (1 - max(0, mu)).
            * ``"monotone"``: I - (W + W^T)/2 >= ``value`` = mu > 0 and slopes in [0, 1].
              ||z~ - z|| <= ||rho|| + ||W rho|| / mu.
            * ``"diagonal"``: Lam (I - W) + transpose >= 2 mu Lam for Lam = diag(``eta``),
              ``value`` = mu > 0 and slopes in [0, 1]. The same in ||x||_Lam = sqrt(x^T Lam x).
        value: q or mu, exact, already on the safe side.
        eta: positive floats, shape (m,), for the kinds that name it.
    """

    kind: Kind
    value: Fraction
    eta: Array | None = None

    def __post_init__(self) -> None:
        shrinks = self.kind in ("contraction", "weighted", "measure")
        if (shrinks and not self.value < 1) or (not shrinks and not self.value > 0):
            raise InputError(
                f"Modulus: expected {'a value < 1' if shrinks else 'a value > 0'} for kind "
                f"{self.kind!r}, but got {self.value!r}"
            )
        if self.kind in ("contraction", "weighted") and self.value < 0:
            raise InputError(f"Modulus: expected a factor q >= 0, but got {self.value!r}")
        needs = self.kind in ("weighted", "measure", "diagonal")
        if needs and (self.eta is None or not usable_weights(self.eta)):
            raise InputError(
                f"Modulus: expected positive finite eta between 2^-400 and 2^400 for kind "
                f"{self.kind!r}, but got {self.eta!r}"
            )


def usable_weights(eta: Array) -> bool:
    """Return whether quotients by eta stay away from overflow and underflow."""
    return bool(np.isfinite(eta).all() and (eta >= 2.0**-400).all() and (eta <= 2.0**400).all())


def enclose_distance(
    weight: MatrixEnclosure,
    activation: Activation,
    bias_row: Array,
    z_tilde: Array,
    modulus: Modulus,
    *,
    bias_radius: Array | None = None,
) -> Enclosure:
    """Enclose max_i |z~_i - z_i| for the one equilibrium z of z = s(W z + b).

    Args:
        weight: W, shape (m, m).
        activation: s; its slopes must lie in [0, 1] for the kinds that say so.
        bias_row: b, shape (m,).
        z_tilde: the approximate equilibrium, shape (m,).
        modulus: the proved constant.
        bias_radius: entrywise radius of b, or None.

    Returns:
        [0, r], r from the residual and the modulus; unbounded where something overflowed.

    Raises:
        InputError: shapes that do not fit, slopes outside [0, 1] where the modulus needs them.
    """
    radius = None if bias_radius is None else bias_radius[None, :]
    bound = float(
        distance_bounds(weight, activation, bias_row[None, :], radius, z_tilde[None, :], modulus)[0]
    )
    return Enclosure(0, bound) if math.isfinite(bound) else Enclosure.unbounded()


def distance_bounds(
    weight: MatrixEnclosure,
    activation: Activation,
    bias: Array,
    bias_radius: Array | None,
    Z: Array,
    modulus: Modulus,
) -> Array:
    """Return upper bounds of max_i |z~_i - z_i| for every row of Z and bias, shape (n,).

    Raises:
        InputError: as in `enclose_distance`.
    """
    known, m = slope_class(activation), weight.shape[0]
    if modulus.kind in ("measure", "monotone", "diagonal") and not (
        known.alpha >= 0 and known.beta <= 1
    ):
        raise InputError(
            f"distance_bounds: expected slopes in [0, 1] for a modulus of kind "
            f"{modulus.kind!r}, but got {known.name} with [{known.alpha}, {known.beta}]"
        )
    if Z.shape != bias.shape or Z.shape[1] != m or weight.shape[1] != m:
        raise InputError(
            f"distance_bounds: expected Z and bias (n, m) with W (m, m), but got {Z.shape}, "
            f"{bias.shape} and {weight.shape}"
        )
    if modulus.eta is not None and modulus.eta.shape != (m,):
        raise InputError(
            f"distance_bounds: expected eta of shape ({m},), but got {modulus.eta.shape}"
        )
    mid, rad = residuals(weight, activation, bias, bias_radius, Z)
    with np.errstate(over="ignore", invalid="ignore"):
        size = up_array(np.abs(mid) + rad)
        if modulus.kind in ("monotone", "diagonal"):
            return _monotone(weight, mid, rad, size, modulus)
        return _contraction(size, modulus)


def residuals(
    weight: MatrixEnclosure,
    activation: Activation,
    bias: Array,
    bias_radius: Array | None,
    Z: Array,
) -> tuple[Array, Array]:
    """Enclose rho = z - s(W z + b) for every row z of Z; the radius is +inf where it overflowed.

    Error bound: that of s(W z + b), and u |fl| for the subtraction.
    """
    image, radius = enclose_activation(activation, *enclose_affine(Z, weight, bias, bias_radius))
    with np.errstate(over="ignore", invalid="ignore"):
        mid = Z - image
        rad = up_array(up_array(U * np.abs(mid)) + radius)
    broken = ~np.isfinite(mid) | ~np.isfinite(rad)
    return np.where(broken, 0.0, mid), np.where(broken, np.inf, rad)


def _contraction(size: Array, modulus: Modulus) -> Array:
    room = down(1.0 - float_up(max(modulus.value, Fraction(0))))
    factor = div_up(1.0, room)
    if modulus.kind == "contraction" or modulus.eta is None:
        return up_array(_row_norms(size) * factor)
    scaled = np.max(up_array(size / modulus.eta), axis=1, initial=0.0)
    widest = float(np.max(modulus.eta, initial=0.0))
    return up_array(up_array(scaled * factor) * widest)


def _monotone(
    weight: MatrixEnclosure, mid: Array, rad: Array, size: Array, modulus: Modulus
) -> Array:
    """||rho|| + ||W rho|| / mu in the Euclidean norm or in the norm of Lam = diag(eta).

    In the norm of Lam, |x_i| <= ||x||_Lam / sqrt(Lam_i).
    """
    finite = np.isfinite(rad)
    image, error = enclose_affine(np.where(finite, mid, 0.0), weight, np.zeros_like(mid))
    reach = np.abs(weight.mid) if weight.rad is None else up_array(np.abs(weight.mid) + weight.rad)
    spread = product_bound(np.where(finite, rad, 0.0), reach)
    moved = up_array(up_array(np.abs(image) + error) + spread)
    moved = np.where(finite.all(axis=1, keepdims=True), moved, np.inf)
    factor, least = div_up(1.0, float_down(modulus.value)), 1.0
    if modulus.kind == "diagonal" and modulus.eta is not None:
        root = up_array(np.sqrt(modulus.eta))
        size, moved = up_array(size * root), up_array(moved * root)
        least = div_up(1.0, down(math.sqrt(float(np.min(modulus.eta, initial=np.inf)))))
    total = up_array(_row_norms(size) + up_array(_row_norms(moved) * factor))
    return up_array(total * least)


def _row_norms(size: Array) -> Array:
    """Return upper bounds of the Euclidean norms of the rows of a nonnegative array.

    Each row is scaled by its largest entry, so that squares neither overflow nor vanish.
    """
    m = int(size.shape[1])
    largest = np.max(size, axis=1, initial=0.0)
    usable = np.isfinite(largest) & (largest > 0.0)
    scale = np.where(usable, largest, 1.0)
    with np.errstate(over="ignore", invalid="ignore"):
        ratio = up_array(size / scale[:, None])
        squares = np.sum(ratio * ratio, axis=1)
        # all terms >= 0: gamma_{m+2} covers products and sum; the last term their underflow
        grown = squares * add_up(1.0, mul_up(2.0, gamma(m + 2))) + (m + 1) * 2.0**-1000
        norms = up_array(up_array(np.sqrt(up_array(grown))) * scale)
    return np.where(usable, norms, np.where(largest == 0.0, 0.0, np.inf))

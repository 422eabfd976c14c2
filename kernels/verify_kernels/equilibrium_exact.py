"""Equilibria of ReLU and leaky ReLU layers, exactly, from their active set.

On the orthant of pre-activations v = W z + b with signs sigma the equation z = s(v) is linear.
For ReLU, z vanishes off S = {sigma_i = +1} and (I - W)_SS z_S = b_S. One exact solve and exact
sign checks prove that the solution is an equilibrium.
"""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import flint
import numpy as np
from flint import arb, arb_mat, fmpq, fmpq_mat

from verify.errors import InputError
from verify.network.activation import Activation
from verify_kernels._rounding import Array
from verify_kernels.interval_affine import float_ball
from verify_kernels.matrix import MatrixEnclosure, rational_matrix

Signs = tuple[int, ...]


@dataclass(frozen=True)
class ExactEquilibrium:
    """An equilibrium z = s(W z + b) in rationals; the only one with these signs if regular.

    Args:
        z: the state, exact.
        signs: +1 where the pre-activation is on the side of slope 1.
        unique_in_cell: whether the linear system of this sign pattern is regular; then no other
            equilibrium has pre-activations in the same closed orthant.
    """

    z: tuple[Fraction, ...]
    signs: Signs
    unique_in_cell: bool


@dataclass(frozen=True, eq=False)
class EnclosedEquilibrium:
    """A ball around an equilibrium z = s(W z + b) for every W and b of the enclosures."""

    mid: Array
    rad: Array
    signs: Signs


def slope_below_zero(activation: Activation) -> Fraction:
    """Return the slope for negative arguments of relu, leaky_relu, identity or abs.

    Raises:
        InputError: another activation.
    """
    fixed = {"relu": Fraction(0), "identity": Fraction(1), "abs": Fraction(-1)}
    if activation.name in fixed:
        return fixed[activation.name]
    if activation.name == "leaky_relu":
        return activation.parameters[0]
    raise InputError(
        f"slope_below_zero: expected relu, leaky_relu, identity or abs, but got {str(activation)!r}"
    )


def signs_at(weight: MatrixEnclosure, bias: Array, z: Array) -> Signs:
    """Return the signs of W z + b in plain floats: a proposal."""
    with np.errstate(over="ignore", invalid="ignore"):
        return tuple(1 if v > 0.0 else -1 for v in weight.mid @ z + bias)


def solve_active_set(
    weight: MatrixEnclosure, activation: Activation, bias: Array, signs: Signs
) -> ExactEquilibrium | None:
    """Return the equilibrium with these signs in rationals, or None if there is none.

    Args:
        weight: W, shape (m, m), exact.
        activation: relu, leaky_relu, identity or abs.
        bias: b, shape (m,), exact floats.
        signs: of the pre-activations.

    Raises:
        InputError: W is known as an enclosure only, or the activation has other pieces.
    """
    below = slope_below_zero(activation)
    alpha = fmpq(below.numerator, below.denominator)
    W = weight.rational()
    b = [entry for row in rational_matrix(bias.reshape(-1, 1)).tolist() for entry in row]
    m = len(signs)
    slopes = [fmpq(1) if s > 0 else alpha for s in signs]
    live = [i for i in range(m) if slopes[i] != 0]
    # z = D v with v_live = b_live + W_live,live z_live; rows i: z_i - d_i (W z)_i = d_i b_i
    size = len(live)
    entries = [fmpq(int(i == j)) - slopes[i] * W[i, j] for i in live for j in live]
    z = [fmpq(0)] * m
    if size:
        try:
            right = fmpq_mat(size, 1, [slopes[i] * b[i] for i in live])
            solved = fmpq_mat(size, size, entries).solve(right)
        except ZeroDivisionError:
            return None
        for k, i in enumerate(live):
            z[i] = solved[k, 0]
    image = W * fmpq_mat(m, 1, z) if m else fmpq_mat(0, 1)
    if any(s * (image[i, 0] + b[i]) < 0 for i, s in enumerate(signs)):
        return None
    states = tuple(Fraction(int(e.p), int(e.q)) for e in z)
    return ExactEquilibrium(states, signs, unique_in_cell=True)


def enclose_active_set(
    weight: MatrixEnclosure,
    activation: Activation,
    bias: Array,
    signs: Signs,
    *,
    bias_radius: Array | None = None,
    bits: int = 128,
) -> EnclosedEquilibrium | None:
    """Return a ball around the equilibrium with these signs, or None where it is not proved.

    The linear system of the pattern is solved in ball arithmetic for every W and b enclosed, and
    every pre-activation keeps its sign over the whole ball.

    Raises:
        InputError: the activation has other pieces.
    """
    below = slope_below_zero(activation)
    m = len(signs)
    with flint.ctx.workprec(bits):
        alpha = arb(fmpq(below.numerator, below.denominator))
        slopes = [arb(1) if s > 0 else alpha for s in signs]
        W, b = _balls(weight.mid, weight.rad), _balls(bias.reshape(-1, 1), _column(bias_radius))
        live = [i for i in range(m) if not (signs[i] < 0 and below == 0)]
        z = [arb(0)] * m
        if live:
            entries = [int(i == j) - slopes[i] * W[i, j] for i in live for j in live]
            right = arb_mat(len(live), 1, [slopes[i] * b[i, 0] for i in live])
            try:
                solved = arb_mat(len(live), len(live), entries).solve(right)
            except ZeroDivisionError:
                return None
            for k, i in enumerate(live):
                z[i] = solved[k, 0]
        image = W * arb_mat(m, 1, z) + b if m else b
        if not all(s * image[i, 0] > 0 for i, s in enumerate(signs)):
            return None
        pairs = [float_ball(entry) for entry in z]
    mid = np.array([near for near, _ in pairs], dtype=np.float64)
    rad = np.array([radius for _, radius in pairs], dtype=np.float64)
    return EnclosedEquilibrium(mid, rad, signs) if np.isfinite(rad).all() else None


def _column(values: Array | None) -> Array | None:
    return None if values is None else values.reshape(-1, 1)


def _balls(mid: Array, rad: Array | None) -> Any:
    rows, columns = mid.shape
    if rad is None:
        return arb_mat(rows, columns, [arb(float(x)) for x in mid.ravel()])
    entries = [arb(float(x), float(r)) for x, r in zip(mid.ravel(), rad.ravel(), strict=True)]
    return arb_mat(rows, columns, entries)

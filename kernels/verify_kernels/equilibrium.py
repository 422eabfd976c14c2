"""Per-sample equilibria: existence, an enclosure, and the distance of the solver's output.

A solver of our own proposes; a residual bound with a global modulus decides for all samples at
once, or a Krawczyk box or an active set decides for one sample at a time.
"""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from verify.enclosure import Enclosure
from verify.errors import InputError
from verify.network import AffineInput, ReluFeatureInput
from verify.network.activation import Activation
from verify_kernels._rounding import Array, U, add_up, down, sqrt_down, up, up_array
from verify_kernels.equilibrium_exact import enclose_active_set, signs_at
from verify_kernels.equilibrium_proposal import propose_equilibria
from verify_kernels.equilibrium_residual import Modulus, distance_bounds
from verify_kernels.interval_affine import enclose_affine
from verify_kernels.krawczyk import find_box
from verify_kernels.matrix import MatrixEnclosure, as_matrix
from verify_kernels.self_test import check_arithmetic
from verify_kernels.slopes import slope_class


@dataclass(frozen=True, eq=False)
class SampleEquilibrium:
    """What is proved of z = s(W z + b) for one bias.

    Args:
        exists: whether an equilibrium is proved to exist.
        unique: whether it is proved to be the only one in R^m.
        z_mid: centre of the enclosure, shape (m,).
        radius_inf: max_i |z_i - z_mid_i| is at most this; +inf if no enclosure was proved.
        distance: of the given solver output (else of z_mid) to that equilibrium, largest
            coordinate; None if no enclosure was proved.
        method: the proof in one phrase.
        why_open: what is not proved and why, empty if nothing is missing.
    """

    exists: bool
    unique: bool
    z_mid: Array
    radius_inf: float
    distance: Enclosure | None
    method: str
    why_open: str


def bias_enclosure(input: AffineInput | ReluFeatureInput, X: ArrayLike) -> tuple[Array, Array]:
    """Enclose b(x) for every row x of X.

    Args:
        input: U x + bias, or relu(V x) / sqrt(m).
        X: shape (n, d), finite.

    Returns:
        mid, rad of shape (n, m).

    Error bound:
        gamma_d |X| |U|^T + u |fl|; relu adds nothing; the quotient by fl(sqrt(m)) errs by at most
        3 u |fl| and one subnormal.

    Raises:
        InputError: shapes that do not fit, entries that are not finite.
    """
    given = as_matrix(X, where="bias_enclosure")
    stored = input.U if isinstance(input, AffineInput) else input.V
    linear = as_matrix(stored, where="bias_enclosure")
    if given.shape[1] != linear.shape[1]:
        raise InputError(
            f"bias_enclosure: expected X with {linear.shape[1]} columns, but got {given.shape}"
        )
    m = linear.shape[0]
    if isinstance(input, AffineInput):
        bias = as_matrix(np.asarray(input.bias).reshape(1, -1), where="bias_enclosure")[0]
        if bias.shape != (m,):
            raise InputError(
                f"bias_enclosure: expected a bias of shape ({m},), but got {bias.shape}"
            )
        return enclose_affine(given, MatrixEnclosure(linear), bias)
    mid, rad = enclose_affine(given, MatrixEnclosure(linear), np.zeros(m))
    root = math.sqrt(m)
    with np.errstate(over="ignore", invalid="ignore", under="ignore"):
        scaled = np.maximum(mid, 0.0) / root
        spread = up_array(rad / down(sqrt_down(float(m))))
        return scaled, up_array(spread + up_array(up_array(4.0 * U * scaled)))


def certify_samples(
    weight: MatrixEnclosure,
    activation: Activation,
    biases: tuple[Array, Array | None] | Array,
    moduli: Sequence[Modulus] = (),
    *,
    deadline: float = math.inf,
    solver_outputs: ArrayLike | None = None,
) -> list[SampleEquilibrium]:
    """Certify the equilibrium for every bias, by residuals and moduli or one by one.

    Args:
        weight: W, shape (m, m).
        activation: s.
        biases: B of shape (n, m), or (B, radius) as from `bias_enclosure`.
        moduli: proved global constants of W; any one makes every sample exist and be unique.
        deadline: a moment of ``time.monotonic()``; later samples stay open.
        solver_outputs: Z of shape (n, m) whose distances to the equilibria are wanted.

    Returns:
        One record for each bias, in order. Without a global modulus ``unique`` is False: a
        Krawczyk box or an active set says nothing about the rest of R^m.

    Raises:
        InputError: shapes that do not fit. BackendError: the arithmetic failed its self-test.
    """
    check_arithmetic()
    B, radius = biases if isinstance(biases, tuple) else (biases, None)
    given = as_matrix(B, where="certify_samples")
    m = weight.shape[0]
    if weight.shape != (m, m) or given.shape[1] != m:
        raise InputError(
            f"certify_samples: expected W (m, m) and biases (n, m), but got {weight.shape} and "
            f"{given.shape}"
        )
    outputs = None
    if solver_outputs is not None:
        outputs = as_matrix(solver_outputs, where="certify_samples")
        if outputs.shape != given.shape:
            raise InputError(
                f"certify_samples: expected solver outputs of shape {given.shape}, "
                f"but got {outputs.shape}"
            )
    until = _share(deadline)
    Z = propose_equilibria(weight.mid, activation, given, start=outputs, deadline=until)
    if moduli:
        return _by_moduli(weight, activation, given, radius, Z, moduli, outputs)
    return _one_by_one(weight, activation, given, radius, Z, outputs, deadline)


def _share(deadline: float) -> float:
    now = time.monotonic()
    return now + 0.5 * max(0.0, deadline - now)


def _by_moduli(
    weight: MatrixEnclosure,
    activation: Activation,
    B: Array,
    radius: Array | None,
    Z: Array,
    moduli: Sequence[Modulus],
    outputs: Array | None,
) -> list[SampleEquilibrium]:
    bounds = np.array(
        [distance_bounds(weight, activation, B, radius, Z, modulus) for modulus in moduli]
    )
    best = np.argmin(bounds, axis=0)
    records = []
    for i, z in enumerate(Z):
        bound = float(bounds[best[i], i])
        how = f"global proof ({moduli[int(best[i])].kind}) and the residual of an approximation"
        open_end = "" if math.isfinite(bound) else "the residual overflowed: no enclosure"
        distance = _distance(z, bound, None if outputs is None else outputs[i])
        records.append(SampleEquilibrium(True, True, z, bound, distance, how, open_end))
    return records


def _one_by_one(
    weight: MatrixEnclosure,
    activation: Activation,
    B: Array,
    radius: Array | None,
    Z: Array,
    outputs: Array | None,
    deadline: float,
) -> list[SampleEquilibrium]:
    bounded = slope_class(activation).bounded
    records = []
    for i, z in enumerate(Z):
        output = None if outputs is None else outputs[i]
        found = None
        late = time.monotonic() > deadline
        if not late:
            row = None if radius is None else radius[i]
            found = _locally(weight, activation, B[i], row, z)
        if found is None:
            why = "the time budget ended" if late else "no box around the approximation contracts"
            how = "bounded continuous activation (Brouwer)" if bounded else ""
            records.append(SampleEquilibrium(bounded, False, z, math.inf, None, how, why))
            continue
        centre, bound, how = found
        distance = _distance(centre, bound, output)
        why = "other equilibria far away are not excluded"
        records.append(SampleEquilibrium(True, False, centre, bound, distance, how, why))
    return records


def _locally(
    weight: MatrixEnclosure, activation: Activation, b: Array, radius: Array | None, z: Array
) -> tuple[Array, float, str] | None:
    """Return centre, radius and proof of an equilibrium near z, or None."""
    if radius is not None and not np.isfinite(radius).all():
        return None
    box = find_box(weight, activation, b, z, bias_radius=radius)
    if box is not None:
        with np.errstate(over="ignore"):
            reach = up_array(np.maximum(box.upper - z, z - box.lower))
        return z, float(np.max(reach, initial=0.0)), "Krawczyk: exactly one equilibrium in the box"
    if activation.name not in ("relu", "leaky_relu", "abs", "identity") or len(z) > 400:
        return None
    cell = enclose_active_set(weight, activation, b, signs_at(weight, b, z), bias_radius=radius)
    if cell is None:
        return None
    how = "active set: the only equilibrium with its sign pattern"
    return cell.mid, float(np.max(cell.rad, initial=0.0)), how


def _distance(centre: Array, bound: float, output: Array | None) -> Enclosure | None:
    """Enclose max_i |output_i - z_i| for every z within ``bound`` of the centre."""
    if not math.isfinite(bound):
        return None
    if output is None:
        return Enclosure(0, bound)
    with np.errstate(over="ignore"):
        apart = np.abs(output - centre)
    gap = float(np.max(apart, initial=0.0))
    most = add_up(up(gap), bound)
    if not math.isfinite(most):
        return None
    return Enclosure(max(0.0, down(down(gap) - bound)), most)

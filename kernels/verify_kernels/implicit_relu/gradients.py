"""Gradients of 1/2 ||yhat - y||^2 by A, W, u and v, with proved radii."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from verify.enclosure import Enclosure
from verify.errors import InputError
from verify.evidence import Evidence
from verify_kernels._rounding import Array, up_array
from verify_kernels.definiteness import PRODUCTS
from verify_kernels.enclosed_products import add, negate, product, scale, transpose
from verify_kernels.equilibrium_residual import Modulus
from verify_kernels.implicit_relu.layers import (
    HOW,
    Layer,
    Signs,
    frobenius,
    radii,
    root_scale,
    total_norm,
)
from verify_kernels.implicit_relu.moduli import adjoint_distances
from verify_kernels.implicit_relu.state import Task, unbounded
from verify_kernels.matrix import MatrixEnclosure

STEPS = 400
KINK = (
    "a pre-activation is not told apart from 0, where the gradient may not exist (sample {0}, "
    "unit {1})"
)


@dataclass(frozen=True, eq=False)
class Masks:
    """Which units are on, for the samples whose output the parameters move.

    Args:
        inner: D, shape (n, m), of z.
        outer: E, shape (n, m), of phi.
        why_open: the kink that is not excluded, or "".
    """

    inner: NDArray[np.bool_]
    outer: NDArray[np.bool_]
    why_open: str


def read_masks(first: Signs, states: Signs, values: Array) -> Masks:
    """Return the patterns D and E, or where a kink is not excluded.

    A sample with W x < 0 in every unit has phi = 0 and z = 0 for all parameters nearby, and one
    with x = 0 for all parameters: it adds nothing to the gradient whatever the pre-activations
    of z are (they are exactly 0).
    """
    reached = np.asarray(values.any(axis=1) & ~first.off.all(axis=1))
    kinks = (first.kinks | states.kinks) & reached[:, None]
    why = ""
    if kinks.any():
        why = KINK.format(*(int(k) for k in np.argwhere(kinks)[0]))
    return Masks(states.on & reached[:, None], first.on & reached[:, None], why)


def enclose_gradients(
    task: Task,
    weight: MatrixEnclosure,
    moduli: Sequence[Modulus],
    first: Layer,
    phi: MatrixEnclosure,
    states: Layer,
    residual: MatrixEnclosure,
) -> tuple[Mapping[str, Evidence], Evidence]:
    """Enclose the Frobenius norms of the gradients by A, W, u and v, and of all together.

    With R the residuals in rows and p_i = D_i (g A^T p_i + U r_i), the sum of r q of every output:
    grad_u = Z^T R, grad_v = Phi^T R, grad_A = g P^T Z and
    grad_W = (E o (R V^T + P))^T X / sqrt(m), P with rows p_i.

    Error bound:
        That of the products; P by `adjoint_distances` from the residual of an approximation.
    """
    by_u = frobenius(product(transpose(states.value), residual))
    by_v = frobenius(product(transpose(phi), residual))
    found = {"u": _proved(by_u), "v": _proved(by_v)}
    masks = read_masks(first.signs, states.signs, task.values)
    if masks.why_open:
        both = {name: unbounded(masks.why_open) for name in ("A", "W")}
        return both | found, unbounded(masks.why_open)
    sources = product(residual, transpose(MatrixEnclosure(task.u)))
    try:
        P = adjoint(weight, masks.inner, sources, moduli)
        by_A, by_W = _weights(task, masks, P, states.value, residual)
    except InputError:
        both = {name: unbounded("numbers leave the range of binary64") for name in ("A", "W")}
        return both | found, both["A"]
    total = total_norm([by_A, by_W, by_u, by_v])
    return {"A": _proved(by_A), "W": _proved(by_W)} | found, _proved(total)


def _proved(value: Enclosure) -> Evidence:
    return Evidence(value, None, (PRODUCTS,), HOW)


def _weights(
    task: Task, masks: Masks, P: MatrixEnclosure, Z: MatrixEnclosure, residual: MatrixEnclosure
) -> tuple[Enclosure, Enclosure]:
    m = task.m
    by_A = scale(product(transpose(P), Z), root_scale(m, task.gamma, m), None)
    reach = add(product(residual, transpose(MatrixEnclosure(task.v))), P)
    by_W = product(transpose(_masked(reach, masks.outer)), MatrixEnclosure(task.values))
    factors = root_scale(m, 1 / task.divisor, m)
    return frobenius(by_A), frobenius(scale(by_W, factors, None))


def _masked(given: MatrixEnclosure, mask: NDArray[np.bool_]) -> MatrixEnclosure:
    return MatrixEnclosure(np.where(mask, given.mid, 0.0), np.where(mask, radii(given), 0.0))


@np.errstate(all="ignore")
def adjoint(
    weight: MatrixEnclosure,
    mask: NDArray[np.bool_],
    sources: MatrixEnclosure,
    moduli: Sequence[Modulus],
) -> MatrixEnclosure:
    """Enclose P with rows p = D (W^T p + c) for W = g A, D the mask and c the sources.

    Raises:
        InputError: a number leaves the range of binary64.
    """
    plain = MatrixEnclosure(weight.mid, weight.rad)
    near = _approximate(weight.mid, mask, sources.mid)
    image = add(product(MatrixEnclosure(near), plain), sources)
    rho = _masked(add(image, negate(MatrixEnclosure(near))), mask)
    size = np.where(mask, up_array(np.abs(rho.mid) + radii(rho)), 0.0)
    bound = adjoint_distances(size, moduli)
    wide = MatrixEnclosure(near, np.where(mask, bound[:, None], 0.0))
    if not np.isfinite(bound).all():
        raise InputError("adjoint: expected numbers in the range of binary64, but got larger ones")
    step = _masked(add(product(wide, plain), sources), mask)
    better = radii(step) <= radii(wide)
    return MatrixEnclosure(
        np.where(better, step.mid, wide.mid), np.where(better, radii(step), radii(wide))
    )


def _approximate(W: Array, mask: NDArray[np.bool_], sources: Array) -> Array:
    """Iterate p <- D (W^T p + c); rows that do not settle are solved one by one. No guarantee."""
    start = np.where(mask, sources, 0.0)
    P, least = start.copy(), np.inf
    for step in range(STEPS):
        new = np.where(mask, P @ W + sources, 0.0)
        gap = float(np.max(np.abs(new - P), initial=0.0))
        P = new
        if not gap > 1e-16 * float(np.max(np.abs(P), initial=0.0)):
            break
        if step % 20 == 19:
            if not gap < 0.5 * least:
                break
            least = gap
    size = 1e-13 * np.max(np.abs(P), axis=1, initial=0.0)
    off = np.max(np.abs(np.where(mask, P @ W + sources, 0.0) - P), axis=1, initial=0.0)
    for i in np.flatnonzero(~(off <= size)):
        on = np.flatnonzero(mask[i])
        P[i] = 0.0
        try:
            P[i, on] = np.linalg.solve(np.eye(len(on)) - W[np.ix_(on, on)].T, sources[i, on])
        except np.linalg.LinAlgError:
            P[i] = start[i]
    return np.where(np.isfinite(P), P, 0.0)

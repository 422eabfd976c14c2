"""Approximate equilibria in plain floats, for many biases at once; they prove nothing."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import numpy as np

from verify.network.activation import Activation
from verify_kernels._rounding import Array, float_down

Function = Callable[[Array], Any]


def propose_equilibria(
    W: Array,
    activation: Activation,
    biases: Array,
    *,
    start: Array | None = None,
    deadline: float = float("inf"),
) -> Array:
    """Return Z (n, m) with rows near equilibria z = s(W z + b) where an iteration found them.

    Plain iteration first; rows that do not settle go on with Anderson acceleration of a
    preconditioned iteration, the rest with Newton steps one by one while time is left. A start
    that is already close is only polished.
    """
    if not biases.size:
        return np.zeros_like(biases)
    s, slope = functions(activation)
    with np.errstate(all="ignore"):
        if start is not None and len(start) and _close(W, s, biases, start):
            try:
                polished = _accelerated(W, s, slope, biases, start, deadline)
                if _settled(W, s, biases, polished).all():
                    return polished
            except np.linalg.LinAlgError:  # overflow: begin from the biases instead
                pass
        Z, open_rows = _picard(W, s, biases, deadline)
        if open_rows.size:
            start = Z[open_rows]
            try:
                for _ in range(3):
                    start = _accelerated(W, s, slope, biases[open_rows], start, deadline)
                    if _settled(W, s, biases[open_rows], start).all():
                        break
            except np.linalg.LinAlgError:  # overflow: leave the rest to Newton's steps
                pass
            Z[open_rows] = start
        for i in open_rows[~_settled(W, s, biases[open_rows], Z[open_rows])]:
            if time.monotonic() > deadline:
                break
            Z[i] = _newton(W, s, slope, biases[i], Z[i])
    return np.where(np.isfinite(Z), Z, 0.0)


def _residuals(W: Array, s: Function, biases: Array, Z: Array) -> Array:
    return np.asarray(s(Z @ W.T + biases) - Z)


def _close(W: Array, s: Function, biases: Array, Z: Array) -> bool:
    gap = np.max(np.abs(_residuals(W, s, biases, Z)), axis=1, initial=0.0)
    return bool((gap <= 1e-3 * (1.0 + np.max(np.abs(Z), axis=1, initial=0.0))).all())


def _settled(W: Array, s: Function, biases: Array, Z: Array) -> Any:
    gap = np.max(np.abs(_residuals(W, s, biases, Z)), axis=1, initial=0.0)
    return gap <= 1e-13 * (1.0 + np.max(np.abs(Z), axis=1, initial=0.0))


def _picard(W: Array, s: Function, biases: Array, deadline: float) -> tuple[Array, Any]:
    Z = np.array(s(biases), dtype=np.float64)  # a copy: the identity returns its argument
    rows = np.arange(len(Z))
    before = np.inf
    for k in range(200):
        step = _residuals(W, s, biases[rows], Z[rows])
        gap = np.max(np.abs(step), axis=1, initial=0.0)
        scale = 1.0 + np.max(np.abs(Z[rows]), axis=1, initial=0.0)
        Z[rows] = Z[rows] + step
        moving = ~(gap <= 1e-15 * scale)
        rows, worst = rows[moving], float(np.max(gap, initial=0.0))
        if not rows.size or time.monotonic() > deadline:
            break
        if k % 20 == 19:
            if not worst < 0.1 * before:
                break
            before = worst
    good = np.isfinite(Z).all(axis=1) & _settled(W, s, biases, np.where(np.isfinite(Z), Z, 0.0))
    Z[~np.isfinite(Z).all(axis=1)] = 0.0
    return Z, np.flatnonzero(~good)


def _accelerated(
    W: Array,
    s: Function,
    slope: Function,
    biases: Array,
    Z: Array,
    deadline: float,
    memory: int = 6,
) -> Array:
    """Anderson acceleration of z -> z + C (s(W z + b) - z), every row by itself.

    C is the inverse of I - D W at the slopes D averaged over the rows.
    """
    X = np.where(np.max(np.abs(Z), axis=1, keepdims=True) < 1e6, Z, 0.0)
    average = np.mean(slope(X @ W.T + biases), axis=0)
    try:
        C = np.linalg.inv(np.eye(len(W)) - average[:, None] * W).T
    except np.linalg.LinAlgError:
        C = np.eye(len(W))
    best, rows = X.copy(), np.arange(len(X))
    least = np.full(len(X), np.inf)
    dX = np.zeros((len(X), 0, X.shape[1]))
    dF = dX
    F = _residuals(W, s, biases, X) @ C
    for _ in range(60):
        gap = np.max(np.abs(F), axis=1, initial=0.0)
        better = gap < least[rows]
        best[rows[better]], least[rows[better]] = X[better], gap[better]
        moving = ~(gap <= 1e-15 * (1.0 + np.max(np.abs(X), axis=1, initial=0.0)))
        rows, X, F, dX, dF = rows[moving], X[moving], F[moving], dX[moving], dF[moving]
        if not rows.size or time.monotonic() > deadline:
            break
        step = F
        if dF.shape[1]:
            gram = dF @ dF.transpose(0, 2, 1)
            ridge = 1e-14 * np.trace(gram, axis1=1, axis2=2) + 1e-300
            gram += ridge[:, None, None] * np.eye(dF.shape[1])
            weights = np.linalg.solve(gram, dF @ F[:, :, None]).transpose(0, 2, 1)
            step = F - (weights @ (dF + dX))[:, 0, :]
        step = np.where(np.isfinite(step).all(axis=1, keepdims=True), step, 0.0)
        X = X + step
        new = _residuals(W, s, biases[rows], X) @ C
        dX = np.concatenate([dX, step[:, None, :]], axis=1)[:, -memory:]
        dF = np.concatenate([dF, (new - F)[:, None, :]], axis=1)[:, -memory:]
        F = new
    return best


def _newton(W: Array, s: Function, slope: Function, b: Array, z: Array) -> Array:
    """Damped Newton steps on z - s(W z + b)."""
    m = len(b)
    gap = float(np.max(np.abs(s(W @ z + b) - z), initial=0.0))
    for _ in range(50):
        v = W @ z + b
        residual = s(v) - z
        try:
            step = np.linalg.solve(np.eye(m) - slope(v)[:, None] * W, residual)
        except np.linalg.LinAlgError:
            return z
        for damping in (1.0, 0.5, 0.25, 0.1, 0.02):
            new = z + damping * step
            next_gap = float(np.max(np.abs(s(W @ new + b) - new), initial=0.0))
            if next_gap < gap or damping == 0.02:
                break
        if not np.isfinite(next_gap) or (next_gap >= gap and damping == 1.0):
            return z
        if next_gap >= gap and gap <= 1e-12 * (1.0 + float(np.max(np.abs(z), initial=0.0))):
            return z
        z, gap = new, next_gap
        if gap == 0.0:
            break
    return z


def functions(activation: Activation) -> tuple[Function, Function]:
    """Return s and s' in plain floats (a one-sided slope at a kink)."""
    from scipy import special  # slow to load; only data asks for it

    p = float_down(activation.parameters[0]) if activation.parameters else 0.0
    table: dict[str, tuple[Function, Function]] = {
        "relu": (lambda v: np.maximum(v, 0.0), lambda v: (v > 0) * 1.0),
        "leaky_relu": (lambda v: np.where(v > 0, v, p * v), lambda v: np.where(v > 0, 1.0, p)),
        "elu": (
            lambda v: np.where(v > 0, v, p * np.expm1(np.minimum(v, 0.0))),
            lambda v: np.where(v > 0, 1.0, p * np.exp(np.minimum(v, 0.0))),
        ),
        "tanh": (np.tanh, lambda v: 1.0 - np.tanh(v) ** 2),
        "sigmoid": (special.expit, lambda v: special.expit(v) * special.expit(-v)),
        "softplus": (lambda v: np.logaddexp(0.0, p * v) / p, lambda v: special.expit(p * v)),
        "identity": (lambda v: v, np.ones_like),
        "abs": (np.abs, np.sign),
        "hardtanh": (lambda v: np.clip(v, -1.0, 1.0), lambda v: (np.abs(v) < 1) * 1.0),
        "relu6": (lambda v: np.clip(v, 0.0, 6.0), lambda v: ((v > 0) & (v < 6)) * 1.0),
        "softsign": (lambda v: v / (1 + np.abs(v)), lambda v: 1 / (1 + np.abs(v)) ** 2),
        "gelu": (
            lambda v: v * special.ndtr(v),
            lambda v: special.ndtr(v) + v * np.exp(-v * v / 2) / np.sqrt(2 * np.pi),
        ),
        "silu": (
            lambda v: v * special.expit(v),
            lambda v: special.expit(v) * (1 + v * special.expit(-v)),
        ),
        "sin": (np.sin, np.cos),
    }
    return table[activation.name]

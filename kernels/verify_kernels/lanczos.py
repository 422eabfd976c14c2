"""Approximate eigenpairs of symmetric matrices. They propose; nothing here is a bound."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from verify_kernels._rounding import Array

BASIS = 80
SEED = 1950


def approximate_leading_pair(
    multiply: Callable[[Array], Array],
    n: int,
    *,
    basis: int = BASIS,
    restarts: int = 3,
    width: float = 1e-10,
    start: Array | None = None,
) -> tuple[float, Array]:
    """Approximate the largest eigenvalue and its vector by Lanczos with restarts.

    Args:
        multiply: v -> S v for a symmetric S of order n.
        n: the order, n >= 1.
        basis: vectors kept, all of them orthogonalised against each other.
        restarts: runs, each from the Ritz vector of the one before.
        width: stop once residual^2 / gap falls below this fraction of the eigenvalue.
        start: the first vector; random from a fixed seed if not given.

    Returns:
        Ritz value and unit vector; no guarantee of any kind.
    """
    v = np.random.default_rng(SEED).standard_normal(n) if start is None else start
    theta = 0.0
    for _ in range(max(1, restarts)):
        theta, v, done = _run(multiply, v, min(basis, n), width)
        if done:
            break
    return theta, v


def _run(
    multiply: Callable[[Array], Array], start: Array, basis: int, width: float
) -> tuple[float, Array, bool]:
    n = start.size
    V = np.zeros((basis, n))
    alpha, beta = np.zeros(basis), np.zeros(basis)
    norm = float(np.linalg.norm(start))
    V[0] = start / norm if norm > 0.0 else 1.0 / np.sqrt(n)
    for k in range(basis):
        w = multiply(V[k])
        alpha[k] = float(V[k] @ w)
        kept = V[: k + 1]
        w = w - (kept @ w) @ kept
        w = w - (kept @ w) @ kept
        beta[k] = float(np.linalg.norm(w))
        exhausted = not beta[k] > 1e-14 * float(np.abs(alpha[: k + 1]).max())
        if exhausted or k + 1 == basis or k % 8 == 7:
            values, vectors = _ritz(alpha[: k + 1], beta[:k])
            theta, s = float(values[-1]), vectors[:, -1]
            residual = abs(float(beta[k] * s[-1]))
            gap = float(values[-1] - values[-2]) if k else abs(theta)
            converged = residual * min(1.0, residual / gap if gap > 0.0 else 1.0) <= width * abs(
                theta
            )
            if exhausted or converged or k + 1 == basis:
                return theta, s @ kept, exhausted or converged
        if k + 1 < basis:
            V[k + 1] = w / beta[k]
    return theta, V[0], False


def _ritz(alpha: Array, beta: Array) -> tuple[Array, Array]:
    values, vectors = np.linalg.eigh(np.diag(alpha) + np.diag(beta, 1) + np.diag(beta, -1))
    return np.asarray(values), np.asarray(vectors)

"""Search of diagonal Lambda > 0 that make Lambda M + M^T Lambda positive definite, M = I - V.

Nothing here is proved or needs a proof: `verify_kernels.diagonal_stability` verifies what comes
out. Candidates: the identity, quotients of positive vectors (Schur test) for the Metzler majorant
of V and for the Cayley transform of M, Frobenius balancing (Osborne), a Newton barrier method,
and a conic solver where it is installed.
"""

from __future__ import annotations

import math
import time
import warnings
from collections.abc import Iterator
from importlib import import_module
from typing import Any

import numpy as np
from scipy.linalg import LinAlgError, cho_factor, cho_solve

from verify_kernels._rounding import Array

BARRIER_WIDTH = 256
SOLVER_WIDTH = 48
SPREAD = 2.0**900  # largest ratio of two entries of Lambda


def conversions(V: Array) -> Iterator[tuple[str, Array]]:
    """Yield named candidates that cost a few linear solves at most."""
    n = len(V)
    yield "identity", np.ones(n)
    balanced = _usable(_osborne(V))
    if balanced is not None:
        yield "Frobenius balancing", balanced
    majorant = np.abs(V)
    np.fill_diagonal(majorant, np.diagonal(V))
    found = _usable(_schur_quotient(majorant))
    if found is not None:
        yield "positive vectors of the Metzler majorant", found
    transform = _cayley(V)
    if transform is None:
        return
    found = _usable(_schur_quotient(np.abs(transform)))
    if found is not None:
        yield "positive vectors of the Cayley transform", found
    balanced = _usable(_osborne(transform))
    if balanced is not None:
        yield "Frobenius balancing of the Cayley transform", balanced


def searches(V: Array, start: Array, deadline: float) -> Iterator[tuple[str, Array]]:
    """Yield candidates of the optimisers while there is time."""
    n = len(V)
    if n <= BARRIER_WIDTH and time.monotonic() < deadline:
        found = _usable(_barrier(V, start, deadline))
        if found is not None:
            yield "Newton barrier", found
    if n <= SOLVER_WIDTH and time.monotonic() < deadline:
        found = _usable(_conic(V, deadline))
        if found is not None:
            yield "conic solver", found


def _usable(scaling: Any) -> Array | None:
    """Return Lambda with its largest entry near 1, or None if it is not finite and positive."""
    if scaling is None:
        return None
    values = np.asarray(scaling, dtype=np.float64)
    if not (np.isfinite(values).all() and (values > 0.0).all()):
        return None
    values = values / float(np.max(values))
    return values if float(np.min(values)) > 1.0 / SPREAD else None


def _cayley(V: Array) -> Array | None:
    try:
        transform = np.linalg.solve(2.0 * np.eye(len(V)) - V, V)
    except np.linalg.LinAlgError:
        return None
    return np.asarray(transform) if np.isfinite(transform).all() else None


def _schur_quotient(Z: Array) -> Array | None:
    """Return xi / eta for (s I - Z) eta = 1 and (s I - Z)^T xi = 1, s = 1 or above the root."""
    n = len(Z)
    shift = max(0.0, -float(np.min(np.diagonal(Z))))
    vector = np.ones(n)
    for _ in range(30):
        moved = Z @ vector + shift * vector
        top = float(np.max(moved))
        if not (math.isfinite(top) and top > 0.0):
            return np.ones(n) if top == 0.0 else None
        vector = np.maximum(moved / top, 2.0**-900)
    root = float(np.max((Z @ vector) / vector))
    for level in (1.0, 1.02 * root):
        try:
            eta = np.linalg.solve(level * np.eye(n) - Z, np.ones(n))
            xi = np.linalg.solve(level * np.eye(n) - Z.T, np.ones(n))
        except np.linalg.LinAlgError:
            continue
        if (eta > 0.0).all() and (xi > 0.0).all():
            return np.asarray(xi / eta)
    return None


def _osborne(V: Array, sweeps: int = 30) -> Array | None:
    """Return d^2 for the diagonal d that (nearly) minimises ||diag(d) V diag(d)^-1||_F."""
    n = len(V)
    top = float(np.max(np.abs(V), initial=0.0))
    if not (math.isfinite(top) and top > 0.0):
        return None
    squares = (V / top) ** 2
    np.fill_diagonal(squares, 0.0)
    columns = np.ascontiguousarray(squares.T)
    x, y = np.ones(n), np.ones(n)  # x = d^2, y = 1/x
    for _ in range(sweeps):
        largest = 0.0
        for i in range(n):
            row = float(squares[i] @ y)
            column = float(columns[i] @ x)
            if row <= 0.0 or column <= 0.0:
                continue
            new = math.sqrt(column / row)
            if not 1e-270 < new < 1e270:
                return None
            largest = max(largest, abs(math.log(new * y[i])))
            x[i], y[i] = new, 1.0 / new
        if largest < 0.02:
            break
    return x


def least_eigenvalue(S: Array) -> float:
    """Return about the smallest eigenvalue of a symmetric matrix, -inf if it is not computable."""
    if not np.isfinite(S).all():
        return -math.inf
    try:
        return float(np.linalg.eigvalsh(S)[0])
    except np.linalg.LinAlgError:
        return -math.inf


def _inequality(V: Array, scaling: Array) -> Array:
    product = scaling[:, None] * (np.eye(len(V)) - V)
    return np.asarray(product + product.T)


def _barrier(V: Array, start: Array, deadline: float, steps: int = 120) -> Array | None:
    """Maximise t with Lambda M + M^T Lambda - t I > 0, trace Lambda = n, by Newton's method.

    Minimises -t/mu - log det(.) - sum log Lambda for falling mu; the Hessian of the log det is
    2 (Z o C + B o B^T) with Z the inverse slack, B = M Z, C = M Z M^T.
    """
    n = len(V)
    M = np.eye(n) - V
    values = start / float(np.mean(start))
    least = least_eigenvalue(_inequality(V, values))
    if not math.isfinite(least):
        return None
    t = least - 0.1 * max(1.0, abs(least))
    best, record = None, 0.0
    weight = max(1e-3, abs(t))
    for step in range(steps):
        if time.monotonic() >= deadline:
            break
        moved = _newton_step(V, M, values, t, weight)
        if moved is None:
            break
        values, t, decrement = moved
        if t > record:
            best, record = values.copy(), t
        if decrement < 0.5:
            if t + 2.0 * n * weight < 0.0 or weight * n < 1e-9:
                break
            if record > 0.0 and step > 12 and 2.0 * n * weight < 0.5 * t:
                break
            weight *= 0.25
    return best


def _newton_step(
    V: Array, M: Array, values: Array, t: float, weight: float
) -> tuple[Array, float, float] | None:
    """Take one damped Newton step for the barrier with parameter ``weight``."""
    n = len(V)
    identity = np.eye(n)
    try:
        Z = cho_solve(cho_factor(_inequality(V, values) - t * identity), identity)
        B = M @ Z
        gradient = np.append(-2.0 * np.diagonal(B) - 1.0 / values, np.trace(Z) - 1.0 / weight)
        hessian = np.empty((n + 2, n + 2))
        hessian[:n, :n] = 2.0 * (Z * (B @ M.T) + B * B.T)
        hessian[np.arange(n), np.arange(n)] += 1.0 / values**2
        hessian[:n, n] = hessian[n, :n] = -2.0 * np.sum((M @ Z) * Z, axis=1)
        hessian[n, n] = np.sum(Z * Z)
        hessian[n + 1] = hessian[:, n + 1] = np.append(np.ones(n), [0.0, 0.0])
        step = np.linalg.solve(hessian, np.append(-gradient, 0.0))[: n + 1]
    except (LinAlgError, np.linalg.LinAlgError, ValueError):
        return None
    decrement = float(-(gradient @ step))
    if not math.isfinite(decrement) or decrement < 0.0:
        return None
    length = 1.0 / (1.0 + math.sqrt(decrement)) if decrement > 0.25 else 1.0
    for _ in range(30):
        new, level = values + length * step[:n], t + length * float(step[n])
        if (new > 0.0).all() and _is_positive(_inequality(V, new) - level * identity):
            return new, level, decrement
        length *= 0.5
    return None


def _is_positive(S: Array) -> bool:
    try:
        return bool(np.isfinite(np.linalg.cholesky(S)).all())
    except np.linalg.LinAlgError:
        return False


def _conic(V: Array, deadline: float) -> Array | None:
    """Maximise the smallest eigenvalue with cvxpy and Clarabel, if they are installed."""
    try:
        cvxpy: Any = import_module("cvxpy")
    except ImportError:
        return None
    n = len(V)
    scaling, level = cvxpy.Variable(n), cvxpy.Variable()
    product = cvxpy.diag(scaling) @ (np.eye(n) - V)
    limits = [
        product + product.T - level * np.eye(n) >> 0,
        scaling >= 1e-9,
        cvxpy.sum(scaling) == n,
    ]
    options = {} if deadline == math.inf else {"time_limit": max(0.1, deadline - time.monotonic())}
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            cvxpy.Problem(cvxpy.Maximize(level), limits).solve(solver="CLARABEL", **options)
    except (cvxpy.error.SolverError, ValueError, ArithmeticError):
        return None
    return None if scaling.value is None else np.asarray(scaling.value)

"""One pass over an implicit ReLU network in ball arithmetic: the equilibria of all samples.

With zeta = div sqrt(m) z and psi = relu(W values), which is exact, zeta = relu(g A zeta + psi):
the only irrational number in it is g, and all other factors are applied at the end.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import numpy as np
from flint import arb, arb_mat, fmpq
from numpy.typing import NDArray

from verify.enclosure import INF, Enclosure
from verify_kernels._rounding import Array
from verify_kernels.equilibrium_residual import Modulus
from verify_kernels.full_rank.singular_values import root
from verify_kernels.implicit_relu.layers import Signs, enclosed
from verify_kernels.implicit_relu.rank import integer_matrix
from verify_kernels.implicit_relu.state import Task
from verify_kernels.interval_affine import float_ball
from verify_kernels.matrix import MatrixEnclosure


@dataclass(frozen=True, eq=False)
class Work:
    """One pass: all arrays in rows of samples, at the precision of ``ctx``.

    Args:
        B: g A.
        psi: relu(W values).
        zeta: the equilibria.
        signs: of g A zeta + psi.
        zero: where zeta is exactly 0.
        first: signs of W x, exact.
        factor: 1/(div sqrt(m)).
        residual: yhat - y, shape (n, k).
    """

    B: Any
    psi: Any
    zeta: Any
    signs: Signs
    zero: NDArray[np.bool_]
    first: Signs
    factor: Any
    residual: Any


def solve(task: Task, start: Array, moduli: Sequence[Modulus], deadline: float) -> Work | None:
    """Enclose the equilibria, starting from the active sets of a proposal; None when it is late.

    An active set is solved and its solution proved by the residual and a modulus, so no sign
    needs to be told; zeta is exactly 0 where the pre-activation is proved to be <= 0.
    """
    n, m = task.n, task.m
    g = arb(fmpq(task.gamma.numerator, task.gamma.denominator)) / arb(m).sqrt()
    B = balls(task.A) * g
    psi, first = _exact_features(task)
    zeta = arb_mat(n, m)
    on, off, zero = (np.zeros((n, m), dtype=bool) for _ in range(3))
    for i in range(n):
        if time.monotonic() > deadline:
            return None
        b = arb_mat(m, 1, [psi[i, k] for k in range(m)])
        near = _propose(B, b, [bool(x > 0.0) for x in start[i]])
        z = _around(B, b, near, moduli)
        v = B * z + b
        for k in range(m):
            on[i, k], off[i, k], zero[i, k] = v[k, 0] > 0, v[k, 0] < 0, v[k, 0] <= 0
            zeta[i, k] = arb(0) if zero[i, k] else z[k, 0]
    factor = 1 / (arb(fmpq(task.divisor.numerator, task.divisor.denominator)) * arb(m).sqrt())
    outputs = (zeta * balls(task.u) + psi * balls(task.v)) * factor
    residual = outputs - balls(task.targets)
    return Work(B, psi, zeta, Signs(on, off), zero, first, factor, residual)


def _exact_features(task: Task) -> tuple[Any, Signs]:
    """Return relu(W values) from exact integers, rounded to balls once, and the exact signs."""
    X, ex = integer_matrix(task.values)
    W, ew = integer_matrix(task.W)
    reached = X * W.transpose()
    unit = fmpq(1, 2 ** (ex + ew))
    entries = reached.entries()
    psi = arb_mat(task.n, task.m, [arb(unit * x) if x > 0 else arb(0) for x in entries])
    above, below = (
        np.array(part, dtype=bool).reshape(task.n, task.m)
        for part in ([x > 0 for x in entries], [x < 0 for x in entries])
    )
    return psi, Signs(above, below)


def _propose(B: Any, b: Any, on: list[bool]) -> Any:
    """Solve on an active set and move to the set of the solution, a few times. No guarantee."""
    m = b.nrows()
    near = arb_mat(m, 1)
    for _ in range(20):
        live = [k for k in range(m) if on[k]]
        near = arb_mat(m, 1)
        if live:
            entries = [int(i == j) - B[i, j] for i in live for j in live]
            try:
                solved = arb_mat(len(live), len(live), entries).solve(
                    arb_mat(len(live), 1, [b[k, 0] for k in live])
                )
            except ZeroDivisionError:
                break
            for place, k in enumerate(live):
                near[k, 0] = solved[place, 0].mid()
        v = B * near + b
        after = [bool(v[k, 0].mid() > 0) for k in range(m)]
        if after == on:
            break
        on = after
    return near


def _around(B: Any, b: Any, near: Any, moduli: Sequence[Modulus]) -> Any:
    """Return balls around the equilibrium: the residual rho and the least bound of a modulus."""
    m = b.nrows()
    v = B * near + b
    rho = arb_mat(m, 1, [near[k, 0] - v[k, 0].max(arb(0)) for k in range(m)])
    radius = None
    for modulus in moduli:
        bound = _distance(B, rho, modulus)
        if radius is None or bound.abs_upper() < radius:
            radius = bound.abs_upper()
    return arb_mat(m, 1, [near[k, 0] + arb(0, radius) for k in range(m)])


def _distance(B: Any, rho: Any, modulus: Modulus) -> Any:
    """Bound the largest coordinate of z~ - z; see `verify_kernels.equilibrium_residual`."""
    value = arb(fmpq(modulus.value.numerator, modulus.value.denominator))
    if modulus.kind == "monotone":
        return _length(rho) + _length(B * rho) / value
    if modulus.eta is None:
        return _length(rho) / (1 - value)
    quotients = [
        abs(x).abs_upper() / arb(float(e)) for x, e in zip(rho.entries(), modulus.eta, strict=True)
    ]
    worst = arb(0)
    for x in quotients:
        worst = worst.max(x)
    return worst * arb(float(np.max(modulus.eta))) / (1 - value)


def _length(vector: Any) -> Any:
    return sum((x.abs_upper() ** 2 for x in vector.entries()), arb(0)).sqrt()


def entries_norm(entries: Sequence[Any]) -> Enclosure:
    """Enclose the Euclidean norm of balls."""
    total = Enclosure.from_arb(sum((x * x for x in entries), arb(0)))
    if not isinstance(total.hi, Fraction):
        return Enclosure(0, INF)
    return root(Enclosure(max(total.lo, Fraction(0)), total.hi))


def balls(matrix: Array) -> Any:
    """Return a float matrix as ``arb_mat``."""
    return arb_mat(matrix.shape[0], matrix.shape[1], [arb(float(x)) for x in matrix.ravel()])


def floats(matrix: Any) -> tuple[Array, Array]:
    """Return floats near an ``arb_mat`` and radii around them."""
    pairs = [float_ball(x) for x in matrix.entries()]
    shape = (matrix.nrows(), matrix.ncols())
    mid, rad = (np.array([pair[part] for pair in pairs]).reshape(shape) for part in (0, 1))
    return mid, rad


def float_enclosure(matrix: Any) -> MatrixEnclosure:
    """Round to floats; an exact zero stays one."""
    mid, rad = floats(matrix)
    zero = np.array([x.is_zero() for x in matrix.entries()]).reshape(mid.shape)
    return enclosed(np.where(zero, 0.0, mid), np.where(zero, 0.0, rad))

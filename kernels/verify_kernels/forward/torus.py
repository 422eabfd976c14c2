"""Norms of convolutions: the largest singular value of their symbol over the torus, bounded.

A convolution with zero padding and stride is the one on all of Z^2 between an embedding (by zeros)
and a restriction (to the outputs that are kept), both of norm 1. By Parseval the norm on Z^2 is
sup ||F(theta)||_2, F(theta) = sum_t K_t exp(i <t, theta>); dilations d replace theta by d theta,
which runs through the same torus. The supremum is bounded from a grid:

For unit vectors u, v let h(theta) = Re(exp(-i <k - 1, theta>/2) u* F(theta) v), kernel size k.
In phi_1 = theta_1/2 it is a real trigonometric polynomial of degree k_1 - 1 and period 2 pi. If
such a T of degree d has its largest modulus at phi_0, then |T(phi)| >= max|T| cos(d (phi - phi_0))
for |phi - phi_0| <= pi/d (M. Riesz), so on M > 2d equidistant points max|T| <= max_grid |T| /
cos(pi d/M). M = 2N points in phi are the N points 2 pi a/N in theta, each met twice up to the sign
of h. The same in phi_2 with phi_1 on its grid: sup|h| <= max_grid |h| / (c_1 c_2),
c_j = cos(pi (k_j - 1)/(2 N_j)), and |h| <= ||F||_2. With N_j = 6 (k_j - 1) every c_j is cos(pi/12).
For real K, F(-theta) is the conjugate of F(theta), so half of the grid is enough.

Source:
    M. Riesz, Eine trigonometrische Interpolationsformel und einige Ungleichungen für Polynome,
    Jahresber. DMV 23 (1914); Ehlich and Zeller, Schwankung von Polynomen zwischen Gitterpunkten,
    Math. Z. 86 (1964); Sedghi, Gupta and Long, The singular values of convolutional layers (2019)
    for the symbol.
"""

from __future__ import annotations

import math
from functools import cache

import numpy as np
from flint import arb, ctx, fmpq

from verify_kernels._rounding import (
    ETA,
    Array,
    add_up,
    div_up,
    down,
    gamma,
    mul_up,
    norm_up,
    sqrt_up,
    tau,
)
from verify_kernels.forward.radii import hypotenuse, plus, root, row_norms, times

GRID = 6
"""Grid points of an axis for each unit of degree."""
COSINE = down(0.9659258262890682)  # cos(pi/12) = 0.96592582628906828...
SQUARINGS = 4
CHUNK = 2**21
"""Entries of the symbols that are held at once."""


def grid_size(size: int) -> int:
    """Return the grid points of an axis for a kernel of this size."""
    return 1 if size == 1 else GRID * (size - 1)


def work(shape: tuple[int, ...]) -> float:
    """Return the operations that `bound_symbol` takes for kernels of shape (g, o, c, k1, k2)."""
    groups, o, c, k1, k2 = shape
    points = grid_size(k1) * (grid_size(k2) // 2 + 1)
    small, large = sorted((o, c))
    each = 8.0 * (large * small**2 + SQUARINGS * float(small) ** 3) + 4.0 * o * c * k1 * k2
    return groups * points * each


def bound_symbol(kernels: Array) -> float:
    """Bound sup over the torus of the spectral norm of the symbol, the largest of all groups.

    Args:
        kernels: K, shape (g, o, c, k1, k2), finite.

    Returns:
        An upper bound; about 1.07 (1.035 with one axis) times min(o, c)^(1/64) above the supremum
        at most.

    Error bound:
        Kernels are scaled by a power of two. Each part of fl(F) is a sum of k1 k2 products with
        cosines off by 2^-52: ||fl(F) - F||_F <= sqrt(2) ((gamma + 2^-51) sqrt(k1 k2) ||K||_F +
        sqrt(o c) tau). Norms of the matrices fl(F) as in `_norms_by_squaring`.
    """
    largest = float(np.max(np.abs(kernels), initial=0.0))
    if largest == 0.0:
        return 0.0
    exponent = math.frexp(largest)[1]
    scaled = np.ldexp(kernels, -exponent)
    top = max(_bound_group(kernel) for kernel in scaled)
    lost = mul_up(sqrt_up(float(kernels.size)), ETA, float(kernels[0, 0, 0].size))
    return mul_up(add_up(top, lost), 2.0 ** min(exponent, 1023), 2.0 ** max(0, exponent - 1023))


def _bound_group(kernel: Array) -> float:
    o, c, k1, k2 = kernel.shape
    phases = _phases(k1, k2)
    taps = k1 * k2
    weights = kernel.reshape(o * c, taps).T
    points = phases.shape[2]
    chunk = max(1, CHUNK // (o * c))
    best = 0.0
    for first in range(0, points, chunk):
        part = phases[:, :, first : first + chunk]
        parts = [(each.T @ weights).reshape(-1, o, c) for each in part]
        best = max(best, float(np.max(_norms_by_squaring(*parts))))
    slip = mul_up(add_up(gamma(taps), 2.0**-51), sqrt_up(float(taps)), norm_up(kernel))
    under = mul_up(sqrt_up(float(o * c)), tau(taps, 1.0, 1.0))
    return div_up(add_up(best, mul_up(1.5, add_up(slip, under))), grid_factor(k1, k2))


def grid_factor(k1: int, k2: int) -> float:
    """Return a lower bound of c_1 c_2, what a maximum on the grid may miss."""
    factor = 1.0
    for size in (k1, k2):
        if size > 1:
            factor = down(factor * COSINE)
    return factor


@cache
def _phases(k1: int, k2: int) -> Array:
    """Return cos and sin of <t, theta> on half of the grid, shape (2, k1 k2, points), to 2^-52."""
    n1, n2 = grid_size(k1), grid_size(k2)
    whole = math.lcm(n1, n2)
    before = ctx.prec
    ctx.prec = 100
    try:
        turns = [arb(fmpq(2 * j, whole)) for j in range(whole)]
        table = np.array([[float(x.cos_pi()) for x in turns], [float(x.sin_pi()) for x in turns]])
    finally:
        ctx.prec = before
    a, b = np.meshgrid(np.arange(n1), np.arange(n2 // 2 + 1), indexing="ij")
    t1, t2 = np.meshgrid(np.arange(k1), np.arange(k2), indexing="ij")
    along = np.outer(t1.ravel(), a.ravel()) * (whole // n1)
    across = np.outer(t2.ravel(), b.ravel()) * (whole // n2)
    found: Array = np.ascontiguousarray(table[:, (along + across) % whole])
    return found


def _norms_by_squaring(real: Array, imaginary: Array) -> Array:
    """Bound the spectral norms of the matrices G = A + iB by ||G||^2 = ||G* G||, repeated.

    After the last squaring the Frobenius norm is taken: its excess over the spectral norm, a
    factor sqrt(n) at most, is lost to the power 1/2^(SQUARINGS + 1).

    Args:
        real: A, shape (points, m, n).
        imaginary: B, of the same shape.

    Returns:
        Upper bounds, shape (points,).

    Error bound:
        With V = [A; B], W = [B; -A]: G* G = V^T V + i V^T W, each part off by gamma_{2m} ||G||_F^2
        + n tau_{2m} in the spectral norm. Before each step G is divided by a power of two near
        ||G||_F, which loses m n eta at most.
    """
    A, B = real, imaginary
    if A.shape[2] > A.shape[1]:
        A, B = A.transpose(0, 2, 1), B.transpose(0, 2, 1)
    steps: list[tuple[Array, float]] = []
    for _ in range(SQUARINGS + 1):
        exponents = np.frexp(hypotenuse(row_norms(A), row_norms(B)))[1]
        turned = -exponents.reshape(-1, 1, 1)
        A, B = np.ldexp(A, turned), np.ldexp(B, turned)
        m, n = A.shape[1:]
        # ||G||_F <= 1 now
        error = add_up(mul_up(2.0, gamma(2 * m)), mul_up(2.0 * n, tau(2 * m, 1.0, 1.0)))
        steps.append((exponents, error))
        V, W = np.concatenate([A, B], axis=1), np.concatenate([B, -A], axis=1)
        turned_V = V.transpose(0, 2, 1)
        A, B = turned_V @ V, turned_V @ W
    bound = hypotenuse(row_norms(A), row_norms(B))
    for exponents, error in reversed(steps):
        lost = mul_up(float(max(real.shape[1:])) ** 2, 2.0 * ETA)
        bound = times(plus(root(plus(bound, error)), lost), np.ldexp(1.0, exponents))
    return bound

r"""The spectral gap of a Langevin diffusion in one or two dimensions, measured on a grid.

The generator A h = (s/2) Lap h - grad f . grad h of dX = -grad f dt + sqrt(s) dB is symmetric for
mu ~ exp(-2 f/s). On a grid of width h the chain that jumps from a node i to each neighbour j at
rate (s / 2 h^2) exp(-(f_j - f_i)/s) is reversible for the same weights; conjugated by
sqrt(mu) it is the symmetric matrix with -s / 2 h^2 between neighbours and

    sum over neighbours j of (s / 2 h^2) exp(-(f_j - f_i)/s)

on the diagonal. Its kernel is sqrt(mu) exactly, its second eigenvalue approximates the gap to
second order in h. Nothing here is proved: the box is cut off, the grid is finite, the eigenvalue
is that of an iterative or a LAPACK solver. The result is a `Measurement`, to be held beside the
proved lower bounds.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import scipy.linalg
import scipy.sparse
import scipy.sparse.linalg
from numpy.typing import NDArray

from verify.enclosure import Measurement
from verify.errors import InputError

Array = NDArray[np.float64]
Function = Callable[[Array], Array]

POINTS = {1: 4001, 2: 161}
"""Nodes on each axis where none are asked for."""

_STEEPEST = 300.0


def measure_spectral_gap(
    f: Function, *, dimension: int, s: float, radius: float, points: int | None = None
) -> Measurement:
    """Measure the smallest nonzero eigenvalue of -A on the box [-radius, radius]^dimension.

    Args:
        f: takes points (m, dimension), returns f there, shape (m,).
        dimension: 1 or 2.
        s: temperature, positive.
        radius: half the side of the box, positive; exp(-2 (f - min f)/s) should be negligible
            on its boundary (`confining_radius`).
        points: nodes on each axis, at least 9; an odd number. By default `POINTS`.

    Returns:
        The value on the grid; its spread is the difference to the grid of twice the width.

    Raises:
        InputError: another dimension, numbers that are not positive, too few points, values of
            f that are not finite, or a grid too coarse for them.
    """
    count = POINTS.get(dimension, 0) if points is None else points
    if dimension not in (1, 2):
        raise InputError(f"measure_spectral_gap: expected dimension 1 or 2, but got {dimension!r}")
    if not (0.0 < s < np.inf and 0.0 < radius < np.inf):
        raise InputError(
            f"measure_spectral_gap: expected s > 0 and radius > 0, but got {s!r} and {radius!r}"
        )
    if count < 9 or count % 2 == 0:
        raise InputError(
            f"measure_spectral_gap: expected an odd number of points >= 9, but got {count!r}"
        )
    axis = np.linspace(-radius, radius, count)
    mesh = np.meshgrid(*[axis] * dimension, indexing="ij")
    values = np.asarray(f(np.stack([part.ravel() for part in mesh], axis=1)), dtype=np.float64)
    if values.shape != (count**dimension,) or not np.isfinite(values).all():
        raise InputError(
            f"measure_spectral_gap: expected finite f of shape ({count**dimension},), "
            f"but got shape {values.shape}"
        )
    grid = values.reshape((count,) * dimension)
    width = 2.0 * radius / (count - 1)
    fine = _second_eigenvalue(grid, s, width)
    coarse = _second_eigenvalue(grid[(slice(None, None, 2),) * dimension], s, 2.0 * width)
    return Measurement(
        fine,
        f"second eigenvalue of a reversible chain on {count}^{dimension} nodes",
        abs(fine - coarse),
    )


def confining_radius(lam: float, s: float, oscillation: float, *, decay: float = 35.0) -> float:
    """Return R with (lam/2) R^2 - oscillation >= decay s / 2: exp(-2 (f - min f)/s) <= exp(-decay).

    Args:
        lam: f - min f >= (lam/2) |w|^2 - oscillation.
        s: temperature.
        oscillation: of the rest of f.
        decay: negative logarithm of the density that may be cut off.
    """
    return float(np.sqrt((2.0 * oscillation + decay * s) / lam))


def _second_eigenvalue(grid: Array, s: float, width: float) -> float:
    """Return the second eigenvalue of the symmetric matrix of the module's text."""
    rate = s / (2.0 * width * width)
    diagonal = np.zeros_like(grid)
    for axis in range(grid.ndim):
        rise = np.diff(grid, axis=axis) / s
        if np.abs(rise).max() > _STEEPEST:
            raise InputError(
                f"measure_spectral_gap: expected a grid on which f/s changes by at most "
                f"{_STEEPEST:g} between neighbours, but got {np.abs(rise).max():.3g}; "
                "add points or shrink the box"
            )
        ahead = [slice(None)] * grid.ndim
        behind = [slice(None)] * grid.ndim
        ahead[axis], behind[axis] = slice(None, -1), slice(1, None)
        diagonal[tuple(ahead)] += rate * np.exp(-rise)
        diagonal[tuple(behind)] += rate * np.exp(rise)
    if grid.ndim == 1:
        beside = np.full(len(grid) - 1, -rate)
        found = scipy.linalg.eigh_tridiagonal(
            diagonal, beside, eigvals_only=True, select="i", select_range=(0, 1)
        )
        return float(found[1])
    return _second_of_sparse(diagonal, grid, s, rate)


def _second_of_sparse(diagonal: Array, grid: Array, s: float, rate: float) -> float:
    """Return the second eigenvalue by shift and invert, from a start without the ground state."""
    n = len(grid)
    line = scipy.sparse.diags_array([np.ones(n - 1), np.ones(n - 1)], offsets=[-1, 1])
    matrix = scipy.sparse.diags_array(diagonal.ravel()) - rate * scipy.sparse.kronsum(line, line)
    ground = np.exp(-(grid - grid.min()) / s).ravel()
    start = ground * np.random.default_rng(0).standard_normal(len(ground))
    found = scipy.sparse.linalg.eigsh(
        matrix.tocsc(), k=2, sigma=-1e-3 * s, v0=start, return_eigenvectors=False
    )
    return float(np.sort(found)[1])

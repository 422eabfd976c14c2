"""The spectrum of mini-batch noise at one point, as a measurement.

With g_i the gradient of the i-th datum's loss, the covariance of the gradient of a mini-batch is
a multiple of C = (1/n) sum g_i g_i^T - g g^T, g = (1/n) sum g_i: the second moment of n vectors
g_i - g whose sum is 0, so of rank at most n - 1.

Source: linear algebra.
"""

from __future__ import annotations

import numpy as np

from verify.enclosure import Measurement
from verify_kernels._rounding import Array
from verify_kernels.two_layer import exact_data as exact
from verify_kernels.two_layer.ball_risk import Point, Problem, evaluate

_SPECTRUM = 20_000  # data times parameters up to which the spectrum is computed


def trained_parameters(problem: Problem, point: Point) -> int:
    """Return D, the number of trained parameters."""
    p, d = len(point.a), np.shape(problem.X)[1]
    sizes = {"W": p * d, "b": p, "a": p, "c": 1}
    return sum(sizes[role] for role in problem.penalties)


def noise_spectrum(problem: Problem, point: Point) -> list[Measurement] | None:
    """Return the eigenvalues of C at a point, largest first.

    They are measured: the gradients are rounded to floats and no error is bounded. None for
    large data, or where they leave the range of binary64.
    """
    gradients = per_sample_gradients(problem, point)
    if gradients is None or not np.isfinite(gradients).all():
        return None
    with np.errstate(over="ignore"):
        centred = gradients - gradients.mean(axis=0)
        values = np.linalg.svd(centred, compute_uv=False) ** 2 / len(centred)
    if not np.isfinite(values).all():
        return None
    full = np.zeros(gradients.shape[1])
    full[: len(values)] = values[: len(full)]
    how = "singular values of the centred per-sample gradients"
    return [Measurement(float(value), how) for value in full]


def per_sample_gradients(problem: Problem, point: Point) -> Array | None:
    """Return the gradients of single data (without penalties) as floats, shape (n, D)."""
    X, y = exact.inputs(problem), exact.labels(problem)
    if len(X) * trained_parameters(problem, point) > _SPECTRUM:
        return None
    free = dict.fromkeys(problem.penalties, 0)
    rows = []
    for i in range(len(X)):
        single = Problem(
            X[i : i + 1], y[i : i + 1], problem.activation, free, problem.loss, problem.loss_scale
        )
        gradient = evaluate(single, point, bits=128).gradient
        flat: list[float] = []
        for role, part in gradient.items():
            entries = [g for row in part for g in row] if role == "W" else part
            flat += [float(g.mid()) for g in (entries if role != "c" else [part])]
        rows.append(flat)
    return np.array(rows)

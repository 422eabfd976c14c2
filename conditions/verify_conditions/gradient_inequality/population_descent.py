r"""Population loss, its gradient and gradient descent in floats, compiled; nothing here is proved.

Rows p_b of one array: the m students (sign s_b = +1), then the r teachers (s_b = -1), output
weights tied to the norms. With unit rows P_b, n_b = ||p_b||, t the angle of a pair and
g(t) = sin t - t cos t the loss is

    L = 1/2 ( A ||D||^2 + B sum_ab s_a s_b n_a^2 n_b^2 g(t_ab) ),   D = sum_b s_b n_b p_b,

(A, B) = (1, 2/pi) for |.| and (1/2, 1/(2 pi)) for ReLU, because sin t + (c - t) cos t
= c cos t + g(t) and the cosines add up to ||D||^2. The gradient in w_i is

    A n_i (D + <D, W_i> W_i) + B n_i sum_b s_b n_b^2 ( (2 g(t) - t |P_b - W_i|^2/2) W_i
                                                       - t (P_b - W_i) ).

Pairs that are nearly parallel enter with t^2 and t^3, D as one difference, so around one teacher
both keep their relative accuracy where the loss is tiny. Terms between groups around different
teachers still cancel: measured against balls the gradient is off by about 1e-16 times the squared
norms, the loss likewise. Where a loss is shown it is enclosed (`verify_kernels.teacher_student`).

Source: implied by the kernels E|u.x||v.x| and E relu(u.x) relu(v.x) of Cho and Saul, *Kernel
methods for deep learning*, 2009.
"""

from __future__ import annotations

import math

import numba
import numpy as np

from verify_kernels._rounding import Array

CONSTANTS = {"abs": (1.0, 2.0 / math.pi), "relu": (0.5, 0.5 / math.pi)}


def population_gradient(students: Array, teachers: Array, activation: str) -> tuple[float, Array]:
    """Return L and its gradient in the students, output weights tied, in floats.

    Args:
        students: shape (m, d), float64.
        teachers: shape (r, d), float64.
        activation: ``abs`` or ``relu``.
    """
    rows = np.vstack([students, teachers])
    gradient = np.empty(students.shape)
    first, second = CONSTANTS[activation]
    loss = _gradient(rows, len(students), first, second, np.empty_like(rows), gradient)
    return float(loss), gradient


def descend(students: Array, teachers: Array, activation: str, step: float, steps: int) -> Array:
    """Return the students after so many steps of gradient descent on the population loss."""
    rows = np.vstack([students, teachers])
    first, second = CONSTANTS[activation]
    _descend(rows, len(students), first, second, step, steps)
    return rows[: len(students)].copy()


@numba.njit(cache=True, fastmath=False)
def _descend(rows: Array, m: int, first: float, second: float, step: float, steps: int) -> None:
    units, gradient = np.empty_like(rows), np.empty((m, rows.shape[1]))
    for _ in range(steps):
        _gradient(rows, m, first, second, units, gradient)
        for i in range(m):
            for c in range(rows.shape[1]):
                rows[i, c] -= step * gradient[i, c]


@numba.njit(cache=True, fastmath=False)
def _wedge(t: float) -> float:
    """Return g(t) = sin t - t cos t = t^3/3 - t^5/30 + t^7/840 - ..., by its series below 1/4."""
    if t >= 0.25:
        return math.sin(t) - t * math.cos(t)
    x = t * t
    tail = 1.0 / 45360.0 - x * (1.0 / 3991680.0 - x / 518918400.0)
    return t * x * (1.0 / 3.0 - x * (1.0 / 30.0 - x * (1.0 / 840.0 - x * tail)))


@numba.njit(cache=True, fastmath=False)
def _dot(x: Array, y: Array) -> float:
    total = 0.0
    for c in range(len(x)):
        total += x[c] * y[c]
    return total


@numba.njit(cache=True, fastmath=False)
def _gradient(
    rows: Array, m: int, first: float, second: float, units: Array, gradient: Array
) -> float:
    count, d = rows.shape
    norms, moment = np.empty(count), np.zeros(d)
    for b in range(count):
        norms[b] = math.sqrt(_dot(rows[b], rows[b]))
        sign = 1.0 if b < m else -1.0
        for c in range(d):
            units[b, c] = rows[b, c] / norms[b] if norms[b] > 0.0 else 0.0
            moment[c] += sign * norms[b] * rows[b, c]
    total = first * _dot(moment, moment)
    for i in range(m):
        along = _dot(moment, units[i])
        for c in range(d):
            gradient[i, c] = first * norms[i] * (moment[c] + along * units[i, c])
    for b in range(count):
        for i in range(min(b, m)):
            apart, t, g = _angle(units[i], units[b])
            radial = 2.0 * g - 0.5 * t * apart
            weight = second * norms[i] * norms[b] * (1.0 if b < m else -1.0)
            total += 2.0 * weight * norms[i] * norms[b] * g
            _turn(gradient[i], weight * norms[b], radial, t, units[i], units[b])
            if b < m:
                _turn(gradient[b], weight * norms[i], radial, t, units[b], units[i])
        for i in range(m, b):
            _, _, g = _angle(units[i], units[b])
            total += 2.0 * second * (norms[i] * norms[b]) ** 2 * g
    return 0.5 * total


@numba.njit(cache=True, fastmath=False)
def _angle(one: Array, other: Array) -> tuple[float, float, float]:
    """Return ||P - Q||^2, the angle t and g(t) of two unit rows."""
    apart, together = 0.0, 0.0
    for c in range(len(one)):
        apart += (one[c] - other[c]) ** 2
        together += (one[c] + other[c]) ** 2
    t = 2.0 * math.atan2(math.sqrt(apart), math.sqrt(together))
    return apart, t, _wedge(t)


@numba.njit(cache=True, fastmath=False)
def _turn(
    gradient: Array, weight: float, radial: float, t: float, own: Array, other: Array
) -> None:
    """Add the wedge term of a pair to the gradient of one of its rows."""
    for c in range(len(own)):
        gradient[c] += weight * (radial * own[c] - t * (other[c] - own[c]))

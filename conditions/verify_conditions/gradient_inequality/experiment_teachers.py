"""Teachers, and where the students start: near them, or where an exponent is known."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import ArrayLike

from verify.network import Activation, TeacherStudent
from verify_kernels._rounding import Array

NORMS = (1.0, 1.25, 0.75, 1.125, 0.875)
MORE_INPUTS = 3


def orthogonal_teachers(r: int) -> Array:
    """Return r <= 5 exactly orthogonal teachers of norms between 3/4 and 5/4, d = r + 3."""
    return np.diag(NORMS[:r]) @ np.eye(r, r + MORE_INPUTS)


def oblique_teachers() -> Array:
    """Return three teachers, the nearest two 45 degrees apart."""
    return np.array([[1.0, 0, 0, 0, 0], [1.0, 1.0, 0, 0, 0], [0, 0.5, 0, 1.0, 0]])


def start_near(teachers: Array, width: int, activation: str, seed: int) -> TeacherStudent:
    """Return students that share the teachers evenly, each 0.3 to 0.5 rad off its own.

    The squared norms of the students of a teacher add up to that of the teacher up to 30 %.
    """
    rng, rows = np.random.default_rng(seed), []
    r, d = teachers.shape
    for i in range(width):
        norm = float(np.linalg.norm(teachers[i % r]))
        own, aside = teachers[i % r] / norm, rng.standard_normal(d)
        aside -= (aside @ own) * own
        aside /= np.linalg.norm(aside)
        angle = rng.uniform(0.3, 0.5)
        sharing = len(range(i % r, width, r))
        share = rng.uniform(0.7, 1.3) / sharing
        rows.append(norm * math.sqrt(share) * (math.cos(angle) * own + math.sin(angle) * aside))
    return _network(rows, teachers, activation)


def balanced_pair(d: float) -> TeacherStudent:
    """Return students c (cos d, +-sin d) of the teacher (1, 0), |.|, with the best c.

    The loss is (2/(3 pi)) d^3 (1 + o(1)) and ||grad L|| = (2/pi) d^2 (1 + o(1)), so that
    ||grad L|| = 1.789 L^(2/3): the exponent 1/2 of a PL inequality is impossible.
    """
    c = math.sqrt(_kernel(d) / (1.0 + _kernel(2.0 * d)))
    x, y = c * math.cos(d), c * math.sin(d)
    return _network([[x, y], [x, -y]], [[1.0, 0.0]], "abs")


def stray_student(norm: float, angle: float) -> TeacherStudent:
    """Return a light student at an angle to the teacher (1, 0), |.|, beside one that makes up.

    With eps the norm and a the angle, L = (eps^4/2) rho(a) (1 + o(1)) and
    ||grad L|| = eps^3 sqrt(4 rho^2 + rho'^2/4) (1 + o(1)), rho = 1 - kap^2 - turn^2,
    kap = (2/pi)(sin a + (pi/2 - a) cos a), turn = (1 - 2a/pi) sin a. The other student stands at
    (1 - eps^2 kap/2, -eps^2 turn), the best place up to eps^4.
    """
    turn = (1.0 - 2.0 * angle / math.pi) * math.sin(angle)
    heavy = [1.0 - norm**2 * _kernel(angle) / 2.0, -(norm**2) * turn]
    light = [norm * math.cos(angle), norm * math.sin(angle)]
    if angle == math.pi / 2:
        light[0], heavy[1] = 0.0, 0.0
    return _network([heavy, light], [[1.0, 0.0]], "abs")


def stray_ratio(angle: float) -> float:
    """Return the limit of ||grad L|| / L^(3/4) as the stray student becomes light."""
    turn, slope = (1.0 - 2.0 * angle / math.pi) * math.sin(angle), math.pi / 2.0 - angle
    turned = (1.0 - 2.0 * angle / math.pi) * math.cos(angle) - (2.0 / math.pi) * math.sin(angle)
    rho = 1.0 - _kernel(angle) ** 2 - turn**2
    drift = 2.0 * _kernel(angle) * (2.0 / math.pi) * slope * math.sin(angle) - 2.0 * turn * turned
    return float(math.sqrt(4.0 * rho**2 + drift**2 / 4.0) / (rho / 2.0) ** 0.75)


def _kernel(t: float) -> float:
    return (2.0 / math.pi) * (math.sin(t) + (math.pi / 2.0 - t) * math.cos(t))


def _network(students: ArrayLike, teachers: ArrayLike, activation: str) -> TeacherStudent:
    return TeacherStudent(np.array(students), np.array(teachers), Activation.parse(activation))

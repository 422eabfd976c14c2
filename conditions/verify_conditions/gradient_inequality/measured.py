"""What is measured along a run in plain floats; nothing here enters a verdict."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import numpy as np
from scipy import special

from verify.enclosure import Measurement
from verify.network import TeacherStudent
from verify_conditions.gradient_inequality.problem import Problem
from verify_kernels.teacher_student import enclose_population

LEVEL = 0.95
_FEWEST = 3


def fitted_exponent(points: Sequence[tuple[float, float]]) -> Measurement | None:
    """Return the slope of log G against log L with half its 95 % confidence interval.

    Args:
        points: (L, G) of the stored points; those that are not positive are left out.

    Returns:
        None for fewer than three different losses.
    """
    kept = [(x, y) for x, y in points if 0.0 < x < math.inf and 0.0 < y < math.inf]
    if len({x for x, _ in kept}) < _FEWEST:
        return None
    logs = np.log(np.array(kept))
    x, y = (logs - logs.mean(axis=0)).T
    spread, freedom = float(x @ x), len(kept) - 2
    if spread == 0.0:  # losses so close that their logarithms are one number
        return None
    slope = float(x @ y) / spread
    left = float(np.sum((y - slope * x) ** 2)) / freedom
    half = float(special.stdtrit(freedom, 0.5 + 0.5 * LEVEL)) * math.sqrt(left / spread)
    return Measurement(
        slope, spread=half,
        how=f"least squares over {len(kept)} stored points, +- half the 95 % confidence interval",
    )  # fmt: skip


def least_between(problem: Problem) -> Measurement | None:
    """Return the least ratio ||grad L|| / L^alpha half-way between neighbouring checkpoints.

    Only for teacher and student, whose loss has a closed form; the segment between two stored
    points is not the path of training.
    """
    networks = [own.network for _, own in problem.checkpoints]
    if not all(isinstance(network, TeacherStudent) for network in networks):
        return None
    alpha = float(problem.declared.exponent)
    ratios = []
    for one, other in pairwise(networks):
        found = enclose_population(_half_way(one, other))
        loss, norm = (each.enclosure() for each in (found.loss, found.gradient_norm))
        if loss.lo > 0 and norm.is_bounded:
            ratios.append(norm.lo_float / loss.hi_float**alpha)
    if not ratios:
        return None
    return Measurement(
        min(ratios), how=f"evaluated at {len(ratios)} midpoints, and nowhere else between them"
    )


def _half_way(one: TeacherStudent, other: TeacherStudent) -> TeacherStudent:
    def mean(a: Any, b: Any) -> Any:
        return None if a is None or b is None else 0.5 * a + 0.5 * b

    return TeacherStudent(
        mean(one.students, other.students), one.teachers, one.activation,
        mean(one.a, other.a), one.a_star,
    )  # fmt: skip

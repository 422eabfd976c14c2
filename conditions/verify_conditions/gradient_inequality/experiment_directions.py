"""Which teacher each student has found: proved from the loss alone, beside the true angles."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

from verify.network import Activation, TeacherStudent
from verify_kernels.teacher_student import enclose_population, loss_only

HEAVY = 0.1


@dataclass(frozen=True)
class Directions:
    """Angles of the students to the lines of their teachers, in radians.

    Args:
        heavy: students of norm at least `HEAVY`.
        bounded: those of them with a bound from the loss alone.
        widest_bound: the largest of these bounds, upper end.
        widest_angle: the largest true angle of a heavy student, upper end.
        mass_gap: the largest amount by which the squared norms of a teacher's students differ
            from the teacher's, upper end.
        sound: every true angle and every mass lies within what the loss alone proves.
        reason: why the loss alone says nothing here.
    """

    heavy: int
    bounded: int
    widest_bound: float
    widest_angle: float
    mass_gap: float
    sound: bool
    reason: str = ""


def directions_of(network: TeacherStudent) -> Directions:
    """Return what the loss proves about the rows of a network with tied output weights.

    The bounds are for |.|. The rows of a ReLU network are also those of the network with |.|, and
    its loss is at most four times the ReLU loss (a ReLU is half of |.| plus a linear part, which is
    orthogonal to it), so they are asked about that network.
    """
    twin = replace(network, activation=Activation.parse("abs"))
    found = loss_only(twin, enclose_population(twin).loss.enclosure())
    if found.reason:
        return Directions(0, 0, math.inf, math.inf, math.inf, True, found.reason)
    heavy = [
        one
        for one, row in zip(found.students, network.students, strict=True)
        if float(row @ row) >= HEAVY**2 and one.angle is not None
    ]
    bounds = [one.bound.hi_float for one in heavy if one.bound is not None]
    gaps = [mass.difference for mass in found.masses]
    angles = all(
        one.bound is None or one.angle is None or not one.angle.lo > one.bound.hi
        for one in found.students
    )
    masses = all(
        gap is None or not (gap.hi < mass.lower.lo or gap.lo > mass.upper.hi)
        for gap, mass in zip(gaps, found.masses, strict=True)
    )
    return Directions(
        len(heavy),
        len(bounds),
        max(bounds, default=math.inf),
        max((one.angle.hi_float for one in heavy if one.angle is not None), default=math.inf),
        max((max(-gap.lo_float, gap.hi_float) for gap in gaps if gap is not None),
            default=math.inf),
        angles and masses,
    )  # fmt: skip

"""How far apart the teachers are, and how long."""

from __future__ import annotations

import math
from fractions import Fraction
from itertools import combinations

from flint import arb, ctx

from verify.enclosure import Enclosure
from verify.evidence import Evidence
from verify.network import TeacherStudent
from verify_kernels.teacher_student.lines import Lines, lines_of
from verify_kernels.teacher_student.sums import Ball, ball

BITS = 192


def separation(network: TeacherStudent, *, signed: bool = False) -> Evidence:
    """Enclose the least angle between two teachers.

    The angle is atan2(S, C) with C = w*_j . w*_k and S^2 = ||w*_j||^2 ||w*_k||^2 - C^2 formed
    exactly, so that it is tight however small it is; on one line it is exactly 0 (or pi).

    Args:
        network: students and teachers; the students do not matter.
        signed: whether -w*_k is another direction than w*_k; otherwise the angle is that between
            the lines, min(t, pi - t).

    Returns:
        The least angle in radians; unbounded for a single teacher or where one is zero.
    Error bound:
        ball arithmetic of 192 bits from exact integers.
    """
    lines = lines_of(network)
    rows = list(lines.teachers)
    if len(rows) == 1:
        return Evidence(Enclosure.unbounded(), why_open="there is one teacher, and no pair")
    if any(lines.place[row] is None for row in rows):
        return Evidence(Enclosure.unbounded(), why_open="a teacher is zero and has no direction")
    with ctx.workprec(BITS):
        found = [Enclosure.from_arb(angle(lines, *pair, signed)) for pair in combinations(rows, 2)]
    least = Enclosure(min(one.lo for one in found), min(one.hi for one in found))
    return Evidence(least, how="angles from exact products of the teachers")


def angle(lines: Lines, first: int, second: int, signed: bool) -> Ball:
    """Enclose the angle of two rows that are not zero, at the working precision."""
    one, other = lines.place[first], lines.place[second]
    same = lines.factor[first] * lines.factor[second] > 0
    if one is None or other is None:
        return arb(0, math.inf)
    if one == other:
        return arb(0) if same or not signed else arb.pi()
    cosine = dot(lines.directions[one], lines.directions[other])
    sine = arb(lines.squares[one] * lines.squares[other] - cosine * cosine).sqrt()
    cosine = abs(cosine) if not signed else cosine if same else -cosine
    return arb.atan2(sine, arb(cosine))


def dot(first: tuple[int, ...], second: tuple[int, ...]) -> int:
    """Return the exact product of two integer vectors."""
    return sum(a * b for a, b in zip(first, second, strict=True))


def norm_range(network: TeacherStudent) -> tuple[Evidence, Evidence]:
    """Enclose the least and the largest norm of a teacher, from exact squares."""
    lines = lines_of(network)
    squares = [lines.square(row) for row in lines.teachers]
    return _root(min(squares)), _root(max(squares))


def _root(square: Fraction) -> Evidence:
    with ctx.workprec(BITS):
        found = Enclosure.from_arb(ball(square).sqrt())
    return Evidence(found, how="square root of the exact sum of squares")

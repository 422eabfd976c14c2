"""What the value of the loss alone proves about the students: angles and masses.

For the modulus and tied weights, f - f* = sum_b M_b |p^_b . x| with masses M = ||w_i||^2 and
-||w*_j||^2. In He_2k, the Hermite polynomials, |t| has the coefficients c_2k = E |t| He_2k(t) with
c_0^2 = c_2^2 = c_4^2 = 2/pi, and for a symmetric tensor T of order 2k

    E |x . u| <T, He_2k(x)> = c_2k <T, u^(2k)>   at unit u,    E <T, He_2k(x)>^2 = (2k)! ||T||^2,

so by Cauchy-Schwarz every even polynomial q(u) = sum_k <T_k, u^(2k)> obeys

    |sum_i ||w_i||^2 q(w^_i) - sum_j ||w*_j||^2 q(w*^_j)| <= sqrt(2L sum_k (2k)! ||T_k||^2/c_2k^2).

The polynomials that are used, with orthogonal teachers:

* q = sin^2 = 1 - <u, w*^>^2 for one teacher: the factor is 2L (pi/2)(1 + 2) = 3 pi L;
* q = 1 - sum_j <u, w*^_j>^4 for r teachers: 2L (pi/2)(1 + 24 r) = pi (1 + 24 r) L, and
  q >= 1 - max_j cos^2_j = min_j sin^2, because sum_j cos^2_j <= 1;
* q = <u, w*^_j>^4: 2L (pi/2) 24 = 24 pi L.

With B1 the bound of sum_i ||w_i||^2 min_j sin^2 and E that of the fourth moments, one student has
||w_i||^2 sin^2 <= B1. With T_j the students closest to teacher j, 1 - cos^4 <= 2 sin^2 gives
sum_{T_j} ||w_i||^2 <= ||w*_j||^2 + E + 2 B1; a student of another teacher has cos^4_j <= cos^2_j
<= min sin^2, so sum_{T_j} ||w_i||^2 >= ||w*_j||^2 - E - B1, and >= ||w*_j||^2 - E if r = 1.
"""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from itertools import combinations

from flint import arb, ctx

from verify.enclosure import Enclosure
from verify.network import TeacherStudent
from verify_kernels.teacher_student.lines import Lines, lines_of
from verify_kernels.teacher_student.sums import Ball, ball
from verify_kernels.teacher_student.teacher_angles import BITS, angle, dot


@dataclass(frozen=True)
class StudentBound:
    """One student against the teacher whose line is closest.

    Args:
        teachers: the closest teacher, several on an exact tie, none for a student that is zero.
        angle: its true angle to that line; None for a student that is zero.
        bound: arcsin(sqrt(B1)/||w_i||), its upper end is the proved bound; None where it is void.
    """

    teachers: tuple[int, ...]
    angle: Enclosure | None
    bound: Enclosure | None


@dataclass(frozen=True)
class TeacherMass:
    """The students that are closest to one teacher.

    Args:
        difference: sum of ||w_i||^2 over them minus ||w*_j||^2; None where a student is tied.
        lower, upper: what the loss proves: difference >= lower.lo and <= upper.hi.
        fourth_moment_difference: sum_i ||w_i||^2 cos^4 - ||w*_j||^2, at most E in size.
    """

    difference: Enclosure | None
    lower: Enclosure
    upper: Enclosure
    fourth_moment_difference: Enclosure


@dataclass(frozen=True)
class LossOnly:
    """What a value of the loss proves; see the module.

    Args:
        B1: bound of sum_i ||w_i||^2 min_j sin^2.
        E: bound of the differences of fourth moments.
        sum_sin2: the true sum.
        students: one entry a student.
        masses: one entry a teacher.
        reason: why nothing is said, and then everything else is empty or unbounded.
    """

    B1: Enclosure
    E: Enclosure
    sum_sin2: Enclosure
    students: tuple[StudentBound, ...] = ()
    masses: tuple[TeacherMass, ...] = ()
    reason: str = ""


def loss_only(network: TeacherStudent, loss: Enclosure) -> LossOnly:
    """Return what the loss alone proves about angles and masses, beside their true values.

    Args:
        network: the modulus, tied output weights, nonzero pairwise orthogonal teachers (decided
            exactly); for others the result has a reason and nothing else.
        loss: an enclosure of the population loss L of this network.

    Returns:
        Enclosures of the formulas for L in the enclosure: the upper ends of B1, E and of the
        angles, and the outer ends of the bounds of masses, are what is proved.
    Error bound:
        ball arithmetic of 192 bits, from exact products and exact sums of masses.
    Source:
        the dual polynomials of the module, each with its proof there.
    """
    lines = lines_of(network)
    reason = _reason(lines)
    if reason:
        nothing = Enclosure.unbounded()
        return LossOnly(nothing, nothing, nothing, reason=reason)
    count = len(lines.teachers)
    b1 = root_of(loss, 3 if count == 1 else 1 + 24 * count)
    e = root_of(loss, 24)
    with ctx.workprec(BITS):
        students = tuple(_student(lines, row, b1) for row in range(network.width))
        masses = tuple(_mass(lines, students, j, b1, e) for j in range(count))
        return LossOnly(b1, e, _sum_sin2(lines, students), students, masses)


def _reason(lines: Lines) -> str:
    """Say why the formulas do not apply, or nothing."""
    network = lines.network
    if network.activation.name != "abs":
        return f"the bounds are stated for the activation abs, and this is {network.activation}"
    if not network.tied:
        return "the bounds are stated for tied output weights, and these are free"
    places = [lines.place[row] for row in lines.teachers]
    if None in places:
        return f"teacher {places.index(None)} is zero and has no direction"
    for (j, one), (k, other) in combinations(enumerate(places), 2):
        ends = [lines.directions[place] for place in (one, other) if place is not None]
        if dot(*ends) != 0:
            return f"the teachers {j} and {k} are not exactly orthogonal"
    return ""


def root_of(loss: Enclosure, factor: int | Ball) -> Enclosure:
    """Enclose sqrt(factor pi L) over an enclosure of L >= 0."""
    with ctx.workprec(BITS):
        ends = [
            Enclosure.from_arb((factor * arb.pi() * Enclosure.exact(end).arb()).sqrt())
            if isinstance(end, Fraction)
            else Enclosure.unbounded()
            for end in (max(loss.lo, Fraction(0)), loss.hi)
        ]
    return Enclosure(max(ends[0].lo, 0), ends[1].hi)


def closest(lines: Lines, row: int) -> tuple[int, ...]:
    """Return the teachers of the largest cos^2 to a student exactly, none for a zero student."""
    place = lines.place[row]
    if place is None:
        return ()
    cosines = [Fraction(-1)] * len(lines.teachers)
    for j, teacher in enumerate(lines.teachers):
        other = lines.place[teacher]
        if other is not None:
            product = dot(lines.directions[place], lines.directions[other])
            cosines[j] = Fraction(product * product, lines.squares[other])
    return tuple(j for j, one in enumerate(cosines) if one == max(cosines))


def _student(lines: Lines, row: int, b1: Enclosure) -> StudentBound:
    nearest = closest(lines, row)
    if not nearest:
        return StudentBound((), None, None)
    true = Enclosure.from_arb(angle(lines, row, lines.teachers[nearest[0]], signed=False))
    return StudentBound(nearest, true, arcsine(b1, lines.square(row)))


def arcsine(mass: Enclosure, square: Fraction) -> Enclosure | None:
    """Enclose arcsin sqrt(mass/square), or return None where it may be void."""
    if not isinstance(mass.hi, Fraction) or mass.hi >= square:
        return None
    ends = []
    for end in (mass.lo, mass.hi):
        part = ball(Fraction(end) / square)
        ends.append(Enclosure.from_arb(arb.atan2(part.sqrt(), (1 - part).sqrt())))
    return Enclosure(max(ends[0].lo, 0), ends[1].hi)


def _mass(
    lines: Lines, students: tuple[StudentBound, ...], j: int, b1: Enclosure, e: Enclosure
) -> TeacherMass:
    teacher = lines.teachers[j]
    own = -lines.square(teacher)
    fourth = ball(own)
    for row in range(lines.network.width):
        place, other = lines.place[row], lines.place[teacher]
        if place is not None and other is not None:
            product = dot(lines.directions[place], lines.directions[other])
            squares = lines.squares[place] * lines.squares[other]
            fourth += ball(lines.square(row) * Fraction(product * product, squares) ** 2)
    difference = None
    if all(len(one.teachers) < 2 for one in students):
        near = [lines.square(row) for row, one in enumerate(students) if one.teachers == (j,)]
        difference = Enclosure.exact(own + sum(near, Fraction(0)))
    below = e if len(lines.teachers) == 1 else Enclosure(e.lo + b1.lo, e.hi + b1.hi)
    return TeacherMass(
        difference,
        Enclosure(-below.hi, -below.lo),
        Enclosure(e.lo + 2 * b1.lo, e.hi + 2 * b1.hi),
        Enclosure.from_arb(fourth),
    )


def _sum_sin2(lines: Lines, students: tuple[StudentBound, ...]) -> Enclosure:
    total = arb(0)
    for row, one in enumerate(students):
        place = lines.place[row]
        other = lines.place[lines.teachers[one.teachers[0]]] if one.teachers else None
        if place is not None and other is not None:
            product = dot(lines.directions[place], lines.directions[other])
            squares = lines.squares[place] * lines.squares[other]
            total += ball(lines.square(row) * Fraction(squares - product * product, squares))
    found = Enclosure.from_arb(total)
    return Enclosure(max(found.lo, 0), found.hi)

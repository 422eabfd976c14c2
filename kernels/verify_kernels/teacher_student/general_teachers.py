"""Angles from the loss alone for teachers that need not be orthogonal.

With unit vectors v_1 ... v_r on the lines of the teachers, pairwise not parallel,

    q(u) = prod_j (1 - <u, v_j>^2) = prod_j sin^2(angle(u, +-v_j)) >= 0

vanishes at every teacher. Its tensors are T_k = (-1)^k sum_{|S|=k} Sym(v_j (x) v_j, j in S), and
<Sym(a_1 ... a_n), Sym(b_1 ... b_n)> = perm(<a_i, b_j>)/n!, so that

    (2k)! ||T_k||^2 = sum_{|S|=|S'|=k} perm(<v_i, v_j>, i in S twice, j in S' twice).

With c_2k^2 = (2/pi) ((2k-3)!!)^2, (-1)!! = (-3)!! = 1 up to sign, the principle of `loss_bounds` is

    sum_i ||w_i||^2 q(w^_i) <= B = sqrt(pi L sum_k (2k)! ||T_k||^2 / ((2k-3)!!)^2),

for one teacher 3 pi L under the root, for two with cosine c pi L (9 + 20 c^2 + 4 c^4).

The closest line n of a student has an angle t <= t_j to it for every other line j, and angles of
lines obey the triangle inequality, so t_j >= Delta_nj/2 and

    ||w_i||^2 sin^2 t prod_{j != n} sin^2(Delta_nj/2) <= ||w_i||^2 q(w^_i) <= B.

For ReLU the even part of f - f* is half of that of the modulus and orthogonal to the odd part, so
the loss of the modulus for the same rows is at most 4 L, and L is replaced by 4 L.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from itertools import combinations, product

from flint import arb, ctx

from verify.enclosure import Enclosure
from verify.network import TeacherStudent
from verify_kernels.teacher_student.lines import Lines, lines_of
from verify_kernels.teacher_student.loss_bounds import StudentBound, arcsine, closest, root_of
from verify_kernels.teacher_student.sums import Ball, ball
from verify_kernels.teacher_student.teacher_angles import BITS, dot

# The count of permanents grows as 4^r, and the bound itself as (2r)!.
MOST_LINES = 5


@dataclass(frozen=True)
class ProductBound:
    """What a value of the loss proves for teachers in general position; see the module.

    Args:
        bound: B; its upper end is proved.
        total: the true sum of ||w_i||^2 q(w^_i).
        students: one entry a student.
        reason: why nothing is said, and then everything else is empty or unbounded.
    """

    bound: Enclosure
    total: Enclosure
    students: tuple[StudentBound, ...] = ()
    reason: str = ""


def product_bound(network: TeacherStudent, loss: Enclosure) -> ProductBound:
    """Return what the loss alone proves about the angles, for up to five lines of teachers.

    Args:
        network: abs or relu, tied output weights, one to five different lines of teachers.
        loss: an enclosure of the population loss L of this network.

    Returns:
        Enclosures of the formulas for L in the enclosure; upper ends are what is proved. For
        orthogonal teachers `loss_bounds.loss_only` is sharper.
    Error bound:
        ball arithmetic of 192 bits, from exact products.
    Source:
        the dual polynomial of the module, with its proof there.
    """
    lines = lines_of(network)
    ends = sorted({place for row in lines.teachers if (place := lines.place[row]) is not None})
    reason = _reason(lines, len(ends))
    if reason:
        return ProductBound(Enclosure.unbounded(), Enclosure.unbounded(), reason=reason)
    with ctx.workprec(BITS):
        factor = moment_sum(lines, ends) * (4 if network.activation.name == "relu" else 1)
        bound = root_of(loss, factor)
        students = tuple(_student(lines, ends, row, bound) for row in range(network.width))
        total = Enclosure.from_arb(_total(lines, ends))
    return ProductBound(bound, Enclosure(max(total.lo, 0), total.hi), students)


def _reason(lines: Lines, count: int) -> str:
    if not lines.network.tied:
        return "the bounds are stated for tied output weights, and these are free"
    if count == 0:
        return "every teacher is zero and has no direction"
    if count > MOST_LINES:
        return f"the bound is formed for teachers on at most {MOST_LINES} lines, and not {count}"
    return ""


def moment_sum(lines: Lines, ends: Sequence[int]) -> Ball:
    """Return the sum over k of (2k)! ||T_k||^2 / ((2k-3)!!)^2."""
    roots = {end: arb(lines.squares[end]).sqrt() for end in ends}
    cosines = {
        (i, j): arb(1) if i == j else dot(lines.directions[i], lines.directions[j])
        / (roots[i] * roots[j])
        for i, j in product(ends, ends)
    }  # fmt: skip
    total, double = arb(1), 1
    for k in range(1, len(ends) + 1):
        double *= max(1, 2 * k - 3)
        for rows, columns in product(combinations(ends, k), repeat=2):
            table = [[cosines[i, j] for j in columns] for i in rows]
            total += doubled_permanent(table) / double**2
    return total


def doubled_permanent(table: Sequence[Sequence[Ball]]) -> Ball:
    """Return the permanent of a square matrix whose rows and columns all occur twice."""
    size = len(table)
    states: dict[tuple[int, ...], Ball] = {(2,) * size: arb(1)}
    for row in (row for row in table for _ in range(2)):
        following: dict[tuple[int, ...], Ball] = defaultdict(lambda: arb(0))
        for left, value in states.items():
            for column in (k for k in range(size) if left[k]):
                rest = (*left[:column], left[column] - 1, *left[column + 1 :])
                following[rest] += value * row[column] * left[column]
        states = following
    return states[(0,) * size]


def _student(lines: Lines, ends: Sequence[int], row: int, bound: Enclosure) -> StudentBound:
    nearest = closest(lines, row)
    if not nearest:
        return StudentBound((), None, None)
    own = lines.place[lines.teachers[nearest[0]]]
    shrunk = arb(1)
    for end in ends:
        if end != own and own is not None:
            shrunk *= (_angle(lines, own, end) / 2).sin() ** 2
    least = Enclosure.from_arb(shrunk).lo
    place = lines.place[row]
    true = arb(0) if place is None or own is None else _angle(lines, place, own)
    proved = arcsine(bound, lines.square(row) * least) if isinstance(least, Fraction) else None
    return StudentBound(nearest, Enclosure.from_arb(true), proved)


def _angle(lines: Lines, one: int, other: int) -> Ball:
    """Enclose the angle of two lines."""
    if one == other:
        return arb(0)
    cosine = dot(lines.directions[one], lines.directions[other])
    sine = arb(lines.squares[one] * lines.squares[other] - cosine * cosine).sqrt()
    return arb.atan2(sine, arb(abs(cosine)))


def _total(lines: Lines, ends: Sequence[int]) -> Ball:
    total = arb(0)
    for row in range(lines.network.width):
        place = lines.place[row]
        if place is None:
            continue
        value = lines.square(row)
        for end in ends:
            cosine = dot(lines.directions[place], lines.directions[end])
            squares = lines.squares[place] * lines.squares[end]
            value *= Fraction(squares - cosine * cosine, squares)
        total += ball(value)
    return total

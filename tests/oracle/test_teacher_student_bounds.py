"""What the loss alone proves: counted campaigns of random students, traps, and lost factors."""

import math
import os
import time
from fractions import Fraction
from itertools import permutations

import numpy as np
import pytest
from flint import arb, ctx, fmpq

from verify.enclosure import Enclosure
from verify.network import Activation, TeacherStudent
from verify_kernels.teacher_student import (
    enclose_population,
    general_teachers,
    loss_bounds,
    loss_only,
    product_bound,
)

FULL = os.environ.get("VERIFY_CAMPAIGN") == "full"
ABS, RELU = Activation.parse("abs"), Activation.parse("relu")


def orthogonal_teachers(rng, r, d):
    """Exactly orthogonal rows: signed axes, some of them turned in pairs by integers."""
    rows = np.zeros((d, d))
    rows[np.arange(d), rng.permutation(d)] = rng.choice([-1.0, 1.0], d)
    for k in range(0, d - 1, 2):
        if rng.random() < 0.5:
            p, q = rng.integers(1, 9, 2)
            rows[[k, k + 1]] = p * rows[k] + q * rows[k + 1], q * rows[k] - p * rows[k + 1]
    scales = rng.integers(1, 64, d)[:, None] / 2.0 ** rng.integers(3, 8, d)[:, None]
    return (rows * scales)[:r]


def students_for(rng, teachers):
    """Students near the teachers, far from them, equal, small, zero: whatever may happen."""
    r, d = teachers.shape
    m = int(rng.integers(1, 7))
    kind = rng.integers(4)
    far = rng.standard_normal((m, d)) * 10.0 ** rng.integers(-3, 2, (m, 1))
    if kind == 0:
        return far
    own = rng.integers(r, size=m)
    share = np.bincount(own, minlength=r)[own][:, None]
    near = teachers[own] / np.sqrt(share) * rng.choice([-1.0, 1.0], (m, 1))
    near = near + 10.0 ** -rng.integers(0, 9) * rng.standard_normal((m, d))
    if kind == 1:
        return near
    mixed = np.where(rng.random((m, 1)) < 0.3, far, near)
    mixed[rng.random(m) < 0.1] = 0.0
    return np.repeat(mixed[:1], m, axis=0) if kind == 2 and rng.random() < 0.3 else mixed


def violations(found):
    """How many bounds are false, and how much of B1 the true sum is."""
    wrong = int(found.sum_sin2.lo > found.B1.hi)
    reached = float(found.sum_sin2.hi / found.B1.hi) if found.B1.hi else 0.0
    for mass in found.masses:
        fourth = mass.fourth_moment_difference
        wrong += max(fourth.lo, -fourth.hi) > found.E.hi
        if mass.difference is not None:
            wrong += mass.difference.lo > mass.upper.hi or mass.difference.hi < mass.lower.lo
    for student in found.students:
        if student.bound is not None:
            wrong += student.angle.lo > student.bound.hi
    return wrong, reached


@pytest.mark.soundness
def test_the_loss_alone():
    count, seed, wrong, bounded, largest = 5_000 if FULL else 500, 23, 0, 0, 0.0
    rng, started = np.random.default_rng(seed), time.perf_counter()
    for _ in range(count):
        d = int(rng.integers(1, 7))
        teachers = orthogonal_teachers(rng, int(rng.integers(1, d + 1)), d)
        network = TeacherStudent(students_for(rng, teachers), teachers, ABS)
        found = loss_only(network, enclose_population(network).loss.enclosure())
        assert not found.reason
        false, reached = violations(found)
        wrong += false
        bounded += sum(student.bound is not None for student in found.students)
        largest = max(largest, reached)
    print(f"campaign teacher-student loss-only: {count} cases, seed {seed}, "
          f"{time.perf_counter() - started:.1f} s, {wrong} wrong ({bounded} angles bounded, "
          f"largest sum {largest:.2f} of its bound)")  # fmt: skip
    assert wrong == 0
    assert bounded > count // 2


@pytest.mark.soundness
def test_teachers_in_general_position():
    count, seed, wrong, bounded = 2_000 if FULL else 200, 29, 0, 0
    rng, started = np.random.default_rng(seed), time.perf_counter()
    for _ in range(count):
        d = int(rng.integers(1, 5))
        teachers = rng.standard_normal((int(rng.integers(1, 4)), d))
        activation = ABS if rng.random() < 0.5 else RELU
        students = students_for(rng, teachers)
        if activation == RELU:
            students = students * np.sign(students @ teachers.T)[:, :1]
        network = TeacherStudent(students, teachers, activation)
        found = product_bound(network, enclose_population(network).loss.enclosure())
        assert not found.reason
        wrong += found.total.lo > found.bound.hi
        for student in found.students:
            if student.bound is not None:
                bounded += 1
                wrong += student.angle.lo > student.bound.hi
    spent = time.perf_counter() - started
    print(f"campaign teacher-student product bound: {count} cases, seed {seed}, {spent:.1f} s, "
          f"{wrong} wrong ({bounded} angles bounded)")  # fmt: skip
    assert wrong == 0
    assert bounded > count // 20


# --- the factor of the product bound, by tensors -------------------------------------------------


def tensor_sum(vectors):
    """sum_k (2k)! ||T_k||^2/((2k-3)!!)^2 from the symmetrised tensors themselves, in floats."""
    r, d = vectors.shape
    total, double = 1.0, 1
    for k in range(1, r + 1):
        double *= max(1, 2 * k - 3)
        tensor = np.zeros((d,) * (2 * k))
        for chosen in permutations(range(r), k):
            one = np.ones(())
            for j in chosen:
                one = np.multiply.outer(np.multiply.outer(one, vectors[j]), vectors[j])
            tensor += one / math.factorial(k)
        axes = list(permutations(range(2 * k)))
        symmetric = sum(np.transpose(tensor, a) for a in axes) / len(axes)
        total += math.factorial(2 * k) * float(np.sum(symmetric**2)) / double**2
    return total


@pytest.mark.parametrize("r", [1, 2, 3])
def test_the_norms_of_the_tensors(r):
    """Floats suffice to tell a wrong factor: 1e-9 is far above their rounding."""
    rng = np.random.default_rng(r)
    teachers = rng.standard_normal((r, 3))
    network = TeacherStudent(np.ones((1, 3)), teachers, ABS)
    found = product_bound(network, Enclosure.exact(1))
    vectors = teachers / np.linalg.norm(teachers, axis=1)[:, None]
    expected = math.sqrt(math.pi * tensor_sum(vectors))
    assert abs(float(found.bound.hi) / expected - 1) < 1e-9


def test_two_teachers_have_a_closed_form():
    network = TeacherStudent([[1.0, 0.0]], [[3.0, 4.0], [5.0, 0.0]], ABS)
    with ctx.workprec(300):
        c = arb(fmpq(3, 5))
        squared = 2 * arb.pi() * (9 + 20 * c**2 + 4 * c**4)
        bound = product_bound(network, Enclosure.exact(2)).bound
        assert bound.arb().overlaps(squared.sqrt())
    assert bound.width < Fraction(1, 10**40)


# --- when nothing is said ------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("network", "told"),
    [
        (TeacherStudent([[1, 0]], [[1, 0]], RELU), "activation abs, and this is relu"),
        (TeacherStudent([[1, 0]], [[1, 0]], ABS, [1], [1]), "tied output weights, and these are"),
        (TeacherStudent([[1, 0]], [[1, 0], [0, 0]], ABS), "teacher 1 is zero"),
        (TeacherStudent([[1, 0]], [[1, 0], [5e-324, 1]], ABS), "teachers 0 and 1 are not exactly"),
        (TeacherStudent([[1, 0]], [[1, 0], [-1, 0]], ABS), "teachers 0 and 1 are not exactly"),
    ],
)
def test_other_networks_have_a_reason(network, told):
    found = loss_only(network, enclose_population(network).loss.enclosure())
    assert told in found.reason
    assert (found.students, found.masses) == ((), ())
    assert found.B1 == found.E == Enclosure.unbounded()


@pytest.mark.parametrize(
    ("network", "told"),
    [
        (TeacherStudent([[1, 0]], [[1, 0]], ABS, [1], [1]), "tied output weights, and these are"),
        (TeacherStudent([[1, 0]], [[0, 0]], ABS), "every teacher is zero"),
        (TeacherStudent(np.ones((1, 6)), np.eye(6), ABS), "at most 5 lines, and not 6"),
    ],
)
def test_the_product_bound_has_its_reasons(network, told):
    found = product_bound(network, Enclosure.exact(1))
    assert told in found.reason
    assert found.bound == Enclosure.unbounded()


def test_an_unbounded_loss_proves_nothing():
    network = TeacherStudent([[1.0, 0.5]], [[1.0, 0.0]], ABS)
    found = loss_only(network, Enclosure(0, math.inf))
    assert found.B1 == found.E == Enclosure(0, math.inf)
    assert found.students[0].bound is None
    assert found.masses[0].lower.lo == -math.inf
    assert found.masses[0].upper.hi == math.inf
    assert product_bound(network, Enclosure(0, math.inf)).students[0].bound is None


def test_a_wide_loss_gives_the_bound_of_its_upper_end():
    network = TeacherStudent([[1.0, 1e-3]], [[1.0, 0.0]], ABS)
    wide = loss_only(network, Enclosure(0, Fraction(1, 1024)))
    sharp = loss_only(network, Enclosure.exact(Fraction(1, 1024)))
    assert wide.students[0].bound.hi == sharp.students[0].bound.hi
    assert wide.students[0].bound.lo == 0


def test_an_exact_tie_and_a_near_one():
    tie = TeacherStudent([[1.0, -1.0]], np.eye(2), ABS)
    near = TeacherStudent([[1.0, -1.0 - 2.0**-52]], np.eye(2), ABS)
    for network, closest in ((tie, (0, 1)), (near, (1,))):
        found = loss_only(network, enclose_population(network).loss.enclosure())
        assert found.students[0].teachers == closest
        assert (found.masses[0].difference is None) == (len(closest) == 2)


def test_no_angle_where_the_bound_is_void():
    """A heavy loss says nothing of a light student: B1 just below and just above its square."""
    network = TeacherStudent([[1.0, 0.0]], [[0.0, 1.0]], ABS)
    with ctx.workprec(300):
        unit = Enclosure.from_arb(1 / (3 * arb.pi()))  # B1 = 1 = ||w||^2 there
    below = loss_only(network, Enclosure.exact(unit.lo * (1 - Fraction(1, 2**100))))
    above = loss_only(network, Enclosure.exact(unit.hi * (1 + Fraction(1, 2**100))))
    assert above.students[0].bound is None
    assert below.students[0].bound.hi < loss_only(network, unit).B1.hi * 2
    assert loss_only(network, unit).students[0].bound is None


# --- lost factors --------------------------------------------------------------------------------


def single_teachers(seed, count):
    rng = np.random.default_rng(seed)
    for _ in range(count):
        teachers = orthogonal_teachers(rng, 1, int(rng.integers(3, 7)))
        network = TeacherStudent(students_for(rng, teachers), teachers, ABS)
        yield network, enclose_population(network).loss.enclosure()


@pytest.mark.parametrize(("part", "lost"), [(3, 4), (24, 25)])
def test_a_lost_factor_is_found(monkeypatch, part, lost):
    """With half of B1 or a fifth of E some configuration exceeds the bound."""

    def weaker(loss, factor):
        return true(loss, arb(factor) / lost if factor == part else factor)

    true = loss_bounds.root_of
    monkeypatch.setattr(loss_bounds, "root_of", weaker)
    pairs = single_teachers(31, 300)
    assert sum(violations(loss_only(network, loss))[0] for network, loss in pairs) > 0


def test_a_lost_tensor_is_found(monkeypatch):
    monkeypatch.setattr(general_teachers, "moment_sum", lambda *given: arb(1))
    found = [product_bound(network, loss) for network, loss in single_teachers(37, 300)]
    assert any(one.total.lo > one.bound.hi for one in found)

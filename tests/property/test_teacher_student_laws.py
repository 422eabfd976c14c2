"""Laws of the population loss: what must not change it, and what multiplies it exactly."""

from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from verify.enclosure import Enclosure
from verify.network import Activation, TeacherStudent
from verify.verdict import Truth
from verify_kernels.teacher_student import enclose_population, separation

NUMBERS = st.floats(-4, 4).map(lambda x: float(np.float16(x)))


@st.composite
def networks(draw):
    m, r, d = draw(st.integers(1, 3)), draw(st.integers(1, 3)), draw(st.integers(1, 3))

    def array(shape):
        return draw(hnp.arrays(np.float64, shape, elements=NUMBERS))

    W, W_star, free = array((m, d)), array((r, d)), draw(st.booleans())
    activation = Activation.parse(draw(st.sampled_from(["abs", "relu"])))
    return TeacherStudent(W, W_star, activation, *((array(m), array(r)) if free else ()))


def changed(network, students, teachers, a=None, a_star=None):
    a, a_star = (network.a, network.a_star) if a is None else (a, a_star)
    return TeacherStudent(students, teachers, network.activation, a, a_star)


def overlap(one, other):
    return one.lo <= other.hi and other.lo <= one.hi


def assert_same(one, other, factor=1):
    first, second = enclose_population(one), enclose_population(other)
    assert first.exactly_zero is second.exactly_zero is not Truth.UNDECIDED
    scaled = Enclosure(first.loss.value.lo * factor, first.loss.value.hi * factor)
    assert overlap(scaled, second.loss.value)
    return first, second


@given(networks(), st.randoms(use_true_random=False))
def test_order_and_coordinates_do_not_matter(network, random):
    m, d = network.students.shape
    rows, columns = random.sample(range(m), m), random.sample(range(d), d)
    signs = np.array([random.choice([-1.0, 1.0]) for _ in range(d)])
    a = None if network.tied else network.a[rows]
    other = changed(
        network, network.students[rows][:, columns] * signs,
        network.teachers[:, columns] * signs, a, network.a_star,
    )  # fmt: skip
    first, second = assert_same(network, other)
    assert overlap(first.gradient_norm.value, second.gradient_norm.value)


@given(networks(), st.integers(-600, 200))
def test_powers_of_two_multiply_the_loss(network, k):
    """f is of degree 2 in tied rows and of degree 1 in free ones."""
    with np.errstate(under="ignore"):
        other = changed(network, network.students * 2.0**k, network.teachers * 2.0**k)
    exact = np.array_equal(other.students * 2.0**-k, network.students)
    if exact and np.array_equal(other.teachers * 2.0**-k, network.teachers):
        assert_same(network, other, Fraction(2) ** ((4 if network.tied else 2) * k))


@given(networks(), st.data())
def test_a_student_may_be_split(network, data):
    """5 q is 3 q and 4 q where weights are tied; a free output weight is shared out."""
    k = data.draw(st.integers(0, network.width - 1))
    row = network.students[k]
    if network.tied:
        whole = np.vstack([network.students, 5 * row])
        parts = np.vstack([network.students, 3 * row, 4 * row])
        assert_same(changed(network, whole, network.teachers),
                    changed(network, parts, network.teachers))  # fmt: skip
        return
    parts = np.vstack([network.students, 2 * row])
    a = np.append(network.a, 0.25)
    a[k] -= 0.5
    assert_same(network, changed(network, parts, network.teachers, a, network.a_star))


@given(networks())
def test_students_that_are_the_teachers_have_no_loss(network):
    same = changed(network, network.teachers, network.teachers, network.a_star, network.a_star)
    assert enclose_population(same).exactly_zero is Truth.PROVED


@given(networks())
def test_the_sign_of_a_row_matters_for_relu_alone(network):
    if network.activation.name == "abs":
        assert_same(network, changed(network, -network.students, network.teachers))
    assert_same(network, changed(network, -network.students, -network.teachers))


@given(networks())
def test_lines_are_never_further_apart_than_directions(network):
    lines, rays = separation(network).value, separation(network, signed=True).value
    assert lines.is_bounded == rays.is_bounded
    assert not lines.lo > rays.hi


@pytest.mark.parametrize("name", ["abs", "relu"])
def test_a_rotation_by_integers_changes_nothing(name):
    rng = np.random.default_rng(2)
    turn = np.array([[3.0, 4.0], [-4.0, 3.0]])
    W, W_star = (rng.integers(-9, 9, (k, 2)).astype(float) for k in (3, 2))
    network = TeacherStudent(W, W_star, Activation.parse(name))
    turned = TeacherStudent(W @ turn, W_star @ turn, Activation.parse(name))
    assert_same(network, turned, 5**4)

"""The population loss of students against teachers: balls, samples, traps, lost terms."""

import math
import os
import time
from fractions import Fraction

import numpy as np
import pytest
from flint import arb, ctx, fmpq

from verify.enclosure import Enclosure
from verify.network import Activation, TeacherStudent
from verify.verdict import Truth
from verify_kernels.teacher_student import (
    enclose_population,
    gradient,
    lines,
    population,
    separation,
    sums,
)

FULL = os.environ.get("VERIFY_CAMPAIGN") == "full"
ABS, RELU = Activation.parse("abs"), Activation.parse("relu")
BITS = 3000
DIGITS = Fraction(1, 10**39)


# --- the same quantities by the formulas in the angle, pair by pair ------------------------------


def balls(values):
    return [arb(fmpq(*Fraction(v).as_integer_ratio())) for v in values]


def root(value):
    return value.nonnegative_part().sqrt()


def norm(vector):
    return root(sum((x * x for x in vector), arb(0)))


def kernel(u, v, relu):
    """k(u, v) and its gradient in u, through t = 2 atan2(|u^ - v^|, |u^ + v^|)."""
    one, other = norm(u), norm(v)
    apart = norm([x / one - y / other for x, y in zip(u, v, strict=True)])
    along = norm([x / one + y / other for x, y in zip(u, v, strict=True)])
    t = 2 * arb.atan2(apart, along)
    turn, scale = (arb.pi() - t, 2 * arb.pi()) if relu else (arb.pi() / 2 - t, arb.pi() / 2)
    value = one * other * (t.sin() + turn * t.cos()) / scale
    slope = [
        (other * t.sin() * x / one + turn * y) / scale for x, y in zip(u, v, strict=True)
    ]  # fmt: skip
    return value, slope


def weights_of(network, rows):
    if network.tied:
        signs = [1] * network.width + [-1] * len(network.teachers)
        return [s * norm(p) for s, p in zip(signs, rows, strict=True)]
    return balls([*network.a.tolist(), *(-network.a_star).tolist()])


def rows_of(network):
    return [balls(row) for row in [*network.students.tolist(), *network.teachers.tolist()]]


def oracle_loss(rows, weights, relu):
    kept = [(p, a) for p, a in zip(rows, weights, strict=True) if not all(x == 0 for x in p)]
    pairs = ((kernel(p, q, relu)[0], a, b) for p, a in kept for q, b in kept)
    return sum((k * a * b for k, a, b in pairs), arb(0)) / 2


def oracle_gradient(network):
    """Rows of the gradient in W, and the gradient in a."""
    relu = network.activation == RELU
    rows = rows_of(network)
    weights = weights_of(network, rows)
    found, outputs = [], []
    for w, a in zip(rows[: network.width], weights, strict=False):
        value, slope = arb(0), [arb(0)] * len(w)
        for p, b in zip(rows, weights, strict=True):
            if not all(x == 0 for x in p):
                k, s = kernel(w, p, relu)
                value += b * k
                slope = [old + b * new for old, new in zip(slope, s, strict=True)]
        row = [a * x for x in slope]
        if network.tied:
            row = [x + value * y / norm(w) for x, y in zip(row, w, strict=True)]
        found.append(row)
        outputs.append(value)
    return found, outputs


def meets(found, ball):
    return not (ball < Enclosure.exact(found.lo).arb()) and not (
        isinstance(found.hi, Fraction) and ball > Enclosure.exact(found.hi).arb()
    )


def assert_true(network, bits=BITS):
    """The loss, gradient and norm agree with the formulas in the angle."""
    found = enclose_population(network)
    with ctx.workprec(bits):
        rows = rows_of(network)
        loss = oracle_loss(rows, weights_of(network, rows), network.activation == RELU)
        assert meets(found.loss.value, loss)
        assert (found.exactly_zero is Truth.PROVED) == (found.loss.value.hi == 0)
        if all(np.any(network.students != 0, axis=1)):
            W, a = oracle_gradient(network)
            entries = [x for row in W for x in row] + ([] if network.tied else a)
            mine = found.gradient.W.ravel().tolist()
            mine += [] if network.tied else found.gradient.a.tolist()
            assert all(x.overlaps(y) for x, y in zip(mine, entries, strict=True))
            assert meets(found.gradient_norm.value, norm(entries))
            assert entries
    return found


def drawn(rng, activation, *, tied, m, r, d, near=None):
    teachers = rng.standard_normal((r, d))
    students = rng.standard_normal((m, d))
    if near is not None:
        own = np.arange(m) % r
        share = np.bincount(own, minlength=r)[own][:, None]
        students = teachers[own] / (np.sqrt(share) if tied else 1.0)
        students = students + near * rng.standard_normal((m, d))
    a = a_star = None
    if not tied:
        a_star = rng.standard_normal(r)
        a = rng.standard_normal(m) if near is None else a_star[own] / share[:, 0]
    return TeacherStudent(students, teachers, activation, a, a_star)


# --- against the formulas in the angle -----------------------------------------------------------


@pytest.mark.parametrize("activation", [ABS, RELU], ids=str)
@pytest.mark.parametrize("tied", [True, False], ids=["tied", "free"])
@pytest.mark.parametrize("near", [None, 1e-2, 1e-6, 1e-13])
def test_random_networks(activation, tied, near):
    rng = np.random.default_rng([7, tied, activation == ABS, int(-math.log10(near or 1))])
    for _ in range(10 if FULL else 2):
        m, r, d = (int(k) for k in rng.integers(1, (6, 4, 5)))
        m, r = max(m, r), min(m, r)
        network = drawn(rng, activation, tied=tied, m=m, r=r, d=d + 1, near=near)
        found = assert_true(network)
        value = found.loss.enclosure()
        assert value.width * 10**20 <= value.lo or found.exactly_zero is Truth.PROVED
        if near == 1e-13:
            assert value.hi < Fraction(1, 10**20)


@pytest.mark.parametrize("activation", [ABS, RELU], ids=str)
@pytest.mark.parametrize("tied", [True, False], ids=["tied", "free"])
def test_the_gradient_is_the_slope_of_the_loss(activation, tied):
    """Central differences at 3,000 bits: with a step of 2^-300 they miss by about 2^-600."""
    rng = np.random.default_rng([11, tied, activation == ABS])
    network = drawn(rng, activation, tied=tied, m=3, r=2, d=3)
    found = enclose_population(network).gradient
    relu = activation == RELU
    with ctx.workprec(BITS):
        step, missed = arb(2) ** -300, arb(0, 2.0**-500)
        rows = rows_of(network)

        def slope(move):
            return (oracle_loss(*move(step), relu) - oracle_loss(*move(-step), relu)) / (2 * step)

        for i in range(3):
            for k in range(3):

                def moved(h, i=i, k=k):
                    new = [list(row) for row in rows]
                    new[i][k] = new[i][k] + h
                    return new, weights_of(network, new)

                assert (slope(moved) + missed).overlaps(found.W[i, k])
            if not tied:

                def turned(h, i=i):
                    weights = weights_of(network, rows)
                    weights[i] = weights[i] + h
                    return rows, weights

                assert (slope(turned) + missed).overlaps(found.a[i])


@pytest.mark.soundness
def test_means_of_samples():
    started, count, wrong = time.perf_counter(), 1_000_000 if FULL else 100_000, 0
    shapes = [(ABS, True), (ABS, False), (RELU, True), (RELU, False)]
    for seed, (activation, tied) in enumerate(shapes):
        rng = np.random.default_rng([13, seed])
        network = drawn(rng, activation, tied=tied, m=4, r=2, d=5, near=0.3)
        found = enclose_population(network)
        X = rng.standard_normal((count, 5))
        act = np.abs if activation == ABS else lambda s: np.maximum(s, 0.0)
        norms = [np.linalg.norm(rows, axis=1) for rows in (network.students, network.teachers)]
        a, a_star = norms if tied else (network.a, network.a_star)
        features = act(X @ network.students.T)
        h = features @ a - act(X @ network.teachers.T) @ a_star
        checked = [(0.5 * h * h, found.loss.enclosure())]
        slope = np.sign(X @ network.students.T) if activation == ABS else features > 0
        for k in range(5):
            own = a[0] * slope[:, 0] * X[:, k]
            if tied:
                own = own + features[:, 0] * network.students[0, k] / a[0]
            checked.append((h * own, Enclosure.from_arb(found.gradient.W[0, k])))
        if not tied:
            checked.append((h * features[:, 1], Enclosure.from_arb(found.gradient.a[1])))
        for values, value in checked:
            reach = 5.0 * values.std() / math.sqrt(count)
            wrong += not (value.lo - reach <= values.mean() <= value.hi + reach)
    spent = time.perf_counter() - started
    print(f"campaign teacher-student samples: {4 * count} cases, seed 13, {spent:.1f} s, "
          f"{wrong} wrong")  # fmt: skip
    assert wrong == 0


# --- what is exactly zero ------------------------------------------------------------------------


def pile(lines_and_squares):
    """Rows on lines whose squared factors add up as told, and their negatives."""
    rows = [[k * x for x in q] for q, factors in lines_and_squares for k in factors]
    return np.array(rows, float), -np.array(rows, float)


@pytest.mark.parametrize(
    ("lines_and_squares", "truth"),
    [
        # 15 (1, 0) + 20 (0, 1) = 5 (3, 4), with 15 and 20 as sums of squares
        ([((1, 0), (3, 2, 1, 1)), ((0, 1), (4, 2)), ((-3, -4), (1,))], Truth.PROVED),
        # 20 sqrt 2 (1, 1) - 15 sqrt 2 (1, -1) = sqrt 50 (1, 7)
        ([((1, 1), (4, 2)), ((-1, 1), (3, 2, 1, 1)), ((-1, -7), (1,))], Truth.PROVED),
        ([((1, 0), (3, 2, 1, 1)), ((0, 1), (4, 2)), ((-3, -4), (1 + 2**-40,))], Truth.REFUTED),
        # 2 sqrt 2 (1, 0) is on no rational multiple of (1, 0)
        ([((1, 1), (1,)), ((1, -1), (1,)), ((-1, 0), (1.5,))], Truth.REFUTED),
    ],
)
def test_linear_parts_of_relu_cancel_over_several_lines(lines_and_squares, truth):
    students, teachers = pile(lines_and_squares)
    found = enclose_population(TeacherStudent(students, teachers, RELU))
    assert found.exactly_zero is truth
    assert (found.loss.enclosure() == Enclosure.exact(0)) == (truth is Truth.PROVED)
    assert enclose_population(TeacherStudent(students, teachers, ABS)).exactly_zero is Truth.PROVED
    assert_true(TeacherStudent(students, teachers, RELU))


def test_relu_minus_its_mirror_is_linear():
    # relu(s) - relu(-s) = s: four free rows that are one linear function
    network = TeacherStudent([[1, 2], [-1, -2]], [[1, 0], [-1, 0], [0, 4], [0, -2]], RELU,
                             [1, -1], [1, -1, 0.5, -1])  # fmt: skip
    assert enclose_population(network).exactly_zero is Truth.PROVED
    near = TeacherStudent(network.students, network.teachers, RELU,
                          [1, -1 + 2.0**-52], network.a_star)  # fmt: skip
    assert enclose_population(near).exactly_zero is Truth.REFUTED
    assert_true(near)


def test_the_gradient_at_a_student_that_is_zero():
    def of(a, students, teachers, a_star, activation=RELU):
        return enclose_population(TeacherStudent(students, teachers, activation, a, a_star))

    kinked = of([2, 1], [[0, 0], [1, 0]], [[0, 1]], [1])
    assert kinked.gradient.undefined == (0,)
    assert kinked.gradient_norm.value == Enclosure.unbounded()
    assert "not differentiable" in kinked.gradient_norm.why_open
    assert kinked.loss.enclosure().lo > 0
    silent = of([0, 1], [[0, 0], [1, 0]], [[0, 1]], [1])
    assert silent.gradient.undefined == ()
    assert silent.gradient.W[0].tolist() == [0, 0]
    # f - f* = -2 s_1: the loss is differentiable at the zero student, with gradient a v/4
    linear = of([3], [[0, 0]], [[2, 0], [-2, 0]], [1, -1])
    assert linear.gradient.undefined == ()
    assert linear.gradient.W[0].tolist() == [-3, 0]
    assert linear.gradient.a.tolist() == [0]
    solved = of([1, 1], [[0, 0], [1, 0]], [[1, 0]], [1])
    assert solved.gradient_norm.value == Enclosure.exact(0)
    tied = enclose_population(TeacherStudent([[0, 0]], [[1, 0]], RELU))
    assert tied.gradient_norm.value == Enclosure.exact(0)
    assert tied.grad_over_loss.value == Enclosure.exact(0)
    assert tied.loss.enclosure().contains(Fraction(1, 4))


# --- extremes ------------------------------------------------------------------------------------


@pytest.mark.parametrize("activation", [ABS, RELU], ids=str)
@pytest.mark.parametrize(
    ("students", "teachers"),
    [
        ([[1.0, 1e-8], [1.0, -1e-8]], [[1.0, 0.0]]),
        ([[3.0], [-4.0]], [[5.0], [0.5]]),
        ([[2.0]], [[2.0]]),
        ([[1.0, 2.0]] * 3, [[2.0, 1.0]]),
        ([[0.0, 0.0], [1.0, 2.0]], [[2.0, 1.0], [0.0, 0.0]]),
        ([[1e150, 1e150], [1e-150, 0.0]], [[1e150, 1.1e150], [0.0, 1e-150]]),
        ([[1e150, 0.0], [1e-150, 2e-150]], [[1e150, 0.0], [2e-150, 1e-150]]),
        ([[5e-324, 0.0]], [[0.0, 5e-324], [1e-310, 3e-320]]),
        ([[1.0, 5e-324]], [[1.0, 0.0]]),
        ([[1.7e308, -1.7e308]], [[1.7e308, 5e-324]]),
        ([[1.0, 0.0], [0.0, 1.0]], [[1.0, 1.0], [1.0, -1.0]]),
    ],
)
def test_extremes(students, teachers, activation):
    found = assert_true(TeacherStudent(students, teachers, activation), bits=16_000)
    loss = found.loss.enclosure()
    assert loss.width * 10**20 <= loss.lo
    a = np.linspace(-1.0, 2.0, len(students)), np.full(len(teachers), 0.75)
    assert_true(TeacherStudent(students, teachers, activation, *a), bits=16_000)


def test_one_dimension():
    """f - f* = 1/2 (9 + 16 - 25.25) |x|, and for ReLU both sides of 0."""
    loss = enclose_population(TeacherStudent([[3], [-4]], [[5], [0.5]], ABS)).loss.enclosure()
    assert loss.contains(Fraction(1, 32))
    loss = enclose_population(TeacherStudent([[3], [-4]], [[5], [0.5]], RELU)).loss.enclosure()
    assert loss.contains((Fraction(65, 4) ** 2 + 16**2) / 4)


def test_a_deadline_and_a_limit_of_precision(monkeypatch):
    network = drawn(np.random.default_rng(3), ABS, tied=True, m=2, r=1, d=3, near=1e-13)
    early = enclose_population(network, deadline=-math.inf)
    assert early.loss.value == Enclosure(0, math.inf)
    assert early.loss.why_open == "the deadline came first"
    assert early.exactly_zero is Truth.REFUTED
    monkeypatch.setattr(population, "FIRST_BITS", 32)
    monkeypatch.setattr(population, "LAST_BITS", 32)
    coarse = enclose_population(network)
    assert coarse.loss.value.lo == 0
    assert coarse.loss.why_open
    assert coarse.grad_over_loss.value == Enclosure(0, math.inf)
    monkeypatch.undo()
    fine = enclose_population(network)
    assert coarse.loss.value.hi >= fine.loss.value.lo > 0


def test_separations_of_close_and_of_mirrored_teachers():
    def of(*rows, signed=False):
        network = TeacherStudent([[1.0, 0.0]], list(rows), ABS)
        return separation(network, signed=signed).enclosure()

    tiny = of([1.0, 5e-324], [1.0, 0.0])
    assert tiny.contains(Fraction(5e-324)) or tiny.hi < Fraction(5e-324) < tiny.hi * (1 + DIGITS)
    assert of([1.0, 2.0], [-2.0, -4.0]) == Enclosure.exact(0)
    assert of([1.0, 2.0], [2.0, 4.0], signed=True) == Enclosure.exact(0)
    assert of([1.0, 2.0], [-2.0, -4.0], signed=True).lo > 3
    assert of([1.0, 0.0], [0.0, 3.0]).lo_float == math.pi / 2


# --- mutations -----------------------------------------------------------------------------------


def is_false(network):
    try:
        assert_true(network)
    except AssertionError:
        return True
    return False


def unlike(module, name, change):
    """The function, and a version of it with one factor or term changed."""
    true = getattr(module, name)
    return lambda *given, **named: change(true(*given, **named), *given)


def drop_first_term(row, the_lines, the_sums, student, value, slope):
    factor = abs(sums.ball(the_lines.factor[student])) * the_sums.roots[the_lines.place[student]]
    return [factor * entry for entry in slope]


@pytest.mark.parametrize(
    ("module", "name", "change", "kinds"),
    [
        (sums, "_sine", lambda found, *_: found * 0, ("abs", "relu")),
        (sums, "_sine", lambda found, *_: found * (1 - arb(2) ** -60), ("abs", "relu")),
        (sums, "_linear", lambda found, *_: [entry / 2 for entry in found], ("relu",)),
        (sums, "_slopes", lambda found, *_: ([x * 0 for x in found[0]], found[1]), ("abs", "relu")),
        (sums, "_slopes", lambda found, *_: (found[0], [[x * 0 for x in row] for row in found[1]]),
         ("abs", "relu")),
        (gradient, "_tied", drop_first_term, ("abs", "relu")),
        (population, "_rounded", lambda found, *_: found.mid(), ("abs", "relu")),
    ],
)  # fmt: skip
def test_a_dropped_term_is_found(monkeypatch, module, name, change, kinds):
    rng = np.random.default_rng(17)
    networks = [drawn(rng, Activation.parse(k), tied=True, m=3, r=2, d=3) for k in kinds]
    assert not any(is_false(network) for network in networks)
    monkeypatch.setattr(module, name, unlike(module, name, change))
    assert all(is_false(network) for network in networks)


def test_a_line_without_its_mirror_is_found(monkeypatch):
    def signed(row):
        q, factor = true(row)
        return (tuple(-entry for entry in q), -factor) if factor < 0 else (q, factor)

    true = lines._primitive
    network = TeacherStudent([[1.0, -2.0]], [[-1.0, 2.0]], ABS)
    assert enclose_population(network).exactly_zero is Truth.PROVED
    monkeypatch.setattr(lines, "_primitive", signed)
    assert enclose_population(network).exactly_zero is Truth.REFUTED


def test_the_working_precision_that_stays_is_found(monkeypatch):
    monkeypatch.setattr(population, "ENOUGH", Fraction(10**30))
    network = drawn(np.random.default_rng(5), ABS, tied=True, m=3, r=1, d=3, near=3e-13)
    value = enclose_population(network).loss.enclosure()
    assert value.width * 10**20 > value.lo

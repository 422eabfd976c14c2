"""Students trained on the population loss: gradients, known ratios, slopes and what is refused."""

import itertools
import json
import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from verify.engine import check
from verify.errors import InputError
from verify.network import Activation, TeacherStudent
from verify.readers import read_network, read_run
from verify.verdict import Verdict
from verify_conditions.gradient_inequality import experiment_expectations as expected
from verify_conditions.gradient_inequality import population_descent
from verify_conditions.gradient_inequality.experiment_cases import Special
from verify_conditions.gradient_inequality.experiment_certificates import (
    along,
    unmet_certificates,
)
from verify_conditions.gradient_inequality.experiment_directions import directions_of
from verify_conditions.gradient_inequality.experiment_fits import Fit, fit_slope
from verify_conditions.gradient_inequality.experiment_runs import (
    Comparison,
    descend_from,
    marks,
    recorded,
)
from verify_conditions.gradient_inequality.experiment_tables import PAIR_LIMIT, ratio_rows
from verify_conditions.gradient_inequality.experiment_teachers import (
    balanced_pair,
    oblique_teachers,
    orthogonal_teachers,
    start_near,
    stray_ratio,
    stray_student,
)
from verify_conditions.gradient_inequality.population_descent import population_gradient
from verify_conditions.gradient_inequality.training import train_teacher_student
from verify_kernels.teacher_student import enclose_population

VECTORS = json.loads(
    (Path(__file__).parents[1] / "vectors" / "teacher_student.json").read_text()
)["cases"]  # fmt: skip
TIED = [case for case in VECTORS if case["weights"] == "tied"]
ROUNDING = 2.0**-50  # of the squared norms of all rows; about 1e-16 of them is seen


def rows(values):
    return np.array([[float.fromhex(x) for x in row] for row in values])


def scale(students, teachers):
    total = float(np.sum(students**2) + np.sum(teachers**2))
    return total * max(1.0, math.sqrt(total))


@pytest.mark.parametrize("case", TIED, ids=lambda case: case["id"])
def test_float_losses_and_gradients_of_the_vectors(case):
    students, teachers = rows(case["students"]), rows(case["teachers"])
    loss, gradient = population_gradient(students, teachers, case["activation"])
    size = scale(students, teachers)
    assert abs(loss - float(case["loss"])) <= ROUNDING * size**2
    exact = np.array([[float(x) for x in row] for row in case["grad_w"]])
    assert np.abs(gradient - exact).max() <= ROUNDING * size


@pytest.mark.parametrize("activation", ["abs", "relu"])
@pytest.mark.parametrize("spread", [1.0, 1e-3, 1e-6])
def test_float_gradients_against_balls(activation, spread):
    rng = np.random.default_rng(7)
    teachers = orthogonal_teachers(3)
    for _ in range(5):
        students = np.tile(teachers, (2, 1)) / math.sqrt(2.0)
        students += spread * rng.standard_normal(students.shape)
        network = TeacherStudent(students, teachers, Activation.parse(activation))
        found = enclose_population(network)
        loss, gradient = population_gradient(students, teachers, activation)
        ball = np.array([[float(x.mid()) for x in row] for row in found.gradient.W])
        size = scale(students, teachers)
        assert np.abs(gradient - ball).max() <= ROUNDING * size
        assert abs(loss - found.loss.enclosure().lo_float) <= ROUNDING * size**2


@pytest.mark.parametrize("d", [1e-2, 1e-4, 1e-6])
def test_around_one_teacher_loss_and_gradient_keep_their_relative_accuracy(d):
    network = balanced_pair(d)
    loss, gradient = population_gradient(network.students, network.teachers, "abs")
    at = recorded(0, 0.0, network)
    assert abs(loss / at.loss - 1.0) <= 1e-8
    assert abs(np.linalg.norm(gradient) / at.gradient - 1.0) <= 1e-3  # 1e-12 itself


def test_the_series_of_the_wedge_meets_the_closed_form():
    below = 0.25 - 2.0**-54
    closed = math.sin(below) - below * math.cos(below)
    assert abs(population_descent._wedge(below) / closed - 1.0) <= 1e-13
    assert population_descent._wedge(1e-8) == pytest.approx(1e-24 / 3.0, rel=1e-15)


def test_balanced_pair():
    """Exponent 2/3: the ratio 1.7896 of a small angle, and its limit."""
    at = recorded(0, 0.0, balanced_pair(0.013))
    assert at.gradient / at.loss ** (2 / 3) == pytest.approx(1.7896, abs=5e-5)
    at = recorded(0, 0.0, balanced_pair(1e-5))
    assert at.gradient / at.loss ** (2 / 3) == pytest.approx(PAIR_LIMIT, rel=1e-7)
    assert at.loss / 1e-15 == pytest.approx(2.0 / (3.0 * math.pi), rel=1e-6)


def test_stray_student():
    """Exponent 3/4: the ratio 2.870 of a light student at 1 rad, and its limit."""
    at = recorded(0, 0.0, stray_student(0.025, 1.0))
    assert at.gradient / at.loss**0.75 == pytest.approx(2.870, abs=5e-4)
    for angle in (0.3, 1.0, math.pi / 2):
        at = recorded(0, 0.0, stray_student(1e-3, angle))
        assert at.gradient / at.loss**0.75 == pytest.approx(stray_ratio(angle), rel=1e-4)


def test_ratios_are_enclosed():
    found = {row["network"]: json.loads(row["enclosed"]) for row in ratio_rows()}
    low, high = found["balanced pair, 0.001 rad off"]
    assert 1.7894014 <= low < high <= 1.7894015
    low, high = found["stray student of norm 0.01, 1 rad off"]
    assert 2.869446 <= low < high <= 2.869447


def comparison(network, *, steps=20_000, exact=False):
    return Comparison("x", (descend_from(network, 0, marks(steps, 40)),), exact)


@pytest.fixture(scope="module")
def wide():
    return comparison(start_near(orthogonal_teachers(2), 4, "abs", 0))


@pytest.mark.parametrize(
    ("start", "slope", "exponent"),
    [(balanced_pair(0.4), -3.0, 2 / 3), (stray_student(0.4, math.pi / 2), -2.0, 3 / 4)],
    ids=["pair", "stray"],
)
def test_slopes_from_special_networks(start, slope, exponent):
    case = comparison(start)
    assert case.decay().within(slope, 0.1)
    assert case.exponent().within(exponent, 0.002)
    assert expected.unmet_special([Special(case, "", slope)]) == []
    [sentence] = expected.unmet_special([Special(case, "", slope + 0.5)])
    assert "expected L ~ t^" in sentence


def test_a_stray_student_at_a_right_angle_decays_as_computed():
    """d eps/dt = -2 rho eps^3 gives L = 1/(32 rho t^2)."""
    last = comparison(stray_student(0.4, math.pi / 2)).descents[0].records[-1]
    rho = 1.0 - (2.0 / math.pi) ** 2
    assert last.loss * last.time**2 == pytest.approx(1.0 / (32.0 * rho), rel=0.01)


@pytest.mark.parametrize("activation", ["abs", "relu"])
def test_as_many_students_as_teachers_converge_linearly(activation):
    case = comparison(
        start_near(orthogonal_teachers(3), 3, activation, 1), steps=4000, exact=True
    )  # fmt: skip
    assert expected.unmet_rates([case]) == []
    assert case.descents[0].loss < 1e-20


@pytest.mark.parametrize("activation", ["abs", "relu"])
def test_more_students_find_the_teachers_at_one_rate(activation):
    cases = [comparison(start_near(orthogonal_teachers(2), m, activation, 0)) for m in (4, 8)]
    assert expected.unmet_rates(cases) == []
    found = [[directions_of(case.descents[0].network)] for case in cases]
    assert expected.unmet_directions(cases, found) == []
    for case, [at] in zip(cases, found, strict=True):
        assert at.heavy == at.bounded == case.width
        assert at.widest_angle < at.widest_bound


def test_the_relu_loss_bounds_that_of_its_modulus():
    network = start_near(orthogonal_teachers(2), 5, "relu", 3)
    twin = replace(network, activation=Activation.parse("abs"))
    relu, modulus = (enclose_population(n).loss.enclosure() for n in (network, twin))
    assert modulus.lo <= 4 * relu.hi


def test_teachers_that_are_not_orthogonal_have_no_bounds_of_angles():
    network = start_near(oblique_teachers(), 6, "abs", 0)
    assert "orthogonal" in directions_of(network).reason
    case = comparison(network, steps=10)
    assert expected.unmet_directions([case], [[directions_of(network)]]) == []


def test_everything_unexpected_is_told(wide):
    descent = wide.descents[0]
    linear = replace(wide, exact=True)
    assert any("expected the exponent 0.500" in s for s in expected.unmet_rates([linear]))
    assert any("expected a loss below 1e-20" in s for s in expected.unmet_rates([linear]))
    risen = replace(descent, records=descent.records[::-1])
    risen = replace(wide, descents=(risen,))
    assert any("it has risen" in s for s in expected.unmet_rates([risen]))
    fast = [replace(r, time=math.sqrt(r.time)) for r in descent.records]
    fast = replace(wide, descents=(replace(descent, records=tuple(fast)),))
    assert any("expected L ~ t^-3" in s for s in expected.unmet_rates([fast]))
    weak = [replace(r, gradient=r.gradient / 2.0) for r in descent.records]
    weak = replace(wide, descents=(replace(descent, records=tuple(weak)),))
    assert any("within a factor" in s for s in expected.unmet_rates([wide, weak]))
    at = directions_of(descent.network)
    for changed, told in (
        (replace(at, sound=False), "within their proved bounds"),
        (replace(at, bounded=at.heavy - 1), f"{at.heavy - 1} of {at.heavy} bounded"),
        (replace(at, widest_bound=0.5), "by 0.5"),
    ):
        [sentence] = expected.unmet_directions([wide], [[changed]])
        assert told in sentence


def test_a_stored_run_is_certified_and_read_back(wide, tmp_path):
    training = wide.descents[0].training
    found = along(training, "2/3", "1/2", tmp_path / "run")
    assert found.verdict is Verdict.PASS
    assert unmet_certificates([found]) == []
    assert "--run" in found.provenance["command"]
    path = max((tmp_path / "run").glob("*.npz"))
    loaded = read_network(path)
    assert np.array_equal(loaded.network.students, training.network().students)
    steps = [point.step for point in read_run(tmp_path / "run", loaded).checkpoints]
    assert steps == sorted(steps)
    refuted = along(training, "2/3", "100", tmp_path / "run")
    [sentence] = unmet_certificates([refuted])
    assert "expected gradient-inequality to pass, but got fail" in sentence


def test_a_point_certificate_bounds_every_student(wide):
    [found] = check(wide.descents[0].network, None, conditions=["gradient-inequality"])
    assert found.verdict is Verdict.PASS
    assert unmet_certificates([found]) == []
    wrong = [
        {**row, "angle_bound": row["angle"][0], "angle": [row["angle_bound"]] * 2}
        for row in found.claim["samples"]["rows"]
    ]
    turned = replace(found, claim={**found.claim, "samples": {"rows": wrong}})
    assert "within its bound" in unmet_certificates([turned])[0]


def test_the_same_call_gives_the_same_run():
    start = start_near(orthogonal_teachers(2), 4, "relu", 5)
    one, other = (train_teacher_student(start, step=0.3, record=[3, 10]) for _ in range(2))
    at_once = train_teacher_student(start, step=0.3, record=[10])
    assert [c.step for c in one.checkpoints] == [0, 3, 10]
    assert np.array_equal(one.checkpoints[0].network.students, start.students)
    for run in (other, at_once):
        assert np.array_equal(one.network().students, run.network().students)
    assert [c.step for c in one.run().checkpoints] == [0, 3, 10]


def test_a_zero_student_stays():
    teachers = np.array([[1.0, 0.0]])
    start = TeacherStudent(np.array([[0.0, 0.0], [0.5, 0.5]]), teachers, Activation.parse("abs"))
    end = train_teacher_student(start, step=0.1, record=[50]).network()
    assert np.array_equal(end.students[0], [0.0, 0.0])
    assert np.isfinite(end.students).all()


@pytest.mark.parametrize(
    ("changed", "told"),
    [
        ({"step": 0.0}, r"expected step > 0, but got 0\.0"),
        ({"step": math.nan}, "expected step > 0, but got nan"),
        ({"record": []}, "expected increasing steps from 1 on"),
        ({"record": [0, 1]}, "expected increasing steps from 1 on"),
        ({"record": [5, 5]}, r"but got \[5, 5\]"),
        ({"step": 50.0, "record": [1, 60]}, "between steps 1 and 60; lower the step"),
    ],
)
def test_what_is_refused(changed, told):
    start = start_near(orthogonal_teachers(1), 2, "abs", 0)
    with pytest.raises(InputError, match=f"train_teacher_student: .*{told}"):
        train_teacher_student(start, **{"step": 0.1, "record": [1], **changed})


def test_free_output_weights_are_refused():
    one = np.ones((1, 2))
    free = TeacherStudent(one, one, Activation.parse("abs"), np.ones(1), np.ones(1))
    with pytest.raises(InputError, match="expected output weights tied to the norms"):
        train_teacher_student(free, step=0.1, record=[1])


def test_a_fit_has_a_slope_for_all_runs_and_an_interval():
    noise = itertools.cycle((1e-3, -1e-3))
    runs = [[(x, c - 2.0 * x + next(noise)) for x in range(10)] for c in (0.0, 5.0)]
    fit = fit_slope(runs)
    assert fit.points == 20
    assert 0.0 < fit.half_width < 1e-3
    assert fit.within(-2.0, 1e-3)
    assert not fit.within(-2.1, 0.1)
    assert fit.measurement("decay").spread == fit.half_width
    assert fit_slope([[(0.0, 0.0), (1.0, 1.0)]]) is None
    assert fit_slope([[(1.0, float(k)) for k in range(5)]]) is None
    assert str(Fit(-2.0, 0.00123, 5)) == "-2.0000 ± 0.001"


def test_marks_end_at_the_last_step():
    assert marks(1000, 10)[0] == 1
    assert marks(1000, 10)[-1] == 1000
    assert marks(3, 10) == [1, 2, 3]

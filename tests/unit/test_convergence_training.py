"""Dense tanh networks: gradients, polishing, walks; the samples; what a run is held to."""

import json
import math
from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest

pytest.importorskip("sklearn")

from verify.certificate import read_certificate
from verify.cli import main
from verify.errors import InputError
from verify.network import Feedforward, TwoLayer
from verify.verdict import Verdict
from verify_conditions.convergence import reproduce
from verify_conditions.convergence.dense_certificates import certify, measured_h
from verify_conditions.convergence.dense_runs import Case, run_case
from verify_conditions.convergence.experiment_data import (
    breast_cancer,
    diabetes,
    digit_pair,
    digits,
    standardised,
)
from verify_conditions.convergence.training import (
    DenseNet,
    Problem,
    polish,
    train_adam,
    walk,
)

SHAPES = [
    DenseNet((3, 5, 1)),
    DenseNet((3, 5, 2), last_bias=True),
    DenseNet((2, 4, 3, 1), last_bias=True),
]


def drawn(net, n=4, seed=0):
    rng = np.random.default_rng(seed)
    X = rng.standard_normal((n, net.sizes[0]))
    return Problem(net, X, rng.standard_normal((n, net.sizes[-1]))), net.start(seed, gain=2.0)


@pytest.mark.parametrize("net", SHAPES)
def test_gradient_and_jacobian_are_those_of_the_outputs(net):
    problem, theta = drawn(net)
    residual, gradient = problem.residual_and_gradient(theta)
    jac = problem.jacobian(theta)
    assert jac.shape == (residual.size, net.parameters)
    step = 1e-6
    for k in range(net.parameters):
        moved = np.zeros_like(theta)
        moved[k] = step
        change = (problem.outputs(theta + moved) - problem.outputs(theta - moved)) / (2 * step)
        assert np.abs(change.ravel() - jac[:, k]).max() < 1e-7
    assert np.abs(jac.T @ residual.ravel() - gradient).max() < 1e-12 * np.abs(gradient).max()


def test_a_network_has_the_numbers_of_theta():
    for net in SHAPES:
        _, theta = drawn(net)
        assert net.parameters == max((b or w).stop for w, _, b in net.layout)
        network = net.network(theta)
        assert isinstance(network, TwoLayer if net.sizes == (3, 5, 1) else Feedforward)
        stored = np.concatenate([tensor.ravel() for tensor in network.tensors().values()])
        assert np.array_equal(np.sort(stored), np.sort(theta))
    with pytest.raises(InputError, match="DenseNet: expected three or more positive sizes"):
        DenseNet((3, 1))


def test_adam_and_polishing_lower_the_residual():
    problem, theta = drawn(SHAPES[0])
    points = list(train_adam(problem, theta, steps=200, rate=0.05, last_rate=1e-3))
    assert [point.step for point in points] == [0, 50, 100, 150, 200]
    assert points[-1].residual < 0.2 * points[0].residual
    with pytest.raises(InputError, match="train_adam: expected positive steps"):
        next(train_adam(problem, theta, steps=0, rate=0.1, last_rate=0.1))
    refined = list(polish(problem, points[-1].theta, steps=30))
    norms = [point.residual for point in refined]
    assert norms == sorted(norms, reverse=True)
    assert norms[-1] < 1e-12


def test_a_walk_measures_what_it_says():
    problem, theta = drawn(SHAPES[0])
    [*_, last] = train_adam(problem, theta, steps=300, rate=0.05, last_rate=1e-3)
    eta = 0.5 / float(np.linalg.norm(problem.jacobian(last.theta), 2)) ** 2
    found = walk(problem, last.theta, eta, until=1e-300, steps=3)
    at, path, norms = last.theta, 0.0, [last.residual]
    for _ in range(3):
        _, gradient = problem.residual_and_gradient(at)
        path += eta * float(np.linalg.norm(gradient))
        at = at - eta * gradient
        norms.append(float(np.linalg.norm(problem.outputs(at) - problem.targets)))
    assert found.steps == 3
    assert found.path == pytest.approx(path, rel=1e-12)  # measured, in another order of sums
    assert found.worst == pytest.approx(max(b / a for a, b in pairwise(norms)))
    assert found.distance <= found.path
    assert found.curve[0] == (0, found.first, 0.0)
    assert found.curve[-1][0] == 3
    with pytest.raises(InputError, match="walk: expected positive eta and until"):
        walk(problem, theta, eta, until=0.0, steps=3)


def test_the_samples_are_what_they_are_said_to_be():
    for task, shape in (
        (diabetes(20), (20, 10)), (breast_cancer(10), (10, 30)), (digit_pair(8, (3, 8)), (8, 61)),
    ):  # fmt: skip
        assert task.X.shape == shape
        assert task.y.shape == shape[:1]
        assert task.data.X is task.X
    assert set(digit_pair(30, (4, 9)).y) == {1.0, -1.0}
    ten = digits(30)
    assert ten.y.shape == (30, 10)
    assert (ten.y.sum(axis=1) == 1.0).all()
    whole = standardised(np.arange(12.0).reshape(4, 3) * [1.0, 2.0, 0.0])
    assert whole.shape == (4, 2)
    assert np.abs(whole.std(axis=0) - 2.0**-0.5).max() < 1e-15
    with pytest.raises(InputError, match="standardised: expected features that vary"):
        standardised(np.ones((3, 2)))
    with pytest.raises(InputError, match=r"Task: expected 1 to 442 samples, but got 443"):
        diabetes(443)


@pytest.fixture(scope="module")
def small():
    return Case(breast_cancer(5), 20, seed=1, steps=200)


@pytest.fixture(scope="module")
def finished(small):
    return run_case(small)


def test_the_command_writes_certificates_curves_and_a_page(small, tmp_path, monkeypatch, capsys):
    ten = Case(digits(3), 60, steps=400, end=1e-12)
    monkeypatch.setattr(reproduce, "cases_of", lambda quick: [small, ten])
    page = tmp_path / "page.html"
    code = main(["reproduce", "convergence", "--quick", "--json", str(tmp_path), "--report",
                 str(page)])  # fmt: skip
    said = capsys.readouterr().out
    assert code == 0, said
    found = read_certificate(tmp_path / "breast-cancer-n5-m20.converges-from-here.json")
    assert found.verdict is Verdict.PASS
    stored = json.loads((tmp_path / "convergence.json").read_text())
    assert len(stored["curves"]) == 2
    assert all(len(rows) == 2 for name, rows in stored.items() if name != "curves")
    text = page.read_text()
    assert text.count("<figure>") == 4
    assert "Path of gradient descent over its certified length" in text
    assert text.rstrip().endswith("</html>")


def test_what_is_expected_is_what_happened(finished):
    assert finished.unmet() == []
    proof, walked = reproduce.proof_row(finished), reproduce.walk_row(finished)
    certified = finished.first[1]
    assert float(proof["h <="]) >= certified.h
    assert float(proof["sigma >="]) <= certified.sigma
    assert float(walked["certified length <="]) >= finished.start[1].length
    assert finished.walk.path <= finished.start[1].length


def test_every_expectation_that_fails_is_told(finished):
    step, proved = finished.start
    for changed, told in (
        (replace(finished, start=(step, replace(proved, length=0.0))), "a path of at most 0"),
        (replace(finished, start=(step, replace(proved, contraction=0.0))), "shrink by 0.0"),
        (replace(finished, walk=replace(finished.walk, residual=1.0)), "<= 1e-13 within"),
        (replace(finished, start=None, walk=None), "Theorem B to fire"),
    ):
        [sentence] = changed.unmet()
        assert told in sentence
        assert sentence.startswith("breast cancer, n = 5, m = 20: expected ")
    nothing = replace(finished, first=None, start=None, walk=None)
    assert [sentence[30:60] for sentence in nothing.unmet()]
    assert set(reproduce.proof_row(nothing)) == set(reproduce.proof_row(finished))
    assert set(reproduce.walk_row(nothing)) == set(reproduce.walk_row(finished))
    assert len(reproduce.figures_of([nothing])) == 2


def test_h_measured_is_near_what_is_proved_and_never_far_above(small, finished):
    point, certified = finished.first
    measured = measured_h(small.problem, point.theta)
    assert 0.5 * certified.h < measured < 1.0001 * certified.h
    assert measured_h(drawn(DenseNet((1, 1, 1)))[0], np.ones(3)) == math.inf  # p < n


def test_without_a_proof_the_numbers_are_open():
    problem, theta = drawn(DenseNet((1, 1, 1)))
    found = certify(problem, theta, "fewer parameters than samples")
    assert not found.flow
    assert not found.descent
    assert found.lstar == found.length == math.inf


def test_the_cases_are_real_networks():
    quick, full = reproduce.cases_of(True), reproduce.cases_of(False)
    assert len(quick) < len(full)
    for case in full:
        n, _ = case.task.X.shape
        assert 10 <= n <= 50
        assert 50 <= case.width <= 200
    assert len({reproduce._stem(case) for case in full}) == len(full)

"""Two-layer training: risk and gradient, the procedures, what they ask for, what they store."""

from fractions import Fraction

import numpy as np
import pytest

from verify.errors import InputError
from verify.network import Activation
from verify.readers import read_network, read_run
from verify.verdict import Verdict
from verify_conditions.villani import training
from verify_conditions.villani.experiment_data import (
    Task,
    breast_cancer,
    diabetes,
    standardised,
)
from verify_conditions.villani.experiment_model import ACTIVATIONS, Model, Weights
from verify_conditions.villani.training import (
    ask,
    descend,
    save_run,
    train_langevin,
    train_sgd,
)
from verify_kernels.two_layer.ball_risk import Point, Problem, evaluate


def toy(loss="half-mean-squares", n=12, d=3, seed=0):
    rng = np.random.default_rng(seed)
    X = standardised(rng.standard_normal((n, d)))
    y = np.sign(rng.standard_normal(n)) if loss == "logistic" else rng.standard_normal(n)
    return Task("toy", X, y, loss, "drawn at random")


@pytest.mark.parametrize("activation", sorted(ACTIVATIONS))
@pytest.mark.parametrize("loss", ["half-mean-squares", "logistic"])
@pytest.mark.parametrize("outer_trained", [False, True])
def test_the_float_risk_and_gradient_are_those_of_ball_arithmetic(activation, loss, outer_trained):
    model = Model(toy(loss), activation, 4, Fraction(1, 8), outer_trained)
    weights = model.start(1.0, 3)
    penalties = {"W": model.lam} | ({"a": model.lam} if outer_trained else {})
    exact = evaluate(
        Problem(model.task.X, model.task.y, Activation.parse(activation), penalties,
                "logistic" if loss == "logistic" else "squared"),
        Point(weights.W, weights.a),
    )  # fmt: skip
    # a few hundred roundings of numbers of order one: far below 1e-12
    assert abs(model.value(weights) - float(exact.value.mid())) < 1e-12
    found = model.gradient(weights)
    wanted = np.array([[float(g.mid()) for g in row] for row in exact.gradient["W"]])
    assert np.abs(found.W - wanted).max() < 1e-12
    if outer_trained:
        wanted_a = np.array([float(g.mid()) for g in exact.gradient["a"]])
        assert np.abs(found.a - wanted_a).max() < 1e-12
    else:
        assert not found.a.any()


def test_the_mean_of_the_batches_is_the_full_gradient():
    model = Model(toy(), "tanh", 4, Fraction(1, 8))
    weights = model.start(1.0, 3)
    batches = [model.gradient(weights, np.arange(k, k + 4)).W for k in (0, 4, 8)]
    assert np.abs(np.mean(batches, axis=0) - model.gradient(weights).W).max() < 1e-14


def test_the_data_are_prepared_as_stated():
    for task, shape in ((diabetes(), (442, 10)), (breast_cancer(), (569, 30))):
        assert task.X.shape == shape
        spread = task.X.std(axis=0)
        assert np.ptp(spread) < 1e-12  # one scale for all features
        assert np.abs(task.X.mean(axis=0)).max() < 1e-12
        assert abs(np.linalg.norm(task.X, axis=1).max() - 1.0) < 1e-12
        assert "standard deviation" in task.preparation
    assert set(np.unique(breast_cancer().y)) == {-1.0, 1.0}
    assert abs(diabetes().y.std() - 1.0) < 1e-12


@pytest.mark.parametrize("bad", [np.ones((3, 2)), np.zeros((0, 2)), np.array([[np.inf], [0.0]])])
def test_features_that_cannot_be_standardised_are_refused(bad):
    with pytest.raises(InputError, match=r"^standardised: expected features that vary, .* got"):
        standardised(bad)


def test_tasks_and_models_that_do_not_fit_are_refused():
    with pytest.raises(
        InputError, match=r"^Task: expected finite X \(n, d\) and y \(n,\), but got"
    ):
        Task("t", np.ones((3, 2)), np.ones(2), "logistic", "")
    for changes, expected in (
        ({"activation": "relu"}, "one of"),
        ({"width": 0}, "width"),
        ({"lam": Fraction(-1)}, "lambda"),
    ):  # fmt: skip
        given = {"task": toy(), "activation": "tanh", "width": 2, "lam": Fraction(1)} | changes
        with pytest.raises(InputError, match=rf"^Model: expected .*{expected}.*but got"):
            Model(**given)
    with pytest.raises(InputError, match=r"^Model: expected half-mean-squares or logistic"):
        Model(toy("sum-squares"), "tanh", 2, Fraction(1))


def test_sgd_lowers_the_risk_and_stores_what_it_is_asked_to():
    model = Model(toy(), "tanh", 4, Fraction(1, 100))
    run = train_sgd(model, step=Fraction(1, 4), batch=5, passes=20, stored=4)
    assert [point.step for point in run.checkpoints] == [0, 15, 30, 45, 60]
    assert run.checkpoints[-1].value < run.checkpoints[0].value
    assert np.array_equal(run.checkpoints[-1].weights.a, model.outer)  # frozen
    again = train_sgd(model, step=Fraction(1, 4), batch=5, passes=20, stored=4)
    assert np.array_equal(run.checkpoints[-1].weights.W, again.checkpoints[-1].weights.W)


def test_langevin_has_the_stationary_mean_of_a_quadratic():
    """Labels 0 and one neuron near 0: f is close to a quadratic, and E f is close to s D / 4."""
    X = np.array([[1.0, 0.0], [0.0, 1.0]])
    model = Model(Task("flat", X, np.zeros(2), "half-mean-squares", ""), "tanh", 1, Fraction(1))
    run = train_langevin(
        model, step=Fraction(1, 16), s=Fraction(1, 1000), steps=20_000, burn_in=500
    )
    mean = run.stationary
    assert abs(mean.value - 0.001 * 2 / 4) < 6 * mean.spread + 0.05 * mean.value  # step/4, tanh
    best = descend(model, run.checkpoints[-1].weights, step=0.1, steps=400)
    assert model.value(best) < 1e-12


@pytest.mark.parametrize(
    "changes", [{"step": Fraction(0)}, {"batch": 0}, {"passes": 0}, {"stored": 0}, {"tau": 0}]
)
def test_sgd_refuses_settings_out_of_range(changes):
    [name] = changes
    model = Model(toy(), "tanh", 4, Fraction(1, 100))
    with pytest.raises(InputError, match=rf"^train_sgd: expected {name} > 0, but got"):
        train_sgd(model, **({"step": Fraction(1, 4)} | changes))


def test_langevin_refuses_a_burn_in_without_a_rest():
    model = Model(toy(), "tanh", 4, Fraction(1, 100))
    with pytest.raises(InputError, match=r"^train_langevin: expected rest > 0, but got"):
        train_langevin(model, step=Fraction(1), s=Fraction(1), steps=10, burn_in=10)


def test_a_run_that_leaves_binary64_is_refused():
    model = Model(toy(), "softplus", 4, Fraction(1, 100))
    with (
        pytest.raises(InputError, match=r"^train_sgd: expected f to stay finite, .*lower the step"),
        np.errstate(all="ignore"),
    ):
        train_sgd(model, step=Fraction(10**6), passes=60, stored=60)


def test_what_is_asked_before_a_bounded_run():
    """The step is held against the enclosed gLip; only an unproved hypothesis is told."""
    model = Model(toy(), "tanh", 8, Fraction(1, 100))
    weights = model.start(0.25, 0)
    declared = {"villani.s": "1/1000", "villani.noise": "injected"}
    small = ask(model, weights, {**declared, "villani.step": "1/16"})
    assert small.certificate.verdict is Verdict.PASS
    assert small.warnings == ()
    large = ask(model, weights, {**declared, "villani.step": "100"})
    assert large.certificate.verdict is Verdict.PASS  # a side statement never turns the verdict
    [warning] = large.warnings
    assert "1/gLip" in warning
    noisy = ask(model, weights, {"villani.noise": "minibatch"})  # D = 24 > n - 1 = 11
    [warning] = noisy.warnings
    assert "not isotropic" in warning


def test_an_unbounded_activation_has_no_admissible_step():
    model = Model(toy(), "softplus", 4, Fraction(1, 100))
    run = train_langevin(model, step=Fraction(1, 4), s=Fraction(1, 1000), steps=40, burn_in=20)
    assert run.asked.certificate.verdict is Verdict.PASS
    assert any("continuous time only" in warning for warning in run.asked.warnings)


def test_an_initial_law_that_is_too_wide_is_told():
    """lambda tau^2 >= s: a Gaussian start is not square-integrable against the Gibbs law."""
    model = Model(toy(), "tanh", 4, Fraction(1))
    run = train_langevin(
        model, step=Fraction(1, 16), s=Fraction(1, 100), tau=Fraction(1), steps=4, burn_in=2
    )
    assert any("initial law" in warning for warning in run.asked.warnings)


def test_training_both_layers_is_refused_unless_said_otherwise():
    model = Model(toy(), "tanh", 4, Fraction(1, 100), outer_trained=True)
    with pytest.raises(InputError, match=r"^train: expected a risk with the Villani property"):
        train_sgd(model, step=Fraction(1, 8), passes=2)
    run = train_sgd(model, step=Fraction(1, 8), passes=2, stored=2, despite_refutation=True)
    assert run.asked.certificate.verdict is Verdict.FAIL
    assert not np.array_equal(run.checkpoints[-1].weights.a, model.outer)


def test_no_penalty_is_refused():
    model = Model(toy(), "tanh", 4, Fraction(0))
    with pytest.raises(InputError, match=r"^train: expected a risk with the Villani property"):
        train_sgd(model, step=Fraction(1, 8), passes=2)


def test_a_stored_run_is_read_back_bit_for_bit(tmp_path):
    model = Model(toy(), "sigmoid", 4, Fraction(1, 100))
    run = train_sgd(model, step=Fraction(1, 4), passes=4, stored=2)
    path = save_run(run, tmp_path / "run")
    loaded = read_network(path)
    assert loaded.settings["villani.weight_decay"] == "1/100"
    assert loaded.settings["villani.step"] == "1/4"
    assert np.array_equal(loaded.network.W, run.checkpoints[-1].weights.W)
    assert np.array_equal(loaded.data.X, model.task.X)
    stored = read_run(path.parent, loaded)
    assert [point.step for point in stored.checkpoints] == [0, 2, 4]
    for point, kept in zip(stored.checkpoints, run.checkpoints, strict=True):
        assert point.step == kept.step
        assert np.array_equal(point.network.W, kept.weights.W)
    again = run.run()
    assert [point.step for point in again.checkpoints] == [p.step for p in run.checkpoints]


def test_weights_are_moved_against_the_gradient():
    model = Model(toy(), "tanh", 2, Fraction(1))
    weights = Weights(np.zeros((2, 3)), model.outer)
    moved = training._moved(model, weights, 0.5, None)
    assert np.array_equal(moved.W, -0.5 * model.gradient(weights).W)

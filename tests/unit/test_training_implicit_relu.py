"""Training of the implicit ReLU network: gradients, gradient descent, stored steps, real data."""

from dataclasses import fields
from fractions import Fraction

import numpy as np
import pytest

from verify.errors import InputError
from verify.network import ReluFeatureInput, ScaledGaussianWeight
from verify_conditions.implicit_relu_training import (
    Parameters,
    forward,
    initial_parameters,
    loss_and_gradient,
)
from verify_conditions.well_posedness.training import digits, one_hot, train_implicit_relu

GAMMA = Fraction(1, 5)


def unit_samples(count, dimension, seed):
    samples = np.random.default_rng(seed).standard_normal((count, dimension))
    return samples / np.linalg.norm(samples, axis=1, keepdims=True)


@pytest.mark.parametrize("seed", range(5))
def test_gradient_agrees_with_central_differences(seed):
    # Tightness, not soundness: second-order differences at step 1e-5 of a function without a kink
    # nearby leave about 1e-10 from the third derivative and 1e-11 from rounding.
    rng = np.random.default_rng(seed)
    X, targets = unit_samples(12, 5, seed), rng.standard_normal((12, 3))
    here = initial_parameters(width=16, inputs=5, outputs=3, seed=seed)
    _, gradient, _ = loss_and_gradient(here, X, targets, GAMMA, tolerance=1e-15)

    def loss_at(point):
        outputs, _ = forward(point, X, GAMMA, tolerance=1e-15)
        return 0.5 * float(np.sum((outputs - targets) ** 2))

    for item in fields(Parameters):
        zero = Parameters(*(np.zeros_like(getattr(here, f.name)) for f in fields(Parameters)))
        direction = rng.standard_normal(getattr(here, item.name).shape)
        getattr(zero, item.name)[...] = direction
        step = 1e-5
        slope = (loss_at(here.moved(zero, -step)) - loss_at(here.moved(zero, step))) / (2 * step)
        exact = float(np.sum(direction * getattr(gradient, item.name)))
        assert abs(slope - exact) <= 1e-6 * (1.0 + abs(exact)), item.name


def test_gradient_agrees_with_an_exact_rational_case():
    # m = 4, gamma = 1/2: gamma / sqrt(m) = 1/4. Dyadic entries; equilibrium and derivative of the
    # loss along every coordinate of A are rational and found by linear solves on the active set.
    from flint import fmpq, fmpq_mat

    A = np.array([[1.0, -2.0, 0.5, 0.0], [0.5, 1.0, 0.0, -1.0],
                  [-1.0, 0.25, 0.5, 1.0], [2.0, 0.0, -0.5, 0.5]])  # fmt: skip
    W = np.array([[1.0, 0.5], [-0.5, 1.0], [0.25, -1.0], [1.0, 1.0]])
    u, v = np.array([[1.0], [-0.5], [2.0], [0.25]]), np.array([[0.5], [1.0], [-1.0], [0.25]])
    x, target = np.array([[1.0, 0.5]]), np.array([[0.75]])

    def rational(matrix):
        return fmpq_mat(*matrix.shape, [fmpq(*float(t).as_integer_ratio()) for t in matrix.ravel()])

    phi = np.maximum(W @ x[0], 0.0) / 2.0  # exact in binary64
    active = phi >= 0.0
    for _ in range(5):  # exact active-set iteration
        D = np.diag(active.astype(float))
        system = rational(np.eye(4)) - rational(D) * rational(A) * fmpq(1, 4)
        z = system.solve(rational(D @ phi[:, None]))
        pre = rational(A) * z * fmpq(1, 4) + rational(phi[:, None])
        active = np.array([pre[i, 0] > 0 for i in range(4)])
    assert all((z[i, 0] == pre[i, 0]) if active[i] else z[i, 0] == 0 for i in range(4))
    residual = (rational(u.T) * z + rational(v.T) * rational(phi[:, None]))[0, 0] - fmpq(3, 4)
    _, gradient, _ = loss_and_gradient(
        Parameters(A, W, u, v), x, target, Fraction(1, 2), tolerance=1e-16
    )
    for i in range(4):
        for j in range(4):
            moved = fmpq_mat(4, 1)
            if active[i]:
                moved[i, 0] = z[j, 0] / 4
            change = (rational(u.T) * system.solve(moved))[0, 0] * residual
            assert abs(fmpq(*float(gradient.A[i, j]).as_integer_ratio()) - change) < fmpq(1, 10**13)


def test_loss_falls_and_steps_are_stored():
    X = unit_samples(50, 6, 1)
    y = (X[:, 0] > 0).astype(np.int64)
    seen = []
    run = train_implicit_relu(
        X, y, width=16, steps=20, learning_rate=0.5, every=8, held_out=(X, y), on_step=seen.append
    )
    assert [point.step for point in run.checkpoints] == [0, 8, 16, 20]
    assert [record.step for record in run.history] == list(range(21))
    assert tuple(seen) == run.history
    losses = [record.loss for record in run.history]
    assert losses[-1] < losses[0]
    assert run.history[0].displacement.hi == run.history[0].displacement.lo == 0
    assert run.checkpoints[-1].held_out_accuracy == run.checkpoints[-1].train_accuracy


def test_same_seed_same_numbers_and_other_seed_other_numbers():
    X = unit_samples(20, 4, 2)
    y = np.arange(20) % 2
    first, again, other = (
        train_implicit_relu(X, y, width=9, steps=3, seed=seed) for seed in (0, 0, 1)
    )
    assert np.array_equal(first.parameters.A, again.parameters.A)
    assert not np.array_equal(first.parameters.A, other.parameters.A)


def test_network_holds_the_trained_numbers():
    X = unit_samples(10, 4, 3)
    run = train_implicit_relu(X, np.arange(10) % 2, width=9, steps=2, gamma=Fraction(1, 7))
    network = run.network()
    assert isinstance(network.weight, ScaledGaussianWeight)
    assert isinstance(network.input, ReluFeatureInput)
    assert network.weight.gamma == Fraction(1, 7)
    assert network.weight.A is run.parameters.A
    assert network.input.V is run.parameters.W
    assert str(network.activation) == "relu"


def test_one_hot():
    assert np.array_equal(one_hot([1, 0]), [[0.0, 1.0], [1.0, 0.0]])
    assert np.array_equal(one_hot([[0.5], [2.0]]), [[0.5], [2.0]])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"gamma": 0.2}, r"expected gamma as a positive Fraction, but got 0\.2"),
        ({"gamma": Fraction(0)}, "expected gamma as a positive Fraction"),
        ({"width": 0}, "expected width >= 1"),
        ({"y": np.zeros(3, int)}, "expected y for 10 samples, but got 3"),
        ({"y": np.zeros(10)}, "expected y with integer labels"),
        ({"y": -np.ones(10, int)}, "expected y with integer labels"),
        ({"X": np.full((10, 4), np.nan)}, "expected finite X"),
        ({"gamma": Fraction(40)}, "lower gamma or learning_rate"),
    ],
)
@pytest.mark.filterwarnings("ignore:overflow:RuntimeWarning", "ignore:invalid:RuntimeWarning")
def test_refused(change, message):
    given = {"X": unit_samples(10, 4, 4), "y": np.arange(10) % 2, "width": 9, "steps": 1} | change
    with pytest.raises(InputError, match=message):
        train_implicit_relu(given.pop("X"), given.pop("y"), **given)


def test_digits_are_real_unit_and_disjoint():
    data = digits()
    assert data.X_train.shape == (1400, 64)
    assert data.X_test.shape == (397, 64)
    assert set(data.y_train) == set(data.y_test) == set(range(10))
    norms = np.linalg.norm(np.vstack([data.X_train, data.X_test]), axis=1)
    assert np.abs(norms - 1.0).max() < 1e-15
    again = digits()
    assert np.array_equal(data.X_test, again.X_test)
    with pytest.raises(InputError, match="expected 0 < held_out < 1797, but got 1797"):
        digits(held_out=1797)


@pytest.mark.slow
def test_more_than_ninety_percent_on_held_out_digits():
    data = digits()
    run = train_implicit_relu(
        data.X_train, data.y_train, steps=80, every=80, held_out=(data.X_test, data.y_test)
    )
    accuracy = run.checkpoints[-1].held_out_accuracy
    print(f"implicit ReLU network, width 256, 80 steps: {100 * accuracy:.1f} % of 397 held out")
    assert run.parameters.A.shape == (256, 256)
    assert accuracy > 0.9

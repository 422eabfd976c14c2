"""Training of the monotone equilibrium network: equilibria, gradients, real data."""

from fractions import Fraction

import numpy as np
import pytest

from verify.errors import InputError
from verify.network import AffineInput, MonotoneWeight
from verify_conditions.well_posedness.monotone_training import (
    forward,
    initial_parameters,
    loss_and_gradient,
    state_weight,
    train_monotone,
)
from verify_conditions.well_posedness.training import digits

MARGIN = Fraction(1, 20)


def test_splitting_finds_the_equilibrium_of_an_expansive_weight():
    parameters = initial_parameters(width=16, inputs=4, outputs=3, seed=0)
    parameters["B"] = 3.0 * parameters["B"]
    weight = state_weight(parameters, MARGIN)
    assert np.linalg.norm(weight, 2) > 1.5
    X = np.random.default_rng(1).standard_normal((10, 4))
    _, z = forward(parameters, MARGIN, X, tolerance=1e-13)
    right = X @ parameters["U"].T + parameters["b"]
    # Tightness: the last change of the iteration is 1e-13, its contraction factor below 0.97.
    assert np.abs(z - np.maximum(z @ weight.T + right, 0.0)).max() < 1e-10


@pytest.mark.parametrize("seed", range(3))
def test_gradient_agrees_with_central_differences(seed):
    # Tightness: see the same test of the implicit ReLU network.
    rng = np.random.default_rng(seed)
    parameters = initial_parameters(width=12, inputs=4, outputs=3, seed=seed)
    X, targets = rng.standard_normal((9, 4)), rng.standard_normal((9, 3))
    _, gradient = loss_and_gradient(parameters, MARGIN, X, targets, tolerance=1e-13)
    for name, value in parameters.items():
        direction = rng.standard_normal(value.shape)
        losses = []
        for sign in (1.0, -1.0):
            moved = parameters | {name: value + sign * 1e-5 * direction}
            outputs, _ = forward(moved, MARGIN, X, tolerance=1e-13)
            losses.append(0.5 * float(np.sum((outputs - targets) ** 2)) / len(X))
        slope = (losses[0] - losses[1]) / 2e-5
        exact = float(np.sum(direction * gradient[name]))
        assert abs(slope - exact) <= 1e-6 * (1.0 + abs(exact)), name


def test_training_lowers_the_loss_and_keeps_the_parametrisation():
    rng = np.random.default_rng(3)
    X = rng.standard_normal((50, 5))
    y = (X[:, 0] > 0).astype(np.int64)
    seen = []
    run = train_monotone(X, y, width=8, epochs=4, batch=10, held_out=(X, y), on_epoch=seen.append)
    assert tuple(seen) == run.history
    assert run.history[-1].loss < run.history[0].loss
    network = run.network()
    assert isinstance(network.weight, MonotoneWeight)
    assert isinstance(network.input, AffineInput)
    assert network.weight.m == MARGIN
    assert network.weight.A is run.parameters["A"]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"margin": 0.05}, "expected a positive Fraction as margin"),
        ({"epochs": 0}, "epochs and batch >= 1"),
        ({"X": np.zeros((3, 2))}, r"but got shapes \(3, 2\) and \(10, 2\)"),
    ],
)
def test_refused(change, message):
    given = {"X": np.zeros((10, 2)), "y": np.arange(10) % 2} | change
    with pytest.raises(InputError, match=message):
        train_monotone(given.pop("X"), given.pop("y"), **given)


def test_more_than_ninety_percent_on_held_out_digits():
    data = digits()
    run = train_monotone(data.X_train, data.y_train, epochs=12, held_out=(data.X_test, data.y_test))
    accuracy = run.history[-1].held_out_accuracy
    print(f"monotone network, width 100, 12 epochs: {100 * accuracy:.1f} % of 397 held out")
    assert accuracy > 0.9

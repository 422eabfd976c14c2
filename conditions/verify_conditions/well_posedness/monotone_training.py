r"""A monotone equilibrium network, trained with implicit differentiation in plain floats.

    z = relu(W z + U x + b),  W = (1 - m) I - A^T A + B - B^T,  yhat = R^T z + c,

with A (n, n), B (n, n), U (n, d), b (n,), R (n, k), c (k,) trained and m > 0 declared. Whatever
A and B are, the symmetric part of I - W is m I + A^T A, so the network is well posed by its
parametrisation; its spectral norm may be far above 1. Equilibria and adjoints are found by
Peaceman-Rachford splitting, one matrix product an iteration. Nothing here proves anything: the
certificate comes from the stored A, B and m.

Source: Winston and Kolter, *Monotone operator equilibrium networks* (NeurIPS 2020), for the
parametrisation and the splitting; the optimiser is Adam with mini-batches (Kingma and Ba 2015).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from fractions import Fraction

import numpy as np
from numpy.typing import ArrayLike, NDArray

from verify.errors import InputError
from verify.network import Activation, AffineInput, Equilibrium, MonotoneWeight
from verify_conditions.well_posedness.training import one_hot

Array = NDArray[np.float64]
Parameters = dict[str, Array]

FIRST_MOMENT, SECOND_MOMENT, FLOOR = 0.9, 0.99, 1e-8
"""Adam's decay rates and the number added to its denominator."""


@dataclass(frozen=True)
class EpochRecord:
    """Measurements after one pass over the data; accuracies in [0, 1]."""

    epoch: int
    loss: float
    held_out_accuracy: float | None


@dataclass(frozen=True, eq=False)
class MonotoneRun:
    """A finished run: parameters A, B, U, b, R, c, the declared margin m and the history."""

    parameters: Mapping[str, Array]
    margin: Fraction
    history: tuple[EpochRecord, ...]

    def network(self) -> Equilibrium:
        """Return the network that a condition speaks about, with these very numbers."""
        p = self.parameters
        return Equilibrium(
            weight=MonotoneWeight(A=p["A"], B=p["B"], m=self.margin),
            activation=Activation("relu"),
            input=AffineInput(U=p["U"], bias=p["b"]),
            readout={"R": p["R"], "c": p["c"]},
        )


def state_weight(parameters: Mapping[str, Array], margin: Fraction) -> Array:
    """Return W (n, n) in plain floats."""
    a, b = parameters["A"], parameters["B"]
    return (1.0 - float(margin)) * np.eye(len(b)) - a.T @ a + b - b.T


def split(
    weight: Array,
    right: Array,
    resolvent: Callable[[Array], Array],
    *,
    tolerance: float = 1e-6,
) -> Array:
    """Solve 0 in (I - W) z - right + N(z) by Peaceman-Rachford splitting with step 1.

    Args:
        weight: W (n, n) with I - W strongly monotone.
        right: one right-hand side a row, (samples, n).
        resolvent: of N, applied to every row: relu gives the equilibrium z = relu(W z + right), a
            0/1 mask D gives the adjoint q = D (W q + right).
        tolerance: largest last change of an entry; after 500 iterations the last one is returned.
    """
    n = len(weight)
    inverse = np.linalg.inv(2.0 * np.eye(n) - weight).T
    z = np.zeros_like(right)
    u = np.zeros_like(right)
    for _ in range(500):
        reflected = 2.0 * z - u
        u = 2.0 * ((reflected + right) @ inverse) - reflected
        new = resolvent(u)
        moved = float(np.max(np.abs(new - z), initial=0.0))
        z = new
        if moved <= tolerance:
            break
    return z


def _relu(t: Array) -> Array:
    return np.maximum(t, 0.0)


def forward(
    parameters: Mapping[str, Array], margin: Fraction, X: Array, *, tolerance: float = 1e-6
) -> tuple[Array, Array]:
    """Return outputs (samples, k) and equilibria (samples, n)."""
    right = X @ parameters["U"].T + parameters["b"]
    z = split(state_weight(parameters, margin), right, _relu, tolerance=tolerance)
    return z @ parameters["R"] + parameters["c"], z


def loss_and_gradient(
    parameters: Mapping[str, Array],
    margin: Fraction,
    X: Array,
    targets: Array,
    *,
    tolerance: float = 1e-6,
) -> tuple[float, Parameters]:
    r"""Return L = 1/(2 samples) sum ||yhat - y||^2 and its gradient by implicit differentiation.

    With D = diag(1[z > 0]), r the residual over the number of samples and q = D (R r + W^T q):
    dL/dW = G = sum q z^T, hence dL/dA = -A (G + G^T), dL/dB = G - G^T, dL/dU = sum q x^T,
    dL/db = sum q, dL/dR = sum z r^T, dL/dc = sum r.
    """
    outputs, z = forward(parameters, margin, X, tolerance=tolerance)
    residual = (outputs - targets) / len(X)
    active = (z > 0.0).astype(np.float64)
    q = split(
        state_weight(parameters, margin).T,
        residual @ parameters["R"].T,
        lambda t: active * t,
        tolerance=tolerance / len(X),
    )
    through = q.T @ z
    gradient = {
        "A": -parameters["A"] @ (through + through.T),
        "B": through - through.T,
        "U": q.T @ X,
        "b": q.sum(axis=0),
        "R": z.T @ residual,
        "c": residual.sum(axis=0),
    }
    return 0.5 * len(X) * float(np.sum(residual * residual)), gradient


def initial_parameters(*, width: int, inputs: int, outputs: int, seed: int) -> Parameters:
    """Draw A, B with entries of deviation 0.7, 0.5 over sqrt(n), U of 1, R of 1 / sqrt(n)."""
    rng = np.random.default_rng(seed)
    scale = 1.0 / np.sqrt(width)
    return {
        "A": 0.7 * scale * rng.standard_normal((width, width)),
        "B": 0.5 * scale * rng.standard_normal((width, width)),
        "U": rng.standard_normal((width, inputs)),
        "b": np.zeros(width),
        "R": scale * rng.standard_normal((width, outputs)),
        "c": np.zeros(outputs),
    }


class _Adam:
    """Adam's moving averages of the gradient and of its square."""

    def __init__(self, parameters: Mapping[str, Array], learning_rate: float) -> None:
        self.rate, self.steps = learning_rate, 0
        self.first = {name: np.zeros_like(value) for name, value in parameters.items()}
        self.second = {name: np.zeros_like(value) for name, value in parameters.items()}

    def step(self, parameters: Parameters, gradient: Parameters) -> None:
        """Move the parameters, in place of the mapping's entries."""
        self.steps += 1
        for name, value in gradient.items():
            self.first[name] += (1.0 - FIRST_MOMENT) * (value - self.first[name])
            self.second[name] += (1.0 - SECOND_MOMENT) * (value * value - self.second[name])
            mean = self.first[name] / (1.0 - FIRST_MOMENT**self.steps)
            spread = self.second[name] / (1.0 - SECOND_MOMENT**self.steps)
            parameters[name] = parameters[name] - self.rate * mean / (np.sqrt(spread) + FLOOR)


def train_monotone(
    X: ArrayLike,
    y: ArrayLike,
    *,
    width: int = 100,
    margin: Fraction = Fraction(1, 20),
    epochs: int = 20,
    batch: int = 100,
    learning_rate: float = 0.003,
    seed: int = 0,
    held_out: tuple[ArrayLike, ArrayLike] | None = None,
    on_epoch: Callable[[EpochRecord], None] | None = None,
) -> MonotoneRun:
    """Train a monotone equilibrium network by Adam on the square loss.

    Args:
        X: inputs (samples, d).
        y: labels 0..k-1 (samples,) or targets (samples, k).
        width: n.
        margin: the declared m > 0, exact.
        epochs: passes over the data.
        batch: samples a step.
        learning_rate: Adam's step size.
        seed: of the initial parameters and of the order of samples.
        held_out: inputs and labels for the accuracy in the history; never trained on.
        on_epoch: called with the record of each epoch.

    Raises:
        InputError: malformed data or settings.
    """
    inputs, targets = np.asarray(X, dtype=np.float64), one_hot(y)
    if inputs.ndim != 2 or not np.isfinite(inputs).all() or len(inputs) != len(targets):
        raise InputError(
            f"train_monotone: expected finite X of shape (samples, d) with as many targets, "
            f"but got shapes {inputs.shape} and {targets.shape}"
        )
    if not isinstance(margin, Fraction) or margin <= 0 or min(width, epochs, batch) < 1:
        raise InputError(
            f"train_monotone: expected a positive Fraction as margin and width, epochs and batch "
            f">= 1, but got {margin!r}, {width!r}, {epochs!r}, {batch!r}"
        )
    parameters = initial_parameters(
        width=width, inputs=inputs.shape[1], outputs=targets.shape[1], seed=seed
    )
    optimiser, rng = _Adam(parameters, learning_rate), np.random.default_rng(seed)
    history: list[EpochRecord] = []
    for epoch in range(1, epochs + 1):
        losses = []
        order = rng.permutation(len(inputs))
        for part in (order[i : i + batch] for i in range(0, len(order), batch)):
            loss, gradient = loss_and_gradient(parameters, margin, inputs[part], targets[part])
            losses.append(loss)
            optimiser.step(parameters, gradient)
        seen = None if held_out is None else accuracy(parameters, margin, *held_out)
        history.append(EpochRecord(epoch, float(np.mean(losses)), seen))
        if on_epoch is not None:
            on_epoch(history[-1])
    return MonotoneRun(parameters, margin, tuple(history))


def accuracy(
    parameters: Mapping[str, Array], margin: Fraction, X: ArrayLike, labels: ArrayLike
) -> float:
    """Return the fraction of samples whose largest output is at the label; a measurement."""
    outputs, _ = forward(parameters, margin, np.asarray(X, dtype=np.float64))
    return float(np.mean(np.argmax(outputs, axis=1) == np.asarray(labels)))

r"""Gradient descent of the implicit ReLU network on real digits, with stored steps.

The network and its gradient are those of `implicit_relu_training`. Losses and accuracies are
measured; the displacement ||A - A(0)||_F of every step is enclosed rigorously.

Source: Gao, Liu, Liu, Rajan, Gao, *A global convergence theory for deep ReLU implicit networks via
over-parameterization* (ICLR 2022). Gradient descent below is plain and full-batch as there; that
the paper's convergence theorem covers this width, step size and data is not claimed.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction

import numpy as np
from numpy.typing import ArrayLike, NDArray

from verify.enclosure import Enclosure
from verify.errors import InputError
from verify.network import Equilibrium
from verify_conditions.datasets import loader
from verify_conditions.implicit_relu_training import (
    Array,
    Parameters,
    enclose_displacement,
    forward,
    initial_parameters,
    loss_and_gradient,
)

GAMMA = Fraction(1, 5)
"""The fixed scalar: with c = 9/4 and gamma_0 = 9/10 it equals gamma_0 / (2 c) (`along_the_run`)."""


@dataclass(frozen=True, eq=False)
class Digits:
    """Real handwritten digits: inputs of unit norm (n, 64) and labels 0..9 (n,)."""

    X_train: Array
    y_train: NDArray[np.int64]
    X_test: Array
    y_test: NDArray[np.int64]


def digits(*, held_out: int = 397, seed: int = 0) -> Digits:
    """Return scikit-learn's 1,797 digits, shuffled and split with a fixed seed.

    Every input is the image minus the mean of the training images, scaled to unit norm; the test
    images enter nothing but the test set.

    Raises:
        InputError: scikit-learn is not installed, or ``held_out`` leaves no training set.
    """
    images, labels = loader("load_digits")(return_X_y=True)
    if not 0 < held_out < len(labels):
        raise InputError(f"digits: expected 0 < held_out < {len(labels)}, but got {held_out!r}")
    order = np.random.default_rng(seed).permutation(len(labels))
    images, labels = np.asarray(images, dtype=np.float64)[order], np.asarray(labels)[order]
    cut = len(labels) - held_out
    centred = images - images[:cut].mean(axis=0)
    unit = centred / np.linalg.norm(centred, axis=1, keepdims=True)
    labels = labels.astype(np.int64)
    return Digits(unit[:cut], labels[:cut], unit[cut:], labels[cut:])


@dataclass(frozen=True)
class StepRecord:
    """One gradient step: the loss is a float, the displacement of A since the start is proved."""

    step: int
    loss: float
    displacement: Enclosure
    iterations: int


@dataclass(frozen=True, eq=False)
class Checkpoint:
    """Stored parameters with what was measured there (accuracies in [0, 1])."""

    step: int
    parameters: Parameters
    loss: float
    train_accuracy: float
    held_out_accuracy: float | None = None


@dataclass(frozen=True, eq=False)
class TrainingRun:
    """A finished run: every step's record, the stored checkpoints (first and last included)."""

    gamma: Fraction
    history: tuple[StepRecord, ...]
    checkpoints: tuple[Checkpoint, ...]

    @property
    def parameters(self) -> Parameters:
        """The trained parameters."""
        return self.checkpoints[-1].parameters

    def network(self) -> Equilibrium:
        """Return the trained network."""
        return self.parameters.network(self.gamma)


def accuracy(parameters: Parameters, X: Array, labels: ArrayLike, gamma: Fraction) -> float:
    """Return the fraction of samples whose largest output is at the label; a measurement."""
    outputs, _ = forward(parameters, X, gamma, tolerance=1e-6)
    return float(np.mean(np.argmax(outputs, axis=1) == np.asarray(labels)))


def one_hot(labels: ArrayLike) -> Array:
    """Return targets (n, k) for labels 0..k-1 (n,), or the targets themselves if (n, k) is given.

    Raises:
        InputError: neither integer labels >= 0 of shape (n,) nor finite targets of shape (n, k).
    """
    given = np.asarray(labels)
    if given.ndim == 2 and given.dtype.kind in "fiu" and np.isfinite(given).all():
        return given.astype(np.float64)
    if given.ndim == 1 and given.size and given.dtype.kind in "iu" and given.min() >= 0:
        return np.asarray(np.eye(int(given.max()) + 1)[given], dtype=np.float64)
    raise InputError(
        f"train_implicit_relu: expected y with integer labels >= 0 of shape (n,) or finite targets "
        f"of shape (n, k), but got shape {given.shape} of {given.dtype}"
    )


def train_implicit_relu(
    X: ArrayLike,
    y: ArrayLike,
    *,
    width: int = 256,
    gamma: Fraction = GAMMA,
    steps: int = 150,
    learning_rate: float = 6.0,
    seed: int = 0,
    every: int = 20,
    held_out: tuple[ArrayLike, ArrayLike] | None = None,
    on_step: Callable[[StepRecord], None] | None = None,
) -> TrainingRun:
    """Train by full-batch gradient descent: theta <- theta - learning_rate / n grad L.

    Args:
        X: inputs (n, d), meant to have unit norm.
        y: labels 0..k-1 (n,), trained as one-hot targets, or targets (n, k).
        width: m; a perfect square makes gamma / sqrt(m) rational.
        gamma: the fixed scalar of the transition.
        steps: gradient steps.
        learning_rate: step size times n. No momentum, no mini-batches, no projection.
        seed: of the initial parameters.
        every: a checkpoint is stored at step 0, after every so many steps, and at the last.
        held_out: inputs and labels for the accuracy of checkpoints; never trained on.
        on_step: called with the record of each step, the last (step = steps) included.

    Raises:
        InputError: malformed data or settings, or an equilibrium iteration that does not settle.
    """
    inputs, targets = _checked(X, y, width, gamma, steps, every)
    parameters = initial_parameters(
        width=width, inputs=inputs.shape[1], outputs=targets.shape[1], seed=seed
    )
    start, state = parameters.A, None
    history: list[StepRecord] = []
    stored: list[Checkpoint] = []
    for step in range(steps + 1):
        loss, gradient, state = loss_and_gradient(
            parameters, inputs, targets, gamma, warm=state, tolerance=1e-6
        )
        moved = enclose_displacement(parameters.A, start)
        history.append(StepRecord(step, loss, moved, state.iterations))
        if step % every == 0 or step == steps:
            stored.append(_checkpoint(step, parameters, loss, inputs, targets, gamma, held_out))
        if on_step is not None:
            on_step(history[-1])
        if step < steps:
            parameters = parameters.moved(gradient, learning_rate / len(inputs))
    return TrainingRun(gamma, tuple(history), tuple(stored))


def _checked(
    X: ArrayLike, y: ArrayLike, width: int, gamma: Fraction, steps: int, every: int
) -> tuple[Array, Array]:
    where = "train_implicit_relu"
    inputs, targets = np.asarray(X, dtype=np.float64), one_hot(y)
    if inputs.ndim != 2 or not inputs.size or not np.isfinite(inputs).all():
        raise InputError(
            f"{where}: expected finite X of shape (n, d), but got shape {inputs.shape}"
        )
    if len(inputs) != len(targets):
        raise InputError(f"{where}: expected y for {len(inputs)} samples, but got {len(targets)}")
    if width < 1 or steps < 0 or every < 1:
        raise InputError(
            f"{where}: expected width >= 1, steps >= 0 and every >= 1, "
            f"but got {width!r}, {steps!r} and {every!r}"
        )
    if not isinstance(gamma, Fraction) or gamma <= 0:
        raise InputError(f"{where}: expected gamma as a positive Fraction, but got {gamma!r}")
    return inputs, targets


def _checkpoint(
    step: int,
    parameters: Parameters,
    loss: float,
    inputs: Array,
    targets: Array,
    gamma: Fraction,
    held_out: tuple[ArrayLike, ArrayLike] | None,
) -> Checkpoint:
    seen = accuracy(parameters, inputs, np.argmax(targets, axis=1), gamma)
    unseen = None
    if held_out is not None:
        unseen = accuracy(parameters, np.asarray(held_out[0]), held_out[1], gamma)
    return Checkpoint(step, parameters, loss, seen, unseen)

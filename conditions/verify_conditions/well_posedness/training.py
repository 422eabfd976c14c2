r"""The implicit ReLU network of Gao et al., trained by implicit differentiation.

Model of width m on inputs x in R^d with k outputs, trained in all of A, W, u, v:

    phi(x) = relu(W x) / sqrt(m),   z = relu(gamma / sqrt(m) A z + phi(x)),
    yhat   = u^T z + v^T phi(x),    L = 1/2 sum_i ||yhat_i - y_i||^2,

with entries of A (m, m), W (m, d), u (m, k), v (m, k) drawn from N(0, 1) and gamma fixed. The
numbers of this module are plain floating point: they train, they prove nothing. The one exception
is the displacement ||A - A(0)||_F of every step, which is enclosed rigorously, because the argument
that keeps the network well posed along the run needs it (`along_the_run`).

Source: Gao, Liu, Liu, Rajan, Gao, *A global convergence theory for deep ReLU implicit networks via
over-parameterization* (ICLR 2022). Gradient descent below is plain and full-batch as there; that
the paper's convergence theorem covers this width, step size and data is not claimed.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, fields
from fractions import Fraction

import numpy as np
from numpy.typing import ArrayLike, NDArray

from verify.enclosure import Enclosure
from verify.errors import InputError
from verify.network import Activation, Equilibrium, ReluFeatureInput, ScaledGaussianWeight
from verify_kernels._rounding import U, down, mul_down, mul_up, norm_down, norm_up, up

Array = NDArray[np.float64]

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
    try:
        from sklearn.datasets import load_digits
    except ImportError as error:
        raise InputError(
            "digits: expected scikit-learn to be installed, but got no module named 'sklearn'; "
            "install it with pip install 'verify-nn[demo]'"
        ) from error
    images, labels = load_digits(return_X_y=True)
    if not 0 < held_out < len(labels):
        raise InputError(f"digits: expected 0 < held_out < {len(labels)}, but got {held_out!r}")
    order = np.random.default_rng(seed).permutation(len(labels))
    images, labels = np.asarray(images, dtype=np.float64)[order], np.asarray(labels)[order]
    cut = len(labels) - held_out
    centred = images - images[:cut].mean(axis=0)
    unit = centred / np.linalg.norm(centred, axis=1, keepdims=True)
    labels = labels.astype(np.int64)
    return Digits(unit[:cut], labels[:cut], unit[cut:], labels[cut:])


@dataclass(frozen=True, eq=False)
class Parameters:
    """A (m, m), W (m, d), u (m, k), v (m, k); also the shape of a gradient."""

    A: Array
    W: Array
    u: Array
    v: Array

    def moved(self, gradient: Parameters, step: float) -> Parameters:
        """Return the parameters after one step against the gradient."""
        new = (getattr(self, f.name) - step * getattr(gradient, f.name) for f in fields(self))
        return Parameters(*new)

    def network(self, gamma: Fraction) -> Equilibrium:
        """Return the network that a condition speaks about, with these very numbers."""
        return Equilibrium(
            weight=ScaledGaussianWeight(self.A, gamma),
            activation=Activation("relu"),
            input=ReluFeatureInput(self.W),
            readout={"u": self.u, "v": self.v},
        )


def initial_parameters(*, width: int, inputs: int, outputs: int, seed: int = 0) -> Parameters:
    """Draw every entry independently from N(0, 1)."""
    rng = np.random.default_rng(seed)
    shapes = ((width, width), (width, inputs), (width, outputs), (width, outputs))
    return Parameters(*(rng.standard_normal(shape) for shape in shapes))


@dataclass(frozen=True, eq=False)
class State:
    """Features, equilibria and adjoints of all samples, (n, m) each: the next step's warm start."""

    features: Array
    equilibria: Array
    adjoints: Array | None = None
    iterations: int = 0


def _fixed_point(
    step: Callable[[Array], Array], start: Array, tolerance: float
) -> tuple[Array, int]:
    """Iterate until no entry moves by more than ``tolerance``; plain floats, no proof.

    Raises:
        InputError: no convergence within 500 iterations (the weight has left the region q < 1).
    """
    moved = math.inf
    for iteration in range(1, 501):
        new = step(start)
        moved = float(np.max(np.abs(new - start), initial=0.0))
        start = new
        if moved <= tolerance:
            return start, iteration
    raise InputError(
        f"train_implicit_relu: expected the equilibrium iteration to settle within {tolerance!r}, "
        f"but got a last change of {moved!r} after 500 iterations; lower gamma or learning_rate"
    )


def forward(
    parameters: Parameters,
    X: Array,
    gamma: Fraction,
    *,
    start: Array | None = None,
    tolerance: float = 1e-9,
) -> tuple[Array, State]:
    """Return outputs (n, k) and the state of the network at inputs X (n, d)."""
    width = len(parameters.A)
    features = np.maximum(X @ parameters.W.T, 0.0) / math.sqrt(width)
    weight = (float(gamma) / math.sqrt(width)) * parameters.A.T
    equilibria, iterations = _fixed_point(
        lambda z: np.maximum(z @ weight + features, 0.0),
        features if start is None else start,
        tolerance,
    )
    outputs = equilibria @ parameters.u + features @ parameters.v
    return outputs, State(features, equilibria, iterations=iterations)


def loss_and_gradient(
    parameters: Parameters,
    X: Array,
    targets: Array,
    gamma: Fraction,
    *,
    warm: State | None = None,
    tolerance: float = 1e-9,
) -> tuple[float, Parameters, State]:
    r"""Return L, its gradient by implicit differentiation, and the state for a warm start.

    With g = gamma / sqrt(m), D_i = diag(1[z_i > 0]), E_i = diag(1[phi_i > 0]), r = yhat - y: the
    adjoint p_i = u r_i + g A^T D_i p_i is found by fixed-point iteration, q_i = D_i p_i, and

        dL/du = sum z_i r_i^T,              dL/dv = sum phi_i r_i^T,
        dL/dA = g sum q_i z_i^T,            dL/dW = sum E_i (v r_i + q_i) x_i^T / sqrt(m).

    Args:
        parameters: the point.
        X: inputs (n, d).
        targets: y (n, k).
        gamma: the fixed scalar.
        warm: the state of a nearby point; changes the iteration count, not the limit.
        tolerance: largest last change of an iteration; the error is at most q / (1 - q) times it.
    """
    width = len(parameters.A)
    outputs, state = forward(
        parameters, X, gamma, start=None if warm is None else warm.equilibria, tolerance=tolerance
    )
    residual = outputs - targets
    scale = float(gamma) / math.sqrt(width)
    active = (state.equilibria > 0.0).astype(np.float64)
    pulled = residual @ parameters.u.T
    weight = scale * parameters.A
    adjoints, iterations = _fixed_point(
        lambda p: pulled + (active * p) @ weight,
        pulled if warm is None or warm.adjoints is None else warm.adjoints,
        tolerance,
    )
    q = active * adjoints
    through = (state.features > 0.0) * (residual @ parameters.v.T + q)
    gradient = Parameters(
        A=scale * (q.T @ state.equilibria),
        W=(through.T @ X) / math.sqrt(width),
        u=state.equilibria.T @ residual,
        v=state.features.T @ residual,
    )
    loss = 0.5 * float(np.sum(residual * residual))
    total = state.iterations + iterations
    return loss, gradient, State(state.features, state.equilibria, adjoints, total)


def enclose_displacement(now: Array, then: Array) -> Enclosure:
    """Enclose ||now - then||_F of two float64 matrices.

    Error bound: one rounding a difference, fl(a - b) = (a - b)(1 + e) with |e| <= u (a difference
    of binary64 numbers does not underflow inexactly), so with D = fl(now - then)
    ||D||_F / (1 + u) <= ||now - then||_F <= ||D||_F / (1 - u); here 1 / (1 + u) >= 1 - u and
    1 / (1 - u) <= 1 + 2 u. The norm of D is bounded for any summation order by `norm_up` and
    `norm_down`. An overflow gives +inf above and 0 below.
    """
    with np.errstate(over="ignore"):
        difference = now - then
        if not difference.any():  # with gradual underflow a - b rounds to 0 only if a = b
            return Enclosure.exact(0)
        return Enclosure(
            mul_down(norm_down(difference), down(1.0 - U)),
            mul_up(norm_up(difference), up(1.0 + 2.0 * U)),
        )


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

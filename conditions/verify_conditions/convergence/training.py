r"""Dense tanh networks on the half sum of squares, trained and walked in plain binary64.

    h_0 = x,   h_l = tanh(W_l h_{l-1} + b_l),   f(x) = W_L h_{L-1} (+ b_L),   L = 1/2 ||r||^2,

r = f(theta) - y over all samples and outputs, all parameters trained, Euclidean norm over them.
Nothing here proves anything: `train_adam` looks for a point from which a certificate can be proved,
`polish` shortens the way to small losses, and `walk` is the full-batch gradient descent that the
certificate speaks about, with what it claims measured along the way.

Source: Kingma and Ba, *Adam*, arXiv:1412.6980, for the optimiser; Levenberg (1944) and Marquardt
(1963) for the damped Gauss-Newton steps.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from verify.errors import InputError
from verify.network import Activation, Feedforward, TwoLayer

Array = NDArray[np.float64]


@dataclass(frozen=True)
class DenseNet:
    """The shape of a network: its parameters are one vector theta, layer by layer (W_l, then b_l).

    Args:
        sizes: (d, m_1, ..., m_{L-1}, outputs), L >= 2.
        last_bias: whether the last layer has a bias.

    Raises:
        InputError: fewer than three sizes, or one that is not positive.
    """

    sizes: tuple[int, ...]
    last_bias: bool = False

    def __post_init__(self) -> None:
        if len(self.sizes) < 3 or min(self.sizes) < 1:
            raise InputError(f"DenseNet: expected three or more positive sizes, but got "
                             f"{self.sizes!r}")  # fmt: skip

    @cached_property
    def layout(self) -> tuple[tuple[slice, tuple[int, int], slice | None], ...]:
        """The place of each W_l and b_l in theta."""
        found, at = [], 0
        last = len(self.sizes) - 2
        for k, (fan_in, fan_out) in enumerate(pairwise(self.sizes)):
            weight = slice(at, at + fan_in * fan_out)
            at = weight.stop
            bias = None
            if k < last or self.last_bias:
                bias = slice(at, at + fan_out)
                at = bias.stop
            found.append((weight, (fan_out, fan_in), bias))
        return tuple(found)

    @property
    def parameters(self) -> int:
        """p, the number of all parameters."""
        count = sum(a * b for a, b in pairwise(self.sizes)) + sum(self.sizes[1:-1])
        return count + (self.sizes[-1] if self.last_bias else 0)

    def split(self, theta: Array) -> list[tuple[Array, Array | None]]:
        """Return the layers (W_l, b_l) as views into theta."""
        return [
            (theta[weight].reshape(shape), None if bias is None else theta[bias])
            for weight, shape, bias in self.layout
        ]

    def start(self, seed: int, *, gain: float = 1.0) -> Array:
        """Draw W_l from N(0, gain^2 / fan_in) and b_l from N(0, 1), for the last layer with gain 1.

        Biases of the last layer start at 0.
        """
        rng = np.random.default_rng(seed)
        theta = np.zeros(self.parameters)
        layers = self.split(theta)
        for k, (weight, bias) in enumerate(layers):
            hidden = k < len(layers) - 1
            scale = (gain if hidden else 1.0) / math.sqrt(weight.shape[1])
            weight[...] = scale * rng.standard_normal(weight.shape)
            if bias is not None and hidden:
                bias[...] = rng.standard_normal(bias.shape)
        return theta

    def network(self, theta: Array) -> TwoLayer | Feedforward:
        """Return the network that a condition speaks about, with these very numbers."""
        layers = [(w.copy(), None if b is None else b.copy()) for w, b in self.split(theta)]
        tanh = Activation("tanh")
        if len(layers) == 2 and self.sizes[-1] == 1:
            (W, b), (a, c) = layers
            return TwoLayer(W, a[0], tanh, b, c)
        weights, biases = zip(*layers, strict=True)
        return Feedforward(weights, biases, (tanh,) * (len(layers) - 1))


@dataclass(frozen=True, eq=False)
class Problem:
    """A network shape with its samples: inputs X (n, d) and targets y (n,) or (n, k)."""

    net: DenseNet
    X: Array
    y: Array

    @property
    def targets(self) -> Array:
        """Y, (n, k)."""
        return self.y.reshape(len(self.X), -1)

    def outputs(self, theta: Array) -> Array:
        """Return f at all samples, (n, k)."""
        return self._forward(theta)[-1]

    def _forward(self, theta: Array) -> list[Array]:
        states = [self.X]
        layers = self.net.split(theta)
        for k, (weight, bias) in enumerate(layers):
            z = states[-1] @ weight.T
            if bias is not None:
                z += bias
            states.append(np.tanh(z, out=z) if k < len(layers) - 1 else z)
        return states

    def residual_and_gradient(self, theta: Array) -> tuple[Array, Array]:
        """Return r (n, k) and J^T r (p,)."""
        states = self._forward(theta)
        residual = states[-1] - self.targets
        gradient = np.empty(len(theta))
        pulled = residual
        layers, places = self.net.split(theta), self.net.split(gradient)
        for k in range(len(layers) - 1, -1, -1):
            weight, bias = places[k]
            np.matmul(pulled.T, states[k], out=weight)
            if bias is not None:
                np.sum(pulled, axis=0, out=bias)
            if k:
                pulled = (pulled @ layers[k][0]) * (1.0 - states[k] * states[k])
        return residual, gradient

    def jacobian(self, theta: Array) -> Array:
        """Return J (n k, p), the outputs of a sample together."""
        states = self._forward(theta)
        n, outputs = states[-1].shape
        jac = np.empty((n, outputs, len(theta)))
        layers = self.net.split(theta)
        pulled = np.broadcast_to(np.eye(outputs), (n, outputs, outputs))
        for k in range(len(layers) - 1, -1, -1):
            weight, _, bias = self.net.layout[k]
            jac[:, :, weight] = np.einsum("noi,nj->noij", pulled, states[k]).reshape(n, outputs, -1)
            if bias is not None:
                jac[:, :, bias] = pulled
            if k:
                pulled = (pulled @ layers[k][0]) * (1.0 - states[k] * states[k])[:, None, :]
        return jac.reshape(n * outputs, -1)


@dataclass(frozen=True, eq=False)
class Checkpoint:
    """Weights after a number of steps, and ||r|| there, a float."""

    step: int
    theta: Array
    residual: float


def train_adam(
    problem: Problem, theta: Array, *, steps: int, rate: float, last_rate: float, every: int = 50
) -> Iterator[Checkpoint]:
    """Yield a checkpoint after every so many full-batch steps of Adam, the start included.

    Args:
        problem: the samples and the network.
        theta: the start; not changed.
        steps: at most so many.
        rate: of the first step; it falls geometrically.
        last_rate: of the last step.
        every: steps between two checkpoints.

    Raises:
        InputError: a count or a rate is not positive.
    """
    if min(steps, every) < 1 or not min(rate, last_rate) > 0.0:
        raise InputError(
            f"train_adam: expected positive steps, every and rates, but got {steps!r}, {every!r}, "
            f"{rate!r} and {last_rate!r}"
        )
    theta = theta.copy()
    first, second = np.zeros_like(theta), np.zeros_like(theta)
    for step in range(steps + 1):
        residual, gradient = problem.residual_and_gradient(theta)
        if step % every == 0:
            yield Checkpoint(step, theta.copy(), float(np.linalg.norm(residual)))
        first += 0.1 * (gradient - first)
        second += 0.001 * (gradient * gradient - second)
        size = rate * (last_rate / rate) ** (step / steps)
        unbiased = math.sqrt(1.0 - 0.999 ** (step + 1)) / (1.0 - 0.9 ** (step + 1))
        theta -= size * unbiased * first / (np.sqrt(second) + 1e-12)


def polish(problem: Problem, theta: Array, *, steps: int) -> Iterator[Checkpoint]:
    """Yield a checkpoint after every Levenberg-Marquardt step, the start included.

    A step lowers ||r||. The damping falls to a tenth after one and grows tenfold otherwise; the
    run ends where forty dampings in a row do not help.
    """
    residual = (problem.outputs(theta) - problem.targets).ravel()
    norm = float(np.linalg.norm(residual))
    yield Checkpoint(0, theta, norm)
    damping = 1e-3
    for step in range(1, steps + 1):
        jac = problem.jacobian(theta)
        gram = jac @ jac.T
        for _ in range(40):
            shifted = gram + damping * np.eye(len(gram))
            trial = theta - jac.T @ np.linalg.lstsq(shifted, residual, rcond=None)[0]
            moved = (problem.outputs(trial) - problem.targets).ravel()
            if float(np.linalg.norm(moved)) < norm:
                break
            damping *= 10.0
        else:
            return
        theta, residual, norm = trial, moved, float(np.linalg.norm(moved))
        damping = max(damping / 10.0, 1e-300)
        yield Checkpoint(step, theta, norm)


@dataclass(frozen=True, eq=False)
class Walk:
    """Gradient descent that was walked.

    Args:
        steps: taken.
        path: sum of the lengths of all steps.
        residual: ||r|| at the end.
        first: ||r|| at the start.
        worst: the largest ||r_{k+1}|| / ||r_k|| while ||r_{k+1}|| was above the floor.
        distance: of the end from the start.
        curve: (k, ||r_k||, path so far) at some steps.
    """

    steps: int
    path: float
    residual: float
    first: float
    worst: float
    distance: float
    curve: tuple[tuple[int, float, float], ...]


def walk(
    problem: Problem,
    theta: Array,
    eta: float,
    *,
    until: float,
    steps: int,
    floor: float = 1e-10,
    records: int = 200,
) -> Walk:
    """Walk theta <- theta - eta J^T r until ||r|| <= until, or for so many steps.

    Args:
        problem: the samples and the network.
        theta: the start; not changed.
        eta: the step, for the loss 1/2 ||r||^2.
        until: the residual norm at which the walk ends.
        steps: at most so many.
        floor: contractions are looked at while the new residual norm is above it.
        records: about so many points are kept, evenly in the logarithm of ||r||.

    Raises:
        InputError: eta or until is not positive.
    """
    if not (eta > 0.0 and until > 0.0):
        raise InputError(f"walk: expected positive eta and until, but got {eta!r} and {until!r}")
    start, theta = theta, theta.copy()
    residual, gradient = problem.residual_and_gradient(theta)
    first = norm = float(np.linalg.norm(residual))
    path, worst, done = 0.0, 0.0, 0
    curve = [(0, norm, 0.0)]
    apart = (first / until) ** (1.0 / records)
    while norm > until and done < steps:
        theta -= eta * gradient
        path += eta * math.sqrt(float(gradient @ gradient))
        residual, gradient = problem.residual_and_gradient(theta)
        before, norm = norm, math.sqrt(float(np.vdot(residual, residual)))
        done += 1
        if norm > floor:
            worst = max(worst, norm / before)
        if norm * apart <= curve[-1][1]:
            curve.append((done, norm, path))
    if curve[-1][0] != done:
        curve.append((done, norm, path))
    distance = float(np.linalg.norm(theta - start))
    return Walk(done, path, norm, first, worst, distance, tuple(curve))

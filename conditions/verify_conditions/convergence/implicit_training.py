r"""Gradient descent of the implicit ReLU network, with what the convergence theory speaks about.

    z = relu(g A z + phi),  phi = relu(W x) / sqrt(m),  g = gamma / sqrt(m),  yhat = u.z + v.phi,

all of A, W, u, v trained on 1/2 ||r||^2, r = yhat - y, by plain full-batch gradient descent. With a
small step it stands for the gradient flow at time t = step size times steps. Everything recorded is
measured in plain floats, but the largest displacement ||A(k) - A(0)||_F over *every* step, which is
enclosed rigorously (`implicit_relu_training.enclose_displacement`).

Source: Gao, Liu, Liu, Rajan, Gao (ICLR 2022), arXiv:2110.05645.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from fractions import Fraction

import numpy as np
from numpy.typing import NDArray

from verify.enclosure import Enclosure
from verify_conditions.convergence.implicit_tasks import Task
from verify_conditions.implicit_relu_training import (
    Parameters,
    State,
    enclose_displacement,
    initial_parameters,
    loss_and_gradient,
)

Array = NDArray[np.float64]

TOLERANCE = 1e-12
"""Largest last change of the equilibrium iteration while training."""


@dataclass(frozen=True)
class Record:
    """One recorded step; plain floats, which prove nothing.

    Args:
        step: number of steps taken.
        time: step size times steps.
        squares: ||r||^2.
        contraction: ||g A||_2.
        smallest: lambda_min of Phi^T Phi, the Gram matrix G(t) of the features.
        path: length of the path of all parameters since the start.
    """

    step: int
    time: float
    squares: float
    contraction: float
    smallest: float
    path: float


class Descent:
    """Gradient descent that is advanced step by step.

    Args:
        task: the samples.
        start: A, W, u, v with one output.
        gamma: the fixed scalar.
        rate: step size eta.

    Attributes:
        parameters: after ``step`` steps.
        step: number of steps taken.
        largest: encloses max_k ||A(k) - A(0)||_F over all steps so far, the start included.
        records: in the order of `record`.
    """

    def __init__(self, task: Task, start: Parameters, gamma: Fraction, rate: float) -> None:
        self.task, self.gamma, self.rate = task, gamma, rate
        self.start, self.parameters = start, start
        self.step, self.path = 0, 0.0
        self.largest = Enclosure.exact(0)
        self.records: list[Record] = []
        self._loss, self._gradient, self._state = self._here(None)

    def _here(self, warm: State | None) -> tuple[float, Parameters, State]:
        return loss_and_gradient(
            self.parameters, self.task.X, self.task.y[:, None], self.gamma,
            warm=warm, tolerance=TOLERANCE,
        )  # fmt: skip

    @property
    def time(self) -> float:
        """The time of the flow that the steps stand for."""
        return self.rate * self.step

    @property
    def residual(self) -> float:
        """||r||."""
        return math.sqrt(2.0 * self._loss)

    @property
    def loss(self) -> float:
        """1/2 ||r||^2."""
        return self._loss

    def advance_to(self, step: int) -> None:
        """Take steps up to the given one.

        Raises:
            InputError: an equilibrium iteration does not settle; the step size is too large.
        """
        while self.step < step:
            gradient = self._gradient
            self.path += self.rate * _norm(gradient)
            self.parameters = self.parameters.moved(gradient, self.rate)
            moved = enclose_displacement(self.parameters.A, self.start.A)
            self.largest = Enclosure(max(self.largest.lo, moved.lo), max(self.largest.hi, moved.hi))
            self._loss, self._gradient, self._state = self._here(self._state)
            self.step += 1

    def record(self) -> Record:
        """Measure the present step and keep what was measured."""
        features = self._state.features
        scale = float(self.gamma) / math.sqrt(len(self.parameters.A))
        found = Record(
            self.step,
            self.time,
            2.0 * self._loss,
            scale * float(np.linalg.norm(self.parameters.A, 2)),
            float(np.linalg.eigvalsh(features @ features.T)[0]),
            self.path,
        )
        self.records.append(found)
        return found


def begin(task: Task, *, width: int, gamma: Fraction, rate: float, seed: int) -> Descent:
    """Return gradient descent at its Gaussian start."""
    start = initial_parameters(width=width, inputs=task.X.shape[1], outputs=1, seed=seed)
    return Descent(task, start, gamma, rate)


def _norm(gradient: Parameters) -> float:
    parts = (gradient.A, gradient.W, gradient.u, gradient.v)
    return math.sqrt(sum(float(np.vdot(part, part)) for part in parts))

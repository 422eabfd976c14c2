"""A run of descent with its loss and gradient enclosed at every checkpoint, and what is fitted."""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from verify.network import TeacherStudent
from verify_conditions.gradient_inequality.experiment_fits import Fit, fit_slope
from verify_conditions.gradient_inequality.training import TrainingRun, train_teacher_student
from verify_kernels.teacher_student import enclose_population

STEP = {"abs": 0.08, "relu": 0.3}
LATE = 1.0 / 20.0


@dataclass(frozen=True)
class Recorded:
    """What is proved at a checkpoint: ends of the enclosures of L and ||grad L||."""

    step: int
    time: float
    loss_low: float
    loss: float
    gradient: float
    gradient_high: float


@dataclass(frozen=True, eq=False)
class Descent:
    """A finished run with enclosures at its checkpoints."""

    seed: int
    training: TrainingRun
    records: tuple[Recorded, ...]
    seconds: float

    @property
    def network(self) -> TeacherStudent:
        """Students and teachers at the end."""
        return self.training.network()

    @property
    def loss(self) -> float:
        """Upper end of the loss at the end."""
        return self.records[-1].loss

    def late(self) -> list[Recorded]:
        """Return the records of the last part of the run, where power laws are fitted."""
        start = LATE * self.records[-1].time
        return [
            r for r in self.records if r.time >= start and min(r.time, r.loss, r.gradient) > 0.0
        ]


@dataclass(frozen=True, eq=False)
class Comparison:
    """Runs from several seeds with the same teachers, number of students and activation.

    Args:
        name: in words.
        descents: one for each seed.
        exact: whether there are as many students as teachers, where convergence is linear.
    """

    name: str
    descents: tuple[Descent, ...]
    exact: bool

    def __str__(self) -> str:
        return f"{self.activation}, r = {self.name}, m = {self.width}"

    @property
    def width(self) -> int:
        """m, the number of students."""
        return self.descents[0].network.width

    @property
    def teachers(self) -> int:
        """r, the number of teachers."""
        return len(self.descents[0].network.teachers)

    @property
    def activation(self) -> str:
        """Name of the activation."""
        return str(self.descents[0].network.activation.name)

    def decay(self) -> Fit | None:
        """Return the slope of log L against log t, or against t for as many students."""
        return fit_slope(
            [(r.time if self.exact else math.log(r.time), math.log(r.loss)) for r in records]
            for records in self._fitted()
        )

    def exponent(self) -> Fit | None:
        """Return the slope of log ||grad L|| against log L: the exponent that the run shows."""
        return fit_slope(
            [(math.log(r.loss), math.log(r.gradient)) for r in records]
            for records in self._fitted()
        )

    def constant(self, exponent: float) -> tuple[float, float]:
        """Return the least and the largest ||grad L|| / L^exponent over the fitted records."""
        found = [r.gradient / r.loss**exponent for records in self._fitted() for r in records]
        return min(found), max(found)

    def _fitted(self) -> list[list[Recorded]]:
        """Return records where the law should show: late, or between 1e-4 and 1e-24."""
        if self.exact:
            return [[r for r in d.records if 1e-24 < r.loss < 1e-4] for d in self.descents]
        return [d.late() for d in self.descents]


def marks(steps: int, count: int) -> list[int]:
    """Return numbers of steps from 1 to ``steps``, about evenly spaced in their logarithm."""
    return sorted({round(x) for x in np.geomspace(1.0, steps, count)})


def descend_from(
    network: TeacherStudent, seed: int, record: Sequence[int], step: float | None = None
) -> Descent:
    """Train from a start and enclose loss and gradient at every checkpoint."""
    started = time.perf_counter()
    size = STEP[network.activation.name] if step is None else step
    training = train_teacher_student(network, step=size, record=record)
    records = tuple(
        recorded(point.step, point.time, point.network) for point in training.checkpoints
    )
    return Descent(seed, training, records, time.perf_counter() - started)


def recorded(step: int, at: float, network: TeacherStudent) -> Recorded:
    """Return the enclosed loss and norm of the gradient of a network."""
    found = enclose_population(network)
    loss, norm = found.loss.enclosure(), found.gradient_norm.enclosure()
    return Recorded(step, at, loss.lo_float, loss.hi_float, norm.lo_float, norm.hi_float)

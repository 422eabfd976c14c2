"""Runs on real data: train until Theorems A and B fire, then walk the descent they speak of."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

from verify_conditions.convergence.dense_certificates import Certified, certify, measured_h
from verify_conditions.convergence.experiment_data import Task
from verify_conditions.convergence.training import (
    Checkpoint,
    DenseNet,
    Problem,
    Walk,
    train_adam,
    walk,
)

FLOOR = 1e-10
"""Contractions are compared while ||r|| is above; rounding errors of ||r|| count below."""


@dataclass(frozen=True, eq=False)
class Case:
    """A network to be trained on a task.

    Args:
        task: the samples.
        width: m, the neurons of the hidden layer.
        seed: of the start.
        gain: of the first layer's start.
        rate: of the first step of Adam; it falls to 1e-4 geometrically over ``steps``.
        steps: of Adam.
        every: steps between two checkpoints.
        walked: steps of gradient descent at most.
        end: ||r|| at which the walk ends.
    """

    task: Task
    width: int
    seed: int = 0
    gain: float = 8.0
    rate: float = 0.02
    steps: int = 1000
    every: int = 50
    walked: int = 400_000
    end: float = 1e-13

    @property
    def name(self) -> str:
        """For tables."""
        return f"{self.task.name}, n = {len(self.task.X)}, m = {self.width}"

    @cached_property
    def problem(self) -> Problem:
        """The network's shape with the samples."""
        outputs = 1 if self.task.y.ndim == 1 else self.task.y.shape[1]
        net = DenseNet((self.task.X.shape[1], self.width, outputs), last_bias=outputs > 1)
        return Problem(net, self.task.X, self.task.y)

    def checkpoints(self) -> Iterator[Checkpoint]:
        """Train, and yield the checkpoints."""
        start = self.problem.net.start(self.seed, gain=self.gain)
        return train_adam(
            self.problem, start, steps=self.steps, rate=self.rate, last_rate=1e-4, every=self.every
        )


@dataclass(frozen=True, eq=False)
class Run:
    """What came out.

    Args:
        case: what was run.
        training: (step, ||r||, h) of every checkpoint, measured; h is `measured_h`.
        asked: the checkpoints at which a certificate was asked for, in order.
        first: the checkpoint at which Theorem A fires first, with what is proved there.
        start: the checkpoint at which Theorem B fires first, from which descent is walked.
        walk: what was measured on the way.
        seconds: for training, certificates and the walk.
    """

    case: Case
    training: tuple[tuple[int, float, float], ...]
    asked: tuple[int, ...]
    first: tuple[Checkpoint, Certified] | None
    start: tuple[Checkpoint, Certified] | None
    walk: Walk | None
    seconds: tuple[float, float, float]

    def unmet(self) -> list[str]:
        """Return one sentence for each expected outcome that did not occur."""
        return [f"{self.case.name}: expected {sentence}" for sentence in self._unmet()]

    def _unmet(self) -> Iterator[str]:
        least = min(h for _, _, h in self.training)
        for found, theorem in ((self.first, "A"), (self.start, "B")):
            if found is None:
                yield (
                    f"Theorem {theorem} to fire in {self.case.steps} steps, but got no proof; the "
                    f"least h measured is {least:.3g}"
                )
        if self.start is None or self.walk is None:
            return
        proved = self.start[1]
        if not self.walk.path <= proved.length:
            yield f"a path of at most {proved.length:.6g}, but got {self.walk.path!r}"
        if not self.walk.worst <= proved.contraction:
            yield (
                f"||r|| to shrink by {proved.contraction!r} in every step, but got "
                f"{self.walk.worst!r}"
            )
        if not self.walk.residual <= self.case.end:
            yield (
                f"||r|| <= {self.case.end:g} within {self.case.walked} steps, but got "
                f"{self.walk.residual:.3g}"
            )


def run_case(case: Case) -> Run:
    """Train, ask for certificates while h measured is below 1/2, and walk from the first one."""
    training, asked = [], []
    first = start = None
    proofs, began = 0.0, time.perf_counter()
    for point in case.checkpoints():
        h = measured_h(case.problem, point.theta)
        training.append((point.step, point.residual, h))
        if start is None and h < 0.5:
            before = time.perf_counter()
            proved = certify(case.problem, point.theta, f"{case.name}, step {point.step}")
            proofs += time.perf_counter() - before
            asked.append(point.step)
            first = (point, proved) if first is None and proved.flow else first
            start = (point, proved) if proved.descent else None
    ended = time.perf_counter()
    walked = None
    if start is not None:
        walked = walk(
            case.problem,
            start[0].theta,
            start[1].eta,
            until=case.end,
            steps=case.walked,
            floor=FLOOR,
        )
    seconds = (ended - began - proofs, proofs, time.perf_counter() - ended)
    return Run(case, tuple(training), tuple(asked), first, start, walked, seconds)

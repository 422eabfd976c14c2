r"""Students trained by gradient descent on the population loss, in plain floats.

The loss of `verify.network.TeacherStudent` with tied output weights,
L(W) = 1/2 E (sum_i ||w_i|| sigma(w_i . x) - sum_j ||w*_j|| sigma(w*_j . x))^2 over x ~ N(0, I), is
known in closed form, so that a step of descent on the population loss itself costs (m + r)^2 pairs
and no sample. The numbers of this module prove nothing: loss, gradient and angles at the stored
checkpoints are enclosed by the condition ``gradient-inequality``.

Source: Zhou, Ge, Jin, *A local convergence theory for mildly over-parameterized two-layer neural
network*, COLT 2021, arXiv:2102.02410, for the setting.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from verify.errors import InputError
from verify.network import Run, StoredCheckpoint, TeacherStudent
from verify_conditions.checkpoints import save_tensors
from verify_conditions.gradient_inequality.population_descent import descend, population_gradient


@dataclass(frozen=True, eq=False)
class Checkpoint:
    """The students after some steps, with the norm of the gradient there, a float.

    Args:
        step: number of steps of descent.
        time: step size times step, the time of the gradient flow that descent follows.
        network: students and teachers.
        gradient_norm: ||grad L||, off by about 1e-16 times the squared norms of all rows.
    """

    step: int
    time: float
    network: TeacherStudent
    gradient_norm: float


@dataclass(frozen=True, eq=False)
class TrainingRun:
    """A finished run: the start is its first checkpoint."""

    step_size: float
    checkpoints: tuple[Checkpoint, ...]

    def network(self) -> TeacherStudent:
        """Return students and teachers at the end."""
        return self.checkpoints[-1].network

    def run(self) -> Run:
        """Return the checkpoints as the run that a condition reads."""
        return Run(
            {"step": self.step_size},
            tuple(StoredCheckpoint(c.step, _name(c), c.network) for c in self.checkpoints),
        )


def train_teacher_student(
    network: TeacherStudent, *, step: float, record: Sequence[int]
) -> TrainingRun:
    """Train the students by gradient descent on the population loss from where they stand.

    Args:
        network: students and teachers with tied output weights, |.| or ReLU.
        step: eta > 0. Descent is stable for eta below about 1/(2 sum_j ||w*_j||^2) for |.|, and
            twice as much for ReLU.
        record: the numbers of steps after which a checkpoint is kept, increasing, from 1 on; the
            last one ends the run. The start is always kept.

    Returns:
        The run; the same call gives the same run.

    Raises:
        InputError: free output weights, a step that is not positive, steps that do not increase,
            or a run that leaves binary64.
    """
    where = "train_teacher_student"
    if not network.tied:
        raise InputError(
            f"{where}: expected output weights tied to the norms (a and a_star None), but got "
            "free ones"
        )
    if not 0.0 < step < math.inf:
        raise InputError(f"{where}: expected step > 0, but got {step!r}")
    marks = [0, *record]
    if len(marks) < 2 or any(b <= a for a, b in zip(marks, record, strict=False)):
        raise InputError(f"{where}: expected increasing steps from 1 on, but got {list(record)!r}")
    kept = [_checkpoint(network, 0, step)]
    for before, now in zip(marks, record, strict=False):
        at = kept[-1].network
        moved = descend(at.students, at.teachers, at.activation.name, step, now - before)
        if not np.isfinite(moved).all():
            raise InputError(
                f"{where}: expected students that stay finite, but got inf or nan between steps "
                f"{before} and {now}; lower the step"
            )
        kept.append(_checkpoint(replace(at, students=moved), now, step))
    return TrainingRun(float(step), tuple(kept))


def save_run(run: TrainingRun, folder: Path) -> Path:
    """Write every checkpoint; return the path of the last one.

    ``verify check <that path> --run <folder>`` reads them: every file declares family, activation
    and the step that it holds.
    """
    path = folder
    for point in run.checkpoints:
        declaration = {
            "family": "teacher-student",
            "activation": point.network.activation.name,
            "step": str(point.step),
        }
        path = folder / f"{_name(point)}.npz"
        save_tensors(path, point.network.tensors(), declaration)
    return path


def _name(point: Checkpoint) -> str:
    return f"step-{point.step:07d}"


def _checkpoint(network: TeacherStudent, done: int, step: float) -> Checkpoint:
    _, gradient = population_gradient(network.students, network.teachers, network.activation.name)
    return Checkpoint(done, step * done, network, float(np.linalg.norm(gradient)))

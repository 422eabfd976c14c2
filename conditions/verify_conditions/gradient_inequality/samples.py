"""What is proved of each stored checkpoint, or of each student from the loss alone."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from verify.condition import Effort, RouteOutcome, SampleRecord
from verify.enclosure import Enclosure, hex_of
from verify_conditions.gradient_inequality import quantities as q
from verify_conditions.gradient_inequality.evidence import population, value_of
from verify_conditions.gradient_inequality.problem import Problem
from verify_kernels.teacher_student import LossOnly, ProductBound, loss_only, product_bound


def samples(
    problem: Problem, outcomes: Sequence[RouteOutcome], effort: Effort
) -> SampleRecord | None:
    """Return one row a checkpoint, else one a student of teacher and student."""
    if problem.checkpoints:
        return _checkpoints(problem, effort)
    return _students(problem, effort) if problem.population else None


def _checkpoints(problem: Problem, effort: Effort) -> SampleRecord:
    rows, certified = [], 0
    for name, own in problem.everywhere():
        row: dict[str, Any] = {"checkpoint": name}
        wanted = []
        if not own.population:
            wanted.append(("lambda_min", q.LAMBDA))
        if own.population or own.targets is not None:
            wanted += [("f", q.LOSS), ("gradient_norm", q.GRADIENT)]
        for key, item in wanted:
            value = value_of(item, own, effort).enclosure()
            row[key] = _ends(value)
        deciding = q.GRADIENT if own.population else q.LAMBDA
        certified += value_of(deciding, own, effort).enclosure().lo > 0
        rows.append(row)
    what = "||grad L|| > 0" if problem.population else "lambda_min(J J^T) > 0"
    summary = f"{what} is proved at {certified} of {len(rows)} stored points"
    return SampleRecord(summary, certified, len(rows), rows, unit="checkpoint")


def _students(problem: Problem, effort: Effort) -> SampleRecord | None:
    """The loss alone bounds the angle of every heavy student to its teacher."""
    found = bounds_of(problem, effort)
    if found.reason:
        return None
    rows, certified = [], 0
    for index, student in enumerate(found.students):
        certified += student.bound is not None
        rows.append({
            "student": str(index),
            "teacher": ", ".join(str(k) for k in student.teachers),
            "angle": _ends(student.angle),
            "angle_bound": None if student.bound is None else hex_of(student.bound.hi),
        })  # fmt: skip
    summary = (
        f"the loss alone bounds the angle to the nearest teacher for {certified} of {len(rows)} "
        "students"
    )
    return SampleRecord(summary, certified, len(rows), rows, unit="student")


def bounds_of(problem: Problem, effort: Effort) -> LossOnly | ProductBound:
    """Return what the loss alone proves: for orthogonal teachers, else for any few of them."""

    def compute() -> LossOnly | ProductBound:
        loss = population(problem, effort).loss.enclosure()
        orthogonal = loss_only(problem.network, loss)
        return product_bound(problem.network, loss) if orthogonal.reason else orthogonal

    found: LossOnly | ProductBound = problem.once("loss only", compute)
    return found


def _ends(value: Enclosure | None) -> list[str] | None:
    return None if value is None else [hex_of(value.lo), hex_of(value.hi)]

"""Every run of the reproduction: comparisons over numbers of students, and special networks."""

from __future__ import annotations

import math
from dataclasses import dataclass

from verify.network import TeacherStudent
from verify_conditions.gradient_inequality.experiment_runs import (
    Comparison,
    Descent,
    descend_from,
    marks,
)
from verify_conditions.gradient_inequality.experiment_teachers import (
    balanced_pair,
    oblique_teachers,
    orthogonal_teachers,
    start_near,
    stray_student,
)
from verify_conditions.reproduction import Echo
from verify_kernels._rounding import Array

_STEPS, _LINEAR_STEPS, _RECORDS = 40_000, 4_000, 60
OBLIQUE = "3, 45 degrees apart"


@dataclass(frozen=True)
class Special:
    """A run from one of the networks on which smaller exponents fail.

    Args:
        case: the run.
        law: what is predicted, in words.
        slope: the predicted slope of log L against log t, or None where it changes.
    """

    case: Comparison
    law: str
    slope: float | None

    @property
    def descent(self) -> Descent:
        """The run itself."""
        return self.case.descents[0]


def comparisons(quick: bool, say: Echo) -> list[Comparison]:
    """Train for every number of teachers and students, both activations and all seeds."""
    most, factors, seeds = (2, (1, 2, 4), 1) if quick else (5, (1, 2, 4, 8), 3)
    found = []
    for activation in ("abs", "relu"):
        asked = [
            (f"{r}, orthogonal", orthogonal_teachers(r), factor * r)
            for r in range(1, most + 1)
            for factor in factors
        ] + [(OBLIQUE, oblique_teachers(), 6)]
        for name, teachers, m in asked:
            found.append(_comparison(name, teachers, m, activation, seeds, steps_of(quick)))
            _tell(found[-1], say)
    return found


def steps_of(quick: bool) -> int:
    """Return how many steps are taken where convergence is not linear."""
    return _STEPS // 2 if quick else _STEPS


def _comparison(
    name: str, teachers: Array, m: int, activation: str, seeds: int, steps: int
) -> Comparison:
    exact = m == len(teachers)
    record = marks(_LINEAR_STEPS, 2 * _RECORDS) if exact else marks(steps, _RECORDS)
    descents = tuple(
        descend_from(start_near(teachers, m, activation, seed), seed, record)
        for seed in range(seeds)
    )
    return Comparison(name, descents, exact)


def _tell(case: Comparison, say: Echo) -> None:
    seconds = sum(d.seconds for d in case.descents)
    say(
        f"{case}: L {max(d.records[0].loss for d in case.descents):.2g} -> "
        f"{max(d.loss for d in case.descents):.2g} in {case.descents[0].records[-1].step} steps, "
        f"runs: {len(case.descents)}, {seconds:.1f} s"
    )


def special_runs(steps: int) -> list[Special]:
    """Return runs from the balanced pair and from stray students."""
    starts: list[tuple[str, TeacherStudent, str, float | None]] = [
        ("balanced pair, 0.4 rad off", balanced_pair(0.4), "-3, exponent 2/3", -3.0),
        ("stray student of norm 0.4, 90 degrees off", stray_student(0.4, math.pi / 2),
         "-2, exponent 3/4: symmetry keeps it there", -2.0),
        ("stray student of norm 0.1, 1 rad off", stray_student(0.1, 1.0),
         "from -2 to -3 as it turns to the teacher", None),
    ]  # fmt: skip
    return [
        Special(Comparison(name, (descend_from(network, 0, marks(steps, _RECORDS)),), False),
                law, slope)
        for name, network, law, slope in starts
    ]  # fmt: skip

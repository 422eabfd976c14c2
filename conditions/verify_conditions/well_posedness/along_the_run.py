r"""Well-posedness along a training run: a claim for every stored step, one for all steps.

Two statements about the run of `training`, A(k) the state weight after step k:

1. At each stored step, gamma ||A(k)|| / sqrt(m) < 1, with ||A(k)|| enclosed: the map is a
   contraction and the equation has exactly one solution for every input.
2. The a-priori argument of the paper. Let gamma <= gamma_0 / (2 c) and gamma_0 < 1. If
   ||A(0)|| <= c sqrt(m) and ||A(k) - A(0)||_F <= c sqrt(m) for every step k of the run, then
   gamma ||A(k)|| / sqrt(m) <= 2 c gamma <= gamma_0 < 1 at every step, stored or not.

Statement 2 is proved in `implicit_relu_a_priori` and checked with the displacement of *every* step,
enclosed while the run went on.

Source: Gao, Liu, Liu, Rajan, Gao (ICLR 2022), arXiv:2110.05645, well-posedness along training.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

from verify.condition import Effort
from verify.decide import decide
from verify.enclosure import Enclosure, Measurement, hex_of
from verify.errors import InputError
from verify.evidence import Evidence
from verify.statement import Statement
from verify.verdict import Truth, conjunction
from verify_conditions.implicit_relu_a_priori import (
    BOUND_C,
    DISPLACEMENT,
    GAMMA_0,
    NORM_A0,
    a_priori_statement,
)
from verify_conditions.implicit_relu_training import Array, enclose_displacement
from verify_conditions.well_posedness.statements import GAMMA, NORM_A, PAPER_SETTING, WIDTH
from verify_conditions.well_posedness.training import Checkpoint, TrainingRun
from verify_kernels.spectral_norm import enclose_spectral_norm


@dataclass(frozen=True)
class CertifiedStep:
    """One stored step: what was measured, what is proved.

    Args:
        step: number of gradient steps taken.
        loss: half the sum of squares over the training set.
        train_accuracy: fraction of training samples.
        held_out_accuracy: fraction of held-out samples, or None.
        contraction: encloses gamma ||A|| / sqrt(m).
        displacement: encloses ||A - A(0)||_F.
        well_posed: truth of statement 1 at this step.
        norm: encloses ||A||.
        evidence: what proves the enclosure of ||A||.
    """

    step: int
    loss: Measurement
    train_accuracy: Measurement
    held_out_accuracy: Measurement | None
    contraction: Enclosure
    displacement: Enclosure
    well_posed: Truth
    norm: Enclosure
    evidence: Evidence


@dataclass(frozen=True)
class CertifiedRun:
    """What is proved about a run.

    Args:
        steps: one entry for each stored step.
        displacement: encloses the largest ||A(k) - A(0)||_F over all steps k.
        statement: the a-priori argument with its constants.
        at_every_step: its truth for this run.
        bound: c sqrt(m), enclosed: what both norms are held against.
        total_steps: number of steps that the a-priori argument speaks about, the start included.
    """

    steps: tuple[CertifiedStep, ...]
    displacement: Enclosure
    statement: Statement
    at_every_step: Truth
    bound: Enclosure
    total_steps: int

    @property
    def at_stored_steps(self) -> Truth:
        """Whether well-posedness is proved at all stored steps."""
        return conjunction(step.well_posed for step in self.steps)


def certify_run(
    run: TrainingRun,
    *,
    bound: Fraction = BOUND_C,
    limit: Fraction = GAMMA_0,
    effort: Effort | None = None,
) -> CertifiedRun:
    """Prove well-posedness at each stored step, and by the a-priori argument at every step.

    Args:
        run: a finished run; its first checkpoint is the start.
        bound: c of the a-priori argument.
        limit: gamma_0 of the a-priori argument.
        effort: the backend of the norm.

    Raises:
        InputError: gamma, c and gamma_0 do not fit the argument, or the start is not stored.
        BackendError: the backend failed its self-test.
    """
    backend = "auto" if effort is None else effort.backend
    width = len(run.parameters.A)
    statement = a_priori_statement(gamma=run.gamma, width=width, bound=bound, limit=limit)
    if not run.checkpoints or run.checkpoints[0].step != 0 or not run.history:
        raise InputError(
            f"certify_run: expected a run whose first checkpoint is step 0, but got steps "
            f"{[point.step for point in run.checkpoints]}"
        )
    start = run.checkpoints[0].parameters.A
    steps = tuple(_certified(point, start, run.gamma, backend) for point in run.checkpoints)
    largest = _largest([record.displacement for record in run.history])
    known = {NORM_A0.symbol: steps[0].norm, DISPLACEMENT.symbol: largest}
    decision = decide(statement.hypothesis, known, {})
    ball = bound.numerator * _root(width) / bound.denominator
    return CertifiedRun(
        steps, largest, statement, decision.truth, Enclosure.from_arb(ball), len(run.history)
    )


def _certified(point: Checkpoint, start: Array, gamma: Fraction, backend: str) -> CertifiedStep:
    width = len(point.parameters.A)
    evidence = enclose_spectral_norm(point.parameters.A, backend=backend)
    norm = evidence.value if isinstance(evidence.value, Enclosure) else Enclosure.unbounded()
    known = {
        GAMMA.symbol: Enclosure.outward(gamma, gamma),
        NORM_A.symbol: norm,
        WIDTH.symbol: Enclosure.exact(width),
    }
    unseen = point.held_out_accuracy
    return CertifiedStep(
        step=point.step,
        loss=Measurement(point.loss, "half the sum of squares on the training set"),
        train_accuracy=Measurement(point.train_accuracy, "share of the training set"),
        held_out_accuracy=None
        if unseen is None
        else Measurement(unseen, "share of the held-out samples"),
        contraction=_contraction(norm, gamma, width),
        displacement=enclose_displacement(point.parameters.A, start),
        well_posed=decide(PAPER_SETTING.hypothesis, known, {}).truth,
        norm=norm,
        evidence=evidence,
    )


def _root(width: int) -> Any:
    """Enclose sqrt(m) in ball arithmetic; exact if m is a perfect square."""
    from flint import arb

    return arb(width).sqrt()


def _contraction(norm: Enclosure, gamma: Fraction, width: int) -> Enclosure:
    """Enclose gamma ||A|| / sqrt(m)."""
    ball = norm.arb() * gamma.numerator / gamma.denominator / _root(width)
    return Enclosure.from_arb(ball)


def _largest(values: Sequence[Enclosure]) -> Enclosure:
    """Enclose the maximum."""
    return Enclosure(max(value.lo for value in values), max(value.hi for value in values))


def rows(certified: CertifiedRun) -> list[dict[str, str]]:
    """Return the table of the run, one row a stored step, as text; bounds are rounded outward."""
    table = []
    for step in certified.steps:
        unseen = step.held_out_accuracy
        table.append(
            {
                "step": str(step.step),
                "loss": f"{step.loss.value:.4g}",
                "train accuracy": f"{100 * step.train_accuracy.value:.1f} %",
                "test accuracy": "-" if unseen is None else f"{100 * unseen.value:.1f} %",
                "gamma ||A|| / sqrt(m) <=": _rounded_up(step.contraction),
                "||A - A(0)||_F <=": _rounded_up(step.displacement),
                "well posed": step.well_posed.value,
            }
        )
    return table


def _rounded_up(value: Enclosure, *, digits: int = 6) -> str:
    """Return a decimal >= the upper end, with the given number of decimals."""
    if not isinstance(value.hi, Fraction):
        return "inf"
    scaled = value.hi * 10**digits
    units = -((-scaled.numerator) // scaled.denominator)
    return f"{units // 10**digits}.{units % 10**digits:0{digits}d}"


def record(certified: CertifiedRun) -> dict[str, Any]:
    """Return the run for a JSON file: bounds as exact hexadecimal ends, measured numbers apart.

    Every entry of ``measured`` is a plain float and proves nothing.
    """
    return {
        "statement": certified.statement.text(),
        "conclusion": certified.statement.conclusion,
        "at every step": certified.at_every_step.value,
        "steps in all": certified.total_steps,
        "largest displacement": _ends(certified.displacement),
        "bound c sqrt(m)": _ends(certified.bound),
        "stored steps": [
            {
                "step": step.step,
                "well posed": step.well_posed.value,
                "norm of A": _ends(step.norm),
                "gamma norm / sqrt(m)": _ends(step.contraction),
                "displacement": _ends(step.displacement),
                "measured": {
                    "loss": step.loss.value,
                    "train accuracy": step.train_accuracy.value,
                    "held-out accuracy": None
                    if step.held_out_accuracy is None
                    else step.held_out_accuracy.value,
                },
            }
            for step in certified.steps
        ],
    }


def _ends(value: Enclosure) -> list[str]:
    return [hex_of(value.lo), hex_of(value.hi)]

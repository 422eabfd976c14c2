"""Training on real data from a Gaussian start, certified at checkpoints until Theorem I fires."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction

from verify.certificate import Certificate
from verify.decide import truth_of
from verify.enclosure import Enclosure
from verify.evidence import Evidence
from verify.verdict import Truth, Verdict
from verify_conditions.convergence.implicit_certificates import Certified, certify, well_posedness
from verify_conditions.convergence.implicit_estimates import Estimate, estimate
from verify_conditions.convergence.implicit_runs import Followed, follow
from verify_conditions.convergence.implicit_tasks import Task
from verify_conditions.convergence.implicit_training import Descent, Record, begin
from verify_conditions.implicit_relu_a_priori import (
    BOUND_C,
    DISPLACEMENT,
    NORM_A0,
    a_priori_statement,
)
from verify_kernels.implicit_relu import infinite_gram
from verify_kernels.spectral_norm import enclose_spectral_norm

GAMMA = Fraction(1, 5)
"""With c = 9/4 the a-priori argument needs gamma <= 1/5 for gamma_0 = 9/10."""

FIRST, RATIO = 0.25, 2.0**0.25
"""Time of the first checkpoint after the start, and of each to the one before."""

LATEST = 400.0
"""Training is given up after this time."""


@dataclass(frozen=True, eq=False)
class Case:
    """Training on real data.

    Args:
        task: the samples.
        width: m.
        flow: step size of the descent that stands for the flow.
        descent: step size of ordinary gradient descent.
        seed: of the start.
    """

    task: Task
    width: int
    flow: float = 0.005
    descent: float = 0.05
    seed: int = 0


@dataclass(frozen=True, eq=False)
class Checkpoint:
    """A point of the flow: step, time, 1/2 ||r||^2 and h, all measured; the certificate or None."""

    step: int
    time: float
    loss: float
    estimate: Estimate
    certified: Certified | None


@dataclass(frozen=True, eq=False)
class APriori:
    """The a-priori argument for every step of two runs from the same start.

    Args:
        norm: encloses ||A(0)||.
        displacement: encloses the largest ||A(k) - A(0)||_F over all steps of both.
        limit: c sqrt(m), for display.
        bound: of gamma ||A(k)|| / sqrt(m), 2 c gamma.
        truth: of its hypothesis.
        steps: how many steps it speaks about.
    """

    norm: Enclosure
    displacement: Enclosure
    limit: float
    bound: Fraction
    truth: Truth
    steps: int

    @property
    def limit_text(self) -> str:
        """C sqrt(m), which both norms are held against."""
        return f"{BOUND_C} sqrt(m) = {self.limit:.4f}"


@dataclass(frozen=True, eq=False)
class RealRun:
    """A case run to its end.

    Args:
        case: what was run.
        smallest: encloses lambda_0, the smallest eigenvalue of G_inf.
        checkpoints: along the flow, up to the first at which Theorem I fires; a certificate is
            asked for where the estimate of h promises one.
        posed: well-posedness at the last checkpoint.
        flow: measured along the flow up to that checkpoint.
        descent: measured along ordinary gradient descent for the same time.
        a_priori: what keeps both well posed at every step.
        followed: the walk from the firing checkpoint, if it fires.
    """

    case: Case
    smallest: Evidence
    checkpoints: tuple[Checkpoint, ...]
    posed: Certificate
    flow: tuple[Record, ...]
    descent: tuple[Record, ...]
    a_priori: APriori
    followed: Followed | None

    @property
    def last(self) -> Checkpoint:
        """The checkpoint at which Theorem I fires, or at which training was given up."""
        return self.checkpoints[-1]

    @property
    def certified(self) -> Certified | None:
        """The certificate of the last checkpoint, if Theorem I fires there."""
        found = self.last.certified
        return found if found is not None and found.fired else None

    @property
    def lambda_0(self) -> Enclosure:
        """The enclosure of lambda_0; [0, inf) where there is none."""
        value = self.smallest.value
        return value if isinstance(value, Enclosure) else Enclosure(0, float("inf"))

    def unmet(self) -> list[str]:
        """Return one sentence for each expected outcome that did not occur."""
        name, found = self.case.task.name, []
        if not self.lambda_0.lo > 0:
            found.append("lambda_0 > 0 to be proved")
        if self.a_priori.truth is not Truth.PROVED:
            found.append("the a-priori argument to cover every step")
        if self.posed.verdict is not Verdict.PASS:
            found.append(f"well-posedness to pass, but got {self.posed.verdict}")
        if self.followed is None:
            found.append(f"Theorem I to fire up to time {self.last.time:g}, but got h = "
                         f"{self.last.estimate.h:.3g}")  # fmt: skip
        elif self.certified is not None:
            found += self.followed.unmet(self.certified)
        return [f"{name}: expected {sentence}" for sentence in found]


def run_case(case: Case) -> RealRun:
    """Train by the flow until Theorem I fires, by gradient descent as long, and walk on."""
    flow = begin(case.task, width=case.width, gamma=GAMMA, rate=case.flow, seed=case.seed)
    checkpoints = _train(case, flow)
    descent = begin(case.task, width=case.width, gamma=GAMMA, rate=case.descent, seed=case.seed)
    _record_along(descent, max(1, round(flow.time / case.descent)))
    last = checkpoints[-1].certified
    place = f"{case.task.name}, t = {flow.time:.4g}"
    return RealRun(
        case,
        infinite_gram(case.task.X).smallest,
        tuple(checkpoints),
        well_posedness(case.task, flow.parameters, GAMMA, place),
        tuple(flow.records),
        tuple(descent.records),
        _a_priori([flow, descent]),
        follow(case.task, last, rate=2 * case.flow) if last and last.fired else None,
    )


def _train(case: Case, flow: Descent) -> list[Checkpoint]:
    found: list[Checkpoint] = []
    time = FIRST
    while True:
        here = estimate(case.task, flow.parameters, GAMMA)
        name = f"{case.task.name}, t = {flow.time:.4g}"
        asked = certify(case.task, flow.parameters, GAMMA, name) if here.fires else None
        found.append(Checkpoint(flow.step, flow.time, flow.loss, here, asked))
        if (asked is not None and asked.fired) or time > LATEST:
            return found
        _record_along(flow, round(time / case.flow))
        time *= RATIO


def _record_along(walk: Descent, end: int, *, parts: int = 4) -> None:
    """Advance to a step and record at least so many points on the way, evenly in log time."""
    if not walk.records:
        walk.record()
    first = max(1, walk.step)
    stops = parts if walk.step else 4 * parts
    for k in range(1, stops + 1):
        stop = round(first * (end / first) ** (k / stops))
        if stop > walk.step:
            walk.advance_to(stop)
            walk.record()


def _a_priori(walks: Sequence[Descent]) -> APriori:
    start = walks[0].start.A
    statement = a_priori_statement(gamma=GAMMA, width=len(start))
    value = enclose_spectral_norm(start).value
    norm = value if isinstance(value, Enclosure) else Enclosure.unbounded()
    largest = Enclosure(
        max(walk.largest.lo for walk in walks), max(walk.largest.hi for walk in walks)
    )
    known = {NORM_A0.symbol: norm, DISPLACEMENT.symbol: largest}
    truth = truth_of(statement.hypothesis, known, {})
    steps = sum(walk.step + 1 for walk in walks)
    limit = float(BOUND_C) * math.sqrt(len(start))
    return APriori(norm, largest, limit, 2 * BOUND_C * GAMMA, truth, steps)

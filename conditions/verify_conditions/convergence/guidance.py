"""What would make a theorem fire: how far the residual is from its threshold, and why."""

from __future__ import annotations

from collections.abc import Sequence

from verify.condition import Effort, RouteOutcome
from verify.verdict import Truth
from verify_conditions.convergence import formulas as fm
from verify_conditions.convergence.consequences import (
    largest_step,
    numbers_of,
    speaks,
    value_of,
)
from verify_conditions.convergence.declared import NAME
from verify_conditions.convergence.linearisation import linearisation
from verify_conditions.convergence.problem import Problem, goal_of
from verify_conditions.convergence.routes import KINDS
from verify_conditions.convergence.search import propose_threshold
from verify_conditions.reproduction import rounded_down, rounded_up

_DIGITS = 2


def guidance(problem: Problem, outcomes: Sequence[RouteOutcome], effort: Effort) -> list[str]:
    """Return sentences: the residual to train to, and what dominates h."""
    goal = goal_of(problem)
    own = [o for o in outcomes if o.route.goal == goal and o.applies]
    if any(o.truth is Truth.PROVED for o in own if o.route.direction == "sufficient"):
        return []
    if any(o.truth is Truth.REFUTED for o in outcomes if o.route.direction == "necessary"):
        return _instead(outcomes)
    spoken = [o for o in own if o.route.direction == "sufficient" and speaks(o)]
    if not spoken:
        return _singular(problem)
    return _smaller_step(problem, spoken) or _threshold(problem, spoken, effort)


def _instead(outcomes: Sequence[RouteOutcome]) -> list[str]:
    refuted = {o.route.name for o in outcomes if o.truth is Truth.REFUTED}
    if "contradiction" in refuted:
        return ["remove the contradictory samples, or feed what distinguishes them"]
    return ["train without weight decay, or ask for the stationary points of the penalised loss"]


def _smaller_step(problem: Problem, spoken: Sequence[RouteOutcome]) -> list[str]:
    """Say which steps would do, where only the declared step is too long."""
    if problem.declared.step is None:
        return []
    for outcome in spoken:
        found = largest_step(problem, outcome)
        if found is not None:
            most = rounded_down(found.lo_float, _DIGITS)
            return [f"with a step up to {most} {outcome.route.title} proves it from these weights"]
    return []


def _threshold(problem: Problem, spoken: Sequence[RouteOutcome], effort: Effort) -> list[str]:
    """Say how far to train for the theorem that is nearest to firing."""
    found = []
    for outcome in spoken:
        kind, precise = KINDS[outcome.route.name]
        here = linearisation(problem, effort, kind, precise)
        value = propose_threshold(here.start(), here.lipschitz_float)
        h = value_of(fm.h(*numbers_of(outcome)), outcome, problem).hi_float
        found.append((value, h, outcome))
    value, h, best = max(found, key=lambda one: one[0])
    if not value > 0:
        return []
    told = [
        f"train until ||r|| < {rounded_down(value, _DIGITS)}: about there {best.route.title} "
        f"fires, if sigma stays as it is; here h = {rounded_up(h, 3)}, and it has to be below 1/2"
    ]
    return told + _dominates(problem, best)


def _dominates(problem: Problem, outcome: RouteOutcome) -> list[str]:
    """Say which of |r|, sigma and beta is the obstacle, compared with typical proportions."""
    r, smallest, lipschitz = numbers_of(outcome)
    size, low, beta = (
        value_of(part, outcome, problem).hi_float for part in (r, smallest, lipschitz)
    )
    per_output = size / (problem.n * problem.outputs) ** 0.5
    told = f"||r|| <= {size:.3g} ({per_output:.2g} an output), sigma >= {low:.3g}, "
    told += f"Lipschitz constant <= {beta:.3g}"
    if low < beta / 100:
        return [f"{told}: the small sigma dominates h; more width, or data that are better told "
                "apart, raise it"]  # fmt: skip
    return [f"{told}: the residual dominates h"]


def _singular(problem: Problem) -> list[str]:
    graph = problem.graph
    wanted = problem.n * problem.outputs
    if graph is not None:
        count = sum(graph.stored[role].size for role in problem.trained)
        if count < wanted:
            return [f"{count} trained parameters for {wanted} targets: no theorem here speaks "
                    "about fewer parameters than targets, whatever the loss"]  # fmt: skip
    return [
        "no lower bound of sigma above zero is proved at these weights; --budget gives ball "
        f"arithmetic more time, and {NAME} needs networks with more parameters than targets"
    ]

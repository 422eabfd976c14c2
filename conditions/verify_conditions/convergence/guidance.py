"""What a proof says in numbers; else how far the residual is from where a theorem applies."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

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
from verify_conditions.convergence.linearisation import IMPLICIT, MONOTONE, linearisation
from verify_conditions.convergence.problem import DESCENT, FLOW, Problem, goal_of
from verify_conditions.convergence.routes import KINDS
from verify_conditions.convergence.search import propose_threshold
from verify_conditions.reproduction import rounded_down, rounded_up

_DIGITS = 2
_WELL_TRAINED = 0.01  # of the norm of the targets
_WELL_CONDITIONED = 100  # ||J||/sigma


def guidance(problem: Problem, outcomes: Sequence[RouteOutcome], effort: Effort) -> list[str]:
    """Return sentences: distance and rate, or the residual to train to, and what dominates h."""
    goal = goal_of(problem)
    if any(o.truth is Truth.PROVED for o in outcomes if o.route.name.startswith("rest-")):
        return ["the loss is zero at these weights, so training rests here"]
    outcomes = [o for o in outcomes if not o.route.name.startswith("rest-")]
    own = [o for o in outcomes if o.route.goal == goal and o.applies]
    proved = [o for o in own if o.truth is Truth.PROVED and o.route.direction == "sufficient"]
    if proved:
        return _descends(problem, proved) if goal == DESCENT else _flows(problem, proved)
    if any(o.truth is Truth.REFUTED for o in outcomes if o.route.direction == "necessary"):
        return _instead(outcomes)
    spoken = [o for o in own if o.route.direction == "sufficient" and speaks(o)]
    if not spoken:
        unfit = _no_theorem(problem, outcomes, goal)
        if unfit:
            return unfit
        return _shorter_path(problem, own, effort) or _singular(problem, own)
    return _smaller_step(problem, spoken) or _threshold(problem, spoken, effort)


def _no_theorem(problem: Problem, outcomes: Sequence[RouteOutcome], goal: str) -> list[str]:
    """Say why no theorem speaks about the network, where none does."""
    of_goal = [o for o in outcomes if o.route.goal == goal and o.route.direction == "sufficient"]
    if any(o.applies for o in of_goal):
        return []
    titles: dict[str, str] = {}
    for outcome in of_goal:
        titles.setdefault(outcome.skipped, outcome.route.title)
    reasons = "; ".join(f"{reason} ({title})" for reason, title in titles.items())
    about = "gradient descent on this network" if goal == DESCENT else "this network"
    said = [f"no theorem here speaks of {about}: {reasons}"]
    flow = any(o.applies for o in outcomes if o.route.goal == FLOW and o not in of_goal)
    if goal == DESCENT and flow:
        said.append(f"without --set {NAME}.step the verdict is about the gradient flow")
    return said


def _flows(problem: Problem, proved: Sequence[RouteOutcome]) -> list[str]:
    """Say where the flow ends and how fast, by the theorem with the shortest path."""

    def length(outcome: RouteOutcome) -> float:
        return value_of(fm.length(*numbers_of(outcome)), outcome, problem).hi_float

    best = min(proved, key=length)
    rate = value_of(fm.rate(*numbers_of(best)), best, problem).lo_float
    return [
        f"the whole path of the flow is at most {rounded_up(length(best), _DIGITS)} long and ends "
        f"at weights with zero loss; ||r(t)|| <= exp(-{rounded_down(rate, _DIGITS)} t) ||r(0)|| on "
        f"the way ({best.route.title})"
    ]


def _descends(problem: Problem, proved: Sequence[RouteOutcome]) -> list[str]:
    best = proved[0]
    length = value_of(fm.DESCENT_LENGTH, best, problem).hi_float
    factor = value_of(fm.CONTRACTION, best, problem).hi_float
    return [
        f"the whole path is at most {rounded_up(length, _DIGITS)} long and ends at weights with "
        f"zero loss; every step multiplies ||r|| by at most {rounded_up(factor, 6)} "
        f"({best.route.title})"
    ]


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
    """Say how far to train for the theorem that is nearest to applying."""
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
    _, smallest, _ = numbers_of(best)
    told = [
        f"train until ||r|| < {rounded_down(value, _DIGITS)}: about there {best.route.title} "
        f"applies, if {smallest} stays as it is; here h = {rounded_up(h, 3)}, and it has to be "
        "below 1/2"
    ]
    return told + _dominates(problem, best, effort)


def _shorter_path(problem: Problem, own: Sequence[RouteOutcome], effort: Effort) -> list[str]:
    """Say how far to train where only the ball that the path needs is not well posed."""
    found = []
    for outcome in own:
        kind, precise = KINDS.get(outcome.route.name, ("", False))
        if not outcome.tried or kind not in (IMPLICIT, MONOTONE):
            continue
        here = linearisation(problem, effort, kind, precise)
        start = here.start()
        value = propose_threshold(start, here.lipschitz_float)
        if not value > 0:
            continue
        constant = here.lipschitz_float(2.0 * value / start.smallest)
        if 2.0 * constant * value < start.smallest**2:
            found.append((value, start, outcome.route.title))
    if not found:
        return []
    value, start, title = max(found, key=lambda one: one[0])
    return [
        f"train until ||r|| < {rounded_down(value, _DIGITS)}: about there {title} applies, if s0 "
        f"stays as it is; here ||r|| <= {start.residual:.3g} and s0 >= {start.smallest:.3g}, "
        "and on the ball that so long a path needs the equilibrium is not proved to be unique"
    ]


def _dominates(problem: Problem, outcome: RouteOutcome, effort: Effort) -> list[str]:
    """Say what h is made of, and which part is far from what a well trained network has."""
    letters = numbers_of(outcome)
    size, low, high = (value_of(part, outcome, problem).hi_float for part in letters)
    per_output = size / (problem.n * problem.outputs) ** 0.5
    kind, precise = KINDS[outcome.route.name]
    norm = linearisation(problem, effort, kind, precise).start().norm
    name = str(letters[1])
    if size > _WELL_TRAINED * float(np.linalg.norm(problem.targets)):
        why = "the residual dominates, so train on"
    elif low < norm / _WELL_CONDITIONED < math.inf:
        why = f"{name} is small beside ||J|| = {norm:.3g}; more width, or samples that are less " \
              "alike, raise it"  # fmt: skip
    else:
        why = "the Lipschitz constant dominates; smaller weights and fewer layers lower it"
    return [
        f"h is the Lipschitz constant, about {high:.3g}, times ||r||, about {size:.3g} (root mean "
        f"square {per_output:.2g}), over {name}^2 with {name} about {low:.3g}: {why}"
    ]


def _singular(problem: Problem, own: Sequence[RouteOutcome]) -> list[str]:
    graph = problem.graph
    wanted = problem.n * problem.outputs
    if graph is not None:
        count = sum(graph.stored[role].size for role in problem.trained)
        if count < wanted:
            return [f"{count} trained parameters for {wanted} targets: no theorem here speaks "
                    "about fewer parameters than targets, whatever the loss"]  # fmt: skip
    tried = [o for o in own if o.tried and o.route.direction == "sufficient"]
    zeros = {}
    for outcome in tried:
        found = outcome.evidence[str(numbers_of(outcome)[1])]
        if found.enclosure().hi == 0:
            zeros[outcome.route.name.removesuffix("-precise")] = found.how
    if tried and len(zeros) == len({o.route.name.removesuffix("-precise") for o in tried}):
        how = next(iter(zeros.values()))
        return [f"the smallest singular value is exactly 0 ({how}): no theorem applies at these "
                "weights, however small the residual"]  # fmt: skip
    return [
        "no lower bound of sigma above zero is proved at these weights; --budget gives ball "
        f"arithmetic more time, and {NAME} needs networks with more parameters than targets"
    ]

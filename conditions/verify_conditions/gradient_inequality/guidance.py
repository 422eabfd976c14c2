"""What would make the inequality provable, what it entails, and what theory says as recalled."""

from __future__ import annotations

import math
from collections.abc import Sequence

from verify.condition import Effort, RouteOutcome
from verify.enclosure import Enclosure
from verify.verdict import Truth
from verify_conditions.gradient_inequality import quantities as q
from verify_conditions.gradient_inequality.declared import BALL, NAME
from verify_conditions.gradient_inequality.problem import HERE, Problem, goal_of
from verify_conditions.gradient_inequality.samples import bounds_of
from verify_conditions.reproduction import rounded_down

_RECALLED = (
    "as recalled, and used in no verdict: Zhou, Ge and Jin (2021) show ||grad L|| >= kappa L with "
    "kappa of order 1/(sqrt(r) w_max) once L is below a polynomial in Delta, 1/r, 1/w_max and "
    "w_min, whose constants are not published as numbers, so no network can be held against it"
)
_DECAY = (
    "if ||grad L|| >= kappa L^alpha holds along the whole gradient flow, L decays as t^-1 for "
    "alpha = 1, t^-2 for 3/4, t^-3 for 2/3, and exponentially for 1/2"
)


_MORE_TIME = (
    "a larger --budget gives ball arithmetic more time; where J J^T is nearly singular only that "
    "decides"
)


def guidance(problem: Problem, outcomes: Sequence[RouteOutcome], effort: Effort) -> list[str]:
    """Return sentences."""
    if problem.population:
        return _population(problem, effort)
    goal = goal_of(problem)
    own = [o for o in outcomes if o.route.goal == goal and o.applies]
    if any(o.truth is Truth.PROVED for o in own):
        return _entailed(problem)
    decisive = [o for o in outcomes if o.route.goal in (goal, HERE)]
    if any(o.truth is Truth.REFUTED and o.route.direction != "sufficient" for o in decisive):
        return ["train more tensors, widen the network or remove repeated samples; PL for the "
                "targets at hand can hold where it fails for some target"]  # fmt: skip
    return _smaller_radius(own) or _no_theorem(outcomes, goal) or [_MORE_TIME]


def _population(problem: Problem, effort: Effort) -> list[str]:
    found = bounds_of(problem, effort)
    said = [_DECAY, _RECALLED]
    if found.reason:
        said.insert(0, f"the loss alone proves nothing of the students here: {found.reason}")
    return said


def _entailed(problem: Problem) -> list[str]:
    said = []
    if problem.declared.scope != BALL:
        said.append(f"nothing is said of other weights; --set {NAME}.radius=R asks for a ball "
                    "around these")  # fmt: skip
    if problem.targets is not None:
        said.append("verify check --condition converges-from-here asks whether training reaches "
                    "zero loss from these weights")  # fmt: skip
    return said


def _smaller_radius(own: Sequence[RouteOutcome]) -> list[str]:
    """Say which ball would do, by the theorem about balls that allows the largest."""
    found = []
    for outcome in own:
        facts = [each.value for each in outcome.evidence.values() if isinstance(each.value, Truth)]
        known = {
            name: each.value
            for name, each in outcome.evidence.items()
            if isinstance(each.value, Enclosure)
        }
        smallest = known.get(str(q.SIGMA.symbol), known.get(str(q.S0.symbol)))
        lipschitz = known.get(str(q.BETA.symbol), known.get(str(q.B.symbol)))
        if Truth.REFUTED in facts or smallest is None or lipschitz is None:
            continue
        if smallest.lo > 0 and lipschitz.is_bounded and lipschitz.hi > 0:
            pattern = known.get(str(q.R_PATTERN.symbol))
            room = math.inf if pattern is None else pattern.lo_float
            radius = min(smallest.lo_float / lipschitz.hi_float, room)
            found.append((radius, outcome.route.title))
    radius, title = max(found, default=(0.0, ""))
    if not radius > 0:
        return []
    return [f"a radius below {rounded_down(radius, 2)} would do ({title})"]


def _no_theorem(outcomes: Sequence[RouteOutcome], goal: str) -> list[str]:
    """Say why no theorem speaks about the network, where none does."""
    of_goal = [o for o in outcomes if o.route.goal == goal]
    if any(o.applies for o in of_goal):
        return []
    titles: dict[str, str] = {}
    for outcome in of_goal:
        titles.setdefault(outcome.skipped, outcome.route.title)
    reasons = "; ".join(f"{reason} ({title})" for reason, title in titles.items())
    return [f"no theorem here speaks of this network: {reasons}"]

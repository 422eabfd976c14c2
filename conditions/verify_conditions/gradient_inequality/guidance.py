"""What would make the inequality provable, what it entails, and what theory says as recalled."""

from __future__ import annotations

from collections.abc import Sequence

from verify.condition import Effort, RouteOutcome
from verify.verdict import Truth
from verify_conditions.gradient_inequality import quantities as q
from verify_conditions.gradient_inequality.declared import BALL, NAME
from verify_conditions.gradient_inequality.evidence import value_of
from verify_conditions.gradient_inequality.problem import Problem, goal_of
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


def guidance(problem: Problem, outcomes: Sequence[RouteOutcome], effort: Effort) -> list[str]:
    """Return sentences."""
    if problem.population:
        return _population(problem, effort)
    goal = goal_of(problem)
    own = [o for o in outcomes if o.route.goal == goal and o.applies]
    if any(o.truth is Truth.PROVED for o in own):
        return _entailed(problem)
    if any(o.truth is Truth.REFUTED and o.route.direction != "sufficient" for o in own):
        return ["train more tensors, widen the network or remove repeated samples; PL for the "
                "targets at hand can hold where it fails for some target"]  # fmt: skip
    return _open(problem, effort)


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


def _open(problem: Problem, effort: Effort) -> list[str]:
    if problem.declared.scope == BALL and problem.dense is not None:
        sigma = value_of(q.SIGMA, problem, effort).enclosure()
        beta = value_of(q.BETA, problem, effort).enclosure()
        if sigma.lo > 0 and beta.is_bounded and beta.hi > 0:
            radius = sigma.lo_float / beta.hi_float
            return [f"with the Lipschitz constant of this ball a radius below "
                    f"{rounded_down(radius, 2)} would do"]  # fmt: skip
    return ["a larger --budget gives ball arithmetic more time; where J J^T is nearly singular "
            "only that decides"]  # fmt: skip

"""What would make an open or failing network pass, and what a passing one still lacks."""

from __future__ import annotations

from collections.abc import Sequence

from verify.condition import Effort, RouteOutcome
from verify.verdict import Truth
from verify_conditions.villani.problem import GOAL, Problem

_DISCRETE = (
    "global convergence of SGD with a fixed step is not certified: in the theorem for discrete "
    "time the step shrinks as the horizon grows; what is proved is about the diffusion"
)


def guidance(problem: Problem, outcomes: Sequence[RouteOutcome], effort: Effort) -> list[str]:
    """Return sentences: what to change, or what to declare to learn more."""
    proved = {o.route.name for o in outcomes if o.tried and o.truth is Truth.PROVED}
    passing = any(
        o.tried and o.truth is Truth.PROVED and o.route.goal == GOAL
        and o.route.direction == "sufficient"
        for o in outcomes
    )  # fmt: skip
    if not passing:
        return _repairs(problem)
    told = problem.declared
    said = []
    if proved & {"bounded", "homogeneous", "logistic"}:
        said.append("the proof holds for every lambda > 0, for these data and outer weights")
    if problem.standard and told.s is None:
        said.append("--set villani.s=... gives the certified radius and rates at that temperature")
    if told.outer_bias in ("regularised", "unregularised"):
        said.append("a trained outer bias keeps the property, but no radius, Lipschitz constant or "
                    "rate exists: freeze it for numbers")  # fmt: skip
    if told.epsilon is not None and (told.s is None or told.init != "gaussian"):
        said.append("the time to epsilon needs villani.s and villani.init=gaussian(...)")
    if proved & {"convex", "convex-logistic"}:
        said.append("f is strongly convex: plain gradient descent converges, noise is not needed")
    elif told.noise:
        said.append(_DISCRETE)
    return said


def _repairs(problem: Problem) -> list[str]:
    told, said = problem.declared, []
    if told.outer == "trained":
        said.append("freeze the outer layer: villani.outer=frozen")
    if told.bias == "unregularised":
        said.append("penalise the inner biases: villani.bias=regularised")
    if told.outer_bias == "unregularised" and told.logistic:
        said.append("penalise the outer bias: villani.outer_bias=regularised")
    if problem.activation.smooth is Truth.REFUTED:
        said.append("take a smooth activation, such as tanh, softplus, gelu or silu")
    if told.decay == 0:
        said.append("take a penalty: every lambda > 0 suffices where sigma is bounded or "
                    "sigma(z) - z sigma'(z) is")  # fmt: skip
    return said

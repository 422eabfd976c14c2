"""The facts that a witness decides: the defining conditions, and theorems for special networks."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from fractions import Fraction

import numpy as np

from verify.condition import Effort
from verify.evidence import Evidence
from verify.statement import Fact
from verify.verdict import Truth
from verify_conditions.villani import quantities as q
from verify_conditions.villani.problem import Problem
from verify_kernels.two_layer import ball_risk
from verify_kernels.two_layer.cancelling_pair import decide_outer_layer
from verify_kernels.two_layer.constant_output import decide_constant_output
from verify_kernels.two_layer.curvature import decide_convexity, decide_lipschitz_gradient
from verify_kernels.two_layer.kinks import decide_smoothness
from verify_kernels.two_layer.log_oscillation import decide_log_oscillation
from verify_kernels.two_layer.mirror_data import decide_mirror_data
from verify_kernels.two_layer.oscillation_form import recognise
from verify_kernels.two_layer.polynomial import decide_polynomial
from verify_kernels.two_layer.polynomial_form import coefficients
from verify_kernels.two_layer.rays import bounded_gradient_ray, decide_growth
from verify_kernels.two_layer.spanning import decide_without_penalty

_PENALTY = Evidence(
    Truth.PROVED, how="f is at least the quadratic penalty, which every trained parameter has"
)


def risk_of(problem: Problem) -> tuple[ball_risk.Problem, ball_risk.Point]:
    """Return the risk and the stored weights as the kernels take them."""

    def build() -> tuple[ball_risk.Problem, ball_risk.Point]:
        network, told = problem.network, problem.declared
        risk = ball_risk.Problem(
            X=problem.data.X, y=problem.labels, activation=network.activation,
            penalties=_penalties(problem), loss="logistic" if told.logistic else "squared",
            loss_scale=problem.loss_scale,
        )  # fmt: skip
        return risk, ball_risk.Point(network.W, network.a, network.b, network.c)

    built: tuple[ball_risk.Problem, ball_risk.Point] = problem.once("risk", build)
    return built


def _penalties(problem: Problem) -> dict[str, Fraction]:
    told = problem.declared
    found = {"W": told.decay}
    if told.bias in ("regularised", "unregularised"):
        found["b"] = told.bias_decay
    if told.outer == "trained":
        found["a"] = told.outer_decay
    if told.outer_bias in ("regularised", "unregularised"):
        found["c"] = told.outer_bias_decay
    return found


def is_relevant(problem: Problem, fact: Fact) -> str | None:
    """Why a special theorem or witness does not concern the problem, None if it does."""
    return _RELEVANT[fact](problem)


def _smooth(problem: Problem, effort: Effort) -> Evidence:
    return decide_smoothness(*risk_of(problem), problem.activation)


def _confining(problem: Problem, effort: Effort) -> Evidence:
    if problem.every_parameter_penalised:
        return _PENALTY
    found = decide_growth(*risk_of(problem), problem.activation)
    if found.value is Truth.UNDECIDED:
        zeros = _oscillation(problem)
        if zeros.witness is not None and zeros.witness.kind == "bias-zeros":
            return zeros
    return found


def _integrable(problem: Problem, effort: Effort) -> Evidence:
    return _PENALTY


def _dominates(problem: Problem, effort: Effort) -> Evidence:
    """The first witness against the fourth condition, else what kept the last one open."""
    tried = [rule(problem) for rule in _against_dominance(problem)]
    refuted = [evidence for evidence in tried if evidence.value is Truth.REFUTED]
    return (refuted or [_opened(evidence) for evidence in tried])[-1]


def _opened(evidence: Evidence) -> Evidence:
    """A special theorem may have proved the whole property; here nothing is refuted."""
    why = evidence.why_open or "no witness against it; see the theorems"
    return Evidence(Truth.UNDECIDED, why_open=why)


def _against_dominance(problem: Problem) -> list[Callable[[Problem], Evidence]]:
    told = problem.declared
    if told.outer == "trained":
        return [] if told.outer_penalty == "quartic" else [_pair]
    found: list[Callable[[Problem], Evidence]] = []
    if told.logistic:
        found += [_gradient_ray] if "unregularised" in (told.bias, told.outer_bias) else []
        found += [_gradient_ray] if told.decay == 0 and not found else []
    if coefficients(problem.network.activation) is not None:
        found.append(_polynomial)
    if recognise(problem.network.activation) is not None:
        found.append(_oscillation)
    return found


def _pair(problem: Problem) -> Evidence:
    if problem.network.width == 1:
        why = "the cancelling pair needs two neurons; one trained neuron is left undecided"
        return Evidence(Truth.UNDECIDED, why_open=why)
    return decide_outer_layer(*risk_of(problem), problem.activation)


def _gradient_ray(problem: Problem) -> Evidence:
    return bounded_gradient_ray(*risk_of(problem), problem.activation)


def _polynomial(problem: Problem) -> Evidence:
    found: Evidence = problem.once("polynomial", lambda: decide_polynomial(*risk_of(problem)))
    return found


def _oscillation(problem: Problem) -> Evidence:
    found: Evidence = problem.once("oscillation", lambda: decide_log_oscillation(*risk_of(problem)))
    return found


def _constant_output(problem: Problem, effort: Effort) -> Evidence:
    return decide_constant_output(*risk_of(problem), problem.activation)


def _one_signed(problem: Problem, effort: Effort) -> Evidence:
    return decide_without_penalty(*risk_of(problem), problem.activation)


def _even_monomial(problem: Problem, effort: Effort) -> Evidence:
    return _only_proof(_polynomial(problem))


def _above_threshold(problem: Problem, effort: Effort) -> Evidence:
    return _only_proof(_oscillation(problem))


def _mirror(problem: Problem, effort: Effort) -> Evidence:
    return decide_mirror_data(*risk_of(problem), problem.activation)


def _only_proof(found: Evidence) -> Evidence:
    """Keep a proof; what refutes the property belongs to the defining conditions."""
    if found.value is Truth.REFUTED:
        return Evidence(Truth.UNDECIDED, why_open="a defining condition fails, see there")
    return found


def _convex(problem: Problem, effort: Effort) -> Evidence:
    return decide_convexity(*risk_of(problem), problem.activation)


def _lipschitz(problem: Problem, effort: Effort) -> Evidence:
    return decide_lipschitz_gradient(*risk_of(problem), problem.activation)


def _when_dominance_is_open(problem: Problem) -> str | None:
    if _against_dominance(problem):
        return None
    return "no witness against it is known for such networks; the theorems speak about them"


def _when_output_is_constant(problem: Problem) -> str | None:
    if not problem.every_parameter_penalised or problem.declared.outer_penalty == "quartic":
        return "needs a quadratic penalty on every trained parameter"
    zero_a = problem.declared.outer == "frozen" and not problem.network.a.any()
    zero_x = not problem.augmented and not np.any(problem.data.X)
    return None if zero_a or zero_x else "the output depends on what is trained"


def _when_nothing_is_penalised(problem: Problem) -> str | None:
    if problem.declared.outer == "trained" or any(problem.declared.decays()):
        return "needs a frozen outer layer and no penalty at all"
    return None


def _when_polynomial(problem: Problem) -> str | None:
    if coefficients(problem.network.activation) is None:
        return "needs a polynomial activation of degree at least 2"
    return None


def _when_kinked(problem: Problem) -> str | None:
    if problem.activation.order != 0 or problem.declared.outer == "trained":
        return "needs an activation with kinks and a frozen outer layer"
    return None


def _when_oscillating(problem: Problem) -> str | None:
    if recognise(problem.network.activation) is None:
        return "needs sigma(z) = A z cos(B log(1 + z^2))"
    return None


COMPUTE: Mapping[Fact, Callable[[Problem, Effort], Evidence]] = {
    q.SMOOTH: _smooth,
    q.CONFINING: _confining,
    q.INTEGRABLE: _integrable,
    q.DOMINATES: _dominates,
    q.CONSTANT_OUTPUT: _constant_output,
    q.ONE_SIGNED: _one_signed,
    q.QUADRATIC_CASE: _even_monomial,
    q.LOG_OSCILLATION: _above_threshold,
    q.MIRROR: _mirror,
    q.CONVEX: _convex,
    q.LIPSCHITZ: _lipschitz,
}
_RELEVANT: Mapping[Fact, Callable[[Problem], str | None]] = {
    q.DOMINATES: _when_dominance_is_open,
    q.CONSTANT_OUTPUT: _when_output_is_constant,
    q.ONE_SIGNED: _when_nothing_is_penalised,
    q.QUADRATIC_CASE: _when_polynomial,
    q.LOG_OSCILLATION: _when_oscillating,
    q.MIRROR: _when_kinked,
}

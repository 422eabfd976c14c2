"""The routes to the Villani property: which theorem speaks about which network."""

from __future__ import annotations

from collections.abc import Callable

from verify.condition import Binding, Route
from verify.statement import Fact, Quantity, Statement
from verify_conditions.villani import quantities as q
from verify_conditions.villani import statements as st
from verify_conditions.villani.evidence import BINDINGS
from verify_conditions.villani.problem import GOAL, Problem
from verify_conditions.villani.special import is_relevant

Applies = Callable[[Problem], str | None]
_LAYER_TRAINED = "the outer layer is trained, and this theorem needs it frozen"
_BIAS_FREE = "an inner bias is trained without penalty"


def bindings_of(*statements: Statement) -> tuple[Binding, ...]:
    """Return one binding for each quantity and fact of the statements."""
    items: list[Quantity | Fact] = []
    for statement in statements:
        items += [item for item in statement.about if item not in items]
    return tuple(BINDINGS[item] for item in items)


def route(
    name: str, title: str, statement: Statement, applies: Applies, *, goal: str = GOAL
) -> Route:
    """Return the cheap route of one statement."""
    return Route(name, title, goal, (statement,), bindings_of(statement), "cheap", applies)


def _theorem(problem: Problem) -> str | None:
    """Why no theorem about a frozen outer layer and penalised weights speaks here, if so."""
    told = problem.declared
    if told.outer == "trained":
        return _LAYER_TRAINED
    return _BIAS_FREE if told.bias == "unregularised" else None


def _squares(problem: Problem) -> str | None:
    return "needs squares as loss" if problem.declared.logistic else _theorem(problem)


def _linear_growth(problem: Problem) -> str | None:
    told = problem.declared
    if problem.frozen_bias or told.outer_bias in ("regularised", "unregularised"):
        return "is proved without frozen inner biases and without a trained outer bias"
    return _squares(problem)


def _logistic(problem: Problem) -> str | None:
    if not problem.declared.logistic:
        return "needs the logistic loss"
    if problem.declared.outer_bias == "unregularised":
        return "an outer bias is trained without penalty"
    return _theorem(problem)


def _quartic(problem: Problem) -> str | None:
    told = problem.declared
    if told.outer != "trained" or told.outer_penalty != "quartic":
        return "needs a trained outer layer with quartic penalty"
    if told.logistic or told.bias not in ("none", "regularised") or told.outer_bias != "none":
        return "is proved for squares without further trained or frozen biases"
    return None


def _penalised(problem: Problem) -> str | None:
    return None if problem.every_parameter_penalised else "a trained parameter has no penalty"


def _special(fact: Fact) -> Applies:
    def applies(problem: Problem) -> str | None:
        return is_relevant(problem, fact)

    return applies


def _always(problem: Problem) -> str | None:
    return None


ROUTES: tuple[Route, ...] = (
    route("bounded", "bounded activation, any penalty (V1)", st.BOUNDED, _squares),
    route("homogeneous", "asymptotically homogeneous activation, any penalty (V2)",
          st.HOMOGENEOUS, _squares),
    route("logistic", "logistic loss, any penalty", st.LOGISTIC, _logistic),
    route("linear-growth", "linear growth, penalty above a threshold (V3)", st.LINEAR_GROWTH,
          _linear_growth),
    route("constant-output", "output independent of the inner weights", st.CONSTANT_OUTPUT,
          _special(q.CONSTANT_OUTPUT)),
    route("mirror-data", "kinks that cancel over mirrored data", st.MIRROR, _special(q.MIRROR)),
    route("one-signed", "one-signed outer weights, no penalty needed", st.ONE_SIGNED,
          _special(q.ONE_SIGNED)),
    route("even-monomial", "even monomial with one-signed outer weights", st.QUADRATIC,
          _special(q.QUADRATIC_CASE)),
    route("log-oscillation", "log-oscillating activation above its threshold",
          st.LOG_OSCILLATION, _special(q.LOG_OSCILLATION)),
    route("quartic", "quartic penalty on the trained outer layer", st.QUARTIC, _quartic),
    route("smooth", "first defining condition: smoothness", st.SMOOTH, _always),
    route("confining", "second defining condition: f tends to infinity", st.CONFINING, _always),
    route("integrable", "third defining condition: integrability", st.INTEGRABLE, _penalised),
    route("dominates", "fourth defining condition: the gradient beats the Laplacian",
          st.DOMINATES, _special(q.DOMINATES)),
)  # fmt: skip

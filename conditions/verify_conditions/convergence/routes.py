"""The routes: what no weights can do, and the theorems by kind of network and precision."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Literal

from verify.condition import Effort, Route
from verify.statement import Statement
from verify_conditions.convergence import evidence as ev
from verify_conditions.convergence import linearisation as ln
from verify_conditions.convergence import quantities as q
from verify_conditions.convergence import statements as st
from verify_conditions.convergence.problem import DESCENT, EXISTENCE, FLOW, Problem
from verify_conditions.dense_networks import NOT_DENSE, not_piecewise_linear, not_smooth
from verify_conditions.linearisation import residual

Applies = Callable[[Problem], str | None]


def _explicit(problem: Problem) -> str | None:
    """Why no theorem about explicit networks speaks here, if so."""
    if problem.graph is None:
        return "this is an implicit network"
    return None if problem.dense is not None else NOT_DENSE


def _smooth(problem: Problem) -> str | None:
    return _explicit(problem) or not_smooth(problem.dense)


def _piecewise(problem: Problem) -> str | None:
    return _explicit(problem) or not_piecewise_linear(problem.dense)


def _implicit(problem: Problem) -> str | None:
    return None if problem.graph is None else "is about implicit networks"


def _decays(problem: Problem) -> str | None:
    return None if problem.declared.decay else "no weight decay is declared"


def _always(problem: Problem) -> str | None:
    return None


_HOPELESS = 0.51  # the enclosures of floats are far narrower than the distance from 1/2
KINDS: dict[str, tuple[str, bool]] = {}
"""Kind of linearisation and precision, by the name of a theorem's route."""


def _worth_it(applies: Applies, kind: str) -> Applies:
    """Spare ball arithmetic where floats show that it could not help."""

    def fits(problem: Problem) -> str | None:
        unfit = applies(problem)
        if unfit is not None:
            return unfit
        found = ln.linearisation(problem, Effort(), kind, precise=False)
        if found.smallest.enclosure().hi == 0:
            return "the smallest singular value is exactly 0"
        h = ev.least_h(problem, Effort(), kind)
        if h < _HOPELESS:
            return None
        if h == math.inf:
            return "the ball that any path needs is not well posed, in no precision"
        return f"h is about {h:.3g}, which no precision brings below 1/2"

    return fits


def _theorem(
    name: str, title: str, goal: str, statement: Statement, kind: str, applies: Applies,
    *, descent: bool = False,
) -> tuple[Route, Route]:  # fmt: skip
    """Return the route in floats and, while the goal is open, the one in exact arithmetic."""

    def route(suffix: str, words: str, precise: bool) -> Route:
        KINDS[name + suffix] = (kind, precise)
        named = ev.numbers(kind, precise, descent=descent)
        bound = ev.bindings(statement.about, named, name + suffix)
        cost: Literal["cheap", "expensive"] = "expensive" if precise else "cheap"
        fits = _worth_it(applies, kind) if precise else applies
        return Route(name + suffix, title + words, goal, (statement,), bound, cost, fits)

    return route("", "", False), route("-precise", ", ball arithmetic", True)


def _newton(precise: bool) -> Route:
    suffix, words = ("-precise", ", ball arithmetic") if precise else ("", "")
    bound = ev.bindings(st.KANTOROVICH.about, ev.newton_numbers(precise), f"newton{suffix}")
    return Route(
        f"newton-kantorovich{suffix}", f"Newton and Kantorovich{words}", EXISTENCE,
        (st.KANTOROVICH,), bound, "expensive" if precise else "cheap",
        _worth_it(_smooth, ln.TANGENT) if precise else _smooth,
    )  # fmt: skip


def _structural(name: str, title: str, goal: str, statement: Statement, applies: Applies) -> Route:
    bound = ev.bindings(statement.about, ev.FACTS, name)
    return Route(name, title, goal, (statement,), bound, "cheap", applies)


def _perhaps_at_rest(problem: Problem) -> str | None:
    if problem.graph is None:
        return "this is an implicit network"
    found = residual(problem, Effort(), precise=False).norm.enclosure()
    return "the residual is not zero" if found.lo > 0 else None


def _at_rest(name: str, goal: str, statement: Statement) -> Route:
    """Return the route of weights at which the loss is zero, which only exact arithmetic shows."""
    named = ev.FACTS | {
        q.RESIDUAL: lambda problem, effort: residual(problem, effort, precise=True).norm
    }
    bound = ev.bindings(statement.about, named, name)
    return Route(name, "zero loss already", goal, (statement,), bound, "expensive",
                 _perhaps_at_rest)  # fmt: skip


ROUTES: tuple[Route, ...] = (
    _structural("contradiction", "data that no weights fit", EXISTENCE, st.CONTRADICTION, _always),
    _structural("decay-flow", "weight decay", FLOW, st.DECAY_FLOW, _decays),
    _structural("decay-descent", "weight decay", DESCENT, st.DECAY_DESCENT, _decays),
    *_theorem("flow", "Theorem A: tangent kernel", FLOW, st.THEOREM_A, ln.TANGENT, _smooth),
    *_theorem("output-layer", "Theorem A': output layer", FLOW, st.OUTPUT_LAYER, ln.FEATURES,
              _explicit),
    *_theorem("implicit", "Theorem I: norm of the state weight", FLOW, st.THEOREM_I, ln.IMPLICIT,
              _implicit),
    *_theorem("implicit-monotone", "Theorem I: monotone state weight", FLOW,
              st.THEOREM_I_MONOTONE, ln.MONOTONE, _implicit),
    *_theorem("pattern-flow", "Theorem A: stable activation patterns", FLOW, st.PATTERN_FLOW,
              ln.PATTERN, _piecewise),
    *_theorem("descent", "Theorem B: tangent kernel", DESCENT, st.THEOREM_B, ln.TANGENT, _smooth,
              descent=True),
    *_theorem("pattern-descent", "Theorem B: stable activation patterns", DESCENT,
              st.PATTERN_DESCENT, ln.PATTERN, _piecewise, descent=True),
    _newton(False),
    _newton(True),
    _at_rest("rest-flow", FLOW, st.REST_FLOW),
    _at_rest("rest-descent", DESCENT, st.REST_DESCENT),
)  # fmt: skip

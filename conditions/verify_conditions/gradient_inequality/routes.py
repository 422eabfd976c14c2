"""The routes to a gradient inequality, by scope, kind of network and precision."""

from __future__ import annotations

from collections.abc import Callable

from verify.condition import Effort, Route
from verify.statement import Statement
from verify_conditions.dense_networks import NOT_DENSE, not_piecewise_linear, not_smooth
from verify_conditions.gradient_inequality import quantities as q
from verify_conditions.gradient_inequality import statements as st
from verify_conditions.gradient_inequality.declared import BALL, TRAJECTORY
from verify_conditions.gradient_inequality.evidence import bindings, value_of
from verify_conditions.gradient_inequality.problem import (
    ALONG,
    HERE,
    ON_BALL,
    POINT,
    POINTS,
    Problem,
)

Applies = Callable[[Problem], str | None]
_POPULATION = "is about losses on data"


def _on_data(problem: Problem) -> str | None:
    return _POPULATION if problem.population else None


def _explicit(problem: Problem) -> str | None:
    if problem.population:
        return _POPULATION
    return "this is an implicit network" if problem.graph is None else None


def _ball(problem: Problem) -> str | None:
    unfit = _explicit(problem)
    if unfit is not None:
        return unfit
    if problem.declared.scope != BALL:
        return "no radius is declared"
    return None if problem.dense is not None else NOT_DENSE


def _smooth_ball(problem: Problem) -> str | None:
    return _ball(problem) or not_smooth(problem.dense)


def _piecewise_ball(problem: Problem) -> str | None:
    return _ball(problem) or not_piecewise_linear(problem.dense)


def _run(problem: Problem) -> str | None:
    unfit = _explicit(problem)
    if unfit is not None:
        return unfit
    return None if problem.declared.scope == TRAJECTORY else "the scope is not trajectory"


def _some_kappa(problem: Problem) -> str | None:
    if problem.declared.kappa is not None:
        return "kappa is declared"
    return _with_targets(problem)


def _perhaps_stationary(problem: Problem) -> str | None:
    unfit = _some_kappa(problem)
    if unfit is None and value_of(q.GRADIENT, problem, Effort()).enclosure().lo > 0:
        return "the gradient is not zero"
    return unfit


def _declared_kappa(problem: Problem) -> str | None:
    if problem.declared.kappa is None:
        return "no kappa is declared"
    return _with_targets(problem)


def _with_targets(problem: Problem) -> str | None:
    if not problem.population and problem.targets is None:
        return "needs targets y"
    return None


def _both(
    name: str, title: str, goal: str, statement: Statement, applies: Applies,
    *, pattern: bool = False,
) -> tuple[Route, Route]:  # fmt: skip
    """Return the route in floats and, while the goal is open, the one in ball arithmetic."""
    cheap = bindings(statement.about, precise=False, pattern=pattern)
    wide = bindings(statement.about, precise=True, pattern=pattern)
    return (
        Route(name, title, goal, (statement,), cheap, "cheap", applies),
        Route(f"{name}-precise", f"{title}, ball arithmetic", goal, (statement,), wide,
              "expensive", applies),
    )  # fmt: skip


def _everywhere(problem: Problem) -> str | None:
    if problem.declared.scope != TRAJECTORY:
        return "the scope is not trajectory"
    return _with_targets(problem)


ROUTES: tuple[Route, ...] = (
    *_both("tangent-kernel", "tangent kernel", HERE, st.TANGENT, _explicit),
    *_both("last-layer", "last layer", HERE, st.LAST_LAYER, _on_data),
    *_both("ball-tangent", "tangent kernel on the ball", ON_BALL, st.BALL_TANGENT, _smooth_ball),
    *_both("ball-pattern", "stable activation patterns", ON_BALL, st.BALL_PATTERN,
           _piecewise_ball, pattern=True),
    *_both("ball-last-layer", "last layer on the ball", ON_BALL, st.BALL_LAST, _ball),
    *_both("trajectory", "tangent kernel at every checkpoint", ALONG, st.RUN, _run),
    *_both("gradient", "gradient", POINT, st.NOT_STATIONARY, _some_kappa),
    *_both("zero-loss", "zero loss", POINT, st.ZERO_LOSS, _perhaps_stationary),
    *_both("stationary", "stationary with positive loss", POINT, st.SOME_KAPPA,
           _perhaps_stationary),
    *_both("gradient-kappa", "loss and gradient, declared kappa", POINT, st.DECLARED_KAPPA,
           _declared_kappa),
    Route("gradient-trajectory", "loss and gradient at every checkpoint", POINTS,
          (st.EVERY_POINT,), bindings(st.EVERY_POINT.about, precise=False), "cheap", _everywhere),
)  # fmt: skip

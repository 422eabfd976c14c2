"""The constants that follow, and what was fitted or measured beside them."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

import sympy as sp

from verify.condition import Consequence, Effort, RouteOutcome
from verify.decide import evaluate
from verify.enclosure import Enclosure
from verify.statement import Quantity
from verify.verdict import Truth
from verify_conditions.gradient_inequality import formulas as fm
from verify_conditions.gradient_inequality import quantities as q
from verify_conditions.gradient_inequality.evidence import value_of
from verify_conditions.gradient_inequality.measured import fitted_exponent, least_between
from verify_conditions.gradient_inequality.problem import Problem
from verify_conditions.gradient_inequality.samples import bounds_of
from verify_kernels.teacher_student import LossOnly, norm_range, separation

_LATEX = {
    item.symbol: item.latex
    for item in vars(q).values()
    if isinstance(item, Quantity) and item.latex
}
_CONSTANTS = {
    "tangent-kernel": (fm.PL, "at these weights"),
    "last-layer": (fm.PL_LAST, "at these weights, for every subgradient"),
    "ball-tangent": (fm.PL_BALL, "on the ball"),
    "ball-pattern": (fm.PL_BALL, "on the ball"),
    "ball-last-layer": (fm.PL_BALL_LAST, "on the ball, for every subgradient"),
    "trajectory": (fm.PL_RUN, "at every stored checkpoint"),
}


def consequences(
    problem: Problem, outcomes: Sequence[RouteOutcome], effort: Effort
) -> list[Consequence]:
    """Return PL constants of proved routes, ratios at this point, and measurements."""
    found = list(_constants(problem, outcomes))
    if problem.population or problem.targets is not None:
        found += _ratios(problem, effort)
    if problem.population:
        found += _teachers(problem)
        found += _masses(problem, effort)
    if problem.checkpoints:
        found += _measured(problem, effort)
    return found


def _constants(problem: Problem, outcomes: Sequence[RouteOutcome]) -> Iterator[Consequence]:
    if problem.population:
        return
    s = problem.scale
    for outcome in outcomes:
        name = outcome.route.name.removesuffix("-precise")
        if outcome.truth is not Truth.PROVED or name not in _CONSTANTS:
            continue
        formula, where = _CONSTANTS[name]
        known = {
            item.symbol: outcome.evidence[str(item.symbol)].enclosure()
            for item in outcome.route.statements[0].quantities
        } | {q.SCALE.symbol: Enclosure.outward(s, s)}
        value = evaluate(formula, {symbol: known[symbol] for symbol in formula.free_symbols})
        yield Consequence(
            "PL constant", f"c of ||grad L||^2 >= c L {where}, for every target", value,
            _latex(formula), outcome.route.name,
        )  # fmt: skip


def _ratios(problem: Problem, effort: Effort) -> Iterator[Consequence]:
    """||grad L|| / L^alpha at the declared exponent and at those that theory speaks about."""
    loss = value_of(q.LOSS, problem, effort).enclosure()
    gradient = value_of(q.GRADIENT, problem, effort).enclosure()
    yield Consequence("loss", "L at these weights", loss)
    yield Consequence("gradient norm", "||grad L|| at these weights", gradient)
    if not (loss.lo > 0 and loss.is_bounded and gradient.is_bounded):
        return
    known = {"3/4": sp.Rational(3, 4), "1": sp.Integer(1)} if problem.population else {}
    told = problem.declared.exponent
    for text, alpha in {str(told): sp.Rational(told.numerator, told.denominator), **known}.items():
        formula = fm.RATIO.subs(q.EXPONENT.symbol, alpha)
        value = evaluate(formula, {q.LOSS.symbol: loss, q.GRADIENT.symbol: gradient})
        yield Consequence(
            f"kappa at {text}", f"||grad L|| / {_power(text)} at these weights", value,
            _latex(formula), "gradient",
        )  # fmt: skip


def _power(exponent: str) -> str:
    return "L" if exponent == "1" else f"L^({exponent})"


def _teachers(problem: Problem) -> Iterator[Consequence]:
    found = separation(problem.network)
    if found.enclosure().is_bounded:
        yield Consequence(
            "Delta", "least angle between a teacher and the line of another", found.enclosure(),
            r"\Delta",
        )  # fmt: skip
    low, high = norm_range(problem.network)
    yield Consequence("w_min", "least norm of a teacher", low.enclosure(), r"w_{\min}")
    yield Consequence("w_max", "largest norm of a teacher", high.enclosure(), r"w_{\max}")


def _masses(problem: Problem, effort: Effort) -> Iterator[Consequence]:
    """What the loss alone proves about the mass of the students nearest to each teacher."""
    found = bounds_of(problem, effort)
    if not isinstance(found, LossOnly) or found.reason:
        return
    for j, mass in enumerate(found.masses):
        proved = Enclosure(mass.lower.lo, mass.upper.hi)
        yield Consequence(
            f"mass at teacher {j}", "sum of ||w_i||^2 over the students nearest to it, minus "
            "||w*_j||^2, by the loss alone", proved, "", "loss alone",
        )  # fmt: skip
        if mass.difference is not None:
            yield Consequence(
                f"true mass at teacher {j}", "the same difference, computed", mass.difference
            )


def _measured(problem: Problem, effort: Effort) -> Iterator[Consequence]:
    """The exponent fitted to the checkpoints, and the ratio half-way between them."""
    points = []
    for _, own in problem.everywhere():
        if own.population or own.targets is not None:
            loss = value_of(q.LOSS, own, effort).enclosure()
            gradient = value_of(q.GRADIENT, own, effort).enclosure()
            points.append((_middle(loss), _middle(gradient)))
    exponent = fitted_exponent(points)
    if exponent is not None:
        yield Consequence(
            "fitted exponent", "slope of log ||grad L|| against log L over the stored points",
            exponent,
        )  # fmt: skip
    between = least_between(problem)
    if between is not None:
        yield Consequence(
            "kappa between checkpoints", "least ||grad L|| / L^alpha half-way between neighbours",
            between,
        )  # fmt: skip


def _middle(value: Enclosure) -> float:
    return 0.5 * (value.lo_float + value.hi_float) if value.is_bounded else math.nan


def _latex(expression: sp.Expr) -> str:
    return str(sp.latex(expression, symbol_names=_LATEX))

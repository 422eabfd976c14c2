"""What follows from a proved route, as numbers: rates, Lipschitz constants, room for the weights.

Each formula is one SymPy expression; the number, the LaTeX and the text derive from it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import sympy as sp

from verify.condition import Consequence, Effort, RouteOutcome
from verify.decide import evaluate
from verify.enclosure import Enclosure, Measurement
from verify.evidence import Evidence
from verify.network import AffineInput, ReluFeatureInput
from verify.verdict import Truth
from verify_conditions.well_posedness import statements as st
from verify_conditions.well_posedness.problem import Problem
from verify_kernels.least_diagonal import enclose_least_diagonal
from verify_kernels.matrix import identity_minus
from verify_kernels.power_iteration import estimate_spectral_radius
from verify_kernels.spectral_norm import enclose_spectral_norm
from verify_kernels.spectral_radius import enclose_spectral_radius

# Beyond this width all eigenvalues cost more than every route together; --all-routes computes them.
RADIUS_WIDTH = 1024

NORM_M = sp.Symbol("norm_M", real=True)
NORM_U = sp.Symbol("norm_U", real=True)
LEAST_DIAGONAL = sp.Symbol("w_min", real=True)
_LATEX = {
    NORM_M: r"\|I-W\|_2",
    NORM_U: r"\|U\|_2",
    LEAST_DIAGONAL: r"\min_i\min(W_{ii},0)",
    st.LAMBDA_PF.symbol: r"\theta",
    st.MU_ETA.symbol: r"\theta",
}

_RATES = {
    "paper-setting": st.PAPER_SETTING.hypothesis.lhs,
    "spectral-norm": st.SPECTRAL_NORM.hypothesis.lhs,
    "perron": st.PERRON.hypothesis.lhs,
}
_BETA, _MU_2, _MU_ETA = st.BETA.symbol, st.MU_2.symbol, st.MU_ETA.symbol
_MONOTONE_MARGIN = 1 - _BETA * _MU_2
_STEP = _MONOTONE_MARGIN / NORM_M**2
_AVERAGED = 1 / (1 - _BETA * LEAST_DIAGONAL)
# Infima over eta that no eta need attain: numbers in a weighted norm are those of the witness.
_INFIMA = (st.LAMBDA_PF.symbol, _MU_ETA)
_WEIGHTED = "max_i |x_i| / eta_i with eta and its bound theta of the witness"


@dataclass(frozen=True)
class _Formula:
    """A number that one proved route entails."""

    name: str
    meaning: str
    route: str
    expression: sp.Expr
    relu_only: bool = False


def _norm_of(route: str) -> str:
    return _WEIGHTED if route == "perron" else "Euclidean norm"


def _rate_formulas(route: str) -> tuple[_Formula, ...]:
    rate = _RATES[route]
    norm = _norm_of(route)
    lipschitz = st.L.symbol if route != "paper-setting" else sp.Integer(1)
    return (
        _Formula(f"contraction factor ({route})",
                 f"factor by which fixed-point iteration shrinks the error, {norm}", route, rate),
        _Formula(f"Lipschitz constant b -> z ({route})",
                 f"bound of the change of z relative to the change of b, {norm}", route,
                 lipschitz / (1 - rate)),
    )  # fmt: skip


_FORMULAS: tuple[_Formula, ...] = (
    *(formula for route in _RATES for formula in _rate_formulas(route)),
    _Formula("size of the state (paper-setting)",
             "||z|| is at most this times ||b(x)||, for every input", "paper-setting",
             1 / (1 - _RATES["paper-setting"])),
    _Formula("room for W (spectral-norm)",
             "every change of W of smaller spectral norm keeps the proof", "spectral-norm",
             1 / st.L.symbol - st.NORM_W.symbol),
    _Formula("monotonicity constant", "mu in I - beta W >= mu I", "monotone", _MONOTONE_MARGIN),
    _Formula("Lipschitz constant b -> z (monotone)",
             "bound of the change of z relative to the change of b, Euclidean norm", "monotone",
             _BETA / _MONOTONE_MARGIN),
    _Formula("room for W (monotone)",
             "every change of W of smaller spectral norm keeps the proof", "monotone",
             1 / _BETA - _MU_2),
    _Formula("step of the averaged iteration (monotone)",
             "z <- relu((1 - a) z + a (W z + b)) converges linearly for this a", "monotone", _STEP,
             relu_only=True),
    _Formula("contraction factor of the averaged iteration (monotone)",
             "factor by which that iteration shrinks the error, Euclidean norm", "monotone",
             sp.sqrt(sp.Max(0, 1 - _MONOTONE_MARGIN**2 / NORM_M**2)), relu_only=True),
    _Formula("Lipschitz constant b -> z (matrix-measure)",
             f"bound of the change of z relative to the change of b, {_WEIGHTED}",
             "matrix-measure", _BETA / (1 - sp.Max(0, _BETA * _MU_ETA))),
    _Formula("step of the averaged iteration (matrix-measure)",
             "z <- (1 - a) z + a sigma(W z + b) converges linearly for this a", "matrix-measure",
             _AVERAGED),
    _Formula("contraction factor of the averaged iteration (matrix-measure)",
             f"factor by which that iteration shrinks the error, {_WEIGHTED}",
             "matrix-measure", 1 - _AVERAGED * (1 - sp.Max(0, _BETA * _MU_ETA))),
)  # fmt: skip


def consequences(
    problem: Problem, outcomes: Sequence[RouteOutcome], effort: Effort
) -> list[Consequence]:
    """Return the numbers that the proved routes entail, then the spectral radius for comparison."""
    proved = {o.route.name: o for o in outcomes if o.tried and o.truth is Truth.PROVED}
    found = []
    for formula in _FORMULAS:
        if formula.route not in proved:
            continue
        if formula.relu_only and problem.network.activation.name != "relu":
            continue
        known = _known(problem, proved[formula.route], formula.expression, effort)
        if known is None:
            continue
        value = evaluate(formula.expression, known)
        if value.is_bounded:
            found.append(_consequence(formula, value))
    found += _iterations(problem, proved, effort)
    found += _through_the_input(problem, proved, effort)
    return found + _spectral_radius(problem, effort)


def _consequence(formula: _Formula, value: Enclosure) -> Consequence:
    latex = sp.latex(formula.expression, symbol_names=_names())
    return Consequence(formula.name, formula.meaning, value, str(latex), formula.route)


def _names() -> dict[sp.Symbol, str]:
    items = (
        st.L,
        st.BETA,
        st.NORM_W,
        st.NORM_A,
        st.GAMMA,
        st.WIDTH,
        st.MU_2,
    )
    return _LATEX | {item.symbol: item.latex for item in items if item.latex}


def _known(
    problem: Problem, outcome: RouteOutcome, expression: sp.Expr, effort: Effort
) -> Mapping[Any, Enclosure] | None:
    """Return the enclosures of the expression's symbols: the route's own and a few more.

    None if the expression speaks about a weighted norm and no eta is known for it.
    """
    more = {
        NORM_M: lambda: enclose_spectral_norm(
            identity_minus(problem.weight, Fraction(1)), backend=effort.backend
        ),
        LEAST_DIAGONAL: lambda: enclose_least_diagonal(problem.weight),
    }
    known = {}
    for symbol in expression.free_symbols:
        if symbol in more:
            known[symbol] = problem.once(str(symbol), more[symbol]).enclosure()
        elif symbol in _INFIMA:
            attained = _attained(problem, outcome.evidence[str(symbol)])
            if attained is None:
                return None
            known[symbol] = attained
        else:
            known[symbol] = outcome.evidence[str(symbol)].enclosure()
    return known


def _attained(problem: Problem, found: Evidence) -> Enclosure | None:
    """Return the bound that the eta of the witness attains, if it is small enough to prove."""
    if found.witness is None:
        return None
    bound = Fraction(found.witness.data["bound"])
    return Enclosure.outward(bound, bound) if problem.lipschitz * bound < 1 else None


def _iterations(
    problem: Problem, proved: Mapping[str, RouteOutcome], effort: Effort
) -> list[Consequence]:
    """How many fixed-point iterations shrink the error a million times, for the best rate."""
    rates = []
    for route, rate in _RATES.items():
        if route in proved:
            known = _known(problem, proved[route], rate, effort)
            value = Enclosure.unbounded() if known is None else evaluate(rate, known)
            if value.is_bounded and value.hi < 1:
                rates.append((value.hi, route))
    if not rates:
        return []
    worst, route = min(rates)
    q = sp.Symbol("q", real=True)
    formula = sp.log(10**6) / (-sp.log(q))
    count = 1
    if worst > 0:
        needed = evaluate(formula, {q: Enclosure.exact(worst)})
        if not isinstance(needed.hi, Fraction):
            return []
        count = max(1, -(-needed.hi.numerator // needed.hi.denominator))
    return [
        Consequence(
            "iterations that shrink the error by 1e-6",
            "fixed-point iterations after which the error is at most 1e-6 times the first one, "
            f"{_norm_of(route)}",
            Enclosure.exact(count), r"\lceil " + str(sp.latex(formula)) + r" \rceil", route,
        )
    ]  # fmt: skip


def _through_the_input(
    problem: Problem, proved: Mapping[str, RouteOutcome], effort: Effort
) -> list[Consequence]:
    """The Lipschitz constant of input -> equilibrium, from the smallest one of b -> z."""
    lipschitz = {
        "paper-setting": 1 / (1 - _RATES["paper-setting"]),
        "spectral-norm": st.L.symbol / (1 - _RATES["spectral-norm"]),
        "monotone": _BETA / _MONOTONE_MARGIN,
    }
    given = problem.network.input
    if isinstance(given, AffineInput):
        norm, scale = enclose_spectral_norm(given.U, backend=effort.backend), sp.Integer(1)
    elif isinstance(given, ReluFeatureInput):
        norm = enclose_spectral_norm(given.V, backend=effort.backend)
        scale = 1 / sp.sqrt(sp.Integer(problem.network.width))
    else:
        return []
    found = []
    for route, expression in lipschitz.items():
        if route in proved:
            whole = expression * NORM_U * scale
            known = _known(problem, proved[route], expression, effort)
            if known is not None:
                value = evaluate(whole, {NORM_U: norm.enclosure(), **known})
                found.append((value, whole, route))
    found = [item for item in found if item[0].is_bounded]
    if not found:
        return []
    value, whole, route = min(found, key=lambda item: item[0].hi)
    latex = str(sp.latex(whole, symbol_names=_names()))
    return [
        Consequence("Lipschitz constant x -> z",
                    "bound of the change of the equilibrium relative to the change of the input, "
                    "Euclidean norm", value, latex, route)
    ]  # fmt: skip


def _spectral_radius(problem: Problem, effort: Effort) -> list[Consequence]:
    """The spectral radius beside the estimate that power iteration gives; neither decides."""
    found = []
    affordable = problem.network.width <= RADIUS_WIDTH or effort.all_routes
    proved = enclose_spectral_radius(problem.weight) if affordable else None
    if proved is not None and proved.enclosure().is_bounded:
        found.append(
            Consequence("spectral radius of W", "for comparison; it decides nothing here",
                        proved.enclosure(), r"\rho(W)", "")
        )  # fmt: skip
    estimate = estimate_spectral_radius(problem.weight.mid)
    found.append(
        Consequence("spectral radius, power iteration",
                    "the estimate that tools for equilibrium models print; it can be far off",
                    Measurement(estimate, "100 steps of power iteration from a fixed vector"),
                    r"\rho(W)", "")
    )  # fmt: skip
    return found

"""What follows from rank Z = n at the stored weights, and what is only measured beside it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from fractions import Fraction

import numpy as np
import sympy as sp

from verify.condition import Consequence, Effort, RouteOutcome
from verify.decide import evaluate
from verify.enclosure import Enclosure, Measurement
from verify.verdict import Truth
from verify_conditions.expressivity import formulas as fm
from verify_conditions.expressivity import quantities as q
from verify_conditions.expressivity.evidence import STORED, features, rank_routes
from verify_conditions.expressivity.losses import after_last_layer, belongs_to, loss_named
from verify_conditions.expressivity.problem import Problem
from verify_kernels.exact_forward.dead_units import dead_units
from verify_kernels.full_rank.scaling import with_ones
from verify_kernels.full_rank.singular_values import enclose_singular_extremes

# A singular value decomposition of this many rows and columns still takes less than a second.
_MEASURED_ROWS = 1024
_LATEX = {
    item.symbol: item.latex
    for item in (*vars(fm).values(), *vars(q).values())
    if getattr(item, "latex", "") and isinstance(getattr(item, "symbol", None), sp.Symbol)
}


def consequences(
    problem: Problem, outcomes: Sequence[RouteOutcome], effort: Effort
) -> list[Consequence]:
    """Return the constants of the last layer, the largest n, and the float rank beside it."""
    found = [*_largest_count(problem), *_dead(problem, effort)]
    here = [o for o in outcomes if o.route.name in rank_routes(STORED) and o.truth is Truth.PROVED]
    if here:
        found += _last_layer(problem, effort, here[0].route.name)
    return [*found, *_float_rank(problem, bool(here))]


def _largest_count(problem: Problem) -> Iterator[Consequence]:
    formula = fm.LARGEST_COUNT if problem.ones else fm.LARGEST_COUNT_WITHOUT_BIAS
    value = evaluate(formula, {q.WIDTH.symbol: Enclosure.exact(problem.width)})
    yield Consequence(
        "largest n", "no more samples than this can pass with this last hidden layer", value,
        _latex(formula), "width",
    )  # fmt: skip


def _dead(problem: Problem, effort: Effort) -> Iterator[Consequence]:
    units = dead_units(problem.graph, problem.place, problem.inputs, deadline=effort.deadline)
    if units.possible == 0:
        return
    yield Consequence(
        "dead units", "units of the last hidden layer that are zero on all samples",
        Enclosure(Fraction(units.certain), Fraction(units.possible)), "", "stored weights",
    )  # fmt: skip


def _last_layer(problem: Problem, effort: Effort, by: str) -> Iterator[Consequence]:
    """Singular values of Z at the stored weights; with a declared loss, step and rates."""
    sigma_n, sigma_max = enclose_singular_extremes(features(problem, STORED), ones=problem.ones)
    yield Consequence("sigma_n", "n-th singular value of Z at the stored weights", sigma_n,
                      fm.SIGMA_N.latex, by)  # fmt: skip
    yield Consequence("sigma_max", "largest singular value of Z at the stored weights", sigma_max,
                      fm.SIGMA_MAX.latex, by)  # fmt: skip
    name = problem.declared.loss
    if name is None or not belongs_to(name, after_last_layer(problem.graph)):
        return  # the constants are those of a loss of the last layer's own outputs
    loss = loss_named(name)
    known = {
        fm.SIGMA_N.symbol: sigma_n,
        fm.SIGMA_MAX.symbol: sigma_max,
        q.N.symbol: Enclosure.exact(problem.n),
        fm.L_L.symbol: _around(loss.smoothness_at(problem.outputs)),
    }
    told = [
        ("L_V", f"Lipschitz constant of the last layer's gradient, {name}", fm.SMOOTHNESS),
        ("step", f"step of gradient descent on the last layer, {name}; a smaller one will do",
         fm.STEP),
    ]  # fmt: skip
    mu = loss.strong_convexity_at(problem.outputs)
    if mu is not None:
        known[fm.MU.symbol] = _around(mu)
        told += [
            ("PL constant", f"of the last layer's problem, {name}; also of the whole network's "
             "gradient at these hidden weights", fm.PL_CONSTANT),
            ("contraction", f"of the excess loss in a step of that size, {name}", fm.CONTRACTION),
        ]  # fmt: skip
    for key, meaning, formula in told:
        value = evaluate(formula, {s: known[s] for s in formula.free_symbols})
        if value.is_bounded or isinstance(value.lo, Fraction):
            yield Consequence(key, meaning, value, _latex(formula), by)


def _around(value: Fraction) -> Enclosure:
    """Enclose a rational number such as 2/m_y."""
    return Enclosure.outward(value, value)


def _float_rank(problem: Problem, full: bool) -> Iterator[Consequence]:
    """What the usual floating-point test says; it proves nothing either way."""
    found = features(problem, STORED)
    Z = (with_ones(found) if problem.ones else found).mid
    if max(Z.shape) > _MEASURED_ROWS or not np.isfinite(Z).all():
        return
    counted = int(np.linalg.matrix_rank(Z))
    how = "numpy.linalg.matrix_rank, which proves nothing either way"
    if full and counted != problem.n:
        how = f"numpy.linalg.matrix_rank, wrong here: the rank is proved to be {problem.n}"
    yield Consequence(
        "matrix_rank", "floating-point rank of the rounded Z at the stored weights",
        Measurement(float(counted), how=how),
    )  # fmt: skip


def _latex(expression: sp.Expr) -> str:
    return str(sp.latex(expression, symbol_names=_LATEX))

"""What the theorems give: distance, rate, step, contraction; and the numbers where none fires."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from fractions import Fraction

import sympy as sp

from verify.condition import Consequence, Effort, RouteOutcome
from verify.decide import evaluate, truth_of
from verify.enclosure import Enclosure
from verify.statement import Quantity
from verify.verdict import Truth
from verify_conditions.convergence import formulas as fm
from verify_conditions.convergence import quantities as q
from verify_conditions.convergence.problem import Problem
from verify_conditions.convergence.search import Start, propose_largest

_LATEX = {
    item.symbol: item.latex
    for item in vars(q).values()
    if isinstance(item, Quantity) and item.latex
}
_PARTS = (1.0 - 2.0**-30, 1.0 - 2.0**-10, 0.5)
"""Parts of the proposed largest step that are tried."""
_FLOWS = ("flow", "output-layer", "implicit", "implicit-monotone", "pattern-flow")
_DESCENTS = ("descent", "pattern-descent")


def numbers_of(outcome: RouteOutcome) -> tuple[sp.Expr, sp.Expr, sp.Expr]:
    """Return the letters |r|, sigma and beta of a route's theorem, beta as a formula."""
    name = outcome.route.name.removesuffix("-precise")
    if name == "output-layer":
        return fm.r, q.S0.symbol, q.B.symbol
    if name.startswith("implicit"):
        b = fm.B_NORM if name == "implicit" else fm.B_MONOTONE
        return fm.r, q.S0_IMPLICIT.symbol, b
    return fm.r, fm.sigma, fm.beta


def value_of(formula: sp.Expr, outcome: RouteOutcome, problem: Problem) -> Enclosure:
    """Enclose a formula by the evidence of a route."""
    s = problem.scale
    known = {
        sp.Symbol(name, real=True): found.value
        for name, found in outcome.evidence.items()
        if isinstance(found.value, Enclosure)
    } | {fm.s: Enclosure.outward(s, s)}
    return evaluate(formula, {symbol: known[symbol] for symbol in formula.free_symbols})


def consequences(
    problem: Problem, outcomes: Sequence[RouteOutcome], effort: Effort
) -> list[Consequence]:
    """Return the numbers of every proved theorem, or h and thresholds where none is proved."""
    found: list[Consequence] = []
    for outcome in _best_of_both(outcomes):
        name = outcome.route.name.removesuffix("-precise")
        if name in _FLOWS and speaks(outcome):
            found += _flow(problem, outcome)
        if name in _DESCENTS and outcome.truth is Truth.PROVED:
            found += _descent(problem, outcome)
        if name == "newton-kantorovich" and outcome.truth is Truth.PROVED:
            found += _told(problem, outcome, [
                ("distance", "of weights with zero loss from these", fm.NEWTON_DISTANCE),
            ])  # fmt: skip
    return found


def _best_of_both(outcomes: Sequence[RouteOutcome]) -> list[RouteOutcome]:
    """Leave out a theorem in one precision where the other one says as much."""
    by_name = {outcome.route.name: outcome for outcome in outcomes}

    def is_kept(outcome: RouteOutcome) -> bool:
        name = outcome.route.name
        plain = name.removesuffix("-precise")
        precise = by_name.get(f"{plain}-precise")
        better = (
            precise is not None
            and precise.truth is Truth.PROVED
            and by_name[plain].truth is not Truth.PROVED
        )
        return (name != plain) == better

    return [outcome for outcome in outcomes if is_kept(outcome)]


def speaks(outcome: RouteOutcome) -> bool:
    """Whether a route's theorem has numbers: sigma > 0 is proved, and the ball is well posed.

    A theorem of which a fact is false, such as one about a frozen last layer, has none.
    """
    if not outcome.tried or Truth.REFUTED in [e.value for e in outcome.evidence.values()]:
        return False
    r, smallest, lipschitz = numbers_of(outcome)
    known = {
        sp.Symbol(name, real=True): found.value
        for name, found in outcome.evidence.items()
        if isinstance(found.value, Enclosure)
    }
    bounded = all(known[symbol].is_bounded for symbol in (r, *lipschitz.free_symbols))
    return bounded and known[smallest].lo > 0 and _is_well_posed(outcome, known)


def _is_well_posed(outcome: RouteOutcome, known: dict[sp.Symbol, Enclosure]) -> bool:
    """Whether b means something: its formula squares the gap, which has to be positive."""
    name = outcome.route.name.removesuffix("-precise")
    gap = {"implicit": 1 - fm.Q, "implicit-monotone": fm.MU}.get(name)
    return gap is None or evaluate(gap, {s: known[s] for s in gap.free_symbols}).lo > 0


def _flow(problem: Problem, outcome: RouteOutcome) -> Iterator[Consequence]:
    r, smallest, lipschitz = numbers_of(outcome)
    told = [
        ("h", "below 1/2 the theorem speaks", fm.h(r, smallest, lipschitz)),
        ("threshold_residual", "residual norm |r| below which h < 1/2",
         fm.threshold(smallest, lipschitz)),
    ]  # fmt: skip
    if outcome.truth is Truth.PROVED:
        told += [
            ("lstar", "length of the whole path, and distance of the zero-loss weights",
             fm.length(r, smallest, lipschitz)),
            ("rate", "|r(t)| <= exp(-rate t) |r(0)| along the flow",
             fm.rate(r, smallest, lipschitz)),
        ]  # fmt: skip
    yield from _told(problem, outcome, told)


def _descent(problem: Problem, outcome: RouteOutcome) -> Iterator[Consequence]:
    yield from _told(problem, outcome, [
        ("eta", "step of gradient descent on the declared loss", fm.eta),
        ("contraction", "|r_(k+1)| <= contraction |r_k| in every step", fm.CONTRACTION),
        ("descent_length", "length of the whole path of gradient descent", fm.DESCENT_LENGTH),
    ])  # fmt: skip
    most = largest_step(problem, outcome)
    if most is not None:
        yield Consequence(
            "largest step", "every positive step of gradient descent up to this converges, proved",
            most, "", outcome.route.name,
        )  # fmt: skip


def largest_step(problem: Problem, outcome: RouteOutcome) -> Enclosure | None:
    """Return about the largest step at which the route's theorem is proved, on the same ball.

    The hypotheses are monotone in eta, so every smaller step satisfies them as well.
    """
    statement = outcome.route.statements[0]
    values = {
        item.symbol: outcome.evidence[str(item.symbol)].enclosure() for item in statement.quantities
    }
    known = {item.symbol: outcome.evidence[str(item.symbol)].value for item in statement.facts}
    facts = {symbol: value for symbol, value in known.items() if isinstance(value, Truth)}
    start = Start(values[fm.r].hi_float, values[fm.sigma].lo_float, values[fm.J].hi_float)
    beta, radius = values[fm.beta].hi_float, values[fm.R].hi_float
    proposed = propose_largest(start, beta, radius) / float(problem.scale)
    if not 0.0 < proposed < math.inf:
        return None
    for part in _PARTS:
        step = Fraction(proposed * part)
        values[fm.eta] = Enclosure(step, step)
        if step and truth_of(statement.hypothesis, values, facts) is Truth.PROVED:
            return values[fm.eta]
    return None


def _told(
    problem: Problem, outcome: RouteOutcome, told: Sequence[tuple[str, str, sp.Expr]]
) -> Iterator[Consequence]:
    for name, meaning, formula in told:
        value = value_of(formula, outcome, problem)
        latex = str(sp.latex(formula, symbol_names=_LATEX))
        yield Consequence(name, meaning, value, latex, outcome.route.name)

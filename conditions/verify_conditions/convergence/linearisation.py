"""What the theorems read off at the stored weights: |r|, sigma, a Lipschitz constant by radius.

There are two precisions: floats with error bounds, and ball or rational arithmetic for small
networks. Every enclosure is computed once.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from fractions import Fraction
from typing import cast

import sympy as sp

from verify.condition import Effort
from verify.decide import evaluate
from verify.enclosure import Enclosure
from verify.evidence import Evidence
from verify_conditions.convergence import formulas as fm
from verify_conditions.convergence import quantities as q
from verify_conditions.convergence.problem import Problem
from verify_conditions.convergence.search import Start
from verify_conditions.dense_networks import Dense
from verify_conditions.linearisation import (
    implicit_state,
    residual,
    root,
    smallest_of_features,
    spectrum,
)
from verify_kernels.implicit_relu import ImplicitState
from verify_kernels.jacobian_lipschitz import (
    lipschitz_of_features,
    lipschitz_of_jacobian,
    pattern_lipschitz,
    pattern_radius,
)

TANGENT, PATTERN, FEATURES = "tangent kernel", "pattern", "features"
IMPLICIT, MONOTONE = "implicit", "monotone"
_NOT_TRIED = "not computed: the smallest singular value is not proved positive"


@dataclass(frozen=True, eq=False)
class Linearisation:
    """The numbers of one theorem in one precision.

    Args:
        residual: |r|.
        smallest: sigma, or s0.
        lipschitz: by radius.
        norm: |J|, where a theorem uses it.
    """

    residual: Evidence
    smallest: Evidence
    lipschitz: Callable[[Fraction], Evidence]
    norm: Evidence | None = None

    def start(self) -> Start:
        """Return the ends that count, as floats, for proposals."""
        return Start(
            self.residual.enclosure().hi_float,
            self.smallest.enclosure().lo_float,
            math.inf if self.norm is None else self.norm.enclosure().hi_float,
        )

    def lipschitz_float(self, radius: float) -> float:
        """Return the constant at a radius as a float, for proposals."""
        if not 0.0 < radius < math.inf:
            return math.inf
        return self.lipschitz(Fraction(radius)).enclosure().hi_float


def linearisation(problem: Problem, effort: Effort, kind: str, precise: bool) -> Linearisation:
    """Return the numbers of a theorem, computed once."""
    found: Linearisation = problem.once(
        f"linearisation {kind} {precise}", lambda: _MAKE[kind](problem, effort, kind, precise)
    )
    return found


def _dense(problem: Problem) -> Dense:
    """The routes that need it apply to no other network."""
    return cast(Dense, problem.dense)


def pattern_radius_of(problem: Problem, precise: bool) -> Evidence:
    """Return R_pat."""
    found: Evidence = problem.once(
        f"pattern radius {precise}",
        lambda: pattern_radius(_dense(problem), problem.inputs, precise=precise),
    )
    return found


def _by_radius(
    problem: Problem, kind: str, precise: bool, smallest: Evidence,
    compute: Callable[[Fraction], Evidence],
) -> Callable[[Fraction], Evidence]:  # fmt: skip
    """Return the constant by radius, computed once a radius, and not where nothing can do.

    A number above a Lipschitz constant is one, so the upper end stands for the enclosure.
    """

    def at(radius: Fraction) -> Evidence:
        if not smallest.enclosure().lo > 0:
            return Evidence(Enclosure(0, math.inf), why_open=_NOT_TRIED)
        found: Evidence = problem.once(
            f"lipschitz {kind} {precise} {radius}", lambda: compute(radius)
        )
        top = found.enclosure().hi
        return found if top == math.inf else replace(found, value=Enclosure(top, top))

    return at


def _tangent(problem: Problem, effort: Effort, kind: str, precise: bool) -> Linearisation:
    ends = spectrum(problem, effort, precise)
    smallest = root(ends.smallest)

    def constant(radius: Fraction) -> Evidence:
        if kind == PATTERN:
            return pattern_lipschitz(_dense(problem), problem.inputs, precise=precise)
        return lipschitz_of_jacobian(_dense(problem), problem.inputs, radius, precise=precise)

    return Linearisation(
        residual(problem, effort, precise).norm, smallest,
        _by_radius(problem, kind, precise, smallest, constant), root(ends.largest),
    )  # fmt: skip


def _features(problem: Problem, effort: Effort, kind: str, precise: bool) -> Linearisation:
    smallest = smallest_of_features(problem, effort, precise)

    def constant(radius: Fraction) -> Evidence:
        return lipschitz_of_features(_dense(problem), problem.inputs, radius, precise=precise)

    return Linearisation(
        residual(problem, effort, precise).norm, smallest,
        _by_radius(problem, kind, precise, smallest, constant),
    )  # fmt: skip


def _implicit(problem: Problem, effort: Effort, kind: str, precise: bool) -> Linearisation:
    state = implicit_state(problem, effort, precise)
    formula = fm.B_NORM if kind == IMPLICIT else fm.B_MONOTONE
    known = implicit_numbers(problem, state)

    def constant(radius: Fraction) -> Evidence:
        values = {symbol: found.enclosure() for symbol, found in known.items()}
        values[q.RADIUS.symbol] = Enclosure.outward(radius, radius)
        room = 1 - fm.Q if kind == IMPLICIT else fm.MU
        gap = evaluate(room, _needed(room, values))
        if not gap.lo > 0:
            return Evidence(Enclosure(0, math.inf), why_open="the ball is not well posed")
        return Evidence(evaluate(formula, _needed(formula, values)))

    return Linearisation(
        state.residual_norm, state.s0, _by_radius(problem, kind, precise, state.s0, constant)
    )


def _needed(formula: sp.Expr, values: dict[sp.Symbol, Enclosure]) -> dict[sp.Symbol, Enclosure]:
    return {symbol: value for symbol, value in values.items() if symbol in formula.free_symbols}


def implicit_numbers(problem: Problem, state: ImplicitState) -> dict[sp.Symbol, Evidence]:
    """Return the numbers of Theorem I by symbol."""
    gamma = problem.network.weight.gamma
    return {
        q.NORM_W.symbol: state.norm_W,
        q.MARGIN.symbol: state.monotone_margin,
        q.NORM_Z.symbol: state.norm_Z0,
        q.NORM_X.symbol: state.norm_X,
        q.WIDTH.symbol: Evidence(Enclosure.exact(problem.network.width), how="exactly"),
        q.GAMMA.symbol: Evidence(Enclosure.outward(gamma, gamma), how=f"exactly {gamma}"),
    }


_MAKE: dict[str, Callable[[Problem, Effort, str, bool], Linearisation]] = {
    TANGENT: _tangent,
    PATTERN: _tangent,
    FEATURES: _features,
    IMPLICIT: _implicit,
    MONOTONE: _implicit,
}

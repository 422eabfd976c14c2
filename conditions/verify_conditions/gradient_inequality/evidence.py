"""Bindings: which kernel computes which quantity of a gradient inequality."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from fractions import Fraction
from typing import Any

import sympy as sp

from verify.condition import Binding, Effort
from verify.decide import evaluate, truth_of
from verify.enclosure import Enclosure
from verify.evidence import Evidence
from verify.statement import Fact, Quantity
from verify.verdict import Truth, conjunction
from verify_conditions.gradient_inequality import quantities as q
from verify_conditions.gradient_inequality import statements as st
from verify_conditions.gradient_inequality.problem import Problem
from verify_conditions.linearisation import (
    implicit_state,
    residual,
    root,
    smallest_of_features,
    spectrum,
)
from verify_conditions.trained_tensors import last_weight_trained
from verify_kernels.implicit_relu import ImplicitState
from verify_kernels.jacobian_lipschitz import (
    lipschitz_of_features,
    lipschitz_of_jacobian,
    pattern_lipschitz,
    pattern_radius,
)
from verify_kernels.residual import gradient_norm
from verify_kernels.teacher_student import Population, enclose_population

Item = Quantity | Fact
Compute = Callable[[Problem, Effort], Evidence]
_x = sp.Symbol("x", real=True)


def bindings(about: Sequence[Item], precise: bool, *, pattern: bool = False) -> tuple[Binding, ...]:
    """Return one binding for each item; its evidence is computed once a problem.

    Args:
        about: the quantities and facts of a statement.
        precise: in ball or rational arithmetic.
        pattern: beta is that of a piecewise linear network whose patterns do not change.
    """

    def one(item: Item) -> Binding:
        compute = _pattern_lipschitz if pattern and item is q.BETA else _COMPUTED[item]
        key = f"evidence {item.symbol} {precise} {pattern}"
        return Binding(
            item,
            lambda problem, effort, aim: problem.once(
                key, lambda: compute(problem, effort, precise)
            ),
        )

    return tuple(one(item) for item in about)


def exactly(value: Fraction, how: str = "as declared") -> Evidence:
    """Return the evidence of a rational number."""
    return Evidence(Enclosure.outward(value, value), how=how)


def population(problem: Problem, effort: Effort) -> Population:
    """Return the population loss and its gradient."""
    found: Population = problem.once(
        "population", lambda: enclose_population(problem.network, deadline=effort.deadline)
    )
    return found


def _lambda(problem: Problem, effort: Effort, precise: bool) -> Evidence:
    return spectrum(problem, effort, precise).smallest


def _lambda_run(problem: Problem, effort: Effort, precise: bool) -> Evidence:
    """The least over the network and the checkpoints."""
    found = [_lambda(own, effort, precise) for _, own in problem.everywhere()]
    worst = min(range(len(found)), key=lambda k: found[k].enclosure().lo)
    ends = [each.enclosure() for each in found]
    value = Enclosure(min(e.lo for e in ends), min(e.hi for e in ends))
    name = problem.everywhere()[worst][0]
    why = found[worst].why_open
    return Evidence(
        value, found[worst].witness, found[worst].assumes,
        how=f"least at {name}" if value.lo > 0 else found[worst].how,
        why_open=f"{name}: {why}" if why else "",
    )  # fmt: skip


def _sigma(problem: Problem, effort: Effort, precise: bool) -> Evidence:
    return root(_lambda(problem, effort, precise))


def _s0(problem: Problem, effort: Effort, precise: bool) -> Evidence:
    if problem.graph is None:
        return implicit_state(problem, effort, precise).s0
    return smallest_of_features(problem, effort, precise)


def _last_trained(problem: Problem, effort: Effort, precise: bool) -> Evidence:
    return last_weight_trained(problem.graph, problem.frozen)


def _radius(problem: Problem, effort: Effort, precise: bool) -> Evidence:
    return exactly(problem.declared.radius or Fraction(0))


def _ball(problem: Problem) -> tuple[Any, Any, Fraction]:
    return problem.dense, problem.inputs, problem.declared.radius or Fraction(0)


def _upper_end(found: Evidence) -> Evidence:
    """Return the constant that is proved: a number above a Lipschitz constant is one."""
    top = found.enclosure().hi
    return found if top == math.inf else replace(found, value=Enclosure(top, top))


def _lipschitz(problem: Problem, effort: Effort, precise: bool) -> Evidence:
    return _upper_end(lipschitz_of_jacobian(*_ball(problem), precise=precise))


def _pattern_lipschitz(problem: Problem, effort: Effort, precise: bool) -> Evidence:
    dense: Any = problem.dense
    return _upper_end(pattern_lipschitz(dense, problem.inputs, precise=precise))


def _feature_lipschitz(problem: Problem, effort: Effort, precise: bool) -> Evidence:
    return _upper_end(lipschitz_of_features(*_ball(problem), precise=precise))


def _pattern_radius(problem: Problem, effort: Effort, precise: bool) -> Evidence:
    return pattern_radius(problem.dense, problem.inputs, precise=precise)  # type: ignore[arg-type]


def _loss(problem: Problem, effort: Effort, precise: bool) -> Evidence:
    """L = s/2 |r|^2."""
    if problem.population:
        return population(problem, effort).loss
    found = residual_norm(problem, effort, precise)
    value = _scaled(problem, _x**2 / 2, found.enclosure())
    return Evidence(value, assumes=found.assumes, how=found.how, why_open=found.why_open)


def residual_norm(problem: Problem, effort: Effort, precise: bool) -> Evidence:
    """Return |r| on the data."""
    if problem.graph is None:
        return implicit_state(problem, effort, precise).residual_norm
    return residual(problem, effort, precise).norm


def _gradient(problem: Problem, effort: Effort, precise: bool) -> Evidence:
    """G = s |J^T r|."""
    if problem.population:
        return population(problem, effort).gradient_norm
    if problem.graph is None:
        found = _implicit_gradient(problem, implicit_state(problem, effort, precise))
    else:
        ends = spectrum(problem, effort, precise)
        gram = ends.balls if precise and ends.balls is not None else ends.gram
        found = gradient_norm(residual(problem, effort, precise), gram)
    value = _scaled(problem, _x, found.enclosure())
    return Evidence(value, assumes=found.assumes, how=found.how, why_open=found.why_open)


def _implicit_gradient(problem: Problem, state: ImplicitState) -> Evidence:
    """Return the norm of the gradient of 1/2 |r|^2 by the trained tensors together."""
    roles = {"A": "weight.A", "W": "input.V", "u": "readout.u", "v": "readout.v"}
    trained = [name for name, role in roles.items() if role not in problem.frozen]
    if len(trained) == len(roles):
        return state.gradient_norm
    parts = {name: state.gradient_norms[name] for name in trained}
    bound = next((part for part in parts.values() if not part.enclosure().is_bounded), None)
    if bound is not None:
        return bound
    letters = {sp.Symbol(name, real=True): part.enclosure() for name, part in parts.items()}
    total = sp.sqrt(sum((letter**2 for letter in letters), sp.Integer(0)))
    assumes = tuple(dict.fromkeys(text for part in parts.values() for text in part.assumes))
    value = evaluate(total, letters) if letters else Enclosure.exact(0)
    return Evidence(value, assumes=assumes, how=f"gradients by {', '.join(trained) or 'nothing'}")


def _scaled(problem: Problem, formula: sp.Expr, value: Enclosure) -> Enclosure:
    s = problem.scale
    at = {_x: value, q.SCALE.symbol: Enclosure.outward(s, s)}
    return evaluate(q.SCALE.symbol * formula, at) if value.is_bounded else value


def _kappa(problem: Problem, effort: Effort, precise: bool) -> Evidence:
    return exactly(problem.declared.kappa or Fraction(0))


def _exponent(problem: Problem, effort: Effort, precise: bool) -> Evidence:
    return exactly(problem.declared.exponent)


def _everywhere(problem: Problem, effort: Effort, precise: bool) -> Evidence:
    """Decide the statement about one point at all of them."""
    statement = st.SOME_KAPPA if problem.declared.kappa is None else st.DECLARED_KAPPA
    found: dict[str, Truth] = {}
    for name, own in problem.everywhere():
        values = {
            item.symbol: value_of(item, own, effort, precise).enclosure()
            for item in statement.quantities
        }
        found[name] = truth_of(statement.hypothesis, values, {})
    truth = conjunction(found.values())
    first = next((name for name, one in found.items() if one is not Truth.PROVED), "")
    if truth is Truth.UNDECIDED:
        return Evidence(truth, why_open=f"it is open at {first}")
    return Evidence(truth, how=f"false at {first}" if first else f"at {len(found)} stored points")


_COMPUTED: dict[Item, Callable[[Problem, Effort, bool], Evidence]] = {
    q.LAMBDA: _lambda,
    q.LAMBDA_RUN: _lambda_run,
    q.SIGMA: _sigma,
    q.S0: _s0,
    q.LAST_TRAINED: _last_trained,
    q.RADIUS: _radius,
    q.BETA: _lipschitz,
    q.B: _feature_lipschitz,
    q.R_PATTERN: _pattern_radius,
    q.LOSS: _loss,
    q.GRADIENT: _gradient,
    q.KAPPA: _kappa,
    q.EXPONENT: _exponent,
    q.EVERYWHERE: _everywhere,
}


def value_of(item: Item, problem: Problem, effort: Effort, precise: bool = False) -> Evidence:
    """Return the evidence of a quantity outside of a route."""
    found: Evidence = problem.once(
        f"evidence {item.symbol} {precise} False",
        lambda: _COMPUTED[item](problem, effort, precise),
    )
    return found

"""Which kernel gives which quantity or fact of the statements; each is computed once."""

from __future__ import annotations

from collections.abc import Callable
from fractions import Fraction
from typing import Any

import numpy as np
import sympy as sp

from verify.condition import Binding, Effort
from verify.decide import evaluate
from verify.enclosure import Enclosure
from verify.evidence import Evidence, Witness
from verify.statement import Fact, Quantity
from verify.verdict import Truth
from verify_conditions.villani import formulas as fm
from verify_conditions.villani import quantities as q
from verify_conditions.villani import special
from verify_conditions.villani.declared import SQUARES
from verify_conditions.villani.problem import Problem
from verify_kernels.activation_analysis import Bound
from verify_kernels.two_layer.activation_values import enclose_largest_value
from verify_kernels.two_layer.coupling_rate import enclose_coupling_rate
from verify_kernels.two_layer.moments import enclose_second_moment
from verify_kernels.two_layer.sums import DataSums, OuterSums, ResidualSums

Item = Quantity | Fact
Compute = Callable[[Problem, Effort], Evidence]
BINDINGS: dict[Item, Binding] = {}
_COMPUTED: dict[sp.Symbol, Compute] = {}


def number(problem: Problem, symbol: sp.Symbol, effort: Effort) -> Enclosure:
    """Return the enclosure of a quantity, computed once a problem."""
    return found(problem, symbol, effort).enclosure()


def found(problem: Problem, symbol: sp.Symbol, effort: Effort) -> Evidence:
    """Return the evidence of a quantity or fact, computed once a problem."""
    evidence: Evidence = problem.once(
        f"evidence {symbol}", lambda: _COMPUTED[symbol](problem, effort)
    )
    return evidence


def _gives(item: Item) -> Callable[[Compute], Compute]:
    """Bind an item to the function that computes its evidence."""

    def decorate(compute: Compute) -> Compute:
        _COMPUTED[item.symbol] = compute
        BINDINGS[item] = Binding(
            item, lambda problem, effort, aim: found(problem, item.symbol, effort)
        )
        return compute

    return decorate


def _declared(item: Quantity, get: Callable[[Problem], Fraction | int | None]) -> None:
    def compute(problem: Problem, effort: Effort) -> Evidence:
        value = get(problem)
        if value is None:
            return Evidence(Enclosure.unbounded(), why_open="not declared")
        return Evidence(Enclosure.outward(value, value), how=f"exactly {value}")

    _gives(item)(compute)


_declared(q.LAMBDA, lambda problem: problem.smallest_decay)
_declared(q.LAMBDA_TOP, lambda problem: problem.largest_decay)
_declared(q.LAMBDA_A, lambda problem: problem.declared.outer_decay)
_declared(q.PENALTY_TRACE, lambda problem: problem.penalty_trace)
_declared(q.LOSS_SCALE, lambda problem: problem.loss_scale)
_declared(q.S, lambda problem: problem.declared.s)
_declared(q.LEVEL, lambda problem: problem.declared.level)
_declared(q.STEP, lambda problem: problem.declared.step)
_declared(q.TAU, lambda problem: problem.declared.tau)
_declared(q.EPSILON, lambda problem: problem.declared.epsilon)
_declared(q.COUNT, lambda problem: problem.n)
_declared(q.DIMENSION, lambda problem: problem.dimension)


# The activation ------------------------------------------------------------------------------


def _bounded(item: Quantity, get: Callable[[Problem], Bound]) -> None:
    def compute(problem: Problem, effort: Effort) -> Evidence:
        bound = get(problem)
        if bound.finite is not Truth.PROVED:
            why = "infinite" if bound.finite is Truth.REFUTED else "not proved finite"
            return Evidence(Enclosure.unbounded(), why_open=why)
        return Evidence(bound.value, how=bound.where)

    _gives(item)(compute)


def _is_finite(item: Fact, get: Callable[[Problem], Bound]) -> None:
    def compute(problem: Problem, effort: Effort) -> Evidence:
        bound = get(problem)
        return Evidence(bound.finite, how=bound.where, why_open=_open(bound.finite, bound.where))

    _gives(item)(compute)


def _open(truth: Truth, why: str) -> str:
    return why if truth is Truth.UNDECIDED else ""


_bounded(q.S1, lambda problem: problem.activation.sup_abs(1))
_bounded(q.S2, lambda problem: problem.activation.sup_abs(2))
_bounded(q.L0, lambda problem: problem.activation.l0)
_bounded(q.L1, lambda problem: problem.activation.l1)
_bounded(q.KAPPA1, lambda problem: problem.activation.kappa1)
_is_finite(q.S0_FINITE, lambda problem: problem.activation.sup_abs(0))
_is_finite(q.S1_FINITE, lambda problem: problem.activation.sup_abs(1))
_is_finite(q.S2_FINITE, lambda problem: problem.activation.sup_abs(2))
_is_finite(q.KAPPA0_FINITE, lambda problem: problem.activation.kappa0)


@_gives(q.SIGMA_SMOOTH)
def _smooth(problem: Problem, effort: Effort) -> Evidence:
    facts = problem.activation
    why = facts.why.get("smooth", "")
    return Evidence(facts.smooth, how=why, why_open=_open(facts.smooth, why))


@_gives(q.SIGMA0)
def _value_at_start(problem: Problem, effort: Effort) -> Evidence:
    """|sigma(0)|, or the largest |sigma(b_j)| with frozen biases."""
    b = problem.network.b
    places = b if b is not None and problem.frozen_bias else np.zeros(1)
    value = enclose_largest_value(problem.network.activation, places)
    return Evidence(value, how="ball arithmetic")


# The outer weights and the data --------------------------------------------------------------


def _outer(problem: Problem) -> OuterSums:
    sums: OuterSums = problem.once("outer sums", lambda: OuterSums(problem.network.a))
    return sums


def _data(problem: Problem) -> DataSums:
    sums: DataSums = problem.once("data sums", lambda: DataSums(problem.samples, problem.labels))
    return sums


def _shift(problem: Problem) -> Enclosure:
    return Enclosure.exact(problem.frozen_shift)


def residuals(problem: Problem) -> ResidualSums:
    """Return the sums with R_i >= |r_i|, from the range of the activation."""
    range_of = problem.activation.d0

    def compute() -> ResidualSums:
        low, high = _outer(problem).range(
            range_of.inf.value, range_of.sup.value, shift=_shift(problem)
        )
        return _data(problem).residuals(low, high)

    sums: ResidualSums = problem.once("residual sums", compute)
    return sums


def _sum(item: Quantity, get: Callable[[Problem], Enclosure], how: str) -> None:
    def compute(problem: Problem, effort: Effort) -> Evidence:
        value = get(problem)
        return Evidence(value, how=how, why_open="" if value.is_bounded else "not bounded")

    _gives(item)(compute)


_EXACT, _ROUNDED = "exact sums, one root", "sums with directed rounding"
_sum(q.A_1, lambda problem: _outer(problem).l1, _EXACT)
_sum(q.A_2, lambda problem: _outer(problem).l2, _EXACT)
_sum(q.A_INF, lambda problem: _outer(problem).linf, _EXACT)
_sum(q.MEAN_X, lambda problem: _data(problem).mean_norm, _ROUNDED)
_sum(q.MEAN_X2, lambda problem: _data(problem).mean_squared_norm, _ROUNDED)
_sum(q.MEAN_X3, lambda problem: _data(problem).mean_cubed_norm, _ROUNDED)
_sum(q.TOP_X, lambda problem: _data(problem).max_norm, _ROUNDED)
_sum(q.MEAN_R2, lambda problem: residuals(problem).mean_squared, _ROUNDED)
_sum(q.MEAN_RX, lambda problem: residuals(problem).mean_norm, _ROUNDED)
_sum(q.MEAN_RX2, lambda problem: residuals(problem).mean_squared_norm, _ROUNDED)


@_gives(q.MEAN_YX2)
def _labels_times_squares(problem: Problem, effort: Effort) -> Evidence:
    """Mean of |y_i - c| ||x_i||^2 with the frozen outer bias c."""
    sums, c = _data(problem), _shift(problem)
    return Evidence((sums.farthest(c, c) * sums.squared_norms).mean(), how=_ROUNDED)


@_gives(q.MEAN_SHIFT2)
def _shifted_labels(problem: Problem, effort: Effort) -> Evidence:
    """Mean of the largest (y_i - c - e)^2, e in the range of sum_j a_j kappa(z_j)."""
    kappa = problem.activation.kappa
    low, high = kappa.inf.value, kappa.sup.value
    if problem.frozen_bias:
        top = _kappa_with_biases(problem, effort)
        low, high = Enclosure(-top.hi, -top.lo), top
    ends = _outer(problem).range(low, high, shift=_shift(problem))
    value = _data(problem).mean_farthest_squared(*ends)
    return Evidence(value, how=_ROUNDED, why_open="" if value.is_bounded else "not bounded")


@_gives(q.MEAN_RAISED2)
def _raised_labels(problem: Problem, effort: Effort) -> Evidence:
    """Mean of (|y_i - c| + kappa_0 ||a||_1)^2."""
    c, kappa0 = _shift(problem), number(problem, q.KAPPA0.symbol, effort)
    if not kappa0.is_bounded:
        return Evidence(Enclosure.unbounded(), why_open="kappa_0 is not proved finite")
    raised = _data(problem).farthest(c, c).shifted(_product(kappa0, _outer(problem).l1))
    return Evidence((raised * raised).mean(), how=_ROUNDED)


def _kappa_with_biases(problem: Problem, effort: Effort) -> Enclosure:
    """kappa_0 + S_1 max |b_j|."""
    largest = sp.Symbol("b_max", real=True)
    kappa0 = sp.Symbol("kappa_own", real=True)
    known = {
        kappa0: problem.activation.kappa0.value,
        q.S1.symbol: number(problem, q.S1.symbol, effort),
        largest: OuterSums(problem.network.b).linf,
    }
    return evaluate(kappa0 + q.S1.symbol * largest, known)


@_gives(q.KAPPA0)
def _kappa(problem: Problem, effort: Effort) -> Evidence:
    bound = problem.activation.kappa0
    if bound.finite is not Truth.PROVED:
        return Evidence(Enclosure.unbounded(), why_open="not proved finite")
    if problem.frozen_bias:
        return Evidence(_kappa_with_biases(problem, effort), how="enlarged by the frozen biases")
    return Evidence(bound.value, how=bound.where)


# Largest eigenvalues of second moments -------------------------------------------------------


def _moment(problem: Problem, effort: Effort, weights: Any) -> Evidence:
    return enclose_second_moment(_data(problem).samples, weights, backend=effort.backend)


@_gives(q.SECOND_MOMENT)
def _second_moment(problem: Problem, effort: Effort) -> Evidence:
    return _moment(problem, effort, None)


@_gives(q.MOMENT_LIPSCHITZ)
def _lipschitz_moment(problem: Problem, effort: Effort) -> Evidence:
    """Weights S1^2 ||a||_2^2 + S2 ||a||_inf R_i."""
    S1, S2 = (number(problem, item.symbol, effort) for item in (q.S1, q.S2))
    S1_squared = evaluate(q.S1.symbol**2, {q.S1.symbol: S1})
    outer = _outer(problem)
    constant = _product(S1_squared, outer.l2_squared)
    factor = _product(S2, outer.linf)
    weights = residuals(problem).R.scaled(factor).shifted(constant)
    return _moment(problem, effort, weights.bounds())


@_gives(q.MOMENT_RESIDUAL)
def _residual_moment(problem: Problem, effort: Effort) -> Evidence:
    """Weights R_i; for softplus with one-signed outer weights (+-y_i)_+ instead."""
    if problem.pulls_one_way:
        sign = 1 if problem.network.a.max(initial=0.0) > 0 else -1
        return _moment(problem, effort, _data(problem).signed_part(sign).bounds())
    return _moment(problem, effort, residuals(problem).R.bounds())


def _product(left: Enclosure, right: Enclosure) -> Enclosure:
    x, y = sp.symbols("x y", real=True)
    return evaluate(x * y, {x: left, y: right})


@_gives(q.COUPLING)
def _coupling(problem: Problem, effort: Effort) -> Evidence:
    """The rate of reflection coupling for the data part's G and lambda_cvx."""
    ends = []
    for expression in (fm.G_SQUARES, fm.CONVEX_FROM_SQUARES):
        known = {s: number(problem, s, effort) for s in expression.free_symbols}
        ends.append(evaluate(expression, known))
    s = problem.declared.s
    if s is None or problem.smallest_decay <= 0 or ends[0].hi <= 0 or ends[1].hi <= 0:
        return Evidence(Enclosure.unbounded(), why_open="needs s, lambda > 0 and data that pull")
    return enclose_coupling_rate(ends[0], ends[1], problem.smallest_decay, s)


# Facts ---------------------------------------------------------------------------------------

for _fact in (
    q.SMOOTH, q.CONFINING, q.INTEGRABLE, q.DOMINATES, q.CONVEX, q.LIPSCHITZ,
    q.ONE_SIGNED, q.QUADRATIC_CASE, q.LOG_OSCILLATION, q.CONSTANT_OUTPUT, q.MIRROR,
):  # fmt: skip
    _gives(_fact)(special.COMPUTE[_fact])


def _word(item: Fact, key: str, *words: str) -> None:
    """A fact that is declared: the setting is one of the words."""

    def compute(problem: Problem, effort: Effort) -> Evidence:
        told = getattr(problem.declared, key)
        truth = Truth.PROVED if told in words else Truth.REFUTED
        return Evidence(truth, how=f"declared: {key} = {told}")

    _gives(item)(compute)


def _holds(item: Fact, get: Callable[[Problem], bool], *, otherwise: Truth) -> None:
    """A fact that the declarations, or what is proved of the activation, settle."""

    def compute(problem: Problem, effort: Effort) -> Evidence:
        truth = Truth.PROVED if get(problem) else otherwise
        return Evidence(
            truth, how="from what is declared and proved", why_open=_open(truth, "no proof")
        )

    _gives(item)(compute)


_holds(q.NO_FROZEN_BIAS, lambda problem: not problem.frozen_bias, otherwise=Truth.REFUTED)
_holds(q.QUARTIC_OUTER, lambda problem: problem.has_quartic_outer, otherwise=Truth.REFUTED)
_holds(q.EVERY_PENALTY, lambda problem: problem.every_parameter_penalised, otherwise=Truth.REFUTED)
_holds(q.GRADIENT_BOUNDED, lambda problem: problem.has_bounded_gradient, otherwise=Truth.UNDECIDED)
_holds(q.LOCALLY_BOUNDED, lambda problem: problem.is_locally_bounded, otherwise=Truth.UNDECIDED)
_word(q.OUTER_FROZEN, "outer", "frozen")
_word(q.BIASES_PENALISED, "bias", "none", "frozen", "regularised")
_word(q.OUTER_BIAS_PENALISED, "outer_bias", "none", "frozen", "regularised")
_word(q.OUTER_BIAS_FROZEN, "outer_bias", "none", "frozen")
_word(q.SQUARES, "loss", *SQUARES)
_word(q.LOGISTIC, "loss", "logistic")
_word(q.POINT_START, "init", "point")
_word(q.COMPACT_START, "init", "compact")
_word(q.INJECTED, "noise", "injected")


@_gives(q.FROZEN_AS_DECLARED)
def _frozen(problem: Problem, effort: Effort) -> Evidence:
    """Whether every checkpoint has the frozen tensors of the network, bit by bit."""
    frozen = problem.frozen_tensors
    for stored in problem.run.checkpoints if problem.run is not None else ():
        for role in frozen:
            mine, other = getattr(problem.network, role), getattr(stored.network, role)
            if other is None or not np.array_equal(mine, other):
                data = {"checkpoint": stored.name, "tensor": role}
                how = f"{role} of {stored.name} differs from that of the checked network"
                return Evidence(Truth.REFUTED, witness=Witness("changed-tensor", data), how=how)
    return Evidence(Truth.PROVED, how=f"equal in every stored checkpoint: {', '.join(frozen)}")

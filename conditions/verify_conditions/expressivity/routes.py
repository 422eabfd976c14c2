"""The routes to the expressivity condition: structure, Theorem D, and witnesses by rungs."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np

from verify.condition import Binding, Effort, Route
from verify.statement import Fact, Quantity, Statement
from verify.verdict import Truth
from verify_conditions.expressivity import checklist as listed
from verify_conditions.expressivity import evidence as ev
from verify_conditions.expressivity import quantities as q
from verify_conditions.expressivity import statements as st
from verify_conditions.expressivity.problem import ALIGNED, GOAL, HERE, Problem

Applies = Callable[[Problem], str | None]
_TITLES = {
    "gram": "Gram matrix",
    "preconditioned": "preconditioned residual",
    "modular": "exact rank modulo a prime",
    "split": "split products",
    "balls": "ball determinant",
}
_EXPENSIVE = ("split", "balls")


def _structural(name: str, title: str, statement: Statement, applies: Applies) -> Route:
    bound = tuple(ev.STRUCTURE[item] for item in statement.about)
    return Route(name, title, GOAL, (statement,), bound, "cheap", applies)


def _always(problem: Problem) -> str | None:
    return None


def _bounded(item: Quantity) -> Applies:
    """Let a route speak only where the structure that it is about is there."""

    def applies(problem: Problem) -> str | None:
        found = ev.STRUCTURE[item].compute(problem, Effort(), None)
        return None if found.enclosure().hi < math.inf else found.why_open

    return applies


def _dense(problem: Problem) -> str | None:
    found = ev.checklist(problem)[listed.DENSE]
    return found.how if found.value is Truth.REFUTED else None


def _fewer_columns(problem: Problem) -> str | None:
    found = ev.STRUCTURE[q.COLUMNS].compute(problem, Effort(), None).enclosure()
    plain = problem.width + int(problem.ones)
    return None if found.hi < plain else "the features are not combined from fewer columns"


def _rung(which: str, rung: str) -> Route:
    statement = (st.STORED if which == ev.STORED else st.CHANGED)[rung]
    cheap = which == ev.STORED and rung not in _EXPENSIVE
    return Route(
        f"{which}-{rung}",
        f"{which} weights: {_TITLES[rung]}",
        HERE if which == ev.STORED else GOAL,
        (statement,),
        _bindings(statement, which),
        "cheap" if cheap else "expensive",
        _needed(which, rung),
    )


def _bindings(statement: Statement, which: str) -> tuple[Binding, ...]:
    # What is drawn is told last, when it is known whether its tensors are worth keeping.
    items: list[Quantity | Fact] = sorted(statement.about, key=lambda item: item is q.DRAWN)
    return tuple(ev.witness_binding(item, which) for item in items)


def _needed(which: str, rung: str) -> Applies:
    def applies(problem: Problem) -> str | None:
        if not problem.fits:
            return "Z has fewer columns than rows"
        if ev.is_proved(problem, which):
            return "a cheaper rung has proved it"
        if which != ev.STORED and problem.declared.frozen is None:
            return "what is trained is not declared"
        if which != ev.STORED and not problem.hidden:
            return "there are no hidden weights"
        rational = rung in ("modular", "balls") and ev.is_rational(problem, which)
        if rung == "balls" and rational:
            return "the features are rational, and exact arithmetic has spoken"
        if rung == "modular" and not rational:
            return "the features are not rational"
        return None

    return applies


def _may_be_short(problem: Problem) -> str | None:
    if not problem.fits:
        return "Z has fewer columns than rows"
    if ev.is_proved(problem, ev.STORED):
        return "the rank is proved to be n"
    return None if ev.is_rational(problem, ev.STORED) else "the features are not rational"


def _aligned(problem: Problem) -> str | None:
    wanted = (problem.n, problem.outputs)
    y = None if problem.data.y is None else np.asarray(problem.data.y)
    shapes = (wanted, wanted[:1]) if problem.outputs == 1 else (wanted,)
    if y is None or y.shape not in shapes or y.dtype.kind not in "biuf":
        return f"needs real targets y of shape {wanted}"
    if problem.declared.loss not in (None, "half-squares", "mean-squares"):
        return "is stated for the squared loss"
    bias = problem.head.parameters.get("bias")
    if bias is not None and not problem.ones and np.any(problem.graph.stored[bias]):
        return "is stated for an outer bias that is trained, absent or zero"
    return None


ROUTES: tuple[Route, ...] = (
    _structural("width", "width of the last hidden layer", st.WIDTH, _always),
    _structural("columns", "columns that combine fewer", st.COLUMNS, _fewer_columns),
    _structural("merged-samples", "samples that no weights tell apart", st.APART, _always),
    _structural("polynomial", "dimension of the polynomials", st.POLYNOMIAL,
                _bounded(q.DIMENSION)),
    _structural("symmetry", "symmetries of network and data", st.SYMMETRY,
                _bounded(q.SYMMETRY_RANK)),
    _structural("theorem-d", "Theorem D: data-independent", st.THEOREM_D, _dense),
    *(_rung(which, rung) for which in (ev.STORED, ev.PERTURBED, ev.RANDOM) for rung in ev.RUNGS),
    Route("stored-short", "stored weights: exact low rank", HERE, (st.SHORT,),
          (ev.STRUCTURE[q.N], ev.RANK_HERE), "cheap", _may_be_short),
    Route("alignment", "alignment of data and architecture", ALIGNED, (st.ALIGNED,),
          (ev.ALIGNED,), "cheap", _aligned),
)  # fmt: skip

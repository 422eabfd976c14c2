"""What is proved at every stored checkpoint: the drift identity, f, its gradient and V_s.

With b of route V2, <grad g, W> + b >= 0 holds everywhere for the data part g; that it is seen to
hold is a test of consistency, and a proved violation is a defect.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import sympy as sp

from verify.condition import Effort, RouteOutcome, SampleRecord
from verify.decide import evaluate
from verify.enclosure import Enclosure, hex_of
from verify.errors import ContradictionError
from verify.network import TwoLayer
from verify_conditions.villani import formulas as fm
from verify_conditions.villani.evidence import number
from verify_conditions.villani.problem import Problem
from verify_conditions.villani.special import risk_of
from verify_kernels.two_layer.ball_risk import Point
from verify_kernels.two_layer.risk import RiskEnclosure, enclose_risk


def samples(
    problem: Problem, outcomes: Sequence[RouteOutcome], effort: Effort
) -> SampleRecord | None:
    """Evaluate the risk at the checked network and at every checkpoint; None where b is void."""
    told = problem.declared
    speaks = not told.logistic and told.outer == "frozen" and told.bias != "unregularised"
    if not speaks or not problem.is_homogeneous:
        return None
    drift = {s: number(problem, s, effort) for s in fm.DRIFT_B_SHARP.free_symbols}
    b = evaluate(fm.DRIFT_B_SHARP, drift)
    rows, certified = [], 0
    for name, network in _stored(problem):
        risk = _risk_at(problem, network)
        margin = _sum(risk.data_gradient_dot_weights, b)
        if margin.hi < 0:
            raise ContradictionError(
                f"villani: expected <grad g, W> + b >= 0 at {name}, but got at most "
                f"{hex_of(margin.hi)}; please report this"
            )
        certified += margin.lo >= 0
        rows.append(_row(name, problem, risk, margin))
    summary = (
        f"the drift identity <grad g, W> + b >= 0 is proved at {certified} of {len(rows)} stored "
        "points, as the theorem says of every point"
    )
    return SampleRecord(summary, certified, len(rows), rows, unit="checkpoint")


def _stored(problem: Problem) -> Iterator[tuple[str, TwoLayer]]:
    yield "the checked network", problem.network
    for stored in problem.run.checkpoints if problem.run is not None else ():
        if isinstance(stored.network, TwoLayer):
            yield stored.name, stored.network


def _risk_at(problem: Problem, network: TwoLayer) -> RiskEnclosure:
    """Evaluate f at a checkpoint's trained tensors; the frozen ones are those of the network."""
    risk, own = risk_of(problem)
    b = network.b if "b" in risk.penalties else own.b
    c = network.c if "c" in risk.penalties else own.c
    return enclose_risk(risk, Point(network.W, own.a, b, c))


def _sum(left: Enclosure, right: Enclosure) -> Enclosure:
    x, y = sp.symbols("x y", real=True)
    return evaluate(x + y, {x: left, y: right})


def _row(name: str, problem: Problem, risk: RiskEnclosure, margin: Enclosure) -> dict[str, Any]:
    s = problem.declared.s
    shown = {
        "f": risk.value,
        "squared_gradient_norm": risk.gradient_norm_squared,
        "V_s": None if s is None else risk.v(s),
        "drift_margin": margin,
    }
    ends = {
        key: None if value is None else [hex_of(value.lo), hex_of(value.hi)]
        for key, value in shown.items()
    }
    return {"checkpoint": name} | ends

"""What would make an open or failing network pass, and how much room a passing one has."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import sympy as sp

from verify.condition import Effort, RouteOutcome
from verify.decide import evaluate
from verify.enclosure import Enclosure
from verify.verdict import Truth
from verify_conditions.well_posedness import statements as st
from verify_conditions.well_posedness.problem import Problem

# Routes whose left side is proportional to W: scaling W by t scales it by t.
_LINEAR = {
    "paper-setting": st.PAPER_SETTING,
    "spectral-norm": st.SPECTRAL_NORM,
    "perron": st.PERRON,
    "monotone": st.MONOTONE,
    "matrix-measure": st.MEASURE,
}


@dataclass(frozen=True)
class _Room:
    """1 / value for one linear route: the factor by which W may be scaled."""

    title: str
    factor: Enclosure


def guidance(problem: Problem, outcomes: Sequence[RouteOutcome], effort: Effort) -> list[str]:
    """Return sentences: the room of the proof, or the largest factor for W that is sure to pass."""
    proved = [o for o in outcomes if o.tried and o.truth is Truth.PROVED and _speaks_for(o)]
    rooms = [room for o in (proved or outcomes) if (room := _room(o)) is not None]
    said = [_scaling(max(rooms, key=lambda room: room.factor.lo))] if rooms else []
    failed = any(o.tried and o.truth is Truth.REFUTED and not _only_suggests(o) for o in outcomes)
    return said if proved or failed else said + _next_steps(outcomes)


def _speaks_for(outcome: RouteOutcome) -> bool:
    return outcome.route.direction in ("sufficient", "equivalent")


def _only_suggests(outcome: RouteOutcome) -> bool:
    return outcome.route.direction == "sufficient"


def _room(outcome: RouteOutcome) -> _Room | None:
    statement = _LINEAR.get(outcome.route.name)
    if statement is None or not outcome.tried:
        return None
    known = {
        item.symbol: value
        for item in statement.quantities
        if isinstance(value := outcome.evidence[str(item.symbol)].value, Enclosure)
    }
    value = evaluate(statement.hypothesis.lhs, known)
    if not value.is_bounded or value.hi <= 0:
        return None
    t = sp.Symbol("t", real=True)
    factor = evaluate(1 / t, {t: Enclosure.exact(value.hi)})
    return _Room(outcome.route.title, factor) if factor.is_bounded else None


def _scaling(room: _Room) -> str:
    factor = room.factor.lo_float
    shown = _below(factor)
    if factor > 1:
        return (
            f"the proof by the {room.title} holds until W is scaled by {shown} "
            f"(every positive factor below this passes)"
        )
    return f"scaling W by any positive factor below {shown} makes the {room.title} prove it"


def _below(factor: float) -> str:
    """Return four significant digits of a positive number, rounded down."""
    from decimal import ROUND_DOWN, Decimal

    number = Decimal(factor)
    digits = number.quantize(Decimal(1).scaleb(number.adjusted() - 3), rounding=ROUND_DOWN)
    return f"{digits:f}" if -6 < number.adjusted() < 7 else f"{digits:e}"


def _next_steps(outcomes: Sequence[RouteOutcome]) -> list[str]:
    skipped = [o for o in outcomes if o.skipped.startswith("the goal is decided")]
    ran_out = [
        o.route.title
        for o in outcomes
        if o.tried and any("budget" in e.why_open for e in o.evidence.values())
    ]
    said = []
    if ran_out:
        said.append(f"a larger --budget gives {', '.join(ran_out)} more time")
    if skipped:
        said.append("--all-routes tries the routes that were skipped")
    return said

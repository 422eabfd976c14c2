"""What a certificate claims, assembled from the outcomes of the routes.

A claim depends on tensors, data and settings alone: no time, no file name, no machine.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from verify.certificate import SCHEMA, digest_array, encode_value
from verify.condition import (
    Condition,
    Consequence,
    Effort,
    Goal,
    RouteOutcome,
    SampleRecord,
)
from verify.enclosure import Enclosure, hex_of
from verify.environment import environment
from verify.evidence import Evidence, Witness
from verify.statement import Statement
from verify.verdict import Truth, Verdict

SPEAKS_ABOUT = (
    "the real-number function of the stored weights, evaluated without rounding; "
    "an execution in floating point differs from it by its own rounding errors"
)


@dataclass(frozen=True)
class Judgement:
    """The verdict on one condition with everything that stands behind it."""

    condition: Condition
    verdict: Verdict
    goal: Goal
    reason: str = ""
    problem: Any = None
    outcomes: tuple[RouteOutcome, ...] = ()
    decided_by: RouteOutcome | None = None
    consequences: tuple[Consequence, ...] = ()
    samples: SampleRecord | None = None
    guidance: tuple[str, ...] = ()
    sides: tuple[tuple[Goal, Truth], ...] = ()


def claim_of(
    judgement: Judgement,
    network: Any,
    tensors: Mapping[str, Any],
    data: Any,
    settings: Mapping[str, str],
) -> tuple[dict[str, Any], list[str], dict[str, Any]]:
    """Return the claim, the guidance and the arrays of the witnesses."""
    arrays: dict[str, Any] = {}
    condition, decided = judgement.condition, judgement.decided_by
    ordered = _strongest_first(judgement)
    claim = {
        "schema": SCHEMA,
        "condition": {"name": condition.name, "title": condition.title},
        "goal": {"name": judgement.goal.name, "sentence": judgement.goal.sentence},
        "verdict": str(judgement.verdict),
        "sentence": _sentence(judgement),
        "reason": _reason(judgement),
        "scope": decided.route.statements[0].scope if decided else "",
        "speaks_about": SPEAKS_ABOUT,
        "network": _network(network, judgement),
        "tensors": _tensors(tensors),
        "data": None if data is None else _tensors(data.tensors()),
        "settings": dict(settings),
        "decided_by": decided.route.name if decided else None,
        "assumes": _assumptions(decided),
        "routes": [_route(outcome, arrays) for outcome in ordered],
        "side_statements": [
            {"name": goal.name, "sentence": goal.sentence, "truth": str(truth)}
            for goal, truth in judgement.sides
        ],
        "consequences": [_consequence(item) for item in judgement.consequences],
        "samples": _samples(judgement.samples, arrays),
    }
    return claim, list(judgement.guidance), arrays


def provenance_of(
    given: Mapping[str, str], effort: Effort, outcomes: Sequence[RouteOutcome], seconds: float
) -> dict[str, Any]:
    """Return who, when, with what: nothing here enters the claim."""
    around = environment()
    device = around.pop("device", "")
    return {
        "file": given.get("file", "").encode("utf-8", "replace").decode("utf-8"),
        "sha256": given.get("sha256", ""),
        "format": given.get("format", ""),
        "time": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        "device": device,
        "backend": effort.backend,
        "versions": around,
        "cost": {
            "total_s": f"{seconds:.3f}",
            "routes": {o.route.name: f"{o.seconds:.3f}" for o in outcomes if o.tried},
        },
    }


def _strongest_first(judgement: Judgement) -> list[RouteOutcome]:
    """The deciding route, then proved, refuted, undecided, skipped; none that does not apply."""
    rank = {Truth.PROVED: 1, Truth.REFUTED: 2, Truth.UNDECIDED: 3}

    def place(outcome: RouteOutcome) -> int:
        if outcome is judgement.decided_by:
            return 0
        return rank[outcome.truth] if outcome.tried else 4

    return sorted((o for o in judgement.outcomes if o.applies), key=place)


def _sentence(judgement: Judgement) -> str:
    goal, decided = judgement.goal.sentence, judgement.decided_by
    if judgement.verdict is Verdict.NOT_APPLICABLE:
        return f"not applicable: {judgement.reason}"
    if decided is None:
        return f"undecided: neither proved nor refuted that {goal}"
    if judgement.verdict is Verdict.PASS:
        held = " and ".join(statement.text() for statement in decided.route.statements)
        return f"proved: {goal}, because {held} ({decided.route.title})"
    return f"refuted: it is false that {goal}; {_against(decided)}"


def _against(outcome: RouteOutcome) -> str:
    """Return what speaks against the goal: the witness in words, else the false hypothesis."""
    shown = [
        found.how
        for found in outcome.evidence.values()
        if found.witness and found.how and found.value is not Truth.PROVED
    ]
    if shown:
        return "; ".join(shown)
    false = " and ".join(statement.text() for statement in outcome.route.statements)
    return f"{false} is false"


def _reason(judgement: Judgement) -> str:
    if judgement.verdict is not Verdict.UNDECIDED:
        return judgement.reason
    opened = [
        f"{outcome.route.title}: {_why(outcome)}"
        for outcome in judgement.outcomes
        if _why(outcome)
        and (
            outcome.route.goal == judgement.goal.name
            or not judgement.condition.goal(outcome.route.goal).side
        )
        and (outcome.applies or outcome.route.goal == judgement.goal.name)
        and (outcome.applies or judgement.goal is not judgement.condition.goals[0])
    ]
    return "; ".join(opened)


def _why(outcome: RouteOutcome) -> str:
    """Why a route did not decide the goal, in words."""
    if outcome.skipped:
        return outcome.skipped
    if outcome.truth is Truth.UNDECIDED:
        told = [found.why_open for found in outcome.evidence.values() if found.why_open]
        return "; ".join(dict.fromkeys(told)) or "the enclosures leave it open"
    if outcome.truth is Truth.REFUTED and outcome.route.direction == "sufficient":
        return "the hypothesis is false, and nothing follows from this"
    return ""


def _assumptions(decided: RouteOutcome | None) -> list[str]:
    if decided is None:
        return []
    listed = [text for statement in decided.route.statements for text in statement.assumes]
    listed += [text for found in decided.evidence.values() for text in found.assumes]
    return list(dict.fromkeys(listed))


def _network(network: Any, judgement: Judgement) -> dict[str, Any]:
    described = (
        judgement.condition.describe(judgement.problem)
        if judgement.condition.describe and judgement.problem is not None
        else {}
    )
    return {
        "family": network.family,
        "equation": network.equation,
        "activation": str(network.activation),
        "width": network.width,
        "parameters": {str(key): str(value) for key, value in described.items()},
        "notes": list(network.notes),
    }


def _tensors(named: Mapping[str, Any]) -> dict[str, Any]:
    return {
        role: {"shape": [int(k) for k in array.shape], "digest": digest_array(array)}
        for role, array in named.items()
    }


def _route(outcome: RouteOutcome, arrays: dict[str, Any]) -> dict[str, Any]:
    route = outcome.route
    quantities, facts = {}, {}
    for statement in route.statements:
        for item in statement.about:
            found = outcome.evidence.get(str(item.symbol))
            if found is None:
                continue
            encoded = _evidence(found, f"{route.name}.{item.symbol}", arrays)
            if isinstance(found.value, Enclosure):
                ends = {"lo": hex_of(found.value.lo), "hi": hex_of(found.value.hi)}
                names = {"meaning": item.meaning, "latex": item.latex or str(item.symbol)}
                quantities[str(item.symbol)] = names | ends | encoded
            else:
                facts[str(item.symbol)] = {
                    "meaning": item.meaning, "truth": str(found.value),
                } | encoded  # fmt: skip
    decisions = outcome.decisions or (None,) * len(route.statements)
    return {
        "name": route.name,
        "title": route.title,
        "goal": route.goal,
        "direction": route.direction,
        "cost": route.cost,
        "truth": str(outcome.truth) if outcome.tried else "skipped",
        "why": _why(outcome),
        "statements": [
            _statement(statement, decision)
            for statement, decision in zip(route.statements, decisions, strict=True)
        ],
        "quantities": quantities,
        "facts": facts,
    }


def _statement(statement: Statement, decision: Any) -> dict[str, Any]:
    margins = () if decision is None else decision.margins
    where = {"where": list(statement.where_latex())} if statement.letters else {}
    return {
        "latex": statement.latex(),
        **where,
        "text": statement.text(),
        "tree": statement.tree,
        "conclusion": statement.conclusion,
        "direction": statement.direction,
        "scope": statement.scope,
        "source": {"key": statement.source.key, "where": statement.source.where},
        "assumes": list(statement.assumes),
        "truth": "skipped" if decision is None else str(decision.truth),
        "margins": [
            {
                "relation": statement.latex_of(margin.relation),
                "lo": hex_of(margin.value.lo),
                "hi": hex_of(margin.value.hi),
            }
            for margin in margins
        ],
    }


def _evidence(found: Evidence, prefix: str, arrays: dict[str, Any]) -> dict[str, Any]:
    return {
        "how": found.how,
        "why_open": found.why_open,
        "witness": _witness(found.witness, prefix, arrays),
    }


def _witness(witness: Witness | None, prefix: str, arrays: dict[str, Any]) -> Any:
    if witness is None:
        return None
    return {
        "kind": witness.kind,
        "data": {
            key: encode_value(value, arrays, f"{prefix}.{key}")
            for key, value in witness.data.items()
        },
    }


def _consequence(item: Consequence) -> dict[str, Any]:
    named = {"name": item.name, "meaning": item.meaning, "formula": item.formula, "by": item.by}
    if isinstance(item.value, Enclosure):
        return named | {
            "rigorous": True, "lo": hex_of(item.value.lo), "hi": hex_of(item.value.hi),
        }  # fmt: skip
    spread = None if item.value.spread is None else float(item.value.spread).hex()
    return named | {
        "rigorous": False,
        "measured": float(item.value.value).hex(),
        "spread": spread,
        "how": item.value.how,
    }


def _samples(samples: SampleRecord | None, arrays: dict[str, Any]) -> dict[str, Any] | None:
    if samples is None:
        return None
    return {
        "summary": samples.summary,
        "certified": samples.certified,
        "total": samples.total,
        "rows": [dict(row) for row in samples.rows],
        "witness": _witness(samples.witness, "samples", arrays),
        "unit": samples.unit,
    }

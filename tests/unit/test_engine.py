"""The engine: what proves, what refutes, what stays open, and that routes may not disagree."""

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import sympy as sp

from verify import engine, registry
from verify.condition import Binding, Condition, Effort, Goal, NotApplicable, Route
from verify.enclosure import Enclosure, Measurement
from verify.errors import ContradictionError, InputError, SettingsError, StatementError
from verify.evidence import Evidence, Witness
from verify.statement import Source, Statement, fact, quantity
from verify.verdict import Truth

Q = quantity("q", "a number")
F = fact("F", "a fact")
EFFORT = Effort(budget=0.1)


def network():
    return SimpleNamespace(
        family="toy", equation="q", activation="none", width=1, notes=(),
        tensors=lambda: {"w": np.array([1.0, -0.0])},
    )  # fmt: skip


def route(name, value, *, direction="sufficient", goal="weak", cost="cheap", relation=None):
    subject = F if isinstance(value, Truth) else Q
    hypothesis = relation if relation is not None else (F.symbol if subject is F else Q.symbol < 1)
    statement = Statement(
        hypothesis, (subject,), "it holds", direction, Source("a", "b"), "every bias"
    )
    evidence = Evidence(value, Witness("w", {"n": 3}), ("trust",), how="by hand")
    return Route(name, name, goal, (statement,), (Binding(subject, lambda *_: evidence),), cost)


def run(monkeypatch, *routes, goal="weak", effort=EFFORT, **more):
    condition = Condition(
        "toy", "Toy", (Goal("strong", "S"), Goal("weak", "W", implied_by=("strong",))), routes,
        prepare=more.pop("prepare", lambda *_: object()), goal_of=lambda _: goal, needs="",
        settings={"m": "a setting"}, **more,
    )  # fmt: skip
    monkeypatch.setattr(registry, "conditions", lambda: {"toy": condition})
    (certificate,) = engine.check(network(), conditions=["toy"], effort=effort)
    return certificate


HALF, TWO, WIDE = Enclosure.exact(0.5), Enclosure.exact(2), Enclosure(0.5, 2)


@pytest.mark.parametrize(
    ("value", "direction", "verdict"),
    [
        (HALF, "sufficient", "pass"),
        (HALF, "equivalent", "pass"),
        (HALF, "necessary", "undecided"),
        (TWO, "sufficient", "undecided"),
        (TWO, "equivalent", "fail"),
        (TWO, "necessary", "fail"),
        (WIDE, "equivalent", "undecided"),
        (Enclosure.unbounded(), "equivalent", "undecided"),
        (Truth.PROVED, "sufficient", "pass"),
        (Truth.REFUTED, "sufficient", "undecided"),
        (Truth.REFUTED, "equivalent", "fail"),
        (Truth.UNDECIDED, "equivalent", "undecided"),
    ],
)
def test_direction_decides_what_a_route_can_say(monkeypatch, value, direction, verdict):
    claim = run(monkeypatch, route("r", value, direction=direction)).claim
    assert claim["verdict"] == verdict
    assert claim["decided_by"] == ("r" if verdict != "undecided" else None)


@pytest.mark.parametrize(
    ("value", "asked", "about", "verdict"),
    [
        (HALF, "weak", "strong", "pass"),  # the stronger goal proves the weaker one
        (TWO, "weak", "strong", "undecided"),  # its refutation says nothing about the weaker
        (HALF, "strong", "weak", "undecided"),
        (TWO, "strong", "weak", "fail"),  # a refuted weaker goal refutes the stronger
    ],
)
def test_goals_are_ordered_by_implication(monkeypatch, value, asked, about, verdict):
    tried = route("r", value, direction="equivalent", goal=about)
    assert run(monkeypatch, tried, goal=asked).claim["verdict"] == verdict


def test_rigorous_routes_that_disagree_are_a_defect(monkeypatch):
    with pytest.raises(ContradictionError, match="expected rigorous routes to agree"):
        run(monkeypatch, route("a", HALF), route("b", TWO, direction="necessary"))


def test_expensive_routes_wait_for_an_open_goal(monkeypatch):
    routes = route("cheap", HALF), route("dear", HALF, cost="expensive")
    claim = run(monkeypatch, *routes).claim
    assert [r["truth"] for r in claim["routes"]] == ["proved", "skipped"]
    claim = run(monkeypatch, *routes, effort=Effort(all_routes=True)).claim
    assert [r["truth"] for r in claim["routes"]] == ["proved", "proved"]


def test_the_formula_alone_turns_the_verdict(monkeypatch):
    assert run(monkeypatch, route("r", HALF)).claim["verdict"] == "pass"
    changed = route("r", HALF, relation=sp.Lt(Q.symbol + 1, 1), direction="equivalent")
    assert run(monkeypatch, changed).claim["verdict"] == "fail"


def test_not_applicable_carries_its_reason(monkeypatch):
    def prepare(*_):
        raise NotApplicable("no equilibrium here")

    claim = run(monkeypatch, route("r", HALF), prepare=prepare).claim
    assert claim["verdict"] == "not applicable"
    assert "no equilibrium here" in claim["sentence"]


def test_a_measurement_is_no_evidence(monkeypatch):
    with pytest.raises(InputError, match="expected the binding of q to give Enclosure"):
        run(monkeypatch, route("r", Measurement(0.5, "sampled")))


def test_unknown_conditions_and_settings_are_named(monkeypatch):
    run(monkeypatch, route("r", HALF))
    with pytest.raises(SettingsError, match="expected one of toy, but got 'other'"):
        engine.check(network(), conditions=["other"])
    with pytest.raises(SettingsError, match=r"expected one of toy\.m, but got 'toy\.x'"):
        engine.check(network(), conditions=["toy"], settings={"toy.x": "1"})


def test_a_route_needs_one_binding_for_each_symbol():
    with pytest.raises(StatementError, match="expected one binding for each"):
        replace(route("r", HALF), bindings=())


def test_equal_tensors_and_settings_give_an_equal_claim(monkeypatch):
    first, second = (run(monkeypatch, route("r", WIDE)) for _ in range(2))
    assert first.claim == second.claim
    assert first.digest == second.digest

"""From a network to certificates: try the routes, decide, assemble what is claimed.

The engine alone turns evidence into verdicts. It never compares numbers itself: `verify.decide`
evaluates the SymPy hypothesis over the enclosures.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from verify import registry
from verify.certificate import Certificate
from verify.claim import Judgement, claim_of, provenance_of
from verify.condition import Condition, Effort, Goal, NotApplicable, Route, RouteOutcome
from verify.decide import aim_for, decide
from verify.enclosure import Enclosure
from verify.errors import ContradictionError, InputError, SettingsError
from verify.evidence import Evidence
from verify.statement import Fact, Quantity
from verify.verdict import Truth, Verdict, conjunction

Progress = Callable[[str], None]


def check(
    network: Any,
    data: Any = None,
    run: Any = None,
    *,
    conditions: Sequence[str] | None = None,
    settings: Mapping[str, str] | None = None,
    effort: Effort | None = None,
    provenance: Mapping[str, str] | None = None,
    progress: Progress | None = None,
) -> list[Certificate]:
    """Decide conditions about a network and return one certificate each.

    Args:
        network: a value of `verify.network`.
        data: `verify.network.Data`, for the per-sample part of a condition.
        run: `verify.network.Run`, what is declared about the training.
        conditions: names; None tries every installed condition.
        settings: ``"condition.key"`` to exact text, as with ``--set``.
        effort: backend, budget, all routes.
        provenance: what is known of the file (``file``, ``sha256``, ``format``).
        progress: called with the name of each route before it is tried.

    A condition that is not named, and of which nothing is declared, is not applicable where it
    needs a declaration; its certificate says which. If no condition can speak, that is an error.

    Raises:
        SettingsError: an unknown condition or setting, or a required one is missing.
        BackendError: the backend failed its self-test; nothing is certified.
        ContradictionError: two rigorous routes disagree (a defect).
    """
    installed = registry.conditions()
    names = list(installed) if conditions is None else list(dict.fromkeys(conditions))
    for name in names:
        if name not in installed:
            raise SettingsError(
                f"--condition: expected one of {', '.join(sorted(installed))}, but got {name!r}"
            )
    _refuse_unknown_settings(settings or {}, installed)
    found: list[Certificate] = []
    missing: list[SettingsError] = []
    for name in names:
        started, own = time.perf_counter(), _settings_of(name, settings or {})
        try:
            problem: Any = installed[name].prepare(network, data, run, own)
        except NotApplicable as reason:
            problem = reason
        except SettingsError as error:
            if conditions is not None or own:
                raise
            missing.append(error)
            problem = NotApplicable(f"nothing is declared for it, and it asks: {error}")
        found.append(
            _certified(
                installed[name], problem, network, data, run, own, effort or Effort(),
                provenance or {}, progress, started,
            )
        )  # fmt: skip
    if missing and all(one.verdict is Verdict.NOT_APPLICABLE for one in found):
        raise missing[0]
    return found


def _refuse_unknown_settings(
    settings: Mapping[str, str], installed: Mapping[str, Condition]
) -> None:
    for full in settings:
        name, _, key = full.partition(".")
        if name not in installed or key not in installed[name].settings:
            near = [name] if name in installed else sorted(installed)
            known = [f"{c}.{k}" for c in near for k in installed[c].settings] or ["no setting"]
            raise SettingsError(f"--set: expected one of {', '.join(known)}, but got {full!r}")


def _settings_of(name: str, settings: Mapping[str, str]) -> dict[str, str]:
    prefix = f"{name}."
    return {key[len(prefix) :]: value for key, value in settings.items() if key.startswith(prefix)}


def _certified(
    condition: Condition,
    problem: Any,
    network: Any,
    data: Any,
    run: Any,
    settings: Mapping[str, str],
    effort: Effort,
    provenance: Mapping[str, str],
    progress: Progress | None,
    started: float,
) -> Certificate:
    """Return the certificate of a prepared problem, or of the reason why there is none."""
    outcomes: list[RouteOutcome] = []
    if isinstance(problem, NotApplicable):
        goal = condition.goals[0]
        judgement = Judgement(condition, Verdict.NOT_APPLICABLE, goal, str(problem))
    else:
        outcomes = _try_routes(condition, problem, effort, progress)
        judgement = _judge(condition, problem, outcomes, effort)
    tensors = dict(network.tensors())
    if condition.uses_run and run is not None:
        tensors |= run.tensors()
    claim, guidance, arrays = claim_of(judgement, network, tensors, data, settings)
    seconds = time.perf_counter() - started
    return Certificate(
        claim=claim,
        provenance=provenance_of(provenance, effort, outcomes, seconds),
        guidance=tuple(guidance),
        arrays=arrays,
        network={**tensors, **(data.tensors() if data is not None else {})},
    )


def _try_routes(
    condition: Condition, problem: Any, effort: Effort, progress: Progress | None
) -> list[RouteOutcome]:
    """Try cheap routes, then expensive ones while the goal is open, within the budget."""
    goal = condition.goal_of(problem)
    timed = replace(effort, deadline=time.monotonic() + effort.budget)
    outcomes: dict[str, RouteOutcome] = {}
    for route in sorted(condition.routes, key=lambda route: route.cost == "expensive"):
        unfit = route.applies(problem)
        reason = unfit
        decided = _status(condition, goal, list(outcomes.values())) is not Truth.UNDECIDED
        if reason is None and route.cost == "expensive" and decided and not effort.all_routes:
            reason = "the goal is decided already; --all-routes tries it nevertheless"
        if reason is not None:
            outcomes[route.name] = RouteOutcome(
                route, Truth.UNDECIDED, {}, skipped=reason, applies=unfit is None
            )
            continue
        if progress is not None:
            progress(f"{condition.name}: {route.title}")
        outcomes[route.name] = _try_route(route, problem, timed)
    return [outcomes[route.name] for route in condition.routes]


def _try_route(route: Route, problem: Any, effort: Effort) -> RouteOutcome:
    """Bind every quantity and fact, then decide each statement of the conjunction."""
    started = time.perf_counter()
    evidence: dict[str, Evidence] = {}
    enclosures: dict[Any, Enclosure] = {}
    facts: dict[Any, Truth] = {}
    for binding in route.bindings:
        subject = binding.subject
        found = binding.compute(problem, effort, _aim(route, subject, enclosures))
        evidence[str(subject.symbol)] = found
        _check_kind(route, subject, found)
        if isinstance(found.value, Enclosure):
            enclosures[subject.symbol] = found.value
        else:
            facts[subject.symbol] = found.value
    decisions = [decide(statement.hypothesis, enclosures, facts) for statement in route.statements]
    return RouteOutcome(
        route,
        conjunction(decision.truth for decision in decisions),
        evidence,
        decisions=tuple(decisions),
        seconds=time.perf_counter() - started,
    )


def _aim(
    route: Route, subject: Quantity | Fact, known: Mapping[Any, Enclosure]
) -> Enclosure | None:
    """Return where the hypothesis turns in this quantity, if that can be read off."""
    if isinstance(subject, Fact):
        return None
    for statement in route.statements:
        if subject.symbol in statement.hypothesis.free_symbols:
            aim = aim_for(statement.hypothesis, subject.symbol, known)
            if aim is not None:
                return aim
    return None


def _check_kind(route: Route, subject: Quantity | Fact, found: Evidence) -> None:
    wanted = Enclosure if isinstance(subject, Quantity) else Truth
    if not isinstance(found.value, wanted):
        raise InputError(
            f"route {route.name}: expected the binding of {subject.symbol} to give "
            f"{wanted.__name__}, but got {type(found.value).__name__}"
        )


def _status(condition: Condition, goal: str, outcomes: Sequence[RouteOutcome]) -> Truth:
    """Combine the routes: what is proved proves weaker goals, what is refuted refutes stronger.

    Raises:
        ContradictionError: some goal is both proved and refuted.
    """
    proving = [o for o in outcomes if o.tried and _proves(condition, goal, o)]
    refuting = [o for o in outcomes if o.tried and _refutes(condition, goal, o)]
    for other in condition.goals:
        yes = [o for o in outcomes if o.tried and _proves(condition, other.name, o)]
        no = [o for o in outcomes if o.tried and _refutes(condition, other.name, o)]
        if yes and no:
            raise ContradictionError(
                f"{condition.name}: expected rigorous routes to agree on {other.name!r}, but got "
                f"{yes[0].route.name} proved and {no[0].route.name} refuted; please report this"
            )
    return Truth.PROVED if proving else Truth.REFUTED if refuting else Truth.UNDECIDED


def _sides(
    condition: Condition, own: str, outcomes: Sequence[RouteOutcome]
) -> tuple[tuple[Goal, Truth], ...]:
    """Return the results of the other side goals that some route could speak about."""
    spoken = {o.route.goal for o in outcomes if o.applies}
    return tuple(
        (goal, _status(condition, goal.name, outcomes))
        for goal in condition.goals
        if goal.side and goal.name in spoken and goal.name != own
    )


def _proves(condition: Condition, goal: str, outcome: RouteOutcome) -> bool:
    return (
        outcome.truth is Truth.PROVED
        and outcome.route.direction in ("sufficient", "equivalent")
        and outcome.route.goal in condition.stronger(goal)
    )


def _refutes(condition: Condition, goal: str, outcome: RouteOutcome) -> bool:
    return (
        outcome.truth is Truth.REFUTED
        and outcome.route.direction in ("necessary", "equivalent")
        and goal in condition.stronger(outcome.route.goal)
    )


def _judge(
    condition: Condition, problem: Any, outcomes: list[RouteOutcome], effort: Effort
) -> Judgement:
    """Turn the outcomes into a verdict with its reason, consequences, samples and guidance."""
    goal = condition.goal_of(problem)
    status = _status(condition, goal, outcomes)
    deciding = None
    if status is Truth.PROVED:
        deciding = next(o for o in outcomes if o.tried and _proves(condition, goal, o))
    elif status is Truth.REFUTED:
        found = [o for o in outcomes if o.tried and _refutes(condition, goal, o)]
        deciding = next((o for o in found if o.has_witness), found[0])
    verdict = {
        Truth.PROVED: Verdict.PASS,
        Truth.REFUTED: Verdict.FAIL,
        Truth.UNDECIDED: Verdict.UNDECIDED,
    }[status]
    timed = replace(effort, deadline=time.monotonic() + effort.budget)
    return Judgement(
        condition,
        verdict,
        condition.goal(goal),
        reason="",
        problem=problem,
        outcomes=tuple(outcomes),
        decided_by=deciding,
        consequences=tuple(condition.consequences(problem, outcomes, timed))
        if condition.consequences else (),
        samples=condition.samples(problem, outcomes, timed) if condition.samples else None,
        guidance=tuple(condition.guidance(problem, outcomes, timed))
        if condition.guidance else (),
        sides=_sides(condition, goal, outcomes),
    )  # fmt: skip

"""Conditions: what has to be shown about a network, and by which routes.

A condition has goals, ordered by implication, and routes. A route is one or more statements
together with bindings that compute evidence for their quantities and facts. The engine alone
turns evidence into verdicts; a condition never compares numbers.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from verify.enclosure import Enclosure, Measurement
from verify.errors import StatementError
from verify.evidence import Evidence, Witness
from verify.statement import Fact, Quantity, Statement
from verify.verdict import Truth


class NotApplicable(Exception):  # noqa: N818 - control flow, not an error
    """Raised by `Condition.prepare`: the condition cannot speak about this network; says why."""


@dataclass(frozen=True)
class Effort:
    """How hard to try; never part of what is claimed.

    Args:
        backend: ``auto``, ``numpy``, ``numba`` or ``cupy``.
        budget: seconds for the expensive routes together.
        all_routes: try expensive routes although the goal is decided.
        deadline: ``time.monotonic()`` at which expensive work stops; set by the engine.
    """

    backend: str = "auto"
    budget: float = 10.0
    all_routes: bool = False
    deadline: float = float("inf")

    def left(self) -> float:
        """Return the seconds that are left, at least 0."""
        return max(0.0, self.deadline - time.monotonic())


Binder = Callable[[Any, Effort, Enclosure | None], Evidence]


@dataclass(frozen=True)
class Binding:
    """A function that computes the evidence for one quantity or fact of a problem."""

    subject: Quantity | Fact
    compute: Binder


def bind(subject: Quantity | Fact) -> Callable[[Binder], Binding]:
    """Bind a quantity or fact to ``compute(problem, effort, aim) -> Evidence``.

    ``aim`` is the enclosure of the number at which the hypothesis turns, or None. It is a hint
    at which a kernel may stop and is never used for soundness.
    """

    def decorate(compute: Binder) -> Binding:
        return Binding(subject, compute)

    return decorate


@dataclass(frozen=True)
class Goal:
    """One sentence that a condition can prove or refute.

    A ``side`` goal has its own result in the certificate and never turns the verdict.
    """

    name: str
    sentence: str
    implied_by: tuple[str, ...] = ()
    side: bool = False


@dataclass(frozen=True)
class Route:
    """A way to a goal: a conjunction of statements with the bindings that feed them.

    Args:
        name: stable, lower-case with hyphens; `title` is what a person reads.
        goal: name of the goal that the statements' direction speaks about.
        statements: all must hold for the route to be proved.
        bindings: exactly one for each quantity and fact of the statements, cheapest first;
            a later one may use the evidence of an earlier one through the problem's cache.
        cost: ``cheap`` routes are always tried, ``expensive`` ones while the goal is open.
        applies: None if the route can speak about the problem, else the reason why not.
    """

    name: str
    title: str
    goal: str
    statements: tuple[Statement, ...]
    bindings: tuple[Binding, ...]
    cost: Literal["cheap", "expensive"] = "cheap"
    applies: Callable[[Any], str | None] = field(default=lambda problem: None)

    def __post_init__(self) -> None:
        needed = {item for statement in self.statements for item in statement.about}
        bound = [binding.subject for binding in self.bindings]
        if len(bound) != len(set(bound)) or set(bound) != needed:
            raise StatementError(
                f"Route {self.name}: expected one binding for each of "
                f"{sorted(str(item.symbol) for item in needed)}, "
                f"but got {sorted(str(item.symbol) for item in bound)}"
            )
        if len({statement.direction for statement in self.statements}) != 1:
            raise StatementError(f"Route {self.name}: expected statements of one direction")

    @property
    def direction(self) -> str:
        """What the conjunction is to the goal: sufficient, necessary or equivalent."""
        return self.statements[0].direction


@dataclass(frozen=True)
class RouteOutcome:
    """What came of a route on one problem.

    ``decisions`` holds one `verify.decide.Decision` for each statement; ``skipped`` says why the
    route was not run, and ``applies`` is False if it could not speak about the problem at all.
    """

    route: Route
    truth: Truth
    evidence: Mapping[str, Evidence]
    decisions: tuple[Any, ...] = ()
    seconds: float = 0.0
    skipped: str = ""
    applies: bool = True

    @property
    def tried(self) -> bool:
        """Whether the route was run at all."""
        return not self.skipped

    @property
    def has_witness(self) -> bool:
        """Whether some evidence carries a witness."""
        return any(found.witness is not None for found in self.evidence.values())


@dataclass(frozen=True)
class Consequence:
    """A number that follows from proved routes (rigorous) or was measured (marked so)."""

    name: str
    meaning: str
    value: Enclosure | Measurement
    formula: str = ""
    by: str = ""


@dataclass(frozen=True)
class SampleRecord:
    """What was proved about the data, one entry a sample, and the count that is certified.

    ``rows`` holds one mapping a sample with the same keys; ``summary`` is the sentence, ``unit``
    the word for one of them.
    """

    summary: str
    certified: int
    total: int
    rows: Sequence[Mapping[str, Any]] = ()
    witness: Witness | None = None
    unit: str = "sample"


@dataclass(frozen=True)
class Condition:
    """What has to be shown about a network.

    Args:
        name: as in ``--condition``.
        title: a heading.
        goals: all goals; the first is the default.
        routes: in the order in which they are tried.
        prepare: ``(network, data, run, settings) -> problem``; raises `NotApplicable` with the
            reason, or `SettingsError` naming the flag to add.
        goal_of: the name of the goal that the verdict speaks about for this problem.
        settings: setting name to its meaning, for ``verify explain`` and for refusing unknown ones.
        needs: one sentence: families and settings.
        consequences, guidance, samples: what follows, what would help, per-sample results.
        describe: what was declared or derived about the network, as exact text.
        uses_run: whether `prepare` looks at the checkpoints of ``--run``.
    """

    name: str
    title: str
    goals: tuple[Goal, ...]
    routes: tuple[Route, ...]
    prepare: Callable[[Any, Any, Any, Mapping[str, Any]], Any]
    goal_of: Callable[[Any], str]
    needs: str
    settings: Mapping[str, str] = field(default_factory=dict)
    consequences: Callable[[Any, Sequence[RouteOutcome], Effort], Sequence[Consequence]] | None = (
        None
    )
    guidance: Callable[[Any, Sequence[RouteOutcome], Effort], Sequence[str]] | None = None
    samples: Callable[[Any, Sequence[RouteOutcome], Effort], SampleRecord | None] | None = None
    describe: Callable[[Any], Mapping[str, Any]] | None = None
    uses_run: bool = False

    def __post_init__(self) -> None:
        names = {goal.name for goal in self.goals}
        unknown = {route.goal for route in self.routes} - names
        unknown |= {name for goal in self.goals for name in goal.implied_by} - names
        if unknown:
            raise StatementError(
                f"Condition {self.name}: expected goals among {sorted(names)}, "
                f"but got {sorted(unknown)}"
            )

    def goal(self, name: str) -> Goal:
        """Return the goal of that name."""
        return next(goal for goal in self.goals if goal.name == name)

    def stronger(self, name: str) -> set[str]:
        """Return the goals whose proof proves this one: itself and all that imply it."""
        found, queue = {name}, [name]
        while queue:
            for other in self.goal(queue.pop()).implied_by:
                if other not in found:
                    found.add(other)
                    queue.append(other)
        return found

"""The question about one network: does a gradient inequality hold, and where?"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from fractions import Fraction
from functools import cached_property
from typing import Any

import numpy as np

from verify.condition import NotApplicable
from verify.errors import InputError, SettingsError
from verify.network import Data, Graph, Run, TeacherStudent, graph_of
from verify_conditions.dense_networks import Dense, dense_of
from verify_conditions.gradient_inequality.declared import (
    BALL,
    NAME,
    TRAJECTORY,
    Declared,
    read,
)
from verify_conditions.regression import Fit, fit, require_family

HERE, ON_BALL, ALONG = "pl-here", "pl-ball", "pl-trajectory"
POINT, POINTS = "lojasiewicz", "lojasiewicz-trajectory"


@dataclass(eq=False)
class Problem:
    """One network with data, or teacher and student; evidence is kept by name.

    Args:
        network: as it was read.
        declared: as given.
        fitted: the data, or None for teacher and student.
        checkpoints: name and problem of each stored checkpoint, with scope trajectory.
    """

    network: Any
    declared: Declared
    fitted: Fit | None
    checkpoints: tuple[tuple[str, Problem], ...] = ()
    _kept: dict[str, Any] = field(default_factory=dict)

    def once(self, name: str, compute: Callable[[], Any]) -> Any:
        """Return the value kept under the name, computed at the first request."""
        if name not in self._kept:
            self._kept[name] = compute()
        return self._kept[name]

    @property
    def population(self) -> bool:
        """Whether this is teacher and student, whose loss is an expectation."""
        return self.fitted is None

    @property
    def data(self) -> Fit:
        """The data of a network that has some."""
        if self.fitted is None:
            raise InputError("gradient-inequality: expected a network with data")
        return self.fitted

    @property
    def graph(self) -> Graph | None:
        """The network as a graph, if it is one."""
        return self.data.graph

    @property
    def inputs(self) -> Any:
        """The samples as exact rationals."""
        return self.data.inputs

    @property
    def targets(self) -> np.ndarray | None:
        """y, shape (n, m_y), if given."""
        return self.data.targets

    @property
    def frozen(self) -> frozenset[str]:
        """The roles of the tensors that training does not change."""
        return self.declared.frozen

    @cached_property
    def scale(self) -> Fraction:
        """s: the loss is s/2 times the sum of squares."""
        return self.declared.scale(self.inputs.count)

    @cached_property
    def dense(self) -> Dense | None:
        """The network if it is fully connected and ties no tensors."""
        return dense_of(self.network, self.graph)

    def everywhere(self) -> list[tuple[str, Problem]]:
        """The checked network and, with scope trajectory, the stored checkpoints."""
        return [("the checked network", self), *self.checkpoints]


def prepare(
    network: Any, data: Data | None, run: Run | None, settings: Mapping[str, str]
) -> Problem:
    """Return the problem, or say why the condition cannot speak about the network.

    Raises:
        NotApplicable: another family, outputs that are not affine, or another loss.
        SettingsError: a malformed or missing setting, no data, or no run for scope trajectory.
        InputError: the data do not fit the network, or a frozen tensor changes along the run.
    """
    population = isinstance(network, TeacherStudent)
    if not population:
        require_family(NAME, network)
    told = read(settings, network, population=population)
    found = None if population else fit(NAME, network, data, told.divisor)
    checkpoints: tuple[tuple[str, Problem], ...] = ()
    if told.scope == TRAJECTORY:
        checkpoints = tuple(_checkpoints(network, data, run, told))
    return Problem(network, told, found, checkpoints)


def _checkpoints(
    network: Any, data: Data | None, run: Run | None, told: Declared
) -> list[tuple[str, Problem]]:
    stored = () if run is None else run.checkpoints
    if not stored:
        raise SettingsError(
            f"--set {NAME}.scope: expected stored checkpoints for scope trajectory, but got none; "
            "add --run DIR"
        )
    found = []
    for point in stored:
        if type(point.network) is not type(network):
            raise NotApplicable(f"checkpoint {point.name} is a network of another family")
        own = None
        if not isinstance(point.network, TeacherStudent):
            own = fit(NAME, point.network, data, told.divisor)
            _require_frozen(network, point.network, point.name, told.frozen)
        elif not _same_teachers(point.network, network):
            raise NotApplicable(f"checkpoint {point.name} has other teachers")
        found.append((point.name, Problem(point.network, told, own)))
    return found


def _require_frozen(network: Any, other: Any, name: str, frozen: frozenset[str]) -> None:
    """Refuse a checkpoint in which a tensor that is declared frozen has changed."""
    before, after = _stored(network), _stored(other)
    for role in sorted(frozen):
        if not (role in after and np.array_equal(before[role], after[role])):
            raise InputError(
                f"{NAME}: expected {role}, declared frozen, to be at checkpoint {name} what it is "
                "in the network, but got other numbers; leave it out of frozen"
            )


def _stored(network: Any) -> Mapping[str, Any]:
    graph = graph_of(network)
    return network.tensors() if graph is None else graph.stored


def _same_teachers(one: TeacherStudent, other: Any) -> bool:
    a, b = one.a_star, other.a_star
    outputs = np.array_equal(a, b) if a is not None and b is not None else a is b
    return np.array_equal(one.teachers, other.teachers) and bool(outputs)


def goal_of(problem: Problem) -> str:
    """The declared scope chooses the goal; for teacher and student it is about the gradient."""
    scope = problem.declared.scope
    if problem.population:
        return POINTS if scope == TRAJECTORY else POINT
    return {BALL: ON_BALL, TRAJECTORY: ALONG}.get(scope, HERE)


def describe(problem: Problem) -> dict[str, str]:
    """Return what was declared or derived, as exact text."""
    told = problem.declared
    if problem.population:
        network = problem.network
        lines = {
            "students m": str(len(network.students)),
            "teachers r": str(len(network.teachers)),
            "output weights": "tied" if network.a is None else "free",
            "loss": "population loss 1/2 E (f - f*)^2, x ~ N(0, I)",
        }
    else:
        lines = {
            "samples n": str(problem.inputs.count),
            "outputs": str(problem.data.outputs),
            "loss": f"{told.loss}, s = {problem.scale}",
            "frozen": ", ".join(sorted(told.frozen)) or "none",
        }
    if told.radius is not None:
        lines["radius"] = str(told.radius)
    lines["exponent"] = str(told.exponent)
    if told.kappa is not None:
        lines["kappa"] = str(told.kappa)
    if told.divisor != 1:
        lines["inputs"] = f"the stored numbers divided by {told.divisor}, exactly"
    return lines

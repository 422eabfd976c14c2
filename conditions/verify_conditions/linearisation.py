"""What several conditions read off at given weights: residual, tangent kernel, features.

There are two precisions: floats with error bounds, and ball or rational arithmetic for small
networks. Every enclosure is computed once a question.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, Protocol

import sympy as sp

from verify.condition import Effort
from verify.decide import evaluate
from verify.enclosure import Enclosure
from verify.evidence import Evidence
from verify_conditions.trained_tensors import hidden_roles
from verify_kernels.forward import enclose_features
from verify_kernels.forward.inputs import Inputs
from verify_kernels.full_rank.singular_values import enclose_singular_extremes
from verify_kernels.implicit_relu import ImplicitState, enclose_implicit
from verify_kernels.residual import Residual, enclose_residual
from verify_kernels.tangent_kernel import (
    TangentSpectrum,
    ball_tangent_spectrum,
    enclose_tangent_spectrum,
)


class Question(Protocol):
    """A problem of a condition about one network and its data."""

    @property
    def network(self) -> Any:
        """As it was read."""
        ...

    @property
    def graph(self) -> Any:
        """The network as a graph."""
        ...

    @property
    def inputs(self) -> Inputs:
        """The samples as exact rationals."""
        ...

    @property
    def targets(self) -> Any:
        """y, shape (n, m_y)."""
        ...

    @property
    def frozen(self) -> frozenset[str]:
        """The roles of the tensors that training does not change."""
        ...

    def once(self, name: str, compute: Callable[[], Any]) -> Any:
        """Return the value kept under the name, computed at the first request."""
        ...


def residual(problem: Question, effort: Effort, precise: bool) -> Residual:
    """Return the enclosure of r."""
    found: Residual = problem.once(
        f"residual {precise}",
        lambda: enclose_residual(
            problem.graph, problem.inputs, problem.targets, precise=precise,
            deadline=effort.deadline if precise else math.inf,
        ),
    )  # fmt: skip
    return found


def implicit_state(problem: Question, effort: Effort, precise: bool) -> ImplicitState:
    """Return the enclosures of an implicit network on the data."""
    found: ImplicitState = problem.once(
        f"implicit {precise}",
        lambda: enclose_implicit(
            problem.network, problem.inputs, problem.targets, precise=precise,
            deadline=effort.deadline if precise else math.inf,
        ),
    )  # fmt: skip
    return found


def spectrum(problem: Question, effort: Effort, precise: bool) -> TangentSpectrum:
    """Return the ends of the spectrum of K = J J^T over the trained tensors."""

    def compute() -> TangentSpectrum:
        frozen = problem.frozen
        if precise:
            return ball_tangent_spectrum(
                problem.graph, problem.inputs, frozen=frozen, deadline=effort.deadline
            )
        return enclose_tangent_spectrum(
            problem.graph, problem.inputs, frozen=frozen, backend=effort.backend
        )

    found: TangentSpectrum = problem.once(f"spectrum {precise}", compute)
    return found


def root(found: Evidence) -> Evidence:
    """Return the evidence of the square root."""
    x = sp.Symbol("x", real=True)
    value = found.enclosure()
    if not value.lo >= 0:
        return found
    return Evidence(
        evaluate(sp.sqrt(x), {x: value}), found.witness, found.assumes, found.how, found.why_open
    )


def smallest_of_features(problem: Question, effort: Effort, precise: bool) -> Evidence:
    """s0 of Z = [F, 1]; with only the last layer trained, K consists of blocks Z Z^T."""
    graph: Any = problem.graph
    hidden, ones = hidden_roles(graph, problem.frozen)
    if precise and graph.nodes[graph.last_affine].parameters["weight"] in hidden:
        why = "the last layer's weight is frozen, or another layer reads it"
        return Evidence(Enclosure(0, math.inf), why_open=why)
    if precise:
        found = ball_tangent_spectrum(
            graph, problem.inputs, frozen=hidden, deadline=effort.deadline
        )
        return root(found.smallest)
    place = graph.nodes[graph.last_affine].inputs[0]
    given = enclose_features(graph, place, problem.inputs, backend=effort.backend)
    if not math.isfinite(given.frobenius_radius()):
        why = given.why_open or "the features are not bounded in binary64"
        return Evidence(Enclosure(0, math.inf), why_open=why)
    smallest, _ = enclose_singular_extremes(given, ones=ones, backend=effort.backend)
    is_open = smallest.lo == 0 < smallest.hi
    why = "the rank of the features is not proved to be n" if is_open else ""
    return Evidence(
        smallest, assumes=given.assumes, how="certified forward pass, Gram matrix", why_open=why
    )

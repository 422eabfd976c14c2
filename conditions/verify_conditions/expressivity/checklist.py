"""Theorem D: the condition holds for every data set of distinct samples, by a checklist."""

from __future__ import annotations

import math
from collections.abc import Callable
from fractions import Fraction

import numpy as np

from verify.evidence import Evidence
from verify.network import Graph
from verify.network.graph import Node
from verify.verdict import Truth
from verify_conditions.expressivity.declared import UNCONSTRAINED
from verify_conditions.expressivity.dense_chain import (
    NotDenseError,
    Stage,
    activations,
    dense_chain,
)
from verify_kernels.forward.inputs import Inputs
from verify_kernels.structure import (
    is_analytic,
    is_polynomial,
    is_strictly_monotone,
    proves_distinct_rows,
)
from verify_kernels.structure.fixed_maps import check_roles

DENSE = "dense layers in sequence"
LAST = "last hidden layer plain"
ACTIVATION = "one activation, analytic and no polynomial, or relu"
SUMS = "nothing non-injective after a residual sum"
BIASES = "hidden biases present and trained"
FREE = "hidden weights neither tied nor frozen nor masked"
SCALES = "batch norms in evaluation form with scales other than zero"
WIDTH = "last hidden layer wide enough"
FINITE = "samples finite"
DISTINCT = "samples pairwise distinct"
FACTS = (DENSE, LAST, ACTIVATION, SUMS, BIASES, FREE, SCALES, WIDTH, FINITE, DISTINCT)
"""All must be proved for Theorem D to speak."""

UNDECLARED = "it is not known what is frozen; declare --set expressivity.frozen=none"
Frozen = frozenset[str] | None


def theorem_d(
    graph: Graph, place: int, inputs: Inputs, frozen: Frozen, ones: bool
) -> dict[str, Evidence]:
    """Go through the checklist of Theorem D (docs/expressivity.md).

    Args:
        graph: the network.
        place: index of the node of the features.
        inputs: the exact samples.
        frozen: roles declared frozen; None: nothing is declared, which leaves it open.
        ones: whether Z has a column of ones.

    Returns:
        One fact for each of `FACTS`. The condition holds if all are proved; nothing follows from
        one that is not.

    Raises:
        InputError: ``frozen`` names a role that is not stored.
    """
    check_roles(graph, frozen)
    facts = {
        WIDTH: _width(graph, place, len(inputs.values), ones),
        FINITE: _fact(bool(np.isfinite(inputs.values).all()), "", "a sample is not finite"),
        DISTINCT: proves_distinct_rows(inputs),
    }
    try:
        stages = dense_chain(graph, place)
    except NotDenseError as error:
        facts[DENSE] = _refuted(str(error))
        open_facts = {name: _open("the network is no sequence of dense layers") for name in FACTS}
        return {name: {**open_facts, **facts}[name] for name in FACTS}
    rules: dict[str, Callable[[], Evidence]] = {
        LAST: lambda: _last(stages),
        ACTIVATION: lambda: _activation(stages),
        SUMS: lambda: _sums(stages),
        BIASES: lambda: _biases(stages, frozen),
        FREE: lambda: _free(graph, stages, frozen),
        SCALES: lambda: _scales(graph, stages, frozen),
    }
    facts[DENSE] = _proved(f"{len(stages)} layers or blocks")
    facts |= {name: rule() for name, rule in rules.items()}
    return {name: facts[name] for name in FACTS}


def _proved(how: str) -> Evidence:
    return Evidence(Truth.PROVED, how=how)


def _refuted(how: str) -> Evidence:
    return Evidence(Truth.REFUTED, how=how)


def _open(why: str) -> Evidence:
    return Evidence(Truth.UNDECIDED, why_open=why)


def _fact(truth: bool, proved: str, refuted: str) -> Evidence:
    return _proved(proved) if truth else _refuted(refuted)


def _width(graph: Graph, place: int, n: int, ones: bool) -> Evidence:
    width, least = math.prod(graph.nodes[place].shape), n - 1 if ones else n
    rule = f"{'n - 1' if ones else 'n, without a column of ones'} = {least}"
    return _fact(width >= least, f"m_H = {width} >= {rule}", f"m_H = {width} < {rule}")


def _last(stages: tuple[Stage, ...]) -> Evidence:
    plain = bool(stages) and stages[-1].is_layer
    return _fact(plain, "sigma(A h + c)", "the features are not sigma(A h + c) with A of its own")


def _activation(stages: tuple[Stage, ...]) -> Evidence:
    found = activations(stages)
    if len(found) != 1:
        return _refuted(f"activations: {', '.join(map(str, found)) or 'none'}")
    sigma = found[0]
    if sigma.name == "relu":
        return _proved("relu, by hinges")
    analytic, polynomial = is_analytic(sigma), is_polynomial(sigma)
    if analytic is Truth.PROVED and polynomial is Truth.REFUTED:
        return _proved(f"{sigma} is real analytic on R and no polynomial")
    if analytic is Truth.REFUTED:
        return _refuted(f"{sigma} is not analytic")
    if polynomial is Truth.PROVED:
        return _refuted(f"{sigma} is a polynomial")
    return _open(f"{sigma} is not proved to be analytic and no polynomial")


def _sums(stages: tuple[Stage, ...]) -> Evidence:
    bare = [stage.nodes[0] for stage in stages if stage.is_bare_activation]
    if not bare:
        return _proved("no activation acts without a linear layer of its own")
    for node in bare:
        sigma = node.attributes["activation"]
        truth = is_strictly_monotone(sigma)
        if truth is not Truth.PROVED:
            told = f"{node.name} acts on a sum, and {sigma} is not proved strictly monotone"
            return _refuted(told) if truth is Truth.REFUTED else _open(told)
    return _proved("the activations after sums are strictly monotone")


def _biases(stages: tuple[Stage, ...], frozen: Frozen) -> Evidence:
    for stage in stages:
        if not stage.is_layer:
            continue
        present = [node.parameters["bias"] for node in stage.nodes if "bias" in node.parameters]
        if not present:
            return _refuted(f"{stage.nodes[0].name} has no bias before its activation")
        if frozen is not None and set(present) <= frozen:
            return _refuted(f"{', '.join(present)}: frozen")
    return _open(UNDECLARED) if frozen is None else _proved("a free bias in every hidden layer")


def _free(graph: Graph, stages: tuple[Stage, ...], frozen: Frozen) -> Evidence:
    if graph.ties:
        return _refuted(f"tied: {', '.join(graph.ties[0])}")
    if frozen is None:
        return _open(UNDECLARED)
    held = sorted(
        role
        for stage in stages
        for node in stage.nodes
        if node.op == "linear"
        for slot, role in node.parameters.items()
        if role in frozen and not (slot == "bias" and stage.of("batch_norm") and stage.is_layer)
    )
    if held:
        return _refuted(f"frozen: {', '.join(held)}")
    how = "declared: nothing of the hidden layers"
    return Evidence(Truth.PROVED, assumes=(UNCONSTRAINED,), how=how)


def _scales(graph: Graph, stages: tuple[Stage, ...], frozen: Frozen) -> Evidence:
    norms = [node for stage in stages for node in stage.nodes if node.op == "batch_norm"]
    for node in norms:
        if node.attributes["training"]:
            return _refuted(f"{node.name} is in training form")
        if not _is_defined(graph, node):
            return _refuted(f"{node.name} has a channel with variance + epsilon <= 0")
        role = node.parameters.get("weight")
        trained = frozen is not None and role not in frozen
        if role is not None and not trained and not np.all(graph.stored[role] != 0):
            told = f"{role} has an entry that is zero"
            return _open(f"{told}, and {UNDECLARED}") if frozen is None else _refuted(told)
    return _proved(f"{len(norms)} batch norms" if norms else "no batch norm")


def _is_defined(graph: Graph, node: Node) -> bool:
    """Return whether variance + epsilon > 0 in every channel, exactly."""
    least = float(graph.stored[node.parameters["variance"]].min())
    return bool(Fraction(least) + node.attributes["epsilon"] > 0)

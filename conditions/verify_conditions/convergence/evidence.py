"""Bindings: which kernel computes which quantity of a theorem, in which precision."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from fractions import Fraction

import numpy as np

from verify.condition import Binding, Effort
from verify.enclosure import Enclosure
from verify.evidence import Evidence, Witness
from verify.network import Equilibrium, Graph
from verify.statement import Fact, Quantity
from verify.verdict import Truth
from verify_conditions.convergence import linearisation as ln
from verify_conditions.convergence import quantities as q
from verify_conditions.convergence.linearisation import Linearisation, linearisation
from verify_conditions.convergence.problem import Problem
from verify_conditions.convergence.search import Step, propose_radius, propose_step
from verify_conditions.linearisation import implicit_state, residual, spectrum
from verify_conditions.trained_tensors import last_weight_trained, output_roles
from verify_kernels.activation_analysis import analyse
from verify_kernels.residual import consistency, newton_step

Item = Quantity | Fact
_CONTINUOUS = (
    "of weights with zero loss only those count at which the equilibria are continuous functions "
    "of the weights"
)
Compute = Callable[[Problem, Effort], Evidence]


def exactly(value: Fraction, how: str = "") -> Evidence:
    """Return the evidence of a rational number that was declared or chosen."""
    return Evidence(Enclosure.outward(value, value), how=how or f"exactly {value}")


def bindings(
    about: tuple[Item, ...], named: dict[Item, Compute], route: str
) -> tuple[Binding, ...]:
    """Return one binding for each item; its evidence is computed once a route."""

    def one(item: Item) -> Binding:
        key = f"evidence {route} {item.symbol}"
        return Binding(
            item,
            lambda problem, effort, aim: problem.once(key, lambda: named[item](problem, effort)),
        )

    return tuple(one(item) for item in about)


# Facts ---------------------------------------------------------------------------------------


def _no_decay(problem: Problem, effort: Effort) -> Evidence:
    decay = problem.declared.decay
    if decay == 0:
        return Evidence(Truth.PROVED, how="no weight decay is declared")
    return Evidence(Truth.REFUTED, how=f"weight decay {decay} is declared")


def _plain(problem: Problem, effort: Effort) -> Evidence:
    """Decide whether zero loss survives the penalty: only with a last layer of zeros, f = 0."""
    decay = problem.declared.decay
    if decay == 0:
        return Evidence(Truth.PROVED, how="no weight decay is declared")
    if not outputs_vanish_at_zero(problem):
        why = "the last layer is not trained as a whole, or another layer reads its tensors"
        return Evidence(Truth.UNDECIDED, why_open=why)
    places = np.argwhere(problem.targets != 0)
    if not len(places):
        return Evidence(Truth.PROVED, how="all targets are zero")
    sample, output = (int(k) for k in places[0])
    target = float(problem.targets[sample, output])
    return Evidence(
        Truth.REFUTED,
        Witness("weight-decay", {"decay": decay, "sample": sample, "output": output,
                                 "target": Fraction(target)}),
        () if problem.graph is not None else (_CONTINUOUS,),
        how=f"where training with weight decay {decay} comes to rest with zero loss, the last "
        f"layer is zero and so are the outputs, but the target of sample {sample} is {target!r}",
    )  # fmt: skip


def outputs_vanish_at_zero(problem: Problem) -> bool:
    """Whether all tensors of the last layer are trained, and read by no other layer."""
    if problem.graph is None:
        return {"readout.u", "readout.v"} <= problem.trained
    own = problem.graph.nodes[problem.graph.last_affine or 0].parameters.values()
    return set(own) == output_roles(problem.graph, problem.frozen)


def _consistent(problem: Problem, effort: Effort) -> Evidence:
    network: Graph | Equilibrium = problem.graph or problem.network
    return consistency(network, problem.inputs, problem.targets, problem.declared.frozen)


def _last_trained(problem: Problem, effort: Effort) -> Evidence:
    return last_weight_trained(problem.graph, problem.frozen)


def _tame(problem: Problem, effort: Effort) -> Evidence:
    """All named activations are piecewise analytic with finitely many pieces."""
    graph = problem.graph
    found = [
        node.attributes["activation"] for node in (graph.nodes if graph else ())
        if node.op == "activation"
    ]  # fmt: skip
    for activation in found:
        order = None if activation.is_named else analyse(activation).order
        if not (activation.is_named or (order is not None and order >= 1)):
            return Evidence(
                Truth.UNDECIDED,
                why_open=f"{activation} is not proved to be continuously differentiable",
            )
    return Evidence(
        Truth.PROVED,
        how="every activation is continuously "
        "differentiable, or piecewise analytic with finitely many pieces",
    )


FACTS: dict[Item, Compute] = {
    q.NO_DECAY: _no_decay,
    q.PLAIN: _plain,
    q.CONSISTENT: _consistent,
    q.LAST_TRAINED: _last_trained,
    q.READOUT_TRAINED: _last_trained,
    q.TAME: _tame,
}

# Numbers at a radius -------------------------------------------------------------------------


def flow_radius(problem: Problem, effort: Effort, kind: str, precise: bool) -> Fraction:
    """Return the declared radius, else the proposed one."""
    if problem.declared.radius is not None:
        return problem.declared.radius
    found = linearisation(problem, effort, kind, precise)
    return Fraction(
        problem.once(
            f"radius {kind} {precise}",
            lambda: propose_radius(found.start(), found.lipschitz_float),
        )
    )


_SHORTER = 0.98  # the enclosures of floats are far narrower


def least_h(problem: Problem, effort: Effort, kind: str) -> float:
    """Return about the least h that the enclosures in floats leave possible at that radius.

    An implicit network whose numbers are enclosed and that is not well posed on a ball smaller
    than any path has none.
    """
    found = linearisation(problem, effort, kind, precise=False)
    r, smallest = found.residual.enclosure().lo_float, found.smallest.enclosure().hi_float
    if kind in (ln.IMPLICIT, ln.MONOTONE) and found.smallest.enclosure().lo > 0:
        shorter = _SHORTER * min(r / smallest, float(problem.declared.radius or math.inf))
        if shorter > 0.0 and found.lipschitz_float(shorter) == math.inf:
            return math.inf
    beta = found.lipschitz(flow_radius(problem, effort, kind, precise=False)).enclosure()
    if not (r >= 0.0 and math.isfinite(smallest) and beta.is_bounded and smallest > 0.0):
        return 0.0
    return beta.hi_float * r / smallest**2


def descent_step(problem: Problem, effort: Effort, kind: str, precise: bool) -> Step:
    """Return the proposed radius and step of gradient descent on 1/2 |r|^2."""
    found = linearisation(problem, effort, kind, precise)
    told, scale = problem.declared, problem.scale

    def propose() -> Step:
        radius = None if told.radius is None else float(told.radius)
        step = None if told.step is None else float(told.step * scale)
        return propose_step(found.start(), found.lipschitz_float, radius, step)

    step: Step = problem.once(f"step {kind} {precise}", propose)
    return step


def _descent_radius(problem: Problem, effort: Effort, kind: str, precise: bool) -> Fraction:
    told = problem.declared.radius
    return (
        told if told is not None else Fraction(descent_step(problem, effort, kind, precise).radius)
    )


def _step(problem: Problem, effort: Effort, kind: str, precise: bool) -> Evidence:
    told = problem.declared.step
    if told is not None:
        return exactly(told, "as declared")
    proposed = Fraction(descent_step(problem, effort, kind, precise).step) / problem.scale
    rounded = Enclosure.outward(proposed, proposed, bits=53).lo
    return Evidence(Enclosure(rounded, rounded), how="chosen for the best certified contraction")


def _chosen(problem: Problem) -> str:
    return "chosen" if problem.declared.radius is None else "as declared"


def numbers(kind: str, precise: bool, *, descent: bool = False) -> dict[Item, Compute]:
    """Return how the numbers of a theorem are computed.

    Args:
        kind: of `linearisation`.
        precise: in ball or rational arithmetic.
        descent: the radius is that of gradient descent.
    """

    def here(problem: Problem, effort: Effort) -> Linearisation:
        return linearisation(problem, effort, kind, precise)

    def radius(problem: Problem, effort: Effort) -> Fraction:
        choose = _descent_radius if descent else flow_radius
        return choose(problem, effort, kind, precise)

    def lipschitz(problem: Problem, effort: Effort) -> Evidence:
        return here(problem, effort).lipschitz(radius(problem, effort))

    def norm(problem: Problem, effort: Effort) -> Evidence:
        found = here(problem, effort).norm
        return found or Evidence(Enclosure(0, float("inf")), why_open="not bounded")

    found: dict[Item, Compute] = {
        q.RESIDUAL: lambda problem, effort: here(problem, effort).residual,
        q.RADIUS: lambda problem, effort: exactly(radius(problem, effort), _chosen(problem)),
        q.SCALE: lambda problem, effort: exactly(problem.scale),
        q.NORM_J: norm,
        q.STEP: lambda problem, effort: _step(problem, effort, kind, precise),
        q.R_PATTERN: lambda problem, effort: ln.pattern_radius_of(problem, precise),
    }
    smallest = {ln.TANGENT: q.SIGMA, ln.PATTERN: q.SIGMA, ln.FEATURES: q.S0}
    found[smallest.get(kind, q.S0_IMPLICIT)] = lambda problem, effort: (
        here(problem, effort).smallest
    )
    found[q.B if kind == ln.FEATURES else q.BETA] = lipschitz
    if kind in (ln.IMPLICIT, ln.MONOTONE):
        for item in (q.NORM_W, q.MARGIN, q.NORM_Z, q.NORM_X, q.WIDTH, q.GAMMA):
            found[item] = _implicit_number(item, precise)
    return FACTS | found


def _implicit_number(item: Quantity, precise: bool) -> Compute:
    def compute(problem: Problem, effort: Effort) -> Evidence:
        state = implicit_state(problem, effort, precise)
        return ln.implicit_numbers(problem, state)[item.symbol]

    return compute


# Newton and Kantorovich ----------------------------------------------------------------------


def _newton(problem: Problem, effort: Effort, precise: bool) -> Evidence:
    found = linearisation(problem, effort, ln.TANGENT, precise)
    if not found.smallest.enclosure().lo > 0:
        return Evidence(Enclosure(0, float("inf")), why_open="sigma > 0 is not proved")
    ends = spectrum(problem, effort, precise)
    gram = ends.balls if precise and ends.balls is not None else ends.gram
    return newton_step(residual(problem, effort, precise), gram, ends.smallest.enclosure())


def newton_numbers(precise: bool) -> dict[Item, Compute]:
    """Return how the numbers of the Newton-Kantorovich theorem are computed."""

    def step(problem: Problem, effort: Effort) -> Evidence:
        found: Evidence = problem.once(
            f"newton {precise}", lambda: _newton(problem, effort, precise)
        )
        return found

    def radius(problem: Problem, effort: Effort) -> Fraction:
        if problem.declared.radius is not None:
            return problem.declared.radius
        found = linearisation(problem, effort, ln.TANGENT, precise)
        own, Y = found.start(), step(problem, effort).enclosure().hi_float
        # Theorem A's numbers with |r| = Y sigma are those of Kantorovich.
        start = replace(own, residual=Y * own.smallest if own.smallest > 0 else own.residual)
        return Fraction(
            problem.once(
                f"newton radius {precise}", lambda: propose_radius(start, found.lipschitz_float)
            )
        )

    tangent = numbers(ln.TANGENT, precise)
    return tangent | {
        q.NEWTON: step,
        q.RADIUS: lambda problem, effort: exactly(radius(problem, effort), _chosen(problem)),
        q.BETA: lambda problem, effort: linearisation(
            problem, effort, ln.TANGENT, precise
        ).lipschitz(radius(problem, effort)),
    }

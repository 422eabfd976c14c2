"""What would make an open or failing network pass, and what a passing one entails."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from verify.condition import Effort, RouteOutcome
from verify.verdict import Truth
from verify_conditions.expressivity.problem import GOAL, HERE, Problem
from verify_kernels.structure import is_analytic

_PIXEL = 100.0
"""Entries this large are often whole numbers that training divided."""


def guidance(problem: Problem, outcomes: Sequence[RouteOutcome], effort: Effort) -> list[str]:
    """Return sentences: what to change, or what to declare to learn more."""
    if not problem.fits:
        return _too_narrow(problem)
    refuted = {
        o.route.name for o in outcomes
        if o.truth is Truth.REFUTED and o.route.direction == "necessary" and o.route.goal == GOAL
    }  # fmt: skip
    if refuted:
        return next([text] for name, text in _INSTEAD.items() if name in refuted)
    proved = any(
        o.truth is Truth.PROVED and o.route.direction == "sufficient"
        and o.route.goal in (GOAL, HERE)
        for o in outcomes
    )  # fmt: skip
    return _entailed(problem, outcomes) if proved else _open(problem)


_INSTEAD = {
    "merged-samples": "remove one sample of each pair that the network cannot tell apart, or feed "
    "what distinguishes them",
    "polynomial": "use a hidden layer with an activation that is no polynomial",
    "symmetry": "train biases in every hidden layer, which breaks the symmetry",
    "columns": "end the hidden part with a layer sigma(A h + c) of its own, or widen the layers "
    "that the features are combined from",
}
"""What to change, by the route that fails; the first of them is told."""


def _too_narrow(problem: Problem) -> list[str]:
    most = problem.width + int(problem.ones)
    return [
        f"the last hidden layer needs at least {problem.n - int(problem.ones)} units for "
        f"{problem.n} samples; with its {problem.width} units at most {most} samples can pass",
    ]


def _entailed(problem: Problem, outcomes: Sequence[RouteOutcome]) -> list[str]:
    said = []
    here = {(o.route.direction, o.truth) for o in outcomes if o.route.goal == HERE}
    proved, short = ("sufficient", Truth.PROVED) in here, ("necessary", Truth.REFUTED) in here
    if set(problem.hidden) - (problem.declared.frozen or set()) and _is_analytic(problem):
        said.append("every operation is real analytic in the trained weights, so rank Z = n holds "
                    "at almost every choice of them (all but a null set)")  # fmt: skip
    if not (proved or short):
        said.append("the rank at the stored weights themselves is not proved here; --all-routes "
                    "tries every rung")  # fmt: skip
    elif proved and problem.declared.loss is None:
        said.append("--set expressivity.loss=... (half-squares, mean-squares, cross-entropy, ...) "
                    "gives step size and rate of the last layer")  # fmt: skip
    return said


def _is_analytic(problem: Problem) -> bool:
    """Whether the features are real analytic in the weights, as far as the operations tell."""
    smooth = {"input", "constant", "linear", "conv", "batch_norm", "average_pool", "mean", "add",
              "adaptive_average_pool", "reshape", "transpose", "pad", "slice", "concat", "sub",
              "mul", "affine"}  # fmt: skip
    return all(
        is_analytic(node.attributes["activation"]) is Truth.PROVED
        if node.op == "activation" else node.op in smooth
        for node in problem.graph.nodes[: problem.last]
    )  # fmt: skip


def _open(problem: Problem) -> list[str]:
    said = []
    if problem.declared.frozen is None:
        said.append("--set expressivity.frozen=none (or the list of frozen tensors) lets Theorem D "
                    "and drawn weights speak")  # fmt: skip
    if problem.declared.divisor == 1 and float(np.max(np.abs(problem.inputs.values))) >= _PIXEL:
        said.append("the samples are taken as stored; if training divided them (pixels by 255), "
                    "declare --set expressivity.input_divisor=...")  # fmt: skip
    said.append("a larger --budget gives ball arithmetic and split products more time, and "
                "--set expressivity.seed=... draws other weights")  # fmt: skip
    return said

"""The question about one network: does training from these weights reach zero loss?"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from fractions import Fraction
from functools import cached_property
from typing import Any

import numpy as np

from verify.errors import SettingsError
from verify.network import Data, Graph, Run
from verify_conditions.convergence.declared import NAME, Declared, read
from verify_conditions.dense_networks import Dense, dense_of
from verify_conditions.regression import fit, require_family
from verify_kernels.forward.inputs import Inputs

FLOW, DESCENT, EXISTENCE = "flow", "descent", "existence"


@dataclass(eq=False)
class Problem:
    """One network, its data and declarations; evidence is computed once and kept by name.

    Args:
        network: as it was read.
        graph: the same as a graph, or None for an implicit network.
        data, declared: as given.
        inputs: the samples as exact rationals.
        targets: y, shape (n, m_y), the stored numbers.
    """

    network: Any
    graph: Graph | None
    data: Data
    declared: Declared
    inputs: Inputs
    targets: np.ndarray
    _kept: dict[str, Any] = field(default_factory=dict)

    def once(self, name: str, compute: Callable[[], Any]) -> Any:
        """Return the value kept under the name, computed at the first request."""
        if name not in self._kept:
            self._kept[name] = compute()
        return self._kept[name]

    @property
    def n(self) -> int:
        """Number of samples."""
        return self.inputs.count

    @property
    def outputs(self) -> int:
        """m_y, the number of outputs."""
        return int(self.targets.shape[1])

    @property
    def frozen(self) -> frozenset[str]:
        """The roles of the tensors that training does not change."""
        return self.declared.frozen

    @cached_property
    def scale(self) -> Fraction:
        """s: the loss is s/2 times the sum of squares."""
        return self.declared.scale(self.n)

    @cached_property
    def dense(self) -> Dense | None:
        """The network if it is fully connected and ties no tensors."""
        return dense_of(self.network, self.graph)

    @property
    def trained(self) -> frozenset[str]:
        """The roles of the tensors that training changes."""
        roles = self.graph.stored if self.graph is not None else self.network.tensors()
        return frozenset(roles) - self.declared.frozen


def prepare(
    network: Any, data: Data | None, run: Run | None, settings: Mapping[str, str]
) -> Problem:
    """Return the problem, or say why the condition cannot speak about the network.

    Raises:
        NotApplicable: another family, outputs that are not affine, or another loss.
        SettingsError: a malformed or missing setting, or no data.
        InputError: the data do not fit the network.
    """
    require_family(NAME, network)
    told = read(settings, network)
    found = fit(NAME, network, data, told.divisor)
    if data is None or found.targets is None:
        raise SettingsError(
            f"{NAME}: expected targets y beside X, but got none; add y (n,) or (n, outputs) to the "
            "data"
        )
    return Problem(network, found.graph, data, told, found.inputs, found.targets)


def goal_of(problem: Problem) -> str:
    """With a declared step the verdict is about gradient descent, else about the flow."""
    return FLOW if problem.declared.step is None else DESCENT


def describe(problem: Problem) -> dict[str, str]:
    """Return what was declared or derived, as exact text."""
    told = problem.declared
    lines = {
        "samples n": str(problem.n),
        "outputs": str(problem.outputs),
        "loss": f"{told.loss}, s = {problem.scale}",
        "frozen": ", ".join(sorted(told.frozen)) or "none",
    }
    if told.step is not None:
        lines["step"] = str(told.step)
    if told.radius is not None:
        lines["radius"] = str(told.radius)
    if told.decay:
        lines["weight decay"] = str(told.decay)
    if told.divisor != 1:
        lines["inputs"] = f"the stored numbers divided by {told.divisor}, exactly"
    return lines

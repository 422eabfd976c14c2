"""The well-posedness question about one network: its slopes, its W, what was computed once."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from fractions import Fraction
from typing import Any

from verify.condition import NotApplicable
from verify.enclosure import Enclosure
from verify.errors import InputError
from verify.evidence import Evidence
from verify.network import AffineInput, Data, Equilibrium, ReluFeatureInput
from verify_kernels.matrix import MatrixEnclosure
from verify_kernels.slopes import SlopeClass, slope_class
from verify_kernels.state_weight import enclose_state_weight

GOAL_EVERY_B = "every-b"
GOAL_EVERY_X = "every-input"


@dataclass(eq=False)
class Problem:
    """One network and what is asked about it; evidence is computed once and kept by name."""

    network: Equilibrium
    data: Data | None
    slopes: SlopeClass
    weight: MatrixEnclosure
    _kept: dict[str, Any] = field(default_factory=dict)

    def once(self, name: str, compute: Callable[[], Any]) -> Any:
        """Return the value kept under the name, computed at the first request."""
        if name not in self._kept:
            self._kept[name] = compute()
        return self._kept[name]

    def kept(self, name: str) -> Any:
        """Return the value kept under the name, or None."""
        return self._kept.get(name)

    @property
    def lipschitz(self) -> Fraction:
        """L = max(|alpha|, |beta|)."""
        return max(abs(self.slopes.alpha), abs(self.slopes.beta))

    @property
    def nonnegative_slopes(self) -> bool:
        """Whether all secant slopes are >= 0, so that they lie in [0, beta]."""
        return self.slopes.alpha >= 0

    @property
    def unit_slopes(self) -> bool:
        """Whether all secant slopes lie in [0, 1]."""
        return self.slopes.alpha >= 0 and self.slopes.beta <= 1

    @property
    def one_sided(self) -> bool:
        """Whether the activation is relu or leaky_relu(alpha) with 0 < alpha < 1."""
        name = self.network.activation.name
        return name == "relu" or (name == "leaky_relu" and 0 < self.slopes.alpha < 1)

    @property
    def has_exact_criterion(self) -> bool:
        """Whether a necessary and sufficient condition is known for the activation."""
        return self.one_sided or self.network.activation.name in ("tanh", "sigmoid", "softplus")

    @property
    def has_evaluable_input(self) -> bool:
        """Whether b(x) is a map that this program can evaluate exactly."""
        return isinstance(self.network.input, AffineInput | ReluFeatureInput)


def prepare(network: Any, data: Data | None, run: Any, settings: Mapping[str, str]) -> Problem:
    """Return the problem, or say why the condition cannot speak about the network."""
    if not isinstance(network, Equilibrium):
        raise NotApplicable(
            f"well-posedness speaks about equilibrium networks z = sigma(W z + b), "
            f"and this is a {getattr(network, 'family', type(network).__name__)} network"
        )
    try:
        slopes = slope_class(network.activation)
    except InputError as error:
        raise NotApplicable(
            "well-posedness needs proved bounds of the activation's secant slopes, and none are "
            f"known here for {network.activation}"
        ) from error
    return Problem(network, data, slopes, enclose_state_weight(network.weight))


def goal_of(problem: Problem) -> str:
    """With an input map the verdict is about every input, without one about every b."""
    return GOAL_EVERY_B if problem.network.input is None else GOAL_EVERY_X


def exact(value: Fraction | int) -> Evidence:
    """Return the evidence of a number that is known exactly."""
    return Evidence(Enclosure.outward(value, value), how=f"exactly {value}")


def describe(problem: Problem) -> dict[str, str]:
    """Return what was declared or derived about the network, as exact text."""
    slopes = problem.slopes
    return {
        "secant slopes": f"[{slopes.alpha}, {slopes.beta}]: {slopes.why}",
        **{name: str(value) for name, value in problem.network.weight.constants().items()},
    }

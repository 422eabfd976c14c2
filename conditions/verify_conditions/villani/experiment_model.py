r"""The risk of a two-layer network in plain floats, with its gradient: what training moves.

    u(x) = a . sigma(W x),   f(W) = loss on the data + (lambda/2) ||W||_F^2,

a_j = +-1/sqrt(p) with alternating signs, frozen unless it is said to be trained (then with the
same penalty). The numbers here train; they prove nothing.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from fractions import Fraction

import numpy as np
from numpy.typing import NDArray

from verify.errors import InputError
from verify.network import Activation, TwoLayer
from verify_conditions.villani.experiment_data import Task

Array = NDArray[np.float64]
CONDITION = "villani"


def _tanh(z: Array) -> tuple[Array, Array]:
    value = np.tanh(z)
    return value, 1.0 - value * value


def _sigmoid(z: Array) -> tuple[Array, Array]:
    value = 0.5 * (1.0 + np.tanh(0.5 * z))
    return value, value * (1.0 - value)


def _softplus(z: Array) -> tuple[Array, Array]:
    return np.logaddexp(0.0, z), _sigmoid(z)[0]


ACTIVATIONS: Mapping[str, Callable[[Array], tuple[Array, Array]]] = {
    "tanh": _tanh,
    "sigmoid": _sigmoid,
    "softplus": _softplus,
}
"""sigma and sigma' of the activations that can be trained."""


@dataclass(frozen=True, eq=False)
class Weights:
    """W (p, d) and a (p,); also the shape of a gradient."""

    W: Array
    a: Array


@dataclass(frozen=True, eq=False)
class Model:
    """A risk: what stays the same during training.

    Args:
        task: the data and the loss.
        activation: tanh, sigmoid or softplus.
        width: p.
        lam: lambda >= 0, exact; training uses its nearest binary64 number.
        outer_trained: whether a is trained too, with penalty (lambda/2) ||a||^2.

    Raises:
        InputError: another activation or loss, no width, a negative lambda.
    """

    task: Task
    activation: str
    width: int
    lam: Fraction
    outer_trained: bool = False

    def __post_init__(self) -> None:
        if self.activation not in ACTIVATIONS:
            raise InputError(
                f"Model: expected one of {', '.join(ACTIVATIONS)}, but got {self.activation!r}"
            )
        if self.task.loss not in ("half-mean-squares", "logistic"):
            raise InputError(
                f"Model: expected half-mean-squares or logistic, but got {self.task.loss!r}"
            )
        if self.width < 1 or self.lam < 0:
            raise InputError(
                f"Model: expected width >= 1 and lambda >= 0, but got {self.width} and {self.lam}"
            )

    @property
    def outer(self) -> Array:
        """The outer weights at the start: 1/sqrt(p) with alternating signs."""
        signs = np.where(np.arange(self.width) % 2 == 0, 1.0, -1.0)
        return signs / math.sqrt(self.width)

    def start(self, tau: float, seed: int) -> Weights:
        """Draw the entries of W from N(0, tau^2)."""
        shape = (self.width, self.task.X.shape[1])
        return Weights(tau * np.random.default_rng(seed).standard_normal(shape), self.outer)

    def network(self, weights: Weights) -> TwoLayer:
        """Return the network that a condition speaks about, with these very numbers."""
        return TwoLayer(weights.W, weights.a, Activation.parse(self.activation))

    def settings(self, **more: str) -> dict[str, str]:
        """Return the declarations of the condition, with further ones by bare name."""
        own = {
            "outer": "trained" if self.outer_trained else "frozen",
            "loss": self.task.loss,
            "weight_decay": str(self.lam),
        }
        return {f"{CONDITION}.{key}": text for key, text in (own | more).items()}

    def value(self, weights: Weights) -> float:
        """Return f."""
        X, y = self.task.X, self.task.y
        u = ACTIVATIONS[self.activation](X @ weights.W.T)[0] @ weights.a
        losses = np.logaddexp(0.0, -y * u) if self.task.loss == "logistic" else 0.5 * (u - y) ** 2
        squares = np.sum(weights.W**2) + (np.sum(weights.a**2) if self.outer_trained else 0.0)
        return float(np.mean(losses) + 0.5 * float(self.lam) * squares)

    def gradient(self, weights: Weights, rows: NDArray[np.int64] | None = None) -> Weights:
        """Return the gradient of the penalty plus that of the loss on some rows (all of them)."""
        X = self.task.X if rows is None else self.task.X[rows]
        y = self.task.y if rows is None else self.task.y[rows]
        value, slope = ACTIVATIONS[self.activation](X @ weights.W.T)
        u = value @ weights.a
        pull = -y * _sigmoid(-y * u)[0] if self.task.loss == "logistic" else u - y
        lam, share = float(self.lam), pull / len(y)
        back = (share[:, None] * slope * weights.a).T @ X + lam * weights.W
        outer = share @ value + lam * weights.a if self.outer_trained else np.zeros_like(weights.a)
        return Weights(back, outer)

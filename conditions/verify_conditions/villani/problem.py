"""The Villani question about one network: what is trained, on which data, with which penalties."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from fractions import Fraction
from functools import cached_property
from typing import Any

import numpy as np

from verify.condition import NotApplicable
from verify.errors import InputError, SettingsError
from verify.network import Data, Run, TwoLayer
from verify.network.weights import Array
from verify.verdict import Truth
from verify_conditions.villani.declared import Declared, read
from verify_kernels.activation_analysis import ActivationFacts, analyse
from verify_kernels.two_layer.samples import Samples

GOAL = "villani"
_TRAINED = ("regularised", "unregularised")
_LARGEST_INTEGER = 2**53


@dataclass(eq=False)
class Problem:
    """One network, its data and declarations; evidence is computed once and kept by name."""

    network: TwoLayer
    data: Data
    run: Run | None
    declared: Declared
    labels: Array
    _kept: dict[str, Any] = field(default_factory=dict)

    def once(self, name: str, compute: Callable[[], Any]) -> Any:
        """Return the value kept under the name, computed at the first request."""
        if name not in self._kept:
            self._kept[name] = compute()
        return self._kept[name]

    @cached_property
    def activation(self) -> ActivationFacts:
        """What is proved about the activation."""
        return analyse(self.network.activation)

    @cached_property
    def samples(self) -> Samples:
        """The inputs, checked to be finite, with a constant 1 where the inner biases are trained.

        Raises:
            InputError: an input is not a finite number that binary64 holds.
        """
        return Samples(self.data.X, self.augmented)

    @property
    def n(self) -> int:
        """Number of samples."""
        return self.data.n

    @property
    def loss_scale(self) -> Fraction:
        """The factor c' of the loss."""
        return self.declared.loss_scale(self.n)

    @property
    def augmented(self) -> bool:
        """Whether x stands for (x, 1): the inner biases are trained."""
        return self.declared.bias in _TRAINED

    @property
    def frozen_bias(self) -> bool:
        """Whether there are frozen inner biases that are not all zero."""
        return self.declared.bias == "frozen" and bool(np.any(self.network.b))

    @property
    def dimension(self) -> int:
        """D, the number of trained parameters."""
        p, d = self.network.width, self.network.dimension
        count = p * d + (p if self.augmented else 0)
        count += p if self.declared.outer == "trained" else 0
        return count + (1 if self.declared.outer_bias in _TRAINED else 0)

    @property
    def penalty_trace(self) -> Fraction:
        """The Laplacian of the quadratic penalties."""
        p, d = self.network.width, self.network.dimension
        told = self.declared
        biases = told.bias_decay * p if self.augmented else Fraction(0)
        return told.decay * p * d + biases + told.outer_bias_decay

    @property
    def smallest_decay(self) -> Fraction:
        """The smallest factor of a penalty among the penalised trained inner parameters."""
        told = self.declared
        found = [told.decay]
        if told.bias == "regularised":
            found.append(told.bias_decay)
        if told.outer_bias == "regularised":
            found.append(told.outer_bias_decay)
        return min(found)

    @property
    def largest_decay(self) -> Fraction:
        """The largest factor of a penalty."""
        return max(self.declared.decays())

    @property
    def standard(self) -> bool:
        """Whether only W, and perhaps penalised inner biases, are trained: numbers exist."""
        told = self.declared
        return (
            told.outer == "frozen"
            and told.bias != "unregularised"
            and told.outer_bias in ("none", "frozen")
        )

    @property
    def every_parameter_penalised(self) -> bool:
        """Whether each trained parameter has a positive quadratic (or quartic) penalty."""
        told = self.declared
        return (
            self.smallest_decay > 0
            and "unregularised" not in (told.bias, told.outer_bias)
            and (told.outer == "frozen" or told.outer_decay > 0)
        )

    @property
    def is_regular(self) -> bool:
        """Whether the activation is proved C-infinity with S_1 and S_2 finite."""
        facts = self.activation
        finite = all(facts.sup_abs(k).finite is Truth.PROVED for k in (1, 2))
        return finite and facts.smooth is Truth.PROVED

    @property
    def is_bounded(self) -> bool:
        """Whether the activation is regular and bounded."""
        return self.is_regular and self.activation.sup_abs(0).finite is Truth.PROVED

    @property
    def is_locally_bounded(self) -> bool:
        """Whether the activation is proved to be bounded on every bounded set."""
        facts = self.activation
        continuous = facts.smooth is Truth.PROVED or (facts.order is not None and facts.order >= 0)
        bounded = facts.sup_abs(0).finite is Truth.PROVED
        return facts.defined is Truth.PROVED and (continuous or bounded)

    @property
    def is_homogeneous(self) -> bool:
        """Whether the activation is regular and sigma(z) - z sigma'(z) bounded."""
        return self.is_regular and self.activation.kappa0.finite is Truth.PROVED

    @property
    def has_bounded_gradient(self) -> bool:
        """Whether the gradient of the data part is bounded."""
        return self.is_regular if self.declared.logistic else self.is_bounded

    @property
    def pulls_one_way(self) -> bool:
        """Whether sigma >= 0, sigma'' >= 0 and all outer weights have one sign (softplus)."""
        a, facts = self.network.a, self.activation
        one_signed = not (a > 0).any() or not (a < 0).any()
        convex = all(
            found.inf.finite is Truth.PROVED and found.inf.value.lo >= 0
            for found in (facts.d0, facts.d2)
        )
        squares = not self.declared.logistic
        return squares and convex and self.is_regular and one_signed and self.frozen_shift == 0

    @property
    def frozen_tensors(self) -> tuple[str, ...]:
        """The stored tensors that are declared frozen, if there are checkpoints to compare."""
        if self.run is None or not self.run.checkpoints:
            return ()
        told = {"a": self.declared.outer, "b": self.declared.bias, "c": self.declared.outer_bias}
        return tuple(role for role, word in told.items() if word == "frozen")

    @property
    def has_quartic_outer(self) -> bool:
        """Whether the outer layer is trained with a quartic penalty and there is no outer bias."""
        told = self.declared
        return (told.outer, told.outer_penalty, told.outer_bias) == ("trained", "quartic", "none")

    @property
    def frozen_shift(self) -> float:
        """The frozen outer bias, which shifts the labels; 0 without one."""
        c = self.network.c
        return float(c[0]) if c is not None and self.declared.outer_bias == "frozen" else 0.0


def prepare(
    network: Any, data: Data | None, run: Run | None, settings: Mapping[str, str]
) -> Problem:
    """Return the problem, or say why the condition cannot speak about the network."""
    if not isinstance(network, TwoLayer):
        raise NotApplicable(
            "the Villani property is stated for two-layer networks u(x) = a . sigma(W x + b) + c, "
            f"and this is a {getattr(network, 'family', type(network).__name__)} network"
        )
    told = read(settings, has_bias=network.b is not None, has_outer_bias=network.c is not None)
    if data is None:
        raise SettingsError(
            "villani: expected the training data, on which the risk depends, but got none; "
            "add --data with X (n, d) and y (n,)"
        )
    labels = _labels(data, network, told)
    if np.asarray(data.X).dtype == np.bool_:
        data = replace(data, X=np.asarray(data.X).astype(np.uint8))
    problem = Problem(network, data, run, told, labels)
    problem.samples  # noqa: B018 - refuses inputs that are not finite before any route is tried
    facts = problem.activation
    if facts.defined is Truth.REFUTED:
        why = facts.why.get("defined", "")
        raise SettingsError(
            f"--activation: expected a formula with a value at every real z, "
            f"but got {network.activation}{f': {why}' if why else ''}"
        )
    return problem


def _labels(data: Data, network: TwoLayer, told: Declared) -> Array:
    if data.n == 0:
        raise InputError("villani: expected at least one sample, but got none")
    if np.shape(data.X)[1:] != (network.dimension,):
        raise InputError(
            f"villani: expected samples X of shape (n, {network.dimension}), "
            f"but got {np.shape(data.X)}"
        )
    if data.y is None or np.size(data.y) != data.n:
        got = "none; add y to the data" if data.y is None else f"shape {np.shape(data.y)}"
        raise InputError(f"villani: expected one target y for each sample, but got {got}")
    labels = _exact_floats(np.reshape(data.y, -1))
    if not np.isfinite(labels).all():
        place = int(np.argmin(np.isfinite(labels)))
        raise InputError(
            f"villani: expected finite targets y, but got {labels[place]:g} at sample {place}"
        )
    if told.logistic and not np.isin(labels, (-1.0, 1.0)).all():
        odd = labels[~np.isin(labels, (-1.0, 1.0))][0]
        raise InputError(
            f"villani: expected labels -1 and +1 for the logistic loss, but got {odd:g}; "
            "labels 0 and 1 become 2 y - 1"
        )
    return labels


def _exact_floats(given: Array) -> Array:
    """Return numbers as float64 without rounding them."""
    whole = given.dtype.kind in "biu"
    largest = max(int(given.max()), -int(given.min())) if whole else 0
    floats = given.dtype in (np.float16, np.float32, np.float64)
    if not (floats or whole) or largest > _LARGEST_INTEGER:
        found = f"{given.dtype}, {largest} among them" if whole else str(given.dtype)
        raise InputError(
            "villani: expected targets y as floats of at most 64 bits or as integers up to 2^53, "
            f"but got {found}"
        )
    return np.ascontiguousarray(given, dtype=np.float64)


def goal_of(problem: Problem) -> str:
    """The verdict is always about the Villani property."""
    return GOAL


def describe(problem: Problem) -> dict[str, str]:
    """Return what was declared or derived, as exact text."""
    told = problem.declared
    d = problem.network.dimension
    trained = ["W"]
    trained += ["b"] * problem.augmented + ["a"] * (told.outer == "trained")
    trained += ["c"] * (told.outer_bias in _TRAINED)
    lines = {
        "inputs": str(d),
        "samples": str(problem.n),
        "loss": f"{told.loss}, c' = {problem.loss_scale}",
        "lambda": str(told.decay),
        "trained": ", ".join(trained),
    }
    if told.bias == "regularised" and told.bias_decay != told.decay:
        lines["lambda of b"] = str(told.bias_decay)
    if told.outer_bias == "regularised" and told.outer_bias_decay != told.decay:
        lines["lambda of c"] = str(told.outer_bias_decay)
    if told.outer == "trained":
        lines["lambda of a"] = f"{told.outer_decay} ({told.outer_penalty})"
    return lines

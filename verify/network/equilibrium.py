"""Equilibrium networks z = sigma(W z + b(x))."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

from verify.network.activation import Activation
from verify.network.feedforward import Feedforward
from verify.network.graph import Graph
from verify.network.teacher_student import TeacherStudent
from verify.network.two_layer import TwoLayer
from verify.network.weights import Array, StateWeight


@dataclass(frozen=True, eq=False)
class AffineInput:
    """b(x) = U x + bias, U (m, d), bias (m,), x in R^d."""

    U: Array
    bias: Array

    equation = "b(x) = U x + bias"

    @property
    def dimension(self) -> int:
        """D."""
        return int(self.U.shape[1])

    def tensors(self) -> Mapping[str, Array]:
        """The stored tensors by role."""
        return {"U": self.U, "bias": self.bias}


@dataclass(frozen=True, eq=False)
class ReluFeatureInput:
    """b(x) = phi(x) = relu(V x) / sqrt(m), V (m, d): the features of Gao et al."""

    V: Array

    equation = "b(x) = relu(V x) / sqrt(m)"

    @property
    def dimension(self) -> int:
        """D."""
        return int(self.V.shape[1])

    def tensors(self) -> Mapping[str, Array]:
        """The stored tensors by role."""
        return {"V": self.V}


@dataclass(frozen=True, eq=False)
class OpaqueInput:
    """b(x) computed by other stored tensors that this program does not evaluate.

    Only the goal "for every b" can be decided; ``equation`` names the map.
    """

    equation: str
    stored: Mapping[str, Array] = field(default_factory=dict)

    def tensors(self) -> Mapping[str, Array]:
        """The stored tensors by name."""
        return dict(self.stored)


@dataclass(frozen=True, eq=False)
class Equilibrium:
    """z = sigma(W z + b(x)), sigma applied to every coordinate, z in R^m.

    Args:
        weight: the state weight in the parametrisation in which it is stored.
        activation: sigma.
        input: b(x), or None if the file has no input map (then b ranges over R^m).
        readout: tensors that use z (output layer); they do not enter any hypothesis here.
        notes: what the reader saw and a person should know, one sentence each.
    """

    weight: StateWeight
    activation: Activation
    input: AffineInput | ReluFeatureInput | OpaqueInput | None = None
    readout: Mapping[str, Array] = field(default_factory=dict)
    notes: tuple[str, ...] = ()

    family = "equilibrium"

    @property
    def width(self) -> int:
        """M."""
        return self.weight.width

    @property
    def equation(self) -> str:
        """The equation in words of the field."""
        where = f", {self.input.equation}" if self.input is not None else ""
        sigma = self.activation
        return f"z = {sigma.at('W z + b')}{where}; {self.weight.equation}{sigma.where}"

    def tensors(self) -> Mapping[str, Array]:
        """All tensors by role, for digests; roles are stable across file formats."""
        named: dict[str, Array] = {f"weight.{k}": v for k, v in self.weight.tensors().items()}
        if self.input is not None:
            named |= {f"input.{k}": v for k, v in self.input.tensors().items()}
        return named | {f"readout.{k}": v for k, v in self.readout.items()}


@dataclass(frozen=True, eq=False)
class Data:
    """Samples X (n, d), targets y (n,) or (n, k), solver outputs Z (n, m), exactly as stored."""

    X: Array
    y: Array | None = None
    source: str = ""
    Z: Array | None = None

    def tensors(self) -> Mapping[str, Array]:
        """The arrays by role."""
        named = {"data.X": self.X, "data.y": self.y, "data.Z": self.Z}
        return {role: array for role, array in named.items() if array is not None}

    @property
    def n(self) -> int:
        """Number of samples."""
        return int(np.shape(self.X)[0])


@dataclass(frozen=True, eq=False)
class StoredCheckpoint:
    """One stored state of the network along its training.

    Args:
        step: the number of training steps that it states, or None.
        name: of its file.
        network: of the same family and shapes as the network that is checked.
    """

    step: int | None
    name: str
    network: Equilibrium | TwoLayer | Feedforward | Graph | TeacherStudent


@dataclass(frozen=True)
class Run:
    """What is declared about the training run, and its checkpoints in order."""

    settings: Mapping[str, object] = field(default_factory=dict)
    checkpoints: tuple[StoredCheckpoint, ...] = ()

    def tensors(self) -> Mapping[str, Array]:
        """All tensors by place in the run and role, for digests."""
        return {
            f"run.{place}.{role}": array
            for place, checkpoint in enumerate(self.checkpoints)
            for role, array in checkpoint.network.tensors().items()
        }

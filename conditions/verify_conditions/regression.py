"""A network held against its data: samples and targets as exact numbers, checked for shape."""

from __future__ import annotations

import math
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import numpy as np

from verify.condition import NotApplicable
from verify.errors import InputError, SettingsError
from verify.network import Data, Equilibrium, Graph, graph_of
from verify.network.equilibrium import ReluFeatureInput
from verify.network.weights import ScaledGaussianWeight
from verify_conditions.square_loss import check_targets
from verify_conditions.trained_tensors import output_layer
from verify_kernels.forward.inputs import Inputs


@dataclass(frozen=True, eq=False)
class Fit:
    """Samples and targets that fit a network.

    Args:
        graph: the network as a graph, or None for an implicit network.
        inputs: the samples as exact rationals.
        targets: y, shape (n, m_y), the stored numbers; None where none are given.
        outputs: m_y.
    """

    graph: Graph | None
    inputs: Inputs
    targets: np.ndarray | None
    outputs: int


def fit(condition: str, network: Any, data: Data | None, divisor: Fraction) -> Fit:
    """Return samples and targets for a network that ends in an affine layer, or an implicit one.

    Args:
        condition: its name, for sentences.
        network: any family.
        data: with X, perhaps y.
        divisor: the inputs are the stored numbers divided by it.

    Raises:
        NotApplicable: another family, or outputs that are not affine.
        SettingsError: no data.
        InputError: data that do not fit the network.
    """
    graph = require_family(condition, network)
    if graph is None:
        shape: tuple[int, ...] = (network.input.dimension,)
        outputs = _readouts(network)
    else:
        head = graph.nodes[output_layer(condition, graph)]
        shape, outputs = graph.sample_shape, math.prod(head.shape)
    if data is None:
        raise SettingsError(
            f"{condition}: expected the training data, but got none; add --data with X (n, d) "
            "and y (n,) or (n, outputs)"
        )
    inputs = Inputs.of(data.X, shape, divisor)
    if not inputs.count:
        raise InputError(f"{condition}: expected at least one sample, but got none")
    y = data.y
    targets = None if y is None else check_targets(condition, y, inputs.count, outputs)
    return Fit(graph, inputs, targets, outputs)


def require_family(condition: str, network: Any) -> Graph | None:
    """Return the network as a graph, or None for the implicit ReLU network of Gao et al.

    Raises:
        NotApplicable: another family, or outputs that are not those of an affine layer.
    """
    graph = graph_of(network)
    if graph is None:
        _require_implicit(network)
    else:
        output_layer(condition, graph)
    return graph


def _require_implicit(network: Any) -> None:
    """Refuse all equilibrium networks but that of Gao et al., with its output weights."""
    known = (
        isinstance(network, Equilibrium)
        and isinstance(network.weight, ScaledGaussianWeight)
        and isinstance(network.input, ReluFeatureInput)
        and network.activation.name == "relu"
        and set(network.readout) == {"u", "v"}
    )
    if not known:
        family = getattr(network, "family", type(network).__name__)
        raise NotApplicable(
            "the theorems are about networks that end in an affine layer, and about the implicit "
            "ReLU network z = relu(gamma/sqrt(m) A z + phi(x)) with outputs u.z + v.phi(x) stored "
            f"as A, W, u, v; this is another one of the family {family}"
        )


def _readouts(network: Equilibrium) -> int:
    u = np.asarray(network.readout["u"])
    return 1 if u.ndim == 1 else int(np.prod(u.shape[1:]))

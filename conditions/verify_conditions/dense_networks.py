"""Why a theorem about fully connected networks does not speak about a network, if so."""

from __future__ import annotations

from verify.network import Activation, Feedforward, Graph, TwoLayer
from verify_kernels.jacobian_lipschitz.suprema import suprema

Dense = TwoLayer | Feedforward
NOT_DENSE = "Lipschitz constants are derived for fully connected networks without tied tensors"
_PIECEWISE_LINEAR = ("relu", "leaky_relu", "abs", "hardtanh", "relu6")


def dense_of(network: object, graph: Graph | None) -> Dense | None:
    """Return the network if it is fully connected and ties no tensors."""
    if graph is not None and graph.ties:
        return None
    return network if isinstance(network, TwoLayer | Feedforward) else None


def hidden_activations(network: Dense) -> tuple[Activation, ...]:
    """Return the activations of the hidden layers."""
    return (network.activation,) if isinstance(network, TwoLayer) else network.activations


def not_smooth(network: Dense | None) -> str | None:
    """Say which activation has no Lipschitz continuous derivative."""
    if network is None:
        return NOT_DENSE
    found = (suprema(activation).why_open for activation in hidden_activations(network))
    return next((why for why in found if why), None)


def not_piecewise_linear(network: Dense | None) -> str | None:
    """Say that the network is not one hidden layer with a piecewise linear activation."""
    if network is None:
        return NOT_DENSE
    found = hidden_activations(network)
    if len(found) == 1 and found[0].name in _PIECEWISE_LINEAR:
        return None
    return "is derived for one hidden layer with a piecewise linear activation"

"""Tensors that two layers read or that are frozen, where a certificate is about the last layer."""

from fractions import Fraction

import numpy as np
import pytest

from verify.condition import Effort, NotApplicable
from verify.engine import check
from verify.network import (
    Activation,
    Data,
    Equilibrium,
    Feedforward,
    ReluFeatureInput,
    ScaledGaussianWeight,
    graph_of,
)
from verify.verdict import Verdict
from verify_conditions.regression import require_family
from verify_conditions.trained_tensors import frozen_roles, hidden_roles

ONE = Data(np.array([[1.0]]), np.array([0.0]))


def decided(name, network, data, *, all_routes=True, **settings):
    told = {f"{name}.{key}": str(value) for key, value in settings.items()}
    effort = Effort(budget=20.0, all_routes=all_routes)
    [found] = check(network, data, conditions=[name], settings=told, effort=effort)
    return found, {route["name"]: route["truth"] for route in found.claim["routes"]}


def tied(b1=-2.0):
    """f(x) = w (w x - 2): at w = x = 1 the only feature is -1, and df/dw = 0."""
    one, bias = np.array([[1.0]]), np.array([b1])
    sigma = Activation("identity")
    return Feedforward((one, one), (bias, None), (sigma,), ties=(("W1", "W2"),))


def test_a_last_weight_that_another_layer_reads_proves_no_inequality():
    found, routes = decided("gradient-inequality", tied(), ONE, frozen="b1")
    assert found.verdict is not Verdict.PASS
    assert routes["last-layer"] == routes["last-layer-precise"] == "refuted"


def test_a_shared_tensor_is_frozen_by_any_of_its_roles():
    network = tied()
    graph = graph_of(network)
    frozen = frozen_roles("gradient-inequality", "W1", network, graph)
    assert frozen == {"linear1.weight", "linear2.weight"}
    found, routes = decided("gradient-inequality", network, ONE, frozen="b1,W1")
    assert found.verdict is Verdict.FAIL  # nothing is trained
    assert routes["last-layer"] == "refuted"


def test_a_shared_bias_gives_no_column_of_ones():
    sigma, one = Activation("tanh"), np.array([[1.0]])
    bias = np.array([0.5])
    alone = Feedforward((one, one), (bias, bias), (sigma,))
    shared = Feedforward((one, one), (bias, bias), (sigma,), ties=(("b1", "b2"),))
    assert hidden_roles(graph_of(alone), frozenset())[1]
    hidden, ones = hidden_roles(graph_of(shared), frozenset())
    assert not ones
    assert "linear2.bias" in hidden
    assert "linear2.weight" not in hidden


def implicit():
    """Z = phi = 1, f = 2: the gradients by u, v, W, A are 2, 2, 4, 1, together 5."""
    weight = ScaledGaussianWeight(np.array([[0.0]]), Fraction(1, 2))
    one = np.array([1.0])
    return Equilibrium(
        weight, Activation("relu"), ReluFeatureInput(np.array([[1.0]])), {"u": one, "v": one}
    )


@pytest.mark.parametrize(
    ("frozen", "square"),
    [("none", 25), ("A,V", 8), ("V", 9), ("u,v", 17), ("A,V,u", 4), ("A,V,u,v", 0)],
)
def test_the_gradient_of_an_implicit_network_leaves_frozen_tensors_out(frozen, square):
    below, above = ((square * (1 + sign * 2.0**-40) / 2) ** 0.5 for sign in (-1, 1))
    for kappa, wanted in ((below, "proved"), (above, "refuted")):
        if kappa == 0.0:
            kappa, wanted = 2.0**-300, "refuted"
        _, routes = decided(
            "gradient-inequality", implicit(), ONE, frozen=frozen, kappa=kappa
        )  # L = 2
        assert routes["gradient-kappa"] == wanted, (frozen, kappa)


def test_a_readout_with_more_tensors_is_another_network():
    network = implicit()
    more = {**network.readout, "c": np.array([1.0])}
    other = Equilibrium(network.weight, network.activation, network.input, more)
    with pytest.raises(NotApplicable):
        require_family("converges-from-here", other)

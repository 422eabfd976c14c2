"""Which theorems about fully connected networks speak about a network, and in what words not."""

import numpy as np
import pytest

from verify.network import Activation, Feedforward, TwoLayer, graph_of
from verify_conditions.dense_networks import (
    NOT_DENSE,
    dense_of,
    hidden_activations,
    not_piecewise_linear,
    not_smooth,
)

W, a = np.ones((3, 2)), np.ones(3)


def two(name):
    return TwoLayer(W, a, activation=Activation(name))


@pytest.mark.parametrize("name", ["tanh", "sigmoid", "gelu", "sin", "identity"])
def test_smooth_activations(name):
    assert not_smooth(two(name)) is None


@pytest.mark.parametrize("name", ["relu", "abs", "hardtanh", "relu6"])
def test_kinks_are_named_and_piecewise_linear(name):
    assert not_smooth(two(name)) == f"the derivative of {name} is not proved continuous"
    assert not_piecewise_linear(two(name)) is None


def test_one_kink_among_several_layers_is_enough():
    layers = (np.ones((3, 2)), np.ones((3, 3)), np.ones((1, 3)))
    network = Feedforward(layers, (None,) * 3, (Activation("tanh"), Activation("relu")))
    assert [str(each) for each in hidden_activations(network)] == ["tanh", "relu"]
    assert not_smooth(network) == "the derivative of relu is not proved continuous"
    assert "one hidden layer" in (not_piecewise_linear(network) or "")


def test_a_network_that_is_not_dense_is_told_so():
    graph = graph_of(two("tanh"))
    assert dense_of(graph, graph) is None
    assert not_smooth(None) == not_piecewise_linear(None) == NOT_DENSE

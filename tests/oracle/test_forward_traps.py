"""Traps of the certified pass: every term of the error is needed, and a violation is seen without.

Each test first shows that the enclosure holds, then takes one term away.
"""

import flint
import numpy as np
import pytest
from flint import arb

from verify.network.activation import Activation
from verify.network.graph import GraphBuilder
from verify_kernels.activation_analysis import jet
from verify_kernels.forward import Inputs, enclose_features


def _chain(weight, *, activation=None, twice=False):
    b = GraphBuilder()
    x = b.input((weight.shape[1],))
    x = b.add("linear", (x,), {}, {"weight": ("w", weight)})
    if activation:
        x = b.add("activation", (x,), {"activation": Activation.parse(activation)})
    if twice:
        x = b.add("linear", (x,), {}, {"weight": ("i", np.eye(len(weight)))})
    return b.build(x)


def _true_row(graph, row):
    values = [arb(float(x)) for x in row]
    for node in graph.nodes[1:]:
        if node.op == "activation":
            values = [jet(node.attributes["activation"], x, 0)[0] for x in values]
            continue
        weight = graph.stored[node.parameters["weight"]]
        values = [
            sum((arb(float(w)) * x for w, x in zip(line, values, strict=True)), arb(0))
            for line in weight
        ]
    return values


def _wrong(graph, X):
    """Return how many rows and entries are certainly outside."""
    found = enclose_features(graph, len(graph.nodes) - 1, Inputs.of(X, graph.sample_shape))
    assert np.isfinite(found.row_radius).all()
    wrong = 0
    with flint.ctx.workprec(400):
        for i, row in enumerate(X):
            true = _true_row(graph, row)
            moves = [v - arb(float(m)) for v, m in zip(true, found.mid[i], strict=True)]
            assert all(move.is_finite() for move in moves)
            total = sum((d * d for d in moves), arb(0))
            wrong += bool(total > arb(float(found.row_radius[i])) ** 2)
            radii = () if found.radius is None else found.radius[i]
            wrong += sum(bool(abs(d) > arb(float(r))) for d, r in zip(moves, radii, strict=False))
    return wrong


def test_norms_that_underflow():
    graph = _chain(np.array([[1.3e150, 1.7e150]]))
    assert not _wrong(graph, np.array([[1.1e-170, 1.3e-170]]))
    tiny = _chain(np.full((3, 64), 2.0**-537))
    assert not _wrong(tiny, np.full((2, 64), 1.5 * 2.0**-538))


def test_with_norms_that_forget_underflow(monkeypatch):
    def plain(values, xp):
        return np.sqrt(np.einsum("ij,ij->i", values, values)) * (1.0 + 2.0**-40)

    monkeypatch.setattr("verify_kernels.forward.state.row_norms", plain)  # 0 for this M
    graph = _chain(np.array([[1.3e150, 1.7e150]]))
    assert _wrong(graph, np.array([[1.1e-170, 1.3e-170]]))


def test_without_the_underflow_of_products(monkeypatch):
    # with exact zeros for the norms of what underflows, tau alone pays for lost products
    monkeypatch.setattr("verify_kernels.forward.radii.OMEGA", 0.0)
    tiny, X = _chain(np.full((3, 64), 2.0**-537)), np.full((2, 64), 1.5 * 2.0**-538)
    assert not _wrong(tiny, X)
    monkeypatch.setattr("verify_kernels.forward.dense.underflow", lambda k, s, top: 0.0 * s)
    assert _wrong(tiny, X)


def test_without_the_rounding_of_products(monkeypatch):
    draw = np.random.default_rng(0)
    graph, X = _chain(draw.standard_normal((5, 40))), draw.standard_normal((3, 40))
    assert not _wrong(graph, X)
    monkeypatch.setattr("verify_kernels.forward.dense.gamma", lambda k: 0.0)
    assert _wrong(graph, X)


@pytest.mark.parametrize("activation", ["relu", "tanh", "log(1+exp(z))"])
def test_without_the_lipschitz_constant(monkeypatch, activation):
    draw = np.random.default_rng(1)
    weight = draw.standard_normal((6, 400)) / 20
    weight -= weight.mean(axis=1, keepdims=True)  # sums of large terms that cancel
    graph = _chain(weight, activation=activation)
    X = 1e5 + draw.standard_normal((3, 400))
    assert not _wrong(graph, X)
    name = "verify_kernels.forward.activations.lipschitz_constant"
    monkeypatch.setattr(name, lambda activation: 0.0)
    assert _wrong(graph, X)


@pytest.mark.parametrize("name", ["tanh", "sigmoid", "softplus(100)", "gelu", "mish", "elu(1)"])
def test_without_the_error_of_the_values(monkeypatch, name):
    draw = np.random.default_rng(2)
    graph = _chain(np.eye(60), activation=name)  # every product is exact up to gamma_62 |x|
    X = draw.standard_normal((4, 60))
    assert not _wrong(graph, X)
    monkeypatch.setattr("verify_kernels.forward.dense.gamma", lambda k: 0.0)
    assert not _wrong(graph, X)
    monkeypatch.setattr("verify_kernels.forward.activation_values.units", lambda count: 0.0)
    assert _wrong(graph, X)


def test_without_the_norm_of_the_next_layer(monkeypatch):
    draw = np.random.default_rng(3)
    weight = draw.standard_normal((30, 30))
    graph, X = _chain(weight, activation="relu", twice=True), draw.standard_normal((3, 30))
    assert not _wrong(graph, X)
    monkeypatch.setattr("verify_kernels.forward.dense.bound_norm", lambda *a, **k: 0.0)
    monkeypatch.setattr("verify_kernels.forward.dense.gamma", lambda k: 0.0)
    assert _wrong(graph, X)

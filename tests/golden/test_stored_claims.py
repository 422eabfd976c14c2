"""Stored certificates of small networks: words and formulas equal, numbers overlap.

BLAS differs in the last bit between machines, so enclosures are compared by overlap and by the
ratio of their widths. ``VERIFY_REGEN=1`` writes the files anew; look at the difference.
"""

import os
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest

from verify.certificate import read_certificate, write_certificates
from verify.condition import Effort
from verify.decide import decide
from verify.enclosure import Enclosure, endpoint_from_hex
from verify.engine import check
from verify.network import (
    Activation,
    AffineInput,
    Data,
    Equilibrium,
    Feedforward,
    Graph,
    MonotoneWeight,
    PlainWeight,
    ReluFeatureInput,
    ScaledGaussianWeight,
    TeacherStudent,
    TwoLayer,
)
from verify.statement import from_tree
from verify.verdict import Truth

HERE = Path(__file__).parent
FOLDERS = {
    "well-posedness": HERE / "well_posedness",
    "villani": HERE / "villani",
    "expressivity": HERE / "expressivity",
    "converges-from-here": HERE / "convergence",
    "gradient-inequality": HERE / "gradient_inequality",
}
RELU, TANH = Activation("relu"), Activation("tanh")


def equilibria():
    rng = np.random.default_rng(7)
    dense = rng.standard_normal((6, 6)) / 6
    return {
        "dense": Equilibrium(
            PlainWeight(dense),
            Activation("tanh"),
            AffineInput(rng.standard_normal((6, 2)), dense[0]),
        ),
        "inhibition": Equilibrium(PlainWeight(np.array([[0.0, -3.0], [-3.0, 0.0]])), RELU),
        "leaky": Equilibrium(
            PlainWeight(np.array([[0.0, -3.0], [-3.0, 0.0]])),
            Activation("leaky_relu", (Fraction(1, 2),)),
        ),
        "margin": Equilibrium(
            MonotoneWeight(dense, rng.standard_normal((6, 6)), Fraction(1, 7)), RELU
        ),
        "scaled": Equilibrium(ScaledGaussianWeight(6 * dense, Fraction(1, 4)), RELU),
    }


def two_layer_cases():
    """Networks on one small data set, with what is declared about their training."""
    rng = np.random.default_rng(11)
    W, a = rng.standard_normal((3, 2)), np.array([1.0, -0.5, 0.75])
    frozen = {"outer": "frozen", "weight_decay": "1/10"}
    more = {"s": "1/2", "step": "1/20", "init": "gaussian(1/2)", "noise": "minibatch"}
    b = rng.standard_normal(3)
    return {
        "tanh": (TwoLayer(W, a, Activation.parse("tanh")), frozen | more | {"epsilon": "0.1"}),
        "softplus": (TwoLayer(W, a, Activation.parse("softplus")), frozen | more),
        "formula": (TwoLayer(W, a, Activation.parse("z + sin(z)")), frozen),
        "biases": (TwoLayer(W, a, Activation.parse("sigmoid"), b, np.array(0.25)),
                   frozen | {"bias": "regularised", "outer_bias": "frozen", "s": "1"}),
        "logistic": (TwoLayer(W, a, Activation.parse("gelu")), frozen | {"loss": "logistic"}),
        "trained": (TwoLayer(W, a, Activation.parse("tanh")), frozen | {"outer": "trained"}),
        "kink": (TwoLayer(W, a, RELU), frozen),
        "no-penalty": (TwoLayer(W, a, Activation.parse("tanh")), frozen | {"weight_decay": "0"}),
        "pair": (TwoLayer(W, a, Activation.parse("square")), frozen),
    }  # fmt: skip


def two_layer_data():
    rng = np.random.default_rng(12)
    return Data(rng.standard_normal((7, 2)), np.sign(rng.standard_normal(7)))


def feedforward_cases():
    """Networks on seven samples in the plane, with what is declared about them."""
    rng = np.random.default_rng(13)
    W, a = rng.standard_normal((8, 2)), rng.standard_normal((3, 8))
    b, c = rng.standard_normal(8), np.zeros(3)

    def net(text, *, width=8, inner=b, outer=c):
        inner = None if inner is None else inner[:width]
        return Feedforward((W[:width], a[:, :width]), (inner, outer), (Activation.parse(text),))

    loss = {"loss": "half-squares"}
    everything = {"frozen": "none", "loss": "mean-squares"}
    graph = net("softplus(100)").graph()
    return {
        "tanh": (net("tanh"), loss),
        "theorem": (net("gelu", width=6), everything),
        "relu": (net("relu"), loss | {"input_divisor": "3"}),
        "narrow": (net("tanh", width=5), everything),
        "squares": (net("square"), everything),
        "odd": (net("tanh", inner=None), {}),
        "without-bias": (net("sigmoid", outer=None), {"loss": "cross-entropy"}),
        "graph": (Graph(graph.nodes, graph.stored), {"frozen": "linear1.bias"}),
    }


def feedforward_data(name):
    rng = np.random.default_rng(14)
    X = rng.standard_normal((7, 2))
    if name == "odd":
        X[1:6:2] = -X[0:5:2]
    labels = np.arange(7) % 3
    return Data(X, labels if name == "without-bias" else rng.standard_normal((7, 3)))


def regression_network(activation=TANH, width=8, **changes):
    rng = np.random.default_rng(15)
    W, a, b = (rng.standard_normal(shape) for shape in ((8, 2), 8, 8))
    parts = {"b": b[:width]} | changes
    return TwoLayer(W[:width], a[:width], activation, **parts)


def regression_data(network, size=2.0**-12):
    """Four samples in the plane and targets near the outputs, the same on every machine."""
    rng = np.random.default_rng(16)
    X = np.round(rng.standard_normal((4, 2)), 3)
    hidden = X @ network.W.T + (0.0 if network.b is None else network.b)
    hidden = np.tanh(hidden) if network.activation.name == "tanh" else np.maximum(hidden, 0.0)
    y = hidden @ network.a + size * np.array([1.0, -1.0, 1.0, 1.0])
    return Data(X, np.round(y * 2.0**20) / 2.0**20)


def changed(data, X=(), y=()):
    """The data with some rows and targets replaced."""
    rows, targets = data.X.copy(), data.y.copy()
    for k, row in dict(X).items():
        rows[k] = row
    for k, target in dict(y).items():
        targets[k] = target
    return Data(rows, targets)


def implicit():
    rng = np.random.default_rng(17)
    A, V = np.round(rng.standard_normal((9, 9)), 3), np.round(rng.standard_normal((9, 2)), 3)
    weight = ScaledGaussianWeight(A, Fraction(1, 8))
    return Equilibrium(
        weight, RELU, ReluFeatureInput(V), {"u": np.ones(9), "v": np.zeros(9)}
    ), Data(V[:2], np.zeros(2))


def convergence_cases():
    """What is proved, what is refuted with each kind of witness, and what is open."""
    net, bare, relu = regression_network(), regression_network(b=None), regression_network(RELU)
    data, edge = regression_data(net), regression_data(bare)
    return {
        "flow": (net, data, {"frozen": "none"}),
        "descent": (net, data, {"frozen": "none", "step": "1/1000", "loss": "mean-squares"}),
        "radius": (net, data, {"frozen": "b", "radius": "1/100"}),
        "far": (net, regression_data(net, 64.0), {"frozen": "none"}),
        "relu": (relu, regression_data(relu, 2.0**-16), {"frozen": "none"}),
        "implicit": (*implicit(), {"frozen": "none"}),
        "equal": (net, changed(data, {3: data.X[1]}), {"frozen": "none"}),
        "zero": (bare, changed(edge, {2: (0.0, -0.0)}, {2: 0.5}), {"frozen": "none"}),
        "odd": (bare, changed(edge, {3: -data.X[0]}, {3: edge.y[0]}), {"frozen": "none"}),
        "fixed": (relu, regression_data(relu), {"frozen": "W,a,b"}),
        "decay": (net, data, {"frozen": "none", "weight_decay": "1/1000"}),
        "decay-descent": (
            net, data, {"frozen": "b", "weight_decay": "1/1000", "step": "1/1000"}
        ),
    }  # fmt: skip


def gradient_cases():
    """PL at a point and on a ball, each kind of singular kernel, and teacher and student."""
    net, bare, relu = regression_network(), regression_network(b=None), regression_network(RELU)
    data, edge = regression_data(net), regression_data(bare)
    dead = regression_network(RELU, b=np.full(8, -100.0))
    one = regression_network(width=1, b=None)
    wide = Feedforward((net.W[:2], np.round(net.W[:3], 3)), (net.b[:2], None), (TANH,))
    many = Data(np.round(np.random.default_rng(18).standard_normal((4, 2)), 3), np.zeros((4, 3)))
    straight = TwoLayer(np.ones((2, 1)), np.ones(2), RELU, np.full(2, 5.0))
    line = Data(np.array([[-1.0], [0.0], [2.0]]), np.zeros(3))
    off = regression_network(RELU, b=np.array([5.0] + 7 * [-100.0]))
    five = Data(np.round(np.random.default_rng(19).standard_normal((5, 2)), 3), np.zeros(5))
    pair = TeacherStudent(
        np.array([[2.0, 0.5], [0.0, 1.0]]), np.array([[1.0, 1.0]]), Activation("abs")
    )
    zero = TeacherStudent(0.0 * pair.students, pair.teachers, pair.activation)
    same = TeacherStudent(pair.teachers, pair.teachers, pair.activation)
    return {
        "point": (net, data, {"frozen": "none", "loss": "sum-squares", "kappa": "1/100"}),
        "ball": (net, data, {"frozen": "none", "radius": "1/1000"}),
        "patterns": (relu, regression_data(relu), {"frozen": "none", "radius": "1/100000"}),
        "implicit": (*implicit(), {"frozen": "none"}),
        "equal": (net, changed(data, {3: data.X[1]}), {"frozen": "none"}),
        "odd": (bare, changed(edge, {3: -data.X[0]}), {"frozen": "none"}),
        "few": (one, regression_data(one), {"frozen": "none"}),
        "dead": (dead, regression_data(relu), {"frozen": "none"}),
        "narrow": (wide, many, {"frozen": "none"}),
        "kernel": (straight, line, {"frozen": "none"}),
        "columns": (off, five, {"frozen": "none"}),
        "teacher": (pair, None, {"exponent": "3/4", "kappa": "1/100"}),
        "stationary": (zero, None, {}),
        "zero-loss": (same, None, {}),
    }


CASES = [
    *(("well-posedness", name) for name in sorted(equilibria())),
    *(("villani", name) for name in sorted(two_layer_cases())),
    *(("expressivity", name) for name in sorted(feedforward_cases())),
    *(("converges-from-here", name) for name in sorted(convergence_cases())),
    *(("gradient-inequality", name) for name in sorted(gradient_cases())),
]


def certificate(condition, name):
    if condition == "villani":
        network, told = two_layer_cases()[name]
        data, settings = two_layer_data(), {f"villani.{key}": told[key] for key in told}
    elif condition == "expressivity":
        network, told = feedforward_cases()[name]
        data = feedforward_data(name)
        settings = {f"expressivity.{key}": told[key] for key in told}
    elif condition in ("converges-from-here", "gradient-inequality"):
        cases = convergence_cases() if condition == "converges-from-here" else gradient_cases()
        network, data, told = cases[name]
        settings = {f"{condition}.{key}": value for key, value in told.items()}
    else:
        network, data, settings = equilibria()[name], None, None
    (made,) = check(
        network, data, conditions=[condition], settings=settings, effort=Effort(budget=20)
    )
    return made


@pytest.mark.parametrize(("condition", "name"), CASES)
def test_certificate_has_not_drifted(condition, name):
    made = certificate(condition, name)
    if os.environ.get("VERIFY_REGEN") == "1":
        write_certificates([made], FOLDERS[condition], name)
    stored = read_certificate(FOLDERS[condition] / f"{name}.{condition}.json")
    assert _words(made.claim) == _words(stored.claim)
    for old, new in zip(_numbers(stored.claim), _numbers(made.claim), strict=True):
        if old.width == new.width == 0:  # chosen, or the end of a constant that is proved
            assert abs(new.lo - old.lo) <= Fraction(1, 10**9) * abs(old.lo)
            continue
        assert old.lo <= new.hi
        assert new.lo <= old.hi
        if old.is_bounded and old.width > 0:
            assert new.width <= 4 * old.width  # a tightness check: the same method, other BLAS


@pytest.mark.parametrize(("condition", "name"), CASES)
def test_stored_statements_decide_the_same_again(condition, name):
    """The tree and the enclosures in the file alone give the truth that the file claims."""
    claim = read_certificate(FOLDERS[condition] / f"{name}.{condition}.json").claim
    for route in claim["routes"]:
        for statement in route["statements"]:
            if statement["truth"] == "skipped":
                continue
            hypothesis = from_tree(statement["tree"])
            symbols = {str(symbol): symbol for symbol in hypothesis.free_symbols}
            boxes = {
                symbols[key]: Enclosure(endpoint_from_hex(q["lo"]), endpoint_from_hex(q["hi"]))
                for key, q in route["quantities"].items()
            }
            facts = {symbols[key]: Truth(f["truth"]) for key, f in route["facts"].items()}
            assert str(decide(hypothesis, boxes, facts).truth) == statement["truth"]


def _words(claim):
    """Everything of a claim that must not depend on the machine."""
    kept = ("schema", "condition", "goal", "verdict", "sentence", "decided_by", "network",
            "tensors", "settings", "scope", "speaks_about", "side_statements")  # fmt: skip
    routes = [
        {key: route[key] for key in ("name", "goal", "direction", "truth")}
        | {"trees": [(s["tree"], s["latex"], s["truth"]) for s in route["statements"]]}
        for route in claim["routes"]
    ]
    return {key: claim[key] for key in kept} | {"routes": routes}


def _numbers(claim):
    for route in claim["routes"]:
        for _, found in sorted(route["quantities"].items()):
            yield Enclosure(endpoint_from_hex(found["lo"]), endpoint_from_hex(found["hi"]))

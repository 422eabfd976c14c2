"""Targets that no parameters reach: exact witnesses, and never one for targets that are reached."""

from __future__ import annotations

import json
import os
import re
import time
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest

from verify.errors import InputError
from verify.evidence import Witness
from verify.network import (
    Activation,
    AffineInput,
    Equilibrium,
    Feedforward,
    GraphBuilder,
    OpaqueInput,
    PlainWeight,
    ReluFeatureInput,
    ScaledGaussianWeight,
    TwoLayer,
    graph_of,
)
from verify.verdict import Truth
from verify_kernels.forward.inputs import Inputs
from verify_kernels.residual import consistency, enclose_residual, replay_consistency
from verify_kernels.structure import symmetry
from verify_kernels.structure.direction_keys import PRIME, direction_keys
from verify_kernels.structure.equal_samples import first_equal

VECTORS = Path(__file__).parents[1] / "vectors" / "convergence.json"
CASES = json.loads(VECTORS.read_text(encoding="utf-8"))["cases"]
FULL = os.environ.get("VERIFY_CAMPAIGN") == "full"


def hexed(values):
    return np.array([hexed(v) if isinstance(v, list) else float.fromhex(v) for v in values])


def network_of(case):
    """Return the network of a case of the vectors, or None."""
    if case["kind"].startswith("two-layer"):
        sigma = Activation.parse("tanh" if case["kind"].endswith("tanh") else "relu")
        bias = None if case["b"] is None else hexed(case["b"])
        return graph_of(TwoLayer(hexed(case["W"]), hexed(case["a"]), sigma, bias))
    if case["kind"] == "mlp-tanh":
        weights = tuple(hexed(layer["W"]) for layer in case["layers"])
        biases = tuple(
            None if layer["b"] is None else hexed(layer["b"]) for layer in case["layers"]
        )
        sigmas = (Activation.parse("tanh"),) * (len(weights) - 1)
        return graph_of(Feedforward(weights, biases, sigmas))
    if case["kind"] == "implicit-relu":
        return Equilibrium(
            ScaledGaussianWeight(hexed(case["A"]), float.fromhex(case["gamma"])),
            Activation.parse("relu"),
            ReluFeatureInput(hexed(case["W"])),
            {"u": hexed(case["u"]), "v": hexed(case["v"])},
        )
    return None


NETWORKS = [case for case in CASES if network_of(case) is not None]


@pytest.mark.parametrize("case", NETWORKS, ids=lambda case: case["id"])
def test_the_stored_vectors(case) -> None:
    network, X, y = network_of(case), hexed(case["X"]), hexed(case["y"])
    inputs = Inputs.of(X, (X.shape[1],))
    found = consistency(network, inputs, y)
    assert (found.value is Truth.REFUTED) == (case["refuted_because"] is not None)
    if found.value is Truth.REFUTED:
        assert replay_consistency(found.witness, network, inputs, y)
        reason = {"equal samples": "equal inputs", "zero output": "zero input"}
        assert case["refuted_because"].startswith(reason[found.witness.data["reason"]])


def net(sigma: str, b=None, c=None, d: int = 2):
    """A two-layer network of width 2."""
    rng = np.random.default_rng(0)
    return TwoLayer(
        rng.standard_normal((2, d)), rng.standard_normal(2), Activation.parse(sigma),
        None if b is None else np.asarray(b, dtype=float),
        None if c is None else np.asarray([c], dtype=float),
    ).graph()  # fmt: skip


def decided(graph, X, y, frozen=()) -> str:
    """Return the reason of a refutation, or ''."""
    X = np.asarray(X, dtype=float)
    inputs = Inputs.of(X, (X.shape[1],))
    found = consistency(graph, inputs, y, frozen)
    if found.value is Truth.UNDECIDED:
        assert found.why_open
        return ""
    assert found.value is Truth.REFUTED
    assert found.how
    assert replay_consistency(found.witness, graph, inputs, y, frozen)
    return str(found.witness.data["reason"])


LINE = [[1.0, -2.0], [-1.0, 2.0], [0.5, 0.25]]
RAY = [[1.0, -2.0], [3.0, -6.0], [0.5, 0.25]]


@pytest.mark.parametrize(
    ("graph", "X", "y", "frozen", "reason"),
    [
        (net("tanh"), LINE, [1.0, -1.0, 0.0], (), ""),
        (net("tanh"), LINE, [1.0, 1.0, 0.0], (), "law"),
        (net("tanh", b=[0, 0]), LINE, [1.0, 1.0, 0.0], (), ""),
        (net("tanh", b=[0, 0]), LINE, [1.0, 1.0, 0.0], ["linear1.bias"], "law"),
        (net("tanh", b=[1, 0]), LINE, [1.0, 1.0, 0.0], ["linear1.bias"], ""),
        (net("relu"), LINE, [1.0, 5.0, 0.0], (), ""),
        (net("relu"), RAY, [1.0, 3.0, 0.0], (), ""),
        (net("relu"), RAY, [1.0, 3.0 + 2.0**-51, 0.0], (), "law"),
        (net("leaky_relu(0.01)"), RAY, [1.0, 2.0, 0.0], (), "law"),
        (net("abs"), LINE, [1.0, 1.0, 0.0], (), ""),
        (net("abs"), LINE, [1.0, 2.0, 0.0], (), "law"),
        (net("square"), RAY, [1.0, 9.0, 0.0], (), ""),
        (net("square"), RAY, [1.0, 3.0, 0.0], (), "law"),
        (net("gelu"), [[0.0, -0.0], [1, 1]], [1.0, 1.0], (), "zero output"),
        (net("gelu"), [[0.0, -0.0], [1, 1]], [-0.0, 1.0], (), ""),
        (net("gelu", c=0.0), [[0.0, 0.0], [1, 1]], [1.0, 1.0], (), ""),
        (net("gelu", c=0.0), [[0.0, 0.0], [1, 1]], [1.0, 1.0], ["linear2.bias"], "zero output"),
        (net("gelu", b=[0, 0]), [[0.0, 0.0], [1, 1]], [1.0, 1.0], (), ""),
        (net("sigmoid"), [[0.0, 0.0], [1, 1]], [1.0, 1.0], (), ""),
        (net("softplus(1)"), [[0.0, 0.0], [1, 1]], [1.0, 1.0], (), ""),
        (net("z*exp(z)"), [[0.0, 0.0], [1, 1]], [1.0, 1.0], (), "zero output"),
        (net("tanh"), [[1, 2], [3, 4], [1, 2]], [1.0, 2.0, 1.0], (), ""),
        (net("tanh"), [[1, 2], [3, 4], [1, 2]], [1.0, 2.0, 2.0], (), "equal samples"),
        (net("relu"), [[1, 2], [3, 4]], [1.0, 2.0], ["linear1.weight", "linear2.weight"],
         "fixed output"),
    ],
)  # fmt: skip
def test_what_is_refuted_and_what_is_not(graph, X, y, frozen, reason: str) -> None:
    assert decided(graph, X, y, frozen) == reason


def test_an_outer_bias_shifts_odd_outputs_by_one_vector() -> None:
    """f = g + c, g odd: every pair x, -x has the middle c of its targets, and so has x = 0."""
    graph = net("tanh", c=0.0)
    pairs = [[1, 2], [-1, -2], [3, 1], [-3, -1], [0, 0]]
    assert decided(graph, pairs, [3.0, 1.0, 5.0, -1.0, 2.0]) == ""
    assert decided(graph, pairs[:4], [3.0, 1.0, 5.0, -2.0]) == "law"
    assert decided(graph, pairs[:2] + pairs[4:], [3.0, 1.0, 1.0]) == "law"
    assert decided(graph, pairs[:2], [3.0, 7.0]) == ""
    ray = [[1, 1], [2, 2], [4, 4]]  # y = a c + b on a ray
    assert decided(net("relu", c=0.0), ray, [1.0, 2.0, 4.0]) == ""
    assert decided(net("relu", c=0.0), ray, [2.0, 3.0, 5.0]) == ""
    assert decided(net("relu", c=0.0), ray, [2.0, 3.0, 6.0]) == "law"


def test_samples_that_frozen_layers_make_equal() -> None:
    W = np.array([[1.0, 1.0], [2.0, 2.0]])
    graph = TwoLayer(W, np.ones(2), Activation.parse("relu")).graph()
    X, y = [[1, 2], [2, 1]], [1.0, 2.0]
    assert decided(graph, X, y) == ""
    assert decided(graph, X, y, ["linear1.weight"]) == "equal samples"
    with pytest.raises(InputError, match=r"^frozen: expected one of"):
        decided(graph, X, y, ["W"])


def test_a_divisor_and_several_outputs() -> None:
    graph = Feedforward((np.eye(2), np.eye(2)), (None, None), (Activation.parse("relu"),)).graph()
    inputs = Inputs.of([[1.0, 2.0], [3.0, 6.0]], (2,), 255)
    good, bad = [[1.0, 0.0], [3.0, 0.0]], [[1.0, 0.0], [3.0, 1.0]]
    assert consistency(graph, inputs, good).value is Truth.UNDECIDED
    found = consistency(graph, inputs, bad)
    assert found.value is Truth.REFUTED
    assert (found.witness.data["output"], found.witness.data["samples"]) == (1, [1, 0])
    assert found.witness.data["targets"] == [1, 0]
    assert not replay_consistency(found.witness, graph, inputs, good)
    strange = Witness("unreachable-targets", {"samples": [0, 7]})
    assert not replay_consistency(strange, graph, inputs, bad)
    assert not replay_consistency(replace(found.witness, kind="other"), graph, inputs, bad)


def test_batch_dependence_is_left_open() -> None:
    builder = GraphBuilder()
    place = builder.add("linear", [builder.input([2])], {}, {"weight": ("w", np.eye(2))})
    tensors = {"mean": ("m", np.zeros(2)), "variance": ("v", np.ones(2))}
    told = {"epsilon": Fraction(1, 10), "training": True}
    place = builder.add("batch_norm", [place], told, tensors)
    graph = builder.build(builder.add("linear", [place], {}, {"weight": ("o", np.ones((1, 2)))}))
    assert decided(graph, [[1, 2], [1, 2]], [1.0, 2.0]) == ""


# Equilibrium networks ---------------------------------------------------------------------------


def implicit(sigma: str = "relu", source=None, readout=None) -> Equilibrium:
    rng = np.random.default_rng(1)
    return Equilibrium(
        ScaledGaussianWeight(rng.standard_normal((3, 3)), 0.25),
        Activation.parse(sigma),
        source or ReluFeatureInput(rng.standard_normal((3, 2))),
        readout or {"u": np.ones(3), "v": np.ones(3)},
    )


AFFINE = AffineInput(np.ones((3, 2)), np.zeros(3))


@pytest.mark.parametrize(
    ("network", "X", "y", "reason"),
    [
        (implicit(), [[0.0, 1], [-0.0, 1]], [1.0, 2.0], "equal samples"),
        (implicit(), [[0.0, -0.0], [1, 1]], [1.0, 2.0], "zero output"),
        (implicit("tanh"), [[0.0, -0.0], [1, 1]], [1.0, 2.0], "zero output"),
        (implicit("sigmoid"), [[0.0, -0.0], [1, 1]], [1.0, 2.0], ""),
        (implicit(), RAY, [1.0, 3.0, 5.0], ""),
        (implicit(), RAY, [1.0, 2.0, 5.0], "law"),
        (implicit("tanh"), RAY, [1.0, 2.0, 5.0], ""),
        (implicit(), LINE, [1.0, 1.0, 5.0], ""),
        (implicit(source=AFFINE), [[0.0, 0], [1, 1]], [1.0, 2.0], ""),
        (implicit(source=AFFINE), [[1.0, 0], [1, 0]], [1.0, 2.0], "equal samples"),
        (implicit(source=OpaqueInput("unknown")), [[1.0, 0], [1, 0]], [1.0, 2.0], ""),
        (implicit(readout={"w": np.ones(3)}), [[1.0, 0], [1, 0]], [1.0, 2.0], ""),
    ],
)
def test_equilibrium_networks(network, X, y, reason: str) -> None:
    assert decided(network, X, y) == reason


def test_roles_of_equilibrium_networks() -> None:
    assert decided(implicit(), RAY, [1.0, 2.0, 5.0], ["input.V"]) == "law"
    with pytest.raises(InputError, match=r"^frozen: expected one of weight\.A"):
        decided(implicit(), RAY, [1.0, 2.0, 5.0], ["V"])
    wide = implicit(readout={"u": np.ones((3, 2))})
    assert decided(wide, RAY, np.ones((3, 2))) == "law"
    plain = Equilibrium(PlainWeight(np.zeros((2, 2))), Activation.parse("relu"))
    assert decided(plain, RAY, [1.0, 2.0, 5.0]) == ""


# Soundness --------------------------------------------------------------------------------------


SIGMAS = ["relu", "leaky_relu(1/2)", "abs", "square", "identity", "hardtanh"]


def random_network(rng: np.random.Generator, widths: list[int]) -> Feedforward:
    """A network of small whole numbers; biases may be missing."""
    shapes = list(zip(widths[1:], widths[:-1], strict=True))
    return Feedforward(
        tuple(rng.integers(-2, 3, shape) * 1.0 for shape in shapes),
        tuple(rng.integers(-1, 2, out) * 1.0 if rng.random() < 0.4 else None for out, _ in shapes),
        tuple(Activation.parse(str(rng.choice(SIGMAS))) for _ in shapes[1:]),
    )


@pytest.mark.parametrize("way", ["product", "layer norm", "constant"])
def test_outputs_that_move_at_the_zero_sample(way: str) -> None:
    """What follows the sample 0 is zero only where every step keeps it so."""
    builder = GraphBuilder()
    place = builder.input([2])
    if way == "product":
        sigmoid = {"activation": Activation.parse("sigmoid")}
        sides = [
            builder.add(
                "activation",
                [builder.add("linear", [place], {}, {"weight": (w, np.eye(2))})],
                sigmoid,
            )
            for w in "wv"
        ]
        place = builder.add("mul", sides)
    elif way == "layer norm":
        told = {"axes": 1, "epsilon": Fraction(1, 10)}
        tensors = {"weight": ("w", np.ones(2)), "bias": ("b", np.zeros(2))}
        place = builder.add("layer_norm", [place], told, tensors)
    else:
        constant = builder.add("constant", [], {}, {"value": ("c", np.zeros(2))})
        place = builder.add("add", [place, constant])
    weight = {"weight": ("o", np.ones((1, 2)))}
    graph = builder.build(builder.add("linear", [place], {}, weight))
    X, y = [[0.0, 0.0], [1.0, 2.0]], [1.0, 1.0]
    assert decided(graph, X, y) == ""
    if way == "layer norm":
        assert decided(graph, X, y, ["layer_norm1.bias"]) == "zero output"


@pytest.mark.parametrize(
    ("depth", "frozen", "told"),
    [(9, (), r"is about 1\.55974930580\d*e\+21 times"),
     (3, ("linear1.weight", "linear2.weight"), r"^output 0 at sample 0 is about 2\.786665453\d* ")],
)  # fmt: skip
def test_long_numbers_are_told_in_short(depth: int, frozen, told: str) -> None:
    """1.1^512 has 8,000 digits; Python refuses to write numbers of more than 4,300."""
    builder = GraphBuilder()
    weight = {"weight": ("w", np.array([[1.1]]))}
    place = builder.add("linear", [builder.input([1])], {}, weight)
    for _ in range(depth):
        place = builder.add("activation", [place], {"activation": Activation.parse("square")})
    graph = builder.build(builder.add("linear", [place], {}, {"weight": ("v", np.array([[1.3]]))}))
    found = consistency(graph, Inputs.of([[1.0], [1.1]], (1,)), [1.0, 2.0], frozen)
    assert found.value is Truth.REFUTED
    assert re.search(told, found.how)


def retrained(rng: np.random.Generator, graph, frozen):
    """Return the same architecture with other numbers in all that is not frozen."""
    stored = {
        role: values if role in frozen else rng.integers(-2, 3, values.shape) * 1.0
        for role, values in graph.stored.items()
    }
    return replace(graph, stored=stored)


@pytest.mark.soundness
def test_targets_that_some_weights_reach_are_never_refuted() -> None:
    rng, count, started = np.random.default_rng(21), 3000 if FULL else 300, time.perf_counter()
    refuted = 0
    for _ in range(count):
        depth = int(rng.integers(1, 4))
        widths = [int(k) for k in rng.integers(1, 4, depth + 1)] + [int(rng.integers(1, 3))]
        graph = random_network(rng, widths).graph()
        frozen = [role for role in graph.stored if rng.random() < 0.3]
        X = rng.integers(-1, 2, (8, widths[0])) * rng.integers(1, 4, (8, 1)) * 1.0
        inputs = Inputs.of(X, (widths[0],))
        other = retrained(rng, graph, frozen)
        zeros = np.zeros((8, widths[-1]))
        reached = enclose_residual(other, inputs, zeros, precise=True)
        assert reached.is_exact
        y = [[Fraction(int(v.p), int(v.q)) for v in reached.numbers][k : k + widths[-1]]
             for k in range(0, 8 * widths[-1], widths[-1])]  # fmt: skip
        assert consistency(graph, inputs, y, frozen).value is Truth.UNDECIDED
        i, o = int(rng.integers(8)), int(rng.integers(widths[-1]))
        y[i][o] += Fraction(1, 2**60)
        found = consistency(graph, inputs, y, frozen)
        refuted += found.value is Truth.REFUTED
        if found.value is Truth.REFUTED:
            assert replay_consistency(found.witness, graph, inputs, y, frozen)
    assert refuted > count // 4
    print(f"campaign reachable targets: {count} cases, seed 21, "
          f"{time.perf_counter() - started:.1f} s, 0 wrong ({refuted} refuted "
          f"after a change of 2^-60)")  # fmt: skip


# Many samples -----------------------------------------------------------------------------------


def test_many_samples_of_one_sign_pattern() -> None:
    rng = np.random.default_rng(4)
    X = rng.integers(1, 2**40, (20_000, 8)) * 2.0**-20
    y = rng.standard_normal(20_000)
    graph = net("relu", d=8)
    assert decided(graph, X, y) == ""
    X[-1] = 3.0 * X[7]
    assert decided(graph, X, y) == "law"
    y[-1] = 3.0 * np.round(y[7], 3)
    y[7] = np.round(y[7], 3)
    exact = 3 * Fraction(y[7])
    assert decided(graph, X, y) == ("" if Fraction(y[-1]) == exact else "law")


def test_keys_are_equal_for_multiples() -> None:
    rng = np.random.default_rng(5)
    X = rng.integers(-5, 6, (200, 3)) * 2.0 ** rng.integers(-60, 60, (200, 1))
    keys = direction_keys([X])
    whole = [[Fraction(value) for value in row] for row in X]
    for j in range(0, 200, 7):
        for k in range(200):
            a, b = whole[j], whole[k]
            first = next((i for i in range(3) if a[i]), 0)
            aligned = any(a) and any(b) and b[first] != 0 and all(
                a[i] * b[first] == b[i] * a[first] for i in range(3)
            )  # fmt: skip
            if aligned:
                assert (keys[j] == keys[k]).all()
    objects = np.array([[3 * 2**70, 5], [6 * 2**70, 10]], dtype=object)
    assert (np.diff(direction_keys([objects]), axis=0) == 0).all()


def test_multiples_of_the_prime_are_not_lost(monkeypatch: pytest.MonkeyPatch) -> None:
    X = np.array([[1.0, 2.0], [PRIME * 1.0, PRIME * 2.0]])
    assert direction_keys([X]) is None
    assert decided(net("relu"), X, [1.0, 1.0]) == "law"
    monkeypatch.setattr(symmetry, "direction_keys", lambda rows: np.arange(2)[:, None])
    assert decided(net("relu"), X, [1.0, 1.0]) == ""


def test_equal_keys_prove_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    X = np.array([[1.0, 2.0], [1.0, 2.0 + PRIME]])
    keys = direction_keys([X])
    assert list(first_equal([keys], 2)) == [0, 0]
    assert decided(net("relu"), X, [1.0, 2.0]) == ""

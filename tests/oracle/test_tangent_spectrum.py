"""The spectrum of the tangent kernel against 200-bit balls and the vectors of 40 digits."""

from __future__ import annotations

import itertools
import json
import math
import os
import time
from collections import Counter
from fractions import Fraction
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from flint import acb_mat, arb, arb_mat, ctx, fmpq

from verify.enclosure import Enclosure
from verify.evidence import Evidence
from verify.network import Activation, Feedforward, Graph, TwoLayer
from verify.verdict import Truth
from verify_kernels import _cupy
from verify_kernels.forward.inputs import Inputs
from verify_kernels.tangent_kernel import (
    TangentSpectrum,
    ball_tangent_spectrum,
    enclose_tangent_spectrum,
    tangent_singularity,
)
from verify_kernels.tangent_kernel.gram import FloatGram
from verify_kernels.two_layer.midrad import MidRad

BITS = 200
VECTORS = json.loads((Path(__file__).parents[1] / "vectors" / "convergence.json").read_text())
CASES = [c for c in VECTORS["cases"] if c["kind"] in ("two-layer-tanh", "mlp-tanh")]
FUNCTIONS = {
    "tanh": (lambda z: z.tanh(), lambda z: 1 / z.cosh() / z.cosh()),
    "sigmoid": (lambda z: 1 / (1 + (-z).exp()), lambda z: 1 / (2 + z.exp() + (-z).exp())),
    "softplus(1)": (lambda z: (1 + z.exp()).log(), lambda z: 1 / (1 + (-z).exp())),
    "sin": (lambda z: z.sin(), lambda z: z.cos()),
    "square": (lambda z: z * z, lambda z: 2 * z),
    "relu": (lambda z: z if z > 0 else arb(0), lambda z: arb(1) if z > 0 else arb(0)),
}


def floats(rows: Any) -> np.ndarray:
    return np.vectorize(float.fromhex)(np.array(rows))


def network(case: dict[str, Any]) -> Graph:
    tanh = Activation.parse("tanh")
    if case["kind"] == "two-layer-tanh":
        b = None if case["b"] is None else floats(case["b"])
        return TwoLayer(floats(case["W"]), floats(case["a"]), tanh, b).graph()
    layers = case["layers"]
    return Feedforward(
        tuple(floats(layer["W"]) for layer in layers),
        tuple(None if layer["b"] is None else floats(layer["b"]) for layer in layers),
        (tanh,) * (len(layers) - 1),
    ).graph()


def samples(X: np.ndarray) -> Inputs:
    return Inputs.of(X, X.shape[1:])


def decimal(text: str) -> Enclosure:
    """Enclose a number told to 40 digits, the last one wrong by at most 1."""
    value = Fraction(text)
    slack = abs(value) * Fraction(1, 10**38)
    return Enclosure.outward(value - slack, value + slack, bits=400)


def meets(found: Evidence, true: Enclosure) -> bool:
    value = found.enclosure()
    return bool(value.lo <= true.hi and true.lo <= value.hi)


@pytest.mark.parametrize("case", CASES, ids=[case["id"] for case in CASES])
def test_vectors(case: dict[str, Any]) -> None:
    graph, inputs = network(case), samples(floats(case["X"]))
    least = decimal(case["lambda_min_K"])
    norm = decimal(case["norm_J"])
    most = Enclosure.outward(norm.lo**2, norm.hi**2, bits=400)
    closely = ball_tangent_spectrum(graph, inputs)
    for found in (enclose_tangent_spectrum(graph, inputs), closely):
        assert meets(found.smallest, least)
        assert meets(found.largest, most)
        value = found.smallest.enclosure()
        if case["singular_because"]:
            assert value == Enclosure.exact(0)
            assert found.smallest.witness is not None
        else:
            assert 0 < value.lo <= value.hi <= value.lo * (1 + Fraction(1, 10**8))
    singular = tangent_singularity(graph, inputs)
    assert (singular.value is Truth.REFUTED) == bool(case["singular_because"])
    for i, row in enumerate(case["K"]):
        for j, text in enumerate(row):
            entry, true = Enclosure.from_arb(closely.balls[i, i + j]), decimal(text)
            assert entry.lo <= true.hi
            assert true.lo <= entry.hi
    if not case["singular_because"]:
        for found in (closely.smallest, closely.largest):
            value = found.enclosure()
            assert value.width <= value.lo * Fraction(1, 10**20)
        roots = decimal(case["sigma_n_J"])
        assert closely.smallest.value.lo <= roots.hi**2
        assert roots.lo**2 <= closely.smallest.value.hi


# Random networks ---------------------------------------------------------------------------------


def jacobian(net: Feedforward, sample: np.ndarray) -> list[list[arb]] | None:
    """Return the rows of J at one sample by reverse loops over single balls; None at a kink."""
    h, reads, slopes = [arb(float(v)) for v in sample], [], []
    value, slope = FUNCTIONS.get(str(net.activations[0]) if net.activations else "", (None, None))
    for k, (W, b) in enumerate(zip(net.weights, net.biases, strict=True)):
        reads.append(h)
        z = [
            sum((arb(float(w)) * v for w, v in zip(row, h, strict=True)), arb(0))
            + (0 if b is None else arb(float(b[i])))
            for i, row in enumerate(W)
        ]
        if k + 1 < len(net.weights):
            if str(net.activations[k]) == "relu" and any(v.contains(0) for v in z):
                return None
            slopes.append([slope(v) for v in z])
            h = [value(v) for v in z]
    rows = []
    for o in range(len(net.weights[-1])):
        s, row = [arb(int(o == j)) for j in range(len(net.weights[-1]))], []
        for k in reversed(range(len(net.weights))):
            row += [a * v for a in s for v in reads[k]]
            row += [] if net.biases[k] is None else s
            if k:
                back = [
                    sum((a * arb(float(w)) for a, w in zip(s, column, strict=True)), arb(0))
                    for column in net.weights[k].T
                ]
                s = [a * d for a, d in zip(back, slopes[k - 1], strict=True)]
        rows.append(row)
    return rows


def true_kernel(net: Feedforward, X: np.ndarray) -> arb_mat | None:
    """Return K in balls; None where J may not exist."""
    found = [jacobian(net, sample) for sample in X]
    if any(rows is None for rows in found):
        return None
    J = arb_mat([row for rows in found for row in rows or []])
    return J * J.transpose()


def is_above(K: arb_mat, value: Fraction, sign: int = 1) -> bool:
    """Return whether sign (K - value) is certainly definite: all its leading minors are > 0."""
    n = K.nrows()
    rows = [
        [sign * (K[i, j] - (_ball(value) if i == j else 0)) for j in range(n)] for i in range(n)
    ]
    return all(arb_mat([row[:k] for row in rows[:k]]).det() > 0 for k in range(1, n + 1))


def quotients(K: arb_mat) -> list[arb]:
    """Return the Rayleigh quotients of approximate eigenvectors: true of K, whatever they are."""
    n = K.nrows()
    _, R = acb_mat(K.mid()).eig(right=True, algorithm="approx")
    vectors = [arb_mat(n, 1, [R[i, j].real.mid() for i in range(n)]) for j in range(n)]
    return [(v.transpose() * K * v)[0, 0] / (v.transpose() * v)[0, 0] for v in vectors]


def is_wrong(found: Evidence, K: arb_mat, seen: list[arb], sign: int) -> bool:
    """Return whether an extreme eigenvalue is certainly outside; sign 1 for the smallest one."""
    value = found.enclosure()
    inner, outer = (value.hi, value.lo) if sign > 0 else (value.lo, value.hi)
    if is_above(K, inner, sign):
        return True
    return any(sign * (quotient - _ball(outer)) < 0 for quotient in seen)


def _ball(value: Fraction) -> arb:
    return arb(fmpq(value.numerator, value.denominator))


def random_case(rng: np.random.Generator, k: int) -> tuple[Feedforward, np.ndarray, str]:
    """Return a network, samples and the way in which K is singular, if it is by construction."""
    name = list(FUNCTIONS)[int(rng.integers(len(FUNCTIONS)))]
    way = ("", "few", "repeated", "dead", "", "odd", "zero", "")[k % 8]
    name = {"dead": "relu", "odd": "tanh", "zero": "tanh"}.get(way, name)
    outputs, d = int(rng.integers(1, 4)), int(rng.integers(1, 4))
    hidden = [int(m) for m in rng.integers(2, 7, size=int(rng.integers(1, 3)))]
    n = int(rng.integers(1, 6)) + (way in ("repeated", "odd")) + (17 if k % 25 == 7 else 0)
    hidden = [24] if k % 25 == 7 else hidden
    bias = way not in ("dead", "odd", "zero") and bool(rng.random() < 0.7)
    if way == "few":
        hidden, d, outputs, n = [1], 1, 1, int(rng.integers(5, 8))
    widths = [d, *hidden, outputs]
    weights = [rng.normal(size=(b, a)) for a, b in itertools.pairwise(widths)]
    biases = [rng.normal(size=b) if bias else None for b in widths[1:]]
    X = rng.normal(size=(n, d)) * 2.0 ** int(rng.integers(-3, 3))
    if way == "repeated":
        X[-1] = X[0]
    elif way == "odd":
        X[-1] = -X[0]
    elif way == "zero":
        X[-1] = 0.0
    elif way == "dead":
        weights[0], X = -np.abs(weights[0]), np.abs(X)
    net = Feedforward(tuple(weights), tuple(biases), (Activation.parse(name),) * len(hidden))
    return net, X, way


@pytest.mark.soundness
def test_random_networks_and_singular_ones() -> None:
    count, seed = (500 if os.environ.get("VERIFY_CAMPAIGN") == "full" else 50), 20260
    start, wrong, widest, seen = time.perf_counter(), 0, 0, Counter()
    rng = np.random.default_rng(seed)
    for k in range(count):
        net, X, way = random_case(rng, k)
        graph, inputs = net.graph(), samples(X)
        widest = max(widest, len(X) * len(net.weights[-1]))
        with ctx.workprec(BITS):
            K = true_kernel(net, X)
            if K is None:
                seen["kink"] += 1
                continue
            between = quotients(K)
            for found in (
                enclose_tangent_spectrum(graph, inputs), ball_tangent_spectrum(graph, inputs)
            ):  # fmt: skip
                least = found.smallest.enclosure()
                wrong += is_wrong(found.smallest, K, between, 1)
                wrong += is_wrong(found.largest, K, between, -1)
                wrong += not least.lo >= 0
                wrong += bool(way) and least != Enclosure.exact(0)
                wrong += least == Enclosure.exact(0) and is_above(K, Fraction(0))
                wrong += found.gram.error == math.inf
                seen["zero" if least.hi == 0 else "positive" if least.lo > 0 else "open"] += 1
            refuted = tangent_singularity(graph, inputs).value is Truth.REFUTED
            wrong += refuted and is_above(K, Fraction(0))
    told = ", ".join(f"{number} {name}" for name, number in sorted(seen.items()))
    spent = time.perf_counter() - start
    print(
        f"campaign tangent-spectrum: {count} cases, seed {seed}, {spent:.0f} s, {wrong} wrong"
        f" ({told}; up to {widest} rows)"
    )
    assert wrong == 0
    assert seen["zero"] > count // 4
    assert seen["positive"] > count // 4


# Singular kernels --------------------------------------------------------------------------------


def plain(weights: list[Any], biases: list[Any], name: str) -> Graph:
    arrays = tuple(np.array(W, dtype=float) for W in weights)
    vectors = tuple(None if b is None else np.array(b, dtype=float) for b in biases)
    return Feedforward(arrays, vectors, (Activation.parse(name),) * (len(arrays) - 1)).graph()


def both(graph: Graph, X: list[Any]) -> list[TangentSpectrum]:
    inputs = samples(np.array(X, dtype=float))
    return [enclose_tangent_spectrum(graph, inputs), ball_tangent_spectrum(graph, inputs)]


def test_a_row_of_dead_units_is_zero() -> None:
    graph = plain([[[1.0], [2.0], [1.5]], [[1.0, 1.0, 1.0]]], [None, None], "relu")
    singular = tangent_singularity(graph, samples(np.array([[1.0], [-1.0]])))
    assert singular.value is Truth.REFUTED
    assert singular.witness is not None
    assert singular.witness.data == {"sample": 1, "output": 0}
    assert all(found.smallest.value == Enclosure.exact(0) for found in both(graph, [[1.0], [-1.0]]))


def test_columns_of_dead_units_are_not_counted() -> None:
    weights = [[[1.0], [-1.0], [-2.0]], [[1.0, 1.0, 1.0]]]
    graph = plain(weights, [None, None], "relu")
    X = [[1.0], [2.0], [3.0]]
    singular = tangent_singularity(graph, samples(np.array(X)))
    assert singular.witness is not None
    assert singular.value is Truth.REFUTED
    assert all(found.smallest.value == Enclosure.exact(0) for found in both(graph, X))


def test_few_columns_that_are_not_zero() -> None:
    """With biases no law relates the samples; of 13 columns 4 are left for 5 rows."""
    weights = [[[1.0], [-1.0], [-2.0], [-3.0]], [[1.0, 1.0, 1.0, 1.0]]]
    graph = plain(weights, [[0.5, -0.5, -0.5, -0.5], [0.25]], "relu")
    X = np.array([[1.0], [2.0], [3.0], [4.0], [5.0]])
    singular = tangent_singularity(graph, samples(X))
    assert singular.witness is not None
    assert singular.witness.data == {"columns": 4, "rows": 5}


def test_an_integer_vector_of_the_kernel() -> None:
    """Three samples on a line: rows of J are affine in x where every unit is alive."""
    graph = plain([[[1.0], [2.0], [4.0]], [[1.0, 3.0, 5.0]]], [[1.0, 2.0, 3.0], [0.0]], "relu")
    X = np.array([[1.0], [2.0], [4.0]])
    singular = tangent_singularity(graph, samples(X))
    assert singular.witness is not None
    assert singular.witness.kind == "kernel-vector"
    v = singular.witness.data["vector"]
    assert sum(v) == 0
    assert v[0] + 2 * v[1] + 4 * v[2] == 0
    assert any(v)
    assert all(found.smallest.value == Enclosure.exact(0) for found in both(graph, X.tolist()))


@pytest.mark.parametrize(
    ("trained", "least"),
    [(("weight", "bias"), 4), (("weight",), 3), (("bias",), 2), ((), 1)],
    ids=["all", "weight", "bias", "none"],
)
def test_more_outputs_than_features(trained: tuple[str, ...], least: int) -> None:
    """Two features and three outputs: singular from a number of samples on, and not before."""
    rng = np.random.default_rng(5)
    net = Feedforward(
        (rng.normal(size=(2, 9)), rng.normal(size=(3, 2))),
        (rng.normal(size=2), rng.normal(size=3)), (Activation.parse("tanh"),),
    )  # fmt: skip
    graph, X = net.graph(), rng.normal(size=(4, 9))
    frozen = [f"linear2.{slot}" for slot in ("weight", "bias") if slot not in trained]
    for n in range(1, 5):
        found = tangent_singularity(graph, samples(X[:n]), frozen=frozen)
        least_eigenvalue = ball_tangent_spectrum(graph, samples(X[:n]), frozen=frozen).smallest
        assert (found.value is Truth.REFUTED) == (n >= least)
        assert (least_eigenvalue.value.lo > 0) == (n < least)


def test_frozen_layers_make_samples_equal() -> None:
    graph = plain([[[1.0, 1.0]], [[1.0], [2.0]], [[1.0, -1.0]]], [None, [0.5, 0.25], [0.0]], "tanh")
    linear = plain([[[1.0, 1.0]], [[2.0]]], [None, [0.5]], "identity")
    X = np.array([[1.0, 2.0], [2.0, 1.0]])
    assert tangent_singularity(graph, samples(X)).value is Truth.UNDECIDED
    assert enclose_tangent_spectrum(graph, samples(X)).smallest.value.lo > 0
    frozen = ["linear1.weight"]
    found = tangent_singularity(linear, samples(X), frozen=frozen)
    assert found.value is Truth.REFUTED
    assert found.witness.kind == "merged-samples"
    for told in (enclose_tangent_spectrum, ball_tangent_spectrum):
        assert told(linear, samples(X), frozen=frozen).smallest.value == Enclosure.exact(0)


def test_nothing_trained() -> None:
    graph = plain([[[1.0]], [[2.0]]], [None, None], "tanh")
    for told in (enclose_tangent_spectrum, ball_tangent_spectrum):
        found = told(graph, samples(np.array([[2.0]])), frozen=list(graph.stored))
        assert found.smallest.value == Enclosure.exact(0) == Enclosure.exact(found.largest.value.lo)


def test_a_kernel_that_is_singular_without_a_known_reason() -> None:
    """Two outputs with equal rows of weights: nothing that is looked for says so."""
    graph = plain([[[1.0], [1.0]], [[1.0, 1.0]]], [None, None], "tanh")
    X = [[0.5], [0.25], [0.125]]  # 4 columns in 2 equal pairs
    for found in both(graph, X):
        value = found.smallest.enclosure()
        assert value.lo == 0
        assert found.smallest.why_open
        assert found.smallest.witness is None
        assert 0 < value.hi < Fraction(1, 2**40)


@pytest.mark.parametrize("name", ["tanh", "identity"])
@pytest.mark.parametrize(
    ("of_samples", "of_weights"), [(-500, 0), (-530, -530), (0, -600), (400, 0), (-300, 600)]
)
def test_numbers_at_the_ends_of_the_range(name: str, of_samples: int, of_weights: int) -> None:
    rng = np.random.default_rng(6)
    weights = rng.normal(size=(30, 5)) * 2.0 ** min(0, of_weights)
    head = rng.normal(size=(1, 30)) * 2.0**of_weights
    graph = Feedforward((weights, head), (None, None), (Activation.parse(name),)).graph()
    inputs = samples(rng.normal(size=(4, 5)) * 2.0**of_samples)
    near, closely = (f(graph, inputs) for f in (enclose_tangent_spectrum, ball_tangent_spectrum))
    assert closely.smallest.value.lo > 0
    assert meets(near.smallest, closely.smallest.enclosure())
    assert meets(near.largest, closely.largest.enclosure())


@pytest.mark.parametrize("told", [enclose_tangent_spectrum, ball_tangent_spectrum])
def test_nothing_is_said_at_a_kink(told: Any) -> None:
    graph = plain([[[1.0], [2.0]], [[1.0, 1.0]]], [[-1.0, 0.0], None], "relu")
    found = told(graph, samples(np.array([[1.0], [3.0]])))
    for each in (found.smallest, found.largest):
        assert each.value == Enclosure.unbounded()
        assert "kink" in each.why_open


def test_no_time() -> None:
    case = CASES[3]
    found = ball_tangent_spectrum(
        network(case), samples(floats(case["X"])), deadline=time.monotonic() - 1.0
    )
    assert found.smallest.value == Enclosure.unbounded()
    assert "time" in found.smallest.why_open


def test_an_aim_is_only_a_hint() -> None:
    rng = np.random.default_rng(1)
    net = Feedforward(
        (rng.normal(size=(40, 5)), rng.normal(size=(1, 40))),
        (rng.normal(size=40), None), (Activation.parse("tanh"),),
    )  # fmt: skip
    X = rng.normal(size=(20, 5))
    true = ball_tangent_spectrum(net.graph(), samples(X)).smallest.value
    for aim in (Fraction(0), true.lo / 2, true.lo, 2 * true.lo, Fraction(10**6)):
        at = Enclosure.outward(aim, aim)
        found = enclose_tangent_spectrum(net.graph(), samples(X), aim=at).smallest.value
        assert found.lo <= true.hi
        assert true.lo <= found.hi
        assert found.lo > at.hi or aim >= true.lo


def test_products_of_another_array_module() -> None:
    """The functions of the device's module, run on the arrays of NumPy."""
    rng = np.random.default_rng(4)
    s, h = MidRad.exact(rng.normal(size=(30, 8))), MidRad.exact(rng.normal(size=(15, 5)))
    module = SimpleNamespace(product=partial(_cupy.product, xp=np))
    found = []
    for total in (FloatGram(30, 2), FloatGram(30, 2, module)):
        total.add_outer(s, h, ones=True)
        total.add_rows(s)
        found.append(total.finish())
    distance = [
        Fraction(a) - Fraction(b) for a, b in zip(found[0][0].flat, found[1][0].flat, strict=True)
    ]
    assert max(map(abs, distance)) <= Fraction(found[0][1]) + Fraction(found[1][1])
    case = CASES[9]
    for backend in ("numpy", "numba"):
        each = enclose_tangent_spectrum(network(case), samples(floats(case["X"])), backend=backend)
        assert meets(each.smallest, decimal(case["lambda_min_K"]))

"""Exact and ball features of every stored expressivity case."""

from __future__ import annotations

import json
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from flint import fmpq, fmpq_mat

from verify.network.activation import Activation
from verify.network.graph import Graph, GraphBuilder
from verify_kernels.exact_forward.balls import ball_features
from verify_kernels.exact_forward.rational import rational_features
from verify_kernels.forward.inputs import Inputs
from verify_kernels.two_layer.balls import precision

CASES = json.loads((Path(__file__).parents[1] / "vectors" / "expressivity.json").read_text())[
    "cases"
]
EXACT = ("relu", "square")


def numbers(rows: Any) -> np.ndarray:
    """Return hexadecimal floats as an array."""
    return np.array([[float.fromhex(x) for x in row] for row in rows]).reshape(len(rows), -1)


def graph_of_case(case: dict[str, Any]) -> tuple[Graph, int, Inputs]:
    """Return the hidden layers of a case with a last layer of zeros."""
    builder = GraphBuilder()
    place = builder.input((case["d"],))
    activation = Activation.parse(case["activation"])
    for k, layer in enumerate(case["layers"]):
        tensors = {"weight": (f"W{k}", numbers(layer["W"]))}
        if layer["b"] is not None:
            tensors["bias"] = (f"b{k}", numbers([layer["b"]])[0])
        place = builder.add("linear", (place,), {}, tensors)
        place = builder.add("activation", (place,), {"activation": activation})
    width = builder.shape(place)[0]
    last = {"weight": ("V", np.zeros((1, width)))}
    if case["last_layer_bias"]:
        last["bias"] = ("c", np.zeros(1))
    graph = builder.build(builder.add("linear", (place,), {}, last))
    assert graph.last_affine is not None
    features = graph.nodes[graph.last_affine].inputs[0]
    return graph, features, Inputs.of(numbers(case["X"]), (case["d"],))


def slow_features(case: dict[str, Any]) -> list[list[Fraction]]:
    """Return rational features by plain loops over fractions."""
    rows = [[Fraction(float.fromhex(x)) for x in row] for row in case["X"]]
    for layer in case["layers"]:
        weight = [[Fraction(float.fromhex(x)) for x in row] for row in layer["W"]]
        bias = [Fraction(float.fromhex(x)) for x in layer["b"] or ["0x0p+0"] * len(weight)]
        rows = [
            [sum((w * x for w, x in zip(ws, row, strict=True)), b)
             for ws, b in zip(weight, bias, strict=True)]
            for row in rows
        ]  # fmt: skip
        if case["activation"] == "relu":
            rows = [[max(z, Fraction(0)) for z in row] for row in rows]
        else:
            rows = [[z * z for z in row] for row in rows]
    return rows


@pytest.mark.parametrize(
    "case", [c for c in CASES if c["activation"] in EXACT], ids=lambda c: c["id"]
)
def test_exact_features_are_the_features_and_have_the_rank(case: dict[str, Any]) -> None:
    graph, place, inputs = graph_of_case(case)
    found = rational_features(graph, place, inputs).matrix
    slow = slow_features(case)
    assert found.tolist() == [[fmpq(x.numerator, x.denominator) for x in row] for row in slow]
    ones = [[fmpq(1)]] * len(slow) if case["last_layer_bias"] else [[]] * len(slow)
    Z = fmpq_mat([row + one for row, one in zip(found.tolist(), ones, strict=True)])
    assert Z.rank() == case["rank"]


@pytest.mark.parametrize("case", CASES, ids=lambda c: c["id"])
@pytest.mark.parametrize("bits", [64, 200])
def test_ball_features_contain_the_features(case: dict[str, Any], bits: int) -> None:
    graph, place, inputs = graph_of_case(case)
    found = ball_features(graph, place, inputs, bits)
    finer = ball_features(graph, place, inputs, 1000)
    assert found.overlaps(finer)
    exact = rational_features(graph, place, inputs).matrix
    if exact is not None:
        pairs = zip(found.entries(), exact.entries(), strict=True)
        with precision(20_000):  # the dyadic numbers become balls without rounding
            assert all(ball.contains(x) for ball, x in pairs)

"""Structural verdicts of the 70 stored cases, reason by reason."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from verify.network import Activation, Feedforward
from verify.verdict import Truth
from verify_conditions.expressivity.checklist import theorem_d
from verify_kernels.forward.inputs import Inputs
from verify_kernels.structure import (
    find_merged_samples,
    polynomial_dimension,
    rank_bound_by_symmetry,
    rank_bound_by_width,
)

VECTORS = Path(__file__).parents[1] / "vectors" / "expressivity.json"
CASES = json.loads(VECTORS.read_text())["cases"]


def floats(nested):
    return np.array([[float.fromhex(v) for v in row] for row in nested])


def network(case):
    weights = [floats(layer["W"]) for layer in case["layers"]]
    biases = [None if layer["b"] is None else floats([layer["b"]])[0] for layer in case["layers"]]
    weights.append(np.ones((1, len(weights[-1]))))
    biases.append(np.zeros(1) if case["last_layer_bias"] else None)
    sigma = Activation.parse(case["activation"])
    return Feedforward(tuple(weights), tuple(biases), (sigma,) * len(case["layers"])).graph()


@pytest.mark.parametrize("case", CASES, ids=lambda case: case["id"])
def test_the_stored_case(case):
    graph, ones = network(case), case["last_layer_bias"]
    place = graph.nodes[graph.last_affine].inputs[0]
    inputs = Inputs.of(floats(case["X"]), graph.sample_shape)
    n = case["n"]
    asked = (graph, place, inputs, None, ones)
    dimension = polynomial_dimension(*asked).enclosure()
    found = {
        "width": rank_bound_by_width(*asked).enclosure().hi < n,
        "equal rows": find_merged_samples(*asked).value is Truth.PROVED,
        "polynomial activation": dimension.hi < n,
        "odd network on symmetric data": rank_bound_by_symmetry(*asked).enclosure().hi < n,
    }
    fails = {reason for reason, holds in found.items() if holds}
    facts = theorem_d(graph, place, inputs, frozenset(), ones)
    passes = all(fact.value is Truth.PROVED for fact in facts.values())
    assert not (fails and passes)
    assert ("fail" if fails else "pass" if passes else "none") == case["structural"]
    assert fails | ({"theorem D"} if passes else set()) == set(case["structural_reasons"])
    if "polynomial_dimension" in case:
        assert dimension.hi == case["polynomial_dimension"]


@pytest.mark.parametrize("case", CASES, ids=lambda case: case["id"])
def test_nothing_passes_where_nothing_is_declared(case):
    graph = network(case)
    place = graph.nodes[graph.last_affine].inputs[0]
    inputs = Inputs.of(floats(case["X"]), graph.sample_shape)
    facts = theorem_d(graph, place, inputs, None, case["last_layer_bias"])
    assert any(fact.value is not Truth.PROVED for fact in facts.values())

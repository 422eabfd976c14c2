"""`converges-from-here` against the published test vectors: verdicts and enclosures."""

import json
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest

from verify.condition import Effort
from verify.engine import check
from verify.network import (
    Activation,
    Data,
    Equilibrium,
    Feedforward,
    ReluFeatureInput,
    ScaledGaussianWeight,
    TwoLayer,
)
from verify.verdict import Verdict

VECTORS = Path(__file__).parents[1] / "vectors" / "convergence.json"
CASES = [c for c in json.loads(VECTORS.read_text())["cases"] if "X" in c and "y" in c]
NAME = "converges-from-here"


def floats(rows):
    return np.vectorize(float.fromhex, otypes=[float])(np.array(rows, dtype=object))


def network_of(case):
    kind = case["kind"]
    if kind == "mlp-tanh":
        layers = [(floats(layer["W"]), floats(layer["b"])) for layer in case["layers"]]
        tanh = Activation("tanh")
        weights, biases = zip(*layers, strict=True)
        return Feedforward(weights, biases, (tanh,) * (len(layers) - 1))
    if kind == "implicit-relu":
        gamma = Fraction(float.fromhex(case["gamma"]))
        weight = ScaledGaussianWeight(floats(case["A"]), gamma)
        readout = {"u": floats(case["u"]), "v": floats(case["v"])}
        source = ReluFeatureInput(floats(case["W"]))
        return Equilibrium(weight, Activation("relu"), source, readout)
    b = None if case["b"] is None else floats(case["b"])
    name = "tanh" if kind == "two-layer-tanh" else "relu"
    return TwoLayer(floats(case["W"]), floats(case["a"]), Activation(name), b)


def decided(case, **settings):
    data = Data(floats(case["X"]), floats(case["y"]))
    told = {f"{NAME}.{key}": str(value) for key, value in settings.items()}
    told[f"{NAME}.frozen"] = "none"
    [found] = check(
        network_of(case), data, conditions=[NAME], settings=told, effort=Effort(budget=60.0)
    )
    return found


def wrong(case, verdict):
    """What may never be said of a case; undecided is never wrong."""
    if verdict is Verdict.FAIL:
        return case["verdict"] != "refuted"
    impossible = case["verdict"] == "refuted" or case.get("theorem_A_impossible", False)
    return verdict is Verdict.PASS and impossible


@pytest.mark.parametrize("case", CASES, ids=[c["id"] for c in CASES])
def test_verdicts_are_never_wrong_and_decided_where_the_vectors_decide(case):
    found = decided(case)
    assert not wrong(case, found.verdict)
    wanted = {"pass": Verdict.PASS, "refuted": Verdict.FAIL}.get(case["verdict"])
    assert wanted is None or found.verdict is wanted

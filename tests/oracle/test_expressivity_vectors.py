"""The condition on networks whose rank and structure are known exactly."""

from __future__ import annotations

import json
from fractions import Fraction
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from verify import check
from verify.condition import Effort
from verify.enclosure import endpoint_from_hex
from verify.network import Activation, Data, Feedforward

VECTORS = json.loads((Path(__file__).parents[1] / "vectors" / "expressivity.json").read_text())
CASES = VECTORS["cases"]
STRUCTURAL = {
    "width": "width",
    "equal rows": "merged-samples",
    "polynomial activation": "polynomial",
    "odd network on symmetric data": "symmetry",
}


def numbers(rows: Any) -> Any:
    return np.array([[float.fromhex(entry) for entry in row] for row in rows])


def network_of(case: dict[str, Any]) -> Feedforward:
    """The hidden layers of a case under an arbitrary last layer."""
    sigma = Activation.parse(case["activation"])
    weights = [numbers(layer["W"]) for layer in case["layers"]]
    biases: list[Any] = [
        None if layer["b"] is None else numbers([layer["b"]])[0] for layer in case["layers"]
    ]
    width = len(weights[-1])
    outer = np.linspace(-1.0, 1.0, 2 * width).reshape(2, width)
    return Feedforward(
        (*weights, outer),
        (*biases, np.zeros(2) if case["last_layer_bias"] else None),
        (sigma,) * len(weights),
    )


@cache
def claim_at(place: int, frozen: str) -> dict[str, Any]:
    case = CASES[place]
    (certificate,) = check(
        network_of(case), Data(numbers(case["X"])), conditions=["expressivity"],
        settings={"expressivity.frozen": frozen} if frozen else {}, effort=Effort(budget=30.0),
    )  # fmt: skip
    claim: dict[str, Any] = certificate.claim
    return claim


def claim_of(case: dict[str, Any], frozen: str = "") -> dict[str, Any]:
    return claim_at(CASES.index(case), frozen)


def truths(claim: dict[str, Any]) -> dict[str, str]:
    return {route["name"]: route["truth"] for route in claim["routes"]}


@pytest.mark.parametrize("case", CASES, ids=lambda case: case["id"])
def test_with_every_weight_trained(case: dict[str, Any]) -> None:
    claim = claim_of(case, frozen="none")
    allowed = {"pass": {"pass"}, "fail": {"fail"}, "undecided": {"undecided", "pass"}}
    assert claim["verdict"] in allowed[case["verdict"]]


@pytest.mark.parametrize("case", CASES, ids=lambda case: case["id"])
def test_from_the_stored_weights_alone(case: dict[str, Any]) -> None:
    """Without a declaration of what is trained, nothing but the stored weights can prove."""
    claim = claim_of(case)
    assert claim["verdict"] == case["verdict_from_these_weights_alone"]
    side = {each["name"]: each["truth"] for each in claim["side_statements"]}
    expected = {"proved"} if case["witness_at_w"] else {"undecided", "refuted"}
    if case["n"] <= case["hidden_widths"][-1] + case["last_layer_bias"]:
        assert side["expressive-here"] in expected


@pytest.mark.parametrize("case", CASES, ids=lambda case: case["id"])
def test_structure_is_told_apart(case: dict[str, Any]) -> None:
    found = truths(claim_of(case, frozen="none"))
    refuted = {name for name in STRUCTURAL.values() if found.get(name) == "refuted"}
    if case["structural"] == "fail":
        assert {STRUCTURAL[reason] for reason in case["structural_reasons"]} <= refuted
    else:
        assert not refuted
    assert (found.get("theorem-d") == "proved") == (case["structural"] == "pass")


@pytest.mark.parametrize("case", CASES, ids=lambda case: case["id"])
def test_singular_values_are_enclosed(case: dict[str, Any]) -> None:
    """The 40-digit values lie inside what is claimed; their last digit may be off by one."""
    claim = claim_of(case)
    told = {each["name"]: each for each in claim["consequences"]}
    for name, key in (("sigma_n", "sigma_n"), ("sigma_max", "sigma_max")):
        if name not in told:
            continue
        value = Fraction(case[key])
        slack = abs(value) * Fraction(2, 10**39)
        lo, hi = (endpoint_from_hex(told[name][end]) for end in ("lo", "hi"))
        assert lo <= value + slack
        assert value - slack <= hi

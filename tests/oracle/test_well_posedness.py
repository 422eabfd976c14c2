"""The condition against exact verdicts and 40-digit values made independently of this code."""

import json
from fractions import Fraction
from functools import cache
from pathlib import Path

import numpy as np
import pytest

from verify.certificate import decode_value
from verify.condition import Effort
from verify.enclosure import endpoint_from_hex
from verify.engine import check
from verify.network import Activation, AffineInput, Equilibrium, PlainWeight

VECTORS = Path(__file__).parent.parent / "vectors" / "well_posedness.json"
EFFORT = Effort(budget=30.0)  # they take milliseconds; a loaded machine may need more


@cache
def cases():
    return {case["id"]: case for case in json.loads(VECTORS.read_text())["cases"]}


def matrix(rows):
    return np.array([[float.fromhex(x) for x in row] for row in rows])


def activation(case):
    if case["activation"] == "leaky_relu":
        return Activation("leaky_relu", (Fraction(case["alpha"]),))
    return Activation.parse(case["activation"])


def network(case):
    given = None
    if "U" in case:
        bias = np.array([float.fromhex(x) for x in case["bias"]])
        given = AffineInput(matrix(case["U"]), bias)
    return Equilibrium(PlainWeight(matrix(case["W"])), activation(case), given)


def certify(case, **more):
    (certificate,) = check(
        network(case), conditions=["well-posedness"], effort=more.pop("effort", EFFORT), **more
    )
    return certificate


@pytest.mark.parametrize("name", sorted(cases()))
def test_every_case_is_decided_and_right(name):
    case = cases()[name]
    truth = case.get("every_input", case["every_b"])
    assert certify(case).claim["verdict"] == truth, case["kind"]


QUANTITIES = {"norm_W": "C0", "lambda_pf": "C1", "mu_2": "C2", "mu_eta": "C4"}


@pytest.mark.parametrize("name", sorted(cases()))
def test_enclosures_contain_the_40_digit_values(name):
    case = cases()[name]
    for route in certify(case, effort=Effort(budget=0.0)).claim["routes"]:
        for symbol, found in route["quantities"].items():
            if symbol not in QUANTITIES or route["name"].endswith("reduced"):
                continue
            lo, hi = (Fraction(end) for end in case["routes"][QUANTITIES[symbol]]["value"])
            assert endpoint_from_hex(found["lo"]) <= hi, (symbol, found)
            assert endpoint_from_hex(found["hi"]) >= lo, (symbol, found)


def relu_like(alpha, v):
    return v if v >= 0 else alpha * v


@pytest.mark.parametrize(
    "name",
    sorted(
        name
        for name, case in cases().items()
        if case["activation"] in ("relu", "leaky_relu")
        and case["every_b"] == "fail"
        and "U" not in case
    ),
)
def test_refutation_shows_two_exact_equilibria(name):
    case = cases()[name]
    certificate = certify(case)
    if certificate.claim["verdict"] == "undecided":
        assert case["m"] > 8
        return
    claim = certificate.claim
    (route,) = (r for r in claim["routes"] if r["name"] == claim["decided_by"])
    (fact,) = route["facts"].values()
    witness = fact["witness"]
    data = {k: decode_value(v, certificate.arrays) for k, v in witness["data"].items()}
    weight = [[Fraction(float.fromhex(x)) for x in row] for row in case["W"]]
    alpha = activation(case).parameters[0] if case["activation"] == "leaky_relu" else Fraction(0)
    assert witness["kind"] == "two-equilibria", witness["kind"]
    assert list(data["z1"]) != list(data["z2"])
    for z in (data["z1"], data["z2"]):
        image = [
            relu_like(alpha, sum(w * x for w, x in zip(row, z, strict=True)) + Fraction(b))
            for row, b in zip(weight, data["b"], strict=True)
        ]
        assert image == [Fraction(x) for x in z]

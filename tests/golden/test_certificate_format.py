"""The bytes of a certificate and of the files beside it must not drift.

``VERIFY_REGEN=1`` writes the files anew; look at the difference before it is committed.
"""

import os
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
import sympy as sp

from verify.certificate import (
    Certificate,
    decode_value,
    digest_array,
    encode_enclosure,
    encode_value,
    read_certificate,
    write_certificates,
)
from verify.decide import decide
from verify.enclosure import Enclosure, endpoint_from_hex
from verify.statement import Source, Statement, fact, from_tree, quantity
from verify.verdict import Truth

HERE = Path(__file__).parent
NAMES = [
    "toy.network.safetensors",
    "toy.well-posedness.json",
    "toy.well-posedness.witness.safetensors",
]
TENSORS = {
    "weight.W": np.array([[0.25, -0.0], [2.0**-1074, -0.5]]),
    "data.X": np.array([[1.0], [2.0]]),
}
NORM = quantity("norm_W", "spectral norm of W", latex=r"\|W\|_2")
GAMMA = quantity("gamma", "the scalar", latex=r"\gamma")
SMOOTH = fact("S", "sigma is non-expansive")
STATEMENT = Statement(
    hypothesis=sp.And(GAMMA.symbol * NORM.symbol / sp.sqrt(2) < 1, SMOOTH.symbol),
    about=(NORM, GAMMA, SMOOTH),
    conclusion="z is unique for every b",
    direction="sufficient",
    source=Source("Somebody2020", "Theorem 1"),
    scope="every bias",
)
ENCLOSURES = {
    NORM: Enclosure(0.5, 0.5 + 2**-50),
    GAMMA: Enclosure.outward(Fraction(1, 3), Fraction(1, 3)),
}


def certificate():
    arrays = {}
    found = decide(
        STATEMENT.hypothesis,
        {item.symbol: box for item, box in ENCLOSURES.items()},
        {SMOOTH.symbol: Truth.PROVED},
    )
    data = {"eta": np.array([3, 5]), "c": Fraction(1, 3), "scale": 2**70, "minor": [1, 2]}
    witness = {
        "kind": "positive-vector",
        "data": {
            key: encode_value(value, arrays, f"norm.norm_W.{key}") for key, value in data.items()
        },
    }
    told = {"how": "", "why_open": ""}
    quantities = {
        str(item.symbol): {
            "meaning": item.meaning, "latex": item.latex, "witness": None,
        } | encode_enclosure(box) | told
        for item, box in ENCLOSURES.items()
    }  # fmt: skip
    quantities["norm_W"]["witness"] = witness
    route = {
        "name": "norm", "title": "Spectral norm", "goal": "every bias", "direction": "sufficient",
        "cost": "cheap", "truth": str(found.truth), "why": "", "quantities": quantities,
        "facts": {
            "S": {"meaning": SMOOTH.meaning, "truth": "proved", "witness": None} | told
        },
        "statements": [
            {
                "latex": STATEMENT.latex(), "text": STATEMENT.text(), "tree": STATEMENT.tree,
                "conclusion": STATEMENT.conclusion, "direction": STATEMENT.direction,
                "scope": STATEMENT.scope, "assumes": [], "truth": str(found.truth),
                "source": {"key": "Somebody2020", "where": "Theorem 1"},
                "margins": [
                    {"relation": STATEMENT.latex_of(m.relation)} | encode_enclosure(m.value)
                    for m in found.margins
                ],
            }
        ],
    }  # fmt: skip

    def described(*roles):
        return {
            role: {"shape": list(TENSORS[role].shape), "digest": digest_array(TENSORS[role])}
            for role in roles
        }

    claim = {
        "schema": "verify/certificate/1",
        "condition": {"name": "well-posedness", "title": "Well-posedness"},
        "goal": {"name": "every bias", "sentence": "z is unique for every b"},
        "verdict": "pass", "sentence": "proved: z is unique for every b", "reason": "",
        "scope": "every bias", "speaks_about": "the stored weights", "network": None,
        "tensors": described("weight.W"), "data": described("data.X"), "settings": {},
        "decided_by": "norm", "assumes": [], "routes": [route], "side_statements": [],
        "consequences": [], "samples": None,
    }  # fmt: skip
    return Certificate(claim, {"file": "toy.npz"}, (), arrays, TENSORS)


def test_the_bytes_are_the_stored_ones(tmp_path):
    write_certificates([certificate()], tmp_path, "toy")
    assert sorted(os.listdir(tmp_path)) == NAMES
    if os.environ.get("VERIFY_REGEN"):
        write_certificates([certificate()], HERE, "toy")
    for name in NAMES:
        assert (tmp_path / name).read_bytes() == (HERE / name).read_bytes(), name


def test_the_stored_claim_is_decided_again_from_its_own_numbers():
    stored = read_certificate(HERE / "toy.well-posedness.json")
    (route,) = stored.claim["routes"]
    (statement,) = route["statements"]
    hypothesis = from_tree(statement["tree"])
    assert sp.srepr(hypothesis) == sp.srepr(STATEMENT.hypothesis)
    enclosures = {
        sp.Symbol(name, real=True): Enclosure(
            endpoint_from_hex(item["lo"]), endpoint_from_hex(item["hi"])
        )
        for name, item in route["quantities"].items()
    }
    facts = {sp.Symbol(name): Truth(item["truth"]) for name, item in route["facts"].items()}
    decision = decide(hypothesis, enclosures, facts)
    assert str(decision.truth) == statement["truth"] == route["truth"]
    assert [encode_enclosure(margin.value) for margin in decision.margins] == [
        {"lo": margin["lo"], "hi": margin["hi"]} for margin in statement["margins"]
    ]
    data = route["quantities"]["norm_W"]["witness"]["data"]
    eta = decode_value(data["eta"], stored.arrays)
    assert eta.tolist() == [3, 5]
    assert decode_value(data["scale"], stored.arrays) == 2**70


@pytest.mark.parametrize("role", list(TENSORS))
def test_the_stored_tensors_are_the_numbers_bit_by_bit(role):
    stored = read_certificate(HERE / "toy.well-posedness.json")
    assert stored.network[role].tobytes() == TENSORS[role].tobytes()

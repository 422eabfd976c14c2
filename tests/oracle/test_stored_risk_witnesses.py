"""Witnesses about a two-layer risk, read back from disk with the network and data beside them."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest

from verify.certificate import decode_value, read_certificate
from verify.evidence import Witness
from verify.network import Activation
from verify_kernels.activation_analysis import analyse
from verify_kernels.two_layer.ball_risk import Point, Problem
from verify_kernels.two_layer.cancelling_pair import replay_outer_layer
from verify_kernels.two_layer.curvature import replay_negative_curvature, replay_unbounded_hessian
from verify_kernels.two_layer.kinks import replay_kink
from verify_kernels.two_layer.polynomial import replay_polynomial
from verify_kernels.two_layer.rays import replay_flat_ray

FOLDER = Path(__file__).parents[1] / "golden" / "villani"
NAMES = sorted(path.name.split(".")[0] for path in FOLDER.glob("*.villani.json"))
LOSSES = {"half-mean-squares": "squared", "logistic": "logistic"}


def stored(name: str) -> tuple[list[Witness], Problem, Point, Any]:
    """Return the witnesses, the risk and the weights that the files alone tell."""
    certificate = read_certificate(FOLDER / f"{name}.villani.json")
    claim, arrays = certificate.claim, certificate.network
    told = claim["settings"]
    decay = Fraction(told["weight_decay"])
    penalties = {"W": decay}
    penalties |= {"b": decay} if told.get("bias") == "regularised" else {}
    penalties |= {"a": decay} if told["outer"] == "trained" else {}
    activation = Activation.parse(claim["network"]["activation"])
    problem = Problem(
        arrays["data.X"], arrays["data.y"], activation, penalties,
        LOSSES[told.get("loss", "half-mean-squares")],  # type: ignore[arg-type]
    )  # fmt: skip
    point = Point(arrays["W"], arrays["a"], arrays.get("b"), arrays.get("c"))
    witnesses = []
    for route in claim["routes"]:
        for fact in route["facts"].values():
            if fact["witness"] is not None:
                data = fact["witness"]["data"]
                decoded = {k: decode_value(v, certificate.arrays) for k, v in data.items()}
                witnesses.append(Witness(fact["witness"]["kind"], decoded))
    return witnesses, problem, point, analyse(activation)


def replay(witness: Witness, problem: Problem, point: Point, facts: Any) -> bool:
    with_facts = {
        "kink": replay_kink,
        "flat-ray": replay_flat_ray,
        "unbounded-hessian": replay_unbounded_hessian,
    }
    if witness.kind in with_facts:
        return with_facts[witness.kind](witness, problem, point, facts)
    rules = {
        "outer-layer-ray": replay_outer_layer,
        "polynomial-ray": replay_polynomial,
        "negative-curvature": replay_negative_curvature,
    }
    return rules[witness.kind](witness, problem, point)


@pytest.mark.parametrize("name", NAMES)
def test_every_stored_witness_holds_again(name: str) -> None:
    witnesses, problem, point, facts = stored(name)
    for witness in witnesses:
        assert replay(witness, problem, point, facts), witness.kind


def test_each_failing_network_has_a_witness() -> None:
    kinds = {name: {w.kind for w in stored(name)[0]} for name in NAMES}
    assert "outer-layer-ray" in kinds["trained"]
    assert "kink" in kinds["kink"]
    assert "flat-ray" in kinds["no-penalty"]
    assert "polynomial-ray" in kinds["pair"]
    assert "unbounded-hessian" in kinds["softplus"]


def test_a_witness_does_not_hold_for_another_network() -> None:
    (witness,), problem, point, facts = stored("trained")
    other = Problem(problem.X, -2 * problem.y, problem.activation, problem.penalties)
    assert not replay(witness, other, point, facts)

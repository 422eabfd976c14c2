"""The Villani condition against networks whose constants are known to 40 digits."""

from __future__ import annotations

import json
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from verify.condition import Effort
from verify.decide import evaluate
from verify.enclosure import Enclosure
from verify.engine import check
from verify.network import Activation, Data, TwoLayer
from verify_conditions.villani import formulas as fm
from verify_conditions.villani import quantities as q
from verify_conditions.villani.evidence import number
from verify_conditions.villani.problem import Problem, prepare

VECTORS = json.loads(
    (Path(__file__).parents[1] / "vectors" / "villani.json").read_text(encoding="utf-8")
)
NETWORKS = VECTORS["networks"]
IDS = [f"{case['id']} {case['activation']} {case['tag']}" for case in NETWORKS]
KINDS = ("frozen/none", "trained/none", "frozen/reg", "trained/reg", "frozen/unreg",
         "trained/unreg")  # fmt: skip


def array(values: Any) -> np.ndarray[Any, Any]:
    if isinstance(values, str):
        return np.float64(float.fromhex(values))  # type: ignore[return-value]
    return np.array([array(value) for value in values])


def network_of(case: dict[str, Any], *, bias: bool = False) -> TwoLayer:
    W = array(case["at"][0]["W"]).reshape(case["p"], case["d"])
    b = np.zeros(case["p"]) if bias else None
    return TwoLayer(W, array(case["a"]), Activation.parse(case["sympy"]), b)


def data_of(case: dict[str, Any]) -> Data:
    return Data(array(case["X"]).reshape(case["n"], case["d"]), array(case["y"]))


def settings_of(case: dict[str, Any], kind: str = "frozen/none", **more: str) -> dict[str, str]:
    outer, bias = kind.split("/")
    told = {"outer": outer, "loss": case["loss"], "weight_decay": case["lambda"]} | more
    if bias != "none":
        told["bias"] = {"reg": "regularised", "unreg": "unregularised"}[bias]
    return told


def problem_of(case: dict[str, Any], **more: str) -> Problem:
    return prepare(network_of(case), data_of(case), None, settings_of(case, **more))


def exact(text: str) -> Fraction:
    return Fraction(text)


def meets(value: Enclosure, text: str) -> bool:
    """Whether the enclosure meets the decimal, which is rounded at its 40th digit."""
    number = exact(text)
    slack = abs(number) * 5 / 10**40
    return value.lo <= number + slack and number - slack <= value.hi


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("case", NETWORKS, ids=IDS)
def test_verdicts_are_right_or_undecided(case: dict[str, Any], kind: str) -> None:
    network = network_of(case, bias=not kind.endswith("none"))
    settings = {f"villani.{key}": text for key, text in settings_of(case, kind).items()}
    (certificate,) = check(network, data_of(case), conditions=["villani"], settings=settings)
    wanted, found = case["verdicts"][kind], certificate.claim["verdict"]
    if wanted["truth"] == "unknown":
        assert found == "undecided", wanted["why"]
    else:
        assert found in (wanted["truth"], "undecided"), wanted["why"]
    if wanted["verdict"] != "undecided":
        assert found == wanted["verdict"], certificate.claim["reason"]


CONSTANTS = {
    "Lambda": q.SECOND_MOMENT.symbol, "S1": q.S1.symbol, "S2": q.S2.symbol,
    "kappa0": q.KAPPA0.symbol, "G": fm.G_SQUARES, "gbar": fm.G_BAR, "Dbar": fm.D_BAR_SQUARES,
    "gLip_matrix": fm.LIPSCHITZ_SQUARES, "lambda_cvx": fm.CONVEX_FROM_SQUARES,
    "b": fm.DRIFT_B, "b_sharp": fm.DRIFT_B_SHARP, "A": fm.LAPLACIAN_A, "B": fm.LAPLACIAN_B,
    "lambda_V": fm.LAMBDA_V, "lambda_GM_recalled": fm.RECALLED_THRESHOLD,
}  # fmt: skip


@pytest.mark.parametrize("case", NETWORKS, ids=IDS)
def test_constants_contain_the_known_values(case: dict[str, Any]) -> None:
    problem = problem_of(case)
    for name, expression in CONSTANTS.items():
        text = case["constants"].get(name)
        if text in (None, "inf"):
            continue
        known = {s: number(problem, s, Effort()) for s in expression.free_symbols}
        value = evaluate(expression, known)
        assert meets(value, text), (name, value, text)
        assert value.is_bounded, (name, value, text)
        assert value.width <= abs(exact(text)) / 10**8, (name, value, text)


@pytest.mark.parametrize("case", NETWORKS, ids=IDS)
def test_radii_contain_the_known_values(case: dict[str, Any]) -> None:
    for level in ("0", "1", "100"):
        problem = problem_of(case, s=case["s"], level=level)
        for route, expression in (
            ("V1", fm.radius_bounded(fm.G_SQUARES, fm.D_BAR_SQUARES)),
            ("V2", fm.radius_homogeneous(fm.DRIFT_B)),
        ):
            text = case["radius"].get(route, {}).get(level)
            if text is None:
                continue
            known = {s: number(problem, s, Effort()) for s in expression.free_symbols}
            value = evaluate(expression, known)
            assert meets(value, text), (route, level, value, text)
            assert value.is_bounded
            assert value.width <= abs(exact(text)) / 10**8


@pytest.mark.parametrize("case", NETWORKS, ids=IDS)
def test_strong_convexity_is_decided(case: dict[str, Any]) -> None:
    wanted = case["strongly_convex_by_lambda_cvx"]
    settings = {f"villani.{key}": text for key, text in settings_of(case).items()}
    (certificate,) = check(network_of(case), data_of(case), conditions=["villani"],
                           settings=settings)  # fmt: skip
    routes = [r for r in certificate.claim["routes"] if r["name"] == "convex"]
    if wanted is None:
        assert all(route["truth"] != "proved" for route in routes)
    else:
        (route,) = routes
        assert route["truth"] == ("proved" if wanted else "refuted")

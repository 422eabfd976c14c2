"""Refutations (and special proofs) of the Villani property against independent exact records."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from fractions import Fraction
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from verify.enclosure import Enclosure
from verify.evidence import Evidence
from verify.network.activation import Activation
from verify.verdict import Truth
from verify_kernels.activation_analysis.analysis import analyse
from verify_kernels.two_layer import (
    cancelling_pair,
    constant_output,
    curvature,
    kinks,
    log_oscillation,
    mirror_data,
    oscillation_form,
    polynomial,
    ray_sums,
    rays,
    spanning,
)
from verify_kernels.two_layer.ball_risk import Point, Problem
from verify_kernels.two_layer.balls import precision

VECTORS = Path(__file__).parents[1] / "vectors" / "villani.json"
SETTINGS = [(outer, bias) for outer in ("frozen", "trained") for bias in ("none", "reg", "unreg")]


@cache
def records() -> list[dict[str, Any]]:
    return list(json.loads(VECTORS.read_text())["networks"])


def _float(text: str) -> float:
    return float.fromhex(text)


def load(
    record: dict[str, Any], outer: str = "frozen", bias: str = "none"
) -> tuple[Problem, Point]:
    penalty = Fraction(_float(record["lambda"]))
    penalties = {"W": penalty}
    if outer == "trained":
        penalties["a"] = penalty
    if bias != "none":
        penalties["b"] = penalty if bias == "reg" else Fraction(0)
    X = np.array([[_float(v) for v in row] for row in record["X"]])
    y = np.array([_float(v) for v in record["y"]])
    W = np.array([[_float(v) for v in row] for row in record["at"][0]["W"]])
    a = np.array([_float(v) for v in record["a"]])
    text = record["sympy"] if "logosc" in record["activation"] else record["activation"]
    scale = Fraction(record["c_prime"])
    problem = Problem(X, y, Activation.parse(text), penalties, "squared", scale)
    return problem, Point(W, a, np.zeros(len(a)) if bias != "none" else None, None)


def decisions(problem: Problem, point: Point) -> Iterator[tuple[str, Evidence, bool]]:
    """Yield every decision of the kernels with the outcome of its re-evaluation."""
    facts = analyse(problem.activation)
    found = kinks.decide_smoothness(problem, point, facts)
    if found.value is Truth.REFUTED and found.witness:
        yield "kink", found, kinks.replay_kink(found.witness, problem, point, facts)
    found = rays.decide_growth(problem, point, facts)
    if found.witness:
        yield "ray", found, rays.replay_flat_ray(found.witness, problem, point, facts)
    found = constant_output.decide_constant_output(problem, point, facts)
    if found.witness:
        again = constant_output.replay_constant_output(found.witness, problem, point)
        yield "constant", found, again
    found = polynomial.decide_polynomial(problem, point)
    if found.witness:
        yield "polynomial", found, polynomial.replay_polynomial(found.witness, problem, point)
    found = log_oscillation.decide_log_oscillation(problem, point)
    if found.witness:
        again = log_oscillation.replay_log_oscillation(found.witness, problem, point)
        yield "oscillation", found, again
    found = spanning.decide_without_penalty(problem, point, facts)
    if found.witness:
        yield "spanning", found, spanning.replay_spanning(found.witness, problem, point, facts)
    found = mirror_data.decide_mirror_data(problem, point, facts)
    if found.witness:
        yield "mirror", found, mirror_data.lines_cancel(problem, point, facts)
    if "a" in problem.penalties:
        found = cancelling_pair.decide_outer_layer(problem, point, facts)
        if found.witness:
            again = cancelling_pair.replay_outer_layer(found.witness, problem, point)
            yield "outer", found, again


def _storable(value: Any) -> bool:
    """Whether a witness may hold the value: exact numbers, words, and lists of them."""
    if isinstance(value, list):
        return all(map(_storable, value))
    return value is None or type(value) in (int, Fraction, str, bool)


def _meets(enclosed: Enclosure, text: str | list[str]) -> bool:
    if isinstance(text, list):
        return bool(enclosed.lo <= Fraction(text[1]) and enclosed.hi >= Fraction(text[0]))
    value = Fraction(text)
    slack = abs(value) * Fraction(5, 10**40)
    return bool(enclosed.lo <= value + slack and enclosed.hi >= value - slack)


def test_no_verdict_of_the_records_is_contradicted() -> None:
    wrong, counts = [], Counter()
    for record in records():
        for outer, bias in SETTINGS:
            problem, point = load(record, outer, bias)
            expected = record["verdicts"][f"{outer}/{bias}"]
            decided = list(decisions(problem, point))
            for name, evidence, again in decided:
                assert evidence.how
                assert evidence.witness is not None
                assert all(map(_storable, evidence.witness.data.values())), name
                says = "pass" if evidence.value is Truth.PROVED else "fail"
                if {says, expected["truth"]} == {"pass", "fail"} or not again:
                    wrong.append((record["id"], outer, bias, name, expected))
            truths = {evidence.value for _, evidence, _ in decided}
            assert len(truths) <= 1, (record["id"], outer, bias, truths)
            if expected["truth"] == "fail" and not decided:
                counts["fail missed"] += 1
            counts[expected["truth"], "decided" if decided else "open"] += 1
    print(f"villani records: {dict(counts)}")
    assert wrong == []
    assert counts["fail missed"] == 0
    assert counts["fail", "decided"] == 307
    assert counts["unknown", "decided"] == 22  # one neuron, s(0) = 0: beyond the records
    assert counts["pass", "decided"] == 27  # the others are for the general theorems


def test_cancelling_pair_numbers_of_the_records() -> None:
    compared = 0
    for record in records():
        expected = record["cancelling_pair"]
        if not expected:
            continue
        problem, point = load(record, "trained")
        w0 = [Fraction(_float(v)) for v in expected["w0"]]
        with precision(400):
            ray = cancelling_pair.ray_of(problem, point, [0, 1], [1, -1], w0)
            assert ray is not None
            assert _meets(Enclosure.from_arb(ray.S), expected["S"])
            assert _meets(Enclosure.from_arb(ray.critical), expected["s_crit"])
            for side in (expected["sides"] or {}).values():
                s = Fraction(_float(side["s"]))
                for t, value in side["at_t"].items():
                    v = ray.v(s, int(t))
                    assert _meets(Enclosure.from_arb(v), value["V"]), (record["id"], t)
                    assert (v > 0) == (value["sign"] > 0)
                    assert (v < 0) == (value["sign"] < 0)
                    compared += 1
    assert compared >= 300


def test_kink_jumps_of_the_records() -> None:
    compared = 0
    for record in records():
        for kink in record.get("kinks") or []:
            problem, point = load(record)
            facts = analyse(problem.activation)
            W = [[Fraction(_float(v)) for v in row] for row in kink["W"]]
            x = [Fraction(v) for v in problem.X[kink["i"]].tolist()]
            outer = [Fraction(v) for v in point.a.tolist()]
            line = kinks.Candidate(kink["j"], W[kink["j"]], None, x, outer)
            with precision(300):
                series = kinks.line_series(problem, replace(point, W=W), facts, line)
                assert series is not None
                right, left, _ = series
                jump = right[1] - left[1]
            assert _meets(Enclosure.from_arb(jump), kink["J"])
            assert jump.contains(0) == kink["jump_is_zero"]
            compared += 1
    assert compared == 10


def test_unbounded_hessians_of_the_records() -> None:
    seen = Counter()
    for record in records():
        problem, point = load(record)
        facts = analyse(problem.activation)
        found = curvature.decide_lipschitz_gradient(problem, point, facts)
        void = bool(record["constants"].get("gLip_void"))
        if found.witness:
            assert curvature.replay_unbounded_hessian(found.witness, problem, point, facts)
        if "gLip_void" in record["constants"]:
            assert (found.value is Truth.REFUTED) == void, record["id"]
            seen[void] += 1
        flat = curvature.decide_convexity(problem, point, facts)
        if flat.witness:
            assert record["strongly_convex_by_lambda_cvx"] is not True
            assert curvature.replay_negative_curvature(flat.witness, problem, point)
    assert seen[True] >= 20
    assert seen[False] >= 10


@pytest.mark.parametrize("index", range(61, 69))
def test_oscillation_threshold_on_both_sides(index: int) -> None:
    problem, point = load(records()[index])
    line = oscillation_form.one_dimensional(problem, point)
    assert line is not None
    middle = Fraction(oscillation_form.threshold(line).lo)
    for power in (3, 12, 40):
        for sign, truth in ((-1, Truth.REFUTED), (1, Truth.PROVED)):
            lam = middle * (1 + sign * Fraction(1, 10**power))
            moved = replace(problem, penalties={"W": lam})
            found = log_oscillation.decide_log_oscillation(moved, point)
            assert found.value is truth
            assert found.witness is not None
            assert log_oscillation.replay_log_oscillation(found.witness, moved, point)
            if truth is Truth.REFUTED:
                (a, b), (c, d) = found.witness.data["zeros"]
                assert 0 < a < b < c < d


def test_oscillation_at_the_threshold_is_open() -> None:
    # A^2 = 1, w = 4/3: sqrt(1 + w^2) = 5/3, T = (a x)^2 (1/2)(2/3) = 1/3 exactly
    activation = Activation.parse("z*cos(2*log(1+z**2)/3)")
    point = Point(np.ones((1, 1)), np.ones(1))
    for lam, truth in (
        (Fraction(1, 3), Truth.UNDECIDED),
        (Fraction(1, 3) - Fraction(1, 10**30), Truth.REFUTED),
        (Fraction(1, 3) + Fraction(1, 10**30), Truth.PROVED),
    ):
        problem = Problem(np.ones((1, 1)), np.zeros(1), activation, {"W": lam})
        assert log_oscillation.decide_log_oscillation(problem, point).value is truth


def test_published_zeros_of_the_oscillating_example() -> None:
    """A = 1, w = sqrt 3, lambda = 0.45: zeros at 10.27 and 12.22, then 62.8, 75.5, ..."""
    activation = Activation.parse("z*cos(sqrt(3)/2*log(1+z**2))")
    problem = Problem(np.ones((1, 1)), np.zeros(1), activation, {"W": Fraction(45, 100)})
    point = Point(np.ones((1, 1)), np.ones(1))
    found = log_oscillation.decide_log_oscillation(problem, point)
    assert found.witness is not None
    (a, b), (c, d) = found.witness.data["zeros"]
    assert Fraction(10274, 1000) < a < b < Fraction(10275, 1000)
    assert Fraction(12219, 1000) < c < d < Fraction(12220, 1000)
    (low, _), (_, high) = found.witness.data["V"]
    assert low > 1
    assert high < -1


@pytest.mark.soundness
def test_ray_coefficients_against_the_general_formulas() -> None:
    """Any penalties, frozen or trained biases, both losses: V_s of the ray is V_s of the risk."""
    import os
    import time

    count = 1500 if os.environ.get("VERIFY_CAMPAIGN") == "full" else 150
    generator, start, wrong = np.random.default_rng(311), time.monotonic(), 0
    names = ("tanh", "sigmoid", "softplus(2)", "gelu", "silu", "erf", "sin", "square", "z**3-z")
    for index in range(count):
        problem, point = _random(generator, Activation.parse(names[index % len(names)]))
        p, d = point.W.shape
        moved = "b" in problem.penalties
        w0 = [Fraction(v) for v in generator.integers(-3, 4, d + moved).tolist()]
        single = problem.activation.name in ("tanh", "sin", "erf") and index % 2 == 0
        if single:
            w0 = [Fraction(0)] * (d + moved)
        chosen = ([0], [1]) if single else ([0, p - 1], [1, -1])
        if not moved and point.b is not None:
            point = replace(point, b=np.full(p, 0.0 if single else float(point.b[0])))
        with precision(300):
            ray = cancelling_pair.ray_of(problem, point, *chosen, w0)
        if ray is None:
            assert not moved
            assert not problem.X.any()
            continue
        stored = {
            "neurons": chosen[0],
            "signs": chosen[1],
            "w0": w0[:-1] if moved else w0,
            "b0": w0[-1] if moved else None,
        }
        for t in (1, 37, 10**5):
            s = Fraction(int(generator.integers(1, 9)), 3)
            at = cancelling_pair.ray_point(problem, point, stored, t)
            general = cancelling_pair.evaluate(problem, at, bits=400).v(s)
            with precision(300):
                mine = ray.v(s, t)
                wrong += not mine.overlaps(general) or not mine.rad() < 1e-30 * (
                    1 + abs(mine.mid())
                )
    print(f"campaign ray: {3 * count} cases, seed 311, {time.monotonic() - start:.1f} s, 0 wrong")
    assert wrong == 0


def test_the_second_derivative_enters_the_ray(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without s'' the ray of one neuron leaves the general formulas: the comparison sees it."""
    problem = Problem(
        np.array([[1.0], [2.0]]), np.array([1.0, -2.0]), Activation.parse("gelu"),
        {"W": Fraction(1), "a": Fraction(1)},
    )  # fmt: skip
    point = Point(np.ones((1, 1)), np.ones(1))
    stored = {"neurons": [0], "signs": [1], "w0": [Fraction(0)], "b0": None}
    at = cancelling_pair.ray_point(problem, point, stored, 100)
    general = cancelling_pair.evaluate(problem, at, bits=400).v(1)

    def mine() -> Any:
        with precision(300):
            ray = cancelling_pair.ray_of(problem, point, [0], [1], [Fraction(0)])
            assert ray is not None
            return ray.v(Fraction(1), 100)

    assert mine().overlaps(general)
    true = ray_sums.jet
    monkeypatch.setattr(ray_sums, "jet", lambda *given: [*true(*given)[:2], 0 * true(*given)[0]])
    assert not mine().overlaps(general)


def _random(generator: np.random.Generator, activation: Activation) -> tuple[Problem, Point]:
    p, d, n = (int(v) for v in generator.integers((2, 1, 1), (5, 4, 6)))
    X = generator.integers(-4, 5, (n, d)) / 2.0
    logistic = bool(generator.integers(2))
    y = generator.choice([-1.0, 1.0], n) if logistic else generator.integers(-5, 6, n) / 4.0
    penalties = {role: Fraction(int(generator.integers(0, 4)), 3) for role in "Wa"}
    b, c = None, None
    kind = generator.integers(3)
    if kind:
        b = generator.integers(-2, 3, p) / 2.0
        if kind == 2:
            penalties["b"] = Fraction(int(generator.integers(0, 4)), 5)
    if generator.integers(2):
        c = generator.integers(-3, 4, 1) / 2.0
        if generator.integers(2):
            penalties["c"] = Fraction(int(generator.integers(0, 4)), 7)
    loss = "logistic" if logistic else "squared"
    problem = Problem(X, y, activation, penalties, loss, Fraction(int(generator.integers(1, 6)), 2))
    return problem, Point(generator.standard_normal((p, d)), generator.standard_normal(p), b, c)

"""Exactly one equilibrium for every input: stored cases and brute force in rationals."""

from __future__ import annotations

import json
import os
import random
import time
from fractions import Fraction
from itertools import pairwise, product
from pathlib import Path

import numpy as np
import pytest

from verify.evidence import Witness
from verify.network import AffineInput, ReluFeatureInput
from verify.verdict import Truth
from verify_kernels import input_range
from verify_kernels.input_range import decide_every_input
from verify_kernels.matrix import MatrixEnclosure

VECTORS = Path(__file__).parents[1] / "vectors" / "well_posedness.json"
CASES = json.loads(VECTORS.read_text())["cases"]
RANGE_CASES = [case for case in CASES if case["kind"] == "input_range"]
WORDS = {"pass": Truth.PROVED, "fail": Truth.REFUTED}
FULL = os.environ.get("VERIFY_CAMPAIGN") == "full"


def floats(rows):
    return np.array([[float.fromhex(x) for x in row] for row in rows])


def solve(matrix, right):
    """Gauss-Jordan in Fractions; None if singular."""
    n = len(matrix)
    rows = [[*row, r] for row, r in zip(matrix, right, strict=True)]
    for i in range(n):
        pivot = next((k for k in range(i, n) if rows[k][i] != 0), None)
        if pivot is None:
            return None
        rows[i], rows[pivot] = rows[pivot], rows[i]
        rows[i] = [e / rows[i][i] for e in rows[i]]
        for k in range(n):
            if k != i and rows[k][i] != 0:
                rows[k] = [a - rows[k][i] * b for a, b in zip(rows[k], rows[i], strict=True)]
    return [row[n] for row in rows]


class Brute:
    """An independent enumeration of equilibria: dense rational algebra, pattern by pattern."""

    def __init__(self, W, alpha):
        self.W = [[Fraction(float(x)) for x in row] for row in W]
        self.m, self.alpha = len(self.W), alpha

    def matrix(self, pattern):
        return [
            [Fraction(i == j) - self.W[i][j] * pattern[j] for j in range(self.m)]
            for i in range(self.m)
        ]

    def patterns(self):
        return product((self.alpha, Fraction(1)), repeat=self.m)

    def regular(self):
        zero = [Fraction(0)] * self.m
        return all(solve(self.matrix(p), zero) is not None for p in self.patterns())

    def equilibria(self, b):
        found = set()
        for pattern in self.patterns():
            v = solve(self.matrix(pattern), b)
            fits = [x >= 0 if d == 1 else x <= 0 for x, d in zip(v, pattern, strict=True)]
            if all(fits):
                found.add(tuple(x * d for x, d in zip(v, pattern, strict=True)))
        return found

    def line_is_unique(self, u, c):
        """One equilibrium for every b = u t + c: at all breakpoints and twice between them."""
        breaks = {Fraction(0)}
        for pattern in self.patterns():
            p, q = solve(self.matrix(pattern), c), solve(self.matrix(pattern), u)
            breaks |= {-a / s for a, s in zip(p, q, strict=True) if s != 0}
        ordered = sorted(breaks)
        points = [ordered[0] - 2, ordered[0] - 1, *ordered, ordered[-1] + 1, ordered[-1] + 2]
        for low, high in pairwise(ordered):
            points += [low + (high - low) / 3, low + 2 * (high - low) / 3]
        return all(
            len(self.equilibria([a * t + e for a, e in zip(u, c, strict=True)])) == 1
            for t in points
        )


def bias_at(given, x):
    if isinstance(given, AffineInput):
        U, bias = given.U, [Fraction(float(e)) for e in given.bias]
    else:
        U, bias = given.V, [Fraction(0)] * len(given.V)
    b = [
        c + sum(Fraction(float(e)) * t for e, t in zip(row, x, strict=True))
        for row, c in zip(U, bias, strict=True)
    ]
    return b if isinstance(given, AffineInput) else [max(e, Fraction(0)) for e in b]


def check_witness(W, given, alpha, witness):
    """Re-evaluate a refutation in the standard library's rationals."""
    x, b, states = (witness.data[k] for k in ("x", "b", "equilibria"))
    assert b == bias_at(given, x)
    exact = [[Fraction(float(e)) for e in row] for row in W]
    for z in states:
        v = [
            c + sum(w * e for w, e in zip(row, z, strict=True))
            for row, c in zip(exact, b, strict=True)
        ]
        assert [e if e >= 0 else alpha * e for e in v] == list(z)
    if witness.kind == "input-with-two-equilibria":
        assert len(states) == 2
        assert states[0] != states[1]
    else:
        assert witness.kind == "input-without-equilibrium"
        assert not states
        brute = Brute(W, alpha)
        if len(W) <= 4 and brute.regular():
            assert not brute.equilibria(b)


@pytest.mark.parametrize("case", RANGE_CASES, ids=lambda case: case["id"])
def test_stored_cases(case):
    W, U = floats(case["W"]), floats(case["U"])
    given = AffineInput(U, np.array([float.fromhex(x) for x in case["bias"]]))
    alpha = Fraction(case.get("alpha", 0))
    found = decide_every_input(MatrixEnclosure(W), given, alpha)
    assert found.value is WORDS[case["every_input"]]
    if found.value is Truth.REFUTED:
        check_witness(W, given, alpha, found.witness)


def test_not_a_p_matrix_but_unique_for_every_input():
    W, U = np.array([[0.0, -3.0], [-3.0, 0.0]]), np.array([[1.0], [0.1]])
    given = AffineInput(U, np.zeros(2))
    assert decide_every_input(MatrixEnclosure(W), given, Fraction(0)).value is Truth.PROVED


def test_a_known_bad_bias_is_pulled_back_to_an_input():
    W, U = np.array([[0.0, -3.0], [-3.0, 0.0]]), np.array([[1.0, 0.5, 2.0], [0.1, 3.0, 1.0]])
    one, zero = Fraction(1), Fraction(0)
    bad = Witness("two-equilibria", {"b": [one, one], "z1": [one, zero], "z2": [zero, one]})
    given = AffineInput(U, np.array([0.25, -1.0]))
    found = decide_every_input(MatrixEnclosure(W), given, zero, bad=bad)
    assert found.value is Truth.REFUTED
    assert found.witness.data["b"] == [1, 1]
    check_witness(W, given, zero, found.witness)


def test_a_false_bad_bias_is_not_believed():
    W, U = np.array([[0.0, -3.0], [-3.0, 0.0]]), np.array([[1.0], [0.1]])
    one, zero = Fraction(1), Fraction(0)
    for data in (
        {"b": [one, Fraction(0.1)], "z1": [one, zero], "z2": [one, zero]},
        {"b": [one, Fraction(0.1)], "z1": [one, zero], "z2": [zero, one]},
        {"b": [one, Fraction(0.1)]},
        {"b": [one, one], "z1": [one, zero], "z2": [zero, one]},
    ):
        given = AffineInput(U, np.zeros(2))
        bad = Witness("two-equilibria", data)
        assert decide_every_input(MatrixEnclosure(W), given, zero, bad=bad).value is Truth.PROVED


@pytest.mark.parametrize(
    ("w", "u", "bias", "expected"),
    [
        (1.0, 1.0, 0.0, Truth.REFUTED),  # b = 0: every z >= 0; b > 0: none
        (1.0, 0.0, -1.0, Truth.PROVED),  # b = -1 for every x
        (1.0, 0.0, 0.0, Truth.REFUTED),
        (1.0, 0.0, 1.0, Truth.REFUTED),
        (3.0, 0.0, 1.0, Truth.REFUTED),
        (3.0, 0.0, -1.0, Truth.REFUTED),
        (0.5, 1.0, 0.0, Truth.PROVED),
    ],
)
def test_one_unit_with_singular_patterns(w, u, bias, expected):
    given = AffineInput(np.array([[u]]), np.array([bias]))
    W = np.array([[w]])
    found = decide_every_input(MatrixEnclosure(W), given, Fraction(0))
    assert found.value is expected
    if expected is Truth.REFUTED:
        check_witness(W, given, Fraction(0), found.witness)


def test_a_singular_pattern_that_meets_one_input_only_is_harmless():
    """I - W = ones: with both units on, z1 + z2 = t = t/2 has the one solution 0 at t = 0."""
    W = np.array([[0.0, -1.0], [-1.0, 0.0]])
    given = AffineInput(np.array([[1.0], [0.5]]), np.zeros(2))
    assert decide_every_input(MatrixEnclosure(W), given, Fraction(0)).value is Truth.PROVED
    given = AffineInput(np.ones((2, 1)), np.zeros(2))  # b = (t, t): a segment of equilibria
    found = decide_every_input(MatrixEnclosure(W), given, Fraction(0))
    assert found.value is Truth.REFUTED
    check_witness(W, given, Fraction(0), found.witness)


def test_an_enclosure_without_exact_entries_stays_open():
    weight = MatrixEnclosure(np.eye(2) * 0.5, np.full((2, 2), 1e-16))
    given = AffineInput(np.ones((2, 1)), np.zeros(2))
    found = decide_every_input(weight, given, Fraction(0))
    assert found.value is Truth.UNDECIDED
    assert found.why_open


def test_a_passed_deadline_stays_open():
    given = AffineInput(np.ones((3, 1)), np.zeros(3))
    found = decide_every_input(
        MatrixEnclosure(np.eye(3) * 0.5), given, Fraction(0), deadline=time.monotonic() - 1
    )
    assert found.value is Truth.UNDECIDED
    assert "time" in found.why_open


def random_layer(chooser, m, d):
    size = chooser.choice((0.6, 1.0, 2.0))
    W = np.array([[chooser.randint(-64, 64) / 64 * size for _ in range(m)] for _ in range(m)])
    U = np.array([[chooser.randint(-32, 32) / 16 for _ in range(d)] for _ in range(m)])
    bias = np.array([chooser.choice((0, 0, 1)) * chooser.randint(-32, 32) / 16 for _ in range(m)])
    return W, U, bias


@pytest.mark.soundness
def test_campaign_lines_of_inputs_against_brute_force():
    count, seed, start = (500 if FULL else 50), 1, time.perf_counter()
    chooser, truths = random.Random(seed), {Truth.PROVED: 0, Truth.REFUTED: 0}
    done = 0
    while done < count:
        alpha = chooser.choice((Fraction(0), Fraction(0), Fraction(1, 2), Fraction(1, 100)))
        W, U, bias = random_layer(chooser, chooser.randint(1, 3), 1)
        brute = Brute(W, alpha)
        if not brute.regular():
            continue
        done += 1
        given = AffineInput(U, bias)
        found = decide_every_input(MatrixEnclosure(W), given, alpha)
        u, c = [Fraction(float(e)) for e in U[:, 0]], [Fraction(float(e)) for e in bias]
        expected = Truth.PROVED if brute.line_is_unique(u, c) else Truth.REFUTED
        assert found.value is expected, (W, U, bias, alpha)
        truths[expected] += 1
        if expected is Truth.REFUTED:
            check_witness(W, given, alpha, found.witness)
    assert min(truths.values()) > count // 10
    spent = time.perf_counter() - start
    print(f"campaign input-range-lines: {count} cases, seed {seed}, {spent:.1f} s, 0 wrong")


@pytest.mark.soundness
def test_campaign_planes_and_features_against_random_inputs():
    count, seed, start = (200 if FULL else 20), 2, time.perf_counter()
    chooser, seen = random.Random(seed), set()
    for k in range(count):
        m = chooser.randint(1, 3)
        W, U, bias = random_layer(chooser, m, chooser.randint(1, 2))
        given = ReluFeatureInput(U) if k % 2 else AffineInput(U, bias)
        found = decide_every_input(MatrixEnclosure(W), given, Fraction(0))
        brute = Brute(W, Fraction(0))
        seen.add((k % 2, found.value))
        if found.value is Truth.REFUTED:
            check_witness(W, given, Fraction(0), found.witness)
        elif found.value is Truth.PROVED and brute.regular():
            for _ in range(30):
                x = [Fraction(chooser.randint(-99, 99), 7) for _ in range(U.shape[1])]
                assert len(brute.equilibria(bias_at(given, x))) == 1
    assert {(k, t) for k in (0, 1) for t in (Truth.PROVED, Truth.REFUTED)} <= seen
    spent = time.perf_counter() - start
    print(f"campaign input-range-planes: {count} cases, seed {seed}, {spent:.1f} s, 0 wrong")


def test_features_of_full_rank_reach_the_whole_nonnegative_orthant():
    V = np.array([[1.0, 0.0], [0.5, 1.0]])
    inside = np.array([[0.0, -3.0], [-3.0, 0.0]])  # two equilibria at b = (1, 1)
    found = decide_every_input(MatrixEnclosure(inside), ReluFeatureInput(V), Fraction(0))
    assert found.value is Truth.REFUTED
    check_witness(inside, ReluFeatureInput(V), Fraction(0), found.witness)
    outside = np.array([[0.0, 3.0], [-3.0, 0.0]])  # a P-matrix
    found = decide_every_input(MatrixEnclosure(outside), ReluFeatureInput(V), Fraction(0))
    assert found.value is Truth.PROVED


def test_a_wide_layer_is_refuted_by_an_exact_input():
    generator = np.random.default_rng(0)
    W = 1.5 * generator.standard_normal((40, 40)) / np.sqrt(40)
    for given in (
        AffineInput(generator.standard_normal((40, 5)), generator.standard_normal(40)),
        ReluFeatureInput(generator.standard_normal((40, 5))),
    ):
        found = decide_every_input(MatrixEnclosure(W), given, Fraction(0))
        assert found.value is Truth.REFUTED
        check_witness(W, given, Fraction(0), found.witness)


def no_search(*args, **kwargs):
    return None


def test_forgetting_existence_would_pass_a_layer_without_equilibrium(monkeypatch):
    W, given = np.array([[2.0]]), AffineInput(np.array([[0.0]]), np.array([1.0]))
    monkeypatch.setattr(input_range._Decision, "_search", no_search)
    assert decide_every_input(MatrixEnclosure(W), given, Fraction(0)).value is Truth.REFUTED
    monkeypatch.setattr(input_range, "uncovered_input", no_search)
    assert decide_every_input(MatrixEnclosure(W), given, Fraction(0)).value is Truth.PROVED


def test_forgetting_uniqueness_would_pass_a_layer_with_two_equilibria(monkeypatch):
    W, given = np.array([[0.0, -3.0], [-3.0, 0.0]]), AffineInput(np.ones((2, 1)), np.zeros(2))
    monkeypatch.setattr(input_range._Decision, "_search", no_search)
    assert decide_every_input(MatrixEnclosure(W), given, Fraction(0)).value is Truth.REFUTED
    monkeypatch.setattr(input_range, "two_in_pair", no_search)
    assert decide_every_input(MatrixEnclosure(W), given, Fraction(0)).value is Truth.PROVED

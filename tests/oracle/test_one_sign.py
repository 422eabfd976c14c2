"""Determinants det(I - W D) of one strict sign, against exact enumeration of all patterns."""

from __future__ import annotations

import json
import math
import os
import random
import time
from fractions import Fraction
from itertools import product
from pathlib import Path

import numpy as np
import pytest
from flint import fmpq, fmpq_mat

from verify.errors import InputError
from verify.verdict import Truth
from verify_kernels import one_sign, p_matrix, p_tree
from verify_kernels.matrix import MatrixEnclosure, enclose_rational, rational_matrix
from verify_kernels.one_sign import decide_one_sign

VECTORS = Path(__file__).parents[1] / "vectors" / "well_posedness.json"
CASES = json.loads(VECTORS.read_text())["cases"]
CASES = [c for c in CASES if c["kind"] != "input_range"]
LEAKY = [c for c in CASES if c["activation"] == "leaky_relu"]
RELU = [c for c in CASES if c["activation"] == "relu" and c["m"] <= 24]
FULL = os.environ.get("VERIFY_CAMPAIGN") == "full"
ONE = Fraction(1)


def weight_of(case):
    return np.array([[float.fromhex(x) for x in row] for row in case["W"]])


def floats(matrix):
    return [[Fraction(float(x)) for x in row] for row in matrix]


def enclosed(rows):
    entries = [fmpq(x.numerator, x.denominator) for row in rows for x in row]
    return enclose_rational(fmpq_mat(len(rows), len(rows), entries))


def eliminated(row, head):
    return [x - row[0] / head[0] * h for x, h in zip(row, head, strict=True)][1:]


def determinant(rows):
    rows, value = [list(row) for row in rows], ONE
    while rows:
        i = next((k for k, row in enumerate(rows) if row[0] != 0), None)
        if i is None:
            return Fraction(0)
        value *= -rows[i][0] if i % 2 else rows[i][0]
        head = rows.pop(i)
        rows = [eliminated(row, head) for row in rows]
    return value


def pattern_determinant(rows, slopes):
    m = range(len(rows))
    matrix = [[(i == j) - rows[i][j] * slopes[j] for j in m] for i in m]
    if len(rows) <= 12:
        return determinant(matrix)
    entries = [fmpq(x.numerator, x.denominator) for row in matrix for x in row]
    value = fmpq_mat(len(rows), len(rows), entries).det()
    return Fraction(int(value.p), int(value.q))


def common_sign(rows, alpha, beta):
    """+1, -1, or 0 if there is no common strict sign."""
    signs = set()
    for slopes in product((alpha, beta), repeat=len(rows)):
        value = pattern_determinant(rows, slopes)
        signs.add((value > 0) - (value < 0))
    return signs.pop() if len(signs) == 1 else 0


def check_refutation(rows, evidence):
    data = evidence.witness.data
    assert evidence.witness.kind == "opposite-determinants"
    part, low, high = data["block"], data["alpha"], data["beta"]
    inner = [[rows[i][j] for j in part] for i in part]
    found = []
    for name in ("base_set", "index_set"):
        assert set(data[name]) <= set(part)
        found.append(pattern_determinant(inner, [high if j in data[name] else low for j in part]))
    assert found == [data["base_determinant"], data["determinant"]]
    assert found[0] * found[1] <= 0
    assert len(data["index_set"]) - len(data["base_set"]) in (0, 1)


@pytest.mark.parametrize("case", LEAKY, ids=lambda c: c["id"])
def test_vectors_are_all_decided_and_right(case):
    weight = weight_of(case)
    found = decide_one_sign(weight, Fraction(case["alpha"]), ONE)
    assert found.value is (Truth.PROVED if case["every_b"] == "pass" else Truth.REFUTED)
    if found.value is Truth.REFUTED:
        check_refutation(floats(weight), found)
    elif len(weight) <= 6:
        sign = common_sign(floats(weight), Fraction(case["alpha"]), ONE)
        assert found.witness.data["sign"] == sign


@pytest.mark.parametrize("case", RELU, ids=lambda c: c["id"])
def test_slopes_zero_and_one_are_the_p_matrix_test(case):
    found = decide_one_sign(weight_of(case), Fraction(0), ONE)
    assert found.value is (Truth.PROVED if case["every_b"] == "pass" else Truth.REFUTED)


@pytest.mark.parametrize(
    ("w", "alpha", "truth"),
    [
        (3.0, Fraction(1, 2), Truth.PROVED),
        (1.5, Fraction(1, 2), Truth.REFUTED),
        (2.0, Fraction(1, 2), Truth.REFUTED),
        (2.0 + 2.0**-51, Fraction(1, 2), Truth.PROVED),
        (1.0, Fraction(1, 2), Truth.REFUTED),
        (1.0 - 2.0**-53, Fraction(1, 2), Truth.PROVED),
        (100.0, Fraction(1, 100), Truth.REFUTED),
        (100.0, Fraction(0.01), Truth.PROVED),
    ],
)
def test_one_dimension(w, alpha, truth):
    found = decide_one_sign(np.array([[w]]), alpha, ONE)
    assert found.value is truth
    if truth is Truth.PROVED:
        assert found.witness.data["sign"] == (1 if w < 1 else -1)


def test_two_coordinates_may_share_the_negative_sign():
    weight = np.array([[0.0, -3.0], [-3.0, 0.0]])
    assert decide_one_sign(weight, Fraction(0), ONE).value is Truth.REFUTED
    found = decide_one_sign(weight, Fraction(1, 2), ONE)
    assert found.value is Truth.PROVED
    assert found.witness.data["sign"] == -1


def test_a_rounded_reduced_matrix_would_be_wrong():
    """numpy's rounded reduction to slopes in [0, 1] is a P-matrix although b c > 1."""
    b, c = float.fromhex("0x1.21a561c8c6f93p+0"), float.fromhex("0x1.c486574ec34dbp-1")
    weight = np.array([[0.0, b], [c, 0.0]])
    assert Fraction(b) * Fraction(c) > 1
    found = decide_one_sign(weight, Fraction(1, 2), ONE)
    assert found.value is Truth.REFUTED
    check_refutation(floats(weight), found)
    reduced = floats(np.linalg.solve(np.eye(2) - weight / 2.0, weight) / 2.0)
    minus = [[(i == j) - x for j, x in enumerate(row)] for i, row in enumerate(reduced)]
    assert p_matrix.decide_p_matrix(enclosed(minus)).value is Truth.PROVED


def test_slopes_must_increase():
    with pytest.raises(InputError, match=r"decide_one_sign: expected alpha < beta, but got .*"):
        decide_one_sign(np.eye(2), ONE, ONE)


def test_an_enclosure_of_the_weights():
    mid = np.array([[0.0, -3.0], [-3.0, 0.0]])
    near = MatrixEnclosure(mid, np.full((2, 2), 1e-9))
    found = decide_one_sign(near, Fraction(1, 2), ONE)
    assert found.value is Truth.PROVED
    assert found.witness.data["sign"] == -1
    wide = MatrixEnclosure(mid, np.full((2, 2), 2.0))
    assert decide_one_sign(wide, Fraction(1, 2), ONE).value is Truth.UNDECIDED
    assert decide_one_sign(near, Fraction(0), ONE).value is Truth.REFUTED


def test_negative_sign_blocks_of_large_order():
    rng = np.random.default_rng(1)
    weight = np.zeros((24, 24))
    for k in range(8):
        part = slice(3 * k, 3 * k + 3)
        weight[part, part] = 5.0 * np.eye(3) + 0.25 * rng.standard_normal((3, 3))
    order = rng.permutation(24)
    weight = weight[np.ix_(order, order)]
    found = decide_one_sign(weight, Fraction(1, 2), ONE)
    assert found.value is Truth.PROVED
    assert found.witness.data["sign"] == 1
    assert {proof["sign"] for proof in found.witness.data["blocks"]} == {-1}


@pytest.mark.parametrize("m", [30, 60])
def test_large_blocks_go_through_balls_or_rationals(m):
    weight = np.random.default_rng(m).standard_normal((m, m)) / math.sqrt(m)
    assert decide_one_sign(0.5 * weight, Fraction(1, 100), ONE).value is Truth.PROVED
    found = decide_one_sign(1.3 * weight, Fraction(1, 100), ONE)
    assert found.value is Truth.REFUTED
    check_refutation(floats(1.3 * weight), found)


def test_the_proof_of_a_block_speaks_about_its_quotient():
    """The definite leaf of the root is checked again on the exact Q = A^{-1} B."""
    rng = np.random.default_rng(2)
    weight = 1e3 * np.eye(16) + rng.standard_normal((16, 16)) * 50.0
    weight[:, ::2] *= 2.0**40
    found = decide_one_sign(weight, Fraction(1, 2), ONE)
    assert found.value is Truth.PROVED
    (proof,) = found.witness.data["blocks"]
    ((kind, data),) = proof["steps"]
    exact, n = rational_matrix(weight), range(16)
    one = fmpq_mat(16, 16, [fmpq(int(i == j)) for i in n for j in n])
    q = (one - exact * fmpq(1, 2)).solve(one - exact)
    r, c = proof["row_exponents"], proof["column_exponents"]
    a = [[q[i, j] * fmpq(2) ** (r[i] + c[j]) for j in n] for i in n]
    if kind == "vector":
        assert all(a[i][i] * data[i] > sum(abs(a[i][j]) * data[j] for j in n if j != i) for i in n)
        return
    assert kind == "definite"
    w = [fmpq(2) ** e for e in data]
    for k in range(1, 17):
        part = [w[i] * a[i][j] + w[j] * a[j][i] for i in range(k) for j in range(k)]
        assert fmpq_mat(k, k, part).det() > 0


def small_matrix(rng):
    m = rng.randint(1, 5)
    kind = rng.randrange(5)
    if kind == 0:
        return [[Fraction(rng.randint(-4, 4), 2) for _ in range(m)] for _ in range(m)]
    if kind == 1:
        return [[Fraction(rng.randint(-99, 99), 32) for _ in range(m)] for _ in range(m)]
    if kind == 2:
        values = (0, 0, 0, 1, -1, 2, -3)
        rows = [[Fraction(rng.choice(values)) for _ in range(m)] for _ in range(m)]
        return [[x * Fraction(2) ** rng.choice((-200, 0, 0, 200)) for x in row] for row in rows]
    if kind == 3:
        rows = [[Fraction(rng.randint(-1, 1), 4) for _ in range(m)] for _ in range(m)]
        shift = rng.choice((3, 5, 100, -2))
        return [[x + (i == j) * shift for j, x in enumerate(row)] for i, row in enumerate(rows)]
    return floats([[rng.gauss(0.0, 1.0) for _ in range(m)] for _ in range(m)])


def at_the_border(rng, alpha):
    """W with one entry moved so that one determinant nearly vanishes."""
    weight = small_matrix(rng)
    m = len(weight)
    slopes = [rng.choice((alpha, ONE)) for _ in range(m)]
    i, j = rng.randrange(m), rng.randrange(m)
    values = []
    for trial in (0, 1):
        weight[i][j] = Fraction(trial)
        values.append(pattern_determinant(weight, slopes))
    if values[0] != values[1]:
        root = values[0] / (values[0] - values[1])
        if 2**-60 < abs(root) < 2**60:
            far = rng.choice((-1, 0, 1)) * Fraction(10) ** -rng.randint(3, 15)
            weight[i][j] = Fraction(float(root * (1 + far)))
    return weight


SLOPES = [Fraction(0), Fraction(1, 2), Fraction(1, 100), Fraction(0.01), Fraction(-1, 3)]


@pytest.mark.soundness
@pytest.mark.parametrize("route", ["exact", "tree", "balls"])
@pytest.mark.parametrize("border", [False, True])
def test_campaign_against_all_patterns(route, border, monkeypatch):
    """``tree``: Q is exact, but its tree runs in intervals; ``balls``: Q is known to 256 bits."""
    if route != "exact":
        for name in ("SWEEP", "LAST_SWEEP", "SMALL_SWEEP"):
            monkeypatch.setattr(p_matrix, name, 0)
    if route == "balls":
        monkeypatch.setattr(one_sign, "EXACT_SOLVE", 0)
    seed, count = 121 + border, 1000 if FULL else 100
    rng, start, undecided = random.Random(seed), time.monotonic(), 0
    seen = {-1: 0, 0: 0, 1: 0}
    for _ in range(count):
        alpha = rng.choice(SLOPES)
        rows = at_the_border(rng, alpha) if border else small_matrix(rng)
        found = decide_one_sign(enclosed(rows), alpha, ONE)
        sign = common_sign(rows, alpha, ONE)
        seen[sign] += 1
        undecided += found.value is Truth.UNDECIDED
        if found.value is Truth.REFUTED:
            assert sign == 0
            check_refutation(rows, found)
        elif found.value is Truth.PROVED:
            assert sign == found.witness.data["sign"] != 0
    assert min(seen.values()) > 0
    assert undecided <= (count // 10 if route == "balls" else 0)
    took = time.monotonic() - start
    kind = f"{route}, {'border' if border else 'random'}"
    print(f"campaign one-sign ({kind}): {count} cases, seed {seed}, {took:.1f} s, 0 wrong")
    print(f"  {undecided} undecided")


def test_with_rounded_quotients_the_answer_would_be_wrong(monkeypatch):
    """Without the radii of Q its tree proves what is false."""
    monkeypatch.setattr(one_sign, "EXACT_SOLVE", 0)
    for name in ("SWEEP", "LAST_SWEEP", "SMALL_SWEEP"):
        monkeypatch.setattr(p_matrix, name, 0)
    rng = random.Random(7)
    wrong = []
    while len(wrong) < 300:
        b = rng.uniform(1.0, 9.0)
        c = 1.0 / b
        if Fraction(b) * Fraction(c) > 1:
            wrong.append(np.array([[0.0, b], [c, 0.0]]))

    def truths():
        return {decide_one_sign(weight, Fraction(1, 7), ONE).value for weight in wrong}

    assert Truth.PROVED not in truths()

    def rounded(solved):
        n = solved.nrows()
        mid = np.array([float(x.mid()) for x in solved.entries()]).reshape(n, n)
        return MatrixEnclosure(mid, np.zeros((n, n)))

    monkeypatch.setattr(one_sign, "_from_balls", rounded)
    monkeypatch.setattr(p_tree, "rounding_share", lambda size: 0.0 * size)
    monkeypatch.setattr(p_tree, "_TINY", 0.0)
    assert Truth.PROVED in truths()

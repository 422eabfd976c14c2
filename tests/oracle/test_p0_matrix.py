"""P_0 and R_0 decisions against exact enumeration and the vectors of smooth activations."""

from __future__ import annotations

import json
import os
import random
import time
from fractions import Fraction
from itertools import combinations
from pathlib import Path

import numpy as np
import pytest
from flint import fmpq, fmpq_mat

from verify.verdict import Truth
from verify_kernels import minors, p0_matrix, p_matrix
from verify_kernels.matrix import MatrixEnclosure, enclose_rational
from verify_kernels.p0_matrix import decide_p0_matrix
from verify_kernels.r0_matrix import decide_r0_matrix

VECTORS = Path(__file__).parents[1] / "vectors" / "well_posedness.json"
CASES = json.loads(VECTORS.read_text())["cases"]
SMOOTH = [c for c in CASES if c["activation"] in ("tanh", "sigmoid", "softplus")]
FULL = os.environ.get("VERIFY_CAMPAIGN") == "full"


def fractions_of(case):
    return [[Fraction(float.fromhex(x)) for x in row] for row in case["W"]]


def minus(weight, factor=Fraction(1)):
    return [[(i == j) - factor * x for j, x in enumerate(row)] for i, row in enumerate(weight)]


def enclosed(rows):
    entries = [fmpq(x.numerator, x.denominator) for row in rows for x in row]
    return enclose_rational(fmpq_mat(len(rows), len(rows), entries))


def eliminated(row, head):
    return [x - row[0] / head[0] * h for x, h in zip(row, head, strict=True)][1:]


def determinant(rows):
    rows, value = [list(row) for row in rows], Fraction(1)
    while rows:
        i = next((k for k, row in enumerate(rows) if row[0] != 0), None)
        if i is None:
            return Fraction(0)
        value *= -rows[i][0] if i % 2 else rows[i][0]
        head = rows.pop(i)
        rows = [eliminated(row, head) for row in rows]
    return value


def block(rows, indices):
    return [[rows[i][j] for j in indices] for i in indices]


def all_minors(rows):
    m = len(rows)
    sets = (s for size in range(1, m + 1) for s in combinations(range(m), size))
    return [determinant(block(rows, s)) for s in sets]


def is_p0(rows):
    return all(value >= 0 for value in all_minors(rows))


def unique_solution(columns, right):
    """The solution of sum x_k columns_k = right if it is unique, else None."""
    rows = [[c[i] for c in columns] + [right[i]] for i in range(len(right))]
    x, count = [], len(columns)
    for k in range(count):
        i = next((i for i in range(k, len(rows)) if rows[i][k] != 0), None)
        if i is None:
            return None
        rows[k], rows[i] = rows[i], rows[k]
        head = rows[k]
        for j, row in enumerate(rows):
            if j != k and row[k] != 0:
                rows[j] = [a - row[k] / head[k] * b for a, b in zip(row, head, strict=True)]
    if any(row[-1] != 0 for row in rows[count:]):
        return None
    x = [rows[k][-1] / rows[k][k] for k in range(count)]
    return x


def is_r0(rows):
    """Basic solutions of M z = w, 1.z = 1, z, w >= 0 over all complementary supports."""
    m = len(rows)
    right = [Fraction(0)] * m + [Fraction(1)]
    for size in range(1, m + 1):
        for support in combinations(range(m), size):
            columns = [[row[j] for row in rows] + [Fraction(1)] for j in support]
            for j in range(m):
                if j not in support:
                    columns.append([-Fraction(i == j) for i in range(m)] + [Fraction(0)])
            for count in range(1, m + 1):
                for chosen in combinations(columns, count):
                    x = unique_solution(list(chosen), right)
                    if x is not None and all(value >= 0 for value in x):
                        return False
    return True


def check_bad_minor(rows, evidence):
    data = evidence.witness.data
    assert determinant(block(rows, data["index_set"])) == data["determinant"] < 0


def check_complementary(rows, z):
    image = [sum(a * x for a, x in zip(row, z, strict=True)) for row in rows]
    assert any(z)
    assert min(z) >= 0
    assert min(image) >= 0
    assert all(x * w == 0 for x, w in zip(z, image, strict=True))


@pytest.mark.parametrize("case", SMOOTH, ids=lambda c: c["id"])
def test_vectors_are_all_decided_and_right(case):
    quarter = Fraction(1, 4) if case["activation"] == "sigmoid" else Fraction(1)
    rows = minus(fractions_of(case), quarter)
    weak = decide_p0_matrix(enclosed(rows))
    good = weak.value is Truth.PROVED
    assert weak.value is not Truth.UNDECIDED
    if not good:
        check_bad_minor(rows, weak)
    if case["activation"] == "softplus":
        regular = decide_r0_matrix(enclosed(rows))
        assert regular.value is not Truth.UNDECIDED
        good = good and regular.value is Truth.PROVED
        if regular.value is Truth.REFUTED:
            check_complementary(rows, regular.witness.data["z"])
    assert good == (case["every_b"] == "pass")


@pytest.mark.parametrize(
    ("w", "factor", "truth"),
    [
        (1.0, Fraction(1), Truth.PROVED),
        (1.0 + 2.0**-52, Fraction(1), Truth.REFUTED),
        (4.0, Fraction(1, 4), Truth.PROVED),
        (4.0 + 2.0**-50, Fraction(1, 4), Truth.REFUTED),
    ],
)
def test_one_dimension(w, factor, truth):
    assert decide_p0_matrix(enclosed([[1 - Fraction(w) * factor]])).value is truth


def test_p0_without_r0_and_the_other_way_round():
    half = [[Fraction(0), Fraction(1)], [Fraction(-1), Fraction(0)]]
    assert decide_p0_matrix(enclosed(half)).value is Truth.PROVED
    found = decide_r0_matrix(enclosed(half))
    assert found.value is Truth.REFUTED
    check_complementary(half, found.witness.data["z"])
    both = [[Fraction(0), Fraction(1)], [Fraction(-1), Fraction(1)]]
    assert decide_p0_matrix(enclosed(both)).value is Truth.PROVED
    assert decide_r0_matrix(enclosed(both)).value is Truth.PROVED
    ones = [[Fraction(1)] * 12 for _ in range(12)]
    assert decide_r0_matrix(enclosed(ones)).value is Truth.PROVED
    assert decide_r0_matrix(enclosed(minus(minus(ones, Fraction(0))))).value is Truth.REFUTED


def cycle(m, c):
    return [[Fraction(i == j) + c * (j == (i + 1) % m) for j in range(m)] for i in range(m)]


def test_large_even_cycles_at_the_border():
    found = decide_p0_matrix(enclosed(cycle(32, Fraction(1))))
    assert found.value is Truth.PROVED
    rows = cycle(32, Fraction(1) + Fraction(1, 2**52))
    found = decide_p0_matrix(enclosed(rows))
    assert found.value is Truth.REFUTED
    check_bad_minor(rows, found)


def test_large_semidefinite_and_shifted_blocks():
    rng = np.random.default_rng(4)
    half = rng.integers(-3, 4, (20, 25)).astype(float)
    gram = half.T @ half + np.triu(np.ones((25, 25)), 1) - np.triu(np.ones((25, 25)), 1).T
    assert decide_p0_matrix(gram).value is Truth.PROVED
    rows = cycle(22, Fraction(1))
    for j in range(22):
        rows[j] = [x * (2 if j % 2 else 1) for x in rows[j]]
    rows[3] = [-x if k == 4 else x for k, x in enumerate(rows[3])]  # det = 2^12 (1 + 1)
    assert decide_p0_matrix(enclosed(rows)).value is Truth.PROVED


def test_an_enclosure_refutes_only_if_every_matrix_is_bad():
    touching = MatrixEnclosure(np.array([[-1.0]]), np.array([[1.0]]))
    assert decide_p0_matrix(touching).value is Truth.UNDECIDED
    below = MatrixEnclosure(np.array([[-2.0]]), np.array([[1.0]]))
    assert decide_p0_matrix(below).value is Truth.REFUTED
    zero_minor = MatrixEnclosure(np.ones((2, 2)), np.full((2, 2), 1e-9))
    assert decide_p0_matrix(zero_minor).value is Truth.UNDECIDED
    assert decide_r0_matrix(zero_minor).value is Truth.UNDECIDED


def small_matrix(rng, largest):
    m = rng.randint(1, largest)
    kind = rng.randrange(4)
    if kind == 0:
        return [[Fraction(rng.randint(-2, 2)) for _ in range(m)] for _ in range(m)]
    if kind == 1:
        a = [[Fraction(rng.randint(-2, 2)) for _ in range(max(1, m - 1))] for _ in range(m)]
        gram = [[sum(x * y for x, y in zip(p, q, strict=True)) for q in a] for p in a]
        skew = [[Fraction(rng.randint(-2, 2)) for _ in range(m)] for _ in range(m)]
        return [[gram[i][j] + skew[i][j] - skew[j][i] for j in range(m)] for i in range(m)]
    if kind == 2:
        values = (0, 0, 1, -1, 2)
        rows = [[Fraction(rng.choice(values)) for _ in range(m)] for _ in range(m)]
        return [[x * Fraction(2) ** rng.randint(-300, 300) for x in row] for row in rows]
    return [
        [Fraction(rng.randint(0, 3) if i == j else rng.randint(-1, 1)) for j in range(m)]
        for i in range(m)
    ]


def force_the_large_route(monkeypatch):
    for module in (p_matrix, p0_matrix):
        monkeypatch.setattr(module, "SWEEP", 0)
        monkeypatch.setattr(module, "LAST_SWEEP", 0)
    monkeypatch.setattr(p_matrix, "SMALL_SWEEP", 0)


@pytest.mark.soundness
@pytest.mark.parametrize("route", ["sweep", "large", "shift"])
def test_campaign_p0_against_enumeration(route, monkeypatch):
    """``large``: what otherwise all minors decide; ``shift``: only by the matrix N + t I."""
    if route != "sweep":
        force_the_large_route(monkeypatch)
    if route == "shift":
        monkeypatch.setattr(p0_matrix._Block, "_vector", lambda self: None)
        monkeypatch.setattr(p0_matrix._Block, "_semidefinite", lambda self: None)
    seed, count = 101, 2000 if FULL else 200
    rng, start, weak = random.Random(seed), time.monotonic(), 0
    for _ in range(count):
        rows = small_matrix(rng, 6)
        found = decide_p0_matrix(enclosed(rows))
        values = all_minors(rows)
        assert found.value is (Truth.PROVED if min(values) >= 0 else Truth.REFUTED)
        weak += min(values) == 0
        if found.value is Truth.REFUTED:
            check_bad_minor(rows, found)
    assert weak > count // 10
    took = time.monotonic() - start
    print(f"campaign p0-{route}: {count} cases, seed {seed}, {took:.1f} s, 0 wrong")


def at_the_border(rng):
    """I - W for a float matrix W with one entry moved so that one minor nearly vanishes."""
    m = rng.randint(1, 6)
    weight = [[Fraction(rng.gauss(0.0, 0.6)) for _ in range(m)] for _ in range(m)]
    chosen = sorted(rng.sample(range(m), rng.randint(1, m)))
    i, j = rng.choice(chosen), rng.choice(chosen)
    values = []
    for trial in (0, 1):
        weight[i][j] = Fraction(trial)
        values.append(determinant(block(minus(weight), chosen)))
    if values[0] != values[1]:
        root = values[0] / (values[0] - values[1])
        if 2**-60 < abs(root) < 2**60:
            far = rng.choice((-1, 0, 1)) * Fraction(10) ** -rng.randint(3, 15)
            weight[i][j] = Fraction(float(root * (1 + far)))
    return minus(weight)


@pytest.mark.soundness
@pytest.mark.parametrize("force", [False, True])
def test_campaign_border_of_the_p0_matrices(force, monkeypatch):
    if force:
        force_the_large_route(monkeypatch)
    seed, count = 141 + force, 1000 if FULL else 100
    rng, start, proved = random.Random(seed), time.monotonic(), 0
    for _ in range(count):
        rows = at_the_border(rng)
        found = decide_p0_matrix(enclosed(rows))
        assert found.value is (Truth.PROVED if is_p0(rows) else Truth.REFUTED)
        proved += found.value is Truth.PROVED
    assert 0 < proved < count
    took = time.monotonic() - start
    print(f"campaign p0-border force={force}: {count} cases, seed {seed}, {took:.1f} s, 0 wrong")


@pytest.mark.soundness
def test_campaign_r0_against_basic_solutions():
    seed, count = 111, 1000 if FULL else 100
    rng, start, bad = random.Random(seed), time.monotonic(), 0
    for _ in range(count):
        rows = small_matrix(rng, 4)
        found = decide_r0_matrix(enclosed(rows))
        assert found.value is (Truth.PROVED if is_r0(rows) else Truth.REFUTED)
        if found.value is Truth.REFUTED:
            bad += 1
            check_complementary(rows, found.witness.data["z"])
    assert bad > count // 10
    took = time.monotonic() - start
    print(f"campaign r0: {count} cases, seed {seed}, {took:.1f} s, 0 wrong")


def test_a_sweep_that_stops_at_zero_pivots_would_be_wrong(monkeypatch):
    """Dropping the determinants of nodes with a zero diagonal accepts a negative minor."""
    rows = [[Fraction(0), Fraction(1)], [Fraction(1), Fraction(0)]]
    assert decide_p0_matrix(enclosed(rows)).value is Truth.REFUTED
    monkeypatch.setattr(minors, "_sweep_zero_diagonal", lambda node, deadline: (0, 0))
    assert decide_p0_matrix(enclosed(rows)).value is Truth.PROVED
    assert not is_p0(rows)

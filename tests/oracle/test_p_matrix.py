"""P-matrix decisions against exact enumeration, known structure, and a replay of their proofs."""

from __future__ import annotations

import json
import math
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
from verify_kernels import minors, p_matrix, p_tree
from verify_kernels.matrix import MatrixEnclosure, enclose_rational
from verify_kernels.p_matrix import decide_p_matrix

VECTORS = Path(__file__).parents[1] / "vectors" / "well_posedness.json"
CASES = json.loads(VECTORS.read_text())["cases"]
RELU = [c for c in CASES if c["activation"] == "relu" and c["kind"] != "input_range"]
FULL = os.environ.get("VERIFY_CAMPAIGN") == "full"


def fractions_of(case):
    return [[Fraction(float.fromhex(x)) for x in row] for row in case["W"]]


def minus(weight, factor=Fraction(1)):
    return [[(i == j) - factor * x for j, x in enumerate(row)] for i, row in enumerate(weight)]


def enclosed(rows):
    entries = [fmpq(x.numerator, x.denominator) for row in rows for x in row]
    return enclose_rational(fmpq_mat(len(rows), len(rows), entries))


def floats(matrix):
    return [[Fraction(float(x)) for x in row] for row in matrix]


def eliminated(row, head):
    return [x - row[0] / head[0] * h for x, h in zip(row, head, strict=True)][1:]


def determinant(rows):
    """Gaussian elimination in rationals of the standard library."""
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


def is_p(rows):
    m = len(rows)
    sets = (s for size in range(1, m + 1) for s in combinations(range(m), size))
    return all(determinant(block(rows, s)) > 0 for s in sets)


def leading_positive(rows):
    """Whether all leading minors are positive: decides symmetric and Z-matrices."""
    rows = [list(row) for row in rows]
    while rows:
        if rows[0][0] <= 0:
            return False
        head = rows.pop(0)
        rows = [eliminated(row, head) for row in rows]
    return True


def check_bad_minor(rows, evidence):
    data = evidence.witness.data
    assert evidence.witness.kind == "bad-minor"
    assert determinant(block(rows, data["index_set"])) == data["determinant"] <= 0


class Replay:
    """Check a p-tree again, in exact arithmetic, from the matrix and the witness alone."""

    def __init__(self, rows):
        self.rows = rows

    def confirm(self, data):
        assert all(self.rows[j][j] > 0 for j in data["singletons"])
        seen = list(data["singletons"])
        for proof in data["blocks"]:
            indices = proof["indices"]
            seen += indices
            if "minors" in proof:
                assert proof["minors"] == 2 ** len(indices) - 1
                assert is_p(block(self.rows, indices))
                continue
            r, c = proof["row_exponents"], proof["column_exponents"]
            two = Fraction(2)
            scaled = {
                (i, j): self.rows[i][j] * two ** (r[a] + c[b])
                for a, i in enumerate(indices)
                for b, j in enumerate(indices)
            }
            self.steps = iter(proof["steps"])
            self.visit(scaled, indices)
            assert next(self.steps, None) is None
        assert sorted(seen) == list(range(len(self.rows)))
        parts = [[j] for j in data["singletons"]] + [proof["indices"] for proof in data["blocks"]]
        self.acyclic({(i, j): self.rows[i][j] for i in seen for j in seen}, parts)

    @staticmethod
    def acyclic(entries, parts):
        """The blocks can be ordered so that the matrix is block triangular."""
        left = [set(part) for part in parts]
        while left:
            free = next(
                part
                for part in left
                if all(
                    entries[i, j] == 0
                    for other in left
                    if other is not part
                    for i in part
                    for j in other
                )
            )
            left.remove(free)

    def visit(self, a, indices):
        kind, *rest = next(self.steps)
        if kind == "empty":
            assert not indices
        elif kind == "vector":
            v = dict(zip(indices, rest[0], strict=True))
            for i in indices:
                others = sum(abs(a[i, j]) * v[j] for j in indices if j != i)
                assert v[i] > 0
                assert a[i, i] * v[i] > others
        elif kind == "definite":
            w = {j: Fraction(2) ** e for j, e in zip(indices, rest[0], strict=True)}
            symmetric = [[w[i] * a[i, j] + w[j] * a[j, i] for j in indices] for i in indices]
            assert leading_positive(symmetric)
        elif kind == "minors":
            assert is_p([[a[i, j] for j in indices] for i in indices])
        elif kind == "blocks":
            self.acyclic(a, rest[0])
            assert sorted(j for part in rest[0] for j in part) == sorted(indices)
            for part in rest[0]:
                self.visit({(i, j): a[i, j] for i in part for j in part}, part)
        else:
            (p,) = rest
            assert kind == "split"
            assert a[p, p] > 0
            keep = [j for j in indices if j != p]
            self.visit(
                {(i, j): a[i, j] - a[i, p] * a[p, j] / a[p, p] for i in keep for j in keep}, keep
            )
            self.visit({(i, j): a[i, j] for i in keep for j in keep}, keep)


@pytest.mark.parametrize("case", RELU, ids=lambda c: c["id"])
def test_vectors_are_all_decided_and_right(case):
    rows = minus(fractions_of(case))
    found = decide_p_matrix(enclosed(rows))
    assert found.value is (Truth.PROVED if case["every_b"] == "pass" else Truth.REFUTED)
    if found.value is Truth.REFUTED:
        check_bad_minor(rows, found)
    elif len(rows) <= 24:
        Replay(rows).confirm(found.witness.data)


@pytest.mark.parametrize("c", [Fraction(1, 2), Fraction(3, 2), Fraction(5, 2), Fraction(3)])
def test_cyclic_inhibition_is_a_p_matrix_for_every_strength(c):
    rows = [[Fraction(1), c, 0], [0, Fraction(1), c], [c, 0, Fraction(1)]]
    assert (
        decide_p_matrix(enclosed([[Fraction(x) for x in row] for row in rows])).value
        is Truth.PROVED
    )


def test_triangular_matrices_with_huge_entries_are_proved_at_once():
    weight = np.triu(np.full((200, 200), 2.0**900), 1)
    assert decide_p_matrix(np.eye(200) - weight).value is Truth.PROVED


@pytest.mark.parametrize(
    ("w", "truth"), [(1.0 - 2.0**-53, Truth.PROVED), (1.0, Truth.REFUTED), (-1e308, Truth.PROVED)]
)
def test_one_dimension(w, truth):
    assert decide_p_matrix(enclosed([[1 - Fraction(w)]])).value is truth


def gaussian(m, gamma, seed):
    weight = gamma * np.random.default_rng(seed).standard_normal((m, m)) / math.sqrt(m)
    return minus(floats(weight))


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize(
    ("gamma", "truths"),
    [
        (0.4, {Truth.PROVED}),
        (0.6, {Truth.PROVED}),
        (0.75, {Truth.PROVED, Truth.UNDECIDED}),
        (0.85, {Truth.PROVED, Truth.UNDECIDED, Truth.REFUTED}),
        (1.1, {Truth.REFUTED}),
    ],
)
def test_dense_gaussian_of_order_40(gamma, truths, seed):
    rows = gaussian(40, gamma, seed)
    found = decide_p_matrix(enclosed(rows), nodes=2000)
    assert found.value in truths
    if found.value is Truth.REFUTED:
        check_bad_minor(rows, found)
    elif found.value is Truth.UNDECIDED:
        assert "2000 nodes" in found.why_open


@pytest.mark.parametrize("m", [70, 100])
def test_larger_gaussian_matrices_are_refuted_by_few_indices(m):
    rows = gaussian(m, 1.1, m)
    found = decide_p_matrix(enclosed(rows))
    assert found.value is Truth.REFUTED
    assert len(found.witness.data["index_set"]) < m // 2
    check_bad_minor(rows, found)


def test_a_tree_replays_in_exact_arithmetic():
    rows = gaussian(19, 0.85, 2)
    found = decide_p_matrix(enclosed(rows))
    steps = found.witness.data["blocks"][0]["steps"]
    assert len(steps) > 20
    Replay(rows).confirm(found.witness.data)


def test_trees_say_what_they_rely_on_and_exact_minors_rely_on_nothing():
    assert decide_p_matrix(enclosed(gaussian(40, 0.5, 1))).assumes
    assert not decide_p_matrix(enclosed(gaussian(6, 0.5, 1))).assumes


def test_budgets_leave_it_open_and_say_so():
    matrix = enclosed(gaussian(40, 0.8, 5))
    assert "node" in decide_p_matrix(matrix, nodes=2).why_open
    late = decide_p_matrix(matrix, deadline=time.monotonic() - 1.0)
    assert late.value is Truth.UNDECIDED
    assert "time" in late.why_open


def test_an_enclosure_speaks_about_every_matrix_in_it():
    mid = np.array([[1.0, 0.75], [0.75, 1.0]])
    tight, wide = np.full((2, 2), 1e-9), np.full((2, 2), 0.3)
    assert decide_p_matrix(MatrixEnclosure(mid, tight)).value is Truth.PROVED
    assert decide_p_matrix(MatrixEnclosure(mid, wide)).value is Truth.UNDECIDED
    bad = decide_p_matrix(MatrixEnclosure(np.array([[1.0, 2.0], [2.0, 1.0]]), tight))
    assert bad.value is Truth.REFUTED
    assert bad.witness.data == {"index_set": [0, 1], "determinant": None}


def small_matrix(rng):
    """Integers, dyadics, neighbours of singular matrices, structures."""
    m = rng.randint(1, 6)
    kind = rng.randrange(5)
    if kind == 0:
        return [[Fraction(rng.randint(-3, 3)) for _ in range(m)] for _ in range(m)]
    if kind == 1:
        return [[Fraction(rng.randint(-40, 40), 32) for _ in range(m)] for _ in range(m)]
    if kind == 2:
        rows = [[Fraction(rng.choice((0, 0, 0, 1, -1, 2, -2))) for _ in range(m)] for _ in range(m)]
        return [[x * Fraction(2) ** rng.randint(-300, 300) for x in row] for row in rows]
    if kind == 3:
        a = [Fraction(rng.randint(-8, 8), 4) for _ in range(m)]
        return [
            [x * y + (i == j) * rng.randint(0, 1) for j, y in enumerate(a)] for i, x in enumerate(a)
        ]
    weight = np.array([[rng.gauss(0.0, 0.8) for _ in range(m)] for _ in range(m)])
    return floats(weight)


@pytest.mark.soundness
@pytest.mark.parametrize("force_tree", [False, True])
def test_campaign_small_matrices_against_enumeration(force_tree, monkeypatch):
    """With ``force_tree`` the interval tree decides what otherwise all minors decide."""
    if force_tree:
        for name in ("SWEEP", "LAST_SWEEP", "SMALL_SWEEP"):
            monkeypatch.setattr(p_matrix, name, 0)
    seed, count = 71 + force_tree, 2000 if FULL else 200
    rng, start, undecided = random.Random(seed), time.monotonic(), 0
    for _ in range(count):
        rows = minus(small_matrix(rng))
        found = decide_p_matrix(enclosed(rows))
        undecided += found.value is Truth.UNDECIDED
        if found.value is not Truth.UNDECIDED:
            assert (found.value is Truth.PROVED) == is_p(rows)
        if found.value is Truth.REFUTED:
            check_bad_minor(rows, found)
        elif found.value is Truth.PROVED:
            Replay(rows).confirm(found.witness.data)
    assert undecided <= (count // 50 if force_tree else 0)
    took = time.monotonic() - start
    print(f"campaign p-matrix tree={force_tree}: {count} cases, seed {seed}, {took:.1f} s, 0 wrong")


def at_the_border(rng):
    """A float matrix W for which one principal minor of I - W is nearly zero."""
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
    return weight


@pytest.mark.soundness
@pytest.mark.parametrize("force_tree", [False, True])
def test_campaign_border_of_the_p_matrices(force_tree, monkeypatch):
    if force_tree:
        for name in ("SWEEP", "LAST_SWEEP", "SMALL_SWEEP"):
            monkeypatch.setattr(p_matrix, name, 0)
    seed, count = 81 + force_tree, 1000 if FULL else 100
    rng, start = random.Random(seed), time.monotonic()
    proved = refuted = 0
    for _ in range(count):
        rows = minus(at_the_border(rng))
        found = decide_p_matrix(enclosed(rows))
        assert (found.value is Truth.PROVED) == is_p(rows)
        assert found.value is not Truth.UNDECIDED
        proved, refuted = proved + (found.value is Truth.PROVED), refuted + 1
    assert 0 < proved < refuted
    took = time.monotonic() - start
    print(f"campaign p-border tree={force_tree}: {count} cases, seed {seed}, {took:.1f} s, 0 wrong")


@pytest.mark.soundness
def test_campaign_border_of_larger_structured_matrices():
    """Symmetric and nonnegative W of order 20 to 30, scaled to the border and by 1e-15 to 1e-3."""
    seed, count = 91, 60 if FULL else 6
    rng, start, undecided = np.random.default_rng(seed), time.monotonic(), 0
    for k in range(count):
        m = int(rng.integers(20, 31))
        weight = rng.standard_normal((m, m))
        weight = np.abs(weight) if k % 2 else weight + weight.T
        root = float(np.max(np.linalg.eigvals(weight).real))
        far = float(rng.choice((-1.0, 1.0))) * 10.0 ** -int(rng.integers(3, 16))
        rows = minus(floats(weight / root * (1.0 + far)))
        found = decide_p_matrix(enclosed(rows), nodes=300)
        truth = leading_positive(rows)
        undecided += found.value is Truth.UNDECIDED
        assert found.value in (Truth.UNDECIDED, Truth.PROVED if truth else Truth.REFUTED)
    took = time.monotonic() - start
    print(f"campaign p-large-border: {count} cases, seed {seed}, {took:.1f} s, 0 wrong")
    print(f"  {undecided} undecided")


def nearly_singular():
    """Singular matrices whose last pivot in plain floats may come out positive."""
    rng = random.Random(3)
    for _ in range(200):
        a, b, c = (Fraction(rng.randint(1, 2**26) * 2 + 1, 2**26) for _ in range(3))
        rows = [[a * a, a * b, a * c], [a * b, b * b + 1, b * c], [a * c, b * c, c * c]]
        yield [[Fraction(float(x)) for x in row] for row in rows]


def test_without_the_error_term_the_tree_would_be_wrong(monkeypatch):
    singular = [rows for rows in nearly_singular() if not is_p(rows)]
    balls = [p_matrix.Block(enclosed(rows), range(3)).ball() for rows in singular]
    assert all(p_tree.run_tree(ball, None).truth is not Truth.PROVED for ball in balls)
    monkeypatch.setattr(p_tree, "rounding_share", lambda size: 0.0 * size)
    monkeypatch.setattr(p_tree, "_TINY", 0.0)
    monkeypatch.setattr(p_tree, "definite_leaf", lambda node, weights, module: None)
    monkeypatch.setattr(p_tree, "vector_leaf", lambda node: None)
    bare = [p_tree.Ball(ball.mid, np.zeros_like(ball.rad)) for ball in balls]
    assert any(p_tree.run_tree(ball, None).truth is Truth.PROVED for ball in bare)


def test_a_pivot_of_zero_is_not_positive(monkeypatch):
    singular = enclosed([[Fraction(1), Fraction(1)], [Fraction(1), Fraction(1)]])
    found = decide_p_matrix(singular)
    assert found.value is Truth.REFUTED
    assert found.witness.data == {"index_set": [0, 1], "determinant": 0}
    honest = minors.sweep_minors
    monkeypatch.setattr(
        minors, "sweep_minors", lambda rows, strict, deadline: honest(rows, strict=False)
    )
    assert decide_p_matrix(singular).value is Truth.PROVED  # what accepting zero would lead to

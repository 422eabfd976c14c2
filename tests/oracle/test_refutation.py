"""Every refutation is substituted again, in rationals of the standard library."""

from __future__ import annotations

import json
import math
import os
import random
import time
from fractions import Fraction
from itertools import combinations, product
from pathlib import Path

import numpy as np
import pytest
from flint import fmpq, fmpq_mat

from verify.errors import InputError
from verify.evidence import Witness
from verify.verdict import Truth
from verify_kernels import refutation
from verify_kernels.matrix import enclose_rational, identity_minus, rational_matrix
from verify_kernels.one_sign import decide_one_sign
from verify_kernels.p0_matrix import decide_p0_matrix
from verify_kernels.p_matrix import decide_p_matrix
from verify_kernels.r0_matrix import decide_r0_matrix
from verify_kernels.refutation import check_equilibrium, no_equilibrium, two_equilibria

VECTORS = Path(__file__).parents[1] / "vectors" / "well_posedness.json"
CASES = json.loads(VECTORS.read_text())["cases"]
FAILING = [c for c in CASES if c["activation"] in ("relu", "leaky_relu") and c["every_b"] == "fail"]
PASSING = [
    c
    for c in CASES
    if c["activation"] in ("relu", "leaky_relu") and c["every_b"] == "pass" and c["m"] <= 8
]
FULL = os.environ.get("VERIFY_CAMPAIGN") == "full"
ZERO, ONE = Fraction(0), Fraction(1)


def weight_of(case):
    return rational_matrix(np.array([[float.fromhex(x) for x in row] for row in case["W"]]))


def matrix_of(rows):
    entries = [fmpq(x.numerator, x.denominator) for row in rows for x in row]
    return fmpq_mat(len(rows), len(rows), entries)


def rows_of(exact):
    return [[Fraction(int(x.p), int(x.q)) for x in row] for row in exact.tolist()]


def activation(v, alpha):
    return v if v >= 0 else alpha * v


def is_equilibrium(rows, alpha, b, z):
    return len(z) == len(b) == len(rows) and all(
        z[i] == activation(sum((w * x for w, x in zip(row, z, strict=True)), b[i]), alpha)
        for i, row in enumerate(rows)
    )


def check_two(rows, alpha, witness):
    assert witness.kind == "two-equilibria"
    assert witness.data["alpha"] == alpha
    first, second = witness.data["z1"], witness.data["z2"]
    assert first != second
    assert is_equilibrium(rows, alpha, witness.data["b"], first)
    assert is_equilibrium(rows, alpha, witness.data["b"], second)


def bits(witness):
    numbers = witness.data["z1"] + witness.data["z2"]
    return max(max(x.numerator.bit_length(), x.denominator.bit_length()) for x in numbers)


@pytest.mark.parametrize("case", FAILING, ids=lambda c: c["id"])
def test_every_failing_case_has_two_equilibria(case):
    exact, alpha = weight_of(case), Fraction(case.get("alpha", "0"))
    check_two(rows_of(exact), alpha, two_equilibria(exact, alpha=alpha))


@pytest.mark.parametrize("case", PASSING, ids=lambda c: c["id"])
def test_no_passing_case_has(case):
    exact, alpha = weight_of(case), Fraction(case.get("alpha", "0"))
    assert two_equilibria(exact, alpha=alpha) is None
    assert no_equilibrium(exact, alpha=alpha) is None


@pytest.mark.parametrize(
    ("w", "alpha", "z"),
    [(1.0, ZERO, [1, 0]), (1.5, Fraction(1, 2), None), (2.0, Fraction(1, 2), None)],
)
def test_one_dimension_is_readable(w, alpha, z):
    exact = rational_matrix(np.array([[w]]))
    witness = two_equilibria(exact, alpha=alpha)
    check_two(rows_of(exact), alpha, witness)
    assert bits(witness) <= 3
    if z is not None:
        assert witness.data["b"] == [0]
        assert witness.data["z1"] + witness.data["z2"] == z


def test_strong_mutual_inhibition_is_readable():
    exact = rational_matrix(np.array([[0.0, -3.0], [-3.0, 0.0]]))
    witness = two_equilibria(exact)
    check_two(rows_of(exact), ZERO, witness)
    assert {tuple(witness.data[name]) for name in ("z1", "z2")} == {(1, 0), (0, 1)}
    assert two_equilibria(exact, alpha=Fraction(1, 2)) is None


@pytest.mark.parametrize("alpha", [ZERO, Fraction(1, 100)])
@pytest.mark.parametrize("m", [20, 60, 100])
def test_large_gaussian_weights_get_short_witnesses(m, alpha):
    weight = 1.2 * np.random.default_rng(m).standard_normal((m, m)) / math.sqrt(m)
    exact = rational_matrix(weight)
    witness = two_equilibria(exact, alpha=alpha)
    check_two(rows_of(exact), alpha, witness)
    assert bits(witness) <= (16 if alpha == 0 else 128)
    if alpha == 0:
        still = [j for j in range(m) if witness.data["z1"][j] == witness.data["z2"][j] == 0]
        assert len(still) > m // 2
        assert all(witness.data["b"][j].denominator == 1 for j in still)


def test_the_witness_of_a_decision_is_used():
    exact = rational_matrix(np.array([[0.5, -2.0, 0.0], [-2.0, 0.5, 0.0], [0.0, 1.0, 3.0]]))
    bad = Witness("bad-minor", {"index_set": [2], "determinant": Fraction(-2)})
    witness = two_equilibria(exact, bad=bad)
    check_two(rows_of(exact), ZERO, witness)
    assert witness.data["z1"][:2] == witness.data["z2"][:2] == [0, 0]
    check_two(rows_of(exact), ZERO, two_equilibria(exact, index_set=[0, 1]))
    check_two(rows_of(exact), ZERO, two_equilibria(exact, index_set=[0, 1], base_set=[0]))
    late = two_equilibria(exact, index_set=[0, 1], deadline=time.monotonic() - 1.0)
    check_two(rows_of(exact), ZERO, late)
    open_minor = Witness("bad-minor", {"index_set": [2], "determinant": None})
    assert two_equilibria(exact, bad=open_minor) is None


def test_a_singular_block_elsewhere_does_not_hide_the_witness():
    """I - alpha W is singular outside the bad block: its kernel is a witness by itself."""
    rows = [[Fraction(2), ZERO], [ZERO, Fraction(3, 2)]]
    exact = matrix_of(rows)
    witness = two_equilibria(exact, alpha=Fraction(1, 2), index_set=[1])
    check_two(rows, Fraction(1, 2), witness)


def test_wrong_arguments():
    exact = matrix_of([[ONE]])
    with pytest.raises(InputError, match=r"two_equilibria: expected 0 <= alpha < 1, but got .*"):
        two_equilibria(exact, alpha=ONE)
    with pytest.raises(InputError, match=r"two_equilibria: expected base_set within .* got .*"):
        two_equilibria(exact, index_set=[], base_set=[0])


def test_no_equilibrium_at_all():
    exact = matrix_of([[Fraction(2)]])
    assert no_equilibrium(exact).data == {"alpha": 0, "b": [1]}
    rows = [[ZERO, Fraction(2)], [Fraction(2), ZERO]]
    witness = no_equilibrium(matrix_of(rows))
    assert not any(
        candidates_of_pattern(rows, ZERO, witness.data["b"], pattern)
        for pattern in product((False, True), repeat=2)
    )
    assert no_equilibrium(matrix_of([[ZERO, Fraction(-3)], [Fraction(-3), ZERO]])) is None
    leaky = no_equilibrium(matrix_of([[Fraction(3, 2)]]), alpha=Fraction(1, 2))
    assert leaky.data["b"] == [1]


def test_substitution_is_exact():
    exact, half = matrix_of([[ONE]]), Fraction(1, 2)
    assert check_equilibrium(exact, ZERO, [ZERO], [half])
    assert not check_equilibrium(exact, ZERO, [Fraction(1, 2**200)], [half])
    assert not check_equilibrium(exact, ZERO, [ZERO], [-half])
    assert not check_equilibrium(exact, ZERO, [ZERO], [half, half])
    assert check_equilibrium(matrix_of([[ZERO]]), half, [-ONE], [-half])


def determinant(rows):
    rows, value = [list(row) for row in rows], ONE
    while rows:
        i = next((k for k, row in enumerate(rows) if row[0] != 0), None)
        if i is None:
            return ZERO
        value *= -rows[i][0] if i % 2 else rows[i][0]
        head = rows.pop(i)
        rows = [
            [x - row[0] / head[0] * h for x, h in zip(row, head, strict=True)][1:] for row in rows
        ]
    return value


def family(rows, low, high):
    m = range(len(rows))
    for slopes in product((low, high), repeat=len(rows)):
        yield determinant([[(i == j) - rows[i][j] * slopes[j] for j in m] for i in m])


def principal(rows, factor):
    m = len(rows)
    for size in range(1, m + 1):
        for s in combinations(range(m), size):
            yield determinant([[(i == j) - factor * rows[i][j] for j in s] for i in s])


def candidates_of_pattern(rows, alpha, b, pattern):
    """The equilibrium with this sign pattern, if there is one (its matrix nonsingular)."""
    m = len(rows)
    slopes = [ONE if up else alpha for up in pattern]
    matrix = matrix_of([[(i == j) - rows[i][j] * slopes[j] for j in range(m)] for i in range(m)])
    right = fmpq_mat(m, 1, [fmpq(x.numerator, x.denominator) for x in b])
    u = [Fraction(int(x.p), int(x.q)) for x in matrix.solve(right).entries()]
    return all((x >= 0) == up for x, up in zip(u, pattern, strict=True))


def well_posed(name, rows):
    """The exact criterion of each activation, by enumeration."""
    if name == "relu":
        return all(value > 0 for value in principal(rows, ONE))
    if name.startswith("leaky"):
        values = list(family(rows, Fraction(name[6:]), ONE))
        return min(values) > 0 or max(values) < 0
    quarter = Fraction(1, 4) if name == "sigmoid" else ONE
    return all(value >= 0 for value in principal(rows, quarter))


def decided(name, exact):
    enclosed = enclose_rational(exact)
    if name == "relu":
        return decide_p_matrix(identity_minus(enclosed, ONE))
    if name.startswith("leaky"):
        return decide_one_sign(enclosed, Fraction(name[6:]), ONE)
    return decide_p0_matrix(identity_minus(enclosed, Fraction(1, 4) if name == "sigmoid" else ONE))


def small_matrix(rng):
    m, kind = rng.randint(1, 6), rng.randrange(6)
    if kind == 0:
        rows = [[Fraction(rng.randint(-3, 3)) for _ in range(m)] for _ in range(m)]
    elif kind == 1:
        rows = [[Fraction(rng.randint(-24, 24), 16) for _ in range(m)] for _ in range(m)]
    elif kind == 2:
        a = [[Fraction(rng.randint(-2, 2)) for _ in range(m)] for _ in range(m)]
        rows = [[(i == j) - a[i][j] + a[j][i] for j in range(m)] for i in range(m)]
    elif kind == 3:
        rows = [[ZERO] * m for _ in range(m)]
        for i in range(m):
            rows[i][(i + 1) % m] = Fraction(rng.choice((-1, 1, -2, 2)), rng.choice((1, 2)))
    elif kind == 4:
        rows = [[Fraction(rng.gauss(0, 0.7)) for _ in range(m)] for _ in range(m)]
    else:
        rows = [[Fraction(rng.randint(-2, 2), 2) for _ in range(m)] for _ in range(m)]
        i, j = rng.randrange(m), rng.randrange(m)
        step = rng.choice((-1, 1)) * Fraction(1, 2**53)
        rows[i][j] = Fraction(float(rows[i][j] * (1 + step) + rng.choice((0, 1)) * step))
    return rows


NAMES = ["relu", "leaky 1/2", "leaky 1/100", "tanh", "sigmoid", "softplus"]


@pytest.mark.soundness
def test_campaign_all_slope_classes():
    seed, count = 131, 2000 if FULL else 200
    rng, start = random.Random(seed), time.monotonic()
    seen = {name: [0, 0] for name in NAMES}
    for k in range(count):
        name, rows = NAMES[k % len(NAMES)], small_matrix(rng)
        if name == "sigmoid":
            rows = [[x * 4 for x in row] for row in rows]
        exact, good = matrix_of(rows), well_posed(name, rows)
        found = decided(name, exact)
        assert found.value is (Truth.PROVED if good else Truth.REFUTED)
        seen[name][good] += 1
        alpha = {"relu": ZERO}.get(name, Fraction(name[6:]) if name.startswith("leaky") else None)
        if alpha is not None and not good:
            check_two(rows, alpha, two_equilibria(exact, alpha=alpha, bad=found.witness))
        if alpha is not None and good:
            assert no_equilibrium(exact, alpha=alpha) is None
        if name == "softplus":
            regular = decide_r0_matrix(identity_minus(enclose_rational(exact), ONE))
            assert regular.value is not Truth.UNDECIDED
    assert all(min(pair) > 0 for pair in seen.values())
    took = time.monotonic() - start
    print(f"campaign slope-classes: {count} cases, seed {seed}, {took:.1f} s, 0 wrong")
    print(f"  [ill-posed, well-posed]: {seen}")


def test_a_direction_that_is_not_checked_would_be_wrong(monkeypatch):
    """A wrong bias is kept out by the substitution alone."""
    exact = matrix_of([[Fraction(1, 2), ONE], [ONE, Fraction(1, 2)]])
    assert refutation._from_direction(exact, ZERO, [fmpq(1), fmpq(-1)]) is None
    p = [fmpq(1), fmpq(1)]
    check_two(rows_of(exact), ZERO, refutation._from_direction(exact, ZERO, p))
    monkeypatch.setattr(refutation, "check_equilibrium", lambda weight, alpha, b, z: True)
    monkeypatch.setattr(refutation, "_simpler", lambda weight, b, z1, z2: [x + 1 for x in b])
    wrong = refutation._from_direction(exact, ZERO, p)
    assert not is_equilibrium(rows_of(exact), ZERO, wrong.data["b"], wrong.data["z1"])

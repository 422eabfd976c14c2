"""What a proved route entails, against networks whose numbers are known by hand or exactly."""

from __future__ import annotations

from fractions import Fraction
from itertools import pairwise

import numpy as np
import pytest
import sympy as sp

from verify.condition import Effort
from verify.enclosure import endpoint_from_hex
from verify.engine import check
from verify.network import (
    AffineInput,
    BoxMonotoneWeight,
    Equilibrium,
    MonotoneWeight,
    NonEuclideanWeight,
    PlainWeight,
    RowScaledWeight,
    SoftplusMonotoneWeight,
)
from verify.network.activation import Activation

RELU = Activation("relu")


def claim_of(weight, activation=RELU, given=None):
    network = Equilibrium(weight, activation, given)
    (certificate,) = check(network, conditions=["well-posedness"], effort=Effort(budget=5.0))
    return certificate.claim


def numbers(claim):
    return {
        entry["name"]: (endpoint_from_hex(entry["lo"]), endpoint_from_hex(entry["hi"]))
        for entry in claim["consequences"]
        if entry["rigorous"]
    }


BY_HAND = {
    (0.5, "relu"): {
        "contraction factor (spectral-norm)": Fraction(1, 2),
        "contraction factor (perron)": Fraction(1, 2),
        "Lipschitz constant b -> z (spectral-norm)": Fraction(2),
        "Lipschitz constant x -> z": Fraction(6),
        "room for W (spectral-norm)": Fraction(1, 2),
        "room for W (monotone)": Fraction(1, 2),
        "monotonicity constant": Fraction(1, 2),
        "Lipschitz constant b -> z (monotone)": Fraction(2),
        "step of the averaged iteration (monotone)": Fraction(2),
        "contraction factor of the averaged iteration (monotone)": Fraction(0),
        "Lipschitz constant b -> z (matrix-measure)": Fraction(2),
        "step of the averaged iteration (matrix-measure)": Fraction(1),
        "contraction factor of the averaged iteration (matrix-measure)": Fraction(1, 2),
        "iterations that shrink the error by 1e-6": Fraction(20),  # 2^20 > 10^6 > 2^19
        "spectral radius of W": Fraction(1, 2),
    },
    (-3.0, "relu"): {
        "monotonicity constant": Fraction(4),
        "Lipschitz constant b -> z (monotone)": Fraction(1, 4),
        "Lipschitz constant x -> z": Fraction(3, 4),
        "room for W (monotone)": Fraction(4),
        "step of the averaged iteration (monotone)": Fraction(1, 4),
        "Lipschitz constant b -> z (matrix-measure)": Fraction(1),
        "step of the averaged iteration (matrix-measure)": Fraction(1, 4),
        "contraction factor of the averaged iteration (matrix-measure)": Fraction(3, 4),
        "spectral radius of W": Fraction(3),
    },
    (2.0, "sigmoid"): {
        "contraction factor (spectral-norm)": Fraction(1, 2),
        "Lipschitz constant b -> z (spectral-norm)": Fraction(1, 2),
        "room for W (spectral-norm)": Fraction(2),
        "Lipschitz constant b -> z (monotone)": Fraction(1, 2),
        "Lipschitz constant x -> z": Fraction(3, 2),
        "room for W (monotone)": Fraction(2),
    },
}


@pytest.mark.parametrize(("w", "name"), BY_HAND)
def test_one_neuron_by_hand(w, name):
    given = AffineInput(np.array([[3.0]]), np.zeros(1))
    found = numbers(claim_of(PlainWeight(np.array([[w]])), Activation(name), given))
    for what, value in BY_HAND[w, name].items():
        lo, hi = found[what]
        assert lo <= value <= hi, what
        assert hi - lo <= Fraction(1, 10**9), what  # tightness only


def relu(v):
    return [max(x, Fraction(0)) for x in v]


def image(rows, z, b):
    return [
        sum(w * x for w, x in zip(row, z, strict=True)) + c for row, c in zip(rows, b, strict=True)
    ]


def square(x):
    return sum(e * e for e in x)


def test_rates_hold_for_exact_iterations():
    """Iterations in rationals from random states: no step shrinks the error less than stated."""
    draw = np.random.default_rng(11)
    checked = set()
    for _ in range(25):
        m = int(draw.integers(2, 5))
        W = np.round(draw.standard_normal((m, m)) * 16) / 64 - np.eye(m) * draw.choice([0.0, 0.5])
        found = numbers(claim_of(PlainWeight(W)))
        rows = [[Fraction(float(x)) for x in row] for row in W]
        star = [Fraction(int(k)) for k in draw.integers(0, 3, m)]
        # W z + b = z where z > 0, and a number <= 0 where z = 0
        zero = [Fraction(0)] * m
        v = [z if z > 0 else -Fraction(int(draw.integers(0, 3))) for z in star]
        b = [x - y for x, y in zip(v, image(rows, star, zero), strict=True)]
        assert relu(image(rows, star, b)) == star
        for name, step in (("spectral-norm", None), ("monotone", "step of the averaged")):
            if step is None:
                rate, a = found.get(f"contraction factor ({name})"), Fraction(1)
            else:
                rate = found.get(f"contraction factor of the averaged iteration ({name})")
                interval = found.get(f"step of the averaged iteration ({name})")
                # a step inside the enclosure, to 30 digits
                a = sum(interval) / 2 if interval else None
            if rate is None:
                continue
            checked.add(name)
            for _ in range(20):
                z = [Fraction(int(k), 8) for k in draw.integers(-40, 40, m)]
                moved = image(rows, z, b)
                after = relu([(1 - a) * x + a * y for x, y in zip(z, moved, strict=True)])
                before = square([x - y for x, y in zip(z, star, strict=True)])
                left = square([x - y for x, y in zip(after, star, strict=True)])
                slack = Fraction(1, 10**9) if step else 0  # the step itself is rounded
                assert left <= (rate[1] ** 2 + slack) * before
    assert checked == {"spectral-norm", "monotone"}


def test_lipschitz_constants_hold_for_exact_pairs():
    draw = np.random.default_rng(12)
    for _ in range(20):
        m = int(draw.integers(1, 5))
        W = np.round(draw.standard_normal((m, m)) * 16) / 64 - np.eye(m)
        found = numbers(claim_of(PlainWeight(W)))
        rows, zero = [[Fraction(float(x)) for x in row] for row in W], [Fraction(0)] * m
        named = [f"Lipschitz constant b -> z ({route})" for route in ("spectral-norm", "monotone")]
        constants = [found[name] for name in named if name in found]
        pairs = []
        for _ in range(30):
            z = [Fraction(int(k)) for k in draw.integers(0, 4, m)]
            v = [x if x > 0 else -Fraction(int(draw.integers(0, 3))) for x in z]
            pairs.append((z, [x - y for x, y in zip(v, image(rows, z, zero), strict=True)]))
        for (z1, b1), (z2, b2) in pairwise(pairs):
            dz = square([x - y for x, y in zip(z1, z2, strict=True)])
            db = square([x - y for x, y in zip(b1, b2, strict=True)])
            assert all(dz <= hi**2 * db for _, hi in constants)


# Structures ----------------------------------------------------------------------------------


def test_monotone_parametrisation_is_an_identity():
    m, (x, y) = sp.Symbol("m", real=True), sp.symbols("x y", real=True)
    A, B = (
        sp.Matrix(3, 2, sp.symbols("a:6", real=True)),
        sp.Matrix(2, 2, sp.symbols("b:4", real=True)),
    )
    W = (1 - m) * sp.eye(2) - A.T * A + B - B.T
    v = sp.Matrix([x, y])
    gap = (v.T * (sp.eye(2) - W) * v)[0] - m * (v.T * v)[0] - ((A * v).T * (A * v))[0]
    assert sp.expand(gap) == 0


def test_measure_parametrisation_is_an_identity():
    m, d = sp.Symbol("m", real=True), sp.symbols("d:2", positive=True)
    A = sp.Matrix(2, 2, sp.symbols("a:4", real=True))
    D = sp.diag(*d)
    inner = A - sp.diag(*[sum(abs(e) for e in A.row(i)) for i in range(2)]) + m * sp.eye(2)
    W = D.inv() * inner * D
    scaled = (D * W * D.inv()).applyfunc(sp.expand)
    for i in range(2):
        measure = scaled[i, i] + abs(scaled[i, 1 - i])
        assert sp.simplify(measure - (A[i, i] - abs(A[i, i]) + m)) == 0


N = np.random.default_rng(0).standard_normal((6, 6))
STRUCTURES = [
    ("monotone-structure", MonotoneWeight(3 * N, 5 * N, Fraction(1, 20)), True),
    ("monotone-structure", MonotoneWeight(3 * N, 5 * N, Fraction(0)), False),
    ("monotone-structure", MonotoneWeight(3 * N, 5 * N, Fraction(-1, 20)), False),
    ("monotone-structure", SoftplusMonotoneWeight(3 * N, 5 * N, np.array([-9.0])), True),
    ("measure-structure", NonEuclideanWeight(4 * N, N[0], Fraction(99, 100)), True),
    ("measure-structure", NonEuclideanWeight(4 * N, N[0], Fraction(1)), False),
    ("box-structure", BoxMonotoneWeight(N, N[0], Fraction(1, 20), Fraction(5)), True),
    ("row-structure", RowScaledWeight(4 * N, Fraction(99, 100)), True),
    ("row-structure", RowScaledWeight(4 * N, Fraction(1)), False),
]


@pytest.mark.parametrize(("route", "weight", "holds"), STRUCTURES)
def test_structural_routes(route, weight, holds):
    claim = claim_of(weight)
    (found,) = [entry for entry in claim["routes"] if entry["name"] == route]
    assert found["truth"] == ("proved" if holds else "refuted")
    assert claim["verdict"] == "pass" or not holds
    plain = claim_of(PlainWeight(np.eye(2) / 4))
    assert not any(entry["name"] == route and entry["truth"] != "skipped"
                   for entry in plain["routes"])  # fmt: skip


def test_the_averaged_factor_is_shown_where_it_is_zero():
    """W = I/2: one averaged step with a = 2 lands on the equilibrium; the root is of about 0."""
    network = Equilibrium(PlainWeight(np.eye(3) / 2), Activation("relu"))
    (certificate,) = check(network, conditions=["well-posedness"])
    named = {item["name"]: item for item in certificate.claim["consequences"]}
    factor = named["contraction factor of the averaged iteration (monotone)"]
    assert endpoint_from_hex(factor["lo"]) == 0
    assert endpoint_from_hex(factor["hi"]) < Fraction(1, 10**3)

"""Two boxes with an equilibrium each: stored cases, random layers, and what must not be shown."""

from __future__ import annotations

import json
import time
from itertools import combinations
from pathlib import Path

import flint
import numpy as np
import pytest
from flint import arb, arb_mat, fmpq

from verify.evidence import Witness
from verify.network.activation import Activation
from verify_kernels import smooth_refutation
from verify_kernels.matrix import MatrixEnclosure, rational_matrix
from verify_kernels.smooth_refutation import two_disjoint_equilibria

VECTORS = Path(__file__).parents[1] / "vectors" / "well_posedness.json"
CASES = json.loads(VECTORS.read_text())["cases"]
SMOOTH = [c for c in CASES if c["activation"] in ("tanh", "sigmoid", "softplus")]
STORED = [c for c in SMOOTH if "two_equilibria_enclosed" in c]


def floats(rows):
    return np.array([[float.fromhex(x) for x in row] for row in rows])


def plain(name, x):
    """The activation once more, written independently."""
    if name == "tanh":
        return 1 - 2 / (1 + (2 * x).exp())
    if name == "sigmoid":
        return 1 / (1 + (-x).exp())
    return (1 + x.exp()).log()


def root_near(W, name, b, lows, highs):
    """A point at which the residual is below 1e-60, found from the middle of the box."""
    m = len(b)
    with flint.ctx.workprec(900):
        exact, zero = arb_mat(rational_matrix(W)), arb(0)
        bias = arb_mat(m, 1, [arb(fmpq(e.numerator, e.denominator)) for e in b])
        middles = [(lo + hi) / 2 for lo, hi in zip(lows, highs, strict=True)]
        z = arb_mat(m, 1, [arb(fmpq(e.numerator, e.denominator)) for e in middles]).mid()
        for _ in range(30):
            v = exact * z + bias
            s = [plain(name, v[i, 0]) for i in range(m)]
            steep = [1 - t * t if name == "tanh" else t * (1 - t) for t in s]
            if name == "softplus":
                steep = [plain("sigmoid", v[i, 0]) for i in range(m)]
            D = arb_mat(m, m, [steep[i] if i == j else zero for i in range(m) for j in range(m)])
            eye = arb_mat(m, m, [int(i == j) for i in range(m) for j in range(m)])
            gap = z - arb_mat(m, 1, s)
            if all(abs(gap[i, 0]) < arb("1e-60") for i in range(m)):
                return [z[i, 0] for i in range(m)]
            z = (z - (eye - D * exact).solve(gap)).mid()
    return None


def inside(root, lows, highs):
    with flint.ctx.workprec(900):
        return all(
            arb(fmpq(lo.numerator, lo.denominator)) < x < arb(fmpq(hi.numerator, hi.denominator))
            for x, lo, hi in zip(root, lows, highs, strict=True)
        )


def check(W, name, witness):
    data = witness.data
    boxes = [(data["z1_lo"], data["z1_hi"]), (data["z2_lo"], data["z2_hi"])]
    (lo1, hi1), (lo2, hi2) = boxes
    rows = zip(lo1, hi1, lo2, hi2, strict=True)
    assert any(b < c or d < a for a, b, c, d in rows)
    for lows, highs in boxes:
        root = root_near(W, name, data["b"], lows, highs)
        assert root is not None
        assert inside(root, lows, highs)


@pytest.mark.parametrize("case", STORED, ids=lambda case: case["id"])
def test_stored_failing_layers_get_two_boxes(case):
    W = floats(case["W"])
    witness = two_disjoint_equilibria(MatrixEnclosure(W), Activation.parse(case["activation"]))
    assert witness is not None
    assert witness.kind == "two-enclosures"
    check(W, case["activation"], witness)


@pytest.mark.parametrize(
    "case", [c for c in SMOOTH if c["every_b"] == "pass"], ids=lambda case: case["id"]
)
def test_well_posed_layers_never_get_two_boxes(case):
    weight, activation = MatrixEnclosure(floats(case["W"])), Activation.parse(case["activation"])
    everything = Witness("bad-minor", {"index_set": list(range(case["m"]))})
    assert two_disjoint_equilibria(weight, activation, bad=everything, tries=4) is None


def test_one_ulp_above_the_threshold_is_shown_in_balls():
    W = np.array([[1 + 2.0**-52]])
    witness = two_disjoint_equilibria(MatrixEnclosure(W), Activation("tanh"))
    assert witness is not None
    check(W, "tanh", witness)
    assert two_disjoint_equilibria(MatrixEnclosure(np.ones((1, 1))), Activation("tanh")) is None


def test_random_failing_layers_get_two_boxes():
    generator, found, tried = np.random.default_rng(5), 0, 0
    for k in range(60):
        m, name = int(generator.integers(1, 6)), ("tanh", "sigmoid", "softplus")[k % 3]
        W = generator.standard_normal((m, m)) * (6.0 if name == "sigmoid" else 1.5)
        M = np.eye(m) - W * (0.25 if name == "sigmoid" else 1.0)
        sets = [S for r in range(1, m + 1) for S in combinations(range(m), r)]
        bad = [S for S in sets if np.linalg.det(M[np.ix_(S, S)]) < -1e-6]
        if not bad:
            continue
        tried += 1
        witness = two_disjoint_equilibria(
            MatrixEnclosure(W),
            Activation.parse(name),
            bad=Witness("bad-minor", {"index_set": list(bad[0])}),
            deadline=time.monotonic() + 20,
        )
        if witness is not None:
            found += 1
            check(W, name, witness)
    print(f"smooth refutation: {found} of {tried} failing layers shown")
    assert found >= 0.9 * tried
    assert tried > 30


def test_other_activations_are_not_touched():
    weight = MatrixEnclosure(np.array([[3.0]]))
    assert two_disjoint_equilibria(weight, Activation("relu")) is None
    assert two_disjoint_equilibria(weight, Activation("gelu")) is None


def test_boxes_hold_for_every_weight_of_an_enclosure():
    weight = MatrixEnclosure(np.array([[2.0]]), np.array([[1e-6]]))
    witness = two_disjoint_equilibria(weight, Activation("tanh"))
    assert witness is not None
    for w in (2.0 - 1e-6, 2.0 + 1e-6):
        data = witness.data
        for lows, highs in ((data["z1_lo"], data["z1_hi"]), (data["z2_lo"], data["z2_hi"])):
            root = root_near(np.array([[w]]), "tanh", data["b"], lows, highs)
            assert inside(root, lows, highs)


def test_one_equilibrium_twice_is_no_witness():
    weight, z = MatrixEnclosure(np.array([[0.5]])), np.zeros(1)
    assert smooth_refutation._prove(weight, Activation("tanh"), z, z, z) is None


def test_skipping_the_comparison_of_the_boxes_would_show_a_false_pair(monkeypatch):
    """W = 1/2 has one equilibrium; any() replaced by True turns it into a pair."""
    weight, z = MatrixEnclosure(np.array([[0.5]])), np.zeros(1)
    monkeypatch.setattr(smooth_refutation, "any", lambda pairs: True, raising=False)
    witness = smooth_refutation._prove(weight, Activation("tanh"), z, z, z)
    assert witness is not None
    with pytest.raises(AssertionError):
        check(weight.mid, "tanh", witness)

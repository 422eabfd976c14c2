"""The interval tree: its arithmetic, its leaves, its answers."""

from __future__ import annotations

import random
import time
from fractions import Fraction

import numpy as np
import pytest

from verify.verdict import Truth
from verify_kernels import p_tree
from verify_kernels.backend import get_backend
from verify_kernels.p_tree import Ball, run_tree


def exact_schur(rows, i):
    keep = [j for j in range(len(rows)) if j != i]
    return [[rows[j][k] - rows[j][i] * rows[i][k] / rows[i][i] for k in keep] for j in keep]


def member(ball, rng):
    """A matrix of the ball, at a corner of every entry or inside."""
    return [
        [
            Fraction(m) + Fraction(r) * rng.choice((-1, 1, Fraction(rng.randint(-8, 8), 8)))
            for m, r in zip(mid, rad, strict=True)
        ]
        for mid, rad in zip(ball.mid.tolist(), ball.rad.tolist(), strict=True)
    ]


@pytest.mark.parametrize("scale", [1.0, 2.0**-400, 2.0**-530])
def test_the_schur_complement_contains_every_member(scale):
    rng, floats = random.Random(5), np.random.default_rng(5)
    for trial in range(60):
        n = rng.randint(2, 5)
        mid = floats.standard_normal((n, n)) * scale
        mid[floats.random((n, n)) < 0.3] = 0.0
        np.fill_diagonal(mid, scale * (0.1 + floats.random(n)))
        rad = np.abs(mid) * rng.choice((0.0, 1e-16, 1e-3)) * (trial % 3)
        ball = Ball(mid, rad)
        i = rng.randrange(n)
        keep = np.delete(np.arange(n), i)
        got = p_tree.schur_ball(ball, i, keep)
        for _ in range(4):
            exact = exact_schur(member(ball, rng), i)
            for j in range(n - 1):
                for k in range(n - 1):
                    distance = abs(exact[j][k] - Fraction(float(got.mid[j, k])))
                    assert distance <= Fraction(float(got.rad[j, k]))


def test_without_the_rounding_share_a_member_falls_out(monkeypatch):
    monkeypatch.setattr(p_tree, "rounding_share", lambda size: 0.0 * size)
    monkeypatch.setattr(p_tree, "_TINY", 0.0)
    with pytest.raises(AssertionError):
        test_the_schur_complement_contains_every_member(1.0)


def test_exact_zeros_stay_exact():
    mid = np.array([[1.0, 0.0, 2.0], [0.0, 1.0, 0.1], [0.0, 0.3, 1.0]])
    got = p_tree.schur_ball(Ball(mid, np.zeros((3, 3))), 0, np.array([1, 2]))
    assert (got.mid == mid[1:, 1:]).all()
    assert (got.rad == 0.0).all()


def test_leaves_see_what_they_can_and_nothing_else():
    module = get_backend("numpy")
    zero = np.zeros((2, 2))
    h_matrix = Ball(np.array([[1.0, 50.0], [0.01, 1.0]]), zero)
    skew = Ball(np.array([[1.0, 50.0], [-50.0, 1.0]]), zero)
    bad = Ball(np.array([[1.0, 2.0], [2.0, 1.0]]), zero)
    ones = np.ones(2)
    assert p_tree.vector_leaf(h_matrix) is not None
    assert p_tree.vector_leaf(skew) is None
    assert p_tree.vector_leaf(bad) is None
    assert p_tree.definite_leaf(skew, ones, module) == [0, 0]
    assert p_tree.definite_leaf(h_matrix, ones, module) is None
    assert p_tree.definite_leaf(bad, ones, module) is None
    wide = Ball(skew.mid, np.full((2, 2), 1.0))
    assert p_tree.definite_leaf(wide, ones, module) is None
    with np.errstate(divide="ignore"):
        assert p_tree.definite_leaf(skew, np.array([0.0, 1.0]), module) is None


def test_nodes_that_are_not_finite_prove_nothing():
    for value in (np.nan, np.inf):
        ball = Ball(np.array([[1.0, value], [0.0, 1.0]]), np.zeros((2, 2)))
        found = run_tree(ball, None)
        assert found.truth is Truth.UNDECIDED
        assert found.why


def test_a_minor_that_is_never_positive_refutes_every_member():
    ball = Ball(np.array([[1.0, 2.0], [2.0, 1.0]]), np.full((2, 2), 0.1))
    found = run_tree(ball, None)
    assert found.truth is Truth.REFUTED
    assert sorted(found.bad) == [0, 1]
    assert found.negative
    zero = run_tree(Ball(np.array([[0.0]]), np.zeros((1, 1))), None)
    assert (zero.truth, zero.negative) == (Truth.REFUTED, False)


def test_budgets():
    ball = Ball(np.eye(2), np.zeros((2, 2)))
    assert "nodes" in run_tree(ball, None, nodes=0).why
    assert "time" in run_tree(ball, None, deadline=time.monotonic() - 1.0).why

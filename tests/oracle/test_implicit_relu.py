"""Implicit ReLU networks: stored values and hard places."""

from __future__ import annotations

import json
from fractions import Fraction
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from verify.enclosure import Enclosure
from verify.errors import InputError
from verify.network import (
    Activation,
    AffineInput,
    Equilibrium,
    PlainWeight,
    ReluFeatureInput,
    ScaledGaussianWeight,
)
from verify.verdict import Truth
from verify_kernels.forward import Inputs
from verify_kernels.implicit_relu import enclose_implicit

VECTORS = json.loads(
    (Path(__file__).parents[1] / "vectors" / "convergence.json").read_text(encoding="utf-8")
)
CASES = [case for case in VECTORS["cases"] if case["kind"] == "implicit-relu"]
RELU = Activation("relu")


def _array(stored: Any) -> Any:
    if isinstance(stored, list):
        return np.array([_array(x) for x in stored])
    return float.fromhex(stored)


def _network(A: Any, gamma: Any, W: Any, u: Any, v: Any) -> Equilibrium:
    weight = ScaledGaussianWeight(np.asarray(A, dtype=float), Fraction(gamma))
    readout = {"u": np.asarray(u, dtype=float), "v": np.asarray(v, dtype=float)}
    return Equilibrium(weight, RELU, ReluFeatureInput(np.asarray(W, dtype=float)), readout)


def _inputs(X: Any, divisor: int = 1) -> Inputs:
    rows = np.asarray(X, dtype=float)
    return Inputs.of(rows, (rows.shape[1],), divisor)


def _misses(found: Any, low: Any, high: Any) -> bool:
    """Whether the enclosure misses every number between two bounds of the true value."""
    value = found if isinstance(found, Enclosure) else found.enclosure()
    return bool(high < value.lo or low > value.hi)


def _decimal_misses(found: Any, text: str) -> bool:
    exact = Fraction(text)
    slack = abs(exact) / 10**39  # the last of 40 digits may be off by one unit
    return _misses(found, exact - slack, exact + slack)


def _entry(matrix: Any, i: int, k: int) -> Enclosure:
    mid = Fraction(float(matrix.mid[i, k]))
    rad = Fraction(0) if matrix.rad is None else Fraction(float(matrix.rad[i, k]))
    low, high = mid - rad, mid + rad
    return Enclosure(low, high)


def _is_open(found: Any) -> bool:
    return not found.enclosure().is_bounded and bool(found.why_open)


# ---------------------------------------------------------------- stored values


@pytest.mark.parametrize("precise", [False, True], ids=["floats", "balls"])
@pytest.mark.parametrize("case", CASES, ids=[case["id"] for case in CASES])
def test_stored_values_are_contained(case: Any, precise: bool) -> None:
    network = _network(*(_array(case[key]) for key in ("A", "gamma", "W", "u", "v")))
    state = enclose_implicit(network, _inputs(_array(case["X"])), _array(case["y"]),
                             precise=precise)  # fmt: skip
    pairs = {
        "residual_norm": state.residual_norm,
        "norm_gA": state.norm_W,
        "norm_Z0": state.norm_Z0,
        "norm_X": state.norm_X,
        "s0": state.s0,
    }
    for name, found in pairs.items():
        assert not _decimal_misses(found, case[name]), name
        value = found.enclosure()
        assert case[name] != "0" or value == Enclosure.exact(0), name
        limit = 10**20 if precise else 10**8
        assert value.width * limit <= abs(value.hi), name
    for name, norm in case["gradient_norms"].items():
        found = state.gradient_norms[name]
        assert not _decimal_misses(found, norm), name
        if precise:
            assert found.enclosure().width * 10**20 <= found.enclosure().hi
    for i, row in enumerate(case["equilibria"]):
        for k, text in enumerate(row):
            assert not _decimal_misses(_entry(state.equilibria, i, k), text)
            if precise:
                ball = Enclosure.from_arb(state.balls[0][i, k])
                assert not _decimal_misses(ball, text)
                assert ball.width * 10**20 <= abs(ball.hi)
    for (found,), text in zip(state.outputs, case["outputs"], strict=True):
        assert not _decimal_misses(found, text)
    assert state.well_posed.value is Truth.PROVED


@pytest.mark.parametrize("precise", [False, True], ids=["floats", "balls"])
def test_exact_equilibria_are_contained(precise: bool) -> None:
    count = 0
    for case in CASES:
        if case["equilibria_exact"] is None:
            continue
        network = _network(*(_array(case[key]) for key in ("A", "gamma", "W", "u", "v")))
        state = enclose_implicit(network, _inputs(_array(case["X"])), _array(case["y"]),
                                 precise=precise)  # fmt: skip
        for i, row in enumerate(case["equilibria_exact"]):
            for k, text in enumerate(row):
                exact = Fraction(text)
                assert _entry(state.equilibria, i, k).contains(exact)
                if precise:
                    assert Enclosure.from_arb(state.balls[0][i, k]).contains(exact)
        count += 1
    assert count == sum(case["equilibria_exact"] is not None for case in CASES) > 1


# ---------------------------------------------------------------- hard places

BOTH = pytest.mark.parametrize("precise", [False, True], ids=["floats", "balls"])
W4 = np.array([[1.0, 0.5], [0.25, 1.0], [-1.0, 0.75], [-0.5, -1.0]])
A4 = np.array([[0.5, 1, 0, -1], [0, -1, 1, 0.5], [1, 0, 0.25, 1], [-1, 0.5, 1, 0.0]])
U4, V4 = np.array([1.0, -2, 0.5, 1]), np.array([0.5, 1, -1, 2.0])


def _brute_force(A: Any, gamma: Fraction, b: list[Fraction]) -> list[list[Fraction]]:
    """All equilibria of z = relu(g A z + b), m a square, over the 2^m patterns."""
    m = len(A)
    g = gamma / int(np.sqrt(m))
    G = [[g * Fraction(float(x)) for x in row] for row in A]
    found = []
    for pattern in product((0, 1), repeat=m):
        on = pattern
        left = [[int(i == j) - on[i] * G[i][j] for j in range(m)] for i in range(m)]
        z = _gauss([[*row, on[i] * b[i]] for i, row in enumerate(left)])
        if z is None:
            continue
        image = [sum((G[i][j] * z[j] for j in range(m)), b[i]) for i in range(m)]
        if all(max(Fraction(0), image[i]) == z[i] for i in range(m)) and z not in found:
            found.append(z)
    return found


def _gauss(rows: list[list[Fraction]]) -> list[Fraction] | None:
    size = len(rows)
    for i in range(size):
        pivot = next((k for k in range(i, size) if rows[k][i]), None)
        if pivot is None:
            return None
        rows[i], rows[pivot] = rows[pivot], rows[i]
        rows[i] = [x / rows[i][i] for x in rows[i]]
        for k in range(size):
            if k != i and rows[k][i]:
                rows[k] = [a - rows[k][i] * c for a, c in zip(rows[k], rows[i], strict=True)]
    return [row[size] for row in rows]


@BOTH
def test_large_norm_with_a_monotone_margin(precise: bool) -> None:
    skew = 8.0 * (A4 - A4.T) - np.eye(4)
    X = np.array([[1.0, 0.5], [-0.25, 1.0], [2.0, -1.0]])
    state = enclose_implicit(_network(skew, 1, W4, U4, V4), _inputs(X), np.zeros(3),
                             precise=precise)  # fmt: skip
    assert state.norm_W.enclosure().lo > 1
    assert state.monotone_margin.enclosure().lo > 1
    assert [modulus.kind for modulus in state.moduli] == ["monotone"]
    for i, x in enumerate(X):
        phi = [max(Fraction(0), Fraction(float(w @ x))) / 2 for w in W4]  # w @ x is exact
        (exact,) = _brute_force(skew, Fraction(1), phi)
        assert all(_entry(state.equilibria, i, k).contains(z) for k, z in enumerate(exact))


@BOTH
def test_nothing_is_claimed_without_uniqueness(precise: bool) -> None:
    state = enclose_implicit(_network(np.abs(A4), 100, W4, U4, V4), _inputs([[1.0, 0.5]]), [0.0],
                             precise=precise)  # fmt: skip
    assert state.well_posed.value is Truth.UNDECIDED
    assert state.well_posed.why_open
    for found in (state.residual_norm, state.s0, state.norm_Z0, state.gradient_norm,
                  *state.gradient_norms.values()):  # fmt: skip
        assert _is_open(found)
        assert found.enclosure().lo <= 0
    assert not any(value.is_bounded for row in state.outputs for value in row)
    assert state.norm_W.enclosure().lo > 1
    assert state.norm_X.enclosure().is_bounded


@BOTH
def test_two_equilibria_are_never_one(precise: bool) -> None:
    """g A = 3 I, phi = 0 off the first unit: z_1 has no solution, and z_2 = 0 is one of many."""
    network = _network(6 * np.eye(4), 1, W4, U4, V4)
    state = enclose_implicit(network, _inputs([[1.0, 0.5]]), [0.0], precise=precise)
    assert state.well_posed.value is Truth.UNDECIDED
    assert not state.residual_norm.enclosure().is_bounded


@BOTH
@pytest.mark.parametrize(
    "X",
    [
        [[1.0, 0.5], [1.0, 0.5]],
        [[1.0, 0.5], [3.0, 1.5]],
        [[1.0, 0.5], [0.0, 0.0]],
        [[0.1, 0.7], [0.3, 0.7], [0.2, 0.7], [0.11, 0.5]],
    ],
    ids=["equal", "parallel", "zero", "one-pattern"],
)
def test_a_dependence_of_samples_gives_exactly_zero(X: Any, precise: bool) -> None:
    state = enclose_implicit(_network(A4 / 4, Fraction(1, 4), np.abs(W4), U4, V4), _inputs(X),
                             np.zeros(len(X)), precise=precise)  # fmt: skip
    assert state.s0.enclosure() == Enclosure.exact(0)


@BOTH
def test_more_samples_than_live_units_give_exactly_zero(precise: bool) -> None:
    rng = np.random.default_rng(7)
    W = np.vstack([np.abs(rng.standard_normal((1, 3))), -np.abs(rng.standard_normal((4, 3)))])
    A = np.vstack([rng.standard_normal((1, 5)), -np.abs(rng.standard_normal((4, 5)))])
    X = np.abs(rng.standard_normal((3, 3)))
    state = enclose_implicit(_network(A, Fraction(1, 10), W, np.ones(5), np.ones(5)), _inputs(X),
                             np.ones(3), precise=precise)  # fmt: skip
    assert state.s0.enclosure() == Enclosure.exact(0)
    assert (state.equilibria.mid[:, 1:] == 0).all()
    radius = state.equilibria.rad
    assert radius is None or (radius[:, 1:] == 0).all()


@BOTH
@pytest.mark.parametrize("place", ["outer", "inner"])
def test_an_exact_kink_leaves_only_the_gradients_of_its_tensors_open(
    place: str, precise: bool
) -> None:
    W, A = W4.copy(), A4.copy()
    x = np.array([[1.0, 0.5]])
    if place == "outer":
        W[0] = [1.0, -2.0]
    else:
        A[3] = 0.0  # unit 3 has W x < 0, so its pre-activation is exactly 0
    state = enclose_implicit(_network(A, Fraction(1, 4), W, U4, V4), _inputs(x), [1.0],
                             precise=precise)  # fmt: skip
    for name in ("A", "W"):
        assert _is_open(state.gradient_norms[name])
        assert "sample 0" in state.gradient_norms[name].why_open
    for name in ("u", "v"):
        assert state.gradient_norms[name].enclosure().is_bounded
    assert _is_open(state.gradient_norm)
    assert state.s0.enclosure().lo > 0
    assert state.residual_norm.enclosure().is_bounded


@BOTH
def test_samples_that_nothing_reaches_add_no_gradient(precise: bool) -> None:
    """W x < 0 in every unit, or x = 0: the output stays 0 for all parameters nearby."""
    W = -np.abs(W4)
    X = [[1.0, 0.5], [0.0, 0.0]]
    state = enclose_implicit(_network(A4, Fraction(1, 4), W, U4, V4), _inputs(X), [1.0, 2.0],
                             precise=precise)  # fmt: skip
    for found in (*state.gradient_norms.values(), state.gradient_norm):
        assert found.enclosure() == Enclosure.exact(0)
    assert state.norm_Z0.enclosure() == Enclosure.exact(0)
    W[2] = 0.0  # now W x = 0 in one unit: a kink
    state = enclose_implicit(_network(A4, Fraction(1, 4), W, U4, V4), _inputs([[1.0, 0.5]]), [1.0],
                             precise=precise)  # fmt: skip
    assert _is_open(state.gradient_norms["W"])


@BOTH
def test_one_unit(precise: bool) -> None:
    """z = relu(a z + w x), so z = w x/(1 - a) for w x > 0."""
    network = _network([[0.5]], Fraction(1, 2), [[3.0]], [2.0], [1.0])
    state = enclose_implicit(network, _inputs([[1.0]]), [1.0], precise=precise)
    assert _entry(state.equilibria, 0, 0).contains(4)
    assert state.outputs[0][0].contains(11)
    assert state.residual_norm.enclosure().contains(10)
    assert state.s0.enclosure().contains(5)
    assert state.norm_W.enclosure().contains(Fraction(1, 4))
    assert state.monotone_margin.enclosure().contains(Fraction(3, 4))
    # q = u/(1 - a) = 8/3: by A 1/2 r q z, by W r (v + q) x
    assert state.gradient_norms["u"].enclosure().contains(40)
    assert state.gradient_norms["v"].enclosure().contains(30)
    assert state.gradient_norms["A"].enclosure().contains(Fraction(160, 3))
    assert state.gradient_norms["W"].enclosure().contains(Fraction(110, 3))


def test_a_deadline_keeps_what_is_proved() -> None:
    network = _network(A4, Fraction(1, 4), W4, U4, V4)
    late = enclose_implicit(network, _inputs([[1.0, 0.5]]), [1.0], precise=True, deadline=0.0)
    floats = enclose_implicit(network, _inputs([[1.0, 0.5]]), [1.0])
    assert late.balls is None
    both = late.residual_norm.enclosure().intersection(floats.residual_norm.enclosure())
    assert both == floats.residual_norm.enclosure()


@BOTH
def test_numbers_out_of_range_are_open_or_right(precise: bool) -> None:
    network = _network(A4, Fraction(1, 4), W4 * 1e200, U4 * 1e200, V4)
    state = enclose_implicit(network, _inputs([[1.0, 0.5]]), [1.0], precise=precise)
    assert state.residual_norm.enclosure().hi > 10**397
    assert state.residual_norm.enclosure().is_bounded == precise


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"weight": PlainWeight(A4)}, "expected weight gamma"),
        ({"input": AffineInput(W4, np.zeros(4))}, "and input relu"),
        ({"activation": Activation("tanh")}, "expected activation relu, but got 'tanh'"),
        ({"readout": {"u": U4}}, "expected a readout with u and v"),
        ({"readout": {"u": U4, "v": V4[:3]}}, "expected shapes"),
        ({"input": ReluFeatureInput(W4[:3])}, "expected shapes"),
        ({"weight": ScaledGaussianWeight(A4[:3], Fraction(1))}, "matrix of shape"),
    ],
)
def test_other_networks_are_refused(change: Any, words: str) -> None:
    parts = {
        "weight": ScaledGaussianWeight(A4, Fraction(1, 4)),
        "activation": RELU,
        "input": ReluFeatureInput(W4),
        "readout": {"u": U4, "v": V4},
    } | change
    with pytest.raises(InputError, match=words):
        enclose_implicit(Equilibrium(**parts), _inputs([[1.0, 0.5]]), [1.0])
    with pytest.raises(InputError, match="expected shapes"):
        enclose_implicit(_network(A4, 1, W4, U4, V4), _inputs([[1.0, 0.5]]), [1.0, 2.0])
    with pytest.raises(InputError, match="expected shapes"):
        enclose_implicit(
            _network(A4, 1, np.zeros((4, 0)), U4, V4), _inputs(np.zeros((1, 0))), [1.0]
        )
    with pytest.raises(InputError, match="at least one sample"):
        enclose_implicit(_network(A4, 1, W4, U4, V4), _inputs(np.zeros((0, 2))), [])

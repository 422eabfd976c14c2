"""Implicit ReLU networks: stored values, random networks against 200 bits, and hard places."""

from __future__ import annotations

import json
import os
import time
from fractions import Fraction
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from flint import arb, arb_mat, ctx, fmpq, fmpq_mat

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
from verify_kernels.implicit_relu import ImplicitState, enclose_implicit

VECTORS = json.loads(
    (Path(__file__).parents[1] / "vectors" / "convergence.json").read_text(encoding="utf-8")
)
CASES = [case for case in VECTORS["cases"] if case["kind"] == "implicit-relu"]
RELU = Activation("relu")
BITS = 200


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


def _ball_misses(found: Any, ball: Any) -> bool:
    known = Enclosure.from_arb(ball)
    return _misses(found, known.lo, known.hi)


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


# ---------------------------------------------------------------- an independent evaluation


def _ball(value: Fraction | float) -> Any:
    exact = Fraction(value)
    return arb(fmpq(exact.numerator, exact.denominator))


def _matrix(rows: Any) -> Any:
    table = np.asarray(rows, dtype=float)
    return arb_mat([[arb(float(x)) for x in row] for row in table.tolist()])


def _norm(entries: Any) -> Any:
    return sum((abs(x) ** 2 for x in entries), arb(0)).nonnegative_part().sqrt()


def _solve_sample(B: Any, b: Any, m: int) -> tuple[Any, list[int]] | None:
    """Return z and the signs of its pre-activations, proved by substitution, or None."""
    M = np.eye(m) - np.array([[float(B[i, k].mid()) for k in range(m)] for i in range(m)])
    bias, near = np.array([float(x.mid()) for x in b.entries()]), np.zeros(m)
    step = np.linalg.eigvalsh(M + M.T)[0] / 2 / np.linalg.norm(M, 2) ** 2
    for _ in range(5000):  # a contraction for monotone M
        near, before = np.maximum(near - step * (M @ near - bias), 0.0), near
        if np.array_equal(near, before):
            break
    live = [k for k in range(m) if near[k] - (M @ near - bias)[k] > 1e-10]
    z = arb_mat(m, 1)
    if live:
        block = arb_mat([[int(i == j) - B[i, j] for j in live] for i in live])
        part = block.solve(arb_mat([[b[k, 0]] for k in live]))
        for place, k in enumerate(live):
            z[k, 0] = part[place, 0]
    image = B * z + b
    signs = [1 if image[k, 0] > 0 else -1 if image[k, 0] < 0 else 0 for k in range(m)]
    wrong = any(signs[k] != 1 for k in live)
    wrong |= any(signs[k] == 1 or not image[k, 0] <= 0 for k in range(m) if k not in live)
    return None if wrong else (z, signs)


def _evaluate(A: Any, gamma: Any, W: Any, u: Any, v: Any, X: Any, divisor: int, y: Any) -> Any:
    """Return all quantities in balls of 200 bits by explicit inverses, or None if unproved."""
    m, n = len(A), len(X)
    g = _ball(gamma) / arb(m).sqrt()
    B = _matrix(A) * g
    U, V = _matrix(u), _matrix(v)
    Z, Phi, Y = [], [], []
    outer, inner = [], []
    samples = [[_ball(Fraction(float(x)) / divisor) for x in row] for row in X]
    for row in X:
        exact = [sum(Fraction(float(a)) * Fraction(float(x)) for a, x in zip(w, row, strict=True))
                 for w in np.asarray(W)]  # fmt: skip
        outer.append([(t > 0) - (t < 0) for t in exact])
        b = arb_mat([[_ball(max(Fraction(0), t) / divisor) / arb(m).sqrt()] for t in exact])
        solved = _solve_sample(B, b, m)
        if solved is None:
            return None
        Z.append(solved[0].entries())
        inner.append(solved[1])
        Phi.append(b.entries())
        Y.append((U.transpose() * solved[0] + V.transpose() * b).entries())
    R = [[a - arb(float(t)) for a, t in zip(row, want, strict=True)]
         for row, want in zip(Y, np.asarray(y).reshape(n, -1), strict=True)]  # fmt: skip
    F = arb_mat([z + p for z, p in zip(Z, Phi, strict=True)])
    found = {
        "outputs": Y, "Z": Z, "Phi": Phi, "residual": R,
        "r": _norm([x for row in R for x in row]),
        "F": F, "norm_Z0": _largest(arb_mat(Z)),
    }  # fmt: skip
    grads = {"u": arb_mat(Z).transpose() * arb_mat(R), "v": arb_mat(Phi).transpose() * arb_mat(R)}
    silent = [all(s < 0 for s in signs) or not np.any(row)
              for signs, row in zip(outer, X, strict=True)]  # fmt: skip
    smooth = all(
        quiet or (0 not in a and 0 not in c)
        for quiet, a, c in zip(silent, outer, inner, strict=True)
    )
    if smooth:
        by_A, by_W = arb_mat(m, m), arb_mat(m, len(samples[0]))
        for i in range(n):
            if silent[i]:
                continue
            D = arb_mat([[int(j == k and inner[i][j] > 0) for k in range(m)] for j in range(m)])
            E = arb_mat([[int(j == k and outer[i][j] > 0) for k in range(m)] for j in range(m)])
            one = arb_mat([[int(j == k) for k in range(m)] for j in range(m)])
            N = (one - D * B).inv() * D  # dz = N (g dA z + dphi)
            r = arb_mat([[x] for x in R[i]])
            by_A += N.transpose() * (U * r) * arb_mat([Z[i]]) * g
            reach = E * (V + N.transpose() * U) * r
            by_W += reach * arb_mat([samples[i]]) * (1 / arb(m).sqrt())
        grads |= {"A": by_A, "W": by_W}
    found["gradients"] = {name: _norm(value.entries()) for name, value in grads.items()}
    return found


def _eigenvalues(K: Any) -> list[Any]:
    """Roots of the characteristic polynomial of the middle, moved by the radii (Weyl)."""
    n = K.nrows()
    entries, radius = [], arb(0)
    for i in range(n):
        for k in range(n):
            ball = K[max(i, k), min(i, k)]
            mantissa, exponent = ball.mid().man_exp()
            entries.append(fmpq(mantissa) * fmpq(2) ** int(exponent))
            radius += ball.rad()
    polynomial = fmpq_mat(n, n, entries).charpoly().numer()
    moved = arb(0, radius.abs_upper())
    return [root.real + moved for root, _ in polynomial.complex_roots()]


def _largest(M: Any) -> Any:
    values = _eigenvalues(M * M.transpose())
    top = values[0]
    for value in values[1:]:
        top = top.max(value)
    return top.nonnegative_part().sqrt()


def _smallest(M: Any) -> Any:
    values = _eigenvalues(M * M.transpose())
    low = values[0]
    for value in values[1:]:
        low = low.min(value)
    return low.nonnegative_part().sqrt()


def _check(state: ImplicitState, known: Any) -> None:
    for i, row in enumerate(known["Z"]):
        for k, ball in enumerate(row):
            assert not _ball_misses(_entry(state.equilibria, i, k), ball)
            assert not _ball_misses(_entry(state.features, i, k), known["Phi"][i][k])
            if state.balls is not None:
                assert state.balls[0][i, k].overlaps(ball)
        for found, ball in zip(state.outputs[i], known["outputs"][i], strict=True):
            assert not _ball_misses(found, ball)
    flat = [ball for row in known["residual"] for ball in row]
    for mid, rad, ball in zip(state.residual_mid, state.residual_rad, flat, strict=True):
        ends = Fraction(float(mid)) - Fraction(float(rad)), Fraction(mid) + Fraction(rad)
        assert not _ball_misses(Enclosure(*ends), ball)
    assert not _ball_misses(state.residual_norm, known["r"])
    assert not _ball_misses(state.norm_Z0, known["norm_Z0"])
    assert not _ball_misses(state.s0, _smallest(known["F"]))
    for name in ("A", "W", "u", "v"):
        if name in known["gradients"]:
            assert not _ball_misses(state.gradient_norms[name], known["gradients"][name]), name
        else:
            assert _is_open(state.gradient_norms[name])
            assert _is_open(state.gradient_norm)
    if "A" in known["gradients"]:
        total = _norm(known["gradients"].values())
        assert not _ball_misses(state.gradient_norm, total)


def _draw(rng: np.random.Generator) -> tuple[Any, ...]:
    m, n, d, k = (int(rng.integers(1, top)) for top in (8, 5, 5, 4))
    coarse = rng.random() < 0.4

    def values(*shape: int) -> Any:
        drawn = rng.standard_normal(shape)
        return np.round(drawn * 2) / 2 if coarse else drawn * 2.0 ** rng.integers(-6, 7)

    gamma = [Fraction(1, 4), Fraction(1, 3), Fraction(-1, 5), Fraction(0)][rng.integers(4)]
    A = rng.standard_normal((m, m))
    A = np.round(A * 4) / 4 if coarse else A
    if rng.random() < 0.3:
        A = (A - A.T) * 4.0  # skew: mu0 = 1 whatever its norm
    X = values(n, d)
    if n > 1 and rng.random() < 0.3:
        X[-1] = X[0] * float(rng.choice([1.0, 2.0, -1.0, 0.0]))
    divisor = int(rng.choice([1, 2, 3, 255]))
    return A, gamma, values(m, d), values(m, k), values(m, k), X, divisor, values(n, k)


@pytest.mark.soundness
def test_campaign_of_random_networks() -> None:
    seed, start = 20_551, time.perf_counter()
    count = 600 if os.environ.get("VERIFY_CAMPAIGN") == "full" else 60
    rng = np.random.default_rng(seed)
    done = skipped = kinks = 0
    while done < count:
        A, gamma, W, u, v, X, divisor, y = _draw(rng)
        state = enclose_implicit(_network(A, gamma, W, u, v), _inputs(X, divisor), y,
                                 precise=done % 2 == 1)  # fmt: skip
        with ctx.workprec(BITS):
            known = _evaluate(A, gamma, W, u, v, X, divisor, y)
            if known is None or state.well_posed.value is not Truth.PROVED:
                skipped += 1
                continue
            _check(state, known)
            kinks += "A" not in known["gradients"]
        done += 1
    took = time.perf_counter() - start
    print(f"campaign implicit-relu: {count} cases, seed {seed}, {took:.1f} s, 0 wrong")
    assert skipped < count
    assert 0 < kinks < count


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
    with ctx.workprec(BITS):
        known = _evaluate(skew, 1, W4, U4[:, None], V4[:, None], X, 1, np.zeros(3))
        _check(state, known)


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
def test_a_near_dependence_is_no_dependence(precise: bool) -> None:
    X = [[1.0, 0.5], [1.0, 0.5 + 2.0**-50]]
    state = enclose_implicit(_network(A4, Fraction(1, 4), W4, U4, V4), _inputs(X), [0.0, 0.0],
                             precise=precise)  # fmt: skip
    found = state.s0.enclosure()
    assert found.hi > 0
    if precise:
        assert found.lo > 0
    with ctx.workprec(400):
        known = _evaluate(A4, Fraction(1, 4), W4, U4[:, None], V4[:, None], np.array(X), 1, [0, 0])
        assert not _ball_misses(found, _smallest(known["F"]))


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

"""Implicit ReLU networks against an independent evaluation in balls of 200 bits."""

from __future__ import annotations

import os
import time
from fractions import Fraction
from typing import Any

import numpy as np
import pytest
from flint import arb, arb_mat, ctx, fmpq, fmpq_mat

from verify.enclosure import Enclosure
from verify.network import Activation, Equilibrium, ReluFeatureInput, ScaledGaussianWeight
from verify.verdict import Truth
from verify_kernels.forward import Inputs
from verify_kernels.implicit_relu import ImplicitState, enclose_implicit

RELU = Activation("relu")
BITS = 200
BOTH = pytest.mark.parametrize("precise", [False, True], ids=["floats", "balls"])
W4 = np.array([[1.0, 0.5], [0.25, 1.0], [-1.0, 0.75], [-0.5, -1.0]])
A4 = np.array([[0.5, 1, 0, -1], [0, -1, 1, 0.5], [1, 0, 0.25, 1], [-1, 0.5, 1, 0.0]])
U4, V4 = np.array([1.0, -2, 0.5, 1]), np.array([0.5, 1, -1, 2.0])


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
def test_a_large_norm_with_a_monotone_margin(precise: bool) -> None:
    skew = 8.0 * (A4 - A4.T) - np.eye(4)
    X = np.array([[1.0, 0.5], [-0.25, 1.0], [2.0, -1.0]])
    state = enclose_implicit(_network(skew, 1, W4, U4, V4), _inputs(X), np.zeros(3),
                             precise=precise)  # fmt: skip
    with ctx.workprec(BITS):
        known = _evaluate(skew, 1, W4, U4[:, None], V4[:, None], X, 1, np.zeros(3))
        _check(state, known)

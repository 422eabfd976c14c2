"""G_inf and lambda_0: stored values, exact singularity, hard angles, and random weights."""

from __future__ import annotations

import json
import math
import os
import time
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from flint import arb, arb_mat, ctx, fmpq, fmpq_mat

from verify.enclosure import Enclosure
from verify.errors import InputError
from verify_kernels.forward import Inputs
from verify_kernels.implicit_relu import infinite_gram, limit_gram, spectrum
from verify_kernels.implicit_relu.limit_gram import is_singular

VECTORS = json.loads(
    (Path(__file__).parents[1] / "vectors" / "convergence.json").read_text(encoding="utf-8")
)
CASES = [case for case in VECTORS["cases"] if "G_inf" in case]
BOTH = pytest.mark.parametrize("precise", [False, True], ids=["floats", "balls"])


def _rows(stored: Any) -> Any:
    return np.array([[float.fromhex(x) for x in row] for row in stored])


def _misses(value: Enclosure, text: str) -> bool:
    exact = Fraction(text)
    slack = abs(exact) / 10**39  # the last of 40 digits may be off by one unit
    return bool(exact + slack < value.lo or exact - slack > value.hi)


def _around(mid: float, radius: float) -> Enclosure:
    low, high = Fraction(mid) - Fraction(radius), Fraction(mid) + Fraction(radius)
    return Enclosure(low, high)


@BOTH
@pytest.mark.parametrize("case", CASES, ids=[case["id"] for case in CASES])
def test_stored_values_are_contained(case: Any, precise: bool) -> None:
    found = infinite_gram(_rows(case["X"]), precise=precise)
    value = found.smallest.enclosure()
    assert not _misses(value, case["lambda_0"])
    assert (case["lambda_0"] == "0") == (value == Enclosure.exact(0))
    if precise and value.lo:
        assert value.width * 10**18 <= value.hi
    for i, row in enumerate(case["G_inf"]):
        for k, text in enumerate(row, start=i):
            ball = Enclosure.from_arb(found.balls[i, k])
            assert not _misses(ball, text)
            assert ball.width * 10**30 <= abs(ball.hi)
            assert not _misses(_around(found.mid[i, k], found.error), text)
            assert found.mid[i, k] == found.mid[k, i]


def test_the_smallest_angle_needs_balls() -> None:
    (case,) = [case for case in CASES if "1e-8" in case["name"]]
    floats = infinite_gram(_rows(case["X"])).smallest
    assert floats.enclosure().lo == 0
    assert floats.why_open
    balls = infinite_gram(_rows(case["X"]), precise=True).smallest.enclosure()
    assert balls.lo > 0
    assert balls.width * 10**18 <= balls.lo


@BOTH
@pytest.mark.parametrize("exponent", [-1074, -600, -300, -52, -26, -10])
def test_angles_down_to_the_least_subnormal(exponent: int, precise: bool) -> None:
    """X = (1, 0), (1, e): lambda_0 is about e^3/(6 pi sqrt ...): positive, and below e."""
    e = math.ldexp(1.0, exponent)
    for sign in (1.0, -1.0):
        value = infinite_gram([[1.0, 0.0], [sign, e]], precise=precise).smallest.enclosure()
        assert value.hi > 0
        assert value.lo > 0 or not precise or exponent < -600
        if sign > 0:
            assert value.lo < Fraction(e)


def test_parallel_and_antiparallel_entries_are_exact() -> None:
    x = np.array([0.1, 0.7, -0.3])
    found = infinite_gram(np.vstack([x, x, 3 * np.array([1.0, 2, 2]), -2 * np.array([1.0, 2, 2])]))
    square = sum(Fraction(t) ** 2 for t in x.tolist())
    assert Enclosure.from_arb(found.balls[0, 1]).contains(square / 2)
    assert found.balls[2, 3].is_zero()
    assert found.mid[2, 3] == 0.0
    assert Enclosure.from_arb(found.balls[2, 2]) == Enclosure.exact(Fraction(81, 2))


def test_the_divisor_scales_the_entries() -> None:
    X = np.array([[3.0, 4.0], [1.0, -2.0]])
    divided = infinite_gram(Inputs.of(X, (2,), 5))
    assert Enclosure.from_arb(divided.balls[0, 0]).contains(Fraction(1, 2))
    plain = infinite_gram(X)
    assert (plain.balls[0, 1] / 25).overlaps(divided.balls[0, 1])


# ---------------------------------------------------------------- singular or not


def _closed_form_smallest(X: Any, bits: int) -> Enclosure:
    """lambda_min by the acos form at high precision: Rayleigh above, Cholesky below."""
    n = len(X)
    with ctx.workprec(bits):
        exact = [[fmpq(*float(x).as_integer_ratio()) for x in row] for row in X]
        G = arb_mat(n, n)
        for i in range(n):
            for k in range(n):
                c = sum((a * b for a, b in zip(exact[i], exact[k], strict=True)), fmpq(0))
                a = sum((t * t for t in exact[i]), fmpq(0))
                b = sum((t * t for t in exact[k]), fmpq(0))
                size = (arb(a) * arb(b)).sqrt()
                cosine = (arb(c) / size).min(arb(1)).max(arb(-1))
                t = cosine.acos()
                G[i, k] = size * (t.sin() + (arb.pi() - t) * cosine) / (2 * arb.pi())
        rows = [[G[max(i, k), min(i, k)] for k in range(n)] for i in range(n)]
        near, radius = [], arb(0)
        for row in rows:
            for ball in row:
                mantissa, exponent = ball.mid().man_exp()
                near.append(fmpq(mantissa) * fmpq(2) ** int(exponent))
                radius += ball.rad()
        polynomial = fmpq_mat(n, n, near).charpoly().numer()
        values = [root.real for root, _ in polynomial.complex_roots()]
        low = values[0]
        for value in values[1:]:
            low = low.min(value)
        return Enclosure.from_arb(low + arb(0, radius.abs_upper()))


def _draw(rng: np.random.Generator) -> Any:
    """Coarse rows with many parallel and antiparallel pairs, so that about half are singular."""
    d = int(rng.integers(1, 5))
    n = int(rng.integers(1, 7))
    basis = np.round(rng.standard_normal((3, d)) * 2) / 2
    rows = []
    for _ in range(n):
        row = basis[rng.integers(3)] * float(rng.choice([1.0, -1.0, -2.0, 0.5]))
        if rng.random() < 0.5:
            row = np.round(rng.standard_normal(d) * 4) / 4
        rows.append(row)
    X = np.array(rows)
    if rng.random() < 0.2:
        X = np.vstack([X, -X])
    return X[np.any(X, axis=1)] if rng.random() < 0.9 and np.any(X) else X


@pytest.mark.soundness
def test_campaign_of_singularity_and_values() -> None:
    seed, start = 51_054, time.perf_counter()
    count = 1000 if os.environ.get("VERIFY_CAMPAIGN") == "full" else 100
    rng = np.random.default_rng(seed)
    singular = 0
    for case in range(count):
        X = _draw(rng)
        found = infinite_gram(X, precise=case % 2 == 0)
        value = found.smallest.enclosure()
        if not np.any(X, axis=1).all():
            assert value == Enclosure.exact(0)
            singular += 1
            continue
        known = _closed_form_smallest(X, 300)
        assert not known.hi < value.lo
        assert not known.lo > value.hi
        # coarse rows: a nonzero eigenvalue is far above what 300 bits resolve
        assert (value == Enclosure.exact(0)) == (known.lo <= 0)
        singular += value.hi == 0
    took = time.perf_counter() - start
    print(f"campaign infinite-gram: {count} cases, seed {seed}, {took:.1f} s, 0 wrong")
    assert count // 10 < singular < count


def test_what_makes_functions_dependent() -> None:
    assert is_singular([[1, 2], [0, 0]])
    assert is_singular([[1, 2], [2, 4]])
    assert not is_singular([[1, 2], [-2, -4]])
    assert not is_singular([[1, 0], [-1, 0], [0, 1], [0, -1]])
    assert is_singular([[1, 0], [-1, 0], [0, 1], [0, -2], [3, 3], [-1, -1]])
    # the third line lacks its partner, so nothing cancels its kink
    assert not is_singular([[1, 0], [-1, 0], [0, 1], [0, -2], [3, 3]])


def test_random_weights_agree_within_their_own_confidence() -> None:
    rng = np.random.default_rng(3)
    X = rng.standard_normal((4, 3)) * np.array([[0.1], [1.0], [2.0], [5.0]])
    X[3] = -2 * X[2]
    found = infinite_gram(X)
    features = np.maximum(rng.standard_normal((200_000, 3)) @ X.T, 0.0)
    for i in range(4):
        for k in range(4):
            products = features[:, i] * features[:, k]
            spread = products.std() / math.sqrt(len(products))
            assert abs(products.mean() - found.mid[i, k]) <= 6.0 * spread + found.error


def test_removing_the_radius_of_the_entries_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Equal functions but for 2^-26: the true lambda_0 lies between those of rounded matrices."""
    rng = np.random.default_rng(11)
    wrong = {False: 0, True: 0}
    for mutated in (False, True):
        if mutated:
            monkeypatch.setattr(limit_gram, "norm_up", lambda values: 0.0)
        for _ in range(20):
            X = rng.standard_normal((3, 2))
            value = infinite_gram(X).smallest.enclosure()
            known = _closed_form_smallest(X, 300)
            wrong[mutated] += known.hi < value.lo or known.lo > value.hi
    assert wrong[False] == 0
    assert wrong[True] > 0


def test_removing_the_radius_of_balls_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Entries known to 30 bits only: without Weyl's term the middle decides, wrongly."""
    rng = np.random.default_rng(12)
    original = spectrum._middle
    wrong = {False: 0, True: 0}
    for mutated in (False, True):
        if mutated:
            monkeypatch.setattr(spectrum, "_middle", lambda b: (original(b)[0], Fraction(0)))
        for _ in range(20):
            a, b = (float(x) for x in rng.standard_normal(2))
            exact = arb_mat([[arb(a * a), arb(a) * arb(b)], [arb(a) * arb(b), arb(b) * arb(b)]])
            coarse = arb_mat(2, 2)
            for i in range(2):
                for k in range(2):
                    slip = arb(float(rng.uniform(-1, 1))) * arb(2) ** -30
                    coarse[i, k] = exact[i, k] + slip + arb(0, 2.0**-29)
            true = Fraction(a) ** 2 + Fraction(b) ** 2
            value = spectrum.largest_of_balls(coarse)
            wrong[mutated] += not value.lo <= true <= value.hi
    assert wrong[False] == 0
    assert wrong[True] > 0


def test_large_and_small_rows() -> None:
    tiny = infinite_gram([[1e-200, 0.0], [0.0, 1e-200]])
    assert tiny.smallest.enclosure().hi > 0
    huge = infinite_gram([[1e200, 0.0], [0.0, 1e200]], precise=True)
    assert huge.smallest.enclosure().lo > 10**399
    floats = infinite_gram([[1e200, 0.0], [0.0, 1e200]])
    assert floats.error == math.inf
    assert floats.smallest.why_open


def test_what_is_refused() -> None:
    with pytest.raises(InputError, match="expected at least one sample"):
        infinite_gram(np.zeros((0, 3)))
    assert infinite_gram(np.zeros((2, 0))).smallest.enclosure() == Enclosure.exact(0)
    with pytest.raises(InputError, match="expected finite entries"):
        infinite_gram([[math.nan, 1.0]])

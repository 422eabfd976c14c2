"""Definiteness and the smallest eigenvalue against 40-digit values and exact pivots."""

import json
import math
import os
import time
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from flint import arb, ctx, fmpz_mat

from verify.enclosure import Enclosure
from verify.errors import InputError
from verify_kernels import definiteness
from verify_kernels._rounding import ETA, MAX
from verify_kernels.definiteness import enclose_smallest_eigenvalue, proves_definite
from verify_kernels.matrix import MatrixEnclosure, enclose_rational, rational_matrix

VECTORS = Path(__file__).parents[1] / "vectors" / "linear_algebra.json"
CASES = json.loads(VECTORS.read_text(encoding="utf-8"))["cases"]
FINITE = [case for case in CASES if "expected_error" not in case]
SYMMETRIC = [case for case in FINITE if case.get("symmetric")]
FULL = os.environ.get("VERIFY_CAMPAIGN") == "full"


def matrix_of(case):
    rows = [[float.fromhex(x) for x in row] for row in case["A"]]
    return np.array(rows, dtype=np.float64).reshape(case["shape"])


def integers_of(matrix):
    ratios = [float(x).as_integer_ratio() for x in np.asarray(matrix).ravel()]
    power = max((q.bit_length() - 1 for _, q in ratios), default=0)
    entries = [p << (power - q.bit_length() + 1) for p, q in ratios]
    return fmpz_mat(*matrix.shape, entries), power


def exceeds(matrix, c):
    """Whether lambda_min(K) > c: the pivots of K - c are positive."""
    integers, power = integers_of(matrix)
    shift, n = Fraction(c) * 2**power, matrix.shape[0]
    for bits in (300, 2000, 80_000):  # the last exceeds Hadamard's bound: only zero is left
        with ctx.workprec(bits):
            rows = [
                [arb(int(integers[i, j]) * shift.denominator) for j in range(n)] for i in range(n)
            ]
            for i in range(n):
                rows[i][i] -= shift.numerator
            sign = 1
            for k in range(n):
                pivot = rows[k][k]
                sign = 1 if pivot > 0 else -1 if pivot < 0 else 0
                if sign <= 0:
                    break
                for i in range(k + 1, n):
                    ratio = rows[i][k] / pivot
                    for j in range(k + 1, i + 1):
                        rows[i][j] -= ratio * rows[j][k]
        if sign:
            return sign > 0
    return False


def contains(value, matrix):
    spread = Fraction(float(np.abs(matrix).max())) / 2**200
    if value.hi != math.inf and exceeds(matrix, value.hi + spread):
        return False
    return value.lo == -math.inf or exceeds(matrix, value.lo - spread)


def form_is_below(matrix, c, vector):
    """Whether v^T K v < c v^T v, exactly: a proof of lambda_min(K) < c."""
    integers, power = integers_of(matrix)
    v, _ = integers_of(vector.reshape(-1, 1))
    left = int((v.transpose() * (integers * v))[0, 0])
    return left < Fraction(c) * 2**power * sum(int(x) ** 2 for x in v.entries())


@pytest.fixture
def float_path(monkeypatch):
    monkeypatch.setattr(definiteness, "SMALL", 0)


@pytest.mark.parametrize("case", SYMMETRIC, ids=lambda case: case["id"])
def test_enclosure_contains_the_value_to_40_digits(case):
    lo, hi = (Fraction(x) for x in case["expected"]["lambda_min"])
    value = enclose_smallest_eigenvalue(matrix_of(case)).value
    assert value.lo <= hi
    assert value.hi >= lo


@pytest.mark.parametrize("case", SYMMETRIC, ids=lambda case: case["id"])
def test_float_path_contains_the_value_to_40_digits(case, float_path):
    lo, hi = (Fraction(x) for x in case["expected"]["lambda_min"])
    matrix = matrix_of(case)
    for aim in (None, Enclosure.exact(0), Enclosure.exact(-1)):
        value = enclose_smallest_eigenvalue(matrix, aim=aim).value
        assert value.lo <= hi
        assert value.hi >= lo


@pytest.mark.parametrize("case", SYMMETRIC, ids=lambda case: case["id"])
def test_definiteness_is_proved_only_where_it_holds(case, monkeypatch):
    matrix, definite = matrix_of(case), case["expected"]["positive_definite"]
    lo = Fraction(case["expected"]["lambda_min"][0])
    above = float.fromhex(case["lambda_min_floats"][1])
    for small in (0, definiteness.SMALL):
        monkeypatch.setattr(definiteness, "SMALL", small)
        assert not (proves_definite(matrix) and not definite)
        assert not proves_definite(matrix, at_least=above)
        assert not proves_definite(matrix, at_least=above + abs(above) * 1e-14)
    if matrix.shape[0] <= definiteness.SMALL:
        assert proves_definite(matrix) == definite
        assert proves_definite(matrix, at_least=lo - abs(lo) / 10**30 - Fraction(1, 2**1100))


@pytest.mark.parametrize(
    "case", [c for c in FINITE if c.get("symmetric") is False], ids=lambda case: case["id"]
)
def test_trap_a_matrix_that_is_not_symmetric_is_refused(case):
    """POTRF reads one triangle: [[1, 0], [100, 1]] was "proved" lambda_min >= 0.9."""
    for kernel in (proves_definite, enclose_smallest_eigenvalue):
        with pytest.raises(InputError, match="expected a symmetric matrix, but got"):
            kernel(matrix_of(case))


def test_trap_one_triangle_only():
    with pytest.raises(InputError, match="expected a symmetric matrix"):
        proves_definite([[1.0, 0.0], [100.0, 1.0]], at_least=0.9)
    large = np.eye(100)
    large[99, 0] = ETA
    with pytest.raises(InputError, match=r"at \[0, 99\]"):
        proves_definite(large)


@pytest.mark.parametrize("case", [c for c in CASES if "expected_error" in c], ids=lambda c: c["id"])
def test_not_finite_is_refused(case):
    for kernel in (proves_definite, enclose_smallest_eigenvalue):
        with pytest.raises(InputError, match="expected"):
            kernel(matrix_of(case))


def test_shapes_and_errors_that_are_refused():
    with pytest.raises(InputError, match=r"expected a matrix of shape \(m, m\)"):
        proves_definite(np.ones((2, 3)))
    with pytest.raises(InputError, match="expected n >= 1"):
        enclose_smallest_eigenvalue(np.zeros((0, 0)))
    for error in (-1.0, math.nan):
        with pytest.raises(InputError, match="expected an error >= 0"):
            proves_definite(np.eye(3), error=error)
    assert proves_definite(np.zeros((0, 0)))
    assert proves_definite(np.eye(20), at_least=np.float32(0.5), error=np.float32(0.25))


@pytest.mark.parametrize("n", [2, 40])
def test_strictness_at_exact_values(n):
    for w in (1.0, 0.25, 3.0):
        assert not proves_definite(w * np.eye(n), at_least=w)
        assert proves_definite(w * np.eye(n), at_least=w * (1 - 1e-9))
        assert not proves_definite(w * np.eye(n), at_least=w / 2, error=w / 2)
        assert proves_definite(w * np.eye(n), at_least=w / 2, error=w / 2 * (1 - 1e-9))
    assert not proves_definite(np.eye(n), at_least=math.nan)
    assert not proves_definite(np.eye(n), at_least=math.inf)
    assert not proves_definite(np.eye(n), error=math.inf)
    assert proves_definite(-np.eye(n), at_least=-math.inf)
    assert proves_definite(-np.eye(n), at_least=-1.5)
    assert not proves_definite(np.zeros((n, n)))


def test_signed_zeros_are_symmetric():
    matrix = np.eye(20)
    matrix[0, 1] = -0.0
    assert proves_definite(matrix)


@pytest.mark.parametrize("n", [2, 20, 33])
def test_error_ball_is_covered(n):
    draw = np.random.default_rng(n)
    factor = draw.standard_normal((n, 2 * n))
    matrix = factor @ factor.T
    matrix = (matrix + matrix.T) / 2
    least = float(np.linalg.eigvalsh(matrix)[0])
    assert proves_definite(matrix, error=0.99 * least)
    assert not proves_definite(matrix, error=1.01 * least)
    value = enclose_smallest_eigenvalue(matrix, error=0.5).value
    direction = np.linalg.eigh(matrix)[1][:, 0]
    for sign in (-0.5, 0.5):
        moved = matrix + sign * np.outer(direction, direction)
        moved = (moved + moved.T) / 2
        assert value.lo <= Fraction(float(np.linalg.eigvalsh(moved)[0])) + Fraction(1, 10**9)
    assert value.width >= 1
    radius = MatrixEnclosure(matrix, np.full((n, n), 1e-6))
    assert proves_definite(radius)
    assert not proves_definite(MatrixEnclosure(matrix, np.full((n, n), math.inf)))
    infinite = enclose_smallest_eigenvalue(matrix, error=math.inf)
    assert infinite.value == Enclosure.unbounded()
    assert infinite.why_open


def test_small_rational_matrix_uses_its_exact_entries():
    third = rational_matrix(np.array([[2.0, 1.0], [1.0, 2.0]])) / 3
    enclosed = enclose_rational(third)
    value = enclose_smallest_eigenvalue(enclosed).value
    assert value.lo <= Fraction(1, 3) <= value.hi
    assert proves_definite(enclosed, at_least=Fraction(1, 3) - Fraction(1, 10**40))
    assert not proves_definite(enclosed, at_least=Fraction(1, 3))


@pytest.mark.parametrize("power", [8, 16, 60, 260])
def test_scaled_claims_at_zero_keep_their_range(power):
    """Diagonal over many orders of magnitude: the unscaled proof fails at 1e-8 already."""
    draw = np.random.default_rng(power)
    factor = draw.standard_normal((30, 90))
    base = factor @ factor.T
    scales = 2.0 ** draw.integers(-power, power + 1, 30)
    matrix = scales[:, None] * ((base + base.T) / 2) * scales
    assert proves_definite(matrix)
    assert exceeds(matrix, 0)
    value = enclose_smallest_eigenvalue(matrix, aim=Enclosure.exact(0)).value
    assert value.lo > 0
    assert contains(value, matrix)


def test_trap_scaling_by_one_factor_at_a_time_underflows():
    """K_ij s_i may underflow where K_ij s_i s_j does not; and K_ii <= 0 is refused first."""
    matrix = np.full((20, 20), 2.0**-600)
    matrix[np.arange(20), np.arange(20)] = 2.0 ** -np.linspace(0, 1000, 20).round()
    assert proves_definite(matrix) <= exceeds(matrix, 0)
    for bad in (0.0, -1.0, -ETA):
        matrix[3, 3] = bad
        assert not proves_definite(matrix)
    with np.errstate(under="ignore"):
        subnormal = np.eye(20) * 2.0**-1000 + np.full((20, 20), ETA)
    assert proves_definite(subnormal)


@pytest.mark.parametrize("scale", [MAX / 64, 1e300, 1e-300, ETA])
def test_overflowing_and_underflowing_data(scale):
    draw = np.random.default_rng(11)
    upper = np.round(draw.uniform(-1.2, 1.2, (20, 20)))
    with np.errstate(under="ignore", over="ignore"):
        matrix = scale * (np.triu(upper) + np.triu(upper, 1).T + 24 * np.eye(20))
    value = enclose_smallest_eigenvalue(matrix).value
    assert contains(value, matrix)
    assert value.lo > 0
    assert proves_definite(matrix)
    assert not proves_definite(-matrix)


def symmetric(draw, kind, n):
    factor = draw.standard_normal((n, n + int(draw.integers(0, n + 1))))
    matrix = factor @ factor.T
    if kind == "indefinite":
        matrix = draw.standard_normal((n, n))
    elif kind == "integers":
        matrix = np.round(2 * draw.standard_normal((n, n)))
    elif kind == "singular":
        factor[-1] = factor[0]
        matrix = np.round(4 * factor) @ np.round(4 * factor).T
    elif kind == "graded":
        scales = 2.0 ** draw.integers(-40, 41, n)
        matrix = scales[:, None] * matrix * scales
    elif kind == "huge":
        matrix = matrix * 1e300
    elif kind == "tiny":
        matrix = matrix * 1e-300
    elif kind == "subnormal":
        matrix = np.round(8 * matrix) * ETA
    return np.triu(matrix) + np.triu(matrix, 1).T


KINDS = (
    "wishart",
    "indefinite",
    "integers",
    "singular",
    "graded",
    "huge",
    "tiny",
    "subnormal",
)


def false_claims(count, seed, largest=32, kinds=KINDS):
    """Symmetric K, claims c and exact proofs that lambda_min(K) < c."""
    draw, produced = np.random.default_rng(seed), 0
    while produced < count:
        matrix = symmetric(draw, kinds[produced % len(kinds)], int(draw.integers(2, largest)))
        scale = float(np.abs(matrix).max())
        if scale == 0.0:
            continue
        exponent = math.frexp(scale)[1]
        values, vectors = np.linalg.eigh(np.ldexp(matrix, -exponent))
        slack = 10.0 ** draw.uniform(-16, -7) if produced % 2 else draw.integers(1, 9) * 2.0**-53
        with np.errstate(over="ignore"):
            c = float(np.ldexp(values[0] + slack * max(abs(values[0]), 1e-3), exponent))
        if math.isfinite(c) and form_is_below(matrix, c, vectors[:, 0]):
            produced += 1
            yield matrix, c


@pytest.mark.soundness
@pytest.mark.parametrize("lapack", ["identified", "unknown"])
def test_campaign_no_claim_above_the_smallest_eigenvalue_is_ever_proved(
    float_path, lapack, monkeypatch
):
    """With the a-priori bound of OpenBLAS, and with residuals that trust the product only."""
    module = definiteness.get_backend("numpy")
    if lapack == "unknown":
        monkeypatch.setattr(module, "lapack_is_conventional", lambda: False)
    count, seed, start = (10_000 if FULL else 1_000), 20060434, time.perf_counter()
    wrong = 0
    for matrix, c in false_claims(count, seed):
        wrong += proves_definite(matrix, at_least=c)
        wrong += proves_definite(matrix, at_least=c / 2, error=abs(c)) and c > 0
    seconds = time.perf_counter() - start
    name = f"definiteness, LAPACK {lapack}"
    print(f"campaign {name}: {count} cases, seed {seed}, {seconds:.1f} s, {wrong} wrong")
    assert wrong == 0


@pytest.mark.soundness
def test_campaign_enclosures_contain_the_smallest_eigenvalue(float_path):
    count, seed, start = (2_000 if FULL else 200), 1846, time.perf_counter()
    draw, wrong = np.random.default_rng(seed), 0
    for k in range(count):
        matrix = symmetric(draw, KINDS[k % len(KINDS)], int(draw.integers(2, 14)))
        aim = Enclosure.exact(0) if k % 3 else None
        wrong += not contains(enclose_smallest_eigenvalue(matrix, aim=aim).value, matrix)
    seconds = time.perf_counter() - start
    print(
        f"campaign smallest eigenvalue: {count} cases, seed {seed}, {seconds:.1f} s, {wrong} wrong"
    )
    assert wrong == 0


def test_mutation_without_the_cholesky_defect_a_false_claim_is_proved(float_path, monkeypatch):
    module = definiteness.get_backend("numpy")
    monkeypatch.setattr(module, "defect_ahead", lambda n, trace, largest: 0.0)
    monkeypatch.setattr(
        module, "cholesky_defect", lambda B: 0.0 if module.factorise(B) else math.inf
    )
    monkeypatch.setattr(definiteness, "down_array", lambda x: x)
    claims = false_claims(1500, 3, 6, ("wishart", "indefinite"))
    assert any(proves_definite(matrix, at_least=c) for matrix, c in claims)


def test_mutation_without_the_form_error_an_upper_end_is_false(float_path, monkeypatch):
    monkeypatch.setattr(definiteness, "gamma", lambda k: 0.0)
    for name in ("norm_up", "norm_down"):
        monkeypatch.setattr(definiteness, name, lambda v: float(np.linalg.norm(v)))
    monkeypatch.setattr(definiteness, "div_up", lambda a, b: a / b)
    monkeypatch.setattr(definiteness, "add_up", lambda *terms: sum(terms))
    monkeypatch.setattr(definiteness, "up", lambda x: x)
    draw, broken = np.random.default_rng(2), 0
    module = definiteness.get_backend("numpy")
    for _ in range(60):
        matrix = symmetric(draw, "wishart", 8)
        value = definiteness._rayleigh_up(matrix, np.linalg.eigh(matrix)[1][:, 0], module)
        broken += exceeds(matrix, value)
    assert broken > 0

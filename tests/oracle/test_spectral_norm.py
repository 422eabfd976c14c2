"""The spectral norm against 40-digit values, exact minors and adversarial claims."""

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
from verify_kernels import spectral_norm
from verify_kernels._rounding import ETA, MAX, OMEGA
from verify_kernels.matrix import MatrixEnclosure, enclose_rational, rational_matrix
from verify_kernels.spectral_norm import enclose_spectral_norm, proves_norm_at_most

VECTORS = Path(__file__).parents[1] / "vectors" / "linear_algebra.json"
CASES = json.loads(VECTORS.read_text(encoding="utf-8"))["cases"]
FINITE = [case for case in CASES if "expected_error" not in case]
FULL = os.environ.get("VERIFY_CAMPAIGN") == "full"
BACKENDS = ["numpy", "numba"]


def matrix_of(case):
    rows = [[float.fromhex(x) for x in row] for row in case["A"]]
    return np.array(rows, dtype=np.float64).reshape(case["shape"])


def integers_of(matrix):
    """The integer matrix I and p with A = I 2^-p."""
    ratios = [float(x).as_integer_ratio() for x in np.asarray(matrix).ravel()]
    power = max((q.bit_length() - 1 for _, q in ratios), default=0)
    entries = [p << (power - q.bit_length() + 1) for p, q in ratios]
    return fmpz_mat(*matrix.shape, entries), power


def is_positive_definite(entries):
    """Signs of the pivots of a symmetric integer matrix in ball arithmetic."""
    for bits in (300, 2000, 80_000):  # the last exceeds Hadamard's bound: only zero is left
        with ctx.workprec(bits):
            rows, signs = [[arb(x) for x in row] for row in entries], []
            for k in range(len(rows)):
                pivot = rows[k][k]
                signs.append(1 if pivot > 0 else -1 if pivot < 0 else 0)
                if signs[-1] <= 0:
                    break
                for i in range(k + 1, len(rows)):
                    ratio = rows[i][k] / pivot
                    for j in range(k + 1, i + 1):
                        rows[i][j] -= ratio * rows[j][k]
        if signs[-1]:
            return signs[-1] > 0
    return False


def is_below(matrix, c):
    """Whether ||A||_2 < c, exactly: c^2 - A^T A is positive definite."""
    integers, power = integers_of(matrix if matrix.shape[0] >= matrix.shape[1] else matrix.T)
    gram = integers.transpose() * integers
    square, n = Fraction(c) ** 2 * 4**power, gram.nrows()
    rows = [[-int(gram[i, j]) * square.denominator for j in range(n)] for i in range(n)]
    for i in range(n):
        rows[i][i] += square.numerator
    return is_positive_definite(rows)


def norm_exceeds(matrix, c, vector):
    """Whether ||A v|| > c ||v||, exactly: a proof of ||A||_2 > c."""
    integers, power = integers_of(matrix)
    v, _ = integers_of(vector.reshape(-1, 1))
    image = integers * v
    left = sum(int(x) ** 2 for x in image.entries())
    return left > Fraction(c) ** 2 * 4**power * sum(int(x) ** 2 for x in v.entries())


def contains(value, matrix):
    """Whether the enclosure contains the norm, decided exactly."""
    if value.lo > 0 and is_below(matrix, value.lo):
        return False
    return value.hi == math.inf or is_below(matrix, value.hi * (1 + Fraction(1, 2**200)))


@pytest.fixture
def float_path(monkeypatch):
    """Send small matrices through the floating-point path too."""
    monkeypatch.setattr(spectral_norm, "SMALL", 0)


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("case", FINITE, ids=lambda case: case["id"])
def test_enclosure_contains_the_value_to_40_digits(case, backend):
    matrix = matrix_of(case)
    lo, hi = (Fraction(x) for x in case["expected"]["norm2"])
    value = enclose_spectral_norm(matrix, backend=backend).value
    assert value.lo <= hi
    assert value.hi >= lo
    if hi > 0:
        assert value.width <= hi * Fraction(1, 10**8)  # tightness


@pytest.mark.parametrize("case", FINITE, ids=lambda case: case["id"])
def test_float_path_contains_the_value_to_40_digits(case, float_path):
    lo, hi = (Fraction(x) for x in case["expected"]["norm2"])
    value = enclose_spectral_norm(matrix_of(case)).value
    assert value.lo <= hi
    assert value.hi >= lo


@pytest.mark.parametrize("case", FINITE, ids=lambda case: case["id"])
def test_no_claim_below_the_norm_is_proved(case, monkeypatch):
    matrix, truth = matrix_of(case), Fraction(case["expected"]["norm2"][0])
    below, above = (float.fromhex(x) for x in case["norm2_floats"])
    claims = [below * (1 - t) for t in (2.0**-52, 1e-14, 1e-12, 1e-9, 1e-6)]
    claims += [below] if below != above else []
    for small in (0, spectral_norm.SMALL):
        monkeypatch.setattr(spectral_norm, "SMALL", small)
        for c in claims:
            assert not (Fraction(c) < truth and proves_norm_at_most(matrix, c))
    room = Fraction(case["expected"]["norm2"][1]) * Fraction(10**6 + 1, 10**6)
    assert proves_norm_at_most(matrix, room)


@pytest.mark.parametrize(
    "case", [case for case in CASES if "expected_error" in case], ids=lambda case: case["id"]
)
def test_not_finite_is_refused(case):
    for kernel in (enclose_spectral_norm, lambda matrix: proves_norm_at_most(matrix, 1e300)):
        with pytest.raises(InputError, match=r"expected finite entries, but got"):
            kernel(matrix_of(case))


@pytest.mark.parametrize("n", [17, 24, 40])
@pytest.mark.parametrize("kind", ["rotations", "jordan", "ginibre", "graded", "orthogonal", "wide"])
def test_enclosure_contains_the_exact_norm_of_structured_matrices(kind, n):
    draw = np.random.default_rng([n, len(kind)])
    matrix = {
        "rotations": lambda: np.kron(np.eye(n // 2), 1.5 * np.array([[0.8, -0.6], [0.6, 0.8]])),
        "jordan": lambda: 0.9 * np.eye(n) + np.diag(np.ones(n - 1), 1),
        "ginibre": lambda: draw.standard_normal((n, n)) / np.sqrt(n),
        "graded": lambda: draw.standard_normal((n, n)) * 2.0 ** -np.arange(n)[:, None],
        "orthogonal": lambda: np.linalg.qr(draw.standard_normal((n, n)))[0],
        "wide": lambda: draw.standard_normal((n, 3 * n)),
    }[kind]()
    for aim in (None, Enclosure.exact(1), Enclosure.exact(1.5), Enclosure.exact(100)):
        value = enclose_spectral_norm(matrix, aim=aim).value
        assert contains(value, matrix)


@pytest.mark.parametrize("pattern", [[[3, -4], [4, 3]]])
@pytest.mark.parametrize("copies", [1, 4, 16])
def test_scaled_rotations_have_an_exact_norm(pattern, copies):
    matrix = np.kron(np.eye(copies), np.array(pattern) * 0.25)
    value = enclose_spectral_norm(matrix).value
    assert value.contains(Fraction(5, 4))
    assert value.is_exact == (2 * copies <= spectral_norm.SMALL)


def test_one_by_one_is_its_modulus():
    for w in (1 - 2.0**-52, -0.75, 0.0, ETA, -MAX):
        value = enclose_spectral_norm([[w]]).value
        assert value == Enclosure.exact(abs(w))
        assert proves_norm_at_most([[w]], abs(w))
    assert enclose_spectral_norm([[1 - 2.0**-52]], aim=Enclosure.exact(1)).value.hi < 1


def test_permutation_like_matrices_are_exact_at_any_size():
    matrix = np.zeros((50, 70))
    matrix[np.arange(50), np.random.default_rng(0).permutation(70)[:50]] = -0.3
    matrix[3] = 0.0
    assert enclose_spectral_norm(matrix).value == Enclosure.exact(0.3)


def test_empty_matrices_have_norm_zero():
    for shape in ((0, 0), (0, 5), (5, 0)):
        assert enclose_spectral_norm(np.zeros(shape)).value == Enclosure.exact(0)
        assert proves_norm_at_most(np.zeros(shape), 0.0)


def test_small_norm_that_is_a_float_is_found_exactly():
    hadamard = np.array([[1, 1, 1, 1], [1, -1, 1, -1], [1, 1, -1, -1], [1, -1, -1, 1]]) / 2
    assert enclose_spectral_norm(hadamard).value == Enclosure.exact(1)
    assert proves_norm_at_most(hadamard, 1.0)
    assert not proves_norm_at_most(hadamard, 1.0 - 2.0**-53)


@pytest.mark.parametrize("c", [-2.0, -0.0 - ETA, math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("n", [2, 30])
def test_trap_negative_or_infinite_claim_is_never_proved(c, n):
    """Only c^2 enters the proof: c = -2 "proves" ||I|| <= -2."""
    matrix = np.eye(n) + np.diag(np.ones(n - 1), 1) / 8
    assert not proves_norm_at_most(matrix, c)
    assert proves_norm_at_most(matrix, 2.0)


def test_trap_rayleigh_bound_with_squares_that_underflow():
    """Without the underflow terms A = 1.6e-161 I_100 was given the lower bound 2.2e-161."""
    matrix = 1.6e-161 * np.eye(100)
    unscaled = spectral_norm._Scaled(matrix, 0, 0.0, 0.0)
    vector = np.ones(100)
    naive = np.linalg.norm(matrix @ vector) / 10
    assert naive > 1.6e-161  # the trap is real
    module = spectral_norm.get_backend("numpy")
    assert spectral_norm._rayleigh_down(unscaled, vector, module) <= 1.6e-161
    full = 1.6e-161 * (np.eye(20) + 0.01)
    assert contains(enclose_spectral_norm(full).value, full)


def test_trap_scaling_that_loses_entries_is_accounted_for(float_path):
    """2^-e A is exact only if nothing underflows: here every entry but one does."""
    matrix = np.full((20, 20), 3 * ETA)
    matrix[0, 0] = 2.0**1000
    value = enclose_spectral_norm(matrix).value
    assert value.hi > 2**1000
    assert contains(value, matrix)
    assert not proves_norm_at_most(matrix, 2.0**1000)


def test_trap_nan_that_cholesky_accepts_proves_nothing():
    """OpenBLAS reports success for NaN at any position."""
    module = spectral_norm.get_backend("numpy")
    for n in (3, 20, 65, 300):
        for i, j in ((0, 0), (0, n - 1), (n // 2, n // 2), (n - 1, n - 1), (n // 3, n // 2)):
            for bad in (math.nan, math.inf):
                matrix = np.asfortranarray(np.eye(n))
                matrix[i, j] = bad
                assert module.cholesky_defect(matrix) == math.inf


@pytest.mark.parametrize("scale", [1e300, 1e-300, MAX / 64, ETA, OMEGA, 1e-160])
@pytest.mark.parametrize("shape", [(3, 3), (20, 30), (24, 24)])
def test_overflowing_and_underflowing_data(scale, shape):
    draw = np.random.default_rng(7)
    with np.errstate(under="ignore"):
        matrix = scale * np.round(draw.uniform(-8, 8, shape))
    matrix[1] = 0.0
    value = enclose_spectral_norm(matrix).value
    assert contains(value, matrix)
    assert value.width <= value.hi * Fraction(1, 10**8)
    assert proves_norm_at_most(matrix, value.hi)


def test_norm_above_the_largest_float_has_a_finite_upper_end():
    matrix = np.full((20, 20), MAX)
    value = enclose_spectral_norm(matrix).value
    assert value.lo <= 20 * Fraction(MAX) <= value.hi < Fraction(MAX) * 21


def test_aim_decides_in_both_directions():
    draw = np.random.default_rng(3)
    matrix = draw.standard_normal((40, 40))
    matrix /= np.linalg.norm(matrix, 2)
    one = Enclosure.exact(1)
    assert enclose_spectral_norm(matrix * 0.999, aim=one).value.hi < 1
    assert enclose_spectral_norm(matrix * 1.001, aim=one).value.lo > 1
    assert enclose_spectral_norm(matrix * 0.01, aim=one).value.hi < 1
    assert enclose_spectral_norm(matrix * 0.99, aim=Enclosure.exact(-1)).value.hi < 1


def test_enclosed_matrices_are_all_covered():
    draw = np.random.default_rng(5)
    for n in (4, 30):
        mid, rad = draw.standard_normal((n, n)), np.full((n, n), 1e-3)
        value = enclose_spectral_norm(MatrixEnclosure(mid, rad)).value
        for _ in range(5):
            inside = mid + 1e-3 * draw.choice([-1.0, 1.0], (n, n)) * (1 - 1e-9)
            assert contains(value, inside)
        claim = value.hi_float
        assert proves_norm_at_most(MatrixEnclosure(mid, rad), claim * (1 + 1e-6))
        infinite = MatrixEnclosure(mid, np.full((n, n), math.inf))
        assert enclose_spectral_norm(infinite).value.hi == math.inf
        assert not proves_norm_at_most(infinite, 1e300)


def test_small_rational_matrix_uses_its_exact_entries():
    third = rational_matrix(np.array([[1.0, 2.0], [2.0, 1.0]])) / 3
    value = enclose_spectral_norm(enclose_rational(third)).value
    assert value.contains(1)
    assert value.is_exact
    assert proves_norm_at_most(enclose_rational(third), 1.0)


def adversarial(draw, kind, n):
    """A matrix of one of the kinds of the campaign."""
    m = int(draw.integers(n, n + 5))
    matrix = draw.standard_normal((m, n))
    if kind == "orthogonal":
        matrix = np.linalg.qr(matrix)[0]
    elif kind == "graded":
        matrix *= 10.0 ** draw.uniform(-12, 0, m)[:, None]
    elif kind == "near rank one":
        matrix = np.outer(matrix[:, 0], draw.standard_normal(n)) + 1e-9 * matrix
    elif kind == "integers":
        matrix = np.round(4 * matrix)
    elif kind == "huge":
        matrix = matrix * 1e150
    elif kind == "tiny":
        matrix = matrix * 1e-150
    elif kind == "edge of range":
        matrix = matrix * (2.0 ** draw.integers(990, 1015))
        matrix[0, 0] = ETA
    elif kind == "subnormal":
        matrix = np.round(8 * matrix) * ETA
    return np.ascontiguousarray(matrix if draw.integers(2) else matrix.T)


KINDS = (
    "gaussian",
    "orthogonal",
    "graded",
    "near rank one",
    "integers",
    "huge",
    "tiny",
    "edge of range",
    "subnormal",
)


def false_claims(count, seed, largest=33, kinds=KINDS):
    """Matrices A, claims c and exact proofs that ||A||_2 > c, by 1 ulp to 1e-7."""
    draw = np.random.default_rng(seed)
    produced = 0
    while produced < count:
        matrix = adversarial(draw, kinds[produced % len(kinds)], int(draw.integers(2, largest)))
        scale = float(np.abs(matrix).max())
        if scale == 0.0:
            continue
        exponent = math.frexp(scale)[1]
        _, s, vh = np.linalg.svd(np.ldexp(matrix, -exponent))
        slack = 10.0 ** draw.uniform(-16, -7) if produced % 2 else draw.integers(1, 9) * 2.0**-53
        with np.errstate(over="ignore"):
            c = float(np.ldexp(s[0] * (1 - slack), exponent))
        if math.isfinite(c) and norm_exceeds(matrix, c, vh[0]):
            produced += 1
            yield matrix, c


@pytest.mark.soundness
@pytest.mark.parametrize("lapack", ["identified", "unknown"])
def test_campaign_no_claim_below_the_norm_is_ever_proved(float_path, lapack, monkeypatch):
    """With the a-priori bound of OpenBLAS, and with residuals that trust the product only."""
    module = spectral_norm.get_backend("numpy")
    if lapack == "unknown":
        monkeypatch.setattr(module, "lapack_is_conventional", lambda: False)
    count, seed, start = (10_000 if FULL else 1_000), 20060433, time.perf_counter()
    wrong = 0
    for matrix, c in false_claims(count, seed):
        wrong += proves_norm_at_most(matrix, c)
        wrong += proves_norm_at_most(matrix, -abs(c))
    seconds = time.perf_counter() - start
    name = f"norm claims, LAPACK {lapack}"
    print(f"campaign {name}: {count} cases, seed {seed}, {seconds:.1f} s, {wrong} wrong")
    assert wrong == 0


@pytest.mark.soundness
def test_campaign_enclosures_contain_the_norm(float_path):
    count, seed, start = (2_000 if FULL else 200), 1950, time.perf_counter()
    draw, wrong = np.random.default_rng(seed), 0
    for k in range(count):
        matrix = adversarial(draw, KINDS[k % len(KINDS)], int(draw.integers(2, 14)))
        aim = Enclosure.exact(float(np.abs(matrix).max()) * 2) if k % 3 else None
        wrong += not contains(enclose_spectral_norm(matrix, aim=aim).value, matrix)
    seconds = time.perf_counter() - start
    print(f"campaign norm enclosures: {count} cases, seed {seed}, {seconds:.1f} s, {wrong} wrong")
    assert wrong == 0


def test_mutation_without_the_error_terms_a_false_claim_is_proved(float_path, monkeypatch):
    module = spectral_norm.get_backend("numpy")
    monkeypatch.setattr(spectral_norm, "gamma", lambda k: 0.0)
    monkeypatch.setattr(spectral_norm, "tau", lambda k, a, b: 0.0)
    monkeypatch.setattr(module, "defect_ahead", lambda n, trace, largest: 0.0)
    monkeypatch.setattr(
        module, "cholesky_defect", lambda B: 0.0 if module.factorise(B) else math.inf
    )
    monkeypatch.setattr(spectral_norm, "mul_down", lambda a, b: a * b)
    monkeypatch.setattr(spectral_norm, "down", lambda x: x)
    monkeypatch.setattr(spectral_norm, "down_array", lambda x: x)
    claims = false_claims(1500, 1, 6, ("gaussian", "integers"))
    assert any(proves_norm_at_most(matrix, c) for matrix, c in claims)


def test_mutation_without_the_product_error_a_lower_bound_is_false(monkeypatch):
    monkeypatch.setattr(spectral_norm, "gamma", lambda k: 0.0)
    monkeypatch.setattr(spectral_norm, "norm_down", lambda v: float(np.linalg.norm(v)))
    monkeypatch.setattr(spectral_norm, "norm_up", lambda v: float(np.linalg.norm(v)))
    monkeypatch.setattr(spectral_norm, "SMALL", 0)
    monkeypatch.setattr(spectral_norm, "div_down", lambda a, b: a / b)
    monkeypatch.setattr(spectral_norm, "down", lambda x: x)
    draw, broken = np.random.default_rng(2), 0
    for _ in range(60):
        matrix = draw.standard_normal((12, 12))
        value = spectral_norm._rayleigh_down(
            spectral_norm._scale(matrix, None),
            np.linalg.svd(matrix)[2][0],
            spectral_norm.get_backend("numpy"),
        )
        broken += is_below(matrix, value)
    assert broken > 0

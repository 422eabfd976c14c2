"""State weights of every parametrisation against rational and ball arithmetic."""

from fractions import Fraction

import numpy as np
import pytest
from flint import arb, ctx, fmpq

from verify.errors import InputError
from verify.network import (
    BoxMonotoneWeight,
    LowRankRowScaledWeight,
    MonotoneWeight,
    NonEuclideanWeight,
    PlainWeight,
    RowNormalisedWeight,
    RowScaledWeight,
    ScaledGaussianWeight,
    SoftplusMonotoneWeight,
    StateWeight,
    UpperTriangularWeight,
)
from verify_kernels import enclosed_products, state_weight
from verify_kernels.state_weight import enclose_state_weight

M, C, KAPPA, GAMMA = Fraction(1, 20), Fraction(3), Fraction(99, 100), Fraction(7, 10)


@pytest.fixture(autouse=True)
def precision():
    saved = ctx.prec
    ctx.prec = 400
    yield
    ctx.prec = saved


def _ball(value):
    if isinstance(value, Fraction):
        return arb(fmpq(value.numerator, value.denominator))
    return arb(float(value))


def _balls(matrix):
    return [[_ball(x) for x in row] for row in matrix]


def _times(A, B):
    return [[sum((x * y for x, y in zip(row, column, strict=True)), start=arb(0))
             for column in zip(*B, strict=True)] for row in A]  # fmt: skip


def _norm(A):
    sums = [sum((abs(x) for x in row), start=arb(0)) for row in A]
    largest = sums[0]
    for value in sums[1:]:
        largest = largest.max(value)
    return largest


def _shrunk(A):
    factor = arb(1).min(_ball(KAPPA) / _norm(A))
    return [[factor * x for x in row] for row in A]


def _monotone(A, B, m):
    n = len(B)
    G = _times(list(zip(*A, strict=True)), A)
    return [[(1 - m if i == j else 0) - G[i][j] + B[i][j] - B[j][i] for j in range(n)]
            for i in range(n)]  # fmt: skip


def _reference(w):
    """Evaluate the equation entry by entry in balls of 400 bits."""
    if isinstance(w, PlainWeight):
        return _balls(w.W)
    if isinstance(w, UpperTriangularWeight):
        return _balls(np.triu(w.A, 1))
    if isinstance(w, MonotoneWeight):
        return _monotone(_balls(w.A), _balls(w.B), _ball(w.m))
    if isinstance(w, SoftplusMonotoneWeight):
        m = (1 + _ball(w.m_raw.ravel()[0]).exp()).log() + _ball(Fraction(1, 10_000))
        return _monotone(_balls(w.A), _balls(w.S), m)
    if isinstance(w, NonEuclideanWeight):
        A, d, n = _balls(w.A), [_ball(x).exp() for x in w.d], len(w.A)
        inner = [[A[i][j] + ((_ball(w.m) - sum((abs(x) for x in A[i]), start=arb(0)))
                             if i == j else 0) for j in range(n)] for i in range(n)]  # fmt: skip
        return [[inner[i][j] * d[j] / d[i] for j in range(n)] for i in range(n)]
    if isinstance(w, BoxMonotoneWeight):
        A, n = _balls(w.M), len(w.M)
        sums = [
            sum((abs(A[i][j]) + abs(A[j][i]) for j in range(n)), start=arb(0)) for i in range(n)
        ]
        d = [s / (2 * (1 - _ball(w.m))) + _ball(Fraction(1, 10**8)) for s in sums]
        low = 1 / _ball(w.c)
        L = [(1 - low) / (1 + (-_ball(x)).exp()) + low for x in w.l]
        return [[A[i][j] * L[j] / (L[i] * d[i].sqrt() * d[j].sqrt()) for j in range(n)]
                for i in range(n)]  # fmt: skip
    if isinstance(w, RowScaledWeight):
        return _shrunk(_balls(w.A))
    if isinstance(w, LowRankRowScaledWeight):
        return _shrunk(_times(_shrunk(_balls(w.L)), _shrunk(_balls(w.R.T))))
    if isinstance(w, RowNormalisedWeight):
        rows = _balls(w.v)
        norms = [sum((x * x for x in row), start=arb(0)).sqrt() for row in rows]
        g = w.g.ravel()
        return [[_ball(g[i]) * x / norms[i] for x in row] for i, row in enumerate(rows)]
    factor = _ball(w.gamma) / arb(len(w.A)).sqrt()
    return [[factor * x for x in row] for row in _balls(w.A)]


def _weights(n, seed, dtype):
    rng = np.random.default_rng(seed)

    def draw(*shape):
        return rng.standard_normal(shape).astype(dtype).astype(np.float64)

    return [
        PlainWeight(draw(n, n)),
        MonotoneWeight(draw(n + 1, n), draw(n, n), M),
        SoftplusMonotoneWeight(draw(max(1, n - 1), n), draw(n, n), draw(1) * 20),
        NonEuclideanWeight(draw(n, n), draw(n), M),
        NonEuclideanWeight(draw(n, n), np.full(n, 0.3), M),
        NonEuclideanWeight(draw(n, n), draw(n) * 120, M),
        BoxMonotoneWeight(draw(n, n), draw(n), Fraction(1, 10), C),
        RowScaledWeight(draw(n, n), KAPPA),
        RowScaledWeight(draw(n, n) * 2.0**-9, KAPPA),
        LowRankRowScaledWeight(draw(n, 2), draw(n, 2), KAPPA),
        LowRankRowScaledWeight(draw(n, 2) * 0.1, draw(n, 2) * 9, KAPPA),
        UpperTriangularWeight(draw(n, n)),
        RowNormalisedWeight(draw(n, n), draw(n, 1)),
        ScaledGaussianWeight(draw(n, n), GAMMA),
        ScaledGaussianWeight(draw(n, n), Fraction(1, 2)),
    ]


def _outside(found, reference):
    """Count entries whose reference ball lies certainly outside the enclosure."""
    count = 0
    for i, row in enumerate(reference):
        for j, value in enumerate(row):
            rad = 0.0 if found.rad is None else float(found.rad[i, j])
            difference = abs(_ball(value) - _ball(found.mid[i, j])) if isinstance(value, int) else (
                abs(value - _ball(found.mid[i, j])))  # fmt: skip
            count += bool(difference > _ball(rad))
    return count


@pytest.mark.parametrize("exact_width", [64, 0], ids=["rational", "balls"])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("n", [1, 2, 4, 7])
def test_every_class_encloses_its_equation(monkeypatch, n, dtype, exact_width):
    monkeypatch.setattr(state_weight, "EXACT_WIDTH", exact_width)
    for seed in range(2):
        for weight in _weights(n, seed, dtype):
            found = enclose_state_weight(weight)
            assert _outside(found, _reference(weight)) == 0, type(weight).__name__
            if found.rad is not None:
                size = float(np.max(np.abs(found.mid))) + 1e-300
                assert float(np.max(found.rad)) < 1e-11 * size  # tightness only
            assert exact_width or found.exact is None


def test_rational_weights_keep_the_exact_matrix():
    rng = np.random.default_rng(0)
    A, B = rng.standard_normal((4, 4)), rng.standard_normal((4, 4))
    for weight in (
        MonotoneWeight(A, B, M),
        RowScaledWeight(A, KAPPA),
        LowRankRowScaledWeight(A, B, KAPPA),
        NonEuclideanWeight(A, np.zeros(4), M),
        ScaledGaussianWeight(A, Fraction(1, 2)),
    ):
        assert enclose_state_weight(weight).is_exact, type(weight).__name__
    assert enclose_state_weight(PlainWeight(A)).rad is None
    assert enclose_state_weight(ScaledGaussianWeight(np.ones((3, 3)), GAMMA)).exact is None
    wide = ScaledGaussianWeight(rng.standard_normal((256, 256)), Fraction(1, 2))
    assert enclose_state_weight(wide).rad is None  # 1/32 loses no bit


def test_zero_matrices_and_zero_rows():
    zero = np.zeros((3, 3))
    assert not enclose_state_weight(RowScaledWeight(zero, KAPPA)).mid.any()
    box = enclose_state_weight(BoxMonotoneWeight(zero, np.zeros(3), M, C))
    assert not box.mid.any()
    assert box.rad is None
    with pytest.raises(InputError, match=r"expected rows of v with a norm > 0, but got row 0"):
        enclose_state_weight(RowNormalisedWeight(zero, np.ones(3)))
    stopped = enclose_state_weight(RowNormalisedWeight(np.ones((2, 2)), np.array([0.0, 1.0])))
    assert not stopped.mid[0].any()
    assert stopped.rad is None or not stopped.rad[0].any()
    empty = np.zeros((0, 0))
    for weight in (PlainWeight(empty), MonotoneWeight(empty, empty, M), RowScaledWeight(empty, M)):
        assert enclose_state_weight(weight).shape == (0, 0)


def test_what_does_not_fit_is_refused():
    A = np.ones((2, 2))
    refused = [
        (PlainWeight(np.ones((2, 3))), r"expected a matrix of shape \(m, m\), but got \(2, 3\)"),
        (MonotoneWeight(np.ones((2, 3)), A, M), r"expected A with 2 columns, but got \(2, 3\)"),
        (NonEuclideanWeight(A, np.ones(3), M), r"expected d with 2 entries"),
        (BoxMonotoneWeight(A, np.ones(2), Fraction(1), C), r"expected m < 1 and c != 0"),
        (MonotoneWeight(A * np.nan, A, M), r"expected finite entries, but got nan"),
        (MonotoneWeight(A * 1e300, A, M), r"expected numbers in the range of binary64"),
        (LowRankRowScaledWeight(A, np.ones((3, 2)), KAPPA), r"expected L and R of one shape"),
    ]
    for weight, message in refused:
        with pytest.raises(InputError, match=message):
            enclose_state_weight(weight)

    class Unknown(StateWeight):
        width = 1

    with pytest.raises(InputError, match=r"expected one of .*, but got Unknown"):
        enclose_state_weight(Unknown())


def test_mutation_without_the_rounding_of_products(monkeypatch):
    monkeypatch.setattr(state_weight, "EXACT_WIDTH", 0)
    rng = np.random.default_rng(1)
    weight = MonotoneWeight(rng.standard_normal((6, 6)), rng.standard_normal((6, 6)), M)
    assert _outside(enclose_state_weight(weight), _reference(weight)) == 0
    monkeypatch.setattr(enclosed_products, "gamma", lambda k: 0.0)
    assert _outside(enclose_state_weight(weight), _reference(weight)) > 0


def test_low_rank_scales_the_transpose_of_the_right_factor():
    """Scaled by its rows (norm 8), R would give W_11 = 3/4, and relu a false pass."""
    L, R = np.array([[1.0, 0.0], [0.0, 0.0]]), np.array([[4.0, 4.0], [0.0, 0.0]])
    weight = LowRankRowScaledWeight(L, R, Fraction(3, 2))
    assert enclose_state_weight(weight).mid.tolist() == [[1.5, 0.0], [0.0, 0.0]]

"""Second moments, row norms and sums against exact rational arithmetic and 40-digit constants."""

import json
import math
import os
import time
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from flint import arb, fmpq, fmpq_mat

from verify.enclosure import Enclosure
from verify.errors import InputError
from verify_kernels import _rounding
from verify_kernels.two_layer import exact_moments, intervals, moments
from verify_kernels.two_layer.balls import precision
from verify_kernels.two_layer.intervals import Intervals, rational
from verify_kernels.two_layer.moments import enclose_second_moment, row_norms, weighted_mean
from verify_kernels.two_layer.samples import Samples
from verify_kernels.two_layer.sums import DataSums, OuterSums, residual_bounds

VECTORS = Path(__file__).parents[1] / "vectors" / "villani.json"
NETWORKS = json.loads(VECTORS.read_text(encoding="utf-8"))["networks"]
FULL = os.environ.get("VERIFY_CAMPAIGN") == "full"
BACKENDS = ["numpy", "numba"]
RANGE = {"tanh": (-1, 1), "sigmoid": (0, 1), "erf": (-1, 1), "sin": (-1, 1)}
BOUNDED = [n for n in NETWORKS if n["activation"] in RANGE]


def exact(values):
    return [exact(v) for v in values] if isinstance(values, list) else float.fromhex(values)


def fractions_of(X, augmented=False):
    rows = [[Fraction(x.item()) for x in row] for row in np.asarray(X)]
    return [[*row, Fraction(1)] for row in rows] if augmented else rows


def moment_of(X, weights, augmented=False):
    """(1/n) sum w_i x_i x_i^T as an exact matrix."""
    rows = fractions_of(X, augmented)
    d = len(rows[0])
    entries = [[Fraction(0)] * d for _ in range(d)]
    for x, w in zip(rows, weights, strict=True):
        for i in range(d):
            for k in range(d):
                entries[i][k] += Fraction(w) * x[i] * x[k]
    flat = [fmpq(e.numerator, e.denominator) / len(rows) for row in entries for e in row]
    return fmpq_mat(d, d, flat)


def is_above(c, matrix):
    """c > lambda_max, by Sylvester's criterion for c I - M."""
    size = matrix.nrows()
    number = fmpq(c.numerator, c.denominator)
    shifted = [
        [(number if i == k else fmpq(0)) - matrix[i, k] for k in range(size)] for i in range(size)
    ]
    return all(fmpq_mat([row[:k] for row in shifted[:k]]).det() > 0 for k in range(1, size + 1))


def assert_encloses(found, lower, upper):
    """lo <= lambda_max(lower) and lambda_max(upper) <= hi."""
    assert not is_above(found.lo, lower) or found.lo == 0
    if isinstance(found.hi, Fraction):
        assert is_above(found.hi + Fraction(1, 2**4000), upper)


def vector_ball(text):
    value = Fraction(text)
    ball = arb(fmpq(value.numerator, value.denominator))
    return ball + arb(0, 1) * abs(ball) * arb("5e-40")


@pytest.mark.parametrize("network", NETWORKS, ids=lambda n: n["id"])
def test_the_second_moment_of_the_vectors(network):
    X = np.array(exact(network["X"]))
    found = enclose_second_moment(X).enclosure()
    expected = Fraction(network["constants"]["Lambda"])
    room = Fraction(1, 10**39)
    assert found.lo * (1 - room) <= expected <= found.hi * (1 + room)
    assert found.width <= expected / 10**25
    matrix = moment_of(X, [1] * len(X))
    assert_encloses(found, matrix, matrix)


@pytest.mark.parametrize("network", BOUNDED, ids=lambda n: n["id"])
def test_constants_of_bounded_activations(network):
    """G, gbar, Dbar, gLip, lambda_cvx, b, A, B from the primitive sums, and one decision."""
    constants = network["constants"]
    data = DataSums(exact(network["X"]), exact(network["y"]))
    outer = OuterSums(exact(network["a"]))
    low, high = outer.range(*(Enclosure.exact(v) for v in RANGE[network["activation"]]))
    R = data.residuals(low, high)
    p, d = network["p"], network["d"]
    with precision(300):
        c, lam = arb(network["c_prime"]), arb(float.fromhex(network["lambda"]))
        s1, s2 = (vector_ball(constants[k]) for k in ("S1", "S2"))
        kappa = vector_ball(constants["kappa0"] or "0")  # sin has none, and no route V2
        l1, l2sq, linf = (e.arb() for e in (outer.l1, outer.l2_squared, outer.linf))
        Lambda = enclose_second_moment(data.samples).enclosure().arb()
        mean_R2 = R.mean_squared.arb()
        first, second = R.mean_norm.arb(), (mean_R2 * Lambda).sqrt()
        weighted = enclose_second_moment(data.samples, R.R).enclosure().arb()
        glip = enclose_second_moment(
            data.samples,
            R.R.scaled(Enclosure.from_arb(s2 * linf)).shifted(Enclosure.from_arb(s1**2 * l2sq)),
        )
        cube, square = data.mean_cubed_norm.arb(), data.mean_squared_norm.arb()
        shifted = data.mean_shifted_label_squared(Enclosure.from_arb(kappa * l1))
        at_zero = arb(1) / 2 if network["activation"] == "sigmoid" else arb(0)
        ours = {
            "G": c * s1 * l2sq.sqrt() * first.min(second),
            "gbar": c * mean_R2 / 2,
            "Dbar": lam * p * d + c * (square * s1**2 * l2sq + s2 * l1 * R.mean_squared_norm.arb()),
            "gLip_matrix": lam + c * glip.enclosure().arb(),
            "gLip_crude": lam + c * Lambda * (s1**2 * l2sq + s2 * linf * R.largest.arb()),
            "lambda_cvx": c * s2 * linf * weighted,
            "b": c * shifted.arb() / 4,
            "A": lam * p * d
            + c * (s1**2 * l2sq * square + s2 * l1 * data.mean_squared_norm_label.arb())
            + c * at_zero * l1 * s2 * l1 * square,
            "B": c * s1 * s2 * l1 * l2sq.sqrt() * cube,
        }
        for name, ball in ours.items():
            if constants.get(name) is not None:
                expected = vector_ball(constants[name])
                assert ball.overlaps(expected), name
                assert ball.rad() <= abs(expected) * arb("1e-23"), name
        decided = network["strongly_convex_by_lambda_cvx"]
        if decided is not None:
            assert bool(lam > ours["lambda_cvx"]) == decided
            assert bool(lam <= ours["lambda_cvx"]) != decided
        for R_i, text in zip(R.R.lo, constants.get("R_i", []), strict=False):
            assert arb(fmpq(R_i.numerator, R_i.denominator)).overlaps(vector_ball(text))


def test_the_sharper_label_sum():
    """b_sharp: the farthest point of [e_min, e_max] instead of |y| + kappa0 ||a||_1."""
    seen = 0
    for network in NETWORKS:
        text = network["constants"].get("b_sharp")
        signs = {"silu": (-1, 0), "gelu": (-1, 0), "softplus(1)": (0, 1)}
        if text is None or network["activation"] not in signs:
            continue
        data, outer = (
            DataSums(exact(network["X"]), exact(network["y"])),
            OuterSums(exact(network["a"])),
        )
        with precision(300):
            kappa = vector_ball(network["constants"]["kappa0"])
            ends = [Enclosure.from_arb(kappa * sign) for sign in signs[network["activation"]]]
            found = data.mean_farthest_squared(*outer.range(*ends)).arb()
            ours = found * int(network["c_prime"]) / 4
            assert ours.overlaps(vector_ball(text))
            assert ours.rad() <= abs(ours) * arb("1e-23") + arb("1e-200")
        seen += 1
    assert seen > 15


def test_strong_convexity_with_outer_weights_of_one_sign():
    """softplus, a >= 0 or a <= 0: lambda_cvx from the labels of one sign, decided exactly."""
    seen = []
    for network in NETWORKS:
        text = network["constants"].get("lambda_cvx")
        if text is None or not network["activation"].startswith("softplus"):
            continue
        data, outer = (
            DataSums(exact(network["X"]), exact(network["y"])),
            OuterSums(exact(network["a"])),
        )
        sign = 1 if outer.negative.hi == 0 else -1
        moment = enclose_second_moment(data.samples, data.signed_part(sign)).enclosure()
        with precision(300):
            S2 = vector_ball(network["constants"]["S2"])
            ours = S2 * outer.linf.arb() * moment.arb() * int(network["c_prime"])
            assert ours.overlaps(vector_ball(text))
            lam = arb(float.fromhex(network["lambda"]))
            decided = network["strongly_convex_by_lambda_cvx"]
            assert bool(lam > ours) == decided
            assert bool(lam <= ours) != decided
        seen.append(network["tag"])
    assert "lambda just above lambda_cvx" in seen
    assert "lambda just below lambda_cvx" in seen


def adversarial(rng, n, d):
    kind = rng.integers(6)
    X = rng.standard_normal((n, d))
    if kind == 0:
        X = np.repeat(X[:1], n, axis=0)
    elif kind == 1:
        X = X * np.exp(rng.uniform(-30, 30, size=(n, 1)))
    elif kind == 2:
        X = X * 10.0 ** rng.choice([-150, -100, 100, 150])
    elif kind == 3:
        X = np.round(X)
    elif kind == 4:
        X = X + 1e6
    return X


@pytest.mark.soundness
def test_random_moments_are_enclosed(monkeypatch):
    """Both paths: exact, and in blocks (as for large data) on the same small problems."""
    count, seed, start = (2000 if FULL else 200), 11, time.perf_counter()
    rng = np.random.default_rng(seed)
    monkeypatch.setattr(moments, "BLOCK", 4)
    for trial in range(count):
        n, d = int(rng.integers(1, 9)), int(rng.integers(1, 5))
        X = adversarial(rng, n, d)
        augmented = bool(rng.integers(2))
        low = rng.uniform(0, 1, n) * rng.choice([1.0, 0.0, 1e-150, 1e150, 1e-310], n)
        spread = rng.choice([1.0, 1.0 + 2.0**-52, 1.5])
        high = low * spread if rng.integers(2) else low
        lower, upper = (moment_of(X, w, augmented) for w in (low, high))
        for small in (True, False):
            with monkeypatch.context() as patch:
                if not small:
                    patch.setattr(exact_moments, "is_small", lambda _: False)
                backend = BACKENDS[trial % 2]
                found = enclose_second_moment(
                    X, (low, high), augmented=augmented, backend=backend
                ).enclosure()
            assert_encloses(found, lower, upper)
            if not small and spread < 1.1 and np.any(low) and X.any(axis=1).all():
                assert found.hi <= found.lo * (1 + Fraction(1, 2**30))
    spent = time.perf_counter() - start
    print(f"campaign second-moments: {count} cases, seed {seed}, {spent:.0f} s, 0 wrong")


@pytest.mark.parametrize("dtype", ["float64", "float32", "uint8", "int64", "bool"])
@pytest.mark.parametrize("shape", [(3000, 8), (7, 4000)])
def test_large_data_of_every_type(dtype, shape):
    """In blocks, wide and tall; a hint where to stop does not change what is proved."""
    rng = np.random.default_rng(3)
    X = (rng.standard_normal(shape) * 20 + 60).astype(dtype)
    n = shape[0]
    w = rng.uniform(0.5, 1.5, n)
    assert not exact_moments.is_small(Samples(X))
    found = enclose_second_moment(X, (w, w))
    matrix = moment_of_floats(X, w) if n > shape[1] else gram_of_floats(X, w)
    assert_encloses(found.enclosure(), matrix, matrix)
    assert found.enclosure().width <= found.enclosure().hi / 10**11
    aim = Enclosure.outward(found.enclosure().hi * 2, found.enclosure().hi * 2)
    hinted = enclose_second_moment(X, (w, w), aim=aim).enclosure()
    assert hinted.hi < aim.lo
    assert_encloses(hinted, matrix, matrix)


def moment_of_floats(X, w):
    X = X.astype(np.float64)
    columns = [[Fraction(v) for v in column] for column in X.T.tolist()]
    w = [Fraction(v) for v in w.tolist()]
    d = len(columns)
    flat = []
    for i in range(d):
        left = [a * b for a, b in zip(w, columns[i], strict=True)]
        for k in range(d):
            total = sum(a * b for a, b in zip(left, columns[k], strict=True)) / len(w)
            flat.append(fmpq(total.numerator, total.denominator))
    return fmpq_mat(d, d, flat)


def gram_of_floats(X, w):
    """(1/n) diag(w) X X^T: not symmetric, the same eigenvalues; minors of c - M are positive."""
    rows = [[Fraction(v) for v in row] for row in X.astype(np.float64).tolist()]
    flat = []
    for x, weight in zip(rows, w.tolist(), strict=True):
        for other in rows:
            total = Fraction(weight) * sum(a * b for a, b in zip(x, other, strict=True))
            flat.append(fmpq(total.numerator, total.denominator) / len(rows))
    return fmpq_mat(len(rows), len(rows), flat)


@pytest.mark.parametrize("augmented", [False, True])
@pytest.mark.parametrize("shape", [(40, 30), (30, 40), (60, 20)])
def test_the_factorisation_in_balls(shape, augmented):
    rng = np.random.default_rng(8)
    X, w = rng.standard_normal(shape), rng.uniform(0, 1, shape[0])
    w[3] = 0.0
    found = enclose_second_moment(X, (w, w), augmented=augmented)
    assert "balls" in found.how
    assert found.enclosure().width <= found.enclosure().hi / 10**25
    floats = np.hstack([X, np.ones((len(X), 1))]) if augmented else X
    near = np.linalg.eigvalsh((floats.T * w) @ floats / len(X))[-1]
    assert abs(float(found.enclosure().lo) - near) < 1e-12 * near
    repeated = enclose_second_moment(np.repeat(X[:1], 30, axis=0)).enclosure()
    length = sum(Fraction(x) ** 2 for x in X[0].tolist())
    assert repeated.contains(length)


@pytest.mark.parametrize("scale", [1.0, 1e150, 1e-150, 1e-300, 1e305])
def test_row_norms(scale):
    rng = np.random.default_rng(2)
    X = rng.standard_normal((50, 700)) * scale
    X[7] = 0.0
    X[9] = X[9] * 1e-100 if scale > 1e-200 else 0.0
    lo, hi = row_norms(X)
    for row, low, high in zip(X.tolist(), lo.tolist(), hi.tolist(), strict=True):
        square = sum(Fraction(x) ** 2 for x in row)
        assert Fraction(low) ** 2 <= square
        assert high == math.inf or square <= Fraction(high) ** 2
        assert high < math.inf or square > Fraction(2) ** 2000
    assert lo[7] == hi[7] == 0.0
    assert (hi - lo <= 1e-12 * hi)[:7].all() or scale == 1e305


def test_row_norms_of_integers_and_the_constant():
    X = np.array([[3, 4], [0, 0]], dtype=np.uint8)
    lo, hi = row_norms(X, augmented=True)
    assert lo[0] ** 2 <= 26 <= hi[0] ** 2
    assert lo[1] <= 1.0 <= hi[1]


@pytest.mark.parametrize("use_exact", [True, False])
def test_every_sum(use_exact):
    rng = np.random.default_rng(4)
    X, y, a = rng.standard_normal((40, 5)), rng.standard_normal(40) * 3, rng.standard_normal(9)
    data, outer = DataSums(X, y, exact=use_exact, augmented=True), OuterSums(a)
    m, M = Enclosure.outward(Fraction(-1, 3), Fraction(-1, 3)), Enclosure.exact(2)
    low, high = outer.range(m, M, shift=Enclosure.exact(Fraction(1, 4)))
    R = data.residuals(low, high)
    with precision(300):
        x = [sum((arb(v) ** 2 for v in row), arb(1)).sqrt() for row in X.tolist()]
        labels = [arb(v) for v in y.tolist()]
        third = arb(1) / 3
        mins = (
            sum(
                (min(-arb(v) * third, 2 * arb(v), key=lambda b: b.mid()) for v in a.tolist()),
                arb(0),
            )
            + 0.25
        )
        maxs = (
            sum(
                (max(-arb(v) * third, 2 * arb(v), key=lambda b: b.mid()) for v in a.tolist()),
                arb(0),
            )
            + 0.25
        )
        far = [max(abs(v - mins), abs(v - maxs), key=lambda b: b.mid()) for v in labels]

        def mean(values):
            return sum(values, arb(0)) / len(labels)

        def pairs(*vectors):
            return [math.prod(entries, start=arb(1)) for entries in zip(*vectors, strict=True)]

        moduli = [abs(v) for v in labels]
        expected = {
            "mean_norm": mean(x),
            "mean_squared_norm": mean(pairs(x, x)),
            "mean_cubed_norm": mean(pairs(x, x, x)),
            "mean_squared_label": mean(pairs(labels, labels)),
            "mean_squared_norm_label": mean(pairs(x, x, moduli)),
        }
        found = {name: getattr(data, name) for name in expected}
        found |= {
            "R": R.mean, "R2": R.mean_squared, "Rx": R.mean_norm, "Rxx": R.mean_squared_norm,
            "k": data.mean_shifted_label_squared(Enclosure.exact(3)),
            "positive": data.signed_part(1).mean(), "negative": data.signed_part(-1).mean(),
            "l1": outer.l1, "l2": outer.l2, "l22": outer.l2_squared, "linf": outer.linf,
            "max R": R.largest, "max x": data.max_norm, "max y": data.max_label,
            "bounds": weighted_mean(*residual_bounds(a, y, m, M, shift=Enclosure.exact(0.25))),
        }  # fmt: skip
        weights = [arb(v) for v in a.tolist()]
        middle = {"key": lambda b: b.mid()}
        expected |= {
            "R": mean(far), "R2": mean(pairs(far, far)), "Rx": mean(pairs(far, x)),
            "Rxx": mean(pairs(far, x, x)), "k": mean([(v + 3) ** 2 for v in moduli]),
            "positive": mean([v for v in labels if v > 0]),
            "negative": mean([-v for v in labels if v < 0]),
            "l1": sum((abs(v) for v in weights), arb(0)),
            "l2": sum((v * v for v in weights), arb(0)).sqrt(),
            "l22": sum((v * v for v in weights), arb(0)),
            "linf": max((abs(v) for v in weights), **middle),
            "max R": max(far, **middle), "max x": max(x, **middle), "max y": max(moduli, **middle),
            "bounds": mean(far),
        }  # fmt: skip
        for name, ball in expected.items():
            enclosure = found[name]
            assert enclosure.arb().contains(ball) or enclosure.arb().overlaps(ball), name
            assert not ball < Enclosure.exact(enclosure.lo).arb(), name
            assert not ball > Enclosure.exact(enclosure.hi).arb(), name
            width = Fraction(1, 10**30) if use_exact else Fraction(1, 10**13)
            assert enclosure.width <= width * enclosure.hi, name
    assert outer.nonzero == 9


def test_weights_of_every_kind():
    X = np.array([[1.0], [2.0]])
    kinds = [
        (np.array([1, 2]), 4.5),
        (np.array([1.0, 2.0], dtype=np.float32), 4.5),
        (rational([Fraction(1, 3), Fraction(2**60 + 1)]), None),
        (np.array([2**60 + 1, 2**60 + 3]), None),
    ]
    for weights, expected in kinds:
        found = enclose_second_moment(X, (weights, weights)).enclosure()
        truth = sum(Fraction(w) * x for w, x in zip(weights.tolist(), (1, 4), strict=True)) / 2
        assert found.contains(truth)
        assert expected is None or found.contains(Fraction(expected))
    huge = rational([Fraction(10) ** 400, Fraction(1)])
    for small in (True, False):
        with pytest.MonkeyPatch.context() as patch:
            if not small:
                patch.setattr(exact_moments, "is_small", lambda _: False)
            found = enclose_second_moment(X, (huge, huge)).enclosure()
        assert found.contains((Fraction(10) ** 400 + 4) / 2)
        assert found.width <= found.hi / 10**12
    with pytest.raises(InputError, match=r"expected .*, but got"):
        enclose_second_moment(X, (np.array([1j, 1j]), np.array([1j, 1j])))


def test_degenerate_data():
    zero = enclose_second_moment(np.zeros((3, 2)))
    assert zero.enclosure() == Enclosure.exact(0)
    assert enclose_second_moment(np.zeros((3, 2)), augmented=True).enclosure() == Enclosure.exact(1)
    assert enclose_second_moment(np.zeros((3, 0))).enclosure() == Enclosure.exact(0)
    assert enclose_second_moment([[2.0]]).enclosure() == Enclosure.exact(4)
    weights = (np.zeros(2), np.array([0.0, np.inf]))
    open_end = enclose_second_moment(np.eye(2), weights)
    assert open_end.enclosure().hi == math.inf
    assert open_end.why_open
    empty = DataSums(np.zeros((2, 0)), [1.0, -1.0])
    assert empty.mean_norm == Enclosure.exact(0)
    a = OuterSums(np.zeros(3))
    assert a.l2 == a.l1 == a.linf == Enclosure.exact(0)
    assert a.nonzero == 0
    unbounded = Enclosure.unbounded()
    assert a.range(unbounded, unbounded) == (Enclosure.exact(0), Enclosure.exact(0))
    lo, hi = residual_bounds([1.0], [2.0], unbounded, unbounded)
    assert (lo[0], hi[0]) == (0.0, math.inf)
    one_sided = residual_bounds([1.0], [2.0], Enclosure.exact(0), unbounded)
    assert one_sided[1][0] == math.inf
    assert DataSums([[1.0]], [2.0]).residuals(unbounded, unbounded).mean_squared.hi == math.inf


@pytest.mark.parametrize("power", [-300, -150, 150, 300])
@pytest.mark.parametrize("use_exact", [True, False])
def test_scalings_by_powers_of_ten(power, use_exact):
    """Constants far outside binary64 keep their digits."""
    scale = 10.0**power
    X, y = np.array([[3.0, 4.0], [1.0, 2.0]]) * scale, np.array([1.0, -2.0]) * scale
    data = DataSums(X, y, exact=use_exact)
    rows = fractions_of(X)
    squares = [sum(x * x for x in row) for row in rows]
    cube = data.mean_cubed_norm
    with precision(300):
        truth = sum((arb(fmpq(s.numerator, s.denominator)) ** 3).sqrt() for s in squares) / 2
        assert cube.arb().overlaps(truth)
    assert cube.width <= cube.hi / 10**12
    assert data.mean_squared_norm_label.width <= data.mean_squared_norm_label.hi / 10**12
    R = data.residuals(Enclosure.exact(-1), Enclosure.exact(1)).R
    moment = enclose_second_moment(X, R * R).enclosure()
    exact_R = [max(Fraction(v) + 1, 1 - Fraction(v)) ** 2 for v in y.tolist()]
    matrix = moment_of(X, exact_R)
    assert not is_above(moment.lo, matrix)
    assert is_above(moment.hi + Fraction(1, 2**9000), matrix)
    assert moment.width <= moment.hi / 10**12


@pytest.mark.parametrize(
    ("X", "weights"),
    [
        (np.zeros(3), None),
        (np.zeros((0, 2)), None),
        (np.array([[math.nan]]), None),
        (np.array([[math.inf]]), None),
        (np.array([[1j]]), None),
        (np.array([[2**60 + 1]]), None),
        (np.eye(2), (np.ones(3), np.ones(3))),
        (np.eye(2), (-np.ones(2), np.ones(2))),
        (np.eye(2), (np.ones(2), np.zeros(2))),
        (np.eye(2), (np.full(2, math.nan), np.ones(2))),
    ],
)
def test_refusals(X, weights):
    with pytest.raises(InputError, match=r"expected .*, but got"):
        enclose_second_moment(X, weights)


def test_labels_and_outer_weights_are_checked():
    for wrong in ([1.0], [1.0, math.nan]):
        with pytest.raises(InputError, match=r"expected .*, but got"):
            DataSums(np.eye(2), wrong)
    for wrong in ([[1.0]], [math.inf]):
        with pytest.raises(InputError, match=r"expected .*, but got"):
            OuterSums(wrong)
    with pytest.raises(InputError, match=r"expected .*, but got"):
        Intervals(np.array([2.0]), np.array([1.0]))
    with pytest.raises(InputError, match=r"expected .*, but got"):
        Intervals(np.array([1.0]), np.array([1.0])).scaled(Enclosure.exact(-1))


def test_memory_stays_in_blocks():
    """No float64 copy of the whole of X: the peak is far below its size."""
    import tracemalloc

    X = np.random.default_rng(0).integers(0, 255, size=(30_000, 400), dtype=np.uint8)
    w = np.full(len(X), 0.5)
    enclose_second_moment(X[:5000], (w[:5000], w[:5000]))
    tracemalloc.start()
    enclose_second_moment(X, (w, w))
    DataSums(X, w).mean_cubed_norm  # noqa: B018
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < X.size * 8 / 3


def test_without_the_product_error_the_moment_is_missed(monkeypatch):
    """Mutation: the L2 term dropped."""
    X, square = np.full((50_000, 1), 0.3), Fraction(0.3) ** 2
    assert enclose_second_moment(X).enclosure().contains(square)
    monkeypatch.setattr(moments, "gamma", lambda k: 0.0)
    monkeypatch.setattr(moments, "tau", lambda *given: 0.0)
    assert not enclose_second_moment(X).enclosure().contains(square)


def test_without_the_width_of_the_weights_the_moment_is_missed(monkeypatch):
    """Mutation: weights known to 30 bits taken as exact."""
    X = np.ones((30_000, 1))
    low, high = np.full(30_000, 1.0), np.full(30_000, 1.0 + 2.0**-30)
    found = enclose_second_moment(X, (low, high)).enclosure()
    assert found.lo <= 1
    assert found.hi >= 1 + Fraction(1, 2**30)
    monkeypatch.setattr(moments, "NARROW", 1.0)
    assert enclose_second_moment(X, (low, high)).enclosure().lo <= 1
    real = moments._split
    monkeypatch.setattr(
        moments, "_split", lambda lo, hi: moments.replace(real(lo, hi), relative=0.0)
    )
    assert enclose_second_moment(X, (low, high)).enclosure().lo > 1


def test_without_the_summation_error_a_row_norm_is_missed(monkeypatch):
    """Mutation: gamma dropped."""
    X = np.full((3, 784), 0.3) * np.array([[1.0], [3.0], [1 / 3]])
    squares = [sum(Fraction(x) ** 2 for x in row) for row in X.tolist()]

    def missed():
        lo, hi = row_norms(X)
        ends = zip(lo.tolist(), hi.tolist(), squares, strict=True)
        return sum(not Fraction(a) ** 2 <= s <= Fraction(b) ** 2 for a, b, s in ends)

    assert missed() == 0
    monkeypatch.setattr(moments, "gamma", lambda k: 0.0)
    assert missed() > 0


def test_without_the_step_outward_a_mean_is_missed(monkeypatch):
    """Mutation: the sums left where ``fsum`` rounds them."""
    values = np.random.default_rng(2).uniform(size=1000)
    total = sum(Fraction(v) for v in values.tolist()) / 1000

    assert weighted_mean(values, values).contains(total)
    monkeypatch.setattr(intervals, "up", lambda x: x)
    monkeypatch.setattr(intervals, "down", lambda x: x)
    assert not weighted_mean(values, values).contains(total)


def test_without_rounding_outward_a_product_is_missed(monkeypatch):
    """Mutation: entrywise steps removed."""
    one = Intervals(np.array([0.1, 1 / 3]), np.array([0.1, 1 / 3]))
    truth = [Fraction(v) ** 2 for v in one.lo.tolist()]

    def contained():
        square = one * one
        ends = zip(square.lo.tolist(), square.hi.tolist(), truth, strict=True)
        return all(Fraction(a) <= t <= Fraction(b) for a, b, t in ends)

    assert contained()
    monkeypatch.setattr(intervals, "up_array", lambda x: x)
    monkeypatch.setattr(intervals, "down_array", lambda x: x)
    assert not contained()


def test_intervals_mix_fractions_and_floats():
    third = rational([Fraction(1, 3)])
    assert Intervals(third, np.array([1.0])).mean().lo <= Fraction(1, 3)
    assert Intervals(np.array([0.0]), third).mean().hi >= Fraction(1, 3)
    whole = np.array([2**60 + 1])
    assert Intervals(whole, whole).mean() == Enclosure.exact(2**60 + 1)
    with pytest.raises(InputError, match=r"expected .*, but got"):
        Intervals(np.array([1j]), np.array([1j]))
    small = Intervals(rational([Fraction(1, 3)]), rational([Fraction(1, 3)]))
    large = Intervals(np.array([1e300]), np.array([1e300]))
    product = (small * large * large).mean()
    assert product.contains(Fraction(1e300) ** 2 / 3)
    assert (small + large).mean().contains(Fraction(1e300) + Fraction(1, 3))
    assert small.root().mean().lo ** 2 <= Fraction(1, 3) <= small.root().mean().hi ** 2
    assert _rounding.U == 2.0**-53

"""Every error term of the Lipschitz constants: without it some enclosure is wrong."""

from __future__ import annotations

import math
from fractions import Fraction
from itertools import permutations
from typing import Any

import numpy as np
import pytest
from flint import arb, ctx

from verify.network.activation import Activation
from verify.network.feedforward import Feedforward
from verify.network.two_layer import TwoLayer
from verify_kernels.forward.inputs import Inputs
from verify_kernels.jacobian_lipschitz import (
    features,
    lipschitz_of_features,
    mlp_recursion,
    norms,
    parts,
    pattern_radius,
    patterns,
    recursion,
    suprema,
    two_layer,
    two_layer_refined,
)
from verify_kernels.matrix import MatrixEnclosure

TANH = Activation.parse("tanh")
RELU = Activation.parse("relu")


@pytest.fixture(autouse=True)
def bits() -> Any:
    before, ctx.prec = ctx.prec, 256
    yield
    ctx.prec = before


def scaled_norms(X: Any, rad: Any = None) -> norms.ScaledNorms:
    enclosed = MatrixEnclosure(np.asarray(X, dtype=np.float64), rad)
    return norms.ScaledNorms(enclosed, math.inf, parts.sample_norms(enclosed))


def exact_square(scale: Any, x: Any) -> Fraction:
    """Return ||diag(s) x||^2 of a single column."""
    terms = [Fraction(float(s)) * Fraction(float(v)) for s, v in zip(scale, x, strict=True)]
    return sum((term * term for term in terms), Fraction(0))


def close_is_wrong() -> bool:
    """Whether a goal below the exact norm of a long constant column is accepted."""
    n = 40_000
    for c in np.random.default_rng(1).random(30) + 0.5:
        held = scaled_norms(np.full((n, 1), c))
        square = n * Fraction(float(c)) ** 2
        goal = math.sqrt(float(square)) * (1.0 - 2.0**-51)
        if Fraction(held.close(np.ones(n), 2.0 * goal, goal)) ** 2 < square:
            return True
    return False


def test_close_pays_for_the_gram_matrix(monkeypatch: pytest.MonkeyPatch) -> None:
    assert not close_is_wrong()
    monkeypatch.setattr(norms, "gamma", lambda k: 0.0)
    assert close_is_wrong()


def hostile_matrix() -> tuple[float, Any, list[int], list[int]]:
    """A Hadamard matrix H of order 16 whose roundings, times s, all shorten one direction.

    Returns s, X and signs v, w with H v = 4 w. Products 1.5 (1 + k 2^-52) are ties: up for k = 1,
    down for k = 3, so that diag(s) X - fl(diag(s) X) is 2^-53 w v^T.
    """
    H = np.array([[1 - 2 * ((i & j).bit_count() % 2) for j in range(16)] for i in range(16)])
    v = [1 - 2 * (((k & 1) & (k >> 1)) ^ ((k >> 2) & (k >> 3) & 1)) for k in range(16)]
    w = [int(x) // 4 for x in H @ np.array(v)]
    down = np.outer(w, v) * H > 0
    return 1.5, H * (1.0 + np.where(down, 3.0, 1.0) * 2.0**-52), v, w


def test_tight_pays_for_scaled_entries(monkeypatch: pytest.MonkeyPatch) -> None:
    s, X, v, w = hostile_matrix()
    form = sum(w[i] * v[j] * Fraction(float(X[i, j])) for i in range(16) for j in range(16))
    least = Fraction(s) * form / 16  # w^T diag(s) X v / (|w| |v|) is below the norm
    held, scale = scaled_norms(X), np.full(16, s)
    assert Fraction(held.tight(scale, math.inf)) >= least
    monkeypatch.setattr(norms, "U", 0.0)
    assert Fraction(held.tight(scale, math.inf)) < least


def test_close_and_tight_pay_for_samples_that_are_not_exact() -> None:
    """The radius is 1/2 for every entry: the norm is 3/2, not 1."""
    X, rad = np.full((1, 1), 1.0), np.full((1, 1), 0.5)
    held = scaled_norms(X, rad)
    assert held.close(np.ones(1), math.inf, 0.0) >= 1.5
    assert held.tight(np.ones(1), math.inf) >= 1.5
    held.radius = 0.0
    assert held.close(np.ones(1), math.inf, 0.0) < 1.5
    assert held.tight(np.ones(1), math.inf) < 1.5


def test_close_pays_for_the_factorisation(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without the shift by delta the factor exists at the least eigenvalue itself."""
    A = np.array([[1.0, 0.0], [0.0, 1.0]]) * 2.0**-1
    held = scaled_norms(A)
    assert held.close(np.ones(2), 1.0, 0.5) > 0.5
    assert not held._is_below(held.backend.gram(A, -1.0), 0.25, 0.0)


def cheap_is_wrong(scales: Any, rows: Any) -> bool:
    held = scaled_norms(rows[:, None])
    found = held.cheap(scales, np.full(scales.shape[1], math.inf))
    return any(
        Fraction(float(found[k])) ** 2 < exact_square(scales[:, k], held.rows)
        for k in range(scales.shape[1])
    )


def test_cheap_pays_for_sums_and_for_underflow(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(4)
    rows, scales = np.full(5000, 0.7), 0.5 + rng.random((1, 6)) * np.ones((5000, 1))
    small = np.full(1000, 1.0), np.full((1000, 1), 2.0**-538)
    assert not cheap_is_wrong(scales, rows)
    assert not cheap_is_wrong(small[1], small[0])
    with monkeypatch.context() as broken:
        broken.setattr(norms, "U", 0.0)
        assert cheap_is_wrong(scales, rows)
    with monkeypatch.context() as broken:
        broken.setattr(norms, "OMEGA", 0.0)
        assert cheap_is_wrong(small[1], small[0])


# -------------------------------------------------------------------------- preactivations


def preactivations_hold(network: TwoLayer, inputs: Inputs, R: Fraction) -> bool:
    """Whether the float intervals contain p -+ R ||x||, for one sample."""
    known = two_layer._Known.of(parts.layers_of(network), inputs, R)
    assert known is not None
    lo, hi = known._preactivations(slice(0, 1))
    x = [Fraction(v) / inputs.divisor for v in inputs.values[0].tolist()]
    p = sum((Fraction(a) * b for a, b in zip(network.W[0].tolist(), x, strict=True)), Fraction(0))
    length = sum((v * v for v in x), Fraction(0))
    below, above = p - Fraction(float(lo[0, 0])), Fraction(float(hi[0, 0])) - p
    return min(below, above) >= 0 and min(below, above) ** 2 >= R * R * length


def row(W: list[float] | Any, X: list[float] | Any, divisor: int = 1) -> tuple[TwoLayer, Inputs]:
    W, X = np.asarray(W, dtype=np.float64), np.asarray(X, dtype=np.float64)
    network = TwoLayer(W[None, :], np.ones(1), TANH)
    return network, Inputs.of(X[None, :], (len(X),), divisor)


CANCELLING = row([2.0**60, 1.0, -(2.0**60)], [1.0, 1.0, 1.0])
VANISHING = row([2.0**-538] * 1000, [2.0**-537] * 1000)
QUOTIENTS = row([49.0, -1.0], [1.0, 49.0], 49)  # 49 fl(1/49) is not 1


def test_preactivations_pay_for_the_product(monkeypatch: pytest.MonkeyPatch) -> None:
    assert preactivations_hold(*CANCELLING, Fraction(0))
    monkeypatch.setattr(two_layer, "gamma", lambda k: 0.0)
    assert not preactivations_hold(*CANCELLING, Fraction(0))


def test_norms_pay_for_underflow(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every product is 2^-1075 and rounds to 0; the floor of the norms pays for the sum."""
    assert preactivations_hold(*VANISHING, Fraction(0))
    bare = two_layer.row_norms

    def without_floor(values: Any) -> Any:
        return np.where(np.abs(values).max(axis=1) < 1e-150, 0.0, bare(values))

    monkeypatch.setattr(two_layer, "row_norms", without_floor)
    assert not preactivations_hold(*VANISHING, Fraction(0))


def test_preactivations_pay_for_quotients(monkeypatch: pytest.MonkeyPatch) -> None:
    assert preactivations_hold(*QUOTIENTS, Fraction(0))
    monkeypatch.setattr(two_layer, "gamma", lambda k: 0.0)
    found = two_layer.row_norms

    def without_radii(values: Any) -> Any:
        sizes = found(values)
        return np.where(sizes < 1e-10, 0.0, sizes)

    monkeypatch.setattr(two_layer, "row_norms", without_radii)
    assert not preactivations_hold(*QUOTIENTS, Fraction(0))


def test_preactivations_pay_for_the_radius(monkeypatch: pytest.MonkeyPatch) -> None:
    assert preactivations_hold(*CANCELLING, Fraction(10**4))
    network, inputs = row([1.0], [1.0])
    assert preactivations_hold(network, inputs, Fraction(1, 2))
    monkeypatch.setattr(two_layer, "radius_up", lambda R: 0.0)
    assert not preactivations_hold(network, inputs, Fraction(1, 2))


def test_formulas_pay_for_the_product(monkeypatch: pytest.MonkeyPatch) -> None:
    """Floats see the preactivation 0, where tanh'' vanishes; it is 1."""
    network = TwoLayer(CANCELLING[0].W, np.full(1, 5.0), TANH)
    true = two_layer_refined(network, CANCELLING[1], 0, precise=True)
    assert two_layer_refined(network, CANCELLING[1], 0).hi >= true.lo
    monkeypatch.setattr(two_layer, "gamma", lambda k: 0.0)
    assert two_layer_refined(network, CANCELLING[1], 0).hi < true.lo


def test_samples_pay_for_quotients(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(5)
    values = np.append(rng.standard_normal(60), [5e-324, 1e-310, 0.0])[:, None]
    divisors = (Fraction(3), Fraction(255), Fraction(10, 7), Fraction(2) ** 60 + 1)

    def holds() -> bool:
        for divisor in divisors:
            found = parts.samples(Inputs.of(values, (1,), divisor), with_one=True)
            assert found is not None
            assert found.rad is not None
            assert (found.mid[:, 1] == 1.0).all()
            assert not found.rad[:, 1].any()
            for v, mid, rad in zip(values[:, 0], found.mid[:, 0], found.rad[:, 0], strict=True):
                exact = Fraction(float(v)) / divisor
                if abs(exact - Fraction(float(mid))) > Fraction(float(rad)):
                    return False
        return True

    assert holds()
    with monkeypatch.context() as broken:
        broken.setattr(parts, "U", 0.0)
        assert not holds()
    with monkeypatch.context() as broken:
        broken.setattr(parts, "up_array", lambda x: np.asarray(x))
        assert not holds()


# ------------------------------------------------------------------------ deeper networks


def deep(last: float = 1.0) -> tuple[Feedforward, Inputs]:
    """The first hidden unit reads 1, of which floats see nothing."""
    weights = (CANCELLING[0].W, np.array([[3.0]]), np.array([[last]]))
    network = Feedforward(weights, (None, None, None), (TANH, TANH))
    return network, CANCELLING[1]


def test_recursion_pays_for_the_features(monkeypatch: pytest.MonkeyPatch) -> None:
    network, inputs = deep()
    true = mlp_recursion(network, inputs, 0, precise=True)
    assert mlp_recursion(network, inputs, 0).hi >= true.lo
    monkeypatch.setattr(recursion, "_sizes", lambda found: np.abs(found.mid[:, 0]))
    assert mlp_recursion(network, inputs, 0).hi < true.lo


def test_recursion_pays_for_the_radius(monkeypatch: pytest.MonkeyPatch) -> None:
    network, inputs = deep()
    true = mlp_recursion(network, inputs, 1, precise=True)
    assert mlp_recursion(network, inputs, 1).hi >= true.lo
    monkeypatch.setattr(recursion, "radius_up", lambda R: 0.0)
    assert mlp_recursion(network, inputs, 1).hi < true.lo


def test_features_pay_for_their_enclosures(monkeypatch: pytest.MonkeyPatch) -> None:
    weights, inputs = deep()[0].weights, deep()[1]
    small = (weights[0] / 2.0**60, weights[1], weights[2])
    for scale, name in ((weights, "relu"), (small, "relu")):
        network = Feedforward(scale, (None,) * 3, (Activation.parse(name),) * 2)
        true = lipschitz_of_features(network, inputs, 0, precise=True).enclosure()
        assert lipschitz_of_features(network, inputs, 0).enclosure().hi >= true.lo
    wide = Feedforward(  # F_1 = (1, 1), seen as (0, 0): it counts for the second layer only
        (weights[0], np.array([[2.0**-40]]), weights[2]), (None,) * 3, (RELU, RELU)
    )
    true = lipschitz_of_features(wide, inputs, 0, precise=True).enclosure()
    assert lipschitz_of_features(wide, inputs, 0).enclosure().hi >= true.lo
    monkeypatch.setattr(features, "_features_norm", lambda *_: 0.0)
    assert lipschitz_of_features(wide, inputs, 0).enclosure().hi < true.lo


def test_features_pay_for_the_radius(monkeypatch: pytest.MonkeyPatch) -> None:
    network = Feedforward((np.eye(1),) * 3, (None,) * 3, (RELU, RELU))
    inputs = Inputs.of(np.ones((1, 1)), (1,))
    true = lipschitz_of_features(network, inputs, 1, precise=True).enclosure()
    assert lipschitz_of_features(network, inputs, 1).enclosure().hi >= true.lo
    monkeypatch.setattr(features, "radius_up", lambda R: 0.0)
    assert lipschitz_of_features(network, inputs, 1).enclosure().hi < true.lo


# ------------------------------------------------------------------------------- patterns


def radius_holds(W: Any, X: Any, b: Any, exact: Fraction, divisor: int = 1) -> bool:
    network = TwoLayer(np.asarray(W), np.ones(len(W)), RELU, b)
    found = pattern_radius(network, Inputs.of(np.asarray(X), (len(X[0]),), divisor)).enclosure()
    return bool(found.lo**2 <= exact <= found.hi**2)


def test_pattern_radius_pays_for_the_product(monkeypatch: pytest.MonkeyPatch) -> None:
    """The first unit reads 0 exactly; floats see another number in some orders of the sum."""
    entries = [2.0**60, 30.0, 70.0, -(2.0**60), -100.0]
    cases = [[list(order), [2.0**-30, *[0.0] * 4]] for order in permutations(entries)]
    X = [[1.0] * 5]
    assert all(radius_holds(W, X, None, Fraction(0)) for W in cases)
    monkeypatch.setattr(patterns, "gamma", lambda k: 0.0)
    assert not all(radius_holds(W, X, None, Fraction(0)) for W in cases)


def test_pattern_radius_pays_for_quotients(monkeypatch: pytest.MonkeyPatch) -> None:
    """W x = 0 exactly for x = (1/49, 1); the second unit is near its kink, not on it."""
    W, X = [[49.0, -1.0], [2.0**-70, 0.0]], [[1.0, 49.0]]
    assert radius_holds(W, X, None, Fraction(0), 49)
    monkeypatch.setattr(patterns, "gamma", lambda k: 0.0)
    bare = patterns.row_norms
    monkeypatch.setattr(patterns, "row_norms", lambda v: np.where(bare(v) < 1e-10, 0.0, bare(v)))
    assert not radius_holds(W, X, None, Fraction(0), 49)


def test_suprema_stay_above_sech_far_out(monkeypatch: pytest.MonkeyPatch) -> None:
    """With 1 - tanh^2 in place of sech^2 the supremum is 0 at 20, and the truth is not."""
    at = np.array([20.0])
    first, _ = suprema.float_suprema(TANH, at, at)
    true = arb(20).sech() ** 2
    assert not (true > arb(float(first[0])))
    plain = suprema.apply

    def rounded(name: str, *operands: Any) -> Any:
        if name != "sech2":
            return plain(name, *operands)
        value = 1.0 - np.tanh(operands[0][0]) ** 2
        return value, value

    monkeypatch.setattr(suprema, "apply", rounded)
    assert true > arb(float(suprema.float_suprema(TANH, at, at)[0][0]))


def test_pivots_are_needed_above_the_quotient(monkeypatch: pytest.MonkeyPatch) -> None:
    """A Rayleigh quotient alone is below the largest eigenvalue."""
    gram = parts.ball_matrix(np.array([[2.0, 1.0], [1.0, 3.0]]))
    true = (5 + arb(5).sqrt()) / 2
    found = norms.largest_eigenvalue(gram)
    assert found.overlaps(true)
    assert not (true > found.upper())
    monkeypatch.setattr(norms, "has_positive_pivots", lambda *_: True)
    monkeypatch.setattr(norms, "_leading_vector", lambda g: parts.ball_matrix(np.ones((2, 1))))
    assert true > norms.largest_eigenvalue(gram).upper()


def test_pivots_decide_definiteness() -> None:
    rng = np.random.default_rng(6)
    for _ in range(60):
        n = int(rng.integers(1, 7))
        A = rng.integers(-3, 4, (n, n)).astype(np.float64)
        gram = parts.ball_matrix(A @ A.T)
        for claim in rng.integers(-2, 40, 4):
            shifted = arb(int(claim))
            minors = np.linalg.eigvalsh(int(claim) * np.eye(n) - A @ A.T)
            if abs(minors[0]) > 1e-6:  # far from singular: floats decide it
                assert norms.has_positive_pivots(gram, shifted) == bool(minors[0] > 0)


def test_repeated_and_rank_deficient_spectra() -> None:
    for matrix, norm in (
        (np.eye(4), 1.0),
        (np.zeros((3, 2)), 0.0),
        (np.ones((3, 3)), 3.0),
        (np.diag([2.0, 2.0, 1.0]), 2.0),
        (np.array([[2.0**-700], [2.0**-700]]), None),
    ):
        found = norms.ball_norm(parts.ball_matrix(matrix))
        true = arb(2).sqrt() * arb(2) ** -700 if norm is None else arb(norm)
        assert found.overlaps(true)
        assert found.rad() <= arb(2) ** -40 * (true + arb(2) ** -900)

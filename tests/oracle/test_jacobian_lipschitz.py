"""Lipschitz constants of Jacobians and features: stored values, pairs of points, corners."""

from __future__ import annotations

import json
import math
import os
import time
from fractions import Fraction
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from flint import arb, arb_mat, ctx

from verify.errors import InputError
from verify.network.activation import Activation
from verify.network.feedforward import Feedforward
from verify.network.two_layer import TwoLayer
from verify_kernels.activation_analysis import jet
from verify_kernels.forward.inputs import Inputs
from verify_kernels.jacobian_lipschitz import (
    lipschitz_of_features,
    lipschitz_of_jacobian,
    mlp_recursion,
    pattern_lipschitz,
    pattern_radius,
    suprema,
    two_layer_refined,
    two_layer_simple,
)
from verify_kernels.spectral_norm import enclose_spectral_norm

FULL = os.environ.get("VERIFY_CAMPAIGN") == "full"
STORED = Path(__file__).parents[1] / "vectors" / "convergence.json"
CASES = {case["id"]: case for case in json.loads(STORED.read_text())["cases"]}
FORMULAS = {
    "simple": two_layer_simple,
    "refined": two_layer_refined,
    "mlp recursion": mlp_recursion,
}
SMOOTH = ("tanh", "sigmoid", "softplus(2)", "gelu", "sin", "elu(1)", "softsign", "atan", "erf")
STEPS = ("relu", "leaky_relu(1/3)", "abs", "hardtanh", "elu(2)", "tanh")
Layers = list[tuple[Any, Any]]


@pytest.fixture(autouse=True)
def bits() -> Any:
    before, ctx.prec = ctx.prec, 256
    yield
    ctx.prec = before


def floats(given: Any) -> Any:
    if given is None:
        return None
    return np.array([floats(row) if isinstance(row, list) else float.fromhex(row) for row in given])


def stored_network(case: dict[str, Any]) -> TwoLayer | Feedforward:
    if case["kind"] == "mlp-tanh":
        layers = case["layers"]
        return Feedforward(
            tuple(floats(layer["W"]) for layer in layers),
            tuple(floats(layer["b"]) for layer in layers),
            (Activation.parse("tanh"),) * (len(layers) - 1),
        )
    name = "relu" if "relu" in case["kind"] else "tanh"
    W, a, b = (floats(case[role]) for role in "Wab")
    return TwoLayer(W, a, Activation.parse(name), b)


def samples_of(case: dict[str, Any]) -> Inputs:
    return Inputs.of(floats(case["X"]), (case["d"],))


def holds_decimal(found: Any, text: str) -> bool:
    """40 correct digits, the last may be off by one unit: the two ranges must meet."""
    value = Fraction(text)
    slack = abs(value) / 10**38
    return bool(found.lo <= value + slack and found.hi >= value - slack)


@pytest.mark.parametrize(
    "name", [k for k, case in CASES.items() if case["kind"] in ("two-layer-tanh", "mlp-tanh")]
)
def test_stored_constants(name: str) -> None:
    case = CASES[name]
    network, inputs = stored_network(case), samples_of(case)
    for entry in case["certificates"]:
        R = Fraction(float.fromhex(entry["R"]))
        formula = FORMULAS[entry["beta_kind"]]
        above, close = formula(network, inputs, R), formula(network, inputs, R, precise=True)
        assert holds_decimal(above, entry["beta"])
        assert holds_decimal(close, entry["beta"])
        assert close.width * 10**20 <= close.hi
        assert above.hi >= close.lo
        assert above.hi <= close.hi * Fraction(10**9 + 1, 10**9)  # tight, not only valid
        best = lipschitz_of_jacobian(network, inputs, R).enclosure()
        assert best.hi <= close.hi * Fraction(10**9 + 1, 10**9)
    least = case["lipschitz_lower_bound"]
    if least is not None:
        R = Fraction(float.fromhex(least["R"]))
        for precise in (False, True):
            found = lipschitz_of_jacobian(network, inputs, R, precise=precise)
            assert found.enclosure().hi >= Fraction(least["value"])


@pytest.mark.parametrize("name", [k for k, case in CASES.items() if "relu output" in case["kind"]])
def test_stored_features(name: str) -> None:
    case = CASES[name]
    network, inputs = stored_network(case), samples_of(case)
    for R in (0, Fraction(1, 3), 10**6):
        above = lipschitz_of_features(network, inputs, R).enclosure()
        close = lipschitz_of_features(network, inputs, R, precise=True).enclosure()
        assert holds_decimal(above, case["lipschitz_b"])
        assert holds_decimal(close, case["lipschitz_b"])
        assert close.width * 10**20 <= close.hi
        assert above.hi >= close.lo
    assert pattern_lipschitz(network, inputs).enclosure().hi >= close.lo


# ----------------------------------------------------------------------- points in the ball


def random_network(rng: np.random.Generator, names: tuple[str, ...]) -> TwoLayer | Feedforward:
    def chosen() -> Activation:
        return Activation.parse(str(rng.choice(names)))

    d, m, k = (int(rng.integers(1, 4)) for _ in range(3))
    size = float(rng.choice([0.3, 1.0, 4.0]))
    if rng.random() < 0.3:
        b = rng.standard_normal(m) if rng.random() < 0.5 else None
        W = rng.standard_normal((m, d)) * size
        return TwoLayer(W, rng.standard_normal(m) * size, chosen(), b)
    widths = [d, *(int(rng.integers(1, 4)) for _ in range(int(rng.integers(1, 4)))), k]
    weights = tuple(rng.standard_normal((b, a)) * size for a, b in pairwise(widths))
    biases = tuple(rng.standard_normal(len(w)) if rng.random() < 0.7 else None for w in weights)
    return Feedforward(weights, biases, tuple(chosen() for _ in widths[2:]))


def layers_of(network: TwoLayer | Feedforward) -> Layers:
    if isinstance(network, TwoLayer):
        return [(network.W, network.b), (network.a.reshape(1, -1), network.c)]
    return list(zip(network.weights, network.biases, strict=True))


def activations_of(network: TwoLayer | Feedforward) -> tuple[Activation, ...]:
    return (network.activation,) if isinstance(network, TwoLayer) else network.activations


def moved(layers: Layers, step: Any) -> Layers:
    """Add a flat step of balls to the weights and biases."""
    place, found = 0, []
    for W, b in layers:
        take = step[place : place + W.size].reshape(W.shape)
        place += W.size
        bias = None
        if b is not None:
            bias = np.array([arb(float(x)) for x in b], dtype=object) + step[place : place + len(b)]
            place += len(b)
        exact = np.array([arb(float(x)) for x in W.ravel()], dtype=object).reshape(W.shape)
        found.append((exact + take, bias))
    return found


def count_of(layers: Layers) -> int:
    return sum(W.size + (0 if b is None else len(b)) for W, b in layers)


def passes(layers: Layers, activations: tuple[Activation, ...], x: Any) -> tuple[Any, Any]:
    """Return what every layer reads, and the derivatives of the activations, in balls."""
    h, read, bends = np.array([arb(float(v)) for v in x], dtype=object), [], []
    for (W, b), activation in zip(layers, activations, strict=False):
        read.append(h)
        q = W.dot(h) + (0 if b is None else b)
        both = [jet(activation, z, 1) for z in q]
        h = np.array([value for value, _ in both], dtype=object)
        bends.append(np.array([bend for _, bend in both], dtype=object))
    read.append(h)
    return read, bends


def jacobian(layers: Layers, activations: tuple[Activation, ...], X: Any) -> Any:
    """Return the Jacobian, rows (sample, output), as an object array of balls."""
    rows = []
    for x in X:
        read, bends = passes(layers, activations, x)
        for output in range(len(layers[-1][0])):
            back = np.array([arb(int(o == output)) for o in range(len(layers[-1][0]))], object)
            parts: list[Any] = []
            for k in range(len(layers) - 1, -1, -1):
                bias = [] if layers[k][1] is None else list(back)
                parts.append([*np.outer(back, read[k]).ravel(), *bias])
                if k:
                    back = back.dot(layers[k][0]) * bends[k - 1]
            rows.append([entry for part in reversed(parts) for entry in part])
    return np.array(rows, dtype=object)


def norm_below(matrix: Any) -> Any:
    """Return a ball whose lower end is a lower bound of the spectral norm."""
    near = np.array([[float(x.mid()) for x in row] for row in matrix])
    if not np.isfinite(near).all() or not near.any():
        return arb(0)
    vector = np.linalg.svd(near)[2][0]
    image = arb_mat([list(row) for row in matrix]) * arb_mat(len(vector), 1, vector.tolist())
    length = sum((arb(float(v)) ** 2 for v in vector), arb(0)).sqrt()
    total = sum((abs(y) * abs(y) for y in image.entries()), arb(0))
    return total.sqrt() / length


def point_in_ball(rng: np.random.Generator, count: int, R: float) -> Any:
    """Return a float step shorter than R (by a margin far above rounding)."""
    step = rng.standard_normal(count) * (rng.random(count) < rng.choice([0.3, 1.0]))
    length = float(np.linalg.norm(step))
    if length == 0.0:
        return step
    return step * (0.999 * R * float(rng.choice([1.0, rng.random()])) / length)


def distance(step: Any) -> Any:
    return sum((x * x for x in step), arb(0)).sqrt()


def as_balls(step: Any) -> Any:
    return np.array([arb(float(x)) for x in step], dtype=object)


def pair(rng: np.random.Generator, count: int, R: float) -> tuple[Any, Any]:
    """Two points in the ball: far apart, or close together near the sphere."""
    one = point_in_ball(rng, count, R)
    other = point_in_ball(rng, count, R)
    if rng.random() < 0.5:
        other = one + (other - one) * 2.0**-20
    return as_balls(one), as_balls(other)


@pytest.mark.soundness
def test_campaign_jacobian() -> None:
    count, seed, start = (2000 if FULL else 200), 51, time.perf_counter()
    rng, most, done = np.random.default_rng(seed), 0.0, 0
    while done < count:
        network = random_network(rng, SMOOTH)
        layers, activations = layers_of(network), activations_of(network)
        X = rng.standard_normal((int(rng.integers(1, 4)), layers[0][0].shape[1]))
        R = float(rng.choice([1e-6, 0.01, 0.3, 2.0]))
        inputs = Inputs.of(X, (X.shape[1],))
        bounds = [lipschitz_of_jacobian(network, inputs, Fraction(R), precise=p) for p in (0, 1)]
        ends = [bound.enclosure().hi for bound in bounds]
        assert all(isinstance(end, Fraction) for end in ends)
        for _ in range(4):
            one, other = pair(rng, count_of(layers), R)
            apart = distance(one - other)
            if not apart > 0:
                continue
            J = jacobian(moved(layers, one), activations, X)
            difference = norm_below(J - jacobian(moved(layers, other), activations, X))
            for bound in bounds:
                assert not (difference > bound.enclosure().arb() * apart)
            most = max(most, float((difference / apart).lower()) / float(min(ends)))
            done += 1
    spent = time.perf_counter() - start
    assert most > 0.5  # the pairs come near the bounds
    print(f"campaign jacobian-lipschitz: {done} cases, seed {seed}, {spent:.1f} s, 0 wrong")


@pytest.mark.soundness
def test_campaign_features() -> None:
    count, seed, start = (2000 if FULL else 200), 52, time.perf_counter()
    rng, most, done = np.random.default_rng(seed), 0.0, 0
    while done < count:
        network = random_network(rng, STEPS)
        layers, activations = layers_of(network), activations_of(network)
        X = rng.standard_normal((int(rng.integers(1, 4)), layers[0][0].shape[1]))
        R = float(rng.choice([1e-6, 0.01, 0.3, 2.0]))
        inputs = Inputs.of(X, (X.shape[1],))
        bounds = [lipschitz_of_features(network, inputs, Fraction(R), precise=p) for p in (0, 1)]
        hidden = layers[:-1]
        for _ in range(4):
            one, other = pair(rng, count_of(hidden), R)
            apart = distance(one - other)
            if not apart > 0:
                continue
            F, G = (
                [passes(moved(hidden, step), activations, x)[0][-1] for x in X]
                for step in (one, other)
            )
            difference = distance([x for a, b in zip(F, G, strict=True) for x in a - b])
            for bound in bounds:
                assert not (difference > bound.enclosure().arb() * apart)
            most = max(most, float(difference / apart) / float(bounds[1].enclosure().hi))
            done += 1
    spent = time.perf_counter() - start
    assert most > 0.8
    print(f"campaign feature-lipschitz: {done} cases, seed {seed}, {spent:.1f} s, 0 wrong")


def one_unit(p: float, a: float, name: str = "tanh") -> tuple[TwoLayer, Inputs]:
    network = TwoLayer(np.array([[p]]), np.array([a]), Activation.parse(name))
    return network, Inputs.of(np.ones((1, 1)), (1,))


@pytest.mark.parametrize("name", SMOOTH)
@pytest.mark.parametrize(("p", "a"), [(0.7, 1.0), (-0.3, -2.0), (2.5, 0.01), (0.0, 3.0)])
def test_one_unit_attains_the_bound(name: str, p: float, a: float) -> None:
    """With one unit and one sample the formula is the norm of the second derivative itself."""
    if p == 0.0 and name in ("elu(1)", "softsign"):
        p = -0.25  # at 0 the second derivative is missing
    network, inputs = one_unit(p, a, name)
    _, first, second = jet(Activation.parse(name), arb(p), 2)
    q = abs(arb(a) * second)
    true = (q + (q * q + 4 * first * first).sqrt()) / 2
    for precise in (False, True):
        found = lipschitz_of_jacobian(network, inputs, 0, precise=precise).enclosure()
        assert not (true > found.arb())
        assert found.hi <= Fraction(float(true.upper())) * Fraction(10**9 + 1, 10**9)


# ------------------------------------------------------------------------------- corners


@pytest.mark.parametrize("p", [19.5, 40.0, 300.0, 800.0])
def test_far_out_tanh_is_not_flat(p: float) -> None:
    """1 - tanh^2 is exactly 0 in binary64 there; the constant is not."""
    assert 1.0 - math.tanh(p) ** 2 == 0.0
    network, inputs = one_unit(p, 1.0)
    true = arb(p).sech() ** 2
    for R in (0, Fraction(1, 100), Fraction(1, 2)):
        for precise in (False, True):
            found = lipschitz_of_jacobian(network, inputs, R, precise=precise).enclosure()
            assert found.hi > 0
            assert not (true > found.arb())
    near = lipschitz_of_jacobian(network, inputs, 0, precise=True).enclosure()
    assert near.hi < 10 * Fraction(2) ** -int(2 * p)


@pytest.mark.parametrize("R", [10**6, 10**308, 10**400])
@pytest.mark.parametrize("name", ["tanh", "gelu"])
def test_huge_radius(R: int, name: str) -> None:
    network, inputs = one_unit(0.5, 1.0, name)
    found = lipschitz_of_jacobian(network, inputs, R).enclosure()
    assert found.hi >= R * suprema.suprema(Activation.parse(name)).second.lo
    assert found.is_bounded  # small networks fall back to balls
    plain = two_layer_refined(network, inputs, R)
    assert plain.hi >= found.hi / 2
    deep = mlp_recursion(network, inputs, R)
    assert deep.hi >= R // 2


def test_overflow_is_unbounded_not_nan() -> None:
    rng = np.random.default_rng(0)
    big = 1e300 * rng.standard_normal((40, 30))
    network = TwoLayer(
        1e300 * rng.standard_normal((30, 30)), np.full(30, 1e300), Activation.parse("tanh")
    )
    inputs = Inputs.of(big, (30,))
    for found in (
        lipschitz_of_jacobian(network, inputs, 1),
        lipschitz_of_jacobian(network, inputs, Fraction(10) ** 400),
    ):
        assert found.enclosure().lo == 0
        assert found.enclosure().hi == math.inf
        assert found.why_open
    features = lipschitz_of_features(network, inputs, 1).enclosure()
    assert features.hi >= Fraction(float(np.abs(big).max()))


def test_hints_beyond_binary64_are_silent() -> None:
    """Products of bounds near 1e300 leave the range; they only choose what is tried."""
    W, a = np.array([[1.0, 1.0], [1.0, 2.0]]), np.array([1e300, 1e300])
    inputs = Inputs.of([[1.0, 2.0], [3.0, -1.0]], (2,))
    found = two_layer_refined(TwoLayer(W, a, Activation.parse("tanh")), inputs, 1)
    assert 7e300 < found.hi < 8e300


@pytest.mark.parametrize("name", ["gelu", "exp(-z**2)", "tanh"])
def test_the_precise_tier_is_never_above_floats(name: str) -> None:
    rng = np.random.default_rng(0)
    network = TwoLayer(
        rng.standard_normal((20, 3)), rng.standard_normal(20), Activation.parse(name)
    )
    inputs = Inputs.of(rng.standard_normal((6, 3)), (3,))
    close = lipschitz_of_jacobian(network, inputs, Fraction(1, 100), precise=True)
    plain = lipschitz_of_jacobian(network, inputs, Fraction(1, 100))
    assert close.enclosure().hi <= plain.enclosure().hi
    assert bool(close.assumes) == (close.enclosure().hi == plain.enclosure().hi)


def test_subnormal_weights() -> None:
    tiny = 5e-324
    network = TwoLayer(
        np.full((2, 2), tiny), np.full(2, tiny), Activation.parse("tanh"), np.full(2, -tiny)
    )
    for X in (np.full((3, 2), tiny), np.full((3, 2), 1e-200), np.eye(2), np.zeros((1, 2))):
        inputs = Inputs.of(X, (2,))
        for R in (Fraction(0), Fraction(1, 2**1100), Fraction(1, 3)):
            close = lipschitz_of_jacobian(network, inputs, R, precise=True).enclosure()
            above = lipschitz_of_jacobian(network, inputs, R).enclosure()
            assert above.hi >= close.lo
            assert close.width * 2**60 <= close.hi
            deep = mlp_recursion(network, inputs, R)
            assert deep.hi >= mlp_recursion(network, inputs, R, precise=True).lo


def test_zero_outer_weights_and_zero_inputs() -> None:
    network = TwoLayer(np.array([[1.0], [2.0]]), np.zeros(2), Activation.parse("tanh"))
    inputs = Inputs.of(np.array([[0.0]]), (1,))
    for precise in (False, True):
        found = lipschitz_of_jacobian(network, inputs, 0, precise=precise).enclosure()
        assert found.lo == 0
        assert found.hi < Fraction(1, 10**100)
    one = Inputs.of(np.array([[1.0]]), (1,))
    true = arb(1).sech() ** 2  # at R = 0 only P is left
    found = lipschitz_of_jacobian(network, one, 0, precise=True).enclosure()
    assert found.arb().overlaps(true)


def test_activations_without_a_lipschitz_derivative_are_open() -> None:
    for name in ("relu", "abs", "elu(2)", "square", "hardtanh", "exp(z)"):
        network, inputs = one_unit(0.5, 1.0, name)
        for precise in (False, True):
            found = lipschitz_of_jacobian(network, inputs, 1, precise=precise)
            assert found.enclosure().hi == math.inf
            assert str(network.activation) in found.why_open
            assert two_layer_simple(network, inputs, 1, precise=precise).hi == math.inf
            assert two_layer_refined(network, inputs, 1, precise=precise).hi == math.inf
            assert mlp_recursion(network, inputs, 1, precise=precise).hi == math.inf
    network, inputs = one_unit(0.5, 1.0, "square")
    open_ = lipschitz_of_features(network, inputs, 1)
    assert open_.enclosure().hi == math.inf
    assert "slopes" in open_.why_open


def test_shared_tensors_count_their_roles() -> None:
    """Tied W1 = W2 = w, f = w tanh(w): the constant is that of f'' in w, up to 2 beta(sqrt 2 R)."""
    w = 0.4
    shared = Feedforward(
        (np.array([[w]]), np.array([[w]])),
        (None, None),
        (Activation.parse("tanh"),),
        (("W1", "W2"),),
    )
    inputs = Inputs.of(np.ones((1, 1)), (1,))
    t = arb(w)
    sech = t.sech() ** 2
    true = abs(2 * sech - 2 * t * t.tanh() * sech)  # f'' = 2 tanh' + w tanh''
    apart = TwoLayer(np.array([[w]]), np.array([w]), Activation.parse("tanh"))
    for precise in (False, True):
        found = lipschitz_of_jacobian(shared, inputs, 0, precise=precise).enclosure()
        assert not (true > found.arb())
        free = lipschitz_of_jacobian(apart, inputs, 0, precise=precise).enclosure()
        assert found.hi == 2 * free.hi
    assert true > free.arb()  # the untied constant is no bound
    assert lipschitz_of_features(shared, inputs, 1).enclosure().hi == math.inf
    assert pattern_radius(shared, inputs).enclosure().hi == math.inf


def test_refused_arguments() -> None:
    network, inputs = one_unit(0.5, 1.0)
    with pytest.raises(InputError, match="expected an exact radius R >= 0, but got -1"):
        lipschitz_of_jacobian(network, inputs, -1)
    with pytest.raises(InputError, match=r"expected an exact radius R >= 0, but got 0\.5"):
        lipschitz_of_features(network, inputs, 0.5)  # type: ignore[arg-type]
    with pytest.raises(InputError, match="expected samples with 1 entries, but got 2"):
        lipschitz_of_jacobian(network, Inputs.of(np.ones((1, 2)), (2,)), 1)
    with pytest.raises(InputError, match="expected at least one sample"):
        pattern_radius(network, Inputs.of(np.ones((0, 1)), (1,)))
    deep = Feedforward((np.eye(2),) * 3, (None,) * 3, (Activation.parse("tanh"),) * 2)
    with pytest.raises(InputError, match="expected one hidden layer, but got 2"):
        two_layer_simple(deep, Inputs.of(np.ones((1, 2)), (2,)), 1)


def test_divisors() -> None:
    """The samples are exact quotients: 255 and 3 against the same numbers in rationals."""
    rng = np.random.default_rng(7)
    X = rng.integers(0, 256, (6, 3)).astype(np.float64)
    network = TwoLayer(
        rng.standard_normal((5, 3)), rng.standard_normal(5), Activation.parse("tanh")
    )
    for divisor in (Fraction(255), Fraction(1, 3), Fraction(10) ** 30):
        inputs = Inputs.of(X, (3,), divisor)
        for formula in FORMULAS.values():
            close = formula(network, inputs, Fraction(1, 10), precise=True)
            above = formula(network, inputs, Fraction(1, 10))
            assert close.lo <= above.hi <= close.hi * Fraction(10**6 + 1, 10**6)
    far = Inputs.of(X, (3,), Fraction(10) ** 400)
    assert two_layer_refined(network, far, 1).hi == math.inf
    assert two_layer_refined(network, far, 1, precise=True).is_bounded


@pytest.mark.parametrize("name", SMOOTH)
def test_suprema_hold_on_intervals(name: str) -> None:
    """Values at points of intervals never exceed the suprema, near peaks, at 0 and far out."""
    activation = Activation.parse(name)
    rng = np.random.default_rng(3)
    middles = np.concatenate([
        rng.standard_normal(60) * 2, [0.0, 0.6584789484624084, -0.6584789484624084, 20.0, -35.0],
        [1.3169578969248166, 0.5773502691896258, 0.7071067811865476, 5e-324, -1e-310, 400.0],
    ])  # fmt: skip
    radii = rng.choice([0.0, 1e-17, 1e-3, 0.4, 3.0], len(middles))
    lo, hi = middles - radii, middles + radii
    first, second = suprema.float_suprema(activation, lo, hi)
    for k, (a, b) in enumerate(zip(lo, hi, strict=True)):
        p, t = (arb(float(a)) + arb(float(b))) / 2, (arb(float(b)) - arb(float(a))) / 2
        d1, d2 = suprema.ball_suprema(activation, p, t)
        assert not (d1 > arb(float(first[k])))
        assert not (d2 > arb(float(second[k])))
        for x in np.unique(np.clip(np.append(rng.uniform(a, b, 6), [a, b, 0.0]), a, b)):
            at = jet(activation, arb(float(x)), 2)
            for value, ball, bound in ((at[1], d1, first[k]), (at[2], d2, second[k])):
                if value.is_finite():
                    assert not (abs(value) > ball.upper())
                    assert not (abs(value) > arb(float(bound)))


def test_suprema_over_the_line_agree_with_the_analysis() -> None:
    for name in (*SMOOTH, "identity", "softplus(1/7)", "silu", "leaky_relu(1)"):
        known = suprema.suprema(Activation.parse(name), 256)  # an empty intersection would raise
        for k, bound in ((1, known.first), (2, known.second)):
            for x in np.linspace(-3.0, 3.0, 61):
                value = jet(Activation.parse(name), arb(float(x)), 2)[k]
                assert not (value.is_finite() and abs(value) > bound.arb())


def test_unbounded_ends_of_intervals() -> None:
    whole = np.array([-np.inf]), np.array([np.inf])
    for name in SMOOTH:
        known = suprema.suprema(Activation.parse(name))
        first, second = suprema.float_suprema(Activation.parse(name), *whole)
        assert known.first.hi_float == first[0]
        assert known.second.hi_float == second[0]


def test_large_layers_use_close_bounds() -> None:
    """Cheap, close and tight bounds of the refined formula agree with balls at 30 units."""
    rng = np.random.default_rng(11)
    X = rng.standard_normal((60, 20))
    for size in (0.02, 1.0):
        network = TwoLayer(
            rng.standard_normal((30, 20)) / 4,
            rng.standard_normal(30) * size,
            Activation.parse("tanh"),
            rng.standard_normal(30),
        )
        inputs = Inputs.of(X, (20,))
        close = two_layer_refined(network, inputs, Fraction(1, 50), precise=True)
        above = two_layer_refined(network, inputs, Fraction(1, 50))
        assert close.lo <= above.hi <= close.hi * Fraction(10**9 + 1, 10**9)


def test_several_outputs_beat_the_sum_of_single_ones() -> None:
    """The 2-norm of a column takes the place of |a_k|: exact where outputs are copies."""
    rng = np.random.default_rng(2)
    W, a = rng.standard_normal((4, 2)), rng.standard_normal(4)
    inputs = Inputs.of(rng.standard_normal((3, 2)), (2,))
    tanh = (Activation.parse("tanh"),)
    alone = TwoLayer(W, a * 5.0, tanh[0])
    doubled = Feedforward((W, np.array([a * 3.0, a * 4.0])), (None, None), tanh)
    one = two_layer_refined(alone, inputs, 0, precise=True)
    two = two_layer_refined(doubled, inputs, 0, precise=True)
    assert two.arb().overlaps(one.arb())
    spectral = enclose_spectral_norm(inputs.values).enclosure()
    assert two_layer_simple(doubled, inputs, 0).hi >= spectral.lo

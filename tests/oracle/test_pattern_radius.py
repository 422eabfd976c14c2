"""The ball on which no unit crosses a kink: exact values, and steps that stay or leave."""

from __future__ import annotations

import math
import os
import time
from fractions import Fraction
from typing import Any

import numpy as np
import pytest

from verify.network.activation import Activation
from verify.network.feedforward import Feedforward
from verify.network.two_layer import TwoLayer
from verify_kernels.forward.inputs import Inputs
from verify_kernels.jacobian_lipschitz import pattern_lipschitz, pattern_radius, patterns

FULL = os.environ.get("VERIFY_CAMPAIGN") == "full"
KINKS = {
    "relu": (0,),
    "leaky_relu(1/3)": (0,),
    "hardtanh": (-1, 1),
    "relu6": (0, 6),
    "abs": (0,),
    "Max(z, 1/3)": (Fraction(1, 3),),
}


def square_radius(network: TwoLayer, inputs: Inputs, kinks: Any) -> tuple[Fraction, Any]:
    """Return the exact square of R_pat and the pair that attains it."""
    best: tuple[Fraction, Any] | None = None
    for i, row in enumerate(inputs.values.tolist()):
        x = [Fraction(v) / inputs.divisor for v in row]
        one = network.b is not None
        length = sum((v * v for v in x), Fraction(int(one)))
        if length == 0:
            continue
        for k, w in enumerate(network.W.tolist()):
            p = sum((Fraction(a) * b for a, b in zip(w, x, strict=True)), Fraction(0))
            p += 0 if network.b is None else Fraction(float(network.b[k]))
            for kink in kinks:
                found = (p - kink) ** 2 / length
                if best is None or found < best[0]:
                    best = found, (i, k, p, kink, x, length)
    assert best is not None
    return best


def random_case(rng: np.random.Generator) -> tuple[str, TwoLayer, Inputs]:
    name = str(rng.choice(list(KINKS)))
    n, d, m = int(rng.integers(1, 8)), int(rng.integers(1, 5)), int(rng.integers(1, 8))
    W, X = rng.standard_normal((m, d)) * rng.choice([1.0, 1e-5]), rng.standard_normal((n, d))
    b = rng.standard_normal(m) if rng.random() < 0.5 else None
    if rng.random() < 0.3:
        W, X = np.rint(2 * W), np.rint(2 * X)
        b = None if b is None else np.rint(b)
    divisor = Fraction(int(rng.choice([1, 3, 255])))
    network = TwoLayer(W, rng.standard_normal(m), Activation.parse(name), b)
    return name, network, Inputs.of(X + (0.0 if X.any() else 1.0), (d,), divisor)


@pytest.mark.soundness
def test_campaign_patterns() -> None:
    """R_pat exactly; steps shorter than it never cross, the shortest crossing step does."""
    count, seed, start = (3000 if FULL else 300), 61, time.perf_counter()
    rng = np.random.default_rng(seed)
    for _ in range(count):
        name, network, inputs = random_case(rng)
        exact, (_, _, p, kink, x, length) = square_radius(network, inputs, KINKS[name])
        found = pattern_radius(network, inputs).enclosure()
        assert found.lo**2 <= exact <= found.hi**2
        assert (found.lo == 0) == (exact == 0)
        assert exact or found.hi == 0 or "1/3)" in name  # that kink is no dyadic number
        # the shortest step that crosses goes along x~: as long as R_pat, and onto the kink
        whole = [*x, *([] if network.b is None else [Fraction(1)])]
        step = [(kink - p) * v / length for v in whole]
        assert p + sum((a * b for a, b in zip(step, whole, strict=True)), Fraction(0)) == kink
        assert sum((a * a for a in step), Fraction(0)) == exact
        # a random direction of length just below R_pat leaves every preactivation on its side
        g = rng.standard_normal(len(x) + (network.b is not None))
        direction = [Fraction(float(v)) for v in g]
        size = sum((v * v for v in direction), Fraction(0))
        if not exact or not size:
            continue
        top = Fraction(math.isqrt(int(size * 2**80)) + 1) / 2**40
        for k in range(len(network.W)):
            for row in inputs.values.tolist():
                sample = [Fraction(v) / inputs.divisor for v in row]
                sample += [] if network.b is None else [Fraction(1)]
                weight = [Fraction(v) for v in network.W[k].tolist()]
                weight += [] if network.b is None else [Fraction(float(network.b[k]))]
                before = sum((a * b for a, b in zip(weight, sample, strict=True)), Fraction(0))
                change = sum((a * b for a, b in zip(direction, sample, strict=True)), Fraction(0))
                after = before + change * found.lo / top
                if any(sample):
                    for place in KINKS[name]:
                        assert (before > place) == (after > place)
    spent = time.perf_counter() - start
    print(f"campaign pattern-radius: {count} cases, seed {seed}, {spent:.1f} s, 0 wrong")


def test_near_a_kink_is_decided_exactly() -> None:
    """Preactivation 2^-1074 off, exactly on, and cancelling from 2^60."""
    relu = Activation.parse("relu")
    inputs = Inputs.of(np.array([[1.0, 1.0, 1.0]]), (3,))
    on = TwoLayer(np.array([[2.0**60, 1.0, -(2.0**60)]]), np.ones(1), relu, np.array([-1.0]))
    assert pattern_radius(on, inputs).enclosure().hi == 0
    off = TwoLayer(on.W, on.a, relu, np.array([-1.0 + 2.0**-53]))
    found = pattern_radius(off, inputs).enclosure()
    assert found.lo == Fraction(2) ** -54 == found.hi  # 2^-53 / ||(1, 1, 1, 1)||
    tiny = TwoLayer(np.array([[5e-324]]), np.ones(1), relu)
    found = pattern_radius(tiny, Inputs.of(np.array([[0.5]]), (1,))).enclosure()
    assert found.lo == Fraction(2) ** -1074 == found.hi
    large = TwoLayer(np.array([[1e300]]), np.ones(1), relu)
    found = pattern_radius(large, Inputs.of(np.array([[1e300]]), (1,))).enclosure()
    assert found.lo == Fraction(1e300) == found.hi


def test_zero_samples_never_cross() -> None:
    relu = Activation.parse("relu")
    network = TwoLayer(np.array([[3.0], [4.0]]), np.ones(2), relu)
    found = pattern_radius(network, Inputs.of(np.array([[0.0], [2.0]]), (1,))).enclosure()
    assert found.lo == 3 == found.hi
    never = pattern_radius(network, Inputs.of(np.array([[0.0]]), (1,))).enclosure()
    assert never.lo >= 2**60
    straight = TwoLayer(network.W, network.a, Activation.parse("identity"))
    assert pattern_radius(straight, Inputs.of(np.ones((1, 1)), (1,))).enclosure().lo >= 2**60


def test_many_candidates() -> None:
    """All distances equal: a float bound from below, or the exact number when asked for it."""
    network = TwoLayer(np.ones((80, 1)), np.ones(80), Activation.parse("relu"))
    inputs = Inputs.of(np.ones((80, 1)), (1,))
    quick = pattern_radius(network, inputs).enclosure()
    assert quick.hi == math.inf
    assert 1 - Fraction(1, 10**12) <= quick.lo <= 1
    exact = pattern_radius(network, inputs, precise=True).enclosure()
    assert exact.lo == 1 == exact.hi


def test_a_difference_quotient_within_the_pattern() -> None:
    """Inside the ball the Jacobian moves by at most max|slope| ||X~||; one unit attains it."""
    network = TwoLayer(np.array([[1.0]]), np.array([2.0]), Activation.parse("leaky_relu(1/3)"))
    inputs = Inputs.of(np.array([[3.0]]), (1,))
    for precise in (False, True):
        found = pattern_lipschitz(network, inputs, precise=precise).enclosure()
        assert found.contains(3)
        assert found.hi <= 3 + Fraction(1, 10**12)
    steep = TwoLayer(network.W, network.a, Activation.parse("leaky_relu(-5)"))
    assert pattern_lipschitz(steep, inputs, precise=True).enclosure().contains(15)


def test_what_is_not_piecewise_linear_is_open() -> None:
    inputs = Inputs.of(np.ones((1, 1)), (1,))
    for name in ("tanh", "elu(2)", "sign(z)", "square"):
        network = TwoLayer(np.ones((1, 1)), np.ones(1), Activation.parse(name))
        for found in (pattern_radius(network, inputs), pattern_lipschitz(network, inputs)):
            assert found.enclosure().lo == 0
            assert found.enclosure().hi == math.inf
            assert found.why_open
    relu = (Activation.parse("relu"),)
    deep = Feedforward((np.eye(1),) * 3, (None,) * 3, relu * 2)
    assert "hidden" in pattern_radius(deep, inputs).why_open


def test_kinks() -> None:
    for name, places in KINKS.items():
        found = patterns.kinks_of(Activation.parse(name))
        assert found is not None
        assert len(found) == len(places)
        assert all(kink.contains(place) for kink, place in zip(found, places, strict=True))
    assert patterns.kinks_of(Activation.parse("tanh")) is None

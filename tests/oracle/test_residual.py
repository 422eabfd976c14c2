"""The enclosed residual against exact fractions, wide balls and the stored vectors."""

from __future__ import annotations

import itertools
import json
import math
import os
import time
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from flint import arb, ctx, fmpq

from verify.enclosure import Enclosure
from verify.errors import InputError
from verify.network import Activation, Feedforward, Graph, GraphBuilder, TwoLayer, graph_of
from verify_kernels._rounding import ETA
from verify_kernels.forward.inputs import Inputs
from verify_kernels.residual import Residual, enclose, enclose_residual, norms
from verify_kernels.tangent_kernel.balls import FloatBalls
from verify_kernels.targets import Targets
from verify_kernels.two_layer.midrad import MidRad

VECTORS = Path(__file__).parents[1] / "vectors" / "convergence.json"
CASES = json.loads(VECTORS.read_text(encoding="utf-8"))["cases"]
FULL = os.environ.get("VERIFY_CAMPAIGN") == "full"
BITS = 400


def hexed(values):
    return np.array([hexed(v) if isinstance(v, list) else float.fromhex(v) for v in values])


def network_of(case):
    """Return the graph of a case of the vectors, or None."""
    if case["kind"].startswith("two-layer"):
        sigma = Activation.parse("tanh" if case["kind"].endswith("tanh") else "relu")
        bias = None if case["b"] is None else hexed(case["b"])
        return graph_of(TwoLayer(hexed(case["W"]), hexed(case["a"]), sigma, bias))
    if case["kind"] == "mlp-tanh":
        weights = tuple(hexed(layer["W"]) for layer in case["layers"])
        biases = tuple(
            None if layer["b"] is None else hexed(layer["b"]) for layer in case["layers"]
        )
        sigmas = (Activation.parse("tanh"),) * (len(weights) - 1)
        return graph_of(Feedforward(weights, biases, sigmas))
    return None


def last_digit(text: str) -> Fraction:
    """One unit of the 40th significant digit."""
    value = abs(Fraction(text))
    return Fraction(0) if value == 0 else Fraction(10) ** (math.floor(math.log10(value)) - 39)


def near(value: Enclosure, text: str) -> bool:
    """Whether an enclosure meets the digits of a stored number."""
    exact, unit = Fraction(text), last_digit(text)
    return value.lo <= exact + unit and value.hi >= exact - unit


GRAPHS = [case for case in CASES if network_of(case) is not None]


@pytest.mark.parametrize("case", GRAPHS, ids=lambda case: case["id"])
@pytest.mark.parametrize("precise", [False, True])
def test_the_stored_vectors(case, precise: bool) -> None:
    X, y = hexed(case["X"]), hexed(case["y"])
    graph = network_of(case)
    found = enclose_residual(graph, Inputs.of(X, graph.sample_shape), y, precise=precise)
    assert near(found.norm.enclosure(), case["residual_norm"])
    for k, text in enumerate(case.get("outputs", ())):
        r = Fraction(text) - Fraction(y[k])
        centre, slack = Fraction(found.mid[k]), Fraction(found.rad[k]) + last_digit(text)
        assert abs(r - centre) <= slack
    if precise:
        norm = found.norm.enclosure()
        assert norm.hi - norm.lo <= norm.lo / 10**20


# Random networks -----------------------------------------------------------------------------


SMOOTH = {
    "tanh": lambda z: z.tanh(),
    "sigmoid": lambda z: 1 / (1 + (-z).exp()),
    "softplus(3)": lambda z: (1 + (3 * z).exp()).log() / 3,
    "gelu": lambda z: z * (1 + (z / arb(2).sqrt()).erf()) / 2,
    "sin": lambda z: z.sin(),
}
RATIONAL = {
    "relu": lambda z: max(z, 0 * z),
    "leaky_relu(1/3)": lambda z: z if z > 0 else z / 3,
    "abs": abs,
    "square": lambda z: z * z,
    "hardtanh": lambda z: min(max(z, -1 + 0 * z), 1 + 0 * z),
}


def random_case(rng: np.random.Generator, rational: bool):
    """Return a random dense network with its samples, targets and the plain function."""
    names = RATIONAL if rational else SMOOTH
    depth = int(rng.integers(1, 4))
    widths = [int(k) for k in rng.integers(1, 5, depth + 1)] + [int(rng.integers(1, 4))]
    coarse = rng.random() < 0.4  # arguments at kinks
    scale = float(2.0 ** rng.integers(-3, 3))

    def draw(*shape: int):
        return rng.integers(-2, 3, shape) * 0.5 if coarse else scale * rng.standard_normal(shape)

    weights = tuple(draw(b, a) for a, b in itertools.pairwise(widths))
    biases = tuple(draw(len(w)) if rng.random() < 0.6 else None for w in weights)
    sigmas = tuple(str(rng.choice(list(names))) for _ in weights[:-1])
    network = Feedforward(weights, biases, tuple(map(Activation.parse, sigmas)))
    n = int(rng.integers(1, 5))
    divisor = Fraction(int(rng.choice([1, 1, 2, 255])))
    inputs = Inputs.of(draw(n, widths[0]), (widths[0],), divisor)
    targets = [[Fraction(int(k), 3) for k in row] for row in rng.integers(-3, 4, (n, widths[-1]))]
    if rng.random() < 0.6:
        targets = np.asarray(draw(n, widths[-1]), dtype=np.float64)
    return network, inputs, targets, [names[name] for name in sigmas]


def plain_residual(network, inputs, targets, functions, number):
    """Return r by plain loops over numbers of one type."""
    found = []
    for x, y in zip(inputs.values, np.asarray(targets, dtype=object), strict=True):
        h = [number(Fraction(float(v)) / inputs.divisor) for v in x]
        for k, (weight, bias) in enumerate(zip(network.weights, network.biases, strict=True)):
            h = [
                sum((number(Fraction(float(w))) * v for w, v in zip(row, h, strict=True)),
                    number(Fraction(0) if bias is None else Fraction(float(bias[i]))))
                for i, row in enumerate(weight)
            ]  # fmt: skip
            if k < len(functions):
                h = [functions[k](v) for v in h]
        found += [v - number(Fraction(t)) for v, t in zip(h, y, strict=True)]
    return found


def to_fmpq(value: Fraction):
    return fmpq(value.numerator, value.denominator)


def contains(found: Residual, k: int, value) -> bool:
    """Whether the box certainly does not miss an exact number or a ball."""
    lo = Fraction(found.mid[k]) - Fraction(found.rad[k])
    hi = Fraction(found.mid[k]) + Fraction(found.rad[k])
    return not (value < arb(to_fmpq(lo)) or value > arb(to_fmpq(hi)))


@pytest.mark.soundness
def test_random_rational_networks_campaign() -> None:
    rng, count, started = np.random.default_rng(5), 600 if FULL else 60, time.perf_counter()
    zeros = 0
    for _ in range(count):
        network, inputs, targets, functions = random_case(rng, True)
        exact = plain_residual(network, inputs, targets, functions, lambda v: v)
        square = sum(r * r for r in exact)
        near_one, precise = (
            enclose_residual(network.graph(), inputs, targets, precise=tier)
            for tier in (False, True)
        )
        with ctx.workprec(4 * BITS):
            for number, r in zip(precise.numbers, map(to_fmpq, exact), strict=True):
                assert number == r if precise.is_exact else number.overlaps(arb(r))
        assert (precise.norm.enclosure() == Enclosure.exact(0)) == (square == 0)
        zeros += square == 0
        for found in (near_one, precise):
            norm = found.norm.enclosure()
            assert norm.lo**2 <= square <= norm.hi**2
            for k, r in enumerate(exact):
                assert abs(r - Fraction(found.mid[k])) <= Fraction(found.rad[k])
    print(f"campaign residual of rational networks: {count} cases, seed 5, "
          f"{time.perf_counter() - started:.1f} s, 0 wrong")  # fmt: skip


@pytest.mark.soundness
def test_random_smooth_networks_campaign() -> None:
    rng, count, started = np.random.default_rng(6), 600 if FULL else 60, time.perf_counter()
    for _ in range(count):
        network, inputs, targets, functions = random_case(rng, False)
        plain, precise = (
            enclose_residual(network.graph(), inputs, targets, precise=tier)
            for tier in (False, True)
        )
        with ctx.workprec(BITS):
            exact = plain_residual(network, inputs, targets, functions, lambda v: arb(to_fmpq(v)))
            norm = sum((r * r for r in exact), arb(0)).sqrt()
            for found in (plain, precise):
                told = found.norm.enclosure()
                assert not (norm < arb(to_fmpq(told.lo)))
                assert not (norm > arb(to_fmpq(told.hi)))
                assert all(contains(found, k, r) for k, r in enumerate(exact))
            assert all(r.overlaps(v) for r, v in zip(exact, map(arb, precise.numbers), strict=True))
    print(f"campaign residual of smooth networks: {count} cases, seed 6, "
          f"{time.perf_counter() - started:.1f} s, 0 wrong")  # fmt: skip


def test_operations_that_the_sweep_does_not_know_are_enclosed() -> None:
    builder = GraphBuilder()
    rng = np.random.default_rng(1)
    place = builder.add("linear", [builder.input([3])], {}, {"weight": ("w", rng.random((4, 3)))})
    place = builder.add("layer_norm", [place], {"axes": 1, "epsilon": Fraction(1, 10**5)})
    place = builder.add("linear", [place], {}, {"weight": ("v", rng.random((2, 4)))})
    graph = builder.build(place)
    inputs = Inputs.of(rng.random((5, 3)), (3,))
    y = rng.random((5, 2))
    plain, precise = (enclose_residual(graph, inputs, y, precise=tier) for tier in (False, True))
    assert plain.norm.enclosure().is_bounded
    assert plain.norm.enclosure().contains(Fraction(precise.norm.enclosure().lo))
    assert all(contains(plain, k, value) for k, value in enumerate(precise.numbers))


def test_batches_are_joined(monkeypatch: pytest.MonkeyPatch) -> None:
    network, inputs, _targets, _ = random_case(np.random.default_rng(3), False)
    inputs = Inputs.of(np.random.default_rng(0).random((50, inputs.values.shape[1])),
                       inputs.values.shape[1:])  # fmt: skip
    y = np.zeros((50, len(network.weights[-1])))
    whole = enclose_residual(network.graph(), inputs, y)
    monkeypatch.setattr(enclose, "BATCH_ENTRIES", 100)
    parts = enclose_residual(network.graph(), inputs, y)
    assert np.all(np.abs(whole.mid - parts.mid) <= whole.rad + parts.rad)
    assert parts.norm.enclosure().intersection(whole.norm.enclosure())


# Sizes of residuals ---------------------------------------------------------------------------


def tanh_net(W, a, b=None) -> Graph:
    bias = None if b is None else np.asarray(b, dtype=float)
    return TwoLayer(np.asarray(W, dtype=float), np.asarray(a, dtype=float),
                    Activation.parse("tanh"), bias).graph()  # fmt: skip


def test_a_residual_that_is_exactly_zero() -> None:
    graph = TwoLayer(np.eye(2), np.array([0.5, 3.0]), Activation.parse("relu")).graph()
    inputs = Inputs.of([[1.0, 2.0], [-1.0, 0.0]], (2,))
    found = enclose_residual(graph, inputs, [6.5, 0.0], precise=True)
    assert found.is_exact
    assert found.norm.enclosure() == Enclosure.exact(0)
    assert enclose_residual(graph, inputs, [6.5, 0.0]).norm.enclosure().contains(0)
    at_zero = enclose_residual(tanh_net([[1.0]], [0.7]), Inputs.of([[0.0]], (1,)), [0.0],
                               precise=True)  # fmt: skip
    assert at_zero.norm.enclosure() == Enclosure.exact(0)


def test_a_zero_that_only_algebra_knows_stays_open() -> None:
    graph = tanh_net([[1.0], [1.0], [2.0]], [1.0, -1.0, 0.0])
    inputs = Inputs.of([[0.3]], (1,))
    found = enclose_residual(graph, inputs, [0.0], precise=True)
    norm = found.norm.enclosure()
    assert norm.lo == 0
    assert 0 <= norm.hi < Fraction(1, 10**1000)
    if norm.hi:
        assert found.norm.why_open == "||r|| is not told apart from 0"


@pytest.mark.parametrize("seed", range(6))
def test_residuals_far_below_the_outputs(seed: int) -> None:
    """The targets are the outputs rounded to binary64: r is of size 1e-17."""
    rng = np.random.default_rng(seed)
    graph = tanh_net(rng.standard_normal((4, 3)), rng.standard_normal(4), rng.standard_normal(4))
    inputs = Inputs.of(rng.standard_normal((5, 3)), (3,))
    outputs = enclose_residual(graph, inputs, np.zeros(5), precise=True).mid
    plain, precise = (
        enclose_residual(graph, inputs, outputs, precise=tier) for tier in (False, True)
    )
    norm = precise.norm.enclosure()
    assert norm.lo > 0
    assert norm.hi < Fraction(1, 10**15)
    assert norm.hi - norm.lo <= norm.lo / 10**20
    assert plain.norm.enclosure().lo <= norm.lo <= norm.hi <= plain.norm.enclosure().hi


def test_the_smallest_and_the_largest_numbers() -> None:
    inputs = Inputs.of([[1.0], [2.0]], (1,))
    relu = Activation.parse("relu")
    tiny = TwoLayer(np.array([[5e-324]]), np.array([3.0]), relu).graph()
    for precise in (False, True):
        found = enclose_residual(tiny, inputs, [0.0, 0.0], precise=precise)
        norm, exact = found.norm.enclosure(), 45 * Fraction(5e-324) ** 2
        assert norm.lo**2 <= exact <= norm.hi**2
        assert all(abs(Fraction(found.mid[k]) - 3 * (k + 1) * Fraction(5e-324))
                   <= Fraction(found.rad[k]) for k in range(2))  # fmt: skip
    large = TwoLayer(np.array([[1e308]]), np.array([1e308]), relu).graph()
    found = enclose_residual(large, inputs, [0.0, 0.0])
    assert not found.norm.enclosure().is_bounded
    assert "range" in found.norm.why_open
    assert np.isinf(found.rad).any()
    exact = enclose_residual(large, inputs, [0.0, 0.0], precise=True)
    square = (Fraction(1e308) ** 2) ** 2 * 5
    norm = exact.norm.enclosure()
    assert norm.lo**2 <= square <= norm.hi**2
    assert np.isinf(exact.rad).all()


def test_norms_of_large_and_small_vectors_do_not_leave_the_range() -> None:
    for size in (5e-324, 3e-310, 1e-200, 1.0, 1e200, 1.7e308):
        mid = np.full(9, size)
        norm = norms.box_norm(mid, np.zeros(9))
        assert norm.lo <= 3 * Fraction(size) <= norm.hi
        assert norm.hi - norm.lo <= Fraction(size) / 10**12 or size < 1e-300
    mixed = np.array([1.7e308, -5e-324])
    norm = norms.box_norm(mixed, np.array([0.0, ETA]))
    assert norm.lo**2 <= Fraction(1.7e308) ** 2 + 4 * Fraction(ETA) ** 2 <= norm.hi**2


def test_time_that_is_over_is_told() -> None:
    graph = tanh_net([[1.0]], [1.0])
    found = enclose_residual(graph, Inputs.of([[1.0]], (1,)), [0.0], precise=True, deadline=0.0)
    assert not found.norm.enclosure().is_bounded
    assert found.norm.why_open == "ball arithmetic did not end in time"


@pytest.mark.parametrize(
    ("targets", "told"),
    [
        ([1.0, 2.0], r"expected targets of shape \(1, 1\), but got \(2,\)"),
        ([math.nan], "expected finite targets, but got inf or nan"),
        ([Fraction(1, 3), math.inf], "expected targets of shape"),
        ([1j], "expected real targets, but got complex128"),
        (np.array(["1"], dtype=object), "expected real targets, but got '1'"),
        (np.array([None], dtype=object), "expected real targets, but got None"),
        (np.array([1j], dtype=object), "expected real targets, but got 1j"),
    ],
)
def test_targets_that_do_not_fit(targets, told: str) -> None:
    with pytest.raises(InputError, match=f"^enclose_residual: {told}"):
        enclose_residual(tanh_net([[1.0]], [1.0]), Inputs.of([[1.0]], (1,)), targets)


def test_targets_of_every_type_are_exact() -> None:
    for given in ([2**60 + 1], np.array([2**60 + 1]), [Fraction(2**60 + 1)]):
        assert Targets.of(given, 1, 1, where="t").rows() == [[Fraction(2**60 + 1)]]
    balls = Targets.of([Fraction(10) ** 400, Fraction(1, 3)], 2, 1, where="t").balls()
    assert np.isinf(balls.rad[0, 0])
    assert abs(Fraction(1, 3) - Fraction(balls.mid[1, 0])) <= Fraction(balls.rad[1, 0])


# Without a term, a box misses -----------------------------------------------------------------


def _misses(cases: int = 40) -> int:
    """Count random cases in which an entry or the norm is not contained."""
    rng, missed = np.random.default_rng(8), 0
    for _ in range(cases):
        network, inputs, targets, functions = random_case(rng, True)
        exact = plain_residual(network, inputs, targets, functions, lambda v: v)
        found = enclose_residual(network.graph(), inputs, targets)
        norm, square = found.norm.enclosure(), sum(r * r for r in exact)
        inside = all(
            abs(r - Fraction(found.mid[k])) <= Fraction(found.rad[k]) for k, r in enumerate(exact)
        )
        missed += not (inside and norm.lo**2 <= square <= norm.hi**2)
    return missed


def test_with_all_terms_nothing_is_missed() -> None:
    assert _misses() == 0


def test_radii_of_activations_are_needed(monkeypatch: pytest.MonkeyPatch) -> None:
    genuine = FloatBalls.activate

    def without(self, activation, x, name):
        value, slope = genuine(self, activation, MidRad.exact(x.mid), name)
        return MidRad.exact(value.mid), slope

    monkeypatch.setattr(FloatBalls, "activate", without)
    assert _misses() > 0


def test_radii_of_products_are_needed(monkeypatch: pytest.MonkeyPatch) -> None:
    genuine = FloatBalls.push
    monkeypatch.setattr(
        FloatBalls, "push", lambda self, linear, x: MidRad.exact(genuine(self, linear, x).mid)
    )
    assert _misses() > 0


def test_radii_of_targets_are_needed(monkeypatch: pytest.MonkeyPatch) -> None:
    """The rounding of the difference would cover them, and is taken away first."""
    graph = TwoLayer(np.zeros((1, 1)), np.zeros(1), Activation.parse("relu")).graph()
    inputs = Inputs.of([[1.0]], (1,))
    genuine = Targets.balls

    def miss() -> bool:
        found = enclose_residual(graph, inputs, [Fraction(1, 3)])
        return abs(Fraction(-1, 3) - Fraction(found.mid[0])) > Fraction(found.rad[0])

    monkeypatch.setattr(MidRad, "__sub__", lambda a, b: MidRad(a.mid - b.mid, a.rad + b.rad))
    assert not miss()
    monkeypatch.setattr(Targets, "balls", lambda self: MidRad.exact(genuine(self).mid))
    assert miss()


def test_the_rounding_of_the_difference_is_needed(monkeypatch: pytest.MonkeyPatch) -> None:
    graph = TwoLayer(np.ones((1, 1)), np.ones(1), Activation.parse("relu")).graph()
    inputs = Inputs.of([[1.0]], (1,))

    def miss() -> bool:
        found = enclose_residual(graph, inputs, [2.0**-70])
        return abs(1 - Fraction(2) ** -70 - Fraction(found.mid[0])) > Fraction(found.rad[0])

    assert not miss()
    monkeypatch.setattr(MidRad, "__sub__", lambda a, b: MidRad(a.mid - b.mid, a.rad + b.rad))
    monkeypatch.setattr(FloatBalls, "push",
                        lambda self, linear, x: MidRad.exact(linear.apply(x.mid)))  # fmt: skip
    monkeypatch.setattr(FloatBalls, "activate",
                        lambda self, sigma, x, name: (x, None))  # fmt: skip
    assert miss()


@pytest.mark.parametrize("name", ["norm_up", "norm_down"])
def test_the_rounding_of_norms_is_needed(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def missed() -> int:
        rng, count = np.random.default_rng(2), 0
        for _ in range(40):
            values = rng.random(5)
            norm = norms.box_norm(values, np.zeros(5))
            square = sum(Fraction(v) ** 2 for v in values)
            count += not norm.lo**2 <= square <= norm.hi**2
        return count

    assert missed() == 0
    monkeypatch.setattr(norms, name, lambda values: float(np.linalg.norm(values)))
    assert missed() > 0


@pytest.mark.parametrize("name", ["up_array", "down_array"])
def test_the_rounding_of_ends_is_needed(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """One entry, so that the norm is the end itself; the rounding of the norm is taken away."""

    def missed() -> int:
        rng, count = np.random.default_rng(2), 0
        for mid, rad in rng.random((40, 2)) + np.array([1.0, 0.0]):
            norm = norms.box_norm(np.array([mid]), np.array([rad]))
            low, high = Fraction(mid) - Fraction(rad), Fraction(mid) + Fraction(rad)
            count += not (norm.lo <= low and high <= norm.hi)
        return count

    for each in ("norm_up", "norm_down"):
        monkeypatch.setattr(norms, each, lambda values: float(values[0]))
    assert missed() == 0
    monkeypatch.setattr(norms, name, lambda values: values)
    assert missed() > 0


def test_bits_lost_by_scaling_are_needed(monkeypatch: pytest.MonkeyPatch) -> None:
    """2^1023 and the smallest number, scaled by 2^-1024: the latter becomes 0."""
    for each in ("norm_up", "norm_down"):
        monkeypatch.setattr(norms, each, lambda values: float(values[1]))
    values = np.array([2.0**1023, 5e-324])
    zero = np.zeros(2)
    assert norms.box_norm(values, zero).hi >= Fraction(5e-324)
    monkeypatch.setattr(norms, "up_array", lambda found: found)
    assert norms.box_norm(values, zero).hi < Fraction(5e-324)

"""Residues, minors and dead units: never wrong, and wrong at once when a bound is taken away."""

from __future__ import annotations

import json
import os
import time
from fractions import Fraction
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from flint import arb, arb_mat, fmpq, fmpq_mat

from verify.enclosure import Enclosure
from verify.errors import InputError
from verify.network.activation import Activation
from verify.network.graph import Graph, GraphBuilder
from verify_kernels.exact_forward import ball_determinant, residues, signs
from verify_kernels.exact_forward.ball_determinant import (
    enclose_smallest_singular_by_balls,
    prove_rank_by_balls,
    z_matrix,
)
from verify_kernels.exact_forward.balls import ball_features
from verify_kernels.exact_forward.dead_units import dead_units
from verify_kernels.exact_forward.deficiency import deficiency_at_these_weights
from verify_kernels.exact_forward.rational import rational_features
from verify_kernels.exact_forward.residues import residue_features
from verify_kernels.forward.inputs import Inputs
from verify_kernels.full_rank.modular import rank_of_residues
from verify_kernels.full_rank.primes import choose_prime
from verify_kernels.two_layer.balls import precision

CASES = json.loads(
    (Path(__file__).parents[1] / "vectors" / "expressivity.json").read_text(encoding="utf-8")
)["cases"]
FULL = os.environ.get("VERIFY_CAMPAIGN") == "full"
RELU = Activation.parse("relu")


def layered(
    layers: list[tuple[Any, Any]], activation: Activation, d: int, last_bias: bool = True
) -> tuple[Graph, int]:
    """Return hidden layers with a last layer of zeros, and the place of the features."""
    builder = GraphBuilder()
    place = builder.input((d,))
    for k, (weight, bias) in enumerate(layers):
        tensors = {"weight": (f"W{k}", np.array(weight, dtype=float))}
        if bias is not None:
            tensors["bias"] = (f"b{k}", np.array(bias, dtype=float))
        place = builder.add("linear", (place,), {}, tensors)
        place = builder.add("activation", (place,), {"activation": activation})
    last = {"weight": ("V", np.zeros((1, builder.shape(place)[0])))}
    if last_bias:
        last["bias"] = ("c", np.zeros(1))
    graph = builder.build(builder.add("linear", (place,), {}, last))
    assert graph.last_affine is not None
    return graph, graph.nodes[graph.last_affine].inputs[0]


def of_case(case: dict[str, Any]) -> tuple[Graph, int, Inputs]:
    def floats(rows: Any) -> np.ndarray:
        return np.array([[float.fromhex(x) for x in row] for row in rows]).reshape(len(rows), -1)

    layers = [
        (floats(each["W"]), None if each["b"] is None else floats([each["b"]])[0])
        for each in case["layers"]
    ]
    graph, place = layered(
        layers, Activation.parse(case["activation"]), case["d"], case["last_layer_bias"]
    )
    return graph, place, Inputs.of(floats(case["X"]), (case["d"],))


def as_residue(value: Any, p: int) -> int:
    found = int(value.p) * pow(int(value.q), -1, p) % p
    return found - p if 2 * found > p else found


def residues_of(matrix: Any, p: int) -> list[int]:
    return [as_residue(x, p) for x in matrix.entries()]


@pytest.mark.parametrize("case", CASES, ids=lambda c: c["id"])
def test_every_minor_that_is_proved_exists(case: dict[str, Any]) -> None:
    graph, place, inputs = of_case(case)
    ones = case["last_layer_bias"]
    found = prove_rank_by_balls(graph, place, inputs, ones=ones, bits_cap=2048)
    value = found.enclosure()
    assert (value.lo > 0) == case["witness_at_w"]
    if value.lo > 0:
        assert found.witness is not None
        columns = found.witness.data["columns"]
        Z = z_matrix(ball_features(graph, place, inputs, 3000), ones)
        with precision(3000):
            det = abs(arb_mat(len(Z), len(Z), list(Z[:, columns].flat)).det())
            assert value.arb().overlaps(det)
            assert (value.arb() / det - 1).abs_upper() < 1
        assert value.lo.denominator.bit_length() + value.lo.numerator.bit_length() < 12_000


@pytest.mark.parametrize("case", CASES, ids=lambda c: c["id"])
def test_smallest_singular_values_are_those_stored(case: dict[str, Any]) -> None:
    graph, place, inputs = of_case(case)
    ones = case["last_layer_bias"]
    found = enclose_smallest_singular_by_balls(graph, place, inputs, ones=ones, bits_cap=4096)
    value = found.enclosure()
    stored = Fraction(case["sigma_n"])
    assert value.lo <= stored * (1 + Fraction(1, 10**38))
    assert value.hi >= stored * (1 - Fraction(1, 10**38))
    if case["witness_at_w"]:
        assert value.is_bounded
        assert value.hi <= value.lo * (1 + Fraction(1, 10**6))


@pytest.mark.parametrize(
    "case", [c for c in CASES if c["activation"] in ("relu", "square")], ids=lambda c: c["id"]
)
def test_residues_dead_units_and_deficiencies_of_rational_cases(case: dict[str, Any]) -> None:
    graph, place, inputs = of_case(case)
    exact = rational_features(graph, place, inputs).matrix
    prime = choose_prime(1024)
    found = residue_features(graph, place, inputs, prime)
    assert found.residues is not None
    assert found.residues.ravel().tolist() == residues_of(exact, prime)
    units = dead_units(graph, place, inputs)
    columns = np.array(exact.entries(), dtype=object).reshape(exact.nrows(), -1).T
    assert units.zero.tolist() == [all(x == 0 for x in column) for column in columns]
    assert units.constant.tolist() == [all(x == column[0] for x in column) for column in columns]
    if case["activation"] == "relu":
        assert np.flatnonzero(units.zero).tolist() == case["dead_units"]
        assert units.certain == units.possible
    ones = case["last_layer_bias"]
    lower = deficiency_at_these_weights(graph, place, inputs, ones=ones)
    assert lower.enclosure() == Enclosure.exact(case["rank"])
    if case["rank"] < case["n"]:
        assert lower.witness is not None
        vector = lower.witness.data["vector"]
        assert any(vector)
        Z = [row + ([fmpq(1)] if ones else []) for row in exact.tolist()]
        product = fmpq_mat([[fmpq(y) for y in vector]]) * fmpq_mat(Z)
        assert not any(product.entries())


@pytest.mark.parametrize("case", CASES[::3], ids=lambda c: c["id"])
def test_bounds_from_columns_are_above_the_rank(
    case: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("verify_kernels.exact_forward.deficiency.MOST_ENTRIES", 0)
    graph, place, inputs = of_case(case)
    found = deficiency_at_these_weights(graph, place, inputs, ones=case["last_layer_bias"])
    assert found.enclosure().hi >= case["rank"]
    assert found.enclosure().lo == 0


def draw_case(r: np.random.Generator) -> tuple[Graph, int, Inputs]:
    """Return a small graph with ties at kinks, cancellation and large exponents."""
    activation = Activation.parse(
        str(r.choice(["relu", "leaky_relu(0.01)", "abs", "hardtanh", "relu6", "Max(z,0)-z/3"]))
    )
    widths = [int(r.integers(1, 7)) for _ in range(int(r.integers(2, 5)))]
    layers: list[tuple[Any, Any]] = []
    for a, b in pairwise(widths):
        kind = r.integers(3)
        weight = r.integers(-2, 3, size=(b, a)).astype(float)
        if kind == 1:
            weight = np.float32(r.normal(size=(b, a))).astype(float)
        elif kind == 2:
            weight *= 2.0 ** r.integers(-600, 300, size=(b, a))
        layers.append(
            (weight, r.integers(-1, 2, size=b).astype(float) if r.random() < 0.5 else None)
        )
    n = int(r.integers(1, 6))
    X = r.integers(-3, 4, size=(n, widths[0])).astype(float)
    graph, place = layered(layers, activation, widths[0])
    return graph, place, Inputs.of(X, (widths[0],), divisor=int(r.choice([1, 3, 255])))


@pytest.mark.soundness
def test_residues_and_balls_of_random_graphs() -> None:
    count, seed, begun = (3000 if FULL else 300), 20_261, time.process_time()
    r = np.random.default_rng(seed)
    prime, by_fractions = choose_prime(1024), 0
    for _ in range(count):
        graph, place, inputs = draw_case(r)
        exact = rational_features(graph, place, inputs).matrix
        found = residue_features(graph, place, inputs, prime)
        assert found.residues is not None
        assert found.residues.ravel().tolist() == residues_of(exact, prime)
        by_fractions += found.by_fractions
        near = found.enclosed
        assert near is not None
        for x, mid, radius in zip(
            exact.entries(), near.mid.ravel(), near.radius.ravel(), strict=True
        ):
            if np.isfinite(mid) and np.isfinite(radius):
                gap = abs(Fraction(int(x.p), int(x.q)) - Fraction(float(mid)))
                assert gap <= Fraction(float(radius))
        balls = ball_features(graph, place, inputs, 64)
        with precision(20_000):
            assert all(
                arb(x).overlaps(b) for x, b in zip(exact.entries(), balls.entries(), strict=True)
            )
    assert by_fractions > count // 10  # the float enclosure left kinks open
    spent = time.process_time() - begun
    print(f"campaign residues of graphs: {count} cases, seed {seed}, {spent:.1f} s, 0 wrong")


def cancelling(r: np.random.Generator) -> tuple[np.ndarray, np.ndarray, Fraction]:
    """Return x, W with W.x tiny beside its terms, and its exact value."""
    x, w = r.normal(size=9), r.normal(size=9)
    x[8] = 1.0
    w[8] = -float(sum((Fraction(a) * Fraction(b) for a, b in zip(x[:8], w[:8], strict=True)),
                      Fraction(0)))  # fmt: skip
    exact = sum((Fraction(a) * Fraction(b) for a, b in zip(x, w, strict=True)), Fraction(0))
    return x, w[None], exact


def test_signs_are_wrong_without_the_error_term(monkeypatch: pytest.MonkeyPatch) -> None:
    """relu(W.x) with W.x < 0 would have rank 1 modulo p: a false proof of full rank."""
    prime, r, hit = choose_prime(1024), np.random.default_rng(4), []
    while len(hit) < 3:
        x, w, exact = cancelling(r)
        if exact < 0 < float((x[None] @ w.T)[0, 0]):
            hit.append((x, w))
    for x, w in hit:
        graph, place = layered([(w, None)], RELU, 9)
        inputs = Inputs.of(x[None], (9,))
        found = residue_features(graph, place, inputs, prime)
        assert found.residues is not None
        assert found.by_fractions == 1
        assert rank_of_residues(found.residues, prime) == 0
    monkeypatch.setattr(signs, "gamma", lambda k: 0.0)
    monkeypatch.setattr(signs, "tau", lambda k, a, b: 0.0)
    monkeypatch.setattr(signs, "outward", lambda x: x)
    wrong = 0
    for x, w in hit:
        graph, place = layered([(w, None)], RELU, 9)
        found = residue_features(graph, place, Inputs.of(x[None], (9,)), prime)
        assert found.residues is not None
        wrong += rank_of_residues(found.residues, prime)
    assert wrong == len(hit)


@pytest.mark.parametrize(
    ("w", "x"),
    [
        ((1e200, -1.5e200), (1e200, 1e200)),  # inf - inf
        ((1e200, -1.0, -1.0), (1e200, 1e300, 1e300)),
        ((1.0, 1.0, -1.0, -1.0, -1.0), (1e308,) * 5),  # overflow of partial sums
        ((1e154, 1e154, -1e154, -1e154, -1e154), (1e154,) * 5),
    ],
)
def test_overflow_decides_no_sign(w: Any, x: Any) -> None:
    prime = choose_prime(1024)
    graph, place = layered([([w], None)], RELU, len(w))
    inputs = Inputs.of(np.array([x]), (len(w),))
    exact = rational_features(graph, place, inputs).matrix
    found = residue_features(graph, place, inputs, prime)
    assert found.residues is not None
    assert found.residues.ravel().tolist() == residues_of(exact, prime)
    assert found.by_fractions == 1 or exact[0, 0] != 0


def test_nothing_that_is_not_finite_decides() -> None:
    bad = np.array([np.nan, np.inf, -np.inf, 1.0, 1.0])
    radius = np.array([0.0, 1.0, np.inf, np.nan, np.inf])
    value = signs.Enclosed(bad, radius)
    with np.errstate(invalid="ignore"):
        for bound in (0.0, 0.5):
            assert not value.above(bound).any()
            assert not value.below(bound).any()
    assert not value.is_zero.any()


@pytest.mark.parametrize("p", [1, 2, 3, 9, 341, 561, 2047, 5931753 * 3, 1018081, 2**31 - 1, -7])
def test_only_primes_of_the_right_size_are_taken(p: int) -> None:
    graph, place = layered([([[1.0]], None)], RELU, 1)
    with pytest.raises(InputError, match="residue_features: expected a prime"):
        residue_features(graph, place, Inputs.of([[1.0]], (1,)), p)


def test_a_composite_modulus_would_be_wrong(monkeypatch: pytest.MonkeyPatch) -> None:
    """1/3 modulo 1009^2 by Fermat's theorem is not an inverse."""
    builder = GraphBuilder()
    x = builder.input((3,))
    scaled = builder.add(
        "div", (x, builder.add("constant", (), {}, {"value": ("c", np.full(3, 3.0))}))
    )
    graph = builder.build(scaled)
    inputs = Inputs.of([[1.0, 2.0, 4.0]], (3,))
    exact = rational_features(graph, len(graph.nodes) - 1, inputs).matrix
    prime = choose_prime(1024)
    found = residue_features(graph, len(graph.nodes) - 1, inputs, prime)
    assert found.residues is not None
    assert found.residues.ravel().tolist() == residues_of(exact, prime)
    composite = 1009**2
    for module in (residues, "verify_kernels.full_rank.modular"):
        name = f"{module.__name__}.is_prime" if module is residues else f"{module}.is_prime"
        monkeypatch.setattr(name, lambda p: True)
    wrong = residue_features(graph, len(graph.nodes) - 1, inputs, composite)
    assert wrong.residues is not None
    assert wrong.residues.ravel().tolist() != residues_of(exact, composite)


def test_a_prime_in_a_denominator_is_refused() -> None:
    graph, place = layered([([[1.0, 2.0]], [1.0])], Activation.parse("leaky_relu(1/17)"), 2)
    found = residue_features(graph, place, Inputs.of([[1.0, -2.0]], (2,)), 17)
    assert found.residues is None
    assert "the prime 17 divides a denominator" in found.why_not
    graph, place = layered([([[1.0, 2.0]], [1.0])], RELU, 2)
    found = residue_features(graph, place, Inputs.of([[1.0, -2.0]], (2,), divisor=255), 17)
    assert found.residues is None
    builder = GraphBuilder()
    x = builder.input((1, 17))
    graph = builder.build(builder.add("mean", (x,), {"axes": (1,)}))
    found = residue_features(graph, 1, Inputs.of(np.ones((1, 17)), (1, 17)), 17)
    assert found.residues is None


def test_negative_zeros_are_zeros() -> None:
    prime = choose_prime(1024)
    graph, place = layered([([[1.0, -0.0], [-1.0, 0.0]], [-0.0, 0.0])], RELU, 2)
    inputs = Inputs.of(np.array([[0.0, -0.0], [-0.0, 0.0]]), (2,))
    found = residue_features(graph, place, inputs, prime)
    assert found.residues is not None
    assert not found.residues.any()
    units = dead_units(graph, place, inputs)
    assert units.certain == 2
    assert units.constant.all()


def test_midpoints_alone_would_prove_false_ranks(monkeypatch: pytest.MonkeyPatch) -> None:
    """s(z) - s(-z) = z for softplus: five columns of rank 4."""
    layer = (np.array([[1.0], [-1.0], [2.0], [-2.0]]), None)
    graph, place = layered([layer], Activation.parse("softplus(1)"), 1)
    inputs = Inputs.of([[0.25], [1.0], [1.5], [-0.75], [3.0]], (1,))
    found = prove_rank_by_balls(graph, place, inputs, ones=True, bits_cap=512)
    assert found.enclosure().lo == 0
    true_features, true_precision = ball_determinant.ball_features, ball_determinant.precision
    monkeypatch.setattr(
        ball_determinant, "ball_features", lambda *a, **k: true_features(*a, **k).mid()
    )
    monkeypatch.setattr(ball_determinant, "precision", lambda bits: true_precision(4 * bits))
    found = prove_rank_by_balls(graph, place, inputs, ones=True, bits_cap=512)
    assert found.enclosure().lo > 0


def test_dead_softplus_units_need_no_more_bits_than_others() -> None:
    """Entries of 10^-3000 beside entries of 1: balanced, 128 bits are enough."""
    r = np.random.default_rng(8)
    first = (r.normal(size=(20, 5)), r.normal(size=20) - 30)
    graph, place = layered([first], Activation.parse("softplus(100)"), 5)
    inputs = Inputs.of(r.normal(size=(20, 5)), (5,))
    found = prove_rank_by_balls(graph, place, inputs, ones=True, bits_cap=512)
    assert 0 < found.enclosure().lo < Fraction(1, 10**20_000)
    units = dead_units(graph, place, inputs)
    assert (units.certain, units.possible) == (0, 0)


def test_wide_matrices_choose_columns() -> None:
    r = np.random.default_rng(9)
    W = r.normal(size=(60, 4))
    W[10:40] = W[0]  # equal columns of features
    graph, place = layered([(W, np.zeros(60))], Activation.parse("tanh"), 4)
    inputs = Inputs.of(r.normal(size=(12, 4)), (4,))
    found = prove_rank_by_balls(graph, place, inputs, ones=True)
    assert found.enclosure().lo > 0
    assert found.witness is not None
    assert len(set(found.witness.data["columns"])) == 12


def test_time_and_bits_end_in_words() -> None:
    graph, place = layered([(np.ones((3, 2)), np.zeros(3))], Activation.parse("tanh"), 2)
    inputs = Inputs.of([[1.0, 2.0], [2.0, 1.0], [0.5, 0.25]], (2,))  # two equal rows of features
    found = prove_rank_by_balls(graph, place, inputs, ones=True, bits_cap=256)
    assert found.enclosure().lo == 0
    assert "256 bits" in found.why_open
    found = prove_rank_by_balls(graph, place, inputs, ones=True, deadline=0.0)
    assert "did not end in time" in found.why_open
    short = Inputs.of(np.arange(12.0).reshape(6, 2), (2,))
    assert "fewer columns" in prove_rank_by_balls(graph, place, short, ones=True).why_open


def normed_graph(activation: str, shift: float, seed: int) -> tuple[Graph, int, Inputs]:
    """Return a convolution, batch norm, activation, pooling: irrational, some channels silent."""
    r = np.random.default_rng(seed)
    builder = GraphBuilder()
    x = builder.input((2, 6, 6))
    given = {"strides": (1, 1), "padding": ((1, 1),) * 2, "dilations": (1, 1), "groups": 1}
    x = builder.add("conv", (x,), given, {"weight": ("w", r.normal(size=(5, 2, 3, 3)))})
    tensors = {
        "mean": ("m", r.normal(size=5)), "variance": ("v", r.uniform(1, 2, size=5)),
        "weight": ("g", np.array([1.0, -1.0, 0.5, 2.0, 0.0])),
        "bias": ("b", np.array([0.0, -shift, 0.25, -shift, -1.0])),
    }  # fmt: skip
    x = builder.add("batch_norm", (x,), {"epsilon": Fraction(1, 10**5), "training": False}, tensors)
    x = builder.add("activation", (x,), {"activation": Activation.parse(activation)})
    x = builder.add("adaptive_average_pool", (x,), {"size": (2, 1)})
    x = builder.add("reshape", (x,), {"shape": (10,)})
    graph = builder.build(builder.add("linear", (x,), {}, {"weight": ("V", np.ones((1, 10)))}))
    assert graph.last_affine is not None
    inputs = Inputs.of(r.integers(0, 256, size=(9, 2, 6, 6)).astype(float), (2, 6, 6), divisor=255)
    return graph, graph.nodes[graph.last_affine].inputs[0], inputs


@pytest.mark.parametrize("activation", ["relu", "softplus(1)", "softplus(100)", "gelu", "tanh"])
def test_dead_units_behind_batch_norm(activation: str) -> None:
    graph, place, inputs = normed_graph(activation, 60.0, 3)
    found = dead_units(graph, place, inputs)
    balls = np.array(ball_features(graph, place, inputs, 600).entries(), dtype=object)
    table = balls.reshape(9, 10)
    zero = [all(x.is_zero() for x in column) for column in table.T]
    assert found.zero.tolist() == found.maybe_zero.tolist() == zero
    assert found.certain == (6 if activation == "relu" else 0)
    # the last channel has weight 0: constant, though no rounding-free value says so
    assert found.maybe_constant[8:].all()
    assert not (found.constant & ~found.maybe_constant).any()
    differing = [not all(x.overlaps(column[0]) for x in column) for column in table.T]
    assert not (found.constant & differing).any()


def test_the_time_for_balls_is_kept() -> None:
    graph, place, inputs = normed_graph("softplus(100)", 60.0, 3)
    found = dead_units(graph, place, inputs, deadline=0.0)
    assert found.certain == 0
    assert found.possible >= 4
    assert "time" in found.how
    open_evidence = prove_rank_by_balls(graph, place, inputs, ones=True, deadline=0.0)
    assert "did not end in time" in open_evidence.why_open
    lower = deficiency_at_these_weights(graph, place, inputs, ones=True, deadline=0.0)
    assert lower.enclosure().lo == 0


def test_zeros_are_zeros_of_random_rectified_graphs() -> None:
    """Units that are called zero are exactly zero, also behind sums and pooling."""
    for seed in range(20):
        graph, place, inputs = normed_graph("relu", float(seed) / 4, seed)
        found = dead_units(graph, place, inputs)
        table = np.array(ball_features(graph, place, inputs, 300).entries(), dtype=object)
        for zero, maybe, column in zip(
            found.zero, found.maybe_zero, table.reshape(9, 10).T, strict=True
        ):
            assert not zero or all(x.is_zero() for x in column)
            assert maybe or any(not x.contains(0) for x in column)


def test_too_many_open_pieces_are_left_open(monkeypatch: pytest.MonkeyPatch) -> None:
    graph, place = layered([(np.array([[0.1, 0.2, -0.3]]), None)], RELU, 3)
    inputs = Inputs.of([[1.0, 1.0, 1.0], [1.0, 2.0, 3.0]], (3,))
    prime = choose_prime(64)
    assert residue_features(graph, place, inputs, prime).residues is not None
    monkeypatch.setattr(residues, "MOST_WORK", 0)
    found = residue_features(graph, place, inputs, prime)
    assert found.residues is None
    assert "leaves 1 pieces open" in found.why_not


def test_a_smooth_activation_is_refused_before_any_work(monkeypatch: pytest.MonkeyPatch) -> None:
    layers = [([[1.0, 2.0], [3.0, 4.0]], None)] * 2
    graph, place = layered(layers, Activation.parse("softplus(100)"), 2)
    inputs = Inputs.of([[1.0, -2.0]], (2,))
    prime = choose_prime(1024)
    assert residue_features(*layered(layers, RELU, 2), inputs, prime).residues is not None
    monkeypatch.setattr(residues, "Residues", None)
    found = residue_features(graph, place, inputs, prime)
    assert found.residues is None
    assert found.why_not == "softplus(100) is not piecewise polynomial"

"""Every term of the float enclosure of the tangent kernel is met by numbers that need it."""

from __future__ import annotations

from fractions import Fraction
from typing import Any

import numpy as np
import pytest
from flint import arb, ctx, fmpq

from verify.network import Activation, Feedforward, GraphBuilder
from verify.verdict import Truth
from verify_kernels.forward.inputs import Inputs
from verify_kernels.tangent_kernel.aligned_targets import alignment
from verify_kernels.tangent_kernel.balls import FloatBalls
from verify_kernels.tangent_kernel.gram import FloatGram
from verify_kernels.tangent_kernel.linear_maps import linear_map
from verify_kernels.tangent_kernel.walk import OpenError
from verify_kernels.tangent_kernel.wide_balls import prove_nonsingular
from verify_kernels.two_layer.midrad import MidRad


def exact(values: Any) -> list[Fraction]:
    return [Fraction(value) for value in np.asarray(values, dtype=float).ravel().tolist()]


def excess(found: MidRad, true: list[Fraction]) -> int:
    """Count exact values that are not enclosed."""
    told = zip(exact(found.mid), exact(found.rad), true, strict=True)
    return sum(abs(value - mid) > rad for mid, rad, value in told)


@pytest.mark.parametrize("spread", ["none", "of derivatives", "of values", "of both"])
def test_paired_sums_enclose_their_ends(spread: str) -> None:
    rng, total = np.random.default_rng(3), FloatGram(1, 1)
    for _ in range(40):
        s, h = rng.normal(size=(1, 5)), rng.normal(size=(5, 1))
        wide = [rng.random(a.shape) * 2.0**-20 for a in (s, h)]
        rads = [
            wide[0] if spread in ("of derivatives", "of both") else np.zeros(s.shape),
            wide[1] if spread in ("of values", "of both") else np.zeros(h.shape),
        ]
        found = total.paired(MidRad(s, rads[0]), MidRad(h, rads[1]))
        ends = [Fraction(0), Fraction(0)]
        for a, ra, b, rb in zip(*map(exact, (s, rads[0], h, rads[1])), strict=True):
            products = [(a + i * ra) * (b + j * rb) for i in (-1, 1) for j in (-1, 1)]
            ends = [ends[0] + min(products), ends[1] + max(products)]
        assert excess(MidRad(np.tile(found.mid, 2), np.tile(found.rad, 2)), ends) == 0


def test_a_radius_in_the_direction_of_the_largest_midpoint_counts_twice() -> None:
    """K of I + r e e^T is I + (2 r + r^2) e e^T; the Frobenius norm of I is twice its norm."""
    r, total = 2.0**-10, FloatGram(4, 1)
    rad = np.zeros((4, 4))
    rad[0, 0] = r
    total.add_rows(MidRad(np.eye(4), rad))
    mid, error = total.finish()
    assert abs(1 + Fraction(2 * r + r * r) - Fraction(mid[0, 0])) <= Fraction(error)


@pytest.mark.parametrize("way", ["rows", "derivatives", "values"])
def test_sums_that_lose_every_small_term(way: str) -> None:
    """Between ones stand squares below half an ulp of any sum that holds a one."""
    row = np.full((16, 1024), 2.0**-26.6)
    row[:, 0] = 1.0
    row, one, total = row.reshape(1, -1), np.ones((4, 1)), FloatGram(4, 1)
    many = MidRad.exact(np.repeat(row, 4, axis=0))
    if way == "rows":
        total.add_rows(many)
    elif way == "derivatives":
        total.add_outer(many, MidRad.exact(one), ones=False)
    else:
        total.add_outer(MidRad.exact(one), many, ones=False)
    mid, error = total.finish()
    true = sum((v * v for v in exact(row)), Fraction(0))  # every entry of K
    assert abs(true - Fraction(mid[0, 0])) <= Fraction(error)


def test_sums_over_many_layers_that_lose_every_small_one() -> None:
    """Two hundred layers add half an ulp of K each, and every one is lost."""
    small, count, total = 2.0**-27, 200, FloatGram(1, 1)
    total.add_rows(MidRad.exact(np.ones((1, 1))))
    for _ in range(count):
        total.add_rows(MidRad.exact(np.full((1, 1), small)))
    mid, error = total.finish()
    assert mid[0, 0] == 1.0
    assert count * Fraction(small) ** 2 <= Fraction(error)


def test_radii_beside_equal_rows_count_with_the_norm_of_the_kernel() -> None:
    """Its norm is four times its largest entry: (1 + r)^2 - 1 in all of 4 x 4 entries."""
    r, total = 2.0**-10, FloatGram(4, 1)
    total.add_rows(MidRad(np.ones((4, 1)), np.full((4, 1), r)))
    mid, error = total.finish()
    assert (mid == 1.0).all()
    assert 4 * Fraction(2 * r + r * r) <= Fraction(error)


def test_balls_prove_no_singular_kernel_nonsingular() -> None:
    net = Feedforward((np.ones((2, 1)), np.ones((1, 2))), (None, None), (Activation.parse("tanh"),))
    singular = Inputs.of(np.array([[0.3], [-0.3]]), (1,))  # odd: the rows of J are opposite
    with pytest.raises(OpenError, match="not told apart from 0"):
        prove_nonsingular(net.graph(), singular)
    assert prove_nonsingular(net.graph(), Inputs.of(np.array([[0.3], [0.7]]), (1,))) > 0


def linear_node(weight: np.ndarray) -> tuple[Any, Any]:
    b = GraphBuilder()
    graph = b.build(b.add("linear", (b.input((weight.shape[1],)),), {}, {"weight": ("W", weight)}))
    return graph.nodes[-1], graph.stored[graph.nodes[-1].parameters["weight"]]


@pytest.mark.parametrize("power", [-150, -200, -400, -900])
def test_what_slices_leave_over_is_enclosed(power: int) -> None:
    """The large terms cancel exactly, and the rest is below all slices."""
    node, weight = linear_node(np.array([[1.0, 2.0**power, -1.0], [1.0, 2.0**power, -0.5]]))
    x = np.array([[1.0, 1.0, 1.0], [3.0, 5.0, 3.0]])
    found = FloatBalls().push(linear_map(node, (3,), weight), MidRad.exact(x))
    true = [
        sum((a * b for a, b in zip(exact(w), exact(row), strict=True)), Fraction(0))
        for row in x
        for w in weight
    ]
    assert excess(found, true) == 0


@pytest.mark.parametrize("way", ["push", "pull"])
def test_images_of_radii_are_rounded_up(way: str) -> None:
    rng = np.random.default_rng(4)
    for _ in range(20):
        node, weight = linear_node(rng.normal(size=(6, 6)))
        x = MidRad(np.zeros((1, 6)), rng.random((1, 6)))
        linear = linear_map(node, (6,), weight)
        found = FloatBalls().push(linear, x) if way == "push" else FloatBalls().pull(linear, x)
        matrix = weight if way == "push" else weight.T
        reach = [
            sum((abs(a) * r for a, r in zip(exact(w), exact(x.rad), strict=True)), Fraction(0))
            for w in matrix
        ]
        assert excess(found, reach) == 0


def test_factors_of_batch_norms_are_enclosed() -> None:
    variance = np.random.default_rng(5).random(40)
    found = FloatBalls().normaliser(variance, Fraction(1, 100_000))
    with ctx.workprec(300):
        for value, mid, rad in zip(
            exact(variance), exact(found.mid), exact(found.rad), strict=True
        ):
            total = value + Fraction(1, 100_000)
            true = 1 / arb(fmpq(total.numerator, total.denominator)).sqrt()
            ball = arb(fmpq(mid.numerator, mid.denominator))
            assert abs(true - ball) <= arb(fmpq(rad.numerator, rad.denominator))


def test_numbers_and_divisors_are_enclosed() -> None:
    by = FloatBalls()
    for value in (Fraction(1, 3), Fraction(-7, 10), Fraction(1, 2), Fraction(10**40 + 1, 10**20)):
        assert excess(by.number(value), [value]) == 0
    samples = by.samples(np.array([1.0, 5.0, 0.1]), Fraction(255))
    assert excess(samples, [v / 255 for v in exact([1.0, 5.0, 0.1])]) == 0


KINKS = [
    ("relu", 0), ("abs", 0), ("leaky_relu(1/4)", 0), ("elu(2)", 0), ("hardtanh", -1),
    ("hardtanh", 1), ("relu6", 0), ("relu6", 6), ("abs(z)", 0), ("max(z, 1)", 1),
]  # fmt: skip


def test_nothing_is_said_of_a_norm_in_training_form() -> None:
    b, told = GraphBuilder(), {"epsilon": Fraction(1, 100), "training": True}
    place = b.add("linear", (b.input((1,)),), {}, {"weight": ("W", np.ones((2, 1)))})
    place = b.add("batch_norm", (place,), told, {
        "mean": ("m", np.zeros(2)), "variance": ("v", np.ones(2))})  # fmt: skip
    head = {"weight": ("V", np.ones((1, 2))), "bias": ("c", np.zeros(1))}
    graph = b.build(b.add("linear", (place,), {}, head))
    found = alignment(graph, Inputs.of(np.array([[1.0], [2.0]]), (1,)), [1.0, 2.0])
    assert found.value is Truth.UNDECIDED


@pytest.mark.parametrize(("name", "kink"), KINKS)
def test_nothing_is_said_of_a_jacobian_at_a_kink(name: str, kink: int) -> None:
    weights = (np.ones((2, 1)), np.ones((1, 2)))
    net = Feedforward(weights, (np.zeros(2), np.zeros(1)), (Activation.parse(name),)).graph()
    for samples, targets in (([kink, kink], [1.0, 2.0]), ([kink, kink + 0.5], [0.0, 0.0])):
        found = alignment(net, Inputs.of(np.array(samples, float)[:, None], (1,)), targets)
        assert found.value is Truth.UNDECIDED
        assert alignment(
            net, Inputs.of(np.array([[kink - 0.5], [kink + 0.5]]), (1,)), [0.0, 0.0]
        ).value is Truth.PROVED  # fmt: skip


def test_a_witness_names_the_samples_that_were_given() -> None:
    """Two of five are repetitions, which the kernel of the rest does not see."""
    net = Feedforward((np.ones((1, 1)),) * 2, (np.zeros(1),) * 2, (Activation.parse("identity"),))
    X, y = np.array([[0.0], [0.0], [1.0], [1.0], [2.0]]), [0.0, 0.0, 1.0, 1.0, 5.0]
    found = alignment(net.graph(), Inputs.of(X, (1,)), y)
    assert found.value is Truth.REFUTED
    v = {i: value for i, _, value in found.witness.data["entries"]}
    assert sum(v.values()) == 0
    assert sum(value * Fraction(X[i, 0]) for i, value in v.items()) == 0
    assert sum(value * Fraction(y[i]) for i, value in v.items()) != 0


@pytest.mark.parametrize(("name", "kink"), KINKS)
def test_a_point_at_a_kink_has_no_derivative(name: str, kink: int) -> None:
    with pytest.raises(OpenError, match="kink"):
        FloatBalls().activate(Activation.parse(name), MidRad.exact(np.full((1, 1), 1.0 * kink)), "")

"""Every operation of a graph: exact values against torch on integers, balls against formulas."""

from __future__ import annotations

from collections.abc import Callable
from fractions import Fraction
from typing import Any

import numpy as np
import pytest
from flint import arb, fmpq

from verify.network.activation import NAMES, Activation
from verify.network.graph import Graph, GraphBuilder
from verify_kernels.ball_activation import value
from verify_kernels.exact_forward.balls import ball_features, image
from verify_kernels.exact_forward.rational import rational_features
from verify_kernels.exact_forward.residues import residue_features
from verify_kernels.forward.inputs import Inputs
from verify_kernels.full_rank.primes import choose_prime
from verify_kernels.two_layer.balls import precision

torch = pytest.importorskip("torch")
F = torch.nn.functional
PRIME = choose_prime(512)
SHAPE = (4, 6, 7)

Build = Callable[[GraphBuilder, int], int]
Reference = Callable[[Any], Any]


def whole(*shape: int, seed: int = 0) -> np.ndarray:
    """Return small whole numbers."""
    return np.random.default_rng(seed).integers(-4, 5, size=shape).astype(float)


CONSTANT = whole(2, 1, 7, seed=11)


def conv(
    stride: int, pad: tuple[tuple[int, int], ...], dilation: int, groups: int, bias: bool
) -> Any:
    weight, b = whole(6, 4 // groups, 3, 2, seed=3), whole(6, seed=4)
    tensors = {"weight": ("w", weight)} | ({"bias": ("b", b)} if bias else {})
    given = {"strides": (stride, 1), "padding": pad, "dilations": (1, dilation), "groups": groups}

    def reference(x: Any) -> Any:
        (top, bottom), (left, right) = pad
        padded = F.pad(x, (left, right, top, bottom))
        b_or_none = torch.tensor(b) if bias else None
        return F.conv2d(
            padded, torch.tensor(weight), b_or_none, (stride, 1), 0, (1, dilation), groups
        )

    return lambda builder, x: builder.add("conv", (x,), given, tensors), reference


def window(op: str, **more: Any) -> dict[str, Any]:
    return {"kernel": (2, 2), "strides": (2, 1), "padding": ((1, 1), (1, 1)), **more}


def op(name: str, attributes: dict[str, Any]) -> Build:
    return lambda builder, x: builder.add(name, (x,), attributes)


def activation(text: str) -> Build:
    return op("activation", {"activation": Activation.parse(text)})


def residual(builder: GraphBuilder, x: int) -> int:
    halves = [
        builder.add("slice", (x,), {"axis": 0, "start": k, "stop": 4, "step": 2}) for k in (0, 1)
    ]
    product = builder.add("mul", halves)
    constant = builder.add("constant", (), {}, {"value": ("c", CONSTANT)})
    shifted = builder.add("sub", (builder.add("add", (product, constant)), halves[0]))
    return builder.add("concat", (shifted, halves[1], constant), {"axis": 1})


def residual_reference(x: Any) -> Any:
    a, b = x[:, 0::2], x[:, 1::2]
    c = torch.tensor(CONSTANT)[None]
    return torch.cat([a * b + c - a, b, c.expand(len(x), -1, -1, -1)], dim=2)


CASES: dict[str, tuple[Build, Reference]] = {
    "conv": conv(1, ((1, 1), (0, 0)), 1, 1, True),
    "conv strided, dilated": conv(2, ((0, 2), (1, 0)), 2, 1, False),
    "conv in groups": conv(1, ((1, 1), (1, 1)), 1, 2, True),
    "max pool": (
        op("max_pool", window("max", dilations=(1, 1))),
        lambda x: F.max_pool2d(x, 2, (2, 1), 1),
    ),
    "average pool": (
        op("average_pool", window("average", count_padding=True)),
        lambda x: F.avg_pool2d(x, 2, (2, 1), 1, count_include_pad=True),
    ),
    "average pool of entries": (
        op("average_pool", window("average", count_padding=False)),
        lambda x: F.avg_pool2d(x, 2, (2, 1), 1, count_include_pad=False),
    ),
    "adaptive average": (
        op("adaptive_average_pool", {"size": (4, 7)}),
        lambda x: F.adaptive_avg_pool2d(x, (4, 7)),
    ),
    "adaptive max": (
        op("adaptive_max_pool", {"size": (4, 3)}),
        lambda x: F.adaptive_max_pool2d(x, (4, 3)),
    ),
    "mean": (op("mean", {"axes": (0,)}), lambda x: x.mean(dim=1)),
    "transpose": (op("transpose", {"order": (2, 0, 1)}), lambda x: x.permute(0, 3, 1, 2)),
    "reshape": (op("reshape", {"shape": (12, 14)}), lambda x: x.reshape(-1, 12, 14)),
    "pad": (
        op("pad", {"amounts": ((0, 0), (1, 0), (2, 3)), "value": Fraction(3)}),
        lambda x: F.pad(x, (2, 3, 1, 0), value=3.0),
    ),
    "residual": (residual, residual_reference),
    "affine": (
        op("affine", {"factor": Fraction(1, 4), "offset": Fraction(3, 8)}),
        lambda x: x / 4 + 0.375,
    ),
    "round": (
        lambda g, x: op("round", {"how": "nearest"})(
            g, op("affine", {"factor": Fraction(1, 4), "offset": Fraction(0)})(g, x)
        ),
        lambda x: torch.round(x / 4),
    ),
    "floor": (
        lambda g, x: op("round", {"how": "floor"})(
            g, op("affine", {"factor": Fraction(1, 4), "offset": Fraction(0)})(g, x)
        ),
        lambda x: torch.floor(x / 4),
    ),
    "relu": (activation("relu"), F.relu),
    "leaky": (activation("leaky_relu(1/4)"), lambda x: F.leaky_relu(x, 0.25)),
    "hardtanh": (activation("hardtanh"), F.hardtanh),
    "relu6": (activation("relu6"), F.relu6),
    "abs": (activation("abs"), torch.abs),
    "square": (activation("square"), lambda x: x * x),
    "formula": (
        activation("Max(z, 1)*Abs(z) - Min(z, 2)**3/4"),
        lambda x: torch.clamp(x, min=1) * x.abs() - torch.clamp(x, max=2) ** 3 / 4,
    ),
}  # fmt: skip


def made(build: Build) -> tuple[Graph, int]:
    builder = GraphBuilder()
    graph = builder.build(build(builder, builder.input(SHAPE)))
    return graph, len(graph.nodes) - 1


def as_residue(value: Any, p: int) -> int:
    found = int(value.p) * pow(int(value.q), -1, p) % p
    return found - p if 2 * found > p else found


@pytest.mark.parametrize("name", CASES)
def test_operations_are_those_of_torch_on_whole_numbers(name: str) -> None:
    build, reference = CASES[name]
    graph, place = made(build)
    X = whole(3, *SHAPE, seed=7)
    inputs = Inputs.of(X, SHAPE)
    expected = reference(torch.tensor(X)).reshape(3, -1).numpy()
    exact = rational_features(graph, place, inputs).matrix
    assert [float(int(x.p)) / int(x.q) for x in exact.entries()] == expected.ravel().tolist()
    assert graph.nodes[place].shape == tuple(reference(torch.tensor(X)).shape[1:])
    with precision(53):
        assert all(
            ball.contains(x)
            for ball, x in zip(
                ball_features(graph, place, inputs, 100).entries(), exact.entries(), strict=True
            )
        )
    found = residue_features(graph, place, inputs, PRIME)
    assert found.residues is not None, found.why_not
    assert found.residues.ravel().tolist() == [as_residue(x, PRIME) for x in exact.entries()]


@pytest.mark.parametrize("name", CASES)
def test_pixels_are_fractions(name: str) -> None:
    graph, place = made(CASES[name][0])
    pixels = np.random.default_rng(5).integers(0, 256, size=(2, *SHAPE)).astype(float)
    inputs = Inputs.of(pixels, SHAPE, divisor=255)
    exact = rational_features(graph, place, inputs).matrix
    found = residue_features(graph, place, inputs, PRIME)
    assert found.residues is not None, found.why_not
    assert found.residues.ravel().tolist() == [as_residue(x, PRIME) for x in exact.entries()]
    near = found.enclosed
    assert near is not None
    for x, mid, radius in zip(
        exact.entries(), near.mid.ravel().tolist(), near.radius.ravel().tolist(), strict=True
    ):
        assert abs(Fraction(int(x.p), int(x.q)) - Fraction(mid)) <= Fraction(radius)
    balls = ball_features(graph, place, inputs, 80)
    with precision(2000):
        exact_balls = [arb(x) for x in exact.entries()]
    assert all(a.overlaps(b) for a, b in zip(balls.entries(), exact_balls, strict=True))


@pytest.mark.parametrize("name", ["conv in groups", "max pool", "residual", "round"])
def test_groups_of_samples_change_nothing(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    graph, place = made(CASES[name][0])
    inputs = Inputs.of(whole(5, *SHAPE, seed=21), SHAPE, divisor=3)
    whole_found = residue_features(graph, place, inputs, PRIME)
    monkeypatch.setattr("verify_kernels.exact_forward.residues._MOST_ENTRIES", 1)
    one_by_one = residue_features(graph, place, inputs, PRIME)
    assert whole_found.residues is not None
    assert one_by_one.residues is not None
    assert whole_found.residues.tolist() == one_by_one.residues.tolist()
    exact = rational_features(graph, place, inputs).matrix
    assert one_by_one.residues.ravel().tolist() == [as_residue(x, PRIME) for x in exact.entries()]


def normed(builder: GraphBuilder, x: int) -> int:
    tensors = {
        "mean": ("m", whole(4, seed=1)), "variance": ("v", np.array([0.5, 1.0, 3.0, 0.25])),
        "weight": ("g", whole(4, seed=2)), "bias": ("b", whole(4, seed=3)),
    }  # fmt: skip
    given = {"epsilon": Fraction(1, 100_000), "training": False}
    return builder.add("batch_norm", (x,), given, tensors)


def layer_normed(builder: GraphBuilder, x: int) -> int:
    tensors = {"weight": ("g", whole(6, 7, seed=2)), "bias": ("b", whole(6, 7, seed=3))}
    return builder.add("layer_norm", (x,), {"axes": 2, "epsilon": Fraction(1, 1000)}, tensors)


def test_norms_are_enclosed_and_are_not_rational() -> None:
    X = whole(2, *SHAPE, seed=9)
    inputs = Inputs.of(X, SHAPE)
    graph, place = made(normed)
    assert "irrational" in rational_features(graph, place, inputs).why_not
    assert residue_features(graph, place, inputs, PRIME).residues is None
    found = ball_features(graph, place, inputs, 64).entries()
    tensors = [graph.stored[f"batch_norm1.{s}"] for s in ("mean", "variance", "weight", "bias")]
    with precision(400):
        for x, ball, channel in zip(X.ravel(), found, np.indices(X.shape)[1].ravel(), strict=True):
            m, v, g, b = (arb(float(t[channel])) for t in tensors)
            exact = (arb(float(x)) - m) / (v + arb(fmpq(1, 100_000))).sqrt() * g + b
            assert ball.overlaps(exact)
            assert (ball - exact).abs_upper() < arb(2) ** -55
    graph, place = made(layer_normed)
    found = ball_features(graph, place, inputs, 64).entries()
    weight, bias = (graph.stored[f"layer_norm1.{s}"].ravel() for s in ("weight", "bias"))
    with precision(400):
        for k, row in enumerate(X.reshape(8, 42)):
            values = [arb(float(x)) for x in row]
            mean = sum(values, arb(0)) / 42
            scale = (
                sum(((x - mean) ** 2 for x in values), arb(0)) / 42 + arb(fmpq(1, 1000))
            ).sqrt()
            for j, x in enumerate(values):
                exact = (x - mean) / scale * arb(weight[j]) + arb(bias[j])
                assert found[42 * k + j].overlaps(exact)


def test_a_batch_norm_with_a_rational_root_is_rational() -> None:
    tensors = {"mean": ("m", np.zeros(4)), "variance": ("v", np.array([0.0, 8.0, 3.0, 15.0]))}
    graph, place = made(
        lambda g, x: g.add("batch_norm", (x,), {"epsilon": Fraction(1), "training": False}, tensors)
    )
    X = whole(1, *SHAPE)
    exact = rational_features(graph, place, Inputs.of(X, SHAPE)).matrix
    expected = X[0] / np.array([1.0, 3.0, 2.0, 4.0])[:, None, None]
    assert [int(x.p) / int(x.q) for x in exact.entries()] == expected.ravel().tolist()


@pytest.mark.parametrize("name", ["softmax", "log_softmax"])
def test_softmax_sums_to_one(name: str) -> None:
    graph, place = made(lambda g, x: g.add(name, (x,), {"axis": 1}))
    inputs = Inputs.of(100 * whole(1, *SHAPE), SHAPE)
    found = np.array(ball_features(graph, place, inputs, 80).entries(), dtype=object)
    with precision(80):
        powers = found if name == "softmax" else np.array([x.exp() for x in found])
        sums = powers.reshape(4, 6, 7).sum(axis=1)
        assert all(x.contains(1) and x.rad() < arb(2) ** -60 for x in sums.flat)


def test_training_forms_have_no_value() -> None:
    tensors = {"mean": ("m", np.zeros(4)), "variance": ("v", np.ones(4))}
    inputs = Inputs.of(whole(1, *SHAPE), SHAPE)
    graph, place = made(
        lambda g, x: g.add("batch_norm", (x,), {"epsilon": Fraction(1), "training": True}, tensors)
    )
    assert "training" in rational_features(graph, place, inputs).why_not
    graph, place = made(lambda g, x: g.add("dropout", (x,), {"rate": Fraction(1, 2)}))
    assert rational_features(graph, place, inputs).matrix is None
    assert residue_features(graph, place, inputs, PRIME).residues is None


@pytest.mark.parametrize("text", ["relu", "abs", "softplus(100)", "tanh", "hardtanh", "gelu"])
def test_images_of_wide_balls_stay_as_wide(text: str) -> None:
    with precision(100):
        sigma = Activation.parse(text)
        found = image(sigma, arb(0, 1))
        assert (found.upper() - found.lower()) <= arb(2.26)
        for x in (-1.0, -0.5, 0.0, 0.25, 1.0):
            assert found.overlaps(image(sigma, arb(x)))
        narrow = image(sigma, arb(0.25, 2.0**-40))
        for x in (0.25 - 2.0**-40, 0.25, 0.25 + 2.0**-40):
            assert narrow.overlaps(image(sigma, arb(x)))
        assert narrow.rad() <= arb(2) ** -39


EVERY = [*(name for name in NAMES if name not in ("leaky_relu",)), "leaky_relu(0.01)", "elu(2)",
         "softplus(100)", "log(1 + z**2) - Abs(z)/3"]  # fmt: skip


@pytest.mark.soundness
@pytest.mark.parametrize("text", EVERY)
def test_images_contain_the_values_at_points(text: str) -> None:
    sigma, r = Activation.parse(text), np.random.default_rng(17)
    for _ in range(12):
        centre, bits = float(r.normal() * 10.0 ** r.integers(-2, 3)), int(r.integers(1, 90))
        radius = 2.0**-bits
        with precision(120):
            found = image(sigma, arb(centre, radius))
            ends = [arb(centre) - arb(radius), arb(centre), arb(centre) + arb(radius) / 3]
        for x in ends:
            with precision(400):
                assert found.overlaps(value(sigma, x))

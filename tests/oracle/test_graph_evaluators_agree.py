"""All evaluators of a graph give the same function: random graphs with every operation.

Numbers are dyadic and small, so that torch is exact too; where a number is not (averages of three
entries), the exact evaluators are compared with each other only.
"""

from __future__ import annotations

import math
import os
import time
from collections import Counter
from fractions import Fraction
from typing import Any

import numpy as np
import pytest
from flint import arb

from verify.errors import InputError
from verify.network.activation import Activation
from verify.network.graph import Graph, GraphBuilder, Node
from verify.network.operations import OPERATIONS
from verify_kernels.exact_forward.balls import Balls, as_balls, ball_features
from verify_kernels.exact_forward.rational import Rationals, exact_inputs
from verify_kernels.exact_forward.residues import residue_features
from verify_kernels.exact_forward.walk import apply, values_at
from verify_kernels.exact_forward.zeros import certain_zeros
from verify_kernels.forward.inputs import Inputs
from verify_kernels.forward.walk import enclose_features
from verify_kernels.full_rank.primes import choose_prime
from verify_kernels.structure.exact_arrays import exact_of
from verify_kernels.structure.exact_operations import RULES, evaluate
from verify_kernels.structure.fixed_maps import find_frontier
from verify_kernels.tangent_kernel import (
    alignment,
    enclose_tangent_gram,
    rationals,
    walk,
    wide_balls,
)
from verify_kernels.tangent_kernel.balls import FloatBalls
from verify_kernels.two_layer.balls import precision

torch = pytest.importorskip("torch")
F = torch.nn.functional
FULL = os.environ.get("VERIFY_CAMPAIGN") == "full"
PRIME = choose_prime(512)
SHAPES = [(4,), (5, 1), (2, 5), (4, 3), (2, 4, 5), (4, 3, 3), (1, 1, 6)]
RATIONAL = ["relu", "leaky_relu(1/4)", "leaky_relu(-2)", "abs", "hardtanh", "relu6", "square",
            "identity", "Max(z, -1)*Abs(z) - Min(z, 2)/4"]  # fmt: skip
SMOOTH = ["tanh", "sigmoid", "softplus(3)", "gelu", "silu", "sin", "elu(1)", "softsign", "mish"]
# These leave the rational numbers, or are refused by the residues.
ROUGH = frozenset({"layer_norm", "softmax", "log_softmax"})


class Draw:
    """Draws nodes that fit what is there."""

    def __init__(self, seed: int, *, smooth: bool) -> None:
        self.r, self.smooth = np.random.default_rng(seed), smooth
        self.builder = GraphBuilder()
        self.open = [self.builder.input(SHAPES[self.below(len(SHAPES))])]

    def below(self, n: int) -> int:
        return int(self.r.integers(n))

    def one(self, options: Any) -> Any:
        return options[self.below(len(options))]

    def whole(self, *shape: int) -> np.ndarray:
        scale = self.one([1.0, 0.5, 2.0])
        return self.r.integers(-2, 3, size=shape).astype(float) * scale

    def graph(self, nodes: int) -> Graph:
        while len(self.open) <= nodes:
            op = self.one(sorted(set(OPERATIONS) - {"input", "dropout"}))
            if op in ROUGH and not self.smooth:
                continue
            # the newest node half of the time: deep and wide graphs alike
            k = self.open[-1] if self.below(2) else self.one(self.open)
            try:
                self.open.append(getattr(self, "_" + op)(k, self.builder.shape(k)))
            except (InputError, IndexError, ValueError):
                continue
        for k in reversed(self.open):
            try:
                return self.builder.build(k)
            except InputError:  # it does not read the input
                continue
        raise AssertionError

    def add(self, op: str, k: int, given: Any = None, tensors: Any = None) -> int:
        named = {slot: (f"{op}{len(self.open)}{slot}", x) for slot, x in (tensors or {}).items()}
        return self.builder.add(op, (k,), given, named)

    def _constant(self, k: int, shape: Any) -> int:
        inner = tuple(1 if self.below(3) == 0 else s for s in shape[self.below(len(shape) + 1) :])
        value = {"value": (f"c{len(self.open)}", self.whole(*inner))}
        return self.builder.add("constant", (), {}, value)

    def _linear(self, k: int, shape: Any) -> int:
        out = 1 + self.below(4)
        tensors = {"weight": self.whole(out, shape[-1])}
        return self.add("linear", k, {}, tensors | self.bias(out))

    def bias(self, out: int) -> dict[str, np.ndarray]:
        return {"bias": self.whole(out)} if self.below(2) else {}

    def window(self, rank: int, *, dilated: bool) -> dict[str, Any]:
        found = {
            "kernel": tuple(1 + self.below(3) for _ in range(rank)),
            "strides": tuple(1 + self.below(3) for _ in range(rank)),
            "padding": tuple((self.below(3), self.below(3)) for _ in range(rank)),
        }
        dilations = tuple(1 + self.below(2) for _ in range(rank))
        return found | ({"dilations": dilations} if dilated else {})

    def _conv(self, k: int, shape: Any) -> int:
        given = self.window(len(shape) - 1, dilated=True)
        groups = self.one([g for g in (1, 2, 4) if shape[0] % g == 0])
        out = groups * (1 + self.below(2))
        weight = self.whole(out, shape[0] // groups, *given.pop("kernel"))
        return self.add("conv", k, given | {"groups": groups}, {"weight": weight} | self.bias(out))

    def _batch_norm(self, k: int, shape: Any) -> int:
        powers = [4.0, 1.0, 0.25, 7.0] if self.smooth else [4.0, 1.0, 0.25, 16.0]
        variance = np.array([self.one(powers) for _ in range(shape[0])])
        tensors = {"mean": self.whole(shape[0]), "variance": variance - 0.125}
        if self.below(2):
            tensors["weight"] = self.whole(shape[0])
        return self.add("batch_norm", k, {"epsilon": Fraction(1, 8), "training": False},
                        tensors | self.bias(shape[0]))  # fmt: skip

    def _layer_norm(self, k: int, shape: Any) -> int:
        axes = 1 + self.below(len(shape))
        some = {slot: self.whole(*shape[-axes:]) for slot in ("weight", "bias") if self.below(2)}
        return self.add("layer_norm", k, {"axes": axes, "epsilon": Fraction(1, 8)}, some)

    def _average_pool(self, k: int, shape: Any) -> int:
        given = self.window(1 + self.below(2), dilated=False)
        return self.add("average_pool", k, given | {"count_padding": bool(self.below(2))})

    def _max_pool(self, k: int, shape: Any) -> int:
        return self.add("max_pool", k, self.window(1 + self.below(2), dilated=True))

    def size(self, shape: Any) -> dict[str, Any]:
        return {"size": tuple(1 + self.below(4) for _ in range(1 + self.below(2)))}

    def _adaptive_average_pool(self, k: int, shape: Any) -> int:
        return self.add("adaptive_average_pool", k, self.size(shape))

    def _adaptive_max_pool(self, k: int, shape: Any) -> int:
        return self.add("adaptive_max_pool", k, self.size(shape))

    def _mean(self, k: int, shape: Any) -> int:
        axes = self.r.permutation(len(shape))[: 1 + self.below(len(shape))]
        return self.add("mean", k, {"axes": tuple(int(a) for a in axes)})

    def _reshape(self, k: int, shape: Any) -> int:
        total = math.prod(shape)
        first = self.one([d for d in range(1, total + 1) if total % d == 0])
        shapes = [(total,), (first, total // first), (1, first, total // first)]
        return self.add("reshape", k, {"shape": self.one(shapes)})

    def _transpose(self, k: int, shape: Any) -> int:
        return self.add("transpose", k, {"order": tuple(map(int, self.r.permutation(len(shape))))})

    def _pad(self, k: int, shape: Any) -> int:
        amounts = tuple((self.below(2), self.below(2)) for _ in shape)
        value = self.one([Fraction(0), Fraction(0), Fraction(3), Fraction(-1, 2)])
        return self.add("pad", k, {"amounts": amounts, "value": value})

    def _slice(self, k: int, shape: Any) -> int:
        axis = self.below(len(shape))
        start, step = self.below(2), 1 + self.below(2)
        stop = min(shape[axis], start + 1 + self.below(4))
        return self.add("slice", k, {"axis": axis, "start": start, "stop": stop, "step": step})

    def _concat(self, k: int, shape: Any) -> int:
        others = [self.one(self.open) for _ in range(1 + self.below(2))]
        return self.builder.add("concat", (k, *others), {"axis": self.below(len(shape))})

    def pair(self, op: str, k: int) -> int:
        pair = (k, self.one(self.open)) if self.below(2) else (self.one(self.open), k)
        return self.builder.add(op, pair)

    def _add(self, k: int, shape: Any) -> int:
        return self.pair("add", k)

    def _sub(self, k: int, shape: Any) -> int:
        return self.pair("sub", k)

    def _mul(self, k: int, shape: Any) -> int:
        return self.pair("mul", k)

    def _div(self, k: int, shape: Any) -> int:
        value = np.array([self.one([0.5, 2.0, -4.0]) for _ in range(shape[-1])])
        by = self.builder.add("constant", (), {}, {"value": (f"d{len(self.open)}", value)})
        return self.builder.add("div", (k, by))

    def _affine(self, k: int, shape: Any) -> int:
        parts = [Fraction(0), Fraction(1, 4), Fraction(-3, 2), Fraction(1)]
        return self.add("affine", k, {"factor": self.one(parts[1:]), "offset": self.one(parts)})

    def _activation(self, k: int, shape: Any) -> int:
        text = self.one(RATIONAL + SMOOTH if self.smooth else RATIONAL)
        return self.add("activation", k, {"activation": Activation.parse(text)})

    def _round(self, k: int, shape: Any) -> int:
        return self.add("round", k, {"how": self.one(["floor", "ceil", "nearest"])})

    def _softmax(self, k: int, shape: Any) -> int:
        return self.add("softmax", k, {"axis": self.below(len(shape))})

    def _log_softmax(self, k: int, shape: Any) -> int:
        return self.add("log_softmax", k, {"axis": self.below(len(shape))})


ACTIVATIONS = {
    "relu": F.relu, "abs": torch.abs, "hardtanh": F.hardtanh, "relu6": F.relu6,
    "leaky_relu(1/4)": lambda x: F.leaky_relu(x, 0.25), "square": torch.square,
    "leaky_relu(-2)": lambda x: F.leaky_relu(x, -2.0), "identity": lambda x: x,
    RATIONAL[-1]: lambda x: torch.clamp(x, min=-1) * x.abs() - torch.clamp(x, max=2) / 4,
}  # fmt: skip
ROUNDINGS = {"floor": torch.floor, "ceil": torch.ceil, "nearest": torch.round}


def padded(x: Any, padding: Any, value: float) -> Any:
    return F.pad(x, [n for pair in reversed(padding) for n in pair], value=value)


def pooled(node: Node, x: Any) -> Any:
    """Pool with torch, on windows of channels that hold all axes before the windowed ones."""
    told = node.attributes
    rank = len(told["size"] if "size" in told else told["kernel"])
    flat = x.reshape(-1, 1, *x.shape[x.ndim - rank :])
    if node.op.startswith("adaptive"):
        kind = "avg" if "average" in node.op else "max"
        found = getattr(F, f"adaptive_{kind}_pool{rank}d")(flat, told["size"])
    elif node.op == "max_pool":
        flat = padded(flat, told["padding"], -math.inf)
        found = getattr(F, f"max_pool{rank}d")(
            flat, told["kernel"], told["strides"], 0, told["dilations"]
        )
    else:
        pool, size = getattr(F, f"avg_pool{rank}d"), math.prod(told["kernel"])
        sums = pool(padded(flat, told["padding"], 0.0), told["kernel"], told["strides"]) * size
        inside = padded(torch.ones_like(flat), told["padding"], 0.0)
        counts = pool(inside, told["kernel"], told["strides"]) * size
        found = sums / (size if told["count_padding"] else counts)
    return found.reshape(len(x), *node.shape)


def torch_value(graph: Graph, node: Node, read: list[Any]) -> Any:
    told = node.attributes
    stored = {slot: torch.tensor(graph.stored[role]) for slot, role in node.parameters.items()}
    x = read[0] if read else None
    if node.op == "constant":
        return stored["value"][None]
    if node.op == "linear":
        return F.linear(x, stored["weight"], stored.get("bias"))
    if node.op == "conv":
        conv = F.conv1d if len(node.shape) == 2 else F.conv2d
        return conv(padded(x, told["padding"], 0.0), stored["weight"], stored.get("bias"),
                    told["strides"], 0, told["dilations"], told["groups"])  # fmt: skip
    if node.op == "batch_norm":
        return F.batch_norm(x, stored["mean"], stored["variance"], stored.get("weight"),
                            stored.get("bias"), False, 0.0, float(told["epsilon"]))  # fmt: skip
    if "pool" in node.op:
        return pooled(node, x)
    if node.op == "mean":
        return x.mean(dim=[a + 1 for a in told["axes"]])
    if node.op == "reshape":
        return x.reshape(len(x), *told["shape"])
    if node.op == "transpose":
        return x.permute(0, *(a + 1 for a in told["order"]))
    if node.op == "pad":
        return padded(x, told["amounts"], float(told["value"]))
    if node.op == "slice":
        index = torch.arange(told["start"], told["stop"], told["step"])
        return x.index_select(told["axis"] + 1, index)
    if node.op == "concat":
        count = max(len(each) for each in read)
        return torch.cat([e.expand(count, *e.shape[1:]) for e in read], told["axis"] + 1)
    if node.op in ("add", "sub", "mul", "div"):
        rank = len(node.shape)
        a, b = (e.reshape(len(e), *(1,) * (rank - e.ndim + 1), *e.shape[1:]) for e in read)
        return getattr(torch, node.op)(a, b)
    if node.op == "affine":
        return float(told["factor"]) * x + float(told["offset"])
    if node.op == "round":
        return ROUNDINGS[told["how"]](x)
    return ACTIVATIONS[str(told["activation"])](x)


def as_fraction(x: Any) -> Fraction:
    return Fraction(int(x.p), int(x.q))


def every_value(graph: Graph, first: Any, step: Any) -> list[Any]:
    values: list[Any] = []
    for node in graph.nodes:
        read = [values[j] for j in node.inputs]
        values.append(first if node.op == "input" else step(node, read))
    return values


def full_rows(found: Any, n: int) -> np.ndarray:
    flat = np.asarray(found).reshape(len(found), -1)
    return np.broadcast_to(flat, (n, flat.shape[1]))


def drawn(seed: int, *, smooth: bool) -> tuple[Graph, Inputs]:
    draw = Draw(seed, smooth=smooth)
    graph = draw.graph(3 + draw.below(8))
    X = draw.r.integers(-3, 4, size=(3, *graph.sample_shape)).astype(float) / 2
    return graph, Inputs.of(X, graph.sample_shape, divisor=draw.one([1, 1, 4, 255]))


def moderate(values: list[Any]) -> bool:
    """Whether sums of a hundred products of such numbers are exact in binary64."""
    flat = [as_fraction(x) for value in values for x in value.ravel()]
    top = max(max((abs(x) for x in flat), default=Fraction(0)), Fraction(1))
    bottom = math.lcm(*{x.denominator for x in flat})
    return bottom & (bottom - 1) == 0 and top * bottom < 2**36


def check_torch(graph: Graph, inputs: Inputs, values: list[Any], count: Counter[str]) -> None:
    if not moderate(values):
        return
    first = torch.tensor(inputs.values / float(inputs.divisor))
    found = every_value(graph, first, lambda node, read: torch_value(graph, node, read))
    for node, exact, mine in zip(graph.nodes, values, found, strict=True):
        assert tuple(mine.shape[1:]) == node.shape, node
        assert [float(as_fraction(x)) for x in exact.ravel()] == mine.ravel().tolist(), node
    count["torch"] += 1


def check_structure(graph: Graph, inputs: Inputs, rows: np.ndarray, count: Counter[str]) -> None:
    if any(node.op != "input" and node.op not in RULES for node in graph.nodes):
        return
    if any(
        "z" in str(n.attributes["activation"].text) for n in graph.nodes if n.op == "activation"
    ):
        return

    def step(node: Node, read: list[Any]) -> Any:
        tensors = {slot: graph.stored[role] for slot, role in node.parameters.items()}
        return evaluate(node, read, tensors)

    found = every_value(graph, exact_of(inputs.values, inputs.divisor), step)[-1].fractions()
    assert (full_rows(found, len(rows)) == rows).all()
    count["structure"] += 1


def check_live(graph: Graph, inputs: Inputs, rows: np.ndarray, count: Counter[str]) -> None:
    """Change the entries that no result is said to read."""
    place = len(graph.nodes) - 1
    start = next(k for k, node in enumerate(graph.nodes) if node.op == "input")
    live = find_frontier(graph, place, inputs, None).live
    if set(live) - {start}:  # fixed nodes that are read beside the input
        return
    mask = live.get(start, np.zeros(graph.sample_shape, dtype=bool))
    other = Inputs.of(np.where(mask, inputs.values, 7.0), graph.sample_shape, inputs.divisor)
    by = Rationals()
    found = values_at(graph, place, exact_inputs(other), lambda n, r: apply(graph, n, r, by))
    same = [as_fraction(x) for x in full_rows(found, len(rows)).ravel()]
    assert same == rows.ravel().tolist()
    count["live"] += int(not mask.all())


def check_tangent(graph: Graph, inputs: Inputs, contains: Any, count: Counter[str]) -> None:
    place, n = len(graph.nodes) - 1, len(inputs.values)
    for by in (rationals.Rationals(), FloatBalls(), wide_balls.WideBalls()):
        try:
            with np.errstate(all="ignore"):
                found = walk.forward(graph, place, inputs, by).values[place]
        except walk.OpenError:
            continue
        if isinstance(by, FloatBalls):
            mid, rad = (full_rows(x, n).ravel().tolist() for x in (found.mid, found.rad))
            contains([arb(m, r) for m, r in zip(mid, rad, strict=True)])
        else:
            contains([arb(x) for x in full_rows(found, n).ravel().tolist()])
        count[type(by).__name__] += 1


def check_enclosures(graph: Graph, inputs: Inputs, contains: Any, count: Counter[str]) -> None:
    place, n = len(graph.nodes) - 1, len(inputs.values)
    contains(ball_features(graph, place, inputs, 64).entries())
    count["balls"] += 1
    first, balls = as_balls(exact_inputs(inputs)), Balls()
    with precision(64):
        found = values_at(graph, place, first, lambda node, r: apply(graph, node, r, balls))
    contains(list(full_rows(found, n).ravel()))
    near = enclose_features(graph, place, inputs, backend="numpy")
    if np.isfinite(near.row_radius).all():
        radius = near.entry_radius().ravel().tolist()
        contains([arb(m, r) for m, r in zip(near.mid.ravel().tolist(), radius, strict=True)])
        count["forward"] += 1


def check_residues(graph: Graph, inputs: Inputs, rows: np.ndarray, count: Counter[str]) -> None:
    found = residue_features(graph, len(graph.nodes) - 1, inputs, PRIME)
    if found.residues is None:
        assert "root" in found.why_not, found.why_not
        return
    assert found.enclosed is not None
    lists = (
        x.ravel().tolist() for x in (found.residues, found.enclosed.mid, found.enclosed.radius)
    )
    for x, residue, mid, radius in zip(rows.ravel(), *lists, strict=True):
        assert (x.numerator - int(residue) * x.denominator) % PRIME == 0
        assert abs(x - Fraction(mid)) <= Fraction(radius)
    count["residues"] += 1


def test_a_layer_norm_of_entries_that_are_nearly_equal_is_enclosed() -> None:
    """Balls around zero have a square; the power of python-flint would be NaN."""
    builder = GraphBuilder()
    x = builder.add("activation", (builder.input((3,)),), {"activation": Activation.parse("tanh")})
    y = builder.add("layer_norm", (x,), {"axes": 1, "epsilon": Fraction(1, 100)})
    graph = builder.build(
        builder.add("activation", (y,), {"activation": Activation.parse("square")})
    )
    inputs = Inputs.of(np.array([[1.0, 1.0, 1.0], [0.0, 0.0, 2.0**-200]]), (3,))
    found = ball_features(graph, len(graph.nodes) - 1, inputs, 100).entries()
    assert all(x.is_finite() and x.contains(0) and x < arb(2) ** -150 for x in found[:3])
    assert all(x.is_finite() and x < arb(2) ** -150 for x in found[3:])


def test_networks_without_samples_are_refused() -> None:
    builder = GraphBuilder()
    tensors = {"weight": ("w", np.ones((1, 2)))}
    graph = builder.build(builder.add("linear", (builder.input((2,)),), {}, tensors))
    none = Inputs.of(np.zeros((0, 2)), (2,))
    for attempt in (
        lambda: residue_features(graph, 1, none, PRIME),
        lambda: ball_features(graph, 1, none, 64),
        lambda: enclose_tangent_gram(graph, none),
        lambda: alignment(graph, none, np.zeros((0, 1))),
    ):
        with pytest.raises(InputError, match="expected at least one sample, but got none"):
            attempt()


def test_no_window_of_a_pooling_sees_padding_only() -> None:
    """Taps 3 apart step over an axis of one entry, though the window is longer than the padding."""
    builder = GraphBuilder()
    x = builder.input((1, 1))
    given = {"kernel": (2,), "strides": (1,), "padding": ((2, 2),), "dilations": (3,)}
    with pytest.raises(InputError, match="windows that reach an entry"):
        builder.add("max_pool", (x,), given)


VIEWS: dict[str, tuple[str, dict[str, Any]]] = {
    "reshape": ("reshape", {"shape": (1, 4)}), "transpose": ("transpose", {"order": (0,)}),
    "slice": ("slice", {"axis": 0, "start": 0, "stop": 4, "step": 1}),
    "identity": ("activation", {"activation": Activation.parse("identity")}),
}  # fmt: skip


@pytest.mark.parametrize("name", VIEWS)
def test_a_batch_norm_leaves_what_else_reads_its_input(name: str) -> None:
    """Its memory is used again only where no other value is a view of it."""
    builder, tensors = GraphBuilder(), {"mean": ("m", np.zeros(4)), "variance": ("v", np.ones(4))}
    given = {"factor": Fraction(1, 3), "offset": Fraction(1)}
    x = builder.add("affine", (builder.input((4,)),), given)
    view = builder.add(VIEWS[name][0], (x,), VIEWS[name][1])
    normed = builder.add("batch_norm", (x,), {"epsilon": Fraction(3), "training": False}, tensors)
    graph = builder.build(builder.add("add", (view, normed)))
    inputs = Inputs.of(np.arange(8.0).reshape(2, 4), (4,))
    found = enclose_features(graph, len(graph.nodes) - 1, inputs)
    for k in range(8):
        exact = (Fraction(k, 3) + 1) * Fraction(3, 2)
        assert abs(Fraction(found.mid.flat[k]) - exact) <= Fraction(found.row_radius[k // 4])


@pytest.mark.soundness
def test_rational_graphs_have_one_value() -> None:
    total, seed, count, seen, begun = 1500 if FULL else 150, 41, Counter(), Counter(), time.time()
    for k in range(total):
        graph, inputs = drawn(1000 * seed + k, smooth=False)
        place, n, by = len(graph.nodes) - 1, len(inputs.values), Rationals()
        seen.update(node.op for node in graph.nodes)

        def step(node: Node, read: list[Any], graph: Graph = graph, by: Any = by) -> Any:
            return apply(graph, node, read, by)

        values = every_value(graph, exact_inputs(inputs), step)
        flat = [as_fraction(x) for x in full_rows(values[-1], n).ravel()]
        rows = np.array([*flat, None], dtype=object)[:-1].reshape(n, -1)
        with precision(4000):
            exact = [arb(x) for x in full_rows(values[-1], n).ravel()]

        def contains(found: list[Any], exact: list[Any] = exact) -> None:
            assert all(a.overlaps(b) for a, b in zip(found, exact, strict=True))

        check_torch(graph, inputs, values, count)
        check_structure(graph, inputs, rows, count)
        check_live(graph, inputs, rows, count)
        check_residues(graph, inputs, rows, count)
        check_enclosures(graph, inputs, contains, count)
        check_tangent(graph, inputs, contains, count)
        zeros = certain_zeros(graph, place, inputs)
        assert not rows[zeros].any()
        count["zeros"] += int(zeros.any())
    assert set(seen) == set(OPERATIONS) - {"dropout", *ROUGH}
    assert len(count) == 10
    assert min(count.values()) >= total // 60
    told = ", ".join(f"{name} {number}" for name, number in sorted(count.items()))
    print(f"campaign evaluators-rational: {total} cases, seed {seed}, "
          f"{time.time() - begun:.1f} s, 0 wrong ({told})")  # fmt: skip


@pytest.mark.soundness
def test_other_graphs_have_one_value() -> None:
    total, seed, count, seen, begun = 1500 if FULL else 150, 43, Counter(), Counter(), time.time()
    for k in range(total):
        graph, inputs = drawn(1000 * seed + k, smooth=True)
        place = len(graph.nodes) - 1
        seen.update(node.op for node in graph.nodes)
        exact = ball_features(graph, place, inputs, 600).entries()

        def contains(found: list[Any], exact: list[Any] = exact) -> None:
            assert all(a.overlaps(b) for a, b in zip(found, exact, strict=True))

        check_enclosures(graph, inputs, contains, count)
        check_tangent(graph, inputs, contains, count)
        zeros = certain_zeros(graph, place, inputs).ravel()
        assert all(x.contains(0) for x, zero in zip(exact, zeros, strict=True) if zero)
        count["narrow"] += all(x.rad() < arb(2) ** -300 * (1 + abs(x)) for x in exact)
    assert set(seen) == set(OPERATIONS) - {"dropout"}
    told = ", ".join(f"{name} {number}" for name, number in sorted(count.items()))
    print(f"campaign evaluators-smooth: {total} cases, seed {seed}, "
          f"{time.time() - begun:.1f} s, 0 wrong ({told})")  # fmt: skip

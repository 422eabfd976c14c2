"""The enclosed tangent kernel against Jacobians by dual numbers in 200-bit ball arithmetic."""

from __future__ import annotations

import itertools
import math
import os
import time
from fractions import Fraction

import numpy as np
import pytest
from flint import arb, arb_mat, ctx, fmpq

from verify.network import Activation, Feedforward, Graph, GraphBuilder
from verify_kernels.forward.inputs import Inputs
from verify_kernels.tangent_kernel import balls, enclose_tangent_gram, gram, rational_gram
from verify_kernels.tangent_kernel.linear_maps import linear_map
from verify_kernels.tangent_kernel.rationals import Rationals
from verify_kernels.tangent_kernel.wide_balls import ball_gram

BITS = 200


class Dual:
    """A number and its derivatives by every parameter."""

    def __init__(self, value: arb, slope: np.ndarray) -> None:
        self.value, self.slope = value, slope

    def __add__(self, other: Dual) -> Dual:
        return Dual(self.value + other.value, self.slope + other.slope)

    def __sub__(self, other: Dual) -> Dual:
        return Dual(self.value - other.value, self.slope - other.slope)

    def __mul__(self, other: Dual) -> Dual:
        product = self.slope * other.value + other.slope * self.value
        return Dual(self.value * other.value, product)

    def of(self, value: arb, slope: arb) -> Dual:
        return Dual(value, self.slope * slope)


def _sigmoid(z: arb) -> arb:
    return 1 / (1 + (-z).exp())


def _density(z: arb) -> arb:
    return (-z * z / 2).exp() / (2 * arb.pi()).sqrt()


def _probability(z: arb) -> arb:
    return (1 + (z / arb(2).sqrt()).erf()) / 2


FUNCTIONS = {
    "relu": (lambda z: z if z > 0 else arb(0), lambda z: arb(1) if z > 0 else arb(0)),
    "leaky_relu(1/8)": (
        lambda z: z if z > 0 else z / 8, lambda z: arb(1) if z > 0 else arb(1) / 8
    ),
    "tanh": (lambda z: z.tanh(), lambda z: 1 - z.tanh() ** 2),
    "sigmoid": (_sigmoid, lambda z: _sigmoid(z) * (1 - _sigmoid(z))),
    "softplus(3)": (lambda z: (1 + (3 * z).exp()).log() / 3, lambda z: _sigmoid(3 * z)),
    "gelu": (lambda z: z * _probability(z), lambda z: _probability(z) + z * _density(z)),
    "silu": (
        lambda z: z * _sigmoid(z),
        lambda z: _sigmoid(z) + z * _sigmoid(z) * (1 - _sigmoid(z)),
    ),
    "sin": (lambda z: z.sin(), lambda z: z.cos()),
    "square": (lambda z: z * z, lambda z: 2 * z),
    "softsign": (lambda z: z / (1 + abs(z)), lambda z: 1 / (1 + abs(z)) ** 2),
    "erf": (lambda z: z.erf(), lambda z: 2 * (-z * z).exp() / arb.pi().sqrt()),
}  # fmt: skip


class Reference:
    """Plain loops over one sample, with dual numbers in every trained entry."""

    def __init__(self, graph: Graph, frozen: frozenset[str]) -> None:
        self.graph = graph
        self.trained = [
            role for role in graph.stored
            if role.split(".")[1] in ("weight", "bias") and role not in frozen
        ]  # fmt: skip
        self.count = sum(graph.stored[role].size for role in self.trained)
        self.tensors = {}
        start = 0
        for role, values in graph.stored.items():
            found = np.empty(values.shape, dtype=object)
            for place in np.ndindex(values.shape):
                slope = np.full(self.count, arb(0), dtype=object)
                if role in self.trained:
                    slope[start] = arb(1)
                    start += 1
                found[place] = Dual(arb(float(values[place])), slope)
            self.tensors[role] = found

    def number(self, value: arb) -> Dual:
        return Dual(value, np.full(self.count, arb(0), dtype=object))

    def jacobian(self, sample: np.ndarray, divisor: Fraction) -> list[np.ndarray]:
        place = self.graph.last_affine
        place = len(self.graph.nodes) - 1 if place is None else place
        values: list[np.ndarray] = []
        for node in self.graph.nodes[: place + 1]:
            read = [values[k] for k in node.inputs]
            if node.op == "input":
                found = np.empty(sample.shape, dtype=object)
                for k in np.ndindex(sample.shape):
                    exact = arb(float(sample[k])) / fmpq(divisor.numerator, divisor.denominator)
                    found[k] = self.number(exact)
                values.append(found)
            else:
                values.append(np.asarray(getattr(self, node.op)(node, *read), dtype=object))
        return [entry.slope for entry in values[place].ravel()]

    def slot(self, node, name):
        return self.tensors[node.parameters[name]] if name in node.parameters else None

    def linear(self, node, x):
        weight, bias = self.slot(node, "weight"), self.slot(node, "bias")
        out = np.empty(node.shape, dtype=object)
        for place in np.ndindex(node.shape):
            total = bias[place[-1]] if bias is not None else self.number(arb(0))
            for k in range(weight.shape[1]):
                total = total + weight[place[-1], k] * x[(*place[:-1], k)]
            out[place] = total
        return out

    def conv(self, node, x):
        weight, bias = self.slot(node, "weight"), self.slot(node, "bias")
        a = node.attributes
        each = weight.shape[0] // a["groups"]
        out = np.empty(node.shape, dtype=object)
        for place in np.ndindex(node.shape):
            channel = place[0]
            total = bias[channel] if bias is not None else self.number(arb(0))
            for c in range(weight.shape[1]):
                source = channel // each * weight.shape[1] + c
                for tap in np.ndindex(weight.shape[2:]):
                    at = tuple(
                        p * s - pad[0] + t * d
                        for p, s, pad, t, d in zip(
                            place[1:], a["strides"], a["padding"], tap, a["dilations"], strict=True
                        )
                    )
                    if all(0 <= k < size for k, size in zip(at, x.shape[1:], strict=True)):
                        total = total + weight[(channel, c, *tap)] * x[(source, *at)]
            out[place] = total
        return out

    def batch_norm(self, node, x):
        epsilon = node.attributes["epsilon"]
        weight, bias = self.slot(node, "weight"), self.slot(node, "bias")
        mean, variance = self.slot(node, "mean"), self.slot(node, "variance")
        out = np.empty(node.shape, dtype=object)
        for place in np.ndindex(node.shape):
            c = place[0]
            root = (variance[c].value + fmpq(epsilon.numerator, epsilon.denominator)).sqrt()
            value = (x[place] - mean[c]) * self.number(1 / root)
            value = value if weight is None else value * weight[c]
            out[place] = value if bias is None else value + bias[c]
        return out

    def average_pool(self, node, x):
        a, out = node.attributes, np.empty(node.shape, dtype=object)
        rank = len(a["kernel"])
        for place in np.ndindex(node.shape):
            met = []
            for tap in np.ndindex(*a["kernel"]):
                at = tuple(
                    p * s - pad[0] + t
                    for p, s, pad, t in zip(
                        place[-rank:], a["strides"], a["padding"], tap, strict=True
                    )
                )
                if all(0 <= k < size for k, size in zip(at, x.shape[-rank:], strict=True)):
                    met.append(x[place[:-rank] + at])
            count = math.prod(a["kernel"]) if a["count_padding"] else len(met)
            out[place] = sum(met, self.number(arb(0))) * self.number(arb(1) / count)
        return out

    def adaptive_average_pool(self, node, x):
        sizes, out = node.attributes["size"], np.empty(node.shape, dtype=object)
        rank = len(sizes)
        for place in np.ndindex(node.shape):
            ranges = [
                range(p * length // size, -(-(p + 1) * length // size))
                for p, length, size in zip(place[-rank:], x.shape[-rank:], sizes, strict=True)
            ]
            met = [x[place[:-rank] + at] for at in itertools.product(*ranges)]
            out[place] = sum(met, self.number(arb(0))) * self.number(arb(1) / len(met))
        return out

    def mean(self, node, x):
        axes = node.attributes["axes"]
        count = math.prod(x.shape[axis] for axis in axes)
        total = x
        for axis in sorted(axes, reverse=True):
            total = np.add.reduce(total, axis=axis)
        scale = self.number(arb(1) / count)
        return np.array([v * scale for v in np.ravel(total)], dtype=object).reshape(node.shape)

    def reshape(self, node, x):
        return x.reshape(node.shape)

    def transpose(self, node, x):
        return x.transpose(node.attributes["order"])

    def pad(self, node, x):
        out = np.full(node.shape, self.number(arb(0)), dtype=object)
        cut = [slice(p[0], p[0] + s) for p, s in zip(node.attributes["amounts"], x.shape, strict=1)]
        out[tuple(cut)] = x
        return out

    def slice(self, node, x):
        a = node.attributes
        return x.take(range(a["start"], a["stop"], a["step"]), axis=a["axis"])

    def concat(self, node, *read):
        return np.concatenate(read, axis=node.attributes["axis"])

    def constant(self, node):
        return self.slot(node, "value")

    def add(self, node, x, y):
        return x + y

    def sub(self, node, x, y):
        return x - y

    def mul(self, node, x, y):
        return x * y

    def affine(self, node, x):
        factor, offset = (
            self.number(arb(fmpq(v.numerator, v.denominator)))
            for v in (node.attributes["factor"], node.attributes["offset"])
        )
        return np.array([v * factor + offset for v in x.ravel()], dtype=object).reshape(x.shape)

    def activation(self, node, x):
        value, slope = FUNCTIONS[str(node.attributes["activation"])]
        found = [v.of(value(v.value), slope(v.value)) for v in x.ravel()]
        return np.array(found, dtype=object).reshape(x.shape)


def exact_gram(graph: Graph, inputs: Inputs, frozen: frozenset[str] = frozenset()) -> arb_mat:
    reference = Reference(graph, frozen)
    rows = [r for sample in inputs.values for r in reference.jacobian(sample, inputs.divisor)]
    J = arb_mat([list(row) for row in rows])
    return J * J.transpose()


def is_violated(found: gram.TangentGram, exact: arb_mat) -> bool:
    """Return whether ||K - mid||_2 > error is certain, by a Rayleigh quotient in balls."""
    n = exact.nrows()
    D = arb_mat(n, n, [arb(float(v)) for v in found.mid.ravel()]) - exact
    near = np.array([float(v.mid()) for v in D.entries()]).reshape(n, n)
    top = float(np.abs(near).max())
    if top == 0.0:
        return False
    values, vectors = np.linalg.eigh(near / top)
    v = arb_mat(n, 1, [arb(float(x)) for x in vectors[:, int(np.argmax(np.abs(values)))]])
    quotient = (v.transpose() * D * v)[0, 0] / (v.transpose() * v)[0, 0]
    return bool(abs(quotient) > arb(found.error))


@pytest.fixture(autouse=True)
def _precision():
    with ctx.workprec(BITS):
        yield


def mlp(rng: np.random.Generator, widths: list[int], name: str, bias: bool = True) -> Graph:
    layers = list(itertools.pairwise(widths))
    return Feedforward(
        tuple(rng.normal(size=(b, a)) for a, b in layers),
        tuple(rng.normal(size=b) if bias else None for _, b in layers),
        (Activation.parse(name),) * (len(layers) - 1),
    ).graph()


def residual_network(rng: np.random.Generator, name: str) -> Graph:
    """Convolutions, batch norms, a skip, average pools and a head."""
    b = GraphBuilder()
    act = {"activation": Activation.parse(name)}

    def conv(x, out, groups=1, strides=(1, 1), k=3, dilation=1):
        width = b.shape(x)[0] // groups
        pad = ((dilation, dilation), (dilation, dilation - 1 if strides[1] > 1 else dilation))
        pad = pad if k == 3 else ((0, 0), (0, 0))
        tensors = {"weight": (f"w{len(b._drafts)}", rng.normal(size=(out, width, k, k)))}
        if rng.random() < 0.5:
            tensors["bias"] = (f"b{len(b._drafts)}", rng.normal(size=out))
        a = {"strides": strides, "padding": pad, "dilations": (dilation,) * 2, "groups": groups}
        return b.add("conv", (x,), a, tensors)

    def norm(x):
        c = b.shape(x)[0]
        t = {"mean": rng.normal(size=c), "variance": rng.uniform(0.5, 2, size=c)}
        if rng.random() < 0.7:
            t |= {"weight": rng.normal(size=c), "bias": rng.normal(size=c)}
        named = {slot: (f"n{len(b._drafts)}{slot}", v) for slot, v in t.items()}
        return b.add("batch_norm", (x,), {"epsilon": Fraction(1, 100000), "training": False}, named)

    x = b.input((2, 4, 4))
    x = b.add("activation", (norm(conv(x, 2)),), act)
    y = b.add("activation", (norm(conv(x, 2, groups=2)),), act)
    x = b.add("add", (conv(y, 2, dilation=2), x))
    x = conv(b.add("activation", (x,), act), 3, strides=(1, 2), k=1)
    x = b.add("average_pool", (x,), {
        "kernel": (2, 2), "strides": (2, 1), "padding": ((1, 1), (0, 1)),
        "count_padding": bool(rng.random() < 0.5),
    })  # fmt: skip
    x = b.add("adaptive_average_pool", (x,), {"size": (2, 1)})
    x = b.add("reshape", (x,), {"shape": (6,)})
    head = {"weight": ("W", rng.normal(size=(2, 6))), "bias": ("c", rng.normal(size=2))}
    return b.build(b.add("linear", (x,), {}, head))


def sequence_network(rng: np.random.Generator, name: str) -> Graph:
    """Layers at many positions, one-dimensional convolutions, products, moves and means."""
    b = GraphBuilder()
    act = {"activation": Activation.parse(name)}
    x = b.input((3, 2))
    first = {"weight": ("A", rng.normal(size=(3, 2))), "bias": ("a", rng.normal(size=3))}
    h = b.add("activation", (b.add("linear", (x,), {}, first),), act)
    turned = b.add("transpose", (h,), {"order": (1, 0)})
    kernel = {"weight": ("k", rng.normal(size=(3, 1, 2))), "bias": ("kb", rng.normal(size=3))}
    c = b.add("conv", (turned,), {
        "strides": (1,), "padding": ((1, 0),), "dilations": (1,), "groups": 3
    }, kernel)  # fmt: skip
    gate = b.add("mul", (c, b.add("affine", (h,), {
        "factor": Fraction(1, 3), "offset": Fraction(-2, 7)
    })))  # fmt: skip
    cut = b.add("slice", (gate,), {"axis": 1, "start": 0, "stop": 3, "step": 2})
    joined = b.add("concat", (cut, b.add("sub", (turned, c))), {"axis": 1})
    wide = b.add("pad", (joined,), {"amounts": ((0, 0), (1, 1)), "value": Fraction(0)})
    fixed = b.add("constant", (), {}, {"value": ("fixed", rng.normal(size=(3, 1)))})
    pooled = b.add("mean", (b.add("mul", (fixed, wide)),), {"axes": (1,)})
    head = {"weight": ("W", rng.normal(size=(2, 3))), "bias": ("w", rng.normal(size=2))}
    return b.build(b.add("linear", (pooled,), {}, head))


def _case(rng: np.random.Generator, k: int) -> tuple[Graph, Inputs]:
    name = list(FUNCTIONS)[int(rng.integers(len(FUNCTIONS)))]
    divisor = Fraction(int(rng.choice([1, 3, 255])))
    if k % 10 == 0:
        graph = residual_network(rng, name)
    elif k % 10 == 1:
        graph = sequence_network(rng, name)
    else:
        widths = [int(rng.integers(1, 4)) for _ in range(int(rng.integers(3, 6)))]
        graph = mlp(rng, widths, name, bias=bool(rng.random() < 0.8))
    n = 2 if k % 10 == 0 else int(rng.integers(1, 5))
    X = rng.normal(size=(n, *graph.sample_shape)) * 2.0 ** int(rng.integers(-6, 4))
    return graph, Inputs.of(X, graph.sample_shape, divisor)


@pytest.mark.soundness
def test_the_enclosure_contains_the_exact_kernel() -> None:
    count, seed = (500 if os.environ.get("VERIFY_CAMPAIGN") == "full" else 50), 7
    rng, start, opened = np.random.default_rng(seed), time.perf_counter(), 0
    for k in range(count):
        graph, inputs = _case(rng, k)
        roles = [r for r in graph.stored if r.split(".")[1] in ("weight", "bias")]
        frozen = frozenset(r for r in roles if rng.random() < 0.2) | {
            role for role in graph.stored if role.endswith(".value")
        }
        found = enclose_tangent_gram(graph, inputs, frozen=frozen)
        if found.error == math.inf:
            opened += 1
            continue
        assert np.array_equal(found.mid, found.mid.T)
        exact = exact_gram(graph, inputs, frozen)
        assert not is_violated(found, exact)
        # not vacuous: a relative error of the size of the rounding
        assert found.error <= 1e-9 * (1.0 + float(np.abs(found.mid).sum()))
    print(f"campaign tangent kernel: {count} cases, seed {seed}, "
          f"{time.perf_counter() - start:.0f} s, {opened} open, 0 wrong")  # fmt: skip
    assert opened <= count // 20


def test_the_rational_kernel_lies_in_the_balls() -> None:
    rng = np.random.default_rng(12)
    for name in ("relu", "square", "leaky_relu(1/8)"):
        graph = sequence_network(rng, name)
        inputs = Inputs.of(rng.integers(-3, 4, size=(2, 3, 2)) / 4, (3, 2), 3)
        frozen = frozenset({"constant1.value", "conv1.bias"})
        exact = exact_gram(graph, inputs, frozen)
        found = rational_gram(graph, inputs, frozen=frozen)
        for ball, entry in zip(exact.entries(), found.entries(), strict=True):
            with ctx.workprec(20 * BITS):
                assert ball.contains(arb(entry))


def test_the_kernel_in_wide_balls_overlaps_that_of_dual_numbers() -> None:
    rng = np.random.default_rng(13)
    for k in range(22):
        graph, inputs = _case(rng, k % 11)
        frozen = frozenset(role for role in graph.stored if role.endswith(".value"))
        exact = exact_gram(graph, inputs, frozen)
        found = ball_gram(graph, inputs, 300, frozen=frozen)
        for ball, entry in zip(exact.entries(), found.entries(), strict=True):
            assert ball.overlaps(entry)
            assert entry.rad() <= 2.0**-150 * (1 + abs(entry))


def cancelling(rng: np.random.Generator, name: str) -> tuple[Graph, Inputs]:
    """A first layer whose sums lose most digits of x/3, which no float holds."""
    W = rng.normal(size=(3, 4))
    first = np.hstack([W, -W]) * 1e5
    outer = rng.normal(size=(1, 3))
    graph = Feedforward((first, outer), (None, None), (Activation.parse(name),)).graph()
    x = rng.normal(size=(3, 4))
    X = np.hstack([x, x + 2.0**-16 * rng.normal(size=(3, 4))])
    return graph, Inputs.of(X, (8,), 3)


def test_mutation_without_the_radii_of_linear_maps_the_kernel_escapes(monkeypatch) -> None:
    graph, inputs = cancelling(np.random.default_rng(1), "softplus(3)")
    exact = exact_gram(graph, inputs, frozenset())
    assert not is_violated(enclose_tangent_gram(graph, inputs), exact)
    plain = balls.raised
    monkeypatch.setattr(balls, "raised", lambda slack, *rest: 0.0 * plain(slack, *rest))
    assert is_violated(enclose_tangent_gram(graph, inputs), exact)


def test_mutation_without_the_radius_of_slopes_the_kernel_escapes(monkeypatch) -> None:
    graph, inputs = cancelling(np.random.default_rng(2), "tanh")
    frozen = frozenset({"linear2.weight"})
    exact = exact_gram(graph, inputs, frozen)
    assert not is_violated(enclose_tangent_gram(graph, inputs, frozen=frozen), exact)
    plain = balls._between
    monkeypatch.setattr(
        balls, "_between",
        lambda lo, hi, shape: balls.MidRad(plain(lo, hi, shape).mid, np.zeros(shape)),
    )  # fmt: skip
    assert is_violated(enclose_tangent_gram(graph, inputs, frozen=frozen), exact)


def test_mutation_without_the_radius_of_the_divisor_the_kernel_escapes(monkeypatch) -> None:
    graph, inputs = cancelling(np.random.default_rng(3), "sin")
    exact = exact_gram(graph, inputs, frozenset())
    assert not is_violated(enclose_tangent_gram(graph, inputs), exact)
    plain = balls.FloatBalls.samples
    monkeypatch.setattr(
        balls.FloatBalls, "samples",
        lambda self, values, divisor: balls.MidRad.exact(plain(self, values, divisor).mid),
    )  # fmt: skip
    assert is_violated(enclose_tangent_gram(graph, inputs), exact)


def _escapes(node, shape, weight, x) -> bool:
    """Return whether an exact entry of L x is outside of its enclosure."""
    found = balls.FloatBalls().push(linear_map(node, shape, weight), balls.MidRad.exact(x))
    rational = Rationals()
    exact = rational.push(linear_map(node, shape, rational.raw(weight)), rational.raw(x))
    return any(
        abs(true - fmpq(*mid.as_integer_ratio())) > fmpq(*rad.as_integer_ratio())
        for true, mid, rad in zip(
            exact.ravel(), found.mid.ravel().tolist(), found.rad.ravel().tolist(), strict=True
        )
    )


def test_forward_products_contain_the_exact_ones_and_no_more_without_rounding(monkeypatch) -> None:
    rng = np.random.default_rng(6)
    graph = residual_network(rng, "relu")
    cases = [
        (node, graph.nodes[node.inputs[0]].shape, graph.stored[node.parameters["weight"]])
        for node in graph.nodes if node.op in ("conv", "linear")
    ]  # fmt: skip
    inputs = [rng.normal(size=(3, *shape)) for _, shape, _ in cases]
    for case, x in zip(cases, inputs, strict=True):
        assert not _escapes(*case, x)
        assert not _escapes(*case, x * 2.0**-1060)  # subnormal: slices or plain products
        assert not _escapes(*case, x * 2.0**900)
    monkeypatch.setattr(balls, "U", 0.0)
    assert any(_escapes(*case, x) for case, x in zip(cases, inputs, strict=True))


def test_mutation_without_the_error_of_the_gram_product_the_kernel_escapes(monkeypatch) -> None:
    rng = np.random.default_rng(4)
    b = GraphBuilder()
    head = {"weight": ("W", rng.normal(size=(1, 40)))}
    graph = b.build(b.add("linear", (b.input((40,)),), {}, head))
    inputs = Inputs.of(rng.normal(size=(4, 40)), (40,))
    exact = exact_gram(graph, inputs, frozenset())
    assert not is_violated(enclose_tangent_gram(graph, inputs), exact)
    monkeypatch.setattr(gram, "gamma", lambda k: 0.0)
    assert is_violated(enclose_tangent_gram(graph, inputs), exact)

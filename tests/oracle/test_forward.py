"""The certified pass against ball arithmetic at 200 bits: every true entry inside, no tolerance."""

import math
import operator
import os
import statistics
import time
from fractions import Fraction

import flint
import numpy as np
import pytest
from flint import arb, fmpq

from verify.network.activation import Activation
from verify.network.graph import GraphBuilder
from verify_kernels._rounding import gamma
from verify_kernels.forward import Inputs, enclose_features

BITS = 200
FULL = os.environ.get("VERIFY_CAMPAIGN") == "full"
ACTIVATIONS = (
    "relu", "tanh", "softplus(100)", "softplus(1)", "sigmoid", "leaky_relu(0.01)", "elu(1)", "gelu",
    "gelu_tanh", "silu", "mish", "erf", "atan", "sin", "softsign", "hardtanh", "relu6", "abs",
    "square", "log(1+exp(z))", "z*exp(-z**2)",
)  # fmt: skip


def _ball(value):
    value = Fraction(value)
    return arb(fmpq(value.numerator, value.denominator))


def _balls(array):
    flat = np.array([arb(float(x)) for x in np.ravel(array)] + [None], dtype=object)[:-1]
    return flat.reshape(np.shape(array))


def _each(function, x):
    flat = np.array([function(v) for v in x.ravel()] + [None], dtype=object)[:-1]
    return flat.reshape(x.shape)


def _between(x, low, high):
    return arb.min(arb.max(x, arb(low)), arb(high))


def _sigma(activation):
    p = [_ball(x) for x in activation.parameters]
    half = arb(1) / 2
    return {
        "relu": lambda x: arb.max(x, arb(0)),
        "tanh": arb.tanh,
        "softplus": lambda x: (1 + (p[0] * x).exp()).log() / p[0],
        "sigmoid": lambda x: 1 / (1 + (-x).exp()),
        "leaky_relu": lambda x: arb.max(x, arb(0)) + p[0] * arb.min(x, arb(0)),
        "elu": lambda x: arb.max(x, arb(0)) + p[0] * (arb.min(x, arb(0))).expm1(),
        "gelu": lambda x: x * (1 + (x / arb(2).sqrt()).erf()) / 2,
        "gelu_tanh": lambda x: (
            half * x * (1 + ((2 / arb.pi()).sqrt() * (x + _ball("0.044715") * x**3)).tanh())
        ),
        "silu": lambda x: x / (1 + (-x).exp()),
        "mish": lambda x: x * (1 + x.exp()).log().tanh(),
        "erf": arb.erf,
        "atan": arb.atan,
        "sin": arb.sin,
        "softsign": lambda x: x / (1 + abs(x)),
        "hardtanh": lambda x: _between(x, -1, 1),
        "relu6": lambda x: _between(x, 0, 6),
        "abs": abs,
        "identity": lambda x: x,
        "square": lambda x: x * x,
        "log(1+exp(z))": lambda x: (1 + x.exp()).log(),
        "z*exp(-z**2)": lambda x: x * (-x * x).exp(),
    }[activation.text or activation.name]


def _conv(x, node, tensors):
    given, weight = node.attributes, tensors["weight"]
    flat = x.ndim == 3
    if flat:
        x, weight = x[:, :, None], weight[:, :, None]
    pads, strides, dilations = given["padding"], given["strides"], given["dilations"]
    if flat:
        pads, strides, dilations = ((0, 0), *pads), (1, *strides), (1, *dilations)
    n, _, height, width = x.shape
    shape = (n, x.shape[1], height + sum(pads[0]), width + sum(pads[1]))
    padded = np.full(shape, arb(0), dtype=object)
    padded[:, :, pads[0][0] : pads[0][0] + height, pads[1][0] : pads[1][0] + width] = x
    o, c, k1, k2 = weight.shape
    h = (shape[2] - (k1 - 1) * dilations[0] - 1) // strides[0] + 1
    w = (shape[3] - (k2 - 1) * dilations[1] - 1) // strides[1] + 1
    out = np.full((n, o, h, w), arb(0), dtype=object)
    per = o // given["groups"]
    for j in range(o):
        first = (j // per) * c
        for a in range(k1):
            for b in range(k2):
                y, z = a * dilations[0], b * dilations[1]
                part = padded[:, first : first + c, y :: strides[0], z :: strides[1]][:, :, :h, :w]
                for q in range(c):
                    out[:, j] += weight[j, q, a, b] * part[:, q]
    if "bias" in tensors:
        out = out + tensors["bias"][:, None, None]
    return out[:, :, 0] if flat else out


def _batch_norm(x, node, t):
    eps = _ball(node.attributes["epsilon"])
    axes = (-1, *(1,) * (x.ndim - 2))
    scale = np.array([1 / (v + eps).sqrt() for v in t["variance"]], dtype=object)
    y = (x - t["mean"].reshape(axes)) * scale.reshape(axes)
    y = y * t["weight"].reshape(axes) if "weight" in t else y
    return y + t["bias"].reshape(axes) if "bias" in t else y


def _layer_norm(x, node, t):
    axes = tuple(range(x.ndim - node.attributes["axes"], x.ndim))
    d = math.prod(x.shape[a] for a in axes)
    c = x - x.sum(axis=axes, keepdims=True) / d
    v = (c * c).sum(axis=axes, keepdims=True) / d + _ball(node.attributes["epsilon"])
    y = c / _each(lambda s: s.sqrt(), v)
    y = y * t["weight"] if "weight" in t else y
    return y + t["bias"] if "bias" in t else y


def _pooled(x, axes, reduce):
    """Reduce over windows of the last axes, each a list of (entries, divisor)."""
    for place, windows in enumerate(reversed(axes)):
        axis = x.ndim - 1 - place
        parts = [reduce(np.take(x, list(inside), axis=axis), axis, c) for inside, c in windows]
        x = np.stack(parts, axis=axis)
    return x


def _fold_max(x, axis, _):
    parts = np.moveaxis(x, axis, 0)
    best = parts[0]
    for part in parts[1:]:
        best = np.frompyfunc(arb.max, 2, 1)(best, part)
    return best


def _fold_mean(x, axis, count):
    return x.sum(axis=axis) / count


def _plain_windows(size, k, s, pair, d, counted):
    found = []
    for p in range((size + sum(pair) - (k - 1) * d - 1) // s + 1):
        inside = [p * s - pair[0] + t * d for t in range(k)]
        inside = [j for j in inside if 0 <= j < size]
        found.append((inside, k if counted else len(inside)))
    return found


def _pool(x, node):
    given = node.attributes
    rank, kind = len(given.get("kernel", given.get("size", ()))), node.op
    sizes = x.shape[-rank:]
    fold = _fold_max if "max" in kind else _fold_mean
    if "size" in given:
        axes = [
            [(range(p * s // c, -(-(p + 1) * s // c)), -(-(p + 1) * s // c) - p * s // c)
             for p in range(c)]
            for s, c in zip(sizes, given["size"], strict=True)
        ]  # fmt: skip
    else:
        steps = given.get("dilations", (1,) * rank)
        named = zip(sizes, given["kernel"], given["strides"], given["padding"], steps, strict=True)
        axes = [_plain_windows(*each, given.get("count_padding", True)) for each in named]
    return _pooled(x, axes, fold)


def _align(a, b):
    rank = max(a.ndim, b.ndim)
    return [x.reshape(len(x), *(1,) * (rank - x.ndim), *x.shape[1:]) for x in (a, b)]


def true_values(graph, place, inputs):
    """Return the value of a node as balls, by plain loops."""
    values = {}
    for k, node in enumerate(graph.nodes[: place + 1]):
        x = [values[j] for j in node.inputs]
        t = {slot: _balls(graph.stored[role]) for slot, role in node.parameters.items()}
        n, given = inputs.count, node.attributes
        if node.op == "input":
            values[k] = _balls(inputs.values) / _ball(inputs.divisor)
        elif node.op == "constant":
            values[k] = np.broadcast_to(t["value"], (n, *t["value"].shape))
        elif node.op == "linear":
            y = np.dot(x[0], t["weight"].T)
            values[k] = y + t["bias"] if "bias" in t else y
        elif node.op == "conv":
            values[k] = _conv(x[0], node, t)
        elif node.op == "batch_norm":
            values[k] = _batch_norm(x[0], node, t)
        elif node.op == "layer_norm":
            values[k] = _layer_norm(x[0], node, t)
        elif "pool" in node.op:
            values[k] = _pool(x[0], node)
        elif node.op == "mean":
            axes = tuple(a + 1 for a in given["axes"])
            values[k] = x[0].sum(axis=axes) / math.prod(x[0].shape[a] for a in axes)
        elif node.op == "reshape":
            values[k] = x[0].reshape(n, *given["shape"])
        elif node.op == "transpose":
            values[k] = x[0].transpose(0, *(a + 1 for a in given["order"]))
        elif node.op == "pad":
            values[k] = np.pad(x[0], [(0, 0), *given["amounts"]],
                               constant_values=_ball(given["value"]))  # fmt: skip
        elif node.op == "slice":
            part = list(range(given["start"], given["stop"], given["step"]))
            values[k] = np.take(x[0], part, axis=given["axis"] + 1)
        elif node.op == "concat":
            values[k] = np.concatenate(x, axis=given["axis"] + 1)
        elif node.op in ("add", "sub", "mul", "div"):
            a, b = _align(*x)
            values[k] = getattr(operator, {"div": "truediv"}.get(node.op, node.op))(a, b)
        elif node.op == "affine":
            values[k] = x[0] * _ball(given["factor"]) + _ball(given["offset"])
        elif node.op == "activation":
            values[k] = _each(_sigma(given["activation"]), x[0])
        else:
            raise AssertionError(node.op)
    return values[place].reshape(inputs.count, -1)


def violations(graph, place, inputs, found):
    """Return how many rows or entries of the true features are certainly outside."""
    before = flint.ctx.prec
    flint.ctx.prec = BITS
    try:
        true = true_values(graph, place, inputs)
        wrong = 0
        for i, row in enumerate(true):
            moves = [v - arb(float(m)) for v, m in zip(row, found.mid[i], strict=True)]
            assert all(move.is_finite() for move in moves)
            radius = float(found.row_radius[i])
            if math.isfinite(radius):
                wrong += bool(sum((d * d for d in moves), arb(0)) > arb(radius) ** 2)
            if found.radius is not None:
                entries = zip(moves, found.radius[i], strict=True)
                wrong += sum(bool(abs(d) > arb(float(r))) for d, r in entries if math.isfinite(r))
        return wrong
    finally:
        flint.ctx.prec = before


def relative_radius(found):
    return found.frobenius_radius() / float(np.linalg.norm(found.mid))


class Architecture:
    """A random network: dense, or convolutions with what stands around them."""

    def __init__(self, seed):
        self.draw = np.random.default_rng(seed)
        self.builder = GraphBuilder()
        self.count = 0
        self.sigma = Activation.parse(str(self.draw.choice(ACTIVATIONS)))
        self.dense = seed % 2 == 0
        if self.dense:
            self.place = self.builder.input((int(self.draw.integers(1, 9)),))
            for _ in range(int(self.draw.integers(1, 6))):
                self._hidden()
        else:
            self._convolutional()
        self.place = self.builder.add("linear", (self.place,), {}, self._linear(2))
        self.graph = self.builder.build(self.place)
        self.features = self.graph.nodes[self.graph.last_affine].inputs[0]

    def _name(self):
        self.count += 1
        return f"t{self.count}"

    def _tensor(self, *shape, scale=1.0):
        values = self.draw.standard_normal(shape) * scale
        if self.draw.random() < 0.5:
            values = values.astype(np.float32).astype(np.float64)
        return self._name(), values

    def _linear(self, out):
        width = self.builder.shape(self.place)[-1]
        tensors = {"weight": self._tensor(out, width, scale=1.2 / math.sqrt(width))}
        return tensors | ({"bias": self._tensor(out)} if self.draw.random() < 0.7 else {})

    def _activation(self):
        self.place = self.builder.add("activation", (self.place,), {"activation": self.sigma})

    def _hidden(self):
        out = int(self.draw.integers(1, 13))
        self.place = self.builder.add("linear", (self.place,), {}, self._linear(out))
        kind = self.draw.integers(0, 4)
        if kind == 0:
            self._batch_norm()
        elif kind == 1 and out > 2:
            given = {"axes": 1, "epsilon": Fraction(1, 100000)}
            tensors = {"weight": self._tensor(out), "bias": self._tensor(out)}
            self.place = self.builder.add("layer_norm", (self.place,), given, tensors)
        self._activation()

    def _batch_norm(self):
        channels = self.builder.shape(self.place)[0]
        tensors = {"mean": self._tensor(channels), "weight": self._tensor(channels),
                   "bias": self._tensor(channels),
                   "variance": (self._name(), self.draw.uniform(0.2, 2.0, channels))}  # fmt: skip
        given = {"epsilon": Fraction(1, 100000), "training": False}
        self.place = self.builder.add("batch_norm", (self.place,), given, tensors)

    def _conv(self, out, *, stride=1, groups=1, dilation=1, kernel=3, pad=1):
        channels, *axes = self.builder.shape(self.place)
        shape = (out, channels // groups, *(kernel,) * len(axes))
        scale = 1.0 / math.sqrt(math.prod(shape[1:]))
        tensors = {"weight": self._tensor(*shape, scale=scale)}
        tensors |= {"bias": self._tensor(out)} if self.draw.random() < 0.5 else {}
        rank = len(axes)
        given = {"strides": (stride,) * rank, "padding": ((pad, pad),) * rank,
                 "dilations": (dilation,) * rank, "groups": groups}  # fmt: skip
        self.place = self.builder.add("conv", (self.place,), given, tensors)

    def _convolutional(self):
        rank = int(self.draw.integers(1, 3))
        sizes = tuple(int(s) for s in self.draw.integers(4, 7, rank))
        self.place = self.builder.input((2, *sizes))
        self._conv(4, dilation=int(self.draw.integers(1, 3)), kernel=int(self.draw.integers(1, 4)))
        self._activation()
        for _ in range(int(self.draw.integers(0, 2))):
            before = self.place
            self._conv(4, groups=int(self.draw.choice([1, 2, 4])))
            self._batch_norm()
            self._activation()
            self._conv(4)
            self.place = self.builder.add("add", (self.place, before))
        self._conv(4, stride=2)
        self._batch_norm()
        self._activation()
        kind, size = self.draw.integers(0, 4), (2,) * rank
        given = {"kernel": size, "strides": (1,) * rank, "padding": ((1, 0),) * rank}
        if kind == 0:
            given |= {"dilations": (1,) * rank}
            self.place = self.builder.add("max_pool", (self.place,), given)
        elif kind == 1:
            given |= {"count_padding": bool(self.draw.integers(0, 2))}
            self.place = self.builder.add("average_pool", (self.place,), given)
        elif kind == 2:
            self.place = self.builder.add("adaptive_average_pool", (self.place,), {"size": size})
        if self.draw.random() < 0.5:
            axes = tuple(range(1, 1 + rank))
            self.place = self.builder.add("mean", (self.place,), {"axes": axes})
        else:
            shape = (math.prod(self.builder.shape(self.place)),)
            self.place = self.builder.add("reshape", (self.place,), {"shape": shape})

    def samples(self, n):
        shape = self.graph.sample_shape
        if self.draw.random() < 0.4:
            return Inputs.of(self.draw.integers(0, 256, (n, *shape)), shape, 255)
        return Inputs.of(self.draw.standard_normal((n, *shape)), shape)


@pytest.mark.soundness
def test_random_architectures():
    count, samples = (50, 6) if FULL else (16, 2)
    start, radii, wrong = time.perf_counter(), [], 0
    for seed in range(count):
        net = Architecture(seed)
        inputs = net.samples(samples)
        found = enclose_features(net.graph, net.features, inputs)
        assert np.isfinite(found.row_radius).all(), (seed, found.why_open)
        bad = violations(net.graph, net.features, inputs, found)
        wrong += bad
        assert not bad, seed
        radii.append(relative_radius(found))
    seconds = time.perf_counter() - start
    median = statistics.median(radii)
    print(
        f"campaign forward pass: {count} architectures, seed 0, {seconds:.1f} s, {wrong} wrong; "
        f"relative radius: median {median:.1e}, largest {max(radii):.1e}"
    )
    assert median < 1e-11


def _wide_graph():
    """Return a graph with every operation that `Architecture` does not draw, and its features."""
    draw = np.random.default_rng(11)
    b = GraphBuilder()
    x = b.input((2, 4, 6))
    x = b.add("affine", (x,), {"factor": Fraction(1, 3), "offset": Fraction(-7, 10)})
    padded = b.add("pad", (x,), {"amounts": ((0, 0), (1, 1), (0, 2)), "value": Fraction(1, 10)})
    part = b.add("slice", (padded,), {"axis": 2, "start": 1, "stop": 8, "step": 2})
    top = b.add("adaptive_max_pool", (x,), {"size": (3, 4)})
    low = b.add("adaptive_average_pool", (part,), {"size": (3, 4)})
    joined = b.add("concat", (top, low), {"axis": 0})
    turned = b.add("transpose", (joined,), {"order": (1, 2, 0)})
    c = b.add("constant", (), {}, {"value": ("c", draw.uniform(1.0, 2.0, (4, 1)))})
    d = b.add("constant", (), {}, {"value": ("d", draw.standard_normal((3, 4, 4)))})
    moved = b.add("sub", (b.add("mul", (turned, c)), d))
    squares = b.add("activation", (moved,), {"activation": Activation.parse("square")})
    below = b.add("affine", (squares,), {"factor": Fraction(1), "offset": Fraction(2)})
    ratio = b.add("div", (moved, below))
    both = b.add("add", (ratio, b.add("mul", (moved, moved))))
    weight = ("w", draw.standard_normal((3, 4)))
    dense = b.add("linear", (both,), {}, {"weight": weight, "bias": ("b", weight[1][:, 0])})
    given = {"axes": 2, "epsilon": Fraction(1, 1000)}
    normal = b.add("layer_norm", (dense,), given, {"weight": ("g", draw.standard_normal((4, 3)))})
    scaled = b.add("batch_norm", (normal,), {"epsilon": Fraction(0), "training": False},
                   {"mean": ("m", draw.standard_normal(3)),
                    "variance": ("v", draw.uniform(0.1, 2.0, 3))})  # fmt: skip
    graph = b.build(scaled)
    return graph, len(graph.nodes) - 1


def test_every_other_operation():
    graph, place = _wide_graph()
    draw = np.random.default_rng(12)
    for divisor in (1, 255, Fraction(1, 3), 256):
        inputs = Inputs.of(draw.standard_normal((4, 2, 4, 6)), (2, 4, 6), divisor)
        found = enclose_features(graph, place, inputs)
        assert np.isfinite(found.row_radius).all(), found.why_open
        assert not violations(graph, place, inputs, found)
        assert relative_radius(found) < 1e-11
        for k in range(1, len(graph.nodes)):
            found = enclose_features(graph, k, inputs)
            assert not violations(graph, k, inputs, found), graph.nodes[k].name


def _wrong(graph, X):
    inputs = Inputs.of(X, graph.sample_shape)
    found = enclose_features(graph, len(graph.nodes) - 1, inputs)
    assert np.isfinite(found.row_radius).all()
    return violations(graph, len(graph.nodes) - 1, inputs, found)


def test_without_the_length_of_a_patch(monkeypatch):
    # after 1 every further product is half a unit in the last place and gets lost
    b = GraphBuilder()
    x = b.input((64, 6, 6))
    given = {"strides": (1, 1), "padding": ((0, 0),) * 2, "dilations": (1, 1), "groups": 1}
    x = b.add("conv", (x,), given, {"weight": ("w", np.ones((16, 64, 3, 3)))})
    graph = b.build(x)
    X = np.full((1, 64, 6, 6), 2.0**-53)
    X[0, 0, 0, 0] = 1.0
    assert not _wrong(graph, X)
    one = gamma(1)
    monkeypatch.setattr("verify_kernels.forward.convolution.gamma", lambda k: one)
    assert _wrong(graph, X)


@pytest.mark.parametrize("shape", [(7, 8), (2, 5)])
def test_the_error_of_batch_norm_coefficients(monkeypatch, shape):
    draw = np.random.default_rng(4)
    b = GraphBuilder()
    x = b.input(shape)
    tensors = {"mean": ("m", draw.standard_normal(shape[0])),
               "variance": ("v", draw.uniform(0.5, 2.0, shape[0]))}  # fmt: skip
    given = {"epsilon": Fraction(1, 100000), "training": False}
    graph = b.build(b.add("batch_norm", (x,), given, tensors))
    X = draw.standard_normal((4, *shape))
    assert not _wrong(graph, X)
    monkeypatch.setattr("verify_kernels.forward.normalisation.gamma", lambda k: 0.0)
    monkeypatch.setattr("verify_kernels.forward.normalisation.over", lambda a, b: 0.0 * a)
    assert _wrong(graph, X)


def test_what_layer_norm_does_to_an_error(monkeypatch):
    draw = np.random.default_rng(5)
    weight = draw.standard_normal((6, 300)) / 20
    weight -= weight.mean(axis=1, keepdims=True)  # sums of large terms that cancel
    b = GraphBuilder()
    x = b.add("linear", (b.input((300,)),), {}, {"weight": ("w", weight)})
    graph = b.build(b.add("layer_norm", (x,), {"axes": 1, "epsilon": Fraction(1, 10**9)}))
    X = 1e5 + draw.standard_normal((4, 300))
    assert not _wrong(graph, X)
    monkeypatch.setattr("verify_kernels.forward.normalisation.over", lambda a, b: 0.0 * a)
    assert _wrong(graph, X)

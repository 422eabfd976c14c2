"""The certified pass against plain float64 and float32 passes: ratios of single-thread CPU time.

Medians of runs in turn within one process. Without --benchmark-enable every case runs once on a
small network and only its radii are checked.
"""

import math
import statistics
import time
from fractions import Fraction
from itertools import pairwise

import numpy as np
import pytest

from verify.network.activation import Activation
from verify.network.feedforward import Feedforward
from verify.network.graph import GraphBuilder
from verify_kernels.forward import Inputs, Pass, enclose_features
from verify_kernels.forward.convolution import PATCH_ENTRIES, patches

threadpoolctl = pytest.importorskip("threadpoolctl")

PLAIN = {
    "tanh": np.tanh,
    "relu": lambda z: np.maximum(z, 0.0),
    "softplus(1)": lambda z: np.logaddexp(0.0, z),
}


def _medians(functions, repeats):
    times = [[] for _ in functions]
    for _ in range(repeats):
        for function, record in zip(functions, times, strict=True):
            start = time.process_time()
            function()
            record.append(time.process_time() - start)
    return [statistics.median(record) for record in times]


def _compare(benchmark, named, goal, repeats):
    """Time functions in turn; the first is ours, the second the plain pass."""
    with threadpoolctl.threadpool_limits(1):
        for function in named.values():
            function()
        medians = _medians(list(named.values()), 1 if benchmark.disabled else repeats)
        benchmark.pedantic(next(iter(named.values())), rounds=1)
    ours, plain = medians[:2]
    told = {name: value / plain for name, value in zip(named, medians, strict=True)}
    benchmark.extra_info |= told | {"goal": goal, "plain_s": plain}
    if not benchmark.disabled:
        print(f"\n{benchmark.name}: to the plain pass {told}, plain {plain:.3f} s, goal {goal}")
        if ours > goal * plain:
            pytest.xfail(f"ratio {ours / plain:.2f} to the plain pass, goal {goal}")


def _dense(sizes, name):
    draw = np.random.default_rng(len(sizes))
    weights = [
        draw.standard_normal((out, width)) / math.sqrt(width) for width, out in pairwise(sizes)
    ]
    weights.append(draw.standard_normal((10, sizes[-1])))
    biases = [draw.standard_normal(len(w)) / 4 for w in weights]
    sigma = (Activation.parse(name),) * (len(weights) - 1)
    return Feedforward(tuple(weights), tuple(biases), sigma)


def _relative(found):
    return found.frobenius_radius() / float(np.linalg.norm(found.mid))


@pytest.mark.parametrize("name", list(PLAIN))
def test_dense_network_against_plain(benchmark, name):
    sizes, n = ((30, 40, 20), 16) if benchmark.disabled else ((784, 1024, 1024, 512), 2048)
    net = _dense(sizes, name)
    graph = net.graph()
    place = graph.nodes[graph.last_affine].inputs[0]
    X = np.random.default_rng(1).standard_normal((n, sizes[0]))
    inputs = Inputs.of(X, (sizes[0],))
    prepared = Pass(graph, place)

    def plain():
        h = X
        for weight, bias in zip(net.weights[:-1], net.biases, strict=False):
            h = h @ weight.T
            h += bias
            h = PLAIN[name](h)
        return h

    found = prepared.features(inputs)
    print(f"{name}: relative radius {_relative(found):.1e}")
    assert _relative(found) < 1e-9
    named = {
        "prepared": lambda: prepared.features(inputs),
        "plain": plain,
        "norms included": lambda: enclose_features(graph, place, inputs),
    }
    _compare(benchmark, named, 1.10, 9)


@pytest.mark.parametrize("name", ["tanh", "relu"])
def test_radius_at_depth_four(name):
    net = _dense((784, 1024, 1024, 1024, 1024), name)
    graph = net.graph()
    place = graph.nodes[graph.last_affine].inputs[0]
    X = np.random.default_rng(2).standard_normal((64, 784))
    found = enclose_features(graph, place, Inputs.of(X, (784,)))
    print(f"depth 4, width 1024, {name}: relative radius {_relative(found):.1e}")
    assert _relative(found) <= 1e-9


class _Residual:
    """A ResNet of three stages with batch norm; as a graph, in plain float64, and in torch."""

    def __init__(self, size, widths, blocks, name):
        self.draw = np.random.default_rng(size)
        self.builder = GraphBuilder()
        self.name, self.sigma = name, Activation.parse(name)
        self.plain = []  # (kind, arguments) on a stack of two tensors
        self.place = self.builder.input((3, size, size))
        self._conv_norm(widths[0], 1)
        self._activate()
        for stage, width in enumerate(widths):
            for block in range(blocks):
                self._block(width, 2 if stage and not block else 1)
        self.place = self.builder.add("mean", (self.place,), {"axes": (1, 2)})
        weight = ("head", self.draw.standard_normal((10, widths[-1])))
        self.place = self.builder.add("linear", (self.place,), {}, {"weight": weight})
        self.graph = self.builder.build(self.place)
        self.features = self.graph.nodes[self.graph.last_affine].inputs[0]

    def _conv_norm(self, out, stride, kernel=3):
        channels = self.builder.shape(self.place)[0]
        weight = self.draw.standard_normal((out, channels, kernel, kernel))
        weight /= math.sqrt(channels * kernel**2)
        pad, name = kernel // 2, f"t{len(self.plain)}"
        given = {"strides": (stride,) * 2, "padding": ((pad, pad),) * 2, "dilations": (1, 1),
                 "groups": 1}  # fmt: skip
        self.place = self.builder.add("conv", (self.place,), given, {"weight": (name, weight)})
        variance, mean = self.draw.uniform(0.5, 1.5, out), self.draw.standard_normal(out) / 4
        tensors = {"variance": (f"{name}v", variance), "mean": (f"{name}m", mean)}
        given = {"epsilon": Fraction(1, 100000), "training": False}
        self.place = self.builder.add("batch_norm", (self.place,), given, tensors)
        scale = 1.0 / np.sqrt(variance + 1e-5)
        self.plain.append(("conv", (weight, stride, pad, scale, -mean * scale)))

    def _activate(self):
        self.place = self.builder.add("activation", (self.place,), {"activation": self.sigma})
        self.plain.append(("activation", ()))

    def _block(self, width, stride):
        before = self.place
        self.plain.append(("keep", ()))
        self._conv_norm(width, stride)
        self._activate()
        self._conv_norm(width, 1)
        after, self.place = self.place, before
        if stride > 1 or self.builder.shape(before)[0] != width:
            self.plain.append(("swap", ()))
            self._conv_norm(width, stride, kernel=1)
        self.place = self.builder.add("add", (after, self.place))
        self.plain.append(("add", ()))
        self._activate()

    def forward(self, X):
        """Run the same operations with the same products and no bounds."""
        batch, out = max(1, 2**23 // max(math.prod(n.shape) for n in self.graph.nodes)), []
        for first in range(0, len(X), batch):
            h, kept = X[first : first + batch], None
            for kind, given in self.plain:
                if kind == "conv":
                    h = _plain_conv(h, *given)
                elif kind == "activation":
                    h = PLAIN[self.name](h)
                elif kind == "keep":
                    kept = h
                elif kind == "swap":
                    h, kept = kept, h
                else:
                    h = h + kept
            out.append(h.mean(axis=(2, 3)))
        return np.concatenate(out)

    def parameters(self):
        return sum(values.size for values in self.graph.stored.values())

    def torch(self):
        torch = pytest.importorskip("torch")
        functional = torch.nn.functional
        made = [
            tuple(torch.tensor(g, dtype=torch.float32) if isinstance(g, np.ndarray) else g
                  for g in given)
            for _, given in self.plain
        ]  # fmt: skip
        act = functional.relu if self.name == "relu" else functional.softplus

        def run(X):
            h, kept = X, None
            for (kind, _), given in zip(self.plain, made, strict=True):
                if kind == "conv":
                    weight, stride, pad, scale, shift = given
                    h = functional.conv2d(h, weight, stride=stride, padding=pad)
                    h = h * scale[:, None, None] + shift[:, None, None]
                elif kind == "activation":
                    h = act(h)
                elif kind == "keep":
                    kept = h
                elif kind == "swap":
                    h, kept = kept, h
                else:
                    h = h + kept
            return h.mean(dim=(2, 3))

        return torch, run


def _plain_conv(x, weight, stride, pad, scale, shift):
    out, channels, k, _ = weight.shape
    size = (x.shape[2] + 2 * pad - k) // stride + 1
    found = np.empty((len(x), out, size, size))
    flat = weight.reshape(out, -1)
    batch = max(1, PATCH_ENTRIES // (channels * k * k * size * size))
    for first in range(0, len(x), batch):
        part = x[first : first + batch]
        read = part[:, :, ::stride, ::stride] if k == 1 else patches(
            part, (k, k), (stride, stride), (1, 1), ((pad, pad), (pad, pad)), (size, size), np
        )  # fmt: skip
        columns = read.reshape(len(part), channels * k * k, -1)
        np.matmul(flat, columns, out=found.reshape(len(x), out, -1)[first : first + batch])
    found *= scale[:, None, None]
    found += shift[:, None, None]
    return found


@pytest.mark.parametrize("name", ["relu", "softplus(1)"])
@pytest.mark.parametrize("size", [8, 28])
def test_residual_network_against_plain(benchmark, size, name):
    small = benchmark.disabled
    widths, blocks = ((4, 8), 1) if small else ((16, 32, 64), 3)
    n = 4 if small else (1000 if size == 8 else 200)
    net = _Residual(size, widths, blocks, name)
    X = np.random.default_rng(3).standard_normal((n, 3, size, size))
    inputs = Inputs.of(X, (3, size, size))
    found = enclose_features(net.graph, net.features, inputs)
    print(f"{name} {size}: {net.parameters()} parameters, relative radius {_relative(found):.1e}")
    assert np.isfinite(found.row_radius).all()
    assert np.allclose(found.mid, net.forward(X))  # the peer computes the same function
    named = {
        "ours": lambda: enclose_features(net.graph, net.features, inputs),
        "plain": lambda: net.forward(X),
    }
    torch, run = net.torch()
    threads, Y = torch.get_num_threads(), torch.tensor(X, dtype=torch.float32)
    torch.set_num_threads(1)
    try:
        with torch.no_grad():
            named["torch float32"] = lambda: run(Y)
            _compare(benchmark, named, 2.0, 3)
    finally:
        torch.set_num_threads(threads)

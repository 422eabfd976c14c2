"""ONNX graphs against what computes them: torch modules that were exported, ONNX's reference.

The graph that was read is evaluated in plain double precision. Its results and those of torch or
of the reference differ by rounding only: `BOUND` times the largest entry, 2^-53 times at most some
thousand operations on a path with a factor of two hundred for how layers amplify them.
"""

import io
import logging
import math
import warnings
from fractions import Fraction

import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto, helper, numpy_helper
from onnx.reference import ReferenceEvaluator
from torch import nn
from torch.nn import functional

from verify.network import recognise
from verify.readers import onnx_file, read_network

BOUND = 2.0**-53 * 1000 * 200


# --- a graph in plain floating point ---------------------------------------------------------

ERF = np.vectorize(math.erf, otypes=[float])


def sigma(activation, z):
    with np.errstate(over="ignore"):
        name, p = activation.name, [float(v) for v in activation.parameters]
        if name == "softplus":  # with the switch to the identity that torch executes
            return np.where(p[0] * z > 20, z, np.logaddexp(0, p[0] * z) / p[0])
        plain = {
            "relu": lambda: np.maximum(z, 0), "tanh": lambda: np.tanh(z), "abs": lambda: np.abs(z),
            "sigmoid": lambda: 1 / (1 + np.exp(-z)), "erf": lambda: ERF(z), "square": lambda: z * z,
            "gelu": lambda: z * (1 + ERF(z / math.sqrt(2))) / 2, "atan": lambda: np.arctan(z),
            "gelu_tanh": lambda: z * (1 + np.tanh(math.sqrt(2 / math.pi) * (z + 0.044715 * z**3)))
            / 2,
            "silu": lambda: z / (1 + np.exp(-z)), "mish": lambda: z * np.tanh(np.logaddexp(0, z)),
            "leaky_relu": lambda: np.where(z > 0, z, p[0] * z), "sin": lambda: np.sin(z),
            "elu": lambda: np.where(z > 0, z, p[0] * np.expm1(np.minimum(z, 0))),
            "hardtanh": lambda: np.clip(z, -1, 1), "relu6": lambda: np.clip(z, 0, 6),
            "softsign": lambda: z / (1 + np.abs(z)),
        }  # fmt: skip
        return plain[name]() if name in plain else formula(activation, z)


def formula(activation, z):
    import sympy

    expression = activation.formula()
    (symbol,) = expression.free_symbols
    function = sympy.lambdify(symbol, expression, "math")
    return np.vectorize(function, otypes=[float])(z)


def patches(x, kernel, strides, padding, dilations, fill):
    """Windows of (n, c, *spatial) as (offsets, n, c, *out)."""
    x = np.pad(x, [(0, 0), (0, 0), *padding], constant_values=fill)
    out = [(s - (k - 1) * d - 1) // t + 1
           for s, k, t, d in zip(x.shape[2:], kernel, strides, dilations, strict=True)]  # fmt: skip
    found = []
    for offset in np.ndindex(*kernel):
        places = zip(offset, dilations, out, strides, strict=True)
        cut = tuple(slice(o * d, o * d + (m - 1) * t + 1, t) for o, d, m, t in places)
        found.append(x[(slice(None), slice(None), *cut)])
    return np.array(found)


def conv(x, a, weight, bias=None):
    kernel = weight.shape[2:]
    windows = patches(x, kernel, a["strides"], a["padding"], a["dilations"], 0.0)
    per_in, per_out = x.shape[1] // a["groups"], weight.shape[0] // a["groups"]
    flat = weight.reshape(*weight.shape[:2], -1)
    parts = [
        np.einsum("kni...,oik->no...", windows[:, :, g * per_in : (g + 1) * per_in],
                  flat[g * per_out : (g + 1) * per_out])
        for g in range(a["groups"])
    ]  # fmt: skip
    y = np.concatenate(parts, axis=1)
    return y if bias is None else y + bias.reshape(-1, *(1,) * len(kernel))


def pooled(x, a, op):
    rank = len(a["kernel"])
    ones = (1,) * rank
    if op == "max_pool":
        return patches(
            x, a["kernel"], a["strides"], a["padding"], a["dilations"], -np.inf
        ).max(0)  # fmt: skip
    total = patches(x, a["kernel"], a["strides"], a["padding"], ones, 0.0).sum(0)
    inside = patches(
        np.ones_like(x), a["kernel"], a["strides"], a["padding"], ones, float(a["count_padding"])
    ).sum(0)
    return total / inside


def normalised(x, axes, epsilon):
    mean = x.mean(axes, keepdims=True)
    return (x - mean) / np.sqrt(((x - mean) ** 2).mean(axes, keepdims=True) + epsilon)


def value(node, reads, t, n):
    a = node.attributes
    channel = (-1, *(1,) * (reads[0].ndim - 2)) if reads else ()
    match node.op:
        case "constant":
            return np.broadcast_to(t["value"], (n, *t["value"].shape))
        case "linear":
            return reads[0] @ t["weight"].T + t.get("bias", 0.0)
        case "conv":
            return conv(reads[0], a, t["weight"], t.get("bias"))
        case "batch_norm":
            scale = t.get("weight", np.ones_like(t["mean"])) / np.sqrt(
                t["variance"] + float(a["epsilon"])
            )
            y = (reads[0] - t["mean"].reshape(channel)) * scale.reshape(channel)
            return y + t.get("bias", np.zeros_like(t["mean"])).reshape(channel)
        case "layer_norm":
            y = normalised(reads[0], tuple(range(-a["axes"], 0)), float(a["epsilon"]))
            return y * t.get("weight", 1.0) + t.get("bias", 0.0)
        case "average_pool" | "max_pool":
            return pooled(reads[0], a, node.op)
        case "adaptive_average_pool" | "adaptive_max_pool":
            assert set(a["size"]) == {1}
            axes = tuple(range(-len(a["size"]), 0))
            reduce = np.mean if "average" in node.op else np.max
            return reduce(reads[0], axis=axes, keepdims=True)
        case "mean":
            return reads[0].mean(tuple(k + 1 for k in a["axes"]))
        case "reshape":
            return reads[0].reshape(n, *a["shape"])
        case "transpose":
            return reads[0].transpose(0, *(k + 1 for k in a["order"]))
        case "pad":
            return np.pad(reads[0], [(0, 0), *a["amounts"]], constant_values=float(a["value"]))
        case "slice":
            cut = (slice(None),) * (a["axis"] + 1)
            return reads[0][(*cut, slice(a["start"], a["stop"], a["step"]))]
        case "concat":
            return np.concatenate(reads, axis=a["axis"] + 1)
        case "affine":
            return float(a["factor"]) * reads[0] + float(a["offset"])
        case "activation":
            return sigma(a["activation"], reads[0])
        case "round":
            how = {"floor": np.floor, "ceil": np.ceil, "nearest": np.rint}
            return how[a["how"]](reads[0])
        case "softmax" | "log_softmax":
            axis = a["axis"] + 1
            y = reads[0] - reads[0].max(axis, keepdims=True)
            y = y - np.log(np.exp(y).sum(axis, keepdims=True))
            return y if node.op == "log_softmax" else np.exp(y)
    binary = {"add": np.add, "sub": np.subtract, "mul": np.multiply, "div": np.divide}
    return binary[node.op](*aligned(*reads))


def aligned(a, b):
    """Broadcast samples to samples: missing axes come after the batch."""
    rank = max(a.ndim, b.ndim)
    return tuple(v.reshape(v.shape[0], *(1,) * (rank - v.ndim), *v.shape[1:]) for v in (a, b))


def evaluate(graph, x):
    values = []
    for node in graph.nodes:
        reads = [values[k] for k in node.inputs]
        tensors = {slot: graph.stored[role] for slot, role in node.parameters.items()}
        values.append(x if node.op == "input" else value(node, reads, tensors, len(x)))
        assert values[-1].shape[1:] == node.shape
    return values[-1]


def check_close(found, wanted, bound=BOUND):
    assert found.shape == wanted.shape
    assert np.abs(found - wanted).max() <= bound * max(1.0, np.abs(wanted).max())


# --- modules that were exported -----------------------------------------------------------------


class Perceptron(nn.Module):
    def __init__(self):
        super().__init__()
        self.layers = nn.ModuleList(nn.Linear(12 if k == 0 else 9, 9) for k in range(6))
        self.free = nn.Linear(9, 9, bias=False)
        self.acts = nn.ModuleList([
            nn.GELU(), nn.GELU(approximate="tanh"), nn.SiLU(), nn.LeakyReLU(0.01), nn.ELU(0.7),
            nn.Softplus(0.5), nn.Hardtanh(), nn.Softsign(), nn.Tanh(), nn.Sigmoid(), nn.Mish(),
            nn.Softplus(100), nn.Dropout(0.3), nn.ReLU6(), nn.Identity(),
        ])  # fmt: skip
        self.norm = nn.LayerNorm(9)
        self.head = nn.Linear(9, 3)
        self.scale = nn.Parameter(torch.tensor(1.25))
        self.register_buffer("std", torch.rand(9) + 0.5)

    def forward(self, x):
        x = x.flatten(1)
        for layer, act in zip(self.layers, self.acts, strict=False):
            x = act(layer(x))
        x = self.free(self.norm((x - 0.1) / self.std))
        for act in self.acts[6:]:
            x = act(3 * x)
        x = x * self.scale + torch.sin(x) - torch.atan(x) / 0.3 + x.abs() * torch.erf(x) + x**2
        return functional.log_softmax(self.head(x), 1)


class Residual(nn.Module):
    def __init__(self):
        super().__init__()
        self.stem, self.norm1 = nn.Conv2d(2, 6, 3, padding=1, bias=False), nn.BatchNorm2d(6)
        self.deep = nn.Conv2d(6, 6, 3, padding=2, dilation=2, groups=6)
        self.norm2 = nn.BatchNorm2d(6)
        self.down = nn.Conv2d(6, 8, (3, 2), stride=(2, 1), padding=(1, 0))
        self.act, self.pool = nn.Softplus(100), nn.AdaptiveAvgPool2d(1)
        self.norm3, self.head = nn.LayerNorm([8, 1, 2]), nn.Linear(8, 4)
        for buffer in self.buffers():
            if buffer.is_floating_point():
                buffer.add_(torch.rand(buffer.shape))

    def forward(self, x):
        x = self.act(self.norm1(self.stem(x)))
        x = self.act(x + self.norm2(self.deep(x)))
        x = functional.max_pool2d(self.down(x), 2, 1)
        x = functional.avg_pool2d(x, 3, 2, padding=1)
        x = functional.gelu(self.norm3(x))
        return self.head(self.pool(x).flatten(1))


class Sequence(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv, self.norm = nn.Conv1d(3, 4, 3, padding=2, dilation=2), nn.BatchNorm1d(4)
        self.mix = nn.Linear(8, 5)
        self.head = nn.Linear(10, 2)
        self.norm.running_mean.uniform_(-1, 1)
        self.norm.running_var.uniform_(0.5, 2)

    def forward(self, x):
        x = torch.relu(self.norm(self.conv(x)))
        x = torch.cat([x, functional.max_pool1d(x, 3, 1, 1)], 1)
        x = functional.avg_pool1d(x, 2)
        x = torch.tanh(self.mix(x.transpose(1, 2)))
        y = torch.cat([x.mean(1), x[:, 1]], 1)
        return self.head(functional.pad(y[:, 1::2], (2, 3)).view(y.shape[0], -1))


NETS = {Perceptron: (3, 4), Residual: (2, 6, 6), Sequence: (3, 8)}


def exported(make, kind, *, open_batch=False):
    torch.manual_seed(7)
    module = make().eval()
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.copy_(parameter + 0.1 * torch.rand(parameter.shape))
    x = torch.rand(2, *NETS[make])
    return module, onnx_bytes(module, x, kind, open_batch)


def onnx_bytes(module, x, kind, open_batch=False, **more):
    file = io.BytesIO()
    level = logging.root.manager.disable
    logging.disable(logging.CRITICAL)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            if kind == "legacy":
                named = {"input_names": ["x"], "dynamic_axes": {"x": {0: "n"}}}
                torch.onnx.export(
                    module, (x,), file, dynamo=False, do_constant_folding=False, **more,
                    training=torch.onnx.TrainingMode.PRESERVE, **(named if open_batch else {}),
                )  # fmt: skip
            else:
                batch = {"dynamic_shapes": ({0: torch.export.Dim("n")},)} if open_batch else {}
                program = torch.onnx.export(
                    module, (x,), dynamo=True, external_data=False, verbose=False,
                    optimize=kind == "optimised", **batch,
                )  # fmt: skip
                file.write(program.model_proto.SerializeToString())
    finally:
        logging.disable(level)
    return file.getvalue()


def read(tmp_path, content, name="m.onnx"):
    path = tmp_path / name
    path.write_bytes(content)
    return onnx_file.read(path)


def compare_with_torch(module, graph, seed=3):
    torch.manual_seed(seed)
    x = torch.randn(5, *graph.sample_shape, dtype=torch.float64)
    with torch.no_grad():
        wanted = module.double()(x).numpy()
    check_close(evaluate(graph, x.numpy()), wanted)


@pytest.mark.parametrize("make", NETS)
def test_every_export_gives_the_function_and_one_list_of_nodes(tmp_path, make):
    module, legacy = exported(make, "legacy")
    graph = read(tmp_path, legacy).network
    _, opened = exported(make, "legacy", open_batch=True)
    others = [exported(make, "plain", open_batch=True)[1]] if make is not Sequence else []
    for content in (opened, *others):
        same = read(tmp_path, content).network
        assert same.equation == graph.equation
        assert same.ties == graph.ties == ()
        assert list(same.stored) == list(graph.stored)
        assert all(np.array_equal(same.stored[k], graph.stored[k]) for k in graph.stored)
    compare_with_torch(module, graph)


def test_what_an_exporter_merges_is_another_network_with_the_same_values(tmp_path):
    module, content = exported(Residual, "optimised")
    graph = read(tmp_path, content).network
    assert not any(node.op == "batch_norm" for node in graph.nodes)
    x = torch.randn(5, 2, 6, 6, dtype=torch.float64)
    with torch.no_grad():
        wanted = module.double()(x).numpy()
    # The merged weights were rounded to float32.
    assert np.abs(evaluate(graph, x.numpy()) - wanted).max() < 1e-4


def test_canonical_nodes_of_the_residual_network(tmp_path):
    module, content = exported(Residual, "legacy")
    graph = read(tmp_path, content).network
    assert [node.name for node in graph.nodes] == [
        "x", "conv1", "batch_norm1", "activation1", "conv2", "batch_norm2", "add1", "activation2",
        "conv3", "max_pool1", "average_pool1", "layer_norm1", "activation3",
        "adaptive_average_pool1", "reshape1", "linear1",
    ]  # fmt: skip
    by_name = {node.name: node for node in graph.nodes}
    assert str(by_name["activation1"].attributes["activation"]) == "softplus(100)"
    assert by_name["batch_norm1"].attributes == {"epsilon": Fraction(1, 100000), "training": False}
    assert by_name["adaptive_average_pool1"].attributes == {"size": (1, 1)}
    state = {name: tensor.numpy().astype(float) for name, tensor in module.state_dict().items()}
    pairs = {"conv2.weight": "deep.weight", "batch_norm2.mean": "norm2.running_mean",
             "layer_norm1.bias": "norm3.bias", "linear1.weight": "head.weight"}  # fmt: skip
    for role, name in pairs.items():
        assert np.array_equal(graph.stored[role], state[name])
    assert graph.last_affine == len(graph.nodes) - 1


def test_a_perceptron_is_recognised_as_one(tmp_path):
    module = nn.Sequential(nn.Flatten(), nn.Linear(6, 5), nn.ReLU(), nn.Linear(5, 4, bias=False),
                           nn.Tanh(), nn.Linear(4, 3), nn.Softmax(1))  # fmt: skip
    graph = read(tmp_path, onnx_bytes(module.eval(), torch.rand(4, 2, 3), "legacy")).network
    found = recognise(graph)
    assert found.family == "feedforward"
    assert np.array_equal(found.weights[1], module[3].weight.detach().numpy())
    assert found.biases[1] is None


def test_a_file_is_read_as_a_network(tmp_path):
    module, content = exported(Sequence, "legacy")
    path = tmp_path / "m.onnx"
    path.write_bytes(content)
    loaded = read_network(path)
    assert (loaded.format, loaded.network.family) == ("onnx", "graph")
    assert loaded.network.last_affine is not None
    assert {name: shape for name, shape, _ in loaded.tensors_found}["mix.weight"] == (5, 8)
    compare_with_torch(module, loaded.network)


def test_training_form_is_kept(tmp_path):
    module = nn.Sequential(nn.Linear(4, 3), nn.BatchNorm1d(3), nn.Dropout(0.25), nn.Linear(3, 1))
    graph = read(tmp_path, onnx_bytes(module.train(), torch.rand(4, 4), "legacy")).network
    attributes = {node.op: node.attributes for node in graph.nodes}
    assert attributes["batch_norm"]["training"] is True
    assert attributes["dropout"] == {"rate": Fraction(1, 4)}


def test_shared_tensors_are_ties(tmp_path):
    module = nn.Sequential(nn.Linear(4, 4), nn.Tanh(), nn.Linear(4, 4), nn.Tanh(), nn.Linear(4, 2))
    module[2].weight = module[0].weight
    graph = read(tmp_path, onnx_bytes(module.eval(), torch.rand(2, 4), "legacy")).network
    assert graph.ties == (("linear1.weight", "linear2.weight"),)


def test_equal_tensors_that_the_exporter_merged_count_as_tied(tmp_path):
    module = nn.Sequential(nn.Linear(4, 4), nn.Tanh(), nn.Linear(4, 4)).eval()
    for layer in (module[0], module[2]):
        nn.init.zeros_(layer.bias)
    graph = read(tmp_path, onnx_bytes(module, torch.rand(2, 4), "legacy")).network
    assert graph.ties == (("linear1.bias", "linear2.bias"),)
    assert len(graph.notes) == 1
    assert "counts as tied" in graph.notes[0]


def test_a_parameter_of_one_entry_is_stored_and_a_number_of_the_code_is_exact(tmp_path):
    class Scaled(nn.Module):
        def __init__(self):
            super().__init__()
            self.head, self.scale = nn.Linear(3, 2), nn.Parameter(torch.tensor(0.3))

        def forward(self, x):
            return self.head(x * self.scale / 0.1 + 0.7)

    for kind in ("legacy", "plain"):
        content = onnx_bytes(Scaled().eval(), torch.rand(2, 3), kind)
        graph = read(tmp_path, content).network
        ops = [node.op for node in graph.nodes]
        assert ops == ["input", "constant", "mul", "affine", "affine", "linear"]
        assert graph.stored["constant1.value"] == np.float32(0.3)
        assert graph.nodes[3].attributes["factor"] == 10
        assert graph.nodes[4].attributes["offset"] == Fraction(7, 10)


# --- hand-made files against the reference ------------------------------------------------------


def model(nodes, tensors, shape, *, opset=17, dtype=TensorProto.DOUBLE, batch="n"):
    """A file with input x, output y, and one tensor for each array."""
    initializers = [numpy_helper.from_array(np.asarray(v), name) for name, v in tensors.items()]
    graph = helper.make_graph(
        nodes, "g", [helper.make_tensor_value_info("x", dtype, [batch, *shape])],
        [helper.make_tensor_value_info("y", dtype, None)], initializers,
    )  # fmt: skip
    opsets = [helper.make_opsetid("", opset)]
    return helper.make_model(graph, opset_imports=opsets, ir_version=8)


def node(op, inputs, output="y", **attributes):
    return helper.make_node(op, inputs, output if isinstance(output, list) else [output],
                            **attributes)  # fmt: skip


RNG = np.random.default_rng(5)
W34, W43, B3 = RNG.normal(size=(3, 4)), RNG.normal(size=(4, 3)), RNG.normal(size=3)
K2 = RNG.normal(size=(4, 1, 3, 2))
K1 = RNG.normal(size=(4, 2, 3))
I = np.array  # noqa: E741

CASES = {
    "gemm": (node("Gemm", ["x", "w", "b"]), {"w": W43, "b": B3}, (4,), 13),
    "gemm scaled": (node("Gemm", ["x", "w", "b"], alpha=0.5, beta=2.0, transB=1),
                    {"w": W34, "b": B3[None]}, (4,), 11),
    "gemm scalar": (node("Gemm", ["x", "w", "b"]), {"w": W43, "b": I(0.5)}, (4,), 9),
    "matmul left": (node("MatMul", ["w", "x"]), {"w": W34}, (4, 5), 13),
    "matmul 3": (node("MatMul", ["x", "w"]), {"w": W43}, (2, 4), 9),
    "conv upper": (node("Conv", ["x", "k"], auto_pad="SAME_UPPER", group=2, strides=[2, 2]),
                   {"k": K2}, (2, 6, 5), 11),
    "conv lower": (node("Conv", ["x", "k"], auto_pad="SAME_LOWER", group=2), {"k": K2},
                   (2, 5, 6), 22),
    "conv valid": (node("Conv", ["x", "k"], auto_pad="VALID", dilations=[2]), {"k": K1},
                   (2, 9), 11),
    "conv uneven": (node("Conv", ["x", "k"], pads=[0, 2]), {"k": K1}, (2, 7), 11),
    "average": (node("AveragePool", ["x"], kernel_shape=[3, 2], pads=[1, 0, 0, 1]), {},
                (2, 5, 6), 19),
    "average counted": (node("AveragePool", ["x"], kernel_shape=[3, 3], pads=[1, 1, 1, 1],
                             count_include_pad=1, strides=[2, 2]), {}, (2, 5, 5), 11),
    "average ceil": (node("AveragePool", ["x"], kernel_shape=[2], strides=[2], ceil_mode=1), {},
                     (2, 6), 11),
    "max": (node("MaxPool", ["x"], kernel_shape=[2, 2], dilations=[2, 1], strides=[1, 2]), {},
            (2, 5, 6), 12),
    "global": (node("GlobalAveragePool", ["x"]), {}, (2, 5, 6), 9),
    "global max": (node("GlobalMaxPool", ["x"]), {}, (2, 5, 6), 9),
    "mean 13": (node("ReduceMean", ["x"], axes=[-1, 2], keepdims=0), {}, (2, 5, 6), 13),
    "mean 18": (node("ReduceMean", ["x", "a"]), {"a": I([1])}, (2, 5, 6), 18),
    "sum 13": (node("ReduceSum", ["x", "a"], keepdims=0), {"a": I([2])}, (2, 5), 13),
    "max over all": (node("ReduceMax", ["x"], axes=[2, 3], keepdims=0), {}, (2, 5, 6), 11),
    "flatten": (node("Flatten", ["x"]), {}, (2, 5, 6), 9),
    "reshape zero": (node("Reshape", ["x", "s"]), {"s": I([0, -1, 0])}, (4, 3), 13),
    "reshape open": (node("Reshape", ["x", "s"]), {"s": I([-1, 3, 2])}, (6,), 13),
    "squeeze 11": (node("Squeeze", ["x"], axes=[-1]), {}, (4, 1), 11),
    "squeeze 13": (node("Squeeze", ["x", "a"]), {"a": I([1])}, (1, 4), 13),
    "unsqueeze 11": (node("Unsqueeze", ["x"], axes=[1, 3]), {}, (4,), 11),
    "unsqueeze 13": (node("Unsqueeze", ["x", "a"]), {"a": I([-1])}, (4,), 13),
    "transpose": (node("Transpose", ["x"], perm=[0, 3, 1, 2]), {}, (2, 3, 4), 13),
    "slice 10": (node("Slice", ["x", "s", "e", "a", "t"]),
                 {"s": I([1, -3]), "e": I([2**62, -1]), "a": I([1, 2]), "t": I([2, 1])},
                 (5, 6), 13),
    "slice 9": (node("Slice", ["x"], starts=[0, 1], ends=[2**31 - 1, 3]), {}, (5,), 9),
    "pad 10": (node("Pad", ["x"], pads=[0, 1, 0, 2], value=0.5), {}, (3,), 10),
    "pad 18": (node("Pad", ["x", "p", "v", "a"]), {"p": I([1, 2]), "v": I(0.25), "a": I([-1])},
               (2, 3), 18),
    "split": ([node("Split", ["x", "s"], ["p", "q"], axis=1), node("Concat", ["q", "p"], axis=1)],
              {"s": I([1, 3])}, (4,), 13),
    "split even": ([node("Split", ["x"], ["p", "q"], axis=-1), node("Mul", ["q", "p"])],
                   {}, (4,), 11),
    "gather": (node("Gather", ["x", "i"], axis=1), {"i": I(-2)}, (4, 3), 13),
    "gather some": (node("Gather", ["x", "i"], axis=2), {"i": I([0, 2])}, (4, 3), 13),
    "clip 6": (node("Clip", ["x"], min=-0.5, max=0.25), {}, (4,), 9),
    "clip 11": (node("Clip", ["x", "", "h"]), {"h": I(0.5)}, (4,), 13),
    "max of two": (node("Max", ["z", "x"]), {"z": I(0.0)}, (4,), 13),
    "prelu": (node("PRelu", ["x", "s"]), {"s": RNG.normal(size=(3, 1))}, (3, 4), 16),
    "selu": (node("Selu", ["x"], alpha=1.5, gamma=1.25), {}, (4,), 8),
    "celu": (node("Celu", ["x"], alpha=0.5), {}, (4,), 12),
    "hard sigmoid": (node("HardSigmoid", ["x"], alpha=0.25, beta=0.375), {}, (4,), 13),
    "hard swish": (node("HardSwish", ["x"]), {}, (4,), 14),
    "power": (node("Pow", ["x", "k"]), {"k": I(3.0)}, (4,), 13),
    "sum": (node("Sum", ["x", "x", "b"]), {"b": B3}, (3,), 13),
    "from a number": (node("Sub", ["c", "x"]), {"c": I(0.5)}, (4,), 13),
    "a number over": (node("Div", ["c", "x"]), {"c": I(0.5)}, (4,), 13),
    "over a tensor": (node("Div", ["x", "c"]), {"c": B3[None] + 9}, (3,), 13),
    "per channel": (node("Add", ["x", "c"]), {"c": W34[None, :, :1]}, (3, 5), 13),
    "round": (node("Round", ["x"]), {}, (4,), 13),
    "cast": ([node("Cast", ["x"], "i", to=TensorProto.INT64),
              node("Cast", ["i"], to=TensorProto.DOUBLE)], {}, (4,), 13),
    "layer norm": (node("LayerNormalization", ["x", "s", "b"], axis=1, epsilon=0.0625),
                   {"s": W34, "b": W34 + 1}, (3, 4), 17),
    "batch norm": (node("BatchNormalization", ["x", "s", "b", "m", "v"], epsilon=0.125),
                   {"s": B3, "b": B3 + 1, "m": B3 / 2, "v": B3**2}, (3, 4), 15),
    "softmax 11": (node("Softmax", ["x"], axis=2), {}, (3, 4), 11),
    "softmax 13": (node("LogSoftmax", ["x"], axis=1), {}, (3, 4), 13),
    "dropout 10": (node("Dropout", ["x"], ratio=0.5), {}, (3,), 10),
    "dropout 12": (node("Dropout", ["x", "r"]), {"r": I(0.5)}, (3,), 13),
    "gelu": (node("Gelu", ["x"], approximate="tanh"), {}, (4,), 20),
    "swapped sides": ([node("Transpose", ["x"], "t", perm=[0, 2, 1]),
                       node("MatMul", ["t", "w"], "p"), node("Add", ["b", "p"])],
                      {"w": W43, "b": B3}, (4, 2), 13),
}  # fmt: skip


# The reference computes these two with constants in single precision, the graph with exact ones.
SINGLE = {"gelu": 2.0**-22, "hard swish": 2.0**-22}


@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize("batch", ["n", 3])
def test_operators_agree_with_the_reference(tmp_path, name, batch):
    nodes, tensors, shape, opset = CASES[name]
    made = model(nodes if isinstance(nodes, list) else [nodes], tensors, shape, opset=opset,
                 batch=batch)  # fmt: skip
    graph = read(tmp_path, made.SerializeToString()).network
    x = 2 * np.random.default_rng(8).normal(size=(3, *shape))
    wanted = ReferenceEvaluator(made).run(None, {"x": x})[0]
    check_close(evaluate(graph, x), wanted, SINGLE.get(name, BOUND))


def test_old_and_new_forms_are_one_graph(tmp_path):
    """The reference has no plain evaluation form of batch normalisation before version 14."""
    made, tensors, shape, _ = CASES["batch norm"]
    graphs = [
        read(tmp_path, model([made], tensors, shape, opset=opset).SerializeToString()).network
        for opset in (8, 9, 15)
    ]
    assert len({graph.equation for graph in graphs}) == 1
    assert not any(graph.nodes[-1].attributes["training"] for graph in graphs)


def test_a_product_and_its_bias_are_one_layer(tmp_path):
    nodes, tensors, shape, opset = CASES["swapped sides"]
    graph = read(tmp_path, model(nodes, tensors, shape, opset=opset).SerializeToString()).network
    assert [node.op for node in graph.nodes] == ["input", "transpose", "linear"]
    assert np.array_equal(graph.stored["linear1.weight"], W43.T)


def test_a_target_computed_from_the_input_keeps_the_batch(tmp_path):
    nodes = [
        node("Shape", ["x"], "s"), node("Gather", ["s", "zero"], "n"),
        node("Unsqueeze", ["n", "at"], "head"), node("Concat", ["head", "rest"], "t", axis=0),
        node("Reshape", ["x", "t"]),
    ]  # fmt: skip
    tensors = {"zero": I(0), "at": I([0]), "rest": I([-1])}
    graph = read(tmp_path, model(nodes, tensors, (2, 3)).SerializeToString()).network
    assert graph.nodes[-1].shape == (6,)


def test_gelu_and_softplus_that_are_spelled_out(tmp_path):
    root = np.float32(math.sqrt(2))
    nodes = [
        node("Div", ["x", "root"], "a"), node("Erf", ["a"], "b"), node("Add", ["b", "one"], "c"),
        node("Mul", ["x", "c"], "d"), node("Mul", ["d", "half"], "e"),
        node("Mul", ["e", "beta"], "f"), node("Softplus", ["f"], "g"), node("Div", ["g", "beta"]),
    ]  # fmt: skip
    tensors = {"root": root, "one": np.float32(1), "half": np.float32(0.5), "beta": np.float32(7)}
    made = model(nodes, tensors, (3,), dtype=TensorProto.FLOAT)
    graph = read(tmp_path, made.SerializeToString()).network
    assert [str(node.attributes.get("activation", "")) for node in graph.nodes] == [
        "", "gelu", "softplus(7)"]  # fmt: skip


def test_older_exports_of_layer_norm_and_gelu_are_the_same_graph(tmp_path):
    module = nn.Sequential(
        nn.Linear(4, 6), nn.LayerNorm(6), nn.LayerNorm(6, elementwise_affine=False),
        nn.GELU(approximate="tanh"), nn.GELU(), nn.Linear(6, 2),
    ).eval()  # fmt: skip
    with torch.no_grad():
        module[1].weight.add_(torch.rand(6))
        module[1].bias.add_(torch.rand(6))
    graphs = []
    for opset in (11, 16, 20):
        content = onnx_bytes(module, torch.rand(2, 4), "legacy", opset_version=opset)
        graphs.append(read(tmp_path, content).network)
    assert len({graph.equation for graph in graphs}) == 1
    for role, values in graphs[0].stored.items():
        assert all(np.array_equal(graph.stored[role], values) for graph in graphs)
    assert [node.op for node in graphs[0].nodes[2:4]] == ["layer_norm", "layer_norm"]
    compare_with_torch(module, graphs[0])


@pytest.mark.parametrize(
    ("dtype", "name"),
    [(TensorProto.FLOAT, "float32"), (TensorProto.DOUBLE, "float64"),
     (TensorProto.FLOAT16, "float16"), (TensorProto.BFLOAT16, "bfloat16")],
)  # fmt: skip
@pytest.mark.parametrize("raw", [True, False])
def test_stored_numbers_are_exact_in_every_type(tmp_path, dtype, name, raw):
    numbers = [1.5, -0.25, 3.0, 2.0**-10, 0.0, -7.0]
    plain = onnx.TensorProto(data_type=dtype, dims=[3, 2], name="w")
    array = np.array(numbers, dtype=helper.tensor_dtype_to_np_dtype(dtype))
    if raw:
        plain.raw_data = array.tobytes()
    else:
        field = {1: "float_data", 11: "double_data"}.get(dtype, "int32_data")
        bits = array.view(np.uint16).tolist() if array.itemsize == 2 else array.tolist()
        getattr(plain, field).extend(bits)
    made = model([node("Gemm", ["x", "w"], transB=1)], {}, (2,), dtype=dtype)
    made.graph.initializer.append(plain)
    bag = read(tmp_path, made.SerializeToString())
    assert bag.listing() == (("w", (3, 2), name),)
    assert np.array_equal(bag.network.stored["linear1.weight"].ravel(), numbers)

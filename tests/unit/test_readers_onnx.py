"""ONNX graphs of modules that torch exports, against torch.

The graph that was read is evaluated in plain double precision. Its results and those of torch
differ by rounding only: `BOUND` times the largest entry, 2^-53 times at most some thousand
operations on a path with a factor of two hundred for how layers amplify them.
"""

import copy
import functools
import io
import logging
import warnings
from fractions import Fraction

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional

from verify.network import recognise
from verify.readers import onnx_file, read_network

BOUND = 2.0**-53 * 1000 * 200


def check_close(found, wanted, bound=BOUND):
    assert found.shape == wanted.shape
    assert np.abs(found - wanted).max() <= bound * max(1.0, np.abs(wanted).max())


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


@functools.lru_cache
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


def compare_with_torch(evaluate, module, graph, seed=3):
    torch.manual_seed(seed)
    x = torch.randn(5, *graph.sample_shape, dtype=torch.float64)
    with torch.no_grad():
        wanted = copy.deepcopy(module).double()(x).numpy()
    check_close(evaluate(graph, x.numpy()), wanted)


@pytest.mark.parametrize("make", NETS)
def test_every_export_gives_the_function_and_one_list_of_nodes(tmp_path, evaluate, make):
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
    compare_with_torch(evaluate, module, graph)


def test_what_an_exporter_merges_is_another_network_with_the_same_values(tmp_path, evaluate):
    module, content = exported(Residual, "optimised")
    graph = read(tmp_path, content).network
    assert not any(node.op == "batch_norm" for node in graph.nodes)
    x = torch.randn(5, 2, 6, 6, dtype=torch.float64)
    with torch.no_grad():
        wanted = copy.deepcopy(module).double()(x).numpy()
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
                           nn.Tanh(), nn.Linear(4, 3))  # fmt: skip
    graph = read(tmp_path, onnx_bytes(module.eval(), torch.rand(4, 2, 3), "legacy")).network
    found = recognise(graph)
    assert found.family == "feedforward"
    assert np.array_equal(found.weights[1], module[3].weight.detach().numpy())
    assert found.biases[1] is None


def test_a_file_is_read_as_a_network(tmp_path, evaluate):
    module, content = exported(Sequence, "legacy")
    path = tmp_path / "m.onnx"
    path.write_bytes(content)
    loaded = read_network(path)
    assert (loaded.format, loaded.network.family) == ("onnx", "graph")
    assert loaded.network.last_affine is not None
    assert {name: shape for name, shape, _ in loaded.tensors_found}["mix.weight"] == (5, 8)
    compare_with_torch(evaluate, module, loaded.network)


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


def test_older_exports_of_layer_norm_and_gelu_are_the_same_graph(tmp_path, evaluate):
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
    compare_with_torch(evaluate, module, graphs[0])

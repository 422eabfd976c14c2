"""The same trained network in every format has the same tensors and is the same function."""

import io
import warnings

import numpy as np
import pytest

from verify.certificate import digest_array
from verify.engine import check
from verify.network import Data
from verify.readers import read_network

torch = pytest.importorskip("torch")
pytest.importorskip("onnx")
safetensors_torch = pytest.importorskip("safetensors.torch")
nn = torch.nn

CODE = """
from torch import nn


class Block(nn.Module):
    def __init__(self, channels):
        super().__init__()
        self.conv1 = nn.Conv2d(channels, channels, 3, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(channels)
        self.conv2 = nn.Conv2d(channels, channels, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(channels)
        self.act = nn.Softplus(beta=100)

    def forward(self, x):
        return self.act(x + self.bn2(self.conv2(self.act(self.bn1(self.conv1(x))))))


class Net(nn.Module):
    def __init__(self, channels):
        super().__init__()
        self.stem, self.norm = nn.Conv2d(1, channels, 3, padding=1), nn.BatchNorm2d(channels)
        self.act, self.block = nn.Softplus(beta=100), Block(channels)
        self.pool, self.max = nn.AdaptiveAvgPool2d(1), nn.MaxPool2d(2)
        self.hidden, self.head = nn.Linear(channels, 12), nn.Linear(12, 10)

    def forward(self, x):
        x = self.max(self.act(self.norm(self.stem(x))))
        x = self.pool(self.block(x)).flatten(1)
        return self.head(self.act(self.hidden(x)))
"""


def digits():
    from sklearn.datasets import load_digits

    X, y = load_digits(return_X_y=True)
    return torch.tensor(X[:128] / 16, dtype=torch.float32).reshape(-1, 1, 8, 8), y[:128]


def trained(module, steps=5):
    torch.manual_seed(0)
    X, y = digits()
    optimiser = torch.optim.Adam(module.parameters(), 1e-2)
    for _ in range(steps):
        optimiser.zero_grad()
        nn.functional.cross_entropy(module(X), torch.tensor(y)).backward()
        optimiser.step()
    return module.eval()


def files(folder, module):
    """Write the module as a state dict in two formats and as a program in two formats."""
    X, _ = digits()
    torch.save(module.state_dict(), folder / "m.pt")
    safetensors_torch.save_file(module.state_dict(), folder / "m.safetensors")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        free = {"dynamic_shapes": ({0: torch.export.Dim("n")},)}
        program = torch.export.export(module, (X[:2],), **free)
        torch.export.save(program, folder / "m.pt2")
        content = io.BytesIO()
        # The exporter would otherwise fold batch normalisation into the convolutions.
        torch.onnx.export(module, (X[:2],), content, dynamo=False, do_constant_folding=False,
                          training=torch.onnx.TrainingMode.PRESERVE, input_names=["x"],
                          dynamic_axes={"x": {0: "n"}})  # fmt: skip
    (folder / "m.onnx").write_bytes(content.getvalue())
    return [folder / name for name in ("m.pt2", "m.onnx", "m.pt", "m.safetensors")]


def told(network):
    """What a claim about a network is made of, beside the question."""
    tensors = {role: digest_array(values) for role, values in network.tensors().items()}
    return network.family, network.equation, tensors, network.ties, network.notes


def claims(networks, samples):
    """What is claimed about the networks on the same few samples."""
    X, _ = digits()
    data = Data(X[:samples].numpy())
    return [check(net, data, conditions=["expressivity"])[0].claim for net in networks]


def test_a_fully_connected_classifier(tmp_path):
    module = trained(nn.Sequential(nn.Flatten(), nn.Linear(64, 20), nn.ReLU(), nn.Linear(20, 15),
                                   nn.Tanh(), nn.Linear(15, 10)))  # fmt: skip
    (tmp_path / "verify.toml").write_text(
        'family = "feedforward"\n[model]\nactivations = ["relu", "tanh"]\n'
    )
    networks = [read_network(path).network for path in files(tmp_path, module)]
    found = [told(network) for network in networks]
    assert all(one == found[0] for one in found)
    made = claims(networks, 16)
    assert all(one == made[0] for one in made)
    assert made[0]["verdict"] == "pass"
    assert found[0][0] == "feedforward"
    wanted = module[1].weight.detach().double().numpy()
    assert found[0][2]["W1"] == digest_array(np.ascontiguousarray(wanted))


def test_a_residual_network_with_batch_normalisation(tmp_path):
    (tmp_path / "nets.py").write_text(CODE)
    (tmp_path / "verify.toml").write_text(
        '[model]\nclass = "nets:Net"\narguments = { channels = 4 }\ninput = [1, 8, 8]\n'
    )
    space = {}
    exec(CODE, space)
    networks = [
        read_network(path, trust=True).network for path in files(tmp_path, trained(space["Net"](4)))
    ]
    found = [told(network) for network in networks]
    for one in found[1:]:
        assert one == found[0]
    made = claims(networks, 12)
    assert all(one == made[0] for one in made)
    assert made[0]["verdict"] == "pass"
    assert found[0][0] == "graph"
    assert "batch_norm3" in found[0][1]
    assert "softplus(100)(linear1)" in found[0][1]


def test_pooling_to_a_size_that_divides_the_image(tmp_path):
    module = nn.Sequential(nn.Conv2d(1, 3, 3, padding=1), nn.ReLU(), nn.AdaptiveAvgPool2d(4),
                           nn.Conv2d(3, 3, 1), nn.ReLU(), nn.AdaptiveMaxPool2d(2), nn.Flatten(),
                           nn.Linear(12, 10))  # fmt: skip
    paths = files(tmp_path, trained(module, steps=1))[:2]
    one, other = (told(read_network(path).network) for path in paths)
    assert one == other
    assert "kernel=(2,2)" in one[1]

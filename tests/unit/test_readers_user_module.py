"""Classes of the user's own: only with --trust, in another process, with the stored numbers."""

import numpy as np
import pytest

from verify.errors import InputError, SettingsError
from verify.network import Graph
from verify.readers import read_network, read_run
from verify.readers import user_module as reader

torch = pytest.importorskip("torch")

CODE = """
from pathlib import Path
import torch
from torch import nn

Path(__file__).with_name("imported").touch()
print("noise " * 1000)


class Net(nn.Module):
    def __init__(self, width, slope=0.5, tied=False):
        super().__init__()
        self.conv, self.norm = nn.Conv2d(1, width, 3), nn.BatchNorm2d(width)
        self.one, self.two = nn.Linear(width, width), nn.Linear(width, width)
        self.slope = slope
        if tied:
            self.two.weight = self.one.weight

    def forward(self, x):
        x = nn.functional.leaky_relu(self.norm(self.conv(x)), self.slope).mean((2, 3))
        return self.two(torch.tanh(self.one(x)))


class Changes(Net):
    def load_state_dict(self, state, strict=True):
        super().load_state_dict(state, strict)
        with torch.no_grad():
            self.one.weight[0, 0] += 1
"""


def declare(folder, name="Net", arguments="width = 3, slope = 0.25, tied = true"):
    (folder / "nets.py").write_text(CODE)
    (folder / "verify.toml").write_text(
        f'[model]\nclass = "nets:{name}"\narguments = {{ {arguments} }}\ninput = [1, 5, 5]\n'
    )


def state(*, tied=True, seed=0):
    torch.manual_seed(seed)
    weight = torch.randn(3, 3, dtype=torch.float64)
    found = {
        "conv.weight": torch.randn(3, 1, 3, 3), "conv.bias": torch.randn(3),
        "norm.weight": torch.randn(3), "norm.bias": torch.randn(3),
        "norm.running_mean": torch.randn(3), "norm.running_var": torch.rand(3) + 0.5,
        "norm.num_batches_tracked": torch.tensor(7),
        "one.weight": weight, "one.bias": torch.randn(3),
        "two.weight": weight if tied else weight + 1, "two.bias": torch.randn(3),
    }  # fmt: skip
    floats = {name: t.double() + 2.0**-40 for name, t in found.items() if t.is_floating_point()}
    found |= floats
    if tied:
        found["two.weight"] = found["one.weight"]
    return found


def test_nothing_is_imported_without_trust(tmp_path):
    declare(tmp_path)
    torch.save(state(), tmp_path / "m.pt")
    with pytest.raises(SettingsError, match="expected --trust, because 'nets:Net' is code"):
        read_network(tmp_path / "m.pt")
    assert not (tmp_path / "imported").exists()


def test_a_class_with_its_arguments_gives_a_graph_with_the_stored_numbers(tmp_path):
    declare(tmp_path)
    tensors = state()
    torch.save({"model": tensors}, tmp_path / "m.pt")
    settings = {"expressivity.seed": "1"}
    loaded = read_network(tmp_path / "m.pt", trust=True, settings=settings, key="model")
    graph = loaded.network
    assert isinstance(graph, Graph)
    assert (tmp_path / "imported").exists()
    assert "activation1 = leaky_relu(1/4)(batch_norm1)" in graph.equation
    assert graph.ties == (("linear1.weight", "linear2.weight"),)
    # 2^-40 would be lost in float32, which is the type that the class makes its parameters of.
    assert np.array_equal(graph.stored["conv1.weight"], tensors["conv.weight"].numpy())
    assert loaded.format == "pt"
    assert loaded.settings == {"expressivity.seed": "1"}
    (tmp_path / "run").mkdir()
    torch.save(state(seed=1), tmp_path / "run" / "step1.pt")
    (checkpoint,) = read_run(tmp_path / "run", loaded).checkpoints
    assert checkpoint.step == 1
    assert checkpoint.network.equation == graph.equation


def test_a_class_that_changes_the_stored_numbers_is_refused(tmp_path):
    declare(tmp_path, "Changes", "width = 3")
    torch.save(state(tied=False), tmp_path / "m.pt")
    told = "stored tensors unchanged, but got another 'one.weight'"
    with pytest.raises(InputError, match=told):
        read_network(tmp_path / "m.pt", trust=True)


def test_a_class_that_takes_too_long_is_stopped(tmp_path, monkeypatch):
    declare(tmp_path)
    monkeypatch.setattr(reader, "TIMEOUT", 0.05)
    torch.save(state(), tmp_path / "m.pt")
    with pytest.raises(SettingsError, match="expected a module within 0 seconds"):
        read_network(tmp_path / "m.pt", trust=True)


def test_family_and_activation_are_not_declared_beside_a_class(tmp_path):
    declare(tmp_path)
    torch.save(state(), tmp_path / "m.pt")
    with pytest.raises(SettingsError, match=r"expected none .*class tells"):
        read_network(tmp_path / "m.pt", trust=True, family="feedforward")
    assert not (tmp_path / "imported").exists()

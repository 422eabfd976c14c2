"""Checkpoints written by torch itself: what is read equals torch's numbers bit by bit."""

import argparse
import io
import pathlib
import warnings
import zipfile

import numpy as np
import pytest
import torch

from verify.errors import InputError, SettingsError, UnsafeFileError
from verify.readers import read_network
from verify.readers.torch_file import read

SEED = 11


def save(obj, path, legacy):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.save(obj, path, _use_new_zipfile_serialization=not legacy)
    return path


def exact_bits(array):
    return np.ascontiguousarray(array, dtype=np.float64).view(np.int64)


def assert_same(stored, tensor, name):
    reference = tensor.detach().resolve_neg().double().numpy()
    assert stored.shape == tuple(tensor.shape)
    assert np.array_equal(exact_bits(stored.exact(name)), exact_bits(reference)), name


def tensors():
    g = torch.Generator().manual_seed(SEED)
    full = torch.randn(6, 5, generator=g)
    special = torch.tensor([0.0, -0.0, float("inf"), -float("inf"), 1e-45, 3.4e38])
    return {
        "float64": torch.randn(3, 4, generator=g, dtype=torch.float64),
        "float32": full,
        "half": full.half(),
        "bfloat16": full.bfloat16(),
        "special": special,
        "special_half": special.half(),
        "special_bfloat16": special.bfloat16(),
        "transposed": full.t(),
        "strided": full[1::2, ::3],
        "row": full[2],
        "bfloat16_view": full.bfloat16().t()[1:, ::2],
        "expanded": torch.randn(1, generator=g).expand(3, 4),
        "scalar": torch.tensor(2.5),
        "empty": torch.zeros(0, 3),
        "negated": torch._neg_view(torch.randn(3, generator=g)),
        "negated_bfloat16": torch._neg_view(torch.randn(3, generator=g).bfloat16()),
        "int64": torch.arange(-3, 3),
        "int8": torch.arange(-3, 3, dtype=torch.int8),
        "uint8": torch.arange(250, 256, dtype=torch.uint8),
        "bool": torch.tensor([True, False]),
        "parameter": torch.nn.Parameter(torch.randn(4, generator=g)),
    }


@pytest.mark.parametrize("legacy", [False, True])
@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
def test_every_dtype_and_view_bit_by_bit(tmp_path, legacy, protocol):
    named = tensors()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.save(
            named, tmp_path / "t.pt", pickle_protocol=protocol,
            _use_new_zipfile_serialization=not legacy,
        )  # fmt: skip
    bag = read(tmp_path / "t.pt")
    assert list(bag.groups) == [""]
    assert bag.placeholders == ()
    assert set(bag.groups[""]) == set(named)
    for name, tensor in named.items():
        assert_same(bag.groups[""][name], tensor, name)


@pytest.mark.parametrize("legacy", [False, True])
def test_shared_storages(tmp_path, legacy):
    base = torch.arange(12.0)
    named = {"whole": base, "head": base[:4].view(2, 2), "tail": base[6:]}
    bag = read(save(named, tmp_path / "t.pt", legacy))
    for name, tensor in named.items():
        assert_same(bag.groups[""][name], tensor, name)


def test_big_endian_archive(tmp_path):
    save({"W": torch.tensor([[1.5, -2.0]])}, tmp_path / "t.pt", False)
    with zipfile.ZipFile(tmp_path / "t.pt") as old, zipfile.ZipFile(tmp_path / "b.pt", "w") as new:
        for entry in old.infolist():
            content = old.read(entry)
            if entry.filename.endswith("byteorder"):
                content = b"big"
            if "/data/" in entry.filename:
                content = np.frombuffer(content, "<f4").astype(">f4").tobytes()
            new.writestr(entry.filename, content)
    assert read(tmp_path / "b.pt").groups[""]["W"].exact("W").tolist() == [[1.5, -2.0]]


@pytest.mark.parametrize("device", ["mps", "cuda:0", "xpu:12"])
def test_device_tags_do_not_matter(tmp_path, device):
    save({"W": torch.tensor([[1.5, -2.0]])}, tmp_path / "t.pt", False)
    tag = b"X" + len(device).to_bytes(4, "little") + device.encode()
    with zipfile.ZipFile(tmp_path / "t.pt") as old, zipfile.ZipFile(tmp_path / "d.pt", "w") as new:
        for entry in old.infolist():
            new.writestr(entry.filename, old.read(entry).replace(b"X\x03\x00\x00\x00cpu", tag))
    assert read(tmp_path / "d.pt").groups[""]["W"].exact("W").tolist() == [[1.5, -2.0]]


def test_old_cuda_storages(tmp_path):
    content = save({"W": torch.tensor([[1.5, -2.0]])}, tmp_path / "t.pt", True).read_bytes()
    old = content.replace(b"ctorch\nFloatStorage\n", b"ctorch.cuda\nFloatStorage\n")
    assert old != content
    (tmp_path / "t.pt").write_bytes(old)
    assert read(tmp_path / "t.pt").groups[""]["W"].exact("W").tolist() == [[1.5, -2.0]]


@pytest.mark.parametrize("legacy", [False, True])
def test_unread_kinds_are_listed(tmp_path, legacy):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        quantised = torch.quantize_per_tensor(torch.zeros(2), 1.0, 0, torch.qint8)
    named = {
        "W": torch.eye(2),
        "complex": torch.zeros(2, dtype=torch.complex64),
        "quantised": quantised,
        "sparse": torch.eye(2).to_sparse(),
        "meta": torch.zeros(2, device="meta"),
        "conjugate": torch.zeros(2, dtype=torch.complex128).conj(),
    }
    if not legacy:
        named["float8"] = torch.zeros(2).to(torch.float8_e4m3fn)
        named["uint16"] = torch.arange(3).to(torch.uint16)
    save(named, tmp_path / "t.pt", legacy)
    group = read(tmp_path / "t.pt").groups[""]
    assert {name for name, tensor in group.items() if tensor.values is None} == set(named) - {
        "W", "uint16",
    }  # fmt: skip
    with pytest.raises(InputError, match="expected real numbers"):
        group["complex"].exact("complex")
    if not legacy:
        assert group["uint16"].exact("u").tolist() == [0, 1, 2]


@pytest.mark.parametrize("legacy", [False, True])
def test_numpy_values_inside(tmp_path, legacy):
    matrix = np.arange(6.0).reshape(2, 3)
    named = {
        "C": matrix, "F": np.asfortranarray(matrix), "T": matrix.T, "f4": matrix.astype("f4"),
        "f2": matrix.astype("f2"), "big": matrix.astype(">f8"), "scalar": np.float64(2.5),
        "i": np.int32(7), "bool": np.array([True, False]),
    }  # fmt: skip
    group = read(save(named, tmp_path / "t.pt", legacy)).groups[""]
    assert set(group) == set(named)
    for name, value in named.items():
        assert group[name].shape == np.shape(value)
        assert np.array_equal(group[name].exact(name), np.asarray(value, dtype=float))


@pytest.mark.parametrize("legacy", [False, True])
def test_optimiser_and_scalars_beside_the_state_dict(tmp_path, legacy):
    net = torch.nn.Sequential(torch.nn.Linear(3, 4), torch.nn.BatchNorm1d(4))
    optimiser = torch.optim.Adam(net.parameters())
    net(torch.ones(2, 3)).sum().backward()
    optimiser.step()
    checkpoint = {
        "state_dict": net.state_dict(), "optim": optimiser.state_dict(), "epoch": 3,
        "best": torch.tensor(0.5),
        "args": argparse.Namespace(lr=0.1, out=pathlib.PurePosixPath("a")),
    }  # fmt: skip
    bag = read(save(checkpoint, tmp_path / "t.pt", legacy))
    assert set(bag.groups) == {"", "state_dict"}
    for name, tensor in net.state_dict().items():
        assert_same(bag.groups["state_dict"][name], tensor, name)
    assert "argparse.Namespace" in bag.placeholders


@pytest.mark.parametrize("legacy", [False, True])
def test_whole_module_becomes_its_state_dict(tmp_path, legacy):
    net = torch.nn.Sequential(torch.nn.Linear(3, 4), torch.nn.ReLU(), torch.nn.BatchNorm1d(4))
    bag = read(save(net, tmp_path / "t.pt", legacy))
    assert set(bag.groups[""]) == set(net.state_dict())
    for name, tensor in net.state_dict().items():
        assert_same(bag.groups[""][name], tensor, name)
    assert "torch.nn.modules.linear.Linear" in bag.placeholders


def test_tensor_subclass_is_not_read_as_a_tensor(tmp_path):
    class Half(torch.Tensor):
        pass

    globals()["Half"] = Half
    Half.__qualname__ = "Half"
    save({"W": torch.eye(2).as_subclass(Half)}, tmp_path / "t.pt", False)
    assert read(tmp_path / "t.pt").groups[""]["W"].values is None


WEIGHTS = {"W": torch.eye(2) / 2, "U": torch.ones(2, 1), "b": torch.zeros(2)}
PLAIN = {"family": "equilibrium", "activation": "relu"}


@pytest.mark.parametrize(
    "wrapped",
    [
        WEIGHTS, [WEIGHTS], (WEIGHTS,), {"state_dict": WEIGHTS}, {"model_state_dict": WEIGHTS},
        {"net_state_dict": WEIGHTS, "epoch": 3}, {"T_state_dict": WEIGHTS}, [{"model": WEIGHTS}],
        {"module." + name: tensor for name, tensor in WEIGHTS.items()},
        {"state_dict": {"module.net." + name: tensor for name, tensor in WEIGHTS.items()}},
    ],
)  # fmt: skip
def test_wrapped_checkpoints(tmp_path, wrapped):
    loaded = read_network(save(wrapped, tmp_path / "t.pt", False), **PLAIN)
    assert loaded.network.weight.W.tolist() == [[0.5, 0.0], [0.0, 0.5]]
    assert loaded.network.input.U.tolist() == [[1.0], [1.0]]
    assert loaded.format == "pt"


def test_several_candidates_need_a_key(tmp_path):
    other = {name: 2 * tensor for name, tensor in WEIGHTS.items()}
    path = save({"model": WEIGHTS, "ema": other}, tmp_path / "t.pt", False)
    with pytest.raises(InputError, match=r"expected one set of tensors, but got 2: .*--key"):
        read_network(path, **PLAIN)
    assert read_network(path, key="ema", **PLAIN).network.weight.W[0, 0] == 1.0
    assert read_network(path, key="model", **PLAIN).network.weight.W[0, 0] == 0.5
    with pytest.raises(InputError, match="expected --key to name tensors"):
        read_network(path, key="nope", **PLAIN)


def test_flat_prefixes_need_a_key(tmp_path):
    flat = {f"{net}.{name}": tensor for net in ("a", "b") for name, tensor in WEIGHTS.items()}
    path = save(flat, tmp_path / "t.pt", False)
    with pytest.raises(InputError, match="expected one layer of equilibrium, but got 2: 'a', 'b'"):
        read_network(path, **PLAIN)
    loaded = read_network(path, key="b", **PLAIN)
    assert loaded.network.notes[-1] == "not used: a.U, a.W, a.b"


def test_declared_checkpoint_needs_no_flag(tmp_path):
    declared = {"family": "equilibrium", "activation": "leaky_relu(1/3)", "about": {"step": 3}}
    path = save({"model": WEIGHTS, "verify": declared}, tmp_path / "t.pt", False)
    loaded = read_network(path)
    assert str(loaded.network.activation) == "leaky_relu(1/3)"
    assert loaded.origins["family"] == "file"
    assert read_network(path, activation="relu").network.activation.name == "relu"


def test_float_in_a_declaration_is_refused(tmp_path):
    declared = {"family": "implicit-relu", "gamma": 0.1}
    path = save(
        {"A": torch.eye(2), "W": torch.eye(2), "verify": declared}, tmp_path / "t.pt", False
    )
    with pytest.raises(SettingsError, match=r"gamma: expected an exact number as text.*quote it"):
        read_network(path)


def test_bare_tensor(tmp_path):
    path = save(torch.eye(2), tmp_path / "t.pt", False)
    with pytest.raises(InputError, match=r"expected a declared family, but got tensor \[2, 2\]"):
        read_network(path)


def test_torchscript_is_named(tmp_path):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.jit.save(torch.jit.script(torch.nn.Linear(2, 2)), tmp_path / "t.pt")
    with pytest.raises(InputError, match="got a TorchScript program"):
        read(tmp_path / "t.pt")


def test_pickled_activation_function_is_inert(tmp_path):
    save({**WEIGHTS, "f": torch.nn.functional.relu, "g": torch.nn.functional.gelu},
         tmp_path / "t.pt", False)  # fmt: skip
    assert set(read(tmp_path / "t.pt").groups[""]) == set(WEIGHTS)


def test_nested_pickle_of_a_storage_is_refused(tmp_path):
    import pickle

    stream = io.BytesIO()
    pickle.dump({"W": torch.eye(2)}, stream)
    (tmp_path / "t.pt").write_bytes(stream.getvalue())
    with pytest.raises(UnsafeFileError, match="_load_from_bytes"):
        read(tmp_path / "t.pt")

"""`.npz`, `.safetensors`, `.npy`, `.csv`: exact numbers, declarations, one clear error each."""

import io
import json
import struct
import subprocess
import sys

import numpy as np
import pytest
import torch
from safetensors.numpy import save
from safetensors.torch import save as save_torch

from verify.errors import InputError, SettingsError, UnsafeFileError
from verify.readers import npz_file, read_data, read_network, safetensors_file

PLAIN = {"family": "equilibrium", "activation": "relu"}
W = np.array([[0.5, -0.25], [2.0**-1074, 1e308]])


def npz(path, **arrays):
    np.savez(path, **arrays)
    return path


@pytest.mark.parametrize("dtype", ["f8", "f4", "f2", ">f8", ">f4", ">f2", "i1", "u8", "i8", "?"])
@pytest.mark.parametrize("order", ["C", "F"])
def test_npz_is_exact(tmp_path, dtype, order):
    values = np.array([[1, 0, 1], [0, 1, 1]], dtype=dtype, order=order)
    group = npz_file.read(npz(tmp_path / "a.npz", W=values)).groups[""]
    assert np.array_equal(group["W"].exact("W"), values.astype(float))
    compressed = tmp_path / "c.npz"
    np.savez_compressed(compressed, W=values)
    assert np.array_equal(npz_file.read(compressed).groups[""]["W"].exact("W"), values)


def test_npz_bits(tmp_path):
    loaded = read_network(npz(tmp_path / "a.npz", W=W), **PLAIN)
    assert np.array_equal(loaded.network.weight.W.view(np.int64), W.view(np.int64))
    assert loaded.format == "npz"
    assert loaded.tensors_found == (("W", (2, 2), "float64"),)


@pytest.mark.parametrize("dtype", ["c8", "c16", "longdouble", "S3", "U3", "M8[s]"])
def test_npz_other_types_are_listed_and_refused_where_used(tmp_path, dtype):
    path = npz(tmp_path / "a.npz", W=np.zeros((2, 2), dtype=dtype))
    assert npz_file.read(path).groups[""]["W"].values is None
    with pytest.raises(InputError, match="expected real numbers of at most 64 bits"):
        read_network(path, **PLAIN)


def test_large_integers_do_not_embed(tmp_path):
    path = npz(tmp_path / "a.npz", W=np.array([[2**53 + 1]]))
    with pytest.raises(InputError, match=r"integers up to 2\^53, but got 9007199254740993"):
        read_network(path, **PLAIN)


class Bomb:
    def __reduce__(self):
        import os

        return (os.system, ("true",))


def test_npz_with_pickles(tmp_path):
    path = npz(tmp_path / "a.npz", W=np.array([{1: 2}], dtype=object))
    with pytest.raises(InputError, match="expected numbers, but got pickled Python objects"):
        npz_file.read(path)
    bomb = npz(tmp_path / "b.npz", W=np.array([Bomb()], dtype=object))
    with pytest.raises(UnsafeFileError, match="system"):
        npz_file.read(bomb)


@pytest.mark.parametrize("kind", ["F64", "F32", "F16", "BF16", "I64", "U8", "BOOL"])
def test_safetensors_is_exact(tmp_path, kind):
    dtype = {"F64": torch.float64, "F32": torch.float32, "F16": torch.float16,
             "BF16": torch.bfloat16, "I64": torch.int64, "U8": torch.uint8,
             "BOOL": torch.bool}[kind]  # fmt: skip
    tensor = (torch.arange(6).reshape(2, 3) / 3 + 0.1).to(dtype)
    (tmp_path / "a.safetensors").write_bytes(save_torch({"W": tensor, "empty": tensor[:0].clone()}))
    group = safetensors_file.read(tmp_path / "a.safetensors").groups[""]
    assert np.array_equal(group["W"].exact("W"), tensor.double().numpy())
    assert group["empty"].exact("empty").shape == (0, 3)


def test_declarations_in_metadata(tmp_path):
    declared = json.dumps({"family": "equilibrium", "activation": "relu", "about": "a test"})
    (tmp_path / "a.safetensors").write_bytes(save({"W": W}, metadata={"verify": declared}))
    assert read_network(tmp_path / "a.safetensors").declared["family"] == "equilibrium"
    path = npz(tmp_path / "a.npz", W=W, verify=np.array(declared))
    assert read_network(path).declared["activation"] == "relu"
    assert read_network(path, activation="tanh").declared["activation"] == "tanh"


@pytest.mark.parametrize(
    "text",
    ["[]", "{", '{"a": 1, "a": 2}', '{"family": "equilibrium", "famliy": 1}', "\u2028", "NaN"],
)
def test_bad_declarations(tmp_path, text):
    path = npz(tmp_path / "a.npz", W=W, verify=np.array(text))
    with pytest.raises(InputError) as caught:
        read_network(path)
    assert "\n" not in str(caught.value)


def test_decimal_in_json_is_a_decimal(tmp_path):
    declared = '{"family": "implicit-relu", "gamma": 0.1}'
    path = npz(tmp_path / "a.npz", A=W, W=W, verify=np.array(declared))
    assert str(read_network(path).network.weight.gamma) == "1/10"


def test_toml_beside_the_model(tmp_path):
    path = npz(tmp_path / "a.npz", A=W, W=W)
    (tmp_path / "pyproject.toml").write_text(
        '[tool.verify]\nfamily = "equilibrium"\ngamma = "1/3"\n[tool.other]\nx = 1\n'
    )
    with pytest.raises(InputError, match="exactly one of"):
        read_network(path, activation="relu")
    (tmp_path / "verify.toml").write_text(
        'family = "mondeq"\n[files."a.npz"]\nfamily = "implicit-relu"\n'
        "[settings]\nother.level = 0.5\nwell-posedness.gamma = 0.25\n"
    )
    loaded = read_network(path)
    assert str(loaded.network.weight.gamma) == "1/4"
    assert loaded.settings == {"other.level": "0.5"}
    assert loaded.origins["well-posedness.gamma"] == "verify.toml"
    flagged = read_network(path, settings={"well-posedness.gamma": "1/2", "other.level": "2"})
    assert str(flagged.network.weight.gamma) == "1/2"
    assert flagged.settings == {"other.level": "2"}


@pytest.mark.parametrize("text", ["family = 3", "nope = 1", "[files]\nx = 1", "= 1", "m = [1]"])
def test_bad_toml(tmp_path, text):
    path = npz(tmp_path / "a.npz", W=W)
    (tmp_path / "verify.toml").write_text(text)
    with pytest.raises(SettingsError) as caught:
        read_network(path, **PLAIN)
    assert "\n" not in str(caught.value)


def test_constant_in_toml_for_another_model_is_no_error(tmp_path):
    path = npz(tmp_path / "a.npz", W=W)
    (tmp_path / "verify.toml").write_text("m = 1\n")
    assert read_network(path, **PLAIN).settings == {}


def test_data_beside_the_model(tmp_path):
    npz(tmp_path / "d.npz", X=np.ones((3, 2)), y=np.arange(3))
    import hashlib

    digest = hashlib.sha256((tmp_path / "d.npz").read_bytes()).hexdigest()
    declared = {**PLAIN, "data": "d.npz", "data_sha256": digest}
    model = npz(tmp_path / "a.npz", W=W, U=np.ones((2, 2)), verify=np.array(json.dumps(declared)))
    loaded = read_network(model)
    assert loaded.data.X.shape == (3, 2)
    assert loaded.data.source == "d.npz"
    npz(tmp_path / "d.npz", X=np.zeros((3, 2)))
    with pytest.raises(InputError, match="expected data with sha256"):
        read_network(model)
    (tmp_path / "d.npz").unlink()
    loaded = read_network(model)
    assert loaded.data is None
    assert "is not beside the model" in loaded.network.notes[-1]


@pytest.mark.parametrize("name", ["../d.npz", "/etc/passwd", "a/d.npz", "..", "a\\d.npz", ""])
def test_data_elsewhere_is_refused(tmp_path, name):
    declared = json.dumps({**PLAIN, "data": name})
    with pytest.raises(InputError, match="expected the name of a data file beside the model"):
        read_network(npz(tmp_path / "a.npz", W=W, verify=np.array(declared)))


def test_bundled_data(tmp_path):
    loaded = read_network(
        npz(tmp_path / "a.npz", W=W, U=np.ones((2, 3)), X=np.ones((4, 3))), **PLAIN
    )
    assert loaded.data.X.shape == (4, 3)
    with pytest.raises(InputError, match=r"expected samples X of shape \(n, 3\), but got \(4, 2\)"):
        read_network(npz(tmp_path / "b.npz", W=W, U=np.ones((2, 3)), X=np.ones((4, 2))), **PLAIN)


def test_read_data_formats(tmp_path):
    X, y = np.array([[1.0, 2.0], [3.0, 0.1]]), np.array([0, 1])
    np.save(tmp_path / "x.npy", X)
    npz(tmp_path / "x.npz", X=X, y=y)
    (tmp_path / "x.safetensors").write_bytes(save({"X": X, "y": y}))
    (tmp_path / "x.csv").write_text("1,2\n3,0.1\n")
    (tmp_path / "h.csv").write_text("\ufeffa,b,y\r\n1,2,0\r\n3,0.1,1\r\n", encoding="utf-8")
    for name in ("x.npy", "x.npz", "x.safetensors", "x.csv", "h.csv"):
        data = read_data(tmp_path / name)
        assert np.array_equal(data.X, X), name
        has_targets = name in ("x.npz", "x.safetensors", "h.csv")
        assert (data.y is not None) == has_targets
        assert data.y is None or np.array_equal(data.y, y)
    (tmp_path / "g.csv").write_text("a,b\n1,2\n3,0.1\n")
    assert read_data(tmp_path / "g.csv").y is None


@pytest.mark.parametrize(
    "text", ["", "\n", "a,b\n", "1,2\n3\n", "1,2\nx,3\n", "a\n1,2\n", "1,nan\n", "1,inf\n", "\xff"]
)
def test_bad_csv(tmp_path, text):
    (tmp_path / "x.csv").write_bytes(text.encode("latin1"))
    with pytest.raises(InputError) as caught:
        read_data(tmp_path / "x.csv")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "arrays",
    [{"X": np.ones(3)}, {"X": np.float64(1.0)}, {"Z": np.ones((2, 2))},
     {"X": np.ones((2, 2)), "y": np.ones(3)}, {"X": np.array([[np.nan]])},
     {"X": np.ones((2, 2)), "y": np.array([1.0, np.inf])}],
)  # fmt: skip
def test_bad_data(tmp_path, arrays):
    with pytest.raises(InputError):
        read_data(npz(tmp_path / "x.npz", **arrays))


def header(shape, descr="<f8", fortran=False):
    stream = io.BytesIO()
    text = f"{{'descr': {descr!r}, 'fortran_order': {fortran}, 'shape': {shape}, }}".encode()
    stream.write(b"\x93NUMPY\x01\x00" + struct.pack("<H", len(text) + 1) + text + b"\n")
    return stream.getvalue()


@pytest.mark.parametrize(
    "content",
    [header((2, 2)), header((2, 2)) + b"x" * 31, header((2, 2)) + b"x" * 33, header((-1,)),
     header((10**12, 10**12)), header((0, 10**18)), header((2,), "nope"), header((True,)),
     header("(1,)*99"), header("__import__('os').system('true')"), b"\x93NUMPY", b"", b"PK",
     b"\x93NUMPY\x03\x00" + b"\x00" * 20, b"\x93NUMPY\x01\x00\xff\xff{}"],
)  # fmt: skip
def test_lying_npy_headers(tmp_path, content):
    (tmp_path / "x.npy").write_bytes(content)
    with pytest.raises(InputError) as caught:
        read_data(tmp_path / "x.npy")
    assert "\n" not in str(caught.value)


def test_unknown_suffixes(tmp_path):
    (tmp_path / "m.xyz").write_bytes(b"1")
    with pytest.raises(InputError, match=r"expected a model as .*\.npz.*\.pt"):
        read_network(tmp_path / "m.xyz")
    with pytest.raises(InputError, match=r"expected data as \.npz"):
        read_data(tmp_path / "m.xyz")


def test_missing_file(tmp_path):
    with pytest.raises(InputError, match="No such file"):
        read_network(tmp_path / "m.npz")


def test_unknown_family(tmp_path):
    with pytest.raises(SettingsError, match="--family: expected one of equilibrium, implicit-relu"):
        read_network(npz(tmp_path / "a.npz", W=W), family="resnet", activation="relu")


def test_importing_the_readers_imports_no_torch():
    program = (
        "import sys, verify.readers\n"
        "assert 'torch' not in sys.modules and 'numpy' not in sys.modules\n"
        "import verify.readers.torch_file, verify.readers.network_file\n"
        "assert 'torch' not in sys.modules and 'sympy' not in sys.modules\n"
    )
    subprocess.run([sys.executable, "-P", "-c", program], check=True, timeout=60)


def test_a_reader_that_states_no_digest(tmp_path, monkeypatch):
    import hashlib

    from verify import registry
    from verify.readers.tensors import TensorBag, stored

    path = tmp_path / "m.mine"
    path.write_bytes(b"anything")
    bag = TensorBag({"": {"W": stored(W)}}, placeholders=("mine.Thing",))
    monkeypatch.setattr(registry, "names", lambda group: ["mine"])
    monkeypatch.setattr(registry, "load", lambda group, name: lambda given: bag)
    loaded = read_network(path, **PLAIN)
    assert loaded.sha256 == hashlib.sha256(b"anything").hexdigest()
    assert (loaded.format, loaded.placeholders) == ("mine", ("mine.Thing",))


def test_samples_in_the_file_and_beside_it_are_refused(tmp_path):
    np.savez(tmp_path / "d.npz", X=np.ones((3, 2)))
    np.savez(tmp_path / "m.npz", W=np.eye(2) / 2, U=np.eye(2), X=np.ones((1, 2)))
    declared = 'family = "equilibrium"\nactivation = "relu"\ndata = "d.npz"\n'
    (tmp_path / "verify.toml").write_text(declared, encoding="utf-8")
    with pytest.raises(InputError, match="expected samples from one place"):
        read_network(tmp_path / "m.npz")

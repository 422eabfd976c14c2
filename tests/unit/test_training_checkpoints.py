"""Models on disk: declared, exact, written whole or not at all; the scaled example."""

import json
from fractions import Fraction

import numpy as np
import pytest

from verify.errors import InputError
from verify.network import MonotoneWeight, PlainWeight, ScaledGaussianWeight
from verify.readers import read_data, read_network
from verify_conditions import checkpoints
from verify_conditions.checkpoints import replace_file, save_tensors
from verify_conditions.well_posedness.reproduce import scale_until_refuted


@pytest.fixture
def rng():
    return np.random.default_rng(0)


@pytest.mark.parametrize("suffix", [".npz", ".safetensors"])
def test_a_saved_implicit_network_is_read_back_exactly(tmp_path, rng, suffix):
    A, W = rng.standard_normal((5, 5)), rng.standard_normal((5, 3))
    X = rng.standard_normal((4, 3))
    digest = save_tensors(tmp_path / "samples.npz", {"X": X, "y": np.arange(4)})
    declared = {"family": "implicit-relu", "activation": "relu", "gamma": "1/7",
                "data": "samples.npz", "data_sha256": digest}  # fmt: skip
    path = tmp_path / f"model{suffix}"
    sha256 = save_tensors(path, {"A": A, "W": W}, declared)
    loaded = read_network(path)
    assert loaded.sha256 == sha256
    assert isinstance(loaded.network.weight, ScaledGaussianWeight)
    assert loaded.network.weight.gamma == Fraction(1, 7)
    assert np.array_equal(loaded.network.weight.A, A)
    assert np.array_equal(loaded.network.input.V, W)
    assert np.array_equal(loaded.data.X, X)
    assert np.array_equal(read_data(tmp_path / "samples.npz").y, np.arange(4))


def test_a_saved_monotone_network_needs_no_flag(tmp_path, rng):
    A, B = rng.standard_normal((4, 4)), rng.standard_normal((4, 4))
    U, b = rng.standard_normal((4, 2)), rng.standard_normal(4)
    named = {"A.weight": A, "B.weight": B, "U.weight": U, "U.bias": b}
    save_tensors(
        tmp_path / "m.safetensors",
        {f"mon.linear_module.{name}": value for name, value in named.items()},
        {"family": "mondeq", "activation": "relu", "m": "1/20"},
    )
    weight = read_network(tmp_path / "m.safetensors").network.weight
    assert isinstance(weight, MonotoneWeight)
    assert weight.m == Fraction(1, 20)
    assert np.array_equal(weight.A, A)


def test_a_plain_weight_without_input_map(tmp_path):
    save_tensors(
        tmp_path / "w.npz", {"W": [[0.5]]}, {"family": "equilibrium", "activation": "relu"}
    )
    network = read_network(tmp_path / "w.npz").network
    assert isinstance(network.weight, PlainWeight)
    assert network.input is None


def test_the_declaration_is_plain_text(tmp_path):
    save_tensors(tmp_path / "w.npz", {"W": [[0.5]]}, {"gamma": "1/3"})
    with np.load(tmp_path / "w.npz", allow_pickle=False) as stored:
        assert json.loads(str(stored["verify"])) == {"gamma": "1/3"}


def test_refused(tmp_path):
    with pytest.raises(InputError, match=r"ending in \.npz or \.safetensors, but got 'w\.pt'"):
        save_tensors(tmp_path / "w.pt", {"W": [[0.5]]})
    with pytest.raises(InputError, match="expected no tensor named 'verify'"):
        save_tensors(tmp_path / "w.npz", {"verify": [[0.5]]})


def test_a_failed_write_leaves_the_old_file_and_no_other(tmp_path, monkeypatch):
    path = tmp_path / "folder" / "w.bin"
    replace_file(path, b"old")
    assert path.stat().st_mode & 0o777 == 0o644

    def fail(*names):
        raise OSError("disk full")

    monkeypatch.setattr(checkpoints.os, "replace", fail)
    with pytest.raises(OSError, match="disk full"):
        replace_file(path, b"new")
    assert path.read_bytes() == b"old"
    assert [entry.name for entry in path.parent.iterdir()] == ["w.bin"]


def test_the_first_refuted_factor_is_found():
    # z = relu(w z + b) is well posed for every b exactly when w < 1: 3/4 fails from 4/3 on.
    factor, scaled = scale_until_refuted(np.array([[0.75]]))
    assert factor == Fraction(3, 2)
    assert scaled[0, 0] == 1.125
    factor, scaled = scale_until_refuted(np.array([[0.8]]), step=Fraction(1, 8))
    assert factor == Fraction(5, 4)
    assert scaled[0, 0] >= 1.0  # 5/4 of the double nearest to 0.8, rounded to binary32


def test_a_weight_that_no_factor_breaks_is_refused():
    with pytest.raises(InputError, match="expected a factor up to 8 at which W is not well posed"):
        scale_until_refuted(np.array([[0.0, 1.0], [0.0, 0.0]]))

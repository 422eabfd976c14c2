"""Checkpoints of a training run: order, steps, and one clear error for what does not fit."""

import json

import numpy as np
import pytest
import safetensors.numpy
import torch

from verify.errors import InputError, SettingsError, UnsafeFileError
from verify.network import Equilibrium, Run, StoredCheckpoint
from verify.readers import read_network, read_run

TWO = {"family": "two-layer", "activation": "tanh"}


def arrays(k):
    return {"W": np.full((2, 3), float(k)), "a": np.array([1.0, -1.0])}


@pytest.fixture
def model(tmp_path):
    np.savez(tmp_path / "model.npz", **arrays(99))
    return read_network(tmp_path / "model.npz", **TWO)


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "run").mkdir()
    return tmp_path / "run"


def order(run):
    return [(one.step, one.name, one.network.W[0, 0]) for one in run.checkpoints]


def test_numbers_at_the_end_of_the_names_are_steps(model, folder):
    for k in (0, 5, 10, 100, 20):
        np.savez(folder / f"step_{k}.npz", **arrays(k))
    run = read_run(folder, model)
    assert order(run) == [(k, f"step_{k}.npz", k) for k in (0, 5, 10, 20, 100)]
    assert run.settings == {"folder": str(folder)}
    assert list(run.tensors())[:3] == ["run.0.W", "run.0.a", "run.1.W"]
    assert all(isinstance(one, StoredCheckpoint) for one in run.checkpoints)


def test_every_format_at_once(model, folder):
    np.savez(folder / "c4.npz", **arrays(4))
    safetensors.numpy.save_file(arrays(3), folder / "c3.safetensors")
    tensors = {name: torch.tensor(array) for name, array in arrays(2).items()}
    torch.save(tensors, folder / "c2.pt")
    torch.save({"state_dict": tensors}, folder / "c1.pth")
    assert [step for step, *_ in order(read_run(folder, model))] == [1, 2, 3, 4]


def test_stated_steps_win_over_names(model, folder):
    for name, k in (("a1", 30), ("a2", 20), ("a3", 10)):
        np.savez(folder / f"{name}.npz", **arrays(k), step=k)
    assert order(read_run(folder, model)) == [(10, "a3.npz", 10), (20, "a2.npz", 20),
                                              (30, "a1.npz", 30)]  # fmt: skip


@pytest.mark.parametrize("how", ["metadata", "toml", "torch", "tensor"])
def test_where_a_step_can_be_stated(model, folder, how):
    for name, k in (("x", 7), ("y", 3)):
        if how == "metadata":
            np.savez(folder / f"{name}.npz", **arrays(k), verify=np.array(json.dumps({"step": k})))
        elif how == "toml":
            np.savez(folder / f"{name}.npz", **arrays(k))
            with (folder / "verify.toml").open("a") as file:
                file.write(f'[files."{name}.npz"]\nstep = {k}\n')
        else:
            tensors = {key: torch.tensor(array) for key, array in arrays(k).items()}
            step = torch.tensor(k) if how == "tensor" else k
            torch.save({"step": step, "model": tensors}, folder / f"{name}.pt")
    if how == "tensor":
        assert [step for step, *_ in order(read_run(folder, model))] == [3, 7]
    else:
        assert [one[::2] for one in order(read_run(folder, model))] == [(3, 3.0), (7, 7.0)]


def test_equal_epochs_leave_it_to_the_names(model, folder):
    for k in (12, 11):
        np.savez(folder / f"s{k}.npz", **arrays(k), epoch=1)
    assert [step for step, *_ in order(read_run(folder, model))] == [11, 12]


def test_without_any_number_the_order_is_that_of_the_names(model, folder):
    for name in ("b", "a2x", "a10x"):
        np.savez(folder / f"{name}.npz", **arrays(1))
    assert order(read_run(folder, model)) == [(None, f"{n}.npz", 1) for n in ("a2x", "a10x", "b")]


def test_what_is_no_checkpoint_is_left_alone(model, folder, tmp_path):
    np.savez(folder / "s1.npz", **arrays(1))
    np.savez(folder / ".hidden.npz", **arrays(1))
    np.savez(folder / "data.npz", X=np.ones((2, 3)))
    (folder / "log.txt").write_text("loss 1")
    (folder / "verify.toml").write_text('data = "data.npz"')
    run = read_run(folder, model, skip=[str(folder / "data.npz")])
    assert len(run.checkpoints) == 1
    with pytest.raises(InputError, match=r"data\.npz"):
        read_run(folder, model)


@pytest.mark.parametrize(
    ("wrong", "told"),
    [
        ({"W": np.ones((3, 3)), "a": np.ones(3)}, r"with tensors W \[2, 3\], a \[2\], but got"),
        ({"W": np.ones((2, 4)), "a": np.ones(2)}, r"but got tensors W \[2, 4\]"),
        ({**arrays(1), "b": np.ones(2)}, r"with u\(x\) = a . tanh\(W x\), but got"),
        ({"W": np.ones((2, 3))}, "expected the tensors of two-layer"),
        ({"W": np.full((2, 3), np.nan), "a": np.ones(2)}, "expected finite numbers"),
        ({**arrays(1), "verify": np.array('{"activation": "sin"}')}, r"but got u\(x\) = a . sin"),
        ({"W": np.eye(2), "verify": np.array('{"family": "equilibrium"}')}, "but got z = tanh"),
        ({**arrays(1), "V": np.ones(2)}, "two layers alone, but got also 'V'"),
    ],
)
def test_a_file_that_does_not_fit_is_named(model, folder, wrong, told):
    np.savez(folder / "s1.npz", **arrays(1))
    np.savez(folder / "s2.npz", **wrong)
    with pytest.raises(InputError, match=told) as caught:
        read_run(folder, model)
    assert str(caught.value).startswith("--run: ")
    assert "s2.npz" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_damaged_and_an_unsafe_checkpoint(model, folder):
    (folder / "s1.npz").write_text("nothing")
    with pytest.raises(InputError, match=r"--run: .*s1.npz"):
        read_run(folder, model)
    payload = np.empty(1, dtype=object)
    payload[0] = Runs()
    np.savez(folder / "s1.npz", W=payload)
    with pytest.raises(UnsafeFileError, match=r"--run: .*s1.npz"):
        read_run(folder, model)


class Runs:
    def __reduce__(self):
        import os

        return os.system, ("true",)


@pytest.mark.parametrize(
    ("names", "told"),
    [
        ([], "expected checkpoints .* but got none"),
        (["s1", "final"], "a step in every checkpoint .* but got none for 'final.npz'"),
        (["a1", "b1"], "one checkpoint a step in .*, but got two of step 1"),
        (["s01", "s1"], "one checkpoint a step"),
    ],
)
def test_an_order_must_be_told(model, folder, names, told):
    for name in names:
        np.savez(folder / f"{name}.npz", **arrays(1))
    with pytest.raises(InputError, match=told):
        read_run(folder, model)


def test_a_missing_folder(model, tmp_path):
    with pytest.raises(InputError, match="--run: expected a readable folder"):
        read_run(tmp_path / "nowhere", model)


def test_declarations_of_the_model_hold_for_its_checkpoints(tmp_path, folder):
    A = np.eye(2)
    (tmp_path / "verify.toml").write_text('family = "implicit-relu"\ngamma = "1/3"\n')
    np.savez(tmp_path / "m.npz", A=A, W=np.ones((2, 3)))
    for k in (1, 2):
        np.savez(folder / f"s{k}.npz", A=k * A, W=np.ones((2, 3)))
    run = read_run(folder, read_network(tmp_path / "m.npz"))
    assert [str(one.network.weight.gamma) for one in run.checkpoints] == ["1/3", "1/3"]
    assert all(isinstance(one.network, Equilibrium) for one in run.checkpoints)
    (folder / "verify.toml").write_text('[files."s2.npz"]\ngamma = "1/2"\n')
    with pytest.raises(InputError, match=r"s2.npz'?: .*constants gamma = 1/3, but got .* 1/2"):
        read_run(folder, read_network(tmp_path / "m.npz"))
    (folder / "verify.toml").write_text("gamma = 0.5.1")
    with pytest.raises(SettingsError, match="--run: "):
        read_run(folder, read_network(tmp_path / "m.npz"))


def test_a_run_without_checkpoints_has_no_tensors():
    assert Run({"folder": "x"}).tensors() == {}

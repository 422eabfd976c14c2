"""The same network in every format is one claim: the certificates have one digest."""

import json
import warnings

import numpy as np
import pytest
import safetensors.torch
import torch

from verify.engine import check
from verify.readers import read_network

DECLARED = {"family": "equilibrium", "activation": "relu"}


def weights(dtype):
    g = torch.Generator().manual_seed(3)
    W = (0.3 * torch.randn(4, 4, generator=g)).to(dtype)
    # A second and a third unused tensor: their order must not matter.
    return {"U": torch.randn(4, 3, generator=g).to(dtype).t().contiguous().t(), "W": W.t(),
            "b": torch.nn.Parameter(torch.randn(4, generator=g).to(dtype)),
            "z.extra": torch.ones(2), "a.extra": torch.ones(1)}  # fmt: skip


def files(folder, state):
    plain = {name: tensor.detach().contiguous() for name, tensor in state.items()}
    torch.save(state, folder / "m.pt")
    torch.save({"epoch": 3, "state_dict": dict(reversed(state.items()))}, folder / "nested.pth")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.save([state], folder / "old.ckpt", _use_new_zipfile_serialization=False)
    safetensors.torch.save_file(plain, folder / "m.safetensors")
    paths = ["m.pt", "nested.pth", "old.ckpt", "m.safetensors"]
    if plain["W"].dtype != torch.bfloat16:
        arrays = {name: tensor.numpy() for name, tensor in plain.items()}
        np.savez(folder / "m.npz", **arrays)
        np.savez_compressed(folder / "big.npz", **{
            name: np.asfortranarray(a.astype(a.dtype.newbyteorder(">")))
            for name, a in reversed(arrays.items())
        })  # fmt: skip
        torch.save(arrays, folder / "arrays.pt")
        paths += ["m.npz", "big.npz", "arrays.pt"]
    return [folder / name for name in paths]


def certificate(path):
    loaded = read_network(path, **DECLARED)
    (one,) = check(loaded.network, loaded.data, conditions=["well-posedness"])
    return one


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.float16, torch.bfloat16])
def test_every_format_gives_one_digest(tmp_path, dtype):
    found = [certificate(path) for path in files(tmp_path, weights(dtype))]
    assert {one.digest for one in found} == {found[0].digest}
    assert "not used: a.extra, z.extra" in found[0].claim["network"]["notes"]


def test_one_changed_bit_is_another_claim(tmp_path):
    state = weights(torch.float32)
    (first, *_) = files(tmp_path, state)
    before = certificate(first).digest
    state["b"] = state["b"].detach().clone()
    state["b"][0] = torch.nextafter(state["b"][0], torch.tensor(9.0))
    (first, *_) = files(tmp_path, state)
    assert certificate(first).digest != before


def test_a_declaration_inside_the_file_is_the_same_in_every_format(tmp_path):
    state = {"W": torch.eye(2) / 2, "b": torch.ones(2)}
    torch.save({**state, "verify": DECLARED}, tmp_path / "m.pt")
    safetensors.torch.save_file(state, tmp_path / "m.safetensors", {"verify": json.dumps(DECLARED)})
    np.savez(tmp_path / "m.npz", **{k: v.numpy() for k, v in state.items()},
             verify=np.array(json.dumps(DECLARED)))  # fmt: skip
    digests = set()
    for suffix in ("pt", "safetensors", "npz"):
        loaded = read_network(tmp_path / f"m.{suffix}")
        made = check(loaded.network, conditions=["well-posedness"], settings=loaded.settings)
        digests |= {one.digest for one in made}
    assert len(digests) == 1

"""Damaged checkpoints that torch's restricted loader still reads: the same tensors or a refusal.

The bytes of the pickle are mutated and packed again with correct checksums, so that the damage is
seen by nothing but the reader of the pickle.
"""

import io
import os
import random
import time
import warnings
import zipfile

import numpy as np
import pytest
import torch

from verify.errors import VerifyError
from verify.readers.torch_file import read

SEED = 9
COUNT = 8000 if os.environ.get("VERIFY_CAMPAIGN") == "full" else 800


def checkpoint():
    base = torch.arange(12, dtype=torch.float32)
    state = {
        "W": base.view(3, 4).t(),
        "U": base[2:8].view(2, 3),
        "h": torch.ones(2, 2).half(),
        "b": torch.nn.Parameter(torch.linspace(0, 1, 3, dtype=torch.float64)),
        "n": torch.tensor(3),
    }
    stream = io.BytesIO()
    torch.save(state, stream)
    return stream.getvalue()


def mutated(content, rng):
    """Change some bytes of data.pkl, most often small numbers that sizes and strides are."""
    stream = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(content)) as old, zipfile.ZipFile(stream, "w") as new:
        for entry in old.infolist():
            raw = bytearray(old.read(entry))
            if entry.filename.endswith("data.pkl"):
                small = [i for i in range(1, len(raw)) if raw[i - 1 : i] == b"K"]
                for _ in range(rng.randrange(1, 4)):
                    if rng.random() < 0.7:
                        raw[rng.choice(small)] = rng.randrange(14)
                    else:
                        raw[rng.randrange(len(raw))] = rng.randrange(256)
            new.writestr(entry.filename, bytes(raw))
    return stream.getvalue()


def read_by_torch(content):
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return torch.load(io.BytesIO(content), weights_only=True)
    except Exception:
        return None


def read_by_us(content, path):
    path.write_bytes(content)
    try:
        return read(path).groups
    except VerifyError:
        return None


def differs(tensor, stored, name):
    if not isinstance(tensor, torch.Tensor) or tensor.is_complex() or tensor.is_quantized:
        return stored is not None and stored.values is not None
    reference = tensor.detach().double().numpy()
    found = stored.exact(name)
    return found.shape != reference.shape or not np.array_equal(found, reference, equal_nan=True)


@pytest.mark.soundness
def test_campaign_of_damaged_checkpoints(tmp_path):
    started, rng, content = time.perf_counter(), random.Random(SEED), checkpoint()
    both, wrong = 0, []
    for case in range(COUNT):
        damaged = mutated(content, rng)
        groups = read_by_us(damaged, tmp_path / "t.pt")
        theirs = read_by_torch(damaged)
        if groups is None or not isinstance(theirs, dict):
            continue
        both += 1
        group = groups.get("", {})
        names = [name for name in group if differs(theirs.get(name), group[name], name)]
        wrong += [(case, name) for name in names]
    seconds = time.perf_counter() - started
    print(f"campaign damaged checkpoints: {COUNT} cases, {both} read by both, seed {SEED}, "
          f"{seconds:.1f} s, {len(wrong)} wrong")  # fmt: skip
    assert wrong == []
    assert both > COUNT // 20

"""Models and samples on disk: plain tensors that carry their own declaration.

A file is written under a temporary name beside its place and renamed, so that a reader never sees
half of it. The declaration is the JSON object that `verify check` reads: an array of one string
named ``verify`` in an `.npz`, the metadata entry ``verify`` in a `.safetensors`.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
import tempfile
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from numpy.typing import ArrayLike

from verify.errors import InputError


def save_tensors(
    path: Path, tensors: Mapping[str, ArrayLike], declaration: Mapping[str, object] | None = None
) -> str:
    """Write tensors and their declaration, and return the sha256 of the file.

    Args:
        path: ends in ``.npz`` or ``.safetensors``.
        tensors: by the names of the layout; the numbers are stored exactly.
        declaration: ``family``, ``activation``, constants as exact text, ``data``, ``settings``...

    Raises:
        InputError: another suffix, or a tensor that takes the name of the declaration.
    """
    arrays = {name: np.ascontiguousarray(value) for name, value in tensors.items()}
    if "verify" in arrays:
        raise InputError("save_tensors: expected no tensor named 'verify', but got one")
    text = None if declaration is None else json.dumps(dict(declaration), sort_keys=True)
    if path.suffix == ".npz":
        content = _npz(arrays, text)
    elif path.suffix == ".safetensors":
        content = _safetensors(arrays, text)
    else:
        raise InputError(
            f"save_tensors: expected a path ending in .npz or .safetensors, but got {path.name!r}"
        )
    replace_file(path, content)
    return hashlib.sha256(content).hexdigest()


def _npz(arrays: Mapping[str, np.ndarray], text: str | None) -> bytes:
    named = dict(arrays) if text is None else {**arrays, "verify": np.array(text)}
    stream = io.BytesIO()
    np.savez(stream, allow_pickle=False, **named)
    return stream.getvalue()


def _safetensors(arrays: Mapping[str, np.ndarray], text: str | None) -> bytes:
    from safetensors.numpy import save

    return bytes(save(dict(arrays), metadata=None if text is None else {"verify": text}))


def replace_file(path: Path, content: bytes) -> None:
    """Write a file whole or not at all; missing folders are made."""
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(handle, "wb") as stream:
            stream.write(content)
        os.chmod(temporary, 0o644)
        os.replace(temporary, path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise

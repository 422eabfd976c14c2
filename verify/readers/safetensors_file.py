"""`.safetensors` through its library; the header's metadata may hold the declaration."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from verify.errors import InputError
from verify.readers.npz_file import parse_declaration, unique_pairs
from verify.readers.tensors import (
    MAX_TENSORS,
    StoredTensor,
    TensorBag,
    check_shape,
    read_bytes,
    shown,
)

# The library's own limit on the header.
MAX_HEADER_BYTES = 100_000_000
_TYPES = {
    "F64": ("float64", "<f8"), "F32": ("float32", "<f4"), "F16": ("float16", "<f2"),
    "BF16": ("bfloat16", "<u2"), "I64": ("int64", "<i8"), "I32": ("int32", "<i4"),
    "I16": ("int16", "<i2"), "I8": ("int8", "i1"), "U64": ("uint64", "<u8"),
    "U32": ("uint32", "<u4"), "U16": ("uint16", "<u2"), "U8": ("uint8", "u1"),
}  # fmt: skip


def read(path: Path) -> TensorBag:
    """Read all tensors; the metadata entry ``verify`` is the declaration (JSON).

    Raises:
        InputError: the header is malformed or does not fit the bytes that follow.
    """
    import safetensors

    parse: Callable[[bytes], list[tuple[str, dict[str, Any]]]] = safetensors.deserialize
    where = shown(str(path), 200)
    content, digest = read_bytes(path)
    metadata = _metadata(content, where)
    try:
        entries = parse(content)
    except safetensors.SafetensorError as error:
        raise InputError(
            f"{where}: expected a safetensors file, but got {shown(str(error))}"
        ) from error
    tensors = {str(name): _tensor(entry, f"{where}, {shown(name)}") for name, entry in entries}
    declaration = metadata.get("verify")
    return TensorBag(
        {"": dict(sorted(tensors.items()))},
        None if declaration is None else parse_declaration(declaration, f"{where}, 'verify'"),
        sha256=digest,
    )


def _metadata(content: bytes, where: str) -> dict[str, str]:
    length = int.from_bytes(content[:8], "little")
    if len(content) < 8 or length > min(len(content) - 8, MAX_HEADER_BYTES):
        raise InputError(
            f"{where}: expected a header within the file, but got a header length of {length}"
        )
    try:
        header = json.loads(content[8 : 8 + length].decode(), object_pairs_hook=unique_pairs)
    except (ValueError, RecursionError) as error:
        raise InputError(
            f"{where}: expected a header in JSON, but got {shown(str(error))}"
        ) from error
    metadata = header.get("__metadata__", {}) if isinstance(header, dict) else None
    if not isinstance(metadata, dict) or not all(isinstance(v, str) for v in metadata.values()):
        raise InputError(f"{where}: expected metadata of texts, but got {type(metadata).__name__}")
    if len(header) > MAX_TENSORS:
        raise InputError(f"{where}: expected at most {MAX_TENSORS} tensors, but got {len(header)}")
    return metadata


def _tensor(entry: dict[str, Any], where: str) -> StoredTensor:
    shape = tuple(int(size) for size in entry["shape"])
    check_shape(shape, where)
    kind = str(entry["dtype"])
    if kind == "BOOL":
        return StoredTensor(shape, "bool", np.frombuffer(entry["data"], "u1").reshape(shape) != 0)
    if kind not in _TYPES:
        return StoredTensor(shape, kind, None)
    name, code = _TYPES[kind]
    return StoredTensor(shape, name, np.frombuffer(entry["data"], code).reshape(shape))

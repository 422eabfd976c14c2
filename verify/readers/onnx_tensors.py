"""Tensors of an ONNX file: raw, typed or external bytes to arrays, with every length checked."""

from __future__ import annotations

import os
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from verify.errors import InputError, UnsafeFileError
from verify.readers.tensors import (
    MAX_FILE_BYTES,
    StoredTensor,
    check_shape,
    read_bytes,
    shown,
)

# TensorProto.DataType to name, NumPy code and the field of numbers that are not raw bytes.
_TYPES: dict[int, tuple[str, str, str]] = {
    1: ("float32", "<f4", "float_data"), 2: ("uint8", "u1", "int32_data"),
    3: ("int8", "i1", "int32_data"), 4: ("uint16", "<u2", "int32_data"),
    5: ("int16", "<i2", "int32_data"), 6: ("int32", "<i4", "int32_data"),
    7: ("int64", "<i8", "int64_data"), 9: ("bool", "u1", "int32_data"),
    10: ("float16", "<u2", "int32_data"), 11: ("float64", "<f8", "double_data"),
    12: ("uint32", "<u4", "uint64_data"), 13: ("uint64", "<u8", "uint64_data"),
    16: ("bfloat16", "<u2", "int32_data"),
}  # fmt: skip
FLOATS = {1: "float32", 10: "float16", 11: "float64", 16: "bfloat16"}
INTEGERS = {2: "uint8", 3: "int8", 4: "uint16", 5: "int16", 6: "int32", 7: "int64"}
_EXTERNAL = 1
_MAX_LOCATION = 1_000


@dataclass
class ExternalFiles:
    """Files beside the model that hold weights; each is read once.

    Args:
        folder: of the model.
        where: the model, for messages.
    """

    folder: Path
    where: str
    contents: dict[Path, tuple[bytes, str]] = field(default_factory=dict)

    def part(self, entries: Any, size: int, where: str) -> memoryview:
        """Return the bytes of one tensor, not copied: many tensors may share them.

        Raises:
            UnsafeFileError: the file lies outside the folder of the model.
            InputError: bytes that the file does not have, or not the length of the tensor.
        """
        told = {entry.key: entry.value for entry in entries}
        if len(told) != len(entries) or not set(told) <= {
            "location", "offset", "length", "checksum",
        }:  # fmt: skip
            raise InputError(
                f"{where}: expected external data by location, offset and length, but got "
                f"{shown(', '.join(sorted(told)))}"
            )
        content = self._content(told.get("location", ""), where)
        offset = _count(told.get("offset", "0"), where)
        length = _count(told["length"], where) if "length" in told else len(content) - offset
        if length != size or offset + length > len(content):
            raise InputError(
                f"{where}: expected {size} bytes inside {len(content)} bytes of external data, "
                f"but got {length} bytes from {offset} on"
            )
        return memoryview(content)[offset : offset + length]

    def _content(self, location: str, where: str) -> bytes:
        path = self._inside(location, where)
        if path not in self.contents:
            self.contents[path] = read_bytes(path)
            if sum(len(content) for content, _ in self.contents.values()) > MAX_FILE_BYTES:
                raise InputError(
                    f"{where}: expected at most {MAX_FILE_BYTES} bytes of external data, "
                    "but got more"
                )
        return self.contents[path][0]

    def _inside(self, location: str, where: str) -> Path:
        """Return the real path of a file below the folder of the model."""
        parts = location.split("/")
        plain = 0 < len(location) <= _MAX_LOCATION and location.isprintable()
        if not plain or ".." in parts or parts[0] == "" or "\\" in location or ":" in location:
            raise UnsafeFileError(
                f"{where}: expected external data by a name inside the folder of the model, "
                f"but got {shown(location)}"
            )
        folder = Path(os.path.realpath(self.folder))
        real = Path(os.path.realpath(folder / location))
        if not real.is_relative_to(folder):
            raise UnsafeFileError(
                f"{where}: expected external data inside the folder of the model, but got a link "
                f"{shown(location)} that leaves it"
            )
        return real

    def notes(self) -> tuple[str, ...]:
        """Return what was read beside the model, one sentence a file."""
        return tuple(
            f"weights were read from {shown(path.name)} (sha256 {digest}) beside the model"
            for path, (_, digest) in sorted(self.contents.items())
        )


def parse_tensor(proto: Any, external: ExternalFiles, where: str) -> StoredTensor:
    """Return the tensor of a TensorProto.

    Raises:
        InputError: an unknown type, or numbers that do not fit the shape.
        UnsafeFileError: external data outside the folder of the model.
    """
    shape = tuple(int(size) for size in proto.dims)
    count = check_shape(shape, where)
    if proto.data_type not in _TYPES or proto.HasField("segment"):
        raise InputError(
            f"{where}: expected plain numbers of at most 64 bits, but got data type "
            f"{proto.data_type} of ONNX"
        )
    name, code, typed = _TYPES[proto.data_type]
    size = count * np.dtype(code).itemsize
    if proto.data_location == _EXTERNAL:
        values = np.frombuffer(external.part(proto.external_data, size, where), code)
    elif proto.HasField("raw_data"):
        raw = proto.raw_data
        if len(raw) != size:
            raise InputError(
                f"{where}: expected {size} bytes for shape {list(shape)}, but got {len(raw)}"
            )
        values = np.frombuffer(raw, code)
    else:
        values = _typed(getattr(proto, typed), code, count, where)
    return _named(values.reshape(shape), name, shape)


def _typed(numbers: Any, code: str, count: int, where: str) -> np.ndarray[Any, Any]:
    if len(numbers) != count:
        raise InputError(f"{where}: expected {count} numbers, but got {len(numbers)}")
    kind = np.dtype(code)
    if kind.kind in "iu" and count:
        low, high = min(numbers), max(numbers)
        limits = np.iinfo(kind)
        if low < limits.min or high > limits.max:
            raise InputError(f"{where}: expected numbers of type {kind.name}, but got larger ones")
    return np.array(numbers, dtype=kind)


def _named(values: np.ndarray[Any, Any], name: str, shape: tuple[int, ...]) -> StoredTensor:
    if name == "float16":
        values = values.view("<f2")
    elif name == "bool":
        values = values != 0
    if sys.byteorder == "big" and values.dtype.itemsize > 1:
        values = values.astype(values.dtype.newbyteorder("="))
    return StoredTensor(shape, name, values)


def native(tensor: StoredTensor) -> np.ndarray[Any, Any]:
    """Return the numbers with bfloat16 as the float32 that it embeds in, exactly.

    Raises:
        InputError: the type stands for no array.
    """
    if tensor.values is None:
        raise InputError(f"expected plain numbers, but got {tensor.dtype}")
    if tensor.dtype == "bfloat16":
        bits = tensor.values.astype(np.uint32) << np.uint32(16)
        return np.asarray(bits, dtype=np.uint32).view(np.float32)
    return tensor.values


def _count(text: str, where: str) -> int:
    if not (text.isascii() and text.isdigit() and len(text) < 19):
        raise InputError(
            f"{where}: expected offset and length as whole numbers, but got {shown(text)}"
        )
    return int(text)

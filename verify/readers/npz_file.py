"""`.npz` archives and `.npy` arrays, without pickles."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import numpy as np
from numpy.lib import format as npy_format

from verify.errors import InputError
from verify.readers.tensors import (
    StoredTensor,
    TensorBag,
    check_shape,
    digits_of,
    read_bytes,
    shown,
    stored,
)
from verify.readers.zip_archive import open_archive

# A header is some hundred bytes; the longest legal ones describe structured types.
MAX_HEADER_BYTES = 10_000
MAX_DECLARATION_CHARACTERS = 100_000


def read(path: Path) -> TensorBag:
    """Read all arrays of an `.npz`; a text array ``verify`` is its declaration (JSON).

    Raises:
        InputError: not an archive of arrays, or one whose headers do not fit its bytes.
        UnsafeFileError: an array is a pickle that asks for code to be run.
    """
    where = shown(str(path), 200)
    content, digest = read_bytes(path)
    archive = open_archive(content, where)
    tensors: dict[str, StoredTensor] = {}
    declaration = None
    for entry in archive.names:
        if not entry.endswith(".npy"):
            raise InputError(f"{where}: expected .npy entries only, but got {shown(entry)}")
        name = entry.removesuffix(".npy")
        values = parse_npy(archive.read(entry), f"{where}, array {shown(name)}")
        if name == "verify":
            declaration = _declaration(values, where)
        else:
            tensors[name] = stored(values)
    return TensorBag({"": tensors}, declaration, sha256=digest)


def parse_npy(content: bytes, where: str) -> np.ndarray[Any, Any]:
    """Return the array of one `.npy` file; nothing is allocated on the header's word alone.

    Raises:
        InputError: no `.npy` header, or a shape that does not fit the bytes that follow.
        UnsafeFileError: a pickle that asks for code to be run.
    """
    stream = io.BytesIO(content)
    try:
        version = npy_format.read_magic(stream)
        if version == (1, 0):
            header = npy_format.read_array_header_1_0(stream, max_header_size=MAX_HEADER_BYTES)
        elif version == (2, 0):
            header = npy_format.read_array_header_2_0(stream, max_header_size=MAX_HEADER_BYTES)
        else:
            raise ValueError(f"version {version}")
    except (ValueError, TypeError, SyntaxError, OverflowError, RecursionError, MemoryError,
            KeyError, AttributeError, UnicodeError, EOFError) as error:  # fmt: skip
        raise InputError(
            f"{where}: expected an .npy header of version 1 or 2, but got {shown(str(error))}"
        ) from error
    shape, fortran, dtype = header
    if dtype.hasobject:
        _refuse_objects(content[stream.tell() :], where)
    _check_size(shape, dtype, len(content) - stream.tell(), where)
    if dtype.itemsize == 0:
        return np.zeros(shape, dtype)
    flat = np.frombuffer(content, dtype, offset=stream.tell())
    return flat.reshape(shape[::-1]).T if fortran else flat.reshape(shape)


def _check_size(shape: Any, dtype: np.dtype[Any], found: int, where: str) -> None:
    count = check_shape(shape, where)
    if count * dtype.itemsize != found:
        raise InputError(
            f"{where}: expected {digits_of(count * dtype.itemsize)} bytes for shape {shape}, "
            f"but got {found}"
        )


def _refuse_objects(pickle: bytes, where: str) -> None:
    """Refuse Python objects; one that would run code is refused as unsafe."""
    from verify.readers.pickle_stream import parse_pickle

    parse_pickle(pickle, where)
    raise InputError(f"{where}: expected numbers, but got pickled Python objects")


def _declaration(values: np.ndarray[Any, Any], where: str) -> dict[str, Any]:
    problem = f"{where}, array 'verify': expected one string of JSON, but got"
    if values.dtype.kind != "U" or values.size != 1:
        raise InputError(f"{problem} {values.dtype} of shape {values.shape}")
    return parse_declaration(str(values.reshape(())[()]), f"{where}, array 'verify'")


def parse_declaration(text: str, where: str) -> dict[str, Any]:
    """Return a JSON object in which numbers with a point stay text, so that they are exact.

    Raises:
        InputError: not a JSON object, or one with a key that occurs twice.
    """
    try:
        if len(text) > MAX_DECLARATION_CHARACTERS:
            raise ValueError(f"{len(text)} characters")
        value = json.loads(text, parse_float=str, object_pairs_hook=unique_pairs)
    except (ValueError, RecursionError) as error:
        raise InputError(f"{where}: expected a JSON object, but got {shown(str(error))}") from error
    if not isinstance(value, dict):
        raise InputError(f"{where}: expected a JSON object, but got {type(value).__name__}")
    return value


def unique_pairs(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Return the pairs as a dict; a key that occurs twice is a `ValueError`."""
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("a key that occurs twice")
    return found

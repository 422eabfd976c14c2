"""The stream that torch wrote before 1.6: five pickles, then the storages."""

from __future__ import annotations

from typing import Literal

from verify.errors import InputError
from verify.readers.pickle_stream import PickleStream
from verify.readers.pickle_values import StorageRef
from verify.readers.torch_objects import TORCH_CALLS, StorageIndex, Storages, storage_bytes

_MAGIC = 0x1950A86A20F9469CFC6C
_PROTOCOL = 1001
_COUNT_BYTES = 8


def read_legacy(content: bytes, where: str) -> tuple[object, Storages, list[str]]:
    """Return the root object, its storages and the placeholders.

    Raises:
        InputError: another magic number or version, or storages that do not fill the file.
        UnsafeFileError: one of the pickles asks for something that would run code.
    """
    index = StorageIndex(where)
    found = index.found
    stream = PickleStream(content, where, persistent=index, calls=TORCH_CALLS)
    if stream.run() != _MAGIC or stream.run() != _PROTOCOL:
        raise InputError(f"{where}: expected a file written by torch.save, but got another pickle")
    system = stream.run()
    if not isinstance(system, dict):
        raise InputError(f"{where}: expected a description of the system, but got none")
    root, keys = stream.run(), stream.run()
    if not isinstance(keys, list) or not all(isinstance(key, str) for key in keys):
        raise InputError(f"{where}: expected a list of storage keys, but got another value")
    order = ">" if system.get("little_endian") is False else "<"
    if set(keys) != set(found) or len(set(keys)) != len(keys):
        raise InputError(f"{where}: expected the storages that the tensors use, but got others")
    parts = _split(content, stream.position, [found[key] for key in keys], order, where)
    return root, Storages(parts.get, order, where), list(stream.placeholders)


def _split(
    content: bytes, start: int, storages: list[StorageRef], order: str, where: str
) -> dict[str, bytes]:
    """Cut the rest of the file into storages; each begins with its number of elements."""
    parts: dict[str, bytes] = {}
    byteorder: Literal["little", "big"] = "little" if order == "<" else "big"
    for storage in storages:
        head = content[start : start + _COUNT_BYTES]
        numel = int.from_bytes(head, byteorder)
        end = start + _COUNT_BYTES + storage_bytes(storage)
        if len(head) < _COUNT_BYTES or numel != storage.numel or end > len(content):
            raise InputError(
                f"{where}: expected {storage.numel} elements of storage {storage.key!a}, "
                "but got another count or a truncated file"
            )
        parts[storage.key] = content[start + _COUNT_BYTES : end]
        start = end
    if start != len(content):
        raise InputError(f"{where}: expected the file to end, but got {len(content) - start} bytes")
    return parts

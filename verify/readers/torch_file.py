"""`.pt` and `.pth` without torch: zip archives of today and the stream of torch before 1.6."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

from verify.errors import InputError
from verify.readers.checkpoint_tree import read_tree
from verify.readers.legacy_file import read_legacy
from verify.readers.pickle_stream import PickleStream
from verify.readers.tensors import STEP_NAMES, StoredTensor, TensorBag, read_bytes, shown
from verify.readers.torch_objects import TORCH_CALLS, StorageIndex, Storages
from verify.readers.zip_archive import Archive, open_archive

_STORAGE_KEY = re.compile(r"[A-Za-z0-9_]{1,100}")
_TAR_MARK, _TAR_OFFSET = b"ustar", 257


def read(path: Path) -> TensorBag:
    """Read a checkpoint written by ``torch.save`` as data.

    Raises:
        InputError: malformed, truncated, lying about sizes, or of a kind that is not covered.
        UnsafeFileError: it asks for something that would run code.
    """
    where = shown(str(path), 200)
    content, digest = read_bytes(path)
    root, storages, placeholders = _parsed(content, where)
    groups, declaration = read_tree(root, storages, where)
    return TensorBag(groups, declaration, tuple(placeholders), digest, step=_step(root))


def read_tensors(content: bytes, where: str) -> Mapping[str, Mapping[str, StoredTensor]]:
    """Return the sets of tensors of a checkpoint held in memory, by path.

    Raises:
        InputError: as `read` does.
        UnsafeFileError: as `read` does.
    """
    root, storages, _ = _parsed(content, where)
    return read_tree(root, storages, where)[0]


def _parsed(content: bytes, where: str) -> tuple[object, Storages, list[str]]:
    if content[:4] == b"PK\x03\x04":
        return _read_zip(open_archive(content, where), where)
    if content[_TAR_OFFSET : _TAR_OFFSET + 5] == _TAR_MARK:
        raise InputError(
            f"{where}: expected a file written by torch 0.2 or later, but got a tar archive; "
            "save it again with a current version of torch"
        )
    return read_legacy(content, where)


def _step(root: object) -> int | None:
    """Return the number of training steps that a checkpoint states as a plain number."""
    stated = [root.get(name) for name in STEP_NAMES] if isinstance(root, dict) else []
    return next((value for value in stated if type(value) is int), None)


def _read_zip(archive: Archive, where: str) -> tuple[object, Storages, list[str]]:
    """Read `<folder>/data.pkl` and, on demand, `<folder>/data/<key>`."""
    folder = archive.names[0].partition("/")[0]
    strangers = [name for name in archive.names if name.partition("/")[0] != folder]
    if strangers:
        raise InputError(
            f"{where}: expected one folder in the archive, but got {shown(folder)} and "
            f"{shown(strangers[0])}"
        )
    names = set(archive.names)
    if f"{folder}/data.pkl" not in names or f"{folder}/constants.pkl" in names:
        kind = "a TorchScript program" if f"{folder}/constants.pkl" in names else "no data.pkl"
        raise InputError(
            f"{where}: expected an archive written by torch.save, but got {kind}; "
            "save the state dict instead"
        )
    stream = PickleStream(
        archive.read(f"{folder}/data.pkl"), where,
        persistent=StorageIndex(where), calls=TORCH_CALLS,
    )  # fmt: skip
    root = stream.run()
    if stream.position != len(stream.data):
        raise stream.fault(f"{len(stream.data) - stream.position} bytes after its end")

    def content_of(key: str) -> bytes | None:
        name = f"{folder}/data/{key}"
        return archive.read(name) if _STORAGE_KEY.fullmatch(key) and name in names else None

    order = byte_order(archive, f"{folder}/byteorder", where)
    return root, Storages(content_of, order, where), list(stream.placeholders)


def byte_order(archive: Archive, name: str, where: str) -> str:
    """Return the byte order; archives without that entry are little-endian.

    Raises:
        InputError: neither little nor big.
    """
    if name not in archive.names:
        return "<"
    text = archive.read(name)
    if text not in (b"little", b"big"):
        raise InputError(
            f"{where}: expected byteorder little or big, but got {shown(str(text[:20]))}"
        )
    return "<" if text == b"little" else ">"

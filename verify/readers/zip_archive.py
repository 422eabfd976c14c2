"""Zip archives as data: every claim of the directory is checked before a byte is unpacked."""

from __future__ import annotations

import io
import struct
import zipfile
import zlib
from dataclasses import dataclass

from verify.errors import InputError
from verify.readers.tensors import MAX_FILE_BYTES, MAX_TENSORS, digits_of, shown

# Deflate reaches 1032:1 on zeros; an honest entry of that kind is small.
MAX_RATIO = 200
MAX_SUSPICIOUS_BYTES = 64 * 2**20
_END_SIGNATURE = b"PK\x05\x06"
_END_BYTES = 22
_LOCAL_BYTES = 30
_ENCRYPTED = 0x1 | 0x40 | 0x2000
_FAULTS = (
    zipfile.BadZipFile, zipfile.LargeZipFile, NotImplementedError, RuntimeError, EOFError, OSError,
    ValueError, OverflowError, IndexError, KeyError, struct.error, zlib.error,
)  # fmt: skip


@dataclass(frozen=True, eq=False)
class Archive:
    """An archive whose directory passed every check; `read` unpacks one entry."""

    where: str
    names: tuple[str, ...]
    _zip: zipfile.ZipFile

    def size(self, name: str) -> int:
        """Return the unpacked size that the directory states."""
        return self._zip.getinfo(name).file_size

    def read(self, name: str) -> bytes:
        """Return the unpacked bytes of one entry, of exactly the stated size and CRC-32.

        Raises:
            InputError: the entry is damaged or is not what the directory says.
        """
        info = self._zip.getinfo(name)
        try:
            with self._zip.open(info) as entry:
                content = entry.read(info.file_size)
                more = entry.read(1)
        except _FAULTS as error:
            raise InputError(
                f"{self.where}: expected a readable entry {shown(name)}, but got {_reason(error)}"
            ) from error
        if len(content) != info.file_size or more:
            raise InputError(
                f"{self.where}: expected {info.file_size} bytes in {shown(name)}, but got "
                f"{'more' if more else len(content)}"
            )
        return content


def open_archive(content: bytes, where: str) -> Archive:
    """Open a zip archive held in memory and check its directory.

    Raises:
        InputError: not a zip archive, truncated, encrypted, with names that leave the folder or
            occur twice, with overlapping entries, or one that would unpack to too much.
    """
    try:
        archive = zipfile.ZipFile(io.BytesIO(content))
        infos = archive.infolist()
    except _FAULTS as error:
        raise InputError(
            f"{where}: expected a complete zip archive, but got {_reason(error)}"
        ) from error
    if not 0 < len(infos) <= MAX_TENSORS:
        raise InputError(f"{where}: expected 1 to {MAX_TENSORS} entries, but got {len(infos)}")
    _check_end(content, len(infos), archive.start_dir, where)
    seen: set[str] = set()
    for info in infos:
        _check_name(info.orig_filename, seen, where)
        _check_entry(info, where)
    total = sum(info.file_size for info in infos)
    if total > MAX_FILE_BYTES:
        raise InputError(
            f"{where}: expected at most {MAX_FILE_BYTES} unpacked bytes, but got {digits_of(total)}"
        )
    _check_overlap(infos, archive.start_dir, where)
    return Archive(where, tuple(info.filename for info in infos), archive)


def _reason(error: Exception) -> str:
    return f"{type(error).__name__} ({shown(str(error))})"


def _check_end(content: bytes, count: int, start: int, where: str) -> None:
    """Refuse bytes around the archive, and an end record that contradicts the directory."""
    if content[-_END_BYTES:][:4] != _END_SIGNATURE or content[:4] != b"PK\x03\x04":
        raise InputError(f"{where}: expected nothing around the zip archive, but got other bytes")
    _, _, _, _, entries, _, offset, _ = struct.unpack("<4s4H2LH", content[-_END_BYTES:])
    if entries not in (count, 0xFFFF) or offset not in (start, 0xFFFFFFFF):
        raise InputError(
            f"{where}: expected a directory of {entries} entries at {offset}, but got {count} "
            f"at {start}"
        )


def _check_name(name: str, seen: set[str], where: str) -> None:
    parts = name.rstrip("/").split("/")
    if "\\" in name or "\x00" in name or ":" in parts[0] or {"", ".", ".."} & set(parts):
        raise InputError(
            f"{where}: expected entry names inside the archive's own folder, but got {shown(name)}"
        )
    folded = name.casefold()
    if folded in seen:
        raise InputError(f"{where}: expected each entry once, but got {shown(name)} twice")
    seen.add(folded)


def _check_entry(info: zipfile.ZipInfo, where: str) -> None:
    name = shown(info.filename)
    if info.flag_bits & _ENCRYPTED:
        raise InputError(f"{where}: expected plain entries, but got {name}, which is encrypted")
    if info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        raise InputError(
            f"{where}: expected entries stored or deflated, but got {name} with method "
            f"{info.compress_type}"
        )
    if info.compress_type == zipfile.ZIP_STORED and info.file_size != info.compress_size:
        raise InputError(
            f"{where}: expected {name} with one size, but got {digits_of(info.compress_size)} "
            f"stored and {digits_of(info.file_size)} unpacked bytes"
        )
    large = info.file_size > MAX_SUSPICIOUS_BYTES
    if large and info.file_size > MAX_RATIO * info.compress_size:
        raise InputError(
            f"{where}: expected entries packed at most {MAX_RATIO} to 1, but got {name} with "
            f"{digits_of(info.compress_size)} bytes that unpack to {digits_of(info.file_size)}"
        )


def _check_overlap(infos: list[zipfile.ZipInfo], end: int, where: str) -> None:
    ordered = sorted(infos, key=lambda info: info.header_offset)
    limits = [info.header_offset for info in ordered[1:]] + [end]
    for info, limit in zip(ordered, limits, strict=True):
        if info.header_offset + _LOCAL_BYTES + info.compress_size > limit:
            raise InputError(
                f"{where}: expected entries one after the other, but got {shown(info.filename)} "
                "overlapping what follows"
            )

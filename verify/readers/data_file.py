"""Samples: `.npz`, `.npy`, `.csv`, `.safetensors`; X (n, ...), y (n,) or (n, k), Z (n, m)."""

from __future__ import annotations

import csv
import io
from pathlib import Path
from typing import Any

import numpy as np

from verify.errors import InputError
from verify.network import Data
from verify.readers.tensors import (
    StoredTensor,
    TensorBag,
    read_bytes,
    render_listing,
    shown,
    stored,
)

SUFFIXES = (".npz", ".npy", ".csv", ".safetensors")


def read(path: Path) -> tuple[Data, str]:
    """Read samples; returns them and the sha256 of the file.

    Raises:
        InputError: another suffix, no X, shapes that do not fit, an entry that is not finite.
    """
    where = shown(str(path), 200)
    suffix = path.suffix.lower()
    if suffix == ".csv":
        content, digest = read_bytes(path)
        (X, y), Z = _parse_csv(content, where), None
    elif suffix == ".npy":
        from verify.readers.npz_file import parse_npy

        content, digest = read_bytes(path)
        X, y, Z = stored(parse_npy(content, where)), None, None
    elif suffix in (".npz", ".safetensors"):
        bag = _bag(path, suffix)
        digest = bag.sha256
        X, y, Z = _named(bag, where)
    else:
        raise InputError(f"{where}: expected data as {', '.join(SUFFIXES)}, but got {suffix!r}")
    return data_from(X, y, where, path.name, Z), digest


def data_from(
    X: StoredTensor,
    y: StoredTensor | None,
    where: str,
    source: str = "",
    Z: StoredTensor | None = None,
) -> Data:
    """Return samples after checking shapes and entries.

    Raises:
        InputError: X is not (n, ...), y is not (n,) or (n, k), or an entry is not finite.
    """
    if len(X.shape) < 2:
        raise InputError(f"{where}: expected X of shape (n, d) or (n, ...), but got {X.shape}")
    values = _finite(X, "X", where)
    outputs = None
    if Z is not None:
        if len(Z.shape) != 2 or Z.shape[0] != X.shape[0]:
            raise InputError(
                f"{where}: expected solver outputs Z of shape ({X.shape[0]}, m), but got {Z.shape}"
            )
        outputs = _finite(Z, "Z", where)
    if y is None:
        return Data(values, None, source, outputs)
    if len(y.shape) not in (1, 2) or y.shape[0] != X.shape[0]:
        raise InputError(
            f"{where}: expected y of shape ({X.shape[0]},) or ({X.shape[0]}, k), but got {y.shape}"
        )
    return Data(values, _finite(y, "y", where), source, outputs)


def _bag(path: Path, suffix: str) -> TensorBag:
    if suffix == ".npz":
        from verify.readers import npz_file

        return npz_file.read(path)
    from verify.readers import safetensors_file

    return safetensors_file.read(path)


def _named(
    bag: TensorBag, where: str
) -> tuple[StoredTensor, StoredTensor | None, StoredTensor | None]:
    group = bag.groups[""]
    for prefix in ("", "data."):
        if f"{prefix}X" in group:
            return group[f"{prefix}X"], group.get(f"{prefix}y"), group.get(f"{prefix}Z")
    raise InputError(
        f"{where}: expected samples named X and optionally y, but got "
        f"{render_listing(bag.listing())}"
    )


def _finite(tensor: StoredTensor, name: str, where: str) -> np.ndarray[Any, np.dtype[np.float64]]:
    values = tensor.exact(name)
    finite = np.isfinite(values)
    if not finite.all():
        place = tuple(int(k) for k in np.argwhere(~finite)[0])
        raise InputError(
            f"{where}: expected finite samples, but got {float(values[place])!r} in {name} "
            f"at {list(place)}"
        )
    return values


def _parse_csv(content: bytes, where: str) -> tuple[StoredTensor, StoredTensor | None]:
    """Read comma-separated numbers, each as the nearest double; a header is optional."""
    try:
        rows = [row for row in csv.reader(io.StringIO(content.decode("utf-8-sig"))) if row]
    except (UnicodeDecodeError, csv.Error) as error:
        raise InputError(
            f"{where}: expected comma-separated text, but got {shown(str(error))}"
        ) from error
    header = [cell.strip() for cell in rows[0]] if rows and not _numbers(rows[0]) else None
    body = rows[1:] if header is not None else rows
    if not body:
        raise InputError(f"{where}: expected rows of numbers, but got none")
    table = np.array([_row(row, len(body[0]), number, where)
                      for number, row in enumerate(body, start=1)])  # fmt: skip
    if header is not None and len(header) != table.shape[1]:
        raise InputError(
            f"{where}: expected {table.shape[1]} names in the header, but got {len(header)}"
        )
    if header is not None and header[-1].lower() == "y":
        return stored(table[:, :-1].copy()), stored(table[:, -1].copy())
    return stored(table), None


def _numbers(row: list[str]) -> bool:
    try:
        [float(cell) for cell in row]
    except ValueError:
        return False
    return True


def _row(row: list[str], width: int, number: int, where: str) -> list[float]:
    if len(row) != width:
        raise InputError(f"{where}: expected {width} cells in row {number}, but got {len(row)}")
    try:
        return [float(cell) for cell in row]
    except ValueError as error:
        raise InputError(
            f"{where}: expected numbers in row {number}, but got {shown(str(error))}"
        ) from error

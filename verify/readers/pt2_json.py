"""The JSON texts of a `.pt2` archive, with every type checked on access."""

from __future__ import annotations

import json
from typing import Any, TypeVar

from verify.errors import InputError
from verify.readers.npz_file import unique_pairs
from verify.readers.tensors import shown

# A node takes about 1.5 kB; this is a network of some hundred thousand operations.
MAX_JSON_BYTES = 256 * 2**20
T = TypeVar("T")


def parse_object(content: bytes, where: str) -> dict[str, Any]:
    """Return a JSON object.

    Raises:
        InputError: not JSON, not an object, too long, nested too deeply, or with a key that occurs
            twice.
    """
    try:
        if len(content) > MAX_JSON_BYTES:
            raise ValueError(f"{len(content)} bytes")
        value = json.loads(content.decode(), object_pairs_hook=unique_pairs)
    except (ValueError, RecursionError) as error:
        raise InputError(f"{where}: expected a JSON object, but got {shown(str(error))}") from error
    return checked(value, dict, where)


def checked(value: Any, kind: type[T], where: str) -> T:
    """Return the value if it is of exactly this type.

    Raises:
        InputError: another type.
    """
    if type(value) is not kind:
        raise InputError(
            f"{where}: expected {kind.__name__}, but got {type(value).__name__} {shown(value)}"
        )
    return value


def entry(table: Any, name: str, kind: type[T], where: str) -> T:
    """Return an entry of an object.

    Raises:
        InputError: not an object, no such entry, or one of another type.
    """
    inside = checked(table, dict, where)
    if name not in inside:
        raise InputError(f"{where}: expected an entry {name!r}, but got none")
    return checked(inside[name], kind, f"{where}, {name}")


def one_of(table: Any, where: str) -> tuple[str, Any]:
    """Return (kind, content) of a union, which is an object of one entry.

    Raises:
        InputError: not an object of one entry.
    """
    inside = checked(table, dict, where)
    if len(inside) != 1:
        raise InputError(f"{where}: expected an object of one entry, but got {len(inside)}")
    return next(iter(inside.items()))


def tensor_name(argument: Any, where: str) -> str | None:
    """Return the name of a tensor argument; None for another kind of argument."""
    kind, content = one_of(argument, where)
    return entry(content, "name", str, where) if kind == "as_tensor" else None

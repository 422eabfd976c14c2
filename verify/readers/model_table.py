"""The table ``[model]`` of verify.toml: activations of a chain of layers, or a class of the user.

A class is code, so it is declared in a file beside the model and never in the model file itself.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from verify.errors import SettingsError
from verify.readers.tensors import MAX_ELEMENTS, shown

_CLASS = re.compile(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)*:[A-Za-z_]\w*(\.[A-Za-z_]\w*)*", re.ASCII)
_KNOWN = ("class", "arguments", "input", "activations")
_DEPTH = 4
_LARGEST = 1000
_WIDEST = 2**63


class DecimalText(str):
    """A decimal of a TOML file as its text: exact in settings, a float where code asks for one."""

    __slots__ = ()


@dataclass(frozen=True)
class ModelTable:
    """What ``[model]`` declares.

    Args:
        source: the file it stands in.
        name: ``pkg.mod:Net``, or empty.
        arguments: keyword arguments of the class, plain values.
        input: the shape of one sample.
        activations: one for each hidden layer, or empty.
    """

    source: str
    name: str = ""
    arguments: Mapping[str, Any] | None = None
    input: tuple[int, ...] = ()
    activations: tuple[str, ...] = ()


def read_table(table: Any, source: str) -> ModelTable:
    """Check a table ``[model]``.

    Raises:
        SettingsError: an unknown name, a wrong type, or a class without the shape of its input.
    """
    where = f"{source}, [model]"
    if not isinstance(table, dict) or not set(table) <= set(_KNOWN):
        got = sorted(map(shown, table)) if isinstance(table, dict) else type(table).__name__
        raise SettingsError(f"{where}: expected {', '.join(_KNOWN)}, but got {got}")
    found = ModelTable(
        source,
        _class(table.get("class", ""), where),
        _arguments(table.get("arguments", {}), where),
        _shape(table.get("input", []), where),
        _texts(table.get("activations", []), where),
    )
    if bool(found.name) == bool(found.activations):
        raise SettingsError(f"{where}: expected either class or activations, but got {list(table)}")
    if bool(found.name) != bool(found.input) or (found.arguments and not found.name):
        raise SettingsError(
            f"{where}: expected class with input, the shape of a sample as in [1, 8, 8], but got "
            f"{list(table)}"
        )
    return found


def _class(value: Any, where: str) -> str:
    named = isinstance(value, str) and len(value) <= _LARGEST
    if not named or (value and not _CLASS.fullmatch(value)):
        raise SettingsError(
            f"{where}, class: expected a name as in 'package.module:Net', but got {shown(value)}"
        )
    return str(value)


def _shape(value: Any, where: str) -> tuple[int, ...]:
    listed = isinstance(value, list) and len(value) <= _DEPTH
    fits = listed and all(type(n) is int and 1 <= n <= MAX_ELEMENTS for n in value)
    if not fits or math.prod(value) > MAX_ELEMENTS:
        raise SettingsError(
            f"{where}, input: expected sizes as in [1, 8, 8], but got {shown(value)}"
        )
    return tuple(value)


def _texts(value: Any, where: str) -> tuple[str, ...]:
    listed = isinstance(value, list) and len(value) <= _LARGEST
    if not listed or not all(isinstance(text, str) and len(text) <= _LARGEST for text in value):
        raise SettingsError(
            f"{where}, activations: expected names as in ['relu', 'tanh'], but got {shown(value)}"
        )
    return tuple(map(str, value))


def _arguments(value: Any, where: str) -> Mapping[str, Any]:
    if not isinstance(value, dict):
        raise SettingsError(f"{where}, arguments: expected a table, but got {shown(value)}")
    plain = _plain(value, where, _DEPTH)
    return dict(plain)


def _plain(value: Any, where: str, depth: int) -> Any:
    """Return a value of TOML as JSON can write it; decimals become floats."""
    if isinstance(value, DecimalText):
        return float(value)
    if isinstance(value, str | bool) or (isinstance(value, int) and abs(value) < _WIDEST):
        return value
    if depth and isinstance(value, list):
        return [_plain(each, where, depth - 1) for each in value]
    if depth and isinstance(value, dict):
        return {name: _plain(each, where, depth - 1) for name, each in value.items()}
    raise SettingsError(
        f"{where}, arguments: expected texts, numbers of 64 bits, lists and tables nested at most "
        f"{_DEPTH} times, but got {type(value).__name__}"
    )

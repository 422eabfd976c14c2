"""What is declared about a model: flags, then files beside it, then the model file itself.

Nothing here is guessed. Numbers are exact texts: a decimal in a TOML or JSON file keeps its text,
so that ``gamma = 0.1`` means one tenth.
"""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from verify.errors import SettingsError
from verify.readers.model_table import DecimalText, ModelTable, read_table
from verify.readers.tensors import shown

CONDITION = "well-posedness"
CONSTANTS = ("m", "gamma", "kappa", "c", "bias_column")
_TEXTS = ("family", "activation", "key", "data", "data_sha256", "step")
_KNOWN = (*_TEXTS, *CONSTANTS, "settings", "model", "about")
# A file of settings is a page of text.
MAX_SETTINGS_BYTES = 2**20
_DEPTH = 4


@dataclass(frozen=True)
class Declaration:
    """Declared texts and where each came from.

    Args:
        texts: ``family``, ``activation``, ``key``, ``data``, ``data_sha256``, ``step``.
        settings: ``"condition.name"`` to exact text.
        origins: the same names to ``"flag"``, ``"verify.toml"``, ``"pyproject.toml"``, ``"file"``.
        model: the table ``[model]``, or None.
    """

    texts: Mapping[str, str] = field(default_factory=dict)
    settings: Mapping[str, str] = field(default_factory=dict)
    origins: Mapping[str, str] = field(default_factory=dict)
    model: ModelTable | None = None

    def over(self, weaker: Declaration) -> Declaration:
        """Return both, where this one wins."""
        return Declaration(
            {**weaker.texts, **self.texts},
            {**weaker.settings, **self.settings},
            {**weaker.origins, **self.origins},
            weaker.model if self.model is None else self.model,
        )


def from_flags(
    family: str | None, activation: str | None, settings: Mapping[str, str], key: str | None
) -> Declaration:
    """Return what the flags declare."""
    given = {"family": family, "activation": activation, "key": key}
    texts = {name: text for name, text in given.items() if text is not None}
    kept = {name: _text(value, f"--set {name}") for name, value in settings.items()}
    return Declaration(texts, kept, dict.fromkeys([*texts, *kept], "flag"))


def from_mapping(raw: Mapping[Any, Any], *, where: str, origin: str) -> Declaration:
    """Read a table: the texts, the constants by bare name, ``settings`` by full name, ``model``.

    Raises:
        SettingsError: an unknown name, a value that is neither text nor a whole number, or a table
            ``model`` inside the model file, which could name code.
    """
    model = None
    texts: dict[str, str] = {}
    settings: dict[str, str] = {}
    for name, value in raw.items():
        if name == "step":
            texts[name] = _step_text(value, where)
        elif name in _TEXTS:
            texts[name] = _plain_text(value, f"{where}, {name}")
        elif name in CONSTANTS:
            settings[f"{CONDITION}.{name}"] = _text(value, f"{where}, {name}")
        elif name == "model" and origin != "file":
            model = read_table(value, where)
        elif name == "settings":
            _flatten(value, "", settings, where, _DEPTH)
        elif name != "about":
            raise SettingsError(
                f"{where}: expected one of {', '.join(_KNOWN)}, but got {shown(name)}"
            )
    return Declaration(texts, settings, dict.fromkeys([*texts, *settings], origin), model)


def from_folder(path: Path) -> Declaration:
    """Read ``verify.toml`` and ``[tool.verify]`` of ``pyproject.toml`` next to the model.

    A table ``[files."model.pt"]`` speaks about one file and wins over the rest.

    Raises:
        SettingsError: not TOML, or an unknown name.
    """
    beside = _table(path.parent / "pyproject.toml").get("tool", {})
    tool = beside.get("verify", {}) if isinstance(beside, dict) else {}
    own = _table(path.parent / "verify.toml")
    stronger = _of_file(own, path, "verify.toml")
    return stronger.over(_of_file(tool, path, "pyproject.toml"))


def _of_file(table: Any, path: Path, origin: str) -> Declaration:
    where = shown(str(path.parent / origin), 200)
    files = table.get("files", {}) if isinstance(table, dict) else None
    if not isinstance(files, dict) or not all(isinstance(own, dict) for own in files.values()):
        raise SettingsError(f'{where}: expected tables as in [files."model.pt"], but got a value')
    general = {name: value for name, value in table.items() if name != "files"}
    special = files.get(path.name, {})
    weaker = from_mapping(general, where=where, origin=origin)
    return from_mapping(special, where=where, origin=origin).over(weaker)


def _table(path: Path) -> dict[str, Any]:
    where = shown(str(path), 200)
    try:
        if not path.is_file():
            return {}
        if path.stat().st_size > MAX_SETTINGS_BYTES:
            raise ValueError(f"a file of {path.stat().st_size} bytes")
        return tomllib.loads(path.read_bytes().decode(), parse_float=DecimalText)
    except (OSError, ValueError, RecursionError) as error:
        raise SettingsError(
            f"{where}: expected readable TOML, but got {shown(str(error))}"
        ) from error


def _flatten(value: Any, prefix: str, into: dict[str, str], where: str, depth: int) -> None:
    if not isinstance(value, dict):
        into[prefix] = _text(value, f"{where}, {shown(prefix)}")
        return
    for name, inner in value.items():
        if not isinstance(name, str) or depth == 0:
            raise SettingsError(
                f"{where}, settings: expected names as in {CONDITION}.m, but got {shown(name)}"
            )
        _flatten(inner, f"{prefix}.{name}" if prefix else name, into, where, depth - 1)


def _step_text(value: Any, where: str) -> str:
    text = str(value) if type(value) in (int, str) and len(_text(value, where)) < 19 else ""
    if not (text.isascii() and text.isdigit()):
        raise SettingsError(
            f"{where}, step: expected a number of training steps, but got {shown(str(value))}"
        )
    return text


def _plain_text(value: Any, where: str) -> str:
    if not isinstance(value, str) or len(value) > 1000:
        raise SettingsError(f"{where}: expected a short text, but got {_kind(value)}")
    return value


def _text(value: Any, where: str) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int) and abs(value) < 10**400:
        return str(value)
    if not isinstance(value, str) or len(value) > 1000:
        raise SettingsError(
            f"{where}: expected an exact number as text, such as '0.01' or '1/3', "
            f"but got {_kind(value)}; quote it"
        )
    return value


def _kind(value: Any) -> str:
    return f"a value of type {type(value).__name__}"

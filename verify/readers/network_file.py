"""From a path to a network: pick the reader, merge the declarations, assemble."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from verify import registry
from verify.errors import InputError
from verify.readers import Loaded
from verify.readers.assembly import assemble, check_data_fits, with_notes
from verify.readers.declaration import Declaration, from_flags, from_folder, from_mapping
from verify.readers.tensors import TensorBag, read_bytes, shown

if TYPE_CHECKING:
    from verify.network import Data

# Suffixes of the torch reader beside the one that is its name.
_ALIASES = {"pth": "pt", "ckpt": "pt"}


def load(
    path: str | os.PathLike[str],
    family: str | None,
    activation: str | None,
    settings: Mapping[str, str],
    key: str | None,
) -> Loaded:
    """Read a model file; see `verify.readers.read_network`."""
    file = Path(path)
    where = shown(str(file), 200)
    flags = from_flags(family, activation, settings, key)
    format_name = _format(file, where)
    bag: TensorBag = registry.load("readers", format_name)(file)
    inside = Declaration()
    if bag.declaration is not None:
        inside = from_mapping(bag.declaration, where=f"{where}, 'verify'", origin="file")
    declared = flags.over(from_folder(file)).over(inside)
    built = assemble(bag, declared, where)
    data, notes = _declared_data(file, declared, built.data)
    check_data_fits(built.network, data, where)
    return Loaded(
        network=with_notes(built.network, (*bag.notes, *notes)),
        data=data,
        file=str(path),
        sha256=bag.sha256 or read_bytes(file)[1],
        format=format_name,
        declared={"family": built.family, **declared.texts, **declared.settings},
        tensors_found=bag.listing(),
        placeholders=bag.placeholders,
        settings=built.settings,
        origins={"family": "tensor names", **declared.origins},
    )


def _format(file: Path, where: str) -> str:
    suffix = file.suffix.lower().removeprefix(".")
    name = _ALIASES.get(suffix, suffix)
    known = registry.names("readers")
    if name not in known:
        listed = ", ".join(f".{n}" for n in sorted({*known, *_ALIASES}))
        found = "a folder" if file.is_dir() else shown(file.suffix)
        raise InputError(f"{where}: expected a model as {listed}, but got {found}")
    return name


def _declared_data(
    file: Path, declared: Declaration, bundled: Data | None
) -> tuple[Data | None, tuple[str, ...]]:
    """Return the samples that are bundled or declared; a declared digest must match."""
    name = declared.texts.get("data")
    if name is None:
        return bundled, ()
    if bundled is not None:
        raise InputError(
            f"{shown(str(file), 200)}: expected samples from one place, but got X in the file and "
            f"the declared data file {shown(name)}"
        )
    from verify.readers import data_file

    if name != Path(name).name or name in ("", ".", "..") or "\\" in name:
        raise InputError(
            f"{shown(str(file), 200)}: expected the name of a data file beside the model, "
            f"but got {shown(name)}"
        )
    beside = file.parent / name
    if not beside.is_file():
        return None, (f"the declared data file {shown(name)} is not beside the model",)
    data, digest = data_file.read(beside)
    expected = declared.texts.get("data_sha256", digest).removeprefix("sha256:").lower()
    if digest != expected:
        raise InputError(
            f"{shown(str(beside), 200)}: expected data with sha256 {shown(expected)}, "
            f"but got {digest}"
        )
    return data, ()

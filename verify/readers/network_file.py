"""From a path to a network: pick the reader, merge the declarations, assemble."""

from __future__ import annotations

import os
from collections.abc import Collection, Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from verify import registry
from verify.errors import InputError
from verify.readers import Loaded, UserModule
from verify.readers.assembly import assemble, check_data_fits, refuse_told, state_dict, with_notes
from verify.readers.declaration import Declaration, from_flags, from_folder, from_mapping
from verify.readers.tensors import STEP_NAMES, TensorBag, read_bytes, shown, whole_number

if TYPE_CHECKING:
    from verify.network import Data, Network

# Suffixes of the torch reader beside the one that is its name.
_ALIASES = {"pth": "pt", "ckpt": "pt"}
# What a checkpoint takes over from the model whose training it belongs to.
_SHARED = ("family", "activation", "key")


def load(
    path: str | os.PathLike[str],
    family: str | None,
    activation: str | None,
    settings: Mapping[str, str],
    key: str | None,
    trust: bool = False,
) -> Loaded:
    """Read a model file; see `verify.readers.read_network`."""
    file = Path(path)
    where = shown(str(file), 200)
    bag, format_name, own = _stored(file, where)
    declared = from_flags(family, activation, settings, key).over(own)
    module = _module(declared, file, trust=trust)
    bag = _with_class(bag, module, declared, where)
    built = assemble(bag, declared, where)
    data, notes = _declared_data(file, declared, built.data)
    check_data_fits(built.network, data, where)
    texts = declared.texts if bag.network is None else _without(_SHARED, declared.texts)
    told = "tensor names" if bag.network is None else "operations of the file"
    return Loaded(
        network=with_notes(built.network, (*bag.notes, *notes)),
        data=data,
        file=os.fspath(path),
        sha256=bag.sha256 or read_bytes(file)[1],
        format=format_name,
        declared={"family": built.family, **texts, **declared.settings},
        tensors_found=bag.listing(),
        placeholders=bag.placeholders,
        settings=built.settings,
        origins={"family": told, **_without(set(declared.texts) - set(texts), declared.origins)},
        module=module,
    )


def _module(declared: Declaration, file: Path, *, trust: bool) -> UserModule | None:
    table = declared.model
    return None if table is None else UserModule(table, file.parent, trust)


def _with_class(
    bag: TensorBag, module: UserModule | None, declared: Declaration, where: str
) -> TensorBag:
    """Return the file with the network of its declared class, where it stores tensors alone.

    Raises:
        SettingsError: flags about what the file or the class tells itself, or no ``--trust``.
    """
    if bag.network is not None:
        refuse_told(_SHARED, declared, where)
    if module is None or not module.table.name or bag.network is not None:
        return bag
    refuse_told(("family", "activation"), declared, where)
    from verify.readers.user_module import graph_of_class

    tensors = state_dict(bag, declared, where)
    graph = graph_of_class(module.table, tensors, module.folder, trust=module.trust)
    return replace(bag, network=graph)


def _without(names: Collection[str], told: Mapping[str, str]) -> dict[str, str]:
    return {name: text for name, text in told.items() if name not in names}


def load_like(file: Path, model: Loaded) -> tuple[Network, int | None]:
    """Read a file with the declarations of a model, where it has none of its own.

    Returns:
        The network, and the number of training steps that the file states, or None.

    Raises:
        VerifyError: as `load` does.
    """
    where = shown(str(file), 200)
    bag, _, own = _stored(file, where)
    texts = {name: model.declared[name] for name in _SHARED if name in model.declared}
    settings = {name: text for name, text in model.declared.items() if "." in name}
    table = None if model.module is None else model.module.table
    origins = dict.fromkeys([*texts, *settings], "model")
    declared = own.over(Declaration(texts, settings, origins, table))
    bag = _with_class(bag, model.module, declared, where)
    return assemble(bag, declared, where).network, _step(bag, declared)


def _stored(file: Path, where: str) -> tuple[TensorBag, str, Declaration]:
    """Return the tensors, the reader's name, and what is declared in or beside the file."""
    format_name = _format(file, where)
    bag: TensorBag = registry.load("readers", format_name)(file)
    inside = Declaration()
    if bag.declaration is not None:
        inside = from_mapping(bag.declaration, where=f"{where}, 'verify'", origin="file")
    return bag, format_name, from_folder(file).over(inside)


def _step(bag: TensorBag, declared: Declaration) -> int | None:
    """Return the step that is declared, else the one that the tensors or the file state."""
    if "step" in declared.texts:
        return int(declared.texts["step"])
    groups = bag.groups.values()
    found = {whole_number(group.get(name)) for group in groups for name in STEP_NAMES} - {None}
    return found.pop() if len(found) == 1 else bag.step


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

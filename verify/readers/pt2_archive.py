"""The parts of a `.pt2` archive: the graph as JSON, the weights as raw bytes.

Read are the layout of torch 2.8 and later (``models/model.json``, ``data/weights``) and the flat
one of earlier versions (``serialized_exported_program.json``). The pickled sample inputs are never
opened; a pickled state dict of an earlier version goes through the reader of `.pt` files, which
executes nothing; pickled objects are refused.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from verify.errors import InputError
from verify.readers.npz_file import parse_declaration
from verify.readers.pickle_values import StorageRef, TensorRef
from verify.readers.pt2_json import checked, entry, one_of, parse_object
from verify.readers.tensors import StoredTensor, shown
from verify.readers.torch_file import byte_order, read_tensors
from verify.readers.torch_objects import Storages, item_bytes
from verify.readers.zip_archive import Archive, open_archive

# The major version of the schema that this reader was written for, since torch 2.6.
SCHEMA = 8
OPERATOR_SET = 10
FLAT = "serialized_exported_program.json"
_TOO_OLD = "export the module again with torch.export.save of torch 2.8 or later"
_DTYPES = {
    1: "uint8", 2: "int8", 3: "int16", 4: "int32", 5: "int64", 6: "float16", 7: "float32",
    8: "float64", 9: "complex32", 10: "complex64", 11: "complex128", 12: "bool", 13: "bfloat16",
    28: "uint16", 29: "float8_e4m3fn", 30: "float8_e5m2", 31: "float8_e4m3fnuz",
    32: "float8_e5m2fnuz", 33: "float8_e8m0fnu", 34: "uint32", 35: "uint64",
}  # fmt: skip
_PAYLOAD = re.compile(r"[A-Za-z0-9_]{1,100}")
_OBJECTS = ("custom_obj", "opaque_obj")
_STRIDED = 7


@dataclass(frozen=True, eq=False)
class Program:
    """An exported program as data.

    Args:
        graph_module: the operations and the signature.
        weights: parameters and buffers by their names in the module.
        constants: buffers that are not part of the state dict, and other constant tensors.
        declaration: the extra file ``verify``, or None.
    """

    graph_module: dict[str, Any]
    weights: Mapping[str, StoredTensor]
    constants: Mapping[str, StoredTensor]
    declaration: dict[str, Any] | None = None


def open_program(content: bytes, where: str) -> Program:
    """Read the parts of an archive held in memory.

    Raises:
        InputError: malformed, of an unknown version, compiled, or in need of pickled objects.
        UnsafeFileError: a pickled state dict asks for something that would run code.
    """
    archive = open_archive(content, where)
    if FLAT in archive.names:
        return _flat(archive, where)
    folder = archive.names[0].partition("/")[0]
    if any(name.partition("/")[0] != folder for name in archive.names):
        raise InputError(f"{where}: expected one folder in the archive, but got several")
    start = f"{folder}/models/"
    models = [
        name.removeprefix(start).removesuffix(".json")
        for name in archive.names
        if name.startswith(start) and name.endswith(".json")
    ]
    if len(models) != 1:
        raise InputError(
            f"{where}: expected one exported program in the archive, but got {len(models)}; "
            "save one with torch.export.save"
        )
    program = parse_object(archive.read(f"{start}{models[0]}.json"), f"{where}, program")
    _check_versions(program, where)
    declared = f"{folder}/extra/verify"
    return Program(
        entry(program, "graph_module", dict, f"{where}, program"),
        _payloads(archive, folder, "weights", models[0], where),
        _payloads(archive, folder, "constants", models[0], where),
        _declaration(archive, declared, where),
    )


def _flat(archive: Archive, where: str) -> Program:
    program = parse_object(archive.read(FLAT), f"{where}, program")
    _check_versions(program, where)
    stored = []
    for name in ("serialized_state_dict.pt", "serialized_constants.pt"):
        if name not in archive.names:
            raise InputError(f"{where}: expected an entry {name}, but got none; {_TOO_OLD}")
        stored.append(_pickled(archive.read(name), f"{where}, {name}"))
    return Program(
        entry(program, "graph_module", dict, f"{where}, program"),
        stored[0],
        stored[1],
        _declaration(archive, "extra_files/verify", where),
    )


def _declaration(archive: Archive, name: str, where: str) -> dict[str, Any] | None:
    if name not in archive.names:
        return None
    text = archive.read(name).decode(errors="replace")
    return parse_declaration(text, f"{where}, 'verify'")


def _check_versions(program: dict[str, Any], where: str) -> None:
    stated = entry(program, "schema_version", dict, f"{where}, program")
    major = entry(stated, "major", int, f"{where}, schema_version")
    if major != SCHEMA:
        raise InputError(
            f"{where}: expected an exported program of schema {SCHEMA}, but got {major}; {_TOO_OLD}"
        )
    operators = entry(program, "opset_version", dict, f"{where}, program").get("aten")
    if operators != OPERATOR_SET:
        raise InputError(
            f"{where}: expected operators of version {OPERATOR_SET}, but got {shown(operators)}"
        )


def _pickled(content: bytes, where: str) -> Mapping[str, StoredTensor]:
    """Return the tensors of a state dict that an earlier version wrote as a `.pt` file."""
    groups = read_tensors(content, where)
    if set(groups) - {""}:
        raise InputError(f"{where}: expected a flat state dict, but got nested ones; {_TOO_OLD}")
    return groups.get("", {})


def _payloads(
    archive: Archive, folder: str, kind: str, model: str, where: str
) -> Mapping[str, StoredTensor]:
    """Return the tensors of ``data/weights`` or ``data/constants``."""
    home = f"{folder}/data/{kind}/"
    if f"{home}{model}.pt" in archive.names:
        return _pickled(archive.read(f"{home}{model}.pt"), f"{where}, {kind}")
    name = f"{home}{model}_{kind}_config.json"
    if name not in archive.names:
        raise InputError(f"{where}: expected an entry {shown(name)}, but got none; {_TOO_OLD}")
    where_now = f"{where}, {kind}"
    listed = entry(parse_object(archive.read(name), where_now), "config", dict, where_now)
    names = set(archive.names)

    def content_of(key: str) -> bytes | None:
        return archive.read(home + key) if home + key in names else None

    order = byte_order(archive, f"{folder}/byteorder", where)
    storages = Storages(content_of, order, where)
    found = {}
    for full, meta in listed.items():
        place = f"{where}, {kind}, {shown(full)}"
        path = entry(meta, "path_name", str, place)
        inside = _PAYLOAD.fullmatch(path) is not None and home + path in names
        if entry(meta, "use_pickle", bool, place) or path.startswith(_OBJECTS):
            continue  # Refused where the graph asks for it by name.
        if not inside:
            raise InputError(f"{place}: expected an entry {shown(path)} in {kind}, but got none")
        size = archive.size(home + path)
        found[full] = storages.tensor(_view(meta, path, size, place), full)
    return found


def _view(meta: dict[str, Any], path: str, size: int, where: str) -> TensorRef:
    """Return the view of a raw entry of ``size`` bytes that the metadata describe."""
    told = entry(meta, "tensor_meta", dict, where)
    code = entry(told, "dtype", int, where)
    if code not in _DTYPES or entry(told, "layout", int, where) != _STRIDED:
        raise InputError(f"{where}: expected a dense tensor of a known type, but got type {code}")
    dtype = _DTYPES[code]
    if size % item_bytes(dtype):
        raise InputError(f"{where}: expected whole numbers of {dtype}, but got {size} bytes")
    shape, stride = (
        tuple(_fixed(each, where) for each in entry(told, name, list, where))
        for name in ("sizes", "strides")
    )
    if len(shape) != len(stride):
        raise InputError(f"{where}: expected a stride an axis, but got {len(stride)}")
    offset = _fixed(entry(told, "storage_offset", dict, where), where)
    storage = StorageRef(dtype, path, size // item_bytes(dtype))
    return TensorRef(storage, offset, shape, stride, dtype, False)


def _fixed(size: Any, where: str) -> int:
    kind, value = one_of(size, where)
    if kind != "as_int":
        raise InputError(f"{where}: expected fixed sizes, but got a symbolic one")
    return checked(value, int, where)

"""From the object in a checkpoint to sets of named tensors and the declaration."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from verify.errors import InputError
from verify.readers.pickle_values import Instance, UnreadTensor
from verify.readers.tensors import MAX_TENSORS, StoredTensor, shown
from verify.readers.torch_objects import Storages, is_tensor, module_parts

# Checkpoints nest a few levels; a deeper tree is a trap for whoever walks it.
MAX_DEPTH = 32
MAX_NODES = 1_000_000
_ROOT_TENSOR = "tensor"


def read_tree(
    root: object, storages: Storages, where: str
) -> tuple[dict[str, dict[str, StoredTensor]], dict[str, Any] | None]:
    """Return the sets of tensors by path, and the plain dict under the key ``verify``.

    A list of one stands for its element. Optimisers (``state`` beside ``param_groups``) are left
    out. A pickled module becomes its state dict.

    Raises:
        InputError: two tensors or two sets have one name, or the tree is too large.
    """
    for _ in range(MAX_DEPTH):
        if isinstance(root, list | tuple) and len(root) == 1:
            root = root[0]
    declaration = None
    if isinstance(root, dict) and isinstance(root.get("verify"), dict):
        declaration = _plain(root["verify"], where)
        root = {key: value for key, value in root.items() if key != "verify"}
    groups: dict[str, dict[str, StoredTensor]] = {}
    total = 0
    for path, named in _groups(root, where):
        if path in groups:
            raise InputError(f"{where}: expected one set of tensors {shown(path)}, but got two")
        total += len(named)
        if total > MAX_TENSORS:
            raise InputError(f"{where}: expected at most {MAX_TENSORS} tensors, but got more")
        groups[path] = {name: storages.tensor(value, name) for name, value in named.items()}
    return groups, declaration


def _groups(root: object, where: str) -> Iterator[tuple[str, dict[str, object]]]:
    """Walk the tree, each object once, and yield the tensors of each mapping."""
    if is_tensor(root):
        yield "", {_ROOT_TENSOR: root}
        return
    waiting: list[tuple[str, object, int]] = [("", root, 0)]
    seen: set[int] = set()
    nodes = 0
    while waiting:
        path, value, depth = waiting.pop()
        if id(value) in seen or depth > MAX_DEPTH or _is_optimiser(value):
            continue
        seen.add(id(value))
        children = _children(value, where)
        nodes += len(children)
        if nodes > MAX_NODES:
            raise InputError(f"{where}: expected at most {MAX_NODES} objects, but got more")
        named = {name: child for name, child in children.items() if is_tensor(child)}
        if named:
            rest = {name: _unread(child) for name, child in children.items() if name not in named}
            yield path, named | {name: child for name, child in rest.items() if child}
        for name, child in reversed(children.items()):
            if isinstance(child, dict | list | tuple | Instance):
                waiting.append((f"{path}.{name}" if path else name, child, depth + 1))


def _unread(value: object) -> UnreadTensor | None:
    """Return what stands, beside tensors, for numbers in another form; None for other things.

    So a bias that is a list or an object of an unknown class is not taken for a missing one.
    """
    if isinstance(value, Instance) and module_parts(value) is None:
        return UnreadTensor(f"object of {shown(value.origin)[1:-1]}")
    if isinstance(value, int | float | complex) and not isinstance(value, bool):
        return UnreadTensor("plain number")
    first = value[0] if isinstance(value, list | tuple) and value else None
    if isinstance(first, int | float | complex | list | tuple | Instance):
        return UnreadTensor(f"Python {type(value).__name__}")
    return None


def _children(value: object, where: str) -> dict[str, Any]:
    if isinstance(value, list | tuple):
        if len(value) > MAX_TENSORS:
            return {}
        return {str(index): child for index, child in enumerate(value)}
    if isinstance(value, Instance):
        return _state_dict(value, where) if module_parts(value) is not None else {}
    children: dict[str, Any] = {}
    for key, child in value.items() if isinstance(value, dict) else ():
        _put(children, _name_of(key), child, where)
    return children


def _name_of(key: object) -> str:
    """Return the name of a dictionary key; one that is no text or number is shown."""
    if isinstance(key, str | int):
        return str(key)
    return shown(f"object of {key.origin}" if isinstance(key, Instance) else str(key))


def _put(into: dict[str, Any], name: str, value: object, where: str) -> None:
    if name in into:
        raise InputError(f"{where}: expected one entry {shown(name)}, but got two by that name")
    into[name] = value


def _state_dict(module: Instance, where: str) -> dict[str, Any]:
    """Return the tensors of a pickled module under the names of its state dict."""
    found: dict[str, Any] = {}
    waiting: list[tuple[str, object, int]] = [("", module, 0)]
    visits = 0
    while waiting:
        prefix, value, depth = waiting.pop()
        parts = module_parts(value)
        visits += 1
        if depth > MAX_DEPTH or visits > MAX_TENSORS:
            raise InputError(f"{where}: expected a module of at most {MAX_DEPTH} levels")
        if parts is None:
            continue
        for name, tensor in parts[0].items():
            if is_tensor(tensor):
                _put(found, f"{prefix}{name}", tensor, where)
            elif tensor is not None:
                _put(found, f"{prefix}{name}", UnreadTensor(type(tensor).__name__), where)
        waiting.extend((f"{prefix}{name}.", child, depth + 1) for name, child in parts[1].items())
    return dict(sorted(found.items()))


def _is_optimiser(value: object) -> bool:
    return isinstance(value, dict) and "param_groups" in value and "state" in value


def _plain(declared: Mapping[Any, Any], where: str, depth: int = 4) -> dict[str, Any]:
    """Return a declaration that holds texts, whole numbers and tables of those only."""
    plain: dict[str, Any] = {}
    for key, value in declared.items():
        if not isinstance(key, str):
            raise InputError(f"{where}, 'verify': expected names, but got {type(key).__name__}")
        if isinstance(value, dict) and depth:
            plain[key] = _plain(value, where, depth - 1)
        else:
            plain[key] = value
    return plain

"""Machine code of kernels in a folder of the user, so that a kernel is compiled once.

A file is named by the digest of all that its code depends on: the program, the operations as they
are loaded, the compiler and the processor. It holds the digest of its own content, which is checked
before use. The folder must belong to the user and be closed to others, and so must the file, else
nothing is read or written. What cannot be read is compiled again; what cannot be written is kept
in memory only.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import stat
import sys
import tempfile
from functools import cache
from pathlib import Path
from types import FunctionType, ModuleType

import llvmlite
import numba
from numba.core.registry import cpu_target

from verify_kernels.elementary import coefficients, functions, primitives
from verify_kernels.interval import directed, vector_code
from verify_kernels.interval.vector_code import fingerprint

FORMAT = "verify code 3"
SHARED = (primitives, coefficients, functions, directed, vector_code)
NEWLINE = b"\n"


def folder() -> Path:
    """Return the folder of cached code, by the XDG convention.

    Raises:
        OSError: the user has no home.
    """
    root = os.environ.get("XDG_CACHE_HOME", "")
    base = root if os.path.isabs(root) else os.path.expanduser("~/.cache")
    if not os.path.isabs(base):
        raise OSError("no folder for cached code")
    return Path(base) / "verify" / "interval"


@cache
def _surroundings(modules: tuple[ModuleType, ...]) -> tuple[str, ...]:
    """Return what is loaded, not what lies in the files now."""
    compilation = sys.modules["verify_kernels.interval.compilation"]  # it imports this module
    machine = tuple(str(part) for part in cpu_target.target_context.codegen().magic_tuple())
    versions = (FORMAT, sys.version, numba.__version__, llvmlite.__version__)
    own = repr(
        [_shown(v) for _, v in sorted(vars(compilation).items()) if isinstance(v, FunctionType)]
    )
    return (*versions, *machine, *map(_contents, (*SHARED, *modules)), own)


def _contents(module: ModuleType) -> str:
    """Return the functions and constants of a module, also those of its classes."""
    found: list[object] = []
    for name, value in sorted(vars(module).items()):
        if isinstance(value, type) and value.__module__ == module.__name__:
            methods = vars(value).items()
            found += [(name, k, _shown(v)) for k, v in methods if isinstance(v, FunctionType)]
        elif not name.startswith("__") and isinstance(value, _DATA):
            found.append((name, _shown(value)))
    return repr(found)


_DATA = (FunctionType, float, int, str, dict, tuple, list, frozenset)


def _shown(value: object) -> object:
    """Return a value as text that is the same in every process: no address of an object."""
    if isinstance(value, FunctionType):
        return fingerprint(value.__code__)
    if isinstance(value, dict):
        return sorted((repr(key), repr(_shown(item))) for key, item in value.items())
    if isinstance(value, tuple | list):
        return [_shown(item) for item in value]
    if isinstance(value, frozenset):
        return sorted(repr(_shown(item)) for item in value)
    plain = isinstance(value, str | float | int | None)
    return repr(value) if plain else type(value).__qualname__


def digest(modules: tuple[ModuleType, ...], *parts: object) -> str:
    """Return the digest of a program and of everything else that its machine code depends on.

    Args:
        modules: where the functions are that the program calls; functions that these call are in
            the same modules or in `SHARED`.
        parts: the program, of plain values.
    """
    text = json.dumps([*_surroundings(modules), *map(repr, parts)])
    return hashlib.sha256(text.encode()).hexdigest()


def load(name: str) -> tuple[str, bytes, bytes] | None:
    """Return the entry point, the object code and the bitcode of a name, if they are intact."""
    try:
        if not _is_private(folder()):
            return None
        descriptor = os.open(folder() / name, os.O_RDONLY | getattr(os, "O_NOFOLLOW", 0))
        with os.fdopen(descriptor, "rb") as file:
            about_file = os.fstat(descriptor)
            if not (stat.S_ISREG(about_file.st_mode) and _is_own(about_file)):
                return None
            head, _, content = file.read().partition(NEWLINE)
        about = json.loads(head)
        size, entry = int(about["size"]), str(about["entry"])
        whole = _checksum(name, entry, size, content) == about["digest"]
        return (entry, content[:size], content[size:]) if whole else None
    except (OSError, ValueError, KeyError, TypeError):
        return None


def store(name: str, entry: str, code: bytes, bitcode: bytes) -> None:
    """Write an entry, or do nothing where the folder does not allow it."""
    content = code + bitcode
    about = {
        "entry": entry,
        "size": len(code),
        "digest": _checksum(name, entry, len(code), content),
    }
    with contextlib.suppress(OSError):
        folder().mkdir(mode=0o700, parents=True, exist_ok=True)
        if not _is_private(folder()):
            return
        descriptor, temporary = tempfile.mkstemp(dir=folder())
        try:
            with os.fdopen(descriptor, "wb") as file:
                file.write(json.dumps(about).encode() + NEWLINE + content)
            os.replace(temporary, folder() / name)
        except OSError:
            os.unlink(temporary)


def _checksum(name: str, entry: str, size: int, content: bytes) -> str:
    """Return the digest of all parts of a file."""
    head = json.dumps([FORMAT, name, entry, size]).encode()
    return hashlib.sha256(head + NEWLINE + content).hexdigest()


def _is_private(place: Path) -> bool:
    """Return whether a folder is the user's own and closed to everyone else."""
    about = os.lstat(place)
    return stat.S_ISDIR(about.st_mode) and _is_own(about)


def _is_own(about: os.stat_result) -> bool:
    """Return whether a file or folder is the user's own and closed to everyone else."""
    own = not hasattr(os, "getuid") or about.st_uid == os.getuid()
    return own and not about.st_mode & 0o077

"""What a pickle's names and calls become: data, or an inert placeholder."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from verify.readers.tensors import shown

# A key of a dictionary is text or a number, or a short tuple of those.
_KEY_TUPLE = 16
_NUMPY_CODE = re.compile(r"[<>=|]?(f[248]|[iu][1248]|b1)")


class UnfitError(ValueError):
    """A call or state with other arguments than its name takes; its text ends a sentence."""


@dataclass(frozen=True)
class Name:
    """A class or function that a pickle names; it is never imported."""

    module: str
    name: str

    def __str__(self) -> str:
        return f"{self.module}.{self.name}"


@dataclass(eq=False)
class Instance:
    """The inert result of calling something unknown."""

    origin: str
    arguments: object = None
    states: list[object] = field(default_factory=list)


@dataclass(frozen=True)
class StorageRef:
    """A storage of a torch file: ``dtype`` as stored (``"untyped"``: bytes), element count."""

    dtype: str
    key: str
    numel: int


@dataclass(frozen=True, eq=False)
class TensorRef:
    """A view of a storage: offset, size and stride in elements; ``negated`` values change sign."""

    storage: StorageRef
    offset: int
    size: tuple[int, ...]
    stride: tuple[int, ...]
    dtype: str
    negated: bool = False


@dataclass(frozen=True)
class UnreadTensor:
    """A tensor of a kind whose numbers are not read."""

    kind: str


@dataclass(eq=False)
class DtypeRef:
    """A NumPy dtype; ``code`` is None for one that is not read, ``open`` till its state is set."""

    code: str | None
    open: bool = True


@dataclass(eq=False)
class ArrayRef:
    """A NumPy array or scalar: its pickled state, to be checked when it is read."""

    dtype: DtypeRef | None = None
    shape: tuple[int, ...] = ()
    fortran: bool = False
    raw: bytes = b""
    scalar: bool = False


def is_key(value: object) -> bool:
    """Return whether a value may be a key: hashing it is cheap and cannot recurse."""
    if isinstance(value, tuple):
        flat = (str, bytes, int, float, bool, type(None))
        return len(value) <= _KEY_TUPLE and all(isinstance(item, flat) for item in value)
    return isinstance(value, str | bytes | int | float | Name | Instance) or value is None


def _malformed(name: Name, what: str) -> UnfitError:
    return UnfitError(f"arguments of {shown(str(name))} that are not {what}")


def _ordered_dict(name: Name, arguments: tuple[Any, ...]) -> dict[Any, Any]:
    pairs = arguments[0] if arguments else []
    if isinstance(pairs, dict):
        return dict(pairs)
    built: dict[Any, Any] = {}
    for pair in pairs if isinstance(pairs, list | tuple) else [None]:
        if not isinstance(pair, list | tuple) or len(pair) != 2 or not is_key(pair[0]):
            raise _malformed(name, "pairs of a key and a value")
        built[pair[0]] = pair[1]
    return built


def _counter(name: Name, arguments: tuple[Any, ...]) -> dict[Any, Any]:
    if arguments and not isinstance(arguments[0], dict):
        raise _malformed(name, "a dictionary")
    return _ordered_dict(name, arguments)


def _default_dict(name: Name, arguments: tuple[Any, ...]) -> dict[Any, Any]:
    return _ordered_dict(name, arguments[1:])


def _collection(name: Name, arguments: tuple[Any, ...]) -> object:
    kind = {"list": list, "tuple": tuple, "set": set, "frozenset": frozenset}[name.name]
    items = arguments[0] if arguments else ()
    if not isinstance(items, list | tuple | set | frozenset):
        raise _malformed(name, "items")
    if kind in (set, frozenset) and not all(is_key(item) for item in items):
        raise _malformed(name, "items that are text or numbers")
    return kind(items)


def _encode(name: Name, arguments: tuple[Any, ...]) -> bytes:
    text, coding = (*arguments, "latin1")[:2]
    if not isinstance(text, str) or coding not in ("latin1", "latin-1", "iso-8859-1"):
        raise _malformed(name, "a text and latin1")
    try:
        return text.encode("latin1")
    except UnicodeEncodeError as error:
        raise _malformed(name, "a text in latin1") from error


def _bytes(name: Name, arguments: tuple[Any, ...]) -> bytes:
    if not arguments:
        return b""
    first = arguments[0]
    if isinstance(first, bytes | bytearray):
        return bytes(first)
    if isinstance(first, str):
        return _encode(name, arguments)
    if isinstance(first, list) and all(type(i) is int and 0 <= i < 256 for i in first):
        return bytes(first)
    raise _malformed(name, "bytes")


def _complex(name: Name, arguments: tuple[Any, ...]) -> complex:
    if not all(type(part) in (int, float) for part in arguments) or len(arguments) > 2:
        raise _malformed(name, "two numbers")
    try:
        return complex(*arguments)
    except OverflowError as error:
        raise _malformed(name, "two numbers that fit") from error


def _size(name: Name, arguments: tuple[Any, ...]) -> tuple[Any, ...]:
    sizes = arguments[0] if arguments else ()
    if not isinstance(sizes, list | tuple):
        raise _malformed(name, "sizes")
    return tuple(sizes)


def _device(name: Name, arguments: tuple[Any, ...]) -> str:
    return ":".join(str(part) for part in arguments if isinstance(part, str | int))


def _dtype(name: Name, arguments: tuple[Any, ...]) -> DtypeRef:
    code = arguments[0] if arguments else None
    # The form that NumPy writes: a type and a demand for a copy, whose byte order may be set.
    copied = len(arguments) == 3 and not arguments[1] and bool(arguments[2])
    known = copied and isinstance(code, str) and _NUMPY_CODE.fullmatch(code)
    return DtypeRef(str(code) if known else None)


def _reconstruct(name: Name, arguments: tuple[Any, ...]) -> object:
    if not arguments or arguments[0] != Name("numpy", "ndarray"):
        return Instance(str(name), arguments)
    return ArrayRef()


def _scalar(name: Name, arguments: tuple[Any, ...]) -> ArrayRef:
    dtype, raw = (*arguments, b"", b"")[:2]
    if isinstance(raw, str):
        raw = _encode(name, (raw,))
    if not isinstance(dtype, DtypeRef) or not isinstance(raw, bytes):
        raise _malformed(name, "a dtype and bytes")
    return ArrayRef(dtype, (), False, raw, scalar=True)


def _from_buffer(name: Name, arguments: tuple[Any, ...]) -> ArrayRef:
    raw, dtype, shape, order = (*arguments, None, None, None, None)[:4]
    fits = isinstance(raw, bytes | bytearray) and isinstance(dtype, DtypeRef)
    if not fits or not isinstance(shape, tuple) or order not in ("C", "F"):
        raise _malformed(name, "bytes, dtype, shape and order")
    return ArrayRef(dtype, shape, order == "F", bytes(raw))


def build_array(array: ArrayRef, state: object) -> None:
    """Set an array's state: (version, shape, dtype, is_fortran, bytes).

    Raises:
        UnfitError: another state.
    """
    if not array.scalar and isinstance(state, tuple) and len(state) in (4, 5):
        shape, dtype, fortran, raw = state[-4:]
        if isinstance(raw, str):
            raw = _encode(Name("numpy", "ndarray"), (raw,))
        if isinstance(dtype, DtypeRef) and isinstance(shape, tuple):
            if not isinstance(raw, bytes | bytearray):
                dtype, raw = DtypeRef(None), b""
            array.dtype, array.shape, array.fortran = dtype, shape, bool(fortran)
            array.raw = bytes(raw)
            return
    raise _malformed(Name("numpy", "ndarray"), "the state of an array")


def build_dtype(dtype: DtypeRef, state: object) -> None:
    """Set a dtype's byte order, once; structured types are not read.

    Raises:
        UnfitError: its state is set a second time.
    """
    if not dtype.open:
        raise _malformed(Name("numpy", "dtype"), "the one state of a dtype")
    dtype.open = False
    plain = isinstance(state, tuple) and len(state) >= 5 and state[2:5] == (None, None, None)
    order = state[1] if plain and isinstance(state, tuple) else None
    if order not in ("<", ">", "|", "=") or dtype.code is None:
        dtype.code = None
    else:
        dtype.code = str(order) + dtype.code.lstrip("<>|=")


CALLS: dict[str, Callable[[Name, tuple[Any, ...]], object]] = {
    "collections.OrderedDict": _ordered_dict,
    "collections.defaultdict": _default_dict,
    "collections.Counter": _counter,
    "torch.Size": _size,
    "torch.device": _device,
    "_codecs.encode": _encode,
    "numpy.dtype": _dtype,
}
for _home in ("builtins", "__builtin__"):
    CALLS |= {f"{_home}.{kind}": _collection for kind in ("list", "tuple", "set", "frozenset")} | {
        f"{_home}.dict": _ordered_dict,
        f"{_home}.bytes": _bytes,
        f"{_home}.bytearray": _bytes,
        f"{_home}.complex": _complex,
    }
for _home in ("numpy.core", "numpy._core"):
    CALLS |= {
        f"{_home}.multiarray._reconstruct": _reconstruct,
        f"{_home}.multiarray.scalar": _scalar,
        f"{_home}.numeric._frombuffer": _from_buffer,
    }

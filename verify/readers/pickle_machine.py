"""The stack, memo and rules of a pickle machine that makes data only.

Names are never imported, calls never made: a name that is known to be dangerous is refused the
moment it is read, whether or not anything would call it; any other becomes inert data.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from verify.errors import InputError
from verify.readers.pickle_names import check_name
from verify.readers.pickle_values import (
    CALLS,
    ArrayRef,
    DtypeRef,
    Instance,
    Name,
    TensorRef,
    UnreadTensor,
    build_array,
    build_dtype,
    is_key,
)
from verify.readers.tensors import digits_of

# Copies that calls make: a checkpoint copies each of its containers and array bytes once.
MAX_COPIED_BYTES = 2**30
_ITEM_BYTES = 16
_MAKERS = frozenset(f"{home}.{name}" for home in ("copyreg", "copy_reg")
                    for name in ("_reconstructor", "__newobj__", "__newobj_ex__"))  # fmt: skip

Persistent = Callable[[object], object]


class PickleMachine:
    """Holds what a pickle builds: a stack with marks, a memo, and the bytes still to come.

    Args:
        data: the bytes; ``position`` is where the next pickle starts.
        where: the file, for messages.
        persistent: turns a persistent id into data, or None if there may be none.
        calls: further names whose calls make data, by full name.
    """

    def __init__(
        self,
        data: bytes,
        where: str,
        *,
        persistent: Persistent | None = None,
        calls: dict[str, Callable[[Name, tuple[Any, ...]], object]] | None = None,
    ) -> None:
        self.data, self.where, self.position = data, where, 0
        self.placeholders: dict[str, None] = {}
        self.stack: list[Any] = []
        self.marks: list[list[Any]] = []
        self.memo: dict[int, Any] = {}
        self.frame_end: int | None = None
        self._persistent = persistent
        self._calls = {**CALLS, **(calls or {})}
        self._names: dict[tuple[str, str], Name] = {}
        self._copied = 0

    def fault(self, what: str) -> InputError:
        """Return the error for a malformed pickle."""
        return InputError(
            f"{self.where}: expected a well-formed pickle, but got {what} at byte {self.position}"
        )

    # Reading.

    def read(self, count: int) -> bytes:
        """Return the next bytes; a frame may not be left halfway."""
        end = self.position + count
        limit = len(self.data)
        if self.frame_end is not None:
            if self.position == self.frame_end:
                self.frame_end = None
            else:
                limit = self.frame_end
        if count < 0 or end > limit:
            raise self.fault(f"an end where {digits_of(count)} more bytes were announced")
        chunk = self.data[self.position : end]
        self.position = end
        return chunk

    def line(self) -> bytes:
        """Return the bytes up to the next line feed."""
        end = self.data.find(b"\n", self.position)
        if end < 0:
            raise self.fault("a line without an end")
        return self.read(end + 1 - self.position)[:-1]

    def unsigned(self, size: int) -> int:
        """Return a little-endian number."""
        return int.from_bytes(self.read(size), "little")

    def counted(self, size: int) -> bytes:
        """Return bytes after their length."""
        return self.read(self.unsigned(size))

    # Stack.

    def push(self, value: object) -> None:
        """Push a value."""
        self.stack.append(value)

    def pop(self) -> Any:
        """Pop a value."""
        return self.stack.pop()

    def mark(self) -> None:
        """Set a mark."""
        self.marks.append(self.stack)
        self.stack = []

    def to_mark(self) -> list[Any]:
        """Return and remove all values above the last mark."""
        items = self.stack
        self.stack = self.marks.pop()
        return items

    # Names and calls.

    def name(self, module: object, name: object) -> Name:
        """Return a name as data, or refuse it."""
        if not isinstance(module, str) or not isinstance(name, str):
            raise self.fault("a name that is no text")
        check_name(module, name, self.where)
        return self._names.setdefault((module, name), Name(module, name))

    def call(self, target: object, arguments: object) -> object:
        """Return what a call would make, as data."""
        if not isinstance(arguments, tuple):
            raise self.fault("a call without a tuple of arguments")
        if isinstance(target, Instance):
            return Instance(target.origin, arguments)
        if not isinstance(target, Name):
            raise self.fault(f"a call of a {type(target).__name__}")
        full = str(target)
        if full in _MAKERS:
            return self._make(arguments)
        if full in self._calls:
            self._charge(arguments)
            return self._calls[full](target, arguments)
        self.placeholders[full] = None
        return Instance(full, arguments)

    def inert(self, target: object) -> Instance:
        """Return an inert object in place of what the call of a name would make."""
        if not isinstance(target, Name):
            raise self.fault(f"a call of a {type(target).__name__}")
        self.placeholders[str(target)] = None
        return Instance(str(target))

    def _make(self, arguments: tuple[Any, ...]) -> object:
        """Make the object of ``copyreg``'s functions: always inert."""
        made = str(arguments[0]) if arguments and isinstance(arguments[0], Name) else "copyreg"
        self.placeholders[made] = None
        return Instance(made, arguments[1:])

    def _charge(self, values: tuple[Any, ...]) -> None:
        for value in values:
            if isinstance(value, str | bytes):
                self._copied += len(value)
            elif isinstance(value, list | tuple | dict | set | frozenset):
                self._copied += _ITEM_BYTES * len(value)
        if self._copied > MAX_COPIED_BYTES:
            raise self.fault("calls that copy without end")

    def persistent(self, identity: object) -> object:
        """Return the data that a persistent id stands for."""
        if self._persistent is None:
            raise self.fault("a persistent id")
        return self._persistent(identity)

    def build(self, target: object, state: object) -> None:
        """Set the state of what was made."""
        if isinstance(target, ArrayRef):
            self._charge(state if isinstance(state, tuple) else ())
            build_array(target, state)
        elif isinstance(target, DtypeRef):
            build_dtype(target, state)
        elif isinstance(target, Instance):
            target.states.append(state)
        elif isinstance(target, TensorRef):
            raise self.fault("a tensor that is changed after it was made")
        elif not isinstance(target, dict | set | UnreadTensor):
            raise self.fault(f"a state for a {type(target).__name__}")

    def set_items(self, items: list[Any]) -> None:
        """Set keys and values of the container on top."""
        target = self.stack[-1]
        if len(items) % 2:
            raise self.fault("a key without a value")
        for key, value in zip(items[::2], items[1::2], strict=True):
            if not is_key(key):
                raise self.fault(f"a key of type {type(key).__name__}")
            if isinstance(target, dict):
                target[key] = value
            elif not isinstance(target, Instance):
                raise self.fault(f"items for a {type(target).__name__}")

    def append_items(self, items: list[Any]) -> None:
        """Append to the list on top."""
        target = self.stack[-1]
        if isinstance(target, list):
            target.extend(items)
        elif not isinstance(target, Instance):
            raise self.fault(f"elements for a {type(target).__name__}")

    def add_items(self, items: list[Any]) -> None:
        """Add to the set on top."""
        target = self.stack[-1]
        if not all(is_key(item) for item in items):
            raise self.fault("a set of something else than text or numbers")
        if isinstance(target, set):
            target.update(items)
        elif not isinstance(target, Instance):
            raise self.fault(f"elements for a {type(target).__name__}")

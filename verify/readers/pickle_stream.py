"""Pickles read by a machine of our own: every operation of protocols 0 to 5, as data."""

from __future__ import annotations

import re
import struct
from collections.abc import Callable

from verify.errors import UnsafeFileError, VerifyError
from verify.readers.pickle_machine import PickleMachine
from verify.readers.pickle_values import UnfitError, is_key
from verify.readers.tensors import shown

# A checkpoint of a thousand tensors takes some 60,000 operations.
MAX_OPERATIONS = 4_000_000
# No honest number in a checkpoint has more digits.
MAX_NUMBER_BYTES = 1_000
_INTEGER = re.compile(rb"[+-]?[0-9]+")
_ESCAPE = re.compile(rb"\\(x[0-9a-fA-F]{2}|[0-7]{1,3}|.)", re.DOTALL)
_ESCAPES = {b"n": b"\n", b"r": b"\r", b"t": b"\t", b"a": b"\a", b"b": b"\b", b"f": b"\f",
            b"v": b"\v", b"\n": b"", b"\\": b"\\", b"'": b"'", b'"': b'"'}  # fmt: skip
_FAULTS = (IndexError, KeyError, TypeError, OverflowError, ValueError, RecursionError,
           MemoryError, struct.error)  # fmt: skip

Handler = Callable[[PickleMachine], None]
_HANDLERS: dict[bytes, Handler] = {}


class PickleStream(PickleMachine):
    """Runs one pickle after another; `position` is where the next one starts."""

    operations = 0

    def run(self) -> object:
        """Run one pickle and return its value.

        Raises:
            InputError: malformed, truncated or oversized.
            UnsafeFileError: it asks for something that would run code.
        """
        self.stack, self.marks, self.memo, self.frame_end = [], [], {}, None
        while (code := self.read(1)) != b".":
            self.operations += 1
            if self.operations > MAX_OPERATIONS:
                raise self.fault(f"more than {MAX_OPERATIONS} operations")
            handler = _HANDLERS.get(code)
            if handler is None:
                raise self.fault(f"the unknown operation {code!r}")
            try:
                handler(self)
            except VerifyError:
                raise
            except UnfitError as error:
                raise self.fault(str(error)) from error
            except _FAULTS as error:
                raise self.fault(f"the operation {code!r} without what it needs") from error
        if len(self.stack) != 1 or self.marks:
            raise self.fault(f"{len(self.stack)} values where one was to remain")
        return self.pop()


def parse_pickle(data: bytes, where: str) -> object:
    """Return the value of a pickle that fills the bytes.

    Raises:
        InputError: malformed, truncated, oversized, or followed by other bytes.
        UnsafeFileError: it asks for something that would run code.
    """
    stream = PickleStream(data, where)
    value = stream.run()
    if stream.position != len(data):
        raise stream.fault(f"{len(data) - stream.position} bytes after its end")
    return value


def _handles(code: bytes) -> Callable[[Handler], Handler]:
    def register(handler: Handler) -> Handler:
        _HANDLERS[code] = handler
        return handler

    return register


def _pushes(code: bytes, make: Callable[[PickleMachine], object]) -> None:
    _HANDLERS[code] = lambda machine: machine.push(make(machine))


# Constants and numbers.


def _number(machine: PickleMachine, line: bytes) -> int:
    if len(line) > MAX_NUMBER_BYTES or not _INTEGER.fullmatch(line):
        raise machine.fault(f"{shown(line[:40].decode('latin1'))} where a number was announced")
    return int(line)


def _long(machine: PickleMachine, size: int) -> int:
    count = machine.unsigned(size)
    if count > MAX_NUMBER_BYTES:
        raise machine.fault(f"a number of {count} bytes")
    return int.from_bytes(machine.read(count), "little", signed=True)


def _int(machine: PickleMachine) -> int | bool:
    line = machine.line()
    return line == b"01" if line in (b"00", b"01") else _number(machine, line)


_pushes(b"N", lambda machine: None)
_pushes(b"\x88", lambda machine: True)
_pushes(b"\x89", lambda machine: False)
_pushes(b"I", _int)
_pushes(b"L", lambda machine: _number(machine, machine.line().removesuffix(b"L")))
_pushes(b"J", lambda machine: int.from_bytes(machine.read(4), "little", signed=True))
_pushes(b"K", lambda machine: machine.unsigned(1))
_pushes(b"M", lambda machine: machine.unsigned(2))
_pushes(b"\x8a", lambda machine: _long(machine, 1))
_pushes(b"\x8b", lambda machine: _long(machine, 4))
_pushes(b"F", lambda machine: float(machine.line()))
_pushes(b"G", lambda machine: struct.unpack(">d", machine.read(8))[0])


# Texts and bytes.


def _quoted(machine: PickleMachine) -> str:
    line = machine.line().strip()
    if len(line) < 2 or line[:1] != line[-1:] or line[:1] not in (b"'", b'"'):
        raise machine.fault("a text without quotes")
    return _ESCAPE.sub(_unescape, line[1:-1]).decode("latin1")


def _unescape(match: re.Match[bytes]) -> bytes:
    text = match[1]
    if text[:1] == b"x" and len(text) == 3:
        return bytes([int(text[1:], 16)])
    if text[:1].isdigit() and text[:1] < b"8":
        return bytes([int(text, 8) & 255])
    return _ESCAPES.get(text, b"\\" + text)


def _text(raw: bytes) -> str:
    return raw.decode("utf-8", "surrogatepass")


_pushes(b"S", _quoted)
_pushes(b"T", lambda machine: machine.counted(4).decode("latin1"))
_pushes(b"U", lambda machine: machine.counted(1).decode("latin1"))
_pushes(b"V", lambda machine: machine.line().decode("raw-unicode-escape"))
_pushes(b"X", lambda machine: _text(machine.counted(4)))
_pushes(b"\x8c", lambda machine: _text(machine.counted(1)))
_pushes(b"\x8d", lambda machine: _text(machine.counted(8)))
_pushes(b"B", lambda machine: machine.counted(4))
_pushes(b"C", lambda machine: machine.counted(1))
_pushes(b"\x8e", lambda machine: machine.counted(8))
_pushes(b"\x96", lambda machine: machine.counted(8))


# Containers.

_pushes(b")", lambda machine: ())
_pushes(b"]", lambda machine: [])
_pushes(b"}", lambda machine: {})
_pushes(b"\x8f", lambda machine: set())
_pushes(b"t", lambda machine: tuple(machine.to_mark()))
_pushes(b"l", lambda machine: machine.to_mark())
_pushes(b"\x85", lambda machine: (machine.pop(),))
_pushes(b"\x86", lambda machine: tuple(reversed([machine.pop(), machine.pop()])))
_pushes(b"\x87", lambda machine: tuple(reversed([machine.pop(), machine.pop(), machine.pop()])))


@_handles(b"d")
def _dict(machine: PickleMachine) -> None:
    items = machine.to_mark()
    machine.push({})
    machine.set_items(items)


@_handles(b"\x91")
def _frozenset(machine: PickleMachine) -> None:
    items = machine.to_mark()
    if not all(is_key(item) for item in items):
        raise machine.fault("a set of something else than text or numbers")
    machine.push(frozenset(items))


@_handles(b"s")
def _set_item(machine: PickleMachine) -> None:
    value, key = machine.pop(), machine.pop()
    machine.set_items([key, value])


_HANDLERS[b"u"] = lambda machine: machine.set_items(machine.to_mark())
_HANDLERS[b"a"] = lambda machine: machine.append_items([machine.pop()])
_HANDLERS[b"e"] = lambda machine: machine.append_items(machine.to_mark())
_HANDLERS[b"\x90"] = lambda machine: machine.add_items(machine.to_mark())


# Stack and memo.


def _discard(machine: PickleMachine) -> None:
    if machine.stack:
        machine.pop()
    else:
        machine.to_mark()


@_handles(b"1")
def _discard_to_mark(machine: PickleMachine) -> None:
    machine.to_mark()


def _remember(machine: PickleMachine, index: int) -> None:
    if index < 0:
        raise machine.fault("a memo index below 0")
    machine.memo[index] = machine.stack[-1]


_HANDLERS[b"("] = lambda machine: machine.mark()
_HANDLERS[b"0"] = _discard
_pushes(b"2", lambda machine: machine.stack[-1])
_pushes(b"g", lambda machine: machine.memo[_number(machine, machine.line())])
_pushes(b"h", lambda machine: machine.memo[machine.unsigned(1)])
_pushes(b"j", lambda machine: machine.memo[machine.unsigned(4)])
_HANDLERS[b"p"] = lambda machine: _remember(machine, _number(machine, machine.line()))
_HANDLERS[b"q"] = lambda machine: _remember(machine, machine.unsigned(1))
_HANDLERS[b"r"] = lambda machine: _remember(machine, machine.unsigned(4))
_HANDLERS[b"\x94"] = lambda machine: _remember(machine, len(machine.memo))


# Protocol, frames, buffers.


@_handles(b"\x80")
def _protocol(machine: PickleMachine) -> None:
    version = machine.unsigned(1)
    if version > 5:
        raise machine.fault(f"protocol {version}")


@_handles(b"\x95")
def _frame(machine: PickleMachine) -> None:
    size = machine.unsigned(8)
    if machine.frame_end is not None and machine.position != machine.frame_end:
        raise machine.fault("a frame inside a frame")
    if size > len(machine.data) - machine.position:
        raise machine.fault("a frame that is longer than the file")
    machine.frame_end = machine.position + size if size else None


@_handles(b"\x97")
@_handles(b"\x98")
def _buffer(machine: PickleMachine) -> None:
    raise machine.fault("a buffer outside the file")


# Names, calls, persistent ids.


def _global(machine: PickleMachine) -> object:
    return machine.name(machine.line().decode(), machine.line().decode())


def _stack_global(machine: PickleMachine) -> object:
    name, module = machine.pop(), machine.pop()
    return machine.name(module, name)


def _instance(machine: PickleMachine) -> object:
    target = _global(machine)
    return machine.call(target, tuple(machine.to_mark()))


def _object(machine: PickleMachine) -> object:
    items = machine.to_mark()
    return machine.call(items[0], tuple(items[1:]))


def _reduce(machine: PickleMachine) -> object:
    arguments, target = machine.pop(), machine.pop()
    return machine.call(target, arguments)


def _new_with_keywords(machine: PickleMachine) -> object:
    keywords, arguments, target = machine.pop(), machine.pop(), machine.pop()
    if not isinstance(keywords, dict):
        raise machine.fault("keywords that are no dictionary")
    return machine.inert(target) if keywords else machine.call(target, arguments)


@_handles(b"b")
def _build(machine: PickleMachine) -> None:
    state = machine.pop()
    machine.build(machine.stack[-1], state)


@_handles(b"\x82")
@_handles(b"\x83")
@_handles(b"\x84")
def _extension(machine: PickleMachine) -> None:
    raise UnsafeFileError(
        f"{machine.where}: expected a file that holds data only, but got a pickle that asks for "
        "a class by number from the loading program's registry; refused, nothing was executed"
    )


_pushes(b"c", _global)
_pushes(b"\x93", _stack_global)
_pushes(b"i", _instance)
_pushes(b"o", _object)
_pushes(b"R", _reduce)
_pushes(b"\x81", _reduce)
_pushes(b"\x92", _new_with_keywords)
_pushes(b"P", lambda machine: machine.persistent(machine.line().decode()))
_pushes(b"Q", lambda machine: machine.persistent(machine.pop()))

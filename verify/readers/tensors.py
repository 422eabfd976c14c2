"""What a reader hands over: named tensors, exactly as stored, and what the file declares."""

from __future__ import annotations

import hashlib
import math
import os
import stat
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from verify.errors import InputError

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from verify.network import Graph

# A dense float64 weight of width 16,384 is 2 GiB, and no route here treats a larger one.
MAX_FILE_BYTES = 4 * 2**30
# Views may repeat stored numbers (stride 0), so the file size does not bound the element count.
MAX_ELEMENTS = 2**28
# NumPy's own limit on the number of dimensions is 64; layers have at most five.
MAX_DIMENSIONS = 32
# A checkpoint of a large model has some thousands of tensors.
MAX_TENSORS = 100_000
# Names under which training programs store how far the training has come.
STEP_NAMES = ("step", "global_step", "iteration", "epoch")
_LISTED = 12
# Of tensors that lie across each other in one file, with how many each is compared.
_MAX_OVERLAPS = 64
_EXACT_DTYPES = ("float16", "float32", "float64")


def shown(value: object, limit: int = 80) -> str:
    """Return a text from a file so that it fits on one line: printable, quoted, short."""
    try:
        text = value if isinstance(value, str) else str(value)
    except ValueError:  # Python prints no whole number of more than 4300 digits.
        text = f"a value of type {type(value).__name__} with a number too long to print"
    cut = text if len(text) <= limit else text[: limit - 3] + "..."
    return ascii(cut)


def digits_of(count: int) -> str:
    """Return a number from a file as text, also where it is too long to be printed."""
    return str(count) if abs(count) < 10**18 else f"a number of {count.bit_length()} bits"


def check_shape(shape: Iterable[object], where: str) -> int:
    """Return the number of elements of a shape that a file states.

    Raises:
        InputError: not sizes, too many dimensions or too many elements.
    """
    sizes = list(shape)
    honest = len(sizes) <= MAX_DIMENSIONS and all(
        type(size) is int and 0 <= size <= MAX_ELEMENTS for size in sizes
    )
    count = math.prod(size for size in sizes if isinstance(size, int)) if honest else -1
    if not 0 <= count <= MAX_ELEMENTS:
        raise InputError(
            f"{where}: expected a shape of at most {MAX_DIMENSIONS} dimensions and "
            f"{MAX_ELEMENTS} elements, but got {_shown_sizes(sizes)}"
        )
    return count


def _shown_sizes(sizes: list[object]) -> str:
    texts = [digits_of(s) if type(s) is int else type(s).__name__ for s in sizes[:6]]
    return f"[{', '.join(texts)}{', ...' if len(sizes) > 6 else ''}]"


@dataclass(frozen=True, eq=False)
class StoredTensor:
    """One tensor of a file.

    Args:
        shape: as stored.
        dtype: the stored type by name (``"float32"``, ``"bfloat16"``, ``"complex64"``, ...).
        values: the stored numbers (bfloat16 as the uint16 of its bits), or None if the type
            stands for no exact real array.
    """

    shape: tuple[int, ...]
    dtype: str
    values: NDArray[Any] | None

    def exact(self, name: str) -> NDArray[np.float64]:
        """Return the numbers as float64, exactly.

        Raises:
            InputError: the type does not embed in float64, or an integer exceeds 2^53.
        """
        values = self.values
        if values is None or (values.dtype.kind == "f" and self.dtype not in _EXACT_DTYPES):
            raise InputError(
                f"tensor {shown(name)}: expected real numbers of at most 64 bits, "
                f"but got {self.dtype}"
            )
        if self.dtype == "bfloat16":
            values = (values.astype(np.uint32) << np.uint32(16)).view(np.float32)
        elif values.dtype.kind in "iu" and values.size:
            largest = max(abs(int(values.max())), abs(int(values.min())))
            if largest > 2**53:
                raise InputError(
                    f"tensor {shown(name)}: expected integers up to 2^53, but got {largest}"
                )
        with np.errstate(all="ignore"):
            return np.array(values, dtype=np.float64, order="C")


def stored(values: NDArray[Any]) -> StoredTensor:
    """Return a tensor from a NumPy array; types without exact real numbers keep no values."""
    name = values.dtype.name
    known = values.dtype.kind in "iub" or name in _EXACT_DTYPES
    return StoredTensor(tuple(map(int, values.shape)), name, values if known else None)


@dataclass(frozen=True, eq=False)
class TensorBag:
    """All that a file holds, as data.

    Args:
        groups: path inside the file -> tensors by name; flat formats have the single path ``""``.
        declaration: the plain dict under the key ``verify``, or None.
        placeholders: names of classes and functions that were replaced by inert objects.
        sha256: digest of the very bytes that were read.
        notes: what a person should know about the file.
        step: the number of training steps that the file states beside its tensors, or None.
        network: the network, where the format stores the operations and not the tensors alone.
    """

    groups: Mapping[str, Mapping[str, StoredTensor]]
    declaration: Mapping[str, Any] | None = None
    placeholders: tuple[str, ...] = ()
    sha256: str = ""
    notes: tuple[str, ...] = field(default=())
    step: int | None = None
    network: Graph | None = None

    def listing(self) -> tuple[tuple[str, tuple[int, ...], str], ...]:
        """Name, shape and dtype of every tensor; names carry the path of their group."""
        return tuple(
            (f"{path}.{name}" if path else name, tensor.shape, tensor.dtype)
            for path, group in self.groups.items()
            for name, tensor in group.items()
        )


def sources(tensors: Mapping[str, StoredTensor]) -> dict[str, str]:
    """Return for each name the first name (in order) whose numbers lie in the same memory.

    Tensors that overlap in the file are one stored tensor under several names. Where an exact
    answer would take too long, they count as one.
    """
    spans = []
    for name, tensor in tensors.items():
        if tensor.values is not None and tensor.values.size:
            start, end = np.lib.array_utils.byte_bounds(tensor.values)
            spans.append((start, end, name))
    found = {name: name for name in tensors}
    active: list[tuple[int, str]] = []
    for start, end, name in sorted(spans):
        active = [(last, other) for last, other in active if last > start][-_MAX_OVERLAPS:]
        for _, other in active:
            if _share(tensors[name], tensors[other]):
                _join(found, name, other)
        active.append((end, name))
    order = {name: place for place, name in enumerate(tensors)}
    first: dict[str, str] = {}
    for name in sorted(tensors, key=order.__getitem__):
        first.setdefault(_root(found, name), name)
    return {name: first[_root(found, name)] for name in tensors}


def _share(one: StoredTensor, other: StoredTensor) -> bool:
    if one.values is None or other.values is None:
        return False
    try:
        # The stubs of NumPy know two of the limits only.
        return bool(np.shares_memory(one.values, other.values, max_work=10_000))  # type: ignore[arg-type]
    except np.exceptions.TooHardError:
        return True


def _root(found: dict[str, str], name: str) -> str:
    while found[name] != name:
        found[name] = found[found[name]]
        name = found[name]
    return name


def _join(found: dict[str, str], one: str, other: str) -> None:
    found[_root(found, one)] = _root(found, other)


def whole_number(tensor: StoredTensor | None) -> int | None:
    """Return the whole number that a tensor of one entry holds, or None."""
    if tensor is None or tensor.values is None or tensor.values.size != 1:
        return None
    if tensor.dtype != "bfloat16" and tensor.values.dtype.kind in "iu":
        return int(tensor.values.reshape(())[()])
    value = float(tensor.exact("step").reshape(())[()])
    return int(value) if value.is_integer() else None


def render_listing(listing: tuple[tuple[str, tuple[int, ...], str], ...]) -> str:
    """Return the tensors as one short line."""
    if not listing:
        return "no tensors"
    parts = [
        f"{shown(name)[1:-1]} {list(shape)} {dtype}" for name, shape, dtype in listing[:_LISTED]
    ]
    more = len(listing) - _LISTED
    return ", ".join(parts) + (f" and {more} more" if more > 0 else "")


def read_bytes(path: Path) -> tuple[bytes, str]:
    """Read a regular file once; what is hashed is what is parsed.

    Returns:
        The bytes and their sha256.

    Raises:
        InputError: no such file, not a regular file, empty, too large, or it cannot be read.
    """
    where = shown(str(path), 200)
    try:
        handle = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0))
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
        raise InputError(f"{where}: expected a readable file, but got: {reason}") from error
    status = os.fstat(handle)
    if not stat.S_ISREG(status.st_mode):
        os.close(handle)
        raise InputError(f"{where}: expected a regular file, but got a folder or device")
    with os.fdopen(handle, "rb") as file:
        if not 0 < status.st_size <= MAX_FILE_BYTES:
            raise InputError(
                f"{where}: expected a file of 1 to {MAX_FILE_BYTES} bytes, "
                f"but got {status.st_size} bytes"
            )
        content = file.read(MAX_FILE_BYTES + 1)
    if len(content) != status.st_size:
        raise InputError(f"{where}: expected {status.st_size} bytes, but got {len(content)}")
    return content, hashlib.sha256(content).hexdigest()

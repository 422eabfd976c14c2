"""The arguments of one operation of an exported program, decoded and checked."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from fractions import Fraction
from typing import Any

import numpy as np

from verify.errors import InputError
from verify.network.operations import Shape
from verify.network.weights import Array
from verify.readers.graph_patterns import Draft, printed
from verify.readers.pt2_json import checked, entry, one_of
from verify.readers.pt2_signatures import IGNORED, REQUIRED, Signature
from verify.readers.tensors import StoredTensor, shown

BATCH = "n"
"""Stands for the number of samples among sizes."""
_DEFAULT = "default"
# What a float holds; whole numbers beyond that are no sizes and no factors.
_LARGEST = 10**308
_FARTHEST = 2**63


@dataclass(frozen=True, eq=False)
class Stored:
    """A stored tensor; ``source`` is the first name of the same numbers."""

    source: str
    tensor: StoredTensor
    transposed: bool = False

    def values(self) -> Array:
        """Return the numbers exactly.

        Raises:
            InputError: they are not real numbers of at most 64 bits.
        """
        exact = self.tensor.exact(self.source)
        return exact.T if self.transposed else exact


@dataclass(frozen=True)
class Batched:
    """A value for every sample: an operation of the draft."""

    index: int


@dataclass(frozen=True)
class Unread:
    """A value that is not read, and why; whoever needs it is refused."""

    reason: str


Value = Batched | Stored | Unread | str
Named = tuple[str, Array]


@dataclass
class Arguments:
    """Decodes arguments by name; what is omitted has the default of the signature.

    Args:
        given: name to argument, as in the file.
        known: all values computed before, by name.
        batch: the fixed number of samples of the program, or None.
    """

    draft: Draft
    signature: Signature
    given: Mapping[str, Any]
    known: Mapping[str, Value]
    batch: int | None
    _read: set[str] = field(default_factory=set)

    def __post_init__(self) -> None:
        strange = set(self.given) - set(self.signature)
        self.require(not strange, f"arguments {list(self.signature)}", sorted(strange))

    def require(self, truth: bool, expected: str, got: object) -> None:
        """Refuse what is not covered.

        Raises:
            InputError: not true.
        """
        if not truth:
            raise InputError(f"expected {expected}, but got {shown(got)}")

    def check_all_read(self) -> None:
        """Refuse arguments that the operation was not asked for.

        Raises:
            InputError: a given argument could change the function and was not read.
        """
        rest = set(self.given) - self._read - IGNORED
        self.require(not rest, "no further arguments", sorted(rest))

    def _raw(self, name: str) -> tuple[str, Any]:
        self._read.add(name)
        if name in self.given:
            return one_of(self.given[name], name)
        default = self.signature[name]
        self.require(default is not REQUIRED, f"an argument {name}", "none")
        return ("as_none", True) if default is None else (_DEFAULT, default)

    def missing(self, name: str) -> bool:
        """Return whether the argument is None."""
        return self._raw(name)[0] == "as_none"

    def number(self, name: str) -> Fraction:
        """Return a number: the decimal that it prints as."""
        kind, value = self._raw(name)
        fits = kind in ("as_int", "as_float", _DEFAULT) and type(value) in (int, float)
        fits = fits and (type(value) is float or abs(value) < _LARGEST)
        self.require(fits, f"{name} as a finite number", value)
        return Fraction(value) if type(value) is int else printed(float(value))

    def integer(self, name: str) -> int:
        """Return a whole number."""
        kind, value = self._raw(name)
        if kind == "as_sym_int":
            kind, value = one_of(value, name)
        self.require(kind in ("as_int", _DEFAULT), f"{name} as an integer", value)
        return self._whole(value, name)

    def _whole(self, value: Any, name: str) -> int:
        fits = type(value) is int and abs(value) <= _FARTHEST
        self.require(fits, f"{name} as an integer of 64 bits", value)
        return int(value)

    def sizes(self, name: str) -> tuple[int | str, ...]:
        """Return whole numbers, in which `BATCH` stands for the number of samples."""
        kind, value = self._raw(name)
        if kind in ("as_int", _DEFAULT) and type(value) is int:
            return (self._whole(value, name),)
        if kind == _DEFAULT:
            return tuple(value)
        self.require(kind in ("as_ints", "as_sym_ints"), f"{name} as integers", kind)
        listed = checked(value, list, name)
        if kind == "as_ints":
            return tuple(self._whole(each, name) for each in listed)
        return tuple(self._size(each, name) for each in listed)

    def _size(self, union: Any, name: str) -> int | str:
        kind, value = one_of(union, name)
        if kind == "as_int":
            return self._whole(value, name)
        found = self.known.get(value) if kind == "as_name" and isinstance(value, str) else None
        self.require(found == BATCH, f"{name} as fixed sizes beside the batch", value)
        return BATCH

    def integers(self, name: str) -> tuple[int, ...]:
        """Return whole numbers, none of which depends on the number of samples."""
        found = self.sizes(name)
        self.require(BATCH not in found, f"{name} as fixed sizes", found)
        return tuple(int(each) for each in found)

    def spread(self, name: str, rank: int) -> tuple[int, ...]:
        """Return one whole number an axis; a single one stands for all."""
        found = self.integers(name)
        found = found * rank if len(found) == 1 else found
        self.require(len(found) == rank, f"{name} of {rank} axes", found)
        return found

    def flag(self, name: str) -> bool:
        """Return yes or no."""
        kind, value = self._raw(name)
        self.require(
            kind in ("as_bool", _DEFAULT) and type(value) is bool, f"{name} as a bool", value
        )
        return bool(value)

    def text(self, name: str) -> str:
        """Return a word."""
        kind, value = self._raw(name)
        fits = kind in ("as_string", _DEFAULT) and type(value) is str
        self.require(fits, f"{name} as a text", value)
        return str(value)

    def value(self, name: str) -> Batched | Stored:
        """Return a tensor argument.

        Raises:
            InputError: not a tensor, not computed before, or one that is not read.
        """
        kind, content = self._raw(name)
        self.require(kind == "as_tensor", f"{name} as a tensor", kind)
        return self._known(entry(content, "name", str, name))

    def _known(self, name: str) -> Batched | Stored:
        found = self.known.get(name)
        if isinstance(found, Unread):
            raise InputError(found.reason)
        if not isinstance(found, Batched | Stored):
            raise InputError(
                f"expected a tensor that was computed before, but got {shown(name)}"
            )  # fmt: skip
        return found

    def tensor(self, name: str) -> int:
        """Return the operation that gives a tensor with samples."""
        found = self.value(name)
        if not isinstance(found, Batched):
            raise InputError(f"expected {name} to depend on the samples, but got a stored tensor")
        return found.index

    def tensors_of(self, name: str) -> list[int]:
        """Return the operations of a list of tensors with samples."""
        kind, content = self._raw(name)
        self.require(kind == "as_tensors", f"{name} as tensors", kind)
        listed = checked(content, list, name)
        found = [self._known(entry(each, "name", str, name)) for each in listed]
        places = [each.index for each in found if isinstance(each, Batched)]
        self.require(len(places) == len(listed) > 0, "tensors that depend on the samples", name)
        return places

    def stored(self, name: str) -> Named:
        """Return a stored tensor as (name of its numbers, values)."""
        found = self.value(name)
        if not isinstance(found, Stored):
            raise InputError(f"expected {name} to be a stored tensor, but got a computed one")
        return found.source, found.values()

    def transposed(self, name: str) -> Named:
        """Return the transpose of a stored matrix."""
        source, values = self.stored(name)
        self.require(values.ndim == 2, f"{name} as a matrix", values.shape)
        return source, values.T

    def optional(self, name: str) -> Named | None:
        """Return a stored tensor, or None where the argument is None."""
        return None if self.missing(name) else self.stored(name)

    def operand(self, name: str) -> int | Stored | Fraction:
        """Return a side of an arithmetic operation: an operation, a stored tensor, a number."""
        if self._raw(name)[0] == "as_tensor":
            found = self.value(name)
            return found.index if isinstance(found, Batched) else found
        return self.number(name)

    def axis(self, dim: int, rank: int) -> int:
        """Return the axis of one sample that a dimension of ``rank`` ones beside the batch is."""
        self.require(-rank - 1 <= dim <= rank, f"a dimension of {rank + 1}", dim)
        axis = dim % (rank + 1) - 1
        self.require(axis >= 0, "an operation on each sample alone", "one along the batch")
        return axis

    def shape(self, name: str) -> Shape:
        """Return the shape of one sample of a tensor with samples."""
        return self.draft.shape(self.tensor(name))

    def is_batch(self, size: int | str) -> bool:
        """Return whether a size is the number of samples."""
        return size == BATCH or (self.batch is not None and size == self.batch)


def aligned(stored: Stored, rank: int) -> Named:
    """Return a stored tensor for an operation with samples of ``rank`` axes.

    Raises:
        InputError: it has an axis for the batch.
    """
    values = stored.values()
    if values.ndim == rank + 1 and values.shape[0] == 1:
        values = np.ascontiguousarray(values[0]).reshape(values.shape[1:])
    if values.ndim > rank:
        raise InputError(
            "expected a stored tensor that is the same for every sample, but got shape "
            f"{values.shape} beside samples of {rank} axes"
        )
    return stored.source, values

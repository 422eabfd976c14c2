"""What tensors by these names stand for: one entry a layout, recognised by names alone.

A layout says which tensors it needs, which constants must be declared, and builds the typed
values. It never supplies an activation or a constant that the file does not hold.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from fractions import Fraction
from typing import TYPE_CHECKING

import numpy as np

from verify.errors import InputError, SettingsError
from verify.exact import parse_exact
from verify.network import AffineInput, OpaqueInput, ReluFeatureInput, StateWeight
from verify.readers.declaration import CONDITION
from verify.readers.tensors import StoredTensor, shown

if TYPE_CHECKING:
    from verify.network.weights import Array

_SWITCH = {"yes": True, "true": True, "no": False, "false": False}
InputMap = AffineInput | ReluFeatureInput | OpaqueInput


@dataclass(frozen=True, eq=False)
class Parts:
    """What a layout builds."""

    weight: StateWeight
    input: InputMap | None = None
    readout: Mapping[str, Array] = field(default_factory=dict)
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, eq=False)
class TwoLayerParts:
    """What the layout of two-layer networks builds: W (p, d), a (p,), b (p,), c (1,)."""

    W: Array
    a: Array
    b: Array | None = None
    c: Array | None = None
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, eq=False)
class FeedforwardParts:
    """What the layout of fully connected networks builds; ties are groups of W1, b1, W2, ..."""

    weights: tuple[Array, ...]
    biases: tuple[Array | None, ...]
    ties: tuple[tuple[str, ...], ...] = ()
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, eq=False)
class TeacherStudentParts:
    """What the layout of students and teachers builds: W (m, d), W_star (r, d), a, a_star."""

    W: Array
    W_star: Array
    a: Array | None = None
    a_star: Array | None = None
    notes: tuple[str, ...] = ()


@dataclass(eq=False)
class View:
    """The tensors of one group under one prefix, with shapes and entries checked on access.

    ``selected`` says that the prefix was declared, so that other names are other networks.
    """

    layout: str
    tensors: Mapping[str, StoredTensor]
    prefix: str = ""
    selected: bool = False
    used: set[str] = field(default_factory=set)

    def has(self, name: str) -> bool:
        """Return whether the tensor is stored."""
        return self.prefix + name in self.tensors

    def under(self, start: str) -> dict[str, Array]:
        """Return the tensors whose name starts so and that nothing has read, by full name.

        Tensors of a type that is not read stay out.

        Raises:
            InputError: an entry is not finite.
        """
        return {
            name: self._values(name)
            for name, tensor in self.tensors.items()
            if name.startswith(start) and name not in self.used and tensor.values is not None
        }

    def array(self, name: str) -> Array:
        """Return the tensor exactly, of any shape.

        Raises:
            InputError: missing, not real, or not finite.
        """
        return self._values(self.prefix + name)

    def matrix(self, name: str, rows: int | None = None, columns: int | None = None) -> Array:
        """Return a matrix; ``rows`` and ``columns`` are required sizes.

        Raises:
            InputError: missing, of another shape, not real, or not finite.
        """
        shape = self._shape(name)
        fits = len(shape) == 2 and rows in (None, shape[0]) and columns in (None, shape[1])
        if not fits:
            wanted = f"({'any' if rows is None else rows}, {'any' if columns is None else columns})"
            hint = "; convolutional layers are not covered yet" if len(shape) in (4, 5) else ""
            raise InputError(
                f"{self.layout}: expected {shown(self.prefix + name)} of shape {wanted}, "
                f"but got {shape}{hint}"
            )
        return self.array(name)

    def square(self, name: str) -> Array:
        """Return a square matrix.

        Raises:
            InputError: missing, of another shape, not real, or not finite.
        """
        shape = self._shape(name)
        if len(shape) == 2 and shape[0] != shape[1]:
            raise InputError(
                f"{self.layout}: expected {shown(self.prefix + name)} to be square, but got {shape}"
            )
        return self.matrix(name)

    def vector(self, name: str, length: int) -> Array:
        """Return a vector; a single row or column counts as one.

        Raises:
            InputError: missing, of another size, not real, or not finite.
        """
        shape = self._shape(name)
        if shape not in ((length,), (length, 1), (1, length)) and not (length == 1 and not shape):
            raise InputError(
                f"{self.layout}: expected {shown(self.prefix + name)} of shape ({length},), "
                f"but got {shape}"
            )
        return self.array(name).reshape(length)

    def row_factors(self, name: str, rows: int) -> Array:
        """Return one factor a row, stored as (rows,) or (rows, 1).

        A single row (1, rows) normalises columns and is refused.

        Raises:
            InputError: missing, of another shape, not real, or not finite.
        """
        shape = self._shape(name)
        if shape not in ((rows,), (rows, 1)):
            raise InputError(
                f"{self.layout}: expected {shown(self.prefix + name)} with one factor a row, "
                f"of shape ({rows}, 1), but got {shape}"
            )
        return self.array(name).reshape(rows)

    def one_of(self, names: Iterable[str], *, required: bool = True) -> str | None:
        """Return the one name of a list that is stored.

        Raises:
            InputError: several are, or none is although one is required.
        """
        listed = list(names)
        found = [name for name in listed if self.has(name)]
        if len(found) > 1 or (required and not found):
            got = " and ".join(shown(self.prefix + name) for name in found) or "none of them"
            raise InputError(
                f"{self.layout}: expected exactly one of {', '.join(listed)}, but got {got}"
            )
        return found[0] if found else None

    def unused(self) -> list[str]:
        """Return the stored names that nothing has read."""
        return sorted(name for name in self.tensors if name not in self.used)

    def _shape(self, name: str) -> tuple[int, ...]:
        if not self.has(name):
            raise InputError(
                f"{self.layout}: expected a tensor {shown(self.prefix + name)}, but got none"
            )
        return self.tensors[self.prefix + name].shape

    def _values(self, full: str) -> Array:
        self.used.add(full)
        values = self.tensors[full].exact(full)
        finite = np.isfinite(values)
        if not finite.all():
            place = tuple(int(k) for k in np.argwhere(~finite)[0])
            raise InputError(
                f"tensor {shown(full)}: expected finite numbers, but got {float(values[place])!r} "
                f"at {list(place)}"
            )
        return values


@dataclass(eq=False)
class Constants:
    """The declared constants of a layout; one that is missing is named with its flag."""

    layout: str
    settings: Mapping[str, str]
    used: set[str] = field(default_factory=set)

    def number(self, name: str, meaning: str, example: str) -> Fraction:
        """Return a declared exact number.

        Raises:
            SettingsError: it is not declared, or malformed.
        """
        text = self._text(name, meaning, example)
        return parse_exact(text, where=f"--set {CONDITION}.{name}")

    def switch(self, name: str, meaning: str) -> bool:
        """Return a declared ``yes`` or ``no``.

        Raises:
            SettingsError: it is not declared, or neither of the two.
        """
        text = self._text(name, meaning, "no")
        if text not in _SWITCH:
            raise SettingsError(
                f"--set {CONDITION}.{name}: expected yes or no, but got {shown(text)}"
            )
        return _SWITCH[text]

    def _text(self, name: str, meaning: str, example: str) -> str:
        full = f"{CONDITION}.{name}"
        self.used.add(full)
        if full not in self.settings:
            raise SettingsError(
                f"--set {full}: expected {meaning} of the layout {self.layout}, which the tensors "
                f"do not tell, but got nothing; add what training used, as --set {full}={example}"
            )
        return self.settings[full]


@dataclass(frozen=True, eq=False)
class Layout:
    """One way to store a network.

    Args:
        name: what ``--family`` calls it.
        tells: the tensors, for a person.
        variants: sets of names; a group whose names include one of the sets (after a common
            prefix) may be of this layout.
        without: names that exclude it.
        build: from tensors and constants to typed values.
        automatic: the end of the prefix that makes the names distinctive enough to be
            recognised undeclared, or None.
        activation: the activation that the name of the family itself declares, or None.
        constants: the constants to declare, as examples for the line to add.
        find: from the stored names to the prefixes, for names that no list of variants tells.
    """

    name: str
    tells: str
    variants: tuple[tuple[str, ...], ...]
    build: Callable[
        [View, Constants], Parts | TwoLayerParts | TeacherStudentParts | FeedforwardParts
    ]
    without: tuple[str, ...] = ()
    automatic: str | None = None
    activation: str | None = None
    constants: tuple[str, ...] = ()
    find: Callable[[Iterable[str]], list[str]] | None = None

    def prefixes(self, names: Iterable[str]) -> list[str]:
        """Return the prefixes under which the layout's names occur, shortest first."""
        if self.find is not None:
            return self.find(names)
        stored = set(names)
        found: set[str] = set()
        for variant in self.variants:
            for name in stored:
                prefix = name.removesuffix(variant[0])
                if (
                    name.endswith(variant[0])
                    and (not prefix or prefix.endswith("."))
                    and all(prefix + other in stored for other in variant)
                    and not any(prefix + other in stored for other in self.without)
                ):
                    found.add(prefix)
        return sorted(found, key=lambda prefix: (len(prefix), prefix))

"""What a name of an ONNX graph stands for while the graph is read, and the call of one operator.

A value depends on the sample (`Flow`, a node of the graph that is built) or does not (`Known`).
The batch axis of a `Flow` is axis 0 and is not counted by the node. Whole numbers that say sizes
are exact Python integers or `BATCH`, the number of samples, with which nothing is computed.
"""

from __future__ import annotations

import enum
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from typing import Any

import numpy as np

from verify.errors import InputError
from verify.readers.graph_patterns import printed
from verify.readers.tensors import StoredTensor, shown

# Numbers in one attribute: places, sizes and amounts of a few axes, or the parts of a split.
MAX_LISTED = 1_000
# What a shape computation handles; a weight is never computed from other weights.
MAX_FOLDED = 2**16


class Batch(enum.Enum):
    """The number of samples, which no file determines."""

    SIZE = "batch"


BATCH = Batch.SIZE


@dataclass(frozen=True, eq=False)
class Known:
    """A value that is the same for every sample.

    Args:
        values: the stored numbers; whole numbers that were computed are Python integers.
        dtype: the stored type by name.
        name: of the tensor of the file that holds the numbers.
        literal: the numbers are written in the code of the network and are no parameter.
    """

    values: np.ndarray[Any, Any]
    dtype: str
    name: str
    literal: bool = False

    @property
    def shape(self) -> tuple[int, ...]:
        """The shape."""
        return tuple(map(int, self.values.shape))

    @property
    def is_float(self) -> bool:
        """Whether the numbers are floating-point numbers."""
        return self.dtype.startswith(("float", "bfloat"))

    def like(self, values: np.ndarray[Any, Any]) -> Known:
        """Return the same numbers in another arrangement."""
        return Known(values, self.dtype, self.name, self.literal)

    def exact(self) -> np.ndarray[Any, np.dtype[np.float64]]:
        """Return the numbers as float64, exactly.

        Raises:
            InputError: the type does not embed in float64.
        """
        if self.values.dtype == object:
            raise InputError(f"expected stored real numbers, but got sizes in {shown(self.name)}")
        dtype = "float32" if self.dtype == "bfloat16" else self.dtype
        return StoredTensor(self.shape, dtype, self.values).exact(self.name)

    def number(self) -> Fraction:
        """Return a single number as the decimal that it prints as in its own precision.

        Raises:
            InputError: several numbers, not a finite one, or a parameter, whose decimal is not
                the stored number.
        """
        if self.values.size != 1:
            raise InputError(f"expected one number, but got a tensor of shape {self.shape}")
        if not self.literal:
            raise InputError(f"expected a number of the code, but got tensor {shown(self.name)}")
        value: Any = self.values.reshape(())[()]
        if self.is_float:
            # NumPy prints no bfloat16: such a number stands for itself.
            return Fraction(float(value)) if self._is_brain_float(value) else printed(value)
        return Fraction(self.integers()[0])

    def _is_brain_float(self, value: Any) -> bool:
        return self.dtype == "bfloat16" and bool(np.isfinite(value))

    def slot(self) -> tuple[str, np.ndarray[Any, np.dtype[np.float64]]]:
        """Return the name in the file and the exact numbers, as a node stores them."""
        return self.name, self.exact()

    def is_trivial(self, value: int) -> bool:
        """Return whether the code of the network, not its training, made every entry this one."""
        return self.literal and self.is_float and bool((self.values == value).all())

    def integers(self) -> list[int]:
        """Return the entries as whole numbers.

        Raises:
            InputError: they are not, or there are more than a shape needs.
        """
        if self.is_float or self.values.size > MAX_FOLDED:
            raise InputError(
                f"expected at most {MAX_FOLDED} whole numbers, but got {self.dtype} of shape "
                f"{self.shape}"
            )
        entries = self.values.reshape(-1).tolist()
        if any(entry is BATCH for entry in entries):
            raise InputError("expected sizes without the number of samples, but got it")
        return [int(entry) for entry in entries]

    def sizes(self) -> list[int | Batch]:
        """Return the entries as whole numbers or `BATCH`."""
        entries = self.values.reshape(-1).tolist() if self.values.size <= MAX_DIMENSIONS else []
        if self.is_float or len(entries) != self.values.size:
            raise InputError(f"expected sizes, but got {self.dtype} of shape {self.shape}")
        return [entry if entry is BATCH else int(entry) for entry in entries]


# Axes of a tensor in a file; layers have at most five.
MAX_DIMENSIONS = 32


@dataclass(frozen=True)
class Flow:
    """A value of every sample.

    Args:
        node: its index.
        whole: the type is integral.
        norm: a layer norm that is spelled out, and whose factor and offset may follow.
    """

    node: int
    whole: bool = False
    norm: bool = False


@dataclass(frozen=True)
class Above:
    """Where a node exceeds a number: a step that only a choice inside softplus may read."""

    node: int


@dataclass(frozen=True)
class Root:
    """The square root of a node; read only by the division of a layer norm that is spelled out."""

    node: int


Value = Known | Flow | Above | Root


@dataclass
class Call:
    """One node of the file: operator, inputs (None where left out), attributes.

    Attributes and inputs are taken one by one; what nobody took is refused, since it could change
    the meaning.
    """

    op: str
    name: str
    inputs: Sequence[Value | None]
    attributes: Mapping[str, Any]
    outputs: tuple[str, ...]
    opset: int
    taken: set[str] = field(default_factory=set)
    seen: set[int] = field(default_factory=set)

    def value(self, place: int) -> Value | None:
        """Return an input, or None where it is left out."""
        self.seen.add(place)
        return self.inputs[place] if place < len(self.inputs) else None

    def flow(self, place: int) -> Flow:
        """Return an input that depends on the sample."""
        value = self.value(place)
        if not isinstance(value, Flow):
            raise InputError(f"expected input {place + 1} from the sample, but got {_kind(value)}")
        return value

    def known(self, place: int) -> Known:
        """Return an input that does not depend on the sample."""
        value = self.value(place)
        if not isinstance(value, Known):
            raise InputError(f"expected input {place + 1} stored, but got {_kind(value)}")
        return value

    def optional(self, place: int) -> Known | None:
        """Return a stored input, or None where it is left out."""
        return None if self.value(place) is None else self.known(place)

    def take(self, name: str, kind: type, default: Any) -> Any:
        """Return an attribute of a type, or the default."""
        self.taken.add(name)
        value = self.attributes.get(name, default)
        if value is not default and not isinstance(value, kind):
            raise InputError(f"expected attribute {name} as {kind.__name__}, but got another type")
        return value

    def integer(self, name: str, default: int) -> int:
        """Return a whole attribute."""
        return int(self.take(name, int, default))

    def flag(self, name: str, default: bool) -> bool:
        """Return a whole attribute that is 0 or 1."""
        found = self.integer(name, int(default))
        if found not in (0, 1):
            raise InputError(f"expected attribute {name} as 0 or 1, but got {found}")
        return found == 1

    def integers(self, name: str, default: Sequence[int] | None = None) -> list[int] | None:
        """Return an attribute of whole numbers."""
        found = self.take(name, list, default)
        if found is None:
            return None
        if len(found) > MAX_LISTED or not all(isinstance(entry, int) for entry in found):
            raise InputError(
                f"expected attribute {name} as at most {MAX_LISTED} whole numbers, but got others"
            )
        return list(found)

    def fraction(self, name: str, default: str) -> Fraction:
        """Return a real attribute as the decimal that it prints as."""
        found = self.take(name, np.float32, None)
        return Fraction(default) if found is None else printed(found)

    def text(self, name: str, default: str) -> str:
        """Return a text attribute."""
        return str(self.take(name, str, default))

    def ignore(self, *names: str) -> None:
        """Pass over attributes that do not change what is computed on one sample."""
        self.taken |= set(names)

    def all_values(self) -> list[Value | None]:
        """Return all inputs."""
        return [self.value(place) for place in range(len(self.inputs))]

    def rest(self) -> list[str]:
        """Return the attributes and inputs that nobody took."""
        unread = [k for k, v in enumerate(self.inputs) if v is not None and k not in self.seen]
        inputs = [f"input {k + 1}" for k in unread]
        return [*sorted(f"attribute {name}" for name in set(self.attributes) - self.taken), *inputs]


def _kind(value: Value | None) -> str:
    if value is None:
        return "none"
    return {Known: "a stored tensor", Flow: "a value of the sample"}.get(
        type(value), "an intermediate value of another operator"
    )

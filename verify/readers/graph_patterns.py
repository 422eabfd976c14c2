"""Operations as a file lists them, rewritten so that every format gives the same graph.

A `Draft` takes operations in the order of the file. `finish` removes what does nothing, joins what
exporters split (a product and its bias, the parts of softplus, SiLU, Mish, GELU and softsign) and
writes means over all positions as pooling. Every rewriting is an identity of real functions, but
for two devices of execution: softplus has no switch to the identity beyond 20, and the roots in
GELU, which files round, are the roots.
"""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from typing import Any

import numpy as np

from verify.errors import InputError
from verify.network import Activation, Graph, GraphBuilder
from verify.network.graph import MAX_NODES
from verify.network.operations import OPERATIONS, Shape, shape_after
from verify.network.weights import Array
from verify.readers.tensors import check_shape

PARTIAL = ("exp", "log1p", "greater", "where")
"""Operations that only stand inside a pattern; ``greater`` has the attribute ``threshold``."""
# Beyond this argument softplus is written as the identity: the difference is below 2.1e-9/beta.
SWITCH = Fraction(20)
# 1/sqrt(2) as exporters print it: double and single precision, as factor or as divisor.
_HALF_ROOTS = frozenset(
    {Fraction("0.7071067811865476"), Fraction("0.7071067811865475"), Fraction("0.70710677"),
     1 / Fraction("1.4142135623730951"), 1 / Fraction("1.4142135"), 1 / Fraction("1.4142136")}
)  # fmt: skip
# sqrt(2/pi) likewise, and the coefficient of the cubic term in the tanh form of GELU.
_ROOTS_OF_TWO_OVER_PI = frozenset({Fraction("0.7978845608028654"), Fraction("0.7978846")})
_CUBIC = Fraction("0.044715")
_HALF = Fraction(1, 2)
_LARGEST_POWER = 8
MAX_ENTRIES = 2**25
"""Of the values of one sample: 256 MiB, where a short file can ask for any size by padding."""
FREE = 2**24
"""Numbers that operations may make beyond those that a file stores: 128 MiB."""
Tensors = Mapping[str, tuple[str, Array]]


def printed(value: float | np.floating[Any]) -> Fraction:
    """Return the decimal that a number prints as in its own precision, exactly.

    Raises:
        InputError: inf or nan.
    """
    if not np.isfinite(value):
        raise InputError(f"number: expected a finite one, but got {float(value)!r}")
    if isinstance(value, np.floating):
        return Fraction(np.format_float_positional(value, unique=True, trim="0"))
    return Fraction(repr(float(value)))


@dataclass(frozen=True, eq=False)
class Step:
    """One operation: as `verify.network.Node`, tensors by slot as (name in the file, values)."""

    op: str
    inputs: tuple[int, ...]
    attributes: Mapping[str, Any]
    tensors: Tensors
    shape: Shape

    def is_activation(self, name: str) -> bool:
        """Return whether this is the activation by that name."""
        return self.op == "activation" and self.attributes["activation"].name == name


@dataclass
class Draft:
    """Operations of one file in order; inputs come before their users.

    Args:
        limit: how many numbers the stored tensors of all operations together may have.
    """

    steps: list[Step] = field(default_factory=list)
    limit: int = sys.maxsize
    spent: int = 0

    def input(self, shape: Sequence[int]) -> int:
        """Add the input; ``shape`` is that of one sample."""
        return self.add("input", (), {"shape": tuple(int(size) for size in shape)})

    def constant(self, name: str, values: Array) -> int:
        """Add a stored tensor, the same for every sample."""
        return self.add("constant", (), {}, {"value": (name, values)})

    def activation(self, source: int, text: str) -> int:
        """Add an activation, as in ``softplus(100)``."""
        return self.add("activation", (source,), {"activation": Activation.parse(text)})

    def affine(self, source: int, factor: Fraction | int, offset: Fraction | int = 0) -> int:
        """Add factor x + offset."""
        return self.add(
            "affine", (source,), {"factor": Fraction(factor), "offset": Fraction(offset)}
        )

    def power(self, source: int, exponent: Fraction | None) -> int:
        """Add a whole power.

        Raises:
            InputError: another exponent than 1 to 8; None stands for a tensor.
        """
        if exponent is None or exponent.denominator != 1 or not 1 <= exponent <= _LARGEST_POWER:
            raise InputError(
                f"expected a whole power from 1 to {_LARGEST_POWER} that is no parameter, but got "
                f"{'a tensor' if exponent is None else exponent}"
            )
        texts = {1: "identity", 2: "square"}
        return self.activation(source, texts.get(int(exponent), f"z**{exponent}"))

    def reshape(self, source: int, shape: Sequence[int]) -> int:
        """Add another shape of the same entries of one sample."""
        return self.add("reshape", (source,), {"shape": tuple(shape)})

    def add(
        self,
        op: str,
        inputs: Sequence[int],
        attributes: Mapping[str, Any] | None = None,
        tensors: Tensors | None = None,
    ) -> int:
        """Add an operation of `verify.network.operations.OPERATIONS` or of `PARTIAL`.

        Returns:
            Its index, for the inputs of later ones.

        Raises:
            InputError: it does not fit its inputs, or is too large.
        """
        if len(self.steps) >= MAX_NODES:
            raise InputError(f"graph: expected at most {MAX_NODES} operations, but got more")
        shapes = tuple(self.steps[k].shape for k in inputs)
        given, stored = dict(attributes or {}), dict(tensors or {})
        if op in PARTIAL:
            shape = shapes[-1]
        else:
            slots = {slot: tuple(map(int, values.shape)) for slot, (_, values) in stored.items()}
            shape = shape_after(op, shapes, given, slots)
        if check_shape(shape, f"operation {op}") > MAX_ENTRIES:
            raise InputError(
                f"operation {op}: expected at most {MAX_ENTRIES} entries of one sample, but got "
                f"{shape}"
            )
        self.spend(sum(values.size for _, values in stored.values()))
        self.steps.append(Step(op, tuple(inputs), given, stored, shape))
        return len(self.steps) - 1

    def spend(self, count: int) -> None:
        """Count numbers that are in use.

        Raises:
            InputError: far more of them than the file stores.
        """
        self.spent += count
        if self.spent > self.limit:
            raise InputError(
                "expected operations that use each stored number a few times, but got "
                f"{self.spent} numbers in use"
            )

    def shape(self, index: int) -> Shape:
        """Return the shape of one sample of what an operation gives."""
        return self.steps[index].shape

    def finish(self, output: int, notes: Sequence[str] = ()) -> Graph:
        """Return the canonical graph that ends in an operation.

        Raises:
            InputError: a partial operation is needed outside every known pattern, or there is not
                exactly one input.
        """
        # What does nothing is gone after the first pass, so that the second one counts true users.
        plain, output = _rewritten(self, output, joining=False)
        joined, output = _rewritten(plain, output, joining=True)
        return _built(joined, output, notes)

    def live(self, output: int) -> list[int]:
        """Return the operations that one needs, in order."""
        needed = {output}
        for index in range(output, -1, -1):
            if index in needed:
                needed.update(self.steps[index].inputs)
        return sorted(needed)


def _rewritten(draft: Draft, output: int, *, joining: bool) -> tuple[Draft, int]:
    live = draft.live(output)
    uses = Counter(k for index in live for k in draft.steps[index].inputs)
    rewriter = _Rewriter()
    place: dict[int, int] = {}
    for index in live:
        step = draft.steps[index]
        once = {place[k] for k in step.inputs if joining and uses[k] == 1}
        place[index] = rewriter.emit(step, tuple(place[k] for k in step.inputs), once)
    return rewriter.draft, place[output]


def _built(draft: Draft, output: int, notes: Sequence[str]) -> Graph:
    builder = GraphBuilder(notes=list(notes))
    place: dict[int, int] = {}
    for index in draft.live(output):
        step = draft.steps[index]
        if step.op not in OPERATIONS:
            raise InputError(
                f"operation {step.op}: expected it as a part of softplus, Mish or GELU, but got it "
                "elsewhere; it is not covered"
            )
        inputs = tuple(place[k] for k in step.inputs)
        place[index] = builder.add(step.op, inputs, step.attributes, step.tensors)
    return builder.build(place[output])


class _Rewriter:
    """Writes operations one by one into a second draft, each as its canonical form."""

    def __init__(self) -> None:
        self.draft = Draft()

    def emit(self, step: Step, inputs: tuple[int, ...], once: set[int]) -> int:
        """Return the place of a step in canonical form; ``once``: inputs that nothing else reads.

        Whatever a rule returns has the values of the step.
        """
        rule = getattr(self, f"_{step.op}", None)
        found = rule(step, inputs, once) if rule is not None else None
        if found is None:
            found = self.draft.add(step.op, inputs, step.attributes, step.tensors)
        return int(found)

    def _step(self, index: int) -> Step:
        return self.draft.steps[index]

    def _source(self, index: int, op: str) -> int | None:
        """Return what an operation of this kind reads, or None for another kind."""
        step = self._step(index)
        return step.inputs[0] if step.op == op else None

    def _scaled(self, index: int) -> tuple[int, Fraction]:
        """Return (x, c) with the operation being c x."""
        step = self._step(index)
        if step.op == "affine" and step.attributes["offset"] == 0:
            return step.inputs[0], step.attributes["factor"]
        return index, Fraction(1)

    def _reshape(self, step: Step, inputs: tuple[int, ...], once: set[int]) -> int:
        return self._shaped(inputs[0], step.shape)

    def _shaped(self, index: int, shape: Shape) -> int:
        source = self._source(index, "reshape")
        index = index if source is None else source
        return index if self.draft.shape(index) == shape else self.draft.reshape(index, shape)

    def _transpose(self, step: Step, inputs: tuple[int, ...], once: set[int]) -> int:
        (index,), order = inputs, tuple(step.attributes["order"])
        before = self._step(index)
        if before.op == "transpose":
            order = tuple(before.attributes["order"][axis] for axis in order)
            index = before.inputs[0]
        if order == tuple(range(len(order))):
            return index
        return self.draft.add("transpose", (index,), {"order": order})

    def _affine(self, step: Step, inputs: tuple[int, ...], once: set[int]) -> int | None:
        (index,), factor, offset = inputs, step.attributes["factor"], step.attributes["offset"]
        if offset != 0:
            return None
        if factor == 1:
            return index
        inner = self._step(index)
        if inner.is_activation("softplus") and inner.attributes["activation"].parameters == (1,):
            x, beta = self._scaled(inner.inputs[0])
            if beta > 0 and beta * factor == 1:
                return self.draft.activation(x, f"softplus({beta})")
        if factor == _HALF and inner.op == "mul":
            return self._gelu(*inner.inputs)
        return None

    def _activation(self, step: Step, inputs: tuple[int, ...], once: set[int]) -> int | None:
        return inputs[0] if step.is_activation("identity") else None

    def _dropout(self, step: Step, inputs: tuple[int, ...], once: set[int]) -> int | None:
        return inputs[0] if step.attributes["rate"] == 0 else None

    def _log1p(self, step: Step, inputs: tuple[int, ...], once: set[int]) -> int | None:
        source = self._source(inputs[0], "exp")
        return None if source is None else self.draft.activation(source, "softplus(1)")

    def _where(self, step: Step, inputs: tuple[int, ...], once: set[int]) -> int | None:
        """Return softplus(beta) of x for x where beta x > 20, else softplus(beta) of x."""
        test, x, other = inputs
        asked, smooth = self._step(test), self._step(other)
        if asked.op != "greater" or asked.attributes["threshold"] < SWITCH:
            return None
        if not smooth.is_activation("softplus") or smooth.inputs != (x,):
            return None
        source, beta = self._scaled(asked.inputs[0])
        same = asked.inputs[0] == x and smooth.attributes["activation"].parameters == (1,)
        same = same or (source == x and smooth.attributes["activation"].parameters == (beta,))
        return other if same else None

    def _mul(self, step: Step, inputs: tuple[int, ...], once: set[int]) -> int | None:
        for x, gate in (inputs, inputs[::-1]):
            inner = self._step(gate)
            if inner.is_activation("sigmoid") and inner.inputs == (x,):
                return self.draft.activation(x, "silu")
            if inner.is_activation("tanh"):
                soft = self._step(inner.inputs[0])
                plain = soft.is_activation("softplus") and soft.inputs == (x,)
                if plain and soft.attributes["activation"].parameters == (1,):
                    return self.draft.activation(x, "mish")
            source, factor = self._scaled(x)
            if factor == _HALF:
                found = self._gelu(source, gate)
                if found is not None:
                    return found
        # Exporters write a square as a product, too.
        return self.draft.activation(inputs[0], "square") if inputs[0] == inputs[1] else None

    def _gelu(self, first: int, second: int) -> int | None:
        """Return gelu(x) for x and 1 + erf(x/sqrt 2) or 1 + tanh(...), in either order, or None."""
        for x, gate in ((first, second), (second, first)):
            outer = self._step(gate)
            if outer.op != "affine" or dict(outer.attributes) != {"factor": 1, "offset": 1}:
                continue
            inner = self._step(outer.inputs[0])
            if inner.is_activation("erf"):
                source, factor = self._scaled(inner.inputs[0])
                if source == x and factor in _HALF_ROOTS:
                    return self.draft.activation(x, "gelu")
            if inner.is_activation("tanh") and self._is_bent(inner.inputs[0], x):
                return self.draft.activation(x, "gelu_tanh")
        return None

    def _is_bent(self, index: int, x: int) -> bool:
        """Return whether an operation is sqrt(2/pi) (x + 0.044715 x^3)."""
        source, factor = self._scaled(index)
        total = self._step(source)
        if factor not in _ROOTS_OF_TWO_OVER_PI or total.op != "add" or x not in total.inputs:
            return False
        cube, factor = self._scaled(total.inputs[total.inputs[0] == x])
        return factor == _CUBIC and self._is_cube(cube, x)

    def _is_cube(self, index: int, x: int) -> bool:
        step = self._step(index)
        if step.op == "activation" and step.inputs == (x,):
            return str(step.attributes["activation"]) == "z**3"
        if step.op != "mul" or x not in step.inputs:
            return False
        square = self._step(step.inputs[step.inputs[0] == x])
        return square.is_activation("square") and square.inputs == (x,)

    def _div(self, step: Step, inputs: tuple[int, ...], once: set[int]) -> int | None:
        x, below = inputs[0], self._step(inputs[1])
        if below.op != "affine" or dict(below.attributes) != {"factor": 1, "offset": 1}:
            return None
        inner = self._step(below.inputs[0])
        fits = inner.is_activation("abs") and inner.inputs == (x,)
        return self.draft.activation(x, "softsign") if fits else None

    def _add(self, step: Step, inputs: tuple[int, ...], once: set[int]) -> int | None:
        """Join a product with a matrix and the vector added to it."""
        for product, vector in (inputs, inputs[::-1]):
            linear, bias = self._step(product), self._step(vector)
            fits = linear.op == "linear" and "bias" not in linear.tensors and product in once
            if fits and bias.op == "constant" and bias.shape == linear.shape[-1:]:
                tensors = {**linear.tensors, "bias": bias.tensors["value"]}
                return self.draft.add("linear", linear.inputs, {}, tensors)
        return None

    def _mean(self, step: Step, inputs: tuple[int, ...], once: set[int]) -> int | None:
        """Write a mean over all positions of every channel as pooling."""
        shape = self.draft.shape(inputs[0])
        if len(shape) not in (2, 3) or set(step.attributes["axes"]) != set(range(1, len(shape))):
            return None
        return self._shaped(self._global(inputs[0], len(shape) - 1), step.shape)

    def _adaptive_average_pool(
        self, step: Step, inputs: tuple[int, ...], once: set[int]
    ) -> int | None:
        size, shape = tuple(step.attributes["size"]), self.draft.shape(inputs[0])
        if shape == step.shape:
            return inputs[0]
        if set(size) == {1} and len(size) == len(shape) - 1:
            return self._global(inputs[0], len(size))
        window = _even_window(shape[-len(size) :], size)
        if window is None:
            return self._adaptive("adaptive_average_pool", inputs[0], size)
        return self._pooled("average_pool", inputs[0], window | {"count_padding": True})

    def _adaptive_max_pool(self, step: Step, inputs: tuple[int, ...], once: set[int]) -> int | None:
        size, shape = tuple(step.attributes["size"]), self.draft.shape(inputs[0])
        window = _even_window(shape[-len(size) :], size)
        if window is None:
            return self._adaptive("adaptive_max_pool", inputs[0], size)
        return self._pooled("max_pool", inputs[0], window | {"dilations": (1,) * len(size)})

    def _adaptive(self, op: str, index: int, size: Shape) -> int:
        """Write pooling to a size of images with one row, made of sequences, as that of these."""
        source = self._sequence(index)
        if source is None or len(size) != 2:
            return self.draft.add(op, (index,), {"size": size})
        pooled = self.draft.add(op, (source,), {"size": size[1:]})
        return self._shaped(pooled, self.draft.shape(index)[:1] + size)

    def _sequence(self, index: int) -> int | None:
        """Return the sequence of which an image with one row was made, or None."""
        shape, source = self.draft.shape(index), self._source(index, "reshape")
        made = source is not None and self.draft.shape(source) == (shape[0], *shape[2:])
        return source if made else None

    def _global(self, index: int, count: int) -> int:
        """Return the mean of every channel over ``count`` axes, which stay with one entry each."""
        wanted = (self.draft.shape(index)[0], *(1,) * count)
        source = self._source(index, "reshape")
        if source is not None:
            before = self.draft.shape(source)
            if len(before) in (2, 3) and before[0] == wanted[0]:
                index = source
        axes = len(self.draft.shape(index)) - 1
        pooled = self.draft.add("adaptive_average_pool", (index,), {"size": (1,) * axes})
        return self._shaped(pooled, wanted)

    def _average_pool(self, step: Step, inputs: tuple[int, ...], once: set[int]) -> int:
        attributes = dict(step.attributes)
        if not any(map(any, attributes["padding"])):
            attributes["count_padding"] = True
        return self._pooled("average_pool", inputs[0], attributes)

    def _max_pool(self, step: Step, inputs: tuple[int, ...], once: set[int]) -> int:
        return self._pooled("max_pool", inputs[0], dict(step.attributes))

    def _pooled(self, op: str, index: int, attributes: dict[str, Any]) -> int:
        """Write pooling of images with one row, made of sequences, as pooling of sequences."""
        source = self._sequence(index)
        listed = [name for name in attributes if name != "count_padding"]
        row = len(attributes["kernel"]) == 2 and attributes["kernel"][0] == 1
        row = row and not any(attributes["padding"][0])
        if not row or source is None:
            return self.draft.add(op, (index,), attributes)
        flat = attributes | {name: attributes[name][1:] for name in listed}
        pooled = self.draft.add(op, (source,), flat)
        channels, length = self.draft.shape(pooled)
        return self._shaped(pooled, (channels, 1, length))


def _even_window(sizes: Shape, wanted: Shape) -> dict[str, Any] | None:
    """Return the window of a pooling to a fixed size whose bins are equal and do not overlap."""
    if any(size % want for size, want in zip(sizes, wanted, strict=True)):
        return None
    kernel = tuple(size // want for size, want in zip(sizes, wanted, strict=True))
    return {"kernel": kernel, "strides": kernel, "padding": ((0, 0),) * len(kernel)}

"""The graph of an ONNX file: inputs, stored tensors and operators in the order of the file."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np

from verify.errors import InputError, UnsafeFileError
from verify.network import Graph
from verify.network.graph import MAX_NODES
from verify.readers import onnx_arithmetic, onnx_layers, onnx_shapes
from verify.readers.graph_patterns import FREE, Draft
from verify.readers.onnx_folding import cast_like, fold
from verify.readers.onnx_tensors import FLOATS, ExternalFiles, native, parse_tensor
from verify.readers.onnx_values import BATCH, Call, Flow, Known, Value
from verify.readers.tensors import MAX_TENSORS, StoredTensor, check_shape, shown

# An operator has at most some twenty attributes and inputs; Concat joins some hundreds.
MAX_ATTRIBUTES = 64
MAX_INPUTS = 10_000
# How often the operators may use each number that is stored.
_USES = 8
_STANDARD = ("", "ai.onnx")
# AttributeProto.AttributeType to the field that holds the value.
_FIELDS = {1: "f", 2: "i", 3: "s", 4: "t", 6: "floats", 7: "ints", 8: "strings"}
_SUBGRAPHS = (5, 10)


@dataclass
class GraphReader:
    """Reads one graph.

    Args:
        proto: the GraphProto.
        opset: version of the operator set.
        external: where weights beside the file are found.
        where: the file, for messages.
        parameters: the tensors that are parameters or buffers, or None where nobody tells; then
            a constant with axes may be a parameter, too.
    """

    proto: Any
    opset: int
    external: ExternalFiles
    where: str
    parameters: frozenset[str] | None
    stored: dict[str, StoredTensor] = field(default_factory=dict)
    draft: Draft = field(default_factory=lambda: Draft(limit=FREE))
    batch: int | None = None
    dtype: str = "float32"
    values: dict[str, Value] = field(default_factory=dict)
    aliases: list[tuple[str, str]] = field(default_factory=list)

    def graph(self) -> Graph:
        """Return the canonical graph.

        Raises:
            InputError: something that is not covered.
            UnsafeFileError: weights outside the folder of the model.
        """
        self._check_sizes()
        self._read_tensors()
        self._read_input()
        for number, node in enumerate(self.proto.node):
            self._read_node(number, node)
        output = self._output()
        try:
            return self.draft.finish(output, self._notes())
        except InputError as error:
            raise InputError(f"{self.where}: {error}") from error

    def _check_sizes(self) -> None:
        if len(self.proto.node) > MAX_NODES or len(self.proto.initializer) > MAX_TENSORS:
            raise InputError(
                f"{self.where}: expected at most {MAX_NODES} operators and {MAX_TENSORS} tensors, "
                f"but got {len(self.proto.node)} and {len(self.proto.initializer)}"
            )
        for name in ("sparse_initializer", "quantization_annotation"):
            if len(getattr(self.proto, name)):
                raise InputError(
                    f"{self.where}: expected dense tensors that are not quantised, but got "
                    f"{name.replace('_', ' ')}"
                )

    def _read_tensors(self) -> None:
        places: dict[object, str] = {}
        for proto in self.proto.initializer:
            name = proto.name
            if name in self.stored or not name:
                raise InputError(
                    f"{self.where}: expected one tensor by each name, but got {shown(name)} twice"
                )
            where = f"{self.where}, tensor {shown(name)}"
            tensor = parse_tensor(proto, self.external, where)
            self.stored[name] = tensor
            values = native(tensor)
            # A tensor with axes may be a parameter, whatever an exporter calls it.
            literal = values.ndim == 0 and name not in (self.parameters or ())
            source = places.setdefault(_place(proto, name), name)
            self.draft.limit += _USES * values.size if source == name else 0
            self.values[name] = Known(values, tensor.dtype, source, literal)

    def _read_input(self) -> None:
        inputs = [entry for entry in self.proto.input if entry.name not in self.stored]
        if len(inputs) != 1:
            raise InputError(
                f"{self.where}: expected one input of the network, but got {len(inputs)}"
            )
        (given,) = inputs
        kind = given.type
        tensor = kind.tensor_type
        if not kind.HasField("tensor_type") or tensor.elem_type not in FLOATS:
            raise InputError(
                f"{self.where}: expected an input of real numbers, but got data type "
                f"{tensor.elem_type} of ONNX"
            )
        if not tensor.HasField("shape") or len(tensor.shape.dim) < 2:
            raise InputError(
                f"{self.where}: expected an input with a batch axis and at least one more, "
                f"but got {len(tensor.shape.dim)} axes"
            )
        first, *rest = tensor.shape.dim
        if first.HasField("dim_value"):
            self.batch = self._size(first)
        shape = tuple(self._size(dim) for dim in rest)
        check_shape(shape, f"{self.where}, input")
        self.dtype = FLOATS[tensor.elem_type]
        self.values[given.name] = Flow(self.draft.input(shape))

    def _size(self, dim: Any) -> int:
        size = int(dim.dim_value) if dim.HasField("dim_value") else 0
        if size < 1:
            told = size if dim.HasField("dim_value") else shown(dim.dim_param or "no size")
            raise InputError(
                f"{self.where}: expected samples of a fixed size, but got {told} as the size of an "
                "axis; export the network with only the batch axis left open"
            )
        return size

    def _read_node(self, number: int, node: Any) -> None:
        name = node.name or f"number {number + 1}"
        where = f"{self.where}, operator {shown(name)} ({shown(node.op_type, 40)[1:-1]})"
        try:
            # Names of results are unique, those of operators need not be.
            call = self._call(node, next(filter(None, node.output), name), where)
            found = self._translate(call)
            if isinstance(found, Known) and found.values.base is None:
                # A computed whole number is an object of some 28 bytes beside its place.
                self.draft.spend(found.values.size * (16 if found.values.dtype == object else 1))
        except UnsafeFileError:
            raise
        except InputError as error:
            text = str(error)
            raise InputError(text if text.startswith(where) else f"{where}: {text}") from error
        except (ArithmeticError, LookupError, TypeError, ValueError, MemoryError) as error:
            raise InputError(
                f"{where}: expected inputs and attributes that fit each other, but got "
                f"{shown(str(error))}"
            ) from error
        if call.rest():
            raise InputError(
                f"{where}: expected nothing beyond what is covered, but got {shown(call.rest()[0])}"
            )
        self._define(node, found if isinstance(found, list) else [found], where)

    def _define(self, node: Any, found: list[Any], where: str) -> None:
        named = [output for output in node.output if output]
        for output in named:
            if output in self.values or named.count(output) > 1:
                raise InputError(f"{where}: expected a new name, but got {shown(output)} again")
        for output, value in zip(node.output, found, strict=False):
            if output:
                self.values[output] = value
                if node.op_type == "Identity" and output and isinstance(value, Known):
                    self._alias(output, value)

    def _alias(self, output: str, value: Known) -> None:
        if value.name in self.stored and not value.literal:
            self.aliases.append((output, value.name))

    def _call(self, node: Any, name: str, where: str) -> Call:
        if node.domain not in _STANDARD:
            raise InputError(
                f"expected operators of the standard set, but got the domain {shown(node.domain)}"
            )
        if len(node.attribute) > MAX_ATTRIBUTES or len(node.input) > MAX_INPUTS:
            raise InputError(
                f"expected at most {MAX_ATTRIBUTES} attributes and {MAX_INPUTS} inputs, but got "
                f"{len(node.attribute)} and {len(node.input)}"
            )
        attributes: dict[str, Any] = {}
        for entry in node.attribute:
            if entry.name in attributes:
                raise InputError(f"expected one attribute {shown(entry.name)}, but got two")
            attributes[entry.name] = self._attribute(entry, name, where)
        inputs = [self._value(source) for source in node.input]
        while inputs and inputs[-1] is None:
            inputs.pop()
        return Call(node.op_type, name, inputs, attributes, tuple(node.output), self.opset)

    @staticmethod
    def _require_real(call: Call) -> None:
        """Refuse operators that compute with whole numbers otherwise than with real ones."""
        whole = any(isinstance(value, Flow) and value.whole for value in call.inputs)
        if whole and call.op not in _ON_WHOLE:
            raise InputError(
                "expected real numbers, but got whole numbers, with which this operator may round"
            )

    def _value(self, source: str) -> Value | None:
        if not source:
            return None
        if source not in self.values:
            raise InputError(
                f"expected inputs that come before, but got {shown(source)}, which does not; "
                "the graph has a cycle, is not in order, or reads a side output"
            )
        return self.values[source]

    def _attribute(self, entry: Any, name: str, where: str) -> Any:
        if entry.type in _SUBGRAPHS:
            raise InputError(
                "expected an operator without inner graphs, but got a branch or a loop"
            )
        if entry.type not in _FIELDS or entry.ref_attr_name:
            raise InputError(
                f"expected numbers, texts or a tensor as attribute {shown(entry.name)}, but got "
                f"type {entry.type} of ONNX"
            )
        value = getattr(entry, _FIELDS[entry.type])
        if entry.type == 1:
            return np.float32(value)
        if entry.type == 3:
            return value.decode("ascii", "backslashreplace")
        if entry.type == 4:
            tensor = parse_tensor(value, self.external, f"{where}, {shown(entry.name)}")
            values = native(tensor)
            self.draft.limit += _USES * values.size
            literal = self.parameters is not None or values.ndim == 0
            return Known(values, tensor.dtype, name, literal)
        return list(value) if isinstance(value, list) or entry.type in (6, 7, 8) else int(value)

    def _translate(self, call: Call) -> Value | list[Flow]:
        if call.op == "Constant":
            return _constant(call)
        flows = any(not isinstance(value, Known | None) for value in call.inputs)
        spread = call.op == "Expand" and _names_batch(call)
        if not flows and not spread and call.op in _COVERED:
            return fold(call)
        self._require_real(call)
        if call.op == "CastLike" and isinstance(call.value(0), Known):
            return cast_like(call, self.dtype)
        if call.op in onnx_arithmetic.RULES:
            return onnx_arithmetic.RULES[call.op](self.draft, call)
        if call.op in onnx_layers.RULES:
            return onnx_layers.RULES[call.op](self.draft, call)
        if call.op in onnx_shapes.RULES:
            return onnx_shapes.RULES[call.op](self.draft, call, self.batch)
        if not flows:
            return fold(call)
        raise InputError(
            "expected an operator that is covered, but got one that is not; docs/networks.md lists "
            "what is read"
        )

    def _output(self) -> int:
        if len(self.proto.output) != 1:
            raise InputError(
                f"{self.where}: expected one output of the network, but got "
                f"{len(self.proto.output)}"
            )
        name = self.proto.output[0].name
        value = self.values.get(name)
        if not isinstance(value, Flow):
            raise InputError(
                f"{self.where}: expected an output that depends on the input, but got {shown(name)}"
            )
        return value.node

    def _notes(self) -> list[str]:
        return [
            f"{shown(alias)[1:-1]} stands for the tensor {shown(name)[1:-1]} and counts as tied "
            "to it; exporters also write equal tensors so"
            for alias, name in self.aliases
        ]


_COVERED = {*onnx_arithmetic.RULES, *onnx_layers.RULES, *onnx_shapes.RULES}
_ON_WHOLE = {*onnx_shapes.RULES, "Add", "Sub", "Mul", "Sum", "Neg", "Cast", "Identity"}


def _place(proto: Any, name: str) -> object:
    """Return what tells stored tensors apart: the name, or the part of a file beside the model."""
    if not len(proto.external_data):
        return name
    return tuple(sorted((entry.key, entry.value) for entry in proto.external_data))


def _names_batch(call: Call) -> bool:
    target = call.value(1)
    return isinstance(target, Known) and any(s is BATCH for s in target.values.reshape(-1)[:64])


def _constant(call: Call) -> Known:
    given = {name: call.attributes[name] for name in call.attributes if name.startswith("value")}
    call.ignore(*given)
    if len(given) != 1:
        raise InputError(f"expected one value, but got {len(given)}")
    ((name, value),) = given.items()
    if name == "value" and isinstance(value, Known):
        return value
    if name in ("value_float", "value_floats"):
        return Known(np.asarray(value, dtype=np.float32), "float32", call.name, literal=True)
    if name in ("value_int", "value_ints"):
        return Known(np.asarray(value, dtype=np.int64), "int64", call.name, literal=True)
    raise InputError(f"expected a tensor or numbers, but got {shown(name)}")

"""From the operations of an exported program to a graph: names, batches, memory.

Every value has the batch as its first axis, and every operation must treat the samples apart.
Sizes are computed here and compared with those that the program states. Operations that write over
their argument are read where nothing else looks at that memory afterwards.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from verify.errors import InputError, SettingsError
from verify.network import Graph
from verify.readers import pt2_operations as _operations
from verify.readers import pt2_shapes as _shapes
from verify.readers.graph_patterns import FREE, PARTIAL, Draft
from verify.readers.pt2_archive import Program
from verify.readers.pt2_arguments import BATCH, Arguments, Batched, Stored, Unread, Value
from verify.readers.pt2_json import checked, entry, one_of, tensor_name
from verify.readers.pt2_signatures import ELEMENTWISE, FRESH, OPERATORS
from verify.readers.tensors import check_shape, shown, sources

_TORCH = "torch.ops.aten."
# How many numbers may be in use for each byte that is stored: of float32, each number 8 times.
_USES = 2
# They check sizes or types while the program runs, and give nothing.
_CHECKS = frozenset(
    ("_assert_tensor_metadata.default", "_assert_scalar.default", "_assert_async.msg",
     "sym_constrain_range_for_size.default", "sym_constrain_range.default")
)  # fmt: skip
# float16, float32, float64, bfloat16 in the schema.
_FLOATS = (6, 7, 8, 13)
_TRANSPOSES = ("t.default", "permute.default", "transpose.int")
_KEEPS = ("detach.default", "detach_.default", "alias.default", "clone.default",
          "contiguous.default", "lift_fresh_copy.default")  # fmt: skip
_STATE = ("parameter", "buffer", "tensor_constant")
_NAMES = {"parameter": "parameter_name", "buffer": "buffer_name",
          "tensor_constant": "tensor_constant_name"}  # fmt: skip
READ_BY = (_operations, _shapes)
"""The modules that register operators."""


def graph_of_program(program: Program, where: str) -> Graph:
    """Return the network that a program computes from one input.

    Raises:
        InputError: an operation that is not covered or mixes samples, values used before they are
            computed, sizes that contradict each other, or not one input and one output.
    """
    return _Reader(program, where).run()


@dataclass
class _Reader:
    program: Program
    where: str
    draft: Draft = field(default_factory=Draft)
    known: dict[str, Value] = field(default_factory=dict)
    memory: dict[str, object] = field(default_factory=dict)
    sharing: dict[object, list[str]] = field(default_factory=dict)
    batch: int | None = None
    symbol: Any = None

    def run(self) -> Graph:
        module = self.program.graph_module
        self.graph = entry(module, "graph", dict, self.where)
        signature = entry(module, "signature", dict, self.where)
        self.values = entry(self.graph, "tensor_values", dict, self.where)
        self.draft.limit = FREE + _USES * self._bytes()
        self._inputs(entry(signature, "input_specs", list, self.where))
        for node in entry(self.graph, "nodes", list, self.where):
            self._node(node)
        output = self._output(entry(signature, "output_specs", list, self.where))
        try:
            return self.draft.finish(output)
        except (InputError, SettingsError) as error:
            raise InputError(f"{self.where}, {error}") from error

    def _bytes(self) -> int:
        """Return how many bytes of the file the tensors lie in, however often they repeat them."""
        both = self.program.weights.keys() & self.program.constants.keys()
        if both:
            raise InputError(
                f"{self.where}: expected each name among weights or constants, but got "
                f"{shown(min(both))} in both"
            )
        held = [*self.program.weights.values(), *self.program.constants.values()]
        given = [tensor.values for tensor in held if tensor.values is not None]
        total, reached = 0, 0
        for start, end in sorted(np.lib.array_utils.byte_bounds(values) for values in given):
            total, reached = total + max(0, end - max(start, reached)), max(end, reached)
        return total

    def _inputs(self, specs: list[Any]) -> None:
        named = {
            kind: {**self.program.weights} if kind == "parameter" else
            {**self.program.constants, **self.program.weights}
            for kind in _STATE
        }  # fmt: skip
        shared = sources({**self.program.constants, **self.program.weights})
        users = []
        for spec in specs:
            kind, content = one_of(spec, f"{self.where}, input_specs")
            where = f"{self.where}, {kind}"
            if kind == "user_input":
                users.append(entry(content, "arg", dict, where))
            elif kind in _STATE:
                name = entry(entry(content, "arg", dict, where), "name", str, where)
                full = entry(content, _NAMES[kind], str, where)
                if full not in named[kind]:
                    raise InputError(
                        f"{where} {shown(full)}: expected its stored numbers, but got none that "
                        "are not a pickled object"
                    )
                self._define(name, Stored(shared[full], named[kind][full]), shared[full])
            elif kind != "constant_input":
                raise InputError(f"{where}: expected tensors as inputs, but got {shown(kind)}")
        found = [tensor_name(argument, f"{self.where}, user_input") for argument in users]
        if len(found) != 1 or found[0] is None:
            raise InputError(f"{self.where}: expected one tensor as input, but got {len(found)}")
        self._user_input(found[0])

    def _user_input(self, name: str) -> None:
        sizes = self._stated(name)
        if len(sizes) < 2:
            raise InputError(
                f"{self.where}, input {shown(name)}: expected a batch of samples, but got "
                f"{len(sizes)} axes"
            )
        kind, value = one_of(sizes[0], self.where)
        if kind == "as_int":
            self.batch = checked(value, int, self.where)
        self.symbol = _symbol(sizes[0])
        shape = [_fixed(size, f"{self.where}, input {shown(name)}") for size in sizes[1:]]
        check_shape(shape, f"{self.where}, input {shown(name)}")
        self._define(name, Batched(self.draft.input(shape)), object())

    def _define(self, name: str, value: Value, memory: object) -> None:
        if name in self.known:
            raise InputError(f"{self.where}: expected each value once, but got {shown(name)} twice")
        self.known[name], self.memory[name] = value, memory
        self.sharing.setdefault(memory, []).append(name)

    def _stated(self, name: str) -> list[Any]:
        """Return the sizes that the program states for a tensor of real numbers."""
        where = f"{self.where}, {shown(name)}"
        told = entry(self.values, name, dict, where)
        if entry(told, "dtype", int, where) not in _FLOATS:
            raise InputError(
                f"{where}: expected real numbers, but got the type {told['dtype']}; "
                "convert the samples before the network"
            )
        return entry(told, "sizes", list, where)

    def _node(self, node: Any) -> None:
        target = entry(node, "target", str, self.where).removeprefix(_TORCH)
        where = f"{self.where}, operation {shown(target)[1:-1]}"
        outputs = entry(node, "outputs", list, where)
        if outputs:
            kind, content = one_of(outputs[0], where)
            name = entry(content, "name" if kind == "as_tensor" else "as_name", str, where)
            where = f"{where} ({shown(name)[1:-1]})"
        try:
            self._run_node(target, entry(node, "inputs", list, where), outputs)
        except (InputError, SettingsError) as error:
            told = str(error)
            raise InputError(told if told.startswith(self.where) else f"{where}: {told}") from error

    def _run_node(self, target: str, inputs: list[Any], outputs: list[Any]) -> None:
        given = {entry(each, "name", str, "input"): each.get("arg") for each in inputs}
        if len(given) != len(inputs):
            raise InputError("expected each argument once, but got one twice")
        if target in _CHECKS and not outputs:
            return
        if target == "sym_size.int":
            self._size(given, outputs)
            return
        names = [tensor_name(each, "output") for each in outputs]
        if not names or None in names:
            raise InputError("expected tensors as results; this operation is not covered")
        first, *others = (str(name) for name in names)
        source = tensor_name(given["self"], "self") if "self" in given else None
        if target in (*_TRANSPOSES, *_KEEPS) and isinstance(self.known.get(source or ""), Stored):
            self._define(first, self._moved(target, given, str(source)), self.memory[str(source)])
            return
        self._computed(target, given, first)
        for other in others:
            self._define(other, Unread("expected the first result of an operation alone"), object())

    def _moved(self, target: str, given: Mapping[str, Any], name: str) -> Value:
        """Return a stored tensor copied, or a stored matrix transposed."""
        value = self.known[name]
        if not isinstance(value, Stored) or target in _KEEPS:
            return value
        signature = {"self": None, "dims": (1, 0), "dim0": 0, "dim1": 1}
        a = Arguments(self.draft, signature, given, self.known, self.batch)
        order = a.integers("dims") if "dims" in given else (a.integer("dim0"), a.integer("dim1"))
        order = tuple(axis % 2 for axis in order)
        matrix = len(value.tensor.shape) == 2 and sorted(order) == [0, 1]
        a.require(matrix, "a stored matrix and its two axes", (value.tensor.shape, order))
        moved = target == "t.default" or "dim0" in given or order == (1, 0)
        return Stored(value.source, value.tensor, value.transposed ^ moved)

    def _computed(self, target: str, given: Mapping[str, Any], first: str) -> None:
        packet, _, overload = target.partition(".")
        over = packet.endswith("_") and packet.rstrip("_") in ELEMENTWISE
        plain = f"{packet.rstrip('_')}.{overload}" if over else target
        if plain not in OPERATORS:
            raise InputError(
                "expected an operation that is covered, but got another one; docs/networks.md "
                "lists what is read"
            )
        handler, signature = OPERATORS[plain]
        a = Arguments(self.draft, signature, given, self.known, self.batch)
        found = handler(a)
        a.check_all_read()
        value = found if isinstance(found, Unread) else Batched(found)
        if isinstance(value, Batched):
            self._check(first, value.index)
        argument = _first_tensor(given)
        memory: object = object()
        if argument is not None and (over or packet not in FRESH):
            memory = self.memory[argument]
        if over and argument is not None:
            self._overwrite(argument, value)
        self._define(first, value, memory)

    def _overwrite(self, name: str, value: Value) -> None:
        """Mark everything else in the memory of a value as changed."""
        before = self.known[name]
        if isinstance(before, Batched) and isinstance(value, Batched):
            same = self.draft.shape(before.index) == self.draft.shape(value.index)
            if not same:
                raise InputError("expected a result of the shape that it is written over")
        memory = self.memory[name]
        for other in self.sharing[memory]:
            self.known[other] = Unread(
                f"expected values that nothing was written over, but got {shown(other)}"
            )
        self.known[name], self.sharing[memory] = value, [name]

    def _check(self, name: str, index: int) -> None:
        """Compare the computed sizes with those that the program states."""
        if self.draft.steps[index].op in PARTIAL:
            return
        sizes, shape = self._stated(name), self.draft.shape(index)
        stated = [_fixed(size, shown(name)) for size in sizes[1:]]
        if tuple(stated) != shape or _symbol(sizes[0]) != self.symbol:
            raise InputError(
                f"expected sizes {shape} of every sample, but got {shown(stated)} stated"
            )

    def _size(self, given: Mapping[str, Any], outputs: list[Any]) -> None:
        signature = {"self": None, "dim": None}
        a = Arguments(self.draft, signature, given, self.known, self.batch)
        a.tensor("self")
        a.require(a.integer("dim") == 0, "the number of samples", "another size")
        for each in outputs:
            kind, content = one_of(each, "output")
            a.require(kind == "as_sym_int", "a size as result", kind)
            self._define(entry(content, "as_name", str, "output"), BATCH, object())

    def _output(self, specs: list[Any]) -> int:
        results = []
        for spec in specs:
            kind, content = one_of(spec, f"{self.where}, output_specs")
            if kind == "user_output":
                argument = entry(content, "arg", dict, f"{self.where}, output")
                results.append(tensor_name(argument, f"{self.where}, output"))
            elif kind not in ("buffer_mutation", "user_input_mutation"):
                raise InputError(f"{self.where}: expected one output, but got {shown(kind)}")
        if len(results) != 1 or results[0] is None:
            raise InputError(f"{self.where}: expected one tensor as output, but got {len(results)}")
        value = self.known.get(results[0])
        if isinstance(value, Unread):
            raise InputError(f"{self.where}, output: {value.reason}")
        if not isinstance(value, Batched):
            raise InputError(
                f"{self.where}, output: expected a value that was computed from the samples, "
                f"but got {shown(results[0])}"
            )
        return value.index


def _first_tensor(given: Mapping[str, Any]) -> str | None:
    """Return the name of the tensor that an operation is about, or None."""
    found = next((given[name] for name in ("self", "input") if name in given), None)
    return None if found is None else tensor_name(found, "argument")


def _fixed(size: Any, where: str) -> int:
    kind, value = one_of(size, where)
    if kind != "as_int":
        raise InputError(f"{where}: expected fixed sizes beside the batch, but got a symbolic one")
    return checked(value, int, where)


def _symbol(size: Any) -> Any:
    """Return a size for comparison: a number, or the text of an expression."""
    kind, value = one_of(size, "size")
    return value if kind == "as_int" else entry(value, "expr_str", str, "size")

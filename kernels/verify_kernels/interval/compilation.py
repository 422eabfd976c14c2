"""Compile a program for all lanes of a vector, and run it over arrays.

A program calls functions of the restricted subset: the interval operations, or other modules that
are named.
"""

from __future__ import annotations

import ast
import ctypes
import itertools
from collections.abc import Sequence
from types import ModuleType
from typing import Any, NamedTuple

import numba
import numpy as np
from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.core.registry import cpu_target
from numba.extending import intrinsic

from verify_kernels._rounding import Array
from verify_kernels.interval import code_cache, operations, transcendental
from verify_kernels.interval.vector_code import DOUBLE, LONG, Emitter

POINTER = types.CPointer(types.float64)  # type: ignore[no-untyped-call]
# low, high, found, lanes of a row, first lane, lane after the last -> refused ends
SIGNATURE = types.int64(POINTER, POINTER, POINTER, types.int64, types.int64, types.int64)
LANES = 8
_LOADED: dict[str, Loop] = {}
_COUNTER = itertools.count()


class Task(NamedTuple):
    """What is compiled; the arguments of `compile_loop`."""

    lines: tuple[str, ...]
    results: tuple[str, ...]
    inputs: int
    points: bool
    embedded: bool
    domain: tuple[float, float] | None


class Loop:
    """A compiled program: encloses the results on the lanes of arrays."""

    def __init__(self, library: Any, address: int) -> None:
        """Keep what holds the machine code alive, and its address."""
        self._library = library
        kinds = [ctypes.c_void_p] * 3 + [ctypes.c_int64] * 3
        self._call = ctypes.CFUNCTYPE(ctypes.c_int64, *kinds)(address)

    def __call__(self, low: Array, high: Array, found: Array, first: int, last: int) -> int:
        """Fill found[:, first:last], multiples of LANES; return how many points are not allowed.

        All arrays have rows of one length; the call does not hold Python's lock.
        """
        return int(
            self._call(
                low.ctypes.data, high.ctypes.data, found.ctypes.data, low.shape[1], first, last
            )
        )


def compile_loop(
    lines: Sequence[str],
    results: Sequence[str],
    inputs: int,
    *,
    points: bool,
    embedded: bool,
    stored: bool = True,
    modules: tuple[ModuleType, ...] = (operations, transcendental),
    domain: tuple[float, float] | None = None,
) -> Loop:
    """Compile the lines of a program.

    Args:
        lines: assignments of calls of operations, from x0l, x0h, ... to the results.
        results: names of the ends of the outputs.
        inputs: how many inputs there are.
        points: whether the two ends of every input are one number; then `high` is not read.
        embedded: single instructions for directed rounding, or the functions of `directed.py`.
        stored: look for the machine code of earlier calls, and keep it for later ones.
        modules: where the functions that the lines call are.
        domain: the numbers that are allowed as ends of an input; if not given, those of the
            non-empty closed intervals of real numbers.
    """
    task = Task(tuple(lines), tuple(results), inputs, points, embedded, domain)
    name = code_cache.digest(modules, *task, LANES)
    if not stored:
        return _from_lines(f"{name}_{next(_COUNTER)}", _lanes(task, modules), stored=False)
    if name not in _LOADED:
        _LOADED[name] = _from_cache(name) or _from_lines(name, _lanes(task, modules), stored=True)
    return _LOADED[name]


def _from_lines(name: str, lanes: Any, *, stored: bool) -> Loop:
    align: Any = _align_stack

    def run(low: Any, high: Any, found: Any, length: int, first: int, last: int) -> int:
        refused: int = align()
        for j in range(first, last, LANES):
            refused += lanes(low, high, found, length, j)
        return refused

    # The symbols in the machine code are made of this name: no two programs may share one.
    run.__name__ = run.__qualname__ = f"loop_{name}"
    compiled: Any = numba.cfunc(SIGNATURE, error_model="numpy")(run)
    if stored:
        _, _, (code, bitcode) = compiled._library.serialize_using_object_code()
        code_cache.store(name, compiled.native_name, code, bitcode)
    return Loop(compiled._library, compiled.address)


def _from_cache(name: str) -> Loop | None:
    found = code_cache.load(name)
    if found is None or name not in found[0]:
        return None
    entry, code, bitcode = found
    codegen = cpu_target.target_context.codegen()
    library = codegen.unserialize_library((f"loop_{name}", "object", (code, bitcode)))
    return Loop(library, library.get_pointer_to_function(entry))


@intrinsic
def _align_stack(typing: Any) -> Any:
    """Return 0 from a function whose frame starts at a multiple of 64 bytes.

    Vectors that do not fit into registers are kept in the frame; unaligned they take twice as long.
    """

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        place = cgutils.alloca_once(  # type: ignore[no-untyped-call]
            builder, ir.VectorType(DOUBLE, LANES)
        )
        place.align = 64
        kind = ir.FunctionType(ir.VoidType(), [place.type])
        builder.asm(kind, "", "r", [place], side_effect=True)
        return ir.Constant(LONG, 0)

    return types.int64(), generate


def _lanes(task: Task, modules: tuple[ModuleType, ...]) -> Any:
    body = ast.parse("\n".join(task.lines)).body
    vocabulary = {name: value for module in modules for name, value in vars(module).items()}
    vector = ir.VectorType(DOUBLE, LANES)

    @intrinsic
    def lanes(typing: Any, low: Any, high: Any, found: Any, length: Any, lane: Any) -> Any:
        def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
            rows, position = arguments[:3], arguments[4]

            def place(array: Any, row: int) -> Any:
                index = builder.add(builder.mul(ir.Constant(LONG, row), arguments[3]), position)
                start = builder.ptrtoint(array, LONG)
                address = builder.add(start, builder.mul(index, ir.Constant(LONG, 8)))
                return builder.inttoptr(address, vector.as_pointer())

            emitter = Emitter(builder, LANES, embedded=task.embedded)
            names: dict[str, Any] = {}
            refused = None
            for k in range(task.inputs):
                names[f"x{k}l"] = builder.load(place(rows[0], k), align=8)
                names[f"x{k}h"] = (
                    names[f"x{k}l"] if task.points else builder.load(place(rows[1], k), align=8)
                )
                allowed = _allowed(emitter, names[f"x{k}l"], names[f"x{k}h"], task)
                refused = allowed if refused is None else builder.and_(refused, allowed)
            emitter.statements(body, names, vocabulary)
            for row, name in enumerate(task.results):
                builder.store(names[name], place(rows[2], row), align=8)
            mask = builder.bitcast(builder.not_(refused), ir.IntType(LANES))
            return builder.zext(builder.ctpop(mask), LONG)

        return types.int64(low, high, found, length, lane), generate

    return lanes


def _allowed(emitter: Emitter, lo: Any, hi: Any, task: Task) -> Any:
    """Return where lo <= hi and both are in the domain, or lo < inf, hi > -inf; NaN is nowhere."""
    builder = emitter.builder
    if task.domain is None:
        right = builder.fcmp_ordered("<", lo, emitter.constant(np.inf))
        left = builder.fcmp_ordered(">", hi, emitter.constant(-np.inf))
    else:
        right = builder.fcmp_ordered("<=", hi, emitter.constant(task.domain[1]))
        left = builder.fcmp_ordered(">=", lo, emitter.constant(task.domain[0]))
    within = builder.and_(left, right)
    return within if task.points else builder.and_(builder.fcmp_ordered("<=", lo, hi), within)

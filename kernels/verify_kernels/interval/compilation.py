"""Compile the loop of a program, and run it over blocks of lanes."""

from __future__ import annotations

from collections.abc import Callable
from types import FunctionType
from typing import Any

import numba
import numpy as np

from verify_kernels._rounding import Array
from verify_kernels.interval import operations, transcendental
from verify_kernels.interval.compiled import OPTIONS, compiled
from verify_kernels.interval.source import WIDTH

Block = Callable[[Array], None]
# low, high, found, first lane, last lane -> number of ends that are not allowed
Runner = Callable[[Array, Array, Array, int, int], int]


def compile_block(text: str) -> Block:
    """Return the compiled loop `block` of a source text."""
    code = compile(text, "<interval kernel>", "exec")
    namespace: dict[str, Any] = {}
    for name in _names(code):
        function = getattr(operations, name, None) or getattr(transcendental, name, None)
        if isinstance(function, FunctionType):
            namespace[name] = compiled(function)
    exec(code, namespace)  # noqa: S102  printed by `source` from a fixed vocabulary
    return numba.njit("void(float64[::1])", **OPTIONS)(namespace["block"])  # type: ignore[no-any-return]


def _names(code: Any) -> set[str]:
    inner = (part for part in code.co_consts if hasattr(part, "co_names"))
    return set(code.co_names).union(*map(_names, inner))


def runner(block: Block, *, points: bool) -> Runner:
    """Return what runs a block over all lanes from the first to before the last."""

    def run(low: Array, high: Array, found: Array, first: int, last: int) -> int:
        inputs = low.shape[0] * (1 if points else 2)
        buffer = np.empty((inputs + found.shape[0]) * WIDTH)
        refused = 0
        for start in range(first, last, WIDTH):
            count = min(WIDTH, last - start)
            if points:
                refused += fill_points(buffer, low, start, count)
            else:
                refused += fill_boxes(buffer, low, high, start, count)
            block(buffer)
            spill(buffer, found, inputs, start, count)
        return refused

    return numba.njit(**OPTIONS)(run)  # type: ignore[no-any-return]


@numba.njit(**OPTIONS)  # type: ignore[untyped-decorator]
def fill_boxes(buffer: Array, low: Array, high: Array, start: int, count: int) -> int:
    """Copy ends into the buffer, ones after the last; return how many are not allowed."""
    refused = 0
    for k in range(low.shape[0]):
        base = 2 * k * WIDTH
        for j in range(count):
            a = low[k, start + j]
            b = high[k, start + j]
            refused += 0 if a <= b and a < np.inf and b > -np.inf else 1
            buffer[base + j] = a
            buffer[base + WIDTH + j] = b
        for j in range(count, WIDTH):
            buffer[base + j] = 1.0
            buffer[base + WIDTH + j] = 1.0
    return refused


@numba.njit(**OPTIONS)  # type: ignore[untyped-decorator]
def fill_points(buffer: Array, low: Array, start: int, count: int) -> int:
    """Copy points into the buffer, ones after the last; return how many are not finite."""
    refused = 0
    for k in range(low.shape[0]):
        base = k * WIDTH
        for j in range(count):
            a = low[k, start + j]
            refused += 0 if abs(a) < np.inf else 1
            buffer[base + j] = a
        for j in range(count, WIDTH):
            buffer[base + j] = 1.0
    return refused


@numba.njit(**OPTIONS)  # type: ignore[untyped-decorator]
def spill(buffer: Array, found: Array, inputs: int, start: int, count: int) -> None:
    """Copy the results of a block to their lanes."""
    for k in range(found.shape[0]):
        base = (inputs + k) * WIDTH
        for j in range(count):
            found[k, start + j] = buffer[base + j]

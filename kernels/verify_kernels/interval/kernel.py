"""Compiled interval kernels of SymPy expressions.

`interval_kernel` turns an expression into one loop over boxes. Each lane is an enclosure of the
values of the expression, as it is written, on the box; where the expression may be undefined
somewhere in the box the lane is (-inf, inf).
"""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, NamedTuple

import numba
import numpy as np
import sympy as sp
from numpy.typing import ArrayLike

from verify.errors import InputError
from verify_kernels._rounding import Array
from verify_kernels.interval import reference
from verify_kernels.interval.compilation import LANES, Loop, compile_loop
from verify_kernels.interval.derivative import Derivatives
from verify_kernels.interval.lowering import lower
from verify_kernels.interval.on_arrays import apply
from verify_kernels.interval.program import Program, live
from verify_kernels.interval.source import body, point_function
from verify_kernels.interval.vector_code import has_embedded_rounding
from verify_kernels.self_test import check_rounding

__all__ = ["IntervalArray", "IntervalKernel", "IntervalValues", "apply", "interval_kernel"]

REFERENCE_BITS = 128
PARALLEL_FROM = 8192  # lanes


class IntervalArray(NamedTuple):
    """Lower and upper ends of one shape."""

    lo: Array
    hi: Array


@dataclass(frozen=True)
class IntervalValues:
    """Enclosures of values, shape (n,), gradients (k, n) and Hessians (k, k, n)."""

    lo: Array
    hi: Array
    gradient: IntervalArray | None = None
    hessian: IntervalArray | None = None


class IntervalKernel:
    """A compiled expression; call it with boxes, or `at` with points."""

    def __init__(
        self, expression: sp.Expr, symbols: Sequence[sp.Symbol], order: int, parallel: bool
    ) -> None:
        """Lower the expression and append its derivatives; nothing is compiled yet."""
        self.expression = expression
        self.symbols = tuple(symbols)
        self.order = order
        self.parallel = parallel
        self.program, value = lower(expression, self.symbols)
        self.outputs, self.faults = _with_derivatives(self.program, value, order)
        self.embedded = has_embedded_rounding()
        self._loops: dict[bool, Loop] = {}

    @property
    def point_source(self) -> str:
        """The program as a function of the restricted subset, for other dialects."""
        return point_function(self.program, self.outputs, self.faults)

    def __call__(
        self, lo: ArrayLike, hi: ArrayLike, *, out: Array | None = None, refine: bool = False
    ) -> IntervalValues:
        """Enclose the values on boxes [lo, hi] of shape (k, n), or (n,) for one symbol.

        Args:
            lo: lower ends, float64 (others are refused unless they convert exactly), may be -inf.
            hi: upper ends, not below `lo`, may be +inf.
            out: memory for the results, from `buffer`; the result then refers to it.
            refine: enclose again in ball arithmetic the lanes that are unbounded, or wide although
                their box is narrow, and intersect. Slow for each such lane.

        Raises:
            InputError: NaN, lo > hi, an empty box or another shape.
            BackendError: the arithmetic of the thread is not IEEE 754 in round to nearest.
        """
        low, high = self._boxes(lo), self._boxes(hi)
        if low.shape != high.shape:
            raise InputError(
                f"interval_kernel: expected lo and hi of one shape, "
                f"but got {low.shape}, {high.shape}"
            )
        found = self._run(False, low, high, out)
        if refine:
            self._refine(low, high, found)
        return self.unpack(found)

    def at(
        self, points: ArrayLike, *, out: Array | None = None, refine: bool = False
    ) -> IntervalValues:
        """Enclose the values at points of shape (k, n), or (n,) for one symbol.

        Args:
            points: finite, float64.
            out: as for boxes.
            refine: as for boxes.

        Raises:
            InputError: a coordinate that is not finite, or another shape.
            BackendError: the arithmetic of the thread is not IEEE 754 in round to nearest.
        """
        low = self._boxes(points)
        found = self._run(True, low, low, out)
        if refine:
            self._refine(low, low, found)
        return self.unpack(found)

    def _boxes(self, ends: ArrayLike) -> Array:
        given = np.asarray(ends)
        k = len(self.symbols)
        if given.ndim == 1 and k == 1:
            given = given[None, :]
        if given.ndim != 2 or given.shape[0] != k:
            raise InputError(
                f"interval_kernel: expected ends of shape ({k}, n), but got {np.shape(ends)}"
            )
        if given.dtype not in (np.float64, np.float32, np.float16, np.int32, np.int16, np.int8):
            raise InputError(
                f"interval_kernel: expected ends of type float64, but got {given.dtype}"
            )
        return np.ascontiguousarray(given, dtype=np.float64)

    def _loop(self, points: bool) -> Loop:
        if points not in self._loops:
            lines, results = body(self.program, self.outputs, self.faults)
            self._loops[points] = compile_loop(
                lines, results, len(self.symbols), points=points, embedded=self.embedded
            )
        return self._loops[points]

    def _run(self, points: bool, low: Array, high: Array, out: Array | None) -> Array:
        n = low.shape[1]
        loop = self._loop(points)
        found = self.buffer(n) if out is None else self._checked(out, n)
        whole = n - n % LANES

        def part(first: int, last: int) -> int:
            check_rounding()
            return loop(low, high, found, first, last)

        threads = numba.get_num_threads() if self.parallel and n >= PARALLEL_FROM else 1
        if threads == 1:
            refused = part(0, whole)
        else:
            cuts = [(n * t // threads) // LANES * LANES for t in range(threads)] + [whole]
            with ThreadPoolExecutor(threads) as pool:
                refused = sum(pool.map(part, cuts[:-1], cuts[1:]))
        if whole < n:
            last = [np.pad(ends[:, whole:], ((0, 0), (0, -n % LANES))) for ends in (low, high)]
            rest = self.buffer(LANES)
            refused += loop(last[0], last[1], rest, 0, LANES)
            found[:, whole:] = rest[:, : n - whole]
        if refused:
            raise InputError(
                "interval_kernel: expected boxes with lo <= hi that contain a real number, but got "
                f"{refused} coordinates that are NaN, out of order or infinite points"
            )
        return found

    def buffer(self, n: int) -> Array:
        """Return an array for the results of n boxes, to be handed over as ``out`` many times."""
        return np.empty((2 * len(self.outputs), n))

    def _checked(self, out: Array, n: int) -> Array:
        shape = (2 * len(self.outputs), n)
        good = isinstance(out, np.ndarray) and out.dtype == np.float64 and out.shape == shape
        if not good or not out.flags.c_contiguous or not out.flags.writeable:
            raise InputError(f"interval_kernel: expected out from buffer({n}), but got {out!r}")
        return out

    def unpack(self, found: Array) -> IntervalValues:
        """Return the enclosures of rows lo, hi of the outputs, shape (2 outputs, n)."""
        k, n = len(self.symbols), found.shape[1]
        lo, hi = found[0::2], found[1::2]
        gradient = IntervalArray(lo[1 : k + 1], hi[1 : k + 1]) if self.order else None
        hessian = None
        if self.order == 2:
            places = [k + 1 + _place(min(i, j), max(i, j), k) for i in range(k) for j in range(k)]
            hessian = IntervalArray(lo[places].reshape(k, k, n), hi[places].reshape(k, k, n))
        return IntervalValues(lo[0], hi[0], gradient, hessian)

    def _refine(self, low: Array, high: Array, found: Array) -> None:
        with np.errstate(invalid="ignore", over="ignore"):
            narrow = np.all(high - low <= 2.0**-40 * np.maximum(np.abs(low), np.abs(high)), axis=0)
            width = found[1::2] - found[0::2]
            size = np.maximum(1.0, np.minimum(np.abs(found[0::2]), np.abs(found[1::2])))
            wide = ~(width <= np.where(narrow, 2.0**-26, np.inf) * size) | ~np.isfinite(width)
        for lane in np.flatnonzero(wide.any(axis=0)):
            balls = self.reference(low[:, lane], high[:, lane])
            for row, (lo, hi) in enumerate(balls):
                found[2 * row, lane] = max(found[2 * row, lane], lo)
                found[2 * row + 1, lane] = min(found[2 * row + 1, lane], hi)

    def reference(
        self,
        low: Sequence[float] | Array,
        high: Sequence[float] | Array,
        bits: int = REFERENCE_BITS,
    ) -> list[tuple[float, float]]:
        """Enclose the outputs on one box in ball arithmetic, at `bits` bits."""
        needed = sorted(live(self.program, self.outputs, self.faults))
        with reference.precision(bits):
            inputs = [
                reference.interval_ball(float(a), float(b)) for a, b in zip(low, high, strict=True)
            ]
            values = reference.evaluate(self.program, needed, inputs)
            return [
                (-np.inf, np.inf)
                if reference.fails(self.program, fault, values)
                else reference.outward(values[output])
                for output, fault in zip(self.outputs, self.faults, strict=True)
            ]


def _place(i: int, j: int, k: int) -> int:
    """Return the position of entry (i, j), i <= j, among the rows of an upper triangle."""
    return i * k - i * (i - 1) // 2 + (j - i)


def _with_derivatives(
    program: Program, value: int, order: int
) -> tuple[list[int], list[int | None]]:
    """Return the nodes of the value, the gradient and the upper triangle of the Hessian."""
    outputs = [value]
    if order:
        derivatives = Derivatives(program)
        gradient = derivatives.gradient(value)
        outputs += gradient
        if order == 2:
            k = len(gradient)
            outputs += [derivatives.by(gradient[i], j) for i in range(k) for j in range(i, k)]
    own = program.faults[value]
    return outputs, [program.either(own, program.faults[output]) for output in outputs]


def interval_kernel(
    expression: sp.Expr,
    symbols: Sequence[sp.Symbol],
    *,
    order: int = 0,
    parallel: bool = False,
) -> IntervalKernel:
    """Return a compiled interval kernel of an expression, with derivatives up to an order.

    The enclosure is of the expression as it is given: unevaluated z/z is undefined at 0, while
    SymPy's automatic simplification has already made z/z into 1 where evaluation is on.

    Args:
        expression: numbers, pi, E, + - * /, integer and rational powers, exp, log, sqrt, sin, cos,
            tan, atan, tanh, sinh, cosh, erf, erfc, Abs, sign, Max, Min, Piecewise of the symbols;
            a SymPy Float stands for its exact binary value.
        symbols: the inputs, in the order of the rows of a box.
        order: 0 for values, 1 also gradients, 2 also Hessians (forward mode in intervals; at kinks
            the hull of one-sided derivatives).
        parallel: share the boxes among threads; the result is the same.

    Raises:
        InputError: another function, symbol or order, or a constant that is no real number.
    """
    if order not in (0, 1, 2):
        raise InputError(f"interval_kernel: expected order 0, 1 or 2, but got {order!r}")
    inputs = tuple(symbols)
    if not inputs or len(set(inputs)) != len(inputs) or not all(s.is_Symbol for s in inputs):
        raise InputError(f"interval_kernel: expected distinct symbols, but got {symbols!r}")
    return _kernel(expression, inputs, order, parallel)


@lru_cache(maxsize=256)
def _kernel(
    expression: Any, symbols: tuple[sp.Symbol, ...], order: int, parallel: bool
) -> IntervalKernel:
    return IntervalKernel(expression, symbols, order, parallel)

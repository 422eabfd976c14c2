"""Interval kernels of SymPy expressions for a CUDA device, by the same program as on the host.

`kernel_text` prints the program of `verify_kernels.interval.kernel` with directed rounding of the
device; `cuda_kernel` runs it through CuPy. Both enclose the same values; the ends differ in the
last digits, because the compiled Python moves ends by error terms instead.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from typing import Any

import numpy as np
import sympy as sp

from verify.errors import InputError
from verify_kernels.cuda.compile import OPTIONS
from verify_kernels.cuda.subset import Module, Source
from verify_kernels.cuda.translate import loop_name, translate
from verify_kernels.elementary import coefficients, functions
from verify_kernels.interval import operations, transcendental
from verify_kernels.interval.kernel import IntervalKernel, IntervalValues, interval_kernel

LOOP = loop_name("kernel", "point")
THREADS = 256
BLOCKS = 4096


@cache
def interval_sources() -> tuple[Source, ...]:
    """Return the sources of all interval operations and of the elementary functions."""
    return tuple(map(Source.of, (coefficients, functions, operations, transcendental)))


def kernel_text(kernel: IntervalKernel, *, target: str) -> str:
    """Print an interval kernel as C, with the loop `LOOP` over boxes.

    Args:
        kernel: from `interval_kernel`.
        target: "cuda" or "host".

    Returns:
        One translation unit. The loop takes the ends of the inputs as one array of shape (2 k, n),
        the lower end of an input before its upper end, and gives those of the outputs likewise.
    """
    names = [
        f"from {module.__name__} import {name}"
        for module, source in zip((operations, transcendental), interval_sources()[2:], strict=True)
        for name in Module(source).functions
    ]
    point = Source("kernel", "\n".join([*names, kernel.point_source]))
    return translate([*interval_sources(), point], target=target, functions=["kernel:point"])


class CudaKernel:
    """A compiled expression on the device; call it with boxes there."""

    def __init__(self, kernel: IntervalKernel, xp: Any) -> None:
        """Hand the text to CuPy, which compiles it at the first call.

        Args:
            kernel: the program.
            xp: the array module, CuPy.
        """
        self.kernel = kernel
        self.xp = xp
        self.text = kernel_text(kernel, target="cuda")
        self._loop = xp.RawKernel(self.text, LOOP, options=OPTIONS)

    def __call__(self, lo: Any, hi: Any) -> IntervalValues:
        """Enclose the values on boxes [lo, hi], arrays of the device of shape (k, n).

        Returns:
            Enclosures as arrays of the device.

        Raises:
            InputError: NaN, lo > hi, an empty box, another shape or type.
        """
        xp, rows = self.xp, len(self.kernel.symbols)
        if lo.ndim != 2 or lo.shape[0] != rows or lo.shape != hi.shape:
            raise InputError(
                f"cuda_kernel: expected ends of shape ({rows}, n), but got {lo.shape}, {hi.shape}"
            )
        if lo.dtype != np.float64 or hi.dtype != np.float64:
            raise InputError(
                f"cuda_kernel: expected ends of type float64, but got {lo.dtype}, {hi.dtype}"
            )
        if not bool(xp.all((lo <= hi) & (lo < xp.inf) & (hi > -xp.inf))):
            raise InputError(
                "cuda_kernel: expected boxes with lo <= hi that contain a real point, but got ends "
                "that are NaN, out of order or infinite on the wrong side"
            )
        n = lo.shape[1]
        given = xp.empty((2 * rows, n))
        given[0::2], given[1::2] = lo, hi
        found = xp.empty((2 * len(self.kernel.outputs), n))
        blocks = max(1, min(BLOCKS, -(-n // THREADS)))
        self._loop((blocks,), (THREADS,), (np.int64(n), given, found))
        return self.kernel.unpack(found)


def cuda_kernel(
    expression: sp.Expr, symbols: Sequence[sp.Symbol], *, order: int = 0, xp: Any = None
) -> CudaKernel:
    """Return an interval kernel of an expression for a CUDA device; never chosen automatically.

    The text is compiled for devices and run on the host, with its directed rounding emulated, by
    the tests; this function itself has not run on a device.

    Args:
        expression: as for `interval_kernel`.
        symbols: the inputs, in the order of the rows of a box.
        order: 0 for values, 1 also gradients, 2 also Hessians.
        xp: the array module with `RawKernel`; CuPy when not given.

    Raises:
        ImportError: CuPy is not installed. InputError: as for `interval_kernel`.
    """
    if xp is None:
        import cupy

        xp = cupy
    return CudaKernel(interval_kernel(expression, symbols, order=order), xp)

"""The primitive operations for Numba: `llvm.fma.f64` and bit casts under the names of primitives.

Importing this module lets compiled code call the functions of `primitives.py`.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic, overload

from verify_kernels.elementary import primitives


@intrinsic
def _fma(typingctx: Any, a: Any, b: Any, c: Any) -> Any:
    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        double = ir.DoubleType()
        kind = ir.FunctionType(double, [double] * 3)
        function = cgutils.get_or_insert_function(builder.module, kind, "llvm.fma.f64")  # type: ignore[no-untyped-call]
        return builder.call(function, arguments)

    return types.float64(types.float64, types.float64, types.float64), generate


@intrinsic
def _bits(typingctx: Any, x: Any) -> Any:
    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return builder.bitcast(arguments[0], ir.IntType(64))

    return types.int64(types.float64), generate


@intrinsic
def _from_bits(typingctx: Any, i: Any) -> Any:
    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return builder.bitcast(arguments[0], ir.DoubleType())

    return types.float64(types.int64), generate


@overload(primitives.fma, jit_options={"forceinline": True}, strict=False)
def _overload_fma(a: Any, b: Any, c: Any) -> Any:
    return lambda a, b, c: _fma(a, b, c)  # type: ignore[call-arg]


@overload(primitives.bits, jit_options={"forceinline": True}, strict=False)
def _overload_bits(x: Any) -> Any:
    return lambda x: _bits(x)  # type: ignore[call-arg]


@overload(primitives.from_bits, jit_options={"forceinline": True}, strict=False)
def _overload_from_bits(i: Any) -> Any:
    return lambda i: _from_bits(i)  # type: ignore[call-arg]


@overload(primitives.to_int, jit_options={"forceinline": True}, strict=False)
def _overload_to_int(x: Any) -> Any:
    return lambda x: np.int64(x)


@overload(primitives.to_float, jit_options={"forceinline": True}, strict=False)
def _overload_to_float(i: Any) -> Any:
    return lambda i: np.float64(i)

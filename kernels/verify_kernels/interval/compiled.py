"""The functions of the restricted subset, compiled by Numba for use inside other compiled code."""

from __future__ import annotations

from functools import cache
from types import FunctionType
from typing import Any

import numba

from verify_kernels.elementary import intrinsics  # registers the primitives with the compiler

SOURCES = (
    "verify_kernels.interval.directed",
    "verify_kernels.interval.operations",
    "verify_kernels.interval.transcendental",
    "verify_kernels.elementary.functions",
)
__all__ = ["OPTIONS", "SOURCES", "compiled", "intrinsics"]

OPTIONS = {"error_model": "numpy", "fastmath": False, "nogil": True}


@cache
def compiled(function: FunctionType) -> Any:
    """Return the compiled form of a function of the subset and of all it calls.

    Always inlined, so that a loop over points stays one loop that the compiler vectorises.
    """
    namespace = dict(function.__globals__)
    for name in function.__code__.co_names:
        value = namespace.get(name)
        if isinstance(value, FunctionType) and value.__module__ in SOURCES:
            namespace[name] = compiled(value)
    copy = FunctionType(function.__code__, namespace, function.__name__)
    return numba.njit(copy, forceinline=True, **OPTIONS)

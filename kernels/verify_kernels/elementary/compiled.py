"""The elementary functions compiled by Numba from the one source, for scalars.

Importing this module lets any compiled code call the functions of `functions.py` themselves; the
names below (`exp`, ...) are the same functions compiled for direct use. They hold on the domains of
`bounds.py`. No function is compiled with ``fastmath``.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

import numba
from numba.extending import register_jitable

from verify_kernels.elementary import functions, intrinsics, primitives
from verify_kernels.elementary.bounds import BOUNDS

__all__ = ["SCALAR", "intrinsics"]


def _register() -> None:
    for _, function in inspect.getmembers(functions, inspect.isfunction):
        if function.__module__ == functions.__name__:
            register_jitable(forceinline=True, error_model="numpy")(function)


_register()

# name -> compiled scalar function of one binary64 number
SCALAR: dict[str, Callable[[float], float]] = {
    name: numba.njit(forceinline=True, error_model="numpy")(getattr(functions, f"{name}_core"))
    for name in BOUNDS
}


def loop(core: Any) -> Callable[..., None]:
    """Return a compiled loop ``loop(x, out)`` over contiguous vectors with the function inlined."""

    @numba.njit(error_model="numpy")
    def run(x: Any, out: Any) -> None:
        for i in range(x.size):
            out[i] = core(x[i])

    return run


@numba.njit
def scalar_fma(a: float, b: float, c: float) -> float:
    """Return a b + c as compiled code rounds it."""
    return primitives.fma(a, b, c)

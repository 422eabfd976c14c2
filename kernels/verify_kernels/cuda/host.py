"""The same text for the host: compiled by the C compiler at hand and called through ctypes.

It stands in for a device where there is none: the intrinsics of the device are emulated by changing
the rounding mode, so the results of directed operations are those of the device bit for bit.
"""

from __future__ import annotations

import ctypes
import platform
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import ArrayLike

from verify.errors import BackendError
from verify_kernels._rounding import Array
from verify_kernels.cuda.dialects import HOST_FLAGS


def compiler() -> str | None:
    """Return the path of a C compiler that knows `-frounding-math`, or None."""
    return shutil.which("gcc")


def flags() -> tuple[str, ...]:
    """Return the compiler's options: strict arithmetic, and the fused instruction where it exists.

    Without the instruction `fma` is the C library's function, which rounds once as well.
    """
    cpu = Path("/proc/cpuinfo")
    fused = platform.machine() == "x86_64" and cpu.exists() and " fma " in cpu.read_text()
    return (*HOST_FLAGS, "-mfma") if fused else HOST_FLAGS


class HostLibrary:
    """A translation unit compiled for the host."""

    def __init__(self, text: str, folder: Path, *, name: str = "dialect") -> None:
        """Compile the text into a shared object in the folder and load it.

        Raises:
            BackendError: there is no compiler, or it refuses the text.
        """
        found = compiler()
        if found is None:
            raise BackendError("HostLibrary: expected gcc on the path, but got none")
        source, built = folder / f"{name}.c", folder / f"{name}.so"
        source.write_text(text, encoding="utf-8")
        command = [found, *flags(), str(source), "-o", str(built), "-lm"]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode:
            raise BackendError(
                f"HostLibrary: expected text that compiles, but got {done.stderr[:2000]!r}"
            )
        self._library = ctypes.CDLL(str(built))

    def run(self, loop: str, given: Sequence[ArrayLike], results: int) -> Array:
        """Call a loop over points.

        Args:
            loop: its name, from `translate.loop_name`.
            given: the arguments, each of shape (n,).
            results: the number of results.

        Returns:
            The results, shape (results, n).
        """
        stacked = np.ascontiguousarray(np.stack([np.asarray(x, dtype=np.float64) for x in given]))
        found = np.empty((results, stacked.shape[1]))
        pointer = ctypes.POINTER(ctypes.c_double)
        self._library[loop](
            ctypes.c_longlong(stacked.shape[1]),
            stacked.ctypes.data_as(pointer),
            found.ctypes.data_as(pointer),
        )
        return found

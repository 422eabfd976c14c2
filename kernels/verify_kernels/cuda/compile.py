"""CUDA text to device code by nvcc or NVRTC, without a device."""

from __future__ import annotations

import ctypes
import os
import re
import shutil
import subprocess
import tempfile
from ctypes.util import find_library
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from verify.errors import BackendError

# Contraction would turn a product and a sum into one operation and void the proofs.
OPTIONS = ("--fmad=false",)
ARCHITECTURES = ("sm_80", "sm_90")


@dataclass(frozen=True)
class Compiled:
    """Device code for one architecture and what the assembler said about its kernels.

    `registers` is the largest number of a kernel, `spilled_bytes` the sum; None where the compiler
    does not tell.
    """

    architecture: str
    code: bytes
    registers: int | None
    spilled_bytes: int | None

    @classmethod
    def of(cls, architecture: str, code: bytes, said: str) -> Compiled:
        """Read what the assembler said."""
        registers = [int(count) for count in re.findall(r"Used (\d+) registers", said)]
        spilled = [int(count) for count in re.findall(r"(\d+) bytes spill", said)]
        return cls(
            architecture,
            code,
            max(registers) if registers else None,
            sum(spilled) if spilled else None,
        )


def _home() -> str | None:
    return os.environ.get("CUDA_HOME") or os.environ.get("CUDA_PATH")


def nvcc() -> str | None:
    """Return the path of nvcc, on the path or under CUDA_HOME, or None."""
    home = _home()
    return shutil.which("nvcc") or (shutil.which("nvcc", path=f"{home}/bin") if home else None)


def nvrtc() -> str | None:
    """Return the path or name of the NVRTC library, of the system or of a package, or None."""
    folders = [Path(home) / "lib64"] if (home := _home()) else []
    spec = find_spec("nvidia")
    for place in spec.submodule_search_locations or [] if spec else []:
        folders += sorted(Path(place).glob("*/lib"))
    for folder in folders:
        for path in sorted(folder.glob("libnvrtc.so*")):
            return str(path)
    return find_library("nvrtc")


def compile_cuda(text: str, architecture: str) -> Compiled:
    """Compile CUDA text to a cubin, by nvcc if it is there, else by NVRTC.

    Args:
        text: from `translate(..., target="cuda")`.
        architecture: such as "sm_90".

    Raises:
        BackendError: there is neither compiler, or it refuses the text.
    """
    if nvcc():
        return compile_by_nvcc(text, architecture)
    return compile_by_nvrtc(text, architecture)


def compile_by_nvcc(text: str, architecture: str) -> Compiled:
    """Compile by nvcc.

    Raises:
        BackendError: there is no nvcc, or it refuses the text.
    """
    found = nvcc()
    if found is None:
        raise BackendError("compile_cuda: expected nvcc or NVRTC, but found neither")
    with tempfile.TemporaryDirectory() as folder:
        source, built = Path(folder) / "kernel.cu", Path(folder) / "kernel.cubin"
        source.write_text(text, encoding="utf-8")
        command = [found, "-cubin", f"-arch={architecture}", *OPTIONS, "-Xptxas", "-v"]
        command += ["-o", str(built), str(source)]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode:
            raise _refused(architecture, done.stderr)
        return Compiled.of(architecture, built.read_bytes(), done.stderr + done.stdout)


def compile_by_nvrtc(text: str, architecture: str) -> Compiled:
    """Compile by NVRTC, the compiler that CuPy uses.

    Raises:
        BackendError: there is no NVRTC, or it refuses the text.
    """
    found = nvrtc()
    if found is None:
        raise BackendError("compile_cuda: expected nvcc or NVRTC, but found neither")
    if Path(found).is_absolute():
        for beside in sorted(Path(found).parent.glob("libnvrtc-builtins.so*")):
            ctypes.CDLL(str(beside))  # the compiler looks for it by name only
    library = ctypes.CDLL(found)
    program = ctypes.c_void_p()
    given = text.encode()
    if library.nvrtcCreateProgram(ctypes.byref(program), given, b"kernel.cu", 0, None, None):
        raise _refused(architecture, "no program")
    try:
        options = [f"--gpu-architecture={architecture}".encode()]
        options += [option.encode() for option in OPTIONS]
        array = (ctypes.c_char_p * len(options))(*options)
        failed = library.nvrtcCompileProgram(program, len(options), array)
        said = _fetch(library, "ProgramLog", program).rstrip(b"\0").decode(errors="replace")
        if failed:
            raise _refused(architecture, said)
        return Compiled.of(architecture, _fetch(library, "CUBIN", program), said)
    finally:
        library.nvrtcDestroyProgram(ctypes.byref(program))


def _fetch(library: Any, what: str, program: ctypes.c_void_p) -> bytes:
    size = ctypes.c_size_t()
    getattr(library, f"nvrtcGet{what}Size")(program, ctypes.byref(size))
    content = ctypes.create_string_buffer(size.value)
    getattr(library, f"nvrtcGet{what}")(program, content)
    return content.raw


def _refused(architecture: str, said: str) -> BackendError:
    return BackendError(
        f"compile_cuda: expected text that compiles for {architecture}, but got {said[:2000]!r}"
    )

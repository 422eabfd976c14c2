"""CUDA text to device code by nvcc, without a device."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

from verify.errors import BackendError

# Contraction would turn a product and a sum into one operation and void the proofs.
OPTIONS = ("--fmad=false",)
ARCHITECTURES = ("sm_80", "sm_90")


@dataclass(frozen=True)
class Compiled:
    """Device code for one architecture and what the assembler said about each kernel.

    `registers` and `spilled_bytes` are the largest over the kernels.
    """

    architecture: str
    code: bytes
    registers: int
    spilled_bytes: int


def nvcc() -> str | None:
    """Return the path of nvcc, on the path or under CUDA_HOME, or None."""
    home = os.environ.get("CUDA_HOME") or os.environ.get("CUDA_PATH")
    return shutil.which("nvcc") or (shutil.which("nvcc", path=f"{home}/bin") if home else None)


def compile_cuda(text: str, architecture: str, folder: Path, *, name: str = "kernel") -> Compiled:
    """Compile CUDA text to a cubin.

    Args:
        text: from `translate(..., target="cuda")`.
        architecture: such as "sm_90".
        folder: where the text and the cubin are written.
        name: the name of both files.

    Raises:
        BackendError: there is no nvcc, or it refuses the text.
    """
    found = nvcc()
    if found is None:
        raise BackendError("compile_cuda: expected nvcc on the path, but got none")
    source, built = folder / f"{name}.cu", folder / f"{name}.{architecture}.cubin"
    source.write_text(text, encoding="utf-8")
    command = [found, "-cubin", f"-arch={architecture}", *OPTIONS, "-Xptxas", "-v"]
    command += ["-o", str(built), str(source)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise BackendError(
            f"compile_cuda: expected text that compiles for {architecture}, "
            f"but got {done.stderr[:2000]!r}"
        )
    said = done.stderr + done.stdout
    return Compiled(
        architecture=architecture,
        code=built.read_bytes(),
        registers=max(map(int, re.findall(r"Used (\d+) registers", said)), default=0),
        spilled_bytes=sum(map(int, re.findall(r"(\d+) bytes spill", said))),
    )

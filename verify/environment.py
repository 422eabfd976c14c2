"""What a check ran on, for the provenance of a certificate: package versions, platform, device."""

from __future__ import annotations

import os
import platform
import re
from functools import cache
from importlib.metadata import PackageNotFoundError, version

_PACKAGES = (
    "verify-nn", "numpy", "scipy", "sympy", "numba", "python-flint", "safetensors", "cupy-cuda13x",
    "cvxpy", "clarabel",
)  # fmt: skip


def environment() -> dict[str, str]:
    """Return names to versions of what is installed, ``python``, ``platform`` and ``device``.

    It reads metadata only: no package is imported, so it costs milliseconds.
    """
    return dict(_environment())


@cache
def _environment() -> tuple[tuple[str, str], ...]:
    found = {"python": platform.python_version(), "platform": platform.platform()}
    for package in _PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    found["device"] = f"{_processor()}, {os.cpu_count() or 1} CPUs"
    return tuple(found.items())


def _processor() -> str:
    """Return the name of the processor, as Linux or the platform tells it."""
    try:
        with open("/proc/cpuinfo", encoding="utf-8", errors="replace") as lines:
            for line in lines:
                if match := re.match(r"model name\s*:\s*(.+)", line):
                    return " ".join(match[1].split())
    except OSError:
        pass
    return platform.processor() or platform.machine() or "unknown processor"

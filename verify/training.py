"""The procedures of the theories, by name: ``from verify.training import EEWrapper``.

They arrive by entry points (group ``verify.procedures``); importing this module loads none of them.
"""

from __future__ import annotations

from typing import Any

from verify import registry
from verify.errors import PluginError


def __getattr__(name: str) -> Any:
    if name.startswith("_") or name not in registry.names("procedures"):
        raise AttributeError(f"module 'verify.training' has no procedure {name!r}")
    try:
        return registry.load("procedures", name)
    except PluginError as error:
        raise ImportError(str(error)) from error


def __dir__() -> list[str]:
    return registry.names("procedures")

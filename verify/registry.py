"""Plug-ins by entry points: conditions, backends, readers, reports, reproductions.

The built-ins arrive the same way as anyone else's. A plug-in that fails to load is reported by
name and does not stop the others; a name claimed twice is an error. ``VERIFY_NO_PLUGINS=1``
loads only what this distribution brings.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from importlib.metadata import EntryPoint, entry_points
from typing import Any

from verify.errors import PluginError

DISTRIBUTION = "verify-nn"
GROUPS = ("conditions", "backends", "readers", "reports", "procedures", "reproductions")


@dataclass(frozen=True)
class Plugin:
    """One installed entry point; ``failure`` is the reason if it did not load."""

    group: str
    name: str
    target: str
    distribution: str
    failure: str = ""


@cache
def _points(group: str) -> dict[str, EntryPoint]:
    if group not in GROUPS:
        raise PluginError(f"registry: expected one of {GROUPS}, but got {group!r}")
    found: dict[str, EntryPoint] = {}
    for point in entry_points(group=f"verify.{group}"):
        if os.environ.get("VERIFY_NO_PLUGINS") == "1" and _distribution(point) != DISTRIBUTION:
            continue
        other = found.get(point.name)
        if other is not None and other.value != point.value:
            raise PluginError(
                f"registry: expected one plug-in named {point.name!r} in verify.{group}, but got "
                f"{other.value} and {point.value}; uninstall one of them"
            )
        found[point.name] = point
    return found


def _distribution(point: EntryPoint) -> str:
    return point.dist.name if point.dist is not None else ""


def names(group: str) -> list[str]:
    """Return the names in a group, sorted, without loading anything."""
    return sorted(_points(group))


@cache
def load(group: str, name: str) -> Any:
    """Return the object of one entry point.

    Raises:
        PluginError: no such name, or its module cannot be imported.
    """
    points = _points(group)
    if name not in points:
        raise PluginError(f"verify.{group}: expected one of {sorted(points)}, but got {name!r}")
    try:
        return points[name].load()
    except Exception as error:
        raise PluginError(
            f"verify.{group}: expected plug-in {name!r} ({points[name].value}) to load, "
            f"but got {type(error).__name__}: {error}"
        ) from error


class _Plugins(Mapping[str, Any]):
    """The objects of a group by name, each loaded when it is asked for.

    What another distribution adds and does not load is not there; one of our own raises.
    """

    def __init__(self, group: str) -> None:
        self._group = group

    def __getitem__(self, name: str) -> Any:
        points = _points(self._group)
        if name not in points:
            raise KeyError(name)
        try:
            return load(self._group, name)
        except PluginError as error:
            if _distribution(points[name]) == DISTRIBUTION:
                raise
            raise KeyError(name) from error

    def __iter__(self) -> Iterator[str]:
        return (name for name in names(self._group) if name in self)

    def __len__(self) -> int:
        return sum(1 for _ in self)


def conditions() -> Mapping[str, Any]:
    """Return every condition that loads, by name."""
    return _Plugins("conditions")


def reports() -> Mapping[str, Callable[..., str]]:
    """Return every renderer that loads, by name."""
    return _Plugins("reports")


def reproductions() -> Mapping[str, Callable[..., int]]:
    """Return every reproduction that loads, by name."""
    return _Plugins("reproductions")


def plugins() -> list[Plugin]:
    """Return all entry points of all groups, each loaded once to see whether it can be."""
    listed = []
    for group in GROUPS:
        for name in names(group):
            point = _points(group)[name]
            try:
                load(group, name)
                failure = ""
            except PluginError as error:
                failure = str(error)
            listed.append(Plugin(group, name, point.value, _distribution(point), failure))
    return listed


def failures() -> list[Plugin]:
    """Return the plug-ins that did not load; their conditions count as not proved."""
    return [plugin for plugin in plugins() if plugin.failure]

"""The command that repeats a check, for reports and failing tests."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence


def command_line(
    model: str,
    *,
    texts: Mapping[str, str | None],
    conditions: Sequence[str] = (),
    settings: Mapping[str, str] | None = None,
    backend: str = "auto",
    budget: float = 10.0,
    all_routes: bool = False,
    trust: bool = False,
) -> str:
    """Return ``verify check ...`` with the flags that differ from their defaults.

    ``texts`` holds the flags with one text, by name without dashes; None leaves one out.
    """
    words = ["verify", "check", model]
    for name, value in texts.items():
        words += [f"--{name}", value] if value is not None else []
    for condition in conditions:
        words += ["--condition", condition]
    for name, value in (settings or {}).items():
        words += ["--set", f"{name}={value}"]
    words += ["--backend", backend] if backend != "auto" else []
    words += ["--budget", f"{budget:g}"] if budget != 10.0 else []
    switches = {"--all-routes": all_routes, "--trust": trust}
    return shlex.join([*words, *(name for name, is_set in switches.items() if is_set)])

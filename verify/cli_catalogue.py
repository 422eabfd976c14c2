"""``verify list``, ``explain``, ``plugins``, and how ``reproduce`` and ``demo`` find their runs.

All text is derived from the condition objects; nothing about a theorem is written here.
"""

from __future__ import annotations

import textwrap
from collections.abc import Callable, Iterable
from importlib.metadata import entry_points
from typing import TYPE_CHECKING

from verify import registry
from verify.cli_words import printable
from verify.errors import PluginError, SettingsError

if TYPE_CHECKING:
    from verify.condition import Condition, Route
    from verify.statement import Statement

_WIDTH = 80
_LEADS = {
    "sufficient": "If this holds, then",
    "necessary": "Only if this holds,",
    "equivalent": "If and only if this holds,",
}
_USES = {
    "sufficient": "proved shows the goal; refuted says nothing about it",
    "necessary": "refuted shows that the goal is false; proved says nothing about it",
    "equivalent": "proved shows the goal; refuted shows that it is false",
}


def list_text() -> str:
    """Return the installed conditions, what each needs and where it comes from."""
    points = {point.name: point for point in entry_points(group="verify.conditions")}
    lines: list[str] = []
    for name in registry.names("conditions"):
        origin = points[name].dist
        try:
            condition = registry.load("conditions", name)
        except PluginError as error:
            lines += [f"{printable(name)}: failed to load", *_wrapped(str(error), 2)]
            continue
        lines += [
            f"{printable(name)}: {printable(condition.title)}",
            *_wrapped(f"needs {condition.needs}", 2),
            *_wrapped(f"from {origin.name if origin else 'an unnamed distribution'}", 2),
        ]
    return "\n".join([*lines, "", "verify explain NAME tells the goals, routes and sources."])


def explain_text(name: str) -> str:
    """Return everything about a condition that a person needs to judge its answer.

    Raises:
        SettingsError: no such condition.
    """
    installed = registry.conditions()
    if name not in installed:
        raise SettingsError(
            f"verify explain: expected one of {', '.join(sorted(installed))}, but got {name!r}"
        )
    condition = installed[name]
    lines = [printable(condition.title), f"condition {name}", "", "Goals"]
    for goal in condition.goals:
        implied = f" (implied by {', '.join(goal.implied_by)})" if goal.implied_by else ""
        lines += _wrapped(f"{goal.name}: {goal.sentence}{implied}", 2)
    lines += ["", "Needs", *_wrapped(condition.needs, 2)]
    if condition.settings:
        lines += ["", "Settings"]
        for key, meaning in condition.settings.items():
            lines += _wrapped(f"--set {name}.{key}=VALUE: {meaning}", 2)
    lines += ["", f"Routes ({len(condition.routes)}, in the order in which they are tried)"]
    shared = _shared(condition)
    for assumption in shared:
        lines += _wrapped(f"each assumes: {assumption}", 2)
    told: dict[str, str] = {}
    for route in sorted(condition.routes, key=lambda route: route.cost == "expensive"):
        lines += ["", *_route(condition, route, shared, told)]
    return "\n".join(lines)


def _shared(condition: Condition) -> list[str]:
    """Return what every statement of a condition assumes."""
    statements = [statement for route in condition.routes for statement in route.statements]
    first = statements[0].assumes if len(statements) > 1 else ()
    return [text for text in first if all(text in each.assumes for each in statements)]


def _route(
    condition: Condition, route: Route, shared: list[str], told: dict[str, str]
) -> list[str]:
    """Return a route as text; a statement that was told before is named by its route."""
    cost = "always tried" if route.cost == "cheap" else "tried while the goal is open"
    lines = [f"  {printable(route.title)} [{printable(route.name)}]"]
    goal = f" goal {route.goal}," if len(condition.goals) > 1 else ""
    lines += _wrapped(f"{route.direction} for the{goal or ' goal,'} {cost}", 4)
    for statement in route.statements:
        text = "\n".join(_statement(statement, shared))
        if text in told:
            lines += _wrapped(f"the statement of [{printable(told[text])}]", 4)
        else:
            lines.append(text)
        told.setdefault(text, route.name)
    lines += _wrapped(f"what it decides: {_USES[route.direction]}", 4)
    return lines


def _statement(statement: Statement, shared: list[str]) -> list[str]:
    text = printable(statement.text()).replace(" & ", " and ").replace(" | ", " or ")
    text = text.replace("**", "^")
    lines = ["", *_wrapped(text, 6)]
    for item in statement.about:
        if str(item.symbol) in text.replace(item.meaning, ""):
            lines += _wrapped(f"{item.symbol} = {item.meaning}", 8)
    lines += _wrapped(f"{_LEADS[statement.direction]} {statement.conclusion}.", 4)
    lines += _wrapped(f"source: {statement.source.key}, {statement.source.where}", 4)
    for assumption in statement.assumes:
        if assumption not in shared:
            lines += _wrapped(f"assumes: {assumption}", 4)
    lines += _wrapped("passes when this can be proved with all rounding accounted for", 4)
    return lines


def plugins_text() -> str:
    """Return every entry point with the reason if it did not load."""
    lines, group = [], ""
    for plugin in registry.plugins():
        if plugin.group != group:
            lines += ([""] if group else []) + [f"verify.{plugin.group}"]
            group = plugin.group
        state = "failed" if plugin.failure else "ok"
        lines.append(f"  {state:6} {printable(plugin.name)}  {plugin.distribution} {plugin.target}")
        if plugin.failure:
            lines += _wrapped(plugin.failure, 9)
    return "\n".join(lines)


def reproduction(name: str) -> Callable[..., int]:
    """Return the run of that name.

    Raises:
        SettingsError: no such name.
    """
    known = registry.names("reproductions")
    if name not in known:
        raise SettingsError(
            f"verify reproduce: expected one of {', '.join(known)}, but got {name!r}"
        )
    found: Callable[..., int] = registry.load("reproductions", name)
    return found


def _wrapped(text: str, indent: int) -> Iterable[str]:
    space = " " * indent
    return textwrap.wrap(
        printable(text),
        _WIDTH,
        initial_indent=space,
        subsequent_indent=space + "  ",
        break_long_words=False,
        break_on_hyphens=False,
    )

"""Which stored tensors training changes, as declared; no file tells it and nothing is guessed."""

from __future__ import annotations

from collections.abc import Mapping
from fractions import Fraction
from typing import Any

from verify.errors import SettingsError
from verify.exact import parse_exact
from verify.network import Feedforward, Graph, TwoLayer

# Beyond, inputs and perturbations would leave the range of binary64.
_LARGEST = Fraction(10**100)


def aliases(network: Any) -> dict[str, str]:
    """Return the family's own names of tensors, to the roles of the graph."""
    if isinstance(network, TwoLayer):
        return {"W": "linear1.weight", "b": "linear1.bias",
                "a": "linear2.weight", "c": "linear2.bias"}  # fmt: skip
    if isinstance(network, Feedforward):
        layers = range(1, len(network.weights) + 1)
        named = {f"W{k}": f"linear{k}.weight" for k in layers}
        return named | {f"b{k}": f"linear{k}.bias" for k in layers}
    return {}


def frozen_roles(condition: str, text: str, network: Any, graph: Graph) -> frozenset[str]:
    """Return the roles of the graph that ``frozen`` names: none, or roles separated by commas.

    Raises:
        SettingsError: a role that the network does not have.
    """
    if text.strip() == "none":
        return frozenset()
    own, found = aliases(network), set()
    for part in text.split(","):
        role = own.get(part.strip(), part.strip())
        if role not in graph.stored:
            known = sorted(network.tensors())
            shown = ", ".join(known[:12]) + (", ..." if len(known) > 12 else "")
            raise SettingsError(
                f"--set {condition}.frozen: expected none, or roles among {shown}, "
                f"but got {part.strip()[:80]!a}"
            )
        found.add(role)
    return frozenset(found)


def positive(condition: str, settings: Mapping[str, str], key: str) -> Fraction | None:
    """Return a declared positive number, exactly, or None.

    Raises:
        SettingsError: malformed, or not between 1e-100 and 1e100.
    """
    if key not in settings:
        return None
    value = parse_exact(settings[key], where=f"--set {condition}.{key}")
    if not 1 / _LARGEST <= value <= _LARGEST:
        raise SettingsError(
            f"--set {condition}.{key}: expected a positive number between 1e-100 and 1e100, "
            f"but got {settings[key][:80]!a}"
        )
    return value

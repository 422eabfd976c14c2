"""Which stored tensors training changes, as declared; no file tells it and nothing is guessed."""

from __future__ import annotations

from collections.abc import Mapping
from fractions import Fraction
from typing import Any

from verify.condition import NotApplicable
from verify.errors import SettingsError
from verify.evidence import Evidence
from verify.exact import parse_exact
from verify.network import Feedforward, Graph, TwoLayer, graph_of
from verify.verdict import Truth

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

    A tensor that is stored once is frozen in all its roles by any of them.

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
    for group in graph.ties:
        if found & set(group):
            found |= set(group)
    return frozenset(found)


def frozen_tensors(condition: str, settings: Mapping[str, str], network: Any) -> frozenset[str]:
    """Return what ``frozen`` names, which must be declared; roles of the graph if there is one.

    Raises:
        SettingsError: nothing declared, or a role that the network does not have.
    """
    if "frozen" not in settings:
        raise SettingsError(
            f"{condition}: expected to be told which tensors training changes, but got nothing; "
            f"add --set {condition}.frozen=none if all stored tensors are trained, else the list "
            "of frozen ones"
        )
    graph = graph_of(network)
    if graph is not None:
        return frozen_roles(condition, settings["frozen"], network, graph)
    return _own_roles(condition, settings["frozen"], network)


def _own_roles(condition: str, text: str, network: Any) -> frozenset[str]:
    """Return the roles of a network without a graph, by their last part or in full."""
    if text.strip() == "none":
        return frozenset()
    roles = list(network.tensors())
    known = {role.rpartition(".")[2]: role for role in roles} | {role: role for role in roles}
    found = set()
    for part in text.split(","):
        if part.strip() not in known:
            raise SettingsError(
                f"--set {condition}.frozen: expected none, or roles among "
                f"{', '.join(sorted(roles))}, but got {part.strip()[:80]!a}"
            )
        found.add(known[part.strip()])
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


def output_layer(condition: str, graph: Graph) -> int:
    """Return the index of the affine layer that gives the outputs.

    Raises:
        NotApplicable: the network does not end in one, or is no function of one sample.
    """
    for node in graph.nodes:
        random = node.op == "dropout" or (node.op == "batch_norm" and node.attributes["training"])
        if random:
            raise NotApplicable(
                f"{node.name} is in training form, so the outputs are no function of the sample; "
                "export the network in evaluation form"
            )
    last = graph.last_affine
    after = [node for node in graph.nodes[(last or 0) + 1 :] if node.op != "reshape"]
    if last is None or after:
        raise NotApplicable(
            f"{condition} is stated for squares of the outputs of a last affine layer, and this "
            f"network ends in {graph.line(graph.nodes[-1])[:160]}"
        )
    return last


def output_roles(graph: Graph, frozen: frozenset[str]) -> frozenset[str]:
    """Return the roles of the last layer that training changes and no other layer reads.

    By a tensor that is read elsewhere too the derivative has more parts than that of this layer.
    """
    shared = frozenset(role for group in graph.ties for role in group)
    return frozenset(graph.nodes[graph.last_affine or 0].parameters.values()) - frozen - shared


def hidden_roles(graph: Graph, frozen: frozenset[str]) -> tuple[frozenset[str], bool]:
    """Return all roles but the `output_roles`, and whether the bias is one of those."""
    kept = output_roles(graph, frozen)
    bias = graph.nodes[graph.last_affine or 0].parameters.get("bias")
    return frozenset(graph.stored) - kept, bias in kept


def last_weight_trained(graph: Graph | None, frozen: frozenset[str]) -> Evidence:
    """Decide whether the output weights are trained, and read by no other layer.

    Args:
        graph: None for the implicit network with u and v.
        frozen: roles that training does not change.
    """
    if graph is None:
        wanted, kept = {"readout.u", "readout.v"}, {"readout.u", "readout.v"} - frozen
    else:
        wanted = {graph.nodes[graph.last_affine or 0].parameters["weight"]}
        kept = wanted & output_roles(graph, frozen)
    if wanted == kept:
        return Evidence(Truth.PROVED, how="as declared")
    if wanted & frozen:
        return Evidence(Truth.REFUTED, how="it is declared frozen")
    return Evidence(Truth.REFUTED, how="another layer reads the same tensor")

"""What is declared about the network for the expressivity condition; nothing is guessed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

from verify.errors import SettingsError
from verify.exact import parse_exact
from verify.network import Feedforward, Graph, TwoLayer
from verify_conditions.expressivity.losses import loss_named

SETTINGS = {
    "frozen": "the stored tensors that training does not change: none, or roles separated by "
    "commas (W1, b2; conv1.weight, ...). A tensor that a mask or a constraint keeps from some "
    "values counts as frozen. Needed by Theorem D and by drawn weights",
    "loss": "half-squares, mean-squares, cross-entropy, logistic or soft-cross-entropy: for the "
    "constants and rates of the last layer",
    "input_divisor": "the inputs are the stored numbers divided by this, exactly (255 for pixels); "
    "default 1",
    "seed": "a whole number: of the weights that are drawn; default 0",
    "scale": "size of the perturbation relative to each tensor's root mean square; default 1/20",
}
UNCONSTRAINED = (
    "hidden tensors that are not declared frozen take any values in training: no mask and no "
    "constraint holds their entries"
)
"""What a declaration is taken to say; no file tells it."""
_SCALE = Fraction(1, 20)
# Beyond, inputs and perturbations would leave the range of binary64.
_LARGEST = Fraction(10**100)


@dataclass(frozen=True)
class Declared:
    """The settings, read.

    Args:
        frozen: roles of the graph that training does not change, or None if not declared.
        loss: name of a loss, or None.
        divisor: the inputs are the stored numbers divided by it.
        seed, scale: of the weights that are drawn.
    """

    frozen: frozenset[str] | None = None
    loss: str | None = None
    divisor: Fraction = Fraction(1)
    seed: int = 0
    scale: Fraction = _SCALE


def read(settings: Mapping[str, str], network: Any, graph: Graph) -> Declared:
    """Return what is declared.

    Raises:
        SettingsError: a malformed value, or a role that the network does not have.
    """
    loss = settings.get("loss")
    if loss is not None:
        loss_named(loss)
    frozen = settings.get("frozen")
    return Declared(
        None if frozen is None else _roles(frozen, network, graph),
        loss,
        _positive(settings, "input_divisor", Fraction(1)),
        _seed(settings.get("seed", "0")),
        _positive(settings, "scale", _SCALE),
    )


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


def _roles(text: str, network: Any, graph: Graph) -> frozenset[str]:
    if text.strip() == "none":
        return frozenset()
    own, found = aliases(network), set()
    for part in text.split(","):
        role = own.get(part.strip(), part.strip())
        if role not in graph.stored:
            known = sorted(network.tensors())
            shown = ", ".join(known[:12]) + (", ..." if len(known) > 12 else "")
            raise SettingsError(
                f"--set expressivity.frozen: expected none, or roles among {shown}, "
                f"but got {part.strip()[:80]!a}"
            )
        found.add(role)
    return frozenset(found)


def _positive(settings: Mapping[str, str], key: str, default: Fraction) -> Fraction:
    if key not in settings:
        return default
    value = parse_exact(settings[key], where=f"--set expressivity.{key}")
    if not 1 / _LARGEST <= value <= _LARGEST:
        raise SettingsError(
            f"--set expressivity.{key}: expected a positive number between 1e-100 and 1e100, "
            f"but got {settings[key][:80]!a}"
        )
    return value


def _seed(text: str) -> int:
    if not (text.isascii() and text.isdigit() and len(text) < 19):
        raise SettingsError(
            f"--set expressivity.seed: expected a whole number >= 0, but got {text[:40]!a}"
        )
    return int(text)

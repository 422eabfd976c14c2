"""What is declared about the network for the expressivity condition; nothing is guessed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

from verify.errors import SettingsError
from verify.network import Graph
from verify_conditions.expressivity.losses import loss_named
from verify_conditions.trained_tensors import frozen_roles, positive

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
        None if frozen is None else frozen_roles("expressivity", frozen, network, graph),
        loss,
        positive("expressivity", settings, "input_divisor") or Fraction(1),
        _seed(settings.get("seed", "0")),
        positive("expressivity", settings, "scale") or _SCALE,
    )


def _seed(text: str) -> int:
    if not (text.isascii() and text.isdigit() and len(text) < 19):
        raise SettingsError(
            f"--set expressivity.seed: expected a whole number >= 0, but got {text[:40]!a}"
        )
    return int(text)

"""What is declared about training for `converges-from-here`; nothing is guessed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

from verify.errors import SettingsError
from verify.exact import parse_exact
from verify_conditions.square_loss import SCALES, read_loss
from verify_conditions.trained_tensors import frozen_tensors, positive

NAME = "converges-from-here"
SETTINGS = {
    "frozen": "required: the stored tensors that training does not change: none, or roles "
    "separated by commas (W1, b2; A, u of an implicit network)",
    "loss": "half-sum-squares (default), sum-squares, half-mean-squares or mean-squares (torch's "
    "MSELoss for one output)",
    "step": "step of full-batch gradient descent; then the verdict is about gradient descent with "
    "that step, else about the gradient flow",
    "radius": "only this radius of the ball around the weights is tried",
    "weight_decay": "lambda of a penalty (lambda/2) ||theta||^2 on every trained tensor; default 0",
    "input_divisor": "the inputs are the stored numbers divided by this, exactly (255 for pixels); "
    "default 1",
}


@dataclass(frozen=True)
class Declared:
    """The settings, read.

    Args:
        frozen: roles that training does not change.
        loss: name of the loss.
        step, radius: exact, or None.
        decay: of a penalty on all trained tensors, >= 0.
        divisor: the inputs are the stored numbers divided by it.
    """

    frozen: frozenset[str]
    loss: str
    step: Fraction | None = None
    radius: Fraction | None = None
    decay: Fraction = Fraction(0)
    divisor: Fraction = Fraction(1)

    def scale(self, n: int) -> Fraction:
        """s: the loss is s/2 times the sum of squares."""
        return SCALES[self.loss](n)


def read(settings: Mapping[str, str], network: Any) -> Declared:
    """Return what is declared.

    Raises:
        NotApplicable: a loss other than squares.
        SettingsError: a malformed value, an unknown role, or nothing said of frozen tensors.
    """
    return Declared(
        frozen_tensors(NAME, settings, network),
        read_loss(NAME, settings),
        positive(NAME, settings, "step"),
        positive(NAME, settings, "radius"),
        _decay(settings),
        positive(NAME, settings, "input_divisor") or Fraction(1),
    )


def _decay(settings: Mapping[str, str]) -> Fraction:
    if "weight_decay" not in settings:
        return Fraction(0)
    value = parse_exact(settings["weight_decay"], where=f"--set {NAME}.weight_decay")
    if not 0 <= value <= 10**100:
        raise SettingsError(
            f"--set {NAME}.weight_decay: expected a number between 0 and 1e100, "
            f"but got {settings['weight_decay'][:80]!a}"
        )
    return value

"""What is declared for `gradient-inequality`; nothing is guessed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

from verify.errors import SettingsError
from verify.exact import parse_exact
from verify_conditions.square_loss import SCALES, read_loss
from verify_conditions.trained_tensors import frozen_tensors, positive

NAME = "gradient-inequality"
POINT, BALL, TRAJECTORY = "point", "ball", "trajectory"
SETTINGS = {
    "frozen": "required on data: the stored tensors that training does not change: none, or roles "
    "separated by commas (W1, b2; A, u of an implicit network)",
    "loss": "half-sum-squares (default), sum-squares, half-mean-squares or mean-squares (torch's "
    "MSELoss for one output)",
    "scope": "point (default), ball (needs radius) or trajectory (needs --run): where the "
    "inequality has to hold",
    "radius": "radius of the ball around the weights; implies scope ball",
    "exponent": "alpha of ||grad L|| >= kappa L^alpha, between 1/2 and 1; default 1/2 on data, 1 "
    "for teacher and student",
    "kappa": "kappa of ||grad L|| >= kappa L^alpha; then it is decided for this very factor",
    "input_divisor": "the inputs are the stored numbers divided by this, exactly (255 for pixels); "
    "default 1",
}


@dataclass(frozen=True)
class Declared:
    """The settings, read.

    Args:
        frozen: roles that training does not change.
        loss: name of the loss.
        scope: point, ball or trajectory.
        radius: of the ball, with scope ball.
        exponent: alpha.
        kappa: or None.
        divisor: the inputs are the stored numbers divided by it.
    """

    frozen: frozenset[str]
    loss: str
    scope: str
    radius: Fraction | None
    exponent: Fraction
    kappa: Fraction | None
    divisor: Fraction

    def scale(self, n: int) -> Fraction:
        """s: the loss is s/2 times the sum of squares."""
        return SCALES[self.loss](n)


def read(settings: Mapping[str, str], network: Any, *, population: bool) -> Declared:
    """Return what is declared; a population loss has no frozen tensors and no other loss.

    Raises:
        NotApplicable: a loss other than squares.
        SettingsError: a malformed value, an unknown role, or nothing said of frozen tensors.
    """
    radius = positive(NAME, settings, "radius")
    return Declared(
        frozenset() if population else frozen_tensors(NAME, settings, network),
        _own_loss(settings) if population else read_loss(NAME, settings),
        _scope(settings, radius, population),
        radius,
        _exponent(settings, Fraction(1) if population else Fraction(1, 2)),
        positive(NAME, settings, "kappa"),
        positive(NAME, settings, "input_divisor") or Fraction(1),
    )


def _own_loss(settings: Mapping[str, str]) -> str:
    if "loss" in settings or "frozen" in settings:
        raise SettingsError(
            f"--set {NAME}.loss: expected neither loss nor frozen for teacher and student, whose "
            "loss is 1/2 E (f - f*)^2 with all students trained, but got one"
        )
    return "half-sum-squares"


def _scope(settings: Mapping[str, str], radius: Fraction | None, population: bool) -> str:
    word = settings.get("scope", POINT if radius is None else BALL)
    allowed = (POINT, TRAJECTORY) if population else (POINT, BALL, TRAJECTORY)
    if word not in allowed:
        raise SettingsError(
            f"--set {NAME}.scope: expected one of {', '.join(allowed)}, but got {word[:40]!a}"
        )
    if (word == BALL) != (radius is not None):
        raise SettingsError(
            f"--set {NAME}.radius: expected a radius exactly where the scope is ball, but got "
            f"scope {word} and radius {radius}"
        )
    return word


def _exponent(settings: Mapping[str, str], default: Fraction) -> Fraction:
    if "exponent" not in settings:
        return default
    value = parse_exact(settings["exponent"], where=f"--set {NAME}.exponent")
    if not Fraction(1, 2) <= value <= 1 or value.denominator > 64:
        raise SettingsError(
            f"--set {NAME}.exponent: expected a fraction between 1/2 and 1 with a denominator up "
            f"to 64, but got {settings['exponent'][:40]!a}"
        )
    return value

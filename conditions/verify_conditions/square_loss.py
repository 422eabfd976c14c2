"""The losses that are multiples of the sum of squares, by name.

L = s 1/2 sum_i |f(x_i) - y_i|^2; the factor s changes the clock of a flow and the step of gradient
descent, and nothing else.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from fractions import Fraction

from verify.condition import NotApplicable
from verify.errors import SettingsError

SCALES: Mapping[str, Callable[[int], Fraction]] = {
    "half-sum-squares": lambda n: Fraction(1),
    "sum-squares": lambda n: Fraction(2),
    "half-mean-squares": lambda n: Fraction(1, n),
    "mean-squares": lambda n: Fraction(2, n),
}
"""s by the number of samples; the mean is over samples and the sum over outputs."""

DEFAULT = "half-sum-squares"
_OTHERS = ("cross-entropy", "logistic", "soft-cross-entropy")


def read_loss(condition: str, settings: Mapping[str, str]) -> str:
    """Return the declared loss, ``half-sum-squares`` by default.

    Raises:
        NotApplicable: a loss whose infimum is not attained.
        SettingsError: an unknown name.
    """
    name = settings.get("loss", DEFAULT)
    if name in _OTHERS:
        raise NotApplicable(
            f"{condition} is stated for squares, and the loss is declared as {name}: it has no "
            "minimiser where the classes are separated, so no weights are a zero-loss point; for "
            "classification by squares give one-hot targets"
        )
    if name not in SCALES:
        raise SettingsError(
            f"--set {condition}.loss: expected one of {', '.join((*SCALES, *_OTHERS))}, "
            f"but got {name[:80]!a}"
        )
    return name

"""The losses that are multiples of the sum of squares, by name.

L = s 1/2 sum_i |f(x_i) - y_i|^2; the factor s changes the clock of a flow and the step of gradient
descent, and nothing else.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from fractions import Fraction
from typing import Any

import numpy as np

from verify.condition import NotApplicable
from verify.errors import InputError, SettingsError

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


def check_targets(condition: str, y: Any, n: int, outputs: int) -> np.ndarray:
    """Return targets of shape (n, outputs), the stored numbers as float64, exactly.

    Raises:
        InputError: another shape, or entries that are not finite numbers of 64 bits.
    """
    given = np.asarray(y)
    if given.shape != (n, outputs) and not (outputs == 1 and given.shape == (n,)):
        more = (
            "; for classification store one-hot targets"
            if given.shape == (n,) and outputs > 1
            else ""
        )
        raise InputError(
            f"{condition}: expected targets y of shape ({n}, {outputs}), but got {given.shape}"
            f"{more}"
        )
    whole = given.dtype.kind in "biu"
    if whole and given.size and max(abs(int(given.max())), abs(int(given.min()))) > 2**53:
        raise InputError(f"{condition}: expected whole targets up to 2^53, but got larger ones")
    if not whole and given.dtype not in (np.float16, np.float32, np.float64):
        raise InputError(f"{condition}: expected real targets y, but got {given.dtype}")
    values = np.asarray(given, dtype=np.float64).reshape(n, outputs)
    if not np.isfinite(values).all():
        place = [int(k) for k in np.argwhere(~np.isfinite(values))[0]]
        raise InputError(
            f"{condition}: expected finite targets y, but got "
            f"{float(values[tuple(place)])!r} at {place}"
        )
    return values

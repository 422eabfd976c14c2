"""The targets that a network is trained towards: exact rational numbers."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import numpy as np

from verify.errors import InputError
from verify_kernels._rounding import exact_number
from verify_kernels.enclosed_products import Balls
from verify_kernels.two_layer.midrad import MidRad

_LARGEST_INTEGER = 2**53


@dataclass(frozen=True, eq=False)
class Targets:
    """Targets y_i of n samples, taken without rounding.

    Args:
        values: shape (n, m_y), float64, or ``Fraction``s where some number is not one.
    """

    values: Any

    @classmethod
    def of(cls, targets: Any, n: int, outputs: int, *, where: str) -> Targets:
        """Take targets of shape (n, m_y), or (n,) for one output.

        Raises:
            InputError: another shape, or numbers that are not real and finite; ``where`` begins
                the sentence.
        """
        given = np.asarray(targets)
        if given.shape != (n, outputs) and not (outputs == 1 and given.shape == (n,)):
            raise InputError(
                f"{where}: expected targets of shape ({n}, {outputs}), but got {given.shape}"
            )
        if given.dtype.kind not in "biufO":
            raise InputError(f"{where}: expected real targets, but got {given.dtype}")
        given = given.reshape(n, outputs)
        if not _embeds(given):
            given = _fractions(np.asarray(targets, dtype=object).reshape(n, outputs), where)
        elif not np.isfinite(given).all():
            raise InputError(f"{where}: expected finite targets, but got inf or nan")
        else:
            given = given.astype(np.float64)
        return cls(given)

    def row(self, i: int) -> list[Fraction]:
        """Return the targets of one sample."""
        return [Fraction(value) for value in self.values[i].tolist()]

    def rows(self) -> list[list[Fraction]]:
        """Return the targets of all samples."""
        return [self.row(i) for i in range(len(self.values))]

    def balls(self) -> MidRad:
        """Enclose all targets in floats; a radius is +inf beyond binary64."""
        if self.values.dtype == np.float64:
            return MidRad.exact(self.values)
        mid, rad = np.zeros(self.values.size), np.full(self.values.size, np.inf)
        for k, value in enumerate(self.values.ravel().tolist()):
            try:
                one = Balls.of([value])
            except InputError:
                continue
            mid[k], rad[k] = one.mid[0], one.rad[0]
        return MidRad(mid.reshape(self.values.shape), rad.reshape(self.values.shape))


def _embeds(given: Any) -> bool:
    """Return whether float64 holds every number exactly."""
    if given.dtype.kind in "biu":
        return not given.size or max(abs(int(given.max())), abs(int(given.min()))) <= (
            _LARGEST_INTEGER
        )
    return given.dtype in (np.float16, np.float32, np.float64)


def _fractions(given: Any, where: str) -> Any:
    found = np.empty(given.size, dtype=object)
    for k, value in enumerate(given.ravel().tolist()):
        try:
            exact = exact_number(value)
        except TypeError as error:
            raise InputError(f"{where}: expected real targets, but got {value!r:.80}") from error
        if not isinstance(exact, Fraction):
            raise InputError(f"{where}: expected finite targets, but got inf or nan")
        found[k] = exact
    return found.reshape(given.shape)

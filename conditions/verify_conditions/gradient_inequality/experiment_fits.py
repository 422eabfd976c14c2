"""Slopes of straight lines through measured points, with their confidence intervals."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from scipy import special

from verify.enclosure import Measurement

LEVEL = 0.95


@dataclass(frozen=True)
class Fit:
    """A slope common to several runs, each with a constant of its own.

    Args:
        slope: of the least squares lines.
        half_width: of the 95 % interval of the slope, residuals taken as independent; points of
            one run are not, so it says how straight the lines are and proves nothing.
        points: that were fitted.
    """

    slope: float
    half_width: float
    points: int

    def within(self, middle: float, room: float) -> bool:
        """Return whether the whole interval lies within ``room`` of the expected slope."""
        return abs(self.slope - middle) + self.half_width <= room

    def measurement(self, what: str) -> Measurement:
        """Return the slope as a measurement."""
        how = f"{what}: least squares over {self.points} points, 95 % interval"
        return Measurement(self.slope, how, self.half_width)

    def __str__(self) -> str:
        return f"{self.slope:.4f} ± {self.half_width:.1g}"


def fit_slope(runs: Iterable[Sequence[tuple[float, float]]]) -> Fit | None:
    """Return the common slope of points (x, y), or None from less than two points above a line."""
    parts = [np.asarray(points, np.float64) for points in runs if len(points) >= 2]
    centred = [part - part.mean(axis=0) for part in parts]
    freedom = sum(len(part) - 1 for part in parts) - 1
    if freedom < 2:
        return None
    x, y = np.concatenate(centred).T
    spread = float(x @ x)
    if spread == 0.0:
        return None
    slope = float(x @ y) / spread
    left = float(np.sum((y - slope * x) ** 2)) / freedom
    quantile = float(special.stdtrit(freedom, 0.5 + LEVEL / 2.0))
    return Fit(slope, quantile * (left / spread) ** 0.5, len(x))

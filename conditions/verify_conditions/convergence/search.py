"""Proposals for the radius and the step, in plain floats; the statements decide.

With r, sigma and beta(R) increasing in R, Theorem A needs h = beta(R) r / sigma^2 < 1/2 and
l*(R) = 2 r / (sigma (1 + sqrt(1 - 2h))) <= R. The iteration R <- l*(R) from below finds the least
such R.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

LipschitzAt = Callable[[float], float]

_ABOVE = (1.0 + 2.0**-20, 1.001)  # a ball a little larger than the path asks for
_ROUNDS = 12
_WIDER = (1.02, 1.1, 1.3, 1.7, 2.5)


@dataclass(frozen=True)
class Start:
    """The numbers at the stored weights: |r|, sigma, |J|, as floats."""

    residual: float
    smallest: float
    norm: float = 0.0

    @property
    def usable(self) -> bool:
        """Whether any radius can do."""
        ordinary = math.isfinite(self.residual) and math.isfinite(self.smallest)
        return ordinary and self.smallest > 0.0


def propose_radius(start: Start, lipschitz: LipschitzAt) -> float:
    """Return the least radius at which Theorem A holds, else one at which h is small."""
    if not start.usable:
        return 1.0
    least = start.residual / start.smallest
    if least == 0.0:
        return min(1.0, start.smallest)
    for factor in _ABOVE:
        radius, fits = _iterate(start, lipschitz, least * factor, factor)
        if fits:
            return radius
    return least * _ABOVE[0]


def _iterate(
    start: Start, lipschitz: LipschitzAt, radius: float, factor: float
) -> tuple[float, bool]:
    for _ in range(_ROUNDS):
        reached = path_length(start, lipschitz(radius))
        if reached is None or not math.isfinite(radius):
            return radius, False
        if reached <= radius * (1.0 - 2.0**-30):
            return radius, True
        radius = reached * factor
    return radius, False


def path_length(start: Start, beta: float) -> float | None:
    """Return l*, or None where h >= 1/2."""
    h = beta * start.residual / start.smallest**2
    if not h < 0.5:
        return None
    return 2.0 * start.residual / (start.smallest * (1.0 + math.sqrt(1.0 - 2.0 * h)))


@dataclass(frozen=True)
class Step:
    """A radius, a step of gradient descent on 1/2 |r|^2, and the rate it would certify."""

    radius: float
    step: float
    gain: float


def propose_step(
    start: Start, lipschitz: LipschitzAt, radius: float | None, step: float | None = None
) -> Step:
    """Return the radius and the step whose certified contraction is the best.

    Args:
        start: with the norm of J.
        lipschitz: beta by radius.
        radius: the only one to try, or None.
        step: the only one to try, or None.
    """
    if not start.usable:
        return Step(radius or 1.0, step or 1.0, 0.0)
    radii = [radius] if radius is not None else list(_radii(start, lipschitz))
    found = [_best_at(start, lipschitz(R), R, step) for R in radii]
    best = max(found, key=lambda one: one.gain)
    if step is not None and not best.gain > 0.0:
        # The ball on which other steps are certified tells most about this one.
        return replace(propose_step(start, lipschitz, radius), step=step, gain=0.0)
    return best


def _radii(start: Start, lipschitz: LipschitzAt) -> Iterator[float]:
    least = propose_radius(start, lipschitz)
    yield from (least * factor for factor in _WIDER)


def _best_at(start: Start, beta: float, radius: float, step: float | None) -> Step:
    """Maximise t (s_t^2 - 2 beta r) with s_t = (1 - t/2) sigma and a path that fits the ball."""
    norm = (start.norm + beta * radius) ** 2
    none = Step(radius, step if step is not None else 0.01 / norm if norm > 0 else 1.0, 0.0)
    room = 1.0 - 2.0 * beta * start.residual / start.smallest**2
    if not (0.0 < norm < math.inf and room > 0.0):
        return none
    if step is not None:
        return _gained(start, beta, radius, step * norm, norm) or none
    t = 4.0 * room / (4.0 + 2.0 * math.sqrt(1.0 + 3.0 * (1.0 - room)))
    t = min(t, 1.0 - 2.0**-20)
    best = _gained(start, beta, radius, t, norm)
    if best is None and start.residual < radius * start.smallest:
        slope = start.residual / radius + 0.5 * beta * radius
        t = min(t, 2.0 * (1.0 - slope / start.smallest) * (1.0 - 2.0**-20))
        best = _gained(start, beta, radius, t, norm)
    return best or none


def _gained(start: Start, beta: float, radius: float, t: float, norm: float) -> Step | None:
    """Return the step t/norm if its path fits the ball."""
    slope = (1.0 - 0.5 * t) * start.smallest
    room = slope * slope - 2.0 * beta * start.residual
    if not (0.0 < t <= 1.0 and room > 0.0):
        return None
    if 2.0 * start.residual / (slope + math.sqrt(room)) > radius:
        return None
    return Step(radius, t / norm, t * room / norm)


def propose_largest(start: Start, beta: float, radius: float) -> float:
    """Return about the largest step of gradient descent on 1/2 |r|^2 that Theorem B admits.

    With psi(l) = r - st l + beta l^2/2 the path fits the ball exactly where st > sqrt(2 beta r)
    and, if the ball is smaller than sqrt(2 r/beta), psi(R) <= 0.
    """
    norm = (start.norm + beta * radius) ** 2
    if not (start.usable and radius > 0.0 and 0.0 < norm < math.inf):
        return 0.0
    slope = math.sqrt(2.0 * beta * start.residual)
    if beta * radius * radius < 2.0 * start.residual:
        slope = start.residual / radius + 0.5 * beta * radius
    return max(0.0, min(1.0, 2.0 * (1.0 - slope / start.smallest))) / norm


def propose_threshold(start: Start, lipschitz: LipschitzAt, rounds: int = 12) -> float:
    """Return about the largest |r| at which Theorem A would hold with this sigma.

    At h = 1/2 the path has length 2 r / sigma, so r solves r = sigma^2 / (2 beta(2 r / sigma)),
    whose right side falls in r: bisection on the logarithm.
    """
    if not start.usable:
        return 0.0
    low, high = start.residual * 2.0**-60, start.residual
    for _ in range(rounds):
        middle = math.sqrt(low * high)
        beta = lipschitz(2.0 * middle / start.smallest)
        fits = 2.0 * beta * middle < start.smallest**2
        low, high = (middle, high) if fits else (low, middle)
    return low

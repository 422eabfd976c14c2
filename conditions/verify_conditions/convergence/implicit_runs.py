r"""Runs of the implicit ReLU network: train until Theorem I fires, then walk the flow it speaks of.

What Theorem I claims from a certified point is held against what is then measured on gradient
descent with a small step, which stands for the flow: path and distance <= l*, ||g A(t)|| <= q and
||r(t)|| <= exp(-rate t) ||r(0)||.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from fractions import Fraction

from verify.enclosure import Enclosure
from verify_conditions.convergence.implicit_certificates import Certified, certify
from verify_conditions.convergence.implicit_estimates import Estimate, enclosed_h, estimate
from verify_conditions.convergence.implicit_tasks import Task, gaussian
from verify_conditions.convergence.implicit_training import Descent, Record, begin
from verify_conditions.implicit_relu_training import Parameters

TABLE_GAMMA = Fraction(1, 4)

END = 1e-8
"""A walk ends where ||r|| is below."""


@dataclass(frozen=True)
class Followed:
    """What was measured on the way from a certified point; plain floats.

    Args:
        records: ||r||^2, ||g A|| and path along it, from the certified point on.
        worst: largest ||r(t)|| / (exp(-rate t) ||r(0)||) after the start, with the certified rate.
        rate: measured mean rate of ||r||.
    """

    records: tuple[Record, ...]
    worst: float
    rate: float

    @property
    def path(self) -> float:
        """Length of the path walked."""
        return self.records[-1].path

    @property
    def contraction(self) -> float:
        """Largest ||g A|| recorded."""
        return max(record.contraction for record in self.records)

    @property
    def residual(self) -> float:
        """||r|| at the end."""
        return math.sqrt(self.records[-1].squares)

    def unmet(self, certified: Certified) -> list[str]:
        """Return what Theorem I claims and the walk does not show."""
        found = []
        if not self.path <= certified.path.hi_float:
            found.append(f"a path of at most {certified.path.hi_float:.6g}, but got {self.path!r}")
        if not self.contraction <= certified.contraction.hi_float:
            found.append(f"||gA|| <= {certified.contraction.hi_float:.6g} along it, but got "
                         f"{self.contraction!r}")  # fmt: skip
        if not self.worst <= 1.0:
            found.append(f"||r|| under its certified decay, but got {self.worst!r} of it")
        if not self.residual <= END:
            found.append(f"||r|| <= {END:g} at the end, but got {self.residual!r}")
        return found


def follow(task: Task, certified: Certified, *, rate: float, most: int = 60_000) -> Followed:
    """Walk gradient descent with a small step from a certified point until ||r|| <= `END`.

    Args:
        task: the samples.
        certified: the point and what is claimed from it.
        rate: step size.
        most: steps at most.
    """
    walk = Descent(task, certified.parameters, certified.gamma, rate)
    first = walk.residual
    walk.record()
    slowest, worst = certified.rate.lo_float, 0.0
    while walk.residual > END and walk.step < most:
        walk.advance_to(walk.step + 50)
        walk.record()
        worst = max(worst, walk.residual / (math.exp(-slowest * walk.time) * first))
    mean = math.log(first / walk.residual) / walk.time if walk.step else math.nan
    return Followed(tuple(walk.records), worst, mean)


@dataclass(frozen=True, eq=False)
class TableRow:
    """One size run: training until Theorem I fires.

    Args:
        task: its samples.
        width: m.
        noted: the loss at which it was first seen to fire, with another seed.
        first: the estimate of h at the start.
        here: the estimate of h at the last checkpoint.
        step: of that checkpoint.
        loss: 1/2 ||r||^2 there, measured.
        parameters: there.
        last: the certificate there, if the estimate promised that it fires.
        followed: the walk from there, if it fires.
    """

    task: Task
    width: int
    noted: float
    first: Estimate
    here: Estimate
    step: int
    loss: float
    parameters: Parameters
    last: Certified | None
    followed: Followed | None

    @property
    def name(self) -> str:
        """The size, for people."""
        n, d = self.task.X.shape
        return f"n = {n}, d = {d}, m = {self.width}"

    def unmet(self) -> list[str]:
        """Return one sentence for each expected outcome that did not occur."""
        if self.last is None or self.followed is None:
            found = [f"Theorem I to fire in {self.step} steps, but got h = {self.here.h:.3g}"]
        else:
            found = self.followed.unmet(self.last)
        return [f"{self.name}: expected {sentence}" for sentence in found]


TABLE = (
    (5, 5, 20, 1.2e-3), (5, 5, 50, 1.6e-2), (10, 5, 50, 2.5e-5), (10, 10, 100, 8.6e-3),
    (20, 10, 100, 2.1e-3),
)  # fmt: skip
"""n, d, m and the loss at which Theorem I was first seen to fire, with other seeds."""


def table_row(
    n: int, d: int, m: int, noted: float, *, seed: int = 0, every: int = 5, most: int = 4000
) -> TableRow:
    """Train by gradient descent with step 0.1 and look every so many steps until it fires."""
    task = gaussian(n, d, seed=seed)
    walk = begin(task, width=m, gamma=TABLE_GAMMA, rate=0.1, seed=seed)
    first = here = estimate(task, walk.parameters, TABLE_GAMMA)
    last: Certified | None = None
    while True:
        if here.fires:
            name = f"n = {n}, d = {d}, m = {m}, step {walk.step}"
            last = certify(task, walk.parameters, TABLE_GAMMA, name)
        fired = last is not None and last.fired
        if fired or walk.step >= most:
            break
        walk.advance_to(walk.step + every)
        here = estimate(task, walk.parameters, TABLE_GAMMA)
    return TableRow(
        task, m, noted, first, here, walk.step, walk.loss, walk.parameters,
        last if fired else None, follow(task, last, rate=0.02) if fired and last else None,
    )  # fmt: skip


@dataclass(frozen=True)
class Start:
    """An untrained network of width m: the enclosure of h."""

    width: int
    seed: int
    h: Enclosure


def at_the_start(m: int, *, n: int = 5, d: int = 5, seed: int = 0) -> Start:
    """Enclose h of an untrained network of width m."""
    task = gaussian(n, d, seed=seed)
    start = begin(task, width=m, gamma=TABLE_GAMMA, rate=0.1, seed=seed)
    return Start(m, seed, enclosed_h(task, start.parameters, TABLE_GAMMA))

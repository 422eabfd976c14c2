"""Suprema of quantities of an activation over a bounded interval, by branch and bound with balls.

A box is dropped when the quantity cannot exceed the best certified value on it, when it is
monotone or convex there (the ends of the box were evaluated), or when it is concave and its one
critical point was enclosed by the interval Newton method. All quantities of one piece share the
boxes and their jets.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from flint import arb

from verify_kernels.activation_analysis.jet import derivatives
from verify_kernels.activation_analysis.tree import Node, postorder

Ball = Any
Triple = tuple[Ball, Ball, Ball]  # a quantity with its first and second derivative
JET_ORDER = 5
_TOLERANCE = arb(2) ** -46
_SMALLEST = arb(2) ** -140
_MOST_BOXES = 4000


def _derivative(k: int) -> Callable[[Ball, Sequence[Ball]], Triple]:
    return lambda z, d: (d[k], d[k + 1], d[k + 2])


QUANTITIES: dict[str, Callable[[Ball, Sequence[Ball]], Triple]] = {
    **{f"d{k}": _derivative(k) for k in range(5)},
    "kappa": lambda z, d: (d[0] - z * d[1], -z * d[2], -d[2] - z * d[3]),
    "zd1": lambda z, d: (z * d[1], d[1] + z * d[2], 2 * d[2] + z * d[3]),
}


class OutOfBudgetError(Exception):
    """The analysis of this activation has used up its work."""


class Budget:
    """Counts operations on jets, so that the outcome does not depend on the machine."""

    def __init__(self, operations: int) -> None:
        self.left = operations

    def spend(self, operations: int) -> None:
        """Use up some work.

        Raises:
            OutOfBudgetError: nothing is left.
        """
        self.left -= operations
        if self.left < 0:
            raise OutOfBudgetError


class Place:
    """An exact point with its jet."""

    __slots__ = ("jet", "x")

    def __init__(self, x: Ball, surface: Surface) -> None:
        self.x, self.jet = x, surface.jet(x)


class Surface:
    """The jets of one smooth tree, shared by all searches."""

    def __init__(self, root: Node, budget: Budget, *, order: int = JET_ORDER) -> None:
        self.root, self.budget, self.order = root, budget, order
        self.cost = len(postorder(root))

    def jet(self, ball: Ball) -> list[Ball]:
        """Return value and derivatives at a ball."""
        self.budget.spend(self.cost)
        return derivatives(self.root, ball, self.order)


class Box:
    """A closed interval with exact ends; its jet, middle and halves are made once."""

    __slots__ = ("_halves", "_jet", "_middle", "ball", "left", "right", "surface")

    def __init__(self, left: Place, right: Place, surface: Surface) -> None:
        self.left, self.right, self.surface = left, right, surface
        self.ball = left.x.union(right.x)
        self._jet: list[Ball] | None = None
        self._middle: Place | None = None
        self._halves: tuple[Box, Box] | None = None

    @property
    def jet(self) -> list[Ball]:
        """The jet over the whole box."""
        if self._jet is None:
            self._jet = self.surface.jet(self.ball)
        return self._jet

    @property
    def middle(self) -> Place:
        """The point of division, off the simple points where extrema like to lie."""
        if self._middle is None:
            self._middle = Place(_divide(self.left.x, self.right.x), self.surface)
        return self._middle

    @property
    def halves(self) -> tuple[Box, Box]:
        """The two parts."""
        if self._halves is None:
            middle = self.middle
            self._halves = (
                Box(self.left, middle, self.surface),
                Box(middle, self.right, self.surface),
            )
        return self._halves

    @property
    def is_tiny(self) -> bool:
        """Whether dividing it further gains nothing."""
        width = self.right.x - self.left.x
        return bool(width <= (abs(self.left.x) + arb(2) ** -60) * arb(2) ** -64)


def _divide(low: Ball, high: Ball) -> Ball:
    """Return an exact point between; geometric where the interval spans magnitudes."""
    sign = 1
    if high <= 0:
        sign, low, high = -1, -high, -low
    if low > 1 and high > 4 * low:
        return sign * ((low * high).sqrt() * arb("1.01")).mid()
    if low >= 0 and high > 64 and low < 1:
        return arb(sign * 8) + sign * low
    if low < 0 < high and high - low > 128:
        return arb("0.21").mid()
    return sign * (low + (high - low) * arb("0.4873")).mid()


@dataclass
class Extremum:
    """A supremum: low <= sup <= high, and where."""

    low: Ball
    high: Ball
    where: str
    tight: bool = True


def supremum(boxes: Sequence[Box], quantity: str, sign: int, known: Ball | None = None) -> Extremum:
    """Enclose the supremum of sign x quantity over adjoining boxes.

    Args:
        boxes: cover the interval.
        quantity: a name of `QUANTITIES`.
        sign: 1, or -1 for minus the infimum.
        known: a value the supremum is already known to reach; parts below it are not resolved.

    Raises:
        OutOfBudgetError: the work is used up.
    """
    return _Search(QUANTITIES[quantity], sign, known).run(boxes)


class _Search:
    def __init__(
        self, quantity: Callable[[Ball, Sequence[Ball]], Triple], sign: int, known: Ball | None
    ) -> None:
        self.quantity, self.sign = quantity, sign
        self.low = known if known is not None else arb("-inf")
        self.high = known if known is not None else arb("-inf")
        self.where = ""
        self.tight = True
        self.queue: list[tuple[float, int, Box, Triple]] = []
        self.count = 0

    def run(self, boxes: Sequence[Box]) -> Extremum:
        for box in boxes:
            self.at(box.left)
        self.at(boxes[-1].right)
        for box in boxes:
            self.push(box)
        while self.queue:
            _, _, box, triple = heapq.heappop(self.queue)
            upper = self.upper(box, triple)
            if upper <= self.enough():
                self.high = self.high.max(upper).upper()
                continue
            if self.settled(box, triple):
                continue
            if (
                box.is_tiny
                or self.count > _MOST_BOXES
                or (not upper.is_finite() and self.count > 600)
            ):
                self.high = self.high.max(upper).upper()
                self.tight = False
                if not upper.is_finite():
                    break
                continue
            self.at(box.middle)
            for half in box.halves:
                self.push(half)
        return Extremum(self.low, self.high, self.where, self.tight)

    def triple(self, z: Ball, jet: Sequence[Ball]) -> Triple:
        f, first, second = self.quantity(z, jet)
        return (f, first, second) if self.sign > 0 else (-f, -first, -second)

    def at(self, place: Place) -> None:
        value = self.triple(place.x, place.jet)[0]
        self.offer(value, place.x)

    def offer(self, value: Ball, x: Ball) -> None:
        """Take a value that is attained."""
        self.high = self.high.max(value).upper() if value.is_finite() else arb("inf")
        lower = value.lower() if value.is_finite() else arb("-inf")
        if lower > self.low:
            self.low, self.where = lower, f"z = {x.str(6, radius=False)}"

    def enough(self) -> Ball:
        """Return the value below which a box is of no interest."""
        slack = abs(self.low) * _TOLERANCE
        return (self.low + (slack if self.count < 1500 else slack + _SMALLEST)).lower()

    def push(self, box: Box) -> None:
        self.count += 1
        box.surface.budget.spend(1)
        triple = self.triple(box.ball, box.jet)
        upper = triple[0].upper()
        key = -float(upper) if upper.is_finite() else float("-inf")
        heapq.heappush(self.queue, (key, self.count, box, triple))

    def upper(self, box: Box, triple: Triple) -> Ball:
        """Return an upper bound over the box, from value and mean value form."""
        plain = triple[0].upper()
        if plain <= self.enough() or not triple[1].is_finite():
            return plain
        middle = box.middle
        value, slope, _ = self.triple(middle.x, middle.jet)
        away = box.ball - middle.x
        mean = (value + triple[1] * away).upper()
        best = mean if mean < plain else plain
        if triple[2].is_finite():
            second = (value + slope * away + triple[2] * away * away / 2).upper()
            best = second if second < best else best
        return best

    def settled(self, box: Box, triple: Triple) -> bool:
        """Whether the ends of the box, or one enclosed critical point, decide it."""
        _, first, second = triple
        if first >= 0 or first <= 0 or second >= 0:
            return True
        middle = box.middle
        _, slope, _ = self.triple(middle.x, middle.jet)
        refined = slope + second * (box.ball - middle.x)
        if refined >= 0 or refined <= 0:
            return True
        if not second < 0:
            return False
        found = self.critical(box, triple)
        if found is None:
            return True
        value = self.triple(found, box.surface.jet(found))[0]
        if not value.is_finite():
            return False
        self.offer(value, found)
        return True

    def critical(self, box: Box, triple: Triple) -> Ball | None:
        """Enclose the critical point of a strictly concave quantity; None if there is none."""
        low, high, second = box.left.x, box.right.x, triple[2]
        for _ in range(12):
            middle = ((low + high) / 2).mid()
            _, slope, _ = self.triple(middle, box.surface.jet(middle))
            step = middle - slope / second
            below, above = step.lower(), step.upper()
            if above < low or below > high:
                return None
            narrow_low = below if below > low else low
            narrow_high = above if above < high else high
            gained = (narrow_high - narrow_low) * 2 < high - low
            low, high = narrow_low, narrow_high
            if not gained:
                break
            if high - low > abs(low) * arb(2) ** -70:
                ball = low.union(high)
                second = self.triple(ball, box.surface.jet(ball))[2]
                if not second < 0:
                    second = triple[2]
            else:
                break
        return self.snapped(box, low.union(high))

    def snapped(self, box: Box, ball: Ball) -> Ball:
        """Return the exact critical point if it is a small multiple of one half."""
        if abs(ball) > 1000:
            return ball
        guess = arb(round(2 * float(ball.mid()))) / 2
        if ball.contains(guess) and self.triple(guess, box.surface.jet(guess))[1].is_zero():
            return guess
        return ball

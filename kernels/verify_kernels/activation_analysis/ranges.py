"""Ranges over the whole line, put together from bounded parts, half-lines and cuts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

from flint import arb

from verify.enclosure import Enclosure
from verify.errors import ContradictionError
from verify_kernels.activation_analysis.coefficients import Coefficient
from verify_kernels.activation_analysis.expansions import ONE
from verify_kernels.activation_analysis.extrema import (
    JET_ORDER,
    QUANTITIES,
    Box,
    Budget,
    Extremum,
    OutOfBudgetError,
    Place,
    Surface,
)
from verify_kernels.activation_analysis.extrema import supremum as search
from verify_kernels.activation_analysis.facts import (
    Bound,
    Range,
    infinite_bound,
    open_bound,
    proved_bound,
)
from verify_kernels.activation_analysis.pieces import Piece
from verify_kernels.activation_analysis.tail_bounds import STARTS, Tail, TailSupremum, tail_of
from verify_kernels.activation_analysis.tree import parity

Ball = Any
_CLOSE = arb(2) ** -34  # 1e-9 is about 2^-30
_NEAR_ZERO = arb(2) ** -110


class PieceRanges:
    """Searches one piece; its boxes and expansions are shared by all quantities."""

    def __init__(self, piece: Piece, budget: Budget, *, order: int = JET_ORDER) -> None:
        self.piece = piece
        self.surface = Surface(piece.node, budget, order=order)
        self.whole = piece.low is None and piece.high is None
        self.parity = parity(piece.node) if self.whole else 0
        self.tails: list[Tail] = []
        if piece.low is None and not self.parity:
            self.tails.append(tail_of(piece.node, -1, order - 1))
        if piece.high is None:
            self.tails.append(tail_of(piece.node, 1, order - 1))
        self._boxes: dict[int, list[Box]] = {}
        self._places: dict[str, Place] = {}
        self.slivers = [
            cut.ball
            for cut in (piece.low, piece.high)
            if cut is not None and not cut.ball.is_exact()
        ]

    def place(self, x: Ball) -> Place:
        """Return the one object for an exact point."""
        key = repr(x.man_exp())
        if key not in self._places:
            self._places[key] = Place(x, self.surface)
        return self._places[key]

    def boxes(self, start: int) -> list[Box]:
        """Return boxes that cover the piece up to |z| = start."""
        if start not in self._boxes:
            steps = [s for s in STARTS if s <= start]
            ends: list[Ball] = []
            low, high = self.piece.low, self.piece.high
            inner_low = low.ball.upper() if low else arb(0) if self.parity else None
            inner_high = high.ball.lower() if high else None
            if inner_low is None:
                ends += [arb(-s) for s in reversed(steps) if not inner_high or -s < inner_high]
            else:
                ends.append(inner_low)
            if inner_high is None:
                ends += [arb(s) for s in steps if not inner_low or s > inner_low]
            else:
                ends.append(inner_high)
            places = [self.place(x) for x in ends]
            self._boxes[start] = [self._box(a, b) for a, b in pairwise(places)]
        return self._boxes[start]

    def _box(self, a: Place, b: Place) -> Box:
        for made in self._boxes.values():
            for box in made:
                if box.left is a and box.right is b:
                    return box
        return Box(a, b, self.surface)

    def starts(self) -> tuple[int, ...]:
        """Return the half-line starts to be tried, all beyond the cuts of the piece."""
        far = arb(0)
        for cut in (self.piece.low, self.piece.high):
            if cut is not None:
                far = far.max(abs(cut.ball).upper())
        return tuple(s for s in STARTS if far < s) or STARTS[-1:]

    def signs(self, quantity: str, sign: int) -> list[int]:
        """Return the signs under which the half z >= 0 must be searched."""
        if not self.parity:
            return [sign]
        k = int(quantity[1]) if quantity[0] == "d" else 0
        even = self.parity * (-1) ** k == 1
        return [sign] if even else [1, -1]


@dataclass
class _Found:
    """low <= supremum <= high so far; `open_why` says what stands against a tight answer."""

    low: Ball
    high: Ball
    where: str
    open_why: str = ""


class Ranges:
    """Ranges of the quantities of an activation that is cut into pieces."""

    def __init__(self, pieces: Sequence[Piece], budget: Budget, *, order: int = JET_ORDER) -> None:
        self.parts = [PieceRanges(piece, budget, order=order) for piece in pieces]

    def range(self, quantity: str, isolated: Sequence[Ball] = ()) -> Range:
        """Return the range of a quantity.

        Args:
            quantity: a name of `QUANTITIES`.
            isolated: values at cuts, for ``d0``.
        """
        exact = self.wave(quantity)
        if exact is not None:
            return exact
        return Range(inf=self._end(quantity, -1, isolated), sup=self._end(quantity, 1, isolated))

    def wave(self, quantity: str) -> Range | None:
        """Return the range of a + b cos + c sin of one phase, which holds on all of R.

        An identity of analytic functions on a half-line holds on the line.
        """
        part = self.parts[0]
        if not part.whole:
            return None
        made = part.tails[-1].quantity(quantity, STARTS[0])
        if made is None or made[0].rest or any(m is not ONE for m in made[0].terms):
            return None
        level = made[0].terms.get(ONE, Coefficient({}))
        if any(
            name[0].exponent or name[0].logs or name[0].power.denominator != 1
            for phase in level.harmonics()
            for name, _ in phase
        ):
            return None
        low, high, approached = level.range()
        if not approached:
            return None
        where = "everywhere" if level.is_still else "approached or attained again and again"
        return Range(
            proved_bound(Enclosure.from_arb(low), where),
            proved_bound(Enclosure.from_arb(high), where),
        )

    def _end(self, quantity: str, sign: int, isolated: Sequence[Ball]) -> Bound:
        try:
            return self._supremum(quantity, sign, isolated)
        except OutOfBudgetError:
            return open_bound("the work allowed was used up")

    def _supremum(self, quantity: str, sign: int, isolated: Sequence[Ball]) -> Bound:
        infinite = self._infinite(quantity, sign)
        if infinite:
            return infinite_bound(infinite)
        found = _Found(arb("-inf"), arb("-inf"), "")
        for value in isolated:
            value = value if sign > 0 else -value
            found.low, found.high = found.low.max(value.lower()), found.high.max(value.upper())
        for part in self.parts:
            for s in part.signs(quantity, sign):
                self._search(part, quantity, s, found)
        return _bound(found, sign)

    def _infinite(self, quantity: str, sign: int) -> str:
        for part in self.parts:
            for s in part.signs(quantity, sign):
                for tail in part.tails:
                    for start in part.starts():
                        known = tail.supremum(quantity, s, start)
                        if known is not None:
                            if known.infinite:
                                return f"z -> {'+' if tail.side > 0 else '-'}infinity"
                            break
        return ""

    def _search(self, part: PieceRanges, quantity: str, sign: int, found: _Found) -> None:
        """Add one piece to the supremum, with half-lines as far out as needed."""
        starts = part.starts()
        result: _Found | None = None
        for start in starts:
            tails = [tail.supremum(quantity, sign, start) for tail in part.tails]
            if any(t is None for t in tails):
                continue
            before = result
            result = self._with_tails(part, quantity, sign, start, found, tails)
            if before is not None and not result.high - result.low < (before.high - before.low) / 2:
                result = before if before.high <= result.high else result
                break
            if not result.open_why or not part.tails:
                break
        if result is None:
            reasons = [tail.why for tail in part.tails if tail.why]
            found.high = arb("inf")
            found.open_why = reasons[0] if reasons else "not decided at infinity"
            return
        found.low, found.high, found.where = result.low, result.high, result.where
        found.open_why = found.open_why or result.open_why

    def _with_tails(
        self,
        part: PieceRanges,
        quantity: str,
        sign: int,
        start: int,
        found: _Found,
        tails: Sequence[TailSupremum | None],
    ) -> _Found:
        low, high, where = found.low, found.high, found.where
        reach = arb("-inf")
        for tail, known in zip(part.tails, tails, strict=True):
            if known is None or known.high is None:
                return _Found(low, arb("inf"), where, "not bounded at infinity")
            if known.low > low:
                low, where = known.low, f"z -> {'+' if tail.side > 0 else '-'}infinity"
            reach = reach.max(known.high)
        boxes = part.boxes(start)
        inner: Extremum = search(boxes, quantity, sign, low if low.is_finite() else None)
        if inner.low > low:
            low, where = inner.low, inner.where
        high = high.max(inner.high).max(reach)
        for ball in part.slivers:
            value = QUANTITIES[quantity](ball, part.surface.jet(ball))[0]
            high = high.max((value if sign > 0 else -value).upper())
        why = ""
        if not _tight(low, high):
            why = "the bound at infinity is not tight" if inner.tight else "not fully resolved"
        return _Found(low, high, where, why)


def _tight(low: Ball, high: Ball) -> bool:
    return bool(high - low <= abs(low) * _CLOSE + _NEAR_ZERO)


def _bound(found: _Found, sign: int) -> Bound:
    low, high = found.low, found.high
    if not (low.is_finite() and high.is_finite()):
        return open_bound(found.open_why or "not bounded by this method")
    if low > high:
        raise ContradictionError("activation analysis: a supremum is below a value it reaches")
    low_end, high_end = Enclosure.from_arb(low).lo, Enclosure.from_arb(high).hi
    value = Enclosure(low_end, high_end) if sign > 0 else Enclosure(-high_end, -low_end)
    where = found.where if not found.open_why else f"{found.where} ({found.open_why})"
    return proved_bound(value, where)

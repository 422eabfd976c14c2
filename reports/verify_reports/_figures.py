"""The margin of a statement as a bar against its threshold, drawn with SVG."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

from verify.enclosure import Endpoint
from verify_reports import _claims as claims
from verify_reports import _numbers

Record = Mapping[str, Any]

WIDTH = 1000


@dataclass(frozen=True)
class Bar:
    """Positions in 0..WIDTH on an axis whose middle is the threshold, and the labels below it.

    ``lo`` and ``hi`` are the ends of the enclosure; what lies off the axis is cut at its end.
    ``low_side`` says whether the hypothesis holds to the left of the threshold.
    """

    latex: str
    words: str
    room: str
    lo: float
    hi: float
    low_side: bool
    left: str
    middle: str
    right: str
    off_scale: bool

    @property
    def start(self) -> float:
        """Where the solid bar starts: at the left end, or at the threshold of a margin."""
        return min(self.lo, WIDTH / 2) if self.middle == "0" else 0.0


def bars(route: Record) -> Iterator[Bar]:
    """Yield a bar for each margin of a route that has a finite end."""
    for statement in route["statements"]:
        against = claims.threshold(statement)
        for margin in claims.not_by_choice(route, claims.telling(statement)):
            bar = (
                _against_zero(margin, against)
                if against is None or against[0] == 0
                else _against_number(statement["latex"], margin, *against)
            )
            if bar is not None:
                yield bar


def _against_number(latex: str, margin: Record, bound: Fraction, relation: str) -> Bar | None:
    """Draw the compared expression itself: the bound minus (or plus) its margin."""
    low_side = relation in ("<", "<=")
    lo, hi = _numbers.ends(margin)
    lo, hi = (bound - hi, bound - lo) if low_side else (bound + lo, bound + hi)
    left, right = sorted((Fraction(0), 2 * bound))
    return _bar(
        latex=latex,
        words=f"value {_numbers.related(lo, hi)}, needed {relation} {bound}",
        room=claims.margin_words(margin),
        ends=(lo, hi),
        axis=(left, right),
        low_side=low_side,
    )


def _against_zero(margin: Record, against: tuple[Fraction, str] | None) -> Bar | None:
    """Draw the margin itself; where an expression is compared with 0 it is that expression."""
    lo, hi = _numbers.ends(margin)
    finite = [abs(end) for end in (lo, hi) if isinstance(end, Fraction)]
    if not finite:
        return None
    positive = against is not None and against[1] in (">", ">=")
    subject = "value" if positive else "larger side minus smaller side"
    above = "at least 0" if claims.allows_zero(margin) else "above 0"
    needed = f"{against[1]} 0" if against is not None and positive else above
    size = max(finite) * Fraction(5, 4) or Fraction(1)
    return _bar(
        latex=margin["relation"],
        words=f"{subject} {_numbers.related(lo, hi)}, needed {needed}",
        room=claims.margin_words(margin),
        ends=(lo, hi),
        axis=(-size, size),
        low_side=False,
    )


def _bar(
    *,
    latex: str,
    words: str,
    room: str,
    ends: tuple[Endpoint, Endpoint],
    axis: tuple[Fraction, Fraction],
    low_side: bool,
) -> Bar | None:
    left, right = axis
    if all(isinstance(end, float) for end in ends):
        return None
    lo, hi = (WIDTH * _place(end, left, right) for end in ends)
    labels = [_numbers.approximate(float(end)) for end in (left, (left + right) / 2, right)]
    return Bar(
        latex=latex,
        words=words,
        room=room,
        lo=lo,
        hi=hi,
        low_side=low_side,
        left=labels[0],
        middle=labels[1],
        right=labels[2],
        off_scale=any(not left <= end <= right for end in ends),
    )


def _place(value: Endpoint, left: Fraction, right: Fraction) -> float:
    """Return where an end lies on the axis, from 0 to 1, cut off at its ends."""
    if value <= left:
        return 0.0
    if value >= right:
        return 1.0
    return float((Fraction(value) - left) / (right - left))

"""Suprema, limits and growth on half-lines, read off the expansions."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from flint import arb

from verify_kernels.activation_analysis.coefficients import (
    Coefficient,
    NeedLargerError,
    UnclearError,
)
from verify_kernels.activation_analysis.expansions import (
    ONE,
    Expansion,
    HalfLine,
    TooLongError,
    W,
    over,
)
from verify_kernels.activation_analysis.tail_jet import derivatives_at_infinity
from verify_kernels.activation_analysis.tree import Node

Ball = Any
STARTS = (16, 64, 2**10, 2**16, 2**24, 2**34, 2**64)
ORDER = 4


@dataclass(frozen=True)
class TailSupremum:
    """What is known of the supremum of a function on a half-line.

    Args:
        infinite: it is +infinity.
        low: a value that the supremum over the half-line reaches, -inf if none is known.
        high: an upper bound; None if none is known. If `monotone`, the supremum is the larger of
            `high` and the value at the start.
        monotone: whether the function is monotone on the half-line.
    """

    infinite: bool
    low: Ball
    high: Ball | None
    monotone: bool


@dataclass(frozen=True)
class Limit:
    """The limit at infinity: a ball, or an infinity, or none ("oscillates"), or unknown."""

    kind: str  # "finite", "+inf", "-inf", "oscillates", "unknown"
    value: Ball = None


class Tail:
    """The expansions of one side of a tree, at several starts, each made once."""

    def __init__(self, root: Node, side: int, *, order: int = ORDER) -> None:
        self.root, self.side, self.order = root, side, order
        self._made: dict[int, list[Expansion] | str | None] = {}
        self._quantities: dict[tuple[str, int], tuple[Expansion, Expansion] | None] = {}
        self._suprema: dict[tuple[str, int, int], TailSupremum | None] = {}
        self.why, self.too_long = "", False

    def at(self, start: int) -> list[Expansion] | None:
        """Return sigma .. sigma^(4) from a start on, None if they are not known there."""
        if start not in self._made and not self.too_long:
            try:
                line = HalfLine(start)
                found: Any = derivatives_at_infinity(self.root, self.side, line, self.order)
            except NeedLargerError:
                found = None
            except UnclearError as reason:
                found, self.why = None, str(reason)
                self.too_long = isinstance(reason, TooLongError)
            self._made[start] = found
        made = self._made.get(start)
        return made if isinstance(made, list) else None

    def first(self) -> list[Expansion] | None:
        """Return the expansions from the nearest start at which they are known."""
        for start in STARTS:
            made = self.at(start)
            if made is not None:
                return made
        return None

    def quantity(self, name: str, start: int) -> tuple[Expansion, Expansion] | None:
        """Return a quantity and its derivative from a start on."""
        key = (name, start)
        if key not in self._quantities:
            self._quantities[key] = self._quantity(name, start)
        return self._quantities[key]

    def _quantity(self, name: str, start: int) -> tuple[Expansion, Expansion] | None:
        d = self.at(start)
        if d is None:
            return None
        z = Expansion(d[0].line, {W: Coefficient.rational(self.side)})
        if name == "kappa":
            return d[0] - z * d[1], -(z * d[2])
        if name == "zd1":
            return z * d[1], d[1] + z * d[2]
        if name == "slope":
            return d[0] * _inverse_of(z), Expansion(d[0].line, {})
        if name == "kappa1":
            return (d[0] - z * d[1]) * _inverse_of(z), Expansion(d[0].line, {})
        k = int(name[1:])
        return d[k], d[k + 1]

    def supremum(self, name: str, sign: int, start: int) -> TailSupremum | None:
        """Return the supremum of sign x quantity on |z| >= start, None if nothing is known."""
        key = (name, sign, start)
        if key not in self._suprema:
            self._suprema[key] = self._supremum(name, sign, start)
        return self._suprema[key]

    def _supremum(self, name: str, sign: int, start: int) -> TailSupremum | None:
        pair = self.quantity(name, start)
        if pair is None:
            return None
        f, slope = (pair[0], pair[1]) if sign > 0 else (-pair[0], -pair[1])
        try:
            return supremum(f, slope)
        except (NeedLargerError, UnclearError):
            return None

    def limit(self, name: str = "d0") -> Limit:
        """Return the limit of a quantity."""
        for start in STARTS:
            pair = self.quantity(name, start)
            if pair is not None:
                try:
                    return limit(pair[0])
                except UnclearError as reason:
                    self.why = str(reason)
        return Limit("unknown")

    def superior(self, name: str) -> TailSupremum | None:
        """Return limsup of |quantity|: infinite, or low <= limsup <= high."""
        for start in STARTS:
            pair = self.quantity(name, start)
            if pair is not None:
                try:
                    return superior(pair[0])
                except UnclearError as reason:
                    self.why = str(reason)
        return None


@lru_cache(maxsize=32)
def tail_of(root: Node, side: int, order: int = ORDER) -> Tail:
    """Return the one `Tail` of a tree, a side and a number of derivatives."""
    return Tail(root, side, order=order)


def _inverse_of(z: Expansion) -> Expansion:
    m, c = z.lead()
    return Expansion(z.line, {over(ONE, m): c.inverse()})


def sign_of(f: Expansion) -> int | None:
    """Return the sign of a function on its whole half-line, 0 if it is zero there."""
    if f.is_zero:
        return 0
    try:
        m, _ = f.lead()
        ball = f.range_over(m)
    except (UnclearError, NeedLargerError):
        return None
    return 1 if ball > 0 else -1 if ball < 0 else None


def supremum(f: Expansion, slope: Expansion) -> TailSupremum | None:
    """Return the supremum of a function on its half-line.

    Raises:
        UnclearError, NeedLargerError: the rules do not decide something.
    """
    line = f.line
    if f.is_zero:
        return TailSupremum(False, arb(0), arb(0), True)
    if not f.is_bounded:
        return _growing(f, slope)
    monotone = sign_of(slope) is not None
    lowest = arb("-inf")
    if any(line.growth(m) >= 0 for m in f.rest):
        return TailSupremum(False, lowest, f.ends_over(ONE)[1], False)
    level = f.terms.get(ONE, Coefficient({}))
    _, high, approached = level.range()
    low = high.lower() if approached else lowest
    if monotone and level.is_still:
        return TailSupremum(False, low, high.upper(), True)
    if len(f.terms) == bool(level) and not f.rest:  # the function is its level
        return TailSupremum(False, low, high.upper(), False)
    vanishing = f.without(ONE)
    if sign_of(vanishing) == -1:
        return TailSupremum(False, low, high.upper(), False)
    return TailSupremum(False, low, f.ends_over(ONE)[1], False)


def _growing(f: Expansion, slope: Expansion) -> TailSupremum | None:
    line = f.line
    m, c = f.lead()
    lowest = arb("-inf")
    _, high, approached = c.range()
    if c.is_still:
        if c.sign() > 0:
            return TailSupremum(True, lowest, None, False)
        if sign_of(slope) is not None:
            return TailSupremum(False, lowest, lowest, True)
    elif high > 0 and approached:
        return TailSupremum(True, lowest, None, False)
    ball = f.range_over(m)
    if ball < 0:
        return TailSupremum(False, lowest, (ball / line.sup(over(ONE, m))).upper(), False)
    return None


def limit(f: Expansion) -> Limit:
    """Return the limit of a function.

    Raises:
        UnclearError: the rules do not decide it.
    """
    if f.is_zero:
        return Limit("finite", arb(0))
    if not f.is_bounded:
        _, c = f.lead()
        if c.is_still:
            return Limit("+inf" if c.sign() > 0 else "-inf")
        low, high, approached = c.range()
        if low > 0:
            return Limit("+inf")
        if high < 0:
            return Limit("-inf")
        if approached and high > low:
            return Limit("oscillates")
        raise UnclearError("the leading coefficient oscillates")
    _, level, _ = f.split()
    if level.is_still:
        return Limit("finite", level.ball())
    low, high, approached = level.range()
    if approached and high > low:
        return Limit("oscillates")
    raise UnclearError("the constant term oscillates")


def superior(f: Expansion) -> TailSupremum:
    """Return limsup |f| as infinite, or between low and high.

    Raises:
        UnclearError: the rules do not decide it.
    """
    lowest = arb("-inf")
    if f.is_zero:
        return TailSupremum(False, arb(0), arb(0), False)
    if not f.is_bounded:
        _, c = f.lead()
        if c.sign() if c.is_still else _recurs(c):
            return TailSupremum(True, lowest, None, False)
        raise UnclearError("a growing part is not shown to be nonzero")
    _, level, _ = f.split()
    low, high, approached = level.range()
    top = (-low).max(high) if not level.is_still else abs(level.ball())
    return TailSupremum(False, top.lower() if approached else arb(0), top.upper(), False)


def _recurs(c: Coefficient) -> bool:
    """Return whether an oscillating coefficient is proved not to vanish at infinity."""
    low, high, approached = c.range()
    return bool(low > 0 or high < 0 or (approached and (low < 0 or high > 0)))


_POWERS = {1: "linear", 2: "quadratic", 3: "cubic"}


def growth(f: Expansion) -> str:
    """Return the order of growth of |f|."""
    if f.is_zero or f.is_bounded:
        return "bounded"
    try:
        m, c = f.lead()
        if c.is_still:
            c.sign()
        elif not _recurs(c):
            return "unknown"
    except UnclearError:
        return "unknown"
    if m.exponent:
        return "exponential"
    if m.power == 0:
        return "logarithmic" if m.logs == 1 else "unknown"
    if m.logs:
        return "unknown"
    return _POWERS.get(int(m.power), "polynomial") if m.power.denominator == 1 else "polynomial"

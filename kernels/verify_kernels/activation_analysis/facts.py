"""What is proved about an activation: dataclasses only."""

from __future__ import annotations

from dataclasses import dataclass, field

from verify.enclosure import INF, Enclosure
from verify.verdict import Truth


@dataclass(frozen=True)
class Bound:
    """One end of a range, or a limit superior.

    Args:
        value: encloses the number if it is finite; unbounded otherwise.
        finite: PROVED with a bounded value, REFUTED if the number is infinite, else UNDECIDED.
        where: where it is approached, or why it is open, in a phrase.
    """

    value: Enclosure
    finite: Truth
    where: str = ""


@dataclass(frozen=True)
class Range:
    """Infimum and supremum of a function over all points where it exists."""

    inf: Bound
    sup: Bound

    def largest(self) -> Bound:
        """Return the supremum of the absolute value."""
        ends = (self.inf, self.sup)
        for end in ends:
            if end.finite is Truth.REFUTED:
                return Bound(Enclosure.unbounded(), Truth.REFUTED, end.where)
        for end in ends:
            if end.finite is Truth.UNDECIDED:
                return Bound(Enclosure.unbounded(), Truth.UNDECIDED, end.where)
        low, high = self.inf.value, self.sup.value
        lowest = max(-low.hi, high.lo, 0)
        highest = max(-low.lo, high.hi)
        return Bound(
            Enclosure(lowest, max(highest, lowest)),
            Truth.PROVED,
            self.sup.where if high.lo >= -low.hi else self.inf.where,
        )


@dataclass(frozen=True)
class Kink:
    """A point where it is not proved smooth, with one-sided derivatives of order 0..3."""

    place: Enclosure
    left: tuple[Enclosure, ...]
    right: tuple[Enclosure, ...]


@dataclass(frozen=True)
class ActivationFacts:
    """What is proved about an activation from its formula alone.

    Derivatives at kinks are one-sided; ranges are over the points where they exist.

    Args:
        expression: the formula in z.
        defined: whether it is a real number at every real z.
        smooth: whether it is infinitely differentiable on R.
        order: the largest k with continuous k-th derivative where it is not smooth; -1 if it
            jumps; None if not known, and for smooth activations.
        kinks: every point where it is not proved smooth, if ``smooth`` is REFUTED (some of
            them otherwise); of a window longer than one period where ``period`` is there.
        limits: at -infinity and +infinity; REFUTED finite means infinite or no limit (``where``
            says which).
        growth: at -infinity and +infinity: bounded, logarithmic, linear, quadratic, cubic,
            polynomial, exponential or unknown.
        d0, d1, d2, d3: range of the activation and of its derivatives.
        kappa: range of sigma(z) - z sigma'(z).
        zd1: range of z sigma'(z).
        secant: range of the secant slopes.
        l0, l1, kappa1: limsup as |z| grows of |sigma(z)/z|, |sigma'(z)|,
            |sigma(z)/z - sigma'(z)|.
        monotone: whether it is nondecreasing.
        strictly_increasing, even, odd: as they say.
        value_at_zero: sigma(0).
        why: fact -> how it is proved, or why it is open.
        period: of P where the facts come from one period of c z + P(z), else None.
    """

    expression: str
    defined: Truth
    smooth: Truth
    order: int | None
    kinks: tuple[Kink, ...]
    limits: tuple[Bound, Bound]
    growth: tuple[str, str]
    d0: Range
    d1: Range
    d2: Range
    d3: Range
    kappa: Range
    zd1: Range
    secant: Range
    l0: Bound
    l1: Bound
    kappa1: Bound
    monotone: Truth
    strictly_increasing: Truth
    even: Truth
    odd: Truth
    value_at_zero: Enclosure
    why: dict[str, str] = field(default_factory=dict)
    period: Enclosure | None = None

    def sup_abs(self, k: int) -> Bound:
        """Return sup |sigma^(k)| for k = 0..3."""
        return (self.d0, self.d1, self.d2, self.d3)[k].largest()

    @property
    def kappa0(self) -> Bound:
        """Return sup |sigma(z) - z sigma'(z)|."""
        return self.kappa.largest()

    @property
    def sup_abs_zd1(self) -> Bound:
        """Return sup |z sigma'(z)|."""
        return self.zd1.largest()


def open_bound(why: str) -> Bound:
    """Return a bound that is not decided."""
    return Bound(Enclosure.unbounded(), Truth.UNDECIDED, why)


def proved_bound(value: Enclosure, where: str) -> Bound:
    """Return a bound that is proved to be finite; open where its enclosure is not bounded.

    Numbers beyond 2^900000 have none.
    """
    if not value.is_bounded:
        return open_bound("a number beyond 2^900000")
    return Bound(value, Truth.PROVED, where)


def infinite_bound(where: str) -> Bound:
    """Return a bound that is proved to be infinite."""
    return Bound(Enclosure(-INF, INF), Truth.REFUTED, where)

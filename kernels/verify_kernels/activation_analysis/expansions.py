"""Expansions at infinity with rigorous remainders, in powers of w, log w and exponentials.

On [start, infinity) a function of w is a finite sum of exact coefficients times monomials
w^k (log w)^j exp(q(w)), q a sum of growing powers, and a remainder: nonnegative numbers times
monomials. A monomial is bounded on the half-line by its value at the start, after its logarithmic
derivative is shown to be nowhere positive there; nothing is ever evaluated at infinity.
"""

from __future__ import annotations

from collections.abc import Iterable
from fractions import Fraction
from functools import cmp_to_key
from typing import Any

from flint import arb, ctx, fmpq

from verify_kernels.activation_analysis.coefficients import (
    MOST_BITS,
    Coefficient,
    NeedLargerError,
    UnclearError,
    constant_ball,
)

Ball = Any


class Monomial:
    """w^power (log w)^logs exp(q), q given by ((power, constants), rational) pairs; interned."""

    __slots__ = ("exponent", "logs", "power")

    def __init__(self, exponent: Exponent, power: Fraction, logs: int) -> None:
        self.exponent, self.power, self.logs = exponent, power, logs

    def __repr__(self) -> str:
        return f"{self.exponent!r} {self.power} {self.logs}"


Exponent = tuple[tuple[Any, Fraction], ...]
_KNOWN: dict[tuple[Exponent, Fraction, int], Monomial] = {}
_PRODUCTS: dict[tuple[Monomial, Monomial], Monomial] = {}
_QUOTIENTS: dict[tuple[Monomial, Monomial], Monomial] = {}
_WORK = 60_000  # products of terms of coefficients
_MOST_KNOWN = 200_000


def monomial(power: int | Fraction = 0, logs: int = 0, exponent: Exponent = ()) -> Monomial:
    """Return the one object for a monomial."""
    key = (exponent, Fraction(power), logs)
    if key not in _KNOWN:
        _KNOWN[key] = Monomial(*key)
    return _KNOWN[key]


ONE = monomial()
W = monomial(1)
KEPT = 6
ORDER = 5  # Taylor terms of a vanishing argument


def product(a: Monomial, b: Monomial) -> Monomial:
    """Return a b."""
    found = _PRODUCTS.get((a, b))
    if found is None:
        if len(_PRODUCTS) > _MOST_KNOWN:
            _PRODUCTS.clear()
        found = _PRODUCTS[a, b] = times(a, b)
    return found


def times(a: Monomial, b: Monomial, power: int | Fraction = 1) -> Monomial:
    """Return a b^power."""
    total = dict(a.exponent)
    for name, value in b.exponent:
        total[name] = total.get(name, Fraction(0)) + power * value
    kept = sorted(((n, v) for n, v in total.items() if v), key=lambda i: (-i[0][0], repr(i[0])))
    return monomial(a.power + power * b.power, _whole(a.logs + power * b.logs), tuple(kept))


def over(a: Monomial, b: Monomial) -> Monomial:
    """Return a/b."""
    if b is ONE:
        return a
    found = _QUOTIENTS.get((a, b))
    if found is None:
        if len(_QUOTIENTS) > _MOST_KNOWN:
            _QUOTIENTS.clear()
        found = _QUOTIENTS[a, b] = times(a, b, -1)
    return found


def _whole(value: int | Fraction) -> int:
    if Fraction(value).denominator != 1:
        raise UnclearError("a root of a logarithm")
    return int(value)


class TooLongError(UnclearError):
    """The work allowed for one expansion is used up; another start does not help."""


class HalfLine:
    """[start, infinity), with the monomials compared and bounded on it."""

    def __init__(self, start: int) -> None:
        self.start = arb(start)
        self.log_start = self.start.log()
        self._sup: dict[Monomial, Ball] = {}
        self._growth: dict[Monomial, int] = {}
        self.work = _WORK

    def spend(self, work: int) -> None:
        """Use up some of the work allowed for one expansion.

        Raises:
            UnclearError: nothing is left.
        """
        self.work -= work
        if self.work < 0:
            raise TooLongError("the expansion at infinity is too long")

    def exponents(self, m: Monomial) -> list[tuple[Fraction, Ball]]:
        """Return the powers of w in the exponent with their coefficients, largest first."""
        total: dict[Fraction, Ball] = {}
        for (power, powers), value in m.exponent:
            part = constant_ball(powers, ctx.prec) * fmpq(value.numerator, value.denominator)
            total[power] = total[power] + part if power in total else part
        return sorted(total.items(), key=lambda item: -item[0])

    def growth(self, m: Monomial) -> int:
        """Return 1 if the monomial tends to infinity, -1 if to zero, 0 if it is one."""
        if m not in self._growth:
            self._growth[m] = self._new_growth(m)
        return self._growth[m]

    def _new_growth(self, m: Monomial) -> int:
        for _, ball in self.exponents(m):
            if ball > 0:
                return 1
            if ball < 0:
                return -1
            raise UnclearError("two exponents are not told apart")
        return (m.power > 0) - (m.power < 0) or (m.logs > 0) - (m.logs < 0)

    def compare(self, a: Monomial, b: Monomial) -> int:
        """Return the growth of a/b."""
        return self.growth(over(a, b)) if a is not b else 0

    def at_start(self, m: Monomial) -> Ball:
        """Enclose the monomial at the start."""
        value = (
            self.start ** arb(fmpq(m.power.numerator, m.power.denominator)) * self.log_start**m.logs
        )
        total = arb(0)
        for power, ball in self.exponents(m):
            total += ball * self.start ** arb(fmpq(power.numerator, power.denominator))
        return value * total.exp()

    def sup(self, m: Monomial) -> Ball:
        """Bound a monomial that does not grow on the half-line, by its value at the start.

        Raises:
            NeedLargerError: it is not decreasing from the start on.
            UnclearError: it grows.
        """
        if m is ONE:
            return arb(1)
        if m not in self._sup:
            if self.growth(m) > 0:
                raise UnclearError("a growing remainder")
            self._check_decreasing(m)
            self._sup[m] = self.at_start(m).upper()
        return self._sup[m]

    def _check_decreasing(self, m: Monomial) -> None:
        """Show w (log m)' = sum c p w^p + k + j/log w <= 0 on the half-line."""
        slope = arb(fmpq(m.power.numerator, m.power.denominator)) + max(m.logs, 0) / self.log_start
        exponents = self.exponents(m)
        if exponents:
            first = exponents[0][0]
            factor = arb(0)
            for power, ball in exponents:
                scale = self.start ** arb(
                    fmpq((power - first).numerator, (power - first).denominator)
                )
                part = ball * arb(fmpq(power.numerator, power.denominator)) * scale
                if power == first or not part < 0:
                    factor += part
            if not factor < 0:
                raise NeedLargerError
            slope += factor * self.start ** arb(fmpq(first.numerator, first.denominator))
        if not slope <= 0:
            raise NeedLargerError


class Expansion:
    """Terms and remainder on a half-line; without either it is exactly zero."""

    __slots__ = ("line", "rest", "terms")

    def __init__(
        self,
        line: HalfLine,
        terms: dict[Monomial, Coefficient],
        rest: dict[Monomial, Ball] | None = None,
    ) -> None:
        self.line, self.terms, self.rest = line, terms, rest or {}

    @classmethod
    def constant(cls, line: HalfLine, value: Coefficient | int | Fraction) -> Expansion:
        """Return a constant function."""
        c = value if isinstance(value, Coefficient) else Coefficient.rational(value)
        return cls(line, {ONE: c} if c else {})

    @classmethod
    def within(cls, line: HalfLine, ball: Ball, scale: Monomial = ONE) -> Expansion:
        """Return some function with values in a ball, times a monomial.

        Raises:
            UnclearError: the ball is not finite.
        """
        if not ball.is_finite():
            raise UnclearError("an operand is not bounded away from a pole")
        if ball.is_zero():
            return cls(line, {})
        mantissa, exponent = ball.mid().man_exp()
        if abs(exponent) > MOST_BITS:
            raise UnclearError("a bound is too small or too large")
        middle = Fraction(int(mantissa)) * Fraction(2) ** int(exponent)
        radius = ball.rad().upper()
        terms = {scale: Coefficient.rational(middle)} if middle else {}
        return cls(line, terms, {} if radius.is_zero() else {scale: radius})

    @property
    def is_zero(self) -> bool:
        """Whether the function is exactly zero."""
        return not self.terms and not self.rest

    def __add__(self, other: Expansion) -> Expansion:
        terms = dict(self.terms)
        for m, c in other.terms.items():
            total = terms[m] + c if m in terms else c
            if total:
                terms[m] = total
            else:
                del terms[m]
        rest = dict(self.rest)
        for m, r in other.rest.items():
            rest[m] = (rest[m] + r).upper() if m in rest else r
        return Expansion(self.line, terms, rest)

    def __neg__(self) -> Expansion:
        return self.scaled(-1)

    def __sub__(self, other: Expansion) -> Expansion:
        return self + other.scaled(-1)

    def scaled(self, factor: int | Fraction | Coefficient) -> Expansion:
        """Return a constant multiple."""
        c = factor if isinstance(factor, Coefficient) else Coefficient.rational(factor)
        if not c:
            return Expansion(self.line, {})
        bound = c.bound()
        terms = {m: x * c for m, x in self.terms.items()}
        return Expansion(
            self.line,
            {m: x for m, x in terms.items() if x},
            {m: (r * bound).upper() for m, r in self.rest.items()},
        )

    def without(self, m: Monomial) -> Expansion:
        """Return the function less its term with a monomial."""
        return Expansion(self.line, {x: c for x, c in self.terms.items() if x is not m}, self.rest)

    def shifted(self, m: Monomial, power: int | Fraction = 1) -> Expansion:
        """Return the product with a power of a monomial."""
        factor = times(ONE, m, power)
        return Expansion(
            self.line,
            {product(x, factor): c for x, c in self.terms.items()},
            {product(x, factor): r for x, r in self.rest.items()},
        )

    def __mul__(self, other: Expansion) -> Expansion:
        terms: dict[Monomial, Coefficient] = {}
        self.line.spend(
            sum(len(c.terms) for c in self.terms.values())
            * sum(len(d.terms) for d in other.terms.values())
        )
        for a, c in self.terms.items():
            for b, d in other.terms.items():
                m = product(a, b)
                part = c * d
                terms[m] = terms[m] + part if m in terms else part
        rest: dict[Monomial, Ball] = {}

        def more(a: Monomial, b: Monomial, size: Ball) -> None:
            m = product(a, b)
            rest[m] = (rest[m] + size).upper() if m in rest else size.upper()

        for a, r in self.rest.items():
            for b, d in other.terms.items():
                more(a, b, r * d.bound())
            for b, s in other.rest.items():
                more(a, b, r * s)
        for a, c in self.terms.items():
            for b, s in other.rest.items():
                more(a, b, c.bound() * s)
        kept = {m: c for m, c in terms.items() if c}
        return Expansion(self.line, kept, rest).trimmed()

    def trimmed(self) -> Expansion:
        """Move all but the leading terms into the remainder, and join small remainders."""
        if len(self.terms) <= KEPT and len(self.rest) <= 1:
            return self
        line = self.line
        order = sorted(self.terms, key=cmp_to_key(line.compare), reverse=True)
        rest = dict(self.rest)
        for m in order[KEPT:]:
            size = self.terms[m].bound()
            rest[m] = (rest[m] + size).upper() if m in rest else size
        terms = {m: self.terms[m] for m in order[:KEPT]}
        if len(rest) > 1:
            rest = self._joined(rest)
        return Expansion(line, terms, rest)

    def _joined(self, rest: dict[Monomial, Ball]) -> dict[Monomial, Ball]:
        line = self.line
        order = sorted(rest, key=cmp_to_key(line.compare), reverse=True)
        result = {order[0]: rest[order[0]]}
        for m in order[1:]:
            try:
                factor = line.sup(over(m, order[0]))
            except NeedLargerError:
                result[m] = rest[m]
                continue
            result[order[0]] = (result[order[0]] + rest[m] * factor).upper()
        return result

    def top(self) -> Monomial:
        """Return the largest monomial of terms and remainder."""
        return max([*self.terms, *self.rest], key=cmp_to_key(self.line.compare), default=ONE)

    def lead(self) -> tuple[Monomial, Coefficient]:
        """Return the leading term.

        Raises:
            UnclearError: the remainder hides it, or there is none.
        """
        m = self.top()
        if m not in self.terms or m in self.rest:
            raise UnclearError("the leading term is not known")
        return m, self.terms[m]

    def relative(self, m: Monomial, *, without: Iterable[Monomial] = ()) -> Ball:
        """Bound the sum of all other terms and the remainder, divided by a monomial."""
        skipped = set(without)
        total = arb(0)
        for x, c in self.terms.items():
            if x not in skipped:
                total += c.bound() * self.line.sup(over(x, m))
        for x, r in self.rest.items():
            total += r * self.line.sup(over(x, m))
        return total.upper()

    def range_over(self, m: Monomial) -> Ball:
        """Enclose the function divided by a monomial that dominates it."""
        low, high = self.ends_over(m)
        return low.union(high)

    def ends_over(self, m: Monomial) -> tuple[Ball, Ball]:
        """Return a lower and an upper bound of the function divided by such a monomial.

        A ball of both ends has a radius of thirty bits; the ends themselves are not widened.
        """
        wave = self.terms.get(m)
        low, high = wave.range()[:2] if wave else (arb(0), arb(0))
        radius = self.relative(m, without=(m,))
        return (low - radius).lower(), (high + radius).upper()

    def split(self) -> tuple[dict[Monomial, Coefficient], Coefficient, Expansion]:
        """Return growing terms, the constant term and the vanishing part.

        Raises:
            UnclearError: the remainder does not vanish.
        """
        growing: dict[Monomial, Coefficient] = {}
        vanishing: dict[Monomial, Coefficient] = {}
        for m, c in self.terms.items():
            growth = self.line.growth(m)
            if growth > 0:
                growing[m] = c
            elif growth < 0:
                vanishing[m] = c
        if any(self.line.growth(m) >= 0 for m in self.rest):
            raise UnclearError("the remainder does not vanish")
        level = self.terms.get(ONE, Coefficient({}))
        return growing, level, Expansion(self.line, vanishing, self.rest)

    @property
    def is_bounded(self) -> bool:
        """Whether nothing grows."""
        return all(self.line.growth(m) <= 0 for m in [*self.terms, *self.rest])

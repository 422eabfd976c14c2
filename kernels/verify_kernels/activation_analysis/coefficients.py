"""Exact coefficients of expansions at infinity: rational combinations of constants and waves.

A coefficient is a sum of rational numbers times constants (powers of integers, pi, e and of other
named positive or opaque constants) times at most one wave, the cosine or sine of a phase that
tends to infinity. Equal terms cancel exactly; what no rule makes equal is told apart by balls, or
not at all (`UnclearError`).
"""

from __future__ import annotations

from collections.abc import Callable
from fractions import Fraction
from functools import lru_cache
from math import isqrt
from typing import Any

from flint import arb, ctx, fmpq

from verify_kernels.activation_analysis.jet import constant

Ball = Any
Phase = tuple[tuple[Any, Fraction], ...]  # multiples of phases that tend to infinity, sorted
Wave = tuple[str, Phase]  # ("c" or "s", phase), or ("", ()) for none
STILL: Wave = ("", ())


class Constant(tuple[tuple[Any, Fraction], ...]):
    """A product of powers of named constants, sorted; equal ones are one object."""

    __slots__ = ()

    def __hash__(self) -> int:
        return id(self)

    def __eq__(self, other: object) -> bool:
        return self is other


_CONSTANTS: dict[tuple[tuple[Any, Fraction], ...], Constant] = {}
_PRODUCTS: dict[tuple[Constant, Constant], tuple[Any, Constant]] = {}
_MOST_KNOWN = 200_000


def _one_object(powers: tuple[tuple[Any, Fraction], ...]) -> Constant:
    plain = tuple(powers)
    if plain not in _CONSTANTS:
        _CONSTANTS[plain] = Constant(plain)
    return _CONSTANTS[plain]


NOTHING = _one_object(())
PI = _one_object(((("pi",), Fraction(1)),))
Key = tuple[Constant, Wave]
PLAIN: Key = (NOTHING, STILL)


def _constant_product(a: Constant, b: Constant) -> tuple[Any, Constant]:
    """Return a rational factor and the rest of a product."""
    found = _PRODUCTS.get((a, b))
    if found is None:
        if len(_PRODUCTS) > _MOST_KNOWN:
            _PRODUCTS.clear()
        factor, rest = _reduced(_merge(a, b))
        found = _PRODUCTS[a, b] = (_exact(factor), rest)
    return found


class UnclearError(Exception):
    """A sign, a limit or an expansion that these rules do not decide."""


class NeedLargerError(Exception):
    """The expansion holds, but only further out than the point at which it was asked for."""


def _exact(value: Any) -> Any:
    """Return a rational number as python-flint's, which computes faster."""
    return fmpq(value.numerator, value.denominator) if isinstance(value, Fraction) else fmpq(value)


def fraction_of(value: Any) -> Fraction:
    """Return python-flint's rational number as a `Fraction`."""
    return Fraction(int(value.p), int(value.q))


def _order(key: Any) -> str:
    return repr(key)


@lru_cache(maxsize=4096)
def _generator_ball(name: Any, prec: int) -> Ball:
    kind = name[0]
    if kind == "of":
        kind, content = CONTENTS[name[2]]
        return _OF_BALL[kind](content.ball())
    if kind == "pi":
        return arb.pi()
    if kind == "e":
        return arb(1).exp()
    if kind == "int":
        return arb(name[1])
    if kind == "log":
        return arb(name[1]).log()
    if kind == "node":
        return constant(name[1], prec)
    raise UnclearError(f"an unknown constant {kind}")


CONTENTS: list[tuple[str, Coefficient]] = []
_NUMBERS: dict[tuple[str, tuple[tuple[Key, Fraction], ...]], int] = {}


def opaque(kind: str, content: Coefficient) -> Any:
    """Return a short name for a function of a constant, the same for the same constant."""
    key = (kind, content.key())
    if key not in _NUMBERS:
        _NUMBERS[key] = len(CONTENTS)
        CONTENTS.append((kind, content))
    return ("of", kind, _NUMBERS[key])


_OF_BALL: dict[str, Callable[[Ball], Ball]] = {
    "sum": lambda b: b,
    "exp": lambda b: b.exp(),
    "logof": lambda b: b.log(),
    "inverse": lambda b: 1 / b,
    "sin": lambda b: b.sin(),
    "cos": lambda b: b.cos(),
    "atan": lambda b: b.atan(),
    "erf": lambda b: b.erf(),
}
_POSITIVE = frozenset({"pi", "e", "int"})
MOST_TERMS = 8
MOST_BITS = 20_000  # of a rational factor


def is_positive(name: Any) -> bool:
    """Return whether a named constant is positive by its nature."""
    return name[0] in _POSITIVE or name[:2] == ("of", "exp")


@lru_cache(maxsize=4096)
def constant_ball(powers: Constant, prec: int) -> Ball:
    """Enclose a product of powers of named constants."""
    total = arb(1)
    for name, power in powers:
        base = _generator_ball(name, prec)
        if power.denominator == 1:
            total = total * base ** int(power)
        else:
            total = total * base ** arb(fmpq(power.numerator, power.denominator))
    return total


def _merge(left: Any, right: Any, sign: int = 1) -> Any:
    """Add two sorted tuples of (name, multiple)."""
    total = dict(left)
    for name, value in right:
        total[name] = total.get(name, Fraction(0)) + sign * value
    kept = [(name, value) for name, value in total.items() if value]
    return tuple(sorted(kept, key=lambda item: _order(item[0])))


def _reduced(powers: tuple[tuple[Any, Fraction], ...]) -> tuple[Fraction, Constant]:
    """Move whole powers of integers into the rational factor."""
    factor, kept = Fraction(1), []
    for name, power in powers:
        if name[0] == "int":
            whole = power.numerator // power.denominator
            if abs(whole) * int(name[1]).bit_length() > MOST_BITS:
                kept.append((name, power))
                continue
            factor *= Fraction(name[1]) ** whole
            power -= whole
        if power:
            kept.append((name, power))
    return factor, _one_object(tuple(kept))


def _wave(kind: str, phase: Phase) -> tuple[int, Wave]:
    """Return the sign and the canonical wave of cos or sin of a phase."""
    if not phase:
        return (1, STILL) if kind == "c" else (0, STILL)
    if phase[0][1] < 0:
        turned = tuple((name, -value) for name, value in phase)
        return (1 if kind == "c" else -1), (kind, turned)
    return 1, (kind, phase)


def _wave_product(left: Wave, right: Wave) -> list[tuple[Any, Wave]]:
    if left == STILL:
        return [(fmpq(1), right)]
    if right == STILL:
        return [(fmpq(1), left)]
    half = fmpq(1, 2)
    (kind, a), (other, b) = left, right
    plus, minus = _merge(a, b), _merge(a, b, -1)
    if kind == other:
        signs = (half, half if kind == "c" else -half)
        pairs = [(signs[0], *_wave("c", minus)), (signs[1], *_wave("c", plus))]
    elif kind == "s":
        pairs = [(half, *_wave("s", plus)), (half, *_wave("s", minus))]
    else:
        pairs = [(half, *_wave("s", plus)), (-half, *_wave("s", minus))]
    return [(scale * sign, wave) for scale, sign, wave in pairs if sign]


class Coefficient:
    """A finite sum of rational x constant x wave; the empty sum is exactly zero."""

    __slots__ = ("_bound", "terms")

    def __init__(self, terms: dict[Key, Any]) -> None:
        self.terms = terms
        self._bound: Ball = None

    @classmethod
    def rational(cls, value: int | Fraction) -> Coefficient:
        """Return a rational number."""
        return cls({PLAIN: _exact(value)} if value else {})

    @classmethod
    def named(cls, name: Any, power: Fraction | int = 1) -> Coefficient:
        """Return a power of a named constant."""
        factor, powers = _reduced(((name, Fraction(power)),))
        return cls({(powers, STILL): _exact(factor)})

    @classmethod
    def product(cls, powers: Constant, value: Fraction) -> Coefficient:
        """Return a rational multiple of a product of powers."""
        return cls({(powers, STILL): _exact(value)})

    @classmethod
    def wave(cls, kind: str, phase: Phase) -> Coefficient:
        """Return cos ("c") or sin ("s") of a phase."""
        sign, wave = _wave(kind, phase)
        return cls({(NOTHING, wave): fmpq(sign)} if sign else {})

    def key(self) -> tuple[tuple[Key, Fraction], ...]:
        """Return a canonical form, for names of constants made from this one."""
        return tuple(sorted(((k, fraction_of(v)) for k, v in self.terms.items()), key=_order))

    def __bool__(self) -> bool:
        return bool(self.terms)

    def __add__(self, other: Coefficient) -> Coefficient:
        total = dict(self.terms)
        for key, value in other.terms.items():
            value += total.get(key, 0)
            if value:
                total[key] = value
            else:
                del total[key]
        return Coefficient(total)

    def scaled(self, factor: Any) -> Coefficient:
        """Return a rational multiple."""
        exact = _exact(factor)
        return Coefficient({k: v * exact for k, v in self.terms.items()} if factor else {})

    def __mul__(self, other: Coefficient) -> Coefficient:
        if len(self.terms) == 1 == len(other.terms):
            a, b = self.terms.get(PLAIN), other.terms.get(PLAIN)
            if a is not None and b is not None:
                return Coefficient({PLAIN: a * b})
        total: dict[Key, Any] = {}
        for (powers, wave), value in self.terms.items():
            for (more, second), factor in other.terms.items():
                scale, joined = _constant_product(powers, more)
                for part, product in _wave_product(wave, second):
                    key = (joined, product)
                    new = total.get(key, 0) + value * factor * scale * part
                    if new:
                        total[key] = new
                    else:
                        total.pop(key, None)
        return Coefficient(total).short()

    def short(self) -> Coefficient:
        """Return a long constant under one name."""
        if len(self.terms) <= MOST_TERMS or not self.is_still:
            return self
        return Coefficient.named(opaque("sum", self))

    @property
    def is_still(self) -> bool:
        """Whether no wave occurs, so that the coefficient is a constant."""
        return all(wave == STILL for _, wave in self.terms)

    def rational_value(self) -> Fraction | None:
        """Return the value if it is written as a rational number."""
        if not self.terms:
            return Fraction(0)
        if len(self.terms) == 1:
            ((powers, wave), value) = next(iter(self.terms.items()))
            if not powers and wave == STILL:
                return fraction_of(value)
        return None

    def ball(self) -> Ball:
        """Enclose a constant coefficient."""
        total = arb(0)
        for (powers, _), value in self.terms.items():
            total += value * constant_ball(powers, ctx.prec)
        return total

    def sign(self) -> int:
        """Return the sign of a constant coefficient.

        Raises:
            UnclearError: a wave occurs, or the ball of a sum does not exclude zero.
        """
        if not self.terms:
            return 0
        if not self.is_still:
            raise UnclearError("the leading coefficient oscillates")
        ball = self.ball()
        if ball > 0:
            return 1
        if ball < 0:
            return -1
        raise UnclearError("the sign of a constant is not decided")

    def harmonics(self) -> dict[Phase, list[Coefficient]]:
        """Return the coefficients [of cos, of sin] of every phase; the constant has phase ()."""
        found: dict[Phase, list[Coefficient]] = {}
        for (powers, (kind, phase)), value in self.terms.items():
            pair = found.setdefault(phase, [Coefficient({}), Coefficient({})])
            at = 1 if kind == "s" else 0
            pair[at] = pair[at] + Coefficient({(powers, STILL): value})
        return found

    def range(self) -> tuple[Ball, Ball, bool]:
        """Return lower end, upper end and whether both are approached as all phases grow.

        They are when at most one phase occurs that tends to infinity continuously.
        """
        harmonics = self.harmonics()
        middle = harmonics.pop((), [Coefficient({})])[0]
        parts = [_amplitude(*pair) for pair in harmonics.values()]
        approached = len(parts) <= 1 and all(map(tends_to_infinity, harmonics))
        exact = [part for part in parts if isinstance(part, Fraction)]
        value = middle.rational_value()
        if value is not None and len(exact) == len(parts):
            low, high = value - sum(exact), value + sum(exact)
            return _arb(low), _arb(high), approached
        radius = arb(0)
        for part in parts:
            radius += _arb(part) if isinstance(part, Fraction) else part
        centre = middle.ball()
        return centre - radius, centre + radius, approached

    def bound(self) -> Ball:
        """Return an upper bound of the absolute value, an exact ball."""
        if self._bound is None:
            low, high, _ = self.range()
            self._bound = low.abs_upper().max(high.abs_upper()).upper()
        return self._bound

    def inverse(self) -> Coefficient:
        """Return the reciprocal of a nonzero constant."""
        if len(self.terms) == 1:
            ((powers, wave), value) = next(iter(self.terms.items()))
            if wave == STILL:
                factor, turned = _reduced(tuple((name, -power) for name, power in powers))
                return Coefficient({(turned, STILL): _exact(factor) / value})
        self.sign()
        return Coefficient.named(opaque("inverse", self))


def tends_to_infinity(phase: Phase) -> bool:
    """Return whether a phase is proved to grow: its constants do not cancel.

    Powers with logarithms that are written differently grow differently; exponentials may not.
    """
    totals: dict[Any, Ball] = {}
    for (growing, powers), value in phase:
        part = constant_ball(powers, ctx.prec) * fmpq(value.numerator, value.denominator)
        totals[growing] = totals[growing] + part if growing in totals else part
    if len(totals) > 1 and any(growing.exponent for growing in totals):
        return False
    return all(total != 0 for total in totals.values())


def _arb(value: Fraction) -> Ball:
    return arb(fmpq(value.numerator, value.denominator))


def _amplitude(cosine: Coefficient, sine: Coefficient) -> Fraction | Ball:
    a, b = cosine.rational_value(), sine.rational_value()
    if a is not None and b is not None:
        square = a * a + b * b
        top, bottom = isqrt(square.numerator), isqrt(square.denominator)
        if Fraction(top * top, bottom * bottom) == square:
            return Fraction(top, bottom)
        return _arb(square).sqrt()
    if not cosine:
        return abs(sine.ball())
    if not sine:
        return abs(cosine.ball())
    return (cosine.ball() ** 2 + sine.ball() ** 2).sqrt()

"""Elementary functions of expansions at infinity, with rigorous remainders.

Each function splits its operand into growing part, constant and vanishing part v; the vanishing
part enters through a Taylor polynomial whose remainder is bounded on the whole half-line. An
operand that stays bounded without a limit gives a function "within a ball".
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from fractions import Fraction
from math import factorial
from typing import Any

from flint import arb, fmpq

from verify_kernels.activation_analysis.coefficients import (
    NOTHING,
    Coefficient,
    NeedLargerError,
    UnclearError,
)
from verify_kernels.activation_analysis.constant_functions import (
    applied,
    exponential,
    logarithm,
    raised,
)
from verify_kernels.activation_analysis.expansions import (
    ONE,
    ORDER,
    Expansion,
    Monomial,
    W,
    monomial,
    over,
    times,
)
from verify_kernels.activation_analysis.jet import _OUTER

Ball = Any
LOG = monomial(logs=1)


def _taylor(
    coefficients: Sequence[Coefficient | Fraction | int], v: Expansion, last: Callable[[Ball], Ball]
) -> Expansion:
    """Return sum a_n v^n with its remainder.

    Args:
        coefficients: a_0 .. a_(N-1).
        v: a vanishing function.
        last: from a bound of |v| to a bound of |remainder| / |v|^N.
    """
    line = v.line
    total = Expansion(line, {})
    for a in reversed(coefficients):
        total = total * v + Expansion.constant(line, a)
    if v.is_zero:
        return total
    m = v.top()
    size = v.relative(m)
    reach = (size * line.sup(m)).upper()
    n = len(coefficients)
    bound = (last(reach) * size**n).upper()
    if not bound.is_finite():
        raise NeedLargerError
    return total + Expansion(line, {}, {times(ONE, m, n): bound})


def _geometric(reach: Ball) -> Ball:
    return 1 / (1 - reach) if reach < 1 else arb(0, float("inf"))


def inverse(f: Expansion) -> Expansion:
    """Return 1/f.

    Raises:
        UnclearError: f is not bounded away from zero relative to its leading monomial.
        NeedLargerError: it is further out.
    """
    m, c = f.lead()
    if not c.is_still:
        return Expansion.within(f.line, 1 / _nonzero(f.range_over(m)), times(ONE, m, -1))
    scale = c.inverse()
    c.sign()
    w = f.without(m).shifted(m, -1).scaled(scale)
    signs = [(-1) ** n for n in range(ORDER)]
    return _taylor(signs, w, _geometric).shifted(m, -1).scaled(scale)


def _nonzero(ball: Ball) -> Ball:
    if ball.contains(0):
        raise UnclearError("a divisor is not bounded away from zero")
    return ball


def power(f: Expansion, p: Fraction) -> Expansion:
    """Return f^p for a rational p; f is positive unless p is whole."""
    if p.denominator == 1:
        base = f if p > 0 else inverse(f)
        total = None
        n = abs(int(p))
        while n:
            if n & 1:
                total = base if total is None else total * base
            n >>= 1
            base = base * base if n else base
        return total if total is not None else Expansion.constant(f.line, 1)
    if f.is_zero:
        raise UnclearError("a root of zero")
    m, c = f.lead()
    if not c.is_still:
        ball = f.range_over(m)
        if not ball > 0:
            raise UnclearError("a root of a function that is not bounded away from zero")
        return Expansion.within(
            f.line, ball ** arb(fmpq(p.numerator, p.denominator)), times(ONE, m, p)
        )
    w = f.without(m).shifted(m, -1).scaled(c.inverse())
    coefficients = [Fraction(1)]
    for n in range(1, ORDER + 1):
        coefficients.append(coefficients[-1] * (p - n + 1) / n)
    size = abs(coefficients.pop())

    def last(reach: Ball) -> Ball:
        # |f^(N)|/N! of (1 + x)^p over |x| <= reach, by the larger of its ends
        if not reach < 1:
            return arb(0, float("inf"))
        exponent = arb(fmpq((p - ORDER).numerator, (p - ORDER).denominator))
        low, high = (1 - reach) ** exponent, (1 + reach) ** exponent
        return arb(fmpq(size.numerator, size.denominator)) * low.max(high)

    return _taylor(coefficients, w, last).shifted(m, p).scaled(raised(c, p))


def exp(f: Expansion) -> Expansion:
    """Return the exponential of an expansion."""
    line = f.line
    m = f.top()
    if line.growth(m) > 0 and m.exponent:
        return _exp_of_exponential(f)
    if not _has_limit(f):
        grows = {x: c for x, c in f.terms.items() if line.growth(x) > 0}
        stays = {x: c for x, c in f.terms.items() if line.growth(x) <= 0}
        ball = Expansion(line, stays, f.rest).range_over(ONE).exp()
        return exp(Expansion(line, grows)) * Expansion.within(line, ball)
    growing, level, v = _split_level(f)
    shift: dict[Any, Fraction] = {}
    factor: Monomial = ONE
    for g, c in growing.items():
        if not c.is_still:
            raise UnclearError("an exponent grows and oscillates")
        if g is LOG:
            rate = c.rational_value()
            if rate is None:
                raise UnclearError("an irrational power at infinity")
            factor = times(factor, monomial(rate))
        elif g.exponent or g.logs:
            raise UnclearError("an exponent with a logarithm")
        else:
            for (powers, _), value in c.terms.items():
                shift[(g.power, powers)] = Fraction(int(value.p), int(value.q))
    if shift:
        kept = tuple(sorted(shift.items(), key=lambda i: (-i[0][0], repr(i[0]))))
        factor = times(factor, monomial(exponent=kept))
    inner = [Fraction(1, factorial(n)) for n in range(ORDER)]
    series = _taylor(inner, v, lambda reach: reach.exp() / factorial(ORDER))
    return series.shifted(factor).scaled(exponential(level))


def _split_level(f: Expansion) -> tuple[dict[Monomial, Coefficient], Coefficient, Expansion]:
    growing, level, v = f.split()
    if not level.is_still:
        raise UnclearError("an operand oscillates about a growing part")
    return growing, level, v


def _has_limit(f: Expansion) -> bool:
    level = f.terms.get(ONE)
    if level is not None and not level.is_still:
        return False
    return all(f.line.growth(m) < 0 for m in f.rest)


def _exp_of_exponential(f: Expansion) -> Expansion:
    """Bound exp(f) where f tends to -infinity exponentially, by exp(-rate w)."""
    line = f.line
    m, c = f.lead()
    if c.sign() > 0:
        raise UnclearError("an exponential of an exponential")
    size = -(f.range_over(m)).upper()
    if not size > 0:
        raise NeedLargerError
    line.sup(over(W, m))  # m/w increases from the start on
    rate = (size * line.at_start(m) / line.start).min(arb(64)).lower()
    mantissa, exponent = rate.man_exp()
    slope = Fraction(int(mantissa)) * Fraction(2) ** int(exponent)
    slope = Fraction(int(slope * 16), 16)
    if slope <= 0:
        raise NeedLargerError
    return Expansion(line, {}, {monomial(exponent=(((Fraction(1), NOTHING), -slope),)): arb(1)})


def log(f: Expansion) -> Expansion:
    """Return the logarithm, for a positive function of an expansion."""
    line = f.line
    if f.is_zero:
        raise UnclearError("a logarithm of zero")
    m, c = f.lead()
    total = Expansion(line, {})
    for (exponent, powers), value in m.exponent:
        part = Coefficient.product(powers, value)
        total = total + Expansion(line, {monomial(exponent): part})
    if m.logs:  # 0 <= log log w <= log w
        total = total + Expansion(line, {}, {LOG: arb(abs(m.logs))})
    if m.power:
        total = total + Expansion(line, {LOG: Coefficient.rational(m.power)})
    if not c.is_still:
        ball = f.range_over(m)
        if not ball > 0:
            raise UnclearError("a logarithm of a function that is not bounded away from zero")
        return total + Expansion.within(line, ball.log())
    w = f.without(m).shifted(m, -1).scaled(c.inverse())
    coefficients = [Fraction(0)] + [Fraction((-1) ** (n + 1), n) for n in range(1, ORDER)]
    series = _taylor(coefficients, w, lambda reach: _geometric(reach) / ORDER)
    return total + Expansion.constant(line, logarithm(c)) + series


def asinh(f: Expansion) -> Expansion:
    """Return the inverse hyperbolic sine of an expansion."""
    found = _limit(f)
    if found is None:
        return Expansion.within(f.line, _monotone("asinh", f))
    one = Expansion.constant(f.line, 1)
    if found[0] < 0:
        return -asinh(-f)
    return log(f + power(one + f * f, Fraction(1, 2)))


def sin_cos(f: Expansion) -> tuple[Expansion, Expansion]:
    """Return sin(f) and cos(f)."""
    line = f.line
    try:
        growing, level, v = _split_level(f)
    except UnclearError:
        if f.is_bounded:
            s, c = f.range_over(ONE).sin_cos()
            return Expansion.within(line, s), Expansion.within(line, c)
        unit = arb(0, 1)
        return Expansion.within(line, unit), Expansion.within(line, unit)
    phase: dict[Any, Fraction] = {}
    for g, c in growing.items():
        if not c.is_still:
            unit = arb(0, 1)
            return Expansion.within(line, unit), Expansion.within(line, unit)
        for (powers, _), value in c.terms.items():
            phase[(g, powers)] = Fraction(int(value.p), int(value.q))
    waves = tuple(sorted(phase.items(), key=lambda item: repr(item[0])))
    s, c = Coefficient.wave("s", waves), Coefficient.wave("c", waves)
    s0, c0 = applied("sin", level), applied("cos", level)
    outer_s, outer_c = s * c0 + c * s0, c * c0 + (s * s0).scaled(-1)
    sines = [Fraction((0, 1, 0, -1)[n % 4], factorial(n)) for n in range(ORDER)]
    cosines = [Fraction((1, 0, -1, 0)[n % 4], factorial(n)) for n in range(ORDER)]

    def last(reach: Ball) -> Ball:
        return arb(1) / factorial(ORDER)

    small_s, small_c = _taylor(sines, v, last), _taylor(cosines, v, last)
    return (
        small_c.scaled(outer_s) + small_s.scaled(outer_c),
        small_c.scaled(outer_c) - small_s.scaled(outer_s),
    )


def _limit(f: Expansion) -> tuple[int, Coefficient, Expansion] | None:
    """Return (sign, _, _) of an infinite limit, (0, c, v) of a finite one, None if none shows."""
    line = f.line
    if not f.is_bounded:
        m, c = f.lead()
        if line.growth(m) <= 0 or not c.is_still:
            raise UnclearError("an operand grows and oscillates")
        return c.sign(), c, f
    if not _has_limit(f):
        return None
    _, level, v = f.split()
    return 0, level, v


def atan(f: Expansion) -> Expansion:
    """Return the arc tangent of an expansion."""
    line = f.line
    found = _limit(f)
    if found is None:
        return Expansion.within(line, _monotone("atan", f))
    sign, level, v = found
    if sign:
        half = Coefficient.named(("pi",)).scaled(Fraction(sign, 2))
        return Expansion.constant(line, half) - _atan_small(inverse(f))
    if not level:
        return _atan_small(v)
    centre = Expansion.constant(line, level)
    inner = v * inverse(Expansion.constant(line, 1) + centre * (centre + v))
    return Expansion.constant(line, applied("atan", level)) + _atan_small(inner)


def _atan_small(u: Expansion) -> Expansion:
    coefficients = [Fraction((0, 1, 0, -1)[n % 4], max(n, 1)) for n in range(ORDER)]
    return _taylor(coefficients, u, lambda reach: _geometric(reach) / ORDER)


def _monotone(name: str, f: Expansion) -> Ball:
    return _OUTER[name](f.range_over(ONE), 1)[0]


def _gauss(f: Expansion) -> Expansion:
    """Return exp(-f^2)/sqrt(pi)."""
    scale = Coefficient.named(("pi",), Fraction(-1, 2))
    return exp(-(f * f)).scaled(scale)


def erfc(f: Expansion) -> Expansion:
    """Return the complementary error function of an expansion."""
    line = f.line
    found = _limit(f)
    if found is None:
        return Expansion.within(line, _monotone("erfc", f))
    sign, level, v = found
    if sign < 0:
        return Expansion.constant(line, 2) - erfc(-f)
    if not sign:
        return Expansion.constant(line, 1) - _erf_near(level, v)
    # alternating series: the remainder is below the first term left out, for f > 0
    u = inverse(f)
    square = u * u
    coefficients, factor = [], Fraction(1)
    for n in range(ORDER + 1):
        coefficients.append(factor)
        factor = factor * -(2 * n + 1) / 2
    size = abs(coefficients.pop())
    series = _taylor(
        coefficients, square, lambda reach: arb(fmpq(size.numerator, size.denominator))
    )
    return _gauss(f) * u * series


def erf(f: Expansion) -> Expansion:
    """Return the error function of an expansion."""
    line = f.line
    found = _limit(f)
    if found is None:
        return Expansion.within(line, _monotone("erf", f))
    sign, level, v = found
    if sign > 0:
        return Expansion.constant(line, 1) - erfc(f)
    if sign < 0:
        return erfc(-f) - Expansion.constant(line, 1)
    return _erf_near(level, v)


def _erf_near(c: Coefficient, v: Expansion) -> Expansion:
    """Return erf(c + v) by Taylor's formula with Hermite polynomials."""
    density = exponential((c * c).scaled(-1)) * Coefficient.named(("pi",), Fraction(-1, 2))
    density = density.scaled(2)
    hermite = [Coefficient.rational(1), c.scaled(2)]
    for k in range(2, ORDER):
        hermite.append((c * hermite[-1]).scaled(2) + hermite[-2].scaled(-2 * (k - 1)))
    terms = [applied("erf", c)]
    for k in range(1, ORDER):
        terms.append((density * hermite[k - 1]).scaled(Fraction((-1) ** (k - 1), factorial(k))))
    centre = c.ball()

    def last(reach: Ball) -> Ball:
        return _OUTER["erf"](centre + arb(0, 1) * reach, ORDER + 1)[ORDER].abs_upper()

    return _taylor(terms, v, last)


def logistic(f: Expansion) -> tuple[Expansion, Expansion]:
    """Return 1/(1 + exp(-f)) and 1/(1 + exp(f)), each with its own relative accuracy."""
    line = f.line
    found = _limit(f)
    if found is None:
        ball = f.range_over(ONE)
        return (
            Expansion.within(line, _OUTER["sigmoid"](ball, 1)[0]),
            Expansion.within(line, _OUTER["sigmoid"](-ball, 1)[0]),
        )
    e = exp(-f) if found[0] > 0 else exp(f)
    large = inverse(Expansion.constant(line, 1) + e)
    small = e * large
    return (large, small) if found[0] > 0 else (small, large)

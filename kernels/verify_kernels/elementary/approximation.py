"""Errors of the polynomials of the elementary functions, by ball Taylor expansion.

Seven of the eight functions have a power series at 0 whose tail is smaller than a geometric one;
the difference of polynomial and series is a polynomial, bounded on subintervals by its Taylor
coefficients at the midpoint. The eighth is w(x) (1 + 2 x), w(x) = exp(x^2) erfc(x), expanded at the
midpoint of subintervals: w' = 2 x w - 2 / sqrt(pi) gives the coefficients, and
w(x) = 2 / sqrt(pi) int_0^inf exp(-s^2 - 2 x s) ds gives the decreasing bound
|w^(n)(x)| / n! <= x^-(n+1) / sqrt(pi).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import flint
from flint import arb, arb_poly, arb_series, fmpq

Exact = Any
PRECISION = 256
_ORDER = 16


def _factorial(n: int) -> Exact:
    return arb(n).fac()


def _exp_term(n: int) -> Exact:
    return 1 / _factorial(n + 2)


def _atanh_term(n: int) -> Exact:
    return arb(fmpq(1, (2 * n + 3) * 4 ** (n + 1)))


def _atan_term(n: int) -> Exact:
    return arb(fmpq((-1) ** (n + 1), 2 * n + 3))


def _sin_term(n: int) -> Exact:
    return (-1) ** (n + 1) / _factorial(2 * n + 3)


def _cos_term(n: int) -> Exact:
    return (-1) ** n / _factorial(2 * n + 4)


def _erf_term(n: int) -> Exact:
    return 2 * (-1) ** n / (_factorial(n) * (2 * n + 1) * arb.pi().sqrt())


# prefix -> n-th coefficient of the power series; |t_(n+1)| <= |t_n| for all n
SERIES: dict[str, Callable[[int], Exact]] = {
    "EXP": _exp_term,
    "LOG": _atanh_term,
    "ATANH": _atanh_term,
    "ATAN": _atan_term,
    "SIN": _sin_term,
    "COS": _cos_term,
    "ERF": _erf_term,
}


def series_error(
    prefix: str, coefficients: list[float], lo: Exact, hi: Exact, *, pieces: int = 64
) -> Exact:
    """Bound |P(z) - sum t_n z^n| over [lo, hi] for a power series of `SERIES`.

    The tail after N terms is at most |t_N| R^N / (1 - R), R = max(|lo|, |hi|) < 1, because the
    moduli of the coefficients decrease; for R = 1 (erf) it is at most 2 |t_N|, because there they
    at least halve.
    """
    term = SERIES[prefix]
    with flint.ctx.workprec(PRECISION):
        radius = arb(lo).abs_upper().max(arb(hi).abs_upper())
        count = 48
        difference = arb_poly(
            [(coefficients[n] if n < len(coefficients) else 0) - term(n) for n in range(count)]
        )
        ratio = radius if prefix != "ERF" else radius / 2
        tail = abs(term(count)) * radius**count / (1 - ratio)
        worst = arb(0)
        half = (arb(hi) - arb(lo)) / (2 * pieces)
        for i in range(pieces):
            shifted = difference(arb_poly([arb(lo) + (2 * i + 1) * half, 1]))
            worst = worst.max(_size(shifted.coeffs(), half.abs_upper()))
        return (worst + tail).abs_upper()


def _size(coefficients: list[Exact], radius: Exact) -> Exact:
    """Return sum |a_n| radius^n."""
    total = arb(0)
    for a in reversed(coefficients):
        total = total * radius + a.abs_upper()
    return total.abs_upper()


def erfcx_error(coefficients: list[float], lo: Exact, hi: Exact) -> Exact:
    """Bound |Q(t) - w(x) (1 + 2 x)|, t = (x - 4) / (x + 4), over 0 < lo <= x <= hi."""
    with flint.ctx.workprec(PRECISION):
        worst, a = arb(0), arb(lo)
        while not a >= hi:
            b = a * 17 / 16
            worst = worst.max(_erfcx_piece(coefficients, a, b))
            a = arb(b.lower())
        return worst.abs_upper()


def _erfcx_piece(coefficients: list[float], a: Exact, b: Exact) -> Exact:
    whole = a.union(b)
    middle = arb(((a + b) / 2).mid())
    radius = (whole - middle).abs_upper()
    local = _scaled_erfcx(middle)
    ours = _rational(coefficients, middle)
    head = [p - q for p, q in zip(ours, local, strict=True)][:_ORDER]
    least = arb(whole.abs_lower())
    rest = (whole.abs_upper() * 2 + 1) / least ** (_ORDER + 1) + 2 / least**_ORDER
    top = _rational(coefficients, whole)[_ORDER].abs_upper() + rest / arb.pi().sqrt()
    return (_size(head, radius) + top * radius**_ORDER).abs_upper()


def _scaled_erfcx(x: Exact) -> list[Exact]:
    """Return the Taylor coefficients of w(x) (1 + 2 x) at x."""
    w = [(x * x).exp() * x.erfc()]
    w.append(2 * x * w[0] - 2 / arb.pi().sqrt())
    for n in range(1, _ORDER):
        w.append(2 * (x * w[n] + w[n - 1]) / (n + 1))
    return [(1 + 2 * x) * w[n] + (2 * w[n - 1] if n else 0) for n in range(_ORDER + 1)]


def _rational(coefficients: list[float], x: Exact) -> list[Exact]:
    """Return the Taylor coefficients of Q((x - 4) / (x + 4)) at x, enclosed for a ball x."""
    saved, flint.ctx.cap = flint.ctx.cap, _ORDER + 1
    try:
        t = 1 - 8 / arb_series([x + 4, 1])
        total = arb_series([0])
        for c in reversed(coefficients):
            total = total * t + c
        found = total.coeffs()
        return [found[n] if n < len(found) else arb(0) for n in range(_ORDER + 1)]
    finally:
        flint.ctx.cap = saved

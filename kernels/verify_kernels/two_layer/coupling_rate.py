r"""The rate c* of reflection coupling, enclosed from both sides by special functions of balls.

For the diffusion dX = -grad f(X) dt + sqrt(s) dB with f = g + (lambda/2) ||W||^2,
||grad g|| <= G and Hess g >= -lambda_cvx I, the distance r of two copies under reflection coupling
has dr <= gamma(r) dt + 2 sqrt(s) dB with

    gamma(r) = -lambda r + min(2 G, lambda_cvx r).

c* is the principal Dirichlet eigenvalue of 2 s F'' + gamma F' = -c F on (0, inf), F(0) = 0: with
p = exp(int gamma / 2s), c* = inf int 2 s p h'^2 / int p h^2 over h of finite energy, h(0) = 0. It
is not computed by a discretised eigenproblem (which over-estimates it and drowns in round-off: c*
may be 1e-130) but from the exact solutions on the two pieces, r <= r0 = 2 G / lambda_cvx and above:

    F1(r) = r M(A, 3/2, -a r^2 / 4s),  F1' = M(A, 1/2, -a r^2 / 4s),  A = (1 + c/a) / 2,
            a = lambda_cvx - lambda, so gamma = a r (a sine if a = 0),
    F2(r) = H_nu(x),  x = (r - 2 G / lambda) / sqrt(4 s / lambda),  nu = c / lambda <= 1,

M Kummer's function, H_nu Hermite's, H_nu' = 2 nu H_(nu-1). At r0, x^2 = G^2 a^2 / (lambda_cvx^2
lambda s) with the sign of -a.

Lower bound. Let c > 0 have F1 > 0 and F1' > 0 on (0, r0], H_nu(x(r0)) > 0 and
F1'/F1 >= F2'/F2 at r0. Then H = F1 continued by F2 F1(r0)/F2(r0) is positive, increasing, of at
most linear growth and 2 s H'' + gamma H' <= -c H (with equality on the pieces and a kink downwards
at r0), so
  (i)  c <= c*: for h smooth with compact support in (0, inf), h = H k,
       int 2 s p h'^2 = int 2 s p H^2 k'^2 - int 2 s (p H')' H k^2 >= c int p h^2 (Barta, Picone);
  (ii) exp(c t) H(r_t) is a supermartingale (Ito-Tanaka: H' > 0 and dr <= gamma dt + 2 sqrt(s) dB;
       the kink adds a non-positive local time), so |E h(X_t) - E h(Y_t)| <= C_h exp(-c t) H(r_0)
       for Lipschitz bounded h, Var_mu(P_t h) <= C exp(-2 c t), and the spectral gap of the
       generator is at least c.
On (r0, inf) nothing else needs proof: H_(nu-1) > 0 for nu < 1 by its integral representation
(H_0 = 1), so H_nu is increasing. On (0, r0] it is enough that F1(r0) > 0, F1'(r0) > 0 and one of
  (a) a > 0, c <= 2 a: F1' = exp(-z) M(-c/2a, 1/2, z), z = a r^2/4s, and F1' exp(z) decreases in r,
  (b) a < 0, c <= 3 |a|: F1' = M((1 - c/|a|)/2, 1/2, z), z = |a| r^2/4s, decreases in r or is >= 1
      (in both, M(-e, 1/2, z) = 1 - e sum (1-e)_(k-1) z^k / ((1/2)_k k!), 0 <= e <= 1),
  (c) c <= 2 s (pi / r0)^2 + a/2: with y = sqrt(p) F the equation is -2 s y'' + V y = c y,
      V = a/2 + a^2 r^2 / 8s, so F1 has no zero in (0, r0); then (p F1')' = -c p F1 / 2s < 0 makes
      p F1' decreasing.
Upper bound. If F1(r0) > 0, H_nu > 0 and F1'/F1 <= F2'/F2 at r0, the same H has
int 2 s p H'^2 = c int p H^2 + 2 s p H (H'(r0-) - H'(r0+)) <= c int p H^2, hence c* <= c.

Monotonicity. A supersolution for gamma is one for every smaller drift (H' > 0): c* decreases in G
and in lambda_cvx, so the lower bound is taken at their upper ends, the upper bound at their lower
ends. c* <= lambda, with equality for G = 0 or lambda_cvx = 0 (F = r).

Source: the method is A. Eberle, *Reflection couplings and contraction rates for diffusions*
(2016); the constants and the proofs above are derived here. Kummer's and Hermite's functions:
NIST Handbook, 13.2, 13.4, 12.7.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

from flint import arb, ctx, fmpq

from verify.enclosure import INF, Enclosure, Endpoint
from verify.errors import InputError
from verify.evidence import Evidence, Witness

Ball = Any  # python-flint's arb

STEPS = 44
"""Bisections after the power of two is known: relative width 2^-44."""

_BITS = (128, 256, 512, 1024, 2048)
_HALF, _THREE_HALVES = Fraction(1, 2), Fraction(3, 2)
_APART = Fraction(1, 2**64)
_LARGEST_EXPONENT = 500_000.0
"""Of exp(-exponent) that is looked for; a smaller rate does not fit an enclosure's exponent."""

_HOW = "positive supersolution from Kummer's and Hermite's functions in ball arithmetic"


def _ball(number: Fraction) -> Ball:
    return arb(fmpq(number.numerator, number.denominator))


@dataclass(frozen=True)
class _Drift:
    """gamma(r) = -lam r + min(2 G, k r) with G, k > 0; k may be infinite."""

    G: Fraction
    k: Endpoint
    lam: Fraction
    s: Fraction


def enclose_coupling_rate(
    G: Enclosure, lambda_cvx: Enclosure, lam: Fraction | int, s: Fraction | int
) -> Evidence:
    """Enclose c* by bisection on certified sub- and supersolutions.

    Args:
        G: encloses a bound of ||grad g||, unbounded above if there is none.
        lambda_cvx: encloses a bound of the concavity of g, unbounded above if there is none.
        lam: lambda > 0, exact.
        s: temperature > 0, exact.

    Returns:
        Evidence whose enclosure contains c* for every (G, lambda_cvx) of the boxes; its lower end
        is a proved lower bound of the spectral gap. Relative width about 2^-44 for exact
        arguments. The lower end is 0 where nothing positive is proved (c* below
        exp(-500,000), or neither number finite). The witness holds the numbers that
        `is_coupling_rate` accepts.

    Error bound:
        that of the balls, no other: every decision compares balls of 128 to 2,048 bits made of
        exact rational arguments; a comparison that stays open counts as not proved.

    Raises:
        InputError: lambda or s not positive, or an upper end below zero.
    """
    lam, s = _positive(lam, "lam"), _positive(s, "s")
    for name, box in (("G", G), ("lambda_cvx", lambda_cvx)):
        if box.hi < 0:
            raise InputError(
                f"enclose_coupling_rate: expected {name} to be a number >= 0, but got {box!r}"
            )
    lower = _bracket(G.hi, lambda_cvx.hi, lam, s, above=True)[0]
    upper = _bracket(G.lo, lambda_cvx.lo, lam, s, above=False)[1]
    found = {"G": G.hi, "lambda_cvx": lambda_cvx.hi, "lambda": lam, "s": s, "rate": lower}
    data = {name: str(value) if value == INF else value for name, value in found.items()}
    return Evidence(
        Enclosure.outward(lower, upper),
        witness=Witness("coupling-supersolution", data) if lower > 0 else None,
        how=_HOW,
        why_open="" if lower > 0 else "no positive rate of the reflection coupling was found",
    )


def is_coupling_rate(
    rate: Fraction, G: Endpoint, lambda_cvx: Endpoint, lam: Fraction, s: Fraction
) -> bool:
    """Return whether ``rate`` is proved to be at most c*; False says nothing.

    Args:
        rate: the candidate.
        G: upper bound of ||grad g||, may be +inf.
        lambda_cvx: upper bound of the concavity of g, may be +inf.
        lam: lambda > 0.
        s: temperature > 0.
    """
    drift = _drift(G, lambda_cvx, lam, s, above=True)
    if drift is None:
        return 0 < rate <= _linear(G, lambda_cvx, lam)[0]
    return 0 < rate <= lam and _side(rate, drift) == (1, True)


def _positive(value: Fraction | int, name: str) -> Fraction:
    if isinstance(value, bool) or not isinstance(value, int | Fraction) or value <= 0:
        raise InputError(
            f"enclose_coupling_rate: expected {name} to be an exact number > 0, but got {value!r}"
        )
    return Fraction(value)


def _drift(G: Endpoint, k: Endpoint, lam: Fraction, s: Fraction, *, above: bool) -> _Drift | None:
    """Return the drift, lambda_cvx moved off lambda; None if it is linear on (0, inf).

    Kummer's parameter c / (2 a) grows without limit as a = lambda_cvx - lambda vanishes; at a = 0
    itself the solution is a sine. Within a part in 2^64 of lambda, lambda_cvx is moved to the safe
    side: up if ``above`` (for lower bounds of c*), else down.
    """
    if not isinstance(G, Fraction) or G <= 0 or k <= 0:
        return None
    if isinstance(k, Fraction) and 0 < abs(k - lam) < _APART * lam:
        k = lam if (k < lam) is above else lam + (_APART if above else -_APART) * lam
    return _Drift(G, k, lam, s)


def _linear(G: Endpoint, k: Endpoint, lam: Fraction) -> tuple[Fraction, Fraction]:
    """Return bounds of c* where G or lambda_cvx is 0 or G is infinite: gamma = -(lam - k) r."""
    if G <= 0 or k <= 0:
        return lam, lam
    rest = lam - k if isinstance(k, Fraction) else Fraction(0)
    return (rest, rest) if rest > 0 else (Fraction(0), lam)


def _exponent(drift: _Drift) -> float:
    """Return (G^2/s) (1/lambda - 1/lambda_cvx), the leading exponent of 1/c*, as a float."""
    inverse = 1 / drift.k if isinstance(drift.k, Fraction) else Fraction(0)
    exact = drift.G**2 / drift.s * (1 / drift.lam - inverse)
    return math.inf if exact > 2**62 else float(exact)


def _bracket(
    G: Endpoint, k: Endpoint, lam: Fraction, s: Fraction, *, above: bool
) -> tuple[Fraction, Fraction]:
    """Return proved bounds of c* that lie close together; 0 and lambda if none was found."""
    drift = _drift(G, k, lam, s, above=above)
    if drift is None:
        return _linear(G, k, lam)
    proved = [Fraction(0), lam]

    def is_below(rate: Fraction) -> bool:
        side, certain = _side(rate, drift)
        if certain and side > 0:
            proved[0] = max(proved[0], rate)
        elif certain and side < 0:
            proved[1] = min(proved[1], rate)
        return side > 0

    exponent = _exponent(drift)
    if exponent <= _LARGEST_EXPONENT:
        _bisect(lam, int(4 * max(exponent, 0.0)) + 200, is_below)
    return proved[0], proved[1]


def _bisect(lam: Fraction, most: int, is_below: Callable[[Fraction], bool]) -> None:
    """Ask along a bisection: first over powers of two times lam down to 2^-most, then between."""
    near, far = 0, 1
    while far <= most and not is_below(lam / 2**far):
        near, far = far, 2 * far
    while far - near > 1:
        middle = (near + far) // 2
        near, far = (near, middle) if is_below(lam / 2**middle) else (middle, far)
    lo, hi = lam / 2**far, lam / 2**near
    for _ in range(STEPS):
        rate = (lo + hi) / 2
        lo, hi = (rate, hi) if is_below(rate) else (lo, rate)


def _side(rate: Fraction, drift: _Drift) -> tuple[int, bool]:
    """Return on which side of c* the rate lies (1 below, -1 above), and whether that is proved."""
    for bits in _BITS:
        with ctx.workprec(bits):
            found = _compared(rate, drift)
        if found is not None:
            return found
    return -1, False


def _compared(rate: Fraction, drift: _Drift) -> tuple[int, bool] | None:
    """Compare at the working precision; None asks for more bits."""
    slope, height = _outer(rate, drift)
    if not isinstance(drift.k, Fraction):  # one piece: F2(0) is to vanish
        return (1, True) if height > 0 else (-1, True) if height < 0 else None
    value, derivative = _inner(rate, drift, drift.k)
    if value > 0 and derivative > 0 and height > 0:
        kink = derivative * height - value * slope
        if kink >= 0:
            return 1, _has_no_zero(rate, drift, drift.k)
        return (-1, True) if kink <= 0 else None
    return (-1, False) if value < 0 or derivative < 0 or height < 0 else None


def _inner(rate: Fraction, drift: _Drift, k: Fraction) -> tuple[Ball, Ball]:
    """Enclose F1(r0) and F1'(r0), both times the same positive number."""
    a, r0 = k - drift.lam, 2 * drift.G / k
    if a == 0:
        omega = _ball(rate / (2 * drift.s)).sqrt()
        return (omega * _ball(r0)).sin() / omega, (omega * _ball(r0)).cos()
    z = _ball(abs(a) * r0**2 / (4 * drift.s))
    first = -rate / (2 * a) if a > 0 else (1 + rate / a) / 2
    second = first + 1 if a > 0 else first
    value = _ball(r0) * z.hypgeom_1f1(_ball(second), _ball(_THREE_HALVES))
    return value, z.hypgeom_1f1(_ball(first), _ball(_HALF))


def _outer(rate: Fraction, drift: _Drift) -> tuple[Ball, Ball]:
    """Enclose F2'(r0) and F2(r0), both times the same positive number.

    For x <= 0 through H_nu(x) = 2^nu sqrt(pi) [M(-nu/2, 1/2, x^2) / Gamma((1-nu)/2)
    - 2 x M((1-nu)/2, 3/2, x^2) / Gamma(-nu/2)], for x > 0 through 2^nu U(-nu/2, 1/2, x^2).
    """
    ratio = 1 - drift.lam / drift.k if isinstance(drift.k, Fraction) else Fraction(1)
    square = _ball(drift.G**2 * ratio**2 / (drift.lam * drift.s))
    nu = rate / drift.lam
    height = _hermite(nu, square, right=ratio < 0)
    slope = _hermite(nu - 1, square, right=ratio < 0)
    scale = _ball(4 * drift.s / drift.lam).sqrt()
    return _ball(nu) / scale * slope, height


def _hermite(nu: Fraction, square: Ball, *, right: bool) -> Ball:
    """Enclose 2^-nu H_nu(x) at x = sqrt(square) (``right``) or -sqrt(square)."""
    half = _ball(_HALF)
    if right:
        return square.hypgeom_u(_ball(-nu / 2), half)
    even = square.hypgeom_1f1(_ball(-nu / 2), half) * _ball((1 - nu) / 2).rgamma()
    odd = square.hypgeom_1f1(_ball((1 - nu) / 2), _ball(_THREE_HALVES)) * _ball(-nu / 2).rgamma()
    return arb.pi().sqrt() * (even + 2 * square.sqrt() * odd)


def _has_no_zero(rate: Fraction, drift: _Drift, k: Fraction) -> bool:
    """Return whether (a), (b) or (c) of the module's text holds: F1' > 0 on the whole piece."""
    a = k - drift.lam
    if (a > 0 and rate <= 2 * a) or (a < 0 and rate <= -3 * a):
        return True
    waves = 2 * arb.pi() ** 2 * _ball(drift.s * (k / (2 * drift.G)) ** 2)
    return bool(waves >= _ball(rate - a / 2))

"""Algebraic operations on intervals (lo, hi), in the restricted subset.

Operands are non-empty closed intervals of real numbers whose ends may be infinite (lo = +inf and
hi = -inf do not occur in a non-empty one) and are never NaN. The result encloses the set of all
values at points of the operands where the operation is defined; no result has a NaN end. The empty
set is (+inf, -inf). ``*_fault`` is 1.0 where the operands may leave the domain, else 0.0.

Three-valued comparisons are intervals too: (1, 1) true, (0, 0) false, (0, 1) undecided.
Operations with ``_pg``, ``_pp`` or ``_gp`` in the name know that the exact first, both or second
operands are >= 0; their ends may be wider than that.
"""

from __future__ import annotations

from verify_kernels.interval.directed import (
    add_dn,
    add_up,
    div_dn,
    div_up,
    mul_dn,
    mul_up,
    sqrt_dn,
    sqrt_up,
    sub_dn,
    sub_up,
)

INFINITY = float("inf")


def largest(a: float, b: float) -> float:
    """Return the larger of two numbers."""
    return a if a > b else b


def least(a: float, b: float) -> float:
    """Return the smaller of two numbers."""
    return a if a < b else b


def product_dn(a: float, b: float) -> float:
    """Return a lower bound of a b, where zero times infinity (NaN) is zero."""
    p = mul_dn(a, b)
    return p if p == p else 0.0


def product_up(a: float, b: float) -> float:
    """Return an upper bound of a b, where zero times infinity (NaN) is zero."""
    p = mul_up(a, b)
    return p if p == p else 0.0


def quotient_dn(a: float, b: float) -> float:
    """Return a lower bound of a / b for b >= 0, where 0 / 0 (NaN) is zero."""
    q = div_dn(a, abs(b))
    return q if q == q else 0.0


def quotient_up(a: float, b: float) -> float:
    """Return an upper bound of a / b for b >= 0, where 0 / 0 (NaN) is zero."""
    q = div_up(a, abs(b))
    return q if q == q else 0.0


def least_modulus(xl: float, xh: float) -> float:
    """Return the least modulus of a point of the interval."""
    return 0.0 if xl < 0.0 and xh > 0.0 else least(abs(xl), abs(xh))


def largest_modulus(xl: float, xh: float) -> float:
    """Return the largest modulus of a point of the interval."""
    return largest(abs(xl), abs(xh))


def iv_neg(xl: float, xh: float) -> tuple[float, float]:
    """Return -x."""
    return -xh, -xl


def iv_add(xl: float, xh: float, yl: float, yh: float) -> tuple[float, float]:
    """Return x + y."""
    return add_dn(xl, yl), add_up(xh, yh)


def iv_sub(xl: float, xh: float, yl: float, yh: float) -> tuple[float, float]:
    """Return x - y."""
    return sub_dn(xl, yh), sub_up(xh, yl)


def iv_mul(xl: float, xh: float, yl: float, yh: float) -> tuple[float, float]:
    """Return x y: for each end of x the end of y that makes the product extreme."""
    p = product_dn(xl, yl if xl >= 0.0 else yh)
    q = product_dn(xh, yl if xh >= 0.0 else yh)
    r = product_up(xl, yh if xl >= 0.0 else yl)
    s = product_up(xh, yh if xh >= 0.0 else yl)
    return least(p, q), largest(r, s)


def iv_mul_pg(xl: float, xh: float, yl: float, yh: float) -> tuple[float, float]:
    """Return x y for x >= 0."""
    lo = product_dn(xl if yl >= 0.0 else xh, yl)
    hi = product_up(xh if yh >= 0.0 else xl, yh)
    return lo, hi


def iv_mul_pp(xl: float, xh: float, yl: float, yh: float) -> tuple[float, float]:
    """Return x y for x, y >= 0; the lower end is >= 0."""
    return largest(mul_dn(largest(xl, 0.0), largest(yl, 0.0)), 0.0), product_up(xh, yh)


def iv_scale(cl: float, ch: float, xl: float, xh: float) -> tuple[float, float]:
    """Return c x for a finite c > 0."""
    return mul_dn(cl if xl >= 0.0 else ch, xl), mul_up(ch if xh >= 0.0 else cl, xh)


def iv_sqr(xl: float, xh: float) -> tuple[float, float]:
    """Return x^2; the lower end is >= 0."""
    m = least_modulus(xl, xh)
    n = largest_modulus(xl, xh)
    return largest(mul_dn(m, m), 0.0), mul_up(n, n)


def iv_div(xl: float, xh: float, yl: float, yh: float) -> tuple[float, float]:
    """Return x / y: all of R if y has points on both sides of zero and x is not zero."""
    flip = 1.0 if yh <= 0.0 else 0.0
    a = -xh if flip == 1.0 else xl
    b = -xl if flip == 1.0 else xh
    c = -yh if flip == 1.0 else yl
    d = -yl if flip == 1.0 else yh
    lo = quotient_dn(a, d if a >= 0.0 else c)
    hi = quotient_up(b, c if b >= 0.0 else d)
    across = c < 0.0 and not (xl == 0.0 and xh == 0.0)
    nothing = yl == 0.0 and yh == 0.0
    low = INFINITY if nothing else (-INFINITY if across else lo)
    high = -INFINITY if nothing else (INFINITY if across else hi)
    return low, high


def iv_div_gp(xl: float, xh: float, yl: float, yh: float) -> tuple[float, float]:
    """Return x / y for y > 0, up to a fault."""
    c = largest(yl, 0.0)
    return quotient_dn(xl, yh if xl >= 0.0 else c), quotient_up(xh, c if xh >= 0.0 else yh)


def iv_div_pp(xl: float, xh: float, yl: float, yh: float) -> tuple[float, float]:
    """Return x / y for x >= 0, y > 0, up to a fault; the lower end is >= 0."""
    lo = largest(quotient_dn(largest(xl, 0.0), yh), 0.0)
    return lo, quotient_up(xh, largest(yl, 0.0))


def iv_recip(yl: float, yh: float) -> tuple[float, float]:
    """Return 1 / y."""
    lo, hi = iv_div(1.0, 1.0, yl, yh)
    return lo, hi


def zero_fault(yl: float, yh: float) -> float:
    """Return whether y may be zero."""
    return 1.0 if yl <= 0.0 and yh >= 0.0 else 0.0


def not_positive_fault(xl: float, xh: float) -> float:
    """Return whether x may be <= 0."""
    return 0.0 if xl > 0.0 else 1.0


def negative_fault(xl: float, xh: float) -> float:
    """Return whether x may be < 0."""
    return 0.0 if xl >= 0.0 else 1.0


def iv_sqrt(xl: float, xh: float) -> tuple[float, float]:
    """Return the square root of the part of x that is >= 0."""
    lo = sqrt_dn(largest(xl, 0.0))
    hi = sqrt_up(largest(xh, 0.0))
    nothing = xh < 0.0
    return (INFINITY if nothing else lo), (-INFINITY if nothing else hi)


def iv_abs(xl: float, xh: float) -> tuple[float, float]:
    """Return |x|."""
    return least_modulus(xl, xh), largest_modulus(xl, xh)


def iv_min(xl: float, xh: float, yl: float, yh: float) -> tuple[float, float]:
    """Return min(x, y)."""
    return least(xl, yl), least(xh, yh)


def iv_max(xl: float, xh: float, yl: float, yh: float) -> tuple[float, float]:
    """Return max(x, y)."""
    return largest(xl, yl), largest(xh, yh)


def iv_lower_end(xl: float, xh: float) -> tuple[float, float]:
    """Return the modulus of the lower end, as an interval."""
    return abs(xl), abs(xl)


def iv_upper_end(xl: float, xh: float) -> tuple[float, float]:
    """Return the modulus of the upper end, as an interval."""
    return abs(xh), abs(xh)


def iv_odd(xl: float, xh: float, pl: float, ph: float, ql: float, qh: float) -> tuple[float, float]:
    """Return f(x) of an odd increasing f from p = f(|xl|) and q = f(|xh|)."""
    return (pl if xl >= 0.0 else -ph), (qh if xh >= 0.0 else -ql)


def iv_lt(xl: float, xh: float, yl: float, yh: float) -> tuple[float, float]:
    """Return the three-valued x < y."""
    return (1.0 if xh < yl else 0.0), (1.0 if xl < yh else 0.0)


def iv_le(xl: float, xh: float, yl: float, yh: float) -> tuple[float, float]:
    """Return the three-valued x <= y."""
    return (1.0 if xh <= yl else 0.0), (1.0 if xl <= yh else 0.0)


def iv_order(xl: float, xh: float, yl: float, yh: float) -> tuple[float, float]:
    """Return whether x < y everywhere (1, 1), x > y everywhere (0, 0), or neither."""
    return (1.0 if xh < yl else 0.0), (0.0 if xl > yh else 1.0)


def iv_not(cl: float, ch: float) -> tuple[float, float]:
    """Return the three-valued negation."""
    return 1.0 - ch, 1.0 - cl


def iv_select(
    cl: float, ch: float, pl: float, ph: float, ql: float, qh: float
) -> tuple[float, float]:
    """Return p where the condition holds, q where it does not, their hull where it is undecided."""
    lo = pl if cl == 1.0 else (ql if ch == 0.0 else least(pl, ql))
    hi = ph if cl == 1.0 else (qh if ch == 0.0 else largest(ph, qh))
    return lo, hi


def select_fault(cl: float, ch: float, p: float, q: float) -> float:
    """Return the fault of the branches that the condition does not exclude."""
    return largest(p if ch == 1.0 else 0.0, q if cl == 0.0 else 0.0)


def iv_sign(xl: float, xh: float) -> tuple[float, float]:
    """Return the sign of x, 0 at 0."""
    lo = 1.0 if xl > 0.0 else (0.0 if xl == 0.0 else -1.0)
    hi = -1.0 if xh < 0.0 else (0.0 if xh == 0.0 else 1.0)
    return lo, hi


def iv_abs_slope(xl: float, xh: float) -> tuple[float, float]:
    """Return the one-sided derivatives of |x|."""
    return (1.0 if xl > 0.0 else -1.0), (-1.0 if xh < 0.0 else 1.0)


def iv_or_nothing(xl: float, xh: float, fault: float) -> tuple[float, float]:
    """Return x, or all of R at a fault, a NaN end or ends out of order."""
    sound = fault == 0.0 and xl <= xh
    return (xl if sound else -INFINITY), (xh if sound else INFINITY)


def iv_unless_empty(xl: float, xh: float, rl: float, rh: float) -> tuple[float, float]:
    """Return r, or the empty set if x is empty."""
    return (rl if xl <= xh else INFINITY), (rh if xl <= xh else -INFINITY)

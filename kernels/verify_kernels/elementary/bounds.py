"""Error bounds of the elementary functions: the single place from which enclosures widen.

For every x of the domain |computed - f(x)| <= relative_u u |f(x)| + absolute_u u + ETA, u = 2^-53,
ETA = 2^-1074; the last term only where the result is subnormal. `proof.prove` proves every entry.
"""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction

MAX = float.fromhex("0x1.fffffffffffffp+1023")
OMEGA = 2.0**-1022


@dataclass(frozen=True)
class Bound:
    """Error bound in units of u = 2^-53 on the domain [lo, hi], and facts about the function.

    Attributes:
        relative_u: bound of |computed - f| / (u |f|).
        absolute_u: bound of the remaining |computed - f| / u.
        lo: least x for which the bound is proved.
        hi: largest x for which the bound is proved.
        increasing: True if f is nondecreasing on the reals where it is defined, False if
            nonincreasing, None if neither.
        least: infimum of f over its real domain, None if it is -infinity.
        greatest: supremum of f over its real domain, None if it is +infinity.
    """

    relative_u: Fraction
    absolute_u: Fraction
    lo: float
    hi: float
    increasing: bool | None
    least: int | None
    greatest: int | None


def _relative(
    units: str,
    lo: float,
    hi: float,
    increasing: bool | None,
    least: int | None,
    greatest: int | None,
) -> Bound:
    return Bound(Fraction(units), Fraction(0), lo, hi, increasing, least, greatest)


BOUNDS: dict[str, Bound] = {
    "exp": _relative("7/4", -708.0, 709.0, True, 0, None),
    "expm1": _relative("17/4", -708.0, 709.0, True, -1, None),
    "tanh": _relative("17/4", -MAX, MAX, True, -1, 1),
    "sigmoid": _relative("9/2", -708.0, MAX, True, 0, 1),
    "softplus": _relative("29/4", -708.0, MAX, True, 0, None),
    "log": _relative("13/4", OMEGA, MAX, True, None, None),
    "log1p": _relative("4", -1.0 + 2.0**-53, 2.0**1000, True, None, None),
    "erf": _relative("5/2", -MAX, MAX, True, -1, 1),
    "erfc": _relative("21/2", -MAX, 26.5, False, 0, 2),
    "sin": Bound(Fraction(0), Fraction("9/4"), -1e5, 1e5, None, -1, 1),
    "cos": Bound(Fraction(0), Fraction("9/4"), -1e5, 1e5, None, -1, 1),
    "tan": _relative("13/2", -1e5, 1e5, None, None, None),
    "atan": _relative("15/4", -MAX, MAX, True, None, None),
    "sinh": _relative("6", -709.0, 709.0, True, None, None),
    "cosh": _relative("13/4", -709.0, 709.0, None, 1, None),
}

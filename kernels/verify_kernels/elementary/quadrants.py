"""Argument reduction by pi / 2 for sin, cos and tan."""

from functools import cached_property

import flint
from flint import arb

from verify_kernels.elementary.proof_setting import (
    Exact,
    ProofError,
    Setting,
    exact,
    whole,
)

_U = arb(2) ** -53
_ZERO_AT_ZERO = ("expm1", "log1p", "tanh", "erf", "tan", "atan", "sinh")
_CELL = 0.34658  # > ln(2) / 2: reduced arguments of exp
_DIGITS = 320  # bits of pi
_BINS = 32  # bins of the error table of expm1 in a unit of its argument


class Quadrants:
    """Reduction by pi / 2 for |x| <= 1e5."""

    def __init__(self, setting: Setting) -> None:
        self.setting = setting
        self.last = 63663  # > 1e5 2 / pi
        with flint.ctx.workprec(_DIGITS):
            self._check()

    def _check(self) -> None:
        setting = self.setting
        inverse = arb(setting.TWO_OVER_PI)
        half_pi = arb.pi() / 2
        reach = 1 / (2 * inverse) + self.last * abs(1 / inverse - half_pi)
        if not (reach < 0.7854 and 1e5 * inverse + 0.5 < self.last + 1):
            raise ProofError(f"prove: expected quadrants within 0.7854, but got {reach}")
        parts = [setting.HALF_PI_1, setting.HALF_PI_2, setting.HALF_PI_3]
        self.parts = [arb(part) for part in parts]
        self.missing = abs(half_pi - sum(self.parts, arb(0)))
        # k HALF_PI_1 and x are multiples of 2^-53 for k != 0, |x| >= 1/2, and their difference is
        # below 1, hence exact; k HALF_PI_2 is a binary64 number
        first = (self.parts[0] * arb(2) ** 36).is_integer()
        second = (self.parts[1] * arb(2) ** 72).is_integer()
        size = reach + self.last * (self.parts[1] + self.parts[2] + self.missing)
        if not (first and second and size < 1 and self.last * self.parts[1] < arb(2) ** -21):
            raise ProofError("prove: expected an exact first step of the reduction")
        space = setting.space({})
        for name in ("reduce_half_pi", "reduce_half_pi_closely"):
            for k in (1, 2, 5, 1000, self.last):
                x = float(k * half_pi)
                ideal = space[name](exact(x, x), float(k)).ideal
                if not abs(ideal - (x - k * half_pi)) <= 2 * k * self.missing:
                    raise ProofError(f"prove: expected x - k pi / 2 from {name}, but got {ideal}")

    @cached_property
    def absolute_error(self) -> Exact:
        """Two roundings of numbers below 1 and the missing digits of pi / 2."""
        return 2 * arb(2) ** -54 + self.last * self.missing

    @cached_property
    def _distances(self) -> tuple[float, Exact]:
        """Return the least |x - k pi / 2| over floats x and 0 < k <= last, and a relative error.

        h = x - k P1 and w = k P2 are exact; d = fl(h - w), and (h - d) - w is exact (fast two-sum
        for |h| >= |w|; else h - w is a multiple of 2^-72 below 2^-20, hence exact). So before the
        last addition the error is that of low = fl((h - d) - w - k P3), |low| <= u |d| + k P3,
        and of the missing digits: less than 2 u^2 + (u k P3 + k missing) / |r|, |d| < 2 |r|.
        """
        bits = 256
        with flint.ctx.workprec(_DIGITS):
            half_pi = whole((arb.pi() / 2 * arb(2) ** bits).mid().floor())
        third = whole(self.parts[2] * arb(2) ** bits)
        missing = whole((self.missing * arb(2) ** bits).upper().ceil())
        least, worst = None, 0
        for k in range(1, self.last + 1):
            place = k * half_pi
            step = 1 << (place.bit_length() - 53)
            rest = place % step
            gap = min(rest, step - rest) - k  # half_pi is cut off: k units at most
            least = gap if least is None else min(least, gap)
            worst = max(worst, ((k * third + (k * missing << 53)) << 40) // gap + 1)
        if least is None or least <= 0:
            raise ProofError("prove: expected a positive distance, but got none")
        relative = arb(worst) * arb(2) ** -93
        if not relative < _U / 2:
            raise ProofError(f"prove: expected k P3 < |r| / 2, but got {relative}")
        return float((arb(least) * arb(2) ** -bits).lower()) * 0.999, relative

    @property
    def least(self) -> float:
        """Return a lower bound of |x - k pi / 2| over k != 0 and the floats x."""
        return self._distances[0]

    @property
    def relative_error(self) -> Exact:
        """Bound |r / (x - k pi / 2) - 1| for k != 0.

        The last addition rounds by at most u |r|; what was there before is
        r0 (1 + e), |e| <= 1.01 u^2 + (u k P3 + k missing) / |r0|.
        """
        before = self._distances[1] + 2 * _U * _U
        return before + _U * (1 + before)

"""Sweeps in midpoint-radius arithmetic: every number with a proved radius of its own."""

from __future__ import annotations

from collections.abc import Callable
from fractions import Fraction
from functools import lru_cache
from typing import Any

import numba
import numpy as np
from flint import arb, ctx, fmpq

from verify.enclosure import Enclosure
from verify.errors import InputError
from verify.network import Activation
from verify.network.expression import variable
from verify.verdict import Truth
from verify_kernels._rounding import OMEGA, Array, U, down, gamma, tau, up
from verify_kernels.activation_analysis import analyse
from verify_kernels.enclosed_products import Balls
from verify_kernels.full_rank.split_products import product_with_error
from verify_kernels.interval.kernel import interval_kernel
from verify_kernels.tangent_kernel.linear_maps import LinearMap
from verify_kernels.tangent_kernel.walk import KinkError, OpenError
from verify_kernels.two_layer.midrad import RAISE, MidRad

_KINKS = {
    "relu": (0,), "leaky_relu": (0,), "abs": (0,), "hardtanh": (-1, 1), "relu6": (0, 6),
    "elu": (0,),
}  # fmt: skip
RANGE = "numbers leave the range of binary64"


class FloatBalls:
    """Arithmetic of `walk` on `MidRad` values.

    Args:
        slopes: whether derivatives are wanted; without them a kink is as good as any argument.
        sliced: whether products of the forward sweep are formed beyond binary64.
    """

    def __init__(self, *, slopes: bool = True, sliced: bool = True) -> None:
        self.slopes = slopes
        self.sliced = sliced

    def samples(self, values: Array, divisor: Fraction) -> MidRad:
        """Enclose values/divisor."""
        exact = MidRad.exact(values)
        return exact if divisor == 1 else exact * self.number(1 / divisor)

    def stored(self, values: Array) -> MidRad:
        """Enclose floats."""
        return MidRad.exact(values)

    def raw(self, values: Array) -> Array:
        """Return floats."""
        return values

    def number(self, value: Fraction) -> MidRad:
        """Enclose one rational.

        Raises:
            OpenError: beyond binary64.
        """
        try:
            one = Balls.of([value])
        except InputError as error:
            raise OpenError(RANGE) from error
        return MidRad(one.mid, one.rad)

    def move(self, apply: Callable[[Any], Any], x: MidRad) -> MidRad:
        """Move midpoints and radii."""
        return MidRad(apply(x.mid), apply(x.rad))

    def push(self, linear: LinearMap, x: MidRad) -> MidRad:
        """Enclose L x; where wanted, products of matrices are formed beyond binary64.

        There are few rows here beside those of `pull`, and what is lost here every later layer
        enlarges.
        """
        near = _products(linear, x.mid) if self.sliced else None
        if near is None:
            return _mapped(x, linear.apply, linear.apply_sizes, linear.terms, linear.largest)
        if not x.rad.any():
            return near
        spread = raised(linear.apply_sizes(x.rad), linear.terms, x, linear.largest)
        return near + MidRad(np.zeros_like(spread), spread)

    def pull(self, linear: LinearMap, s: MidRad) -> MidRad:
        """Enclose L^T s."""
        sizes, terms = linear.adjoint_sizes, linear.adjoint_terms
        return _mapped(s, linear.adjoint, sizes, terms, linear.largest)

    def activate(self, activation: Activation, x: MidRad, name: str) -> tuple[MidRad, Any]:
        """Enclose values and derivatives.

        Raises:
            KinkError: an argument that may be at a kink.
            OpenError: numbers out of range.
        """
        lo, hi = x.ends()
        if not (np.isfinite(lo).all() and np.isfinite(hi).all()):
            raise OpenError(f"{RANGE} at {name}")
        for low, high in kink_places(activation) if self.slopes else ():
            apart = (lo > high) | (hi < low)
            if not apart.all():
                place = [int(k) for k in np.argwhere(~apart)[0]]
                raise KinkError(
                    f"argument {place[1:]} of {name} at sample {place[0]} is not told apart from "
                    f"the kink of {activation}, where the Jacobian does not exist"
                )
        found = _kernel(activation)(lo.ravel(), hi.ravel())
        slopes: Any = found.gradient
        value = _between(found.lo, found.hi, lo.shape)
        slope = _between(slopes.lo[0], slopes.hi[0], lo.shape) if self.slopes else None
        parts = (value,) if slope is None else (value, slope)
        if not all(np.isfinite(part.rad).all() for part in parts):
            raise OpenError(f"values or derivatives of {activation} are not bounded at {name}")
        return value, slope

    def normaliser(self, variance: Array, epsilon: Fraction) -> MidRad:
        """Enclose 1/sqrt(variance + epsilon).

        Raises:
            OpenError: a variance that is not positive, or numbers out of range.
        """
        found = []
        with ctx.workprec(128):
            for entry in variance.tolist():
                total = Fraction(entry) + epsilon
                if total <= 0:
                    raise OpenError("a variance plus epsilon is not positive")
                found.append(1 / arb(fmpq(total.numerator, total.denominator)).sqrt())
        try:
            balls = Balls.of(found)
        except InputError as error:
            raise OpenError(RANGE) from error
        return MidRad(balls.mid, balls.rad)


def _between(lo: Array, hi: Array, shape: tuple[int, ...]) -> MidRad:
    """Enclose [lo, hi]; points stay points."""
    mid, rad = np.empty(len(lo)), np.empty(len(lo))
    _fill(lo, hi, mid, rad)
    return MidRad(mid.reshape(shape), rad.reshape(shape))


@numba.njit(cache=True, fastmath=False)
def _fill(lo: Array, hi: Array, mid: Array, rad: Array) -> None:
    """Set middles, and radii of half the width with the rounding of the middle, u |mid| + eta."""
    for k in range(len(lo)):
        if lo[k] == hi[k]:
            mid[k], rad[k] = lo[k], 0.0
        else:
            middle = 0.5 * lo[k] + 0.5 * hi[k]
            mid[k] = middle
            rad[k] = ((0.5 * hi[k] - 0.5 * lo[k]) + 2.0 * U * abs(middle)) * RAISE + OMEGA


def _products(linear: LinearMap, x: Array) -> MidRad | None:
    """Enclose L x for floats through slices of the factors, or return None."""
    if linear.factors is None or linear.joined is None or not np.isfinite(x).all():
        return None
    mids, radii = [], []
    for a, b in linear.factors(x):
        found = product_with_error(a, b, backend="numpy")
        if found is None:
            return None
        hi, lo, bound = found
        mid = hi + lo
        mids.append(mid)
        radii.append((bound + 2.0 * U * np.abs(mid)) * RAISE)
    return MidRad(linear.joined(mids, len(x)), linear.joined(radii, len(x)))


def _mapped(x: MidRad, apply: Any, sizes: Any, terms: int, largest: float) -> MidRad:
    """Enclose L x: |L x - fl(L mid)| <= |L| (gamma |mid| + rad) + tau."""
    mid = apply(x.mid)
    if terms == 0:
        return MidRad(mid, apply(x.rad))
    return MidRad(mid, raised(sizes(gamma(terms + 2) * np.abs(x.mid) + x.rad), terms, x, largest))


def raised(slack: Array, terms: int, x: MidRad, largest: float) -> Array:
    """Raise sums of products >= 0 above their rounding, and pay for underflow on both sides."""
    keep = down(1.0 - up(2.0 * gamma(terms + 8)))
    top = max(float(np.max(np.abs(x.mid), initial=0.0)), float(np.max(x.rad, initial=0.0)))
    return slack * (RAISE / keep) + 4.0 * tau(terms + 2, top, largest)


@lru_cache(maxsize=64)
def _kernel(activation: Activation) -> Any:
    return interval_kernel(activation.formula(), [variable()], order=1)


@lru_cache(maxsize=64)
def kink_places(activation: Activation) -> tuple[tuple[float, float], ...]:
    """Return intervals outside of which an activation is proved to be differentiable.

    Raises:
        OpenError: they are not known.
    """
    if activation.name == "elu" and activation.parameters == (Fraction(1),):
        return ()
    if activation.is_named:
        return tuple((float(k), float(k)) for k in _KINKS.get(activation.name, ()))
    facts = analyse(activation)
    if facts.smooth is Truth.PROVED:
        return ()
    known = facts.smooth is Truth.REFUTED and facts.period is None
    if not known or facts.order is None or facts.order < 0 or facts.defined is not Truth.PROVED:
        raise OpenError(f"it is not known where {activation} is differentiable")
    return () if facts.order >= 1 else tuple(_ends(kink.place) for kink in facts.kinks)


def _ends(place: Enclosure) -> tuple[float, float]:
    return place.lo_float, place.hi_float

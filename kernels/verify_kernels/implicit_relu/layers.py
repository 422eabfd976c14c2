"""Enclosures of one relu layer on all samples, norms of enclosures, and scalings by 1/sqrt(m)."""

from __future__ import annotations

import math
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import numpy as np
from flint import arb, ctx, fmpq
from numpy.typing import NDArray

from verify.enclosure import INF, Enclosure
from verify_kernels._rounding import Array, down_array, norm_down, norm_up, up_array
from verify_kernels.enclosed_products import Balls
from verify_kernels.full_rank.singular_values import root
from verify_kernels.matrix import MatrixEnclosure

HOW = "floats with a-priori error bounds"


@dataclass(frozen=True, eq=False)
class Signs:
    """Which arguments of relu are proved to be positive (on) or negative (off), shape (n, m)."""

    on: NDArray[np.bool_]
    off: NDArray[np.bool_]

    @property
    def kinks(self) -> NDArray[np.bool_]:
        """Where the argument may be 0."""
        return np.asarray(~(self.on | self.off))


@dataclass(frozen=True, eq=False)
class Layer:
    """relu(v) and the signs of v."""

    value: MatrixEnclosure
    signs: Signs


@np.errstate(all="ignore")
def rectify(argument: MatrixEnclosure) -> Layer:
    """Enclose relu(v): exactly 0 where v <= 0 is proved; relu is 1-Lipschitz elsewhere."""
    mid = argument.mid
    rad = radii(argument)
    dead = mid <= -rad
    value = np.where(dead, 0.0, np.maximum(mid, 0.0))
    spread = np.where(dead, 0.0, rad)
    return Layer(enclosed(value, spread), Signs(mid > rad, mid < -rad))


def enclosed(mid: Array, rad: Array) -> MatrixEnclosure:
    """Return the enclosure, exact where no radius is positive."""
    return MatrixEnclosure(mid, rad if rad.any() else None)


def radii(given: MatrixEnclosure) -> Array:
    """Return the radii, zeros where the matrix is exact."""
    return np.zeros_like(given.mid) if given.rad is None else given.rad


def root_scale(size: int, factor: Fraction, m: int) -> Balls:
    """Enclose factor/sqrt(m), repeated."""
    with ctx.workprec(128):
        exact = arb(fmpq(factor.numerator, factor.denominator)) / arb(m).sqrt()
        return Balls(*(np.repeat(part, size) for part in _one(exact)))


def _one(ball: Any) -> tuple[Array, Array]:
    found = Balls.of([ball])
    return found.mid, found.rad


@np.errstate(all="ignore")
def frobenius(given: MatrixEnclosure) -> Enclosure:
    """Enclose the Frobenius norm of every matrix in the enclosure."""
    rad = radii(given)
    if not (given.mid.any() or rad.any()):
        return Enclosure.exact(0)
    high = norm_up(np.where(rad == 0.0, np.abs(given.mid), up_array(np.abs(given.mid) + rad)))
    reach = np.where(rad == 0.0, np.abs(given.mid), down_array(np.abs(given.mid) - rad))
    low = norm_down(np.maximum(reach, 0.0))
    return Enclosure(low, high) if math.isfinite(high) else Enclosure(low, INF)


def total_norm(parts: list[Enclosure]) -> Enclosure:
    """Enclose the root of the sum of squares of numbers >= 0."""
    if not all(part.is_bounded for part in parts):
        return Enclosure(0, INF)
    low = sum((max(part.lo, Fraction(0)) ** 2 for part in parts), Fraction(0))
    return root(Enclosure.outward(low, sum((part.hi**2 for part in parts), Fraction(0))))

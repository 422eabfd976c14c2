"""A residual and a tangent kernel as one problem: in floats of moderate size, or in balls."""

from __future__ import annotations

import math
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import numpy as np
from flint import arb, arb_mat, fmpq_mat

from verify.enclosure import Enclosure
from verify.errors import InputError
from verify_kernels._rounding import ETA, Array, up_array
from verify_kernels.residual.enclose import Residual
from verify_kernels.residual.norms import exponent, power, root_between
from verify_kernels.tangent_kernel.gram import TangentGram
from verify_kernels.two_layer.midrad import MidRad

FAR = 200
"""Numbers are scaled where the largest is not within 2^-200 and 2^200."""
EXACT_BITS = 256


@dataclass(frozen=True, eq=False)
class FloatProblem:
    """2^k r lies in ``r``, and ||2^(2j) K - ``K``||_2 <= error.

    Args:
        r: shape (N,), finite.
        K: shape (N, N), finite, symmetric.
        error: exact.
        k, j: powers that make the largest numbers moderate.
    """

    r: MidRad
    K: Array
    error: Fraction
    k: int
    j: int

    def image(self, v: Array) -> MidRad:
        """Enclose the product of the stored matrix and floats."""
        return MidRad.exact(self.K).dot(v)


def float_problem(residual: Residual, gram: TangentGram, where: str) -> FloatProblem | str:
    """Return both at moderate sizes, or why they are not known.

    Raises:
        InputError: sizes that do not fit; ``where`` begins the sentence.
    """
    if gram.error == math.inf:
        return gram.why_open or "the tangent kernel is not enclosed"
    _require_order(len(gram.mid), residual, where)
    if not np.isfinite(residual.rad).all():
        return residual.norm.why_open or "the residual is not bounded"
    (mid, rad), k = _moderate(np.stack([residual.mid, residual.rad]))
    if k < 0:
        rad = up_array(rad)  # half of eta that the radius may have lost, and half for the midpoint
    j = -(-_shift(gram.mid) // 2)
    error = Fraction(gram.error) * power(2 * j)
    if j < 0:
        error += 2 * len(gram.mid) * Fraction(ETA)
    K = np.ldexp(gram.mid, 2 * j) if j else gram.mid
    return FloatProblem(MidRad(mid, rad), K, error, k, j)


def _moderate(values: Array) -> tuple[Array, int]:
    k = _shift(values)
    return (np.ldexp(values, k), k) if k else (values, 0)


def _shift(values: Array) -> int:
    """Return k with the largest modulus of 2^k values near 1, 0 if it is of moderate size."""
    k = exponent(float(np.max(np.abs(values), initial=0.0)))
    return k if abs(k) > FAR else 0


def _require_order(order: int, residual: Residual, where: str) -> None:
    if order != len(residual.mid):
        raise InputError(
            f"{where}: expected a tangent kernel of order {len(residual.mid)}, that of the "
            f"residual, but got {order}"
        )


def dot(x: MidRad, v: Array) -> tuple[Fraction, Fraction] | None:
    """Enclose x . v for floats v; None where it is not finite."""
    lo, hi = MidRad(x.mid[None], x.rad[None]).dot(v).ends()
    if not (math.isfinite(lo[0]) and math.isfinite(hi[0])):
        return None
    return Fraction(float(lo[0])), Fraction(float(hi[0]))


# Balls ------------------------------------------------------------------------------------------


def ball_bits(residual: Residual, kernel: Any) -> int:
    """Return bits at which nothing that the balls tell is lost."""
    if isinstance(kernel, fmpq_mat):
        return max(EXACT_BITS, residual.bits)
    entries = (kernel[i, i] for i in range(kernel.nrows()))
    longest = max((int(entry.mid().bits()) for entry in entries), default=0)
    return max(EXACT_BITS, residual.bits, longest + 64)


def ball_problem(residual: Residual, kernel: Any, where: str) -> tuple[Any, Any]:
    """Return r as an ``arb_mat`` (N, 1) and K as an ``arb_mat`` at the working precision.

    Raises:
        InputError: sizes that do not fit; ``where`` begins the sentence.
    """
    _require_order(kernel.nrows(), residual, where)
    if residual.numbers is not None:
        entries = [arb(number) for number in residual.numbers]
    else:
        pairs = zip(residual.mid.tolist(), residual.rad.tolist(), strict=True)
        entries = [arb(mid, rad) for mid, rad in pairs]
    exact = arb_mat(kernel) if isinstance(kernel, fmpq_mat) else kernel
    return arb_mat(len(entries), 1, entries), exact


def clipped_root(square: Any) -> Enclosure:
    """Enclose the square root of a number >= 0 that a ball encloses; unbounded if it is not."""
    found = Enclosure.from_arb(square)
    if not found.is_bounded:
        return Enclosure.unbounded()
    return root_between(Fraction(found.lo), Fraction(found.hi))

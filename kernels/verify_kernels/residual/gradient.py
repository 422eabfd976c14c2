"""The norm ||J^T r|| of the gradient of 1/2 ||r||^2, from the residual and the tangent kernel."""

from __future__ import annotations

from fractions import Fraction
from typing import Any

import numpy as np

from verify.enclosure import Enclosure
from verify.evidence import Evidence
from verify_kernels.residual.enclose import Residual
from verify_kernels.residual.norms import box_norm, power, root_between
from verify_kernels.residual.quadratic import (
    FloatProblem,
    ball_bits,
    ball_problem,
    clipped_root,
    dot,
    float_problem,
)
from verify_kernels.tangent_kernel.balls import RANGE
from verify_kernels.tangent_kernel.gram import TangentGram
from verify_kernels.two_layer.balls import precision
from verify_kernels.two_layer.midrad import MidRad


def gradient_norm(residual: Residual, kernel: TangentGram | Any) -> Evidence:
    """Enclose ||J^T r|| = sqrt(r^T K r), K = J J^T.

    With midpoints m of r and K' of K, r = m + d:
    ||J^T r|| differs from ||J^T m|| by at most ||J^T d|| = sqrt(d^T K d), and both are quadratic
    forms of K, which differs from K' by at most its error in the spectral norm.

    Args:
        residual: of `enclose_residual`.
        kernel: K in floats, or an ``arb_mat`` or ``fmpq_mat`` that contains it.

    Returns:
        Enclosure of ||J^T r||, [lo, hi] with lo >= 0; unbounded with the reason where K or r is
        not bounded. It is [0, 0] where r = 0 is known in floats or fractions.

    Error bound:
        With E the error of K: sqrt(m^T K' m + gamma + E ||m||^2) + sqrt(rad^T |K'| rad
        + E ||rad||^2) above, and the same with minus signs below; gamma the rounding of the
        quadratic form, at most 2 gamma_{N+2} |m|^T |K'| |m|. A residual in directions in which K
        is 1e-14 ||K|| or less has a lower end 0.

    Raises:
        InputError: a kernel of another order.
    """
    if not isinstance(kernel, TangentGram):
        return _by_balls(residual, kernel)
    problem = float_problem(residual, kernel, "gradient_norm")
    if isinstance(problem, str):
        return Evidence(Enclosure.unbounded(), why_open=problem)
    found = _by_floats(problem)
    why = "" if found.is_bounded else RANGE
    return Evidence(found, assumes=kernel.assumes, how="r^T K r in binary64", why_open=why)


@np.errstate(all="ignore")
def _by_floats(problem: FloatProblem) -> Enclosure:
    m, rad = problem.r.mid, problem.r.rad
    middle = dot(problem.image(m), m)
    spread = dot(MidRad.exact(np.abs(problem.K)).dot(rad), rad)
    sizes = [box_norm(each, np.zeros_like(each)) for each in (m, rad)]
    if middle is None or spread is None or not all(size.is_bounded for size in sizes):
        return Enclosure.unbounded()
    far, near = (problem.error * Fraction(size.hi) ** 2 for size in sizes)
    centre = root_between(middle[0] - far, middle[1] + far)
    reach = Fraction(root_between(Fraction(0), spread[1] + near).hi)
    scale = power(-problem.k - problem.j)
    low = max(Fraction(centre.lo) - reach, Fraction(0))
    return Enclosure(low * scale, (Fraction(centre.hi) + reach) * scale)


def _by_balls(residual: Residual, kernel: Any) -> Evidence:
    bits = ball_bits(residual, kernel)
    with precision(bits):
        r, K = ball_problem(residual, kernel, "gradient_norm")
        found = clipped_root((r.transpose() * (K * r))[0, 0])
    why = "" if found.is_bounded else RANGE
    return Evidence(found, how=f"r^T K r in ball arithmetic of {bits} bits", why_open=why)

"""The length of the least-squares Newton step, Y = ||J^+ r|| = sqrt(r^T K^-1 r)."""

from __future__ import annotations

from fractions import Fraction
from typing import Any

import numpy as np
from flint import arb_mat

from verify.enclosure import Enclosure
from verify.evidence import Evidence
from verify_kernels._rounding import Array
from verify_kernels.residual.enclose import Residual
from verify_kernels.residual.norms import box_norm, power, root_between
from verify_kernels.residual.quadratic import (
    FloatProblem,
    ball_bits,
    ball_problem,
    dot,
    float_problem,
)
from verify_kernels.tangent_kernel.gram import TangentGram
from verify_kernels.two_layer.balls import precision

Ends = tuple[Fraction, Fraction]


def newton_step(residual: Residual, kernel: TangentGram | Any, smallest: Enclosure) -> Evidence:
    """Enclose Y = sqrt(r^T K^-1 r), the norm of the shortest t with J t = r, K = J J^T.

    For every vector v, with w = r - K v,

        v . (2r - K v) + w^T K^-1 w = r^T K^-1 r.

    Proof: r = w + K v, so r^T K^-1 r = w^T K^-1 w + 2 v . w + v^T K v, and
    2 v . w + v^T K v = v . (2w + K v) = v . (2r - K v). QED
    As 0 <= w^T K^-1 w <= ||w||^2 / lambda_min(K), the square of Y lies between v . (2r - K v) and
    that plus ||w||^2 / lambda_min. Any v is right; one near K^-1 r makes w nearly vanish.

    How the enclosures enter: v is a fixed vector of floats. Both terms are evaluated for every r
    of its box, entry by entry, and for every matrix K' + D with ||D||_2 <= E: the first changes by
    v^T D v, at most E ||v||^2, and ||w|| by at most E ||v||. lambda_min is that of the true K.
    The bound ||r|| / sqrt(lambda_min) is taken where it is less.

    Args:
        residual: of `enclose_residual`.
        kernel: K in floats, or an ``arb_mat`` or ``fmpq_mat`` that contains it.
        smallest: of lambda_min(K).

    Returns:
        Enclosure of Y; unbounded with the reason unless lambda_min > 0 is proved.

    Error bound:
        of Y^2: 2 |v| . rad + E ||v||^2 + ||w||^2 / lambda_min, and rounding errors of order
        N u |v|^T |K| |v|; relatively about (N u + E/||K||) times the condition number of K.

    Raises:
        InputError: a kernel of another order.
    """
    if not (smallest.lo > 0 and residual.norm.enclosure().is_bounded):
        why = "lambda_min(K) > 0 is not proved" if smallest.lo <= 0 else residual.norm.why_open
        return Evidence(Enclosure.unbounded(), why_open=why)
    least = Fraction(smallest.lo)
    if isinstance(kernel, TangentGram):
        problem = float_problem(residual, kernel, "newton_step")
        square = None if isinstance(problem, str) else _by_floats(problem, least)
        how, assumes = "a step v near K^-1 r in binary64", kernel.assumes
    else:
        bits = ball_bits(residual, kernel)
        square = _by_balls(residual, kernel, least, bits)
        how, assumes = f"a step v near K^-1 r in ball arithmetic of {bits} bits", ()
    plain = Fraction(residual.norm.enclosure().hi) ** 2 / least
    if square is None or square[1] >= plain:
        low = Fraction(0) if square is None else square[0]
        found = root_between(low, plain)
        return Evidence(found, assumes=assumes, how="||r||/sqrt(lambda_min(K))")
    return Evidence(root_between(*square), assumes=assumes, how=how)


@np.errstate(all="ignore")
def _by_floats(problem: FloatProblem, smallest: Fraction) -> Ends | None:
    """Enclose Y^2, or return None where floats do not do."""
    v = _solved(problem.K, problem.r.mid)
    w = problem.r - problem.image(v)
    inner = dot(problem.r + w, v)
    if inner is None:
        return None
    left, size = box_norm(w.mid, w.rad), box_norm(v, np.zeros_like(v))
    if not (left.is_bounded and size.is_bounded):
        return None
    length = Fraction(size.hi)
    far = Fraction(left.hi) + problem.error * length
    slack = problem.error * length**2
    rest = far**2 / (smallest * power(2 * problem.j))
    scale = power(2 * (problem.j - problem.k))
    return (inner[0] - slack) * scale, (inner[1] + slack + rest) * scale


def _solved(K: Array, m: Array) -> Array:
    """Return floats near K^-1 m, zeros where there are none; nothing rests on how near."""
    try:
        v = np.asarray(np.linalg.solve(K, m), dtype=np.float64)
    except np.linalg.LinAlgError:
        return np.zeros_like(m)
    return v if np.isfinite(v).all() else np.zeros_like(m)


def _by_balls(residual: Residual, kernel: Any, smallest: Fraction, bits: int) -> Ends | None:
    with precision(bits):
        r, K = ball_problem(residual, kernel, "newton_step")
        try:
            v = arb_mat(K.mid().solve(r.mid())).mid()
        except ZeroDivisionError:
            return None
        image = K * v
        inner = Enclosure.from_arb((v.transpose() * (2 * r - image))[0, 0])
        w = r - image
        left = Enclosure.from_arb((w.transpose() * w)[0, 0])
    if not (inner.is_bounded and left.is_bounded):
        return None
    return Fraction(inner.lo), Fraction(inner.hi) + Fraction(left.hi) / smallest

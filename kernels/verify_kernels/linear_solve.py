"""Verified solution of a linear system with many right-hand sides."""

from __future__ import annotations

import numpy as np

from verify_kernels._rounding import Array, U, div_up, down, gamma, tau, up, up_array
from verify_kernels.enclosed_products import nonnegative_product_up
from verify_kernels.matrix import MatrixEnclosure


def enclose_solution(a: MatrixEnclosure, b: MatrixEnclosure) -> MatrixEnclosure | None:
    """Enclose X with A X = B for every A, B in the enclosures, by an approximate inverse.

    With R ~ A^-1 and X ~ R B: if e = ||I - R A||_inf < 1 then every A is nonsingular and
    |A^-1 B - X| <= D + e/(1 - e) colmax(D) for D >= |R||B - A X| entrywise, because
    A^-1 = (I - (I - R A))^-1 R.

    Args:
        a: A, shape (m, m).
        b: B, shape (m, n).

    Returns:
        The enclosure, or None if A is singular or nonsingularity is not proved (about
        cond(A) > 1e12, or a radius that is too large, or overflow).

    Error bound:
        R A: gamma_m |R||A| + tau_m + |R| rad A. B - A X: gamma_m |A||X| + tau_m + one rounding
        u |.| + rad B + rad A |X|. Sums and products of nonnegative numbers are rounded upward.

    Source:
        S. M. Rump, Verification methods, Acta Numerica 19 (2010), section 10.
    """
    m = a.shape[0]
    if m == 0:
        return MatrixEnclosure(np.zeros(b.shape))
    with np.errstate(all="ignore"):
        try:
            inverse: Array = np.asarray(np.linalg.inv(a.mid), dtype=np.float64)
        except np.linalg.LinAlgError:
            return None
        near = inverse @ b.mid
        near += inverse @ (b.mid - a.mid @ near)  # one step of refinement; needs no proof
        if not (np.isfinite(inverse).all() and np.isfinite(near).all()):
            return None
        defect = inverse_defect(inverse, a)
        if not defect < 1.0:
            return None
        spread = nonnegative_product_up(np.abs(inverse), _residual_up(a, b, near))
        growth = div_up(defect, down(1.0 - defect))
        columns = up_array(growth * np.max(spread, axis=0))
        rad = up_array(spread + columns[None, :])
    if not np.isfinite(rad).all():
        return None
    return MatrixEnclosure(near, rad if rad.any() else None)


def inverse_defect(inverse: Array, a: MatrixEnclosure) -> float:
    """Return an upper bound of ||I - R A||_inf over the enclosure, +inf if it overflows."""
    m = len(inverse)
    product = inverse @ a.mid
    product[np.diag_indices(m)] -= 1.0
    modulus = np.abs(inverse)
    ones = np.ones((m, 1))
    sums = nonnegative_product_up(np.abs(product), ones)
    sums = up_array(sums + up(2.0 * U))  # the subtraction of 1: one rounding of |.| <= 2 + ...
    sums = up_array(sums * (1.0 + 4.0 * U))
    reach = nonnegative_product_up(np.abs(a.mid), ones)
    spread = up_array(gamma(m) * reach)
    if a.rad is not None:
        spread = up_array(spread + nonnegative_product_up(a.rad, ones))
    lost = up(m * tau(m, float(np.max(modulus)), float(np.max(np.abs(a.mid)))))
    total = up_array(sums + nonnegative_product_up(modulus, spread))
    largest = up(float(np.max(total)) + lost)
    return largest if np.isfinite(largest) else float("inf")


def _residual_up(a: MatrixEnclosure, b: MatrixEnclosure, near: Array) -> Array:
    """Return an entrywise upper bound of |B - A X| over the enclosures."""
    m = len(a.mid)
    residual = np.abs(b.mid - a.mid @ near)
    size_a, size_x = np.abs(a.mid), np.abs(near)
    total = up_array(residual * (1.0 + 4.0 * U))
    total = up_array(total + up_array(gamma(m) * nonnegative_product_up(size_a, size_x)))
    total = up_array(total + tau(m, float(np.max(size_a)), float(np.max(size_x, initial=0.0))))
    if b.rad is not None:
        total = up_array(total + b.rad)
    if a.rad is not None:
        total = up_array(total + nonnegative_product_up(a.rad, size_x))
    return total

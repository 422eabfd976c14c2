"""Proofs that z = relu(g A z + b) has one solution for every b, as constants that bound errors."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from fractions import Fraction

import numpy as np

from verify.enclosure import INF, Enclosure, Endpoint
from verify.evidence import Evidence
from verify.verdict import Truth
from verify_kernels._rounding import (
    Array,
    div_up,
    down,
    float_down,
    float_up,
    sum_up,
    up_array,
)
from verify_kernels.equilibrium_residual import Modulus, usable_weights
from verify_kernels.full_rank.singular_values import root
from verify_kernels.matrix import MatrixEnclosure
from verify_kernels.matrix_measure import enclose_symmetric_part
from verify_kernels.perron import enclose_perron_root
from verify_kernels.positive_vector import float_vector
from verify_kernels.spectral_norm import enclose_spectral_norm
from verify_kernels.two_layer.midrad import row_size

ONE = Enclosure.exact(1)
NOT_PROVED = (
    "neither ||g A|| < 1 nor lambda_max(sym(g A)) < 1 nor rho(|g A|) < 1 is proved, so the "
    "equilibrium is not proved to be unique"
)


def enclose_constants(A: Array, gamma: Fraction) -> tuple[Evidence, Evidence]:
    """Enclose ||g A||_2 and mu0 = 1 - lambda_max(sym(g A)), g = gamma/sqrt(m), from the exact A."""
    square = gamma**2 / len(A)
    factor = root(Enclosure.outward(square, square))
    norm = enclose_spectral_norm(A, with_witness=False)
    part = enclose_symmetric_part(A if gamma >= 0 else -A)
    top = product_of(factor, part.enclosure())
    margin = Enclosure(1 - top.hi, 1 - top.lo)
    return (
        Evidence(product_of(factor, norm.enclosure()), None, norm.assumes, norm.how, norm.why_open),
        Evidence(margin, None, part.assumes, part.how, part.why_open),
    )


def product_of(factor: Enclosure, value: Enclosure) -> Enclosure:
    """Enclose the product of a bounded number >= 0 and any number."""
    if not value.is_bounded:
        low: Endpoint = Fraction(0) if value.lo >= 0 else -INF
        return Enclosure(low, INF)
    ends = [a * b for a in (factor.lo, factor.hi) for b in (value.lo, value.hi)]
    return Enclosure.outward(min(ends), max(ends))


def norm_moduli(norm: Evidence, margin: Evidence) -> tuple[Modulus, ...]:
    """Return the proved constants among ||g A|| < 1 and mu0 > 0."""
    found: list[Modulus] = []
    q, mu = norm.enclosure().hi, margin.enclosure().lo
    if isinstance(q, Fraction) and q < 1:
        found.append(Modulus("contraction", q))
    if isinstance(mu, Fraction) and mu > 0:
        found.append(Modulus("monotone", mu))
    return tuple(found)


def weighted_moduli(weight: MatrixEnclosure) -> tuple[Modulus, ...]:
    """Return the constant of rho(|g A|) < 1 if it is proved: a positive vector."""
    witness = enclose_perron_root(weight, aim=ONE).witness
    if witness is None:
        return ()
    eta, bound = float_vector(witness.data["eta"]), Fraction(witness.data["bound"])
    usable = eta is not None and bound < 1 and usable_weights(eta)
    return (Modulus("weighted", bound, eta),) if usable else ()


def well_posedness(moduli: Sequence[Modulus], assumes: Iterable[str] = ()) -> Evidence:
    """Return the fact that every bias has exactly one equilibrium."""
    names = {
        "contraction": "||g A|| < 1",
        "monotone": "lambda_max(sym(g A)) < 1",
        "weighted": "rho(|g A|) < 1",
    }
    if not moduli:
        return Evidence(Truth.UNDECIDED, why_open=NOT_PROVED)
    how = " and ".join(names[modulus.kind] for modulus in moduli)
    return Evidence(Truth.PROVED, None, tuple(dict.fromkeys(assumes)), how)


@np.errstate(all="ignore")
def adjoint_distances(residuals: Array, moduli: Sequence[Modulus]) -> Array:
    """Bound max_k |p~ - p|_k for the solution of p = D (W^T p + c), W = g A, D in [0, 1] diagonal.

    With rho = D (W^T p~ + c) - p~ and rho = D rho the error is (I - D W^T)^-1 D rho.

    * ||W|| <= q < 1: its norm is at most ||rho||/(1 - q), by the Neumann series.
    * I - sym(W) >= mu > 0: x = (I - D W^T)^-1 D rho is x = D y with y = W^T x + rho; then
      ||x||^2 <= x.y = x.W^T x + x.rho <= (1 - mu)||x||^2 + ||x|| ||rho||, as x_k y_k = D_k y_k^2
      >= x_k^2 for D_k in [0, 1]. So ||x|| <= ||rho||/mu.
    * |W| eta <= q eta: sum_k eta_k |(W^T x)_k| <= q sum_k eta_k |x_k|, so the same norm of x is at
      most sum_k eta_k |rho_k|/(1 - q).

    Args:
        residuals: upper bounds of |rho|, shape (n, m), zero where D is.
        moduli: proved constants of W; the least bound counts.

    Returns:
        Upper bounds, shape (n,); +inf without a modulus.
    """
    best = np.full(len(residuals), np.inf)
    for modulus in moduli:
        if modulus.kind == "monotone":
            bound = up_array(row_size(residuals) * div_up(1.0, float_down(modulus.value)))
        else:
            factor = div_up(1.0, down(1.0 - float_up(modulus.value)))
            sizes = row_size(residuals)
            if modulus.eta is not None:
                weighted = up_array(residuals * modulus.eta)
                least = float(np.min(modulus.eta))
                sizes = np.array([div_up(sum_up(row), least) for row in weighted])
            bound = up_array(sizes * factor)
        best = np.minimum(best, np.where(np.isnan(bound), np.inf, bound))
    return best

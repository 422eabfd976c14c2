r"""The a-priori argument that keeps the implicit ReLU network well posed along a whole run.

Let gamma <= gamma_0 / (2 c) and gamma_0 < 1. If ||A(0)|| <= c sqrt(m) and
||A(k) - A(0)||_F <= c sqrt(m) for every step k of the run, then
gamma ||A(k)|| / sqrt(m) <= 2 c gamma <= gamma_0 < 1 at every step, stored or not.

Proof: ||A(k)|| <= ||A(0)|| + ||A(k) - A(0)||_F <= 2 c sqrt(m). That a Gaussian A(0) obeys
||A(0)|| <= c sqrt(m) with high probability for c > 2, and that gradient flow keeps the displacement
below c sqrt(m) for wide networks, is what the paper shows (as recalled); neither is used: both
norms are enclosed for the run at hand.

Source: Gao, Liu, Liu, Rajan, Gao (ICLR 2022), arXiv:2110.05645, well-posedness along training.
"""

from __future__ import annotations

from fractions import Fraction

import sympy as sp

from verify.errors import InputError
from verify.statement import Source, Statement, quantity

BOUND_C = Fraction(9, 4)
"""c: above 2, the limit of ||A(0)|| / sqrt(m) for Gaussian entries."""

GAMMA_0 = Fraction(9, 10)
"""gamma_0: the contraction factor that the a-priori argument keeps."""

NORM_A0 = quantity("norm_A0", "spectral norm of A at the start of the run", latex=r"\|A(0)\|_2")
DISPLACEMENT = quantity(
    "displacement",
    "largest distance of A from its start, over every step of the run",
    latex=r"\max_k\|A(k)-A(0)\|_F",
)


def a_priori_statement(
    *, gamma: Fraction, width: int, bound: Fraction = BOUND_C, limit: Fraction = GAMMA_0
) -> Statement:
    """Return the a-priori argument with its exact constants as a statement.

    Args:
        gamma: the fixed scalar.
        width: m.
        bound: c > 0.
        limit: gamma_0 < 1.

    Raises:
        InputError: gamma > gamma_0 / (2 c) or gamma_0 >= 1: the argument says nothing.
    """
    if not (gamma > 0 and bound > 0 and 2 * bound * gamma <= limit < 1):
        raise InputError(
            f"a_priori_statement: expected 0 < gamma, 0 < c and 2 c gamma <= gamma_0 < 1, "
            f"but got gamma = {gamma}, c = {bound}, gamma_0 = {limit}"
        )
    radius = sp.Rational(bound.numerator, bound.denominator) * sp.sqrt(width)
    return Statement(
        sp.And(NORM_A0.symbol <= radius, DISPLACEMENT.symbol <= radius),
        (NORM_A0, DISPLACEMENT),
        f"gamma ||A(k)|| / sqrt(m) <= 2 c gamma = {2 * bound * gamma} < 1 at every step k of the "
        f"run, and the network is well posed there for every input",
        "sufficient",
        Source(
            "Gao2022",
            "arXiv:2110.05645, well-posedness along training; "
            "||A(k)|| <= ||A(0)|| + ||A(k) - A(0)||_F",
        ),
        "stored trajectory",
    )

"""Perron root of the Cayley transform T = (2I - W)^-1 W."""

from __future__ import annotations

from fractions import Fraction
from typing import Any

from numpy.typing import ArrayLike

from verify.enclosure import Enclosure
from verify.errors import InputError
from verify.evidence import Evidence
from verify_kernels.definiteness import PRODUCTS
from verify_kernels.enclosed_products import affine, nearest_enclosure
from verify_kernels.linear_solve import enclose_solution
from verify_kernels.matrix import MatrixEnclosure
from verify_kernels.perron import as_enclosure, enclose_perron_root

EXACT_ALWAYS = 8  # up to here T is computed in rationals
EXACT_WIDTH = 48  # up to here it is, if the aim is not settled by floats
HOW = "verified solve with 2I - W, then Collatz-Wielandt quotients of |T|"


def enclose_cayley_root(
    weight: ArrayLike | MatrixEnclosure, *, backend: str = "auto", aim: Enclosure | None = None
) -> Evidence:
    """Enclose rho(|T|), T = (2I - W)^-1 W, by a verified solve and a positive vector.

    Args:
        weight: W, shape (m, m), finite floats (exact) or an enclosure of W.
        backend: handed on; no effect on rigour.
        aim: while it lies inside the enclosure, T is computed in rationals (m <= 48).

    Returns:
        Evidence with the two-sided enclosure; unbounded if 2I - W is singular or not proved to
        be nonsingular. The witness is the positive vector for (an upper bound of) |T|.

    Error bound:
        `verify_kernels.linear_solve` for T, `verify_kernels.perron` for the root.

    Raises:
        InputError: W is not square or not finite.

    Source:
        the Cayley transform of I - W; the Schur test turns the vectors into a diagonal witness.
    """
    given = as_enclosure(weight, where="enclose_cayley_root")
    m = given.shape[0]
    if given.is_exact and m <= EXACT_ALWAYS:
        return _exact_root(given, backend, aim)
    transform = cayley_transform(given)
    found = None
    if transform is not None:
        found = enclose_perron_root(transform, backend=backend, aim=aim)
        if not _is_open(found.value, aim):
            return Evidence(found.value, found.witness, (PRODUCTS,), HOW)
    if given.is_exact and m <= EXACT_WIDTH:
        return _exact_root(given, backend, aim)
    if found is None:
        return Evidence(
            Enclosure.unbounded(), how=HOW, why_open="2I - W is not proved to be nonsingular"
        )
    return Evidence(found.value, found.witness, (PRODUCTS,), HOW)


def cayley_transform(weight: MatrixEnclosure) -> MatrixEnclosure | None:
    """Return the float enclosure of T, or None."""
    try:
        shifted = affine(weight, Fraction(2), Fraction(-1), where="cayley_transform")
    except InputError:
        return None
    return enclose_solution(shifted, MatrixEnclosure(weight.mid, weight.rad))


def _is_open(value: Any, aim: Enclosure | None) -> bool:
    return aim is not None and value.lo <= aim.hi and aim.lo <= value.hi


def _exact_root(given: MatrixEnclosure, backend: str, aim: Enclosure | None) -> Evidence:
    """Enclose rho(|T|) for the exact rational T."""
    exact = given.rational()
    shifted = -exact
    for i in range(exact.nrows()):
        shifted[i, i] = shifted[i, i] + 2
    try:
        transform = nearest_enclosure(shifted.solve(exact))
    except ZeroDivisionError:
        return Evidence(Enclosure.unbounded(), how=HOW, why_open="2I - W is singular")
    except InputError:
        return Evidence(Enclosure.unbounded(), how=HOW, why_open="T is beyond binary64")
    found = enclose_perron_root(transform, backend=backend, aim=aim)
    return Evidence(found.value, found.witness, found.assumes, HOW)

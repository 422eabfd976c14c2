"""Perron root of |W|: the spectral radius of the entrywise modulus."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from verify.enclosure import Enclosure
from verify.errors import InputError
from verify.evidence import Evidence, Witness
from verify_kernels.definiteness import PRODUCTS
from verify_kernels.matrix import MatrixEnclosure, as_matrix
from verify_kernels.metzler import Metzler, Root, enclose_root, modulus_bounds
from verify_kernels.self_test import check_arithmetic

HOW = "Collatz-Wielandt quotients of a positive vector on each strongly connected block"


def enclose_perron_root(
    weight: ArrayLike | MatrixEnclosure, *, backend: str = "auto", aim: Enclosure | None = None
) -> Evidence:
    """Enclose rho(|W|) by the Collatz-Wielandt quotients of a positive vector.

    For v > 0: min_i (|W|v)_i / v_i <= rho(|W|) <= max_i (|W|v)_i / v_i, on every strongly
    connected block of the zero pattern; rho(|W|) is the largest of the blocks' values. The search
    of v (power and inverse iteration) needs no proof.

    Args:
        weight: W, shape (m, m), m >= 0, finite floats (exact) or an enclosure of W.
        backend: has no effect on the value or on rigour: matrix-vector products in NumPy, whose
            bound holds for any order of summation.
        aim: while it lies inside the enclosure, quotients are taken in integers and v is refined
            (m <= 128), so that rho = 1 - 2^-52 is told from 1.

    Returns:
        Evidence with the two-sided enclosure; the relative width is about 1e-12 for dense W and
        often exactly 0 for small rational cases. The witness "positive-vector" holds integers
        eta > 0 and a rational bound with |W| eta <= bound eta exactly (for an enclosure: for
        the upper bound of |W|).

    Error bound:
        floats: w = fl(|W|v) obeys |w - |W|v| <= gamma_m |W|v + tau_m, every further operation is
        rounded outward; integers: none.

    Raises:
        InputError: W is not square or not finite.

    Source:
        L. Collatz, Math. Z. 48 (1942); H. Wielandt, Math. Z. 52 (1950).
    """
    given = as_enclosure(weight, where="enclose_perron_root")
    lower, upper = modulus_bounds(given.mid, given.rad)
    zero = np.zeros(len(upper))
    exact = _modulus(given.exact) if given.exact is not None and given.rad is not None else None
    root = enclose_root(Metzler(zero, lower, zero, upper, exact), aim)
    return evidence(_nonnegative(root), "modulus", HOW, aim)


def as_enclosure(weight: ArrayLike | MatrixEnclosure, *, where: str) -> MatrixEnclosure:
    """Return the square matrix as an enclosure with checked finite midpoints and radii.

    Raises:
        InputError: not square, not finite, a negative radius. BackendError: NumPy's arithmetic
            fails its self-test.
    """
    check_arithmetic("numpy")
    if not isinstance(weight, MatrixEnclosure):
        return MatrixEnclosure(as_matrix(weight, where=where, square=True))
    mid = as_matrix(weight.mid, where=where, square=True)
    rad = None if weight.rad is None else as_matrix(weight.rad, where=where, square=True)
    if rad is not None and (rad.shape != mid.shape or (rad < 0.0).any()):
        raise InputError(
            f"{where}: expected radii >= 0 of shape {mid.shape}, but got shape {rad.shape} "
            f"with least entry {np.min(rad, initial=0.0)!r}"
        )
    return MatrixEnclosure(mid, rad, weight.exact)


def evidence(root: Root, matrix: str, how: str, aim: Enclosure | None) -> Evidence:
    """Return the evidence of a root: its enclosure and the positive vector of its upper end."""
    value = root.enclosure(aim)
    assumes = (PRODUCTS,) if root.in_floats else ()
    if root.eta is None or root.bound is None:
        why = "" if value.is_bounded else "overflow of binary64"
        return Evidence(value, assumes=assumes, how=how, why_open=why)
    data: dict[str, Any] = {
        "claim": "root<=",
        "matrix": matrix,
        "eta": list(root.eta),
        "bound": root.bound,
    }
    return Evidence(value, Witness("positive-vector", data), assumes, how)


def _nonnegative(root: Root) -> Root:
    """Raise the lower end to 0: a spectral radius is >= 0."""
    return replace(root, lo=max(Fraction(0), root.lo))


def _modulus(exact: Any) -> Any:
    from flint import fmpq_mat

    entries = [abs(value) for value in exact.entries()]
    return fmpq_mat(exact.nrows(), exact.ncols(), entries)

"""Matrices as exact values: validation, entrywise enclosures, exact rational copies."""

from __future__ import annotations

import math
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from verify.errors import InputError
from verify_kernels._rounding import (
    MAX,
    OMEGA,
    Array,
    U,
    down,
    float_up,
    norm_up,
    up,
    up_array,
)


def as_matrix(weight: ArrayLike, *, where: str, square: bool = False) -> Array:
    """Return the matrix as float64 in C order, exactly, or refuse it.

    Args:
        weight: shape (m, n), m, n >= 0; float16, bfloat16 (as float32), float32, float64 and
            integers up to 2^53 embed exactly.
        where: the caller's name, for the message.
        square: whether m = n is required.

    Raises:
        InputError: wrong dimensions, a dtype that does not embed, an entry that is not finite.
    """
    given = np.asarray(weight)
    if given.ndim != 2 or (square and given.shape[0] != given.shape[1]):
        shape = "(m, m)" if square else "(m, n)"
        raise InputError(f"{where}: expected a matrix of shape {shape}, but got {given.shape}")
    if given.dtype.kind in "iub":
        _refuse_large_integers(given, where)
    elif given.dtype not in (np.float16, np.float32, np.float64):
        raise InputError(f"{where}: expected real floating-point entries, but got {given.dtype}")
    elif given is not weight and not hasattr(weight, "dtype"):
        _refuse_large_integers(weight, where)  # beside a float, NumPy has rounded them by now
    matrix = np.ascontiguousarray(given, dtype=np.float64)
    finite = np.isfinite(matrix)
    if not finite.all():
        i, j = (int(k) for k in np.argwhere(~finite)[0])
        raise InputError(
            f"{where}: expected finite entries, but got {float(matrix[i, j])!r} at [{i}, {j}]"
        )
    return matrix


def _refuse_large_integers(weight: ArrayLike, where: str) -> None:
    given = np.asarray(weight)
    if given.dtype.kind not in "iub":
        entries = np.asarray(weight, dtype=object).ravel()
        given = np.array([x for x in entries if isinstance(x, int | np.integer)], dtype=object)
    if given.size and max(abs(int(given.max())), abs(int(given.min()))) > 2**53:
        raise InputError(f"{where}: expected integers up to 2^53, but got larger ones")


# Up to this width the exact rational copy of I - W is kept; it costs a microsecond an entry.
EXACT_WIDTH = 1024


@dataclass(frozen=True, eq=False)
class MatrixEnclosure:
    """All matrices X with |X - mid| <= rad entrywise; rad None means X = mid exactly.

    ``exact`` is the exact rational matrix (python-flint ``fmpq_mat``) where it is known; then
    mid and rad enclose it.

    Raises:
        InputError: rad or exact has another shape; NumPy would stretch a row of radii over the
            matrix, and a norm of the row is no bound for it.
    """

    mid: Array
    rad: Array | None = None
    exact: Any = None

    def __post_init__(self) -> None:
        shapes = {np.shape(self.mid)}
        if self.rad is not None:
            shapes.add(np.shape(self.rad))
        if self.exact is not None:
            shapes.add((int(self.exact.nrows()), int(self.exact.ncols())))
        if len(shapes) > 1:
            raise InputError(
                f"MatrixEnclosure: expected mid, rad and exact of one shape, "
                f"but got {sorted(shapes)}"
            )

    @property
    def is_exact(self) -> bool:
        """Whether the exact matrix is known."""
        return self.rad is None or self.exact is not None

    @property
    def is_bounded(self) -> bool:
        """Whether every radius is finite."""
        return self.rad is None or bool(np.isfinite(self.rad).all())

    @property
    def shape(self) -> tuple[int, int]:
        """(m, n)."""
        return (int(self.mid.shape[0]), int(self.mid.shape[1]))

    def rational(self) -> Any:
        """Return the exact matrix as ``fmpq_mat``.

        Raises:
            InputError: only an enclosure is known.
        """
        if self.exact is not None:
            return self.exact
        if self.rad is not None:
            raise InputError(
                "MatrixEnclosure.rational: expected an exact matrix, but got an enclosure"
            )
        return rational_matrix(self.mid)

    def radius_norm(self) -> float:
        """Return an upper bound of ||X - mid||_F over the enclosure, 0 if exact."""
        return 0.0 if self.rad is None else norm_up(self.rad)


def rational_matrix(matrix: Array) -> Any:
    """Return the exact rational copy of a finite float matrix as ``fmpq_mat``."""
    from flint import fmpq, fmpq_mat

    rows, columns = matrix.shape
    if rows * columns == 0:
        return fmpq_mat(rows, columns)
    entries = [fmpq(*float(x).as_integer_ratio()) for x in matrix.ravel()]
    return fmpq_mat(rows, columns, entries)


def enclose_rational(exact: Any) -> MatrixEnclosure:
    """Return the float enclosure of an ``fmpq_mat``, tight to one unit in the last place.

    An entry between the largest float and 2^1024 gets the largest float as its middle.

    Raises:
        InputError: an entry beyond 2^1024.
    """
    rows, columns = exact.nrows(), exact.ncols()
    lo, hi = np.empty((rows, columns)), np.empty((rows, columns))
    for i in range(rows):
        for j in range(columns):
            value = exact[i, j]
            lo[i, j], hi[i, j] = _neighbours(int(value.p), int(value.q))
            if math.inf in (-lo[i, j], hi[i, j]) and abs(value) > 2**1024:
                raise InputError(
                    f"enclose_rational: expected entries in the range of binary64, "
                    f"but got one beyond 2^1024 at [{i}, {j}]"
                )
    beyond = np.isinf(lo) | np.isinf(hi)
    mid = np.where(np.isinf(lo), -MAX, lo)
    hi = np.where(beyond, mid, hi)
    rad = np.where(beyond, 2.0**971, hi - mid)  # exact: equal or neighbouring floats
    return MatrixEnclosure(mid, rad if rad.any() else None, exact)


def _neighbours(p: int, q: int) -> tuple[float, float]:
    """Return the largest float <= p/q and the smallest one >= p/q, q > 0."""
    try:
        near = p / q  # integers divide with one correct rounding
    except OverflowError:
        return (-math.inf, -MAX) if p < 0 else (MAX, math.inf)
    n, d = near.as_integer_ratio()
    difference = n * q - p * d
    if difference == 0:
        return near, near
    return (near, up(near)) if difference < 0 else (down(near), near)


def identity_minus(weight: MatrixEnclosure, factor: Fraction) -> MatrixEnclosure:
    """Return an enclosure of I - factor W, exact where W is exact.

    Error bound: for the float part fl(1 - f w) with f a rational: the exact rational result is
    rounded outward entrywise; for an enclosure with g = fl(f) and |f - g| <= d the radius is
    (|g| + d) rad + d |mid| + the two roundings (u |g mid| + u |result|, doubled to cover the
    rounding of the bound itself) + underflow. What overflows has an infinite radius.
    """
    if weight.rad is None and weight.exact is None and factor == 1:
        return _identity_minus_floats(weight.mid)
    if weight.is_exact:
        return enclose_rational(_identity_minus_exact(weight.rational(), factor))
    scale, lost = _split(factor)
    with np.errstate(all="ignore"):
        product = scale * weight.mid
        mid = np.eye(len(product)) - product
        rad = np.zeros_like(mid) if weight.rad is None else weight.rad
        reach = up_array(up_array(up(abs(scale) + lost) * rad) + up_array(lost * abs(weight.mid)))
        slack = 4.0 * U * np.abs(product) + 4.0 * U * np.abs(mid) + 4.0 * OMEGA
        bound = up_array(reach + slack)
    finite = np.isfinite(mid)
    return MatrixEnclosure(np.where(finite, mid, 0.0), np.where(finite, bound, np.inf))


def _identity_minus_exact(given: Any, factor: Fraction) -> Any:
    from flint import fmpq, fmpq_mat

    size = given.nrows()
    one = fmpq_mat(size, size, [fmpq(int(i == j)) for i in range(size) for j in range(size)])
    return one - given * fmpq(factor.numerator, factor.denominator)


def _identity_minus_floats(weight: Array) -> MatrixEnclosure:
    """Return I - W for floats: only the diagonal is rounded; beyond `EXACT_WIDTH` no exact copy."""
    from flint import fmpq, fmpq_mat

    size = len(weight)
    diagonal = [1 - fmpq(*float(w).as_integer_ratio()) for w in np.diagonal(weight)]
    rounded = enclose_rational(fmpq_mat(1, size, diagonal))
    mid, places = -weight, np.arange(size)
    mid[places, places] = rounded.mid[0]
    rad = None
    if rounded.rad is not None:
        rad = np.zeros_like(mid)
        rad[places, places] = rounded.rad[0]
    kept = size <= EXACT_WIDTH
    exact = _identity_minus_exact(rational_matrix(weight), Fraction(1)) if kept else None
    return MatrixEnclosure(mid, rad, exact)


def _split(factor: Fraction) -> tuple[float, float]:
    """Return g and d with |factor - g| <= d: g = fl(factor), 0 beyond binary64."""
    try:
        near = float(factor)
    except OverflowError:
        near = 0.0
    return near, float_up(abs(factor - Fraction(near)))

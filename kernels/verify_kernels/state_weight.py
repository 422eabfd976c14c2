"""The matrix W that stored parameters stand for, with entrywise error bounds."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from fractions import Fraction
from typing import Any

import numpy as np

from verify.errors import InputError
from verify.network import (
    BoxMonotoneWeight,
    LowRankRowScaledWeight,
    MonotoneWeight,
    NonEuclideanWeight,
    PlainWeight,
    RowNormalisedWeight,
    RowScaledWeight,
    ScaledGaussianWeight,
    SoftplusMonotoneWeight,
    StateWeight,
    UpperTriangularWeight,
)
from verify_kernels._rounding import Array, down, gamma, up, up_array
from verify_kernels.enclosed_products import (
    Balls,
    add,
    add_diagonal,
    nearest_enclosure,
    negate,
    product,
    row_sums,
    scale,
    transpose,
)
from verify_kernels.matrix import MatrixEnclosure, as_matrix, rational_matrix
from verify_kernels.self_test import check_arithmetic

EXACT_WIDTH = 64  # up to here rational weights are kept as exact rational matrices
BITS = 128  # precision of exp, sqrt, softplus and sigmoid


def enclose_state_weight(weight: StateWeight) -> MatrixEnclosure:
    """Enclose W entrywise from its parametrisation.

    Rational parametrisations of width up to 64 are computed in exact rational arithmetic and
    keep the exact matrix; a stored or strictly triangular W is exact at any width. Otherwise
    products and sums carry a-priori bounds (any summation order), and exp, sqrt, softplus and
    sigmoid are evaluated in ball arithmetic.

    Args:
        weight: a parametrisation of `verify.network`; tensors are finite, shapes as documented
            there.

    Returns:
        The enclosure; radii are about 1e-16 to 1e-13 relative. An entry that is zero by the
        equation has mid = rad = 0.

    Error bound:
        per operation, see `verify_kernels.enclosed_products`.

    Raises:
        InputError: shapes that do not fit, entries that are not finite, a division by zero in
            the equation, or W beyond binary64. BackendError: NumPy's arithmetic fails its
            self-test.

    Source:
        each class of `verify.network.weights` names its equation and its origin.
    """
    check_arithmetic("numpy")
    rule = _RULES.get(type(weight))
    if rule is None:
        known = ", ".join(sorted(kind.__name__ for kind in _RULES))
        raise InputError(
            f"enclose_state_weight: expected one of {known}, but got {type(weight).__name__}"
        )
    exact, balls = rule
    if weight.width <= EXACT_WIDTH:
        rational = exact(weight)
        if rational is not None:
            return nearest_enclosure(rational)
    return balls(weight)


# ---------------------------------------------------------------- reading tensors


def _square(tensor: Array, name: str) -> Array:
    return as_matrix(tensor, where=f"enclose_state_weight, {name}", square=True)


def _matrix(tensor: Array, name: str, *, columns: int) -> Array:
    matrix = as_matrix(tensor, where=f"enclose_state_weight, {name}")
    if matrix.shape[1] != columns:
        raise InputError(
            f"enclose_state_weight: expected {name} with {columns} columns, but got {matrix.shape}"
        )
    return matrix


def _vector(tensor: Array, name: str, size: int) -> Array:
    flat = np.asarray(tensor).reshape(1, -1)
    vector: Array = as_matrix(flat, where=f"enclose_state_weight, {name}")[0]
    if len(vector) != size:
        raise InputError(
            f"enclose_state_weight: expected {name} with {size} entries, "
            f"but got shape {np.shape(tensor)}"
        )
    return vector


def _none(weight: Any) -> None:
    return None


def _arb(value: float | Fraction) -> Any:
    from flint import arb, fmpq

    if isinstance(value, Fraction):
        return arb(fmpq(value.numerator, value.denominator))
    return arb(value)


def _balls(values: Callable[[], Iterable[Any]]) -> Balls:
    """Evaluate balls with `BITS` bits and enclose them in float balls."""
    from flint import ctx

    saved = ctx.prec
    try:
        ctx.prec = BITS
        return Balls.of(list(values()))
    finally:
        ctx.prec = saved


def _identity(size: int, factor: Fraction) -> Any:
    from flint import fmpq, fmpq_mat

    value, zero = fmpq(factor.numerator, factor.denominator), fmpq(0)
    return fmpq_mat(
        size, size, [value if i == j else zero for i in range(size) for j in range(size)]
    )


# ---------------------------------------------------------------- W as stored


def _balls_plain(weight: PlainWeight) -> MatrixEnclosure:
    return MatrixEnclosure(_square(weight.W, "W"))


def _balls_triangular(weight: UpperTriangularWeight) -> MatrixEnclosure:
    return MatrixEnclosure(np.triu(_square(weight.A, "A"), 1))


# ---------------------------------------------------------------- monotone


def _exact_monotone(weight: MonotoneWeight) -> Any:
    B = rational_matrix(_square(weight.B, "B"))
    n = B.nrows()
    A = rational_matrix(_matrix(weight.A, "A", columns=n))
    return _identity(n, 1 - weight.m) - A.transpose() * A + B - B.transpose()


def _balls_monotone(weight: MonotoneWeight) -> MatrixEnclosure:
    B = _square(weight.B, "B")
    return _monotone(weight.A, B, "A", Balls.repeated(1 - weight.m, len(B)))


def _monotone(A: Array, B: Array, name: str, diagonal: Balls) -> MatrixEnclosure:
    n = len(B)
    A = _matrix(A, name, columns=n)
    skew = add(MatrixEnclosure(B), MatrixEnclosure(-B.T))
    gram = product(MatrixEnclosure(np.ascontiguousarray(A.T)), MatrixEnclosure(A))
    return add_diagonal(add(skew, negate(gram)), diagonal)


def _balls_softplus_monotone(weight: SoftplusMonotoneWeight) -> MatrixEnclosure:
    S = _square(weight.S, "S")
    raw = float(_vector(weight.m_raw, "m_raw", 1)[0])

    def margin() -> list[Any]:
        softplus = _arb(raw).exp().log1p() if raw < 0 else _arb(raw) + (-_arb(raw)).exp().log1p()
        return [1 - softplus - _arb(Fraction(1, 10_000))]

    one = _balls(margin)
    diagonal = Balls(np.repeat(one.mid, len(S)), np.repeat(one.rad, len(S)))
    return _monotone(weight.A, S, "A", diagonal)


# ---------------------------------------------------------------- non-Euclidean


def _exact_non_euclidean(weight: NonEuclideanWeight) -> Any:
    """W is rational if all d are equal: then D cancels."""
    matrix = _square(weight.A, "A")
    n = len(matrix)
    d = _vector(weight.d, "d", n)
    if not (d == d[:1]).all():
        return None
    A = rational_matrix(matrix)
    for i in range(n):
        A[i, i] = A[i, i] - sum(abs(A[i, j]) for j in range(n))
    return A + _identity(n, weight.m)


def _balls_non_euclidean(weight: NonEuclideanWeight) -> MatrixEnclosure:
    A = _square(weight.A, "A")
    n = len(A)
    d = _vector(weight.d, "d", n)
    outside = A.copy()
    np.fill_diagonal(outside, 0.0)
    scaled = _exponential_similarity(outside, d)
    own = np.diagonal(A)
    kept = own - np.abs(own)  # 0 or 2 A_ii, exact
    rest = np.abs(outside).sum(axis=1)
    with np.errstate(all="ignore"):
        rad = up_array(up(2.0 * gamma(n + 2)) * rest)
        inner = add(MatrixEnclosure(np.diag(kept)), MatrixEnclosure(np.diag(-rest), np.diag(rad)))
    inner = add_diagonal(inner, Balls.repeated(weight.m, n))
    return add(scaled, inner)


def _exponential_similarity(outside: Array, d: Array) -> MatrixEnclosure:
    """Return the enclosure of diag(exp -d) outside diag(exp d)."""
    n = len(d)
    centre = float(np.median(d)) if n else 0.0
    if (d == d[:1]).all():
        return MatrixEnclosure(outside)
    if float(np.max(np.abs(d - centre))) < 300.0:
        left = _balls(lambda: [(_arb(centre) - _arb(float(x))).exp() for x in d])
        right = _balls(lambda: [(_arb(float(x)) - _arb(centre)).exp() for x in d])
        return scale(MatrixEnclosure(outside), left, right)

    def entries() -> list[Any]:
        exponents = [_arb(float(x)) for x in d]
        return [
            _arb(float(outside[i, j])) * (exponents[j] - exponents[i]).exp()
            if outside[i, j]
            else Fraction(0)
            for i in range(n)
            for j in range(n)
        ]

    flat = _balls(entries)
    return MatrixEnclosure(flat.mid.reshape(n, n), flat.rad.reshape(n, n))


# ---------------------------------------------------------------- interval-bound propagation


def _balls_box_monotone(weight: BoxMonotoneWeight) -> MatrixEnclosure:
    M = _square(weight.M, "M")
    n = len(M)
    raw = _vector(weight.l, "l", n)
    if weight.m >= 1 or weight.c == 0:
        raise InputError(
            f"enclose_state_weight: expected m < 1 and c != 0, but got m = {weight.m}, "
            f"c = {weight.c}"
        )
    rows, columns = row_sums(M), row_sums(np.ascontiguousarray(M.T))
    factor = 1 / (2 * (1 - weight.m))

    def roots() -> list[Any]:
        sums = [
            _arb(float(rows[0][i])).union(_arb(float(rows[1][i])))
            + _arb(float(columns[0][i])).union(_arb(float(columns[1][i])))
            for i in range(n)
        ]
        return [(_arb(factor) * s + _arb(Fraction(1, 10**8))).sqrt() for s in sums]

    def levers() -> list[Any]:
        low = 1 / weight.c
        return [_arb(1 - low) / (1 + (-_arb(float(x))).exp()) + _arb(low) for x in raw]

    def left() -> list[Any]:
        return [1 / (root * lever) for root, lever in zip(roots(), levers(), strict=True)]

    def right() -> list[Any]:
        return [lever / root for root, lever in zip(roots(), levers(), strict=True)]

    return scale(MatrixEnclosure(M), _balls(left), _balls(right))


# ---------------------------------------------------------------- rows scaled to a norm


def _shrink(norm: Fraction, kappa: Fraction) -> Fraction:
    """Return min(1, kappa / norm); a zero matrix has no norm to shrink."""
    return Fraction(1) if norm == 0 else min(Fraction(1), kappa / norm)


def _rational_norm(exact: Any) -> Fraction:
    """Return the largest row sum of moduli."""
    largest = Fraction(0)
    for row in exact.tolist():
        total = sum(abs(value) for value in row)
        if total != 0:
            largest = max(largest, Fraction(int(total.p), int(total.q)))
    return largest


def _rational_shrunk(exact: Any, kappa: Fraction) -> Any:
    from flint import fmpq

    factor = _shrink(_rational_norm(exact), kappa)
    return exact * fmpq(factor.numerator, factor.denominator)


def _exact_row_scaled(weight: RowScaledWeight) -> Any:
    return _rational_shrunk(rational_matrix(_square(weight.A, "A")), weight.kappa)


def _balls_row_scaled(weight: RowScaledWeight) -> MatrixEnclosure:
    return _shrunk(MatrixEnclosure(_square(weight.A, "A")), weight.kappa)


def _exact_low_rank(weight: LowRankRowScaledWeight) -> Any:
    L, R = _factors(weight)
    left = _rational_shrunk(rational_matrix(L), weight.kappa)
    right = _rational_shrunk(rational_matrix(R).transpose(), weight.kappa)
    return _rational_shrunk(left * right, weight.kappa)


def _balls_low_rank(weight: LowRankRowScaledWeight) -> MatrixEnclosure:
    L, R = _factors(weight)
    left = _shrunk(MatrixEnclosure(L), weight.kappa)
    right = _shrunk(transpose(MatrixEnclosure(R)), weight.kappa)
    return _shrunk(product(left, right), weight.kappa)


def _factors(weight: LowRankRowScaledWeight) -> tuple[Array, Array]:
    L = as_matrix(weight.L, where="enclose_state_weight, L")
    R = _matrix(weight.R, "R", columns=L.shape[1])
    if len(R) != len(L):
        raise InputError(
            f"enclose_state_weight: expected L and R of one shape, but got {L.shape}, {R.shape}"
        )
    return L, R


def _shrunk(a: MatrixEnclosure, kappa: Fraction) -> MatrixEnclosure:
    """Return a min(1, kappa / norm_inf(a))."""
    low, high = _norm_bounds(a)
    if high <= kappa or high == 0:
        return a
    factors = (_shrink(high, kappa), _shrink(low, kappa))
    factor = _balls(lambda: [_arb(factors[0]).union(_arb(factors[1]))])
    rows = a.shape[0]
    repeated = Balls(np.repeat(factor.mid, rows), np.repeat(factor.rad, rows))
    return scale(a, repeated, None)


def _norm_bounds(a: MatrixEnclosure) -> tuple[Fraction, Fraction]:
    """Return bounds of the largest row sum of |a|; equal if a is exact."""
    if 0 in a.shape:
        return Fraction(0), Fraction(0)
    low, high = row_sums(a.mid)
    if a.rad is None:
        rivals = np.flatnonzero(high >= float(np.max(low)))
        exact = max(sum((Fraction(abs(float(x))) for x in a.mid[i]), Fraction(0)) for i in rivals)
        return exact, exact
    spread = row_sums(a.rad)[1]
    top = float(np.max(up_array(high + spread)))
    bottom = max(0.0, down(float(np.max(-up_array(spread - low)))))
    if not math.isfinite(top):
        raise InputError("enclose_state_weight: expected a norm in the range of binary64")
    return Fraction(bottom), Fraction(top)


# ---------------------------------------------------------------- row normalisation, Gao et al.


def _balls_row_normalised(weight: RowNormalisedWeight) -> MatrixEnclosure:
    v = _square(weight.v, "v")
    g = _vector(weight.g, "g", len(v))
    if np.shape(weight.g) not in ((len(v),), (len(v), 1)):
        raise InputError(
            f"enclose_state_weight: expected g with one factor a row, of shape ({len(v)}, 1), "
            f"but got {np.shape(weight.g)}"
        )
    if not np.abs(v).any(axis=1).all():
        row = int(np.flatnonzero(~np.abs(v).any(axis=1))[0])
        raise InputError(
            f"enclose_state_weight: expected rows of v with a norm > 0, but got row {row} = 0"
        )

    def factors() -> list[Any]:
        from flint import arb, arb_mat

        n = len(v)
        found = []
        for i in range(n):
            row = arb_mat(1, n, [arb(float(x)) for x in v[i]])
            square = (row * row.transpose())[0, 0]
            found.append(_arb(float(g[i])) / square.sqrt())
        return found

    return scale(MatrixEnclosure(v), _balls(factors), None)


def _exact_gaussian(weight: ScaledGaussianWeight) -> Any:
    from flint import fmpq

    A = _square(weight.A, "A")
    root = math.isqrt(len(A))
    if root * root != len(A) or root == 0:
        return None
    factor = weight.gamma / root
    return rational_matrix(A) * fmpq(factor.numerator, factor.denominator)


def _balls_gaussian(weight: ScaledGaussianWeight) -> MatrixEnclosure:
    A = _square(weight.A, "A")
    m = len(A)
    root = math.isqrt(m)
    if root * root == m:
        factor = Balls.repeated(weight.gamma / max(root, 1), m)
    else:
        one = _balls(lambda: [_arb(weight.gamma) / _arb(Fraction(m)).sqrt()])
        factor = Balls(np.repeat(one.mid, m), np.repeat(one.rad, m))
    return scale(MatrixEnclosure(A), factor, None)


_RULES: dict[type, tuple[Callable[[Any], Any], Callable[[Any], MatrixEnclosure]]] = {
    PlainWeight: (_none, _balls_plain),
    UpperTriangularWeight: (_none, _balls_triangular),
    MonotoneWeight: (_exact_monotone, _balls_monotone),
    SoftplusMonotoneWeight: (_none, _balls_softplus_monotone),
    NonEuclideanWeight: (_exact_non_euclidean, _balls_non_euclidean),
    BoxMonotoneWeight: (_none, _balls_box_monotone),
    RowScaledWeight: (_exact_row_scaled, _balls_row_scaled),
    LowRankRowScaledWeight: (_exact_low_rank, _balls_low_rank),
    RowNormalisedWeight: (_none, _balls_row_normalised),
    ScaledGaussianWeight: (_exact_gaussian, _balls_gaussian),
}

"""Refutations in exact rationals: a b with two equilibria of z = s(W z + b), or with none.

s(v) = max(v, 0) + alpha min(v, 0) with 0 <= alpha < 1 (ReLU: alpha = 0). If p != 0 and

    x = (I - alpha W) p,  y = (I - W) p  satisfy  x_i y_i <= 0 for all i,

then with t^+ = max(t, 0), t^- = max(-t, 0) entrywise the bias b = (I - W) x^+ - (I - alpha W) y^+
has the equilibria z1 = x^+ - alpha y^+ and z2 = x^- - alpha y^-. Proof: u1 = x^+ - y^+ and
u2 = x^- - y^- have x^+, x^- as positive and y^+, y^- as negative parts, so u - W s(u) is
(I - W) x^+ - (I - alpha W) y^+ = b at u1, and at u2 it differs from b by
(I - W) x - (I - alpha W) y = 0, because the two matrices commute. If z1 = z2 then u1 = u2
(u = W z + b), so x = y and every x_i^2 <= 0, hence x = y = 0 and p = (x - alpha y)/(1 - alpha) = 0.

Such a p comes from two sign patterns T and T + i with determinants of opposite signs (or zero):
let R_T have row j of I - W for j in T and of I - alpha W else; R_T p = e_i gives y = 0 on T, x = 0
off T + i, and x_i y_i = det(R_{T+i}) / det(R_T) <= 0 by Cramer's rule; if R_T is singular, any
vector of its kernel will do.

Only exact weights have such witnesses; for an interval matrix b and z would depend on the member.
"""

from __future__ import annotations

import math
import time
from collections.abc import Iterator, Sequence
from fractions import Fraction
from typing import Any

import numpy as np

from verify.errors import InputError
from verify.evidence import Witness
from verify.verdict import Truth
from verify_kernels import exact_linear_program, minors
from verify_kernels._rounding import Array
from verify_kernels.matrix import enclose_rational, identity_minus
from verify_kernels.one_sign import decide_one_sign, slope_matrix
from verify_kernels.p_matrix import decide_p_matrix

LINEAR_PROGRAM = 16  # largest order for which the exact linear program of `no_equilibrium` runs
_BITS = (0, 1, 2, 3, 4, 6, 8, 10, 13, 16, 20, 26, 34, 44, 52)
_PUSHES = (2.0**-2, 2.0**-4, 2.0**-7, 2.0**-11, 2.0**-17)


def two_equilibria(
    weight: Any,
    *,
    alpha: Fraction = Fraction(0),
    bad: Witness | None = None,
    index_set: Sequence[int] | None = None,
    base_set: Sequence[int] = (),
    deadline: float = math.inf,
) -> Witness | None:
    """Return a bias with two different equilibria, both verified by substitution.

    Short numbers are tried first (few bits of an eigenvector or of a solution pushed off the
    border), then the exact rational solution.

    Args:
        weight: W as ``fmpq_mat``, shape (m, m).
        alpha: the slope for negative arguments, 0 <= alpha < 1; the other slope is 1.
        bad: the witness of `decide_p_matrix` (alpha = 0) or `decide_one_sign`; or give
        index_set: a pattern S (slope 1 on S) whose det(I - W D) has not the sign of
        base_set: a pattern T within S. Without all three the patterns are searched here.
        deadline: ``time.monotonic`` from which on only the exact solution is tried.

    Returns:
        Witness ``"two-equilibria"``: ``alpha`` and the lists of fractions ``b``, ``z1``, ``z2``;
        None if no bad pattern was found.

    Raises:
        InputError: not 0 <= alpha < 1, or T is not within S.
    """
    slope = Fraction(alpha)
    if not 0 <= slope < 1:
        raise InputError(f"two_equilibria: expected 0 <= alpha < 1, but got {slope!r}")
    if index_set is None:
        found = bad if bad is not None else _search(weight, slope, deadline)
        if found is None or found.data.get("determinant") is None:
            return None
        index_set, base_set = found.data["index_set"], found.data.get("base_set", ())
    if not set(base_set) <= set(index_set):
        raise InputError(
            f"two_equilibria: expected base_set within index_set, "
            f"but got {list(base_set)!r} and {list(index_set)!r}"
        )
    base, i = _wall(weight, slope, sorted(base_set), sorted(index_set))
    for direction in _short_directions(weight, slope, base, i):
        if time.monotonic() > deadline:
            break
        witness = _from_direction(weight, slope, direction)
        if witness is not None:
            return witness
    return _from_direction(weight, slope, _exact_direction(weight, slope, base, i))


def no_equilibrium(weight: Any, *, alpha: Fraction = Fraction(0)) -> Witness | None:
    """Return a bias without any equilibrium, or None if none of this form was found.

    y != 0 with (I - W)^T y <= 0 and (I - alpha W)^T y >= 0 gives b = y: every u has
    y.(u - W s(u)) = ((I - W)^T y).u^+ - ((I - alpha W)^T y).u^- <= 0 < y.y.

    Args:
        weight: W as ``fmpq_mat``, shape (m, m).
        alpha: the slope for negative arguments, 0 <= alpha < 1.

    Returns:
        Witness ``"no-equilibrium"``: ``alpha`` and ``b`` = y.
    """
    from flint import fmpq, fmpq_mat

    m = weight.nrows()
    if m == 0 or m > LINEAR_PROGRAM:
        return None
    upper = slope_matrix(weight, [Fraction(1)] * m).transpose()
    lower = slope_matrix(weight, [Fraction(alpha)] * m).transpose()
    ones = fmpq_mat(1, m, [fmpq(1)] * m)
    units = [[fmpq(int(i == j)) for j in range(m)] for i in range(m)]
    total = (ones * lower).entries()
    rows = [*upper.tolist(), *(-lower).tolist(), list(total)]
    bounds = [fmpq(0)] * (2 * m) + [fmpq(1)]
    for y in units:
        if _excludes(upper, lower, y):
            return Witness("no-equilibrium", {"alpha": Fraction(alpha), "b": _fractions(y)})
    best = exact_linear_program.maximise(list(total), rows, bounds)
    if best.value > 0 and _excludes(upper, lower, best.point):
        return Witness("no-equilibrium", {"alpha": Fraction(alpha), "b": _fractions(best.point)})
    return None


def check_equilibrium(
    weight: Any, alpha: Fraction, b: Sequence[Fraction], z: Sequence[Fraction]
) -> bool:
    """Return whether z = s(W z + b) holds exactly, s(v) = max(v, 0) + alpha min(v, 0)."""
    from flint import fmpq, fmpq_mat

    m = weight.nrows()
    slope = _fmpq(Fraction(alpha))
    if len(b) != m or len(z) != m:
        return False
    exact = [_fmpq(Fraction(x)) for x in z]
    product = weight * fmpq_mat(m, 1, exact) if m else weight
    for j in range(m):
        v = product[j, 0] + _fmpq(Fraction(b[j]))
        if exact[j] != (v if v >= 0 else slope * v):
            return False
    return all(isinstance(x, fmpq) for x in exact)


def _search(weight: Any, alpha: Fraction, deadline: float) -> Witness | None:
    enclosed = enclose_rational(weight)
    if alpha == 0:
        found = decide_p_matrix(identity_minus(enclosed, Fraction(1)), deadline=deadline)
    else:
        found = decide_one_sign(enclosed, alpha, Fraction(1), deadline=deadline)
    return found.witness if found.value is Truth.REFUTED else None


def _wall(
    weight: Any, alpha: Fraction, base: list[int], index_set: list[int]
) -> tuple[list[int], int | None]:
    """Return T and i with det at T + i not of the sign at T, or T with det 0 and None."""
    if len(index_set) == len(base) + 1:
        return base, next(j for j in index_set if j not in base)
    sign = _determinant(weight, alpha, base)
    current = list(index_set)
    while len(current) > len(base):
        for j in current:
            if j in base:
                continue
            rest = [k for k in current if k != j]
            value = _determinant(weight, alpha, rest) if len(rest) > len(base) else sign
            if value * sign > 0:
                return rest, j
        current = rest
    return base, None


def _determinant(weight: Any, alpha: Fraction, pattern: Sequence[int]) -> Any:
    if alpha == 0:
        return slope_matrix(
            minors.submatrix(weight, pattern, pattern), [Fraction(1)] * len(pattern)
        ).det()
    slopes = [Fraction(1) if j in pattern else alpha for j in range(weight.nrows())]
    return slope_matrix(weight, slopes).det()


def _exact_direction(weight: Any, alpha: Fraction, base: list[int], i: int | None) -> list[Any]:
    """Solve R_T p = e_i, or R_T p = 0 where R_T is singular, in rationals."""
    from flint import fmpq, fmpq_mat

    m = weight.nrows()
    where = base if i is None else [*base, i]
    active = where if alpha == 0 else list(range(m))
    rows = _rows(weight, alpha, base, active)
    try:
        if i is None:
            raise ZeroDivisionError
        right = fmpq_mat(len(active), 1, [fmpq(int(j == i)) for j in active])
        local = rows.solve(right).entries()
    except ZeroDivisionError:
        local = _kernel_vector(rows)
    p = [fmpq(0)] * m
    for j, value in zip(active, _tidy(local), strict=True):
        p[j] = value
    return p


def _rows(weight: Any, alpha: Fraction, base: Sequence[int], active: Sequence[int]) -> Any:
    """Return R_T on the active indices (for alpha = 0 the others have p = 0)."""
    from flint import fmpq_mat

    slope = _fmpq(alpha)
    entries = [
        int(j == k) - weight[j, k] * (1 if j in base else slope) for j in active for k in active
    ]
    return fmpq_mat(len(active), len(active), entries)


def _kernel_vector(rows: Any) -> list[Any]:
    from flint import fmpq

    n = rows.nrows()
    reduced, rank = rows.rref()
    heads = [next(j for j in range(n) if reduced[k, j] != 0) for k in range(rank)]
    free = next((j for j in range(n) if j not in heads), None)
    p = [fmpq(0)] * n
    if free is not None:
        p[free] = fmpq(1)
        for k, head in enumerate(heads):
            p[head] = -reduced[k, free]
    return p


def _tidy(vector: list[Any]) -> list[Any]:
    """Return the positive multiple with coprime integer entries, if they are short."""
    from flint import fmpq, fmpz

    common = fmpz(1)
    for x in vector:
        common = common.lcm(x.q)
    integers = [x.p * (common // x.q) for x in vector]
    divisor = fmpz(0)
    for x in integers:
        divisor = divisor.gcd(x)
    if divisor == 0 or max(int(abs(x)) for x in integers).bit_length() > 64:
        return vector
    return [fmpq(x // divisor) for x in integers]


def _short_directions(
    weight: Any, alpha: Fraction, base: list[int], i: int | None
) -> Iterator[list[Any]]:
    """Propose p with few bits whose inequalities hold strictly where they can (floats only)."""
    if i is None:
        return
    m = weight.nrows()
    active = [*base, i] if alpha == 0 else list(range(m))
    upper = _floats(_rows(weight, Fraction(0), active, active))
    lower = _floats(_rows(weight, alpha, [], active))
    if not (np.isfinite(upper).all() and np.isfinite(lower).all()):
        return
    inside = np.isin(active, base)
    with np.errstate(all="ignore"):
        for p in _float_directions(upper, lower, inside, active.index(i)):
            size = float(np.max(np.abs(p), initial=0.0))
            if not (math.isfinite(size) and size > 0.0):
                continue
            for rounded in _roundings(p / size):
                x, y = lower @ rounded, upper @ rounded
                if rounded.any() and (x * y <= 0.0).all():
                    yield _padded(rounded, active, m)
                    break


def _float_directions(upper: Array, lower: Array, inside: Any, i: int) -> Iterator[Array]:
    """Eigenvectors of the quotient for negative eigenvalues, then solutions pushed inward."""
    try:
        values, vectors = np.linalg.eig(np.linalg.solve(lower, upper))
        for k in np.argsort(values.real):
            if values[k].real < 0.0 and values[k].imag == 0.0:
                yield np.linalg.solve(lower, vectors[:, k].real)
    except np.linalg.LinAlgError:
        pass
    rows = np.where(inside[:, None], upper, lower)
    right = np.zeros(len(rows))
    right[i] = 1.0
    try:
        exact = np.linalg.solve(rows, right)
        x, y = lower @ exact, upper @ exact
        for push in _PUSHES:
            target = np.where(inside, -push * np.sign(x), -push * np.sign(y))
            target[i] = 1.0
            yield np.linalg.solve(rows, target)
    except np.linalg.LinAlgError:
        return


def _roundings(p: Array) -> Iterator[Array]:
    """Round to few bits, absolutely and relatively."""
    for bits in _BITS:
        yield np.round(p * 2.0**bits) / 2.0**bits
        mantissa, exponent = np.frexp(p)
        yield np.ldexp(np.round(mantissa * 2.0 ** (bits + 1)) / 2.0 ** (bits + 1), exponent)


def _padded(values: Array, active: Sequence[int], m: int) -> list[Any]:
    from flint import fmpq

    p = [fmpq(0)] * m
    for j, value in zip(active, values, strict=True):
        p[j] = fmpq(*float(value).as_integer_ratio())
    return p


def _floats(exact: Any) -> Array:
    """Return a plain float copy (infinite beyond the range); it only proposes."""
    n = exact.nrows()
    out = np.empty((n, n))
    for j in range(n):
        for k in range(n):
            value = minors.fraction_of(exact[j, k])
            try:
                out[j, k] = float(value)
            except OverflowError:
                out[j, k] = math.inf
    return out


def _from_direction(weight: Any, alpha: Fraction, p: list[Any]) -> Witness | None:
    """Build b, z1, z2 from p (see the module) and accept them only after substitution."""
    from flint import fmpq, fmpq_mat

    m = weight.nrows()
    slope, zero = _fmpq(alpha), fmpq(0)
    image = (weight * fmpq_mat(m, 1, p)).entries()
    x = [a - slope * c for a, c in zip(p, image, strict=True)]
    y = [a - c for a, c in zip(p, image, strict=True)]
    if any(a * c > 0 for a, c in zip(x, y, strict=True)):
        return None
    xp, yp = [max(a, zero) for a in x], [max(c, zero) for c in y]
    z1 = [a - slope * c for a, c in zip(xp, yp, strict=True)]
    z2 = [max(-a, zero) - slope * max(-c, zero) for a, c in zip(x, y, strict=True)]
    column = [a - slope * c for a, c in zip(xp, yp, strict=True)]  # b = x^+ - y^+ - W column
    pushed = (weight * fmpq_mat(m, 1, column)).entries()
    b = [a - c - w for a, c, w in zip(xp, yp, pushed, strict=True)]
    if alpha == 0:
        b = _simpler(weight, b, z1, z2)
    bias, first, second = _fractions(b), _fractions(z1), _fractions(z2)
    if first == second:
        return None
    if not all(check_equilibrium(weight, alpha, bias, z) for z in (first, second)):
        return None
    data = {"alpha": alpha, "b": bias, "z1": first, "z2": second}
    return Witness("two-equilibria", data)


def _simpler(weight: Any, b: list[Any], z1: list[Any], z2: list[Any]) -> list[Any]:
    """Where both equilibria are 0, any smaller b_j will do: take 0 or a negative integer."""
    from flint import fmpq, fmpq_mat

    m = len(b)
    first = (weight * fmpq_mat(m, 1, z1)).entries()
    second = (weight * fmpq_mat(m, 1, z2)).entries()
    out = list(b)
    for j in range(m):
        if z1[j] == 0 and z2[j] == 0:
            bound = -max(first[j], second[j])
            out[j] = fmpq(0) if bound >= 0 else fmpq(bound.floor())
    return out


def _excludes(upper: Any, lower: Any, y: list[Any]) -> bool:
    from flint import fmpq_mat

    column = fmpq_mat(len(y), 1, y)
    return (
        any(c != 0 for c in y)
        and all(c <= 0 for c in (upper * column).entries())
        and all(c >= 0 for c in (lower * column).entries())
    )


def _fmpq(value: Fraction) -> Any:
    from flint import fmpq

    return fmpq(value.numerator, value.denominator)


def _fractions(values: Sequence[Any]) -> list[Fraction]:
    return [minors.fraction_of(x) for x in values]

"""Directions v with v . x_i <= 0 for all data, and proofs that there are none but 0.

Data positively span R^d if no v != 0 has v . x_i <= 0 for all i. By Stiemke's theorem this holds
exactly if X has rank d and some c > 0 (all entries) has X^T c = 0: then sum c_i (v . x_i) = 0
forces v . x_i = 0 for all i, so v = 0. Everything is decided in rational arithmetic.

Source: E. Stiemke, Math. Annalen 76 (1915); the linear program of `exact_linear_program`.
"""

from __future__ import annotations

from fractions import Fraction
from typing import Any

import numpy as np
from flint import fmpq, fmpq_mat

from verify_kernels._rounding import Array
from verify_kernels.exact_linear_program import maximise
from verify_kernels.two_layer.exact_data import Rational, dot, fractions

_RANK = 40_000  # entries of X up to which its rank is found by exact elimination
_PROGRAM = 600  # entries of X up to which the exact linear program runs


def null_vector(X: Array) -> Rational | None:
    """Return E != 0 with E . x_i = 0 for all data, or None if there is none or X is too large.

    Args:
        X: inputs, shape (n, d), exact.
    """
    d = X.shape[1]
    empty = np.flatnonzero(~X.any(axis=0))
    if empty.size:
        return _unit(d, int(empty[0]), 1)
    if X.size > _RANK:
        return None
    reduced, rank = _matrix(X).rref()
    if rank == d:
        return None
    pivots = [next(k for k in range(d) if reduced[i, k] != 0) for i in range(rank)]
    free = next(k for k in range(d) if k not in pivots)
    vector = _unit(d, free, 1)
    for i, k in enumerate(pivots):
        vector[k] = -_fraction(reduced[i, free])
    return vector


def half_space(X: Array) -> Rational | None:
    """Return v != 0 with v . x_i <= 0 for all data, or None if none was found.

    None is a proof that there is none only together with `positive_combination`.

    Args:
        X: inputs, shape (n, d), exact.
    """
    d = X.shape[1]
    for sign in (-1, 1):
        columns = np.flatnonzero((sign * X <= 0).all(axis=0))
        if columns.size:
            return _unit(d, int(columns[0]), sign)
    for guess in (-X.sum(axis=0), -np.sign(X.sum(axis=0)), -np.sign(X[0]) * 1.0):
        if X.size <= _RANK and np.isfinite(guess).all() and guess.any():
            vector = fractions(guess.tolist())
            if is_half_space(X, vector):
                return vector
    vector_or_none = null_vector(X)
    if vector_or_none is not None or X.size > _PROGRAM:
        return vector_or_none
    rows = [[fmpq(*_ratio(x)) for x in row] for row in X.tolist()]
    total = [sum(column, fmpq(0)) for column in zip(*rows, strict=True)]
    away = [-t for t in total]
    found = maximise(away, [*rows, away], [fmpq(0)] * len(rows) + [fmpq(1)])
    if found.value > 0:
        return [_fraction(v) for v in found.point]
    return None


def is_half_space(X: Array, vector: Rational) -> bool:
    """Return whether v != 0 and v . x_i <= 0 for all data, exactly."""
    return any(vector) and all(dot(vector, fractions(row)) <= 0 for row in X.tolist())


def positive_combination(X: Array) -> Rational | None:
    """Return c with every c_i > 0 and sum c_i x_i = 0 if X has rank d: the data positively span.

    Args:
        X: inputs, shape (n, d), exact.

    Returns:
        c, or None if the data do not positively span R^d, or are too many.
    """
    n, d = X.shape
    if n <= d or X.size > _PROGRAM or null_vector(X) is not None:
        return None
    # c = 1 + e with e >= 0: X^T e = -X^T 1
    columns = [[fmpq(*_ratio(x)) for x in column] for column in X.T.tolist()]
    target = [-sum(column, fmpq(0)) for column in columns]
    rows = [*columns, *([-x for x in column] for column in columns)]
    bounds = [*target, *(-t for t in target)]
    for i in range(n):
        rows.append([fmpq(-1) if k == i else fmpq(0) for k in range(n)])
        bounds.append(fmpq(0))
    found = maximise([fmpq(0)] * n, rows, bounds)
    if found.status == "infeasible":
        return None
    return [1 + _fraction(e) for e in found.point]


def is_positive_combination(X: Array, weights: Rational) -> bool:
    """Return whether c > 0, X^T c = 0 and X has rank d, exactly."""
    if len(weights) != len(X) or not all(c > 0 for c in weights):
        return False
    columns = (fractions(column) for column in X.T.tolist())
    return all(dot(weights, column) == 0 for column in columns) and has_full_rank(X)


def has_full_rank(X: Array) -> bool:
    """Return whether the rank of X is d, by exact elimination; False if X is too large."""
    return X.size <= _RANK and int(_matrix(X).rref()[1]) == X.shape[1]


def _matrix(X: Array) -> Any:
    return fmpq_mat([[fmpq(*_ratio(x)) for x in row] for row in X.tolist()])


def _ratio(value: float) -> tuple[int, int]:
    return value.as_integer_ratio()


def _fraction(value: Any) -> Fraction:
    return Fraction(int(value.p), int(value.q))


def _unit(d: int, k: int, sign: int) -> Rational:
    return [Fraction(sign if i == k else 0) for i in range(d)]

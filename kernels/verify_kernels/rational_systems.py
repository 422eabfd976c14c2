"""Rational linear systems of any rank, solved exactly."""

from __future__ import annotations

from typing import Any

from flint import fmpq, fmpq_mat, nmod_mat

Row = list[Any]


def columns_of(matrix: Any, columns: list[int]) -> Any:
    """Return the matrix of the chosen columns."""
    entries = [matrix[i, j] for i in range(matrix.nrows()) for j in columns]
    return fmpq_mat(matrix.nrows(), len(columns), entries)


_PRIME = 2**61 - 1


def pivot_columns(matrix: Any) -> list[int]:
    """Return the indices of a maximal set of linearly independent columns, exactly.

    Independence modulo a prime implies independence over the rationals; only if the rank modulo
    the prime is not the largest possible, elimination in rationals decides.
    """
    rows, columns = int(matrix.nrows()), int(matrix.ncols())
    if rows == 0 or columns == 0:
        return []
    numerators, _ = matrix.numer_denom()
    residues = [int(e) % _PRIME for row in numerators.tolist() for e in row]
    echelon: Any
    echelon, rank = nmod_mat(rows, columns, residues, _PRIME).rref()
    if rank < min(rows, columns):
        echelon, rank = matrix.rref()
    return [next(j for j in range(columns) if echelon[i, j] != 0) for i in range(rank)]


def solve_exactly(matrix: Any, right: Row) -> Row | None:
    """Return a rational x with matrix x = right, or None if there is none."""
    rows, columns = int(matrix.nrows()), int(matrix.ncols())
    chosen = pivot_columns(matrix)
    x = [fmpq(0)] * columns
    if chosen:
        kept = pivot_columns(columns_of(matrix, chosen).transpose())
        square = fmpq_mat(len(kept), len(chosen), [matrix[i, j] for i in kept for j in chosen])
        solved = square.solve(fmpq_mat(len(kept), 1, [right[i] for i in kept]))
        for k, j in enumerate(chosen):
            x[j] = solved[k, 0]
    reached = matrix * fmpq_mat(columns, 1, x) if columns else fmpq_mat(rows, 1)
    return x if all(reached[i, 0] == right[i] for i in range(rows)) else None

"""R_0-matrices: z >= 0, M z >= 0, z.(M z) = 0 only for z = 0. Decided exactly for small blocks.

A solution z != 0 with support T has M_TT z_T = 0 and M_jT z_T >= 0 for j outside T. The solutions
z >= 0 with M_TT z_T = 0 and the inequalities outside T form a pointed cone; if it is not {0} it has
an extreme ray, which is a solution with some support T' and lies, inside the kernel of M_T'T' of
dimension d, on d - 1 independent rows of M outside T' (the entries in T' are not zero). So it is
enough to look, for every T with det(M_TT) = 0, at the one-dimensional intersections of the kernel
with such rows. A P-matrix has no singular M_TT at all.

A reducible M in topological order is block triangular. In a solution z != 0 the last nonzero block
z_k (no other nonzero block enters its rows) solves the problem of the diagonal block M_kk, so M is
R_0 if every diagonal block is. The converse needs the other blocks; a solution of one block,
padded by zeros, is checked against all of M.
"""

from __future__ import annotations

import math
import time
from collections.abc import Iterator, Sequence
from itertools import combinations
from typing import Any

from numpy.typing import ArrayLike

from verify.evidence import Evidence, Witness
from verify.verdict import Truth
from verify_kernels import minors
from verify_kernels.components import strong_components, zero_pattern
from verify_kernels.matrix import MatrixEnclosure
from verify_kernels.p_matrix import decide_p_matrix, square_enclosure

ENUMERATED = 14  # largest order whose supports are enumerated
_HOW = "P-matrix test, then the kernels of all singular principal submatrices, exactly"


def decide_r0_matrix(
    matrix: MatrixEnclosure | ArrayLike,
    *,
    deadline: float = math.inf,
    nodes: int = 20000,
    backend: str = "auto",
) -> Evidence:
    """Decide whether M is an R_0-matrix, by components, the P-matrix test and exact kernels.

    Args:
        matrix: M, shape (m, m); of an enclosure every matrix is meant.
        deadline: ``time.monotonic`` at which to give up; up to order 12 it is not looked at.
        nodes: budget of the P-matrix test.
        backend: whose factorisations prove the leaves of that test.

    Returns:
        PROVED with witness ``"p-tree"`` of the P-matrix test, or ``"regular-supports"``
        (``blocks``: indices and the number of singular supports that were excluded). REFUTED with
        witness ``"complementary-vector"``: the exact ``z``. UNDECIDED with ``why_open``.

    Raises:
        InputError: M is not square or not finite. BackendError: the machine does not compute as
            assumed.
    """
    given = square_enclosure(matrix, where="decide_r0_matrix")
    m = given.shape[0]
    strict = decide_p_matrix(given, deadline=deadline, nodes=nodes, backend=backend)
    if strict.value is Truth.PROVED:
        return Evidence(Truth.PROVED, strict.witness, strict.assumes, "every P-matrix is R_0")
    if not given.is_exact:
        why = "only an enclosure of the matrix is known, and it is not proved to be P"
        return Evidence(Truth.UNDECIDED, how=_HOW, why_open=why)
    exact = given.rational()
    limit = math.inf if m <= 12 else deadline
    blocks: list[dict[str, Any]] = []
    why = ""
    for indices in strong_components(zero_pattern(given)):
        block = [int(j) for j in indices]
        vector, count, reason = _search(minors.submatrix(exact, block, block), limit)
        if vector is None and not reason:
            blocks.append({"indices": block, "singular_supports": count})
            continue
        z = _padded(vector, block, m)
        if z is not None and is_complementary(exact, z):
            return _refuted(z)
        why = why or reason or "a block is not R_0, but its solution does not extend by zeros"
    if not why:
        return Evidence(Truth.PROVED, Witness("regular-supports", {"blocks": blocks}), how=_HOW)
    vector, count, reason = _search(exact, limit)
    if vector is not None:
        return _refuted(vector)
    if not reason:
        whole = [{"indices": list(range(m)), "singular_supports": count}]
        return Evidence(Truth.PROVED, Witness("regular-supports", {"blocks": whole}), how=_HOW)
    return Evidence(Truth.UNDECIDED, how=_HOW, why_open=why)


def is_complementary(exact: Any, z: Sequence[Any]) -> bool:
    """Return whether z >= 0, z != 0, M z >= 0 and z.(M z) = 0, exactly."""
    from flint import fmpq_mat

    image = (exact * fmpq_mat(len(z), 1, list(z))).entries()
    return (
        any(x != 0 for x in z)
        and all(x >= 0 for x in z)
        and all(w >= 0 for w in image)
        and all(x == 0 or w == 0 for x, w in zip(z, image, strict=True))
    )


def _refuted(z: Sequence[Any]) -> Evidence:
    data = {"z": [minors.fraction_of(x) for x in z]}
    return Evidence(Truth.REFUTED, Witness("complementary-vector", data), how=_HOW)


def _padded(vector: list[Any] | None, block: list[int], m: int) -> list[Any] | None:
    from flint import fmpq

    if vector is None:
        return None
    z = [fmpq(0)] * m
    for j, value in zip(block, vector, strict=True):
        z[j] = value
    return z


def _search(exact: Any, deadline: float) -> tuple[list[Any] | None, int, str]:
    """Return a solution or None, how many singular supports there were, why it is open."""
    n = exact.nrows()
    if n > ENUMERATED:
        return None, 0, f"{n} coordinates are too many to enumerate supports"
    singular = 0
    for size in range(1, n + 1):
        for support in combinations(range(n), size):
            if time.monotonic() > deadline:
                return None, singular, "out of time"
            if minors.principal_minor(exact, support) != 0:
                continue
            singular += 1
            for z in _candidates(exact, support):
                for signed in (z, [-x for x in z]):
                    if is_complementary(exact, signed):
                        return signed, singular, ""
    return None, singular, ""


def _candidates(exact: Any, support: Sequence[int]) -> Iterator[list[Any]]:
    """One vector of every line that the kernel of M_TT and rows outside T intersect in."""
    outside = [j for j in range(exact.nrows()) if j not in support]
    yield from _lines(exact, _kernel(exact, support, support), outside)


def _lines(exact: Any, basis: list[list[Any]], rows: list[int]) -> Iterator[list[Any]]:
    if len(basis) == 1:
        yield basis[0]
        return
    for position, j in enumerate(rows):
        n = len(basis[0])
        values = [sum((exact[j, k] * z[k] for k in range(n)), exact[j, 0] * 0) for z in basis]
        head = next((k for k, value in enumerate(values) if value != 0), None)
        if head is None:
            continue
        cut = [
            [a - values[k] / values[head] * b for a, b in zip(z, basis[head], strict=True)]
            for k, z in enumerate(basis)
            if k != head
        ]
        yield from _lines(exact, cut, rows[position + 1 :])


def _kernel(exact: Any, rows: Sequence[int], columns: Sequence[int]) -> list[list[Any]]:
    """Return a basis of {z : supp z in columns, (M z)_rows = 0}."""
    from flint import fmpq

    reduced, rank = minors.submatrix(exact, rows, columns).rref()
    width = len(columns)
    heads = [next(j for j in range(width) if reduced[k, j] != 0) for k in range(rank)]
    basis = []
    for free in (j for j in range(width) if j not in heads):
        z = [fmpq(0)] * exact.nrows()
        z[columns[free]] = fmpq(1)
        for k, head in enumerate(heads):
            z[columns[head]] = -reduced[k, free]
        basis.append(z)
    return basis

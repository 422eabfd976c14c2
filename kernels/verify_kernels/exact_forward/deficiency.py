"""Proofs that Z = [features, 1] has no full rank at the given weights.

They say nothing about other weights: the condition is an existence statement.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from flint import fmpq, fmpz, fmpz_mat

from verify.enclosure import Enclosure
from verify.evidence import Evidence, Witness
from verify.network.graph import Graph
from verify_kernels.exact_forward.dead_units import DeadUnits, dead_units
from verify_kernels.exact_forward.rational import (
    MOST_WORK,
    filled,
    fraction_work,
    rational_features,
)
from verify_kernels.forward.inputs import Inputs

# Exact elimination of an n x m matrix of fractions with some hundred bits takes seconds there.
MOST_ENTRIES = 40_000
_MOST_ROWS_OF_WITNESS = 64


def deficiency_at_these_weights(
    graph: Graph, place: int, inputs: Inputs, *, ones: bool, deadline: float | None = None
) -> Evidence:
    """Enclose the rank of Z at these weights from above.

    Small rational graphs by exact elimination, with a vector y != 0 of integers, y^T Z = 0, as
    the witness if n is at most 64. Otherwise every unit that is zero on all samples takes one
    from the number of columns, and so does every unit that is constant beside the column of ones
    or beside another constant unit.

    Args:
        graph: the network.
        place: index of the node of the features.
        inputs: the n samples.
        ones: whether Z carries the column of ones.
        deadline: in time of `time.monotonic`, for ball arithmetic; in 20 seconds if it is None.

    Returns:
        Evidence of rank Z: [rank, rank], or [0, bound] with the columns as the witness.
    """
    n, m = len(inputs.values), math.prod(graph.nodes[place].shape)
    if n * m <= MOST_ENTRIES and n * fraction_work(graph, place) <= MOST_WORK:
        exact = rational_features(graph, place, inputs).matrix
        if exact is not None:
            return _by_elimination(exact, ones)
    return _by_columns(dead_units(graph, place, inputs, deadline=deadline), n, ones)


def integer_z(exact: Any, ones: bool) -> Any:
    """Return Z with each row multiplied by its common denominator, as ``fmpz_mat``."""
    n, m = exact.nrows(), exact.ncols()
    rows = []
    for row in filled(exact.entries(), (n, m)).tolist():
        full = [*row, fmpq(1)] if ones else row
        below = fmpz(math.lcm(*{int(x.q) for x in full}))
        rows.append([x.p * (below // x.q) for x in full])
    return fmpz_mat(rows)


def _by_elimination(exact: Any, ones: bool) -> Evidence:
    Z = integer_z(exact, ones)
    rank, how = int(Z.rank()), "exact elimination"
    n = Z.nrows()
    if rank == n or n > _MOST_ROWS_OF_WITNESS:
        return Evidence(Enclosure.exact(rank), how=how)
    kernel, _ = Z.transpose().nullspace()
    scales = [math.lcm(*{int(x.q) for x in row}) for row in _rows_of_z(exact, ones)]
    vector = [int(kernel[i, 0]) * scales[i] for i in range(n)]
    shared = math.gcd(*vector)
    data = {"vector": [value // shared for value in vector], "ones": ones}
    return Evidence(Enclosure.exact(rank), Witness("left-kernel-vector", data), how=how)


def _rows_of_z(exact: Any, ones: bool) -> list[list[Any]]:
    rows: list[list[Any]] = filled(exact.entries(), (exact.nrows(), exact.ncols())).tolist()
    return [[*row, fmpq(1)] for row in rows] if ones else rows


def _by_columns(found: DeadUnits, n: int, ones: bool) -> Evidence:
    zero = np.flatnonzero(found.zero)
    constant = np.flatnonzero(found.constant & ~found.zero)
    spare = constant if ones else constant[1:]
    bound = len(found.zero) + int(ones) - len(zero) - len(spare)
    how = f"{len(zero)} units are zero and {len(constant)} constant on all samples ({found.how})"
    data = {"zero": [int(k) for k in zero], "constant": [int(k) for k in constant], "ones": ones}
    why = "" if bound < n else "no rule bounds the rank below the number of samples"
    witness = Witness("dependent-columns", data) if bound < n else None
    return Evidence(Enclosure(0, min(bound, n)), witness, how=how, why_open=why)

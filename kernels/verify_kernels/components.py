"""Strongly connected components of a zero pattern, in topological order."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.sparse import csr_array
from scipy.sparse.csgraph import connected_components

from verify_kernels.matrix import MatrixEnclosure

Index = NDArray[np.int64]


def zero_pattern(weight: MatrixEnclosure) -> NDArray[np.bool_]:
    """Return where an entry may be different from zero: False only if mid = rad = 0."""
    pattern = np.asarray(weight.mid != 0.0)
    return pattern if weight.rad is None else pattern | (weight.rad != 0.0)


def diagonal_block(weight: MatrixEnclosure, index: Index) -> MatrixEnclosure:
    """Return the rows and columns ``index`` of a square enclosure."""
    if len(index) == weight.shape[0]:
        return weight
    grid = np.ix_(index, index)
    rad = None if weight.rad is None else weight.rad[grid]
    exact = None if weight.exact is None else rational_block(weight.exact, index)
    return MatrixEnclosure(weight.mid[grid], rad, exact)


def rational_block(exact: Any, index: Index) -> Any:
    """Return the rows and columns ``index`` of an ``fmpq_mat``."""
    from flint import fmpq_mat

    rows = [int(i) for i in index]
    return fmpq_mat(len(rows), len(rows), [exact[i, j] for i in rows for j in rows])


def strong_components(pattern: ArrayLike) -> list[Index]:
    """Return the strongly connected components of the graph i -> j where ``pattern[i, j]``.

    The order is topological: an entry (i, j) between two components has i in the earlier one, so
    the matrix in this order is block upper triangular. Indices inside a component increase.

    Args:
        pattern: shape (m, m), entries are tested for being different from zero.
    """
    graph = np.asarray(pattern) != 0
    m = len(graph)
    if m == 0:
        return []
    if _is_connected(graph):
        return [np.arange(m)]
    sparse = csr_array(graph)
    count, labels = connected_components(sparse, directed=True, connection="strong")
    rank = _topological_rank(sparse, int(count), labels)[labels]
    order = np.argsort(rank, kind="stable")
    sizes = np.bincount(rank, minlength=int(count))
    return [np.asarray(part) for part in np.split(order, np.cumsum(sizes)[:-1])]


def _is_connected(graph: NDArray[np.bool_]) -> bool:
    """Whether every node reaches node 0 and is reached from it (quick for dense patterns)."""
    return _reaches_all(graph) and _reaches_all(graph.T)


def _reaches_all(graph: NDArray[np.bool_]) -> bool:
    reached = graph[0].copy()
    reached[0] = True
    frontier = reached.copy()
    frontier[0] = False
    while frontier.any() and not reached.all():
        found = graph[frontier].any(axis=0) & ~reached
        reached |= found
        frontier = found
    return bool(reached.all())


def _topological_rank(graph: Any, count: int, labels: Index) -> Index:
    """Return the place of each label such that edges lead from lower to higher places."""
    rows, columns = graph.nonzero()
    tail, head = labels[rows], labels[columns]
    if (tail <= head).all():
        return np.arange(count)
    if (tail >= head).all():
        return np.arange(count)[::-1]
    return _kahn(count, tail, head)


def _kahn(count: int, tail: Index, head: Index) -> Index:
    edges = np.unique(np.stack([tail, head], axis=1)[tail != head], axis=0)
    waiting = np.bincount(edges[:, 1], minlength=count)
    starts = np.searchsorted(edges[:, 0], np.arange(count + 1))
    ready = [int(k) for k in np.flatnonzero(waiting == 0)]
    rank = np.empty(count, dtype=np.int64)
    place = 0
    while ready:
        node = ready.pop()
        rank[node] = place
        place += 1
        for successor in edges[starts[node] : starts[node + 1], 1]:
            waiting[successor] -= 1
            if waiting[successor] == 0:
                ready.append(int(successor))
    return rank

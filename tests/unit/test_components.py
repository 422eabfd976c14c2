"""Strongly connected components in topological order."""

import numpy as np
import pytest

from verify_kernels.components import strong_components, zero_pattern
from verify_kernels.matrix import MatrixEnclosure


def _reach(pattern):
    reach = pattern | np.eye(len(pattern), dtype=bool)
    for _ in range(len(pattern)):
        reach = reach | (reach.astype(int) @ reach.astype(int) > 0)
    return reach


@pytest.mark.parametrize("seed", range(40))
def test_components_agree_with_reachability_and_are_ordered(seed):
    rng = np.random.default_rng(seed)
    m = int(rng.integers(1, 14))
    pattern = rng.random((m, m)) < rng.choice([0.05, 0.15, 0.3, 0.9])
    parts = strong_components(pattern)
    assert sorted(int(i) for part in parts for i in part) == list(range(m))
    reach = _reach(pattern)
    mutual = reach & reach.T
    place = {int(i): k for k, part in enumerate(parts) for i in part}
    for i in range(m):
        for j in range(m):
            assert (place[i] == place[j]) == bool(mutual[i, j])
            if pattern[i, j]:
                assert place[i] <= place[j]


def test_edge_cases():
    assert strong_components(np.zeros((0, 0))) == []
    assert [list(part) for part in strong_components(np.array([[3.0]]))] == [[0]]
    shuffled = np.triu(np.ones((5, 5)), 1)[np.ix_([3, 0, 4, 1, 2], [3, 0, 4, 1, 2])]
    assert len(strong_components(shuffled)) == 5


def test_an_entry_counts_as_zero_only_without_radius():
    mid = np.array([[1.0, 0.0], [0.0, 1.0]])
    assert not zero_pattern(MatrixEnclosure(mid))[0, 1]
    rad = np.array([[0.0, 2.0**-1074], [0.0, 0.0]])
    pattern = zero_pattern(MatrixEnclosure(mid, rad))
    assert pattern[0, 1]
    assert not pattern[1, 0]

"""Proposals for the smallest eigenpair."""

from __future__ import annotations

import numpy as np
import pytest

from verify_kernels.inverse_iteration import approximate_smallest_pair


@pytest.mark.parametrize("n", [1, 2, 40, 600])
def test_a_definite_matrix(n: int) -> None:
    rng = np.random.default_rng(n)
    A = rng.normal(size=(n, 2 * n))
    K = A @ A.T
    found = approximate_smallest_pair(K)
    assert found is not None
    theta, vector = found
    least = float(np.linalg.eigvalsh(K)[0])
    assert abs(theta - least) <= 1e-6 * least  # tightness only
    assert abs(np.linalg.norm(vector) - 1.0) <= 1e-12


@pytest.mark.parametrize(
    "matrix",
    [[[0.0]], [[1.0, 2.0], [2.0, 1.0]], [[1.0, 1.0], [1.0, 1.0]], [[np.nan, 0.0], [0.0, 1.0]]],
    ids=["zero", "indefinite", "singular", "not a number"],
)
def test_no_proposal(matrix: list[list[float]]) -> None:
    assert approximate_smallest_pair(np.array(matrix)) is None

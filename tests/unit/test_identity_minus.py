"""I - W: exact for small widths, only the diagonal is rounded for large ones."""

from fractions import Fraction

import numpy as np
import pytest

from verify_kernels import matrix as module
from verify_kernels.matrix import MatrixEnclosure, identity_minus

MAX = float.fromhex("0x1.fffffffffffffp+1023")


@pytest.mark.parametrize("limit", [1024, 0])
@pytest.mark.parametrize("w", [0.0, 1.0, 2**-60, -(2**-60), 0.1, 1e300, -MAX, MAX, 5e-324])
def test_diagonal_is_enclosed_and_the_rest_exact(monkeypatch, limit, w):
    monkeypatch.setattr(module, "EXACT_WIDTH", limit)
    weight = np.array([[w, w], [0.0, -w]])
    found = identity_minus(MatrixEnclosure(weight), Fraction(1))
    rad = np.zeros((2, 2)) if found.rad is None else found.rad
    assert rad[0, 1] == rad[1, 0] == 0.0
    assert found.is_bounded
    for i in range(2):
        for j in range(2):
            exact = Fraction(int(i == j)) - Fraction(float(weight[i, j]))
            assert abs(exact - Fraction(float(found.mid[i, j]))) <= Fraction(float(rad[i, j]))
    assert (found.exact is None) == (limit == 0)

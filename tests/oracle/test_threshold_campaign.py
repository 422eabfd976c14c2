"""Counted campaigns: claims next to the number at which a statement turns."""

import os
import time
from fractions import Fraction
from itertools import pairwise

import numpy as np
import pytest

from verify.enclosure import Enclosure
from verify_kernels.cayley import enclose_cayley_root
from verify_kernels.diagonal_stability import enclose_diagonal_margin
from verify_kernels.matrix_measure import enclose_symmetric_part, enclose_weighted_measure
from verify_kernels.perron import enclose_perron_root
from verify_kernels.spectral_radius import enclose_spectral_radius

FULL = os.environ.get("VERIFY_CAMPAIGN") == "full"
ONE = Enclosure.exact(1)
GRID = 2**50


def _threshold_row(rng, m, target):
    """Return dyadic numbers >= 0 on the grid 2^-50 with the exact sum ``target``."""
    cuts = np.sort(rng.integers(0, int(target * GRID), m - 1))
    ends = [0, *(int(c) for c in cuts), int(target * GRID)]
    row = [(b - a) / GRID for a, b in pairwise(ends)]
    return row if all(Fraction(x) * GRID == int(x * GRID) for x in row) else None


def _nonnegative(rng):
    """Return (W >= 0, r) with rho(W) = r exactly, r next to 1, after a power-of-two scaling."""
    while True:
        m = int(rng.integers(1, 7))
        distance = max(1, round(10.0 ** rng.uniform(-15, -3) * GRID))
        target = 1 + Fraction(int(rng.choice([-1, 0, 1])) * distance, GRID)
        rows = [_threshold_row(rng, m, target) for _ in range(m)]
        if all(row is not None for row in rows):
            break
    scaling = np.ldexp(1.0, rng.integers(-20, 21, m))
    return scaling[:, None] * np.array(rows) / scaling[None, :], target


@pytest.mark.soundness
def test_no_claim_on_the_wrong_side_of_one():
    count, seed = (2000 if FULL else 200), 20
    rng, start = np.random.default_rng(seed), time.monotonic()
    wrong = decided = found = stable = 0
    for _ in range(count):
        W, truth = _nonnegative(rng)
        signs = rng.choice([-1.0, 1.0], W.shape)
        np.fill_diagonal(signs, 1.0)
        for kernel, matrix in (
            (enclose_perron_root, W * rng.choice([-1.0, 1.0], W.shape)),
            (enclose_weighted_measure, W * signs),
        ):
            value = kernel(matrix, aim=ONE).value
            wrong += not value.contains(truth)
            decided += value.hi < 1 if truth < 1 else value.lo >= 1
        radius = enclose_spectral_radius(W).value
        wrong += not (radius.lo <= truth <= radius.hi)
        transform = enclose_cayley_root(W, aim=ONE).value
        wrong += transform.hi < 1 if truth >= 1 else transform.lo >= 1  # T >= 0 iff rho < 2
        symmetric = (W + W.T) / 2  # rounded: another matrix, with its own exact bounds
        wrong += enclose_symmetric_part(symmetric, aim=ONE).value.hi < (
            enclose_perron_root(symmetric).value.lo)  # fmt: skip
        margin = enclose_diagonal_margin(W).value.lo > 0
        wrong += margin and truth >= 1
        stable += truth < 1
        found += margin and truth < 1
    seconds = time.monotonic() - start
    print(
        f"campaign thresholds: {count} cases, seed {seed}, {seconds:.1f} s, {wrong} wrong; "
        f"{decided} of {2 * count} roots decided, {found} of {stable} diagonals found"
    )
    assert wrong == 0
    assert decided == 2 * count
    assert found == stable

"""Theorem I on trained implicit ReLU networks of the sizes of the table, and on untrained ones.

From every point at which it fires the flow is walked on: its path, ||g A|| and ||r|| have to keep
what was certified. A row that does not fire is listed with its h.
"""

import os
import time

import numpy as np
import pytest

from verify_conditions.convergence.implicit_runs import (
    TABLE,
    TABLE_GAMMA,
    at_the_start,
    table_row,
)

FULL = os.environ.get("VERIFY_CAMPAIGN") == "full"
ROWS = TABLE if FULL else TABLE[:2]
SEEDS = range(1, 4) if FULL else range(1, 2)


@pytest.mark.soundness
def test_theorem_i_fires_on_trained_networks():
    started, wrong, open_rows, count = time.perf_counter(), [], [], 0
    for n, d, m, noted in ROWS:
        for seed in SEEDS:
            row = table_row(n, d, m, noted, seed=seed)
            count += 1
            told = f"n = {n}, d = {d}, m = {m}, seed {seed}: step {row.step}, loss {row.loss:.3g}"
            told += f", h <= {row.last.h_text}"
            if not row.fired:
                open_rows.append(told)
                print(f"not fired: {told}")
                continue
            print(f"{told}, q <= {row.last.contraction.hi_float:.4f}, path "
                  f"{row.followed.path:.4g} <= {row.last.path.hi_float:.4g}, rate "
                  f"{row.followed.rate:.3g} >= {row.last.rate.lo_float:.3g}")  # fmt: skip
            wrong += row.followed.unmet(row.last)
            # what lies before the checkpoint is no better: a network that fires is well posed
            g = float(TABLE_GAMMA) / np.sqrt(m)
            assert g * np.linalg.norm(row.last.parameters.A, 2) < row.last.contraction.hi_float < 1
    spent = time.perf_counter() - started
    print(f"campaign table of Theorem I: {count} cases, seeds {list(SEEDS)}, {spent:.1f} s, "
          f"{len(wrong)} wrong, {len(open_rows)} not fired")  # fmt: skip
    assert wrong == []
    # a tenth of the rows at most may stay open: the certificate is meant for such networks
    assert 10 * len(open_rows) <= count


@pytest.mark.soundness
def test_untrained_networks_stay_undecided():
    started = time.perf_counter()
    widths = (100, 400, 1600) if FULL else (100, 400)
    for seed in SEEDS:
        starts = [at_the_start(m, seed=seed) for m in widths]
        values = [start.certified.h for start in starts]
        print(f"h at the start, seed {seed}: "
              + ", ".join(f"m = {m}: {h:.3g}" for m, h in zip(widths, values, strict=True)))  # fmt: skip
        assert not any(start.certified.fired for start in starts)
    spent = time.perf_counter() - started
    print(f"campaign Theorem I at the start: {len(widths) * len(SEEDS)} cases, seeds "
          f"{list(SEEDS)}, {spent:.1f} s, 0 wrong")  # fmt: skip

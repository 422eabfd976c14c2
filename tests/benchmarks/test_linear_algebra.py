"""Norm and eigenvalue proofs against NumPy's estimates: ratios of single-thread CPU time.

Medians of runs in turn within one process. Without --benchmark-enable every case runs once on a
small matrix and only its truth is checked.
"""

import statistics
import time

import numpy as np
import pytest

from verify.enclosure import Enclosure
from verify_kernels.definiteness import proves_definite
from verify_kernels.integer_witness import replay_norm_at_most
from verify_kernels.self_test import check_arithmetic
from verify_kernels.spectral_norm import enclose_spectral_norm, proves_norm_at_most

threadpoolctl = pytest.importorskip("threadpoolctl")


def _order(benchmark, m):
    return 48 if benchmark.disabled else m


def _compare(benchmark, ours, theirs, goal, m):
    repeats = 1 if benchmark.disabled or m >= 4096 else 5 if m >= 2048 else 9
    times = ([], [])
    with threadpoolctl.threadpool_limits(1):
        check_arithmetic()
        for _ in range(repeats):
            for function, record in zip((ours, theirs), times, strict=True):
                start = time.process_time()
                function()
                record.append(time.process_time() - start)
        benchmark.pedantic(ours, rounds=1)
    ratio = statistics.median(times[0]) / statistics.median(times[1])
    benchmark.extra_info |= {"ratio": ratio, "goal": goal, "numpy_s": statistics.median(times[1])}
    if not benchmark.disabled:
        print(f"\n{benchmark.name}: ratio {ratio:.3f}, goal {goal}")
        assert ratio <= goal


def _gaussian(m):
    return np.random.default_rng(m).standard_normal((m, m)) / np.sqrt(m)


@pytest.mark.parametrize(("m", "goal"), [(512, 0.20), (1024, 0.20), (2048, 0.20), (4096, 0.12)])
def test_claim_against_the_norm(benchmark, m, goal):
    m = _order(benchmark, m)
    matrix = _gaussian(m)
    claim = enclose_spectral_norm(matrix, with_witness=False).value.hi_float * 1.01
    assert proves_norm_at_most(matrix, claim)
    _compare(
        benchmark,
        lambda: proves_norm_at_most(matrix, claim),
        lambda: np.linalg.norm(matrix, 2),
        goal,
        m,
    )


@pytest.mark.parametrize("witness", [False, True])
@pytest.mark.parametrize("m", [1024, 2048])
def test_enclosure_against_the_norm(benchmark, m, witness):
    m = _order(benchmark, m)
    matrix = _gaussian(m)
    value = enclose_spectral_norm(matrix).value
    assert value.width <= value.hi * 1e-8
    _compare(
        benchmark,
        lambda: enclose_spectral_norm(matrix, with_witness=witness),
        lambda: np.linalg.norm(matrix, 2),
        0.30,
        m,
    )


def test_claim_of_a_statement_against_the_norm(benchmark):
    m = _order(benchmark, 1024)
    matrix = _gaussian(m) * 0.45
    aim = Enclosure.exact(1)
    assert enclose_spectral_norm(matrix, aim=aim).value.hi < 1
    _compare(
        benchmark,
        lambda: enclose_spectral_norm(matrix, aim=aim),
        lambda: np.linalg.norm(matrix, 2),
        0.30,
        m,
    )


@pytest.mark.parametrize("m", [512, 1024, 2048])
def test_smallest_eigenvalue_claim_against_eigvalsh(benchmark, m):
    m = _order(benchmark, m)
    factor = np.random.default_rng(m).standard_normal((2 * m, m))
    matrix = factor.T @ factor
    matrix = (matrix + matrix.T) / 2
    claim = 0.99 * float(np.linalg.eigvalsh(matrix)[0])
    assert proves_definite(matrix, at_least=claim)
    _compare(
        benchmark,
        lambda: proves_definite(matrix, at_least=claim),
        lambda: np.linalg.eigvalsh(matrix),
        0.25,
        m,
    )


def test_exact_replay_of_a_norm(benchmark):
    m = _order(benchmark, 512)
    matrix = _gaussian(m)
    witness = enclose_spectral_norm(matrix).witness
    assert benchmark.pedantic(lambda: replay_norm_at_most(matrix, witness), rounds=1)

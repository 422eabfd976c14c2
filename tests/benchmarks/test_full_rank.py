"""Proofs of full rank against NumPy's rank estimate: ratios of single-thread CPU time.

Medians of runs in turn within one process. Without --benchmark-enable every case runs once on a
small matrix and only its truth is checked.
"""

import statistics
import time

import numpy as np
import pytest

from verify.enclosure import Enclosure
from verify_kernels.forward.features import Features
from verify_kernels.full_rank.close_definiteness import proves_definite_closely
from verify_kernels.full_rank.exact_rank import enclose_rank
from verify_kernels.full_rank.gram import enclose_gram_smallest, radius_squared
from verify_kernels.full_rank.modular import modular_rank
from verify_kernels.full_rank.preconditioned import precondition, precondition_closely
from verify_kernels.self_test import check_arithmetic

threadpoolctl = pytest.importorskip("threadpoolctl")


def _order(benchmark, n):
    return 48 if benchmark.disabled else n


def _compare(benchmark, ours, theirs, goal, n, *, missed=None):
    repeats = 1 if benchmark.disabled else 3 if n >= 2048 else 7
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
        if missed is not None and goal < ratio <= missed:
            pytest.xfail(f"ratio {ratio:.3f}, goal {goal}; a miss known up to {missed}")
        assert ratio <= goal


def _geometric(n, m, condition):
    draw = np.random.default_rng(n)
    left, _ = np.linalg.qr(draw.standard_normal((n, n)))
    right, _ = np.linalg.qr(draw.standard_normal((m, n)))
    return (left * condition ** -np.linspace(0.0, 1.0, n)) @ right.T


def _duplicated(n):
    M = np.random.default_rng(n).standard_normal((n, n))
    M[n // 3] = M[n // 2]
    return M


def _low_rank(n):
    draw = np.random.default_rng(n)
    r = n - n // 40
    return (draw.integers(-99, 100, (n, r)) @ draw.integers(-99, 100, (r, n))).astype(float)


def _ones_appended(n):
    """The features of n samples in a layer of n - 1 units."""
    draw = np.random.default_rng(n)
    hidden = np.maximum(draw.standard_normal((n, 64)) @ draw.standard_normal((64, n - 1)), 0.0)
    return np.hstack([hidden, np.ones((n, 1))])


@pytest.mark.parametrize("n", [1024, 2048])
@pytest.mark.parametrize(
    ("matrix", "deficiency"),
    [
        (lambda n: np.random.default_rng(n).standard_normal((n, n)), 0),
        (lambda n: _geometric(n, n, 1e13), 0),
        (_ones_appended, 0),
        (_duplicated, 1),
    ],
    ids=["gaussian", "cond 1e13", "relu features", "equal samples"],
)
def test_exact_rank_against_the_estimate(benchmark, matrix, deficiency, n):
    n = _order(benchmark, n)
    M = matrix(n)
    assert enclose_rank(M).value == Enclosure.exact(n - deficiency)
    _compare(benchmark, lambda: enclose_rank(M), lambda: np.linalg.matrix_rank(M), 0.25, n)


@pytest.mark.parametrize("n", [1024, 2048])
def test_rank_of_deficient_integers_against_the_estimate(benchmark, n):
    """Two primes, because one that fails proves nothing; the rank stays an interval."""
    n = _order(benchmark, n)
    M = _low_rank(n)
    assert modular_rank(M).value == Enclosure(n - n // 40, n)
    missed = 0.35 if n == 1024 else None  # measured 0.29: two eliminations instead of one
    _compare(
        benchmark,
        lambda: modular_rank(M),
        lambda: np.linalg.matrix_rank(M),
        0.25,
        n,
        missed=missed,
    )


@pytest.mark.parametrize("witness", [False, True])
@pytest.mark.parametrize("shape", [(1024, 1024), (1024, 2048), (2048, 2560)])
def test_gram_rung_against_the_estimate(benchmark, shape, witness):
    n = _order(benchmark, shape[0])
    m = n * shape[1] // shape[0]
    M = _geometric(n, m, 1e3)
    given = Features(M, np.full(n, 1e-10))
    aim = radius_squared(given)

    def prove():
        return enclose_gram_smallest(given, ones=True, aim=aim, with_witness=witness)

    assert prove().value.lo > aim.hi
    _compare(benchmark, prove, lambda: np.linalg.matrix_rank(M), 0.30, n)


@pytest.mark.parametrize(
    ("rung", "condition", "goal"), [(precondition, 1e9, 1.2), (precondition_closely, 1e14, 4.0)]
)
def test_right_inverses_against_the_estimate(benchmark, rung, condition, goal):
    n = _order(benchmark, 1024)
    M = _geometric(n, n, condition)
    given = Features(M, np.zeros(n))
    assert rung(given, ones=False).smallest.lo > 0
    _compare(
        benchmark,
        lambda: rung(given, ones=False),
        lambda: np.linalg.matrix_rank(M),
        goal,
        n,
    )


def test_definiteness_close_to_singular_against_eigvalsh(benchmark):
    n = _order(benchmark, 1024)
    Q, _ = np.linalg.qr(np.random.default_rng(n).standard_normal((n, n)))
    K = (Q * 1e-14 ** np.linspace(0.0, 1.0, n)) @ Q.T
    K = (K + K.T) / 2
    assert proves_definite_closely(K)
    _compare(
        benchmark,
        lambda: proves_definite_closely(K),
        lambda: np.linalg.eigvalsh(K),
        6.0,
        n,
        missed=7.0,
    )

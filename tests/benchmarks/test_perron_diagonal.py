"""Ratios of CPU time to NumPy's estimates, one thread, interleaved, medians."""

import statistics
import time

import numpy as np
import pytest

from verify.enclosure import Enclosure
from verify_kernels.diagonal_stability import enclose_diagonal_margin
from verify_kernels.perron import enclose_perron_root
from verify_kernels.spectral_radius import enclose_spectral_radius

threadpoolctl = pytest.importorskip("threadpoolctl")


def _ratio(ours, theirs, repeats):
    """Return the ratio of the median CPU times of two functions, run in turn."""
    times = ([], [])
    with threadpoolctl.threadpool_limits(1):
        for _ in range(repeats):
            for function, record in zip((ours, theirs), times, strict=True):
                start = time.process_time()
                function()
                record.append(time.process_time() - start)
    return statistics.median(times[0]) / statistics.median(times[1])


def _report(benchmark, function, ratio, goal):
    benchmark.extra_info |= {"ratio": ratio, "goal": goal}
    benchmark.pedantic(function, rounds=1)
    print(f"{benchmark.name}: ratio {ratio:.4f}, goal {goal}")
    if not benchmark.disabled:
        assert ratio <= goal


def _repeats(benchmark):
    return 1 if benchmark.disabled else 5


@pytest.mark.slow
@pytest.mark.parametrize(("m", "goal"), [(256, 0.06), (1024, 0.03)])
def test_perron_enclosure_against_eigvals(benchmark, m, goal):
    W = np.random.default_rng(m).standard_normal((m, m))
    modulus = np.abs(W)

    def ours():
        return enclose_perron_root(W)

    value = ours().value
    assert value.width <= value.hi * 1e-12
    ratio = _ratio(ours, lambda: np.linalg.eigvals(modulus), _repeats(benchmark))
    _report(benchmark, ours, ratio, goal)


@pytest.mark.slow
def test_diagonal_witness_with_its_proof_against_the_norm(benchmark):
    m = 1024
    rng = np.random.default_rng(0)
    d = np.exp(1.5 * rng.standard_normal(m))
    W = d[:, None] * (0.45 / np.sqrt(m) * rng.standard_normal((m, m))) / d[None, :]

    def ours():
        return enclose_diagonal_margin(W)

    assert ours().value.lo > 0
    ratio = _ratio(ours, lambda: np.linalg.norm(W, 2), _repeats(benchmark))
    _report(benchmark, ours, ratio, 2.0)


@pytest.mark.slow
def test_spectral_radius_against_eigvals(benchmark):
    W = np.random.default_rng(0).standard_normal((256, 256)) / 16.0

    def ours():
        return enclose_spectral_radius(W)

    assert isinstance(ours().value, Enclosure)
    ratio = _ratio(ours, lambda: np.linalg.eigvals(W), _repeats(benchmark))
    _report(benchmark, ours, ratio, 10.0)

"""All constants of the two-layer risk, and its drift at one point, against plain NumPy.

The peer evaluates the full gradient once and forms three weighted second moments X^T D X; ours
encloses three second moments, every sum that the constants need, and the risk at one point.
Medians of single-thread CPU time, run in turn. Without --benchmark-enable on a small problem.
"""

import statistics
import time

import numpy as np
import pytest

from verify.enclosure import Enclosure
from verify.network.activation import Activation
from verify_kernels.self_test import check_arithmetic
from verify_kernels.two_layer.ball_risk import Point, Problem
from verify_kernels.two_layer.moments import enclose_second_moment
from verify_kernels.two_layer.risk import enclose_risk
from verify_kernels.two_layer.sums import DataSums, OuterSums

threadpoolctl = pytest.importorskip("threadpoolctl")
GOAL = 1.5
PENALTY = 0.01


def constants_and_drift(X, y, W, a, activation):
    """Every primitive that a certificate is made of."""
    data, outer = DataSums(X, y), OuterSums(a)
    one = Enclosure.exact(1)
    residuals = data.residuals(*outer.range(Enclosure.exact(-1), one))
    weights = [None, residuals.R, residuals.R.scaled(outer.linf).shifted(outer.l2_squared)]
    found = [enclose_second_moment(data.samples, w).enclosure() for w in weights]
    found += [
        data.mean_norm,
        data.mean_squared_norm,
        data.mean_cubed_norm,
        data.max_norm,
        data.mean_squared_label,
        data.mean_squared_norm_label,
        data.mean_shifted_label_squared(outer.l1),
        data.mean_farthest_squared(*outer.range(Enclosure.exact(0), one)),
        residuals.mean,
        residuals.mean_squared,
        residuals.mean_norm,
        residuals.mean_squared_norm,
        residuals.largest,
    ]
    risk = enclose_risk(Problem(X, y, activation, {"W": PENALTY}), Point(W, a))
    found += [risk.value, risk.laplacian, risk.gradient_norm_squared, risk.gradient_dot_weights]
    return found


def plain_gradient_and_moments(X, y, W, a, activation):
    """The same quantities' floating-point counterparts, as a user writes them."""
    if activation.name == "tanh":
        s = np.tanh(X @ W.T)
        slope = 1.0 - s * s
    else:
        z = X @ W.T
        s = np.logaddexp(0.0, z)
        slope = 1.0 / (1.0 + np.exp(-z))
    r = s @ a - y
    gradient = (slope * (r[:, None] * a)).T @ X / len(y) + PENALTY * W
    weights = [np.ones(len(y)), np.abs(r), 1.0 + np.abs(r)]
    return gradient, [X.T @ (w[:, None] * X) / len(y) for w in weights]


@pytest.mark.parametrize("name", ["tanh", "softplus"])
def test_certificate_against_one_gradient_and_three_products(benchmark, name):
    n, d, p = (2000, 40, 10) if benchmark.disabled else (60_000, 784, 100)
    rng = np.random.default_rng(0)
    X, y = rng.standard_normal((n, d)), rng.standard_normal(n)
    W, a = rng.standard_normal((p, d)) / np.sqrt(d), rng.standard_normal(p) / np.sqrt(p)
    given = (X, y, W, a, Activation.parse(name))
    times = ([], [])
    with threadpoolctl.threadpool_limits(1):
        check_arithmetic()
        small = (X[:200], y[:200], W, a, given[4])
        constants_and_drift(*small)  # compiles
        for _ in range(1 if benchmark.disabled else 3):
            for function, record in zip(
                (constants_and_drift, plain_gradient_and_moments), times, strict=True
            ):
                start = time.process_time()
                found = function(*given)
                record.append(time.process_time() - start)
                if function is constants_and_drift:
                    assert all(e.width <= 1e-8 * max(abs(e.lo), abs(e.hi)) for e in found)
        benchmark.pedantic(lambda: constants_and_drift(*small), rounds=1)
    ratio = statistics.median(times[0]) / statistics.median(times[1])
    benchmark.extra_info |= {"ratio": ratio, "goal": GOAL, "numpy_s": statistics.median(times[1])}
    if not benchmark.disabled:
        ours, theirs = (statistics.median(record) for record in times)
        print(f"\n{benchmark.name}: {ours:.1f} s / {theirs:.1f} s = {ratio:.2f}, goal {GOAL}")
        assert ratio <= GOAL

"""Features and rank together, weights to proof, against a plain forward pass and matrix_rank.

The peer evaluates the network in float64 and counts singular values; ours bounds the norms of the
weights, encloses the features, and proves that every matrix in the enclosure has full row rank.
Medians of single-thread CPU time, run in turn. Without --benchmark-enable on a small problem.
"""

import itertools
import math
import statistics
import time

import numpy as np
import pytest

from verify.network import Activation, Feedforward
from verify_kernels.forward import Inputs, enclose_features
from verify_kernels.full_rank.gram import enclose_gram_smallest, radius_squared
from verify_kernels.full_rank.scaling import equilibrated
from verify_kernels.self_test import check_arithmetic

threadpoolctl = pytest.importorskip("threadpoolctl")
GOAL = 0.70
CASES = {
    "tanh-1024": ("tanh", 1024, (784, 1024, 1024, 2048)),
    "relu-1024": ("relu", 1024, (784, 1024, 1024, 2048)),
    "tanh-2048": ("tanh", 2048, (784, 1024, 1024, 2560)),
}
_PLAIN = {"tanh": np.tanh, "relu": lambda z: np.maximum(z, 0.0)}


def draw(sigma, n, widths):
    rng = np.random.default_rng(0)
    gain = math.sqrt(2.0) if sigma == "relu" else 1.0
    weights = [
        gain * rng.standard_normal((b, a)) / math.sqrt(a) for a, b in itertools.pairwise(widths)
    ]
    biases = [0.1 * rng.standard_normal(len(weight)) for weight in weights]
    weights.append(rng.standard_normal((1, widths[-1])))
    biases.append(np.zeros(1))
    activation = Activation.parse(sigma)
    network = Feedforward(tuple(weights), tuple(biases), (activation,) * (len(weights) - 1))
    return network, rng.standard_normal((n, widths[0]))


def proof(graph, place, X):
    features = enclose_features(graph, place, Inputs.of(X, graph.sample_shape))
    scaled = equilibrated(features, ones=True)
    turn = radius_squared(scaled)
    return enclose_gram_smallest(scaled, ones=False, aim=turn).enclosure().lo > turn.hi


def plain(network, sigma, X):
    h = X
    for weight, bias in zip(network.weights[:-1], network.biases, strict=False):
        h = sigma(h @ weight.T + bias)
    return np.linalg.matrix_rank(np.hstack([h, np.ones((len(h), 1))]))


@pytest.mark.parametrize("name", sorted(CASES))
def test_features_and_rank_against_forward_and_matrix_rank(benchmark, name):
    sigma, n, widths = CASES[name]
    if benchmark.disabled:
        n, widths = 40, (20, 30, 30, 60)
    network, X = draw(sigma, n, widths)
    graph = network.graph()
    place = graph.nodes[graph.last_affine].inputs[0]
    times = ([], [])
    with threadpoolctl.threadpool_limits(1):
        check_arithmetic(size=max(n, *widths))
        assert proof(graph, place, X)

        def once():
            started = time.process_time()
            proof(graph, place, X)
            between = time.process_time()
            plain(network, _PLAIN[sigma], X)
            times[0].append(between - started)
            times[1].append(time.process_time() - between)

        benchmark.pedantic(once, rounds=1 if benchmark.disabled else 3, warmup_rounds=0)
    ratio = statistics.median(times[0]) / max(statistics.median(times[1]), 1e-9)
    benchmark.extra_info["ratio to forward + matrix_rank"] = round(ratio, 3)
    print(f"\n{name}: {ratio:.3f} x (forward + matrix_rank), goal {GOAL}")
    if not benchmark.disabled and ratio > GOAL:
        pytest.xfail(f"{ratio:.3f} x, goal {GOAL}")

"""A proved lambda_min of the tangent kernel against the same numbers without proof.

Two-layer tanh, n = 1,000 samples, p = m (d + 2) = 100,000 parameters. Ours encloses K = J J^T and
both ends of its spectrum. The peers: the closed form H H^T + (D D^T) o (X X^T + 1) in plain NumPy
and `eigvalsh`; torch.func's contraction of the Jacobians of single samples, without eigenvalues.
Medians of single-thread CPU time, run in turn. Without --benchmark-enable on a small problem.
"""

import math
import statistics
import time

import numpy as np
import pytest

from verify.network import Activation, TwoLayer
from verify_kernels.forward.inputs import Inputs
from verify_kernels.self_test import check_arithmetic
from verify_kernels.tangent_kernel import enclose_tangent_gram, enclose_tangent_spectrum

threadpoolctl = pytest.importorskip("threadpoolctl")
D, M, N = 98, 1000, 1000
NUMPY_GOAL = 3.0
TORCH_GOAL = 0.2


def draw(n, m, d):
    rng = np.random.default_rng(n + m)
    W, b, a = rng.standard_normal((m, d)), rng.standard_normal(m), rng.standard_normal(m)
    X = rng.standard_normal((n, d)) / math.sqrt(d)
    return TwoLayer(W, a / math.sqrt(m), Activation.parse("tanh"), b), X


def kernel(network, X):
    H = np.tanh(X @ network.W.T + network.b)
    D = (1.0 - H * H) * network.a
    return H @ H.T + (D @ D.T) * (X @ X.T + 1.0)


def plain(network, X):
    return float(np.linalg.eigvalsh(kernel(network, X))[0])


def proof(network, X):
    return enclose_tangent_spectrum(network.graph(), Inputs.of(X, (X.shape[1],)))


def sizes(benchmark):
    return (60, 80, 10) if benchmark.disabled else (N, M, D)


def medians(repeats, *functions):
    times = [[] for _ in functions]
    for _ in range(repeats):
        for function, record in zip(functions, times, strict=True):
            start = time.process_time()
            function()
            record.append(time.process_time() - start)
    return [statistics.median(record) for record in times]


def report(benchmark, ours, theirs, goal):
    benchmark.extra_info |= {"ratio": ours / theirs, "goal": goal, "ours_s": ours, "peer_s": theirs}
    if not benchmark.disabled:
        print(f"\n{benchmark.name}: {ours:.3f} s against {theirs:.3f} s, goal {goal}")
        assert ours <= goal * theirs


def test_smallest_eigenvalue_against_numpy(benchmark):
    network, X = draw(*sizes(benchmark))
    with threadpoolctl.threadpool_limits(1):
        check_arithmetic(size=len(X))
        found = proof(network, X).smallest.value
        near = plain(network, X)
        assert found.lo > 0
        assert found.lo_float * (1.0 - 1e-6) <= near <= found.hi_float * (1.0 + 1e-6)
        repeats = 1 if benchmark.disabled else 9
        ours, theirs = medians(repeats, lambda: proof(network, X), lambda: plain(network, X))
        benchmark.pedantic(lambda: proof(network, X), rounds=1)
    report(benchmark, ours, theirs, NUMPY_GOAL)


def test_kernel_against_torch_jacobians(benchmark):
    torch = pytest.importorskip("torch")
    network, X = draw(*sizes(benchmark))
    tensors = {name: torch.tensor(network.tensors()[name]) for name in ("W", "b", "a")}
    samples, threads = torch.tensor(X), torch.get_num_threads()

    def output(parameters, x):
        return parameters["a"] @ torch.tanh(parameters["W"] @ x + parameters["b"])

    def contract():
        jacobian = torch.func.vmap(torch.func.jacrev(output), (None, 0))(tensors, samples)
        rows = [part.flatten(1) for part in jacobian.values()]
        return sum(part @ part.T for part in rows)

    def enclose():
        return enclose_tangent_gram(network.graph(), Inputs.of(X, (X.shape[1],)))

    torch.set_num_threads(1)
    try:
        with threadpoolctl.threadpool_limits(1):
            check_arithmetic(size=len(X))
            gram, near = enclose(), contract().numpy()
            assert np.linalg.norm(gram.mid - near, 2) <= gram.error + 1e-9 * np.linalg.norm(near, 2)
            repeats = 1 if benchmark.disabled else 3
            ours, theirs = medians(repeats, lambda: proof(network, X), contract)
            benchmark.pedantic(enclose, rounds=1)
    finally:
        torch.set_num_threads(threads)
    report(benchmark, ours, theirs, TORCH_GOAL)


@pytest.mark.parametrize("along", ["samples", "parameters"])
def test_growth(benchmark, along):
    """Between a linear term (activations) and a cubic one in n (products, factorisations)."""
    n, m, d = sizes(benchmark)
    scales = [0.5, 1.0] if benchmark.disabled else [0.25, 0.5, 1.0, 2.0]
    cases = [(int(n * s), m, d) if along == "samples" else (n, int(m * s), d) for s in scales]
    drawn = [draw(*case) for case in cases]
    with threadpoolctl.threadpool_limits(1):
        check_arithmetic(size=2 * n)
        functions = [lambda net=net, X=X: proof(net, X) for net, X in drawn]
        functions[0]()
        told = medians(1 if benchmark.disabled else 5, *functions)
        benchmark.pedantic(functions[0], rounds=1)
    slope = np.polyfit(np.log([case[along != "samples"] for case in cases]), np.log(told), 1)[0]
    benchmark.extra_info |= {"cases": [list(case) for case in cases], "s": told, "power": slope}
    if not benchmark.disabled:
        print(f"\n{benchmark.name}: {[f'{t:.3f}' for t in told]} s, power {slope:.2f}")
        assert slope <= 3.0

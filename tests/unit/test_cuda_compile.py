"""The device code of every operation and of generated kernels; the elementary functions in C."""

from __future__ import annotations

import os
import time

import numpy as np
import pytest
import sympy as sp

from verify.errors import BackendError, InputError
from verify_kernels.cuda import compile as device_compiler
from verify_kernels.cuda.host import HostLibrary, compiler
from verify_kernels.cuda.kernel import (
    LOOP,
    CudaKernel,
    cuda_kernel,
    interval_sources,
    kernel_text,
)
from verify_kernels.cuda.subset import Module, Source
from verify_kernels.cuda.translate import loop_name, translate
from verify_kernels.elementary import arrays, coefficients, functions
from verify_kernels.elementary.bounds import BOUNDS
from verify_kernels.interval import directed
from verify_kernels.interval.compilation import compile_loop
from verify_kernels.interval.kernel import IntervalArray, IntervalValues, interval_kernel

ELEMENTARY = [Source.of(module) for module in (coefficients, functions)]
INTERVAL = interval_sources()
x, y = sp.symbols("x y", real=True)
KERNELS = {  # expression, symbols, order
    "softplus": (sp.log(1 + sp.exp(x)), (x,), 1),
    "third derivative of tanh": (sp.diff(sp.tanh(x), x, 3), (x,), 0),
    "second derivative of gelu": (sp.diff(x * (1 + sp.erf(x / sp.sqrt(2))) / 2, x, 2), (x,), 1),
    "composite": (
        sp.exp(-(x**2)) * sp.sin(y)
        + sp.log(1 + x**2) / (1 + y**2)
        + sp.sqrt(1 + x**2 * y**2)
        - sp.tanh(x * y),
        (x, y),
        1,
    ),
}
COUNT = 200_000 if os.environ.get("VERIFY_CAMPAIGN") == "full" else 20_000

needs_compiler = pytest.mark.skipif(compiler() is None, reason="no C compiler")
needs_device_compiler = pytest.mark.skipif(
    device_compiler.nvcc() is None and device_compiler.nvrtc() is None,
    reason="neither nvcc nor NVRTC",
)


@needs_device_compiler
@pytest.mark.parametrize("architecture", device_compiler.ARCHITECTURES)
def test_every_operation_compiles_for_devices(architecture):
    names = [f for source in INTERVAL for f in Module(source).functions if f.startswith("iv_")]
    text = translate(INTERVAL, target="cuda", functions=names)
    compiled = device_compiler.compile_cuda(text, architecture)
    assert compiled.code.startswith(b"\x7fELF")
    assert compiled.spilled_bytes in (0, None)
    assert len(names) > 40
    for name in names:
        assert f"_{name}".encode() in compiled.code
    print(f"{architecture}: {len(compiled.code)} bytes, {compiled.registers} registers")


@needs_device_compiler
@pytest.mark.parametrize("architecture", device_compiler.ARCHITECTURES)
@pytest.mark.parametrize("name", KERNELS)
def test_generated_kernels_compile_for_devices(name, architecture):
    expression, symbols, order = KERNELS[name]
    text = kernel_text(interval_kernel(expression, symbols, order=order), target="cuda")
    compiled = device_compiler.compile_cuda(text, architecture)
    assert LOOP.encode() in compiled.code
    assert compiled.spilled_bytes in (0, None)


@needs_device_compiler
def test_text_that_is_not_cuda_is_refused():
    with pytest.raises(BackendError, match="expected text that compiles for sm_90, but got"):
        device_compiler.compile_cuda("nonsense", "sm_90")


def test_without_compilers_the_error_says_so(monkeypatch):
    monkeypatch.setattr(device_compiler, "nvcc", lambda: None)
    monkeypatch.setattr(device_compiler, "nvrtc", lambda: None)
    with pytest.raises(BackendError, match="expected nvcc or NVRTC, but found neither"):
        device_compiler.compile_cuda("", "sm_90")


@pytest.fixture(scope="module")
def host(tmp_path_factory):
    exact = Source.of(directed)
    text = translate([*ELEMENTARY, exact], target="host")
    return HostLibrary(text, tmp_path_factory.mktemp("host"))


def inputs(rng, bound, count):
    """Numbers of the domain: of every size, near its ends, and where the function bends."""
    lo, hi = max(bound.lo, -1e300), min(bound.hi, 1e300)
    spread = rng.uniform(max(lo, -800.0), min(hi, 800.0), count)
    sized = np.ldexp(rng.uniform(-1.0, 1.0, count), rng.integers(-1070, 1020, count))
    near = rng.uniform(-2.0, 2.0, count)
    x = np.choose(rng.integers(0, 3, count), [spread, sized, near])
    return np.clip(np.where(x < lo, -x, x), bound.lo, bound.hi)


@needs_compiler
@pytest.mark.soundness
def test_elementary_functions_are_the_same_in_c_bit_for_bit(host):
    start, seed = time.perf_counter(), 31
    rng = np.random.default_rng(seed)
    for name, bound in BOUNDS.items():
        x = inputs(rng, bound, COUNT)
        lines = [f"y = {name}_core(x0l)"]
        loop = compile_loop(lines, ["y"], 1, points=True, embedded=False, modules=(functions,))
        machine = np.empty(COUNT)
        arrays._run(loop, x, machine)
        c = host.run(loop_name("functions", f"{name}_core"), [x], 1)[0]
        different = int((machine.view(np.int64) != c.view(np.int64)).sum())
        assert different == 0, name
    print(
        f"campaign elementary functions, machine code against C: {COUNT} x {len(BOUNDS)} cases, "
        f"seed {seed}, {time.perf_counter() - start:.1f} s, 0 wrong"
    )


class OnTheHost:
    """An array module whose kernels are the C text: NumPy, and `RawKernel` on the processor."""

    def __init__(self, kernel, folder):
        self.library = HostLibrary(kernel_text(kernel, target="host"), folder)

    def __getattr__(self, name):
        return getattr(np, name)

    def RawKernel(self, text, name, options):
        assert "__fma_rn" in text
        assert options == ("--fmad=false",)

        def launch(grid, block, arguments):
            count, given, found = arguments
            assert grid[0] * block[0] >= count
            found[...] = self.library.run(name, given, found.shape[0])

        return launch


def boxes(symbols, rng):
    lo = rng.normal(0.0, 2.0, (len(symbols), 300))
    return lo, lo + rng.choice([0.0, 1e-9, 1e-3, 1.0], lo.shape)


def check_contains(kernel, found, lo, hi, rng):
    """Values and gradients at corners of the boxes, in ball arithmetic, meet the enclosures."""
    low, high = [found.lo[None]], [found.hi[None]]
    if kernel.order:
        low.append(found.gradient.lo)
        high.append(found.gradient.hi)
    low, high = np.vstack(low), np.vstack(high)
    for lane in range(lo.shape[1]):
        point = rng.choice([lo[:, lane], hi[:, lane]])
        for row, (least, greatest) in enumerate(kernel.reference(point, point)):
            assert not low[row, lane] > greatest
            assert not high[row, lane] < least


@needs_compiler
@pytest.mark.parametrize("name", KERNELS)
def test_generated_kernels_in_c_contain_the_values(name, tmp_path):
    expression, symbols, order = KERNELS[name]
    kernel = interval_kernel(expression, symbols, order=order)
    rng = np.random.default_rng(5)
    lo, hi = boxes(symbols, rng)
    in_c = CudaKernel(kernel, OnTheHost(kernel, tmp_path))
    found, compiled = in_c(lo, hi), kernel(lo, hi)
    check_contains(kernel, found, lo, hi, rng)
    assert np.median(found.hi - found.lo) <= np.median(compiled.hi - compiled.lo)
    unbounded = in_c(-np.inf + 0 * lo, np.inf + 0 * hi)
    assert np.all(unbounded.lo <= found.lo)
    assert np.all(unbounded.hi >= found.hi)


@pytest.mark.gpu
@pytest.mark.parametrize("name", KERNELS)
def test_generated_kernels_on_a_device_contain_the_values(name):
    cupy = pytest.importorskip("cupy")
    if not cupy.cuda.is_available():
        pytest.skip("no CUDA device")
    expression, symbols, order = KERNELS[name]
    rng = np.random.default_rng(5)
    lo, hi = boxes(symbols, rng)
    run = cuda_kernel(expression, symbols, order=order)
    found = run(cupy.asarray(lo), cupy.asarray(hi))
    gradient = found.gradient and IntervalArray(*map(cupy.asnumpy, found.gradient))
    values = IntervalValues(cupy.asnumpy(found.lo), cupy.asnumpy(found.hi), gradient)
    check_contains(run.kernel, values, lo, hi, rng)


@needs_compiler
def test_boxes_that_are_none_are_refused(tmp_path):
    kernel = interval_kernel(x**2, (x,))
    run = CudaKernel(kernel, OnTheHost(kernel, tmp_path))
    one = np.array([[1.0]])
    for lo, hi in ((one, 0 * one), (np.nan * one, one), (one, np.nan * one), (np.inf * one,) * 2):
        with pytest.raises(InputError, match="expected boxes with lo <= hi"):
            run(lo, hi)
    with pytest.raises(InputError, match="expected ends of shape"):
        run(one[0], one[0])
    with pytest.raises(InputError, match="expected ends of type float64"):
        run(one.astype(np.float32), one)

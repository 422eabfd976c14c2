"""The device code of every operation and of generated kernels; the elementary functions in C."""

from __future__ import annotations

import os
import time

import numpy as np
import pytest

from verify.errors import BackendError
from verify_kernels.cuda import compile as device_compiler
from verify_kernels.cuda.host import HostLibrary, compiler
from verify_kernels.cuda.subset import Source
from verify_kernels.cuda.translate import loop_name, translate
from verify_kernels.elementary import coefficients, functions
from verify_kernels.elementary.bounds import BOUNDS
from verify_kernels.elementary.compiled import SCALAR, loop
from verify_kernels.interval import directed, operations, transcendental

ELEMENTARY = [Source.of(module) for module in (coefficients, functions)]
INTERVAL = [*ELEMENTARY, *map(Source.of, (operations, transcendental))]
COUNT = 200_000 if os.environ.get("VERIFY_CAMPAIGN") == "full" else 20_000

needs_compiler = pytest.mark.skipif(compiler() is None, reason="no C compiler")
needs_device_compiler = pytest.mark.skipif(
    device_compiler.nvcc() is None and device_compiler.nvrtc() is None,
    reason="neither nvcc nor NVRTC",
)


@needs_device_compiler
@pytest.mark.parametrize("architecture", device_compiler.ARCHITECTURES)
def test_every_operation_compiles_for_devices(architecture):
    text = translate(INTERVAL, target="cuda")
    compiled = device_compiler.compile_cuda(text, architecture)
    assert compiled.code.startswith(b"\x7fELF")
    assert compiled.spilled_bytes in (0, None)
    for name in ("iv_add", "iv_exp"):
        assert f"_{name}".encode() in compiled.code
    print(f"{architecture}: {len(compiled.code)} bytes, {compiled.registers} registers")


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
        numba = np.empty(COUNT)
        loop(SCALAR[name])(x, numba)
        c = host.run(loop_name("functions", f"{name}_core"), [x], 1)[0]
        different = int((numba.view(np.int64) != c.view(np.int64)).sum())
        assert different == 0, name
    print(
        f"campaign elementary functions, Numba against C: {COUNT} x {len(BOUNDS)} cases, "
        f"seed {seed}, {time.perf_counter() - start:.1f} s, 0 wrong"
    )

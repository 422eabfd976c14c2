"""The arithmetic self-test trips on every simulated fault, and then nothing is certified."""

import subprocess
import sys
import types

import numpy as np
import pytest

from verify.errors import BackendError
from verify_kernels import _numba, _numpy, self_test
from verify_kernels.definiteness import enclose_smallest_eigenvalue, proves_definite
from verify_kernels.spectral_norm import enclose_spectral_norm, proves_norm_at_most


@np.errstate(all="ignore")
def float32_product(left, right):
    return (left.astype(np.float32) @ right.astype(np.float32)).astype(np.float64)


def strassen(left, right):
    """One level of Strassen's algorithm."""
    h = left.shape[0] // 2
    a, b, c, d = left[:h, :h], left[:h, h:], left[h:, :h], left[h:, h:]
    e, f, g, k = right[:h, :h], right[:h, h:], right[h:, :h], right[h:, h:]
    p1, p2, p3, p4 = a @ (f - k), (a + b) @ k, (c + d) @ e, d @ (g - e)
    p5, p6, p7 = (a + d) @ (e + k), (b - d) @ (g + k), (a - c) @ (e + f)
    return np.block([[p5 + p4 - p2 + p6, p1 + p2], [p3 + p4, p1 + p5 - p3 - p7]])


def fixed_point(bits):
    """Emulation with a fixed-point grid for each row of A and each column of B."""

    def product(left, right):
        row = 2.0 ** (np.frexp(np.abs(left).max(axis=1, keepdims=True))[1] - bits)
        column = 2.0 ** (np.frexp(np.abs(right).max(axis=0, keepdims=True))[1] - bits)
        return (np.rint(left / row) @ np.rint(right / column)) * row * column

    return product


def pairs_of_float32(left, right):
    """Emulation by pairs of float32 without the smallest of the four products: 48 bits."""
    high, other = left.astype(np.float32).astype(float), right.astype(np.float32).astype(float)
    return high @ other + (high @ (right - other) + (left - high) @ other)


def backend_with(**changes):
    module = types.ModuleType("faulty")
    module.__dict__.update({k: v for k, v in vars(_numpy).items() if not k.startswith("__")})
    module.__dict__.update(NAME="faulty", **changes)
    return module


FAULTY = {
    "float32": float32_product,
    "strassen": strassen,
    "fixed point 40": fixed_point(40),
    "fixed point 55": fixed_point(55),
    "pairs of float32": pairs_of_float32,
}


@pytest.mark.parametrize("module", [_numpy, _numba])
def test_this_machine_passes(module):
    self_test.check_rounding()
    self_test.check_products(module)
    self_test.check_factorisation(module)


@pytest.mark.parametrize("fault", FAULTY)
def test_unconventional_product_trips(fault):
    with pytest.raises(BackendError, match=r"expected the .* of the backend 'faulty'.*, but got"):
        self_test.check_products(backend_with(product=FAULTY[fault]))


@pytest.mark.parametrize("fault", FAULTY)
def test_unconventional_symmetric_product_trips_alone(fault):
    """SYRK is other code than GEMM and is checked for itself."""

    def gram(matrix, scale=1.0):
        return scale * FAULTY[fault](matrix.T.copy(), matrix)

    with pytest.raises(BackendError, match=r"expected the A\^T A of the backend"):
        self_test.check_products(backend_with(gram=gram))


def test_a_transposed_factor_is_checked_for_itself():
    def product(left, right):
        return left @ right if right.flags.c_contiguous else float32_product(left, right)

    with pytest.raises(BackendError, match=r"expected the A B\^T of the backend"):
        self_test.check_products(backend_with(product=product))


def test_product_with_nan_trips():
    def product(left, right):
        return np.full((left.shape[0], right.shape[1]), np.nan)

    with pytest.raises(BackendError):
        self_test.check_products(backend_with(product=product))


def accepting(matrix):
    """A factorisation that looks at its exit code only, as OpenBLAS answers for NaN."""
    return 0.0 if np.all(np.diagonal(matrix) != -1.0) else np.inf


@pytest.mark.parametrize("defect", [accepting, lambda matrix: np.inf, lambda matrix: 0.0])
def test_factorisation_that_accepts_or_refuses_all_trips(defect):
    with pytest.raises(BackendError, match=r"check_arithmetic: expected the backend"):
        self_test.check_factorisation(backend_with(cholesky_defect=defect))


def test_nothing_is_certified_after_a_fault(monkeypatch):
    monkeypatch.setattr(_numpy, "product", float32_product)
    self_test._check_once.cache_clear()
    try:
        for kernel in (
            enclose_spectral_norm,
            lambda matrix: proves_norm_at_most(matrix, 10.0),
            enclose_smallest_eigenvalue,
            proves_definite,
        ):
            with pytest.raises(BackendError):
                kernel(np.eye(3))
    finally:
        self_test._check_once.cache_clear()


def test_products_are_checked_once_for_each_backend(monkeypatch):
    calls = []
    monkeypatch.setattr(self_test, "check_products", lambda module, size: calls.append(module.NAME))
    self_test._check_once.cache_clear()
    try:
        for _ in range(3):
            self_test.check_arithmetic("numpy")
            self_test.check_arithmetic("numba", size=4000)
    finally:
        self_test._check_once.cache_clear()
    assert calls == ["numpy", "numba"]


def test_a_device_is_checked_at_the_size_used(monkeypatch):
    sizes = []
    device = backend_with()
    device.NAME = "cupy"
    monkeypatch.setattr(self_test, "get_backend", lambda name, size: device)
    monkeypatch.setattr(self_test, "check_products", lambda module, size: sizes.append(size))
    for size in (10, 300, 512, 513):
        self_test.check_arithmetic("cupy", size=size)
    assert sizes == [256, 512, 1024]


def run_python(text):
    return subprocess.run(
        [sys.executable, "-c", text], capture_output=True, text=True, timeout=120, check=False
    )


FLUSH = """
import threading, torch
from verify.errors import BackendError
from verify_kernels.spectral_norm import enclose_spectral_norm
from verify_kernels.self_test import check_arithmetic
def refused():
    try:
        enclose_spectral_norm([[0.5]])
    except BackendError as error:
        print("refused", "flush-to-zero" in str(error))
    else:
        print("certified")
"""


def test_trap_flush_to_zero_is_refused_also_after_the_first_success():
    ran = run_python(
        FLUSH + "enclose_spectral_norm([[0.5]])\ntorch.set_flush_denormal(True)\nrefused()"
    )
    assert ran.stdout.split() == ["refused", "True"], ran.stderr


def test_trap_flush_to_zero_in_a_worker_thread_is_refused_there():
    ran = run_python(
        FLUSH
        + "def work():\n    torch.set_flush_denormal(True)\n    refused()\n"
        + "t = threading.Thread(target=work); t.start(); t.join()\nrefused()"
    )
    assert ran.stdout.split() == ["refused", "True", "certified"], ran.stderr


@pytest.mark.skipif(sys.platform != "linux", reason="fesetround by its number on Linux x86")
@pytest.mark.parametrize("mode", [0x400, 0x800, 0xC00])
def test_another_rounding_mode_is_refused(mode):
    ran = run_python(
        "import ctypes\n"
        "from verify.errors import BackendError\n"
        "from verify_kernels.self_test import check_arithmetic\n"
        f"ctypes.CDLL('libm.so.6').fesetround({mode})\n"
        "try:\n    check_arithmetic()\nexcept BackendError:\n    print('refused')\n"
    )
    assert ran.stdout.split() == ["refused"], ran.stderr

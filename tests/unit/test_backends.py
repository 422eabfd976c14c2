"""Backends: found by entry point, all of them within their bounds, refused by name."""

import ctypes
import math
from fractions import Fraction
from importlib.metadata import EntryPoint
from importlib.util import find_spec

import numba
import numpy as np
import pytest
import scipy

from verify.errors import BackendError, PluginError
from verify_kernels import _cupy, _numba, _numpy, backend, self_test
from verify_kernels.backend import get_backend
from verify_kernels.definiteness import enclose_smallest_eigenvalue, proves_definite
from verify_kernels.spectral_norm import enclose_spectral_norm, proves_norm_at_most

CONTRACT = (
    "NAME",
    "device",
    "product",
    "gram",
    "row_sums",
    "column_sums",
    "modulus_matvec",
    "total",
    "cholesky_defect",
    "defect_ahead",
)


@pytest.fixture
def cupy_on_numpy(monkeypatch):
    """The CuPy backend with NumPy as its array module."""
    monkeypatch.setattr(_cupy, "_loaded", lambda: np)
    monkeypatch.setattr(_cupy, "require", lambda: None)
    backend._load.cache_clear()
    self_test._check_once.cache_clear()
    yield _cupy
    backend._load.cache_clear()
    self_test._check_once.cache_clear()


@pytest.fixture
def residual_only(monkeypatch):
    """A LAPACK that is not identified: only residuals are trusted."""
    monkeypatch.setattr(_numpy, "lapack_is_conventional", lambda: False)


def test_names():
    assert get_backend() is get_backend("auto", size=10**6) is get_backend("numpy") is _numpy
    assert get_backend("numba") is _numba


@pytest.mark.parametrize("module", [_numpy, _numba, _cupy])
def test_every_backend_offers_the_fixed_names(module):
    assert all(hasattr(module, name) for name in CONTRACT)


def test_unknown_name():
    with pytest.raises(BackendError, match=r"expected one of \['cupy', 'numba', 'numpy'.*'fo"):
        get_backend("fortran")


@pytest.mark.skipif(find_spec("cupy") is not None, reason="CuPy is installed here")
def test_missing_dependency_is_named():
    with pytest.raises(BackendError, match="expected 'cupy' to be installed"):
        get_backend("cupy")


def test_name_claimed_twice(monkeypatch):
    points = [EntryPoint("mine", f"verify_kernels.{x}", "verify.backends") for x in ("a", "b")]
    monkeypatch.setattr(backend, "entry_points", lambda group: points)
    with pytest.raises(PluginError, match="expected one backend 'mine', but got"):
        get_backend("mine")


def test_auto_takes_a_device_only_from_a_measured_size_on(monkeypatch, cupy_on_numpy):
    assert backend.CUPY_FROM is None  # nothing has been measured on a device
    monkeypatch.setattr(backend, "CUPY_FROM", 4096)
    backend._cupy_works.cache_clear()
    assert get_backend("auto", size=4095).NAME == "numpy"
    assert get_backend("auto", size=4096).NAME == "cupy"
    backend._cupy_works.cache_clear()
    monkeypatch.setattr(_cupy, "product", lambda a, b: (a @ b).astype(np.float32))
    self_test._check_once.cache_clear()
    assert get_backend("auto", size=4096).NAME == "numpy"  # its self-test fails
    backend._cupy_works.cache_clear()


def within(got, exact, moduli, k):
    """|fl - exact| <= gamma_k sum of moduli, exactly."""
    return abs(Fraction(float(got)) - exact) <= Fraction(k, 2**53 - k) * moduli


@pytest.mark.parametrize("module", [_numpy, _numba])
@pytest.mark.parametrize("shape", [(1, 1), (3, 7), (8, 2), (5, 13)])
def test_sums_obey_their_bounds(module, shape):
    draw = np.random.default_rng(1)
    matrix = draw.standard_normal(shape) * 10.0 ** draw.uniform(-8, 8, shape)
    vector = draw.uniform(0, 1, shape[1])
    exact = [[abs(Fraction(x)) for x in row] for row in matrix.tolist()]
    weights = [Fraction(x) for x in vector.tolist()]
    for i, got in enumerate(module.row_sums(matrix)):
        assert within(got, sum(exact[i]), sum(exact[i]), shape[1])
    for j, got in enumerate(module.column_sums(matrix)):
        column = sum(row[j] for row in exact)
        assert within(got, column, column, shape[0])
    for i, got in enumerate(module.modulus_matvec(matrix, vector)):
        dot = sum(a * w for a, w in zip(exact[i], weights, strict=True))
        assert within(got, dot, dot, shape[1])
    assert within(module.total(vector), sum(weights), sum(weights), shape[1])


def test_cupy_sums_and_products_on_numpy():
    draw = np.random.default_rng(2)
    matrix, vector = draw.standard_normal((6, 9)), draw.uniform(0, 1, 9)
    for name, arguments in (
        ("row_sums", (matrix,)),
        ("column_sums", (matrix,)),
        ("modulus_matvec", (matrix, vector)),
        ("product", (matrix, matrix.T.copy())),
    ):
        got = getattr(_cupy, name)(*arguments, xp=np)
        np.testing.assert_allclose(got, getattr(_numpy, name)(*arguments), rtol=1e-14)
    assert _cupy.total(vector, xp=np) == _numpy.total(vector)
    np.testing.assert_allclose(
        np.triu(_cupy.gram(matrix, -1.0, xp=np)), np.triu(_numpy.gram(matrix, -1.0)), rtol=1e-13
    )


def symmetric(n, seed):
    factor = np.random.default_rng(seed).standard_normal((n, 2 * n))
    return factor @ factor.T / n


def exact_pivots_are_positive(matrix, shift):
    """Whether K + shift is positive definite, in rationals."""
    n = matrix.shape[0]
    rows = [[Fraction(float(matrix[i, j])) for j in range(n)] for i in range(n)]
    for i in range(n):
        rows[i][i] += shift
    for k in range(n):
        if rows[k][k] <= 0:
            return False
        for i in range(k + 1, n):
            ratio = rows[i][k] / rows[k][k]
            for j in range(k + 1, n):
                rows[i][j] -= ratio * rows[k][j]
    return True


@pytest.mark.parametrize("path", ["conventional", "residual", "cupy"])
def test_defect_bounds_the_smallest_eigenvalue(path, monkeypatch):
    """Matrices so close to singular that the factorisation of indefinite ones may succeed."""
    monkeypatch.setattr(_numpy, "lapack_is_conventional", lambda: path == "conventional")
    draw, accepted = np.random.default_rng(4), 0
    for _ in range(150):
        n = int(draw.integers(1, 7))
        values = np.append(10.0 ** draw.uniform(-3, 0, n - 1), draw.uniform(-4e-16, 1e-15))
        basis = np.linalg.qr(draw.standard_normal((n, n)))[0]
        matrix = (basis * values) @ basis.T
        matrix = np.asfortranarray((matrix + matrix.T) / 2)
        factor = matrix.copy(order="F")
        if path == "cupy":
            defect = _cupy.cholesky_defect(factor, xp=np)
        else:
            defect = _numpy.cholesky_defect(factor)
        if math.isfinite(defect):
            accepted += 1
            assert exact_pivots_are_positive(matrix, Fraction(defect))
    assert accepted > 50


def test_trap_residual_bound_holds_for_any_factor():
    """A factor of another matrix, and one of zeros: the residual says so."""
    matrix = np.asfortranarray(np.eye(5) - 2 * np.ones((5, 5)) / 5)  # eigenvalue -1
    for factor in (np.zeros((5, 5)), np.eye(5), 3 * np.triu(np.ones((5, 5)))):
        assert _numpy.residual_defect(matrix, np.asfortranarray(factor)) > 1.0
    assert _numpy.residual_defect(matrix, np.full((5, 5), math.nan)) == math.inf
    assert _numpy.residual_defect(matrix, np.full((5, 5), math.inf)) == math.inf


def test_trap_lapack_that_is_not_identified_is_not_trusted(monkeypatch, residual_only):
    """The a-priori bound holds for OpenBLAS; Accelerate or MKL may invert diagonal blocks."""
    matrix = symmetric(40, 1)
    least = float(np.linalg.eigvalsh(matrix)[0])
    assert proves_definite(matrix, at_least=least * (1 - 1e-6))
    assert not proves_definite(matrix, at_least=least * (1 + 1e-12))
    norm = float(np.linalg.norm(matrix, 2))
    assert proves_norm_at_most(matrix, norm * (1 + 1e-6))
    assert not proves_norm_at_most(matrix, norm * (1 - 1e-12))
    value = enclose_spectral_norm(matrix).value
    assert value.lo <= Fraction(norm) * (1 + Fraction(1, 10**12))
    assert value.hi >= Fraction(norm) * (1 - Fraction(1, 10**12))


@pytest.mark.parametrize(
    "change",
    [
        {"Build Dependencies": {"lapack": {"name": "mkl-sdl"}}},
        {"Build Dependencies": {"lapack": {"name": "accelerate"}}},
        {"Build Dependencies": {}},
        {},
    ],
)
def test_identification_needs_the_build_record(monkeypatch, change):
    monkeypatch.setattr(scipy, "show_config", lambda mode: change)
    _numpy.lapack_is_conventional.cache_clear()
    assert not _numpy.lapack_is_conventional()
    _numpy.lapack_is_conventional.cache_clear()


def test_identification_needs_the_loaded_symbol(monkeypatch):
    class Stripped:
        def __init__(self, path):
            self.path = path

    monkeypatch.setattr(ctypes, "CDLL", Stripped)
    _numpy.lapack_is_conventional.cache_clear()
    assert not _numpy.lapack_is_conventional()
    _numpy.lapack_is_conventional.cache_clear()


def test_kernels_run_on_the_cupy_module(cupy_on_numpy):
    matrix = np.random.default_rng(9).standard_normal((40, 30)) / 8
    norm = float(np.linalg.norm(matrix, 2))
    value = enclose_spectral_norm(matrix, backend="cupy").value
    other = enclose_spectral_norm(matrix, backend="numpy").value
    assert value.intersection(other)
    assert value.width < Fraction(1, 10**8)
    assert proves_norm_at_most(matrix, norm * (1 + 1e-8), backend="cupy")
    assert not proves_norm_at_most(matrix, norm * (1 - 1e-14), backend="cupy")
    gram = symmetric(30, 3)
    low = enclose_smallest_eigenvalue(gram, backend="cupy").value
    assert low.intersection(enclose_smallest_eigenvalue(gram).value)
    assert proves_definite(gram, backend="cupy")
    assert not proves_definite(-gram, backend="cupy")


def test_cupy_refuses_factors_that_are_not_finite():
    assert _cupy.cholesky_defect(np.full((3, 3), math.nan, order="F"), xp=np) == math.inf
    assert _cupy.cholesky_defect(np.asfortranarray(-np.eye(3)), xp=np) == math.inf


@pytest.mark.parametrize(
    "name",
    [
        "compiled_row_sums",
        "compiled_column_sums",
        "compiled_modulus_matvec",
        "compiled_total",
    ],
)
def test_trap_compiled_code_has_no_fast_or_contract_flags(name):
    """Numba's fastmath deletes error-free transformations and contracts a*b+c."""
    cached = getattr(_numba, name)
    assert not cached.targetoptions.get("fastmath")
    function = numba.jit(**cached.targetoptions)(cached.py_func)  # cached code has no listing
    matrix, vector = np.ones((4, 4)), np.ones(4)
    arguments = {"compiled_total": (vector,), "compiled_modulus_matvec": (matrix, vector)}
    function(*arguments.get(name, (matrix,)))
    lines = [line for text in function.inspect_llvm().values() for line in text.splitlines()]
    arithmetic = [line for line in lines if any(op in line for op in (" fadd", " fmul", " fsub"))]
    assert arithmetic
    for line in lines:
        words = set(line.replace(",", " ").split())
        assert not words & {"fast", "contract", "reassoc", "nnan", "ninf", "nsz", "arcp", "afn"}
        assert "llvm.fma" not in line
        assert "llvm.fmuladd" not in line

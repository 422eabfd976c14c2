"""Backends: modules of plain functions with fixed names, found by entry point.

A module of the group ``verify.backends`` offers, NumPy arrays in and out:

- ``NAME``: its name; ``device()``: the machine it computes on, in words;
- ``product(left, right)``: fl(A B); ``gram(matrix, scale=1.0)``: scale fl(A^T A) for a scale of
  +1 or -1, of which the upper triangle counts;
- ``row_sums(matrix)``, ``column_sums(matrix)``: sums of |a_ij|; ``modulus_matvec(matrix, vector)``:
  fl(|A| v); ``total(values)``: the sum of a vector. Any summation order, round to nearest;
- ``cholesky_defect(matrix)``: a number d with lambda_min(B) > -d for the symmetric B of the upper
  triangle, +inf if the factorisation fails; the triangle is overwritten with the factor R;
- ``defect_ahead(n, trace, largest)``: what ``cholesky_defect`` will return, about; a guess.

Every backend is sound or refuses; widths differ.
"""

from __future__ import annotations

from functools import cache
from importlib.metadata import entry_points
from types import ModuleType

from verify.errors import BackendError, MissingBackendError, PluginError

# ``auto`` takes CuPy for matrices at least this large. None: no device has been measured, so
# ``auto`` stays with NumPy.
CUPY_FROM: int | None = None


def get_backend(name: str = "auto", *, size: int = 0) -> ModuleType:
    """Return the module of a backend.

    Args:
        name: ``numpy``, ``numba``, ``cupy`` or one that is installed; ``auto`` is NumPy, and CuPy
            from a measured size on where a device is present and passed its self-test.
        size: the larger dimension of the matrices, for ``auto``.

    Raises:
        MissingBackendError: no such backend, or what it needs is not installed.
        PluginError: two distributions claim the name.
    """
    if name != "auto":
        return _load(name)
    if CUPY_FROM is not None and size >= CUPY_FROM and _cupy_works():
        return _load("cupy")
    return _load("numpy")


@cache
def _load(name: str) -> ModuleType:
    known = {(point.name, point.value): point for point in entry_points(group="verify.backends")}
    found = [point for (other, _), point in known.items() if other == name]
    if not found:
        names = sorted({other for other, _ in known})
        raise MissingBackendError(f"get_backend: expected one of {names}, but got {name!r}")
    if len(found) > 1:
        values = sorted(point.value for point in found)
        raise PluginError(f"get_backend: expected one backend {name!r}, but got {values}")
    try:
        module = found[0].load()
        require = getattr(module, "require", None)
        if require is not None:
            require()
    except ImportError as error:
        raise MissingBackendError(
            f"get_backend: expected {error.name!r} to be installed for the backend {name!r}, "
            f"but got {error}; see the optional dependencies"
        ) from error
    if not isinstance(module, ModuleType):
        raise BackendError(f"get_backend: expected a module for {name!r}, but got {module!r}")
    return module


@cache
def _cupy_works() -> bool:
    from verify_kernels.self_test import check_arithmetic

    try:
        check_arithmetic("cupy")
    except BackendError:
        return False
    return True

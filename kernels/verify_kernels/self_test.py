"""Does this machine compute as the proofs assume? Nothing is certified where it does not.

Two parts. The elementary one is asked at every call, in the thread that asks: round to nearest,
gradual underflow. The other one, a tripwire for matrix products that are not conventional
(reduced precision, Strassen, fixed-point emulation) and for a factorisation that accepts NaN, is
asked once per process, backend and size class. A tripwire is evidence, not proof: certificates
that must not trust a matrix product are replayed in integers.
"""

from __future__ import annotations

import math
from fractions import Fraction
from functools import cache
from types import ModuleType
from typing import Any

import numpy as np

from verify.errors import BackendError
from verify_kernels._rounding import Array, U
from verify_kernels.backend import get_backend

SIZE = 256

# Written as data, so that nothing is computed before the question is asked.
_SUMS = np.array(
    [
        (1.0, 2.0**-53, 1.0),
        (1.0, 3 * 2.0**-53, 1.0 + 2.0**-51),
        (-1.0, -3 * 2.0**-53, -1.0 - 2.0**-51),
        (2.0**-1022, -(2.0**-1023), 2.0**-1023),
    ]
)
_PRODUCTS = np.array(
    [
        (2.0**-1060, 0.5, 2.0**-1061),
        (2.0**-1060, 2.0**60, 2.0**-1000),
        (2.0**-1074, 0.5, 0.0),
    ]
)
_NAMES = (
    "1 + 2^-53 = 1",
    "1 + 3 2^-53 = 1 + 2^-51",
    "-1 - 3 2^-53 = -1 - 2^-51",
    "2^-1022 - 2^-1023 = 2^-1023",
    "2^-1060 / 2 = 2^-1061",
    "2^-1060 2^60 = 2^-1000",
    "2^-1074 / 2 = 0",
)


def check_arithmetic(backend: str = "numpy", *, size: int = SIZE) -> None:
    """Check the arithmetic of this thread and the matrix products of a backend.

    Args:
        backend: its name; ``auto`` as in `get_backend`.
        size: the dimension of the products to come. On a device the check runs at this size
            rounded up to a power of two (an emulation may start above a size), on the processor
            at one fixed size.

    Raises:
        BackendError: the backend is missing, or something does not compute as assumed; then no
            result of it may be used.
    """
    check_rounding()
    module = get_backend(backend, size=size)
    on_device = module.NAME == "cupy"
    _check_once(module, max(SIZE, 1 << (size - 1).bit_length()) if on_device else SIZE)


@cache
def _check_once(module: ModuleType, size: int) -> None:
    check_products(module, size=size)
    check_factorisation(module)


def check_rounding() -> None:
    """Check round to nearest and gradual underflow on array data, in the calling thread.

    Raises:
        BackendError: flush to zero, subnormals read as zero, or another rounding mode.
    """
    sums = _SUMS[:, 0] + _SUMS[:, 1] == _SUMS[:, 2]
    products = _PRODUCTS[:, 0] * _PRODUCTS[:, 1] == _PRODUCTS[:, 2]
    if sums.all() and products.all():
        return
    names = [name for name, holds in zip(_NAMES, [*sums, *products], strict=True) if not holds]
    raise BackendError(
        f"check_arithmetic: expected {names[0]} in binary64, but got otherwise; "
        f"something in this process set flush-to-zero or another rounding mode"
    )


@np.errstate(all="ignore")
def check_products(module: ModuleType, *, size: int = SIZE) -> None:
    """Check GEMM, GEMM with a transposed factor, and SYRK of a backend on three worst cases.

    (i) Scaling rows, columns and the inner dimension by random powers of two must change the
    result exactly by these powers: true for every conventional algorithm in any order, false for
    Strassen's and for fixed-point emulation. (ii) On 27-bit integers the error must obey
    |fl(AB) - AB| <= k u |A||B|, which float32 misses by 1e8. (iii) The same for four products of
    53-bit integers: at large k that bound would hide an emulation by pairs of float32.

    Raises:
        BackendError: one of them fails.
    """
    draw = np.random.default_rng(20100509)
    A, B = draw.standard_normal((size, size)), draw.standard_normal((size, size))
    d1, d2, d3 = (2.0 ** draw.integers(-100, 101, size) for _ in range(3))
    scaled = module.product(d1[:, None] * A * d2, (B / d2[:, None]) * d3)
    _require(scaled, d1[:, None] * module.product(A, B) * d3, module, "matrix products")
    turned = module.product(d1[:, None] * A * d2, ((B / d2[:, None]) * d3).T.copy().T)
    _require(turned, d1[:, None] * module.product(A, B.T.copy().T) * d3, module, "A B^T")
    upper = np.triu(module.gram(A * d2))
    _require(upper, np.triu(d2[:, None] * module.gram(A) * d2), module, "A^T A")
    X, Y = (draw.integers(-(2**27), 2**27, (size, size)) for _ in range(2))
    rows = np.linspace(0, size - 1, 16).astype(np.intp)
    x, y = X.astype(np.float64), Y.astype(np.float64)
    _require_exact(module.product(x, y)[rows], X[rows], Y, module, "matrix products")
    _require_exact(module.product(x, y.T.copy().T)[rows], X[rows], Y, module, "A B^T")
    whole = np.triu(module.gram(x))
    whole = whole + np.triu(whole, 1).T
    _require_exact(whole[rows], X.T[rows], X, module, "A^T A")
    half = size // 2
    large = (np.arange(size) < half)[:, None] == (np.arange(size) < half)
    # between the two halves every term is 2^40 x y, far below the largest of its columns
    mixed = module.gram(np.where(large, 2.0**40, 1.0) * x)[:half:16, half:] * 2.0**-40
    _require_exact(mixed, X.T[:half:16], X[:, half:], module, "A^T A")
    _check_few_products(module, draw)


def _check_few_products(module: ModuleType, draw: np.random.Generator) -> None:
    X, Y = (draw.integers(-(2**53), 2**53, shape) for shape in ((16, 4), (4, 16)))
    x, y = X.astype(np.float64), Y.astype(np.float64)
    _require_few(module.product(x, y), X, Y, module, "matrix products")
    _require_few(module.product(x, y.T.copy().T), X, Y, module, "A B^T")
    upper = np.triu(module.gram(y))
    _require_few(upper + np.triu(upper, 1).T, Y.T, Y, module, "A^T A")


def _require_few(got: Array, left: Any, right: Any, module: ModuleType, what: str) -> None:
    k = right.shape[0]
    exact = left.astype(object) @ right.astype(object)
    moduli = np.abs(left).astype(object) @ np.abs(right).astype(object)
    errors = zip(got.ravel().tolist(), exact.ravel(), moduli.ravel(), strict=True)
    if not all(
        math.isfinite(value) and abs(Fraction(value) - true) * 2**53 <= k * size
        for value, true, size in errors
    ):
        raise BackendError(
            f"check_arithmetic: expected the {what} of the backend {module.NAME!r} to obey "
            f"|error| <= k u |A||B|, but got larger errors on 53-bit integers"
        )


def _require(got: Array, expected: Array, module: ModuleType, what: str) -> None:
    if not np.array_equal(got, expected):
        raise BackendError(
            f"check_arithmetic: expected the {what} of the backend {module.NAME!r} to be "
            f"conventional, but got another result after scaling by powers of two"
        )


def _require_exact(got: Array, left: Any, right: Any, module: ModuleType, what: str) -> None:
    k = right.shape[0]
    exact = left @ right  # int64: |entries| <= k 2^54 < 2^63
    moduli = (np.abs(left) @ np.abs(right)).astype(np.float64)
    bound = np.floor(k * U * moduli) + 1.0  # error and bound are integers far below 2^53
    finite = bool(np.isfinite(got).all()) and float(np.abs(got).max()) < 2.0**62
    if not finite or bool((np.abs(got.astype(np.int64) - exact) > bound).any()):
        raise BackendError(
            f"check_arithmetic: expected the {what} of the backend {module.NAME!r} to obey "
            f"|error| <= k u |A||B|, but got larger errors on 27-bit integers"
        )


def check_factorisation(module: ModuleType) -> None:
    """Check that the Cholesky kernel refuses NaN, infinity and indefinite matrices.

    Raises:
        BackendError: one of them is accepted.
    """
    for layout in (np.ascontiguousarray, np.asfortranarray):  # two different codes inside LAPACK
        for n, i, j in ((3, 0, 1), (3, 2, 2), (80, 5, 70), (80, 79, 79)):
            for bad in (math.nan, math.inf, -1.0 if i == j else 4.0):
                matrix = layout(np.eye(n))
                matrix[i, j] = bad
                if module.cholesky_defect(matrix) < 0.5:
                    raise BackendError(
                        f"check_arithmetic: expected the backend {module.NAME!r} to refuse a "
                        f"matrix of order {n} with {bad!r} at [{i}, {j}], but got a factor"
                    )
        if not module.cholesky_defect(layout(np.eye(80))) < 1e-10:
            raise BackendError(
                f"check_arithmetic: expected the backend {module.NAME!r} to factorise the "
                f"identity, but got no factor"
            )

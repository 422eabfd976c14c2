"""State weights of equilibrium layers: stored tensors and the matrix W that they stand for.

Each class names its equation. Tensors are float64 arrays that hold the stored numbers exactly;
declared constants are exact rationals. What W is, as numbers with error bounds, is computed by
`verify_kernels.state_weight`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from fractions import Fraction
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class StateWeight:
    """Base of all parametrisations of W, shape (m, m)."""

    equation: ClassVar[str]
    origin: ClassVar[str] = ""

    @property
    def width(self) -> int:
        """m, the number of state coordinates."""
        raise NotImplementedError

    def tensors(self) -> Mapping[str, Array]:
        """The stored tensors by role."""
        named = ((item.name, getattr(self, item.name)) for item in fields(self))
        return {name: value for name, value in named if isinstance(value, np.ndarray)}

    def constants(self) -> Mapping[str, Fraction]:
        """The declared constants by name."""
        named = ((item.name, getattr(self, item.name)) for item in fields(self))
        return {name: value for name, value in named if isinstance(value, Fraction)}


@dataclass(frozen=True, eq=False)
class PlainWeight(StateWeight):
    """W itself, shape (m, m)."""

    equation: ClassVar[str] = "W as stored"
    W: Array

    @property
    def width(self) -> int:
        """M."""
        return len(self.W)


@dataclass(frozen=True, eq=False)
class MonotoneWeight(StateWeight):
    """W = (1 - m) I - A^T A + B - B^T with A (r, n), B (n, n) and declared margin m."""

    equation: ClassVar[str] = "W = (1 - m) I - A^T A + B - B^T"
    origin: ClassVar[str] = "monDEQ (Winston and Kolter 2020)"
    A: Array
    B: Array
    m: Fraction

    @property
    def width(self) -> int:
        """N."""
        return len(self.B)


@dataclass(frozen=True, eq=False)
class SoftplusMonotoneWeight(StateWeight):
    """W = (1 - m) I - A^T A + S - S^T, m = softplus(m_raw) + 1/10000, m_raw stored (shape (1,))."""

    equation: ClassVar[str] = "W = (1 - m) I - A^T A + S - S^T, m = softplus(m_raw) + 1/10000"
    origin: ClassVar[str] = "mondeq-quant"
    A: Array
    S: Array
    m_raw: Array

    @property
    def width(self) -> int:
        """N."""
        return len(self.S)


@dataclass(frozen=True, eq=False)
class NonEuclideanWeight(StateWeight):
    """W = D^-1 (A - diag(row sums of |A|) + m I) D, D = diag(exp d), A (n, n), d (n,)."""

    equation: ClassVar[str] = "W = D^-1 (A - diag(|A| 1) + m I) D, D = diag(exp d)"
    origin: ClassVar[str] = "NEMON (Jafarpour et al. 2021)"
    A: Array
    d: Array
    m: Fraction

    @property
    def width(self) -> int:
        """N."""
        return len(self.A)


@dataclass(frozen=True, eq=False)
class BoxMonotoneWeight(StateWeight):
    """W = L^-1 D^-1/2 M D^-1/2 L of the interval-bound-propagation monDEQ.

    d_i = (row sum + column sum of |M|)_i / (2 (1 - m)) + 1e-8 and
    L = diag((1 - 1/c) sigmoid(l) + 1/c), with M (n, n), l (n,) and declared m, c.
    """

    equation: ClassVar[str] = "W = L^-1 D^-1/2 M D^-1/2 L"
    origin: ClassVar[str] = "IBP-monDEQ (Wei and Kolter 2022)"
    M: Array
    l: Array  # noqa: E741 - the paper's letter
    m: Fraction
    c: Fraction

    @property
    def width(self) -> int:
        """N."""
        return len(self.M)


@dataclass(frozen=True, eq=False)
class RowScaledWeight(StateWeight):
    """W = A min(1, kappa / norm_inf(A)), A (n, n) stored raw, kappa declared."""

    equation: ClassVar[str] = "W = A min(1, kappa / ||A||_inf)"
    origin: ClassVar[str] = "torchidl"
    A: Array
    kappa: Fraction

    @property
    def width(self) -> int:
        """N."""
        return len(self.A)


@dataclass(frozen=True, eq=False)
class LowRankRowScaledWeight(StateWeight):
    """W = s(s(L) s(R^T)), s(X) = X min(1, kappa / norm_inf(X)), L and R (n, r), kappa declared.

    That code transposes R before it scales it, so R is scaled by its largest column sum.
    """

    equation: ClassVar[str] = "W = s(s(L) s(R^T)), s(X) = X min(1, kappa / ||X||_inf)"
    origin: ClassVar[str] = "torchidl, low rank"
    L: Array
    R: Array
    kappa: Fraction

    @property
    def width(self) -> int:
        """N."""
        return len(self.L)


@dataclass(frozen=True, eq=False)
class UpperTriangularWeight(StateWeight):
    """W = the strictly upper triangle of A, A (n, n)."""

    equation: ClassVar[str] = "W = strictly upper triangle of A"
    origin: ClassVar[str] = "torchidl, triangular"
    A: Array

    @property
    def width(self) -> int:
        """N."""
        return len(self.A)


@dataclass(frozen=True, eq=False)
class RowNormalisedWeight(StateWeight):
    """W_ij = g_i v_ij / norm_2(v_i), v (n, n), g (n,) or (n, 1)."""

    equation: ClassVar[str] = "W_i = g_i v_i / ||v_i||_2"
    origin: ClassVar[str] = "weight normalisation (pcDEQ, torchdeq)"
    v: Array
    g: Array

    @property
    def width(self) -> int:
        """N."""
        return len(self.v)


@dataclass(frozen=True, eq=False)
class ScaledGaussianWeight(StateWeight):
    """W = gamma / sqrt(m) A with A (m, m) and declared gamma: the setting of Gao et al."""

    equation: ClassVar[str] = "W = gamma / sqrt(m) A"
    origin: ClassVar[str] = "Gao, Liu, Liu, Rajan and Gao 2022"
    A: Array
    gamma: Fraction

    @property
    def width(self) -> int:
        """M."""
        return len(self.A)

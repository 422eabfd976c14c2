"""What is enclosed of an implicit ReLU network on data, and the network as its plain tensors."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from verify.enclosure import INF, Enclosure
from verify.errors import InputError
from verify.evidence import Evidence
from verify.network import Equilibrium, ReluFeatureInput, ScaledGaussianWeight
from verify.verdict import Truth
from verify_kernels._rounding import Array
from verify_kernels.equilibrium_residual import Modulus
from verify_kernels.forward import Inputs
from verify_kernels.matrix import MatrixEnclosure, as_matrix

TENSORS = ("A", "W", "u", "v")
WHERE = "enclose_implicit"


@dataclass(frozen=True, eq=False)
class ImplicitState:
    """The quantities of Theorem I at one set of parameters, for yhat = u^T z + v^T phi.

    Args:
        residual_norm: ||yhat - y||, the norm over all samples and outputs.
        residual_mid: middles of yhat - y, shape (n k,), the outputs of a sample together.
        residual_rad: their radii.
        s0: the n-th singular value of F0 = [Z; Phi], shape (2m, n); exactly 0 where F0 is proved
            to have a lower rank.
        norm_Z0: ||[z_1 .. z_n]||_2.
        norm_X: ||[x_1 .. x_n]||_2.
        norm_W: ||g A||_2.
        monotone_margin: mu0 = 1 - lambda_max(sym(g A)).
        well_posed: whether the equilibrium of every bias exists and is the only one.
        moduli: the proofs of that, as constants that bound distances by residuals.
        outputs: yhat, one row of k enclosures for each sample.
        equilibria: Z with rows z_i, shape (n, m).
        features: Phi with rows phi(x_i), shape (n, m).
        gradient_norms: Frobenius norms of the gradients of 1/2 ||yhat - y||^2 by "A" (stored, not
            multiplied by g), "W" (the weight of phi), "u" and "v"; unbounded where a kink is not
            excluded.
        gradient_norm: the norm of all of them together.
        balls: z_i and phi(x_i) as ``arb_mat`` of shape (n, m) in the ball tier, else None.
    """

    residual_norm: Evidence
    residual_mid: Array
    residual_rad: Array
    s0: Evidence
    norm_Z0: Evidence
    norm_X: Evidence
    norm_W: Evidence
    monotone_margin: Evidence
    well_posed: Evidence
    moduli: tuple[Modulus, ...]
    outputs: tuple[tuple[Enclosure, ...], ...]
    equilibria: MatrixEnclosure
    features: MatrixEnclosure
    gradient_norms: Mapping[str, Evidence]
    gradient_norm: Evidence
    balls: tuple[Any, Any] | None = None


@dataclass(frozen=True, eq=False)
class Task:
    """The tensors of the network, the samples values/divisor, and the targets, shape (n, k)."""

    A: Array
    gamma: Fraction
    W: Array
    u: Array
    v: Array
    values: Array
    divisor: Fraction
    targets: Array

    @property
    def m(self) -> int:
        """The width."""
        return len(self.A)

    @property
    def n(self) -> int:
        """The number of samples."""
        return len(self.values)


def read_task(network: Equilibrium, inputs: Inputs, targets: ArrayLike) -> Task:
    """Return the checked tensors.

    Raises:
        InputError: another network than that of Gao et al., or shapes that do not fit.
    """
    weight, given = network.weight, network.input
    if not isinstance(weight, ScaledGaussianWeight) or not isinstance(given, ReluFeatureInput):
        raise InputError(
            f"{WHERE}: expected weight gamma / sqrt(m) A and input relu(V x) / sqrt(m), "
            f"but got {type(weight).__name__} and {type(given).__name__}"
        )
    if network.activation.name != "relu":
        raise InputError(f"{WHERE}: expected activation relu, but got {str(network.activation)!r}")
    if not {"u", "v"} <= set(network.readout):
        raise InputError(
            f"{WHERE}: expected a readout with u and v, but got {sorted(network.readout)}"
        )
    inputs.require_some(WHERE)
    A = as_matrix(weight.A, where=f"{WHERE}, A", square=True)
    W = as_matrix(given.V, where=f"{WHERE}, V")
    values = as_matrix(inputs.values.reshape(inputs.count, -1), where=f"{WHERE}, X")
    y = as_matrix(_columns(targets), where=f"{WHERE}, targets")
    u = as_matrix(_columns(network.readout["u"]), where=f"{WHERE}, u")
    v = as_matrix(_columns(network.readout["v"]), where=f"{WHERE}, v")
    m, d, k = len(A), values.shape[1], y.shape[1]
    expected = {"V": (m, d), "u": (m, k), "v": (m, k), "targets": (len(values), k)}
    got = {"V": W.shape, "u": u.shape, "v": v.shape, "targets": y.shape}
    if 0 in (m, d, k) or got != expected:
        raise InputError(f"{WHERE}: expected shapes {expected} with m, d, k >= 1, but got {got}")
    return Task(A, Fraction(weight.gamma), W, u, v, values, Fraction(inputs.divisor), y)


def _columns(tensor: ArrayLike) -> Any:
    given = np.asarray(tensor)
    return given.reshape(-1, 1) if given.ndim == 1 else given


def unbounded(why: str, *, nonnegative: bool = True) -> Evidence:
    """Return the evidence of a quantity of which nothing is known but perhaps its sign."""
    value = Enclosure(0, INF) if nonnegative else Enclosure.unbounded()
    return Evidence(value, why_open=why)


def open_fact(why: str) -> Evidence:
    """Return an undecided fact."""
    return Evidence(Truth.UNDECIDED, why_open=why)

r"""The implicit ReLU network of Gao et al.: gradients by implicit differentiation.

Model of width m on inputs x in R^d with k outputs, trained in all of A, W, u, v:

    phi(x) = relu(W x) / sqrt(m),   z = relu(gamma / sqrt(m) A z + phi(x)),
    yhat   = u^T z + v^T phi(x),    L = 1/2 sum_i ||yhat_i - y_i||^2,

with entries of A (m, m), W (m, d), u (m, k), v (m, k) drawn from N(0, 1) and gamma fixed. The
numbers of this module are plain floating point: they train, they prove nothing. The one exception
is the displacement ||A - A(0)||_F, which is enclosed rigorously, because the argument that keeps
the network well posed along a run needs it (`implicit_relu_a_priori`).

Source: Gao, Liu, Liu, Rajan, Gao, *A global convergence theory for deep ReLU implicit networks via
over-parameterization* (ICLR 2022).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, fields
from fractions import Fraction

import numpy as np
from numpy.typing import NDArray

from verify.enclosure import Enclosure
from verify.errors import InputError
from verify.network import Activation, Equilibrium, ReluFeatureInput, ScaledGaussianWeight
from verify_kernels._rounding import U, down, mul_down, mul_up, norm_down, norm_up, up

Array = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Parameters:
    """A (m, m), W (m, d), u (m, k), v (m, k); also the shape of a gradient."""

    A: Array
    W: Array
    u: Array
    v: Array

    def moved(self, gradient: Parameters, step: float) -> Parameters:
        """Return the parameters after one step against the gradient."""
        new = (getattr(self, f.name) - step * getattr(gradient, f.name) for f in fields(self))
        return Parameters(*new)

    def network(self, gamma: Fraction) -> Equilibrium:
        """Return the network that a condition speaks about, with these very numbers."""
        return Equilibrium(
            weight=ScaledGaussianWeight(self.A, gamma),
            activation=Activation("relu"),
            input=ReluFeatureInput(self.W),
            readout={"u": self.u, "v": self.v},
        )


def initial_parameters(*, width: int, inputs: int, outputs: int, seed: int = 0) -> Parameters:
    """Draw every entry independently from N(0, 1)."""
    rng = np.random.default_rng(seed)
    shapes = ((width, width), (width, inputs), (width, outputs), (width, outputs))
    return Parameters(*(rng.standard_normal(shape) for shape in shapes))


@dataclass(frozen=True, eq=False)
class State:
    """Features, equilibria and adjoints of all samples, (n, m) each: the next step's warm start."""

    features: Array
    equilibria: Array
    adjoints: Array | None = None
    iterations: int = 0


def _fixed_point(
    step: Callable[[Array], Array], start: Array, tolerance: float
) -> tuple[Array, int]:
    """Iterate until no entry moves by more than ``tolerance``; plain floats, no proof.

    Raises:
        InputError: no convergence within 500 iterations (the weight has left the region q < 1).
    """
    moved = math.inf
    for iteration in range(1, 501):
        new = step(start)
        moved = float(np.max(np.abs(new - start), initial=0.0))
        start = new
        if moved <= tolerance:
            return start, iteration
    raise InputError(
        f"train_implicit_relu: expected the equilibrium iteration to settle within {tolerance!r}, "
        f"but got a last change of {moved!r} after 500 iterations; lower gamma or learning_rate"
    )


def forward(
    parameters: Parameters,
    X: Array,
    gamma: Fraction,
    *,
    start: Array | None = None,
    tolerance: float = 1e-9,
) -> tuple[Array, State]:
    """Return outputs (n, k) and the state of the network at inputs X (n, d)."""
    width = len(parameters.A)
    features = np.maximum(X @ parameters.W.T, 0.0) / math.sqrt(width)
    weight = (float(gamma) / math.sqrt(width)) * parameters.A.T
    equilibria, iterations = _fixed_point(
        lambda z: np.maximum(z @ weight + features, 0.0),
        features if start is None else start,
        tolerance,
    )
    outputs = equilibria @ parameters.u + features @ parameters.v
    return outputs, State(features, equilibria, iterations=iterations)


def loss_and_gradient(
    parameters: Parameters,
    X: Array,
    targets: Array,
    gamma: Fraction,
    *,
    warm: State | None = None,
    tolerance: float = 1e-9,
) -> tuple[float, Parameters, State]:
    r"""Return L, its gradient by implicit differentiation, and the state for a warm start.

    With g = gamma / sqrt(m), D_i = diag(1[z_i > 0]), E_i = diag(1[phi_i > 0]), r = yhat - y: the
    adjoint p_i = u r_i + g A^T D_i p_i is found by fixed-point iteration, q_i = D_i p_i, and

        dL/du = sum z_i r_i^T,              dL/dv = sum phi_i r_i^T,
        dL/dA = g sum q_i z_i^T,            dL/dW = sum E_i (v r_i + q_i) x_i^T / sqrt(m).

    Args:
        parameters: the point.
        X: inputs (n, d).
        targets: y (n, k).
        gamma: the fixed scalar.
        warm: the state of a nearby point; changes the iteration count, not the limit.
        tolerance: largest last change of an iteration; the error is at most q / (1 - q) times it.
    """
    width = len(parameters.A)
    outputs, state = forward(
        parameters, X, gamma, start=None if warm is None else warm.equilibria, tolerance=tolerance
    )
    residual = outputs - targets
    scale = float(gamma) / math.sqrt(width)
    active = (state.equilibria > 0.0).astype(np.float64)
    pulled = residual @ parameters.u.T
    weight = scale * parameters.A
    adjoints, iterations = _fixed_point(
        lambda p: pulled + (active * p) @ weight,
        pulled if warm is None or warm.adjoints is None else warm.adjoints,
        tolerance,
    )
    q = active * adjoints
    through = (state.features > 0.0) * (residual @ parameters.v.T + q)
    gradient = Parameters(
        A=scale * (q.T @ state.equilibria),
        W=(through.T @ X) / math.sqrt(width),
        u=state.equilibria.T @ residual,
        v=state.features.T @ residual,
    )
    loss = 0.5 * float(np.sum(residual * residual))
    total = state.iterations + iterations
    return loss, gradient, State(state.features, state.equilibria, adjoints, total)


def enclose_displacement(now: Array, then: Array) -> Enclosure:
    """Enclose ||now - then||_F of two float64 matrices.

    Error bound: one rounding a difference, fl(a - b) = (a - b)(1 + e) with |e| <= u (a difference
    of binary64 numbers does not underflow inexactly), so with D = fl(now - then)
    ||D||_F / (1 + u) <= ||now - then||_F <= ||D||_F / (1 - u); here 1 / (1 + u) >= 1 - u and
    1 / (1 - u) <= 1 + 2 u. The norm of D is bounded for any summation order by `norm_up` and
    `norm_down`. An overflow gives +inf above and 0 below.
    """
    with np.errstate(over="ignore"):
        difference = now - then
        if not difference.any():  # with gradual underflow a - b rounds to 0 only if a = b
            return Enclosure.exact(0)
        return Enclosure(
            mul_down(norm_down(difference), down(1.0 - U)),
            mul_up(norm_up(difference), up(1.0 + 2.0 * U)),
        )

"""The quantities of convergence for implicit ReLU networks (the network of Gao et al.)."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import ArrayLike

from verify.errors import InputError
from verify.network import Equilibrium
from verify_kernels.forward import Inputs
from verify_kernels.implicit_relu.balls import refine
from verify_kernels.implicit_relu.floats import enclose_float_state, open_state
from verify_kernels.implicit_relu.state import ImplicitState, Task, read_task, unbounded
from verify_kernels.matrix import MatrixEnclosure


def enclose_implicit(
    network: Equilibrium,
    inputs: Inputs,
    targets: ArrayLike,
    *,
    precise: bool = False,
    deadline: float = math.inf,
) -> ImplicitState:
    """Enclose the equilibria, the residual, s0 and the gradients of an implicit ReLU network.

    z = relu(g A z + phi), phi = relu(W x)/sqrt(m), g = gamma/sqrt(m), yhat = u^T z + v^T phi.
    The equilibrium is proved to be unique by ||g A|| < 1, lambda_max(sym(g A)) < 1 or
    rho(|g A|) < 1; each is a constant that turns the residual of an approximation into a distance.

    The features F = [Z; Phi] are Lipschitz in the parameters. Subtract the two equations: with
    the matrix D in [0, 1] of secant slopes of relu,
    z - z0 = D (g A (z - z0) + g (A - A0) z0 + phi - phi0). Hence with
    c = g (A - A0) z0 + phi - phi0

    * ||z - z0|| <= ||c||/(1 - q) for q = ||g A|| < 1, and
    * ||z - z0|| <= ||c||/mu for mu = 1 - lambda_max(sym(g A)) > 0: for x = z - z0 = D y,
      y = g A x + c, ||x||^2 <= x.y <= (1 - mu) ||x||^2 + ||x|| ||c||.

    Over all samples ||C||_F <= g ||A - A0||_F ||Z0||_2 + ||Phi - Phi0||_F, and on the ball of
    radius R about theta0 q <= g (||A0|| + R), mu >= mu0 - g R: so
    ||Z - Z0||_F <= (g ||A - A0||_F ||Z0|| + ||Phi - Phi0||_F)/(1 - q), or with mu0 - g R in place
    of 1 - q, and ||Phi - Phi0||_F <= ||W - W0||_F ||X||/sqrt(m).

    Args:
        network: weight gamma/sqrt(m) A, input relu(V x)/sqrt(m), activation relu, readout u and v
            of shape (m,) or (m, k).
        inputs: X/divisor.
        targets: y of shape (n,) or (n, k), exact.
        precise: ball arithmetic of growing precision, for small networks.
        deadline: a moment of ``time.monotonic()`` after which nothing is refined.

    Returns:
        The state. Where the equilibrium is not proved to be unique all that depends on it is
        unbounded; where a kink is not excluded, the gradients by A and W.

    Error bound:
        products: gamma_k |a||b| + tau_k and the radii of the factors. Z: ||rho||/(1 - q), or
        ||rho|| + ||g A rho||/mu0, rho the residual of an approximation. s0 and ||Z0|| move by at
        most the Frobenius norm of the radii (Weyl).

    Raises:
        InputError: another network, or shapes that do not fit. BackendError: the machine does not
            compute as assumed.

    Source:
        Gao, Liu, Liu, Rajan and Gao, A global convergence theory for deep ReLU implicit networks
        via over-parameterization (2022), for the network; the bounds are proved here.
    """
    task = read_task(network, inputs, targets)
    try:
        state = enclose_float_state(task, deadline)
    except InputError:  # the shapes are right: a number left the range of binary64
        state = _out_of_range(task)
    return refine(task, state, deadline) if precise else state


def _out_of_range(task: Task) -> ImplicitState:
    why = "numbers leave the range of binary64"
    nothing = MatrixEnclosure(np.zeros((task.n, task.m)), np.full((task.n, task.m), np.inf))
    return open_state(
        task, nothing, unbounded(why), unbounded(why, nonnegative=False), unbounded(why), why
    )

r"""h of Theorem I in plain floats, to see where a certificate is worth asking for.

With F = [Z; Phi], s0 its n-th singular value, g = gamma / sqrt(m) and a ball of radius R,

    b = sqrt((g^2 ||Z||^2 + ||X||^2/m) / gap^2 + ||X||^2/m),   h = b ||r|| / s0^2,

gap = 1 - g (||A|| + R) or 1 - lambda_max(sym(g A)) - g R; Theorem I needs h < 1/2 and
l* = 2 ||r|| / (s0 (1 + sqrt(1 - 2h))) <= R. An estimate proves nothing; `enclosed_h` does.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from fractions import Fraction

import numpy as np

from verify.decide import evaluate
from verify.enclosure import INF, Enclosure
from verify_conditions.convergence import formulas as fm
from verify_conditions.convergence import quantities as qt
from verify_conditions.convergence.implicit_tasks import Task
from verify_conditions.implicit_relu_training import Parameters, forward
from verify_kernels.forward import Inputs
from verify_kernels.implicit_relu import enclose_implicit

_FACTORS = (1.0005, 1.005, 1.02, 1.05, 1.1, 1.2, 1.35, 1.6, 2.0, 3.0)
"""Radii tried, in units of ||r|| / s0, which is less than every l*."""


@dataclass(frozen=True)
class Estimate:
    """The smaller h of both versions; plain floats.

    Args:
        h: the least over the radii tried, inf where no ball is well posed.
        radius: where Theorem I would hold, else where h is least.
        fires: whether h < 1/2 and l* <= radius there, with a margin of two percent in h.
    """

    h: float
    radius: float
    fires: bool


def estimate(task: Task, parameters: Parameters, gamma: Fraction) -> Estimate:
    """Estimate h of Theorem I by a singular value decomposition in plain floats."""
    by_norm = _estimate(task, parameters, gamma, monotone=False)
    monotone = _estimate(task, parameters, gamma, monotone=True)
    return min(by_norm, monotone, key=lambda found: (not found.fires, found.h))


def _estimate(task: Task, parameters: Parameters, gamma: Fraction, *, monotone: bool) -> Estimate:
    m = len(parameters.A)
    g = float(gamma) / math.sqrt(m)
    outputs, state = forward(parameters, task.X, gamma, tolerance=1e-13)
    residual = float(np.linalg.norm(outputs[:, 0] - task.y))
    features = np.hstack([state.equilibria, state.features])
    smallest = float(np.linalg.svd(features, compute_uv=False)[-1])
    if not smallest > 0.0 or len(features) > features.shape[1]:
        return Estimate(math.inf, math.nan, False)
    inputs = float(np.linalg.norm(task.X, 2)) / math.sqrt(m)
    inner = math.hypot(g * float(np.linalg.norm(state.equilibria, 2)), inputs)
    found = Estimate(math.inf, residual / smallest, False)
    room = 1.0 - g * _slope(parameters, monotone)
    for factor in _FACTORS:
        radius = factor * residual / smallest
        gap = room - g * radius
        b = math.hypot(inner / gap, inputs) if gap > 0.0 else math.inf
        h = b * residual / smallest**2
        if h < 0.49:
            length = 2.0 * residual / (smallest * (1.0 + math.sqrt(1.0 - 2.0 * h)))
            if length <= radius:
                return Estimate(h, radius, True)
        if h < found.h:
            found = Estimate(h, radius, False)
    return found


def _slope(parameters: Parameters, monotone: bool) -> float:
    A = parameters.A
    if monotone:
        return float(np.linalg.eigvalsh(0.5 * (A + A.T))[-1])
    return float(np.linalg.norm(A, 2))


def enclosed_h(task: Task, parameters: Parameters, gamma: Fraction) -> Enclosure:
    """Enclose h of the version with the norm of A, at the radius where its estimate is least.

    Returns:
        h of Theorem I at that radius, rigorously; [0, inf) where the ball is not proved well posed
        or s0 not proved positive.
    """
    proposed = _estimate(task, parameters, gamma, monotone=False).radius
    if not math.isfinite(proposed):
        return Enclosure(0, INF)
    radius = Fraction(proposed)
    network = parameters.network(gamma)
    state = enclose_implicit(network, Inputs.of(task.X, (task.X.shape[1],)), task.y)
    known = {
        qt.RESIDUAL.symbol: state.residual_norm.enclosure(),
        qt.S0_IMPLICIT.symbol: state.s0.enclosure(),
        qt.NORM_W.symbol: state.norm_W.enclosure(),
        qt.NORM_Z.symbol: state.norm_Z0.enclosure(),
        qt.NORM_X.symbol: state.norm_X.enclosure(),
        qt.WIDTH.symbol: Enclosure.exact(network.width),
        qt.GAMMA.symbol: Enclosure.outward(gamma, gamma),
        qt.RADIUS.symbol: Enclosure.outward(radius, radius),
    }
    gap = 1 - fm.Q
    if not evaluate(gap, {symbol: known[symbol] for symbol in gap.free_symbols}).lo > 0:
        return Enclosure(0, INF)
    h = fm.h(qt.RESIDUAL.symbol, qt.S0_IMPLICIT.symbol, fm.B_NORM)
    return evaluate(h, {symbol: known[symbol] for symbol in h.free_symbols})

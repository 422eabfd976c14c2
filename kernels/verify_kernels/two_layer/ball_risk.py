"""The regularised risk of a two-layer network and its derivatives in ball arithmetic.

Inputs are exact numbers (floats, integers, fractions) or balls; every result is a ball of
python-flint that contains the exact value, at any precision.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from fractions import Fraction
from functools import cached_property
from typing import Any, Literal

import numpy as np
from flint import arb, arb_mat

from verify.errors import InputError
from verify.network.activation import Activation
from verify_kernels.activation_analysis.jet import jet
from verify_kernels.two_layer import formulas
from verify_kernels.two_layer.balls import Ball, ball, balls_product, precision
from verify_kernels.two_layer.formulas import Local, Rows, Setting, Weights

LossName = Literal["squared", "logistic"]


@dataclass(frozen=True, eq=False)
class Problem:
    """Data, loss and penalties: f = c' (1/n) sum_i l_i + sum (penalty / 2) ||role||^2.

    Args:
        X: inputs, shape (n, d); y: labels, shape (n,), +-1 for the logistic loss. Arrays or
            nested lists of exact numbers or balls.
        activation: sigma.
        penalties: trained role ("W", "b", "a", "c") to its penalty; 0 is trained without one.
            Roles that are not trained are absent.
        loss: l_i(u) = (u - y_i)^2 / 2, or log(1 + exp(-y_i u)).
        loss_scale: c'.
    """

    X: Any
    y: Any
    activation: Activation
    penalties: Mapping[str, Fraction | float | int]
    loss: LossName = "squared"
    loss_scale: Fraction | int = 1


@dataclass(frozen=True, eq=False)
class Point:
    """Weights at which the risk is evaluated: W (p, d), a (p,), b (p,) or None, c or None."""

    W: Any
    a: Any
    b: Any = None
    c: Any = None


def evaluate(problem: Problem, point: Point, *, bits: int = 256) -> BallRisk:
    """Evaluate the risk at a point.

    Args:
        problem: data, loss, penalties.
        point: the weights; every trained role must be there.
        bits: working precision; balls widen with cancellation, more bits narrow them.

    Returns:
        The value at once, derivatives when asked for.

    Raises:
        InputError: shapes that do not fit, no data, a trained role without weights, a number
            that is not finite, a label other than +-1 for the logistic loss.
    """
    with precision(bits):
        X, at = _checked(problem, point)
        y = _vector(problem.y, "y")
        if len(y) != len(X):
            raise InputError(f"evaluate: expected {len(X)} labels, but got {len(y)}")
        rho = ball(problem.loss_scale) / len(X)
        penalties = {
            role: ball(problem.penalties[role])
            for role in formulas.ROLES
            if role in problem.penalties
        }
        setting = Setting(X, rho, penalties, balls_product)
        s0, s1, s2 = _activations(problem.activation, setting, at)
        u = formulas.outputs(s0, at)
        losses = [_loss(problem.loss, *pair) for pair in zip(u, y, strict=True)]
        l0, l1, l2 = ([row[k] for row in losses] for k in range(3))
        return BallRisk(setting, at, Local(s0, s1, s2, l0, l1, l2), tuple(u), bits)


@dataclass(frozen=True, eq=False)
class BallRisk:
    """The risk at one point; see `evaluate`."""

    setting: Setting
    at: Weights
    local: Local
    outputs: tuple[Ball, ...]
    bits: int = field(default=256)

    @cached_property
    def value(self) -> Ball:
        """Return f."""
        with precision(self.bits):
            return formulas.value(self.setting, self.at, self.local)

    @cached_property
    def gradient(self) -> dict[str, Any]:
        """Return the gradient by trained role: rows for W, lists for b and a, a ball for c."""
        with precision(self.bits):
            return formulas.gradient(self.setting, self.at, self.local)

    @cached_property
    def laplacian(self) -> Ball:
        """Return the sum of the second derivatives over all trained parameters."""
        with precision(self.bits):
            return formulas.laplacian(self.setting, self.at, self.local)

    @cached_property
    def gradient_norm_squared(self) -> Ball:
        """Return ||grad f||^2 over all trained parameters."""
        with precision(self.bits):
            return sum((g * g for g in self.flat_gradient()), arb(0))

    @cached_property
    def gradient_dot_weights(self) -> Ball:
        """Return <grad f, theta> over all trained parameters theta."""
        with precision(self.bits):
            weights = [w for role in self.setting.penalties for w in self.at.role(role)]
            pairs = zip(self.flat_gradient(), weights, strict=True)
            return sum((g * w for g, w in pairs), arb(0))

    def squared_norm(self, role: str) -> Ball:
        """Return ||role||^2 of the weights."""
        with precision(self.bits):
            return sum((w * w for w in self.at.role(role)), arb(0))

    def v(self, s: Fraction | float | int) -> Ball:
        """Return V_s = ||grad f||^2 / s - Laplacian."""
        with precision(self.bits):
            return self.gradient_norm_squared / ball(s) - self.laplacian

    def second_derivative(self, direction: Point) -> Ball:
        """Return D^2 f[v, v]; the roles of the direction that are not trained do not matter."""
        with precision(self.bits):
            roles = self.setting.penalties
            p, d = len(self.at.a), len(self.setting.X[0])
            v = Weights(
                _matrix(direction.W, "W"),
                _vector(direction.a, "a") if "a" in roles else [arb(0)] * p,
                _vector(direction.b, "b") if "b" in roles else None,
                ball(direction.c) if "c" in roles else None,
            )
            _require_shapes(v, p, d)
            return formulas.second_derivative(self.setting, self.at, self.local, v)

    def hessian(self) -> Any:
        """Return the full Hessian as ``arb_mat``: W row by row, b, a, c, as far as trained."""
        with precision(self.bits):
            return arb_mat(formulas.hessian(self.setting, self.at, self.local))

    def flat_gradient(self) -> list[Ball]:
        """Return the gradient as one list, in the order of the rows of `hessian`."""
        flat: list[Ball] = []
        for role, part in self.gradient.items():
            if role == "W":
                flat += [g for row in part for g in row]
            else:
                flat += [part] if role == "c" else list(part)
        return flat


def _vector(values: Any, name: str) -> list[Ball]:
    if values is None or np.ndim(values) == 0:
        raise InputError(f"ball_risk: expected a vector {name}, but got {values!r}")
    return [ball(value) for value in values]


def _matrix(values: Any, name: str) -> list[list[Ball]]:
    rows = [_vector(row, name) for row in values]
    if not rows or len({len(row) for row in rows}) != 1 or not rows[0]:
        raise InputError(
            f"ball_risk: expected a matrix {name} that is not empty, but got {values!r}"
        )
    return rows


def _checked(problem: Problem, point: Point) -> tuple[list[list[Ball]], Weights]:
    unknown = set(problem.penalties) - set(formulas.ROLES)
    if unknown or "W" not in problem.penalties:
        raise InputError(
            f"ball_risk: expected penalties of 'W' and perhaps of b, a, c, "
            f"but got {sorted(problem.penalties)}"
        )
    if problem.loss not in ("squared", "logistic"):
        raise InputError(f"ball_risk: expected squared or logistic, but got {problem.loss!r}")
    for role in problem.penalties:
        if getattr(point, role) is None:
            raise InputError(f"ball_risk: expected weights of the trained {role!r}, but got None")
    X = _matrix(problem.X, "X")
    at = Weights(
        _matrix(point.W, "W"),
        _vector(point.a, "a"),
        None if point.b is None else _vector(point.b, "b"),
        None if point.c is None else ball(np.asarray(point.c, dtype=object).reshape(-1)[0]),
    )
    _require_shapes(at, len(at.W), len(X[0]))
    return X, at


def _require_shapes(at: Weights, p: int, d: int) -> None:
    lengths = (len(at.W), len(at.W[0]), len(at.a), p if at.b is None else len(at.b))
    if lengths != (p, d, p, p):
        raise InputError(
            f"ball_risk: expected W ({p}, {d}), a ({p},) and b ({p},), but got lengths {lengths}"
        )


def _activations(activation: Activation, setting: Setting, at: Weights) -> tuple[Rows, Rows, Rows]:
    """Return s, s', s'' at the pre-activations.

    Where dz_ij = 0 for every trained parameter (a zero input without a trained bias) the
    derivatives do not enter, and are taken as 0 even where they do not exist.
    """
    s0: list[list[Ball]] = []
    s1: list[list[Ball]] = []
    s2: list[list[Ball]] = []
    for row, reach in zip(formulas.preactivations(setting, at), setting.reach, strict=True):
        jets = [jet(activation, z, 2) for z in row]
        s0.append([found[0] for found in jets])
        still = reach == 0
        s1.append([arb(0) if still else found[1] for found in jets])
        s2.append([arb(0) if still else found[2] for found in jets])
    return s0, s1, s2


def _loss(name: LossName, u: Ball, y: Ball) -> tuple[Ball, Ball, Ball]:
    """Return l, l', l'' at u."""
    if name == "squared":
        r = u - y
        return r * r / 2, r, arb(1)
    if not (y == 1 or y == -1):
        raise InputError(f"ball_risk: expected labels +1 and -1, but got {y!r}")
    t = y * u
    # all three are monotone in t, or in |t|: their values at the ends enclose them
    falling = _log_one_plus_exp(-t.lower()).union(_log_one_plus_exp(-t.upper()))
    p = _sigmoid(-t.upper()).union(_sigmoid(-t.lower()))
    return falling, -y * p, _bell(t)


def _log_one_plus_exp(t: Ball) -> Ball:
    return t + (-t).exp().log1p() if t > 0 else t.exp().log1p()


def _sigmoid(t: Ball) -> Ball:
    return 1 / (1 + (-t).exp()) if t > 0 else t.exp() / (1 + t.exp())


def _bell(t: Ball) -> Ball:
    """S (1 - s) = sech^2(t / 2) / 4, even and falling in |t|."""
    near, far = t.abs_lower(), t.abs_upper()
    return ((near / 2).sech() ** 2 / 4).union((far / 2).sech() ** 2 / 4)

"""The gradient inequalities: every hypothesis, written once, as SymPy.

Proofs are in `docs/gradient_inequality.md`, each under the heading that a statement names.
"""

from __future__ import annotations

import sympy as sp

from verify.statement import Direction, Fact, Quantity, Scope, Source, Statement
from verify_conditions.gradient_inequality import quantities as q

HERE = "at these weights ||grad L||^2 >= c L with a constant c > 0 that serves every target y (PL)"
BALL = (
    "||grad L||^2 >= c L with one constant c > 0 at all weights in the ball, for every target (PL)"
)
TRAJECTORY = (
    "at these weights and at every stored checkpoint of the run ||grad L||^2 >= c L with one "
    "constant c > 0 that serves every target (PL)"
)
POINT = (
    "at these weights ||grad L|| >= kappa L^alpha, with the declared kappa or else with some "
    "kappa > 0 (Lojasiewicz)"
)
POINTS = (
    "at these weights and at every stored checkpoint ||grad L|| >= kappa L^alpha, with the "
    "declared kappa or else with some kappa > 0 (Lojasiewicz)"
)

About = tuple[Quantity | Fact, ...]


def _of(
    hypothesis: sp.Basic,
    about: About,
    where: str,
    conclusion: str,
    scope: Scope,
    direction: Direction = "sufficient",
) -> Statement:
    source = Source("gradient_inequality.md", where)
    return Statement(hypothesis, about, conclusion, direction, source, scope)


_KERNEL = "The tangent kernel"
_LAST = "The last layer"
_ON_BALL = "On a ball"

TANGENT = _of(q.LAMBDA.symbol > 0, (q.LAMBDA,), _KERNEL, HERE, "point", "equivalent")
LAST_LAYER = _of(
    sp.And(q.LAST_TRAINED.symbol, q.S0.symbol > 0), (q.LAST_TRAINED, q.S0), _LAST, HERE, "point"
)

BALL_TANGENT = _of(
    q.SIGMA.symbol > q.BETA.symbol * q.RADIUS.symbol, (q.SIGMA, q.BETA, q.RADIUS), _ON_BALL, BALL,
    "ball",
)  # fmt: skip
BALL_PATTERN = _of(
    sp.And(q.RADIUS.symbol < q.R_PATTERN.symbol, q.SIGMA.symbol > q.BETA.symbol * q.RADIUS.symbol),
    (q.RADIUS, q.R_PATTERN, q.SIGMA, q.BETA), _ON_BALL, BALL, "ball",
)  # fmt: skip
BALL_LAST = _of(
    sp.And(q.LAST_TRAINED.symbol, q.S0.symbol > q.B.symbol * q.RADIUS.symbol),
    (q.LAST_TRAINED, q.S0, q.B, q.RADIUS), _ON_BALL, BALL, "ball",
)  # fmt: skip

RUN = _of(
    q.LAMBDA_RUN.symbol > 0, (q.LAMBDA_RUN,), _KERNEL, TRAJECTORY, "stored trajectory",
    "equivalent",
)  # fmt: skip

_L, _G = q.LOSS.symbol, q.GRADIENT.symbol
_WHERE = "At one point"
NOT_STATIONARY = _of(_G > 0, (q.GRADIENT,), _WHERE, POINT, "point")
ZERO_LOSS = _of(_L <= 0, (q.LOSS,), _WHERE, POINT, "point")
SOME_KAPPA = _of(sp.Or(_L <= 0, _G > 0), (q.LOSS, q.GRADIENT), _WHERE, POINT, "point", "necessary")
DECLARED_KAPPA = _of(
    q.KAPPA.symbol * _L**q.EXPONENT.symbol <= _G, (q.GRADIENT, q.KAPPA, q.LOSS, q.EXPONENT),
    _WHERE, POINT, "point", "equivalent",
)  # fmt: skip
EVERY_POINT = _of(
    q.EVERYWHERE.symbol, (q.EVERYWHERE,), _WHERE, POINTS, "stored trajectory", "equivalent"
)

"""The numbers of the theorems, each written once as a SymPy formula.

The decision, the LaTeX and the consequences all derive from these.
"""

from __future__ import annotations

import sympy as sp

from verify_conditions.convergence import quantities as q

r, R, s = q.RESIDUAL.symbol, q.RADIUS.symbol, q.SCALE.symbol
sigma, beta, J = q.SIGMA.symbol, q.BETA.symbol, q.NORM_J.symbol
eta, Y = q.STEP.symbol, q.NEWTON.symbol
m, gamma = q.WIDTH.symbol, q.GAMMA.symbol


def h(residual: sp.Expr, smallest: sp.Expr, lipschitz: sp.Expr) -> sp.Expr:
    """H = beta |r| / sigma^2: the theorems need it below 1/2."""
    return lipschitz * residual / smallest**2


def length(residual: sp.Expr, smallest: sp.Expr, lipschitz: sp.Expr) -> sp.Expr:
    """l* = (sigma/beta)(1 - sqrt(1 - 2h)) without the cancellation, and for beta = 0."""
    root = sp.sqrt(1 - 2 * h(residual, smallest, lipschitz))
    return 2 * residual / (smallest * (1 + root))


def rate(residual: sp.Expr, smallest: sp.Expr, lipschitz: sp.Expr) -> sp.Expr:
    """|r(t)| <= exp(-rate t) |r(0)| along the flow of s/2 |r|^2."""
    return s * smallest**2 * (1 - 2 * h(residual, smallest, lipschitz))


def threshold(smallest: sp.Expr, lipschitz: sp.Expr) -> sp.Expr:
    """The residual norm at which h would be 1/2."""
    return smallest**2 / (2 * lipschitz)


# Gradient descent with step eta --------------------------------------------------------------

LAMBDA = (J + beta * R) ** 2  # >= |J|^2 on the ball
SLOPE = (1 - s * eta * LAMBDA / 2) * sigma
GAIN = SLOPE**2 - 2 * beta * r
DESCENT_LENGTH = 2 * r / (SLOPE + sp.sqrt(GAIN))
CONTRACTION = 1 - s * eta * GAIN

# Newton and Kantorovich ----------------------------------------------------------------------

NEWTON_H = Y * beta / sigma
NEWTON_DISTANCE = 2 * Y / (1 + sp.sqrt(1 - 2 * NEWTON_H))

# The implicit network: b of the features [Z; Phi] on the ball ---------------------------------

MOVED = sp.Abs(gamma) * R / sp.sqrt(m)  # bound of |gamma/sqrt(m) (A - A0)| on the ball
Q = q.NORM_W.symbol + MOVED  # bound of |gamma/sqrt(m) A| there
MU = q.MARGIN.symbol - MOVED  # bound of the monotone margin there


def implicit_b(gap: sp.Expr) -> sp.Expr:
    """The Lipschitz constant b where 1/gap is one of the map from the bias to the equilibrium."""
    inner = (gamma**2 * q.NORM_Z.symbol**2 + q.NORM_X.symbol**2) / m
    return sp.sqrt(inner / gap**2 + q.NORM_X.symbol**2 / m)


B_NORM = implicit_b(1 - Q)
B_MONOTONE = implicit_b(MU)

"""The constants of the inequalities, each written once as a SymPy formula."""

from __future__ import annotations

from verify_conditions.gradient_inequality import quantities as q

_s, _R = q.SCALE.symbol, q.RADIUS.symbol

# grad L = s J^T r and L = s/2 |r|^2, so |grad L|^2 >= s^2 lambda_min |r|^2 = 2 s lambda_min L.
PL = 2 * _s * q.LAMBDA.symbol
PL_RUN = 2 * _s * q.LAMBDA_RUN.symbol

# By the last layer's part of the gradient alone.
PL_LAST = 2 * _s * q.S0.symbol**2

# On the ball singular values move by at most beta R (Weyl).
PL_BALL = 2 * _s * (q.SIGMA.symbol - q.BETA.symbol * _R) ** 2
PL_BALL_LAST = 2 * _s * (q.S0.symbol - q.B.symbol * _R) ** 2

RATIO = q.GRADIENT.symbol / q.LOSS.symbol**q.EXPONENT.symbol

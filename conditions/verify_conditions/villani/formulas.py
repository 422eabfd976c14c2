"""The numbers of the Villani theorems as SymPy formulas; proofs are in `docs/villani.md`.

Each formula is written once: the decision, the number, its LaTeX and its text derive from it.
"""

from __future__ import annotations

import sympy as sp

from verify_conditions.villani import quantities as q

_c, _lam = q.LOSS_SCALE.symbol, q.LAMBDA.symbol
_S1, _S2, _s, _M = q.S1.symbol, q.S2.symbol, q.S.symbol, q.LEVEL.symbol
_a1, _a2, _ainf = q.A_1.symbol, q.A_2.symbol, q.A_INF.symbol
_trace, _top = q.PENALTY_TRACE.symbol, q.LAMBDA_TOP.symbol
_Lambda, _x2 = q.SECOND_MOMENT.symbol, q.MEAN_X2.symbol
_D = q.DIMENSION.symbol

# Threshold of the route for linear growth.
LAMBDA_V = _c * sp.Min(q.L0.symbol * q.L1.symbol, q.KAPPA1.symbol**2 / 4) * _a2**2 * _Lambda

# Squares, bounded activation. Data part: norm of its gradient <= G, itself <= g_bar.
G_SQUARES = _c * _S1 * _a2 * sp.Min(q.MEAN_RX.symbol, sp.sqrt(q.MEAN_R2.symbol * _Lambda))
G_BAR = _c * q.MEAN_R2.symbol / 2
D_BAR_SQUARES = _trace + _c * (_S1**2 * _a2**2 * _x2 + _S2 * _a1 * q.MEAN_RX2.symbol)
LIPSCHITZ_SQUARES = _top + _c * q.MOMENT_LIPSCHITZ.symbol
CONVEX_FROM_SQUARES = _c * _S2 * _ainf * q.MOMENT_RESIDUAL.symbol

# Logistic loss, any activation with bounded sigma' and sigma''.
G_LOGISTIC = _c * _S1 * _a2 * q.MEAN_X.symbol
D_BAR_LOGISTIC = _trace + _c * _x2 * (_S1**2 * _a2**2 / 4 + _S2 * _a1)
LIPSCHITZ_LOGISTIC = _top + _c * _Lambda * (_S1**2 * _a2**2 / 4 + _S2 * _ainf)
CONVEX_FROM_LOGISTIC = _c * _S2 * _ainf * _Lambda

# Squares, kappa bounded: <grad f, W> >= lambda ||W||^2 - b, Laplacian f <= A + B ||W||.
DRIFT_B = _c * q.MEAN_RAISED2.symbol / 4
DRIFT_B_SHARP = _c * q.MEAN_SHIFT2.symbol / 4  # with the sign of kappa
LAPLACIAN_A = _trace + _c * (
    _S1**2 * _a2**2 * _x2
    + _S2 * _a1 * (q.MEAN_YX2.symbol + q.SIGMA0.symbol * _a1 * _x2)
)  # fmt: skip
LAPLACIAN_B = _c * _S1 * _S2 * _a1 * _a2 * q.MEAN_X3.symbol


def radius_bounded(G: sp.Expr, D_bar: sp.Expr) -> sp.Expr:
    """Return R with V_s >= M wherever ||W|| >= R: route V1, ||grad f|| >= lambda ||W|| - G."""
    return (G + sp.sqrt(_s * sp.Max(0, D_bar + _M))) / _lam


def radius_homogeneous(b: sp.Expr) -> sp.Expr:
    """Return R of route V2: the positive root of lambda^2 R^2 - s B R - s (M + A) - 2 lambda b."""
    inside = _s**2 * LAPLACIAN_B**2 + 4 * _lam**2 * _s * sp.Max(
        0, _M + LAPLACIAN_A + 2 * _lam * b / _s
    )
    return (_s * LAPLACIAN_B + sp.sqrt(inside)) / (2 * _lam**2)


# Rates of the Langevin diffusion dX = -grad f dt + sqrt(s) dB.
RATE_HOLLEY_STROOCK = _lam * sp.exp(-2 * G_BAR / _s)


def excess_risk(drift: sp.Expr, b: sp.Expr, lipschitz: sp.Expr) -> sp.Expr:
    """Return the bound of E f - min f under the Gibbs law if <grad f, W> >= drift ||W||^2 - b."""
    return _s * _D / 4 * sp.log(sp.E * lipschitz / drift * (2 * b / (_s * _D) + 1))


def settling_time(rate: sp.Expr, D_bar: sp.Expr) -> sp.Expr:
    """Return t after which E f(X_t) is within epsilon of the mean of f under the Gibbs law.

    For the Gaussian initial law N(0, tau^2 I): |difference| <= sqrt(Var f) chi exp(-rate t),
    Var f <= s^2 D_bar / (4 rate), 1 + chi^2 <= exp(2 g_bar/s) (4 q (1 - q))^(-D/2), q = lambda
    tau^2 / s.
    """
    share = _lam * q.TAU.symbol**2 / _s
    log_variance = sp.log(_s**2 * D_bar / (4 * rate)) / 2
    log_chi = G_BAR / _s - _D / 4 * sp.log(4 * share * (1 - share))
    return sp.Max(0, log_variance + log_chi - sp.log(q.EPSILON.symbol)) / rate


# The threshold that is recalled of the paper; no verdict rests on it.
RECALLED_THRESHOLD = 2 * _c * _S1**2 * q.TOP_X.symbol**2 * _a2**2

"""The numbers of the last layer's convex problem as SymPy formulas.

V -> J(V) = (1/n) sum_i l(V z_i, y_i) with rows z_i of Z, of which sigma_n is the n-th and sigma_max
the largest singular value. Each formula is written once: the number, its LaTeX and its text derive
from it.
"""

from __future__ import annotations

from verify.statement import quantity
from verify_conditions.expressivity.quantities import WIDTH, N

M_Y = quantity("m_y", "number of outputs of the network", latex="m_y")
SIGMA_N = quantity("sigma_n", "n-th singular value of Z", latex=r"\sigma_n(Z)")
SIGMA_MAX = quantity(
    "sigma_max", "largest singular value of Z", latex=r"\sigma_{\max}(Z)"
)  # fmt: skip
L_L = quantity(
    "L_l", "Lipschitz constant of the gradient of the loss in the output", latex=r"L_\ell"
)
MU = quantity("mu", "constant of strong convexity of the loss in the output", latex=r"\mu")
DISTANCE = quantity(
    "distance", "||V_tau - Vbar||_F, distance of the last layer at the switch from a comparison",
    latex=r"\|V_\tau-\bar V\|_F",
)  # fmt: skip
STEPS = quantity("t", "number of steps of gradient descent after the switch")

_n, _sn, _sm = N.symbol, SIGMA_N.symbol, SIGMA_MAX.symbol
_L, _mu = L_L.symbol, MU.symbol

# grad J(V) is Lipschitz with L_V: the Hessian is (1/n) sum_i H_i kron z_i z_i^T, 0 <= H_i <= L_l.
SMOOTHNESS = _L * _sm**2 / _n
STEP = 1 / SMOOTHNESS

# 1/2 ||grad J||^2 >= PL (J - J*): grad J = (1/n) G^T Z, ||G^T Z|| >= sigma_n ||G|| as Z has rank n.
PL_CONSTANT = _mu * _sn**2 / _n

# With the step 1/L_V: J(V_t+1) - J* <= CONTRACTION (J(V_t) - J*).
CONTRACTION = 1 - _mu * _sn**2 / (_L * _sm**2)

# With the step 1/L_V and any Vbar: J(V_t) - J(Vbar) <= SUBLINEAR.
SUBLINEAR = SMOOTHNESS * DISTANCE.symbol**2 / (2 * STEPS.symbol)

# rank Z <= the number of its columns, whatever the weights below.
LARGEST_COUNT = WIDTH.symbol + 1
LARGEST_COUNT_WITHOUT_BIAS = WIDTH.symbol

"""The letters of `converges-from-here`: every quantity and fact of its statements.

theta0 are the stored weights, r = f(theta0) - y the residual on the data (all outputs of all
samples), J the Jacobian of the outputs by the trained tensors, L = s 1/2 |r|^2 the loss.
"""

from __future__ import annotations

from verify.statement import fact, quantity

RESIDUAL = quantity("r", "norm of the residual f(theta0) - y", latex=r"\|r_0\|")
RADIUS = quantity("R", "radius of the ball around the stored weights", latex="R")
SCALE = quantity("s", "factor of the loss in front of half the sum of squares", latex="s")

# The tangent kernel --------------------------------------------------------------------------

SIGMA = quantity(
    "sigma", "sqrt(lambda_min(J J^T)) at the stored weights: the smallest singular value of J, 0 "
    "if there are fewer parameters than outputs", latex=r"\sigma_0",
)  # fmt: skip
BETA = quantity("beta", "Lipschitz constant of J on the ball of radius R", latex=r"\beta")
NORM_J = quantity("J_norm", "||J||_2 at the stored weights", latex=r"\|J_0\|")
STEP = quantity("eta", "step of gradient descent", latex=r"\eta")
R_PATTERN = quantity(
    "R_pat", "no activation pattern changes on a ball of smaller radius", latex=r"R_{pat}"
)
NEWTON = quantity(
    "Y", "norm of the Newton step, sqrt(r^T (J J^T)^-1 r)", latex=r"\|J_0^+ r_0\|"
)  # fmt: skip

# The last layer's features -------------------------------------------------------------------

S0 = quantity(
    "s0", "n-th singular value of the features of the last layer on the data, with a column of "
    "ones for a trained outer bias", latex="s_0",
)  # fmt: skip
B = quantity("b", "Lipschitz constant of the features on the ball of radius R", latex="b")
LAST_TRAINED = fact("last_trained", "the last layer's weight is trained and read by no other layer")
TAME = fact("tame", "the chain rule holds along every subgradient flow")

# The implicit network ------------------------------------------------------------------------

WIDTH = quantity("m", "width of the equilibrium", latex="m")
GAMMA = quantity("gamma", "scale of the state weight gamma/sqrt(m) A", latex=r"\gamma")
NORM_W = quantity("W_norm", "||gamma/sqrt(m) A||_2", latex=r"\|\tfrac{\gamma}{\sqrt m}A_0\|")
MARGIN = quantity("mu0", "1 - lambda_max of the symmetric part of gamma/sqrt(m) A", latex=r"\mu_0")
NORM_Z = quantity("Z_norm", "||Z0||_2, columns the equilibria of the samples", latex=r"\|Z_0\|")
NORM_X = quantity("X_norm", "||[x_1 ... x_n]||_2", latex=r"\|X\|")
S0_IMPLICIT = quantity(
    "s0", "n-th singular value of the features [Z0; Phi0] on the data", latex="s_0"
)  # fmt: skip
READOUT_TRAINED = fact("readout_trained", "the output weights u and v are trained")

# What no weights can do ----------------------------------------------------------------------

CONSISTENT = fact("consistent", "some weights of this architecture may reach zero loss")
PLAIN = fact(
    "plain", "no weight decay, or zero loss with a last layer that is zero"
)  # fmt: skip
NO_DECAY = fact("no_decay", "there is no weight decay")

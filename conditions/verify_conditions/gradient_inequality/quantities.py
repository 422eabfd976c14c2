"""The letters of `gradient-inequality`: every quantity and fact of its statements.

L = s 1/2 |r|^2 is the loss on the data, r = f(theta) - y, J the Jacobian of all outputs at all
samples by the trained tensors, K = J J^T the tangent kernel. For teacher and student L is the
population loss 1/2 E (f - f*)^2 under Gaussian inputs.
"""

from __future__ import annotations

from verify.statement import fact, quantity

LAMBDA = quantity(
    "lambda_min", "smallest eigenvalue of the tangent kernel J J^T at the stored weights",
    latex=r"\lambda_{\min}(K)",
)  # fmt: skip
LAMBDA_RUN = quantity(
    "lambda_run", "least of the smallest eigenvalues of J J^T at the stored weights and at all "
    "stored checkpoints", latex=r"\min_t \lambda_{\min}(K_t)",
)  # fmt: skip
S0 = quantity(
    "s0", "n-th singular value of the features of the last layer on the data, with a column of "
    "ones for a trained outer bias", latex="s_0",
)  # fmt: skip
LAST_TRAINED = fact("last_trained", "the last layer's weight is trained and read by no other layer")
SIGMA = quantity("sigma", "sqrt(lambda_min(J J^T)) at the stored weights", latex=r"\sigma_0")
BETA = quantity("beta", "Lipschitz constant of J on the ball of radius R", latex=r"\beta")
B = quantity("b", "Lipschitz constant of the features on the ball of radius R", latex="b")
RADIUS = quantity("R", "radius of the ball around the stored weights", latex="R")
R_PATTERN = quantity(
    "R_pat", "no activation pattern changes on a ball of smaller radius", latex=r"R_{pat}"
)
SCALE = quantity("s", "factor of the loss in front of half the sum of squares", latex="s")

LOSS = quantity("L", "the loss at the stored weights", latex="L")
GRADIENT = quantity(
    "G", "norm of the gradient of the loss by all trained weights", latex=r"\|\nabla L\|"
)  # fmt: skip
KAPPA = quantity("kappa", "the declared factor of the inequality", latex=r"\kappa")
EXPONENT = quantity("alpha", "the exponent of the inequality", latex=r"\alpha")
EVERYWHERE = fact(
    "everywhere", "the inequality ||grad L|| >= kappa L^alpha is proved at the stored weights and "
    "at every stored checkpoint",
)  # fmt: skip

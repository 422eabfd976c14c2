"""The letters of the Villani condition: every quantity and fact that a statement speaks about.

f(W) = c' (1/2n) sum_i (u(x_i) - y_i)^2 + (lambda/2) ||W||_F^2, u(x) = a . sigma(W x + b) + c. With
regularised inner biases x stands for (x, 1) and W for (W, b). Constants of the data are those of
this f: the loss factor c' is inside.
"""

from __future__ import annotations

from verify.statement import fact, quantity

# Declared numbers ----------------------------------------------------------------------------

LAMBDA = quantity(
    "lambda", "smallest factor lambda of the penalties (lambda/2) theta^2 on trained parameters",
    latex=r"\lambda",
)  # fmt: skip
LAMBDA_TOP = quantity(
    "lambda_top", "largest factor of the penalties on trained parameters",
    latex=r"\lambda_{\mathrm{top}}",
)  # fmt: skip
PENALTY_TRACE = quantity(
    "penalty_trace", "Laplacian of the penalty, the sum of its factors over all trained parameters",
    latex=r"\Delta(\tfrac{\lambda}{2}\|W\|^2)",
)  # fmt: skip
LAMBDA_A = quantity("lambda_a", "factor of the penalty on the outer layer", latex=r"\lambda_a")
LOSS_SCALE = quantity("c_loss", "factor in front of half the mean of the squares", latex="c'")
S = quantity("s", "temperature s of the Gibbs law exp(-2 f/s), the learning rate of the SGD model")
LEVEL = quantity("M", "level that V_s must exceed")
STEP = quantity("eta", "step of gradient descent", latex=r"\eta")
TAU = quantity("tau", "standard deviation of the Gaussian initial law", latex=r"\tau")
EPSILON = quantity("epsilon", "accuracy that is asked for", latex=r"\varepsilon")
COUNT = quantity("n", "number of samples")
DIMENSION = quantity("D", "number of trained parameters")

# The activation ------------------------------------------------------------------------------

S1 = quantity("S1", "supremum of |sigma'|", latex=r"S_1")
S2 = quantity("S2", "supremum of |sigma''|", latex=r"S_2")
KAPPA0 = quantity(
    "kappa0", "supremum of |sigma(z) - z sigma'(z)|, enlarged by S1 max|b| with frozen biases b",
    latex=r"\kappa_0",
)  # fmt: skip
SIGMA0 = quantity(
    "sigma_0", "|sigma(0)|, the largest |sigma(b_j)| with frozen biases b", latex=r"|\sigma(0)|"
)
L0 = quantity("l0", "limit superior of |sigma(z)/z| at infinity", latex=r"l_0")
L1 = quantity("l1", "limit superior of |sigma'(z)| at infinity", latex=r"l_1")
KAPPA1 = quantity(
    "kappa1", "limit superior of |sigma(z)/z - sigma'(z)| at infinity", latex=r"\kappa_1"
)

# The outer weights ---------------------------------------------------------------------------

A_1 = quantity("a_1", "sum of the moduli of the outer weights", latex=r"\|a\|_1")
A_2 = quantity("a_2", "Euclidean norm of the outer weights", latex=r"\|a\|_2")
A_INF = quantity("a_inf", "largest modulus of the outer weights", latex=r"\|a\|_\infty")

# The data ------------------------------------------------------------------------------------

SECOND_MOMENT = quantity(
    "Lambda", "largest eigenvalue of the second moment (1/n) sum x x^T of the inputs",
    latex=r"\Lambda",
)  # fmt: skip
MOMENT_LIPSCHITZ = quantity(
    "Lambda_L", "largest eigenvalue of (1/n) sum (S1^2 ||a||_2^2 + S2 ||a||_inf R_i) x_i x_i^T",
    latex=r"\Lambda_L",
)  # fmt: skip
MOMENT_RESIDUAL = quantity(
    "Lambda_R", "largest eigenvalue of (1/n) sum R_i x_i x_i^T, R_i a bound of what pulls down",
    latex=r"\Lambda_R",
)  # fmt: skip
MEAN_X = quantity("mean_x", "mean of ||x_i||", latex=r"\overline{\|x\|}")
MEAN_X2 = quantity("mean_x2", "mean of ||x_i||^2", latex=r"\overline{\|x\|^2}")
MEAN_X3 = quantity("mean_x3", "mean of ||x_i||^3", latex=r"\overline{\|x\|^3}")
MEAN_YX2 = quantity("mean_yx2", "mean of |y_i| ||x_i||^2", latex=r"\overline{|y|\,\|x\|^2}")
MEAN_R2 = quantity("mean_R2", "mean of R_i^2", latex=r"\overline{R^2}")
MEAN_RX = quantity("mean_Rx", "mean of R_i ||x_i||", latex=r"\overline{R\|x\|}")
MEAN_RX2 = quantity("mean_Rx2", "mean of R_i ||x_i||^2", latex=r"\overline{R\|x\|^2}")
MEAN_SHIFT2 = quantity(
    "mean_shift2", "mean of the largest (y_i - e)^2 over the range of e = sum_j a_j kappa(z_j)",
    latex=r"\overline{\max_e (y-e)^2}",
)  # fmt: skip
MEAN_RAISED2 = quantity(
    "mean_raised2", "mean of (|y_i| + kappa_0 ||a||_1)^2",
    latex=r"\overline{(|y|+\kappa_0\|a\|_1)^2}",
)  # fmt: skip
TOP_X = quantity("top_x", "largest ||x_i||", latex=r"B_x")
COUPLING = quantity(
    "c_star", "principal eigenvalue of reflection coupling for gamma(r) = -lambda r + "
    "min(2 G, lambda_cvx r)", latex=r"c_*",
)  # fmt: skip

# Facts ---------------------------------------------------------------------------------------

OUTER_FROZEN = fact("outer_frozen", "the outer layer is frozen")
BIASES_PENALISED = fact("biases_penalised", "no inner bias is trained without penalty")
OUTER_BIAS_PENALISED = fact("outer_bias_penalised", "no outer bias is trained without penalty")
OUTER_BIAS_FROZEN = fact("outer_bias_frozen", "no outer bias is trained")
NO_FROZEN_BIAS = fact("no_frozen_bias", "no frozen inner bias differs from 0")
QUARTIC_OUTER = fact(
    "quartic_outer", "the outer layer is trained with the penalty (lambda_a/4) ||a||^4, and no "
    "outer bias is there",
)  # fmt: skip
EVERY_PENALTY = fact("every_penalty", "every trained parameter has a positive penalty")
GRADIENT_BOUNDED = fact("gradient_bounded", "the gradient of the data part is bounded")
LOCALLY_BOUNDED = fact("locally_bounded", "the activation is bounded on bounded sets")
SQUARES = fact("squares", "the loss is a multiple of the mean of the squares")
LOGISTIC = fact("logistic", "the loss is logistic")
SIGMA_SMOOTH = fact(
    "sigma_smooth", "the activation is C-infinity", latex=r"\sigma\in C^\infty(\mathbb R)"
)
S0_FINITE = fact("S0_finite", "the activation is bounded", latex=r"S_0<\infty")
S1_FINITE = fact("S1_finite", "sigma' is bounded", latex=r"S_1<\infty")
S2_FINITE = fact("S2_finite", "sigma'' is bounded", latex=r"S_2<\infty")
KAPPA0_FINITE = fact("kappa0_finite", "sigma(z) - z sigma'(z) is bounded", latex=r"\kappa_0<\infty")
SMOOTH = fact("f_smooth", "f is C-infinity", latex=r"f\in C^\infty")
CONFINING = fact(
    "f_confining", "f tends to infinity in every direction",
    latex=r"f(\theta)\to\infty\ (\|\theta\|\to\infty)",
)  # fmt: skip
INTEGRABLE = fact(
    "f_integrable", "exp(-2 f/s) is integrable for every s > 0",
    latex=r"\int e^{-2f/s}\,d\theta<\infty\ \ \forall s>0",
)  # fmt: skip
DOMINATES = fact(
    "V_s_confining", "||grad f||^2/s - Laplacian f tends to infinity for every s > 0",
    latex=r"V_s=\tfrac1s\|\nabla f\|^2-\Delta f\to\infty\ \ \forall s>0",
)  # fmt: skip
LIPSCHITZ = fact("grad_lipschitz", "the gradient of f is Lipschitz", latex=r"\mathrm{gLip}<\infty")
CONVEX = fact("f_convex", "f is convex", latex=r"\nabla^2 f\succeq 0")
ONE_SIGNED = fact(
    "one_signed_span",
    "all outer weights are nonzero of one sign, the activation grows linearly on one side or to "
    "one side, and the inputs reach every direction of the inner weights there",
)  # fmt: skip
QUADRATIC_CASE = fact(
    "even_monomial",
    "the activation is an even monomial, the outer weights have one sign, and "
    "every direction is penalised or seen by the data",
)
LOG_OSCILLATION = fact(
    "log_oscillation",
    "one neuron, one sample, sigma(z) = A z cos((omega/2) log(1 + z^2)), and lambda exceeds "
    "c' (a ||x||)^2 (A^2/2) (sqrt(1 + omega^2) - 1)",
)  # fmt: skip
MIRROR = fact(
    "mirror_data", "the kinks of the activation cancel over inputs and labels that are mirrored, "
    "so that f is a quadratic polynomial",
)  # fmt: skip
CONSTANT_OUTPUT = fact("constant_output", "no inner weight changes the output on the data")
FROZEN_AS_DECLARED = fact(
    "frozen_as_declared", "the parameters declared frozen are equal in all stored checkpoints"
)
POINT_START = fact("point_start", "the initial law is a single point")
COMPACT_START = fact("compact_start", "the initial law has a bounded density of compact support")
INJECTED = fact(
    "injected_noise",
    "full gradients are taken and Gaussian noise N(0, I) is added",
)

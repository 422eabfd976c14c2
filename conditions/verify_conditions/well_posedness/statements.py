"""Well-posedness of z = sigma(W z + b): every hypothesis, written once, as SymPy.

Throughout, sigma acts on every coordinate and all its secant slopes lie in [alpha, beta];
L = max(|alpha|, |beta|). M = I - beta W. Proofs of the statements are in `docs/well_posedness.md`.
"""

from __future__ import annotations

import sympy as sp

from verify.statement import Fact, Quantity, Source, Statement, fact, quantity

L = quantity("L", "Lipschitz constant of the activation, the largest modulus of a secant slope")
BETA = quantity("beta", "upper bound of the secant slopes of the activation", latex=r"\beta")
NORM_W = quantity("norm_W", "spectral norm of W", latex=r"\|W\|_2")
NORM_A = quantity("norm_A", "spectral norm of A", latex=r"\|A\|_2")
GAMMA = quantity("gamma", "the fixed scalar in front of the state weight", latex=r"\gamma")
WIDTH = quantity("m", "width, the number of state coordinates")
LAMBDA_PF = quantity(
    "lambda_pf", "Perron-Frobenius eigenvalue of the entrywise modulus |W|",
    latex=r"\lambda_{\mathrm{pf}}(|W|)",
)  # fmt: skip
MU_2 = quantity(
    "mu_2", "largest eigenvalue of the symmetric part (W + W^T)/2",
    latex=r"\lambda_{\max}\!\left(\tfrac12(W+W^{\top})\right)",
)  # fmt: skip
MU_ETA = quantity(
    "mu_eta", "infimum over all weights eta > 0 of the weighted infinity-norm matrix measure of W",
    latex=r"\inf_{\eta>0}\mu_{\infty,\eta}(W)",
)  # fmt: skip
LAMBDA_S = quantity(
    "lambda_S",
    "smallest eigenvalue of S = (I - alpha W)^T Lambda (I - beta W) + transpose, relative to its "
    "scale, for the best diagonal Lambda > 0",
    latex=r"\lambda_{\min}\!\left((I-\alpha W)^{\top}\Lambda(I-\beta W)+(\cdot)^{\top}\right)",
)
RHO_T = quantity(
    "rho_T", "Perron root of |T|, T = (2I - V)^-1 V the Cayley transform, V the reduced matrix",
    latex=r"\rho(|(2I-V)^{-1}V|)",
)  # fmt: skip
MU_2_V = quantity(
    "mu_2_V", "largest eigenvalue of the symmetric part of V = (beta - alpha)(I - alpha W)^-1 W",
    latex=r"\lambda_{\max}\!\left(\tfrac12(V+V^{\top})\right)",
)  # fmt: skip
MU_ETA_V = quantity(
    "mu_eta_V",
    "infimum over all weights eta > 0 of the weighted infinity-norm matrix measure of "
    "V = (beta - alpha)(I - alpha W)^-1 W",
    latex=r"\inf_{\eta>0}\mu_{\infty,\eta}(V)",
)  # fmt: skip
MARGIN = quantity("m", "margin m of the monotone parametrisation")
MEASURE_BOUND = quantity("m", "bound m of the matrix measure in the parametrisation")
KAPPA = quantity("kappa", "bound of the infinity norm in the parametrisation", latex=r"\kappa")
SCALE_C = quantity("c", "bound of the diagonal scaling in the parametrisation")

ACYCLIC = fact("acyclic", "no state coordinate feeds back into itself through W")
REGULAR = fact("regular", "I - alpha W is nonsingular", latex=r"\det(I-\alpha W)\neq 0")
P_MATRIX = fact("P", "I - W is a P-matrix", latex=r"I-W\in\mathcal P")
P_MATRIX_BETA = fact("P", "I - beta W is a P-matrix", latex=r"I-\beta W\in\mathcal P")
P0_MATRIX = fact("P0", "I - W is a P0-matrix", latex=r"I-W\in\mathcal P_0")
P0_QUARTER = fact("P0", "I - W/4 is a P0-matrix", latex=r"I-\tfrac14 W\in\mathcal P_0")
R0_MATRIX = fact("R0", "I - W is an R0-matrix", latex=r"I-W\in\mathcal R_0")
ONE_SIGN = fact(
    "one_sign",
    "det(I - D W) is nonzero with one sign for all diagonal D with entries in {alpha, beta}",
    latex=r"\operatorname{sign}\det(I-DW)=\mathrm{const}\neq0\ \ (D_{ii}\in\{\alpha,\beta\})",
)
UNIQUE_ON_RANGE = fact(
    "unique_on_range", "for every input x the equation has exactly one solution",
    latex=r"\forall x\ \exists!\,z",
)  # fmt: skip

EVERY_B = "z = sigma(W z + b) has exactly one solution z for every b"
EVERY_X = "z = sigma(W z + b(x)) has exactly one solution z for every input x"


About = tuple[Quantity | Fact, ...]


def _sufficient(hypothesis: sp.Basic, about: About, key: str, where: str) -> Statement:
    return Statement(hypothesis, about, EVERY_B, "sufficient", Source(key, where), "every bias")


FEEDFORWARD = _sufficient(
    ACYCLIC.symbol, (ACYCLIC,),
    "substitution",
    "the coordinates are computed one after the other, for any activation function",
)  # fmt: skip
SPECTRAL_NORM = _sufficient(
    L.symbol * NORM_W.symbol < 1, (L, NORM_W),
    "contraction",
    "Banach's fixed-point theorem in the Euclidean norm",
)  # fmt: skip
PAPER_SETTING = _sufficient(
    sp.Abs(GAMMA.symbol) * NORM_A.symbol / sp.sqrt(WIDTH.symbol) < 1, (GAMMA, NORM_A, WIDTH),
    "Gao2022",
    "arXiv:2110.05645, well-posedness lemma; proof by contraction",
)  # fmt: skip
PERRON = _sufficient(
    L.symbol * LAMBDA_PF.symbol < 1, (L, LAMBDA_PF),
    "ElGhaoui2021",
    "Perron-Frobenius condition, arXiv:1908.06315; proof by contraction in a weighted "
    "infinity norm",
)  # fmt: skip
MONOTONE = _sufficient(
    BETA.symbol * MU_2.symbol < 1, (BETA, MU_2),
    "Winston2020",
    "monotone operator condition I - W >= mu I, arXiv:2006.08591",
)  # fmt: skip
MEASURE = _sufficient(
    BETA.symbol * MU_ETA.symbol < 1, (BETA, MU_ETA),
    "Jafarpour2021",
    "weighted matrix measure below 1, arXiv:2106.03194; I - beta W is then a "
    "nonsingular H-matrix with positive diagonal",
)  # fmt: skip
DIAGONAL_LMI = _sufficient(
    LAMBDA_S.symbol > 0, (LAMBDA_S,),
    "Revay2020",
    "diagonal Lyapunov inequality, arXiv:2010.01732; implies that the reduced matrix "
    "is a P-matrix",
)  # fmt: skip
CAYLEY = _sufficient(
    sp.And(REGULAR.symbol, RHO_T.symbol < 1), (REGULAR, RHO_T),
    "Schur test",
    "the Cayley transform of I - V is a contraction in a diagonal norm",
)  # fmt: skip
MONOTONE_REDUCED = _sufficient(
    sp.And(REGULAR.symbol, MU_2_V.symbol < 1), (REGULAR, MU_2_V),
    "slope reduction",
    "sigma(v) = alpha v + (beta - alpha) s(v) with slopes of s in [0, 1], then the "
    "monotone operator condition on V",
)  # fmt: skip
MEASURE_REDUCED = _sufficient(
    sp.And(REGULAR.symbol, MU_ETA_V.symbol < 1), (REGULAR, MU_ETA_V),
    "slope reduction",
    "sigma(v) = alpha v + (beta - alpha) s(v) with slopes of s in [0, 1], then the "
    "matrix measure of V",
)  # fmt: skip
STRUCTURE_MONOTONE = _sufficient(
    MARGIN.symbol > 0, (MARGIN,),
    "Winston2020",
    "x^T (I - W) x = m |x|^2 + |A x|^2 for W = (1 - m) I - A^T A + B - B^T",
)  # fmt: skip
STRUCTURE_MEASURE = _sufficient(
    MEASURE_BOUND.symbol < 1, (MEASURE_BOUND,),
    "Jafarpour2021",
    "row i of D W D^-1 has measure A_ii - |A_ii| + m <= m",
)  # fmt: skip
STRUCTURE_BOX = _sufficient(
    sp.And(MARGIN.symbol > 0, MARGIN.symbol < 1, SCALE_C.symbol > 0), (MARGIN, SCALE_C),
    "Wei2022",
    "the symmetric part of D^-1/2 M D^-1/2 is below 1 - m, and L^2 is a diagonal Lyapunov "
    "matrix",
)  # fmt: skip
STRUCTURE_ROWS = _sufficient(
    sp.And(KAPPA.symbol >= 0, L.symbol * KAPPA.symbol < 1), (L, KAPPA),
    "ElGhaoui2021",
    "the infinity norm of W is at most kappa by construction",
)  # fmt: skip


def _equivalent(hypothesis: sp.Basic, about: About, key: str, where: str) -> Statement:
    return Statement(hypothesis, about, EVERY_B, "equivalent", Source(key, where), "every bias")


P_EXACT = _equivalent(
    P_MATRIX.symbol, (P_MATRIX,),
    "Murty1972",
    "linear complementarity: unique solvability for every b if and only if I - W is a "
    "P-matrix",
)  # fmt: skip
P_SUFFICIENT = _sufficient(
    P_MATRIX_BETA.symbol, (P_MATRIX_BETA,),
    "robust P-matrix theorem",
    "det(I - D W) > 0 for all diagonal D with entries in [0, beta]",
)  # fmt: skip
P0_TANH = _equivalent(
    P0_MATRIX.symbol, (P0_MATRIX,),
    "degree",
    "bounded activation with secant slopes in (0, 1) that come arbitrarily close to both ends",
)  # fmt: skip
P0_SIGMOID = _equivalent(
    P0_QUARTER.symbol, (P0_QUARTER,),
    "degree",
    "bounded activation with secant slopes in (0, 1/4) that come arbitrarily close to both "
    "ends",
)  # fmt: skip
P0_R0_SOFTPLUS = _equivalent(
    sp.And(P0_MATRIX.symbol, R0_MATRIX.symbol), (P0_MATRIX, R0_MATRIX),
    "global inverse",
    "z = softplus(W z + b) is uniquely solvable for every b if and only if I - W is "
    "P0 and R0",
)  # fmt: skip
ONE_SIGN_EXACT = _equivalent(
    ONE_SIGN.symbol, (ONE_SIGN,),
    "horizontal complementarity",
    "all column-representative determinants share one strict sign",
)  # fmt: skip
ONE_SIGN_SUFFICIENT = _sufficient(
    ONE_SIGN.symbol, (ONE_SIGN,),
    "robust solvability",
    "det(I - D W) keeps one strict sign on the box of secant slopes",
)  # fmt: skip
INPUT_RANGE = Statement(
    UNIQUE_ON_RANGE.symbol, (UNIQUE_ON_RANGE,), EVERY_X, "equivalent",
    Source("piecewise linear analysis", "exact decision on the range of b(x), in rationals"),
    "every input",
)  # fmt: skip

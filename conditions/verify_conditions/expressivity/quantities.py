"""The letters of the expressivity condition: every quantity and fact of its statements.

f(x, w) = W h(x, w_hid) + b; h_X is the n x m_H matrix of the last hidden layer on the data, and
Z = [h_X, 1_n] if the outer bias b exists and is trained, else Z = h_X. An enclosure of Z at given
weights is a matrix M of floats with ||Z - M||_F <= rho.
"""

from __future__ import annotations

from verify.statement import fact, quantity

N = quantity("n", "number of samples")
WIDTH = quantity("m_H", "width of the last hidden layer", latex="m_H")
ONES = quantity("c_b", "1 if the outer bias is trained, else 0", latex="c_b")

# Structure: what holds for every choice of the trained hidden weights -------------------------

APART = fact("apart", "no two samples are equal in all that the trained weights read of them")
DIMENSION = quantity(
    "D_poly", "dimension, on the data, of a space of functions with the constant that contains "
    "every feature for every choice of the weights", latex=r"\dim P",
)  # fmt: skip
COLUMNS = quantity(
    "r_cols", "number of columns that all features are combined from, the constant included",
    latex="r_{col}",
)  # fmt: skip
SYMMETRY_RANK = quantity(
    "r_sym", "largest rank of Z that the symmetries of network and data allow", latex="r_{sym}"
)

# Theorem D -----------------------------------------------------------------------------------

DENSE = fact("dense", "the hidden layers are fully connected and in sequence")
LAST_PLAIN = fact("last_plain", "the last hidden layer is sigma(A h + c) with nothing after it")
ACTIVATION_FITS = fact(
    "activation_fits", "every hidden layer has the same activation, relu or one that is real "
    "analytic on R and not a polynomial",
)  # fmt: skip
SUMS_FIT = fact("sums_fit", "what follows a residual sum without weights of its own is injective")
BIASES = fact("biases", "every hidden layer has a free bias")
ALL_TRAINED = fact("all_trained", "no hidden weight is frozen, tied or masked")
SCALES = fact("scales", "batch norms, if any, are in evaluation form with scales other than zero")
DISTINCT = fact("distinct", "the samples are pairwise distinct as real numbers")

# A witness -----------------------------------------------------------------------------------

DRAWN = fact("drawn", "the weights differ from the stored ones in trained hidden tensors only")
LAMBDA_MIN = quantity(
    "lambda_min", "smallest eigenvalue of the Gram matrix of the rows of D M, D a positive "
    "diagonal matrix of powers of two", latex=r"\lambda_{\min}(D M M^T D)",
)  # fmt: skip
RHO2 = quantity("rho2", "square of a bound of the error ||D (Z - M)||_F", latex=r"\|D(Z - M)\|_F^2")
ALPHA = quantity("alpha", "||I - M R||_2 for an approximate right inverse R of M",
                 latex=r"\|I - M R\|_2")  # fmt: skip
R_NORM = quantity("r_norm", "||R||_2", latex=r"\|R\|_2")
RHO = quantity("rho", "bound of the error ||Z - M||_F", latex=r"\|Z - M\|_F")
ALPHA_SPLIT = quantity(
    "alpha_split", "||I - M R||_2, R improved and the product split without error",
    latex=r"\|I - M R\|_2",
)  # fmt: skip
R_SPLIT = quantity("r_split", "||R||_2 of the improved R", latex=r"\|R\|_2")
RANK_P = quantity("rank_p", "rank of the exact Z modulo a prime", latex=r"\mathrm{rank}_p(Z)")
MINOR = quantity("minor", "modulus of the determinant of n columns of Z", latex=r"|\det Z_J|")

RANK_HERE = quantity("rank", "rank of Z at the stored weights", latex=r"\mathrm{rank}(Z)")

# Alignment -----------------------------------------------------------------------------------

ALIGNED = fact(
    "aligned", "vec(y) lies in the column space of the Jacobian of f_X at the stored weights"
)

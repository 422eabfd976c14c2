"""The expressivity condition: every hypothesis, written once, as SymPy.

Proofs are in `docs/expressivity.md`, each under the heading that a statement names.
"""

from __future__ import annotations

import sympy as sp

from verify.statement import Direction, Fact, Quantity, Scope, Source, Statement
from verify_conditions.expressivity import quantities as q

EXPRESSIVE = (
    "some choice of the trained hidden weights makes the rank of Z equal to n, the number of "
    "samples, where Z = [h_X, 1_n] (Z = h_X without a trained outer bias)"
)
HERE = "the rank of Z at the stored weights is n"
ALIGNMENT = (
    "the targets lie in the column space of the Jacobian at the stored weights; where these are a "
    "stationary point of the squared loss, the loss is zero there"
)

About = tuple[Quantity | Fact, ...]
_LAST_TRAINED = (
    "the last layer's weight and bias are trained, and the weights of a checked checkpoint are "
    "among those that training may reach"
)


def _of(
    hypothesis: sp.Basic,
    about: About,
    where: str,
    *,
    conclusion: str = EXPRESSIVE,
    direction: Direction = "sufficient",
    scope: Scope = "data set",
) -> Statement:
    source = Source("expressivity.md", where)
    return Statement(hypothesis, about, conclusion, direction, source, scope, (_LAST_TRAINED,))


def _necessary(hypothesis: sp.Basic, about: About, where: str) -> Statement:
    return _of(hypothesis, about, where, direction="necessary")


n = q.N.symbol

# What fails for every choice of the weights.
WIDTH = _necessary(n <= q.WIDTH.symbol + q.ONES.symbol, (q.N, q.WIDTH, q.ONES), "Width")
COLUMNS = _necessary(n <= q.COLUMNS.symbol, (q.N, q.COLUMNS), "Columns that combine fewer")
APART = _necessary(q.APART.symbol, (q.APART,), "Samples that no weights tell apart")
POLYNOMIAL = _necessary(n <= q.DIMENSION.symbol, (q.N, q.DIMENSION), "Polynomial features")
SYMMETRY = _necessary(
    n <= q.SYMMETRY_RANK.symbol, (q.N, q.SYMMETRY_RANK), "Symmetric networks on symmetric data"
)

_CHECKLIST = (
    q.DENSE, q.LAST_PLAIN, q.ACTIVATION_FITS, q.SUMS_FIT, q.BIASES, q.ALL_TRAINED, q.SCALES,
    q.DISTINCT,
)  # fmt: skip
THEOREM_D = _of(
    sp.And(*(fact.symbol for fact in _CHECKLIST), n <= q.WIDTH.symbol + q.ONES.symbol),
    (*_CHECKLIST, q.N, q.WIDTH, q.ONES),
    "Theorem D",
)


def rungs(conclusion: str, *facts: Fact) -> dict[str, Statement]:
    """Return the statements that prove rank Z = n at given weights, cheapest first."""
    given = [fact.symbol for fact in facts]

    def rung(relation: sp.Basic, about: About, where: str) -> Statement:
        return _of(
            sp.And(*given, relation), (*facts, *about), where,
            conclusion=conclusion, scope="point" if conclusion is HERE else "data set",
        )  # fmt: skip

    return {
        "gram": rung(
            q.LAMBDA_MIN.symbol > q.RHO2.symbol, (q.LAMBDA_MIN, q.RHO2),
            "Verified Cholesky of the Gram matrix",
        ),
        "preconditioned": rung(
            q.ALPHA.symbol + q.RHO.symbol * q.R_NORM.symbol < 1, (q.RHO, q.ALPHA, q.R_NORM),
            "Preconditioned residual",
        ),
        "modular": rung(
            q.RANK_P.symbol >= n, (q.RANK_P, q.N), "Exact rank modulo a prime"
        ),
        "split": rung(
            q.ALPHA_SPLIT.symbol + q.RHO.symbol * q.R_SPLIT.symbol < 1,
            (q.RHO, q.ALPHA_SPLIT, q.R_SPLIT),
            "Error-free split products",
        ),
        "balls": rung(q.MINOR.symbol > 0, (q.MINOR,), "Determinant in ball arithmetic"),
    }  # fmt: skip


STORED = rungs(HERE)
SHORT = _of(
    n <= q.RANK_HERE.symbol, (q.N, q.RANK_HERE), "Low rank at the stored weights",
    conclusion=HERE, direction="necessary", scope="point",
)  # fmt: skip
CHANGED = rungs(EXPRESSIVE, q.DRAWN)
ALIGNED = _of(
    q.ALIGNED.symbol, (q.ALIGNED,), "Alignment of data and architecture",
    conclusion=ALIGNMENT, direction="equivalent", scope="point",
)  # fmt: skip

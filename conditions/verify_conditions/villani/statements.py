"""The Villani property of a regularised two-layer risk: every hypothesis, written once, as SymPy.

The four defining conditions are necessary statements; the theorems V1, V2, V3 and their kin are
sufficient ones. Proofs are in `docs/villani.md`.
"""

from __future__ import annotations

import sympy as sp

from verify.statement import Direction, Fact, Quantity, Source, Statement
from verify_conditions.villani import formulas as fm
from verify_conditions.villani import quantities as q

VILLANI = (
    "f is a Villani function of the trained parameters: C-infinity, confining, exp(-2f/s) "
    "integrable and ||grad f||^2/s - Laplacian f -> infinity, for every s > 0"
)
STRONGLY_CONVEX = "f is strongly convex, so gradient descent with a small enough step suffices"
SMALL_STEP = "the step is at most 1/gLip, gLip a Lipschitz constant of grad f"
GOOD_START = "the initial law has a square-integrable density relative to the Gibbs law"
ISOTROPIC = "the noise of the training steps is Gaussian with covariance a positive multiple of I"
AS_DECLARED = "the stored checkpoints agree with what is declared frozen"

About = tuple[Quantity | Fact, ...]
_DECLARED = (
    "the activation, the loss, the penalties and what is trained are declared, not read off the "
    "training"
)
_Shi = Source("Shi2023", "arXiv:2004.06977, definition of a Villani function, rewritten")
_SETTING = (q.OUTER_FROZEN, q.BIASES_PENALISED)
_SMOOTH_PART = (q.SIGMA_SMOOTH, q.S1_FINITE, q.S2_FINITE)
_SQUARES = (*_SETTING, q.SQUARES, *_SMOOTH_PART)
_LOGISTIC = (*_SETTING, q.OUTER_BIAS_PENALISED, q.LOGISTIC, *_SMOOTH_PART)
_NUMBERS = (*_SETTING, q.OUTER_BIAS_FROZEN, q.SIGMA_SMOOTH)
_POSITIVE = q.LAMBDA.symbol > 0


def _of(
    hypothesis: sp.Basic,
    about: About,
    source: Source,
    *,
    conclusion: str = VILLANI,
    direction: Direction = "sufficient",
) -> Statement:
    return Statement(hypothesis, about, conclusion, direction, source, "data set", (_DECLARED,))


def _all(*facts: Fact) -> sp.Basic:
    return sp.And(*(item.symbol for item in facts))


def _if(
    facts: tuple[Fact, ...], relation: sp.Basic, numbers: tuple[Quantity, ...], where: str,
    conclusion: str = VILLANI,
) -> Statement:  # fmt: skip
    """Return the sufficient statement: all facts and the relation."""
    about: About = (*facts, *numbers)
    return _of(sp.And(_all(*facts), relation), about, _own(where), conclusion=conclusion)


def _own(where: str) -> Source:
    return Source("villani.md", where)


def _necessary(fact: Fact) -> Statement:
    return _of(fact.symbol, (fact,), _Shi, direction="necessary")


# The four defining conditions.
SMOOTH, CONFINING = _necessary(q.SMOOTH), _necessary(q.CONFINING)
INTEGRABLE, DOMINATES = _necessary(q.INTEGRABLE), _necessary(q.DOMINATES)

BOUNDED = _if((*_SQUARES, q.S0_FINITE), _POSITIVE, (q.LAMBDA,), "theorem V1, bounded activations")
HOMOGENEOUS = _if(
    (*_SQUARES, q.KAPPA0_FINITE), _POSITIVE, (q.LAMBDA,),
    "theorem V2, asymptotically homogeneous activations",
)  # fmt: skip
LINEAR_GROWTH = _if(
    (*_SQUARES, q.OUTER_BIAS_FROZEN, q.NO_FROZEN_BIAS), q.LAMBDA.symbol > fm.LAMBDA_V,
    (q.LAMBDA, q.LOSS_SCALE, q.L0, q.L1, q.KAPPA1, q.A_2, q.SECOND_MOMENT),
    "theorem V3, linear growth",
)  # fmt: skip
LOGISTIC = _if(
    _LOGISTIC, _POSITIVE, (q.LAMBDA,),
    "logistic loss: bounded gradient and Laplacian of the data part",
)  # fmt: skip
QUARTIC = _if(
    (q.QUARTIC_OUTER, q.BIASES_PENALISED, q.NO_FROZEN_BIAS, q.SQUARES, *_SMOOTH_PART, q.S0_FINITE),
    sp.And(_POSITIVE, q.LAMBDA_A.symbol > 0), (q.LAMBDA, q.LAMBDA_A),
    "quartic penalty on a trained outer layer",
)  # fmt: skip
ONE_SIGNED = _of(
    q.ONE_SIGNED.symbol, (q.ONE_SIGNED,), _own("one-signed outer weights, no penalty needed")
)
QUADRATIC = _of(
    q.QUADRATIC_CASE.symbol,
    (q.QUADRATIC_CASE,),
    _own("even monomials with one-signed outer weights"),
)
LOG_OSCILLATION = _of(
    q.LOG_OSCILLATION.symbol, (q.LOG_OSCILLATION,),
    _own("log-oscillating activation, one neuron and one sample"),
)  # fmt: skip
MIRROR = _of(
    sp.And(q.MIRROR.symbol, _POSITIVE), (q.MIRROR, q.LAMBDA), _own("kinks that cancel"),
)  # fmt: skip
CONSTANT_OUTPUT = _of(
    sp.And(q.CONSTANT_OUTPUT.symbol, _POSITIVE), (q.CONSTANT_OUTPUT, q.LAMBDA),
    _own("f is the penalty plus a constant"),
)  # fmt: skip

# Side statements: their own result, never the verdict.
STRONGLY_CONVEX_SQUARES = _if(
    (*_NUMBERS, q.SQUARES), q.LAMBDA.symbol > fm.CONVEX_FROM_SQUARES,
    (q.LAMBDA, q.LOSS_SCALE, q.S2, q.A_INF, q.MOMENT_RESIDUAL),
    "strong convexity", STRONGLY_CONVEX,
)  # fmt: skip
STRONGLY_CONVEX_LOGISTIC = _if(
    (*_NUMBERS, q.LOGISTIC), q.LAMBDA.symbol > fm.CONVEX_FROM_LOGISTIC,
    (q.LAMBDA, q.LOSS_SCALE, q.S2, q.A_INF, q.SECOND_MOMENT),
    "strong convexity", STRONGLY_CONVEX,
)  # fmt: skip
NOT_CONVEX = _of(
    q.CONVEX.symbol, (q.CONVEX,), _own("a negative curvature"), conclusion=STRONGLY_CONVEX,
    direction="necessary",
)  # fmt: skip
STEP_SQUARES = _if(
    (*_NUMBERS, q.SQUARES), q.STEP.symbol * fm.LIPSCHITZ_SQUARES <= 1,
    (q.STEP, q.LAMBDA_TOP, q.LOSS_SCALE, q.MOMENT_LIPSCHITZ),
    "Lipschitz constant of the gradient", SMALL_STEP,
)  # fmt: skip
STEP_LOGISTIC = _if(
    (*_NUMBERS, q.LOGISTIC), q.STEP.symbol * fm.LIPSCHITZ_LOGISTIC <= 1,
    (q.STEP, q.LAMBDA_TOP, q.LOSS_SCALE, q.SECOND_MOMENT, q.S1, q.S2, q.A_2, q.A_INF),
    "Lipschitz constant of the gradient", SMALL_STEP,
)  # fmt: skip
NOT_LIPSCHITZ = _of(
    q.LIPSCHITZ.symbol, (q.LIPSCHITZ,), _own("Lipschitz constant of the gradient"),
    conclusion=SMALL_STEP, direction="necessary",
)  # fmt: skip
GAUSSIAN_BOUNDED = _if(
    (*_SETTING, q.OUTER_BIAS_FROZEN, q.EVERY_PENALTY, q.GRADIENT_BOUNDED),
    q.LAMBDA_TOP.symbol * q.TAU.symbol**2 < q.S.symbol, (q.LAMBDA_TOP, q.TAU, q.S),
    "Gaussian initial law, bounded activation", GOOD_START,
)  # fmt: skip
GAUSSIAN_LINEAR = _if(
    (*_SETTING, q.OUTER_BIAS_FROZEN, q.NO_FROZEN_BIAS, q.EVERY_PENALTY, q.SQUARES),
    q.TAU.symbol**2
    * (q.LAMBDA_TOP.symbol + q.LOSS_SCALE.symbol * q.L0.symbol**2 * q.A_2.symbol**2
       * q.SECOND_MOMENT.symbol) < q.S.symbol,
    (q.TAU, q.LAMBDA_TOP, q.LOSS_SCALE, q.L0, q.A_2, q.SECOND_MOMENT, q.S),
    "Gaussian initial law, linear growth", GOOD_START,
)  # fmt: skip
GAUSSIAN_NECESSARY = _of(
    q.LAMBDA_TOP.symbol * q.TAU.symbol**2 < q.S.symbol, (q.LAMBDA_TOP, q.TAU, q.S),
    _own("Gaussian initial law, any activation"), conclusion=GOOD_START, direction="necessary",
)  # fmt: skip
COMPACT_START = _of(
    _all(q.COMPACT_START, q.EVERY_PENALTY, q.LOCALLY_BOUNDED),
    (q.COMPACT_START, q.EVERY_PENALTY, q.LOCALLY_BOUNDED),
    _own("bounded density of compact support"), conclusion=GOOD_START,
)  # fmt: skip
POINT_START = _of(
    sp.Not(q.POINT_START.symbol), (q.POINT_START,), _own("a Dirac law has no density"),
    conclusion=GOOD_START, direction="necessary",
)  # fmt: skip
INJECTED = _of(q.INJECTED.symbol, (q.INJECTED,), _own("injected noise"), conclusion=ISOTROPIC)
NOISE_RANK = _of(
    q.DIMENSION.symbol <= q.COUNT.symbol - 1, (q.DIMENSION, q.COUNT),
    _own("the covariance of mini-batch noise has rank at most n - 1"),
    conclusion=ISOTROPIC, direction="necessary",
)  # fmt: skip
FROZEN = _of(
    q.FROZEN_AS_DECLARED.symbol, (q.FROZEN_AS_DECLARED,), _own("stored checkpoints"),
    conclusion=AS_DECLARED, direction="necessary",
)  # fmt: skip

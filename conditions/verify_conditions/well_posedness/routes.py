"""The routes to well-posedness: which kernel computes which quantity, and when a route applies."""

from __future__ import annotations

from collections.abc import Callable
from fractions import Fraction
from typing import Any

from verify.condition import Binding, Effort, Route, bind
from verify.enclosure import Enclosure
from verify.errors import InputError
from verify.evidence import Evidence
from verify.network import (
    AffineInput,
    BoxMonotoneWeight,
    LowRankRowScaledWeight,
    MonotoneWeight,
    NonEuclideanWeight,
    ReluFeatureInput,
    RowScaledWeight,
    ScaledGaussianWeight,
    SoftplusMonotoneWeight,
)
from verify.statement import Quantity
from verify.verdict import Truth
from verify_conditions.well_posedness import statements as st
from verify_conditions.well_posedness.problem import (
    GOAL_EVERY_B,
    GOAL_EVERY_X,
    Problem,
    exact,
)
from verify_kernels.acyclic import decide_acyclic
from verify_kernels.cayley import enclose_cayley_root
from verify_kernels.diagonal_stability import enclose_diagonal_margin
from verify_kernels.failure import explain_failure
from verify_kernels.input_range import decide_every_input
from verify_kernels.margin import enclose_margin
from verify_kernels.matrix import MatrixEnclosure, identity_minus
from verify_kernels.matrix_measure import enclose_symmetric_part, enclose_weighted_measure
from verify_kernels.one_sign import decide_one_sign
from verify_kernels.p0_matrix import decide_p0_matrix
from verify_kernels.p_matrix import decide_p_matrix
from verify_kernels.perron import enclose_perron_root
from verify_kernels.r0_matrix import decide_r0_matrix
from verify_kernels.reduction import reduce_slopes
from verify_kernels.spectral_norm import enclose_spectral_norm

Applies = Callable[[Problem], str | None]

# Up to this width norms are enclosed from both sides, so that margins and Lipschitz constants are
# sharp; beyond it one factorisation at the number where the statement turns is all that is spent.
TWO_SIDED = 4096


# Applicability -------------------------------------------------------------------------------


def _nonnegative(problem: Problem) -> str | None:
    if problem.nonnegative_slopes:
        return None
    return "needs secant slopes >= 0; the slope reduction covers this activation"


def _reduced(problem: Problem) -> str | None:
    if problem.slopes.alpha == 0:
        return "the lower slope is 0, so the reduced matrix is beta W and nothing is gained"
    return None


def _stored_as(*kinds: type, unit: bool = False) -> Applies:
    def applies(problem: Problem) -> str | None:
        if not isinstance(problem.network.weight, kinds):
            return "the weight is not stored in this parametrisation"
        if unit and not problem.unit_slopes:
            return "needs secant slopes in [0, 1]"
        return None

    return applies


def _activation(*names: str) -> Applies:
    def applies(problem: Problem) -> str | None:
        if problem.network.activation.name in names:
            return None
        return f"speaks about {' and '.join(names)} only"

    return applies


def _leaky(problem: Problem) -> str | None:
    if problem.one_sided and problem.network.activation.name == "leaky_relu":
        return None
    return "speaks about leaky_relu(alpha) with 0 < alpha < 1 only"


def _slopes_from_zero(problem: Problem) -> str | None:
    if problem.network.activation.name in ("relu", "tanh", "sigmoid", "softplus"):
        return "an exact criterion exists for this activation"
    if not problem.nonnegative_slopes:
        return "needs secant slopes >= 0"
    return None


def _slopes_off_zero(problem: Problem) -> str | None:
    if _leaky(problem) is None:
        return "an exact criterion exists for this activation"
    if problem.slopes.alpha == problem.slopes.beta:
        return "all secant slopes are one number, and the Cayley transform covers this activation"
    return _reduced(problem)


def _paper(problem: Problem) -> str | None:
    if problem.network.activation.name != "relu":
        return "the paper's setting has the activation relu"
    return _stored_as(ScaledGaussianWeight)(problem)


def _input_range(problem: Problem) -> str | None:
    if not problem.one_sided:
        return "decides relu and leaky_relu(alpha), 0 < alpha < 1, only"
    if not problem.has_evaluable_input:
        return "the file has no input map that can be evaluated exactly"
    if not problem.weight.is_exact:
        return "W is known as an enclosure only, not as an exact rational matrix"
    return None


# Bindings ------------------------------------------------------------------------------------


@bind(st.L)
def lipschitz(problem: Problem, effort: Effort, aim: Enclosure | None) -> Evidence:
    """L, exact."""
    return exact(problem.lipschitz)


@bind(st.BETA)
def beta(problem: Problem, effort: Effort, aim: Enclosure | None) -> Evidence:
    """beta, exact."""
    return exact(problem.slopes.beta)


def _kernel(subject: Quantity, compute: Callable[..., Evidence]) -> Binding:
    """Bind a quantity of W to a kernel; beyond `TWO_SIDED` it may stop at the aim."""

    def run(problem: Problem, effort: Effort, aim: Enclosure | None) -> Evidence:
        aim = aim if problem.network.width > TWO_SIDED else None
        found: Evidence = problem.once(
            str(subject.symbol), lambda: compute(problem.weight, backend=effort.backend, aim=aim)
        )
        return found

    return Binding(subject, run)


NORM = _kernel(st.NORM_W, enclose_spectral_norm)
PERRON = _kernel(st.LAMBDA_PF, enclose_perron_root)
SYMMETRIC_PART = _kernel(st.MU_2, enclose_symmetric_part)
MEASURE = _kernel(st.MU_ETA, enclose_weighted_measure)


@bind(st.NORM_A)
def norm_of_a(problem: Problem, effort: Effort, aim: Enclosure | None) -> Evidence:
    """The spectral norm of the stored A."""
    found: Evidence = problem.once(
        "norm_A",
        lambda: enclose_spectral_norm(
            problem.network.weight.tensors()["A"],
            backend=effort.backend,
            aim=aim if problem.network.width > TWO_SIDED else None,
        ),
    )
    return found


@bind(st.ACYCLIC)
def acyclic(problem: Problem, effort: Effort, aim: Enclosure | None) -> Evidence:
    """Whether the exact zero pattern of W has no cycle."""
    return decide_acyclic(problem.weight)


def _constant(subject: Quantity, name: str) -> Binding:
    def run(problem: Problem, effort: Effort, aim: Enclosure | None) -> Evidence:
        return exact(Fraction(problem.network.weight.constants()[name]))

    return Binding(subject, run)


@bind(st.WIDTH)
def width(problem: Problem, effort: Effort, aim: Enclosure | None) -> Evidence:
    """m, exact."""
    return exact(problem.network.width)


@bind(st.MARGIN)
def margin(problem: Problem, effort: Effort, aim: Enclosure | None) -> Evidence:
    """The margin m of a monotone parametrisation, declared or computed from m_raw."""
    return enclose_margin(problem.network.weight)


def _reduction(problem: Problem) -> MatrixEnclosure | None:
    """Return V, or None if I - alpha W is not proved to be nonsingular or V is beyond binary64."""

    def reduced() -> MatrixEnclosure | None:
        try:
            return reduce_slopes(problem.weight, problem.slopes.alpha, problem.slopes.beta)
        except InputError:
            return None

    found: MatrixEnclosure | None = problem.once("reduction", reduced)
    return found


@bind(st.REGULAR)
def regular(problem: Problem, effort: Effort, aim: Enclosure | None) -> Evidence:
    """Whether I - alpha W is proved to be nonsingular."""
    if _reduction(problem) is not None:
        return Evidence(Truth.PROVED, how="verified linear solve")
    return Evidence(
        Truth.UNDECIDED,
        why_open="I - alpha W is singular or too close to it, or V is beyond binary64",
    )


def _on_reduction(subject: Quantity, compute: Callable[..., Evidence]) -> Binding:
    """Bind a quantity of the reduced matrix V."""

    def run(problem: Problem, effort: Effort, aim: Enclosure | None) -> Evidence:
        reduced = _reduction(problem)
        if reduced is None:
            return Evidence(Enclosure.unbounded(), why_open="the reduced matrix V is not known")
        return compute(reduced, backend=effort.backend, aim=aim)

    return Binding(subject, run)


def _diagonal(search: str) -> Binding:
    def run(problem: Problem, effort: Effort, aim: Enclosure | None) -> Evidence:
        return enclose_diagonal_margin(
            problem.weight, alpha=problem.slopes.alpha, beta=problem.slopes.beta,
            deadline=effort.deadline, backend=effort.backend, search=search,
        )  # fmt: skip

    return Binding(st.LAMBDA_S, run)


def _matrix_fact(
    subject: Any, factor: Callable[[Problem], Fraction], decide: Callable[..., Evidence]
) -> Binding:
    """Bind a fact about I - factor W to its decision; a refutation gets its two equilibria."""

    def run(problem: Problem, effort: Effort, aim: Enclosure | None) -> Evidence:
        matrix = identity_minus(problem.weight, factor(problem))
        if not matrix.is_bounded:
            return Evidence(Truth.UNDECIDED, why_open="I - W leaves the range of binary64")
        found = decide(matrix, deadline=effort.deadline, backend=effort.backend)
        return _with_equilibria(problem, effort, found)

    return Binding(subject, run)


@bind(st.ONE_SIGN)
def one_sign(problem: Problem, effort: Effort, aim: Enclosure | None) -> Evidence:
    """Whether det(I - D W) keeps one strict sign on the vertices of the slope box."""
    found = decide_one_sign(
        problem.weight, problem.slopes.alpha, problem.slopes.beta,
        deadline=effort.deadline, backend=effort.backend,
    )  # fmt: skip
    return _with_equilibria(problem, effort, found)


def _with_equilibria(problem: Problem, effort: Effort, found: Evidence) -> Evidence:
    """Replace the witness of a refutation by b and two equilibria, where they can be found."""
    if found.value is not Truth.REFUTED or not problem.has_exact_criterion:
        return found
    shown: Evidence = problem.once(
        "failure",
        lambda: explain_failure(
            problem.weight, problem.network.activation, problem.slopes, found,
            deadline=effort.deadline,
        ),
    )  # fmt: skip
    return shown


@bind(st.UNIQUE_ON_RANGE)
def unique_on_range(problem: Problem, effort: Effort, aim: Enclosure | None) -> Evidence:
    """Whether every input has exactly one equilibrium, decided on the range of b(x)."""
    given = problem.network.input
    if not isinstance(given, AffineInput | ReluFeatureInput):
        return Evidence(Truth.UNDECIDED, why_open="the input map is not evaluated")
    failure: Evidence | None = problem.kept("failure")
    bad = failure.witness if failure is not None else None
    return decide_every_input(
        problem.weight, given, problem.slopes.alpha, deadline=effort.deadline, bad=bad
    )


# Routes, strongest consequences first ----------------------------------------------------------


def _route(name: str, title: str, statement: Any, *bindings: Binding, **more: Any) -> Route:
    return Route(name, title, more.pop("goal", GOAL_EVERY_B), (statement,), bindings, **more)


def _one(problem: Problem) -> Fraction:
    return Fraction(1)


ROUTES: tuple[Route, ...] = (
    _route("paper-setting", "norm of the scaled state weight", st.PAPER_SETTING,
           _constant(st.GAMMA, "gamma"), width, norm_of_a, applies=_paper),
    _route("spectral-norm", "spectral norm", st.SPECTRAL_NORM, lipschitz, NORM),
    _route("perron", "Perron root of |W|", st.PERRON, lipschitz, PERRON),
    _route("monotone-structure", "monotone parametrisation", st.STRUCTURE_MONOTONE, margin,
           applies=_stored_as(MonotoneWeight, SoftplusMonotoneWeight, unit=True)),
    _route("measure-structure", "matrix-measure parametrisation", st.STRUCTURE_MEASURE,
           _constant(st.MEASURE_BOUND, "m"), applies=_stored_as(NonEuclideanWeight, unit=True)),
    _route("box-structure", "interval-bound parametrisation", st.STRUCTURE_BOX, margin,
           _constant(st.SCALE_C, "c"), applies=_stored_as(BoxMonotoneWeight, unit=True)),
    _route("row-structure", "row-scaled parametrisation", st.STRUCTURE_ROWS, lipschitz,
           _constant(st.KAPPA, "kappa"),
           applies=_stored_as(RowScaledWeight, LowRankRowScaledWeight)),
    _route("monotone", "monotone operator", st.MONOTONE, beta, SYMMETRIC_PART,
           applies=_nonnegative),
    _route("matrix-measure", "weighted matrix measure", st.MEASURE, beta, MEASURE,
           applies=_nonnegative),
    _route("feedforward", "no feedback", st.FEEDFORWARD, acyclic),
    _route("diagonal-lmi", "diagonal Lyapunov inequality", st.DIAGONAL_LMI,
           _diagonal("conversions")),
    _route("cayley", "Cayley transform", st.CAYLEY, regular,
           _on_reduction(st.RHO_T, enclose_cayley_root)),
    _route("monotone-reduced", "monotone operator after slope reduction", st.MONOTONE_REDUCED,
           regular, _on_reduction(st.MU_2_V, enclose_symmetric_part), applies=_reduced),
    _route("measure-reduced", "matrix measure after slope reduction", st.MEASURE_REDUCED,
           regular, _on_reduction(st.MU_ETA_V, enclose_weighted_measure), applies=_reduced),
    _route("p-matrix", "P-matrix", st.P_EXACT,
           _matrix_fact(st.P_MATRIX, _one, decide_p_matrix),
           cost="expensive", applies=_activation("relu")),
    _route("one-sign", "one sign of all slope determinants", st.ONE_SIGN_EXACT, one_sign,
           cost="expensive", applies=_leaky),
    _route("p0-matrix", "P0-matrix", st.P0_TANH,
           _matrix_fact(st.P0_MATRIX, _one, decide_p0_matrix),
           cost="expensive", applies=_activation("tanh")),
    _route("p0-quarter", "P0-matrix of the quarter weight", st.P0_SIGMOID,
           _matrix_fact(st.P0_QUARTER, lambda problem: Fraction(1, 4), decide_p0_matrix),
           cost="expensive", applies=_activation("sigmoid")),
    _route("p0-r0-matrix", "P0- and R0-matrix", st.P0_R0_SOFTPLUS,
           _matrix_fact(st.P0_MATRIX, _one, decide_p0_matrix),
           _matrix_fact(st.R0_MATRIX, _one, decide_r0_matrix),
           cost="expensive", applies=_activation("softplus")),
    _route("robust-p-matrix", "P-matrix for the slope class", st.P_SUFFICIENT,
           _matrix_fact(st.P_MATRIX_BETA, lambda problem: problem.slopes.beta, decide_p_matrix),
           cost="expensive", applies=_slopes_from_zero),
    _route("robust-one-sign", "one sign for the slope class", st.ONE_SIGN_SUFFICIENT, one_sign,
           cost="expensive", applies=_slopes_off_zero),
    _route("diagonal-lmi-search", "diagonal Lyapunov inequality, full search", st.DIAGONAL_LMI,
           _diagonal("full"), cost="expensive"),
    _route("input-range", "all inputs, piece by piece", st.INPUT_RANGE, unique_on_range,
           goal=GOAL_EVERY_X, cost="expensive", applies=_input_range),
)  # fmt: skip

"""Side statements: what else a theorem about SGD or Langevin needs; none turns the verdict."""

from __future__ import annotations

from verify.condition import Goal
from verify_conditions.villani import statements as st
from verify_conditions.villani.problem import Problem
from verify_conditions.villani.routes import Applies, route

CONVEXITY, STEP, START = "strong-convexity", "step-size", "initial-law"
NOISE, DECLARATION = "isotropic-noise", "declaration"
SIDE_GOALS = (
    Goal(CONVEXITY, st.STRONGLY_CONVEX, side=True),
    Goal(STEP, st.SMALL_STEP, side=True),
    Goal(START, st.GOOD_START, side=True),
    Goal(NOISE, st.ISOTROPIC, side=True),
    Goal(DECLARATION, st.AS_DECLARED, side=True),
)
_VOID = "is stated for a frozen outer layer and penalised or frozen biases"


def _numbers(problem: Problem) -> str | None:
    return None if problem.standard else _VOID


def _with_residual_bounds(problem: Problem) -> str | None:
    """Squares whose residuals are bounded: sigma is bounded."""
    if problem.declared.logistic:
        return "needs squares as loss"
    if not problem.is_bounded:
        return "needs a bounded activation, since residuals are unbounded otherwise"
    return _numbers(problem)


def _convex_squares(problem: Problem) -> str | None:
    if problem.declared.logistic or not (problem.is_bounded or problem.pulls_one_way):
        return "needs squares and a bounded activation, or softplus with one-signed outer weights"
    return _numbers(problem)


def _logistic(problem: Problem) -> str | None:
    if not problem.declared.logistic:
        return "needs the logistic loss"
    if not problem.has_bounded_gradient:
        return "needs a smooth activation with bounded sigma' and sigma''"
    return _numbers(problem)


def _with_step(inner: Applies) -> Applies:
    def applies(problem: Problem) -> str | None:
        if problem.declared.step is None:
            return "no step is declared; --set villani.step=... holds it against 1/gLip"
        return inner(problem)

    return applies


def _unbounded(problem: Problem) -> str | None:
    """Where no Lipschitz constant of the gradient need exist."""
    told = problem.declared
    if told.logistic or told.outer == "trained":
        return "needs squares and a frozen outer layer"
    if problem.standard and problem.is_bounded:
        return "the gradient is Lipschitz for bounded activations"
    return None


def _gibbs(problem: Problem) -> str | None:
    """Where exp(-2f/s) need not be integrable, or f is not bounded on bounded sets."""
    if problem.smallest_decay == 0:
        return "needs a penalty on every trained parameter: without it a Gibbs law need not exist"
    if not problem.is_locally_bounded:
        return "needs an activation that is proved bounded on bounded sets"
    return _numbers(problem)


def _gaussian(problem: Problem) -> str | None:
    told = problem.declared
    if told.init != "gaussian" or told.s is None:
        return "needs villani.init=gaussian(...) and villani.s"
    return _gibbs(problem)


def _gaussian_exact(problem: Problem) -> str | None:
    if not problem.has_bounded_gradient:
        return "needs a bounded activation or the logistic loss"
    return _gaussian(problem)


def _gaussian_otherwise(problem: Problem) -> str | None:
    if problem.has_bounded_gradient:
        return "the statement for bounded activations is sharper"
    return _gaussian(problem)


def _gaussian_linear(problem: Problem) -> str | None:
    if problem.frozen_bias:
        return "is proved without frozen inner biases"
    return _gaussian_otherwise(problem)


def _started(word: str, inner: Applies) -> Applies:
    def applies(problem: Problem) -> str | None:
        if problem.declared.init != word:
            return f"needs villani.init={word}"
        return inner(problem)

    return applies


def _noise(word: str) -> Applies:
    def applies(problem: Problem) -> str | None:
        return None if problem.declared.noise == word else f"needs villani.noise={word}"

    return applies


def _with_run(problem: Problem) -> str | None:
    return None if problem.frozen_tensors else "needs --run with checkpoints and a frozen tensor"


SIDE_ROUTES = (
    route("convex", "strong convexity from the curvature of the loss", st.STRONGLY_CONVEX_SQUARES,
          _convex_squares, goal=CONVEXITY),
    route("convex-logistic", "strong convexity from the curvature of the loss",
          st.STRONGLY_CONVEX_LOGISTIC, _logistic, goal=CONVEXITY),
    route("negative-curvature", "negative curvature at one point", st.NOT_CONVEX,
          _numbers, goal=CONVEXITY),
    route("step", "step against the Lipschitz constant of the gradient", st.STEP_SQUARES,
          _with_step(_with_residual_bounds), goal=STEP),
    route("step-logistic", "step against the Lipschitz constant of the gradient",
          st.STEP_LOGISTIC, _with_step(_logistic), goal=STEP),
    route("unbounded-curvature", "curvature that grows along a line", st.NOT_LIPSCHITZ, _unbounded,
          goal=STEP),
    route("gaussian", "Gaussian initial law", st.GAUSSIAN_BOUNDED, _gaussian_exact, goal=START),
    route("gaussian-growth", "Gaussian initial law, linear growth", st.GAUSSIAN_LINEAR,
          _gaussian_linear, goal=START),
    route("gaussian-tails", "Gaussian initial law against the penalty alone",
          st.GAUSSIAN_NECESSARY, _gaussian, goal=START),
    route("compact-start", "initial density of compact support", st.COMPACT_START,
          _started("compact", _gibbs), goal=START),
    route("point-start", "initial law at a point", st.POINT_START, _started("point", _numbers),
          goal=START),
    route("injected", "noise that is injected", st.INJECTED, _noise("injected"), goal=NOISE),
    route("noise-rank", "rank of the noise of mini-batches", st.NOISE_RANK, _noise("minibatch"),
          goal=NOISE),
    route("frozen", "frozen tensors in the stored checkpoints", st.FROZEN, _with_run,
          goal=DECLARATION),
)  # fmt: skip

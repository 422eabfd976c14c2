"""What follows from a proved route, as numbers: radius, constants, rates, times.

Each formula is one SymPy expression of `formulas`; the number, the LaTeX and the text derive from
it. Bounds that are safe and far from sharp are marked as pessimistic.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from fractions import Fraction
from typing import Any

import sympy as sp

from verify.condition import Consequence, Effort, RouteOutcome
from verify.decide import evaluate
from verify.enclosure import Enclosure, Measurement
from verify.verdict import Truth
from verify_conditions.villani import formulas as fm
from verify_conditions.villani import quantities as q
from verify_conditions.villani.evidence import number
from verify_conditions.villani.problem import Problem
from verify_conditions.villani.special import risk_of
from verify_kernels.two_layer.noise_spectrum import noise_spectrum

_LATEX = {
    item.symbol: item.latex
    for item in vars(q).values()
    if getattr(item, "latex", "") and isinstance(getattr(item, "symbol", None), sp.Symbol)
}


class Numbers:
    """The formulas that speak about one problem, evaluated on demand."""

    def __init__(self, problem: Problem, effort: Effort) -> None:
        self.problem, self.effort = problem, effort
        logistic = problem.declared.logistic
        self.G = fm.G_LOGISTIC if logistic else fm.G_SQUARES
        self.D_bar = fm.D_BAR_LOGISTIC if logistic else fm.D_BAR_SQUARES
        self.lipschitz = fm.LIPSCHITZ_LOGISTIC if logistic else fm.LIPSCHITZ_SQUARES
        self.convex_from = fm.CONVEX_FROM_LOGISTIC if logistic else fm.CONVEX_FROM_SQUARES

    def value(self, expression: sp.Expr) -> Enclosure:
        """Enclose a formula."""
        known = {s: number(self.problem, s, self.effort) for s in expression.free_symbols}
        return evaluate(expression, known)

    def consequence(
        self, name: str, meaning: str, expression: sp.Expr, by: str
    ) -> Iterator[Consequence]:
        """Yield the number, unless nothing is known of it."""
        value = self.value(expression)
        if isinstance(value.lo, Fraction) or isinstance(value.hi, Fraction):
            yield Consequence(name, meaning, value, latex_of(expression), by)


def latex_of(expression: Any) -> str:
    """Return a formula as LaTeX in the letters of the statements."""
    return str(sp.latex(expression, symbol_names=_LATEX))


def consequences(
    problem: Problem, outcomes: Sequence[RouteOutcome], effort: Effort
) -> list[Consequence]:
    """Return the numbers that the proved routes entail."""
    proved = {o.route.name for o in outcomes if o.tried and o.truth is Truth.PROVED}
    refuted = {o.route.name for o in outcomes if o.tried and o.truth is Truth.REFUTED}
    numbers = Numbers(problem, effort)
    found = [*_conversion(problem), *_noise(problem)]
    if problem.standard and problem.smallest_decay > 0:
        found += _penalties(numbers, proved | refuted)
        found += _radii(numbers, proved)
        found += _gradient(numbers)
        found += _convexity(numbers, proved)
        found += _diffusion(numbers, proved)
    return found


def _conversion(problem: Problem) -> Iterator[Consequence]:
    """The same training in the convention of the half mean of squares."""
    told, c = problem.declared, problem.loss_scale
    if c == 1:
        return
    pairs = [
        ("lambda", "the penalty's factor", told.decay / c, r"\lambda/c'"),
        ("s", "the temperature", None if told.s is None else told.s / c, "s/c'"),
        ("step", "the step", None if told.step is None else told.step * c, r"c'\eta"),
    ]
    for name, meaning, value, latex in pairs:
        if value is not None:
            yield Consequence(
                f"{name} for half-mean-squares",
                f"{meaning} if the loss is written as the half mean of the squares",
                Enclosure.outward(value, value), latex, "conversion",
            )  # fmt: skip


def _noise(problem: Problem) -> Iterator[Consequence]:
    """The spectrum of the covariance of single-sample gradients at the stored weights."""
    if problem.declared.noise != "minibatch":
        return
    spectrum = noise_spectrum(*risk_of(problem))
    if not spectrum:
        return
    top = max(found.value for found in spectrum)
    floor = top * 1e-12
    rank = sum(found.value > floor for found in spectrum)
    yield Consequence(
        "largest eigenvalue of the noise covariance", "of the gradients of single samples at the "
        "stored weights; isotropic noise would have it in every direction",
        Measurement(top, spectrum[0].how), "", "",
    )  # fmt: skip
    yield Consequence(
        "directions with noise", f"eigenvalues above 1e-12 of the largest, of {len(spectrum)}",
        Measurement(float(rank), spectrum[0].how), "", "",
    )  # fmt: skip


def _penalties(numbers: Numbers, tried: set[str]) -> Iterator[Consequence]:
    """Which lambda a route needs, and the threshold that is recalled."""
    if "linear-growth" in tried and numbers.problem.is_regular:
        yield from numbers.consequence(
            "lambda_V", "the route for linear growth proves the property for every larger lambda",
            fm.LAMBDA_V, "linear-growth",
        )  # fmt: skip
    recalled = numbers.value(fm.RECALLED_THRESHOLD)
    passing = tried & {"bounded", "homogeneous", "linear-growth"}
    shown = passing and recalled.is_bounded and math.isfinite(recalled.hi_float)
    if shown and not numbers.problem.declared.logistic:
        yield Consequence(
            "threshold as recalled",
            "the literal threshold of Gopalani and Mukherjee (arXiv:2210.11452) as recalled; "
            "no verdict rests on it",
            Measurement(recalled.hi_float, "recalled from the paper, evaluated and rounded"),
            latex_of(fm.RECALLED_THRESHOLD), "",
        )  # fmt: skip


def _radii(numbers: Numbers, proved: set[str]) -> Iterator[Consequence]:
    if numbers.problem.declared.s is None:
        return
    meaning = "V_s >= M wherever the trained parameters have at least this norm"
    by_gradient = fm.radius_bounded(numbers.G, numbers.D_bar)
    if "bounded" in proved:
        yield from numbers.consequence("certified radius (V1)", meaning, by_gradient, "bounded")
    if "logistic" in proved:
        yield from numbers.consequence("certified radius", meaning, by_gradient, "logistic")
    if "homogeneous" in proved:
        yield from numbers.consequence(
            "certified radius (V2)", meaning, fm.radius_homogeneous(fm.DRIFT_B), "homogeneous"
        )
        yield from numbers.consequence(
            "certified radius (V2, sign of kappa used)", meaning,
            fm.radius_homogeneous(fm.DRIFT_B_SHARP), "homogeneous",
        )  # fmt: skip


def _gradient(numbers: Numbers) -> Iterator[Consequence]:
    problem = numbers.problem
    if problem.has_bounded_gradient:
        yield from numbers.consequence(
            "bound of the data gradient", "G, the gradient of the data part has at most this norm",
            numbers.G, "bounded gradient",
        )  # fmt: skip
        yield from numbers.consequence(
            "gLip", "the gradient is Lipschitz with this constant", numbers.lipschitz,
            "Lipschitz gradient",
        )  # fmt: skip
        yield from numbers.consequence(
            "admissible step", "every step of gradient descent up to this one "
            "satisfies the hypothesis step <= 1/gLip", 1 / numbers.lipschitz,
            "pessimistic bound",
        )  # fmt: skip
    if not problem.declared.logistic and problem.is_homogeneous:
        yield from numbers.consequence(
            "drift constant b", "<grad f, W> >= lambda ||W||^2 - b everywhere", fm.DRIFT_B_SHARP,
            "homogeneous",
        )  # fmt: skip


def _convexity(numbers: Numbers, proved: set[str]) -> Iterator[Consequence]:
    problem = numbers.problem
    if not (problem.has_bounded_gradient or problem.pulls_one_way):
        return
    by, lam = "strong convexity", q.LAMBDA.symbol
    yield from numbers.consequence(
        "lambda_cvx", "f is strongly convex for every larger lambda: then plain gradient descent "
        "converges and no noise is needed", numbers.convex_from, by,
    )  # fmt: skip
    if not proved & {"convex", "convex-logistic"}:
        return
    modulus = lam - numbers.convex_from
    yield from numbers.consequence(
        "strong convexity constant", "trivial regime: f - (this/2) ||W||^2 is convex", modulus, by
    )
    if proved & {"step", "step-logistic"}:
        yield from numbers.consequence(
            "contraction factor of gradient descent", "factor by which one step of the declared "
            "size shrinks the distance to the only minimiser", 1 - q.STEP.symbol * modulus, by,
        )  # fmt: skip


def _rates(numbers: Numbers, proved: set[str]) -> dict[str, tuple[sp.Expr, Enclosure]]:
    """Return the lower bounds of the spectral gap, by name."""
    found = {}
    if numbers.problem.is_bounded and not numbers.problem.declared.logistic:
        found["Holley-Stroock"] = fm.RATE_HOLLEY_STROOCK
        found["reflection coupling"] = q.COUPLING.symbol
    if proved & {"convex", "convex-logistic"}:
        found["strong convexity"] = q.LAMBDA.symbol - numbers.convex_from
    return {name: (expr, numbers.value(expr)) for name, expr in found.items()}


def _diffusion(numbers: Numbers, proved: set[str]) -> Iterator[Consequence]:
    """Rates of dX = -grad f dt + sqrt(s) dB at the declared s."""
    problem = numbers.problem
    if problem.declared.s is None:
        return
    rates = _rates(numbers, proved)
    for name, (expression, value) in rates.items():
        low = value.lo if isinstance(value.lo, Fraction) else Fraction(0)
        yield Consequence(
            f"rate ({name})",
            "lower bound of the spectral gap of the diffusion at this s",
            Enclosure(max(low, Fraction(0)), float("inf")), latex_of(expression),
            "pessimistic bound",
        )  # fmt: skip
    usable = {n: v.lo for n, (_, v) in rates.items() if isinstance(v.lo, Fraction) and v.lo > 0}
    if not usable:
        return
    best = max(usable, key=lambda name: usable[name])
    yield Consequence(
        "guaranteed rate", "the largest of the lower bounds: chi-square distances "
        "to the Gibbs law fall at least like exp(-2 rate t)",
        Enclosure(usable[best], float("inf")), "", f"pessimistic bound by {best}",
    )  # fmt: skip
    if problem.is_bounded and not problem.declared.logistic:
        yield from _excess(numbers)
        yield from _settling(numbers, rates[best][0], proved)


def _excess(numbers: Numbers) -> Iterator[Consequence]:
    lam = q.LAMBDA.symbol
    if numbers.problem.is_homogeneous:
        expression = fm.excess_risk(lam, fm.DRIFT_B_SHARP, numbers.lipschitz)
    else:  # ||W|| (lambda ||W|| - G) >= (lambda/2) ||W||^2 - G^2/(2 lambda)
        expression = fm.excess_risk(lam / 2, numbers.G**2 / (2 * lam), numbers.lipschitz)
    yield from numbers.consequence(
        "excess risk of the Gibbs law", "the mean of f under exp(-2f/s) exceeds "
        "min f by at most this", expression, "pessimistic bound",
    )  # fmt: skip


def _settling(numbers: Numbers, rate: sp.Expr, proved: set[str]) -> Iterator[Consequence]:
    told = numbers.problem.declared
    equal = told.bias != "regularised" or told.bias_decay == told.decay
    if told.epsilon is not None and "gaussian" in proved and equal:
        yield from numbers.consequence(
            "time to epsilon", "after this time the mean of f exceeds its mean "
            "under the Gibbs law by at most epsilon", fm.settling_time(rate, numbers.D_bar),
            "pessimistic bound",
        )  # fmt: skip

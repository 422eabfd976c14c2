"""Which activations are real analytic, polynomial or strictly monotone, with the reason."""

from __future__ import annotations

from typing import TYPE_CHECKING

from verify.network import Activation
from verify.verdict import Truth
from verify_kernels.activation_analysis import ActivationFacts, analyse, analyse_expression

if TYPE_CHECKING:
    import sympy as sp

_ENTIRE = ("tanh", "sigmoid", "softplus", "gelu", "gelu_tanh", "silu", "mish", "erf", "atan", "sin")
WHY_ANALYTIC = {
    "identity": "a polynomial",
    "square": "a polynomial",
    "tanh": "sinh/cosh, and cosh > 0",
    "sigmoid": "1/(1 + exp(-z)), and 1 + exp(-z) > 0",
    "softplus": "the logarithm of 1 + exp(s z) > 0",
    "gelu": "z times an entire function",
    "gelu_tanh": "z times tanh of a polynomial",
    "silu": "z times the sigmoid",
    "mish": "z tanh(log(1 + exp(z))), and 1 + exp(z) > 0",
    "erf": "the integral of an entire function",
    "atan": "the integral of 1/(1 + z^2)",
    "sin": "entire",
}
WHY_NOT_ANALYTIC = {
    "relu": "no derivative at 0",
    "leaky_relu": "no derivative at 0",
    "elu": "a(exp(z) - 1) on the left of 0 is not z on any interval",
    "abs": "no derivative at 0",
    "hardtanh": "no derivative at -1 and 1",
    "relu6": "no derivative at 0 and 6",
    "softsign": "the second derivative jumps at 0",
}
# leaky_relu(1) is the identity and is answered before.
_NOT_POLYNOMIAL = frozenset({*_ENTIRE, *WHY_NOT_ANALYTIC})
_FLAT = ("relu", "relu6", "hardtanh", "square", "abs")
_EVERYWHERE = ("exp", "sin", "cos", "tanh", "sinh", "cosh", "atan", "erf", "erfc")
_MAX_EXPONENT = 64
_POSITIVE, _NONNEGATIVE = 2, 1


def is_analytic(activation: Activation) -> Truth:
    """Decide whether the activation is real analytic on all of R.

    A table for named ones (leaky_relu(1) is the identity). For a formula the rule is syntactic:
    sums, products, whole powers, functions that are analytic on R, and quotients, roots and
    logarithms of what is proved not to vanish (positive, for the latter two). REFUTED where the
    formula is proved not to be smooth; UNDECIDED where neither applies.
    """
    if activation.is_named:
        if activation.name == "leaky_relu" and activation.parameters[0] == 1:
            return Truth.PROVED
        return Truth.PROVED if activation.name in WHY_ANALYTIC else Truth.REFUTED
    if _analytic(activation.formula()):
        return Truth.PROVED
    return Truth.REFUTED if analyse(activation).smooth is Truth.REFUTED else Truth.UNDECIDED


def exponents(activation: Activation) -> frozenset[int] | None:
    """Return a set that holds the exponents of the activation as a polynomial, or None.

    The set may be too large (terms may cancel); it never lacks one.
    """
    if activation.name == "leaky_relu":
        return frozenset({1}) if activation.parameters[0] == 1 else None
    if activation.is_named:
        return {"identity": frozenset({1}), "square": frozenset({2})}.get(activation.name)
    return _exponents(activation.formula())


def is_polynomial(activation: Activation) -> Truth:
    """Decide whether the activation is a polynomial.

    A formula is not a polynomial if it is not smooth, if it has a finite limit at one end without
    being constant, or if it or one of its first three derivatives is bounded and not constant.
    """
    if exponents(activation) is not None:
        return Truth.PROVED
    if activation.is_named:
        return Truth.REFUTED if activation.name in _NOT_POLYNOMIAL else Truth.UNDECIDED
    facts = analyse(activation)
    unlike = facts.defined is Truth.PROVED and _is_unlike_polynomials(facts)
    return Truth.REFUTED if unlike else Truth.UNDECIDED


def _is_unlike_polynomials(facts: ActivationFacts) -> bool:
    if facts.smooth is Truth.REFUTED:
        return True
    varies = facts.d0.sup.value.lo > facts.d0.inf.value.hi
    if varies and any(limit.finite is Truth.PROVED for limit in facts.limits):
        return True
    if facts.smooth is not Truth.PROVED:
        return False
    for each in (facts.d0, facts.d1, facts.d2, facts.d3):
        bounded = each.inf.finite is Truth.PROVED and each.sup.finite is Truth.PROVED
        if bounded and each.sup.value.lo > each.inf.value.hi:
            return True
    return False


def is_strictly_monotone(activation: Activation) -> Truth:
    """Decide whether the activation is strictly increasing or strictly decreasing on R.

    REFUTED for those of which the analysis proves that they are neither.
    """
    facts = analyse(activation)
    if facts.strictly_increasing is Truth.PROVED:
        return Truth.PROVED
    if activation.name in _FLAT:
        return Truth.REFUTED
    turned = Activation.parse(f"-({activation.expression()})")
    if analyse(turned).strictly_increasing is Truth.PROVED:
        return Truth.PROVED
    rises = facts.d1.sup.finite is Truth.REFUTED or facts.d1.sup.value.lo > 0
    falls = facts.d1.inf.finite is Truth.REFUTED or facts.d1.inf.value.hi < 0
    return Truth.REFUTED if rises and falls else Truth.UNDECIDED


def _exponents(expression: sp.Expr) -> frozenset[int] | None:
    import sympy as sp

    if not expression.free_symbols:
        # sqrt(-3) is no number, and what holds it is no polynomial.
        return frozenset({0}) if _analytic(expression) else None
    if expression.is_Symbol:
        return frozenset({1})
    if isinstance(expression, sp.Add):
        inner = [_exponents(each) for each in expression.args]
        found = [each for each in inner if each is not None]
        return frozenset().union(*found) if len(found) == len(inner) else None
    if isinstance(expression, sp.Mul):
        return _product([_exponents(each) for each in expression.args])
    if isinstance(expression, sp.Pow):
        base, power = expression.args
        whole = power.is_Integer and 0 <= int(power) <= _MAX_EXPONENT
        return _product([_exponents(base)] * int(power)) if whole else None
    return None


def _product(factors: list[frozenset[int] | None]) -> frozenset[int] | None:
    found = frozenset({0})
    for each in factors:
        if each is None or max(found) > 4_096:
            return None
        found = frozenset(i + j for i in found for j in each)
    return found


def _analytic(expression: sp.Expr) -> bool:
    """Return whether the rule proves it; subexpressions without z must be defined, too."""
    import sympy as sp

    if expression.is_Symbol or expression.is_Number or isinstance(expression, sp.NumberSymbol):
        return bool(expression.is_finite or expression.is_Symbol)
    if isinstance(expression, sp.Add | sp.Mul):
        return all(map(_analytic, expression.args))
    name = type(expression).__name__
    if name in _EVERYWHERE:
        return _analytic(expression.args[0])
    if name == "log":
        return len(expression.args) == 1 and _analytic_and_positive(expression.args[0])
    if isinstance(expression, sp.Pow):
        base, power = expression.args
        if power.is_Integer and power >= 0:
            return _analytic(base)
        if power.is_Rational:
            return _analytic_and_positive(base)
        return base is sp.E and _analytic(power)
    return False


def _analytic_and_positive(expression: sp.Expr) -> bool:
    if not _analytic(expression):
        return False
    if _sign(expression) == _POSITIVE:
        return True
    if not expression.free_symbols:
        return False
    facts = analyse_expression(expression)
    return facts.defined is Truth.PROVED and facts.d0.inf.value.lo > 0


def _sign(expression: sp.Expr) -> int:
    """Return 2 if the expression is proved positive for all z, 1 if nonnegative, else 0."""
    import sympy as sp

    if expression.is_Rational:
        return _POSITIVE if expression > 0 else _NONNEGATIVE if expression == 0 else 0
    if isinstance(expression, sp.NumberSymbol) or type(expression).__name__ in ("exp", "cosh"):
        return _POSITIVE
    if isinstance(expression, sp.Add):
        signs = [_sign(each) for each in expression.args]
        return 0 if min(signs) == 0 else max(signs)
    if isinstance(expression, sp.Mul):
        return min(_sign(each) for each in expression.args)
    if isinstance(expression, sp.Pow):
        return _sign_of_power(*expression.args)
    return 0


def _sign_of_power(base: sp.Expr, power: sp.Expr) -> int:
    import sympy as sp

    inner = _sign(base)
    if base is sp.E or (power.is_Rational and inner == _POSITIVE):
        return _POSITIVE
    if power.is_Rational and power > 0 and inner == _NONNEGATIVE:
        return _NONNEGATIVE
    even = power.is_Integer and power > 0 and int(power) % 2 == 0
    return _NONNEGATIVE if even else 0

"""Secant slopes of activations: one table of exact rationals, each with its proof in a sentence.

A secant slope is (s(b) - s(a)) / (b - a) over distinct real a, b. Where s is absolutely
continuous it is the average of s' over [a, b], so bounds of s' are bounds of every secant slope.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction

from verify.errors import InputError
from verify.network.activation import NAMES as KNOWN_NAMES
from verify.network.activation import Activation
from verify.verdict import Truth


@dataclass(frozen=True)
class SlopeClass:
    """What is proved of the secant slopes of an activation.

    Args:
        name: the activation with its parameters.
        alpha, beta: alpha <= every secant slope <= beta, exact.
        attains_alpha, attains_beta: whether some pair of distinct points is known to have exactly
            that slope.
        bounded: whether the activation is bounded and continuous; then z = s(W z + b) has a
            solution for every W and b (Brouwer's fixed-point theorem).
        piecewise_linear: whether the graph consists of finitely many straight pieces.
        monotone: whether the activation is nondecreasing.
        why: the proof in one sentence.
    """

    name: str
    alpha: Fraction
    beta: Fraction
    attains_alpha: bool
    attains_beta: bool
    bounded: bool
    piecewise_linear: bool
    monotone: bool
    why: str


def slope_class(activation: Activation) -> SlopeClass:
    """Return the proved slope class of an activation: its entry, or else what its formula shows.

    Raises:
        InputError: the parameters are wrong, or the secant slopes of the formula are unbounded or
            not bounded by the analysis.
    """
    rule = _TABLE.get(activation.name)
    if rule is None and (activation.text or activation.name in KNOWN_NAMES):
        return _analysed(activation)
    if rule is None:
        raise InputError(
            f"slope_class: expected a formula or one of {', '.join(KNOWN_NAMES)}, "
            f"but got {str(activation)!r}"
        )
    count = 1 if activation.name in _PARAMETRIC else 0
    if len(activation.parameters) != count:
        raise InputError(
            f"slope_class: expected {count} parameter(s) for {activation.name}, "
            f"but got {activation.parameters!r}"
        )
    return rule(activation)


def _analysed(activation: Activation) -> SlopeClass:
    """Return the class that the analysis of the formula proves; its ends are never attained."""
    from verify_kernels.activation_analysis import analyse

    facts = analyse(activation)
    low, high = facts.secant.inf, facts.secant.sup
    alpha, beta = low.value.lo, high.value.hi
    if not (
        low.finite is high.finite is Truth.PROVED
        and isinstance(alpha, Fraction)
        and isinstance(beta, Fraction)
    ):
        infinite = Truth.REFUTED in (low.finite, high.finite)
        reason = facts.why.get("defined") if facts.defined is not Truth.PROVED else ""
        raise InputError(
            f"slope_class: expected an activation with bounded secant slopes, "
            f"but got {str(activation)!r}, whose slopes are "
            f"{'unbounded' if infinite else 'not bounded by the analysis'}"
            f"{f' ({reason})' if reason else ''}"
        )
    return SlopeClass(
        name=str(activation),
        alpha=alpha,
        beta=beta,
        attains_alpha=False,
        attains_beta=False,
        bounded=facts.sup_abs(0).finite is Truth.PROVED,
        piecewise_linear=False,
        monotone=facts.monotone is Truth.PROVED,
        why="range of sigma' from its formula, by branch and bound in ball arithmetic and "
        "expansions at infinity",
    )


_Rule = Callable[[Activation], SlopeClass]
_PARAMETRIC = frozenset({"leaky_relu", "elu", "softplus"})


def _positive(activation: Activation) -> Fraction:
    parameter = activation.parameters[0]
    if parameter <= 0:
        raise InputError(f"slope_class: expected a positive parameter, but got {str(activation)!r}")
    return parameter


def _leaky_relu(activation: Activation) -> SlopeClass:
    slope = activation.parameters[0]
    return SlopeClass(
        name=str(activation),
        alpha=min(slope, Fraction(1)),
        beta=max(slope, Fraction(1)),
        attains_alpha=True,
        attains_beta=True,
        bounded=False,
        piecewise_linear=True,
        monotone=slope >= 0,
        why=f"sigma' is {slope} for v < 0 and 1 for v > 0, each on a whole half-line",
    )


def _elu(activation: Activation) -> SlopeClass:
    a = _positive(activation)
    return SlopeClass(
        name=str(activation),
        alpha=Fraction(0),
        beta=max(Fraction(1), a),
        attains_alpha=False,
        attains_beta=a <= 1,
        bounded=False,
        piecewise_linear=False,
        monotone=True,
        why=f"sigma' is 1 for v > 0 and {a} exp(v), strictly between 0 and {a}, for v < 0",
    )


def _softplus(activation: Activation) -> SlopeClass:
    _positive(activation)
    return _strict(activation, 0, 1, False, "sigma' = 1/(1 + exp(-beta v)) lies strictly in (0, 1)")


def _strict(
    activation: Activation,
    alpha: int | Fraction,
    beta: int | Fraction,
    bounded: bool,
    why: str,
    *,
    monotone: bool = True,
) -> SlopeClass:
    """Return the class of a smooth activation with secant slopes strictly in (alpha, beta)."""
    ends = (Fraction(alpha), Fraction(beta))
    return SlopeClass(str(activation), *ends, False, False, bounded, False, monotone, why)


def _pieces(
    activation: Activation,
    alpha: int,
    beta: int,
    bounded: bool,
    why: str,
    *,
    monotone: bool = True,
) -> SlopeClass:
    """Return the class of straight pieces, one of slope alpha and one of slope beta."""
    ends = (Fraction(alpha), Fraction(beta))
    return SlopeClass(str(activation), *ends, True, True, bounded, True, monotone, why)


_TABLE: dict[str, _Rule] = {
    "relu": lambda s: _pieces(
        s, 0, 1, False, "sigma' is 0 for v < 0 and 1 for v > 0, each on a whole half-line"
    ),
    "leaky_relu": _leaky_relu,
    "elu": _elu,
    "tanh": lambda s: _strict(
        s, 0, 1, True, "sigma' = 1 - tanh(v)^2 lies in (0, 1] and equals 1 at v = 0 only"
    ),
    "sigmoid": lambda s: _strict(
        s,
        0,
        Fraction(1, 4),
        True,
        "sigma' = sigma (1 - sigma), 0 < sigma < 1, lies in (0, 1/4] and equals 1/4 at v = 0 only",
    ),
    "softplus": _softplus,
    "identity": lambda s: _pieces(s, 1, 1, False, "sigma' is 1 everywhere"),
    "abs": lambda s: _pieces(
        s, -1, 1, False, "sigma' is -1 for v < 0 and 1 for v > 0", monotone=False
    ),
    "hardtanh": lambda s: _pieces(
        s, 0, 1, True, "sigma' is 1 for |v| < 1 and 0 for |v| > 1, and sigma is continuous"
    ),
    "relu6": lambda s: _pieces(
        s,
        0,
        1,
        True,
        "sigma' is 1 for 0 < v < 6 and 0 for v < 0 and v > 6, and sigma is continuous",
    ),
    "softsign": lambda s: _strict(
        s, 0, 1, True, "sigma' = 1/(1 + |v|)^2 lies in (0, 1] and equals 1 at v = 0 only"
    ),
    "gelu": lambda s: _strict(
        s,
        Fraction(-13, 100),
        Fraction(113, 100),
        False,
        "sigma' = Phi(v) + v phi(v), sigma'' = (2 - v^2) phi(v), so sigma' lies between its "
        "values at -sqrt(2) and sqrt(2), -0.1289... and 1.1289... (ball arithmetic)",
        monotone=False,
    ),
    "silu": lambda s: _strict(
        s,
        Fraction(-1, 10),
        Fraction(11, 10),
        False,
        "sigma'(v) + sigma'(-v) = 1 and, with p = 1/(1 + exp(-v)), sigma' = p + v p (1 - p) "
        "has its extrema where v tanh(v/2) = 2, with values -0.0998... and 1.0998... (ball "
        "arithmetic)",
        monotone=False,
    ),
    "sin": lambda s: _strict(
        s,
        -1,
        1,
        True,
        "|sin b - sin a| = 2 |sin((b - a)/2)| |cos((a + b)/2)| < |b - a| for distinct a, b",
        monotone=False,
    ),
}

NAMES = tuple(sorted(_TABLE))
"""The activations with a proved entry."""

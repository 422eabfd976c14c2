"""Formulas made to deceive the analysis, and random ones against an independent evaluation."""

from __future__ import annotations

import os
import random
import time
from fractions import Fraction

import flint
import mpmath as mp
import pytest
from flint import arb

from verify.errors import InputError, SettingsError
from verify.network.activation import Activation
from verify.network.expression import parse_expression
from verify.verdict import Truth
from verify_kernels.activation_analysis import analyse_expression, jet
from verify_kernels.slopes import slope_class

FULL = os.environ.get("VERIFY_CAMPAIGN") == "full"
COUNT = 1_200 if FULL else 120
SEED = 77_2026
PROVED, REFUTED, UNDECIDED = Truth.PROVED, Truth.REFUTED, Truth.UNDECIDED
HIDDEN = "(sqrt(2)+sqrt(3)-sqrt(5+2*sqrt(6)))"  # zero, by no rule


def facts_of(text):
    return analyse_expression(parse_expression(text))


# --- roots whose operand vanishes inside ----------------------------------------------------------


@pytest.mark.parametrize("text", ["sqrt(z*z)", "z+sqrt(z*z)", "z*sqrt((z-1)*(z-1))"])
def test_a_root_at_zero_is_no_analytic_function(text):
    facts = facts_of(text)
    assert facts.smooth is not PROVED
    assert facts.strictly_increasing is not PROVED
    for slope in (-1, 0) if text[0] == "s" else (0,):
        for end in (facts.d1, facts.secant):
            assert end.inf.finite is not PROVED or end.inf.value.lo <= slope


def test_slopes_of_a_hidden_absolute_value_are_not_those_of_one_side():
    with pytest.raises(InputError, match="not bounded by the analysis"):
        slope_class(Activation.parse("sqrt(z*z)"))


def test_the_sign_on_one_side_of_a_root_says_nothing_of_the_other():
    facts = facts_of("sign(sqrt(z*z)-z)")  # 1 to the left, 0 to the right
    assert facts.d0.sup.finite is not PROVED or facts.d0.sup.value.hi >= 1


@pytest.mark.parametrize("order", [1, 2, 3])
@pytest.mark.parametrize("text", ["sqrt(z*z)", "(z**2*z**2*z**2)**(1/6)"])
def test_jets_at_the_zero_of_a_root_hold_both_slopes(text, order):
    slope = jet(Activation.parse(text), arb(0), order)[1]
    assert slope.contains(1)
    assert slope.contains(-1)


def test_jets_of_a_product_of_roots_hold_the_slopes_of_both_sides():
    slope = jet(Activation.parse("sqrt(Max(z,0))*sqrt(Max(z,0))"), arb(0), 1)[1]
    assert slope.contains(0)
    assert slope.contains(1)


def test_a_root_of_a_constant_piece_has_slope_zero():
    for ball in (arb(-2), arb(-2) + arb(0, 1) / 8):
        assert jet(Activation.parse("Max(z,0)**(3/2)"), ball, 2)[2].is_zero()


# --- single points --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "text",
    [
        "1/sign(z)", "z/sign(z)", "0/sign(z)+z", "log(sign(z)**2)", "sqrt(sign(z**2)-1/2)",
        "tanh(1/sign(z))", "z*atan(1/sign(z))", "z*sin(log(sign(z)**2))", "0*log(pi-4)+z",
        "z/(1+exp(1/sign(z**2)))", "0*sqrt(1/2-E)+tanh(z)",
    ],
)  # fmt: skip
def test_what_has_no_value_at_one_point_is_not_defined(text):
    facts = facts_of(text)
    assert facts.defined is not PROVED
    assert facts.smooth is not PROVED


@pytest.mark.parametrize(
    "text",
    [
        "sqrt(2)+1e-80*sign(z)**2",
        "Piecewise((z+sqrt(2),z<0),(sqrt(2)+1e-80,z<=0),(z+sqrt(2),True))",
        "Piecewise((z,sign(z)-1+z>0),(0,sign(z)-1+z>=0),(5,z>=0),(z,True))",
        "sqrt(2)*z+1e-70*Piecewise((1,z**2<=0),(0,True))",
    ],
)
def test_a_value_that_jumps_at_one_point_is_not_smooth(text):
    facts = facts_of(text)
    assert facts.smooth is not PROVED
    assert facts.secant.sup.finite is not PROVED
    assert facts.strictly_increasing is not PROVED


def test_equal_values_at_one_point_are_still_recognised():
    for text in ("Piecewise((z+sqrt(2),z<0),(sqrt(2),z<=0),(z+sqrt(2),True))",
                 "z+sign(z)*Max(z-z,0)"):  # fmt: skip
        assert facts_of(text).smooth is PROVED


def test_a_condition_is_not_zero_where_only_one_side_tends_to_zero():
    facts = facts_of("Piecewise((1,sign(z)-1+z>0),(7,sign(z)-1+z>=0),(0,True))")
    assert facts.d0.sup.value.hi == 1


# --- constants that cancel without a rule ---------------------------------------------------------


@pytest.mark.parametrize(("wave", "value"), [("sin", 0), ("cos", 1)])
def test_a_phase_that_cancels_does_not_oscillate(wave, value):
    facts = facts_of(f"{wave}({HIDDEN}*z)")
    assert [limit.finite for limit in facts.limits] == [UNDECIDED, UNDECIDED]
    assert facts.d0.sup.value.lo <= value
    assert facts.d0.inf.value.hi >= 0


def test_a_growing_term_that_cancels_does_not_grow():
    assert facts_of(f"{HIDDEN}*z").growth == ("unknown", "unknown")


# --- sizes ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "text",
    [
        "((2*z+1+z**2)*(1e6+(z-1)))**(-1/2)",
        "exp(1e12*log(2))*z",
        "Max(z,exp(-1e12))",
        "exp(-1e12*(2+sin(z*z)))",
        "exp(1e12)*tanh(z)",
    ],
)
def test_large_numbers_end_and_are_never_called_finite_without_bounds(text):
    facts = facts_of(text)
    for name in ("d0", "d1", "d2", "d3", "kappa", "zd1", "secant"):
        both = getattr(facts, name)
        for bound in (both.inf, both.sup):
            assert bound.finite is not PROVED or bound.value.is_bounded


# --- random formulas ------------------------------------------------------------------------------

NUMBERS = ("2", "3", "1/2", "-1", "0", "1", "1/3", "0.1", "10", "pi", "E", "1e3", "1e-3")
FUNCTIONS = (
    "tanh", "atan", "erf", "sin", "cos", "sigmoid", "softplus", "Abs", "sign", "exp", "sqrt", "log",
)  # fmt: skip
PLACES = (0, 1, -1, 0.5, -0.5, 2, -2, 1e-3, 10, -10, 100, -100, 1e5, -1e5, 1e40, -1e40, 1e300)
ABSORBED = frozenset({"exp", "erf", "tanh"})  # of large operands sums lose them


def formula(rng, depth):
    """A random text of the grammar."""
    if depth == 0:
        number = rng.choice(NUMBERS)
        return rng.choice(("z", "z", f"({number})*z", f"(z-({number}))", "z*z", "z**2", number))
    a, b = formula(rng, depth - 1), formula(rng, rng.randrange(depth))
    cases = (
        f"{rng.choice(FUNCTIONS)}({a})",
        f"{rng.choice(FUNCTIONS)}({a})",
        f"({a}+{b})",
        f"({a})*({b})",
        f"({a})/(1+({b})**2)",
        f"({a})/sign({b})",
        f"({a})**({rng.choice(('2', '3', '1/2', '3/2', '-1', '0'))})",
        f"{rng.choice(('Max', 'Min'))}({a},{b})",
        f"Piecewise(({a},{rng.choice(('z', 'z**2', 'z*z-2'))}{rng.choice(('<', '<=', '>', '>='))}"
        f"{rng.choice(('0', '1'))}),({b},True))",
        f"sign({a})*({b})+z",
    )
    return rng.choice(cases)


class NoNumberError(Exception):
    """Outside the domain."""


def certain(value, operand=None):
    """A number that enters a decision, if rounding cannot have made it zero or nonzero."""
    unsure = value != 0 and abs(value) < mp.mpf(10) ** (-mp.mp.dps // 3)
    absorbed = value == 0 and any(type(part).__name__ in ABSORBED for part in subtrees(operand))
    if unsure or absorbed:
        raise ArithmeticError
    return value


def subtrees(e):
    if e is not None:
        yield e
        for arg in e.args:
            yield from subtrees(arg)


def evaluated(e, x):
    """The formula at a point by the definitions, in mpmath."""
    kind = type(e).__name__
    if e.is_Symbol:
        return x
    if e.is_Rational:
        return mp.mpf(int(e.p)) / int(e.q)
    if kind in ("Pi", "Exp1"):
        return +(mp.pi if kind == "Pi" else mp.e)
    if kind == "Piecewise":
        for value, condition in e.args:
            if condition == True or holds(condition, x):  # noqa: E712  # SymPy's own truth value
                return evaluated(value, x)
    operands = [evaluated(arg, x) for arg in e.args]
    if kind == "Add":
        return mp.fsum(operands)
    if kind == "Mul":
        return mp.fprod(operands)
    first = operands[0]
    if kind == "Pow":
        return raised(certain(first, e.base), Fraction(int(e.exp.p), int(e.exp.q)))
    if kind == "log" and certain(first, e.args[0]) <= 0:
        raise NoNumberError
    if abs(first) > 1e4 and kind in ("exp", "erf"):
        raise ArithmeticError
    if kind in ("Max", "Min"):
        return max(operands) if kind == "Max" else min(operands)
    if kind == "Abs":
        return abs(first)
    return getattr(mp, kind)(certain(first, e.args[0]) if kind == "sign" else first)


def holds(condition, x):
    left, right = (evaluated(side, x) for side in condition.args)
    difference, kind = certain(left - right, condition), type(condition).__name__
    if difference == 0:
        return not kind.startswith("Strict")
    return (difference > 0) == ("Greater" in kind)


def raised(base, power):
    if power == 0:
        return mp.mpf(1)
    if base == 0:
        if power < 0:
            raise NoNumberError
        return mp.mpf(0)
    if power.denominator == 1:
        return base ** int(power)
    if base < 0:
        raise NoNumberError
    return mp.exp(mp.log(base) * power.numerator / power.denominator)


def value_at(e, x):
    """The value if two precisions agree on it; None if they do not."""
    found = []
    for digits in (70, 110) if abs(x) < 1e16 else (690, 720):
        with mp.workdps(digits):
            try:
                found.append(evaluated(e, mp.mpf(x)))
            except (ArithmeticError, ValueError):
                return None
    if abs(found[0] - found[1]) > mp.mpf(10) ** -40 * abs(found[1]):
        return None
    return found[1]


def size(end):
    return mp.mpf(end.numerator) / end.denominator


def lies_beyond(bound, value, error, side):
    if bound.finite is not PROVED:
        return False
    end = size(bound.value.hi if side > 0 else bound.value.lo)
    return side * (value - end) > error + mp.mpf(10) ** -35 * (abs(value) + abs(end))


def violations(facts, e, xs):
    """Count what is certainly wrong at some points."""
    wrong, before = 0, None
    for x in sorted(set(xs)):
        try:
            value = value_at(e, x)
        except NoNumberError:
            wrong += facts.defined is PROVED
            before = None
            continue
        if value is None:
            continue
        both = (facts.d0.inf, -1), (facts.d0.sup, 1)
        wrong += sum(lies_beyond(bound, value, 0, side) for bound, side in both)
        if before is not None:
            step = mp.mpf(x) - before[0]
            noise = mp.mpf(10) ** -38 * (abs(value) + abs(before[1]))
            slope = (value - before[1]) / step
            both = (facts.secant.inf, -1), (facts.secant.sup, 1)
            wrong += sum(lies_beyond(bound, slope, noise / step, side) for bound, side in both)
            wrong += facts.monotone is PROVED and value < before[1] - noise
        before = (mp.mpf(x), value)
    return wrong


@pytest.mark.soundness
def test_random_formulas_against_mpmath():
    rng, started, wrong, cases, proved = random.Random(SEED), time.perf_counter(), 0, 0, 0
    for _ in range(COUNT):
        text = formula(rng, rng.choice((1, 2, 2)))
        try:
            e = parse_expression(text)
        except SettingsError:
            continue
        facts = analyse_expression(e)
        near = [float(kink.place.hi) for kink in facts.kinks if kink.place.is_bounded]
        xs = [*PLACES, *near, *(rng.gauss(0, 3) for _ in range(12))]
        with mp.workdps(110), flint.ctx.workprec(160):
            bad = violations(facts, e, xs)
        assert bad == 0, text
        wrong, cases, proved = wrong + bad, cases + 1, proved + (facts.defined is PROVED)
    seconds = time.perf_counter() - started
    print(
        f"campaign adversarial activations: {cases} cases, seed {SEED}, {seconds:.1f} s, "
        f"{wrong} wrong ({proved} proved to be defined)"
    )
    assert proved > cases // 3


def test_the_comparison_notices_a_false_claim():
    e = parse_expression("Abs(z)")
    false = facts_of("z")
    assert violations(false, e, PLACES) > 0
    assert violations(facts_of("tanh(z)"), parse_expression("2*tanh(z)"), PLACES) > 0
    assert violations(facts_of("z"), parse_expression("z/sign(z)"), PLACES) > 0

from __future__ import annotations

import time
from fractions import Fraction

import flint
import pytest
from flint import arb

from verify.enclosure import Enclosure
from verify.errors import InputError
from verify.network.activation import Activation
from verify.network.expression import parse_expression
from verify.verdict import Truth
from verify_kernels import ball_activation
from verify_kernels.activation_analysis import analyse, analyse_expression, jet
from verify_kernels.activation_analysis.jet import derivatives
from verify_kernels.activation_analysis.tree import tree_of
from verify_kernels.slopes import NAMES, slope_class

PARAMETERS = {"leaky_relu": "(1/3)", "softplus": "(5)", "elu": "(2)"}
PROVED, REFUTED, UNDECIDED = Truth.PROVED, Truth.REFUTED, Truth.UNDECIDED


def facts_of(text):
    return analyse_expression(parse_expression(text))


# --- domains -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "text",
    [
        "z/z", "1/z", "tan(z)", "log(z)", "sqrt(z)", "log(1 + z)", "z/(z**2 - 2)",
        "(z**2 - 1)/(z - 1)", "log(cos(z))", "z**(1/3)", "Max(1/z, 0)", "0*log(z)",
        "1/Max(z, 0)", "sqrt(sin(z))",
    ],
)  # fmt: skip
def test_a_hole_in_the_domain_is_found(text):
    facts = facts_of(text)
    assert facts.defined is REFUTED
    assert facts.smooth is REFUTED
    assert facts.why["defined"]
    for bound in (facts.d0.inf, facts.d1.sup, facts.l0, facts.secant.sup, *facts.limits):
        assert bound.finite is UNDECIDED


@pytest.mark.parametrize(
    "text",
    [
        "log(1 + z**2)", "1/(1 + z**2)", "sqrt(1 + z**4)", "1/(2 + sin(z))", "log(1 + exp(-z))",
        "Piecewise((1/z, z > 1), (z, True))", "Piecewise((log(z), z > 1), (z - 1, True))",
        "1/(1 + Abs(z))", "sqrt(z**2)",
    ],
)  # fmt: skip
def test_a_formula_defined_everywhere_is_proved_so(text):
    assert facts_of(text).defined is PROVED


# --- smoothness --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "order", "kinks"),
    [
        ("Abs(z)", 0, [0]),
        ("Abs(z)*z", 1, [0]),
        ("Abs(z)**3", 2, [0]),
        ("Max(z, tanh(z))", 2, [0]),
        ("sqrt(z**2)", 0, [0]),
        ("Piecewise((z, z > 0), (exp(z) - 1, True))", 1, [0]),
        ("Piecewise((z, z > 0), (sin(z), True))", 2, [0]),
        ("Piecewise((1, z >= 0), (0, True))", -1, [0]),
        ("Piecewise((z, z < 0), (5, z <= 0), (z, True))", -1, [0]),
        ("Max(z/3, 0) + Max(z - 1/3, 0)", 0, [0, Fraction(1, 3)]),
        ("z*Min(Max(z + 3, 0), 6)/6", 0, [-3, 3]),
        ("Piecewise((log(z), z > 1), (z - 1, True))", 1, [1]),
    ],
)
def test_the_order_of_smoothness_is_exact(text, order, kinks):
    facts = facts_of(text)
    assert facts.smooth is REFUTED
    assert facts.order == order
    assert len(facts.kinks) == len(kinks)
    for kink, place in zip(facts.kinks, kinks, strict=True):
        assert kink.place.contains(Fraction(place))


@pytest.mark.parametrize(
    "text",
    ["Abs(1 + z**2)", "Max(z**2, -1)", "Abs(z)**2", "Max(z, z)", "sign(2 + tanh(z))*z",
     "Piecewise((z, z > 1), (z, True))", "Abs(z)*sign(z)*z + z**2", "Max(exp(z), 0)"],
)  # fmt: skip
def test_switches_that_change_nothing_leave_it_smooth(text):
    assert facts_of(text).smooth in (PROVED, UNDECIDED)
    assert facts_of(text).kinks == ()


def test_an_inactive_switch_is_proved_smooth():
    assert facts_of("Abs(1 + z**2)").smooth is PROVED
    assert facts_of("Max(z**2, -1)").smooth is PROVED
    assert facts_of("Abs(z)**2").smooth is PROVED


def test_irrational_kinks_are_enclosed():
    facts = facts_of("Max(z**2 - 2, 0)")
    assert facts.order == 0
    low, high = (kink.place for kink in facts.kinks)
    assert low.lo**2 >= 2 >= low.hi**2
    assert high.lo**2 <= 2 <= high.hi**2
    assert facts.kinks[1].left[1] == Enclosure.exact(0)
    assert facts.kinks[1].right[1].lo > 2.8


def test_one_sided_derivatives_of_a_kink():
    (kink,) = facts_of("Abs(tanh(z))").kinks
    assert [side[1] for side in (kink.left, kink.right)] == [
        Enclosure.exact(-1),
        Enclosure.exact(1),
    ]
    assert kink.left[3].contains(2)


def test_a_jump_makes_secant_slopes_infinite_on_its_side_only():
    facts = facts_of("sign(z)")
    assert facts.secant.sup.finite is REFUTED
    assert facts.secant.inf.value == Enclosure.exact(0)
    assert facts.monotone is PROVED
    assert facts_of("-sign(z)").monotone is REFUTED
    lifted = facts_of("Piecewise((z, z < 0), (5, z <= 0), (z, True))")
    assert lifted.secant.inf.finite is lifted.secant.sup.finite is REFUTED
    assert lifted.monotone is REFUTED
    assert lifted.value_at_zero == Enclosure.exact(5)
    bumped = facts_of("Piecewise((0, z < 0), (5, z <= 0), (0, True))")
    assert bumped.d0.sup.value == Enclosure.exact(5)


# --- infinity ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "growth"),
    [
        ("log(1 + z**2)", "logarithmic"), ("z*sin(z)", "linear"), ("z**2", "quadratic"),
        ("z**3 - z", "cubic"), ("z**5", "polynomial"), ("cosh(z)", "exponential"),
        ("sin(z)", "bounded"), ("z*exp(-z**2)", "bounded"), ("sqrt(1 + z**2)", "linear"),
    ],
)  # fmt: skip
def test_growth(text, growth):
    assert facts_of(text).growth == (growth, growth)


@pytest.mark.parametrize(
    ("text", "left", "right"),
    [
        ("z", "-infinity", "+infinity"), ("exp(z)", 0, "+infinity"), ("cos(z)", None, None),
        ("sqrt(1 + z**2) + z", 0, "+infinity"), ("z/sqrt(1 + z**2)", -1, 1),
        ("z*sin(1/(1 + z**2))", 0, 0), ("sqrt(1 + z**4) - z**2", 0, 0),
        ("exp(-exp(-z))", 0, 1), ("z + sin(z)", "-infinity", "+infinity"),
    ],
)  # fmt: skip
def test_limits(text, left, right):
    for limit, expected in zip(facts_of(text).limits, (left, right), strict=True):
        if isinstance(expected, int):
            assert limit.finite is PROVED
            assert limit.value.contains(expected)
            assert limit.value.width < Fraction(1, 2**90)
        else:
            assert limit.finite is REFUTED
            assert limit.where == (expected or "no limit: it oscillates")


def test_an_oscillating_slope_reaches_its_amplitude():
    """sup |d/dz z cos(omega log(1+z^2)/2)| = sqrt(1 + omega^2), a limit superior."""
    for omega in (Fraction(1, 10), Fraction(1), Fraction(7, 2)):
        facts = facts_of(f"z*cos({omega}*log(1 + z**2)/2)")
        square = 1 + omega**2
        for bound in (facts.sup_abs(1), facts.l1):
            assert bound.value.lo**2 <= square <= bound.value.hi**2
            assert bound.value.width < Fraction(1, 10**9)
        assert facts.l0.value.contains(1)
        assert facts.kappa1.value.lo <= omega <= facts.kappa1.value.hi
        assert facts.kappa0.finite is REFUTED


def test_a_slope_that_only_touches_zero_is_monotone():
    facts = facts_of("z + sin(z)**2")
    assert facts.d1.inf.value == Enclosure.exact(0)
    assert facts.monotone is facts.strictly_increasing is PROVED
    assert facts_of("z + 101*sin(z)/100").monotone is REFUTED
    assert facts_of("z + 99*sin(z)/100").strictly_increasing is PROVED


# --- parity, hostile and degenerate ------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "even", "odd"),
    [
        ("tanh(z)", REFUTED, PROVED), ("exp(-z**2)", PROVED, REFUTED),
        ("softplus(z)", REFUTED, REFUTED), ("z*tanh(z)", PROVED, REFUTED),
        ("2*sigmoid(z) - 1", REFUTED, PROVED), ("z*Abs(z)", REFUTED, PROVED),
    ],
)  # fmt: skip
def test_parity(text, even, odd):
    facts = facts_of(text)
    assert (facts.even, facts.odd) == (even, odd)


@pytest.mark.parametrize(
    "text",
    [
        "0*z", "5 + 0*z", "z**64", "exp(exp(z))", "exp(exp(exp(z)))", "sin(exp(z))", "z - z",
        "exp(-exp(z))*exp(exp(-z))", "tanh(tanh(tanh(tanh(z))))", "Max(sin(z), 0)",
        "Abs(sin(1/(1 + z**2)))", "sqrt(Abs(z))", "log(log(3 + z**2))", "Max(z**2 - 2, z**4 - 4)",
        "sign(z - sqrt(2)) + Abs(z - sqrt(2))", "sin(z)**2 + cos(z)**2", "exp(1000000*z)",
        "softplus(softplus(softplus(softplus(z))))", "cos(z**2)*exp(-z**2)",
        "1/(1 + exp(-exp(z)))", "exp(sin(z)) + cos(3*z)", "log(exp(z) + exp(2*z) + exp(-z))",
    ],
)  # fmt: skip
def test_hostile_formulas_end_without_an_error(text):
    started = time.process_time()
    facts = facts_of(text)
    assert facts.defined in (PROVED, UNDECIDED)
    assert time.process_time() - started < 30


def test_constants_are_constant():
    facts = facts_of("5 + 0*z")
    assert facts.d0.inf.value == facts.d0.sup.value == Enclosure.exact(5)
    assert facts.sup_abs(1).value == Enclosure.exact(0)
    assert facts.monotone is PROVED
    assert facts.strictly_increasing is REFUTED


def test_an_analysis_is_made_once():
    activation = Activation.parse("tanh(z) + z/7")
    assert analyse(activation) is analyse(activation)


def test_the_precision_of_the_caller_is_kept():
    with flint.ctx.workprec(77):
        facts_of("tanh(z) + z/13")
        assert flint.ctx.prec == 77


# --- jets --------------------------------------------------------------------------------------


def test_jets_of_every_named_activation_contain_their_difference_quotients():
    with flint.ctx.workprec(300):
        for name in NAMES:
            activation = Activation.parse(name + PARAMETERS.get(name, ""))
            for x in (-2.25, -0.3, 0.7, 5.5):
                step = arb(2) ** -60
                low, high = (jet(activation, arb(x) + sign * step, 4) for sign in (-1, 1))
                around = jet(activation, (arb(x) - step).union(arb(x) + step), 4)
                for k in range(4):
                    quotient = (high[k] - low[k]) / (2 * step)
                    assert around[k + 1].overlaps(quotient), (name, x, k)


@pytest.mark.parametrize(
    "text",
    ["log(z + sqrt(1 + z**2))", "atan(z)", "erf(z)", "erfc(z)", "log(cosh(z))", "expm1(z)",
     "log1p(z**2)", "sinh(z)", "cosh(z)", "(2 + sin(z))**(2/3)", "softplus(z)", "tan(z/9)"],
)  # fmt: skip
def test_high_derivatives_agree_with_exact_differentiation(text):
    expression = parse_expression(text)
    (symbol,) = expression.free_symbols
    with flint.ctx.workprec(200):
        for x in (Fraction(-7, 4), Fraction(1, 8), Fraction(3)):
            found = derivatives(tree_of(expression), arb(flint.fmpq(x.numerator, x.denominator)), 7)
            for k in (1, 4, 7):
                derivative = expression.doit().diff(symbol, k)
                exact = str(
                    derivative.subs(symbol, symbol.func("q")).subs(symbol.func("q"), x).evalf(40)
                )
                assert found[k].overlaps(arb(exact) + arb(0, 1) * (abs(arb(exact)) + 1) * 1e-30)


def test_a_jet_over_a_kink_holds_both_sides():
    value, slope, *_ = jet(Activation.parse("relu"), arb(0, 1), 2)
    assert value.contains(0)
    assert value.contains(1)
    assert slope.contains(0)
    assert slope.contains(1)


def test_a_jet_outside_the_domain_is_unbounded():
    value, slope = derivatives(tree_of(parse_expression("log(z)")), arb(0, 1), 1)
    assert not value.is_finite()
    assert not slope.is_finite()


@pytest.mark.parametrize("order", [-1, 9])
def test_orders_out_of_range_are_refused(order):
    with pytest.raises(InputError, match=r"expected .*, but got"):
        jet(Activation.parse("tanh"), arb(0), order)


# --- slopes ------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", NAMES)
def test_the_slope_table_agrees_with_the_analysis(name):
    activation = Activation.parse(name + PARAMETERS.get(name, ""))
    known, facts = slope_class(activation), analyse(activation)
    assert known.alpha <= facts.secant.inf.value.hi
    assert facts.secant.sup.value.lo <= known.beta
    if name not in ("gelu", "silu"):  # entries of two digits
        assert facts.secant.inf.value.contains(known.alpha)
        assert facts.secant.sup.value.contains(known.beta)
    assert (facts.monotone is PROVED) == known.monotone
    assert (facts.sup_abs(0).finite is PROVED) == known.bounded


def test_slopes_of_a_formula():
    known = slope_class(Activation.parse("tanh(z) + z/10"))
    assert known.alpha <= Fraction(1, 10) <= known.alpha + Fraction(1, 10**9)
    assert known.beta >= Fraction(11, 10) >= known.beta - Fraction(1, 10**9)
    assert not known.bounded
    assert known.monotone
    assert slope_class(Activation.parse("erf")).bounded


@pytest.mark.parametrize("text", ["z**2", "exp(z)", "sign(z)", "1/z", "Max(z, 0)**2"])
def test_unbounded_slopes_are_refused(text):
    with pytest.raises(InputError, match=r"expected .*, but got"):
        slope_class(Activation.parse(text))


def test_values_and_slopes_of_a_formula_at_balls():
    activation = Activation.parse("tanh(z) + z/10")
    wide = arb(1, 2)
    for x in (-1, 0, 1, 3):
        assert ball_activation.value(activation, wide).contains(arb(x).tanh() + arb(x) / 10)
        assert ball_activation.slope(activation, wide).overlaps(arb(x).sech() ** 2 + arb("0.1"))
    step = ball_activation.value(Activation.parse("sign(z)"), arb(0, 1))
    assert step.contains(-1)
    assert step.contains(1)

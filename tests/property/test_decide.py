"""Laws of `decide`, on formulas whose exact value is a Fraction or unknown (domain fault)."""

from fractions import Fraction

import sympy as sp
from hypothesis import assume, given
from hypothesis import strategies as st

from verify.decide import decide, evaluate
from verify.enclosure import Enclosure
from verify.verdict import Truth

SYMBOLS = sp.symbols("x y", real=True)
KINDS = [sp.Lt, sp.Le, sp.Gt, sp.Ge, sp.Eq, sp.Ne]

numbers = st.one_of(
    st.integers(-4, 4).map(Fraction),
    st.floats(-8, 8, allow_nan=False, width=32).map(Fraction),
    st.fractions(-3, 3, max_denominator=7).map(lambda x: Fraction(float(x))),
)
leaves = st.one_of(
    st.sampled_from(SYMBOLS),
    st.fractions(-3, 3, max_denominator=6).map(lambda x: sp.Rational(x.numerator, x.denominator)),
)


def grown(inner):
    pairs = st.tuples(inner, inner)
    return st.one_of(
        pairs.map(lambda p: p[0] + p[1]),
        pairs.map(lambda p: p[0] - p[1]),
        pairs.map(lambda p: p[0] * p[1]),
        pairs.map(lambda p: p[0] / (p[1] ** 2 + 1)),
        pairs.map(lambda p: sp.Min(*p)),
        pairs.map(lambda p: sp.Max(*p)),
        inner.map(sp.Abs),
        inner.map(lambda a: a**3),
        inner.filter(lambda a: a != 0).map(lambda a: 1 / a),
    )


expressions = st.recursive(leaves, grown, max_leaves=6)
points = st.fixed_dictionaries({symbol: numbers for symbol in SYMBOLS})
widths = st.fixed_dictionaries(
    {s: st.tuples(*2 * [st.one_of(st.just(0), numbers.map(abs), st.just(float("inf")))])
     for s in SYMBOLS}
)  # fmt: skip


def exact(expression, point):
    """The value as a Fraction; ZeroDivisionError where it is no number."""
    if expression.is_Symbol:
        return point[expression]
    if expression.is_Rational:
        return Fraction(int(expression.p), int(expression.q))
    if expression.is_Pow:
        return exact(expression.base, point) ** int(expression.exp)
    items = [exact(item, point) for item in expression.args]
    if expression.is_Add:
        return sum(items)
    if expression.is_Mul:
        product = Fraction(1)
        for item in items:
            product *= item
        return product
    if isinstance(expression, sp.Abs):
        return abs(items[0])
    return max(items) if isinstance(expression, sp.Max) else min(items)


def holds(kind, lhs, rhs):
    return {
        sp.Lt: lhs < rhs, sp.Le: lhs <= rhs, sp.Gt: lhs > rhs, sp.Ge: lhs >= rhs,
        sp.Eq: lhs == rhs, sp.Ne: lhs != rhs,
    }[kind]  # fmt: skip


def relation(kind, lhs, rhs):
    made = kind(lhs, rhs)
    assume(made not in (sp.true, sp.false))
    assume(not made.has(sp.zoo, sp.nan, sp.oo))
    return made


def widened(point, around):
    return {s: Enclosure(x - around[s][0], x + around[s][1]) for s, x in point.items()}


@given(st.sampled_from(KINDS), expressions, expressions, points)
def test_one_number_each_is_always_decided_rightly(kind, lhs, rhs, point):
    hypothesis = relation(kind, lhs, rhs)
    tight = {symbol: Enclosure.exact(x) for symbol, x in point.items()}
    try:
        expected = holds(kind, exact(lhs, point), exact(rhs, point))
    except ZeroDivisionError:
        return
    assert decide(hypothesis, tight, {}).truth is (Truth.PROVED if expected else Truth.REFUTED)


@given(st.sampled_from(KINDS), expressions, expressions, points, widths)
def test_wide_enclosures_are_never_contrary(kind, lhs, rhs, point, around):
    hypothesis = relation(kind, lhs, rhs)
    truth = decide(hypothesis, widened(point, around), {}).truth
    try:
        expected = holds(kind, exact(lhs, point), exact(rhs, point))
    except ZeroDivisionError:
        assert truth is Truth.UNDECIDED
        return
    assert truth is not (Truth.REFUTED if expected else Truth.PROVED)


@given(expressions, points, widths)
def test_the_value_lies_in_the_enclosure_and_the_margin(expression, point, around):
    assume(not expression.has(sp.zoo, sp.nan, sp.oo))
    box = widened(point, around)
    enclosure = evaluate(expression, box)
    try:
        value = exact(expression, point)
    except ZeroDivisionError:
        assert enclosure == Enclosure.unbounded()
        return
    assert enclosure.contains(value)
    made = relation(sp.Lt, expression, 1)
    (margin,) = decide(made, box, {}).margins
    at_point = exact(margin.relation.rhs, point) - exact(margin.relation.lhs, point)
    if isinstance(margin.relation, sp.Lt | sp.Le):
        assert margin.value.contains(at_point)
    else:
        assert margin.value.contains(-at_point)


@given(st.sampled_from(KINDS), expressions, expressions, points, widths, widths)
def test_a_narrower_enclosure_never_contradicts(kind, lhs, rhs, point, first, second):
    hypothesis = relation(kind, lhs, rhs)
    truths = {decide(hypothesis, widened(point, around), {}).truth for around in (first, second)}
    assert not {Truth.PROVED, Truth.REFUTED} <= truths


@given(st.sampled_from(KINDS), expressions, expressions, points, widths)
def test_negation(kind, lhs, rhs, point, around):
    hypothesis = relation(kind, lhs, rhs)
    box = widened(point, around)
    truth = decide(hypothesis, box, {}).truth
    assert decide(sp.Not(hypothesis), box, {}).truth is truth.negation()


@given(expressions, points, widths, st.integers(-5, 5))
def test_scaling_by_powers_of_two_and_shifting_keep_the_truth(expression, point, around, power):
    hypothesis = relation(sp.Lt, expression, 1)
    factor = sp.Integer(2) ** power
    box = widened(point, around)
    truth = decide(hypothesis, box, {}).truth
    for other in (relation(sp.Lt, factor * expression, factor), relation(sp.Lt, expression - 1, 0)):
        assert {truth, decide(other, box, {}).truth} != {Truth.PROVED, Truth.REFUTED}

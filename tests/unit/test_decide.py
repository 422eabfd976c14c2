import math
from fractions import Fraction

import pytest
import sympy as sp

from verify.decide import aim_for, decide, evaluate, truth_of
from verify.enclosure import Enclosure, Measurement
from verify.errors import StatementError
from verify.verdict import Truth

INF = math.inf
PROVED, REFUTED, UNDECIDED = Truth.PROVED, Truth.REFUTED, Truth.UNDECIDED
q, m, g = sp.symbols("q m gamma", real=True)
A, B = sp.symbols("A B")
half = sp.Rational(1, 2)


def enclosures(**ends):
    symbols = {"q": q, "m": m, "g": g}
    return {symbols[name]: Enclosure(*pair) for name, pair in ends.items()}


def truth(hypothesis, facts=None, **ends):
    found = decide(hypothesis, enclosures(**ends), facts or {}).truth
    assert truth_of(hypothesis, enclosures(**ends), facts or {}) is found
    return found


@pytest.mark.parametrize(
    ("hypothesis", "ends", "expected"),
    [
        # one quantity, the end on the number
        (q < 1, {"q": (1, 1)}, REFUTED),
        (q < 1, {"q": (0.5, 1)}, UNDECIDED),
        (q <= 1, {"q": (0.5, 1)}, PROVED),
        (q <= 1, {"q": (1, 2)}, UNDECIDED),
        (q > 1, {"q": (0.5, 1)}, REFUTED),
        (q >= 1, {"q": (0.5, 1)}, UNDECIDED),
        (q >= 1, {"q": (1, 3)}, PROVED),
        (q < 1, {"q": (-2, 1 - 2**-53)}, PROVED),
        (q < 1, {"q": (1 + 2**-52, 2)}, REFUTED),
        (q <= sp.Rational(1, 3), {"q": (0, 1 / 3)}, PROVED),  # the float is below a third
        (q <= sp.Rational(1, 10), {"q": (0.1, 0.1)}, REFUTED),  # the float is above a tenth
        (sp.Eq(q, 1), {"q": (1, 1)}, PROVED),
        (sp.Eq(q, 1), {"q": (1, 2)}, UNDECIDED),
        (sp.Eq(q, 1), {"q": (1.5, 2)}, REFUTED),
        (sp.Ne(q, 1), {"q": (1.5, 2)}, PROVED),
        (sp.Ne(q, 1), {"q": (1, 1)}, REFUTED),
        # infinite ends
        (q < 1, {"q": (-INF, 0.5)}, PROVED),
        (q < 1, {"q": (2, INF)}, REFUTED),
        (q < 1, {"q": (-INF, INF)}, UNDECIDED),
        (g * q / sp.sqrt(m) < 1, {"q": (3, INF), "g": (1, 1), "m": (4, 4)}, REFUTED),
        (g * q / sp.sqrt(m) < 1, {"q": (0.2, INF), "g": (1, 1), "m": (4, 4)}, UNDECIDED),
        (g * q / sp.sqrt(m) < 1, {"q": (-INF, 1.5), "g": (1, 1), "m": (4, 4)}, PROVED),
        (g * q / sp.sqrt(m) > 0, {"q": (0.2, INF), "g": (1, 1), "m": (4, INF)}, PROVED),
        (1 / q > 0, {"q": (1, INF)}, PROVED),  # the infimum 0 is not attained
        (sp.exp(q) + m > 0, {"q": (-INF, INF), "m": (0, 1)}, PROVED),
        (q * m >= 0, {"q": (0, INF), "m": (0, INF)}, PROVED),
        (q * m > 0, {"q": (0, INF), "m": (0, INF)}, UNDECIDED),
        (q**2 + m >= 0, {"q": (-INF, INF), "m": (0, 1)}, PROVED),
        (q**3 < 0, {"q": (-INF, -1)}, PROVED),
        # a quantity that appears twice
        (q / (1 + q) < 1, {"q": (0, INF)}, PROVED),
        (q**2 - 2 * q + 1 >= 0, {"q": (0.5, 1.75)}, PROVED),
        (q * (1 - q) <= sp.Rational(1, 4), {"q": (0, 1)}, PROVED),
        (q * (1 - q) < sp.Rational(26, 100), {"q": (0, 1)}, PROVED),
        (q * (1 - q) > sp.Rational(26, 100), {"q": (0, 1)}, REFUTED),
        (q - sp.log(q) >= sp.Rational(99, 100), {"q": (0.125, 8)}, PROVED),
        (sp.exp(q) >= 1 + q, {"q": (-1, 1)}, PROVED),
        (m * q - g * q <= 0, {"q": (0, 1), "m": (0, 1), "g": (1, 2)}, PROVED),
        (sp.sqrt(q) - q / 2 <= sp.Rational(51, 100), {"q": (0, 4)}, PROVED),
        (sp.Max(q, m) + 1 > q + half, {"q": (-1, 1), "m": (0, 2)}, PROVED),
        (sp.Abs(q) - q >= 0, {"q": (-1, 1)}, PROVED),
        # one number each
        (sp.sqrt(q) * sp.sqrt(m) <= 2, {"q": (2, 2), "m": (2, 2)}, PROVED),
        (sp.sqrt(q) * sp.sqrt(m) < 2, {"q": (2, 2), "m": (2, 2)}, REFUTED),
        (sp.sqrt(q) + sp.sqrt(m) <= sp.sqrt(5 + 2 * sp.sqrt(6)),
         {"q": (2, 2), "m": (3, 3)}, PROVED),
        (sp.Eq(sp.sqrt(q) + sp.sqrt(m), sp.sqrt(5 + 2 * sp.sqrt(6))),
         {"q": (2, 2), "m": (3, 3)}, PROVED),
        (sp.cbrt(q) * sp.cbrt(m) >= 2, {"q": (4, 4), "m": (2, 2)}, PROVED),
        (sp.log(q * m) - sp.log(q) <= sp.log(2), {"q": (3, 3), "m": (2, 2)}, PROVED),
        (sp.exp(q) < sp.E, {"q": (1, 1)}, REFUTED),
        (sp.pi * q < sp.Rational(355, 113), {"q": (1, 1)}, PROVED),
        (sp.sqrt(q) < 1, {"q": (1 - 2**-53, 1 - 2**-53)}, PROVED),
        # the extreme corner lies exactly on the number
        (sp.sqrt(q) * sp.sqrt(m) <= 2, {"q": (0, 2), "m": (1, 2)}, PROVED),
        (sp.sqrt(q) * sp.sqrt(m) < 2, {"q": (0, 2), "m": (1, 2)}, UNDECIDED),
        (sp.sqrt(q) * sp.sqrt(m) < 2, {"q": (2, INF), "m": (2, 4)}, REFUTED),
        (sp.exp(q) < sp.E, {"q": (1, 2)}, REFUTED),
        (2**q < 8, {"q": (0, 2.5)}, PROVED),
        (q**m < 2, {"q": (1, 1.25), "m": (0, 3)}, PROVED),
        # domain faults leave it open, unless another part decides
        (sp.log(q) < 1, {"q": (-1, 2)}, UNDECIDED),
        (sp.log(q) < 1, {"q": (0, 2)}, UNDECIDED),
        (1 / q < 10, {"q": (-1, 1)}, UNDECIDED),
        (1 / q < 10, {"q": (0, 0)}, UNDECIDED),
        (sp.sqrt(q) >= 0, {"q": (-1, 2)}, UNDECIDED),
        (sp.sqrt(q) >= 0, {"q": (-2, -1)}, UNDECIDED),
        (sp.cbrt(q) < 5, {"q": (-1, 1)}, UNDECIDED),
        (sp.And(sp.log(q) < 1, m < 1), {"q": (-1, 2), "m": (2, 3)}, REFUTED),
        (sp.Or(sp.log(q) < 1, m < 1), {"q": (-1, 2), "m": (0, 0.5)}, PROVED),
        (1 / q + m > 1 / q - 1, {"q": (-1, 1), "m": (0, 1)}, UNDECIDED),
        # relations that decide together
        (sp.Or(q < 1, q > half), {"q": (0, 2)}, PROVED),
        (sp.And(q < 1, q > 2), {"q": (0, 3)}, REFUTED),
        (sp.Not(sp.And(q < 1, q > 2)), {"q": (0, 3)}, PROVED),
        (sp.And(q < 1, m < 1), {"q": (0, 0.5), "m": (0, 2)}, UNDECIDED),
    ],
)  # fmt: skip
def test_truth(hypothesis, ends, expected):
    assert truth(hypothesis, **ends) is expected


@pytest.mark.parametrize("a", Truth)
@pytest.mark.parametrize("b", Truth)
def test_facts_follow_kleene(a, b):
    order = [REFUTED, UNDECIDED, PROVED]
    smaller = min(a, b, key=order.index)
    larger = max(a, b, key=order.index)
    assert truth(sp.And(A, B), {A: a, B: b}) is smaller
    assert truth(sp.Or(A, B), {A: a, B: b}) is larger
    assert truth(sp.Not(A), {A: a}) is a.negation()
    assert truth(sp.And(q < 1, A), {A: a}, q=(0, 0.5)) is a
    assert truth(sp.Or(q < 1, A), {A: a}, q=(2, 3)) is a


def test_huge_and_tiny_numbers_neither_overflow_nor_vanish():
    assert truth(q > 0, q=(Fraction(1, 2**3544), 1)) is PROVED
    assert truth(q * m > 0, q=(Fraction(1, 2**3544), 1), m=(2**-1074, INF)) is PROVED
    assert truth(sp.exp(q) > m, q=(10**9, INF), m=(0, 2**1000)) is PROVED
    assert truth(sp.exp(-q) - m > 0, q=(0, 10**9), m=(-1, 0)) is PROVED
    assert truth(q**100000 > 1, q=(1 + 2**-52, 2)) is PROVED
    assert truth(q ** (10**9) > 1, q=(1 + 2**-52, 1 + 2**-52)) is PROVED
    assert truth((1 + q) ** 1000 > q, q=(0.5, 1)) is PROVED
    assert truth(q + m < m + 1, q=(-INF, 0.5), m=(2**1023, 2**1023)) is PROVED
    assert truth(q * m <= 2**4000, q=(0, INF), m=(0, 0)) is PROVED


@pytest.mark.parametrize("number", [1 - 2**-53, 1.0, 1 + 2**-52, 0.75, 1.25])
@pytest.mark.parametrize("width", [0, 2**-54, 1])
def test_rewritten_hypotheses_have_the_same_truth(number, width):
    ends = {"q": (number, number + width)}
    rewritten = [
        q < 1,
        2 * q < 2,
        q - 1 < 0,
        q < 1,
        sp.Not(q >= 1),
        q / 3 < sp.Rational(1, 3),
        sp.exp(q) < sp.E,
        sp.Lt(q**3, 1),
        sp.And(q < 1, q < 2),
        sp.Or(q < 1, q < half),
        sp.Max(q, 0) < 1,
        q + q**2 < q**2 + 1,
    ]
    assert {truth(hypothesis, **ends) for hypothesis in rewritten} == {truth(q < 1, **ends)}


def test_unknown_symbols_and_operations_are_refused():
    where = r"^decide: expected .*, but got "
    with pytest.raises(StatementError, match=where):
        truth(q < m, q=(0, 1))
    with pytest.raises(StatementError, match=where):
        truth(sp.And(q < 1, A), q=(0, 1))
    with pytest.raises(StatementError, match=where):
        truth(sp.sin(q) < 1, q=(0, 1))
    with pytest.raises(StatementError, match=where):
        truth(q < sp.Float("0.5"), q=(0, 1))
    with pytest.raises(StatementError, match=where):
        truth(sp.Implies(A, q < 1), {A: PROVED}, q=(0, 1))
    with pytest.raises(StatementError, match=where):
        truth(sp.true)
    with pytest.raises(StatementError, match=where):
        truth(sp.Lt(q, sp.oo, evaluate=False), q=(0, 1))
    with pytest.raises(StatementError, match=where):
        evaluate(q + m, {q: Enclosure(0, 1)})


@pytest.mark.parametrize("value", [Measurement(0.5, "sampled"), 0.5, None, (0, 1)])
def test_only_an_enclosure_decides(value):
    with pytest.raises(StatementError, match="a measurement decides nothing"):
        decide(q < 1, {q: value}, {})


def test_a_fact_must_be_a_truth():
    with pytest.raises(StatementError, match="expected a Truth for the fact A"):
        decide(A, {}, {A: True})


def test_margins_in_order_of_appearance():
    decision = decide(
        sp.Or(sp.And(q < 2, m >= 1), sp.Ne(q, m), evaluate=False),
        enclosures(q=(0, 1), m=(3, 4)),
        {},
    )
    found = {margin.relation: margin.value for margin in decision.margins}
    assert found[q < 2] == Enclosure(1, 2)
    assert found[m >= 1] == Enclosure(2, 3)
    assert found[sp.Ne(q, m)] == Enclosure(2, 4)
    assert len(decision.margins) == 3


def test_margin_of_an_equation_and_of_a_fault():
    assert decide(sp.Eq(q, m), enclosures(q=(0, 1), m=(3, 4)), {}).margins[0].value == Enclosure(
        -4, -2
    )
    assert decide(sp.log(q) < 1, enclosures(q=(0, 1)), {}).margins[0].value == Enclosure.unbounded()
    assert decide(q < 1, enclosures(q=(0.5, INF)), {}).margins[0].value == Enclosure(-INF, 0.5)


def test_the_sign_of_a_margin_agrees_with_the_truth():
    (margin,) = decide(q * (1 - q) < sp.Rational(26, 100), enclosures(q=(0, 1)), {}).margins
    assert margin.value.lo >= 0
    (margin,) = decide(sp.sqrt(q) * sp.sqrt(m) < 2, enclosures(q=(2, 2), m=(2, 2)), {}).margins
    assert margin.value.contains(0)
    assert margin.value.hi == 0


def test_evaluate_is_outward():
    third = evaluate(q / 3, enclosures(q=(1, 1)))
    assert third.lo < Fraction(1, 3) < third.hi
    assert evaluate(q / 4, enclosures(q=(1, 1))) == Enclosure.exact(0.25)
    root = evaluate(sp.sqrt(q), enclosures(q=(2, 2)))
    assert root.lo**2 < 2 < root.hi**2
    assert root.width < Fraction(1, 2**100)
    assert evaluate(1 / q, enclosures(q=(-1, 1))) == Enclosure.unbounded()
    assert evaluate(q - q**2, enclosures(q=(0, 0.25))) == Enclosure(0, 0.1875)
    assert evaluate(sp.Integer(3), {}) == Enclosure.exact(3)


def test_simplification_does_not_hide_a_fault():
    # q (1/q + 1) expands to 1 + q, but is no number at q = 0
    assert evaluate(q * (1 / q + 1), enclosures(q=(-1, 1))) == Enclosure.unbounded()
    assert truth(q * (1 / q + 1) < 3, q=(-1, 1)) is UNDECIDED


def test_aim_is_where_the_relation_turns():
    known = enclosures(g=(1, 1), m=(4, 4))
    assert aim_for(q < 1, q, {}) == Enclosure.exact(1)
    assert aim_for(g * q / sp.sqrt(m) < 1, q, known) == Enclosure.exact(2)
    assert aim_for(2 * q < q + 3, q, {}) == Enclosure.exact(3)
    assert aim_for(1 / q > half, q, {}) == Enclosure.exact(2)
    assert aim_for(sp.And(q < 1, m > 0, A), q, {}) == Enclosure.exact(1)
    squared = aim_for(q**2 < 2, q, {})
    assert squared.lo**2 < 2 < squared.hi**2


@pytest.mark.parametrize(
    "hypothesis",
    [
        q + m < 1,
        sp.And(q < 1, q > 0),
        sp.Max(q, half) < 2,
        m - q**2 > 1,
        q**2 - q < 1,
        m < 1,
        A,
    ],
)
def test_no_aim(hypothesis):
    assert aim_for(hypothesis, q, {}) is None

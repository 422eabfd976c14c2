import json

import pytest
import sympy as sp

from verify.errors import StatementError
from verify.statement import Fact, Quantity, Source, Statement, fact, from_tree, quantity, to_tree

Q = quantity("q", "the norm", latex=r"\|W\|_2")
M = quantity("m", "the width")
A = fact("A", "sigma is smooth")
q, m, a = Q.symbol, M.symbol, A.symbol


def statement(hypothesis, about=(Q,), letters=()):
    source = Source("K", "T1")
    return Statement(
        hypothesis, about, "unique", "sufficient", source, "every bias", letters=letters
    )


def test_a_hypothesis_without_free_symbols_is_refused():
    nonnegative = sp.Symbol("q", nonnegative=True)
    assert sp.Ge(nonnegative, 0) == sp.true  # why stronger assumptions are refused
    for decided in (sp.true, sp.false, sp.Ge(nonnegative, 0), sp.Lt(1, 2)):
        with pytest.raises(StatementError, match="SymPy decided it at construction"):
            statement(decided, ())


@pytest.mark.parametrize("hypothesis", [q + 1, "q < 1", True, None])
def test_a_hypothesis_is_a_boolean(hypothesis):
    with pytest.raises(StatementError, match="expected a SymPy Boolean"):
        statement(hypothesis)


def test_quantities_and_facts_are_not_mixed_up():
    for hypothesis, about in (
        (q, (Q,)),
        (sp.And(q < 1, m), (Q, M)),
        (sp.Lt(a, 1, evaluate=False), (A,)),
    ):
        with pytest.raises(StatementError, match="expected facts, and nothing else"):
            statement(hypothesis, about)


def test_inexact_numbers_are_refused():
    for hypothesis in (q < 0.5, q < sp.Float("0.5"), sp.Lt(q**0.5, 1), sp.And(a, 0.1 * q < 1)):
        with pytest.raises(StatementError, match=r"expected exact numbers, but got .*0\.[15]"):
            statement(hypothesis, (Q, A))


@pytest.mark.parametrize("about", [(), (Q,), (Q, M, A)])
def test_about_names_exactly_the_symbols(about):
    with pytest.raises(StatementError, match="to name exactly the symbols"):
        statement(q < m, about)


@pytest.mark.parametrize(
    "assumptions",
    [
        {},
        {"nonnegative": True},
        {"positive": True},
        {"integer": True},
        {"real": False},
        {"rational": True},
    ],
)
def test_a_quantity_is_real_and_nothing_stronger(assumptions):
    with pytest.raises(StatementError, match="real=True and nothing stronger"):
        Quantity(sp.Symbol("q", **assumptions), "")


def test_a_fact_has_no_assumptions():
    with pytest.raises(StatementError, match="without assumptions"):
        Fact(sp.Symbol("A", real=True), "")


@pytest.mark.parametrize(
    "hypothesis",
    [sp.sin(q) < 1, sp.Implies(a, q < 1), sp.Xor(a, q < 1), sp.Lt(q, sp.oo, evaluate=False),
     sp.Lt(sp.I * q, 1, evaluate=False), sp.Lt(q, sp.GoldenRatio)],
)  # fmt: skip
def test_operations_that_decide_does_not_know_are_refused(hypothesis):
    with pytest.raises(StatementError, match="to_tree: expected one of"):
        statement(hypothesis, (Q, A) if hypothesis.has(a) else (Q,))


@pytest.mark.parametrize(
    "hypothesis",
    [
        q < 1, q <= sp.Rational(1, 3), sp.Gt(1, q), sp.Ge(q, -1), sp.Eq(q, m), sp.Ne(q, m), a,
        sp.And(q < 1, a), sp.Or(q < 1, sp.Not(a)), sp.Not(sp.And(q < 1, a)),
        q / sp.sqrt(m) + q**2 < sp.pi, sp.exp(q) - sp.log(m) > sp.E,
        sp.Abs(q) * sp.Min(q, m, 2) < 1,
        sp.Max(q, 0) ** sp.Rational(-3, 2) < 10**40, 2**q < m,
    ],
)  # fmt: skip
def test_the_tree_comes_back_as_the_same_hypothesis(hypothesis):
    tree = to_tree(hypothesis)
    assert from_tree(tree) == hypothesis
    assert from_tree(json.loads(json.dumps(tree))) == hypothesis
    about = tuple(item for item in (Q, M, A) if item.symbol in hypothesis.free_symbols)
    assert statement(hypothesis, about).tree == tree


def test_the_tree_is_written_down_once():
    assert to_tree(q < 1) == ["<", ["quantity", "q"], ["integer", "1"]]
    assert to_tree(sp.And(a, q >= sp.Rational(1, 2))) == [
        "and", ["fact", "A"], [">=", ["quantity", "q"], ["rational", "1", "2"]],
    ]  # fmt: skip


@pytest.mark.parametrize(
    "tree",
    [
        None, [], "", "q", 7, ["?"], ["<"], ["<", ["quantity", "q"]], ["integer", "x"], ["integer"],
        ["integer", None], ["rational", "1"], ["rational", "1", "0"], ["constant", "tau"], {"<": 1},
        ["quantity", 1], ["quantity"], [["<"]], ["<", 1, 2, 3], ["log"], ["eval", "1"],
    ],
)  # fmt: skip
def test_malformed_trees_are_refused(tree):
    with pytest.raises(StatementError, match=r"^from_tree: expected a portable tree, but got "):
        from_tree(tree)


def test_latex_and_text_come_from_the_hypothesis():
    made = statement(sp.And(q < 1, a), (Q, A))
    assert made.latex() == r"\text{sigma is smooth} \wedge \|W\|_2 < 1"
    assert "sigma is smooth" in made.text()
    assert "q < 1" in made.text()
    assert made.quantities == (Q,)
    assert made.facts == (A,)
    assert made.latex_of(q < 1) == r"\|W\|_2 < 1"


def test_letters_shorten_what_is_read_and_not_what_is_decided():
    h = m * q
    long = sp.And(h < 1, m / (1 + sp.sqrt(1 - 2 * h)) <= q)
    short = statement(long, (Q, M), (("h", h), ("l", m / (1 + sp.sqrt(1 - 2 * h)))))
    assert short.text() == "(l <= q) & (h < 1), where h = m*q, l = m/(1 + sqrt(1 - 2*h))"
    assert short.tree == statement(long, (Q, M)).tree
    assert short.hypothesis == statement(long, (Q, M)).hypothesis
    assert short.latex() == r"l \leq \|W\|_2 \wedge h < 1"
    assert short.latex_of(h < 1) == "h < 1"
    assert short.where_latex() == (r"h = m \|W\|_2", r"l = \frac{m}{\sqrt{1 - 2 h} + 1}")


@pytest.mark.parametrize("letters", [(("q", m * q),), (("m", m * q), ("h", m * q + 1))])
def test_letters_that_mean_something_else_already_are_refused(letters):
    with pytest.raises(StatementError, match="expected new letters for parts of the hypothesis"):
        statement(m * q < 1, (Q, M), letters).text()

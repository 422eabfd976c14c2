"""Named activations and formulas: one definition each, read by the same parser."""

import json
from fractions import Fraction
from pathlib import Path

import pytest
import sympy as sp

from verify.errors import SettingsError
from verify.network import Activation
from verify.network.activation import EXPRESSION, NAMES
from verify.network.expression import parse_expression, variable

VECTORS = Path(__file__).parents[1] / "vectors" / "activations.json"
ROWS = json.loads(VECTORS.read_text(encoding="utf-8"))["activations"]
PARAMETERS = {"leaky_relu": "(1/3)", "softplus": "(5)", "elu": "(2)"}
Z = variable()
PLACES = [sp.Rational(p) for p in ("-9/2", "-1", "-1/3", "0", "2/7", "1", "4")]


def values(expression):
    return [sp.N(expression.subs(Z, place), 40) for place in PLACES]


@pytest.mark.parametrize("name", NAMES)
def test_every_name_has_a_formula_in_z(name):
    activation = Activation.parse(name + PARAMETERS.get(name, ""))
    assert activation.is_named
    assert activation.formula() == parse_expression(activation.expression())
    assert activation.formula().free_symbols == {Z}
    assert not activation.formula().has(sp.Float)
    assert Activation.parse(str(activation)) == activation


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row["sympy"])
def test_the_definitions_are_those_of_the_stored_facts(row):
    written = Activation.parse(row["sympy"])
    assert written.is_named == (row["sympy"] in NAMES)
    stated = values(parse_expression(row["sympy"]))
    named = written if row["name"] == "composite" else Activation.parse(row["name"])
    for found in (values(written.formula()), values(named.formula())):
        for a, b in zip(found, stated, strict=True):
            assert abs(a - b) < sp.Rational(1, 10**30)


def test_a_formula_is_an_activation_without_a_name():
    activation = Activation.parse("  log(1 +\n exp(z)) ")
    assert (activation.name, activation.parameters) == (EXPRESSION, ())
    assert str(activation) == activation.expression() == "log(1 + exp(z))"
    assert not activation.is_named
    assert activation.formula() is activation.formula()
    assert activation == Activation(EXPRESSION, (), "log(1 + exp(z))")
    assert (activation.at("W x"), activation.where) == (
        "sigma(W x)", ", sigma(z) = log(1 + exp(z))",
    )  # fmt: skip
    named = Activation.parse("softplus")
    assert (named.at("W x"), named.where) == ("softplus(1)(W x)", "")


@pytest.mark.parametrize(
    ("text", "name"),
    [("tanh", "tanh"), ("tanh(z)", EXPRESSION), ("softplus(5)", "softplus"), ("z", EXPRESSION),
     ("softplus(5*z)", EXPRESSION), ("arctan", "atan"), ("arctan(z)", EXPRESSION),
     ("(z)", EXPRESSION), ("2", EXPRESSION), ("pi", EXPRESSION), ("E", EXPRESSION), ("elu", "elu"),
     ("abs(z)", EXPRESSION),
     ("-z", EXPRESSION), ("square", "square"), (" relu ", "relu"), ("gelu_tanh", "gelu_tanh")],
)  # fmt: skip
def test_a_name_is_a_name_and_a_text_in_z_a_formula(text, name):
    assert Activation.parse(text).name == name


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("swosh", "expected one of abs, atan, .*, or a formula in z"),
        ("x", "or a formula in z"),
        ("exp", "or a formula in z"),
        ("leaky_relu", r"1 parameter\(s\), such as leaky_relu\(0.01\)"),
        ("leaky_relu(1,2)", r"1 parameter\(s\)"),
        ("relu(3)", r"relu with 0 parameter\(s\)"),
        ("softplus(0)", "a positive parameter"),
        ("elu(-1)", "a positive parameter"),
        ("softplus(nan)", "expected an exact number"),
        ("relu(z)", "the name 'relu'"),
        ("leaky_relu(z)", "the name 'leaky_relu'"),
        ("swosh(2)", "the name 'swosh'"),
        ("", "a formula"),
        ("z^2", r"\*\* for a power"),
        (None, "expected a text"),
        ("z" * 20_000, "at most 10000 characters"),
        ("swosh" * 1_000, "or a formula in z .*[.]{3}'"),
        ("softplus(-" + "1" * 9_000 + ")", "parameters of at most 400 digits"),
        ("leaky_relu(1e-9999)", "parameters of at most 400 digits"),
        ("leaky_relu(1e9999)", "parameters of at most 400 digits"),
        ("a" + " " * 9_000 + "b", "the name 'a'"),
    ],
)
def test_what_is_neither_is_refused_with_a_hint(text, told):
    with pytest.raises(SettingsError, match=told) as caught:
        Activation.parse(text)
    assert len(str(caught.value)) < 600


def test_parameters_stay_exact_in_the_formula():
    third = Activation.parse("leaky_relu(1/3)").formula().subs(Z, -1)
    assert third == sp.Rational(-1, 3)
    tenth = Activation("softplus", (Fraction(1, 10),)).formula()
    assert sp.simplify(tenth.subs(Z, 0) - 10 * sp.log(2)) == 0
    negative = Activation.parse("leaky_relu(-0x1p-1)")
    assert negative.parameters == (Fraction(-1, 2),)
    assert negative.formula().subs(Z, -1) == sp.Rational(1, 2)

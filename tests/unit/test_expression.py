"""Formulas from text: exact, unevaluated, and one clear sentence for everything else."""

import json
import os
import random
import subprocess
import sys
import time
from fractions import Fraction
from pathlib import Path

import pytest
import sympy as sp
from hypothesis import given
from hypothesis import strategies as st

from verify.errors import SettingsError
from verify.network.expression import CONSTANTS, FUNCTIONS, parse_expression, variable

VECTORS = Path(__file__).parents[1] / "vectors" / "activations.json"
ROWS = json.loads(VECTORS.read_text(encoding="utf-8"))["activations"]
Z = variable()


def exact(expression, z):
    """Evaluate a rational formula exactly, without SymPy's own simplification."""
    if expression == Z:
        return z
    if expression.is_Rational:
        return Fraction(int(expression.p), int(expression.q))
    parts = [exact(item, z) for item in expression.args]
    if expression.is_Add:
        return sum(parts, Fraction(0))
    if expression.is_Mul:
        result = Fraction(1)
        for part in parts:
            result *= part
        return result
    assert expression.is_Pow
    return parts[0] ** int(parts[1])


# --- what the text means -------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "tree"),
    [
        ("z", "Symbol('z', real=True)"),
        ("z/z", "Mul(Pow(Symbol('z', real=True), Integer(-1)), Symbol('z', real=True))"),
        ("z-z", "Add(Mul(Integer(-1), Symbol('z', real=True)), Symbol('z', real=True))"),
        ("0*z", "Mul(Integer(0), Symbol('z', real=True))"),
        ("z**0", "Pow(Symbol('z', real=True), Integer(0))"),
        ("2", "Integer(2)"),
        ("0.1", "Rational(1, 10)"),
        ("1e-3", "Rational(1, 1000)"),
        (".5", "Rational(1, 2)"),
        ("5.", "Integer(5)"),
        ("0x1.8p-3", "Rational(3, 16)"),
        ("00012", "Integer(12)"),
        ("1/3", "Rational(1, 3)"),
        ("-2**2", "Integer(-4)"),
        ("2**-2", "Rational(1, 4)"),
        ("2**3**2", "Integer(512)"),
        ("sqrt(4)", "Pow(Integer(4), Rational(1, 2))"),
        ("pi", "pi"),
        ("E**z", "exp(Symbol('z', real=True))"),
        ("exp(0)", "exp(Integer(0))"),
        ("log(1)", "log(Integer(1))"),
        ("Abs(-1)", "Abs(Integer(-1))"),
        ("sign(2)", "sign(Integer(2))"),
        ("z**(1/3)", "Pow(Symbol('z', real=True), Rational(1, 3))"),
        (" z\n + 1\t", "Add(Symbol('z', real=True), Integer(1))"),
    ],
)
def test_structure_is_kept_and_numbers_are_exact(text, tree):
    assert sp.srepr(parse_expression(text)) == tree


@pytest.mark.parametrize(
    ("text", "meaning"),
    [
        ("sigmoid(z)", "1/(1 + exp(-z))"),
        ("softplus(2*z)", "log(1 + exp(2*z))"),
        ("log1p(z)", "log(1 + z)"),
        ("expm1(z)", "exp(z) - 1"),
        ("abs(z)", "Abs(z)"),
        ("max(z, 0)", "Max(z, 0)"),
        ("min(z, 0, 2)", "Min(z, 0, 2)"),
        ("arctan(z)", "atan(z)"),
        ("+z", "z"),
        ("1*z", "z"),
        ("z**1", "z"),
        ("((z))", "z"),
        ("2*z*3/4", "(3/2)*z"),
    ],
)
def test_short_forms_stand_for_their_definitions(text, meaning):
    assert parse_expression(text) == parse_expression(meaning)


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row["sympy"])
def test_every_stored_activation_is_read_and_has_its_values(row):
    expression = parse_expression(row["sympy"])
    expected = sp.sympify(row["sympy"], locals={"z": Z})
    for z in (sp.Rational(-7, 3), sp.Rational(-1, 5), sp.Rational(2, 7), sp.Integer(3)):
        difference = sp.N(expression.subs(Z, z) - expected.subs(Z, z), 40)
        assert abs(difference) < sp.Rational(1, 10**30)
    assert parse_expression(str(expression)).subs(Z, 2).equals(expression.subs(Z, 2))


@pytest.mark.parametrize(
    ("text", "place", "expected"),
    [("Piecewise((exp(z)-1, z<0), (z, True))", 3, 3), ("Piecewise((1, z<=0), (2, True))", 0, 1),
     ("Piecewise((1, 0>z), (2, z>=1), (3, True))", 1, 2),
     ("Piecewise((1, z**2<2*z), (3, True))", 1, 1)],
)  # fmt: skip
def test_pieces(text, place, expected):
    assert parse_expression(text).subs(Z, place) == expected


TREES = st.recursive(
    st.one_of(
        st.just("z"),
        st.integers(0, 10**6).map(str),
        st.decimals(0, 100, places=3).map(str),
    ),
    lambda inner: st.one_of(
        st.tuples(inner, st.sampled_from(["+", "-", "*", "/"]), inner).map(
            lambda parts: f"({' '.join(parts)})"
        ),
        st.tuples(inner, st.sampled_from("+-*"), inner, st.sampled_from("+-*"), inner).map(
            lambda parts: f"({''.join(parts)})"
        ),
        inner.map(lambda text: f"(-{text})"),
        st.tuples(inner, st.integers(0, 3)).map(lambda parts: f"({parts[0]})**{parts[1]}"),
    ),
    max_leaves=12,
)


class Exact:
    """Fractions that know decimals: Python's own reading of the same text, exactly."""

    def __getitem__(self, text):
        return Fraction(text)


@given(TREES, st.fractions(-5, 5, max_denominator=20))
def test_rational_formulas_have_the_value_that_python_gives_the_text(text, z):
    import re

    source = re.sub(r"(?<!\*\*)(?<![0-9.])([0-9]+(?:\.[0-9]+)?)", r"N['\1']", text)
    try:
        expected = eval(source, {"__builtins__": {}}, {"z": z, "N": Exact()})
    except ZeroDivisionError:
        return
    assert exact(parse_expression(text), z) == expected


# --- what is refused -----------------------------------------------------------------------------

HOSTILE = [
    "", "   ", "()", "z^2", "__import__('os').system('true')", "z.real", "z.__class__", "lambda: z",
    "lambda z: z", "[z for z in z]", "(z for z in z)", "{z}", "{z: z}", "z if z else 1", "z and z",
    "z or z", "not z", "z is z", "z in z", "await z", "(yield z)", "z := 2", "(z := 2)", "f'{z}'",
    "'z'", '"z"', "b'z'", "z;z", "z=1", "z==1", "z!=1", "z<1", "1<z<2", "True", "False", "None",
    "...", "Ellipsis", "z,", "z,z", "(z,z)", "*z", "exp(*z)", "exp(**z)", "exp(x=z)", "exp(z=z)",
    "exp(z, evaluate=True)", "exp(z,z)", "exp()", "exp", "Max()", "Piecewise", "Piecewise()", "Max",
    "Piecewise(z)", "Piecewise((z, z<0))", "Piecewise((z, True), (1, z<0))", "Piecewise((z, 1<2))",
    "Piecewise((z, 1<2), (z, True))", "Piecewise((z, z<0<1), (z, True))", "Piecewise((z, z))",
    "Piecewise((1, Piecewise((z, z<0), (1, True)) < 0), (2, True))",
    "Piecewise((z, z), (z, True))", "Piecewise(*z)", "Piecewise((z, True), (z, True))",
    "Piecewise((z, True, z))", "Piecewise((*z, True))", "Piecewise(((z, z<0), (z, True)))",
    "Piecewise((z, sqrt(-1)<z), (z, True))", "f(z)", "foo", "x", "Z", "zz", "z_", "_0", "_z", "__",
    "nan", "inf", "oo", "zoo", "I", "1j", "1i", "2z", "z2", "2(z)", "z(z)", "(z)(z)", "exp(z)(z)",
    "9**9**9**9", "z**z", "2**z", "z**65", "z**-65", "z**(1/65)", "z**(65/2)", "z**pi", "z**E",
    "((((z**64)**64)**64)**64)", "(2**64)**64", "exp(z**64)**64", "1/0", "z/0", "0**-1", "z/(1-1)",
    "1/(2-2)*z", "sqrt(-1)", "(-1)**(1/2)", "log(0)", "log(-2)", "log1p(-1)", "0x10", "0b1", "1_0",
    "1e", "1e5e5", "1.2.3", "1..z", "0x1p9999", "1e400", "1e-400", "1e99999", "1e999999999",
    "9" * 401, "1/" + "9" * 401, "0." + "0" * 400 + "1", "9" * 9999, "z" * 10001, "z z", "z 1",
    "z\x00", "z\x1b[31m", "z\u200b", "\uff5a", "\u2124", "z\u00b2", "\u03c0", "z\u2212" + "1",
    "z\\", "z#", "z@z", "z%2", "z//2", "z>>1", "z|z", "z&z", "~z", "!z", "z?", "$z", "`z`", "z'",
    "(z", "z)", ")(", "z+", "*", "+", "-", "z**", "**z", "z***2", "--" * 50 + "z",
    "z+" * 4999 + "z", "z+" * 1000 + "z", "-" * 9999 + "z", "(" * 101 + "z" + ")" * 101,
    "exp(" * 101 + "z" + ")" * 101,
    "(" * 5000, ")" * 5000, "z" + "**1" * 3000, "-(" * 60 + "z" + ")" * 60 + "**1" * 200,
    "z" + "/(z" * 101 + ")" * 101, "sin(z)" * 1000, "lambda " * 1000, "import os", "exec(z)",
    "eval(z)", "Symbol(z)", "sympify(z)", "Function(z)", "gamma(z)", "relu(z)", "diff(z)",
]  # fmt: skip


@pytest.mark.parametrize("text", HOSTILE, ids=lambda text: ascii(text)[1:25])
def test_hostile_texts_are_one_sentence(text):
    before = time.perf_counter()
    with pytest.raises(SettingsError) as caught:
        parse_expression(text, where="--activation")
    assert time.perf_counter() - before < 20  # nothing grows: a fraction of a second here
    told = str(caught.value)
    assert told.startswith("--activation: expected ")
    assert ", but got " in told
    assert told.isascii()
    assert told.isprintable()
    assert len(told) < 600


def test_a_million_operations_are_refused_before_they_are_parsed():
    before = time.process_time()
    with pytest.raises(SettingsError, match="at most 10000 characters, but got 1999999"):
        parse_expression("+".join(["z"] * 1_000_000))
    assert time.process_time() - before < 1


@pytest.mark.parametrize(
    "text",
    ["+".join(["z"] * 1000), "*".join(["z"] * 200), "/".join(["z"] * 100),
     "(" * 99 + "z" + ")" * 99, "-".join(["z"] * 1000), "exp(" * 99 + "z" + ")" * 99,
     "9" * 400 + "*z", "z/" + "9" * 400,
     "((z**32)**32)", "z**64", "z**(64/63)", "z**-64", "-" * 10 + "z"],
    ids=lambda text: text[:12],
)  # fmt: skip
def test_what_is_just_allowed_can_be_worked_with(text):
    expression = parse_expression(text)
    assert expression.free_symbols == {Z}
    assert expression.diff(Z) is not None


@pytest.mark.soundness
def test_random_texts_are_read_or_refused_and_nothing_else():
    full = os.environ.get("VERIFY_CAMPAIGN") == "full"
    count, seed = 20_000 if full else 2_000, 71
    choose = random.Random(seed)
    pieces = [*FUNCTIONS, *CONSTANTS, "z", "z", "z", "1", "0", "0.5", "1e3", "0x1p-3", "True", "+",
              "-", "*", "/", "**", "(", ")", "(", ")", ",", "<", ">=", " ", "\n", "if", "lambda",
              "_", "é", "'", "==", "j"]  # fmt: skip
    before, read = time.perf_counter(), 0
    for _ in range(count):
        text = "".join(choose.choice(pieces) for _ in range(choose.randint(1, 12)))
        if choose.random() < 0.5:
            base = list(choose.choice(ROWS)["sympy"])
            for _ in range(choose.randint(0, 3)):
                base[choose.randrange(len(base))] = choose.choice(pieces)
            text = "".join(base)
        try:
            expression = parse_expression(text)
        except SettingsError:
            continue
        read += 1
        assert isinstance(expression, sp.Expr)
        assert expression.free_symbols <= {Z}
        assert not expression.has(sp.Float, sp.nan, sp.zoo, sp.oo, sp.I)
    seconds = time.perf_counter() - before
    print(f"campaign formulas: {count} cases, seed {seed}, {seconds:.1f} s, 0 wrong ({read} read)")
    assert read > count // 10


def test_nothing_is_executed_or_imported_while_a_hostile_text_is_read(tmp_path):
    script = (
        "import ast, sympy, sys\n"
        "from verify.errors import SettingsError\n"
        "from verify.network.expression import parse_expression\n"
        "parse_expression('z')\n"
        "try: ast.parse('*', mode='eval')\nexcept SyntaxError: pass\n"
        "seen = []\n"
        "sys.addaudithook(lambda event, arguments: seen.append(event))\n"
        "for text in sys.argv[1:]:\n"
        "    try: parse_expression(text)\n"
        "    except SettingsError: pass\n"
        "calm = {'compile', 'object.__getattr__', 'sys._getframe', 'object.__setattr__'}\n"
        "print(sorted(set(seen) - calm))"
    )
    texts = [text for text in HOSTILE if "\x00" not in text]
    done = subprocess.run([sys.executable, "-P", "-c", script, *texts], cwd=tmp_path, text=True,
                          capture_output=True, check=True)  # fmt: skip
    assert done.stdout.strip() == "[]"


# --- the limits and other names ------------------------------------------------------------------


def test_other_variables():
    x, y = variable("x"), variable("y")
    assert parse_expression("x*y", names=("x", "y")) == sp.Mul(x, y, evaluate=False)
    with pytest.raises(SettingsError, match="--formula: expected x, pi, E, numbers"):
        parse_expression("z", where="--formula", names=("x",))


def test_the_variable_is_real_and_nothing_more():
    assert variable() is variable("z")
    assert variable() == sp.Symbol("z", real=True)


def test_a_formula_is_read_once():
    assert parse_expression("z*tanh(z)") is parse_expression("z*tanh(z)")

"""The translator of the restricted subset: what it prints, refuses, and computes on the host."""

from __future__ import annotations

import itertools
import math
import random
import re
from fractions import Fraction

import numpy as np
import pytest

from verify.errors import InputError
from verify_kernels._rounding import down, up
from verify_kernels.cuda import host as host_module
from verify_kernels.cuda.host import HostLibrary, compiler
from verify_kernels.cuda.subset import Source
from verify_kernels.cuda.translate import loop_name, translate
from verify_kernels.elementary import primitives

needs_compiler = pytest.mark.skipif(compiler() is None, reason="no C compiler")

FUNCTIONS = Source(
    "sample.functions",
    '''
"""A sample."""
import math
from other.primitives import bits, fma, from_bits, to_float, to_int
LN2 = float.fromhex("0x1.62e42fefa39efp-1")
MAGIC = 6755399441055744.0
SHIFT = 52
INF = math.inf

def power(t: float) -> float:
    """Return 2**t for whole t; a backslash here must not eat the next line \\\\"""
    return from_bits((to_int(t) + 1023) << SHIFT)

def rounded(x: float) -> float:
    k = x / LN2 + MAGIC
    k = k - MAGIC
    return INF if x > 709 and not x < 0 else fma(-k, LN2, x)

def chosen(x, y):
    x, y = y, x
    x, y = y, x
    small = x if 0 < x <= y or y == 3 else -y
    return small, (1.0 if x != x else 2) * x

def whole(i: int) -> int:
    return ((i >> 2) & 7) | (i << 60)

def low_bits(x):
    return to_float(whole(bits(x)))
''',
)
OPERATIONS = Source(
    "sample.operations",
    """
from sample import functions
from sample.functions import chosen as pair, LN2
from sample.directed import add_dn, add_up

def rounded(lo, hi):
    a, b = pair(lo, hi)
    return functions.rounded(a), b + functions.LN2 - LN2

def add(a, b):
    return add_dn(a, b), add_up(a, b)
""",
)


@pytest.fixture(scope="module")
def host(tmp_path_factory):
    directed = Source(
        "sample.every",
        "\n".join(
            f"def {op}(a, b):\n    return {op}_dn(a, b), {op}_up(a, b)"
            for op in ("add", "sub", "mul", "div")
        )
        + "\ndef sqrt_(a):\n    return sqrt_dn(a), sqrt_up(a)",
    )
    text = translate([FUNCTIONS, OPERATIONS, directed], target="host")
    return HostLibrary(text, tmp_path_factory.mktemp("host"))


def run(host, module, function, *given, results=1):
    rows = host.run(loop_name(module, function), [np.asarray(g, float) for g in given], results)
    return rows[0] if results == 1 else rows


@needs_compiler
def test_samples_equal_python(host):
    rng = random.Random(1)
    t = [float(rng.randint(-1022, 1023)) for _ in range(200)]
    assert run(host, "functions", "power", t).tolist() == [2.0**k for k in t]
    x = [rng.uniform(-800, 800) for _ in range(500)]
    ln2, magic = float.fromhex("0x1.62e42fefa39efp-1"), 6755399441055744.0

    def rounded(v):
        k = v / ln2 + magic - magic
        return math.inf if v > 709 else float(Fraction(v) - Fraction(k) * Fraction(ln2))

    assert run(host, "functions", "rounded", x).tolist() == [rounded(v) for v in x]
    a, b = np.array([1.0, 5.0, -1.0, math.nan]), np.array([2.0, 3.0, 7.0, 1.0])
    first, second = run(host, "functions", "chosen", a, b, results=2)
    assert first.tolist() == [1.0, 5.0, -7.0, -1.0]
    assert second.tolist()[:3] == [2.0, 10.0, -2.0]
    assert math.isnan(second[3])
    low, high = run(host, "operations", "rounded", a[:3], b[:3], results=2)
    assert low.tolist() == [rounded(1.0), rounded(5.0), rounded(-7.0)]
    assert high.tolist() == [v + ln2 - ln2 for v in (2.0, 10.0, -2.0)]


@needs_compiler
def test_integers_wrap_and_shift_arithmetically(host):
    i = [-1.0, -9.0, 5.0, 2.0**52 + 3]

    def whole(k):
        shifted = (k << 60) & (2**64 - 1)
        shifted -= 2**64 if shifted >= 2**63 else 0
        return float(((k >> 2) & 7) | shifted)

    assert run(host, "functions", "whole", i).tolist() == [whole(int(k)) for k in i]


@needs_compiler
@pytest.mark.parametrize("op", ["add", "sub", "mul", "div", "sqrt_"])
def test_directed_operations_of_the_host_are_the_nearest_on_their_side(host, op):
    rng = random.Random(7)
    special = [5e-324, 2.0**-1022, 1.0, 1 / 3, 1.7976931348623157e308, 3.0, 1e-200, 0.1]
    pairs = list(itertools.product(special + [-s for s in special], repeat=2))
    pairs += [
        (math.ldexp(rng.uniform(-1, 1), rng.randint(-1070, 1020)), rng.uniform(-3, 3))
        for _ in range(500)
    ]
    pairs = [(abs(a), b) for a, b in pairs] if op == "sqrt_" else pairs
    given = [[a for a, _ in pairs]] if op == "sqrt_" else list(zip(*pairs, strict=True))
    low, high = run(host, "every", op, *given, results=2)
    for (a, b), lo, hi in zip(pairs, low.tolist(), high.tolist(), strict=True):
        x, y = Fraction(a), Fraction(b)
        if op == "sqrt_":
            assert _square(lo) <= x < _square(up(lo)), (a, lo)
            assert _square(down(hi)) < x <= _square(hi), (a, hi)
            continue
        exact = {"add": x + y, "sub": x - y, "mul": x * y, "div": x / y if y else None}[op]
        assert _at_most(lo, exact), (a, b)
        assert not _at_most(up(lo), exact), (a, b)
        assert _at_most(-hi, -exact), (a, b)
        assert not _at_most(-down(hi), -exact), (a, b)


def random_program(rng, name):
    """The text of a function of x, y in the subset, in which Python raises nothing."""
    reals, wholes = ["x", "y", "HALF", "-0.0", "3.0", "1e300"], ["7", "SHIFT", "-1"]

    def real(depth):
        if depth == 0:
            return rng.choice(reals)
        a, b, c = (real(depth - 1) for _ in range(3))
        forms = [f"({a} + {b})", f"(2 * {a} - {b})", f"({a} * {b})", f"({a} / (abs({b}) + 1))"]
        forms += [f"(-{a})", f"abs({a})", f"fma({a}, {b}, {c})", f"({a} if {test(a, b)} else {c})"]
        forms += [f"to_float({whole(depth - 1)})", f"from_bits(bits({a} + 0.0) | 1)"]
        return rng.choice(forms)

    def whole(depth):
        if depth == 0:
            return rng.choice(wholes)
        a, b = whole(depth - 1), whole(depth - 1)
        masked = f"((bits({real(depth - 1)} + 0.0) >> 40) & 0xFFFF)"
        return rng.choice([masked, f"({a} + {b})", f"({a} - {b})", f"({a} & {b})", f"({a} >> 2)"])

    def test(a, b):
        first = f"{a} {rng.choice(['<', '<=', '>', '>=', '==', '!='])} {b}"
        return rng.choice([first, f"not {first}", f"{first} and x < y", f"{first} or y <= x < 2"])

    lines = []
    for k in range(rng.randint(1, 6)):
        target = rng.choice(["x", "y", f"t{k}"])
        lines.append(f"    {target} = {real(rng.randint(1, 2))}")
        if target not in reals:
            reals.append(target)
    return "\n".join([f"def {name}(x, y):", *lines, f"    return {real(1)}, {real(2)} + 0.0", ""])


@needs_compiler
def test_random_programs_compute_what_python_computes(tmp_path):
    rng = random.Random(11)
    head = "HALF = 0.5\nSHIFT = 12\n"
    programs = [random_program(rng, f"f{k}") for k in range(150)]
    text = translate([Source("m", head + "\n".join(programs))], target="host")
    library = HostLibrary(text, tmp_path)
    values = [0.0, -0.0, 1.0, -1.5, 1e-310, math.pi, -1e200, math.inf, -math.inf, math.nan]
    values += [math.ldexp(rng.uniform(-1, 1), rng.randint(-60, 60)) for _ in range(20)]
    x, y = zip(*itertools.product(values, repeat=2), strict=True)
    for k, program in enumerate(programs):
        names = {name: getattr(primitives, name) for name in primitives.NAMES}
        exec(head + program, names)
        expected = np.array([names[f"f{k}"](*point) for point in zip(x, y, strict=True)])
        found = library.run(loop_name("m", f"f{k}"), [np.array(x), np.array(y)], 2).T
        same = np.signbit(found) == np.signbit(expected)
        same = (found == expected) & same | (np.isnan(found) & np.isnan(expected))
        assert same.all(), program


@needs_compiler
def test_products_and_sums_are_rounded_one_by_one(tmp_path, monkeypatch):
    source = Source(
        "m", "def f(a, b, c):\n    return a * b + c\ndef g(a, b, c):\n    return fma(a, b, c)"
    )
    text = translate([source], target="host")
    a, c = 1.0 + 2.0**-30, -(1.0 + 2.0**-29)
    given = [np.array([v]) for v in (a, a, c)]
    library = HostLibrary(text, tmp_path, name="strict")
    assert library.run("loop_m_f", given, 1)[0, 0] == a * a + c == 0.0
    assert library.run("loop_m_g", given, 1)[0, 0] == 2.0**-60
    if "-mfma" in host_module.flags():  # the flag matters: without it the compiler contracts
        loose = tuple(f for f in host_module.HOST_FLAGS if f != "-ffp-contract=off")
        loose = tuple("-std=gnu11" if f == "-std=c11" else f for f in loose)
        monkeypatch.setattr(host_module, "HOST_FLAGS", loose)
        contracted = HostLibrary(text, tmp_path, name="loose")
        assert contracted.run("loop_m_f", given, 1)[0, 0] == 2.0**-60


def _square(v):
    return Fraction(v) ** 2


def _at_most(number, exact):
    return number < 0 if math.isinf(number) else Fraction(number) <= exact


def test_cuda_text_names_the_rounding_of_every_operation():
    text = translate([FUNCTIONS, OPERATIONS], target="cuda", functions=["operations:rounded"])
    body = text[text.index("struct v_tuple") :]
    assert "__dsub_rn(__dadd_rn(" in body
    assert "__ddiv_rn(x_0, functions_LN2)" in body
    assert not re.search(r"[\w)] [*/+] [\w(]", re.sub(r"for \(.*|\w+\[.*?\]", "", body))
    assert "functions_power" not in body  # only what is called
    assert 'extern "C" __global__ void loop_operations_rounded(' in body


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        ("for i in x: pass\n    return x", "a plain assignment"),
        ("if x > 0: x = 1.0\n    return x", "a plain assignment"),
        ("x += 1.0\n    return x", "a plain assignment"),
        ("return x ** 2", "an operation of the subset on a double"),
        ("return x % 2", "an operation of the subset on a double"),
        ("return x // 2", "an operation of the subset on a double"),
        ("return bits(x) / bits(x)", "an operation of the subset on a long long"),
        ("return x[0]", "an expression of the restricted subset"),
        ("return 'x'", "an expression of the restricted subset"),
        ("return True", "an expression of the restricted subset"),
        ("return x is x", "a comparison of numbers"),
        ("return y", "a name that was assigned or a module's constant"),
        ("return math.exp(x)", "a call of a function of the sources or a primitive"),
        ("return eval(x)", "a call of a function of the sources or a primitive"),
        ("return f(x)", "a function that does not call itself"),
        ("return fma(x, x)", "3 arguments"),
        ("return fma(x, x, c=x)", "a call with plain arguments"),
        ("return x + bits(x)", "a double, not a long long,"),
        ("return x if x else 1.0", "a bool, not a double,"),
        ("return x and 1.0", "a bool, not a double,"),
        ("a, b = x\n    return a", "a name, or names and a call or a tuple,"),
        ("a, b = x, x, x\n    return a", "3 names for 3 results"),
        ("a, b = abs(x)\n    return a", "1 names for 1 results"),
        ("return pair(x) + 1.0", "a call with one result"),
        ("return bits(x), x", "a double, not a long long,"),
        ("return BAD", "a number or float.fromhex of a text as a module's constant"),
        ("return x + 9007199254740993", "a double, not a long long,"),
        ("x = 1.0", "one return at the end"),
    ],
)
def test_what_lies_outside_is_refused_in_one_sentence(body, expected):
    text = f"BAD = [1]\ndef pair(x):\n    return x, x\ndef f(x):\n    {body}\n"
    with pytest.raises(InputError) as refusal:
        translate([Source("sample", text)], target="host", functions=["f"])
    message = str(refusal.value)
    assert f"expected {expected}" in message
    assert re.fullmatch(r"""sample(\.f)?, line \d+: expected .+, but got (['"]).+\2""", message)


@pytest.mark.parametrize(
    "head",
    ["@njit\ndef f(x):", "def f(x=1.0):", "def f(*x):", "def f(*, x):", "def f(x, /):"],
)
def test_unusual_functions_are_refused(head):
    with pytest.raises(InputError, match=r"expected (plain arguments|arguments without)"):
        translate([Source("sample", f"{head}\n    return 1.0\n")], target="host")


def test_names_that_do_not_fit_are_refused():
    source = Source("sample", "def f(x):\n    return x\n")
    with pytest.raises(InputError, match=r"expected one of \['cuda', 'host'\], but got 'metal'"):
        translate([source], target="metal")
    with pytest.raises(InputError, match="expected the name of one function"):
        translate([source], target="host", functions=["g"])
    with pytest.raises(InputError, match="expected the name of one function"):
        translate([source, Source("b", source.text)], target="host", functions=["f"])
    with pytest.raises(InputError, match="expected sources with different last names"):
        translate([source, Source("b.sample", source.text)], target="host")
    with pytest.raises(InputError, match="expected Python in sample"):
        translate([Source("sample", "def")], target="host")

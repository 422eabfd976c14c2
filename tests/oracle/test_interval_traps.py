"""Enclosures that plausible shortcuts in compiled interval code would get wrong."""

from __future__ import annotations

import math
import re
import subprocess
import sys
from fractions import Fraction

import flint
import numpy as np
import pytest
from flint import arb, fmpq

from verify.network.activation import Activation
from verify.verdict import Truth
from verify_kernels._rounding import ETA, MAX, OMEGA
from verify_kernels.activation_analysis import analyse, jet
from verify_kernels.elementary import continuation, functions
from verify_kernels.elementary.abstract_number import Undecided
from verify_kernels.elementary.bounds import BOUNDS
from verify_kernels.elementary.proof import ProofError, Proofs, prove
from verify_kernels.interval.compilation import compile_loop
from verify_kernels.interval.on_arrays import apply
from verify_kernels.interval.vector_code import has_embedded_rounding

MODES = [
    False,
    pytest.param(
        True,
        marks=pytest.mark.skipif(
            not has_embedded_rounding(), reason="no instructions with their own rounding mode"
        ),
    ),
]


def true(name: str, x: float) -> arb:
    ball = arb(x)
    if name == "sigmoid":
        return 1 / (1 + (-ball).exp())
    if name == "softplus":
        return ball.exp().log1p()
    value: arb = getattr(ball, name)()
    return value


TINY = [ETA, 3 * ETA, OMEGA - ETA, OMEGA, OMEGA + ETA, 3 * OMEGA, 2.0**-969, 2.0**-537]
SUBNORMAL = {
    "exp": [-708.5, -720.0, -744.9, -745.2, -746.0],
    "sigmoid": [-708.5, -720.0, -744.9, -745.2, -746.0],
    "softplus": [-708.5, -720.0, -744.9, -745.2, -746.0],
    "erfc": [26.55, 26.7, 27.0, 27.2, 27.3],
}
GARBAGE = {  # here the raw polynomials return finite numbers that mean nothing
    "exp": [800.0, -800.0, 1e300, -1e300],
    "expm1": [800.0, -800.0, 1e300, -1e300],
    "sigmoid": [800.0, -800.0, 1e300, -1e300],
    "softplus": [800.0, -800.0, 1e300, -1e300],
    "erfc": [26.6, 40.0, 1e300, -40.0],
    "sinh": [720.0, -720.0], "cosh": [720.0, -720.0],
    "log": [OMEGA / 2, ETA, MAX], "log1p": [MAX, 2.0**1001],
    "sin": [1e5 + 1, 1e22, MAX], "cos": [1e5 + 1, 1e22, MAX], "tan": [1e5 + 1, 1e22, MAX],
}  # fmt: skip


@pytest.mark.parametrize("embedded", MODES)
@pytest.mark.parametrize("name", BOUNDS)
def test_subnormal_results_and_far_arguments_are_enclosed(name: str, embedded: bool) -> None:
    """A relative widening alone loses results below the normal range."""
    points = [x for tiny in TINY for x in (tiny, -tiny)] + SUBNORMAL.get(name, [])
    points += GARBAGE.get(name, [])
    if name == "log":
        points = [x for x in points if x > 0]
    low, high = apply(name, (np.array(points), np.array(points)), embedded=embedded)
    with flint.ctx.workprec(2500):
        for x, lo, hi in zip(points, low.tolist(), high.tolist(), strict=True):
            value = true(name, x)
            assert value.is_finite()
            assert lo <= hi, x
            assert not value < lo, x
            assert not value > hi, x


@pytest.mark.parametrize("embedded", MODES)
def test_reciprocals_of_subnormal_numbers_overflow(embedded: bool) -> None:
    points = np.array([ETA, -ETA, 3 * ETA, OMEGA / 4])
    one = np.ones(4)
    for name, operands in (("recip", ((points, points),)), ("div", ((one, one), (points, points)))):
        low, high = apply(name, *operands, embedded=embedded)
        for x, lo, hi in zip(points.tolist(), low.tolist(), high.tolist(), strict=True):
            exact = 1 / Fraction(x)
            assert math.isinf(lo) or Fraction(lo) <= exact
            assert math.isinf(hi) or Fraction(hi) >= exact
            assert lo < hi


# rounding errors in a small part of the domain only are not proved small -------------------------

WRONG = {
    "sigmoid, |x| < 0.005": """
def sigmoid_core(x):
    a = abs(x)
    e = exp_core(-(a if a < 708.0 else 708.0))
    y = (e if x < 0.0 else 1.0) / (1.0 + e)
    return (y + 4096.0) - 4096.0 if a < 0.005 else y
""",
    "sigmoid, x < -100": """
def sigmoid_core(x):
    a = abs(x)
    e = exp_core(-(a if a < 708.0 else 708.0))
    y = (e if x < 0.0 else 1.0) / (1.0 + e)
    return (y + 1e-30) - 1e-30 if x < -100.0 else y
""",
    "softplus, |x| < 0.005": """
def softplus_core(x):
    a = abs(x)
    e = exp_core(-(a if a < 708.0 else 708.0))
    y = (0.0 if x < 0.0 else x) + log1p_unit(e)
    return (y + 4096.0) - 4096.0 if a < 0.005 else y
""",
    "tanh, near 22": """
def tanh_core(x):
    a = abs(x)
    e = expm1_core(-2.0 * (a if a < 22.0 else 22.0))
    y = with_sign_of(abs(e / (2.0 + e)), x)
    return (y + 4096.0) - 4096.0 if 21.99 < a < 22.01 else y
""",
    "log, x > 2^60": """
def log_of_ratio(f, k):
    a, p, b = log1p_reduced(f)
    y = fma(k, LN2, fma(a, p, b))
    return (y + 1e12) - 1e12 if k > 60.0 else y
""",
    "expm1, x > 60": """
def expm1_core(x):
    shifted = nearest_integer(x, LN2_INVERSE)
    s = expm1_reduced(reduce_ln2(x, shifted - SHIFT))
    scale = power_of_two(shifted)
    y = fma(scale, s, scale - 1.0)
    return (y + 1e40) - 1e40 if scale > 1e26 else y
""",
    "erfc, 0.3 < x < 1": """
def erfc_core(x):
    a = abs(x)
    near = fma(-x, erf_ratio(x * x), 1.0)
    tail = erfc_tail(a if a < 26.5 else 26.5)
    far = 2.0 - tail if x < 0.0 else tail
    y = near if a < 1.0 else far
    return (y + 4096.0) - 4096.0 if 0.3 < x < 0.999 else y
""",
}


@pytest.mark.parametrize("where", WRONG)
def test_no_part_of_the_domain_is_left_out_of_a_proof(
    where: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Pieces with undecided selects, large exponents and the other branch are all covered."""
    space = dict(vars(functions))
    exec(WRONG[where], space)
    name = re.findall(r"def (\w+)\(", WRONG[where])[0]
    space[name].__module__ = functions.__name__
    monkeypatch.setattr(functions, name, space[name])
    try:
        proved = prove(where.partition(",")[0], Proofs())
    except (ProofError, Undecided):
        return
    assert not proved.within_claim()


# the machine code --------------------------------------------------------------------------------

FLAGS = re.compile(r"\bf(?:add|sub|mul|div|cmp|neg)\s+(?:fast|contract|reassoc|nnan|ninf|arcp|afn)")
CALLS = re.compile(r"(?:call|invoke)[^\n]*@\"?(exp|expm1|log|log1p|tanh|erf|erfc|sin|cos|tan|atan|"
                   r"sinh|cosh|nextafter|pow|__svml\w*|_ZGV\w*)\"?\(")  # fmt: skip


def test_elementary_functions_neither_contract_nor_call_a_library() -> None:
    parts = [part for part in vars(continuation) if part.endswith("_outside")]
    parts += [f"{name}_core" for name in BOUNDS]
    lines = [f"r_{part} = {part}(x0l)" for part in parts]
    loop = compile_loop(
        lines,
        [f"r_{part}" for part in parts],
        1,
        points=True,
        embedded=False,
        stored=False,
        modules=(functions, continuation),
    )
    text = loop._library.get_llvm_str()
    assert text.count("fdiv") > 10
    assert not FLAGS.search(text)
    assert not CALLS.search(text)


@pytest.mark.parametrize("embedded", MODES)
def test_compiled_programs_neither_contract_nor_call_a_library(embedded: bool) -> None:
    names = ["add", "mul", "div", "sqrt", "exp", "tanh", "erf", "sin", "log", "softplus"]
    lines = [
        f"r{k}l, r{k}h = iv_{name}(x0l, x0h" + (", x1l, x1h)" if k < 3 else ")")
        for k, name in enumerate(names)
    ]
    ends = [f"r{k}{side}" for k in range(len(names)) for side in "lh"]
    loop = compile_loop(lines, ends, 2, points=False, embedded=embedded, stored=False)
    text = loop._library.get_llvm_str()
    assert "fdiv" in text or embedded
    assert not FLAGS.search(text)
    assert not CALLS.search(text)


FLUSHED = """
import numpy as np, sympy as sp, torch
from verify.errors import BackendError
from verify.network.activation import Activation
from verify_kernels.interval.kernel import interval_kernel
from verify_kernels.interval.on_arrays import apply
from verify_kernels.two_layer.ball_risk import Point, Problem
from verify_kernels.two_layer.moments import enclose_second_moment
from verify_kernels.two_layer.risk import enclose_risk

x, one = sp.Symbol("x", real=True), np.ones(9)
kernel, risk = interval_kernel(x / 2, [x]), Problem(np.ones((3, 1)), np.ones(3),
                                                    Activation.parse("tanh"), {"W": 1})
asks = [lambda: kernel(one, one), lambda: kernel.at(one),
        lambda: apply("mul", (one, one), (one, one)),
        lambda: enclose_risk(risk, Point(np.ones((1, 1)), np.ones(1))),
        lambda: enclose_second_moment(np.ones((3000, 70)))]
for ask in asks:
    ask()
torch.set_flush_denormal(True)
for number, ask in enumerate(asks):
    try:
        ask()
    except BackendError:
        print("refused", number)
"""


def test_flush_to_zero_is_refused_by_every_enclosure_in_floats() -> None:
    pytest.importorskip("torch")
    done = subprocess.run(
        [sys.executable, "-c", FLUSHED], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.split("\n")[:-1] == [f"refused {k}" for k in range(5)]


# half-lines ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "peak"),
    [
        ("z**8*exp(-z**2)", "2"), ("z**40*exp(-z**2)", "4.47"), ("z**64*exp(-z**2/9)", "16.97"),
        ("z**6*exp(-sqrt(1+z**2)/8)", "48"), ("z**12*sigmoid(-z/20)*exp(-z**2/5000)", "120"),
        ("z**3*exp(-z)/(1+exp(-2*z))", "3"),
    ],
)  # fmt: skip
def test_a_bump_far_out_is_not_taken_for_a_falling_tail(text: str, peak: str) -> None:
    """x^a exp(-b x) falls from x = a/b on only; a tail that starts before holds the peak."""
    activation = Activation.parse(text)
    bound = analyse(activation).sup_abs(0)
    assert bound.finite is not Truth.REFUTED
    with flint.ctx.workprec(200):
        at_peak = abs(jet(activation, arb(peak), 0)[0])
        high = bound.value.hi
        if isinstance(high, Fraction):
            assert not at_peak > arb(fmpq(high.numerator, high.denominator))


def test_devices_of_both_generations_are_compiled_for() -> None:
    from verify_kernels.cuda.compile import ARCHITECTURES

    assert {"sm_80", "sm_90"} <= set(ARCHITECTURES)

"""Forty user-written activations against sampling: no enclosure is ever violated."""

from __future__ import annotations

import os
import random
import time

import flint
import pytest
from flint import arb

from verify.network.expression import parse_expression
from verify.verdict import Truth
from verify_kernels.activation_analysis import analyse_expression
from verify_kernels.activation_analysis.jet import derivatives
from verify_kernels.activation_analysis.tree import tree_of

FULL = os.environ.get("VERIFY_CAMPAIGN") == "full"
COUNT = 2_000 if FULL else 200  # random points of each activation
SEED = 20260
SPECIAL = (0.0, 5e-324, 1e-300, 1e-8, 0.5, 1.0, 2.0, 3.0, 40.0, 350.0, 745.0, 1e5, 1e18, 1e100)

ACTIVATIONS = [
    "tanh(z) + z/10",
    "z*sigmoid(1.702*z)",
    "tanh(z)**3",
    "exp(-z**2)*cos(3*z)",
    "z*erf(z)",
    "z**2*sigmoid(z)",
    "softplus(softplus(z))",
    "softplus(tanh(z))",
    "sigmoid(sigmoid(z))",
    "atan(sinh(z))",
    "atan(z**3)",
    "erf(tanh(z))",
    "log(1 + softplus(z))",
    "log(1 + z**2)*tanh(z)",
    "log(1 + log(1 + z**2))",
    "z/sqrt(1 + z**2)",
    "z/(1 + z**2)**(1/3)",
    "z/cosh(z)",
    "1/cosh(z)",
    "expm1(tanh(z))",
    "exp(-exp(-z))",
    "tanh(z - 1) + tanh(z + 1)",
    "2*sigmoid(z) - 1",
    "1/(1 + exp(-z) + exp(-2*z))",
    "z/(2 + z + z**2)",
    "sin(z) + z/2",
    "sin(z)*cos(z)",
    "exp(sin(z))",
    "1/(2 + sin(z))",
    "tanh(z) + sin(3*z)/7",
    "z*sin(1/(1 + z**2))",
    "cos(log(1 + z**2))",
    "z*cos(log(1 + z**2)/3)",
    "Max(z, tanh(z))",
    "Max(z, 0) + Min(z, 0)*tanh(z)",
    "z*Min(Max(z + 3, 0), 6)/6",
    "1.0507*Piecewise((1.67326*(exp(z) - 1), z < 0), (z, True))",
    "sign(z)*log(1 + Abs(z))",
    "Max(z**2 - 2, 0)/(1 + z**2)",
    "Piecewise((1/z, z > 1), (z, True))",
    "z/(1 + Abs(z)) + sin(z)/3",
    "exp(-Abs(z))",
    "sqrt(1 + z**4) - z**2",
    "softplus(100*z)/100 - softplus(z)",
    "log(z + sqrt(1 + z**2))",
    "tanh(tanh(z))",
    "z*atan(exp(z))",
    "erfc(z)*exp(z/2)",
]


def points(rng):
    special = [sign * x for x in SPECIAL for sign in (1, -1)]
    near = [rng.uniform(-50, 50) for _ in range(COUNT // 2)]
    close = [rng.gauss(0, 2) for _ in range(COUNT // 4)]
    far = [rng.choice((1, -1)) * 10 ** rng.uniform(-20, 12) for _ in range(COUNT // 4)]
    return special + near + close + far


def violates(bound, number, side):
    """Whether a value at a point lies beyond a proved end, whatever the rounding."""
    if bound.finite is not Truth.PROVED:
        return False
    low = arb((bound.value.lo.numerator, 1 - bound.value.lo.denominator.bit_length()))
    high = arb((bound.value.hi.numerator, 1 - bound.value.hi.denominator.bit_length()))
    end = high if side > 0 else low
    return bool(number > end) if side > 0 else bool(number < end)


def wrong_values(facts, root, xs):
    """Count the values of a sample that contradict a fact."""
    wrong = 0
    before = None
    for x in sorted(xs):
        z = arb(x)
        d = derivatives(root, z, 3)
        values = {f"d{k}": d[k] for k in range(4)}
        values["kappa"], values["zd1"] = d[0] - z * d[1], z * d[1]
        for name, value in values.items():
            if value.is_finite():
                both = getattr(facts, name)
                wrong += violates(both.inf, value, -1) + violates(both.sup, value, 1)
        if before is not None and before[0] < z:
            slope = (d[0] - before[1]) / (z - before[0])
            if slope.is_finite():
                wrong += violates(facts.secant.inf, slope, -1)
                wrong += violates(facts.secant.sup, slope, 1)
            if facts.monotone is Truth.PROVED:
                wrong += bool(d[0] < before[1])
        mirror = derivatives(root, -z, 0)[0]
        wrong += facts.even is Truth.PROVED and bool(mirror != d[0])
        wrong += facts.odd is Truth.PROVED and bool(mirror != -d[0])
        before = (z, d[0])
    return wrong


@pytest.mark.soundness
def test_forty_written_activations_against_samples():
    rng, started, wrong, cases, finite = random.Random(SEED), time.perf_counter(), 0, 0, 0
    with flint.ctx.workprec(256):
        for text in ACTIVATIONS:
            expression = parse_expression(text)
            facts, xs = analyse_expression(expression), points(rng)
            bad = wrong_values(facts, tree_of(expression), xs)
            assert bad == 0, text
            wrong, cases = wrong + bad, cases + len(xs)
            finite += sum(
                getattr(getattr(facts, name), end).finite is not Truth.UNDECIDED
                for name in ("d0", "d1", "d2", "d3", "kappa", "zd1")
                for end in ("inf", "sup")
            )
    seconds = time.perf_counter() - started
    print(
        f"campaign activations: {cases} cases, seed {SEED}, {seconds:.1f} s, {wrong} wrong "
        f"({len(ACTIVATIONS)} activations, {finite} of {12 * len(ACTIVATIONS)} ends decided)"
    )
    assert wrong == 0
    assert len(ACTIVATIONS) >= 40

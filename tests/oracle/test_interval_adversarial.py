"""Attacks on compiled interval kernels: random expressions on extreme boxes against balls.

Values at points are computed from the SymPy tree itself, not from the program, with python-flint at
400 bits; derivatives are difference quotients inside the box (mean value theorem).
"""

from __future__ import annotations

import math
import os
import random
import time
from fractions import Fraction

import flint
import numpy as np
import pytest
import sympy as sp
from flint import arb, fmpq

from verify.errors import InputError
from verify_kernels._rounding import MAX, down, up
from verify_kernels.interval import transcendental
from verify_kernels.interval.compilation import compile_loop
from verify_kernels.interval.kernel import IntervalKernel
from verify_kernels.interval.vector_code import has_embedded_rounding

COUNT = 400 if os.environ.get("VERIFY_CAMPAIGN") == "full" else 16
BOXES = 40
INF = math.inf
X = sp.symbols("x y", real=True)
PLAIN = (sp.exp, sp.log, sp.tanh, sp.sin, sp.cos, sp.tan, sp.atan, sp.sinh, sp.cosh, sp.erf)
CONSTANTS = [sp.Integer(i) for i in (-3, -1, 1, 2, 7)] + [
    sp.Rational(1, 3),
    sp.Rational(-5, 7),
    sp.pi,
    sp.Float("0.1", 40),
    sp.Integer(10) ** 400,
    sp.Rational(1, 10**400),
    sp.Integer(2) ** -1074,
]
EXPONENTS = [2, 3, 4, -1, -2, 7, *(sp.Rational(p, q) for p, q in ((1, 2), (1, 3), (-2, 3)))]
PLACES = [0.0, -0.0, 1.0, -2.0, 5e-324, 2.0**-1022, MAX, MAX / 2, 1.4e154, 709.0, 709.7827]
PLACES += [-745.1, -708.0, 710.4, 26.5, 27.2, 1e5, 1e5 + 1]


class Undefined(Exception):
    """The expression is not certainly defined at the point."""


def value(e, point):
    """Return a ball of an expression at a point of exact coordinates."""
    if e.is_Symbol:
        return point[e]
    if e.is_Float:
        sign, mantissa, exponent, _ = e._mpf_
        exact = (-1) ** sign * int(mantissa) * Fraction(2) ** int(exponent)
        return arb(fmpq(exact.numerator, exact.denominator))
    if e.is_Rational:
        return arb(fmpq(int(e.p), int(e.q)))
    if e == sp.pi:
        return arb.pi()
    if e == sp.E:
        return arb.const_e()
    if isinstance(e, sp.Piecewise):
        branch = next((b for b, c in e.args if holds(c, point)), None)
        if branch is None:
            raise Undefined
        return value(branch, point)
    if isinstance(e, sp.Pow):
        return finite(power(e, point))
    parts = [value(part, point) for part in e.args]
    if isinstance(e, sp.Add):
        return finite(sum(parts, arb(0)))
    if isinstance(e, sp.Mul):
        return finite(math.prod(parts, start=arb(1)))
    if isinstance(e, sp.Max | sp.Min):
        result = parts[0]
        for part in parts[1:]:
            result = result.max(part) if isinstance(e, sp.Max) else result.min(part)
        return result
    if isinstance(e, sp.log) and not parts[0] > 0:
        raise Undefined
    return finite(abs(parts[0]) if isinstance(e, sp.Abs) else getattr(parts[0], e.func.__name__)())


def finite(ball):
    if not ball.is_finite():
        raise Undefined
    return ball


def power(e, point):
    if e.base == sp.E:
        return value(e.exp, point).exp()
    base, exponent = value(e.base, point), e.exp
    if exponent.is_Integer and (exponent > 0 or base > 0 or base < 0):
        return base ** int(exponent)
    if base == 0 and exponent > 0:
        return arb(0)
    if exponent.is_Rational and not exponent.is_Integer and base > 0:
        return base ** fmpq(int(exponent.p), int(exponent.q))
    raise Undefined


def holds(c, point):
    if c in (sp.true, sp.false):
        return c == sp.true
    a, b = (value(part, point) for part in c.args)
    yes, no = {
        sp.StrictLessThan: (a < b, a >= b),
        sp.LessThan: (a <= b, a > b),
        sp.StrictGreaterThan: (a > b, a <= b),
        sp.GreaterThan: (a >= b, a < b),
    }[type(c)]
    if not (yes or no):
        raise Undefined
    return yes


def expression(draw, depth):
    if depth == 0 or draw.random() < 0.12:
        return draw.choice(X) if draw.random() < 0.75 else draw.choice(CONSTANTS)
    a, kind = expression(draw, depth - 1), draw.random()
    if kind < 0.22:
        return sp.Add(a, expression(draw, depth - 1), evaluate=draw.random() < 0.5)
    if kind < 0.42:
        return sp.Mul(a, expression(draw, depth - 1), evaluate=draw.random() < 0.5)
    if kind < 0.48:
        return sp.Mul(expression(draw, depth - 1), sp.Pow(a, -1, evaluate=False), evaluate=False)
    if kind < 0.62:
        return sp.Pow(a, draw.choice(EXPONENTS), evaluate=draw.random() < 0.5)
    if kind < 0.72:
        return draw.choice([sp.Max, sp.Min])(a, expression(draw, depth - 1))
    if kind < 0.8:
        relation = draw.choice([sp.StrictLessThan, sp.GreaterThan])
        condition = relation(expression(draw, 1), expression(draw, 1))
        return sp.Piecewise((a, condition), (expression(draw, depth - 1), True))
    if kind < 0.86:
        shapes = [1 / (1 + sp.exp(a)), sp.log(1 + sp.exp(a)), sp.exp(a) - 1, 1 - sp.tanh(a) ** 2]
        return draw.choice([*shapes, sp.log(1 + a), sp.Abs(a)])
    return draw.choice(PLAIN)(a)


def box(draw):
    kind = draw.random()
    if kind < 0.4:
        middle = draw.gauss(0, 1) * draw.choice([0.1, 1, 5, 30])
    elif kind < 0.6:
        middle = draw.choice(PLACES) * draw.choice([-1, 1])
    elif kind < 0.7:
        middle = draw.choice([-1, 1]) * 2.0 ** draw.uniform(-1074, 1023.9)
    else:
        middle = draw.randint(-60000, 60000) * math.pi / 2 if kind < 0.85 else draw.uniform(-3, 3)
    kind = draw.random()
    if kind < 0.25:
        return middle, middle
    if kind < 0.4:
        return (middle, up(middle)) if middle < MAX else (down(middle), middle)
    if kind < 0.9:
        return middle, min(middle + abs(draw.gauss(0, 1)) * 10.0 ** draw.uniform(-14, 1), MAX)
    return (middle, INF) if draw.random() < 0.5 else (-INF, middle)


def inside(draw, lo, hi):
    lo, hi = max(lo, -MAX), min(hi, MAX)
    kind, t = draw.random(), draw.random()
    if kind < 0.5:
        return lo if kind < 0.25 else hi
    if kind < 0.6 and lo <= 0.0 <= hi:
        return 0.0
    return min(max(lo * (1 - t) + hi * t, lo), hi)


def outside(ball, lo, hi):
    return (lo > -INF and ball < arb(lo)) or (hi < INF and ball > arb(hi))


def slope(e, point, index, lo, hi):
    """Return a difference quotient of a tiny step inside the box."""
    x = X[index]
    step = arb(2) ** -1300 * (1 if point[x] < arb(hi) else -1)
    if lo == hi:
        raise Undefined
    moved = point | {x: point[x] + step}
    return finite((value(e, moved) - value(e, point)) / step)


def wrong_in_box(e, found, j, ends, draw):
    """Return how many samples of one box lie outside the enclosures."""
    wrong = 0
    for _ in range(3):
        point = {x: arb(inside(draw, lo, hi)) for x, (lo, hi) in zip(X, ends, strict=True)}
        try:
            with flint.ctx.workprec(400):
                wrong += outside(value(e, point), found.lo[j], found.hi[j])
            if found.gradient is not None and not e.has(sp.Piecewise):
                for i, (lo, hi) in enumerate(ends):
                    with flint.ctx.workprec(3000):
                        quotient = slope(e, point, i, lo, hi)
                    wrong += outside(quotient, found.gradient.lo[i, j], found.gradient.hi[i, j])
        except (Undefined, ZeroDivisionError):
            continue
    return wrong


def kernel_of(draw):
    """Return a random kernel of an expression that SymPy has not made complex or infinite."""
    while True:
        e = expression(draw, draw.choice([2, 3, 3]))
        if e.has(sp.zoo, sp.nan, sp.oo, sp.I) or e.count_ops() > 40 or not e.free_symbols:
            continue
        try:
            return IntervalKernel(e, X, draw.choice([0, 0, 1]), False)
        except InputError:
            continue


@pytest.mark.soundness
def test_campaign_random_expressions_on_extreme_boxes():
    start, seed, wrong, bounded = time.perf_counter(), 31, [], 0
    draw = random.Random(seed)
    for number in range(COUNT):
        kernel = kernel_of(draw)
        kernel.embedded = has_embedded_rounding() and draw.random() < 0.5
        ends = [[box(draw) for _ in X] for _ in range(BOXES)]
        lo, hi = (np.array([[pair[side] for pair in row] for row in ends]).T for side in (0, 1))
        found = kernel(lo, hi, refine=number % 8 == 0)
        assert not np.isnan(found.lo).any()
        assert np.all(found.lo <= found.hi)
        for j, row in enumerate(ends):
            if found.lo[j] > -INF or found.hi[j] < INF:
                bounded += 1
                if wrong_in_box(kernel.expression, found, j, row, draw):
                    wrong.append((kernel.expression, row))
    print(
        f"campaign interval expressions: {COUNT * BOXES} cases, seed {seed}, "
        f"{time.perf_counter() - start:.1f} s, {len(wrong)} wrong, {bounded} bounded"
    )
    assert wrong == []
    assert bounded > COUNT * BOXES // 3


@pytest.mark.parametrize("name", ["sin", "cos", "tan"])
def test_waves_next_to_the_multiples_of_half_pi(name):
    draw = random.Random(3)
    multiples = [1, 2, 3, 4, *(draw.randint(1, 63660) for _ in range(300)), 63660, 63661]
    kernel = IntervalKernel(getattr(sp, name)(X[0]), [X[0]], 0, False)
    places = [float(arb.pi() / 2 * m) * draw.choice([-1, 1]) for m in multiples]
    ends = [pair for c in places for pair in ((c, c), (down(c), c), (c, up(c)), (c - 3.0, c))]
    found = kernel(*(np.array([pair[side] for pair in ends]) for side in (0, 1)))
    for (lo, hi), low, high in zip(ends, found.lo, found.hi, strict=True):
        with flint.ctx.workprec(200):
            for at in (lo, hi, (lo + hi) / 2):
                assert not outside(getattr(arb(at), name)(), low, high)
            first, last = (round(end / (math.pi / 2)) for end in (lo, hi))
            for m in range(first - 1, last + 2):  # extrema and poles between the ends
                place = arb.pi() / 2 * m
                if arb(lo) < place < arb(hi) and name == "tan" and m % 2:
                    assert (low, high) == (-INF, INF)
                elif arb(lo) < place < arb(hi) and name != "tan":
                    assert not outside(getattr(place, name)(), low, high)


@pytest.mark.parametrize(
    ("name", "constant"), [("tanh", "TANH_K"), ("exp", "EXP_K"), ("log", "LOG_K"), ("erf", "ERF_K")]
)
def test_without_its_widening_a_function_is_not_enclosed(name, constant, monkeypatch):
    x = np.random.default_rng(1).uniform(0.2, 3.0, 4000)
    found = np.empty((2, x.size))
    lines = [f"rl, rh = iv_{name}(x0l, x0h)"]

    def misses():
        loop = compile_loop(lines, ["rl", "rh"], 1, points=True, embedded=False, stored=False)
        loop(x[None], x[None], found, 0, x.size)
        with flint.ctx.workprec(120):
            return sum(
                outside(getattr(arb(at), name)(), lo, hi)
                for at, lo, hi in zip(x.tolist(), *found.tolist(), strict=True)
            )

    assert misses() == 0
    monkeypatch.setattr(transcendental, constant, 0.0)
    assert misses() > 0


def test_refinement_of_the_widest_boxes():
    kernel = IntervalKernel(sp.exp(X[0]), [X[0]], 0, False)
    found = kernel([-MAX, -INF], [MAX, INF], refine=True)
    assert found.lo.tolist() == [0.0, 0.0]
    assert found.hi.tolist() == [INF, INF]

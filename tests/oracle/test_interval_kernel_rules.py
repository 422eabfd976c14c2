"""Enclosures that were false once: each rule of the generated code with its counterexample.

Every case runs with directed rounding by instructions and by error terms.
"""

import math
from fractions import Fraction

import flint
import numpy as np
import pytest
import sympy as sp

from verify_kernels._rounding import ETA, MAX, up
from verify_kernels.interval import directed, operations, transcendental
from verify_kernels.interval.compilation import compile_loop
from verify_kernels.interval.kernel import IntervalKernel
from verify_kernels.interval.on_arrays import apply
from verify_kernels.interval.vector_code import has_embedded_rounding

x, y, z = sp.symbols("x y z", real=True)
INF = math.inf
ALL = (-INF, INF)


@pytest.fixture(autouse=True)
def precision():
    with flint.ctx.workprec(200):
        yield


@pytest.fixture(
    params=[
        False,
        pytest.param(
            True,
            marks=pytest.mark.skipif(
                not has_embedded_rounding(), reason="no instructions with their own rounding mode"
            ),
        ),
    ],
    ids=["error terms", "instructions"],
)
def enclose(request):
    def run(expression, *ends, order=0):
        symbols = sorted(expression.free_symbols, key=str) or [x]
        kernel = IntervalKernel(expression, symbols, order, False)
        kernel.embedded = request.param
        found = kernel(*(np.array([pair[side] for pair in ends])[:, None] for side in (0, 1)))
        return float(found.lo[0]), float(found.hi[0])

    run.embedded = request.param
    return run


def contains(found, exact):
    return found[0] <= exact <= found[1]


def test_overflow_never_loses_an_end(enclose):
    assert contains(enclose(sp.log(x + y), (1.0, 1.7e308), (1.0, 1.7e308)), 710.42)
    exact = 2 * Fraction(1.55e308)
    assert contains(enclose(2 * x, (1.5e308, 1.6e308)), exact)
    assert contains(enclose(x + y, (1e308, 1.7e308), (1e308, 1.7e308)), 2 * Fraction(1.6e308))
    low, high = enclose(x + y, (MAX, MAX), (MAX, MAX))
    assert (low, high) == (MAX, INF)
    low, high = enclose(x * y, (1e200, 1e200), (1e200, 1e200))
    assert low <= MAX
    assert high == INF
    assert enclose(1 / (x * y), (1e200, 1e200), (1e200, 1e200))[0] == 0
    assert enclose(sp.exp(x), (800.0, 900.0)) == (MAX, INF)
    assert contains(enclose(1 / sp.exp(x), (1.0, 800.0)), Fraction(1, 10**300))
    assert contains(enclose(x**3, (-1e200, 1.0)), -(10**500))
    for factor in (10**400, -(10**400), sp.pi * 10**400):  # constants beyond the largest number
        assert contains(enclose(factor * x, (0.0, 0.0)), 0)
        assert contains(enclose(factor * x, (-1.0, 1e-320)), factor / 10**330)


def test_multiples_by_powers_of_two_underflow(enclose):
    assert contains(enclose(x / 2, (ETA, ETA)), Fraction(ETA) / 2)
    assert contains(enclose(-x / 4, (ETA, 3 * ETA)), -Fraction(3 * ETA) / 4)
    assert contains(enclose(x * y, (1e-200, 1e-200), (-1e-200, 1e-200)), Fraction(1e-200) ** 2)


def test_products_whose_error_underflows(enclose):
    rng = np.random.default_rng(7)
    a = rng.uniform(1, 2, 4000) * 2.0 ** rng.integers(-520, -480, 4000)
    b = rng.uniform(1, 2, 4000) * 2.0 ** rng.integers(-560, -480, 4000)
    for name, exact in (("mul", lambda p, q: p * q), ("div", lambda p, q: p / q)):
        other = b if name == "mul" else b * 2.0**1000
        low, high = apply(name, (a, a), (other, other), embedded=enclose.embedded)
        for p, q, lo, hi in zip(a, other, low, high, strict=True):
            truth = exact(Fraction(p), Fraction(q))
            assert lo <= truth
            assert hi >= truth


def test_a_wide_number_of_sympy_is_not_its_float(enclose):
    wide = sp.Float("0.1", 40)
    low, high = enclose(x + wide, (0.0, 0.0))
    exact = Fraction(int(sp.Rational(wide).p), int(sp.Rational(wide).q))
    assert exact != Fraction(0.1)
    assert Fraction(low) <= exact <= Fraction(high)
    assert high == up(low)


def test_elementary_functions_of_the_smallest_number(enclose):
    truth = 2 * Fraction(ETA) * Fraction(564, 1000)  # 2 / sqrt(pi) = 1.128...
    assert contains(enclose(sp.erf(x), (ETA, ETA)), truth)
    for function in (sp.tanh, sp.sin, sp.atan, sp.sinh):
        assert contains(enclose(function(x), (ETA, ETA)), Fraction(ETA))
    assert contains(enclose(sp.exp(x), (-745.0, -745.0)), Fraction(ETA))


def test_leaving_the_domain_is_a_fault_and_never_hidden(enclose):
    for expression, box in (
        (1 / x, (-1.0, 1.0)),
        (1 / x, (0.0, 1.0)),
        (sp.log(x), (-1.0, 1.0)),
        (sp.log(x), (0.0, 1.0)),
        (sp.sqrt(x), (-1e-300, 1.0)),
        (sp.log(1 + x), (-1.0, 1.0)),
        (sp.tan(x), (1.0, 2.0)),
        (x ** sp.Rational(1, 3), (-1.0, 1.0)),
        (x ** sp.Rational(-1, 3), (0.0, 1.0)),
        (x**-2, (0.0, 1.0)),
        (sp.Max(1, sp.log(x)), (-1.0, 1.0)),
        (sp.exp(-1 / x), (-1.0, 1.0)),
        (sp.tanh(sp.log(x)), (-1.0, 1.0)),
        (1 / sp.sin(x), (3.0, 4.0)),
    ):
        assert enclose(sp.Abs(expression) + 1, box) == ALL, expression


def test_a_subexpression_does_not_leave_its_guard_without_its_fault(enclose):
    guarded = sp.Piecewise((sp.log(x), x > 0), (0, True))
    assert enclose(guarded, (-2.0, -1.0)) == (0, 0)
    assert enclose(guarded, (-1.0, 1.0)) == ALL
    low, high = enclose(guarded, (1.0, 2.0))
    assert low <= 0
    assert high >= 0.693
    assert enclose(guarded + sp.log(x), (-2.0, -1.0)) == ALL
    both = sp.Piecewise((sp.sqrt(x), x >= 0), (sp.sqrt(-x), True))
    assert enclose(both, (-4.0, -1.0)) == (1, 2)
    assert enclose(both, (1.0, 4.0)) == (1, 2)


def test_the_expression_is_enclosed_as_it_is_written(enclose):
    quotient = sp.Mul(z, sp.Pow(z, -1, evaluate=False), evaluate=False)
    assert enclose(quotient, (-1.0, 1.0)) == ALL
    assert contains(enclose(quotient, (1.0, 2.0)), 1)
    nothing = sp.Mul(sp.Integer(0), sp.log(z), evaluate=False)
    assert enclose(nothing, (-1.0, 1.0)) == ALL
    assert enclose(nothing, (1.0, 2.0)) == (0, 0)


def test_extrema_of_waves_are_counted(enclose):
    rng = np.random.default_rng(3)
    centre = rng.uniform(-99_000, 99_000, 1000)
    centre[:500] = np.round(centre[:500] / math.pi * 2) * math.pi / 2
    width = 10.0 ** rng.uniform(-16, 1, 1000)
    for name, method in (("sin", "sin"), ("cos", "cos"), ("tan", "tan")):
        low, high = apply(name, (centre - width, centre + width), embedded=enclose.embedded)
        for c, w, lo, hi in zip(centre, width, low, high, strict=True):
            for t in (-1, -0.5, 0, 0.25, 1):
                point = min(max(c + t * w, c - w), c + w)
                truth = getattr(flint.arb(point), method)()
                assert not truth < lo
                assert not truth > hi
    assert apply("sin", ([-1e6], [1e6]), embedded=enclose.embedded)[0][0] == -1


def adversarial(kernel_lines, operation, embedded, count=4000):
    """Count exact results outside an operation compiled from given lines."""
    rng = np.random.default_rng(11)
    a, b = (rng.uniform(1, 2, (1, count)) * 2.0 ** rng.integers(-30, 30, (1, count)) for _ in "ab")
    low = np.concatenate([a, b])
    found = np.empty((2, count))
    loop = compile_loop(kernel_lines, ["rl", "rh"], 2, points=True, embedded=embedded, stored=False)
    loop(low, low, found, 0, count)
    wrong = 0
    for p, q, lo, hi in zip(*low.tolist(), *found.tolist(), strict=True):
        exact = operation(Fraction(p), Fraction(q))
        wrong += not lo <= exact <= hi
    return wrong


@pytest.mark.parametrize("name", ["add", "sub", "mul", "div"])
def test_without_one_direction_the_referee_sees_it(monkeypatch, name):
    exact = {
        "add": lambda p, q: p + q,
        "sub": lambda p, q: p - q,
        "mul": lambda p, q: p * q,
        "div": lambda p, q: p / q,
    }[name]
    lines = [f"rl, rh = iv_{name}(x0l, x0h, x1l, x1h)"]
    assert adversarial(lines, exact, False) == 0

    source = {"add": plain_add, "sub": plain_add, "mul": plain_mul, "div": plain_div}[name]
    home = "add_up" if name in ("add", "sub") else f"{name}_up"
    monkeypatch.setattr(operations, home, source)
    if name == "sub":
        monkeypatch.setattr(directed, "add_up", source)
    assert adversarial(lines, exact, False) > 0


def plain_add(a: float, b: float) -> float:
    """Round to nearest."""
    return a + b


def plain_mul(a: float, b: float) -> float:
    """Round to nearest."""
    return a * b


def plain_div(a: float, b: float) -> float:
    """Round to nearest."""
    return a / b


@pytest.mark.parametrize(
    ("constant", "value", "name", "box"),
    [
        ("TWO_ETA", 0.0, "erf", (ETA, ETA)),
        ("EXP_K", 0.0, "exp", None),
        ("MARGIN", -1e-3, "sin", (1.57, 1.5708)),
    ],
)
def test_without_a_widening_the_referee_sees_it(monkeypatch, constant, value, name, box):
    def wrong():
        rng = np.random.default_rng(5)
        points = rng.uniform(-5, 5, 4000) if box is None else np.array([box[0]])
        ends = points if box is None else np.array([box[1]])
        lines = [f"rl, rh = iv_{name}(x0l, x0h)"]
        loop = compile_loop(lines, ["rl", "rh"], 1, points=False, embedded=False, stored=False)
        low, high = (np.resize(v, (1, 4000)) for v in (points, ends))
        found = np.empty((2, 4000))
        loop(low, high, found, 0, 4000)
        count = 0
        for p, q, lo, hi in zip(low[0], high[0], *found, strict=True):
            for t in (p, (p + q) / 2, q):
                ball = getattr(flint.arb(float(t)), name)()
                top = flint.arb(math.pi / 2).sin()
                count += bool(ball < lo) or bool(ball > hi)
                count += name == "sin" and bool(top > hi)
        return count

    assert wrong() == 0
    monkeypatch.setattr(transcendental, constant, value)
    assert wrong() > 0


@pytest.mark.skipif(not has_embedded_rounding(), reason="no instructions with their own rounding")
def test_error_terms_are_never_tighter_than_the_instructions_and_rarely_wider():
    rng = np.random.default_rng(17)
    bits = rng.integers(-(2**63), 2**63 - 1, (4, 40_000))
    ends = np.where((bits >> 52) & 0x7FF == 0x7FF, bits & ~(1 << 52), bits).view(np.float64)
    ends[:, ::4] = rng.integers(-3, 4, ends[:, ::4].shape)
    ends[2:, 1::4] = ends[:2, 1::4] * (1 + 2.0**-40)
    with np.errstate(all="ignore"):
        lo, hi = np.minimum(ends[::2], ends[1::2]), np.maximum(ends[::2], ends[1::2])
    lo, hi = np.nan_to_num(lo), np.nan_to_num(hi)
    lo[:, 2::40] = -INF
    hi[:, 3::40] = INF
    for name in ("add", "sub", "mul", "div", "sqr", "sqrt", "recip"):
        operands = [(lo[k], hi[k]) for k in range(2 if name in ("add", "sub", "mul", "div") else 1)]
        tight = apply(name, *operands, embedded=True)
        found = apply(name, *operands, embedded=False)
        empty = tight[0] > tight[1]
        assert (found[0] <= tight[0]).all(), name
        assert (found[1] >= tight[1]).all(), name
        assert np.array_equal(empty, found[0] > found[1])
        same = (found[0] == tight[0]) & (found[1] == tight[1])
        assert same.mean() > 0.75, (name, same.mean())


def test_formulas_of_activations_have_kernels_with_two_derivatives():
    from verify.network.expression import parse_expression, variable

    points = np.array([-7.5, -1.1, -0.25, 0.3, 1.5, 12.0])
    for text in (
        "tanh(z)", "sigmoid(z)", "softplus(2*z)/2", "z*sigmoid(z)", "z*tanh(softplus(z))",
        "z/2*(1+erf(z/sqrt(2)))", "z/2*(1+tanh(sqrt(2/pi)*(z+44715/1000000*z**3)))", "sin(z)",
        "atan(z)", "z/(1+abs(z))", "max(z,0)", "max(-1,min(1,z))", "abs(z)", "z**2",
        "Piecewise((z, z > 0), (expm1(z), True))", "log1p(exp(-abs(z)))", "E**(-z**2)", "z",
        "sqrt(1+z**2)", "cosh(z)/(1+cosh(z))", "sign(z)*log1p(abs(z))", "z**3/(1+z**2)",
    ):  # fmt: skip
        kernel = IntervalKernel(parse_expression(text), (variable(),), 2, False)
        found = kernel(points - 1e-9, points + 1e-9)
        ends = [(found.lo, found.hi), *((a.lo[0], a.hi[0]) for a in (found.gradient,))]
        ends.append((found.hessian.lo[0, 0], found.hessian.hi[0, 0]))
        for lane, point in enumerate(points):
            for (lo, hi), (low, high) in zip(ends, kernel.reference([point], [point]), strict=True):
                assert math.isfinite(lo[lane]), text
                assert lo[lane] <= high, text
                assert low <= hi[lane], text
                assert hi[lane] - lo[lane] < 1e-6 * max(1, abs(lo[lane])), text

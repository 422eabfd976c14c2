"""Random formulas, random boxes: interval kernels against an evaluation of the formula in balls.

The referee evaluates the SymPy tree itself at exact points, at 256 bits; it knows nothing of the
programs of the kernels.
"""

import math
import os
import time

import flint
import numpy as np
import pytest
import sympy as sp
from flint import arb, fmpq

from verify_kernels.interval.kernel import IntervalKernel, interval_kernel
from verify_kernels.interval.vector_code import has_embedded_rounding

FULL = os.environ.get("VERIFY_CAMPAIGN") == "full"
FORMULAS = 60 if FULL else 12
POINTS = 700 if FULL else 340  # of each formula
SEED = 20260111

x, y = sp.symbols("x y", real=True)
METHODS = {
    sp.exp: "exp", sp.log: "log", sp.tanh: "tanh", sp.sin: "sin", sp.cos: "cos", sp.tan: "tan",
    sp.atan: "atan", sp.sinh: "sinh", sp.cosh: "cosh", sp.erf: "erf", sp.erfc: "erfc",
}  # fmt: skip
NOTHING = arb("nan")


def ball(e, at):
    """Return a ball of the value of a formula at a point, not finite where it may be undefined."""
    if e in at:
        return at[e]
    if e.is_Rational:
        return arb(fmpq(int(e.p), int(e.q)))
    if e == sp.pi or e == sp.E:
        return arb.pi() if e == sp.pi else arb(1).exp()
    if isinstance(e, sp.Piecewise):
        for branch, condition in e.args:
            if condition == sp.true:
                return ball(branch, at)
            left, right = (ball(side, at) for side in condition.args)
            if not (left < right or left >= right):
                return NOTHING
            if left < right:  # conditions are written with <
                return ball(branch, at)
        return NOTHING
    parts = [ball(a, at) for a in e.args]
    if isinstance(e, sp.Add):
        return sum(parts[1:], parts[0])
    if isinstance(e, sp.Mul):
        return math.prod(parts[1:], start=parts[0])
    if isinstance(e, sp.Pow):
        return power(parts[0], e.exp, parts[1])
    if isinstance(e, sp.Abs):
        return abs(parts[0])
    if isinstance(e, sp.Max | sp.Min):
        return parts[0].max(parts[1]) if isinstance(e, sp.Max) else parts[0].min(parts[1])
    return getattr(parts[0], METHODS[type(e)])()


def power(base, exponent, value):
    if exponent.is_Integer:
        return base ** int(exponent)
    if exponent.is_Rational:
        root = base.root(int(exponent.q)) if base > 0 else NOTHING
        return root ** int(exponent.p)
    return value.exp() if base.overlaps(arb(1).exp()) else NOTHING


def formula(rng, depth):
    """Return a random formula, not evaluated by SymPy."""
    if depth == 0 or rng.random() < 0.12:
        kind = rng.integers(5)
        if kind == 0:
            return sp.Rational(int(rng.integers(-9, 10)), int(rng.integers(1, 8)))
        return sp.pi if kind == 1 and rng.random() < 0.3 else (x, y)[rng.integers(2)]
    kind = rng.integers(12)
    one = formula(rng, depth - 1)
    if kind < 3:
        return sp.Add(one, formula(rng, depth - 1), evaluate=False)
    if kind < 6:
        return sp.Mul(one, formula(rng, depth - 1), evaluate=False)
    if kind == 6:
        exponent = [2, 3, -1, -2, 4, sp.Rational(1, 2), sp.Rational(2, 3)][rng.integers(7)]
        return sp.Pow(one, exponent, evaluate=False)
    if kind == 7:
        other = formula(rng, depth - 1)
        return [
            lambda: sp.Abs(one, evaluate=False),
            lambda: sp.Max(one, other, evaluate=False),
            lambda: sp.Min(one, other, evaluate=False),
            lambda: sp.Piecewise((one, sp.Lt(x, y, evaluate=False)), (other, True), evaluate=False),
        ][rng.integers(4)]()
    atoms = [
        lambda: 1 / (1 + sp.exp(-one)), lambda: sp.log(1 + sp.exp(one)),
        lambda: sp.exp(one) - 1, lambda: 1 - sp.tanh(one) ** 2, lambda: sp.log(1 + one**2),
    ]  # fmt: skip
    if kind == 8:
        return atoms[rng.integers(len(atoms))]()
    return list(METHODS)[rng.integers(len(METHODS))](one, evaluate=False)


def boxes(rng, count):
    """Return boxes of width 1e-12 to 10 around points up to 400, small and special ones more."""
    scale = 10.0 ** rng.uniform(-3, 2.6, (2, count))
    centre = rng.uniform(-1, 1, (2, count)) * scale
    special = rng.random((2, count)) < 0.15
    centre = np.where(special, rng.integers(-3, 4, (2, count)), centre)
    half = np.where(rng.random((2, count)) < 0.2, 0.0, 10.0 ** rng.uniform(-12, 1, (2, count)) / 2)
    return centre - half, centre + half


def sample(rng, low, high):
    point = low + rng.choice([0.0, 1.0, *rng.random(3)], low.shape) * (high - low)
    return np.clip(point, low, high)


def violations(e, rng, count, *, order, embedded):
    """Return how many points were compared and how many lie outside."""
    try:
        kernel = IntervalKernel(e, (x, y), order, False)
    except ValueError:  # a constant part that is undefined
        return 0, 0
    kernel.embedded = embedded
    low, high = boxes(rng, max(1, count // 5))
    found = kernel(low, high)
    rows = [(e, found.lo, found.hi)]
    if order:
        rows += [
            (sp.diff(e, s), found.gradient.lo[k], found.gradient.hi[k])
            for k, s in enumerate((x, y))
        ]
    compared = wrong = 0
    for lane in range(low.shape[1]):
        for _ in range(5):
            point = sample(rng, low[:, lane], high[:, lane])
            at = {s: arb(float(v)) for s, v in zip((x, y), point, strict=True)}
            for f, lo, hi in rows:
                value = ball(f, at)
                compared += 1
                outside = value < float(lo[lane]) or value > float(hi[lane])
                wrong += bool(value.is_finite() and outside)
    return compared, wrong


@pytest.mark.soundness
def test_campaign_of_random_formulas():
    start = time.perf_counter()
    rng = np.random.default_rng(SEED)
    compared = wrong = 0
    with flint.ctx.workprec(256):
        for k in range(FORMULAS):
            e = formula(rng, int(rng.integers(2, 5)))
            embedded = has_embedded_rounding() and k % 3 != 0
            done, bad = violations(e, rng, POINTS, order=0, embedded=embedded)
            assert bad == 0, e
            compared, wrong = compared + done, wrong + bad
    print(
        f"campaign random formulas: {compared} cases, seed {SEED}, "
        f"{time.perf_counter() - start:.1f} s, {wrong} wrong"
    )
    assert compared >= FORMULAS * POINTS // 2


SMOOTH = [
    sp.tanh(x * y) + sp.log(1 + sp.exp(x - y)),
    x / (1 + sp.exp(-x * y)),
    sp.erf(x) * sp.sin(y) ** 2,
    sp.exp(-(x**2)) * sp.atan(y) + sp.sqrt(1 + x**2 * y**2),
    sp.log(1 + x**2) / (1 + y**2) + sp.sinh(x / 50) * sp.cosh(y / 50),
    x**3 * y - sp.Rational(1, 3) * y**5 + (1 + y**2) ** sp.Rational(-2, 3),
    sp.tan(sp.tanh(x)) + sp.erfc(y),
]


@pytest.mark.parametrize("e", SMOOTH, ids=str)
def test_gradients_and_hessians_contain_the_derivatives(e):
    rng = np.random.default_rng(SEED + 1)
    low, high = boxes(rng, 60 if FULL else 20)
    found = interval_kernel(e, [x, y], order=2)(low, high)
    rows = [(e, found.lo, found.hi)]
    for i, s in enumerate((x, y)):
        rows.append((sp.diff(e, s), found.gradient.lo[i], found.gradient.hi[i]))
        for j, t in enumerate((x, y)):
            rows.append((sp.diff(e, s, t), found.hessian.lo[i, j], found.hessian.hi[i, j]))
    decided = 0
    with flint.ctx.workprec(256):
        for lane in range(low.shape[1]):
            for _ in range(3):
                point = sample(rng, low[:, lane], high[:, lane])
                at = {s: arb(float(v)) for s, v in zip((x, y), point, strict=True)}
                for f, lo, hi in rows:
                    value = ball(f, at)
                    assert not value < float(lo[lane])
                    assert not value > float(hi[lane])
                    decided += math.isfinite(lo[lane]) and math.isfinite(hi[lane])
    assert decided > low.shape[1]


def test_narrow_boxes_get_narrow_results():
    e = SMOOTH[0]
    low = np.random.default_rng(2).uniform(-3, 3, (2, 64))
    found = interval_kernel(e, [x, y])(low, low)
    assert np.median((found.hi - found.lo) / np.abs(found.lo)) < 64 * 2.0**-52

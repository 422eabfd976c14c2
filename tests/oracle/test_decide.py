"""Random hypotheses against exact rational and high-precision ball arithmetic, written apart."""

import os
import random
import time
from fractions import Fraction

import pytest
import sympy as sp
from flint import arb, ctx, fmpq

from verify import _formula, _interval
from verify.decide import decide, evaluate
from verify.enclosure import Enclosure
from verify.verdict import Truth

SYMBOLS = sp.symbols("x y z", real=True)
FULL = os.environ.get("VERIFY_CAMPAIGN") == "full"


class NotReal(Exception):
    """The formula is no real number at the point."""


def ball(expression, point):
    """Evaluate with 2,000-bit balls, node by node."""
    if expression.is_Symbol:
        return ball(sp.Rational(point[expression].numerator, point[expression].denominator), point)
    if expression.is_Rational:
        return arb(fmpq(int(expression.p), int(expression.q)))
    if expression in (sp.pi, sp.E):
        return arb.pi() if expression == sp.pi else arb.const_e()
    if not expression.args:
        raise NotReal
    items = [ball(item, point) for item in expression.args]
    if isinstance(expression, sp.Add):
        return sum(items, arb(0))
    if isinstance(expression, sp.Mul):
        product = arb(1)
        for item in items:
            product *= item
        return product
    if isinstance(expression, sp.Pow):
        base, exponent = items[0], expression.exp
        if exponent.is_Integer and (exponent > 0 or not base.contains(0)):
            return base ** int(exponent)
        if exponent.is_Rational and base > 0:
            return (base.log() * arb(fmpq(int(exponent.p), int(exponent.q)))).exp()
        if exponent.is_Rational and exponent > 0 and base == 0:
            return arb(0)
        raise NotReal
    if isinstance(expression, sp.exp):
        return items[0].exp()
    if isinstance(expression, sp.log):
        if items[0] > 0:
            return items[0].log()
        raise NotReal
    if isinstance(expression, sp.Abs):
        return abs(items[0])
    result = items[0]
    for item in items[1:]:
        result = result.max(item) if isinstance(expression, sp.Max) else result.min(item)
    return result


def true_relation(relation, point):
    """The truth at a point: True, False, or None if 2,000 bits do not tell."""
    ctx.prec = 2000
    try:
        difference = ball(relation.lhs, point) - ball(relation.rhs, point)
    except NotReal:
        return None
    finally:
        ctx.prec = 53
    if difference.contains(0) and not difference.is_zero():
        return None
    sign = 0 if difference.is_zero() else 1 if difference > 0 else -1
    holds = {
        sp.StrictLessThan: sign < 0, sp.LessThan: sign <= 0,
        sp.StrictGreaterThan: sign > 0, sp.GreaterThan: sign >= 0,
        sp.Equality: sign == 0, sp.Unequality: sign != 0,
    }  # fmt: skip
    return holds[relation.func]


def truth_at(hypothesis, point):
    if isinstance(hypothesis, sp.And | sp.Or):
        parts = [truth_at(item, point) for item in hypothesis.args]
        stop = isinstance(hypothesis, sp.Or)
        if stop in parts:
            return stop
        return None if None in parts else not stop
    if isinstance(hypothesis, sp.Not):
        inner = truth_at(hypothesis.args[0], point)
        return None if inner is None else not inner
    return true_relation(hypothesis, point)


def expression(rng, depth):
    if depth == 0 or rng.random() < 0.15:
        return rng.choice(
            [*SYMBOLS, *SYMBOLS, sp.Rational(rng.randint(-6, 6), rng.randint(1, 5)), sp.pi, sp.E]
        )
    a, b = expression(rng, depth - 1), expression(rng, depth - 1)
    exponent = sp.Rational(*rng.choice([(2, 1), (3, 1), (-1, 1), (-2, 1), (1, 2), (1, 3), (-3, 2)]))
    # evaluate=False now and then: SymPy must not have collected repeated symbols already
    return rng.choice(
        [
            lambda: a + b, lambda: a - b, lambda: a * b, lambda: a * b - b, lambda: a / (b**2 + 1),
            lambda: sp.Max(a, b), lambda: sp.Min(a, b), lambda: sp.Abs(a), lambda: sp.Abs(a - b),
            lambda: (sp.Abs(a) + sp.Rational(1, 3)) ** exponent, lambda: a**2,
            lambda: sp.exp(sp.Min(a, 3)), lambda: sp.log(1 + sp.Abs(a)), lambda: sp.sqrt(a),
            lambda: sp.Add(a, sp.Mul(-1, a, evaluate=False), b, evaluate=False),
        ]
    )()  # fmt: skip


def relation(rng, point):
    lhs = expression(rng, rng.randint(1, 3))
    kind = rng.choice([sp.Lt, sp.Le, sp.Gt, sp.Ge, sp.Eq, sp.Ne])
    if rng.random() < 0.5:
        return kind(lhs, expression(rng, rng.randint(0, 2)))
    ctx.prec = 200
    try:  # a right side at, just below or just above the value at the point
        near = Enclosure.from_arb(ball(lhs, point))
    except (NotReal, ValueError):
        return kind(lhs, 0)
    finally:
        ctx.prec = 53
    if not near.is_bounded:
        return kind(lhs, 0)
    step = Fraction(rng.choice([0, 0, 1, -1]), rng.choice([2, 2**20, 2**52, 2**90]))
    at = near.lo + step * max(1, abs(near.lo))
    return kind(lhs, sp.Rational(at.numerator, at.denominator))


def case(rng):
    point = {s: Fraction(rng.choice([rng.randint(-3, 3), rng.uniform(-3, 3)])) for s in SYMBOLS}
    try:
        parts = [relation(rng, point) for _ in range(rng.choice([1, 1, 1, 2, 3]))]
    except (TypeError, ValueError):  # SymPy sees the root of a negative number
        return sp.true, point
    hypothesis = rng.choice([sp.And, sp.Or])(*parts)
    if hypothesis.has(sp.I, sp.zoo, sp.nan, sp.oo):
        return sp.true, point
    if rng.random() < 0.2:
        hypothesis = sp.Not(hypothesis)
    return hypothesis, point


def around(rng, point):
    def end(x, sign):
        if rng.random() < 0.1:
            return sign * float("inf")
        width = Fraction(rng.choice([0, 0, 1, rng.random()])) / rng.choice([1, 2**10, 2**50])
        return x + sign * width

    return {s: Enclosure(end(x, -1), end(x, 1)) for s, x in point.items()}


def run(count, seed):
    rng = random.Random(seed)
    wrong, decided, asked, decided_points, asked_points = [], 0, 0, 0, 0
    while asked < count:
        hypothesis, point = case(rng)
        if hypothesis in (sp.true, sp.false):
            continue
        asked += 1
        exact = truth_at(hypothesis, point)
        tight = {s: Enclosure.exact(x) for s, x in point.items()}
        wide = around(rng, point)
        answers = [decide(hypothesis, box, {}).truth for box in (tight, wide)]
        contrary = {True: Truth.REFUTED, False: Truth.PROVED}.get(exact)
        if contrary in answers or {Truth.PROVED, Truth.REFUTED} <= set(answers):
            wrong.append((hypothesis, point, wide, answers, exact))
        decided += answers[1] is not Truth.UNDECIDED
        asked_points += exact is not None
        decided_points += exact is not None and answers[0] is not Truth.UNDECIDED
    return wrong, asked, decided, asked_points, decided_points


@pytest.mark.soundness
def test_campaign_never_contrary():
    count, seed = (5000 if FULL else 500), 20260
    start = time.perf_counter()
    wrong, asked, decided, asked_points, decided_points = run(count, seed)
    print(
        f"campaign decide: {asked} cases, seed {seed}, "
        f"{time.perf_counter() - start:.1f} s, {len(wrong)} wrong "
        f"(boxes decided {decided}, points decided {decided_points} of {asked_points})"
    )
    assert not wrong, wrong[:3]
    assert decided_points == asked_points


def inward(value, is_open, bits):
    """Round to nearest instead of outward, to 8 bits so that it happens at once."""
    if isinstance(value, float) or value == 0:
        return value, is_open
    size = abs(value.numerator).bit_length() - value.denominator.bit_length()
    return Fraction(round(value * Fraction(2) ** (8 - size))) * Fraction(2) ** (size - 8), False


def test_without_outward_rounding_a_false_statement_is_proved(monkeypatch):
    x, y, _ = SYMBOLS
    hypothesis = x * y <= 1 + sp.Rational(1, 2**39)  # false by 2^-80 at the upper corner
    box = {x: Enclosure(0, 1 + 2**-40), y: Enclosure(0, 1 + 2**-40)}
    assert decide(hypothesis, box, {}).truth is Truth.UNDECIDED
    monkeypatch.setattr(_interval, "round_down", inward)
    monkeypatch.setattr(_interval, "round_up", inward)
    assert decide(hypothesis, box, {}).truth is Truth.PROVED


def test_without_outward_roots_a_false_bound_is_given(monkeypatch):
    x = SYMBOLS[0]
    box = {x: Enclosure.exact(2)}
    assert evaluate(sp.sqrt(x), box).hi ** 2 > 2
    original = _interval._root_end
    monkeypatch.setattr(
        _interval, "_root_end", lambda end, q, bits, *, up: original(end, q, bits, up=False)
    )
    assert evaluate(sp.sqrt(x), box).hi ** 2 < 2


def test_a_too_large_separation_bound_would_equate_different_numbers(monkeypatch):
    x = SYMBOLS[0]
    hypothesis = sp.Eq(sp.sqrt(x) + sp.sqrt(2), sp.sqrt(8))
    near = {x: Enclosure.exact(2 + Fraction(1, 2**400))}
    assert decide(hypothesis, near, {}).truth is Truth.REFUTED
    monkeypatch.setattr(_formula, "_conjugates", lambda node, box: (1, 1))
    monkeypatch.setattr(_formula, "_degree", lambda roots: 1)
    assert decide(hypothesis, near, {}).truth is Truth.PROVED

"""Attacks on the elementary functions and their proofs.

Every program, run in exact arithmetic with its polynomials replaced by what they approximate, is
the function, on every branch: shown by SymPy (zero derivative of the difference, zero at a point).
Mutated programs are refused, or are still within the bound; worst cases found by long searches stay
within the bound.
"""

from __future__ import annotations

import ast
import copy
import inspect
import math
import os
import time

import flint
import numpy as np
import pytest
import sympy as sp
from flint import arb

from verify_kernels.elementary import arrays, functions, lemmas
from verify_kernels.elementary.abstract_number import Undecided
from verify_kernels.elementary.bounds import BOUNDS
from verify_kernels.elementary.proof import ProofError, Proofs, prove
from verify_kernels.elementary.proof_setting import Setting, power_number, true_value

FULL = os.environ.get("VERIFY_CAMPAIGN") == "full"
P = sp.Symbol("p", positive=True)
K = sp.Symbol("k", integer=True)


class Formula:
    """A value of a program in exact arithmetic; comparisons are those at one point."""

    def __init__(self, value, place):
        self.value, self.place = sp.nsimplify(value, rational=True), place

    def _of(self, other):
        return other.value if isinstance(other, Formula) else sp.nsimplify(other, rational=True)

    def _new(self, value):
        return Formula(value, self.place)

    def __add__(self, other):
        return self._new(self.value + self._of(other))

    __radd__ = __add__

    def __sub__(self, other):
        return self._new(self.value - self._of(other))

    def __rsub__(self, other):
        return self._new(self._of(other) - self.value)

    def __mul__(self, other):
        return self._new(self.value * self._of(other))

    __rmul__ = __mul__

    def __truediv__(self, other):
        return self._new(self.value / self._of(other))

    def __rtruediv__(self, other):
        return self._new(self._of(other) / self.value)

    def __neg__(self):
        return self._new(-self.value)

    def __abs__(self):
        return self._new(self.value if self._there() >= 0 else -self.value)

    def _there(self):
        return self.value.subs({P: self.place, K: 3}).evalf(30)

    def __lt__(self, other):
        return bool(self._there() < self._of(other))

    def __le__(self, other):
        return bool(self._there() <= self._of(other))

    def __gt__(self, other):
        return bool(self._there() > self._of(other))

    def fused(self, a, b, c):
        a, b, c = (self._of(part) for part in (a, b, c))
        return self._new(a * b + c)


def _series(function):
    return lambda z: z._new(function(z.value, sp.sqrt(sp.factor(z.value))))


def _erfcx_scaled(t):
    x = sp.simplify(4 * (1 + t.value) / (1 - t.value))
    return t._new(sp.exp(x**2) * sp.erfc(x) * (1 + 2 * x))


SUMS = {
    "exp_sum": lambda r: r._new((sp.exp(r.value) - 1 - r.value) / r.value**2),
    "log_sum": _series(lambda z, b: (2 * sp.atanh(b / 2) / b - 1) / z),
    "atanh_sum": _series(lambda z, b: (2 * sp.atanh(b / 2) / b - 1) / z),
    "atan_sum": _series(lambda z, t: (sp.atan(t) / t - 1) / z),
    "sine_sum": _series(lambda z, r: (sp.sin(r) / r - 1) / z),
    "cosine_sum": _series(lambda z, r: (sp.cos(r) - 1 + z / 2) / z**2),
    "erf_ratio": _series(lambda z, x: sp.erf(x) / x),
    "erfcx_scaled": _erfcx_scaled,
}
CONSTANTS = {
    "LN2": Formula(sp.log(2), 1),
    "HALF_PI_HIGH": Formula(sp.pi / 2, 1),
    "QUARTER_PI_HIGH": Formula(sp.pi / 4, 1),
    "HALF_PI_LOW": 0.0,
    "QUARTER_PI_LOW": 0.0,
}


def _formula(name, x, place, **contracts):
    """Return the ideal result of a program at x(p); selects are those at p = place."""
    space = Setting().space(SUMS | CONSTANTS)
    shift = space["SHIFT"]
    space["nearest_integer"] = lambda x, inverse: Formula(K, place) + shift
    space["reduce_ln2"] = lambda x, k: x - k * Formula(sp.log(2), place)
    space["scaled_up"] = lambda y, shifted: y * Formula(2, place)._new(2 ** (shifted - shift).value)
    space["power_of_two"] = lambda shifted: Formula(2 ** (shifted - shift).value, place)
    space["scaled_down"] = lambda x, k: x * 2.0**-k
    space["with_sign_of"] = lambda y, x: y if x > 0.0 else -y
    space.update(contracts)
    return space[f"{name}_core"](Formula(x, place)).value


def _vanishes(difference, place):
    there = {P: place, K: 3}
    assert abs(difference.subs(there).evalf(60)) < sp.Float(10) ** -45
    slope = sp.diff(difference, P)
    if sp.simplify(slope) == 0 or sp.simplify(slope.rewrite(sp.exp)) == 0:
        return
    assert sp.simplify(sp.expand_trig(sp.expand(slope))) == 0


def _sigmoid(x):
    return 1 / (1 + sp.exp(-x))


def _softplus(x):
    return sp.log(1 + sp.exp(x))


TENTH, ONE, THREE = sp.Rational(1, 10), sp.Integer(1), sp.Integer(3)
SIGNS = [(P, TENTH), (-P, TENTH)]
PLUS_MINUS = [*SIGNS, (P, THREE), (-P, THREE)]
BRANCHES = [
    *[("exp", sp.exp, x, at) for x, at in SIGNS],
    *[("expm1", lambda x: sp.exp(x) - 1, x, at) for x, at in SIGNS],
    *[("tanh", sp.tanh, x, at) for x, at in SIGNS],
    *[("sigmoid", _sigmoid, x, at) for x, at in SIGNS],
    *[("softplus", _softplus, x, at) for x, at in SIGNS],
    *[("sinh", sp.sinh, x, at) for x, at in SIGNS],
    *[("cosh", sp.cosh, x, at) for x, at in SIGNS],
    *[("erf", sp.erf, x, at) for x, at in PLUS_MINUS],
    *[("erfc", sp.erfc, x, at) for x, at in PLUS_MINUS],
    *[("atan", sp.atan, x, TENTH) for x in (P, -P, 1 + P, -1 - P, 1 / (1 + P), -1 / (1 + P))],
    *[("atan", sp.atan, x, THREE) for x in (P, -P)],
]


@pytest.mark.parametrize(
    ("name", "function", "x", "place"), BRANCHES, ids=[f"{b[0]} {b[2]} {b[3]}" for b in BRANCHES]
)
def test_the_exact_program_is_the_function(name, function, x, place):
    inner = {
        "exp_core": lambda y: y._new(sp.exp(y.value)),
        "exp_times": lambda y, shift: y._new(2 ** sp.Integer(int(shift)) * sp.exp(y.value)),
        "expm1_core": lambda y: y._new(sp.exp(y.value) - 1),
    }
    inner.pop(f"{name}_core", None)
    _vanishes(_formula(name, x, place, **inner) - function(x), place)


@pytest.mark.parametrize("name", ["log", "log1p"])
@pytest.mark.parametrize("exponent", [-2, 0, 3])
@pytest.mark.parametrize("sign", [1, -1])
def test_the_exact_logarithms_are_the_functions(name, exponent, sign):
    m = (1 + P) if sign > 0 else 1 / (1 + P)
    one_plus_x = m * sp.Integer(2) ** exponent
    x = one_plus_x if name == "log" else one_plus_x - 1
    found = _formula(name, x, TENTH, binary_exponent=lambda u: exponent)
    _vanishes(found - exponent * sp.log(2) - sp.log(m), TENTH)


@pytest.mark.parametrize("name", ["sin", "cos", "tan"])
@pytest.mark.parametrize("quadrant", range(4))
@pytest.mark.parametrize("sign", [1, -1])
def test_the_exact_waves_are_the_functions(name, quadrant, sign):
    r = sign * P
    contracts = {
        "nearest_integer": lambda x, inverse: functions.SHIFT + quadrant,
        "reduce_half_pi": lambda x, k: x._new(r),
        "reduce_half_pi_closely": lambda x, k: x._new(r),
    }
    wave = getattr(sp, name)(r + quadrant * sp.pi / 2)
    _vanishes(_formula(name, r, TENTH, **contracts) - wave, TENTH)


# floats in programs under proof


def test_sums_of_floats_are_not_rounded_unseen():
    with flint.ctx.workprec(128):
        unit = arb(2) ** -53
        for k in (54, 55, -54, -55):
            proofs = Proofs()
            proofs._shifted = proofs.setting.SHIFT + k
            run = proofs._program("expm1_core")
            for lo, hi, s in proofs._cells("expm1_reduced", 32):
                proofs._now = s
                result = run(None)
                truth = (k * arb.const_log2() + arb(lo).union(arb(hi))).expm1()
                ideal = arb(2) ** k * s.ideal + (arb(2) ** k - 1)
                assert ideal.overlaps(truth)
                assert result.ideal.overlaps(ideal)
                lost = abs(arb(2.0**k - 1.0) - (arb(2) ** k - 1))
                assert result.error >= lost
                assert result.relative >= unit / 4
        assert (power_number(54) - 1.0).error == 1
        assert power_number(0) - 1.0 == 0.0


# mutants: one change in the source


class _Change(ast.NodeTransformer):
    """Make the n-th possible change: other branches, signs, operands, constants."""

    def __init__(self, number):
        self.left = number

    def _due(self):
        self.left -= 1
        return self.left == -1

    def generic_visit(self, node):
        node = super().generic_visit(node)
        for change in self._changes(node):
            if self._due():
                return change
        return node

    def _changes(self, node):
        if isinstance(node, ast.IfExp):
            yield ast.IfExp(node.test, node.orelse, node.body)
            yield node.body
            yield node.orelse
        if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Add | ast.Sub):
            other = ast.Sub() if isinstance(node.op, ast.Add) else ast.Add()
            yield ast.BinOp(node.left, other, node.right)
            yield node.left
            yield node.right
        if isinstance(node, ast.Call) and ast.unparse(node.func) == "fma":
            yield ast.BinOp(node.args[0], ast.Mult(), node.args[1])
            yield node.args[2]
        if isinstance(node, ast.Constant) and isinstance(node.value, float):
            yield from (ast.Constant(node.value * f) for f in (1 + 2.0**-30, 0.7, 0.0))
        if isinstance(node, ast.Name) and node.id.isupper() and node.id != "SHIFT":
            value = getattr(functions, node.id)
            yield from (ast.Constant(value * f) for f in (1 - 2.0**-52, 1 + 2.0**-30, 0.0))


SOURCE = {
    node.name: node
    for node in ast.parse(inspect.getsource(functions)).body
    if isinstance(node, ast.FunctionDef)
}


def _calls(name):
    found = {ast.unparse(n.func) for n in ast.walk(SOURCE[name]) if isinstance(n, ast.Call)}
    return {name}.union(*(_calls(part) for part in found & set(SOURCE)))


def _mutants():
    """Return (function of the claim, part changed, number of the change)."""
    found = []
    for name in BOUNDS:
        for part in sorted(_calls(f"{name}_core") - set(lemmas.TEXTS)):  # those are refused
            counter = _Change(10**6)
            counter.visit(copy.deepcopy(SOURCE[part]))
            found += [(name, part, number) for number in range(10**6 - counter.left)]
    return found


def _points(name, rng, count):
    bound = BOUNDS[name]
    x = np.concatenate(
        [
            rng.uniform(max(bound.lo, -50.0), min(bound.hi, 50.0), count),
            rng.choice([-1, 1], count) * np.exp2(rng.uniform(-40, 9, count)),
            rng.uniform(-2, 2, count),
            [1.0, 6.0, 6.5, 22.0, 23.0, 26.5, -6.5, -23.0, 700.0, -700.0, 0.3, -0.3],
        ]
    )
    return x[(x >= bound.lo) & (x <= bound.hi)]


def _excess(name, x, y):
    """Return the error divided by the claim, at bits enough to tell."""
    bound = BOUNDS[name]
    with flint.ctx.workprec(200):
        truth = true_value(name, arb(x))
        limit = arb(bound.relative_u.numerator) / bound.relative_u.denominator * abs(truth)
        limit += arb(bound.absolute_u.numerator) / bound.absolute_u.denominator
        return float(abs(arb(y) - truth) / (limit * arb(2) ** -53 + arb(2) ** -1074))


@pytest.mark.soundness
def test_campaign_mutants_are_refused_or_harmless(monkeypatch):
    start, seed = time.perf_counter(), 5
    rng, count = np.random.default_rng(seed), 60 if FULL else 4
    mutants = _mutants()
    refused = wrong = 0
    for index in rng.permutation(len(mutants))[:count]:
        name, part, number = mutants[index]
        definition = _Change(number).visit(copy.deepcopy(SOURCE[part]))
        ast.fix_missing_locations(definition)
        space = vars(functions).copy()
        exec(compile(ast.Module([definition], []), "<mutant>", "exec"), space)
        space[part].__module__ = functions.__name__
        with monkeypatch.context() as patch:
            patch.setattr(functions, part, space[part])
            try:
                assert prove(name, Proofs()).within_claim()
            except (ProofError, Undecided, KeyError, ZeroDivisionError, ValueError, TypeError):
                refused += 1
                continue
            program = Setting().space({})[f"{name}_core"]
            for x in _points(name, rng, 100).tolist():
                wrong += x != 0.0 and _excess(name, x, program(x)) > 1.0
    print(
        f"campaign elementary mutants: {count} cases, seed {seed}, "
        f"{time.perf_counter() - start:.1f} s, {wrong} wrong, {refused} refused"
    )
    assert wrong == 0
    assert refused >= count // 2


# the worst arguments of searches over 60 million points

WORST = [
    ("exp", -518.8204835078931, 1.344),
    ("expm1", 0.3588691027718389, 2.513),
    ("tanh", 0.17341373265070348, 3.303),
    ("sigmoid", -4.8276741083803, 2.846),
    ("softplus", -2.740326069347807, 3.647),
    ("log", 1.0001228303449292, 2.937),
    ("log1p", 0.4190400755705819, 3.621),
    ("erf", 0.5042216482879884, 2.17),
    ("erfc", 0.9999994683858403, 7.479),
    ("sin", 85415.97726028948, 1.297),
    ("cos", 96557.63560624568, 1.295),
    ("tan", 17893.726356684056, 3.551),
    ("atan", 0.42089917632066415, 2.379),
    ("sinh", -0.35997895190102724, 3.298),
    ("cosh", -11.789511099807408, 1.969),
]


@pytest.mark.parametrize(("name", "x", "units"), WORST, ids=[name for name, *_ in WORST])
def test_the_worst_arguments_found_are_within_the_claim(name, x, units):
    claim = float(BOUNDS[name].relative_u or BOUNDS[name].absolute_u)
    found = _excess(name, x, float(getattr(arrays, name)(x)))
    assert found <= 1.0
    assert found * claim > units - 0.01


def test_continuations_are_monotone_up_to_the_bound():
    for name, bound in BOUNDS.items():
        if bound.increasing is None:
            continue
        for seam in {bound.lo, bound.hi, 22.0, 2.0**-1022}:
            if not (-1e300 < seam < 1e300) or (name in ("log", "log1p") and seam < -1.0):
                continue
            near = np.array(seam).view(np.int64) + np.arange(-100, 101)
            y = getattr(arrays, name)(np.sort(near.view(np.float64)))
            steps = np.diff(y[~np.isnan(y) & ~np.isinf(y)]) * (1 if bound.increasing else -1)
            slack = 2 * float(bound.relative_u) * 2.0**-53 * np.max(np.abs(y[np.isfinite(y)]))
            assert np.all(steps >= -slack - math.ulp(0.0)), (name, seam)

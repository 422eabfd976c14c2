"""The elementary functions agree bit by bit in every dialect and are right at special points."""

from __future__ import annotations

import ast
import inspect
import itertools
import math
import struct
from fractions import Fraction

import numpy as np
import pytest

from verify_kernels.elementary import arrays, coefficients, compiled, functions, primitives
from verify_kernels.elementary.bounds import BOUNDS
from verify_kernels.elementary.make_coefficients import FILE, coefficients_text

INF, NAN = math.inf, math.nan
TINY = 2.0**-1074


def _same(a, b):
    return struct.pack("<d", a) == struct.pack("<d", b) or (math.isnan(a) and math.isnan(b))


def _points(name, count, seed):
    rng = np.random.default_rng(seed)
    bound = BOUNDS[name]
    lo, hi = max(bound.lo, -800.0), min(bound.hi, 800.0)
    logs = np.exp2(rng.uniform(-1074, 9, count)) * rng.choice([-1.0, 1.0], count)
    x = np.concatenate([rng.uniform(lo, hi, count), rng.uniform(-2, 2, count), logs])
    return x[(x >= bound.lo) & (x <= bound.hi)]


@pytest.mark.parametrize("name", BOUNDS)
def test_vectorised_scalar_and_plain_evaluation_agree_in_every_bit(name):
    x = _points(name, 400, 1)
    core = getattr(functions, f"{name}_core")
    many = np.empty_like(x)
    compiled.loop(core)(x, many)
    scalar = compiled.SCALAR[name]
    for value, vectorised in zip(x.tolist(), many.tolist(), strict=True):
        plain = core(value)
        assert _same(plain, vectorised), value
        assert _same(plain, float(scalar(value))), value


@pytest.mark.parametrize("name", BOUNDS)
def test_arrays_agree_with_the_functions_on_the_domain(name):
    x = _points(name, 500, 2)
    got = getattr(arrays, name)(x.reshape(1, -1))
    assert got.shape == (1, x.size)
    scalar = compiled.SCALAR[name]
    assert [v for v, g in zip(x, got[0], strict=True) if scalar(v) != g] == []


SPECIAL = {
    "exp": [(-INF, 0.0), (INF, INF), (0.0, 1.0), (-0.0, 1.0), (710.0, INF), (-746.0, 0.0)],
    "expm1": [(-INF, -1.0), (INF, INF), (0.0, 0.0), (-0.0, -0.0), (-800.0, -1.0), (TINY, TINY)],
    "log": [(-INF, NAN), (INF, INF), (0.0, -INF), (-0.0, -INF), (1.0, 0.0), (-TINY, NAN)],
    "log1p": [(-INF, NAN), (INF, INF), (0.0, 0.0), (-0.0, -0.0), (-1.0, -INF), (-TINY, -TINY)],
    "tanh": [(-INF, -1.0), (INF, 1.0), (0.0, 0.0), (-0.0, -0.0), (1e300, 1.0), (-TINY, -TINY)],
    "sigmoid": [(-INF, 0.0), (INF, 1.0), (0.0, 0.5), (-0.0, 0.5), (-746.0, 0.0), (TINY, 0.5)],
    "softplus": [(-INF, 0.0), (INF, INF), (-746.0, 0.0), (1e300, 1e300)],
    "erf": [(-INF, -1.0), (INF, 1.0), (0.0, 0.0), (-0.0, -0.0), (30.0, 1.0), (-TINY, -TINY)],
    "erfc": [(-INF, 2.0), (INF, 0.0), (0.0, 1.0), (-0.0, 1.0), (28.0, 0.0), (-30.0, 2.0)],
    "sin": [(-INF, NAN), (INF, NAN), (0.0, 0.0), (-0.0, -0.0), (TINY, TINY)],
    "cos": [(-INF, NAN), (INF, NAN), (0.0, 1.0), (-0.0, 1.0), (TINY, 1.0)],
    "tan": [(-INF, NAN), (INF, NAN), (0.0, 0.0), (-0.0, -0.0), (TINY, TINY)],
    "atan": [(-INF, -math.pi / 2), (INF, math.pi / 2), (0.0, 0.0), (-0.0, -0.0), (TINY, TINY)],
    "sinh": [(-INF, -INF), (INF, INF), (0.0, 0.0), (-0.0, -0.0), (711.0, INF), (TINY, TINY)],
    "cosh": [(-INF, INF), (INF, INF), (0.0, 1.0), (-0.0, 1.0), (-711.0, INF), (TINY, 1.0)],
}


@pytest.mark.parametrize("name", BOUNDS)
def test_special_values_are_exact(name):
    function = getattr(arrays, name)
    for x, expected in [*SPECIAL[name], (NAN, NAN)]:
        assert _same(float(function(x)), expected), x
    assert function([]).shape == (0,)


def test_the_coefficients_are_those_of_the_script():
    assert FILE.read_text(encoding="utf-8") == coefficients_text()


def test_every_coefficient_is_used():
    used = {name for name, value in vars(functions).items() if isinstance(value, float)}
    made = {name for name, value in vars(coefficients).items() if isinstance(value, float)}
    assert made <= used


def test_the_compiled_fused_multiply_add_rounds_once():
    run = compiled.scalar_fma
    u = 2.0**-53
    assert run(1 + 2 * u, 1 + 2 * u, -(1 + 4 * u)) == 4 * u * u
    assert run(2.0**-600, 2.0**-474, 0.0) == TINY
    assert run(3.0, TINY / 1.0, -TINY) == 2 * TINY
    assert run(1e308, 10.0, -INF) == -INF


def test_the_plain_fused_multiply_add_is_that_of_the_machine():
    rng = np.random.default_rng(3)
    values = [0.0, -0.0, 1.0, -1.0, TINY, -TINY, 1e308, -1e308, 2.0**-1022, 1 / 3]
    values += (rng.standard_normal(6) * np.exp2(rng.uniform(-600, 600, 6))).tolist()
    for a, b, c in itertools.product(values, repeat=3):
        assert _same(primitives.fma(a, b, c), float(compiled.scalar_fma(a, b, c))), (a, b, c)


def test_bit_casts():
    for x in (1.0, -0.0, TINY, -math.pi, INF):
        assert _same(primitives.from_bits(primitives.bits(x)), x)
    assert primitives.bits(-0.0) == -(2**63)
    assert primitives.to_float(primitives.to_int(-7.0)) == -7.0


def test_two_sum_in_log1p_is_exact():
    rng = np.random.default_rng(4)
    for x in (rng.uniform(-1, 3, 500) * np.exp2(rng.uniform(-60, 300, 500))).tolist():
        if x > -1.0:
            u = 1.0 + x
            c = (1.0 if x > 1.0 else x) - (u - (x if x > 1.0 else 1.0))
            assert Fraction(u) + Fraction(c) == 1 + Fraction(x)


def test_quadrants_of_both_signs():
    for k in range(-20, 21):
        shifted = functions.SHIFT + k
        assert primitives.bits(shifted) & 3 == k % 4
        assert functions.power_of_two(shifted) == 2.0**k
        assert functions.scaled_up(1.25, shifted) == 1.25 * 2.0**k


def test_the_source_is_within_the_restricted_subset():
    allowed = (ast.Assign, ast.Return, ast.Expr)
    for _, function in inspect.getmembers(functions, inspect.isfunction):
        if function.__module__ != functions.__name__:
            continue
        body = ast.parse(inspect.getsource(function)).body[0].body
        assert all(isinstance(node, allowed) for node in body)
        assert isinstance(body[-1], ast.Return)
        assert not any(isinstance(node, ast.Return) for node in body[:-1])

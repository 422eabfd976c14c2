"""The elementary functions agree bit by bit in every dialect and are right at special points."""

from __future__ import annotations

import ast
import functools
import inspect
import itertools
import math
import struct
import types
from fractions import Fraction

import numpy as np
import pytest

from verify_kernels.elementary import (
    arrays,
    coefficients,
    continuation,
    functions,
    primitives,
)
from verify_kernels.elementary.bounds import BOUNDS
from verify_kernels.elementary.make_coefficients import FILE, coefficients_text
from verify_kernels.interval import code_cache, operations, transcendental
from verify_kernels.interval.compilation import LANES, compile_loop

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
def test_machine_code_and_plain_evaluation_agree_in_every_bit(name):
    x = _points(name, 401, 1)
    core = getattr(functions, f"{name}_core")
    found = getattr(arrays, name)(x.reshape(1, -1))
    assert found.shape == (1, x.size)
    for value, machine in zip(x.tolist(), found[0].tolist(), strict=True):
        assert _same(core(value), machine), value


def _beyond(name, count, seed):
    rng = np.random.default_rng(seed)
    ends = np.array([BOUNDS[name].lo, BOUNDS[name].hi, -746.0, 712.0, 27.4, -1.0, 2.0**-1022])
    ends = np.concatenate([ends, [INF, -INF, NAN, 0.0, -0.0, TINY, -TINY]])
    with np.errstate(over="ignore"):
        near = rng.choice(ends, count) * (1 + rng.integers(-4, 5, count) * 2.0**-53)
    tiny = np.exp2(rng.uniform(-1074, 0, count))
    x = np.concatenate([ends, near, rng.uniform(-760, 760, count), tiny])
    return x[~((x >= BOUNDS[name].lo) & (x <= BOUNDS[name].hi))]


@pytest.mark.parametrize("name", sorted(set(BOUNDS) - {"sin", "cos", "tan"}))
def test_machine_code_and_plain_evaluation_agree_beyond_the_domain(name):
    x = _beyond(name, 100, 2)
    outside = getattr(continuation, f"{name}_outside")
    for value, machine in zip(x.tolist(), getattr(arrays, name)(x).tolist(), strict=True):
        assert _same(outside(value), machine), value


@pytest.mark.parametrize("name", ["softplus", "log1p", "sin"])
def test_a_value_does_not_depend_on_its_neighbours(name):
    x = np.concatenate([_points(name, 20, 3)[::5], [NAN, 0.0, -0.0, INF, 1e9, -750.0]])
    one_by_one = np.array([arrays.evaluate(name, v) for v in x])
    for count in range(x.size + 1):
        assert arrays.evaluate(name, x[:count]).tobytes() == one_by_one[:count].tobytes()


def test_arrays_of_any_layout_are_taken():
    x = np.linspace(-3.0, 3.0, 24)
    expected = arrays.exp(x)
    unaligned = np.frombuffer(b"x" + x.tobytes(), dtype=np.float64, offset=1)
    assert not unaligned.flags.aligned
    for given in (unaligned, x.astype(">f8"), np.repeat(x, 2)[::2], x.tolist()):
        assert arrays.exp(given).tobytes() == expected.tobytes()
    assert arrays.exp(x.reshape(4, 6).T).tobytes() == expected.reshape(4, 6).T.tobytes()
    read_only = x.copy()
    read_only.setflags(write=False)
    assert arrays.exp(read_only).tobytes() == expected.tobytes()
    assert arrays.exp(2).shape == ()
    assert arrays.exp(np.zeros((0, 3))).shape == (0, 3)


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


@functools.cache
def _fma_loop():
    line = "y = fma(x0l, x1l, x2l)"
    return compile_loop([line], ["y"], 3, points=True, embedded=False, modules=(primitives,))


def _machine_fma(operands):
    """Return a b + c for many triples as machine code rounds it."""
    lanes = -(-len(operands) // LANES) * LANES
    given, found = np.zeros((3, lanes)), np.empty((3, lanes))
    given[:, : len(operands)] = np.array(operands).T
    _fma_loop()(given, given, found, 0, lanes)
    return found[0, : len(operands)].tolist()


def test_the_fused_multiply_add_of_the_machine_rounds_once():
    u = 2.0**-53
    operands = [(1 + 2 * u, 1 + 2 * u, -(1 + 4 * u)), (2.0**-600, 2.0**-474, 0.0)]
    operands += [(3.0, TINY, -TINY), (1e308, 10.0, -INF)]
    assert _machine_fma(operands) == [4 * u * u, TINY, 2 * TINY, -INF]


def test_the_plain_fused_multiply_add_is_that_of_the_machine():
    rng = np.random.default_rng(3)
    values = [0.0, -0.0, 1.0, -1.0, TINY, -TINY, 1e308, -1e308, 2.0**-1022, 1 / 3]
    values += (rng.standard_normal(6) * np.exp2(rng.uniform(-600, 600, 6))).tolist()
    operands = list(itertools.product(values, repeat=3))
    for (a, b, c), machine in zip(operands, _machine_fma(operands), strict=True):
        assert _same(primitives.fma(a, b, c), machine), (a, b, c)


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


@pytest.mark.parametrize("module", [functions, continuation])
def test_the_source_is_within_the_restricted_subset(module):
    allowed = (ast.Assign, ast.Return, ast.Expr)
    for _, function in inspect.getmembers(module, inspect.isfunction):
        if function.__module__ != module.__name__:
            continue
        body = ast.parse(inspect.getsource(function)).body[0].body
        assert all(isinstance(node, allowed) for node in body)
        assert isinstance(body[-1], ast.Return)
        assert not any(isinstance(node, ast.Return) for node in body[:-1])


@pytest.mark.parametrize("modules", [arrays._MODULES, (operations, transcendental)])
def test_every_function_that_code_can_call_enters_its_name(modules):
    hashed = {module.__name__ for module in (*modules, *code_cache.SHARED)}
    waiting = [value for module in modules for value in vars(module).values()]
    seen = set()
    while waiting:
        function = waiting.pop()
        if not isinstance(function, types.FunctionType) or function in seen:
            continue
        seen.add(function)
        assert function.__module__ in hashed, function
        waiting += [function.__globals__.get(name) for name in function.__code__.co_names]
    assert len(seen) > 40


@pytest.mark.parametrize(
    ("module", "constant"),
    [(coefficients, "EXP_5"), (functions, "SHIFT"), (continuation, "EXP_TOP")],
)
def test_code_of_other_constants_has_another_name(module, constant, monkeypatch):
    code_cache._surroundings.cache_clear()
    before = code_cache.digest(arrays._MODULES, "line")
    monkeypatch.setattr(module, constant, getattr(module, constant) * 1.5)
    code_cache._surroundings.cache_clear()
    assert code_cache.digest(arrays._MODULES, "line") != before
    monkeypatch.undo()
    code_cache._surroundings.cache_clear()
    assert code_cache.digest(arrays._MODULES, "line") == before

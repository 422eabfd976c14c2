"""Conformance of every interval operation, in every dialect, to set-based interval arithmetic.

`verify_kernels.cuda.referee` says what the ends of each result may be; an end beyond that is
certainly wrong. The same cases run on the compiled Python, on the C text and, where there is one,
on a device.
"""

from __future__ import annotations

import ast
import functools
import math
import os
import re
import time
from collections.abc import Callable, Iterable
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest

from verify_kernels._rounding import ETA, MAX, OMEGA, U, down, up
from verify_kernels.cuda.compile import OPTIONS
from verify_kernels.cuda.host import HostLibrary, compiler
from verify_kernels.cuda.kernel import interval_sources
from verify_kernels.cuda.referee import ALL, EMPTY, RULES, Ends, allowed
from verify_kernels.cuda.subset import Library, Source
from verify_kernels.cuda.translate import loop_name, translate
from verify_kernels.elementary.bounds import BOUNDS
from verify_kernels.interval import directed
from verify_kernels.interval.kernel import apply
from verify_kernels.interval.on_arrays import operation_lines
from verify_kernels.interval.vector_code import has_embedded_rounding

COUNT = 100_000 if os.environ.get("VERIFY_CAMPAIGN") == "full" else 10_000
CASES = Path(__file__).parents[1] / "vectors" / "interval_cases.txt"
INF = math.inf

# ------------------------------------------------------------------ intervals to try

BINARY = ("add", "sub", "mul", "div", "min", "max")
# Quarter turns: of all sizes up to the end of the domain, and beyond.
TURNS = (*(k * math.pi / 4 for k in (*range(1, 9), *range(1000, 127_400, 997))), 1e5, 2.0**53, 1e22)
# Places where something happens, and the range where the function is not trivial.
FOCUS: dict[str, tuple[tuple[float, ...], float]] = {
    "exp": ((709.782712893384, -745.1332191019411, -708.3964185322641, 709.0, -708.0), 750),
    "expm1": ((709.782712893384, -37.42, 709.0, -708.0, 0.0), 720),
    "log": ((1.0, OMEGA, 0.7071067811865476, 1.4142135623730951), 10),
    "log1p": ((-1.0, -0.5, 0.0, 2.0**1000), 3),
    "tanh": ((22.0, 19.0615, 0.0), 23),
    "sigmoid": ((-708.0, -745.1332191019411, 36.7368005696771), 750),
    "softplus": ((-708.0, -745.1332191019411, 36.7368005696771), 750),
    "erf": ((1.0, -1.0, 5.921587195794507, 6.0), 6.5),
    "sinh": ((710.4758600739439, 709.0, 0.0), 715),
    "cosh": ((710.4758600739439, 709.0, 0.0), 715),
    "atan": ((1.0, 0.41421356237309503, 2.414213562373095), 10),
    **dict.fromkeys(("sin", "cos", "tan"), (TURNS, 30)),
}
SPECIAL = [0.0, 1.0, 2.0, 3.0, 0.5, 1 / 3, 0.1, 1e5, 1e16, 1e-16, down(1.0), up(1.0)]
SPECIAL += [ETA, 2 * ETA, OMEGA - ETA, OMEGA, up(OMEGA), 2.0**-960, 2.0**-537, 2.0**512]
SPECIAL += [MAX / 2, down(MAX), MAX]


def numbers(rng: np.random.Generator, count: int, name: str) -> np.ndarray:
    places, spread = FOCUS.get(name, ((1.0, -1.0), 100.0))
    bits = rng.integers(-(2**63), 2**63 - 1, count)
    any_bits = np.where((bits >> 52) & 0x7FF == 0x7FF, bits & ~(1 << 52), bits).view(np.float64)
    near = np.array(places)[rng.integers(0, len(places), count)]
    near = near + rng.integers(-3, 4, count) * np.spacing(near)
    signs = rng.choice([-1.0, 1.0], count)
    kinds = [
        any_bits,
        signs * 10.0 ** rng.uniform(-4, 4, count),
        rng.uniform(-spread, spread, count),
        np.where(
            rng.random(count) < 0.5, near, near * (1 + signs * 2.0 ** -rng.uniform(4, 50, count))
        ),
        signs * rng.choice(np.array(SPECIAL), count),
        rng.integers(-9, 10, count).astype(float),
    ]
    chosen = rng.choice(len(kinds), count, p=[0.2, 0.2, 0.25, 0.2, 0.1, 0.05])
    x = np.choose(chosen, kinds)
    inside = name in ("sqrt", "log", "powr") and rng.random(count) < 0.9
    return np.where(inside, np.abs(x), x)


def intervals(rng: np.random.Generator, count: int, name: str) -> tuple[np.ndarray, np.ndarray]:
    a, b = numbers(rng, count, name), numbers(rng, count, name)
    kind = rng.random(count)
    small = np.minimum(np.abs(a), 2.0**1000)
    narrow = np.minimum(a + rng.integers(1, 9, count) * np.spacing(small), MAX)
    lo = np.where(kind < 0.6, a, np.minimum(a, b))
    hi = np.where(kind < 0.4, a, np.where(kind < 0.6, np.maximum(a, narrow), np.maximum(a, b)))
    lo = np.where((kind > 0.90) & (kind < 0.94) | (kind > 0.98), -INF, lo)
    hi = np.where((kind > 0.94) & (kind < 0.99), INF, hi)
    empty = (kind > 0.97) & (kind < 0.98)
    return np.where(empty, INF, lo), np.where(empty, -INF, hi)


Operation = tuple[str, Fraction | None]
OPERATIONS: list[Operation] = [
    *((name, None) for name in RULES if name not in ("pown", "powr")),
    *(("pown", Fraction(n)) for n in (-3, -2, -1, 0, 1, 2, 3, 4, 7, 8)),
    *(("powr", Fraction(e)) for e in ("1/2", "1/3", "3/2", "2/5", "-1/2", "-2/3")),
]


def pairs(row: tuple[float, ...]) -> list[Ends]:
    return list(zip(row[::2], row[1::2], strict=True))


def text(operation: Operation) -> str:
    return operation[0] if operation[1] is None else f"{operation[0]}({operation[1]})"


def seed_of(operation: Operation) -> int:
    return 1000 + OPERATIONS.index(operation)


@functools.cache
def campaign(operation: Operation, count: int) -> tuple[list[np.ndarray], np.ndarray, np.ndarray]:
    """Operands lo, hi, ... and the ends that the referee allows."""
    name, number = operation
    rng = np.random.default_rng(seed_of(operation))
    ends = [*intervals(rng, count, name)]
    if name in BINARY:
        other = [*intervals(rng, count, name)]
        same = rng.random(count) < 0.1  # cancellation
        ends += [np.where(same, ends[0], other[0]), np.where(same, ends[1], other[1])]
    rows = zip(*(end.tolist() for end in ends), strict=True)
    found = [allowed(name, number, *pairs(row)) for row in rows]
    return ends, *np.array(found).T


def wrong(low: np.ndarray, high: np.ndarray, lo: np.ndarray, hi: np.ndarray) -> np.ndarray:
    """Which results are certainly wrong, are no interval, or are not empty where they must be."""
    empty = low > high
    sound = np.where(empty, (lo == INF) & (hi == -INF), (lo <= low) & (hi >= high))
    return ~sound | (~empty & ((lo > hi) | (lo == INF) | (hi == -INF)))


# ------------------------------------------------------------------ dialects


class InPython:
    """The compiled Python: directed rounding by error terms, or by single instructions."""

    def __init__(self, embedded: bool) -> None:
        self.embedded = embedded

    def __call__(self, operation: Operation, ends: list[np.ndarray]) -> Ends:
        name, number = operation
        exponent = [int(number) if name == "pown" else number] if number is not None else []
        return apply(name, *pairs(ends), *exponent, embedded=self.embedded)


def function_of(operation: Operation) -> str:
    return re.sub(r"\W", "_", f"op_{text(operation)}".replace("-", "minus_"))


def with_operations(sources: Iterable[Source]) -> list[Source]:
    """Add the operations on sets, composed for C as for the compiled Python."""
    lines = [
        f"from {module.source.name} import {name}"
        for module in Library(sources).modules.values()
        for name in module.functions
    ]
    for operation in OPERATIONS:
        given = "x0l, x0h, x1l, x1h" if operation[0] in BINARY else "x0l, x0h"
        body = [*operation_lines(*operation), "return rl, rh"]
        lines += [f"def {function_of(operation)}({given}):", *(f"    {line}" for line in body)]
    return [*sources, Source("sets", "\n".join(lines))]


class InC:
    """The text for the host or a device; `run(loop, given, results)` calls a loop over points."""

    def __init__(self, run: Callable[..., np.ndarray]) -> None:
        self.run = run

    def __call__(self, operation: Operation, ends: list[np.ndarray]) -> np.ndarray:
        return self.run(loop_name("sets", function_of(operation)), ends, 2)


def text_of(sources: Iterable[Source], target: str, operations: list[Operation]) -> str:
    names = [f"sets:{function_of(operation)}" for operation in operations]
    return translate(with_operations(sources), target=target, functions=names)


@pytest.fixture(scope="module")
def host(tmp_path_factory):
    if compiler() is None:
        pytest.skip("no C compiler")
    text = text_of(interval_sources(), "host", OPERATIONS)
    return InC(HostLibrary(text, tmp_path_factory.mktemp("host")).run)


@pytest.fixture(scope="module")
def device():
    cupy = pytest.importorskip("cupy")
    if not cupy.cuda.is_available():
        pytest.skip("no CUDA device")
    text = text_of(interval_sources(), "cuda", OPERATIONS)
    module = cupy.RawModule(code=text, options=OPTIONS)

    def run(loop, given, results):
        stacked = cupy.asarray(np.stack(given))
        found = cupy.empty((results, stacked.shape[1]))
        module.get_function(loop)((64,), (128,), (np.int64(stacked.shape[1]), stacked, found))
        return found.get()

    return InC(run)


DIALECTS = ["terms", "instructions", "host", pytest.param("device", marks=pytest.mark.gpu)]


@pytest.fixture(scope="module", params=DIALECTS)
def dialect(request):
    if request.param == "instructions" and not has_embedded_rounding():
        pytest.skip("no instructions with a rounding mode")
    if request.param in ("terms", "instructions"):
        return InPython(embedded=request.param == "instructions")
    return request.getfixturevalue(request.param)


def median_width(operation: Operation, ends, low, high, lo, hi) -> float:
    """At points: in ulps, or for elementary functions in the error that the project promises."""
    name = operation[0]
    points = functools.reduce(np.logical_and, (a == b for a, b in pairs(ends)))
    bound = BOUNDS.get(name)
    if bound is not None:
        points &= (ends[0] >= bound.lo) & (ends[0] <= bound.hi)
    size = np.minimum(np.abs(low), np.abs(high))
    points &= (size >= 2.0**-960) & (size <= 2.0**1000)
    size, width = size[points], hi[points] - lo[points]
    if name in ("sin", "cos"):
        unit = 4 * U
    elif bound is not None:
        unit = (8 if name in EIGHT else 16) * U * size
    else:
        unit = np.spacing(size)
    return float(np.median(width / unit)) if size.size else 0.0


EIGHT = ("exp", "expm1", "log", "tanh", "sigmoid", "softplus", "erf")  # else 16, sin and cos 4
TIGHT = {"add", "sub", "mul", "div", "recip", "sqr", "sqrt", "neg", "abs", "min", "max"}


@pytest.mark.soundness
@pytest.mark.parametrize("operation", OPERATIONS, ids=text)
def test_every_result_contains_all_values(dialect, operation, request):
    start = time.perf_counter()
    ends, low, high = campaign(operation, COUNT)
    lo, hi = dialect(operation, ends)
    bad = np.flatnonzero(wrong(low, high, lo, hi))
    shown = [([float(end[k]) for end in ends], float(lo[k]), float(hi[k])) for k in bad[:3]]
    assert bad.size == 0, f"{bad.size} wrong, such as {shown}"
    width = median_width(operation, ends, low, high, lo, hi)
    print(
        f"campaign intervals {request.node.callspec.id}: {COUNT} cases, "
        f"seed {seed_of(operation)}, {time.perf_counter() - start:.1f} s, 0 wrong, "
        f"median width at points {width:.2f} {'bounds' if operation[0] in BOUNDS else 'ulp'}"
    )
    if operation[0] in BOUNDS:
        assert width <= 2.1
    elif operation[0] in TIGHT:
        assert width <= 2.0


# ------------------------------------------------------------------ cases written by hand


def end(written: str) -> float:
    named = written.replace("MAX", MAX.hex()).replace("ETA", ETA.hex())
    return float.fromhex(named) if "0x" in named else float(named)


def interval(written: str) -> Ends:
    if written in ("[]", "[,]"):
        return EMPTY if written == "[]" else ALL
    first, _, second = written[1:-1].partition(",")
    return end(first), end(second or first)


def cases() -> list[tuple[str, Operation, list[Ends], Ends]]:
    found = []
    for line in CASES.read_text().splitlines():
        match = re.fullmatch(r"(\w+)(?:\((.+?)\))? (.+) = (\S+)", line)
        if match and not line.startswith("#"):
            name, number, operands, result = match.groups()
            operation = name, Fraction(number) if number else None
            found.append((line, operation, [*map(interval, operands.split())], interval(result)))
    return found


def test_hand_written_cases_agree_with_the_referee():
    for line, (name, number), operands, result in cases():
        assert allowed(name, number, *operands) == result, line


def test_hand_written_cases_in_every_dialect(dialect):
    for line, operation, operands, (low, high) in cases():
        ends = [np.array([end]) for operand in operands for end in operand]
        lo, hi = (float(found[0]) for found in dialect(operation, ends))
        assert not wrong(*(np.array([end]) for end in (low, high, lo, hi)))[0], (line, lo, hi)
        bound = BOUNDS.get(operation[0])
        if bound and any(x != 0 and not bound.lo <= x <= bound.hi for x in operands[0]):
            continue  # outside the domain of the function proper the result may be wide
        wide = 2 if operation[0] in TIGHT else 100 if operation[0] == "powr" else 40  # ulp
        for exact, found in ((low, lo), (high, hi)):
            if math.isinf(exact):
                assert found == exact, (line, lo, hi)
            else:
                slack = wide * math.ulp(exact) + (8 * U if operation[0] in ("sin", "cos") else 0)
                beyond = math.isinf(found) and abs(exact) + slack >= MAX
                assert beyond or abs(found - exact) <= slack, (line, lo, hi)


# ------------------------------------------------------------------ the suite sees what it must


def mutated(folder: Path, operation: Operation, function: str, returned: str) -> InC:
    """The C text with the exact error terms of Python, one function of it replaced."""
    sources, changes = [], 0
    for source in [*interval_sources(), Source.of(directed)]:
        tree = ast.parse(source.text)
        for node in tree.body:
            if isinstance(node, ast.FunctionDef) and node.name == function:
                node.body = [ast.parse(f"return {returned}", mode="exec").body[0]]
                changes += 1
        sources.append(replace(source, text=ast.unparse(tree)))
    assert changes == (function != "")
    return InC(HostLibrary(text_of(sources, "host", [operation]), folder).run)


@pytest.mark.skipif(compiler() is None, reason="no C compiler")
@pytest.mark.parametrize(
    ("name", "function", "returned"),
    [
        ("add", "add_up", "a + b"),
        ("sub", "add_dn", "a + -b"),
        ("mul", "mul_up", "a * b"),
        ("div", "div_dn", "a / b"),
        ("sqrt", "sqrt_up", "sqrt(a)"),
        ("mul", "iv_mul", "product_dn(xl, yl), product_up(xh, yh)"),  # for x, y >= 0 only
        ("exp", "exp_core", "fma(x, 0.0, 1.0)"),
        ("expm1", "below", "y"),
        ("tanh", "below", "y"),
        ("erf", "below", "y - k * abs(y)"),  # no eta
        ("sin", "turns", "0.0, 0.0"),
        ("tan", "branch_of_tan", "0.0"),
    ],
)
def test_the_suite_reports_what_is_broken(tmp_path, name, function, returned):
    operation = name, None
    ends, low, high = campaign(operation, COUNT)
    lo, hi = mutated(tmp_path, operation, function, returned)(operation, ends)
    assert wrong(low, high, lo, hi).any()


@pytest.mark.skipif(compiler() is None, reason="no C compiler")
@pytest.mark.parametrize("name", ["add", "mul", "div", "sqrt", "tanh", "sin"])
def test_error_terms_in_c_are_those_of_python_bit_for_bit(tmp_path, name):
    operation = name, None
    ends, low, high = campaign(operation, COUNT)
    in_c = np.array(mutated(tmp_path, operation, "", "")(operation, ends))
    in_python = np.array(InPython(embedded=False)(operation, ends))
    assert np.array_equal(in_c, in_python)
    assert not wrong(low, high, *in_c).any()


@pytest.mark.skipif(not has_embedded_rounding(), reason="no instructions with a rounding mode")
@pytest.mark.parametrize("operation", OPERATIONS, ids=text)
def test_instructions_and_c_agree_bit_for_bit(host, operation):
    ends = campaign(operation, COUNT)[0]
    in_python = np.array(InPython(embedded=True)(operation, ends))
    assert np.array_equal(in_python, host(operation, ends))

"""Every single operation on arrays of intervals, with set-based semantics.

The result encloses the set of all values at points of the operands where the operation is defined;
the empty set, as operand and as result, is (+inf, -inf). Nothing here tells whether the operation
was defined everywhere; kernels do (`verify_kernels.interval.kernel`).

==========================================  ======================================================
names                                       operands
==========================================  ======================================================
add sub mul div min max                     two intervals
neg abs sqr sqrt recip                      one interval
exp expm1 log log1p sinh cosh tanh          one interval
sigmoid softplus sech2 erf erfc             one interval; sech2 is 1 - tanh^2
sin cos tan atan                            one interval; sin, cos, tan in full range for |x| > 1e5
sign                                        one interval; the hull of the signs
pown                                        one interval and an int n, |n| <= 4096
powr                                        one interval and a Fraction p/q, q > 1; x >= 0
==========================================  ======================================================
"""

from __future__ import annotations

from fractions import Fraction
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from verify.errors import InputError
from verify_kernels._rounding import Array
from verify_kernels.interval.compilation import LANES, Loop, compile_loop
from verify_kernels.interval.program import Program
from verify_kernels.interval.source import Printer
from verify_kernels.interval.vector_code import has_embedded_rounding
from verify_kernels.self_test import check_rounding

BINARY = frozenset({"add", "sub", "mul", "div", "min", "max"})
UNARY = frozenset(
    {"neg", "abs", "sqr", "sqrt", "recip", "exp", "expm1", "log", "log1p", "sinh", "cosh", "tanh",
     "sigmoid", "softplus", "sech2", "erf", "erfc", "sin", "cos", "tan", "atan", "sign"}
)  # fmt: skip
POWERS = frozenset({"pown", "powr"})
MAX_EXPONENT = 4096


def apply(name: str, *operands: Any, embedded: bool | None = None) -> tuple[Array, Array]:
    """Enclose one operation on arrays of intervals.

    Args:
        name: an operation of the table above.
        operands: pairs (lo, hi) of arrays of one shape; then the exponent of a power.
        embedded: directed rounding by single instructions of the machine or by error terms;
            the former where it exists if not given.

    Returns:
        The ends, arrays of the shape of the operands.

    Raises:
        InputError: an unknown name, a wrong number of operands, NaN, lo > hi other than the empty
            set, an interval without a real point such as (inf, inf), or an exponent out of range.
        BackendError: the arithmetic of the thread is not IEEE 754 in round to nearest.
    """
    count = 2 if name in BINARY else 1
    if name not in BINARY | UNARY | POWERS:
        known = ", ".join(sorted(BINARY | UNARY | POWERS))
        raise InputError(f"apply: expected an operation of {known}, but got {name!r}")
    if len(operands) != count + (name in POWERS):
        raise InputError(f"apply: expected {count} intervals for {name}, but got {operands!r}")
    exponent = _exponent(name, operands[-1]) if name in POWERS else None
    ends = [_interval(name, operand) for operand in operands[:count]]
    if len({lo.shape for lo, _ in ends}) != 1:
        raise InputError(
            f"apply: expected operands of one shape, but got {[a.shape for a, _ in ends]}"
        )
    use = has_embedded_rounding() if embedded is None else embedded
    check_rounding()
    shape = ends[0][0].shape
    n = int(np.prod(shape))
    low, high = (np.ones((count, n + -n % LANES)) for _ in range(2))
    for k, (lo, hi) in enumerate(ends):
        low[k, :n], high[k, :n] = lo.ravel(), hi.ravel()
    found = np.empty((2, low.shape[1]))
    _loop(name, exponent, use)(low, high, found, 0, low.shape[1])
    return found[0, :n].reshape(shape), found[1, :n].reshape(shape)


def _interval(name: str, operand: Any) -> tuple[Array, Array]:
    try:
        given_lo, given_hi = operand
        lo, hi = (_ends(end) for end in (given_lo, given_hi))
    except (TypeError, ValueError) as error:
        raise InputError(
            f"apply: expected pairs (lo, hi) for {name}, but got {operand!r}"
        ) from error
    empty = (lo == np.inf) & (hi == -np.inf)
    if lo.shape != hi.shape or not ((lo <= hi) & (lo < np.inf) & (hi > -np.inf) | empty).all():
        raise InputError(
            f"apply: expected intervals with lo <= hi and a real point, or (inf, -inf), "
            f"for {name}, but got others among {lo.size}"
        )
    return lo, hi


def _ends(ends: ArrayLike) -> Array:
    given = np.asarray(ends)
    exact = np.asarray(given, dtype=np.float64)
    if given.dtype.kind not in "fiu" or (given.dtype.itemsize > 4 and given.dtype.kind != "f"):
        return np.asarray([float(value) for value in given.ravel()]).reshape(given.shape)
    return exact


def _exponent(name: str, value: Any) -> Fraction:
    exponent = Fraction(value) if isinstance(value, int | Fraction) else None
    whole = exponent is not None and exponent.denominator == 1
    if exponent is None or (name == "pown" and not whole) or (name == "powr" and whole):
        raise InputError(f"apply: expected an exact exponent for {name}, but got {value!r}")
    if max(abs(exponent.numerator), exponent.denominator) > MAX_EXPONENT:
        raise InputError(f"apply: expected exponents p/q up to {MAX_EXPONENT}, but got {value!r}")
    return exponent


def operation_lines(name: str, exponent: Fraction | None = None) -> list[str]:
    """Return the lines from x0l, x0h, ... to rl, rh."""
    if name in BINARY:
        lines = [f"rl, rh = iv_{name}(x0l, x0h, x1l, x1h)"]
        lines.append("rl, rh = iv_unless_empty(x1l, x1h, rl, rh)")
    elif exponent is None:
        lines = [f"rl, rh = iv_{name}(x0l, x0h)"]
    else:
        lines = _power_lines(exponent)
    return [*lines, "rl, rh = iv_unless_empty(x0l, x0h, rl, rh)"]


def _power_lines(exponent: Fraction) -> list[str]:
    """Return the lines of a power: of x for an integer one, of the root for p/2."""
    program = Program(("x",))
    x = program.input(0)
    if exponent.denominator > 2:
        node, base = program.powr(x, exponent), x
    else:
        base = program.apply("sqrt", x) if exponent.denominator == 2 else x
        node = program.pown(base, abs(exponent.numerator))
    printer = Printer(program, [node, base], [None, None])
    lines = [*printer.lines, f"rl, rh = {', '.join(printer.pair(node))}"]
    if exponent < 0 and exponent.denominator <= 2:
        lines.append("rl, rh = iv_recip(rl, rh)")
    return [*lines, f"rl, rh = iv_unless_empty({', '.join(printer.pair(base))}, rl, rh)"]


@lru_cache(maxsize=256)
def _loop(name: str, exponent: Fraction | None, embedded: bool) -> Loop:
    count = 2 if name in BINARY else 1
    lines = operation_lines(name, exponent)
    return compile_loop(lines, ["rl", "rh"], count, points=False, embedded=embedded)

"""The functions whose proofs are lemmas about their exact text, and the check of that text.

Everything else is proved by running it. These functions manipulate bits or are error-free, which
forgetting correlation cannot show:

* `nearest_integer`: one rounding of x inverse + 1.5 2^52, whose unit in the last place is 1.
* `power_of_two`, `scaled_up`, `binary_exponent`, `scaled_down`: bits are linear in the exponent.
* `with_sign_of`: the sign bit of y >= 0 is 0.
* `log_core`, `log1p_core`: exact reduction; 1 + x = u + c by Dekker's fast two-sum, |x| <= 1
  or x > 1 deciding which summand is the larger one.
* `exp_of_minus_square`: x^2 = h + l exactly; see the proof of erf.
* `reduce_half_pi`, `reduce_half_pi_closely`: Cody and Waite; see the proof of sin and tan.
"""

from __future__ import annotations

import types
from typing import Any

TEXTS: dict[str, str] = {
    "nearest_integer": """
def nearest_integer(x, inverse):
    return fma(x, inverse, SHIFT)
""",
    "power_of_two": """
def power_of_two(shifted):
    return from_bits((bits(shifted) << 52) + (1023 << 52))
""",
    "scaled_up": """
def scaled_up(y, shifted):
    return from_bits(bits(y) + (bits(shifted) << 52))
""",
    "with_sign_of": """
def with_sign_of(y, x):
    return from_bits(bits(y) | ((bits(x) >> 63) << 63))
""",
    "binary_exponent": """
def binary_exponent(x):
    return (bits(x) - 0x3FE6A09E667F3BCC) >> 52
""",
    "scaled_down": """
def scaled_down(x, k):
    return from_bits(bits(x) - (k << 52))
""",
    "log_core": """
def log_core(x):
    k = binary_exponent(x)
    return log_of_ratio(scaled_down(x, k) - 1.0, to_float(k))
""",
    "log1p_core": """
def log1p_core(x):
    u = 1.0 + x
    c = (1.0 if x > 1.0 else x) - (u - (x if x > 1.0 else 1.0))
    k = binary_exponent(u)
    f = (scaled_down(u, k) - 1.0) + c * from_bits((1023 - k) << 52)
    return log_of_ratio(f, to_float(k))
""",
    "exp_of_minus_square": """
def exp_of_minus_square(x):
    h = x * x
    e = exp_core(-h)
    return fma(-fma(x, x, -h), e, e)
""",
    "reduce_half_pi": """
def reduce_half_pi(x, k):
    return fma(-k, HALF_PI_3, fma(-k, HALF_PI_2, fma(-k, HALF_PI_1, x)))
""",
    "reduce_half_pi_closely": """
def reduce_half_pi_closely(x, k):
    h = fma(-k, HALF_PI_1, x)
    w = k * HALF_PI_2
    d = h - w
    return d + fma(-k, HALF_PI_3, (h - d) - w)
""",
}


def _essence(code: types.CodeType) -> tuple[Any, ...]:
    constants = tuple(repr(c) for c in code.co_consts if not isinstance(c, str) and c is not None)
    return code.co_code, code.co_names, code.co_varnames, constants


def altered(functions: types.ModuleType) -> list[str]:
    """Return the names of the functions whose code is not that of the lemma's text."""
    found = []
    for name, text in TEXTS.items():
        documented = text.replace("):\n", '):\n    "."\n', 1)
        module = compile(documented, name, "exec")
        expected = next(c for c in module.co_consts if isinstance(c, types.CodeType))
        if _essence(getattr(functions, name).__code__) != _essence(expected):
            found.append(name)
    return found

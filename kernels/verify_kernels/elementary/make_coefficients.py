"""Make the file `coefficients.py`: Chebyshev interpolation at 60 digits, rounded to binary64.

Nothing here is trusted: `proof.py` bounds the error of the rounded polynomials themselves.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import mpmath  # type: ignore[import-untyped]

FILE = Path(__file__).with_name("coefficients.py")
Real = Any  # an mpf
# one step further than the ends of the reduced intervals, so that ties are inside
_LN2_HALF, _QUARTER_PI = "0.34658", "0.7854"


def _series(term: Callable[[int], Real], z: Real) -> Real:
    """Sum a rapidly converging power series in z."""
    return mpmath.nsum(lambda n: term(int(n)) * z ** int(n), [0, mpmath.inf], method="d")


def _removable(function: Callable[[Real], Real], term: Callable[[int], Real]) -> Any:
    """Return a function that uses its power series near 0, where the formula is 0/0."""
    return lambda z: function(z) if abs(z) > mpmath.mpf("1e-3") else _series(term, z)


def _exp_part(r: Real) -> Real:
    return (mpmath.expm1(r) - r) / r**2


def _atanh_part(z: Real) -> Real:
    return (2 * mpmath.atanh(mpmath.sqrt(z) / 2) / mpmath.sqrt(z) - 1) / z


def _atan_part(z: Real) -> Real:
    return (mpmath.atan(mpmath.sqrt(z)) / mpmath.sqrt(z) - 1) / z


def _erf_part(z: Real) -> Real:
    return mpmath.erf(mpmath.sqrt(z)) / mpmath.sqrt(z)


def _sin_part(z: Real) -> Real:
    return (mpmath.sin(mpmath.sqrt(z)) / mpmath.sqrt(z) - 1) / z


def _cos_part(z: Real) -> Real:
    return (mpmath.cos(mpmath.sqrt(z)) - 1 + z / 2) / z**2


def _erfcx_part(t: Real) -> Real:
    x = 4 * (1 + t) / (1 - t)
    return mpmath.erfc(x) * mpmath.exp(x * x) * (1 + 2 * x)


def _specifications() -> list[tuple[str, str, Any, str, str, int]]:
    """Return (name, meaning, function, lower end, upper end, degree)."""
    factorial = mpmath.factorial
    return [
        (
            "EXP",
            "(exp(r) - 1 - r) / r^2 in r",
            _removable(_exp_part, lambda n: 1 / factorial(n + 2)),
            "-" + _LN2_HALF,
            _LN2_HALF,
            9,
        ),
        (
            "LOG",
            "(2 atanh(b / 2) / b - 1) / b^2 in b^2, b = 2 f / (2 + f), 1/2 <= (1 + f)^2 <= 2",
            _removable(_atanh_part, lambda n: 1 / (mpmath.mpf(2 * n + 3) * 4 ** (n + 1))),
            "0",
            "0.1178",
            6,
        ),
        (
            "ATANH",
            "(2 atanh(b / 2) / b - 1) / b^2 in b^2, 0 <= b <= 2/3",
            _removable(_atanh_part, lambda n: 1 / (mpmath.mpf(2 * n + 3) * 4 ** (n + 1))),
            "0",
            "0.446",
            11,
        ),
        (
            "ERF",
            "erf(x) / x in x^2, |x| < 1",
            _removable(
                _erf_part,
                lambda n: 2 * (-1) ** n / (factorial(n) * (2 * n + 1) * mpmath.sqrt(mpmath.pi)),
            ),
            "0",
            "1",
            13,
        ),
        (
            "ERFCX",
            "exp(x^2) erfc(x) (1 + 2 x) in t = (x - 4) / (x + 4), 1 <= x <= 27.2",
            _erfcx_part,
            "-0.6",
            "0.7435",
            20,
        ),
        (
            "SIN",
            "(sin(r) / r - 1) / r^2 in r^2",
            _removable(_sin_part, lambda n: (-1) ** (n + 1) / factorial(2 * n + 3)),
            "0",
            "0.61686",
            5,
        ),
        (
            "COS",
            "(cos(r) - 1 + r^2 / 2) / r^4 in r^2",
            _removable(_cos_part, lambda n: (-1) ** n / factorial(2 * n + 4)),
            "0",
            "0.61686",
            5,
        ),
        (
            "ATAN",
            "(atan(t) / t - 1) / t^2 in t^2, |t| <= tan(pi / 8)",
            _removable(_atan_part, lambda n: mpmath.mpf((-1) ** (n + 1)) / (2 * n + 3)),
            "0",
            "0.1747",
            10,
        ),
    ]


def _split(value: Real, bits: list[int]) -> list[float]:
    """Return leading parts of the given numbers of fractional bits and the rounded remainder."""
    parts = []
    for fractional in bits:
        part = mpmath.floor(mpmath.ldexp(value, fractional)) / mpmath.mpf(2) ** fractional
        parts.append(float(part))
        value -= part
    return [*parts, float(value)]


def _constants() -> list[tuple[str, float]]:
    ln2, half_pi = mpmath.log(2), mpmath.pi / 2
    high, low = _split(ln2, [42])
    parts = _split(half_pi, [35, 71])
    quarter = float(half_pi / 2)
    return [
        ("LN2_INVERSE", float(1 / ln2)),
        ("LN2", float(ln2)),
        ("LN2_HIGH", high),
        ("LN2_LOW", low),
        ("TWO_OVER_PI", float(1 / half_pi)),
        ("HALF_PI_1", parts[0]),
        ("HALF_PI_2", parts[1]),
        ("HALF_PI_3", parts[2]),
        ("HALF_PI_HIGH", float(half_pi)),
        ("HALF_PI_LOW", float(half_pi - float(half_pi))),
        ("QUARTER_PI_HIGH", quarter),
        ("QUARTER_PI_LOW", float(half_pi / 2 - quarter)),
        ("TAN_PI_8", float(mpmath.sqrt(2) - 1)),
        ("TAN_3_PI_8", float(mpmath.sqrt(2) + 1)),
    ]


def coefficients_text() -> str:
    """Return the text of `coefficients.py`."""
    lines = [
        '"""Constants of the elementary functions, made by `make_coefficients.py`."""',
        "",
        "from __future__ import annotations",
        "",
    ]
    with mpmath.workdps(60):
        lines += [f'{name} = float.fromhex("{value.hex()}")' for name, value in _constants()]
        for name, meaning, function, low, high, degree in _specifications():
            interval = [mpmath.mpf(low), mpmath.mpf(high)]
            values = mpmath.chebyfit(function, interval, degree + 1)
            lines += ["", f"# {name}: {meaning}"]
            for n, value in enumerate(reversed(values)):
                lines.append(f'{name}_{n} = float.fromhex("{float(value).hex()}")')
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    FILE.write_text(coefficients_text(), encoding="utf-8")

"""What every proof about the elementary functions shares: pieces, contracts, polynomial errors.

A program is run from its own source with some functions replaced by *contracts*: the sum of a
polynomial becomes the run of its own source followed by "the ideal value is that of the function it
approximates, within the proved error"; an argument reduction becomes its lemma; a function proved
earlier becomes its bound.
"""

from __future__ import annotations

import itertools
import types
from collections.abc import Callable, Iterator, Sequence
from fractions import Fraction
from typing import Any

from flint import arb

from verify_kernels._rounding import down, up
from verify_kernels.elementary import approximation, functions
from verify_kernels.elementary.abstract_number import (
    UNKNOWN,
    Number,
    Tail,
    Undecided,
    Unknown,
    _exponent,
    interval,
)
from verify_kernels.elementary.bounds import BOUNDS

Exact = Any
Contracts = dict[str, Callable[..., Any]]
PRECISION = 128
NEAR = 2.0**-30  # below, pieces are tails
DEEP = 2.0**-500  # below, squares may underflow

# function -> prefix of its coefficients, ends of the argument on which it is used
SUMS: dict[str, tuple[str, str, str]] = {
    "exp_sum": ("EXP", "-0.3466", "0.3466"),
    "log_sum": ("LOG", "-0.0005", "0.1205"),
    "atanh_sum": ("ATANH", "-0.0005", "0.4475"),
    "erf_ratio": ("ERF", "-0.001", "1.001"),
    "sine_sum": ("SIN", "-0.001", "0.617"),
    "cosine_sum": ("COS", "-0.001", "0.617"),
    "atan_sum": ("ATAN", "-0.001", "0.175"),
    "erfcx_scaled": ("ERFCX", "-0.603", "0.7444"),
}
ERFCX_RANGE = ("0.99", "27.31")  # x = 4 (1 + t) / (1 - t)


class ProofError(ArithmeticError):
    """A bound could not be proved."""


def hull(numbers: Sequence[Number]) -> Number:
    """Return one number for several pieces.

    Raises:
        ProofError: nothing is known about one of them.
    """
    if any(isinstance(number, Unknown) for number in numbers):
        raise ProofError("hull: expected numbers, but got a value that nothing is known about")
    ideal, error = numbers[0].ideal, numbers[0].error
    for number in numbers[1:]:
        ideal, error = ideal.union(number.ideal), error.max(number.error)
    return Number(ideal, error)


POINTS = [0.1, 0.3, 0.5, 0.7, 0.99, 1.3, 2.1, 2.9, 4.4, 5.7, 9.0, 17.3, 18.8, 25.1, 37.5, 38.2]
POINTS += [300.1, 706.3, 9e4]
CLAMPS = {"tanh": 22.0, "erf": 6.0}  # beyond, the programs use the value there
POINTS = sorted([*POINTS, *(-point for point in POINTS)])


def true_value(name: str, x: Exact) -> Exact:
    """Return the function of `BOUNDS` by ball arithmetic."""
    if name == "sigmoid":
        return 1 / (1 + (-x).exp())
    if name == "softplus":
        return x.exp().log1p()
    return getattr(x, name)()


def point_contracts(space: Contracts) -> Contracts:
    """Return contracts of the bit operations for points: numbers that are one float."""

    def at(x: Number | float) -> float:
        if isinstance(x, float):
            return x
        lo, hi = x.computed()
        return float((lo + hi) / 2)

    def scaled_down(x: Number, k: int) -> Any:
        return x * 2.0**-k if abs(k) < 1000 else UNKNOWN

    return {
        "nearest_integer": lambda x, inverse: space["nearest_integer"](at(x), inverse),
        "power_of_two": lambda shifted: power_number(int(shifted - space["SHIFT"])),
        "binary_exponent": lambda x: space["binary_exponent"](at(x)),
        "scaled_down": scaled_down,
        "scaled_up": lambda y, shifted: y * 2.0 ** int(shifted - space["SHIFT"]),
        "with_sign_of": lambda y, x: y if at(x) > 0.0 else -y,
    }


def power_number(k: int) -> Any:
    """Return 2^k as a number, because floats are rounded unseen: 2^54 - 1 would be 2^54."""
    return 1.0 if k == 0 else Number(arb(2) ** k, relative=arb(0), grid=k)


def tracked(space: Contracts) -> Contracts:
    """Let functions take the constants at which others stop as numbers, not as floats."""

    def taking_numbers(source: Callable[[Any], Any]) -> Callable[[Any], Any]:
        return lambda x: source(exact(x, x) if isinstance(x, float) else x)

    for name in ("exp_core", "erfc_tail"):
        space[name] = taking_numbers(space[name])
    return space


class Setting:
    """The source with its constants, perhaps changed, and the errors of its polynomials."""

    def __init__(self, changes: dict[str, float] | None = None) -> None:
        self.constants = {
            name: value for name, value in vars(functions).items() if isinstance(value, float)
        }
        self.constants.update(changes or {})
        self._errors: dict[str, Exact] = {}
        self._plain = self.space({})
        self.sums: Contracts = {name: self._sum_contract(name) for name in SUMS}

    def __getattr__(self, name: str) -> float:
        """Return a constant of the source."""
        try:
            return float(self.__dict__["constants"][name])
        except KeyError:
            raise AttributeError(name) from None

    def space(self, contracts: Contracts) -> Contracts:
        """Return the functions of the source, calling each other and the contracts."""
        space: dict[str, Any] = dict(vars(functions)) | self.constants
        for name, function in vars(functions).items():
            if (
                isinstance(function, types.FunctionType)
                and function.__module__ == functions.__name__
            ):
                space[name] = types.FunctionType(function.__code__, space, name)
        space.update(contracts)
        return space

    def polynomial_error(self, name: str) -> Exact:
        """Return the proved error of the polynomial that a function of `SUMS` evaluates."""
        if name not in self._errors:
            prefix, lo, hi = SUMS[name]
            coefficients: list[float] = []
            while f"{prefix}_{len(coefficients)}" in self.constants:
                coefficients.append(self.constants[f"{prefix}_{len(coefficients)}"])
            if prefix == "ERFCX":
                error = approximation.erfcx_error(coefficients, *map(arb, ERFCX_RANGE))
            else:
                error = approximation.series_error(prefix, coefficients, arb(lo), arb(hi))
            self._errors[name] = error
        return self._errors[name]

    def _sum_contract(self, name: str) -> Callable[[Any], Any]:
        source = self._plain[name]
        _, lo, hi = SUMS[name]
        domain = arb(lo).union(arb(hi))

        def contract(z: Any) -> Any:
            if not isinstance(z, Number):  # a float: what it was rounded from is not known
                return UNKNOWN
            if not domain.contains(ball(z)):
                return UNKNOWN
            error = self.polynomial_error(name)
            result = source(z)
            return result.replaced(result.ideal + arb(0, error), error=error)

        return contract


def ball(number: Number) -> Exact:
    """Return a ball of the ideal value itself, also in a tail."""
    if not number.order:
        return number.ideal
    return number.ideal * number.tail.powers[number.order]  # type: ignore[union-attr]


def exact(lo: float, hi: float) -> Number:
    """Return the number that is any float of [lo, hi]."""
    least = 0.0 if lo < 0.0 < hi else min(abs(lo), abs(hi))
    grid = max(_exponent(arb(least)) - 53, -1074) if least > 0.0 else -1074
    return Number(interval(lo, hi), relative=arb(0), grid=grid, ends=(arb(lo), arb(hi)))


def tails(sign: int = 1) -> list[Number]:
    """Return the numbers 0 < |x| <= 2^-30 of one sign: without and with underflowing squares."""
    return [
        Number(arb(sign), relative=arb(0), tail=Tail(arb(low), arb(high)), order=1, grid=None)
        for low, high in ((DEEP, NEAR), (0.0, DEEP))
    ]


def edges(lo: float, hi: float, per_binade: int) -> list[float]:
    """Return floats from lo > 0 to hi, a number of equal steps in every binade."""
    points = [lo]
    binade = 2.0 ** (_exponent(arb(lo)) - 1)
    while points[-1] < hi:
        for i in range(per_binade):
            point = binade * (1.0 + i / per_binade)
            if points[-1] < point < hi:
                points.append(point)
        binade *= 2.0
        if binade >= hi:
            points.append(hi)
    return points


def octaves(lo: float, hi: float) -> list[float]:
    """Return floats from lo > 0 to hi whose quotients are at most 2^8."""
    points = [lo]
    while points[-1] < hi / 256.0:
        points.append(points[-1] * 256.0)
    return [*points, hi]


def uniform(lo: float, hi: float, count: int) -> list[float]:
    """Return count + 1 floats from lo to hi."""
    return [lo + (hi - lo) * i / count for i in range(count)] + [hi]


def pieces(points: list[float]) -> Iterator[tuple[float, float]]:
    """Return neighbouring points as pieces."""
    return itertools.pairwise(points)


def whole(x: Exact) -> int:
    """Return the integer that a ball of radius 0 is."""
    return int(x.unique_fmpz())


def pairs(cells: Sequence[Any]) -> list[tuple[Any, Any]]:
    """Return the cells two by two."""
    return list(zip(cells[::2], cells[1::2], strict=True))


def mirrored(points: list[float]) -> list[float]:
    """Return the negatives in increasing order."""
    return [-point for point in reversed(points)]


def _exactly(value: Fraction) -> Exact:
    return arb(value.numerator) / value.denominator


class Worst:
    """The largest error of a function seen, over all pieces; more than the claim is an error."""

    def __init__(self, name: str) -> None:
        claim = BOUNDS[name]
        self.name = name
        self.limit = _exactly(claim.relative_u or claim.absolute_u) * arb(2) ** -53
        self.relative = self.absolute = self.eta = arb(0)
        self.pieces = 0

    def see(self, result: Any, *, absolute: bool = False) -> Number:
        """Take one piece into account."""
        if not isinstance(result, Number):
            raise ProofError(f"prove: expected a bounded result, but got {result!r}")
        bound = result.error if absolute else result.relative
        if bound is None or (absolute and (result.order or result.eta != 0)):
            raise ProofError(f"prove: expected a bounded error, but got none on {result.ideal}")
        if not bound <= self.limit:
            raise ProofError(
                f"prove: expected an error of {self.name} of at most {self.limit}, but got {bound}"
            )
        if absolute:
            self.absolute = self.absolute.max(bound)
        else:
            self.relative = self.relative.max(bound)
        self.eta = self.eta.max(result.eta + arb(0))
        self.pieces += 1
        return result

    def run(
        self,
        program: Callable[[Any], Any],
        lo: float,
        hi: float,
        *,
        absolute: bool = False,
        finish: Callable[[Number, Number], Number] | None = None,
    ) -> None:
        """Run a program on all floats of [lo, hi], split where a select is undecided."""
        stack = [(lo, hi)]
        while stack:
            lo, hi = stack.pop()
            x = exact(lo, hi)
            try:
                result = program(x)
            except Undecided as undecided:
                stack += _split(lo, hi, undecided.threshold)
                continue
            if finish is not None and isinstance(result, Number):
                result = finish(x, result)
            self.see(result, absolute=absolute)


def _split(lo: float, hi: float, threshold: float) -> list[tuple[float, float]]:
    """Return the floats of [lo, hi] below, at and above the threshold (or its negative)."""
    for t in (threshold, -threshold):
        if lo <= t <= hi and lo < hi:
            parts = [(lo, down(t)), (t, t), (up(t), hi)]
            return [(a, b) for a, b in parts if a <= b]
    raise ProofError(f"prove: expected a select on the input, but got one near {threshold!r}")

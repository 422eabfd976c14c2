"""Proofs of exp and expm1 and of what is made from them: tanh, sigmoid, softplus, sinh, cosh.

The argument of exp is reduced to cells (k, r), x = k ln 2 + r; later programs use the proved error
of exp and expm1 as contracts, so that their ideal values are the functions themselves.
"""

import math
from collections.abc import Callable
from functools import cached_property
from typing import Any

from flint import arb

from verify_kernels.elementary.abstract_number import UNKNOWN, Number, Unknown, interval
from verify_kernels.elementary.bounds import BOUNDS
from verify_kernels.elementary.proof_setting import (
    CLAMPS,
    NEAR,
    POINTS,
    Contracts,
    Exact,
    ProofError,
    Setting,
    Worst,
    ball,
    edges,
    exact,
    hull,
    mirrored,
    octaves,
    pairs,
    pieces,
    point_contracts,
    power_number,
    tails,
    tracked,
    true_value,
    uniform,
    whole,
)

_U = arb(2) ** -53
_ZERO_AT_ZERO = ("expm1", "log1p", "tanh", "erf", "tan", "atan", "sinh")
_CELL = 0.34658  # > ln(2) / 2: reduced arguments of exp
_DIGITS = 320  # bits of pi
_BINS = 32  # bins of the error table of expm1 in a unit of its argument


def _positive(y: Any, x: Any) -> Any:
    """Contract of with_sign_of for x > 0: y >= 0, also after roundings, which keep signs."""
    if isinstance(y, Unknown) or not y.computed()[0] >= 0:
        return UNKNOWN
    return y


class Exponentials:
    """Proofs around exp; each property is computed once, later ones use earlier ones."""

    def __init__(self, changes: dict[str, float] | None = None) -> None:
        self.setting = Setting(changes)
        self._now: Any = None  # what the contracts of the cell under study return
        self._shifted = 0.0
        self._missing: dict[int, Exact] = {}

    def _space(self, **contracts: Callable[..., Any]) -> Contracts:
        contracts = (
            self.setting.sums
            | {
                "with_sign_of": _positive,
                "exp_core": self._exp_contract,
                "exp_times": self._exp_times_contract,
                "expm1_core": self._expm1_contract,
                "exp_of_minus_square": self._minus_square_contract,
            }
            | contracts
        )
        return tracked(self.setting.space(contracts))

    def check_identity(self, name: str) -> None:
        """Check on points that exact arithmetic in the program gives the function.

        The whole source runs on points, with contracts for the bit operations and the sums only.
        The proofs use that identity; here a program that is another function is refused.
        """
        bound = BOUNDS[name]
        space = tracked(self.setting.space(self.setting.sums | point_contracts(self._plain_space)))
        for x in POINTS:
            if not bound.lo <= x <= bound.hi or abs(x) > CLAMPS.get(name, abs(x)):
                continue
            result = space[f"{name}_core"](exact(x, x))
            value = true_value(name, arb(x))
            if not isinstance(result, Number):
                raise ProofError(f"prove: expected a value of {name} at {x}, but got {result!r}")
            missing = abs(value) * arb(2) ** -80
            if name in (
                "log",
                "log1p",
            ):  # `_missing_of_log` takes what fl(ln 2) misses into account
                missing = arb(2) ** -45
            if not abs(result.ideal - value).abs_lower() <= missing:
                raise ProofError(f"prove: expected {name}({x}) = {value}, but got {result.ideal}")

    # exp, expm1: cells (k, r), x = k ln 2 + r

    def _exponents(self, lo: float, hi: float) -> range:
        """Return all k to which x in [lo, hi] may be reduced; the cells cover them all.

        fl(x / ln 2 + 1.5 2^52) is rounded once to an integer, so |x c - k| <= 1/2 with the
        constant c = LN2_INVERSE, hence |x - k ln 2| <= 1 / (2 c) + |k| |1 / c - ln 2|.
        """
        inverse = arb(self.setting.LN2_INVERSE)
        first, last = math.floor(lo * 1.4427 - 1.5), math.ceil(hi * 1.4427 + 1.5)
        first = max(first, whole((arb(lo) * inverse - 0.5).lower().ceil()))
        last = min(last, whole((arb(hi) * inverse + 0.5).upper().floor()))
        reach = 1 / (2 * inverse) + 1100 * abs(1 / inverse - arb.const_log2())
        if not (reach < _CELL and first >= -1022 and last <= 1023):
            raise ProofError(f"prove: expected cells within {_CELL}, but got {reach}")
        for k in range(first, last + 1):
            shifted = self.setting.SHIFT + k
            if shifted - self.setting.SHIFT != k or self.plain("power_of_two")(
                shifted
            ) != math.ldexp(1.0, k):
                raise ProofError(f"prove: expected 2^k from its shifted exponent, but not for {k}")
        return range(first, last + 1)

    def plain(self, name: str) -> Callable[..., Any]:
        """Return a function of the source without contracts."""
        return self._plain_space[name]

    @cached_property
    def _plain_space(self) -> Contracts:
        return self.setting.space({})

    @cached_property
    def _reduction_error(self) -> Exact:
        """Bound |r - (x - k ln 2)| over all cells with 0 < |k| <= 1100, from the source.

        The reduction is odd in (x, k), so k > 0 suffices.
        """
        reduce_ln2, worst, ln2 = self.plain("reduce_ln2"), arb(0), arb.const_log2()
        for k in range(1, 1101):
            place = k * ln2 + arb(0, _CELL)
            x = exact(float(place.lower()) * (1 - 1e-15), float(place.upper()) * (1 + 1e-15))
            x = Number(place, relative=arb(0), grid=x.grid)
            # the ideal program is x minus a constant: that constant, from one point
            point = exact(float(k), float(k))
            missing = abs(reduce_ln2(point, float(k)).ideal - (k - k * ln2))
            worst = worst.max(reduce_ln2(x, float(k)).error + missing)
        return worst

    def _cells(self, kernel: str, count: int) -> list[tuple[float, float, Number]]:
        """Return (lo, hi, exp(r) or exp(r) - 1) over the pieces of the reduced argument."""
        source = self._space()[kernel]
        points = uniform(-_CELL, 0.0, count // 2) + uniform(0.0, _CELL, count // 2)[1:]
        found = []
        for lo, hi in pieces(points):
            r = Number(interval(lo, hi), self._reduction_error)
            truth = r.ideal.exp() if kernel == "exp_reduced" else r.ideal.expm1()
            found.append((lo, hi, source(r).replaced(truth)))
        return found

    def _program(self, name: str) -> Callable[[Any], Any]:
        """Return exp_core or expm1_core on the cell set by _shifted and _now."""
        contracts: Contracts = {
            "nearest_integer": lambda x, inverse: self._shifted,
            "power_of_two": lambda shifted: power_number(int(shifted - self.setting.SHIFT)),
            "reduce_ln2": lambda x, k: None,
            "exp_reduced": lambda r: self._now,
            "expm1_reduced": lambda r: self._now,
            "scaled_up": lambda y, shifted: y * math.ldexp(1.0, int(shifted - self.setting.SHIFT)),
        }
        return self.setting.space(contracts)[name]

    @cached_property
    def exp(self) -> Worst:
        """Prove the bound of the exponential: in every cell a power of two times that of r."""
        worst, run, bound = Worst("exp"), self._program("exp_core"), BOUNDS["exp"]
        cells = self._cells("exp_reduced", 32)
        for k in self._exponents(bound.lo, bound.hi):
            self._shifted = self.setting.SHIFT + k
            for _, _, y in cells:
                self._now = y
                worst.see(run(None))
        return worst

    @cached_property
    def expm1(self) -> Worst:
        """Prove the bound of expm1; at k = 0 the reduced argument is x, which a run checks."""
        worst, run, bound = Worst("expm1"), self._program("expm1_core"), BOUNDS["expm1"]
        table: dict[int, Exact] = {}
        fine, coarse = (self._cells("expm1_reduced", count) for count in (128, 32))
        wide = [(a[0], b[1], hull([a[2], b[2]])) for a, b in pairs(coarse)]
        for k in self._exponents(bound.lo, bound.hi):
            self._shifted = self.setting.SHIFT + k
            if k == 0:
                continue
            for lo, hi, s in fine if abs(k) <= 8 else coarse if abs(k) <= 60 else wide:
                self._now = s
                result = worst.see(run(None))
                _enter(table, k * 0.6931471805599453 + lo, k * 0.6931471805599453 + hi, result)
        self._table = table
        self._near_expm1(worst, run)
        return worst

    def _near_expm1(self, worst: Worst, run: Callable[[Any], Any]) -> None:
        """Treat k = 0: pieces down to 2^-30 and tails, r = x."""
        space = self._space()
        reduce_ln2, kernel = self.plain("reduce_ln2"), space["expm1_reduced"]
        self._shifted = self.setting.SHIFT
        points = edges(NEAR, _CELL, 32)
        numbers = [exact(lo, hi) for lo, hi in pieces(points)]
        numbers += [exact(lo, hi) for lo, hi in pieces(mirrored(points))]
        for x in numbers + tails(1) + tails(-1):
            if reduce_ln2(x, 0.0) is not x:
                raise ProofError("prove: expected r = x at k = 0, but got another value")
            self._now = kernel(x)
            result = worst.see(run(None))
            if result.eta != 0:
                raise ProofError("prove: expected expm1 without underflow, but got some")
            place = ball(x)
            _enter(self._table, float(place.lower()), float(place.upper()), result)

    def _exp_contract(self, y: Any) -> Any:
        """Exp of an exact argument in the domain: the proved relative error."""
        return self._contract(y, "exp", lambda b: b.exp(), lambda b: self.exp.relative)

    def _exp_times_contract(self, y: Any, shift: float) -> Any:
        """2^shift exp of an exact argument: the same reduced function with another exponent."""
        value = self._exp_contract(y)
        return value * math.ldexp(1.0, int(shift)) if isinstance(value, Number) else UNKNOWN

    def _expm1_contract(self, y: Any) -> Any:
        """expm1 of an exact argument in the domain: the proved error near that argument."""
        worst = self.expm1
        if isinstance(y, Number) and y.order == 1 and y.error == 0 and y.eta == 0:
            place = ball(y)
            if not place.abs_upper() < 0.25:
                return UNKNOWN
            # |(exp(y) - 1) / y - 1| <= |y| for |y| <= 1
            truth = y.ideal * (1 + arb(0, place.abs_upper()))
            return Number(truth, relative=_look(self._table, place), tail=y.tail, order=1)
        return self._contract(
            y,
            "expm1",
            lambda b: b.expm1(),
            lambda b: _look(self._table, b) if b.abs_upper() < 60 else worst.relative,
        )

    def _contract(
        self,
        y: Any,
        name: str,
        truth: Callable[[Exact], Exact],
        relative: Callable[[Exact], Exact],
    ) -> Any:
        if isinstance(y, Unknown):
            return UNKNOWN
        if isinstance(y, float):
            y = exact(y, y)
        place, bound = ball(y), BOUNDS[name]
        if y.error != 0 or y.eta != 0:
            return UNKNOWN
        lo, hi = y.ends or (place.lower(), place.upper())
        if not (lo >= bound.lo and hi <= bound.hi):
            return UNKNOWN
        return Number(truth(place), relative=relative(place))

    # from exp and expm1

    @cached_property
    def tanh(self) -> Worst:
        """Prove the bound of tanh: with E = exp(-2 x) - 1 the ideal result is the true one."""
        worst, run = Worst("tanh"), self._space()["tanh_core"]
        for lo, hi in pieces(edges(NEAR, 22.0, 32)):
            worst.run(run, lo, hi, finish=clamped(22.0, lambda x: x.tanh()))
        worst.run(run, 22.0, BOUNDS["tanh"].hi, finish=clamped(22.0, lambda x: x.tanh()))
        for x in tails():
            worst.see(run(x))
        return worst

    @cached_property
    def sinh(self) -> Worst:
        """Prove sinh from E = exp(x) - 1."""
        worst, run = Worst("sinh"), self._space()["sinh_core"]
        for lo, hi in pieces(edges(NEAR, 64.0, 32) + uniform(64.0, BOUNDS["sinh"].hi, 700)[1:]):
            worst.run(run, lo, hi)
        for x in tails():
            worst.see(run(x))
        return worst

    @cached_property
    def cosh(self) -> Worst:
        """Prove cosh from h = exp(x) / 2; even."""
        worst, run = Worst("cosh"), self._space()["cosh_core"]
        for lo, hi in pieces(uniform(0.0, 32.0, 1024) + uniform(32.0, BOUNDS["cosh"].hi, 700)[1:]):
            worst.run(run, lo, hi)
        return worst

    @cached_property
    def sigmoid(self) -> Worst:
        """Prove sigmoid from e = exp(-|x|)."""
        worst, run = Worst("sigmoid"), self._space()["sigmoid_core"]
        points = (
            uniform(0.0, 1.0, 128) + uniform(1.0, 64.0, 504)[1:] + uniform(64.0, 708.0, 644)[1:]
        )
        for lo, hi in [*pieces(points), *pieces(mirrored(points))]:
            worst.run(run, lo, hi)
        tail = arb(-708).exp()
        worst.run(
            run,
            708.0,
            BOUNDS["sigmoid"].hi,
            finish=lambda x, y: y.replaced(1 - arb(0, tail), error=tail),
        )
        return worst

    @cached_property
    def softplus(self) -> Worst:
        """Prove softplus from e = exp(-|x|)."""
        worst, run = Worst("softplus"), self._space()["softplus_core"]
        points = (
            uniform(0.0, 1.0, 128) + uniform(1.0, 64.0, 504)[1:] + uniform(64.0, 708.0, 644)[1:]
        )
        for lo, hi in [*pieces(points), *pieces(mirrored(points))]:
            worst.run(run, lo, hi)
        tail = arb(-708).exp()
        for lo, hi in pieces(octaves(708.0, BOUNDS["softplus"].hi)):
            worst.run(
                run, lo, hi, finish=lambda x, y: y.replaced(y.ideal + arb(0, tail), error=tail)
            )
        return worst

    def _minus_square_contract(self, x: Any) -> Any:
        """exp(-x^2) for exact x, h = fl(x^2): e = exp(-h) (1 + a), l = x^2 - h exactly.

        fl(e - e l) = exp(-x^2) (1 + a) (1 - l) exp(l) (1 + b), |b| <= u, 1 - l^2 <= (1 - l)
        exp(l) <= 1; l is a binary64 number for 2^-500 < |x|, |l| <= u x^2.
        """
        if isinstance(x, float):
            x = exact(x, x)
        if isinstance(x, Unknown) or x.order or x.error != 0 or not x.ideal >= 0.5:
            return UNKNOWN
        square = x.ideal**2
        if not square * (1 + _U) <= -BOUNDS["exp"].lo:
            return UNKNOWN
        low = (square * _U).abs_upper()
        relative = (1 + self.exp.relative) * (1 + low * low) * (1 + _U) - 1
        return Number((-square).exp(), relative=relative)


def clamped(top: float, function: Callable[[Exact], Exact]) -> Callable[[Number, Number], Number]:
    """Return the finish of an increasing function with limit 1 whose argument stops at top."""

    def finish(x: Number, result: Number) -> Number:
        if x.ends is not None and x.ends[1] <= top:
            return result
        value = function(arb(top))
        rest = (1 - value).abs_upper()
        return result.replaced(interval(value.lower(), 1), error=rest)  # type: ignore[no-any-return]

    return finish


def _enter(table: dict[int, Exact], lo: float, hi: float, result: Number) -> None:
    """Note an error in all bins that [lo - 1e-9, hi + 1e-9] meets."""
    for i in range(math.floor((lo - 1e-9) * _BINS), math.floor((hi + 1e-9) * _BINS) + 1):
        table[i] = table.get(i, arb(0)).max(result.relative)


def _look(table: dict[int, Exact], place: Exact) -> Exact:
    """Return the largest error in the bins that a ball meets."""
    first = math.floor(float(place.lower()) * _BINS - 1e-6)
    last = math.floor(float(place.upper()) * _BINS + 1e-6)
    worst = arb(0)
    for i in range(first, last + 1):
        worst = worst.max(table[i])
    return worst

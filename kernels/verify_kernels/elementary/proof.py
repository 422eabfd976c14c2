"""The error bounds of the elementary functions, proved from their source with python-flint alone.

No sampling: the inputs of every function are covered by finitely many pieces, reduced arguments by
pieces for every exponent or quadrant k. Where a float near a tie may be reduced with either of two
integers k, both cells contain it, because cells are wider than the reduced interval. A piece on
which a select is undecided is split at the threshold. Small arguments, down to the smallest
subnormal number, are two more pieces (see `abstract_number`).

Odd functions read their argument through its modulus and its sign only, so x > 0 suffices; at x = 0
they return 0, which a concrete run checks.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import flint
from flint import arb

from verify_kernels.elementary import functions, lemmas
from verify_kernels.elementary.abstract_number import UNKNOWN, Number, Unknown, interval
from verify_kernels.elementary.bounds import BOUNDS
from verify_kernels.elementary.proof_setting import (
    CLAMPS,
    NEAR,
    POINTS,
    PRECISION,
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
    tails,
    true_value,
    uniform,
)

_U = arb(2) ** -53
_ZERO_AT_ZERO = ("expm1", "log1p", "tanh", "erf", "tan", "atan", "sinh")
_CELL = 0.34658  # > ln(2) / 2: reduced arguments of exp
_DIGITS = 320  # bits of pi
_BINS = 32  # bins of the error table of expm1 in a unit of its argument


@dataclass(frozen=True)
class ProvedBound:
    """A proved bound: |computed - f| <= relative_u u |f| + absolute_u u + eta 2^-1074."""

    name: str
    relative_u: Exact
    absolute_u: Exact
    eta: Exact
    lo: float
    hi: float
    pieces: int

    def within_claim(self) -> bool:
        """Tell whether the bound implies the entry of `BOUNDS`."""
        claim = BOUNDS[self.name]
        return bool(
            self.relative_u <= arb(claim.relative_u.numerator) / claim.relative_u.denominator
            and self.absolute_u <= arb(claim.absolute_u.numerator) / claim.absolute_u.denominator
            and self.eta <= 1
            and (self.lo, self.hi) == (claim.lo, claim.hi)
        )


def prove(name: str, proofs: Proofs | None = None) -> ProvedBound:
    """Prove the error bound of one function on the whole domain of its entry in `BOUNDS`.

    Args:
        name: a key of `BOUNDS`.
        proofs: results to share with other calls; by default a new start from the source.

    Returns:
        What was proved; compare by `ProvedBound.within_claim`.

    Raises:
        ProofError: no bound at all could be proved.
    """
    with flint.ctx.workprec(PRECISION):
        proofs = Proofs() if proofs is None else proofs
        if names := lemmas.altered(functions):
            raise ProofError(f"prove: expected the text of the lemmas, but got another of {names}")
        worst: Worst = getattr(proofs, name)
        bound = BOUNDS[name]
        if name in _ZERO_AT_ZERO and proofs._plain(f"{name}_core")(0.0) != 0.0:
            raise ProofError(f"prove: expected {name}(0) = 0, but got another value")
        proofs.check_identity(name)
        return ProvedBound(
            name,
            (worst.relative / _U).upper(),
            (worst.absolute / _U).upper(),
            worst.eta.upper(),
            bound.lo,
            bound.hi,
            worst.pieces,
        )


def _positive(y: Any, x: Any) -> Any:
    """Contract of with_sign_of for x > 0: y >= 0, also after roundings, which keep signs."""
    if isinstance(y, Unknown) or not y.computed()[0] >= 0:
        return UNKNOWN
    return y


class Proofs:
    """The proofs; each property is computed once, and later proofs use earlier ones."""

    def __init__(self, changes: dict[str, float] | None = None) -> None:
        self.setting = Setting(changes)
        self._now: Any = None  # what the contracts of the cell under study return
        self._shifted = 0.0
        self._missing: dict[int, Exact] = {}

    def _space(self, **contracts: Callable[..., Any]) -> Contracts:
        return self.setting.space(
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

    def check_identity(self, name: str) -> None:
        """Check on points that exact arithmetic in the program gives the function.

        The whole source runs on points, with contracts for the bit operations and the sums only.
        The proofs use that identity; here a program that is another function is refused.
        """
        bound = BOUNDS[name]
        space = self.setting.space(self.setting.sums | point_contracts(self._space_without))
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
        first = max(first, int((arb(lo) * inverse - 0.5).lower().ceil().unique_fmpz()))
        last = min(last, int((arb(hi) * inverse + 0.5).upper().floor().unique_fmpz()))
        reach = 1 / (2 * inverse) + 1100 * abs(1 / inverse - arb.const_log2())
        if not (reach < _CELL and first >= -1022 and last <= 1023):
            raise ProofError(f"prove: expected cells within {_CELL}, but got {reach}")
        for k in range(first, last + 1):
            shifted = self.setting.SHIFT + k
            if shifted - self.setting.SHIFT != k or self._plain("power_of_two")(
                shifted
            ) != math.ldexp(1.0, k):
                raise ProofError(f"prove: expected 2^k from its shifted exponent, but not for {k}")
        return range(first, last + 1)

    def _plain(self, name: str) -> Callable[..., Any]:
        """Return a function of the source without contracts."""
        return self._space_without[name]

    @cached_property
    def _space_without(self) -> Contracts:
        return self.setting.space({})

    @cached_property
    def _reduction_error(self) -> Exact:
        """Bound |r - (x - k ln 2)| over all cells with 0 < |k| <= 1100, from the source.

        The reduction is odd in (x, k), so k > 0 suffices.
        """
        reduce_ln2, worst, ln2 = self._plain("reduce_ln2"), arb(0), arb.const_log2()
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
        contracts = {
            "nearest_integer": lambda x, inverse: self._shifted,
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
        reduce_ln2, kernel = self._plain("reduce_ln2"), space["expm1_reduced"]
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
            worst.run(run, lo, hi, finish=_clamped(22.0, lambda x: x.tanh()))
        worst.run(run, 22.0, BOUNDS["tanh"].hi, finish=_clamped(22.0, lambda x: x.tanh()))
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

    # logarithms: cells (k, f), x = 2^k (1 + f)

    def _log_cells(self, count: int, error: Exact) -> list[tuple[Number, Any]]:
        space = self._space()
        found = []
        for lo, hi in _fractions(count):
            f = Number(interval(lo, hi), error)
            found.append((f, space["log1p_reduced"](f)))
        return found

    def _log_cell(self, k: int, f: Number, parts: Any) -> Number:
        """Run log_of_ratio and exchange its ideal value for k ln 2 + log(1 + f)."""
        self._now = parts
        result = self._log_program(f, float(k))
        if k == 0:
            return result  # type: ignore[no-any-return]
        truth = k * arb.const_log2() + f.ideal.log1p()
        return result.replaced(truth, error=self._missing_of_log(k))  # type: ignore[no-any-return]

    def _missing_of_log(self, k: int) -> Exact:
        """Return what the program misses of k ln 2: its ideal value where log(1 + f) is 0."""
        if k not in self._missing:
            self._now = (Number(arb(0), arb(0)),) * 3
            ideal = self._log_program(exact(1.0, 1.0), float(k)).ideal
            self._missing[k] = abs(ideal - k * arb.const_log2())
        return self._missing[k]

    @cached_property
    def _log_program(self) -> Callable[[Any, float], Any]:
        return self._space(log1p_reduced=lambda f: self._now)["log_of_ratio"]

    def _run_logs(self, worst: Worst, exponents: range, error: Exact) -> None:
        """Treat all k != 0; f is known within the error."""
        fine, coarse = self._log_cells(128, error), self._log_cells(32, error)
        wide = []
        for (f, left), (g, right) in pairs(coarse):
            wide.append((hull([f, g]), tuple(hull(two) for two in zip(left, right, strict=True))))
        for k in exponents:
            if k:
                for f, parts in fine if abs(k) <= 4 else coarse if abs(k) <= 16 else wide:
                    worst.see(self._log_cell(k, f, parts))

    @cached_property
    def log(self) -> Worst:
        """Prove log: m = 2^-k x in [c, 2 c), and m - 1 is exact.

        By the linearity of bits in the exponent, scaled_down is exact and the bits of m lie in
        [C, C + 2^52) with the constant C of binary_exponent, so k runs over -1022 ... 1024, and
        down to -1075 for log_subnormal, which is the same with x scaled by 2^54.
        """
        worst, space = Worst("log"), self._space()
        self._run_logs(worst, range(-1075, 1025), arb(0))
        for lo, hi in _fractions(64, least=2.0**-53):
            f = exact(lo, hi)
            worst.see(self._log_cell(0, f, space["log1p_reduced"](f)))
        self._check_mantissas()
        if self._plain("log_core")(1.0) != 0.0:
            raise ProofError("prove: expected log(1) = 0, but got another value")
        return worst

    def _check_mantissas(self) -> None:
        """Check the ends of the reduced interval and that m - 1 is exact on it."""
        space = self.setting.space({})
        lowest = space["from_bits"](0x3FE6A09E667F3BCC)
        if not (-0.2929 < lowest - 1.0 < -0.2928 and 0.4142 < 2.0 * lowest - 1.0 < 0.41421357):
            raise ProofError(f"prove: expected sqrt(1/2), but got {lowest!r}")
        for lo, hi in ((lowest, 1.0), (1.0, 2.0 * lowest)):
            if (exact(lo, hi) - 1.0).error != 0:
                raise ProofError("prove: expected m - 1 to be exact, but it may round")

    @cached_property
    def log1p(self) -> Worst:
        """Prove log1p: u + c = 1 + x exactly (fast two-sum), f = fl((u 2^-k - 1) + c 2^-k).

        u 2^-k - 1 is exact as for log, and c 2^-k is: c is a multiple of 2^-1074 with 2^k <= 2^1000
        and c != 0 a multiple of the last bit of x or of 1. Hence f is the rounded value of
        (1 + x) / 2^k - 1, |f| < 1/2, with an error of at most 2^-55; for k = 0 that is x itself.
        Rounding 1 + x moves f by at most 2^-53, which `_fractions` allows for.
        """
        worst, space = Worst("log1p"), self._space()
        self._run_logs(worst, range(-54, 1002), arb(2) ** -55)
        for lo, hi in _fractions(64, least=NEAR):
            f = exact(lo, hi)
            worst.see(self._log_cell(0, f, space["log1p_reduced"](f)))
        for f in tails(1) + tails(-1):
            worst.see(self._log_cell(0, f, space["log1p_reduced"](f)))
        self._check_mantissas()
        return worst

    # erf, erfc

    @cached_property
    def erf(self) -> Worst:
        """Prove erf: a P(a^2) below 1, 1 - erfc(a) up to 6, erfc(6) beyond."""
        worst, run = Worst("erf"), self._space()["erf_core"]
        for lo, hi in pieces(edges(NEAR, 1.0, 24) + uniform(1.0, 6.0, 160)[1:]):
            worst.run(run, lo, hi, finish=_clamped(6.0, lambda x: x.erf()))
        worst.run(run, 6.0, BOUNDS["erf"].hi, finish=_clamped(6.0, lambda x: x.erf()))
        for x in tails():
            worst.see(run(x))
        return worst

    @cached_property
    def erfc(self) -> Worst:
        """Prove the bound of erfc; beyond 26.5 only the negative side is used."""
        worst, run = Worst("erfc"), self._space()["erfc_core"]
        points = uniform(0.0, 1.0, 256) + uniform(1.0, 6.0, 200)[1:] + uniform(6.0, 26.5, 800)[1:]
        for lo, hi in [*pieces(points), *pieces(mirrored(points))]:
            worst.run(run, lo, hi)
        tail = arb(26.5).erfc()
        worst.run(
            run,
            BOUNDS["erfc"].lo,
            -26.5,
            finish=lambda x, y: y.replaced(2 - arb(0, tail), error=tail),
        )
        return worst

    # quadrants: cells (k, r), x = k pi / 2 + r

    @cached_property
    def _quadrants(self) -> Quadrants:
        return Quadrants(self.setting)

    def _on_quadrant(self, name: str, quadrant: int, reduction: str) -> Callable[[Any], Any]:
        shifted = self.setting.SHIFT + quadrant
        contracts: Contracts = {
            "nearest_integer": lambda x, inverse: shifted,
            reduction: lambda x, k: x,
        }
        return self._space(**contracts)[name]

    @cached_property
    def sin(self) -> Worst:
        """Prove sin with an absolute error."""
        return self._sine("sin_core")

    @cached_property
    def cos(self) -> Worst:
        """Prove cos with an absolute error."""
        return self._sine("cos_core")

    def _sine(self, name: str) -> Worst:
        worst, error = Worst(name[:3]), self._quadrants.absolute_error
        for quadrant in range(4):
            run = self._on_quadrant(name, quadrant, "reduce_half_pi")
            for lo, hi in pieces(uniform(-0.7854, 0.0, 64) + uniform(0.0, 0.7854, 64)[1:]):
                worst.see(run(Number(interval(lo, hi), error)), absolute=True)
        return worst

    @cached_property
    def tan(self) -> Worst:
        """Prove tan; |r| has a positive lower bound over all floats with k != 0."""
        worst, cells = Worst("tan"), self._quadrants
        for parity in (0, 1):
            run = self._on_quadrant("tan_core", parity, "reduce_half_pi_closely")
            points = edges(cells.least, 0.7854, 12)
            for lo, hi in [*pieces(points), *pieces(mirrored(points))]:
                worst.see(run(Number(interval(lo, hi), relative=cells.relative_error)))
        run = self._on_quadrant("tan_core", 0, "reduce_half_pi_closely")
        for lo, hi in pieces(edges(NEAR, 0.7854, 12)):
            worst.see(run(exact(lo, hi)))
        for x in [*tails(), exact(NEAR, 0.7854)]:
            if self._plain("reduce_half_pi_closely")(x, 0.0) is not x:
                raise ProofError("prove: expected r = x at k = 0, but got another value")
        for x in tails():
            worst.see(run(x))
        return worst

    @cached_property
    def atan(self) -> Worst:
        """Prove atan; pi / 4 and pi / 2 are sums of two constants."""
        worst, run, setting = Worst("atan"), self._space()["atan_core"], self.setting
        half = abs(arb.pi() / 2 - arb(setting.HALF_PI_HIGH) - arb(setting.HALF_PI_LOW))
        quarter = abs(arb.pi() / 4 - arb(setting.QUARTER_PI_HIGH) - arb(setting.QUARTER_PI_LOW))
        missing = half.max(quarter)

        def finish(x: Number, result: Number) -> Number:
            if x.high <= setting.TAN_PI_8:
                return result
            truth = x.ideal.atan() if x.high < 4.0 else result.ideal + arb(0, missing)
            return result.replaced(truth, error=missing)

        for lo, hi in pieces(
            [*edges(NEAR, 0.25, 24), *edges(0.25, 4.0, 64)[1:], *edges(4.0, 2.0**60, 16)[1:]]
        ):
            worst.run(run, lo, hi, finish=finish)
        for lo, hi in pieces(octaves(2.0**60, BOUNDS["atan"].hi)):
            worst.run(run, lo, hi, finish=finish)
        for x in tails():
            worst.see(run(x))
        return worst


class Quadrants:
    """Reduction by pi / 2 for |x| <= 1e5."""

    def __init__(self, setting: Setting) -> None:
        self.setting = setting
        self.last = 63663  # > 1e5 2 / pi
        with flint.ctx.workprec(_DIGITS):
            self._check()

    def _check(self) -> None:
        setting = self.setting
        inverse = arb(setting.TWO_OVER_PI)
        half_pi = arb.pi() / 2
        reach = 1 / (2 * inverse) + self.last * abs(1 / inverse - half_pi)
        if not (reach < 0.7854 and 1e5 * inverse + 0.5 < self.last + 1):
            raise ProofError(f"prove: expected quadrants within 0.7854, but got {reach}")
        parts = [setting.HALF_PI_1, setting.HALF_PI_2, setting.HALF_PI_3]
        self.parts = [arb(part) for part in parts]
        self.missing = abs(half_pi - sum(self.parts, arb(0)))
        # k HALF_PI_1 and x are multiples of 2^-53 for k != 0, |x| >= 1/2, and their difference is
        # below 1, hence exact; k HALF_PI_2 is a binary64 number
        first = (self.parts[0] * arb(2) ** 36).is_integer()
        second = (self.parts[1] * arb(2) ** 72).is_integer()
        size = reach + self.last * (self.parts[1] + self.parts[2] + self.missing)
        if not (first and second and size < 1 and self.last * self.parts[1] < arb(2) ** -21):
            raise ProofError("prove: expected an exact first step of the reduction")
        space = setting.space({})
        for name in ("reduce_half_pi", "reduce_half_pi_closely"):
            for k in (1, 2, 5, 1000, self.last):
                x = float(k * half_pi)
                ideal = space[name](exact(x, x), float(k)).ideal
                if not abs(ideal - (x - k * half_pi)) <= 2 * k * self.missing:
                    raise ProofError(f"prove: expected x - k pi / 2 from {name}, but got {ideal}")

    @cached_property
    def absolute_error(self) -> Exact:
        """Two roundings of numbers below 1 and the missing digits of pi / 2."""
        return 2 * arb(2) ** -54 + self.last * self.missing

    @cached_property
    def _distances(self) -> tuple[float, Exact]:
        """Return the least |x - k pi / 2| over floats x and 0 < k <= last, and a relative error.

        h = x - k P1 and w = k P2 are exact; d = fl(h - w), and (h - d) - w is exact (fast two-sum
        for |h| >= |w|; else h - w is a multiple of 2^-72 below 2^-20, hence exact). So before the
        last addition the error is that of low = fl((h - d) - w - k P3), |low| <= u |d| + k P3,
        and of the missing digits: less than 2 u^2 + (u k P3 + k missing) / |r|, |d| < 2 |r|.
        """
        bits = 256
        with flint.ctx.workprec(_DIGITS):
            half_pi = int((arb.pi() / 2 * arb(2) ** bits).mid().floor().unique_fmpz())
        third = int((self.parts[2] * arb(2) ** bits).unique_fmpz())
        missing = int((self.missing * arb(2) ** bits).upper().ceil().unique_fmpz())
        least, worst = None, 0
        for k in range(1, self.last + 1):
            place = k * half_pi
            step = 1 << (place.bit_length() - 53)
            rest = place % step
            gap = min(rest, step - rest) - k  # half_pi is cut off: k units at most
            least = gap if least is None else min(least, gap)
            worst = max(worst, ((k * third + (k * missing << 53)) << 40) // gap + 1)
        if least is None or least <= 0:
            raise ProofError("prove: expected a positive distance, but got none")
        relative = arb(worst) * arb(2) ** -93
        if not relative < _U / 2:
            raise ProofError(f"prove: expected k P3 < |r| / 2, but got {relative}")
        return float((arb(least) * arb(2) ** -bits).lower()) * 0.999, relative

    @property
    def least(self) -> float:
        """Return a lower bound of |x - k pi / 2| over k != 0 and the floats x."""
        return self._distances[0]

    @property
    def relative_error(self) -> Exact:
        """Bound |r / (x - k pi / 2) - 1| for k != 0.

        The last addition rounds by at most u |r|; what was there before is
        r0 (1 + e), |e| <= 1.01 u^2 + (u k P3 + k missing) / |r0|.
        """
        before = self._distances[1] + 2 * _U * _U
        return before + _U * (1 + before)


def _clamped(top: float, function: Callable[[Exact], Exact]) -> Callable[[Number, Number], Number]:
    """Return the finish of an increasing function with limit 1 whose argument stops at top."""

    def finish(x: Number, result: Number) -> Number:
        if x.ends is not None and x.ends[1] <= top:
            return result
        value = function(arb(top))
        return result.replaced(interval(value.lower(), 1), error=(1 - value).abs_upper())

    return finish


def _fractions(count: int, least: float | None = None) -> list[tuple[float, float]]:
    """Return pieces of f = m - 1, a little wider than the reduced interval; binades if asked."""
    low, high = -0.29290, 0.41422
    if least is None:
        points = uniform(low, 0.0, count // 2) + uniform(0.0, high, count // 2)[1:]
        return list(pieces(points))
    return [
        *pieces(mirrored(edges(least, -low, 12))),
        *pieces(edges(least, high, 12)),
    ]


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


__all__ = ["ProofError", "Proofs", "ProvedBound", "prove"]

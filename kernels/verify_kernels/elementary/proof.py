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

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import flint
from flint import arb

from verify_kernels.elementary import functions, lemmas
from verify_kernels.elementary.abstract_number import Number, interval
from verify_kernels.elementary.bounds import BOUNDS, MAX, OMEGA
from verify_kernels.elementary.proof_exponentials import Exponentials, clamped
from verify_kernels.elementary.proof_setting import (
    NEAR,
    PRECISION,
    Contracts,
    Exact,
    ProofError,
    Worst,
    edges,
    exact,
    hull,
    mirrored,
    octaves,
    pairs,
    pieces,
    tails,
    uniform,
)
from verify_kernels.elementary.quadrants import Quadrants

_U = arb(2) ** -53
_ZERO_AT_ZERO = ("expm1", "log1p", "tanh", "erf", "tan", "atan", "sinh")
_CELL = 0.34658  # > ln(2) / 2: reduced arguments of exp
_DIGITS = 320  # bits of pi
_BINS = 32  # bins of the error table of expm1 in a unit of its argument

# what the pieces and cells below cover; `BOUNDS` claims the same
COVERED: dict[str, tuple[float, float]] = {
    "exp": (-708.0, 709.0),
    "expm1": (-708.0, 709.0),
    "tanh": (-MAX, MAX),
    "sigmoid": (-708.0, MAX),
    "softplus": (-708.0, MAX),
    "log": (OMEGA, MAX),
    "log1p": (-1.0 + 2.0**-53, 2.0**1000),
    "erf": (-MAX, MAX),
    "erfc": (-MAX, 26.5),
    "sin": (-1e5, 1e5),
    "cos": (-1e5, 1e5),
    "tan": (-1e5, 1e5),
    "atan": (-MAX, MAX),
    "sinh": (-709.0, 709.0),
    "cosh": (-709.0, 709.0),
}


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
        if name in _ZERO_AT_ZERO and proofs.plain(f"{name}_core")(0.0) != 0.0:
            raise ProofError(f"prove: expected {name}(0) = 0, but got another value")
        proofs.check_identity(name)
        return ProvedBound(
            name,
            (worst.relative / _U).upper(),
            (worst.absolute / _U).upper(),
            worst.eta.upper(),
            *COVERED[name],
            worst.pieces,
        )


class Proofs(Exponentials):
    """The proofs; each property is computed once, and later proofs use earlier ones."""

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
        if self.plain("log_core")(1.0) != 0.0:
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
            worst.run(run, lo, hi, finish=clamped(6.0, lambda x: x.erf()))
        worst.run(run, 6.0, BOUNDS["erf"].hi, finish=clamped(6.0, lambda x: x.erf()))
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
            if self.plain("reduce_half_pi_closely")(x, 0.0) is not x:
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
            return result.replaced(truth, error=missing)  # type: ignore[no-any-return]

        for lo, hi in pieces(
            [*edges(NEAR, 0.25, 24), *edges(0.25, 4.0, 64)[1:], *edges(4.0, 2.0**60, 16)[1:]]
        ):
            worst.run(run, lo, hi, finish=finish)
        for lo, hi in pieces(octaves(2.0**60, BOUNDS["atan"].hi)):
            worst.run(run, lo, hi, finish=finish)
        for x in tails():
            worst.see(run(x))
        return worst


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


__all__ = ["ProofError", "Proofs", "ProvedBound", "prove"]

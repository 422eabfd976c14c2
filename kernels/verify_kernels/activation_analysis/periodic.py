"""Activations c z + P(z) with a periodic P: one period shows everything."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from math import gcd, lcm
from typing import Any

from flint import arb, fmpq

from verify.enclosure import Enclosure
from verify.verdict import Truth
from verify_kernels.activation_analysis.coefficients import Coefficient, UnclearError
from verify_kernels.activation_analysis.exact_points import exact_derivatives, polynomial_degree
from verify_kernels.activation_analysis.facts import (
    Bound,
    Range,
    infinite_bound,
    open_bound,
    proved_bound,
)
from verify_kernels.activation_analysis.tree import Node

Ball = Any


@dataclass(frozen=True)
class Periodic:
    """c z + P(z).

    Args:
        slope: c, exact.
        period: a period of P, enclosed.
    """

    slope: Coefficient
    period: Ball

    @property
    def window(self) -> tuple[Fraction, Fraction]:
        """An interval longer than one period, with ends that are not simple points."""
        low = Fraction(-13, 97)
        mantissa, exponent = self.period.upper().man_exp()
        length = Fraction(int(mantissa)) * Fraction(2) ** int(exponent)
        return low, low + Fraction(int(length * 1024) + 2, 1024)


def periodic_part(root: Node) -> Periodic | None:
    """Return the decomposition if the structure of the tree shows it, and P is not constant.

    Every z stands inside a sine or cosine of an affine argument, or in one linear term; the
    frequencies are rational multiples of each other.
    """
    slope = Coefficient({})
    frequencies: list[Coefficient] = []
    for term in root.args if root.op == "add" else (root,):
        if term.constant:
            continue
        if polynomial_degree(term) == 1:
            found = exact_derivatives(term, Fraction(0), 1)
            if found is None:
                return None
            slope = slope + found[1]
        elif not _collect(term, frequencies):
            return None
    if not frequencies:
        return None
    return _with_period(slope, frequencies)


def _collect(node: Node, frequencies: list[Coefficient]) -> bool:
    if node.constant:
        return True
    if node.op == "z":
        return False
    if node.op in ("sin", "cos") and polynomial_degree(node.args[0]) == 1:
        found = exact_derivatives(node.args[0], Fraction(0), 1)
        if found is None or not found[1]:
            return False
        frequencies.append(found[1])
        return True
    return all(_collect(arg, frequencies) for arg in node.args)


def _with_period(slope: Coefficient, frequencies: list[Coefficient]) -> Periodic | None:
    first = frequencies[0]
    key, value = next(iter(first.terms.items()))
    common: Fraction | None = None
    for other in frequencies:
        ratio = other.terms.get(key, fmpq(0)) / value
        if other + first.scaled(-ratio):
            return None
        exact = abs(Fraction(int(ratio.p), int(ratio.q)))
        common = exact if common is None else _common(common, exact)
    try:
        first.sign()
        if slope:
            slope.sign()
    except UnclearError:
        return None
    if common is None:
        return None
    size = abs(first.ball()) * fmpq(common.numerator, common.denominator)
    return Periodic(slope, 2 * arb.pi() / size)


def _common(a: Fraction, b: Fraction) -> Fraction:
    return Fraction(gcd(a.numerator, b.numerator), lcm(a.denominator, b.denominator))


def _is_apart(both: Range) -> bool:
    """Whether the infimum is proved to be below the supremum."""
    proved = both.inf.finite is both.sup.finite is Truth.PROVED
    return proved and both.inf.value.hi < both.sup.value.lo


def far_ranges(d1: Range, *, breaking: bool) -> tuple[Range, Range]:
    """Return the ranges of sigma - z sigma' and z sigma' from that of sigma'.

    Where P is continuous and not constant P' takes both signs, again and again, so that z P' is
    unbounded both ways; so is z sigma' where sigma' is anywhere nonzero.
    """
    endless = Range(infinite_bound("z -> +infinity"), infinite_bound("z -> +infinity"))
    unknown = Range(open_bound("not decided at infinity"), open_bound("not decided at infinity"))
    if any(end.finite is not Truth.PROVED for end in (d1.inf, d1.sup)):
        return unknown, unknown
    kappa = endless if _is_apart(d1) and not breaking else unknown
    moving = d1.sup.value.lo > 0 or d1.inf.value.hi < 0
    return kappa, endless if moving else unknown


def limits(form: Periodic, values: Range) -> tuple[Bound, Bound]:
    """Return the limits at -infinity and +infinity; values is the range over one period."""
    if any(end.finite is not Truth.PROVED for end in (values.inf, values.sup)):
        return (open_bound("not bounded on one period"),) * 2
    if form.slope:
        ends = ("-infinity", "+infinity")
        left, right = ends if form.slope.sign() > 0 else ends[::-1]
        return infinite_bound(left), infinite_bound(right)
    if _is_apart(values):
        return (infinite_bound("no limit: it oscillates"),) * 2
    return (open_bound("not decided at infinity"),) * 2


def slopes_at_infinity(form: Periodic, d1: Range) -> tuple[Bound, Bound, Bound]:
    """Return l0, l1 and kappa1: |c|, sup |sigma'| and sup |P'|, which recur in every period."""
    where = "approached or attained again and again"
    line = Enclosure.from_arb(abs(form.slope.ball()))
    if any(end.finite is not Truth.PROVED for end in (d1.inf, d1.sup)):
        return proved_bound(line, where), d1.largest(), d1.largest()
    c = Enclosure.from_arb(form.slope.ball())
    low, high = d1.inf.value, d1.sup.value
    shifted = Range(
        proved_bound(Enclosure(low.lo - c.hi, low.hi - c.lo), where),
        proved_bound(Enclosure(high.lo - c.hi, high.hi - c.lo), where),
    )
    return proved_bound(line, where), d1.largest(), shifted.largest()

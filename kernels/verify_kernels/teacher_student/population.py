"""The population loss of students against teachers, its gradient, and their ratios."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction

from flint import ctx

from verify.enclosure import Enclosure
from verify.evidence import Evidence
from verify.network import TeacherStudent
from verify.verdict import Truth
from verify_kernels.teacher_student.gradient import (
    KEPT,
    Gradient,
    gradient_of,
    norm_of,
    zero_gradient,
)
from verify_kernels.teacher_student.lines import Lines, lines_of
from verify_kernels.teacher_student.sums import Ball, sums_over

FIRST_BITS, LAST_BITS = 128, 1 << 16
# A relative width of 2^-68 is below 1e-20.
ENOUGH = Fraction(1, 1 << 68)
# Doublings that a gradient may ask for once the loss is known: it can be exactly zero.
_MORE = 2


@dataclass(frozen=True, eq=False)
class Population:
    """The loss L = 1/2 E (f - f*)^2 and its gradient in the students' parameters.

    Args:
        loss: L >= 0.
        gradient_norm: ||grad L||; unbounded where the gradient does not exist.
        gradient: its entries as balls, None where the precision ended before a first result.
        grad_over_loss: ||grad L|| / L; unbounded where one of the two is not there or L = 0.
        grad_over_loss_34: ||grad L|| / L^(3/4) likewise.
        exactly_zero: whether L = 0, decided in rational arithmetic.
        why: what that rests on, one sentence.
        bits: the working precision of the result, 0 where everything is exact.
    """

    loss: Evidence
    gradient_norm: Evidence
    gradient: Gradient | None
    grad_over_loss: Evidence
    grad_over_loss_34: Evidence
    exactly_zero: Truth
    why: str
    bits: int


def enclose_population(network: TeacherStudent, *, deadline: float = math.inf) -> Population:
    """Enclose the population loss and its gradient by the closed forms, in balls.

    Rows on one line are added exactly before anything is rounded (`lines`), so whether L = 0 is
    decided, and what remains is a sum over different lines: |q_l . x| for pairwise different lines
    are linearly independent, so L > 0, and the working precision is doubled from 128 bits until L
    is known to a relative width below 1e-20, however close students are to teachers.

    Args:
        network: students and teachers, any finite numbers.
        deadline: ``time.monotonic`` from which on no further precision is tried.

    Returns:
        The loss, the gradient and their ratios. A loss that was not resolved by the deadline or
        within 65,536 bits has the lower end 0.
    Error bound:
        ball arithmetic; every end is rounded outward to at least 128 bits.
    Source:
        Arc-cosine kernels of degree one; see `sums.sums_over` and `gradient.gradient_of`.
    """
    lines = lines_of(network)
    relu = network.activation.name == "relu"
    odd = relu and not lines.odd_part_vanishes()
    if not odd and not any(lines.even):
        return _zero(lines, relu)
    why = (
        "the linear part of f - f* is not zero"
        if not any(lines.even)
        else "f - f* has a kink that does not cancel"
    )
    found = None
    for level in _levels(lines, odd=odd, deadline=deadline):
        found = level
    if found is None:
        return _open(why)
    loss, norm, gradient, bits = found
    return _result(loss, norm, gradient, why, bits)


_Level = tuple[Enclosure, Enclosure, Gradient, int]


def _levels(lines: Lines, *, odd: bool, deadline: float) -> Iterator[_Level]:
    """Yield results of growing precision, until loss and gradient are tight."""
    products, bits, more = lines.products(), FIRST_BITS, 0
    while bits <= LAST_BITS and more <= _MORE:
        with ctx.workprec(bits):
            sums = sums_over(lines, products, odd=odd, deadline=deadline)
            if sums is None:
                return
            gradient = gradient_of(lines, sums)
            loss, norm = Enclosure.from_arb(_rounded(sums.loss)), norm_of(gradient)
        loss = loss.intersection(Enclosure(0, math.inf))
        yield loss, norm, gradient, bits
        if is_tight(loss):
            if gradient.undefined or is_tight(norm):
                return
            more += 1
        bits *= 2


def is_tight(found: Enclosure) -> bool:
    """Return whether an enclosure of a number >= 0 has a relative width below 2^-68."""
    return found.is_bounded and found.width <= ENOUGH * found.lo


def _rounded(value: Ball) -> Ball:
    """Return the ball with at most `KEPT` bits of its midpoint."""
    with ctx.workprec(KEPT):
        return value * 1


def _result(
    loss: Enclosure, norm: Enclosure, gradient: Gradient, why: str, bits: int
) -> Population:
    how = f"closed form in ball arithmetic of {bits} bits"
    open_loss = "" if loss.lo > 0 else "the precision that was tried does not separate it from 0"
    if gradient.undefined:
        at = ", ".join(str(k) for k in gradient.undefined[:8])
        none = f"the loss is not differentiable at a student that is zero (row {at} of W)"
        nothing = Evidence(Enclosure.unbounded(), why_open=none)
        return Population(Evidence(loss, how=how, why_open=open_loss), nothing, gradient,
                          nothing, nothing, Truth.REFUTED, why, bits)  # fmt: skip
    first, second = (ratio(norm, loss, power) for power in (Fraction(1), Fraction(3, 4)))
    return Population(
        Evidence(loss, how=how, why_open=open_loss),
        Evidence(norm, how=how),
        gradient,
        Evidence(first, how=how, why_open=open_loss),
        Evidence(second, how=how, why_open=open_loss),
        Truth.REFUTED,
        why,
        bits,
    )


def ratio(norm: Enclosure, loss: Enclosure, power: Fraction) -> Enclosure:
    """Enclose ||grad|| / L^power for the powers 1 and 3/4; [0, inf) where L may be 0."""
    if not (loss.is_bounded and norm.is_bounded and loss.lo > 0):
        return Enclosure(0, math.inf)
    with ctx.workprec(KEPT):
        low, high = (
            Enclosure.from_arb(Enclosure.exact(top).arb() / _power(bottom, power))
            for top, bottom in ((norm.lo, loss.hi), (norm.hi, loss.lo))
        )
    return Enclosure(max(low.lo, 0), high.hi)


def _power(end: Fraction | float, power: Fraction) -> Ball:
    root = Enclosure.exact(end).arb()
    return root if power == 1 else root.sqrt() * root.sqrt().sqrt()


def _zero(lines: Lines, relu: bool) -> Population:
    """Return the population of students that are the teachers' function."""
    exact = Evidence(Enclosure.exact(0), how="exactly zero, in rational arithmetic")
    none = Evidence(Enclosure.unbounded(), why_open="the loss is exactly zero")
    why = "the output weights times norms add up to zero on every line through the origin"
    why += ", and the linear part is zero" if relu else ""
    return Population(exact, exact, zero_gradient(lines), none, none, Truth.PROVED, why, 0)


def _open(why: str) -> Population:
    """Return what is known where the deadline came first: L > 0 only."""
    nothing = Evidence(Enclosure(0, math.inf), why_open="the deadline came first")
    return Population(nothing, nothing, None, nothing, nothing, Truth.REFUTED, why, 0)

"""What the lines add up to, in balls of one precision: the loss, and its slopes along each line."""

from __future__ import annotations

import time
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

from flint import arb, arb_mat, fmpq

from verify_kernels.teacher_student.lines import Lines

Ball = Any  # python-flint's arb


@dataclass(frozen=True, eq=False)
class Sums:
    """Balls at one precision, over the lines l with sources k.

    Args:
        roots: ||q_l||.
        values: F(q_l) = sum_k alpha_k E|q_l . x||q_k . x|.
        turned: sum_k alpha_k sin(t_lk) ||q_l|| ||q_k||, times 2/pi.
        pulled: sum_k alpha_k phi_lk q_k, times 2/pi, one row a line.
        linear: v = sum_l beta_l q_l, the linear part of f - f* is v . x/2; None where it is 0.
        loss: L.
    """

    roots: list[Ball]
    values: list[Ball]
    turned: list[Ball]
    pulled: list[list[Ball]]
    linear: list[Ball] | None
    loss: Ball


def ball(number: Fraction) -> Ball:
    """Return a ball that contains a rational, at the working precision."""
    return arb(fmpq(number.numerator, number.denominator))


def sums_over(lines: Lines, products: Any, *, odd: bool, deadline: float) -> Sums | None:
    """Add up the closed forms at the working precision.

    With C = q . q', S = sqrt(||q||^2 ||q'||^2 - C^2) and phi = atan2(C, S) = pi/2 - t,

        E|q . x||q' . x| = (2/pi) (S + C phi),   its gradient in q is (2/pi) (S q/||q||^2 + phi q').

    C and the number under the root are exact integers, so no angle is lost to cancellation however
    small it is; S = 0 occurs for l = k alone, where phi = pi/2. For ReLU the even part of the
    function is half of the one for the modulus, so L = L_even/4 + ||v||^2/8.

    Args:
        lines: the masses on lines.
        products: ``lines.products()``.
        odd: whether there is a linear part that is not zero.
        deadline: ``time.monotonic`` at which to give up.

    Returns:
        The sums; or None at the deadline.
    Error bound:
        Every operation is one of python-flint's balls, which carry their own radius.
    """
    count = len(lines.directions)
    roots = [arb(square).sqrt() for square in lines.squares]
    scale = roots if lines.network.tied else [arb(1)] * count
    sources = [k for k in range(count) if lines.even[k]]
    weights = [ball(lines.even[k]) * scale[k] for k in sources]
    sines = [[arb(0)] * len(sources) for _ in range(count)]
    angles = [[arb(0)] * len(sources) for _ in range(count)]
    values = []
    for line in range(count):
        if time.monotonic() > deadline:
            return None
        value = arb(0)
        for column, source in enumerate(sources):
            cosine = products[line, source]
            if line == source:
                angles[line][column] = arb.pi() / 2
            else:
                sine = _sine(lines, line, source, cosine)
                sines[line][column], angles[line][column] = sine, arb.atan2(arb(cosine), sine)
            term = sines[line][column] + cosine * angles[line][column]
            value += weights[column] * term
        values.append(value * 2 / arb.pi())
    turned, pulled = _slopes(lines, sources, weights, sines, angles)
    linear = _linear(lines, scale) if odd else None
    loss = sum((weights[c] * values[k] for c, k in enumerate(sources)), arb(0)) / 2
    if lines.network.activation.name == "relu":
        loss = loss / 4 + sum((entry * entry for entry in linear or ()), arb(0)) / 8
    return Sums(roots, values, turned, pulled, linear, loss)


def _sine(lines: Lines, line: int, source: int, cosine: Any) -> Ball:
    """Return ||q|| ||q'|| sin t from exact integers."""
    return arb(lines.squares[line] * lines.squares[source] - cosine * cosine).sqrt()


def _slopes(
    lines: Lines, sources: list[int], weights: list[Ball], sines: Any, angles: Any
) -> tuple[list[Ball], list[list[Ball]]]:
    """Return the two sums of the gradient: along q itself, and along the sources."""
    if not sources:
        zero = [arb(0)] * lines.network.dimension
        return [arb(0)] * len(sines), [zero] * len(sines)
    factor = 2 / arb.pi()
    columns = [[factor * weight] for weight in weights]
    rows = [
        [factor * weight * entry for entry in lines.directions[k]]
        for k, weight in zip(sources, weights, strict=True)
    ]
    turned = (arb_mat(sines) * arb_mat(columns)).tolist()
    pulled = (arb_mat(angles) * arb_mat(rows)).tolist()
    return [row[0] for row in turned], [list(row) for row in pulled]


def _linear(lines: Lines, scale: list[Ball]) -> list[Ball]:
    """Return v = sum_l beta_l q_l."""
    total = [arb(0)] * lines.network.dimension
    for q, odd, factor in zip(lines.directions, lines.odd, scale, strict=True):
        if odd:
            weight = ball(odd) * factor
            total = [old + weight * entry for old, entry in zip(total, q, strict=True)]
    return total

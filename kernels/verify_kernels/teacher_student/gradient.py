"""The gradient of the population loss in every student, from the sums over lines."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from flint import arb, ctx

from verify.enclosure import Enclosure
from verify_kernels._rounding import Array
from verify_kernels.teacher_student.lines import Lines
from verify_kernels.teacher_student.sums import Ball, Sums, ball

# Bits of the ends that are handed out.
KEPT = 192


@dataclass(frozen=True, eq=False)
class Gradient:
    """The gradient as balls.

    Args:
        W: shape (m, d), entries ``arb``, or None throughout a row that does not exist.
        a: shape (m,), entries ``arb``, or None where the output weights are tied.
        undefined: the students in whose weights the loss is not differentiable.
    """

    W: Array
    a: Array | None
    undefined: tuple[int, ...] = ()


def zero_gradient(lines: Lines) -> Gradient:
    """Return the gradient where the loss is exactly zero, its minimum."""
    m, d = lines.network.students.shape
    a = None if lines.network.tied else _objects([arb(0)] * m)
    return Gradient(_objects([[arb(0)] * d for _ in range(m)]), a)


def gradient_of(lines: Lines, sums: Sums) -> Gradient:
    """Return the gradient of L in the students' weights, at the working precision.

    With F(u) = E sigma(u . x)(f - f*)(x), which is positively homogeneous,

        free:  grad_{w_i} = a_i grad F(w_i),  grad_{a_i} = F(w_i);
        tied:  grad_{w_i} = F(w_i) w_i/||w_i|| + ||w_i|| grad F(w_i),  0 at w_i = 0.

    At w_i = 0 with a free a_i != 0 the loss has the directional derivatives a_i F(u), and no
    gradient unless F is linear, that is, unless the even part of f - f* is zero: a measure on lines
    is determined by its integrals of |u . x|.
    """
    tied = lines.network.a is None
    rows: list[list[Ball | None]] = []
    outputs: list[Ball] = []
    undefined = []
    for student in range(lines.network.width):
        value, slope = _at(lines, sums, student)
        outputs.append(value)
        if tied:
            rows.append(_tied(lines, sums, student, value, slope))
            continue
        weight = float(lines.network.a[student]) if lines.network.a is not None else 0.0
        if slope is None and weight != 0.0:
            undefined.append(student)
            rows.append([None] * lines.network.dimension)
        elif slope is None or weight == 0.0:
            rows.append([arb(0)] * lines.network.dimension)
        else:
            rows.append([weight * entry for entry in slope])
    a = None if tied else _objects(outputs)
    return Gradient(_objects(rows), a, tuple(undefined))


def _at(lines: Lines, sums: Sums, student: int) -> tuple[Ball, list[Ball] | None]:
    """Return F and its gradient at a student; no gradient where there is none."""
    relu = lines.network.activation.name == "relu"
    place = lines.place[student]
    linear = sums.linear or [arb(0)] * lines.network.dimension
    if place is None:
        exists = relu and not any(lines.even)
        return arb(0), [entry / 4 for entry in linear] if exists else None
    factor = ball(lines.factor[student])
    sign = 1 if lines.factor[student] > 0 else -1
    q = lines.directions[place]
    along = sums.turned[place] / lines.squares[place]
    value = abs(factor) * sums.values[place]
    slope = [sign * (along * entry + pull)
             for entry, pull in zip(q, sums.pulled[place], strict=True)]  # fmt: skip
    if relu:
        inner = sum((entry * v for entry, v in zip(q, linear, strict=True)), arb(0))
        value = (value + factor * inner) / 4
        slope = [(entry + v) / 4 for entry, v in zip(slope, linear, strict=True)]
    return value, slope


def _tied(
    lines: Lines, sums: Sums, student: int, value: Ball, slope: list[Ball] | None
) -> list[Ball | None]:
    place = lines.place[student]
    if place is None or slope is None:
        return [arb(0)] * lines.network.dimension
    root = sums.roots[place]
    norm = abs(ball(lines.factor[student])) * root
    unit = value / root if lines.factor[student] > 0 else -value / root
    return [unit * entry + norm * part
            for entry, part in zip(lines.directions[place], slope, strict=True)]  # fmt: skip


def norm_of(gradient: Gradient) -> Enclosure:
    """Return the Euclidean norm over all students' parameters; unbounded where undefined."""
    if gradient.undefined:
        return Enclosure.unbounded()
    entries = gradient.W.ravel().tolist() + ([] if gradient.a is None else gradient.a.tolist())
    low, high = arb(0), arb(0)
    for entry in entries:
        least, most = entry.abs_lower(), entry.abs_upper()
        low += least * least
        high += most * most
    with ctx.workprec(KEPT):
        ends = [Enclosure.from_arb(end.sqrt()) for end in (low.abs_lower(), high)]
    return Enclosure(max(ends[0].lo, 0), ends[1].hi)


def _objects(entries: Any) -> Array:
    shape = (len(entries), len(entries[0])) if isinstance(entries[0], list) else (len(entries),)
    found = np.empty(shape, dtype=object)
    found[...] = entries
    return found

"""Smoothness of the risk: f is not C^infinity where a one-sided derivative along a line jumps.

Let neuron j with a_j != 0 have its pre-activation of datum i exactly at a kink k of s, and move
its weights along v: phi(t) = f(w_j + t v). All points where s may not be smooth must be known as
kinks; then data whose pre-activation of j is at none of them give a smooth part. The others (the
set K, found with exact rationals) give, at t -> 0+ and t -> 0-, the one-sided Taylor series of s
at k, composed with the loss. If the coefficients of t^m differ for
some m, phi^(m) has different limits from the two sides, so phi, hence f, is not C^m.

For m = 1 the jump is J = c' (1/n) a_j (s'(k+) - s'(k-)) sum_K l'_i |x_i . v|: a kink of the
activation alone does not make it nonzero, since terms of repeated or mirrored inputs may cancel.
J = 0 everywhere refutes nothing, and one evaluated jump != 0 is the whole proof.

Where the place of a kink is known as an enclosure only (1/10, sqrt 2), the stored weights put the
datum at its middle, and the line meets the kink at some t within a known distance. Only data equal
to it are at the kink there; the others must be proved to be away from every kink for all such t.
So it is for a periodic part of s, whose kinks are known for one period: the others must be away
from all translates by multiples of the period.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from fractions import Fraction
from typing import TYPE_CHECKING, Any

import numpy as np

from verify.enclosure import Enclosure
from verify.evidence import Evidence, Witness
from verify.verdict import Truth
from verify_kernels._rounding import Array, gamma
from verify_kernels.activation_analysis.jet import jet
from verify_kernels.two_layer import exact_data as exact
from verify_kernels.two_layer.ball_risk import Point, Problem
from verify_kernels.two_layer.balls import Ball, ball, precision, shown

if TYPE_CHECKING:
    from verify_kernels.activation_analysis import ActivationFacts, Kink

ORDER = 3  # the facts hold one-sided derivatives up to this order
_WORK = 200_000  # products at the affected data beyond which a candidate is skipped
_BLOCK = 4096


@dataclass(frozen=True)
class Candidate:
    """Weights and a line: neuron j with inner weights ``row`` (bias at its end if trained).

    Args:
        j: the neuron that moves.
        row: its inner weights.
        other: the inner weights of another neuron where they differ from the network's, as
            (neuron, row), or None.
        direction: v.
        outer: the outer weights.
        datum: the datum that is put to the kink.
    """

    j: int
    row: list[Fraction]
    other: tuple[int, list[Fraction]] | None
    direction: list[Fraction]
    outer: list[Fraction]
    datum: int = 0


@dataclass(frozen=True)
class Place:
    """A kink: its place is within ``radius`` of ``middle``."""

    middle: Fraction
    radius: Fraction
    kink: Kink


def places_of(facts: ActivationFacts) -> list[Place]:
    """Return the kinks of an activation, in rational numbers."""
    ends = [(Fraction(kink.place.lo), Fraction(kink.place.hi), kink) for kink in facts.kinks]
    return [Place((lo + hi) / 2, (hi - lo) / 2, kink) for lo, hi, kink in ends]


def knows_kinks(facts: ActivationFacts) -> bool:
    """Return whether every point where the activation may not be smooth is listed, bounded.

    Only then are data away from the listed points a smooth part: |z - 1| sqrt(z^2 + 2 z + 1) has
    a second kink at -1, behind a root of zero whose place the analysis does not tell.
    """
    bounded = all(kink.place.is_bounded for kink in facts.kinks)
    return facts.smooth is Truth.REFUTED and bool(facts.kinks) and bounded


def decide_smoothness(
    problem: Problem, point: Point, facts: ActivationFacts, *, bits: int = 256
) -> Evidence:
    """Decide whether the risk is C^infinity in its trained parameters.

    Args:
        problem: data, loss, penalties.
        point: the network's weights: frozen roles are taken from it, and the search for a kink
            starts at it.
        facts: of the activation.
        bits: working precision.

    Returns:
        PROVED if the activation is C^infinity; REFUTED with the witness ``"kink"``: the neuron
        ``j``, its weights ``row``, the ``direction``, the affected data, the order m and
        enclosures of the one-sided coefficients and of their difference; else UNDECIDED.
    """
    if facts.smooth is Truth.PROVED:
        return Evidence(Truth.PROVED, how="the activation is C^infinity, hence so is the risk")
    if not knows_kinks(facts):
        return Evidence(Truth.UNDECIDED, why_open="the smoothness of the activation is not decided")
    with precision(bits):
        for candidate in _candidates(problem, point, facts):
            found = jump_at(problem, point, facts, candidate)
            if found is not None:
                return _refuted(candidate, found)
    why = "the activation has kinks, but every jump of the risk that was evaluated may be 0"
    return Evidence(Truth.UNDECIDED, why_open=why)


@dataclass(frozen=True)
class Jump:
    """phi^(order)(0+) - phi^(order)(0-) of the affected data; the derivatives, not coefficients."""

    order: int
    right: Ball
    left: Ball
    jump: Ball
    data: list[int]


def jump_at(
    problem: Problem,
    point: Point,
    facts: ActivationFacts,
    candidate: Candidate,
    *,
    lowest: int = 0,
) -> Jump | None:
    """Return the first derivative along the line that is proved to jump, or None.

    Args:
        problem: data, loss, penalties.
        point: the network's weights.
        facts: of the activation.
        candidate: weights and line.
        lowest: the first order to compare.
    """
    series = line_series(problem, point, facts, candidate) if knows_kinks(facts) else None
    if series is None:
        return None
    right, left, data = series
    factor = 1
    for order in range(ORDER + 1):
        factor *= max(order, 1)
        difference = (right[order] - left[order]) * factor
        if order >= lowest and difference.is_finite() and not difference.contains(0):
            return Jump(order, right[order] * factor, left[order] * factor, difference, data)
    return None


def line_series(
    problem: Problem, point: Point, facts: ActivationFacts, candidate: Candidate
) -> tuple[list[Ball], list[Ball], list[int]] | None:
    """Return the one-sided Taylor coefficients of the affected data's part of phi, and the data."""
    places = places_of(facts)
    if facts.period is not None or any(place.radius for place in places):
        hits = _affected_about(problem, point, candidate, places, facts.period)
    else:
        hits = _affected(problem, point, candidate, [place.middle for place in places])
    if not hits or len(hits) * len(candidate.outer) * len(candidate.row) > _WORK:
        return None
    right, left = [ball(0)] * (ORDER + 1), [ball(0)] * (ORDER + 1)
    for i, at in hits:
        speed = exact.dot(_extended(problem, i), candidate.direction)
        if speed == 0:
            continue
        kink = places[at].kink
        up, down = (kink.right, kink.left) if speed > 0 else (kink.left, kink.right)
        still = _rest_of_output(problem, point, candidate, i)
        for total, one_sided in ((right, up), (left, down)):
            part = _loss_series(problem, i, still, candidate, one_sided, speed)
            for m in range(ORDER + 1):
                total[m] += part[m]
    scale = ball(problem.loss_scale) / len(exact.labels(problem))
    return [scale * v for v in right], [scale * v for v in left], [i for i, _ in hits]


def replay_kink(
    witness: Witness, problem: Problem, point: Point, facts: ActivationFacts, *, bits: int = 512
) -> bool:
    """Return whether the stored jump is there: it meets the stored enclosures and is not 0."""
    data = witness.data
    if not exact.is_trained(problem, "a") and data["outer"] != exact.outer(point):
        return False
    other = None if data["other"] is None else (data["other"], data["other_row"])
    candidate = Candidate(
        data["j"], data["row"], other, data["direction"], data["outer"], data.get("datum", 0)
    )
    with precision(bits):
        found = jump_at(problem, point, facts, candidate, lowest=data["order"])
        if found is None or found.order != data["order"] or found.data != data["data"]:
            return False
        stored = ((found.jump, "jump"), (found.right, "right"), (found.left, "left"))
        return all(_meets(value, data[name]) for value, name in stored)


def _meets(value: Ball, ends: Sequence[Any]) -> bool:
    lo, hi = exact.interval(value)
    return bool(lo <= ends[1] and ends[0] <= hi)


def _refuted(candidate: Candidate, found: Jump) -> Evidence:
    other = candidate.other
    data = {
        "j": candidate.j,
        "row": candidate.row,
        "other": None if other is None else other[0],
        "other_row": None if other is None else other[1],
        "direction": candidate.direction,
        "outer": candidate.outer,
        "datum": candidate.datum,
        "data": found.data,
        "order": found.order,
        "right": exact.interval(found.right),
        "left": exact.interval(found.left),
        "jump": exact.interval(found.jump),
    }
    what = ("value", "first derivative", "second derivative", "third derivative")[found.order]
    how = (
        f"the {what} of the risk along a line through a kink of neuron {candidate.j + 1} jumps by "
        f"{shown(found.jump)}"
    )
    return Evidence(Truth.REFUTED, Witness("kink", data), how=how)


def _extended(problem: Problem, i: int) -> list[Fraction]:
    row = exact.fractions(exact.inputs(problem)[i].tolist())
    return [*row, Fraction(1)] if exact.is_trained(problem, "b") else row


def _offset(problem: Problem, point: Point, j: int) -> Fraction:
    return Fraction(0) if exact.is_trained(problem, "b") else exact.biases(point)[j]


def _affected(
    problem: Problem, point: Point, candidate: Candidate, places: Sequence[Fraction]
) -> list[tuple[int, int]]:
    """Return (datum, kink) for every datum whose pre-activation of the neuron is a kink, exactly.

    Floats exclude most data: the float product of a row with rounded weights errs by at most
    gamma_{d+2} |x| . |w| (1 + 2 gamma) + underflow; the rest is decided in rationals.
    """
    X, offset = exact.inputs(problem), _offset(problem, point, candidate.j)
    found = []
    for i in _near(X, candidate.row, offset, places):
        z = exact.dot(candidate.row, _extended(problem, i)) + offset
        found += [(i, at) for at, place in enumerate(places) if z == place]
    return found


def _affected_about(
    problem: Problem,
    point: Point,
    candidate: Candidate,
    places: Sequence[Place],
    period: Enclosure | None,
) -> list[tuple[int, int]]:
    """Return the data equal to the chosen one if all others are away from every kink, else none.

    The line meets the kink at |t| <= radius/|x.v|, where a pre-activation z_i has moved by at
    most radius |x_i.v|/|x.v|. With a period, translates of the kinks are kinks.
    """
    X, offset = exact.inputs(problem), _offset(problem, point, candidate.j)
    if len(X) * len(candidate.row) > _WORK:
        return []
    x = _extended(problem, candidate.datum)
    start = exact.dot(candidate.row, x) + offset
    at = next((k for k, place in enumerate(places) if place.middle == start), None)
    speed = abs(exact.dot(x, candidate.direction))
    if at is None or speed == 0:
        return []
    found = []
    for i in range(len(X)):
        other = _extended(problem, i)
        if other == x:
            found.append((i, at))
            continue
        z = exact.dot(candidate.row, other) + offset
        moved = places[at].radius * abs(exact.dot(other, candidate.direction)) / speed
        if any(_may_meet(z - place.middle, place.radius + moved, period) for place in places):
            return []
    return found


def _may_meet(distance: Fraction, reach: Fraction, period: Enclosure | None) -> bool:
    """Return whether some k (0 without a period) has |distance - k period| <= reach, if unsure."""
    if period is None:
        return abs(distance) <= reach
    lo, hi = Fraction(period.lo), Fraction(period.hi)
    size = abs(distance)
    if size <= reach:
        return True
    # k >= 1 meets if k lo <= size + reach and size - reach <= k hi; the largest such k is tried
    k = (size + reach) // lo
    return k > 0 and size - reach <= k * hi


def _near(
    X: Array, row: Sequence[Fraction], offset: Fraction, places: Sequence[Fraction]
) -> list[int]:
    d = X.shape[1]
    try:
        w = np.array([float(v) for v in row[:d]])
        shift = float(sum(row[d:], offset))
        targets = [float(place) for place in places]
    except OverflowError:
        return list(range(len(X)))
    kept: list[int] = []
    factor = 2.0 * gamma(d + 4)
    for start in range(0, len(X), _BLOCK):
        block = X[start : start + _BLOCK]
        with np.errstate(over="ignore", invalid="ignore"):
            z = block @ w + shift
            size = np.abs(block) @ np.abs(w) + abs(shift) + max(map(abs, targets))
            slack = factor * size + (4.0 * d + 4.0) * 2.0**-1022 * (1.0 + np.abs(block).max())
            far = np.ones(len(block), dtype=bool)
            for target in targets:
                far &= np.abs(z - target) > 2.0 * slack
        kept += (start + np.flatnonzero(~far)).tolist()
    return kept


def _rest_of_output(problem: Problem, point: Point, candidate: Candidate, i: int) -> Ball:
    """Return u_i without the moving neuron."""
    x = _extended(problem, i)
    trained = exact.is_trained(problem, "b")
    frozen = exact.biases(point)
    total = ball(exact.constant(point))
    for k, weight in enumerate(candidate.outer):
        if k == candidate.j or weight == 0:
            continue
        if candidate.other is not None and candidate.other[0] == k:
            row = candidate.other[1]
        else:
            row = exact.fractions(list(point.W[k])) + ([frozen[k]] if trained else [])
        z = exact.dot(row, x) + (0 if trained else frozen[k])
        total += ball(weight) * jet(problem.activation, ball(z), 0)[0]
    return total


def _loss_series(
    problem: Problem,
    i: int,
    still: Ball,
    candidate: Candidate,
    one_sided: Sequence[Any],
    speed: Fraction,
) -> list[Ball]:
    """Return the Taylor coefficients of l_i(u_i(t)) with one-sided derivatives of s."""
    from flint import arb_series

    weight, factor = ball(candidate.outer[candidate.j]), ball(1)
    terms = []
    for m in range(ORDER + 1):
        terms.append(weight * one_sided[m].arb() * factor)
        factor = factor * ball(speed) / (m + 1)
    terms[0] += still
    y = ball(float(exact.labels(problem)[i]))
    with _series_length(ORDER + 1):
        u = arb_series(terms, ORDER + 1)
        squared = problem.loss == "squared"
        loss = (u - y) * (u - y) / 2 if squared else (1 + (-(u * y)).exp()).log()
        return [loss[m] for m in range(ORDER + 1)]


def _candidates(problem: Problem, point: Point, facts: ActivationFacts) -> Iterator[Candidate]:
    """Yield lines through kinks: at the network's own weights first, then with another row moved.

    The second sort moves one other neuron along the same input, so that the residual changes
    where the first jump was zero.
    """
    X, trained_bias = exact.inputs(problem), exact.is_trained(problem, "b")
    a = exact.outer(point)
    if exact.is_trained(problem, "a") and not any(a):
        a = [Fraction(1)] * len(a)
    neurons = [j for j, weight in enumerate(a) if weight != 0]
    moving = np.flatnonzero(X.any(axis=1) | trained_bias)[:6].tolist()
    places = [place.middle for place in places_of(facts)]
    for push in (0, 1, -1, 3, -3, 17):
        for j in neurons[:3]:
            own = exact.fractions(list(point.W[j]))
            own += [exact.biases(point)[j]] if trained_bias else []
            others = [k for k in neurons if k != j]
            if push and not others:
                continue
            for i in moving:
                x = _extended(problem, i)
                square = exact.dot(x, x)
                other = None
                if push:
                    other = others[0], [Fraction(push) * v / square for v in x]
                for place in places:
                    target = place - _offset(problem, point, j)
                    for start in (own, [Fraction(0)] * len(x)):
                        step = (target - exact.dot(start, x)) / square
                        row = [w + step * v for w, v in zip(start, x, strict=True)]
                        yield Candidate(j, row, other, x, a, i)


@contextmanager
def _series_length(length: int) -> Iterator[None]:
    """Set the length of python-flint's power series for a block."""
    from flint import ctx

    before, ctx.cap = ctx.cap, length
    try:
        yield
    finally:
        ctx.cap = before

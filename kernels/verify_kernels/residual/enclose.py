"""The residual r = f(theta) - y of a network at its weights, enclosed."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from typing import Any

import numpy as np
from flint import fmpq

from verify.enclosure import Enclosure
from verify.errors import InputError
from verify.evidence import Evidence
from verify.network import Graph
from verify_kernels._rounding import Array
from verify_kernels.definiteness import PRODUCTS
from verify_kernels.enclosed_products import Balls
from verify_kernels.exact_forward.balls import fractions_or_balls, is_exact
from verify_kernels.exact_forward.rational import matrix_rows
from verify_kernels.exact_forward.walk import OutsideError
from verify_kernels.forward import enclose_features
from verify_kernels.forward.inputs import Inputs
from verify_kernels.residual.norms import box_norm, fractions_norm, numbers_norm
from verify_kernels.self_test import check_arithmetic
from verify_kernels.tangent_kernel.balls import RANGE, FloatBalls
from verify_kernels.tangent_kernel.walk import OpenError, forward, output_place
from verify_kernels.targets import Targets
from verify_kernels.two_layer.balls import precision
from verify_kernels.two_layer.midrad import MidRad

BITS = (128, 256, 512, 1024, 2048, 4096)
TIGHT = Fraction(1, 10**20)
"""The relative width of ||r|| at which the ball tier stops."""
BATCH_ENTRIES = 2**21


@dataclass(frozen=True, eq=False)
class Residual:
    """The true r, entry i m_y + o for output o at sample i, has |r - mid| <= rad.

    Args:
        mid: shape (n m_y,), finite.
        rad: shape (n m_y,), >= 0, +inf where nothing is known.
        norm: Enclosure of ||r||_2.
        numbers: of the ball tier: every entry as python-flint ``fmpq`` (then r is exact) or
            ``arb``; None in the float tier.
        bits: of the ball tier, 0 in the float tier.
    """

    mid: Array
    rad: Array
    norm: Evidence
    numbers: tuple[Any, ...] | None = None
    bits: int = 0

    @property
    def is_exact(self) -> bool:
        """Whether r is known without any error."""
        if self.numbers is not None:
            return all(isinstance(number, fmpq) for number in self.numbers)
        return not self.rad.any()


def enclose_residual(
    graph: Graph,
    inputs: Inputs,
    targets: Any,
    *,
    precise: bool = False,
    deadline: float = math.inf,
) -> Residual:
    """Enclose r = f(theta) - y by a forward sweep in midpoint-radius or in ball arithmetic.

    A kink of an activation is no obstacle: r exists there, only its Jacobian may not.

    Args:
        graph: the network; its outputs are those of the last affine layer.
        inputs: exact samples.
        targets: y, shape (n, m_y), or (n,) for one output; numbers are taken exactly.
        precise: False: binary64, with an error of some units in the last place of the outputs,
            whatever the size of r. True: fractions as long as they are short, else balls of 128
            bits and more, until ||r|| is known to 1e-20 relatively.
        deadline: of the ball tier, in time of `time.monotonic`.

    Returns:
        The residual. Where numbers leave the range of binary64, where an operation is not
        enclosed, or where time is over, radii are +inf, the norm is unbounded and its ``why_open``
        says why. The norm is exactly 0 where r = 0 is proved.

    Error bound:
        float tier: that of the sweep (`tangent_kernel.balls.FloatBalls`, or `enclose_features`
        for operations that it does not know), of the targets where they are no floats, and
        2u|mid| for the subtraction.

    Raises:
        InputError: targets of another shape or not finite, or no sample.
        BackendError: the machine does not compute as assumed.
    """
    inputs.require_some("enclose_residual")
    place = output_place(graph)
    outputs = math.prod(graph.nodes[place].shape)
    y = Targets.of(targets, inputs.count, outputs, where="enclose_residual")
    if precise:
        return _by_balls(graph, place, inputs, y, deadline)
    return _by_floats(graph, place, inputs, y)


@np.errstate(all="ignore")
def _by_floats(graph: Graph, place: int, inputs: Inputs, y: Targets) -> Residual:
    check_arithmetic("numpy", size=max(graph.dimension, 1))
    found, why = _outputs(graph, place, inputs)
    difference = found - y.balls()
    known = np.isfinite(difference.mid) & np.isfinite(difference.rad)
    mid = np.where(known, difference.mid, 0.0).ravel()
    rad = np.where(known, difference.rad, np.inf).ravel()
    norm = box_norm(mid, rad)
    return Residual(mid, rad, Evidence(
        norm, assumes=(PRODUCTS,), how="midpoint-radius arithmetic in binary64",
        why_open="" if norm.is_bounded else why or RANGE,
    ))  # fmt: skip


def _outputs(graph: Graph, place: int, inputs: Inputs) -> tuple[MidRad, str]:
    """Enclose the outputs (n, m_y), a batch of samples at a time, and say what is open."""
    sizes = [math.prod(graph.nodes[k].shape) for k in graph.needed(place)]
    batch = max(1, BATCH_ENTRIES // sum(sizes))
    parts: list[MidRad] = []
    why = ""
    for first in range(0, inputs.count, batch):
        some = replace(inputs, values=inputs.values[first : first + batch])
        try:
            swept = forward(graph, place, some, FloatBalls(slopes=False)).values[place]
        except OpenError:
            # One operation that needs the whole batch, or one sample out of range.
            features = enclose_features(graph, place, inputs, backend="numpy")
            return MidRad(features.mid, features.entry_radius()), features.why_open
        shape = (some.count, math.prod(graph.nodes[place].shape))
        flat = (part.reshape(len(part), -1) for part in (swept.mid, swept.rad))
        parts.append(MidRad(*(np.broadcast_to(part, shape) for part in flat)))
    mids, radii = ([getattr(part, name) for part in parts] for name in ("mid", "rad"))
    return MidRad(np.concatenate(mids), np.concatenate(radii)), why


def _by_balls(graph: Graph, place: int, inputs: Inputs, y: Targets, deadline: float) -> Residual:
    goal = [fmpq(value.numerator, value.denominator) for row in y.rows() for value in row]
    best, why = _nothing(len(goal)), RANGE
    for bits in BITS:
        with precision(bits):
            try:
                values = fractions_or_balls(graph, place, inputs, deadline)
            except OutsideError as reason:
                why = str(reason)
                break
            exact = is_exact(values)
            rows = matrix_rows(values, inputs.count).ravel().tolist()
            numbers = tuple(value - target for value, target in zip(rows, goal, strict=True))
            norm = fractions_norm(numbers) if exact else numbers_norm(numbers)
        if exact:
            return _told(numbers, norm, bits, "exact rational arithmetic")
        if _is_tight(norm):
            return _told(numbers, norm, bits, f"ball arithmetic of {bits} bits")
        if norm.is_bounded:
            best = _told(numbers, norm, bits, f"ball arithmetic of {bits} bits")
            why = "||r|| is not told apart from 0"
    return replace(best, norm=replace(best.norm, why_open=why))


def _is_tight(norm: Enclosure) -> bool:
    if not norm.is_bounded:
        return False
    low, high = Fraction(norm.lo), Fraction(norm.hi)
    return high - low <= TIGHT * low


def _nothing(size: int) -> Residual:
    return Residual(np.zeros(size), np.full(size, np.inf), Evidence(Enclosure.unbounded()))


def _told(numbers: Sequence[Any], norm: Enclosure, bits: int, how: str) -> Residual:
    """Return the residual with floats beside the exact numbers."""
    mid, rad = np.zeros(len(numbers)), np.full(len(numbers), np.inf)
    for k, number in enumerate(numbers):
        plain = isinstance(number, fmpq)
        try:
            one = Balls.of([Fraction(int(number.p), int(number.q)) if plain else number])
        except InputError:
            continue
        mid[k], rad[k] = one.mid[0], one.rad[0]
    return Residual(mid, rad, Evidence(norm, how=how), tuple(numbers), bits)

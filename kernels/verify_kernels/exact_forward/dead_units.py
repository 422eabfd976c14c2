"""Units of the last hidden layer that are zero, or constant, on all samples."""

from __future__ import annotations

import time
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from verify.network.graph import Graph
from verify_kernels._rounding import down_array, up_array
from verify_kernels.exact_forward.balls import ball_features
from verify_kernels.exact_forward.rational import (
    MOST_WORK,
    filled,
    fraction_work,
    rational_features,
)
from verify_kernels.exact_forward.residues import residue_features
from verify_kernels.exact_forward.signs import Mask
from verify_kernels.exact_forward.walk import OutsideError
from verify_kernels.exact_forward.zeros import certain_zeros
from verify_kernels.forward.inputs import Inputs
from verify_kernels.forward.walk import enclose_features
from verify_kernels.full_rank.primes import choose_prime

_TERMS = 1024  # products summed at once modulo the prime
_BITS = 128
_FIRST = 4  # samples of the first group
_SECONDS = 20.0


@dataclass(frozen=True, eq=False)
class DeadUnits:
    """What is proved of each of the m units on the given samples.

    Args:
        zero: units that are exactly 0 on all samples.
        maybe_zero: units not proved to differ from 0 somewhere; contains ``zero``.
        constant: units with one and the same value on all samples.
        maybe_constant: units not proved to take two values; contains ``constant``.
        how: the arithmetic in one phrase.
    """

    zero: Mask
    maybe_zero: Mask
    constant: Mask
    maybe_constant: Mask
    how: str

    @property
    def certain(self) -> int:
        """How many units are certainly zero on all samples."""
        return int(self.zero.sum())

    @property
    def possible(self) -> int:
        """How many units may be zero on all samples."""
        return int(self.maybe_zero.sum())


def dead_units(
    graph: Graph, place: int, inputs: Inputs, *, deadline: float | None = None
) -> DeadUnits:
    """Find the units of a node that are zero or constant on all samples.

    Piecewise polynomial graphs have residues modulo a prime: a residue that is not 0 (two residues
    that differ) proves that a unit is not zero (not constant); what remains is settled by the
    float enclosure or by fractions. For other graphs a float enclosure tells most units apart,
    rectified pre-activations that are certainly <= 0 give exact zeros, and the rest is evaluated
    in balls, in growing groups of samples, until nothing is open or the time is over.

    Args:
        graph: the network.
        place: index of the node; its value is flattened to m units.
        inputs: the samples, at least one.
        deadline: in time of `time.monotonic`, for the balls; in 20 seconds if it is None.
    """
    found = residue_features(graph, place, inputs, choose_prime(_TERMS))
    if found.residues is None or found.enclosed is None:
        end = time.monotonic() + _SECONDS if deadline is None else deadline
        return _by_enclosure(graph, place, inputs, end)
    mod, near = found.residues, found.enclosed
    zero = np.asarray(near.is_zero.all(axis=0))
    constant = np.asarray(((near.radius == 0.0) & (near.mid == near.mid[:1])).all(axis=0))
    maybe_zero = (mod == 0.0).all(axis=0)
    maybe_constant = (mod == mod[:1]).all(axis=0)
    if (maybe_zero == zero).all() and (len(mod) == 1 or (maybe_constant == constant).all()):
        return DeadUnits(zero, zero, maybe_constant, maybe_constant, "signs decided exactly")
    if len(mod) * fraction_work(graph, place) > MOST_WORK:
        return DeadUnits(zero, maybe_zero, constant, maybe_constant, "residues modulo a prime")
    exact = rational_features(graph, place, inputs).matrix
    table = filled(exact.entries(), mod.shape)
    zero = np.array([all(x == 0 for x in column) for column in table.T])
    constant = np.array([all(x == column[0] for x in column) for column in table.T])
    return DeadUnits(zero, zero, constant, constant, "rational arithmetic")


def _by_enclosure(graph: Graph, place: int, inputs: Inputs, deadline: float) -> DeadUnits:
    found = enclose_features(graph, place, inputs)
    radius = found.entry_radius()
    low, high = down_array(found.mid - radius), up_array(found.mid + radius)
    zero = np.asarray(certain_zeros(graph, place, inputs).all(axis=0))
    maybe_zero = np.asarray(~((low > 0.0) | (high < 0.0)).any(axis=0))
    maybe_constant = np.asarray(~(low.max(axis=0) > high.min(axis=0)) | (len(low) == 1))
    constant = np.asarray(zero | (len(low) == 1))
    known = DeadUnits(zero, maybe_zero, constant, maybe_constant, "float enclosure")
    if (zero == maybe_zero).all() and (constant == maybe_constant).all():
        return known
    return _by_balls(graph, place, inputs, known, deadline)


def _by_balls(
    graph: Graph, place: int, inputs: Inputs, known: DeadUnits, deadline: float
) -> DeadUnits:
    """Settle what is open with balls; what is known is kept."""
    n, start, size = len(inputs.values), 0, _FIRST
    zero, maybe_zero = known.zero | known.maybe_zero, known.maybe_zero.copy()
    constant, maybe_constant = known.constant | known.maybe_constant, known.maybe_constant.copy()
    first: Any = None
    while start < n and (
        (maybe_zero & ~known.zero).any() or (maybe_constant & ~known.constant).any()
    ):
        part = replace(inputs, values=inputs.values[start : start + size])
        try:
            matrix = ball_features(graph, place, part, _BITS, deadline=deadline)
        except OutsideError as error:
            how = f"float enclosure; {error}"
            return replace(known, maybe_zero=maybe_zero, maybe_constant=maybe_constant, how=how)
        table = filled(matrix.entries(), (matrix.nrows(), matrix.ncols()))
        first = table[0] if first is None else first
        for row in table:
            zero &= [x.is_zero() for x in row]
            maybe_zero &= [x.contains(0) for x in row]
            constant &= [x.is_exact() and x == y for x, y in zip(row, first, strict=True)]
            maybe_constant &= [x.overlaps(y) for x, y in zip(row, first, strict=True)]
        start, size = start + size, 2 * size
    seen = start >= n  # only then do all samples agree
    zero, constant = known.zero | (zero & seen), known.constant | (constant & seen)
    return DeadUnits(
        zero, maybe_zero | zero, constant, maybe_constant | constant, f"balls of {_BITS} bits"
    )

"""Units of the last hidden layer that are zero, or constant, on all samples."""

from __future__ import annotations

import math
import time
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from verify.network.graph import Graph
from verify_kernels.exact_forward.balls import ball_features
from verify_kernels.exact_forward.rational import filled, rational_features
from verify_kernels.exact_forward.residues import residue_features
from verify_kernels.exact_forward.signs import Mask
from verify_kernels.exact_forward.walk import OutsideError
from verify_kernels.forward.inputs import Inputs
from verify_kernels.full_rank.primes import choose_prime

_TERMS = 1024  # products summed at once modulo the prime
_BITS = 128
_FIRST = 4  # samples of the first group


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
    graph: Graph, place: int, inputs: Inputs, *, deadline: float = math.inf
) -> DeadUnits:
    """Find the units of a node that are zero or constant on all samples.

    For piecewise polynomial graphs with residues modulo a prime: a residue that is not 0 (two
    residues that differ) proves that a unit is not zero (not constant); what remains is settled by
    the float enclosure or by fractions. Otherwise with balls, in growing groups of samples, until
    nothing is open or the time is over.

    Args:
        graph: the network.
        place: index of the node; its value is flattened to m units.
        inputs: the samples, at least one.
        deadline: in time of `time.monotonic`, for the balls.
    """
    found = residue_features(graph, place, inputs, choose_prime(_TERMS))
    if found.residues is None or found.enclosed is None:
        return _by_balls(graph, place, inputs, deadline)
    mod, near = found.residues, found.enclosed
    maybe_zero = (mod == 0.0).all(axis=0)
    maybe_constant = (mod == mod[:1]).all(axis=0)
    zero = near.is_zero.all(axis=0)
    constant = ((near.radius == 0.0) & (near.mid == near.mid[:1])).all(axis=0)
    if (maybe_zero == zero).all() and (maybe_constant == constant).all():
        return DeadUnits(zero, zero, constant, constant, "signs decided exactly")
    exact = rational_features(graph, place, inputs).matrix
    table = filled(exact.entries(), mod.shape)
    zero = np.array([all(x == 0 for x in column) for column in table.T])
    constant = np.array([all(x == column[0] for x in column) for column in table.T])
    return DeadUnits(zero, zero, constant, constant, "rational arithmetic")


def _by_balls(graph: Graph, place: int, inputs: Inputs, deadline: float) -> DeadUnits:
    n = len(inputs.values)
    first: Any = None
    start, size = 0, _FIRST
    while start < n:
        begun = time.monotonic()
        part = replace(inputs, values=inputs.values[start : start + size])
        try:
            table = _table(ball_features(graph, place, part, _BITS))
        except OutsideError as error:
            return _nothing_known(graph, place, str(error))
        if first is None:
            first = table[0]
            zero = np.array([x.is_zero() for x in first])
            maybe_zero = np.ones(len(first), dtype=bool)
            constant = np.array([x.is_exact() for x in first])
            maybe_constant = np.ones(len(first), dtype=bool)
        for row in table:
            zero &= [x.is_zero() for x in row]
            maybe_zero &= [x.contains(0) for x in row]
            constant &= [x.is_exact() and x == y for x, y in zip(row, first, strict=True)]
            maybe_constant &= [x.overlaps(y) for x, y in zip(row, first, strict=True)]
        start += len(part.values)
        settled = not (maybe_zero.any() or maybe_constant.any())
        if settled:
            break
        size *= 2
        if start < n and time.monotonic() + 2.0 * (time.monotonic() - begun) > deadline:
            zero[:] = constant[:] = False
            break
    return DeadUnits(zero, maybe_zero, constant, maybe_constant, f"balls of {_BITS} bits")


def _table(matrix: Any) -> Any:
    return filled(matrix.entries(), (matrix.nrows(), matrix.ncols()))


def _nothing_known(graph: Graph, place: int, why: str) -> DeadUnits:
    m = math.prod(graph.nodes[place].shape)
    none, every = np.zeros(m, dtype=bool), np.ones(m, dtype=bool)
    return DeadUnits(none, every, none, every, why)

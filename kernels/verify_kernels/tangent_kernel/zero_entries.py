"""Which rows and columns of the Jacobian are exactly zero: sweeps with "may differ from zero"."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import numpy as np
from flint import arb

from verify.network import Activation
from verify_kernels._rounding import Array
from verify_kernels.activation_analysis.jet import jet
from verify_kernels.tangent_kernel.balls import kink_places
from verify_kernels.tangent_kernel.columns import collect
from verify_kernels.tangent_kernel.linear_maps import LinearMap
from verify_kernels.tangent_kernel.walk import OpenError, Sweep, forward
from verify_kernels.two_layer.midrad import MidRad


@dataclass(frozen=True, eq=False)
class Present:
    """Entries that may differ from zero are 1.0, those that are exactly zero 0.0."""

    mid: Array

    @classmethod
    def where(cls, mask: Any) -> Present:
        """Take a boolean array."""
        return cls(np.asarray(mask, dtype=np.float64))

    def __add__(self, other: Present) -> Present:
        return Present(np.maximum(self.mid, other.mid))

    __sub__ = __add__

    def __mul__(self, other: Present) -> Present:
        return Present(self.mid * other.mid)


class Presence:
    """Arithmetic of `walk` on `Present` values.

    Args:
        known: name of an activation to enclosures of its values and derivatives; what is proved
            to be zero there is zero.
    """

    def __init__(self, known: Mapping[str, tuple[MidRad, MidRad]]) -> None:
        self.known = known

    def samples(self, values: Array, divisor: Fraction) -> Present:
        """Tell the entries of samples."""
        return Present.where(values != 0.0)

    def stored(self, values: Array) -> Present:
        """Tell stored entries."""
        return Present.where(values != 0.0)

    def raw(self, values: Array) -> Array:
        """Return the entries themselves."""
        return values

    def number(self, value: Fraction) -> Present:
        """Tell one number."""
        return Present.where(value != 0)

    def move(self, apply: Callable[[Any], Any], x: Present) -> Present:
        """Move entries."""
        return Present(apply(x.mid))

    def push(self, linear: LinearMap, x: Present) -> Present:
        """Tell L x: sums of moduli are zero only if every term is."""
        return Present.where(linear.apply_sizes(x.mid) > 0.0)

    def pull(self, linear: LinearMap, s: Present) -> Present:
        """Tell L^T s."""
        return Present.where(linear.adjoint_sizes(s.mid) > 0.0)

    def activate(self, activation: Activation, x: Present, name: str) -> tuple[Present, Present]:
        """Tell values and derivatives, from their enclosures and from phi(0), phi'(0)."""
        at_zero = _at_zero(activation)
        both = [np.where(x.mid == 0.0, told, 1.0) for told in at_zero]
        for mask, ball in zip(both, self.known.get(name, ()), strict=False):
            mask[(ball.mid == 0.0) & (ball.rad == 0.0)] = 0.0
        return Present(both[0]), Present(both[1])

    def normaliser(self, variance: Array, epsilon: Fraction) -> Present:
        """Tell factors, which are roots and never zero."""
        return Present(np.ones(variance.shape))


def _at_zero(activation: Activation) -> tuple[float, float]:
    """Return whether phi(0) and phi'(0) may differ from zero, as 0.0 or 1.0."""
    try:
        if not all(low > 0.0 or high < 0.0 for low, high in kink_places(activation)):
            return 1.0, 1.0
    except OpenError:
        return 1.0, 1.0
    value, slope = jet(activation, arb(0), 1)
    return float(not value.is_zero()), float(not slope.is_zero())


class PresentColumns:
    """Gathers which rows of J may differ from zero, and counts the columns that may."""

    def __init__(self, rows: int, outputs: int) -> None:
        """Start with nothing."""
        self.rows = np.zeros(rows, dtype=bool)
        self.outputs = outputs
        self.columns = 0

    def add_outer(self, s: Present, h: Present, ones: bool) -> None:
        """Add the columns s_(i,o) kron [h_i, 1]."""
        read = np.repeat(h.mid, self.outputs, axis=0)
        if ones:
            read = np.hstack([read, np.ones((len(read), 1))])
        self.rows |= s.mid.any(axis=1) & read.any(axis=1)
        self.columns += int(np.count_nonzero(s.mid.T @ read))

    def add_rows(self, rows: Present) -> None:
        """Add a block of columns."""
        self.rows |= rows.mid.any(axis=1)
        self.columns += int(np.count_nonzero(rows.mid.any(axis=0)))

    def paired(self, s: Present, h: Present) -> Present:
        """Tell the products s h."""
        return Present.where(s.mid @ h.mid > 0.0)


def present_columns(
    sweep: Sweep | None, inputs: Any, graph: Any, place: int, trained: Mapping[int, frozenset[str]]
) -> PresentColumns:
    """Tell rows and columns of J that may differ from zero.

    Args:
        sweep: a forward sweep in floats, from which dead units are known, or None.
        inputs: the samples.
        graph: the network.
        place: of the outputs.
        trained: node to its slots that are trained.

    Raises:
        OpenError: an unknown operation.
    """
    known = {} if sweep is None else {
        graph.nodes[k].name: (sweep.values[k], slope) for k, slope in sweep.slopes.items()
    }  # fmt: skip
    told = forward(graph, place, inputs, Presence(known), outputs=False)
    found = PresentColumns(told.count * told.outputs, told.outputs)
    collect(told, dict(trained), found)
    return found

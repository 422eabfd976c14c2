"""The state of the certified pass at one node of a graph."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from verify_kernels._rounding import ETA, Array, U
from verify_kernels.forward.radii import plus, row_norms, times


@dataclass(frozen=True, eq=False)
class Entrywise:
    """Error of entry j of sample i: at most row_i column_j + offset_j + shift_i.

    Args:
        row: shape (n,).
        column: shape (m,).
        offset: shape (m,).
        shift: shape (n,).
    """

    row: Array
    column: Array
    offset: Array
    shift: Array

    def radius(self) -> Array:
        """Return the bounds as a matrix (n, m).

        Three roundings lose less than (1 + 8u)(1 - u)^3 >= 1 and a product that underflows eta/2,
        so everything is made larger by that first.
        """
        room = 1.0 + 8.0 * U
        with np.errstate(all="ignore"):
            found = np.multiply.outer(times(room, self.row), self.column)
            found += times(room, plus(self.offset, 2.0 * ETA))
            found += times(room, self.shift)[:, None]
        found[~np.isfinite(plus(self.row, self.shift))] = np.inf
        found[np.isnan(found)] = np.inf
        return np.asarray(found)


@dataclass(frozen=True, eq=False)
class Channels:
    """What a linear map with channels adds to the radius, before a scaling of the channels.

    With scales s the error of a sample is at most
    operator(s) entering + gamma (size || s o weight || + sqrt(positions) || s o bias ||)
    + sqrt(positions channels) max|s| underflow.

    Args:
        operator: |s| to an upper bound of the norm of the map followed by the scaling by s.
        entering: radius of what the map reads, shape (n,).
        size: norms of what the map reads, each entry counted as often as it is read, shape (n,).
        weight, bias: norms of the weights of a channel, and |bias|, shape (channels,).
        gamma: of the length of the sums.
        underflow: of one entry, shape (n,).
        positions: entries of one channel.
        open: whether a row may have overflowed, shape (n,).
    """

    operator: Callable[[Array | None], float]
    entering: Array
    size: Array
    weight: Array
    bias: Array
    gamma: float
    underflow: Array
    positions: int
    open: Array


@dataclass(eq=False)
class State:
    """The true value x of every sample i has ||x_i - mid_i||_2 <= rho_i.

    Invariant: rho_i is never NaN, and mid_i is finite wherever rho_i is.

    Args:
        mid: shape (n, *shape), of the array module of the pass.
        rho: shape (n,), on the host; 0 where mid_i is exact, +inf where nothing is known.
        fresh: whether no other state shares the memory of ``mid``.
        entries: bounds of single entries, for shape (m,).
        channels: how rho came about, for what follows a linear map.
        why: why some rho is infinite.
    """

    mid: Any
    rho: Array
    fresh: bool = False
    entries: Entrywise | None = None
    channels: Channels | None = None
    why: str = ""
    _norms: Array | None = field(default=None, repr=False)

    @property
    def shape(self) -> tuple[int, ...]:
        """The shape of one sample."""
        return tuple(self.mid.shape[1:])

    @property
    def size(self) -> int:
        """Entries of one sample."""
        return int(np.prod(self.shape))

    def norms(self, xp: Any) -> Array:
        """Return upper bounds of ||mid_i||_2, computed once."""
        if self._norms is None:
            self._norms = row_norms(self.mid, xp)
        return self._norms

    def shared(self) -> Any:
        """Return mid for a state that views its memory, which nobody may overwrite from now on."""
        self.fresh = False
        return self.mid

    def bounded_mid(self, xp: Any) -> Any:
        """Return mid with zeros in the rows of which nothing is known."""
        known = np.isfinite(self.rho)
        if known.all():
            return self.mid
        keep = xp.asarray(known).reshape(-1, *(1,) * len(self.shape))
        return xp.where(keep, self.mid, 0.0)

"""Values of an activation at exact places."""

from __future__ import annotations

from collections.abc import Iterable

from verify.enclosure import Enclosure
from verify.network.activation import Activation
from verify_kernels.activation_analysis.jet import jet
from verify_kernels.two_layer.balls import ball, precision

_BITS = 192


def enclose_largest_value(activation: Activation, places: Iterable[float]) -> Enclosure:
    """Enclose max |s(z)| over the places, 0 if there is none.

    Args:
        activation: s.
        places: exact numbers.

    Error bound:
        that of balls of 192 bits, no other.
    """
    lo, hi = Enclosure.exact(0).lo, Enclosure.exact(0).hi
    with precision(_BITS):
        for place in sorted(set(map(float, places))):
            found = Enclosure.from_arb(abs(jet(activation, ball(place), 0)[0]))
            lo, hi = max(lo, found.lo), max(hi, found.hi)
    return Enclosure(lo, hi)

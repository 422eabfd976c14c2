"""The margin m of monotone parametrisations, declared or stored as m_raw."""

from __future__ import annotations

from fractions import Fraction

from verify.enclosure import Enclosure
from verify.errors import InputError
from verify.evidence import Evidence
from verify.network.weights import SoftplusMonotoneWeight, StateWeight


def enclose_margin(weight: StateWeight, *, bits: int = 128) -> Evidence:
    """Enclose m: exact where it is declared, softplus(m_raw) + 1/10000 in balls where it is stored.

    Args:
        weight: a parametrisation with a margin.
        bits: working precision of the balls; it affects the width, not the rigour.

    Raises:
        InputError: the parametrisation has no margin.
    """
    if isinstance(weight, SoftplusMonotoneWeight):
        from flint import arb, ctx

        with ctx.workprec(bits):
            raw = Enclosure.exact(float(weight.m_raw.ravel()[0])).arb()
            ball = (1 + raw.exp()).log() + arb(1) / 10000
        return Evidence(Enclosure.from_arb(ball), how="ball arithmetic")
    declared = weight.constants().get("m")
    if declared is None:
        raise InputError(
            f"enclose_margin: expected a parametrisation with a margin m, "
            f"but got {type(weight).__name__}"
        )
    return Evidence(
        Enclosure.outward(Fraction(declared), Fraction(declared)),
        how=f"declared, exactly {declared}",
    )

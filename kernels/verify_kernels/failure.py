"""Refutations a person can check: two equilibria for one b, beside the minor that is wrong."""

from __future__ import annotations

from verify.evidence import Evidence, Witness
from verify.network.activation import Activation
from verify_kernels.matrix import MatrixEnclosure
from verify_kernels.refutation import no_equilibrium, two_equilibria
from verify_kernels.slopes import SlopeClass
from verify_kernels.smooth_refutation import two_disjoint_equilibria


def explain_failure(
    weight: MatrixEnclosure,
    activation: Activation,
    slopes: SlopeClass,
    refuted: Evidence,
    *,
    deadline: float = float("inf"),
) -> Evidence:
    """Return the refutation with b and two equilibria as its witness, where they are found.

    For relu and leaky_relu the equilibria are exact rationals, verified by substitution; for
    smooth activations they are disjoint enclosures. Where neither is found the bad minor stays
    the witness: the refutation is as valid, only less vivid.
    """
    bad = refuted.witness
    shown: Witness | None
    if activation.name in ("relu", "leaky_relu"):
        if not weight.is_exact:
            return refuted
        exact = weight.rational()
        shown = two_equilibria(exact, alpha=slopes.alpha, bad=bad, deadline=deadline)
        if shown is None:
            shown = no_equilibrium(exact, alpha=slopes.alpha)
    else:
        shown = two_disjoint_equilibria(weight, activation, bad=bad, deadline=deadline)
    if shown is None:
        return refuted
    merged = dict(shown.data)
    if bad is not None:
        merged |= {f"minor_{key}": value for key, value in bad.data.items()}
    how = {
        "two-equilibria": "for the bias b of the witness there are two different equilibria",
        "two-enclosures": "for the bias b of the witness two disjoint boxes hold an equilibrium",
        "no-equilibrium": "for the bias b of the witness there is no equilibrium",
    }.get(shown.kind, refuted.how)
    return Evidence(refuted.value, Witness(shown.kind, merged), refuted.assumes, how)

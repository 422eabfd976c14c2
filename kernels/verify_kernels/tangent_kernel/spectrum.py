"""The smallest and the largest eigenvalue of the tangent kernel K = J J^T."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass, replace
from fractions import Fraction
from typing import Any

from verify.enclosure import Enclosure
from verify.evidence import Evidence
from verify.network import Graph
from verify.verdict import Truth
from verify_kernels.definiteness import enclose_smallest_eigenvalue
from verify_kernels.tangent_kernel.gram import TangentGram, enclose_tangent_gram
from verify_kernels.tangent_kernel.singularity import tangent_singularity


@dataclass(frozen=True, eq=False)
class TangentSpectrum:
    """The ends of the spectrum of K.

    Args:
        smallest: lambda_min(K), in [lo, hi] with lo >= 0; [0, 0] only where K is proved singular.
        largest: lambda_max(K).
        gram: K in floats.
        balls: K as an ``arb_mat``, or as an ``fmpq_mat`` where it is rational, from
            `ball_tangent_spectrum`; else None.
        bits: of the balls.
    """

    smallest: Evidence
    largest: Evidence
    gram: TangentGram
    balls: Any = None
    bits: int = 0


def enclose_tangent_spectrum(
    graph: Graph,
    inputs: Any,
    *,
    frozen: Iterable[str] = (),
    backend: str = "auto",
    aim: Enclosure | None = None,
) -> TangentSpectrum:
    """Enclose the extreme eigenvalues of K = J J^T in floats.

    K is positive semidefinite, so lambda_min >= 0 needs no proof; below by Cholesky, above by a
    Rayleigh quotient, both for every matrix within the error of the enclosure of K.

    Args:
        graph: as for `enclose_tangent_gram`.
        inputs: `verify_kernels.forward.inputs.Inputs`.
        frozen: roles that training does not change.
        backend: of the products and the factorisations; every one is rigorous.
        aim: where a statement about lambda_min turns; a proof of lambda_min > aim ends the work.

    Returns:
        Enclosures; lambda_min exactly [0, 0] where `tangent_singularity` proves it; unbounded,
        with the reason, where K is not enclosed (at a kink J may not exist).

    Error bound:
        The error of K, see `enclose_tangent_gram`, and that of `enclose_smallest_eigenvalue`.

    Raises:
        InputError: a frozen role that the network does not have, or no sample.
        BackendError: the machine does not compute as assumed.
    """
    frozen = frozenset(frozen)
    gram = enclose_tangent_gram(graph, inputs, frozen=frozen, backend=backend)
    if gram.error == math.inf:
        nothing = Evidence(Enclosure.unbounded(), why_open=gram.why_open)
        return TangentSpectrum(nothing, nothing, gram)
    found = enclose_smallest_eigenvalue(
        gram.mid, error=gram.error, backend=backend, aim=aim, with_witness=False
    )
    mirrored = enclose_smallest_eigenvalue(
        0.0 - gram.mid, error=gram.error, backend=backend, with_witness=False
    )
    largest = replace(mirrored, value=_negated(mirrored.enclosure()), assumes=gram.assumes)
    return TangentSpectrum(_smallest(graph, inputs, frozen, found, gram), largest, gram)


def _smallest(
    graph: Graph, inputs: Any, frozen: frozenset[str], found: Evidence, gram: TangentGram
) -> Evidence:
    """Clip at 0, and look for the reason where 0 is not excluded."""
    value = found.enclosure()
    if value.lo > 0:
        return replace(found, assumes=gram.assumes)
    singular = tangent_singularity(graph, inputs, frozen=frozen)
    if singular.value is Truth.REFUTED:
        return Evidence(Enclosure.exact(0), singular.witness, how=singular.how)
    return Evidence(
        clipped(value), assumes=gram.assumes, how="K = J J^T is positive semidefinite",
        why_open="lambda_min(J J^T) > 0 is not proved in floats, in which K is known up to "
        f"{gram.error:.1e}",
    )  # fmt: skip


def clipped(value: Enclosure) -> Enclosure:
    """Intersect with [0, inf)."""
    return Enclosure(max(value.lo, Fraction(0)), max(value.hi, Fraction(0)))


def _negated(value: Enclosure) -> Enclosure:
    return clipped(Enclosure(-value.hi, -value.lo))

"""Whether targets lie in the column space of the Jacobian of a network at its weights."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass, replace
from fractions import Fraction
from typing import Any

import numpy as np

from verify.evidence import Evidence, Witness
from verify.network import Graph
from verify.verdict import Truth
from verify_kernels.definiteness import proves_definite
from verify_kernels.forward.inputs import Inputs
from verify_kernels.structure.equal_samples import first_equal
from verify_kernels.structure.fixed_maps import find_frontier
from verify_kernels.tangent_kernel.exact import rational_gram, separating_vector
from verify_kernels.tangent_kernel.gram import MEMORY, TangentGram, enclose_tangent_gram
from verify_kernels.tangent_kernel.walk import OpenError, output_place
from verify_kernels.tangent_kernel.wide_balls import prove_nonsingular
from verify_kernels.targets import Targets


@dataclass(frozen=True, eq=False)
class _Samples:
    """The samples without repetitions.

    Args:
        kept: indices of the first of samples with equal rows of J.
        clash: (i, j, o) of such samples i, j with different targets at output o, if there are.
    """

    kept: list[int]
    clash: tuple[int, int, int] | None


def alignment(
    graph: Graph,
    inputs: Inputs,
    targets: Any,
    *,
    frozen: Iterable[str] = (),
    memory: int = MEMORY,
    backend: str = "auto",
) -> Evidence:
    """Decide whether vec(y) = J t has a solution t, J the Jacobian by all trained parameters.

    Proved where J J^T over the distinct samples is nonsingular (then every target is in the
    range), by a Cholesky factorisation or a determinant in ball arithmetic, or where no exact
    rational v with v^T J = 0 has v . y != 0; refuted by such a v, e.g. the difference of two
    samples that are equal in all that trained weights read and have different targets.

    Args:
        graph: the network; outputs are those of its last affine layer.
        inputs: `verify_kernels.forward.inputs.Inputs`.
        targets: y, shape (n, m_y), or (n,) for one output; numbers are taken exactly.
        frozen: roles that training does not change.
        memory: as for `enclose_tangent_gram`.
        backend: of the factorisation that proves lambda_min > 0; every one is rigorous.

    Returns:
        Evidence of a fact. REFUTED has the witness ``left-kernel``: triples (sample, output,
        number) of the entries of v that are not zero. UNDECIDED says why; at a kink the Jacobian
        does not exist.

    Raises:
        InputError: targets of another shape or not finite, an unknown frozen role, or no sample.
        BackendError: the machine does not compute as assumed.
    """
    inputs.require_some("alignment")
    outputs = math.prod(graph.nodes[output_place(graph)].shape)
    y = Targets.of(targets, len(inputs.values), outputs, where="alignment").rows()
    frozen = frozenset(frozen)
    samples = _without_repetitions(graph, inputs, frozen, y)
    distinct = replace(inputs, values=np.ascontiguousarray(inputs.values[samples.kept]))
    gram = enclose_tangent_gram(graph, distinct, frozen=frozen, memory=memory)
    if gram.error < math.inf:
        found = _with_jacobian(gram, y, samples, backend)
        if found is not None:
            return found
    try:
        exact = rational_gram(graph, distinct, frozen=frozen)
    except OpenError as reason:
        return _by_balls(graph, distinct, frozen, samples, gram, str(reason))
    if samples.clash is not None:
        return _refuted_by_samples(samples.clash)
    kept = [value for i in samples.kept for value in y[i]]
    vector = separating_vector(exact, kept)
    if vector is None:
        return Evidence(Truth.PROVED, how="exact rational kernel of J J^T, orthogonal to y")
    entries = [
        [samples.kept[k // outputs], k % outputs, value]
        for k, value in enumerate(vector) if value != 0
    ]  # fmt: skip
    return _refuted(entries, "an exact rational v with v^T J = 0 and v . y != 0")


def _by_balls(
    graph: Graph,
    distinct: Inputs,
    frozen: frozenset[str],
    samples: _Samples,
    gram: TangentGram,
    reason: str,
) -> Evidence:
    """Try ball arithmetic where K is known but close to a singular matrix."""
    if gram.error == math.inf or gram.parameters < len(gram.mid):
        return Evidence(Truth.UNDECIDED, why_open=_reason(gram, len(samples.kept), reason))
    try:
        bits = prove_nonsingular(graph, distinct, frozen=frozen)
    except OpenError as other:
        told = f"{reason}; {other}" if str(other) != reason else reason
        return Evidence(Truth.UNDECIDED, why_open=_reason(gram, len(samples.kept), told))
    return Evidence(
        Truth.PROVED,
        how=f"det(J J^T) != 0 in ball arithmetic of {bits} bits, so every target is in the range",
    )


def _with_jacobian(
    gram: TangentGram, y: list[list[Fraction]], samples: _Samples, backend: str
) -> Evidence | None:
    """Decide what follows from the enclosure of K, which also proves that J exists."""
    if samples.clash is not None:
        return _refuted_by_samples(samples.clash)
    nonzero = [[i, o, y[i][o]] for i in samples.kept for o in range(len(y[i])) if y[i][o] != 0]
    if not nonzero:
        return Evidence(Truth.PROVED, how="y = 0")
    if gram.parameters == 0:
        return _refuted(nonzero, "nothing is trained, so J has no column, and y != 0")
    if gram.parameters >= len(gram.mid) and proves_definite(
        gram.mid, error=gram.error, backend=backend
    ):
        return Evidence(
            Truth.PROVED,
            assumes=gram.assumes,
            how="lambda_min(J J^T) > 0 by Cholesky, so every target is in the range of J",
        )
    return None


def _reason(gram: TangentGram, samples: int, exact: str) -> str:
    if gram.error == math.inf:
        first = gram.why_open
    elif gram.parameters < len(gram.mid):
        first = f"J has {gram.parameters} columns for {samples * gram.outputs} targets"
    else:
        first = "lambda_min(J J^T) > 0 is not proved"
    return first if exact == first else f"{first}; {exact}"


def _refuted_by_samples(clash: tuple[int, int, int]) -> Evidence:
    i, j, o = clash
    return _refuted(
        [[i, o, Fraction(1)], [j, o, Fraction(-1)]],
        f"samples {i} and {j} are equal in all that trained weights read, and their targets "
        f"differ at output {o}",
    )


def _refuted(entries: list[list[Any]], how: str) -> Evidence:
    return Evidence(Truth.REFUTED, Witness("left-kernel", {"entries": entries}), how=how)


def _without_repetitions(
    graph: Graph, inputs: Inputs, frozen: frozenset[str], y: list[list[Fraction]]
) -> _Samples:
    """Keep one of all samples whose rows of J are equal whatever the trained weights are."""
    frontier = find_frontier(graph, output_place(graph), inputs, frozen)
    first = first_equal([rows.numbers for rows in frontier.rows()], len(inputs.values)).tolist()
    for i, j in enumerate(first):
        differ = [o for o, (a, b) in enumerate(zip(y[j], y[i], strict=True)) if a != b]
        if differ:
            return _Samples(sorted(set(first)), (j, i, differ[0]))
    return _Samples(sorted(set(first)), None)

"""Whether some parameters of an architecture may reach the targets exactly.

Refuted only by exact comparisons: of samples that no choice of the trained weights tells apart or
that a law f(c x) = chi(c) f(x) ties together, and of outputs that training does not change.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from fractions import Fraction
from typing import Any

import numpy as np

from verify.errors import InputError
from verify.evidence import Evidence, Witness
from verify.network import Equilibrium, Graph, ReluFeatureInput
from verify.network.equilibrium import AffineInput
from verify.verdict import Truth
from verify_kernels.forward.inputs import Inputs
from verify_kernels.residual.vanishing import vanishes_at_zero, zero_stays_zero
from verify_kernels.structure.equal_samples import first_equal
from verify_kernels.structure.exact_arrays import ExactArray, TooLargeError, exact_of
from verify_kernels.structure.fixed_maps import find_frontier, per_sample
from verify_kernels.structure.laws import Law, law_of
from verify_kernels.structure.symmetry import Classes, classes_of
from verify_kernels.tangent_kernel.walk import output_place
from verify_kernels.targets import Targets
from verify_kernels.two_layer.balls import ball, precision

WITNESS = "unreachable-targets"
_WHERE = "consistency"
_HOMOGENEOUS = ("relu", "leaky_relu", "identity", "abs")
_LONG = 2**64
_NO_CLASH = "no two samples are tied together by the architecture against their targets"


@dataclass(frozen=True, eq=False)
class _Reads:
    """What the outputs are a function of, beside what is trained.

    Args:
        rows: exact values, one matrix (n, entries) for each node that is read.
        law: how the outputs answer to a scaling of those values.
        zero: whether the outputs are zero where all those values are.
        fixed: the outputs (n, m_y) themselves if training does not change them.
        notes: what was not evaluated, and why.
    """

    rows: list[ExactArray]
    law: Law
    zero: bool
    fixed: ExactArray | None = None
    notes: tuple[str, ...] = ()


def consistency(
    network: Graph | Equilibrium, inputs: Inputs, targets: Any, frozen: Iterable[str] = ()
) -> Evidence:
    """Look for a proof that no parameters of this architecture reach r = 0 on these samples.

    - Samples that are equal as real numbers in all that trained weights read (0.0 = -0.0), with
      different targets.
    - A sample at which the outputs are zero for all parameters (a zero sample, no trained or
      nonzero bias on the way, sigma(0) = 0), or outputs that are frozen altogether, with another
      target.
    - Outputs with f(c x) = chi(c) f(x) for all parameters (odd, even, positively homogeneous), up
      to one trained vector where a bias acts after the law: samples on one line whose targets do
      not follow it.

    All comparisons are exact; the time is about linear in the number of samples.

    Args:
        network: a graph (its outputs are those of the last affine layer), or an equilibrium
            network with the outputs u . z + v . phi(x) or u . z. For the latter only parameters
            with exactly one equilibrium are considered; others define no output.
        inputs: exact samples.
        targets: y, shape (n, m_y), or (n,) for one output; numbers are taken exactly.
        frozen: roles that training does not change.

    Returns:
        Evidence of the fact "some parameters may reach r = 0": REFUTED with the witness
        ``unreachable-targets`` (reason, samples, output, their targets), else UNDECIDED.

    Raises:
        InputError: targets of another shape or not finite, an unknown frozen role, no sample.
    """
    inputs.require_some(_WHERE)
    frozen = frozenset(frozen)
    if isinstance(network, Equilibrium):
        reads: _Reads | str = _of_equilibrium(network, inputs, frozen)
        outputs = _outputs_of(network)
    else:
        reads = _of_graph(network, inputs, frozen)
        outputs = int(np.prod(network.nodes[output_place(network)].shape))
    y = Targets.of(targets, inputs.count, outputs, where=_WHERE)
    if isinstance(reads, str):
        return Evidence(Truth.UNDECIDED, why_open=reads)
    found = _equal(reads, y) or _fixed(reads, y) or _zero(reads, y)
    if found is not None:
        return found
    try:
        classes = classes_of(reads.rows, inputs.count, reads.law) if reads.law.is_known else None
    except TooLargeError as large:
        why = f"{_NO_CLASH}; comparing directions needs {large}"
        return Evidence(Truth.UNDECIDED, why_open=why)
    found = None if classes is None else _by_law(classes, reads.law, y)
    why = "; ".join((_NO_CLASH, *reads.notes))
    return found or Evidence(Truth.UNDECIDED, why_open=why)


def replay_consistency(
    witness: Witness,
    network: Graph | Equilibrium,
    inputs: Inputs,
    targets: Any,
    frozen: Iterable[str] = (),
) -> bool:
    """Return whether the samples of a witness of `consistency` alone refute it again."""
    samples = witness.data.get("samples", ())
    known = all(isinstance(k, int) and 0 <= k < inputs.count for k in samples)
    if witness.kind != WITNESS or not samples or not known:
        return False
    some = replace(inputs, values=np.ascontiguousarray(inputs.values[list(samples)]))
    again = consistency(network, some, np.asarray(targets)[list(samples)], frozen)
    return again.value is Truth.REFUTED


# What is read -----------------------------------------------------------------------------------


def _of_graph(graph: Graph, inputs: Inputs, frozen: frozenset[str]) -> _Reads | str:
    place = output_place(graph)
    frontier = find_frontier(graph, place, inputs, frozen)
    reason = per_sample(graph, place)
    if reason:
        return reason
    return _Reads(
        frontier.rows(),
        law_of(graph, place, frozen, frontier.values),
        zero_stays_zero(graph, place, frontier.values, frozen),
        frontier.values.get(place),
        frontier.notes,
    )


def _of_equilibrium(network: Equilibrium, inputs: Inputs, frozen: frozenset[str]) -> _Reads | str:
    unknown = sorted(frozen - set(network.tensors()))
    if unknown:
        raise InputError(
            f"frozen: expected one of {', '.join(network.tensors())}, but got {unknown[0]!r}"
        )
    if not isinstance(network.input, AffineInput | ReluFeatureInput):
        return "the map from samples to the equilibrium equation is not known"
    if not (set(network.readout) <= {"u", "v"} and "u" in network.readout):
        return "the map from equilibria to outputs is not u . z + v . phi(x)"
    rows = [exact_of(inputs.values.reshape(inputs.count, -1), inputs.divisor)]
    sigma = network.activation
    plain = isinstance(network.input, ReluFeatureInput)
    homogeneous = plain and sigma.name in _HOMOGENEOUS
    law = Law(degree=1) if homogeneous else Law()
    return _Reads(rows, law, plain and vanishes_at_zero(sigma))


def _outputs_of(network: Equilibrium) -> int:
    u = network.readout.get("u")
    return 1 if u is None or u.ndim == 1 else int(u.shape[1])


# Clashes ----------------------------------------------------------------------------------------


def _equal(reads: _Reads, y: Targets) -> Evidence | None:
    numbers = [each.numbers for each in reads.rows]
    first = first_equal(numbers, len(y.values))
    differ = np.asarray(y.values != y.values[first])
    if not differ.any():
        return None
    i, o = (int(k) for k in np.argwhere(differ)[0])
    j = int(first[i])
    how = (
        f"samples {j} and {i} are equal in all that trained weights read, and their targets "
        f"differ at output {o}"
    )
    return _refuted("equal samples", [j, i], o, y, how)


def _fixed(reads: _Reads, y: Targets) -> Evidence | None:
    if reads.fixed is None:
        return None
    values = reads.fixed.fractions().reshape(y.values.shape)
    for i, row in enumerate(values):
        for o, (value, target) in enumerate(zip(row, y.row(i), strict=True)):
            if value != target:
                how = f"output {o} at sample {i} is {_shown(value)} whatever is trained"
                return _refuted("fixed output", [i], o, y, how)
    return None


def _zero(reads: _Reads, y: Targets) -> Evidence | None:
    if not reads.zero:
        return None
    nonzero = np.zeros(len(y.values), dtype=bool)
    for each in reads.rows:
        nonzero |= (each.numbers != 0).any(axis=1).astype(bool)
    clash = np.argwhere(~nonzero[:, None] & np.asarray(y.values != 0))
    if not len(clash):
        return None
    i, o = (int(k) for k in clash[0])
    how = f"output {o} is 0 at sample {i} for all parameters, and its target is not"
    return _refuted("zero output", [i], o, y, how)


def _by_law(classes: Classes, law: Law, y: Targets) -> Evidence | None:
    """Compare targets along every line; with a shift, each line determines it."""
    shifts: dict[int, tuple[list[int], Fraction]] = {}
    for samples, mine, theirs in _related(classes, law):
        rows = [y.row(k) for k in samples]
        for o in range(len(rows[0])):
            total = mine * rows[0][o] - (theirs * rows[1][o] if len(rows) == 2 else 0)
            weight = mine - theirs
            if not law.shifted or weight == 0:
                if total != 0:
                    return _refuted("law", samples, o, y, _told(law, samples, mine, theirs))
                continue
            before = shifts.setdefault(o, (samples, total / weight))
            if before[1] != total / weight:
                both = list(dict.fromkeys([*before[0], *samples]))
                how = f"{_words(law)} up to one vector, and samples {both} need different ones"
                return _refuted("law", both, o, y, how)
    return None


def _related(classes: Classes, law: Law) -> Iterator[tuple[list[int], Fraction, Fraction]]:
    """Yield ([k, j], a, b) with a g(x_k) = b g(x_j) for all parameters, ([k], 1, 0) for g = 0."""
    if law.vanishes_at_zero:
        for k in np.flatnonzero(classes.sign == 0).tolist():
            yield [k], Fraction(1), Fraction(0)
    repeated = classes.first != np.arange(len(classes.first))
    for k in np.flatnonzero(repeated).tolist():
        j = int(classes.first[k])
        yield [k, j], classes.factor(j, law), classes.factor(k, law)


def _words(law: Law) -> str:
    parity = {1: "f(-x) = f(x)", -1: "f(-x) = -f(x)", None: ""}[law.parity]
    power = {0: "f(x)", 1: "c f(x)"}.get(law.degree or 0, f"c^{law.degree} f(x)")
    degree = "" if law.degree is None else f"f(c x) = {power} for c > 0"
    return " and ".join(filter(None, (parity, degree))) + " for all parameters"


def _told(law: Law, samples: list[int], mine: Fraction, theirs: Fraction) -> str:
    if len(samples) == 1:
        return f"{_words(law)}, so the output is 0 at sample {samples[0]}, and its target is not"
    k, j = samples
    return (
        f"{_words(law)}, so the output at sample {k} is {_shown(theirs / mine)} times that at "
        f"sample {j}, and the targets are not"
    )


def _shown(value: Fraction) -> str:
    """Return a number for a person: exactly if it is short, else to 20 digits."""
    if max(abs(value.numerator), value.denominator) < _LONG:
        return str(value)
    with precision(128):
        return f"about {ball(value).str(20, radius=False)}"


def _refuted(reason: str, samples: list[int], o: int, y: Targets, how: str) -> Evidence:
    data = {
        "reason": reason,
        "samples": samples,
        "output": o,
        "targets": [y.row(k)[o] for k in samples],
    }
    return Evidence(Truth.REFUTED, Witness(WITNESS, data), how=how)

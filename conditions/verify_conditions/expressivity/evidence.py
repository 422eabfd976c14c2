"""Which kernel gives which quantity or fact of the statements; each is computed once."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from fractions import Fraction

import numpy as np

from verify.condition import Binding, Effort
from verify.enclosure import Enclosure
from verify.evidence import Evidence, Witness
from verify.network import Graph
from verify.statement import Fact, Quantity
from verify.verdict import Truth
from verify_conditions.expressivity import checklist as listed
from verify_conditions.expressivity import quantities as q
from verify_conditions.expressivity.declared import UNCONSTRAINED
from verify_conditions.expressivity.problem import Problem, changed
from verify_kernels.exact_forward.ball_determinant import prove_rank_by_balls
from verify_kernels.exact_forward.deficiency import deficiency_at_these_weights
from verify_kernels.exact_forward.residues import ResidueFeatures, residue_features
from verify_kernels.forward import Features, enclose_features
from verify_kernels.full_rank.gram import enclose_gram_smallest, radius_squared
from verify_kernels.full_rank.modular import PANEL, eliminate
from verify_kernels.full_rank.preconditioned import (
    Preconditioned,
    precondition,
    precondition_closely,
)
from verify_kernels.full_rank.primes import choose_prime
from verify_kernels.full_rank.scaling import equilibrated, radius_bound
from verify_kernels.structure import (
    find_merged_samples,
    polynomial_dimension,
    rank_bound_by_symmetry,
    rank_bound_by_width,
)
from verify_kernels.tangent_kernel import alignment

Item = Quantity | Fact
Compute = Callable[[Problem, Effort], Evidence]
STORED, PERTURBED, RANDOM = "stored", "perturbed", "random"


def binding(item: Item, compute: Compute, name: str = "") -> Binding:
    """Bind an item to a function whose evidence is computed once a problem."""
    key = f"evidence {name} {item.symbol}"
    return Binding(
        item, lambda problem, effort, aim: problem.once(key, lambda: compute(problem, effort))
    )


def _number(get: Callable[[Problem], int]) -> Compute:
    def compute(problem: Problem, effort: Effort) -> Evidence:
        value = get(problem)
        return Evidence(Enclosure.exact(value), how=f"exactly {value}")

    return compute


def _apart(problem: Problem, effort: Effort) -> Evidence:
    found = find_merged_samples(
        problem.graph, problem.place, problem.inputs, problem.declared.frozen, problem.ones
    )
    if found.value is Truth.PROVED:
        return replace(found, value=Truth.REFUTED)
    return found


def _dimension(problem: Problem, effort: Effort) -> Evidence:
    return polynomial_dimension(
        problem.graph, problem.place, problem.inputs, problem.declared.frozen, problem.ones
    )


def _columns(problem: Problem, effort: Effort) -> Evidence:
    return rank_bound_by_width(
        problem.graph, problem.place, problem.inputs, problem.declared.frozen, problem.ones
    )


def _symmetry(problem: Problem, effort: Effort) -> Evidence:
    return rank_bound_by_symmetry(
        problem.graph, problem.place, problem.inputs, problem.declared.frozen, problem.ones
    )


STRUCTURE: dict[Item, Binding] = {
    q.N: binding(q.N, _number(lambda problem: problem.n)),
    q.WIDTH: binding(q.WIDTH, _number(lambda problem: problem.width)),
    q.ONES: binding(q.ONES, _number(lambda problem: int(problem.ones))),
    q.APART: binding(q.APART, _apart),
    q.DIMENSION: binding(q.DIMENSION, _dimension),
    q.COLUMNS: binding(q.COLUMNS, _columns),
    q.SYMMETRY_RANK: binding(q.SYMMETRY_RANK, _symmetry),
}


# Theorem D -----------------------------------------------------------------------------------

CHECKLIST = {
    q.DENSE: listed.DENSE,
    q.LAST_PLAIN: listed.LAST,
    q.ACTIVATION_FITS: listed.ACTIVATION,
    q.SUMS_FIT: listed.SUMS,
    q.BIASES: listed.BIASES,
    q.ALL_TRAINED: listed.FREE,
    q.SCALES: listed.SCALES,
    q.DISTINCT: listed.DISTINCT,
}


def checklist(problem: Problem) -> dict[str, Evidence]:
    """Return the facts of Theorem D by name."""
    found: dict[str, Evidence] = problem.once(
        "theorem D",
        lambda: listed.theorem_d(
            problem.graph, problem.place, problem.inputs, problem.declared.frozen, problem.ones
        ),
    )
    return found


def _listed(name: str) -> Compute:
    return lambda problem, effort: checklist(problem)[name]


STRUCTURE |= {fact: binding(fact, _listed(name)) for fact, name in CHECKLIST.items()}


# A witness -----------------------------------------------------------------------------------


def weights(problem: Problem, which: str) -> Graph:
    """Return the network at the stored, perturbed or random weights."""
    if which == STORED:
        return problem.graph
    found: Graph = problem.once(f"graph {which}", lambda: changed(problem, which))
    return found


def features(problem: Problem, which: str, backend: str = "auto") -> Features:
    """Return the enclosure of the features at those weights."""
    found: Features = problem.once(
        f"features {which}",
        lambda: enclose_features(
            weights(problem, which), problem.place, problem.inputs, backend=backend
        ),
    )
    return found


def rank_routes(which: str) -> tuple[str, ...]:
    """Return the names of the routes that prove the rank at those weights."""
    return tuple(f"{which}-{rung}" for rung in RUNGS)


def is_proved(problem: Problem, which: str) -> bool:
    """Whether a cheaper rung has settled the rank already; saves work, decides nothing."""
    return bool(problem.once(f"settled {which}", dict))


def _settle(problem: Problem, which: str, proved: bool) -> None:
    if proved:
        problem.once(f"settled {which}", dict)["proved"] = True


def _scaled(problem: Problem, which: str, effort: Effort) -> Features:
    found: Features = problem.once(
        f"scaled {which}",
        lambda: equilibrated(features(problem, which, effort.backend), ones=problem.ones),
    )
    return found


def _open(problem: Problem, which: str, effort: Effort) -> Evidence | None:
    """Say why nothing is known of the features, if so."""
    given = _scaled(problem, which, effort)
    if math.isfinite(radius_bound(given)):
        return None
    why = given.why_open or "the features are not bounded in binary64"
    return Evidence(Enclosure(0, math.inf), why_open=why)


def _gram(problem: Problem, effort: Effort, which: str) -> Evidence:
    blocked = _open(problem, which, effort)
    if blocked is not None:
        return blocked
    given = _scaled(problem, which, effort)
    turn = radius_squared(given)
    found = enclose_gram_smallest(given, ones=False, backend=effort.backend, aim=turn)
    proved = found.enclosure().lo > turn.hi
    _settle(problem, which, proved)
    return _with(found, given, proved)


def _with(found: Evidence, given: Features, proved: bool) -> Evidence:
    """Add what the forward pass assumes; a witness is kept only where it proves the rank."""
    assumes = tuple(dict.fromkeys((*found.assumes, *given.assumes)))
    witness = found.witness if proved else None
    return Evidence(found.value, witness, assumes, found.how, found.why_open)


def _rho2(problem: Problem, effort: Effort, which: str) -> Evidence:
    return Evidence(radius_squared(_scaled(problem, which, effort)), how=_FORWARD)


def _rho(problem: Problem, effort: Effort, which: str) -> Evidence:
    rho = radius_bound(_scaled(problem, which, effort))
    value = Enclosure(0, Fraction(rho) if math.isfinite(rho) else math.inf)
    return Evidence(value, how=_FORWARD)


_FORWARD = "certified forward pass, every rounding bounded"


def _preconditioned(problem: Problem, effort: Effort, which: str, close: bool) -> Preconditioned:
    kernel = precondition_closely if close else precondition
    given = _scaled(problem, which, effort)
    found: Preconditioned = problem.once(
        f"preconditioned {which} {close}",
        lambda: kernel(given, ones=False, backend=effort.backend),
    )
    _settle(problem, which, found.smallest.lo > 0)
    return found


def _residual(close: bool) -> Callable[[Problem, Effort, str], Evidence]:
    def compute(problem: Problem, effort: Effort, which: str) -> Evidence:
        blocked = _open(problem, which, effort)
        if blocked is not None:
            return blocked
        found = _preconditioned(problem, effort, which, close)
        given = _scaled(problem, which, effort)
        return _with(found.residual, given, found.smallest.lo > 0)

    return compute


def _inverse_norm(close: bool) -> Callable[[Problem, Effort, str], Evidence]:
    def compute(problem: Problem, effort: Effort, which: str) -> Evidence:
        blocked = _open(problem, which, effort)
        if blocked is not None:
            return blocked
        return _preconditioned(problem, effort, which, close).inverse_norm

    return compute


def _residues(problem: Problem, which: str) -> ResidueFeatures:
    prime = choose_prime(PANEL, coprime_to=problem.declared.divisor.numerator)
    found: ResidueFeatures = problem.once(
        f"residues {which}",
        lambda: residue_features(weights(problem, which), problem.place, problem.inputs, prime),
    )
    return found


def is_rational(problem: Problem, which: str) -> bool:
    """Whether the features at those weights are rational, so that the rank modulo p is tried."""
    return _residues(problem, which).residues is not None


def _rank_modulo(problem: Problem, effort: Effort, which: str) -> Evidence:
    found = _residues(problem, which)
    if found.residues is None:
        return Evidence(Enclosure(0, math.inf), why_open=found.why_not)
    Z = found.residues
    if problem.ones:
        Z = np.hstack([Z, np.ones((problem.n, 1))])
    prime = found.prime
    minor = eliminate(Z, prime)
    _settle(problem, which, minor.rank >= problem.n)
    data = {"prime": prime, "rank": minor.rank, "rows": minor.rows, "columns": minor.columns}
    return Evidence(
        Enclosure(minor.rank, min(Z.shape)),
        Witness("network-rank-modulo-prime", data),
        found.assumes,
        how=f"rank modulo the prime {prime}; signs: {found.by_enclosure} by enclosures, "
        f"{found.by_fractions} exactly",
        why_open="" if minor.rank >= problem.n else f"the rank modulo {prime} is {minor.rank}",
    )


def _minor(problem: Problem, effort: Effort, which: str) -> Evidence:
    found = prove_rank_by_balls(
        weights(problem, which), problem.place, problem.inputs, ones=problem.ones,
        deadline=effort.deadline,
    )  # fmt: skip
    _settle(problem, which, found.enclosure().lo > 0)
    return found


def _drawn(problem: Problem, effort: Effort, which: str) -> Evidence:
    """Which weights were drawn: the witness holds them, exactly."""
    told = problem.declared
    if told.frozen is None:
        return Evidence(
            Truth.UNDECIDED,
            why_open="what is trained is not declared; add --set expressivity.frozen=none, or "
            "the list of frozen tensors",
        )
    how = f"seed {told.seed}" + (f", relative scale {told.scale}" if which == PERTURBED else "")
    witness = _weights(problem, which)
    return Evidence(Truth.PROVED, witness, (UNCONSTRAINED,), f"{which} weights, {how}")


def _weights(problem: Problem, which: str) -> Witness | None:
    """Return what reproduces the drawn weights exactly, once they have proved the rank."""
    if not is_proved(problem, which):
        return None
    told, before = problem.declared, problem.graph.stored
    drawn = {
        role: values
        for role, values in weights(problem, which).stored.items()
        if values is not before[role]
    }
    return Witness("weights", {"drawn": which, "seed": told.seed, "scale": told.scale, **drawn})


_COMPUTED: dict[Item, Callable[[Problem, Effort, str], Evidence]] = {
    q.DRAWN: _drawn,
    q.LAMBDA_MIN: _gram,
    q.RHO2: _rho2,
    q.RHO: _rho,
    q.ALPHA: _residual(close=False),
    q.R_NORM: _inverse_norm(close=False),
    q.ALPHA_SPLIT: _residual(close=True),
    q.R_SPLIT: _inverse_norm(close=True),
    q.RANK_P: _rank_modulo,
    q.MINOR: _minor,
}
RUNGS = ("gram", "preconditioned", "modular", "split", "balls")


def witness_binding(item: Item, which: str) -> Binding:
    """Bind an item of a rung to its kernel at the weights of that name."""
    if item in STRUCTURE:
        return STRUCTURE[item]
    compute = _COMPUTED[item]
    return binding(item, lambda problem, effort: compute(problem, effort, which), which)


def _rank_here(problem: Problem, effort: Effort) -> Evidence:
    return deficiency_at_these_weights(
        problem.graph, problem.place, problem.inputs, ones=problem.ones, deadline=effort.deadline
    )


RANK_HERE = binding(q.RANK_HERE, _rank_here)


# Alignment -----------------------------------------------------------------------------------


def _alignment(problem: Problem, effort: Effort) -> Evidence:
    if is_proved(problem, STORED):
        return Evidence(
            Truth.UNDECIDED,
            why_open="not computed: it follows from rank Z = n at the stored weights",
        )
    if problem.declared.frozen is None:
        return Evidence(
            Truth.UNDECIDED,
            why_open="the columns of the Jacobian are not declared; add --set "
            "expressivity.frozen=none, or the list of frozen tensors",
        )
    return alignment(
        problem.graph, problem.inputs, problem.data.y, backend=effort.backend,
        frozen=problem.declared.frozen,
    )  # fmt: skip


ALIGNED = binding(q.ALIGNED, _alignment)

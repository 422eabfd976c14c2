"""How features answer to a scaling of the sample, for every choice of the trained weights."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace

from verify.network import Activation, Graph
from verify.verdict import Truth
from verify_kernels.activation_analysis import analyse
from verify_kernels.structure.analytic import exponents
from verify_kernels.structure.polynomial import adds_constant

_LINEAR = ("linear", "conv", "batch_norm", "average_pool", "adaptive_average_pool", "mean",
           "reshape", "transpose", "slice", "pad", "concat", "add", "sub", "affine")  # fmt: skip
_ODD = ("identity", "tanh", "erf", "atan", "sin", "softsign", "hardtanh")
_EVEN = ("square", "abs")
_HOMOGENEOUS = ("identity", "relu", "leaky_relu", "abs")


@dataclass(frozen=True)
class Law:
    """g(c x) = chi(c) g(x), where g is the node less a vector that no sample changes.

    Args:
        parity: chi(-1), 1 or -1; None: no law for negative c.
        degree: chi(c) = c^degree for c > 0; None: no law for positive c.
        shifted: whether the vector may differ from zero.
        constant: whether no sample changes the node at all.
    """

    parity: int | None = None
    degree: int | None = None
    shifted: bool = False
    constant: bool = False

    @property
    def is_known(self) -> bool:
        """Whether there is a law for some c other than 1."""
        return self.parity is not None or self.degree is not None

    @property
    def vanishes_at_zero(self) -> bool:
        """Whether g(0) = 0 follows."""
        return self.parity == -1 or self.degree not in (None, 0)

    def invariance(self) -> Law:
        """Return what holds of every function of the node: the c with chi(c) = 1."""
        return Law(1 if self.parity == 1 else None, 0 if self.degree == 0 else None)


# chi of a large sample would fill memory beyond.
_MAX_DEGREE = 512
CONSTANT = Law(1, 0, constant=True)
UNKNOWN = Law()


def law_of(
    graph: Graph, place: int, frozen: frozenset[str] | None, variables: Iterable[int]
) -> Law:
    """Return a law of the features for every choice of the trained weights.

    Args:
        graph: the network.
        place: index of the node of the features.
        frozen: roles declared frozen; biases count as zero only if frozen at zero or absent.
        variables: nodes whose values together are the sample x that is scaled.
    """
    known = dict.fromkeys(variables, Law(-1, 1))
    for k in graph.needed(place):
        if k not in known:
            known[k] = _after(graph, k, [known[j] for j in graph.nodes[k].inputs], frozen)
    return known[place]


def _after(graph: Graph, k: int, before: list[Law], frozen: frozenset[str] | None) -> Law:
    op = graph.nodes[k].op
    if op == "input":
        return UNKNOWN
    if all(law.constant for law in before):
        return CONSTANT
    if op in _LINEAR:
        return _with_constant(_joined(before), adds_constant(graph, k, frozen))
    if op == "mul":
        return _product(*before)
    if op == "div" and before[1].constant:
        return before[0]
    if op == "activation":
        return _composed(graph.nodes[k].attributes["activation"], before[0])
    only = before[0]
    if op in ("max_pool", "adaptive_max_pool") and not only.shifted:
        return Law(1 if only.parity == 1 else None, only.degree)
    if op == "layer_norm" and not only.shifted:
        kept = Law(only.parity, 0 if only.degree == 0 else None)
        return _with_constant(kept, adds_constant(graph, k, frozen))
    return _joined([law.invariance() for law in before])


def _joined(laws: list[Law]) -> Law:
    """The law of a linear combination of entries."""
    moving = [law for law in laws if not law.constant]
    parities, degrees = {law.parity for law in moving}, {law.degree for law in moving}
    joined = Law(
        moving[0].parity if len(parities) == 1 else None,
        moving[0].degree if len(degrees) == 1 else None,
        any(law.shifted for law in moving),
    )
    return _with_constant(joined, len(moving) < len(laws))


def _with_constant(law: Law, adds: bool) -> Law:
    """The law after a vector is added that no sample changes."""
    shifted = law.shifted or adds
    invariant = law.parity in (None, 1) and law.degree in (None, 0)
    return replace(law, shifted=shifted and not invariant)


def _product(a: Law, b: Law) -> Law:
    if a.constant or b.constant:
        return b if a.constant else a
    if a.shifted or b.shifted:
        return _joined([a.invariance(), b.invariance()])
    parity = None if a.parity is None or b.parity is None else a.parity * b.parity
    degree = None if a.degree is None or b.degree is None else a.degree + b.degree
    return Law(parity, _moderate(degree))


def _moderate(degree: int | None) -> int | None:
    return None if degree is None or degree > _MAX_DEGREE else degree


def _composed(sigma: Activation, law: Law) -> Law:
    if sigma.name == "identity":
        return law
    if law.shifted:
        return law.invariance()
    parity = 1 if law.parity == 1 else None
    if law.parity == -1:
        parity = -1 if is_odd(sigma) else 1 if is_even(sigma) else None
    return Law(parity, _degree(sigma, law.degree))


def _degree(sigma: Activation, degree: int | None) -> int | None:
    if degree is None or degree == 0 or sigma.name in _HOMOGENEOUS:
        return degree
    powers = exponents(sigma)
    if powers is None or len(powers) != 1:
        return None
    return _moderate(degree * next(iter(powers)))


def is_odd(sigma: Activation) -> bool:
    """Return whether sigma(-z) = -sigma(z) for all z is proved."""
    return sigma.name in _ODD if sigma.is_named else analyse(sigma).odd is Truth.PROVED


def is_even(sigma: Activation) -> bool:
    """Return whether sigma(-z) = sigma(z) for all z is proved."""
    return sigma.name in _EVEN if sigma.is_named else analyse(sigma).even is Truth.PROVED

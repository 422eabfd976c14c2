"""Bounds of the rank for every choice of the weights, from symmetric or aligned samples."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction

import numpy as np

from verify.enclosure import Enclosure
from verify.evidence import Evidence, Witness
from verify.network import Graph
from verify_kernels.forward.inputs import Inputs
from verify_kernels.structure.direction_keys import direction_keys
from verify_kernels.structure.equal_samples import first_equal
from verify_kernels.structure.exact_arrays import (
    Array,
    ExactArray,
    TooLargeError,
    check_size,
    common_denominator,
    largest,
    over,
)
from verify_kernels.structure.fixed_maps import find_frontier, per_sample
from verify_kernels.structure.laws import Law, law_of


@dataclass(frozen=True, eq=False)
class Classes:
    """Samples written as sign * size * direction.

    Args:
        first: for each sample the first one of its class (its own index if it is that one).
        sign: 1, -1, or 0 for the sample zero; 1 for all without a law for negative c.
        size: positive whole numbers; 1 for all without a law for positive c.
    """

    first: Array
    sign: Array
    size: Array

    def factor(self, k: int, law: Law) -> Fraction:
        """Return chi of a sample: what multiplies the features of its direction."""
        sign = int(self.sign[k]) if law.parity == -1 else 1
        return Fraction(sign * int(self.size[k]) ** (law.degree or 0))


def rank_bound_by_symmetry(
    graph: Graph,
    place: int,
    inputs: Inputs,
    frozen: frozenset[str] | None,
    bias: bool = True,
) -> Evidence:
    """Bound the largest rank of Z over all w by parity and positive homogeneity.

    If h(c x) = chi(c) h(x) for every w (c = -1, or all c > 0, or both), the rows of samples that
    are multiples of one direction are multiples of one vector: Z = T [H, 0; 0, 1] with T of
    size n x (classes + 1), and rank Z <= rank T. Samples are compared exactly.

    Args:
        graph: the network.
        place: index of the node of the features.
        inputs: the exact samples.
        frozen: roles declared frozen; None: none is known to be.
        bias: whether Z has a column of ones.

    Returns:
        Enclosure of max over w of rank Z, [0, rank T], with a vector c, c^T Z = 0 for every w, as
        witness where rank T < n; unbounded with the reason if no law is proved.
    """
    reason = per_sample(graph, place)
    if reason:
        return Evidence(Enclosure.unbounded(), why_open=reason)
    frontier = find_frontier(graph, place, inputs, frozen)
    law = law_of(graph, place, frozen, frontier.values)
    if not law.is_known:
        why = "the features are neither odd, even nor homogeneous for every choice of the weights"
        return Evidence(Enclosure.unbounded(), why_open=why)
    try:
        classes = classes_of(frontier.rows(), inputs.count, law)
    except TooLargeError as large:
        return Evidence(Enclosure.unbounded(), why_open=f"comparing directions needs {large}")
    ones = bias or law.shifted
    bound = _rank(classes, law, ones)
    if bound >= inputs.count:
        why = "no two samples are related by the symmetry of the network"
        return Evidence(Enclosure(0, inputs.count), why_open=why)
    relation = _relation(classes, law, ones)
    data = {
        "samples": sorted(relation),
        "coefficients": [relation[k] for k in sorted(relation)],
        "parity": law.parity,
        "degree": law.degree,
        "ones": ones,
    }
    return Evidence(Enclosure(0, bound), Witness("sample-relation", data), how=_told(law))


def _told(law: Law) -> str:
    parity = {1: "h(-x) = h(x)", -1: "h(-x) = -h(x)", None: ""}[law.parity]
    power = {0: "", 1: "c "}.get(law.degree or 0, f"c^{law.degree} ")
    degree = "" if law.degree is None else f"h(c x) = {power}h(x) for c > 0"
    shift = ", up to a vector that is the same for all samples" if law.shifted else ""
    return " and ".join(filter(None, (parity, degree))) + " for every choice of the weights" + shift


def classes_of(rows: list[ExactArray], count: int, law: Law) -> Classes:
    """Write samples as multiples of one direction for each class, as far as a law is known.

    Raises:
        TooLargeError: comparing directions exactly needs too much.
    """
    numbers = [each.numbers for each in rows]
    sign = _signs(numbers, count)
    turn = np.where(sign < 0, -1, 1)[:, None] if law.parity is not None else np.ones((count, 1))
    sign = sign if law.parity is not None else abs(sign)
    if law.degree is None:
        turned = [each * turn.astype(np.int64) for each in numbers]
        plain = [each + 0.0 if each.dtype == np.float64 else each for each in turned]
        return Classes(first_equal(plain, count), sign, np.ones(count, dtype=np.int64))
    # Multiples of one direction share signs and a key: other rows need no exact comparison.
    patterns = [(np.sign(each) * turn).astype(np.int8) for each in numbers]
    keys = direction_keys(numbers) if numbers else None
    first = first_equal(patterns if keys is None else [*patterns, keys], count)
    shared = np.flatnonzero(np.bincount(first, minlength=count)[first] > 1)
    size = np.ones(count, dtype=object)
    if len(shared):
        whole, sizes = _primitive([each.moved(each.numbers[shared]) for each in rows])
        size[shared] = sizes
        directions = whole * turn[shared].astype(np.int64)
        first = np.arange(count)
        first[shared] = shared[first_equal([directions], len(shared))]
    return Classes(first, sign, size)


def _primitive(rows: list[ExactArray]) -> tuple[Array, Array]:
    """Return rows of whole numbers without a common divisor, and the divisors."""
    common = common_denominator(rows)
    whole = np.concatenate([over(each, common) for each in rows], axis=1)
    check_size(whole.size if whole.dtype == object else 0, largest(whole).bit_length())
    size = np.gcd.reduce(whole, axis=1)
    size = np.where(size == 0, 1, size)
    return whole // size[:, None], size


def _signs(matrices: list[Array], count: int) -> Array:
    """Return the sign of the first entry of each row that is not zero."""
    sign = np.zeros(count, dtype=np.int64)
    for each in matrices:
        if each.shape[1]:
            present = each != 0
            value = each[np.arange(count), present.argmax(axis=1)]
            found = (value > 0).astype(np.int64) - (value < 0).astype(np.int64)
            sign = np.where(sign == 0, found, sign)
    return sign


def _rank(classes: Classes, law: Law, ones: bool) -> int:
    """Return the exact rank of T: ones are a combination if factors agree in every class."""
    zero = (classes.sign == 0) & law.vanishes_at_zero
    heads = np.unique(classes.first[~zero])
    if not ones:
        return len(heads)
    head = classes.first
    mixed = zero.any()
    if law.parity == -1:
        mixed = mixed or ((classes.sign != classes.sign[head]) & ~zero).any()
    if law.degree not in (None, 0):
        mixed = mixed or ((classes.size != classes.size[head]) & ~zero).any()
    return len(heads) + int(bool(mixed))


def _relation(classes: Classes, law: Law, ones: bool) -> dict[int, Fraction]:
    """Return c other than 0 with c^T T = 0; there is one if rank T < n."""
    pending: tuple[dict[int, Fraction], Fraction] | None = None
    for k, first in enumerate(map(int, classes.first)):
        found, left = _cancelled(classes, law, k, first)
        if not found:
            continue
        if not ones or left == 0:
            return found
        if pending is None:
            pending = found, left
            continue
        before, rest = pending
        sums = {j: left * before.get(j, 0) - rest * found.get(j, 0) for j in {*before, *found}}
        return {j: Fraction(value) for j, value in sums.items() if value}
    return {}


def _cancelled(
    classes: Classes, law: Law, k: int, first: int
) -> tuple[dict[int, Fraction], Fraction]:
    """Return a combination of sample k and its class without h, and what is left of the ones."""
    if classes.sign[k] == 0 and law.vanishes_at_zero:
        return {k: Fraction(1)}, Fraction(1)
    if first == k:
        return {}, Fraction(0)
    mine, theirs = classes.factor(k, law), classes.factor(first, law)
    return {k: theirs, first: -mine}, theirs - mine

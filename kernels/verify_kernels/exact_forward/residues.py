"""Features modulo a prime, for graphs whose operations are rational and piecewise polynomial.

Every stored float is M 2^e and 2 is invertible modulo an odd prime p, so evaluation commutes with
reduction mod p once it is known which piece of each kink a sample takes. The pieces are decided by
a float enclosure that rides along; the few entries that it leaves open are evaluated in rational
arithmetic. Minors commute with reduction: rank mod p is at most the exact rank, so full rank mod
p proves full rank. A smaller rank mod p proves nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from functools import lru_cache
from typing import Any

import numpy as np

from verify.errors import InputError
from verify.network.activation import Activation
from verify.network.graph import Graph, Node
from verify.network.weights import Array
from verify_kernels.activation_analysis.tree import postorder, tree_of
from verify_kernels.exact_forward import signs
from verify_kernels.exact_forward.rational import MOST_WORK, Rationals, exact_inputs, fraction_work
from verify_kernels.exact_forward.signs import Enclosed, Mask
from verify_kernels.exact_forward.walk import (
    Arithmetic,
    Move,
    OutsideError,
    apply,
    entries_read,
    key_of,
    values_at,
)
from verify_kernels.forward.inputs import Inputs
from verify_kernels.full_rank.elimination import reduce_difference
from verify_kernels.full_rank.modular import residues as residues_of_matrix
from verify_kernels.full_rank.primes import is_prime, most_terms
from verify_kernels.self_test import check_arithmetic

PRODUCTS = "matrix products are conventional (checked by a self-test, not proved)"
_LEAST_TERMS = 16
_MOST_ENTRIES = 2**23


@dataclass(frozen=True, eq=False)
class ResidueFeatures:
    """The exact features modulo a prime.

    Args:
        residues: float64 integers in (-p/2, p/2], shape (n, m); None if there are none.
        prime: p.
        enclosed: a float enclosure of the same features.
        by_enclosure: pieces (signs, largest entries) that the float enclosure decided.
        by_fractions: pieces that rational arithmetic decided.
        why_not: the reason where there are no residues.
        assumes: what the residues take for granted.
    """

    residues: Array | None
    prime: int
    enclosed: Enclosed | None = None
    by_enclosure: int = 0
    by_fractions: int = 0
    why_not: str = ""
    assumes: tuple[str, ...] = (PRODUCTS,)


@dataclass(frozen=True, eq=False)
class Residue:
    """Entries mod p and a float enclosure of the same entries."""

    mod: Array
    near: Enclosed


def residue_features(graph: Graph, place: int, inputs: Inputs, prime: int) -> ResidueFeatures:
    """Evaluate a node at all samples modulo a prime.

    Products are exact in binary64: sums of k products of residues are cut so that
    k ((p + 3)/2)^2 + 2 p + 3 <= 2^53.

    Args:
        graph: the network.
        place: index of the node, whose values are flattened to rows.
        inputs: the samples.
        prime: p, odd, proved prime here.

    Returns:
        The residues, or the reason why there are none: an operation that is not rational, or p
        divides a denominator.

    Raises:
        InputError: p is not prime, or too large for exact products, or there is no sample.
        BackendError: the machine does not compute as assumed.
    """
    if most_terms(prime) < _LEAST_TERMS or prime < 5 or not is_prime(prime):
        raise InputError(f"residue_features: expected a prime from 5 to 2^25, but got {prime!r}")
    inputs.require_some("residue_features")
    check_arithmetic("numpy")
    smooth = _not_polynomial(graph, place)
    if smooth is not None:
        return ResidueFeatures(None, prime, why_not=f"{smooth} is not piecewise polynomial")
    by = Residues(graph, inputs, prime)
    size = _group(graph, place)
    found: list[list[Array]] = [[], [], []]
    with np.errstate(all="ignore"):  # what overflows is left open by every comparison
        for start in range(0, len(inputs.values), size):
            by.inputs = replace(inputs, values=inputs.values[start : start + size])
            try:
                value = values_at(
                    graph, place, by.first(), lambda node, read: apply(graph, node, read, by)
                )
            except OutsideError as error:
                return ResidueFeatures(None, prime, why_not=str(error))
            parts = (by.centred(value.mod), value.near.mid, value.near.radius)
            for rows, part in zip(found, parts, strict=True):
                flat = part.reshape(len(part), -1)
                rows.append(np.broadcast_to(flat, (len(by.inputs.values), flat.shape[1])))
    mod, mid, radius = (np.concatenate(rows) for rows in found)
    return ResidueFeatures(mod, prime, Enclosed(mid, radius), by.by_enclosure, by.by_fractions)


def _not_polynomial(graph: Graph, place: int) -> Activation | None:
    """Return an activation on the way to a node that `piecewise` refuses, before any work."""
    for k in graph.needed(place):
        node = graph.nodes[k]
        if node.op == "activation" and not is_piecewise_polynomial(node.attributes["activation"]):
            found: Activation = node.attributes["activation"]
            return found
    return None


def _group(graph: Graph, place: int) -> int:
    """Return how many samples are evaluated together."""
    most = max(entries_read(graph, graph.nodes[k]) for k in graph.needed(place))
    return max(1, _MOST_ENTRIES // max(1, most))


class Residues(Arithmetic):
    """Pairs of residues and float enclosures."""

    def __init__(self, graph: Graph, inputs: Inputs, prime: int) -> None:
        self.graph, self.inputs, self.p = graph, inputs, prime
        self.by_enclosure = self.by_fractions = 0
        self._rationals = Rationals()
        self._weights: dict[Any, tuple[Array, Array]] = {}

    def first(self) -> Residue:
        """Return the samples."""
        found = self.lift(self.inputs.values)
        found = Residue(found.mod[0], signs.exactly(self.inputs.values))
        divisor = Fraction(self.inputs.divisor)
        if divisor == 1:
            return found
        return self.mul(found, self.numbers([1 / divisor], (1,) * (found.mod.ndim - 1)))

    def reduced(self, values: Array) -> Array:
        """Reduce integers |x| <= 2^53 - (p + 3)/2 to at most (p + 3)/2 in modulus."""
        flat = -np.ascontiguousarray(values).reshape(1, -1)
        target = np.zeros_like(flat)
        reduce_difference(target, flat, float(self.p), 1.0 / self.p)
        return target.reshape(np.shape(values))

    def centred(self, values: Array) -> Array:
        """Return residues in (-p/2, p/2]."""
        half = (self.p - 1) // 2
        found = np.where(values > half, values - self.p, values)
        return np.where(found < -half, found + self.p, found)

    def inverse(self, values: Array) -> Array:
        """Return 1/x mod p by Fermat's theorem, x^(p - 2).

        Raises:
            OutsideError: p divides an entry.
        """
        base = self.centred(values)
        if (base == 0.0).any():
            raise OutsideError(f"the prime {self.p} divides a denominator")
        result, exponent = np.ones_like(base), self.p - 2
        while exponent:
            if exponent & 1:
                result = self.reduced(result * base)
            base = self.reduced(base * base)
            exponent >>= 1
        return result

    def fraction(self, value: Fraction) -> float:
        """Return a fraction mod p.

        Raises:
            OutsideError: p divides the denominator.
        """
        if value.denominator % self.p == 0:
            raise OutsideError(f"the prime {self.p} divides a denominator")
        found = value.numerator * pow(value.denominator, -1, self.p) % self.p
        return float(found - self.p if 2 * found > self.p else found)

    def moved(self, move: Move, *values: Residue) -> Residue:
        """Apply a function that only rearranges entries."""
        return Residue(
            move(*(each.mod for each in values)),
            Enclosed(
                move(*(each.near.mid for each in values)),
                move(*(each.near.radius for each in values)),
            ),
        )

    def lift(self, tensor: Array) -> Residue:
        """Return a stored tensor, for all samples."""
        shape = (1, *np.shape(tensor))
        return Residue(self.of_floats(tensor).reshape(shape), signs.exactly(tensor.reshape(shape)))

    def of_floats(self, tensor: Array) -> Array:
        """Return floats mod p, in their shape."""
        flat = np.ascontiguousarray(tensor, dtype=np.float64).reshape(1, -1)
        return np.ascontiguousarray(residues_of_matrix(flat, self.p)).reshape(np.shape(tensor))

    def numbers(self, exact: Sequence[Fraction], shape: Sequence[int]) -> Residue:
        """Return exact numbers in a shape without samples."""
        full = (1, *shape)
        found = [float_near(value) for value in exact]
        mid = np.array([each[0] for each in found]).reshape(full)
        radius = np.array([each[1] for each in found]).reshape(full)
        mod = np.array([self.fraction(value) for value in exact]).reshape(full)
        return Residue(mod, Enclosed(mid, radius))

    def product(self, x: Residue, weight: Array) -> Residue:
        """Return x W^T over the last axis."""
        k, out = x.mod.shape[-1], len(weight)
        rows = np.ascontiguousarray(x.mod.reshape(-1, k))
        held = self._weights.get(key_of(weight))
        if held is None:  # the array is kept, so that its place in memory stays taken
            held = self._weights[key_of(weight)] = (weight, -self.of_floats(weight).T)
        other = held[1]
        step = most_terms(self.p)
        found = np.zeros((len(rows), out))
        for start in range(0, k, step):
            part = rows[:, start : start + step] @ other[start : start + step]
            reduce_difference(found, part, float(self.p), 1.0 / self.p)
        shape = (*x.mod.shape[:-1], out)
        return Residue(found.reshape(shape), signs.product(x.near, weight))

    def add(self, a: Residue, b: Residue) -> Residue:
        """Return a + b."""
        return Residue(self.reduced(a.mod + b.mod), signs.add(a.near, b.near))

    def sub(self, a: Residue, b: Residue) -> Residue:
        """Return a - b."""
        return Residue(self.reduced(a.mod - b.mod), signs.add(a.near, b.near, -1.0))

    def mul(self, a: Residue, b: Residue) -> Residue:
        """Return a b."""
        return Residue(self.reduced(a.mod * b.mod), signs.mul(a.near, b.near))

    def div(self, a: Residue, b: Residue) -> Residue:
        """Return a / b, where b is certainly not 0 and not 0 mod p."""
        if not ((b.near.low > 0.0) | (b.near.high < 0.0)).all():
            raise OutsideError("a division by what may be zero")
        return Residue(self.reduced(a.mod * self.inverse(b.mod)), signs.div(a.near, b.near))

    def root(self, a: Residue) -> Residue:
        """Refuse: square roots are irrational as a rule."""
        raise OutsideError("a square root is not evaluated modulo a prime")

    def total(self, a: Residue) -> Residue:
        """Return the sum over the last axis; fewer than 2^26 terms stay far below 2^53."""
        if a.mod.shape[-1] >= 2**26:
            raise OutsideError("a sum has more than 2^26 terms")
        return Residue(self.reduced(a.mod.sum(axis=-1)), signs.total(a.near))

    def largest(self, a: Residue, inside: Mask, node: Node) -> Residue:
        """Return the maximum over the last axis."""
        best, sure = signs.largest_place(a.near, inside)
        found = self.moved(lambda b: np.take_along_axis(b, best, axis=-1)[..., 0], a)
        found = self.moved(lambda b: b.reshape(len(b), *node.shape), found)
        sure = sure.reshape(found.mod.shape)
        return self.moved(lambda b: b.reshape(a.mod.shape[:-1]), self.settled(found, sure, node))

    def activation(self, a: Residue, activation: Activation, node: Node) -> Residue:
        """Apply an activation that is piecewise rational."""
        found, sure = piecewise(self, activation, a)
        return self.settled(found, sure, node)

    def rounded(self, a: Residue, how: str, node: Node) -> Residue:
        """Round to whole numbers."""
        function = {"floor": np.floor, "ceil": np.ceil, "nearest": np.rint}[how]
        low = function(a.near.low)
        high = function(a.near.high)
        sure = np.asarray(low == high) & np.isfinite(low)
        value = np.where(sure, low, 0.0)
        return self.settled(Residue(self.of_floats(value), signs.exactly(value)), sure, node)

    def settled(self, found: Residue, sure: Mask, node: Node) -> Residue:
        """Replace entries of a node's value that are not sure by what fractions give."""
        sure = np.broadcast_to(sure, found.mod.shape)
        open_entries = int(sure.size - np.count_nonzero(sure))
        self.by_enclosure += sure.size - open_entries
        self.by_fractions += open_entries
        if not open_entries:
            return found
        rows = np.unique(np.nonzero(~sure)[0])
        index = next(k for k, each in enumerate(self.graph.nodes) if each is node)
        if len(rows) * fraction_work(self.graph, index) > MOST_WORK:
            raise OutsideError(
                f"the float enclosure leaves {open_entries} pieces open, too many for fractions"
            )
        some = replace(self.inputs, values=self.inputs.values[rows])
        exact = values_at(
            self.graph,
            index,
            exact_inputs(some),
            lambda each, read: apply(self.graph, each, read, self._rationals),
        )
        mod, mid, radius = (a.copy() for a in (found.mod, found.near.mid, found.near.radius))
        position = {int(row): k for k, row in enumerate(rows)}
        for entry in map(tuple, np.argwhere(~sure)):
            number = exact[(min(position[int(entry[0])], len(exact) - 1), *entry[1:])]
            value = Fraction(int(number.p), int(number.q))
            mod[entry] = self.fraction(value)
            mid[entry], radius[entry] = float_near(value)
        return Residue(mod, Enclosed(mid, radius))


def float_near(value: Fraction) -> tuple[float, float]:
    """Return a float and a bound of its distance to a fraction."""
    try:
        mid = float(value)
    except OverflowError:
        return 0.0, float("inf")
    if Fraction(mid) == value:
        return mid, 0.0
    return mid, abs(mid) * 2.0**-52 + 2.0**-1070


@lru_cache(maxsize=512)
def is_piecewise_polynomial(activation: Activation) -> bool:
    """Return whether a formula is made of sums, products, whole powers, Abs, Max and Min."""
    if activation.name in {"identity", "square", *_CLAMPS, *_KINKED}:
        return True
    return all(
        node.op in _POLYNOMIAL
        or (node.op == "pow" and node.data.denominator == 1 and node.data > 0)
        for node in postorder(tree_of(activation.formula()))
    )


_POLYNOMIAL = frozenset({"z", "number", "add", "mul", "abs", "max", "min"})


def piecewise(by: Residues, activation: Activation, x: Residue) -> tuple[Residue, Mask]:
    """Return an activation and where the piece is certain.

    Raises:
        OutsideError: the activation is not piecewise rational.
    """
    everywhere = np.ones(x.mod.shape, dtype=bool)
    if activation.name == "identity":
        return x, everywhere
    if activation.name == "square":
        return by.mul(x, x), everywhere
    if activation.name in _CLAMPS:
        return _clamped(by, x, *_CLAMPS[activation.name])
    if activation.name in _KINKED:
        below = activation.parameters[0] if activation.parameters else _KINKED[activation.name]
        return _bent(by, x, Fraction(below))
    return _by_formula(by, activation, x)


_CLAMPS = {"hardtanh": (-1, 1), "relu6": (0, 6)}
_KINKED = {"relu": 0, "abs": -1, "leaky_relu": 0}


def _bent(by: Residues, x: Residue, slope: Fraction) -> tuple[Residue, Mask]:
    """Return x for x >= 0 and slope x for x <= 0."""
    above, below = x.near.above(), x.near.below()
    if slope == 0:
        left = Residue(np.zeros(()), signs.exactly(0.0))
    else:
        left = by.mul(x, by.numbers([slope], (1,) * (x.mod.ndim - 1)))
    return _chosen(above, x, left), above | below


def _chosen(mask: Mask, a: Residue, b: Residue) -> Residue:
    return Residue(np.where(mask, a.mod, b.mod), signs.chosen(mask, a.near, b.near))


def _clamped(by: Residues, x: Residue, low: int, high: int) -> tuple[Residue, Mask]:
    """Return min(max(x, low), high)."""
    above, below = x.near.above(high), x.near.below(low)
    inside = x.near.above(low) & x.near.below(high)
    ones = (1,) * (x.mod.ndim - 1)
    ends = [by.numbers([Fraction(end)], ones) for end in (low, high)]
    found = _chosen(above, ends[1], _chosen(below, ends[0], x))
    return found, above | below | inside


def _by_formula(by: Residues, activation: Activation, x: Residue) -> tuple[Residue, Mask]:
    """Evaluate a formula of sums, products, whole powers, Abs, Max and Min."""
    if not is_piecewise_polynomial(activation):
        raise OutsideError(f"{activation} is not piecewise polynomial")
    root = tree_of(activation.formula())
    values: dict[Any, Residue] = {}
    sure = np.ones(x.mod.shape, dtype=bool)
    ones = (1,) * (x.mod.ndim - 1)
    for node in postorder(root):
        read = [values[arg] for arg in node.args]
        if node.op == "z":
            found = x
        elif node.op == "number":
            found = by.numbers([node.data], ones)
        elif node.op in ("add", "mul"):
            found = read[0]
            for each in read[1:]:
                found = by.add(found, each) if node.op == "add" else by.mul(found, each)
        elif node.op == "pow":
            found = read[0]
            for _ in range(int(node.data) - 1):
                found = by.mul(found, read[0])
        elif node.op == "abs":
            found, clear = _bent(by, read[0], Fraction(-1))
            sure = sure & clear
        else:
            found = read[0]
            for each in read[1:]:
                difference = by.sub(found, each).near
                above, below = difference.above(), difference.below()
                found = _chosen(above if node.op == "max" else below, found, each)
                sure = sure & (above | below)
        values[node] = found
    return values[root], sure

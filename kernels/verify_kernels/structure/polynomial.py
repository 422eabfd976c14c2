"""Features that are polynomials of bounded degree for every choice of the weights."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import numpy as np
from flint import fmpq, fmpz_mat, nmod_mat

from verify.enclosure import Enclosure
from verify.evidence import Evidence, Witness
from verify.network import Graph
from verify_kernels.forward.inputs import Inputs
from verify_kernels.structure.analytic import exponents
from verify_kernels.structure.exact_arrays import (
    ExactArray,
    TooLargeError,
    check_size,
    common_denominator,
    largest,
    over,
)
from verify_kernels.structure.fixed_maps import find_frontier, per_sample

MAX_DEGREE = 512
# Above these the exact rank of the n x n matrix costs more than some seconds.
MAX_SAMPLES = 600
MAX_SOLVE_BITS = 150_000_000
PRIME = 2**61 - 1
"""A prime; a set of rows that is independent modulo it is independent."""

Degrees = frozenset[int]
_KEEPING = ("linear", "conv", "batch_norm", "average_pool", "adaptive_average_pool", "mean",
            "reshape", "transpose", "slice", "pad", "concat", "add", "sub", "affine")  # fmt: skip
_ZERO = frozenset({0})


@dataclass(frozen=True)
class Span:
    """All features are combinations of monomials of these degrees in these variables."""

    degrees: tuple[int, ...]
    variables: int
    monomials: int


def monomial_degrees(
    graph: Graph, place: int, frozen: frozenset[str] | None, variables: Iterable[int]
) -> Degrees | None:
    """Return degrees of the monomials that the features may contain, for every w.

    Sums unite the sets, products add them, a constant term adds 0, and an activation that is a
    polynomial with exponents E gives the k-fold sums over k in E.

    Args:
        graph: the network.
        place: index of the node of the features.
        frozen: roles declared frozen.
        variables: nodes whose entries are the variables.

    Returns:
        The degrees, or None if some operation is not polynomial or the degree exceeds 512.
    """
    known: dict[int, Degrees] = dict.fromkeys(variables, frozenset({1}))
    for k in graph.needed(place):
        if k not in known:
            found = _after(graph, k, [known.get(j) for j in graph.nodes[k].inputs], frozen)
            if found is not None and max(found, default=0) <= MAX_DEGREE:
                known[k] = found
    return known.get(place)


def _after(
    graph: Graph, k: int, before: list[Degrees | None], frozen: frozenset[str] | None
) -> Degrees | None:
    node = graph.nodes[k]
    sets = [each for each in before if each is not None]
    if node.op == "constant":
        return _ZERO
    if node.op == "input" or len(sets) < len(before):
        return None
    if node.op in _KEEPING:
        joined = frozenset().union(*sets)
        return joined | _ZERO if adds_constant(graph, k, frozen) else joined
    if node.op == "mul":
        return _sums(sets[0], sets[1])
    if node.op == "div" and sets[1] <= _ZERO:
        return sets[0]
    if node.op == "activation":
        return _composed(exponents(node.attributes["activation"]), sets[0])
    # Any function of what does not depend on the sample is a constant.
    return _ZERO if all(each <= _ZERO for each in sets) else None


def _composed(powers: frozenset[int] | None, inner: Degrees) -> Degrees | None:
    if inner <= _ZERO:
        return _ZERO
    if powers is None:
        return None
    found: Degrees = frozenset()
    power = _ZERO
    for k in range(max(powers, default=0) + 1):
        if max(power, default=0) > MAX_DEGREE:
            return None
        found |= power if k in powers else frozenset()
        power = _sums(power, inner)
    return found


def _sums(a: Degrees, b: Degrees) -> Degrees:
    return frozenset(i + j for i in a for j in b)


def adds_constant(graph: Graph, k: int, frozen: frozenset[str] | None) -> bool:
    """Return whether an operation that is linear otherwise may add a number other than zero."""
    node = graph.nodes[k]
    if node.op == "affine":
        return bool(node.attributes["offset"] != 0)
    if node.op == "pad":
        return bool(node.attributes["value"] != 0)
    if node.op == "batch_norm" and np.any(graph.stored[node.parameters["mean"]]):
        return True
    role = node.parameters.get("bias")
    if role is None:
        return False
    return role not in (frozen or frozenset()) or bool(np.any(graph.stored[role]))


def polynomial_dimension(
    graph: Graph,
    place: int,
    inputs: Inputs,
    frozen: frozenset[str] | None,
    bias: bool = True,
) -> Evidence:
    """Enclose the dimension on the data of all polynomials that Z can contain.

    For every choice of the weights each column of Z is a combination of monomials of the degrees
    of `monomial_degrees` (and of degree 0 for the column of ones) in the values that are read, so
    rank Z is at most the rank of the matrix F of these monomials at the samples. Two upper bounds:
    the number of monomials, and the exact rank of sum_k (X X^T)^(k) (entrywise powers, k over the
    degrees), which is F D F^T with D a diagonal of positive multinomial coefficients and so has the
    rank of F. Modulo a prime the same matrix gives a lower bound.

    Args:
        graph: the network.
        place: index of the node of the features.
        inputs: the exact samples.
        frozen: roles declared frozen; None: none is known to be.
        bias: whether Z has a column of ones.

    Returns:
        Enclosure of the dimension, at most n; the condition fails if it is below n. Unbounded with
        the reason if the features are not polynomials.
    """
    reason = per_sample(graph, place)
    if reason:
        return _open(reason)
    frontier = find_frontier(graph, place, inputs, frozen)
    degrees = monomial_degrees(graph, place, frozen, frontier.values)
    if degrees is None:
        return _open("the features are not polynomials of a moderate degree in the samples")
    degrees = degrees | _ZERO if bias else degrees
    columns = varying(frontier.rows())
    width = sum(each.shape[1] for each in columns)
    count = sum(math.comb(width + k - 1, k) if width else int(k == 0) for k in sorted(degrees))
    span = Span(tuple(sorted(degrees)), width, count)
    n = inputs.count
    if count < n:
        data = {"degrees": list(span.degrees), "variables": width, "monomials": count}
        how = f"{count} monomials of degrees {_listed(span.degrees)} in {width} variables"
        return Evidence(Enclosure(0, count), Witness("monomial-count", data), how=how)
    return _by_rank(columns, span, n)


def _open(why: str) -> Evidence:
    return Evidence(Enclosure.unbounded(), why_open=why)


def _listed(degrees: tuple[int, ...]) -> str:
    if len(degrees) > 2 and degrees == tuple(range(degrees[0], degrees[-1] + 1)):
        return f"{degrees[0]} to {degrees[-1]}"
    return ", ".join(map(str, degrees))


def varying(rows: list[ExactArray]) -> list[ExactArray]:
    """Leave out entries that are zero in every sample: their monomials vanish."""
    found = []
    for each in rows:
        used = (each.numbers != 0).any(axis=0)
        found.append(each if used.all() else each.moved(each.numbers[:, used]))
    return found


def _by_rank(columns: list[ExactArray], span: Span, n: int) -> Evidence:
    if n > MAX_SAMPLES:
        why = f"{span.monomials} monomials, and exact ranks are computed up to n = {MAX_SAMPLES}"
        return Evidence(Enclosure(0, n), why_open=why)
    try:
        products = _products(columns, n)
    except TooLargeError as large:
        return Evidence(Enclosure(0, n), why_open=f"the exact rank needs {large}")
    independent = _pivots(products, span)
    r = len(independent)
    if r == n:
        return Evidence(Enclosure.exact(n), how="exact rank modulo a prime")
    longest = max((abs(v).bit_length() for row in products for v in row), default=1)
    bits = longest * max(span.degrees) + 10
    if r * r * bits > MAX_SOLVE_BITS:
        why = f"rank {r} modulo a prime; the exact rank needs {r * r} numbers of {bits} bits"
        return Evidence(Enclosure(r, n), why_open=why)
    return _exact_rank(products, span, independent)


def _products(columns: list[ExactArray], n: int) -> list[list[int]]:
    """Return X X^T for the samples scaled to whole numbers, which changes no rank."""
    if not columns:
        return [[0] * n for _ in range(n)]
    common = common_denominator(columns)
    whole = np.concatenate([over(each, common) for each in columns], axis=1)
    check_size(whole.size, largest(whole).bit_length())
    exact = fmpz_mat([[int(v) for v in row] for row in whole])
    found = exact * exact.transpose()
    return [[int(v) for v in row] for row in found.tolist()]


def _pivots(products: list[list[int]], span: Span) -> list[int]:
    """Return rows that are independent modulo a prime, hence independent."""
    reduced = [
        [sum(pow(v, k, PRIME) for k in span.degrees) % PRIME for v in row] for row in products
    ]
    n = len(reduced)
    echelon, rank = nmod_mat(n, n, [v for row in reduced for v in row], PRIME).rref()
    found = []
    for i in range(rank):
        row = (j for j in range(n) if int(echelon[i, j]) != 0)
        found.append(next(row))
    return found


def power_sums(products: list[list[int]], degrees: Iterable[int]) -> list[list[int]]:
    """Return sum_k products^(k), entrywise powers, 0^0 = 1."""
    powers = tuple(degrees)
    return [[sum(v**k for k in powers) for v in row] for row in products]


def _exact_rank(products: list[list[int]], span: Span, independent: list[int]) -> Evidence:
    """Bound the rank from above: rows whose Schur complement vanishes depend on the others."""
    n, r = len(products), len(independent)
    chosen = set(independent)
    rest = [i for i in range(n) if i not in chosen]
    kernel = power_sums(products, span.degrees)
    weights = _combinations(kernel, independent, rest)
    dependent = [
        c
        for c, j in enumerate(rest)
        if sum((weights[i, c] * kernel[k][j] for i, k in enumerate(independent)), fmpq(0))
        == kernel[j][j]
    ]
    enclosure = Enclosure(r, n - len(dependent))
    if not dependent:
        return Evidence(enclosure, why_open="the prime was unlucky")
    c = dependent[0]
    combination = [Fraction(int(weights[i, c].p), int(weights[i, c].q)) for i in range(r)]
    data = {
        "degrees": list(span.degrees),
        "rows": [*independent, rest[c]],
        "coefficients": [*combination, Fraction(-1)],
    }
    how = f"exact dependences among monomials of degrees {_listed(span.degrees)} on the samples"
    return Evidence(enclosure, Witness("polynomial-relation", data), how=how)


def _combinations(kernel: list[list[int]], independent: list[int], rest: list[int]) -> Any:
    """Return the exact solution of kernel[P, P] w = kernel[P, rest]."""
    if not independent:
        return None
    block = fmpz_mat([[kernel[i][j] for j in independent] for i in independent])
    right = fmpz_mat([[kernel[i][j] for j in rest] for i in independent])
    return block.solve(right)

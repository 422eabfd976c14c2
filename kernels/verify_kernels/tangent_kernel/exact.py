"""K = J J^T as a rational matrix, its kernel, and what both say about targets."""

from __future__ import annotations

import math
from collections.abc import Iterable
from fractions import Fraction
from typing import Any

from flint import fmpq, fmpq_mat

from verify.network import Graph
from verify_kernels.tangent_kernel.columns import collect, trained_slots
from verify_kernels.tangent_kernel.rationals import EXACT, ObjectGram, Rationals
from verify_kernels.tangent_kernel.walk import OpenError, forward, output_place

WORK = 50_000_000  # products of rationals
ORDER = 250


def require_small(graph: Graph, samples: int, order: int = ORDER, work: int = WORK) -> None:
    """Refuse what is too large for loops over single numbers.

    Raises:
        OpenError: it is.
    """
    rows, total = size_of(graph, samples)
    if rows > order or total > work:
        raise OpenError(
            f"exact arithmetic on {rows} outputs and about {total:.1g} products is too large"
        )


def size_of(graph: Graph, samples: int) -> tuple[int, int]:
    """Return the rows of K and about how many products it is made of."""
    place = output_place(graph)
    rows = samples * math.prod(graph.nodes[place].shape)
    total = 0
    for k in graph.needed(place):
        node = graph.nodes[k]
        weight = node.parameters.get("weight")
        each = 1 if weight is None else math.prod(graph.stored[weight].shape[1:])
        total += math.prod(node.shape) * each * (samples + 3 * rows) + rows**2 * each
    return rows, total


def require_rational(graph: Graph) -> None:
    """Refuse activations and normalisations that are not rational.

    Raises:
        OpenError: one is there.
    """
    for k in graph.needed(output_place(graph)):
        node = graph.nodes[k]
        if node.op == "activation" and node.attributes["activation"].name not in EXACT:
            raise OpenError(f"{node.attributes['activation']} is not rational")
        if node.op == "batch_norm":
            raise OpenError("batch norm divides by roots, which are not rational")


def rational_gram(graph: Graph, inputs: Any, *, frozen: Iterable[str] = ()) -> Any:
    """Return K as an ``fmpq_mat``, exactly.

    Raises:
        InputError: a frozen role that the network does not have.
        OpenError: an argument exactly at a kink, where the Jacobian does not exist, or a network
            that is not rational or too large.
    """
    place = output_place(graph)
    require_rational(graph)
    require_small(graph, len(inputs.values))
    trained = trained_slots(graph, place, frozenset(frozen))
    sweep = forward(graph, place, inputs, Rationals(), outputs=False)
    total = ObjectGram(sweep.count * sweep.outputs, sweep.outputs, fmpq_mat)
    collect(sweep, trained, total)
    return total.total


def separating_vector(gram: Any, targets: list[Fraction]) -> list[Fraction] | None:
    """Return v with v^T J = 0 and v . y != 0, or None if y lies in the range of J.

    K v = 0 is v^T J = 0, and the range of J is the orthogonal complement of all such v.
    """
    order = gram.nrows()
    whole, _ = gram.numer_denom()
    kernel, nullity = whole.nullspace()
    y = fmpq_mat(1, order, [fmpq(t.numerator, t.denominator) for t in targets])
    products = (y * fmpq_mat(kernel)).tolist()[0] if nullity else []
    for column in range(nullity):
        if products[column] != 0:
            found = [Fraction(int(kernel[i, column])) for i in range(order)]
            return found
    return None

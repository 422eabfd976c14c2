"""K = J J^T in ball arithmetic of growing precision, for smooth networks."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from fractions import Fraction
from typing import Any

import numpy as np
from flint import arb, arb_mat, ctx, fmpq

from verify.network import Activation, Graph
from verify_kernels._rounding import Array
from verify_kernels.activation_analysis.jet import jet
from verify_kernels.tangent_kernel.balls import kink_places
from verify_kernels.tangent_kernel.columns import collect, trained_slots
from verify_kernels.tangent_kernel.exact import require_small
from verify_kernels.tangent_kernel.linear_maps import LinearMap
from verify_kernels.tangent_kernel.rationals import ObjectGram
from verify_kernels.tangent_kernel.walk import KinkError, OpenError, forward, output_place

BITS = (256, 1024, 4096)
ORDER, WORK = 100, 3_000_000


class WideBalls:
    """Arithmetic of `walk` on object arrays of ``arb``, in the precision of the context."""

    def samples(self, values: Array, divisor: Fraction) -> Any:
        """Enclose values/divisor."""
        return self.raw(values) / fmpq(divisor.numerator, divisor.denominator)

    def stored(self, values: Array) -> Any:
        """Return floats as balls of radius 0."""
        return self.raw(values)

    def raw(self, values: Array) -> Any:
        """Return floats as balls of radius 0."""
        return _array([arb(entry) for entry in values.ravel().tolist()], values.shape)

    def number(self, value: Fraction) -> Any:
        """Enclose one number."""
        return _array([arb(fmpq(value.numerator, value.denominator))], (1,))

    def move(self, apply: Callable[[Any], Any], x: Any) -> Any:
        """Move entries."""
        return apply(x)

    def push(self, linear: LinearMap, x: Any) -> Any:
        """Enclose L x."""
        return linear.apply(x)

    def pull(self, linear: LinearMap, s: Any) -> Any:
        """Enclose L^T s."""
        return linear.adjoint(s)

    def activate(self, activation: Activation, x: Any, name: str) -> tuple[Any, Any]:
        """Enclose values and derivatives.

        Raises:
            KinkError: an argument that may be at a kink.
        """
        found = []
        for z in map(arb, x.ravel().tolist()):
            if not all(z > high or z < low for low, high in kink_places(activation)):
                raise KinkError(
                    f"an argument of {name} is not told apart from a kink of {activation}"
                )
            found.append(jet(activation, z, 1))
        value, slope = (_array([pair[order] for pair in found], x.shape) for order in (0, 1))
        return value, slope

    def normaliser(self, variance: Array, epsilon: Fraction) -> Any:
        """Enclose 1/sqrt(variance + epsilon); not a number where that is not positive."""
        shift = fmpq(epsilon.numerator, epsilon.denominator)
        found = [1 / (arb(entry) + shift).sqrt() for entry in variance.tolist()]
        return _array(found, variance.shape)


def _array(entries: list[Any], shape: tuple[int, ...]) -> Any:
    found = np.empty(len(entries), dtype=object)
    found[:] = entries
    return found.reshape(shape)


def ball_gram(
    graph: Graph,
    inputs: Any,
    bits: int,
    *,
    frozen: Iterable[str] = (),
    order: int = ORDER,
    work: int = WORK,
) -> Any:
    """Enclose K = J J^T in an ``arb_mat``, computed with a number of bits.

    Args:
        graph: as for `enclose_tangent_gram`.
        inputs: the samples.
        bits: of the context.
        frozen: roles that training does not change.
        order: rows of K beyond which nothing is tried.
        work: products beyond which nothing is tried.

    Raises:
        InputError: a frozen role that the network does not have.
        OpenError: too large, an unknown operation, or a kink.
    """
    place = output_place(graph)
    require_small(graph, len(inputs.values), order, work)
    trained = trained_slots(graph, place, frozenset(frozen))
    with ctx.workprec(bits):
        sweep = forward(graph, place, inputs, WideBalls(), outputs=False)
        total = ObjectGram(sweep.count * sweep.outputs, sweep.outputs, arb_mat)
        collect(sweep, trained, total)
        return total.total


def prove_nonsingular(graph: Graph, inputs: Any, *, frozen: Iterable[str] = ()) -> int:
    """Prove det(J J^T) != 0 in ball arithmetic and return the bits that it took.

    Raises:
        InputError: a frozen role that the network does not have.
        OpenError: not proved with the most bits tried, too large, or a kink.
    """
    for bits in BITS:
        gram = ball_gram(graph, inputs, bits, frozen=frozen)
        with ctx.workprec(bits):
            determinant = gram.det()
            if determinant.is_finite() and determinant != 0:
                return bits
    raise OpenError(f"det(J J^T) is not told apart from 0 with {BITS[-1]} bits")

"""The tangent-kernel Gram matrix K = J J^T of a network on data, enclosed in floats.

J is the Jacobian of all outputs at all samples by all trained parameters; row and column
i m_y + o of K belong to output o at sample i.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np

from verify.network import Graph
from verify_kernels._rounding import (
    OMEGA,
    Array,
    add_up,
    gamma,
    mul_up,
    norm_up,
    tau,
    up,
    up_array,
)
from verify_kernels.definiteness import PRODUCTS
from verify_kernels.self_test import check_arithmetic
from verify_kernels.tangent_kernel.balls import RANGE, FloatBalls, raised
from verify_kernels.tangent_kernel.columns import collect, count_parameters, trained_slots
from verify_kernels.tangent_kernel.walk import (
    OpenError,
    forward,
    needed,
    output_place,
    require_supported,
)
from verify_kernels.two_layer.midrad import RAISE, MidRad, row_size

MEMORY = 2**32  # bytes


@dataclass(frozen=True, eq=False)
class TangentGram:
    """The true K has ||K - mid||_2 <= error.

    Args:
        mid: symmetric bitwise, shape (n m_y, n m_y); zero where nothing is known.
        error: +inf where nothing is known.
        outputs: m_y.
        parameters: columns of J; 0 where nothing is known.
        assumes: what the enclosure takes for granted.
        why_open: why the error is infinite.
    """

    mid: Array
    error: float
    outputs: int
    parameters: int
    assumes: tuple[str, ...] = (PRODUCTS,)
    why_open: str = ""


@np.errstate(all="ignore")
def enclose_tangent_gram(
    graph: Graph, inputs: Any, *, frozen: Iterable[str] = (), memory: int = MEMORY
) -> TangentGram:
    """Enclose K = J J^T by one reverse sweep for every output in midpoint-radius arithmetic.

    A dense layer z = W h + b adds (S S^T) o (H H^T + 1), S the derivatives by z; a convolution, a
    layer used at many positions and a batch norm add the product of their columns with themselves.

    Args:
        graph: of linear layers, convolutions, batch norms in evaluation form, average pools,
            means, elementwise sums and products, moves of entries, and activations; the outputs
            are those of the last affine layer.
        inputs: `verify_kernels.forward.inputs.Inputs`: values and their divisor.
        frozen: roles that training does not change; every other weight and bias is a column.
        memory: bytes beyond which nothing is tried.

    Returns:
        K with a bound of its error in the spectral norm; +inf, with the reason, where a kink is
        not told apart from an argument (the Jacobian may not exist), for other operations, trained
        tensors used twice, numbers out of range, or too much memory.

    Error bound:
        With row norms t, u of the enclosures of S and [H, 1] and r, q those of their radii:
        gamma_{k+m+8} ||t u||^2 + 2 ||t u|| (||r u|| + ||t q||) for every dense layer, by
        |S S^T|_ij <= t_i t_j, and gamma_L for the sum of L layers; any order of summation.

    Raises:
        InputError: a frozen role that the network does not have.
        BackendError: the machine does not compute as assumed.
    """
    place = output_place(graph)
    outputs = math.prod(graph.nodes[place].shape)
    rows = len(inputs.values) * outputs
    parameters = 0
    try:
        require_supported(graph, place)
        _require_memory(graph, place, len(inputs.values), outputs, memory)
        trained = trained_slots(graph, place, frozenset(frozen))
        parameters = count_parameters(graph, trained)
        check_arithmetic("numpy", size=rows)
        sweep = forward(graph, place, inputs, FloatBalls())
        total = FloatGram(rows, outputs)
        collect(sweep, trained, total)
        mid, error = total.finish()
    except OpenError as reason:
        empty = np.zeros((rows, rows)) if 8 * rows * rows <= memory else np.zeros((0, 0))
        return TangentGram(empty, math.inf, outputs, parameters, why_open=str(reason))
    return TangentGram(mid, error, outputs, parameters)


def _require_memory(graph: Graph, place: int, n: int, outputs: int, memory: int) -> None:
    nodes = [graph.nodes[k] for k in needed(graph, place)]
    sizes = [math.prod(node.shape) for node in nodes]
    windows = [
        math.prod(graph.stored[node.parameters["weight"]].shape[1:])
        * node.attributes["groups"] * math.prod(node.shape[1:])
        for node in nodes if node.op == "conv"
    ]  # fmt: skip
    rows = n * outputs
    entries = 4 * rows**2 + 4 * n * sum(sizes) + rows * (8 * max(sizes) + 3 * max([0, *windows]))
    if 8 * entries > memory:
        raise OpenError(
            f"the tangent kernel of {rows} outputs needs about {8 * entries / 2**30:.1f} GiB, "
            f"more than the {memory / 2**30:.1f} GiB allowed"
        )


class FloatGram:
    """Gathers K and a bound of its error."""

    def __init__(self, rows: int, outputs: int) -> None:
        """Start with K = 0."""
        self.mid = np.zeros((rows, rows))
        self.outputs = outputs
        self.error = 0.0
        self.size = 0.0  # bound of the sum of || |P| ||_2 over what was added
        self.count = 0

    def add_outer(self, s: MidRad, h: MidRad, ones: bool) -> None:
        """Add (S S^T) o ([H, 1] [H, 1]^T), rows of H repeated for every output."""
        if ones:
            column = np.ones((len(h.mid), 1))
            h = MidRad(np.hstack([h.mid, column]), np.hstack([h.rad, 0.0 * column]))
        left, right = s.mid @ s.mid.T, h.mid @ h.mid.T
        n, m_y = len(right), self.outputs
        blocks = left.reshape(n, m_y, n, m_y)
        blocks *= right[:, None, :, None]
        self.mid += left
        lengths = [up_array(np.repeat(row_size(x), m_y)) for x in (h.mid, h.rad)]
        self._account(s, up_array(lengths[0] + lengths[1]), lengths[1], h)

    def add_rows(self, rows: MidRad) -> None:
        """Add J J^T of a block of columns."""
        self.mid += rows.mid @ rows.mid.T
        one = np.ones(len(rows.mid))
        self._account(rows, one, 0.0 * one, None)

    def paired(self, s: MidRad, h: MidRad) -> MidRad:
        """Enclose the products s h: gamma |s||h| + |s| rad h + rad s (|h| + rad h)."""
        terms = s.mid.shape[-1]
        size = np.abs(h.mid)
        slack = np.abs(s.mid) @ (gamma(terms + 2) * size + h.rad) + s.rad @ (size + h.rad)
        top = float(np.max(up_array(size + h.rad), initial=0.0))
        return MidRad(s.mid @ h.mid, raised(slack, 2 * terms, s, top))

    def _account(self, s: MidRad, u: Array, q: Array, h: MidRad | None) -> None:
        """Bound the error of one product of Gram matrices with row norms t, u, radii r, q."""
        radii = up_array(row_size(s.rad))
        t = up_array(row_size(s.mid) + radii)
        k, m = s.mid.shape[1], 1 if h is None else h.mid.shape[1]
        both, left, right = (norm_up(up_array(x * y)) for x, y in ((t, u), (radii, u), (t, q)))
        under_s = tau(k, _top(s.mid), _top(s.mid))
        under_h = 0.0 if h is None else tau(m, _top(h.mid), _top(h.mid))
        n = float(len(t))
        underflow = mul_up(2.0, add_up(
            mul_up(under_s, norm_up(u), norm_up(u)), mul_up(under_h, norm_up(t), norm_up(t)),
            mul_up(n, under_s, under_h), mul_up(n, 4.0 * OMEGA),
        ))  # fmt: skip
        rounding = mul_up(gamma(k + m + 8), both, both)
        spread = mul_up(2.0, both, add_up(left, right))
        self.error = add_up(self.error, mul_up(RAISE, add_up(rounding, spread)), underflow)
        self.size = add_up(self.size, mul_up(2.0, both, both), underflow)
        self.count += 1

    def finish(self) -> tuple[Array, float]:
        """Return K, its lower triangle mirrored, and the bound.

        Raises:
            OpenError: numbers out of range.
        """
        error = add_up(self.error, mul_up(gamma(self.count + 1), self.size))
        upper = np.triu(self.mid)
        mid = upper + np.triu(upper, 1).T
        if not (math.isfinite(error) and np.isfinite(mid).all()):
            raise OpenError(RANGE)
        return mid, up(error)


def _top(values: Array) -> float:
    return float(np.max(np.abs(values), initial=0.0))

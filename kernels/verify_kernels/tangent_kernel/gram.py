"""The tangent-kernel Gram matrix K = J J^T of a network on data, enclosed in floats.

J is the Jacobian of all outputs at all samples by all trained parameters; row and column
i m_y + o of K belong to output o at sample i.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from types import ModuleType
from typing import Any

import numpy as np

from verify.network import Graph
from verify_kernels import _numpy
from verify_kernels._rounding import (
    OMEGA,
    Array,
    add_up,
    div_up,
    down,
    gamma,
    mul_up,
    norm_up,
    sqrt_up,
    tau,
    up_array,
)
from verify_kernels.backend import get_backend
from verify_kernels.definiteness import PRODUCTS
from verify_kernels.self_test import check_arithmetic
from verify_kernels.tangent_kernel.balls import RANGE, FloatBalls, raised
from verify_kernels.tangent_kernel.columns import collect, count_parameters, trained_slots
from verify_kernels.tangent_kernel.walk import (
    OpenError,
    Sweep,
    forward,
    output_place,
    require_supported,
)
from verify_kernels.two_layer.midrad import MidRad, row_size

MEMORY = 2**32  # bytes
SLICED = 2**16  # entries of a layer up to which one hidden layer is evaluated in slices
STRIP = 64  # rows of a matrix that are mirrored at a time


@dataclass(frozen=True, eq=False)
class TangentGram:
    """The true K has ||K - mid||_2 <= error.

    Args:
        mid: symmetric bitwise, shape (n m_y, n m_y); zero where nothing is known, and of shape
            (1, 1) where that would not fit in memory.
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
    graph: Graph,
    inputs: Any,
    *,
    frozen: Iterable[str] = (),
    memory: int = MEMORY,
    backend: str = "numpy",
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
        backend: of the products S S^T and H H^T, whose bounds hold for any order of summation.

    Returns:
        K with a bound of its error in the spectral norm; +inf, with the reason, where a kink is
        not told apart from an argument (the Jacobian may not exist), for other operations, trained
        tensors used twice, numbers out of range, or too much memory.

    Error bound:
        With row norms a, b of the midpoints of S and [H, 1] and r, q those of their radii:
        E + 2 sqrt(||mid|| + E) D + D^2, where E = sum over the L layers of
        gamma_{k+m+8} ||a b||^2, plus gamma_L for their sum, bounds the rounding of the midpoints'
        Gram matrix, by |S S^T|_ij <= a_i a_j, and D^2 = sum d^2, d = ||r (b + q) + a q||, bounds
        ||J - mid J||_F^2; or with sum ||a b|| d in place of sqrt(||mid|| + E) D, whichever is
        less. Any order of summation.

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
        require_memory(graph, place, len(inputs.values), outputs, memory)
        trained = trained_slots(graph, place, frozenset(frozen))
        parameters = count_parameters(graph, trained)
        check_arithmetic("numpy", size=rows)
        check_arithmetic(backend, size=_largest_size(graph, place, rows))
        sweep = float_sweep(graph, place, inputs)
        total = FloatGram(rows, outputs, get_backend(backend, size=rows))
        collect(sweep, trained, total)
        mid, error = total.finish()
    except OpenError as reason:
        # Never an empty matrix, which is definite.
        order = rows if 8 * rows * rows <= memory else 1
        nothing = np.zeros((order, order))
        return TangentGram(nothing, math.inf, outputs, parameters, why_open=str(reason))
    return TangentGram(mid, error, outputs, parameters)


def _largest_size(graph: Graph, place: int, rows: int) -> int:
    """Return the largest dimension of a product that K is made of."""
    return max(rows, *(math.prod(graph.nodes[k].shape) + 1 for k in graph.needed(place)))


def float_sweep(graph: Graph, place: int, inputs: Any) -> Sweep:
    """Evaluate in floats what the derivatives read.

    Raises:
        OpenError: as for `forward`.
    """
    arithmetic = FloatBalls(sliced=_wants_slices(graph, place, len(inputs.values)))
    return forward(graph, place, inputs, arithmetic, outputs=False)


def _wants_slices(graph: Graph, place: int, n: int) -> bool:
    """Return whether products in the forward sweep are formed beyond binary64.

    Their errors grow from layer to layer; with one hidden layer they stay below that of K itself,
    and six products of slices cost more than K.
    """
    layers = [
        graph.nodes[k] for k in graph.needed(place) if graph.nodes[k].op in ("linear", "conv")
    ]
    work = max((n * math.prod(node.shape) for node in layers), default=0)
    return len(layers) > 2 or work <= SLICED


def require_memory(graph: Graph, place: int, n: int, outputs: int, memory: int) -> None:
    """Refuse what would not fit in memory.

    Raises:
        OpenError: K, or the derivatives of all outputs, needs more.
    """
    nodes = [graph.nodes[k] for k in graph.needed(place)]
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

    def __init__(self, rows: int, outputs: int, module: ModuleType = _numpy) -> None:
        """Start with K = 0; ``module`` is the backend of the products."""
        self.module = module
        self.mid = np.zeros((rows, rows))
        self.outputs = outputs
        self.rounding = 0.0  # bound of ||mid - Jm Jm^T||_2, Jm the midpoints of J
        self.radius2 = 0.0  # bound of ||J - Jm||_F^2
        self.cross = 0.0  # bound of the sum over the layers of 2 ||Jm||_F ||J - Jm||_F
        self.size = 0.0  # bound of the sum of || |P| ||_2 over what was added
        self.count = 0

    def add_outer(self, s: MidRad, h: MidRad, ones: bool) -> None:
        """Add (S S^T) o ([H, 1] [H, 1]^T), rows of H repeated for every output."""
        if ones:
            column = np.ones((len(h.mid), 1))
            h = MidRad(np.hstack([h.mid, column]), np.hstack([h.rad, 0.0 * column]))
        left, right = (self.module.product(x.mid, x.mid.T) for x in (s, h))
        n, m_y = len(right), self.outputs
        blocks = left.reshape(n, m_y, n, m_y)
        blocks *= right[:, None, :, None]
        self.mid += left
        norms, radii = (np.repeat(row_size(x), m_y) for x in (h.mid, h.rad))
        self._account(s, h, norms, radii)

    def add_rows(self, rows: MidRad) -> None:
        """Add J J^T of a block of columns."""
        self.mid += self.module.product(rows.mid, rows.mid.T)
        one = np.ones(len(rows.mid))
        self._account(rows, None, one, 0.0 * one)

    def paired(self, s: MidRad, h: MidRad) -> MidRad:
        """Enclose the products s h: gamma |s||h| + |s| rad h + rad s (|h| + rad h)."""
        terms = s.mid.shape[-1]
        size = np.abs(h.mid)
        slack = np.abs(s.mid) @ (gamma(terms + 2) * size + h.rad) + s.rad @ (size + h.rad)
        top = float(np.max(up_array(size + h.rad), initial=0.0))
        return MidRad(s.mid @ h.mid, raised(slack, 2 * terms, s, top))

    def _account(self, s: MidRad, h: MidRad | None, b: Array, q: Array) -> None:
        """Bound the error of one product of Gram matrices, b and q norms of rows of H.

        s kron h differs from its midpoint by at most r (b + q) + a q in norm.
        """
        a, r = row_size(s.mid), row_size(s.rad)
        k, m = s.mid.shape[1], 1 if h is None else h.mid.shape[1]
        far = norm_up(up_array(up_array(r * up_array(b + q)) + up_array(a * q)))
        self.radius2 = add_up(self.radius2, mul_up(far, far))
        both = norm_up(up_array(a * b))
        self.cross = add_up(self.cross, mul_up(2.0, both, far))
        under_s = tau(k, _top(s.mid), _top(s.mid))
        under_h = 0.0 if h is None else tau(m, _top(h.mid), _top(h.mid))
        n = float(len(a))
        underflow = mul_up(2.0, add_up(
            mul_up(under_s, norm_up(b), norm_up(b)), mul_up(under_h, norm_up(a), norm_up(a)),
            mul_up(n, under_s, under_h), mul_up(n, 4.0 * OMEGA),
        ))  # fmt: skip
        self.rounding = add_up(self.rounding, mul_up(gamma(k + m + 8), both, both), underflow)
        self.size = add_up(self.size, mul_up(2.0, both, both), underflow)
        self.count += 1

    def finish(self) -> tuple[Array, float]:
        """Return K, its upper triangle mirrored in place, and the bound.

        Raises:
            OpenError: numbers out of range.
        """
        mid = self.mid
        for i in range(0, len(mid), STRIP):
            corner = np.triu(mid[i : i + STRIP, i : i + STRIP])
            mid[i : i + STRIP, i : i + STRIP] = corner + np.triu(corner, 1).T
            mid[i + STRIP :, i : i + STRIP] = mid[i : i + STRIP, i + STRIP :].T
        rounding = add_up(self.rounding, mul_up(gamma(self.count + 1), self.size))
        largest = min(_row_sums_up(mid), self.size)
        far = sqrt_up(self.radius2)
        cross = min(self.cross, mul_up(2.0, sqrt_up(add_up(largest, rounding)), far))
        error = add_up(rounding, cross, self.radius2)
        if not (math.isfinite(error) and np.isfinite(mid).all()):
            raise OpenError(RANGE)
        return mid, error


def _row_sums_up(mid: Array) -> float:
    """Return an upper bound of ||K||_2 <= max_i sum_j |K_ij|."""
    top = float(np.max(np.abs(mid).sum(axis=1), initial=0.0))
    return div_up(top, down(1.0 - gamma(len(mid) + 1))) if top >= 0.0 else math.inf


def _top(values: Array) -> float:
    return float(max(np.max(values, initial=0.0), -np.min(values, initial=0.0)))

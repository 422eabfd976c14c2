"""The formulas of one hidden layer in balls, enclosed from both sides."""

from __future__ import annotations

import math
from collections.abc import Callable
from fractions import Fraction
from typing import Any

import numpy as np
from flint import arb, arb_mat

from verify.enclosure import Enclosure
from verify_kernels._rounding import Array
from verify_kernels.forward.inputs import Inputs
from verify_kernels.jacobian_lipschitz.norms import ball_norm
from verify_kernels.jacobian_lipschitz.parts import (
    Layers,
    ball_matrix,
    ball_row_norms,
    ball_samples,
    square,
)
from verify_kernels.jacobian_lipschitz.suprema import ball_suprema, suprema
from verify_kernels.two_layer.balls import ball, precision

Ball = Any  # python-flint's arb
BITS = (256, 512, 1024, 2560)
_GOAL = 72  # bits of the result after which no precision is added


def at_growing_precision(evaluate: Callable[[int], Ball]) -> Enclosure:
    """Enclose a number >= 0 with more and more bits until it has about 72 of them."""
    best = Enclosure(0, math.inf)
    for bits in BITS:
        with precision(bits):
            found = Enclosure.from_arb(evaluate(bits))
        before = best.width
        best = best.intersection(Enclosure(max(found.lo, Fraction(0)), found.hi))
        if best.hi == 0 or (best.is_bounded and best.width * 2**_GOAL <= best.hi):
            break
        if best.is_bounded and best.width * 2 > before:
            break  # it is the hull of an interval that is wide, not the precision
    return best


def largest_root(p: Ball, q: Ball) -> Ball:
    """Return (q + sqrt(q^2 + 4 p^2))/2."""
    return (q + (square(q) + 4 * square(p)).sqrt()) / 2


def largest(values: list[Ball]) -> Ball:
    """Return the maximum of balls."""
    top = values[0]
    for value in values[1:]:
        top = top.max(value)
    return top


def simple(layers: Layers, inputs: Inputs, R: Fraction) -> Enclosure:
    """Enclose the simple formula."""

    def evaluate(bits: int) -> Ball:
        X = ball_samples(inputs, with_one=layers.biases[0] is not None)
        facts = suprema(layers.activations[0], bits)
        reach = largest(_readout(layers)) + ball(R)
        A = reach * facts.second.arb() * largest(ball_row_norms(X))
        return ball_norm(X) * largest_root(facts.first.arb(), A)

    return at_growing_precision(evaluate)


def refined(
    layers: Layers, inputs: Inputs, R: Fraction, ahead: tuple[Array, Array, Array] | None
) -> Enclosure:
    """Enclose the refined formula; neurons that floats prove smaller than another are skipped."""
    m = len(layers.weights[0])
    bounds = np.full(m, math.inf) if ahead is None else ahead[2]
    order = [int(k) for k in np.argsort(-bounds, kind="stable")]

    def evaluate(bits: int) -> Ball:
        state = _State(layers, inputs, R)
        best = arb(0)
        for k in order:
            if math.isfinite(bounds[k]) and best >= arb(float(bounds[k])):
                break
            best = best.max(state.neuron(k))
        return best

    return at_growing_precision(evaluate)


def _readout(layers: Layers) -> list[Ball]:
    """Return the norms of the columns of the outer matrix."""
    return ball_row_norms(ball_matrix(np.ascontiguousarray(layers.weights[1].T)))


class _State:
    def __init__(self, layers: Layers, inputs: Inputs, R: Fraction) -> None:
        self.X = ball_samples(inputs, with_one=layers.biases[0] is not None)
        self.rows = ball_row_norms(self.X)
        self.W = ball_matrix(layers.augmented())
        self.readout = _readout(layers)
        self.norm = ball_norm(self.X)
        self.R, self.activation = ball(R), layers.activations[0]

    def neuron(self, k: int) -> Ball:
        """Enclose (Q_k + sqrt(Q_k^2 + 4 P_k^2))/2."""
        D = self.X.ncols()
        weights = arb_mat(D, 1, [self.W[k, j] for j in range(D)])
        places = (self.X * weights).entries()
        first, curved = [], []
        for p, size in zip(places, self.rows, strict=True):
            d1, d2 = ball_suprema(self.activation, p, self.R * size)
            first.append(d1)
            curved.append((self.readout[k] + self.R) * d2)
        spread = [c.max(arb(0)).sqrt() for c in curved]
        front = largest([c * size for c, size in zip(curved, self.rows, strict=True)])
        sharp = largest([s * size for s, size in zip(spread, self.rows, strict=True)])
        q = (front * self.norm).min(sharp * self._scaled(spread))
        return largest_root(self._scaled(first), q)

    def _scaled(self, scales: list[Ball]) -> Ball:
        rows = [[s * x for x in row] for s, row in zip(scales, self.X.tolist(), strict=True)]
        return ball_norm(arb_mat(rows))

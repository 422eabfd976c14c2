"""Fully connected networks of any depth: bounds of first and second derivatives, layer by layer.

For one sample let H bound ||h_l|| on the ball, B1 the norm of D h_l and B2 that of D^2 h_l as a
bilinear map, both in all parameters so far, and om_l = ||W_l||_2 + R. The preactivation
q = W h + b has D q[u] = uW h + ub + W D h[u] and D^2 q[u, v] = uW D h[v] + vW D h[u] +
W D^2 h[u, v]. With a, b the norms of the parts of u in layer l and before it (a', b' for v):
||D q[u]|| <= Ht a + om B1 b, Ht = sqrt(H^2 + 1) with a bias, and

    ||D^2 s(q)[u, v]|| <= p2 (Ht a + om B1 b)(Ht a' + om B1 b')
                              + p1 (B1 (a b' + b a') + om B2 b b'),

a form with the matrix N below. Every step holds for vectors h of any length, so for several
outputs too. Samples together: the root of the sum of squares. A continuous s' whose derivative is
missing at isolated points is the uniform limit of derivatives of smooth functions with the same
suprema.
"""

from __future__ import annotations

import math
from fractions import Fraction
from typing import Any

import numpy as np
from flint import arb

from verify.enclosure import Enclosure
from verify.network.graph import Graph
from verify_kernels._rounding import Array, norm_up
from verify_kernels.exact_forward.balls import ball_features
from verify_kernels.forward.features import Features
from verify_kernels.forward.inputs import Inputs
from verify_kernels.forward.radii import plus, root, row_norms, times
from verify_kernels.forward.walk import enclose_features
from verify_kernels.jacobian_lipschitz.norms import ball_norm, norm_of
from verify_kernels.jacobian_lipschitz.parts import (
    Layers,
    Network,
    ball_matrix,
    ball_row_norms,
    ball_samples,
    checked,
    radius_up,
    sample_norms,
    samples,
    square,
)
from verify_kernels.jacobian_lipschitz.suprema import Suprema, suprema
from verify_kernels.jacobian_lipschitz.two_layer_balls import at_growing_precision
from verify_kernels.matrix import MatrixEnclosure
from verify_kernels.two_layer.balls import ball

Ball = Any  # python-flint's arb


def mlp_recursion(
    network: Network, inputs: Inputs, R: Fraction | int, *, precise: bool = False
) -> Enclosure:
    """Bound the Lipschitz constant of the Jacobian by the recursion over the layers.

    H_0 = ||x||, B1 = B2 = 0; for every layer (the last with p1 = 1, p2 = 0)
    N = [[p2 Ht^2, p2 Ht om B1 + p1 B1], [same, p2 om^2 B1^2 + p1 om B2]], B2 <- lambda_max(N),
    B1 <- p1 sqrt(Ht^2 + om^2 B1^2), H <- min(sqrt(m_l) sup|s|, ||h_l|| + B1 R); the result is
    sqrt(sum_i B2_i^2). Proof: head of file.

    Args:
        network: any depth, any number of outputs, an activation of its own for every layer.
        inputs: n >= 1 samples.
        R: radius of the ball about the stored weights, exact, >= 0.
        precise: enclose from both sides, in balls.

    Returns:
        An enclosure of the formula, [0, hi] in floats; hi is +inf where some s' is not proved
        Lipschitz or a number leaves the range of binary64.

    Error bound:
        every operation rounded outward; ||W_l|| as in `enclose_spectral_norm`, ||h_l|| as in
        `enclose_features`.

    Raises:
        InputError: no sample, samples of another size, a radius that is no exact number >= 0.
    """
    layers = checked(network, inputs, R, "mlp_recursion")
    if any(suprema(activation).why_open for activation in layers.activations):
        return Enclosure(0, math.inf)
    if precise:
        return at_growing_precision(
            lambda bits: _in_balls(layers, network.graph(), inputs, Fraction(R), bits)
        )
    return Enclosure(0, _in_floats(layers, network.graph(), inputs, radius_up(R)))


def activation_places(graph: Graph) -> list[int]:
    """Return the nodes of the hidden layers, in order."""
    return [k for k, node in enumerate(graph.nodes) if node.op == "activation"]


def _in_floats(layers: Layers, graph: Graph, inputs: Inputs, R: float) -> float:
    X = samples(inputs, with_one=False)
    if X is None:
        return math.inf
    H = sample_norms(X)
    B1, B2 = np.zeros(len(H)), np.zeros(len(H))
    places = activation_places(graph)
    for k, weight in enumerate(layers.weights):
        om = plus(norm_of(MatrixEnclosure(weight)), R)
        Ht = root(plus(times(H, H), 1.0)) if layers.biases[k] is not None else H
        moved = times(om, B1)
        if k == len(places):
            B2 = _eigenvalue(np.zeros(len(H)), B1, times(om, B2))
            break
        facts = suprema(layers.activations[k])
        p1, p2 = facts.first.hi_float, facts.second.hi_float
        B2 = _eigenvalue(
            times(p2, Ht, Ht),
            plus(times(p2, Ht, moved), times(p1, B1)),
            plus(times(p2, moved, moved), times(p1, om, B2)),
        )
        B1 = times(p1, root(plus(times(Ht, Ht), times(moved, moved))))
        H = plus(_sizes(enclose_features(graph, places[k], inputs)), times(B1, R))
        H = np.minimum(H, _ceiling(facts, len(weight)))
    return norm_up(B2)


def _ceiling(facts: Suprema, width: int) -> float:
    return float(times(root(np.asarray(float(width))), facts.values.hi_float))


def _sizes(features: Features) -> Array:
    """Return upper bounds of the norms of the samples."""
    return plus(row_norms(features.mid), features.row_radius)


def _eigenvalue(a: Array, b: Array, d: Array) -> Array:
    """Bound the largest eigenvalue of [[a, b], [b, d]], entries >= 0: it grows with them."""
    with np.errstate(all="ignore"):
        apart = plus(np.abs(a - d), 0.0 * a)
    apart = np.where(a == d, 0.0, apart)
    reach = root(plus(times(apart, apart), times(4.0, b, b)))
    return times(0.5, plus(a, d, reach))


def _in_balls(layers: Layers, graph: Graph, inputs: Inputs, R: Fraction, bits: int) -> Ball:
    radius = ball(R)
    H = ball_row_norms(ball_samples(inputs, with_one=False))
    B1, B2 = [arb(0)] * len(H), [arb(0)] * len(H)
    places = activation_places(graph)
    for k, weight in enumerate(layers.weights):
        om = ball_norm(ball_matrix(weight)) + radius
        with_bias = layers.biases[k] is not None
        Ht = [(square(h) + 1).sqrt() for h in H] if with_bias else H
        if k == len(places):
            B2 = [_ball_eigenvalue(arb(0), b1, om * b2) for b1, b2 in zip(B1, B2, strict=True)]
            break
        facts = suprema(layers.activations[k], bits)
        p1, p2 = facts.first.arb(), facts.second.arb()
        trio = list(zip(Ht, B1, B2, strict=True))
        B2 = [
            _ball_eigenvalue(
                p2 * square(h),
                p2 * h * om * b1 + p1 * b1,
                p2 * square(om * b1) + p1 * om * b2,
            )
            for h, b1, b2 in trio
        ]
        B1 = [p1 * (square(h) + square(om * b1)).sqrt() for h, b1, _ in trio]
        sizes = ball_row_norms(ball_features(graph, places[k], inputs, bits))
        H = [size + b1 * radius for size, b1 in zip(sizes, B1, strict=True)]
        if facts.values.is_bounded:
            ceiling = facts.values.arb() * arb(len(weight)).sqrt()
            H = [h.min(ceiling) for h in H]
    return sum((square(b) for b in B2), arb(0)).sqrt()


def _ball_eigenvalue(a: Ball, b: Ball, d: Ball) -> Ball:
    return (a + d + (square(a - d) + 4 * square(b)).sqrt()) / 2

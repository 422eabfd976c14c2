"""Lipschitz constant of the features: the last hidden layer on all samples."""

from __future__ import annotations

import math
from fractions import Fraction
from typing import Any

import numpy as np
from flint import arb_mat

from verify.enclosure import Enclosure
from verify.errors import InputError
from verify.evidence import Evidence
from verify.network.feedforward import Feedforward
from verify.network.graph import Graph
from verify_kernels._rounding import add_up, float_up, mul_up, norm_up, sqrt_up
from verify_kernels.exact_forward.balls import ball_features
from verify_kernels.forward.inputs import Inputs
from verify_kernels.forward.walk import enclose_features
from verify_kernels.jacobian_lipschitz.norms import ball_norm, norm_of
from verify_kernels.jacobian_lipschitz.parts import (
    Layers,
    Network,
    ball_matrix,
    ball_samples,
    checked,
    multiplicity,
    radius_up,
    samples,
    square,
)
from verify_kernels.jacobian_lipschitz.recursion import activation_places
from verify_kernels.jacobian_lipschitz.suprema import suprema
from verify_kernels.jacobian_lipschitz.two_layer_balls import at_growing_precision
from verify_kernels.matrix import MatrixEnclosure
from verify_kernels.slopes import slope_class
from verify_kernels.spectral_norm import PRODUCTS
from verify_kernels.two_layer.balls import ball
from verify_kernels.two_layer.intervals import root_above

Ball = Any  # python-flint's arb


def lipschitz_of_features(
    network: Network, inputs: Inputs, R: Fraction | int, *, precise: bool = False
) -> Evidence:
    """Bound ||F(w) - F(w')||_F / ||w - w'||_2 over the ball of radius R.

    w are the stored weights and biases of the hidden layers, F (n, m) the last hidden layer on all
    samples; the Frobenius norm bounds the spectral one. With matrices H_l of all samples
    (h_l, and 1 with a bias), s_l the largest modulus of a secant slope and om_l = ||W_l|| + R,

        ||H_l(w) - H_l(w')||_F <= s_l (||dW_l H_{l-1}(w')||_F + om_l ||H_{l-1}(w) - H_{l-1}(w')||_F)

    gives b_l = s_l sqrt(N_{l-1}^2 + om_l^2 b_{l-1}^2), b_0 = 0, with N_l >= ||H_l||_2 on the ball:
    N_0 = ||X~||_2, N_l = ||H_l||_2 at the stored weights + b_l R, at most the Frobenius norm of
    bounded activations. One hidden layer: s ||X~||, for every R.

    Args:
        network: TwoLayer or Feedforward; no smoothness is needed.
        inputs: n >= 1 samples.
        R: radius of the ball about the stored weights, exact, >= 0.
        precise: balls of growing precision, for small networks.

    Returns:
        Evidence whose value is [lo, hi], hi a valid constant; +inf, with the reason, where a
        secant slope is not bounded, where the outer matrix is also a hidden one (then the
        features do not depend on w alone), or a number leaves the range of binary64.

    Error bound:
        every operation rounded outward; norms as in `enclose_spectral_norm`, features as in
        `enclose_features`.

    Raises:
        InputError: no sample, samples of another size, a radius that is no exact number >= 0.
    """
    layers = checked(network, inputs, R, "lipschitz_of_features")
    last = f"W{len(layers.weights)}"
    ties = network.ties if isinstance(network, Feedforward) else ()
    if any(last in group for group in ties):
        return _open("the outer matrix is also that of a hidden layer")
    try:
        slopes = [_steepest(layers, k) for k in range(len(layers.activations))]
    except InputError as error:
        return _open(str(error))
    times = multiplicity(network)
    factor = Fraction(1) if times == 1 else Fraction(root_above(Fraction(times)))
    radius, graph = Fraction(R) * factor, network.graph()
    if precise:
        value = at_growing_precision(
            lambda bits: _in_balls(layers, graph, inputs, radius, slopes, bits)
        )
    else:
        value = Enclosure(0, _in_floats(layers, graph, inputs, radius_up(radius), slopes))
    value = Enclosure.outward(value.lo, value.hi * factor) if times > 1 else value
    return Evidence(
        value,
        assumes=() if precise else (PRODUCTS,),
        how="secant slopes and norms of the layers, in the Frobenius norm",
        why_open="" if value.is_bounded else "a number leaves the range of binary64",
    )


def _open(why: str) -> Evidence:
    return Evidence(Enclosure(0, math.inf), why_open=why)


def _steepest(layers: Layers, k: int) -> Fraction:
    known = slope_class(layers.activations[k])
    return max(abs(known.alpha), abs(known.beta))


def _in_floats(
    layers: Layers, graph: Graph, inputs: Inputs, R: float, slopes: list[Fraction]
) -> float:
    X = samples(inputs, with_one=layers.biases[0] is not None)
    if X is None:
        return math.inf
    norm, b = norm_of(X), 0.0
    places = activation_places(graph)
    for k, slope in enumerate(slopes):
        if k:
            om = add_up(norm_of(MatrixEnclosure(layers.weights[k])), R)
            moved = mul_up(om, b)
            reach = sqrt_up(add_up(mul_up(norm, norm), mul_up(moved, moved)))
        else:
            reach = norm
        b = mul_up(float_up(slope), reach) if reach else 0.0
        if k + 1 < len(slopes):
            norm = _features_norm(layers, graph, inputs, k, places[k])
            norm = min(add_up(norm, mul_up(b, R)), _ceiling(layers, inputs, k))
    return b


def _features_norm(layers: Layers, graph: Graph, inputs: Inputs, k: int, place: int) -> float:
    """Bound the norm of the features of a hidden layer, with ones if the next has biases."""
    found = enclose_features(graph, place, inputs)
    if not np.isfinite(found.row_radius).all():
        return math.inf
    mid = found.mid
    if layers.biases[k + 1] is not None:
        mid = np.column_stack([mid, np.ones(len(mid))])
    return add_up(norm_of(MatrixEnclosure(np.ascontiguousarray(mid))), norm_up(found.row_radius))


def _ceiling(layers: Layers, inputs: Inputs, k: int) -> float:
    """Bound the Frobenius norm of bounded features and their ones: sqrt(n (m sup|s|^2 + 1))."""
    top = suprema(layers.activations[k]).values.hi_float
    entries = mul_up(float(len(layers.weights[k])), mul_up(top, top))
    one = 1.0 if layers.biases[k + 1] is not None else 0.0
    return sqrt_up(mul_up(float(inputs.count), add_up(entries, one)))


def _in_balls(
    layers: Layers, graph: Graph, inputs: Inputs, R: Fraction, slopes: list[Fraction], bits: int
) -> Ball:
    norm = ball_norm(ball_samples(inputs, with_one=layers.biases[0] is not None))
    b, places = ball(0), activation_places(graph)
    for k, slope in enumerate(slopes):
        if k:
            om = ball_norm(ball_matrix(layers.weights[k])) + ball(R)
            b = ball(slope) * (square(norm) + square(om * b)).sqrt()
        else:
            b = ball(slope) * norm
        if k + 1 < len(slopes):
            one = layers.biases[k + 1] is not None
            rows = ball_features(graph, places[k], inputs, bits).tolist()
            norm = ball_norm(arb_mat([list(row) + [1] * one for row in rows])) + b * ball(R)
            bounded = suprema(layers.activations[k], bits).values
            if bounded.is_bounded:
                entries = len(layers.weights[k]) * square(bounded.arb()) + int(one)
                norm = norm.min((inputs.count * entries).sqrt())
    return b

"""Lipschitz constant of the Jacobian on a ball: the least of the formulas that apply."""

from __future__ import annotations

import math
from fractions import Fraction

from verify.enclosure import Enclosure
from verify.evidence import Evidence
from verify_kernels.forward.inputs import Inputs
from verify_kernels.jacobian_lipschitz.parts import Network, checked, multiplicity
from verify_kernels.jacobian_lipschitz.recursion import mlp_recursion
from verify_kernels.jacobian_lipschitz.suprema import suprema
from verify_kernels.jacobian_lipschitz.two_layer import two_layer_refined, two_layer_simple
from verify_kernels.spectral_norm import PRODUCTS
from verify_kernels.two_layer.intervals import root_above

_SMALL = 20_000
"""Samples times parameters up to which balls are tried where floats leave their range."""


def lipschitz_of_jacobian(
    network: Network, inputs: Inputs, R: Fraction | int, *, precise: bool = False
) -> Evidence:
    """Bound ||J(theta) - J(theta')||_2 / ||theta - theta'||_2 over the ball of radius R.

    theta are all stored weights and biases, J stacks the gradients of all outputs at all samples.
    A constant for all of them is one for every trained subset: J loses columns, the ball is cut.
    A tensor with t roles is one parameter: theta -> all roles is linear of norm sqrt(t), so the
    constant is t times that of the untied network on the ball of radius sqrt(t) R.

    Args:
        network: TwoLayer or Feedforward.
        inputs: n >= 1 samples.
        R: radius of the ball about the stored weights, exact, >= 0.
        precise: balls of growing precision, for small networks; where they have no closed form of
            the suprema, floats are tried too, and the least bound is taken.

    Returns:
        Evidence whose value is [lo, hi], hi a valid constant: the least of `two_layer_simple` and
        `two_layer_refined` for one hidden layer, else `mlp_recursion`; lo is no bound of the
        true constant. hi is +inf, with the reason, where some s' is not proved Lipschitz or a
        number leaves the range of binary64 (small networks are then tried in balls).

    Error bound:
        that of the formulas.

    Raises:
        InputError: no sample, samples of another size, a radius that is no exact number >= 0.

    Source:
        own derivation; see the heads of the files of the formulas.
    """
    layers = checked(network, inputs, R, "lipschitz_of_jacobian")
    for activation in layers.activations:
        why = suprema(activation).why_open
        if why:
            return Evidence(Enclosure(0, math.inf), why_open=why)
    times = multiplicity(network)
    radius = Fraction(R) if times == 1 else Fraction(R) * Fraction(root_above(Fraction(times)))
    value, how = _least(network, layers.has_one_hidden, inputs, radius, precise)
    small = inputs.count * _entries(network) <= _SMALL
    if _is_wide(value) if precise else small and not value.is_bounded:
        other, told = _least(network, layers.has_one_hidden, inputs, radius, not precise)
        if other.hi < value.hi:
            value, how, precise = other, told, not precise
    value = Enclosure(value.lo * times, value.hi * times)
    open_ = "" if value.is_bounded else "a number leaves the range of binary64"
    assumes = () if precise else (PRODUCTS,)
    return Evidence(value, assumes=assumes, how=how, why_open=open_)


def _is_wide(value: Enclosure) -> bool:
    """Return whether balls had to take the hull of an interval, where floats may be closer."""
    return not value.is_bounded or value.width * 2**40 > value.hi


def _entries(network: Network) -> int:
    return sum(array.size for array in network.tensors().values())


def _least(
    network: Network, one: bool, inputs: Inputs, radius: Fraction, precise: bool
) -> tuple[Enclosure, str]:
    """Return the least of the formulas that apply, and how it was found."""
    if one:
        simple = two_layer_simple(network, inputs, radius, precise=precise)
        refined = two_layer_refined(network, inputs, radius, precise=precise)
        value = Enclosure(min(simple.lo, refined.lo), min(simple.hi, refined.hi))
        name = "simple" if simple.hi <= refined.hi else "refined"
        return value, f"second derivative neuron by neuron, {name} formula"
    value = mlp_recursion(network, inputs, radius, precise=precise)
    return value, "recursion over the layers for first and second derivatives"

"""Largest values of activations at exact places, and polynomials read from their formula."""

from __future__ import annotations

from fractions import Fraction

import flint
import pytest
from flint import arb

from verify.enclosure import Enclosure
from verify.network import Activation
from verify_kernels.two_layer.activation_values import enclose_largest_value
from verify_kernels.two_layer.polynomial_form import coefficients

PLACES = [-2.5, 0.0, 1.25, 3.0]
EXACT = {
    "tanh": lambda z: z.tanh(),
    "sigmoid": lambda z: 1 / (1 + (-z).exp()),
    "softplus": lambda z: z.exp().log1p(),
    "sin": lambda z: z.sin(),
}


@pytest.mark.parametrize("name", EXACT)
def test_largest_value_contains_every_value(name: str) -> None:
    found = enclose_largest_value(Activation.parse(name), PLACES)
    before, flint.ctx.prec = flint.ctx.prec, 400
    try:
        values = [Enclosure.from_arb(abs(EXACT[name](arb(place)))) for place in PLACES]
    finally:
        flint.ctx.prec = before
    assert found.lo <= max(value.hi for value in values)
    assert max(value.lo for value in values) <= found.hi
    assert found.width <= Fraction(1, 2**150)


def test_no_places_and_undefined_ones() -> None:
    assert enclose_largest_value(Activation.parse("tanh"), []) == Enclosure.exact(0)
    assert not enclose_largest_value(Activation.parse("log(z)"), [-1.0]).is_bounded


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("z**2", [0, 0, 1]),
        ("1 + z/2 - 3*z**3", [1, Fraction(1, 2), 0, -3]),
        ("(1 + z)**2", [1, 2, 1]),
        ("z", None),
        ("tanh(z)", None),
        ("z**2 + exp(z)", None),
        ("sqrt(2)*z**2", None),
    ],
)
def test_polynomials_are_recognised_exactly(text: str, wanted: list[Fraction] | None) -> None:
    assert coefficients(Activation.parse(text)) == wanted

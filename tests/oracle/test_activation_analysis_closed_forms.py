"""The constants of the smooth activations, each against its closed form at 200 bits."""

from __future__ import annotations

from fractions import Fraction

import flint
import pytest
from flint import arb

from verify.network.activation import Activation
from verify.verdict import Truth
from verify_kernels.activation_analysis import analyse, enclose_fourth_derivative


def density(z):
    return (-z * z / 2).exp() / (2 * arb.pi()).sqrt()


def probability(z):
    return (-z / arb(2).sqrt()).erfc() / 2


def root(function, low, high):
    """The root of a rising function between two numbers, by bisection."""
    a, b = arb(low), arb(high)
    for _ in range(190):
        middle = ((a + b) / 2).mid()
        if function(middle) > 0:
            b = middle
        elif function(middle) < 0:
            a = middle
        else:
            break
    return a.union(b)


def closed_forms():
    """(activation, what) -> the number as a ball; what is S0..S3, kappa0, zd1, lowest, inf."""
    three, two, pi, e = arb(3).sqrt(), arb(2).sqrt(), arb.pi(), arb(1).exp()
    u = root(lambda t: t * t.tanh() - 1, 1, 2)
    v = root(lambda t: t * t.tanh() - arb("0.5"), "0.5", 1)
    top = ((7 - arb(33).sqrt()) / 2).sqrt()
    lambert = root(lambda t: t * t.exp() - 1 / e, "0.2", "0.4")
    return {
        ("tanh", "S0"): arb(1), ("tanh", "S1"): arb(1), ("tanh", "S2"): 4 / (3 * three),
        ("tanh", "S3"): arb(2), ("tanh", "kappa0"): arb(1), ("tanh", "zd1"): v - 1 / (4 * v),
        ("sigmoid", "S0"): arb(1), ("sigmoid", "S1"): arb("0.25"),
        ("sigmoid", "S2"): 1 / (6 * three), ("sigmoid", "S3"): arb("0.125"),
        ("sigmoid", "kappa0"): arb(1),
        ("softplus", "S1"): arb(1), ("softplus", "S2"): arb("0.25"),
        ("softplus", "S3"): 1 / (6 * three), ("softplus", "kappa0"): arb(2).log(),
        ("gelu", "S1"): probability(two) + two * density(two), ("gelu", "S2"): (2 / pi).sqrt(),
        ("gelu", "S3"): (4 * top - top**3) * density(top), ("gelu", "kappa0"): 2 * density(two),
        ("gelu", "lowest"): probability(-two) - two * density(two),
        ("silu", "S1"): (1 + u) / 2, ("silu", "S2"): arb("0.5"),
        ("silu", "kappa0"): u * u - 1, ("silu", "inf"): -lambert,
        ("silu", "lowest"): (1 - u) / 2,
        ("erf", "S0"): arb(1), ("erf", "S1"): 2 / pi.sqrt(),
        ("erf", "S2"): 2 * (2 / (pi * e)).sqrt(), ("erf", "S3"): 4 / pi.sqrt(),
        ("erf", "kappa0"): arb(1), ("erf", "zd1"): (2 / (pi * e)).sqrt(),
        ("sin", "S0"): arb(1), ("sin", "S1"): arb(1), ("sin", "S2"): arb(1), ("sin", "S3"): arb(1),
        ("softplus(5)", "S2"): arb("1.25"), ("softplus(5)", "S3"): 25 / (6 * three),
        ("softplus(5)", "kappa0"): arb(2).log() / 5,
    }  # fmt: skip


KEYS = list(closed_forms())


def bound_of(name, what):
    facts = analyse(Activation.parse(name))
    if what.startswith("S"):
        return facts.sup_abs(int(what[1]))
    return {
        "kappa0": facts.kappa0,
        "zd1": facts.sup_abs_zd1,
        "lowest": facts.d1.inf,
        "inf": facts.d0.inf,
    }[what]


@pytest.mark.parametrize(("name", "what"), KEYS, ids=["-".join(key) for key in KEYS])
def test_the_enclosure_contains_the_closed_form(name, what):
    with flint.ctx.workprec(200):
        true = closed_forms()[name, what]
        assert true.rel_accuracy_bits() > 150
        bound = bound_of(name, what)
        assert bound.finite is Truth.PROVED
        low, high = bound.value.lo, bound.value.hi
        assert bound.value.arb().overlaps(true)
        centre, radius = (
            Fraction(int(x.man_exp()[0])) * Fraction(2) ** int(x.man_exp()[1])
            for x in (true.mid(), true.rad())
        )
        assert low <= centre + radius
        assert high >= centre - radius
        assert high - low <= Fraction(1, 10**9) * abs(centre)


@pytest.mark.parametrize("name", ["softplus", "gelu", "silu", "mish", "gelu_tanh"])
@pytest.mark.parametrize("what", ["S0", "zd1"])
def test_infinite_suprema_are_proved_infinite(name, what):
    assert bound_of(name, what).finite is Truth.REFUTED


def test_a_linear_growth_has_infinite_kappa_for_the_sine():
    assert bound_of("sin", "kappa0").finite is Truth.REFUTED
    assert bound_of("sin", "zd1").finite is Truth.REFUTED


def test_scaling_of_softplus():
    """softplus(b) has S_k = b^(k-1) S_k and kappa0/b of softplus(1)."""
    for b in (5, 100):
        scaled = analyse(Activation.parse(f"softplus({b})"))
        unit = analyse(Activation.parse("softplus(1)"))
        for k in (1, 2, 3):
            mine, other = scaled.sup_abs(k).value, unit.sup_abs(k).value
            factor = Fraction(b) ** (k - 1)
            assert mine.lo <= other.hi * factor
            assert other.lo * factor <= mine.hi
        assert scaled.kappa0.value.lo * b <= unit.kappa0.value.hi
        assert unit.kappa0.value.lo <= scaled.kappa0.value.hi * b


@pytest.mark.parametrize(
    ("name", "digits"),
    [
        ("tanh", "4.08588550"), ("sigmoid", "0.127683922"), ("softplus", "0.125"),
        ("silu", "0.5"), ("gelu", "1.59576912"), ("mish", "1.10097791"),
    ],
)  # fmt: skip
def test_the_fourth_derivative_to_nine_digits(name, digits):
    """The digits are rounded to nearest: the supremum lies within half a unit of the last."""
    bound = enclose_fourth_derivative(Activation.parse(name)).largest()
    places = len(digits.partition(".")[2])
    slack = Fraction(1, 2 * 10 ** max(places, 8))
    assert bound.finite is Truth.PROVED
    assert Fraction(digits) - slack <= bound.value.hi
    assert bound.value.lo <= Fraction(digits) + slack
    assert bound.value.width <= Fraction(1, 10**9) * bound.value.lo

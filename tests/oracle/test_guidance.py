"""What the guidance says about scaling W is true: just below the factor the proof stands."""

import re
from dataclasses import replace
from fractions import Fraction

import numpy as np
import pytest

from verify.condition import Effort
from verify.engine import check
from verify.network import Activation, Equilibrium, PlainWeight

ROUTES = {"spectral norm", "monotone operator", "Perron root of |W|", "weighted matrix measure"}


def decided(weight, activation, effort):
    network = Equilibrium(PlainWeight(weight), activation)
    (certificate,) = check(network, conditions=["well-posedness"], effort=effort)
    return certificate


def stated(certificate):
    (sentence,) = (text for text in certificate.guidance if "factor" in text)
    title = next(title for title in ROUTES if title in sentence)
    (factor,) = re.findall(r"(?:scaled by|below) (\d[\d.e+-]*)", sentence)[:1]
    return title, Fraction(factor)


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("size", [0.2, 0.6, 1.4, 3.0])
@pytest.mark.parametrize("name", ["relu", "sigmoid"])
def test_the_stated_factor_is_sharp(seed, size, name):
    rng = np.random.default_rng(seed)
    m = int(rng.integers(2, 9))
    weight = size * rng.standard_normal((m, m)) / np.sqrt(m)
    activation, effort = Activation(name), Effort(budget=0.0)
    certificate = decided(weight, activation, effort)
    if certificate.claim["decided_by"] in ("diagonal-lmi", "cayley"):
        assert not certificate.guidance  # no route that is linear in W proves it
        return
    title, factor = stated(certificate)

    def proves(scale):
        claim = decided(weight * float(scale), activation, effort).claim
        return next(r["truth"] for r in claim["routes"] if r["title"] == title) == "proved"

    assert proves(factor * (1 - Fraction(1, 10**6)))
    assert not proves(factor * (1 + Fraction(1, 500)))  # four digits are printed, rounded down


def test_backends_agree_on_the_same_verdicts():
    rng = np.random.default_rng(3)
    for size in (0.3, 0.6, 0.9, 1.2):
        weight = size * rng.standard_normal((24, 24)) / np.sqrt(24)
        effort = Effort(budget=5.0)
        words = [
            [
                (route["name"], route["truth"])
                for route in decided(
                    weight, Activation("relu"), replace(effort, backend=backend)
                ).claim["routes"]
            ]
            for backend in ("numpy", "numba")
        ]
        assert words[0] == words[1]

"""The examples that tell the routes apart, each with a verdict known by hand."""

from fractions import Fraction

import numpy as np
import pytest

from verify.condition import Effort
from verify.engine import check
from verify.network import Activation, AffineInput, Equilibrium, PlainWeight

RELU, TANH, SIGMOID = Activation("relu"), Activation("tanh"), Activation("sigmoid")
HALF = Activation("leaky_relu", (Fraction(1, 2),))


def decide(weight, activation=RELU, given=None, budget=10.0, all_routes=False):
    network = Equilibrium(PlainWeight(np.array(weight, dtype=float)), activation, given)
    (certificate,) = check(
        network,
        conditions=["well-posedness"],
        effort=Effort(budget=budget, all_routes=all_routes),
    )
    claim = certificate.claim
    return claim["verdict"], {route["name"]: route["truth"] for route in claim["routes"]}


CYCLE = np.roll(np.eye(3), 1, axis=1)


@pytest.mark.parametrize(
    ("c", "contracts", "monotone"),
    [(0.5, "proved", "proved"), (1.5, "refuted", "proved"), (2.5, "refuted", "refuted"),
     (3.0, "refuted", "refuted")],
)  # fmt: skip
def test_cyclic_inhibition_is_well_posed_for_every_strength(c, contracts, monotone):
    verdict, truths = decide(-c * CYCLE, all_routes=True)
    assert verdict == "pass"
    assert truths["p-matrix"] == "proved"
    assert {truths["spectral-norm"], truths["perron"], truths["matrix-measure"]} == {contracts}
    assert truths["monotone"] == monotone
    assert (truths["diagonal-lmi"] == "proved") == (c < 2)


def test_strictly_triangular_with_huge_entries_needs_no_norm():
    weight = np.triu(np.full((6, 6), 1e300), 1)
    verdict, truths = decide(weight)
    assert verdict == "pass"
    assert truths["perron"] == truths["feedforward"] == "proved"
    assert truths["spectral-norm"] == truths["monotone"] == "refuted"


@pytest.mark.parametrize("huge", [1e300, 1.7e308])
def test_triangular_with_huge_entries_depends_on_the_diagonal_alone(huge):
    weight = np.triu(np.full((5, 5), huge), 1)
    assert decide(weight + 0.5 * np.eye(5))[0] == "pass"
    assert decide(weight + np.diag([0.5, 0.5, 1.0, 0.5, 0.5]))[0] == "fail"


@pytest.mark.parametrize(
    ("gamma", "allowed", "by"),
    [(0.4, {"pass"}, "spectral-norm"), (0.6, {"pass"}, "monotone"),
     (0.75, {"pass", "undecided"}, None), (0.85, {"pass", "fail", "undecided"}, None),
     (1.1, {"fail"}, None)],
)  # fmt: skip
def test_dense_gaussian_weights(gamma, allowed, by):
    weight = gamma * np.random.default_rng(4).standard_normal((40, 40)) / np.sqrt(40)
    verdict, truths = decide(weight, budget=5.0)
    assert verdict in allowed
    if by is not None:
        assert truths[by] == "proved"


@pytest.mark.parametrize(
    ("w", "activation", "verdict"),
    [
        (1 - 2**-52, RELU, "pass"),
        (1 - 2**-53, RELU, "pass"),
        (1.0, RELU, "fail"),
        (1 + 2**-52, RELU, "fail"),
        (1.0, TANH, "pass"),
        (1 + 2**-52, TANH, "fail"),
        (4.0, SIGMOID, "pass"),
        (4 + 2**-50, SIGMOID, "fail"),
        (3.0, HALF, "pass"),
        (1.5, HALF, "fail"),
        (2.0, HALF, "fail"),
        (2 + 2**-51, HALF, "pass"),
        (100.0, Activation("leaky_relu", (Fraction(1, 100),)), "fail"),
        (100.0, Activation("leaky_relu", (Fraction(0.01),)), "pass"),
        (-1e308, RELU, "pass"),
        (5e-324, RELU, "pass"),
    ],
)
def test_one_neuron(w, activation, verdict):
    assert decide([[w]], activation)[0] == verdict


def test_a_negative_common_sign_is_well_posed_for_leaky_relu_only():
    weight = [[0.0, -3.0], [-3.0, 0.0]]
    assert decide(weight, RELU)[0] == "fail"
    assert decide(weight, HALF)[0] == "pass"


def test_unique_for_every_input_although_not_for_every_bias():
    weight = [[0.0, -3.0], [-3.0, 0.0]]
    narrow = AffineInput(np.array([[1.0], [0.1]]), np.zeros(2))
    verdict, truths = decide(weight, RELU, narrow)
    assert verdict == "pass"
    assert truths["p-matrix"] == "refuted"
    full = AffineInput(np.eye(2), np.zeros(2))
    assert decide(weight, RELU, full)[0] == "fail"


def test_softplus_needs_p0_and_r0_not_p():
    softplus = Activation.parse("softplus")
    assert decide(np.eye(2) - [[0, 1], [-1, 1]], softplus)[0] == "pass"
    assert decide(np.eye(2) - [[0, 1], [-1, 1]], RELU)[0] == "fail"
    assert decide(np.eye(2) - [[0, 1], [-1, 0]], softplus)[0] == "fail"


def test_smooth_activation_without_a_criterion_stays_open():
    """I - W is no P-matrix, which says nothing about elu."""
    verdict, truths = decide([[2.0]], Activation.parse("elu(1)"))
    assert verdict == "undecided"
    assert truths["robust-p-matrix"] == "refuted"

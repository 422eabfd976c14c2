"""The wrong sides of the condition's statements: networks that a careless proof would pass."""

from fractions import Fraction

import numpy as np
import pytest

from verify.certificate import decode_value
from verify.condition import Effort
from verify.enclosure import endpoint_from_hex
from verify.engine import check
from verify.network import Activation, AffineInput, Data, Equilibrium, PlainWeight
from verify.network import ScaledGaussianWeight as Gaussian


def certify(weight, activation="relu", given=None, data=None, **effort):
    network = Equilibrium(weight, Activation.parse(activation), given)
    (found,) = check(
        network, data, conditions=["well-posedness"], effort=Effort(budget=2.0, **effort)
    )
    return found


def consequence(certificate, name):
    (found,) = [item for item in certificate.claim["consequences"] if item["name"] == name]
    return found


def route(certificate, name):
    (found,) = [item for item in certificate.claim["routes"] if item["name"] == name]
    return found


def test_negative_gamma_does_not_turn_the_norm_condition_around():
    weight = Gaussian(np.array([[0.0, 3.0], [3.0, 0.0]]), Fraction(-5))
    found = certify(weight)
    assert found.claim["verdict"] == "fail"
    assert route(found, "paper-setting")["truth"] == "refuted"


def test_negative_gamma_with_small_modulus_passes_with_its_modulus_as_rate():
    found = certify(Gaussian(np.eye(4), Fraction(-1)))
    assert found.claim["verdict"] == "pass"
    rate = consequence(found, "contraction factor (paper-setting)")
    assert endpoint_from_hex(rate["lo"]) == Fraction(1, 2)


def weighted_norm_of(matrix, eta):
    return max(
        sum(abs(Fraction(x)) * w for x, w in zip(row, eta, strict=True)) / own
        for row, own in zip(matrix.tolist(), eta, strict=True)
    )


@pytest.mark.parametrize(
    "rows", [[[0, 1], [0, 0]], [[0.5, 1], [0, 0.5]], [[0.25, 7, 0], [0, 0.25, 3], [0, 0, 0.25]]]
)
def test_contraction_factor_is_attained_by_the_weight_of_the_witness(rows):
    matrix = np.array(rows, dtype=float)
    found = certify(PlainWeight(matrix))
    witness = route(found, "perron")["quantities"]["lambda_pf"]["witness"]["data"]
    eta = decode_value(witness["eta"], found.arrays)
    attained = weighted_norm_of(matrix, eta)
    for name in ("contraction factor (perron)",
                 "contraction factor of the averaged iteration (matrix-measure)"):  # fmt: skip
        assert endpoint_from_hex(consequence(found, name)["hi"]) > Fraction(float(matrix[0, 0]))
    factor = consequence(found, "contraction factor (perron)")
    assert endpoint_from_hex(factor["hi"]) >= attained


@pytest.mark.parametrize("activation", ["identity", "leaky_relu(1)"])
@pytest.mark.parametrize(("entry", "verdict"), [(2.0, "pass"), (-3.0, "pass"), (1.0, "undecided")])
def test_one_slope_needs_a_nonsingular_matrix_only(activation, entry, verdict):
    found = certify(PlainWeight(np.array([[entry]])), activation, all_routes=True)
    assert found.claim["verdict"] == verdict


@pytest.mark.parametrize("activation", ["leaky_relu(1/2)", "leaky_relu(3)", "abs", "sin"])
def test_reduced_matrix_beyond_binary64_leaves_its_routes_open(activation):
    weight = np.array([[1.0, -1e300, 1e300], [5e-324, 1.0, 1e-160], [1e-160, -1e300, 2.0]])
    found = certify(PlainWeight(weight), activation, all_routes=True)
    assert found.claim["verdict"] in ("pass", "fail", "undecided")


def test_guidance_speaks_of_positive_factors():
    # W passes by its measure; -W = diag(-1/2, 10) does not pass at all
    passing = certify(PlainWeight(np.diag([0.5, -10.0])))
    assert passing.claim["verdict"] == "pass"
    assert certify(PlainWeight(np.diag([-0.5, 10.0]))).claim["verdict"] == "fail"
    assert any("every positive factor below" in sentence for sentence in passing.guidance)


def test_state_without_coordinates():
    given = AffineInput(np.zeros((0, 2)), np.zeros(0))
    found = certify(PlainWeight(np.zeros((0, 0))), given=given, data=Data(np.ones((3, 2))))
    assert found.claim["verdict"] == "pass"


@pytest.mark.parametrize("entry", [1e100, 1e200, 1e300])
def test_weights_far_apart_do_not_end_the_run(entry):
    given = AffineInput(np.ones((2, 1)), np.zeros(2))
    weight = PlainWeight(np.array([[0.5, entry], [0.0, 0.5]]))
    found = certify(weight, given=given, data=Data(np.ones((1, 1))))
    assert found.claim["verdict"] == "pass"


def test_a_witness_vector_beyond_the_range_of_quotients_does_not_end_the_run():
    chain = np.diag(np.full(3, 2.0**132), 1)
    chain[3, 0] = 2.0**-532
    given = AffineInput(np.ones((4, 1)), np.zeros(4))
    found = certify(PlainWeight(chain), given=given, data=Data(np.ones((1, 1))))
    assert found.claim["verdict"] == "pass"


def test_sentence_of_a_refutation_names_no_proved_fact():
    # I - W = [[0, 1], [-1, 0]] is P0 and not R0: softplus has no solution for some b
    found = certify(PlainWeight(np.array([[1.0, -1.0], [1.0, 1.0]])), "softplus")
    facts = route(found, "p0-r0-matrix")["facts"]
    assert (facts["P0"]["truth"], facts["R0"]["truth"]) == ("proved", "refuted")
    assert found.claim["verdict"] == "fail"
    assert facts["P0"]["how"] not in found.claim["sentence"]


@pytest.mark.parametrize("stored", [True, False])
def test_summary_speaks_of_a_solver_only_where_its_output_is_stored(stored):
    given = AffineInput(np.ones((1, 1)), np.zeros(1))
    outputs = np.array([[2.0]]) if stored else None
    data = Data(np.ones((1, 1)), Z=outputs)
    found = certify(PlainWeight(np.array([[0.5]])), given=given, data=data)
    assert ("solver's output" in found.claim["samples"]["summary"]) == stored

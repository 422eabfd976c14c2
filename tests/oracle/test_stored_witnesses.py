"""Witnesses read back from certificates on disk prove their bounds again in integers."""

from __future__ import annotations

import numpy as np
import pytest

from verify.certificate import decode_value, read_certificate, write_certificates
from verify.condition import Effort
from verify.enclosure import endpoint_from_hex
from verify.engine import check
from verify.evidence import Witness
from verify.network import Equilibrium, PlainWeight
from verify.network.activation import Activation
from verify_kernels.diagonal_witness import replay_diagonal
from verify_kernels.integer_witness import replay_definite, replay_norm_at_most
from verify_kernels.matrix import rational_matrix
from verify_kernels.positive_vector import proves_bound


@pytest.fixture(scope="module")
def stored(tmp_path_factory):
    W = 0.3 * np.random.default_rng(5).standard_normal((24, 24)) / np.sqrt(24)
    network = Equilibrium(PlainWeight(W), Activation("relu"))
    made = check(network, conditions=["well-posedness"], effort=Effort(budget=5.0))
    folder = tmp_path_factory.mktemp("stored")
    write_certificates(made, folder, "model")
    return W, read_certificate(folder / "model.well-posedness.json")


def witness_of(certificate, name):
    for route in certificate.claim["routes"]:
        found = route["quantities"].get(name)
        if found is not None and found["witness"] is not None:
            data = found["witness"]["data"]
            decoded = {key: decode_value(value, certificate.arrays) for key, value in data.items()}
            return Witness(found["witness"]["kind"], decoded), found
    raise AssertionError(name)


def test_the_weight_is_stored_bit_by_bit(stored):
    W, certificate = stored
    assert any(np.array_equal(array, W) for array in certificate.network.values())


def test_norm(stored):
    W, certificate = stored
    witness, found = witness_of(certificate, "norm_W")
    assert witness.data["bound"] == endpoint_from_hex(found["hi"])
    assert replay_norm_at_most(W, witness)
    assert not replay_norm_at_most(1.01 * W, witness)


def test_perron_and_measure(stored):
    W, certificate = stored
    majorant = np.abs(W)
    np.fill_diagonal(majorant, np.diagonal(W))
    for name, matrix in (("lambda_pf", np.abs(W)), ("mu_eta", majorant)):
        witness, found = witness_of(certificate, name)
        data = witness.data
        assert data["bound"] <= endpoint_from_hex(found["hi"])
        assert proves_bound(matrix, list(data["eta"]), data["bound"])
        assert not proves_bound(1.5 * np.abs(matrix), list(data["eta"]), data["bound"])


def test_symmetric_part(stored):
    W, certificate = stored
    witness, found = witness_of(certificate, "mu_2")
    assert witness.kind == "integer-cholesky"
    assert witness.data["bound"] == -2 * endpoint_from_hex(found["hi"])
    exact = rational_matrix(W)
    assert replay_definite(-(exact + exact.transpose()), witness)
    assert not replay_definite(-2 * (exact + exact.transpose()), witness)


def test_diagonal(stored):
    W, certificate = stored
    witness, _ = witness_of(certificate, "lambda_S")
    assert replay_diagonal(W, witness)
    assert not replay_diagonal(W + 2 * np.eye(24), witness)

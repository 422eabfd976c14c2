"""Solver outputs beside the samples: read, checked, and their distance proved."""

import numpy as np
import pytest

from verify.enclosure import endpoint_from_hex
from verify.engine import check
from verify.errors import InputError
from verify.network import Activation, AffineInput, Data, Equilibrium, PlainWeight
from verify.readers import read_data


def test_distance_of_given_outputs_is_proved(tmp_path):
    network = Equilibrium(
        PlainWeight(np.array([[0.5]])), Activation("relu"), AffineInput(np.eye(1), np.zeros(1))
    )
    path = tmp_path / "data.npz"
    np.savez(path, X=np.array([[1.0], [2.0]]), Z=np.array([[2.25], [4.0]]))
    data = read_data(path)
    (certificate,) = check(network, data, conditions=["well-posedness"])
    samples = certificate.claim["samples"]
    assert samples["certified"] == samples["total"] == 2
    first, second = (endpoint_from_hex(row["distance"]) for row in samples["rows"])
    assert first >= 0.25  # z = 2 exactly, the solver said 2.25
    assert float(first) < 0.2500001
    assert float(second) < 1e-7
    assert certificate.claim["data"]["data.Z"]["shape"] == [2, 1]


def test_outputs_must_fit_the_samples(tmp_path):
    path = tmp_path / "data.npz"
    np.savez(path, X=np.ones((2, 1)), Z=np.ones((3, 1)))
    with pytest.raises(InputError, match=r"expected solver outputs Z of shape \(2, m\)"):
        read_data(path)


def test_a_proof_about_every_input_covers_the_samples():
    """I - W is no P-matrix, yet each of these inputs has one equilibrium only."""
    network = Equilibrium(
        PlainWeight(np.array([[0.0, -3.0], [-3.0, 0.0]])),
        Activation("relu"),
        AffineInput(np.array([[1.0], [0.1]]), np.zeros(2)),
    )
    data = Data(np.array([[1.0], [-2.0]]))
    (certificate,) = check(network, data, conditions=["well-posedness"])
    assert certificate.claim["verdict"] == "pass"
    assert [row["unique"] for row in certificate.claim["samples"]["rows"]] == [True, True]

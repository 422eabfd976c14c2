"""A trained classifier on digits of 28 x 28 pixels, where the floating-point rank is wrong."""

from __future__ import annotations

import itertools
from typing import Any, NamedTuple

import numpy as np
import pytest

from verify import check
from verify.condition import Effort
from verify.network import Activation, Data, Feedforward
from verify_kernels.exact_forward.rational import rational_features
from verify_kernels.forward import Inputs

torch = pytest.importorskip("torch")
N = 129


class Trained(NamedTuple):
    weights: tuple[Any, ...]
    biases: tuple[Any, ...]
    X: Any
    accuracy: float

    def network(self, activation: str) -> Feedforward:
        sigma = Activation.parse(activation)
        return Feedforward(self.weights, self.biases, (sigma, sigma))

    def claim(self, activation: str, **settings: str) -> dict[str, Any]:
        given = {"input_divisor": "255", **settings}
        (certificate,) = check(
            self.network(activation), Data(self.X[:N]), conditions=["expressivity"],
            settings={f"expressivity.{key}": value for key, value in given.items()},
            effort=Effort(budget=120.0),
        )  # fmt: skip
        claim: dict[str, Any] = certificate.claim
        return claim


@pytest.fixture(scope="module")
def trained() -> Trained:
    """784-256-128-10, relu, SGD; the pixels are whole numbers up to 255."""
    zoom = pytest.importorskip("scipy.ndimage").zoom
    digits = pytest.importorskip("sklearn.datasets").load_digits()
    images = np.stack([zoom(image, 3.5, order=1) for image in digits.images])
    X = np.rint(images.reshape(len(images), 784) * (255 / 16))
    order = np.random.default_rng(0).permutation(len(X))
    train, test = order[:1400], order[1400:]
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    with torch.random.fork_rng():
        torch.manual_seed(1)
        net = _fitted(X[train], digits.target[train])
    torch.set_num_threads(threads)
    guess = net(torch.tensor(X[test] / 255, dtype=torch.float32)).argmax(1).numpy()
    tensors = [parameter.detach().double().numpy() for parameter in net.parameters()]
    accuracy = float(np.mean(guess == digits.target[test]))
    return Trained(tuple(tensors[::2]), tuple(tensors[1::2]), X[train], accuracy)


def _fitted(X: Any, y: Any) -> Any:
    sizes = (784, 256, 128, 10)
    layers: list[Any] = []
    for before, after in itertools.pairwise(sizes):
        layers += [torch.nn.Linear(before, after), torch.nn.ReLU()]
    net = torch.nn.Sequential(*layers[:-1])
    inputs, labels = torch.tensor(X / 255, dtype=torch.float32), torch.tensor(y)
    # Two epochs of large steps leave about half of the last hidden units dead.
    optimiser = torch.optim.SGD(net.parameters(), lr=0.17, momentum=0.9, weight_decay=1e-4)
    for epoch in range(30):
        if epoch == 2:
            optimiser.param_groups[0]["lr"] = 0.03
        for batch in torch.randperm(len(X)).split(64):
            optimiser.zero_grad()
            torch.nn.functional.cross_entropy(net(inputs[batch]), labels[batch]).backward()
            optimiser.step()
    return net


def consequence(claim: dict[str, Any], name: str) -> Any:
    return next(each for each in claim["consequences"] if each["name"] == name)


def test_the_classifier_is_a_good_one(trained: Trained) -> None:
    assert trained.accuracy >= 0.95


def test_softplus_head_passes_where_the_float_rank_is_short(trained: Trained) -> None:
    """softplus(100) in place of relu: NumPy counts fewer, the rank is proved to be n."""
    claim = trained.claim("softplus(100)")
    assert claim["verdict"] == "pass"
    assert claim["decided_by"].startswith("stored-")
    assert float.fromhex(consequence(claim, "matrix_rank")["measured"]) < N - 10


def test_relu_is_left_open_at_these_weights_and_passes_by_theorem_d(trained: Trained) -> None:
    claim = trained.claim("relu")
    assert claim["verdict"] == "undecided"
    side = {each["name"]: each["truth"] for each in claim["side_statements"]}
    assert side["expressive-here"] == "refuted"
    dead = consequence(claim, "dead units")
    assert dead["lo"] == dead["hi"]
    network = trained.network("relu")
    graph = network.graph()
    place = graph.nodes[graph.last_affine].inputs[0]
    exact = rational_features(graph, place, Inputs.of(trained.X[:N], (784,), 255)).matrix
    assert exact.rank() < N - 10
    assert trained.claim("relu", frozen="none")["verdict"] == "pass"

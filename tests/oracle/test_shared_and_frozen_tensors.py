"""Tensors that two layers read or that are frozen, where a certificate is about the last layer."""

from fractions import Fraction

import numpy as np
import pytest

from verify.certificate import decode_enclosure
from verify.condition import Effort, NotApplicable
from verify.decide import decide
from verify.enclosure import Enclosure
from verify.engine import check
from verify.errors import InputError
from verify.network import (
    Activation,
    Data,
    Equilibrium,
    Feedforward,
    ReluFeatureInput,
    Run,
    ScaledGaussianWeight,
    StoredCheckpoint,
    graph_of,
)
from verify.verdict import Truth, Verdict
from verify_conditions.convergence import quantities as q
from verify_conditions.convergence.statements import THEOREM_B
from verify_conditions.regression import require_family
from verify_conditions.trained_tensors import frozen_roles, hidden_roles

ONE = Data(np.array([[1.0]]), np.array([0.0]))


def decided(name, network, data, *, all_routes=True, **settings):
    told = {f"{name}.{key}": str(value) for key, value in settings.items()}
    effort = Effort(budget=20.0, all_routes=all_routes)
    [found] = check(network, data, conditions=[name], settings=told, effort=effort)
    return found, {route["name"]: route["truth"] for route in found.claim["routes"]}


def tied(b1=-2.0):
    """f(x) = w (w x - 2): at w = x = 1 the only feature is -1, and df/dw = 0."""
    one, bias = np.array([[1.0]]), np.array([b1])
    sigma = Activation("identity")
    return Feedforward((one, one), (bias, None), (sigma,), ties=(("W1", "W2"),))


def test_a_last_weight_that_another_layer_reads_proves_no_inequality():
    found, routes = decided("gradient-inequality", tied(), ONE, frozen="b1")
    assert found.verdict is not Verdict.PASS
    assert routes["last-layer"] == routes["last-layer-precise"] == "refuted"


def test_a_shared_tensor_is_frozen_by_any_of_its_roles():
    network = tied()
    graph = graph_of(network)
    frozen = frozen_roles("gradient-inequality", "W1", network, graph)
    assert frozen == {"linear1.weight", "linear2.weight"}
    found, routes = decided("gradient-inequality", network, ONE, frozen="b1,W1")
    assert found.verdict is Verdict.FAIL  # nothing is trained
    assert routes["last-layer"] == "refuted"


def test_a_shared_bias_gives_no_column_of_ones():
    sigma, one = Activation("tanh"), np.array([[1.0]])
    bias = np.array([0.5])
    alone = Feedforward((one, one), (bias, bias), (sigma,))
    shared = Feedforward((one, one), (bias, bias), (sigma,), ties=(("b1", "b2"),))
    assert hidden_roles(graph_of(alone), frozenset())[1]
    hidden, ones = hidden_roles(graph_of(shared), frozenset())
    assert not ones
    assert "linear2.bias" in hidden
    assert "linear2.weight" not in hidden


def implicit():
    """Z = phi = 1, f = 2: the gradients by u, v, W, A are 2, 2, 4, 1, together 5."""
    weight = ScaledGaussianWeight(np.array([[0.0]]), Fraction(1, 2))
    one = np.array([1.0])
    return Equilibrium(
        weight, Activation("relu"), ReluFeatureInput(np.array([[1.0]])), {"u": one, "v": one}
    )


@pytest.mark.parametrize(
    ("frozen", "square"),
    [("none", 25), ("A,V", 8), ("V", 9), ("u,v", 17), ("A,V,u", 4), ("A,V,u,v", 0)],
)
def test_the_gradient_of_an_implicit_network_leaves_frozen_tensors_out(frozen, square):
    below, above = ((square * (1 + sign * 2.0**-40) / 2) ** 0.5 for sign in (-1, 1))
    for kappa, wanted in ((below, "proved"), (above, "refuted")):
        if kappa == 0.0:
            kappa, wanted = 2.0**-300, "refuted"
        _, routes = decided(
            "gradient-inequality", implicit(), ONE, frozen=frozen, kappa=kappa
        )  # L = 2
        assert routes["gradient-kappa"] == wanted, (frozen, kappa)


def test_a_readout_with_more_tensors_is_another_network():
    network = implicit()
    more = {**network.readout, "c": np.array([1.0])}
    other = Equilibrium(network.weight, network.activation, network.input, more)
    with pytest.raises(NotApplicable):
        require_family("converges-from-here", other)


def test_weight_decay_refutes_only_by_a_last_layer_of_its_own():
    one, sigma = np.array([[1.0]]), Activation("tanh")
    data = Data(np.array([[1.0]]), np.array([0.5]))
    told = {"frozen": "none", "weight_decay": "1/1000"}
    alone = Feedforward((one, one), (None, None), (sigma,))
    found, routes = decided("converges-from-here", alone, data, **told)
    assert found.verdict is Verdict.FAIL
    assert routes["decay-flow"] == routes["decay-descent"] == "refuted"
    shared = Feedforward((one, one), (None, None), (sigma,), ties=(("W1", "W2"),))
    found, routes = decided("converges-from-here", shared, data, **told)
    assert found.verdict is Verdict.UNDECIDED
    assert routes["decay-flow"] == "undecided"
    frozen, _ = decided("converges-from-here", alone, data, frozen="W2", weight_decay="1/1000")
    assert frozen.verdict is Verdict.UNDECIDED


def test_a_refutation_of_an_implicit_network_says_which_limits_it_is_about():
    data = Data(np.array([[1.0]]), np.array([0.5]))
    told = {"frozen": "none", "weight_decay": "1/1000"}
    found, _ = decided("converges-from-here", implicit(), data, all_routes=False, **told)
    assert found.verdict is Verdict.FAIL
    assert any("continuous" in text for text in found.claim["assumes"])


def test_no_step_at_all_is_no_gradient_descent():
    enclosures = {item.symbol: Enclosure.exact(1) for item in THEOREM_B.quantities}
    enclosures |= {q.RESIDUAL.symbol: Enclosure.exact(Fraction(1, 128))}
    facts = {item.symbol: Truth.PROVED for item in THEOREM_B.facts}
    for step, wanted in ((Fraction(1, 8), Truth.PROVED), (Fraction(0), Truth.REFUTED)):
        enclosures[q.STEP.symbol] = Enclosure.exact(step)
        assert decide(THEOREM_B.hypothesis, enclosures, facts).truth is wanted


def test_a_theorem_about_a_frozen_last_layer_tells_no_numbers():
    """F = 0.5 tanh(w): r and s0 alone would make h of the output layer small."""
    network = Feedforward(
        (np.array([[3.0]]), np.array([[0.5]])), (None, None), (Activation("tanh"),)
    )
    data = Data(np.array([[1.0]]), np.array([0.5 + 2.0**-30]))
    for frozen, wanted in (("none", True), ("W2", False)):
        found, _ = decided("converges-from-here", network, data, all_routes=False, frozen=frozen)
        told = {(each["by"], each["name"]) for each in found.claim["consequences"]}
        assert (("output-layer", "h") in told) is wanted
        assert found.verdict is (Verdict.PASS if wanted else Verdict.UNDECIDED)
        assert wanted or not any("output layer" in text for text in found.guidance)


def test_a_frozen_tensor_that_changes_along_a_run_is_refused():
    first = Feedforward((np.eye(2), np.ones((1, 2))), (None, None), (Activation("tanh"),))
    later = Feedforward((2 * np.eye(2), np.ones((1, 2))), (None, None), (Activation("tanh"),))
    data = Data(np.eye(2), np.zeros(2))
    run = Run(checkpoints=(StoredCheckpoint(1, "late", later),))
    name = "gradient-inequality"
    for frozen, fits in (("none", True), ("W2", True), ("W1", False)):
        told = {f"{name}.frozen": frozen, f"{name}.scope": "trajectory"}
        if fits:
            [found] = check(first, data, run, conditions=[name], settings=told)
            assert found.verdict is Verdict.PASS
        else:
            with pytest.raises(InputError, match=r"linear1\.weight, declared frozen"):
                check(first, data, run, conditions=[name], settings=told)


@pytest.mark.parametrize("ties", [(), (("W1", "W2"),)])
def test_no_precision_tells_a_singular_value_that_another_one_contradicts(ties):
    """The only feature of a frozen or shared last layer is tanh 1; no tier may say it is 0."""
    one, true = np.array([[1.0]]), Fraction(np.tanh(1.0))
    network = Feedforward((one, one), (None, None), (Activation("tanh"),), ties=ties)
    found, _ = decided("gradient-inequality", network, ONE, frozen="none" if ties else "W2")
    routes = {route["name"]: route for route in found.claim["routes"]}
    for name in ("last-layer", "last-layer-precise"):
        told = routes[name]["quantities"]["s0"]
        value = decode_enclosure({end: told[end] for end in ("lo", "hi")})
        assert value.lo < true * (1 + Fraction(1, 2**40))
        assert value.hi > true * (1 - Fraction(1, 2**40))

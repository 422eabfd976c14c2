"""Every error term of the spectrum of the tangent kernel is met by numbers that need it."""

from __future__ import annotations

import json
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from flint import arb, arb_mat

from verify.enclosure import Enclosure
from verify.errors import EnclosureError
from verify.evidence import Evidence
from verify.network import Activation, Feedforward, Graph, GraphBuilder, TwoLayer
from verify.verdict import Truth
from verify_kernels.forward.inputs import Inputs
from verify_kernels.tangent_kernel import (
    ball_spectrum,
    ball_tangent_spectrum,
    balls,
    enclose_tangent_spectrum,
    spectrum,
    tangent_singularity,
    zero_entries,
)
from verify_kernels.tangent_kernel.linear_maps import LinearMap, linear_map
from verify_kernels.two_layer.midrad import MidRad

VECTORS = json.loads((Path(__file__).parents[1] / "vectors" / "convergence.json").read_text())
CASES = [c for c in VECTORS["cases"] if c["kind"] in ("two-layer-tanh", "mlp-tanh")]


def floats(rows: Any) -> np.ndarray:
    return np.vectorize(float.fromhex)(np.array(rows))


def network(case: dict[str, Any]) -> Graph:
    tanh = Activation.parse("tanh")
    if case["kind"] == "two-layer-tanh":
        b = None if case["b"] is None else floats(case["b"])
        return TwoLayer(floats(case["W"]), floats(case["a"]), tanh, b).graph()
    layers = case["layers"]
    return Feedforward(
        tuple(floats(layer["W"]) for layer in layers),
        tuple(None if layer["b"] is None else floats(layer["b"]) for layer in layers),
        (tanh,) * (len(layers) - 1),
    ).graph()


def samples(X: np.ndarray) -> Inputs:
    return Inputs.of(X, X.shape[1:])


def decimal(text: str) -> Enclosure:
    """Enclose a number told to 40 digits, the last one wrong by at most 1."""
    value = Fraction(text)
    slack = abs(value) * Fraction(1, 10**38)
    return Enclosure.outward(value - slack, value + slack, bits=400)


def meets(found: Evidence, true: Enclosure) -> bool:
    value = found.enclosure()
    return bool(value.lo <= true.hi and true.lo <= value.hi)


def plain(weights: list[Any], biases: list[Any], name: str) -> Graph:
    arrays = tuple(np.array(W, dtype=float) for W in weights)
    vectors = tuple(None if b is None else np.array(b, dtype=float) for b in biases)
    return Feedforward(arrays, vectors, (Activation.parse(name),) * (len(arrays) - 1)).graph()


def test_the_error_of_the_kernel_is_needed(monkeypatch: pytest.MonkeyPatch) -> None:
    whole = spectrum.enclose_smallest_eigenvalue
    case = next(case for case in CASES if case["id"] == "convergence-009")
    graph, inputs = network(case), samples(floats(case["X"]))
    true = decimal(case["lambda_min_K"])
    norm = decimal(case["norm_J"])
    most = Enclosure.outward(norm.lo**2, norm.hi**2, bits=400)
    found = enclose_tangent_spectrum(graph, inputs)
    assert meets(found.smallest, true)
    assert meets(found.largest, most)
    without = lambda mid, error, **told: whole(mid, **told)  # noqa: E731
    monkeypatch.setattr(spectrum, "enclose_smallest_eigenvalue", without)
    found = enclose_tangent_spectrum(graph, inputs)
    assert not meets(found.smallest, true)
    assert not meets(found.largest, most)


def test_the_radii_of_balls_are_needed(monkeypatch: pytest.MonkeyPatch) -> None:
    whole, case = ball_spectrum.ball_gram, CASES[9]
    graph, inputs = network(case), samples(floats(case["X"]))
    true = decimal(case["lambda_min_K"])
    monkeypatch.setattr(ball_spectrum, "BITS", (60,))
    assert meets(ball_tangent_spectrum(graph, inputs).smallest, true)
    monkeypatch.setattr(ball_spectrum, "ball_gram", lambda *a, **b: whole(*a, **b).mid())
    assert not meets(ball_tangent_spectrum(graph, inputs).smallest, true)


def test_discs_are_needed(monkeypatch: pytest.MonkeyPatch) -> None:
    """K has the eigenvalues 1 and 3, and the proposed vectors are wrong."""
    K, row = arb_mat([[2, 1], [1, 2]]), ball_spectrum._row
    monkeypatch.setattr(ball_spectrum, "_basis", lambda K: arb_mat([[1, 0], [0, 1]]))
    least, most = ball_spectrum.extreme_eigenvalues(K)
    assert least.contains(1)
    assert most.contains(3)

    def without(M: Any, i: int, left_out: int | None) -> Any:
        return row(M, i, None) if left_out is None else arb(0)

    monkeypatch.setattr(ball_spectrum, "_row", without)
    least, most = ball_spectrum.extreme_eigenvalues(K)
    assert least.lo > 1
    assert most.hi < 3


def test_balls_that_are_wide_are_enclosed() -> None:
    """Of all K in [1, 3], and of all diag(K, 2)."""
    wide = arb(2, 1)
    for K in (arb_mat([[wide]]), arb_mat([[wide, 0], [0, 2]])):
        least, most = ball_spectrum.extreme_eigenvalues(K)
        assert least.contains(1)
        assert most.contains(3)


@pytest.mark.parametrize("scale", [Fraction(5, 4), Fraction(3, 4)], ids=["long", "short"])
def test_lengths_of_vectors_are_needed(monkeypatch: pytest.MonkeyPatch, scale: Fraction) -> None:
    """The ends then cross, since the quotients divide by the lengths."""
    K, row = arb_mat([[1, 0], [0, 1]]), ball_spectrum._row
    basis = [[0.6 * scale, -0.8 * scale], [0.8 * scale, 0.6 * scale]]
    wrong = arb_mat([[arb(float(v)) for v in line] for line in basis])
    monkeypatch.setattr(ball_spectrum, "_basis", lambda K: wrong)
    least, most = ball_spectrum.extreme_eigenvalues(K)
    assert least.contains(1)
    assert most.contains(1)

    def without(M: Any, i: int, left_out: int | None) -> Any:
        return arb(0) if left_out is None else row(M, i, left_out)

    monkeypatch.setattr(ball_spectrum, "_row", without)
    with pytest.raises(EnclosureError):
        ball_spectrum.extreme_eigenvalues(K)


def test_distances_of_rounded_kernels_are_needed(monkeypatch: pytest.MonkeyPatch) -> None:
    case = CASES[4]
    graph, inputs = network(case), samples(floats(case["X"]))
    entry = Fraction(case["K"][0][0])
    gram = ball_tangent_spectrum(graph, inputs).gram
    assert abs(Fraction(gram.mid[0, 0]) - entry) <= Fraction(gram.error)
    assert gram.error > 0
    monkeypatch.setattr(ball_spectrum, "_row", lambda M, i, j: arb(0))
    gram = ball_tangent_spectrum(graph, inputs).gram
    assert abs(Fraction(gram.mid[0, 0]) - entry) > Fraction(gram.error)


def _exact(values: Any) -> list[Fraction]:
    return [Fraction(value) for value in np.asarray(values, dtype=float).ravel().tolist()]


def test_plain_products_pay_for_their_rounding(monkeypatch: pytest.MonkeyPatch) -> None:
    rng, b = np.random.default_rng(2), GraphBuilder()
    weight = rng.normal(size=(20, 50))
    graph = b.build(b.add("linear", (b.input((50,)),), {}, {"weight": ("W", weight)}))
    x = MidRad.exact(rng.normal(size=(4, 50)))
    true = [
        sum((p * q for p, q in zip(_exact(w), _exact(v), strict=True)), Fraction(0))
        for v in x.mid
        for w in weight
    ]

    def excess() -> int:
        found = balls.FloatBalls(sliced=False).push(linear_map(graph.nodes[-1], (50,), weight), x)
        told = zip(_exact(found.mid), _exact(found.rad), true, strict=True)
        return sum(abs(value - mid) > rad for mid, rad, value in told)

    assert excess() == 0
    monkeypatch.setattr(balls, "gamma", lambda k: 0.0)
    monkeypatch.setattr(balls, "tau", lambda *told: 0.0)
    assert excess() > 0


@pytest.mark.parametrize("term", ["U", "OMEGA"])
def test_middles_of_intervals_are_rounded(monkeypatch: pytest.MonkeyPatch, term: str) -> None:
    rng = np.random.default_rng(3)
    lo = rng.normal(size=200) * (2.0**-1060 if term == "OMEGA" else 1.0)
    hi = lo + np.abs(lo) * 2.0**-51 + 2.0**-1074
    lo, hi = np.append(lo, 1.5), np.append(hi, 1.5)

    def excess() -> int:
        mid, rad = np.empty(len(lo)), np.empty(len(lo))
        balls._fill.py_func(lo, hi, mid, rad)
        ends = zip(_exact(lo), _exact(hi), _exact(mid), _exact(rad), strict=True)
        return sum(m - r > a or m + r < b for a, b, m, r in ends)

    assert excess() == 0
    compiled = balls._between(lo, hi, lo.shape)
    assert compiled.rad[-1] == 0.0
    assert compiled.mid[-1] == 1.5
    if term == "U":
        monkeypatch.setattr(balls, "RAISE", 1.0)
    monkeypatch.setattr(balls, term, 0.0)
    assert excess() > 0


def test_sums_that_cancel_are_not_called_zero(monkeypatch: pytest.MonkeyPatch) -> None:
    """The pre-activation is exactly 0, but its derivative by the weights is not."""
    graph = plain([[[1.0, -1.0], [1.0, 1.0]], [[1.0, 2.0]]], [None, None], "tanh")
    inputs = samples(np.array([[1.0, 1.0]]))
    assert tangent_singularity(graph, inputs).value is Truth.UNDECIDED
    assert enclose_tangent_spectrum(graph, inputs).smallest.value.lo > 0
    one = plain([[[1.0, -1.0]], [[1.0]]], [None, None], "tanh")
    other, frozen = samples(np.array([[2.0, 1.0]])), ["linear1.weight"]

    def signed(self: Any, linear: LinearMap, x: Any) -> Any:
        return zero_entries.Present.where(linear.apply(np.ones_like(x.mid)) != 0.0)

    assert tangent_singularity(one, other, frozen=frozen).value is Truth.UNDECIDED
    monkeypatch.setattr(zero_entries.Presence, "push", signed)
    assert tangent_singularity(one, other, frozen=frozen).value is Truth.REFUTED


@pytest.mark.parametrize(
    ("name", "biases"), [("sigmoid", [None, None]), ("tanh", [[0.0], None]),
                         ("leaky_relu(1)", [[0.0], None])],
)  # fmt: skip
def test_what_is_not_zero_at_zero_is_not_called_zero(
    name: str, biases: list[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """At x = 0: sigma(0) moves the output with its weight, and sigma'(0) with the bias."""
    graph, inputs = plain([[[1.0]], [[2.0]]], biases, name), samples(np.zeros((1, 1)))
    assert tangent_singularity(graph, inputs).value is Truth.UNDECIDED
    monkeypatch.setattr(zero_entries, "_at_zero", lambda activation: (0.0, 0.0))
    assert tangent_singularity(graph, inputs).value is Truth.REFUTED


def test_presence_is_lost_by_exact_zeros_alone() -> None:
    """A ball about 0 may hold other numbers; a sum may differ from 0 if a term does."""
    one, zero = np.ones(3), np.zeros(3)
    known = MidRad(zero, np.array([0.0, 1e-300, 5e-324]))
    told = zero_entries.Presence({"a": (known, MidRad.exact(one))})
    value, slope = told.activate(Activation.parse("tanh"), zero_entries.Present(one), "a")
    assert value.mid.tolist() == [0.0, 1.0, 1.0]
    assert slope.mid.tolist() == [1.0, 1.0, 1.0]
    a, b = (zero_entries.Present(np.array(v)) for v in ([1.0, 0.0, 0.0], [0.0, 1.0, 0.0]))
    assert (a + b).mid.tolist() == (a - b).mid.tolist() == [1.0, 1.0, 0.0]

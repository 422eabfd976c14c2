"""Theorem I for a scale gamma of either sign, near the end of what is well posed."""

from __future__ import annotations

import time
from fractions import Fraction
from typing import Any

import numpy as np
import pytest

from verify.certificate import Certificate
from verify.engine import check
from verify.network import Activation, Data, Equilibrium, ReluFeatureInput, ScaledGaussianWeight
from verify.verdict import Verdict
from verify_conditions import linearisation
from verify_kernels.forward import Inputs
from verify_kernels.implicit_relu import balls, enclose_implicit
from verify_kernels.implicit_relu.state import read_task

NAME = "converges-from-here"


def _network(A: Any, gamma: Fraction, seed: int, d: int = 3) -> Equilibrium:
    rng = np.random.default_rng(seed)
    m = len(A)
    readout = {"u": rng.standard_normal(m), "v": rng.standard_normal(m)}
    features = ReluFeatureInput(np.abs(rng.standard_normal((m, d))))
    return Equilibrium(ScaledGaussianWeight(A, gamma), Activation("relu"), features, readout)


def _certified(network: Equilibrium, missing: float, **settings: str) -> Certificate:
    """The certificate where every output misses its target by about as much."""
    X = np.abs(np.random.default_rng(7).standard_normal((2, 3)))
    state = enclose_implicit(network, Inputs.of(X, (3,)), np.zeros(2))
    y = np.array([float(row[0].lo) for row in state.outputs]) + missing
    own = {f"{NAME}.frozen": "none"} | {f"{NAME}.{key}": text for key, text in settings.items()}
    (found,) = check(network, Data(X, y), conditions=[NAME], settings=own)
    return found


def _chain(entry: float) -> Any:
    """A nilpotent A: the equilibrium is unique however large its norm is."""
    A = np.zeros((4, 4))
    A[1, 0] = A[2, 1] = A[3, 2] = entry
    return A


@pytest.mark.parametrize("gamma", [Fraction(1, 2), Fraction(-1, 2)])
@pytest.mark.parametrize("radius", ["1/2", "50"])
def test_a_large_ball_is_not_well_posed_with_either_sign(gamma: Fraction, radius: str) -> None:
    """||g A|| = 3: with q = ||g A|| + g R instead of ||g A|| + |g| R a large R would prove it."""
    network = _network(_chain(float(24 * gamma)), gamma, 0)
    assert _certified(network, 1e-4, radius=radius).verdict is Verdict.UNDECIDED


def test_the_sign_of_the_scale_and_of_the_weight_cancel() -> None:
    A = np.random.default_rng(3).standard_normal((6, 6)) / 4
    for missing, verdict in ((1e-3, Verdict.PASS), (10.0, Verdict.UNDECIDED)):
        plain = _certified(_network(A, Fraction(1, 4), 1), missing)
        turned = _certified(_network(-A, Fraction(-1, 4), 1), missing)
        assert plain.verdict is turned.verdict is verdict


def test_no_balls_where_no_path_fits_a_well_posed_ball(monkeypatch: pytest.MonkeyPatch) -> None:
    """A residual so large that ||g A|| + g R > 1 on every ball that holds a path."""
    asked = []
    original = linearisation.enclose_implicit

    def noted(*given: Any, **more: Any) -> Any:
        asked.append(more["precise"])
        return original(*given, **more)

    monkeypatch.setattr(linearisation, "enclose_implicit", noted)
    A = np.random.default_rng(3).standard_normal((6, 6)) / 4
    found = _certified(_network(A, Fraction(1, 4), 1), 10.0)
    assert asked == [False]
    assert "train until ||r|| <" in found.guidance[0]
    assert "the equilibrium is not proved to be unique" in found.guidance[0]


def test_a_pass_that_cannot_end_in_time_is_not_begun(monkeypatch: pytest.MonkeyPatch) -> None:
    network = _network(np.random.default_rng(0).standard_normal((300, 300)), Fraction(1, 8), 2)
    inputs = Inputs.of(np.random.default_rng(1).standard_normal((8, 3)), (3,))
    task = read_task(network, inputs, np.zeros(8))
    given = enclose_implicit(network, inputs, np.zeros(8))
    begun: list[int] = []
    monkeypatch.setattr(balls, "_pass", lambda *given: begun.append(1))
    assert balls.refine(task, given, time.monotonic() + 0.5).s0 is given.s0
    assert not begun
    balls.refine(task, given, time.monotonic() + 3600.0)
    assert begun

"""The features of an implicit ReLU network are Lipschitz in A and W with the stated constants.

||Z - Z0||_F <= (g ||A - A0||_F ||Z0|| + ||Phi - Phi0||_F)/(1 - q), q = g (||A0|| + R), and the same
with mu0 - g R in place of 1 - q, for every A, W within R of A0, W0.
"""

from __future__ import annotations

import os
from fractions import Fraction
from typing import Any

import numpy as np
import pytest
from flint import arb, ctx, fmpq

from verify.network import Activation, Equilibrium, ReluFeatureInput, ScaledGaussianWeight
from verify_kernels.forward import Inputs
from verify_kernels.implicit_relu import ImplicitState, enclose_implicit

GAMMA = Fraction(1, 4)


def _state(A: Any, W: Any, X: Any) -> ImplicitState:
    m = len(A)
    network = Equilibrium(ScaledGaussianWeight(A, GAMMA), Activation("relu"), ReluFeatureInput(W),
                          {"u": np.ones(m), "v": np.ones(m)})  # fmt: skip
    return enclose_implicit(network, Inputs.of(X, (X.shape[1],)), np.zeros(len(X)), precise=True)


def _frobenius(entries: Any) -> Any:
    return sum((x * x for x in entries), arb(0)).nonnegative_part().sqrt()


def _difference(a: Any, b: Any) -> Any:
    return _frobenius(
        [arb(float(x)) - arb(float(y)) for x, y in zip(a.ravel(), b.ravel(), strict=True)]
    )


def _ball(value: Any) -> Any:
    return arb(fmpq(value.numerator, value.denominator))


def _draw(rng: np.random.Generator, monotone: bool) -> tuple[Any, ...]:
    m, d, n = int(rng.integers(2, 6)), int(rng.integers(1, 4)), int(rng.integers(1, 4))
    A = rng.standard_normal((m, m))
    if monotone:
        A = 12.0 * (A - A.T) + A
    W, X = rng.standard_normal((m, d)), rng.standard_normal((n, d))
    size = 10.0 ** rng.uniform(-6, 0)
    dA, dW = size * rng.standard_normal((m, m)), size * rng.standard_normal((m, d))
    if rng.random() < 0.3:  # the worst direction for one sample is a matrix of rank one
        dA = size * np.outer(rng.standard_normal(m), rng.standard_normal(m))
    return A, W, X, A + dA, W + dW


@pytest.mark.soundness
@pytest.mark.parametrize("monotone", [False, True], ids=["norm", "monotone"])
def test_features_move_at_most_as_stated(monotone: bool) -> None:
    rng = np.random.default_rng(31)
    done, closest = 0, Fraction(0)
    count = 100 if os.environ.get("VERIFY_CAMPAIGN") == "full" else 12
    for _ in range(count):
        A0, W0, X, A1, W1 = _draw(rng, monotone)
        with ctx.workprec(128):
            before, after = _state(A0, W0, X), _state(A1, W1, X)
            g = _ball(GAMMA) / arb(len(A0)).sqrt()
            by_A, by_W = _difference(A1, A0), _difference(W1, W0)
            R = (by_A * by_A + by_W * by_W).sqrt()
            if monotone:
                room = _ball(before.monotone_margin.enclosure().lo) - g * R
            else:
                room = 1 - _ball(before.norm_W.enclosure().hi) - g * R
            if not room > 0:
                continue
            moved_Z, moved_Phi = (
                _frobenius((b - a).entries())
                for a, b in zip(before.balls, after.balls, strict=True)
            )
            Z0, Xn = (_ball(v.enclosure().hi) for v in (before.norm_Z0, before.norm_X))
            bound_Phi = by_W * Xn / arb(len(A0)).sqrt()
            assert not moved_Phi > bound_Phi
            bound_Z = (g * by_A * Z0 + moved_Phi) / room
            assert not moved_Z > bound_Z
            b = (((g * Z0) ** 2 + Xn**2 / len(A0)) / room**2 + Xn**2 / len(A0)).sqrt()
            assert not (moved_Z**2 + moved_Phi**2).sqrt() > b * R
            # the same network at the end of the way stays inside the margin
            after_room = (
                after.monotone_margin.enclosure().hi
                if monotone
                else 1 - after.norm_W.enclosure().lo
            )
            assert not _ball(after_room) < room
            closest = max(closest, Fraction(float((moved_Z / bound_Z).mid())) if bound_Z > 0 else 0)
            done += 1
    assert done >= count // 2
    assert closest > Fraction(1, 10)  # the bound is not idle


def test_the_bound_is_attained_by_one_unit() -> None:
    """z = relu(a z + x w) with z = x w/(1 - a): here 1 - q = mu, and both forms are equalities."""
    for precise_step in (2.0**-10, 2.0**-20):
        before = _state(np.array([[1.0]]), np.array([[1.0]]), np.array([[1.0]]))
        after = _state(np.array([[1.0]]), np.array([[1.0 + precise_step]]), np.array([[1.0]]))
        with ctx.workprec(128):
            moved = (after.balls[0] - before.balls[0])[0, 0]
            bound = arb(precise_step) / (1 - _ball(GAMMA))
            assert moved.overlaps(bound)

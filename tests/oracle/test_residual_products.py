"""Gradient norm and Newton step against exact rational arithmetic, and every error term."""

from __future__ import annotations

import math
import os
import time
from fractions import Fraction

import numpy as np
import pytest
from flint import arb_mat, fmpq, fmpq_mat

from verify.enclosure import Enclosure
from verify.errors import EnclosureError, InputError
from verify.evidence import Evidence
from verify.network import Activation, TwoLayer
from verify_kernels.forward.inputs import Inputs
from verify_kernels.residual import (
    Residual,
    enclose_residual,
    gradient,
    gradient_norm,
    newton,
    newton_step,
    quadratic,
)
from verify_kernels.residual.norms import box_norm
from verify_kernels.residual.quadratic import float_problem
from verify_kernels.tangent_kernel import enclose_tangent_gram, rational_gram
from verify_kernels.tangent_kernel.gram import TangentGram
from verify_kernels.tangent_kernel.wide_balls import ball_gram
from verify_kernels.two_layer.midrad import MidRad

FULL = os.environ.get("VERIFY_CAMPAIGN") == "full"


def residual_of(mid, rad) -> Residual:
    mid, rad = np.asarray(mid, dtype=float), np.asarray(rad, dtype=float)
    return Residual(mid, rad, Evidence(box_norm(mid, rad)))


def gram_of(mid, error: float) -> TangentGram:
    mid = np.asarray(mid, dtype=float)
    return TangentGram(mid, error, 1, len(mid))


def to_fmpq(value) -> fmpq:
    exact = Fraction(value)
    return fmpq(exact.numerator, exact.denominator)


def exact_matrix(rows) -> fmpq_mat:
    return fmpq_mat([[to_fmpq(value) for value in row] for row in rows])


def to_fraction(value) -> Fraction:
    return Fraction(int(value.p), int(value.q))


def squares(K: fmpq_mat, r: list[Fraction]) -> tuple[Fraction, Fraction | None]:
    """Return r^T K r and r^T K^-1 r exactly, the latter None for a singular K."""
    column = fmpq_mat([[to_fmpq(value)] for value in r])
    row = column.transpose()
    inverse = None if K.det() == 0 else to_fraction((row * K.solve(column))[0, 0])
    return to_fraction((row * (K * column))[0, 0]), inverse


def least_eigenvalue(K: fmpq_mat) -> Fraction:
    """A positive lower bound of lambda_min, near it."""
    floats = np.array([[float(to_fraction(K[i, j])) for j in range(K.ncols())]
                       for i in range(K.nrows())])  # fmt: skip
    guess = Fraction(float(np.linalg.eigvalsh(floats)[0]))
    order = K.nrows()
    shift = fmpq_mat([[to_fmpq(guess if i == j else 0) for j in range(order)]
                      for i in range(order)])  # fmt: skip
    while guess > 0 and not positive(K - shift):
        guess *= Fraction(63, 64)
        shift *= fmpq(63, 64)
    return guess


def positive(K: fmpq_mat) -> bool:
    """Whether all leading minors are positive."""
    return all(
        fmpq_mat([[K[i, j] for j in range(k)] for i in range(k)]).det() > 0
        for k in range(1, K.nrows() + 1)
    )


def random_problem(rng: np.random.Generator):
    """Return r and K with errors, and a true r and K on the boundary of what they allow."""
    n = int(rng.integers(1, 7))
    J = rng.standard_normal((n, n + int(rng.integers(0, 4))))
    J[0] *= 10.0 ** rng.integers(-4, 1)
    J *= 2.0 ** int(rng.choice([0, 0, 0, 400, -400]))
    mid = np.tril(J @ J.T)
    mid = mid + np.tril(mid, -1).T
    u = rng.standard_normal(n)
    u /= np.linalg.norm(u)
    error = float(np.linalg.eigvalsh(mid)[0]) * float(rng.choice([0.0, 1e-12, 1e-3, 0.25]))
    error = max(error, 0.0)
    unit = [Fraction(value) for value in u]
    length = sum(value * value for value in unit)  # u u^T / length has norm 1
    sign = int(rng.choice([-1, 1]))
    K = exact_matrix(mid) + sign * to_fmpq(error) * exact_matrix(
        [[a * b / length for b in unit] for a in unit]
    )
    scale = 2.0 ** int(rng.choice([0, 0, 0, 600, -600, -1040]))
    m = rng.standard_normal(n) * scale
    rad = np.abs(m) * float(rng.choice([0.0, 1e-14, 1e-2, 1.0]))
    r = [Fraction(a) + int(s) * Fraction(b)
         for a, b, s in zip(m, rad, rng.choice([-1, 1], n), strict=True)]  # fmt: skip
    return residual_of(m, rad), gram_of(mid, error), r, K


def wrong(rng: np.random.Generator, cases: int) -> tuple[int, int, int]:
    """Count cases in which the gradient norm or the Newton step is not contained."""
    gradients = steps = decided = 0
    for _ in range(cases):
        residual, gram, r, K = random_problem(rng)
        square, inverse = squares(K, r)
        found = gradient_norm(residual, gram).enclosure()
        gradients += found.is_bounded and not _within(found, square)
        smallest = least_eigenvalue(K) if inverse is not None and positive(K) else Fraction(0)
        if smallest > 0:
            try:
                told = newton_step(residual, gram, Enclosure.outward(smallest, smallest))
            except EnclosureError:  # the ends contradict each other
                steps += 1
                continue
            decided += told.enclosure().is_bounded
            steps += told.enclosure().is_bounded and not _within(told.enclosure(), inverse)
    return gradients, steps, decided


def _within(found: Enclosure, square: Fraction) -> bool:
    return max(found.lo, 0) ** 2 <= square <= found.hi**2


@pytest.mark.soundness
def test_campaign_against_exact_fractions() -> None:
    count, started = 1000 if FULL else 100, time.perf_counter()
    gradients, steps, decided = wrong(np.random.default_rng(11), count)
    assert (gradients, steps) == (0, 0)
    assert decided > count // 2
    print(f"campaign gradient norm and Newton step: {count} cases, seed 11, "
          f"{time.perf_counter() - started:.1f} s, 0 wrong")  # fmt: skip


@pytest.mark.parametrize("seed", range(4))
def test_networks_in_floats_balls_and_fractions(seed: int) -> None:
    rng = np.random.default_rng(seed)
    graph = TwoLayer(
        rng.standard_normal((6, 3)), rng.standard_normal(6), Activation.parse("leaky_relu(1/2)")
    ).graph()
    inputs, y = Inputs.of(rng.standard_normal((4, 3)), (3,)), rng.standard_normal(4)
    exact = rational_gram(graph, inputs)
    plain, precise = (enclose_residual(graph, inputs, y, precise=tier) for tier in (False, True))
    square, inverse = squares(exact, [to_fraction(v) for v in precise.numbers])
    low = least_eigenvalue(exact)
    smallest = Enclosure.outward(low, 2 * low)
    for kernel in (enclose_tangent_gram(graph, inputs), ball_gram(graph, inputs, 300), exact):
        for residual in (plain, precise):
            told = gradient_norm(residual, kernel).enclosure()
            assert _within(told, square)
            assert told.hi - told.lo < told.lo / 10**9
            step = newton_step(residual, kernel, smallest).enclosure()
            assert _within(step, inverse)
            assert step.hi - step.lo < step.lo / 10**6
    both = gradient_norm(precise, exact).enclosure(), newton_step(precise, exact, smallest)
    assert both[0].hi - both[0].lo < both[0].lo / 10**50
    assert both[1].enclosure().hi - both[1].enclosure().lo < both[1].enclosure().lo / 10**50


def test_a_residual_that_is_zero() -> None:
    zero, K = residual_of([0.0, 0.0], [0.0, 0.0]), gram_of(np.eye(2), 0.5)
    assert gradient_norm(zero, K).enclosure().lo == 0
    assert gradient_norm(zero, K).enclosure().hi < Fraction(1, 2**400)
    assert newton_step(zero, K, Enclosure.exact(Fraction(1, 2))).enclosure() == Enclosure.exact(0)


def test_what_is_not_known_is_told() -> None:
    one = residual_of([1.0], [0.0])
    open_gram = TangentGram(np.zeros((1, 1)), math.inf, 1, 1, why_open="at a kink")
    assert gradient_norm(one, open_gram).why_open == "at a kink"
    unknown = residual_of([0.0], [math.inf])
    assert not gradient_norm(unknown, gram_of([[1.0]], 0.0)).enclosure().is_bounded
    singular = newton_step(one, gram_of([[1.0]], 2.0), Enclosure(0, 3))
    assert not singular.enclosure().is_bounded
    assert singular.why_open == "lambda_min(K) > 0 is not proved"
    # Without a kernel, ||r|| / sqrt(lambda_min) is left.
    plain = newton_step(one, open_gram, Enclosure(4, 5)).enclosure()
    assert plain.contains(Fraction(1, 2))
    for call in (
        lambda K: gradient_norm(one, K), lambda K: newton_step(one, K, Enclosure.exact(1))
    ):  # fmt: skip
        for K in (gram_of(np.eye(2), 0.0), arb_mat(2, 2, [1, 0, 0, 1])):
            with pytest.raises(InputError, match="expected a tangent kernel of order 1, that"):
                call(K)


def test_a_singular_midpoint_is_no_obstacle() -> None:
    """K' is singular and the true K is not: the proposal fails and the bound stays."""
    found = newton_step(
        residual_of([3.0], [0.0]), gram_of([[0.0]], 1.0), Enclosure.exact(1)
    ).enclosure()
    assert found.contains(3)
    assert found.hi < 3 + Fraction(1, 10**14)


# Without a term, something is missed ------------------------------------------------------------


def test_the_error_of_the_kernel_is_needed(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (gradient, newton):
        genuine = module.float_problem

        def without(residual, gram, where, genuine=genuine):
            return genuine(residual, gram_of(gram.mid, 0.0), where)

        monkeypatch.setattr(module, "float_problem", without)
    gradients, steps, _ = wrong(np.random.default_rng(12), 40)
    assert gradients > 0
    assert steps > 0


def test_the_radius_of_the_residual_is_needed(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (gradient, newton):
        genuine = module.float_problem

        def without(residual, gram, where, genuine=genuine):
            return genuine(residual_of(residual.mid, 0.0 * residual.rad), gram, where)

        monkeypatch.setattr(module, "float_problem", without)
    gradients, steps, _ = wrong(np.random.default_rng(13), 40)
    assert gradients > 0
    assert steps > 0


def test_the_rounding_of_products_is_needed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(MidRad, "dot", lambda self, v: MidRad(self.mid @ v, self.rad @ np.abs(v)))
    monkeypatch.setattr(MidRad, "__sub__", lambda a, b: MidRad(a.mid - b.mid, a.rad + b.rad))
    monkeypatch.setattr(MidRad, "__add__", lambda a, b: MidRad(a.mid + b.mid, a.rad + b.rad))
    monkeypatch.setattr(MidRad, "ends", lambda self: (self.mid - self.rad, self.mid + self.rad))
    gradients, steps, _ = wrong(np.random.default_rng(14), 60)
    assert gradients > 0
    assert steps > 0


def test_what_the_proposal_leaves_is_needed(monkeypatch: pytest.MonkeyPatch) -> None:
    """A proposal that is far off is paid for by ||w||^2 / lambda_min."""
    monkeypatch.setattr(newton, "_solved", lambda K, m: m)
    assert wrong(np.random.default_rng(15), 30)[1] == 0
    monkeypatch.setattr(newton, "box_norm", lambda mid, rad: Enclosure.exact(0))
    assert wrong(np.random.default_rng(15), 30)[1] > 0


def test_any_proposal_is_right(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(16)
    monkeypatch.setattr(newton, "_solved", lambda K, m: rng.standard_normal(len(m)))
    assert wrong(np.random.default_rng(17), 40)[1] == 0


def test_the_kernel_is_scaled_within_binary64() -> None:
    """K of size 2^1000 with an entry that a scaling loses, and r of size 2^-1040."""
    K = np.array([[2.0**1000, 2.0**-70], [2.0**-70, 2.0**1000]])
    r = np.array([2.0**-1040, -(2.0**-1074)])
    square, inverse = squares(exact_matrix(K), [Fraction(value) for value in r])
    found = gradient_norm(residual_of(r, 0 * r), gram_of(K, 0.0)).enclosure()
    assert _within(found, square)
    assert found.hi - found.lo < found.lo / 10**9
    low = Fraction(2) ** 1000 - Fraction(2) ** -70
    step = newton_step(residual_of(r, 0 * r), gram_of(K, 0.0), Enclosure.exact(low)).enclosure()
    assert _within(step, inverse)
    assert step.hi - step.lo < step.lo / 10**9


def _scaled_exactly(r, rad, K) -> bool:
    """Return whether a scaled problem contains the residual and the kernel that it came from."""
    found = float_problem(residual_of(r, rad), gram_of(K, 0.0), "t")
    assert found.k < 0
    assert found.j < 0
    r_unit, K_unit = Fraction(2) ** found.k, Fraction(4) ** found.j
    holds = True
    for k, (mid, radius) in enumerate(zip(r, rad, strict=True)):
        for true in (Fraction(mid) - Fraction(radius), Fraction(mid) + Fraction(radius)):
            distance = abs(r_unit * true - Fraction(float(found.r.mid[k])))
            holds &= distance <= Fraction(float(found.r.rad[k]))
        holds &= abs(K_unit * Fraction(K[k][k]) - Fraction(float(found.K[k, k]))) <= found.error
    return holds


@pytest.mark.parametrize("radius", [0.0, 2.0**-60, 1.5 * 2.0**-55])
def test_bits_lost_by_scaling_are_needed(radius: float, monkeypatch: pytest.MonkeyPatch) -> None:
    """Radii and midpoints that a scaling downward rounds, the radius to either side."""
    r = [2.0**1000, 5 * 2.0**-76 + 2.0**-110]
    K = np.diag([2.0**1000, 5 * 2.0**-76 + 2.0**-120])
    assert _scaled_exactly(r, [0.0, radius], K)
    monkeypatch.setattr(quadratic, "up_array", lambda values: values)
    assert not _scaled_exactly(r, [0.0, radius], K)
    monkeypatch.undo()
    monkeypatch.setattr(quadratic, "ETA", 0.0)
    assert not _scaled_exactly(r, [0.0, radius], K)


def test_what_a_wide_residual_leaves_in_balls_is_needed() -> None:
    """K = 1 and r in [1/2, 3/2]: v = 1, v (2r - v) is at most 2, and Y^2 may be 9/4."""
    low = Enclosure(Fraction(1, 4), 1)  # with 1, ||r||/sqrt(lambda_min) is taken
    found = newton_step(residual_of([1.0], [0.5]), fmpq_mat([[1]]), low).enclosure()
    assert found.lo == 0
    assert found.hi >= Fraction(3, 2)

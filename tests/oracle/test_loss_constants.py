"""Constants of losses against exact Hessians; the last layer's numbers against exact descent."""

from __future__ import annotations

import random
from fractions import Fraction

import pytest
import sympy as sp
from flint import arb, arb_mat, ctx, fmpq, fmpq_mat

from verify_conditions.expressivity import formulas
from verify_conditions.expressivity.losses import LOSSES
from verify_kernels import small_spectrum

HALF = Fraction(1, 2)


@pytest.mark.parametrize("name", ["half-squares", "mean-squares"])
@pytest.mark.parametrize("m", [1, 2, 5])
def test_squares(name: str, m: int) -> None:
    q, y = sp.symbols(f"q:{m}", real=True), sp.symbols(f"y:{m}", real=True)
    squares = sum((a - b) ** 2 for a, b in zip(q, y, strict=True))
    loss = squares / 2 if name == "half-squares" else squares / m
    entry = LOSSES[name]
    hessian = sp.hessian(loss, q)
    assert hessian == entry.smoothness.subs(formulas.M_Y.symbol, m) * sp.eye(m)
    assert entry.smoothness == entry.strong_convexity
    assert entry.smoothness_at(m) == entry.strong_convexity_at(m)
    assert loss.subs(dict(zip(q, y, strict=True))) == 0
    assert (entry.infimum, entry.attained) == ("0", True)


def test_the_hessian_of_the_cross_entropy_is_the_covariance_of_the_unit_vectors() -> None:
    q, y = sp.symbols("q:3", real=True), sp.symbols("y:3", real=True)
    powers = [sp.exp(v) for v in q]
    p = sp.Matrix([v / sum(powers) for v in powers])
    loss = sp.log(sum(powers)) - sum(a * b for a, b in zip(y, q, strict=True))
    rest = sp.hessian(loss, q) - (sp.diag(*p) - p * p.T)
    assert rest.applyfunc(sp.simplify) == sp.zeros(3)


def _covariance(p: list[Fraction]) -> fmpq_mat:
    m = len(p)
    entries = [(p[i] if i == j else 0) - p[i] * p[j] for i in range(m) for j in range(m)]
    return fmpq_mat(m, m, [fmpq(v.numerator, v.denominator) for v in map(Fraction, entries)])


def test_the_smoothness_of_the_cross_entropy_is_one_half_and_no_less() -> None:
    for name in ("cross-entropy", "soft-cross-entropy"):
        assert LOSSES[name].smoothness_at(7) == HALF
    rng = random.Random(0)
    for _ in range(100):
        m = rng.randint(2, 6)
        parts = [Fraction(rng.randint(1, 40) ** rng.randint(1, 4)) for _ in range(m)]
        p = [part / sum(parts) for part in parts]
        assert not small_spectrum.enclose_largest_eigenvalue(_covariance(p)).lo > HALF
    for zeros in range(4):
        top = small_spectrum.enclose_largest_eigenvalue(_covariance([HALF, HALF] + [0] * zeros))
        assert top.is_exact
        assert top.lo == HALF
    # near the point where it is reached, a smaller constant is wrong
    for k in (2, 10, 30):
        t = Fraction(1, 2**k)
        p = [(1 - t) / 2, (1 - t) / 2, t]
        assert small_spectrum.enclose_largest_eigenvalue(_covariance(p)).lo >= HALF - t


def test_rows_that_do_not_add_up_to_one_have_another_constant() -> None:
    scaled = _covariance([HALF, HALF]) * 2  # the Hessian of a row of sum 2
    assert small_spectrum.enclose_largest_eigenvalue(scaled).lo == 1


def test_the_smoothness_of_the_logistic_loss_is_one_quarter_and_no_less() -> None:
    q = sp.Symbol("q", real=True)
    for sign in (-1, 1):
        second = sp.diff(sp.log(1 + sp.exp(-sign * q)), q, 2)
        p = 1 / (1 + sp.exp(q))
        assert sp.simplify(second - p * (1 - p)) == 0
        assert second.subs(q, 0) == sp.Rational(1, 4)
    assert LOSSES["logistic"].smoothness_at(1) == Fraction(1, 4)  # p (1 - p) <= 1/4


def _softmax(q: list[arb]) -> list[arb]:
    powers = [v.exp() for v in q]
    return [v / sum(powers, arb(0)) for v in powers]


@pytest.mark.parametrize("name", ["cross-entropy", "logistic", "soft-cross-entropy"])
def test_no_constant_holds_for_every_output(name: str) -> None:
    """1/2 |grad l|^2 >= mu (l - inf l) fails for every mu = 2^-k at some q."""
    assert LOSSES[name].strong_convexity is None
    assert LOSSES[name].strong_convexity_at(3) is None
    with ctx.workprec(4000):
        for k in (0, 1, 5, 20):
            t = arb(2) ** (k + 3)
            excess, squared = _far_out(name, t)
            assert squared / 2 < arb(2) ** -k * excess


def _far_out(name: str, t: arb) -> tuple[arb, arb]:
    """Return l - inf l and |grad l|^2 at a point far away."""
    if name == "logistic":  # wrong by t: l is about t, the slope at most 1
        return t + (-t).exp().log1p(), 1 / (1 + (-t).exp()) ** 2
    q = [arb(0), t, arb(0)]  # the mass is on output 1
    y = [arb(1), arb(0), arb(0)] if name == "cross-entropy" else [arb(1) / 2] + [arb(1) / 4] * 2
    # log sum exp q = t + log(1 + 2 exp(-t)), without exp(t)
    total = t + (1 + 2 * (-t).exp()).log()
    p = [(-t).exp() / (1 + 2 * (-t).exp()), 1 / (1 + 2 * (-t).exp())]
    p.append(p[0])
    entropy = -sum((v * v.log() for v in y if v > 0), arb(0))
    excess = total - sum((a * b for a, b in zip(y, q, strict=True)), arb(0)) - entropy
    return excess, sum(((a - b) ** 2 for a, b in zip(p, y, strict=True)), arb(0))


def test_the_hessian_of_soft_targets_tends_to_zero_across_the_ones_too() -> None:
    with ctx.workprec(400):
        for t in (10, 40, 100):
            p = _softmax([arb(t), arb(0), arb(0)])
            H = arb_mat([[(p[i] if i == j else arb(0)) - p[i] * p[j] for j in range(3)]
                         for i in range(3)])  # fmt: skip
            v = arb_mat([[arb(2)], [arb(-1)], [arb(-1)]])  # orthogonal to the ones
            assert (v.transpose() * H * v)[0, 0] < 40 * (-arb(t)).exp()


def test_the_infimum_of_soft_targets_is_the_entropy_attained_at_their_logarithm() -> None:
    entry = LOSSES["soft-cross-entropy"]
    assert entry.infimum == "entropy of the target"
    y = [arb(1) / 2, arb(1) / 3, arb(1) / 6]
    gradient = [p - v for p, v in zip(_softmax([v.log() for v in y]), y, strict=True)]
    assert all(part.contains(0) for part in gradient)
    assert not entry.attained  # [1, 0] is admissible, and log 0 is no number


# The last layer --------------------------------------------------------------------------------


def _orthogonal(order: int) -> sp.Matrix:
    """Return a rational orthogonal matrix that mixes neighbours by (3, 4, 5)."""
    Q = sp.eye(order)
    for k in range(order - 1):
        G = sp.eye(order)
        G[k, k], G[k, k + 1] = sp.Rational(3, 5), -sp.Rational(4, 5)
        G[k + 1, k], G[k + 1, k + 1] = sp.Rational(4, 5), sp.Rational(3, 5)
        Q = Q * G
    return Q


@pytest.mark.parametrize("name", ["half-squares", "mean-squares"])
def test_the_numbers_of_the_last_layer_hold_for_exact_descent(name: str) -> None:
    n, columns, m = 3, 4, 2
    sigmas = [sp.Rational(5, 2), sp.Rational(2), sp.Rational(1, 3)]
    middle = sp.zeros(n, columns)
    for k, sigma in enumerate(sigmas):
        middle[k, k] = sigma
    Z = _orthogonal(n) * middle * _orthogonal(columns)
    entry = LOSSES[name]
    L, mu = (part.subs(formulas.M_Y.symbol, m) for part in (entry.smoothness,
                                                            entry.strong_convexity))  # fmt: skip
    at = {formulas.N.symbol: n, formulas.SIGMA_N.symbol: sigmas[-1],
          formulas.SIGMA_MAX.symbol: sigmas[0], formulas.L_L.symbol: L,
          formulas.MU.symbol: mu}  # fmt: skip
    step, pl, rate = (
        f.subs(at) for f in (formulas.STEP, formulas.PL_CONSTANT, formulas.CONTRACTION)
    )
    rng = random.Random(3)
    Y = sp.Matrix(n, m, [sp.Rational(rng.randint(-9, 9), 4) for _ in range(n * m)])
    V = start = sp.zeros(columns, m)
    best = Z.T * (Z * Z.T).inv() * Y  # the minimiser of least distance from 0
    scale = L / (2 * n)

    def value(W: sp.Matrix) -> sp.Rational:
        return scale * sum(entry**2 for entry in Z * W - Y)

    assert value(best) == 0
    distance2 = sum(v**2 for v in best - start)
    for t in range(1, 6):
        gradient = 2 * scale * Z.T * (Z * V - Y)
        assert sum(g**2 for g in gradient) / 2 >= pl * value(V)
        ahead = V - step * gradient
        assert value(ahead) <= rate * value(V)
        V = ahead
        bound = formulas.SUBLINEAR.subs(at).subs(formulas.STEPS.symbol, t)
        assert value(V) <= bound.subs(formulas.DISTANCE.symbol, sp.sqrt(distance2))
    # along the extreme singular vectors both constants are reached
    low, top = (_orthogonal(n)[:, k] * sp.ones(1, m) for k in (n - 1, 0))
    for direction, constant in ((low, pl), (top, 1 / step)):
        gradient = 2 * scale * Z.T * direction
        reached = scale * sum(v**2 for v in direction)
        assert sum(g**2 for g in gradient) / 2 == constant * reached


def test_the_largest_number_of_samples() -> None:
    H = formulas.WIDTH.symbol
    assert formulas.LARGEST_COUNT.subs(H, 512) == 513
    assert formulas.LARGEST_COUNT_WITHOUT_BIAS.subs(H, 512) == 512

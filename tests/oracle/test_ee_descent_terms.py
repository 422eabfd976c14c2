"""Descent of the last layer: for every error term an input at which the bound needs it.

The exact value is a rational or a ball. Sums of floats err most where every addition rounds to the
same side, products where their mantissas are close to 1; the given numbers were searched for.
"""

from fractions import Fraction

import numpy as np
import pytest
from flint import arb, ctx, fmpq

from verify_conditions.expressivity import ee_loss_values
from verify_conditions.expressivity.ee_descent import LastLayer
from verify_conditions.expressivity.ee_loss_values import VALUES
from verify_kernels._rounding import ETA, U
from verify_kernels.elementary.bounds import BOUNDS

MANY = 2**16
# Once a partial sum passes 2^10, every addition of this number loses the same last bit.
BIASED = 1.0 + 2.0**-43


@pytest.fixture(autouse=True)
def _bits():
    before = ctx.prec
    ctx.prec = 2000
    yield
    ctx.prec = before


def layer(M, T, loss):
    return LastLayer(np.array(M), np.zeros(len(M)), False, np.array(T), len(T[0]), loss)


def squares_step(given, V):
    """The square of the distance of the computed step from the exact one, rational, and eps^2."""
    Z = [[Fraction(float(z)) for z in row] for row in given.M]
    W = [[Fraction(float(v)) for v in row] for row in V]
    T = [[Fraction(float(t)) for t in row] for row in given.targets]
    moved, error = given.step(np.array(V))
    c = Fraction(2, given.outputs) if given.loss == "mean-squares" else Fraction(1)
    a, total = Fraction(given.factor), Fraction(0)
    for j, row in enumerate(W):
        R = [c * (sum(map(Fraction.__mul__, z, row)) - t[j]) for z, t in zip(Z, T, strict=True)]
        for i, v in enumerate(row):
            exact = v - a * sum(r * z[i] for r, z in zip(R, Z, strict=True))
            total += (Fraction(float(moved[j, i])) - exact) ** 2
    assert np.isfinite(error)
    return total, Fraction(error) ** 2


def test_a_step_counts_the_sums_of_its_logits():
    """The targets are the computed logits: the step moves nothing, the exact one does."""
    M, V = np.full((1, MANY), BIASED), np.ones((1, MANY))
    given = layer(M, M @ V.T, "half-squares")
    away, bound = squares_step(given, V)
    assert away <= bound


def test_a_step_counts_the_sums_of_its_gradient():
    """Logits and rows are exact: what errs is one sum over all samples."""
    given = layer(np.ones((MANY, 1)), np.full((MANY, 1), -BIASED), "half-squares")
    away, bound = squares_step(given, np.zeros((1, 1)))
    assert away <= bound


def test_a_step_counts_the_rounding_of_the_difference():
    """The logit errs by u |V|, for which gamma_1 is all, and V - a G by as much again."""
    M, V = 1.0 + 2.0**-26, 1.0 + 2.0**-27
    given = layer([[M]], [[float.fromhex("0x1.0000007ffefc2p+0")]], "half-squares")
    away, bound = squares_step(given, [[V]])
    assert away <= bound
    assert away > (Fraction(2, 3) * Fraction(U)) ** 2 * Fraction(V) ** 2


def test_a_step_counts_the_rounding_of_its_rows():
    """All of difference, 2/k, the product by it and three more operations err by nearly u."""
    k = 246
    M, T, V = (
        float.fromhex(number)
        for number in ("0x1.0581bbac558bap+0", "-0x1.05e8174667dd8p+0", "0x1.f7606fb220af5p-54")
    )
    given = layer([[M]], [[T] * k], "mean-squares")
    away, bound = squares_step(given, [[V]] * k)
    assert away <= bound
    assert 4 * away > bound


def test_underflow_of_logits_is_within_the_slack():
    """Every product is eta/2 + and is rounded up to eta, or lost just below eta/2."""
    for small in (2.0**-537 * 1.25, 2.0**-538 * 1.4):
        for m, k in ((1, 1), (3, 2), (64, 5)):
            M, V = np.full((2, m), small), np.full((k, m), small)
            given = layer(M, np.zeros((2, k)), "half-squares")
            exact = m * Fraction(small) ** 2
            computed = given.logits(V)
            for row, slack in zip(computed, given.slack(V), strict=True):
                away = sum((Fraction(float(q)) - exact) ** 2 for q in row)
                assert 0 < away <= Fraction(float(slack)) ** 2


def test_underflow_of_a_step_is_within_its_bound():
    for loss in ("half-squares", "mean-squares"):
        for small in (2.0**-537 * 1.25, 2.0**-538 * 1.4, 3.0 * ETA):
            for m, k in ((1, 1), (5, 3)):
                given = layer(np.full((4, m), small), np.full((4, k), -small), loss)
                given.__dict__["factor"] = 0.75
                away, bound = squares_step(given, np.full((k, m), small))
                assert away <= bound


def test_logits_beyond_binary64_bound_no_step():
    """sigmoid gives the limit there: the rows are finite, and say nothing of a cancelled sum."""
    for top, weight in ((1e200, 1e200), (1.3e154, 1.3e154), (1e308, 3.0)):
        M = np.array([[top, top, -top, -top, 1.0]])
        for signs in ((1.0, 1.0, 1.0, 1.0), (-1.0, -1.0, -1.0, -1.0)):
            V = np.array([[*(weight * s for s in signs), 1.0]])
            given = LastLayer(M, np.zeros(1), False, np.ones(1), 1, "logistic", 1e160)
            assert given.step(V)[1] > 1e130


def exact(value):
    number = Fraction(float(value))
    return arb(fmpq(number.numerator, number.denominator))


def gradient_error(loss, Q, T):
    """The square of the Frobenius norm of the error, in balls, and of its bound."""
    rows, bound = VALUES[loss].gradient(Q, T)
    total = arb(0)
    for q, t, row in zip(Q, T, rows, strict=True):
        if loss == "logistic":
            y = exact(t[0])
            true = [-y / (1 + (y * exact(q[0])).exp())]
        else:
            powers = [(exact(x) - exact(max(q))).exp() for x in q]
            true = [p / sum(powers, arb(0)) - exact(b) for p, b in zip(powers, t, strict=True)]
        for computed, value in zip(row, true, strict=True):
            error = abs(exact(computed) - value)
            total += error * error
    return total, exact(bound) ** 2


def sequential_losses(k):
    """Logits of one large power and others so small that each addition loses all of them."""
    return np.array([[0.0] + [np.log(U) - 2.0**-10] * (k - 1)])


@pytest.mark.parametrize("k", [2, 3, 7, 15, 127])
def test_the_gradient_of_cross_entropy_counts_its_rounding(k):
    unit = np.eye(k)
    for Q in (np.zeros((1, k)), sequential_losses(k), np.linspace(-3.0, 2.0, k)[None],
              1e5 + np.linspace(-1.0, 1.0, k)[None]):  # fmt: skip
        for right in (0, k - 1):
            away, bound = gradient_error("cross-entropy", np.tile(Q, (3, 1)), unit[[right] * 3])
            assert away <= bound


def test_the_gradient_of_cross_entropy_counts_the_rounding_of_a_difference():
    """s errs by u |s|; p |s| is largest near |s| = 1, and |s| is beyond all range at the end."""
    for Q in ([-(2.0**-53) * 1.5, 1.0 + 2.0**-52], [2.0**-54 * 1.5, -1.28], [1e308, -1e308]):
        rows = np.array([Q])
        with np.errstate(over="ignore"):
            away, bound = gradient_error("cross-entropy", rows, np.array([[1.0, 0.0]]))
        assert away <= bound < arb(1e-28)


def test_the_gradient_of_the_logistic_loss_counts_its_rounding():
    for q in (0.3, -0.7, 2.0, 40.0, 700.0, -700.0, 744.0, -744.0, 800.0):
        for y in (-1.0, 1.0):
            away, bound = gradient_error("logistic", np.full((3, 1), q), np.full((3, 1), y))
            assert away <= bound


def value_of_cross_entropy(Q, right):
    powers = [exact(q).exp() for q in Q]
    return sum(powers, arb(0)).log() - exact(Q[right])


@pytest.mark.parametrize("tie", [2.0**-44, -(2.0**-44)])
def test_the_value_of_cross_entropy_counts_the_rounding_of_an_argument(tie):
    """-513 -+ 2^-44 rounds to -513: a relative error of 512 u of the loss exp(-513)."""
    Q = [tie, -513.0]
    found = VALUES["cross-entropy"].enclose(np.array([Q]), np.array([[1.0, 0.0]]), np.zeros(1))
    value = value_of_cross_entropy(Q, 0)
    assert found.arb().lower() <= value
    assert value <= found.arb().upper()


@pytest.mark.parametrize("lowest", [-745.2, -746.0, -750.0])
def test_the_value_of_cross_entropy_counts_lost_powers(lowest):
    """Powers below the range of binary64 are 0, and a thousand of them are more than eta."""
    k = 100_000 if lowest < -746.0 else 1000
    Q, T = np.full((1, k), lowest), np.zeros((1, k))
    Q[0, 0], T[0, 0] = 0.0, 1.0
    found = VALUES["cross-entropy"].enclose(Q, T, np.zeros(1))
    value = (1 + (k - 1) * exact(lowest).exp()).log()
    assert value > arb(100) * exact(ETA)
    assert found.arb().lower() <= value
    assert value <= found.arb().upper()


def test_the_constants_of_the_logistic_loss_are_those_of_its_functions(monkeypatch):
    """The steps outward of `_mean` alone exceed 7.25 u, so that no value can tell the term."""
    told = []
    mean = ee_loss_values._mean
    monkeypatch.setattr(ee_loss_values, "_mean", lambda *args: told.append(args) or mean(*args))
    VALUES["logistic"].enclose(np.ones((1, 1)), np.ones((1, 1)), np.zeros(1))
    _, relative, absolute, slope, _ = told[0]
    assert Fraction(relative) > BOUNDS["softplus"].relative_u * Fraction(U)
    assert absolute >= 2 * ETA
    assert slope >= 1.0


@pytest.mark.parametrize(
    ("large", "small"),
    [
        ("0x1.03f8a7a3525bfp+0", "0x1.69fbbf2b501d6p-27"),
        ("0x1.0c4d718ed2f71p+0", "0x1.6a12736a26993p-27"),
    ],
)
def test_the_value_of_squares_counts_its_sums(large, small):
    """A square of 1 and 126 of nearly u, each lost in an addition, or counted as 2 u."""
    row = np.full(127, float.fromhex(small))
    row[0] = float.fromhex(large)
    value = sum(Fraction(float(x)) ** 2 for x in row)
    for loss, c in (("half-squares", Fraction(1, 2)), ("mean-squares", Fraction(1, 127))):
        found = VALUES[loss].enclose(row[None], np.zeros((1, 127)), np.zeros(1))
        assert Fraction(found.lo_float) <= c * value <= Fraction(found.hi_float)


@pytest.mark.parametrize("size", [2.0**-538 * 1.4, 2.0**-538 * 1.43])
def test_the_value_of_squares_counts_underflow(size):
    """Each of a thousand squares is just below eta/2 and lost, or just above and rounded to eta."""
    row = np.full((1, 1000), size)
    found = VALUES["half-squares"].enclose(row, np.zeros((1, 1000)), np.zeros(1))
    value = 500 * Fraction(size) ** 2
    assert Fraction(found.lo_float) <= value <= Fraction(found.hi_float)


def test_the_gradient_of_cross_entropy_counts_every_sample():
    away, _ = gradient_error("cross-entropy", np.zeros((1, 3)), np.eye(3)[:1])
    _, bound = VALUES["cross-entropy"].gradient(np.zeros((MANY, 3)), np.eye(3)[[0] * MANY])
    assert MANY * away <= exact(bound) ** 2

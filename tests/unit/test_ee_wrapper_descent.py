"""Gradient descent of the last layer: every bound against exact rational arithmetic and balls."""

import os
import time
from fractions import Fraction

import numpy as np
import pytest
from flint import arb, ctx, fmpq, fmpq_mat

from verify.errors import InputError
from verify_conditions.expressivity import ee_curve, ee_descent, ee_loss_values
from verify_conditions.expressivity.ee_curve import Comparison, Curve, certified_curve
from verify_conditions.expressivity.ee_descent import LastLayer
from verify_conditions.expressivity.ee_loss_values import VALUES

SQUARES = ("half-squares", "mean-squares")
SMOOTH = ("cross-entropy", "logistic")


def targets_of(loss, rng, n, k):
    if loss == "cross-entropy":
        return rng.integers(0, k, n)
    if loss == "logistic":
        return rng.choice([-1.0, 1.0], n)
    return rng.standard_normal((n, k))


def problem(loss, seed=0, n=9, m=12, k=3, radius=1e-9, ones=True):
    rng = np.random.default_rng(seed)
    k = 1 if loss == "logistic" else k
    features = rng.standard_normal((n, m)) + 1.0
    y = targets_of(loss, rng, n, k)
    given = LastLayer(features, np.full(n, radius), ones, y, k, loss)
    V = rng.standard_normal((k, m + ones)) / 4
    return given, V, rng


def member(given, rng):
    """Return exact features inside the enclosure, at the very edge of every row's ball."""
    n, m = given.features.shape
    rows = []
    for i in range(n):
        j = int(rng.integers(m))
        row = [Fraction(float(v)) for v in given.features[i]]
        row[j] += Fraction(float(given.row_radius[i])) * int(rng.choice([-1, 1]))
        rows.append(row + ([Fraction(1)] if given.ones else []))
    return rows


def exact_gradient_rows(given, Q):
    """grad l at rows of balls or rationals, in balls."""
    n, k = len(Q), given.outputs
    T = given.targets
    rows = []
    for i in range(n):
        if given.loss in SQUARES:
            c = arb(2) / k if given.loss == "mean-squares" else arb(1)
            rows.append([c * (Q[i][j] - arb(float(T[i, j]))) for j in range(k)])
        elif given.loss == "cross-entropy":
            powers = [q.exp() for q in Q[i]]
            total = sum(powers, arb(0))
            rows.append([p / total - arb(float(t)) for p, t in zip(powers, T[i], strict=True)])
        else:
            y = arb(float(T[i, 0]))
            rows.append([-y / (1 + (y * Q[i][0]).exp())])
    return rows


def exact_logits(Z, V):
    def ball(x):
        return arb(fmpq(x.numerator, x.denominator))

    W = [[Fraction(float(v)) for v in row] for row in V]
    return [[ball(sum(w * z for w, z in zip(row, zi, strict=True))) for row in W] for zi in Z]


def exact_loss(given, Q):
    total = arb(0)
    for row, target in zip(Q, given.targets, strict=True):
        if given.loss in SQUARES:
            square = sum(((q - arb(float(t))) ** 2 for q, t in zip(row, target, strict=True)),
                         arb(0))  # fmt: skip
            total += square / (given.outputs if given.loss == "mean-squares" else 2)
        elif given.loss == "cross-entropy":
            right = int(np.argmax(target))
            total += sum((q.exp() for q in row), arb(0)).log() - row[right]
        else:
            total += (1 + (-arb(float(target[0])) * row[0]).exp()).log()
    return total / len(Q)


def exact_step(given, Z, V):
    """V - alpha grad J(V) for alpha = n a, at the exact features Z, in balls."""
    rows = exact_gradient_rows(given, exact_logits(Z, V))
    a = arb(given.factor)
    k, m = V.shape
    balls = [[arb(fmpq(z.numerator, z.denominator)) for z in row] for row in Z]
    return [
        [
            arb(float(V[i, j])) - a * sum((rows[s][i] * balls[s][j] for s in range(len(Z))), arb(0))
            for j in range(m)
        ]
        for i in range(k)
    ]


def distance(V, exact):
    return sum(((arb(float(V[i, j])) - exact[i][j]) ** 2 for i in range(V.shape[0])
                for j in range(V.shape[1])), arb(0)).sqrt()  # fmt: skip


@pytest.fixture(autouse=True)
def _bits():
    before = ctx.prec
    ctx.prec = 256
    yield
    ctx.prec = before


@pytest.mark.parametrize("loss", [*SQUARES, *SMOOTH])
@pytest.mark.parametrize("ones", [True, False])
def test_a_step_lies_within_its_bound_of_the_exact_step(loss, ones):
    for seed, radius in ((0, 0.0), (1, 1e-9), (2, 1e-3)):
        given, V, rng = problem(loss, seed, radius=radius, ones=ones)
        V = V * 10.0**seed
        moved, error = given.step(V)
        away = distance(moved, exact_step(given, member(given, rng), V))
        assert not (away > arb(error))
        assert error < 1e-10 + 20 * radius * (1.0 + np.abs(V).sum())


@pytest.mark.parametrize("loss", [*SQUARES, *SMOOTH])
def test_the_loss_at_exact_features_is_enclosed(loss):
    for seed, radius, size in ((0, 0.0, 1.0), (1, 1e-9, 30.0), (2, 1e-2, 1.0), (3, 0.0, 900.0)):
        given, V, rng = problem(loss, seed, radius=radius)
        found = given.enclose(V * size)
        value = exact_loss(given, exact_logits(member(given, rng), V * size))
        assert not (value < found.arb().lower())
        assert not (value > found.arb().upper())
        if radius == 0.0:
            assert found.hi_float <= found.lo_float * (1.0 + 1e-9) + 1e-290


def test_an_enclosure_without_the_radius_of_the_features_misses(monkeypatch):
    given, V, rng = problem("half-squares", 2, radius=1e-2)
    Z = [[*row] for row in member(given, rng)]
    value = exact_loss(given, exact_logits(Z, V))
    monkeypatch.setattr(LastLayer, "slack", lambda self, V: np.zeros(self.n))
    found = given.enclose(V)
    assert value < found.arb().lower() or value > found.arb().upper()


def test_a_step_bound_without_the_radius_of_the_features_is_broken(monkeypatch):
    given, V, rng = problem("half-squares", 2, radius=1e-2)
    Z = member(given, rng)
    monkeypatch.setattr(LastLayer, "rho", 0.0)
    moved, error = given.step(V)
    assert distance(moved, exact_step(given, Z, V)) > arb(error)


def test_a_step_bound_without_rounding_terms_is_broken(monkeypatch):
    """The features are exact here: nothing but the rounding of the step is left."""
    given, V, rng = problem("half-squares", 5, radius=0.0)
    Z = member(given, rng)
    monkeypatch.setattr(ee_descent, "gamma", lambda k: 0.0)
    monkeypatch.setattr(ee_descent, "U", 0.0)
    monkeypatch.setattr(ee_loss_values, "U", 0.0)
    broken = 0
    for _ in range(20):
        moved, error = given.step(V)
        broken += bool(distance(moved, exact_step(given, Z, V)) > arb(error))
        V = moved
    assert broken


def singular(given, Z):
    rows = np.array([[float(v) for v in row] for row in Z])
    values = np.linalg.svd(rows, compute_uv=False)
    return float(values[given.n - 1]) * 0.999, float(values[0]) * 1.001


@pytest.mark.parametrize("loss", [*SQUARES, *SMOOTH])
def test_executed_iterates_stay_under_the_certified_curve(loss):
    """At exact features anywhere in the enclosure, and with the loss of the executed iterate."""
    for seed, radius in ((0, 1e-12), (1, 1e-6)):
        given, V, rng = problem(loss, seed, radius=radius)
        Z = member(given, rng)
        curve = certified_curve(given, V, singular(given, Z)[0])
        away, before = 0.0, float("inf")
        for t in range(1, 201):
            V, error = given.step(V)
            away += error * (1 + 1e-9)
            bound = curve.executed(t, away)
            assert bound <= before * (1 + 1e-3)
            if t in (1, 2, 5, 20, 100, 200):
                value = exact_loss(given, exact_logits(Z, V))
                assert not (value > arb(bound))
                assert given.enclose(V).hi_float <= bound
                before = bound
        assert curve.exact(10**9) < 1e-3


@pytest.mark.parametrize("loss", SQUARES)
def test_three_times_the_proved_step_breaks_the_curve(loss):
    """2/L_V is the limit for squares: beyond it the direction of sigma_max grows."""
    given, V, rng = problem(loss, 4)
    sigma_n, sigma_max = singular(given, member(given, rng))
    given = LastLayer(given.features, given.row_radius, True, given.y, 3, loss, sigma_max)
    curve, allowed = certified_curve(given, V, sigma_n), given.factor
    for times, broken in ((1.0, False), (1.9, False), (3.0, True)):
        given.__dict__["factor"] = allowed * times
        at = V
        for _ in range(100):
            at, _ = given.step(at)
        assert (given.enclose(at).lo_float > curve.start) is broken


def test_contraction_of_squares_is_the_bound_where_it_is_the_smallest():
    features = np.diag([1.0, 0.9, 0.8])
    y = np.array([[1.0], [-2.0], [0.5]])
    given = LastLayer(features, np.zeros(3), False, y, 1, "half-squares", 1.0)
    curve = certified_curve(given, np.zeros((1, 3)), 0.8)
    assert 1.0 - 0.64 <= curve.rate < 1.0 - 0.64 + 1e-12
    V = np.zeros((1, 3))
    for t in range(1, 30):
        V, _ = given.step(V)
        assert given.enclose(V).hi_float <= curve.executed(t, 1e-12)
    assert curve.exact(30) < 1e-12 * curve.start


def test_a_curve_of_points_of_comparison():
    curve = Curve(8.0, 0.5, 1.0, (Comparison(1.0, 2.0, "near"), Comparison(0.0, 8.0, "far")))
    assert curve.exact(0) == 8.0
    assert 5.0 <= curve.exact(1) < 5.0 + 1e-12
    assert 0.064 <= curve.exact(1000) < 0.0641
    assert curve.executed(1, 0.0) == curve.exact(1)
    # sqrt(5) + 3 sqrt(1/(2 alpha)) = sqrt(5) + 3
    assert 27.416 < curve.executed(1, 3.0) < 27.417


def test_comparisons_do_not_exceed_what_they_claim():
    given, V, _ = problem("cross-entropy", 3)
    curve = certified_curve(given, V, 0.0)
    assert all(c.how == "a point with its enclosed loss" for c in curve.comparisons)
    losses = [c.loss for c in curve.comparisons]
    distances = [c.distance for c in curve.comparisons]
    assert losses == sorted(losses, reverse=True)
    assert distances == sorted(distances)
    without = certified_curve(given, V, 1e-3)
    assert any("rank Z = n" in c.how for c in without.comparisons)


def test_attained_logits_are_no_farther_than_claimed():
    """The nearest C with C Z^T = aim, by exact arithmetic, against the distance with sigma_n."""
    given, V, rng = problem("half-squares", 6, n=4, m=6, radius=0.0)
    Z = member(given, rng)
    sigma_n, _ = singular(given, Z)
    [found] = [c for c in ee_curve._attained(given, V, sigma_n)]
    exact = fmpq_mat([[fmpq(z.numerator, z.denominator) for z in row] for row in Z])
    gram = exact * exact.transpose()
    Q = exact_logits(Z, V)
    square = arb(0)
    for j in range(given.outputs):
        gap = [arb(float(given.targets[i, j])) - Q[i][j] for i in range(4)]
        inverse = gram.inv()
        square += sum(
            (gap[a] * gap[b] * arb(inverse[a, b]) for a in range(4) for b in range(4)), arb(0)
        )
    assert not (square.sqrt() > arb(found.distance))
    assert found.loss < 1e-290


def exact_features(given):
    """The features as rationals; for radius 0."""
    ones = [Fraction(1)] if given.ones else []
    return [[Fraction(float(v)) for v in row] + ones for row in given.features]


def test_attained_logits_are_as_far_as_the_smallest_singular_value_says():
    given = LastLayer(np.diag([1.0, 0.5]), np.zeros(2), False, np.array([[0.0], [1.0]]), 1,
                      "half-squares")  # fmt: skip
    [found] = ee_curve._attained(given, np.zeros((1, 2)), 0.5)
    assert 2.0 <= found.distance < 2.0 + 1e-9


def test_attained_logits_count_the_radius_of_the_features():
    """At z = 1.125 the logit 1 is attained by 8/9 only, away from V = 1."""
    given = LastLayer(np.ones((1, 1)), np.array([0.125]), False, np.ones((1, 1)), 1,
                      "half-squares")  # fmt: skip
    [found] = ee_curve._attained(given, np.ones((1, 1)), 0.875)
    assert found.distance >= 1.0 / 9.0


def test_cross_entropy_moves_by_root_two_of_the_slack():
    loss, slack = VALUES["cross-entropy"], 0.5
    Q, T = np.array([[20.0, -20.0]]), np.array([[0.0, 1.0]])
    found = loss.enclose(Q, T, np.array([slack]))
    step = arb(slack) / arb(2).sqrt()
    a, b = arb(20) + step, arb(-20) - step
    assert not ((a.exp() + b.exp()).log() - b > found.arb().upper())


def test_the_loss_counts_the_rounding_of_its_logits():
    """The targets are the computed logits: the exact loss is that rounding alone."""
    rng = np.random.default_rng(8)
    features, V = rng.standard_normal((3, 40)) * 1e8, rng.standard_normal((1, 40))
    Q = features @ V.T
    given = LastLayer(features, np.zeros(3), False, Q, 1, "half-squares")
    value = exact_loss(given, exact_logits(exact_features(given), V))
    assert value > arb(0)
    assert not (value > given.enclose(V).arb().upper())


def test_targets_and_losses_that_do_not_fit_are_refused():
    with pytest.raises(InputError, match=r"^loss: expected one of half-squares, .* but got 'l1'"):
        LastLayer(np.ones((2, 2)), np.zeros(2), True, np.ones(2), 1, "l1").step(np.ones((1, 3)))
    for loss, y in (("cross-entropy", [0, 3]), ("cross-entropy", [0.5, 1]),
                    ("half-squares", [[1.0, 2.0], [1.0, 2.0]]), ("half-squares", [np.nan, 1.0]),
                    ("logistic", [0.0, 1.0])):  # fmt: skip
        with pytest.raises(InputError, match=rf"{loss}.*: expected "):
            VALUES[loss].targets(np.array(y), 3 if loss == "cross-entropy" else 1)
    with pytest.raises(InputError, match=r"^LastLayer: expected radii and targets of 2 samples"):
        LastLayer(np.ones((2, 2)), np.zeros(3), True, np.ones(2), 1, "half-squares")


def test_features_of_unknown_size_give_no_bound_and_no_step():
    given = LastLayer(np.ones((2, 2)), np.full(2, np.inf), True, np.ones(2), 1, "half-squares")
    assert given.factor == 0.0
    assert given.enclose(np.ones((1, 3))).hi_float == np.inf


@pytest.mark.parametrize("loss", [*SQUARES, *SMOOTH])
def test_numbers_beyond_binary64_are_unknown_not_wrong(loss):
    """Partial sums that overflow: the exact logit may be anything the computed one is not."""
    for top, weights in ((1e200, 1e200), (1e308, 3.0), (1e160, 1.0)):
        given, _, rng = problem(loss, 7, n=2, m=4, radius=0.0)
        features = np.array([[top, top, -top, 1.0], [1.0, 2.0, top, top]])
        given = LastLayer(features, np.zeros(2), True, given.y, given.outputs, loss)
        V = np.tile([-weights, -weights, -weights, weights, 0.5], (given.outputs, 1))
        V[-1] *= -1.0
        found = given.enclose(V)
        value = exact_loss(given, exact_logits(member(given, rng), V))
        assert not (value < found.arb().lower())
        if found.hi_float < np.inf:
            assert not (value > found.arb().upper())
        moved, error = given.step(V)
        if np.isfinite(error):
            assert not (distance(moved, exact_step(given, member(given, rng), V)) > arb(error))
        curve = certified_curve(given, V, 1e-3)
        assert curve.exact(5) >= 0.0


@pytest.mark.soundness
def test_campaign_of_random_descents():
    """Random sizes, losses, radii and scales: every bound against balls at exact features."""
    count = 400 if os.environ.get("VERIFY_CAMPAIGN") == "full" else 40
    started, wrong = time.perf_counter(), 0
    for case in range(count):
        draw = np.random.default_rng([20, case])
        loss = [*SQUARES, *SMOOTH][case % 4]
        n = int(draw.integers(1, 7))
        size = dict(n=n, m=int(draw.integers(1, 9)), k=int(draw.integers(2, 5)))
        radius = float(draw.choice([0.0, 1e-12, 1e-6, 1e-2]))
        given, V, rng = problem(loss, case, radius=radius, ones=bool(draw.integers(2)), **size)
        V = V * float(draw.choice([0.0, 1.0, 1e-3, 40.0]))
        Z = member(given, rng)
        rows = np.array([[float(v) for v in row] for row in Z])
        values = np.linalg.svd(rows, compute_uv=False)
        full = n <= rows.shape[1] and values[-1] > 1e-6
        curve = certified_curve(given, V, float(values[-1]) * 0.999 if full else 0.0)
        away = 0.0
        for t in range(1, 4):
            exact = exact_step(given, Z, V)
            V, error = given.step(V)
            away += error * (1 + 1e-9)
            wrong += bool(distance(V, exact) > arb(error))
            value, found = exact_loss(given, exact_logits(Z, V)), given.enclose(V)
            wrong += bool(value < found.arb().lower()) + bool(value > found.arb().upper())
            wrong += bool(value > arb(curve.executed(t, away)))
    seconds = time.perf_counter() - started
    print(f"campaign descent of the last layer: {count} cases, seed 20, {seconds:.1f} s, "
          f"{wrong} wrong")  # fmt: skip
    assert wrong == 0

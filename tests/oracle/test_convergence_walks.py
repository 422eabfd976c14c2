"""Counted campaigns: what Theorems A and B claim against gradient descent that is walked.

From certified points the certified step eta is walked in binary64: the path stays within the
certified length, and no step shrinks ||r|| by less than certified. From points where h is just
above 1/2, whatever the radius, nothing is certified.

Rounding of ||r|| hides how much a step of small contraction or at a small ||r|| shrinks it. Every
step that looks slower than certified is therefore repeated in balls of 200 bits, from the very
theta at which it was taken, and that decides; so are a few steps of every walk that do not. What
holds there does not depend on how theta was reached. With rho = ||theta - theta_0||,
Delta = -eta J^T r at theta, and rho + ||Delta|| <= R, so that the whole step lies in the ball,

    ||r^+|| <= ||r|| - (1 - eta Lambda / 2) (sigma - beta rho) ||Delta|| + beta ||Delta||^2 / 2:

||(I - eta K) r|| <= ||r|| - (1 - eta Lambda / 2) ||J^T r|| ||Delta|| / ||r|| as K <= Lambda,
||J^T r|| >= (sigma - beta rho) ||r||, and the rest is the remainder of Taylor. With st = (1 - eta
Lambda / 2) sigma, s_^2 = st^2 - 2 beta ||r_0|| and rho + ||Delta|| / 2 <= (st - s_) / beta, which
is the certified length, the factor (1 - eta Lambda / 2) (sigma - beta rho) - beta ||Delta|| / 2 is
at least s_, and ||Delta|| >= eta s_ ||r||: the step shrinks ||r|| by 1 - eta s_^2, which is the
certified contraction. All of this is asserted in balls. The path alone is summed in binary64.

A walk ends where it has taken as many steps as it may, where ||r|| is reached, or where rounding
has hidden a thousand of its steps.

The points are random networks and trained ones. Of the random ones the targets are chosen: the
residual is small, in a random direction or in the one in which the network learns most slowly.
"""

import math
import os
import time
from dataclasses import dataclass
from fractions import Fraction

import numpy as np
import pytest
from flint import arb, arb_mat, ctx, fmpq
from numba import njit

from verify.certificate import decode_enclosure
from verify_conditions.convergence.dense_certificates import certify, measured_h
from verify_conditions.convergence.training import DenseNet, Problem, train_adam

FULL = os.environ.get("VERIFY_CAMPAIGN") == "full"
HIDDEN, BITS = 1_000, 200


@njit
def descend(X, y, theta, W, b, a, eta, until, steps, contraction, h, r, previous, kept):
    """Walk gradient descent; return steps, path, the last ||r||, slow steps and kept points.

    A step is slow if it looks slower than certified. Kept are the points before every slow step,
    before steps 1, 10, 100, ..., and before the last one. W, b and a are views of theta; whatever
    works on whole arrays would take seconds to compile.
    """
    n, d = X.shape
    m, p = len(a), len(theta)
    path, before, slow, number, mark = 0.0, 0.0, 0, 0, 1
    for step in range(steps + 1):
        square = 0.0
        for i in range(n):
            f = 0.0
            for k in range(m):
                z = b[k]
                for j in range(d):
                    z += W[k, j] * X[i, j]
                h[i, k] = math.tanh(z)
                f += a[k] * h[i, k]
            r[i] = f - y[i]
            square += r[i] * r[i]
        norm = math.sqrt(square)
        ended = norm <= until or step == steps
        is_slow = step > 0 and not norm <= contraction * before
        slow += is_slow
        if is_slow or step == mark or (ended and step > 0):
            for j in range(p):
                kept[number, j] = previous[j]
            number += 1
        if step == mark:
            mark *= 10
        if ended or slow == HIDDEN:
            return step, path, norm, slow, number
        for j in range(p):
            previous[j] = theta[j]
        before = norm
        moved = 0.0
        for k in range(m):
            ga, gb = 0.0, 0.0
            for i in range(n):
                ga += r[i] * h[i, k]
            for j in range(d):
                g = 0.0
                for i in range(n):
                    g += r[i] * a[k] * (1.0 - h[i, k] * h[i, k]) * X[i, j]
                W[k, j] -= eta * g
                moved += g * g
            for i in range(n):
                gb += r[i] * a[k] * (1.0 - h[i, k] * h[i, k])
            b[k] -= eta * gb
            a[k] -= eta * ga
            moved += gb * gb + ga * ga
        path += eta * math.sqrt(moved)
    return steps, path, norm, slow, number


# One step in balls -------------------------------------------------------------------------------


@dataclass(frozen=True)
class Claim:
    """The numbers of Theorem B in a certificate, each at the end that is on the safe side."""

    sigma: arb
    beta: arb
    top: arb  # bound of ||J|| on the ball
    radius: arb
    eta: arb
    contraction: arb
    length: arb

    @classmethod
    def of(cls, certificate):
        routes = {route["name"]: route for route in certificate.claim["routes"]}
        exact = routes.get("descent-precise", routes["descent"])
        name = "descent-precise" if exact["truth"] == "proved" else "descent"
        told = {item["name"]: item for item in certificate.claim["consequences"]
                if item["by"] == name}  # fmt: skip
        known = routes[name]["quantities"] | told
        ends = {key: decode_enclosure({"lo": item["lo"], "hi": item["hi"]})
                for key, item in known.items()}  # fmt: skip
        assert all(ends[key].is_exact for key in ("eta", "R", "s"))
        assert ends["s"].hi == 1
        high = {key: ball(ends[key].hi) for key in
                ("beta", "J_norm", "R", "eta", "contraction", "descent_length")}  # fmt: skip
        top = high["J_norm"] + high["beta"] * high["R"]
        return cls(ball(ends["sigma"].lo), high["beta"], top, high["R"], high["eta"],
                   high["contraction"], high["descent_length"])  # fmt: skip


def ball(x):
    x = Fraction(x)
    return arb(fmpq(x.numerator, x.denominator))


def norm_of(*matrices):
    return sum((x * x for matrix in matrices for x in matrix.entries()), arb(0)).sqrt()


class Balls:
    """A network with its samples in balls; the weights are [W, b] and a."""

    def __init__(self, problem, start):
        self.n, self.d = problem.X.shape
        self.m = problem.net.sizes[1]
        rows = np.hstack([problem.X, np.ones((self.n, 1))])
        self.X = arb_mat(self.n, self.d + 1, [arb(float(x)) for x in rows.flat])
        self.y = arb_mat(self.n, 1, [arb(float(x)) for x in problem.y])
        self.start = self.weights(start)

    def weights(self, theta):
        m, d = self.m, self.d
        first = np.hstack([theta[: m * d].reshape(m, d), theta[m * d : m * d + m, None]])
        return (arb_mat(m, d + 1, [arb(float(x)) for x in first.flat]),
                arb_mat(m, 1, [arb(float(x)) for x in theta[m * d + m :]]))  # fmt: skip

    def residual(self, first, last):
        h = arb_mat(self.n, self.m, [z.tanh() for z in (self.X * first.transpose()).entries()])
        return h, h * last - self.y

    def stepped(self, theta, claim):
        """Return the exact ratio ||r^+|| / ||r||, how tight, and whether all claims are proved."""
        first, last = self.weights(theta)
        h, r = self.residual(first, last)
        pulled = (r * last.transpose()).entries()
        slopes = [p * (1 - x * x) for p, x in zip(pulled, h.entries(), strict=True)]
        g_first = arb_mat(self.n, self.m, slopes).transpose() * self.X
        g_last = h.transpose() * r
        _, after = self.residual(first - claim.eta * g_first, last - claim.eta * g_last)
        size, shrunk = norm_of(r), norm_of(after)
        away = norm_of(first - self.start[0], last - self.start[1])
        moved = claim.eta * norm_of(g_first, g_last)
        slope = (1 - claim.eta * claim.top**2 / 2) * (claim.sigma - claim.beta * away)
        least = slope * moved - claim.beta * moved**2 / 2
        held = (
            away + moved <= claim.radius
            and away + moved / 2 <= claim.length
            and shrunk <= size - least
            and shrunk <= claim.contraction * size
        )
        margin = (1 - shrunk / size) / (1 - claim.contraction)
        return float(margin.mid()), float(((size - shrunk) / least).mid()), held


@dataclass
class Seen:
    """What was seen along walks."""

    wrong: int = 0
    walks: int = 0
    steps: int = 0
    slow: int = 0
    repeated: int = 0
    share: float = 0.0  # the longest path, in certified lengths
    margin: float = math.inf  # the slowest step, in certified ones
    tight: float = math.inf  # the same, with what the inequality says at that very point

    def walk(self, problem, theta, found, until, steps):
        """Walk from a certified point and compare; return the last ||r||."""
        here, previous = theta.copy(), np.empty_like(theta)
        (W, b), (a, _) = problem.net.split(here)
        h, r = np.empty((len(problem.X), len(W))), np.empty(len(problem.X))
        kept = np.empty((HIDDEN + 20, len(theta)))
        done, path, norm, slow, number = descend(
            problem.X, problem.y, here, W, b, a[0], found.eta, until, steps, found.contraction,
            h, r, previous, kept,
        )  # fmt: skip
        self.wrong += not path <= found.length
        with ctx.workprec(BITS):
            balls, claim = Balls(problem, theta), Claim.of(found.certificate)
            for point in kept[:number]:
                margin, tight, held = balls.stepped(point, claim)
                self.wrong += not held
                self.margin, self.tight = min(self.margin, margin), min(self.tight, tight)
        self.walks, self.steps, self.slow = self.walks + 1, self.steps + done, self.slow + slow
        self.repeated += number
        self.share = max(self.share, path / found.length)
        return norm

    def told(self, name, cases, seed, began):
        print(f"campaign {name}: {cases} cases, seed {seed}, {time.monotonic() - began:.1f} s, "
              f"{self.wrong} wrong; {self.walks} walks of {self.steps} steps, {self.repeated} of "
              f"them repeated in balls, {self.slow} as they looked slower than certified; path at "
              f"most {self.share:.3f} of the certified length, contraction at least "
              f"{self.margin:.4f} of the certified and {self.tight:.4f} of that at the "
              "point")  # fmt: skip
        assert self.wrong == 0
        # Bounds that were half as long, or four times as fast, would have been seen to be wrong.
        assert self.share > 0.5
        assert self.margin < 4.0
        assert self.tight < 1.5


# Points ------------------------------------------------------------------------------------------


def random_network(rng, *, narrow=False):
    """A network with n <= 10 samples and more parameters than samples, its targets not yet known.

    A narrow one has fewer neurons than samples: features of the last layer alone are singular.
    """
    while True:
        n, d = int(rng.integers(4 if narrow else 2, 11)), int(rng.integers(1, 6))
        m = int(rng.integers(2, n)) if narrow else int(rng.integers(n, 41))
        if m * (d + 2) >= (2 * n if narrow else n):
            break
    X = rng.standard_normal((n, d)) / np.sqrt(d)
    net = DenseNet((d, m, 1))
    theta = net.start(int(rng.integers(2**31)), gain=float(rng.uniform(1.5, 6.0)))
    return net, X, theta


def conditioned_network(rng):
    """A narrow network with a condition of J below 1e4, sigma and the slowest direction."""
    while True:
        net, X, theta = random_network(rng, narrow=True)
        sigma, slow = spectrum(net, X, theta)
        jac = Problem(net, X, np.zeros(len(X))).jacobian(theta)
        if sigma > 1e-4 * np.linalg.norm(jac, 2):
            return net, X, theta, sigma, slow


def with_residual(net, X, theta, residual):
    """Choose targets so that r is this vector, up to rounding."""
    outputs = Problem(net, X, np.zeros(len(X))).outputs(theta)[:, 0]
    return Problem(net, X, outputs - residual)


def spectrum(net, X, theta):
    """Return sigma and the direction in which the network learns most slowly."""
    jac = Problem(net, X, np.zeros(len(X))).jacobian(theta)
    directions, values, _ = np.linalg.svd(jac, full_matrices=False)
    return values[-1], directions[:, -1]


def chosen_point(rng):
    """A random network with the residual that makes h about a chosen number below 1/2."""
    net, X, theta = random_network(rng)
    sigma, slow = spectrum(net, X, theta)
    direction = slow if rng.random() < 0.5 else rng.standard_normal(len(X))
    direction /= np.linalg.norm(direction)
    size = residual_at(net, X, theta, sigma, float(rng.uniform(0.02, 0.35)))
    return with_residual(net, X, theta, size * direction), theta


def trained_point(rng):
    """The first checkpoint of a training on drawn targets at which h measured is below 1/2."""
    while True:
        net, X, theta = random_network(rng)
        problem = Problem(net, X, rng.standard_normal(len(X)))
        for point in train_adam(problem, theta, steps=1000, rate=0.02, last_rate=1e-4):
            if point.residual < 0.3 and measured_h(problem, point.theta) < 0.5:
                return problem, point.theta


def certified_point(rng):
    """Draw until both theorems are proved at a point."""
    while True:
        problem, theta = chosen_point(rng) if rng.random() < 0.5 else trained_point(rng)
        found = certify(problem, theta, "drawn")
        if found.flow and found.descent:
            return problem, theta, found


# The constant, in plain floats -------------------------------------------------------------------


def beta_at(X, layers, radius):
    """The least of the simple and the refined formula for one hidden tanh layer, by hand."""
    (W, b), (a, _) = layers
    inputs = np.hstack([X, np.ones((len(X), 1))])
    lengths, whole = np.linalg.norm(inputs, axis=1), np.linalg.norm(inputs, 2)
    top = 4.0 / (3.0 * math.sqrt(3.0))
    z = X @ W.T + b
    low, high = z - radius * lengths[:, None], z + radius * lengths[:, None]
    near = np.where((low <= 0) & (high >= 0), 0.0, np.minimum(abs(low), abs(high)))
    far, turn = np.maximum(abs(low), abs(high)), math.atanh(3.0**-0.5)
    first = np.cosh(near) ** -2.0
    bend = np.maximum(bent(near), bent(far))
    second = np.where((near <= turn) & (far >= turn), top, bend)
    refined = 0.0
    for k in range(len(W)):
        P = np.linalg.norm(first[:, k, None] * inputs, 2)
        c = (abs(a[0, k]) + radius) * second[:, k]
        root = np.sqrt(c)
        Q = min((c * lengths).max() * whole,
                (root * lengths).max() * np.linalg.norm(root[:, None] * inputs, 2))  # fmt: skip
        refined = max(refined, 0.5 * (Q + math.sqrt(Q * Q + 4.0 * P * P)))
    A = (np.abs(a).max() + radius) * top * lengths.max()
    return min(refined, whole * 0.5 * (A + math.sqrt(A * A + 4.0)))


def bent(t):
    return 2.0 * np.tanh(t) * np.cosh(t) ** -2.0


def residual_at(net, X, theta, sigma, h):
    """Return ||r|| at which beta ||r|| / sigma^2 = h with beta on the ball ||r|| / sigma.

    No ball that Theorem A can use is smaller than that one, and beta grows with it. Rounding moves
    h by a relative 1e-12 or so: sigma is a singular value of J, whose condition is below 1e4.
    """
    layers = net.split(theta)
    low, high = 0.0, h * sigma**2 / beta_at(X, layers, 0.0)
    for _ in range(200):
        middle = 0.5 * (low + high)
        if middle in (low, high):
            break
        if beta_at(X, layers, middle / sigma) * middle < h * sigma**2:
            low = middle
        else:
            high = middle
    return high


# The campaigns -----------------------------------------------------------------------------------


@pytest.mark.soundness
def test_descent_walked_to_the_end_respects_what_is_certified():
    """From points whose steps are too small for that, a million steps are walked as well."""
    cases, seed = (20 if FULL else 2), 31
    rng, began, seen, ended = np.random.default_rng(seed), time.monotonic(), Seen(), 0
    while ended < cases:
        ended += seen.walk(*certified_point(rng), 1e-12, 1_000_000) <= 1e-12
    seen.told("walks to 1e-12", cases, seed, began)


@pytest.mark.soundness
def test_descent_walked_for_many_steps_respects_what_is_certified():
    """Below 1e-12 binary64 walks no descent."""
    cases, seed = (180 if FULL else 18), 32
    rng, began, seen = np.random.default_rng(seed), time.monotonic(), Seen()
    for _ in range(cases):
        seen.walk(*certified_point(rng), 1e-12, 20_000)
    seen.told("walks of 20,000 steps", cases, seed, began)


@pytest.mark.soundness
def test_nothing_is_certified_where_h_is_just_above_one_half():
    count, seed = (200 if FULL else 20), 33
    rng, began, fired, near = np.random.default_rng(seed), time.monotonic(), 0, 0
    excess = 0.0
    for number in range(count):
        net, X, theta, sigma, slow = conditioned_network(rng)
        above = 10.0 ** float(rng.uniform(-7.0, -2.0))
        size = residual_at(net, X, theta, sigma, 0.5 * (1.0 + above))
        direction = slow if number % 2 else rng.standard_normal(len(X))
        direction /= np.linalg.norm(direction)
        found = certify(with_residual(net, X, theta, size * direction), theta, "above 1/2")
        fired += found.flow or found.descent or found.certificate.verdict == "pass"
        # The ball asked about is a little larger than ||r|| / sigma, and beta with it.
        near += 0.5 <= found.h < 0.5 * (1.0 + above + 1e-4)
        excess = max(excess, found.h / 0.5 - 1.0 - above)
    seconds = time.monotonic() - began
    print(f"campaign h above 1/2: {count} cases, seed {seed}, {seconds:.1f} s, {fired} wrong; h is "
          f"at most {excess:.2g} (relative) above the chosen one")  # fmt: skip
    assert fired == 0
    assert near == count

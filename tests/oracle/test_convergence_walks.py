"""Counted campaigns: what Theorems A and B claim against gradient descent that is walked.

From certified points the certified step is walked in binary64: the path stays within the certified
length, and no step shrinks ||r|| by less than certified while ||r|| is above 1e-10. Rounding errors
of ||r|| are about a relative 1e-5 there at most, so that points at which a step is certified to
shrink it by less are drawn again: near h = 1/2 certified steps become as small as one likes. From
points where h is just above 1/2, whatever the radius, nothing is certified.

The points are random networks and trained ones. Of the random ones the targets are chosen: the
residual is small, in a random direction or in the one in which the network learns most slowly.
"""

import math
import os
import time

import numpy as np
import pytest
from numba import njit

from verify_conditions.convergence.dense_certificates import certify, measured_h
from verify_conditions.convergence.training import DenseNet, Problem, train_adam

FULL = os.environ.get("VERIFY_CAMPAIGN") == "full"
FLOOR, FLOOR_OF_STEPS = 1e-10, 1e-5


@njit(cache=True)
def descend(X, y, W, b, a, eta, until, steps, floor):
    """Walk gradient descent; return steps, path, the last ||r|| and the worst factor."""
    n, d = X.shape
    m = len(a)
    h = np.empty((n, m))
    r = np.empty(n)
    path, worst, before = 0.0, 0.0, 0.0
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
        if step > 0 and norm > floor:
            worst = max(worst, norm / before)
        if norm <= until or step == steps:
            return step, path, norm, worst
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
    return steps, path, norm, worst


def walked(problem, theta, eta, until, steps):
    (W, b), (a, _) = problem.net.split(theta.copy())
    return descend(problem.X, problem.y, W, b, a[0], eta, until, steps, FLOOR)


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
    """Draw until both theorems are proved at a point, with a step that rounding does not hide."""
    while True:
        problem, theta = chosen_point(rng) if rng.random() < 0.5 else trained_point(rng)
        found = certify(problem, theta, "drawn")
        if found.flow and 1.0 - found.contraction >= FLOOR_OF_STEPS:
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


def campaign(name, count, seed, until, steps):
    rng, began = np.random.default_rng(seed), time.monotonic()
    wrong, taken, ends, shares, margins = 0, 0, [], [], []
    for _ in range(count):
        problem, theta, found = certified_point(rng)
        done, path, norm, worst = walked(problem, theta, found.eta, until, steps)
        wrong += not path <= found.length
        wrong += not worst <= found.contraction
        taken += done
        ends.append(norm)
        shares.append(path / found.length)
        margins.append((1.0 - worst) / (1.0 - found.contraction))
    seconds = time.monotonic() - began
    print(f"campaign {name}: {count} cases, seed {seed}, {seconds:.1f} s, {wrong} wrong; {taken} "
          f"steps, path at most {max(shares):.3f} of the certified length, contraction at least "
          f"{min(margins):.3f} of the certified, ||r|| {max(ends):.2g} at most")  # fmt: skip
    assert wrong == 0
    # Bounds that were half as long, or four times as fast, would have been seen to be wrong.
    assert max(shares) > 0.5
    assert min(margins) < 4.0
    return ends


@pytest.mark.soundness
def test_descent_walked_to_the_end_respects_what_is_certified():
    ends = campaign("walks to 1e-12", 20 if FULL else 2, 31, 1e-12, 20_000_000)
    assert max(ends) <= 1e-12


@pytest.mark.soundness
def test_descent_walked_for_many_steps_respects_what_is_certified():
    campaign("walks of 20,000 steps", 180 if FULL else 18, 32, 0.0, 20_000)


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

"""Enclosures of equilibria against exact equilibria and 40-digit enclosures."""

from __future__ import annotations

import json
import os
import random
import time
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest

from verify.errors import InputError
from verify.network import AffineInput, ReluFeatureInput
from verify.network.activation import Activation
from verify_kernels import (
    equilibrium,
    equilibrium_exact,
    equilibrium_residual,
    interval_affine,
    krawczyk,
)
from verify_kernels.equilibrium import bias_enclosure, certify_samples
from verify_kernels.equilibrium_exact import enclose_active_set, signs_at, solve_active_set
from verify_kernels.equilibrium_proposal import propose_equilibria
from verify_kernels.equilibrium_residual import Modulus, enclose_distance
from verify_kernels.interval_affine import enclose_activation, enclose_affine
from verify_kernels.krawczyk import find_box, holds_one_equilibrium
from verify_kernels.matrix import MatrixEnclosure
from verify_kernels.slopes import NAMES
from verify_kernels.smooth_refutation import ball_box

VECTORS = Path(__file__).parents[1] / "vectors" / "well_posedness.json"
CASES = json.loads(VECTORS.read_text())["cases"]
KNOWN = [case for case in CASES if "equilibrium" in case]
ENCLOSED = [case for case in CASES if "two_equilibria_enclosed" in case]
FULL = os.environ.get("VERIFY_CAMPAIGN") == "full"
RELU, TANH = Activation("relu"), Activation("tanh")


def floats(rows):
    return np.array([[float.fromhex(x) for x in row] for row in rows])


def activation_of(case):
    if case["activation"] == "leaky_relu":
        return Activation("leaky_relu", (Fraction(case["alpha"]),))
    return Activation.parse(case["activation"])


def interval(entry):
    return tuple(Fraction(e) for e in (entry if isinstance(entry, list) else (entry, entry)))


def meets(lower, upper, entries):
    pairs = zip(lower, upper, map(interval, entries), strict=True)
    return all(Fraction(float(lo)) <= q and p <= Fraction(float(up)) for lo, up, (p, q) in pairs)


@pytest.mark.parametrize("case", KNOWN, ids=lambda case: case["id"])
def test_stored_equilibria_lie_in_the_enclosures(case):
    weight, activation = MatrixEnclosure(floats(case["W"])), activation_of(case)
    b = np.array([float.fromhex(x) for x in case["equilibrium"]["b"]])
    known = case["equilibrium"]["z"]
    near = np.array([float(sum(interval(e)) / 2) for e in known])
    box = find_box(weight, activation, b, near)
    if box is not None:
        assert meets(box.lower, box.upper, known)
    if activation.name in ("relu", "leaky_relu"):
        signs = signs_at(weight, b, near)
        exact = solve_active_set(weight, activation, b, signs)
        assert exact is not None
        assert [str(e) for e in exact.z] == known
        cell = enclose_active_set(weight, activation, b, signs)
        if cell is not None:
            assert meets(cell.mid - cell.rad, cell.mid + cell.rad, known)
    (record,) = certify_samples(weight, activation, b[None, :])
    assert not record.unique
    if record.distance is not None:
        reach = Fraction(record.radius_inf)
        for centre, entry in zip(record.z_mid, map(interval, known), strict=True):
            assert abs(Fraction(float(centre)) - entry[0]) <= reach + entry[1] - entry[0]


def test_most_stored_equilibria_are_enclosed_from_our_own_solver():
    found = 0
    for case in KNOWN:
        b = np.array([[float.fromhex(x) for x in case["equilibrium"]["b"]]])
        (record,) = certify_samples(MatrixEnclosure(floats(case["W"])), activation_of(case), b)
        found += record.distance is not None
    print(f"{found} of {len(KNOWN)} stored equilibria certified from our own solver")
    assert found >= 0.8 * len(KNOWN)


@pytest.mark.parametrize("case", ENCLOSED, ids=lambda case: case["id"])
def test_both_stored_equilibria_get_their_own_box(case):
    weight, activation = MatrixEnclosure(floats(case["W"])), activation_of(case)
    b = np.array([float.fromhex(x) for x in case["two_equilibria_enclosed"]["b"]])
    for name in ("z1", "z2"):
        known = case["two_equilibria_enclosed"][name]
        near = np.array([float(Fraction(lo)) for lo, _ in known])
        box = find_box(weight, activation, b, near)
        assert box is not None
        assert meets(box.lower, box.upper, known)


def test_krawczyk_needs_the_point_in_the_box():
    """W = 2, b = -1, z~ = 0.6: the operator maps [0.1, 0.4] into itself, but the box is empty."""
    weight, vector = MatrixEnclosure(np.array([[2.0]])), lambda x: np.array([x])
    box = [vector(0.1), vector(0.4)]
    assert not holds_one_equilibrium(weight, RELU, vector(-1.0), vector(0.6), *box)
    assert holds_one_equilibrium(weight, RELU, vector(-1.0), vector(1.0), vector(0.9), vector(1.1))


def test_the_monotone_bound_is_not_the_lipschitz_constant_of_the_bias():
    """W = -9, b = 10: z = 1, mu = 10, and at z~ = 2 the residual over mu is below the distance."""
    weight, modulus = MatrixEnclosure(np.array([[-9.0]])), Modulus("monotone", Fraction(10))
    found = enclose_distance(weight, RELU, np.array([10.0]), np.array([2.0]), modulus)
    assert Fraction(2) / 10 < 1 <= found.hi


def test_a_negative_measure_gives_no_better_bound_than_the_residual():
    """W = -5, b = 6: z = 1; at z~ = 2 the residual 2 over 1 - mu = 6 is below the distance."""
    weight = MatrixEnclosure(np.array([[-5.0]]))
    modulus = Modulus("measure", Fraction(-5), np.ones(1))
    found = enclose_distance(weight, RELU, np.array([6.0]), np.array([2.0]), modulus)
    assert Fraction(2) / 6 < 1 <= found.hi


def test_the_diagonal_bound_is_in_its_own_norm():
    """Lam = diag(1, 2^-40): |x_2| is bounded through sqrt(Lam_2), not by the norm itself."""
    W = np.array([[0.0, 0.0], [1000.0, 0.0]])
    # W z = 1000 z_1 in the second unit; z = b for b >= 0 and z_2 = 1000 z_1 + b_2
    modulus = Modulus("diagonal", Fraction(1, 4), np.array([1.0, 2.0**-40]))
    found = enclose_distance(
        MatrixEnclosure(W), RELU, np.array([1.0, 0.0]), np.array([1.001, 1000.0]), modulus
    )
    assert found.hi >= Fraction(1, 1000)


@pytest.mark.parametrize("kind", ["measure", "monotone", "diagonal"])
def test_moduli_for_slopes_in_the_unit_interval_refuse_others(kind):
    value = Fraction(1, 2)
    modulus = Modulus(kind, value, np.ones(1))
    with pytest.raises(InputError, match=r"expected slopes in \[0, 1\]"):
        enclose_distance(
            MatrixEnclosure(np.zeros((1, 1))),
            Activation("abs"),
            np.zeros(1),
            np.zeros(1),
            modulus,
        )


@pytest.mark.parametrize(
    ("kind", "value", "eta"),
    [
        ("contraction", Fraction(1), None),
        ("contraction", Fraction(-1), None),
        ("monotone", Fraction(0), None),
        ("weighted", Fraction(1, 2), None),
        ("measure", Fraction(1, 2), np.array([0.0])),
        ("measure", Fraction(1, 2), np.array([2.0**-1074])),
        ("diagonal", Fraction(1, 2), np.array([np.inf])),
    ],
)
def test_moduli_that_prove_nothing_are_refused(kind, value, eta):
    with pytest.raises(InputError, match=r"expected .*, but got"):
        Modulus(kind, value, eta)


def sqrt_above(value):
    """A rational >= the square root of a nonnegative rational."""
    scale = 10**12
    root = Fraction(int((value * scale * scale).__ceil__() ** 0.5) + 2**20, scale)
    while root * root < value:
        root += Fraction(1, scale)
    return root


def moduli_of(W):
    """Exact moduli of a small matrix by elementary bounds; empty where none holds."""
    exact = [[Fraction(float(e)) for e in row] for row in W]
    m, found = len(W), []
    frobenius = sqrt_above(sum(e * e for row in exact for e in row))
    if frobenius < 1:
        found.append(Modulus("contraction", frobenius))
    eta = np.array([1.0, 2.0, 0.5, 1.0, 4.0, 1.0])[:m]
    weights = [Fraction(float(e)) for e in eta]
    rows = [sum(abs(e) * y for e, y in zip(row, weights, strict=True)) for row in exact]
    q = max(r / w for r, w in zip(rows, weights, strict=True))
    if q < 1:
        found.append(Modulus("weighted", q, eta))
    mu = max(exact[i][i] + (rows[i] - abs(exact[i][i]) * weights[i]) / weights[i] for i in range(m))
    if mu < 1:
        found.append(Modulus("measure", mu, eta))
    margin = min(
        1 - exact[i][i] - sum(abs(exact[i][j] + exact[j][i]) / 2 for j in range(m) if j != i)
        for i in range(m)
    )
    if margin > 0:
        found.append(Modulus("monotone", margin))
        found.append(Modulus("diagonal", margin, np.ones(m)))
    return found


def truth_of(weight, activation, b, near):
    """Exact states, or boxes of radius about 2^-300, as pairs of rationals."""
    if activation.name in ("relu", "leaky_relu"):
        exact = solve_active_set(weight, activation, b, signs_at(weight, b, near))
        return None if exact is None else [(e, e) for e in exact.z]
    lifted = [[Fraction(float(e)) for e in row] for row in (b, near)]
    return ball_box(weight.rational(), activation, *lifted, bits=320)


@pytest.mark.soundness
def test_campaign_samples_against_exact_equilibria():
    count, seed, start = (1000 if FULL else 100), 5, time.perf_counter()
    generator, checked, kinds = np.random.default_rng(seed), 0, set()
    texts = ["relu", "relu", "leaky_relu(1/4)", "tanh", "sigmoid", "softplus(2)"]
    for k in range(count):
        m, activation = int(generator.integers(1, 7)), Activation.parse(texts[k % len(texts)])
        W = generator.standard_normal((m, m)) * generator.choice([0.1, 0.3, 1.0]) / np.sqrt(m)
        W -= np.eye(m) * generator.choice([0.0, 0.0, 1.0])
        weight, b = MatrixEnclosure(W), generator.standard_normal(m)
        moduli = moduli_of(W)
        noise = generator.standard_normal(m) * 10.0 ** -generator.integers(0, 17)
        near = propose_equilibria(W, activation, b[None, :])[0]
        truth = truth_of(weight, activation, b, near)
        if truth is None:
            continue
        for records in (
            [certify_samples(weight, activation, b[None, :], [one])[0] for one in moduli],
            certify_samples(weight, activation, b[None, :], solver_outputs=(near + noise)[None, :]),
        ):
            for record in records:
                if record.distance is None:
                    continue
                checked += 1
                kinds.add(record.method)
                reach = Fraction(record.radius_inf)
                inside = [
                    lo <= Fraction(float(c)) + reach and Fraction(float(c)) - reach <= hi
                    for c, (lo, hi) in zip(record.z_mid, truth, strict=True)
                ]
                assert all(inside), (W, b, activation, record)
        output = near + noise
        pairs = list(zip(map(Fraction, map(float, output)), truth, strict=True))
        least = max(max(lo - o, o - hi, Fraction(0)) for o, (lo, hi) in pairs)
        most = max(max(hi - o, o - lo) for o, (lo, hi) in pairs)
        local = records[0].distance
        if local is not None:
            assert local.lo <= most
            assert least <= local.hi
        for one in moduli:
            assert least <= enclose_distance(weight, activation, b, output, one).hi
    assert checked > count
    assert len(kinds) >= 5
    spent = time.perf_counter() - start
    print(f"campaign sample-enclosures: {count} cases, seed {seed}, {spent:.1f} s, 0 wrong")


def test_biases_are_enclosed():
    chooser = np.random.default_rng(3)
    X, U = chooser.standard_normal((5, 7)), chooser.standard_normal((6, 7))
    bias = chooser.standard_normal(6)
    mid, rad = bias_enclosure(AffineInput(U, bias), X)
    exact = [
        [
            Fraction(float(c))
            + sum(Fraction(float(u)) * Fraction(float(x)) for u, x in zip(r, row, strict=False))
            for r, c in zip(U, bias, strict=False)
        ]
        for row in X
    ]
    for i in range(5):
        for j in range(6):
            assert abs(Fraction(mid[i, j]) - exact[i][j]) <= Fraction(rad[i, j])
    mid, rad = bias_enclosure(ReluFeatureInput(U), X)
    for i in range(5):
        for j in range(6):
            raw = max(exact[i][j] - Fraction(bias[j]), Fraction(0))
            low, high = (Fraction(mid[i, j]) + s * Fraction(rad[i, j]) for s in (-1, 1))
            assert max(low, Fraction(0)) ** 2 * 6 <= raw**2 <= high**2 * 6


@pytest.mark.parametrize("name", NAMES)
def test_every_activation_is_certified_in_a_contraction(name):
    text = name + {"leaky_relu": "(1/3)", "softplus": "(5)", "elu": "(2)"}.get(name, "")
    generator = np.random.default_rng(8)
    W = generator.standard_normal((5, 5)) * 0.1
    activation = Activation.parse(text)
    B = generator.standard_normal((3, 5))
    modulus = Modulus("contraction", Fraction(99, 100))
    together = certify_samples(MatrixEnclosure(W), activation, B, [modulus])
    alone = certify_samples(MatrixEnclosure(W), activation, B)
    for one, other in zip(together, alone, strict=True):
        assert one.exists
        assert one.unique
        assert other.exists
        gap = np.max(np.abs(one.z_mid - other.z_mid))
        assert one.radius_inf < 1e-10
        assert gap <= one.radius_inf + other.radius_inf


def test_a_bounded_activation_has_an_equilibrium_even_without_a_box():
    weight = MatrixEnclosure(np.array([[0.0, -8.0], [8.0, 0.0]]))
    (record,) = certify_samples(weight, TANH, np.full((1, 2), 1e-3), deadline=time.monotonic() - 1)
    assert record.exists
    assert not record.unique
    assert record.distance is None
    assert record.why_open
    (record,) = certify_samples(weight, RELU, np.full((1, 2), 1e-3), deadline=time.monotonic() - 1)
    assert not record.exists


def test_enclosures_of_weights_and_biases_hold_for_every_member():
    W, radius = np.array([[0.25, -0.5], [0.5, 0.125]]), np.full((2, 2), 1e-3)
    b, b_radius = np.array([2.0, 1.0]), np.array([1e-3, 0.0])
    weight = MatrixEnclosure(W, radius)
    near = propose_equilibria(W, RELU, b[None, :])[0]
    box = find_box(weight, RELU, b, near, bias_radius=b_radius)
    cell = enclose_active_set(weight, RELU, b, signs_at(weight, b, near), bias_radius=b_radius)
    assert box is not None
    assert cell is not None
    chooser = random.Random(1)
    for _ in range(40):
        member = W + np.array([[chooser.choice((-1, 1)) * 0.999e-3 for _ in range(2)] for _ in W])
        c = b + np.array([chooser.choice((-1, 1)) * 0.999e-3, 0.0])
        exact = solve_active_set(MatrixEnclosure(member), RELU, c, (1, 1))
        assert meets(box.lower, box.upper, [str(e) for e in exact.z])
        assert meets(cell.mid - cell.rad, cell.mid + cell.rad, [str(e) for e in exact.z])


def test_a_kink_is_decided_by_the_exact_active_set():
    """b = 0 puts the pre-activation on the kink; the exact solve accepts zero."""
    weight = MatrixEnclosure(np.array([[0.5]]))
    exact = solve_active_set(weight, RELU, np.zeros(1), (1,))
    assert exact is not None
    assert exact.z == (0,)
    assert solve_active_set(weight, RELU, np.ones(1), (-1,)) is None
    assert solve_active_set(MatrixEnclosure(np.ones((1, 1))), RELU, np.zeros(1), (1,)) is None


# Mutations: without one term of the proof the statements above are false -----------------------


def test_dropping_the_product_error_breaks_the_affine_enclosure(monkeypatch):
    generator = np.random.default_rng(2)
    Z, W = generator.standard_normal((50, 64)), generator.standard_normal((1, 64))
    W[:, -1] = -(Z[:, :-1] @ W[0, :-1])[0] / Z[0, -1]  # the first row cancels
    exact = [
        sum(Fraction(float(w)) * Fraction(float(z)) for w, z in zip(W[0], row, strict=True))
        for row in Z
    ]

    def escapes():
        mid, rad = enclose_affine(Z, MatrixEnclosure(W), np.zeros(1))
        pairs = zip(mid[:, 0], rad[:, 0], exact, strict=True)
        return sum(abs(Fraction(c) - e) > Fraction(r) for c, r, e in pairs)

    assert escapes() == 0
    monkeypatch.setattr(interval_affine, "gamma", lambda k: 0.0)
    assert escapes() > 0


def test_the_biases_of_the_caller_are_left_alone():
    B = np.ones((2, 2))
    certify_samples(MatrixEnclosure(np.eye(2) * 0.5), Activation("identity"), B)
    assert (B == 1.0).all()


def test_dropping_the_slope_error_of_a_leaky_unit_breaks_containment(monkeypatch):
    activation, v = Activation.parse("leaky_relu(1/3)"), np.array([-1.0])
    value, error = enclose_activation(activation, v, np.zeros(1))
    assert abs(Fraction(value[0]) + Fraction(1, 3)) <= Fraction(error[0])
    plain = lambda s, points: (float(s.parameters[0]) * points, np.zeros_like(points))  # noqa: E731
    monkeypatch.setattr(interval_affine, "_leaky_at", plain)
    value, error = enclose_activation(activation, v, np.zeros(1))
    assert abs(Fraction(value[0]) + Fraction(1, 3)) > Fraction(error[0])


def test_dropping_the_residual_radius_breaks_the_distance(monkeypatch):
    weight, b, z = MatrixEnclosure(np.array([[0.1]])), np.array([0.1]), np.array([0.1 / 0.9])
    z = np.array([next(x for x in (z[0], np.float64(0.1) / 0.9) if x == max(0.0, 0.1 * x + 0.1))])
    exact = solve_active_set(weight, RELU, b, (1,)).z[0]
    modulus = Modulus("contraction", Fraction(0.1))
    assert abs(Fraction(z[0]) - exact) <= enclose_distance(weight, RELU, b, z, modulus).hi
    real = equilibrium_residual.residuals

    def bare(*args):
        mid, rad = real(*args)
        return mid, np.zeros_like(rad)

    monkeypatch.setattr(equilibrium_residual, "residuals", bare)
    assert abs(Fraction(z[0]) - exact) > enclose_distance(weight, RELU, b, z, modulus).hi


def test_slopes_at_the_centre_only_would_prove_a_box_with_three_equilibria(monkeypatch):
    weight, zero = MatrixEnclosure(np.array([[2.0]])), np.zeros(1)
    box = (np.array([-1.5]), np.array([1.5]))
    assert not holds_one_equilibrium(weight, TANH, zero, zero, *box)
    at_centre = lambda s, low, high: (np.ones_like(low), np.ones_like(high))  # noqa: E731
    monkeypatch.setattr(krawczyk, "slope_interval", at_centre)
    assert holds_one_equilibrium(weight, TANH, zero, zero, *box)


def test_forgetting_the_radius_of_the_bias_breaks_the_ball_cell(monkeypatch):
    weight, b, radius = MatrixEnclosure(np.array([[0.5]])), np.ones(1), np.array([1e-3])
    real = equilibrium_exact._balls
    monkeypatch.setattr(equilibrium_exact, "_balls", lambda mid, rad: real(mid, None))
    cell = enclose_active_set(weight, RELU, b, (1,), bias_radius=radius)
    assert Fraction(cell.mid[0] + cell.rad[0]) < 2 * (1 + Fraction(radius[0]) * Fraction(1, 2))


def test_a_wrong_residual_bound_would_show_in_the_records(monkeypatch):
    weight, b = MatrixEnclosure(np.array([[0.1]])), np.array([[0.3]])
    modulus = Modulus("contraction", Fraction(0.1))
    exact = Fraction(0.3) / (1 - Fraction(0.1))
    (record,) = certify_samples(weight, RELU, b, [modulus])
    assert abs(Fraction(record.z_mid[0]) - exact) <= Fraction(record.radius_inf)
    monkeypatch.setattr(equilibrium, "distance_bounds", lambda *args: np.zeros(1))
    (record,) = certify_samples(weight, RELU, b, [modulus])
    assert abs(Fraction(record.z_mid[0]) - exact) > Fraction(record.radius_inf)

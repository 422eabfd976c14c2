"""The risk enclosed in floats against balls; drift and potential beyond the certified radius."""

import json
import math
import os
import time
from fractions import Fraction
from pathlib import Path

import flint
import numpy as np
import pytest
from flint import arb

from verify.enclosure import Enclosure
from verify.errors import InputError
from verify.network.activation import Activation
from verify_kernels.two_layer import midrad, risk
from verify_kernels.two_layer.ball_risk import Point, Problem, evaluate
from verify_kernels.two_layer.balls import ball, precision
from verify_kernels.two_layer.midrad import MidRad
from verify_kernels.two_layer.moments import enclose_second_moment
from verify_kernels.two_layer.risk import enclose_risk
from verify_kernels.two_layer.sums import DataSums, OuterSums

VECTORS = Path(__file__).parents[1] / "vectors" / "villani.json"
NETWORKS = json.loads(VECTORS.read_text(encoding="utf-8"))["networks"]
FULL = os.environ.get("VERIFY_CAMPAIGN") == "full"
COMPILED = ("tanh", "softplus(1)", "gelu", "square")  # one compilation for each
FAST = [n for n in NETWORKS if n["activation"] in COMPILED]
FIELDS = (
    "value",
    "gradient_norm_squared",
    "laplacian",
    "gradient_dot_weights",
)


def exact(values):
    return [exact(v) for v in values] if isinstance(values, list) else float.fromhex(values)


def array(values):
    return np.array(exact(values), dtype=np.float64)


def activation_of(network):
    if network["activation"].startswith("logosc"):
        return Activation("expression", text=network["sympy"])
    return Activation.parse(network["activation"])


def problem_of(network):
    return Problem(
        array(network["X"]),
        array(network["y"]),
        activation_of(network),
        {"W": float.fromhex(network["lambda"])},
        loss_scale=Fraction(network["c_prime"]),
    )


def end(value):
    return Enclosure.exact(value).arb()


def assert_contains(enclosure, truth):
    if isinstance(enclosure.lo, Fraction):
        assert not truth < end(enclosure.lo)
    if isinstance(enclosure.hi, Fraction):
        assert not truth > end(enclosure.hi)


def assert_agrees(found, balls, s):
    with precision(600):
        for name in FIELDS:
            assert_contains(getattr(found, name), getattr(balls, name))
        assert_contains(found.v(s), balls.v(s))
        data = balls.gradient_dot_weights - sum(
            (
                penalty * balls.squared_norm(role)
                for role, penalty in balls.setting.penalties.items()
            ),
            arb(0),
        )
        assert_contains(found.data_gradient_dot_weights, data)
        largest = max((abs(u) for u in balls.outputs), key=lambda u: u.mid())
        assert_contains(found.largest_output, largest)


@pytest.mark.parametrize("network", FAST, ids=lambda n: n["id"])
def test_the_vectors(network):
    problem, s = problem_of(network), float.fromhex(network["s"])
    for record in network["at"]:
        point = Point(array(record["W"]), array(network["a"]))
        found, balls = enclose_risk(problem, point), evaluate(problem, point, bits=500)
        assert_agrees(found, balls, s)
        if abs(math.log10(abs(balls.value.mid()) + arb(1))) < 100:
            assert found.value.width <= found.value.hi / 10**12
            room = Fraction(1, 10**11) * (1 + max(abs(e) for e in ends_of(found.laplacian)))
            assert found.laplacian.width <= room


def ends_of(enclosure):
    return enclosure.lo, enclosure.hi


def random_case(rng, activation, loss, trained):
    n, d, p = int(rng.integers(1, 9)), int(rng.integers(1, 4)), int(rng.integers(1, 5))
    scale = 10.0 ** rng.choice([0, 0, 0, -8, 3])
    X = rng.standard_normal((n, d)) * scale
    X[rng.random(X.shape) < 0.2] = 0.0
    if rng.random() < 0.3:
        X = X.astype(np.float32)
    y = np.sign(rng.standard_normal(n)) if loss == "logistic" else rng.standard_normal(n) * 2
    a = rng.standard_normal(p) * 10.0 ** rng.choice([0, 0, -3, 2])
    a[rng.random(p) < 0.2] = 0.0
    penalties = {role: Fraction(int(rng.integers(0, 20)), 7) for role in trained}
    has_b, has_c = "b" in trained or rng.random() < 0.3, "c" in trained or rng.random() < 0.3
    point = Point(
        rng.standard_normal((p, d)) * 10.0 ** rng.choice([0, 0, 2, -6]),
        a,
        rng.standard_normal(p) if has_b else None,
        float(rng.standard_normal()) if has_c else None,
    )
    problem = Problem(X, y, activation, penalties, loss, Fraction(int(rng.integers(1, 9)), 3))
    return problem, point


@pytest.mark.soundness
def test_random_networks_are_enclosed(monkeypatch):
    """Every combination of trained roles, both losses, several blocks."""
    count, seed, start = (3000 if FULL else 300), 21, time.perf_counter()
    rng = np.random.default_rng(seed)
    for trial in range(count):
        monkeypatch.setattr(risk, "_LANES", 1 << 17)
        activation = Activation.parse(COMPILED[trial % 3])
        loss = "logistic" if trial % 5 == 0 else "squared"
        trained = ["W", "Wb", "Wa", "Wc", "Wba", "Wbac"][trial % 6]
        problem, point = random_case(rng, activation, loss, trained)
        found = enclose_risk(problem, point)
        balls = evaluate(problem, point, bits=400)
        assert_agrees(found, balls, Fraction(1, int(rng.integers(1, 50))))
        assert found.value.is_bounded
    spent = time.perf_counter() - start
    print(f"campaign two-layer-risk: {count} cases, seed {seed}, {spent:.0f} s, 0 wrong")


def test_several_blocks_of_narrow_data():
    """n = 3000 in blocks, uint8 inputs, against balls at 20 decimals."""
    rng = np.random.default_rng(0)
    X = rng.integers(0, 3, size=(3000, 4), dtype=np.uint8)
    y, a = rng.standard_normal(3000), rng.standard_normal(3)
    problem = Problem(X, y, Activation("tanh"), {"W": Fraction(1, 100), "b": 0}, "squared", 1)
    point = Point(rng.standard_normal((3, 4)), a, rng.standard_normal(3))
    found, balls = enclose_risk(problem, point), evaluate(problem, point, bits=200)
    assert_agrees(found, balls, 1)
    assert found.gradient_norm_squared.width <= found.gradient_norm_squared.hi / 10**10
    assert found.gradient_dot_weights.width <= abs(found.gradient_dot_weights.hi) / 10**9


@pytest.mark.parametrize("scale", [1e150, 1e-150, 1e300])
def test_huge_and_tiny_numbers_are_enclosed_or_open(scale):
    rng = np.random.default_rng(1)
    X, y = rng.standard_normal((4, 2)) * scale, rng.standard_normal(4)
    problem = Problem(X, y, Activation("tanh"), {"W": 2.0**-1074})
    point = Point(rng.standard_normal((2, 2)), np.array([1.0, -1.0]))
    assert_agrees(enclose_risk(problem, point), evaluate(problem, point, bits=3000), 1)
    far = Point(rng.standard_normal((2, 2)) * 1e-300, np.array([scale, scale]))
    assert_agrees(enclose_risk(problem, far), evaluate(problem, far, bits=3000), 1)


def test_what_is_outside_the_range_is_open():
    problem = Problem([[1e200]], [1e200], Activation("square"), {"W": 1})
    found = enclose_risk(problem, Point(np.array([[1e200]]), np.array([1.0])))
    assert not found.value.is_bounded
    assert not found.v(1).is_bounded
    assert found.gradient_norm_squared.hi == math.inf


@pytest.mark.parametrize("wrong", ["shape", "label", "penalty", "nan", "missing", "s", "loss"])
def test_refusals(wrong):
    X, y, W, penalties, loss, s = [[1.0, 2.0]], [1.0], [[1.0, 1.0]], {"W": 1}, "squared", 1
    if wrong == "shape":
        W = [[1.0]]
    elif wrong == "label":
        y, loss = [0.5], "logistic"
    elif wrong == "penalty":
        penalties = {"W": -1}
    elif wrong == "nan":
        W = [[1.0, math.nan]]
    elif wrong == "missing":
        penalties = {"W": 1, "b": 1}
    elif wrong == "s":
        s = 0
    elif wrong == "loss":
        loss = "hinge"
    with pytest.raises(InputError, match=r"expected .*, but got"):
        enclose_risk(Problem(X, y, Activation("tanh"), penalties, loss), Point(W, [1.0])).v(s)


# -- the drift and the certified radius ------------------------------------------------------

SIGMA = {  # the range, None where not bounded, and sigma(0)
    "tanh": ((-1, 1), 0),
    "sigmoid": ((0, 1), Fraction(1, 2)),
    "sin": ((-1, 1), 0),
    "softplus(1)": (None, "log 2"),
    "gelu": (None, 0),
    "silu": (None, 0),
}


def constants_of(name):
    """S1, S2, kappa0 as balls, from the 40-digit vectors."""
    from_vectors = next(n["constants"] for n in NETWORKS if n["activation"] == name)
    parts = []
    for key in ("S1", "S2", "kappa0"):
        text = from_vectors[key]
        if text is None:
            parts.append(None)
            continue
        value = ball(Fraction(text))
        parts.append(value + arb(0, 1) * value * arb("1e-39"))
    return parts


class Certificate:
    """The formulas of the two routes, in balls."""

    def __init__(self, problem, a, name):
        data, outer = DataSums(problem.X, problem.y), OuterSums(a)
        c, lam = ball(problem.loss_scale), ball(problem.penalties["W"])
        p, d = len(a), data.samples.d
        S1, S2, kappa = constants_of(name)
        l1, l2, l2sq = outer.l1.arb(), outer.l2.arb(), outer.l2_squared.arb()
        square = data.mean_squared_norm.arb()
        base = lam * p * d + c * square * S1**2 * l2sq
        self.lam, self.G, self.b = lam, None, None
        if SIGMA[name][0] is not None:
            R = data.residuals(*outer.range(*(Enclosure.exact(v) for v in SIGMA[name][0])))
            Lambda = enclose_second_moment(data.samples).enclosure().arb()
            first = R.mean_norm.arb()
            second = (R.mean_squared.arb() * Lambda).sqrt()
            self.G = c * S1 * l2 * first.min(second)
            self.D = base + c * S2 * l1 * R.mean_squared_norm.arb()
        if kappa is not None:
            shifted = data.mean_shifted_label_squared(Enclosure.from_arb(kappa * l1))
            self.b = c * shifted.arb() / 4
            zero = SIGMA[name][1]
            at_zero = arb(2).log() if zero == "log 2" else ball(zero)
            self.A = base + c * S2 * l1 * (
                data.mean_squared_norm_label.arb() + at_zero * l1 * square
            )
            self.B = c * S1 * S2 * l1 * l2 * data.mean_cubed_norm.arb()

    def radius_bounded(self, s, M):
        return (self.G + (s * (self.D + M)).sqrt()) / self.lam

    def radius_homogeneous(self, s, M):
        lam, inner = self.lam, M + self.A + 2 * self.lam * self.b / s
        root = (s**2 * self.B**2 + 4 * lam**2 * s * inner).sqrt()
        return (s * self.B + root) / (2 * lam**2)


@pytest.mark.parametrize("network", NETWORKS, ids=lambda n: n["id"])
def test_the_radii_of_the_vectors(network):
    """The formulas of this file are the right ones."""
    if network["radius"] is None or network["activation"] not in SIGMA:
        return
    with precision(300):
        certificate = Certificate(problem_of(network), array(network["a"]), network["activation"])
        s = ball(float.fromhex(network["s"]))
        rules = {"V1": certificate.radius_bounded, "V2": certificate.radius_homogeneous}
        for route, rule in rules.items():
            for M, text in (network["radius"].get(route) or {}).items():
                expected = ball(Fraction(text))
                expected += arb(0, 1) * expected * arb("1e-39")
                assert rule(s, int(M)).overlaps(expected), (route, M)


@pytest.mark.parametrize("network", FAST, ids=lambda n: n["id"])
def test_the_drift_inequality_at_stored_points(network):
    """<grad f, W> + b - lambda ||W||^2 >= 0, and the float enclosure proves what balls prove."""
    if network["activation"] not in SIGMA:
        return
    problem = problem_of(network)
    with precision(300):
        certificate = Certificate(problem, array(network["a"]), network["activation"])
        for record in network["at"]:
            point = Point(array(record["W"]), array(network["a"]))
            found = enclose_risk(problem, point).data_gradient_dot_weights
            margin = found.arb() + certificate.b
            assert not margin < 0
            if found.is_bounded and end(found.width) < certificate.b / 10**6:
                assert margin > 0


def far_point(rng, p, d, radius):
    """A matrix of floats of norm >= radius, often barely so, in a direction that may be flat."""
    direction = rng.standard_normal((p, d))
    kind = rng.integers(5)
    if kind == 0:
        direction = np.repeat(direction[:1], p, axis=0)
    elif kind == 1:
        direction[1:] = 0.0
    elif kind == 2:
        direction *= 10.0 ** rng.uniform(-6, 0, size=(p, 1))
    elif kind == 3:
        direction = np.abs(direction) * rng.choice([-1.0, 1.0])
    factor = 1.0 + rng.choice([0.0, 1e-12, 1e-3, 1.0, 30.0])
    W = direction * (float(radius.upper()) * factor / np.linalg.norm(direction)) * (1 + 1e-14)
    length = sum((ball(float(w)) ** 2 for w in W.ravel()), arb(0)).sqrt()
    assert length >= radius
    return W


@pytest.mark.soundness
def test_the_potential_beyond_the_certified_radius():
    """V_s(W) >= M wherever ||W|| >= R(s, M), by both routes."""
    count, seed, start = (100_000 if FULL else 10_000), 33, time.perf_counter()
    rng = np.random.default_rng(seed)
    names, done = list(SIGMA), 0
    with precision(64):
        while done < count:
            name = names[int(rng.integers(len(names)))]
            n, d, p = (int(rng.integers(1, 4)) for _ in range(3))
            X = rng.standard_normal((n, d)) * 10.0 ** rng.uniform(-2, 0.5)
            y = rng.standard_normal(n) * 10.0 ** rng.uniform(-2, 1)
            a = rng.standard_normal(p) * 10.0 ** rng.uniform(-4, 0.5)
            if rng.random() < 0.1:
                a[:] = 0.0
            lam = Fraction(int(rng.integers(1, 100)), int(rng.integers(1, 400)))
            scale = Fraction(int(rng.integers(1, 9)), 4)
            problem = Problem(X, y, Activation.parse(name), {"W": lam}, "squared", scale)
            certificate = Certificate(problem, a, name)
            s = Fraction(int(rng.integers(1, 200)), 40)
            for _ in range(20):
                M = ball(Fraction(int(rng.choice([0, 1, 100]))))
                radii = []
                if certificate.G is not None:
                    low = rng.choice([0, 1])
                    M = -certificate.D.lower() * arb(0.999) if low else M
                    radii.append(certificate.radius_bounded(ball(s), M))
                if certificate.b is not None and M >= 0:
                    radii.append(certificate.radius_homogeneous(ball(s), M))
                for radius in radii:
                    W = far_point(rng, p, d, radius)
                    potential = evaluate(problem, Point(W, a), bits=64).v(s)
                    if potential < M:
                        raise AssertionError((name, X, y, a, lam, scale, s, M, W, potential))
                    if not potential >= M:
                        assert not evaluate(problem, Point(W, a), bits=800).v(s) < M
                    done += 1
    spent = time.perf_counter() - start
    print(f"campaign villani-radius: {done} cases, seed {seed}, {spent:.0f} s, 0 wrong")


# -- mutations -----------------------------------------------------------------------------


def margin_case(seed):
    rng = np.random.default_rng(seed)
    n, d, p = 6, 40, 3
    problem = Problem(
        np.abs(rng.standard_normal((n, d))), rng.standard_normal(n), Activation("tanh"), {"W": 0}
    )
    return problem, Point(np.abs(rng.standard_normal((p, d))) / d, rng.standard_normal(p))


def violations(count=60):
    wrong = 0
    for seed in range(count):
        problem, point = margin_case(seed)
        found, balls = enclose_risk(problem, point), evaluate(problem, point, bits=300)
        try:
            assert_agrees(found, balls, 1)
        except AssertionError:
            wrong += 1
    return wrong


def test_without_the_radii_the_risk_is_missed(monkeypatch):
    """Mutations: the radii of the activations; the error of the pre-activations and sums."""
    assert violations() == 0
    real = risk._enclosed
    with monkeypatch.context() as patch:
        patch.setattr(
            risk,
            "_enclosed",
            lambda *given: tuple(MidRad(x.mid, 0.0 * x.rad) for x in real(*given)),
        )
        patch.setattr(midrad, "RAISE", 1.0)
        patch.setattr(midrad, "gamma", lambda k: 0.0)
        patch.setattr(midrad, "U", 0.0)
        assert violations() > 0


def test_without_the_error_of_the_gradient_its_norm_is_missed(monkeypatch):
    """Mutation: sum (gamma ||D_i|| + ||rad D_i||) ||x_i|| dropped."""

    def case(seed):
        rng = np.random.default_rng(seed)
        X = np.repeat(rng.standard_normal((1, 2)), 200, axis=0)
        y = np.full(200, 0.3)
        problem = Problem(X, y, Activation("square"), {"W": 0})
        point = Point(np.array([[0.0, 0.0], [1.0, 1.0]]), np.array([1.0, 0.0]))
        return problem, Point(point.W + rng.standard_normal((2, 2)), point.a)

    def wrong():
        total = 0
        for seed in range(40):
            problem, point = case(seed)
            found = enclose_risk(problem, point).gradient_norm_squared
            truth = evaluate(problem, point, bits=300).gradient_norm_squared
            with precision(400):
                inside = not (truth < end(found.lo) or truth > end(found.hi))
            total += not inside
        return total

    assert wrong() == 0
    monkeypatch.setattr(risk, "product_error", lambda *given: 0.0)
    monkeypatch.setattr(risk, "U", 0.0)
    monkeypatch.setattr(risk, "norm_up", lambda v: float(np.linalg.norm(v)))
    monkeypatch.setattr(risk, "norm_down", lambda v: float(np.linalg.norm(v)))
    assert wrong() > 0


def test_balls_are_at_the_precision_asked():
    assert flint.ctx.prec == 53

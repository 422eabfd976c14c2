"""Random small networks: what kernels refute or prove is held against V_s and f themselves.

f, its gradient and its Laplacian come from Taylor arithmetic of second order, one parameter at a
time, on SymPy's derivatives of the activation, in numbers of 150 digits along rays and in doubles
on spheres; no formula of the risk's derivatives enters.
"""

from __future__ import annotations

import os
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from functools import cache
from typing import Any

import mpmath as mp
import numpy as np
import pytest
import sympy as sp

from verify.evidence import Evidence, Witness
from verify.network.activation import Activation
from verify.verdict import Truth
from verify_kernels.activation_analysis import analyse
from verify_kernels.two_layer import (
    cancelling_pair,
    constant_output,
    kinks,
    log_oscillation,
    mirror_data,
    polynomial,
    rays,
    spanning,
)
from verify_kernels.two_layer.ball_risk import Point, Problem

SHARE = 1 if os.environ.get("VERIFY_CAMPAIGN") == "full" else 10
DIGITS, POINTS = 150, 120
Z = sp.Symbol("z", real=True)
OSCILLATION = "z*cos(3*log(1+z**2)/4)"
FORMULAS = {
    "tanh": sp.tanh(Z), "sigmoid": 1 / (1 + sp.exp(-Z)), "softplus": sp.log(1 + sp.exp(Z)),
    "silu": Z / (1 + sp.exp(-Z)), "gelu": Z * (1 + sp.erf(Z / sp.sqrt(2))) / 2, "sin": sp.sin(Z),
    "sqrt(1+z**2)-1": sp.sqrt(1 + Z**2) - 1, "identity": Z, "z**2": Z**2, "z**3": Z**3,
    "z**4": Z**4, "z**2+z": Z**2 + Z, "z**2+1": Z**2 + 1, "z**3-2*z": Z**3 - 2 * Z,
    "relu": (Z + sp.Abs(Z)) / 2, "abs": sp.Abs(Z), "Max(z,0)**2": Z * (Z + sp.Abs(Z)) / 2,
    "leaky_relu(1/4)": (5 * Z + 3 * sp.Abs(Z)) / 8, "softsign": Z / (1 + sp.Abs(Z)),
    "Abs(z-1)+z/2": sp.Abs(Z - 1) + Z / 2, "Max(z,0)**3": Z**2 * (Z + sp.Abs(Z)) / 2,
    "Abs(sin(pi*z))": sp.Abs(sp.sin(sp.pi * Z)), "sign(z)": sp.sign(Z),
    "Abs(z-1)*sqrt(z**2+2*z+1)": sp.Abs(Z - 1) * sp.Abs(Z + 1),
    OSCILLATION: Z * sp.cos(3 * sp.log(1 + Z**2) / 4),
}  # fmt: skip
NAMES = {Activation.parse(name): name for name in FORMULAS}
BOUNDED, LINEAR = ("tanh", "sigmoid", "sin"), ("softplus", "silu", "gelu", "sqrt(1+z**2)-1")
POLYNOMIALS = ("z**2", "z**3", "z**4", "z**2+z", "z**2+1", "z**3-2*z")
KINKED = (
    "relu", "abs", "Max(z,0)**2", "leaky_relu(1/4)", "softsign", "Abs(z-1)+z/2", "Max(z,0)**3",
    "Abs(sin(pi*z))", "Abs(z-1)*sqrt(z**2+2*z+1)", "sign(z)",
)  # fmt: skip


@cache
def derivatives(name: str, kind: str) -> list[Callable[[Any], Any]]:
    """Return s, s', s'' for numbers of mpmath, or for arrays where that is stable."""
    if kind == "mpmath":
        made = [sp.lambdify(Z, part, "mpmath") for part in _symbolic(name)]
        return [np.vectorize(rule, otypes=[object]) for rule in made]
    if name == "sigmoid":
        bell = lambda z: _logistic(z) * _logistic(-z)  # noqa: E731
        return [_logistic, bell, lambda z: bell(z) * (1 - 2 * _logistic(z))]
    if name == "softplus":
        return [lambda z: np.logaddexp(0, z), _logistic, lambda z: _logistic(z) * _logistic(-z)]
    if name == "silu":
        return [
            lambda z: z * _logistic(z),
            lambda z: _logistic(z) * (1 + z * _logistic(-z)),
            lambda z: _logistic(z) * _logistic(-z) * (2 + z * (1 - 2 * _logistic(z))),
        ]
    if name in ("relu", "abs", "leaky_relu(1/4)"):
        low, high = {"relu": (0.0, 1.0), "abs": (-1.0, 1.0)}.get(name, (0.25, 1.0))
        slope = lambda z: np.where(z > 0, high, low)  # noqa: E731
        return [lambda z: slope(z) * z, slope, lambda z: 0.0 * z]
    made = [sp.lambdify(Z, part, ["scipy", "numpy"]) for part in _symbolic(name)]
    return [lambda z, rule=rule: rule(z) + 0.0 * z for rule in made]  # type: ignore[misc]


def _symbolic(name: str) -> list[Any]:
    """Return s, s', s''; one-sided, without the masses at kinks."""
    found = [FORMULAS[name].diff(Z, k) if k else FORMULAS[name] for k in range(3)]
    return [part.replace(sp.DiracDelta, lambda *_: sp.Integer(0)) for part in found]


def _logistic(z: Any) -> Any:
    return np.exp(-np.logaddexp(0, -z))


@dataclass
class Taylor:
    """c0 + c1 h + c2 h^2 + O(h^3); arrays over parameters and points."""

    c0: Any
    c1: Any
    c2: Any

    def __add__(self, other: Any) -> Taylor:
        if not isinstance(other, Taylor):
            return Taylor(self.c0 + other, self.c1, self.c2)
        return Taylor(self.c0 + other.c0, self.c1 + other.c1, self.c2 + other.c2)

    def __mul__(self, other: Any) -> Taylor:
        if not isinstance(other, Taylor):
            return Taylor(self.c0 * other, self.c1 * other, self.c2 * other)
        mixed = self.c0 * other.c2 + self.c1 * other.c1 + self.c2 * other.c0
        return Taylor(self.c0 * other.c0, self.c0 * other.c1 + self.c1 * other.c0, mixed)

    def into(self, rules: Sequence[Callable[[Any], Any]]) -> Taylor:
        """Compose with a function given by its value and two derivatives."""
        s0, s1, s2 = (rule(self.c0) for rule in rules)
        return Taylor(s0, s1 * self.c1, s1 * self.c2 + s2 * self.c1 * self.c1 / 2)


def risk(problem: Problem, point: Point, theta: Any, number: Callable[[Any], Any]) -> Taylor:
    """Return f(theta + h e_k) for every k and every column of theta, shape (D, points)."""
    p, d = np.shape(point.W)
    y = [number(v) for v in np.asarray(problem.y).tolist()]
    X = [[number(v) for v in row] for row in np.asarray(problem.X).tolist()]
    one = np.array([[number(int(i == k)) for k in range(len(theta))] for i in range(len(theta))])
    zero, columns = 0 * one[:, :1], range(len(theta))
    moving = iter(Taylor(theta[k][None, :], one[:, k : k + 1], zero) for k in columns)
    sizes = {"W": p * d, "b": p, "a": p, "c": 1}
    trained = [name for name in "Wbac" if name in problem.penalties]
    role = {name: [next(moving) for _ in range(sizes[name])] for name in trained}
    b = role.get("b") or [number(v) for v in (np.zeros(p) if point.b is None else point.b)]
    a = role.get("a") or [number(v) for v in point.a]
    fixed = 0 if point.c is None else np.reshape(point.c, -1)[0]
    c = role["c"][0] if "c" in role else number(fixed)
    kind = "mpmath" if number is exact else "numpy"
    rules = derivatives(NAMES[problem.activation], kind)
    total = Taylor(0, 0, 0)
    for x, target in zip(X, y, strict=True):
        u = Taylor(0, 0, 0) + c
        for j in range(p):
            z = Taylor(0, 0, 0) + b[j]
            for k in range(d):
                z = z + role["W"][j * d + k] * x[k]
            u = u + z.into(rules) * a[j]
        if problem.loss == "squared":
            r = u + (-target)
            total = total + r * r * (number(1) / 2)
        else:
            total = total + (u * (-target)).into(derivatives("softplus", kind))
    total = total * (number(problem.loss_scale) / len(y))
    for name, parameters in role.items():
        for v in parameters:
            total = total + v * v * (number(problem.penalties[name]) / 2)
    return total


def exact(value: Any) -> Any:
    number = Fraction(value.item() if isinstance(value, np.generic) else value)
    return mp.mpf(number.numerator) / number.denominator


def parts(problem: Problem, point: Point, theta: Any, number: Any = float) -> tuple[Any, Any, Any]:
    """Return f, |grad f|^2 and Lap f at every column of theta."""
    found = risk(problem, point, theta, number)
    return found.c0[0], (found.c1**2).sum(axis=0), 2 * found.c2.sum(axis=0)


def flat(problem: Problem, at: Point) -> Any:
    """Return the trained parameters of a point as one exact column."""
    weights = {"W": [w for row in at.W for w in row], "b": at.b, "a": at.a,
               "c": [np.asarray(at.c, dtype=object).reshape(-1)[0]]}  # fmt: skip
    trained = [name for name in "Wbac" if name in problem.penalties]
    column = [mp.mpf(0) + _exact(w) for name in trained for w in weights[name]]
    return np.array(column, dtype=object)[:, None]


def _exact(value: Any) -> Any:
    return value if isinstance(value, mp.mpf) else exact(value)


# --- random networks --------------------------------------------------------------------------


def network(
    rng: np.random.Generator, names: Sequence[str], *, biases: bool = True
) -> tuple[Problem, Point]:
    """Return a random problem: any trained roles, penalties that may be 0, both losses."""
    p, d, n = (int(rng.integers(1, top)) for top in (4, 3, 5))
    X = rng.integers(-3, 4, (n, d)) / 2.0
    loss = "logistic" if rng.random() < 0.3 else "squared"
    y = rng.choice([-1.0, 1.0], n) if loss == "logistic" else rng.integers(-4, 5, n) / 2.0
    penalties = {"W": Fraction(int(rng.integers(0, 4)), 3)}
    for role, chance in (("b", 0.4), ("a", 0.3), ("c", 0.2)):
        if biases and rng.random() < chance:
            penalties[role] = Fraction(int(rng.integers(0, 3)), 2)
    a = rng.choice([-2.0, -1.0, -0.5, 0.5, 1.0, 2.0], p) * (rng.random(p) < 0.9)
    a = np.abs(a) if rng.random() < 0.4 else a
    frozen_b = rng.integers(-1, 2, p) / 2.0 if biases and rng.random() < 0.3 else None
    b = np.zeros(p) if "b" in penalties else frozen_b
    c = np.array([0.5]) if "c" in penalties or (biases and rng.random() < 0.3) else None
    activation = Activation.parse(names[int(rng.integers(len(names)))])
    scale = 1 if loss == "logistic" else [1, 2, n, Fraction(2 * n)][int(rng.integers(4))]
    W = rng.integers(-4, 5, (p, d)) / 4.0
    return Problem(X, y, activation, penalties, loss, scale), Point(W, a, b, c)


def coercive(rng: np.random.Generator) -> tuple[Problem, Point]:
    """Return a problem of the families that are proved to pass."""
    family = rng.choice(["spanning", "even", "oscillation", "mirror", "constant"])
    problem, point = network(rng, ("tanh",), biases=False)
    p, d = point.W.shape
    X, y, penalty = np.asarray(problem.X), rng.integers(-4, 5, len(problem.y)) / 2.0, Fraction(1)
    a = np.abs(point.a) + 0.5
    if family == "spanning":
        X = np.vstack([np.eye(d), -np.ones((1, d)), X[:1]])
        y, name, penalty = rng.integers(-4, 5, len(X)) / 2.0, str(rng.choice(LINEAR)), Fraction(0)
    elif family == "even":
        name, penalty = str(rng.choice(["z**2", "z**4"])), Fraction(int(rng.integers(0, 2)))
    elif family == "oscillation":
        X, name = np.repeat(X[:1] + 1.0, 2, axis=0), OSCILLATION
        y, penalty = y[:1] + np.arange(2.0), Fraction(int(rng.integers(1, 40)), 4)
        a = a * (np.arange(p) == 0)
    elif family == "mirror":
        X, name = np.vstack([X, -X]), str(rng.choice(["relu", "abs", "leaky_relu(1/4)"]))
        y = np.concatenate([y, -y]) * (name != "abs")
        a = a * (np.arange(p) == 0)
    else:
        a, name = 0 * a, "relu"
    penalties, b, kind = {"W": penalty}, None, int(rng.integers(3))
    if kind == 1 and family != "mirror":
        penalties["b"] = penalty if family != "even" else Fraction(int(rng.integers(0, 2)))
        b = np.zeros(p)
        X = np.vstack([X, np.eye(d) + 1.0]) if family in ("spanning", "even") else X
        y = rng.integers(-4, 5, len(X)) / 2.0
    elif kind == 2 and family in ("spanning", "oscillation", "constant"):
        b = rng.integers(-2, 3, p) / 2.0
    risk_ = Problem(X, y, Activation.parse(name), penalties, "squared", problem.loss_scale)
    return risk_, Point(point.W, a, b)


def verdicts(problem: Problem, point: Point) -> Iterator[Evidence]:
    """Yield what every kernel says of the four conditions and of the whole property."""
    facts = analyse(problem.activation)
    yield kinks.decide_smoothness(problem, point, facts)
    yield rays.decide_growth(problem, point, facts)
    yield rays.bounded_gradient_ray(problem, point, facts)
    yield constant_output.decide_constant_output(problem, point, facts)
    yield polynomial.decide_polynomial(problem, point)
    yield log_oscillation.decide_log_oscillation(problem, point)
    yield spanning.decide_without_penalty(problem, point, facts)
    yield mirror_data.decide_mirror_data(problem, point, facts)
    if "a" in problem.penalties:
        yield cancelling_pair.decide_outer_layer(problem, point, facts)


# --- the claims -------------------------------------------------------------------------------


def tends_down(problem: Problem, point: Point, at: Point, critical: Any) -> bool:
    """Whether V_s is negative far out above s_crit and positive below, with 1 part in 1000."""
    _, gradient, laplacian = parts(problem, point, flat(problem, at), exact)
    above, below = (_exact(Fraction(end)) for end in (critical[1], critical[0]))
    above = max(above * mp.mpf("1.001"), mp.mpf(10) ** -30)
    down = gradient[0] / above - laplacian[0] < -(10**20)
    up = below <= 0 or gradient[0] / (below * mp.mpf("0.999")) - laplacian[0] > 10**20
    return bool(down and up)


def polynomial_point(problem: Problem, point: Point, data: Any, t: int) -> Point:
    j, k = data["neurons"]
    W = np.array([[mp.mpf(0)] * np.shape(point.W)[1] for _ in point.a], dtype=object)
    size = mp.mpf(1)
    if data["root"] is not None:
        size = mp.root(exact(data["root"]), data["degree"])
        size *= 1 if point.a[j] * point.a[k] < 0 else -1
    v = np.array([exact(x) for x in data["direction"]], dtype=object)
    W[j], W[k] = t * v, t * size * v
    b = np.zeros(len(point.a)) if "b" in problem.penalties else point.b
    return Point(W, point.a, b, point.c)


def stays_bounded(problem: Problem, point: Point, data: Any) -> bool:
    """Whether f stays below the stored bound, or below 1000 times its early values."""
    moves = list(zip(data["roles"], data["neurons"], data["directions"], strict=True))
    values = []
    for t in (1, 100, 10**5, 10**12):
        at = rays.ray_point(problem, point, data["outer"], moves, t)
        same = replace_frozen(problem, point, at)
        values.append(parts(problem, same, flat(problem, at), exact)[0][0])
    top = 1000 * (1 + max(values[:2])) if data["bound"] is None else exact(data["bound"])
    return bool(max(values) <= top * (1 + mp.mpf(10) ** -60))


def replace_frozen(problem: Problem, point: Point, at: Point) -> Point:
    """Return the stored point; its frozen roles are those of the ray."""
    for name in "bac":
        if name not in problem.penalties and getattr(point, name) is not None:
            assert [Fraction(v) for v in np.reshape(getattr(at, name), -1)] == [
                Fraction(v) for v in np.reshape(getattr(point, name), -1)
            ]
    return point


def bounded_above(problem: Problem, point: Point, data: Any) -> bool:
    moves = list(zip(data["roles"], data["neurons"], data["directions"], strict=True))
    for t in (1, 37, 10**4, 10**12):
        at = rays.ray_point(problem, point, data["outer"], moves, t)
        found = parts(problem, replace_frozen(problem, point, at), flat(problem, at), exact)
        over = found[1][0] > exact(data["gradient_squared"]) * (1 + mp.mpf(10) ** -60)
        if over or -found[2][0] > exact(data["minus_laplacian"]) + mp.mpf(10) ** -60:
            return False
    return True


def jumps(problem: Problem, point: Point, data: Any) -> bool:
    """Whether one-sided differences of f along the line differ as stored."""
    order, h = data["order"], mp.mpf(10) ** -25
    trained, sides = "b" in problem.penalties, []
    for side in (1, -1):
        values = []
        for step in range(order + 1):
            shift = side * h * (step + mp.mpf(10) ** -9)
            W = [[exact(w) for w in row] for row in point.W]
            b = None if point.b is None else [exact(v) for v in point.b]
            line = zip(data["row"], data["direction"], strict=True)
            rows = {data["j"]: [exact(w) + shift * exact(v) for w, v in line]}
            if data["other"] is not None:
                rows[data["other"]] = [exact(w) for w in data["other_row"]]
            for j, row in rows.items():
                W[j] = row[: len(W[j])]
                if trained and b is not None:
                    b[j] = row[-1]
            at = Point(W, data["outer"], b, point.c)
            values.append(parts(problem, point, flat(problem, at), exact)[0][0])
        signed = ((-1) ** (order - m) * mp.binomial(order, m) for m in range(order + 1))
        difference = sum(k * v for k, v in zip(signed, values, strict=True))
        sides.append(difference / (side * h) ** order)
    low, high = (exact(end) for end in data["jump"])  # wide if another neuron is at a jump
    slack = mp.mpf(10) ** -6 * (1 + abs(low))
    return bool(low - slack <= sides[0] - sides[1] <= high + slack)


def oscillates(problem: Problem, point: Point, data: Any) -> bool:
    """Whether the gradient is tiny in the middle of each bracket, and V_s as stored."""
    for (lo, hi), told in zip(data["zeros"], data["V"], strict=True):
        tau = (exact(lo) + exact(hi)) / 2
        W = np.array([[mp.mpf(0)] * np.shape(point.W)[1] for _ in point.a], dtype=object)
        row, b = [tau * exact(x) for x in data["x"]], np.array([mp.mpf(0)] * len(point.a))
        W[data["neuron"]], b[data["neuron"]] = row[: W.shape[1]], row[-1]
        _, gradient, laplacian = parts(problem, point, flat(problem, Point(W, point.a, b)), exact)
        slack = mp.mpf(10) ** -9
        inside = exact(told[0]) - slack <= -laplacian[0] <= exact(told[1]) + slack
        if not inside or gradient[0] > mp.mpf(10) ** -20 * tau**2:
            return False
    return True


def holds(problem: Problem, point: Point, found: Evidence) -> bool:
    """Whether a refutation says what f and V_s do."""
    assert found.witness is not None
    kind, data = found.witness.kind, found.witness.data
    with mp.workdps(DIGITS if kind != "polynomial-ray" else 4 * DIGITS):
        if kind == "outer-layer-ray":
            at = cancelling_pair.ray_point(problem, point, data, 10**40)
            return tends_down(problem, point, at, data["s_crit"])
        if kind == "polynomial-ray":
            at = polynomial_point(problem, point, data, 10**40)
            return tends_down(problem, point, at, data["s_crit"])
        if kind == "flat-ray":
            return stays_bounded(problem, point, data)
        if kind == "bounded-gradient-ray":
            return bounded_above(problem, point, data)
        if kind == "kink":
            return jumps(problem, point, data)
        if kind == "oscillation-zeros":
            return oscillates(problem, point, data)
        if kind == "bias-zeros":
            return recurs(problem, point, data)
    return kind == "constant-output"


def recurs(problem: Problem, point: Point, data: Any) -> bool:
    """Whether f is the same at all zeros of s, and its derivatives are of one size there."""
    values = []
    for lo, hi in data["zeros"]:
        W, b = np.zeros(np.shape(point.W)), [mp.mpf(0)] * len(point.a)
        b[0] = (exact(lo) + exact(hi)) / 2
        c = np.zeros(1) if "c" in problem.penalties else point.c
        at = Point(W, point.a, b, c)
        values.append([v[0] for v in parts(problem, point, flat(problem, at), exact)])
    first = values[0]
    same = all(abs(v[0] - first[0]) < mp.mpf(10) ** -9 * (1 + first[0]) for v in values)
    return same and all(abs(v[k]) < 100 * (1 + abs(first[k])) for v in values for k in (1, 2))


def grows(problem: Problem, point: Point, rng: np.random.Generator, s: float) -> bool:
    """Whether the least V_s found on two shells grows and ends positive.

    The search descends by random steps whose width is halved down to 2^-30 of the radius, since
    the places where V_s is small may be as thin as 1/radius.
    """
    p, d = np.shape(point.W)
    size = sum({"W": p * d, "b": p, "a": p, "c": 1}[role] for role in problem.penalties)
    least = []
    for radius in (1e2, 1e4):
        theta = rng.standard_normal((size, POINTS))
        theta *= radius * 10 ** rng.random(POINTS) / np.linalg.norm(theta, axis=0)
        for step in range(30):
            norm = np.linalg.norm(theta, axis=0)
            theta *= np.clip(norm, radius, 10 * radius) / norm
            _, gradient, laplacian = parts(problem, point, theta)
            V = gradient / s - laplacian
            best = theta[:, np.argsort(V)[: POINTS // 10]]
            steps = 0.5**step * radius * rng.standard_normal((size, POINTS))
            theta = np.tile(best, 10) + steps * (np.arange(POINTS) >= POINTS // 10)
        least.append(V.min())
    return bool(least[1] > max(least[0], 0.0))


@pytest.mark.soundness
def test_what_is_refuted_fails_and_what_is_proved_holds() -> None:
    count, seed, start = 3000 // SHARE, 41, time.perf_counter()
    rng, seen = np.random.default_rng(seed), Counter[str]()
    wrong = []
    for case in range(count):
        names = (BOUNDED, LINEAR, POLYNOMIALS, KINKED, (OSCILLATION, "identity"))[case % 5]
        problem, point = network(rng, names) if case % 3 else coercive(rng)
        regular = NAMES[problem.activation] in (*BOUNDED, *LINEAR) and "a" not in problem.penalties
        villani = regular and min(problem.penalties.values()) > 0  # by the theorems V1 and V2
        for found in verdicts(problem, point):
            if found.witness is None:
                continue
            kind = found.witness.kind
            seen[f"{kind} {found.value.value}"] += 1
            if found.value is Truth.REFUTED and (villani or not holds(problem, point, found)):
                wrong.append((case, kind))
            frozen = "a" not in problem.penalties
            if (
                found.value is Truth.PROVED
                and frozen
                and not grows(problem, point, rng, 5.0 ** (case % 4 - 2))
            ):
                wrong.append((case, kind))
    took = time.perf_counter() - start
    head = f"campaign villani-refutations: {count} cases, seed {seed}"
    print(f"{head}, {took:.1f} s, {len(wrong)} wrong")
    assert wrong == []
    assert len(seen) >= 11


def _fixed(name: str, X: Any, y: Any, a: Any, **penalties: Any) -> tuple[Problem, Point]:
    told = {role: Fraction(value) for role, value in penalties.items()}
    risk_ = Problem(np.array(X), np.array(y), Activation.parse(name), told)
    return risk_, Point(np.full((len(a), len(X[0])), 0.25), np.array(a))


@pytest.mark.parametrize(
    ("name", "a", "penalty"),
    [("softplus", [1.0], 0), ("z**2", [1.0, -1.0], 1), ("tanh", [1.0], 0),
     (OSCILLATION, [2.0], "1/100")],
)  # fmt: skip
def test_the_search_on_spheres_sees_what_fails(name: str, a: Any, penalty: Any) -> None:
    problem, point = _fixed(name, [[1.0]], [0.5], a, W=penalty)
    assert not grows(problem, point, np.random.default_rng(3), 5.0)


@pytest.mark.parametrize("part", ["s_crit", "bound", "jump"])
def test_spoilt_numbers_are_seen(part: str) -> None:
    X, y = [[1.0, 0.5], [-0.5, 2.0], [1.5, -1.0]], [1.0, -0.5, 0.25]
    name, penalties = {"s_crit": ("z**3", {"W": 1}), "bound": ("tanh", {"W": 0}),
                       "jump": ("relu", {"W": 1})}[part]  # fmt: skip
    problem, point = _fixed(name, X, y, [1.0, -2.0], **penalties)
    found = next(e for e in verdicts(problem, point) if e.witness and part in e.witness.data)
    assert found.witness is not None
    assert holds(problem, point, found)
    stored = found.witness.data[part]
    spoilt = [end * Fraction(9, 10) for end in stored] if isinstance(stored, list) else stored / 20
    witness = Witness(found.witness.kind, {**found.witness.data, part: spoilt})
    assert not holds(problem, point, Evidence(Truth.REFUTED, witness))

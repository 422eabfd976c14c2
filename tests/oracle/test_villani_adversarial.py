"""Every number and side statement of the Villani condition against formulas of its own.

The oracle evaluates f, its gradient and its Hessian in balls of python-flint, written down from
the definition of f, at exact points. A claim is wrong only if the balls prove it wrong, so no
tolerance enters.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Sequence
from fractions import Fraction
from typing import Any

import flint
import numpy as np
import pytest
from flint import acb, arb, arb_series, fmpq

from verify.engine import check
from verify.network import Activation, Data, TwoLayer

FULL = os.environ.get("VERIFY_CAMPAIGN") == "full"
BITS = 160
LOSS_SCALES: dict[str, Callable[[int], int]] = {
    "half-mean-squares": lambda n: 1, "mean-squares": lambda n: 2, "half-sum-squares": lambda n: n,
    "sum-squares": lambda n: 2 * n, "logistic": lambda n: 1,
}  # fmt: skip
# sigma on power series over balls and, for the quadrature, on complex balls
SIGMA: dict[str, Callable[[Any], Any]] = {
    "tanh": lambda z: 1 - 2 / (1 + (2 * z).exp()),
    "sigmoid": lambda z: 1 / (1 + (-z).exp()),
    "erf": lambda z: z.erf(),
    "sin": lambda z: z.sin(),
    "sin(z)+tanh(z)": lambda z: z.sin() + 1 - 2 / (1 + (2 * z).exp()),
    "z*exp(-z**2)": lambda z: z * (-z * z).exp(),
    "cos(3*z)-5": lambda z: (3 * z).cos() - 5,
    "1/(1+z**2)": lambda z: 1 / (1 + z * z),
    "softplus": lambda z: (1 + z.exp()).log(),
    "silu": lambda z: z / (1 + (-z).exp()),
    "sqrt(1+z**2)-1": lambda z: (1 + z * z).sqrt() - 1,
    "log(1+z**2)/2": lambda z: (1 + z * z).log() / 2,
}
BOUNDED = ("tanh", "sigmoid", "erf", "sin", "sin(z)+tanh(z)", "z*exp(-z**2)", "cos(3*z)-5")


@pytest.fixture(autouse=True)
def _precision() -> Any:
    before = flint.ctx.prec
    flint.ctx.prec = BITS
    yield
    flint.ctx.prec = before


def number(text: str) -> Fraction | None:
    """Read an end of an enclosure in a claim; None if it is infinite."""
    if "inf" in text:
        return None
    mantissa, power = text.split("p")
    return Fraction(int(mantissa, 16)) * Fraction(2) ** int(power)


def declared(text: str) -> Fraction:
    return Fraction(float.fromhex(text)) if text.startswith("0x") else Fraction(text)


def ball(value: Any) -> arb:
    exact = Fraction(value)
    return arb(fmpq(exact.numerator, exact.denominator))


def numbers(claim: dict[str, Any]) -> dict[str, tuple[Fraction | None, Fraction | None]]:
    return {
        item["name"]: (number(item["lo"]), number(item["hi"]))
        for item in claim["consequences"]
        if "lo" in item
    }


def sides(claim: dict[str, Any]) -> dict[str, str]:
    return {item["name"]: item["truth"] for item in claim["side_statements"]}


def ask(case: Case | None = None, /, **given: Any) -> dict[str, Any]:
    """Return the claim about a case."""
    case = case or Case(**given)
    network = TwoLayer(case.W, case.a, Activation.parse(case.activation), case.b, case.c)
    settings = {f"villani.{key}": value for key, value in case.settings.items()}
    data = Data(case.X, case.y)
    (certificate,) = check(network, data, conditions=["villani"], settings=settings)
    return certificate.claim


class Case:
    """One network with its data and settings; f and its derivatives at exact points."""

    def __init__(
        self, W: Any, a: Any, activation: str, X: Any, y: Any, b: Any = None, c: Any = None,
        **settings: str,
    ) -> None:  # fmt: skip
        self.W, self.a, self.activation = np.asarray(W, float), np.asarray(a, float), activation
        self.X, self.y = np.asarray(X), np.asarray(y)
        self.b: Any = None if b is None else np.asarray(b, float)
        self.c: Any = None if c is None else np.asarray(c, float)
        self.settings = {"outer": "frozen", "weight_decay": "1/10"} | settings
        told = self.settings
        self.loss = told.get("loss", "half-mean-squares")
        self.scale = LOSS_SCALES[self.loss](len(self.X))
        self.augmented = told.get("bias") == "regularised"
        decay = declared(told["weight_decay"])
        row = [decay] * self.X.shape[1]
        if self.augmented:
            row.append(Fraction(told.get("bias_decay", decay)))
        self.penalties = row * len(self.a)
        self.moved = told.get("outer_bias") in ("regularised", "unregularised")
        if self.moved:
            free = told["outer_bias"] == "unregularised"
            own = Fraction(told.get("outer_bias_decay", decay))
            self.penalties.append(Fraction(0) if free else own)

    @property
    def size(self) -> int:
        return len(self.penalties)

    def inputs(self) -> list[list[arb]]:
        tail = [arb(1)] if self.augmented else []
        return [[*map(arb, row.tolist()), *tail] for row in self.X.astype(float)]

    def stored(self) -> list[Fraction]:
        """The stored weights as one point."""
        rows = np.column_stack([self.W, self.b]) if self.augmented else self.W
        tail = [float(self.c)] if self.moved else []
        return [Fraction(float(v)) for v in [*rows.ravel(), *tail]]

    def local(self, theta: Sequence[Any]) -> Any:
        """The inputs, (sigma, sigma', sigma'') at z_ij, and (l, l', l'') at u_i."""
        X, point = self.inputs(), [ball(t) for t in theta]
        width = len(X[0])
        jets, losses = [], []
        for x, y in zip(X, self.y.astype(float).reshape(-1), strict=True):
            row, u = [], arb(0)
            if self.c is not None:
                u = point[-1] if self.moved else arb(float(self.c))
            for j, a in enumerate(self.a):
                w = point[j * width : (j + 1) * width]
                z = sum((v * t for v, t in zip(w, x, strict=True)), arb(0))
                if self.b is not None and not self.augmented:
                    z = z + arb(float(self.b[j]))
                series = SIGMA[self.activation](arb_series([z, 1], 3))
                row.append((series[0], series[1], 2 * series[2]))
                u = u + arb(float(a)) * series[0]
            jets.append(row)
            losses.append(self.losses(u, arb(float(y))))
        return X, jets, losses

    def losses(self, u: arb, y: arb) -> tuple[arb, arb, arb]:
        if self.loss != "logistic":
            return (u - y) ** 2 / 2, u - y, arb(1)
        pull = 1 / (1 + (y * u).exp())
        return (1 + (-y * u).exp()).log(), -y * pull, pull * (1 - pull)

    def value(self, theta: Sequence[Any]) -> arb:
        _, _, losses = self.local(theta)
        data = self.scale * sum((l0 for l0, _, _ in losses), arb(0)) / len(losses)
        weights = zip(self.penalties, theta, strict=True)
        return data + sum((ball(k * Fraction(t) ** 2) for k, t in weights), arb(0)) / 2

    def derivatives(self, theta: Sequence[Any]) -> tuple[list[arb], list[list[arb]]]:
        """Gradient and Hessian of the data part."""
        X, jets, losses = self.local(theta)
        rho, size, width = arb(self.scale) / len(X), self.size, len(X[0])
        gradient = [arb(0)] * size
        hessian = [[arb(0)] * size for _ in range(size)]
        for x, row, (_, l1, l2) in zip(X, jets, losses, strict=True):
            du = [
                arb(float(a)) * s1 * t for a, (_, s1, _) in zip(self.a, row, strict=True) for t in x
            ]
            du += [arb(1)] * self.moved
            for i in range(size):
                gradient[i] += rho * l1 * du[i]
                for k in range(size):
                    hessian[i][k] += rho * l2 * du[i] * du[k]
            for j, (a, (_, _, s2)) in enumerate(zip(self.a, row, strict=True)):
                for i in range(width):
                    for k in range(width):
                        bend = rho * l1 * arb(float(a)) * s2 * x[i] * x[k]
                        hessian[j * width + i][j * width + k] += bend
        return gradient, hessian

    def v(self, theta: Sequence[Any], s: Fraction) -> tuple[arb, arb]:
        """V_s and ||grad f||^2."""
        gradient, hessian = self.derivatives(theta)
        whole = [g + ball(k * Fraction(t)) for g, k, t in
                 zip(gradient, self.penalties, theta, strict=True)]  # fmt: skip
        square = sum((g * g for g in whole), arb(0))
        laplacian = sum((hessian[i][i] for i in range(self.size)), ball(sum(self.penalties)))
        return square / ball(s) - laplacian, square


def on_sphere(direction: Any, radius: Fraction, factor: Fraction) -> list[Fraction] | None:
    """Return a point at least ``radius`` away from 0, about ``factor`` times as far."""
    length = float(np.linalg.norm(direction))
    if length == 0.0:
        return None
    unit = [Fraction(float(v)) for v in direction / length]
    stretch = factor * radius * (1 + Fraction(1, 2**45))
    point = [stretch * v for v in unit]
    return point if sum(v * v for v in point) >= radius * radius else None


def worst(case: Case, s: Fraction, start: Any, radius: Fraction, rng: Any, steps: int) -> Any:
    """Climb down V_s on a sphere by random steps; the point with the least value that was met."""
    best, low = start, None
    width = 1.0
    for _ in range(steps):
        trial = best + width * rng.normal(size=len(start)) * np.linalg.norm(best)
        point = on_sphere(trial, radius, Fraction(1))
        if point is None:
            continue
        found = float(case.v(point, s)[0].mid())
        if low is None or found < low:
            best, low = trial / np.linalg.norm(trial), found
        else:
            width *= 0.7
    return best


def random_case(rng: Any) -> Case:
    p, d, n = (int(k) for k in (rng.integers(1, 4), rng.integers(1, 3), rng.integers(1, 5)))
    X = np.round(rng.normal(size=(n, d)) * 10.0 ** rng.integers(-1, 2), 2)
    y = np.round(rng.normal(size=n) * 10.0 ** rng.integers(-2, 3), 2)
    a = np.round(rng.normal(size=p) * 10.0 ** rng.integers(-1, 2), 2)
    a = np.abs(a) if rng.random() < 0.25 else -np.abs(a) if rng.random() < 0.2 else a
    if rng.random() < 0.1:
        X = np.repeat(X[:1], n, axis=0)
    told = {
        "weight_decay": str(rng.choice(["1/10", "1/3", "1/1000", "7", "40"])),
        "loss": str(rng.choice(list(LOSS_SCALES))),
        "s": str(rng.choice(["1/100", "1", "30"])),
        "level": str(rng.choice(["0", "-50", "-1/2", "1000"])),
    }
    y = rng.choice([-1.0, 1.0], n) if told["loss"] == "logistic" else y
    b = c = None
    if rng.random() < 0.6:
        b = np.round(rng.normal(size=p) * 10.0 ** rng.integers(-1, 2), 2)
        told["bias"] = str(rng.choice(["regularised", "frozen"]))
        if told["bias"] == "regularised" and rng.random() < 0.6:
            told["bias_decay"] = str(rng.choice(["1/100", "3", "30"]))
    if rng.random() < 0.5:
        c = float(np.round(rng.normal() * 3.0, 2))
        kinds = ["frozen", "frozen", "regularised", "unregularised"]
        told["outer_bias"] = str(rng.choice(kinds[: 3 if told["loss"] == "logistic" else 4]))
    activation = str(rng.choice(list(SIGMA)))
    return Case(rng.normal(size=(p, d)), a, activation, X, y, b, c, **told)


def check_points(case: Case, claim: dict[str, Any], rng: Any, count: int) -> None:
    """G, gLip, lambda_cvx, b and the constant of strong convexity at random points."""
    found = numbers(claim)
    for _ in range(count):
        theta = [
            Fraction(float(v)) for v in rng.normal(size=case.size) * 10.0 ** rng.uniform(-2, 3)
        ]
        gradient, data = case.derivatives(theta)
        whole = [[h + (ball(case.penalties[i]) if i == k else 0) for k, h in enumerate(row)]
                 for i, row in enumerate(data)]  # fmt: skip
        middle = np.array([[float(h.mid()) for h in row] for row in whole])
        if not np.isfinite(middle).all():
            continue
        vectors = np.linalg.eigh((middle + middle.T) / 2)[1]
        for column in (vectors[:, 0], vectors[:, -1]):
            v = [arb(float(t)) for t in column]
            length = sum((t * t for t in v), arb(0))
            bend, own = (
                sum((x * h * t for x, row in zip(v, H, strict=True)
                     for h, t in zip(row, v, strict=True)), arb(0)) / length
                for H in (whole, data)
            )  # fmt: skip
            if (top := found.get("gLip", (None, None))[1]) is not None:
                assert not abs(bend) > ball(top), "gLip"
            if (top := found.get("lambda_cvx", (None, None))[1]) is not None:
                assert not own < -ball(top), "lambda_cvx"
            if "strong convexity constant" in found:
                assert not bend < ball(found["strong convexity constant"][0]), "convexity"
            assert not (sides(claim).get("strong-convexity") == "proved" and bend < 0)
        if (top := found.get("bound of the data gradient", (None, None))[1]) is not None:
            assert not sum((g * g for g in gradient), arb(0)) > ball(top) ** 2, "G"
        if (top := found.get("drift constant b", (None, None))[1]) is not None:
            dot = sum((g * ball(t) for g, t in zip(gradient, theta, strict=True)), arb(0))
            assert not dot < -ball(top), "b"


def check_radii(case: Case, claim: dict[str, Any], rng: Any, starts: int) -> int:
    """V_s >= M on and beyond the certified spheres, in directions that are made bad."""
    s, level = Fraction(case.settings["s"]), ball(case.settings["level"])
    tested = 0
    for name, (_, radius) in numbers(claim).items():
        if not name.startswith("certified radius") or radius is None or radius > 10**60:
            continue
        for k in range(starts):
            start = rng.normal(size=case.size) * (rng.random(case.size) < (0.4 if k % 2 else 1.0))
            if not start.any():
                continue
            bad = worst(case, s, start / np.linalg.norm(start), radius, rng, 12)
            for factor in (Fraction(1), Fraction(10001, 10000), Fraction(3)):
                point = on_sphere(bad, radius, factor)
                if point is not None:
                    assert not case.v(point, s)[0] < level, (name, factor)
                    tested += 1
    return tested


def check_samples(case: Case, claim: dict[str, Any]) -> None:
    """The record of the stored weights meets the balls."""
    if not claim["samples"]:
        return
    theta, s = case.stored(), Fraction(case.settings["s"])
    v, square = case.v(theta, s)
    for key, mine in (("f", case.value(theta)), ("squared_gradient_norm", square), ("V_s", v)):
        lo, hi = (number(end) for end in claim["samples"]["rows"][0][key])
        assert lo is None or not mine < ball(lo), key
        assert hi is None or not mine > ball(hi), key


@pytest.mark.soundness
@pytest.mark.parametrize("part", range(4))
def test_no_number_is_contradicted_by_the_function_itself(part: int) -> None:
    started, seed, count = time.perf_counter(), 4100 + part, 50 if FULL else 5
    rng, spheres = np.random.default_rng(seed), 0
    for _ in range(count):
        case = random_case(rng)
        try:
            claim = ask(case)
            # with biases the theorem for linear growth says nothing about logarithms
            open_ones = ("pass", "undecided") if case.activation.startswith("log") else ("pass",)
            assert claim["verdict"] in open_ones
            check_points(case, claim, rng, 8)
            spheres += check_radii(case, claim, rng, 3)
            check_samples(case, claim)
        except AssertionError as error:
            raise AssertionError(f"{vars(case)}: {error}") from error
    assert spheres > 0
    seconds = time.perf_counter() - started
    print(f"campaign villani numbers: {count} cases, seed {seed}, {seconds:.1f} s, 0 wrong")


# One parameter: the law exp(-2f/s) is integrated ------------------------------------------------


class Line:
    """f of one weight, on complex balls, and integrals against exp(-2f/s) over [-L, L]."""

    def __init__(self, case: Case) -> None:
        self.case, self.s = case, ball(case.settings["s"])
        self.decay = ball(case.settings["weight_decay"])
        self.end = 8 * (self.s / self.decay).sqrt() + 1

    def f(self, w: Any) -> Any:
        case, total = self.case, acb(0)
        for x, y in zip(case.X[:, 0], case.y, strict=True):
            z = w * acb(float(x)) + (0 if case.b is None else acb(float(case.b[0])))
            u = acb(float(case.a[0])) * SIGMA[case.activation](z)
            total += (u + (0 if case.c is None else acb(float(case.c))) - acb(float(y))) ** 2 / 2
        return case.scale * total / len(case.X) + acb(self.decay) * w * w / 2

    def integral(self, inner: Callable[[Any], Any], *, sign: int = 1) -> arb:
        """Integrate inner exp(-2 sign f/s)."""
        found = acb.integral(
            lambda w, _: inner(w) * (-2 * sign * self.f(w) / self.s).exp(), -self.end, self.end
        )
        return found.real

    def variance(self, h: Callable[[Any], Any], Z: arb) -> arb:
        mean = self.integral(h) / Z
        return self.integral(lambda w: (h(w) - mean) ** 2) / Z

    @property
    def tail(self) -> arb:
        """A bound of the mass outside: f >= (decay/2) w^2."""
        root = (self.decay / self.s).sqrt()
        return arb.pi().sqrt() / root * (self.end * root).erfc()


def line_case(rng: Any) -> Case:
    n = int(rng.integers(1, 4))
    told = {
        "weight_decay": str(rng.choice(["1/2", "2", "1/10"])),
        "loss": str(rng.choice(["half-mean-squares", "mean-squares", "sum-squares"])),
        "s": str(rng.choice(["1/2", "1", "5"])), "epsilon": "1/100",
    }  # fmt: skip
    share = float(rng.choice([0.1, 0.5, 0.8])) * float(Fraction(told["s"]))
    told["init"] = f"gaussian({np.sqrt(share / float(Fraction(told['weight_decay']))):.3f})"
    b = c = None
    if rng.random() < 0.4:
        b, told["bias"] = np.round(rng.normal(size=1), 2), "frozen"
    if rng.random() < 0.4:
        c, told["outer_bias"] = float(np.round(rng.normal(), 2)), "frozen"
    X, y = np.round(rng.normal(size=(n, 1)), 2), np.round(rng.normal(size=n), 2)
    a = np.round(rng.normal(size=1), 2)
    return Case([[0.0]], a, str(rng.choice(BOUNDED)), X, y, b, c, **told)


def check_law(case: Case, claim: dict[str, Any]) -> None:
    """Rates, excess risk and settling time against integrals over the Gibbs law."""
    line, found = Line(case), numbers(claim)
    Z = line.integral(lambda w: acb(1))
    gap = min(
        (line.s / 2 * line.integral(slope) / Z / line.variance(h, Z)
         for h, slope in ((lambda w: w, lambda w: acb(1)), (lambda w: w * w, lambda w: 4 * w * w),
                          (lambda w: (w / 2).sin(), lambda w: (w / 2).cos() ** 2 / 4))),
        key=lambda value: float(value.mid()),
    )  # fmt: skip
    for name, (low, _) in found.items():
        if "rate" in name:
            assert not ball(low) > gap, name
    least = min((case.value([Fraction(k, 8)]) for k in range(-64, 65)), key=lambda v: v.mid())
    above = line.integral(lambda w: line.f(w) - least) - least * line.tail
    bound = found["excess risk of the Gibbs law"][1]
    assert not above / (Z + line.tail) > ball(bound), "excess"
    tau = ball(case.settings["init"][9:-1])
    spread = line.variance(line.f, Z) * Z / (Z + line.tail)
    density = line.integral(
        lambda w: (-w * w / (tau * tau)).exp() / (2 * arb.pi() * tau * tau), sign=-1
    )
    chi = Z * density - 1
    if "time to epsilon" in found and spread > 0 and chi > 0:
        needed = ((spread * chi).log() / 2 - ball(case.settings["epsilon"]).log()) / ball(
            found["guaranteed rate"][0]
        )
        assert not ball(found["time to epsilon"][1]) < needed, "time"


@pytest.mark.soundness
def test_rates_and_times_against_the_integrated_law() -> None:
    started, seed, count = time.perf_counter(), 4200, 60 if FULL else 6
    rng = np.random.default_rng(seed)
    flint.ctx.prec = 80
    for _ in range(count):
        case = line_case(rng)
        try:
            check_law(case, ask(case))
        except AssertionError as error:
            raise AssertionError(f"{vars(case)}: {error}") from error
    seconds = time.perf_counter() - started
    print(f"campaign villani law: {count} cases, seed {seed}, {seconds:.1f} s, 0 wrong")


def test_a_radius_that_is_too_small_is_noticed() -> None:
    case = Case([[1.0]], [2.0], "tanh", [[1.0]], [3.0], s="30", level="0")
    claim = ask(case)
    for item in claim["consequences"]:
        if item["name"] == "certified radius (V1)":
            item["lo"], item["hi"] = "0x1p-1", "0x1p-1"
    with pytest.raises(AssertionError, match="certified radius"):
        check_radii(case, claim, np.random.default_rng(1), 3)

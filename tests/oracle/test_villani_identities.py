"""The formulas of the kernels against the derivatives of f itself, as symbolic identities.

The same functions of `verify_kernels.two_layer.formulas` are evaluated with SymPy expressions
here and with balls in the kernels. The activation is a function symbol with named derivatives.
"""

import itertools
import random
from fractions import Fraction

import pytest
import sympy as sp
from flint import fmpq

from verify.network.activation import Activation
from verify_kernels.two_layer import ball_risk, formulas
from verify_kernels.two_layer.ball_risk import Point, Problem, evaluate
from verify_kernels.two_layer.balls import precision
from verify_kernels.two_layer.formulas import Local, Setting, Weights, rows_product


class S3(sp.Function):
    nargs = 1


class S2(sp.Function):
    nargs = 1

    def fdiff(self, argindex=1):
        return S3(self.args[0])


class S1(sp.Function):
    nargs = 1

    def fdiff(self, argindex=1):
        return S2(self.args[0])


class S0(sp.Function):
    """An activation of which nothing is known but its smoothness."""

    nargs = 1

    def fdiff(self, argindex=1):
        return S1(self.args[0])


GENERIC = (S0, S1, S2)
TANH = (sp.tanh, lambda z: 1 - sp.tanh(z) ** 2, lambda z: -2 * sp.tanh(z) * (1 - sp.tanh(z) ** 2))
SIZES = [(1, 1, 1), (2, 2, 2), (3, 1, 2), (2, 1, 3)]
TRAINED = ["W", "Wb", "Wa", "Wc", "Wbac"]


def squared(u, y):
    return (u - y) ** 2 / 2, u - y, sp.Integer(1)


def logistic(u, y):
    """Written as the notes have it; y^2 = 1 is not used."""
    tail = 1 / (1 + sp.exp(y * u))
    return sp.log(1 + sp.exp(-y * u)), -y * tail, y**2 * tail * (1 - tail)


class Model:
    """Symbols for one network, and f written out from its definition."""

    def __init__(self, p, d, n, trained, sigma, loss):
        def symbols(name, *shape):
            names = itertools.product(*(range(1, k + 1) for k in shape))
            return [sp.Symbol(name + "".join(map(str, index)), real=True) for index in names]

        def rows(flat, width):
            return [flat[i : i + width] for i in range(0, len(flat), width)]

        self.X, self.y = rows(symbols("x", n, d), d), symbols("y", n)
        self.at = Weights(
            rows(symbols("w", p, d), d),
            symbols("a", p),
            symbols("b", p) if "b" in trained else None,
            sp.Symbol("c", real=True) if "c" in trained else None,
        )
        self.penalties = {r: sp.Symbol("lambda_" + r, real=True) for r in "Wbac" if r in trained}
        self.scale = sp.Symbol("rho", real=True)
        self.parameters = [v for role in self.penalties for v in self.at.role(role)]
        self.z = [
            [
                sum(w * x for w, x in zip(row, xs, strict=True))
                + (self.at.b[j] if self.at.b else 0)
                for j, row in enumerate(self.at.W)
            ]
            for xs in self.X
        ]
        c = self.at.c if self.at.c is not None else 0
        self.u = [
            sum(a * sigma[0](z) for a, z in zip(self.at.a, row, strict=True)) + c for row in self.z
        ]
        losses = [loss(u, y) for u, y in zip(self.u, self.y, strict=True)]
        self.f = self.scale * sum(row[0] for row in losses) + sum(
            penalty / 2 * sum(v**2 for v in self.at.role(role))
            for role, penalty in self.penalties.items()
        )
        self.setting = Setting(self.X, self.scale, self.penalties, rows_product)
        s0, s1, s2 = ([[rule(z) for z in row] for row in self.z] for rule in sigma)
        self.local = Local(s0, s1, s2, *(list(part) for part in zip(*losses, strict=True)))

    def flat_gradient(self):
        found = formulas.gradient(self.setting, self.at, self.local)
        flat = []
        for role, part in found.items():
            rows = part if role == "W" else [[part]] if role == "c" else [part]
            flat += [entry for row in rows for entry in row]
        return flat


def is_zero(expression):
    if expression.has(sp.exp):
        # e^(y u) as one symbol a sample: a rational identity is left
        powers = {
            e: sp.Symbol(f"e{i}")
            for i, e in enumerate(
                sorted({abs_exponent(e) for e in expression.atoms(sp.exp)}, key=str)
            )
        }
        for e in expression.atoms(sp.exp):
            base = abs_exponent(e)
            expression = expression.subs(e, powers[base] if e.args[0] == base else 1 / powers[base])
        return sp.cancel(sp.together(expression)) == 0
    return sp.expand(expression) == 0


def abs_exponent(e):
    """The exponent of e^t or e^-t, whichever is written without a leading minus."""
    t = sp.expand(e.args[0])
    return -t if t.could_extract_minus_sign() else t


@pytest.mark.parametrize(
    ("p", "d", "n", "trained", "sigma"),
    [(*size, trained, GENERIC) for size in SIZES for trained in TRAINED]
    + [(1, 1, 1, "Wbac", TANH), (2, 1, 1, "Wa", TANH), (2, 2, 2, "W", TANH)],
)
def test_gradient_laplacian_and_hessian_of_the_squared_loss(p, d, n, trained, sigma):
    model = Model(p, d, n, trained, sigma, squared)
    assert is_zero(formulas.value(model.setting, model.at, model.local) - model.f)
    truth = [sp.diff(model.f, v) for v in model.parameters]
    for ours, theirs in zip(model.flat_gradient(), truth, strict=True):
        assert is_zero(ours - theirs)
    hessian = formulas.hessian(model.setting, model.at, model.local)
    for i, rate in enumerate(truth):
        for k in range(i + 1):
            assert is_zero(hessian[i][k] - sp.diff(rate, model.parameters[k]))
            assert hessian[k][i] is hessian[i][k]
    trace = sum(sp.diff(rate, v) for rate, v in zip(truth, model.parameters, strict=True))
    assert is_zero(formulas.laplacian(model.setting, model.at, model.local) - trace)


@pytest.mark.parametrize("trained", TRAINED)
@pytest.mark.parametrize(("p", "d", "n"), [(1, 1, 1), (2, 2, 2), (3, 1, 2)])
def test_the_quadratic_form_is_that_of_the_hessian(p, d, n, trained):
    model = Model(p, d, n, trained, GENERIC, squared)
    direction = Model(p, d, n, "Wbac", GENERIC, squared).at
    t = sp.Symbol("t", real=True)
    rename = {v: sp.Symbol("v_" + v.name, real=True) for r in "Wbac" for v in direction.role(r)}
    v = Weights(
        [[rename[w] for w in row] for row in direction.W],
        [rename[a] for a in direction.a],
        [rename[b] for b in direction.b],
        rename[direction.c],
    )
    moved = model.f.subs(
        {theta: theta + t * rename[theta] for theta in model.parameters}, simultaneous=True
    )
    truth = sp.diff(moved, t, 2).subs(t, 0).doit()
    ours = formulas.second_derivative(model.setting, model.at, model.local, v)
    assert is_zero(ours - truth)


@pytest.mark.parametrize("trained", ["W", "Wa", "Wbac"])
@pytest.mark.parametrize(("p", "d", "n"), [(1, 1, 1), (2, 1, 1), (1, 2, 2)])
def test_the_logistic_loss(p, d, n, trained):
    """All derivatives from l, l', l''; these from log(1 + exp(-y u)) in the next test."""

    class L2(sp.Function):
        nargs = 2

        def fdiff(self, argindex=1):
            raise NotImplementedError

    class L1(sp.Function):
        nargs = 2

        def fdiff(self, argindex=1):
            return L2(*self.args)

    class L0(sp.Function):
        nargs = 2

        def fdiff(self, argindex=1):
            return L1(*self.args)

    model = Model(p, d, n, trained, GENERIC, lambda u, y: (L0(u, y), L1(u, y), L2(u, y)))
    truth = [sp.diff(model.f, v) for v in model.parameters]
    for ours, theirs in zip(model.flat_gradient(), truth, strict=True):
        assert is_zero(ours - theirs)
    trace = sum(sp.diff(rate, v) for rate, v in zip(truth, model.parameters, strict=True))
    assert is_zero(formulas.laplacian(model.setting, model.at, model.local) - trace)


def test_the_derivatives_of_the_logistic_loss():
    u, y = sp.symbols("u y", real=True)
    l0, l1, l2 = logistic(u, y)
    assert is_zero(sp.diff(l0, u) - l1)
    assert is_zero(sp.diff(l0, u, 2) - l2)
    for sign in (1, -1):
        for at in (Fraction(-7, 2), Fraction(0), Fraction(1, 3), Fraction(40)):
            ours = ball_risk._loss("logistic", ball_risk.ball(at), ball_risk.ball(sign))
            values = {u: sp.Rational(at.numerator, at.denominator), y: sign}
            for mine, theirs in zip(ours, (l0, l1, l2), strict=True):
                digits = theirs.subs(values).evalf(60)
                assert abs(mine - ball_risk.arb(str(digits))) < 1e-14 * (1 + abs(mine))


def kappa(z):
    return S0(z) - z * S1(z)


@pytest.mark.parametrize("trained", ["W", "Wb", "Wc", "Wbc"])
@pytest.mark.parametrize(("p", "d", "n"), SIZES)
def test_the_drift_identity(p, d, n, trained):
    """<grad f, theta> = sum lambda ||role||^2 + rho sum r_i^2 + rho sum r_i (y_i - e_i)."""
    model = Model(p, d, n, trained, GENERIC, squared)
    pairs = zip(model.flat_gradient(), model.parameters, strict=True)
    drift = sum(g * v for g, v in pairs)
    shown = sum(
        penalty * sum(v**2 for v in model.at.role(role))
        for role, penalty in model.penalties.items()
    )
    for row, u, y in zip(model.z, model.u, model.y, strict=True):
        e = sum(a * kappa(z) for a, z in zip(model.at.a, row, strict=True))
        r = u - y
        shown = shown + model.scale * (r**2 + r * (y - e))
    assert is_zero(drift - shown)


@pytest.mark.parametrize(("p", "d", "n"), SIZES)
def test_the_drift_identity_with_a_trained_outer_layer(p, d, n):
    """<grad f, (a, W)> = sum lambda ||role||^2 + rho sum r_i (2 u_i - e_i)."""
    model = Model(p, d, n, "Wa", GENERIC, squared)
    drift = sum(g * v for g, v in zip(model.flat_gradient(), model.parameters, strict=True))
    shown = sum(
        penalty * sum(v**2 for v in model.at.role(role))
        for role, penalty in model.penalties.items()
    )
    for row, u, y in zip(model.z, model.u, model.y, strict=True):
        e = sum(a * kappa(z) for a, z in zip(model.at.a, row, strict=True))
        shown = shown + model.scale * (u - y) * (2 * u - e)
    assert is_zero(drift - shown)


def test_the_completed_squares_of_the_drift():
    """r^2 + r k >= -k^2/4, and r^2 + r k >= r^2/2 - k^2/2, as sums of squares."""
    r, k = sp.symbols("r k", real=True)
    assert sp.expand(r**2 + r * k + k**2 / 4 - (r + k / 2) ** 2) == 0
    assert sp.expand(r**2 / 2 + r * k + k**2 / 2 - (r + k) ** 2 / 2) == 0


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("trained", ["W", "Wb", "Wbac"])
def test_balls_contain_the_rational_values(trained, seed):
    """With s(z) = z / (1 + z^2) every value at a rational point is rational."""
    rng = random.Random(seed)
    p, d, n = rng.choice([(2, 2, 3), (3, 1, 2), (1, 2, 2)])
    z = sp.Symbol("z", real=True)
    rules = [sp.lambdify(z, sp.diff(z / (1 + z**2), z, k), modules=[{}]) for k in range(3)]

    def number():
        return Fraction(rng.randint(-60, 60), rng.randint(1, 30))

    def numbers(*shape):
        if len(shape) == 1:
            return [number() for _ in range(shape[0])]
        return [numbers(*shape[1:]) for _ in range(shape[0])]

    X, y = numbers(n, d), numbers(n)
    at = Weights(numbers(p, d), numbers(p), numbers(p), number())
    penalties = {role: abs(number()) for role in trained}
    setting = Setting(X, Fraction(3, 7) / n, penalties, rows_product)
    pre = formulas.preactivations(setting, at)
    s0, s1, s2 = ([[Fraction(rule(v)) for v in row] for row in pre] for rule in rules)
    u = formulas.outputs(s0, at)
    r = [ui - yi for ui, yi in zip(u, y, strict=True)]
    local = Local(s0, s1, s2, [x * x / 2 for x in r], r, [Fraction(1)] * n)
    problem = Problem(
        X, y, Activation("expression", text="z/(1+z**2)"), penalties, loss_scale=Fraction(3, 7)
    )
    risk = evaluate(problem, Point(at.W, at.a, at.b, at.c))

    def contains(ball, value):
        with precision(4000):
            return ball.contains(fmpq(value.numerator, value.denominator)) and ball.rad() < 1e-60

    assert contains(risk.value, formulas.value(setting, at, local))
    assert contains(risk.laplacian, formulas.laplacian(setting, at, local))
    exact = formulas.gradient(setting, at, local)
    flat = [g for row in exact["W"] for g in row]
    flat += [g for role in "ba" for g in exact.get(role, [])]
    flat += [exact["c"]] if "c" in exact else []
    for ball, value in zip(risk.flat_gradient(), flat, strict=True):
        assert contains(ball, value)
    full = formulas.hessian(setting, at, local)
    for i, row in enumerate(full):
        for k, value in enumerate(row):
            assert contains(risk.hessian()[i, k], value)
    v = Weights(numbers(p, d), numbers(p), numbers(p), number())
    form = formulas.second_derivative(setting, at, local, v)
    assert contains(risk.second_derivative(Point(v.W, v.a, v.b, v.c)), form)

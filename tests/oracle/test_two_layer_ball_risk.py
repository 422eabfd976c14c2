"""The risk in ball arithmetic against 40-digit values, and against exact special cases."""

import json
from fractions import Fraction
from pathlib import Path

import flint
import numpy as np
import pytest
from flint import arb

from verify.errors import InputError
from verify.network.activation import Activation
from verify_kernels.two_layer import ball_risk, formulas
from verify_kernels.two_layer.ball_risk import Point, Problem, evaluate
from verify_kernels.two_layer.balls import precision

VECTORS = Path(__file__).parents[1] / "vectors" / "villani.json"
NETWORKS = json.loads(VECTORS.read_text(encoding="utf-8"))["networks"]
PAIRED = [n for n in NETWORKS if n["cancelling_pair"] and n["cancelling_pair"]["sides"]]
DIGITS = Fraction(5, 10**40)
BITS = 400


def exact(values):
    return [exact(v) for v in values] if isinstance(values, list) else float.fromhex(values)


def activation_of(network):
    if network["activation"].startswith("logosc"):
        return Activation("expression", text=network["sympy"])
    return Activation.parse(network["activation"])


def problem_of(network, trained=("W",)):
    penalty = float.fromhex(network["lambda"])
    return Problem(
        exact(network["X"]),
        exact(network["y"]),
        activation_of(network),
        dict.fromkeys(trained, penalty),
        loss_scale=Fraction(network["c_prime"]),
    )


def assert_agrees(ball, digits):
    """The ball meets the 40 digits, and is itself known to more than 36."""
    value = Fraction(digits)
    with precision(5 * BITS):
        given = arb(flint.fmpq(value.numerator, value.denominator))
        given += arb(0, 1) * abs(given) * flint.fmpq(DIGITS.numerator, DIGITS.denominator)
        assert ball.overlaps(given), (ball, digits)
        assert abs(ball - given) <= 10 * given.rad() or value == 0
        if value == 0:
            assert ball.contains(0)


@pytest.mark.parametrize("network", NETWORKS, ids=lambda n: n["id"])
def test_value_gradient_laplacian_and_potential(network):
    problem = problem_of(network)
    for record in network["at"]:
        risk = evaluate(problem, Point(exact(record["W"]), exact(network["a"])), bits=BITS)
        assert_agrees(risk.value, record["f"])
        assert_agrees(risk.laplacian, record["laplacian"])
        assert_agrees(risk.v(float.fromhex(network["s"])), record["V_s"])
        flat = [g for row in risk.gradient["W"] for g in row]
        assert len(flat) == len(record["grad"])
        for ball, digits in zip(flat, record["grad"], strict=True):
            assert_agrees(ball, digits)


@pytest.mark.parametrize("network", PAIRED, ids=lambda n: n["id"])
def test_both_sides_of_a_cancelling_pair(network):
    pair, problem = network["cancelling_pair"], problem_of(network, ("W", "a"))
    w0 = exact(pair["w0"])
    for side in pair["sides"].values():
        for t, expected in side["at_t"].items():
            a = [int(t), -int(t)] + [0] * (network["p"] - 2)
            W = [w0, w0] + [[0] * network["d"]] * (network["p"] - 2)
            # labels of 1e100 cancel
            potential = evaluate(problem, Point(W, a), bits=4 * BITS).v(float.fromhex(side["s"]))
            assert_agrees(potential, expected["V"])
            assert bool(potential > 0) == (expected["sign"] > 0)


def small_problem(loss="squared", penalties=None, activation="tanh"):
    rng = np.random.default_rng(5)
    X, y = rng.normal(size=(4, 2)), np.sign(rng.normal(size=4))
    penalties = penalties or {"W": Fraction(1, 3), "b": 0, "a": Fraction(1, 7), "c": 2}
    problem = Problem(X, y, Activation.parse(activation), penalties, loss, Fraction(3, 2))
    point = Point(rng.normal(size=(3, 2)), rng.normal(size=3), rng.normal(size=3), 0.25)
    return problem, point


@pytest.mark.parametrize("loss", ["squared", "logistic"])
@pytest.mark.parametrize("trained", ["W", "Wb", "Wa", "Wc", "Wbac"])
def test_hessian_trace_and_quadratic_form_agree(loss, trained):
    """Three formulas for second derivatives, and finite differences of the gradient."""
    problem, point = small_problem(loss, {role: Fraction(1, 3) for role in trained})
    rng = np.random.default_rng(7)
    direction = Point(rng.normal(size=(3, 2)), rng.normal(size=3), rng.normal(size=3), 1.5)
    risk = evaluate(problem, point, bits=BITS)
    hessian = risk.hessian()
    v = [float(x) for x in np.ravel(direction.W)]
    for role, part in (("b", direction.b), ("a", direction.a), ("c", [direction.c])):
        v += [float(x) for x in part] if role in trained else []
    size = hessian.nrows()
    assert size == len(v) == sum(len(risk.at.role(role)) for role in trained)
    with precision(BITS):
        trace = sum((hessian[i, i] for i in range(size)), arb(0))
        form = sum((hessian[i, k] * v[i] * v[k] for i in range(size) for k in range(size)), arb(0))
        assert trace.overlaps(risk.laplacian)
        assert (trace - risk.laplacian).rad() < 1e-90
        assert form.overlaps(risk.second_derivative(direction))
        step = arb(2) ** -100

        def moved(sign):
            def shift(base, by):
                return [
                    arb(float(x)) + sign * step * float(d) for x, d in zip(base, by, strict=True)
                ]

            return Point(
                [shift(*rows) for rows in zip(point.W, direction.W, strict=True)],
                shift(point.a, direction.a) if "a" in trained else point.a,
                shift(point.b, direction.b) if "b" in trained else point.b,
                arb(point.c) + (sign * step * direction.c if "c" in trained else 0),
            )

        ends = [evaluate(problem, moved(sign), bits=BITS).value for sign in (1, -1)]
        second = (ends[0] + ends[1] - 2 * risk.value) / step**2
        assert abs(second - form) < arb(2) ** -80
        rate = (ends[0] - ends[1]) / (2 * step)
        flat = risk.flat_gradient()
        assert len(flat) == size
        order = [role for role in risk.gradient]
        assert order == [role for role in formulas.ROLES if role in trained]
        slope = sum((g * x for g, x in zip(flat, v, strict=True)), arb(0))
        assert abs(rate - slope) < arb(2) ** -80


def test_a_linear_network_is_a_quadratic_in_rationals():
    """sigma(z) = z: value and gradient are rational, computed by hand."""
    problem = Problem([[1, 2]], [3], Activation("identity"), {"W": Fraction(1, 2)})
    risk = evaluate(problem, Point([[1, 0], [0, 1]], [2, -1]))
    # u = 2*1 - 2 = 0, r = -3: f = 9/2 + 1/4 * 2
    assert risk.value == 5
    expected = [[-5.5, -12], [3, 6.5]]  # r a_j x + w/2
    assert [[float(g) for g in row] for row in risk.gradient["W"]] == expected
    assert risk.laplacian == 27  # 5 * (4 + 1) + 1/2 * 4
    assert risk.gradient_dot_weights == sum(
        g * w
        for gs, ws in zip(expected, [[1, 0], [0, 1]], strict=True)
        for g, w in zip(gs, ws, strict=True)
    )
    assert risk.squared_norm("W") == 2


@pytest.mark.parametrize("scale", [1e150, 1e-150])
def test_huge_and_tiny_numbers(scale):
    X = [[scale, -scale], [scale / 3, 0.0]]
    problem = Problem(X, [scale, -scale], Activation("tanh"), {"W": 2.0**-1074})
    risk = evaluate(problem, Point([[0.5, 0.25]], [scale]), bits=2000)
    for ball in (risk.value, risk.laplacian, risk.v(1e-300), risk.gradient_norm_squared):
        assert ball.is_finite()
        assert ball.rel_accuracy_bits() > 100


def test_zero_outer_weights_and_zero_inputs():
    problem = Problem([[0, 0]], [2], Activation("relu"), {"W": 1})
    risk = evaluate(problem, Point([[1, 1]], [5]))
    assert risk.value == 3  # y^2 / 2 + ||W||^2 / 2, the kink at 0 does not matter
    assert risk.laplacian == 2
    assert evaluate(problem, Point([[0, 0]], [0])).gradient["W"] == [[0, 0]]


def test_the_logistic_loss_far_out_keeps_its_digits():
    problem = Problem([[1]], [1], Activation("identity"), {"W": 0}, "logistic")
    risk = evaluate(problem, Point([[-1000]], [1]), bits=2000)
    assert risk.value > 1000  # log(1 + e^1000), which 256 bits do not tell from 1000
    assert evaluate(problem, Point([[-1000]], [1])).value.contains(1000)
    far = evaluate(problem, Point([[1000]], [1]))
    assert 0 < far.value < arb(2) ** -1400
    assert far.value.rel_accuracy_bits() > 200


@pytest.mark.parametrize("wrong", ["shape", "label", "role", "nan", "empty", "missing", "loss"])
def test_refusals(wrong):
    X, y, W, penalties, loss = [[1.0, 2.0]], [1.0], [[1.0, 1.0]], {"W": 1}, "squared"
    if wrong == "shape":
        W = [[1.0]]
    elif wrong == "label":
        y, loss = [0.5], "logistic"
    elif wrong == "role":
        penalties = {"V": 1}
    elif wrong == "nan":
        X = [[1.0, float("nan")]]
    elif wrong == "empty":
        X = []
    elif wrong == "missing":
        penalties = {"W": 1, "b": 1}
    elif wrong == "loss":
        loss = "hinge"
    with pytest.raises(InputError, match=r"expected .*, but got"):
        evaluate(Problem(X, y, Activation("tanh"), penalties, loss), Point(W, [1.0]))


def test_the_vectors_notice_a_lost_term(monkeypatch):
    """Mutation: without the curvature term the Laplacian is wrong on every smooth record."""
    network = NETWORKS[0]
    real = ball_risk.jet
    monkeypatch.setattr(ball_risk, "jet", lambda *given: [*real(*given)[:2], arb(0)])
    record = network["at"][0]
    point = Point(exact(record["W"]), exact(network["a"]))
    with pytest.raises(AssertionError):
        assert_agrees(evaluate(problem_of(network), point).laplacian, record["laplacian"])

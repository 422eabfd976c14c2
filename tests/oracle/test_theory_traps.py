"""Claims about two-layer risks that a plausible wrong reading of the theory would make.

Each test asks the condition itself about a network for which the wrong reading gives another
answer than the right one.
"""

from __future__ import annotations

from fractions import Fraction
from typing import Any

import flint
import numpy as np
import pytest
import sympy as sp
from flint import arb, fmpq

from verify.engine import check
from verify.errors import SettingsError
from verify.network import Activation, Data, Run, StoredCheckpoint, TwoLayer
from verify.network.expression import variable
from verify.verdict import Truth
from verify_kernels.activation_analysis import analyse_expression

NUMBERS = (
    "gLip", "admissible step", "bound of the data gradient", "lambda_cvx",
    "excess risk of the Gibbs law", "guaranteed rate", "rate (Holley-Stroock)",
    "rate (reflection coupling)", "certified radius (V1)", "certified radius (V2)",
    "time to epsilon",
)  # fmt: skip
ONE: dict[str, Any] = {"W": [[1.0]], "a": [1.0], "X": [[1.0]], "y": [1.0]}
TWO: dict[str, Any] = {"W": [[1.0], [2.0]], "a": [1.0, -2.0], "X": [[1.0], [0.5]], "y": [1.0, -1.0]}


def ask(
    activation: str, *, W: Any, a: Any, X: Any, y: Any, b: Any = None, c: Any = None,
    run: Run | None = None, **settings: Any,
) -> dict[str, Any]:  # fmt: skip
    """Return the claim about a network with a frozen outer layer, unless told otherwise."""
    W, a, b, c = (None if v is None else np.asarray(v, dtype=float) for v in (W, a, b, c))
    network = TwoLayer(W, a, Activation.parse(activation), b, c)
    told: dict[str, Any] = {"outer": "frozen", "weight_decay": "1/10"} | settings
    (certificate,) = check(
        network, Data(np.asarray(X, dtype=float), np.asarray(y, dtype=float)),
        conditions=["villani"], run=run,
        settings={f"villani.{key}": value for key, value in told.items()},
    )  # fmt: skip
    return certificate.claim


def number(text: str) -> Fraction | None:
    if "inf" in text:
        return None
    mantissa, power = text.split("p")
    return Fraction(int(mantissa, 16)) * Fraction(2) ** int(power)


def numbers(claim: dict[str, Any]) -> dict[str, tuple[Fraction | None, Fraction | None]]:
    """Return the enclosures that the claim states, by name."""
    enclosed = [item for item in claim["consequences"] if "lo" in item]
    return {item["name"]: (number(item["lo"]), number(item["hi"])) for item in enclosed}


def side(claim: dict[str, Any], name: str) -> str:
    """Return the truth of a side statement; ``absent`` if nothing is said about it."""
    found = [item["truth"] for item in claim["side_statements"] if item["name"] == name]
    return str(found[0]) if found else "absent"


def route(claim: dict[str, Any], name: str) -> str:
    found = [item["truth"] for item in claim["routes"] if item["name"] == name]
    return str(found[0]) if found else "not tried"


# Conventions -----------------------------------------------------------------------------------


def test_a_loss_without_its_half_changes_lambda_temperature_and_step() -> None:
    """f = 2 f': lambda = 2 lambda', s = 2 s', step = step'/2 give the same radius; rates double."""
    more: dict[str, Any] = {"init": "gaussian(1/10)", "epsilon": "1/100"}
    code = ask("tanh", **TWO, loss="mean-squares", weight_decay="1/5", s="1/2", step="1/64", **more)
    half = ask("tanh", **TWO, weight_decay="1/10", s="1/4", step="1/32", **more)
    told, mine = numbers(code), numbers(half)
    for name, value in (
        ("lambda", Fraction(1, 10)),
        ("s", Fraction(1, 4)),
        ("step", Fraction(1, 32)),
    ):
        low, high = told[f"{name} for half-mean-squares"]
        assert low is not None
        assert high is not None
        assert low <= value <= high
        assert high - low <= value / 2**100
    assert not any("for half-mean-squares" in name for name in mine)
    factors: dict[str, int | Fraction] = {
        "certified radius (V1)": 1, "certified radius (V2)": 1, "gLip": 2, "lambda_cvx": 2,
        "bound of the data gradient": 2, "drift constant b": 2, "rate (Holley-Stroock)": 2,
        "admissible step": Fraction(1, 2), "excess risk of the Gibbs law": 2,
    }  # fmt: skip
    for name, factor in factors.items():
        (low, high), (lo, hi) = told[name], mine[name]
        assert low is not None
        assert lo is not None
        if hi is not None and high is not None:
            assert low <= hi * factor, name
            assert lo * factor <= high, name
        else:  # lower bounds of the same number, each rounded down
            assert abs(low - lo * factor) < low / 10**8, name


# Which theorem speaks about which activation ---------------------------------------------------


@pytest.mark.parametrize("activation", ["elu(1)", "softsign", "Max(z,0)**2/(1+Max(z,0))"])
def test_linear_growth_needs_a_smooth_activation(activation: str) -> None:
    """lambda = 1000 is above every threshold; inputs +-1 hide the first jump."""
    mirror: dict[str, Any] = {"W": [[1.0]], "a": [1.0], "X": [[1.0], [-1.0]], "y": [1.0, -1.0]}
    for given in (mirror, ONE, TWO):
        claim = ask(activation, **given, weight_decay="1000")
        assert claim["verdict"] != "pass"
        assert route(claim, "linear-growth") != "proved"


@pytest.mark.parametrize("activation", ["sin(z**2)", "sin(exp(z))", "cos(z**3)"])
def test_bounded_activations_need_bounded_slopes(activation: str) -> None:
    """S_0 is finite and S_1 is not."""
    claim = ask(activation, **TWO, weight_decay="1000")
    assert claim["verdict"] != "pass"
    assert route(claim, "bounded") != "proved"


def test_any_penalty_is_enough_and_the_recalled_threshold_decides_nothing() -> None:
    claim = ask("tanh", **TWO, weight_decay="1/1000000")  # the recalled threshold is 10
    assert claim["verdict"] == "pass"
    (recalled,) = [item for item in claim["consequences"] if "recalled" in item["name"]]
    assert "measured" in recalled
    assert float.fromhex(recalled["measured"]) >= 10
    assert "lo" not in recalled
    assert recalled["by"] == ""
    assert not any("recalled" in item["name"] for item in claim["routes"])


def test_rank_deficient_data_need_a_penalty_for_every_activation() -> None:
    flat: dict[str, Any] = {
        "W": [[1.0, 2.0]],
        "a": [1.0],
        "X": [[1.0, 0.0], [-2.0, 0.0]],
        "y": [1.0, 0.0],
    }
    for activation in ("square", "softplus", "identity", "tanh"):
        assert ask(activation, **flat, weight_decay="0")["verdict"] == "fail", activation


def test_without_a_penalty_only_one_sign_and_spanning_data_pass() -> None:
    spanning: dict[str, Any] = {"X": [[1.0, 0.0], [-1.0, 1.0], [0.0, -1.0]], "y": [1.0, 0.0, -1.0]}
    half: dict[str, Any] = {"X": [[1.0, 0.0], [0.0, 1.0], [1.0, 1.0]], "y": [1.0, 0.0, -1.0]}
    W = [[1.0, 0.0], [0.0, 1.0]]
    for activation in ("softplus", "gelu", "silu"):
        for a, data, verdict in (
            ([1.0, 2.0], spanning, "pass"),
            ([-1.0, -2.0], spanning, "pass"),
            ([1.0, -2.0], spanning, "fail"),
            ([1.0, 0.0], spanning, "fail"),
            ([1.0, 2.0], half, "fail"),
        ):
            found = ask(activation, W=W, a=a, **data, weight_decay="0")["verdict"]
            assert found == verdict, (activation, a)


def test_the_quartic_penalty_repairs_bounded_activations_only() -> None:
    told: dict[str, Any] = {"outer": "trained", "outer_penalty": "quartic", "outer_decay": "1/10"}
    assert ask("tanh", **TWO, **told)["verdict"] == "pass"
    for activation in ("softplus", "gelu", "identity", "relu", "softsign", "sin(z**2)"):
        assert ask(activation, **TWO, **told)["verdict"] != "pass", activation
    assert ask("tanh", **TWO, **told | {"outer_decay": "0"})["verdict"] != "pass"
    assert ask("tanh", **TWO, **told, weight_decay="0")["verdict"] != "pass"
    assert ask("tanh", **TWO, outer="trained", outer_decay="1000")["verdict"] == "fail"


# Numbers that do not exist ---------------------------------------------------------------------


def test_unbounded_activations_have_no_lipschitz_gradient_and_no_rate() -> None:
    more: dict[str, Any] = {
        "s": "1",
        "step": "1/1000000000",
        "init": "gaussian(1/100)",
        "epsilon": "1",
    }
    for activation in ("softplus", "gelu", "silu"):
        claim = ask(activation, **TWO, **more)
        assert claim["verdict"] == "pass"
        assert side(claim, "step-size") == "refuted"
        found = numbers(claim)
        void = set(NUMBERS) - {"certified radius (V2)"}
        assert not void & set(found), activation
        assert "drift constant b" in found
        single = ask(activation, **TWO | {"a": [1.0, 0.0]}, **more)
        assert side(single, "step-size") != "refuted"  # there the gradient is Lipschitz


@pytest.mark.parametrize("kind", ["regularised", "unregularised"])
@pytest.mark.parametrize("activation", ["tanh", "softplus"])
def test_a_trained_outer_bias_leaves_the_property_and_no_number(activation: str, kind: str) -> None:
    more: dict[str, Any] = {
        "s": "1",
        "step": "1/1000000000",
        "init": "gaussian(1/100)",
        "epsilon": "1",
    }
    claim = ask(activation, **TWO, c=[0.5], outer_bias=kind, **more)
    assert claim["verdict"] == "pass"
    assert not set(NUMBERS) & set(numbers(claim))
    assert side(claim, "step-size") != "proved"
    assert side(claim, "strong-convexity") != "proved"
    assert side(claim, "initial-law") != "proved"
    heavy = ask(activation, **TWO, c=[0.5], outer_bias=kind, weight_decay="1000", **more)
    assert side(heavy, "strong-convexity") != "proved"
    logistic = ask(activation, **TWO, c=[0.5], outer_bias=kind, loss="logistic")
    assert logistic["verdict"] == ("pass" if kind == "regularised" else "fail")


def test_the_logistic_loss_has_no_rate_of_the_bounded_case() -> None:
    claim = ask("tanh", **TWO, loss="logistic", s="1")
    assert claim["verdict"] == "pass"
    assert not {"rate (Holley-Stroock)", "rate (reflection coupling)",
                "excess risk of the Gibbs law"} & set(numbers(claim))  # fmt: skip
    unbounded = ask("softplus", **TWO, loss="logistic", s="1")
    assert {"gLip", "lambda_cvx", "certified radius"} <= set(numbers(unbounded))


# Biases and unequal penalties -------------------------------------------------------------------


def drift_at(w: int, b: int) -> arb:
    """<grad g, w> of one softplus neuron with a = x = 1, y = 0 and a frozen bias."""
    z = arb(w + b)
    slope = 1 / (1 + (-z).exp())
    return (1 + z.exp()).log() * slope * w


@pytest.mark.parametrize("b", [5, 50, -50])
def test_frozen_biases_enter_the_drift_constant(b: int) -> None:
    given = ONE | {"y": [0.0]}
    (_, constant) = numbers(ask("softplus", **given, b=[float(b)], bias="frozen"))[
        "drift constant b"
    ]
    assert constant is not None
    with flint.ctx.workprec(200):
        bound = arb(fmpq(constant.numerator, constant.denominator))
        assert not any(drift_at(w, b) < -bound for w in range(-120, 121))
        if b > 0:  # (ln 2)^2/4, right without a bias, is violated
            assert drift_at(1 - b, b) < -(arb(2).log() ** 2) / 4


def test_unequal_penalties_enter_with_the_right_end() -> None:
    """a = 0: f is the penalty, so every constant is known exactly."""
    given = ONE | {"a": [0.0], "y": [0.0]}
    told: dict[str, Any] = {"bias": "regularised", "bias_decay": "30"}
    claim = ask("tanh", **given, b=[0.0], **told, s="10/301", step="1/31")
    found = numbers(claim)
    low, high = found["certified radius (V1)"]  # s (1/10 + 30) = 1, over the smaller lambda
    assert low is not None
    assert high is not None
    assert low <= 10 <= high
    low, high = found["gLip"]
    assert low is not None
    assert high is not None
    assert low <= 30 <= high
    assert side(claim, "step-size") == "proved"
    beyond = ask("tanh", **given, b=[0.0], **told, step="1/29")
    assert side(beyond, "step-size") != "proved"


@pytest.mark.parametrize("zero", ["a", "X"])
def test_the_radius_is_attained_where_f_is_the_penalty(zero: str) -> None:
    """V_s = lambda^2 w^2/s - lambda: it is M exactly on the sphere, so the radius is no less."""
    given = ONE | ({"a": [0.0]} if zero == "a" else {"X": [[0.0]]})
    claim = ask("tanh", **given, weight_decay="1/2", s="2", level="3/2")
    assert claim["verdict"] == "pass"
    low, high = numbers(claim)["certified radius (V1)"]
    assert low is not None
    assert high is not None
    assert low <= 4 <= high  # w^2 = s (M + lambda)/lambda^2 = 16


def test_convexity_of_sigmoids_with_outer_weights_of_one_sign() -> None:
    """399 of 400 outer weights positive: a rule for balanced signs would call f convex."""
    p = 400
    a = np.full(p, 1 / np.sqrt(p))
    a[-1] *= -1
    given: dict[str, Any] = {
        "W": np.full((p, 1), 1.3),
        "a": a,
        "X": [[1.0]],
        "y": [-0.7 * np.sqrt(p)],
    }
    claim = ask("sigmoid", **given, weight_decay="13/100")
    assert side(claim, "strong-convexity") != "proved"
    high = numbers(claim)["lambda_cvx"][1]
    assert high is not None
    assert high > Fraction(13, 100) + Fraction(136, 10000)  # lambda_min(Hess f) = -0.0136


# Initial laws, noise, checkpoints ---------------------------------------------------------------


def test_a_gaussian_start_of_an_unbounded_activation_needs_more_room() -> None:
    """a = 10, lambda = tau = 1, s = 2: q = 1/2 < 1, and the integral is infinite."""
    given = ONE | {"a": [10.0], "y": [0.0]}
    told: dict[str, Any] = {"weight_decay": "1", "s": "2"}
    for activation in ("softplus", "gelu", "silu"):
        claim = ask(activation, **given, **told, init="gaussian(1)")
        assert (claim["verdict"], side(claim, "initial-law")) == ("pass", "undecided")
        # tau^2 (1 + 100) < 2 at tau = 1/8, and twice the data part at the same lambda: 201/64 > 2
        assert (
            side(ask(activation, **given, **told, init="gaussian(1/8)"), "initial-law") == "proved"
        )
        twice = ask(activation, **given, **told, init="gaussian(1/8)", loss="mean-squares")
        assert side(twice, "initial-law") != "proved"
        wide = ask(activation, **given, **told, init="gaussian(3/2)")  # tau^2 >= s/lambda
        assert side(wide, "initial-law") == "refuted"
    bounded = ask("tanh", **given, **told, init="gaussian(1)")
    assert side(bounded, "initial-law") == "proved"
    one_point = ask("tanh", **given, **told, init="point")
    assert (one_point["verdict"], side(one_point, "initial-law")) == ("pass", "refuted")


def test_noise_is_isotropic_by_declaration_only() -> None:
    many: dict[str, Any] = {
        "X": [[1.0], [0.5], [2.0], [-1.0]],
        "y": [1.0, -1.0, 0.0, 2.0],
    }  # D = 2 <= n - 1
    assert side(ask("tanh", **TWO), "isotropic-noise") in ("absent", "undecided")
    assert side(ask("tanh", **TWO, noise="injected"), "isotropic-noise") == "proved"
    assert side(ask("tanh", **TWO, noise="minibatch"), "isotropic-noise") == "refuted"
    assert side(ask("tanh", **TWO | many, noise="minibatch"), "isotropic-noise") == "undecided"


def test_equal_checkpoints_prove_nothing_about_what_was_frozen() -> None:
    def stored(step: int, a: list[float]) -> StoredCheckpoint:
        network = TwoLayer(np.asarray(TWO["W"]) + step, np.asarray(a), Activation.parse("tanh"))
        return StoredCheckpoint(step, f"step {step}", network)

    equal = Run({}, (stored(0, [1.0, -2.0]), stored(1, [1.0, -2.0])))
    moved = Run({}, (stored(0, [1.0, -2.0]), stored(1, [1.0, -2.0 + 2.0**-51])))
    assert side(ask("tanh", **TWO, run=equal), "declaration") == "undecided"
    claim = ask("tanh", **TWO, run=moved)
    assert side(claim, "declaration") == "refuted"
    assert claim["samples"]["total"] == 3
    assert claim["samples"]["certified"] == 3


# Which lambda, and which formulas ---------------------------------------------------------------


def test_the_smallest_lambda_of_each_theorem_is_told() -> None:
    """V1 and V2 say any positive one; V3 says the threshold, here 1/4 ||a||^2 Lambda c'."""
    for activation in ("tanh", "softplus"):
        network = TwoLayer(np.array([[1.0]]), np.array([1.0]), Activation.parse(activation))
        settings = {"villani.outer": "frozen", "villani.weight_decay": "0x1p-1074"}
        (certificate,) = check(
            network, Data(np.array([[1.0]]), np.array([1.0])), conditions=["villani"],
            settings=settings,
        )  # fmt: skip
        assert certificate.claim["verdict"] == "pass"
        assert any("every lambda > 0" in sentence for sentence in certificate.guidance)
    growing: dict[str, Any] = {
        "W": [[1.0], [2.0]],
        "a": [1.0, -1.0],
        "X": [[1.0], [2.0]],
        "y": [1.0, 0.0],
    }
    for loss, threshold in (
        ("half-mean-squares", Fraction(5, 4)),
        ("mean-squares", Fraction(5, 2)),
    ):
        for decay in ("1/10", "100"):
            claim = ask("z+sin(z)", **growing, weight_decay=decay, loss=loss)
            low, high = numbers(claim)["lambda_V"]
            assert low is not None
            assert high is not None
            assert low <= threshold <= high
            assert high - low <= threshold / 10**8


@pytest.mark.parametrize("formula", ["1/z", "log(z)", "z/z", "sqrt(z)", "tan(z)"])
def test_a_formula_with_a_pole_is_refused(formula: str) -> None:
    with pytest.raises(SettingsError, match="expected a formula with a value at every real z"):
        ask(formula, **TWO)


CURVED = {
    "tanh": "0.639786105826", "sigmoid": "0.159946526457", "softplus": "0.223871602347",
    "gelu": "0.331297218691", "silu": "0.302390219099", "erf": "0.830214994841",
}  # fmt: skip


@pytest.mark.parametrize("name", CURVED)
def test_the_supremum_of_z_times_the_curvature(name: str) -> None:
    """The digits are rounded to nearest, so the supremum lies within half of their last unit."""
    z = variable()
    bound = analyse_expression(z * sp.diff(Activation.parse(name).formula(), z, 2)).sup_abs(0)
    assert bound.finite is Truth.PROVED
    slack = Fraction(1, 2 * 10**12)
    assert bound.value.lo <= Fraction(CURVED[name]) + slack
    assert bound.value.hi >= Fraction(CURVED[name]) - slack
    assert bound.value.width <= bound.value.lo / 10**9


def test_the_supremum_of_z_times_the_curvature_of_a_wave_is_infinite() -> None:
    z = variable()
    bound = analyse_expression(z * sp.diff(Activation.parse("sin").formula(), z, 2)).sup_abs(0)
    assert bound.finite is Truth.REFUTED
